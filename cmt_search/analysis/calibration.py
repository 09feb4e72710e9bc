"""Analysis of a calibration: which cheap training ranks networks as the expensive one does."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmt_search.errors import AnalysisError
from cmt_search.search.types import TrialRecord
from cmt_search.stats import (
    LrScaling,
    RankAgreement,
    VarianceComponents,
    compare_rankings,
    estimate_variance_components,
    find_best_lr,
    fit_lr_scaling,
    selection_regret,
)

Floats = NDArray[np.float64]

_NEAR_HALF = 0.15  # of top1: where its binomial noise is largest
_IMAGES_NEAR_HALF = 3000
_STRATA = 3  # of networks without budgets, by MACs


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityRow:
    """One fidelity, against the most expensive one."""

    rung: int  # of the calibration's fidelities
    seconds: float  # mean of a training
    top1: RankAgreement | None  # with the reference's top1; None: this is the reference
    loss: RankAgreement | None  # of minus the loss with the reference's top1
    regret: float  # top1 lost at the reference by selecting the best network of each budget
    regret_of_three: float  # likewise by selecting the best three and comparing them again
    top1_noise: VarianceComponents
    loss_noise: VarianceComponents
    generalization_gap: float  # validation loss less training loss (smoothed) of the last epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """A zero-cost proxy, or a cost as its baseline, against the most expensive training."""

    name: str
    agreement: RankAgreement

    @property
    def usable_as_filter(self) -> bool:
        """Whether it ranks networks of one budget better than chance."""
        within = self.agreement.within
        return within is not None and within.positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Result of a calibration."""

    rows: tuple[FidelityRow, ...]  # by growing seconds; the reference is the last
    tolerance: float  # top1: standard error of a difference of two of the reference's means
    choice: FidelityRow | None  # cheapest with regret within the tolerance; None: none shown
    metric: str  # "top1" or "loss": the one with the higher reliability
    lr_scaling: LrScaling | None  # None: no other rates were trained
    scores: tuple[ScoreRow, ...]
    networks: int
    seeds: int
    notes: tuple[str, ...] = ()


def analyse_calibration(
    records: Sequence[TrialRecord],
    *,
    at_rates: Mapping[float, Sequence[TrialRecord]] | None = None,
    sizes: Mapping[str, tuple[float, float, float]] | None = None,
    scores: Mapping[str, Mapping[str, float]] | None = None,
    seed: int = 0,
) -> Calibration:
    """Compare the rungs of the records, each a training from scratch; the last is the reference.

    `at_rates` are the records at several learning rates, by the factor on the recipe's. `sizes` are
    the logs of depth, width and resolution over the base's, by the network's key. `scores` are the
    networks' zero-cost proxies, by name and key.

    Raises:
        AnalysisError: too few networks were measured at every fidelity.
    """
    done = [record for record in records if record.state == "complete"]
    if len(done) < 4:
        raise AnalysisError(
            f"a calibration compares 4 networks or more, and {len(done)} are measured at every "
            "fidelity; finish it, or raise --networks"
        )
    group = _groups(done)
    truth = _table(done, -1, "top1").mean(axis=1)
    rows = sorted(
        (_row(done, i, truth=truth, group=group, seed=seed) for i in range(len(done[0].rungs))),
        key=lambda row: (row.top1 is None, row.seconds),
    )
    reference = rows[-1]
    seeds = len(done[0].rungs[-1].measurements)
    tolerance = reference.top1_noise.seed_sd * math.sqrt(2 / seeds)
    notes, lr_scaling = _notes(records, done=done, truth=truth), None
    try:
        lr_scaling = _lr_scaling(at_rates or {}, sizes=sizes or {})
    except AnalysisError as error:
        notes.append(str(error))
    return Calibration(
        rows=tuple(rows),
        tolerance=tolerance,
        choice=next((row for row in rows[:-1] if _is_acceptable(row, tolerance=tolerance)), None),
        metric=_more_reliable_metric(reference),
        lr_scaling=lr_scaling,
        scores=_scores(done, scores or {}, truth=truth, group=group, seed=seed),
        networks=len(done),
        seeds=seeds,
        notes=tuple(notes),
    )


def _notes(
    records: Sequence[TrialRecord], *, done: Sequence[TrialRecord], truth: Floats
) -> list[str]:
    notes = []
    if excluded := len(records) - len(done):
        notes.append(f"{excluded} of {len(records)} networks failed and are excluded")
    images = done[0].rungs[-1].measurements[0].images
    if abs(float(truth.mean()) - 0.5) < _NEAR_HALF and images < _IMAGES_NEAR_HALF:
        notes.append(
            f"top1 is near 50%, where its binomial noise is largest, with {images:,} validation "
            f"images; use at least {_IMAGES_NEAR_HALF:,}"
        )
    return notes


def _row(
    done: Sequence[TrialRecord], rung: int, *, truth: Floats, group: list[float], seed: int
) -> FidelityRow:
    top1, loss = (_table(done, rung, name) for name in ("top1", "loss"))
    mean = top1.mean(axis=1)
    is_reference = rung == len(done[0].rungs) - 1
    measured = [m for record in done for m in record.rungs[rung].measurements]
    return FidelityRow(
        rung=rung,
        seconds=float(np.mean([m.seconds for m in measured])),
        top1=None
        if is_reference
        else compare_rankings(mean, reference=truth, group=group, seed=seed),
        loss=None
        if is_reference
        else compare_rankings(-loss.mean(axis=1), reference=truth, group=group, seed=seed),
        regret=selection_regret(mean, reference=truth, group=group),
        regret_of_three=selection_regret(mean, reference=truth, group=group, best=3),
        top1_noise=estimate_variance_components(top1, group=group),
        loss_noise=estimate_variance_components(loss, group=group),
        generalization_gap=float(np.mean([m.loss - m.curve[-1].train_loss for m in measured])),
    )


def _is_acceptable(row: FidelityRow, *, tolerance: float) -> bool:
    """Whether the regret is within the tolerance, and the rank agreement significant."""
    if row.top1 is None or row.regret > tolerance:
        return False
    return (row.top1.within or row.top1.overall).positive


def _more_reliable_metric(row: FidelityRow) -> str:
    return "top1" if row.top1_noise.reliability >= row.loss_noise.reliability else "loss"


def _lr_scaling(
    at_rates: Mapping[float, Sequence[TrialRecord]],
    *,
    sizes: Mapping[str, tuple[float, float, float]],
) -> LrScaling | None:
    if not at_rates:
        return None
    by_factor = {factor: _top1_by_network(records) for factor, records in at_rates.items()}
    keys = [key for key in sizes if all(key in top1 for top1 in by_factor.values())]
    rates = [
        find_best_lr([top1[key] for top1 in by_factor.values()], factors=list(by_factor))
        for key in keys
    ]
    return fit_lr_scaling(rates, x=np.array([sizes[key] for key in keys]).reshape(-1, 3))


def _top1_by_network(records: Sequence[TrialRecord]) -> dict[str, float]:
    return {
        record.rungs[-1].rung.arch.key: float(
            np.mean([m.top1 for m in record.rungs[-1].measurements])
        )
        for record in records
        if record.state == "complete"
    }


def _scores(
    done: Sequence[TrialRecord],
    scores: Mapping[str, Mapping[str, float]],
    *,
    truth: Floats,
    group: list[float],
    seed: int,
) -> tuple[ScoreRow, ...]:
    """Compare zero-cost proxies, and costs as their baselines."""
    rungs = [record.rungs[-1].rung for record in done]
    costs = {
        "params": [float(rung.params) for rung in rungs],
        "MACs": [float(rung.macs) for rung in rungs],
    }
    given = {name: [by_key[r.arch.key] for r in rungs] for name, by_key in scores.items()}
    return tuple(
        ScoreRow(name=name, agreement=compare_rankings(v, reference=truth, group=group, seed=seed))
        for name, v in {**costs, **given}.items()
    )


def _groups(done: Sequence[TrialRecord]) -> list[float]:
    """Return the budget of each network; without budgets, its stratum by MACs."""
    rungs = [record.rungs[-1].rung for record in done]
    if all(rung.budget is not None for rung in rungs):
        return [float(rung.budget or 0) for rung in rungs]
    order = np.argsort(np.argsort([rung.macs for rung in rungs], kind="stable"))
    return [float(p * _STRATA // len(rungs)) for p in order]


def _table(done: Sequence[TrialRecord], rung: int, name: str) -> Floats:
    """Shape: (networks, seeds)."""
    return np.array(
        [[getattr(m, name) for m in record.rungs[rung].measurements] for record in done]
    )
