"""Processes that are killed at any moment, wrong clocks, races: nothing that was taken is lost.

The figures are shown by ``pytest -s``. Longer, and with other moments::

    CHANGEHOOK_KILLS=5000 CHANGEHOOK_SEED=2 pytest -s tests/acceptance/test_crashes.py
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import heapq
import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time

import attrs
import pytest
from crashing import POISON, WEBHOOKS, Nursery, read_diary, webhooks
from ledger import Ledger

from changehook import ChangehookError, DeliveryFilter, Emitter
from changehook.queues.stored import StoredQueue
from changehook.stores.sqlite import SQLiteStore
from changehook.testing import FakeClock, RecordingTransport
from changehook.testing.deliveries import make_delivery, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, for its fork")

KILLS = int(os.environ.get("CHANGEHOOK_KILLS", "600"))
SEED = int(os.environ.get("CHANGEHOOK_SEED", "1"))
AT_ONCE = 4
MINUTE = 60.0
PATIENCE = 10 * MINUTE  # how long a clock that was wrong may hold a delivery up
SCHEDULE = [0, 0, 0, 0]  # of the poison
SPEED = 30.0  # a lease, of 31 seconds, ends after about one
RECORDED = """
SELECT (SELECT count(*) FROM deliveries d
        WHERE d.attempts <> (SELECT count(*) FROM attempts a WHERE a.delivery = d.number))
     + (SELECT count(*) FROM attempts WHERE delivery NOT IN (SELECT number FROM deliveries))
     + (SELECT count(*) FROM payloads WHERE id NOT IN (SELECT payload FROM deliveries))
"""


@pytest.fixture
def nursery():
    """Start the process that forks."""
    with contextlib.closing(Nursery()) as started:
        yield started


@attrs.define
class Campaign:
    """Processes that work on one file, and die.

    Args:
        nursery: forks them.
        ledger: what they deliver to.
        folder: where the file and the diary lie.
        clock: what their clocks are like; None for clocks that jump.
    """

    nursery: Nursery
    ledger: Ledger
    folder: os.PathLike
    clock: dict[str, float] | None
    chance: random.Random = attrs.Factory(lambda: random.Random(SEED))
    kills: int = 0
    _born: int = 0
    _pause: threading.Event = attrs.Factory(threading.Event)

    @property
    def path(self):
        """The file of the deliveries."""
        return self.folder / "webhooks.db"

    @property
    def diary(self):
        """The file in which the processes write what was acknowledged."""
        return self.folder / "diary"

    def job(self, does, **more):
        """Return a job for a process."""
        self._born += 1
        files = {"path": str(self.path), "diary": str(self.diary), "url": self.ledger.url}
        seed = self.chance.getrandbits(32)
        return {"does": does, "seed": seed, "clock": self.clock, **files, **more}

    def keep(self, count):
        """Have the file keep the deliveries of so many changes that nobody has delivered yet."""
        store = SQLiteStore(self.path)
        emitter = Emitter(webhooks=webhooks(self.ledger.url, [0]), queue=StoredQueue(store))
        for number in range(count):
            emitter.emit_change("created", "site", {"number": number})
        store.close()

    def run(self, kills):
        """Start processes and kill them until so many were killed."""
        living = []
        while self.kills < kills:
            while len(living) < AT_ONCE:
                child = self.nursery.fork(self._any_job())
                heapq.heappush(living, (time.monotonic() + self._life(), child))
            moment, child = heapq.heappop(living)
            self._pause.wait(max(0.0, moment - time.monotonic()))
            self._kill(child)
            if self.chance.random() < 0.1:  # all of them, so that nobody has the file open
                while living:
                    self._kill(living.pop()[1])
        while living:
            self._kill(living.pop()[1])

    def drain(self, **clock):
        """Have a process that lives deliver what is left."""
        child = self.nursery.fork(self.job("drain", clock=clock, seed=0))
        assert self.nursery.wait(child) == 0

    def _any_job(self):
        if self.chance.random() < 0.4:
            return self.job("deliver")
        capacity = self.chance.choice([1_000_000] * 5 + [10])
        first = self._born * 1000
        return self.job("emit", first=first, count=self.chance.choice([5, 50]), capacity=capacity)

    def _life(self):
        return self.chance.uniform(0, self.chance.choice([0.05, 0.5]))

    def _kill(self, child):
        self.kills += self.nursery.kill(child) == -signal.SIGKILL

    def changes(self, word):
        """Return the changes that the diary says this of, for each webhook that they go to."""
        return {
            (int(number), webhook)
            for number, model in read_diary(self.diary, word)
            for webhook in WEBHOOKS
            if WEBHOOKS[webhook] == model
        }

    def check(self):
        """Nothing lost, nothing that was refused, one id for each, and a file in order."""
        assert read_diary(self.diary, "error") == read_diary(self.diary, "left") == []
        received = self.ledger.ids
        acknowledged, refused = self.changes("acknowledged"), self.changes("refused")
        lost = acknowledged - received.keys()
        figures = {
            "seed": SEED,
            "kills": self.kills,
            "acknowledged": len(acknowledged),
            "refused": len(refused),
            "in the air": len(self.changes("begun") - acknowledged - refused),
            "received": len(received),
            "duplicates": sum(sum(ids.values()) - 1 for ids in received.values()),
            "lost": len(lost),
        }
        print("", ", ".join(f"{name}: {value}" for name, value in figures.items()))
        assert acknowledged
        assert refused
        assert lost == set()
        assert refused & received.keys() == set()
        assert {len(ids) for ids in received.values()} == {1}
        assert {len(bodies) for bodies in self.ledger.bodies.values()} == {1}
        self.check_file()

    def check_file(self):
        """Every delivery that is kept was delivered, and the figures agree with the rows."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute("SELECT id, status FROM deliveries").fetchall()
            counts = dict(connection.execute("SELECT status, count FROM counts WHERE count"))
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute(RECORDED).fetchone() == (0,)
        assert collections.Counter(status for _, status in rows) == counts
        assert counts.keys() == {"delivered"}
        assert {each for each, _ in rows} == {
            each for ids in self.ledger.ids.values() for each in ids
        }


@pytest.fixture
def campaign(nursery, tmp_path):
    """Build campaigns over a ledger, which is closed at the end."""
    with contextlib.ExitStack() as stack:

        def build(clock, **ledger):
            opened = stack.enter_context(contextlib.closing(Ledger(random.Random(SEED), **ledger)))
            return Campaign(nursery, opened, tmp_path, clock)

        yield build


def test_kills_lose_nothing(campaign):
    """Whatever the moment: what was acknowledged arrives, and what was refused does not."""
    clock = {"origin": time.time(), "speed": SPEED}
    killing = campaign(clock)
    killing.run(KILLS)
    killing.drain(**clock, ahead=5 * MINUTE)
    killing.check()
    assert killing.kills >= KILLS


def test_jumps_of_clocks_lose_nothing_and_hold_nothing_up(campaign):
    """Clocks that are wrong by hours and days, in every process another: nobody waits for them."""
    jumping = campaign(None, failures=0.3)
    jumping.run(KILLS // 4)
    jumping.drain(origin=time.time(), speed=SPEED)
    jumping.check()


def test_no_two_processes_claim_one_delivery(campaign):
    """Four processes that start at once share the deliveries, and each is made exactly once."""
    racing = campaign({"origin": time.time()}, failures=0)
    racing.keep(400)
    with open(racing.folder / "start", "w") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        children = [
            racing.nursery.fork(racing.job("race", start=start.name)) for _ in range(AT_ONCE)
        ]
        assert until(lambda: len(read_diary(racing.diary, "ready")) == AT_ONCE)
    assert {racing.nursery.wait(child) for child in children} == {0}
    claims = read_diary(racing.diary, "claimed")
    shares = collections.Counter(child for *_, child in claims)
    print("", "claims of each process:", *shares.values())
    assert len(shares) > 1
    assert {number for _, number, _ in claims} == {"1"}
    assert len({claimed for claimed, *_ in claims}) == len(claims) == 400
    assert {sum(ids.values()) for ids in racing.ledger.ids.values()} == {1}
    assert len(racing.ledger.ids) == 400
    racing.check_file()


def test_a_delivery_that_kills_its_worker_ends(campaign):
    """It is given up when its schedule is through, and takes none of its neighbours along."""
    poisoned = campaign({"origin": time.time()}, failures=0, delays=1)
    poisoned.keep(30)
    deaths, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL and deaths < 20:
        clock = {"origin": time.time(), "ahead": deaths * MINUTE}
        child = poisoned.nursery.fork(
            poisoned.job("drain", clock=clock, deadly=True, schedule=SCHEDULE)
        )
        code = poisoned.nursery.wait(child)
        deaths += code == -signal.SIGKILL
    print(" deaths:", deaths)
    assert (code, deaths) == (0, len(SCHEDULE))
    store = SQLiteStore(poisoned.path)
    [given_up] = store.find(DeliveryFilter(status="failed"))
    assert json.loads(given_up.payload)["data"]["number"] == POISON
    assert [each.error_class for each in given_up.attempts] == ["lost"] * len(SCHEDULE)
    assert store.counts()["delivered"] == len(poisoned.ledger.ids) == 29
    store.close()


def test_those_who_create_the_file_together_share_it(tmp_path):
    """As the workers of a server do at its first start: none is refused."""
    refused, together = [], threading.Barrier(4)

    def create(path):
        together.wait()
        try:
            SQLiteStore(path)
        except ChangehookError as error:
            refused.append(str(error))

    for number in range(100):
        path = tmp_path / f"{number}.db"
        threads = [threading.Thread(target=create, args=(path,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert refused == []


AHEAD = [4 * MINUTE, 59 * MINUTE, 61 * MINUTE, 24 * 60 * MINUTE]


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_lease_of_a_clock_that_was_ahead_ends(tmp_path, ahead):
    """Its worker died, the clock was put right, and minutes later another worker has it."""
    store, clock = SQLiteStore(tmp_path / "webhooks.db"), FakeClock()
    store.add([make_delivery(created_at=clock(), due_at=clock())])
    clock.advance(ahead)
    assert len(store.claim(clock())) == 1
    clock.advance(-ahead + PATIENCE)
    [claimed] = store.claim(clock())
    assert [each.error_class for each in claimed.attempts] == ["lost"]
    store.close()


@pytest.mark.parametrize("ahead", [*AHEAD, -60 * MINUTE])
def test_a_clock_that_jumps_during_an_attempt_delays_no_retry(tmp_path, ahead):
    """The clock was put right afterwards, and the retry is due as if nothing had happened."""
    store, clock = SQLiteStore(tmp_path / "webhooks.db"), FakeClock()

    class Jumping(RecordingTransport):
        def send(self, request):
            clock.advance(ahead)
            return super().send(request)

    emitter = Emitter(
        webhooks=webhooks("http://127.0.0.1", [0, 5, 5]),
        queue=StoredQueue(store),
        transport=Jumping(500),
        clock=clock,
    )
    emitter.emit_change("created", "site", {})
    store.save(emitter.deliver(*store.claim(clock())))
    clock.advance(-ahead + PATIENCE)
    [claimed] = store.claim(clock())
    assert [each.error_class for each in claimed.attempts] == ["status"]
    store.close()
