"""Takes the pictures of the explorer from a finished run: python docs/screenshots.py RUN.

Writes docs/images/explorer-VIEW-THEME.png, light and dark. Needs playwright and a Chromium.
"""

import argparse
import shutil
import threading
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

from cmt_search.cli.inspecting import studies_of
from cmt_search.explorer import create_app

FOLDER = Path(__file__).parent / "images"
FLAGS = ["--no-sandbox", "--disable-quic", "--enable-unsafe-swiftshader", "--no-first-run"]
SIZE = {"width": 1440, "height": 1400}
LONG = 180_000  # milliseconds
VIEWS = {  # address, and what is on the page once it is drawn
    "front": ("", "#front .scatterlayer .point"),
    "triangle": ("tab=triangle", "#triangle .tracetrace-chosen-point path.point"),
    "progress": ("tab=progress", "#progress .scatterlayer .js-line"),
}


def main() -> None:
    """Serve the run here, open every view in both themes, and take a picture of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder of the pictures")
    given = parser.parse_args()
    app = create_app(*studies_of([given.run]), read_ahead=True)
    server = make_server("127.0.0.1", 0, app.server, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    given.to.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(LONG)
        for view, (query, drawn) in VIEWS.items():
            for theme in ("light", "dark"):
                page.goto(f"http://127.0.0.1:{server.server_port}/?{query}&theme={theme}")
                path = given.to / f"explorer-{view}-{theme}.png"
                take(page, drawn=drawn, path=path)
        browser.close()
    server.shutdown()


def take(page: Any, *, drawn: str, path: Path) -> None:
    """A picture of the page once the view is drawn and nothing is asked for any more."""
    page.wait_for_selector(drawn)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)


if __name__ == "__main__":
    main()
