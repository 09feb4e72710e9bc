"""Confirmation of a search's rules: predictions against fresh seeds on the test split."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cmt_search.errors import AnalysisError
from cmt_search.scaling.shares import Shares
from cmt_search.search.types import TrialRecord
from cmt_search.stats import (
    Contrast,
    Extrapolation,
    GaussianProcess,
    check_extrapolation,
    summarize_contrast,
)

Floats = NDArray[np.float64]
Triple = tuple[float, float, float]  # shares of depth, width, resolution

SAME = 1e-5  # between shares that differ by rounding alone


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedRule:
    """A rule at the held-out budget, less the paper's rule there, in top1."""

    name: str
    shares: Triple  # asked for: depth, width, resolution
    macs: int
    top1: float  # mean over seeds
    sd: float | None  # between seeds; None: one seed
    seeds: int
    predicted: Contrast  # by the search's surface, from the realised shares
    measured: Contrast | None  # Welch's interval; None: this is the paper's rule, or one seed


def compare_confirmed(
    records: Sequence[TrialRecord],
    *,
    surface: GaussianProcess,
    base_macs: float,
    paper: str = "cmt-paper",
) -> tuple[ConfirmedRule, ...]:
    """Compare every confirmed rule with the paper's.

    Raises:
        AnalysisError: the paper's rule was not measured.
    """
    done = _finished(records, paper=paper)
    return tuple(
        _confirmed(record, of=done[paper], surface=surface, base_macs=base_macs)
        for record in done.values()
    )


def measured_before(records: Iterable[TrialRecord]) -> dict[Triple, float]:
    """Mean top1 at the largest budget of a search, by the shares asked for; seeds and repeats."""
    found: dict[Triple, list[float]] = {}
    for record in records:
        if record.state == "complete" and record.shares is not None:
            found.setdefault(record.shares, []).extend(_top1(record).tolist())
    return {shares: float(np.mean(top1)) for shares, top1 in found.items()}


def naive_best(records: Iterable[TrialRecord]) -> Shares | None:
    """The naive answer of a search: the rule that measured best at its largest budget."""
    before = measured_before(records)
    if not before:
        return None
    depth, width, resolution = max(before, key=before.__getitem__)
    return Shares(depth=depth, width=width, resolution=resolution)


def analyse_extrapolation(
    records: Sequence[TrialRecord],
    *,
    search: Iterable[TrialRecord],
    surface: GaussianProcess,
    base_macs: float,
    paper: str = "cmt-paper",
) -> Extrapolation:
    """Hold the law of a search against what was measured at a held-out budget far beyond it.

    The law is continued to each network's own growth and realised shares. The seeds' noise is
    pooled over rules, since a few seeds of one tell little.

    Raises:
        AnalysisError: the budget is less than twice the search's largest, or every rule has one
            seed only, or nothing can be compared.
    """
    done = _finished(records, paper=paper)
    top1 = [_top1(record) for record in done.values()]
    effects = [_effect(r, surface=surface, base_macs=base_macs) for r in done.values()]
    before = measured_before(search)
    held_out = done[paper].rungs[-1].rung
    return check_extrapolation(
        list(done),
        reference=paper,
        predicted=np.stack(effects, axis=1),
        measured=[one.mean() for one in top1],
        se=_pooled_sd(top1) / np.sqrt([len(one) for one in top1]),
        at_largest=[_nearby(record, before=before) for record in done.values()],
        span=(held_out.budget or held_out.macs) / float(surface.budgets[-1]),
        nugget=surface.nugget,
    )


def _finished(records: Iterable[TrialRecord], *, paper: str) -> dict[str, TrialRecord]:
    done = {r.name: r for r in records if r.state == "complete" and r.shares is not None}
    if paper not in done:
        raise AnalysisError(
            f"{paper} was not measured at the held-out budget; run `cmt-search confirm` again "
            "to finish it, or choose another --budget"
        )
    return done


def _pooled_sd(top1: Sequence[Floats]) -> float:
    dof = sum(len(one) - 1 for one in top1)
    if not dof:
        raise AnalysisError(
            "one seed for each rule tells nothing of the noise; give `cmt-search confirm` "
            "--seeds 2 or more"
        )
    return math.sqrt(sum(float(((one - one.mean()) ** 2).sum()) for one in top1) / dof)


def _nearby(record: TrialRecord, *, before: dict[Triple, float]) -> float:
    """Return the search's measurement of the same rule; NaN if there is none."""
    assert record.shares is not None
    here = record.shares
    found = (top1 for shares, top1 in before.items() if math.dist(shares, here) < SAME)
    return next(found, math.nan)


def _confirmed(
    record: TrialRecord, *, of: TrialRecord, surface: GaussianProcess, base_macs: float
) -> ConfirmedRule:
    own, papers = _top1(record), _top1(of)
    effects = _effect(record, surface=surface, base_macs=base_macs)
    reference = _effect(of, surface=surface, base_macs=base_macs)
    assert record.shares is not None
    return ConfirmedRule(
        name=record.name,
        shares=record.shares,
        macs=record.rungs[-1].rung.macs,
        top1=float(own.mean()),
        sd=float(own.std(ddof=1)) if len(own) > 1 else None,
        seeds=len(own),
        predicted=summarize_contrast(effects - reference),
        measured=_welch(own, papers) if record is not of else None,
    )


def _top1(record: TrialRecord) -> Floats:
    return np.array([m.top1 for m in record.rungs[-1].measurements])


def _effect(record: TrialRecord, *, surface: GaussianProcess, base_macs: float) -> Floats:
    rung = record.rungs[-1].rung
    assert rung.realised is not None, "confirmed budgets lie above the base's"
    log_macs_ratio = math.log(rung.macs / base_macs)
    draws: Floats = surface.effect(rung.realised.values, log_macs_ratio=log_macs_ratio)[:, 0]
    return draws


def _welch(own: Floats, other: Floats) -> Contrast | None:
    """Difference of means with Welch's 95% interval."""
    if len(own) < 2 or len(other) < 2:
        return None
    variances = own.var(ddof=1) / len(own), other.var(ddof=1) / len(other)
    se = math.sqrt(sum(variances))
    mean = float(own.mean() - other.mean())
    if se == 0:
        return Contrast(mean=mean, se=0.0, low=mean, high=mean)
    parts = zip(variances, (len(own), len(other)), strict=True)
    dof = se**4 / sum(v**2 / (n - 1) for v, n in parts)
    half_width = float(stats.t.ppf(0.975, dof)) * se
    return Contrast(mean=mean, se=se, low=mean - half_width, high=mean + half_width)
