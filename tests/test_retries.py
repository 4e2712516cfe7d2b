"""The retry policy: what follows from an attempt, and when."""

from __future__ import annotations

import datetime
import email.utils
import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changehook.deliveries import Decision, DeliveryStatus
from changehook.errors import (
    AttemptError,
    BlockedError,
    ConfigurationError,
    ConnectError,
    DeadlineError,
    DNSError,
    ProtocolError,
    RenderError,
    SetupError,
    TLSError,
)
from changehook.retries import DEFAULT_SCHEDULE, RetryPolicy

NOW = datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.UTC)


def decide(
    policy: RetryPolicy | None = None,
    *,
    attempt_number: int = 1,
    status: int | None = None,
    error: AttemptError | None = None,
    retry_after: str | None = None,
    chance: float = 0.0,
) -> Decision:
    """Return the decision of a policy at ``NOW``; status 500 unless said otherwise."""
    return (policy or RetryPolicy()).decide(
        attempt_number=attempt_number,
        now=NOW,
        random=lambda: chance,
        status=500 if status is None and error is None else status,
        error=error,
        retry_after=retry_after,
    )


def wait(decision: Decision) -> float:
    """Return the seconds from ``NOW`` to the next attempt."""
    assert decision.status is DeliveryStatus.PENDING
    assert decision.due_at is not None
    return (decision.due_at - NOW).total_seconds()


def faults(document: object) -> dict[str, str]:
    """Return what is wrong with a document, by pointer."""
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy.from_dict(document)  # type: ignore[arg-type] # wrong documents are under test
    return {fault.pointer: fault.message for fault in caught.value.faults}


class TestOutcome:
    """Delivered, tried again, or failed."""

    @pytest.mark.parametrize("status", [200, 201, 204, 226, 299])
    def test_delivered(self, status: int) -> None:
        """Every 2xx status is success, whatever Retry-After says."""
        expected = Decision(status=DeliveryStatus.DELIVERED, reason=str(status))
        assert decide(status=status, retry_after="60", attempt_number=10) == expected

    @pytest.mark.parametrize("status", [300, 301, 302, 304, 400, 401, 404, 408, 429, 500, 503, 599])
    def test_other_statuses_are_tried_again(self, status: int) -> None:
        """No status but 2xx is success: a redirect or a 404 is tried again like a 500."""
        decision = decide(status=status)
        assert wait(decision) == 5
        assert decision.reason == f"status {status}"

    @pytest.mark.parametrize(
        "error", [DNSError, ConnectError, TLSError, DeadlineError, ProtocolError]
    )
    def test_network_failures_are_tried_again(self, error: type[AttemptError]) -> None:
        """Failures without a status are tried again; the reason starts with their class."""
        decision = decide(error=error("no luck"))
        assert wait(decision) == 5
        assert decision.reason == f"{error.error_class}: no luck"

    @pytest.mark.parametrize("error", [BlockedError, RenderError, SetupError])
    def test_what_would_not_change_is_failed_at_once(self, error: type[AttemptError]) -> None:
        """An error that the next attempt would meet again ends the delivery."""
        decision = decide(error=error("no way"))
        assert decision == Decision(
            status=DeliveryStatus.FAILED, reason=f"{error.error_class}: no way"
        )

    def test_gone(self) -> None:
        """410 ends the delivery, also when it names a time."""
        decision = decide(status=410, retry_after="60")
        assert decision == Decision(status=DeliveryStatus.FAILED, reason="status 410")

    @pytest.mark.parametrize(
        ("schedule", "count"), [(DEFAULT_SCHEDULE, "10 attempts"), ((0,), "1 attempt")]
    )
    def test_giving_up(self, schedule: tuple[float, ...], count: str) -> None:
        """After the last attempt of the schedule the delivery is given up, with the last reason."""
        policy = RetryPolicy(schedule=schedule)
        reason = f"gave up after {count}: status 503"
        expected = Decision(status=DeliveryStatus.FAILED, reason=reason)
        assert decide(policy, attempt_number=len(schedule), status=503) == expected

    @pytest.mark.parametrize(
        ("number", "status", "error"),
        [(1, None, None), (1, 200, DNSError("x")), (0, 500, None)],
    )
    def test_contradictions(
        self, number: int, status: int | None, error: AttemptError | None
    ) -> None:
        """An attempt has a status or an error, and a number from 1."""
        with pytest.raises(ValueError, match="a status or an error"):
            RetryPolicy().decide(
                attempt_number=number, now=NOW, random=lambda: 0.0, status=status, error=error
            )


class TestSchedule:
    """When the next attempt is due."""

    def test_the_default(self) -> None:
        """The schedule that Standard Webhooks recommends, one delay after the other."""
        waits = [wait(decide(attempt_number=number)) for number in range(1, 10)]
        assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
        assert RetryPolicy().first_due(NOW) == NOW

    def test_first_delay(self) -> None:
        """The first member of the schedule is the delay before the first attempt."""
        policy = RetryPolicy(schedule=[datetime.timedelta(minutes=1), 2])
        assert policy.first_due(NOW) == NOW + datetime.timedelta(seconds=60)

    @pytest.mark.parametrize(("chance", "expected"), [(0.0, 300), (0.5, 330), (1.0, 360)])
    def test_jitter_is_added(self, chance: float, expected: float) -> None:
        """Chance makes the wait longer by at most its share."""
        decision = decide(RetryPolicy(jitter=0.2), attempt_number=2, chance=chance)
        assert wait(decision) == expected

    def test_other_time_zones(self) -> None:
        """The moment may be given in any time zone."""
        zone = datetime.timezone(datetime.timedelta(hours=-3))
        decision = RetryPolicy().decide(
            attempt_number=1,
            now=NOW.astimezone(zone),
            random=lambda: 0.0,
            status=500,
            retry_after=email.utils.format_datetime(NOW + datetime.timedelta(hours=1), usegmt=True),
        )
        assert wait(decision) == 3600

    @given(
        number=st.integers(1, 9),
        chance=st.floats(0, 1),
        retry_after=st.none() | st.text(max_size=30) | st.integers(0, 10**30).map(str),
    )
    def test_never_earlier(self, number: int, chance: float, retry_after: str | None) -> None:
        """Whatever chance and the receiver say: not before the schedule, not after the bound."""
        policy = RetryPolicy()
        decision = decide(policy, attempt_number=number, chance=chance, retry_after=retry_after)
        delay = DEFAULT_SCHEDULE[number]
        assert delay <= wait(decision) <= max(delay * 1.1, policy.max_retry_after)


class TestRetryAfter:
    """What the receiver asks for (RFC 9110, sections 5.6.7 and 10.2.3)."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("120", 120),
            (" 120 ", 120),
            ("0120", 120),
            ("Sat, 31 Jan 2026 12:02:00 GMT", 120),
            ("Saturday, 31-Jan-26 12:02:00 GMT", 120),
            ("Sat Jan 31 12:02:00 2026", 120),
            ("4", 5),
            ("0", 5),
            ("Sat, 31 Jan 2026 11:00:00 GMT", 5),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 5),
            ("86401", 86400),
            ("9" * 5000, 86400),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        ],
    )
    def test_forms(self, value: str, expected: float) -> None:
        """Seconds and the three forms of a date make the wait longer, up to the bound."""
        assert wait(decide(retry_after=value)) == expected
        assert wait(decide(error=ConnectError("x"), retry_after=value)) == expected

    @pytest.mark.parametrize(
        "value",
        [
            *["", "soon", "-60", "+60", "60.5", "6 0", "0x60", "٦٠", "²", "nan", "1e3", "60, 90"],
            *["Sat, 99 Foo 2026", "Sat, 31 Jan 99999 12:00:00 GMT", "31 Jan 2026 25:61:61 GMT"],
        ],
    )
    def test_what_cannot_be_read_is_ignored(self, value: str) -> None:
        """A value of another form changes nothing."""
        assert wait(decide(retry_after=value)) == 5

    def test_the_bound(self) -> None:
        """The policy decides how long a receiver can put a delivery off."""
        policy = RetryPolicy(max_retry_after=datetime.timedelta(minutes=1))
        assert wait(decide(policy, retry_after="3600")) == 60
        assert wait(decide(policy, retry_after="3600", attempt_number=2)) == 300

    def test_jitter_does_not_shorten_it(self) -> None:
        """What the receiver asks for is kept to, whatever chance adds to the schedule."""
        assert wait(decide(retry_after="7", chance=1.0)) == 7


class TestDocument:
    """The policy as a JSON object."""

    def test_round_trip(self) -> None:
        """A policy comes back from its document, and the document holds plain JSON types."""
        policy = RetryPolicy(
            schedule=(0, datetime.timedelta(seconds=1.5)), jitter=0, max_retry_after=9
        )
        assert policy.to_dict() == {
            "schedule": [0, 1.5],
            "jitter": 0,
            "max_retry_after": 9,
            "max_age": None,
        }
        assert RetryPolicy.from_dict(policy.to_dict()) == policy
        assert RetryPolicy.from_dict(RetryPolicy().to_dict()) == RetryPolicy()

    def test_defaults(self) -> None:
        """What a document leaves out has its default."""
        assert RetryPolicy.from_dict({}) == RetryPolicy()
        assert RetryPolicy.from_dict({"jitter": 0}) == attrs.evolve(RetryPolicy(), jitter=0)
        assert hash(RetryPolicy.from_dict({"schedule": [0]})) == hash(RetryPolicy(schedule=[0]))

    def test_every_fault_is_reported(self) -> None:
        """Unknown keys and wrong values are reported together, each with its pointer."""
        document = {"schedule": [0, -1, "5"], "jitter": 2, "tries/~": 3, "max_retry_after": None}
        assert faults(document) == {
            "/tries~1~0": "unknown; a retry policy has schedule, jitter, max_retry_after, max_age",
            "/schedule/1": "expected a number from 0 to 31536000",
            "/schedule/2": "expected a number, found str",
            "/jitter": "expected a number from 0 to 1",
            "/max_retry_after": "expected a number, found NoneType",
        }

    def test_unknown_key_alone(self) -> None:
        """A misspelt key is never taken for a default."""
        assert list(faults({"Schedule": [0]})) == ["/Schedule"]

    @pytest.mark.parametrize("schedule", ["0, 5", 5, None, {0, 5}, {"0": 5}])
    def test_schedules_are_lists(self, schedule: object) -> None:
        """A schedule is a list, because its order matters."""
        assert "expected a list such as [0, 5, 300]" in faults({"schedule": schedule})["/schedule"]

    @pytest.mark.parametrize("count", [0, 101])
    def test_length(self, count: int) -> None:
        """A schedule has from one to a hundred members."""
        message = f"expected 1 to 100 delays, found {count}"
        assert faults({"schedule": [0] * count}) == {"/schedule": message}

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, True, -0.1])
    def test_numbers(self, value: float) -> None:
        """Numbers that are no delay are refused everywhere."""
        pointers = ["/schedule/0", "/jitter", "/max_retry_after"]
        document = {"schedule": [value], "jitter": value, "max_retry_after": value}
        assert list(faults(document)) == pointers

    @pytest.mark.parametrize("document", [None, [0, 5], "0, 5"])
    def test_not_an_object(self, document: object) -> None:
        """Anything but an object is refused with an example."""
        assert 'such as {"schedule": [0, 5, 300]}' in faults(document)[""]


class TestAge:
    """Giving up by age."""

    POLICY = RetryPolicy(schedule=(0, 60, 600), jitter=0, max_age=datetime.timedelta(minutes=10))

    def decided(self, attempt_number: int, minutes: float) -> Decision:
        """Return the decision on a failure so long after the first attempt."""
        return self.POLICY.decide(
            attempt_number=attempt_number,
            now=NOW,
            random=lambda: 0.0,
            status=500,
            scheduled_at=NOW - datetime.timedelta(minutes=minutes),
        )

    def test_a_retry_within_the_age_is_made(self) -> None:
        """The last moment counts."""
        assert self.decided(1, 9).status is DeliveryStatus.PENDING
        assert self.decided(2, 0).status is DeliveryStatus.PENDING

    def test_one_beyond_it_is_given_up(self) -> None:
        """With the schedule not at its end."""
        decision = self.decided(1, 9.1)
        assert decision.status is DeliveryStatus.FAILED
        assert decision.reason == "gave up after 1 attempt: status 500"

    def test_a_receiver_that_asks_for_more_is_given_up(self) -> None:
        """What it asks for lies beyond the age."""
        decision = self.POLICY.decide(
            attempt_number=1, now=NOW, random=lambda: 0.0, status=503, retry_after="601"
        )
        assert decision.status is DeliveryStatus.FAILED

    @pytest.mark.parametrize("age", [-1, "1h", True])
    def test_it_is_a_number_of_seconds(self, age: object) -> None:
        """Or None."""
        assert "/max_age" in faults({"max_age": age})
        assert RetryPolicy(max_age=None) == RetryPolicy()
