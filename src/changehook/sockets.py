"""From a host name to a connected socket, and every call on it within one deadline and byte budget.

``http.client`` loops in places that no time-out of its own reaches: a receiver that drips, endless
``100 Continue``, endless trailers. The limits stand where all those loops pass: in the socket.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import enum
import errno
import http.client
import ipaddress
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
    "DeadlineTLSSocket",
    "Limits",
    "Lookups",
    "Phase",
    "classified",
    "connect",
    "numeric",
    "resolve",
    "secure",
]

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024
CONNECT_SECONDS = 5.0
MAX_ADDRESSES = 4
MAX_LOOKUPS = 8
MAX_LOOKUPS_OF_DATA = 4

_Answer = concurrent.futures.Future[Sequence[str]]


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
    """The same over TLS; a context of ``tls.TLSContexts`` makes it."""


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


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the numeric addresses that the system's resolver has for a name, in its order.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def numeric(host: str) -> str | None:
    """Return the address that a host is a number for, None when it is a name.

    Beside the usual spellings these are the ones of ``inet_aton``, which resolvers read too:
    ``2852039166``, ``127.1``, ``0x7f.1``. A trailing dot changes nothing.
    """
    bare = host.removesuffix(".")
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(bare))
    with contextlib.suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(bare))
    return None


class Lookups:
    """Looks names up in a bounded number of daemon threads, since ``getaddrinfo`` has no time-out.

    A look-up that hangs keeps its thread until the system's resolver gives up. When all of them
    hang, others wait for one, each until its own deadline. Names that come from data may use half
    of the threads, so that whoever chooses those names cannot hold up the others.

    Args:
        resolver: returns the addresses of a name.
    """

    def __init__(self, resolver: Callable[[str, int], Sequence[str]]) -> None:
        self._resolver = resolver
        self._free = threading.BoundedSemaphore(MAX_LOOKUPS)
        self._free_to_data = threading.BoundedSemaphore(MAX_LOOKUPS_OF_DATA)

    def addresses(
        self, host: str, port: int, limits: Limits, *, literal_host: bool = True
    ) -> list[str]:
        """Return the numeric addresses of a host; one that is an address already is not looked up.

        Args:
            host: a name or an address.
            port: passed on to the resolver.
            limits: those of the attempt.
            literal_host: whether the host stands literally in the definition; False: it is data.

        Raises:
            DNSError: there are none, or no thread can be started to look them up.
            DeadlineError: the deadline passed; the look-up goes on in its thread, to no effect.
        """
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        slots = (self._free,) if literal_host else (self._free_to_data, self._free)
        try:
            texts = self._look_up(host, port, limits, _taken(slots, limits))
            found = [str(ipaddress.ip_address(text)) for text in texts]
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise DNSError(f"{host} has no address: {reason or type(error).__name__}") from None
        if not found:
            raise DNSError(f"{host} has no address")
        return found

    def _look_up(
        self, host: str, port: int, limits: Limits, slots: contextlib.ExitStack
    ) -> Sequence[str]:
        answer: _Answer = concurrent.futures.Future()
        task = (host, port, answer, slots)
        thread = threading.Thread(
            target=self._run, args=task, name="changehook-lookup", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # Python 3.12 starts no thread while the process exits; the caller still has to deliver.
            # Only the words tell: neither is_finalizing() nor the main thread shows it in time.
            if "interpreter shutdown" not in str(error):
                slots.close()
                raise DNSError(f"{host} was not looked up: no thread can be started") from None
            self._run(*task)
        try:
            failure = answer.exception(limits.remaining())
        except TimeoutError:
            raise limits.late() from None
        if failure is not None:
            raise failure
        return answer.result()

    def _run(self, host: str, port: int, answer: _Answer, slots: contextlib.ExitStack) -> None:
        try:
            answer.set_result(self._resolver(host, port))
        except Exception as error:
            answer.set_exception(error)
        finally:
            slots.close()


def _taken(slots: Sequence[threading.Semaphore], limits: Limits) -> contextlib.ExitStack:
    """Return what gives all of the slots back; when one is not free in time, none is kept."""
    with contextlib.ExitStack() as taken:
        for slot in slots:
            if not slot.acquire(timeout=limits.remaining()):
                raise limits.late()
            taken.callback(slot.release)
        return taken.pop_all()


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
