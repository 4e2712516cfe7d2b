"""What commands print: answers, complaints, tables, progress; nothing that a terminal obeys."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, TextIO

__all__ = [
    "DONE",
    "INTERRUPTED",
    "NO",
    "WRONG_USAGE",
    "Progress",
    "answer",
    "clean",
    "complain",
    "put_out",
    "table",
    "terminal_width",
]

DONE, NO, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
WIDEST_CELL = 40
LEAST_ROOM = 12
LONG_WORK = 500
BAR = 20


def clean(text: str, keep: str = "") -> str:
    """Return text with an escape for every character that a terminal may obey."""
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def put_out(text: str, stream: TextIO | None = None) -> None:
    """Print at once, with nothing that a terminal obeys or that the encoding cannot hold."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    line = clean(text, keep="\n\t").encode(encoding, "backslashreplace").decode(encoding)
    stream.write(line + "\n")
    stream.flush()


def answer(options: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    """Print the answer of a command: a document for programs, or a text for people."""
    if options.json or text:
        put_out(json.dumps(document, indent=2) if options.json else text)


def complain(text: str) -> None:
    """Print what is wrong to the standard error."""
    put_out("\n".join(f"changehook: {line}" for line in text.splitlines()), sys.stderr)


def terminal_width() -> int:
    """Return how many columns the terminal has; 0 when nobody says, so there is no limit."""
    return shutil.get_terminal_size((0, 0)).columns


def table(rows: Sequence[Sequence[str]], width: int = 0) -> list[str]:
    """Return rows as aligned lines.

    Args:
        rows: all of the same length. The first column is never cut.
        width: columns of the terminal, to which the last column is cut; 0 for no limit.
    """
    lines = [""] * len(rows)
    *columns, last = [[clean(cell) for cell in column] for column in zip(*rows, strict=True)]
    for number, column in enumerate(columns):
        cells = [_cut(cell, WIDEST_CELL) for cell in column] if number else column
        widest = max(map(_columns, cells))
        pairs = zip(lines, cells, strict=True)
        lines = [line + cell + " " * (widest - _columns(cell) + 2) for line, cell in pairs]
    room = max(width - _columns(lines[0]), LEAST_ROOM) if width else sys.maxsize
    return [(line + _cut(cell, room)).rstrip() for line, cell in zip(lines, last, strict=True)]


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _cut(text: str, room: int) -> str:
    if _columns(text) <= room:
        return text
    text = text[:room]
    while _columns(text) > room - 3:
        text = text[:-1]
    return text + "..."


class Progress:
    """A bar on the standard error for work that takes long, if that is a terminal.

    Args:
        total: how much is to be done.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = total > LONG_WORK and sys.stderr.isatty()

    def __call__(self, done: int) -> None:
        """Show how much is done."""
        if self._shown:
            done = min(done, self._total)
            bar = "#" * (BAR * done // self._total)
            end = "\n" if done == self._total else ""
            sys.stderr.write(f"\r[{bar:<{BAR}}] {done}/{self._total}{end}")
            sys.stderr.flush()
