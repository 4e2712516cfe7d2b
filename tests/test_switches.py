"""Webhooks that get no deliveries: after a 410, or by someone's hand."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from changehook import (
    DeliveryFilter,
    Emitter,
    InMemoryQueue,
    Queue,
    SQLiteStore,
    StoreError,
    ThreadPoolQueue,
    Webhook,
)
from changehook.switches import Switches
from changehook.testing import FakeClock, RecordingTransport
from changehook.testing.deliveries import NOW, until

HOOK = Webhook(name="w", object_types=["*"], events=["*"], url="https://receiver.example/")
GONE = "the receiver answered 410, it is gone for good"


def emitter_of(*answers: int, queue: Queue | None = None, **arguments: object) -> Emitter:
    """Return an emitter whose receiver answers so."""
    clock = FakeClock(NOW)
    return Emitter(
        webhooks=[HOOK],
        queue=queue or InMemoryQueue(clock=clock),
        transport=RecordingTransport(*answers),
        clock=clock,
        **arguments,
    )


def test_a_410_disables_the_webhook(caplog: pytest.LogCaptureFixture) -> None:
    """The delivery failed, later ones are skipped and say why; a listener is told once."""
    news = []
    emitter = emitter_of(410, 200, on_disabled=[news.append])
    for _ in range(2):
        emitter.emit_change("x", "m", {})
    first, second = emitter.queue.run()
    assert (first.status, first.reason) == ("failed", "status 410")
    assert (second.status, second.reason) == ("skipped", f"the webhook is disabled: {GONE}")
    assert [(each.webhook, each.reason, each.at) for each in news] == [("w", GONE, NOW)]
    assert emitter.disabled() == {"w": news[0]}
    assert "webhook w is disabled" in caplog.text


def test_what_was_skipped_is_retried_once_it_is_enabled() -> None:
    """Nothing is dropped silently: changes make deliveries all the while."""
    emitter = emitter_of(200)
    assert emitter.disable("w", "moves house")
    assert not emitter.disable("w")
    emitter.emit_change("x", "m", {})
    assert emitter.queue.run()[0].status == "skipped"
    assert emitter.enable("w")
    assert not emitter.enable("w")
    assert emitter.queue.retry(DeliveryFilter(status="skipped", webhook="w")) == 1
    assert emitter.queue.run()[0].status == "delivered"


def test_an_explanation_says_that_deliveries_are_skipped() -> None:
    """To whoever asks why nothing arrives."""
    emitter = emitter_of()
    emitter.disable("w", "moves house")
    [explained] = emitter.explain("x", "m", {})
    assert explained.fires
    assert explained.reason == ("it has no conditions; but its deliveries are skipped: moves house")


def test_a_listener_that_raises_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The others are told, and the webhook stays disabled."""
    news = []

    def broken(disabled: object) -> None:
        raise RuntimeError("SECRET")

    emitter = emitter_of(410, on_disabled=[broken, news.append])
    emitter.emit_change("x", "m", {})
    emitter.queue.run()
    assert len(news) == 1
    assert "broken failed (RuntimeError in test_switches.py" in caplog.text
    assert "SECRET" not in caplog.text


class Forwarding(Queue):
    """The least of a queue: it has no store."""

    def put(self, deliveries: object) -> None:
        """Keep what was put."""
        self.kept = deliveries


def test_without_a_store_the_process_remembers() -> None:
    """A foreign broker's worker skips what a 410 of this process disabled."""
    queue = Forwarding()
    emitter = emitter_of(410, queue=queue)
    emitter.emit_change("x", "m", {})
    assert emitter.deliver(queue.kept[0]).status == "failed"
    assert emitter.deliver(queue.kept[0]).status == "skipped"
    assert emitter.enable("w")
    assert not emitter.enable("w")
    assert emitter.deliver(queue.kept[0]).status == "failed"


OTHER = """
import sys
from changehook import SQLiteStore
print(SQLiteStore(sys.argv[1]).disabled()["w"].reason)
print(SQLiteStore(sys.argv[1]).enable("w"))
"""


def test_every_process_that_shares_the_store_sees_it(tmp_path: Path) -> None:
    """And any of them can enable it."""
    path = tmp_path / "webhooks.db"
    queue = ThreadPoolQueue(SQLiteStore(path))
    emitter = emitter_of(410, 200, queue=queue)
    emitter.emit_change("x", "m", {})
    assert until(lambda: bool(emitter.disabled()))
    command = [sys.executable, "-c", OTHER, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [GONE, "True"]
    emitter.emit_change("x", "m", {})
    assert until(lambda: queue.count(DeliveryFilter(status="delivered")) == 1)
    emitter.close()
    queue.store.close()


class Broken(InMemoryQueue):
    """A queue whose store keeps no facts just now."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("disabled", "disable"):
            setattr(self.store, name, self.fail)

    def fail(self, *_: object) -> None:
        """Fail as a full disk does."""
        raise StoreError("the disk is full")


def test_a_store_that_fails_holds_up_no_delivery(caplog: pytest.LogCaptureFixture) -> None:
    """Whether it cannot be read before the attempt, or not be written after it."""
    caplog.set_level(logging.ERROR)
    emitter = emitter_of(410, queue=Broken())
    emitter.emit_change("x", "m", {})
    assert emitter.queue.run()[0].status == "failed"
    assert "cannot see whether a webhook is disabled (StoreError)" in caplog.text
    assert "its receiver is gone, but it stays enabled (StoreError)" in caplog.text


def test_why_is_none_for_a_webhook_that_gets_deliveries() -> None:
    """The usual case."""
    switches = Switches(None, lambda: NOW, [])
    assert switches.why("w") is None
    switches.disable("w", "x")
    assert switches.why("w") == "x"
