"""The templates of a webhook: its URL, its headers and its body. Compiled once, pure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from json import JSONDecodeError, JSONEncoder
from typing import Any
from urllib.parse import quote

import attrs

from changehook.budget import FUEL
from changehook.encoding import decode, own
from changehook.errors import ConfigurationError, Fault, RenderError, pointer_to
from changehook.escaping import RefusedError, Text
from changehook.filters import FILTERS
from changehook.sandbox import Program

__all__ = ["FILTERS", "BodyTemplate", "HeaderTemplates", "RenderedURL", "URLTemplate"]

LONGEST_SOURCE = 16 * 1024
MOST_HEADERS = 64
LONGEST_HEADER = 8 * 1024
LONGEST_HEADERS = 32 * 1024
LONGEST_MARKED = 64 * 1024  # of a URL, in which what was inserted is still marked
SHOWN_NAME = 60

_BLANK = " \t\n"
_ESCAPED = JSONEncoder(ensure_ascii=False)
_QUOTE = 'text needs quotes around it, as in "{{ data.name }}"; for anything else write "| tojson"'
_WHOLE_URL = 'a whole URL that comes from data is marked, as in "{{ data.url | safe }}"'

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_NO_VALUE = re.compile(r"[^\t\x20-\x7e]|^@@@SKIP_HEADER@@@$")  # urllib3 would drop that header
_RESERVED = re.compile(
    "host|content-length|transfer-encoding|connection|keep-alive|proxy-.*|te|trailer|upgrade|expect"
    "|http2-settings|accept-encoding|x-hook-signature|x-hub-signature-256"
    "|webhook-(?:id|timestamp|signature)",
    re.IGNORECASE,
)

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
_DOTS = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
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


class URLTemplate:
    """The template of a URL: what it inserts is percent-encoded, unless marked ``| safe``.

    Args:
        source: the template, at most 16 KiB.

    Raises:
        ConfigurationError: the source is not a template, or is a constant and not a URL.
    """

    def __init__(self, source: str) -> None:
        self._constant: RenderedURL | None = None
        try:
            text = _checked(source).removesuffix("\n")
            self._program = Program(text, _URLText, LONGEST_MARKED, FUEL // 10)
            if self._program.is_constant:
                self._constant = _resolved(self._program.render({}))
        except RefusedError as error:
            raise ConfigurationError(str(error)) from None

    def render(self, context: Mapping[str, Any]) -> RenderedURL:
        """Return the URL for a context of plain JSON data.

        Raises:
            RenderError: the template cannot be rendered, or gives no usable URL.
        """
        try:
            return self._constant or _resolved(self._program.render(context).strip(_BLANK))
        except RefusedError as error:
            raise _render_error("url", error) from None


class HeaderTemplates:
    """The templates of header values, each rendered by itself under its literal name.

    Args:
        headers: text with one ``Name: value template`` on each line, or a mapping of name to
            template; at most 64 names, 16 KiB for each template.

    Raises:
        ConfigurationError: every fault, with a pointer to the name, or the line of the text.
    """

    def __init__(self, headers: str | Mapping[str, str]) -> None:
        faults: list[Fault] = []
        self.headers: dict[str, str] = {}
        self._programs: dict[str, Program] = {}
        self._names: set[str] = set()
        self._size = 0
        entries = _entries(headers)
        for entry in itertools.islice(entries, MOST_HEADERS):
            try:
                self._add(entry)
            except RefusedError as error:
                faults.append(entry.fault(error))
        if next(entries, None) is not None:
            faults.append(Fault("", f"more than {MOST_HEADERS} headers"))
        if faults:
            raise ConfigurationError(*faults)

    def _add(self, entry: _Entry) -> None:
        _check_name(entry.name)
        if entry.name.lower() in self._names:
            raise RefusedError("stands there twice, perhaps in different case; remove one")
        self._names.add(entry.name.lower())
        self.headers[entry.name] = entry.source
        source = _checked(entry.source).strip(_BLANK)
        self._size += len(source)
        if self._size > LONGEST_HEADERS:
            raise RefusedError(f"all headers are longer than {LONGEST_HEADERS} characters together")
        program = Program(source, Text, 2 * LONGEST_HEADER, FUEL // MOST_HEADERS)
        if program.is_constant:
            _header_value(entry.name, program.render({}))
        self._programs[entry.name] = program

    def render(self, context: Mapping[str, Any]) -> dict[str, str]:
        """Return the headers for a context of plain JSON data; an empty value drops its header.

        Raises:
            RenderError: a template cannot be rendered, or gives what no header may hold.
        """
        values = {name: self._value(name, context) for name in self._programs}
        if sum(len(name) + len(value) for name, value in values.items()) > LONGEST_HEADERS:
            raise RenderError(f"headers: longer than {LONGEST_HEADERS} characters together")
        return {name: value for name, value in values.items() if value}

    def _value(self, name: str, context: Mapping[str, Any]) -> str:
        try:
            return _header_value(name, self._programs[name].render(context))
        except RefusedError as error:
            raise _render_error(f"header {name}", error) from None


class BodyTemplate:
    """The template of a body. For a JSON content type, text that it inserts is escaped for JSON.

    Args:
        source: the template, at most 16 KiB.
        content_type: JSON is ``application/json`` and every type that ends in ``+json``.

    Raises:
        ConfigurationError: the source is not a template, or is a constant that should be JSON.
    """

    def __init__(self, source: str, content_type: str) -> None:
        media_type = str(content_type).partition(";")[0].strip().lower()
        self._is_json = media_type == "application/json" or media_type.endswith("+json")
        try:
            self._program = Program(_checked(source), _JSONText if self._is_json else Text)
            if self._program.is_constant:
                self._check(self._program.render({}))
        except RefusedError as error:
            raise ConfigurationError(str(error)) from None

    def render(self, context: Mapping[str, Any]) -> str:
        """Return the body for a context of plain JSON data.

        Raises:
            RenderError: the template cannot be rendered, or gives no JSON where it should.
        """
        try:
            body = self._program.render(context)
            if not self._program.is_constant:
                self._check(body)
        except RefusedError as error:
            raise _render_error("body", error) from None
        return body

    def _check(self, body: str) -> None:
        if not self._is_json:
            return
        try:
            decode(body)
        except JSONDecodeError as error:
            where = f"line {error.lineno} column {error.colno}: {error.msg}"
            raise RefusedError(f"the rendered body is not JSON: {where}; {_QUOTE}") from None
        except ValueError as error:
            raise RefusedError(f"the rendered body is not JSON: {error}") from None


class _JSONText(Text):
    """Text in a JSON document (RFC 8259): values are what stands inside a JSON string."""

    __slots__ = ()

    @classmethod
    def escape(cls, characters: str) -> str:
        return _ESCAPED.encode(characters)[1:-1]

    @classmethod
    def spell(cls, value: Any) -> str:
        if value is None or isinstance(value, bool):
            return _ESCAPED.encode(value)
        if isinstance(value, dict | list | tuple):
            raise RefusedError('a list or an object is inserted with "| tojson"')
        if isinstance(value, float) and not math.isfinite(value):
            raise RefusedError("NaN and the infinities are not JSON")
        return super().spell(value)

    @classmethod
    def keep(cls, characters: str, made_by: str) -> str:
        return characters if made_by == "urlencode" else super().keep(characters, made_by)


class _URLText(Text):
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


def _resolved(marked: str) -> RenderedURL:
    """Return the URL, with what was inserted encoded as its place in the URL asks for."""
    pieces = list(_pieces(marked))
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


@attrs.frozen
class _Entry:
    """One header as it was written: where, and what."""

    pointer: str
    prefix: str
    name: Any
    source: Any

    def fault(self, error: RefusedError) -> Fault:
        return Fault(self.pointer, self.prefix + (error.message if self.prefix else str(error)))


def _entries(headers: object) -> Iterator[_Entry]:
    if isinstance(headers, str):
        return _entries_of_text(headers)
    if isinstance(headers, Mapping):
        return _entries_of_mapping(headers)
    found = type(headers).__name__
    raise ConfigurationError(f"expected text or a mapping of name to template, found {found}")


def _entries_of_text(text: str) -> Iterator[_Entry]:
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if line.strip(_BLANK):
            name, colon, source = (part.strip(_BLANK) for part in line.partition(":"))
            yield _Entry("", f"line {number}: ", name if colon else None, source)


def _entries_of_mapping(headers: Mapping[Any, Any]) -> Iterator[_Entry]:
    for name, source in own(headers, 1).items():
        shown = str(name)[:SHOWN_NAME] if isinstance(name, str | int) else type(name).__name__
        pointer = pointer_to(shown)
        yield _Entry(pointer, "", name, source)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise RefusedError('expected "Name: value template"; a block of lines cannot be a template')
    if not _TOKEN.fullmatch(name):
        raise RefusedError("the name of a header is literal: letters, digits and hyphens")
    plain = name.replace("_", "-")  # receivers behind CGI or WSGI cannot tell the two apart
    if plain.lower() == "content-type":
        raise RefusedError("Content-Type is not set here; write http_content_type")
    if _RESERVED.fullmatch(plain):
        raise RefusedError("is set by this library or belongs to the connection; leave it out")


def _header_value(name: str, text: str) -> str:
    value = text.strip(" \t")
    if _NO_VALUE.search(value):
        raise RefusedError(
            "may hold visible ASCII, spaces and tabs, no line break and nothing else; "
            '"| header_safe" removes what is not allowed, "| urlencode" encodes it'
        )
    if len(name) + len(value) > LONGEST_HEADER:
        raise RefusedError(f"is longer than {LONGEST_HEADER} characters")
    return value


def _render_error(template: str, error: RefusedError) -> RenderError:
    where = f"{template}, line {error.line}" if error.line else template
    return RenderError(f"{where}: {error.message}")


def _checked(source: object) -> str:
    if not isinstance(source, str):
        raise RefusedError(f"expected text, found {type(source).__name__}")
    try:
        size = len(source.encode())
    except UnicodeEncodeError:
        raise RefusedError("holds a lone surrogate, which is not text") from None
    if size > LONGEST_SOURCE:
        raise RefusedError(f"is {size} bytes long; a template holds at most {LONGEST_SOURCE}")
    return source.replace("\r\n", "\n").replace("\r", "\n")
