"""family: the best rule, solved at any budgets."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.options import Json, RunArgument, macs_of
from cmt_search.errors import AnalysisError, BudgetError, SpaceError
from cmt_search.presets import PRESETS, PUBLISHED
from cmt_search.scaling.shares import DIMENSIONS

if TYPE_CHECKING:
    from cmt_search.analysis import Analysis
    from cmt_search.arch import Arch
    from cmt_search.scaling import Member, ScalingRule, Shares
    from cmt_search.space import SearchSpace

_PAPER_BUDGETS = "0.64G,1.55G,4.03G,9.32G"  # MACs of the published variants
_OWN_BASE = "run"
_CRITERIA = ("activations", "params")  # to choose by among equals


def family(
    run: RunArgument,
    budgets: Annotated[str, typer.Option(help="MACs, as 0.64G,1.5G.")] = _PAPER_BUDGETS,
    base: Annotated[
        str, typer.Option(help="Preset that the rule scales, or `run`: the search's own base.")
    ] = "cmt_s",
    rule: Annotated[
        str,
        typer.Option(
            help="best, a named rule of the search, or least-activations, least-params: "
            "of the rules not told from the best, the one that is cheapest so."
        ),
    ] = "best",
    json: Json = False,
) -> None:
    """Solve the family of the best rule at any budgets, beside the paper's variants."""
    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.cli.wiring import STUDIES, analysis_of, space_of
    from cmt_search.export import write_family
    from cmt_search.scaling import Family
    from cmt_search.search import RunFolder
    from cmt_search.space import format_quantity

    folder = RunFolder.open(run)
    space, analysis = space_of(folder), analysis_of(run, studies=STUDIES)
    shares = _shares(rule, analysis=analysis, space=space)
    scaled = _around(base, name=rule, shares=shares, space=space)
    members, missing = _solved(scaled, budgets=macs_of(budgets))
    names = {m.budget.macs: f"{rule}-{format_quantity(m.budget.macs)}" for m in members}
    if len(set(names.values())) < len(names):
        raise BudgetError(f"--budgets: two of {budgets} have the same name; write them apart by 1%")
    evidence = _evidence(analysis, run=folder.info().name)
    path = write_family(
        Family(rule=scaled, members=members),
        path=folder.family,
        names=names,
        evidence=evidence,
        missing=missing,
    )
    if json:
        rows = [{"name": names[m.budget.macs], **m.to_dict()} for m in members]
        head = {"family": str(path), "rule": rule, "shares": _by_dimension(scaled.shares)}
        print_json({**head, "members": rows, "missing": missing, "evidence": evidence})
        return
    rows = [_row(names[m.budget.macs], m.arch) for m in members]
    if base != _OWN_BASE:
        rows += [_row(f"{name} (published)", PRESETS[name]) for name in PUBLISHED]
    show_table(rows, title=f"Family of rule {rule} around {base}")
    for line in _lines(scaled, missing=missing, evidence=evidence):
        say(line)
    say(f"family: {path}")


def _lines(rule: "ScalingRule", *, missing: dict[str, str], evidence: dict[str, Any]) -> list[str]:
    shares = ", ".join(f"{name} {share:.2f}" for name, share in _by_dimension(rule.shares).items())
    return [
        f"rule {rule.name}: shares of growth in log MACs: {shares}",
        *(f"no member at {budget}: {reason}" for budget, reason in missing.items()),
        *evidence["says"],
    ]


def _shares(rule: str, *, analysis: "Analysis", space: "SearchSpace") -> "Shares":
    criterion = rule.removeprefix("least-")
    if rule == "best" and analysis.verdict is not None:
        return analysis.verdict.best
    if rule == "best":
        raise AnalysisError(f"there is no best rule yet. {analysis.no_verdict}")
    if criterion in _CRITERIA:
        return _cheapest(analysis, criterion=criterion, space=space)
    if rule not in analysis.named:
        known = ", ".join(("best", *(f"least-{name}" for name in _CRITERIA), *analysis.named))
        raise AnalysisError(f"rule {rule!r} is not in this search; use {known}")
    return analysis.named[rule]


def _cheapest(analysis: "Analysis", *, criterion: str, space: "SearchSpace") -> "Shares":
    """Of the equivalence set, the rule whose member at the largest budget costs least."""
    from cmt_search.analysis import equal_rules
    from cmt_search.laws import cheapest
    from cmt_search.scaling import Shares

    equals = equal_rules(analysis).tolist()
    costs = []
    for values in equals:
        rule = space.rule(Shares(**dict(zip(DIMENSIONS, values, strict=True))), name="equal")
        try:
            costs.append(float(getattr(rule.member(space.budget_macs[-1]).cost, criterion)))
        except BudgetError:
            costs.append(math.nan)
    depth, width, side = cheapest(equals, cost=costs, criterion=criterion).shares
    return Shares(depth=depth, width=width, resolution=side)


def _around(base: str, *, name: str, shares: "Shares", space: "SearchSpace") -> "ScalingRule":
    from cmt_search.scaling import CATALOGUE, ScalingRule, named_rule

    if base == _OWN_BASE:
        return space.rule(shares, name=name)
    if base not in PRESETS:
        raise SpaceError(f"--base {base!r} is unknown; use run, {', '.join(PRESETS)}")
    if name in CATALOGUE:  # constants give other shares around another base
        return named_rule(name, base=PRESETS[base])
    return ScalingRule(base=PRESETS[base], shares=shares, name=name)


def _solved(
    rule: "ScalingRule", *, budgets: Sequence[float]
) -> tuple[tuple["Member", ...], dict[str, str]]:
    """The members, and why a budget has none."""
    from cmt_search.scaling import members_at
    from cmt_search.space import format_quantity

    members, missing = members_at(rule, budgets=budgets)
    if not members:
        raise BudgetError(f"no budget can be met: {next(iter(missing.values()))}")
    return members, {format_quantity(macs): reason for macs, reason in missing.items()}


def _evidence(analysis: "Analysis", *, run: str) -> dict[str, Any]:
    """What the rule rests on, in words and numbers."""
    from cmt_search.analysis import equals_of, equals_text, explanation, headline

    verdict = analysis.verdict
    if verdict is None:
        return {"run": run, "word": None, "says": [analysis.no_verdict]}
    return {
        "run": run,
        "word": verdict.word,
        "best_shares": _by_dimension(verdict.best),
        "difference_to_paper": round(verdict.difference.mean, 5),
        "interval": [round(verdict.difference.low, 5), round(verdict.difference.high, 5)],
        "equals": equals_of(analysis),
        "detectable_difference": round(verdict.detectable, 5),
        "seed_sd": round(verdict.noise.sd, 5) if verdict.noise else None,
        "budget": int(verdict.budget),
        "says": [headline(verdict), equals_text(analysis), *explanation(verdict)],
    }


def _by_dimension(shares: "Shares") -> dict[str, float]:
    return {name: round(v, 4) for name, v in zip(DIMENSIONS, shares.values, strict=True)}


def _row(name: str, arch: "Arch") -> dict[str, str]:
    from cmt_search.cost import cost

    measured = cost(arch)
    return {
        "member": name,
        "MACs": f"{measured.macs:,}",
        "params": f"{measured.params:,}",
        "px": str(arch.resolution),
        "stem": str(arch.stem_width),
        "widths": "-".join(str(s.width) for s in arch.stages),
        "depths": "-".join(str(s.depth) for s in arch.stages),
    }
