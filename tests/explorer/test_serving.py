import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from dash import Dash, html

from cmt_search.analysis import Analysis
from cmt_search.errors import RunError
from cmt_search.explorer import Study, create_app, serve
from cmt_search.explorer.serving import address_of
from tests.messages import mentions


def visited(visit: Callable[[str], list], app: Dash, **options: object) -> list:
    """What a visit to the address finds while the app is served, until an interrupt ends it."""
    found: list = []
    # A shell starts jobs in the background with interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def once(url: str) -> None:
        try:
            found.extend(visit(url))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    try:
        serve(app, on_ready=lambda u: threading.Thread(target=once, args=(u,)).start(), **options)
    finally:
        signal.signal(signal.SIGINT, before)
    return found


def status(url: str, *, opener: urllib.request.OpenerDirector | None = None) -> int:
    try:
        with (opener or urllib.request.build_opener()).open(url, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def app() -> Dash:
    made = Dash("explorer under test")
    made.layout = html.Div("hello")
    return made


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org", "::"])
def test_a_host_that_others_reach_is_refused_without_a_token(app: Dash, host: str) -> None:
    with pytest.raises(RunError) as error:
        serve(app, host=host, port=8123)
    assert mentions(str(error.value), f"host '{host}' ... token ... 127.0.0.1 with --port 8123")
    assert "`ssh -L 8123:127.0.0.1:8123 THIS_MACHINE`" in str(error.value)


def test_a_taken_port_is_an_error_that_names_it(app: Dash) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RunError, match=rf"port {port} on 127\.0\.0\.1 .* 0 for any"):
            serve(app, port=port)


def test_it_serves_on_any_free_port_until_it_is_interrupted(app: Dash) -> None:
    [(url, code)] = visited(lambda url: [(url, status(url))], app)
    assert code == 200
    assert url.startswith("http://127.0.0.1:")
    port = int(url.rstrip("/").rsplit(":", 1)[1])
    with socket.socket() as after, pytest.raises(ConnectionRefusedError):
        after.connect(("127.0.0.1", port))


def test_bound_to_every_address_it_asks_for_the_token_and_keeps_it_in_a_cookie(
    analysis: Analysis,
) -> None:
    app = create_app(Study(name="a run", load=lambda: analysis), token="secret")

    def visit(url: str) -> list:
        place, _, query = url.partition("?")
        assert place.startswith(f"http://{socket.gethostname()}:")  # what others can open
        here = place.replace(socket.gethostname(), "127.0.0.1")
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        return [
            query,
            [status(f"{here}{page}") for page in ("", "_dash-layout", "?token=guess")],
            status(f"{here}?{query}", opener=browser),
            status(f"{here}_dash-layout", opener=browser),
        ]

    assert visited(visit, app, host="0.0.0.0", token="secret") == [
        "token=secret",
        [403, 403, 403],
        200,
        200,
    ]


def test_two_explorers_of_a_machine_keep_their_tokens_apart(analysis: Analysis) -> None:
    """Browsers share cookies between ports."""
    jars = []
    for token in ("one", "other"):
        app = create_app(Study(name="a run", load=lambda: analysis), token=token)
        client = app.server.test_client()
        answer = client.get(f"/?tab=progress&token={token}&x=params")
        assert (answer.status_code, answer.location) == (302, "/?tab=progress&x=params")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie  # kept where the address is a link on another page
        assert client.get("/").status_code == 200
        # The token leaves the address even where the cookie is known already.
        assert client.get(f"/?token={token}").location == "/"
        jars.append(cookie.split("=")[0])
    assert len(set(jars)) == 2


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8050/"),
        ("fe80::1", "http://[fe80::1]:8050/"),
        ("0.0.0.0", f"http://{socket.gethostname()}:8050/"),
    ],
)
def test_the_address_is_one_that_a_browser_opens(host: str, address: str) -> None:
    assert address_of(host, 8050) == address
