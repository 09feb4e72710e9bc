"""The explorer as a Dash app."""

import threading
from pathlib import Path

from dash import Dash

from cmt_search.explorer.access import require_token, trust
from cmt_search.explorer.callbacks import connect
from cmt_search.explorer.layout import page
from cmt_search.explorer.live import Live
from cmt_search.explorer.room import Room
from cmt_search.explorer.serving import LOOPBACK
from cmt_search.explorer.study import Study


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
    app = Dash(
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
    app.layout = lambda: page(room)  # what is known when it is opened needs not be asked for
    connect(app, room)
    if read_ahead:
        threading.Thread(target=room.refresh, daemon=True).start()
    return app
