"""The webhooks: definitions, switches, and trying one out."""

from __future__ import annotations

import contextlib
import hashlib
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
from changehook.models import Change, new_delivery_id
from changehook.payload import freeze
from changehook.web.delivery import LONGEST_JUDGED, Sent
from changehook.web.labels import label_of
from changehook.web.page import Page
from changehook.web.redaction import hidden_of, shown_headers, without
from changehook.web.rows import row_of, rows_of
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
        what: the change, in words.
        explanation: whether the webhook fires for it, and why not; None for a change so large that
            it is not judged here.
        sent: the request that it would send.
        problem: why there is none.
    """

    what: str
    explanation: WebhookExplanation | None
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
        raise RefusedRequestError(
            http.HTTPStatus.BAD_REQUEST, "action: unknown; one of enable, disable."
        )
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
            return redirect(link("delivery", id=delivery.id, done="send") + "#main")
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
    form = _form(page, webhook, form)
    recent = _recent(page, webhook, form["delivery"])
    hidden = hidden_of(webhook, judged, page.right)
    document = webhook.to_dict()
    return page.render(
        "webhook.html",
        hidden=hidden,
        status=status,
        webhook=webhook,
        row=row_of(page, webhook.name, webhook),
        document=document,
        conditions=json.dumps(document["conditions"], indent=2, ensure_ascii=False),
        settings={words: document[name] for name, words in FIELDS.items()},
        recent=[(each, label_of(each, hidden)) for each in recent],
        form=form,
        form_digest=_digest(form["change"]),
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


def _recent(page: Page, webhook: Webhook, chosen: str) -> list[Delivery]:
    """Return the past changes to choose from, with the one that is chosen."""
    recent = page.queue.find(DeliveryFilter(webhook=webhook.name), limit=RECENT)
    if chosen and chosen not in {each.id for each in recent}:
        with contextlib.suppress(DeliveryNotFoundError):
            recent.append(page.queue.get(chosen))
    return recent


def _form(page: Page, webhook: Webhook, form: Mapping[str, str]) -> dict[str, str]:
    """Return what stands in the form: what was sent; to begin with a past change, and an example of
    what can be pasted."""
    if "change" in form:
        return {"delivery": _past_id(form), "change": _text(form)}
    chosen = form.get("delivery", "")
    if not chosen:
        newest = page.queue.find(DeliveryFilter(webhook=webhook.name), limit=1)
        chosen = newest[0].id if newest else ""
    return {"delivery": chosen, "change": json.dumps(_example(webhook), indent=2)}


def _text(form: Mapping[str, str]) -> str:
    """Return what was pasted; browsers send its lines with CRLF."""
    return form.get("change", "").replace("\r\n", "\n")


def _past_id(form: Mapping[str, str]) -> str:
    """Return the id of the past change that is meant, empty for the pasted one: also when somebody
    pasted another text, and left the choice as it was."""
    chosen = form.get("delivery", "")
    is_left = chosen == form.get("was_delivery")
    is_pasted = _digest(_text(form)) != form.get("was_change", _digest(_text(form)))
    return "" if is_left and is_pasted else chosen


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


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
    delivery_id = _past_id(form)
    past = page.queue.get(delivery_id) if delivery_id else None
    try:
        document = decode_strict(_text(form).encode()) if past is None else decode(past.payload)
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
    which = "the pasted change" if isinstance(asked, Change) else "a past change"
    label = label_of(judged, hidden_of(webhook, judged, page.right))
    what = f"{which}, {change.event} {change.model} {label}".rstrip()
    try:
        request = page.emitter.preview(webhook, asked).request
    except AttemptError as error:
        return Trial(what=what, explanation=explanation, problem=f"{error.error_class}: {error}")
    body = without(request.body.decode(), hidden_of(webhook, judged, page.right))
    headers = shown_headers(redact_headers(request.headers), page.right)
    sent = Sent.of(request.method, redact_url(request.url), headers, body)
    return Trial(what=what, explanation=explanation, sent=sent)


def _explained(
    page: Page, webhook: Webhook, change: Change, size: int
) -> WebhookExplanation | None:
    if size > LONGEST_JUDGED:
        return None
    heard = page.emitter.webhooks.select(change.event, change.model)
    listens = any(each.name == webhook.name for each in heard)
    return explain(webhook, change, listens, page.emitter.disabled().get(webhook.name))
