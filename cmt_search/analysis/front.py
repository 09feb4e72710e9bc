"""Pareto front of a study, and its hypervolume."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
import pandas as pd

from cmt_search.analysis.frame import networks
from cmt_search.errors import AnalysisError

MAXIMISED = {
    "top1": True,
    "loss": False,
    "macs": False,
    "params": False,
    "activations": False,
    "latency_ms": False,
    "memory_mib": False,
    "seconds": False,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Front:
    """Networks at full fidelity, seeds averaged, and which of them are on the front."""

    networks: pd.DataFrame  # as `frame.networks`, with `on_front`
    metrics: tuple[str, ...]
    reference: tuple[float, ...]  # of the hypervolume, one per metric
    hypervolume: float  # in the product of the metrics' units

    @property
    def normalized_hypervolume(self) -> float:
        """Hypervolume as a part of the box, 0..1; ideal is an accuracy of 1, and 0 of a cost."""
        return self.normalize(self.hypervolume)

    def normalize(self, volume: float) -> float:
        """Divide a hypervolume by that of the box from the reference to the ideal point."""
        pairs = zip(self.metrics, self.reference, strict=True)
        box = math.prod(abs(float(MAXIMISED[name]) - value) for name, value in pairs)
        return volume / box if box else 0.0

    @property
    def members(self) -> pd.DataFrame:
        """The networks on the front, by the first metric."""
        on_front = self.networks[self.networks["on_front"]]
        return on_front.sort_values(self.metrics[0], ignore_index=True)


def pareto_front(
    frame: pd.DataFrame,
    *,
    metrics: Sequence[str] = ("macs", "top1"),
    reference: Sequence[float] | None = None,
) -> Front:
    """Non-dominated networks of a table of trainings.

    The reference point of the hypervolume is, by default, 0 for a metric that is maximised and 1.1
    times the largest measured value for one that is minimised. Give it to compare two studies.

    Raises:
        AnalysisError: a metric is unknown, or the reference has another length than the metrics.
    """
    unknown = [name for name in metrics if name not in MAXIMISED]
    if unknown:
        raise AnalysisError(f"metric {unknown[0]!r} is unknown; use one of {', '.join(MAXIMISED)}")
    table = networks(frame)
    maximise = [MAXIMISED[name] for name in metrics]
    table = table.dropna(subset=list(metrics), ignore_index=True)  # not every search measures
    points = table[list(metrics)].to_numpy(dtype=float)
    if reference is None:
        reference = [
            0.0 if up or not len(points) else 1.1 * float(points[:, i].max())
            for i, up in enumerate(maximise)
        ]
    if len(reference) != len(metrics):
        raise AnalysisError(
            f"reference has {len(reference)} values for {len(metrics)} metrics; give one for each"
        )
    on_front, volume = np.zeros(0, dtype=bool), 0.0
    if len(points):
        on_front = moocore.is_nondominated(points, maximise=maximise, keep_weakly=True)
        volume = float(moocore.hypervolume(points, ref=list(reference), maximise=maximise))
    return Front(
        networks=table.assign(on_front=on_front),
        metrics=tuple(metrics),
        reference=tuple(float(value) for value in reference),
        hypervolume=volume,
    )
