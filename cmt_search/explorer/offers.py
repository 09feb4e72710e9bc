"""What the controls offer: the metrics that a study has."""

from collections.abc import Mapping

from cmt_search.analysis import Analysis
from cmt_search.analysis.metrics import METRICS, available_metrics
from cmt_search.explorer.view import NO_METRIC

METRIC_CONTROLS = ("x-metric", "y-metric", "z-metric", "importance-metric")  # ids
Options = list[dict[str, str]]


def metric_options(
    analysis: Analysis | None, *, chosen: Mapping[str, str | None]
) -> dict[str, Options]:
    """The options of each control by id; what is chosen in it stays, all where nothing is known."""
    known = METRICS if analysis is None else available_metrics(analysis.frame)
    return {control: _options(control, {*known, chosen[control]}) for control in METRIC_CONTROLS}


def _options(control: str, offered: set[str | None]) -> Options:
    metrics = [
        {"label": metric.short, "value": name}
        for name, metric in METRICS.items()
        if name in offered
    ]
    none = {"label": "none (2-D)", "value": NO_METRIC}
    return [none, *metrics] if control == "z-metric" else metrics
