"""Calls that raise while they hold marker secrets; a crash report of each must show none."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from misbehaving import Server, hangs_up
from security.attacks_secrets import (
    BODY,
    DATA,
    HEADERS,
    LOOPBACK,
    URL,
    definition,
    emitter,
    webhooks,
)
from security.markers import mark, whsec

import changehook
from changehook import (
    Change,
    Delivery,
    Emitter,
    FileSource,
    InMemoryQueue,
    RetryPolicy,
    Secret,
    SQLiteStore,
    ThreadPoolQueue,
    Webhook,
    WebhookRegistry,
    cli,
    verify,
)
from changehook.exchange import Request
from changehook.queues.rq import RQQueue
from changehook.receiver import Behaviour, Receiver
from changehook.signing import sign
from changehook.sources import load_webhooks
from changehook.testing import RecordingTransport
from changehook.transport import HTTPTransport

CHANGE = Change(event="created", model="site", data=DATA)
PROXY = f"http://user:{mark('proxy')}@127.0.0.1:9"
SENT = {"delivery_id": "m", "timestamp": 1}
NEW = whsec("whsec-new-key-of-32-bytes")

Call = Callable[[], object]


def fail() -> str:
    """Raise as a vault's client does that quotes what it was asked with."""
    raise LookupError(f"no such key for {mark('bearer')}")


def interrupted(request: Request) -> Any:
    """Raise what no worker catches, with the request at hand."""
    raise KeyboardInterrupt


def document(**changes: Any) -> dict[str, Any]:
    """Return a definition as it stands in a file."""
    return definition("x", **changes)


def previewed(**changes: Any) -> Call:
    """Return a preview that fails."""
    sender = emitter(transport=RecordingTransport())
    hook = Webhook(**document(**changes))
    change = Change(event="created", model="site", data={**DATA, "bad": "\n"})
    return functools.partial(sender.preview, hook, change)


def request(url: str, **changes: Any) -> Request:
    """Return a request of a host that uses the transport alone."""
    headers = {"Authorization": f"Bearer {mark('bearer')}"}
    values: dict[str, Any] = {"method": "POST", "headers": headers, "body": b"", "timeout": 5.0}
    return Request(**{**values, "url": url + URL, **changes})


def unanswered() -> None:
    """Send a request that is not answered."""
    with Server(hangs_up) as server:
        url = f"http://127.0.0.1:{server.port}"
        HTTPTransport(network=LOOPBACK).send(request(url))


def forbidden() -> None:
    """Send a request that http.client refuses, quoting the header's value."""
    with Server(hangs_up) as server:
        url = f"http://127.0.0.1:{server.port}"
        broken = request(url, headers={"Authorization": f"Bearer {mark('bearer')}\n"})
        HTTPTransport(network=LOOPBACK).send(broken)


def taken_port() -> None:
    """Listen where someone else does."""
    with Receiver(port=0) as first:
        port = int(first.url.rpartition(":")[2])
        Receiver(port=port, behaviour=Behaviour(verify=(mark("plain"),)))


def attempt_interrupted() -> None:
    """Interrupt an attempt, as CONTROL-C does."""

    class Interrupted(RecordingTransport):
        send = staticmethod(interrupted)  # type: ignore[assignment]

    sender = emitter(*webhooks(), transport=Interrupted())
    sender.emit_change("created", "site", DATA)
    sender.queue.run()


def closed_queue() -> None:
    """Emit to a queue that is closed."""
    sender = emitter(*webhooks(), transport=RecordingTransport())
    sender.close()
    sender.emit_change("created", "site", {"name": "x"})


def finished() -> None:
    """Deliver once more what is delivered."""
    sender = emitter(*webhooks(), transport=RecordingTransport())
    sender.emit_change("created", "site", DATA)
    for delivery in sender.queue.run():
        sender.deliver(delivery)


def unattached_queue() -> None:
    """Perform what no emitter put."""
    InMemoryQueue().run()


def full_queue() -> None:
    """Emit more than a queue takes."""
    queue = InMemoryQueue(capacity=1)
    sender = Emitter(webhooks=webhooks(), queue=queue, transport=RecordingTransport())
    sender.emit_change("created", "site", {"name": "x"})


def damaged_store(path: Path) -> None:
    """Emit into a file that somebody overwrote."""
    store = SQLiteStore(path)
    queue = ThreadPoolQueue(store)
    sender = Emitter(webhooks=webhooks(), queue=queue, transport=RecordingTransport())
    path.write_bytes(b"no database" * 500)
    with sender:
        sender.emit_change("created", "site", {"name": "x"})


def unknown_delivery() -> None:
    """Ask for a delivery that there is not."""
    emitter(*webhooks(), transport=RecordingTransport()).queue.get("none")


def not_encodable() -> None:
    """Emit what has no JSON form."""
    emitter(*webhooks(), transport=RecordingTransport()).emit_change(
        "created", "site", {"name": "x", "bad": object()}
    )


def given_up() -> None:
    """Work on a job of RQ whose attempt fails for good; its Redis does not answer."""
    connection = redis.Redis(port=9, password=mark("proxy"), retry=None)
    queue = RQQueue(connection, emitter="rq_host:queue")
    sender = Emitter(
        webhooks=webhooks(),
        queue=queue,
        transport=RecordingTransport(404),
        retry=RetryPolicy(schedule=[0]),
    )
    [delivery, *_] = Emitter(webhooks=webhooks(), queue=InMemoryQueue()).emit_change(
        CHANGE.event, CHANGE.model, CHANGE.data
    )
    job = queue.rq.create_job(
        "changehook.queues.rq.perform",
        args=("rq_host:queue", [delivery.to_json()]),
        job_id=f"changehook-d-{delivery.id}",
    )
    for _ in range(2):  # the outcome cannot be written, so the first puts it off
        sender.queue.work_on(job)  # type: ignore[attr-defined]


def files(folder: Path) -> dict[str, Call]:
    """Return readings of files that are broken beside their secrets."""
    good, text = json.dumps([document()]), json.dumps([document()])[:-1]
    toml = f'[[webhooks]]\nname = "x"\nurl = "https://h.example{URL}"\nsecret = "{mark("plain")}"\n'
    broken = {
        "cut.json": text,
        "latin.json": good.encode() + b"\xff",
        "twice.json": '{"url": "' + URL + '", "secret": "' + mark("plain") + '", "url": ""}',
        "deep.json": "[" * 100_000 + good,
        "cut.toml": toml + f'additional_headers = "X-Api-Key: {mark("api-key")}',
        "latin.toml": toml.encode() + b"\xff",
        "faulty.toml": toml + 'evnts = ["created"]\n',
        "faulty.json": json.dumps([document(http_method="SEND", secret=[mark("plain"), ""])]),
        "names.json": json.dumps([document(), document()]),
    }
    readers = {"load_webhooks": load_webhooks, "FileSource": FileSource, "check": checked}
    return {
        f"{reader} {name}": functools.partial(_read, read, folder / name, content)
        for name, content in broken.items()
        for reader, read in readers.items()
    }


def _read(read: Callable[[Path], object], path: Path, content: str | bytes) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    read(path)


def checked(path: Path) -> None:
    """Check a file by the command."""
    _command("check", str(path))


def crashes(folder: Path) -> dict[str, Call]:
    """Return calls by name; every one raises."""
    sender = emitter(*webhooks(), transport=RecordingTransport())
    headers, faulty = dict(HEADERS), {**document(), "timeout": -1}
    signed = {"X-Hook-Signature": mark("literal")}
    return {
        "Webhook": lambda: Webhook(**faulty),
        "Webhook wrong call": lambda: Webhook(**document(), evnts=[]),
        "Webhook secret": lambda: Webhook(**document(secret=NEW + "!")),
        "Webhook two secrets": lambda: Webhook(**document(secret=[NEW, mark("older"), ""])),
        "Webhook unclean secret": lambda: Webhook(**document(secret=mark("plain") + "\ud800")),
        "Webhook scheme": lambda: Webhook(**document(signatures=["standard-webhooks"])),
        "Webhook URL": lambda: Webhook(**document(url=f"https://u:{mark('path')}@h.example/")),
        "Webhook URL space": lambda: Webhook(**document(url=f"https://h.example{URL} x")),
        "Webhook URL surrogate": lambda: Webhook(**document(url=f"https://h.example{URL}\ud800")),
        "Webhook no URL": lambda: Webhook(**document(url=mark("path"))),
        "Webhook header": lambda: Webhook(**document(additional_headers={**headers, "Host": "x"})),
        "Webhook header text": lambda: Webhook(**document(additional_headers=mark("bearer"))),
        "Webhook header value": lambda: Webhook(**document(additional_headers={"X": URL + "\n."})),
        "Webhook body": lambda: Webhook(**document(body_template=BODY + "{% if %}")),
        "Webhook constant body": lambda: Webhook(**document(body_template=mark("body"))),
        "from_dict": lambda: Webhook.from_dict(faulty),
        "from_dict unknown": lambda: Webhook.from_dict(document(secrets=[mark("plain")])),
        "to_dict": lambda: Webhook(**document(secret=fail)).to_dict(reveal=True),
        "registry": lambda: WebhookRegistry([*webhooks(), *webhooks()]),
        "Secret": lambda: Secret(NEW + "!"),
        "Secret short": lambda: Secret("whsec_" + NEW[6:12]),
        "Secret name": lambda: Secret(f"env:{mark('plain')}"),
        "reveal": lambda: Secret(fail).reveal(),
        "reveal partial": lambda: Secret(functools.partial(int, mark("plain"))).reveal(),
        "reveal wrong": lambda: Secret(mark("plain").encode).reveal(),
        "reveal missing": lambda: Secret("env:CHANGEHOOK_TEST_NOT_SET").reveal(),
        "sign id": lambda: sign(b"", delivery_id="a.b", timestamp=1, secrets=NEW),
        "sign text": lambda: sign("x", secrets=[mark("plain")], **SENT),  # type: ignore[arg-type]
        "sign scheme": lambda: sign(b"", secrets=mark("plain"), schemes=["no"], **SENT),
        "sign secret": lambda: sign(b"", secrets=[mark("plain"), ""], **SENT),
        "verify": lambda: verify(b"", signed, [mark("plain"), mark("older")]),
        "verify text": lambda: verify("", signed, mark("plain")),  # type: ignore[arg-type]
        "verify unsigned": lambda: verify(b"", {}, mark("plain")),
        "verify reference": lambda: verify(b"", signed, [mark("plain"), "env:X"]),
        "Emitter timeout": lambda: emitter(proxy=PROXY, timeout=-1),
        "Emitter proxy": lambda: emitter(proxy=PROXY + "/path"),
        "configure": lambda: changehook.configure(proxy=PROXY, timeout=-1),
        "HTTPTransport": lambda: HTTPTransport(proxy=PROXY + "x"),
        "send blocked": lambda: HTTPTransport().send(request("http://127.0.0.1:9")),
        "send nowhere": lambda: HTTPTransport().send(request("ftp://h.example")),
        "send unanswered": unanswered,
        "send forbidden": forbidden,
        "preview URL": previewed(url="https://h.example" + URL + "{{ data.nmae }}"),
        "preview host": previewed(url="https://{{ data.bad }}" + URL),
        "preview header": previewed(additional_headers={**HEADERS, "X": "{{ data.bad }}x"}),
        "preview body": previewed(body_template=BODY + "{{ data.name }}"),
        "preview secret": previewed(secret="env:CHANGEHOOK_TEST_NOT_SET"),
        "preview callable": previewed(secret=fail),
        "preview unknown": lambda: sender.preview("none", CHANGE),
        "attempt interrupted": attempt_interrupted,
        "closed queue": closed_queue,
        "finished": finished,
        "full queue": full_queue,
        "given up": given_up,
        "damaged store": functools.partial(damaged_store, folder / "webhooks.db"),
        "unattached queue": unattached_queue,
        "unknown delivery": unknown_delivery,
        "no filter": lambda: sender.queue.find(5),
        "not encodable": not_encodable,
        "not configured": lambda: changehook.default_emitter(),
        "message": lambda: Delivery.from_json('{"version": 1}'),
        "Behaviour": lambda: Behaviour(verify=(mark("plain"),), respond=9),
        "Behaviour secret": lambda: Behaviour(verify=(NEW + "!",)),
        "Receiver": taken_port,
        "receiver": lambda: cli.main(["receiver", "--verfy", mark("plain")]),
        "receiver order": lambda: cli.main(["--verify", mark("plain"), "receiver"]),
        "receiver secret": lambda: _command("receiver", "--verify", NEW + "!"),
        "receiver name": lambda: _command("receiver", "--verify", f"env:{mark('plain')}"),
        **files(folder),
    }


def _command(*words: str) -> None:
    raise SystemExit(cli.main(list(words)))
