"""One HTTP exchange: Request and Response, and how they are shown without what may be secret."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Preview", "Request", "Response", "redact_headers", "redact_url", "scrub"]

SAFE_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-length",
        "content-type",
        "date",
        "retry-after",
        "server",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-hook-signature",
        "x-hub-signature-256",
    }
)
HIDDEN = "***"
SHORTEST_SECRET = 8


def redact_url(url: str) -> str:
    """Return scheme, host and port of a URL; the rest may hold a secret."""
    parts = urllib.parse.urlsplit(url)
    rest = "/" + HIDDEN if parts.path.strip("/") or parts.query else "/"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{rest}"


def redact_template(url: str) -> str:
    """Return scheme and host of a URL template, if they stand there literally."""
    origin = re.match(r"https?://[^/?#@{]*(?=[/?#]|$)", url, re.IGNORECASE)
    return HIDDEN if origin is None else f"{origin[0]}/{HIDDEN}"


def redact_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with every value hidden that is not known to be harmless."""
    return {
        name: value if name.lower() in SAFE_HEADERS else HIDDEN for name, value in headers.items()
    }


@attrs.frozen(kw_only=True)
class Request:
    """One HTTP request, ready to send. Its repr shows neither path, query, header values nor body.

    Args:
        method: upper case.
        url: absolute, percent-encoded, ASCII.
        headers: in the order sent.
        body: the exact bytes.
        literal_host: True when the host stands in the definition, not in the data.
        verify: whether the receiver's certificate is checked.
        ca_file: a file of certificate authorities to trust instead of the system's.
        timeout: seconds for the whole attempt.
    """

    method: str
    url: str = attrs.field(repr=redact_url)
    headers: Mapping[str, str] = attrs.field(repr=lambda headers: repr(redact_headers(headers)))
    body: bytes = attrs.field(repr=False)
    literal_host: bool = True
    verify: bool = True
    ca_file: str | None = None
    timeout: float = 15.0


@attrs.frozen(kw_only=True)
class Response:
    """What came back: a complete response head, and as much of the body as was read.

    Args:
        status: the status code, 200 to 599.
        headers: lower-case names; of a repeated one, the last.
        body: at most 16 KiB.
        note: trouble while the body was read, None when it was read to its end.
        address: the numeric address that answered.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(
        factory=dict, repr=lambda headers: repr(redact_headers(headers))
    )
    body: bytes = attrs.field(default=b"", repr=False)
    note: str | None = None
    address: str | None = None


@attrs.frozen(kw_only=True)
class Preview:
    """The request that a webhook would send for a change; its repr hides what may be secret.

    Args:
        request: with every header, signatures included.
    """

    request: Request

    def to_dict(self, *, reveal: bool = False) -> dict[str, Any]:
        """Return method, URL, headers and body; redacted unless ``reveal``."""
        request = self.request
        return {
            "method": request.method,
            "url": request.url if reveal else redact_url(request.url),
            "headers": dict(request.headers) if reveal else redact_headers(request.headers),
            "body": request.body.decode(),
        }


def scrub(text: str, request: Request) -> str:
    """Return a receiver's words without what they may quote of the request's secrets."""
    for secret in sorted(_secrets(request), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(request: Request) -> set[str]:
    parts = urllib.parse.urlsplit(request.url)
    shown = redact_headers(request.headers)
    hidden = [value for name, value in request.headers.items() if shown[name] == HIDDEN]
    words = [word for value in hidden for word in (value, value.split(" ")[-1])]
    return {word for word in (parts.path, parts.query, *words) if len(word) >= SHORTEST_SECRET}
