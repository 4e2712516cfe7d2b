"""The development receiver: prints and keeps requests, verifies them, misbehaves on request."""

from __future__ import annotations

import collections
import contextlib
import email.utils
import errno
import http.server
import re
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any, Self

import attrs

from changehook.errors import (
    ChangehookError,
    ConfigurationError,
    Fault,
    VerificationError,
    hides_locals,
)
from changehook.received import ReceivedRequest, combined, one_line, printed, to_stdout
from changehook.signing import Secret, verify

__all__ = ["Behaviour", "ReceivedRequest", "Receiver", "printed"]

LARGEST_BODY = 16 * 1024 * 1024

_PIECE = 64 * 1024
_VISIBLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_LENGTH = re.compile(r"[0-9]{1,12}")
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?\r?\n")
_CHUNK_END = re.compile(rb"\r?\n")
_TRAILER = re.compile(rb"([^\r\n]*)\r?\n")


def _secrets(value: Any) -> Any:
    values = (value,) if isinstance(value, str | Secret) else value
    return tuple(Secret(item) for item in values)


@attrs.frozen(kw_only=True)
class Behaviour:
    """How the receiver answers; without arguments with an empty 200.

    Args:
        respond: the status, 200 to 599.
        delay: seconds to wait before the answer.
        drip, drip_interval: send the head of the answer byte by byte, so many seconds apart.
        reset: break the connection off (RST) instead of answering.
        retry_after: the ``Retry-After`` to send: seconds, or a date as text.
        redirect: the ``Location`` to send; the status is then 302, unless ``respond`` is a 3xx.
        big: the length of the answer's body in bytes.
        verify: secrets, as text, ``env:NAME`` or ``Secret``; a request should be signed with one
            of them. The verdict is printed and does not change the answer.

    Raises:
        ConfigurationError: some argument cannot be used; every fault is listed.
    """

    respond: int = 200
    delay: float = 0.0
    drip: bool = False
    drip_interval: float = 1.0
    reset: bool = False
    retry_after: str | int | None = None
    redirect: str | None = None
    big: int = 0
    verify: tuple[Secret, ...] = attrs.field(default=(), converter=_secrets)

    def __attrs_post_init__(self) -> None:
        checks = (
            ("respond", "a status from 200 to 599", _is_from(200, self.respond, 599)),
            ("delay", "seconds, 0 or more", _is_from(0, self.delay)),
            ("drip_interval", "seconds, 0 or more", _is_from(0, self.drip_interval)),
            ("retry_after", "seconds or a date", _is_header(self.retry_after)),
            ("redirect", "a URL in visible ASCII characters", _is_header(self.redirect)),
            ("big", "a number of bytes, 0 or more", _is_from(0, self.big)),
        )
        faults = [Fault(f"/{name}", f"expected {what}") for name, what, good in checks if not good]
        if faults:
            raise ConfigurationError(*faults)

    @property
    def status(self) -> int:
        """The status of every answer."""
        redirects = self.redirect is not None and not 300 <= self.respond < 400
        return 302 if redirects else self.respond


Behaviour.__init__ = hides_locals(Behaviour.__init__)  # type: ignore[method-assign]  # attrs wrote it


def _is_from(least: int, value: object, most: float = sys.float_info.max) -> bool:
    return isinstance(value, int | float) and least <= value <= most


def _is_header(value: object) -> bool:
    return value is None or _VISIBLE.fullmatch(str(value)) is not None


class Receiver:
    """An HTTP server for development and tests, which prints and keeps what it receives.

    It listens from the moment it is built. As a context manager it serves in a background thread.

    Args:
        host, port: the address to listen on; port 0 for any free one.
        behaviour: how it answers.
        output: called with the text of each request, one at a time.
        on_request: called with each request, from many threads, before the request is answered.
        keep: how many requests to keep, the newest.

    Raises:
        ChangehookError: it cannot listen there, or a secret to verify with cannot be had.
    """

    @hides_locals
    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 9000,
        behaviour: Behaviour | None = None,
        output: Callable[[str], object] = to_stdout,
        on_request: Callable[[ReceivedRequest], object] = lambda request: None,
        keep: int = 1000,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self._secrets = [Secret(secret.reveal()) for secret in self.behaviour.verify]
        self._output = output
        self._on_request = on_request
        self._requests: collections.deque[ReceivedRequest] = collections.deque(maxlen=keep)
        self._count = 0
        self._changed = threading.Condition()
        self._serving = threading.RLock()
        self._thread: threading.Thread | None = None
        self._host = host
        self._server = _listen(self, host, port)

    @property
    def url(self) -> str:
        """Where to send requests, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_address[1]}"

    @property
    def banner(self) -> str:
        """The line to print before serving."""
        url = self.url.replace("//127.0.0.1:", "//localhost:")
        return f"Listening on port {url}. Stop with CONTROL-C."

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests that are kept, oldest first."""
        with self._changed:
            return list(self._requests)

    def wait_for(self, count: int, timeout: float = 10.0) -> list[ReceivedRequest]:
        """Return the requests that are kept, once ``count`` have come since the start.

        Raises:
            TimeoutError: fewer came within ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._count >= count, timeout):
                came = f"{self._count} of {count} requests came"
                raise TimeoutError(f"{came} within {timeout:g} seconds")
            return list(self._requests)

    def start(self) -> Self:
        """Serve in a background thread, and return the receiver itself."""
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()
        return self

    def serve_forever(self) -> None:
        """Serve in this thread until ``close`` is called from another one."""
        with self._serving:
            while not self._server.stopping.is_set():
                self._server.handle_request()

    def close(self) -> None:
        """Stop listening, break off what is being answered, and wait for the threads to end."""
        self._server.stopping.set()
        with self._serving:
            self._server.server_close()
        self._server.break_off()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, handler: _Handler, body: bytes) -> None:
        headers = tuple(handler.headers.items())
        verdict = self._verdict(headers, body)
        with self._changed:
            self._count += 1
            request = ReceivedRequest(
                number=self._count,
                date=email.utils.formatdate(usegmt=True),
                client=handler.client_address[0],
                request_line=handler.requestline,
                method=handler.command,
                path=handler.path,
                headers=headers,
                body=body,
                status=None if self.behaviour.reset else self.behaviour.status,
                verdict=verdict,
            )
            self._requests.append(request)
            self._output(printed(request))
            self._changed.notify_all()
        self._on_request(request)

    def _say(self, text: str) -> None:
        with self._changed:
            self._output(text)

    def _verdict(self, headers: tuple[tuple[str, str], ...], body: bytes) -> str | None:
        if not self._secrets:
            return None
        try:
            verify(body, combined(headers), self._secrets)
        except VerificationError as error:
            return f"INVALID: {error}"
        return "valid"


def _listen(receiver: Receiver, host: str, port: int) -> _Server:
    if not 0 <= port <= 65535:
        raise ConfigurationError(Fault("/port", "expected a port from 0 to 65535"))
    try:
        return _Server(receiver, host, port)
    except OSError as error:
        what = "port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
        reason = f"cannot listen on port {port} of {host}: {error.strerror}"
        raise ChangehookError(f"{reason}; choose another {what}") from None
    except (TypeError, UnicodeError):
        raise ConfigurationError(Fault("/host", "expected a host name or an address")) from None


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    timeout = 0.05

    def __init__(self, receiver: Receiver, host: str, port: int) -> None:
        self.receiver = receiver
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._ended = threading.Condition()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._ended:
            self._open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        super().close_request(request)
        with self._ended:
            self._open.discard(request)
            self._ended.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A sender that hangs up is no error of ours: who misbehaves makes senders do so.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def break_off(self) -> None:
        with self._ended:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._ended.wait_for(lambda: not self._open, timeout=5.0)


class _RefusedError(Exception):
    """A request that cannot be read; its args are the status to answer and why."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "changehook"
    sys_version = ""
    disable_nagle_algorithm = True
    server: _Server

    def answer(self) -> None:
        try:
            body = self._body()
        except _RefusedError as error:
            self._refuse(*error.args)
            return
        self.server.receiver._receive(self, body)
        behaviour = self.server.receiver.behaviour
        self.server.stopping.wait(behaviour.delay)
        if behaviour.reset:
            self._reset()
        else:
            self._respond(behaviour)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    def log_message(self, format: str, *args: object) -> None:
        self.server.receiver._say(one_line(f"{self.client_address[0]} {format % args}"))

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Print nothing: the receiver has printed the whole request."""

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return self._chunks()
        length = self.headers.get("Content-Length", "0")
        if not _LENGTH.fullmatch(length):
            raise _RefusedError(400, "the Content-Length is no number of bytes")
        return self._exactly(int(length))

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(self._framing(_CHUNK_HEAD)[1], 16):
            body += self._exactly(size, before=len(body))
            self._framing(_CHUNK_END)
        while self._framing(_TRAILER)[1]:
            pass
        return bytes(body)

    def _framing(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        match = pattern.fullmatch(self.rfile.readline(1024))
        if match is None:
            raise _RefusedError(400, "the chunks of the body are wrong or cut short")
        return match

    def _exactly(self, size: int, before: int = 0) -> bytes:
        if before + size > LARGEST_BODY:
            raise _RefusedError(413, f"the body is longer than {LARGEST_BODY} bytes")
        data = self.rfile.read(size)
        if len(data) < size:
            raise _RefusedError(400, f"the body is cut short at {before + len(data)} bytes")
        return data

    def _refuse(self, status: int, why: str) -> None:
        self.send_error(status, why)
        # To close with unread data resets the connection, and the answer may be lost: read on.
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(2.0)
        with contextlib.suppress(TimeoutError):
            while self.connection.recv(_PIECE):
                pass

    def _respond(self, behaviour: Behaviour) -> None:
        status = behaviour.status
        bodiless = status in (204, 304)
        headers = {
            "Date": self.date_time_string(),
            "Retry-After": behaviour.retry_after,
            "Location": behaviour.redirect,
            "Content-Length": None if bodiless else behaviour.big,
            "Connection": "close" if self.close_connection else None,
        }
        lines = [f"HTTP/1.1 {status} {self.responses.get(status, ('Unknown', ''))[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        self._send_head("\r\n".join([*lines, "", ""]).encode("ascii"), behaviour)
        if not bodiless and self.command != "HEAD":
            self._send_body(behaviour.big)

    def _send_head(self, head: bytes, behaviour: Behaviour) -> None:
        step = 1 if behaviour.drip else len(head)
        for start in range(0, len(head), step):
            self.wfile.write(head[start : start + step])
            if behaviour.drip and self.server.stopping.wait(behaviour.drip_interval):
                return

    def _send_body(self, size: int) -> None:
        while size > 0:
            size -= self.wfile.write(b"x" * min(size, _PIECE))

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.rfile.close()
        self.connection.close()
