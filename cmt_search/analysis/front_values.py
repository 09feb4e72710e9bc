"""Data of the front figure: networks by category, with their noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from cmt_search.analysis.baselines import FAMILY, baselines
from cmt_search.analysis.frame import trainings
from cmt_search.analysis.front import Front, pareto_front
from cmt_search.analysis.metrics import METRICS
from cmt_search.analysis.study import Analysis
from cmt_search.stats import pooled_noise

_PLACE = ["trial", "name", "key", "state", "reason", "resolution", "depths", "widths"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrontData:
    """Data of the front figure; values as stored, accuracies in 0..1.

    Every table of points has `trials`: all whose point it is, first the one that a click shows.
    """

    networks: pd.DataFrame  # full fidelity, seeds averaged; `on_front` tells the front
    unfinished: pd.DataFrame  # the last measurement of trials that no full training has: `state`
    failed: pd.DataFrame  # trial, name, the metrics that are known, reason
    infeasible: int  # trials for which no network met the limits: they have no place
    rules: pd.DataFrame  # name, key, trial and metrics: named rules as measured
    best: pd.DataFrame  # macs, top1, low, high: the discovered rule as predicted; may be empty
    noise: dict[str, float]  # SD between seeds, of the metrics that have noise
    hypervolume: str
    metrics: tuple[str, ...] = ("macs", "top1")  # of the axes: x, y and perhaps z
    unmeasured: tuple[str, ...] = ()  # of `metrics`: those that no trained network has

    @property
    def noise_sd(self) -> float | None:
        """Between seeds, of what goes up; None: not known, or it has none."""
        return self.noise.get(self.metrics[1])


def front_data(analysis: Analysis, *, metrics: Sequence[str] = ()) -> FrontData:
    """Compute the front on these metrics; by default the study's own.

    Raises:
        AnalysisError: a metric is unknown.
    """
    metrics = tuple(metrics) or (cost_shown(analysis.front), "top1")
    front = front_on(analysis, metrics=metrics)
    frame = analysis.frame
    lost = frame[(frame["state"] == "failed") & frame["top1"].isna() & frame["macs"].notna()]
    trials = _trials_by_network(frame)
    return FrontData(
        networks=_with_all_trials(front.networks, trials),
        unfinished=_with_own_trial(_unfinished(frame)),
        failed=_with_own_trial(lost[[*_PLACE, *METRICS]]),
        infeasible=sum(record.is_infeasible for record in analysis.records),
        rules=_with_all_trials(_named(analysis), trials),
        best=_predicted_best(analysis),
        noise=_noise(analysis),
        hypervolume=_volume(front),
        metrics=metrics,
        unmeasured=() if len(front.networks) else _unmeasured(frame, metrics),
    )


def front_on(analysis: Analysis, *, metrics: Sequence[str]) -> Front:
    """The front on these metrics: the study's own where it is on the same."""
    metrics = tuple(dict.fromkeys(metrics))
    if metrics == analysis.front.metrics:
        return analysis.front
    return pareto_front(analysis.frame, metrics=metrics)


def cost_shown(front: Front) -> str:
    """Return the metric on the x axis: the front's other metric, or MACs if it has several."""
    return front.metrics[0] if front.metrics[1:] == ("top1",) else "macs"


def published(*, own: bool) -> pd.DataFrame:
    """Published backbones: the paper's own family, or those of others."""
    table = baselines()
    return table[(table["family"] == FAMILY) == own].reset_index(drop=True)


def _unmeasured(frame: pd.DataFrame, metrics: Sequence[str]) -> tuple[str, ...]:
    whole = trainings(frame)
    return tuple(name for name in metrics if len(whole) and whole[name].isna().all())


def _trials_by_network(frame: pd.DataFrame) -> dict[str, dict[int, None]]:
    """The trials that measured a network, by its key: one training may answer several."""
    seen = frame.loc[frame["top1"].notna(), ["key", "trial"]]
    found: dict[str, dict[int, None]] = {}  # a set that keeps its order
    for key, trial in zip(seen["key"].tolist(), seen["trial"].tolist(), strict=True):
        found.setdefault(key, {})[trial] = None
    return found


def _with_all_trials(
    table: pd.DataFrame, by_network: Mapping[str, Mapping[int, None]]
) -> pd.DataFrame:
    """The networks with all their trials; the one that trained it in full comes first."""
    firsts = zip(table["key"].tolist(), table["trial"].tolist(), strict=True)
    return with_trials(table, [tuple({first: None, **by_network[key]}) for key, first in firsts])


def _with_own_trial(table: pd.DataFrame) -> pd.DataFrame:
    return with_trials(table, [(trial,) for trial in table["trial"].tolist()])


def with_trials(table: pd.DataFrame, trials: Sequence[tuple[int, ...]]) -> pd.DataFrame:
    """A table of points with the trials whose points they are."""
    return table.assign(trials=pd.Series(trials, index=table.index, dtype=object))


def _volume(front: Front) -> str:
    if front.networks.empty:
        return ""
    reference = ", ".join(
        METRICS[name].text(value)
        for name, value in zip(front.metrics, front.reference, strict=True)
    )
    return f"normalised hypervolume {front.normalized_hypervolume:.3f} (reference: {reference})"


def _noise(analysis: Analysis) -> dict[str, float]:
    """SD between seeds of one network, pooled over all."""
    found = {"top1": analysis.noise.sd} if analysis.noise else {}
    rows = trainings(analysis.frame)
    loss = pooled_noise(rows["loss"].to_numpy(), groups=rows["key"].tolist())
    return {**found, "loss": loss.sd} if loss else found


def _unfinished(frame: pd.DataFrame) -> pd.DataFrame:
    """Stopped trials, and those that run: what they showed last, on less than full fidelity."""
    seen = frame[frame["state"].isin(["pruned", "running", "interrupted"]) & frame["top1"].notna()]
    whole = set(frame.loc[frame["full_fidelity"].fillna(False) & frame["top1"].notna(), "key"])
    seen = seen[~seen["key"].map(whole.__contains__).astype(bool)]  # `isin` takes ten times as long
    last = seen[seen["rung"] == seen.groupby("trial")["rung"].transform("max")]
    grouped = last.groupby("trial", sort=False)
    numbers = grouped[list(METRICS)].mean()
    return pd.concat([grouped[_PLACE[1:]].first(), numbers], axis=1).reset_index()


def _named(analysis: Analysis) -> pd.DataFrame:
    frame = analysis.frame
    named = frame[
        frame["name"].isin(list(analysis.named))
        & frame["full_fidelity"].fillna(False)
        & frame["top1"].notna()
    ]
    grouped = named.groupby(["name", "key"], sort=False)
    means = pd.concat([grouped["trial"].first(), grouped[list(METRICS)].mean()], axis=1)
    return means.reset_index().sort_values(["name", "macs"], ignore_index=True)


def _predicted_best(analysis: Analysis) -> pd.DataFrame:
    columns = ["macs", "top1", "low", "high"]
    surface, verdict = analysis.surface, analysis.verdict
    if surface is None or verdict is None:
        return pd.DataFrame(columns=columns, dtype=float)
    rows = []
    for budget, log_macs_ratio in zip(surface.budgets, surface.log_macs_ratios, strict=True):
        draws = surface.draws(verdict.best.values, log_macs_ratio=float(log_macs_ratio))[:, 0]
        low, high = pd.Series(draws).quantile([0.025, 0.975])
        rows.append((float(budget), float(draws.mean()), float(low), float(high)))
    return pd.DataFrame(rows, columns=columns)


def standard_error(table: pd.DataFrame, *, sd: float) -> "pd.Series[float]":
    """Of means over the seeds of a network, by the pooled noise."""
    return sd / table["measurements"].astype(float) ** 0.5
