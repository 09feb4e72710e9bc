"""Traces of a front, and the options of its style."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from cmt_search.analysis.front import Front
from cmt_search.analysis.front_values import FrontData, standard_error, with_trials
from cmt_search.analysis.metrics import METRICS, display_values

CATEGORIES = {  # what may be switched off, and its name on the switch
    "dominated": "dominated",
    "stopped": "stopped",
    "failed": "failed",
    "infeasible": "infeasible",
    "rules": "named rules",
    "discovered": "discovered rule",
    "band": "noise band",
}
OVERLAYS = {"published": "CMT, published", "baselines": "other backbones, published"}
MARKER_OUTLINE_LIMIT = (
    1_000  # points from which on they have no rims, which cost a browser as much again
)
WEBGL_THRESHOLD = 10_000  # points from which on a browser draws on its graphics card
_NAMED = 6  # trials of one point whose numbers its hover text holds
_FADED = 0.12  # opacity
_SIZES = ("resolution", "depths", "widths")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontStyle:
    """How the front is drawn."""

    log: Collection[str] = ("x",)  # of x, y, z
    flip: Collection[str] = ()  # of x, y, z
    hide: Collection[str] = ()  # of CATEGORIES
    bars: bool = False  # standard errors of the networks' means
    overlays: Collection[str] = ()  # of OVERLAYS
    others: Mapping[str, Front] = field(default_factory=dict)  # fronts of other runs, by name
    missing: Collection[str] = ()  # other runs that were asked for, and cannot be read
    selected: Collection[int] | None = None  # trials; the others fade


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontTraces:
    """Adds points to a figure, flat or in space."""

    figure: go.Figure
    data: FrontData
    style: FrontStyle

    @property
    def flat(self) -> bool:
        """Whether the figure has two axes."""
        return len(self.data.metrics) == 2

    def points(
        self,
        table: pd.DataFrame,
        *,
        name: str,
        hover_columns: Sequence[str] = (),
        text: str | None = None,
        **style: Any,
    ) -> None:
        """Points of a table that has the metrics, where it has all of them.

        `hover_columns` are those that hover texts use. A point with `trials` carries these behind
        them, as text and as numbers; it fades where others were selected.
        """
        # `first` of a group may leave object columns, which hold None rather than NaN.
        table = table[table[list(self.data.metrics)].notna().all(axis=1)]
        columns = list(hover_columns)
        if "trials" in table:
            chosen = frozenset(self.style.selected or ())
            trials = [_in_order(trials, chosen=chosen) for trials in table["trials"]]
            table = with_trials(table, trials).assign(
                trials_label=[_trials_label(one) for one in trials]
            )
            columns += ["trials_label", "trials"]
        for part, layer in self._parts(table, name=name):
            if columns:
                layer["customdata"] = _cells(part[columns])
            if text:
                layer["text"] = part[text]
            self._add(part, {**style, **layer})

    def networks(
        self, table: pd.DataFrame, *, name: str, colour: str, size: int, symbol: str = "circle"
    ) -> None:
        """Measured networks, each with its trials."""
        table = table[table[list(self.data.metrics)].notna().all(axis=1)]
        many = len(table) > WEBGL_THRESHOLD
        marker: dict[str, Any] = {
            "color": colour,
            "size": (size if self.flat else size / 2) - (2 if many else 0),
            "line": {"color": "white", "width": 0 if len(table) > MARKER_OUTLINE_LIMIT else 1},
            "opacity": 0.6 if many else 1.0,
            "symbol": symbol if self.flat or symbol != "triangle-down" else "diamond",
        }
        if symbol.endswith("open"):
            marker["line"] = {"color": colour, "width": 1.5}
        self.points(
            table,
            hover_columns=("name", *_SIZES),
            name=name,
            marker=marker,
            hovertemplate=_hover(self.data.metrics),
            **self._bars(table),
        )

    def _add(self, table: pd.DataFrame, style: Mapping[str, Any]) -> None:
        places = {
            axis: display_values(table, name).to_numpy(dtype=float)
            for axis, name in zip("xyz", self.data.metrics, strict=False)
        }
        kind = "scattergl" if len(table) > WEBGL_THRESHOLD else "scatter"
        kind = kind if self.flat else "scatter3d"
        # Not a trace of plotly's: it would check all points once more when the figure takes it.
        self.figure.add_trace({"type": kind, "mode": "markers", **places, **style})

    def _parts(
        self, table: pd.DataFrame, *, name: str
    ) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
        """The points as one trace or two; in space plotly cannot fade a part of a trace."""
        if self.style.selected is None or "trials" not in table:
            yield table, {"name": name}
            return
        chosen = set(self.style.selected)
        picked = np.array([not chosen.isdisjoint(t) for t in table["trials"]], dtype=bool)
        if self.flat:
            faded = {"selectedpoints": picked.nonzero()[0].tolist()}
            yield table, {"name": name, **faded, "unselected": {"marker": {"opacity": _FADED}}}
            return
        group = {"name": name, "legendgroup": name}
        if picked.any():
            yield table[picked], group
        if not picked.all():
            alone = not picked.any()  # then the legend's only entry is theirs
            yield table[~picked], {**group, "opacity": _FADED, "showlegend": alone}

    def _bars(self, table: pd.DataFrame) -> dict[str, Any]:
        """Standard errors of the means, where seeds were repeated."""
        if not self.style.bars or "measurements" not in table or len(self.data.metrics) == 3:
            return {}
        bars = {}
        for axis, name in zip("xy", self.data.metrics, strict=False):
            if METRICS[name].spreads and name in self.data.noise:
                error = METRICS[name].scale * standard_error(table, sd=self.data.noise[name])
                style = {"thickness": 1, "width": 2, "color": "rgba(82, 96, 109, 0.6)"}
                bars[f"error_{axis}"] = {"array": error.tolist(), **style}
        return bars


def _in_order(trials: tuple[int, ...], *, chosen: Collection[int]) -> tuple[int, ...]:
    """A click on a point shows its first trial: let that be one that is selected."""
    if not chosen or len(trials) == 1:
        return trials
    return tuple(sorted(trials, key=lambda trial: trial not in chosen))


def _cells(table: pd.DataFrame) -> NDArray[np.object_]:
    """A table as plotly takes it; a lone trial as a number, which it copies ten times faster."""
    cells = table.to_numpy(dtype=object)
    if "trials" in table:
        cells[:, -1] = [trials[0] if len(trials) == 1 else trials for trials in cells[:, -1]]
    return cells


def _trials_label(trials: Sequence[int]) -> str:
    """Whose point it is, in words."""
    if len(trials) == 1:
        return f"trial {trials[0]}"
    more = len(trials) - _NAMED
    return f"trials {', '.join(map(str, trials[:_NAMED]))}" + (f" and {more} more" * (more > 0))


def _hover(metrics: tuple[str, ...]) -> str:
    values = ", ".join(
        f"%{{{axis}:.4~s}} {METRICS[name].short}"
        if METRICS[name].count
        else f"{METRICS[name].label.split(',')[0]}: %{{{axis}:.4~g}}"
        for axis, name in zip("xyz", metrics, strict=False)
    )
    sizes = "<br>%{customdata[1]} px, depths %{customdata[2]}, widths %{customdata[3]}"
    return f"%{{customdata[0]}} (%{{customdata[4]}})<br>{values}{sizes}<extra></extra>"
