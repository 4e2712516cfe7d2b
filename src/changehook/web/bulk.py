"""Retrying or discarding all that agree with a filter: counted first, then done in slices.

Each request does a slice and says where it ended, so that nothing has to be remembered between
requests, any process may go on, and whoever leaves the page stops it.
"""

from __future__ import annotations

import http
import json
import time
from collections.abc import Callable, Mapping

import attrs

from changehook.deliveries import DeliveryStatus
from changehook.inspection import DeliveryFilter, Position, cursor_of
from changehook.web.page import Page
from changehook.web.searches import Search, after_of
from changehook.web.wsgi import Answer, RefusedRequestError

__all__ = ["ACTIONS", "confirm", "work"]

SLICE = 500
QUICK, PATIENT = 0.5, 8.0
"""Seconds after which a request ends: with a script that goes on, and without one."""

ACTIONS = {"retry": "retried", "rerender": "retried and rendered again", "discard": "discarded"}


def _action(fields: Mapping[str, str]) -> str:
    action = fields.get("action", "")
    if action not in ACTIONS:
        known = ", ".join(ACTIONS)
        raise RefusedRequestError(http.HTTPStatus.BAD_REQUEST, f"action: unknown; one of {known}.")
    return action


def confirm(page: Page) -> Answer:
    """Show how many deliveries would be acted on, and ask."""
    page.require_operate()
    action = _action(page.request.query)
    typed = Search.of(page.request.query)
    search = typed.fixed(page.now)
    counts = _counts(page, search.where(page.now))
    return page.render(
        "bulk.html",
        action=action,
        done_word=ACTIONS[action],
        search=search,
        until=search.where(page.now).until,
        counts=counts,
        back={"back_since": typed.since, "back_until": typed.until},
        back_link=typed.link(),
        total=sum(counts.values()),
        seen=0,
        done=0,
        after="",
        state="asked",
    )


def _counts(page: Page, where: DeliveryFilter) -> dict[DeliveryStatus, int]:
    """Return how many deliveries of each status agree with a filter."""
    status = DeliveryStatus.PENDING if where.failing else where.status
    statuses = list(DeliveryStatus) if status is None else [status]
    return {each: page.queue.count(attrs.evolve(where, status=each)) for each in statuses}


def work(page: Page) -> Answer:
    """Act on the next deliveries, and show how far it got."""
    form = page.form()
    page.require_operate()
    action, search = _action(form), Search.of(form)
    is_script = page.request.environ.get("HTTP_ACCEPT") == "application/json"
    progress = _Progress(
        seen=_number(form, "seen"),
        done=_number(form, "done"),
        after=after_of(form),
        cursor=form.get("after", ""),
    )
    give_up = time.monotonic() + (QUICK if is_script else PATIENT)
    act = _actor(page, action)
    where = search.where(page.now)
    progress = _slice(page, where, progress, act)
    while not progress.is_over and time.monotonic() < give_up:
        progress = _slice(page, where, progress, act)
    if done := progress.done - _number(form, "done"):
        page.note(f"{done} deliveries were {ACTIONS[action]} ({search.words})")
    if is_script:
        document = {
            "seen": progress.seen,
            "done": progress.done,
            "after": progress.cursor,
            "over": progress.is_over,
        }
        return Answer(body=json.dumps(document).encode(), content_type="application/json")
    return page.render(
        "bulk.html",
        action=action,
        done_word=ACTIONS[action],
        search=search,
        until=search.where(page.now).until,
        counts={},
        back={name: form.get(name, "") for name in ("back_since", "back_until")},
        back_link=search.link(since=form.get("back_since", ""), until=form.get("back_until", "")),
        total=max(_number(form, "total"), progress.seen),
        seen=progress.seen,
        done=progress.done,
        after=progress.cursor,
        state="over" if progress.is_over else "working",
    )


@attrs.frozen(kw_only=True)
class _Progress:
    """How far it got: deliveries looked at and acted on, and the position of the last."""

    seen: int
    done: int
    after: Position | None
    cursor: str
    is_over: bool = False


def _actor(page: Page, action: str) -> Callable[[DeliveryFilter], int]:
    if action == "discard":
        return page.queue.discard
    return lambda where: page.queue.retry(where, rerender=action == "rerender")


def _slice(
    page: Page, where: DeliveryFilter, progress: _Progress, act: Callable[[DeliveryFilter], int]
) -> _Progress:
    """Act on the next deliveries behind a position."""
    found = page.queue.find(where, limit=SLICE, after=progress.after)
    if not found:
        return attrs.evolve(progress, is_over=True)
    between = found[0].position, found[-1].position
    done = act(attrs.evolve(where, between=between))
    return _Progress(
        seen=progress.seen + len(found),
        done=progress.done + done,
        after=found[-1].position,
        cursor=cursor_of(found[-1]),
        is_over=len(found) < SLICE,
    )


def _number(form: Mapping[str, str], name: str) -> int:
    text = form.get(name, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
