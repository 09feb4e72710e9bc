"""Smooth relaxation of a network's MACs, exponents and the ideal point of a rule."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmt_search.arch import Arch
from cmt_search.cost import sizes_of
from cmt_search.cost.analytic import Array, Sizes, network_rows, total
from cmt_search.errors import BudgetError

Floats = NDArray[np.float64]

_STEP = 1e-30  # complex step; no difference is formed, so it may be this small
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_TIMES: Floats = (_NODES + 1) / 2  # quadrature on 0..1
_WEIGHTS = _WEIGHTS / 2


@dataclass(frozen=True, slots=True)
class VariableGroups:
    """Indices of the variables of each dimension."""

    depth: slice
    width: slice
    ratio: slice  # hidden channels per channel, then those of queries and keys
    resolution: slice

    @classmethod
    def of(cls, stages: int) -> "VariableGroups":
        """In order: stem width, widths; ratios; depths; stem tokens, tokens, key tokens."""
        width = slice(0, stages + 1)
        ratio = slice(width.stop, width.stop + 2 * stages)
        depth = slice(ratio.stop, ratio.stop + stages)
        return cls(depth, width, ratio, slice(depth.stop, depth.stop + 2 * stages + 1))


def to_variables(sizes: Sizes[int] | Sizes[Array]) -> Floats:
    """Logs of the sizes that scaling changes. Shape: sizes (...) to (..., n)."""
    stages = sizes.stages
    rows = [
        sizes.stem_width,
        *(s.width for s in stages),
        *(s.hidden / s.width for s in stages),
        *(s.qk_width / s.width for s in stages),
        *(s.depth for s in stages),
        sizes.stem_tokens,
        *(s.tokens for s in stages),
        *(s.kv_tokens for s in stages),
    ]
    return np.log(np.moveaxis(np.array(rows, dtype=np.float64), 0, -1))


def to_sizes(v: Array, *, like: Sizes[Any]) -> Sizes[Array]:
    """Inverse of `to_variables`; the rest is taken from `like`.

    Shape: (..., n) to sizes of shape (...).
    """
    count = len(like.stages)
    groups = VariableGroups.of(count)
    e = np.moveaxis(np.exp(v), -1, 0)
    stem, *widths = e[groups.width]
    ratios, depths = e[groups.ratio], e[groups.depth]
    stem_tokens, *tokens = e[groups.resolution]
    stages = tuple(
        replace(
            stage,
            depth=depths[i],
            width=widths[i],
            hidden=ratios[i] * widths[i],
            qk_width=ratios[count + i] * widths[i],
            tokens=tokens[i],
            kv_tokens=tokens[count + i],
        )
        for i, stage in enumerate(like.stages)
    )
    return replace(like, stem_width=stem, stem_tokens=stem_tokens, stages=stages)


def log_macs(v: Array, *, like: Sizes[int]) -> Array:
    """ln MACs at variables. Shape: (..., n) to (...); real or complex."""
    return np.log(total(network_rows(to_sizes(v, like=like))).macs)


def _gradient(function: Callable[[Array], Array], x: Floats) -> Floats:
    """Gradient of a function (..., n) to (...), by complex steps. Shape: (..., n) to (..., n)."""
    steps = 1j * _STEP * np.eye(x.shape[-1])
    return function(x[..., None, :] + steps).imag / _STEP


def mean_gradient(start: Floats, end: Floats, *, like: Sizes[int]) -> Floats:
    """Mean of d ln MACs / d v along the straight path between two networks. Shape: (n,)."""
    points = start + _TIMES[:, None] * (end - start)
    return _WEIGHTS @ _gradient(partial(log_macs, like=like), points)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothFamily:
    """Continuous relaxation: networks with fractional sizes that scaling `base` can reach.

    `stage_ratio` is the fraction of added blocks that goes to the third stage; None keeps the
    base's proportions.
    """

    base: Arch
    stage_ratio: float | None = None

    @property
    def sizes(self) -> Sizes[int]:
        """Sizes of the base."""
        return sizes_of(self.base)

    def depth_fractions(self) -> Floats:
        """Fractions of an added block that go to each stage. Shape: (stages,)."""
        depths = np.array([s.depth for s in self.base.stages], dtype=np.float64)
        fractions: Floats = depths / depths.sum()
        if self.stage_ratio is None:
            return fractions
        if len(depths) < 3 or not 0 <= self.stage_ratio <= 1:
            raise BudgetError(
                f"stage_ratio={self.stage_ratio} needs three stages or more and a value in 0..1; "
                "leave it out to keep the base's proportions"
            )
        others = np.delete(fractions, 2)
        return np.insert(others / others.sum() * (1 - self.stage_ratio), 2, self.stage_ratio)

    def at(self, x: Array) -> Array:
        """Variables at coordinates x. Shape: (..., 3) to (..., n)."""
        groups = VariableGroups.of(len(self.base.stages))
        v = np.broadcast_to(to_variables(self.sizes), (*x.shape[:-1], groups.resolution.stop))
        v = v.astype(x.dtype) if np.iscomplexobj(x) else v.copy()
        v[..., groups.width] += x[..., 1, None]
        v[..., groups.resolution] += 2 * x[..., 2, None]
        v[..., groups.depth] = np.log(self.depths_at(x[..., 0]))
        return v

    def depths_at(self, x_depth: Array) -> Array:
        """Fractional blocks per stage. Shape: (...) to (..., stages)."""
        depths = np.array([s.depth for s in self.base.stages], dtype=np.float64)
        added = (np.exp(x_depth) - 1)[..., None] * depths.sum() * self.depth_fractions()
        scaled = depths + added
        # A ratio other than the base's could take more blocks from a stage than it has.
        least = 0.05
        bounded: Array = np.where(scaled.real < least, least + 0 * scaled, scaled)
        return bounded

    def macs_at(self, x: Floats) -> Floats:
        """MACs of the fractional networks. Shape: (..., 3) to (...)."""
        return np.exp(log_macs(self.at(x), like=self.sizes))

    def exponents_at(self, x: Floats) -> Floats:
        """d ln MACs / d x. Shape: (..., 3) to (..., 3)."""
        sizes = self.sizes
        return _gradient(lambda points: log_macs(self.at(points), like=sizes), x)

    def path_exponents(self, x: Floats) -> Floats:
        """Mean exponents along the straight path from the base. Shape: (..., 3) to (..., 3)."""
        points = np.multiply.outer(_TIMES, x)
        return np.tensordot(_WEIGHTS, self.exponents_at(points), axes=1)


def ideal_point(family: SmoothFamily, *, shares: Floats, log_macs_ratio: float) -> Floats:
    """Coordinates of rules at ln(MACs / base MACs), by fixed point on path exponents.

    Shape: (..., 3) shares to (..., 3) logs of the factors on depth, width and resolution.
    Raises:
        BudgetError: the iteration does not converge (exponents vanish along the path).
    """
    target = shares * log_macs_ratio
    x: Floats = target / family.exponents_at(np.zeros(3))
    for _ in range(200):
        exponents = family.path_exponents(x)
        if not exponents.min() > 1e-6:  # fewer or narrower blocks save nothing more
            break
        change = target / exponents - x
        if np.max(np.abs(change)) < 1e-12:
            return x
        x = x + 0.8 * change  # damped: exponents grow with x, so full steps oscillate
    rules = f"shares {shares.tolist()} reach" if shares.ndim == 1 else "some shares reach"
    raise BudgetError(
        f"{rules} no point at {math.exp(log_macs_ratio):.3g} times the base; "
        "use a budget nearer to the base"
    )


def width_on_budget(v: Floats, *, like: Sizes[int], macs: float, start: float = 0.0) -> Floats:
    """ln of the factor on all widths that meets the budget, by Newton's method.

    Shape: variables (..., n) to (...), within 5 of `start`.
    """
    width = np.zeros(v.shape[-1])
    width[VariableGroups.of(len(like.stages)).width] = 1
    x = np.full(v.shape[:-1], start)
    for _ in range(50):
        values = log_macs(v + (x[..., None] + 1j * _STEP) * width, like=like)
        change = (values.real - math.log(macs)) / (values.imag / _STEP)
        x = np.clip(x - change, start - 5, start + 5)
        if np.max(np.abs(change)) < 1e-10:
            break
    return x
