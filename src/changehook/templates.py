"""The templates of a webhook: its URL, its headers and its body. Compiled once, pure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from json import JSONDecodeError, JSONEncoder
from typing import Any

import attrs

from changehook.budget import FUEL, LONGEST_TEXT
from changehook.encoding import decode, own
from changehook.errors import SHOWN_NAME, ConfigurationError, Fault, RenderError, pointer_to
from changehook.escaping import RefusedError, Text
from changehook.exchange import CONNECTION_HEADERS, FORBIDDEN_VALUE, TOKEN
from changehook.filters import FILTERS
from changehook.sandbox import Program
from changehook.urls import RenderedURL, URLText, resolved

__all__ = ["FILTERS", "BodyTemplate", "HeaderTemplates", "RenderedURL", "URLTemplate"]

LONGEST_SOURCE = 16 * 1024
MOST_HEADERS = 64
LONGEST_HEADER = 8 * 1024
LONGEST_HEADERS = 32 * 1024
LONGEST_MARKED = 64 * 1024  # of a URL, in which what was inserted is still marked

LONGEST_NAME = 256

_BLANK = " \t\n"
_MARKUP = re.compile("{[{%#]")
_WHOLE_ORIGIN = re.compile("[^{]*?://[^/?#]*[/?#]")
_ESCAPED = JSONEncoder(ensure_ascii=False)
_QUOTE = 'text needs quotes around it, as in "{{ data.name }}"; for anything else write "| tojson"'

_RESERVED = re.compile(
    f"{CONNECTION_HEADERS}|accept-encoding|x-hook-signature|x-hub-signature-256"
    "|webhook-(?:id|timestamp|signature)",
    re.IGNORECASE,
)


class URLTemplate:
    """The template of a URL: what it inserts is percent-encoded, unless marked ``| safe``.

    Args:
        source: the template, at most 16 KiB.

    Raises:
        ConfigurationError: the source is not a template, or what stands in it literally is no URL.
    """

    literal: RenderedURL | None
    """The URL as far as it stands literally in the template, if host and port do."""

    def __init__(self, source: str) -> None:
        self._constant: RenderedURL | None = None
        try:
            text = _one_line(source)
            self._program = Program(text, URLText, LONGEST_MARKED, FUEL // 10)
            if self._program.is_constant:
                self._constant = resolved(self._program.render({}))
            self.literal = self._constant or _literal_head(text)
        except RefusedError as error:
            raise ConfigurationError(str(error)) from None

    def render(self, context: Mapping[str, Any]) -> RenderedURL:
        """Return the URL for a context of plain JSON data.

        Raises:
            RenderError: the template cannot be rendered, or gives no usable URL.
        """
        try:
            return self._constant or resolved(self._program.render(context).strip(_BLANK))
        except RefusedError as error:
            raise _render_error("url", error) from None


def _literal_head(text: str) -> RenderedURL | None:
    """Return what stands before the first expression of a URL template, if the host does.

    Raises:
        RefusedError: no URL begins like that.
    """
    head = _MARKUP.split(text, maxsplit=1)[0].strip(_BLANK)
    return resolved(head) if _WHOLE_ORIGIN.match(head) else None


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
        if _folded(entry.name) in self._names:
            raise RefusedError("stands there twice, perhaps in different case; remove one")
        self._names.add(_folded(entry.name))
        self.headers[entry.name] = entry.source
        source = _one_line(entry.source).strip(_BLANK)
        self._size += len(entry.name) + len(source)
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
        media_type = content_type.partition(";")[0] if isinstance(content_type, str) else ""
        media_type = media_type.strip().lower()
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
        try:
            body.encode()
        except UnicodeEncodeError:
            raise RefusedError("holds a lone surrogate, which is not text") from None
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
        quoted = _ESCAPED.encode(characters)
        if len(quoted) > LONGEST_TEXT:  # before it is copied
            raise RefusedError(f"makes a text of more than {LONGEST_TEXT} characters")
        return quoted[1:-1]

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
        shown = str(name) if isinstance(name, str | int) else type(name).__name__
        shown = re.split(r"[:\s]", shown, maxsplit=1)[0][:SHOWN_NAME]  # what follows may be a value
        pointer = pointer_to(shown)
        yield _Entry(pointer, "", name, source)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise RefusedError('expected "Name: value template"; a block of lines cannot be a template')
    if len(name) > LONGEST_NAME:
        raise RefusedError(f"the name of a header is longer than {LONGEST_NAME} characters")
    if not TOKEN.fullmatch(name):
        raise RefusedError("the name of a header is literal: letters, digits and hyphens")
    plain = _folded(name)
    if plain == "content-type":
        raise RefusedError("Content-Type is not set here; write http_content_type")
    if _RESERVED.fullmatch(plain):
        raise RefusedError("is set by this library or belongs to the connection; leave it out")


def _folded(name: str) -> str:
    """Return the name as receivers behind CGI or WSGI see it: one mark for all but letters."""
    return re.sub("[^0-9a-z]", "-", name.lower())


def _header_value(name: str, text: str) -> str:
    value = text.strip(" \t")
    if FORBIDDEN_VALUE.search(value):
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


def _one_line(source: object) -> str:
    """Return a source that gives one line; around its markup line breaks do not count."""
    text = _checked(source)
    alone = isinstance(source, str) and re.search("\r(?!\n)", source)
    if alone or (text.strip("\n") != text and not _MARKUP.search(text)):
        raise RefusedError("holds a line break; remove it")
    return text


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
