"""Numbers and verdicts in plain words: the only place where top1 becomes points."""

from cmt_search.analysis.verdict import RuleVerdict
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.stats import EPS

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"


def points(top1: float, *, sign: bool = False) -> str:
    """A difference of top1 in points, one decimal; two where it is small."""
    value = 100 * top1
    text = f"{abs(value):.2f}" if abs(value) < 0.095 else f"{abs(value):.1f}"
    if float(text) == 0:
        return "0.0"
    return (MINUS if value < 0 else "+" if sign else "") + text


def percent(top1: float) -> str:
    """An accuracy or a fraction in per cent."""
    return f"{100 * top1:.1f}%"


def macs_text(macs: float) -> str:
    """MACs with the prefix that suits their size."""
    for unit, size in (("GMACs", 1e9), ("MMACs", 1e6), ("kMACs", 1e3)):
        if macs >= size:
            return f"{macs / size:.3g} {unit}"
    return f"{macs:.0f} MACs"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def counted(number: int, what: str) -> str:
    """So many of them: 1 trial, 2 trials."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shares_text(shares: Shares) -> str:
    """Shares as a phrase."""
    parts = zip(DIMENSIONS, shares.values, strict=True)
    return ", ".join(f"{name} {value:.2f}" for name, value in parts)


def sentence(reason: str) -> str:
    """A reason as a sentence."""
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


def headline(verdict: RuleVerdict) -> str:
    """The verdict in one sentence."""
    eps = points(EPS)
    if verdict.word == "resolved" and verdict.base_repair and verdict.corner:
        return (
            f"Base repair: the best rule is the {_leader(verdict)} corner, "
            "because the base gains more from it than from the rest."
        )
    if verdict.word == "tie":
        return (
            f"Tie: {verdict.coverage:.0%} of the rules cannot be told from the best "
            f"within {points(verdict.reach)} points."
        )
    if verdict.word == "resolved":
        return (
            f"Resolved: the best rules lie around {shares_text(verdict.best)}; "
            f"{1 - verdict.coverage:.0%} of the triangle is worse by more than "
            f"{points(verdict.reach)} points."
        )
    if verdict.error > EPS:
        return (
            "Unresolved: the study is too noisy to say which rule is best. Differences between "
            f"rules have a standard error of {points(verdict.error)} points; {eps} is what matters."
        )
    return (
        "Unresolved: the rules are neither shown to be equal nor shown to differ "
        f"by more than {eps} points."
    )


def explanation(verdict: RuleVerdict) -> tuple[str, ...]:
    """What stands behind the headline, a sentence each."""
    return tuple(
        text
        for text in (
            _difference(verdict),
            _paper(verdict),
            f"The smallest difference that this study could be expected to find is "
            f"{points(verdict.detectable)} points (two-sided 5%, power 80%).",
            _simulated(verdict),
            _noise(verdict),
            _balance(verdict),
        )
        if text
    )


def _difference(verdict: RuleVerdict) -> str:
    d = verdict.difference
    interval = f"{points(d.low, sign=True)} to {points(d.high, sign=True)}"
    lead = "The best rule" if verdict.word == "resolved" else "The best guess"
    return (
        f"{lead} ({shares_text(verdict.best)}; nearest named rule: {verdict.nearest}) is "
        f"predicted {points(d.mean, sign=True)} points against the paper's rule at "
        f"{macs_text(verdict.budget)}, 95% interval {interval}."
    )


def _paper(verdict: RuleVerdict) -> str:
    if verdict.beats_paper:
        return (
            "On this proxy that beats the paper's rule, also after allowing for its having been "
            "selected."
        )
    if verdict.word == "resolved" and not verdict.paper_equivalent:
        return "The paper's rule is not among the equals of the best; by how much is uncertain."
    if verdict.word == "resolved":
        return "The paper's rule is among the equals of the best."
    return "Nothing here says that it beats the paper's rule."


def _simulated(verdict: RuleVerdict) -> str:
    found = verdict.simulated
    if found is None:
        return "How often such a set of equals holds the best rule is simulated by `report`."
    held = f"{found.fit:.0%} of {found.studies} studies simulated from the fit"
    text = f"The set of equals holds the best rule in {held}, and {found.flat:.0%} of as many"
    text += " in which no rule differs"
    if found.widened:
        text += f", after widening it from {100 * found.asked:.2f} to {100 * found.eps:.2f} points"
    return text + "."


def _noise(verdict: RuleVerdict) -> str:
    size = f"{verdict.trials} trials, {verdict.networks} distinct networks"
    if verdict.noise is None:
        return (
            f"Evidence: {size}; no training was repeated, so seed noise is inferred from the fit."
        )
    return (
        f"Evidence: {size}; two trainings of one network scatter with a standard deviation of "
        f"{points(verdict.noise.sd)} points ({verdict.noise.dof} degrees of freedom)."
    )


def _balance(verdict: RuleVerdict) -> str:
    if not verdict.base_repair:
        return ""
    leader = _leader(verdict)
    return (
        f"Base repair: near the base, {leader} gains more per unit of compute than the rest (to "
        "first order the best rule is its corner). That says the base is unbalanced, not how to "
        f"scale it: recentre on a base with more {leader} and search again."
    )


def _leader(verdict: RuleVerdict) -> str:
    assert verdict.balance is not None, "only a tested base can be unbalanced"
    return DIMENSIONS[verdict.balance.leader]
