"""The filter of deliveries: what it takes, and what it refuses."""

import datetime

import pytest

from changehook import ConfigurationError, DeliveryFilter, InMemoryQueue
from changehook.testing import make_delivery


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        (
            {"status": "fialed"},
            "/status: unknown; one of pending, delivering, delivered, failed, skip",
        ),
        ({"since": datetime.datetime(2026, 1, 1)}, "/since: expected a datetime with a time zone"),
        ({"until": "2026-01-01"}, "/until: expected a datetime with a time zone"),
    ],
)
def test_a_filter_that_cannot_be_used_is_refused(criteria, message):
    """When it is built, not when it is used."""
    with pytest.raises(ConfigurationError, match=message):
        DeliveryFilter(**criteria)


def test_a_filter_takes_names_and_moments():
    """The name of a status is as good as the status."""
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    where = DeliveryFilter(status="pending", since=moment)
    assert where.wants(make_delivery())


def test_what_is_no_filter_is_refused():
    """A status alone, or a delivery, is not taken for a filter."""
    queue = InMemoryQueue()
    for call in (queue.find, queue.retry, queue.discard):
        with pytest.raises(ConfigurationError, match=r"expected a DeliveryFilter\(status=...\)"):
            call(make_delivery())


@pytest.mark.parametrize("limit", [-1, "10", 1.5, None])
def test_a_limit_is_a_number_of_deliveries(limit):
    """Anything else is refused by its name."""
    with pytest.raises(ConfigurationError, match=r"limit is .*; write a number of deliveries"):
        InMemoryQueue().find(limit=limit)
