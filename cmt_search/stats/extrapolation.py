"""Check of a rule search at a held-out budget: contrasts predicted there, and measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from cmt_search.errors import AnalysisError
from cmt_search.stats.equivalence import Contrast, summarize_contrast
from cmt_search.stats.noise import Floats

MIN_SPAN = 2.0  # held-out budget over the largest fitted one
_INTERVAL = 1.96  # standard errors


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtrapolatedRule:
    """A rule less the reference at the held-out budget, in top1."""

    name: str
    predicted: Contrast
    measured: float
    se: float  # of the measured difference
    z: float  # measured less predicted, in joint standard errors with both networks' nuggets
    inside: bool  # |z| <= 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedRule:
    """A rule selected before the held-out budget was measured, and its regret there."""

    name: str
    regret: float  # best measured top1 less this rule's: an upper bound, by selection
    se: float  # of that, ignoring the selection; 0 where it is the best


@dataclass(frozen=True, slots=True, kw_only=True)
class Extrapolation:
    """Predicted and measured contrasts at a held-out budget."""

    span: float  # held-out budget over the largest fitted one
    rules: tuple[ExtrapolatedRule, ...]  # without the reference
    inside: int  # of the rules; 95% are expected
    best: str  # measured
    predicted: SelectedRule  # predicted best at the held-out budget
    naive: SelectedRule  # measured best at the largest fitted budget


def check_extrapolation(
    names: Sequence[str],
    *,
    reference: str,
    predicted: ArrayLike,
    measured: ArrayLike,
    se: ArrayLike,
    at_largest: ArrayLike,
    span: float,
    nugget: ArrayLike = 0.0,
) -> Extrapolation:
    """Compare rules with the reference beyond the fitted budgets.

    `predicted` are draws for the held-out networks, `nugget` the SD of a network around them,
    `span` is the held-out budget over the largest fitted one.
    Shape: predicted (S, R), up to a common term; measured, se of each rule's mean, and at_largest,
    its measured top1 at the largest fitted budget (NaN: none), (R,); nugget (S,) or ().
    Units: top1 in 0..1.

    Raises:
        AnalysisError: the held-out budget is too near, or nothing can be compared.
    """
    draws, top1, error, before = (
        np.asarray(values, dtype=float) for values in (predicted, measured, se, at_largest)
    )
    _check(names, reference=reference, before=before, span=span)
    at = list(names).index(reference)
    rules = tuple(
        _compare(
            name,
            draws[:, i] - draws[:, at],
            measured=top1[i] - top1[at],
            se=np.hypot(error[i], error[at]),
            nugget=float(np.sqrt(np.mean(np.square(nugget)))),
        )
        for i, name in enumerate(names)
        if i != at
    )
    select = partial(_select, names=names, top1=top1, se=error)
    return Extrapolation(
        span=span,
        rules=rules,
        inside=sum(rule.inside for rule in rules),
        best=names[int(top1.argmax())],
        predicted=select(int(draws.mean(axis=0).argmax())),
        naive=select(int(np.nanargmax(before))),
    )


def _compare(
    name: str, predicted: Floats, *, measured: float, se: float, nugget: float
) -> ExtrapolatedRule:
    contrast = summarize_contrast(predicted)
    z = (measured - contrast.mean) / math.sqrt(contrast.se**2 + se**2 + 2 * nugget**2)
    return ExtrapolatedRule(
        name=name,
        predicted=contrast,
        measured=float(measured),
        se=float(se),
        z=float(z),
        inside=bool(abs(z) <= _INTERVAL),
    )


def _select(i: int, *, names: Sequence[str], top1: Floats, se: Floats) -> SelectedRule:
    best = int(top1.argmax())
    sd = 0.0 if i == best else float(np.hypot(se[i], se[best]))
    return SelectedRule(name=names[i], regret=float(top1[best] - top1[i]), se=sd)


def _check(names: Sequence[str], *, reference: str, before: Floats, span: float) -> None:
    if span < MIN_SPAN * (1 - 1e-6):
        raise AnalysisError(
            f"the held-out budget is {span:.3g} times the largest fitted one, and extrapolation "
            f"starts at {MIN_SPAN:g} times; measure at a larger budget"
        )
    if reference not in names or len(names) < 2:
        raise AnalysisError(
            f"the held-out budget needs {reference} and another rule to compare with it, and has "
            f"{', '.join(names) or 'none'}; measure them there"
        )
    if np.isnan(before).all():
        raise AnalysisError(
            "none of the rules was measured at the largest fitted budget, so the best observed "
            "rule is unknown; measure one there"
        )
