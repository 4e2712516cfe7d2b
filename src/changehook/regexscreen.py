"""Which regular expressions may be used: ``re`` cannot be interrupted, so they are checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["LONGEST_SUBJECT", "refusal"]

LONGEST_SUBJECT = 256
PATHS = 20_000_000
STEPS = 8_192
FREE_STEPS = 32
RANGE_STEP = 1_024

_SINGLE = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "RANGE", "CATEGORY", "AT"})
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})
_UNBOUNDED = {
    "ASSERT": "look-around (?=…)",
    "ASSERT_NOT": "look-around (?!…)",
    "FAILURE": "look-around (?!…)",
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a condition (?(…)…)",
}
# Private, but there since 3.11, and the only place where the pattern can be had as ``re`` reads it.
_PARSER = getattr(re, "_parser", None)


class _RefusedError(Exception):
    pass


def refusal(pattern: str, *, parser: Any = _PARSER) -> str | None:
    """Return why a pattern may not be used with ``re.match``, or None when it may.

    The paths that backtracking can take are counted on the parsed pattern, for a subject of
    ``LONGEST_SUBJECT`` characters: alternatives add, what follows multiplies, and a repeat of what
    can match in ``p`` ways gives the sum of ``p ** k`` over its possible counts ``k``. It is an
    upper bound, so some harmless patterns are refused too; one that nests open repeats always is.
    Paths through long patterns count more than once, because each costs more.

    Args:
        pattern: the source of the pattern.
        parser: the module of ``re`` that parses; None when this Python has none.
    """
    if parser is None:
        return "this Python's re has no parser to check the pattern with; use another operator"
    try:
        paths, steps = _sequence(parser.parse(pattern))
        if steps > STEPS or paths * max(1, steps // FREE_STEPS) > PATHS:
            return (
                "could take too long, because its parts can match in too many ways; bound its "
                "repeats, as in [a-z]{1,20}, and nest none in another"
            )
        re.compile(pattern)
    except _RefusedError as error:
        return str(error)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        return f"not a regular expression ({_reason(error)})"
    return None


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _capped(number: int) -> int:
    return min(number, PATHS + 1)


def _sequence(nodes: Iterable[tuple[Any, Any]]) -> tuple[int, int]:
    """Return how many ways there are through the nodes, and how many single steps one may have."""
    paths, steps = 1, 0
    for operation, argument in nodes:
        ways, length = _node(str(operation), argument)
        paths, steps = _capped(paths * ways), steps + length
    return paths, steps


def _node(name: str, argument: Any) -> tuple[int, int]:
    if name in _SINGLE:
        return 1, 1
    if name in _REPEATS:
        return _repeat(*argument)
    if name in _UNBOUNDED:
        raise _RefusedError(f"{_UNBOUNDED[name]} could take too long and is not offered")
    return _COMPOUND[name](argument)


def _repeat(least: int, most: int, body: Any) -> tuple[int, int]:
    if least > LONGEST_SUBJECT:
        raise _RefusedError(f"repeats more often than {LONGEST_SUBJECT} times")
    ways, length = _sequence(body)
    counts = range(least, min(most, LONGEST_SUBJECT) + 1)
    return _capped(sum(ways**count for count in counts)), max(1, length) * max(1, least)


def _branch(argument: Any) -> tuple[int, int]:
    found = [_sequence(alternative) for alternative in argument[1]]
    return _capped(sum(ways for ways, _ in found)), sum(length for _, length in found)


def _characters(items: Any) -> tuple[int, int]:
    """Count a wide range as several steps: compiling it takes time, most of all without case."""
    ranges = [argument for operation, argument in items if str(operation) == "RANGE"]
    return 1, 1 + sum(high - low for low, high in ranges) // RANGE_STEP


def _group(argument: Any) -> tuple[int, int]:
    return _sequence(argument[-1])


_COMPOUND: dict[str, Callable[[Any], tuple[int, int]]] = {
    "BRANCH": _branch,
    "IN": _characters,
    "SUBPATTERN": _group,
    "ATOMIC_GROUP": _sequence,
}
