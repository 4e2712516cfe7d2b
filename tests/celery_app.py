"""A host as ``celery -A celery_app worker`` imports it; the environment says what it is made of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from celery import Celery
from crashing import RunningClock

from changehook import Emitter, NetworkPolicy, RetryPolicy, SQLiteStore, Webhook
from changehook.deliveries import Delivery
from changehook.queues.celery import CeleryQueue, wakeups

SETTINGS = "CHANGEHOOK_TEST_CELERY"
WEBHOOK = "one"


def build(
    *,
    broker: str,
    path: str,
    url: str,
    schedule: list[float],
    origin: float,
    speed: float = 1.0,
    sweep_every: float | None = 0.1,
    poison: bool = False,
    timeout: float = 2.0,
    conf: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Celery, Emitter]:
    """Return the application and its emitter.

    Args:
        broker: its URL.
        path: of the file of deliveries.
        url: of the receiver.
        schedule: when attempts are made.
        origin, speed: of the clock that all processes share.
        sweep_every: seconds of real time.
        poison: whether an attempt for the event ``poison`` kills its process.
        timeout: of an attempt.
        conf: settings of the application.
    """
    clock = RunningClock(origin, speed)
    app = Celery("tests", broker=broker)
    app.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False)
    app.conf.update(broker_connection_retry_on_startup=True, broker_connection_max_retries=None)
    app.conf.update(conf)
    store = SQLiteStore(path, synchronous="NORMAL")
    queue = CeleryQueue(app, store=store, sweep_every=sweep_every, clock=clock)
    webhook = Webhook(name=WEBHOOK, object_types=["*"], events=["*"], url=url, timeout=timeout)
    emitter = Emitter(
        webhooks=[webhook],
        queue=queue,
        network=NetworkPolicy(allow=["127.0.0.1"]),
        retry=RetryPolicy(schedule=schedule, jitter=0),
        clock=clock,
    )
    perform = queue.perform
    assert perform is not None

    def kill_or_perform(claimed: Delivery) -> Delivery:
        if claimed.event == "poison" and claimed.attempt_number <= len(schedule):
            os.kill(os.getpid(), signal.SIGKILL)
        return perform(claimed)

    if poison:
        queue.perform = kill_or_perform

    @app.task(name="emit", shared=False)  # type: ignore[untyped-decorator]
    def emit() -> None:
        emitter.emit_change("created", "site", {})

    return app, emitter


def worker(settings: dict[str, Any], *words: str) -> subprocess.Popen[bytes]:
    """Start a Celery worker in a process of its own."""
    alone = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    return celery(settings, "worker", *alone, *words)


def celery(settings: dict[str, Any], command: str, *words: str) -> subprocess.Popen[bytes]:
    """Start a command of Celery."""
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_app", command, "-l", "warning", *words],
        env={**os.environ, "PYTHONPATH": here, SETTINGS: json.dumps(settings)},
        cwd=here,
        start_new_session=True,
    )


if SETTINGS in os.environ:
    wakeups.AGAIN = 1.0  # a broker that is killed loses what it was just handing over
    app, emitter = build(**json.loads(os.environ[SETTINGS]))
