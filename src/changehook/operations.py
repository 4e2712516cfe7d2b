"""Operators and methods of templates, paid for, and refused, before they are carried out."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from changehook.budget import Budget, are_short, length
from changehook.escaping import RefusedError, Text, check_plain

__all__ = [
    "COMPARISONS",
    "LONGEST_SPELLING",
    "OPERATORS",
    "call_method",
    "check_format",
    "check_replace",
    "operate",
]

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": operator.pow,
    "%": operator.mod,
}
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda wanted, values: wanted in values,
    "notin": lambda wanted, values: wanted not in values,
}
_NUMBERS = frozenset({int, float, bool})
_FORMAT = re.compile(
    r"%(\([^()]{0,256}\)|\()?[-+ #0]*(\*|[0-9]*)(?:\.(\*|[0-9]*))?[hlL]?([a-zA-Z]?)"
)
_WIDEST_FLOAT = 350
LONGEST_SPELLING = 10  # of a character, in what Python shows of a list or an object
_PADDING = frozenset({"center", "ljust", "rjust", "zfill"})
_CUTTING = frozenset({"partition", "rpartition"})
_SPLITTING = frozenset({"rsplit", "split", "splitlines"})
_PARTING = _CUTTING | _SPLITTING
_BACKWARDS = frozenset({"lstrip", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "strip"})


def operate(budget: Budget, sign: str, left: Any, right: Any) -> Any:
    """Return what an operator gives.

    Raises:
        RefusedError: the result would be too large, or the fuel is used up.
    """
    if left.__class__ in _NUMBERS and right.__class__ in _NUMBERS:
        return _calculate(budget, sign, left, right)
    if sign == "%" and isinstance(left, str):
        check_format(budget, left, right)
    elif sign == "+":
        _check_sum(budget, left, right)
    elif sign == "*":
        _check_product(budget, left, right)
    return _paid(budget, OPERATORS[sign](left, right))


def call_method(budget: Budget, method: Any, values: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return what a method of text, a list, a tuple or an object gives.

    Raises:
        RefusedError: the result would be too large, or the fuel is used up.
    """
    subject, name = method.__self__, method.__name__
    if name == "get":
        budget.read_all(values[:1])
        return method(*values, **named)
    is_simple = subject.__class__ is str and not named and name not in _PARTING
    if is_simple and are_short((subject, *values)):
        return budget.admit(method(*values))
    arguments = (*values, *named.values())
    size = budget.read_all(arguments)
    if isinstance(subject, str):
        _check_text_method(budget, subject, name, arguments, size)
    elif not isinstance(subject, dict):
        budget.read(subject)
    else:
        budget.spend(4 * len(subject) if name == "items" else 1 + (len(subject) >> 1))
        return list(method(*values, **named))
    return budget.admit(method(*values, **named))


def check_format(budget: Budget, template: str, values: Any) -> None:
    """Take the fuel for ``template % values``.

    Raises:
        RefusedError: the result may be too long, or its length is not known before.
    """
    size = budget.read(values)
    check_plain(values)
    budget.make_text(len(template))
    budget.spend(2 * template.count("%"))
    whole = values if isinstance(values, tuple) else (values,)
    every = values.values() if isinstance(values, dict) else whole
    floats = any(isinstance(value, float) for value in every)
    shown = not all(isinstance(value, str | int | float) for value in whole)
    widths = 0
    for found in _FORMAT.finditer(template):
        key, width, precision, kind = (each or "" for each in found.groups())
        if "*" in (width, precision) or key == "(":
            raise RefusedError('a format holds "*", or brackets in a name; write a number')
        widths += budget.argument(int(width[:9] or 0)) + budget.argument(int(precision[:9] or 0))
        widths += _WIDEST_FLOAT if floats or kind in "fF" else 0
        widths += size if isinstance(values, dict) else 0
        shown = shown or kind in "ra"
    budget.make_text(len(template) + (LONGEST_SPELLING if shown else 1) * size + widths)


def check_replace(budget: Budget, text: str, old: str, new: str, most: int = -1) -> None:
    """Take the fuel for replacing one text by another.

    Raises:
        RefusedError: the result would be too long.
    """
    for _ in range(3):  # once to count, twice to replace
        budget.search(text, len(old))
    times = text.count(old)
    if most >= 0:
        times = min(times, most)
    budget.make_text(len(text) + times * (len(new) - len(old)))


def _calculate(budget: Budget, sign: str, left: Any, right: Any) -> Any:
    if left.__class__ is not float and right.__class__ is not float:
        if sign == "*":
            budget.make_bits(left.bit_length() + right.bit_length())
        elif sign == "**":
            budget.make_bits(max(1, left.bit_length()) * right)
        budget.spend(left.bit_length() * right.bit_length() >> 16)
    result = OPERATORS[sign](left, right)
    if result.__class__ is int:
        budget.make_bits(result.bit_length())
    elif result.__class__ is complex:
        raise RefusedError("makes a complex number, which no receiver understands")
    return result


def _check_sum(budget: Budget, left: Any, right: Any) -> None:
    if isinstance(left, str) and isinstance(right, str):
        budget.make_text(len(left) + len(right))
    elif isinstance(left, list | tuple):
        budget.make_list(len(left) + length(right))


def _check_product(budget: Budget, left: Any, right: Any) -> None:
    sequence, times = (right, left) if isinstance(left, int) else (left, right)
    if isinstance(times, int) and isinstance(sequence, str):
        budget.make_text(len(sequence) * times)
    elif isinstance(times, int) and isinstance(sequence, list | tuple):
        budget.make_list(len(sequence) * times)


def _paid(budget: Budget, result: Any) -> Any:
    if isinstance(result, Text):
        budget.spend(len(result.output) >> 3)
    return result


def _check_text_method(
    budget: Budget, text: str, name: str, arguments: tuple[Any, ...], size: int
) -> None:
    budget.read(text)
    for argument in arguments:
        if isinstance(argument, str):
            budget.search(text, len(argument), backwards=name in _BACKWARDS)
    if name in _SPLITTING:
        budget.spend(2 * len(text))
    elif name in _CUTTING:
        budget.make_text(len(text))
    elif name in _PADDING:
        budget.make_text(max([len(text), *map(budget.argument, arguments)]))
    elif name == "join" and arguments:
        budget.spend(4 * length(arguments[0]))
        budget.make_text(size + len(text) * length(arguments[0]))
    elif name == "replace" and len(arguments) > 1:
        check_replace(budget, text, str(arguments[0]), str(arguments[1]))
