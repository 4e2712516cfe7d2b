"""The filters and tests of templates: closed lists. Each is paid for before it runs.

What they insert is plain data, and escaped once.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from jinja2.filters import FILTERS as JINJA
from jinja2.filters import make_attrgetter, make_multi_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import _PassArg, pass_context, pass_environment

from changehook.budget import CALL, LONGEST_TEXT, SHORT, Budget, are_short, depth, length
from changehook.escaping import RefusedError, Text, check_plain
from changehook.operations import LONGEST_SPELLING, check_format, check_replace, operate

__all__ = ["FILTERS", "TESTS", "TextEnvironment"]

_Values = tuple[Any, ...]
_Charge = Callable[[Any, _Values, dict[str, Any]], Any]

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=check_plain)
_LONGEST_NAME = 256
_NOWHERE = 99
_FIRST: Mapping[_PassArg | None, Callable[[Context], tuple[Any, ...]]] = {
    None: lambda _: (),
    _PassArg.context: lambda context: (context,),
    _PassArg.environment: lambda context: (context.environment,),
    _PassArg.eval_context: lambda context: (context.eval_ctx,),
}
_PLAIN_TESTS = "boolean defined false float integer iterable mapping none number sameas sequence"
_PLAIN_TESTS += " string true undefined"
_COMPARING = "!= < <= == > >= eq equalto ge greaterthan gt le lessthan lt ne"


class TextEnvironment(Budget, ImmutableSandboxedEnvironment):
    """A sandbox whose filters find in it how its templates escape, and what is left to spend."""

    text: type[Text]


def _sized(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for what looks at every part of all its values."""
    budget.read_all((*values, *named.values()))


def _free(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay nothing for what looks at a value and not into it."""


def _parsed(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for making a number, and for the error text that Python makes when it is none."""
    budget.spend(length(values[0]))
    budget.read_all(values)


def _counted(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for what makes a list of as many items, and of as many as its numbers say."""
    numbers = (*values[1:], *named.values())
    budget.spend(2 + 4 * (length(values[0]) + sum(map(budget.argument, numbers))))


def _rounded(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for a calculation with ten to the power of an argument."""
    _numeric(budget, values, named)
    for value in (*values[1:], *named.values()):
        if isinstance(value, int):
            budget.spend(budget.argument(abs(value)) ** 2 >> 6)


def _numeric(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Refuse text, for which ``%`` and ``*`` do something else."""
    budget.read_all((*values, *named.values()))
    if not isinstance(values[0], int | float):
        length(values[0])  # raises what was looked for, if the value is not there
        raise TypeError


def _read(budget: Budget, values: _Values, named: dict[str, Any]) -> int:
    """Pay for what makes text of its values, which have to be plain data; return their size."""
    if not named and are_short(values):
        return len(values) * SHORT
    size = 0
    for value in (*values, *named.values()):
        read = budget.read(value)
        size += read
        if not isinstance(value, str):
            check_plain(value)
            budget.make_text(LONGEST_SPELLING * read)
    return size


def _padded(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for what is given a width."""
    _read(budget, values, named)
    budget.make_text(sum(map(budget.argument, (*values[1:], *named.values()))))


def _scanned(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for what looks for words."""
    budget.spend(3 * _read(budget, values, named))


def _trimmed(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for what looks for characters to take off."""
    size = _read(budget, values, named)
    budget.spend(size * budget.read_all((*values[1:], *named.values())) >> 8)


def _formatted(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    _read(budget, values[:1], {})
    check_format(budget, str(values[0]), named or values[1:])


def _wrapped(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for ``wordwrap``, which takes long for long words: they are cut bit by bit."""
    _padded(budget, values, named)
    size = length(values[0])
    width = max(1, budget.argument(named.get("width", values[1] if len(values) > 1 else 79)))
    glue = named.get("wrapstring", values[3] if len(values) > 3 else "")
    budget.spend(3 * size + (size * size // width >> 9))
    budget.make_text(size + size * length(glue))


def _looked_up(position: int, *names: int) -> Callable[..., Any]:
    """Return what pays for looking something up in every item, and gives what was named.

    Args:
        position: where the attribute may stand if it is not named.
        names: where the name of a filter or test may stand.
    """

    def looked_up(budget: Budget, values: _Values, named: dict[str, Any]) -> Any:
        attribute = named.get("attribute", values[position] if len(values) > position else None)
        if not isinstance(attribute, str | int | None):
            raise TypeError
        name = attribute if isinstance(attribute, str) else ""
        for each in (name, *(values[place] for place in names if place < len(values))):
            if not isinstance(each, str):
                length(each)  # raises what was looked for, if it is not there
                raise TypeError  # it would be hashed, which nothing has paid for
            if len(each) > _LONGEST_NAME:
                raise RefusedError(f"the name that is looked up is longer than {_LONGEST_NAME}")
        parts = name.count(".") + name.count(",")
        budget.spend(2 + length(values[0]) * (4 if attribute is None else 8 + 10 * parts))
        return attribute

    return looked_up


def _ordered(position: int) -> _Charge:
    """Return what pays for comparing all items; ``position``: where the attribute may stand."""
    looked_up = _looked_up(position)

    def ordered(budget: Any, values: _Values, named: dict[str, Any]) -> None:
        attribute, keys = looked_up(budget, values, named), values[0]
        if attribute is not None:
            keys = list(map(make_multi_attrgetter(budget, attribute), keys))
        _compare(budget, keys)

    return ordered


def _grouped(budget: Any, values: _Values, named: dict[str, Any]) -> None:
    """Pay for ``groupby``, whose default stands for what is not there, in every item."""
    attribute = _looked_up(1)(budget, values, named)
    default = named.get("default", values[2] if len(values) > 2 else None)
    _compare(budget, list(map(make_attrgetter(budget, attribute, default=default), values[0])))


def _unique(budget: Any, values: _Values, named: dict[str, Any]) -> None:
    """Pay for ``unique``, which keeps a set of what it has seen."""
    attribute, keys = _looked_up(2)(budget, values, named), values[0]
    if attribute is not None:
        keys = list(map(make_attrgetter(budget, attribute), keys))
    budget.read(keys)
    budget.hash_all(keys)


def _compare(budget: Budget, keys: Any) -> None:
    before = budget.fuel
    budget.read(keys)
    budget.spend((before - budget.fuel) * length(keys).bit_length())


def _compared(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for the tests that compare."""
    budget.compare(values[0], values[-1])


def _found(budget: Budget, values: _Values, named: dict[str, Any]) -> None:
    """Pay for the test ``in``."""
    budget.find(values[0], named.get("seq", values[-1]))


def _bounded(function: Any, charge: _Charge) -> Any:
    """Return a filter or test that pays before it runs, and whose result is admitted."""
    first = _FIRST[_PassArg.from_obj(function)]

    @pass_context
    @functools.wraps(function, assigned=("__name__", "__doc__"), updated=())
    def bounded(context: Context, /, *values: Any, **named: Any) -> Any:
        environment: Any = context.environment
        environment.spend(CALL)
        charge(environment, values, named)
        return environment.admit(function(*first(context), *values, **named))

    return bounded


@pass_environment
def _join(environment: Any, value: Any, d: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        value = list(map(make_attrgetter(environment, attribute), value))
    joined: str = environment.joined(list(value), d)
    return joined


@pass_environment
def _sum(environment: TextEnvironment, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    total = start
    for item in value:
        total = operate(environment, "+", total, item)
    return total


@pass_environment
def _tojson(environment: TextEnvironment, value: Any, indent: int | None = None) -> str:
    if indent is not None and environment.argument(indent) != indent:
        raise TypeError
    try:
        document = (
            _ENCODER.encode(value) if indent is None else _indented(environment, value, indent)
        )
    except ValueError:
        raise RefusedError("a value has no JSON form, such as NaN") from None
    return environment.text.keep(document, "tojson")


def _indented(budget: Budget, value: Any, indent: int) -> str:
    encoder = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, default=check_plain, indent=indent
    )
    pieces, room, levels = [], LONGEST_TEXT, depth(value)
    for piece in encoder.iterencode(value):
        budget.spend(1 + (levels >> 3))  # each piece passes through a generator for each level
        room -= len(piece)
        if room < 0:
            raise RefusedError(f"makes a text of more than {LONGEST_TEXT} characters")
        pieces.append(piece)
    return "".join(pieces)


@pass_environment
def _urlencode(environment: TextEnvironment, value: Any) -> str:
    if not isinstance(value, str | dict):
        pairs = isinstance(value, Iterable)
        value = list(value) if pairs else environment.text.characters(value)
    environment.spend(environment.read(value) * 4)
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
    environment.spend(len(text) >> 2)
    return "".join([each for each in text if " " <= each <= "~" or each == "\t"])


@pass_environment
def _replace(environment: Budget, s: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new, most = str(s), str(old), str(new), -1 if count is None else count
    check_replace(environment, text, old, new, most)
    return text.replace(old, new, most)


@pass_environment
def _indent(
    environment: Budget, s: Any, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    def indent(text: str) -> str:
        # Not Jinja2's: that one breaks lines at U+2028 too, which JSON has inside its strings.
        lines = text.split("\n")
        begun = [space + line if line or blank else line for line in lines[1:]]
        return "\n".join([space + lines[0] if first else lines[0], *begun])

    space = width if isinstance(width, str) else " " * environment.argument(width)
    texts = (str(s), s.output) if isinstance(s, Text) else (str(s),)
    for text in texts:
        environment.make_text(len(text))
        environment.make_text(len(text) + (1 + text.count("\n")) * len(space))
    return s.spaced(indent) if isinstance(s, Text) and isinstance(width, int) else indent(str(s))


_CHARGES: Mapping[_Charge, str] = {
    _free: "count d default first last length",
    _parsed: "filesizeformat float int",
    _numeric: "abs",
    _rounded: "round",
    _counted: "batch items list reverse slice",
    _looked_up(1, 2): "rejectattr selectattr",
    _looked_up(_NOWHERE, 1): "map reject select",
    _grouped: "groupby",
    _unique: "unique",
    _ordered(2): "max min",
    _ordered(3): "sort",
    _ordered(_NOWHERE): "dictsort",
    _read: "capitalize lower string upper",
    _padded: "center truncate",
    _scanned: "title wordcount",
    _trimmed: "trim",
    _wrapped: "wordwrap",
    _formatted: "format",
}
_OWN: Mapping[str, tuple[Callable[..., Any], _Charge]] = {
    "e": (_escape, _read),
    "escape": (_escape, _read),
    "header_safe": (_header_safe, _read),
    "indent": (_indent, _read),
    "join": (_join, _looked_up(2)),
    "replace": (_replace, _read),
    "safe": (_safe, _read),
    "sum": (_sum, _looked_up(1)),
    "tojson": (_tojson, _sized),
    "urlencode": (_urlencode, _free),
}

FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        name: _bounded(JINJA[name], charge)
        for charge, names in _CHARGES.items()
        for name in names.split()
    }
    | {name: _bounded(function, charge) for name, (function, charge) in _OWN.items()}
)

TESTS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {name: JINJA_TESTS[name] for name in _PLAIN_TESTS.split()}
    | {name: _bounded(JINJA_TESTS[name], _compared) for name in _COMPARING.split()}
    | {"in": _bounded(JINJA_TESTS["in"], _found)}
    | {name: _bounded(JINJA_TESTS[name], _read) for name in ("lower", "upper")}
    | {name: _bounded(JINJA_TESTS[name], _numeric) for name in ("divisibleby", "even", "odd")}
)
