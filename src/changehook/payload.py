"""Change → context → JSON; webhook and context → the request to send."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from changehook.encoding import decode, encode, isoformat, to_plain
from changehook.errors import EncodingError, RenderError, kind_and_place
from changehook.exchange import Request
from changehook.interfaces import ContextProvider
from changehook.models import Change
from changehook.network import destination
from changehook.webhooks import Webhook

__all__ = ["LONGEST_BODY", "LONGEST_PAYLOAD", "build_request", "context", "freeze"]

LONGEST_BODY = 1024 * 1024
LONGEST_PAYLOAD = 16 * 1024 * 1024

_OWNED = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

logger = logging.getLogger(__name__)


def context(change: Change) -> dict[str, Any]:
    """Return the documented variables of a change, in the documented order."""
    return {
        "event": change.event,
        "timestamp": None if change.timestamp is None else isoformat(change.timestamp),
        "model": change.model,
        "username": change.username,
        "request_id": change.request_id,
        "data": change.data,
        "snapshots": {"prechange": change.prechange, "postchange": change.postchange},
    }


def freeze(change: Change, providers: Iterable[ContextProvider] = ()) -> str:
    """Return the payload: the context as JSON text, the same for every delivery of the change.

    Args:
        change: with a timestamp.
        providers: each adds keys under ``context``; one that fails is logged and left out.

    Raises:
        EncodingError: part of the change has no JSON form, and the error names it, as
            ``data.owner``; or the payload is longer than ``LONGEST_PAYLOAD`` bytes.
    """
    variables = context(change)
    if providers:
        variables["context"] = _provided(change, providers)
    payload = encode(variables, root="")
    # A character is at most four bytes, so that few payloads have to be counted.
    if len(payload) > LONGEST_PAYLOAD // 4:
        size = len(payload.encode())
        if size > LONGEST_PAYLOAD:
            limit = f"{size} bytes of JSON, and {LONGEST_PAYLOAD} is the limit"
            raise EncodingError("the change", f"{limit}; leave out what receivers do not need")
    return payload


def _provided(change: Change, providers: Iterable[ContextProvider]) -> dict[str, Any]:
    added: dict[str, Any] = {}
    for provider in providers:
        kind = None
        try:
            added.update(to_plain(provider(change), root="context"))
        except Exception as error:
            kind = kind_and_place(error)
        # Outside the handler: a crash report on what is logged shows the variables of this frame.
        if kind is not None:
            name = getattr(provider, "__qualname__", type(provider).__name__)
            logger.error("context provider %s failed (%s) and is left out", name, kind)
    return added


def build_request(
    webhook: Webhook, payload: str, *, body: str | None, timeout: float, owned: Mapping[str, str]
) -> Request:
    """Return the request of one attempt: URL and headers rendered now, the body at most once.

    Args:
        webhook: the definition.
        payload: the context as JSON text.
        body: the body that was kept from the first attempt; None to render it.
        timeout: seconds, unless the webhook has its own.
        owned: headers of this library's own; a webhook may replace ``User-Agent`` alone.

    Raises:
        RenderError: a template could not be rendered, or gave no usable URL, header or body; the
            body is longer than ``LONGEST_BODY`` bytes; or the payload is not JSON.
    """
    variables = _variables(payload)
    url = webhook.url_template.render(variables)
    _check_url(url.url)
    headers = webhook.header_templates.render(variables)
    if body is None:
        body = payload if webhook.compiled_body is None else webhook.compiled_body.render(variables)
    return Request(
        method=webhook.http_method,
        url=url.url,
        headers=_merged({**_checked(owned), "Content-Type": webhook.http_content_type}, headers),
        body=_encoded(body),
        literal_host=url.literal_host,
        verify=webhook.ssl_verification,
        ca_file=webhook.ca_file_path,
        timeout=webhook.timeout or timeout,
    )


def _variables(payload: str) -> Any:
    try:
        return decode(payload)
    except ValueError as error:
        raise RenderError(f"payload: not JSON ({error})") from None


def _checked(owned: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers; what a host's own functions gave could break out of them."""
    for name, value in owned.items():
        if not _OWNED.fullmatch(value):
            raise RenderError(f"header {name}: may hold visible ASCII and spaces, no line break")
    return owned


def _check_url(url: str) -> None:
    try:
        destination(url)
    except ValueError as error:
        raise RenderError(f"url: {error}") from None


def _merged(owned: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str]:
    replaced = {name.lower() for name in headers}
    kept = {name: value for name, value in owned.items() if name.lower() not in replaced}
    return {**kept, **headers}


def _encoded(body: str) -> bytes:
    try:
        encoded = body.encode()
    except UnicodeEncodeError:
        raise RenderError("body: holds a lone surrogate, which is not text") from None
    if len(encoded) > LONGEST_BODY:
        raise RenderError(
            f"body: {len(encoded)} bytes, and {LONGEST_BODY} is the limit; "
            "write a body template that leaves out what the receiver does not need"
        )
    return encoded
