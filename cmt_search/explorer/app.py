"""The explorer as a Dash app."""

import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from dash import Dash
from flask import has_request_context, request

from cmt_search.explorer.access import require_token, trust
from cmt_search.explorer.callbacks import connect
from cmt_search.explorer.live import Live
from cmt_search.explorer.opening import first_sight, page
from cmt_search.explorer.room import Room
from cmt_search.explorer.serving import LOOPBACK
from cmt_search.explorer.study import Study

# Both are needed for the front, and Dash asks for them only when its own scripts have run.
_PRELOADED = (
    "_dash-component-suites/plotly/package_data/plotly.min.js",
    "_dash-component-suites/dash/dcc/async-graph.js",
)


class _Explorer(Dash):
    """A Dash app whose page holds a sketch of its front while the scripts are loading."""

    first_sight: Callable[[], str]

    def interpolate_index(self, **parts: str) -> str:
        """The page with the sketch in front of where the app will be."""
        preloaded = "".join(
            f'<link rel="preload" as="script" href="{self.get_relative_path(f"/{path}")}">'
            for path in _PRELOADED
        )
        parts["css"] += preloaded
        parts["title"] = escape(parts["title"])  # the name of a run, which may be another's
        parts["app_entry"] = self.first_sight() + parts["app_entry"]
        return str(super().interpolate_index(**parts))


def create_app(
    *studies: Study,
    refresh_seconds: float = 5.0,
    token: str | None = None,
    read_ahead: bool = False,
) -> Dash:
    """The explorer of these studies; the first is shown, the others may be laid over it.

    A study is read again only when its stamp has changed; without a stamp, every
    `refresh_seconds`. While reading raises a `CmtSearchError` the page says so, and tries again.
    With a token it answers to any name, and nobody without the token. `read_ahead` reads the
    studies at once, rather than when a page asks.
    """
    app = _Explorer(
        __name__,
        title=studies[0].name,
        update_title=None,
        serve_locally=True,
        assets_folder=str(Path(__file__).parent / "assets"),
    )
    # The developer tools would ask the network for Dash's newest version.
    app.enable_dev_tools(debug=False, dev_tools_disable_version_check=True)
    trust(app, None if token else LOOPBACK)
    if token:
        require_token(app, token)
    room = Room(
        studies={study.name: study for study in studies},
        lives={study.name: Live(study.load, stamp=study.stamp) for study in studies},
        refresh_seconds=refresh_seconds,
    )
    app.first_sight = lambda: first_sight(room, f"?{request.query_string.decode(errors='replace')}")
    # What is known when the page is opened needs not be asked for.
    app.layout = lambda: page(room, search=_asked())
    connect(app, room)
    if read_ahead:
        threading.Thread(target=room.refresh, daemon=True).start()
    return app


def _asked() -> str | None:
    """The query of the page's address, which asks for its layout; None where it keeps that back."""
    referrer = request.referrer if has_request_context() else None
    if not referrer:
        return None
    try:
        query = urlsplit(referrer).query
    except ValueError:
        return None
    return f"?{query}" if query else ""
