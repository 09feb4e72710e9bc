import os
import signal
import socket
import threading
import urllib.request

import pytest
from dash import Dash, html

from cmt_search.errors import RunError
from cmt_search.explorer import serve


@pytest.fixture
def app() -> Dash:
    made = Dash("explorer under test")
    made.layout = html.Div("hello")
    return made


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org", "::"])
def test_a_host_that_others_reach_is_refused_without_a_token(app: Dash, host: str) -> None:
    with pytest.raises(RunError) as error:
        serve(app, host=host, port=8123)
    assert str(error.value) == (
        f"host '{host}' would show the study to everybody who reaches this machine; give a token, "
        "or use 127.0.0.1 with --port 8123, and from elsewhere "
        "`ssh -L 8123:127.0.0.1:8123 THIS_MACHINE`"
    )


def test_a_taken_port_is_an_error_that_names_it(app: Dash) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            RunError, match=rf"port {port} on 127\.0\.0\.1 cannot be used.* or 0 for any free one"
        ):
            serve(app, port=port)


def test_it_serves_on_any_free_port_until_it_is_interrupted(app: Dash) -> None:
    pages = []
    # A shell starts jobs in the background with interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def visit(url: str) -> None:
        with urllib.request.urlopen(url, timeout=20) as answer:
            pages.append((url, answer.status))
        os.kill(os.getpid(), signal.SIGINT)

    try:
        serve(app, on_ready=lambda url: threading.Thread(target=visit, args=(url,)).start())
    finally:
        signal.signal(signal.SIGINT, before)
    [(url, code)] = pages
    assert code == 200
    assert url.startswith("http://127.0.0.1:")
    port = int(url.rstrip("/").rsplit(":", 1)[1])
    with socket.socket() as after, pytest.raises(ConnectionRefusedError):
        after.connect(("127.0.0.1", port))
