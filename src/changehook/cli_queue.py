"""The commands of ``changehook queue``: what an operator asks of a SQLite file of deliveries."""

from __future__ import annotations

import argparse
import contextlib
import functools
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from changehook.arguments import Add, Parser, command, count, duration, moment, of_options
from changehook.deliveries import DeliveryStatus
from changehook.encoding import isoformat
from changehook.errors import ConfigurationError, DeliveryNotFoundError, QueueError
from changehook.inspection import (
    DeliveryFilter,
    DisabledWebhook,
    Position,
    Retention,
    cursor_of,
    position_of,
)
from changehook.models import utcnow
from changehook.printing import DONE, NO, Progress, answer, complain, put_out, terminal_width
from changehook.queues.stored import StoredQueue
from changehook.reports import counted, document_of, listing, report, stats_report, summary
from changehook.stores.sqlite import SQLiteStore

__all__ = ["add_queue"]

ABOUT = """Look into the deliveries that a SQLite file keeps, and act on them.

Nothing is sent: whoever works on the file, its application or changehook worker, sends what was
made due. changehook queue COMMAND --help says more of each; each of them takes --json.

example: changehook queue list webhooks.db --status failed --since 24h"""
STORE = "the SQLite file"
WHEN = "24h, 90m or 7d ago, or ISO 8601"
WHICH = (
    "write which deliveries: their ids; or options such as --status failed; or --all: one of these"
)
NONE_AGREE = "no deliveries agree with this filter"

_Act = Callable[..., int]


class _Interleaved(Parser):
    """Takes ids also behind options, which argparse alone does not."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        if hasattr(found, "ids"):
            found.ids = [*found.ids, *(word for word in rest if word[:1] != "-")]
            rest = [word for word in rest if word[:1] == "-"]
        return found, rest


def add_queue(commands: Any) -> None:
    """Add ``queue`` with its commands."""
    raw = argparse.RawDescriptionHelpFormatter
    about = {"help": "look into a file of deliveries, and act on them", "description": ABOUT}
    parser = commands.add_parser("queue", **about, formatter_class=raw, allow_abbrev=False)
    place: dict[str, Any] = {"title": "commands", "metavar": "COMMAND", "required": True}
    inner = parser.add_subparsers(**place, parser_class=_Interleaved)
    add = _add_filter(_with_store(inner, _list))
    add("--limit", metavar="N", type=count, default=50, help="how many at most (50)")
    add("--after", metavar="CURSOR", type=_cursor, help="what a page before named as its end")
    _with_store(inner, _show)("id", metavar="ID", help="of the delivery")
    add = _add_which(_with_store(inner, _retry))
    add("--rerender", action="store_true", help="make the bodies anew, as the webhook is then")
    _add_which(_with_store(inner, _discard))
    _with_store(inner, _stats)
    _add_retention(_with_store(inner, _purge))
    _with_store(inner, _enable)("webhook", metavar="WEBHOOK", help="its name")
    add = _with_store(inner, _disable)
    add("webhook", metavar="WEBHOOK", help="its name")
    add("--reason", metavar="TEXT", default="by hand", help="shown wherever somebody asks why")


def _with_store(commands: Any, run: Callable[[argparse.Namespace], int]) -> Add:
    add = command(commands, run)
    add("store", metavar="STORE", help=STORE)
    return add


def _add_filter(add: Add) -> Add:
    add("--status", metavar="STATUS", help=f"only these: {', '.join(DeliveryStatus)}")
    add("--webhook", metavar="NAME", help="only those of this webhook")
    add("--model", metavar="NAME", help="only those of changes of this model")
    error = "only those whose last attempt failed so: timeout, status, connect ..."
    add("--error", metavar="CLASS", dest="error_class", help=error)
    add("--since", metavar="TIME", type=moment, help=f"only those made since then: {WHEN}")
    add("--until", metavar="TIME", type=moment, help="only those made before then")
    text = "only those with this text in id, event, reason or payload"
    add("--text", metavar="TEXT", help=text)
    failing = "only those that are pending after a failed attempt"
    add("--failing", action="store_true", help=failing)
    with_error = "only those whose last attempt failed, whether it is made again or was given up"
    add("--with-error", action="store_true", help=with_error)
    return add


def _add_which(add: Add) -> Add:
    add("ids", metavar="ID", nargs="*", help="of a delivery; or options that choose deliveries")
    _add_filter(add)
    add("--all", action="store_true", help="every delivery")
    add("--dry-run", action="store_true", help="only count, change nothing")
    add("--yes", action="store_true", help="do not ask")
    return add


def _add_retention(add: Add) -> None:
    retention: dict[str, Any] = {"metavar": "TIME", "type": _lifetime, "default": argparse.SUPPRESS}
    add("--delivered", **retention, help="how long after the change; or: forever (7d)")
    add("--failed", **retention, help="the same for what failed or was skipped (30d)")
    most = "how many are kept of each status, the newest (1000000)"
    add("--count", metavar="N", type=count, default=argparse.SUPPRESS, help=most)
    add("--dry-run", action="store_true", help="only count, change nothing")


def _lifetime(text: str) -> float | None:
    return None if text == "forever" else duration(text)


def _cursor(text: str) -> Position:
    try:
        return position_of(text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[StoredQueue]:
    if not Path(path).is_file():
        raise ConfigurationError(f"{path}: there is no such file")
    with contextlib.closing(SQLiteStore(path)) as store:
        yield StoredQueue(store)


def _where(options: argparse.Namespace) -> DeliveryFilter:
    given = {name: value for name, value in vars(options).items() if name in _FILTER}
    try:
        return DeliveryFilter(**given)
    except ConfigurationError as error:
        raise of_options(error) from None


_FILTER = frozenset(attrs.fields_dict(DeliveryFilter))


def _list(options: argparse.Namespace) -> int:
    """List deliveries, the newest first.

    With --json: an object with deliveries, without their payloads, and next: what --after takes
    for the next page, null when there is none. Exit code 1: none agree.

    example: changehook queue list webhooks.db --failing --webhook slack --since 24h
    """
    where = _where(options)
    with _opened(options.store) as queue:
        found = queue.find(where, limit=options.limit + 1, after=options.after)
        kept = queue.counts()
    page = found[: options.limit]
    cursor = cursor_of(page[-1]) if len(found) > len(page) else None
    text = listing(page, utcnow(), terminal_width()) if page else _nothing(kept)
    if cursor:
        text += f"\nThere is more. The next page: the same words and --after {shlex.quote(cursor)}"
    answer(options, {"deliveries": [summary(each) for each in page], "next": cursor}, text)
    return DONE if page else NO


def _nothing(kept: dict[DeliveryStatus, int]) -> str:
    return f"{NONE_AGREE}; the file keeps: {counted(kept)}"


def _show(options: argparse.Namespace) -> int:
    """Show everything of one delivery.

    Its payload, its body, and each attempt with what was sent and answered, redacted as it was
    recorded. Exit code 1: there is no such delivery.

    example: changehook queue show webhooks.db msg_019f0c1d2e3f5a6b7c8d9e0f1a2b3c4d
    """
    with _opened(options.store) as queue:
        try:
            delivery = queue.get(options.id)
        except DeliveryNotFoundError as error:
            answer(options, {"delivery": None}, "")
            complain(str(error))
            return NO
    answer(options, {"delivery": document_of(delivery)}, report(delivery))
    return DONE


def _retry(options: argparse.Namespace) -> int:
    """Make deliveries due now, with the schedule starting again.

    Those of the ids, or all that agree with the options. What was delivered is sent once more, and
    what is being attempted just now is passed over. Exit code 1: none agree, or not all were done.

    example: changehook queue retry webhooks.db --status failed --webhook slack --since 24h
    """
    return _act(options, "retried", functools.partial(StoredQueue.retry, rerender=options.rerender))


def _discard(options: argparse.Namespace) -> int:
    """Remove deliveries for good.

    Those of the ids, or all that agree with the options. What is being attempted just now is
    passed over. Exit code 1: none agree, or not all were done.

    example: changehook queue discard webhooks.db --status failed --until 30d --dry-run
    """
    return _act(options, "discarded", StoredQueue.discard)


def _act(options: argparse.Namespace, done: str, act: _Act) -> int:
    where = _where(options)
    if [bool(options.ids), where != DeliveryFilter(), options.all].count(True) != 1:
        raise ConfigurationError(WHICH)
    with _opened(options.store) as queue:
        if options.ids:
            return _act_on_each(options, queue, done, act)
        return _act_on_all(options, queue, where, done, act)


def _act_on_each(options: argparse.Namespace, queue: StoredQueue, done: str, act: _Act) -> int:
    failures: dict[str, str] = {}
    if options.dry_run:
        act = StoredQueue.get  # type: ignore[assignment] # only looks whether it is there
    for delivery_id in options.ids:
        try:
            act(queue, delivery_id)
        except (DeliveryNotFoundError, QueueError) as error:
            if isinstance(error, QueueError) and type(error) is not QueueError:
                raise  # the store fails: so will the others
            failures[delivery_id] = str(error)
    agree = len(options.ids) - len(failures)
    how_many = 0 if options.dry_run else agree
    document = {"agree": agree, done: how_many, "failures": failures}
    answer(options, document, f"agree: {agree}" if options.dry_run else f"{done}: {how_many}")
    if failures:
        complain("\n".join(failures.values()))
    return NO if failures else DONE


def _act_on_all(
    options: argparse.Namespace, queue: StoredQueue, where: DeliveryFilter, done: str, act: _Act
) -> int:
    statuses = [each for each in DeliveryStatus if where.status in (None, each)]
    counts = {each: queue.count(attrs.evolve(where, status=each)) for each in statuses}
    agree = sum(counts.values())
    by_status = {str(status): found for status, found in counts.items()}
    document: dict[str, Any] = {"agree": agree, "by_status": by_status, done: 0}
    if not agree:
        answer(options, document, _nothing(queue.counts()))
        return NO
    put_out(f"agree: {agree} ({counted(counts)})", sys.stderr if options.json else None)
    if done == "retried" and counts.get(DeliveryStatus.DELIVERED):
        complain("what was delivered is sent once more; --status failed leaves it alone")
    if options.dry_run:
        answer(options, document, "")
        return DONE
    if not _is_confirmed(options, f"{agree} deliveries will be {done}. Go on? [y/N] "):
        answer(options, document, "nothing was changed")
        return NO
    how_many = act(queue, where, on_progress=Progress(agree))
    answer(options, {**document, done: how_many}, f"{done}: {how_many}")
    return DONE if how_many else NO


def _is_confirmed(options: argparse.Namespace, question: str) -> bool:
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError("nobody can be asked here: add --yes, or --dry-run to only count")
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _stats(options: argparse.Namespace) -> int:
    """Show how the queue fares.

    How many deliveries there are in each status, how long the oldest that is due has been so, what
    came of the attempts of the last 24 hours, the workers, how often webhooks matched, and which
    of them are disabled.

    example: changehook queue stats webhooks.db
    """
    with _opened(options.store) as queue:
        stats = queue.stats()
    answer(options, stats.to_dict(), stats_report(stats, utcnow(), terminal_width()))
    return DONE


def _purge(options: argparse.Namespace) -> int:
    """Remove finished deliveries that are not to be kept any longer.

    Whoever works on the file does so by itself, once a minute. What is pending is never removed.

    example: changehook queue purge webhooks.db --delivered 24h --failed forever
    """
    given = {name: value for name, value in vars(options).items() if name in _RETENTION}
    retention = Retention(**given)
    with _opened(options.store) as queue:
        if options.dry_run:
            agree = _expired(queue, retention)
            answer(options, {"agree": agree, "removed": 0}, f"agree: {agree}")
            return DONE
        removed = queue.purge(retention)
    answer(options, {"agree": removed, "removed": removed}, f"removed: {removed}")
    return DONE


_RETENTION = frozenset(attrs.fields_dict(Retention))


def _expired(queue: StoredQueue, retention: Retention) -> int:
    """Return how many deliveries a purge would remove: the oldest, for their age or number."""
    now, total = queue.clock(), 0
    for status, kept in queue.counts().items():
        if status.finished:
            oldest = retention.oldest(status, now)
            where = DeliveryFilter(status=status, until=oldest)
            excess = 0 if retention.count is None else kept - int(retention.count)
            total += max(0, excess, queue.count(where) if oldest else 0)
    return total


def _enable(options: argparse.Namespace) -> int:
    """Have a webhook get deliveries again.

    What was skipped meanwhile stays so until it is retried. Exit code 1: it was not disabled.

    example: changehook queue enable webhooks.db slack
    """
    with _opened(options.store) as queue:
        changed = queue.store.enable(options.webhook)
        others = ", ".join(queue.store.disabled()) or "none"
    text = f"{options.webhook} is enabled, and {_skipped(options)}"
    if not changed:
        text = f"{options.webhook} was not disabled; disabled are: {others}"
    answer(options, {"webhook": options.webhook, "changed": changed}, text)
    return DONE if changed else NO


def _disable(options: argparse.Namespace) -> int:
    """Have a webhook get no deliveries, in every process that shares the file.

    Its deliveries are made as before, and skipped instead of sent. Exit code 1: it was disabled
    already.

    example: changehook queue disable webhooks.db slack --reason "moves house until Monday"
    """
    webhook = DisabledWebhook(webhook=options.webhook, reason=options.reason, at=utcnow())
    with _opened(options.store) as queue:
        changed = queue.store.disable(webhook)
        kept = queue.store.disabled().get(options.webhook, webhook)
    text = f"{options.webhook} is disabled. Once it is enabled, {_skipped(options)}"
    if not changed:
        text = f"{options.webhook} was disabled already, since {isoformat(kept.at)}: {kept.reason}"
    answer(options, {"webhook": options.webhook, "changed": changed}, text)
    return DONE if changed else NO


def _skipped(options: argparse.Namespace) -> str:
    words = ["changehook", "queue", "retry", options.store, "--status", "skipped"]
    return f"what was skipped can be retried: {shlex.join([*words, '--webhook', options.webhook])}"
