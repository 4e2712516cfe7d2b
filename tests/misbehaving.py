"""Receivers on loopback that answer as told, mostly badly; each connection has its own thread."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

from changehook.exchange import Request

LIMIT = 20.0  # seconds that a test waits for a thing before it fails
DRIP = 0.1  # seconds between two bytes of a receiver that drips
MEBIBYTE = b"x" * 1024 * 1024

Behaviour = Callable[["Peer"], Any]


def answer(
    status: str = "200 OK", body: bytes = b"ok", *headers: str, length: bool = True
) -> bytes:
    """Return the bytes of an HTTP/1.1 response."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def post(url: str, **changes: object) -> Request:
    """Return a small POST request."""
    values = {
        "method": "POST",
        "url": url,
        "headers": {"Content-Type": "application/json", "User-Agent": "changehook/test"},
        "body": b"{}",
        "timeout": LIMIT,
        **changes,
    }
    return Request(**values)


class Peer:
    """One connection of a server: what a behaviour reads from and writes to."""

    def __init__(self, server: Server, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self._data = b""

    def read_request(self) -> bytes:
        """Return the next request, head and body; empty at the end of the stream."""
        while True:
            head, blank, rest = self._data.partition(b"\r\n\r\n")
            length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            wanted = int(length or 0)
            if blank and len(rest) >= wanted:
                self._data = rest[wanted:]
                self.server.requests.append(head + blank + rest[:wanted])
                return self.server.requests[-1]
            more = self.sock.recv(65536)
            if not more:
                self.server.hangups.release()
                return b""
            self._data += more

    def send(self, data: bytes) -> None:
        """Send bytes, and count them."""
        self.sock.sendall(data)
        self.server.sent += len(data)

    def drip(self, data: Iterator[int] | bytes, seconds: float = DRIP) -> None:
        """Send one byte at a time until the test is over."""
        for byte in data:
            if self.server.stop.wait(seconds):
                return
            self.send(bytes([byte]))

    def endless(self, data: bytes) -> None:
        """Send the same for ever: until the other side has gone."""
        while not self.server.stop.is_set():
            self.send(data)

    def silence(self) -> None:
        """Do nothing until the test is over."""
        self.server.stop.wait(LIMIT)

    def reset(self) -> None:
        """End the connection with a reset instead of an end of stream."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class Server:
    """Accepts connections on loopback and lets a behaviour deal with each.

    Args:
        behaviour: is called with each connection; after it returns, the connection is closed.
        context: TLS settings of a receiver that speaks TLS.
    """

    def __init__(self, behaviour: Behaviour, *, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.sent = 0
        self.stop = threading.Event()
        self.hangups = threading.Semaphore(0)
        self.closed = threading.Semaphore(0)
        self._behaviour = behaviour
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Server:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            for number in itertools.count(1):
                sock, _ = self._listener.accept()
                self.connections = number
                self._open.add(sock)
                thread = threading.Thread(target=self._serve, args=(sock, number), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), sock.dup() as line:
            line.settimeout(LIMIT)
            with self._wrapped(line) as speaking:
                self._behaviour(Peer(self, speaking, number))
        self._open.discard(sock)
        sock.close()
        self.closed.release()

    def _wrapped(self, sock: socket.socket) -> socket.socket:
        if self._context is None:
            return sock
        try:
            return self._context.wrap_socket(sock, server_side=True)
        except OSError:
            sock.close()
            raise


def well(peer: Peer) -> None:
    """Answer every request with 200 and keep the connection."""
    while peer.read_request():
        peer.send(answer())


def echo(peer: Peer) -> None:
    """Answer every request with 200 and its own body, and keep the connection."""
    while request := peer.read_request():
        peer.send(answer("200 OK", request.partition(b"\r\n\r\n")[2]))


def says(data: bytes, *, then: Behaviour = echo) -> Behaviour:
    """Return a behaviour that reads one request, sends these bytes and goes on with ``then``."""

    def behave(peer: Peer) -> None:
        peer.read_request()
        peer.send(data)
        then(peer)

    return behave


def hangs_up(peer: Peer) -> None:
    """Close the connection now."""


def proxy(peer: Peer) -> None:
    """Behave as an HTTP proxy that finds every host on 127.0.0.1, at the port asked for."""
    head = peer.read_request()
    method, target, _ = head.split(b" ", 2)
    port = re.search(rb":([0-9]+)(/|$)", target)
    assert port is not None
    with socket.create_connection(("127.0.0.1", int(port[1])), timeout=LIMIT) as other:
        if method == b"CONNECT":
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            other.sendall(head)
        back = threading.Thread(target=_relay, args=(other, peer.sock), daemon=True)
        back.start()
        _relay(peer.sock, other)
        back.join(LIMIT)


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _reads_slowly(peer: Peer) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while not peer.server.stop.wait(DRIP):
        peer.sock.recv(1000)


def _early_413(peer: Peer) -> None:
    peer.sock.recv(1000)
    peer.send(answer("413 Content Too Large", b"no", "Connection: close"))
    peer.sock.shutdown(socket.SHUT_WR)
    while peer.sock.recv(65536):
        pass


def many(line: bytes, times: int) -> bytes:
    """Return an answer with a header line, many times."""
    return b"HTTP/1.1 200 OK\r\n" + line * times + b"Content-Length: 2\r\n\r\nok"


def drips(data: bytes) -> Behaviour:
    """Return a behaviour that sends these bytes again and again, slowly."""
    return lambda peer: peer.drip(itertools.cycle(data))


def endless(data: bytes) -> Behaviour:
    """Return a behaviour that sends these bytes again and again."""
    return lambda peer: peer.endless(data)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CODINGS = ", ".join(["gzip"] * 100)

# Those of the attack corpus keep their names there.
BEHAVIOURS: dict[str, Behaviour] = {
    "normal": says(answer()),
    "infinite_body_no_length": says(OK + b"\r\n", then=endless(MEBIBYTE)),
    "infinite_body_chunked": says(CHUNKED, then=endless(b"100000\r\n" + MEBIBYTE + b"\r\n")),
    "huge_content_length": says(
        OK + b"Content-Length: 1000000000000\r\n\r\n", then=endless(MEBIBYTE)
    ),
    "drip_body": says(OK + b"Content-Length: 500\r\n\r\nfirst", then=drips(b"x")),
    "drip_headers": says(OK + b"X-Long: ", then=drips(b"x")),
    "half_headers_then_silent": says(OK + b"X-Ha"),
    "content_encoding_100": says(answer("200 OK", b"ok", f"Content-Encoding: {CODINGS}")),
    "bad_gzip": says(answer("200 OK", b"not gzip", "Content-Encoding: gzip")),
    "unknown_encoding": says(answer("200 OK", b"ok", "Content-Encoding: nonesuch")),
    "giant_header_line": says(many(b"X-Giant: " + b"x" * 3 * 1024 * 1024 + b"\r\n", 1)),
    "headers_99x60k": says(many(b"X-Big: " + b"x" * 60_000 + b"\r\n", 99)),
    "one_103": says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer()),
    "switching_101": says(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", then=endless(b"x" * 1000)
    ),
    "close_mid_headers": says(OK + b"Content-Le", then=hangs_up),
    "chunk_garbage": says(CHUNKED + b"ZZ\r\nok\r\n0\r\n\r\n"),
    "chunk_ext_infinite": says(CHUNKED + b"2;", then=endless(b"x" * 1000)),
    "chunk_size_underscore": says(CHUNKED + b"0_2\r\nok\r\n0\r\n\r\n"),
    "trailers_infinite": says(CHUNKED + b"2\r\nok\r\n0\r\n", then=endless(b"X-T: 1\r\n" * 100)),
    "cl_negative": says(OK + b"Content-Length: -1\r\n\r\nok", then=hangs_up),
    "garbage_status": says(b"\x16\x03\x01\x02garbage\r\n\r\n"),
    "status_999": says(answer("999 What")),
    "http2_preface": says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", then=hangs_up),
    "header_no_colon": says(OK + b"no colon here\r\nContent-Length: 2\r\n\r\nok"),
    "header_non_ascii": says(answer("200 OK", b"ok", "X-\u00e9: <script>\u00ff")),
    "redirect_self": says(answer("302 Found", b"", "Location: /again")),
    "redirect_infinite_body": says(
        answer("302 Found", b"", "Location: /again", length=False), then=endless(MEBIBYTE)
    ),
    "retry_after_4": says(answer("503 Busy", b"", "Retry-After: 4")),
    "body_on_204": says(answer("204 No Content", b"surprise")),
    "reads_slowly": _reads_slowly,
    "early_413_close": _early_413,
    # More of the kind.
    "never_answers": says(b""),
    "closes_without_answer": says(b"", then=hangs_up),
    "resets_without_answer": says(b"", then=Peer.reset),
    "closes_after_status_line": says(OK, then=hangs_up),
    "drip_status": says(b"", then=drips(b"HTTP/1.1 200 OK")),
    "continue_flood": says(b"", then=endless(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "continue_drip": says(b"", then=drips(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "continue_once": says(b"HTTP/1.1 100 Continue\r\n\r\n" + answer()),
    "http_2_0": says(b"HTTP/2.0 200 OK\r\n\r\n"),
    "too_many_headers": says(many(b"X: 1\r\n", 200)),
    "drip_chunk_size": says(CHUNKED + b"5\r\nfirst\r\n", then=drips(b"0")),
    "drip_chunks": says(CHUNKED, then=drips(b"1\r\nx\r\n")),
    "chunk_negative": says(CHUNKED + b"-5\r\nhello\r\n", then=endless(b"x" * 1000)),
    "chunk_huge": says(CHUNKED + b"f" * 100 + b"\r\nhello", then=hangs_up),
    "cut_body": says(OK + b"Content-Length: 500\r\n\r\nfirst", then=hangs_up),
    "cut_chunk": says(CHUNKED + b"50\r\nfirst", then=hangs_up),
    "until_close": says(OK + b"\r\nall of it", then=hangs_up),
    "error_500": says(answer("500 Oops", b"trace")),
    "gone_410": says(answer("410 Gone", b"")),
    "folded_header": says(OK + b"X-Folded: one\r\n  two\r\nContent-Length: 2\r\n\r\nok"),
}

SURPLUS = answer("200 OK", b"smuggled")


def chunked(data: bytes) -> bytes:
    """Return data as one chunk, and the end."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


def at_boundary(surplus: bytes) -> bytes:
    """Return an answer of just the size that is read at once, and what comes after it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: "
    end = b"\r\n\r\nok"
    return head + b"x" * (8192 - len(head) - len(end)) + end + surplus


# Answers to a request, from its body; none may reach another request.
STEPS: dict[str, Callable[[bytes], bytes]] = {
    "well": lambda own: answer("200 OK", own),
    "chunked": lambda own: CHUNKED + chunked(own),
    "continue": lambda own: b"HTTP/1.1 100 Continue\r\n\r\n" + answer("200 OK", own),
    "hints": lambda own: b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer("200 OK", own),
    "surplus": lambda own: answer("200 OK", own) + SURPLUS,
    "surplus_half": lambda own: answer("200 OK", own) + SURPLUS[:12],
    "surplus_chunked": lambda own: CHUNKED + chunked(own) + SURPLUS,
    "surplus_at_boundary": lambda own: at_boundary(SURPLUS),
    "short": lambda own: answer("200 OK", own)[:-1],
    "no_content": lambda own: answer("204 No Content", SURPLUS),
    "not_modified": lambda own: answer("304 Not Modified", SURPLUS),
    "unclear": lambda own: answer("200 OK", b"ok", "Transfer-Encoding: chunked") + SURPLUS,
    "lengths": lambda own: answer("200 OK", own, "Content-Length: 0") + SURPLUS,
    "failure": lambda own: answer("500 Oops", own) + SURPLUS,
    "garbage": lambda own: b"garbage\r\n" + SURPLUS,
}


def steps(peer: Peer) -> None:
    """Answer each request in the way that its body begins with; hang up where that is short."""
    while request := peer.read_request():
        own = request.partition(b"\r\n\r\n")[2]
        name = own.decode().partition(" ")[0]
        peer.send(STEPS[name](own))
        if name == "short":
            return
