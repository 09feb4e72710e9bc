"""Time until the front is painted, with 5,000 trials: `python -m benchmarks.explorer`.

Server and Chromium (without a graphics card) run on this machine. All times are from opening the
address. `first`: the browser's first contentful paint, a sketch with every point of the front;
`paint`: plotly's points are there and can be touched; `lines`: the parallel coordinates are.
`brush` is from the end of a drag until the table is filtered. On a busy machine the processor's
seconds until the paint say more: `page_cpu` of the page's main thread, `server_cpu` of the server.
Visit 0 fills the browser's cache and loads the server's modules. The CSV in results/ keeps the rows
of other labels.
"""

import argparse
import csv
import os
import shutil
import threading
import time
from typing import Any

from playwright.sync_api import sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from benchmarks.harness import RESULTS, machine, write
from cmt_search.analysis import analyse
from cmt_search.explorer import Study, create_app
from tests.analysis.studies import free_study

FLAGS = ["--no-sandbox", "--disable-quic", "--enable-unsafe-swiftshader", "--no-first-run"]
FRONT = "#front .gl-canvas, #front .scatterlayer .point"
LINES = "#parallel .parcoords-line-layers, #parallel .parcoords"
LONG = 180_000  # milliseconds


class Quiet(WSGIRequestHandler):
    """Says nothing."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def measure(page: Any, url: str) -> dict[str, float]:
    """One visit, in seconds."""
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
    used, served, began = _task_seconds(metrics), time.process_time(), time.perf_counter()
    page.goto(url)
    page.wait_for_selector(FRONT, timeout=LONG)
    painted = time.perf_counter()
    seen = {
        "paint_s": painted - began,
        "page_cpu_s": _task_seconds(metrics) - used,
        "server_cpu_s": time.process_time() - served,
    }
    page.wait_for_selector(LINES, timeout=LONG)
    seen["lines_s"] = time.perf_counter() - began
    seen["first_s"] = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
    )
    page.wait_for_function(
        "document.querySelector('#page-note').innerText.includes('rows 1 to')", timeout=LONG
    )
    seen["brush_s"] = brush(page)
    metrics.detach()
    return seen


def brush(page: Any) -> float:
    """Seconds from the end of a drag over the front until the table is filtered."""
    page.evaluate(
        "() => Plotly.relayout(document.querySelector('#front .js-plotly-plot'),"
        " {dragmode: 'select'})"
    )
    box = page.locator("#front .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4, steps=4)
    page.mouse.up()
    dragged = time.perf_counter()
    page.wait_for_function(
        "document.querySelector('#selected-note').innerText.includes('selected')", timeout=LONG
    )
    return time.perf_counter() - dragged


def main() -> None:
    """Visit several times, and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--visits", type=int, default=3)
    parser.add_argument("--label", default="now", help="of the code that is measured")
    given = parser.parse_args()
    study = analyse(free_study(given.trials))
    app = create_app(Study(name="benchmark", load=lambda: study, stamp=lambda: 0), read_ahead=True)
    server = make_server("127.0.0.1", 0, app.server, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = []
    with sync_playwright() as play:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(viewport={"width": 1500, "height": 1000})
        for visit in range(given.visits):
            load = os.getloadavg()[0]  # before the visit, which adds to it
            page = context.new_page()
            seen = measure(page, f"http://127.0.0.1:{server.server_port}/")
            page.close()
            times = {name: f"{seconds:.2f}" for name, seconds in seen.items()}
            who = {"label": given.label, "trials": given.trials, "visit": visit}
            rows.append({**who, **times, "load_1min": f"{load:.1f}", "cores": os.cpu_count()})
            print(rows[-1], flush=True)
        browser.close()
    _write(rows, label=given.label)


def _task_seconds(metrics: Any) -> float:
    found = {m["name"]: m["value"] for m in metrics.send("Performance.getMetrics")["metrics"]}
    return float(found["TaskDuration"])


def _write(rows: list[dict[str, Any]], *, label: str) -> None:
    about = machine(device="cpu", packages=("dash", "plotly", "playwright"))
    known = RESULTS / f"explorer-cpu-{about['threads']}threads-{about['date']}.csv"
    kept: list[dict[str, Any]] = []
    if known.exists():
        with known.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["label"] != label]
    print(write("explorer", [*kept, *(row | about for row in rows)], device="cpu"))


if __name__ == "__main__":
    main()
