"""The queue on RQ, with a real server and workers of RQ in this process."""

import datetime
import importlib
import json
import logging
import pickletools
import subprocess
import sys
import threading
import time
from typing import ClassVar

import pytest
import redis
import rq
import rq_host
from redis.backoff import NoBackoff
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from servers import RedisServer

from changehook import (
    ConfigurationError,
    DeliveryFilter,
    DeliveryNotFoundError,
    DeliveryStatus,
    MemoryStore,
    QueueClosedError,
    QueueError,
    SQLiteStore,
    StoreError,
)
from changehook.deliveries import Decision
from changehook.errors import GivenUpError
from changehook.inspection import WebhookTally
from changehook.interfaces import Terms
from changehook.models import utcnow
from changehook.queues.rq import RQQueue, perform
from changehook.queues.rq.jobs import BATCH, job_id_of
from changehook.queues.rq.posting import Poster
from changehook.queues.rq.registries import Registries
from changehook.queues.stored import StoredQueue
from changehook.testing import FakeClock, InspectableQueueContract
from changehook.testing.deliveries import (
    after_attempt,
    delivered,
    failed,
    make_delivery,
    raises,
    until,
)

pytestmark = pytest.mark.usefixtures("alone")

PENDING, DELIVERING, DELIVERED, FAILED, SKIPPED = DeliveryStatus
EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
HOUR = datetime.timedelta(hours=1)
MINUTE = datetime.timedelta(minutes=1)


def work(queue):
    """Have a worker in this process do what is due."""
    worker = queue.worker()
    worker.work(burst=True, with_scheduler=True, logging_level="CRITICAL")
    return worker


class OnRQ(InspectableQueueContract):
    """The contract, with a worker of RQ in this process."""

    options: ClassVar = {}

    @pytest.fixture(autouse=True)
    def _connect(self, connection, tmp_path):
        self.connection, self.folder = connection, tmp_path

    def make_queue(self):
        """Give a queue on an empty Redis."""
        rq_host.queue = RQQueue(self.connection, "hooks", emitter="rq_host:queue", **self.options)
        return rq_host.queue

    def settle(self, queue, condition):
        """Have a worker do what is due, until the condition holds."""
        for _ in range(10):
            work(queue)
            if condition():
                return True
        return False


class TestRQQueue(OnRQ):
    """Deliveries of one put travel together."""


class TestRQQueueOfSingleJobs(OnRQ):
    """Each delivery is a job."""

    options: ClassVar = {"batch": 1}


class TestRQQueueOfJSON(OnRQ):
    """Nothing is pickled, by RQ neither."""

    options: ClassVar = {"serializer": JSONSerializer}


class TestRQQueueOverAStore(OnRQ):
    """Jobs carry ids."""

    def make_queue(self):
        """Give a queue over a file."""
        self.options = {"store": SQLiteStore(self.folder / "hooks.db")}
        return super().make_queue()


# What follows is the same for both, unless it says otherwise


@pytest.fixture(params=["jobs", "store"])
def make(request, connection, tmp_path):
    """Make a queue that performs with what it is given; its deliveries are in jobs, or a store."""

    def make(perform=delivered, **options):
        if request.param == "store":
            options.setdefault("store", SQLiteStore(tmp_path / "hooks.db"))
        options.setdefault("batch", 1)
        queue = RQQueue(connection, "hooks", emitter="rq_host:queue", **options)
        queue.attach(perform)
        rq_host.queue = queue
        return queue

    make.kept_in = request.param
    return make


class Performs:
    """Attempts with the outcomes that it is told, the last one again and again."""

    def __init__(self, *outcomes):
        self.outcomes, self.made = list(outcomes), []
        self._lock = threading.Lock()

    def __call__(self, claimed):
        """Make an attempt."""
        with self._lock:
            self.made.append((claimed.id, utcnow()))
            outcome = self.outcomes[0] if len(self.outcomes) == 1 else self.outcomes.pop(0)
        return outcome(claimed)

    @property
    def ids(self):
        """The ids of the deliveries that were attempted, in order."""
        return [each for each, _ in self.made]


def dies(claimed):
    """Be a worker that dies; RQ takes what ends an attempt so for an accident."""
    raise SystemExit


def again(seconds):
    """Return an outcome: to be tried again after so many seconds."""

    def outcome(claimed):
        due_at = utcnow() + datetime.timedelta(seconds=seconds)
        return after_attempt(claimed, Decision(status=PENDING, due_at=due_at), status=503)

    return outcome


def skipped(claimed):
    """Return a delivery whose webhook is gone."""
    return claimed.skipped("gone")


def mixed(claimed):
    """Have each event be its own outcome."""
    outcomes = {"created": delivered, "bad": failed, "later": again(3600), "skip": skipped}
    return outcomes[claimed.event](claimed)


def job_of(queue, delivery):
    """Return the job of one delivery."""
    return Job.fetch(
        job_id_of(delivery.id), connection=queue.connection, serializer=queue.rq.serializer
    )


# Attempts


def test_a_delivered_delivery_is_a_finished_job(make):
    """Its result says what came back."""
    queue, delivery = make(result_ttl=100), make_delivery()
    queue.put([delivery])
    work(queue)
    job = job_of(queue, delivery)
    assert job.get_status() is JobStatus.FINISHED
    assert job.return_value() == {
        "delivery": delivery.id,
        "webhook": "contract",
        "status": "delivered",
        "attempts": 1,
        "response": 200,
    }
    assert job.id in queue.rq.finished_job_registry
    assert 0 < queue.connection.ttl(job.key) <= 100
    assert job.result_ttl == 100


@pytest.mark.parametrize(("outcome", "status"), [(failed, FAILED), (skipped, SKIPPED)])
def test_one_that_was_given_up_is_a_failed_job(make, outcome, status):
    """RQ keeps it as long as is said, and has it run again."""
    performs = Performs(outcome, outcome, delivered)
    queue, delivery = make(performs, failure_ttl=200), make_delivery()
    queue.put([delivery])
    for number in (1, 2):
        work(queue)
        job = job_of(queue, delivery)
        assert (job.get_status(), job.retries_left) == (JobStatus.FAILED, 0)
        assert 0 < queue.connection.ttl(job.key) <= 200
        assert "GivenUpError" in job.latest_result().exc_string
        assert len(performs.made) == number
        assert queue.get(delivery.id).status is status
        assert queue.counts()[status] == 1
        queue.rq.failed_job_registry.requeue(job)
        if make.kept_in == "jobs":
            seen = queue.get(delivery.id)
            assert (seen.status, seen.reason) == (PENDING, "retried by hand")
            assert [each.id for each in queue.find(DeliveryFilter(status=PENDING))] == [delivery.id]
    work(queue)
    assert queue.get(delivery.id).status is DELIVERED
    assert queue.counts() == {**dict.fromkeys(DeliveryStatus, 0), DELIVERED: 1}


def test_the_attempts_and_the_body_live_in_the_meta(native):
    """The body is not kept twice when it is the payload."""
    queue, delivery = native(Performs(again(3600))), make_delivery()
    queue.put([delivery])
    work(queue)
    state = job_of(queue, delivery).meta["deliveries"][delivery.id]
    assert (state["status"], len(state["attempts"]), state["body"]) == (
        "pending",
        1,
        {"payload": True},
    )
    assert queue.get(delivery.id).body == delivery.payload


def test_another_body_is_kept_as_it_is(native):
    """Every attempt sends the same."""

    def outcome(claimed):
        decision = Decision(status=PENDING, due_at=utcnow())
        attempt = after_attempt(claimed, decision, status=503).attempts[-1]
        return claimed.after(attempt, decision, body="an own body")

    bodies = []
    performs = Performs(outcome, lambda claimed: bodies.append(claimed.body) or delivered(claimed))
    queue = native(performs)
    queue.put([make_delivery()])
    work(queue)
    assert bodies == ["an own body"]


def test_a_retry_is_a_scheduled_job_and_never_early(make):
    """Our schedule decides; RQ is told by what the attempt returns, and counts no failure."""
    queue, delivery = make(Performs(again(0.3), delivered)), make_delivery()
    queue.put([delivery])
    work(queue)
    due_at = queue.get(delivery.id).due_at
    job = job_of(queue, delivery)
    assert job.get_status() is JobStatus.SCHEDULED
    assert job.retries_left == 3
    assert queue.rq.scheduled_job_registry.get_scheduled_time(job) >= due_at
    assert queue.rq.failed_job_registry.count == 0
    assert queue.age_of_oldest_due() is None or utcnow() >= due_at
    assert until(lambda: work(queue) and queue.get(delivery.id).status is DELIVERED)
    assert queue.perform.made[1][1] >= due_at


def test_a_job_that_runs_too_early_waits(make):
    """Someone moved it by hand."""
    queue, delivery = make(performs := Performs(delivered)), make_delivery(due_at=utcnow() + HOUR)
    queue.put([delivery])
    assert queue.get(delivery.id).status is PENDING
    assert queue.rq.scheduled_job_registry.get_job_ids() == [job_id_of(delivery.id)]
    queue.rq.scheduled_job_registry.remove(job_id_of(delivery.id))
    queue.rq.enqueue_job(job_of(queue, delivery))
    work(queue)
    assert performs.made == []
    assert queue.counts()[PENDING] == 1
    job = job_of(queue, delivery)
    assert queue.rq.scheduled_job_registry.get_scheduled_time(job) >= delivery.due_at


def test_parts_of_seconds_are_rounded_up(native):
    """RQ cuts them off."""
    queue = native()
    due_at = utcnow().replace(microsecond=1) + HOUR
    whole = due_at.replace(microsecond=0) + HOUR
    queue.put([first := make_delivery(due_at=due_at), second := make_delivery(due_at=whole)])
    read = queue.rq.scheduled_job_registry.get_scheduled_time
    assert read(job_id_of(first.id)) >= due_at
    assert read(job_id_of(second.id)) == whole


# Workers that die


def test_a_job_whose_worker_died_runs_again(make):
    """With the lost attempt on record, and with all its lives again."""
    performs = Performs(dies, again(0), dies, dies, delivered)
    queue, delivery = make(performs), make_delivery()
    queue.put([delivery])
    assert job_of(queue, delivery).retries_left == 3
    assert until(lambda: work(queue) and queue.get(delivery.id).status is DELIVERED)
    assert len(performs.made) == 5
    if make.kept_in == "jobs":
        classes = [each.error_class for each in queue.get(delivery.id).attempts]
        assert classes == ["lost", None, "lost", "lost", None]


def test_one_that_kills_its_workers_is_given_up(make):
    """It is failed then, for RQ as well, and has three lives again when it is retried."""
    performs = Performs(dies)
    queue, delivery = make(performs), make_delivery()
    queue.put([delivery])
    for number in (3, 6):
        assert until(lambda: work(queue) and queue.get(delivery.id).status is FAILED)
        assert len(performs.made) == number
        assert "workers died" in queue.get(delivery.id).reason
        job = job_of(queue, delivery)
        assert job.get_status() is JobStatus.FAILED
        queue.rq.failed_job_registry.requeue(job)


def test_one_that_was_requeued_has_its_lives(make):
    """A worker that dies with it then does not make RQ give it up."""
    performs = Performs(failed, dies, dies, delivered)
    queue, delivery = make(performs), make_delivery()
    queue.put([delivery])
    work(queue)
    queue.rq.failed_job_registry.requeue(job_of(queue, delivery))
    assert until(lambda: work(queue) and queue.get(delivery.id).status is DELIVERED)
    assert len(performs.made) == 4


def test_the_others_of_its_job_are_delivered(make):
    """It is alone after its first kill."""

    def outcome(claimed):
        return dies(claimed) if claimed.event == "poison" else delivered(claimed)

    queue = make(outcome, batch=10)
    put = [make_delivery(event="poison" if n == 4 else "created") for n in range(10)]
    queue.put(put)
    assert until(lambda: work(queue) and queue.counts()[FAILED] == 1)
    assert queue.counts()[DELIVERED] == 9
    assert queue.get(put[4].id).status is FAILED


def test_what_rq_gave_up_can_be_seen(native):
    """Though we never heard of it."""
    queue, delivery = native(), make_delivery()
    queue.put([delivery])
    job = job_of(queue, delivery)
    queue.rq.remove(job)
    job.set_status(JobStatus.FAILED)
    queue.rq.failed_job_registry.add(job, ttl=100, exc_string="abandoned")
    seen = queue.get(delivery.id)
    assert (seen.status, seen.attempts[-1].error_class) == (FAILED, "lost")
    assert queue.counts()[FAILED] == 1
    assert queue.retry(delivery.id) == 1
    work(queue)
    assert queue.get(delivery.id).status is DELIVERED


def test_a_worker_that_died_before_it_began(make, connection):
    """What RQ has between its queue and its worker is seen and counted."""
    queue, delivery = make(), make_delivery()
    queue.put([delivery])
    queue.rq.lmove(connection, queue.rq.key, timeout=None)
    assert queue.counts()[PENDING] == 1
    assert [each.id for each in queue.find()] == [delivery.id]
    assert queue.close() == 1


def test_a_job_that_rq_never_heard_the_end_of(make):
    """A worker may die between its own last word and RQ's: nothing is repeated."""
    for outcome, status in ((delivered, DELIVERED), (failed, FAILED)):
        performs = Performs(outcome)
        queue, delivery = make(performs), make_delivery()
        queue.put([delivery])
        work(queue)
        job = job_of(queue, delivery)
        job.retries_left = 2
        queue.rq.failed_job_registry.remove(job)
        queue.rq.enqueue_job(job)
        assert queue.get(delivery.id).status is status
        work(queue)
        assert len(performs.made) == 1
        assert queue.get(delivery.id).status is status


def test_a_batch_that_rq_never_heard_the_end_of(make, connection):
    """The same for a job of several."""
    performs = Performs(delivered)
    queue = make(performs, batch=10)
    queue.put([make_delivery() for _ in range(3)])
    (job_id,) = queue.rq.get_job_ids()
    work(queue)
    job = Job.fetch(job_id, connection=connection)
    job.retries_left = 2
    queue.rq.enqueue_job(job)
    work(queue)
    assert len(performs.made) == 3
    assert queue.counts()[DELIVERED] == 3


@pytest.fixture
def failing(monkeypatch):
    """Have a method of RQ or Redis fail once, at its nth call."""

    def failing(owner, name, nth=1, error=redis.ConnectionError):
        calls, method = [], getattr(owner, name)

        def fail(*arguments, **settings):
            calls.append(1)
            if len(calls) == nth:
                raise error("down")
            return method(*arguments, **settings)

        monkeypatch.setattr(owner, name, fail)

    return failing


def run_until(queue, condition):
    """Work, also on what was put off for ten seconds, until a condition holds."""
    for _ in range(5):
        work(queue)
        if condition():
            return True
        for job_id in queue.rq.scheduled_job_registry.get_job_ids():
            queue.rq.scheduled_job_registry.schedule(Job.fetch(job_id, queue.connection), EPOCH)
    return False


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_outcome_that_cannot_be_written(make, failing, caplog, nth):
    """RQ writes it when it puts the job off; nothing is sent again, and no worker counts as dead,
    also when those of several that did not arrive cannot be given jobs of their own."""
    queue = make(performs := Performs(mixed), batch=10)
    events = ["created", "bad", "skip", "created"]
    put = [make_delivery(event=event) for event in events]
    queue.put(put)
    failing(Poster, "post_alone") if nth == 3 else failing(Job, "save_meta", nth)
    assert run_until(queue, lambda: queue.counts()[PENDING] == 0)
    assert "put off for 10 seconds: ConnectionError" in caplog.text
    assert queue.counts() == {PENDING: 0, DELIVERING: 0, DELIVERED: 2, FAILED: 1, SKIPPED: 1}
    assert sorted(performs.ids) == sorted(each.id for each in put)
    assert {len(each.attempts) for each in queue.find() if each.event != "skip"} == {1}


def test_the_end_of_one_that_cannot_be_written(native, failing, caplog):
    """It is logged, and RQ keeps its job as failed all the same."""
    queue, delivery = native(Performs(failed)), make_delivery()
    queue.put([delivery])
    failing(Job, "save_meta", 2)
    work(queue)
    assert "what came of it cannot be written (ConnectionError)" in caplog.text
    assert queue.get(delivery.id).status is FAILED
    assert job_of(queue, delivery).get_status() is JobStatus.FAILED


def test_a_job_that_stands_twice_in_the_queue(make):
    """Nobody has requeued what was given up: it is not attempted again."""
    queue, delivery = make(performs := Performs(failed)), make_delivery()
    queue.put([delivery])
    queue.rq.push_job_id(job_id_of(delivery.id))
    work(queue)
    assert len(performs.made) == 1
    assert queue.get(delivery.id).status is FAILED
    queue.rq.failed_job_registry.requeue(job_of(queue, delivery))
    work(queue)
    assert len(performs.made) == 2


def test_looking_changes_nothing(make):
    """RQ runs abandoned jobs again when its registry is read; workers are to do that, one at a
    time."""
    queue, delivery = make(), make_delivery()
    queue.put([delivery])
    queue.rq.lmove(queue.connection, queue.rq.key, timeout=None)
    job = job_of(queue, delivery)
    Execution.create(job, ttl=-100, pipeline=(pipe := queue.connection.pipeline()))
    job.set_status(JobStatus.STARTED)
    pipe.execute()
    for look in (queue.counts, queue.find, queue.stats, lambda: queue.get(delivery.id)):
        look()
    assert queue.rq.job_ids == []
    assert sum(queue.counts().values()) == 1


def test_a_worker_that_has_just_taken_a_job(native):
    """The delivery cannot be discarded any more, which is said; by a filter it is passed over."""
    queue, delivery = native(), make_delivery()
    queue.put([delivery])
    queue.rq.lmove(queue.connection, queue.rq.key, timeout=None)
    with pytest.raises(QueueError, match="is being attempted just now"):
        queue.discard(delivery.id)
    assert queue.discard(DeliveryFilter()) == 0
    assert queue.get(delivery.id).status is PENDING


def test_a_host_whose_module_fails_for_a_while(native, connection, tmp_path, monkeypatch):
    """As when it asks a database that is away: its deliveries wait."""
    (tmp_path / "rq_asking.py").write_text(
        "import rq_host\nif rq_host.away: raise OSError('a secret')\nfrom rq_host import queue"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(rq_host, "away", True, raising=False)
    queue, delivery = native(), make_delivery()
    RQQueue(connection, "hooks", emitter="rq_asking:queue").put([delivery])
    work(queue)
    assert queue.get(delivery.id) == delivery
    assert job_of(queue, delivery).get_status() is JobStatus.SCHEDULED
    rq_host.away = False
    assert run_until(queue, lambda: queue.counts()[DELIVERED] == 1)


def test_a_place_that_is_wrong_is_told_by_the_store(connection, tmp_path):
    """Its deliveries are failed there too, with the reason, until RQ requeues them."""
    store = SQLiteStore(tmp_path / "hooks.db")
    wrong = RQQueue(connection, "hooks", emitter="rq_host:nothing", store=store)
    rq_host.queue = queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store)
    queue.attach(delivered)
    put = [make_delivery(due_at=utcnow() - MINUTE) for _ in range(3)]
    wrong.put(put[:1])
    wrong.put(put[1:])
    work(queue)
    assert queue.counts()[PENDING] == 3
    assert queue.adopt() == 3
    assert queue.counts()[FAILED] == 3
    assert (
        queue.get(put[2].id).reason == "not attempted: emitter: the module rq_host has no nothing"
    )
    assert queue.adopt() == 0
    for job_id in queue.rq.failed_job_registry.get_job_ids():
        job = Job.fetch(job_id, connection=connection)
        job.args = ("rq_host:queue", job.args[1])
        job.save()
        queue.rq.failed_job_registry.requeue(job_id)
    assert run_until(queue, lambda: queue.counts()[DELIVERED] == 3)


def test_what_was_retried_in_the_store_after_its_place_was_wrong(connection, tmp_path):
    """It gets a job, and is not failed again for what was true before."""
    store = SQLiteStore(tmp_path / "hooks.db")
    ahead = RQQueue(
        connection,
        "hooks",
        emitter="rq_host:queue",
        store=store,
        clock=lambda: utcnow() + MINUTE,
    )
    rq_host.queue = ahead
    put = [make_delivery(due_at=utcnow() - MINUTE) for _ in range(3)]
    wrong = RQQueue(connection, "hooks", emitter="rq_host:nothing", store=store)
    wrong.put(put[:1])
    wrong.put(put[1:])
    work(ahead)
    assert ahead.adopt() == ahead.counts()[FAILED] == 3
    assert StoredQueue(store).retry(DeliveryFilter(status=FAILED)) == 3
    assert ahead.adopt() == 3
    assert ahead.counts()[PENDING] == 3
    ahead.attach(delivered)
    work(ahead)
    assert ahead.counts()[DELIVERED] == 3


# What cannot be attempted


@pytest.mark.parametrize(
    "place",
    [
        "rq_host:nothing",
        "rq_host:SIGNALS",
        "rq_host:undone",
        "no_such_module:queue",
        "rq_broken_import:queue",
        "rq_wrong_import:queue",
    ],
)
def test_a_worker_without_the_emitter(connection, native, tmp_path, monkeypatch, place):
    """Its jobs fail at once and say why; when that is repaired, RQ's own tools repeat them."""
    (tmp_path / "rq_broken_import.py").write_text("import not_there_at_all")
    (tmp_path / "rq_wrong_import.py").write_text("'a secret' = 1")
    monkeypatch.syspath_prepend(tmp_path)
    queue, delivery = native(), make_delivery()
    batched = [make_delivery(), make_delivery()]
    wrong = RQQueue(connection, "hooks", emitter=place)
    wrong.put([delivery])
    wrong.put(batched)
    work(queue)
    assert queue.counts()[FAILED] == 3
    assert "not attempted: emitter: " in queue.get(delivery.id).reason
    assert "a secret" not in queue.get(delivery.id).reason
    assert queue.get(delivery.id).attempts == ()
    for job_id in queue.rq.failed_job_registry.get_job_ids():
        job = Job.fetch(job_id, connection=connection)
        job.args = ("rq_host:queue", job.args[1])
        job.save()
        queue.rq.failed_job_registry.requeue(job_id)
    work(queue)
    assert queue.counts()[DELIVERED] == 3


def test_an_emitter_that_is_not_there_yet(connection):
    """A queue alone makes no attempts."""
    rq_host.queue = RQQueue(connection, "hooks", emitter="rq_host:queue")
    rq_host.queue.put([delivery := make_delivery()])
    work(rq_host.queue)
    assert "no emitter is attached" in rq_host.queue.get(delivery.id).reason


def test_perform_is_called_within_a_job():
    """By RQ."""
    with pytest.raises(ConfigurationError, match="is called by a worker of RQ"):
        perform("rq_host:queue", [])


def test_what_another_release_wrote(native, connection):
    """It hides nothing else, and is failed for RQ's own tools."""
    queue = native()
    queue.put([make_delivery()])
    message = json.dumps({"version": 99})
    other = queue.rq.create_job(
        "changehook.queues.rq.perform", ("rq_host:queue", [message]), job_id=job_id_of("other")
    )
    queue.rq.enqueue_job(other)
    work(queue)
    assert queue.rq.failed_job_registry.get_job_ids() == [other.id]
    assert len(queue.find()) == 1
    assert queue.counts()[DELIVERED] == 1
    assert raises(DeliveryNotFoundError, lambda: queue.get("other"))


class Fragile(SQLiteStore):
    """A store that fails when it is told to."""

    broken: ClassVar = set()

    def save(self, delivery):
        """Keep it, or not."""
        if str(delivery.status) in self.broken:
            raise StoreError("the disk is full")
        return super().save(delivery)


@pytest.fixture
def fragile(tmp_path):
    """Give one."""
    store = Fragile(tmp_path / "hooks.db")
    yield store
    Fragile.broken = set()
    store.close()


@pytest.mark.parametrize("batch", [1, 10])
def test_a_store_that_fails_puts_off(connection, fragile, batch, caplog):
    """Nothing is given up for that, and no life lost."""
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=fragile, batch=batch)
    queue.attach(performs := Performs(delivered))
    rq_host.queue = queue
    put = [make_delivery(), make_delivery()]
    queue.put(put)
    Fragile.broken = {"delivering"}
    work(queue)
    assert performs.made == []
    assert "the disk is full" in caplog.text
    assert queue.rq.failed_job_registry.count == 0
    Fragile.broken = set()
    for each in put:
        queue.retry(each.id)
    work(queue)
    assert queue.counts()[DELIVERED] == 2


@pytest.mark.parametrize("batch", [1, 10])
def test_an_outcome_that_cannot_be_stored(connection, fragile, batch):
    """The attempt is repeated when its lease is over, under the same id."""
    clock = FakeClock(utcnow())
    queue = RQQueue(
        connection, "hooks", emitter="rq_host:queue", store=fragile, batch=batch, clock=clock
    )
    queue.attach(performs := Performs(delivered))
    rq_host.queue = queue
    put = [make_delivery(), make_delivery()]
    queue.put(put)
    Fragile.broken = {"delivered"}
    work(queue)
    assert sorted(performs.ids) == [each.id for each in put]
    assert queue.counts()[DELIVERING] == 2
    assert queue.rq.scheduled_job_registry.count == (2 if batch == 1 else 1)
    Fragile.broken = set()
    enqueue_all(queue)
    assert queue.counts()[DELIVERING] == 2
    clock.advance(3600)
    assert queue.rq.scheduled_job_registry.count == 2
    enqueue_all(queue)
    assert queue.counts()[DELIVERED] == 2
    assert [each.error_class for each in queue.get(put[0].id).attempts] == ["lost", None]


def enqueue_all(queue):
    """Have RQ run what is scheduled at once."""
    for job_id in queue.rq.scheduled_job_registry.get_job_ids():
        queue.rq.scheduled_job_registry.remove(job_id)
        queue.rq.enqueue_job(Job.fetch(job_id, connection=queue.connection))
    work(queue)


def test_someone_else_was_faster(connection, tmp_path):
    """A delivery that changes while it is claimed, or attempted, is left to whoever did."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store)
    rq_host.queue = queue

    def outcome(claimed):
        after = delivered(claimed)
        store.save(after)
        return failed(claimed)

    queue.attach(performs := Performs(outcome))
    save, lost = store.save, []

    def too_late(delivery):
        if delivery.status is DELIVERING and delivery.id not in lost:
            lost.append(delivery.id)
            return False
        return save(delivery)

    store.save = too_late
    one, two, three = (make_delivery() for _ in range(3))
    queue.put([one])
    queue.put([two, three])
    work(queue)
    assert one.id not in performs.ids
    assert until(lambda: work(queue) and queue.counts()[DELIVERED] == 3)
    assert sorted(performs.ids) == [one.id, two.id, three.id]


def test_a_change_by_someone_else_puts_a_revival_off(connection, tmp_path, caplog):
    """And is said."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store)
    queue.attach(failed)
    rq_host.queue = queue
    queue.put([delivery := make_delivery()])
    work(queue)
    queue.rq.failed_job_registry.requeue(job_of(queue, delivery))
    save, store.save = store.save, lambda delivery: False
    work(queue)
    assert "was changed by someone else just now" in caplog.text
    store.save = save
    assert job_of(queue, delivery).get_status() is JobStatus.SCHEDULED


def test_a_change_during_the_attempt_is_said(connection, tmp_path, caplog):
    """The newer state stays."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store)
    rq_host.queue = queue
    save = store.save
    queue.attach(delivered)
    store.save = lambda delivery: delivery.status is DELIVERING and save(delivery)
    queue.put([make_delivery()])
    work(queue)
    assert "was changed by someone else meanwhile" in caplog.text


def test_what_was_discarded_is_not_attempted(connection, tmp_path):
    """A job of an id that the store no longer keeps finishes."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store)
    queue.attach(performs := Performs(delivered))
    rq_host.queue = queue
    one, two = make_delivery(), make_delivery()
    queue.put([one])
    queue.put([two, make_delivery()])
    assert queue.discard(one.id) == 1
    assert queue.discard(two.id) == 1
    work(queue)
    assert len(performs.made) == 1
    assert queue.rq.finished_job_registry.count == 2
    queue.put([one])
    assert queue.counts()[PENDING] == 1


# Several in one job


@pytest.fixture
def several(make):
    """Give a queue with one put of each outcome, performed, and the deliveries by event."""
    queue = make(performs := Performs(mixed), batch=10)
    events = ["created", "bad", "later", "skip", "created"]
    put = [make_delivery(event=event) for event in events]
    queue.put(put)
    assert len(queue.rq.get_job_ids()) == 1
    assert queue.counts()[PENDING] == 5
    work(queue)
    assert len(performs.made) == 5
    return queue, put


def test_each_that_fails_becomes_its_own_job(several):
    """The delivered ones stay, and nothing is repeated."""
    queue, put = several
    assert queue.counts() == {PENDING: 1, DELIVERING: 0, DELIVERED: 2, FAILED: 1, SKIPPED: 1}
    assert job_of(queue, put[1]).get_status() is JobStatus.FAILED
    assert job_of(queue, put[2]).get_status() is JobStatus.SCHEDULED
    assert job_of(queue, put[3]).get_status() is JobStatus.FAILED
    (batch,) = queue.rq.finished_job_registry.get_job_ids()
    assert batch.startswith(BATCH)
    result = Job.fetch(batch, connection=queue.connection).return_value()
    assert [each["status"] for each in result["deliveries"]] == [
        "delivered",
        "failed",
        "pending",
        "skipped",
        "delivered",
    ]
    queue.rq.failed_job_registry.requeue(job_of(queue, put[1]))
    work(queue)
    assert len(queue.perform.made) == 6
    assert queue.get(put[1].id).status is FAILED
    assert len(queue.get(put[1].id).attempts) == 2


def test_those_of_a_batch_are_retried_and_discarded(several):
    """One by one, also those that were delivered."""
    queue, put = several
    assert queue.retry(put[0].id) == 1
    assert queue.get(put[0].id).status is PENDING
    work(queue)
    assert len(queue.get(put[0].id).attempts) == 2
    for each in put:
        assert queue.discard(each.id) == 1
        assert raises(DeliveryNotFoundError, lambda each=each: queue.get(each.id))
    assert queue.find() == []
    assert sum(queue.counts().values()) == 0


def test_what_waits_in_a_batch_is_discarded(make):
    """And the rest is delivered."""
    queue = make(performs := Performs(delivered), batch=10)
    put = [make_delivery() for _ in range(3)]
    queue.put(put)
    assert queue.discard(put[1].id) == 1
    assert queue.retry(put[2].id) == 1
    assert queue.counts()[PENDING] == 2
    work(queue)
    assert sorted(performs.ids) == [put[0].id, put[2].id]
    assert queue.counts()[DELIVERED] == 2


def test_a_worker_died_when_it_had_given_one_its_own_job(native):
    """It is found once, though two jobs carry it, and both can run."""
    queue = native(performs := Performs(delivered), batch=10)
    put = [make_delivery() for _ in range(2)]
    queue.put(put)
    queue._poster.post_alone(put[:1])
    assert len(queue.find()) == 2
    work(queue)
    assert set(performs.ids) == {each.id for each in put}
    assert len(queue.find(DeliveryFilter(status=DELIVERED))) == 2


def test_attempts_of_a_batch_are_made_at_once(make):
    """As many as is said."""
    barrier = threading.Barrier(4, timeout=20)

    def outcome(claimed):
        barrier.wait()
        return delivered(claimed)

    queue = make(outcome, batch=4, threads=4)
    queue.put([make_delivery() for _ in range(4)])
    work(queue)
    assert queue.counts()[DELIVERED] == 4


def test_a_job_lasts_longer_than_its_attempts(native):
    """The deadline of the slowest webhook, as often as there are turns, and half a minute."""
    queue = RQQueue(native().connection, "other", emitter="rq_host:queue", batch=10, threads=2)
    terms = {"slow": 60.5, "quick": 1.0}
    queue.attach(delivered, lambda webhook: Terms(receiver=webhook, timeout=terms[webhook]))
    queue.put([one := make_delivery(webhook="slow")])
    queue.put(
        [make_delivery(webhook=name) for name in ("quick", "slow", "quick", "quick", "quick")]
    )
    assert job_of(queue, one).timeout == 91
    timeouts = [job.timeout for job in queue.rq.get_jobs()]
    assert timeouts == [91, 212]
    assert queue.lease("slow") == 90.5


def test_a_worker_is_not_thought_dead_while_an_attempt_can_last(native):
    """RQ is told for how long."""
    queue = native()
    queue.put([one := make_delivery()])
    worker = queue.worker()
    assert worker.get_heartbeat_ttl(job_of(queue, one)) > job_of(queue, one).timeout


def test_a_job_that_lasts_too_long_runs_again(make):
    """RQ interrupts it, in the attempt as well."""

    def hangs(claimed):
        until(lambda: False)

    queue, delivery = make(performs := Performs(hangs, delivered)), make_delivery()
    queue.put([delivery])
    job = job_of(queue, delivery)
    job.timeout = 1
    job.save()
    assert until(lambda: work(queue) and queue.get(delivery.id).status is DELIVERED)
    assert len(performs.made) == 2


# What Redis holds


def test_jobs_hold_json_text_and_nothing_of_ours_is_pickled(native, connection):
    """The only classes in what RQ pickles are its own."""
    queue = native(Performs(mixed), batch=3)
    events = ["created", "bad", "later", "skip", "created", "bad", "later"]
    queue.put([make_delivery(event=event) for event in events])
    work(queue)
    jobs = [
        *queue.rq.failed_job_registry.get_job_ids(),
        *queue.rq.finished_job_registry.get_job_ids(),
    ]
    jobs += queue.rq.scheduled_job_registry.get_job_ids()
    assert len(jobs) >= 5
    for job_id in jobs:
        job = Job.fetch(job_id, connection=connection)
        emitter, messages = job.args
        assert emitter == "rq_host:queue"
        assert all(json.loads(each)["version"] == 1 for each in messages)
        assert classes(job.data) == set()
        assert classes(connection.hget(job.key, "meta") or b".") == set()
        for result in job.results():
            raw = queue.rq.serializer.dumps(result.return_value)
            assert classes(raw) <= {"rq.job Retry"}


def classes(pickled):
    """Return the classes that a pickle names."""
    names, texts = set(), []
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            names.add(argument)
        elif operation.name == "STACK_GLOBAL":
            names.add(" ".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument)
    return names


def test_with_a_store_jobs_carry_ids(connection, tmp_path):
    """No payload is in Redis."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store)
    queue.attach(Performs(mixed))
    rq_host.queue = queue
    put = [make_delivery(event=event) for event in ("created", "bad", "later")]
    queue.put(put)
    (job,) = queue.rq.get_jobs()
    assert job.args == ("rq_host:queue", [each.id for each in put])
    work(queue)
    for key in connection.scan_iter():
        if connection.type(key) == b"hash":
            assert b"Z\xc3\xbcrich" not in b"".join(connection.hgetall(key).values())
    assert store.counts() == queue.counts()
    assert (
        "deliveries" not in job_of(queue, put[1]).meta
        or not job_of(queue, put[1]).meta["deliveries"]
    )


def test_many_deliveries_are_put_in_one_round_trip(make, monkeypatch):
    """However many; their jobs appear together."""
    queue = make(batch=25)
    queue.put([make_delivery()])
    sent = []
    send = redis.connection.Connection.send_packed_command
    monkeypatch.setattr(
        redis.connection.Connection,
        "send_packed_command",
        lambda self, *arguments, **more: (sent.append(1), send(self, *arguments, **more))[1],
    )
    queue.put([make_delivery() for _ in range(1000)])
    assert len(sent) <= 3  # which of them are new, and all of them; one to spare
    monkeypatch.undo()
    assert len(queue.rq) == 41


def test_ids_that_rq_does_not_allow(make):
    """Any delivery id has a job."""
    queue = make()
    put = [make_delivery(id=each) for each in ("a:b/c", "~!", "a_b-c", "x" * 200, "/" * 200)]
    queue.put(put)
    work(queue)
    assert {each.id for each in queue.find()} == {each.id for each in put}
    assert queue.get("a:b/c").status is DELIVERED
    assert len({job_id_of(each.id) for each in put}) == 5


def test_jobs_of_others_are_left_alone(make, connection):
    """The queue may be shared."""
    queue = make()
    foreign = queue.rq.enqueue(rq_host.unrelated)
    broken = queue.rq.enqueue("rq_host.nothing")
    queue.put([make_delivery()])
    assert queue.counts()[PENDING] == 1
    work(queue)
    assert sum(queue.counts().values()) == len(queue.find()) == 1
    assert foreign.return_value() == 7
    assert queue.discard(DeliveryFilter()) == 1
    assert {foreign.get_status(), broken.get_status()} == {JobStatus.FINISHED, JobStatus.FAILED}


def test_two_puts_of_the_same_id(make, connection):
    """In one batch, in another, alone; while it waits and afterwards."""
    queue = make(performs := Performs(delivered), batch=10)
    one, two, three = (make_delivery() for _ in range(3))
    queue.put([one, two, one])
    queue.put([one])
    queue.put([two, three])
    queue.put([])
    assert queue.counts()[PENDING] == 3
    work(queue)
    queue.put([one, two, three])
    work(queue)
    assert sorted(performs.ids) == [one.id, two.id, three.id]


def test_what_rq_was_told_to_forget_can_be_put_again(native):
    """``rq empty`` takes the jobs, and what travelled in them is new."""
    queue = native(performs := Performs(delivered), batch=10)
    put = [make_delivery() for _ in range(3)]
    queue.put(put)
    queue.rq.empty()
    assert raises(DeliveryNotFoundError, lambda: queue.get(put[0].id))
    queue.put(put[:1])
    queue.put(put)
    work(queue)
    assert sorted(performs.ids) == [each.id for each in put]


# Inspection


def test_pages_over_every_registry(make):
    """Newest first, each once."""
    queue = make(Performs(mixed), batch=4)
    start = utcnow() - HOUR
    put = [
        make_delivery(
            event=["created", "bad", "later", "skip"][n % 4],
            created_at=start + datetime.timedelta(seconds=n),
        )
        for n in range(20)
    ]
    queue.put(put)
    work(queue)
    found, after = [], None
    while page := queue.find(limit=3, after=after):
        found += page
        after = page[-1].position
    assert [each.id for each in found] == [each.id for each in reversed(put)]
    assert queue.counts() == {PENDING: 5, DELIVERING: 0, DELIVERED: 5, FAILED: 5, SKIPPED: 5}
    for status in DeliveryStatus:
        where = DeliveryFilter(status=status)
        assert queue.count(where) == queue.counts()[status]
        assert {each.status for each in queue.find(where)} <= {status}
    assert queue.count(DeliveryFilter(failing=True)) == 5


def test_what_is_being_attempted(make):
    """It shows, and is neither retried nor discarded."""
    seen = {}

    def outcome(claimed):
        seen["counts"] = queue.counts()
        seen["status"] = queue.get(claimed.id).status
        seen["refused"] = [
            raises(QueueError, lambda: queue.retry(claimed.id)),
            raises(QueueError, lambda: queue.discard(claimed.id)),
        ]
        seen["passed over"] = [queue.retry(DeliveryFilter()), queue.discard(DeliveryFilter())]
        return delivered(claimed)

    queue = make(outcome)
    queue.put([delivery := make_delivery()])
    work(queue)
    assert seen["counts"][DELIVERING] == 1
    assert seen["status"] is DELIVERING
    assert seen["refused"] == [True, True]
    assert seen["passed over"] == [0, 0]
    assert queue.get(delivery.id).status is DELIVERED


def test_retries_by_hand_in_every_state(make):
    """Queued, scheduled, failed, finished; by id and by filter, with progress, made anew."""
    queue = make(Performs(mixed))
    put = [make_delivery(event=event) for event in ("created", "bad", "later", "skip")]
    queue.put(put)
    assert queue.retry(put[0].id) == 1
    work(queue)
    assert len(queue.perform.made) == 4
    progress = []
    assert queue.retry(DeliveryFilter(), on_progress=progress.append) == 4
    assert queue.counts()[PENDING] == 4
    assert len(queue.rq) == 4
    assert queue.rq.scheduled_job_registry.count == queue.rq.failed_job_registry.count == 0
    assert queue.get(put[1].id).body == put[1].payload
    assert queue.retry(put[1].id, rerender=True) == 1
    assert queue.get(put[1].id).body is None
    work(queue)
    assert len(queue.perform.made) == 8
    assert len(queue.get(put[2].id).attempts) == 2


def test_discards_in_every_state(make):
    """Nothing of them stays in Redis or is attempted."""
    queue = make(Performs(mixed))
    put = [make_delivery(event=event) for event in ("created", "bad", "later", "skip")]
    queue.put(put)
    work(queue)
    queue.put([*put, make_delivery()])
    assert queue.discard(DeliveryFilter(status=PENDING)) == 2
    assert queue.discard(DeliveryFilter()) == 3
    assert sum(queue.counts().values()) == 0
    work(queue)
    assert len(queue.perform.made) == 4


def test_what_rq_could_not_run(native, monkeypatch):
    """Is no delivery whose workers died: it is said what RQ says."""
    monkeypatch.setattr("changehook.queues.rq.jobs.PERFORM", "changehook.queues.rq.not_there")
    queue, delivery = native(), make_delivery()
    queue.put([delivery])
    work(queue)
    seen = queue.get(delivery.id)
    assert (seen.status, seen.reason) == (FAILED, "RQ could not have its job run: ValueError")
    assert seen.attempts == ()


def test_jobs_of_another_serializer(native, connection):
    """Those of an application that changed it hide nothing else."""
    queue = native()
    RQQueue(connection, "hooks", emitter="rq_host:queue", serializer=JSONSerializer).put(
        [make_delivery(), make_delivery()]
    )
    queue.put([one := make_delivery()])
    assert [each.id for each in queue.find()] == [one.id]
    assert queue.counts()[PENDING] == 1
    assert queue.close() == 1


def test_what_is_no_filter_is_refused(make):
    """And what is no number of deliveries; nothing is done to any."""
    queue = make()
    queue.put([make_delivery()])
    for call in (
        lambda: queue.find("failed"),
        lambda: queue.count(None),
        lambda: queue.retry(7),
        lambda: queue.discard(None),
    ):
        with pytest.raises(ConfigurationError, match="expected a DeliveryFilter"):
            call()
    for limit in (-1, "many"):
        with pytest.raises(ConfigurationError, match="write a number of deliveries"):
            queue.find(limit=limit)
    assert queue.counts()[PENDING] == 1


def test_progress_is_told(native):
    """Once for each page."""
    queue = native(batch=100)
    queue.put([make_delivery() for _ in range(501)])
    told = []
    assert queue.discard(DeliveryFilter(webhook="none"), on_progress=told.append) == 0
    assert told == [500]


def test_a_job_that_vanishes_meanwhile(native, monkeypatch):
    """RQ's own tools may delete it between two looks."""
    queue = native()
    queue.put([one := make_delivery()])
    job = job_of(queue, one)
    monkeypatch.setattr(queue._registries, "jobs", lambda status: [job])
    job.delete()
    assert raises(DeliveryNotFoundError, lambda: queue.retry(one.id))
    assert queue.discard(DeliveryFilter()) == 0


def test_a_batch_that_a_worker_goes_on_with_meanwhile(native, monkeypatch):
    """What came of it is not overwritten by whoever looked at it before, and nothing is sent
    again."""
    queue = native(performs := Performs(mixed))
    put = [make_delivery(event="created"), make_delivery(event="bad"), make_delivery(event="skip")]
    queue.put(put)
    before = queue._registries.carrying(put[0].id)
    with monkeypatch.context() as patch:
        patch.setattr(queue._registries, "carrying", lambda delivery_id: before)
        work(queue)
        for change in (queue.retry, queue.discard):
            with pytest.raises(QueueError, match="is being attempted just now"):
                change(put[0].id)
            assert change(DeliveryFilter(webhook=put[0].webhook)) == 0
    assert queue.counts() == {PENDING: 0, DELIVERING: 0, DELIVERED: 1, FAILED: 1, SKIPPED: 1}
    assert len(performs.made) == 3


def test_a_batch_that_is_changed_at_the_very_moment(native, monkeypatch):
    """It stays as it was changed."""
    queue = native()
    queue.put(put := [make_delivery(), make_delivery()])
    batch = queue._registries.carrying(put[0].id)
    fetched = queue._registries.fetched

    def changing(ids):
        found = list(fetched(ids))
        queue.connection.hset(batch.key, "worker_name", "another")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(queue._registries, "fetched", changing)
        assert raises(QueueError, lambda: queue.discard(put[0].id))
    work(queue)
    assert queue.counts()[DELIVERED] == 2


def test_a_job_that_was_stopped_or_cancelled(native):
    """With RQ's own tools; it counts as failed, and can be retried."""
    queue = native()
    queue.put([one := make_delivery()])
    job_of(queue, one).cancel()
    seen = queue.get(one.id)
    assert (seen.status, seen.reason) == (FAILED, "its job was canceled in RQ")
    assert queue.counts()[FAILED] == 1
    assert queue.retry(one.id) == 1
    work(queue)
    assert queue.get(one.id).status is DELIVERED
    assert queue.rq.canceled_job_registry.count == 0


def test_the_figures(make, caplog):
    """Counts, the age of the oldest, the workers."""
    queue = make()
    assert queue.stats().age_of_oldest_due is None
    queue.put([make_delivery(due_at=utcnow() - HOUR, created_at=utcnow() - HOUR)])
    assert 3600 <= queue.stats().age_of_oldest_due < 4000
    worker = queue.worker(name="w1")
    worker.register_birth()
    (seen,) = queue.stats().workers
    assert (seen.worker, seen.threads, seen.busy) == ("w1", 1, 0)
    assert seen.is_alive(utcnow())
    worker.register_death()
    assert queue.stats().workers == ()


def test_a_store_is_told_how_often_webhooks_were_asked(connection, tmp_path):
    """Whenever the queue looks after itself."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store)
    queue.attach(delivered, None, lambda: [WebhookTally(webhook="contract", matched=3)])
    queue.put([make_delivery()])
    assert store.stats(utcnow()).webhooks == (WebhookTally(webhook="contract", matched=3),)


def test_what_redis_lost_is_adopted(connection, tmp_path):
    """A store that kept what Redis did not gets jobs for it."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store, batch=2)
    queue.attach(delivered)
    rq_host.queue = queue
    put = [make_delivery() for _ in range(5)]
    queue.put(put)
    assert queue.adopt() == 0
    connection.flushall()
    store.add([make_delivery()])
    store.claim(utcnow(), limit=1, lease=lambda webhook: 0.001)
    assert queue.adopt() == 6
    assert queue.adopt() == 0
    assert until(lambda: work(queue) and queue.counts()[DELIVERED] == 6)


def test_nothing_is_adopted_without_a_store(native):
    """What has no job is not kept."""
    assert native().adopt() == 0
    native().upkeep()


@pytest.mark.parametrize("batch", [1, 10])
def test_what_was_retried_in_the_store_alone_is_adopted(connection, tmp_path, batch):
    """As by ``changehook queue retry FILE``: its job is over, or waits for a later moment."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store, batch=batch)
    queue.attach(performs := Performs(mixed))
    rq_host.queue = queue
    put = [make_delivery(event=event) for event in ("created", "bad", "later", "skip")]
    queue.put(put)
    work(queue)
    assert queue.adopt() == 0
    (waiting,) = [make_delivery(event="later", due_at=utcnow() + HOUR)]
    queue.put([waiting])
    command_line = StoredQueue(store, clock=lambda: utcnow() - MINUTE)
    assert command_line.retry(DeliveryFilter()) == 5
    performs.outcomes = [delivered]
    assert queue.adopt() == 5
    assert queue.adopt() == 0
    work(queue)
    assert queue.counts()[DELIVERED] == 5
    assert sorted(performs.ids) == sorted([*(each.id for each in put * 2), waiting.id])


def test_what_waits_to_be_run_is_not_adopted(connection, tmp_path):
    """Though it has been due for long: the workers are busy."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store)
    queue.put([make_delivery(due_at=utcnow() - HOUR) for _ in range(3)])
    assert queue.adopt() == 0
    assert len(queue.rq.job_ids) == 1


def test_upkeep_adopts_and_removes_what_is_old(connection, tmp_path):
    """Once a minute, whoever of the workers comes first."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store, batch=1)
    queue.attach(Performs(mixed))
    rq_host.queue = queue
    days = {each: utcnow() - each * 24 * HOUR for each in (6, 8, 29, 31)}
    put = {
        each: make_delivery(event="created" if each < 10 else "bad", created_at=at, due_at=at)
        for each, at in days.items()
    }
    queue.put(list(put.values()))
    work(queue)
    assert connection.delete("changehook:hooks:upkeep") == 1
    store.add([lost := make_delivery()])
    queue.upkeep()
    assert {each.id for each in queue.find()} == {put[6].id, put[29].id, lost.id}
    assert queue.rq.job_ids == [job_id_of(lost.id)]
    store.add([make_delivery()])
    queue.upkeep()
    assert len(queue.rq.job_ids) == 1
    connection.delete("changehook:hooks:upkeep")
    queue.upkeep()
    assert len(queue.rq.job_ids) == 2


def test_upkeep_that_takes_long_comes_less_often(connection, tmp_path, monkeypatch):
    """So a store with a million that wait costs a worker no more than a twentieth of its time."""
    moment = [0.0]

    class Slow(SQLiteStore):
        def purge(self, *arguments):
            moment[0] += 30
            return super().purge(*arguments)

    store = Slow(tmp_path / "hooks.db")
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store)
    queue.upkeep()
    assert 0 < connection.ttl("changehook:hooks:upkeep") <= 50
    connection.delete("changehook:hooks:upkeep")
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    queue.upkeep()
    assert 590 < connection.ttl("changehook:hooks:upkeep") <= 600


def test_finished_jobs_are_kept_as_long_as_they_say_something(connection, tmp_path):
    """A day; with a store, which keeps what they would say, as long as RQ keeps any."""
    alone = RQQueue(connection, "alone", emitter="rq_host:queue", batch=1)
    store = SQLiteStore(tmp_path / "hooks.db")
    stored = RQQueue(connection, "hooks", emitter="rq_host:queue", store=store, batch=1)
    brief = RQQueue(connection, "brief", emitter="a:b", store=store, batch=1, result_ttl=60)
    for queue, seconds in ((alone, 86400), (stored, 500), (brief, 60)):
        queue.put([delivery := make_delivery()])
        assert job_of(queue, delivery).result_ttl == seconds
        assert job_of(queue, delivery).failure_ttl == 30 * 86400


def test_where_a_delivery_travelled_is_known_as_long_as_its_job(several):
    """And not for months."""
    queue, put = several
    ttl = queue.connection.ttl
    assert 0 < ttl(f"changehook:hooks:batched:{put[0].id}") <= 86400
    queue.put(waiting := [make_delivery(), make_delivery()])
    assert 37 * 86400 - 60 < ttl(f"changehook:hooks:batched:{waiting[0].id}") <= 37 * 86400


# Health


def test_health_says_what_is_missing(make):
    """A worker, a scheduler, Redis."""
    queue = make()
    no_worker, no_scheduler = queue.health()
    assert 'no RQ worker listens to the queue "hooks"' in no_worker
    assert 'no RQ scheduler is alive for the queue "hooks"' in no_scheduler
    worker = queue.worker()
    worker.register_birth()
    assert queue.health() == [no_scheduler]
    scheduler = rq.scheduler.RQScheduler([queue.rq], connection=queue.connection)
    scheduler.acquire_locks()
    if hasattr(scheduler, "register_birth"):
        scheduler.register_birth()
    assert queue.health() == []
    worker.register_death()
    assert queue.health() == [no_worker]
    scheduler.release_locks()


def test_what_is_missing_is_logged_once(make, caplog, monkeypatch):
    """When something is put, at most once a minute, and not again while it is the same."""
    queue = make()
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    queue.put([make_delivery()])
    assert caplog.text.count("no RQ worker listens") == caplog.text.count("no RQ scheduler") == 1
    for passed in (1, 100):
        moment[0] += passed
        queue.put([make_delivery()])
    assert caplog.text.count("no RQ worker listens") == 1
    (worker := queue.worker()).register_birth()
    moment[0] += 100
    queue.put([make_delivery()])
    worker.register_death()
    moment[0] += 100
    queue.put([make_delivery()])
    assert caplog.text.count("no RQ worker listens") == 2
    assert {each.levelno for each in caplog.records if each.name.startswith("changehook")} == {
        logging.WARNING
    }


def test_what_was_put_is_put(native, monkeypatch, caplog):
    """Whatever goes wrong when the queue looks after itself."""

    def broken(**_):
        raise ValueError("a secret")

    queue = native()
    monkeypatch.setattr(rq.Worker, "all", broken)
    queue.put([make_delivery()])
    assert queue.counts()[PENDING] == 1
    assert "the queue cannot be looked after (ValueError)" in caplog.text
    assert "a secret" not in caplog.text


def test_a_server_that_is_down(make, tmp_path):
    """Each operation says so at once, and where it is, without its password."""
    with RedisServer() as gone:
        connection = redis.Redis.from_url(gone.url.replace("//", "//me:hunter2@"))
    queue = RQQueue(connection, "hooks", emitter="rq_host:queue")
    said = f"Redis at 127.0.0.1:{gone.port} does not answer (ConnectionError)"
    for call in (
        lambda: queue.put([make_delivery()]),
        queue.counts,
        queue.find,
        queue.stats,
        queue.age_of_oldest_due,
        lambda: queue.get("x"),
        lambda: queue.count(DeliveryFilter()),
        lambda: queue.retry("x"),
        lambda: queue.discard("x"),
    ):
        with pytest.raises(QueueError) as raised:
            call()
        assert str(raised.value) == said
    assert queue.health() == [said]
    assert queue.close() == 0
    assert raises(QueueClosedError, lambda: queue.retry("x"))
    connection.close()


class Patience(redis.backoff.AbstractBackoff):
    """Counts how often it was waited for; connections copy it."""

    waits: ClassVar = []

    def compute(self, failures):
        """Wait no time."""
        self.waits.append(failures)
        return 0


@pytest.mark.parametrize("kind", [redis.ConnectionPool, redis.BlockingConnectionPool, None])
def test_put_does_not_wait_for_a_server(kind):
    """Though the host's connection would try again, with pauses; with a pool of its own it may."""

    class Sentinels(redis.ConnectionPool):
        pass

    with RedisServer() as gone:
        port = gone.port
    Patience.waits.clear()
    pool = (kind or Sentinels)(port=port, retry=redis.retry.Retry(Patience(), 5))
    queue = RQQueue(redis.Redis(connection_pool=pool), emitter="rq_host:queue")
    assert raises(QueueError, lambda: queue.put([make_delivery()]))
    assert bool(Patience.waits) is (kind is None)
    Patience.waits.clear()
    assert queue.health() == [f"Redis at localhost:{port} does not answer (ConnectionError)"]
    assert Patience.waits


def test_where_redis_is():
    """A socket is a path; of servers that Sentinel knows, nobody can say which it was."""
    once = redis.retry.Retry(NoBackoff(), 0)
    unix = redis.Redis(unix_socket_path="/nowhere/redis.sock", retry=once)
    queue = RQQueue(unix, emitter="rq_host:queue")
    assert queue.health() == ["Redis at /nowhere/redis.sock does not answer (ConnectionError)"]
    sentinel = redis.sentinel.Sentinel([("127.0.0.1", 1)], sentinel_kwargs={"retry": once})
    queue = RQQueue(sentinel.master_for("mine", retry=once), emitter="rq_host:queue")
    assert queue.health() == ["Redis does not answer (MasterNotFoundError)"]


# Building one


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"connection": "redis://x"}, "connection: expected a redis.Redis, found builtins.str"),
        ({"queue": ""}, "queue: expected the name"),
        ({"queue": 7}, "queue: expected the name"),
        ({"emitter": "nothing"}, "emitter: expected MODULE:NAME"),
        ({"emitter": "__main__:emitter"}, "emitter: __main__ is each process's own"),
        ({"store": 7}, "store: expected a Store, found int"),
        ({"store": MemoryStore()}, "in the memory of a process"),
        ({"connection": redis.Redis(decode_responses=True)}, "without decode_responses"),
        ({"batch": 0}, "batch: expected a number from 1, found 0"),
        ({"threads": True}, "threads: expected a number from 1, found True"),
        ({"result_ttl": 1.5}, "result_ttl: expected a number from 1"),
        ({"failure_ttl": -1}, "failure_ttl: expected a number from 1"),
    ],
)
def test_arguments_of_the_wrong_type(changes, words):
    """Each is said."""
    arguments = {"connection": redis.Redis(), "queue": "hooks", "emitter": "a:b", **changes}
    with pytest.raises(ConfigurationError, match=words):
        RQQueue(arguments.pop("connection"), arguments.pop("queue"), **arguments)


def test_without_rq_installed(monkeypatch):
    """The error says how to install it."""
    for name in [each for each in sys.modules if each.startswith("changehook.queues.rq")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rq", None)
    with pytest.raises(ImportError, match=r'install it: pip install "changehook\[rq\]"'):
        importlib.import_module("changehook.queues.rq")


def test_the_library_does_not_need_rq():
    """Only this queue does."""
    program = "import sys, changehook.cli; print({'rq', 'redis'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_worker_that_is_needed_goes_on(native):
    """Though nothing came for a while."""
    queue = native()
    queue.put([one := make_delivery(due_at=utcnow() + HOUR)])
    worker = queue.worker()
    looks = []

    def is_needed():
        looks.append(1)
        if len(looks) == 1:
            queue.retry(one.id)
        return len(looks) < 2

    worker.is_needed = is_needed
    worker.work(max_idle_time=1, logging_level="CRITICAL")
    assert queue.get(one.id).status is DELIVERED
    assert len(looks) == 2
    assert not worker.stopped


def test_rq_itself_finds_jobs_whose_worker_died(native):
    """A worker does so when it starts, once the time of the dead one is over."""
    queue = native(performs := Performs(delivered))
    queue.put([one := make_delivery()])
    worker = queue.worker()
    worker.register_birth()
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    worker.prepare_execution(job)
    worker.prepare_job_execution(job, remove_from_intermediate_queue=True)
    assert queue.get(one.id).status is DELIVERING
    work(queue)
    assert performs.made == []
    registry = StartedJobRegistry(queue=queue.rq)
    (entry,) = queue.connection.zrange(registry.key, 0, -1)
    queue.connection.zadd(registry.key, {entry: 1})
    work(queue)
    assert queue.get(one.id).status is DELIVERED
    assert [each.error_class for each in queue.get(one.id).attempts] == ["lost", None]


def test_given_up_errors_say_which_and_why(native):
    """And nothing of the payload."""
    queue, delivery = native(failed), make_delivery()
    queue.put([delivery])
    work(queue)
    text = job_of(queue, delivery).latest_result().exc_string
    assert f"{GivenUpError.__name__}: delivery {delivery.id} to webhook contract is failed" in text
    assert "Z\\u00fcrich" not in text
    assert "Zürich" not in text


def test_what_moves_to_a_job_of_its_own_meanwhile_is_found(native, monkeypatch):
    """Between the look for its own job and that for the one of several that it was in."""
    queue = native(batch=10)
    first, second = make_delivery(), make_delivery()
    queue.put([first, second])
    book = queue._book
    job, delivery = book._got(first.id)

    def too_late(_, delivery_id):
        monkeypatch.undo()
        assert book._moved_out(job, delivery, delivery.retried(utcnow()))

    monkeypatch.setattr(Registries, "carrying", too_late)
    assert queue.get(first.id).reason == "retried by hand"
    assert queue.get(second.id) == second
