"""Scaling laws of a study: gradient test of the base, power laws, accuracy against MACs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from cmt_search.analysis.law_rows import (
    Correct,
    LawRows,
    family_rows,
    law_rows,
    measurements,
    trainings_of,
)
from cmt_search.analysis.law_values import (
    BaseLaw,
    FamilyLaw,
    FamilyPoint,
    FitFailure,
    ProposedBase,
    StudyLaws,
)
from cmt_search.analysis.verdict import RuleVerdict
from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import AnalysisError
from cmt_search.scaling.shares import Shares
from cmt_search.search.types import TrialRecord
from cmt_search.stats import (
    GaussianProcess,
    PowerLaws,
    correct_base,
    fit_accuracy_law,
    fit_power_laws,
)

Triple = tuple[float, float, float]
T = TypeVar("T")

POWER_DRAWS = 300  # each fits the parametric law: 3 to 10 ms
BEYOND = 2.0  # the last prediction of accuracy, over the largest budget


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseContext:
    """The base of a space: its exponents, and a solver for networks near it."""

    exponents: Triple  # local ones of MACs in depth, width and resolution
    solve_at: Callable[[Triple], Arch | None]
    """Solve for the network closest to these logs of factors at the base's MACs; None: the base."""


def study_laws(
    records: Iterable[TrialRecord],
    *,
    frame: pd.DataFrame,
    base_macs: float,
    paper: Shares,
    named: Mapping[str, Shares],
    verdict: RuleVerdict | None,
    surface: GaussianProcess | None,
    base: BaseContext,
    seed: int,
) -> StudyLaws:
    """Fit every law that the study has enough data for; `frame` is that of `records`."""
    correct = measurements(records)
    study = law_rows(frame, correct=correct, base_macs=base_macs)
    budgets = tuple(float(one) for one in np.unique(study.budget))
    nearest = {verdict.nearest} if verdict else set()
    papers = {name for name, shares in named.items() if shares == paper}
    return StudyLaws(
        trainings=len(study.budget),
        networks=len(set(study.data.network)),
        budgets=budgets,
        images=study.data.correct is not None,
        base=_try_fit(lambda: _base_law(surface, verdict=verdict, base=base)),
        power=_try_fit(lambda: _power(study, seed=seed)),
        families=tuple(
            _family(name, frame=frame, correct=correct, budgets=budgets, seed=seed)
            for name in named
            if name in papers | nearest
        ),
    )


def shape_laws(
    records: Iterable[TrialRecord], *, frame: pd.DataFrame, base_macs: float, seed: int
) -> StudyLaws:
    """Fit the power laws to the shapes of a shape search; `frame` is that of `records`."""
    study = law_rows(frame, correct=measurements(records), base_macs=base_macs)
    return StudyLaws(
        trainings=len(study.budget),
        networks=len(set(study.data.network)),
        budgets=tuple(float(one) for one in np.unique(study.budget)),
        images=study.data.correct is not None,
        base=None,
        power=_try_fit(lambda: _power(study, seed=seed)),
        families=(),
    )


def _try_fit(fit: Callable[[], T]) -> T | FitFailure:
    try:
        return fit()
    except AnalysisError as error:
        return FitFailure(reason=str(error))


def _power(study: LawRows, *, seed: int) -> PowerLaws:
    return fit_power_laws(
        study.data, contributions=study.parts, budget=study.budget, seed=seed, draws=POWER_DRAWS
    )


def _base_law(
    surface: GaussianProcess | None, *, verdict: RuleVerdict | None, base: BaseContext
) -> BaseLaw:
    if surface is None or verdict is None:
        raise AnalysisError("the gradient test needs a verdict, and there is none")
    if verdict.gradient_test is None:
        raise AnalysisError(
            "one budget does not separate first-order gains from curvature; measure rules at two "
            "budgets or more"
        )
    return BaseLaw(
        gradient_test=verdict.gradient_test,
        proposal=_propose_base(surface, base=base) if verdict.base_unbalanced else None,
    )


def _propose_base(surface: GaussianProcess, *, base: BaseContext) -> ProposedBase:
    first, second = surface.derivatives()
    correction = correct_base(
        first,
        second=second,
        log_macs_ratio=float(surface.log_macs_ratios[-1]),
        exponents=base.exponents,
    )
    depth, width, side = (float(factor) for factor in np.exp(correction.x))
    arch = base.solve_at(correction.x)
    return ProposedBase(
        correction=correction,
        factors=(depth, width, side),
        arch=arch,
        macs=None if arch is None else cost(arch).macs,
    )


def _family(
    rule: str,
    *,
    frame: pd.DataFrame,
    correct: Correct,
    budgets: tuple[float, ...],
    seed: int,
) -> FamilyLaw:
    rows = family_rows(frame, rule=rule)
    data, macs = trainings_of(rows, correct=correct), rows["macs"].to_numpy(dtype=float)
    law = _try_fit(lambda: fit_accuracy_law(data, macs=macs, seed=seed))
    asked = () if isinstance(law, FitFailure) else (*budgets, BEYOND * budgets[-1])
    return FamilyLaw(
        rule=rule,
        points=points_of(rows),
        law=law,
        predictions=() if isinstance(law, FitFailure) else tuple(law.predict(m) for m in asked),
    )


def points_of(rows: pd.DataFrame) -> tuple[FamilyPoint, ...]:
    """Rows of the frame as points of a family."""
    columns = zip(rows["macs"], rows["top1"], rows["seed"], strict=True)
    return tuple(
        FamilyPoint(macs=float(macs), top1=float(top1), seed=int(seed))
        for macs, top1, seed in columns
    )
