"""The nodes of a parsed regular expression: what they match, and what one of them costs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = [
    "CHARACTER",
    "REPEATS",
    "SINGLE_COST",
    "Node",
    "are_apart",
    "first",
    "flattened",
    "is_alone",
    "is_optional",
    "is_separator",
    "is_single",
    "listed",
    "price",
    "unmarked",
    "width",
]

SINGLE_COST, CATEGORY_COST = 1, 2
RANGE_STEP = 1_024

CHARACTER = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN"})
REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT"})
_ALPHABET = [*range(128), *map(ord, "٣\u2003é☃")]  # beyond ASCII, one for each kind
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}

Node = tuple[Any, Any]
_MARK: Node = ("MARK", None)


def width(name: str, argument: Any) -> int:
    """Count a wide range as several steps: compiling it takes time, most of all without case."""
    items = argument if name == "IN" else ()
    ranges = [bounds for operation, bounds in items if str(operation) == "RANGE"]
    return sum(int(high - low) for low, high in ranges) // RANGE_STEP


def listed(name: str, argument: Any) -> int:
    """Count what ``re`` keeps as a list, all of which it looks at: what stands beyond U+FFFF."""
    items = argument if name == "IN" else ()
    return sum(_highest(*item) > 0xFFFF for item in items)


def _highest(operation: Any, argument: Any) -> int:
    name = str(operation)
    return int(argument[1] if name == "RANGE" else argument if name == "LITERAL" else 0)


def price(name: str, argument: Any) -> int:
    """Return what comparing one character costs."""
    items = argument if name == "IN" else ()
    categories = sum(str(operation) == "CATEGORY" for operation, _ in items)
    return SINGLE_COST + CATEGORY_COST * categories + listed(name, argument)


def unmarked(nodes: Iterable[Node]) -> tuple[list[Node], list[int]]:
    """Return the nodes, and how many borders of groups stand before each and behind the last."""
    flat: list[Node] = []
    marks = [0]
    for node in _marked(nodes):
        if node is _MARK:
            marks[-1] += 1
        else:
            flat.append(node)
            marks.append(0)
    return flat, marks


def flattened(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield the nodes, and in the place of a group without flags of its own what it holds."""
    return (node for node in _marked(nodes) if node is not _MARK)


def _marked(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield the same, and a mark at each border of a group; (?:…) is no group any more here."""
    for operation, argument in nodes:
        if str(operation) == "SUBPATTERN" and not (argument[1] or argument[2]):
            yield _MARK
            yield from _marked(argument[-1])
            yield _MARK
        else:
            yield operation, argument


def first(nodes: Sequence[Node]) -> Node | None:
    """Return the character that must come first; None when it may be one of several."""
    for operation, argument in nodes:
        name = str(operation)
        if name in REPEATS and argument[0] > 0:
            return first(list(flattened(argument[-1])))
        if name != "AT":
            return (operation, argument) if name in CHARACTER else None
    return None


def is_optional(operation: Any, argument: Any) -> bool:
    return str(operation) in REPEATS and argument[0] == 0


def is_single(body: Sequence[Node]) -> bool:
    return len(body) == 1 and str(body[0][0]) in CHARACTER


def is_separator(node: Node) -> bool:
    """Return whether a node is one of some ASCII characters that have no case."""
    operation, argument = node
    items = argument if str(operation) == "IN" else [node]
    return all(
        str(kind) == "LITERAL" and character < 128 and not chr(character).isalnum()
        for kind, character in items
    )


def is_alone(node: Node, others: Sequence[Node], strict: bool) -> bool:
    """Return whether none of the others matches any character that a node matches."""
    known = str(node[0]) in CHARACTER and (strict or is_separator(node))
    return known and all(are_apart(node, other) for other in others)


def _matches(node: Node, character: int) -> bool:
    """Return whether any part of a node may match a character; True when that is not known."""
    name, argument = str(node[0]), node[1]
    if name == "LITERAL":
        return bool(argument == character) or (argument > 127 and character > 127)
    if name == "NOT_LITERAL":
        return bool(argument != character) or character > 127
    if name == "IN":
        return _in(argument, character)
    if name in REPEATS:
        return any(_matches(inner, character) for inner in flattened(argument[-1]))
    return name != "AT"


def are_apart(one: Node, other: Node) -> bool:
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
