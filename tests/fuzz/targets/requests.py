"""The bytes of a request, through the handler of the development receiver."""

from __future__ import annotations

import re
import socket

from fuzz.targets.signatures import SECRETS

from changehook.receiver import Behaviour, Receiver, printed

INPUTS = 40_000
WORDS = (
    *("POST / HTTP/1.1\r\n", "GET /", " HTTP/1.0\r\n", " HTTP/0.9\r\n", "HEAD ", "Host: a\r\n"),
    *("Content-Length: ", "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n", "\r\n\r\n"),
    *("Connection: keep-alive\r\n", "X-Hook-Signature: ", "webhook-signature: v1,", "0\r\n\r\n"),
    *("5;x=y\r\n", "ffffffff\r\n", "\x1b[31m", "\u202e", "\x85", "\r\n ", "-1", "+5", "1_0"),
)
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Near(socket.socket):
    """One end of a pair of sockets, which has no TCP to be set."""

    def setsockopt(self, level: int, *option: object) -> None:
        assert level == socket.IPPROTO_TCP


PRINTED: list[str] = []
RECEIVER = Receiver(port=0, behaviour=Behaviour(verify=SECRETS), output=PRINTED.append, keep=100)


def check(data: bytes) -> None:
    """Every request is answered or refused, and nothing is printed that a terminal obeys."""
    PRINTED.clear()
    left, far = socket.socketpair()
    with far, Near(fileno=left.detach()) as near:
        far.sendall(data)
        far.shutdown(socket.SHUT_WR)
        RECEIVER._server.finish_request(near, ("127.0.0.1", 9))
        near.close()
    assert not any(UNPRINTABLE.search(text) for text in PRINTED)
    for request in RECEIVER.requests:
        assert request.verdict is not None
        assert len(request.body) <= len(data)
        assert printed(request)
    RECEIVER._requests.clear()
