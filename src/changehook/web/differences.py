"""What differs between two snapshots, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs

__all__ = ["Line", "differences"]

LONGEST_VALUE = 400
MOST_LINES = 2_000
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


def differences(before: Any, after: Any) -> list[Line]:
    """Return two JSON values as one text in which each line says where it stands.

    Objects are compared key by key and lists place by place; what is the same on both sides and
    has an inside takes one line. At most ``MOST_LINES``; the last one then says so.
    """
    lines: list[Line] = []
    for line in _compared(None, before, after, 0):
        if len(lines) == MOST_LINES:
            lines.append(Line(sign=" ", depth=0, text="… cut here: too long to show"))
            break
        lines.append(line)
    return lines


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
        for index in range(max(len(before), len(after))):
            pair = [side[index] if index < len(side) else MISSING for side in (before, after)]
            yield from _compared(None, pair[0], pair[1], depth + 1)
    yield Line(sign=" ", depth=depth, text=closing)


def _same(before: Any, after: Any) -> bool:
    """Return whether two values are the same JSON; 1 and true are not."""
    return type(before) is type(after) and _text(before) == _text(after)


def _line(key: str | None, value: Any) -> str:
    text = _text(value)
    if len(text) > LONGEST_VALUE:
        text = f"{text[:LONGEST_VALUE]}…"
    return text if key is None else f"{_text(key)}: {text}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
