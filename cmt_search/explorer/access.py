"""Who may look: everybody on this machine, and elsewhere who has the token."""

import secrets
from collections.abc import Sequence

from dash import Dash
from flask import Response, abort, redirect, request

COOKIE = "cmt_search_token"
PARAMETER = "token"


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def require_token(app: Dash, token: str) -> None:
    """Answer nobody without the token: it comes in the address once, then in a cookie."""

    @app.server.before_request
    def check() -> Response | None:
        if _is(request.cookies.get(COOKIE), token):
            return None
        if not _is(request.args.get(PARAMETER), token):
            abort(403, "open the address with ?token=... that `cmt-search inspect` printed")
        rest = "&".join(
            part
            for part in request.query_string.decode().split("&")
            if not part.startswith(f"{PARAMETER}=")
        )
        answer = redirect(request.path + (f"?{rest}" if rest else ""))
        answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
        return answer  # type: ignore[return-value]


def trust(app: Dash, hosts: Sequence[str] | None) -> None:
    """Refuse pages from elsewhere that let their name point here (DNS rebinding)."""
    app.server.config["TRUSTED_HOSTS"] = list(hosts) if hosts is not None else None


def _is(given: str | None, token: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), token.encode())
