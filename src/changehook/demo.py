"""The demonstration: three webhooks, two changes, and what a receiver on this machine gets."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from typing import Any

import attrs

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.emitter import Emitter, WebhookExplanation
from changehook.errors import VerificationError
from changehook.network import NetworkPolicy
from changehook.queues.threads import ThreadPoolQueue
from changehook.receiver import ReceivedRequest, Receiver, printed
from changehook.signing import generate_secret, verify
from changehook.webhooks import Webhook

__all__ = ["Demonstration", "demonstrate", "request_document"]

ADDRESS = {"id": 7, "address": "192.0.2.10/24", "status": {"value": "active", "label": "Active"}}
DEVICE = {"id": 19, "name": "edge-1", "status": {"value": "planned", "label": "Planned"}}
SLACK_BODY = """{"text": "IP address {{ data['address'] }} was created by {{ username }}!"}"""
SLACK_RESULT = {"text": "IP address 192.0.2.10/24 was created by ann!"}
CONDITIONS = {"and": [{"attr": "status.value", "value": "active"}]}
KEYS = ["event", "timestamp", "model", "username", "request_id", "data", "snapshots"]
EXPECTED = {"/log": 2, "/slack": 1}


@attrs.frozen(kw_only=True)
class Demonstration:
    """What a run of the demonstration did.

    Args:
        url: where the receiver listened.
        secret: what the first webhook signed with.
        changes: each emitted change in words, with the names of the webhooks that fired.
        deliveries: every delivery in its last state.
        requests: every request that the receiver got.
        explanation: why the third webhook did not fire.
    """

    url: str
    secret: str = attrs.field(repr=False)
    changes: tuple[tuple[str, tuple[str, ...]], ...]
    deliveries: tuple[Delivery, ...]
    requests: tuple[ReceivedRequest, ...]
    explanation: WebhookExplanation

    @property
    def attempts(self) -> int:
        """How many attempts were made, for all deliveries together."""
        return sum(len(delivery.attempts) for delivery in self.deliveries)

    @property
    def statuses(self) -> dict[str, int]:
        """How many deliveries there are in each status."""
        return dict(collections.Counter(str(delivery.status) for delivery in self.deliveries))

    @property
    def problems(self) -> tuple[str, ...]:
        """What did not go as expected, in words; empty when all did."""
        return tuple(_problems(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain JSON types."""
        return {
            "ok": not self.problems,
            "problems": list(self.problems),
            "receiver": self.url,
            "changes": len(self.changes),
            "deliveries": self.statuses,
            "attempts": self.attempts,
            "requests": [request_document(request) for request in self.requests],
            "explanation": self.explanation.to_dict(),
        }

    def __str__(self) -> str:
        return "\n".join(_story(self))


def demonstrate() -> Demonstration:
    """Emit two changes to a receiver on a free port of this machine, and return what happened.

    Raises:
        ChangehookError: no port of 127.0.0.1 can be listened on.
    """
    secret = generate_secret()
    with Receiver(port=0, output=lambda text: None) as receiver:
        queue = ThreadPoolQueue()
        emitter = Emitter(
            webhooks=_webhooks(receiver.url, secret),
            queue=queue,
            network=NetworkPolicy(allow=["127.0.0.1"]),
        )
        with emitter:
            changes = tuple(_emit(emitter))
            explanation = _explanation(emitter)
        return Demonstration(
            url=receiver.url,
            secret=secret,
            changes=changes,
            deliveries=tuple(queue.find()[::-1]),
            requests=tuple(receiver.requests),
            explanation=explanation,
        )


def request_document(request: ReceivedRequest) -> dict[str, Any]:
    """Return a received request as plain JSON types; bytes that are not UTF-8 become U+FFFD."""
    return {**attrs.asdict(request), "body": request.body.decode(errors="replace")}


def _webhooks(url: str, secret: str) -> list[Webhook]:
    return [
        Webhook(name="log", object_types={"*"}, events={"*"}, url=f"{url}/log", secret=secret),
        Webhook(
            name="slack",
            object_types={"ipaddress"},
            events={"created"},
            url=f"{url}/slack",
            body_template=SLACK_BODY,
        ),
        Webhook(
            name="monitoring",
            object_types={"device"},
            events={"updated"},
            url=f"{url}/monitoring",
            conditions=CONDITIONS,
        ),
    ]


def _device_states() -> dict[str, Any]:
    before, after = (
        {"name": "edge-01", "status": "planned"},
        {"name": "edge-1", "status": "planned"},
    )
    return {"prechange": before, "postchange": after}


def _emit(emitter: Emitter) -> Iterator[tuple[str, tuple[str, ...]]]:
    after = {"address": "192.0.2.10/24", "status": "active"}
    made = emitter.emit_change(
        "created", "ipaddress", ADDRESS, postchange=after, username="ann", request_id="demo-1"
    )
    yield "ipaddress 192.0.2.10/24 was created by ann", tuple(each.webhook for each in made)
    made = emitter.emit_change(
        "updated", "device", DEVICE, **_device_states(), username="ann", request_id="demo-2"
    )
    yield "device edge-1 was updated by ann", tuple(each.webhook for each in made)


def _explanation(emitter: Emitter) -> WebhookExplanation:
    explanations = emitter.explain("updated", "device", DEVICE, **_device_states(), username="ann")
    return next(each for each in explanations if each.webhook == "monitoring")


def _problems(demo: Demonstration) -> Iterator[str]:
    came = dict(collections.Counter(request.path for request in demo.requests))
    if came != EXPECTED:
        yield f"expected requests for {EXPECTED}, and got {came}"
    for request in demo.requests:
        fault = _fault(request, demo.secret)
        if fault:
            yield f"request [{request.number}]: {fault}"
    for delivery in demo.deliveries:
        if delivery.status is not DeliveryStatus.DELIVERED:
            yield f"the delivery to {delivery.webhook} is {delivery.status}: {delivery.reason}"
    if demo.explanation.fires:
        yield "monitoring fires, though its condition is not met"


def _fault(request: ReceivedRequest, secret: str) -> str | None:
    try:
        document = json.loads(request.body)
    except ValueError:
        return "the body is not JSON"
    if request.path == "/slack":
        return None if document == SLACK_RESULT else "the body is not what the template says"
    if list(document) != KEYS:
        return "the body does not hold the seven documented keys in order"
    try:
        verify(request.body, dict(request.headers), secret)
    except VerificationError as error:
        return f"the signature is not valid: {error}"
    return None


def _story(demo: Demonstration) -> Iterator[str]:
    yield f"A receiver listens on {demo.url}, for this machine only. Three webhooks call it:"
    yield ""
    yield "  log         every change, as JSON, signed (Standard Webhooks)"
    yield "  slack       created ipaddress, with a body template:"
    yield f"              {SLACK_BODY}"
    yield "  monitoring  updated device, if its status is active:"
    yield f"              {json.dumps(CONDITIONS)}"
    yield ""
    yield "Two changes are emitted, and worker threads deliver them:"
    yield ""
    yield from (f"  {what}: fires {', '.join(names)}" for what, names in demo.changes)
    yield ""
    yield "The receiver got:"
    yield ""
    yield from map(printed, demo.requests)
    yield ""
    yield "Why monitoring did not fire when the device was updated:"
    yield ""
    yield "  " + str(demo.explanation).replace("\n", "\n    ")
    yield ""
    yield from _summary(demo)


def _summary(demo: Demonstration) -> Iterator[str]:
    statuses = ", ".join(f"{count} {status}" for status, count in demo.statuses.items())
    yield f"Changes emitted:    {len(demo.changes)}"
    yield f"Deliveries:         {statuses or 'none'}"
    yield f"Attempts:           {demo.attempts}"
    yield f"Requests received:  {len(demo.requests)}"
    yield from (f"Problem:            {problem}" for problem in demo.problems)
    if not demo.problems:
        yield "All arrived as expected, and what log sent is signed with its secret."
    yield ""
    yield "Try next:"
    yield "  changehook receiver    prints every request that is sent to http://localhost:9000"
    yield "  changehook --help      checks, explains, renders and sends your own webhooks"
    yield "  docs/tutorial.md       the same from your own application, step by step"
