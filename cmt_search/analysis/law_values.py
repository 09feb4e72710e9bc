"""Scaling laws of a study as values; a failed fit keeps its reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from cmt_search.arch import Arch
from cmt_search.stats import AccuracyLaw, BaseCorrection, GradientTest, PowerLaws, Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class FitFailure:
    """A fit that was not possible, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedBase:
    """A better base, proposed where the base is unbalanced."""

    correction: BaseCorrection
    factors: tuple[float, float, float]  # on depth, width and resolution, at the base's MACs
    arch: Arch | None  # the closest network; None: that is the base
    macs: int | None  # of `arch`


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLaw:
    """The gradient test at the base, and what follows from it."""

    gradient_test: GradientTest
    proposal: ProposedBase | None  # None: the base is not unbalanced


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyPoint:
    """One training of one rule's member."""

    macs: float
    top1: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FamilyLaw:
    """Accuracy against MACs of one named rule."""

    rule: str
    points: tuple[FamilyPoint, ...]  # by growing MACs
    law: AccuracyLaw | FitFailure
    predictions: tuple[Prediction, ...]  # at the study's budgets, and last at twice the largest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyLaws:
    """All laws of a rule search, or those of a shape search."""

    trainings: int  # at full fidelity, with realised shares
    networks: int  # distinct
    budgets: tuple[float, ...]  # MACs asked for, ascending
    images: bool  # whether validation images are resampled: measurements keep which were right
    base: BaseLaw | FitFailure | None  # None: a shape search does not grow a base
    power: PowerLaws | FitFailure
    families: tuple[FamilyLaw, ...]  # the paper's rule, and the named one nearest to the best


def to_jsonable(value: object) -> Any:
    """Convert to JSON values; non-finite numbers become None, and draws are omitted."""
    if isinstance(value, Arch):
        return value.to_dict()
    if is_dataclass(value):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in fields(value) if f.repr}
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_jsonable(value.tolist())
    if isinstance(value, tuple | list):
        return [to_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
