"""Which regular expressions may be used: ``re`` cannot be interrupted, so they are checked.

Strategy: walk the parsed pattern once, with the number of ways in which backtracking can arrive at
each of its nodes, by how many characters were consumed on the way. There are at most 256 of those,
so the numbers stay small where a plain product over the nodes would not. They are the coefficients
of a polynomial, kept in one integer: what follows a node multiplies, alternatives add.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

__all__ = ["LONGEST_SUBJECT", "Screen", "refusal"]

LONGEST_SUBJECT = 256
COST = 28_000_000  # about as many nanoseconds
STEPS = 8_192
CHARACTERS = 32 * 1_024
RANGE_STEP = 1_024

# What arriving at a node costs once, measured.
SINGLE_COST, RETRY_COST, LAZY_COST, SCAN_COST, GROUP_COST = 1, 7, 3, 32, 10
MULTIPLICATION = 16

_SLOT = 32
_SLOTS = (LONGEST_SUBJECT + 1) * _SLOT
_MASK = (1 << _SLOTS) - 1
_ONES = _MASK // ((1 << _SLOT) - 1)  # one way for each number of characters
_START = 1

_CHARACTER = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN"})
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT"})
_LOOSE = re.IGNORECASE | re.ASCII
_ALPHABET = [*range(128), *map(ord, "٣\u2003é☃")]  # beyond ASCII, one for each kind
_UNBOUNDED = {
    "ASSERT": "look-around (?=…)",
    "ASSERT_NOT": "look-around (?!…)",
    "FAILURE": "look-around (?!…)",
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a condition (?(…)…)",
}
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
# Private, but there since 3.11, and the only place where the pattern can be had as ``re`` reads it.
_PARSER = getattr(re, "_parser", None)

Node = tuple[Any, Any]


class _RefusedError(Exception):
    pass


class Screen:
    """Judges the patterns that are run one after the other, those of one document, together."""

    def __init__(self, *, parser: Any = _PARSER) -> None:
        self._parser = parser
        self._characters = 0
        self._cost = 0

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
        try:
            nodes = self._parser.parse(pattern)
            walk = _Walk(strict=not nodes.state.flags & _LOOSE, captures=nodes.state.groups > 1)
            walk.sequence(_that_can_fail(nodes), _START)
            re.compile(pattern)
        except _RefusedError as error:
            return str(error)
        except (re.error, OverflowError, RecursionError, Warning) as error:
            return f"not a regular expression ({_reason(error)})"
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
    while left and _is_optional(*left[-1]) and _is_single(left[-1][1][-1]):
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
        flat = list(_flat(nodes))
        ending = None
        for index, (operation, argument) in enumerate(flat):
            name = str(operation)
            passing = ways
            if ending is not None:
                self._charge(GROUP_COST * _total(ways))
                passing = ending
            if ending is not None and _is_optional(name, argument):
                ways += self.repeat((1, *argument[1:]), passing)
                ending = None
                continue
            ways = self._node(name, argument, passing)
            ending = None
            if name in _REPEATS and _is_single(argument[-1]):
                is_ended = self._is_ended(argument, flat[index + 1 :])
                ending = _longer(passing, argument[0]) if is_ended else None
        return ways

    def _is_ended(self, repeat: Any, following: Sequence[Node]) -> bool:
        """Return whether a repeat of one character is followed by what never matches that one.

        Of all numbers of repetitions only the greatest then lets the next node match. How many
        characters that are depends on the subject: the fewest leave the most for the rest.
        """
        if id(repeat) not in self._ended:
            skippable = following and _is_optional(*following[0])
            end = _first(list(_flat(following[0][1][-1])) if skippable else following)
            known = end is not None and (self.strict or _is_separator(end))
            self._ended[id(repeat)] = known and _are_apart(repeat[-1][0], cast("Node", end))
        return self._ended[id(repeat)]

    def _node(self, name: str, argument: Any, ways: int) -> int:
        if name in _UNBOUNDED:
            raise _RefusedError(f"{_UNBOUNDED[name]} could take too long and is not offered")
        if name == "AT":
            self._charge(SINGLE_COST * _total(ways))
            return ways
        if name in _CHARACTER:
            self._charge(SINGLE_COST * _total(ways), 1 + _width(name, argument))
            return _longer(ways, 1)
        return _COMPOUND[name](self, argument, ways)

    def _charge(self, cost: int, steps: int = 1) -> None:
        self.cost += cost
        self.steps += steps
        if self.cost > COST or self.steps > STEPS:
            raise _RefusedError(
                "could take too long, because its parts can match in too many ways; bound its "
                "repeats, as in [a-z]{1,20}, and nest none in another"
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
        if _is_single(body):
            self._node(str(body[0][0]), body[0][1], ways)
            self._charge(SCAN_COST * _total(ways))
            return self._spread(ways, least, most)
        separated = self._separated(least, body, ways) if most > 1 else None
        return self._iterated(least, most, body, ways) if separated is None else separated

    def lazy(self, argument: Any, ways: int) -> int:
        """Match repeatedly, as few times as possible first."""
        after = self.repeat(argument, ways)
        self._charge(LAZY_COST * _total(after))
        return after

    def _spread(self, ways: int, least: int, most: int) -> int:
        """Go on behind any number of characters from the least to the most."""
        counts = _longer(_ONES, least) & ((1 << (most + 1) * _SLOT) - 1)
        after = ways * counts & _MASK
        self._charge(RETRY_COST * _total(after), MULTIPLICATION)
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
        flat = list(_flat(body))
        if not flat or not (_is_alone(flat[0], flat[1:]) or _is_alone(flat[-1], flat[:-1])):
            return None
        after, cost = self._alone(body)
        if after & ~_ONES:
            return None
        self._charge((GROUP_COST + cost) * LONGEST_SUBJECT * _total(ways))
        return self._spread(ways, least * _shortest(after), LONGEST_SUBJECT)

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


def _width(name: str, argument: Any) -> int:
    """Count a wide range as several steps: compiling it takes time, most of all without case."""
    items = argument if name == "IN" else ()
    ranges = [bounds for operation, bounds in items if str(operation) == "RANGE"]
    return sum(int(high - low) for low, high in ranges) // RANGE_STEP


def _flat(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield the nodes, and in the place of a group without flags of its own what it holds."""
    for operation, argument in nodes:
        if str(operation) == "SUBPATTERN" and not (argument[1] or argument[2]):
            yield from _flat(argument[-1])
        else:
            yield operation, argument


def _first(nodes: Sequence[Node]) -> Node | None:
    """Return the character that must come first; None when it may be one of several."""
    for operation, argument in nodes:
        name = str(operation)
        if name in _REPEATS and argument[0] > 0:
            return _first(list(_flat(argument[-1])))
        if name != "AT":
            return (operation, argument) if name in _CHARACTER else None
    return None


def _is_optional(operation: Any, argument: Any) -> bool:
    return str(operation) in _REPEATS and argument[0] == 0


def _is_single(body: Sequence[Node]) -> bool:
    return len(body) == 1 and str(body[0][0]) in _CHARACTER


def _is_separator(node: Node) -> bool:
    """Return whether a node is one ASCII character that has no case."""
    operation, character = node
    return str(operation) == "LITERAL" and character < 128 and not chr(character).isalnum()


def _is_alone(node: Node, others: Sequence[Node]) -> bool:
    """Return whether a node is a separator that none of the others matches."""
    return _is_separator(node) and not any(_matches(other, node[1]) for other in others)


def _matches(node: Node, character: int) -> bool:
    """Return whether any part of a node may match a character; True when that is not known."""
    name, argument = str(node[0]), node[1]
    if name == "LITERAL":
        return bool(argument == character) or (argument > 127 and character > 127)
    if name == "NOT_LITERAL":
        return bool(argument != character) or character > 127
    if name == "IN":
        return _in(argument, character)
    if name in _REPEATS:
        return any(_matches(inner, character) for inner in _flat(argument[-1]))
    return name != "AT"


def _are_apart(one: Node, other: Node) -> bool:
    return not any(_matches(one, char) and _matches(other, char) for char in _ALPHABET)


def _in(items: Sequence[Node], character: int) -> bool:
    negated = str(items[0][0]) == "NEGATE"
    found = any(_is_item(*item, character, negated) for item in items)
    return found is not negated


def _is_item(operation: Any, argument: Any, character: int, negated: bool) -> bool:
    name = str(operation)
    if name == "NEGATE":
        return False
    if name == "CATEGORY":
        return re.match(_CATEGORIES[str(argument)], chr(character)) is not None
    low, high = argument if name == "RANGE" else (argument, argument)
    if character > 127:  # stands for many, and of these a range may hold some but not all
        return high > 127 and not negated
    return bool(low <= character <= high)
