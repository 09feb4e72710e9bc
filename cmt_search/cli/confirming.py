"""The answer of confirm: what was predicted and what was measured, as values and in words."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_search.errors import AnalysisError, BudgetError

if TYPE_CHECKING:
    from cmt_search.analysis import Analysis
    from cmt_search.scaling import Shares
    from cmt_search.search import TrialRecord
    from cmt_search.space import SearchSpace


def rules_in_question(
    analysis: "Analysis", *, space: "SearchSpace", macs: float
) -> "dict[str, Shares]":
    """The rules to retrain besides the named: predicted best and worst, and the naive answer."""
    from cmt_search.analysis.confirmation import naive_best

    assert analysis.verdict is not None
    rules = {
        "predicted-best": analysis.verdict.best,
        "predicted-bad": _worst_within_reach(analysis, space=space, macs=macs),
        "naive-best": naive_best(analysis.records),
    }
    return {role: shares for role, shares in rules.items() if shares is not None}


def _worst_within_reach(
    analysis: "Analysis", *, space: "SearchSpace", macs: float
) -> "Shares | None":
    """The rule that is predicted to be the worst of those that have a network at the budget."""
    from cmt_search.scaling import Shares

    assert analysis.triangle is not None
    triangle = analysis.triangle
    inside = triangle.feasible.nonzero()[0]
    for i in inside[triangle.difference[inside].argsort()]:
        depth, width, side = (float(v) for v in triangle.shares[i])
        shares = Shares(depth=depth, width=width, resolution=side)
        try:
            space.rule(shares).member(space.analytic_only().budget(macs))
        except BudgetError:
            continue
        return shares
    return None


def compared(
    records: "tuple[TrialRecord, ...]",
    *,
    analysis: "Analysis",
    space: "SearchSpace",
    asked: "Mapping[str, Shares]",
) -> dict[str, Any]:
    """What was predicted and what was measured, as plain values.

    `records` and `space` are the confirming run's, `asked` the rules in question by their role.
    """
    from cmt_search.analysis import compare_confirmed
    from cmt_search.cost import cost

    assert analysis.surface is not None
    base = cost(space.arch).macs
    rules = compare_confirmed(records, surface=analysis.surface, base_macs=base)
    roles = {
        role: next((r.name for r in rules if math.dist(r.shares, shares.values) < 1e-5), None)
        for role, shares in asked.items()
    }
    return {
        "budget": int(space.budget_macs[-1]),
        "seeds": space.seeds,
        **roles,
        "rules": [asdict(r) for r in rules],
        **_extrapolated(records, analysis=analysis, base_macs=base),
    }


def _extrapolated(
    records: "tuple[TrialRecord, ...]", *, analysis: "Analysis", base_macs: float
) -> dict[str, Any]:
    """The check of the law far beyond the search, or why there is none."""
    from cmt_search.analysis.confirmation import analyse_extrapolation

    assert analysis.surface is not None
    try:
        found = analyse_extrapolation(
            records, search=analysis.records, surface=analysis.surface, base_macs=base_macs
        )
    except AnalysisError as error:
        return {"extrapolation": None, "no_extrapolation": str(error)}
    return {"extrapolation": asdict(found), "no_extrapolation": None}


def show_compared(result: dict[str, Any], *, path: Path) -> None:
    """Print it for people."""
    from cmt_search.cli.console import say, show_table

    show_table(
        (_rule_row(rule) for rule in result["rules"]),
        title=f"Less the paper's rule at {result['budget']:,} MACs, in points of top1",
    )
    for role in ("predicted-best", "predicted-bad", "naive-best"):
        if role in result:
            say(f"{role}: {result[role] or 'not measured: it has no network at this budget'}")
    if found := result["extrapolation"]:
        show_table(
            (_checked_row(rule) for rule in found["rules"]),
            title=f"The law continued to {found['span']:.3g} times the search's largest budget",
        )
    for line in extrapolation_lines(result):
        say(line)
    say(f"confirmation: {path}")


def extrapolation_lines(result: dict[str, Any]) -> Iterator[str]:
    """The check of the law in sentences."""
    found = result["extrapolation"]
    if found is None:
        yield f"no check of the law beyond the search: {result['no_extrapolation']}"
        return
    count = len(found["rules"])
    yield (
        f"{found['inside']} of {count} rules lie within 1.96 standard errors of what the law "
        f"predicts; of true predictions 95% do"
    )
    predicted, naive = found["predicted"], found["naive"]
    yield f"measured best: {found['best']}"
    yield f"best by the law there: {predicted['name']}, {_regret(predicted)}"
    yield f"best at the largest budget of the search, the naive answer: {naive['name']}, " + (
        "the same rule" if naive["name"] == predicted["name"] else _regret(naive)
    )


def _regret(chosen: dict[str, Any]) -> str:
    if chosen["regret"] == 0:
        return "which is the measured best: no regret"
    regret, error = 100 * chosen["regret"], 100 * chosen["se"]
    return (
        f"regret {regret:.2f} points (standard error {error:.2f}); the measured best is partly "
        "luck, so at most"
    )


def _interval(contrast: dict[str, float]) -> str:
    mean, low, high = (100 * contrast[name] for name in ("mean", "low", "high"))
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def _rule_row(rule: dict[str, Any]) -> dict[str, str]:
    return {
        "rule": rule["name"],
        "shares d, w, r": ", ".join(f"{s:.2f}" for s in rule["shares"]),
        "top1": f"{rule['top1']:.1%}",
        "seed SD": "-" if rule["sd"] is None else f"{100 * rule['sd']:.2f}",
        "predicted": _interval(rule["predicted"]),
        "measured": _interval(rule["measured"]) if rule["measured"] else "-",
    }


def _checked_row(rule: dict[str, Any]) -> dict[str, str]:
    return {
        "rule": rule["name"],
        "predicted": _interval(rule["predicted"]),
        "measured": f"{100 * rule['measured']:+.2f}",
        "standard error": f"{100 * rule['se']:.2f}",
        "z": f"{rule['z']:+.2f}",
        "inside": "yes" if rule["inside"] else "no",
    }
