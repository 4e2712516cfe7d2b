"""The Jinja2 sandbox: what templates can reach, and how what they insert is escaped."""

from __future__ import annotations

import difflib
import json
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import attrs
from jinja2 import StrictUndefined, Template, Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateRuntimeError, TemplateSyntaxError
from jinja2.filters import FILTERS as JINJA
from jinja2.filters import make_attrgetter
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing, pass_environment

__all__ = ["FILTERS", "Program", "RefusedError", "Text"]

_BORROWED = (
    "abs batch capitalize center count d default dictsort filesizeformat first float format "
    "groupby int items last length list lower map max min reject rejectattr replace reverse round "
    "select selectattr slice sort string sum title trim truncate unique upper wordcount wordwrap"
)
_ATTRIBUTES: Mapping[type, str] = {
    dict: "get items keys values",
    list: "count index",
    tuple: "count index grouper list",
    str: "capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal "
    "isdigit islower isnumeric isspace istitle isupper join ljust lower lstrip partition "
    "removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split "
    "splitlines startswith strip swapcase title upper zfill",
    LoopContext: "changed cycle depth depth0 first index index0 last length nextitem previtem "
    "revindex revindex0",
}
_OPEN = tuple((cls, frozenset(names.split())) for cls, names in _ATTRIBUTES.items())
_IMPORTS = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_CLOSED = (*_IMPORTS, nodes.Block, nodes.ScopedEvalContextModifier)
_NOT_AVAILABLE = "include, import, extends, block and autoescape are not available"
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (RecursionError, "the template or its data is nested too deeply"),
    (MemoryError, "the template needs too much memory"),
    (ZeroDivisionError, "the template divides by zero"),
    (OverflowError, "the template makes a number or a range that is too large"),
    (UnicodeError, "a value holds a lone surrogate, which is not text"),
    (SecurityError, "the template does what templates may not do"),
    (TemplateRuntimeError, "a filter or test does not exist, or was given wrong arguments"),
    (TypeError, "a value has the wrong type for what the template does with it"),
    (Exception, "a value does not fit what the template does with it"),
)


@attrs.define
class RefusedError(Exception):
    """A template cannot be compiled or rendered.

    Args:
        message: what is wrong, and what to write instead; shows no value of the data.
        line: the line of the template, from 1; 0 when it is not known.
    """

    message: str
    line: int = 0

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


class Text(str):
    """Text that a template made out of literal text and values, in a macro or a ``set`` block.

    To the template it is the text without any escaping; ``output`` is what it is in the output,
    each value in it escaped once. What changes the text and knows nothing of ``output`` gives a
    plain string, which is a value and escaped as a whole: too much, but never too little.
    """

    __slots__ = ("output",)

    output: str

    def __new__(cls, characters: str, output: str) -> Self:
        text = str.__new__(cls, characters)
        text.output = output
        return text

    @classmethod
    def escape(cls, characters: str) -> str:
        """Return what the output holds for a value that is text."""
        return characters

    @classmethod
    def spell(cls, value: Any) -> str:
        """Return the characters of a value that is not text.

        Raises:
            RefusedError: such a value cannot be inserted.
        """
        check_plain(value)
        return str(value)

    @classmethod
    def keep(cls, characters: str, made_by: str) -> str:
        """Return what ``safe``, ``tojson`` or ``urlencode`` made: ``Text``, if it is kept as is."""
        return cls(characters, characters)

    @classmethod
    def characters(cls, value: Any) -> str:
        """Return any value as text, before it is escaped."""
        return value if isinstance(value, str) else cls.spell(value)

    @classmethod
    def insert(cls, value: Any) -> str:
        """Return what the output holds for any value."""
        return value.output if isinstance(value, Text) else cls.escape(cls.characters(value))

    @classmethod
    def capture(cls, value: Any) -> Text:
        """Return any value as a part of text that is still being made."""
        if isinstance(value, Text):
            return value
        characters = value if isinstance(value, str) else cls.spell(value)
        return cls(characters, cls.escape(characters))

    @classmethod
    def concat(cls, parts: Sequence[str]) -> Text:
        """Return the text of literal parts (plain strings) and captured ones, in their order."""
        outputs = [part.output if isinstance(part, Text) else part for part in parts]
        return cls("".join(parts), "".join(outputs))

    @classmethod
    def joined(cls, values: Iterable[Any], glue: Any = "") -> str:
        """Return values joined as text, which is ``Text`` only if one of them is."""
        values = list(values)
        characters = cls.characters(glue).join([cls.characters(value) for value in values])
        if not any(isinstance(value, Text) for value in (glue, *values)):
            return characters
        between = "" if glue == "" else cls.insert(glue)
        return cls(characters, between.join([cls.insert(value) for value in values]))

    def __add__(self, other: str) -> str:
        return self.joined((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return self.joined((other, self)) if isinstance(other, str) else NotImplemented

    def spaced(self, change: Callable[[str], str]) -> Self:
        """Return the text after a change that adds or removes nothing but white space."""
        return type(self)(change(str(self)), change(self.output))

    def strip(self, characters: str | None = None) -> str:
        return self.spaced(str.strip) if characters is None else super().strip(characters)


def check_plain(value: Any) -> None:
    """Refuse what is not plain data: its text would show an address, or nothing useful."""
    if isinstance(value, dict):
        check_plain([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            check_plain(item)
    elif isinstance(value, Undefined):
        str(value)  # raises, but for that of an "if" without an "else", which is empty
    elif not isinstance(value, str | int | float | None):
        raise RefusedError('a function, macro or sequence has no text; call it, or write "| list"')


class _MissingError(Exception):
    """The template used what is not there; ``args``: a hint, what was looked for, and in what."""


class _Undefined(StrictUndefined):
    """An undefined whose error says what was looked up, and in what."""

    __slots__ = ()

    def __init__(self, hint: Any = None, obj: Any = missing, name: Any = None, **_: Any) -> None:
        error: Any = lambda _: _MissingError(hint, name, obj)  # noqa: E731 - stands in for a class
        super().__init__(hint, obj, name, error)


class _Generator(CodeGenerator):
    """Compiles each insertion to ``insert`` or, where text is still being made, ``capture``.

    Nothing is evaluated while compiling, so that building a webhook costs what its length costs.
    """

    def _make_finalize(self) -> CodeGenerator._FinalizeInfo:
        return self._FinalizeInfo(None, None)

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self._open(frame)

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write(")")

    def start_write(self, frame: Frame, node: nodes.Node | None = None) -> None:
        """Begin what a call block, a filter block or a recursive loop writes."""
        super().start_write(frame, node)
        self._open(frame)

    def end_write(self, frame: Frame) -> None:
        """End it."""
        self.write(")")
        super().end_write(frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Compile ``~``."""
        self.write("environment.joined((")
        for operand in node.nodes:
            self.visit(operand, frame)
            self.write(", ")
        self.write("))")

    def _open(self, frame: Frame) -> None:
        self.write("environment.insert(" if frame.buffer is None else "environment.capture(")


class _Environment(ImmutableSandboxedEnvironment):
    """Closed lists of what a template may use, and one way of escaping."""

    code_generator_class = _Generator

    def __init__(self, text: type[Text]) -> None:
        super().__init__(optimized=False, undefined=_Undefined, keep_trailing_newline=True)
        self.text = text
        self.insert = text.insert
        self.capture = text.capture
        self.concat = text.concat  # type: ignore[assignment, method-assign]  # static in Jinja2
        self.joined = text.joined
        self.filters = dict(FILTERS)
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace")}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return what a dot finds: keys win over methods."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return self._attribute(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return what brackets find."""
        try:
            if isinstance(obj, dict | list | str | tuple | range):
                return obj[argument]
        except (TypeError, LookupError):
            return self._attribute(obj, argument)
        return self._attribute(obj, argument)

    def _attribute(self, obj: Any, name: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # raises its own error
        is_open = isinstance(name, str) and _is_open(obj, name)
        value = getattr(obj, name, missing) if is_open else missing
        return self.undefined(obj=obj, name=name) if value is missing else value


def _is_open(obj: Any, name: str) -> bool:
    is_namespace = isinstance(obj, Namespace) and not name.startswith("_")
    return is_namespace or any(name in names for cls, names in _OPEN if isinstance(obj, cls))


@pass_environment
def _join(environment: _Environment, value: Any, d: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return environment.joined(value, d)


@pass_environment
def _tojson(environment: _Environment, value: Any, indent: int | None = None) -> str:
    try:
        document = json.dumps(
            value, ensure_ascii=False, allow_nan=False, indent=indent, default=check_plain
        )
    except ValueError:
        raise RefusedError("a value has no JSON form, such as NaN") from None
    return environment.text.keep(document, "tojson")


@pass_environment
def _urlencode(environment: _Environment, value: Any) -> str:
    value = value if isinstance(value, Iterable) else environment.text.characters(value)
    return environment.text.keep(JINJA["urlencode"](value), "urlencode")


@pass_environment
def _safe(environment: _Environment, value: Any) -> str:
    text = environment.text
    return value if isinstance(value, Text) else text.keep(text.characters(value), "safe")


@pass_environment
def _escape(environment: _Environment, value: Any) -> str:
    return str(JINJA["escape"](environment.text.characters(value)))


@pass_environment
def _header_safe(environment: _Environment, value: Any) -> str:
    text = environment.text.characters(value)
    return "".join([each for each in text if " " <= each <= "~" or each == "\t"])


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    def indent(text: str) -> str:
        return str(JINJA["indent"](text, width, first, blank))

    return s.spaced(indent) if isinstance(s, Text) and isinstance(width, int) else indent(s)


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {name: JINJA[name] for name in _BORROWED.split()}
    | {
        "e": _escape,
        "escape": _escape,
        "header_safe": _header_safe,
        "indent": _indent,
        "join": _join,
        "safe": _safe,
        "tojson": _tojson,
        "urlencode": _urlencode,
    }
)


class Program:
    """A compiled template. One without any markup is a constant and is never rendered.

    Args:
        source: the template, with line feeds as line ends.
        text: how what it inserts is escaped.

    Raises:
        RefusedError: the source is not a template, or uses what is not available.
    """

    def __init__(self, source: str, text: type[Text]) -> None:
        self._source = source
        self.is_constant = not any(mark in source for mark in ("{{", "{%", "{#"))
        self._template = None if self.is_constant else _compiled(source, text)

    def render(self, context: Mapping[str, Any]) -> str:
        """Return the output for a context of plain JSON data, which is left as it was.

        Raises:
            RefusedError: the template cannot be rendered for this context.
        """
        template = self._template
        if template is None:
            return self._source
        try:
            return "".join(template.root_render_func(template.new_context(dict(context))))
        except Exception as error:
            message = _failure(error, self._source, context)
            raise RefusedError(message, _line(error, template)) from None


def _compiled(source: str, text: type[Text]) -> Template:
    environment = _Environment(text)
    try:
        tree = environment.parse(source)
        template = environment.from_string(tree)
    except TemplateSyntaxError as error:
        raise RefusedError(str(error.message), error.lineno) from None
    except Exception:
        raise RefusedError("is nested too deeply, or holds too long a number") from None
    for node in tree.find_all(_CLOSED):
        raise RefusedError(_NOT_AVAILABLE, node.lineno)
    return template


def _line(error: Exception, template: Template) -> int:
    """Return the line of the template that raised the error, innermost, or 0."""
    lines = [
        template.get_corresponding_lineno(line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__jinja_template__") is template
    ]
    return lines[-1] if lines else 0


def _failure(error: Exception, source: str, context: Mapping[str, Any]) -> str:
    if isinstance(error, RefusedError):
        return error.message
    if isinstance(error, _MissingError):
        hint, name, obj = error.args
        return hint or _missing(name, obj, source, context)
    return next(message for kind, message in _FAILURES if isinstance(error, kind))


def _missing(name: Any, obj: Any, source: str, context: Mapping[str, Any]) -> str:
    if not isinstance(name, str) or name not in source:  # it may be a value of the data
        return "what was looked up by a computed name or a number is not there"
    if obj is None:
        return f'"{name}" was looked up in null; test the value before it, as in "is not none"'
    names = context if obj is missing else obj if isinstance(obj, dict) else ()
    near = difflib.get_close_matches(name, [key for key in names if isinstance(key, str)], n=1)
    return f'"{name}" is not defined' + (f'; did you mean "{near[0]}"?' if near else "")
