"""Comparison of the best network of a study with guessing."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cmt_search.search.types import TrialRecord

NEAR_TIMES = 2.0  # times the accuracy of guessing
NEAR_KAPPA = 0.1  # part of the way from guessing to no error


@dataclass(frozen=True, slots=True, kw_only=True)
class ChanceComparison:
    """The best accuracy of a study, and that of guessing; both in 0..1."""

    best: float  # mean over seeds of the best network at full fidelity
    level: float  # 1 / number of classes

    @property
    def is_near(self) -> bool:
        """Whether the best network barely beats guessing, so that no ranking can be trusted."""
        kappa = (self.best - self.level) / (1 - self.level)
        return self.best < NEAR_TIMES * self.level and kappa < NEAR_KAPPA

    @property
    def headline(self) -> str:
        """The finding, for a study that is near chance."""
        return (
            f"The networks barely beat chance ({100 * self.best:.1f}% against "
            f"{100 * self.level:.3g}%): train longer."
        )


def compare_with_chance(
    records: Sequence[TrialRecord], *, networks: pd.DataFrame
) -> ChanceComparison | None:
    """Compare the best of `networks` with guessing; None without a measurement, or classes."""
    classes = next((r.rung.arch.num_classes for record in records for r in record.rungs), 0)
    if classes < 2 or networks.empty:
        return None
    return ChanceComparison(best=float(networks["top1"].max()), level=1 / classes)
