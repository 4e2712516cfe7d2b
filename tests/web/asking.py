"""The operator's page asked without a server: a request as an environ, an answer as a record."""

from __future__ import annotations

import datetime
import io
import json
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from wsgiref.util import setup_testing_defaults

import attrs

from changehook import Delivery, Emitter, InMemoryQueue, Webhook
from changehook.testing import RecordingTransport, make_delivery
from changehook.web import inspection_app

TOKEN = "t" * 43
FORM = "application/x-www-form-urlencoded"


@attrs.frozen
class Answered:
    """What the page answered."""

    status: int
    headers: dict[str, str]
    text: str


def ask(
    app: Callable[..., Iterable[bytes]], path: str = "/", query: str = "", **environ: Any
) -> Answered:
    """Send one request; what is given beside path and query goes into the environ."""
    request: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query, "SCRIPT_NAME": "/hooks"}
    setup_testing_defaults(request)
    request.update(environ)
    begun: list[Any] = []
    body = b"".join(app(request, lambda status, headers: begun.extend((status, headers))))
    return Answered(int(begun[0].split()[0]), dict(begun[1]), body.decode())


def look(app: Callable[..., Iterable[bytes]], path: str, **query: str) -> Answered:
    """Open a page."""
    return ask(app, path, urllib.parse.urlencode(query))


def send(
    app: Callable[..., Iterable[bytes]],
    path: str,
    fields: Mapping[str, str],
    *,
    token: str = TOKEN,
    cookie: str = f"changehook_csrf={TOKEN}",
    **environ: Any,
) -> Answered:
    """Send a form as a page of the mount would."""
    body = urllib.parse.urlencode({**fields, "csrf": token}).encode()
    form = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": FORM,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_COOKIE": cookie,
        "wsgi.input": io.BytesIO(body),
    }
    return ask(app, path, **{**form, **environ})


def hook(name: str = "h", **fields: Any) -> Webhook:
    """Return a webhook that listens to everything."""
    filler = {"object_types": ["*"], "events": ["*"], "url": "https://receiver.example/"}
    return Webhook(name=name, **{**filler, **fields})


def emitter(*hooks: Webhook, **arguments: Any) -> Emitter:
    """Return an emitter that sends nothing."""
    filler: dict[str, Any] = {"queue": InMemoryQueue(), "transport": RecordingTransport()}
    return Emitter(webhooks=hooks, **{**filler, **arguments})


def page_of(sender: Emitter, right: Any = "operate") -> Callable[..., Iterable[bytes]]:
    """Return the page of an emitter for whoever has a right."""
    return inspection_app(sender, authorize=lambda environ: right)


def kept(sender: Emitter, **fields: Any) -> Delivery:
    """Return a delivery in any state, kept by the queue."""
    now = datetime.datetime.now(datetime.UTC)
    delivery = make_delivery(**{"webhook": "h", "created_at": now, "due_at": now, **fields})
    sender.queue._memory._keep(delivery)
    return delivery


def payload(**fields: Any) -> str:
    """Return the payload of a change."""
    return json.dumps({"event": "created", "model": "site", "data": {"name": "x"}, **fields})
