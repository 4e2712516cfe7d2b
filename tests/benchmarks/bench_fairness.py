"""What a receiver that hangs costs a healthy one: throughput beside it, as a ratio to that alone.

Sixteen workers; the healthy receiver takes 20 ms. The other one either hangs from the start, or
after it has answered for a while. Run it:
``PYTHONPATH=src:tests/benchmarks python tests/benchmarks/bench_fairness.py``.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from measure import report

from changehook import Delivery, Emitter, NetworkPolicy, RetryPolicy, ThreadPoolQueue, Webhook

WORKERS = 16
PHASE = 3.0  # seconds
DEADLINE = 2.0  # seconds, of an attempt at the one that hangs
HANGING = "healthy receiver alone / while another hangs{}, worst second"
RESTING = "healthy receiver alone / once the other{} rests"
LIMITS = {
    text.format(kind): limit
    for kind in ("", " that was healthy before")
    for text, limit in ((HANGING, 2.0), (RESTING, 1 / 0.9))
}
SERVER = """
import asyncio, sys
DELAY, WELL = float(sys.argv[1]), int(sys.argv[2])
asked = 0
async def talk(reader, writer):
    global asked
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\\r\\n")[0])
            await reader.readexactly(length)
            asked += 1
            await asyncio.sleep(0.001 if asked <= WELL else DELAY)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextlib.contextmanager
def receiver(delay: float, well: int = 0) -> Iterator[str]:
    """Run a receiver in another process that answers after a delay, at once to the first ``well``
    requests; give its URL."""
    command = [sys.executable, "-c", SERVER, str(delay), str(well)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        process.kill()


def hook(name: str, url: str) -> Webhook:
    """Return a webhook that listens to the model of its name."""
    timeout = DEADLINE if name == "hanging" else None
    return Webhook(name=name, object_types=[name], events=["*"], url=url, timeout=timeout)


class Scene:
    """Two receivers, and an emitter that always has something due for the healthy one."""

    def __init__(self, healthy: str, hanging: str) -> None:
        self.arrivals: list[float] = []
        self.queue = ThreadPoolQueue(workers=WORKERS)
        self.emitter = Emitter(
            webhooks=[hook("healthy", healthy), hook("hanging", hanging)],
            queue=self.queue,
            network=NetworkPolicy(allow=["127.0.0.1"]),
            retry=RetryPolicy(schedule=[0, 3600]),
            listeners=[self._arrived],
        )
        self._stop = threading.Event()
        self._feeder = threading.Thread(target=self._feed)

    def _arrived(self, delivery: Delivery) -> None:
        if delivery.webhook == "healthy":
            self.arrivals.append(time.monotonic())

    def _feed(self) -> None:
        while not self._stop.wait(0.02):
            for _ in range(200 - self.queue.counts()["pending"]):  # type: ignore[index]  # a str
                self.emitter.emit_change("created", "healthy", {"a": 1})

    def __enter__(self) -> Scene:
        self._feeder.start()
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._feeder.join()
        self.emitter.close(0)

    def rate(self, start: float, end: float) -> float:
        """Return how many arrived per second."""
        return sum(start <= moment < end for moment in self.arrivals) / (end - start)


def measure(kind: str, well: int) -> dict[str, float]:
    """Return the ratios beside a receiver that hangs after ``well`` answers."""
    with (
        receiver(0.02) as healthy,
        receiver(3600, well) as hanging,
        Scene(healthy, hanging) as scene,
    ):
        for _ in range(well):
            scene.emitter.emit_change("created", "hanging", {"a": 1})
        time.sleep(1)
        alone = time.monotonic()
        time.sleep(PHASE)
        began = time.monotonic()
        for _ in range(100):
            scene.emitter.emit_change("created", "hanging", {"a": 1})
        while not scene.queue._shares.resting():
            time.sleep(0.05)
        rests = time.monotonic()
        time.sleep(PHASE)
        base = scene.rate(alone, began)
        slots = [began + second for second in range(int(rests - began))]
        worst = min(scene.rate(slot, slot + 1) for slot in slots)
        after = scene.rate(rests, rests + PHASE)
    return {HANGING.format(kind): base / worst, RESTING.format(kind): base / after}


def run() -> dict[str, float]:
    """Measure both kinds of hanging."""
    return {**measure("", 0), **measure(" that was healthy before", 50)}


if __name__ == "__main__":
    sys.exit(report(run, LIMITS))
