"""The webhooks: definitions, switches, and trying one out."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from changehook.deliveries import Delivery
from changehook.encoding import decode, decode_strict
from changehook.errors import (
    AttemptError,
    ConfigurationError,
    DeliveryNotFoundError,
    EncodingError,
)
from changehook.exchange import redact_headers, redact_url
from changehook.explanations import WebhookExplanation, explain
from changehook.inspection import DeliveryFilter
from changehook.models import Change, new_delivery_id
from changehook.payload import freeze
from changehook.web.delivery import LONGEST_JUDGED, Sent
from changehook.web.overview import row_of, rows_of
from changehook.web.page import Page
from changehook.web.redaction import hidden_of, shown_headers, without
from changehook.web.searches import link
from changehook.web.wsgi import Answer, RefusedRequestError, redirect
from changehook.webhooks import Webhook

__all__ = ["show", "show_all", "switch", "try_out"]

RECENT = 10
LONGEST_REASON = 500
FIELDS = {
    "http_content_type": "Content type",
    "signatures": "Signatures",
    "secret": "Secret",
    "timeout": "Timeout",
    "retry": "Retry",
    "ssl_verification": "Certificate checked",
}


@attrs.frozen(kw_only=True)
class Trial:
    """What a dry run gave.

    Args:
        explanation: whether the webhook fires for the change, and why not.
        sent: the request that it would send.
        problem: why there is none.
    """

    explanation: WebhookExplanation
    sent: Sent | None = None
    problem: str = ""


def show_all(page: Page) -> Answer:
    """Show every webhook, and how it fares."""
    return page.render("webhooks.html", rows=rows_of(page, page.queue.stats()))


def show(page: Page) -> Answer:
    """Show one webhook, and the form to try it out."""
    query = page.request.query
    name, done = query.get("name", ""), query.get("done", "")
    webhook = page.webhook(name)
    if webhook is not None:
        return _shown(page, webhook, {"delivery": query.get("delivery", "")}, done=done)
    disabled = page.emitter.disabled().get(name)
    if disabled is None and done != "enable":
        raise _not_defined()
    return page.render("undefined.html", name=name, disabled=disabled)


def switch(page: Page) -> Answer:
    """Have a webhook get deliveries, or none."""
    form = page.form()
    page.require_operate()
    name, action = form.get("name", ""), form.get("action", "")
    if action == "disable":
        name = _named(page, form).name
        reason = form.get("reason", "").strip()[:LONGEST_REASON] or "by hand"
        page.emitter.disable(name, reason)
    elif action == "enable":
        page.emitter.enable(name)
    else:
        raise RefusedRequestError(http.HTTPStatus.BAD_REQUEST, "action: unknown.")
    page.note(f"webhook {name}: {action}")
    return redirect(link("webhook", name=name, done=action))


def try_out(page: Page) -> Answer:
    """Show what a webhook would do with a change, or really send it."""
    form = page.form()
    webhook = _named(page, form)
    try:
        change, past = _chosen(page, form)
        if form.get("action") == "send":
            page.require_operate()
            delivery = page.emitter.send(webhook, past or change)
            page.note(f"webhook {webhook.name}: a test was sent")
            return redirect(link("delivery", id=delivery.id, done="send"))
        judged = past or _as_delivery(page, webhook, change)
        # What was added to a past change, under context, is rendered as it was.
        asked = change if past is None else attrs.evolve(past, body=None)
        trial = _tried(page, webhook, change, asked, judged)
    except (ConfigurationError, EncodingError, DeliveryNotFoundError) as error:
        return _shown(page, webhook, form, status=http.HTTPStatus.BAD_REQUEST, fault=str(error))
    return _shown(page, webhook, form, trial=trial, judged=judged)


def _shown(
    page: Page,
    webhook: Webhook,
    form: Mapping[str, str],
    *,
    trial: Trial | None = None,
    judged: Delivery | None = None,
    fault: str = "",
    done: str = "",
    status: http.HTTPStatus = http.HTTPStatus.OK,
) -> Answer:
    recent = page.queue.find(DeliveryFilter(webhook=webhook.name), limit=RECENT)
    document = webhook.to_dict()
    return page.render(
        "webhook.html",
        hidden=hidden_of(webhook, judged, page.right),
        status=status,
        webhook=webhook,
        row=row_of(page, webhook),
        document=document,
        conditions=json.dumps(document["conditions"], indent=2, ensure_ascii=False),
        settings={words: document[name] for name, words in FIELDS.items()},
        recent=recent,
        form=_form(webhook, form, recent),
        trial=trial,
        fault=fault,
        done=done,
    )


def _not_defined() -> RefusedRequestError:
    return RefusedRequestError(http.HTTPStatus.NOT_FOUND, "No webhook of this name is defined.")


def _named(page: Page, fields: Mapping[str, str]) -> Webhook:
    webhook = page.webhook(fields.get("name", ""))
    if webhook is None:
        raise _not_defined()
    return webhook


def _form(
    webhook: Webhook, form: Mapping[str, str], recent: Sequence[Delivery]
) -> Mapping[str, str]:
    """Return what stands in the form: what was sent; to begin with a past change, and an example of
    what can be pasted."""
    if "change" in form:
        return form
    chosen = form["delivery"] or (recent[0].id if recent else "")
    return {"delivery": chosen, "change": json.dumps(_example(webhook), indent=2)}


def _example(webhook: Webhook) -> dict[str, Any]:
    return {
        "event": min(webhook.events).replace("*", "created"),
        "model": min(webhook.object_types).replace("*", "site"),
        "username": None,
        "request_id": None,
        "data": {"id": 1, "name": "example"},
        "snapshots": {"prechange": None, "postchange": {"id": 1, "name": "example"}},
    }


def _chosen(page: Page, form: Mapping[str, str]) -> tuple[Change, Delivery | None]:
    """Return the change of a past delivery, with that; or the one that was pasted.

    Raises:
        ConfigurationError: it is none.
        DeliveryNotFoundError: the delivery is gone.
    """
    delivery_id = form.get("delivery", "")
    past = page.queue.get(delivery_id) if delivery_id else None
    try:
        if past is not None:
            document = decode(past.payload)
        else:
            document = decode_strict(form.get("change", "").encode())
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"the change is not JSON ({error})") from None
    return Change.from_dict(document), past


def _as_delivery(page: Page, webhook: Webhook, change: Change) -> Delivery:
    """Return the delivery that a change would make, which is not kept."""
    return Delivery(
        id=new_delivery_id(page.now),
        webhook=webhook.name,
        event=change.event,
        model=change.model,
        payload=freeze(change),
        created_at=page.now,
        due_at=page.now,
    )


def _tried(
    page: Page, webhook: Webhook, change: Change, asked: Change | Delivery, judged: Delivery
) -> Trial:
    explanation = _explained(page, webhook, change, len(judged.payload))
    try:
        request = page.emitter.preview(webhook, asked).request
    except AttemptError as error:
        return Trial(explanation=explanation, problem=f"{error.error_class}: {error}")
    body = without(request.body.decode(), hidden_of(webhook, judged, page.right))
    headers = shown_headers(redact_headers(request.headers), page.right)
    sent = Sent.of(request.method, redact_url(request.url), headers, body)
    return Trial(explanation=explanation, sent=sent)


def _explained(page: Page, webhook: Webhook, change: Change, size: int) -> WebhookExplanation:
    if size > LONGEST_JUDGED:
        reason = "the change is so large that it is not judged here"
        return WebhookExplanation(webhook=webhook.name, fires=False, reason=reason)
    heard = page.emitter.webhooks.select(change.event, change.model)
    listens = any(each.name == webhook.name for each in heard)
    return explain(webhook, change, listens, page.emitter.disabled().get(webhook.name))
