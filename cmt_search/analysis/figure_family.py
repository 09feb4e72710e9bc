"""Comparison of families: depth, width and resolution against MACs under each rule."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cmt_search.analysis.figure_style import BLACK, log_ticks, rule_looks, short_macs, styled
from cmt_search.analysis.figure_triangle import draw_rule_map
from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.scaling.shares import Shares

PANELS = ("blocks", "channels of stage 1", "pixels")


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyPoint:
    """A network of a family."""

    name: str
    macs: int
    sizes: tuple[int, int, int]  # blocks, channels of the first stage, pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyData:
    """Data of the comparison of families."""

    families: Mapping[str, tuple[FamilyPoint, ...]]  # by rule; each by growing MACs
    published: tuple[FamilyPoint, ...]
    base: FamilyPoint


def family_data(
    families: Mapping[str, Iterable[Arch]], *, published: Mapping[str, Arch], base: Arch
) -> FamilyData:
    """Compute the comparison of families around `base`."""
    return FamilyData(
        families={
            name: tuple(sorted((_point(arch.key, arch) for arch in archs), key=lambda p: p.macs))
            for name, archs in families.items()
        },
        published=tuple(_point(name, arch) for name, arch in published.items()),
        base=_point("base", base),
    )


def draw_family(data: FamilyData) -> go.Figure:
    """Draw depth, width and resolution against MACs, a line per rule."""
    figure = make_subplots(rows=1, cols=3, subplot_titles=PANELS, horizontal_spacing=0.06)
    looks = rule_looks(list(data.families))
    seen: set[tuple[str, str]] = set()
    for name, points in data.families.items():
        colour, symbol = looks[name]
        marker = {"color": colour, "symbol": symbol, "size": 8}
        dash = "dot" if looks[name] in seen else "solid"  # there are fewer looks than rules
        seen.add(looks[name])
        _add(figure, points, name=name, marker=marker, dash=dash)
    hollow = {"color": BLACK, "symbol": "circle-open", "size": 11, "line": {"width": 1.5}}
    _add(figure, data.published, name="published", marker=hollow, mode="markers")
    _add(
        figure,
        (data.base,),
        name="base",
        marker={"color": BLACK, "symbol": "star", "size": 11},
        mode="markers",
    )
    everything = [p for points in data.families.values() for p in points]
    everything += [*data.published, data.base]
    figure.update_xaxes(**_log_axis([p.macs for p in everything]), title="MACs")
    for i in range(len(PANELS)):
        figure.update_yaxes(**_log_axis([p.sizes[i] for p in everything]), row=1, col=i + 1)
    return styled(
        figure,
        title="What each rule grows",
        subtitle="Networks of equal MACs stand above each other; both axes are logarithmic",
        height=460,
    )


def draw_rules_map(shares: Mapping[str, Shares]) -> go.Figure:
    """Draw rules in the triangle of shares; rules at one point share a label."""
    names: dict[Shares, list[str]] = {}
    for name, place in shares.items():
        names.setdefault(place, []).append(name)
    places = {", ".join(here): place for place, here in names.items()}
    return draw_rule_map(
        places, title="Rules as shares", subtitle="Of the growth in log MACs; corners grow one size"
    )


def _point(name: str, arch: Arch) -> FamilyPoint:
    sizes = (arch.depth, arch.stages[0].width, arch.resolution)
    return FamilyPoint(name=name, macs=cost(arch).macs, sizes=sizes)


def _log_axis(values: Sequence[int]) -> dict[str, object]:
    low, high = min(values), max(values)
    ticks = log_ticks(low, high)
    if len(ticks) < 2:  # too near to each other for round numbers
        ticks = [low, high]
    return {"type": "log", "tickvals": ticks, "ticktext": [short_macs(tick) for tick in ticks]}


def _add(
    figure: go.Figure,
    points: Sequence[FamilyPoint],
    *,
    name: str,
    marker: Mapping[str, object],
    mode: str = "lines+markers",
    dash: str = "solid",
) -> None:
    for i, panel in enumerate(PANELS):
        figure.add_scatter(
            x=[point.macs for point in points],
            y=[point.sizes[i] for point in points],
            mode=mode,
            name=name,
            legendgroup=name,
            showlegend=i == 0,
            marker=dict(marker),
            line={"color": marker["color"], "width": 1.5, "dash": dash},
            text=[point.name for point in points],
            hovertemplate=f"{name} %{{text}}: %{{y}} {panel} at %{{x:.4s}} MACs<extra></extra>",
            row=1,
            col=i + 1,
        )
