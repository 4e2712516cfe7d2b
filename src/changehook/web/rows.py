"""How each webhook fares: its figures, what failed last, and whether anything arrived since."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.inspection import (
    DeliveryFilter,
    DisabledWebhook,
    HourlyOutcome,
    QueueStats,
    WebhookTally,
)
from changehook.web.page import Page
from changehook.webhooks import Webhook

__all__ = ["Row", "Trouble", "row_of", "rows_of"]

NEWEST = 100
FEW = 10
LOOK_UPS = 20
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(hours=24)
BAD = frozenset({"retried", "failed", "lost"})


@attrs.frozen(kw_only=True)
class Trouble:
    """What failed last of a webhook.

    Args:
        failure: the delivery whose attempt it was.
        at: when that attempt began.
        since: when the first attempt that failed since the last success began, as far as is known.
        success_at: when the last attempt that delivered began; None when none is known.
    """

    failure: Delivery
    at: datetime.datetime
    since: datetime.datetime
    success_at: datetime.datetime | None

    @property
    def lasts(self) -> bool:
        """Whether nothing arrived since."""
        return self.success_at is None or self.success_at < self.at

    @property
    def words(self) -> str:
        """What the attempt met."""
        last = self.failure.attempts[-1]
        error = last.error or ""
        return error if last.error_class == "status" else f"{last.error_class}: {error}"


@attrs.frozen(kw_only=True)
class Row:
    """How one webhook fares.

    Args:
        name: of the webhook.
        webhook: its definition, None when it is not defined here.
        disabled: why it gets no deliveries.
        tally: how often it was asked.
        counts: attempts of the last day by outcome.
        mean, slowest: seconds.
        trouble: what failed last, if that is known.
        failed_in: the last hour in which an attempt failed.
    """

    name: str
    webhook: Webhook | None
    disabled: DisabledWebhook | None
    tally: WebhookTally | None
    counts: dict[str, int]
    mean: float | None
    slowest: float | None
    trouble: Trouble | None
    failed_in: datetime.datetime | None

    @property
    def failing(self) -> bool:
        """Whether it is on, its last attempt failed, and nothing arrived since."""
        is_off = self.disabled is not None or not (self.webhook is None or self.webhook.enabled)
        return not is_off and self.trouble is not None and self.trouble.lasts

    @property
    def failed_until(self) -> datetime.datetime | None:
        """The end of the hour of the last failure."""
        return None if self.failed_in is None else self.failed_in + HOUR

    @property
    def is_switched_off(self) -> bool:
        """Whether it is defined to get deliveries, and gets none."""
        return self.webhook is not None and self.webhook.enabled and self.disabled is not None

    @property
    def attempts(self) -> int:
        """How many attempts were made."""
        return sum(count for name, count in self.counts.items() if name != "skipped")

    @property
    def rate(self) -> float | None:
        """The share of the attempts that delivered; None without any."""
        attempts = self.attempts
        return self.counts.get("delivered", 0) / attempts if attempts else None

    @property
    def percent(self) -> str:
        """The rate in words that do not round a failure away."""
        rate = self.rate
        if rate is None:
            return ""
        return f"{rate:.0%}" if rate in (0, 1) else f"{min(max(rate, 0.001), 0.999):.1%}"


def rows_of(page: Page, stats: QueueStats) -> list[Row]:
    """Return a row for each webhook that is defined or was used: first those in trouble, then
    those with the most attempts."""
    defined = {webhook.name: webhook for webhook in page.webhooks() or ()}
    disabled = {each.webhook: each for each in stats.disabled} | page.emitter.disabled()
    used = [each.webhook for each in stats.hours if each.hour > page.now - DAY]
    names = dict.fromkeys([*defined, *used, *disabled])
    return sorted(_rows(page, stats, disabled, {**dict.fromkeys(names), **defined}), key=_urgency)


def row_of(page: Page, name: str, webhook: Webhook | None) -> Row:
    """Return the row of one webhook."""
    return _rows(page, page.queue.stats(), page.emitter.disabled(), {name: webhook})[0]


def _urgency(row: Row) -> tuple[bool, bool, int, str]:
    return not row.failing, row.rate in (None, 1), -row.attempts, row.name


def _rows(
    page: Page,
    stats: QueueStats,
    disabled: Mapping[str, DisabledWebhook],
    webhooks: Mapping[str, Webhook | None],
) -> list[Row]:
    hours: dict[str, list[HourlyOutcome]] = {}
    for each in stats.hours:
        if each.hour > page.now - DAY:
            hours.setdefault(each.webhook, []).append(each)
    tallies = {tally.webhook: tally for tally in stats.webhooks}
    failed_in = {name: _failed_in(hours.get(name, ())) for name in webhooks}
    troubles = _troubles(page, {name for name in webhooks if failed_in[name]}, set(webhooks))
    return [
        Row(
            name=name,
            webhook=webhook,
            disabled=disabled.get(name),
            tally=tallies.get(name),
            trouble=troubles.get(name),
            failed_in=failed_in[name],
            **_figures(hours.get(name, ())),
        )
        for name, webhook in webhooks.items()
    ]


def _figures(hours: Sequence[HourlyOutcome]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for each in hours:
        counts[each.outcome] = counts.get(each.outcome, 0) + each.count
    made = [each for each in hours if each.outcome not in ("skipped", "lost")]
    count = sum(each.count for each in made)
    return {
        "counts": counts,
        "mean": sum(each.seconds for each in made) / count if count else None,
        "slowest": max((each.slowest for each in made), default=None),
    }


def _failed_in(hours: Iterable[HourlyOutcome]) -> datetime.datetime | None:
    return max((each.hour for each in hours if each.outcome in BAD), default=None)


def _troubles(page: Page, failed: set[str], wanted: set[str]) -> dict[str, Trouble]:
    """Return what failed last of webhooks, and whether anything arrived since.

    Args:
        page: whose queue is asked: for the newest deliveries of all webhooks, and for those of some
            that are not among these.
        failed: the names of those that failed of late.
        wanted: all names.
    """
    errors = _newest(page, DeliveryFilter(with_error=True), failed)
    suspects = wanted & set(errors)
    delivered = DeliveryFilter(status=DeliveryStatus.DELIVERED)
    successes = _newest(page, delivered, suspects) if suspects else {}
    return {name: _trouble(errors[name], successes.get(name, ())) for name in suspects}


def _newest(page: Page, where: DeliveryFilter, names: set[str]) -> dict[str, list[Delivery]]:
    found: dict[str, list[Delivery]] = {}
    for each in page.queue.find(where, limit=NEWEST):
        if each.attempts:
            found.setdefault(each.webhook, []).append(each)
    missing = sorted(names - set(found))[:LOOK_UPS]
    for name in missing if page.queue.store is not None else ():
        looked_up = page.queue.find(attrs.evolve(where, webhook=name), limit=FEW)
        found[name] = [each for each in looked_up if each.attempts]
    return {name: deliveries for name, deliveries in found.items() if deliveries}


def _trouble(errors: Sequence[Delivery], successes: Sequence[Delivery]) -> Trouble:
    failure = max(errors, key=_last_at)
    success_at = max(map(_last_at, successes), default=None)
    failed = [
        attempt.started_at
        for delivery in errors
        for attempt in delivery.attempts
        if attempt.error_class and (success_at is None or attempt.started_at > success_at)
    ]
    at = _last_at(failure)
    return Trouble(failure=failure, at=at, since=min(failed, default=at), success_at=success_at)


def _last_at(delivery: Delivery) -> datetime.datetime:
    return delivery.attempts[-1].started_at
