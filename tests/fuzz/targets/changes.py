"""The document of a change, as `changehook explain` and `emit` read it, and its payload."""

from __future__ import annotations

from fuzz.harness import attempt, check_faults

from changehook.encoding import decode_strict
from changehook.errors import ConfigurationError, EncodingError
from changehook.models import Change
from changehook.payload import freeze

INPUTS = 100_000
WORDS = (
    *("event", "model", "data", "snapshots", "prechange", "postchange", "username", "request_id"),
    *(
        "timestamp",
        "context",
        "2026-01-31T12:00:00+00:00",
        "2026-01-31",
        "0001-01-01T00:00:00+14:00",
    ),
)


def check(data: bytes) -> None:
    """A change has faults, or its payload is a document that describes the same change."""
    document, refusal = attempt(ValueError, decode_strict, data)
    if refusal:
        return
    change, error = attempt(ConfigurationError, Change.from_dict, document)
    if error:
        check_faults(error)
        return
    payload, fault = attempt(EncodingError, freeze, change)
    if fault:
        assert fault.path
        return
    assert freeze(Change.from_dict(decode_strict(payload))) == payload
