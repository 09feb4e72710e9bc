"""Metrics of a network: names, labels and formats."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from cmt_search.analysis.figure_style import short_macs
from cmt_search.format import macs_text, percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A column of the table of networks, and how an axis shows it."""

    short: str  # on a control
    label: str  # on an axis
    text: Callable[[float], str]  # one value in words, as stored
    scale: float = 1.0  # shown value / stored value
    count: bool = False  # a large whole number, which takes prefixes
    spreads: bool = False  # differs between seeds, so it has noise


METRICS = {
    "macs": Metric(short="MACs", label="MACs per image", text=macs_text, count=True),
    "params": Metric(
        short="params",
        label="parameters",
        text=lambda value: f"{short_macs(value)} parameters",
        count=True,
    ),
    "activations": Metric(
        short="activations",
        label="activations per image",
        text=lambda value: f"{short_macs(value)} activations",
        count=True,
    ),
    "latency_ms": Metric(
        short="latency",
        label="latency in ms, as measured",
        text=lambda value: f"{value:.3g} ms",
    ),
    "memory_mib": Metric(
        short="memory",
        label="memory of a pass in MiB, as measured",
        text=lambda value: f"{value:.3g} MiB",
    ),
    "seconds": Metric(
        short="training time",
        label="seconds of training",
        text=lambda value: f"{value:.3g} s of training",
    ),
    "top1": Metric(
        short="top-1", label="top-1 accuracy (%)", text=percent, scale=100, spreads=True
    ),
    "loss": Metric(
        short="loss",
        label="validation cross-entropy (nats)",
        text="{:.3f}".format,
        spreads=True,
    ),
}


def display_values(table: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """A column as an axis shows it."""
    return METRICS[metric].scale * table[metric].astype(float)


def available_metrics(table: pd.DataFrame) -> tuple[str, ...]:
    """The metrics that any network of a table has: latency is not always measured."""
    return tuple(name for name in METRICS if name in table and table[name].notna().any())
