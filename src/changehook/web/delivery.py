"""One delivery: why did it not arrive?"""

from __future__ import annotations

import contextlib
import http
from collections.abc import Mapping
from typing import Any

import attrs

from changehook.conditions import Explanation
from changehook.deliveries import Attempt, Delivery, DeliveryStatus
from changehook.encoding import decode
from changehook.errors import AttemptError, ConfigurationError
from changehook.exchange import redact_headers, redact_url
from changehook.models import Change
from changehook.web.curl import curl_command
from changehook.web.differences import Line, differences
from changehook.web.labels import label_of
from changehook.web.page import Page, SourceFailedError
from changehook.web.redaction import hidden_of, shown_headers, without
from changehook.web.rendering import pretty, shortened
from changehook.web.rows import row_of
from changehook.web.searches import link
from changehook.web.wsgi import Answer, RefusedRequestError, redirect
from changehook.webhooks import Webhook

__all__ = ["Sent", "act", "judged", "show", "text"]

DONE = {
    "retry": "Retried: it is due now, and the schedule starts again.",
    "rerender": "Retried: it is due now, and its body is made anew.",
    "send": "Queued as a test.",
}
LONGEST_COMPARED = 1024 * 1024
LONGEST_JUDGED = 256 * 1024
MOST_ATTEMPTS = 50
MOST_OTHERS = 100
LONGEST_TEXT = 200


@attrs.frozen(kw_only=True)
class Sent:
    """A request as it is shown.

    Args:
        method, url, headers, body: redacted.
        cut: whether that is not the whole body.
        curl: the same as a command.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: str
    cut: bool
    curl: str

    @classmethod
    def of(cls, method: str, url: str, headers: Mapping[str, str], body: str) -> Sent:
        """Return a request whose parts are redacted."""
        shown, cut = shortened(body)
        return cls(
            method=method,
            url=url,
            headers=headers,
            body=shown,
            cut=cut,
            curl=curl_command(method, url, headers, body),
        )


def show(page: Page) -> Answer:
    """Show everything of a delivery."""
    delivery = _named(page, page.request.query)
    webhook, problem = None, ""
    try:
        webhook = page.webhook(delivery.webhook)
    except SourceFailedError as error:
        # What is to be hidden is not known, so what may quote it is not shown.
        problem = f"{error.text} What is to be hidden is not known, so nothing is shown here."
    hidden = hidden_of(webhook, delivery, page.right)
    document = {} if problem else _document(delivery)
    payload, cut = shortened(without(problem or pretty(delivery.payload), hidden))
    sent, why = (None, problem) if problem else _sent(page, webhook, delivery, hidden)
    return page.render(
        "delivery.html",
        hidden=hidden,
        delivery=delivery,
        webhook=webhook,
        is_gone=webhook is None and not problem,
        disabled=page.emitter.disabled().get(delivery.webhook),
        done=DONE.get(page.request.query.get("done", ""), ""),
        document=document,
        payload=payload,
        payload_cut=cut,
        lines=_differences(delivery, document, hidden),
        explanation=judged(webhook, delivery),
        is_judged=len(delivery.payload) <= LONGEST_JUDGED,
        sent=sent,
        problem=why,
        attempts=_attempts(page, delivery),
        earlier=max(0, len(delivery.attempts) - MOST_ATTEMPTS),
        request_id=_linked(document.get("request_id"), hidden),
        label="" if problem else label_of(delivery, hidden),
        is_resting=_is_resting(page, delivery, webhook),
        others=_others(page, delivery),
    )


def act(page: Page) -> Answer:
    """Retry or discard one delivery."""
    form = page.form()
    page.require_operate()
    delivery_id, action = form.get("id", ""), form.get("action", "")
    if action == "discard":
        page.queue.discard(delivery_id)
        page.note(f"delivery {delivery_id} was discarded")
        return redirect(link("deliveries", done="discard"))
    if action not in ("retry", "rerender"):
        raise RefusedRequestError(
            http.HTTPStatus.BAD_REQUEST, "action: unknown; one of retry, rerender, discard."
        )
    page.queue.retry(delivery_id, rerender=action == "rerender")
    page.note(f"delivery {delivery_id} was retried")
    return redirect(link("delivery", id=delivery_id, done=action))


def text(page: Page) -> Answer:
    """Show the whole payload or body as plain text."""
    delivery = _named(page, page.request.query)
    webhook = page.webhook(delivery.webhook)
    parts = {"payload": delivery.payload, "body": delivery.body}
    part = parts.get(page.request.query.get("part", ""))
    if part is None:
        raise RefusedRequestError(http.HTTPStatus.NOT_FOUND, "There is no such text.")
    shown = without(part, hidden_of(webhook, delivery, page.right))
    return Answer(
        body=shown.encode("utf-8", "backslashreplace"), content_type="text/plain; charset=utf-8"
    )


def judged(webhook: Webhook | None, delivery: Delivery) -> Explanation | None:
    """Return how the conditions of a webhook, as they are now, judge the change of a delivery; None
    when there are none, or the change is so large that it would take long."""
    if webhook is None or webhook.compiled_conditions is None:
        return None
    if len(delivery.payload) > LONGEST_JUDGED:
        return None
    try:
        change = Change.from_dict(decode(delivery.payload))
    except (ValueError, RecursionError, ConfigurationError):
        return None
    return webhook.compiled_conditions.explain(change)


def _is_resting(page: Page, delivery: Delivery, webhook: Webhook | None) -> bool:
    """Return whether a delivery is due, and its receiver fails, so that it may be given rests."""
    is_due = delivery.status is DeliveryStatus.PENDING and delivery.due_at <= page.now
    return is_due and row_of(page, delivery.webhook, webhook).failing


def _others(page: Page, delivery: Delivery) -> list[str]:
    """Return the webhooks of which one may ask why this change did not fire them."""
    names = (webhook.name for webhook in page.webhooks() or ())
    return sorted(name for name in names if name != delivery.webhook)[:MOST_OTHERS]


def _named(page: Page, fields: Mapping[str, str]) -> Delivery:
    return page.queue.get(fields.get("id", ""))


def _document(delivery: Delivery) -> dict[str, Any]:
    """Return the payload; empty when it is no JSON object."""
    with contextlib.suppress(ValueError, RecursionError):
        document = decode(delivery.payload)
        if isinstance(document, dict):
            return document
    return {}


def _differences(delivery: Delivery, document: dict[str, Any], hidden: list[str]) -> list[Line]:
    snapshots = document.get("snapshots")
    if not isinstance(snapshots, dict) or len(delivery.payload) > LONGEST_COMPARED:
        return []
    before, after = snapshots.get("prechange"), snapshots.get("postchange")
    if before is None and after is None:
        return []
    # Of an object that was created or deleted, each part stands on a line of its own.
    try:
        return differences(
            _or_empty(before, after),
            _or_empty(after, before),
            shown=lambda text: without(text, hidden),
        )
    except RecursionError:
        return []


def _or_empty(snapshot: Any, other: Any) -> Any:
    return {} if snapshot is None and isinstance(other, dict) else snapshot


def _linked(value: Any, hidden: list[str]) -> str:
    """Return a text to look for; empty when there is none, or it may not stand in a link."""
    text = "" if value is None else str(value)
    return text[:LONGEST_TEXT] if without(text, hidden) == text else ""


def _attempts(page: Page, delivery: Delivery) -> list[tuple[Attempt, dict[str, str], float]]:
    """Return the last attempts, each with the headers of its request as they are shown, and the
    share of the longest that it took, in percent."""
    last = delivery.attempts[-MOST_ATTEMPTS:]
    slowest = max((each.duration for each in last), default=0)
    return [
        (
            attrs.evolve(each, response_headers=shown_headers(each.response_headers, page.right)),
            shown_headers(each.headers, page.right),
            _percent(each.duration, slowest),
        )
        for each in last
    ]


def _percent(part: float, whole: float) -> float:
    try:
        return round(100 * part / whole, 1) if whole else 0.0
    except OverflowError:  # one is an integer of any length
        return 0.0


def _sent(
    page: Page, webhook: Webhook | None, delivery: Delivery, hidden: list[str]
) -> tuple[Sent | None, str]:
    """Return the last request, or else the next one; and why neither can be shown."""
    last = next((each for each in reversed(delivery.attempts) if each.method), None)
    if last is not None and delivery.body is not None:
        return _recorded(page, last, without(delivery.body, hidden)), ""
    if webhook is None:
        return None, "The webhook is not defined here, and no request was recorded."
    try:
        request = page.emitter.preview(webhook, delivery).request
    except AttemptError as error:
        return None, f"The request cannot be made: {error}"
    headers = shown_headers(redact_headers(request.headers), page.right)
    body = without(request.body.decode(), hidden)
    return Sent.of(request.method, redact_url(request.url), headers, body), ""


def _recorded(page: Page, attempt: Attempt, body: str) -> Sent:
    headers = shown_headers(attempt.headers, page.right)
    return Sent.of(attempt.method, attempt.url, headers, body)
