"""A request as the page reads it, and an answer as it gives it (PEP 3333)."""

from __future__ import annotations

import http
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

__all__ = ["Answer", "Environ", "RefusedRequestError", "WebRequest", "redirect"]

LONGEST_FORM = 4 * 1024 * 1024
MOST_FIELDS = 100

Environ = dict[str, Any]
StartResponse = Callable[..., object]

_LENGTH = re.compile(r"[0-9]{1,12}")
_COOKIE = re.compile(r"[!#-+\--:<-\[\]-~]*")  # RFC 6265, section 4.1.1


class RefusedRequestError(Exception):
    """A request that gets an answer other than what it asked for.

    Args:
        status: of the answer.
        text: for whoever reads it.
        headers: of the answer.
    """

    def __init__(self, status: http.HTTPStatus, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.headers = headers
        self.status = status
        self.text = text


def _fields(text: str) -> dict[str, str]:
    """Return the fields of a query or a form; of a repeated one the last."""
    try:
        pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise RefusedRequestError(
            http.HTTPStatus.BAD_REQUEST, f"More than {MOST_FIELDS} fields."
        ) from None
    return dict(pairs)


@attrs.frozen(kw_only=True)
class WebRequest:
    """One request to the page.

    Args:
        environ: of the WSGI server.
        method: in upper case; ``HEAD`` counts as ``GET``.
        path: below the mount point, such as ``/deliveries``.
        query: what stands in the URL behind the question mark.
    """

    environ: Environ = attrs.field(repr=False)
    method: str
    path: str
    query: Mapping[str, str] = attrs.field(repr=False)

    @classmethod
    def of(cls, environ: Environ) -> WebRequest:
        """Return the request that a server describes.

        Raises:
            RefusedRequestError: the query has too many fields.
        """
        method = str(environ.get("REQUEST_METHOD", "GET")).upper()
        return cls(
            environ=environ,
            method="GET" if method == "HEAD" else method,
            path=environ.get("PATH_INFO") or "",
            query=_fields(environ.get("QUERY_STRING", "")),
        )

    def form(self) -> dict[str, str]:
        """Return the fields of the form that was sent.

        Raises:
            RefusedRequestError: it is none, or longer than ``LONGEST_FORM`` bytes.
        """
        kind = str(self.environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise RefusedRequestError(
                http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the form of the page."
            )
        length = str(self.environ.get("CONTENT_LENGTH") or "0")
        if not _LENGTH.fullmatch(length):
            raise RefusedRequestError(http.HTTPStatus.BAD_REQUEST, "Content-Length is no number.")
        if int(length) > LONGEST_FORM:
            raise RefusedRequestError(
                http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The form is longer than {LONGEST_FORM} bytes.",
            )
        body: bytes = self.environ["wsgi.input"].read(int(length))
        return _fields(body.decode(errors="replace"))

    def cookie(self, name: str) -> str:
        """Return the value of a cookie; empty when there is none. Of several the first, which is
        the one of the longest path (RFC 6265, section 5.4)."""
        for pair in str(self.environ.get("HTTP_COOKIE", "")).split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name and _COOKIE.fullmatch(value):
                return value
        return ""


@attrs.frozen(kw_only=True)
class Answer:
    """What the page answers.

    Args:
        status: of the response.
        body: its bytes.
        content_type: with the charset.
        headers: others, in the order sent.
    """

    status: http.HTTPStatus = http.HTTPStatus.OK
    body: bytes = attrs.field(default=b"", repr=False)
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    def plus(self, *headers: tuple[str, str]) -> Answer:
        """Return the answer with more headers."""
        return attrs.evolve(self, headers=(*self.headers, *headers))

    def sent(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Begin the response, and return its body."""
        own = [("Content-Type", self.content_type), ("Content-Length", str(len(self.body)))]
        start_response(f"{self.status.value} {self.status.phrase}", [*own, *self.headers])
        return [] if str(environ.get("REQUEST_METHOD")).upper() == "HEAD" else [self.body]


def redirect(location: str) -> Answer:
    """Return an answer that leads to another page of this mount; the location is relative."""
    return Answer(
        status=http.HTTPStatus.SEE_OTHER,
        content_type="text/plain; charset=utf-8",
        headers=(("Location", location),),
    )
