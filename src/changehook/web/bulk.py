"""Retrying or discarding all that agree with a filter: counted first, then done in slices.

Each request does a slice and says where it ended, so that nothing has to be remembered between
requests, any process may go on, and whoever leaves the page stops it.
"""

from __future__ import annotations

import functools
import http
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from changehook.deliveries import DeliveryStatus
from changehook.inspection import DeliveryFilter, cursor_of
from changehook.web.page import Page
from changehook.web.searches import Search, after_of
from changehook.web.wsgi import Answer, RefusedRequestError

__all__ = ["ACTIONS", "confirm", "work"]

SLICE = 500
QUICK, PATIENT = 0.5, 8.0
"""Seconds after which a request ends: with a script that goes on, and without one."""

ACTIONS = {"retry": "retried", "rerender": "retried and rendered again", "discard": "discarded"}


@attrs.frozen(kw_only=True)
class _Progress:
    """How far it got.

    Args:
        seen, done: how many deliveries were looked at, and acted on.
        after: where it is, as the cursor of a page.
        over: whether there is no more.
    """

    seen: int
    done: int
    after: str = ""
    over: bool = False


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
    begun = _Progress(seen=0, done=0)
    total = sum(counts.values())
    return _shown(page, action, search, typed, begun, state="asked", counts=counts, total=total)


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
    progress = _performed(page, action, search, form, QUICK if is_script else PATIENT)
    if done := progress.done - _number(form, "done"):
        page.note(f"{done} deliveries were {ACTIONS[action]} ({search.words})")
    if is_script:
        return Answer(
            body=json.dumps(attrs.asdict(progress)).encode(), content_type="application/json"
        )
    typed = attrs.evolve(search, since=form.get("back_since", ""), until=form.get("back_until", ""))
    state = "over" if progress.over else "working"
    total = max(_number(form, "total"), progress.seen)
    return _shown(page, action, search, typed, progress, state=state, counts={}, total=total)


def _shown(
    page: Page, action: str, search: Search, typed: Search, progress: _Progress, **values: Any
) -> Answer:
    """Return the page; ``typed`` is the search as it was before it stood still for the action."""
    return page.render(
        "bulk.html",
        action=action,
        done_word=ACTIONS[action],
        search=search,
        until=search.where(page.now).until,
        back={"back_since": typed.since, "back_until": typed.until},
        back_link=typed.link(),
        **attrs.asdict(progress),
        **values,
    )


def _performed(
    page: Page, action: str, search: Search, form: Mapping[str, str], seconds: float
) -> _Progress:
    """Act on slices until the time is up, on one at least; return how far it got."""
    progress = _Progress(
        seen=_number(form, "seen"), done=_number(form, "done"), after=form.get("after", "")
    )
    act: Callable[[DeliveryFilter], int] = page.queue.discard
    if action != "discard":
        act = functools.partial(page.queue.retry, rerender=action == "rerender")
    where, give_up = search.where(page.now), time.monotonic() + seconds
    progress = _slice(page, where, progress, act)
    while not progress.over and time.monotonic() < give_up:
        progress = _slice(page, where, progress, act)
    return progress


def _slice(
    page: Page, where: DeliveryFilter, progress: _Progress, act: Callable[[DeliveryFilter], int]
) -> _Progress:
    """Act on the next deliveries behind a position."""
    found = page.queue.find(where, limit=SLICE, after=after_of({"after": progress.after}))
    if not found:
        return attrs.evolve(progress, over=True)
    between = found[0].position, found[-1].position
    done = act(attrs.evolve(where, between=between))
    return _Progress(
        seen=progress.seen + len(found),
        done=progress.done + done,
        after=cursor_of(found[-1]),
        over=len(found) < SLICE,
    )


def _number(form: Mapping[str, str], name: str) -> int:
    text = form.get(name, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
