"""What the page may not show: the secrets of a webhook, wherever a text quotes them."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from changehook.deliveries import Delivery
from changehook.encoding import decode
from changehook.errors import ChangehookError
from changehook.exchange import HIDDEN, Request, hidden_values, scrub
from changehook.web.guard import Right
from changehook.webhooks import Webhook

__all__ = ["hidden_of", "shown_headers", "without"]

SIGNATURES = frozenset({"webhook-signature", "x-hook-signature", "x-hub-signature-256"})
SHORTEST_PART, SHORTEST_WORD = 8, 20
FACTS = ("event", "timestamp", "model", "username", "request_id")

_WORD = re.compile("[a-z_.-]*")
_SEPARATORS = re.compile("[/?&=;]")


def hidden_of(webhook: Webhook | None, delivery: Delivery | None, right: Right) -> list[str]:
    """Return the secrets that a page may not show.

    These are the signing secrets, the values of headers that are hidden, path and query of the URL,
    and the parts that stand in its definition and are no plain words. For whoever may only look,
    they are the signatures of the attempts as well, which receivers may quote.

    Args:
        webhook: the definition; None when it is gone: then nothing is known but the signatures.
        delivery: whose texts are shown; None for those of the definition alone.
        right: of whoever looks.
    """
    texts = set() if right == "operate" or delivery is None else set(_signatures(delivery))
    headers: dict[str, str] = {}
    if webhook is not None:
        variables = _variables(delivery)
        url = _rendered(webhook.url_template, variables)
        headers = dict(webhook.header_templates.headers)
        for name, value in (_rendered(webhook.header_templates, variables) or {}).items():
            if value in headers[name] or value not in _facts(variables):
                headers[name] = value
        texts.update(_keys(webhook), _literal_parts(webhook.url))
        if url is not None:
            parts = urllib.parse.urlsplit(url.url)
            texts.update((parts.path.strip("/"), parts.query))
    request = Request(method="POST", url="http://localhost/", headers=headers, body=b"")
    return hidden_values(request, *texts, whole=True)


def _variables(delivery: Delivery | None) -> Any:
    try:
        found = {} if delivery is None else decode(delivery.payload)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _facts(variables: Mapping[str, Any]) -> set[str]:
    """Return what a header may repeat without making a secret of it: who made which change."""
    return {str(variables.get(name)) for name in FACTS}


def _rendered(template: Any, variables: Any) -> Any:
    try:
        return template.render(variables)
    except ChangehookError:
        return None


def _keys(webhook: Webhook) -> Iterator[str]:
    """Yield the signing secrets that can be had."""
    for secret in webhook.secret:
        try:
            key = secret.reveal()
        except ChangehookError:
            continue
        yield from (key, key.removeprefix("whsec_"))


def _literal_parts(url: str) -> Iterator[str]:
    """Yield the parts of path and query of a URL template that may be secrets by themselves: not
    short ones, and not plain words, which a change may hold for reasons of its own."""
    for part in _SEPARATORS.split(url.partition("://")[2].partition("/")[2]):
        plain = _WORD.fullmatch(part) and len(part) < SHORTEST_WORD
        if len(part) >= SHORTEST_PART and "{" not in part and not plain:
            yield part


def _signatures(delivery: Delivery) -> Iterator[str]:
    for attempt in delivery.attempts:
        for name, value in attempt.headers.items():
            if name.lower() in SIGNATURES:
                yield value
                yield from (re.split("[,=]", each, maxsplit=1)[-1] for each in value.split())


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
