"""From a host name to a connected socket, and every call on it within one deadline and byte budget.

``http.client`` loops in places that no time-out of its own reaches: a receiver that drips, endless
``100 Continue``, endless trailers. The limits stand where all those loops pass: in the socket.
"""

from __future__ import annotations

import concurrent.futures
import enum
import errno
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from changehook.errors import (
    AttemptError,
    ConnectError,
    DeadlineError,
    DNSError,
    ProtocolError,
    SetupError,
    TLSError,
)

__all__ = [
    "DeadlineSocket",
    "Limits",
    "Lookups",
    "Phase",
    "TLSContexts",
    "classified",
    "connect",
    "resolve",
    "secure",
]

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024
CONNECT_SECONDS = 5.0
MAX_ADDRESSES = 4
MAX_LOOKUPS = 8


class Phase(enum.StrEnum):
    """What an attempt is doing, in words that a host and port can follow."""

    LOOKUP = "looking up"
    CONNECT = "connecting to"
    PROXY = "asking the proxy for"
    TLS = "agreeing on TLS with"
    REQUEST = "sending the request to"
    HEAD = "waiting for the answer of"
    BODY = "reading the answer of"


class Limits:
    """What is left of one attempt: seconds, and bytes that may still be received. One thread's own.

    Args:
        where: host and port of the receiver, for errors.
        seconds: from now to the deadline.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, where: str, seconds: float, clock: Callable[[], float]) -> None:
        self.where = where
        self.phase = Phase.LOOKUP
        self.received = 0
        self.clock = clock
        self._seconds = seconds
        self._deadline = clock() + seconds
        self._budget = HEAD_LIMIT

    def enter(self, phase: Phase) -> None:
        """Go on to the next phase; an answer's head and its body have a budget each."""
        self.phase = phase
        self.received = 0
        self._budget = BODY_LIMIT if phase is Phase.BODY else HEAD_LIMIT

    def remaining(self) -> float:
        """Return the seconds left, more than 0.

        Raises:
            DeadlineError: none are.
        """
        seconds = self._deadline - self.clock()
        if seconds <= 0:
            raise self.late()
        return seconds

    def late(self) -> DeadlineError:
        """Return the error that says where the deadline was missed."""
        return DeadlineError(f"{self._seconds:g} s passed while {self.phase} {self.where}")

    def check_budget(self) -> None:
        """Return if more bytes may be received.

        Raises:
            ProtocolError: no more may.
        """
        if self.received >= self._budget:
            raise ProtocolError(f"the response head of {self.where} is longer than 64 KiB")

    def count(self, received: int) -> None:
        """Take note of bytes received; 0 is the end of the stream.

        Raises:
            ProtocolError: the stream ended inside the head.
        """
        self.received += received
        if received == 0 and self.received and self.phase is Phase.HEAD:
            raise ProtocolError(f"{self.where} closed the connection inside the response head")


class DeadlineSocket(socket.socket):
    """A socket whose calls end at the deadline of ``limits``, and which counts what it receives."""

    limits: Limits
    address: str

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive as ``socket.recv_into`` does, within the limits."""
        limits = self.limits
        limits.check_budget()
        self.settimeout(limits.remaining())
        try:
            received = super().recv_into(buffer, nbytes or len(buffer), flags)
        except TimeoutError:
            raise limits.late() from None
        limits.count(received)
        return received

    def send(self, data: Any, flags: int = 0) -> int:
        """Send as ``socket.send`` does, within the limits."""
        self.settimeout(self.limits.remaining())
        return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send as ``socket.sendall`` does, within the limits; TLS does it by ``send``."""
        limits = self.limits
        self.settimeout(limits.remaining())
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise limits.late() from None


class DeadlineTLSSocket(DeadlineSocket, ssl.SSLSocket):
    """The same over TLS; ``SSLContext.sslsocket_class`` makes it."""


def secure(sock: DeadlineSocket, context: ssl.SSLContext, name: str) -> DeadlineTLSSocket:
    """Return the socket after a TLS handshake for ``name``; when that fails, it is closed.

    Raises:
        DeadlineError: the deadline passed.
        OSError: TLS was not agreed on.
    """
    limits = sock.limits
    limits.enter(Phase.TLS)
    wrapped = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
    tls = cast(DeadlineTLSSocket, wrapped)
    tls.limits = limits
    try:
        # Over TLS the time-out of a socket is the time for the whole handshake, not for each read.
        tls.settimeout(limits.remaining())
        tls.do_handshake()
    except TimeoutError:
        tls.close()
        raise limits.late() from None
    except BaseException:
        tls.close()
        raise
    return tls


class TLSContexts:
    """TLS settings, each built once: reading the system's authorities takes some 20 ms."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: dict[tuple[bool, str | None], tuple[int, ssl.SSLContext]] = {}

    def get(self, verify: bool, ca_file: str | None) -> ssl.SSLContext:
        """Return the settings; a CA file that was changed since is read again.

        Raises:
            SetupError: the file cannot be read, or holds no certificate.
        """
        try:
            version = os.stat(ca_file).st_mtime_ns if ca_file else 0
            with self._lock:
                known = self._contexts.get((verify, ca_file))
                if known is None or known[0] != version:
                    known = (version, _tls_context(verify, ca_file))
                    self._contexts[verify, ca_file] = known
                return known[1]
        except OSError as error:
            reason = "holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise SetupError(f"the CA file {ca_file} cannot be used: {reason}") from None


def _tls_context(verify: bool, ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.sslsocket_class = DeadlineTLSSocket
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the numeric addresses that the system's resolver has for a name, in its order.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Lookups:
    """Looks names up in a bounded number of daemon threads, since ``getaddrinfo`` has no time-out.

    A look-up that hangs keeps its thread until the system's resolver gives up. When all of them
    hang, others wait for one, each until its own deadline.

    Args:
        resolver: returns the addresses of a name.
    """

    def __init__(self, resolver: Callable[[str, int], Sequence[str]]) -> None:
        self._resolver = resolver
        self._free = threading.BoundedSemaphore(MAX_LOOKUPS)

    def addresses(self, host: str, port: int, limits: Limits) -> list[str]:
        """Return the numeric addresses of a host; one that is an address already is not looked up.

        Raises:
            DNSError: there are none.
            DeadlineError: the deadline passed; the look-up goes on in its thread, to no effect.
        """
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        try:
            found = [str(ipaddress.ip_address(text)) for text in self._look_up(host, port, limits)]
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise DNSError(f"{host} has no address: {reason or type(error).__name__}") from None
        if not found:
            raise DNSError(f"{host} has no address")
        return found

    def _look_up(self, host: str, port: int, limits: Limits) -> Sequence[str]:
        if not self._free.acquire(timeout=limits.remaining()):
            raise limits.late()
        answer: concurrent.futures.Future[Sequence[str]] = concurrent.futures.Future()
        thread = threading.Thread(
            target=self._run, args=(host, port, answer), name="changehook-lookup", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # Python 3.12 starts no thread while the process exits; the caller still has to deliver.
            self._run(host, port, answer)
        try:
            failure = answer.exception(limits.remaining())
        except TimeoutError:
            raise limits.late() from None
        if failure is not None:
            raise failure
        return answer.result()

    def _run(self, host: str, port: int, answer: concurrent.futures.Future[Sequence[str]]) -> None:
        try:
            answer.set_result(self._resolver(host, port))
        except Exception as error:
            answer.set_exception(error)
        finally:
            self._free.release()


def connect(addresses: Sequence[str], port: int, limits: Limits) -> DeadlineSocket:
    """Return a socket that is connected to the first address that takes a connection.

    At most 4 addresses are tried. They share 5 seconds, or what is left to the deadline: each may
    use what the ones before it left, divided by how many are to come.

    Args:
        addresses: numeric, not empty.

    Raises:
        ConnectError: none took it; the error says for each why.
        DeadlineError: the deadline passed.
    """
    limits.enter(Phase.CONNECT)
    addresses = addresses[:MAX_ADDRESSES]
    end = limits.clock() + min(CONNECT_SECONDS, limits.remaining())
    failures = []
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share = max((end - limits.clock()) / left, 0.001)
        try:
            return _connected(address, port, share, limits)
        except OSError as error:
            failures.append(f"{address} {_why_not(error)}")
    limits.remaining()
    raise ConnectError(f"no connection to {limits.where}: {', '.join(failures)}")


def _connected(address: str, port: int, seconds: float, limits: Limits) -> DeadlineSocket:
    sock = DeadlineSocket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.limits, sock.address = limits, address
    try:
        sock.settimeout(seconds)
        sock.connect((address, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _why_not(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "did not answer"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "is unreachable"
    return f"failed ({errno.errorcode.get(error.errno or 0, 'unknown')})"


def classified(error: Exception, limits: Limits) -> AttemptError:
    """Return the error of this library for whatever an attempt met.

    Foreign messages are not passed on: ``http.client`` puts header values and paths into its own.
    """
    if isinstance(error, AttemptError):
        return error
    where, kind = limits.where, type(error).__name__
    if limits.phase is Phase.TLS:
        return TLSError(_tls_trouble(error, where))
    if limits.phase in (Phase.LOOKUP, Phase.CONNECT):
        return ConnectError(f"no connection to {where}: {kind}")
    if limits.phase is Phase.PROXY:
        code = re.search(r"failed: ([0-9]{3})", str(error))
        reason = f"it answered {code[1]}" if code else kind
        return ConnectError(f"the proxy opened no way to {where}: {reason}")
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return ProtocolError(f"{where} closed the connection before it answered")
    if isinstance(error, ssl.SSLError):
        return TLSError(_tls_trouble(error, where))
    if limits.phase is Phase.REQUEST:
        return SetupError(f"the request to {where} has a part that HTTP forbids")
    if isinstance(error, http.client.BadStatusLine | http.client.UnknownProtocol):
        return ProtocolError(f"{where} answered with something that is not HTTP/1")
    return ProtocolError(f"the answer of {where} cannot be read ({kind})")


def _tls_trouble(error: Exception, where: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATE_TROUBLE.get(error.verify_code)
        return f"the certificate of {where} {known or f'is not trusted: {error.verify_message}'}"
    if not isinstance(error, ssl.SSLError):
        return f"{where} closed the connection during the TLS handshake ({type(error).__name__})"
    if error.reason in _NOT_TLS:
        return f"{where} does not speak TLS"
    return f"no TLS with {where}: {error.reason or type(error).__name__}"


_CERTIFICATE_TROUBLE = {  # X509_V_ERR_* of OpenSSL
    9: "is not valid yet",
    10: "has expired",
    62: "is for another name",
    64: "is for another address",
}
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
