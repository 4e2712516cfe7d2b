"""What every queue and every store must do, as tests for pytest: subclass and give one method::

class TestMyStore(StoreContract):
    def make_store(self, capacity):
        return MyStore(capacity=capacity)
"""

from __future__ import annotations

import abc
import datetime
from collections.abc import Callable

import attrs

from changehook.deliveries import Decision, Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, DeliveryNotFoundError, QueueClosedError
from changehook.inspection import DeliveryFilter
from changehook.interfaces import InspectableQueue, Queue
from changehook.models import utcnow
from changehook.testing.deliveries import after_attempt, delivered, failed, make_delivery, raises
from changehook.testing.stores import StoreContract

__all__ = ["InspectableQueueContract", "QueueContract", "StoreContract"]


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

    def test_what_failed_last_is_found(self) -> None:
        """And no longer when it went through."""
        queue, kept = self.performed(_raise_at_first)
        where = DeliveryFilter(with_error=True)
        assert queue.find(where) == [kept]
        assert queue.retry(where) == 1
        assert self.settle(queue, lambda: len(queue.get(kept.id).attempts) == 2)
        assert queue.count(where) == 0
        queue.close()

    def test_what_an_attempt_raised_for_is_kept(self) -> None:
        """An attempt that raises is a failed one, and an operator sees it."""
        queue, kept = self.performed(_raise)
        assert kept.status is DeliveryStatus.FAILED
        assert queue.counts()[DeliveryStatus.FAILED] == 1
        queue.close()

    def test_a_retry_is_made_when_it_is_due(self) -> None:
        """Nobody has to ask for it."""
        queue, kept = self.performed(_retry_at_once)
        assert self.settle(queue, lambda: len(queue.get(kept.id).attempts) == 2)
        assert queue.get(kept.id).status is DeliveryStatus.DELIVERED
        queue.close()

    def test_what_is_put_twice_is_performed_once(self) -> None:
        """Whoever does not know whether a put went through puts again."""
        queue, kept = self.performed(delivered)
        queue.put([make_delivery(id=kept.id), make_delivery(webhook="other")])
        assert self.settle(queue, lambda: queue.counts()[DeliveryStatus.DELIVERED] == 2)
        assert queue.get(kept.id) == kept
        queue.close()

    def test_pages_follow_one_another(self) -> None:
        """Nothing stands on two of them."""
        queue = self.make_queue()
        queue.attach(delivered)
        queue.put([make_delivery() for _ in range(5)])
        first = queue.find(limit=3)
        second = queue.find(limit=3, after=first[-1].position)
        ids = [delivery.id for delivery in (*first, *second)]
        assert len(set(ids)) == len(ids) == 5
        queue.close()

    def test_a_failed_delivery_is_retried_by_hand(self) -> None:
        """What was given up stays, with its reason, and can be made due again."""
        queue, kept = self.performed(failed)
        assert (kept.status, kept.reason) == (DeliveryStatus.FAILED, "status 500")
        assert queue.retry(kept.id) == 1
        assert self.settle(queue, lambda: len(queue.get(kept.id).attempts) == 2)
        assert queue.get(kept.id).attempt_number == 1
        queue.close()

    def test_failed_deliveries_are_retried_by_filter(self) -> None:
        """A filter makes all that agree with it due again."""
        queue, _ = self.performed(failed)
        assert queue.retry(DeliveryFilter(webhook="another")) == 0
        assert queue.count(DeliveryFilter(status=DeliveryStatus.FAILED)) == 1
        assert queue.retry(DeliveryFilter(status=DeliveryStatus.FAILED)) == 1
        queue.close()

    def test_many_are_retried_and_discarded_in_slices(self) -> None:
        """Page by page, each once, also those that were made at the same moment."""
        queue = self.make_queue()
        queue.attach(failed)
        queue.put([make_delivery() for _ in range(7)])
        where = DeliveryFilter(status=DeliveryStatus.FAILED)
        assert self.settle(queue, lambda: queue.count(where) == 7)
        assert _in_slices(queue, where, queue.retry) == [3, 3, 1]
        assert self.settle(queue, lambda: queue.count(where) == 7)
        assert {len(each.attempts) for each in queue.find()} == {2}
        assert _in_slices(queue, where, queue.discard) == [3, 3, 1]
        assert queue.find() == []
        queue.close()

    def test_deliveries_are_discarded(self) -> None:
        """By id and by filter; what is not kept is an error."""
        queue, kept = self.performed(failed)
        assert queue.discard(DeliveryFilter(webhook="another")) == 0
        assert queue.discard(kept.id) == 1
        assert raises(DeliveryNotFoundError, lambda: queue.get(kept.id))
        assert raises(DeliveryNotFoundError, lambda: queue.retry(kept.id))
        assert raises(DeliveryNotFoundError, lambda: queue.discard(kept.id))
        queue.close()

    def test_what_is_left_is_counted_when_it_closes(self) -> None:
        """A retry that is not due yet is left undone, and ``close`` says so."""
        queue, _ = self.performed(_retry_in_an_hour)
        assert queue.close() == 1


def _in_slices(
    queue: InspectableQueue, where: DeliveryFilter, act: Callable[[DeliveryFilter], int]
) -> list[int]:
    done, after = [], None
    while page := queue.find(where, limit=3, after=after):
        after = page[-1].position
        done.append(act(attrs.evolve(where, between=(page[0].position, after))))
    return done


def _raise(claimed: Delivery) -> Delivery:
    raise RuntimeError


def _raise_at_first(claimed: Delivery) -> Delivery:
    if not claimed.attempts:
        raise RuntimeError
    return delivered(claimed)


def _retry_at_once(claimed: Delivery) -> Delivery:
    if claimed.attempts:
        return delivered(claimed)
    decision = Decision(status=DeliveryStatus.PENDING, due_at=utcnow(), reason="status 500")
    return after_attempt(claimed, decision, status=500)


def _retry_in_an_hour(claimed: Delivery) -> Delivery:
    due_at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    return after_attempt(
        claimed, Decision(status=DeliveryStatus.PENDING, due_at=due_at), status=500
    )
