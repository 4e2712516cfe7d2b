"""JSON to values and back; and host values, which the JSON describes, to JSON."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable
from typing import Any

from fuzz.harness import attempt

from changehook.encoding import decode, decode_strict, encode, to_plain
from changehook.errors import EncodingError

INPUTS = 100_000
WORDS = (
    *("$date", "$seconds", "$decimal", "$uuid", "$set", "$bytes", "$tuple", "NaN", "Infinity"),
    *(
        "-Infinity",
        "1e999",
        "1E400",
        "-0",
        "-0.0",
        "1e-999",
        "\\ud800",
        "\\u0000",
        "\x7f",
        "\u2028",
    ),
)


def check(data: bytes) -> None:
    """JSON is refused or survives a round trip; a host value encodes to JSON or is refused."""
    value, refusal = attempt(ValueError, decode, data)
    if refusal:
        return
    written, error = attempt(EncodingError, encode, value)
    if error:
        assert "surrogate" in error.reason or "nested" in error.reason
        return
    assert encode(decode(written)) == written
    assert json.dumps(decode(written.encode())) == json.dumps(value)
    _check_strict(data, value)
    _check_host(value)


def _check_strict(data: bytes, value: Any) -> None:
    strict, refusal = attempt(ValueError, decode_strict, data)
    assert refusal or json.dumps(strict) == json.dumps(value)


def _check_host(value: Any) -> None:
    plain, error = attempt(EncodingError, to_plain, _host(value))
    if error:
        assert error.path
        assert error.reason
    json.dumps(plain, allow_nan=False)


def _host(value: Any) -> Any:
    """Return a host value for JSON: an object with one key such as ``$date`` is made into it."""
    if isinstance(value, list):
        return [_host(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, inner),) = value.items()
        try:
            return _MAKERS[name](inner)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
            pass
    return {_key(key): _host(item) for key, item in value.items()}


def _key(key: str) -> Any:
    return int(key) if key.isdecimal() and len(key) < 20 else key


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "$date": datetime.datetime.fromisoformat,
    "$seconds": lambda seconds: datetime.timedelta(seconds=seconds),
    "$decimal": decimal.Decimal,
    "$uuid": uuid.UUID,
    "$set": lambda items: {_host(item) for item in items},
    "$bytes": lambda text: text.encode(),
    "$tuple": lambda items: tuple(map(_host, items)),
}
