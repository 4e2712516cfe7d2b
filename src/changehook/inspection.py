"""What an operator asks of a queue, and the records of what it answers. No I/O."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.encoding import isoformat
from changehook.errors import ConfigurationError, Fault, QueueError

__all__ = [
    "SWEEPER",
    "DeliveryFilter",
    "DisabledWebhook",
    "HourlyOutcome",
    "Position",
    "QueueStats",
    "Retention",
    "WebhookTally",
    "WorkerHeartbeat",
    "cursor_of",
    "due_ones",
    "figures_of",
    "fresh_ones",
    "last_error_class",
    "may_be_claimed",
    "position_of",
]

Position = tuple[datetime.datetime, str]
"""Where a delivery stands among the others: its ``position``."""

DAY = 86400.0
ALIVE_FOR = 60.0
_ID = re.compile(r"[\x21-\x7e]{1,200}")
SWEEPER = "sweeper"
"""The ``worker`` of the heartbeat of whoever tells a broker what is due; it performs nothing."""

LONGEST_LEASE = datetime.timedelta(minutes=10)  # one that ends later was taken by a wrong clock
CLOCK_JUMP = datetime.timedelta(minutes=1)


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


def _check_between(_: object, __: object, value: Any) -> None:
    if value is None:
        return
    pair = value if isinstance(value, tuple) and len(value) == 2 else ()
    if not pair or not all(map(_is_position, pair)) or pair[0] < pair[1]:
        expected = "expected the positions of two deliveries, the newest and the oldest"
        raise ConfigurationError(Fault("/between", expected))


def _is_position(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    at, delivery_id = value
    aware = isinstance(at, datetime.datetime) and at.tzinfo is not None
    return aware and isinstance(delivery_id, str)


@attrs.frozen(kw_only=True)
class DeliveryFilter:
    """Which deliveries: all that agree with every argument that is not None.

    Args:
        status: the status, or its name.
        webhook, model: exact names.
        since, until: aware moments; compared with ``created_at``, ``since`` included.
        text: occurs in the id, the event, the reason or the payload; upper and lower case differ.
        failing: True for deliveries that are pending after a failed attempt.
        error_class: of the last attempt, such as ``timeout`` or ``status``.
        with_error: True for deliveries whose last attempt failed: whether it is made again or was
            given up.
        between: the ``position`` of the newest and of the oldest, both included: what stands on
            one page of ``find``.

    Raises:
        ConfigurationError: no such status, a moment that is not an aware datetime, or no such pair.
    """

    status: DeliveryStatus | None = attrs.field(default=None, converter=_status)
    webhook: str | None = None
    model: str | None = None
    since: datetime.datetime | None = attrs.field(default=None, validator=_check_moment)
    until: datetime.datetime | None = attrs.field(default=None, validator=_check_moment)
    text: str | None = None
    failing: bool = False
    error_class: str | None = None
    with_error: bool = False
    between: tuple[Position, Position] | None = attrs.field(default=None, validator=_check_between)

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
            and (self.error_class is None or self.error_class == last_error_class(delivery))
            and (not self.with_error or last_error_class(delivery) is not None)
            and (self.between is None or self._is_between(delivery, *self.between))
        )

    @staticmethod
    def _text_in(delivery: Delivery, text: str) -> bool:
        fields = (delivery.id, delivery.event, delivery.reason, delivery.payload)
        return any(text in field for field in fields)

    @staticmethod
    def _is_between(delivery: Delivery, newest: Position, oldest: Position) -> bool:
        return oldest <= delivery.position <= newest


def _is_failing(delivery: Delivery) -> bool:
    return delivery.status is DeliveryStatus.PENDING and delivery.attempt_number > 0


def cursor_of(delivery: Delivery) -> str:
    """Return the position of a delivery as text: where a page ends."""
    return f"{isoformat(delivery.created_at)}/{delivery.id}"


def position_of(cursor: str) -> Position:
    """Return the position that ``cursor_of`` wrote.

    Raises:
        ConfigurationError: the text is none.
    """
    try:
        at, _, delivery_id = cursor.partition("/")
        found = datetime.datetime.fromisoformat(at)
        if found.tzinfo and isoformat(found) == at and _ID.fullmatch(delivery_id):
            return found, delivery_id
    except (ValueError, OverflowError):
        pass
    raise ConfigurationError("expected what a page before named as its end")


def last_error_class(delivery: Delivery) -> str | None:
    """Return the class of error of the last attempt; None when it succeeded, or none was made."""
    return delivery.attempts[-1].error_class if delivery.attempts else None


def may_be_claimed(delivery: Delivery, now: datetime.datetime) -> bool:
    """Return whether a delivery is due, or its worker counts as dead; also when its record was
    written by a clock that was ahead."""
    if delivery.status is DeliveryStatus.DELIVERING:
        return delivery.lease_until is not None and (
            delivery.lease_until <= now or delivery.lease_until > now + LONGEST_LEASE
        )
    return delivery.status is DeliveryStatus.PENDING and (
        delivery.due_at <= now or delivery.recorded_at > now + CLOCK_JUMP
    )


def due_ones(deliveries: Iterable[Delivery], now: datetime.datetime) -> list[Delivery]:
    """Return the deliveries that may be claimed: first those whose worker died, then what has been
    due longest, first attempts before retries."""

    def order(delivery: Delivery) -> tuple[bool, bool, datetime.datetime]:
        pending = delivery.status is DeliveryStatus.PENDING
        return pending, pending and bool(delivery.attempts), delivery.due_at

    return sorted((each for each in deliveries if may_be_claimed(each, now)), key=order)


def fresh_ones(
    deliveries: Iterable[Delivery], kept: Callable[[str], tuple[str, str] | None]
) -> list[Delivery]:
    """Return the deliveries that a store does not keep yet, each once: for its ``add``.

    Args:
        deliveries: what is to be added.
        kept: returns webhook and payload of the delivery of an id; None when none is kept.

    Raises:
        QueueError: an id belongs to another delivery, and that would be lost.
    """
    fresh: dict[str, Delivery] = {}
    for delivery in deliveries:
        other = fresh.get(delivery.id)
        content = kept(delivery.id) if other is None else (other.webhook, other.payload)
        if content is None:
            fresh[delivery.id] = delivery
        elif content != (delivery.webhook, delivery.payload):
            raise QueueError(f"the id {delivery.id} belongs to another delivery; ids are unique")
    return list(fresh.values())


def figures_of(delivery: Delivery) -> tuple[datetime.datetime, str, float] | None:
    """Return the figures of a delivery that its worker is done with.

    Returns:
        the hour of its last attempt; what came of that: ``retried``, ``lost``, or the status that
        ends it; and how many seconds it took. None when nothing came of it.
    """
    attempt = delivery.attempts[-1] if delivery.attempts else None
    outcome = str(delivery.status)
    if not delivery.status.finished:
        if attempt is None or not delivery.attempt_number:
            return None
        outcome = "lost" if attempt.error_class == "lost" else "retried"
    made = attempt is not None and outcome != "skipped"
    moment = attempt.started_at if attempt is not None and made else delivery.due_at
    seconds = attempt.duration if attempt is not None and made else 0.0
    return moment.replace(minute=0, second=0, microsecond=0), outcome, seconds


def _check_retention(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(Fault(f"/{field.name}", "expected a number above 0, or None"))


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, datetime.timedelta) else value


@attrs.frozen(kw_only=True)
class Retention:
    """How long finished deliveries are kept; what is pending is never purged.

    Args:
        delivered: seconds after the change, or a ``timedelta``; None for ever.
        failed: the same for those that failed or were skipped.
        count: how many are kept of each status, the newest; None for all.

    Raises:
        ConfigurationError: a number is not above 0.
    """

    delivered: float | None = attrs.field(
        default=7 * DAY, converter=_seconds, validator=_check_retention
    )
    failed: float | None = attrs.field(
        default=30 * DAY, converter=_seconds, validator=_check_retention
    )
    count: int | None = attrs.field(default=1_000_000, validator=_check_retention)

    def oldest(self, status: DeliveryStatus, now: datetime.datetime) -> datetime.datetime | None:
        """Return the moment before which finished deliveries of a status are not kept."""
        seconds = self.delivered if status is DeliveryStatus.DELIVERED else self.failed
        return None if seconds is None else now - datetime.timedelta(seconds=seconds)


@attrs.frozen(kw_only=True)
class DisabledWebhook:
    """A webhook that gets no deliveries, because its receiver answered 410 or by someone's hand.

    Args:
        webhook: its name.
        reason: why, in words.
        at: since when, aware UTC.
    """

    webhook: str
    reason: str
    at: datetime.datetime


@attrs.frozen(kw_only=True)
class WorkerHeartbeat:
    """A process that performs deliveries, as it last reported.

    Args:
        worker: an id of its own.
        host, pid: where it runs.
        threads: how many deliveries it can perform at once; 0 once it has stopped.
        busy: how many it was performing.
        started_at, seen_at: aware UTC.
    """

    worker: str
    host: str
    pid: int
    threads: int
    busy: int
    started_at: datetime.datetime
    seen_at: datetime.datetime

    def is_alive(self, now: datetime.datetime) -> bool:
        """Return whether it has not stopped, and reported within the last minute."""
        return self.threads > 0 and abs((now - self.seen_at).total_seconds()) < ALIVE_FOR


@attrs.frozen(kw_only=True)
class WebhookTally:
    """How often a webhook was asked whether it wants a change, over all processes.

    Args:
        webhook: its name.
        matched, not_matched, unresolvable: how many changes its conditions matched; did not match;
            or did not match because some condition could not be decided.
        reason: why it last did not match, in words without values of the change.
        reason_at: when that was, aware UTC.
    """

    webhook: str
    matched: int = 0
    not_matched: int = 0
    unresolvable: int = 0
    reason: str = ""
    reason_at: datetime.datetime | None = None

    def plus(self, other: WebhookTally) -> WebhookTally:
        """Return the sum, with the later reason."""
        later = other if other.reason_at is not None else self
        return WebhookTally(
            webhook=self.webhook,
            matched=self.matched + other.matched,
            not_matched=self.not_matched + other.not_matched,
            unresolvable=self.unresolvable + other.unresolvable,
            reason=later.reason,
            reason_at=later.reason_at,
        )


@attrs.frozen(kw_only=True)
class HourlyOutcome:
    """What came of the attempts of one webhook within one hour.

    Args:
        hour: its beginning, aware UTC.
        webhook: its name.
        outcome: ``delivered``, ``retried``, ``failed``, ``skipped``, or ``lost`` with its worker.
        count: how many.
        seconds: how long those attempts took in all.
        slowest: the seconds of the longest.
    """

    hour: datetime.datetime
    webhook: str
    outcome: str
    count: int
    seconds: float
    slowest: float


@attrs.frozen(kw_only=True)
class QueueStats:
    """How a queue fares, read from figures that are kept up to date; nothing is counted for it.

    Args:
        counts: deliveries kept in each status.
        age_of_oldest_due: seconds since the oldest delivery that is due became so; None when none
            is due. The figure of health: waiting for a retry is healthy, being late is not.
        hours: oldest first, of the last 48 hours.
        workers: those that ever reported and were not forgotten after a day.
        webhooks: by name.
        disabled: the webhooks that get no deliveries.
    """

    counts: Mapping[DeliveryStatus, int]
    age_of_oldest_due: float | None = None
    hours: tuple[HourlyOutcome, ...] = ()
    workers: tuple[WorkerHeartbeat, ...] = ()
    webhooks: tuple[WebhookTally, ...] = ()
    disabled: tuple[DisabledWebhook, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON types."""
        return {
            "counts": {str(status): count for status, count in self.counts.items()},
            "age_of_oldest_due": self.age_of_oldest_due,
            "hours": [_plain(each) for each in self.hours],
            "workers": [_plain(each) for each in self.workers],
            "webhooks": [_plain(each) for each in self.webhooks],
            "disabled": [_plain(each) for each in self.disabled],
        }


def _plain(record: attrs.AttrsInstance) -> dict[str, Any]:
    return attrs.asdict(record, value_serializer=_plain_value)


def _plain_value(_: object, __: object, value: Any) -> Any:
    return isoformat(value) if isinstance(value, datetime.datetime) else value
