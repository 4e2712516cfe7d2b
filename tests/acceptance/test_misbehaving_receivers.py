"""A receiver cannot hold a worker: every attempt ends in time, with the right class."""

import socket
import threading
import time

import pytest

from changehook import DeliveryFilter, Emitter, InMemoryQueue, NetworkPolicy, RetryPolicy, Webhook

DEADLINE = 1.0
LIMIT = 20.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"


def request_read(connection):
    """Read the request, so that nothing is in the way of the answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)


def drips_its_head(connection, stopped):
    """One byte of the head a second."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":
        connection.sendall(bytes([byte]))
        if stopped.wait(0.2):
            return


def never_answers(connection, stopped):
    """Silence."""
    stopped.wait(LIMIT)


def closes_early(connection, stopped):
    """The end, without a word."""


def closes_inside_its_head(connection, stopped):
    """A status line, and the end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")


def redirects_to_a_private_address(connection, stopped):
    """302 to the metadata service of a cloud."""
    location = b"Location: http://169.254.169.254/latest/meta-data/\r\n"
    connection.sendall(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n" + location + b"\r\n")


def drips_its_body(connection, stopped):
    """200, and then one byte a second."""
    connection.sendall(HEAD % 1000)
    while not stopped.wait(0.2):
        connection.sendall(b"x")


def sends_a_gigabyte(connection, stopped):
    """200, and then a billion bytes."""
    connection.sendall(HEAD % 10**9)
    piece = b"x" * 65536
    for _ in range(10**9 // len(piece)):
        if stopped.is_set():
            return
        connection.sendall(piece)


class Server:
    """Accepts connections and behaves."""

    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.stopped = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self):
        """Serve one connection."""
        connection, _ = self.listener.accept()
        with connection:
            try:
                request_read(connection)
                self.behaviour(connection, self.stopped)
            except OSError:
                return  # the sender cut the connection, as it should

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.listener.close()
        self.thread.join(LIMIT)


@pytest.mark.parametrize(
    ("behaviour", "error_class", "note"),
    [
        (drips_its_head, "timeout", None),
        (never_answers, "timeout", None),
        (closes_early, "protocol", None),
        (closes_inside_its_head, "protocol", None),
        (redirects_to_a_private_address, "status", None),
        (drips_its_body, None, "the deadline passed while the body was read"),
        (sends_a_gigabyte, None, "body longer than 64 KiB; the rest was not read"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_attempt_ends_within_the_deadline(behaviour, error_class, note):
    """With the right error class; or delivered, with the trouble noted."""
    queue = InMemoryQueue()
    with Server(behaviour) as server:
        webhook = Webhook(
            name="w",
            object_types=["site"],
            events=["created"],
            url=server.url,
            retry=RetryPolicy(schedule=[0]),
            timeout=DEADLINE,
        )
        emitter = Emitter(
            webhooks=[webhook], queue=queue, network=NetworkPolicy(allow=["127.0.0.1"])
        )
        emitter.emit_change("created", "site", {})
        began = time.monotonic()
        [delivery] = queue.run()
        assert time.monotonic() - began < DEADLINE + 5.0
        emitter.close()
    [attempt] = delivery.attempts
    assert (attempt.error_class, attempt.note) == (error_class, note)
    assert delivery.status == ("failed" if error_class else "delivered")
    assert len(attempt.response_body) <= 16 * 1024
    assert queue.find(DeliveryFilter(status=delivery.status)) == [delivery]
