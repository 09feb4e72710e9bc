"""What draws the points of a front, and how it is asked to look."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cmt_search.analysis.front import Front
from cmt_search.analysis.front_values import FrontData, standard_error
from cmt_search.analysis.metrics import METRICS, shown

CATEGORIES = {  # what may be switched off, and its name on the switch
    "dominated": "dominated",
    "stopped": "stopped",
    "failed": "failed",
    "rules": "named rules",
    "discovered": "discovered rule",
    "band": "noise band",
}
OVERLAYS = {"published": "CMT, published", "baselines": "other backbones, published"}
CROWD = 1_000  # points from which on they have no rims, which cost a browser as much again
MANY = 10_000  # points from which on a browser draws on its graphics card
_PLACE = ["name", "trial", "resolution", "depths", "widths"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontLook:
    """How the front is drawn."""

    log: Collection[str] = ("x",)  # of x, y, z
    flip: Collection[str] = ()  # of x, y, z
    hide: Collection[str] = ()  # of CATEGORIES
    bars: bool = False  # standard errors of the networks' means
    overlays: Collection[str] = ()  # of OVERLAYS
    others: Mapping[str, Front] = field(default_factory=dict)  # fronts of other runs, by name
    selected: Collection[int] | None = None  # trials; the others fade


@dataclass(frozen=True, slots=True, kw_only=True)
class Pen:
    """Adds points to a figure, flat or in space."""

    figure: go.Figure
    data: FrontData
    look: FrontLook

    def points(self, table: pd.DataFrame, **style: Any) -> None:
        """Points of a table that has the metrics, where it has all of them."""
        names = self.data.metrics
        # `first` of a group may leave object columns, which hold None rather than NaN.
        table = table[table[list(names)].notna().all(axis=1)]
        places = {
            axis: shown(table, name).to_numpy(dtype=float)
            for axis, name in zip("xyz", names, strict=False)
        }
        faded: dict[str, Any] = {}
        if self.look.selected is not None and "trial" in table:
            chosen = set(self.look.selected)
            picked = [i for i, trial in enumerate(table["trial"]) if trial in chosen]
            if len(names) == 2:
                faded = {"selectedpoints": picked, "unselected": {"marker": {"opacity": 0.12}}}
        kind = "scatter3d" if len(names) == 3 else "scattergl" if len(table) > MANY else "scatter"
        # Not a trace of plotly's: it would check all points once more when the figure takes it.
        self.figure.add_trace({"type": kind, "mode": "markers", **places, **style, **faded})

    def networks(
        self, table: pd.DataFrame, *, name: str, colour: str, size: int, symbol: str = "circle"
    ) -> None:
        """Measured networks, each with its trial."""
        table = table[table[list(self.data.metrics)].notna().all(axis=1)]
        flat = len(self.data.metrics) == 2
        many = len(table) > MANY
        marker: dict[str, Any] = {
            "color": colour,
            "size": (size if flat else size / 2) - (2 if many else 0),
            "line": {"color": "white", "width": 0 if len(table) > CROWD else 1},
            "opacity": 0.6 if many else 1.0,
            "symbol": symbol if flat or symbol != "triangle-down" else "diamond",
        }
        if symbol.endswith("open"):
            marker["line"] = {"color": colour, "width": 1.5}
        self.points(
            table,
            name=name,
            marker=marker,
            customdata=table[_PLACE].to_numpy(dtype=object),
            hovertemplate=_hover(self.data.metrics),
            **self._bars(table),
        )

    def _bars(self, table: pd.DataFrame) -> dict[str, Any]:
        """Standard errors of the means, where seeds were repeated."""
        if not self.look.bars or "measurements" not in table or len(self.data.metrics) == 3:
            return {}
        bars = {}
        for axis, name in zip("xy", self.data.metrics, strict=False):
            if METRICS[name].spreads and name in self.data.noise:
                error = METRICS[name].scale * standard_error(table, sd=self.data.noise[name])
                style = {"thickness": 1, "width": 2, "color": "rgba(82, 96, 109, 0.6)"}
                bars[f"error_{axis}"] = {"array": error.tolist(), **style}
        return bars


def _hover(metrics: tuple[str, ...]) -> str:
    values = ", ".join(
        f"%{{{axis}:.4~s}} {METRICS[name].short}"
        if METRICS[name].count
        else f"{METRICS[name].label.split(',')[0]}: %{{{axis}:.4~g}}"
        for axis, name in zip("xyz", metrics, strict=False)
    )
    sizes = "<br>%{customdata[2]} px, depths %{customdata[3]}, widths %{customdata[4]}"
    return f"%{{customdata[0]}} (trial %{{customdata[1]}})<br>{values}{sizes}<extra></extra>"
