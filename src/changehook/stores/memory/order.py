"""What is kept in the order of positions, so that a page is found without looking at everything."""

from __future__ import annotations

import bisect
import datetime
import itertools
import threading
from collections.abc import Iterator, Mapping

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.inspection import DeliveryFilter, Position, last_error_class

__all__ = ["PIECE", "Order", "Ranks", "agreeing"]

BLOCK = 512
PAGE = 100
PIECE = 1_000
"""How many deliveries are looked at at once, while nobody else can use the store."""


class Ranks:
    """Positions, the lowest first, in blocks of some hundreds, so that none moves many others.

    What is put is only noted; it gets its place when somebody asks, or when there are many. Nothing
    here is safe among threads.
    """

    def __init__(self) -> None:
        self._fresh: dict[str, datetime.datetime] = {}
        self._blocks: list[list[Position]] = []
        self._torn = False  # a settling was broken off, as by CONTROL-C

    def waiting(self) -> int:
        """Return how many have no place yet."""
        return len(self._fresh)

    def put(self, delivery: Delivery) -> None:
        """Note the position of a delivery."""
        self._fresh[delivery.id] = delivery.created_at

    def drop(self, delivery: Delivery) -> None:
        """Forget the position of a delivery."""
        if self._fresh.pop(delivery.id, None) is None or self._torn:
            self._remove(delivery.position)

    def settle(self, limit: int | None = None) -> None:
        """Give those a place that were only noted, the last of them first, or ``limit`` of them."""
        if not self._fresh:
            return
        torn, self._torn = self._torn, True
        newest = itertools.islice(reversed(self._fresh.items()), limit)
        positions = sorted((at, delivery_id) for delivery_id, at in newest)
        self._insert_all(positions)
        for _, delivery_id in positions:
            del self._fresh[delivery_id]
        self._torn = torn and bool(self._fresh)

    def below(self, bound: Position | None, limit: int) -> list[Position]:
        """Return the highest positions below a bound, None for all; the highest first."""
        self.settle()
        found: list[Position] = []
        index = len(self._blocks) if bound is None else self._index(bound)
        while index and len(found) < limit:
            index -= 1
            block = self._blocks[index]
            end = len(block)
            if bound is not None and not found:
                end = bisect.bisect_left(block, bound)
            found += block[max(0, end - limit + len(found)) : end][::-1]
        return found

    def _index(self, bound: Position) -> int:
        """Return how many blocks begin below a bound."""
        return bisect.bisect_left(self._blocks, bound, key=_first)

    def _insert_all(self, positions: list[Position]) -> None:
        index = self._index(positions[0])
        after_one = not index or self._blocks[index - 1][-1] < positions[0]
        before_next = index == len(self._blocks) or positions[-1] < self._blocks[index][0]
        if after_one and before_next and len(positions) > BLOCK // 2:
            starts = range(0, len(positions), BLOCK)
            self._blocks[index:index] = [positions[at : at + BLOCK] for at in starts]
            return
        for position in positions:
            self._insert(position)

    def _insert(self, position: Position) -> None:
        if not self._blocks:
            self._blocks.append([position])
            return
        index = max(0, bisect.bisect_right(self._blocks, position, key=_first) - 1)
        block = self._blocks[index]
        place = bisect.bisect_left(block, position)
        if block[place : place + 1] == [position]:
            return
        block.insert(place, position)
        if len(block) > 2 * BLOCK:
            self._blocks[index : index + 1] = [block[:BLOCK], block[BLOCK:]]

    def _remove(self, position: Position) -> None:
        index = bisect.bisect_right(self._blocks, position, key=_first) - 1
        block = self._blocks[index] if index >= 0 else []
        place = bisect.bisect_left(block, position)
        if block[place : place + 1] == [position]:
            del block[place]
            if not block:
                del self._blocks[index]


def _first(block: list[Position]) -> Position:
    return block[0]


class Order:
    """The ranks of what is kept, of each status, apart for those whose last attempt failed: what
    failed is found beside a million that were delivered."""

    def __init__(self) -> None:
        self._clean = {status: Ranks() for status in DeliveryStatus}
        self._erring = {status: Ranks() for status in DeliveryStatus}

    def of(self, delivery: Delivery) -> Ranks:
        """Return the ranks where a delivery stands in its present state."""
        if delivery.attempts and last_error_class(delivery) is not None:
            return self._erring[delivery.status]
        return self._clean[delivery.status]

    def agreeing(self, where: DeliveryFilter) -> list[Ranks]:
        """Return the ranks where deliveries may stand that agree with a filter."""
        status = DeliveryStatus.PENDING if where.failing else where.status
        statuses = list(DeliveryStatus) if status is None else [status]
        failed = where.with_error or where.error_class is not None
        groups = [self._erring] if failed else [self._clean, self._erring]
        return [group[each] for group in groups for each in statuses]


def agreeing(
    lock: threading.Lock,
    kept: Mapping[str, Delivery],
    order: Order,
    where: DeliveryFilter,
    after: Position | None = None,
) -> Iterator[Delivery]:
    """Yield the deliveries that agree with a filter, those of the highest position first.

    A piece at a time is taken from all ranks at the same moment, so that a delivery whose status
    changes meanwhile is neither missed nor found twice.

    Args:
        lock: held while a piece is taken, and not while a delivery is compared with the filter.
        kept: the deliveries by their ids.
        order: where they stand.
        where: the filter.
        after: only those whose position is below this.
    """
    below, least = _bounds_of(where, after)
    some = order.agreeing(where)
    for ranks in some:
        for _ in range(ranks.waiting() // PIECE):
            with lock:
                ranks.settle(PIECE)
    limit = PAGE
    while True:
        with lock:
            found = [kept[each] for each in _highest(some, below, limit)]
        yield from filter(where.wants, found)
        if len(found) < limit or (least is not None and found[-1].position < least):
            return
        below, limit = found[-1].position, PIECE


def _highest(some: list[Ranks], bound: Position | None, limit: int) -> list[str]:
    found = list(filter(None, (each.below(bound, limit) for each in some)))
    positions = found[0] if len(found) == 1 else sorted(itertools.chain(*found), reverse=True)
    return [delivery_id for _, delivery_id in positions[:limit]]


def _bounds_of(
    where: DeliveryFilter, after: Position | None
) -> tuple[Position | None, Position | None]:
    """Return below which position all stand that agree with a filter, and from which on."""
    below = [] if after is None else [after]
    least: list[Position] = []
    if where.until is not None:
        below.append((where.until, ""))
    if where.since is not None:
        least.append((where.since, ""))
    if where.between is not None:
        newest, oldest = where.between
        below.append((newest[0], newest[1] + "\0"))  # the next text after this one
        least.append(oldest)
    return min(below, default=None), max(least, default=None)
