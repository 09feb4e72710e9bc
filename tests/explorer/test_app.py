import json
import re
from typing import Any

import pytest
from dash import Dash

from cmt_search.analysis import Analysis
from cmt_search.explorer import create_app
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
    return create_app(study.load, title="a run", stamp=lambda: study.count)


def call(app: Dash, output: str, inputs: dict[str, Any], *, changed: str = "", **state: Any) -> Any:
    """Run the callback that fills `output`, as a browser would; None: nothing changes."""
    client = app.server.test_client()
    specs = client.get("/_dash-dependencies").get_json()
    spec = next(s for s in specs if output in s["output"])
    names = re.findall(r"\{[^}]*\}\.[\w-]+|[\w-]+\.\w+", spec["output"])
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
    kind = json.loads(place.replace('["ALL"]', '"ALL"'))["type"]
    return [{"id": head, "property": prop} for head in HEADS if head["type"] == kind]


def _given(spec: dict[str, Any], values: dict[str, Any]) -> Any:
    if spec["id"].startswith("{"):
        return values.get(spec["id"], [])
    return {**spec, "value": values.get(spec["id"].replace("-", "_"))}


def follow(app: Dash, version: int = 0) -> Any:
    return call(app, "version.data", {"tick": 1}, version=version)


def front(app: Dash, **changes: Any) -> Any:
    values = {"version": 1, "x_metric": "macs", "y_metric": "top1", "logs": ["x"], **changes}
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


def test_every_control_has_a_label(app: Dash) -> None:
    layout = json.dumps(app.server.test_client().get("/_dash-layout").get_json())
    for legend in ("Across", "Up", "Log scale", "Trial "):
        assert f'"{legend}"' in layout
    assert layout.count('"Fieldset"') == layout.count('"Legend"') == 3


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
    assert axis["yaxis"]["title"]["text"] == "validation cross-entropy (nats), log scale"


def test_the_triangle_appears_with_a_verdict(app: Dash, study: Growing) -> None:
    follow(app)
    drawn = call(app, "triangle-drawn.data", {"version": 1})
    assert drawn["triangle-card"]["hidden"] is True
    assert "No verdict" in json.dumps(drawn["verdict"])
    study.count = len(study.records)
    follow(app)
    drawn = call(app, "triangle-drawn.data", {"version": 2})
    assert drawn["triangle-card"]["hidden"] is False
    assert drawn["triangle-drawn"]["data"]["data"][0]["type"] == "scatterternary"
    assert "Resolved" in json.dumps(drawn["verdict"])


def test_a_clicked_point_selects_its_trial_and_can_be_clicked_again(app: Dash) -> None:
    follow(app)
    click = {"points": [{"customdata": ["lattice 2", 2, 16]}]}
    chosen = call(app, "trial.value", {"front": click}, changed="front.clickData")
    assert chosen["trial"]["value"] == 2
    assert chosen["front"]["clickData"] is None


def test_rows_that_are_drawn_select_nothing_until_they_are_clicked(app: Dash) -> None:
    follow(app)
    row = {"id": {"type": "row", "trial": 3}, "property": "n_clicks"}
    pattern, changed = '{"trial":["ALL"],"type":"row"}', '{"trial":3,"type":"row"}.n_clicks'
    new = {pattern: [{**row, "value": None}]}
    assert call(app, "trial.value", new, changed=changed) is None
    clicked = {pattern: [{**row, "value": 1}]}
    assert call(app, "trial.value", clicked, changed=changed)["trial"]["value"] == 3


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
        "sort.data",
        {'{"column":["ALL"],"type":"sort"}': [head]},
        changed='{"column":"top-1","type":"sort"}.n_clicks',
        sort=FIRST_SORT,
    )["sort"]["data"]
    assert sort == {"column": "top-1", "descending": True}
    table = call(app, "rows.children", {"version": 1, "sort": sort})
    place = list(COLUMNS).index("top-1")
    cells = [row["props"]["children"] for row in table["rows"]["children"]]
    shown = [float(row[place]["props"]["children"].rstrip("%")) for row in cells]
    assert shown == sorted(shown, reverse=True)
    head = table['{"column":"top-1","type":"head"}']
    assert (head["hidden"], head["aria-sort"]) == (False, "descending")
    assert table['{"column":"reason","type":"head"}']["hidden"] is True
