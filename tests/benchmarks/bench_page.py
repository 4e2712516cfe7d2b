"""What the operator's page costs when a million deliveries are kept, as ratios to a few.

Run it: ``PYTHONPATH=src:tests/benchmarks python tests/benchmarks/bench_page.py``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from wsgiref.util import setup_testing_defaults

from bench_emit import hook
from bench_store import ROWS, SMALL, deliveries, filled, finished
from measure import ratio, report

from changehook import Emitter, MemoryStore, Store
from changehook.models import utcnow
from changehook.queues.stored import StoredQueue
from changehook.web import inspection_app

PAGES = {
    "overview": ("/", ""),
    "first page": ("/deliveries", ""),
    "first page of a status": ("/deliveries", "status=failed"),
    "first page of a webhook": ("/deliveries", "webhook=w3"),
    "first page with an error": ("/deliveries", "status=with-error"),
    "webhooks": ("/webhooks", ""),
}


def name_of(page: str, store: str) -> str:
    """Return the name of a figure."""
    return f"{page}, {store}, {ROWS:,} deliveries / {SMALL:,}"


LIMITS = {name_of(page, store): 3.0 for store in ("SQLite", "memory") for page in PAGES}


def getter(store: Store) -> Callable[[str, str], bytes]:
    """Return a function that gets a page over a store."""
    webhooks = [hook(name=f"w{index}") for index in range(20)]
    emitter = Emitter(webhooks=webhooks, queue=StoredQueue(store))
    app = inspection_app(emitter, authorize=lambda _: "operate")

    def get(path: str, query: str) -> bytes:
        environ = {"PATH_INFO": path, "QUERY_STRING": query}
        setup_testing_defaults(environ)
        statuses: list[str] = []
        body = b"".join(app(environ, lambda status, _: statuses.append(status)))
        assert statuses == ["200 OK"], statuses
        return body

    return get


def in_memory(rows: int) -> MemoryStore:
    """Return a store in memory with finished deliveries of twenty webhooks, one in fifty failed."""
    store = MemoryStore(capacity=rows, keep=rows)
    for start in range(0, rows, 500):
        store.add(deliveries(500, f"w{start // 500 % 20}", "{}"))
        claimed = store.claim(utcnow(), limit=500)
        store.save_all([finished(each, index) for index, each in enumerate(claimed)])
    return store


def measured(large: Store, small: Store, kind: str) -> dict[str, float]:
    """Measure each page over two stores."""
    big, little = getter(large), getter(small)
    return {
        name_of(page, kind): ratio(lambda at=at: big(*at), lambda at=at: little(*at), rounds=15)
        for page, at in PAGES.items()
    }


def run() -> dict[str, float]:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as folder:
        large, small = filled(Path(folder, "large.db"), ROWS), filled(Path(folder, "s.db"), SMALL)
        found = measured(large, small, "SQLite")
        large.close()
        small.close()
    return found | measured(in_memory(ROWS), in_memory(SMALL), "memory")


if __name__ == "__main__":
    sys.exit(report(run, LIMITS))
