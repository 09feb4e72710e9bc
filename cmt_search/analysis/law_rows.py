"""The trainings of a rule search as plain arrays, the images that were right among them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmt_search.analysis.frame import REALISED, trainings
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.search.types import TrialRecord
from cmt_search.stats import Trainings, unpack_bits

Floats = NDArray[np.float64]
Correct = Mapping[tuple[str, int, float, int, int], Measurement]
"""By network, epochs, part of the data, image size (0: the resolution) and seed."""

_ROUNDING = 1e-4  # of an accuracy that was stored in few digits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LawRows:
    """The full-fidelity trainings that have realised shares, a row each."""

    data: Trainings
    parts: Floats  # (T, 3) contributions to growth in ln MACs
    log_macs_ratio: Floats  # (T,) ln(MACs / base MACs)
    shares: Floats  # (T, 3) realised
    budget: Floats  # (T,) MACs asked for


def law_rows(frame: pd.DataFrame, *, correct: Correct, base_macs: float) -> LawRows:
    """The rows of a study that laws of its rules are fitted to."""
    rows = trainings(frame).dropna(subset=[*REALISED, "budget"])
    log_macs_ratio = np.log(rows["macs"].to_numpy(dtype=float) / base_macs)
    shares = rows[REALISED].to_numpy(dtype=float).reshape(-1, 3)
    explained = shares * log_macs_ratio[:, None]
    # Growth that no dimension explains, due to changed ratios, is spread evenly.
    parts = explained + (log_macs_ratio - explained.sum(axis=1))[:, None] / 3
    return LawRows(
        data=trainings_of(rows, correct=correct),
        parts=parts,
        log_macs_ratio=log_macs_ratio,
        shares=shares,
        budget=rows["budget"].to_numpy(dtype=float),
    )


def family_rows(frame: pd.DataFrame, *, rule: str) -> pd.DataFrame:
    """The distinct full-fidelity trainings of a named rule's members, by growing MACs.

    A network that another rule measured first is this rule's member too.
    """
    return trainings(frame[frame["name"] == rule]).sort_values(["macs", "seed"], kind="stable")


def measurements(records: Iterable[TrialRecord]) -> Correct:
    """Every measurement by its training: the frame has no room for the bits."""
    return {
        (rung.rung.arch.key, *_fidelity(rung.rung.fidelity), measured.seed): measured
        for record in records
        for rung in record.rungs
        for measured in rung.measurements
    }


def trainings_of(rows: pd.DataFrame, *, correct: Correct) -> Trainings:
    """Rows of the frame with the images that were right, where they are known."""
    value = rows["top1"].to_numpy(dtype=float)
    network, seed = rows["key"].tolist(), [int(one) for one in rows["seed"]]
    fidelity = zip(rows["epochs"], rows["data_fraction"], rows["image_size"].fillna(0), strict=True)
    found = [
        correct[(key, int(epochs), float(part), int(size), one)]
        for key, (epochs, part, size), one in zip(network, fidelity, seed, strict=True)
    ]
    bits = (
        unpack_bits([m.correct for m in found], images=[m.images for m in found]) if found else None
    )
    if bits is not None and np.abs(bits.mean(axis=1) - value).max() > _ROUNDING:
        bits = None  # accuracies of something else than these bits: images cannot be redrawn
    return Trainings(value=value, network=network, seed=seed, correct=bits)


def _fidelity(of: Fidelity) -> tuple[int, float, int]:
    return of.epochs, of.data_fraction, of.image_size or 0
