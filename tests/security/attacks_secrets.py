"""Definitions with a marker wherever a secret may stand, and the ways that they are driven."""

from __future__ import annotations

import base64
import functools
import html
import json
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
from misbehaving import Server, answer, hangs_up, proxy, says, well
from security.markers import Place, Witness, mark, objects, shown, whsec

from changehook import Delivery, Emitter, InMemoryQueue, NetworkPolicy, RetryPolicy, Secret, Webhook
from changehook.errors import ConnectError
from changehook.exchange import Request, Response
from changehook.testing import RecordingTransport

ENVIRONMENT = "CHANGEHOOK_TEST_MARKER"
LOOPBACK = NetworkPolicy(allow=["127.0.0.1"])
URL = f"/services/{mark('path')}/hook?token={mark('query')}&b=1"
BASIC = base64.b64encode(f"user:{mark('basic')}".encode()).decode()
HEADERS = {
    "Authorization": f"Bearer {mark('bearer')}",
    "X-Api-Key": mark("api-key"),
    "Cookie": f"a=b; sid={mark('cookie')}",
    "X-Basic": f"Basic {BASIC}",
    "X-Literal": "{{ '" + mark("literal") + "' | trim }}",
    "X-From-Data": "{{ data.token }}",
}
BODY = '{"password": "' + mark("body") + '", "name": {{ data.name | tojson }}}'
DATA = {"name": "x", "token": mark("data")}
SECRETS: dict[str, Any] = {
    "plain": mark("plain"),
    "environment": f"env:{ENVIRONMENT}",
    "callable": functools.partial(mark, "callable"),
    "whsec": whsec("whsec-new-key-of-32-bytes"),
    "rotating": [whsec("whsec-new-key-of-32-bytes"), whsec("whsec-old-key-of-32-bytes")],
    "mixed": [mark("plain"), mark("older")],
}
KEPT_AS_RENDERED = {"payload": ["data"], "body": ["body"]}
"""What these fields of a delivery hold is the data and the body: no place for a secret."""


def definition(name: str, origin: str = "https://receiver.example", **changes: Any) -> Any:
    """Return the fields of a webhook with a marker wherever one may stand."""
    return {
        "name": name,
        "object_types": ["*"],
        "events": ["*"],
        "url": origin + URL,
        "additional_headers": HEADERS,
        "body_template": BODY,
        "secret": SECRETS["plain"],
        "conditions": {"attr": "name", "value": "x"},
        **changes,
    }


def webhooks(
    origin: str = "https://receiver.example", names: Iterable[str] = SECRETS, **changes: Any
) -> list[Webhook]:
    """Return one webhook for each kind of signing secret."""
    hooks = [{"name": name, "secret": SECRETS[name], **changes} for name in names]
    return [Webhook(**definition(origin=origin, **hook)) for hook in hooks]


def emitter(*hooks: Webhook, **arguments: Any) -> Emitter:
    """Return an emitter over a queue that runs when told."""
    retry = RetryPolicy(schedule=[0, 1])
    return Emitter(webhooks=hooks, queue=InMemoryQueue(), retry=retry, **arguments)


def recorded(delivery: Delivery) -> Iterator[Place]:
    """Yield the message of a delivery, apart from what is kept as rendered, and its attempts."""
    message = json.loads(delivery.to_json())
    for name, kinds in KEPT_AS_RENDERED.items():
        text = message.pop(name) or ""
        yield name, " ".join(kind for kind in shown(text) if kind not in kinds) and text
    yield "message", json.dumps(message, ensure_ascii=False)
    for attempt in delivery.attempts:
        yield "attempt", json.dumps(attempt.to_dict(), ensure_ascii=False)


def delivered(sender: Emitter) -> list[Place]:
    """Emit a change, make two attempts, and return all that came of it."""
    heard: list[Delivery] = []
    sender._listeners = (heard.append,)
    with Witness() as witness, sender:
        made = sender.emit_change("created", "site", DATA)
        kept = list(sender.queue.run())
        for delivery in made:
            sender.queue.retry(delivery.id)
        kept += sender.queue.run()
        places = list(objects(sender, heard, made, kept))
    assert len(heard) == len(kept) == 2 * len(made) > 0
    for delivery in [*made, *kept]:
        places += recorded(delivery)
    return [*witness.places, *places]


def against(behaviour: Any, scheme: str = "http", **changes: Any) -> list[Place]:
    """Deliver to a receiver on this machine."""
    with Server(behaviour) as server:
        hooks = webhooks(f"{scheme}://127.0.0.1:{server.port}", **changes)
        return delivered(emitter(*hooks, network=LOOPBACK))


def replies(status: str, body: bytes = b"ok", *headers: str) -> Callable[[Any], None]:
    """Return a behaviour that answers one request and closes."""
    return says(answer(status, body, *headers), then=hangs_up)


def no_tls(peer: Any) -> None:
    """Answer a TLS handshake in plain text."""
    peer.send(answer())


def refused() -> list[Place]:
    """Deliver to a port that nobody listens on."""
    with Server(well) as server:
        origin = f"http://127.0.0.1:{server.port}"
    return delivered(emitter(*webhooks(origin), network=LOOPBACK))


def unknown_name() -> list[Place]:
    """Deliver to a name that has no address."""

    def resolver(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    return delivered(emitter(*webhooks(), resolver=resolver))


def by_proxy() -> list[Place]:
    """Deliver through a proxy that asks for credentials, in the open and in a tunnel."""
    credentials = f"user:{mark('proxy')}@127.0.0.1"
    places = []
    for scheme, behaviour in (("http", replies("407 No")), ("https", proxy), ("http", proxy)):
        with Server(no_tls) as server, Server(behaviour) as between:
            by = f"http://{credentials}:{between.port}"
            hooks = webhooks(f"{scheme}://127.0.0.1:{server.port}")
            places += delivered(emitter(*hooks, network=LOOPBACK, proxy=by))
    return places


def failing(error: Exception) -> list[Place]:
    """Deliver by a transport of the host's own that raises."""

    class Failing(RecordingTransport):
        def send(self, request: Request, /) -> Response:
            raise error

    return delivered(emitter(*webhooks(), transport=Failing()))


def failing_host() -> list[Place]:
    """Have a source, a context provider and a listener raise markers."""
    headers = {name: value for name, value in HEADERS.items() if name != "X-From-Data"}
    sender = emitter(*webhooks(additional_headers=headers), transport=RecordingTransport())

    def fail(*_: object) -> Any:
        raise LookupError(mark("bearer"))

    with Witness() as witness, sender:
        sender._listeners, sender._providers = (fail,), (fail,)
        made = sender.emit_change("created", "site", {"name": "x"})
        sender.queue.run()
        [one, *_] = made
        attrs.evolve(sender._deliverer, source=_Source(fail)).attempt(one.claimed())
    return witness.places


class _Source:
    def __init__(self, fail: Callable[..., Any]) -> None:
        self.get = self.select = self.all = fail


# What a receiver makes of the request in its answer, and the record has to hide


def words(request: bytes) -> list[str]:
    """Return the values of a request, as a framework takes them apart."""
    head = request.partition(b"\r\n\r\n")[0].decode()
    line, *headers = head.split("\r\n")
    target = urllib.parse.urlsplit(line.split(" ")[1])
    values = [header.partition(": ")[2] for header in headers]
    query = [value for _, value in urllib.parse.parse_qsl(target.query)]
    return [target.path, *target.path.split("/"), *query, *values]


ECHOES: dict[str, Callable[[list[str]], str]] = {
    "lines": "\n".join,
    "json": json.dumps,
    "php": lambda words: json.dumps(words).replace("/", "\\/"),
    "html": lambda words: "".join(f"<li>{html.escape(word)}</li>" for word in words),
    "percent": lambda words: urllib.parse.urlencode(list(enumerate(words))),
    "lower": lambda words: " ".join(words).lower(),
    "decoded": lambda words: base64.b64decode(BASIC).decode(),
    "cut": lambda words: "x" * (16 * 1024 - 12) + mark("bearer") + "x" * 100,
}


def echoed(form: str) -> list[Place]:
    """Deliver to receivers that quote the request, and the secret that they share."""
    return [place for name in SECRETS for place in against(_echo(form, name), names=[name])]


def _echo(form: str, name: str) -> Callable[[Any], None]:
    several = SECRETS[name] if isinstance(SECRETS[name], list) else [SECRETS[name]]

    def echo(peer: Any) -> None:
        while request := peer.read_request():
            shared = [Secret(secret).reveal() for secret in several]
            names = [f"X-{mark('api-key')}: 1", f"X-{mark('path').upper()}: 1"]
            values = [f"{name}: {mark('bearer')}" for name in ("Server", "Date", "Retry-After")]
            body = ECHOES[form]([*words(request), *shared]).encode()
            peer.send(answer("403 No", body, *names, *values, f"Location: {URL}"))

    return echo


DELIVERIES: dict[str, Callable[[], list[Place]]] = {
    "delivered": lambda: against(well),
    "status": lambda: against(replies("500 No")),
    "redirect": lambda: against(replies("302 Found", b"", f"Location: {URL}")),
    "no HTTP": lambda: against(says(f"{mark('bearer')}\r\n\r\n".encode(), then=hangs_up)),
    "bad header": lambda: against(replies("200 OK", b"", mark("bearer"))),
    "cut short": lambda: against(
        replies("200 OK", mark("bearer")[:9].encode(), "Content-Length: 99")
    ),
    "hangs up": lambda: against(hangs_up),
    "timeout": lambda: against(lambda peer: peer.silence(), timeout=0.05),
    "TLS": lambda: against(no_tls, scheme="https"),
    "connect": refused,
    "DNS": unknown_name,
    "blocked": lambda: delivered(emitter(*webhooks("http://127.0.0.1:9"))),
    "proxy": by_proxy,
    "URL not rendered": lambda: against(
        well, url="https://h.example/" + mark("path") + "/{{ data.nmae }}"
    ),
    "header not rendered": lambda: against(
        well, additional_headers="X: " + mark("bearer") + "{{ '\\n' }}x"
    ),
    "body not rendered": lambda: against(
        well, body_template="{" + mark("body") + "{{ data.name }}"
    ),
    "no secret": lambda: against(well, secret="env:CHANGEHOOK_TEST_NOT_SET"),
    "no callable": lambda: against(well, secret=functools.partial(int, mark("plain"))),
    "no CA file": lambda: against(well, "https", ca_file_path="/nowhere/ca.pem"),
    "unexpected": lambda: failing(KeyError(f"Bearer {mark('bearer')}")),
    "told": lambda: failing(ConnectError(f"no way to https://receiver.example{URL}")),
    "failing host": failing_host,
    **{f"echo {form}": functools.partial(echoed, form) for form in ECHOES},
}
