"""Many threads, many changes: nothing lost, nothing twice, nothing torn, memory bounded."""

import collections
import contextlib
import gc
import selectors
import threading
import weakref

import pytest
from serving import OneThread

from changehook import (
    Emitter,
    InMemoryQueue,
    MemoryStore,
    NetworkPolicy,
    ThreadPoolQueue,
    Webhook,
    WebhookRegistry,
)

LIMIT = 120.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Sink(OneThread):
    """A receiver that is fast: one thread, keep-alive, and it counts the ids it saw."""

    def __init__(self):
        self.seen = collections.Counter()
        self.connections = 0
        super().__init__()

    def _serve(self):
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._stopped:
                    return
                if key.fileobj is self._listener:
                    self.connections += 1
                    self._selector.register(
                        self._listener.accept()[0], selectors.EVENT_READ, bytearray()
                    )
                else:
                    self._read(key.fileobj, key.data)

    def _read(self, connection, buffer):
        piece = connection.recv(65536)
        buffer += piece
        if not piece:
            self._selector.unregister(connection)
            connection.close()
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            fields = dict(line.split(b": ", 1) for line in bytes(buffer[:end]).split(b"\r\n")[1:])
            headers = {name.lower(): value for name, value in fields.items()}
            size = end + 4 + int(headers[b"content-length"])
            if len(buffer) < size:
                return
            self.seen[headers[b"webhook-id"].decode()] += 1
            del buffer[:size]
            connection.sendall(ANSWER)


def test_ten_thousand_changes_arrive_exactly_once():
    """A burst to one receiver with eight workers: each once, and what is kept stays bounded."""
    with contextlib.closing(Sink()) as sink:
        store = MemoryStore(capacity=2_000)
        webhook = Webhook(
            name="sink", object_types=["site"], events=["created"], url=sink.url, secret="s"
        )
        emitter = Emitter(
            webhooks=[webhook],
            queue=ThreadPoolQueue(store, workers=8, put_timeout=LIMIT),
            network=NetworkPolicy(allow=["127.0.0.1"]),
        )
        ids, most = [], 0
        for number in range(10_000):
            ids += [d.id for d in emitter.emit_change("created", "site", {"number": number})]
            if number % 500 == 0:
                most = max(most, sum(store.counts().values()))
        assert emitter.close(LIMIT) == 0
        assert sink.connections <= 8
    assert len(ids) == 10_000
    assert sink.seen == collections.Counter(ids)
    assert most <= 3_000
    assert sum(store.counts().values()) == 1_000
    assert len(store._due) <= 64


class Watched(dict):
    """Data that can be watched: a plain dictionary takes no weak reference."""


def test_a_delivery_does_not_hold_the_hosts_data():
    """What was emitted is frozen text; the host's object can go."""
    emitter = Emitter(
        webhooks=[
            Webhook(name="w", object_types=["site"], events=["created"], url="http://x.example/")
        ],
        queue=InMemoryQueue(),
    )
    data = Watched(a=1)
    emitter.emit_change("created", "site", data)
    reference = weakref.ref(data)
    del data
    gc.collect()
    assert reference() is None
    assert len(emitter.queue.deliveries) == 1
    emitter.close()


@pytest.mark.parametrize("threads", [200])
def test_threads_emit_while_the_registry_is_replaced(threads):
    """No error, no lost delivery, no torn definition: every change goes to all of one set."""
    sets = [
        [
            Webhook(
                name=f"{generation}-{number}",
                object_types=["site", "dcim.*"][: 1 + number % 2],
                events=["created"],
                url="http://receiver.example/",
                conditions={"attr": "n", "value": -1, "op": "gt"},
            )
            for number in range(5)
        ]
        for generation in ("old", "new")
    ]
    registry = WebhookRegistry(sets[0])
    queue = InMemoryQueue(capacity=1_000_000)
    emitter = Emitter(webhooks=registry, queue=queue)
    errors, emitted, ready = [], [], threading.Barrier(threads + 1)

    def emit():
        try:
            ready.wait(LIMIT)
            for n in range(20):
                emitted.append(
                    [d.webhook for d in emitter.emit_change("created", "site", {"n": n})]
                )
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=emit) for _ in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait(LIMIT)
    turn = 0
    while any(worker.is_alive() for worker in workers):
        turn += 1
        registry.replace(sets[turn % 2])
    for worker in workers:
        worker.join(LIMIT)
    assert errors == []
    assert len(emitted) == threads * 20
    whole = {tuple(webhook.name for webhook in each) for each in sets}
    assert {tuple(names) for names in emitted} <= whole
    assert len(queue.deliveries) == threads * 20 * 5
    assert turn > 1
