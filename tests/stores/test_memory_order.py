"""Pages of the store in memory: in order whatever came when, and without looking at everything."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changehook import Delivery, DeliveryFilter, DeliveryStatus, MemoryStore
from changehook.inspection import Position
from changehook.stores.memory import order
from changehook.stores.memory.order import PAGE, PIECE, Ranks
from changehook.testing import make_delivery
from changehook.testing.deliveries import LIMIT, NOW, delivered, failed, later

MANY = 6 * PIECE


def filled(failures: int = 3, many: int = MANY) -> MemoryStore:
    """Return a store of many that were delivered, of which the first failed."""
    store = MemoryStore(capacity=many + 1, keep=many)
    store.add([make_delivery(created_at=later(number // 3)) for number in range(many)])
    claimed = store.claim(NOW, limit=many)
    for number, each in enumerate(claimed):
        store.save((failed if number < failures else delivered)(each))
    return store


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return a list to which the id of each delivery is added that is compared with a filter."""
    ids: list[str] = []
    wants = DeliveryFilter.wants

    def note(where: DeliveryFilter, delivery: Delivery) -> bool:
        ids.append(delivery.id)
        return wants(where, delivery)

    monkeypatch.setattr(DeliveryFilter, "wants", note)
    return ids


@pytest.mark.parametrize(
    ("criteria", "found"),
    [
        ({}, 50),
        ({"status": "delivered"}, 50),
        ({"status": "failed"}, 3),
        ({"status": "pending"}, 0),
        ({"with_error": True}, 0),
        ({"error_class": "dns"}, 0),
        ({"failing": True}, 0),
        ({"until": later(2)}, 6),
        ({"since": later(MANY // 3 - 2)}, 6),
        ({"between": ((later(9), "z"), (later(8), ""))}, 6),
    ],
)
def test_a_first_page_is_found_beside_many(
    compared: list[str], criteria: dict[str, object], found: int
) -> None:
    """However many others there are, one page of them is looked at."""
    store = filled()
    assert len(store.find(DeliveryFilter(**criteria), 50)) == found
    assert len(compared) <= PAGE


def test_any_page_begins_where_the_one_before_ended(compared: list[str]) -> None:
    """Nothing is looked at again."""
    store = filled()
    after = store.find(DeliveryFilter(), 5_000)[-1].position
    compared.clear()
    page = store.find(DeliveryFilter(), 50, after)
    assert len(page) == 50
    assert page[0].position < after
    assert len(compared) <= PAGE


def test_deliveries_of_a_status_are_counted_at_once(compared: list[str]) -> None:
    """The store knows; all of them too."""
    store = filled()
    assert store.count(DeliveryFilter(status="failed")) == 3
    assert store.count(DeliveryFilter()) == MANY
    assert compared == []
    assert store.count(DeliveryFilter(status="failed", webhook="contract")) == 3


def test_others_use_the_store_while_a_filter_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is looked for in a million deliveries without holding up who emits."""
    store, held = filled(many=3 * PIECE), []

    def look(_: DeliveryFilter, __: Delivery) -> bool:
        held.append(store._lock.locked())
        return True

    monkeypatch.setattr(DeliveryFilter, "wants", look)
    assert len(store.find(DeliveryFilter(text="x"))) == 3 * PIECE
    assert held == [False] * 3 * PIECE


def test_what_changes_while_it_is_looked_for_is_found_once() -> None:
    """Its status moves on and back, and whoever asks for all always finds all."""
    store = filled(failures=3 * PIECE, many=3 * PIECE)
    every = [each.id for each in store.find(DeliveryFilter())]
    stop = threading.Event()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            each = store.get(chance.choice(every))
            assert each is not None
            moves: dict[DeliveryStatus, Callable[[Delivery], Delivery]] = {
                DeliveryStatus.PENDING: lambda each: each.claimed(later(600)),
                DeliveryStatus.DELIVERING: chance.choice([failed, delivered]),
            }
            store.save(moves.get(each.status, lambda each: each.retried(NOW))(each))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            assert [each.id for each in store.find(DeliveryFilter())] == every
            counted = [store.find(DeliveryFilter(status=each)) for each in DeliveryStatus]
            for page in counted:
                positions = [each.position for each in page]
                assert positions == sorted(set(positions), reverse=True)
    finally:
        stop.set()
        for thread in threads:
            thread.join(LIMIT)


def test_what_nobody_looks_at_leaves_nothing_behind() -> None:
    """Of a store that takes and forgets for months."""
    store = MemoryStore(keep=2)
    for _ in range(2 * PIECE):
        store.add([make_delivery()])
        store.save(delivered(*store.claim(NOW)))
    ranks = store._order.agreeing(DeliveryFilter())
    assert sum(each.waiting() for each in ranks) == 2
    store.find(DeliveryFilter())
    assert sum(len(block) for each in ranks for block in each._blocks) == 2


# Ranks


def stands(*numbers: int) -> list[Delivery]:
    """Return deliveries at these places, some of them at the same moment."""
    return [
        make_delivery(id=f"msg_{number:03}", created_at=later(number // 4)) for number in numbers
    ]


EVERY = stands(*range(40))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.lists(st.integers(0, 39), unique=True)),
            st.tuples(st.just("drop"), st.integers(0, 39)),
            st.tuples(st.just("settle"), st.none() | st.integers(1, 9)),
            st.tuples(st.just("below"), st.none() | st.integers(0, 39), st.integers(0, 41)),
        )
    )
)
def test_ranks_are_those_of_a_sorted_list(steps: list[tuple[object, ...]]) -> None:
    """Whatever is put, dropped and asked, and in which order."""
    ranks, model = Ranks(), set[Position]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "BLOCK", 3)
        for name, *values in steps:
            if name == "put":
                for each in (EVERY[number] for number in values[0]):
                    if each.position not in model:
                        model.add(each.position)
                        ranks.put(each)
            elif name == "drop":
                model.discard(EVERY[values[0]].position)
                ranks.drop(EVERY[values[0]])
            elif name == "settle":
                ranks.settle(values[0])
            else:
                bound = None if values[0] is None else EVERY[values[0]].position
                below = sorted((each for each in model if not bound or each < bound), reverse=True)
                assert ranks.below(bound, values[1]) == below[: values[1]]
            assert all(0 < len(block) <= 6 for block in ranks._blocks)
    assert ranks.below(None, 99) == sorted(model, reverse=True)


@pytest.mark.parametrize("inserted", [0, 5, 10])
def test_a_settling_that_is_broken_off_is_made_good(
    monkeypatch: pytest.MonkeyPatch, inserted: int
) -> None:
    """CONTROL-C while somebody looks: nothing stands twice, and what is dropped is gone."""
    ranks, all_of_them = Ranks(), stands(*range(10))
    for each in all_of_them:
        ranks.put(each)

    def interrupted(self: Ranks, positions: list[Position]) -> None:
        for position in positions[:inserted]:
            self._insert(position)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ranks, "_insert_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ranks.settle()
    ranks.drop(all_of_them[2])
    newer = stands(20, 21)
    for each in newer:
        ranks.put(each)
    ranks.settle(2)
    ranks.drop(all_of_them[3])
    left = [*all_of_them[:2], *all_of_them[4:], *newer]
    assert ranks.below(None, 99) == [each.position for each in reversed(left)]
