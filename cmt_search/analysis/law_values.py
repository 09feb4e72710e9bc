"""What the laws of scaling say of a study, as values; a law refused keeps its reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from cmt_search.arch import Arch
from cmt_search.scaling.shares import Shares
from cmt_search.stats import AccuracyLaw, Balance, Contrast, PowerLaws, Prediction, Repair


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A law that the study does not hold enough for."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRepair:
    """A better base, proposed where the base is unbalanced."""

    move: Repair
    factors: tuple[float, float, float]  # on depth, width and resolution, at the base's MACs
    recentred: Arch | None  # the network nearest to there; None: only the base is
    macs: int | None  # of it


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLaw:
    """First-order gains of the base by weighted least squares, without the surface's prior."""

    balance: Balance
    failed: int  # resamples without a fit
    images: bool  # whether validation images were redrawn
    repair: BaseRepair | None  # None: nothing calls the base unbalanced


@dataclass(frozen=True, slots=True, kw_only=True)
class QuadraticCheck:
    """The quadratic over the triangle, which checks the Gaussian process."""

    best: Shares  # among the feasible rules, at the largest budget
    difference: Contrast  # of it to the paper's rule, top1; simultaneous interval
    agrees: bool  # the best lies in the process's equivalence set


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
    law: AccuracyLaw | Refused
    predictions: tuple[Prediction, ...]  # at the study's budgets, and last at twice the largest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyLaws:
    """All laws of a rule search, or those of a shape search."""

    trainings: int  # at full fidelity, with realised shares
    networks: int  # distinct
    budgets: tuple[float, ...]  # MACs asked for, ascending
    images: bool  # whether the measurements keep which images were right, so that they are redrawn
    quadratic: QuadraticCheck | Refused | None  # None: a shape search has no verdict to check
    base: BaseLaw | Refused | None  # None: nor does it grow a base
    power: PowerLaws | Refused
    families: tuple[FamilyLaw, ...]  # the paper's rule, and the named one nearest to the best


def plain(value: object) -> Any:
    """As values that JSON has; what is not finite becomes None, and draws are left out."""
    if isinstance(value, Arch):
        return value.to_dict()
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.repr}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
