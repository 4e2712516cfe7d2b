"""The Jinja2 sandbox: compiles and renders templates, and says what they can reach."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateRuntimeError, TemplateSyntaxError
from jinja2.runtime import Context, LoopContext
from jinja2.utils import Namespace, missing

from changehook.escaping import Absent, RefusedError, Text, check_plain
from changehook.filters import FILTERS, TextEnvironment

__all__ = ["Program"]

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


class _MissingError(Exception):
    """The template used what is not there; ``args``: a hint, what was looked for, and in what."""


class _Undefined(StrictUndefined):
    """An undefined whose error says what was looked up, and in what."""

    __slots__ = ()

    def __init__(self, hint: Any = None, obj: Any = missing, name: Any = None, **_: Any) -> None:
        error: Any = lambda _: _MissingError(hint, name, obj)  # noqa: E731 - stands in for a class
        super().__init__(hint, obj, name, error)


Absent.register(Undefined)


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


class _Environment(TextEnvironment):
    """Closed lists of what a template may use, and one way of escaping."""

    code_generator_class = _Generator
    intercepted_binops = frozenset("%")

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

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return what ``%`` gives, which makes text of what stands after it."""
        if isinstance(left, str):
            check_plain(right)
        return left % right

    def _attribute(self, obj: Any, name: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # raises its own error
        is_open = isinstance(name, str) and _is_open(obj, name)
        value = getattr(obj, name, missing) if is_open else missing
        return self.undefined(obj=obj, name=name) if value is missing else value


def _is_open(obj: Any, name: str) -> bool:
    is_namespace = isinstance(obj, Namespace) and not name.startswith("_")
    return is_namespace or any(name in names for cls, names in _OPEN if isinstance(obj, cls))


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
