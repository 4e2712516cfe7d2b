"""How often webhooks were asked, and why they did not match."""

from __future__ import annotations

import threading

from changehook import Change, Emitter, InMemoryQueue, ThreadPoolQueue, Webhook, WebhookTally
from changehook.tallies import Tallies
from changehook.testing import FakeClock, RecordingTransport
from changehook.testing.deliveries import NOW


def hook(name: str = "w", **changes: object) -> Webhook:
    """Return a webhook."""
    values = {"name": name, "object_types": ["*"], "events": ["*"], "url": "https://r.example/"}
    return Webhook(**{**values, **changes})


ACTIVE = hook(conditions={"attr": "status", "value": "active"})
BOTH = hook(
    conditions={
        "and": [{"attr": "status", "value": "active"}, {"attr": "x", "op": "gt", "value": 1}]
    }
)


def change(**data: object) -> Change:
    """Return a change."""
    return Change(event="created", model="site", data=data, timestamp=NOW)


def test_verdicts_are_counted_and_fetched_once() -> None:
    """Three kinds, with the last reason; what was fetched is not counted again."""
    tallies = Tallies(timer=lambda: 5.0)
    tallies.count_matched(ACTIVE)
    tallies.count_missed(ACTIVE, change(status="planned"), False)
    tallies.count_missed(ACTIVE, change(), None)
    [found] = tallies.fetch()
    assert found == WebhookTally(
        webhook="w",
        matched=1,
        not_matched=1,
        unresolvable=1,
        reason="status eq: not matched",
        reason_at=NOW,
    )
    assert tallies.fetch() == []


def test_a_reason_is_worked_out_once_a_second() -> None:
    """It costs more than the verdict; and it names no value of the change."""
    times = iter([5.0, 5.9, 6.0])
    tallies = Tallies(timer=lambda: next(times))
    reasons = []
    for data in ({"status": "planned"}, {"status": "active"}, {"status": "active", "x": "SECRET"}):
        tallies.count_missed(BOTH, change(**data), False)
        reasons += [tally.reason for tally in tallies.fetch()]
    assert reasons[0].startswith("status eq: not matched, x gt: unresolvable: ")
    assert reasons[1] == ""
    assert reasons[2].startswith("x gt: unresolvable: ")
    assert "SECRET" not in "".join(reasons)


def test_a_negated_condition_is_named_so() -> None:
    """The operator is read with its negation."""
    negated = hook(conditions={"attr": "status", "value": "active", "negate": True})
    tallies = Tallies()
    tallies.count_missed(negated, change(status="active"), False)
    assert tallies.fetch()[0].reason == "status not eq: not matched"


def test_no_count_is_lost_among_threads() -> None:
    """Every verdict of every thread is counted."""
    tallies = Tallies()

    def count() -> None:
        for _ in range(2000):
            tallies.count_matched(ACTIVE)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    total = 0
    while any(thread.is_alive() for thread in threads):
        total += sum(tally.matched for tally in tallies.fetch())
    total += sum(tally.matched for tally in tallies.fetch())
    assert total == 8000


def test_an_operator_sees_why_a_webhook_never_fired() -> None:
    """From the figures of the queue, without the change at hand."""
    queue = ThreadPoolQueue()
    emitter = Emitter(webhooks=[ACTIVE, hook("all")], queue=queue, transport=RecordingTransport())
    emitter.emit_change("created", "site", {"status": "planned"})
    emitter.emit_change("created", "site", {})
    with emitter:
        every, active = queue.stats().webhooks
    assert (every.webhook, every.matched) == ("all", 2)
    assert (active.matched, active.not_matched, active.unresolvable) == (0, 1, 1)
    assert active.reason == "status eq: not matched"


def test_counting_does_not_change_what_fires() -> None:
    """What matches, does not match or cannot be decided gives the same deliveries as ever."""
    clock = FakeClock()
    emitter = Emitter(
        webhooks=[ACTIVE], queue=InMemoryQueue(clock=clock), transport=RecordingTransport()
    )
    verdicts = [
        bool(emitter.emit_change("created", "site", data))
        for data in ({"status": "active"}, {"status": "planned"}, {}, {"status": {}})
    ]
    assert verdicts == [True, False, False, False]
