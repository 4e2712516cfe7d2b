"""What the tests of queues share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
import rq_host
from servers import RedisServer

from changehook import Store, ThreadPoolQueue
from changehook.interfaces import Perform
from changehook.queues.rq import RQQueue
from changehook.testing.deliveries import delivered


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


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    """Run a server for a module."""
    with RedisServer() as running:
        yield running


@pytest.fixture
def server(shared_server: RedisServer) -> Iterator[RedisServer]:
    """Give it, empty and with room."""
    with redis.Redis.from_url(shared_server.url) as connection:
        connection.flushall()
        yield shared_server
        connection.config_set("maxmemory", 0)


@pytest.fixture
def connection(server: RedisServer) -> Iterator[redis.Redis]:
    """Give a connection to an empty server."""
    with redis.Redis.from_url(server.url) as connection:
        yield connection


@pytest.fixture
def native(connection: redis.Redis) -> Callable[..., RQQueue]:
    """Make a queue on RQ that performs with what it is given; its deliveries are in jobs."""

    def native(perform: Perform = delivered, **options: object) -> RQQueue:
        queue = RQQueue(connection, "hooks", emitter="rq_host:queue", **options)
        queue.attach(perform)
        rq_host.queue = queue
        return queue

    return native


@pytest.fixture
def alone() -> Iterator[None]:
    """Leave nothing behind of workers of RQ that run in this process."""
    with rq_host.undone():
        yield
    rq_host.queue = None
