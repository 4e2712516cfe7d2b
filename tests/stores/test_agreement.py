"""The stores give the same answers to the same calls."""

from __future__ import annotations

import datetime
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from changehook import DeliveryFilter, DeliveryStatus, MemoryStore, Retention, SQLiteStore
from changehook.deliveries import Attempt, Decision, Delivery
from changehook.errors import QueueFullError
from changehook.inspection import DisabledWebhook, Position, WebhookTally, WorkerHeartbeat
from changehook.testing.deliveries import NOW, later, make_delivery

WEBHOOKS = ("a", "A", "b\x00", "b\x00c", "ä")
MODELS = ("site", "Site", "dévice")
TEXTS = ("", "é", "É", "\x00", "a\x00", "%", "_", "msg", "MSG", "lost", "status 5", "\U0001f600")
ERRORS = (None, "timeout", "status")
STEPS = 150


class Pair:
    """Two stores that are asked the same, by a source of chance that a seed determines."""

    def __init__(self, path: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.stores = (
            MemoryStore(capacity=25, keep=10_000),
            SQLiteStore(path, capacity=25, synchronous="NORMAL"),
        )
        self.numbers = itertools.count()
        self.now = NOW
        self.known: list[Delivery] = []  # in states that are kept, or were
        self.log: list[str] = []

    def ask(self, name: str, call: Callable[[Any], object]) -> Any:
        """Return what both stores answer, which is the same."""
        self.log.append(name)
        answers = [_answer(call, store) for store in self.stores]
        assert answers[0] == answers[1], "\n".join([f"after {self.log[-12:]}", *map(str, answers)])
        return answers[0]

    def remember(self, found: object) -> None:
        """Keep the states of deliveries to try them later, when some of them are overtaken."""
        if isinstance(found, list):
            self.known += found
            del self.known[:-60]

    def fresh(self) -> Delivery:
        """Return a delivery of which much is like that of others."""
        pick = self.chance.choice
        number = next(self.numbers)
        return make_delivery(
            id=f"{pick(['msg', 'MSG', 'a%_b'])}{number:04d}",
            webhook=pick(WEBHOOKS),
            model=pick(MODELS),
            event=pick(["created", "up\x00dated", "É"]),
            payload=pick(['{"a":1}', '{"é":"\U0001f600"}', "a\x00b", ""]),
            created_at=self.now - datetime.timedelta(seconds=pick([0, 0, 1, 7200])),
            # no two are due at once: which of those goes first is nobody's promise
            due_at=self.now + datetime.timedelta(seconds=pick([-5, 0, 0, 30]), microseconds=number),
        )

    def attempted(self, claimed: Delivery) -> Delivery:
        """Return a delivery after an attempt, or after none."""
        pick = self.chance.choice
        kind, number = pick(["after", "after", "after", "given up", "skipped"]), next(self.numbers)
        if kind == "given up":
            return claimed.given_up("gave up")
        if kind == "skipped":
            return claimed.skipped("the webhook is gone")
        status = pick(["delivered", "failed", "pending", "pending"])
        attempt = Attempt(
            number=len(claimed.attempts) + 1,
            started_at=self.now,
            duration=pick([0.0, 0.25, 2.5]),
            error_class=None if status == "delivered" else pick(ERRORS[1:]),
        )
        due_at = self.now + datetime.timedelta(seconds=pick([0, 5, 300]), microseconds=number)
        decision = Decision(status=DeliveryStatus(status), due_at=due_at, reason="status 500")
        return claimed.after(attempt, decision, body=pick([None, claimed.payload, "other"]))

    def moved(self) -> Delivery | None:
        """Return a next state of a delivery, which may have been overtaken."""
        if not self.known:
            return None
        each = self.chance.choice(self.known)
        if each.status is not DeliveryStatus.DELIVERING:
            due_at = self.now + datetime.timedelta(microseconds=next(self.numbers))
            return each.retried(due_at, rerender=self.chance.random() < 0.5)
        return each.released() if self.chance.random() < 0.2 else self.attempted(each)

    def filter(self) -> DeliveryFilter:
        """Return a filter of some of its arguments."""
        chance = self.chance

        def some(*values: Any) -> Any:
            return chance.choice(values) if chance.random() < 0.25 else None

        return DeliveryFilter(
            status=some(*DeliveryStatus),
            webhook=some(*WEBHOOKS),
            model=some(*MODELS),
            since=some(self.now, later(-7200), later(3)),
            until=some(self.now, later(5)),
            text=some(*TEXTS),
            failing=chance.random() < 0.2,
            error_class=some("timeout", "status", "lost"),
            with_error=chance.random() < 0.2,
            between=some(self.pair()),
        )

    def pair(self) -> tuple[Position, Position] | None:
        """Return the positions of two deliveries that are kept, or were; None without any."""
        positions = [self.chance.choice(self.known).position for _ in range(2) if self.known]
        return (max(positions), min(positions)) if positions else None

    def step(self) -> None:
        """Make one call of both stores, chosen by chance."""
        getattr(self, self.chance.choice(OPERATIONS))()

    def add(self) -> None:
        """Add some, one of them perhaps a second time."""
        some = [self.fresh() for _ in range(self.chance.randrange(4))]
        kept = [each for each in self.known if self.stores[0].get(each.id) is not None]
        some += self.chance.sample(kept, min(len(kept), self.chance.randrange(2)))
        if self.ask("add", lambda store: store.add(some)) is None:
            self.remember(some)

    def claim(self) -> None:
        """Claim all that is due and admitted; who of several goes first has tests of its own."""
        refused = self.chance.choice([(), (), WEBHOOKS[:2], WEBHOOKS[2:]])
        seconds = self.chance.choice([1, 45, 300])

        def call(store: Any) -> list[Delivery]:
            found: list[Delivery] = []
            while some := store.claim(
                self.now,
                limit=7,
                admit=lambda webhook: webhook not in refused,
                lease=lambda webhook: seconds + len(webhook),
            ):
                found += some
            return sorted(found, key=lambda each: each.id)

        self.remember(self.ask(f"claim without {refused}", call))

    def claim_one(self) -> None:
        """Claim what is first, when no lease is over: those go before, in any order."""
        memory = self.stores[0]
        over = any(each.lease_until <= self.now for each in memory._delivering.values())
        if not over and not any(memory._parked.values()):
            self.remember(self.ask("claim one", lambda store: store.claim(self.now)))

    def save(self) -> None:
        """Save a next state."""
        state = self.moved()
        if state is not None and self.ask("save", lambda store: store.save(state)) is True:
            self.remember([state])

    def save_all(self) -> None:
        """Save several at once, when there is room for all of them."""
        states = [state for _ in range(4) if (state := self.moved()) is not None]
        counts = self.stores[0].counts()
        if counts["pending"] + counts["delivering"] + len(states) <= 25:
            self.ask("save_all", lambda store: store.save_all(states))
            for state in states:
                if self.ask("get", lambda store, state=state: store.get(state.id)) == state:
                    self.remember([state])

    def remove(self) -> None:
        """Remove some, the same perhaps twice."""
        some = [self.chance.choice(self.known) for _ in range(2) if self.known]
        self.ask("remove", lambda store: store.remove(some))

    def purge(self) -> None:
        """Purge what is old."""
        age = self.chance.choice([None, 60, 3600, 10_000])
        limit = self.chance.choice([0, 500])
        retention = Retention(delivered=age, failed=age, count=None)
        self.ask("purge", lambda store: store.purge(retention, self.now, limit))

    def find(self) -> None:
        """Look for deliveries, page by page, and count them."""
        where, size = self.filter(), self.chance.choice([1, 2, 50])
        found: list[Delivery] = []
        after = None
        while page := self.ask(
            f"find {where}", lambda store, after=after: store.find(where, size, after)
        ):
            found += page
            after = page[-1].position
        assert found == self.ask("find all", lambda store: store.find(where))
        assert len(found) == self.ask("count", lambda store: store.count(where))
        self.remember(found[-3:])

    def look(self) -> None:
        """Ask for figures and single deliveries."""
        self.ask("counts", lambda store: store.counts())
        self.ask("next_due", lambda store: store.next_due())
        self.ask("oldest", lambda store: store.oldest(5))
        self.ask("disabled", lambda store: store.disabled())
        self.ask("stats", lambda store: _sorted(store.stats(self.now)))
        self.ask("get", lambda store: [store.get(each.id) for each in self.known])

    def switch(self) -> None:
        """Disable a webhook and enable another."""
        name, other = self.chance.choice(WEBHOOKS), self.chance.choice(WEBHOOKS)
        webhook = DisabledWebhook(webhook=name, reason="r\x00é", at=self.now)
        self.ask("disable", lambda store: store.disable(webhook))
        self.ask("enable", lambda store: store.enable(other))

    def report(self) -> None:
        """Report a worker and how often webhooks were asked."""
        pick = self.chance.choice
        beat = WorkerHeartbeat(
            worker=pick("xyz"),
            host="h",
            pid=1,
            threads=pick([0, 4]),
            busy=1,
            started_at=NOW,
            seen_at=self.now,
        )
        reason, at = pick([("", None), ("a is: no match", self.now)])
        tally = WebhookTally(
            webhook=pick(WEBHOOKS), matched=pick([0, 3]), not_matched=1, reason=reason, reason_at=at
        )
        worker = pick([None, beat])
        self.ask("report", lambda store: store.report(worker, [tally, tally]))

    def wait(self) -> None:
        """Let time go by."""
        self.now += datetime.timedelta(seconds=self.chance.choice([0.5, 2, 20, 50, 4000]))


OPERATIONS = (
    *("add", "add", "claim", "claim", "claim_one", "save", "save", "save", "save", "save_all"),
    *("remove", "purge", "find", "find", "look", "switch", "report", "wait"),
)


def _answer(call: Callable[[Any], object], store: object) -> object:
    try:
        return call(store)
    except QueueFullError as error:
        return type(error), str(error)


def _sorted(stats: Any) -> dict[str, Any]:
    return {**stats.to_dict(), "workers": sorted(map(str, stats.to_dict()["workers"]))}


@pytest.mark.parametrize("seed", range(12))
def test_the_stores_agree(tmp_path: Path, seed: int) -> None:
    """Whatever is done to them, and in which order."""
    pair = Pair(tmp_path / "queue.db", seed)
    for _ in range(STEPS):
        pair.step()
    pair.look()
