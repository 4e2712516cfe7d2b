"""The bytes that a receiver answers with, through the real transport and a pair of sockets."""

from __future__ import annotations

import socket

from fuzz.harness import attempt

from changehook.errors import AttemptError
from changehook.exchange import Request, Response
from changehook.network import Destination
from changehook.sockets import DeadlineSocket, Limits
from changehook.transport import HTTPTransport

INPUTS = 40_000
WORDS = (
    *("HTTP/1.1 200 OK\r\n", "HTTP/1.0 ", "HTTP/2 200\r\n", "100 Continue\r\n\r\n", "103 ", "204 "),
    *(
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "Connection: keep-alive\r\n",
        "\r\n\r\n",
    ),
    *(
        "Content-Encoding: gzip\r\n",
        "Retry-After: 60\r\n",
        "Location: /\r\n",
        "0\r\n\r\n",
        "5;x=y\r\n",
    ),
    *(
        "-1",
        "ffffffffffffffff",
        "1_0",
        "0x10",
        "+5",
        "\r\n ",
        "\r",
        "\x85",
        ": ",
        "Content-Type: text/",
    ),
)
REQUEST = Request(
    method="POST",
    url="http://receiver.example/path-of-the-hook?key=s3cret",
    headers={"Authorization": "Bearer t0ken"},
    body=b"{}",
    timeout=8.0,
)
WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nthe other"


class Wired(HTTPTransport):
    """The transport, connected to answers that are there already."""

    answers: list[bytes]
    far: list[socket.socket]

    def _dial(self, place: Destination, literal_host: bool, limits: Limits) -> DeadlineSocket:
        near, far = socket.socketpair()
        far.sendall(self.answers.pop(0))
        far.shutdown(socket.SHUT_WR)
        self.far.append(far)  # kept open: the request is written into its buffer
        sock = DeadlineSocket(fileno=near.detach())
        sock.limits, sock.address = limits, "192.0.2.1"
        return sock


def check(data: bytes) -> None:
    """An answer gives a response within its bounds or an error, and is not part of the next one."""
    transport = Wired()
    transport.answers, transport.far = [data, WELL], []
    try:
        response, error = attempt(AttemptError, transport.send, REQUEST)
        if error:
            _check_error(str(error))
        else:
            _check(response)
        if len(transport.answers) == 1:
            assert transport.send(REQUEST).body == b"the other"
    finally:
        transport.close()
        for far in transport.far:
            far.close()


def _check_error(message: str) -> None:
    assert "s3cret" not in message
    assert "t0ken" not in message
    assert message.isprintable()


def _check(response: Response) -> None:
    assert 200 <= response.status <= 599
    assert len(response.body) <= 16 * 1024
    assert response.note is None or (response.note.isprintable() and len(response.note) < 200)
    for name, value in response.headers.items():
        assert name == name.lower()
        assert not {"\r", "\n"} & {*name, *value}
