"""What the fields of records may hold: checked when a record is built, or read from a message."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from changehook.errors import SHOWN_NAME, ConfigurationError, Fault, pointer_to

__all__ = [
    "COUNT",
    "HEADERS",
    "MOMENT",
    "NAME",
    "SECONDS",
    "TEXT",
    "Kind",
    "check_fields",
    "moment_problem",
    "parsed_moment",
    "read_fields",
]


@attrs.frozen
class Kind:
    """What a field may hold.

    Args:
        expected: what it is called in an error.
        holds: whether a value is one.
        plain: types whose values all are, which is quicker to see.
    """

    expected: str
    holds: Callable[[Any], bool]
    plain: frozenset[type] = frozenset()

    @property
    def or_none(self) -> Kind:
        """The same, or None."""
        return Kind(f"{self.expected} or null", self.holds, self.plain | {type(None)})


def _is_number(value: object, kinds: Any = int | float) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _is_headers(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(part, str) for pair in value.items() for part in pair
    )


def moment_problem(value: object) -> str | None:
    """Return why a value is no moment that can be told in UTC, or None when it is one."""
    if not isinstance(value, datetime.datetime):
        return f"expected a datetime, found {type(value).__name__}"
    try:
        if value.utcoffset() is None:
            return 'has no time zone; end its text in "+00:00", or write datetime.now(timezone.utc)'
        value.astimezone(datetime.UTC)
    except OverflowError:
        return "is outside the years 1 to 9999 in UTC"
    return None


TEXT = Kind("text", lambda value: isinstance(value, str), frozenset({str}))
NAME = Kind("text that is not empty", lambda value: isinstance(value, str) and value != "")
COUNT = Kind("a whole number from 0", lambda value: _is_number(value, int) and value >= 0)
SECONDS = Kind("seconds", lambda value: _is_number(value) and 0 <= value < math.inf)
MOMENT = Kind(
    "a moment with a time zone, such as 2026-01-31T12:00:00+00:00",
    lambda value: moment_problem(value) is None,
)
HEADERS = Kind("an object of text to text", _is_headers)


def check_fields(record: object, kinds: Mapping[str, Kind]) -> None:
    """Check the fields of a record.

    Raises:
        ConfigurationError: every field that does not hold what it should.
    """
    faults = [
        Fault(f"/{name}", f"expected {kind.expected}")
        for name, kind in kinds.items()
        if (value := getattr(record, name)).__class__ not in kind.plain and not kind.holds(value)
    ]
    if faults:
        raise ConfigurationError(*faults)


def read_fields(cls: Any, document: object) -> dict[str, Any]:
    """Return a JSON object as the arguments of a record; text stays text.

    Raises:
        ConfigurationError: it is no object, or a key is unknown or missing.
    """
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"expected an object, found {type(document).__name__}")
    known, required = _names(cls)
    if required <= document.keys() <= known:
        return dict(document)
    faults = [
        Fault(pointer_to(str(key)[:SHOWN_NAME]), "unknown") for key in document if key not in known
    ]
    faults += [
        Fault(f"/{field.name}", "required")
        for field in attrs.fields(cls)
        if field.name in required and field.name not in document
    ]
    raise ConfigurationError(*faults)


@functools.cache
def _names(cls: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of all fields of a record, and of those that have no default."""
    fields = attrs.fields(cls)
    required = (field.name for field in fields if field.default is attrs.NOTHING)
    return frozenset(field.name for field in fields), frozenset(required)


def parsed_moment(text: object) -> object:
    """Return the moment that ISO 8601 text tells; what is none stays as it is."""
    try:
        return datetime.datetime.fromisoformat(text) if isinstance(text, str) else text
    except ValueError:
        return text
