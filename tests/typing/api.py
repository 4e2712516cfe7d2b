"""The public API as a host uses it: checked by mypy, never run."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import changehook
from changehook import (
    Change,
    Conditions,
    Delivery,
    DeliveryFilter,
    DeliveryStatus,
    Emitter,
    FileSource,
    InMemoryQueue,
    MemoryStore,
    NetworkPolicy,
    Queue,
    RetryPolicy,
    Secret,
    ThreadPoolQueue,
    Webhook,
    WebhookRegistry,
)
from changehook.testing import FakeClock, InspectableQueueContract, RecordingTransport
from changehook.web import Right, inspection_app

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

webhook = Webhook(
    name="slack",
    object_types={"ipaddress"},
    events=["created", "job.*"],
    url="https://hooks.example/services/T0/B0/x",
    additional_headers={"X-Model": "{{ model }}"},
    conditions={"and": [{"attr": "status.value", "value": "active"}]},
    secret=["env:NEW_SECRET", "old", lambda: "vault", Secret("x")],
    signatures=["x-hook-signature"],
    ca_file_path=Path("/etc/ca.pem"),
    timeout=datetime.timedelta(seconds=5),
    retry=RetryPolicy(schedule=[0, 5, datetime.timedelta(minutes=1)]),
)
assert_type(webhook.object_types, frozenset[str])
assert_type(webhook.timeout, float | None)
assert_type(webhook.secret, tuple[Secret, ...])
assert_type(Webhook.from_dict({"name": "x"}), Webhook)

change = Change(
    event="created", model="site", data={}, request_id=uuid.uuid4(), timestamp="2026-01-31T12:00Z"
)
assert_type(change.timestamp, datetime.datetime | None)

changehook.configure(webhooks=[webhook])
assert_type(changehook.emit_change("created", "ipaddress", {"id": 1}), list[Delivery])

with Emitter(
    webhooks=FileSource("webhooks.json", interval=2.0),
    queue=ThreadPoolQueue(MemoryStore(capacity=100), workers=2),
    network=NetworkPolicy.internal(allow=["10.0.0.0/8"]),
    retry=RetryPolicy(jitter=0.5),
    listeners=[lambda delivery: print(delivery.status)],
    context_providers=[lambda change: {"region": change.model}],
) as emitter:
    deliveries = emitter.emit_change("created", "site", lambda: {"id": 1}, username="ann")
    assert_type(deliveries, list[Delivery])
    assert_type(deliveries[0].status, DeliveryStatus)
    change = Change(event="created", model="site", data={})
    assert_type(emitter.preview("slack", change).to_dict(reveal=True)["url"], object)  # type: ignore[assert-type]  # plain JSON is Any
    assert_type(emitter.explain("created", "site", {})[0].fires, bool)
    assert_type(emitter.close(5), int)

queue = InMemoryQueue(clock=FakeClock())
double = Emitter(
    webhooks=WebhookRegistry([webhook]), queue=queue, transport=RecordingTransport(200)
)
assert_type(queue.run(), list[Delivery])
assert_type(queue.counts()[DeliveryStatus.FAILED], int)
queue.retry(DeliveryFilter(status=DeliveryStatus.FAILED))
assert_type(Conditions({"attr": "a", "value": 1}).matches(change), bool)


class Broker(Queue):
    """A queue of the host's own."""

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Publish them."""
        for delivery in deliveries:
            print(delivery.to_json())


done = Emitter(queue=Broker()).deliver(Delivery.from_json("{}"))
assert_type(done, Delivery)


class TestQueue(InspectableQueueContract):
    """The contract over a queue."""

    def make_queue(self) -> InMemoryQueue:
        """Give one."""
        return InMemoryQueue()

    def settle(self, queue: Queue, condition: object) -> bool:
        """Perform what is due."""
        return True


def authorize(environ: dict[str, Any]) -> Right | None:
    """Let one user in."""
    return "operate" if environ.get("REMOTE_USER") == "ann" else None


page: WSGIApplication = inspection_app(
    Emitter(webhooks=[webhook], queue=InMemoryQueue()), authorize=authorize
)
