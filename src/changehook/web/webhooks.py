"""The webhooks: definitions, switches, and trying one out."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping
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
from changehook.models import Change
from changehook.web.delivery import Sent
from changehook.web.overview import rows_of
from changehook.web.page import Page
from changehook.web.redaction import keys_of, of_request, shown_headers, without
from changehook.web.searches import link
from changehook.web.wsgi import Answer, RefusedRequestError, redirect
from changehook.webhooks import Webhook

__all__ = ["show", "show_all", "switch", "try_out"]

PAST = 10
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
    webhook = _named(page, query)
    chosen = query.get("delivery", "")
    return _shown(page, webhook, _form(page, webhook, chosen), done=query.get("done", ""))


def switch(page: Page) -> Answer:
    """Have a webhook get deliveries, or none."""
    form = page.form()
    page.require_operate()
    name, action = form.get("name", ""), form.get("action", "")
    if action == "disable":
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
            delivery = page.emitter.send(webhook, change)
            page.note(f"webhook {webhook.name}: a test was sent")
            return redirect(link("delivery", id=delivery.id, done="send"))
        trial = _tried(page, webhook, change, past)
    except (ConfigurationError, EncodingError, DeliveryNotFoundError) as error:
        return _shown(page, webhook, form, status=http.HTTPStatus.BAD_REQUEST, fault=str(error))
    return _shown(page, webhook, form, trial=trial)


def _shown(
    page: Page,
    webhook: Webhook,
    form: Mapping[str, str],
    *,
    trial: Trial | None = None,
    fault: str = "",
    done: str = "",
    status: http.HTTPStatus = http.HTTPStatus.OK,
) -> Answer:
    stats = page.queue.stats()
    row = next((each for each in rows_of(page, stats) if each.name == webhook.name), None)
    document = webhook.to_dict()
    return page.render(
        "webhook.html",
        status=status,
        webhook=webhook,
        row=row,
        document=document,
        conditions=json.dumps(document["conditions"], indent=2, ensure_ascii=False),
        settings={words: document[name] for name, words in FIELDS.items()},
        past=_past(page, webhook),
        form=form,
        trial=trial,
        fault=fault,
        done=done,
    )


def _named(page: Page, fields: Mapping[str, str]) -> Webhook:
    name = fields.get("name", "")
    webhook = page.emitter.webhooks.get(name)
    if webhook is None:
        raise RefusedRequestError(http.HTTPStatus.NOT_FOUND, "No webhook has this name any more.")
    return webhook


def _past(page: Page, webhook: Webhook) -> list[Delivery]:
    return page.queue.find(DeliveryFilter(webhook=webhook.name), limit=PAST)


def _form(page: Page, webhook: Webhook, chosen: str) -> dict[str, str]:
    """Return the form to begin with: a past change, or an example in the form of one."""
    past = _past(page, webhook)
    if not chosen and past:
        chosen = past[0].id
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


def _tried(page: Page, webhook: Webhook, change: Change, past: Delivery | None) -> Trial:
    source = page.emitter.webhooks
    listens = any(each.name == webhook.name for each in source.select(change.event, change.model))
    disabled = page.emitter.disabled().get(webhook.name)
    explanation = explain(webhook, change, listens, disabled)
    try:
        # What was added to a past change, under context, is rendered as it was.
        asked = change if past is None else attrs.evolve(past, body=None)
        request = page.emitter.preview(webhook, asked).request
    except AttemptError as error:
        return Trial(explanation=explanation, problem=f"{error.error_class}: {error}")
    body = without(request.body.decode(), of_request(request, keys_of(webhook)))
    headers = shown_headers(redact_headers(request.headers), page.right)
    sent = Sent.of(request.method, redact_url(request.url), headers, body)
    return Trial(explanation=explanation, sent=sent)
