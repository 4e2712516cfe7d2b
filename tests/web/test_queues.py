"""The operator's page over every queue that can be looked into."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import operated
import pytest
import redis
import rq_host
from celery import Celery
from servers import RedisServer

from changehook import (
    ConfigurationError,
    Delivery,
    Emitter,
    InMemoryQueue,
    InspectableQueue,
    MemoryStore,
    Queue,
    SQLiteStore,
    ThreadPoolQueue,
    Webhook,
)
from changehook.exchange import Response
from changehook.inspection import DeliveryFilter
from changehook.queues.celery import CeleryQueue
from changehook.queues.rq import RQQueue
from changehook.testing import RecordingTransport
from changehook.testing.deliveries import until
from changehook.web import inspection_app

PAGES = ["/", "/deliveries", "/deliveries?status=with-error&since=24h", "/webhooks"]
HOOK = Webhook(
    name="orders", object_types=["order"], events=["created"], url="https://orders.example/"
)


class Plain(InspectableQueue):
    """A queue of a host's own, with nothing but what is demanded."""

    def __init__(self) -> None:
        self.inner = InMemoryQueue()

    def put(self, deliveries):
        """Take deliveries."""
        self.inner.put(deliveries)

    def counts(self):
        """Count."""
        return self.inner.counts()

    def find(self, where=None, *, limit=100, after=None):
        """Find."""
        return self.inner.find(where, limit=limit, after=after)

    def get(self, delivery_id):
        """Get."""
        return self.inner.get(delivery_id)

    def retry(self, which, *, rerender=False, on_progress=None):
        """Retry."""
        return self.inner.retry(which, rerender=rerender, on_progress=on_progress)

    def discard(self, which, *, on_progress=None):
        """Discard."""
        return self.inner.discard(which, on_progress=on_progress)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Run a server of Redis."""
    with RedisServer() as running:
        yield running


@pytest.fixture(params=["plain", "memory", "threads", "file", "rq", "rq-store", "celery"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InspectableQueue]:
    """Give a queue of each kind; those with workers of their own have none running."""
    kind: str = request.param
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(SQLiteStore(tmp_path / "w.db")))
        if kind.startswith("rq"):
            url = request.getfixturevalue("server").url
            connection = stack.enter_context(redis.Redis.from_url(url))
            connection.flushall()
            where: dict[str, Any] = {"emitter": "rq_host:queue", "batch": 1}
            kept = store if kind == "rq-store" else None
            rq_host.queue = RQQueue(connection, "hooks", store=kept, **where)
            yield rq_host.queue
        elif kind == "celery":
            app = Celery("tests", broker="memory://", set_as_current=False)
            yield CeleryQueue(app, store=store)
        else:
            yield {
                "plain": Plain,
                "memory": InMemoryQueue,
                "threads": lambda: ThreadPoolQueue(MemoryStore()),
                "file": lambda: ThreadPoolQueue(store),
            }[kind]()


def operator_of(emitter: Emitter) -> operated.Client:
    """Return a client that may operate."""
    return operated.Client(inspection_app(emitter, authorize=lambda _: "operate"))


def kept(emitter: Emitter) -> Delivery:
    """Return a delivery that was put and that no worker takes."""
    change: dict[str, Any] = {"id": 1, "note": "a note"}
    (delivery,) = emitter.emit_change("created", "order", change, postchange=change)
    return delivery


def rests(queue: InspectableQueue) -> None:
    """Wait until threads have done all that is due; the other queues do nothing by themselves."""
    if isinstance(queue, ThreadPoolQueue):
        done = ("delivered", "failed")
        assert until(lambda: {each.status for each in queue.find()} <= set(done))


def test_each_page_shows_what_is_kept(queue):
    """Also where a queue knows no more than it must."""
    with Emitter(webhooks=[HOOK], queue=queue, transport=RecordingTransport(500)) as emitter:
        client, delivery = operator_of(emitter), kept(emitter)
        for path in [*PAGES, f"/delivery?id={delivery.id}", "/webhook?name=orders"]:
            reply = client.get(path)
            assert reply.status == "200 OK", path
        assert delivery.id in client.get("/deliveries").text
        assert "a note" in client.get(f"/delivery?id={delivery.id}").text


def test_each_action_works(queue):
    """One retry, all retries, a test, and a discard of all."""
    with Emitter(webhooks=[HOOK], queue=queue, transport=RecordingTransport()) as emitter:
        client, delivery = operator_of(emitter), kept(emitter)
        rests(queue)
        reply = client.submit("/delivery", {"id": delivery.id, "action": "retry"})
        assert reply.header("Location") == f"delivery?id={delivery.id}&done=retry"
        assert emitter.queue.get(delivery.id).revision > 0
        change = '{"event": "created", "model": "order", "data": {}}'
        tried = {"name": "orders", "change": change, "action": "send"}
        assert client.submit("/try", tried).status == "303 See Other"
        rests(queue)
        assert len(emitter.queue.find()) == 2
        assert "Retry 2 deliveries?" in client.get("/bulk?action=retry").text
        assert "2 were retried." in client.submit("/bulk", {"action": "retry"}).text
        rests(queue)
        assert "2 were discarded." in client.submit("/bulk", {"action": "discard"}).text
        assert emitter.queue.find() == []


def test_a_bulk_action_goes_on_where_it_was(tmp_path, monkeypatch):
    """Each request does what it has time for and says where it ended; each delivery is met once,
    also those that were made at one moment."""
    monkeypatch.setattr("changehook.web.bulk.SLICE", 3)
    monkeypatch.setattr("changehook.web.bulk.QUICK", 0.0)
    monkeypatch.setattr("changehook.web.bulk.PATIENT", 0.0)
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue())
    queue, client = emitter.queue, operator_of(emitter)
    ids = [kept(emitter).id for _ in range(10)]
    fields = {"action": "retry", "total": "10"}
    for _ in range(50):
        reply = client.submit("/bulk", fields)
        if 'role="status"' in reply.text:
            break
        pairs = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', reply.text)
        if int(dict(pairs)["seen"]) == 6:
            kept(emitter)  # newer than all that was looked at
        fields = {name: value for name, value in pairs if name != "csrf"}
        if not fields.get("after"):
            pytest.fail("nothing was done")
    assert "10 were retried." in reply.text
    assert [queue.get(each).revision for each in ids] == [1] * 10


def test_a_queue_that_cannot_be_looked_into_is_refused():
    """The error names what can."""

    class Blind(Queue):
        def put(self, deliveries):
            """Take deliveries."""

    with pytest.raises(ConfigurationError, match="Blind, cannot be looked into; ThreadPoolQueue"):
        inspection_app(Emitter(queue=Blind()), authorize=lambda _: "view")


def test_a_store_that_fails_is_said_to(tmp_path):
    """The page says what is wrong in the words of the store, and works again when that does."""
    store = SQLiteStore(tmp_path / "w.db", timeout=0.1)
    emitter = Emitter(webhooks=[HOOK], queue=ThreadPoolQueue(store))
    client = operator_of(emitter)
    with contextlib.closing(sqlite3.connect(tmp_path / "w.db", isolation_level=None)) as other:
        client.get("/")
        other.execute("ALTER TABLE deliveries RENAME TO elsewhere")
        reply = client.get("/deliveries")
        assert reply.status == "503 Service Unavailable"
        assert "Service Unavailable" in reply.text
        other.execute("ALTER TABLE elsewhere RENAME TO deliveries")
    assert client.get("/deliveries").status == "200 OK"
    store.close()


def test_a_redis_that_is_away_is_said_to_be():
    """Without the password that leads there."""
    with RedisServer() as server, redis.Redis.from_url(server.url) as connection:
        rq_host.queue = RQQueue(connection, "hooks", emitter="rq_host:queue")
        client = operator_of(Emitter(webhooks=[HOOK], queue=rq_host.queue))
        assert 'class="notice warn"' in client.get("/").text
        server.kill()
        reply = client.get("/")
    assert reply.status == "503 Service Unavailable"
    assert "Connection" in reply.text or "refused" in reply.text


def test_what_a_fallback_holds_is_shown(tmp_path):
    """And that the queue would not take it."""
    broken = InMemoryQueue(capacity=1)
    with contextlib.closing(SQLiteStore(tmp_path / "f.db")) as store:
        emitter = Emitter(webhooks=[HOOK], queue=broken, fallback=store)
        with emitter:
            for _ in range(3):
                kept(emitter)
            text = operator_of(emitter).get("/").text
    assert "the queue would not take 2 deliveries; the fallback keeps them" in text


def test_a_delivery_that_is_being_attempted_is_left_alone():
    """And the page says so."""
    queue = InMemoryQueue()
    emitter = Emitter(webhooks=[HOOK], queue=queue)
    client, delivery = operator_of(emitter), kept(emitter)
    [claimed] = queue.store.claim(queue.clock())
    reply = client.submit("/delivery", {"id": delivery.id, "action": "retry"})
    assert reply.status == "409 Conflict"
    assert "is being attempted just now" in reply.text
    assert "Attempt 1 is being made" in client.get(f"/delivery?id={delivery.id}").text
    queue.store.save(claimed.released())


def test_a_disabled_webhook_says_why_and_what_to_do():
    """On its page and on those of its deliveries."""
    transport = RecordingTransport(Response(status=410))
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue(), transport=transport)
    client, first, second = operator_of(emitter), kept(emitter), kept(emitter)
    emitter.queue.run()
    assert "it is gone for good" in client.get("/webhook?name=orders").text
    emitter.queue.run()
    texts = [client.get(f"/delivery?id={each.id}").text for each in (first, second)]
    assert all("Enable it" in text for text in texts)
    where = DeliveryFilter(status="skipped")
    assert emitter.queue.count(where) + len(emitter.queue.find(DeliveryFilter(status="failed"))) > 0


def test_a_webhook_that_is_gone_leaves_its_deliveries():
    """They can be looked at, and say that it is gone."""
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue(), transport=RecordingTransport(500))
    delivery = kept(emitter)
    emitter.queue.run()
    emitter.webhooks.remove("orders")
    client = operator_of(emitter)
    text = client.get(f"/delivery?id={delivery.id}").text
    assert "Its webhook is not defined any more" in text
    assert "gone" in client.get("/").text
    assert client.get("/webhook?name=orders").status == "404 Not Found"


def test_conditions_that_were_changed_since_are_said_to_be():
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue())
    delivery = kept(emitter)
    changed = {**HOOK.to_dict(reveal=True), "conditions": {"attr": "id", "value": 2}}
    emitter.webhooks.replace([Webhook.from_dict(changed)])
    text = operator_of(emitter).get(f"/delivery?id={delivery.id}").text
    assert "The definition was changed since" in text
    assert "not matched" in text


def test_callables_that_are_no_authorize_are_refused():
    """Without one, nobody is let in, and nothing starts."""
    emitter = Emitter(queue=InMemoryQueue())
    with pytest.raises(TypeError, match="authorize"):
        inspection_app(emitter)
    for wrong in (None, "operate", True):
        with pytest.raises(ConfigurationError, match="without one everybody could read"):
            inspection_app(emitter, authorize=wrong)
    with pytest.raises(ConfigurationError, match="expected an Emitter, found str"):
        inspection_app("emitter", authorize=Callable)
