import io
import json
import re
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from dash import Dash

from cmt_search.analysis import COLUMNS as TRAININGS
from cmt_search.analysis import Analysis
from cmt_search.analysis.figure_front import CATEGORIES
from cmt_search.errors import RunError
from cmt_search.explorer import Study, create_app
from cmt_search.explorer.front_view import NOTHING_SELECTED
from cmt_search.explorer.layout import GRAPHS
from cmt_search.explorer.table_view import COLUMNS, FIRST_SORT
from tests.explorer.conftest import analysed

HEADS = [{"type": kind, "column": name} for name in COLUMNS for kind in ("head", "sort")]


class Growing:
    """A study of which `count` trials are there so far."""

    def __init__(self, records: tuple) -> None:
        self.records, self.count = records, 4

    def load(self) -> Analysis:
        return analysed(self.records[: self.count])


@pytest.fixture
def study(records: tuple) -> Growing:
    return Growing(records)


@pytest.fixture
def app(study: Growing) -> Dash:
    return create_app(Study(name="a run", load=study.load, stamp=lambda: study.count))


def call(app: Dash, output: str, inputs: dict[str, Any], *, changed: str = "", **state: Any) -> Any:
    """Run the callback that fills `output`, as a browser would; None: nothing changes."""
    client = app.server.test_client()
    specs = client.get("/_dash-dependencies").get_json()
    spec = next(s for s in specs if output in s["output"] and not s["clientside_function"])
    names = spec["output"].strip(".").split("...")
    body = {
        "output": spec["output"],
        "outputs": [_outputs(name) for name in names],
        "inputs": [_given(i, inputs) for i in spec["inputs"]],
        "state": [_given(i, state) for i in spec["state"]],
        "changedPropIds": [changed] if changed else [],
    }
    if len(names) == 1:
        body["outputs"] = body["outputs"][0]
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code in (200, 204), answer.text
    return answer.get_json()["response"] if answer.status_code == 200 else None


def _outputs(name: str) -> Any:
    place, prop = name.rsplit(".", 1)
    if not place.startswith("{"):
        return {"id": place, "property": prop}
    kind = json.loads(place)["type"]
    return [{"id": head, "property": prop} for head in HEADS if head["type"] == kind]


def _given(spec: dict[str, Any], values: dict[str, Any]) -> Any:
    if spec["id"].startswith("{"):
        return values.get(spec["id"], [])
    return {**spec, "value": values.get(spec["id"].replace("-", "_"))}


def follow(app: Dash, version: int = 0, **state: Any) -> Any:
    given = {"version": version, "overlays": [], **state}
    return call(app, "version.data", {"tick": 1}, **given)


VIEW = {
    **{"version": 1, "tab": "front", "x_metric": "macs", "y_metric": "top1", "z_metric": "none"},
    **{"logs": ["x"], "flips": [], "shown": list(CATEGORIES), "overlays": []},
    "selection": NOTHING_SELECTED,
}


def front(app: Dash, **changes: Any) -> Any:
    values = {**VIEW, **changes}
    drawn = call(app, "front-drawn.data", values)
    return drawn and drawn["front-drawn"]["data"]


def test_nothing_on_the_page_comes_from_elsewhere(app: Dash) -> None:
    client = app.server.test_client()
    page, layout = client.get("/"), client.get("/_dash-layout")
    assert (page.status_code, layout.status_code) == (200, 200)
    html, config = _without_config(page.text)
    assert (config["ui"], config["disable_version_check"]) == (False, True)
    del config["dash_version_url"]  # unused without the developer tools
    assert "//" not in html + json.dumps(config)
    assert "//" not in layout.text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(sources) > 5
    assert all(source.startswith("/") and not source.startswith("//") for source in sources)
    assert any("explorer.css" in source for source in sources)
    assert any("explorer.js" in source for source in sources)
    assets = [client.get(source, buffered=True) for source in sources if "assets" in source]
    assert all(asset.status_code == 200 and b"://" not in asset.data for asset in assets)


def _without_config(page: str) -> tuple[str, dict[str, Any]]:
    before, config, after = re.split(r'(?<=id="_dash-config" type="application/json">)(.+?)<', page)
    return before + after, json.loads(config)


def test_a_page_that_lets_its_name_point_here_gets_nothing(app: Dash) -> None:
    client = app.server.test_client()
    assert client.get("/_dash-layout", headers={"Host": "127.0.0.1:8050"}).status_code == 200
    assert client.get("/_dash-layout", headers={"Host": "evil.example"}).status_code == 400


def test_the_page_comes_as_its_address_asks_for_it(app: Dash) -> None:
    client = app.server.test_client()
    asked = "?tab=progress&y=loss&log=x,y&trial=3&sel=1-2&theme=dark&d=7"
    assert "front-drawn" not in _stores(client, asked)  # nothing was read yet
    follow(app)
    there = _stores(client, asked)
    assert there["y-metric"] == "loss"
    assert there["logs"] == ["x", "y"]
    assert (there["trial"], there["theme"], there["depth-share"]) == (3, "dark", None)
    assert there["selection"]["trials"] == [1, 2]
    assert "front-drawn" not in there  # another view is shown
    assert len(_stores(client, "?sel=1-2")["front-drawn"]["data"]) > 1
    assert _stores(client, None)["y-metric"] == "top1"


def _stores(client: Any, search: str | None) -> dict[str, Any]:
    """Values and data on the page, by id; None: the browser does not say from where it asks."""
    return _props(client, search, "data") | _props(client, search, "value")


def _props(client: Any, search: str | None, prop: str) -> dict[str, Any]:
    """This property of all that has it and an id; one without value has the value None."""
    headers = {} if search is None else {"Referer": f"http://localhost/{search}"}
    found: dict[str, Any] = {}

    def walk(part: Any) -> None:
        if isinstance(part, list):
            for child in part:
                walk(child)
        elif isinstance(part, dict) and "props" in part:
            props = part["props"]
            if isinstance(props.get("id"), str) and prop in props:
                found[props["id"]] = props[prop]
            walk(props.get("children"))

    walk(client.get("/_dash-layout", headers=headers).get_json())
    return found


def test_the_first_sight_is_a_sketch_of_the_front_that_was_asked_for(app: Dash) -> None:
    client = app.server.test_client()
    assert "first-sight" not in client.get("/").text  # nothing was read yet
    follow(app)
    page = client.get("/?y=loss&theme=dark").text
    assert page.index('id="sketch"') < page.index("<script src")
    assert "'dark' !== 'auto'" in page
    assert page.count("h0") > 4
    assert page != client.get("/?theme=dark").text
    assert "first-sight" not in client.get("/?tab=progress").text


def test_the_name_of_a_run_is_no_html(analysis: Analysis) -> None:
    name = "x</title><script>alert(1)</script>"
    app = create_app(Study(name=name, load=lambda: analysis, stamp=lambda: 0))
    follow(app)
    page = app.server.test_client().get("/").text
    assert "alert(1)" in page
    assert "<script>alert" not in page


def test_an_address_that_is_none_breaks_nothing(app: Dash) -> None:
    client = app.server.test_client()
    follow(app)
    assert client.get("/", environ_overrides={"QUERY_STRING": "tab=\xff"}).status_code == 200
    assert client.get("/_dash-layout", headers={"Referer": "http://["}).status_code == 200
    assert _stores(client, "?sel=0-999999999")["selection"]["trials"] == [0, 1, 2, 3]


def test_the_metric_across_is_the_studys_whenever_the_page_was_opened(app: Dash) -> None:
    client = app.server.test_client()
    early = _stores(client, "")["x-metric"]
    follow(app)
    assert (early, _stores(client, "")["x-metric"]) == (None, "macs")
    offered = call(app, "x-metric.options", {"version": 1, "x_metric": None, "y_metric": "top1"})
    assert offered["x-metric"]["value"] == "macs"


def test_every_control_has_a_label(app: Dash) -> None:
    layout = json.dumps(app.server.test_client().get("/_dash-layout").get_json())
    for legend in ("Across", "Up", "Log scale", "Trial "):
        assert f'"{legend}"' in layout
    assert layout.count('"Fieldset"') == layout.count('"Legend"') == 7


def test_every_callback_reaches_what_is_on_the_page(app: Dash) -> None:
    client = app.server.test_client()
    layout = json.dumps(client.get("/_dash-layout").get_json())
    for spec in client.get("/_dash-dependencies").get_json():
        for part in (*spec["inputs"], *spec["state"]):
            if not part["id"].startswith("{"):
                assert f'"id": "{part["id"]}"' in layout
    assert all(f'"id": "{name}-drawn"' in layout for name in GRAPHS)


def test_before_the_study_is_read_the_views_wait(app: Dash) -> None:
    assert front(app) is None


def test_a_growing_study_gives_new_figures(app: Dash, study: Growing) -> None:
    first = follow(app)
    assert first["version"]["data"] == 1
    assert first["status"]["children"].startswith("4 trials (4 complete)")
    before = front(app)
    assert "version" not in follow(app, version=1)  # unchanged: nothing is drawn again
    study.count = len(study.records)
    second = follow(app, version=1)
    assert second["version"]["data"] == 2
    assert second["status"]["children"].startswith("18 trials (17 complete, 1 failed)")
    after = front(app)
    assert before["layout"]["uirevision"] == after["layout"]["uirevision"]
    assert names(before) != names(after)
    assert "failed (1), no accuracy" in names(after)


def names(figure: Any) -> list[str]:
    return [trace.get("name") for trace in figure["data"]]


def test_the_controls_choose_metrics_and_scales(app: Dash) -> None:
    follow(app)
    axis = front(app, x_metric="params", y_metric="loss", logs=["y"])["layout"]
    assert axis["xaxis"]["title"]["text"] == "parameters"
    assert axis["yaxis"]["title"]["text"] == "validation cross-entropy (nats) (log scale)"


def test_the_triangle_appears_with_a_verdict(app: Dash, study: Growing) -> None:
    follow(app)
    drawn = call(app, "triangle-drawn.data", {"version": 1, "tab": "triangle"})
    assert "No verdict" in json.dumps(drawn["triangle-missing"])
    study.count = len(study.records)
    follow(app)
    given = {"version": 2, "tab": "triangle"}
    shares = {"depth_share": 0.5, "width_share": 0.4}
    drawn = call(app, "triangle-drawn.data", given, **shares)
    assert drawn["triangle-missing"]["children"] == ""
    assert drawn["triangle-drawn"]["data"]["data"][0]["type"] == "scatterternary"
    assert names(drawn["triangle-drawn"]["data"])[-1] == "chosen point"
    solved = call(app, "solved.children", given | shares)
    assert solved["chosen-note"]["children"].startswith(
        "Chosen: depth 0.50, width 0.40, resolution 0.10 at 6 MMACs."
    )
    assert "Resolved" in json.dumps(conclude(app, version=2))


def conclude(app: Dash, **inputs: Any) -> Any:
    return call(app, "verdict.children", {"version": 1, "overlays": [], **inputs})


def test_the_progress_is_drawn_with_failures_by_reason(app: Dash, study: Growing) -> None:
    study.count = len(study.records)
    follow(app)
    drawn = call(app, "progress-drawn.data", {"version": 1, "tab": "progress"})
    assert drawn["failures-place"]["hidden"] is False
    assert "1 trial failed, for 1 reason" in json.dumps(drawn["failures-drawn"])
    assert not call(app, "progress-drawn.data", {"version": 1, "tab": "front"})


def test_a_clicked_point_selects_its_trial_and_can_be_clicked_again(app: Dash) -> None:
    follow(app)
    click = {"points": [{"customdata": ["lattice 2", 16, [2, 3]]}]}
    chosen = call(app, "trial.value@", {"front": click}, changed="front.clickData")
    assert chosen["trial"]["value"] == 2
    assert chosen["front"]["clickData"] is None


def test_rows_that_are_drawn_select_nothing_until_they_are_clicked(app: Dash) -> None:
    follow(app)
    clicked, changed = {"shown_row": {"trial": 3, "at": 10.5}}, "shown-row.data"
    assert not call(app, "trial.value@", {"shown_row": None}, changed=changed)
    assert call(app, "trial.value@", clicked, changed=changed)["trial"]["value"] == 3


def test_the_selected_trial_is_shown_with_its_curves(app: Dash) -> None:
    follow(app)
    shown = call(app, "trial-panel.children", {"trial": 2, "version": 1})
    assert "lattice 2" in json.dumps(shown["trial-panel"])
    assert shown["trial-curves-place"]["hidden"] is False
    missing = call(app, "trial-panel.children", {"trial": 77, "version": 1})
    assert "There is no trial 77." in json.dumps(missing["trial-panel"])
    assert missing["trial-curves-place"]["hidden"] is True


def test_the_table_follows_the_order_that_was_clicked(app: Dash) -> None:
    follow(app)
    head = {"id": {"type": "sort", "column": "top-1"}, "property": "n_clicks", "value": 1}
    sort = call(
        app,
        "sort.data@",
        {'{"column":["ALL"],"type":"sort"}': [head]},
        changed='{"column":"top-1","type":"sort"}.n_clicks',
        sort=FIRST_SORT,
    )["sort"]["data"]
    assert sort == {"column": "top-1", "descending": True}
    table = tabulate(app, sort=sort)
    place = list(COLUMNS).index("top-1")
    shown = [float(row["cells"][place][0].rstrip("%")) for row in rows_of(table)]
    assert shown == sorted(shown, reverse=True)
    head = table['{"column":"top-1","type":"head"}']
    assert (head["hidden"], head["aria-sort"]) == (False, "descending")
    assert table['{"column":"reason","type":"head"}']["hidden"] is True


def tabulate(app: Dash, **changes: Any) -> Any:
    given = {"version": 1, "sort": FIRST_SORT, "table_page": 0, "filter": "", **changes}
    return call(app, "rows-drawn.data", {"selection": NOTHING_SELECTED, **given})


def rows_of(table: Any) -> list[dict[str, Any]]:
    return table["rows-drawn"]["data"]


def select(app: Dash, *, changed: str, selection: Any = NOTHING_SELECTED, **inputs: Any) -> Any:
    state = {"selection": selection, "filter": inputs.pop("words", "")}
    found = call(app, "selection.data@", inputs, changed=changed, **state)
    return found["selection"]["data"] if found else None


def test_a_brush_on_the_front_filters_table_and_lines_and_can_be_taken_back(app: Dash) -> None:
    follow(app)
    points = [{"customdata": ["a", 16, 2]}, {"customdata": ["b", 16, [3]]}]
    drawn = {"points": points, "range": {"x": [0, 1]}}
    chosen = select(app, changed="front.selectedData", front=drawn)
    assert (chosen["trials"], chosen["by"]) == ([2, 3], "front")
    table = tabulate(app, selection=chosen)
    assert [row["trial"] for row in rows_of(table)] == [2, 3]
    assert table["selected-note"]["children"] == "2 of 4 trials selected"
    lines = call(app, "parallel-drawn.data", {"version": 1, "tab": "front", "selection": chosen})
    assert lines["parallel-drawn"]["data"]["layout"]["title"]["text"] == "2 trials, a line each"
    assert select(app, changed="front.selectedData", selection=chosen, front=None) == (
        NOTHING_SELECTED
    )
    anew = {"points": []}  # what plotly says when a figure is drawn again
    assert select(app, changed="front.selectedData", selection=chosen, front=anew) is None


def test_a_brush_on_an_axis_selects_the_trials_within(app: Dash, study: Growing) -> None:
    follow(app)
    top1 = [100 * r.rungs[-1].measurements[0].top1 for r in study.records[:4]]
    change = [{"dimensions[5].constraintrange": [[min(top1) - 5, sum(top1) / 4]]}, [0]]
    chosen = select(app, changed="parallel.restyleData", parallel=change)
    assert chosen["by"] == "parallel"
    assert list(chosen["ranges"]) == ["top1"]
    assert 0 < len(chosen["trials"]) < 4
    gone = [{"dimensions[5].constraintrange": None}, [0]]
    back = select(app, changed="parallel.restyleData", selection=chosen, parallel=gone)
    assert back == NOTHING_SELECTED


def test_rows_can_be_ticked_one_by_one_or_all_that_match(app: Dash) -> None:
    follow(app)
    tick, changed = {"ticked_row": {"trial": 3, "at": 10.5}}, "ticked-row.data"
    chosen = select(app, changed=changed, **tick)
    assert (chosen["trials"], chosen["by"]) == ([3], "table")
    rows = rows_of(tabulate(app, selection=chosen))
    assert [row["picked"] for row in rows] == [False, False, False, True]  # the others stay
    assert select(app, changed=changed, selection=chosen, **tick) == NOTHING_SELECTED
    every = select(app, changed="select-rows.n_clicks", words="lattice complete")
    assert every["trials"] == [0, 1, 2, 3]


def test_the_selection_is_downloaded_with_the_numbers_of_the_study(app: Dash) -> None:
    follow(app)
    given = call(
        app,
        "download.data",
        {"to_csv": 1},
        changed="to-csv.n_clicks",
        selection={**NOTHING_SELECTED, "trials": [2]},
    )
    table = pd.read_csv(io.StringIO(given["download"]["data"]["content"]))
    assert set(table["trial"]) == {2}
    assert list(table) == [column.name for column in TRAININGS]


def test_with_a_token_nobody_else_is_answered(study: Growing) -> None:
    app = create_app(Study(name="a run", load=study.load), token="secret")
    client = app.server.test_client()
    assert client.get("/").status_code == 403
    assert client.get("/?token=guess").status_code == 403
    opened = client.get("/?token=secret&x=params")
    assert (opened.status_code, opened.location) == (302, "/?x=params")
    cookie = opened.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert client.get("/").status_code == 200  # by the cookie


def test_only_metrics_that_were_measured_are_offered_and_a_live_run_may_gain_one(
    study: Growing, app: Dash
) -> None:
    client = app.server.test_client()
    metrics = ["macs", "params", "activations", "seconds", "top1", "loss"]
    measured = [*metrics[:3], "latency_ms", *metrics[3:]]
    follow(app)
    assert offered(_props(client, "", "options")) == {
        **dict.fromkeys(("x-metric", "y-metric", "importance-metric"), metrics),
        "z-metric": ["none", *metrics],
    }
    asked = offered(_props(client, "?x=latency_ms", "options"))
    assert (asked["x-metric"], asked["y-metric"]) == (measured, metrics)  # what is chosen stays
    assert app_options(app) == offered(_props(client, "", "options"))
    last = study.records[4]
    step = replace(last.rungs[0], rung=replace(last.rungs[0].rung, latency_ms=4.0))
    study.records = (*study.records[:4], replace(last, rungs=(step, *last.rungs[1:])))
    study.count = 5
    follow(app, version=1)
    assert app_options(app)["y-metric"] == measured


def offered(options: dict[str, Any]) -> dict[str, list[str]]:
    """The values of the dropdowns of metrics, by id."""
    return {
        name: [option["value"] for option in found]
        for name, found in options.items()
        if name.endswith("-metric")
    }


def app_options(app: Dash) -> dict[str, list[str]]:
    chosen = {"x_metric": "macs", "y_metric": "top1", "z_metric": "none"}
    given = {"version": 1, **chosen, "importance_metric": "top1"}
    found = call(app, "x-metric.options", given)
    return offered({name: part["options"] for name, part in found.items()})


@pytest.fixture
def two(study: Growing) -> Dash:
    """A run, and a second one that cannot be read."""

    def fail() -> Analysis:
        raise RunError("runs/second has no study.db; copy the whole folder")

    second = Study(name="second", load=fail, stamp=lambda: 0)
    return create_app(Study(name="a run", load=study.load, stamp=lambda: 0), second)


def test_a_run_that_cannot_be_read_is_named_and_nothing_of_another_stays(two: Dash) -> None:
    follow(two)
    second = conclude(two, run="second")
    assert second["title"]["children"] == "second"
    assert second["status"]["children"] == "runs/second has no study.db; copy the whole folder"
    assert second["views"]["hidden"] is True
    assert "verdict" not in second
    first = conclude(two, run="a run")
    assert (first["title"]["children"], first["views"]["hidden"]) == ("a run", False)
    client = two.server.test_client()
    for search, name, hidden in (("", "a run", False), ("?run=second", "second", True)):
        assert _props(client, search, "children")["title"] == name
        assert _props(client, search, "hidden")["views"] is hidden
    assert "no study.db" in _props(client, "?run=second", "children")["status"]


def test_a_run_that_cannot_be_laid_over_is_told_with_the_reason(two: Dash) -> None:
    follow(two)
    over = ["run:second"]
    said = (
        "Run second, to be laid over it, cannot be read: "
        "runs/second has no study.db; copy the whole folder"
    )
    assert conclude(two, overlays=over)["status"]["children"].endswith(said)
    assert follow(two, version=1, overlays=over)["status"]["children"].endswith(said)
    assert said not in conclude(two, overlays=[])["status"]["children"]
    figure = front(two, overlays=over)
    assert figure["layout"]["title"]["subtitle"]["text"].endswith(
        "Not drawn: run second (it cannot be read)"
    )
    assert said in two.server.test_client().get("/?over=run:second").text


def test_another_run_has_other_trials_so_their_numbers_are_forgotten(two: Dash) -> None:
    follow(two)

    def switched(to: str, *, before: str) -> Any:
        return call(two, "trials-of.data@", {"run": to}, changed="run.value", trials_of=before)

    forgotten = switched("second", before="a run")
    assert (forgotten["trial"]["value"], forgotten["other"]["value"]) == (None, None)
    assert forgotten["selection"]["data"] == NOTHING_SELECTED
    assert forgotten["trials-of"]["data"] == "second"
    assert switched("second", before="second") is None  # the address asked for both
    page = _stores(two.server.test_client(), "?run=second&trial=3&sel=1-2")
    assert (page["trials-of"], page["trial"], page["selection"]["trials"]) == ("second", 3, [1, 2])
    opened = call(two, "y-metric.value", {"url": "?run=second&trial=3"})
    assert (opened["trials-of"]["data"], opened["trial"]["value"]) == ("second", 3)


def test_the_keyboard_reaches_trials_and_panel_without_passing_every_control(app: Dash) -> None:
    layout = app.server.test_client().get("/_dash-layout").text
    ids = set(re.findall(r'"id":\s*"([^"]+)"', layout))
    targets = re.findall(r'"href":\s*"#([^"]+)"', layout)
    assert targets == ["trials", "one-trial"]
    assert set(targets) <= ids
