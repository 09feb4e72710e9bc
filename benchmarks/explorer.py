"""Time until the front is painted, with 5,000 trials: `python -m benchmarks.explorer`.

The server and Chromium run on this machine; CSV goes to standard output. `paint` is from opening
the address until points are there, `brush` from the end of a drag until the table is filtered.
"""

import argparse
import csv
import os
import shutil
import sys
import threading
import time
from typing import Any

from playwright.sync_api import sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from cmt_search.analysis import analyse, render_report
from cmt_search.explorer import Study, create_app
from tests.analysis.studies import free_study

FLAGS = ["--no-sandbox", "--disable-quic", "--enable-unsafe-swiftshader", "--no-first-run"]


class Quiet(WSGIRequestHandler):
    """Says nothing."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def measure(page: Any, url: str) -> dict[str, float]:
    """One visit, in seconds."""
    began = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("#front .gl-canvas, #front .scatterlayer .point", timeout=120_000)
    painted = time.perf_counter()
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
        "document.querySelector('#selected-note').innerText.includes('selected')", timeout=120_000
    )
    return {"paint": painted - began, "brush": time.perf_counter() - dragged}


def main() -> None:
    """Visit several times, the first with an empty cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--visits", type=int, default=3)
    given = parser.parse_args()
    study = analyse(free_study(given.trials))
    app = create_app(Study(name="benchmark", load=lambda: study, stamp=lambda: 0), read_ahead=True)
    server = make_server("127.0.0.1", 0, app.server, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    size = len(render_report(study, title="benchmark").encode())
    out = csv.writer(sys.stdout)
    out.writerow(["trials", "visit", "paint_s", "brush_s", "report_mb", "load_1min", "cores"])
    with sync_playwright() as play:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        for visit in range(given.visits):
            seen = measure(page, f"http://127.0.0.1:{server.server_port}/")
            times = [f"{seen[name]:.2f}" for name in ("paint", "brush")]
            load = f"{os.getloadavg()[0]:.1f}"
            out.writerow([given.trials, visit, *times, f"{size / 1e6:.2f}", load, os.cpu_count()])
            sys.stdout.flush()
        browser.close()


if __name__ == "__main__":
    main()
