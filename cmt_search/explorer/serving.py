"""Serving the explorer: to the browser of this machine, and elsewhere to who has the token."""

import socket
from collections.abc import Callable

from dash import Dash
from werkzeug.serving import WSGIRequestHandler, make_server

from cmt_search.errors import RunError
from cmt_search.explorer.access import PARAMETER

LOOPBACK = ("127.0.0.1", "localhost")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104


class _QuietHandler(WSGIRequestHandler):
    """Logs errors only: a live page asks every few seconds."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def serve(
    app: Dash,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until Ctrl-C; port 0 takes any free one. `on_ready` is called once with the URL.

    The token is the one that the app was made with.

    Raises:
        RunError: the host is not this machine and there is no token, or the port is taken.
    """
    check_host(host, port=port, token=token)
    with _bound(host, port) as listener:
        port = listener.getsockname()[1]
        # The socket is bound here because werkzeug ends the process where a port is taken.
        server = make_server(
            host,
            port,
            app.server,
            threaded=True,
            request_handler=_QuietHandler,
            fd=listener.fileno(),
        )
        try:
            if on_ready is not None:
                on_ready(address_of(host, port) + (f"?{PARAMETER}={token}" if token else ""))
            server.serve_forever()  # returns at Ctrl-C
        finally:
            server.server_close()


def check_host(host: str, *, port: int = 0, token: str | None = None) -> None:
    """Refuse to be seen from elsewhere by everybody.

    Raises:
        RunError: the host is not the loopback of this machine, and there is no token.
    """
    if host in LOOPBACK or token:
        return
    port = port or 8050
    raise RunError(
        f"host {host!r} would show the study to everybody who reaches this machine; give a token, "
        f"or use 127.0.0.1 with --port {port}, and from elsewhere "
        f"`ssh -L {port}:127.0.0.1:{port} THIS_MACHINE`"
    )


def address_of(host: str, port: int) -> str:
    """What a browser opens; where all addresses are served, by this machine's name."""
    name = socket.gethostname() if host in _EVERYWHERE else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"port {port} on {host} cannot be used ({reason}); "
            "choose another, or 0 for any free one"
        ) from error
    return listener
