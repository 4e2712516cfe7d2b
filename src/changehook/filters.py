"""The filters of templates: a closed list. What they insert is plain data, and escaped once."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from jinja2.filters import FILTERS as JINJA
from jinja2.filters import make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_environment

from changehook.escaping import RefusedError, Text, check_plain

__all__ = ["FILTERS", "TextEnvironment"]

_BORROWED = (
    "abs batch count d default dictsort filesizeformat first float groupby int items last length "
    "list map max min reject rejectattr reverse round select selectattr slice sort sum truncate "
    "unique wordwrap"
)
_PRINTING = "capitalize center format lower string title trim upper wordcount"


class TextEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose filters find in it how its templates escape."""

    text: type[Text]


@pass_environment
def _join(environment: TextEnvironment, value: Any, d: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return environment.text.joined(value, d)


@pass_environment
def _tojson(environment: TextEnvironment, value: Any, indent: int | None = None) -> str:
    try:
        document = json.dumps(
            value, ensure_ascii=False, allow_nan=False, indent=indent, default=check_plain
        )
    except ValueError:
        raise RefusedError("a value has no JSON form, such as NaN") from None
    return environment.text.keep(document, "tojson")


@pass_environment
def _urlencode(environment: TextEnvironment, value: Any) -> str:
    if not isinstance(value, str | dict):
        pairs = isinstance(value, Iterable)
        value = list(value) if pairs else environment.text.characters(value)
    check_plain(value)
    return environment.text.keep(JINJA["urlencode"](value), "urlencode")


@pass_environment
def _safe(environment: TextEnvironment, value: Any) -> str:
    text = environment.text
    return value if isinstance(value, Text) else text.keep(text.characters(value), "safe")


@pass_environment
def _escape(environment: TextEnvironment, value: Any) -> str:
    return str(JINJA["escape"](environment.text.characters(value)))


@pass_environment
def _header_safe(environment: TextEnvironment, value: Any) -> str:
    text = environment.text.characters(value)
    return "".join([each for each in text if " " <= each <= "~" or each == "\t"])


def _replace(s: Any, old: Any, new: Any, count: int | None = None) -> str:
    return str(s).replace(str(old), str(new), -1 if count is None else count)


def _indent(s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    def indent(text: str) -> str:
        return str(JINJA["indent"](text, width, first, blank))

    return s.spaced(indent) if isinstance(s, Text) and isinstance(width, int) else indent(str(s))


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that makes text of any value as one of plain data only."""

    @functools.wraps(function)
    def checked(*values: Any, **named: Any) -> Any:
        for value in (*values, *named.values()):
            check_plain(value)
        return function(*values, **named)

    return checked


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {name: JINJA[name] for name in _BORROWED.split()}
    | {name: _checked(JINJA[name]) for name in _PRINTING.split()}
    | {
        "e": _escape,
        "escape": _escape,
        "header_safe": _header_safe,
        "indent": _checked(_indent),
        "join": _join,
        "replace": _checked(_replace),
        "safe": _safe,
        "tojson": _tojson,
        "urlencode": _urlencode,
    }
)
