"""The first page: is it working?"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence

import attrs

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import QueueError
from changehook.inspection import (
    SWEEPER,
    DeliveryFilter,
    DisabledWebhook,
    HourlyOutcome,
    QueueStats,
    WebhookTally,
    WorkerHeartbeat,
)
from changehook.settings import store_of
from changehook.web.charts import DECADES, OUTCOMES, columns, spans, top_of
from changehook.web.page import SOURCE_FAILS, Page
from changehook.web.wsgi import Answer
from changehook.webhooks import Webhook

__all__ = ["Row", "row_of", "rows_of", "show"]

LATE = 60.0
FAILURES = 100
LOOK_UPS = 20
MOST_ROWS = 100
DAY = datetime.timedelta(hours=24)
HOUR = datetime.timedelta(hours=1)
RECENT = datetime.timedelta(hours=2)
FEW = 5
BAD = frozenset({"retried", "failed", "lost"})


@attrs.frozen(kw_only=True)
class Row:
    """How one webhook fares.

    Args:
        name: of the webhook.
        webhook: its definition, None when it is gone.
        disabled: why it gets no deliveries.
        tally: how often it was asked.
        counts: attempts of the last day by outcome.
        failing: whether most attempts of late failed.
        mean, slowest: seconds.
        failure: the last delivery whose last attempt failed, if it is known.
        failed_in: the last hour in which an attempt failed.
    """

    name: str
    webhook: Webhook | None
    disabled: DisabledWebhook | None
    tally: WebhookTally | None
    counts: dict[str, int]
    failing: bool
    mean: float | None
    slowest: float | None
    failure: Delivery | None
    failed_in: datetime.datetime | None

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


def show(page: Page) -> Answer:
    """Show health, charts, webhooks and workers."""
    stats = page.queue.stats()
    rows = rows_of(page, stats)
    problems = _problems(page)
    alive = [each for each in stats.workers if _performs(each) and each.is_alive(page.now)]
    top = top_of(stats.hours, page.now)
    return page.render(
        "overview.html",
        stats=stats,
        health=_health(stats, rows, alive, problems),
        problems=problems,
        alive=alive,
        workers=[each for each in stats.workers if each.threads or each.worker == SWEEPER],
        sweeper=SWEEPER,
        failing_count=sum(row.failing for row in rows),
        disabled_count=sum(row.is_switched_off for row in rows),
        rows=rows[:MOST_ROWS],
        hidden_rows=max(0, len(rows) - MOST_ROWS),
        columns=columns(stats.hours, page.now, top),
        top=top,
        spans=spans(stats.hours, page.now),
        outcomes=OUTCOMES,
        decades=DECADES,
        has_figures=page.queue.store is not None,
    )


def _performs(worker: WorkerHeartbeat) -> bool:
    return worker.worker != SWEEPER


def _health(
    stats: QueueStats,
    rows: Sequence[Row],
    alive: Sequence[WorkerHeartbeat],
    problems: Sequence[str],
) -> str:
    """Return ``good``, ``warning`` or ``bad``."""
    is_late = (stats.age_of_oldest_due or 0.0) > LATE
    waits = any(stats.counts[status] for status in DeliveryStatus if not status.finished)
    if not alive and waits and (is_late or problems):
        return "bad"
    in_trouble = any(row.failing or row.is_switched_off for row in rows)
    return "warning" if is_late or problems or in_trouble or (waits and not alive) else "good"


def _problems(page: Page) -> list[str]:
    """Return what keeps deliveries from being made, as the queue tells it."""
    problems = [] if page.webhooks() is not None else [SOURCE_FAILS]
    for look in (_told_by_the_queue, _held_by_the_fallback):
        try:
            problems += look(page)
        except QueueError as error:
            problems.append(str(error))
        except Exception as error:  # a part of the host, beside what is shown
            problems.append(f"{look.__name__.strip('_').replace('_', ' ')}: {type(error).__name__}")
    return problems


def _told_by_the_queue(page: Page) -> list[str]:
    health = getattr(page.queue, "health", None)
    return list(health()) if callable(health) else []


def _held_by_the_fallback(page: Page) -> list[str]:
    fallback = store_of(page.emitter.fallback)
    held = 0 if fallback is None else fallback.counts()[DeliveryStatus.PENDING]
    return [f"the queue would not take {held:,} deliveries; the fallback keeps them"] * bool(held)


def rows_of(page: Page, stats: QueueStats) -> list[Row]:
    """Return a row for each webhook that is defined or was used: first those in trouble, then
    those with the most attempts."""
    defined = {webhook.name: webhook for webhook in page.webhooks() or ()}
    hours = _by_webhook(page, stats)
    disabled = {each.webhook: each for each in stats.disabled} | page.emitter.disabled()
    names = dict.fromkeys([*defined, *hours, *disabled])
    return sorted(
        _rows(page, stats, hours, disabled, {**dict.fromkeys(names), **defined}), key=_urgency
    )


def row_of(page: Page, webhook: Webhook) -> Row:
    """Return the row of one webhook."""
    stats = page.queue.stats()
    return _rows(
        page,
        stats,
        _by_webhook(page, stats),
        page.emitter.disabled(),
        {webhook.name: webhook},
    )[0]


def _by_webhook(page: Page, stats: QueueStats) -> dict[str, list[HourlyOutcome]]:
    found: dict[str, list[HourlyOutcome]] = {}
    for each in stats.hours:
        if each.hour > page.now - DAY:
            found.setdefault(each.webhook, []).append(each)
    return found


def _rows(
    page: Page,
    stats: QueueStats,
    hours: Mapping[str, Sequence[HourlyOutcome]],
    disabled: Mapping[str, DisabledWebhook],
    webhooks: Mapping[str, Webhook | None],
) -> list[Row]:
    tallies = {tally.webhook: tally for tally in stats.webhooks}
    failures = _failures(page, [name for name in webhooks if _failed_in(hours.get(name, ()))])
    return [
        _row(
            page,
            name,
            hours.get(name, ()),
            webhook=webhook,
            disabled=disabled.get(name),
            tally=tallies.get(name),
            failure=failures.get(name),
        )
        for name, webhook in webhooks.items()
    ]


def _urgency(row: Row) -> tuple[bool, bool, int, str]:
    return not row.failing, row.rate in (None, 1), -row.attempts, row.name


def _row(
    page: Page,
    name: str,
    hours: Sequence[HourlyOutcome],
    *,
    webhook: Webhook | None,
    disabled: DisabledWebhook | None,
    tally: WebhookTally | None,
    failure: Delivery | None,
) -> Row:
    counts: dict[str, int] = {}
    for each in hours:
        counts[each.outcome] = counts.get(each.outcome, 0) + each.count
    made = [each for each in hours if each.outcome not in ("skipped", "lost")]
    count = sum(each.count for each in made)
    return Row(
        name=name,
        webhook=webhook,
        disabled=disabled,
        tally=tally,
        counts=counts,
        failing=_is_failing(hours, page.now),
        mean=sum(each.seconds for each in made) / count if count else None,
        slowest=max((each.slowest for each in made), default=None),
        failure=failure,
        failed_in=_failed_in(hours),
    )


def _is_failing(hours: Sequence[HourlyOutcome], now: datetime.datetime) -> bool:
    """Return whether most attempts of late failed: those of the latest hour in which there were
    any, and if they are few, also those of the hour before."""
    made = [each for each in hours if each.outcome != "skipped" and each.hour > now - RECENT]
    late = [each for each in made if each.hour == max(one.hour for one in made)]
    considered = late if sum(each.count for each in late) >= FEW else made
    delivered = sum(each.count for each in considered if each.outcome == "delivered")
    return 2 * delivered < sum(each.count for each in considered)


def _failed_in(hours: Iterable[HourlyOutcome]) -> datetime.datetime | None:
    return max((each.hour for each in hours if each.outcome in BAD), default=None)


def _failures(page: Page, names: Sequence[str]) -> dict[str, Delivery]:
    """Return the last delivery with an error of these webhooks: those among the newest of all, and
    a bounded number that a durable store has indices to look up by."""
    newest = page.queue.find(DeliveryFilter(with_error=True), limit=FAILURES)
    found = {each.webhook: each for each in reversed(newest)}
    store = page.queue.store
    looked_up = LOOK_UPS if store is not None and store.durable else 0
    for name in [name for name in names if name not in found][:looked_up]:
        for each in page.queue.find(DeliveryFilter(webhook=name, with_error=True), limit=1):
            found[name] = each
    return found
