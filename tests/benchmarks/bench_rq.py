"""What one worker process delivers through RQ, and what ``put`` costs the caller.

The peer is the way NetBox does it: ``rq.Worker`` forks for each job, templates are compiled for
each request, and each gets a new ``requests.Session``. Run it:
``PYTHONPATH=src:tests:tests/benchmarks python tests/benchmarks/bench_rq.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rq
from bench_emit import SITE, SNAPSHOT
from bench_store import deliveries
from bench_transport import sink
from measure import ratio, report

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers import RedisServer

SINGLE = "a delivery in a job of its own / NetBox's way"
BURST = "a delivery of a burst / NetBox's way"
PUT = "put of one / Queue.enqueue"
BATCH = "put of 100, each / Queue.enqueue"
LIMITS = {SINGLE: 1 / 4, BURST: 1 / 10, PUT: 1.2, BATCH: 0.2}


FORKING = "import rq, rq_jobs; rq.Worker(['peer'], connection=rq_jobs.CONNECTION).work()"
"""It has imported what its jobs need, as NetBox's has."""


@contextlib.contextmanager
def running(*words: str) -> Iterator[None]:
    """Run a worker in another process."""
    here = Path(__file__).parent
    path = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    with subprocess.Popen(
        [sys.executable, *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()


def finishes(queue: Any, number: int, put: Callable[[], object]) -> None:
    """Put something, and wait until that many jobs more are finished."""
    registry = queue.finished_job_registry
    target = registry.get_job_count(cleanup=False) + number
    put()
    give_up = time.monotonic() + 60
    while registry.get_job_count(cleanup=False) < target:
        assert time.monotonic() < give_up, "the worker is too slow"
        time.sleep(0.002)


def work(hosts: Any, peer: Any) -> dict[str, float]:
    """Measure what the workers do."""
    [delivery] = hosts.singles.emit_change("created", "site", SITE, postchange=SNAPSHOT)
    words = hosts.arguments(delivery.payload)

    def netbox(number: int) -> None:
        def put() -> None:
            for _ in range(number):
                peer.enqueue("rq_jobs.netbox", *words)

        finishes(peer, number, put)

    def single(number: int) -> None:
        def put() -> None:
            for _ in range(number):
                hosts.singles.queue.put(deliveries(1, payload=delivery.payload))

        finishes(hosts.singles.queue.rq, number, put)

    def burst(number: int) -> None:
        def put() -> None:
            hosts.bursts.queue.put(deliveries(number, payload=delivery.payload))

        finishes(hosts.bursts.queue.rq, number // 25, put)

    return {
        SINGLE: ratio(lambda: single(100), lambda: netbox(20), rounds=5) / 5,
        BURST: ratio(lambda: burst(500), lambda: netbox(20), rounds=5) / 25,
    }


def puts(hosts: Any, peer: Any) -> dict[str, float]:
    """Measure what the caller pays; no worker listens to these queues."""
    ours = hosts.quiet.queue

    def bare() -> None:
        peer.enqueue("rq_jobs.netbox", deliveries(1)[0].payload)

    return {
        PUT: ratio(lambda: ours.put(deliveries(1)), bare, rounds=75, number=20),
        BATCH: ratio(lambda: ours.put(deliveries(100)), bare) / 100,
    }


def main() -> int:
    """Start what is needed, and measure."""
    with RedisServer() as server, sink() as port:
        os.environ.update(BENCH_REDIS=server.url, BENCH_URL=f"http://127.0.0.1:{port}/")
        hosts: Any = importlib.import_module("rq_jobs")
        peer, quiet = (rq.Queue(name, connection=hosts.CONNECTION) for name in ("peer", "quiet"))
        ours = ("-m", "changehook", "worker", "--rq", "--emitter")

        def run() -> dict[str, float]:
            with (
                running("-c", FORKING),
                running(*ours, "rq_jobs:singles"),
                running(*ours, "rq_jobs:bursts"),
            ):
                found = work(hosts, peer)
            return found | puts(hosts, quiet)

        return report(run, LIMITS)


if __name__ == "__main__":
    sys.exit(main())
