"""What differs between two snapshots, line by line."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs

__all__ = ["Line", "differences"]

LONGEST_VALUE = 400
MOST_LINES = 2_000
MOST_ALIGNED = 200
AROUND = 40
MISSING: Any = object()


@attrs.frozen(kw_only=True)
class Line:
    """One line of a comparison.

    Args:
        sign: ``-`` stands only before the change, ``+`` only after it, a space for both.
        depth: how far it is indented.
        text: key and value, as JSON; cut if it is long.
    """

    sign: str
    depth: int
    text: str


def differences(
    before: Any, after: Any, shown: Callable[[str], str] = lambda text: text
) -> list[Line]:
    """Return two JSON values as one text in which each line says where it stands.

    Objects are compared key by key, and short lists by what they hold; what is the same on both
    sides and has an inside takes one line. At most ``MOST_LINES``; the last one then says so.

    Args:
        before, after: JSON values.
        shown: returns a line as it may be shown, before it is cut.

    Raises:
        RecursionError: they are nested too deeply.
    """
    lines: list[Line] = []
    for line in _compared(None, before, after, 0):
        if len(lines) == MOST_LINES:
            lines.append(Line(sign=" ", depth=0, text="… cut here: too long to show"))
            break
        lines.append(attrs.evolve(line, text=shown(line.text)))
    return [attrs.evolve(line, text=_cut(line, *pair)) for line, *pair in _neighbours(lines)]


def _neighbours(lines: list[Line]) -> Iterator[tuple[Line, Line | None, Line | None]]:
    return zip(lines, [None, *lines[:-1]], [*lines[1:], None], strict=True)


def _cut(line: Line, before: Line | None, after: Line | None) -> str:
    """Return the text of a line; of a long one the beginning, and where it differs from the line
    that stands for the other side."""
    if len(line.text) <= LONGEST_VALUE:
        return line.text
    other = after if line.sign == "-" else before if line.sign == "+" else None
    same = 0
    if other is not None and {line.sign, other.sign} == {"-", "+"}:
        pairs = zip(line.text, other.text, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    if same + AROUND <= LONGEST_VALUE:
        return f"{line.text[:LONGEST_VALUE]}…"
    head = line.text[: LONGEST_VALUE // 4]
    return f"{head} … {line.text[same - AROUND : same + LONGEST_VALUE // 2]}…"


def _compared(key: str | None, before: Any, after: Any, depth: int) -> Iterator[Line]:
    if before is MISSING or after is MISSING:
        sign, value = ("+", after) if before is MISSING else ("-", before)
        yield Line(sign=sign, depth=depth, text=_line(key, value))
    elif _same(before, after):
        if depth == 0 and isinstance(before, dict | list):
            yield from _members(key, before, after, depth)
        else:
            yield Line(sign=" ", depth=depth, text=_line(key, before))
    elif isinstance(before, dict | list) and type(before) is type(after):
        yield from _members(key, before, after, depth)
    else:
        yield Line(sign="-", depth=depth, text=_line(key, before))
        yield Line(sign="+", depth=depth, text=_line(key, after))


def _members(key: str | None, before: Any, after: Any, depth: int) -> Iterator[Line]:
    opening, closing = "{}" if isinstance(before, dict) else "[]"
    head = "" if key is None else f"{_text(key)}: "
    yield Line(sign=" ", depth=depth, text=head + opening)
    if isinstance(before, dict):
        for each in dict.fromkeys([*before, *after]):
            yield from _compared(
                each, before.get(each, MISSING), after.get(each, MISSING), depth + 1
            )
    else:
        for left, right in _aligned(before, after):
            yield from _compared(None, left, right, depth + 1)
    yield Line(sign=" ", depth=depth, text=closing)


def _aligned(before: list[Any], after: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the members of two lists side by side, so that one that was put in moves no other."""
    if max(len(before), len(after)) > MOST_ALIGNED:
        yield from itertools.zip_longest(before, after, fillvalue=MISSING)
        return
    lefts, rights = list(map(_text, before)), list(map(_text, after))
    matcher = difflib.SequenceMatcher(None, lefts, rights, autojunk=False)
    for _, left, left_end, right, right_end in matcher.get_opcodes():
        yield from itertools.zip_longest(
            before[left:left_end], after[right:right_end], fillvalue=MISSING
        )


def _same(before: Any, after: Any) -> bool:
    """Return whether two values are the same JSON; 1 and true are not."""
    return type(before) is type(after) and _text(before) == _text(after)


def _line(key: str | None, value: Any) -> str:
    return _text(value) if key is None else f"{_text(key)}: {_text(value)}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
