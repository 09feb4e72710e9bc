"""The explorer in a real browser. One browser and one page at a time: two cores are few."""

import io
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from dash import Dash
from werkzeug.serving import make_server

import cmt_search
from cmt_search.analysis import Analysis, analyse, write_report
from cmt_search.explorer import Study, create_app
from cmt_search.export import Source, Variant
from cmt_search.export import export as export_variant
from cmt_search.presets import PRESETS
from cmt_search.scaling import Member, ScalingRule, Shares
from cmt_search.search import RunDir, read_trials, run_search
from tests.analysis.studies import free_study
from tests.explorer.conftest import analysed
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-quic", "--enable-unsafe-swiftshader", "--no-first-run"]
FLAGS += ["--disable-background-networking"]
POINTS = "#front .scatterlayer .point"
CHOSEN = "#triangle .tracetrace-chosen-point path.point"
LONG = 60_000  # milliseconds that a busy machine may take; nothing waits longer than it must

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser) -> Iterator[object]:
    """A page on which no error may appear, and which may ask nobody but the explorer."""
    page = browser.new_page(viewport={"width": 1500, "height": 1000})
    page.set_default_timeout(LONG)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on(
        "request",
        lambda r: (
            None
            if r.url.startswith(("http://127.0.0.1:", "data:", "blob:", "file:"))
            else problems.append(f"asks {r.url}")
        ),
    )
    yield page
    page.close()
    assert problems == []


@contextmanager
def served(app: Dash, page) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app.server, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        page.goto("about:blank")  # it would ask a server that is gone
        server.shutdown()
        thread.join()
        server.server_close()


def app_of(load: Callable[[], Analysis], **more: object) -> Dash:
    return create_app(Study(name="a run", load=load, **more), refresh_seconds=0.3)


def until(page, text: str, *, within: str) -> None:
    page.wait_for_function(
        "([place, text]) => document.querySelector(place)?.innerText.includes(text)",
        arg=[within, text],
    )


def brush(page) -> None:
    """Drag a box over the right upper part of the front."""
    page.evaluate(
        "() => Plotly.relayout(document.querySelector('#front .js-plotly-plot'),"
        " {dragmode: 'select'})"
    )
    box = page.locator("#front .nsewdrag").first.bounding_box()
    x, y = box["x"], box["y"]
    page.mouse.move(x + 0.6 * box["width"], y + 4)
    page.mouse.down()
    page.mouse.move(x + box["width"] - 4, y + 0.9 * box["height"], steps=6)
    page.mouse.up()


def test_a_brush_filters_the_views_and_a_click_shows_a_trial(
    page, records: tuple, tmp_path: Path
) -> None:
    def export(record) -> Path:
        variant = Variant(name=f"trial-{record.number}", arch=record.rungs[-1].rung.arch)
        return export_variant(Source(variant=variant), format="yaml", folder=tmp_path)

    with served(app_of(lambda: analysed(records), stamp=lambda: 0, export=export), page) as url:
        page.goto(url)
        page.wait_for_selector(POINTS)
        until(page, "17 trials, a line each", within="#parallel")
        brush(page)
        until(page, "trials selected", within="#selected-note")
        count = int(page.inner_text("#selected-note").split(" of ")[0])
        assert 0 < count < 18
        until(page, f"rows 1 to {count} of {count}", within="#page-note")
        until(page, f"{count} trials, a line each", within="#parallel")
        assert "sel=" in page.url
        with page.expect_download() as download:
            page.click("#to-csv")
        table = pd.read_csv(io.StringIO(Path(download.value.path()).read_text()))
        assert table["trial"].nunique() == count
        page.click("#clear")
        until(page, "All trials", within="#selected-note")
        page.locator("#rows tr").nth(2).locator("td").nth(2).click()
        until(page, records[2].name, within="#trial-panel")
        page.click("#export-trial")
        until(page, "Written: ", within="#exported")
        written = Path(page.inner_text("#exported").removeprefix("Written: "))
        assert cmt_search.load(written) == records[2].rungs[-1].rung.arch
        page.reload()  # the address carries the view
        until(page, records[2].name, within="#trial-panel")


@pytest.mark.slow
@pytest.mark.ci
def test_a_brush_on_an_axis_and_ticks_select_in_all_views(page, records: tuple) -> None:
    with served(app_of(lambda: analysed(records), stamp=lambda: 0), page) as url:
        page.goto(url)
        axis = page.locator("#parallel .axis-brush").first  # the shares of depth
        axis.wait_for()
        axis.scroll_into_view_if_needed()
        until(page, "rows 1 to 18 of 18", within="#page-note")
        assert faded(page) == 0
        box = axis.bounding_box()
        x, top, height = box["x"] + box["width"] / 2, box["y"], box["height"]
        page.mouse.move(x, top + 0.1 * height)
        page.mouse.down()
        page.mouse.move(x, top + 0.5 * height, steps=6)
        page.mouse.up()
        until(page, "trials selected", within="#selected-note")
        count = int(page.inner_text("#selected-note").split(" of ")[0])
        high = [r for r in records[:-1] if 0.5 < r.shares[0] < 0.8]
        assert len(high) <= count < 18
        until(page, f"rows 1 to {count} of {count}", within="#page-note")
        page.wait_for_function(FADED + " > 0")
        page.click("#clear")
        page.wait_for_function(FADED + " === 0")
        for row in (3, 5):
            page.locator("#rows tr .tick").nth(row).click()
            page.wait_for_selector(f"#rows tr.picked[data-trial='{row}']")
        until(page, "2 of 18 trials selected", within="#selected-note")
        page.wait_for_function(FADED + " > 0")
        assert "sel=3,5" in page.url
        page.goto(url + "?z=loss&sel=3,5&sort=-top-1")  # in space points fade by trace
        page.wait_for_selector("#front .gl-container canvas")
        shown = page.evaluate("document.querySelector('#front .js-plotly-plot').data")
        opacities = {trace.get("opacity", 1) for trace in shown if trace.get("customdata")}
        assert 1 in opacities
        assert min(opacities) < 1
        until(page, "2 of 18 trials selected", within="#selected-note")
        assert page.get_attribute("#trials th[aria-sort=descending]", "id").count("top-1") == 1


FADED = """document.querySelector('#front .js-plotly-plot')._fullData.filter(
    (trace) => trace.selectedpoints && trace.selectedpoints.length < trace._length).length"""


def faded(page) -> int:
    """How many traces of the front have points that are not selected."""
    return int(page.evaluate(FADED))


def test_every_view_opens_from_its_address_without_an_error(page, analysis: Analysis) -> None:
    with served(app_of(lambda: analysis, stamp=lambda: 0), page) as url:
        page.goto(url + "?tab=triangle&d=0.5&w=0.3&theme=dark")
        page.wait_for_selector("#triangle .ternarylayer .point")
        until(page, "Chosen: depth 0.50, width 0.30, resolution 0.20", within="#chosen-note")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.locator("#tab label", has_text="Progress").click()
        page.wait_for_selector("#progress .scatterlayer .js-line")
        page.wait_for_selector("#curves .scatterlayer .js-line")
        lines = page.evaluate("document.querySelector('#curves .js-plotly-plot').data")
        assert all(luminance(trace["line"]["color"]) > 0.2 for trace in lines)
        until(page, "1 trial failed", within="#failures")
        assert "tab=progress" in page.url
        page.goto(url + "?x=params&y=loss&z=top1&trial=3&other=4")
        page.wait_for_selector("#front .gl-container canvas")
        until(page, "rows differ: they are marked", within="#trial-panel")


def luminance(colour: str) -> float:
    """Of a colour as plotly writes those of a scale, 0 to 1."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_page_follows_a_search_while_it_writes(page, tmp_path: Path) -> None:
    folder = RunDir.create(tmp_path / "run", space_yaml="", fingerprint="f00d")
    space = FakeSpace(epochs=(1,), sampler=FakeSampler(lattice=2, replicates=1))
    seen: list[str] = []

    def look(_event: object) -> None:
        """Between two jobs: what the page says now."""
        page.wait_for_timeout(150)
        seen.append(page.inner_text("#status"))

    with served(app_of(lambda: analyse(read_trials(folder.path))), page) as url:
        page.goto(url)
        until(page, "has no study yet", within="#status")
        done = run_search(folder, space, LookupFactory(), executor="inline", on_event=look)
        until(page, f"({done.complete} complete)", within="#status")
        page.wait_for_selector(POINTS)
        page.locator("#tab label", has_text="Triangle").click()
        until(page, "This study has no map of the triangle", within="#triangle-missing")
        assert not page.is_visible("#depth-share")  # which would move nothing
    counts = {int(found[1]) for text in seen if (found := re.match(r"(\d+) trials", text))}
    assert len(counts) > 1  # it grew on the page before the search was over


@pytest.mark.slow
@pytest.mark.ci
def test_five_thousand_trials_reach_the_page_and_can_be_brushed(page, tmp_path: Path) -> None:
    study = analyse(free_study(5000))
    app = create_app(Study(name="a run", load=lambda: study, stamp=lambda: 0), read_ahead=True)
    with served(app, page) as url:
        page.goto(url, wait_until="commit")
        page.wait_for_selector("#sketch path", state="attached")
        page.wait_for_selector(f"#front .gl-canvas, {POINTS}")
        assert page.evaluate("performance.getEntriesByName('first-contentful-paint').length") == 1
        page.wait_for_selector("#sketch", state="detached")
        until(page, "rows 1 to 100 of 5000", within="#page-note")
        brush(page)
        until(page, "of 5000 trials selected", within="#selected-note")
        said = page.inner_text("#selected-note")
        assert "sel=~" in page.url
        page.reload()
        until(page, said, within="#selected-note")
        assert page.inner_text("#address-note") == ""
        page.evaluate(TOO_MANY)
        until(page, "no room for the selection", within="#address-note")
        assert "sel=" not in page.url
    report = write_report(study, tmp_path / "report.html", title="Many")
    assert report.stat().st_size < 10e6
    page.goto(report.as_uri())  # from a file, and asking nobody
    page.wait_for_selector(".js-plotly-plot .gl-canvas")


TOO_MANY = """() => window.dash_clientside.explorer.writeAddress(
    { trials: Array.from({ length: 20000 }, (_, i) => 2 * i) }, [["sel", null]])"""


def test_several_runs_are_laid_over_each_other_and_chosen_between(page, records: tuple) -> None:
    studies = [
        Study(name=name, load=partial(analysed, part), stamp=lambda: 0)
        for name, part in (("first", records), ("second", records[:9]))
    ]
    with served(create_app(*studies, refresh_seconds=0.3), page) as url:
        page.goto(url)
        page.wait_for_selector(POINTS)
        until(page, "18 trials", within="#status")
        page.locator("#overlays label", has_text="run second").click()
        until(page, "second: front", within="#front")
        assert "over=run" in page.url
        page.goto(url + "?run=second")
        until(page, "second", within="#title")
        until(page, "9 trials (9 complete)", within="#status")
        until(page, "rows 1 to 9 of 9", within="#page-note")


def test_the_point_is_dragged_over_the_triangle_and_its_network_follows(
    page, analysis: Analysis
) -> None:
    def solve(shares: Shares, macs: float) -> Member:
        return ScalingRule(base=PRESETS["cmt_pico"], shares=shares).member(macs)

    app = app_of(lambda: analysis, stamp=lambda: 0, solve=solve, macs=(50e6, 500e6))
    with served(app, page) as url:
        page.goto(url + "?tab=triangle&d=0.6&w=0.2&budget=8.3")
        page.wait_for_selector(CHOSEN)
        until(page, "Chosen: depth 0.60, width 0.20", within="#chosen-note")
        before = page.inner_text("#solved p")
        for name in ("Budget", "Depth's share", "Width's share"):
            assert page.get_by_role("slider", name=name).count() == 1
        for seen, share in page.evaluate(WIDTHS):
            assert seen == pytest.approx(share, abs=0.005)
        page.locator(CHOSEN).scroll_into_view_if_needed()
        x, y = middle(page, CHOSEN)
        side = page.locator("#triangle .plotbg path").bounding_box()["width"]
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 0.3 * side, y, steps=8)
        page.mouse.up()
        # Along a line of equal resolution, three tenths of the side: from depth to width.
        until(page, "depth 0.30, width 0.50, resolution 0.20", within="#chosen-note")
        assert middle(page, CHOSEN) == pytest.approx((x + 0.3 * side, y), abs=4)
        page.wait_for_function(
            "before => document.querySelector('#solved p').innerText !== before", arg=before
        )
        assert "MACs" in page.inner_text("#solved p")
        page.keyboard.press("ArrowUp")  # the map has the focus since the drag
        until(page, "resolution 0.22", within="#chosen-note")
        assert "d=0.29&w=0.49" in page.url


WIDTHS = """[...document.querySelectorAll('#solved .blocks')].map((box) => [
    box.getBoundingClientRect().width / box.parentElement.getBoundingClientRect().width,
    parseFloat(box.style.width) / 100])"""


def middle(page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).first.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
