"""What an operator can ask of every store, as tests for pytest: a part of ``StoreContract``."""

from __future__ import annotations

import abc
import datetime
from typing import Any

import attrs

from changehook.deliveries import Decision, Delivery, DeliveryStatus
from changehook.inspection import (
    DeliveryFilter,
    DisabledWebhook,
    Retention,
    WebhookTally,
    WorkerHeartbeat,
)
from changehook.interfaces import Store
from changehook.testing.deliveries import (
    NOW,
    after_attempt,
    delayed,
    delivered,
    failed,
    later,
    make_delivery,
)

__all__ = ["OperatingContract"]


class OperatingContract(abc.ABC):
    """What every store must tell: counts, pages, figures, what is disabled; how it is purged."""

    @abc.abstractmethod
    def make_store(self, capacity: int) -> Store:
        """Return a fresh, empty store with places for ``capacity`` unfinished deliveries."""

    def claim(self, store: Store, now: datetime.datetime = NOW) -> Delivery:
        """Return a claimed delivery; there must be one that is due."""
        (claimed,) = store.claim(now)
        return claimed

    def test_counts_name_every_status(self) -> None:
        """Each status is counted, also with none in it."""
        store = self.make_store(10)
        assert store.counts() == dict.fromkeys(DeliveryStatus, 0)
        store.add([make_delivery() for _ in range(4)])
        store.save(delivered(self.claim(store)))
        store.save(failed(self.claim(store)))
        self.claim(store)
        assert store.counts() == {
            DeliveryStatus.PENDING: 1,
            DeliveryStatus.DELIVERING: 1,
            DeliveryStatus.DELIVERED: 1,
            DeliveryStatus.FAILED: 1,
            DeliveryStatus.SKIPPED: 0,
        }

    def test_find_gives_the_newest_first(self) -> None:
        """The limit keeps the newest."""
        store = self.make_store(10)
        added = [make_delivery(created_at=later(seconds)) for seconds in range(5)]
        for delivery in added:
            store.add([delivery])
        assert store.find(DeliveryFilter(), 2) == [added[4], added[3]]
        assert store.find(DeliveryFilter()) == added[::-1]

    def test_find_obeys_every_argument_of_the_filter(self) -> None:
        """Each argument of a filter leaves out what does not agree with it."""
        store = self.make_store(10)
        wanted = make_delivery(
            webhook="one", model="device", created_at=later(10), event="job.done"
        )
        store.add([wanted, make_delivery()])
        waiting = delayed(self.claim(store), 900)
        store.save(waiting)
        filters: list[dict[str, Any]] = [
            {"webhook": "one"},
            {"model": "device"},
            {"since": later(10)},
            {"text": "job.done"},
            {"failing": True},
            {"status": "pending", "failing": True, "webhook": "one", "until": later(11)},
        ]
        for criteria in filters:
            found = store.find(DeliveryFilter(**criteria))
            assert [delivery.id for delivery in found] == [wanted.id], criteria
        assert [d.id for d in store.find(DeliveryFilter(until=later(10)))] != [wanted.id]
        assert store.find(DeliveryFilter(text="nowhere")) == []

    def test_pages_are_stable(self) -> None:
        """What is added or removed between two pages neither repeats nor hides anything."""
        store = self.make_store(100)
        added = [make_delivery(created_at=later(number // 3)) for number in range(30)]
        store.add(added)
        expected = sorted(added, key=lambda each: each.position, reverse=True)
        first = store.find(DeliveryFilter(), 10)
        store.add([make_delivery(created_at=later(99))])
        store.remove(first)
        second = store.find(DeliveryFilter(), 10, first[-1].position)
        third = store.find(DeliveryFilter(), None, second[-1].position)
        assert [*first, *second, *third] == expected

    def test_a_filter_takes_what_stands_between_two_positions(self) -> None:
        """Both are included, also among those of one moment; pages and other arguments hold."""
        store = self.make_store(100)
        added = [make_delivery(created_at=later(number // 5)) for number in range(20)]
        store.add(added)
        newest = sorted(added, key=lambda each: each.position, reverse=True)
        between = DeliveryFilter(between=(newest[3].position, newest[11].position))
        assert store.find(between) == newest[3:12]
        assert store.find(between, 4, newest[5].position) == newest[6:10]
        assert store.find(between, None, newest[11].position) == []
        assert store.count(between) == 9
        one = DeliveryFilter(between=(newest[3].position,) * 2)
        assert store.find(one) == [newest[3]]
        assert store.count(attrs.evolve(one, model="another")) == 0

    def test_deliveries_are_counted_by_filter(self) -> None:
        """The count is that of what would be found."""
        store = self.make_store(10)
        store.add([make_delivery(model=f"m{number % 3}") for number in range(10)])
        assert store.count(DeliveryFilter(model="m0")) == 4
        assert store.count(DeliveryFilter(model="m9")) == 0

    def test_the_class_of_the_last_error_is_found(self) -> None:
        """An earlier attempt's class does not count."""
        store = self.make_store(10)
        store.add([make_delivery()])
        dead = self.claim(store)
        second = self.claim(store, later(3600))
        assert [each.id for each in store.find(DeliveryFilter(error_class="lost"))] == [dead.id]
        store.save(delivered(second))
        assert store.find(DeliveryFilter(error_class="lost")) == []

    def test_what_failed_last_is_found(self) -> None:
        """Whether it is made again or was given up; not what went through since."""
        store = self.make_store(10)
        store.add([make_delivery(webhook=name) for name in "abcd"])
        first, second, third = store.claim(NOW, limit=3)
        store.save(delivered(first))
        for claimed, status in ((second, DeliveryStatus.PENDING), (third, DeliveryStatus.FAILED)):
            decision = Decision(status=status, due_at=later(60))
            store.save(after_attempt(claimed, decision, status=500, error_class="status"))
        where = DeliveryFilter(with_error=True)
        assert [each.webhook for each in store.find(where)] == ["c", "b"]
        assert [each.webhook for each in store.find(where, 1)] == ["c"]
        assert store.find(attrs.evolve(where, webhook="a"), 1) == []
        assert store.count(attrs.evolve(where, status=DeliveryStatus.FAILED)) == 1
        _, again = store.claim(later(60), limit=2)
        store.save(delivered(again))
        assert [each.webhook for each in store.find(where)] == ["c"]

    def test_what_is_finished_is_purged_by_age_and_count(self) -> None:
        """What is pending or being attempted stays, however old."""
        store = self.make_store(100)
        store.add([make_delivery(created_at=later(number)) for number in range(10)])
        for claimed in store.claim(NOW, limit=9):
            store.save(delivered(claimed))
        self.claim(store)
        store.add([make_delivery(created_at=later(-9999))])
        nothing = Retention(delivered=None, failed=None, count=None)
        assert store.purge(nothing, later(9999)) == 0
        assert store.purge(Retention(delivered=60), later(62.5)) == 3
        assert store.purge(Retention(delivered=None, count=4), NOW, limit=1) == 1
        assert store.purge(Retention(delivered=None, count=4), NOW) == 1
        left = store.find(DeliveryFilter(status=DeliveryStatus.DELIVERED))
        assert [each.created_at for each in left] == [later(second) for second in (8, 7, 6, 5)]
        assert store.counts()[DeliveryStatus.PENDING] == 1

    def test_a_webhook_is_disabled_until_it_is_enabled(self) -> None:
        """The first reason stays."""
        store = self.make_store(10)
        gone = DisabledWebhook(webhook="a", reason="410", at=NOW)
        assert store.disable(gone)
        assert not store.disable(DisabledWebhook(webhook="a", reason="by hand", at=later(1)))
        assert store.disabled() == {"a": gone}
        assert store.enable("a")
        assert not store.enable("a")
        assert store.disabled() == {}

    def test_figures_are_kept(self) -> None:
        """Outcomes by hour, workers, and how often webhooks were asked, with the last reason."""
        store = self.make_store(10)
        worker = WorkerHeartbeat(
            worker="w", host="h", pid=1, threads=2, busy=1, started_at=NOW, seen_at=NOW
        )
        store.report(worker, [WebhookTally(webhook="a", matched=2, reason="old", reason_at=NOW)])
        store.report(None, [WebhookTally(webhook="a", not_matched=1, unresolvable=3)])
        store.report(None, [WebhookTally(webhook="a", reason="new", reason_at=later(1))])
        store.add([make_delivery() for _ in range(3)])
        store.save(delivered(self.claim(store)))
        store.save(delayed(self.claim(store), 60))
        stats = store.stats(later(30))
        assert stats.counts == store.counts()
        assert stats.age_of_oldest_due == 30
        assert stats.workers == (worker,)
        assert stats.webhooks == (
            WebhookTally(
                webhook="a",
                matched=2,
                not_matched=1,
                unresolvable=3,
                reason="new",
                reason_at=later(1),
            ),
        )
        hours = {(each.hour, each.outcome): (each.count, each.slowest) for each in stats.hours}
        assert hours == {(NOW, "delivered"): (1, 0.1), (NOW, "retried"): (1, 0.1)}
