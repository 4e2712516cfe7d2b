"""What the tests of thread pools share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from changehook import Store, ThreadPoolQueue
from changehook.interfaces import Perform


@pytest.fixture
def start() -> Iterator[Callable[..., ThreadPoolQueue]]:
    """Build queues, and close them at the end."""
    queues = []

    def build(perform: Perform, store: Store | None = None, **arguments: object) -> ThreadPoolQueue:
        queue = ThreadPoolQueue(store, **arguments)
        queue.attach(perform)
        queues.append(queue)
        return queue

    yield build
    for queue in queues:
        queue.close(0)
