"""What of a delivery the page may show: bodies and payloads without the secrets of its webhook."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Mapping

import attrs

from changehook.deliveries import Delivery
from changehook.emitter import Emitter
from changehook.errors import AttemptError, ChangehookError
from changehook.exchange import (
    HIDDEN,
    Request,
    hidden_values,
    scrub,
)
from changehook.web.guard import Right
from changehook.webhooks import Webhook

__all__ = ["hidden_of", "shown_headers", "without"]

SIGNATURES = frozenset({"webhook-signature", "x-hook-signature", "x-hub-signature-256"})


def hidden_of(emitter: Emitter, webhook: Webhook | None, delivery: Delivery | None) -> list[str]:
    """Return the secrets that a body or a payload may not show where it quotes them.

    These are the signing secrets, the values of headers that are hidden, and path and query of the
    URL, each as a whole, as the definition renders them now.

    Args:
        emitter: makes the request of the delivery.
        webhook: the definition, None when it is gone: then nothing is known.
        delivery: whose texts are shown; None for those that are literal in the definition.
    """
    if webhook is None:
        return []
    request = Request(method="POST", url=_literal_url(webhook), headers=_literal(webhook), body=b"")
    try:
        if delivery is not None:
            request = emitter.preview(webhook, delivery).request
    except AttemptError:
        pass
    return of_request(request, keys_of(webhook))


def of_request(request: Request, keys: Iterable[str]) -> list[str]:
    """Return what the body of a request may not show."""
    parts = urllib.parse.urlsplit(request.url)
    whole = [text for text in (parts.path.strip("/"), parts.query) if text]
    bare = attrs.evolve(request, url=f"{parts.scheme}://{parts.netloc}/")
    return hidden_values(bare, *keys, *whole, whole=True)


def keys_of(webhook: Webhook) -> list[str]:
    """Return the signing secrets that can be had."""
    keys = []
    for secret in webhook.secret:
        try:
            keys.append(secret.reveal())
        except ChangehookError:
            continue
    return [*keys, *(key.removeprefix("whsec_") for key in keys)]


def _literal(webhook: Webhook) -> Mapping[str, str]:
    return webhook.header_templates.headers


def _literal_url(webhook: Webhook) -> str:
    literal = webhook.url_template.literal
    return "http://localhost/" if literal is None else literal.url


def without(text: str, hidden: Iterable[str]) -> str:
    """Return a text with ``***`` for each secret in it."""
    return scrub(text, hidden)


def shown_headers(headers: Mapping[str, str], right: Right) -> dict[str, str]:
    """Return headers for whoever has a right: a valid signature is for operators, as it makes a
    request that the receiver believes."""
    if right == "operate":
        return dict(headers)
    return {
        name: HIDDEN if name.lower() in SIGNATURES else value for name, value in headers.items()
    }
