"""What one rendering may use: steps of fuel, and the size of any text, number or value.

Fuel is counted in operations and characters and not in seconds, so that a rendering ends in the
same way on every machine. Nothing is made before it is known to be small enough, because an
operation that has begun cannot be interrupted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NoReturn

from changehook.escaping import NO_TEXT, Absent, RefusedError, Text

__all__ = [
    "CALL",
    "DEEPEST",
    "DEEPEST_CALLS",
    "FUEL",
    "LARGEST_ARGUMENT",
    "LONGEST_TEXT",
    "MOST_BITS",
    "MOST_PARTS",
    "SHORT",
    "SIMPLE",
    "SMALL_BITS",
    "Budget",
    "are_short",
    "depth",
    "length",
]

FUEL = 750_000
LONGEST_TEXT = 1024 * 1024
MOST_PARTS = 250_000
DEEPEST = 100
DEEPEST_CALLS = 50
MOST_BITS = 8192
SMALL_BITS = 60
CALL = 15  # steps, of calling anything, which pay for short texts as well
SHORT = 64  # characters
LARGEST_ARGUMENT = 10_000

_ITEM = 4
SIMPLE = frozenset({int, float, bool, type(None)})


class Budget:
    """What is left of the budget of one rendering."""

    most_fuel: int
    fuel: int
    depth: int

    def spend(self, steps: int) -> None:
        """Take steps of fuel.

        Raises:
            RefusedError: fewer are left.
        """
        if steps <= 0:
            return
        self.fuel -= steps
        if self.fuel < 0:
            raise RefusedError(
                f"needs more than {self.most_fuel} steps; loop over less, or insert shorter values"
            )

    def make_text(self, length: int) -> None:
        """Take the fuel for a text of so many characters, before it is made.

        Raises:
            RefusedError: the text is too long, or the fuel is used up.
        """
        if length > LONGEST_TEXT:
            raise RefusedError(f"makes a text of more than {LONGEST_TEXT} characters")
        self.spend(length >> 3)

    def make_list(self, items: int) -> None:
        """Take the fuel for a list of so many items, before it is made.

        Raises:
            RefusedError: the list is too long, or the fuel is used up.
        """
        if items > MOST_PARTS:
            raise RefusedError(f"makes a list of more than {MOST_PARTS} items")
        self.spend(items >> 2)

    def make_bits(self, bits: int) -> None:
        """Take the fuel for an integer of so many bits, before it is made.

        Raises:
            RefusedError: they are too many, or the fuel is used up.
        """
        if bits > MOST_BITS:
            raise RefusedError(f"may make an integer of more than {MOST_BITS} bits")
        self.spend(bits >> 5)

    def read(self, value: Any) -> int:
        """Take the fuel for looking at every part of a value, and return its size.

        The size is in characters, with eight for each part; what stands in a value several times
        counts as often, because whatever prints, compares or sorts the value meets it as often.

        Raises:
            RefusedError: the value is too large or too deep, or the fuel is used up.
        """
        if value.__class__ is int:
            bits = value.bit_length()
            self.spend((bits >> 6) + (bits * bits >> 18))
            return 8 + bits // 3
        if value.__class__ in SIMPLE:
            return 8
        if isinstance(value, str):
            return self._read_text(value)
        size, parts, level = 0, 0, [value]
        for _ in range(DEEPEST):
            below: list[Any] = []
            for each in level:
                if each.__class__ is str:
                    size += len(each)
                elif each.__class__ is int:
                    size += each.bit_length() // 3
                    parts += each.bit_length() >> 5
                elif each.__class__ in SIMPLE:
                    pass
                elif isinstance(each, dict):
                    parts = self._counted(parts + 2 * len(each))
                    below += each
                    below += each.values()
                elif isinstance(each, list | tuple):
                    parts = self._counted(parts + len(each))
                    below += each
                elif isinstance(each, Text):
                    size += max(len(each), len(each.output))
                elif isinstance(each, range):
                    parts = self._counted(parts + len(each))
                elif hasattr(each, "__next__"):
                    raise RefusedError(NO_TEXT)
            if not below:
                self.spend(2 * parts + (size >> 6))
                return self._measured(size) + 8 * parts
            level = below
        raise RefusedError(f"uses a value that is nested more than {DEEPEST} deep")

    def read_all(self, values: Iterable[Any]) -> int:
        """Take the fuel for looking at several values, and return the size of all.

        Raises:
            RefusedError: they are too large or too deep, or the fuel is used up.
        """
        return sum([self.read(value) for value in values])

    def hash_all(self, values: Iterable[Any]) -> None:
        """Take the fuel for putting values into one set.

        The hash of an integer is no secret: integers can be chosen that have the same one, and
        then each is compared with all others. That of text is random in each process.

        Raises:
            RefusedError: the fuel is used up.
        """
        large = [length(value) for value in values if not _is_key(value)]
        self.spend(len(large) * (len(large) + sum(large)) >> 4)

    def key(self, value: Any) -> Any:
        """Return a key for an object that a template makes, and take the fuel for its hash.

        Raises:
            RefusedError: it is not text and not a small number.
        """
        if not _is_key(value):
            length(value)  # raises what was looked for, if it is not there
            raise RefusedError("a key is text or a small number")
        self.read(value)
        return value

    def find(self, wanted: Any, values: Any) -> None:
        """Take the fuel for ``wanted in values``.

        Raises:
            RefusedError: a value is too large or too deep, or the fuel is used up.
        """
        if isinstance(values, str):
            self.search(values, length(wanted))
        elif isinstance(values, dict):
            self.read(wanted)
        elif isinstance(values, list | tuple | range) and _is_key(wanted, float):
            self.spend(1 + (len(values) * (1 + (length(wanted) >> 6)) >> 2))
        else:
            self.read(wanted)
            self.read(values)

    def compare(self, one: Any, other: Any) -> None:
        """Take the fuel for comparing two values.

        Raises:
            RefusedError: both are too large or too deep, or the fuel is used up.
        """
        if one.__class__ in SIMPLE or other.__class__ in SIMPLE:
            return
        if isinstance(one, str) or isinstance(other, str):
            self.spend(1 + (min(length(one), length(other)) >> 6))
        elif length(one) and length(other):
            before = self.fuel
            self.read(one)
            self.read(other)
            # An order is looked for again on each level, after it was looked for what differs.
            self.spend((before - self.fuel) * min(depth(one), depth(other)))

    def search(self, text: str, wanted: int, *, backwards: bool = False) -> None:
        """Take the fuel for looking for so many characters in a text.

        CPython takes time in proportion to the length of both, multiplied, for short texts, for
        short things wanted, for the last 2,000 places where a long one can stand, and from the end;
        and in proportion to their sum for others.

        Raises:
            RefusedError: the fuel is used up.
        """
        most = len(text) if backwards else 1250 if len(text) < 2500 else 100
        places = max(0, min(len(text) - wanted, 2000))
        self.spend(max(len(text) * min(wanted, most), wanted * places) >> 8)

    def admit(self, value: Any) -> Any:
        """Return what a filter or a method gave, if it may be used; a list for an iterator.

        Raises:
            RefusedError: it is too large, or the fuel is used up.
        """
        if value.__class__ is str:
            if len(value) > SHORT:
                self.make_text(len(value))
        elif isinstance(value, Text):
            self.make_text(max(len(value), len(value.output)))
        elif value.__class__ is int:
            self.make_bits(value.bit_length())
        elif hasattr(value, "__next__"):
            return self._listed(value)
        return value

    def argument(self, value: Any) -> int:
        """Return a width, a count or a precision, which has to be a small number; 0 if negative.

        Raises:
            RefusedError: it is too large.
        """
        if isinstance(value, int) and abs(value) > LARGEST_ARGUMENT:
            raise RefusedError(f"a width, count or precision is more than {LARGEST_ARGUMENT}")
        return max(0, value) if isinstance(value, int) else 0

    def _read_text(self, text: str) -> int:
        size = max(len(text), len(text.output)) if isinstance(text, Text) else len(text)
        self.spend(1 + (size >> 6))
        return self._measured(size)

    def _measured(self, size: int) -> int:
        if size > LONGEST_TEXT:
            self._too_large()
        return size

    def _counted(self, parts: int) -> int:
        if parts > MOST_PARTS:
            self._too_large()
        return parts

    def _too_large(self) -> NoReturn:
        raise RefusedError(
            f"uses a whole value of more than {MOST_PARTS} parts or {LONGEST_TEXT} characters; "
            "name the part that is meant"
        )

    def _listed(self, items: Iterable[Any]) -> list[Any]:
        found = list(itertools.islice(items, 1 + self.fuel // _ITEM))
        self.spend(_ITEM * len(found))
        return found


def _is_key(value: Any, but: type | tuple[()] = ()) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= SMALL_BITS
    return value is None or (isinstance(value, str | float) and not isinstance(value, but))


def depth(value: Any) -> int:
    """Return how many levels of lists and objects a value has, which was read before."""
    levels, level = 0, [value]
    while level:
        levels += 1
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list | tuple):
                below += each
        level = below
    return levels


def are_short(values: Iterable[Any]) -> bool:
    """Return whether all values are texts, and so short that ``CALL`` pays for looking at them."""
    return all(value.__class__ is str and len(value) <= SHORT for value in values)


def length(value: Any) -> int:
    """Return how many items a sequence of plain data has; 0 for what is no sequence.

    Raises:
        RefusedError: the value is a sequence, but not one of plain data.
    """
    if isinstance(value, str | list | dict | tuple | range):
        return len(value)
    if isinstance(value, Absent):
        str(value)  # raises, but for that of an "if" without an "else", which is empty
    elif value.__class__ not in SIMPLE:
        raise RefusedError("a function or macro is not a list; call it")
    return 0
