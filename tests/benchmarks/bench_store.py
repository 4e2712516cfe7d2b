"""What the SQLite store costs, as ratios to bare commits, to memory, and to a small file.

The limits hold on every disk, also on one where a sync costs nothing, such as a tmpfs; how much
commits are shared is counted by a test. On a disk that syncs, BATCH, TOGETHER and NORMAL are small.

Run it: ``PYTHONPATH=src:tests/benchmarks python tests/benchmarks/bench_store.py``; with
``CHANGEHOOK_BENCH_ROWS=10000000`` the large file is larger.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
from bench_emit import SITE, SNAPSHOT, hook
from bench_transport import sink
from measure import ratio, report

from changehook import (
    Delivery,
    DeliveryFilter,
    DeliveryStatus,
    Emitter,
    MemoryStore,
    NetworkPolicy,
    SQLiteStore,
    Store,
    ThreadPoolQueue,
)
from changehook.deliveries import Attempt, Decision
from changehook.models import new_delivery_id, utcnow

ROWS = int(os.environ.get("CHANGEHOOK_BENCH_ROWS", "1000000"))
SMALL = 10_000
PENDING = 100_000
PAYLOAD = '{"event":"created","data":"' + "x" * 1450 + '"}'

PUT = "put of one delivery, FULL / a bare commit of its payload and five json.dumps"
BATCH = "put of 100 deliveries, each / put of one"
TOGETHER = "put by 8 threads at once, each / by one thread"
NORMAL = "put of one delivery, NORMAL / FULL"
WHOLE = "500 deliveries by 8 workers, SQLite FULL / memory and 500 bare commits"
STATS = f"stats() with {ROWS:,} deliveries / with {SMALL:,}"
PAGE = f"first page with {ROWS:,} deliveries / with {SMALL:,}"
FAILED = f"first page of what failed with {ROWS:,} deliveries / with {SMALL:,}"
NONE = f"what failed last of a webhook of which none did with {ROWS:,} deliveries / with {SMALL:,}"
CLAIM = f"claim and save with {ROWS:,} deliveries / with {SMALL:,}"
MEMORY = f"MiB of memory that {PENDING:,} pending deliveries need"
LIMITS = {
    PUT: 2.5,
    BATCH: 0.5,
    TOGETHER: 2.0,
    NORMAL: 1.3,
    WHOLE: 3.0,
    STATS: 3.0,
    PAGE: 3.0,
    FAILED: 3.0,
    NONE: 3.0,
    CLAIM: 3.0,
    MEMORY: 32.0,
}


def deliveries(count: int, webhook: str = "w", payload: str = PAYLOAD) -> list[Delivery]:
    """Return fresh deliveries of one change."""
    now = utcnow()
    return [
        Delivery(
            id=new_delivery_id(now),
            webhook=webhook,
            event="created",
            model="site",
            payload=payload,
            created_at=now,
            due_at=now,
        )
        for _ in range(count)
    ]


@contextlib.contextmanager
def committer(path: Path) -> Iterator[Callable[[], None]]:
    """Give a function that writes one payload with a sync, and nothing else."""
    bare = sqlite3.connect(path, isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, payload TEXT)")

    def commit() -> None:
        bare.execute("BEGIN IMMEDIATE")
        bare.execute("INSERT INTO t (payload) VALUES (?)", (PAYLOAD,))
        bare.execute("COMMIT")

    yield commit
    bare.close()


def puts(folder: Path, commit: Callable[[], None]) -> dict[str, float]:
    """Measure what the caller waits for, beside a bare commit."""
    full, normal = (
        SQLiteStore(folder / "full.db"),
        SQLiteStore(folder / "n.db", synchronous="NORMAL"),
    )
    pool = concurrent.futures.ThreadPoolExecutor(8)

    def peer() -> None:
        commit()
        for _ in range(5):
            json.dumps(SITE)

    def one(store: Store = full) -> None:
        store.add(deliveries(1))

    def batch() -> None:
        full.add(deliveries(100))

    def alone() -> None:
        for _ in range(64):
            one()

    def together() -> None:
        list(pool.map(lambda _: [one() for _ in range(8)], range(8)))

    found = {
        PUT: ratio(one, peer, number=20),
        BATCH: ratio(batch, one) / 100,
        TOGETHER: ratio(together, alone),
        NORMAL: ratio(lambda: one(normal), one, number=20),
    }
    pool.shutdown()
    full.close()
    normal.close()
    return found


def whole(folder: Path, port: int, commit: Callable[[], None]) -> float:
    """Measure emitting and delivering, beside bare commits."""
    emitters = [
        Emitter(
            webhooks=[hook(url=f"http://127.0.0.1:{port}/", secret="s")],
            queue=ThreadPoolQueue(store),
            network=NetworkPolicy(allow=["127.0.0.1"]),
        )
        for store in (SQLiteStore(folder / "whole.db"), MemoryStore())
    ]

    def deliver(emitter: Emitter) -> None:
        store = emitter.queue.store
        assert store is not None
        target = store.counts()[DeliveryStatus.DELIVERED] + 500
        for _ in range(500):
            emitter.emit_change("created", "site", SITE, postchange=SNAPSHOT)
        while store.counts()[DeliveryStatus.DELIVERED] < min(target, 1000):
            time.sleep(0.002)
        store.remove(store.find(DeliveryFilter(status=DeliveryStatus.DELIVERED)))

    durable, memory = emitters

    def peer() -> None:
        deliver(memory)
        for _ in range(500):
            commit()

    found = ratio(lambda: deliver(durable), peer, rounds=7)
    for emitter in emitters:
        emitter.close()
    return found


def filled(path: Path, rows: int) -> SQLiteStore:
    """Return a store of finished deliveries, one in fifty failed, of twenty webhooks."""
    store = SQLiteStore(path, synchronous="NORMAL", capacity=2 * rows)
    names = itertools.cycle(f"w{number}" for number in range(20))
    for start in range(0, rows, 5_000):
        store.add([each for _ in range(0, 5_000, 10) for each in deliveries(10, next(names), "{}")])
        claimed = store.claim(utcnow(), limit=5_000)
        store.save_all([finished(each, index) for index, each in enumerate(claimed)])
        assert len(claimed) == 5_000, start
    return store


def finished(claimed: Delivery, index: int) -> Delivery:
    """Return a delivery after its last attempt."""
    failed = index % 50 == 0
    attempt = Attempt(
        number=1,
        started_at=utcnow(),
        duration=0.02,
        status=500 if failed else 200,
        error_class="status" if failed else None,
    )
    status = DeliveryStatus.FAILED if failed else DeliveryStatus.DELIVERED
    return claimed.after(attempt, Decision(status=status))


def sizes(folder: Path) -> dict[str, float]:
    """Measure what grows with the number of deliveries that are kept."""
    large, small = filled(folder / "large.db", ROWS), filled(folder / "small.db", SMALL)

    def work(store: SQLiteStore) -> None:
        store.add(deliveries(1))
        [claimed] = store.claim(utcnow())
        assert store.save(finished(claimed, 1))

    where = DeliveryFilter(status=DeliveryStatus.FAILED)
    none = DeliveryFilter(webhook="w1", with_error=True)
    assert (large.count(none), small.count(DeliveryFilter(webhook="w1"))) == (0, SMALL // 20)
    found = {
        STATS: ratio(lambda: large.stats(utcnow()), lambda: small.stats(utcnow()), number=5),
        PAGE: ratio(
            lambda: large.find(DeliveryFilter(), 50), lambda: small.find(DeliveryFilter(), 50)
        ),
        FAILED: ratio(lambda: large.find(where, 50), lambda: small.find(where, 50)),
        NONE: ratio(lambda: large.find(none, 1), lambda: small.find(none, 1), number=100),
        CLAIM: ratio(lambda: work(large), lambda: work(small), number=10),
    }
    large.close()
    small.close()
    return found


def memory() -> float:
    """Return the MiB that a process grows by when it puts and delivers very many deliveries."""
    command = [sys.executable, __file__, "memory"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(folder: Path) -> Iterator[float]:
    """Yield the most memory in MiB, before and after."""
    with sink() as port:
        emitter = Emitter(
            webhooks=[hook(url=f"http://127.0.0.1:{port}/", secret="s", events=["soon"])],
            queue=ThreadPoolQueue(SQLiteStore(folder / "many.db", synchronous="NORMAL")),
            network=NetworkPolicy(allow=["127.0.0.1"]),
        )
        queue = emitter.queue
        emitter.emit_change("soon", "site", SITE, postchange=SNAPSHOT)
        yield peak()
        for _ in range(PENDING // 100):
            later = utcnow().replace(year=2099)
            queue.put([attrs.evolve(each, due_at=later) for each in deliveries(100)])
        for _ in range(500):
            emitter.emit_change("soon", "site", SITE, postchange=SNAPSHOT)
        assert queue.store is not None
        while queue.store.counts()[DeliveryStatus.DELIVERED] < 501:
            time.sleep(0.01)
        assert emitter.close() == PENDING
        yield peak()


def peak() -> float:
    """Return the most memory that this process has used, in MiB (Linux; proc(5), VmHWM).

    Not ``ru_maxrss``: a process begins with that of the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run() -> dict[str, float]:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as folder, sink() as port:
        with committer(Path(folder, "bare.db")) as commit:
            found = puts(Path(folder), commit)
            found[WHOLE] = whole(Path(folder), port, commit)
        found |= sizes(Path(folder))
    found[MEMORY] = memory()
    return found


def main(words: Sequence[str]) -> int:
    """Run the benchmarks, or what they run in another process."""
    if words == ["memory"]:
        with tempfile.TemporaryDirectory() as folder:
            before, after = measure_memory(Path(folder))
            print(after - before)
        return 0
    return report(run, LIMITS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
