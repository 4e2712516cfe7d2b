"""How often webhooks were asked whether they want a change, counted until somebody fetches it."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterator

import attrs

from changehook.conditions import Explanation
from changehook.forks import after_fork_in_child
from changehook.inspection import WebhookTally
from changehook.models import Change
from changehook.webhooks import Webhook

__all__ = ["Tallies"]

EXPLAIN_EVERY = 1.0
LONGEST_REASON = 300


@attrs.define
class _Counted:
    matched: int = 0
    not_matched: int = 0
    unresolvable: int = 0
    reason: str = ""
    reason_at: datetime.datetime | None = None


class Tallies:
    """Counts verdicts on the caller's path. Why a webhook did not match is worked out at most once
    a second for each, because that costs more than the verdict itself.

    Args:
        timer: a monotonic clock in seconds.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._forked()
        after_fork_in_child(self._forked)

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[str, _Counted] = {}
        self._explained: dict[str, float] = {}

    def count_matched(self, webhook: Webhook) -> None:
        """Count that a webhook wants a change."""
        with self._lock:
            counted = self._counted.get(webhook.name) or self._of(webhook)
            counted.matched += 1

    def count_missed(self, webhook: Webhook, change: Change, verdict: bool | None) -> None:
        """Count that a webhook does not want a change; None when its conditions could not say."""
        reason = self._reason(webhook, change)
        with self._lock:
            counted = self._of(webhook)
            if verdict is None:
                counted.unresolvable += 1
            else:
                counted.not_matched += 1
            if reason:
                counted.reason, counted.reason_at = reason, change.timestamp

    def fetch(self) -> list[WebhookTally]:
        """Return what was counted since the last call."""
        with self._lock:
            counted, self._counted = self._counted, {}
        return [WebhookTally(webhook=name, **attrs.asdict(each)) for name, each in counted.items()]

    def _of(self, webhook: Webhook) -> _Counted:
        counted = self._counted.get(webhook.name)
        if counted is None:
            counted = self._counted[webhook.name] = _Counted()
        return counted

    def _reason(self, webhook: Webhook, change: Change) -> str:
        now = self._timer()
        conditions = webhook.compiled_conditions
        if conditions is None or now < self._explained.get(webhook.name, 0.0):
            return ""
        self._explained[webhook.name] = now + EXPLAIN_EVERY
        return ", ".join(_missed(conditions.explain(change)))[:LONGEST_REASON]


def _missed(explanation: Explanation) -> Iterator[str]:
    """Yield the conditions that did not match, without the values that were found."""
    if explanation.members:
        for member in explanation.members:
            yield from _missed(member)
    elif not explanation.matched:
        negated = "not " if explanation.negate else ""
        yield f"{explanation.attr} {negated}{explanation.op}: {explanation.verdict}"
