"""The records."""

import datetime
import json
import uuid

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changehook.conditions import Conditions
from changehook.deliveries import Attempt, Decision, Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, DeliveryStateError, EncodingError
from changehook.models import Change, new_delivery_id, utcnow
from changehook.payload import freeze

NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


class Nowhere(datetime.tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, moment):
        """Give none."""


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


@attrs.define
class Site:
    """A class of the host."""

    name: str


class Hooked:
    """A class of the host with its own JSON form."""

    def __json__(self):
        """Give it."""
        return {}


@pytest.mark.parametrize("data", [{}, {"a": 1}, Site("x"), Hooked(), json.JSONDecoder])
def test_a_change_takes_objects_only(data):
    """Mappings, attrs and dataclass instances, and what has a JSON form; not classes."""
    if isinstance(data, type):
        with pytest.raises(ConfigurationError, match="/data: expected a mapping"):
            Change(event="created", model="site", data=data)
    else:
        assert Change(event="created", model="site", data=data, postchange=data).data is data


def test_an_instance_with_an_unset_field_is_still_an_object():
    """What is missing is found when it is read."""
    change = Change(event="created", model="site", data=Site.__new__(Site))
    assert Conditions({"attr": "name", "value": "x"}).matches(change) is False
    with pytest.raises(EncodingError, match=r"data: '.*Site' object has no attribute 'name'"):
        freeze(change)


def test_every_fault_of_a_change_is_named_at_once():
    """One error tells all."""
    with pytest.raises(ConfigurationError) as caught:
        Change(event="", model=3, data=[], prechange="x", username=5.0, request_id=b"x")
    assert [str(fault) for fault in caught.value.faults] == [
        "/event: must not be empty",
        "/model: expected text, found int",
        "/data: expected a mapping, an attrs or dataclass instance, found list",
        "/prechange: expected a mapping, an attrs or dataclass instance, found str",
        "/username: expected text, found float",
        "/request_id: expected text, found bytes",
    ]


def test_a_change_converts_what_hosts_have():
    """A UUID as request id, ISO text as timestamp."""
    change = Change(
        event="created",
        model="site",
        data={},
        request_id=uuid.UUID(int=1),
        timestamp="2026-01-01T12:00:00Z",
    )
    assert change.request_id == "00000000-0000-0000-0000-000000000001"
    assert change.timestamp == NOW
    other = Change(event="e", model="m", data={}, timestamp="2026-01-01T14:00:00+02:00")
    assert other.timestamp == NOW


@pytest.mark.parametrize(
    ("timestamp", "message"),
    [
        (datetime.datetime(2026, 1, 1), "has no time zone"),
        ("yesterday", "not an ISO 8601 moment"),
        (5, "expected a datetime, found int"),
        (
            datetime.datetime.min.replace(tzinfo=datetime.timezone(HOUR)),
            "outside the years 1 to 9999 in UTC",
        ),
        (datetime.datetime(2026, 1, 1, tzinfo=Nowhere()), "has no time zone"),
    ],
)
def test_a_timestamp_must_be_a_moment(timestamp, message):
    """A naive datetime is ambiguous and refused."""
    with pytest.raises(ConfigurationError, match=message):
        Change(event="created", model="site", data={}, timestamp=timestamp)


def test_a_change_is_read_from_the_form_of_the_default_body():
    """What a receiver got can be put in again."""
    change = Change.from_dict(
        {
            "event": "updated",
            "timestamp": "2026-01-01T12:00:00+00:00",
            "model": "site",
            "username": "ann",
            "request_id": "r",
            "data": {"a": 1},
            "snapshots": {"prechange": {"a": 0}, "postchange": {"a": 1}},
            "context": {"added": "by a provider"},
        }
    )
    assert (change.prechange, change.postchange) == ({"a": 0}, {"a": 1})
    assert change == Change.from_dict(
        {
            "event": "updated",
            "timestamp": "2026-01-01T12:00:00+00:00",
            "model": "site",
            "username": "ann",
            "request_id": "r",
            "data": {"a": 1},
            "prechange": {"a": 0},
            "postchange": {"a": 1},
        }
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "a change is a JSON object"),
        ({"event": "e", "model": "m"}, "/data: required"),
        ({"event": "e", "model": "m", "data": {}, "user": "x"}, "/user: unknown"),
        ({"event": "e", "model": "m", "data": {}, "snapshots": []}, None),
        (
            {"event": "e", "model": "m", "data": {}, "snapshots": {"pre": {}}},
            "/snapshots: expected an object with prechange and postchange",
        ),
        (
            {"event": "e", "model": "m", "data": {}, "snapshots": [1]},
            "/snapshots: expected an object with prechange and postchange",
        ),
    ],
)
def test_a_document_that_is_no_change_is_refused(document, message):
    """The error says what is missing or unknown."""
    if message is None:
        assert Change.from_dict(document).prechange is None
        return
    with pytest.raises(ConfigurationError, match=message):
        Change.from_dict(document)


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


def test_ids_are_unique_and_sort_by_time():
    """No dot, because ids are part of the signed text."""
    ids = [new_delivery_id(NOW + HOUR * hour) for hour in range(3)]
    assert ids == sorted(ids)
    assert len({new_delivery_id(NOW) for _ in range(1000)}) == 1000
    assert "." not in ids[0]
    assert utcnow().tzinfo is datetime.UTC
