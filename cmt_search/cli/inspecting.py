"""A run as the explorer takes it: read, solved, exported, and trained again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.errors import ExportError, RunError
from cmt_search.search import RunDir, TrialRecord
from cmt_search.space import load_space
from cmt_search.study import load_study

if TYPE_CHECKING:
    from cmt_search.explorer import Study
    from cmt_search.export import Variant
    from cmt_search.scaling import Member, Shares
    from cmt_search.space import SearchSpace

_BEYOND = 4  # times the largest budget: how far the explorer solves rules


def studies_of(runs: Sequence[Path]) -> "tuple[Study, ...]":
    """The runs, each under a name of its own.

    Raises:
        RunError: a folder holds no run, or one is given twice.
    """
    folders = [RunDir.open(path) for path in runs]
    if len({folder.path.resolve() for folder in folders}) < len(folders):
        raise RunError("a run is given twice; name each once")
    names = [folder.info().name for folder in folders]
    return tuple(
        _study(folder, name=name if names.count(name) == 1 else str(folder.path))
        for folder, name in zip(folders, names, strict=True)
    )


def _study(folder: RunDir, *, name: str) -> "Study":
    from cmt_search.cost import cost
    from cmt_search.explorer import Study

    space = load_space(folder.space)
    rules = space.kind == "rule"
    largest = space.budget_macs[-1] if rules else 0.0
    return Study(
        name=name,
        load=lambda: load_study(folder.path).analyse(laws=False),  # the report's numbers
        stamp=lambda: _stamp(folder),
        parameters=space.parameters(),
        solve=_solver(space) if rules else None,
        macs=(1.2 * cost(space.arch).macs, _BEYOND * largest) if rules else None,
        export=lambda record: _export(folder, record),
        commands=lambda record: commands(folder, record),
    )


def commands(folder: RunDir, record: TrialRecord) -> tuple[str, ...]:
    """Commands that export the trial's network and train it as the run did, once per seed."""
    from cmt_search.analysis.frame import last_measured
    from cmt_search.cli.console import command

    last = last_measured(record)
    if last is None:
        return ()
    file = folder.exports / f"trial-{record.number}.yaml"
    variant = ("--variant", f"trial-{record.number}", "--format", "yaml")
    train = ("train", file, "--recipe", folder.space)
    fidelity = last.rung.fidelity
    length = ["--epochs", str(fidelity.epochs)]
    for name in ("steps", "seconds"):
        if getattr(fidelity, name) is not None:
            length += [f"--{name}", str(getattr(fidelity, name))]
    parts = [f"{fidelity.data_fraction:.0%} of the images"] * (fidelity.data_fraction < 1)
    parts += [f"{fidelity.image_size} px"] * (fidelity.image_size is not None)
    note = (f"# the trial was trained with {' and '.join(parts)}",) if parts else ()
    return (
        command("export", folder.path, *variant),
        *(
            command(*train, *length, "--seed", seed)
            for seed in [m.seed for m in last.measurements] or [0]
        ),
        *note,
    )


def _stamp(folder: RunDir) -> tuple[int, ...]:
    """Changes whenever the study does, and when its driver comes or goes."""
    files = (folder.study, folder.study.with_name(folder.study.name + "-wal"))
    changed = tuple(f.stat().st_mtime_ns if f.exists() else 0 for f in files)
    return (*changed, int(folder.driver() is not None))


def _solver(space: "SearchSpace") -> "Callable[[Shares, float], Member]":
    def solve(shares: "Shares", macs: float) -> "Member":
        # A cap on latency would need measuring, which a page cannot wait for.
        return space.rule(shares).member(space.analytic_only().budget(macs))

    return solve


def _export(folder: RunDir, record: TrialRecord) -> Path:
    """The same file as `cmt-search export RUN --variant trial-N --format yaml` writes."""
    from cmt_search.export import Source, export, trial_variant

    variant = trial_variant(record, run=folder.info().name)
    # A trial that has gone on since replaces its own file, which a page could not be told to do.
    return export(
        Source(variant=variant), format="yaml", folder=folder.exports, force=_is_of(variant, folder)
    )


def _is_of(variant: "Variant", folder: RunDir) -> bool:
    """Whether what was exported under this name before is of the same trial."""
    from cmt_search.export import load_variant

    try:
        before = load_variant(folder.exports / f"{variant.name}.yaml").provenance
    except ExportError:
        return False
    return all(before.get(name) == variant.provenance[name] for name in ("run", "trial"))
