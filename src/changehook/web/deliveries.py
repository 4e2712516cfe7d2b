"""The list of deliveries, page by page."""

from __future__ import annotations

from changehook.deliveries import DeliveryStatus
from changehook.inspection import cursor_of
from changehook.web.page import Page
from changehook.web.searches import FAILING, WITH_ERROR, Search, after_of
from changehook.web.wsgi import Answer

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
    after = after_of(page.request.query)
    where = search.where(page.now)
    found = page.queue.find(where, limit=PAGE + 1, after=after)
    shown = found[:PAGE]
    older = cursor_of(shown[-1]) if len(found) > PAGE else ""
    webhooks = page.webhooks() or ()
    return page.render(
        "deliveries.html",
        search=search,
        deliveries=shown,
        older=search.link(after=older) if older else "",
        is_first=after is None,
        counts=page.queue.counts(),
        tabs=TABS,
        errors=dict.fromkeys([*ERROR_CLASSES, *filter(None, [search.error])]),
        webhook_names=sorted(webhook.name for webhook in webhooks)[:SUGGESTED],
        models=sorted({name for each in webhooks for name in each.object_types})[:SUGGESTED],
    )
