"""What follows from an attempt: delivered, another attempt at a certain time, or giving up."""

from __future__ import annotations

import datetime
import email.utils
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from changehook.deliveries import Decision, DeliveryStatus
from changehook.errors import SHOWN_NAME, AttemptError, ConfigurationError, Fault, pointer_to

__all__ = ["DEFAULT_SCHEDULE", "GONE", "RetryPolicy", "asked_for"]

STRANGE_KEYS = 8
DEFAULT_SCHEDULE = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
LONGEST_DELAY = 365 * 86400
MOST_ATTEMPTS = 100
GONE = 410


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, datetime.timedelta) else value


def _schedule(value: Any) -> Any:
    return tuple(map(_seconds, value)) if isinstance(value, list | tuple) else value


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a delivery is tried again, and when it is given up.

    Args:
        schedule: the seconds to wait before each attempt, the first included; as many attempts are
            made as it has members. Any of them may be a ``timedelta``.
        jitter: the largest share of a delay that is added to it by chance, 0 to 1.
        max_retry_after: the most seconds that a receiver's ``Retry-After`` can ask for.
        max_age: the seconds after the first attempt in which another one may be due, the jitter
            included; None: only the schedule ends it.

    Raises:
        ConfigurationError: some argument cannot be used; every fault is listed.
    """

    schedule: Sequence[float] = attrs.field(default=DEFAULT_SCHEDULE, converter=_schedule)
    jitter: float = 0.1
    max_retry_after: float = attrs.field(default=86400, converter=_seconds)
    max_age: float | None = attrs.field(default=None, converter=_seconds)

    def __attrs_post_init__(self) -> None:
        faults = [
            *_schedule_faults(self.schedule),
            *_number_faults("/jitter", self.jitter, 1),
            *_number_faults("/max_retry_after", self.max_retry_after, LONGEST_DELAY),
        ]
        if self.max_age is not None:
            faults += _number_faults("/max_age", self.max_age, LONGEST_DELAY)
        if faults:
            raise ConfigurationError(*faults)

    def first_due(self, now: datetime.datetime) -> datetime.datetime:
        """Return when the first attempt of a delivery that is made now is due."""
        delay = self.schedule[0]
        return now + datetime.timedelta(seconds=delay) if delay else now

    def decide(
        self,
        *,
        attempt_number: int,
        now: datetime.datetime,
        random: Callable[[], float],
        status: int | None = None,
        error: AttemptError | None = None,
        retry_after: str | None = None,
        scheduled_at: datetime.datetime | None = None,
    ) -> Decision:
        """Return what follows from an attempt, which gave either a status or an error.

        Args:
            attempt_number: of the attempt that was made; counts from 1.
            now: aware.
            random: returns a number from 0 to 1.
            status: of the receiver's response.
            error: what happened instead of a response.
            retry_after: the value of the response's ``Retry-After`` (RFC 9110 §10.2.3): seconds or
                a date. It only ever makes the wait longer. One that cannot be read is ignored.
            scheduled_at: when the first attempt of this schedule was made; None: it is this one.

        Raises:
            ValueError: the arguments contradict each other.
        """
        if (status is None) == (error is None) or attempt_number < 1:
            raise ValueError("give a status or an error, and an attempt number from 1")
        if status is not None and 200 <= status < 300:
            return Decision(status=DeliveryStatus.DELIVERED, reason=str(status))
        reason = f"status {status}" if error is None else f"{error.error_class}: {error}"
        if status == GONE or (error is not None and not error.retryable):
            return Decision(status=DeliveryStatus.FAILED, reason=reason)
        gave_up = Decision(
            status=DeliveryStatus.FAILED,
            reason=f"gave up after {_attempts(attempt_number)}: {reason}",
        )
        if self.exhausted(attempt_number):
            return gave_up
        delay = self.schedule[attempt_number] * (1 + self.jitter * random())
        asked = min(asked_for(retry_after, now), self.max_retry_after)
        due_at = now + datetime.timedelta(seconds=max(delay, asked))
        if self._too_old(due_at, scheduled_at or now):
            return gave_up
        return Decision(status=DeliveryStatus.PENDING, due_at=due_at, reason=reason)

    def exhausted(self, attempt_number: int) -> bool:
        """Return whether the attempt of that number is the last one, or beyond it."""
        return attempt_number >= len(self.schedule)

    def _too_old(self, due_at: datetime.datetime, scheduled_at: datetime.datetime) -> bool:
        age = (due_at - scheduled_at).total_seconds()
        return self.max_age is not None and age > self.max_age

    def to_dict(self) -> dict[str, Any]:
        """Return the policy as a JSON object."""
        return {
            "schedule": list(self.schedule),
            "jitter": self.jitter,
            "max_retry_after": self.max_retry_after,
            "max_age": self.max_age,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> RetryPolicy:
        """Return the policy of a JSON object; what it leaves out has its default.

        Raises:
            ConfigurationError: a key is unknown or a value cannot be used; every fault is listed.
        """
        if not isinstance(document, Mapping):
            raise ConfigurationError('expected an object such as {"schedule": [0, 5, 300]}')
        names = [field.name for field in attrs.fields(cls)]
        strange = (key for key in document if not isinstance(key, str) or key not in names)
        faults = [
            Fault(
                pointer_to(str(key)[:SHOWN_NAME]), f"unknown; a retry policy has {', '.join(names)}"
            )
            for key in itertools.islice(strange, STRANGE_KEYS)
        ]
        try:
            policy = cls(**{name: document[name] for name in names if name in document})
        except ConfigurationError as error:
            faults += error.faults
        if faults:
            raise ConfigurationError(*faults)
        return policy


def _schedule_faults(schedule: object) -> list[Fault]:
    if not isinstance(schedule, tuple):
        found = type(schedule).__name__
        return [Fault("/schedule", f"expected a list such as [0, 5, 300], found {found}")]
    if not 1 <= len(schedule) <= MOST_ATTEMPTS:
        return [Fault("/schedule", f"expected 1 to {MOST_ATTEMPTS} delays, found {len(schedule)}")]
    return [
        fault
        for index, delay in enumerate(schedule)
        for fault in _number_faults(f"/schedule/{index}", delay, LONGEST_DELAY)
    ]


def _number_faults(pointer: str, value: object, most: int) -> list[Fault]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [Fault(pointer, f"expected a number, found {type(value).__name__}")]
    if not 0 <= value <= most:
        return [Fault(pointer, f"expected a number from 0 to {most}")]
    return []


def _attempts(count: int) -> str:
    return f"{count} attempt" if count == 1 else f"{count} attempts"


def asked_for(retry_after: str | None, now: datetime.datetime) -> float:
    """Return the seconds that a ``Retry-After`` asks for, as a number or a date; 0 for none."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    moment = _http_date(text)
    return (moment - now).total_seconds() if moment else 0.0


def _http_date(text: str) -> datetime.datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
