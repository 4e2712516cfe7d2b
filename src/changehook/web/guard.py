"""Who may do what: rights, tokens against forged requests, and the headers of every answer."""

from __future__ import annotations

import hmac
import http
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Literal

from changehook.errors import kind_and_place
from changehook.web.wsgi import Answer, Environ, RefusedRequestError, WebRequest

__all__ = ["FIELD", "Authorize", "Right", "check_form", "guarded", "right_of", "token_of"]

Right = Literal["view", "operate"]
"""``view``: look at everything and change nothing; ``operate``: also retry, discard, send, switch
webhooks on and off, and see signatures."""

Authorize = Callable[[Environ], Right | None]
"""Says what whoever sent a request may do, from its WSGI environ; None for nothing."""

COOKIE = "changehook_csrf"
FIELD = "csrf"
TOKEN_BYTES = 32

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

logger = logging.getLogger(__name__)


def right_of(authorize: Authorize, environ: Environ) -> Right | None:
    """Return what a request may do. Whatever the host answers or raises beside the two rights is
    none."""
    try:
        right = authorize(environ)
        # Not compared unless it is text: what a host's library returns may equal anything.
        if right is None or (type(right) is str and right in ("view", "operate")):
            return right
        place = f"it returned {type(right).__name__}, not view, operate or None"
    except Exception as error:
        place = kind_and_place(error)
    # Outside the handler: a crash report on what is logged shows the variables of this frame.
    logger.error("nobody is let in: authorize failed (%s)", place)
    return None


def token_of(request: WebRequest) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the token that the forms of a page carry, and the headers that set its cookie.

    A form proves that it came from here by repeating the cookie, which no other site can read
    (OWASP, double submit). The cookie has no path of its own, so that it is the mount's alone.
    """
    token = request.cookie(COOKIE)
    if len(token) >= TOKEN_BYTES:
        return token, ()
    token = secrets.token_urlsafe(TOKEN_BYTES)
    secure = "; Secure" if request.environ.get("wsgi.url_scheme") == "https" else ""
    return token, (("Set-Cookie", f"{COOKIE}={token}; HttpOnly; SameSite=Lax{secure}"),)


def check_form(request: WebRequest, form: Mapping[str, str]) -> None:
    """Raise RefusedRequestError unless a form came from a page of this mount.

    Beside the token, a browser that says where a request comes from must say: from here, as a
    subdomain can set cookies for its parent. Over HTTPS it says so in ``Sec-Fetch-Site`` (Fetch
    Metadata), otherwise in ``Origin`` (RFC 6454), which is compared with ``Host``.
    """
    cookie = request.cookie(COOKIE)
    token = form.get(FIELD, "")
    same = hmac.compare_digest(cookie.encode(), token.encode())
    if not _is_from_here(request.environ) or len(cookie) < TOKEN_BYTES or not same:
        raise RefusedRequestError(
            http.HTTPStatus.FORBIDDEN,
            "This form did not come from a page that was opened here, or its cookie is gone. "
            "Nothing was changed. Go back, reload the page, and try again.",
        )


def _is_from_here(environ: Environ) -> bool:
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return bool(site == "same-origin")
    origin = str(environ.get("HTTP_ORIGIN", ""))
    host = str(environ.get("HTTP_HOST", ""))
    return not origin or origin.partition("://")[2].lower() == host.lower()


def guarded(answer: Answer) -> Answer:
    """Return an answer with the headers that keep the page to itself."""
    kept = any(name == "Cache-Control" for name, _ in answer.headers)
    return answer.plus(*_HEADERS, *(() if kept else (("Cache-Control", "no-store"),)))
