"""Bayesian bootstrap of a fit over networks, seeds and validation images."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from cmt_search.errors import AnalysisError
from cmt_search.stats.noise import Bools, Floats, label_groups

Fit = Callable[[Floats, Floats], Floats]
"""From weights (S, T) and values (S, T) to parameters (S, P); a failed fit is a row of NaN."""

DRAWS = 1000
MAX_FAILED = 0.2  # of the resamples; percentiles of fewer would be too optimistic
_BATCH = 128  # resamples whose image counts are held in memory


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trainings:
    """Trainings, one row each."""

    value: Floats  # (T,) top1 in 0..1
    network: Sequence[Hashable]  # (T,) resampled as one, with all its seeds and rungs
    seed: Sequence[Hashable]  # (T,) within the network
    correct: Bools | None = None  # (T, images); None: images cannot be resampled

    def __post_init__(self) -> None:
        assert len(self.value) == len(self.network) == len(self.seed), "one row per training"
        on_images = self.value if self.correct is None else self.correct.mean(axis=1)
        if np.abs(on_images - self.value).max(initial=0) > 1e-4:
            raise AnalysisError(
                "the values are not the accuracies on the images given, so images cannot be "
                "resampled; pass top1 of these images, or correct=None"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BootstrapFit:
    """Parameters fitted to the data and to every resample."""

    estimate: Floats  # (P,)
    draws: Floats  # (S, P) of the resamples whose fit succeeded
    failed: int  # resamples


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearFit:
    """A linear model of trainings, for fits to resamples of them."""

    design: Floats  # (T, p), columns of unit size
    unit: Floats  # (p,) original size of the columns
    hat: Floats  # (T, T) from values to unweighted fitted values
    networks: int  # distinct

    @classmethod
    def from_design(cls, design: Floats, *, network: Sequence[Hashable]) -> "LinearFit":
        """Build for a design (T, p) of rank p, of more than p networks."""
        unit = np.abs(design).max(axis=0)
        scaled, networks = design / unit, len(set(network))
        return cls(design=scaled, unit=unit, hat=scaled @ np.linalg.pinv(scaled), networks=networks)

    def __call__(self, weights: Floats, values: Floats) -> Floats:
        """Fit every resample. Shape: weights, values (S, T); result (S, p)."""
        terms = len(self.unit)
        fitted = values @ self.hat.T
        y = fitted + hc1_residuals(values, fitted=fitted, networks=self.networks, terms=terms)
        outer = (self.design[:, :, None] * self.design[:, None, :]).reshape(-1, terms**2)
        normal = (weights @ outer).reshape(-1, terms, terms)
        right = (weights * y) @ self.design
        return np.linalg.solve(normal, right[:, :, None])[:, :, 0] / self.unit


def hc1_residuals(values: Floats, *, fitted: Floats, networks: int, terms: int) -> Floats:
    """Return residuals, scaled up for the variance that the fitted terms absorb.

    Without the factor sqrt(n / (n - p)), a bootstrap that reweights residuals is too narrow.

    Source: MacKinnon and White 1985, HC1.
    """
    assert networks > terms, "a fit needs more networks than terms"
    return (values - fitted) * float(np.sqrt(networks / (networks - terms)))


def unpack_bits(correct: Sequence[bytes], *, images: Sequence[int]) -> Bools | None:
    """Undo `numpy.packbits` of measurements. Shape: result (T, images).

    Return None where a measurement has no bits, or where the numbers of images differ.
    """
    if len(set(images)) != 1 or any(len(bits) != -(-images[0] // 8) for bits in correct):
        return None
    packed = np.frombuffer(b"".join(correct), np.uint8).reshape(len(correct), -1)
    return np.unpackbits(packed, axis=1, count=images[0]).astype(bool) if images[0] else None


def resample(data: Trainings, *, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Draw weights of the trainings, and their values on resampled images. Shape: (S, T) each.

    Weights are Exp(1) per network, divided at random between its seeds.

    Source: Rubin 1981, the Bayesian bootstrap; images have Poisson(1) counts.
    """
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
    return weights, _resample_images(data.correct, draws=draws, rng=rng)


def bootstrap_fit(fit: Fit, data: Trainings, *, draws: int = DRAWS, seed: int) -> BootstrapFit:
    """Fit the data and resamples of them.

    Raises:
        AnalysisError: the fit fails on the data, or on more than `MAX_FAILED` of the resamples.
    """
    estimate = fit(np.ones((1, len(data.value))), data.value[None])[0]
    if not np.isfinite(estimate).all():
        raise AnalysisError(
            "the fit fails on the data themselves; measure more networks, or more different ones"
        )
    fitted = fit(*resample(data, draws=draws, seed=seed))
    succeeded = np.isfinite(fitted).all(axis=1)
    failed = int((~succeeded).sum())
    if failed > MAX_FAILED * draws:
        raise AnalysisError(
            f"the fit fails on {failed} of {draws} resamples, more than {MAX_FAILED:.0%}, so its "
            "intervals would be too narrow; measure more networks or seeds"
        )
    return BootstrapFit(estimate=estimate, draws=fitted[succeeded], failed=failed)


def _resample_images(correct: Bools, *, draws: int, rng: np.random.Generator) -> Floats:
    """Return the accuracy of every training on resampled images. Shape: (T, images) to (S, T)."""
    right = correct.T.astype(np.float32)  # sums are integers, so exact
    batches = []
    for start in range(0, draws, _BATCH):
        size = (min(_BATCH, draws - start), len(right))
        count = rng.poisson(1.0, size=size).astype(np.float32)
        batches.append(count @ right / np.maximum(count.sum(axis=1, keepdims=True), 1))
    return np.vstack(batches).astype(np.float64)
