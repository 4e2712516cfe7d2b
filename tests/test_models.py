"""The records."""

import datetime
import json
import uuid

import attrs
import pytest

from changehook.conditions import Conditions
from changehook.errors import ConfigurationError, EncodingError
from changehook.models import Change, new_delivery_id, utcnow
from changehook.payload import freeze

NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


class Nowhere(datetime.tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, moment):
        """Give none."""


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
            {"event": "e", "model": "m", "user": "x", "snapshots": {"pre": {}}},
            "/snapshots/pre: unknown; write prechange.*\n/user: unknown.*\n/data: required",
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


def test_ids_are_unique_and_sort_by_time():
    """No dot, because ids are part of the signed text."""
    ids = [new_delivery_id(NOW + HOUR * hour) for hour in range(3)]
    assert ids == sorted(ids)
    assert len({new_delivery_id(NOW) for _ in range(1000)}) == 1000
    assert "." not in ids[0]
    assert utcnow().tzinfo is datetime.UTC


@pytest.mark.parametrize("hours", [-11, 0, 5.5])
def test_ids_hold_the_milliseconds_in_utc(hours):
    """Also when the moment is that of another time zone."""
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    moment = NOW.replace(microsecond=234_999)
    start = f"msg_{int(NOW.timestamp()) * 1000 + 234:012x}"
    assert new_delivery_id(moment).startswith(start)
    assert new_delivery_id(moment.astimezone(zone)).startswith(start)
