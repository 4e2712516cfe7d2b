"""What one delivery costs the worker, queue and all, as a ratio to bare urllib3 on one sink."""

from __future__ import annotations

import json
import sys

import urllib3
from bench_emit import CONDITIONS, SITE, SNAPSHOT, hook
from bench_transport import sink
from measure import ratio, report

from changehook import Emitter, InMemoryQueue, NetworkPolicy

DELIVERY = "emit, queue, render, sign, send, record / json.dumps and pool.urlopen"
LIMITS = {DELIVERY: 1.75}
BATCH = 20


def run() -> dict[str, float]:
    """Measure the ratio."""
    with sink() as port:
        queue = InMemoryQueue()
        webhook = hook(url=f"http://127.0.0.1:{port}/", secret="s", conditions=CONDITIONS)
        emitter = Emitter(
            webhooks=[webhook], queue=queue, network=NetworkPolicy(allow=["127.0.0.1"])
        )
        [delivery] = emitter.emit_change("created", "site", SITE, postchange=SNAPSHOT)
        payload = json.loads(delivery.payload)
        pool = urllib3.HTTPConnectionPool("127.0.0.1", port)
        headers = {"Content-Type": "application/json", "X-Hook-Signature": "0" * 128}

        def ours() -> None:
            for _ in range(BATCH):
                emitter.emit_change("created", "site", SITE, postchange=SNAPSHOT)
            assert all(done.status == "delivered" for done in queue.run())

        def bare() -> None:
            for _ in range(BATCH):
                body = json.dumps(payload).encode()
                assert pool.urlopen("POST", "/", body=body, headers=headers).status == 200

        found = {DELIVERY: ratio(ours, bare)}
        emitter.close()
        pool.close()
        return found


if __name__ == "__main__":
    sys.exit(report(run, LIMITS))
