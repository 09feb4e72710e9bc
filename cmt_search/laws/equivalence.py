"""Which rules cannot be told from the best, and what word that deserves."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Word = Literal["tie", "unresolved", "resolved"]

EPS = 0.003  # 0.3 points of top1: a difference that nobody would choose a rule for
CREDIBLE = 0.05  # a rule stays a candidate while P(regret <= eps) is at least this
TIE_COVERAGE = 0.8  # of the feasible rules
CLEAR = 0.01  # level of a test whose outcome is stated as a fact


def simplex_grid(m: int) -> Floats:
    """All shares that are multiples of 1/m.

    Shape: ((m + 1)(m + 2) / 2, 3), each row sums to one.
    """
    steps = [(i, j, m - i - j) for i in range(m + 1) for j in range(m + 1 - i)]
    return np.array(steps, dtype=float) / m


def equivalence_set(draws: Floats, *, eps: float = EPS) -> Bools:
    """E = {s: P(max f - f(s) <= eps) >= 0.05} over joint draws.

    Shape: draws (S, G); result (G,).
    """
    close: Bools = needed_eps(draws) <= eps
    return close


def needed_eps(draws: Floats) -> Floats:
    """The smallest eps with which E holds each rule: the 5% quantile of its regret.

    Shape: draws (S, G); result (G,).
    """
    regret = draws.max(axis=1, keepdims=True) - draws
    last = math.ceil(CREDIBLE * len(draws) - 1e-9) - 1
    quantile: Floats = np.partition(regret, last, axis=0)[last]
    return quantile


def within_eps(draws: Floats, *, eps: float = EPS) -> Floats:
    """P(max f - f(s) <= eps), the map beneath E. Shape: draws (S, G); result (G,)."""
    regret = draws.max(axis=1, keepdims=True) - draws
    probability: Floats = (regret <= eps).mean(axis=0)
    return probability


def flatness(draws: Floats) -> float:
    """Posterior mass at least as far from the fit as "no rule differs"; small: some rule does.

    Far is measured by the largest deviation from the mean rule in standard errors, over all rules
    at once. Shape: draws (S, G).
    """
    relative = draws - draws.mean(axis=1, keepdims=True)
    centre, sd = relative.mean(axis=0), relative.std(axis=0)
    worst = np.max(np.abs(relative - centre) / sd, axis=1)
    return float(np.mean(worst >= np.max(np.abs(centre) / sd)))


def verdict_word(*, coverage: float, error: float, flat: float, eps: float = EPS) -> Word:
    """Name what a study says.

    `coverage` is the feasible area's share that E covers, `error` the standard error of contrasts,
    `flat` the `flatness`.

    "unresolved" goes first: with an error above eps the equivalence set means little in either
    direction. A noisy fit has its maximum in some corner of each draw, so the set shrinks for want
    of data ("resolved" would be false), and where it does not shrink, the rules are not known to
    be equal ("tie" would be false). For the same reason a small set alone does not resolve a study:
    the rules must differ at all, which a flat truth feigns in one of a hundred.
    """
    if not error <= eps:  # also when it is not a number
        return "unresolved"
    if coverage >= TIE_COVERAGE:
        return "tie"
    return "resolved" if flat < CLEAR else "unresolved"
