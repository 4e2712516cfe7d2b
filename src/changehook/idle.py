"""Connections that wait for their next request: how many, and for how long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

__all__ = ["IdleConnections"]

MAX_IDLE = 64
MAX_IDLE_IN_ALL = 256  # a process may often have no more than 1,024 files open
IDLE_SECONDS = 60.0


class Connection(Protocol):
    """What can be kept."""

    @property
    def key(self) -> Hashable:
        """Where it leads, and under which settings."""
        ...

    @property
    def is_connected(self) -> bool:
        """False when the other side is known to have closed it."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


_Kept = TypeVar("_Kept", bound=Connection)


class IdleConnections(Generic[_Kept]):
    """Connections that wait for their next request, by destination; the longest unused go first.

    One that was not used for a minute is closed: routers forget such connections, and say so to
    nobody.

    Args:
        most: for how many destinations connections are kept.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[Hashable, list[tuple[float, _Kept]]] = {}
        self._count = 0
        self._closed = False

    def take(self, key: Hashable) -> _Kept | None:
        """Return the connection used last, if one is fit for use."""
        while True:
            with self._lock:
                kept = self._kept.get(key)
                since, connection = kept.pop() if kept else (0.0, None)
                self._count -= connection is not None
            if connection is None:
                return None
            if connection.is_connected and self._clock() - since <= IDLE_SECONDS:
                return connection
            connection.close()

    def give(self, connection: _Kept) -> None:
        """Keep a connection whose last answer was read to its end."""
        with self._lock:
            surplus = self._give(connection)
        _close(surplus)

    def forget(self, key: Hashable) -> None:
        """Close what is kept for a destination: one of its connections turned out to be dead."""
        with self._lock:
            dropped = self._dropped(key)
        _close(dropped)

    def close(self) -> None:
        """Close all, and from now on whatever is given."""
        with self._lock:
            self._closed = True
            dropped = [each for key in list(self._kept) for each in self._dropped(key)]
        _close(dropped)

    def _give(self, connection: _Kept) -> list[_Kept]:
        kept = self._kept.pop(connection.key, [])
        self._kept[connection.key] = kept
        if self._closed or len(kept) >= MAX_IDLE:
            return [connection]
        now = self._clock()
        kept.append((now, connection))
        self._count += 1
        dropped = []
        while now - kept[0][0] > IDLE_SECONDS:
            dropped.append(kept.pop(0)[1])
            self._count -= 1
        while self._kept and self._is_surplus(oldest := next(iter(self._kept)), now):
            dropped += self._dropped(oldest)
        return dropped

    def _is_surplus(self, oldest: Hashable, now: float) -> bool:
        """Return whether the destination that was used longest ago has to go."""
        if len(self._kept) > self._most or self._count > MAX_IDLE_IN_ALL:
            return True
        kept = self._kept[oldest]
        return not kept or now - kept[-1][0] > IDLE_SECONDS

    def _dropped(self, key: Hashable) -> list[_Kept]:
        dropped = [connection for _, connection in self._kept.pop(key, [])]
        self._count -= len(dropped)
        return dropped


def _close(connections: list[_Kept]) -> None:
    for connection in connections:
        connection.close()
