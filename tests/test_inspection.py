"""What an operator asks and is told: filters, retention, figures."""

import datetime

import pytest

from changehook import (
    ConfigurationError,
    DeliveryFilter,
    DeliveryStatus,
    InMemoryQueue,
    InspectableQueue,
    QueueStats,
    Retention,
    WebhookTally,
    WorkerHeartbeat,
)
from changehook.inspection import DisabledWebhook, figures_of
from changehook.testing import make_delivery
from changehook.testing.deliveries import NOW, delivered, failed, later


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        (
            {"status": "fialed"},
            "/status: unknown; one of pending, delivering, delivered, failed, skip",
        ),
        ({"since": datetime.datetime(2026, 1, 1)}, "/since: expected a datetime with a time zone"),
        ({"until": "2026-01-01"}, "/until: expected a datetime with a time zone"),
        *(
            ({"between": pair}, "/between: expected the positions of two deliveries, the newest")
            for pair in (
                (),
                "ab",
                [(NOW, "a"), (NOW, "a")],
                ((NOW, "a"),),
                ((NOW, "a"), None),
                ((NOW, "a"), (NOW,)),
                ((NOW, "a"), (NOW, 5)),
                ((NOW, "a"), ("2026-01-01", "a")),
                ((NOW, "a"), (datetime.datetime(2026, 1, 1), "a")),
                ((NOW, "a"), (NOW, "b")),
                ((NOW, "a"), (later(1), "a")),
            )
        ),
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


@pytest.mark.parametrize("argument", ["delivered", "failed", "count"])
@pytest.mark.parametrize("value", [0, -1, "7d", True, float("nan")])
def test_a_retention_is_of_numbers_above_zero(argument, value):
    """Anything else is refused by its name; None is for ever."""
    with pytest.raises(ConfigurationError, match=f"/{argument}: expected a number above 0"):
        Retention(**{argument: value})
    Retention(**{argument: None})


def test_a_retention_tells_the_oldest_moment():
    """Failed and skipped deliveries have one time, delivered ones another."""
    kept = Retention(delivered=datetime.timedelta(days=1), failed=None)
    assert kept.oldest(DeliveryStatus.DELIVERED, NOW) == later(-86400)
    assert kept.oldest(DeliveryStatus.SKIPPED, NOW) is None
    assert Retention().oldest(DeliveryStatus.FAILED, NOW) == later(-30 * 86400)


def test_a_worker_is_alive_for_a_minute():
    """Also one whose clock is a little ahead; one that has stopped has no threads."""
    fields = {"worker": "w", "host": "h", "pid": 1, "busy": 0, "started_at": NOW, "seen_at": NOW}
    worker = WorkerHeartbeat(**fields, threads=2)
    assert worker.is_alive(later(59))
    assert worker.is_alive(later(-59))
    assert not worker.is_alive(later(61))
    assert not WorkerHeartbeat(**fields, threads=0).is_alive(NOW)


def test_tallies_are_summed_and_the_last_reason_stays():
    """One that brings no reason leaves the one before."""
    first = WebhookTally(webhook="a", matched=1, reason="x", reason_at=NOW)
    both = first.plus(WebhookTally(webhook="a", matched=2, not_matched=3, unresolvable=4))
    assert (both.matched, both.not_matched, both.unresolvable) == (3, 3, 4)
    assert (both.reason, both.reason_at) == ("x", NOW)
    assert both.plus(WebhookTally(webhook="a", reason="y", reason_at=later(1))).reason == "y"


def test_what_came_of_an_attempt_is_named():
    """For the hour in which it was made, with the time that it took."""
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    claimed = make_delivery().claimed()
    assert figures_of(delivered(claimed)) == (hour, "delivered", 0.1)
    assert figures_of(failed(claimed)) == (hour, "failed", 0.1)
    assert figures_of(claimed.lease_expired(NOW)) == (hour, "lost", 0.0)
    assert figures_of(claimed.skipped("off")) == (hour, "skipped", 0.0)
    assert figures_of(claimed.given_up("poison")) == (hour, "failed", 0.0)
    assert figures_of(failed(claimed).retried(NOW)) is None
    assert figures_of(claimed) is None


def test_figures_are_plain_json():
    """Moments as ISO 8601, statuses as their names."""
    stats = QueueStats(
        counts={DeliveryStatus.PENDING: 1},
        disabled=(DisabledWebhook(webhook="a", reason="410", at=NOW),),
    )
    assert stats.to_dict() == {
        "counts": {"pending": 1},
        "age_of_oldest_due": None,
        "hours": [],
        "workers": [],
        "webhooks": [],
        "disabled": [{"webhook": "a", "reason": "410", "at": "2026-01-01T12:00:00+00:00"}],
    }


class ListQueue(InspectableQueue):
    """The least that an inspectable queue must bring."""

    def __init__(self, *kept):
        self.kept = kept

    def put(self, deliveries):
        """Take none."""

    def counts(self):
        """Count none."""
        return {}

    def find(self, where=None, *, limit=100, after=None):
        """Find what agrees."""
        return [each for each in self.kept if where.wants(each)][:limit]

    def get(self, delivery_id):
        """Find none."""

    def retry(self, which, **options):
        """Retry none."""

    def discard(self, which, **options):
        """Discard none."""


def test_a_queue_has_figures_by_itself():
    """Whoever writes one need not write those."""
    queue = ListQueue(make_delivery(), make_delivery(model="other"))
    assert queue.count(DeliveryFilter(model="other")) == 1
    assert queue.age_of_oldest_due() > 0
    assert queue.stats().age_of_oldest_due > 0
    assert queue.stats().counts == {}
    assert ListQueue().age_of_oldest_due() is None
    assert ListQueue(make_delivery(due_at=NOW.replace(year=2999))).age_of_oldest_due() is None
    assert queue.start() is None
