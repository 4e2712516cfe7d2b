"""Why a template cannot be compiled or rendered, in words that show no value of the data."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping
from typing import Any

from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.utils import missing

from changehook.budget import SHORT
from changehook.escaping import RefusedError
from changehook.filters import FILTERS, TESTS

__all__ = ["MissingError", "failure", "told", "uncompiled"]

MOST_NEAR = 100
_UNKNOWN = re.compile(r"No (filter|test) named '(\w{1,64})'")
_CLOSED_METHODS = {
    "append": "append would change a list; write found + [value]",
    "extend": "extend would change a list; write found + values",
    "format": 'format is not open to templates; write "%s" % value, or the filter format',
    "update": "update would change an object; write dict(found, key=value)",
}
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


class MissingError(Exception):
    """The template used what is not there; ``args``: a hint, what was looked for, and in what."""


def told(message: str) -> str:
    """Return a fault of syntax in Jinja2's words; of a name that is not open, what was meant."""
    unknown = _UNKNOWN.match(message)
    if unknown is None:
        return message
    kind, name = unknown.groups()
    near = difflib.get_close_matches(name, FILTERS if kind == "filter" else TESTS, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"docs/reference/templates.md has every {kind}"
    return f'there is no {kind} "{name}"; {hint}'


def uncompiled(error: Exception) -> str:
    """Return why Python or Jinja2 could not compile a template."""
    if isinstance(error, ValueError):
        return "holds a number of too many digits"
    if isinstance(error, SyntaxError):
        return "gives an argument twice, or is nested too deeply"
    return "is nested too deeply"


def failure(error: Exception, source: str, context: Mapping[str, Any]) -> str:
    """Return why a rendering failed."""
    if isinstance(error, RefusedError):
        return error.message
    if isinstance(error, MissingError):
        hint, name, obj = error.args
        return hint or _missing(name, obj, source, context)
    return next(message for kind, message in _FAILURES if isinstance(error, kind))


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= SHORT and name.isidentifier()


def _missing(name: Any, obj: Any, source: str, context: Mapping[str, Any]) -> str:
    if not isinstance(name, str) or name not in source:  # it may be a value of the data
        return "what was looked up by a computed name or a number is not there"
    if isinstance(obj, str | list | dict | tuple) and hasattr(obj, name):
        return _CLOSED_METHODS.get(name, f"{name} is not open to templates")
    if obj is None:
        return f'"{name}" was looked up in null; test the value before it, as in "is not none"'
    names = context if obj is missing else obj if isinstance(obj, dict) else ()
    short = [key for key in itertools.islice(names, MOST_NEAR) if _is_name(key)]
    near = difflib.get_close_matches(name, short, n=1) if _is_name(name) else []
    return f'"{name}" is not defined' + (f'; did you mean "{near[0]}"?' if near else "")
