"""Predicted against measured: what fresh seeds on sealed images say of a search's rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cmt_search.errors import AnalysisError
from cmt_search.laws import Contrast, Response, contrast
from cmt_search.search.record import TrialRecord

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedRule:
    """A rule at the held-out budget, less the paper's rule there, in top1."""

    name: str
    shares: tuple[float, float, float]  # asked for: depth, width, resolution
    macs: int
    top1: float  # mean over seeds
    sd: float | None  # between seeds; None: one seed
    seeds: int
    predicted: Contrast  # by the search's surface, from the realised shares
    measured: Contrast | None  # Welch's interval; None: this is the paper's rule, or one seed


def confirmation(
    records: Sequence[TrialRecord], *, surface: Response, base_macs: float, paper: str = "cmt-paper"
) -> tuple[ConfirmedRule, ...]:
    """Compare every confirmed rule with the paper's.

    Raises:
        AnalysisError: the paper's rule was not measured.
    """
    done = {r.name: r for r in records if r.state == "complete" and r.shares is not None}
    if paper not in done:
        raise AnalysisError(
            f"{paper} was not measured at the held-out budget; run `cmt-search confirm` again "
            "to finish it, or choose another --budget"
        )
    return tuple(
        _confirmed(record, of=done[paper], surface=surface, base_macs=base_macs)
        for record in done.values()
    )


def _confirmed(
    record: TrialRecord, *, of: TrialRecord, surface: Response, base_macs: float
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
        predicted=contrast(effects - reference),
        measured=_welch(own, papers) if record is not of else None,
    )


def _top1(record: TrialRecord) -> Floats:
    return np.array([m.top1 for m in record.rungs[-1].measurements])


def _effect(record: TrialRecord, *, surface: Response, base_macs: float) -> Floats:
    rung = record.rungs[-1].rung
    assert rung.realised is not None, "confirmed budgets lie above the base's"
    growth = math.log(rung.macs / base_macs)
    draws: Floats = surface.effect(rung.realised.values, growth=growth)[:, 0]
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
    freedom = se**4 / sum(v**2 / (n - 1) for v, n in parts)
    reach = float(stats.t.ppf(0.975, freedom)) * se
    return Contrast(mean=mean, se=se, low=mean - reach, high=mean + reach)
