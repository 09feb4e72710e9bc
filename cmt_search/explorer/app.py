"""The explorer as a Dash app."""

from collections.abc import Callable
from pathlib import Path

from dash import Dash

from cmt_search.analysis import Analysis
from cmt_search.explorer.callbacks import connect
from cmt_search.explorer.layout import page
from cmt_search.explorer.live import Live, Stamp
from cmt_search.explorer.serving import LOOPBACK


def create_app(
    load: Callable[[], Analysis],
    *,
    title: str,
    stamp: Stamp | None = None,
    refresh_seconds: float = 5.0,
) -> Dash:
    """The explorer of the study that `load` reads and analyses.

    `load` is called again only when `stamp` has changed; without a stamp, every `refresh_seconds`.
    While it raises a `CmtSearchError` the page says so, and tries again.
    """
    app = Dash(
        __name__,
        title=title,
        update_title=None,
        serve_locally=True,
        assets_folder=str(Path(__file__).parent / "assets"),
    )
    # The developer tools would ask the network for Dash's newest version.
    app.enable_dev_tools(debug=False, dev_tools_disable_version_check=True)
    # A page from elsewhere that lets its name point here (DNS rebinding) gets nothing.
    app.server.config["TRUSTED_HOSTS"] = list(LOOPBACK)
    app.layout = page(title=title, refresh_seconds=refresh_seconds)
    connect(app, Live(load, stamp=stamp))
    return app
