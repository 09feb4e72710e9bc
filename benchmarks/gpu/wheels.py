"""Carry packages to an offline GPU machine.

    python benchmarks/gpu/wheels.py collect core --out .wheels
    python benchmarks/gpu/wheels.py collect ray --out .wheels
    python benchmarks/gpu/wheels.py install .wheels/core-1 --target /tmp/site

The machine is taken to have torch, torchvision, timm and what these need; `--present` names more
that it has. Versions are those of this environment, files those for CPython 3.12 on x86-64 Linux.
`core` is what trainings, tests and a search with the inline executor need, `ray` what Ray needs
besides. Wheels are packed into folders that are carried one at a time, since a carry has a limit;
a wheel that does not fit is cut. `install` keeps the pieces that it is given beside the target,
and installs a wheel once all of its pieces are there.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

PRESENT = ("torch", "torchvision", "timm")
CORE = (
    "annotated-types",
    "filelock",
    "moocore",
    "numpy",
    "optuna",
    "plotly",
    "pandas",
    "pydantic",
    "PyYAML",
    "pytest",
    "hypothesis",
    "rich",
    "ruamel.yaml",
    "scipy",
    "SQLAlchemy",
    "threadpoolctl",
    "typer",
)
CARRY_MIB = 50  # of 64, the rest for the repository and CIFAR-10
PIECE_MIB = 14  # a larger wheel is cut into pieces of this size
PYTHON = {"python_version": "3.12", "python_full_version": "3.12.0"}
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)] + ["manylinux2014_x86_64"]
PIECE = re.compile(r"(.+\.whl)\.(\d+)of(\d+)")


def main() -> None:
    """Collect or install."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect", help="download wheels and pack them")
    collecting.add_argument("packages", choices=["core", "ray"])
    collecting.add_argument("--out", type=Path, default=Path(".wheels"))
    collecting.add_argument("--present", nargs="+", default=[], help="packages that are there")
    installing = commands.add_parser("install", help="install carried wheels with pip")
    installing.add_argument("folders", nargs="+", type=Path)
    installing.add_argument("--target", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "install":
        install(args.folders, target=args.target)
        return
    there = needs(PRESENT) | {name.lower() for name in args.present}
    names = needs(CORE) - there
    if args.packages == "ray":
        names = needs(["ray"], extra="tune") - there - names
    with tempfile.TemporaryDirectory() as folder:
        download(names, folder=Path(folder))
        for part in pack(Path(folder), out=args.out, name=args.packages):
            print(f"{part}: {size(part.iterdir()) / 2**20:.1f} MiB")


def needs(names: Iterable[str], *, extra: str = "") -> set[str]:
    """Return packages and all that they need, as installed here."""
    from packaging.markers import default_environment
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    environment = {**default_environment(), **PYTHON, "extra": extra}
    found: set[str] = set()
    queue = [canonicalize_name(name) for name in names]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        try:
            requirements = map(Requirement, metadata.requires(name) or ())
        except metadata.PackageNotFoundError:
            raise SystemExit(f"{name} is not installed here; run make setup") from None
        found.add(name)
        queue += [
            canonicalize_name(requirement.name)
            for requirement in requirements
            if requirement.marker is None or requirement.marker.evaluate(environment)
        ]
        environment["extra"] = ""
    return found


def download(names: Iterable[str], *, folder: Path) -> None:
    """Download the wheels of packages, in the versions that are installed here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"]
    command += [argument for name in PLATFORMS for argument in ("--platform", name)]
    pinned = [f"{name}=={metadata.version(name)}" for name in sorted(names)]
    subprocess.run([*command, "--dest", str(folder), *pinned], check=True)


def pack(folder: Path, *, out: Path, name: str) -> list[Path]:
    """Distribute wheels, or pieces of them, to folders `NAME-1`, `NAME-2`, ... of limited size."""
    for old in out.glob(f"{name}-*/*.whl*"):
        old.unlink()
    for wheel in folder.glob("*.whl"):
        cut(wheel)
    parts: list[Path] = []
    for file in sorted(folder.iterdir(), key=lambda f: (-f.stat().st_size, f.name)):
        fitting = [p for p in parts if size([*p.iterdir(), file]) <= CARRY_MIB * 2**20]
        if not fitting:
            part = out / f"{name}-{len(parts) + 1}"
            part.mkdir(parents=True, exist_ok=True)
            parts.append(part)
            fitting = [part]
        (fitting[0] / file.name).write_bytes(file.read_bytes())
    return parts


def cut(wheel: Path) -> None:
    """Replace a large wheel by its pieces, `NAME.1of3` and so on."""
    content, step = wheel.read_bytes(), PIECE_MIB * 2**20
    count = -(-len(content) // step)
    if count == 1:
        return
    for number in range(count):
        piece = wheel.with_name(f"{wheel.name}.{number + 1}of{count}")
        piece.write_bytes(content[number * step : (number + 1) * step])
    wheel.unlink()


def install(folders: Iterable[Path], *, target: Path) -> None:
    """Install the wheels of some folders; pieces wait in `TARGET.pieces` for the others."""
    waiting = target.with_name(f"{target.name}.pieces")
    waiting.mkdir(parents=True, exist_ok=True)
    for file in (file for folder in folders for file in folder.iterdir()):
        (waiting / file.name).write_bytes(file.read_bytes())
    join(waiting)
    wheels = [str(wheel) for wheel in sorted(waiting.glob("*.whl"))]
    if wheels:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*command, "--upgrade", "--target", str(target), *wheels], check=True)
    for wheel in wheels:
        Path(wheel).unlink()
    missing = sorted({match[1] for f in waiting.iterdir() if (match := PIECE.fullmatch(f.name))})
    print(f"installed {len(wheels)} wheels; incomplete: {', '.join(missing) or 'none'}")


def join(folder: Path) -> None:
    """Replace the pieces of each wheel that has all of them by the wheel."""
    pieces: dict[str, dict[int, Path]] = {}
    counts: dict[str, int] = {}
    for file in folder.iterdir():
        if match := PIECE.fullmatch(file.name):
            pieces.setdefault(match[1], {})[int(match[2])] = file
            counts[match[1]] = int(match[3])
    for name, files in pieces.items():
        if len(files) == counts[name]:
            ordered = [files[number] for number in sorted(files)]
            (folder / name).write_bytes(b"".join(file.read_bytes() for file in ordered))
            for file in ordered:
                file.unlink()


def size(files: Iterable[Path]) -> int:
    """Return the total size. Units: bytes."""
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
