"""How many workers one receiver may hold, and when it is given a rest."""

from __future__ import annotations

import collections
import datetime
import threading
import time
from collections.abc import Callable, Iterable

import attrs

from changehook.deliveries import Attempt
from changehook.retries import asked_for

__all__ = ["Admission", "Shares"]

FAILURES = 5
FIRST_REST = 5.0
LONGEST_REST = 300.0
SHORTEST_PAUSE = 1.0
OVERLOADED = frozenset({429, 502, 504})
UNREACHED = frozenset({"dns", "connect", "tls", "timeout", "protocol"})


@attrs.define
class _Receiver:
    limit: int
    running: int = 0
    failures: int = 0
    rests: int = 0
    until: float = 0.0


class Shares:
    """Shares the workers of one process among receivers, so that none starves the others.

    A receiver may hold just under half of the workers at the start; after it succeeded, all that
    nobody else waits for; and one after a timeout. One that failed five times in a row rests for 5
    seconds, then is probed with one attempt; each rest is twice as long, up to 5 minutes, until an
    attempt succeeds. One that answers 429, 502 or 504 rests for as long as it asks, 1 second to 5
    minutes.

    Args:
        workers: how many there are.
        timer: a monotonic clock in seconds.
    """

    def __init__(self, workers: int, timer: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._fair = max(1, (workers - 1) // 2)  # so that the others together have at least half
        self._timer = timer
        self._lock = threading.Lock()
        self._receivers: dict[str, _Receiver] = {}

    def admit(self, name: str, *, spare: bool = False) -> bool | None:
        """Take a worker for a receiver, if it may have another one.

        Args:
            name: the receiver.
            spare: nobody else waits for the worker.

        Returns:
            whether it was taken; None: it would be, if nobody else waited.
        """
        with self._lock:
            receiver = self._receiver(name)
            if receiver.running >= receiver.limit or self._timer() < receiver.until:
                return False
            if receiver.running >= self._fair and len(self._receivers) > 1 and not spare:
                return None
            receiver.running += 1
            return True

    def give_back(self, name: str) -> None:
        """Free a worker that nothing came of."""
        with self._lock:
            self._receiver(name).running -= 1

    def finish(self, name: str, attempt: Attempt, now: datetime.datetime) -> None:
        """Free a worker and learn from the attempt that it made."""
        with self._lock:
            receiver = self._receiver(name)
            receiver.running -= 1
            if attempt.error_class is None:
                self._receivers[name] = _Receiver(limit=self._workers, running=receiver.running)
            elif attempt.status in OVERLOADED:
                receiver.limit = 1
                header = {key.lower(): value for key, value in attempt.response_headers.items()}
                asked = asked_for(header.get("retry-after"), now)
                self._rest(receiver, min(max(asked, SHORTEST_PAUSE), LONGEST_REST))
            elif attempt.error_class in UNREACHED or (attempt.status or 0) >= 500:
                self._failed(receiver, attempt)

    def wait(self) -> float | None:
        """Return the seconds until a receiver's rest ends; None when none rests."""
        with self._lock:
            now = self._timer()
            ends = [each.until - now for each in self._receivers.values() if each.until > now]
        return min(ends, default=None)

    def resting(self) -> list[str]:
        """Return the receivers that are given a rest just now."""
        with self._lock:
            now = self._timer()
            return [name for name, each in self._receivers.items() if each.until > now]

    def _receiver(self, name: str) -> _Receiver:
        found = self._receivers.get(name)
        if found is None:
            found = self._receivers[name] = _Receiver(limit=self._fair)
        return found

    def _failed(self, receiver: _Receiver, attempt: Attempt) -> None:
        receiver.failures += 1
        if attempt.error_class == "timeout":
            receiver.limit = 1
        if receiver.failures >= FAILURES and receiver.until <= self._timer():
            receiver.limit = 1
            self._rest(receiver, min(FIRST_REST * 2**receiver.rests, LONGEST_REST))
            receiver.rests = min(receiver.rests + 1, 16)

    def _rest(self, receiver: _Receiver, seconds: float) -> None:
        receiver.until = max(receiver.until, self._timer() + seconds)


class Admission:
    """What one claim asks of the shares; it is called with the name of each webhook.

    Args:
        shares: of the workers.
        receiver: returns the receiver of a webhook.
    """

    def __init__(self, shares: Shares, receiver: Callable[[str], str]) -> None:
        self._shares = shares
        self._receiver = receiver
        self._taken: collections.Counter[str] = collections.Counter()
        self._spare = False
        self.refused: set[str] = set()
        self.may_spare = False

    def __call__(self, webhook: str) -> bool:
        """Take a worker for a delivery of a webhook; return whether there was one."""
        receiver = self._receiver(webhook)
        admitted = self._shares.admit(receiver, spare=self._spare)
        if admitted:
            self._taken[receiver] += 1
        else:
            self.refused.add(webhook)
            self.may_spare = self.may_spare or admitted is None
        return bool(admitted)

    def spare(self) -> None:
        """Admit from now on what nobody else waits for."""
        self._spare, self.may_spare = True, False
        self.refused.clear()

    def settle(self, receivers: Iterable[str]) -> None:
        """Give back the workers that were taken, but for those of these receivers."""
        self._taken.subtract(receivers)
        for receiver in self._taken.elements():
            self._shares.give_back(receiver)
