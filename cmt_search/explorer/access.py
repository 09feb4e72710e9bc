"""Who may look: everybody on this machine, and elsewhere who has the token."""

import hashlib
import secrets
from collections.abc import Sequence
from urllib.parse import urlencode

from dash import Dash
from flask import Response, abort, redirect, request

PARAMETER = "token"


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def require_token(app: Dash, token: str) -> None:
    """Answer nobody without the token: it comes in the address once, then in a cookie."""
    # Browsers share cookies between the ports of a machine: each explorer has one of its own.
    cookie = f"cmt_search_{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    @app.server.before_request
    def check() -> Response | None:
        known = _is(request.cookies.get(cookie), token)
        if known and PARAMETER not in request.args:
            return None
        if not known and not _is(request.args.get(PARAMETER), token):
            abort(403, "open the address with ?token=... that `cmt-search inspect` printed")
        rest = urlencode(
            [(name, value) for name, value in request.args.items(multi=True) if name != PARAMETER]
        )
        answer = redirect(request.path + (f"?{rest}" if rest else ""))
        # Lax, so that it is kept where the address is followed from another page.
        answer.set_cookie(cookie, token, httponly=True, samesite="Lax")
        return answer  # type: ignore[return-value]


def trust(app: Dash, hosts: Sequence[str] | None) -> None:
    """Refuse pages from elsewhere that let their name point here (DNS rebinding)."""
    app.server.config["TRUSTED_HOSTS"] = list(hosts) if hosts is not None else None


def _is(given: str | None, token: str) -> bool:
    return given is not None and secrets.compare_digest(
        given.encode(errors="replace"), token.encode()
    )
