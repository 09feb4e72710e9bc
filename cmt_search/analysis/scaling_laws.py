"""The laws of scaling fitted to a rule search: balance, power laws, accuracy, and the check."""

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
    BaseRepair,
    FamilyLaw,
    FamilyPoint,
    QuadraticCheck,
    Refused,
    StudyLaws,
)
from cmt_search.analysis.verdict import RuleVerdict, Triangle
from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import AnalysisError
from cmt_search.scaling.shares import Shares
from cmt_search.search.types import TrialRecord
from cmt_search.stats import (
    Expansion,
    PowerLaws,
    accuracy_law,
    expansion,
    fit_surface,
    power_laws,
    repair,
    selected_contrasts,
)

Triple = tuple[float, float, float]
T = TypeVar("T")

POWER_DRAWS = 300  # each fits the parametric law anew: 3 to 10 ms
BEYOND = 2.0  # the last prediction of accuracy, over the largest budget


@dataclass(frozen=True, slots=True, kw_only=True)
class AroundBase:
    """What a space knows of its base and a study does not."""

    exponents: Triple  # local ones of MACs in depth, width and resolution
    solve_at: Callable[[Triple], Arch | None]
    """From logs of the factors to the network nearest to there at the base's MACs; None: no other
    than the base."""


def study_laws(
    records: Iterable[TrialRecord],
    *,
    frame: pd.DataFrame,
    base_macs: float,
    paper: Shares,
    named: Mapping[str, Shares],
    verdict: RuleVerdict | None,
    triangle: Triangle | None,
    around: AroundBase,
    seed: int,
) -> StudyLaws:
    """Fit every law that the study holds enough for; `frame` is that of `records`."""
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
        quadratic=_tried(lambda: _quadratic(study, paper=paper, triangle=triangle, seed=seed)),
        base=_tried(lambda: _base(study, verdict=verdict, around=around, seed=seed)),
        power=_tried(lambda: _power(study, seed=seed)),
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
        quadratic=None,
        base=None,
        power=_tried(lambda: _power(study, seed=seed)),
        families=(),
    )


def _tried(fit: Callable[[], T]) -> T | Refused:
    try:
        return fit()
    except AnalysisError as error:
        return Refused(reason=str(error))


def _power(study: LawRows, *, seed: int) -> PowerLaws:
    return power_laws(
        study.data, contributions=study.parts, budget=study.budget, seed=seed, draws=POWER_DRAWS
    )


def _base(study: LawRows, *, verdict: RuleVerdict | None, around: AroundBase, seed: int) -> BaseLaw:
    found = expansion(study.data, contributions=study.parts, budget=study.budget, seed=seed)
    unbalanced = found.balance.unbalanced or (verdict is not None and verdict.base_repair)
    return BaseLaw(
        balance=found.balance,
        failed=found.failed,
        images=found.images,
        repair=_repair(found, around=around) if unbalanced else None,
    )


def _repair(found: Expansion, *, around: AroundBase) -> BaseRepair:
    move = repair(found, exponents=around.exponents)
    depth, width, side = (float(factor) for factor in np.exp(move.x))
    recentred = around.solve_at(move.x)
    return BaseRepair(
        move=move,
        factors=(depth, width, side),
        recentred=recentred,
        macs=None if recentred is None else cost(recentred).macs,
    )


def _quadratic(
    study: LawRows, *, paper: Shares, triangle: Triangle | None, seed: int
) -> QuadraticCheck:
    if triangle is None:
        raise AnalysisError("there is no verdict to check")
    surface = fit_surface(
        study.data.value,
        shares=study.shares,
        growth=study.growth,
        budget=study.budget,
        network=study.data.network,
        seed=seed,
    )
    rules = triangle.shares[triangle.feasible]
    to_paper = surface.effect(rules) - surface.effect(paper.values)
    best = int(to_paper.mean(axis=0).argmax())
    depth, width, side = (float(share) for share in rules[best])
    return QuadraticCheck(
        best=Shares(depth=depth, width=width, resolution=side),
        difference=selected_contrasts(to_paper, indices=[best])[0],
        agrees=bool(triangle.equivalent[triangle.feasible][best]),
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
    law = _tried(lambda: accuracy_law(data, macs=macs, seed=seed))
    asked = () if isinstance(law, Refused) else (*budgets, BEYOND * budgets[-1])
    return FamilyLaw(
        rule=rule,
        points=points_of(rows),
        law=law,
        predictions=() if isinstance(law, Refused) else tuple(law.predict(m) for m in asked),
    )


def points_of(rows: pd.DataFrame) -> tuple[FamilyPoint, ...]:
    """Rows of the frame as points of a family."""
    columns = zip(rows["macs"], rows["top1"], rows["seed"], strict=True)
    return tuple(
        FamilyPoint(macs=float(macs), top1=float(top1), seed=int(seed))
        for macs, top1, seed in columns
    )
