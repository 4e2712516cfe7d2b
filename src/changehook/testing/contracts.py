"""What every queue and every store must do, as tests for pytest: subclass and give one method::

class TestMyStore(StoreContract):
    def make_store(self, capacity):
        return MyStore(capacity=capacity)
"""

from __future__ import annotations

import abc
import datetime
import threading
from collections.abc import Callable
from typing import Any

from changehook.deliveries import Decision, Delivery, DeliveryStatus
from changehook.errors import (
    ConfigurationError,
    DeliveryNotFoundError,
    QueueClosedError,
    QueueFullError,
)
from changehook.interfaces import DeliveryFilter, InspectableQueue, Queue, Store
from changehook.testing.deliveries import (
    LIMIT,
    NOW,
    after_attempt,
    delayed,
    delivered,
    failed,
    later,
    make_delivery,
    raises,
)

__all__ = ["InspectableQueueContract", "QueueContract", "StoreContract"]


class StoreContract(abc.ABC):
    """What every store must do."""

    @abc.abstractmethod
    def make_store(self, capacity: int) -> Store:
        """Return a fresh, empty store with places for ``capacity`` unfinished deliveries."""

    def claim(self, store: Store, now: datetime.datetime = NOW) -> Delivery:
        """Return a claimed delivery; there must be one that is due."""
        claimed = store.claim(now)
        assert claimed is not None
        return claimed

    def test_what_was_added_is_kept_exactly(self) -> None:
        """A delivery comes back as it was added."""
        store, delivery = self.make_store(10), make_delivery()
        store.add([delivery])
        assert store.get(delivery.id) == delivery
        assert store.get("msg_unknown") is None

    def test_a_claim_gives_what_has_been_due_longest(self) -> None:
        """Deliveries are claimed in the order of their due time, each once, and none too early."""
        store = self.make_store(10)
        second, first, early = (make_delivery(due_at=later(s)) for s in (-1, -2, 60))
        store.add([second, first, early])
        assert [self.claim(store).id, self.claim(store).id] == [first.id, second.id]
        assert store.claim(NOW) is None
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
        assert claimed == delivery.claimed() == store.get(delivery.id)
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
        assert store.claim(later(59)) is None
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
        assert self.claim(store).id == delivery.id
        assert store.next_due() is None
        assert store.claim(later(7200)) is None

    def test_many_retries_by_hand_leave_one_delivery(self) -> None:
        """A pending delivery that is retried over and over is still claimed once."""
        store = self.make_store(10)
        delivery = make_delivery()
        store.add([delivery])
        for _ in range(200):
            delivery = delivery.retried(NOW)
            assert store.save(delivery)
        assert self.claim(store).id == delivery.id
        assert store.claim(NOW) is None

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

    def test_remove_takes_only_what_nobody_changed(self) -> None:
        """A delivery that moved on since it was looked at stays."""
        store = self.make_store(10)
        moved, still = make_delivery(), make_delivery(due_at=later(60))
        store.add([moved, still])
        self.claim(store)
        assert store.remove([moved, still, make_delivery()]) == [still]
        assert store.get(still.id) is None
        assert store.next_due() is None

    def test_threads_never_claim_the_same_delivery(self) -> None:
        """Every delivery is claimed exactly once, however many workers there are."""
        store = self.make_store(500)
        store.add([make_delivery() for _ in range(400)])
        claimed: list[str] = []

        def work() -> None:
            while (delivery := store.claim(NOW)) is not None:
                claimed.append(delivery.id)
                assert store.save(delivered(delivery))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert len(claimed) == len(set(claimed)) == 400
        assert store.counts()[DeliveryStatus.DELIVERED] == 400


class QueueContract(abc.ABC):
    """What every queue must do. Its deliveries are due at once, so no clock is needed."""

    @abc.abstractmethod
    def make_queue(self) -> Queue:
        """Return a fresh, empty queue."""

    @abc.abstractmethod
    def settle(self, queue: Queue, condition: Callable[[], bool]) -> bool:
        """Have the queue perform what is due, until the condition holds; return whether it did.

        For a queue with workers of its own: ``return until(condition)``.
        """

    def queue(self, perform: Callable[[Delivery], Delivery]) -> Queue:
        """Return a fresh queue that performs its attempts with ``perform``."""
        queue = self.make_queue()
        queue.attach(perform)
        return queue

    def test_every_delivery_is_performed_once(self) -> None:
        """What is put is performed, claimed, one time each."""
        performed: list[Delivery] = []

        def perform(claimed: Delivery) -> Delivery:
            performed.append(claimed)
            return delivered(claimed)

        queue = self.queue(perform)
        put = [make_delivery() for _ in range(50)]
        queue.put(put[:1])
        queue.put(put[1:])
        assert self.settle(queue, lambda: len(performed) >= 50)
        assert queue.close() == 0
        assert sorted(delivery.id for delivery in performed) == [delivery.id for delivery in put]
        assert {delivery.status for delivery in performed} == {DeliveryStatus.DELIVERING}

    def test_one_failing_delivery_stops_nothing(self) -> None:
        """An attempt that raises, even SystemExit, does not keep the others from being made."""
        performed: list[str] = []

        def perform(claimed: Delivery) -> Delivery:
            performed.append(claimed.id)
            if claimed.event == "bad":
                raise SystemExit(1)
            return delivered(claimed)

        queue = self.queue(perform)
        queue.put([make_delivery(event="bad" if n % 3 else "created") for n in range(30)])
        assert self.settle(queue, lambda: len(set(performed)) >= 30)
        queue.close()

    def test_a_queue_belongs_to_one_emitter(self) -> None:
        """A second emitter is refused."""
        queue = self.queue(delivered)
        assert raises(ConfigurationError, lambda: queue.attach(delivered))
        queue.close()


class InspectableQueueContract(QueueContract):
    """What every queue must do that an operator can look into."""

    @abc.abstractmethod
    def make_queue(self) -> InspectableQueue:
        """Return a fresh, empty queue."""

    def performed(
        self, perform: Callable[[Delivery], Delivery]
    ) -> tuple[InspectableQueue, Delivery]:
        """Return a queue with one delivery that was performed, and the delivery as it is kept."""
        queue, delivery = self.make_queue(), make_delivery()
        queue.attach(perform)
        queue.put([delivery])
        assert self.settle(queue, lambda: bool(queue.get(delivery.id).attempts))
        return queue, queue.get(delivery.id)

    def test_a_closed_queue_takes_nothing(self) -> None:
        """Putting on a closed queue is an error, not a loss."""
        queue = self.queue(delivered)
        queue.close()
        assert raises(QueueClosedError, lambda: queue.put([make_delivery()]))

    def test_the_state_after_the_attempt_is_kept(self) -> None:
        """An operator sees what came of a delivery."""
        queue, kept = self.performed(delivered)
        assert kept.status is DeliveryStatus.DELIVERED
        assert queue.find(DeliveryFilter(status=DeliveryStatus.DELIVERED)) == [kept]
        assert queue.find() == [kept]
        assert queue.counts()[DeliveryStatus.DELIVERED] == 1
        queue.close()

    def test_a_failed_delivery_is_retried_by_hand(self) -> None:
        """What was given up stays, with its reason, and can be made due again."""
        queue, kept = self.performed(failed)
        assert (kept.status, kept.reason) == (DeliveryStatus.FAILED, "status 500")
        assert [retried.id for retried in queue.retry(kept.id)] == [kept.id]
        assert self.settle(queue, lambda: len(queue.get(kept.id).attempts) == 2)
        assert queue.get(kept.id).attempt_number == 1
        queue.close()

    def test_failed_deliveries_are_retried_by_filter(self) -> None:
        """A filter makes all that agree with it due again."""
        queue, kept = self.performed(failed)
        assert queue.retry(DeliveryFilter(webhook="another")) == []
        retried = queue.retry(DeliveryFilter(status=DeliveryStatus.FAILED))
        assert [delivery.id for delivery in retried] == [kept.id]
        queue.close()

    def test_deliveries_are_discarded(self) -> None:
        """By id and by filter; what is not kept is an error."""
        queue, kept = self.performed(failed)
        assert queue.discard(DeliveryFilter(webhook="another")) == []
        assert queue.discard(kept.id) == [kept]
        assert raises(DeliveryNotFoundError, lambda: queue.get(kept.id))
        assert raises(DeliveryNotFoundError, lambda: queue.retry(kept.id))
        assert raises(DeliveryNotFoundError, lambda: queue.discard(kept.id))
        queue.close()

    def test_what_is_left_is_counted_when_it_closes(self) -> None:
        """A retry that is not due yet is left undone, and ``close`` says so."""
        queue, _ = self.performed(_retry_in_an_hour)
        assert queue.close() == 1


def _retry_in_an_hour(claimed: Delivery) -> Delivery:
    due_at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    return after_attempt(
        claimed, Decision(status=DeliveryStatus.PENDING, due_at=due_at), status=500
    )
