"""Verdicts as text."""

from cmt_search.analysis.verdict import RuleVerdict
from cmt_search.format import macs_text, points
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.stats import ALPHA, SMALLEST_EFFECT


def shares_text(shares: Shares) -> str:
    """Shares as a phrase."""
    parts = zip(DIMENSIONS, shares.values, strict=True)
    return ", ".join(f"{name} {value:.2f}" for name, value in parts)


def headline(verdict: RuleVerdict) -> str:
    """The verdict in one sentence."""
    smallest = points(SMALLEST_EFFECT)
    if verdict.status == "resolved" and verdict.base_unbalanced and verdict.corner:
        return (
            f"Unbalanced base: the best rule is the {_leader(verdict)} corner, "
            "because the base gains more from it than from the rest."
        )
    if verdict.status == "tie":
        return (
            f"Tie: {verdict.tied_fraction:.0%} of the rules are statistically tied with the best "
            f"(margin {points(verdict.margin)} pp)."
        )
    if verdict.status == "resolved":
        return (
            f"Resolved: the best rules lie around {shares_text(verdict.best)}; "
            f"{1 - verdict.tied_fraction:.0%} of the triangle is worse by more than "
            f"{points(verdict.margin)} pp."
        )
    if verdict.error > SMALLEST_EFFECT:
        return (
            "Unresolved: the study is too noisy to say which rule is best. Standard error of rule "
            f"differences: {points(verdict.error)} pp; {smallest} or less is required."
        )
    return (
        "Unresolved: the rules are neither shown to be equal nor shown to differ "
        f"by more than {smallest} pp."
    )


def explanation(verdict: RuleVerdict) -> tuple[str, ...]:
    """The evidence for the headline, a sentence each."""
    return tuple(
        text
        for text in (
            _difference(verdict),
            _multiplier(verdict),
            _paper(verdict),
            f"Minimum detectable difference: {points(verdict.detectable)} pp (two-sided 5%, "
            "power 80%).",
            _coverage(verdict),
            _noise(verdict),
            _gradient(verdict),
        )
        if text
    )


def _difference(verdict: RuleVerdict) -> str:
    d = verdict.difference
    interval = f"{points(d.low, sign=True)} to {points(d.high, sign=True)}"
    lead = "The best rule" if verdict.status == "resolved" else "The best guess"
    return (
        f"{lead} ({shares_text(verdict.best)}; nearest named rule: {verdict.nearest}) is "
        f"predicted {points(d.mean, sign=True)} pp against the paper's rule at "
        f"{macs_text(verdict.budget)}, 95% interval {interval}."
    )


def _multiplier(verdict: RuleVerdict) -> str:
    multiplier = verdict.multiplier
    if multiplier is None:
        return ""
    return (
        f"In compute: the paper's rule would need {multiplier.value:.2g} times the MACs "
        f"({multiplier.low:.2g} to {multiplier.high:.2g}) for the same accuracy, by its average "
        "slope between the two largest budgets."
    )


def _paper(verdict: RuleVerdict) -> str:
    if verdict.beats_paper:
        return (
            "On this proxy it outperforms the paper's rule; the interval accounts for its "
            "selection."
        )
    if verdict.status == "resolved" and not verdict.paper_equivalent:
        return "The paper's rule is not tied with the best; by how much it is worse is uncertain."
    if verdict.status == "resolved":
        return "The paper's rule is statistically tied with the best."
    if verdict.better_named:
        rules = " and ".join(verdict.better_named)
        return (
            "The interval does not show that this rule outperforms the paper's; the smaller but "
            f"more certain difference of {rules} does."
        )
    return "There is no evidence that it outperforms the paper's rule."


def _coverage(verdict: RuleVerdict) -> str:
    simulated = verdict.simulated
    if simulated is None:
        return "The coverage of the equivalence set is simulated by `report`."
    text = (
        f"The equivalence set holds the best rule in {simulated.fit:.0%} of "
        f"{simulated.n_simulations} studies simulated from the fit, and in {simulated.null:.0%} of "
        "as many under the null (no rule differs)"
    )
    if simulated.widened:
        text += (
            f", with its margin calibrated from {100 * SMALLEST_EFFECT:.2f} to "
            f"{100 * simulated.margin:.2f} pp"
        )
    return text + "."


def _noise(verdict: RuleVerdict) -> str:
    size = f"{verdict.trials} trials, {verdict.networks} distinct networks"
    if verdict.noise is None:
        return (
            f"Evidence: {size}; no training was repeated, so seed noise is inferred from the fit."
        )
    return (
        f"Evidence: {size}; standard deviation between seeds {points(verdict.noise.sd)} pp "
        f"({verdict.noise.dof} degrees of freedom)."
    )


def _gradient(verdict: RuleVerdict) -> str:
    if verdict.gradient_test is None or not verdict.base_unbalanced:
        return ""
    leader = _leader(verdict)
    return (
        f"Unbalanced base: near the base, {leader} gains more per unit of compute than the rest "
        f"({p_value_text(verdict.gradient_test.p_value)}), so to first order the best rule is its "
        "corner. This does not say how to scale the base further: recentre on a base with more "
        f"{leader} and search again."
    )


def thresholds_text(verdict: RuleVerdict) -> str:
    """The thresholds behind the conclusion."""
    return (
        f"Thresholds: smallest effect of interest {points(SMALLEST_EFFECT)} pp; equivalence margin "
        f"{points(verdict.margin)} pp; intervals of differences 95%, simultaneous over all rules, "
        f"so they hold for a selected one; balance of the base tested at the {ALPHA:.0%} level. "
        "Differences are predicted by a response surface fitted to every network of the study, on "
        "its validation images and training length. The winner's own measurement is optimistically "
        "biased and is not its score."
    )


def p_value_text(p_value: float) -> str:
    """A p-value with the threshold of the tests."""
    value = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    return f"{value}, threshold {ALPHA:g}"


def _leader(verdict: RuleVerdict) -> str:
    assert verdict.gradient_test is not None, "only a tested base can be unbalanced"
    return DIMENSIONS[verdict.gradient_test.leader]
