"""What an object is called, so that one change can be told from another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from changehook.deliveries import Delivery
from changehook.encoding import decode
from changehook.web.redaction import without

__all__ = ["label_of"]

KEYS = ("display", "name", "title", "label", "id")
LONGEST_READ = 64 * 1024
LONGEST = 60


def label_of(delivery: Delivery, hidden: Sequence[str]) -> str:
    """Return what the object of a change is called in its data; empty when that is not plain.

    Args:
        delivery: one whose payload is long is not read.
        hidden: what may not be shown.
    """
    if len(delivery.payload) > LONGEST_READ:
        return ""
    try:
        document = decode(delivery.payload)
    except (ValueError, RecursionError):
        return ""
    data = document.get("data") if isinstance(document, dict) else None
    found = (data.get(key) for key in KEYS) if isinstance(data, dict) else ()
    text = next((str(value) for value in found if _is_plain(value)), "")
    return without(text, hidden)[:LONGEST]


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
