"""What stands in for a queue that takes no deliveries."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from changehook import (
    ConfigurationError,
    Delivery,
    DeliveryStatus,
    Emitter,
    InMemoryQueue,
    MemoryStore,
    Queue,
    QueueClosedError,
    QueueError,
    QueueFullError,
    SQLiteStore,
    ThreadPoolQueue,
    Webhook,
)
from changehook.fallback import Fallback
from changehook.testing import RecordingTransport, make_delivery
from changehook.testing.deliveries import LIMIT, later, until

HOOK = Webhook(name="w", object_types=["*"], events=["*"], url="https://receiver.example/")


class Broker(Queue):
    """A queue over a broker that can be down."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.taken: list[str] = []

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries, and pass over those that it has."""
        if self.problem is not None:
            raise self.problem
        self.taken += [each.id for each in deliveries if each.id not in self.taken]


class Waits:
    """Waits for the next try only until the test lets it go on."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.go = threading.Semaphore(0)

    def __call__(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the test instead of the time."""
        self.asked.append(seconds)
        return self.go.acquire(timeout=LIMIT)


def emitter_of(broker: Queue, **arguments: object) -> Emitter:
    """Return an emitter over the broker."""
    return Emitter(webhooks=[HOOK], queue=broker, transport=RecordingTransport(), **arguments)


def test_deliveries_are_moved_over_in_order_when_the_queue_recovers() -> None:
    """None is lost or doubled, and new changes join those that wait."""
    broker, waits, store = Broker(), Waits(), MemoryStore()
    emitter = emitter_of(broker, fallback=store)
    emitter._fallback._wait = waits
    made = [emitter.emit_change("x", "m", {})[0].id]
    broker.problem = ConnectionError("SECRET")
    made += [emitter.emit_change("x", "m", {})[0].id for _ in range(250)]
    assert until(lambda: bool(waits.asked))
    broker.problem = None
    made.append(emitter.emit_change("x", "m", {})[0].id)
    assert broker.taken == made[:1]
    waits.go.release()
    assert until(lambda: len(broker.taken) == len(made))
    assert broker.taken[0] == made[0]
    assert sorted(broker.taken) == sorted(made)
    assert until(lambda: not emitter._fallback.holds)
    made.append(emitter.emit_change("x", "m", {})[0].id)
    assert broker.taken[-1] == made[-1]
    assert emitter.close() == 0


def test_the_order_is_that_of_the_changes() -> None:
    """The oldest first, whatever the page."""
    broker, store = Broker(), MemoryStore()
    deliveries = [make_delivery(created_at=later(number)) for number in range(230)]
    store.add(deliveries[::-1])
    fallback = Fallback(store, broker.put)
    fallback.start()
    assert until(lambda: not fallback.holds)
    assert broker.taken == [each.id for each in deliveries]
    assert fallback.close(1) == 0


def test_the_next_try_waits_longer_each_time() -> None:
    """From half a second to half a minute; the reason is in the log, a broker's words are not."""
    broker, waits = Broker(), Waits()
    broker.problem = QueueError("no broker")
    emitter = emitter_of(broker, fallback=MemoryStore())
    emitter._fallback._wait = waits
    emitter.emit_change("x", "m", {})
    for _ in range(8):
        waits.go.release()
    assert until(lambda: len(waits.asked) == 9)
    assert waits.asked == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    emitter._fallback._closed.set()
    waits.go.release()
    assert emitter.close() == 1


def test_a_put_that_went_through_unseen_is_not_doubled() -> None:
    """The broker took them and then the connection broke: they are put again, under their ids."""

    class Breaking(Broker):
        breaks = True

        def put(self, deliveries: Sequence[Delivery]) -> None:
            super().put(deliveries)
            if self.breaks:
                self.breaks = False
                raise ConnectionError

    broker = Breaking()
    emitter = emitter_of(broker, fallback=MemoryStore())
    [made] = emitter.emit_change("x", "m", {})
    assert until(lambda: not emitter._fallback.holds)
    assert broker.taken == [made.id]


def test_what_a_process_left_in_a_file_is_moved_by_the_next(tmp_path: Path) -> None:
    """Before its first change, and that one joins them."""
    path = tmp_path / "fallback.db"
    down = Broker()
    down.problem = ConnectionError()
    first = emitter_of(down, fallback=SQLiteStore(path))
    [left] = first.emit_change("x", "m", {})
    assert first.close(1) == 1
    broker = Broker()
    second = emitter_of(broker, fallback=SQLiteStore(path))
    [new] = second.emit_change("x", "m", {})
    assert until(lambda: len(broker.taken) == 2)
    assert broker.taken == [left.id, new.id]
    assert second.close() == 0


def test_a_queue_that_is_closed_ends_the_moving(caplog: pytest.LogCaptureFixture) -> None:
    """What is kept stays kept."""
    broker = Broker()
    broker.problem = QueueClosedError("closed")
    emitter = emitter_of(broker, fallback=MemoryStore())
    emitter.emit_change("x", "m", {})
    assert until(lambda: "the fallback keeps its deliveries" in caplog.text)
    assert emitter.close() == 1


def test_a_fallback_that_is_full_is_an_error() -> None:
    """Nothing is dropped silently."""
    broker = Broker()
    broker.problem = ConnectionError()
    emitter = emitter_of(broker, fallback=MemoryStore(capacity=1))
    emitter.emit_change("x", "m", {})
    with pytest.raises(QueueFullError):
        emitter.emit_change("x", "m", {})
    emitter.close()


def test_a_queue_over_a_store_is_a_fallback_too() -> None:
    """It keeps, and performs nothing; what keeps nothing is refused."""
    broker, kept = Broker(), InMemoryQueue()
    broker.problem = ConnectionError()
    emitter = emitter_of(broker, fallback=kept)
    emitter.emit_change("x", "m", {})
    assert kept.counts()[DeliveryStatus.PENDING] == 1
    emitter.close()
    with pytest.raises(ConfigurationError, match="fallback: expected a Store such as SQLiteStore"):
        emitter_of(Broker(), fallback=Broker())
    with pytest.raises(ConfigurationError, match="fallback: expected another Queue than queue"):
        emitter_of(kept, fallback=kept)


def test_without_a_thread_the_deliveries_are_kept(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the interpreter is exiting; the next that comes tries again."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    broker = Broker()
    broker.problem = ConnectionError()
    emitter = emitter_of(broker, fallback=MemoryStore())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        emitter.emit_change("x", "m", {})
    assert "no thread can be started" in caplog.text
    broker.problem = None
    emitter.emit_change("x", "m", {})
    assert until(lambda: len(broker.taken) == 2)
    emitter.close()


def test_an_emitter_whose_fallback_cannot_be_read_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is not lost for it."""
    store = MemoryStore()

    def broken(limit: int) -> list[Delivery]:
        raise QueueError("the disk is gone")

    monkeypatch.setattr(store, "oldest", broken)
    broker = Broker()
    emitter = emitter_of(broker, fallback=store)
    emitter.emit_change("x", "m", {})
    assert len(broker.taken) == 1
    assert "the queue cannot start: the disk is gone" in caplog.text
    emitter.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_does_not_move_what_the_parent_does(tmp_path: Path) -> None:
    """Its thread is the parent's; the child starts with its own first change."""
    waits, store = Waits(), SQLiteStore(tmp_path / "f.db")
    broker = Broker()
    broker.problem = ConnectionError()
    fallback = Fallback(store, broker.put, waits)
    fallback.take([make_delivery()])
    assert until(lambda: bool(waits.asked))
    child = os.fork()
    if not child:
        os._exit(0 if not fallback.holds and fallback._mover is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    fallback._closed.set()
    waits.go.release()
    assert fallback.close(LIMIT) == 1
    store.close()


def test_a_thread_pool_recovers_by_itself() -> None:
    """The queue was full for a moment, and everything is delivered."""
    gate = threading.Event()

    class Slow(RecordingTransport):
        def send(self, request: object, /) -> object:
            assert gate.wait(LIMIT)
            return super().send(request)

    queue = ThreadPoolQueue(MemoryStore(capacity=2), workers=1, put_timeout=0)
    emitter = Emitter(webhooks=[HOOK], queue=queue, transport=Slow(), fallback=MemoryStore())
    for _ in range(10):
        emitter.emit_change("x", "m", {})
    gate.set()
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 10)
    assert emitter.close() == 0
