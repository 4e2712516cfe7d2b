"""One HTTP exchange: Request and Response, and how they are shown without what may be secret."""

from __future__ import annotations

import base64
import html
import json
import re
import string
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

__all__ = [
    "CONNECTION_HEADERS",
    "FORBIDDEN_VALUE",
    "METHODS",
    "TOKEN",
    "Preview",
    "Request",
    "Response",
    "forbidden",
    "hidden_values",
    "redact_headers",
    "redact_url",
    "scrub",
]

KEPT_BODY = 16 * 1024
SAFE_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-length",
        "content-type",
        "date",
        "retry-after",
        "server",
        "transfer-encoding",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-hook-signature",
        "x-hub-signature-256",
    }
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
# urllib3 would drop a header of the second form.
FORBIDDEN_VALUE = re.compile(r"[^\t\x20-\x7e]|^@@@SKIP_HEADER@@@$")
CONNECTION_HEADERS = (
    "host|content-length|transfer-encoding|connection|keep-alive|proxy-.*|te|trailer|upgrade|expect"
    "|http2-settings"
)
HIDDEN = "***"
SHORTEST_SECRET = 8
SHORTEST_PART = 4

_OF_THE_CONNECTION = re.compile(CONNECTION_HEADERS, re.IGNORECASE)
_WORD = re.compile(r"[^\s/?&=;,:@\"'<>]+")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]*")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_JSON_FOR_HTML = [  # as Go, Rails and .NET write it
    {ord(each): f"\\u{ord(each):04x}" for each in characters}
    for characters in ("<>&", "<>&'", "<>&'+")
]


def redact_url(url: str) -> str:
    """Return scheme, host and port of a URL; the rest may hold a secret."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return HIDDEN
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
        method: one of ``METHODS``, or the transport refuses it.
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


def forbidden(request: Request) -> str | None:
    """Return what of a request may not be sent, in words that repeat no value; None: nothing."""
    if request.method not in METHODS:
        return f"the method is none of {', '.join(METHODS)}"
    if not isinstance(request.body, bytes):
        return "the body is not bytes"
    names = set()
    for name, value in request.headers.items():
        if not (isinstance(name, str) and TOKEN.fullmatch(name)):
            return "the name of a header is not a token of RFC 9110"
        if _OF_THE_CONNECTION.fullmatch(name):
            return f"the header {name:.60} belongs to the connection"
        if not isinstance(value, str) or FORBIDDEN_VALUE.search(value):
            return f"the header {name:.60} may hold visible ASCII, spaces and tabs"
        names.add(name.lower())
    return "a header stands there twice" if len(names) < len(request.headers) else None


@attrs.frozen(kw_only=True)
class Response:
    """What came back: a complete response head, and as much of the body as was read.

    Args:
        status: the status code, 200 to 599.
        headers: lower-case names; of a repeated one, the last. At most 16 KiB in all.
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


def hidden_values(request: Request, *secrets: str, whole: bool = False) -> list[str]:
    """Return what of a request is never shown, in the forms in which a receiver may quote it.

    These are path, query, hidden header values and the secrets: each as a whole, in the parts that
    it is made of (segments, parameters, what follows a scheme, cookies, both halves of Basic
    credentials), and word by word; percent-decoded and percent-encoded, escaped as in JSON and
    HTML. What is shorter than 8 characters is left out.

    Args:
        request: as it was sent.
        secrets: those that signed it.
        whole: leave out the single words as well, and what stands in the origin of the URL: for
            texts of this library's own, which quote no more than that.

    Returns:
        the texts with ASCII letters in lower case, the longest first.
    """
    parts = urllib.parse.urlsplit(request.url)
    texts = {parts.path, parts.query, *secrets}
    texts.update(parts.path.split("/"), _parameters(parts.query, "&"))
    for name, value in request.headers.items():
        if name.lower() not in SAFE_HEADERS:
            texts.update((value, value.partition(" ")[2]), _parameters(value, ";"))
            texts.update(_basic_credentials(value))
    texts |= {urllib.parse.unquote_plus(text) for text in texts if "%" in text or "+" in text}
    if whole:
        origin = redact_url(request.url)
        words = {text for text in texts if text not in origin}
    else:
        words = texts.union({parts.path.strip("/")}, *map(_WORD.findall, texts))
    forms = {form for word in words if len(word) >= SHORTEST_SECRET for form in _forms(word)}
    return sorted(map(_lower, forms), key=len, reverse=True)


def scrub(text: str, values: Iterable[str], *, cut: bool = False) -> str:
    """Return a receiver's words with ``***`` for each of the values, in the order of the values.

    Args:
        text: what may quote the values, in upper or lower case.
        values: those of ``hidden_values``.
        cut: whether the text may end inside a value; what stands there of one goes as well.
    """
    lowered = _lower(text)
    for value in values:
        if value in lowered:
            text = HIDDEN.join(_between(text, lowered, value))
            lowered = _lower(text)
        # Most values do not hold the last characters at all.
        if cut and lowered[-SHORTEST_PART:] in value and (size := _begun(lowered, value)):
            text = text[:-size] + HIDDEN
            lowered = _lower(text)
    return text


def _lower(text: str) -> str:
    """Return a text of the same length with ASCII letters in lower case."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _between(text: str, lowered: str, value: str) -> Iterator[str]:
    """Yield what of a text stands before, between and behind a value."""
    start = 0
    while (at := lowered.find(value, start)) >= 0:
        yield text[start:at]
        start = at + len(value)
    yield text[start:]


def _begun(lowered: str, value: str) -> int:
    """Return how many characters at the end of a text begin a value."""
    sizes = range(min(len(value) - 1, len(lowered)), SHORTEST_PART - 1, -1)
    return next((size for size in sizes if lowered.endswith(value[:size])), 0)


def _parameters(text: str, separator: str) -> Iterator[str]:
    """Yield the values of a query or of cookies."""
    return (each.partition("=")[2] for each in text.split(separator))


def _basic_credentials(value: str) -> tuple[str, ...]:
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "basic":
        return ()
    try:
        credentials = base64.b64decode(token).decode(errors="replace")
    except ValueError:
        return ()
    user, _, password = credentials.partition(":")
    return credentials, user, password


def _forms(word: str) -> Iterator[str]:
    yield word
    if _PLAIN.fullmatch(word):
        return
    for encoded in (json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1]):
        yield from (encoded, encoded.replace("/", r"\/"))
        yield from (encoded.translate(table) for table in _JSON_FOR_HTML)
    escaped = html.escape(word, quote=False)
    yield escaped
    for double, single in (("&quot;", "&#x27;"), ("&#34;", "&#39;"), ("&quot;", "&#039;")):
        yield escaped.replace('"', double).replace("'", single)
    yield escaped.replace('"', "&quot;").replace("'", "&apos;")
    for safe in ("/", "", "!~*'()"):  # the last one is JavaScript's encodeURIComponent
        yield urllib.parse.quote(word, safe=safe)
    yield urllib.parse.quote_plus(word)
