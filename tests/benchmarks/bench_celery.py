"""What a Celery worker delivers, as a ratio to a task that posts with a new ``requests`` session.

One worker process with four threads for each of the two, on one broker, and one receiver; the one
whose turn it is not has nothing to do. A turn is the time until a number of messages that wait has
been worked off. Run it:
``PYTHONPATH=src:tests/benchmarks python tests/benchmarks/bench_celery.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
from bench_emit import SITE, SNAPSHOT
from bench_transport import sink
from celery import Celery

from changehook import Emitter, NetworkPolicy, SQLiteStore, Webhook
from changehook.queues.celery import CeleryQueue

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from servers import RedisServer  # a helper of the tests

RATIO = "changehook.deliver / a task with requests.Session().post, seconds for a delivery"
LIMITS = {RATIO: 1 / 1.5}
SETTINGS = "CHANGEHOOK_BENCH_CELERY"
BATCH = 300
ROUNDS = 7
THREADS = 4
LIMIT = 60.0


def build(broker: str, path: str, url: str, task_queue: str = "ours") -> tuple[Celery, Emitter]:
    """Return an application with both tasks, and the emitter."""
    app = Celery("bench", broker=broker)
    app.conf.update(task_ignore_result=True)
    queue = CeleryQueue(app, store=SQLiteStore(path), task_queue=task_queue)
    webhook = Webhook(name="w", object_types=["*"], events=["*"], url=url, secret="s" * 24)
    network = NetworkPolicy(allow=["127.0.0.1"])

    @app.task(name="peer", shared=False)  # type: ignore[untyped-decorator]
    def peer(payload: object) -> None:
        body = json.dumps(payload).encode()
        signature = hmac.new(b"s" * 24, body, hashlib.sha512).hexdigest()
        headers = {"Content-Type": "application/json", "X-Hook-Signature": signature}
        requests.Session().post(url, json=payload, headers=headers, timeout=15).raise_for_status()

    return app, Emitter(webhooks=[webhook], queue=queue, network=network)


if SETTINGS in os.environ:
    app, emitter = build(**json.loads(os.environ[SETTINGS]))


@contextlib.contextmanager
def worker(settings: dict[str, str], queue: str) -> Iterator[None]:
    """Run a worker for one of the two, in a process of its own."""
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-m", "celery", "-A", "bench_celery", "worker", "-Q", queue]
    command += ["-P", "threads", "-c", str(THREADS), "-l", "error", "-n", f"{queue}@localhost"]
    command += ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    environment = {**os.environ, SETTINGS: json.dumps(settings)}
    process = subprocess.Popen(command, cwd=here, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def run() -> dict[str, float]:
    """Measure the ratio."""
    with tempfile.TemporaryDirectory() as folder, RedisServer() as broker, sink() as port:
        url = f"http://127.0.0.1:{port}/"
        path = str(Path(folder, "webhooks.db"))
        settings = {"broker": broker.url, "path": path, "url": url}
        app, emitter = build(**settings, task_queue="held")
        [delivery] = emitter.emit_change("created", "site", SITE, postchange=SNAPSHOT)
        emitter.queue._broker.flush()
        payload = json.loads(delivery.payload)
        connection = app.connection_for_read()
        client = connection.default_channel.client

        def idle() -> bool:
            return not client.exists("ours", "peer", "unacked")

        def turn(fill: Callable[[], object]) -> float:
            client.delete("held")
            for _ in range(BATCH):
                fill()
            emitter.queue._broker.flush()
            start = time.perf_counter()
            client.rename("held", "ours" if fill is ours else "peer")
            while not idle():
                assert time.perf_counter() - start < LIMIT
                time.sleep(0.002)
            return time.perf_counter() - start

        def ours() -> None:
            emitter.emit_change("created", "site", SITE, postchange=SNAPSHOT)

        def peers() -> None:
            app.tasks["peer"].apply_async((payload,), queue="held")

        sides: list[tuple[Callable[[], object], list[float]]] = [(ours, []), (peers, [])]
        with worker(settings, "ours"), worker(settings, "peer"):
            for index in range(-1, ROUNDS):
                for fill, turns in sides if index % 2 else reversed(sides):
                    turns.append(turn(fill))
        delivered = emitter.queue.counts()["delivered"]
        assert delivered == (ROUNDS + 1) * BATCH, delivered
        emitter.close()
        connection.release()
    # The first turn of each fills caches.
    mine, theirs = (statistics.median(turns[1:]) / BATCH for _, turns in sides)
    print(f"{1 / mine:.0f} and {1 / theirs:.0f} deliveries per second")
    return {RATIO: mine / theirs}


if __name__ == "__main__":
    from measure import report

    sys.exit(report(run, LIMITS))
