"""What every store must do, as tests for pytest; see ``changehook.testing.contracts``."""

from __future__ import annotations

import threading

from changehook.deliveries import DeliveryStatus
from changehook.errors import QueueError, QueueFullError
from changehook.testing.deliveries import (
    LIMIT,
    NOW,
    delayed,
    delivered,
    failed,
    later,
    make_delivery,
    raises,
)
from changehook.testing.operating import OperatingContract

__all__ = ["StoreContract"]


class StoreContract(OperatingContract):
    """What every store must do."""

    def test_what_was_added_is_kept_exactly(self) -> None:
        """A delivery comes back as it was added."""
        moment = later(0.123456)
        store, delivery = self.make_store(10), make_delivery(created_at=moment, due_at=moment)
        store.add([delivery])
        assert store.get(delivery.id) == delivery
        assert store.get("msg_unknown") is None

    def test_a_claim_gives_what_has_been_due_longest(self) -> None:
        """Deliveries are claimed in the order of their due time, each once, and none too early."""
        store = self.make_store(10)
        second, first, early = (make_delivery(due_at=later(s)) for s in (-1, -2, 60))
        store.add([second, first, early])
        claimed = [self.claim(store), self.claim(store)]
        assert [delivery.id for delivery in claimed] == [first.id, second.id]
        assert store.claim(NOW) == []
        assert all(store.save(delivered(delivery)) for delivery in claimed)
        assert store.next_due() == early.due_at

    def test_deliveries_due_together_keep_their_order(self) -> None:
        """First in, first out among equals."""
        store = self.make_store(100)
        added = [make_delivery() for _ in range(20)]
        store.add(added)
        assert [self.claim(store).id for _ in added] == [delivery.id for delivery in added]

    def test_a_claim_counts_the_attempt_and_is_kept(self) -> None:
        """A worker that dies has used an attempt."""
        store, delivery = self.make_store(10), make_delivery()
        store.add([delivery])
        claimed = self.claim(store)
        assert claimed == delivery.claimed(claimed.lease_until) == store.get(delivery.id)
        assert claimed.attempt_number == 1

    def test_attempts_are_kept(self) -> None:
        """What an attempt recorded comes back exactly."""
        store = self.make_store(10)
        store.add([make_delivery()])
        done = failed(self.claim(store))
        assert store.save(done)
        assert store.get(done.id) == done

    def test_a_retry_is_claimed_when_it_is_due(self) -> None:
        """A delivery that waits for its retry is not claimed before."""
        store = self.make_store(10)
        store.add([make_delivery()])
        assert store.save(delayed(self.claim(store), 60))
        assert store.claim(later(59)) == []
        assert self.claim(store, later(60)).attempt_number == 2

    def test_an_overtaken_worker_changes_nothing(self) -> None:
        """What a worker saves that no longer has the newest state is refused."""
        store = self.make_store(10)
        store.add([make_delivery()])
        claimed = self.claim(store)
        assert store.save(delivered(claimed))
        assert not store.save(failed(claimed))
        assert not store.save(delivered(make_delivery().claimed()))
        assert store.counts()[DeliveryStatus.DELIVERED] == 1

    def test_a_full_store_takes_all_or_none(self) -> None:
        """Nothing of a batch that has no room is kept, and finishing makes room."""
        store = self.make_store(2)
        store.add([make_delivery()])
        assert raises(QueueFullError, lambda: store.add([make_delivery(), make_delivery()]))
        assert store.counts()[DeliveryStatus.PENDING] == 1
        store.save(delivered(self.claim(store)))
        store.add([make_delivery(), make_delivery()])
        assert store.counts()[DeliveryStatus.PENDING] == 2

    def test_a_retry_by_hand_needs_room(self) -> None:
        """A finished delivery comes back only if there is a place for it."""
        store = self.make_store(1)
        store.add([make_delivery()])
        done = failed(self.claim(store))
        store.save(done)
        store.add([make_delivery()])
        assert raises(QueueFullError, lambda: store.save(done.retried(NOW)))
        assert store.get(done.id) == done

    def test_a_pending_delivery_can_be_made_due_now(self) -> None:
        """A retry by hand overrides the schedule, and the old due time leaves no trace."""
        store = self.make_store(10)
        delivery = make_delivery(due_at=later(3600))
        store.add([delivery])
        assert store.save(delivery.retried(NOW))
        claimed = self.claim(store)
        assert claimed.id == delivery.id
        assert store.save(delivered(claimed))
        assert store.next_due() is None
        assert store.claim(later(7200)) == []

    def test_many_retries_by_hand_leave_one_delivery(self) -> None:
        """A pending delivery that is retried over and over is still claimed once."""
        store = self.make_store(10)
        delivery = make_delivery()
        store.add([delivery])
        for _ in range(200):
            delivery = delivery.retried(NOW)
            assert store.save(delivery)
        assert self.claim(store).id == delivery.id
        assert store.claim(NOW) == []

    def test_remove_takes_only_what_nobody_changed(self) -> None:
        """A delivery that moved on since it was looked at stays."""
        store = self.make_store(10)
        moved, still = make_delivery(), make_delivery(due_at=later(60))
        store.add([moved, still])
        claimed = self.claim(store)
        assert store.remove([moved, still, make_delivery()]) == 1
        assert store.get(still.id) is None
        assert store.next_due() == claimed.lease_until

    def test_an_id_that_is_kept_is_passed_over(self) -> None:
        """Whoever does not know whether an add went through adds again, and nothing is doubled."""
        store = self.make_store(3)
        first, second = make_delivery(), make_delivery()
        store.add([first])
        claimed = self.claim(store)
        store.add([first, second])
        assert store.get(first.id) == claimed
        assert store.counts()[DeliveryStatus.PENDING] == 1

    def test_an_id_of_another_delivery_is_an_error(self) -> None:
        """Passing over that one would lose it; nothing of the batch is kept."""
        store = self.make_store(10)
        first = make_delivery()
        store.add([first, first])
        other = make_delivery(id=first.id, webhook="another")
        assert raises(QueueError, lambda: store.add([make_delivery(), other]))
        twice = make_delivery()
        batch = [twice, make_delivery(id=twice.id, payload="{}")]
        assert raises(QueueError, lambda: store.add(batch))
        assert store.counts()[DeliveryStatus.PENDING] == 1

    def test_a_claim_takes_as_many_as_are_wanted(self) -> None:
        """In their order, and no more than the limit."""
        store = self.make_store(10)
        added = [make_delivery() for _ in range(5)]
        store.add(added)
        assert [each.id for each in store.claim(NOW, limit=3)] == [each.id for each in added[:3]]
        assert len(store.claim(NOW, limit=3)) == 2

    def test_first_attempts_go_before_retries(self) -> None:
        """A heap of retries that have been due for longer does not hold up what is new."""
        store = self.make_store(10)
        store.add([make_delivery()])
        store.save(delayed(self.claim(store), -60))
        fresh = make_delivery()
        store.add([fresh])
        assert store.claim(NOW)[0].id == fresh.id

    def test_who_is_not_admitted_holds_up_nobody(self) -> None:
        """A webhook without a free worker is passed over, however much of it is due before."""
        store = self.make_store(200)
        store.add([make_delivery(webhook="busy") for _ in range(100)])
        idle = make_delivery(webhook="idle")
        store.add([idle])
        found = store.claim(NOW, limit=2, admit=lambda webhook: webhook != "busy")
        assert [each.id for each in found] == [idle.id]
        assert store.next_due(without={"busy"}) == found[0].lease_until
        assert store.next_due() == NOW
        places = iter([True, True, False])
        assert len(store.claim(NOW, limit=5, admit=lambda _: next(places))) == 2
        assert len(store.claim(NOW, limit=200)) == 98

    def test_a_dead_workers_delivery_is_due_at_the_end_of_its_lease(self) -> None:
        """Not before; and the attempt that nobody came back from counts and is recorded."""
        store = self.make_store(10)
        store.add([make_delivery()])
        (dead,) = store.claim(NOW, lease=lambda _: 50.0)
        assert dead.lease_until == later(50) == store.next_due()
        assert store.claim(later(49)) == []
        second = self.claim(store, later(50))
        assert (second.id, second.attempt_number) == (dead.id, 2)
        assert [attempt.error_class for attempt in second.attempts] == ["lost"]
        assert store.get(dead.id) == second

    def test_a_worker_whose_lease_ended_is_fenced_off(self) -> None:
        """What it says later changes nothing, neither before the next worker is done nor after."""
        store = self.make_store(10)
        store.add([make_delivery()])
        dead = self.claim(store)
        second = self.claim(store, later(3600))
        assert not store.save(failed(dead))
        assert store.save(delivered(second))
        assert not store.save(failed(dead))
        assert store.counts()[DeliveryStatus.DELIVERED] == 1

    def test_a_clock_that_was_ahead_holds_up_nothing(self) -> None:
        """What was recorded, planned or leased while the clock was a day ahead is due at once."""
        store = self.make_store(10)
        ahead = later(86400)
        store.add([make_delivery(created_at=ahead, due_at=ahead)])
        store.add([make_delivery(webhook="leased")])
        assert len(store.claim(ahead, limit=2, lease=lambda _: 45.0)) == 2
        store.add([make_delivery(created_at=ahead, due_at=ahead)])
        assert len(store.claim(NOW, limit=5)) == 3

    def test_what_is_due_is_told_without_claiming_it(self) -> None:
        """In the order of claims; also what was recorded by a clock that was ahead."""
        store = self.make_store(10)
        dead, retried = make_delivery(), make_delivery(due_at=later(-60))
        store.add([dead, retried])
        assert store.save(dead.claimed(later(45)))
        assert store.save(delayed(self.claim(store), -90))
        fresh, early = make_delivery(), make_delivery(due_at=later(60))
        ahead = make_delivery(created_at=later(86400), due_at=later(86400))
        store.add([early, fresh])
        assert [each.id for each in store.due(NOW, 9)] == [fresh.id, retried.id]
        assert [each.id for each in store.due(later(45), 9)] == [dead.id, fresh.id, retried.id]
        assert [each.id for each in store.due(NOW, 1)] == [fresh.id]
        store.add([ahead])
        assert {each.id for each in store.due(NOW, 9)} == {ahead.id, fresh.id, retried.id}
        assert store.counts()[DeliveryStatus.PENDING] == 4

    def test_a_released_delivery_has_not_been_attempted(self) -> None:
        """It is due as it was, and no attempt counts."""
        store = self.make_store(10)
        store.add([make_delivery()])
        assert store.save(self.claim(store).released())
        again = self.claim(store)
        assert (again.attempt_number, again.attempts) == (1, ())

    def test_the_oldest_pending_come_first(self) -> None:
        """For whoever moves deliveries over in their order."""
        store = self.make_store(10)
        added = [make_delivery(created_at=later(seconds)) for seconds in range(3)]
        for delivery in reversed(added):
            store.add([delivery])
        assert store.oldest(2) == added[:2]

    def test_many_are_saved_each_for_itself(self) -> None:
        """One that was overtaken does not keep the others from being saved."""
        store = self.make_store(10)
        added = [make_delivery() for _ in range(3)]
        store.add(added)
        overtaken = self.claim(store)
        assert store.save_all([each.retried(NOW) for each in added]) == 2
        assert store.get(overtaken.id) == overtaken

    def test_threads_never_claim_the_same_delivery(self) -> None:
        """Every delivery is claimed exactly once, however many workers there are."""
        store = self.make_store(500)
        store.add([make_delivery() for _ in range(400)])
        claimed: list[str] = []

        def work() -> None:
            while found := store.claim(NOW, limit=2):
                claimed.extend(delivery.id for delivery in found)
                assert all(store.save(delivered(delivery)) for delivery in found)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert len(claimed) == len(set(claimed)) == 400
        assert store.counts()[DeliveryStatus.DELIVERED] == 400
