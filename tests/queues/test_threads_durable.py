"""Threads over a store that outlives them, and what happens to both: crashes, clocks, failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gate import Gate

from changehook import (
    Attempt,
    Delivery,
    DeliveryFilter,
    DeliveryStatus,
    Emitter,
    InspectableQueue,
    MemoryStore,
    QueueClosedError,
    Retention,
    RetryPolicy,
    SQLiteStore,
    Store,
    StoreError,
    ThreadPoolQueue,
    Webhook,
)
from changehook.queues.stored import StoredQueue
from changehook.testing import FakeClock, InspectableQueueContract, make_delivery
from changehook.testing.deliveries import LIMIT, NOW, delivered, failed, later, until

STORES = ("memory", "sqlite")
Perform = Callable[[Delivery], Delivery]
Start = Callable[..., ThreadPoolQueue]


class TestThreadPoolOverSQLite(InspectableQueueContract):
    """The contract of queues."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> Iterator[None]:
        """Give each test a file of its own."""
        self.store = SQLiteStore(tmp_path / "webhooks.db")
        yield
        self.store.close()

    def make_queue(self) -> InspectableQueue:
        """Return a queue with eight threads over the file."""
        return ThreadPoolQueue(self.store)

    def settle(self, queue: object, condition: Callable[[], bool]) -> bool:
        """Wait for the threads."""
        return until(condition)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Return a store of each kind."""
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = SQLiteStore(tmp_path / "webhooks.db")
    yield opened
    opened.close()


# Starting and stopping


def test_what_a_dead_process_left_is_performed(tmp_path: Path, start: Start) -> None:
    """When the process starts, without a change of its own."""
    path = tmp_path / "webhooks.db"
    SQLiteStore(path).add([make_delivery()])
    queue = start(delivered, SQLiteStore(path))
    queue.start()
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 1)


def test_starting_costs_nothing_in_memory(store: Store, start: Start) -> None:
    """There is nothing to start for; and a queue that is closed does not start."""
    queue = start(delivered, store)
    queue.start()
    assert bool(queue._threads) == store.durable
    queue.close()
    queue.start()
    assert until(lambda: not any(each.is_alive() for each in queue._threads))


def test_what_another_process_adds_is_performed(tmp_path: Path, start: Start) -> None:
    """Nobody tells this process of it: one of its threads looks out."""
    path = tmp_path / "webhooks.db"
    queue = start(delivered, SQLiteStore(path), workers=4)
    queue.start()
    assert until(lambda: queue._idle == 1)
    other = SQLiteStore(path)
    other.add([make_delivery() for _ in range(20)])
    assert until(lambda: other.counts()[DeliveryStatus.DELIVERED] == 20)
    other.close()


@pytest.mark.parametrize("kept", [True, False])
def test_close_ends_in_time_while_receivers_hang(start: Start, tmp_path: Path, kept: bool) -> None:
    """What was not begun is kept by a file, and counted; what hangs is left to end by itself."""
    gate = Gate()
    store = SQLiteStore(tmp_path / "webhooks.db") if kept else MemoryStore()
    queue = start(gate, store, workers=3)
    queue.put([make_delivery(webhook=f"w{number}") for number in range(20)])
    for _ in range(3):
        assert gate.entered.acquire(timeout=LIMIT)
    assert queue.close(0.05) == 20
    with pytest.raises(QueueClosedError):
        queue.put([make_delivery()])
    gate.open.set()
    for thread in queue._threads:
        thread.join(LIMIT)
    assert store.counts()[DeliveryStatus.DELIVERED] == 3
    assert not gate.entered.acquire(blocking=False)
    if kept:
        assert SQLiteStore(store.path).counts()[DeliveryStatus.PENDING] == 17


def test_a_durable_store_is_not_drained(start: Start, tmp_path: Path) -> None:
    """Closing takes as long as the attempts that are being made, whatever is due."""
    gate = Gate()
    store = SQLiteStore(tmp_path / "webhooks.db")
    queue = start(gate, store, workers=1)
    queue.put([make_delivery() for _ in range(50)])
    assert gate.entered.acquire(timeout=LIMIT)
    closing = threading.Thread(target=queue.close)
    closing.start()
    assert until(lambda: queue._stopping)
    gate.open.set()
    closing.join(LIMIT)
    assert store.counts() == {**dict.fromkeys(DeliveryStatus, 0), "delivered": 1, "pending": 49}


def test_what_was_claimed_and_not_begun_is_given_back(start: Start, tmp_path: Path) -> None:
    """No attempt counts, and the next process need not wait for a lease."""
    store = SQLiteStore(tmp_path / "webhooks.db")
    queue = start(delivered, store)
    store.add([make_delivery()])
    [claimed] = store.claim(NOW)
    queue._ready.append((claimed, "r"))
    assert queue.close() == 1
    [again] = store.claim(NOW)
    assert again.attempt_number == 1


EXITING = """
import sys, threading
from changehook import MemoryStore, SQLiteStore, ThreadPoolQueue
from changehook.testing.deliveries import delivered, make_delivery
import changehook.queues.threads as threads

threads.EXIT_TIMEOUT = 0.2
store = SQLiteStore(sys.argv[1]) if sys.argv[1] else MemoryStore()
entered = threading.Semaphore(0)

def perform(claimed):
    entered.release()
    threading.Event().wait(60)

queue = ThreadPoolQueue(store, workers=2)
queue.attach(perform)
queue.put([make_delivery(webhook=f"w{number}") for number in range(9)])
for _ in range(2):
    entered.acquire()
"""


@pytest.mark.parametrize("kept", [True, False])
def test_the_exit_does_not_wait_for_what_hangs(tmp_path: Path, kept: bool) -> None:
    """A file keeps the rest; of what was in memory the log says how much is lost."""
    path = tmp_path / "webhooks.db"
    words = [sys.executable, "-c", EXITING, str(path) if kept else ""]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    if not kept:
        assert "9 deliveries are left undone in memory and end with this process" in done.stderr
        return
    assert done.stderr == ""
    counts = SQLiteStore(path).counts()
    assert (counts[DeliveryStatus.PENDING], counts[DeliveryStatus.DELIVERING]) == (7, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_after_the_start_works_in_both(tmp_path: Path, start: Start) -> None:
    """As gunicorn does with preload: the parent had threads and connections, the child gets its
    own, and each delivery is performed once."""
    path, log = tmp_path / "webhooks.db", tmp_path / "log"

    def perform(claimed: Delivery) -> Delivery:
        with log.open("a") as file:
            file.write(f"{os.getpid()} {claimed.id}\n")
        return delivered(claimed)

    store = SQLiteStore(path)
    queue = start(perform, store)
    queue.put([make_delivery(id=f"msg_before_{number}") for number in range(20)])
    children = []
    for child in range(3):
        children.append(os.fork())
        if not children[-1]:
            signal.alarm(60)  # one that hangs ends
            try:
                queue.put([make_delivery(id=f"msg_{child}_{number}") for number in range(20)])
                good = until(lambda: queue.counts()[DeliveryStatus.PENDING] == 0)
                queue.close()
                os._exit(0 if good and len(queue._threads) else 1)
            except BaseException:
                traceback.print_exc()
                os._exit(2)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 80)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len({name for _, name in lines}) == len(lines) == 80


# Workers that die


def test_a_delivery_that_kills_its_workers_ends_as_failed(store: Store) -> None:
    """Each death costs it an attempt; when the schedule is used up it is not tried again.

    The workers die in the crash campaign of the acceptance tests; here they just do not come back.
    """
    clock = FakeClock(NOW)
    store.add([make_delivery()])
    for _ in range(2):
        [killed] = store.claim(clock.now)
        clock.now = killed.lease_until
    hook = Webhook(name="contract", object_types=["*"], events=["*"], url="https://r.example/")
    queue = ThreadPoolQueue(store, clock=clock)
    emitter = Emitter(webhooks=[hook], queue=queue, clock=clock, retry=RetryPolicy(schedule=[0, 0]))
    queue.put([make_delivery(webhook="gone")])
    assert until(lambda: queue.counts()[DeliveryStatus.FAILED] == 1)
    [given_up] = queue.find(DeliveryFilter(webhook="contract"))
    assert given_up.reason.startswith("gave up after attempt 2: lost: its worker died")
    assert [attempt.error_class for attempt in given_up.attempts] == ["lost", "lost"]
    emitter.close()


def test_a_lease_lasts_as_long_as_an_attempt_can(start: Start, store: Store) -> None:
    """The deadline of its webhook and half a minute; the emitter says which."""
    gate = Gate()
    clock = FakeClock(NOW)
    hook = Webhook(
        name="contract", object_types=["*"], events=["*"], url="https://r.example/", timeout=100
    )
    queue = ThreadPoolQueue(store, clock=clock)
    emitter = Emitter(webhooks=[hook], queue=queue, clock=clock)
    queue.perform = gate
    queue.put([make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)
    [claimed] = queue.find()
    assert claimed.lease_until == later(130)
    gate.open.set()
    emitter.close()


# Stores that fail


class Failing(MemoryStore):
    """A store that can be told to fail."""

    problem: Exception | None = None
    saves = 0

    def save(self, delivery: Delivery) -> bool:
        """Fail, or save."""
        self.saves += 1
        if self.problem is not None:
            raise self.problem
        return super().save(delivery)


def test_what_was_delivered_is_saved_later(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It stays delivered for whoever asks this process, and is not sent again."""
    monkeypatch.setattr("changehook.queues.threads.STORE_PAUSE", 0.01)
    performed = []

    def perform(claimed: Delivery) -> Delivery:
        performed.append(claimed.id)
        return delivered(claimed)

    store = Failing()
    store.problem = StoreError("the disk is full")
    queue = start(perform, store)
    delivery = make_delivery()
    queue.put([delivery])
    assert until(lambda: store.saves > 2)
    assert queue.get(delivery.id).status == "delivered"
    assert store.get(delivery.id).status == "delivering"
    store.problem = None
    assert until(lambda: store.get(delivery.id).status == "delivered")
    assert performed == [delivery.id]
    assert caplog.text.count("saving later") == 1


def test_an_outcome_that_is_not_saved_yet_outlives_the_lease(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery is claimed again, and what is known of it is saved instead of sending it."""
    monkeypatch.setattr("changehook.queues.threads.STORE_PAUSE", 0.01)
    clock, performed = FakeClock(NOW), []

    def perform(claimed: Delivery) -> Delivery:
        performed.append(claimed.id)
        return delivered(claimed)

    store = Failing()
    store.problem = StoreError("the disk is full")
    queue = start(perform, store, clock=clock)
    delivery = make_delivery()
    queue.put([delivery])
    assert until(lambda: store.saves > 0)
    clock.advance(3600)
    assert until(lambda: store.get(delivery.id).revision > 1)
    store.problem = None
    assert until(lambda: store.get(delivery.id).status == "delivered")
    kept = store.get(delivery.id)
    assert performed == [delivery.id]
    assert [(each.number, each.error_class) for each in kept.attempts] == [(1, "lost"), (2, None)]


def test_what_is_unsaved_at_the_end_is_saved_by_close(start: Start) -> None:
    """If the store works again by then."""
    store = Failing()
    store.problem = OSError()
    queue = start(delivered, store)
    queue.put([make_delivery()])
    assert until(lambda: store.saves > 0)
    store.problem = None
    assert queue.close() == 0
    assert store.counts()[DeliveryStatus.DELIVERED] == 1


def test_a_store_that_fails_does_not_break_close(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the exit either; what it keeps is there for the next process."""
    store = MemoryStore()
    queue = start(delivered, store)

    def fail() -> dict[DeliveryStatus, int]:
        raise StoreError("x.db: the disk is full")

    monkeypatch.setattr(store, "counts", fail)
    assert queue.close() == 0
    assert "the store fails, trying again: x.db: the disk is full" in caplog.text


def test_a_listener_that_raises_changes_no_outcome(store: Store) -> None:
    """It is logged; see the emitter's tests for its kinds."""

    def broken(delivery: Delivery) -> None:
        raise SystemExit

    hook = Webhook(name="w", object_types=["*"], events=["*"], url="https://r.example/")
    queue = ThreadPoolQueue(store)
    emitter = Emitter(webhooks=[hook], queue=queue, listeners=[broken], transport=OK())
    for _ in range(20):
        emitter.emit_change("x", "m", {})
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 20)
    emitter.close()


class OK:
    """A transport whose receiver always takes the request."""

    def send(self, request: object, /) -> object:
        """Answer 200."""
        from changehook.exchange import Response

        return Response(status=200)

    def close(self) -> None:
        """Close nothing."""


# Clocks


@pytest.mark.parametrize("jump", [3600, -3600, 86400, -86400])
def test_a_clock_that_jumps_holds_up_nothing(start: Start, store: Store, jump: float) -> None:
    """What was pending, planned or being delivered before the jump is delivered after it, in as
    much real time as ever."""
    clock, gate = FakeClock(NOW), Gate()
    outcomes: list[Perform] = [gate, gate, gate]

    def perform(claimed: Delivery) -> Delivery:
        return outcomes.pop()(claimed) if outcomes else delivered(claimed)

    queue = start(perform, store, clock=clock, workers=3)
    queue.put([make_delivery(webhook=f"w{number}") for number in range(6)])
    for _ in range(3):
        assert gate.entered.acquire(timeout=LIMIT)
    clock.advance(jump)
    queue.put([make_delivery(created_at=clock.now, due_at=clock.now)])
    clock.advance(-jump)
    gate.open.set()
    queue._signal(3)
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 7)


# Upkeep


def test_finished_deliveries_are_purged_as_a_part_of_the_pool(
    start: Start, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By age and by count, without anybody asking."""
    monkeypatch.setattr("changehook.queues.threads.PURGE_EVERY", 0.02)
    monkeypatch.setattr("changehook.queues.threads.REPORT_EVERY", 0.02)
    clock = FakeClock(NOW)
    kept = Retention(delivered=60, failed=None, count=5)
    queue = start(
        lambda claimed: (failed if claimed.event == "bad" else delivered)(claimed),
        store,
        clock=clock,
        retention=kept,
    )
    queue.put([make_delivery(event="bad") for _ in range(9)])
    queue.put([make_delivery() for _ in range(3)])
    assert until(lambda: queue.counts()[DeliveryStatus.FAILED] == 5)
    clock.advance(61)
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 0)
    assert queue.counts()[DeliveryStatus.FAILED] == 5


def test_one_thread_at_a_time_keeps_house(store: Store) -> None:
    """The others do not wait for it."""
    queue = ThreadPoolQueue(store)
    with queue._keeping_house:
        queue._keep_house()
    assert queue._reported < queue._purged
    queue._keep_house()
    assert queue._reported >= queue._purged


def test_progress_is_told_page_by_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """For whoever watches long work."""
    monkeypatch.setattr("changehook.queues.stored.PAGE", 4)
    queue, seen = StoredQueue(store, clock=FakeClock(NOW)), []
    queue.put([make_delivery() for _ in range(10)])
    assert queue.retry(DeliveryFilter(), on_progress=seen.append) == 10
    assert queue.discard(DeliveryFilter(), on_progress=seen.append) == 10
    assert seen == [4, 8, 10] * 2


def test_nothing_is_purged_unless_it_is_wanted(start: Start, store: Store) -> None:
    """By hand it still is."""
    queue = start(delivered, store, retention=None)
    queue.put([make_delivery() for _ in range(3)])
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 3)
    assert queue.purge(Retention(delivered=None, count=1)) == 2


def test_a_worker_shows_in_the_figures(start: Start, store: Store) -> None:
    """While it works, and that it has stopped."""
    gate = Gate()
    queue = start(gate, store, workers=4)
    assert queue.stats().workers == ()
    queue.put([make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)
    [worker] = queue.stats().workers
    assert (worker.pid, worker.threads, worker.busy) == (os.getpid(), 4, 1)
    gate.open.set()
    queue.close()
    [stopped] = StoredFigures(store)
    assert (stopped.worker, stopped.threads) == (worker.worker, 0)


def StoredFigures(store: Store) -> tuple[object, ...]:
    """Return the workers as the store has them."""
    return store.stats(NOW).workers


def test_figures_that_cannot_be_written_are_told_later(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No count is lost for it."""
    monkeypatch.setattr("changehook.queues.threads.REPORT_EVERY", 0.01)
    store, problems = MemoryStore(), [StoreError("x.db: the disk is full")] * 3
    report = store.report

    def flaky(*arguments: object) -> None:
        if problems:
            raise problems.pop()
        report(*arguments)

    monkeypatch.setattr(store, "report", flaky)
    hook = Webhook(name="w", object_types=["*"], events=["*"], url="https://r.example/")
    queue = ThreadPoolQueue(store)
    emitter = Emitter(webhooks=[hook], queue=queue, transport=OK())
    for _ in range(5):
        emitter.emit_change("x", "m", {})
    assert until(lambda: bool(store.stats(NOW).webhooks))
    assert "the store fails, trying again: x.db: the disk is full" in caplog.text
    emitter.close()
    assert sum(tally.matched for tally in store.stats(NOW).webhooks) == 5


# Fairness


def test_a_receiver_that_hangs_leaves_workers_to_the_others(start: Start, store: Store) -> None:
    """However much of it is due before what is due to them."""
    gate, done = Gate(), []

    def perform(claimed: Delivery) -> Delivery:
        if claimed.webhook == "hanging":
            return gate(claimed)
        done.append(claimed.id)
        return delivered(claimed)

    queue = start(perform, store, workers=4)
    queue.put([make_delivery(webhook="hanging") for _ in range(200)])
    assert gate.entered.acquire(timeout=LIMIT)
    queue.put([make_delivery(webhook="healthy") for _ in range(50)])
    assert until(lambda: len(done) == 50)
    assert not gate.entered.acquire(blocking=False)
    gate.open.set()


def test_a_healthy_receiver_gets_what_nobody_else_waits_for(start: Start, store: Store) -> None:
    """All workers, though another receiver is known; but not while that one waits."""
    barrier = threading.Barrier(4)

    def perform(claimed: Delivery) -> Delivery:
        if claimed.event == "together":
            barrier.wait(LIMIT)
        return delivered(claimed)

    queue = start(perform, store, workers=4)
    queue.put([make_delivery(webhook="a"), make_delivery(webhook="b")])
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 2)
    queue.put([make_delivery(webhook="a", event="together") for _ in range(8)])
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 10)


def test_the_age_of_what_is_late_is_told(store: Store) -> None:
    """Nothing, while nothing is due; also from outside, where nobody performs anything."""
    clock = FakeClock(NOW)
    queue = StoredQueue(store, clock=clock)
    assert queue.age_of_oldest_due() is None
    queue.put([make_delivery(due_at=later(60)), make_delivery(due_at=later(10))])
    assert queue.age_of_oldest_due() is None
    clock.advance(25)
    assert queue.age_of_oldest_due() == queue.stats().age_of_oldest_due == 15


def test_a_receiver_that_rests_is_probed(
    start: Start, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deliveries wait, without an attempt that counts, and go out when it answers again."""
    monkeypatch.setattr("changehook.shares.FIRST_REST", 0.05)
    outcomes = iter(["connect"] * 5)

    def perform(claimed: Delivery) -> Delivery:
        kind = next(outcomes, None)
        after = failed(claimed) if kind else delivered(claimed)
        attempt = Attempt(number=1, started_at=NOW, duration=0.0, error_class=kind)
        object.__setattr__(after, "attempts", (attempt,))
        return after

    queue = start(perform, store, workers=2)
    queue.put([make_delivery() for _ in range(20)])
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 15)
    assert queue.counts()[DeliveryStatus.FAILED] == 5
