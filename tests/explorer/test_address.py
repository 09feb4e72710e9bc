"""Whatever stands in the address, the server answers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from dash import Dash

from cmt_search.analysis import Analysis, analyse
from cmt_search.explorer import Study, create_app
from cmt_search.presets import PRESETS
from cmt_search.scaling import Member, ScalingRule, Shares
from cmt_search.space import Parameter
from tests.explorer.test_app import call, follow

PARAMETERS = tuple(
    Parameter(name=n, low=0.0, high=1.0) for n in ("depth_quantile", "width_of_rest")
)
ADDRESSES = (
    "?y=macs&x=macs&z=macs&trial=-1&other=3&sort=-shares",
    "?x=top1&y=top1&z=loss&log=x,y,z,q&flip=z&trial=99999999999999999999&other=nan",
    "?x=latency_ms&y=memory_mib&z=latency_ms&trial=3&other=3&sel=1-2,99999,x",
    "?x=seconds&show=bars,nonsense&over=garbage,run:none,published&sel=~!!!&run=nobody",
    "?sort=nonsense&filter=%00%ff()[&trial=17&other=400&sel=",
    "?tab=triangle&budget=400",
    "?tab=triangle&budget=3&d=0.7&w=0.9",
    "?tab=triangle&budget=nan&d=nan&w=inf",
    "?tab=triangle&budget=15&d=1",
    "?tab=progress&judge=nonsense&metric=memory_mib",
    "?tab=nonsense&theme=%3Cscript%3E&metric=nonsense",
)


def solve(shares: Shares, macs: float) -> Member:
    return ScalingRule(base=PRESETS["cmt_pico"], shares=shares).member(macs)


def made(known: Analysis) -> Dash:
    study = Study(
        name="a run",
        load=lambda: known,
        stamp=lambda: 0,
        solve=solve,
        macs=(50e6, 500e6),
        parameters=PARAMETERS,
    )
    app = create_app(study)
    follow(app)  # reads the study
    return app


@pytest.fixture(scope="module")
def app(analysis: Analysis) -> Dash:
    return made(analysis)


@pytest.fixture(scope="module")
def empty() -> Dash:
    return made(analyse(()))


@pytest.mark.parametrize("search", ADDRESSES)
def test_no_address_breaks_a_callback(app: Dash, search: str) -> None:
    assert_answered(app, search)


@pytest.mark.parametrize("search", ADDRESSES[4::3])
def test_no_address_breaks_a_callback_of_an_empty_study(empty: Dash, search: str) -> None:
    assert_answered(empty, search)


def assert_answered(app: Dash, search: str) -> None:
    """Ask every callback of the server for what a page with this address asks."""
    client = app.server.test_client()
    assert client.get(f"/{search}").status_code == 200
    page = client.get("/_dash-layout", headers={"Referer": f"http://localhost/{search}"})
    held = {**dict(held_by(page.get_json())), "version": 1, "painted": "1", "url": search}
    specs = client.get("/_dash-dependencies").get_json()
    outputs = [spec["output"] for spec in specs if not spec["clientside_function"]]
    assert len(outputs) > 10
    for output in outputs:
        call(app, output, held, **held)  # which fails where the server does


def held_by(part: Any) -> Iterator[tuple[str, Any]]:
    """What the controls and stores of a page hold, by id in the way of `call`."""
    if isinstance(part, list):
        for child in part:
            yield from held_by(child)
    elif isinstance(part, dict) and "props" in part:
        props = part["props"]
        if isinstance(props.get("id"), str):
            yield props["id"].replace("-", "_"), props.get("value", props.get("data"))
        yield from held_by(props.get("children"))


def test_a_budget_beyond_the_slider_is_its_end(app: Dash) -> None:
    given = {"version": 1, "tab": "triangle", "depth_share": 0.5, "width_share": 0.4}
    said = call(app, "solved.children", {**given, "budget": 15.0})["chosen-note"]["children"]
    assert "resolution 0.10 at 500 MMACs." in said


def test_the_order_of_the_table_comes_from_the_address(app: Dash) -> None:
    client = app.server.test_client()
    page = client.get("/_dash-layout", headers={"Referer": "http://localhost/?sort=-top-1"})
    assert dict(held_by(page.get_json()))["sort"] == {"column": "top-1", "descending": True}


def test_a_panel_in_which_nothing_changed_is_left_alone(app: Dash) -> None:
    first = call(app, "trial-panel.children", {"trial": 2, "painted": "a run 1"})
    state = {"trial_panel": first["trial-panel"]["data-shown"]}
    assert not call(app, "trial-panel.children", {"trial": 2, "painted": "a run 2"}, **state)
    other = call(app, "trial-panel.children", {"trial": 3, "painted": "a run 2"}, **state)
    assert "lattice 3" in json.dumps(other["trial-panel"])
