"""A trial's network as a variant, and the commands that train it again."""

from typing import TYPE_CHECKING

from cmt_search.errors import ExportError
from cmt_search.search import RunDir, TrialRecord

if TYPE_CHECKING:
    from cmt_search.export import Variant


def trial_variant(record: TrialRecord, *, run: str) -> "Variant":
    """The network of the last rung that was measured, or of the first where none was.

    Raises:
        ExportError: the trial has no network.
    """
    from cmt_search.analysis.trials_table import last_measured
    from cmt_search.export import Variant

    last = last_measured(record)
    if last is None:
        why = f" ({record.reason})" if record.reason else ""
        raise ExportError(f"trial {record.number} has no network{why}; choose another trial")
    return Variant(
        name=f"trial-{record.number}",
        arch=last.rung.arch,
        provenance={
            "run": run,
            "trial": record.number,
            # Other candidates have names, too, but no rule.
            **({"rule": record.name} if record.shares else {}),
            "shares": _shares(record.shares),
            "proxy_top1": [m.top1 for m in last.measurements],
        },
    )


def commands(folder: RunDir, record: TrialRecord) -> tuple[str, ...]:
    """Commands that export the trial's network and train it as the run did, once per seed."""
    from cmt_search.analysis.trials_table import last_measured
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


def _shares(shares: tuple[float, float, float] | None) -> dict[str, float] | None:
    from cmt_search.scaling.shares import DIMENSIONS

    return None if shares is None else dict(zip(DIMENSIONS, shares, strict=True))
