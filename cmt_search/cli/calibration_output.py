"""Output of a calibration: tables, plain values, and the update of the space file."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_search.scaling.shares import DIMENSIONS

if TYPE_CHECKING:
    from cmt_search.analysis import Calibration, FidelityRow, ScoreRow
    from cmt_search.search import FidelityLevel
    from cmt_search.space import SearchSpace
    from cmt_search.stats import Estimate, RankAgreement, RankCorrelation

_NONE = "-"
_ALPHA = 0.05  # of the learning-rate scaling


def to_dict(found: "Calibration", *, levels: "Sequence[FidelityLevel]") -> dict[str, Any]:
    """Convert a calibration to plain values."""
    data = asdict(found)
    for row in data["rows"]:
        row["level"] = asdict(levels[row["rung"]])
    data["choice"] = None if found.choice is None else asdict(levels[found.choice.rung])
    for row, score in zip(data["scores"], found.scores, strict=True):
        row["usable_as_filter"] = score.usable_as_filter
    return data


def show(found: "Calibration", *, levels: "Sequence[FidelityLevel]") -> None:
    """Print the tables and their summary."""
    from cmt_search.cli.console import say, show_table

    show_table(
        (_row(row, level=levels[row.rung]) for row in found.rows),
        title=f"{found.networks} networks, {found.seeds} seeds, against {levels[-1]}",
    )
    show_table((_score(row) for row in found.scores), title="Without training")
    for line in summary_lines(found, levels=levels):
        say(line)


def summary_lines(found: "Calibration", *, levels: "Sequence[FidelityLevel]") -> list[str]:
    """Summarise a calibration, a sentence each."""
    return [
        _choice(found, levels=levels),
        _metric(found),
        *_lr_scaling(found),
        *(
            f"{row.name} ranks networks of one budget better than chance: usable as a filter"
            for row in found.scores
            if row.usable_as_filter
        ),
        *found.notes,
    ]


def write_choice(
    file: Path, found: "Calibration", *, levels: "Sequence[FidelityLevel]", space: "SearchSpace"
) -> tuple[str, ...]:
    """Update the space file, keeping its comments; return what was and was not written.

    Write the cheapest acceptable training, and learning-rate scaling where it is significant and
    most best rates are inside the range tried.
    """
    from cmt_search.space.load import edit_space

    told, changes = [f"{file}: the training stays: no cheaper one was shown to rank networks"], {}
    if found.choice is not None:
        level = levels[found.choice.rung]
        told = [f"{file}: now trains {level}"]
        if space.fidelities.epochs and level.epochs != space.epoch_schedule[-1]:
            told[0] += "; fidelities.epochs is unchanged, add that number of epochs to it yourself"
        changes = {
            "proxy.epochs": level.epochs,
            "proxy.data_fraction": level.data_fraction,
            "proxy.image_scale": level.image_scale,
        }
    rates = _rate_changes(found, space=space)
    told.append(f"{file}: the learning rate " + ("now scales with size" if rates else "stays"))
    if changes | rates:
        edit_space(file, changes | rates)
    return tuple(told)


def _rate_changes(found: "Calibration", *, space: "SearchSpace") -> dict[str, Any]:
    from cmt_search.cli.calibration_run import sizes_of

    law = found.lr_scaling
    if law is None or law.p_value >= _ALPHA or 2 * law.edges > law.networks:
        return {}
    recipe = space.proxy.recipe
    if recipe.lr_sizes is not None:
        return {}  # the fit is relative to the scaling in the file
    return {
        "proxy.recipe.lr": float(f"{recipe.lr * math.exp(law.level):.3g}"),
        "proxy.recipe.lr_sizes": list(sizes_of(space.arch)),
        "proxy.recipe.lr_powers": [round(min(max(v, -2), 2), 2) for v in law.slope.values],
    }


def _row(row: "FidelityRow", *, level: "FidelityLevel") -> dict[str, str]:
    return {
        "training": str(level),
        "seconds": f"{row.seconds:.1f}",
        "tau": _tau(row.top1),
        "tau in budget": _within(row.top1),
        "by loss": _within(row.loss),
        "regret@1, @3": f"{100 * row.regret:.2f}, {100 * row.regret_of_three:.2f}",
        "seed SD": f"{100 * row.top1_noise.seed_sd:.2f}",
        "network SD": f"{100 * row.top1_noise.network_sd:.2f}",
        "reliability": f"{row.top1_noise.reliability:.2f}",
        "loss's": f"{row.loss_noise.reliability:.2f}",
        "gap": f"{row.generalization_gap:+.2f}",
    }


def _score(row: "ScoreRow") -> dict[str, str]:
    return {
        "score": row.name,
        "tau": _tau(row.agreement),
        "tau in budget": _within(row.agreement),
        "usable as filter": "yes" if row.usable_as_filter else "no",
    }


def _tau(found: "RankAgreement | None") -> str:
    return _NONE if found is None else _ranked(found.overall)


def _within(found: "RankAgreement | None") -> str:
    return _NONE if found is None or found.within is None else _ranked(found.within)


def _ranked(tau: "RankCorrelation") -> str:
    return f"{tau.value:.2f} ({tau.low:.2f} to {tau.high:.2f})"


def _choice(found: "Calibration", *, levels: "Sequence[FidelityLevel]") -> str:
    noise = f"the noise of a difference at {levels[-1]} ({100 * found.tolerance:.2f} points)"
    if found.choice is None:
        return (
            f"No cheaper training is shown to rank networks with a regret within {noise}; "
            "measure more networks or seeds, or use the reference."
        )
    row = found.choice
    saved = found.rows[-1].seconds / row.seconds
    return (
        f"Cheapest training with a regret within {noise}: {levels[row.rung]}, "
        f"{saved:.1f} times cheaper, regret {100 * row.regret:.2f} points."
    )


def _metric(found: "Calibration") -> str:
    last = found.rows[-1]
    top1, loss = last.top1_noise, last.loss_noise
    clear = top1.high < loss.low or loss.high < top1.low
    return (
        f"{found.metric} is the more reliable metric: differences between networks are "
        f"{top1.reliability:.0%} of the variance of top1 and {loss.reliability:.0%} of the loss's"
        + ("." if clear else "; the intervals overlap.")
    )


def _lr_scaling(found: "Calibration") -> list[str]:
    if found.lr_scaling is None:
        return []
    law = found.lr_scaling
    edges = f" {law.edges} of {law.networks} best rates are at an end of the range tried."
    return [
        f"Best learning rate: {math.exp(law.level):.2f} times the recipe's at the base, with "
        f"powers of size {_by_dimension(law.slope)} (test of no dependence: p = {law.p_value:.3f}, "
        f"threshold {_ALPHA})." + edges * (law.edges > 0)
    ]


def _by_dimension(estimate: "Estimate") -> str:
    rows = zip(DIMENSIONS, estimate.values, estimate.low, estimate.high, strict=True)
    return ", ".join(
        f"{name} {value:+.2f} ({low:+.2f} to {high:+.2f})" for name, value, low, high in rows
    )
