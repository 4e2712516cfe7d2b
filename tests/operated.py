"""Emitters with a history for the operator's page, and a client that needs no browser."""

from __future__ import annotations

import datetime
import io
import random
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from wsgiref.util import setup_testing_defaults

import attrs

from changehook import Emitter, InMemoryQueue, SQLiteStore, Webhook
from changehook.errors import DeadlineError
from changehook.exchange import Request, Response
from changehook.inspection import WorkerHeartbeat
from changehook.queues.stored import StoredQueue

HOUR = datetime.timedelta(hours=1)
NOW = datetime.datetime(2026, 3, 10, 15, 24, 36, tzinfo=datetime.UTC)
CHAT_CONDITIONS = {
    "and": [
        {"attr": "status.value", "value": "active"},
        {
            "or": [
                {"attr": "role", "op": "in", "value": ["edge", "core"]},
                {"attr": "tags", "op": "changed"},
            ]
        },
    ]
}
ORDERS_PAGE = b"<html><script>alert(1)</script><h1>503 Service Unavailable</h1></html>"


def webhooks() -> list[Webhook]:
    """Return the webhooks of the history; their secrets are never shown."""
    return [
        Webhook(
            name="chat",
            object_types=["ipaddress", "site"],
            events=["created", "updated"],
            url="https://hooks.chat.example/services/T0/B0/path-secret",
            body_template='{"text": "{{ data.name }} was {{ event }} by {{ username }}"}',
            conditions=CHAT_CONDITIONS,
            secret="whsec_" + "c2VjcmV0" * 4,
            description="Tells the network channel about what is in use.",
        ),
        Webhook(
            name="inventory",
            object_types=["*"],
            events=["*"],
            url="https://inventory.example:8443/hooks/{{ model }}",
            additional_headers={"Authorization": "Bearer header-secret"},
            secret="signing-secret",
            labels={"team": "finance"},
        ),
        Webhook(
            name="pager",
            object_types=["device"],
            events=["deleted"],
            url="https://pager.example/alarms",
        ),
        Webhook(
            name="old-cmdb",
            object_types=["site"],
            events=["updated"],
            url="https://cmdb.example/",
        ),
        Webhook(
            name="racks",
            object_types=["rack"],
            events=["created"],
            url="https://racks.example/",
            enabled=False,
        ),
    ]


class Receivers:
    """Answers as receivers do on a mixed day; the same in each run."""

    def __init__(self) -> None:
        self.chance = random.Random(7)
        self.seconds = 0.0

    def send(self, request: Request) -> Response:
        """Return what the receiver of a request answers."""
        self.seconds += self.chance.lognormvariate(-2.4, 0.8)
        if "pager" in request.url:
            self.seconds += 15
            raise DeadlineError("the attempt took longer than 15 seconds")
        if "cmdb" in request.url:
            return Response(status=410, address="203.0.113.20")
        if "inventory" in request.url and self.chance.random() < 0.25:
            headers = {"content-type": "text/html", "retry-after": "300", "server": "nginx"}
            return Response(status=503, headers=headers, body=ORDERS_PAGE, address="203.0.113.9")
        headers = {"content-type": "application/json"}
        return Response(status=200, headers=headers, body=b'{"ok": true}', address="203.0.113.7")

    def close(self) -> None:
        """Close nothing."""

    def timer(self) -> float:
        """Return a time that moves as receivers take theirs."""
        return self.seconds


class StoreBackedQueue(InMemoryQueue):
    """Runs what is due when it is told to, over a store that is given."""

    def __init__(self, store: SQLiteStore, clock: Callable[[], datetime.datetime]) -> None:
        StoredQueue.__init__(self, store, clock=clock)
        self._closed = False


@attrs.define
class Clock:
    """Moves when it is told to."""

    now: datetime.datetime

    def __call__(self) -> datetime.datetime:
        return self.now


def day(store: SQLiteStore, end: datetime.datetime = NOW) -> Emitter:
    """Return an emitter whose store holds the deliveries of a day that ends at a moment."""
    clock, receivers = Clock(end - 23 * HOUR), Receivers()
    chance = receivers.chance
    emitter = Emitter(
        webhooks=webhooks(),
        queue=StoreBackedQueue(store, clock),
        transport=receivers,
        clock=clock,
        random=lambda: 0.0,
    )
    object.__setattr__(emitter._deliverer, "timer", receivers.timer)
    number = 0
    while clock.now < end - HOUR / 30:
        emit(emitter, number, chance)
        emitter.queue.run()
        busy = 7 < clock.now.hour < 18
        clock.now += datetime.timedelta(seconds=chance.expovariate(1 / (240 if busy else 700)))
        number += 1
    clock.now = end
    emitter.queue.run()
    emit(emitter, 19, chance)
    for index, host in enumerate(("web-1", "web-2")):
        heartbeat = WorkerHeartbeat(
            worker=host,
            host=host,
            pid=4100 + index,
            threads=8,
            busy=index,
            started_at=end - 20 * HOUR,
            seen_at=end,
        )
        store.report(heartbeat, emitter._tallies.fetch())
    return emitter


def emit(emitter: Emitter, number: int, chance: random.Random) -> None:
    """Emit a change such as hosts have."""
    status = chance.choice(["active", "active", "planned"])
    data = {
        "id": number,
        "name": f"edge-{number}",
        "address": f"192.0.2.{number % 250}/24",
        "status": {"value": status, "label": status.title()},
        "role": chance.choice(["edge", "access"]),
        "site": {"id": 3, "name": "Amsterdam <east>"},
        "tags": ["customer", "ipv6"],
    }
    before = {**data, "status": {"value": "planned", "label": "Planned"}, "tags": ["customer"]}
    before["comments"] = "to be installed"
    who = {"username": chance.choice(["ann", "bob"]), "request_id": f"req-{number // 2}"}
    kind = chance.random()
    if kind < 0.07:
        emitter.emit_change("deleted", "device", data, prechange=before, **who)
    elif kind < 0.55:
        model = chance.choice(["ipaddress", "site", "device"])
        emitter.emit_change("updated", model, data, prechange=before, postchange=data, **who)
    else:
        emitter.emit_change("created", "ipaddress", data, postchange=data, **who)


@attrs.define
class Reply:
    """What the application answered a client."""

    status: str
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@attrs.define
class Client:
    """Asks a WSGI application, and keeps cookies as a browser does."""

    app: Any
    mount: str = ""
    cookies: dict[str, str] = attrs.field(factory=dict)

    def get(self, path: str, **environ: str) -> Reply:
        """Return the answer to a GET of a path with a query."""
        return self.ask("GET", path, b"", **environ)

    def post(self, path: str, fields: Mapping[str, str], **environ: str) -> Reply:
        """Return the answer to a form, sent as it is."""
        kind = {"CONTENT_TYPE": "application/x-www-form-urlencoded"}
        body = urllib.parse.urlencode(fields).encode()
        return self.ask("POST", path, body, **{**kind, **environ})

    def submit(self, path: str, fields: Mapping[str, str], **environ: str) -> Reply:
        """Return the answer to a form of a page, with the token that a page had."""
        self.get("/")
        return self.post(path, {"csrf": self.cookies["changehook_csrf"], **fields}, **environ)

    def ask(self, method: str, path: str, body: bytes, **environ: str) -> Reply:
        """Return the answer to a request."""
        where, _, query = path.partition("?")
        request: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": self.mount,
            "PATH_INFO": where,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            **environ,
        }
        setup_testing_defaults(request)
        seen: list[Any] = []
        parts: Iterable[bytes] = self.app(request, lambda *answer: seen.extend(answer))
        status, headers = seen
        for name, value in headers:
            if name == "Set-Cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        return Reply(status, headers, b"".join(parts).decode())
