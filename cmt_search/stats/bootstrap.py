"""Bootstrap of a fit over networks, seeds and validation images."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmt_search.errors import AnalysisError
from cmt_search.stats.noise import interval, label_groups

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearFit:
    """A linear model of trainings, to be fitted to resamples of them."""

    design: Floats  # (T, p), columns of size one
    unit: Floats  # (p,) what they were divided by
    hat: Floats  # (T, T) from values to unweighted fitted values
    networks: int  # distinct

    @classmethod
    def of(cls, design: Floats, *, network: Sequence[Hashable]) -> "LinearFit":
        """For design (T, p).

        Raises:
            AnalysisError: the trainings cannot tell the columns apart with a network to spare.
        """
        networks, terms = len(set(network)), design.shape[1]
        if networks <= terms or np.linalg.matrix_rank(design) < terms:
            raise AnalysisError(
                f"{networks} networks cannot tell the {terms} terms of the fit apart with one to "
                "spare; measure more networks, of more different shapes"
            )
        unit = np.abs(design).max(axis=0)
        scaled = design / unit
        hat = scaled @ np.linalg.pinv(scaled)
        return cls(design=scaled, unit=unit, hat=hat, networks=networks)

    def __call__(self, weights: Floats, values: Floats) -> Floats:
        """Coefficients of every resample. Shape: weights, values (S, T); result (S, p)."""
        terms = len(self.unit)
        y = inflated(values, fitted=values @ self.hat.T, networks=self.networks, terms=terms)
        outer = (self.design[:, :, None] * self.design[:, None, :]).reshape(-1, terms**2)
        normal = (weights @ outer).reshape(-1, terms, terms)
        right = (weights * y) @ self.design
        result: Floats = np.linalg.solve(normal, right[:, :, None])[:, :, 0] / self.unit
        return result


def inflated(values: Floats, *, fitted: Floats, networks: int, terms: int) -> Floats:
    """Values with residuals as large as they would be, had no term been fitted to them.

    A fit takes terms/networks of the residuals' variance away, and a bootstrap that reweights what
    is left is too narrow by as much (HC1). The fit to the data themselves stays what it is.
    """
    assert networks > terms, "a fit needs a network to spare"
    return fitted + (values - fitted) * float(np.sqrt(networks / (networks - terms)))


Bools = NDArray[np.bool_]
Fit = Callable[[Floats, Floats], Floats]
"""Weights (S, T) and values (S, T) to parameters (S, P), a row each; a failed fit's is NaN."""

DRAWS = 1000
MOST_FAILED = 0.2  # of the resamples; percentiles of what is left would flatter the fit
_BLOCK = 128  # resamples whose image counts are held at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trainings:
    """What was trained, a row each, in plain arrays."""

    value: Floats  # (T,) top1 in 0..1, or loss
    network: Sequence[Hashable]  # (T,) what is redrawn as one, with all its seeds and rungs
    seed: Sequence[Hashable]  # (T,) within the network
    correct: Bools | None = None  # (T, images); None: images cannot be redrawn
    measure: Literal["top1", "loss"] = "top1"

    def __post_init__(self) -> None:
        assert len(self.value) == len(self.network) == len(self.seed), "a row per training"
        if self.correct is None:
            return
        if self.measure == "loss" or np.abs(self.correct.mean(axis=1) - self.value).max() > 1e-4:
            raise AnalysisError(
                "the values are not the accuracies on the images given, so redrawing images would "
                "bootstrap something else; pass top1, or correct=None"
            )

    def error(self, values: Floats) -> Floats:
        """What is to be made small: the loss, or one less the accuracy."""
        return 1 - values if self.measure == "top1" else values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bootstrap:
    """A fit to the data, and to every resample of them."""

    estimate: Floats  # (P,)
    draws: Floats  # (S, P), NaN where the fit failed
    failed: int  # of the S resamples
    images: bool  # whether images were redrawn; False: intervals say nothing of other images

    @property
    def kept(self) -> Floats:
        """The draws whose fit succeeded."""
        return self.draws[np.isfinite(self.draws).all(axis=1)]

    @property
    def low(self) -> Floats:
        """Lower end of the 95% percentile intervals. Shape: (P,)."""
        return interval(self.kept)[0]

    @property
    def high(self) -> Floats:
        """Upper end of the 95% percentile intervals. Shape: (P,)."""
        return interval(self.kept)[1]


def unpacked(correct: Sequence[bytes], *, images: Sequence[int]) -> Bools | None:
    """The bits of measurements, `numpy.packbits` undone, as (T, images).

    None where one has none, or where they are not of equally many images: not the same ones.
    """
    if len(set(images)) != 1 or any(len(bits) != -(-images[0] // 8) for bits in correct):
        return None
    packed = np.frombuffer(b"".join(correct), np.uint8).reshape(len(correct), -1)
    return np.unpackbits(packed, axis=1, count=images[0]).astype(bool) if images[0] else None


def resample(data: Trainings, *, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Weights of the trainings and their values, redrawn. Shape: (S, T) each."""
    rng = np.random.default_rng(seed)
    network, _ = label_groups(data.network)
    training, first = label_groups(list(zip(data.network, data.seed, strict=True)))
    between = rng.exponential(size=(draws, network.max() + 1))
    within = rng.exponential(size=(draws, training.max() + 1))
    member = (network[first, None] == np.arange(between.shape[1])).astype(float)
    mean = within @ member / member.sum(axis=0)
    weights = (between / mean)[:, network] * within[:, training]
    if data.correct is None:
        return weights, np.tile(data.value, (draws, 1))
    return weights, _accuracies(data.correct, draws=draws, rng=rng)


def bootstrap(fit: Fit, data: Trainings, *, draws: int = DRAWS, seed: int) -> Bootstrap:
    """Fit the data as they are, and resamples of them.

    Raises:
        AnalysisError: the fit fails on the data, or on more than `MOST_FAILED` of the resamples.
    """
    estimate = fit(np.ones((1, len(data.value))), data.value[None])[0]
    if not np.isfinite(estimate).all():
        raise AnalysisError(
            "the fit fails on the data themselves; measure more networks, or more different ones"
        )
    found = fit(*resample(data, draws=draws, seed=seed))
    failed = int((~np.isfinite(found).all(axis=1)).sum())
    if failed > MOST_FAILED * draws:
        raise AnalysisError(
            f"the fit fails on {failed} of {draws} resamples, and at most {MOST_FAILED:.0%} may, "
            "so it has no honest interval; measure more networks or seeds"
        )
    return Bootstrap(estimate=estimate, draws=found, failed=failed, images=data.correct is not None)


def _accuracies(correct: Bools, *, draws: int, rng: np.random.Generator) -> Floats:
    """Accuracy of every training on redrawn images. Shape: (S, T)."""
    right = correct.T.astype(np.float32)  # its sums are whole numbers, so exact
    blocks = []
    for start in range(0, draws, _BLOCK):
        size = (min(_BLOCK, draws - start), len(right))
        count = rng.poisson(1.0, size=size).astype(np.float32)
        blocks.append(count @ right / np.maximum(count.sum(axis=1, keepdims=True), 1))
    return np.vstack(blocks).astype(np.float64)
