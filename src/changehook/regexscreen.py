"""Which regular expressions may be used: ``re`` cannot be interrupted, so they are checked.

Strategy: walk the parsed pattern once, with the number of ways in which backtracking can arrive at
each of its nodes, by how many characters were consumed on the way. There are at most 256 of those,
so the numbers stay small where a plain product over the nodes would not. They are the coefficients
of a polynomial, kept in one integer: what follows a node multiplies, alternatives add.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from changehook.patterns import (
    CHARACTER,
    REPEATS,
    SINGLE_COST,
    Node,
    are_apart,
    first,
    flattened,
    is_alone,
    is_optional,
    is_separator,
    is_single,
    listed,
    price,
    unmarked,
    width,
)

__all__ = ["LONGEST_SUBJECT", "Screen", "refusal"]

LONGEST_SUBJECT = 256
COST = 28_000_000  # about as many nanoseconds
STEPS = 8_192
STEPS_OF_ALL = 4 * STEPS
CHARACTERS = 32 * 1_024
# What arriving at a node costs once, measured.
RETRY_COST, LAZY_COST, SCAN_COST, GROUP_COST = 7, 3, 32, 10
MARK_COST, BOUNDARY_COST = 2, 13
MULTIPLICATION = 16

_SLOT = 32
_SLOTS = (LONGEST_SUBJECT + 1) * _SLOT
_MASK = (1 << _SLOTS) - 1
_ONES = _MASK // ((1 << _SLOT) - 1)  # one way for each number of characters
_START = 1

_LOOSE = re.IGNORECASE | re.ASCII
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


class Screen:
    """Judges the patterns that are run one after the other, those of one document, together."""

    def __init__(self, *, parser: Any = _PARSER) -> None:
        self._parser = parser
        self._characters = 0
        self._cost = 0
        self._steps = 0

    def refusal(self, pattern: str) -> str | None:
        """Return why a pattern may not be used with ``re.match``, or None when it may.

        What matching costs at worst is an upper bound over all texts of ``LONGEST_SUBJECT``
        characters, so some harmless patterns are refused too: most of those that nest an open
        repeat in another.
        """
        if self._parser is None:
            return "this Python's re has no parser to check the pattern with; use another operator"
        self._characters += len(pattern)
        if self._characters > CHARACTERS:
            return f"the patterns of a document are longer than {CHARACTERS} characters together"
        if self._steps > STEPS_OF_ALL:
            return "the patterns of a document are too complicated together; write several webhooks"
        walk = None
        try:
            nodes = self._parser.parse(pattern)
            walk = _Walk(strict=not nodes.state.flags & _LOOSE, captures=nodes.state.groups > 1)
            walk.sequence(_that_can_fail(nodes), _START)
            re.compile(pattern)
        except _RefusedError as error:
            return str(error)
        except (re.error, OverflowError, RecursionError, Warning) as error:
            return f"not a regular expression ({_reason(error)})"
        finally:
            self._steps += walk.steps if walk else 0
        if self._cost + walk.cost > COST:
            return (
                "could take too long together with the patterns before it; write what a repeat may "
                "not hold, as in [^-]* for .*, or several webhooks"
            )
        self._cost += walk.cost
        return None


def refusal(pattern: str) -> str | None:
    """Return why a pattern may not be used at all, or None; see ``Screen``."""
    return Screen().refusal(pattern)


def _that_can_fail(nodes: Iterable[Node]) -> list[Node]:
    """Return the nodes without optional characters at the end: having come so far is a match."""
    left = list(nodes)
    while left and is_optional(*left[-1]) and is_single(left[-1][1][-1]):
        left.pop()
    return left


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _total(ways: int) -> int:
    """Return the sum of the coefficients, which is smaller than a slot by far."""
    return ways % ((1 << _SLOT) - 1)


def _longer(ways: int, characters: int) -> int:
    return ways << _SLOT * characters & _MASK


def _shortest(ways: int) -> int:
    """Return the fewest characters of any way; more than a subject has when there is none."""
    return ((ways & -ways).bit_length() - 1) // _SLOT if ways else LONGEST_SUBJECT + 1


class _Walk:
    """Adds up what a pattern costs; raises as soon as that is too much."""

    def __init__(self, *, strict: bool, captures: bool) -> None:
        self.strict = strict
        self.captures = captures
        self.cost = 0
        self.steps = 0
        self._ended: dict[int, bool] = {}

    def sequence(self, nodes: Iterable[Node], ways: int) -> int:
        """Return the ways to arrive behind the nodes, of those that arrive before them."""
        flat, marks = unmarked(nodes)
        ending = None
        for index, (operation, argument) in enumerate(flat):
            name = str(operation)
            self._charge(MARK_COST * marks[index] * _total(ways), marks[index])
            passing = ways
            if ending is not None:
                self._charge(GROUP_COST * _total(ways))
                passing = ending
            if ending is not None and is_optional(name, argument):
                ways += self.repeat((1, *argument[1:]), passing)
                ending = None
                continue
            ways = self._node(name, argument, passing)
            ending = None
            if name in REPEATS and is_single(argument[-1]):
                is_ended = self._is_ended(argument, flat[index + 1 :])
                ending = _longer(passing, argument[0]) if is_ended else None
        self._charge(MARK_COST * marks[-1] * _total(ways), marks[-1])
        return ways

    def _is_ended(self, repeat: Any, following: Sequence[Node]) -> bool:
        """Return whether a repeat of one character is followed by what never matches that one.

        Of all numbers of repetitions only the greatest then lets the next node match. How many
        characters that are depends on the subject: the fewest leave the most for the rest.
        """
        if id(repeat) not in self._ended:
            skippable = following and is_optional(*following[0])
            end = first(list(flattened(following[0][1][-1])) if skippable else following)
            known = end is not None and (self.strict or is_separator(end))
            self._ended[id(repeat)] = known and are_apart(repeat[-1][0], cast("Node", end))
        return self._ended[id(repeat)]

    def _node(self, name: str, argument: Any, ways: int) -> int:
        if name in _UNBOUNDED:
            raise _RefusedError(f"{_UNBOUNDED[name]} could take too long and is not offered")
        if name == "AT":
            at = BOUNDARY_COST if "BOUNDARY" in str(argument) else SINGLE_COST
            self._charge(at * _total(ways))
            return ways
        if name in CHARACTER:
            self._charge(price(name, argument) * _total(ways), 1 + width(name, argument))
            return _longer(ways, 1)
        return _COMPOUND[name](self, argument, ways)

    def _charge(self, cost: int, steps: int = 1) -> None:
        self.cost += cost
        self.steps += steps
        if self.cost > COST or self.steps > STEPS:
            raise _RefusedError(
                "could take too long, because its parts can match in too many ways; bound its "
                "repeats, as in [a-z]{1,20}, nest none in another, and leave out a .* at the end"
            )

    def branch(self, argument: Any, ways: int) -> int:
        """Try the alternatives one after the other."""
        self._charge(RETRY_COST * len(argument[1]) * _total(ways))
        return sum(self.sequence(alternative, ways) for alternative in argument[1])

    def flagged(self, argument: Any, ways: int) -> int:
        """Match a group with flags of its own."""
        strict, self.strict = self.strict, False
        ways = self.sequence(argument[-1], ways)
        self.strict = strict
        return ways

    def atomic(self, argument: Any, ways: int) -> int:
        """Match, and keep the first way in which that succeeds."""
        self._check_captures()
        after, cost = self._alone(argument)
        self._charge((GROUP_COST + cost) * _total(ways))
        return _longer(ways, _shortest(after))

    def possessive(self, argument: Any, ways: int) -> int:
        """Match repeatedly, and keep the first way in which that succeeds."""
        self._check_captures()
        least, _, body = _bounded(argument)
        after, cost = self._alone(body)
        self._charge((GROUP_COST + cost) * LONGEST_SUBJECT * _total(ways))
        return _longer(ways, least * _shortest(after))

    def repeat(self, argument: Any, ways: int) -> int:
        """Match repeatedly; when what follows fails, try again with another number of times."""
        least, most, body = _bounded(argument)
        if is_single(body):
            name, item = str(body[0][0]), body[0][1]
            self._node(name, item, ways)
            self._charge((SCAN_COST + least * price(name, item)) * _total(ways))
            return self._spread(ways, least, most, listed(name, item))
        separated = self._separated(least, body, ways) if most > 1 else None
        return self._iterated(least, most, body, ways) if separated is None else separated

    def lazy(self, argument: Any, ways: int) -> int:
        """Match repeatedly, as few times as possible first."""
        after = self.repeat(argument, ways)
        self._charge(LAZY_COST * _total(after))
        return after

    def _spread(self, ways: int, least: int, most: int, extra: int = 0) -> int:
        """Go on behind any number of characters from the least to the most."""
        counts = _longer(_ONES, least) & ((1 << (most + 1) * _SLOT) - 1)
        after = ways * counts & _MASK
        self._charge((RETRY_COST + extra) * _total(after), MULTIPLICATION)
        return after

    def _iterated(self, least: int, most: int, body: Sequence[Node], ways: int) -> int:
        after = ways if least == 0 else 0
        for count in range(1, most + 1):
            self._charge(GROUP_COST * _total(ways))
            ways = self.sequence(body, ways)
            if not ways:
                break
            after += ways if count >= least else 0
        self._charge(GROUP_COST * _total(after))
        return after

    def _separated(self, least: int, body: Sequence[Node], ways: int) -> int | None:
        r"""Return the ways through a repeat such as ``(\.\w+)+``, None when it is another.

        A character that begins (or ends) the body and occurs nowhere else in it tells where each
        turn begins, so there is one way for each number of characters.
        """
        flat = list(flattened(body))
        if not flat or not (self._parts(flat[0], flat[1:]) or self._parts(flat[-1], flat[:-1])):
            return None
        after, cost = self._alone(body)
        if after & ~_ONES:
            return None
        self._charge((GROUP_COST + cost) * LONGEST_SUBJECT * _total(ways))
        return self._spread(ways, least * _shortest(after), LONGEST_SUBJECT)

    def _parts(self, node: Node, others: Sequence[Node]) -> bool:
        """Return whether a node at an end of a body parts its turns; so do several in a row."""
        operation, argument = node
        if str(operation) in REPEATS and argument[0] > 0 and is_single(argument[-1]):
            node = argument[-1][0]
            if not _shortest(self._alone(others)[0]):
                return False
        return is_alone(node, others, self.strict)

    def _check_captures(self) -> None:
        """With both, ``re`` was seen to raise SystemError in Python 3.11."""
        if self.captures:
            raise _RefusedError(
                "possessive repeats and atomic groups go with groups (?:…) only, which keep nothing"
            )

    def _alone(self, nodes: Sequence[Node]) -> tuple[int, int]:
        """Return the ways through the nodes from one place, and what these cost."""
        before = self.cost
        after = self.sequence(nodes, _START)
        return after, self.cost - before


_COMPOUND: dict[str, Callable[[_Walk, Any, int], int]] = {
    "BRANCH": _Walk.branch,
    "SUBPATTERN": _Walk.flagged,
    "ATOMIC_GROUP": _Walk.atomic,
    "MAX_REPEAT": _Walk.repeat,
    "MIN_REPEAT": _Walk.lazy,
    "POSSESSIVE_REPEAT": _Walk.possessive,
}


def _bounded(argument: Any) -> tuple[int, int, Any]:
    least, most, body = argument
    if least > LONGEST_SUBJECT:
        raise _RefusedError(f"repeats more often than {LONGEST_SUBJECT} times")
    return least, min(most, LONGEST_SUBJECT), body
