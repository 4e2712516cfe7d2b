"""A receiver on loopback that remembers every webhook it got, also from senders that died."""

from __future__ import annotations

import collections
import heapq
import json
import random
import selectors
import socket
import time
from typing import Any

from serving import OneThread

LIMIT = 20.0
ANSWERS = {
    status: f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode() for status in (200, 500)
}

Change = tuple[int, str]
"""The number of a change, and the webhook that it was sent to."""


class Ledger(OneThread):
    """Answers 200, sometimes late, and sometimes 500; one thread, keep-alive.

    Args:
        chance: decides on the answers.
        failures: the share of the requests that are answered 500.
        delays: the share of the requests that are answered a little later.
    """

    def __init__(
        self, chance: random.Random, *, failures: float = 0.05, delays: float = 0.2
    ) -> None:
        self.ids: dict[Change, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.bodies: dict[Change, set[bytes]] = collections.defaultdict(set)
        self._chance = chance
        self._failures = failures
        self._delays = delays
        self._late: list[tuple[float, int, socket.socket, bytes]] = []
        super().__init__(backlog=512)

    def _serve(self) -> None:
        while True:
            wait = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            for key, _ in self._selector.select(wait):
                if key.fileobj is self._stopped:
                    return
                if key.fileobj is self._listener:
                    connection = self._listener.accept()[0]
                    self._selector.register(connection, selectors.EVENT_READ, bytearray())
                else:
                    self._read(key.fileobj, key.data)
            while self._late and self._late[0][0] <= time.monotonic():
                self._send(*heapq.heappop(self._late)[2:])

    def _read(self, connection: Any, buffer: bytearray) -> None:
        try:
            piece = connection.recv(65536)
        except OSError:  # its sender was killed
            piece = b""
        if not piece:
            self._selector.unregister(connection)
            connection.close()
            return
        buffer += piece
        head, blank, rest = bytes(buffer).partition(b"\r\n\r\n")
        lines = [line.partition(": ")[::2] for line in head.decode().split("\r\n")[1:]]
        headers = {name.lower(): value for name, value in lines}
        if blank and len(rest) >= int(headers["content-length"]):
            del buffer[:]
            self._note(head.split(b" ")[1].decode().strip("/"), headers["webhook-id"], rest)
            self._answer(connection)

    def _note(self, webhook: str, delivery_id: str, body: bytes) -> None:
        change = json.loads(body)["data"]["number"], webhook
        self.ids[change][delivery_id] += 1
        self.bodies[change].add(body)

    def _answer(self, connection: socket.socket) -> None:
        answer = ANSWERS[500 if self._chance.random() < self._failures else 200]
        if self._chance.random() < self._delays:
            at = time.monotonic() + self._chance.uniform(0, 0.03)
            heapq.heappush(self._late, (at, id(connection), connection, answer))
        else:
            self._send(connection, answer)

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        if connection.fileno() >= 0:
            try:
                connection.send(answer)
            except OSError:
                return  # its sender was killed
