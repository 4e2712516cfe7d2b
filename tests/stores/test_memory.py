"""The store in memory, and the contract of every store."""

import gc
import os
import pickle
import weakref

import pytest

from changehook import ConfigurationError, DeliveryFilter, DeliveryStatus, MemoryStore, Store
from changehook.testing import StoreContract, make_delivery
from changehook.testing.deliveries import NOW, delivered, failed, later


class TestMemoryStore(StoreContract):
    """The contract."""

    def make_store(self, capacity):
        """Give a store in memory."""
        return MemoryStore(capacity=capacity)


class Plain(MemoryStore):
    """A store that overrides nothing that it can inherit."""

    count = Store.count
    due = Store.due
    oldest = Store.oldest
    save_all = Store.save_all


class TestInherited(StoreContract):
    """What a store of one's own inherits passes as well."""

    def make_store(self, capacity):
        """Give a store."""
        return Plain(capacity=capacity)


@pytest.mark.parametrize("arguments", [{"capacity": 0}, {"keep": 0}])
def test_sizes_are_checked(arguments):
    """A store without room is a mistake."""
    with pytest.raises(ConfigurationError, match="at least 1"):
        MemoryStore(**arguments)


def test_the_last_finished_are_kept_of_each_status():
    """A flood of delivered ones does not push out what failed."""
    store = MemoryStore(keep=3)
    lost = make_delivery()
    store.add([lost])
    store.save(failed(*store.claim(NOW)))
    for _ in range(10):
        store.add([make_delivery()])
        store.save(delivered(*store.claim(NOW)))
    counts = store.counts()
    assert (counts[DeliveryStatus.DELIVERED], counts[DeliveryStatus.FAILED]) == (3, 1)
    assert store.get(lost.id).status == "failed"
    assert len(store.find(DeliveryFilter())) == 4


def test_what_is_forgotten_is_freed():
    """Memory is bounded: nothing refers to a delivery that is no longer kept."""
    store = MemoryStore(keep=1)
    gone = []
    for number in range(20):
        delivery = make_delivery()
        store.add([delivery])
        if number % 2:
            store.remove([delivery])
        else:
            store.save(delivered(*store.claim(NOW)))
        gone.append(delivery.id)
    assert [store.get(each) is not None for each in gone].count(True) == 1
    assert sum(map(len, store._due)) == 0


def test_removed_deliveries_leave_the_heap():
    """Far retries that are discarded over and over do not pile up."""
    store = MemoryStore()
    for _ in range(500):
        delivery = make_delivery(due_at=later(86400))
        store.add([make_delivery(due_at=later(60)), delivery])
        store.remove([delivery])
    for delivery in store.find(DeliveryFilter()):
        store.remove([delivery])
    store.add([make_delivery()])
    assert sum(map(len, store._due)) <= 66


def test_a_forked_child_starts_empty():
    """The parent has the work; the child's store takes its own."""
    store = MemoryStore()
    store.add([make_delivery()])
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child reports through the pipe and leaves at once
        before = store.counts()[DeliveryStatus.PENDING]
        store.add([make_delivery()])
        found = [len(store.find(DeliveryFilter())), store.count(DeliveryFilter(webhook="contract"))]
        os.write(writer, pickle.dumps((before, store.counts()[DeliveryStatus.PENDING], found)))
        os._exit(0)
    os.waitpid(pid, 0)
    assert pickle.loads(os.read(reader, 1000)) == (0, 1, [1, 1])
    assert store.counts()[DeliveryStatus.PENDING] == 1
    os.close(reader)
    os.close(writer)


def test_a_store_can_be_collected():
    """Nothing global keeps it alive."""
    store = MemoryStore()
    reference = weakref.ref(store)
    del store
    gc.collect()
    assert reference() is None


def test_figures_are_of_two_days():
    """Older ones are not shown, and forgotten with the next."""
    store = MemoryStore()
    store.add([make_delivery(), make_delivery(due_at=later(60 * 3600))])
    store.save(delivered(*store.claim(NOW)))
    assert len(store.stats(later(47 * 3600)).hours) == 1
    assert store.stats(later(50 * 3600)).hours == ()
    [late] = store.claim(later(60 * 3600))
    store.save(late.skipped("off"))
    assert [outcome for _, _, outcome in store._outcomes] == ["skipped"]
    store._count_outcome(make_delivery())
    assert len(store._outcomes) == 1


def test_a_claim_without_a_lease_is_for_ever():
    """As of a foreign broker, whose worker cannot die alone."""
    store = MemoryStore()
    store.add([make_delivery().claimed()])
    assert store.claim(later(9e6)) == []
