"""The life of a delivery, its messages and what they refuse."""

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changehook.deliveries import Attempt, Decision, Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, DeliveryStateError

NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


def make(**changes):
    """Return a delivery."""
    values = {
        "id": "msg_1",
        "webhook": "w",
        "event": "created",
        "model": "site",
        "payload": "{}",
        "created_at": NOW,
        "due_at": NOW,
    }
    return Delivery(**{**values, **changes})


def attempt(number=1, **changes):
    """Return an attempt."""
    return Attempt(**{"number": number, "started_at": NOW, "duration": 0.25, **changes})


def test_the_life_of_a_delivery():
    """Claimed, tried again, delivered: each a new record, one revision further."""
    delivery = make()
    claimed = delivery.claimed()
    assert (claimed.status, claimed.attempt_number, claimed.revision) == ("delivering", 1, 1)
    again = claimed.after(
        attempt(),
        Decision(status=DeliveryStatus.PENDING, due_at=NOW + HOUR, reason="status 500"),
        body="b",
    )
    assert (again.status, again.due_at, again.reason, again.body) == (
        "pending",
        NOW + HOUR,
        "status 500",
        "b",
    )
    done = again.claimed().after(attempt(2), Decision(status=DeliveryStatus.DELIVERED), body="c")
    assert (done.status, done.body, len(done.attempts)) == ("delivered", "b", 2)
    assert (done.attempt_number, done.revision) == (2, 4)
    assert delivery.status == "pending"


def test_a_retry_by_hand_starts_the_schedule_again():
    """Due now, no attempt counted, what happened kept."""
    decision = Decision(status=DeliveryStatus.FAILED, reason="r")
    failed = make().claimed().after(attempt(), decision)
    retried = failed.retried(NOW + HOUR)
    assert (retried.status, retried.due_at, retried.attempt_number) == ("pending", NOW + HOUR, 0)
    assert retried.attempts == failed.attempts


def test_only_a_pending_delivery_is_claimed():
    """And one that is being delivered is not retried."""
    with pytest.raises(DeliveryStateError, match="only a pending one is claimed"):
        make(status=DeliveryStatus.FAILED).claimed()
    with pytest.raises(DeliveryStateError, match="is being delivered"):
        make().claimed().retried(NOW)


def test_a_skipped_delivery_says_why():
    """It is finished, but can be retried."""
    skipped = make().claimed().skipped("the webhook is gone")
    assert skipped.status.finished
    assert skipped.reason == "the webhook is gone"
    assert skipped.retried(NOW).status == "pending"
    assert [status for status in DeliveryStatus if not status.finished] == ["pending", "delivering"]


def test_a_delivery_survives_its_message():
    """Everything is in the JSON, with the version of its form."""
    delivery = (
        make(payload='{"a":"ü"}')
        .claimed()
        .after(
            attempt(headers={"A": "b"}, status=200, response_headers={"c": "d"}),
            Decision(status=DeliveryStatus.DELIVERED),
            body="body",
        )
    )
    message = delivery.to_json()
    assert json.loads(message)["version"] == 1
    assert Delivery.from_json(message) == delivery == Delivery.from_json(message.encode())


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("nonsense", "not a delivery message"),
        ("[]", "not a delivery message"),
        ("{}", r"not a delivery message \(no version\)"),
        ('{"version": 1}', "not a delivery message"),
        ('{"version": 2}', "delivery message of version 2; this release reads 1"),
        (make().to_json().replace('"pending"', '"lost"'), "not a delivery message"),
        (make().to_json().replace('"due_at"', '"due"'), "not a delivery message"),
        (make().to_json().replace('_number": 0', '_number": false'), "/attempt_number: expected a"),
        (make().to_json().replace('"revision": 0', '"revision": 0.0'), "/revision: expected a"),
    ],
)
def test_what_is_no_delivery_message_is_refused(message, text):
    """A worker gets one clear error for whatever its broker hands it."""
    with pytest.raises(ConfigurationError, match=text):
        Delivery.from_json(message)


@given(
    st.text(st.characters(codec="utf-8")),
    st.text(st.characters(codec="utf-8")),
    st.datetimes(timezones=st.just(datetime.UTC)),
)
def test_any_delivery_round_trips(payload, reason, moment):
    """Whatever text it holds."""
    delivery = make(payload=payload, reason=reason, due_at=moment)
    assert Delivery.from_json(delivery.to_json()) == delivery


def test_a_delivery_hides_what_it_carries():
    """No payload and no body in its repr."""
    assert "SECRET" not in repr(make(payload='"SECRET"', body="SECRET"))


def test_attempts_may_be_given_as_a_list():
    """A record is frozen, so it keeps a tuple."""
    assert make(attempts=[]).attempts == ()
    assert isinstance(make(attempts=[]).attempts, tuple)


def test_a_lease_that_ended_makes_it_due_at_once():
    """The attempt that nobody came back from counts, and is recorded."""
    claimed = make().claimed(NOW + HOUR)
    assert claimed.lease_until == NOW + HOUR
    again = claimed.lease_expired(NOW + 2 * HOUR)
    assert (again.status, again.due_at, again.lease_until) == ("pending", NOW + 2 * HOUR, None)
    assert (again.attempt_number, again.revision) == (1, 2)
    assert again.reason == "lost: its worker died; what the receiver got is not known"
    assert again.attempts[0].error_class == "lost"
    assert again.claimed().after(attempt(2), Decision(status=DeliveryStatus.DELIVERED)).attempts


def test_a_released_one_was_never_claimed():
    """But for its revision, which no earlier worker can save over."""
    released = make().claimed(NOW + HOUR).released()
    assert (released.status, released.attempt_number, released.lease_until) == ("pending", 0, None)
    assert released.revision == 2


def test_one_is_given_up_without_an_attempt():
    """It is failed, and says why."""
    given_up = make().claimed(NOW).given_up("gave up after attempt 3: lost")
    assert (given_up.status, given_up.reason) == ("failed", "gave up after attempt 3: lost")
    assert (given_up.attempts, given_up.lease_until) == ((), None)


def test_a_retry_may_make_the_body_anew():
    """Otherwise the same bytes are sent again."""
    decision = Decision(status=DeliveryStatus.FAILED)
    failed = make().claimed().after(attempt(), decision, body="kept")
    assert failed.retried(NOW).body == "kept"
    assert failed.retried(NOW, rerender=True).body is None


def test_the_schedule_began_with_its_first_attempt():
    """Also while a later one is being made, and after it was retried by hand."""
    retry = Decision(status=DeliveryStatus.PENDING, due_at=NOW + HOUR)
    delivery = make()
    assert delivery.scheduled_at is None
    claimed = delivery.claimed()
    assert claimed.scheduled_at is None
    once = claimed.after(attempt(), retry)
    later = once.claimed().after(attempt(2, started_at=NOW + HOUR), retry)
    assert once.scheduled_at == later.scheduled_at == later.claimed().scheduled_at == NOW
    anew = later.retried(NOW + 2 * HOUR)
    assert anew.scheduled_at is anew.claimed().scheduled_at is None
    third = anew.claimed().after(attempt(3, started_at=NOW + 2 * HOUR), retry)
    assert third.scheduled_at == NOW + 2 * HOUR


def test_the_latest_moment_that_a_record_tells_of():
    """What is planned does not count, except by someone's hand, which means now."""
    retry = Decision(status=DeliveryStatus.PENDING, due_at=NOW + HOUR)
    delivery = make(due_at=NOW + HOUR)
    assert delivery.recorded_at == NOW
    tried = delivery.claimed().after(attempt(started_at=NOW + HOUR), retry)
    assert tried.recorded_at == NOW + HOUR
    assert tried.retried(NOW + 2 * HOUR).recorded_at == NOW + 2 * HOUR


@pytest.mark.parametrize(
    "move",
    [
        lambda claimed: claimed.after("x", Decision(status=DeliveryStatus.FAILED)),
        lambda claimed: claimed.after(attempt(), Decision(status="failed")),
        lambda claimed: claimed.skipped(5),
        lambda claimed: claimed.lease_expired("now"),
        lambda claimed: make().claimed("soon"),
    ],
)
def test_a_move_to_what_is_no_delivery_is_refused(move):
    """What changes is checked like a new record."""
    with pytest.raises(ConfigurationError):
        move(make().claimed())
