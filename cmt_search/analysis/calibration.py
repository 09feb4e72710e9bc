"""What a calibration says: which cheap training ranks networks as the expensive one does."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cmt_search.errors import AnalysisError
from cmt_search.evaluation import Measurement
from cmt_search.search.types import TrialRecord
from cmt_search.stats import (
    Agreement,
    LengthEffect,
    Pairing,
    RateLaw,
    Separation,
    agreement,
    best_rate,
    length_effect,
    pairing,
    rate_law,
    regret,
    separation,
)

Floats = NDArray[np.float64]
Fitted = TypeVar("Fitted")

_NEAR_HALF = 0.15  # of top1: where its binomial noise is largest
_IMAGES_NEAR_HALF = 3000
_STRATA = 3  # of networks without budgets: those of similar MACs are compared with each other


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityRow:
    """One training, against the most expensive one."""

    rung: int  # of the calibration's ladder
    seconds: float  # mean of a training
    top1: Agreement | None  # with the reference's top1; None: this is the reference
    loss: Agreement | None  # of minus the loss with the reference's top1
    regret: float  # top1 lost, at the reference, by trusting this one's best network of a budget
    regret_of_three: float  # likewise by looking again at its best three
    top1_noise: Separation
    loss_noise: Separation
    gap: float  # validation loss less the loss trained on (smoothed, augmented) of the last epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """A score without training, against the most expensive training."""

    name: str
    agreement: Agreement

    @property
    def may_filter(self) -> bool:
        """Whether it ranks networks of one budget better than chance, so that it may leave some
        out."""
        within = self.agreement.within
        return within is not None and within.positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A calibration, analysed."""

    rows: tuple[FidelityRow, ...]  # by growing seconds; the reference is the last
    tolerance: float  # top1: the scatter of a difference of two of the reference's means
    choice: FidelityRow | None  # cheapest whose regret is inside the noise; None: none shown to be
    metric: str  # "top1" or "loss": what tells networks from noise better
    pairing: Pairing  # of top1 at the reference
    length: LengthEffect | None
    rates: RateLaw | None
    scores: tuple[ScoreRow, ...]
    networks: int
    seeds: int
    notes: tuple[str, ...] = ()  # what could not be said, and why


def calibration(
    records: Sequence[TrialRecord],
    *,
    base_macs: float,
    lengths: tuple[int, int] | None = None,
    at_rates: Mapping[float, Sequence[TrialRecord]] | None = None,
    sizes: Mapping[str, tuple[float, float, float]] | None = None,
    scores: Mapping[str, Mapping[str, float]] | None = None,
    seed: int = 0,
) -> Calibration:
    """Compare the rungs of the records, each a training from scratch; the last is the reference.

    `lengths` are the rungs between which the effect of length is fitted. `at_rates` holds the
    records at other learning rates, by the factor on the recipe's. `sizes` are the logs of depth,
    width and resolution over the base's, by the network's key. `scores` are those of networks
    before training, by name and key.

    Raises:
        AnalysisError: too few networks were measured at every fidelity.
    """
    done = [record for record in records if record.state == "complete"]
    if len(done) < 4:
        raise AnalysisError(
            f"a calibration compares 4 networks or more, and {len(done)} are measured at every "
            "fidelity; go on with it, or raise --networks"
        )
    group = _groups(done)
    truth = _table(done, -1, "top1").mean(axis=1)
    rows = sorted(
        (_row(done, i, truth=truth, group=group, seed=seed) for i in range(len(done[0].rungs))),
        key=lambda row: (row.top1 is None, row.seconds),
    )
    reference = rows[-1]
    images = done[0].rungs[-1].measurements[0].images
    seeds = len(done[0].rungs[-1].measurements)
    tolerance = reference.top1_noise.seed_sd * math.sqrt(2 / seeds)
    notes: list[str] = []
    if left_out := len(records) - len(done):
        notes.append(f"{left_out} of {len(records)} networks failed and are left out")
    if abs(float(truth.mean()) - 0.5) < _NEAR_HALF and images < _IMAGES_NEAR_HALF:
        notes.append(
            f"top1 is near a half, where {images:,} validation images tell least; use at least "
            f"{_IMAGES_NEAR_HALF:,}"
        )
    return Calibration(
        rows=tuple(rows),
        tolerance=tolerance,
        choice=next((row for row in rows[:-1] if _inside(row, tolerance=tolerance)), None),
        metric=_quieter(reference),
        pairing=pairing(_table(done, -1, "top1")),
        length=_or_note(lambda: _length(done, lengths, base_macs=base_macs, group=group), notes),
        rates=_or_note(lambda: _rates(at_rates or {}, sizes=sizes or {}), notes),
        scores=_scores(done, scores or {}, truth=truth, group=group, seed=seed),
        networks=len(done),
        seeds=seeds,
        notes=tuple(notes),
    )


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
        top1=None if is_reference else agreement(mean, reference=truth, group=group, seed=seed),
        loss=None
        if is_reference
        else agreement(-loss.mean(axis=1), reference=truth, group=group, seed=seed),
        regret=regret(mean, reference=truth, group=group),
        regret_of_three=regret(mean, reference=truth, group=group, best=3),
        top1_noise=separation(top1, group=group),
        loss_noise=separation(loss, group=group),
        gap=float(np.mean([_gap(m) for m in measured])),
    )


def _gap(measurement: Measurement) -> float:
    return measurement.loss - measurement.curve[-1].train_loss


def _inside(row: FidelityRow, *, tolerance: float) -> bool:
    """Whether the fidelity's regret is inside the noise, and not by mere luck."""
    if row.top1 is None or row.regret > tolerance:
        return False
    return (row.top1.within or row.top1.kendall).positive


def _quieter(row: FidelityRow) -> str:
    return "top1" if row.top1_noise.reliability >= row.loss_noise.reliability else "loss"


def _length(
    done: Sequence[TrialRecord],
    lengths: tuple[int, int] | None,
    *,
    base_macs: float,
    group: list[float],
) -> LengthEffect | None:
    if lengths is None:
        return None
    short, long = lengths
    known = [record for record in done if record.rungs[0].rung.realised is not None]
    if not known:
        raise AnalysisError(
            "what length does to shapes is fitted over shares, and a pareto search has none"
        )
    parts = []
    for record in known:
        rung = record.rungs[0].rung
        assert rung.realised is not None
        parts.append(math.log(rung.macs / base_macs) * np.array(rung.realised.values))
    gain = (_table(known, long, "top1") - _table(known, short, "top1")).mean(axis=1)
    where = [g for g, record in zip(group, done, strict=True) if record in known]
    return length_effect(gain, contributions=np.array(parts), group=where)


def _rates(
    at_rates: Mapping[float, Sequence[TrialRecord]],
    *,
    sizes: Mapping[str, tuple[float, float, float]],
) -> RateLaw | None:
    if not at_rates:
        return None
    by_factor = {factor: _top1_by_network(records) for factor, records in at_rates.items()}
    keys = [key for key in sizes if all(key in found for found in by_factor.values())]
    rates = [
        best_rate([found[key] for found in by_factor.values()], factors=list(by_factor))
        for key in keys
    ]
    return rate_law(rates, x=np.array([sizes[key] for key in keys]).reshape(-1, 3))


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
    """Scores, and the costs that they must beat."""
    rungs = [record.rungs[-1].rung for record in done]
    costs = {
        "params": [float(rung.params) for rung in rungs],
        "MACs": [float(rung.macs) for rung in rungs],
    }
    given = {name: [by_key[r.arch.key] for r in rungs] for name, by_key in scores.items()}
    return tuple(
        ScoreRow(name=name, agreement=agreement(v, reference=truth, group=group, seed=seed))
        for name, v in {**costs, **given}.items()
    )


def _groups(done: Sequence[TrialRecord]) -> list[float]:
    """The budget of each network; of those without, its stratum by MACs."""
    rungs = [record.rungs[-1].rung for record in done]
    if all(rung.budget is not None for rung in rungs):
        return [float(rung.budget or 0) for rung in rungs]
    place = np.argsort(np.argsort([rung.macs for rung in rungs], kind="stable"))
    return [float(p * _STRATA // len(rungs)) for p in place]


def _table(done: Sequence[TrialRecord], rung: int, name: str) -> Floats:
    """Shape: (networks, seeds)."""
    return np.array(
        [[getattr(m, name) for m in record.rungs[rung].measurements] for record in done]
    )


def _or_note(fit: Callable[[], Fitted], notes: list[str]) -> Fitted | None:
    try:
        return fit()
    except AnalysisError as error:
        notes.append(str(error))
        return None
