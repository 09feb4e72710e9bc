"""What the steps of the GPU benchmark share: their plan, their context, their results."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDERS = (str(HERE), str(HERE.parent), str(ROOT))  # steps; harness and benchmarks; the package
sys.path[:0] = [folder for folder in FOLDERS if folder not in sys.path]

Row = dict[str, Any]  # "case" names it


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A module of this folder, whose `measure(context)` yields rows."""

    name: str
    question: str
    minutes: float  # time limit
    needs: tuple[str, ...] = ()  # modules that may be missing


COMMIT_VARIABLE = "CMT_SEARCH_COMMIT"  # of a copy without .git
SEARCH_MODULES = ("optuna", "pydantic", "sqlalchemy", "typer")
PLAN = (
    Step(name="tests", question="Do the tests marked gpu pass?", minutes=6, needs=("pytest",)),
    Step(name="correctness", question="Does a captured step train as an eager one?", minutes=4),
    Step(name="training", question="How many images per second does a training see?", minutes=9),
    Step(name="concurrency", question="What do several trainings on one GPU gain?", minutes=9),
    Step(name="memory", question="Is memory freed, and is running out of it handled?", minutes=3),
    Step(name="network", question="How fast is the network beside the official code?", minutes=9),
    Step(name="latency", question="What is the latency of folded networks?", minutes=4),
    Step(name="replicates", question="Does one step for several seeds pay?", minutes=5),
    Step(name="search", question="Does a rule search run?", minutes=8, needs=SEARCH_MODULES),
    Step(name="ray", question="Does it run on Ray?", minutes=9, needs=(*SEARCH_MODULES, "ray")),
)


def python_path() -> str:
    """Return PYTHONPATH for a process that imports what this one does."""
    return os.pathsep.join([*FOLDERS, *filter(None, [os.environ.get("PYTHONPATH")])])


def missing_modules(step: Step) -> list[str]:
    """Return the modules that a step needs and this Python lacks."""
    return [name for name in step.needs if importlib.util.find_spec(name) is None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a step is told."""

    device: str  # cpu or cuda
    quick: bool  # tiny sizes: only whether everything runs
    folder: Path  # of the results
    data: Path | None = None  # CIFAR-10, in torchvision's layout or as a folder of images
    rows: tuple[Row, ...] = ()  # that an earlier call measured

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device == "cuda"

    @property
    def done(self) -> set[str]:
        """Cases that are measured."""
        return {row["case"] for row in self.rows}

    def pending(self, cases: Iterable[str]) -> Iterator[str]:
        """Yield the cases that are not measured yet."""
        done = self.done
        return (case for case in cases if case not in done)


@dataclass(slots=True, kw_only=True)
class Results:
    """A folder: `STEP.csv` for each step, and `run.json` on the machine and the steps."""

    folder: Path
    machine: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, step: str) -> list[Row]:
        """Read the rows of a step."""
        path = self.folder / f"{step}.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    def add(self, step: str, row: Row) -> None:
        """Add a row; the file is complete after every one."""
        self.write(step, [*self.rows(step), {**row, **self.machine}])

    def write(self, step: str, rows: list[Row]) -> None:
        """Replace the rows of a step."""
        if not rows:
            (self.folder / f"{step}.csv").unlink(missing_ok=True)
            return
        columns = list(dict.fromkeys(name for row in rows for name in row))
        path = self.folder / f"{step}.csv"
        partial = path.with_suffix(".part")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=columns)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(path)

    def forget(self, step: str) -> None:
        """Delete the rows and the state of a step."""
        self.write(step, [])
        states = self.states()
        states.pop(step, None)
        self.save({"steps": states})

    def states(self) -> dict[str, dict[str, Any]]:
        """Return how each step ended in its last call."""
        return self._document().get("steps", {})

    def set_state(self, step: str, state: Mapping[str, Any]) -> None:
        """Note how a step ended."""
        self.save({"steps": {**self.states(), step: dict(state)}})

    def save(self, values: Mapping[str, Any]) -> None:
        """Write values into `run.json`, beside what it has."""
        document = {**self._document(), **values, "machine": dict(self.machine)}
        partial = self.folder / "run.part"
        partial.write_text(json.dumps(document, indent=1) + "\n")
        partial.replace(self.folder / "run.json")

    def check_mode(self, *, quick: bool) -> None:
        """Stop if the folder has results of the other mode."""
        if self._document().get("quick", quick) != quick:
            kind = "full" if quick else "quick"
            raise SystemExit(f"{self.folder} has results of a {kind} run; use another --out")

    def _document(self) -> dict[str, Any]:
        path = self.folder / "run.json"
        return json.loads(path.read_text()) if path.exists() else {}


def describe_machine(device: str) -> dict[str, Any]:
    """Describe hardware, driver and versions, for every row."""
    from harness import machine

    driver = ""
    if device == "cuda":
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        driver = answer.stdout.strip().split("\n")[0]
    described = machine(device=device)
    described["commit"] = described["commit"] or os.environ.get(COMMIT_VARIABLE, "")
    return {**described, "driver": driver}
