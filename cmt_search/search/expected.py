"""What a further measurement is expected to leave of the equivalence set.

The posterior is a sample of joint draws. An imagined result weights each draw by its likelihood,
and the set of the weighted draws is what would be left; the mean over results that the draws
themselves predict is the expectation. Nothing is fitted anew.
"""

import numpy as np
from numpy.typing import NDArray

from cmt_search.laws.contrast import typical_error
from cmt_search.laws.equivalence import CREDIBLE, EPS

Floats = NDArray[np.float64]

_RESULTS = 48  # imagined of each choice


def expected_sizes(
    effect: Floats, *, at: Floats, variances: Floats, rng: np.random.Generator
) -> Floats:
    """The expected part of the rules that stay candidates for the best, after each choice.

    Rules are held equal within 0.3 points or, where that is more, the error of contrasts so far: a
    vague posterior has its best rule in another corner in each draw, so that within less hardly any
    rule would ever be near the best, and the set would be small for want of data.
    Shape: effect (S, G) of the rules; at (S, C), the accuracy that each choice measures; variances
    (S, C) of a measurement around it; result (C,).
    """
    reach = max(EPS, typical_error(effect - effect.mean(axis=1, keepdims=True)))
    close = (effect.max(axis=1, keepdims=True) - effect <= reach).astype(float)
    picks = rng.choice(len(effect), size=min(_RESULTS, len(effect)), replace=False)
    errors = rng.standard_normal(len(picks))  # the same for all choices, so that they compare
    sizes = np.empty(at.shape[1])
    for i in range(at.shape[1]):
        mean, variance = at[:, i], variances[:, i]
        results = mean[picks] + errors * np.sqrt(variance[picks])
        log = -0.5 * ((results[:, None] - mean) ** 2 / variance + np.log(variance))
        weights = np.exp(log - log.max(axis=1, keepdims=True))
        within = (weights @ close) / weights.sum(axis=1, keepdims=True)
        sizes[i] = (within >= CREDIBLE).mean()
    return sizes


def repeat_variance(noise: Floats, *, lattice: Floats, measured: int) -> Floats:
    """The variance with which a rule's response is seen by one more seed of a known network.

    The network deviates from the response by a lattice effect that seeds do not average out. The
    mean of n seeds sees the response with variance tau^2 + sigma^2 / n; what the next seed adds to
    its inverse is as much as an independent measurement of this variance would.
    Shape: noise sigma and lattice tau (S,) to (S,).
    """
    before, after = (lattice**2 + noise**2 / n for n in (measured, measured + 1))
    result: Floats = before * after / (noise**2 / (measured * (measured + 1)))
    return result
