from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest

from cmt_search.analysis import draw_family, draw_rules_map, family_data, write_figures
from cmt_search.analysis.figure_family import PANELS, FamilyData
from cmt_search.cost import cost
from cmt_search.errors import RunError
from cmt_search.presets import PRESETS
from cmt_search.scaling import CATALOGUE, NAMED_RULES, named_rule

CMT_S = PRESETS["cmt_s"]
DEEPER = replace(
    CMT_S, stages=tuple(replace(stage, depth=2 * stage.depth) for stage in CMT_S.stages)
)
PUBLISHED = {name: PRESETS[name] for name in ("cmt_ti", "cmt_b")}


@pytest.fixture
def data() -> FamilyData:
    families = {"depth-only": [DEEPER, CMT_S], "cmt-paper": [PRESETS["cmt_xs"]]}
    return family_data(families, published=PUBLISHED, base=CMT_S)


def test_members_stand_by_growing_macs_with_their_three_sizes(data: FamilyData) -> None:
    small, large = data.families["depth-only"]
    assert (small.macs, large.macs) == (cost(CMT_S).macs, cost(DEEPER).macs)
    assert (small.sizes, large.sizes) == ((25, 64, 224), (50, 64, 224))
    assert [point.name for point in data.published] == ["cmt_ti", "cmt_b"]
    assert data.base.sizes == (25, 64, 224)


def test_each_panel_draws_its_size_of_every_family_against_macs(data: FamilyData) -> None:
    figure = draw_family(data)
    assert tuple(note.text for note in figure.layout.annotations) == PANELS
    names = ["depth-only", "cmt-paper", "published", "base"]
    assert [trace.name for trace in figure.data] == [name for name in names for _ in PANELS]
    blocks, channels, pixels = figure.data[:3]
    assert blocks.x == channels.x == (cost(CMT_S).macs, cost(DEEPER).macs)
    assert (blocks.y, channels.y, pixels.y) == ((25, 50), (64, 64), (224, 224))
    assert [trace.showlegend for trace in figure.data[:3]] == [True, False, False]


def test_axes_are_logarithmic_with_ticks_within_the_data(data: FamilyData) -> None:
    layout = draw_family(data).layout
    axes = [layout[f"{letter}axis{number}"] for letter in "xy" for number in ("", 2, 3)]
    assert {axis.type for axis in axes} == {"log"}
    assert all(2 <= len(axis.tickvals) <= 10 for axis in axes)
    assert layout.yaxis.ticktext == ("20", "30", "40", "50")
    assert layout.yaxis3.ticktext == ("160", "256")  # no two round numbers between them
    assert "1G" in layout.xaxis.ticktext


def test_no_two_rules_of_the_catalogue_look_the_same() -> None:
    names = ("own", *CATALOGUE)
    figure = draw_family(family_data({name: [CMT_S] for name in names}, published={}, base=CMT_S))
    looks = {
        (trace.marker.color, trace.marker.symbol, trace.line.dash)
        for trace in figure.data
        if trace.name in names
    }
    assert len(looks) == len(names)


def test_the_map_places_rules_by_their_shares() -> None:
    shares = {name: named_rule(name, base=CMT_S).shares for name in NAMED_RULES}
    (trace,) = draw_rules_map(shares).data
    places = {text.strip(): i for i, text in enumerate(trace.text)}
    i = places["<b>cmt-paper</b>"]
    assert (trace.b[i], trace.c[i], trace.a[i]) == shares["cmt-paper"].values


def test_rules_at_one_point_share_a_label_on_the_map() -> None:
    paper = named_rule("cmt-paper", base=CMT_S).shares
    (trace,) = draw_rules_map({"own": paper, "cmt-paper": paper}).data
    assert trace.text == (" <b>own, cmt-paper</b> ",)


def test_a_page_carries_plotly_once_and_is_written_whole(tmp_path: Path) -> None:
    figures = [go.Figure(layout_title_text=f"figure {i}") for i in range(2)]
    page = write_figures(tmp_path / "deep" / "two.html", figures, title="Two figures")
    text = page.read_text(encoding="utf-8")
    assert text.startswith('<!doctype html><html lang="en"><meta charset="utf-8">')
    assert "<title>Two figures</title>" in text
    one = write_figures(tmp_path / "one.html", figures[:1], title="x").stat().st_size
    assert page.stat().st_size < 1.1 * one
    assert "figure 0" in text
    assert "figure 1" in text
    assert [path.name for path in page.parent.iterdir()] == ["two.html"]


def test_a_page_that_cannot_be_written_says_which_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"x\.html cannot be written \(.*\); choose another file"):
        write_figures(tmp_path / "file" / "x.html", [], title="x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
