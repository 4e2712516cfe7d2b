"""What is kept, and what is lost, when something breaks around the queue on RQ."""

import datetime
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import rq
import rq_app
import rq_host
from rq.job import Job
from rq.scheduler import RQScheduler
from servers import RedisServer

from changehook import DeliveryStatus, Emitter, QueueError, SQLiteStore, Webhook
from changehook.models import utcnow
from changehook.queues.rq import RQQueue
from changehook.testing import FakeClock, RecordingTransport, make_delivery
from changehook.testing.deliveries import delivered, until

pytestmark = pytest.mark.usefixtures("alone")

PENDING, DELIVERING, DELIVERED, FAILED, SKIPPED = DeliveryStatus
DIES = "os._exit(0)"
IS_KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


connections = []


@pytest.fixture(autouse=True)
def _closed():
    yield
    while connections:
        connections.pop().close()


@pytest.fixture(params=["jobs", "store"])
def options(request, tmp_path):
    """What the queue is given: deliveries are kept in the jobs, or in a store."""
    return {} if request.param == "jobs" else {"store": SQLiteStore(tmp_path / "hooks.db")}


def queue_on(server, **options):
    """Return a queue, which the workers of this process find."""
    connections.append(redis.Redis.from_url(server.url))
    rq_host.queue = RQQueue(connections[-1], "hooks", emitter="rq_host:queue", **options)
    return rq_host.queue


def performing(server, **options):
    """Return a queue whose attempts succeed."""
    queue = queue_on(server, **options)
    queue.attach(delivered)
    return queue


def emitting(queue, **settings):
    """Return an emitter of a queue, with one webhook."""
    webhook = Webhook(name="hook", object_types=["*"], events=["*"], url="https://r.example/")
    return Emitter(webhooks=[webhook], queue=queue, **settings)


def work(queue):
    """Have a worker in this process do what is due."""
    queue.worker().work(burst=True, with_scheduler=True, logging_level="CRITICAL")


# The host


@pytest.mark.parametrize("end", [DIES, IS_KILLED])
@pytest.mark.parametrize("kept_in", ["jobs", "store"])
def test_the_process_that_emitted_is_gone(server, tmp_path, monkeypatch, end, kept_in):
    """However it ended, what ``emit_change`` returned for is delivered."""
    settings = {"HOOKS_REDIS": server.url, "HOOKS_URL": "http://127.0.0.1:1"}
    if kept_in == "store":
        settings["HOOKS_STORE"] = str(tmp_path / "hooks.db")
    code = f"import os, signal, rq_app; rq_app.emitter.emit_change('created', 'site', {{}}); {end}"
    environment = {**os.environ, **settings, "PYTHONPATH": str(Path(rq_app.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60)
    assert done.returncode == (0 if end == DIES else -signal.SIGKILL)
    emitter = rq_app.build(settings)
    connections.append(emitter.queue.connection)
    monkeypatch.setattr(rq_app, "emitter", emitter, raising=False)
    emitter.queue.perform = delivered
    assert emitter.queue.counts()[PENDING] == 1
    work(emitter.queue)
    assert emitter.queue.counts()[DELIVERED] == 1


# Redis


def test_a_redis_without_persistence_that_is_restarted(options):
    """It has lost the jobs; what a store has is adopted by the next worker, and delivered."""
    with RedisServer(appendonly="no") as server:
        queue = performing(server, **options)
        queue.put([make_delivery(), make_delivery()])
        server.kill()
        server.start()
        work(queue)
        assert queue.counts()[PENDING] == 0
        assert queue.counts()[DELIVERED] == (2 if options else 0)


def test_a_redis_that_is_full_refuses(server, options):
    """With ``noeviction``: at once, and what it has taken before is delivered. What the store took
    before Redis refused is delivered too, when it is put again or adopted: once."""
    queue = performing(server, **options)
    before, refused, adopted = (make_delivery() for _ in range(3))
    queue.put([before])
    queue.connection.config_set("maxmemory-policy", "noeviction")
    queue.connection.config_set("maxmemory", 1)
    for each in (refused, adopted):
        with pytest.raises(QueueError, match=r"^Redis at .* refuses \(OutOfMemoryError\)$"):
            queue.put([each])
    queue.connection.config_set("maxmemory", 0)
    queue.put([refused])
    assert queue.adopt() == (1 if options else 0)
    work(queue)
    assert queue.counts() == {
        PENDING: 0,
        DELIVERING: 0,
        DELIVERED: 3 if options else 2,
        FAILED: 0,
        SKIPPED: 0,
    }
    assert {len(each.attempts) for each in queue.find()} == {1}


def test_a_scheduler_that_died_is_replaced(server, options):
    """It holds a lock for about a minute; then the scheduler of another worker goes on."""
    queue = performing(server, **options)
    dead = RQScheduler([queue.rq], connection=queue.connection)
    assert dead.acquire_locks() == {"hooks"}
    lock = RQScheduler.get_locking_key("hooks")
    assert 0 < queue.connection.ttl(lock) <= 90
    put = make_delivery(due_at=utcnow() + datetime.timedelta(seconds=0.1))
    queue.put([put])
    (scheduled,) = queue.rq.scheduled_job_registry.get_job_ids()
    moment = queue.rq.scheduled_job_registry.get_scheduled_time(scheduled)
    assert until(lambda: utcnow() > moment)
    work(queue)
    assert queue.counts()[PENDING] == 1
    queue.connection.delete(lock)  # its time is over
    work(queue)
    assert queue.counts()[DELIVERED] == 1


# The receiver


def test_a_receiver_that_is_down_for_a_day(server, options):
    """Its deliveries wait in Redis in between, and arrive by the usual schedule."""
    clock = FakeClock(utcnow())
    queue = queue_on(server, clock=clock, **options)
    emitter = emitting(queue, clock=clock, transport=RecordingTransport(*[503] * 7, 200))
    [kept] = emitter.emit_change("created", "site", {})
    a_day_later = kept.created_at + datetime.timedelta(days=1)
    work(queue)
    while (kept := queue.get(kept.id)).status is PENDING:
        clock.advance((kept.due_at - clock()).total_seconds())
        [scheduled] = queue.rq.scheduled_job_registry.get_job_ids()
        queue.rq.scheduled_job_registry.remove(scheduled)
        queue.rq.enqueue_job(Job.fetch(scheduled, connection=queue.connection))
        work(queue)
    assert kept.status is DELIVERED
    assert kept.attempts[-1].started_at > a_day_later > kept.attempts[-2].started_at


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("forks", [False, True])
def test_a_410_is_known_where_it_was_met(server, options, forks):
    """Without a store: in that worker, and if it forks for each job, in none. With one: in all."""
    met = emitting(queue_on(server, **options), transport=RecordingTransport(410))
    met.emit_change("created", "site", {})
    if forks:
        worker = rq.Worker([met.queue.rq], connection=met.queue.connection)
        worker.work(burst=True, logging_level="CRITICAL")
    else:
        work(met.queue)
    other = emitting(queue_on(server, **options))
    assert met.queue.counts()[FAILED] == 1
    assert list(met.disabled()) == ([] if forks and not options else ["hook"])
    assert list(other.disabled()) == (["hook"] if options else [])
