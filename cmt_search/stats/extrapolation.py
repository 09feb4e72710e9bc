"""Does a rule hold beyond where it was fitted? Contrasts predicted there, and measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.errors import AnalysisError
from cmt_search.stats.equivalence import Contrast, contrast

Floats = NDArray[np.float64]

FARTHER = 2.0  # the held-out budget over the largest fitted one, at least
INSIDE = 1.96  # standard errors


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtrapolatedRule:
    """A rule less the reference at the held-out budget, in top1."""

    name: str
    predicted: Contrast
    measured: float
    se: float  # of the measured difference
    z: float  # measured less predicted, in standard errors of both and of both networks' lattice
    inside: bool  # |z| <= 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenRule:
    """A rule chosen before the held-out budget was measured, and what that cost there."""

    name: str
    regret: float  # the best measured top1 less this rule's; luck helps the best, so an upper bound
    se: float  # of that, as if the best had not been selected; 0 where it is the best


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrapolation:
    """The check of a rule search at a held-out budget."""

    reference: str
    span: float  # held-out budget over the largest fitted one
    rules: tuple[ExtrapolatedRule, ...]  # without the reference
    inside: int  # of the rules; 95% are expected
    best: str  # of the measured
    predicted: ChosenRule  # the rule that the law says is best at the held-out budget
    naive: ChosenRule  # the rule that measured best at the largest fitted budget


def extrapolation(
    names: Sequence[str],
    *,
    reference: str,
    predicted: ArrayLike,
    measured: ArrayLike,
    se: ArrayLike,
    at_largest: ArrayLike,
    held_out: float,
    fitted: float,
    lattice: ArrayLike = 0.0,
) -> Extrapolation:
    """Compare rules with the reference where the law was not fitted.

    `predicted` must be the law continued along L to the held-out networks' own growth: of a surface
    in coefficients `Surface.effect(realised shares, growth=L)`, a polynomial in L, so a true
    extrapolation whose draws spread with L. `lattice` is the SD of a network around the law: both
    networks of a difference have theirs, which no draw of the law holds.
    Shape: predicted (S, R), any common part cancels; measured, se of each rule's mean, and
    at_largest, its measured top1 at the largest fitted budget (NaN: none), (R,); lattice (S,), ().
    Units: top1 in 0..1; held_out and fitted, the largest fitted budget, in MACs.

    Raises:
        AnalysisError: the held-out budget is too near, or nothing can be compared.
    """
    draws, top1, error, before = (
        np.asarray(one, dtype=float) for one in (predicted, measured, se, at_largest)
    )
    _check(names, reference=reference, before=before, span=held_out / fitted, held_out=held_out)
    at = list(names).index(reference)
    apart, spread = top1 - top1[at], np.hypot(error, error[at])
    extra = 2 * float(np.mean(np.square(lattice)))
    rules = tuple(
        _rule(name, draws[:, i] - draws[:, at], measured=apart[i], se=spread[i], extra=extra)
        for i, name in enumerate(names)
        if i != at
    )
    return Extrapolation(
        reference=reference,
        span=held_out / fitted,
        rules=rules,
        inside=sum(rule.inside for rule in rules),
        best=names[int(top1.argmax())],
        predicted=_chosen(int(draws.mean(axis=0).argmax()), names=names, top1=top1, se=error),
        naive=_chosen(int(np.nanargmax(before)), names=names, top1=top1, se=error),
    )


def _chosen(i: int, *, names: Sequence[str], top1: Floats, se: Floats) -> ChosenRule:
    best = int(top1.argmax())
    spread = 0.0 if i == best else float(np.hypot(se[i], se[best]))
    return ChosenRule(name=names[i], regret=float(top1[best] - top1[i]), se=spread)


def _rule(
    name: str, draws: Floats, *, measured: float, se: float, extra: float
) -> ExtrapolatedRule:
    expected = contrast(draws)
    z = (measured - expected.mean) / np.sqrt(expected.se**2 + se**2 + extra)
    return ExtrapolatedRule(
        name=name,
        predicted=expected,
        measured=float(measured),
        se=float(se),
        z=float(z),
        inside=bool(abs(z) <= INSIDE),
    )


def _check(
    names: Sequence[str], *, reference: str, before: Floats, span: float, held_out: float
) -> None:
    if span < FARTHER * (1 - 1e-6):
        raise AnalysisError(
            f"the held-out budget of {held_out:.4g} MACs is {span:.3g} times the largest fitted "
            f"one, and extrapolation starts at {FARTHER:g} times; measure at a larger budget"
        )
    if reference not in names or len(names) < 2:
        raise AnalysisError(
            f"the held-out budget needs {reference} and another rule to compare with it, and has "
            f"{', '.join(names) or 'none'}; measure them there"
        )
    if np.isnan(before).all():
        raise AnalysisError(
            "none of the rules was measured at the largest fitted budget, so there is no naive "
            "answer to compare with; measure one there"
        )
