"""Every seam on one page: what a host can replace, and the contract that a replacement keeps."""

from __future__ import annotations

import abc
import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, Fault
from changehook.exchange import Request, Response
from changehook.models import Change
from changehook.webhooks import Webhook

__all__ = [
    "ContextProvider",
    "DeliveryFilter",
    "InspectableQueue",
    "Listener",
    "Perform",
    "Queue",
    "Resolver",
    "Store",
    "Transport",
    "WebhookSource",
]

Perform = Callable[[Delivery], Delivery]
"""Performs one attempt and returns the delivery after it. Never raises for what the attempt met."""

Listener = Callable[[Delivery], object]
"""Called on the worker with each delivery after an attempt. What it raises is only logged."""

ContextProvider = Callable[[Change], Mapping[str, Any]]
"""Called when a change is emitted; its keys stand under ``context``. What it raises is logged."""

Resolver = Callable[[str, int], Sequence[str]]
"""Returns the numeric addresses of a host name and port, best first; ``OSError`` for none."""


class WebhookSource(Protocol):
    """Where webhooks are looked up. All methods are called from many threads."""

    def select(self, event: str, model: str) -> Sequence[Webhook]:
        """Return the enabled webhooks that listen to this event of this model.

        On the caller's path of every change: no disk, no network, no lock that is held for long.
        """
        ...

    def get(self, name: str) -> Webhook | None:
        """Return the webhook of that name, enabled or not; None when there is none."""
        ...

    def all(self) -> Sequence[Webhook]:
        """Return every webhook, for explanations and listings."""
        ...


class Transport(Protocol):
    """Sends one request and returns the response. Called from many threads.

    If it has an attribute ``secrets``, these are texts that it sends along with each request, such
    as a proxy's credentials, and that no record may show where a receiver quotes them.
    """

    def send(self, request: Request, /) -> Response:
        """Return the response of a receiver that answered with a complete response head.

        Raises:
            AttemptError: anything else happened; its class says what.
        """
        ...

    def close(self) -> None:
        """Close idle connections. Sending afterwards is allowed and opens new ones."""
        ...


class Queue(abc.ABC):
    """Carries deliveries to where the work is done; knows when one is due; never sends.

    The narrowest useful subclass overrides ``put`` alone and hands ``delivery.to_json()`` to its
    broker; the worker then calls ``emitter.deliver(Delivery.from_json(message))``.
    """

    perform: Perform | None = None

    def attach(self, perform: Perform) -> None:
        """Take the callable that performs one attempt. The emitter calls this when it is built.

        Raises:
            ConfigurationError: another emitter uses this queue.
        """
        if self.perform is not None:
            raise ConfigurationError("this queue belongs to another emitter; give each its own")
        self.perform = perform

    @abc.abstractmethod
    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Take pending deliveries, all of them or none; return when the backend's promise holds.

        Raises:
            QueueError: they were not taken.
        """

    def close(self, timeout: float = 10.0) -> int:
        """Stop taking, finish what is running within ``timeout`` seconds.

        Returns:
            how many deliveries are left undone.
        """
        return 0


def _status(value: DeliveryStatus | str | None) -> DeliveryStatus | None:
    try:
        return None if value is None else DeliveryStatus(value)
    except ValueError:
        known = ", ".join(DeliveryStatus)
        raise ConfigurationError(Fault("/status", f"unknown; one of {known}")) from None


def _check_moment(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is None or (isinstance(value, datetime.datetime) and value.tzinfo is not None):
        return
    raise ConfigurationError(Fault(f"/{field.name}", "expected a datetime with a time zone"))


@attrs.frozen(kw_only=True)
class DeliveryFilter:
    """Which deliveries: all that agree with every argument that is not None.

    Args:
        status: the status, or its name.
        webhook, model: exact names.
        since, until: aware moments; compared with ``created_at``, ``since`` included.
        text: occurs in the id, the event, the reason or the payload.
        failing: True for deliveries that are pending after a failed attempt.

    Raises:
        ConfigurationError: no such status, or a moment that is not an aware datetime.
    """

    status: DeliveryStatus | None = attrs.field(default=None, converter=_status)
    webhook: str | None = None
    model: str | None = None
    since: datetime.datetime | None = attrs.field(default=None, validator=_check_moment)
    until: datetime.datetime | None = attrs.field(default=None, validator=_check_moment)
    text: str | None = None
    failing: bool = False

    def wants(self, delivery: Delivery) -> bool:
        """Return whether a delivery agrees."""
        return (
            self.status in (None, delivery.status)
            and self.webhook in (None, delivery.webhook)
            and self.model in (None, delivery.model)
            and (self.since is None or self.since <= delivery.created_at)
            and (self.until is None or delivery.created_at < self.until)
            and (self.text is None or self._text_in(delivery, self.text))
            and (not self.failing or _is_failing(delivery))
        )

    @staticmethod
    def _text_in(delivery: Delivery, text: str) -> bool:
        fields = (delivery.id, delivery.event, delivery.reason, delivery.payload)
        return any(text in field for field in fields)


def _is_failing(delivery: Delivery) -> bool:
    return delivery.status is DeliveryStatus.PENDING and delivery.attempt_number > 0


class InspectableQueue(Queue):
    """A queue that an operator can look into."""

    @abc.abstractmethod
    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status; every status is a key."""

    @abc.abstractmethod
    def find(self, where: DeliveryFilter | None = None, *, limit: int = 100) -> list[Delivery]:
        """Return the newest deliveries that agree with the filter, newest first."""

    @abc.abstractmethod
    def get(self, delivery_id: str) -> Delivery:
        """Return one delivery.

        Raises:
            DeliveryNotFoundError: none of that id is kept.
        """

    @abc.abstractmethod
    def retry(self, which: str | DeliveryFilter) -> list[Delivery]:
        """Make deliveries due now, with the schedule starting again.

        Args:
            which: an id; or a filter, which passes over deliveries that are being attempted.

        Returns:
            the deliveries that are due now.

        Raises:
            DeliveryNotFoundError: none of that id is kept.
            QueueError: the delivery of that id is being attempted just now, or there is no room.
        """

    @abc.abstractmethod
    def discard(self, which: str | DeliveryFilter) -> list[Delivery]:
        """Remove deliveries for good.

        Args:
            which: an id; or a filter, which passes over deliveries that are being attempted.

        Returns:
            the deliveries that were removed.

        Raises:
            DeliveryNotFoundError: none of that id is kept.
            QueueError: the delivery of that id is being attempted just now.
        """


class Store(abc.ABC):
    """Keeps deliveries and their attempts. Every method is atomic and called from many threads.

    ``durable`` says whether what was added outlives the process.
    """

    durable: bool = False

    @abc.abstractmethod
    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Keep new pending deliveries, all of them or none.

        Raises:
            QueueFullError: there is no room.
        """

    @abc.abstractmethod
    def claim(self, now: datetime.datetime) -> Delivery | None:
        """Return the pending delivery that has been due longest, claimed and kept so; None if none
        is due."""

    @abc.abstractmethod
    def save(self, delivery: Delivery) -> bool:
        """Keep the next state of a delivery that is kept.

        Returns:
            False, and nothing is changed, unless its ``revision`` is one more than what is kept.

        Raises:
            QueueFullError: a finished delivery would be pending again, and there is no room. One
                that is not finished has its place already and is never refused.
        """

    @abc.abstractmethod
    def next_due(self) -> datetime.datetime | None:
        """Return when the next pending delivery is due; None when nothing is pending."""

    @abc.abstractmethod
    def get(self, delivery_id: str) -> Delivery | None:
        """Return one delivery, None when it is not kept."""

    @abc.abstractmethod
    def find(self, where: DeliveryFilter, limit: int | None = None) -> list[Delivery]:
        """Return the deliveries that agree with the filter, newest first."""

    @abc.abstractmethod
    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status; every status is a key."""

    @abc.abstractmethod
    def remove(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Remove the deliveries that are still kept at this revision; return those removed."""
