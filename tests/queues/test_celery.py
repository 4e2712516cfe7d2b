"""Celery workers over a store: the store is the truth, Celery the wake-up."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import celery_app
import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from ledger import Ledger
from servers import RedisServer

from changehook import (
    ConfigurationError,
    Delivery,
    DeliveryFilter,
    DeliveryStatus,
    Emitter,
    InspectableQueue,
    MemoryStore,
    QueueClosedError,
    QueueError,
    Retention,
    SQLiteStore,
    StoreError,
    Webhook,
    WebhookTally,
)
from changehook.inspection import SWEEPER
from changehook.queues.celery import CeleryQueue, broker, wakeups
from changehook.testing import (
    FakeClock,
    InspectableQueueContract,
    RecordingTransport,
    make_delivery,
)
from changehook.testing.deliveries import LIMIT, NOW, delayed, delivered, failed, later, until

# Of Celery's own, with older versions of it.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Perform = Callable[[Delivery], Delivery]
PENDING, DELIVERED = DeliveryStatus.PENDING, DeliveryStatus.DELIVERED


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Run a server for the tests that do not kill it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """Open a file of deliveries."""
    opened = SQLiteStore(tmp_path / "webhooks.db", synchronous="NORMAL")
    yield opened
    opened.close()


def application(url: str = "memory://", **settings: object) -> Celery:
    """Return a Celery application that leaves logging alone."""
    app = Celery("tests", broker=url, set_as_current=False)
    app.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False, **settings)
    return app


def messages(app: Celery, name: str = "celery") -> list[Any]:
    """Take what waits in the broker: the ids of each message."""
    found = []
    with (
        app.connection_for_read() as connection,
        connection.SimpleQueue(name) as waiting,
        contextlib.suppress(waiting.Empty),
    ):
        while True:
            message = waiting.get(block=not found, timeout=LIMIT)
            message.ack()
            found.append(message.payload[0][0])
    return found


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Flaky(MemoryStore):
    """A store that poses as one that processes share, and that can be told to fail."""

    durable = True
    problem: Exception | None = None

    def save(self, delivery: Delivery) -> bool:
        """Fail, or save."""
        if self.problem is not None:
            raise self.problem
        return super().save(delivery)

    def report(self, *arguments: Any) -> None:
        """Fail, or keep the figures."""
        if self.problem is not None:
            raise self.problem
        super().report(*arguments)

    def stats(self, now: Any) -> Any:
        """Fail, or tell the figures."""
        if self.problem is not None:
            raise self.problem
        return super().stats(now)


# The contract


class TestCelery(InspectableQueueContract):
    """With a worker in this process, two threads, and a thread that sweeps."""

    @pytest.fixture(autouse=True)
    def workers(self, redis: RedisServer, store: SQLiteStore) -> Iterator[None]:
        """Give each queue a broker's queue of its own, and a worker for it."""
        self.redis, self.store = redis, store
        root = logging.getLogger()
        before = root.level, list(root.handlers)
        with contextlib.ExitStack() as self.stack:
            yield
        root.setLevel(before[0])
        root.handlers[:] = before[1]
        logging.captureWarnings(False)

    def make_queue(self) -> InspectableQueue:
        """Return a queue, and start its worker."""
        name = f"webhooks-{time.time_ns()}"
        app = application(self.redis.url)
        queue = CeleryQueue(app, store=self.store, task_queue=name, sweep_every=0.02)
        worker = start_worker(
            app,
            pool="threads",
            concurrency=2,
            queues=name,
            perform_ping_check=False,
            shutdown_timeout=30.0,  # Celery 5.4 looks again after 10 s when it holds all it may
        )
        self.stack.enter_context(worker)
        return queue

    def settle(self, queue: object, condition: Callable[[], bool]) -> bool:
        """Wait for the worker."""
        return until(condition)


class TestEager(InspectableQueueContract):
    """With no worker at all, as in a host's tests."""

    def make_queue(self) -> InspectableQueue:
        """Return a queue that performs as soon as it is told of a delivery."""
        return CeleryQueue(application(task_always_eager=True), store=MemoryStore())

    def settle(self, queue: InspectableQueue, condition: Callable[[], bool]) -> bool:
        """Sweep, as nobody else does."""
        assert isinstance(queue, CeleryQueue)
        queue.sweep()
        return condition()

    def test_one_failing_delivery_stops_nothing(self) -> None:
        """A caller that makes the attempts itself is ended by SystemExit."""
        with pytest.raises(SystemExit):
            super().test_one_failing_delivery_stops_nothing()


def test_an_eager_attempt_may_emit_changes() -> None:
    """As a listener does that reacts to a delivery."""
    queue = CeleryQueue(application(task_always_eager=True), store=MemoryStore())
    second = make_delivery()

    def perform(claimed: Delivery) -> Delivery:
        if claimed.id != second.id:
            queue.put([second])
        return delivered(claimed)

    queue.attach(perform)
    queue.put([make_delivery()])
    assert queue.counts()[DELIVERED] == 2
    queue.close()


def test_an_eager_attempt_may_retry_others() -> None:
    """Also while a sweep makes it."""
    store = MemoryStore()
    queue = CeleryQueue(application(task_always_eager=True), store=store)
    outcomes = [failed, delivered]

    def perform(claimed: Delivery) -> Delivery:
        queue.retry(DeliveryFilter(status="failed"))
        return outcomes.pop(0)(claimed) if outcomes else delivered(claimed)

    queue.attach(perform)
    queue.put([make_delivery()])
    store.add([make_delivery(due_at=later(-60))])
    assert until(lambda: queue.sweep() == 0)
    assert queue.counts()[DELIVERED] == 2
    queue.close()


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"app": "tests"}, "app: expected a Celery, found str"),
        ({"store": "webhooks.db"}, "store: expected a Store, found str"),
        ({"store": MemoryStore()}, r"find nothing in the memory of this one; write SQLiteStore\("),
        ({"task_queue": ""}, "task_queue: expected the name of a queue"),
        ({"task_queue": 1}, "task_queue: expected the name of a queue"),
        ({"sweep_every": 0}, "sweep_every: expected seconds, above 0 and below 120"),
        ({"sweep_every": True}, "sweep_every: expected seconds"),
        ({"sweep_every": "5"}, "sweep_every: expected seconds"),
        ({"sweep_every": 120}, "sweep_every: expected seconds"),
        ({"retention": 7}, "retention: expected Retention"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], message: str) -> None:
    """In words that say what to write."""
    given = {"app": application(), "store": Flaky(), **arguments}
    with pytest.raises(ConfigurationError, match=message):
        CeleryQueue(given.pop("app"), **given)


def test_an_app_carries_one_queue() -> None:
    """Celery would give the messages of the second to the first."""
    app = application()
    CeleryQueue(app, store=Flaky())
    with pytest.raises(ConfigurationError, match="carries another CeleryQueue"):
        CeleryQueue(app, store=Flaky())


def test_a_missing_celery_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(ImportError, match=r'pip install "changehook\[celery\]"') as caught:
        runpy.run_path(broker.__file__)
    assert isinstance(caught.value.__cause__, ImportError)


# Putting


def test_the_tasks_are_safe() -> None:
    """JSON, acknowledged after the attempt, given back by a worker whose process died; and the
    limits of the app end no attempt."""
    app = application(task_soft_time_limit=1, task_time_limit=2, task_serializer="pickle")
    CeleryQueue(app, store=Flaky())
    task = app.tasks["changehook.deliver"]
    assert (task.serializer, task.ignore_result) == ("json", True)
    assert (task.acks_late, task.reject_on_worker_lost) == (True, True)
    assert (task.soft_time_limit, task.time_limit) == (2700, 2730)
    assert "changehook.deliver" not in application().tasks


def test_a_message_holds_ids_only(redis: RedisServer, store: SQLiteStore) -> None:
    """No payload, no URL, no secret; one message for each delivery that is due now."""
    app = application(redis.url)
    webhook = Webhook(
        name="hook",
        object_types=["*"],
        events=["*"],
        url="https://h.example/s3cret",
        secret="k" * 9,
    )
    queue = CeleryQueue(app, store=store, task_queue="raw")
    with Emitter(webhooks=[webhook], queue=queue) as emitter:
        [first] = emitter.emit_change("created", "site", {"name": "pay-load"}, username="ann")
    with app.connection_for_read() as connection:
        raw = connection.default_channel.client.lrange("raw", 0, -1)
    assert len(raw) == 1
    message = json.loads(raw[0])
    assert json.loads(base64.b64decode(message["body"]))[0] == [[first.id]]
    text = (raw[0] + base64.b64decode(message["body"])).decode()
    assert not [word for word in ("pay-load", "h.example", "s3cret", "kkk", "ann") if word in text]


def test_what_is_due_later_is_not_enqueued() -> None:
    """Its due time lives in the store; a sweep enqueues it then."""
    clock = FakeClock(NOW)
    app = application()
    queue = CeleryQueue(app, store=Flaky(), task_queue="later", clock=clock)
    queue.attach(delivered)
    now, then = make_delivery(), make_delivery(due_at=later(60))
    queue.put([now, then])
    assert messages(app, "later") == [[now.id]]
    clock.advance(61)
    assert queue.sweep() == 2
    assert messages(app, "later") == [[now.id, then.id]]
    queue.close()


def test_a_message_holds_few_ids_of_one_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are performed in turn, so a receiver that hangs delays its own only."""
    monkeypatch.setattr(broker, "TOGETHER", 5)
    app = application()
    queue = CeleryQueue(app, store=Flaky(), task_queue="few")
    queue.attach(delivered)
    put = [make_delivery(webhook="ab"[number % 2]) for number in range(14)]
    queue.put(put)
    a, b = ([each.id for each in put if each.webhook == name] for name in "ab")
    queue._broker.flush()
    assert sorted(messages(app, "few")) == sorted([a[:5], a[5:], b[:5], b[5:]])
    queue.close()


def test_the_exit_sends_what_waits(
    monkeypatch: pytest.MonkeyPatch, redis: RedisServer, store: SQLiteStore
) -> None:
    """A script that emits and ends at once tells the workers too; also when no thread starts."""
    monkeypatch.setattr(broker, "LINGER", 0.05)
    app = application(redis.url)
    queue = CeleryQueue(app, store=store, task_queue="exit")
    queue.attach(delivered)
    first, second = make_delivery(), make_delivery()
    queue.put([first])
    queue._broker._at_exit()
    broker._flush_at_exit(lambda: None)  # type: ignore[arg-type]
    assert messages(app, "exit") == [[first.id]]
    queue._broker.close()

    def start(_: threading.Thread) -> None:
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", start)
    queue.put([second])
    assert messages(app, "exit") == [[second.id]]
    queue.close()


def test_a_process_that_only_emits_tells_the_workers_before_it_ends(
    redis: RedisServer, tmp_path: Path
) -> None:
    """Though what Celery needs for its broker cannot be imported any more by then."""
    settings = {
        "broker": redis.url,
        "path": str(tmp_path / "webhooks.db"),
        "url": "http://127.0.0.1:1/",
        "schedule": [0],
        "origin": time.time(),
    }
    words = "from celery_app import emitter; emitter.emit_change('created', 'site', {})"
    done = subprocess.run(
        [sys.executable, "-c", words],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(celery_app.__file__).parent),
            celery_app.SETTINGS: json.dumps(settings),
        },
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(messages(application(redis.url))) == 1


def test_a_put_is_refused_as_by_every_queue() -> None:
    """Without an emitter, and by a store that does not take it."""
    queue = CeleryQueue(application(), store=MemoryStoreOfOne())
    with pytest.raises(QueueError, match="no emitter is attached"):
        queue.put([make_delivery()])
    queue.attach(delivered)
    with pytest.raises(QueueError, match="2 deliveries, 1 places"):
        queue.put([make_delivery(), make_delivery()])
    queue.close()
    with pytest.raises(QueueClosedError):
        queue.retry(DeliveryFilter())
    queue.start()
    assert queue._ticker._thread is None


class MemoryStoreOfOne(Flaky):
    """A store with one place."""

    def __init__(self) -> None:
        super().__init__(capacity=1)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_down_is_no_loss(
    scheme: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has the delivery; the host hears of it in its log, and is not held up again."""
    monkeypatch.setattr(broker, "SILENCE", 3600.0)
    app = application(f"{scheme}://127.0.0.1:{unused_port()}")
    queue = CeleryQueue(app, store=Flaky())
    queue.attach(delivered)
    for _ in range(3):
        queue.put([make_delivery(), make_delivery()])
        queue._broker.flush()
    assert queue.counts()[PENDING] == 6
    assert caplog.text.count("the broker takes no messages (OperationalError)") == 1
    assert queue.sweep() == 0
    assert queue.health()[0] == "the broker does not answer (OperationalError)"
    queue.close()


def test_a_broker_that_says_nothing_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections and does not answer: Celery by itself would wait for ever."""
    monkeypatch.setattr(broker, "QUICKLY", {**broker.QUICKLY, "socket_timeout": 0.05})
    with socket.create_server(("127.0.0.1", 0)) as hole:
        queue = CeleryQueue(
            application(f"redis://127.0.0.1:{hole.getsockname()[1]}"), store=Flaky()
        )
        queue.attach(delivered)
        queue.put([make_delivery()])
        queue._broker.flush()
        assert queue.counts()[PENDING] == 1
        queue.close()


def test_a_broker_that_is_full_is_no_loss(
    redis: RedisServer, store: SQLiteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Once it has room again, a sweep sends what it did not take."""
    app = application(redis.url)
    clock = FakeClock(NOW)
    queue = CeleryQueue(app, store=store, task_queue="full", clock=clock)
    queue.attach(delivered)
    delivery = make_delivery()
    with app.connection_for_read() as connection:
        client = connection.default_channel.client
        client.config_set("maxmemory", 1)
        queue.put([delivery])
        queue._broker.flush()
        client.config_set("maxmemory", 0)
    assert "the broker takes no messages" in caplog.text
    clock.advance(60)
    queue._broker._quiet_until = 0.0
    assert queue.sweep() == 1
    assert messages(app, "full") == [[delivery.id]]
    queue.close()


@pytest.mark.parametrize("gone", ["down", "silent"])
def test_each_broker_of_a_list_is_asked(
    gone: str, redis: RedisServer, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the first of a cluster is down, or says nothing, the next one gets the messages."""
    monkeypatch.setattr(broker, "PATIENCE", 0.2)
    monkeypatch.setattr(broker, "QUICKLY", {**broker.QUICKLY, "socket_timeout": 0.2})
    with socket.create_server(("127.0.0.1", 0)) as hole:
        port = hole.getsockname()[1] if gone == "silent" else unused_port()
        app = application(f"redis://127.0.0.1:{port}/0;{redis.url}")
        queue = CeleryQueue(app, store=store, task_queue=gone)
        queue.attach(delivered)
        delivery = make_delivery()
        queue.put([delivery])
        queue._broker.flush()
        assert messages(application(redis.url), gone) == [[delivery.id]]
        assert queue._broker.silence() is None
        queue.close()


def test_a_queue_of_celery_that_is_missing_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """It is no fault of the broker."""
    app = application(task_create_missing_queues=False)
    queue = CeleryQueue(app, store=Flaky(), task_queue="nowhere")
    queue.attach(delivered)
    queue.put([make_delivery()])
    queue._broker.flush()
    assert "takes no messages (QueueNotFound); a sweep tells the workers later" in caplog.text
    queue.close()


def test_a_process_of_a_pool_sends_what_waits_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, redis: RedisServer, store: SQLiteStore
) -> None:
    """It runs no functions of ``atexit``; each of several queues does so."""
    monkeypatch.setattr(broker, "LINGER", 3600.0)
    another = CeleryQueue(application(redis.url), store=store)
    app = application(redis.url)
    queue = CeleryQueue(app, store=store, task_queue="pool")
    queue.attach(delivered)
    delivery = make_delivery()
    queue.put([delivery])
    signals.worker_process_shutdown.send(sender=None)
    assert messages(app, "pool") == [[delivery.id]]
    queue.close()
    another.close()


def test_a_connection_that_was_closed_meanwhile_is_opened_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And what it did take before is not sent twice."""
    app = application()
    queue = CeleryQueue(app, store=Flaky(), task_queue="old")
    queue.attach(delivered)
    real, calls = queue._broker._deliver.apply_async, []

    def apply_async(arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise ConnectionResetError
        real(arguments, **options)

    monkeypatch.setattr(queue._broker._deliver, "apply_async", apply_async)
    put = [make_delivery(webhook=f"w{number}") for number in range(3)]
    queue.put(put)
    queue._broker.flush()
    assert messages(app, "old") == [[each.id] for each in put]
    assert not [each for each in caplog.records if each.name.startswith("changehook")]
    queue.close()


def test_a_report_that_fails_does_not_undo_a_put(caplog: pytest.LogCaptureFixture) -> None:
    """The deliveries were kept; the figures are told the next time."""
    store = Flaky()
    queue = CeleryQueue(application(), store=store)
    queue.attach(delivered, None, lambda: [WebhookTally(webhook="w", matched=1)])
    queue._reported = -100.0
    store.problem = StoreError("the disk is full")
    queue.put([make_delivery()])
    assert "the store fails, trying again: the disk is full" in caplog.text
    assert queue.health()[-1] == "the store fails (StoreError)"
    assert queue.sweep() == 0
    assert queue.close() == 0
    store.problem = None
    queue.close()
    assert [each.matched for each in store.stats(NOW).webhooks] == [3]


# The task


class Bench:
    """A queue over a store in memory, whose task is called by hand."""

    def __init__(self, perform: Perform = delivered, **arguments: Any) -> None:
        self.clock = FakeClock(NOW)
        self.store = Flaky()
        self.app = application()
        self.queue = CeleryQueue(self.app, store=self.store, clock=self.clock, **arguments)
        self.performed: list[Delivery] = []
        self.perform = perform
        self.queue.attach(self._perform)

    def _perform(self, claimed: Delivery) -> Delivery:
        self.performed.append(claimed)
        return self.perform(claimed)

    def put(self, **changes: Any) -> Delivery:
        """Put a delivery."""
        delivery = make_delivery(**changes)
        self.queue.put([delivery])
        return delivery

    def call(self, *deliveries: Delivery) -> None:
        """Do what a worker does with a message."""
        self.app.tasks["changehook.deliver"]([each.id for each in deliveries])


def test_a_message_that_comes_twice_is_performed_once() -> None:
    """Also one whose delivery is gone, not due, or being attempted by someone else."""
    bench = Bench()
    done, waits, taken = bench.put(), bench.put(due_at=later(60)), bench.put()
    bench.store.save(taken.claimed(later(45)))
    bench.call(done, done, waits, taken, make_delivery())
    bench.call(done)
    assert [each.id for each in bench.performed] == [done.id]
    assert bench.performed[0].lease_until == later(45)


def test_two_workers_that_claim_at_once_perform_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store takes one of the two claims; a suspect that another has is not held against it."""
    bench = Bench()
    killer = bench.put()
    for moment in (0, 50):
        bench.store.save(bench.store.get(killer.id).claimed(later(moment)))
        bench.store.save(bench.store.get(killer.id).lease_expired(later(moment)))
    stale = bench.store.get(killer.id)
    bench.store.save(stale.claimed(later(100)))
    bench.clock.advance(60)
    monkeypatch.setattr(bench.store, "get", lambda _: stale)
    bench.call(killer)
    assert bench.performed == []
    assert bench.queue._suspect is None


def test_those_whose_workers_died_twice_are_performed_one_at_a_time() -> None:
    """So the one that kills its worker takes no other along."""
    bench = Bench()
    suspects = [bench.put(), bench.put()]
    for each in suspects:
        for _ in range(2):
            bench.store.save(bench.store.get(each.id).claimed(NOW))
            bench.store.save(bench.store.get(each.id).lease_expired(NOW))

    def perform(claimed: Delivery) -> Delivery:
        bench.call(*suspects)
        return delivered(claimed)

    bench.perform = perform
    bench.call(suspects[0])
    assert len(bench.performed) == 1
    bench.perform = delivered
    bench.call(suspects[1])
    assert bench.queue.counts()[DELIVERED] == 2


def test_a_store_that_fails_fails_no_delivery(caplog: pytest.LogCaptureFixture) -> None:
    """Neither when it is claimed nor when its outcome is to be kept: that is written later."""
    bench = Bench()
    delivery = bench.put()
    bench.store.problem = StoreError("the disk is full")
    bench.call(delivery)
    assert bench.performed == []

    def perform(claimed: Delivery) -> Delivery:
        bench.store.problem = OSError()
        return delivered(claimed)

    bench.perform, bench.store.problem = perform, None
    bench.call(delivery)
    assert bench.store.get(delivery.id).status is DeliveryStatus.DELIVERING
    assert bench.queue.close() == 1
    bench.store.problem = None
    assert bench.queue.close() == 0
    assert "the disk is full" in caplog.text
    assert "saving later" in caplog.text


def unwritten() -> tuple[Bench, Delivery]:
    """Return a delivery that arrived, which the store, that works again, was not told."""
    bench = Bench()
    delivery = bench.put()

    def perform(claimed: Delivery) -> Delivery:
        bench.store.problem = OSError()
        return delivered(claimed)

    bench.perform = perform
    bench.call(delivery)
    bench.store.problem = None
    assert bench.queue.counts()[DELIVERED] == 0
    return bench, delivery


def test_the_next_message_writes_what_could_not_be_written() -> None:
    """And nothing is sent again."""
    bench, delivery = unwritten()
    bench.call(delivery)
    assert bench.queue.counts()[DELIVERED] == len(bench.performed) == 1


def test_a_process_of_a_pool_writes_what_could_not_be_written_when_it_ends() -> None:
    """There is no next message, and the attempt would be made again."""
    bench, _ = unwritten()
    signals.worker_process_shutdown.send(sender=None)
    assert bench.queue.counts()[DELIVERED] == 1


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_worker_that_is_ended_loses_no_delivery(kind: type[BaseException]) -> None:
    """Celery ends a process of its pool so in the midst of an attempt: it is made again, and the
    process ends; a thread does not."""

    def perform(claimed: Delivery) -> Delivery:
        raise kind

    bench = Bench(perform)
    delivery = bench.put()
    with pytest.raises(kind):
        bench.call(delivery)
    thread = threading.Thread(target=bench.call, args=(delivery,))
    thread.start()
    thread.join(LIMIT)
    kept = bench.store.get(delivery.id)
    assert (kept.status, kept.attempt_number) == (PENDING, 2)
    assert [each.error_class for each in kept.attempts] == ["lost", "lost"]


def test_a_process_without_an_emitter_performs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """And says so; the delivery stays due."""
    app, store = application(), Flaky()
    CeleryQueue(app, store=store)
    delivery = make_delivery()
    store.add([delivery])
    app.tasks["changehook.deliver"]([delivery.id])
    assert "build it in the module that the worker imports" in caplog.text
    assert store.get(delivery.id) == delivery


def test_a_queue_that_closes_finishes_what_it_is_doing() -> None:
    """And begins nothing more."""
    gate, entered = threading.Event(), threading.Event()

    def perform(claimed: Delivery) -> Delivery:
        entered.set()
        assert gate.wait(LIMIT)
        return delivered(claimed)

    bench = Bench(perform)
    first, second = bench.put(), bench.put()
    running = threading.Thread(target=bench.call, args=(first, second))
    running.start()
    assert entered.wait(LIMIT)
    assert bench.queue.close(0.01) == 2
    gate.set()
    assert bench.queue.close() == 1
    running.join(LIMIT)
    assert [each.id for each in bench.performed] == [first.id]


# Sweeping


def test_a_retry_is_enqueued_when_it_is_due() -> None:
    """Once, though it waits in the broker; again after a while, because brokers lose messages."""
    moment = [0.0]
    bench = Bench(lambda claimed: delayed(claimed, 60), task_queue="retry")
    bench.queue._wake_ups = wakeups.WakeUps(lambda: moment[0])
    bench.call(bench.put())
    assert bench.queue.sweep() == 0
    bench.clock.advance(60)
    found = []
    for moment[0] in (0, 1, 59, 60, 179, 180, 7200, 7200 + 3599, 7200 + 3600, 10**6):
        found.append(bench.queue.sweep())
    assert found == [1, 0, 0, 1, 0, 1, 1, 1, 0, 1]
    bench.queue.close()


def test_what_was_enqueued_and_made_is_soon_forgotten() -> None:
    """Else thousands of retries a minute would be remembered for an hour, and gone through at each
    sweep."""
    moment = [0.0]
    wake_ups = wakeups.WakeUps(lambda: moment[0])
    for moment[0] in range(0, 3600, 5):
        wake_ups.remember([make_delivery() for _ in range(10)])
    assert len(wake_ups._sent) <= 240


def test_a_receiver_that_is_down_for_a_day() -> None:
    """Its deliveries wait in the store in between, and arrive by the usual schedule."""
    app, clock = application(), FakeClock(NOW)
    queue = CeleryQueue(app, store=Flaky(), clock=clock, task_queue="day")
    webhook = Webhook(name="w", object_types=["*"], events=["*"], url="https://r.example/")
    transport = RecordingTransport(*[503] * 7, 200)
    with Emitter(webhooks=[webhook], queue=queue, clock=clock, transport=transport) as emitter:
        [kept] = emitter.emit_change("created", "site", {})
        while not kept.status.finished:
            [ids] = messages(app, "day")
            app.tasks["changehook.deliver"](ids)
            kept = queue.get(kept.id)
            clock.advance((kept.due_at - clock()).total_seconds())
            queue.sweep()
    assert kept.status is DELIVERED
    assert kept.attempts[-1].started_at > later(86400) > kept.attempts[-2].started_at


def test_what_was_put_just_now_is_left_to_its_own_message() -> None:
    """Also by other processes; what has waited for longer, the broker may not know."""
    bench = Bench()
    bench.store.add([make_delivery()])
    bench.clock.advance(14)
    assert bench.queue.sweep() == 0
    bench.clock.advance(1)
    assert bench.queue.sweep() == 1
    bench.queue.close()


def test_what_a_dead_worker_had_is_enqueued_at_the_end_of_its_lease() -> None:
    """The attempt that nobody came back from is recorded as lost; who moves it on first, wins."""
    bench = Bench()
    first, second = bench.put(), bench.put()
    for each in (first, second):
        bench.store.save(each.claimed(later(45)))
    bench.clock.advance(44)
    assert bench.queue.sweep() == 0
    bench.clock.advance(2)
    due = bench.store.due

    def raced(*arguments: Any) -> list[Delivery]:
        found = due(*arguments)
        bench.store.save(delivered(bench.store.get(second.id)))
        return found

    bench.store.due = raced  # type: ignore[method-assign]
    assert bench.queue.sweep() == 1
    kept = bench.store.get(first.id)
    assert (kept.status, kept.attempts[-1].error_class) == (PENDING, "lost")
    bench.call(first)
    assert bench.queue.counts()[DELIVERED] == 2
    bench.queue.close()


def test_a_sweep_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest comes with the next ones, as what was enqueued gets done."""
    monkeypatch.setattr("changehook.queues.celery.SWEEP_LIMIT", 2)
    bench = Bench()
    bench.store.add([make_delivery() for _ in range(3)])
    bench.clock.advance(60)
    assert (bench.queue.sweep(), bench.queue.sweep()) == (2, 0)
    bench.call(*bench.queue.find())
    bench.queue.close()


def test_a_sweep_removes_what_is_too_old() -> None:
    """Once a minute, by the retention; that a process of a pool is young puts it off no longer."""
    bench = Bench(retention=Retention(delivered=10))
    bench.call(bench.put())
    bench.clock.advance(3600)
    bench.queue.sweep()
    assert bench.queue.counts()[DELIVERED] == 1
    bench.queue._purged -= 60
    bench.queue._forked()
    bench.app.tasks["changehook.sweep"]()
    assert bench.queue.counts()[DELIVERED] == 0
    bench.queue.close()


def test_a_retry_by_hand_is_enqueued_at_once() -> None:
    """By id and by filter."""
    bench = Bench(failed, task_queue="hand")
    one, other = bench.put(), bench.put()
    bench.call(one, other)
    assert messages(bench.app, "hand") == [[one.id, other.id]]
    bench.queue.retry(one.id)
    assert messages(bench.app, "hand") == [[one.id]]
    bench.queue.retry(DeliveryFilter(status="failed"))
    assert other.id in messages(bench.app, "hand")[0]
    bench.queue.close()


def test_one_thread_of_many_processes_sweeps() -> None:
    """The others begin when it has not for a while."""
    bench = Bench(sweep_every=10.0)
    bench.queue.sweep()
    other = CeleryQueue(application(), store=bench.store, sweep_every=10.0, clock=bench.clock)
    other._host = "elsewhere"
    bench.clock.advance(29)
    other._look_after()
    [seen] = [each for each in bench.store.stats(NOW).workers if each.worker == SWEEPER]
    assert seen.host != "elsewhere"
    bench.clock.advance(1)
    other._look_after()
    [seen] = [each for each in bench.store.stats(NOW).workers if each.worker == SWEEPER]
    assert (seen.host, seen.threads) == ("elsewhere", 0)
    bench.queue.close()


def test_a_thread_sweeps_on_request_only() -> None:
    """From the first change on, until the queue is closed; a store that fails does not end it."""
    bench = Bench()
    bench.queue.start()
    assert bench.queue._ticker._thread is None
    bench = Bench(sweep_every=0.001)
    bench.store.add([make_delivery()])
    bench.clock.advance(60)
    bench.store.problem = OSError()
    bench.queue.start()
    bench.queue.start()
    thread = bench.queue._ticker._thread
    assert until(lambda: bool(bench.queue._complaint))
    bench.store.problem = None
    assert until(lambda: bool(bench.queue._wake_ups._sent))
    bench.queue.close()
    assert thread is not None
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_starts_anew(redis: RedisServer, store: SQLiteStore) -> None:
    """With connections and a thread of its own, though the parent's were in use."""
    app = application(redis.url)
    queue = CeleryQueue(app, store=store, task_queue="forked", sweep_every=5.0)
    queue.attach(delivered)
    queue.start()
    put = [make_delivery() for _ in range(3)]
    queue.put(put[:1])
    queue._broker.flush()
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            fresh = queue._ticker._thread is None and queue._broker._pool is None
            queue.start()
            queue.put(put[1:2])
            queue.close()
            os._exit(0 if fresh else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    queue.put(put[2:])
    queue._broker.flush()
    found = {name for ids in messages(app, "forked") for name in ids}
    assert found == {each.id for each in put}
    queue.close()


def test_a_fork_waits_for_what_is_being_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a while: a child would find locks of Celery held by nobody."""
    monkeypatch.setattr(broker, "FORK_PATIENCE", 0.01)
    queue = CeleryQueue(application(), store=Flaky())
    gate, entered = threading.Event(), threading.Event()

    def send() -> None:
        with queue._broker._sending:
            entered.set()
            gate.wait(LIMIT)

    sending = threading.Thread(target=send)
    sending.start()
    assert entered.wait(LIMIT)
    queue._broker._before_fork()
    queue._broker._after_fork()
    assert not queue._broker._held
    gate.set()
    sending.join(LIMIT)
    queue._broker._before_fork()
    assert queue._broker._held
    queue._broker._after_fork()


# Health


def test_health_says_what_is_wrong(store: SQLiteStore, caplog: pytest.LogCaptureFixture) -> None:
    """No worker, no sweep, what is late; a worker logs it, each problem once."""
    clock = FakeClock(NOW)
    app = application()
    queue = CeleryQueue(app, store=store, clock=clock, task_queue="mine")
    queue.attach(delivered)
    queue._serve(4, ["others"])
    queue._rest()
    assert queue._performing() is None
    queue.put([make_delivery()])
    clock.advance(301)
    nobody, no_sweep, late = queue.health()
    assert nobody == "no Celery worker has reported within the last minute"
    assert "have beat send changehook.sweep" in no_sweep
    assert late == "the oldest delivery that is due has been so for 301 seconds"
    queue._serve(4, ["mine"])
    assert queue.health() == [no_sweep, late]
    queue._ticker.stop(LIMIT)
    for _ in range(2):
        queue._looked -= 120
        clock.advance(1)
        queue._look_after()
    logged = [each.message for each in caplog.records if each.name.startswith("changehook")]
    assert logged == [
        no_sweep,
        "the oldest delivery that is due has been so for some seconds",
    ]
    queue.sweep()
    assert queue.health() == [late.replace("301", "303")]
    [worker] = [each for each in queue.stats().workers if each.worker != SWEEPER]
    assert (worker.threads, worker.busy) == (4, 0)
    queue._rest()
    assert nobody in queue.health()
    queue.close()


@pytest.mark.parametrize(
    ("settings", "its"),
    [
        ({}, "celery"),
        ({"task_default_queue": "mine"}, "mine"),
        ({"task_routes": {"changehook.*": {"queue": "mine"}}}, "mine"),
        ({"task_routes": {"changehook.*": {"exchange": "e", "routing_key": "k"}}}, None),
    ],
)
def test_a_worker_of_other_queues_is_none_of_ours(settings: dict[str, Any], its: str) -> None:
    """As far as the routes of the app say where messages go."""
    queue = CeleryQueue(application(**settings), store=Flaky())
    for name in {its, "other"}:
        queue._serve(4, [str(name)])
        assert (queue._serving == 4) is (its in (name, None))
        queue._rest()
        queue._serving = None


# Real workers


class Receiver:
    """Answers 200 and counts ids; a request waits while the gate is closed."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                receiver.ids.append(self.headers["webhook-id"])
                receiver.gate.wait(LIMIT)
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """End it."""
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


class Scene:
    """A broker, a receiver, a file, an emitter in this process, and workers in others."""

    def __init__(self, folder: Path) -> None:
        self.redis = RedisServer()
        self.redis.start()
        self.receiver = Receiver()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.settings: dict[str, Any] = {
            "broker": self.redis.url,
            "path": str(folder / "webhooks.db"),
            "url": self.receiver.url,
            "schedule": [0, 0, 0, 0],
            "origin": time.time(),
        }
        self.emitters: list[Emitter] = []

    def build(self, **settings: Any) -> Emitter:
        """Return the emitter of this process, which does not sweep."""
        self.settings.update(settings)
        _, emitter = celery_app.build(**{**self.settings, "sweep_every": None})
        self.emitters.append(emitter)
        return emitter

    def work(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        self.workers.append(celery_app.worker(self.settings, *words))
        return self.workers[-1]

    def beat(self, folder: Path) -> None:
        """Start Celery's beat."""
        words = ["-s", str(folder / "beat"), "--pidfile="]
        self.workers.append(celery_app.celery(self.settings, "beat", *words))

    def close(self) -> None:
        """End everything."""
        self.receiver.gate.set()
        for worker in self.workers:
            end(worker)
        for emitter in self.emitters:
            emitter.close(0)
            emitter.queue.store.close()
        self.redis.__exit__()
        self.receiver.close()


def end(worker: subprocess.Popen[bytes]) -> None:
    """Kill a worker and its processes, which have a group of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(LIMIT)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Set a scene."""
    made = Scene(tmp_path)
    yield made
    made.close()


def is_done(queue: InspectableQueue, how_many: int) -> bool:
    return queue.counts()[DELIVERED] == how_many


def test_what_a_killed_worker_had_is_performed_by_another(scene: Scene) -> None:
    """kill -9 in the midst of an attempt, and with more of its messages taken and not begun: Redis
    would give them back after an hour."""
    emitter = scene.build(speed=60.0)
    queue = emitter.queue
    scene.receiver.gate.clear()
    killed = scene.work("-P", "threads", "-c", "1")
    put = [emitter.emit_change("created", "site", {})[0].id for _ in range(4)]
    assert until(lambda: len(scene.receiver.ids) == 1)
    end(killed)
    scene.receiver.gate.set()
    scene.work("-P", "threads", "-c", "2")
    assert until(lambda: is_done(queue, 4))
    assert set(scene.receiver.ids) == set(put)
    attempts = queue.get(scene.receiver.ids[0]).attempts
    assert [each.error_class for each in attempts] == ["lost", None]


def test_kills_among_many(scene: Scene) -> None:
    """Workers are killed as they come, and their broker once: everything arrives all the same."""
    emitter = scene.build(speed=60.0, schedule=[0] * 8)
    pools = ["threads", "prefork"]
    workers = [scene.work("-P", pool, "-c", "2") for pool in pools]
    put = {emitter.emit_change("created", "site", {})[0].id for _ in range(300)}
    for kill in range(6):
        assert until(lambda count=40 * kill: len(scene.receiver.ids) > count)
        end(workers.pop(0))
        if kill == 3:
            scene.redis.kill()
            scene.redis.start()
        workers.append(scene.work("-P", pools[kill % 2], "-c", "2"))

    def supervised() -> bool:
        for place, worker in enumerate(workers):
            if worker.poll() is not None:
                workers[place] = scene.work("-P", "threads", "-c", "2")
        return is_done(emitter.queue, len(put))

    assert until(supervised, 2 * LIMIT)
    assert set(scene.receiver.ids) == put


def test_a_process_of_a_pool_that_is_killed_loses_nothing(scene: Scene) -> None:
    """By the kernel for its memory, or by Celery for a cold shutdown; and what kills its process
    each time ends as failed, after its attempts."""
    emitter = scene.build(speed=60.0, schedule=[0, 0], poison=True)
    queue = emitter.queue
    scene.work("-P", "prefork", "-c", "1")
    [poison] = emitter.emit_change("poison", "site", {})
    emitter.emit_change("created", "site", {})
    assert until(lambda: queue.get(poison.id).status is DeliveryStatus.FAILED)
    assert until(lambda: is_done(queue, 1))
    given_up = queue.get(poison.id)
    assert given_up.reason.startswith("gave up after attempt 2: lost: its worker died")
    assert [each.error_class for each in given_up.attempts] == ["lost", "lost"]
    assert poison.id not in scene.receiver.ids


def test_a_cold_shutdown_loses_nothing(scene: Scene) -> None:
    """SIGQUIT ends the processes of a pool in the midst of an attempt: it is made again."""
    emitter = scene.build()
    scene.receiver.gate.clear()
    ended = scene.work("-P", "prefork", "-c", "1")
    emitter.emit_change("created", "site", {})
    assert until(lambda: len(scene.receiver.ids) == 1)
    ended.send_signal(signal.SIGQUIT)
    ended.wait(LIMIT)
    scene.receiver.gate.set()
    scene.work("-P", "solo")
    [kept] = emitter.queue.find()
    assert until(lambda: is_done(emitter.queue, 1))
    assert emitter.queue.get(kept.id).attempts[0].error_class == "lost"


def test_a_broker_that_is_killed_and_restarted_loses_nothing(scene: Scene) -> None:
    """Not what was put while it was down either: then the store takes it, and a sweep tells. Some
    versions of Celery end the worker when its broker is gone, so somebody starts it again."""
    emitter = scene.build(speed=20.0)
    scene.work("-P", "threads", "-c", "2")
    emitter.emit_change("created", "site", {})
    assert until(lambda: is_done(emitter.queue, 1))
    scene.redis.kill()
    down = [emitter.emit_change("created", "site", {})[0].id for _ in range(5)]
    assert emitter.queue.counts()[PENDING] == 5
    scene.redis.start()

    def supervised() -> bool:
        if scene.workers[-1].poll() is not None:
            scene.work("-P", "threads", "-c", "2")
        return is_done(emitter.queue, 6)

    assert until(supervised, 2 * LIMIT)
    assert set(down) <= set(scene.receiver.ids)


def test_a_broker_that_lost_everything_is_filled_again(scene: Scene) -> None:
    """The store is the truth."""
    emitter = scene.build(speed=60.0)
    for _ in range(5):
        emitter.emit_change("created", "site", {})
    with emitter.queue.app.connection_for_read() as connection:
        connection.default_channel.client.flushall()
    scene.work("-P", "threads", "-c", "2")
    assert until(lambda: is_done(emitter.queue, 5))


def test_retries_outlive_the_worker(scene: Scene) -> None:
    """Their due times live in the store; SIGTERM lets a worker finish, and another goes on."""
    emitter = scene.build(schedule=[0, 60, 60], speed=60.0)
    scene.receiver.statuses = [500]
    stopped = scene.work("-P", "threads", "-c", "1")
    [delivery] = emitter.emit_change("created", "site", {})
    assert until(lambda: bool(emitter.queue.get(delivery.id).attempts))
    stopped.terminate()
    assert stopped.wait(LIMIT) == 0
    workers = [each for each in emitter.queue.stats().workers if each.worker != SWEEPER]
    assert [each.threads for each in workers] == [0]
    scene.work("-P", "solo")
    assert until(lambda: is_done(emitter.queue, 1))
    kept = emitter.queue.get(delivery.id)
    assert [each.status for each in kept.attempts] == [500, 200]


def test_beat_sweeps(scene: Scene, tmp_path: Path) -> None:
    """So retries are made, and what an operator retries from the command line, while no thread
    sweeps; the command line sees what the workers do."""
    sweep = {"task": "changehook.sweep", "schedule": 0.1, "options": {"queue": "sweeps"}}
    emitter = scene.build(schedule=[0, 1], sweep_every=None, conf={"beat_schedule": {"": sweep}})
    scene.receiver.statuses = [500, 500, 500]
    scene.beat(tmp_path)
    scene.work("-P", "prefork", "-c", "2", "-Q", "celery,sweeps")
    [delivery] = emitter.emit_change("created", "site", {})
    assert until(lambda: emitter.queue.counts()[DeliveryStatus.FAILED] == 1)
    path = scene.settings["path"]
    assert delivery.id in command("list", path, "--status", "failed")
    assert "retried: 1" in command("retry", path, "--status", "failed", "--yes")
    assert until(lambda: is_done(emitter.queue, 1))
    assert [each.status for each in emitter.queue.get(delivery.id).attempts] == [500, 500, 500, 200]
    assert "sweeper" in command("stats", path)
    assert emitter.queue.health() == []


def command(*words: str) -> str:
    """Return what ``changehook queue`` prints."""
    line = [sys.executable, "-m", "changehook", "queue", *words]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=LIMIT).stdout


def test_a_message_that_redis_gives_back_too_early_is_not_sent_twice(scene: Scene) -> None:
    """An attempt that takes longer than the visibility timeout: another worker gets its message
    too, sees that it is being made, and acknowledges."""
    options = {"visibility_timeout": 0.001}
    conf = {"broker_transport_options": options, "worker_prefetch_multiplier": 1}
    emitter = scene.build(timeout=LIMIT, conf=conf)
    scene.receiver.gate.clear()
    scene.work("-P", "threads", "-c", "1")
    [delivery] = emitter.emit_change("created", "site", {})
    assert until(lambda: len(scene.receiver.ids) == 1)
    scene.work("-P", "threads", "-c", "1")
    with emitter.queue.app.connection_for_read() as connection:
        redis = connection.default_channel.client
        assert until(lambda: not redis.exists("celery", "unacked"))
    assert scene.receiver.ids == [delivery.id]
    scene.receiver.gate.set()
    assert until(lambda: is_done(emitter.queue, 1))
    assert scene.receiver.ids == [delivery.id]


def test_what_the_last_task_of_a_process_emits_is_delivered(scene: Scene) -> None:
    """Though nobody sweeps, and the process ends at once."""
    emitter = scene.build(sweep_every=None)
    scene.work("-P", "prefork", "-c", "1", "--max-tasks-per-child", "1")
    emitter.queue.app.send_task("emit")
    assert until(lambda: is_done(emitter.queue, 1))


def test_the_fallback_takes_over_when_the_store_refuses(tmp_path: Path, redis: RedisServer) -> None:
    """At once; a broker that is down is not for the fallback, because nothing is lost by it."""
    store, spare = MemoryStoreOfOne(), SQLiteStore(tmp_path / "spare.db")
    webhook = Webhook(name="w", object_types=["*"], events=["*"], url="https://r.example/")
    app = application(redis.url)
    queue = CeleryQueue(app, store=store, task_queue="fallback")
    with Emitter(webhooks=[webhook], queue=queue, fallback=spare) as emitter:
        emitter.emit_change("created", "site", {})
        emitter.emit_change("created", "site", {})
        assert spare.counts()[PENDING] == 1
        queue.discard(DeliveryFilter())
        assert until(lambda: spare.counts()[PENDING] == 0)
        queue._broker.flush()
        assert sum(map(len, messages(app, "fallback"))) == 2
    spare.close()


def test_two_workers_deliver_everything(scene: Scene) -> None:
    """Processes with separate memory: each change arrives, twice only with the same id."""
    ledger = Ledger(random.Random(1), failures=0.05, delays=0.2)
    emitter = scene.build(url=f"{ledger.url}/one", schedule=[0, 0, 0, 0, 0, 0])
    for _ in range(2):
        scene.work("-P", "threads", "-c", "4")
    for number in range(600):
        emitter.emit_change("created", "site", {"number": number})
    assert until(lambda: is_done(emitter.queue, 600), 60)
    ledger.close()
    assert len(ledger.ids) == 600
    assert {len(ids) for ids in ledger.ids.values()} == {1}
    assert {len(bodies) for bodies in ledger.bodies.values()} == {1}
    alive = [each for each in emitter.queue.stats().workers if each.threads]
    assert [each.threads for each in alive] == [4, 4]
    assert emitter.queue.health() == []
