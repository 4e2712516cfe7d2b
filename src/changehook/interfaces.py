"""Every seam on one page: what a host can replace, and the contract that a replacement keeps."""

from __future__ import annotations

import abc
import datetime
import itertools
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError
from changehook.exchange import Request, Response
from changehook.inspection import (
    DeliveryFilter,
    DisabledWebhook,
    Position,
    QueueStats,
    Retention,
    WebhookTally,
    WorkerHeartbeat,
    due_ones,
)
from changehook.models import Change, utcnow
from changehook.webhooks import Webhook

__all__ = [
    "ContextProvider",
    "InspectableQueue",
    "Listener",
    "OnDisabled",
    "Perform",
    "Position",
    "Queue",
    "Resolver",
    "Store",
    "Terms",
    "Transport",
    "WebhookSource",
]

Perform = Callable[[Delivery], Delivery]
"""Performs one attempt and returns the delivery after it. Never raises for what the attempt met."""

Listener = Callable[[Delivery], object]
"""Called on the worker with each delivery after an attempt. What it raises is only logged."""

OnDisabled = Callable[[DisabledWebhook], object]
"""Called on the worker when a receiver answered 410. What it raises is only logged."""

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


@attrs.frozen(kw_only=True)
class Terms:
    """What a queue must know of a webhook to be fair and patient.

    Args:
        receiver: who gets the requests; the webhooks of one receiver share its part of the workers.
        timeout: seconds after which an attempt has ended for certain.
    """

    receiver: str
    timeout: float


class Queue(abc.ABC):
    """Carries deliveries to where the work is done; knows when one is due; never sends.

    The narrowest useful subclass overrides ``put`` alone and hands ``delivery.to_json()`` to its
    broker; the worker then calls ``emitter.deliver(Delivery.from_json(message))``.
    """

    perform: Perform | None = None
    terms: Callable[[str], Terms] | None = None
    tallies: Callable[[], Sequence[WebhookTally]] | None = None
    store: Store | None = None
    """Where facts are kept that every process must see, such as a disabled webhook."""

    def attach(
        self,
        perform: Perform,
        terms: Callable[[str], Terms] | None = None,
        tallies: Callable[[], Sequence[WebhookTally]] | None = None,
    ) -> None:
        """Take the callable that performs one attempt. The emitter calls this when it is built.

        Args:
            perform: makes an attempt of a claimed delivery.
            terms: returns the terms of the webhook of a name.
            tallies: returns how often webhooks were asked since the last call.

        Raises:
            ConfigurationError: another emitter uses this queue.
        """
        if self.perform is not None:
            raise ConfigurationError("this queue belongs to another emitter; give each its own")
        self.perform = perform
        self.terms = terms
        self.tallies = tallies

    def start(self) -> None:  # noqa: B027 - most backends have nothing to start
        """Begin to work on what is kept, if this process does. Called before its first change."""

    @abc.abstractmethod
    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Take pending deliveries, all of them or none; return when the backend's promise holds.

        One whose id is kept already is passed over: whoever does not know whether a ``put`` went
        through puts again.

        Raises:
            QueueError: they were not taken; an id may belong to a delivery of another webhook.
        """

    def close(self, timeout: float = 10.0) -> int:
        """Stop taking, finish what is running within ``timeout`` seconds.

        Returns:
            how many deliveries are left undone.
        """
        return 0


class InspectableQueue(Queue):
    """A queue that an operator can look into."""

    @abc.abstractmethod
    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status; every status is a key."""

    @abc.abstractmethod
    def find(
        self,
        where: DeliveryFilter | None = None,
        *,
        limit: int = 100,
        after: Position | None = None,
    ) -> list[Delivery]:
        """Return the newest deliveries that agree with the filter, newest first.

        Args:
            where: None for all.
            limit: how many.
            after: the ``position`` of the last delivery of the page before; what came or went since
                moves nothing.
        """

    @abc.abstractmethod
    def get(self, delivery_id: str) -> Delivery:
        """Return one delivery.

        Raises:
            DeliveryNotFoundError: none of that id is kept.
        """

    @abc.abstractmethod
    def retry(
        self,
        which: str | DeliveryFilter,
        *,
        rerender: bool = False,
        on_progress: Callable[[int], object] | None = None,
    ) -> int:
        """Make deliveries due now, with the schedule starting again.

        Args:
            which: an id; or a filter, which passes over deliveries that are being attempted.
                ``count`` says beforehand how many agree with it.
            rerender: make the body anew, with the definition as it is then, instead of sending the
                bytes that were sent before.
            on_progress: called now and then with how many were looked at.

        Returns:
            how many are due now.

        Raises:
            DeliveryNotFoundError: none of that id is kept.
            QueueError: the delivery of that id is being attempted just now, or there is no room;
                what was made due before that stays so.
        """

    @abc.abstractmethod
    def discard(
        self, which: str | DeliveryFilter, *, on_progress: Callable[[int], object] | None = None
    ) -> int:
        """Remove deliveries for good.

        Args:
            which: an id; or a filter, which passes over deliveries that are being attempted.
                ``count`` says beforehand how many agree with it.
            on_progress: called now and then with how many were looked at.

        Returns:
            how many were removed.

        Raises:
            DeliveryNotFoundError: none of that id is kept.
            QueueError: the delivery of that id is being attempted just now.
        """

    def count(self, where: DeliveryFilter) -> int:
        """Return how many deliveries agree with the filter."""
        return len(self.find(where, limit=sys.maxsize))

    def age_of_oldest_due(self) -> float | None:
        """Return the seconds since the oldest delivery that is due became so; None if none is."""
        pending = self.find(DeliveryFilter(status=DeliveryStatus.PENDING), limit=sys.maxsize)
        age = (utcnow() - min(each.due_at for each in pending)).total_seconds() if pending else -1
        return age if age >= 0 else None

    def stats(self) -> QueueStats:
        """Return how the queue fares; a backend tells what it knows."""
        return QueueStats(counts=self.counts(), age_of_oldest_due=self.age_of_oldest_due())


class Store(abc.ABC):
    """Keeps deliveries and their attempts. Every method is atomic and called from many threads.

    ``durable`` says whether what was added outlives the process. ``poll`` is after how many seconds
    a queue at rest looks again: a store that other processes add to sets it short.
    """

    durable: bool = False
    poll: float = 60.0

    @abc.abstractmethod
    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Keep new pending deliveries, all of them or none; one that is kept is passed over.

        Raises:
            QueueError: an id belongs to another delivery, of another webhook or payload.
            QueueFullError: there is no room.
            StoreError: they could not be written.
        """

    @abc.abstractmethod
    def claim(
        self,
        now: datetime.datetime,
        *,
        limit: int = 1,
        admit: Callable[[str], bool] | None = None,
        lease: Callable[[str], float] | None = None,
    ) -> list[Delivery]:
        """Return deliveries that are due, claimed and kept so.

        A delivery whose lease ran out is due at once, and the attempt that its worker was making is
        recorded as lost. First attempts go before retries, then what has been due longest.

        Args:
            now: aware.
            limit: how many at most.
            admit: asked with the name of the webhook before each is claimed; False passes over it.
                It takes a place, so the caller gives back the places of those it does not get.
            lease: returns the seconds after which whoever claims a delivery of a webhook counts as
                dead; 45 by default, and at most 600: a lease that ends later was taken by a wrong
                clock, and is over.

        Raises:
            StoreError: the claim could not be written; nothing was claimed.
        """

    @abc.abstractmethod
    def save(self, delivery: Delivery) -> bool:
        """Keep the next state of a delivery that is kept.

        Returns:
            False, and nothing is changed, unless its ``revision`` is one more than what is kept.

        Raises:
            QueueFullError: a finished delivery would be pending again, and there is no room. One
                that is not finished has its place already and is never refused.
            StoreError: it could not be written.
        """

    def save_all(self, deliveries: Sequence[Delivery]) -> int:
        """Keep the next states of many; return how many were kept. Each stands for itself."""
        return sum(map(self.save, deliveries))

    @abc.abstractmethod
    def next_due(self, without: Collection[str] = ()) -> datetime.datetime | None:
        """Return when the next pending delivery is due, or its lease ends; None for never.

        Args:
            without: names of webhooks that are passed over.
        """

    @abc.abstractmethod
    def get(self, delivery_id: str) -> Delivery | None:
        """Return one delivery, None when it is not kept."""

    @abc.abstractmethod
    def find(
        self, where: DeliveryFilter, limit: int | None = None, after: Position | None = None
    ) -> list[Delivery]:
        """Return the deliveries that agree with the filter, those of the highest position first.

        Args:
            where: the filter.
            limit: how many at most.
            after: only those whose position is below this.
        """

    def due(self, now: datetime.datetime, limit: int) -> list[Delivery]:
        """Return at most ``limit`` deliveries that could be claimed, in that order, unclaimed."""
        statuses = (DeliveryStatus.DELIVERING, DeliveryStatus.PENDING)
        kept = [self.find(DeliveryFilter(status=status)) for status in statuses]
        return due_ones(itertools.chain(*kept), now)[:limit]

    def oldest(self, limit: int) -> list[Delivery]:
        """Return the pending deliveries of the lowest positions, the lowest first."""
        return self.find(DeliveryFilter(status=DeliveryStatus.PENDING))[: -limit - 1 : -1]

    def count(self, where: DeliveryFilter) -> int:
        """Return how many deliveries agree with the filter."""
        return len(self.find(where))

    @abc.abstractmethod
    def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many deliveries are kept in each status; every status is a key."""

    @abc.abstractmethod
    def remove(self, deliveries: Iterable[Delivery]) -> int:
        """Remove the deliveries that are still kept at this revision; return how many."""

    @abc.abstractmethod
    def purge(self, retention: Retention, now: datetime.datetime, limit: int = 500) -> int:
        """Remove finished deliveries that are not to be kept, at most ``limit`` at once.

        Returns:
            how many; whoever gets ``limit`` asks again.
        """

    @abc.abstractmethod
    def disable(self, webhook: DisabledWebhook) -> bool:
        """Keep, for every process, that a webhook gets no deliveries; return whether it is new."""

    @abc.abstractmethod
    def enable(self, webhook: str) -> bool:
        """Forget that a webhook gets no deliveries; return whether it was so."""

    @abc.abstractmethod
    def disabled(self) -> dict[str, DisabledWebhook]:
        """Return the webhooks that get no deliveries, by name."""

    @abc.abstractmethod
    def report(self, heartbeat: WorkerHeartbeat | None, tallies: Iterable[WebhookTally]) -> None:
        """Keep that a worker lives, None for none, and add to how often webhooks were asked."""

    @abc.abstractmethod
    def stats(self, now: datetime.datetime) -> QueueStats:
        """Return how the deliveries that are kept fare, without counting them."""
