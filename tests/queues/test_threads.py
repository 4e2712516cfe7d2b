"""The queue performed by threads."""

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest
from gate import Gate

from changehook import (
    ConfigurationError,
    DeliveryFilter,
    DeliveryStatus,
    MemoryStore,
    QueueClosedError,
    QueueError,
    QueueFullError,
    ThreadPoolQueue,
)
from changehook.testing import FakeClock, InspectableQueueContract, make_delivery
from changehook.testing.deliveries import LIMIT, NOW, delayed, delivered, failed, later, until


class TestThreadPoolQueue(InspectableQueueContract):
    """The contract."""

    def make_queue(self):
        """Give a queue with eight threads."""
        return ThreadPoolQueue()

    def settle(self, queue, condition):
        """Wait for the threads."""
        return until(condition)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 0}, "at least 1"),
        ({"workers": "4"}, "at least 1"),
        ({"store": "x.db"}, "store: expected a Store, found str"),
        ({"retention": 7}, r"retention: expected Retention\(\.\.\.\), found int"),
        ({"put_timeout": "5"}, "put_timeout: expected seconds, found str"),
    ],
)
def test_its_arguments_are_checked(arguments, message):
    """A mistake shows when the queue is built."""
    with pytest.raises(ConfigurationError, match=message):
        ThreadPoolQueue(**arguments)


def test_no_thread_starts_before_the_first_delivery(start):
    """Building one is free, and no more threads start than there is work."""
    before = threading.active_count()
    gate = Gate()
    queue = start(gate, workers=4)
    assert threading.active_count() == before
    queue.put([make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)
    assert threading.active_count() == before + 1
    queue.put([make_delivery() for _ in range(10)])
    assert threading.active_count() == before + 4
    gate.open.set()
    assert queue.close() == 0
    assert threading.active_count() == before


def test_workers_work_at_the_same_time(start):
    """As many attempts run at once as there are workers, and no more."""
    barrier = threading.Barrier(4)

    def perform(claimed):
        barrier.wait(LIMIT)
        return delivered(claimed)

    queue = start(perform, workers=4)
    queue.put([make_delivery(webhook=f"w{n % 4}") for n in range(8)])
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 8)


class Falsy(MemoryStore):
    """A store of the host's that counts what it keeps, and is empty."""

    def __len__(self):
        return 0


def test_an_empty_store_is_still_the_store():
    """A falsy object is not silently replaced."""
    store = Falsy()
    assert ThreadPoolQueue(store).store is store


def test_there_are_as_many_threads_as_there_is_work(start):
    """One thread that rests does not keep others from starting for what comes after."""
    gate = Gate()
    queue = start(gate, workers=4)
    queue.perform = delivered
    queue.put([make_delivery()])
    assert until(lambda: queue._idle == 1)
    queue.perform = gate
    for _ in range(3):
        queue.put([make_delivery()])
    for _ in range(3):
        assert gate.entered.acquire(timeout=LIMIT)
    gate.open.set()
    assert queue.close() == 0


def test_retries_that_are_due_together_are_made_together(start):
    """What becomes due starts threads too."""
    clock = FakeClock(NOW)
    gate = Gate()
    queue = start(gate, workers=3, clock=clock)
    queue.put([make_delivery(due_at=later(5), webhook=f"w{n}") for n in range(3)])
    clock.advance(5)
    queue._signal(1)
    for _ in range(3):
        assert gate.entered.acquire(timeout=LIMIT)
    gate.open.set()
    assert queue.close() == 0


def test_those_whose_workers_died_twice_are_performed_one_at_a_time(start, monkeypatch):
    """One of them may have killed their workers: it takes no other along when it does so again."""
    monkeypatch.setattr("changehook.queues.threads.STORE_PAUSE", 0.01)
    store, clock, gate = MemoryStore(), FakeClock(later(300)), Gate()
    store.add([make_delivery() for _ in range(3)])
    for seconds in (0, 100, 200):
        assert len(store.claim(later(seconds), limit=3)) == 3
    queue = start(gate, store=store, clock=clock)
    queue.put([make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)
    assert gate.entered.acquire(timeout=LIMIT)
    assert until(lambda: queue.counts()[DeliveryStatus.PENDING] == 2)
    assert queue.counts()[DeliveryStatus.DELIVERING] == 2
    gate.open.set()

    def delivered_all():
        clock.advance(1)
        queue._signal(1)
        return queue.counts()[DeliveryStatus.DELIVERED] == 4

    assert until(delivered_all)
    assert {len(each.attempts) for each in queue.find()} == {1, 4}


def test_a_worker_survives_whatever_an_attempt_raises(start):
    """Cancellation, too, which is no ``Exception``; the delivery is kept as failed."""

    def perform(claimed):
        raise asyncio.CancelledError

    queue = start(perform, workers=2)
    queue.put([make_delivery() for _ in range(10)])
    assert until(lambda: queue.counts()[DeliveryStatus.FAILED] == 10)
    assert all(thread.is_alive() for thread in queue._threads)


def test_a_retry_without_room_for_all_starts_what_had_room(start):
    """The ones that were made due are performed."""
    outcomes = [failed] * 3 + [delivered]
    queue = start(
        lambda claimed: outcomes[min(len(claimed.attempts) * 3, 3)](claimed),
        store=MemoryStore(capacity=3),
    )
    queue.put([make_delivery() for _ in range(3)])
    assert until(lambda: queue.counts()[DeliveryStatus.FAILED] == 3)
    queue.store.capacity = 1
    with pytest.raises(QueueFullError):
        queue.retry(DeliveryFilter(status="failed"))
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] >= 1)


def test_put_waits_for_room_and_gives_up(start):
    """Backpressure: the caller waits, at most so long, and nothing is dropped."""
    gate = Gate()
    queue = start(gate, store=MemoryStore(capacity=2), workers=1, put_timeout=0.05)
    queue.put([make_delivery(), make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)
    with pytest.raises(QueueFullError, match="capacity 2"):
        queue.put([make_delivery()])
    queue.put_timeout = LIMIT
    waiting = threading.Thread(target=queue.put, args=([make_delivery()],))
    waiting.start()
    gate.open.set()
    waiting.join(LIMIT)
    assert not waiting.is_alive()
    assert queue.close() == 0
    assert queue.counts()[DeliveryStatus.DELIVERED] == 3


def test_closing_wakes_who_waits_for_room(start):
    """A caller that waits learns that there will be no room."""
    gate, errors = Gate(), []
    queue = start(gate, store=MemoryStore(capacity=1), workers=1, put_timeout=LIMIT)
    queue.put([make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)

    def put():
        try:
            queue.put([make_delivery()])
        except QueueError as error:
            errors.append(type(error))

    waiting = threading.Thread(target=put)
    waiting.start()
    assert until(lambda: queue._putting == 1 and bool(queue._room._waiters))
    assert queue.close(0) == 1
    waiting.join(LIMIT)
    assert errors == [QueueFullError]
    gate.open.set()


def test_a_retry_is_performed_when_it_is_due(start):
    """The threads sleep until the next due time, and wake for what is due earlier."""
    moments = []

    def perform(claimed):
        moments.append((claimed.event, time.monotonic()))
        return delivered(claimed) if len(claimed.attempts) else delayed(claimed, 0.1)

    began = time.time()
    queue = start(perform, clock=lambda: later(time.time() - began), workers=1)
    queue.put([make_delivery(event="retried")])
    queue.put([make_delivery(event="direct", due_at=later(0.02))])
    assert until(lambda: len(moments) == 4)
    assert moments[0][0] == "retried"
    assert queue.close() == 0


def test_a_retry_is_not_missed_while_others_rest(start):
    """Whoever rests last may know of something sooner than who looks out."""
    began, gate, made = time.time(), Gate(), []

    def perform(claimed):
        made.append(claimed.webhook)
        if claimed.webhook == "slow":
            gate(claimed)
            return delayed(claimed, time.time() - began + 0.05)
        return delivered(claimed)

    queue = start(perform, workers=4, clock=lambda: later(time.time() - began))
    queue.put([make_delivery(webhook="slow"), make_delivery(webhook="a"), make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)
    assert until(lambda: queue._idle >= 2)
    gate.open.set()
    assert until(lambda: made.count("slow") > 3, limit=5)
    queue.close(0)


def test_close_finishes_what_is_due_and_counts_the_rest(start, caplog):
    """Drained: the due ones are performed, a later retry is left and named in the log."""
    queue = start(delivered, workers=2, clock=FakeClock(NOW))
    queue.put([make_delivery() for _ in range(100)] + [make_delivery(due_at=later(5))])
    assert queue.close() == 1
    assert queue.counts()[DeliveryStatus.DELIVERED] == 100
    assert "1 deliveries are left undone" in caplog.text


def test_close_ends_in_time_though_an_attempt_does_not(start):
    """An attempt that hangs does not hold the host."""
    gate = Gate()
    queue = start(gate, workers=1)
    queue.put([make_delivery(), make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)
    assert queue.close(0.01) == 2
    gate.open.set()
    assert until(lambda: not queue._threads[0].is_alive())
    assert queue.counts()[DeliveryStatus.PENDING] == 1


def test_a_worker_may_close_its_queue(start):
    """Closing from inside an attempt does not wait for itself."""
    queue = None
    left = []

    def perform(claimed):
        left.append(queue.close(LIMIT))
        return delivered(claimed)

    queue = start(perform)
    queue.put([make_delivery()])
    assert until(lambda: left == [1])


def test_a_closed_queue_retries_nothing(start):
    """It would never be performed."""
    queue = start(delivered)
    queue.close()
    with pytest.raises(QueueClosedError):
        queue.retry("msg_1")


def test_a_failing_store_is_waited_for(start, caplog, monkeypatch):
    """A store that cannot be asked is asked again, and no worker dies."""
    monkeypatch.setattr("changehook.queues.threads.STORE_PAUSE", 0.01)
    store = MemoryStore()
    claim, fails = store.claim, [OSError(), OSError()]

    def flaky(now, **options):
        if fails:
            raise fails.pop()
        return claim(now, **options)

    store.claim = flaky
    queue = start(delivered, store=store, workers=1)
    queue.put([make_delivery()])
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 1)
    assert "the store fails, trying again: OSError" in caplog.text


def test_the_first_thread_reports_at_once(start, monkeypatch):
    """Before its first attempt, however late whoever started it goes on."""
    store, seen, reports = MemoryStore(), [], []
    begin = threading.Thread.start

    def slow(thread):
        begin(thread)
        assert until(lambda: bool(reports))

    def looks(claimed):
        seen.extend(store.stats(NOW).workers)
        return delivered(claimed)

    queue = start(looks, store=store, workers=1)
    queue.tallies = lambda: reports.append(1) or []
    monkeypatch.setattr(threading.Thread, "start", slow)
    queue.put([make_delivery()])
    assert until(lambda: queue.counts()[DeliveryStatus.DELIVERED] == 1)
    assert [each.threads for each in seen] == [1]


def test_nothing_is_taken_when_no_thread_can_start(start, monkeypatch):
    """As when the interpreter is exiting, from Python 3.12 on."""

    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    queue = start(delivered, workers=2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(QueueError, match="no thread can be started"):
            queue.put([make_delivery()])
    assert queue.counts()[DeliveryStatus.PENDING] == 0
    gate = Gate()
    queue.perform = gate
    queue.put([make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        queue.put([make_delivery()])
    gate.open.set()
    assert queue.close() == 0


def test_a_put_that_races_with_close_is_done_or_refused(start):
    """No delivery falls between: what put took was performed when close returned."""
    for _ in range(20):
        taken, performed = [], []
        queue = start(
            lambda claimed, done=performed: (done.append(claimed.id), delivered(claimed))[1]
        )

        def put(queue=queue, taken=taken):
            try:
                while True:
                    delivery = make_delivery()
                    queue.put([delivery])
                    taken.append(delivery.id)
            except QueueClosedError:
                pass

        threads = [threading.Thread(target=put) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert until(lambda taken=taken: len(taken) > 5)
        assert queue.close() == 0
        for thread in threads:
            thread.join(LIMIT)
        assert sorted(performed) == sorted(taken)


def test_a_forked_child_starts_its_own_threads(start):
    """The child performs what it puts; the parent's deliveries stay the parent's."""
    gate = Gate()
    queue = start(gate, workers=1)
    queue.put([make_delivery(), make_delivery()])
    assert gate.entered.acquire(timeout=LIMIT)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child reports through the pipe and leaves at once
        queue.perform = delivered
        queue.put([make_delivery()])
        left = queue.close()
        os.write(writer, pickle.dumps((left, queue.counts()[DeliveryStatus.DELIVERED])))
        os._exit(0)
    os.waitpid(pid, 0)
    assert pickle.loads(os.read(reader, 1000)) == (0, 1)
    os.close(reader)
    os.close(writer)
    gate.open.set()
    assert queue.close() == 0
    assert queue.counts()[DeliveryStatus.DELIVERED] == 2


def test_without_an_emitter_nothing_is_taken():
    """The mistake shows where it was made."""
    queue = ThreadPoolQueue()
    with pytest.raises(QueueError, match="no emitter is attached"):
        queue.put([make_delivery()])


def test_the_exit_closes_a_queue_that_is_still_there(start):
    """What ``atexit`` calls, and that it does not keep the queue alive."""
    queue = start(delivered)
    queue.put([make_delivery()])
    queue._at_exit()
    assert queue.counts()[DeliveryStatus.DELIVERED] == 1
    gone = ThreadPoolQueue()._at_exit
    gc.collect()
    gone()


EXITING = """
import sys, threading, time
from changehook import ThreadPoolQueue
from changehook.testing import make_delivery
from changehook.testing.deliveries import delivered

def perform(claimed):
    time.sleep(0.02)
    print("performed", flush=True)
    return delivered(claimed)

queue = ThreadPoolQueue(workers=2)
queue.attach(perform)
queue.put([make_delivery() for _ in range(10)])
{end}
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "del queue", "raise RuntimeError"])
def test_the_interpreter_waits_for_what_is_due(end):
    """However the main thread ends, the exit drains the queue and does not hang."""
    done = subprocess.run(
        [sys.executable, "-c", EXITING.format(end=end)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.count("performed") == 10
    assert done.returncode == {"": 0, "del queue": 0, "sys.exit(3)": 3}.get(end, 1)
