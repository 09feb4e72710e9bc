"""Which rule a family follows: the best, a named one, or the cheapest of the tied ones."""

from contextlib import suppress

from cmt_search.analysis.equivalence import tied_rules
from cmt_search.analysis.study import Analysis
from cmt_search.arch import Arch
from cmt_search.errors import AnalysisError, BudgetError, suggestion
from cmt_search.scaling import CATALOGUE, ScalingRule, Shares, named_rule
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.space import SearchSpace

_CRITERIA = ("activations", "params")  # to choose by among equals


def choose_rule(
    name: str, *, base: Arch | None, analysis: Analysis, space: SearchSpace
) -> ScalingRule:
    """Return the rule of this name around `base`; None: around the search's own base.

    "best" is that of the verdict; "least-params" and "least-activations" are the cheapest of the
    rules that are tied with it.

    Raises:
        AnalysisError: there is no such rule, or no best one yet.
    """
    shares = _shares(name, base=base or space.arch, analysis=analysis, space=space)
    if base is None:
        return space.rule(shares, name=name)
    return ScalingRule(base=base, shares=shares, name=name)


def _shares(rule: str, *, base: Arch, analysis: Analysis, space: SearchSpace) -> Shares:
    criterion = rule.removeprefix("least-")
    if rule == "best" and analysis.verdict is not None:
        return analysis.verdict.best
    if rule == "best":
        raise AnalysisError(f"the study has no best rule yet. {analysis.no_verdict}")
    if rule != criterion and criterion in _CRITERIA:
        return _cheapest(analysis, criterion=criterion, space=space)
    if rule in analysis.named and rule not in CATALOGUE:
        return analysis.named[rule]
    try:
        return named_rule(rule, base=base).shares  # constants give other shares around other bases
    except BudgetError:
        least = (f"least-{name}" for name in _CRITERIA)
        known = dict.fromkeys(("best", *least, *analysis.named, *CATALOGUE, "dwr(alpha)"))
        raise AnalysisError(f"rule {rule!r} is unknown; {suggestion(rule, known)}") from None


def _cheapest(analysis: Analysis, *, criterion: str, space: SearchSpace) -> Shares:
    """Return the tied rule whose member at the largest budget costs least; the first of equals."""
    costs: dict[Shares, float] = {}
    for values in tied_rules(analysis).tolist():
        shares = Shares(**dict(zip(DIMENSIONS, values, strict=True)))
        with suppress(BudgetError):
            member = space.rule(shares, name="tied").member(space.budget_macs[-1])
            costs[shares] = float(getattr(member.cost, criterion))
    if not costs:
        raise AnalysisError(
            f"none of the tied rules has a network at the largest budget, so none has the least "
            f"{criterion}; choose --rule best or a named rule"
        )
    return min(costs, key=costs.__getitem__)
