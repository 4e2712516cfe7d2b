"""The operator's page over every queue that can be looked into."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import operated
import pytest
import redis
import rq_host
from celery import Celery
from servers import RedisServer

from changehook import (
    ConfigurationError,
    Delivery,
    DeliveryStatus,
    Emitter,
    InMemoryQueue,
    InspectableQueue,
    MemoryStore,
    Queue,
    RetryPolicy,
    SQLiteStore,
    ThreadPoolQueue,
    Webhook,
)
from changehook.exchange import Response
from changehook.inspection import DeliveryFilter, HourlyOutcome, QueueStats, WorkerHeartbeat
from changehook.models import utcnow
from changehook.queues.celery import CeleryQueue
from changehook.queues.rq import RQQueue
from changehook.testing import RecordingTransport, make_delivery
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
    assert "Its webhook is not defined here" in text
    assert "failing" in client.get("/").text.replace("no receiver is failing", "")
    assert client.get("/webhook?name=orders").status == "404 Not Found"


def test_conditions_that_were_changed_since_are_said_to_be():
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue())
    delivery = kept(emitter)
    changed = {**HOOK.to_dict(reveal=True), "conditions": {"attr": "id", "value": 2}}
    emitter.webhooks.replace([Webhook.from_dict(changed)])
    text = operator_of(emitter).get(f"/delivery?id={delivery.id}").text
    assert "the definition was changed since" in text
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


# What the first line says


def hours_of(*figures: tuple[int, str, int]) -> tuple[HourlyOutcome, ...]:
    """Return the figures of hours so long ago."""
    last = operated.NOW.replace(minute=0, second=0)
    return tuple(
        HourlyOutcome(
            hour=last - ago * operated.HOUR,
            webhook="orders",
            outcome=outcome,
            count=count,
            seconds=1.0,
            slowest=1.0,
        )
        for ago, outcome, count in figures
    )


def overview_of(stats: QueueStats, path: str = "/") -> str:
    """Return a page over a queue that tells these figures."""
    queue = InMemoryQueue()
    queue.stats = lambda: stats
    app = inspection_app(
        Emitter(webhooks=[HOOK], queue=queue),
        authorize=lambda _: "view",
        clock=lambda: operated.NOW,
    )
    return operated.Client(app).get(path).text


COUNTS = dict.fromkeys(DeliveryStatus, 0)
WORKER = WorkerHeartbeat(
    worker="w",
    host="h",
    pid=1,
    threads=8,
    busy=0,
    started_at=operated.NOW,
    seen_at=operated.NOW,
)


@pytest.mark.parametrize(
    ("answers", "since"),
    [
        ([], None),
        ([200, 200], None),
        ([200, 500], 1),
        ([500, 500, 500], 0),
        ([200, 500, 500], 1),
        ([500, 500, 200], None),
    ],
)
def test_a_receiver_is_failing_since_nothing_arrived_any_more(tmp_path, answers, since):
    """However much arrived before: one line says who fails, and since when."""
    clock = operated.Clock(operated.NOW - operated.HOUR)
    with contextlib.closing(SQLiteStore(tmp_path / "w.db", synchronous="NORMAL")) as store:
        emitter = Emitter(
            webhooks=[HOOK],
            queue=operated.StoreBackedQueue(store, clock),
            transport=RecordingTransport(*[200] * 60, *answers),
            retry=RetryPolicy(schedule=(0, 36_000)),
            clock=clock,
        )
        for _ in range(60):
            kept(emitter)
        emitter.queue.run()
        for minute in range(len(answers)):
            clock.now = operated.NOW - (9 - minute) * operated.HOUR / 60
            kept(emitter)
            emitter.queue.run()
        app = inspection_app(emitter, authorize=lambda _: "view", clock=lambda: operated.NOW)
        texts = [operated.Client(app).get(each).text for each in ("/", "/webhook?name=orders")]
    assert ("no receiver is failing" in texts[0]) == (since is None)
    assert all(
        ("failing" in text.replace("no receiver is failing", "")) != (since is None)
        for text in texts
    )
    if since is not None:
        began = operated.NOW - (9 - since) * operated.HOUR / 60
        assert all(f'since <time datetime="{began.isoformat()}"' in text for text in texts)


def test_a_webhook_that_is_off_is_not_failing():
    """Whatever its last attempt met, none is made any more."""
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue(), transport=RecordingTransport(500))
    kept(emitter)
    emitter.queue.run()
    assert "failing: <a" in operator_of(emitter).get("/").text
    emitter.webhooks.replace([attrs.evolve(HOOK, enabled=False)])
    assert "no receiver is failing" in operator_of(emitter).get("/").text


def test_the_last_failure_is_the_last_attempt_that_failed():
    """And not the failure of the newest delivery."""
    clock = operated.Clock(operated.NOW)
    emitter = Emitter(
        webhooks=[HOOK],
        queue=InMemoryQueue(clock=clock),
        transport=RecordingTransport(500, 501, 502),
        retry=RetryPolicy(schedule=(0, 60, 36_000), jitter=0),
        clock=clock,
    )
    first = kept(emitter)
    emitter.queue.run()
    clock.now += operated.HOUR / 120
    kept(emitter)
    emitter.queue.run()
    clock.now += operated.HOUR / 120
    emitter.queue.run()
    text = operator_of(emitter).get("/").text
    assert f'href="delivery?id={first.id}" class="reason">the receiver answered 502' in text


@pytest.mark.parametrize(
    ("pending", "late", "workers", "said"),
    [
        (0, None, (), "Working"),
        (3, None, (WORKER,), "Working"),
        (3, 61.0, (WORKER,), "Needs a look"),
        (3, None, (), "Needs a look"),
        (3, 61.0, (), "Not working"),
    ],
)
def test_the_first_line_says_how_bad_it_is(pending, late, workers, said):
    """What waits without a worker is never fine, and what is late without one is not working."""
    counts = {**COUNTS, DeliveryStatus.PENDING: pending}
    stats = QueueStats(counts=counts, age_of_oldest_due=late, workers=workers)
    assert f"<strong>{said}</strong>" in overview_of(stats)


def test_a_webhook_that_is_disabled_needs_a_look():
    """What it would get is skipped, so this is not fine."""
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue())
    emitter.disable("orders", "its receiver is gone")
    text = operator_of(emitter).get("/").text
    assert 'disabled: <a href="webhook?name=orders">orders</a>' in text
    assert "Needs a look" in text


def test_a_failure_that_healed_leads_to_its_hour():
    """As no delivery has an error any more."""
    stats = QueueStats(counts=COUNTS, hours=hours_of((1, "retried", 1)))
    text = overview_of(stats)
    assert "until=2026-03-10T15%3A00" in overview_of(stats, "/webhooks")
    assert "deliveries?webhook=orders&amp;since=2026-03-10T14%3A00" in text
    assert "until=2026-03-10T15%3A00" in text


def test_what_failed_last_is_found_behind_many_others(tmp_path):
    """By the indices of a file, also where another webhook has failed a hundred times since."""
    hooks = [HOOK, attrs.evolve(HOOK, name="quiet", object_types={"item"})]
    with contextlib.closing(SQLiteStore(tmp_path / "w.db", synchronous="NORMAL")) as store:
        queue = operated.StoreBackedQueue(store, utcnow)
        emitter = Emitter(webhooks=hooks, queue=queue, transport=RecordingTransport(*[500] * 200))
        (first,) = emitter.emit_change("created", "item", {})
        for _ in range(120):
            kept(emitter)
        queue.run()
        text = operator_of(emitter).get("/").text
    assert f'href="delivery?id={first.id}"' in text


def test_health_that_fails_leaves_the_overview_to_be_seen():
    """It is a part of the host, beside what is shown."""
    queue = InMemoryQueue()
    queue.health = lambda: 1 / 0
    text = operator_of(Emitter(webhooks=[HOOK], queue=queue)).get("/").text
    assert "told by the queue: ZeroDivisionError" in text
    assert "Needs a look" in text


# Trying out


def test_a_past_change_is_sent_with_what_was_added_to_it():
    """Providers are not asked again, so that what is sent is what the dry run showed."""
    said = iter(["old", "new"])
    providers = [lambda _: {"said": next(said)}]
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue(), context_providers=providers)
    client, delivery = operator_of(emitter), kept(emitter)
    fields = {"name": "orders", "delivery": delivery.id, "change": ""}
    text = client.submit("/try", {**fields, "action": "try"}).text
    assert "&#34;said&#34;:&#34;old&#34;" in text
    client.submit("/try", {**fields, "action": "send"})
    assert [each.payload for each in emitter.queue.find()] == [delivery.payload] * 2


def test_a_test_that_would_be_skipped_is_not_offered():
    """The page says what to do first."""
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue())
    client = operator_of(emitter)
    assert "Test send" in client.get("/webhook?name=orders").text
    emitter.disable("orders")
    text = client.get("/webhook?name=orders").text
    assert "Test send" not in text
    assert "enable it first" in text


def test_a_disabled_webhook_that_is_not_defined_can_be_enabled():
    """Such as in changehook ui without definitions."""
    emitter = Emitter(queue=InMemoryQueue())
    emitter.disable("elsewhere", "its receiver is gone")
    client = operator_of(emitter)
    assert 'href="webhook?name=elsewhere"' in client.get("/").text
    assert "its receiver is gone" in client.get("/webhook?name=elsewhere").text
    reply = client.submit("/webhook", {"name": "elsewhere", "action": "enable"})
    assert client.get(f"/{reply.header('Location')}").status == "200 OK"
    assert emitter.disabled() == {}
    assert client.submit("/webhook", {"name": "none", "action": "disable"}).status[:3] == "404"


def test_a_large_change_is_not_judged_again():
    """That could take minutes; the page says so, also in a dry run."""
    document = {**HOOK.to_dict(reveal=True), "conditions": {"attr": "id", "value": 1}}
    webhook = Webhook.from_dict(document)
    emitter = Emitter(webhooks=[webhook], queue=InMemoryQueue())
    (delivery,) = emitter.emit_change("created", "order", {"id": 1, "note": "x" * 300_000})
    client = operator_of(emitter)
    assert "not judged here" in client.get(f"/delivery?id={delivery.id}").text
    trial = {"name": "orders", "delivery": delivery.id, "action": "try"}
    text = client.submit("/try", trial).text
    assert "Not judged: a past change" in text
    assert "It does not fire" not in text


def test_a_payload_that_is_no_change_is_not_judged():
    document = {**HOOK.to_dict(reveal=True), "conditions": {"attr": "id", "value": 1}}
    queue = InMemoryQueue()
    emitter = Emitter(webhooks=[Webhook.from_dict(document)], queue=queue)
    queue.put([make_delivery(id="msg_1", webhook="orders", payload='{"a": 1}')])
    text = operator_of(emitter).get("/delivery?id=msg_1").text
    assert "The payload is no change that can be judged" in text


def test_the_way_back_from_a_bulk_action_keeps_the_filter():
    """As it was typed, and not as it stood still for the action."""
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue())
    client = operator_of(emitter)
    kept(emitter)
    asked = client.get("/bulk?action=retry&since=24h&webhook=orders").text
    assert 'href="deliveries?webhook=orders&amp;since=24h"' in asked
    pairs = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked)
    done = client.submit("/bulk", {name: value for name, value in pairs if name != "csrf"}).text
    assert 'href="deliveries?webhook=orders&amp;since=24h"' in done


def test_a_text_that_was_pasted_is_meant_though_the_choice_was_left():
    """Without a script nothing else would say so; and a choice that is made counts."""
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue())
    client, first, second = operator_of(emitter), kept(emitter), kept(emitter)
    page = client.get("/webhook?name=orders").text
    was = dict(re.findall(r'name="(was_\w+)" value="([^"]*)"', page))
    assert was["was_delivery"] == second.id
    change = '{"event": "created", "model": "order", "data": {"name": "mine"}}'
    left = {"name": "orders", "action": "try", **was, "delivery": second.id, "change": change}
    assert "the pasted change, created order mine" in client.submit("/try", left).text
    chosen = {**left, "delivery": first.id}
    assert "a past change, created order 1" in client.submit("/try", chosen).text
    assert client.submit("/try", {**left, "action": "send"}).status == "303 See Other"
    assert '"mine"' in emitter.queue.deliveries[-1].payload


def test_why_another_webhook_did_not_fire_is_a_link_away():
    """With the change that did not fire it, whatever webhook it fired."""
    other = attrs.evolve(HOOK, name="chat", conditions={"attr": "id", "value": 2})
    emitter = Emitter(webhooks=[HOOK, other], queue=InMemoryQueue())
    client, delivery = operator_of(emitter), kept(emitter)
    assert (
        f"webhook?name=chat&amp;delivery={delivery.id}"
        in client.get(f"/delivery?id={delivery.id}").text
    )
    page = client.get(f"/webhook?name=chat&delivery={delivery.id}").text
    assert f'<option value="{delivery.id}" selected>created order 1' in page
    trial = {"name": "chat", "delivery": delivery.id, "action": "try"}
    assert "It does not fire" in client.submit("/try", trial).text


def test_objects_are_told_apart():
    """By what their data calls them, in the list and on top of the page."""
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue())
    client = operator_of(emitter)
    for data in ({"id": 7, "name": "edge-7"}, {"display": "Édge 8", "name": "x"}, {"a": 1}):
        emitter.emit_change("created", "order", data)
    text = client.get("/deliveries").text
    assert "<b>edge-7</b>" in text
    assert "<b>Édge 8</b>" in text
    delivery = emitter.queue.find(DeliveryFilter(text="edge-7"))[0]
    assert "<h1>created order edge-7</h1>" in client.get(f"/delivery?id={delivery.id}").text


def test_what_cannot_be_looked_for_stays_in_the_form():
    """And is said to be wrong, with the list's other fields."""
    client = operator_of(Emitter(webhooks=[HOOK], queue=InMemoryQueue()))
    reply = client.get("/deliveries?since=19%3A06&webhook=orders")
    assert reply.status == "400 Bad Request"
    assert 'value="19:06"' in reply.text
    assert 'value="orders"' in reply.text
    assert "such as 24h, or ISO 8601" in reply.text


def test_what_is_due_at_a_failing_receiver_is_not_blamed_on_workers():
    """It may be given rests, and waits for its turn."""
    emitter = Emitter(webhooks=[HOOK], queue=InMemoryQueue(), transport=RecordingTransport(500))
    kept(emitter)
    emitter.queue.run()
    waiting = kept(emitter)
    text = operator_of(emitter).get(f"/delivery?id={waiting.id}").text
    assert "may be given rests" in text
