"""The process-wide emitter: configure() and emit_change(). Nothing else is global."""

from __future__ import annotations

import datetime
import threading
from typing import Any

from changehook.deliveries import Delivery
from changehook.emitter import Emitter
from changehook.errors import NotConfiguredError, hides_locals
from changehook.interfaces import Queue
from changehook.queues.threads import ThreadPoolQueue

__all__ = ["configure", "default_emitter", "emit_change"]

_lock = threading.Lock()
_emitter: Emitter | None = None


@hides_locals
def configure(*, queue: Queue | None = None, **arguments: Any) -> Emitter:
    """Build the emitter that ``changehook.emit_change`` uses, and return it.

    Call it once, when the host starts. Called again, the new emitter takes over at once and the one
    before is closed, with up to 10 seconds to finish what is due.

    Args:
        queue: a thread pool over a store in memory by default.
        arguments: those of ``Emitter``.

    Raises:
        ConfigurationError: an argument is wrong; the emitter of before then stays.
    """
    global _emitter
    emitter = Emitter(queue=ThreadPoolQueue() if queue is None else queue, **arguments)
    with _lock:
        former, _emitter = _emitter, emitter
    if former is not None:
        former.close()
    return emitter


def default_emitter() -> Emitter:
    """Return the emitter that ``configure`` built.

    Raises:
        NotConfiguredError: there is none yet.
    """
    if _emitter is None:
        raise NotConfiguredError(
            "call changehook.configure(webhooks=[...]) once, when your application starts"
        )
    return _emitter


def emit_change(
    event: str,
    model: str,
    data: Any,
    *,
    prechange: Any = None,
    postchange: Any = None,
    username: str | None = None,
    request_id: str | None = None,
    timestamp: datetime.datetime | None = None,
) -> list[Delivery]:
    """Queue one delivery for each webhook that wants this change; see ``Emitter.emit_change``.

    Raises:
        NotConfiguredError: ``changehook.configure`` was not called.
        ConfigurationError, EncodingError, QueueError: as ``Emitter.emit_change``.
    """
    return default_emitter().emit_change(
        event,
        model,
        data,
        prechange=prechange,
        postchange=postchange,
        username=username,
        request_id=request_id,
        timestamp=timestamp,
    )
