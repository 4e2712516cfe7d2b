"""Text of a template that knows how it is escaped, and which values have a text at all."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import attrs

__all__ = ["NO_TEXT", "Absent", "RefusedError", "Text", "check_plain"]

NO_TEXT = 'a function, macro, loop or range has no text; call it, or write "| list"'
_SINGLE = (str, int, float, type(None))


@attrs.define
class RefusedError(Exception):
    """A template cannot be compiled or rendered.

    Args:
        message: what is wrong, and what to write instead; shows no value of the data.
        line: the line of the template, from 1; 0 when it is not known.
    """

    message: str
    line: int = 0

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


class Text(str):
    """Text that a template made out of literal text and values, in a macro or a ``set`` block.

    To the template it is the text without any escaping; ``output`` is what it is in the output,
    each value in it escaped once. What changes the text and knows nothing of ``output`` gives a
    plain string, which is a value and escaped as a whole: too much, but never too little.
    """

    __slots__ = ("output",)

    output: str

    def __new__(cls, characters: str, output: str) -> Self:
        text = str.__new__(cls, characters)
        text.output = output
        return text

    @classmethod
    def escape(cls, characters: str) -> str:
        """Return what the output holds for a value that is text."""
        return characters

    @classmethod
    def spell(cls, value: Any) -> str:
        """Return the characters of a value that is not text.

        Raises:
            RefusedError: such a value cannot be inserted.
        """
        check_plain(value)
        return str(value)

    @classmethod
    def keep(cls, characters: str, made_by: str) -> str:
        """Return what ``safe``, ``tojson`` or ``urlencode`` made: ``Text``, if it is kept as is."""
        return cls(characters, characters)

    @classmethod
    def characters(cls, value: Any) -> str:
        """Return any value as text, before it is escaped."""
        return value if isinstance(value, str) else cls.spell(value)

    @classmethod
    def insert(cls, value: Any) -> str:
        """Return what the output holds for any value."""
        return value.output if isinstance(value, Text) else cls.escape(cls.characters(value))

    @classmethod
    def capture(cls, value: Any) -> Text:
        """Return any value as a part of text that is still being made."""
        if isinstance(value, Text):
            return value
        characters = value if isinstance(value, str) else cls.spell(value)
        return cls(characters, cls.escape(characters))

    @classmethod
    def concat(cls, parts: Sequence[str]) -> Text:
        """Return the text of literal parts (plain strings) and captured ones, in their order."""
        outputs = [part.output if isinstance(part, Text) else part for part in parts]
        return cls("".join(parts), "".join(outputs))

    @classmethod
    def joined(cls, values: Iterable[Any], glue: Any = "") -> str:
        """Return values joined as text, which is ``Text`` only if one of them is."""
        values = list(values)
        characters = cls.characters(glue).join([cls.characters(value) for value in values])
        if not any(isinstance(value, Text) for value in (glue, *values)):
            return characters
        between = "" if glue == "" else cls.insert(glue)
        return cls(characters, between.join([cls.insert(value) for value in values]))

    def __add__(self, other: str) -> str:
        return self.joined((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return self.joined((other, self)) if isinstance(other, str) else NotImplemented

    def spaced(self, change: Callable[[str], str]) -> Self:
        """Return the text after a change that adds or removes nothing but white space."""
        return type(self)(change(str(self)), change(self.output))

    def strip(self, characters: str | None = None) -> str:
        return self.spaced(str.strip) if characters is None else super().strip(characters)


class Absent(abc.ABC):
    """What stands for a value that is not there; the sandbox registers its own."""

    @abc.abstractmethod
    def __str__(self) -> str:
        """Return no text, or raise what was looked for."""


def check_plain(value: Any) -> None:
    """Refuse what is not plain data: its text would show an address, or nothing useful.

    Raises:
        RefusedError: the value is, or holds, a function, a macro, a sequence or the like.
    """
    if isinstance(value, _SINGLE):
        return
    if isinstance(value, dict):
        check_plain([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            check_plain(item)
            if isinstance(item, Absent):
                raise RefusedError(NO_TEXT)
    elif isinstance(value, Absent):
        str(value)  # raises, but for that of an "if" without an "else", which is empty
    else:
        raise RefusedError(NO_TEXT)
