"""Text summary of the rows of `search_efficiency`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabular.benchmark_data import VarianceSummary

EPS = 0.3  # points that are wanted
AT = 0.2  # of the full grid's compute

RANDOM = {
    "random": "plain random's",
    "random_one_budget": "random's of the largest budget alone",
    "random_alike": "random's with the same halving and answer",
}

DECLARED = {  # chosen before looking: what the project uses by default, without halving
    "rule": (("design", "posterior"), ("gp", "posterior")),
    "shape": (("tpe", "measured"),),
}

Row = dict[str, Any]


def summary(rows: Sequence[Row], *, variance: VarianceSummary, path: Path) -> str:
    """Variance components, the searchers at a fifth of the grid's compute, and the verdict."""
    here = [row for row in rows if row["of_grid"] == AT]
    parts = [variance_text(variance, rows=here), "", table(here)]
    for kind in ("rule", "shape"):
        parts += ["", *verdict([row for row in here if row["kind"] == kind], kind=kind)]
    return "\n".join([*parts, "", str(path)])


def variance_text(variance: VarianceSummary, *, rows: Sequence[Row]) -> str:
    """Describe the variance components."""
    blind = {row["kind"]: row["blind_regret"] for row in rows if row["answer"] == "measured"}
    text = (
        f"The data: {variance.networks} networks at the largest budget, {variance.seeds} seeds. "
        f"Their means span {variance.spread:.2f} points. SD {variance.between:.2f} "
        f"between networks (true means), {variance.within:.2f} between seeds; standard error of a "
        f"mean: {variance.error:.2f}. {variance.reliability:.0%} of the variance of one training's "
        "top1 is the network's. Out of sample, a random network is "
        f"{next(iter(blind.values())):.2f} points worse than the full grid's answer."
    )
    if next(iter(blind.values())) <= EPS:
        text += f" Too flat: any network is within {EPS} points on average, whoever searches."
    return text


def table(rows: Sequence[Row]) -> str:
    """The rows at a fifth of the compute, as Markdown."""
    less = " | ".join(f"less {name}" for name in RANDOM.values())
    lines = [
        f"| kind | searcher | halving | answer | spent | regret, points | {less} |",
        "|---|---|---|---|---|---|" + "---|" * len(RANDOM),
    ]
    for row in sorted(rows, key=lambda row: (row["kind"], row["regret"])):
        cells = (spread(row, f"less_{name}") for name in RANDOM)
        lines.append(
            f"| {row['kind']} | {row['searcher']} | {'yes' if row['halving'] else 'no'} | "
            f"{row['answer']} | {row['spent_of_grid']:.0%} | {spread(row, 'regret')} | "
            f"{' | '.join(cells)} |"
        )
    return "\n".join(lines)


def verdict(rows: Sequence[Row], *, kind: str) -> list[str]:
    """Whether what is wanted was reached, by whom."""
    models = [row for row in rows if not row["searcher"].startswith(("random", "ASHA"))]
    if not models:
        return []
    lines = [
        describe_declared(row)
        for row in models
        if searcher_key(row) in DECLARED[kind] and not row["halving"]
    ]
    within = [searcher_label(row) for row in models if row["regret"] <= EPS]
    best = min(models, key=lambda row: row["regret"])
    lines += [
        f"{kind}: mean regret within {EPS} points at {AT:.0%} of the full grid's compute: "
        f"{len(within)} of {len(models)}: {'; '.join(within) or 'none'}."
    ]
    for name, words in RANDOM.items():
        if kind == "shape" and name == "random_one_budget":
            continue  # the same as plain random
        clear = [searcher_label(row) for row in models if row[f"less_{name}_high"] < 0]
        worse = [searcher_label(row) for row in models if row[f"less_{name}_low"] > 0]
        lines.append(
            f"{kind}: less than {words} at equal compute, the interval below zero: "
            f"{'; '.join(clear) or 'none'}. Above zero: {'; '.join(worse) or 'none'}."
        )
    lines.append(
        f"{kind}: the least is {searcher_label(best)}: {spread(best, 'regret')} points, less plain "
        f"random's: {spread(best, 'less_random')}. The least of {len(models)} is optimistic."
    )
    lines += [
        f"{kind}: {row['searcher']}: {spread(row, 'regret')} points, and less plain random's "
        f"{spread(row, 'less_random')}."
        for row in rows
        if row["searcher"].startswith("ASHA")
    ]
    return lines


def describe_declared(row: Row) -> str:
    """A searcher of the project's searcher_key choice, against everything."""
    less = "; ".join(
        f"less {words} {spread(row, f'less_{name}')}"
        for name, words in RANDOM.items()
        if (row["kind"], name) != ("shape", "random_one_budget")
    )
    reached = "within" if row["regret"] <= EPS else "beyond"
    return (
        f"{row['kind']}: {searcher_label(row)}, {row['spent_of_grid']:.0%} of the grid's "
        f"compute: {spread(row, 'regret')} points, {reached} {EPS}; {less}."
    )


def searcher_key(row: Row) -> tuple[str, str]:
    """What tells searchers apart, beside their kind and halving."""
    return row["searcher"], row["answer"]


def searcher_label(row: Row) -> str:
    """A searcher with what tells it from others of its name."""
    return f"{row['searcher']}{' with halving' if row['halving'] else ''}, {row['answer']}"


def spread(row: Row, name: str) -> str:
    """A mean with its interval."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:+.2f} [{low:+.2f}, {high:+.2f}]"
