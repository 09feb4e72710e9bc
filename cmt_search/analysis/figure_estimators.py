"""Shares by both estimators of the power laws, and the paper's rule."""

from collections.abc import Mapping
from dataclasses import dataclass

import plotly.graph_objects as go

from cmt_search.analysis.figure_style import BLACK, BLUE, VERMILLION, styled
from cmt_search.analysis.law_values import FitFailure
from cmt_search.analysis.study import Analysis
from cmt_search.analysis.text_laws import estimates
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.stats import Estimate

Place = Mapping[tuple[str, str], float]
"""Heights of (local or average, dimension)."""

_COLOURS = {"the best shapes": BLUE, "the parametric law": VERMILLION}
_NOTE = (
    "With 95% intervals. Local: slope of the best shapes against growth. "
    "Average: from the base to the largest budget"
)
_APART = 0.12  # estimators from the middle of their row


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRow:
    """One estimator's shares."""

    which: str  # local or average
    estimator: str
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesData:
    """Data of the figure of shares."""

    rows: tuple[ShareRow, ...]
    paper: Shares
    identified: bool
    budgets: int


def shares_data(analysis: Analysis) -> SharesData | None:
    """Compute the comparison of estimators; None without power laws."""
    laws = analysis.laws
    if laws is None or isinstance(laws.power, FitFailure) or analysis.paper is None:
        return None
    return SharesData(
        rows=tuple(
            ShareRow(which=which, estimator=estimator, estimate=estimate)
            for which, estimator, estimate in estimates(laws.power)
        ),
        paper=analysis.paper,
        identified=not laws.power.reasons,
        budgets=len(laws.power.optima),
    )


def draw_shares(data: SharesData) -> go.Figure:
    """Draw the shares by both estimators."""
    kinds = list(dict.fromkeys(row.which for row in data.rows))
    keys = [(kind, name) for name in reversed(DIMENSIONS) for kind in kinds[::-1]]
    place = {key: float(i) for i, key in enumerate(keys)}
    figure = go.Figure()
    for (estimator, colour), shift in zip(_COLOURS.items(), (_APART, -_APART), strict=True):
        _add_shares(
            figure,
            [row for row in data.rows if row.estimator == estimator],
            place={key: height + shift for key, height in place.items()},
            name=f"by {estimator}",
            colour=colour,
        )
    _add_paper(figure, data.paper, place=place)
    figure.update_xaxes(title="share of the growth in ln MACs")
    figure.update_yaxes(
        tickvals=list(place.values()),
        ticktext=[f"{name}, {kind}" for kind, name in keys],
        showgrid=False,
        zeroline=False,
    )
    styled(figure, title=_title(data), subtitle=_NOTE, height=220 + 40 * len(place))
    return figure.update_layout(margin_l=140)


def _add_paper(figure: go.Figure, paper: Shares, *, place: Place) -> None:
    shares = dict(zip(DIMENSIONS, paper.values, strict=True))
    figure.add_scatter(
        x=[shares[name] for _, name in place],
        y=list(place.values()),
        mode="markers",
        name="paper's rule",
        marker={"color": BLACK, "symbol": "line-ns", "size": 16, "line": {"width": 1.5}},
        hovertemplate="paper's rule: %{x:.2f}<extra></extra>",
    )


def _add_shares(
    figure: go.Figure,
    rows: list[ShareRow],
    *,
    place: Place,
    name: str,
    colour: str,
) -> None:
    cells = [
        (place[row.which, dimension], *numbers)
        for row in rows
        for dimension, *numbers in zip(
            DIMENSIONS, row.estimate.values, row.estimate.low, row.estimate.high, strict=True
        )
    ]
    figure.add_scatter(
        x=[value for _, value, _, _ in cells],
        y=[height for height, *_ in cells],
        error_x={
            "array": [high - value for _, value, _, high in cells],
            "arrayminus": [value - low for _, value, low, _ in cells],
            "color": colour,
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers",
        name=name,
        marker={"color": colour, "size": 9},
        hovertemplate=f"{name}: %{{x:.2f}}<extra></extra>",
    )


def _title(data: SharesData) -> str:
    if data.identified:
        return f"Both estimators agree on the rule of {data.budgets} budgets"
    return f"{data.budgets} budgets do not identify a rule"
