"""The queue for unit tests."""

import pytest

from changehook import InMemoryQueue, QueueClosedError, QueueError, QueueFullError
from changehook.testing import FakeClock, InspectableQueueContract, make_delivery
from changehook.testing.deliveries import NOW, delayed, delivered, failed


class TestInMemoryQueue(InspectableQueueContract):
    """The contract."""

    def make_queue(self):
        """Give a queue."""
        return InMemoryQueue()

    def settle(self, queue, condition):
        """Perform what is due."""
        queue.run()
        return condition()


def queue_with(perform, **arguments):
    """Return a queue that is attached."""
    queue = InMemoryQueue(clock=FakeClock(NOW), **arguments)
    queue.attach(perform)
    return queue


def test_nothing_runs_until_told():
    """Deliveries wait, and can be read in the order they were put."""
    performed = []
    queue = queue_with(lambda claimed: (performed.append(claimed), delivered(claimed))[1])
    put = [make_delivery(), make_delivery()]
    queue.put(put)
    assert queue.deliveries == put
    assert performed == []
    after = queue.run()
    assert [delivery.id for delivery in after] == [delivery.id for delivery in put]
    assert queue.deliveries == after
    assert queue.run() == []


def test_a_retry_runs_when_the_clock_says():
    """The host's test moves the clock, not the wall."""
    queue = queue_with(lambda claimed: delayed(claimed, 5))
    queue.put([make_delivery()])
    assert len(queue.run()) == 1
    queue.clock.advance(4)
    assert queue.run() == []
    queue.clock.advance(1)
    assert len(queue.run()[0].attempts) == 2


def test_without_an_emitter_it_says_so():
    """Running does not silently do nothing."""
    queue = InMemoryQueue()
    queue.put([make_delivery()])
    with pytest.raises(QueueError, match="no emitter is attached"):
        queue.run()


def test_it_is_bounded_and_closes():
    """Too many is an error at once; what is left is counted."""
    queue = queue_with(delivered, capacity=2)
    queue.put([make_delivery(), make_delivery()])
    with pytest.raises(QueueFullError):
        queue.put([make_delivery()])
    assert queue.close() == 2
    with pytest.raises(QueueClosedError):
        queue.put([make_delivery()])


def test_an_attempt_that_raises_is_recorded_as_failed(caplog):
    """The error's text, which may hold a secret, is not shown."""

    def perform(claimed):
        raise RuntimeError("SECRET")

    queue = queue_with(perform)
    queue.put([make_delivery()])
    [after] = queue.run()
    assert (after.status, after.reason) == ("failed", "config: the attempt raised RuntimeError")
    assert after.attempts[0].error_class == "config"
    assert "RuntimeError" in caplog.text
    assert "SECRET" not in caplog.text + repr(after)


def test_control_c_reaches_the_caller():
    """The operator who runs a queue by hand can stop it."""

    def perform(claimed):
        raise KeyboardInterrupt

    queue = queue_with(perform)
    queue.put([make_delivery(), make_delivery()])
    with pytest.raises(KeyboardInterrupt):
        queue.run()
    assert [delivery.status for delivery in queue.deliveries] == ["failed", "pending"]
    queue.perform = delivered
    assert len(queue.run()) == 1


def test_two_runs_at_once_share_the_work():
    """What another thread claimed meanwhile is not waited for."""
    queue = queue_with(delivered)
    queue.put([make_delivery()])
    queue.store.claim = lambda now, limit: []
    assert queue.run() == []


def test_what_someone_else_changed_is_left_alone(caplog):
    """A worker that was overtaken does not overwrite."""
    queue = None

    def perform(claimed):
        queue.store.save(failed(claimed))
        return delivered(claimed)

    queue = queue_with(perform)
    queue.put([make_delivery()])
    queue.run()
    assert queue.deliveries[0].status == "failed"
    assert "changed by someone else" in caplog.text


def test_a_store_that_fails_is_logged_and_stops_nothing(caplog):
    """What was delivered stays so, though it cannot be written."""
    queue = queue_with(delivered)

    def broken(_):
        raise OSError

    queue.put([make_delivery(), make_delivery()])
    queue.store.save = broken
    done = queue.run()
    assert [each.status for each in done] == ["delivered", "delivered"]
    assert queue.get(done[0].id).status == "delivered"
    assert "the store fails (OSError), saving later" in caplog.text


def test_a_delivery_that_is_being_attempted_is_not_touched():
    """Neither retried nor discarded, by id an error, by filter passed over."""
    from changehook import DeliveryFilter

    queue = queue_with(delivered)
    queue.put([make_delivery()])
    [claimed] = queue.store.claim(NOW)
    for call in (queue.retry, queue.discard):
        with pytest.raises(QueueError, match="being attempted just now"):
            call(claimed.id)
        assert call(DeliveryFilter()) == 0


def test_a_delivery_that_changes_meanwhile_is_an_error():
    """What happened between looking and doing is not overwritten."""
    queue = queue_with(delivered)
    queue.put([delivery := make_delivery()])
    queue.store.get = lambda _: delivery
    queue.store.claim(NOW)
    for call in (queue.retry, queue.discard):
        with pytest.raises(QueueError, match="changed just now"):
            call(delivery.id)
