"""The records of a delivery: Delivery, Attempt, Decision. Frozen, checked when built, no I/O."""

from __future__ import annotations

import contextlib
import datetime
import enum
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from changehook.checks import (
    COUNT,
    HEADERS,
    MOMENT,
    NAME,
    SECONDS,
    TEXT,
    Kind,
    check_fields,
    parsed_moment,
    read_fields,
)
from changehook.encoding import decode, isoformat
from changehook.errors import ConfigurationError, DeliveryStateError

__all__ = ["Attempt", "Decision", "Delivery", "DeliveryStatus"]


class DeliveryStatus(enum.StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def finished(self) -> bool:
        """True when nothing more happens to the delivery unless someone asks for it."""
        return self in _FINISHED


_PENDING = DeliveryStatus.PENDING  # looking a member up costs more than a check
_FINISHED = frozenset({DeliveryStatus.DELIVERED, DeliveryStatus.FAILED, DeliveryStatus.SKIPPED})


@attrs.frozen(kw_only=True)
class Attempt:
    """One HTTP request made for a delivery, or one failure to make it. Holds no secret.

    Args:
        number: counts from 1 over the whole life of the delivery.
        started_at: aware UTC.
        duration: seconds.
        method, url, headers: what was sent; the URL without path and query, header values from an
            allow-list, everything else ``***``.
        status: the receiver's status code, or None when no complete response head came.
        response_headers: from the same allow-list.
        response_body: the first 16 KiB, as text.
        error_class: None for a delivered attempt, else ``dns``, ``connect``, ``tls``, ``timeout``,
            ``blocked``, ``protocol``, ``status``, ``render``, ``config``, or ``lost``: its worker
            died, and what the receiver got is not known.
        error: the same in words.
        note: trouble that did not undo success, such as a body cut short.
        address: the numeric address that was dialled.
    """

    number: int
    started_at: datetime.datetime
    duration: float
    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    status: int | None = None
    response_headers: Mapping[str, str] = attrs.field(factory=dict)
    response_body: str = ""
    error_class: str | None = None
    error: str | None = None
    note: str | None = None
    address: str | None = None

    def __attrs_post_init__(self) -> None:
        check_fields(self, _ATTEMPT)

    def to_dict(self) -> dict[str, Any]:
        """Return the attempt as plain JSON types."""
        values = _values(self)
        values["started_at"] = isoformat(self.started_at)
        values["headers"] = dict(self.headers)
        values["response_headers"] = dict(self.response_headers)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Attempt:
        """Return the attempt that ``to_dict`` described.

        Raises:
            ConfigurationError: a field is unknown, missing or of the wrong type.
        """
        fields = read_fields(cls, values)
        return cls(**{**fields, "started_at": parsed_moment(fields["started_at"])})


@attrs.frozen(kw_only=True)
class Decision:
    """What follows from an attempt: a status, and for a retry when.

    Args:
        status: ``delivered``, ``pending`` (a retry) or ``failed``.
        due_at: when the retry is due.
        reason: why, in words.
    """

    status: DeliveryStatus
    due_at: datetime.datetime | None = None
    reason: str = ""


def _count(attempts: tuple[Attempt, ...]) -> str:
    return str(len(attempts))


@attrs.frozen(kw_only=True)
class Delivery:
    """One change on its way to one webhook. Its status changes only in the methods of this class.

    Args:
        id: unique, stable over retries, and sent as ``webhook-id``; the idempotency key: 1 to 200
            visible ASCII characters.
        webhook: the webhook's name; the definition is looked up when the delivery is performed.
        event, model: as in the change.
        payload: the context as JSON text, frozen when the change was emitted.
        created_at, due_at: aware UTC.
        status: see ``DeliveryStatus``.
        attempt_number: attempts claimed since the schedule (re)started.
        attempts: what happened, oldest first.
        body: the request body, kept from the first attempt so that every retry sends the same.
        reason: why the delivery stands where it does, in words.
        revision: counts the transitions, as a fencing token: a store keeps the newest.
        lease_until: while it is being delivered, when the worker counts as dead.

    Raises:
        ConfigurationError: some argument has the wrong type; every fault is listed.
    """

    VERSION: ClassVar[int] = 1

    id: str
    webhook: str
    event: str
    model: str
    payload: str = attrs.field(repr=False)
    created_at: datetime.datetime
    due_at: datetime.datetime
    status: DeliveryStatus = _PENDING
    attempt_number: int = 0
    attempts: tuple[Attempt, ...] = attrs.field(default=(), repr=_count)
    body: str | None = attrs.field(default=None, repr=False)
    reason: str = ""
    revision: int = 0
    lease_until: datetime.datetime | None = None

    def __attrs_post_init__(self) -> None:
        if not (
            self.id.__class__ is str
            and self.id.isidentifier()
            and self.id.isascii()
            and len(self.id) <= 200
            and self.webhook.__class__ is self.event.__class__ is self.model.__class__ is str
            and self.payload.__class__ is str
            and self.webhook
            and self.event
            and self.model
            and self.created_at.__class__ is self.due_at.__class__ is datetime.datetime
            and self.created_at.tzinfo is self.due_at.tzinfo is datetime.UTC
            and self.status is _PENDING
            and self.revision.__class__ is self.attempt_number.__class__ is int
            and self.revision == self.attempt_number == 0
            and self.attempts == ()
            and self.reason == ""
            and self.body is None
            and self.lease_until is None
        ):
            if isinstance(self.attempts, list):
                object.__setattr__(self, "attempts", tuple(self.attempts))
            check_fields(self, _DELIVERY)

    @property
    def position(self) -> tuple[datetime.datetime, str]:
        """Where it stands among the others when the newest come first; this never changes."""
        return self.created_at, self.id

    @property
    def recorded_at(self) -> datetime.datetime:
        """The latest moment that its record tells of, leaving aside what is to come. One that lies
        ahead was written while the clock was wrong."""
        if not self.revision:
            return self.created_at
        if not self.attempt_number:
            return self.due_at
        return self.attempts[-1].started_at if self.attempts else self.created_at

    @property
    def scheduled_at(self) -> datetime.datetime | None:
        """When the first attempt since the schedule (re)started was made; None before that."""
        number = self.attempt_number - (self.status is DeliveryStatus.DELIVERING)
        return self.attempts[-number].started_at if 0 < number <= len(self.attempts) else None

    def claimed(self, lease_until: datetime.datetime | None = None) -> Delivery:
        """Return the delivery as taken by a worker; the attempt counts from here.

        Args:
            lease_until: when the worker counts as dead, if it can die alone.

        Raises:
            DeliveryStateError: the delivery is not pending.
        """
        if self.status is not DeliveryStatus.PENDING:
            message = f"delivery {self.id} is {self.status}, only a pending one is claimed"
            raise DeliveryStateError(message)
        status, number = DeliveryStatus.DELIVERING, self.attempt_number + 1
        return self._moved(status=status, attempt_number=number, lease_until=lease_until)

    def after(self, attempt: Attempt, decision: Decision, *, body: str | None = None) -> Delivery:
        """Return the delivery after one attempt.

        Args:
            attempt: what happened.
            decision: what follows.
            body: the rendered body, kept if none was kept before.
        """
        return self._moved(
            status=decision.status,
            attempts=(*self.attempts, attempt),
            due_at=decision.due_at or self.due_at,
            body=body if self.body is None else self.body,
            reason=decision.reason,
            lease_until=None,
        )

    def lease_expired(self, now: datetime.datetime) -> Delivery:
        """Return the delivery as due at once, because its worker did not come back in time."""
        lost = Attempt(
            number=len(self.attempts) + 1,
            started_at=now,
            duration=0.0,
            error_class="lost",
            error="its worker died; what the receiver got is not known",
        )
        reason = f"lost: {lost.error}"
        return self.after(lost, Decision(status=DeliveryStatus.PENDING, due_at=now, reason=reason))

    def released(self) -> Delivery:
        """Return the delivery as it was before it was claimed: no attempt was made."""
        number = self.attempt_number - 1
        return self._moved(status=DeliveryStatus.PENDING, attempt_number=number, lease_until=None)

    def given_up(self, reason: str) -> Delivery:
        """Return the delivery as failed without another attempt."""
        return self._moved(status=DeliveryStatus.FAILED, reason=reason, lease_until=None)

    def retried(self, now: datetime.datetime, *, rerender: bool = False) -> Delivery:
        """Return the delivery as due now, by someone's hand; the schedule starts again.

        Args:
            now: aware.
            rerender: make the body anew, from the definition as it is then and the same payload.

        Raises:
            DeliveryStateError: an attempt is running.
        """
        if self.status is DeliveryStatus.DELIVERING:
            raise DeliveryStateError(f"delivery {self.id} is being delivered just now")
        return self._moved(
            status=DeliveryStatus.PENDING,
            due_at=now,
            attempt_number=0,
            reason="retried by hand",
            body=None if rerender else self.body,
        )

    def skipped(self, reason: str) -> Delivery:
        """Return the delivery as not made, because its webhook is disabled or gone."""
        return self._moved(status=DeliveryStatus.SKIPPED, reason=reason, lease_until=None)

    def _moved(self, **changes: Any) -> Delivery:
        """Return a copy with changes; only these are checked, the rest has been."""
        moved = object.__new__(type(self))
        for name in _DELIVERY:
            value = changes[name] if name in changes else getattr(self, name)
            object.__setattr__(moved, name, value)
        object.__setattr__(moved, "revision", self.revision + 1)
        check_fields(moved, {name: _DELIVERY[name] for name in changes})
        return moved

    def to_json(self) -> str:
        """Return the delivery as a JSON message for a broker or a store; it holds no secret."""
        values = _values(self)
        values["created_at"] = isoformat(self.created_at)
        values["due_at"] = isoformat(self.due_at)
        values["lease_until"] = self.lease_until and isoformat(self.lease_until)
        values["attempts"] = [attempt.to_dict() for attempt in self.attempts]
        return json.dumps({"version": self.VERSION, **values}, ensure_ascii=False)

    @classmethod
    def from_json(cls, message: str | bytes) -> Delivery:
        """Return the delivery of a message that ``to_json`` wrote.

        Raises:
            ConfigurationError: the message is not a delivery, or of a version that is not known.
        """
        try:
            values = decode(message)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            name = type(error).__name__
            raise ConfigurationError(f"not a delivery message ({name})") from None
        if not isinstance(values, dict) or "version" not in values:
            raise ConfigurationError("not a delivery message (no version)")
        version = values.pop("version")
        if version != cls.VERSION:
            found = str(version)[:20] if isinstance(version, int) else type(version).__name__
            raise ConfigurationError(
                f"delivery message of version {found}; this release reads {cls.VERSION}"
            )
        try:
            return cls._from_values(values)
        except ConfigurationError as error:
            raise ConfigurationError("not a delivery message", *error.faults) from None

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> Delivery:
        fields = read_fields(cls, values)
        for name in ("created_at", "due_at", "lease_until"):
            fields[name] = parsed_moment(fields.get(name))
        with contextlib.suppress(ValueError):
            fields["status"] = DeliveryStatus(fields.get("status", DeliveryStatus.PENDING))
        if isinstance(fields.get("attempts"), list):
            fields["attempts"] = _attempts(fields["attempts"])
        return cls(**fields)


def _attempts(documents: list[Any]) -> tuple[Attempt, ...]:
    attempts, faults = [], []
    for index, document in enumerate(documents):
        try:
            attempts.append(Attempt.from_dict(document))
        except ConfigurationError as error:
            faults += [fault.under(f"/attempts/{index}") for fault in error.faults]
    if faults:
        raise ConfigurationError(*faults)
    return tuple(attempts)


def _values(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in attrs.fields(type(record))}


_ID = re.compile(r"[\x21-\x7e]{1,200}").fullmatch
_DELIVERY = {
    "id": Kind(
        "1 to 200 visible ASCII characters",
        lambda value: TEXT.holds(value) and _ID(value) is not None,
    ),
    "webhook": NAME,
    "event": NAME,
    "model": NAME,
    "payload": TEXT,
    "created_at": MOMENT,
    "due_at": MOMENT,
    "status": Kind(
        f"one of {', '.join(DeliveryStatus)}", lambda value: isinstance(value, DeliveryStatus)
    ),
    "attempt_number": COUNT,
    "attempts": Kind(
        "a list of attempts",
        lambda value: isinstance(value, tuple) and all(isinstance(one, Attempt) for one in value),
    ),
    "body": TEXT.or_none,
    "reason": TEXT,
    "revision": COUNT,
    "lease_until": MOMENT.or_none,
}
_ATTEMPT = {
    "number": COUNT,
    "started_at": MOMENT,
    "duration": SECONDS,
    "method": TEXT,
    "url": TEXT,
    "headers": HEADERS,
    "status": COUNT.or_none,
    "response_headers": HEADERS,
    "response_body": TEXT,
    "error_class": TEXT.or_none,
    "error": TEXT.or_none,
    "note": TEXT.or_none,
    "address": TEXT.or_none,
}
