"""Doubles that a host's tests put where the library lets them: a clock and a transport."""

from __future__ import annotations

import datetime
import threading

from changehook.errors import AttemptError
from changehook.exchange import Request, Response

__all__ = ["FakeClock", "RecordingTransport"]

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class FakeClock:
    """A clock that stands still until it is advanced; give it to the emitter and to its queue.

    Args:
        now: where it starts, aware.
    """

    def __init__(self, now: datetime.datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime.datetime:
        """Return the moment it shows."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move it on."""
        self.now += datetime.timedelta(seconds=seconds)


class RecordingTransport:
    """A transport that sends nothing: it keeps each request and gives the answers it was told.

    Args:
        answers: a status code, a ``Response`` or an ``AttemptError`` to raise, for each request in
            turn; the last one is given again for all that follow. 200 when there is none.
    """

    def __init__(self, *answers: int | Response | AttemptError) -> None:
        self.requests: list[Request] = []
        self.closed = False
        self._answers = list(answers) or [200]
        self._lock = threading.Lock()

    def send(self, request: Request, /) -> Response:
        """Keep the request and give the next answer."""
        with self._lock:
            self.requests.append(request)
            answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if isinstance(answer, AttemptError):
            raise answer
        return Response(status=answer) if isinstance(answer, int) else answer

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True
