"""The worker of RQ that makes its attempts in its own process, run within this one."""

import pytest
import redis
import rq_host
from servers import RedisServer

from changehook import DeliveryStatus, QueueError, SQLiteStore
from changehook.queues.rq import RQQueue
from changehook.testing.deliveries import delivered, make_delivery

DELIVERED = DeliveryStatus.DELIVERED
TURN = "changehook:hooks:upkeep"


@pytest.fixture(scope="module")
def server():
    """Run one for this module."""
    with RedisServer() as running:
        yield running


@pytest.fixture
def connection(server):
    """Give an empty Redis."""
    with redis.Redis.from_url(server.url) as connection:
        connection.flushall()
        yield connection


@pytest.fixture(autouse=True)
def _alone():
    with rq_host.undone():
        yield
    rq_host.queue = None


@pytest.fixture
def make(connection):
    """Make a queue that performs with what it is given."""

    def make(perform=delivered, **options):
        queue = RQQueue(connection, "hooks", emitter="rq_host:queue", **options)
        queue.attach(perform)
        rq_host.queue = queue
        return queue

    return make


# Upkeep


def test_what_has_no_job_gets_one_while_a_worker_runs(make, connection, tmp_path):
    """Not only when it starts: Redis may be away, or lose what it kept, at any time."""
    store = SQLiteStore(tmp_path / "hooks.db")
    queue, one = make(store=store), make_delivery()
    worker = queue.worker(maintenance_interval=0)

    def is_needed():
        if store.get(one.id) is None:
            store.add([one])
            assert connection.delete(TURN) == 1  # a minute passes
        return queue.get(one.id).status is not DELIVERED

    worker.is_needed = is_needed
    worker.work(max_idle_time=1, logging_level="CRITICAL")
    assert queue.get(one.id).status is DELIVERED


def test_upkeep_that_fails_is_logged_once(make, caplog):
    """Until it works again; the worker goes on."""
    worker, outcomes = make().worker(), [False, False, True, False]

    def upkeep():
        if not outcomes.pop(0):
            raise QueueError("the disk is full")

    worker.upkeep = upkeep
    for expected in (1, 1, 1, 2):
        worker.run_maintenance_tasks()
        assert caplog.text.count("is tried again: the disk is full") == expected
