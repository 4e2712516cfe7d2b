"""What the tests of the jail run in it."""

from __future__ import annotations

import contextlib
import socket
import threading


def add(left: int, right: int) -> int:
    """Return the sum."""
    return left + right


def allocate(size: int) -> int:
    """Hold this many bytes for a moment."""
    return len(b"x" * size)


def fail() -> None:
    """Raise."""
    raise ZeroDivisionError("on purpose")


def spin() -> None:
    """Never end, busily."""
    while True:
        pass


def hang() -> None:
    """Never end, idly."""
    threading.Event().wait()


def dial() -> None:
    """Try to leave loopback and hide that it failed."""
    with contextlib.suppress(Exception):
        socket.create_connection(("192.0.2.1", 80))
