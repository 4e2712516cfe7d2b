"""A request as the development receiver got it, and the form in which it is printed."""

from __future__ import annotations

import re
import sys

import attrs

from changehook.exchange import redact_headers

__all__ = ["ReceivedRequest", "combined", "one_line", "printed", "to_stdout"]

LONGEST_PRINT = 64 * 1024
# Controls, C1 included; marks that turn the direction of text; line separators; lone surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


@attrs.frozen(kw_only=True)
class ReceivedRequest:
    """One request as it came in. Its repr shows neither path, query, header values nor body.

    Args:
        number: counts from 1.
        date: when it had come in, in the form of an HTTP date.
        client: the sender's numeric address.
        request_line, method, path: the first line without its end, and its first two parts.
        headers: name and value, in the order received; repeated ones stay apart.
        body: the bytes, after the chunks of a chunked body are put together.
        status: what the receiver answers; None when it breaks the connection off.
        verdict: ``valid``, or ``INVALID:`` and why; None when nothing is verified.
    """

    number: int
    date: str
    client: str
    request_line: str = attrs.field(repr=False)
    method: str
    path: str = attrs.field(repr=False)
    headers: tuple[tuple[str, str], ...] = attrs.field(
        repr=lambda headers: repr(redact_headers(dict(headers)))
    )
    body: bytes = attrs.field(repr=False)
    status: int | None = 200
    verdict: str | None = None

    def header(self, name: str) -> str | None:
        """Return the first value of a header, its name in any case; None when it was not sent."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def printed(request: ReceivedRequest) -> str:
    """Return a request in the form that the receiver prints, with nothing that a terminal obeys."""
    status = "-" if request.status is None else request.status
    where = f'{request.date} {request.client} "{request.request_line}" {status} -'
    verdict = [] if request.verdict is None else [f"Signature: {request.verdict}"]
    headers = [f"{name}: {value}" for name, value in request.headers]
    head = [one_line(text) for text in (f"[{request.number}] {where}", *verdict, *headers)]
    return "\n".join([*head, "", *_printed_body(request.body), "------------"])


def _printed_body(body: bytes) -> list[str]:
    if not body:
        return ["(No body)"]
    text = body[:LONGEST_PRINT].decode(errors="replace").replace("\r\n", "\n")
    lines = [_UNPRINTABLE.sub(_escaped, text)]
    if len(body) > LONGEST_PRINT:
        lines.append(f"(the first {LONGEST_PRINT} of {len(body)} bytes)")
    return lines


def one_line(text: str) -> str:
    """Return text on one line, with nothing in it that a terminal obeys."""
    return _UNPRINTABLE.sub(_escaped, text).replace("\n", "\\n")


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def to_stdout(text: str) -> None:
    """Print text at once, also where the output cannot hold all of its characters."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def combined(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the headers by name; the values of a repeated one are put together (RFC 9110)."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    return {name: ", ".join(several) for name, several in values.items()}
