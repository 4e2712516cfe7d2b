"""The worker of RQ that makes its attempts in its own process, run within this one."""

import gc
import logging
import multiprocessing
import os
import signal
import socket
import weakref

import pytest
import redis
import rq_host
from rq.exceptions import StopRequested
from rq.scheduler import RQScheduler
from rq.worker import WorkerStatus
from servers import RedisServer

from changehook import ConfigurationError, DeliveryStatus, QueueError, SQLiteStore
from changehook.queues.rq import RQQueue
from changehook.queues.rq.jobs import job_id_of
from changehook.queues.rq.worker import Scheduler
from changehook.testing.deliveries import failed, make_delivery

pytestmark = pytest.mark.usefixtures("alone")

DELIVERED = DeliveryStatus.DELIVERED
TURN = "changehook:hooks:upkeep"


# Upkeep


def test_what_has_no_job_gets_one_while_a_worker_runs(native, connection, tmp_path):
    """Not only when it starts: Redis may be away, or lose what it kept, at any time."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue, one = native(store=store), make_delivery()
    worker = queue.worker(maintenance_interval=0)

    def is_needed():
        if store.get(one.id) is None:
            store.add([one])
            assert connection.delete(TURN) == 1  # a minute passes
        return queue.get(one.id).status is not DELIVERED

    worker.is_needed = is_needed
    worker.work(max_idle_time=1, logging_level="CRITICAL")
    assert queue.get(one.id).status is DELIVERED
    assert worker.is_done


def test_upkeep_that_fails_is_logged_once(native, caplog):
    """Until it works again; the worker goes on."""
    worker, outcomes = native().worker(), [False, False, True, False]

    def upkeep():
        if not outcomes.pop(0):
            raise QueueError("the disk is full")

    worker.upkeep = upkeep
    for expected in (1, 1, 1, 2):
        worker.run_maintenance_tasks()
        assert caplog.text.count("is tried again: the disk is full") == expected


# What it logs


@pytest.fixture
def run(caplog):
    """Have a worker do what is due; return what RQ's worker logs at WARNING and above."""

    def run(queue):
        caplog.clear()
        worker = queue.worker()
        worker.handled = []
        worker.push_exc_handler(lambda job, *exc_info: worker.handled.append(job.id))
        worker.work(burst=True, logging_level="WARNING")
        records = [each for each in caplog.records if each.name == "rq.worker"]
        return worker, records

    return run


def test_one_that_was_given_up_is_one_line(native, run):
    """Without its payload, which RQ adds to the record; exception handlers are called."""
    queue, one = native(failed), make_delivery()
    queue.put([one])
    worker, (record,) = run(queue)
    said = record.getMessage()
    assert said.startswith(f"job {job_id_of(one.id)}: delivery {one.id} to webhook contract is fai")
    assert "\n" not in said
    assert record.levelno == logging.WARNING
    assert one.payload not in str(vars(record))
    assert worker.handled == [job_id_of(one.id)]


def test_one_that_cannot_be_attempted_is_one_line(native, run):
    """It is an error."""
    queue, one = native(), make_delivery()
    RQQueue(queue.connection, "hooks", emitter="rq_host:SIGNALS").put([one])
    worker, (record,) = run(queue)
    why = "emitter: the queue of rq_host:SIGNALS is no RQQueue, but a tuple"
    said = f"job {job_id_of(one.id)}: {why}"
    assert (record.getMessage(), record.levelno) == (said, logging.ERROR)
    assert one.payload not in str(vars(record))
    assert worker.handled


def test_a_worker_whose_jobs_would_not_find_their_emitter(native):
    """It is said before it starts."""
    queue = native()
    rq_host.queue = 7
    with pytest.raises(ConfigurationError, match="rq_host:queue is no RQQueue, but a int"):
        queue.worker()


def test_a_worker_that_redis_forgot_makes_itself_known(native):
    """As after a restart of one without persistence."""
    queue = native()
    worker = queue.worker()
    worker.register_birth()
    queue.connection.flushall()
    assert queue.stats().workers == ()
    worker.heartbeat()
    worker.run_maintenance_tasks()
    (seen,) = queue.stats().workers
    assert seen.worker == worker.name
    assert seen.started_at == seen.seen_at


def test_its_scheduler_is_not_waited_for_during_an_attempt(native):
    """The signal that stops both comes in the middle of it."""
    worker = native().worker()
    stopped = []
    worker.scheduler = Scheduler(worker.queues, worker.connection)
    worker.scheduler._process = multiprocessing.get_context("fork").Process(target=int)
    worker.scheduler._process.join = lambda: stopped.append(1)
    worker.scheduler._process.start()
    worker.check_for_suspension(burst=True)
    worker.stop_scheduler()
    assert stopped == []
    worker.teardown()
    assert stopped == [1]
    del worker.scheduler._process.join
    worker.scheduler._process.join()


def test_an_accident_has_its_traceback(native, run, monkeypatch):
    """And still no payload."""
    queue, one = native(), make_delivery()
    queue.put([one])
    monkeypatch.setattr(queue, "work_on", lambda job: 1 / 0)
    _, records = run(queue)
    assert {each.levelno for each in records} == {logging.ERROR}
    assert "ZeroDivisionError" in records[0].getMessage()
    assert "Traceback" in records[0].getMessage()
    assert one.payload not in "".join(str(vars(each)) for each in records)


def test_jobs_of_others_are_logged_as_rq_does(native, run):
    """In a queue that is shared."""
    queue = native()
    job = queue.rq.enqueue("rq_host.unrelated", 7)  # takes no argument
    worker, (record,) = run(queue)
    assert "TypeError" in record.getMessage()
    assert record.arguments == (7,)
    assert worker.handled == [job.id]


# Signals


def test_a_signal_before_and_after_it_works(native):
    """Is kept in mind, and breaks nothing off."""
    worker = native().worker()
    worker.request_stop(signal.SIGTERM, None)
    assert worker.work(logging_level="CRITICAL") is False
    assert worker.stopped
    assert not worker.is_done


def test_the_first_signal(native):
    """Is told, and ends the wait for a job."""
    worker, told = native().worker(), []
    worker.on_stop = lambda: told.append(1)
    worker.check_for_suspension(burst=False)
    with pytest.raises(StopRequested):
        worker.request_stop(signal.SIGTERM, None)
    assert worker.stopped
    assert told == [1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["request_stop", "request_force_stop"])
def test_the_second_signal(native, monkeypatch, number, name):
    """Ends the process at once, as a process that is killed."""

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    worker = native().worker()
    worker.request_stop(number, None)
    with pytest.raises(SystemExit) as ended:
        getattr(worker, name)(number, None)
    assert ended.value.code == 128 + number


def test_a_signal_while_redis_is_away(native, monkeypatch):
    """Does not break off the job that runs."""
    worker = native().worker()
    worker.check_for_suspension(burst=False)
    worker.set_state(WorkerStatus.BUSY)

    def fails():
        raise redis.ConnectionError

    monkeypatch.setattr(worker, "set_shutdown_requested_date", fails)
    worker.request_stop(signal.SIGTERM, None)
    assert worker.stopped


def test_redis_is_away(native):
    """Which is a QueueError, whether a worker is made or begins to work."""
    with RedisServer() as own, redis.Redis.from_url(own.url) as connection:
        rq_host.queue = queue = RQQueue(connection, emitter="rq_host:queue")
        worker = queue.worker()
        own.kill()
        for call in (queue.worker, worker.work):
            with pytest.raises(QueueError, match="does not answer"):
                call()


# The scheduler


class Dead:
    """The process of a worker that was killed."""

    def is_alive(self):
        """Return that it is not."""
        return False


@pytest.fixture
def scheduler(native, server):
    """A scheduler that has the lock, with a connection that is not that of the test."""
    with redis.Redis.from_url(server.url) as own:
        scheduler = Scheduler([native().rq], connection=own, interval=0)
    assert scheduler.acquire_locks() == {"hooks"}
    scheduler.heartbeat()
    yield scheduler
    scheduler.connection.connection_pool.disconnect()


def test_a_worker_starts_its_own_scheduler(native, scheduler):
    """Unless one of another worker is alive."""
    queue = native()
    worker = queue.worker()
    queue.put([make_delivery()])
    assert worker.work(max_jobs=1, with_scheduler=True, logging_level="CRITICAL")
    assert isinstance(worker.scheduler, Scheduler)
    assert worker.scheduler.acquired_locks == set()
    worker.scheduler.connection.connection_pool.disconnect()


def test_a_scheduler_ends_after_its_worker(scheduler, connection, monkeypatch):
    """And makes room for another."""
    monkeypatch.setattr(multiprocessing, "parent_process", Dead)
    scheduler.work()
    assert connection.get(scheduler.get_locking_key("hooks")) is None


def test_a_scheduler_closes_what_it_inherits_in_silence(scheduler, monkeypatch):
    """The connections of its worker, for which Python may warn of unclosed sockets."""
    monkeypatch.setattr(multiprocessing, "parent_process", Dead)
    gc.disable()
    try:
        inherited: list[object] = [socket.socket()]
        inherited.append(inherited)
        left = weakref.ref(inherited[0])
        del inherited
        scheduler.work()
        assert left() is None  # a warning of it would have been an error
    finally:
        gc.enable()


def test_a_signal_waits_while_a_scheduler_is_forked(scheduler, monkeypatch):
    """It would be lost if it came before the new process can hear."""

    def blocked():
        return signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}

    monkeypatch.setattr(RQScheduler, "start", lambda self: blocked())
    assert len(scheduler.start()) == 2
    assert not blocked()


def test_a_scheduler_is_told_to_stop_as_it_starts(native, scheduler, connection):
    """When it still has the handlers of the worker that forked it."""
    worker = native().worker()
    worker.scheduler, worker.pid = scheduler, 0
    worker.request_stop(signal.SIGTERM, None)
    scheduler.work()
    assert connection.get(scheduler.get_locking_key("hooks")) is None
    assert not worker.stopped


# The jobs of others


def test_how_long_a_job_of_others_may_be_silent(native):
    """Is for RQ to say: one without a timeout would be run a second time beside the first."""
    queue = native()
    job = queue.rq.enqueue("rq_host.unrelated", job_timeout=-1)
    assert queue.worker().get_heartbeat_ttl(job) > 400
