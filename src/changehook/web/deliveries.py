"""The list of deliveries, page by page."""

from __future__ import annotations

import http
from collections.abc import Sequence

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.inspection import cursor_of
from changehook.web.labels import label_of
from changehook.web.page import Page, SourceFailedError
from changehook.web.redaction import hidden_of
from changehook.web.searches import FAILING, WITH_ERROR, Search, after_of
from changehook.web.wsgi import Answer, RefusedRequestError

__all__ = ["ERROR_CLASSES", "show"]

PAGE = 50
SUGGESTED = 200
ERROR_CLASSES = (
    "status",
    "timeout",
    "connect",
    "dns",
    "tls",
    "protocol",
    "blocked",
    "render",
    "config",
    "lost",
)
TABS = (
    ("", "all"),
    (DeliveryStatus.PENDING, "pending"),
    (DeliveryStatus.DELIVERING, "delivering"),
    (DeliveryStatus.DELIVERED, "delivered"),
    (DeliveryStatus.FAILED, "failed"),
    (DeliveryStatus.SKIPPED, "skipped"),
    (FAILING, "failing"),
    (WITH_ERROR, "with an error"),
)


def show(page: Page) -> Answer:
    """Show a page of the deliveries that agree with the filter, newest first."""
    search = Search.of(page.request.query)
    try:
        after = after_of(page.request.query)
        found = page.queue.find(search.where(page.now), limit=PAGE + 1, after=after)
    except RefusedRequestError as error:  # what was written stays there to be repaired
        return _shown(page, search, [], status=error.status, fault=error.text)
    shown = found[:PAGE]
    older = search.link(after=cursor_of(shown[-1])) if len(found) > PAGE else ""
    return _shown(page, search, shown, older=older, is_first=after is None)


def _shown(
    page: Page,
    search: Search,
    shown: Sequence[Delivery],
    *,
    older: str = "",
    is_first: bool = True,
    fault: str = "",
    status: http.HTTPStatus = http.HTTPStatus.OK,
) -> Answer:
    webhooks = page.webhooks() or ()
    return page.render(
        "deliveries.html",
        status=status,
        search=search,
        deliveries=list(zip(shown, _labels(page, shown), strict=True)),
        older=older,
        is_first=is_first,
        fault=fault,
        counts=page.queue.counts(),
        tabs=TABS,
        errors=dict.fromkeys([*ERROR_CLASSES, *filter(None, [search.error])]),
        webhook_names=sorted(webhook.name for webhook in webhooks)[:SUGGESTED],
        models=sorted({name for each in webhooks for name in each.object_types})[:SUGGESTED],
    )


def _labels(page: Page, shown: Sequence[Delivery]) -> list[str]:
    """Return what the objects are called; nothing when it is not known what is to be hidden."""
    try:
        webhooks = {name: page.webhook(name) for name in {each.webhook for each in shown}}
    except SourceFailedError:
        return [""] * len(shown)
    hidden = {name: hidden_of(webhook, None, page.right) for name, webhook in webhooks.items()}
    return [label_of(each, hidden[each.webhook]) for each in shown]
