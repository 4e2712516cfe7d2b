"""URLs that templates make: what was inserted is told from what is literal, and encoded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import attrs

from changehook.escaping import RefusedError, Text

__all__ = ["RenderedURL", "URLText", "resolved"]

_WHOLE_URL = 'a whole URL that comes from data is marked, as in "{{ data.url | safe }}"'

# What is inserted into a URL stands between one of these and _END until all of it is known: only
# then can the authority be told from the rest. They are lone surrogates, which no text holds.
_VALUE, _ENCODED, _SAFE, _END = "\udc01", "\udc02", "\udc03", "\udc00"
_MARKED = re.compile(f"([{_VALUE}{_ENCODED}{_SAFE}])([^{_END}]*){_END}")
_ORIGIN = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{1,5})?")
_HOST_VALUE = re.compile(r"[0-9A-Za-z.-]*")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\\]")
_TIDY = re.compile(r"(?:[0-9A-Za-z._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DOTS = re.compile(r"(?:\.|%2e){1,2}(?:;.*)?", re.IGNORECASE | re.DOTALL)  # ..;x is .. to some
_URL_CHARACTERS = ":/?#[]@!$&'()*+,;=%"  # RFC 3986, section 2.2, and the percent sign


@attrs.frozen
class RenderedURL:
    """What a URL template gave.

    Args:
        url: absolute, percent-encoded ASCII.
        literal_host: False when any part of scheme, host or port came out of an expression.
    """

    url: str = attrs.field(repr=False)
    literal_host: bool


class URLText(Text):
    """Text in a URL: what was inserted stays marked until the whole URL is known."""

    __slots__ = ()

    @classmethod
    def escape(cls, characters: str) -> str:
        return cls._marked(_VALUE, characters)

    @classmethod
    def spell(cls, value: Any) -> str:
        if value is None:
            raise RefusedError('null has no place in a URL; write "| default(…, true)"')
        if isinstance(value, dict | list | tuple):
            raise RefusedError("a list or an object has no place in a URL; name one value in it")
        return super().spell(value)

    @classmethod
    def keep(cls, characters: str, made_by: str) -> str:
        if made_by == "tojson":
            return characters
        return cls(characters, cls._marked(_SAFE if made_by == "safe" else _ENCODED, characters))

    @staticmethod
    def _marked(mark: str, characters: str) -> str:
        characters.encode()  # raises for lone surrogates, so that data cannot hold a mark
        return f"{mark}{characters}{_END}"


def resolved(marked: str) -> RenderedURL:
    """Return the URL, with what was inserted encoded as its place in the URL asks for."""
    pieces = list(_pieces(marked))
    if marked != marked.strip(" \t\n"):
        raise RefusedError("has white space around it; remove it")
    origin = _ORIGIN.match("".join(text for _, text in pieces))
    if origin is None:
        raise RefusedError(f"does not begin with http:// or https://; {_WHOLE_URL}")
    literal_host = _head_is_literal(pieces, origin.end())
    _check_authority(origin[1])
    tail = list(_tail(pieces, origin.end()))
    _check_dots(tail)
    return RenderedURL(origin[0] + "".join(text for _, text in tail), literal_host)


def _pieces(marked: str) -> Iterator[tuple[str, str]]:
    """Yield each part of the URL with the mark of what inserted it, which is empty if literal."""
    parts = _MARKED.split(marked)
    yield "", parts[0]
    for mark, inserted, literal in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        yield mark, inserted
        yield "", literal


def _head_is_literal(pieces: list[tuple[str, str]], end: int) -> bool:
    """Return whether nothing was inserted before, or right at, the end of the authority."""
    literal, start = True, 0
    for mark, text in pieces:
        if mark and start <= end:
            literal = False
            if mark != _SAFE and not _HOST_VALUE.fullmatch(text):
                raise RefusedError(
                    "a value in scheme, host or port may hold letters, digits, dots and hyphens "
                    f"only; write a slash before what belongs to the path; {_WHOLE_URL}"
                )
        start += len(text)
    return literal


def _check_authority(authority: str) -> None:
    if "@" in authority:
        raise RefusedError("holds user information before the host; write a header instead")
    if not authority.isascii():
        raise RefusedError("the host is not ASCII; write its A-label, which begins with xn--")
    if not _AUTHORITY.fullmatch(authority):
        raise RefusedError("needs a host after the two slashes, then at most a colon and a port")


def _tail(pieces: list[tuple[str, str]], end: int) -> Iterator[tuple[str, str]]:
    """Yield what follows the authority, encoded."""
    start = 0
    for mark, text in pieces:
        outside = text[max(0, end - start) :]
        yield mark, quote(outside, safe="") if mark == _VALUE else _tidied(outside)
        start += len(text)


def _tidied(text: str) -> str:
    if _TIDY.fullmatch(text):
        return text
    if _UNPRINTABLE.search(text):
        raise RefusedError("holds a space, a control character or a backslash; percent-encode it")
    if _BAD_PERCENT.search(text):
        raise RefusedError("holds a % without two hexadecimal digits after it; write %25")
    return quote(text, safe=_URL_CHARACTERS)


def _check_dots(tail: list[tuple[str, str]]) -> None:
    """Refuse a segment . or .. that was inserted: clients remove it, and the one before it."""
    path = re.split("[?#]", "".join(text for _, text in tail), maxsplit=1)[0]
    inserted = "".join(("x" if mark else " ") * len(text) for mark, text in tail)
    start = 0
    for segment in path.split("/"):
        end = start + len(segment)
        if _DOTS.fullmatch(segment) and "x" in inserted[start:end]:
            raise RefusedError("a value makes a segment of the path that is . or ..")
        start = end + 1
