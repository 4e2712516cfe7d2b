"""Host values to JSON: the one encoder (RFC 8259)."""

from __future__ import annotations

import base64
import codecs
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import attrs

from changehook.errors import SHOWN_NAME, EncodingError, printable

__all__ = [
    "decode",
    "decode_strict",
    "encode",
    "fields_of",
    "has_fields",
    "isoformat",
    "own",
    "simplify",
    "text_of",
    "to_plain",
]

MOST_DIGITS = 1_000
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def encode(value: object, *, root: str = "data") -> str:
    """Return the JSON text of a host value, compact, with non-ASCII characters as they are.

    Args:
        value: JSON types, ``datetime``, ``date`` and ``time`` (ISO 8601), ``timedelta`` (seconds),
            ``UUID`` and ``Decimal`` (text), ``Enum`` (its value), sets (sorted lists), ``bytes``
            (base64), mappings, attrs and dataclass instances, objects with a ``__json__`` method.
        root: what the value is called in an error; empty for a mapping whose keys name themselves.

    Raises:
        EncodingError: some part has no JSON form; the error names the part.
    """
    try:
        text = _ENCODER.encode(value)
        text.encode()
    except Exception as error:
        raise _fault(value, root, error) from None
    return text


def decode(text: str | bytes) -> Any:
    """Return the value of JSON text, refusing ``NaN`` and the infinities.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply.
    """
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode_strict(text: str | bytes) -> Any:
    """Return the value of JSON text that a person wrote, refusing a key that stands twice as well.

    Raises:
        ValueError: the text is not JSON in UTF-8; the message says where, or names the key.
    """
    try:
        return _STRICT_DECODER.decode(text_of(text) if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def text_of(data: bytes) -> str:
    """Return the text of bytes that a person wrote.

    Raises:
        ValueError: they are not UTF-8, or begin with a byte order mark.
    """
    if data.startswith(_BYTE_ORDER_MARKS):
        raise ValueError("begins with a byte order mark; save it as UTF-8 without one")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; save it as UTF-8") from None


def own(value: Any, depth: int = 2) -> Any:
    """Return text, lists and objects as plain types that hold the same, other values as they are.

    The methods of subclasses, which may say something else, are not called. Lists and objects
    within others are copied down to ``depth``.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if depth and isinstance(value, dict):
        return {own(key): own(item, depth - 1) for key, item in dict.items(value)}
    if depth and isinstance(value, list):
        return [own(item, depth - 1) for item in list.copy(value)]
    return value


def to_plain(value: object, *, root: str = "data") -> Any:
    """Return the value as its receivers will see it: plain JSON types and nothing else.

    Raises:
        EncodingError: some part has no JSON form.
    """
    return json.loads(encode(value, root=root))


def isoformat(moment: datetime.datetime) -> str:
    """Return an aware moment as ISO 8601 text in UTC, with ``T`` and an offset."""
    if moment.tzinfo is datetime.UTC:
        return moment.isoformat()
    return moment.astimezone(datetime.UTC).isoformat()


def has_fields(value: object) -> bool:
    """Return whether a value is an attrs or dataclass instance."""
    cls = type(value)
    return attrs.has(cls) or dataclasses.is_dataclass(cls)


def fields_of(value: object) -> dict[str, Any] | None:
    """Return the fields of an attrs or dataclass instance, or None for anything else."""
    cls = type(value)
    if attrs.has(cls):
        return {field.name: getattr(value, field.name) for field in attrs.fields(cls)}
    if dataclasses.is_dataclass(cls):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(cls)}
    return None


def simplify(value: object) -> Any:
    """Return a value one step closer to JSON.

    Raises:
        TypeError: no step is known; the message names the type.
    """
    hook = getattr(type(value), "__json__", None)
    if hook is not None:
        return hook(value)
    fields = fields_of(value)
    if fields is not None:
        return fields
    return _simplify_by_type(value)


@functools.singledispatch
def _simplify_by_type(value: object) -> Any:
    cls = type(value)
    raise TypeError(f"cannot encode {cls.__module__}.{cls.__qualname__}")


def _register(types: Sequence[type], how: Callable[[Any], Any]) -> None:
    for cls in types:
        _simplify_by_type.register(cls, how)


def _sorted_list(value: Set[Any]) -> list[Any]:
    return sorted(value, key=lambda item: (type(item).__name__, _ENCODER.encode(item)))


def _decimal(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise ValueError("NaN and the infinities have no JSON form")
    return str(value)


def _base64(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(value).decode("ascii")


_register([datetime.date, datetime.time], lambda value: value.isoformat())
_register([datetime.timedelta], lambda value: value.total_seconds())
_register([uuid.UUID], str)
_register([decimal.Decimal], _decimal)
_register([enum.Enum], lambda value: value.value)
_register([Set], _sorted_list)
_register([bytes, bytearray, memoryview], _base64)
_register([Mapping], dict)

_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=simplify
)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = collections.Counter(key for key, _ in pairs).most_common(1)[0][0]
        shown = printable(twice[:SHOWN_NAME])
        raise ValueError(f'the key "{shown}" stands twice in one object')
    return found


def _bounded_integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"an integer of more than {MOST_DIGITS} digits")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _fault(value: object, root: str, error: Exception) -> EncodingError:
    """Return the error for a value that would not encode, naming the smallest part at fault."""
    if isinstance(error, RecursionError):
        return EncodingError(root or "the change", "nested too deeply")
    try:
        return _find_fault(value, root, ()) or EncodingError(root or "the change", str(error))
    except RecursionError:
        return EncodingError(root or "the change", "nested too deeply")
    except Exception as raised:  # what the methods of a host's own types raise
        return EncodingError(root or "the change", f"raises {type(raised).__name__}")


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
_STRICT_DECODER = json.JSONDecoder(
    parse_constant=_no_constant,
    parse_int=_bounded_integer,
    object_pairs_hook=_unique,
)


def _find_fault(value: object, path: str, above: tuple[int, ...]) -> EncodingError | None:
    if id(value) in above:
        return EncodingError(path, "contains itself")
    if not isinstance(value, str | int | float | dict | list | tuple | None):
        try:
            value = simplify(value)
        except Exception as error:
            return EncodingError(path, str(error) or type(error).__name__)
    inside = (*above, id(value))
    if isinstance(value, dict):
        return _first(
            _key_fault(key, path)
            or _find_fault(item, f"{path}.{key}" if path else str(key), inside)
            for key, item in value.items()
        )
    if isinstance(value, list | tuple):
        parts = enumerate(value)
        return _first(_find_fault(item, f"{path}.{index}", inside) for index, item in parts)
    reason = _scalar_fault(value)
    return EncodingError(path, reason) if reason else None


def _first(faults: Iterator[EncodingError | None]) -> EncodingError | None:
    return next(filter(None, faults), None)


def _key_fault(key: object, path: str) -> EncodingError | None:
    if not isinstance(key, str | int | float | None):
        cls = type(key).__qualname__
        return EncodingError(path, f"keys must be text, and one is of type {cls}; write str(key)")
    reason = _scalar_fault(key)
    return EncodingError(path, f"a key {reason}") if reason else None


def _scalar_fault(value: object) -> str | None:
    try:
        _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is not text"
    except Exception as error:
        return f"has no JSON form ({str(error).splitlines()[0]})"
    return None
