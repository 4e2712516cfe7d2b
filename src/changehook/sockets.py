"""From addresses to a connected socket, and every call on it within one deadline and byte budget.

``http.client`` loops in places that no time-out of its own reaches: a receiver that drips, endless
``100 Continue``, endless trailers. The limits stand where all those loops pass: in the socket.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from changehook.errors import (
    AttemptError,
    ConnectError,
    DeadlineError,
    ProtocolError,
    TLSError,
)

__all__ = [
    "DeadlineSocket",
    "DeadlineTLSSocket",
    "Limits",
    "Phase",
    "classified",
    "connect",
    "secure",
]

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024
CONNECT_SECONDS = 5.0
MAX_ADDRESSES = 4
CRUMB = 8
RECORDS = 16 * 1024  # bytes that pass between OpenSSL and the network at once


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
        self.address: str | None = None
        self.clock = clock
        self._seconds = seconds
        self._deadline = clock() + seconds
        self._budget = HEAD_LIMIT

    def enter(self, phase: Phase) -> None:
        """Go on to the next phase; an answer's head and its body have a budget each."""
        self.phase = phase
        self._budget = BODY_LIMIT if phase is Phase.BODY else HEAD_LIMIT
        if phase is not Phase.BODY:
            self.received = 0

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
        """Return if more bytes may come from the network.

        Raises:
            TLSError: no more may, and TLS is not agreed on yet.
            ProtocolError: no more may.
        """
        if self._budget > 0:
            return
        if self.phase is Phase.TLS:
            raise TLSError(f"{self.where} sent more than 64 KiB before TLS was agreed on")
        raise ProtocolError(f"the response head of {self.where} is longer than 64 KiB")

    def spend(self, received: int) -> None:
        """Take note of bytes that came from the network, those of TLS included.

        Receiving has its price for each call as well: bytes that come one by one cost as eight.
        """
        self._budget -= max(received, CRUMB)

    def count(self, received: int) -> None:
        """Take note of bytes of an answer; 0 is the end of the stream.

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
        received = self._receive(buffer, nbytes or len(buffer), flags)
        self.limits.count(received)
        return received

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send as ``socket.sendall`` does, within the limits."""
        limits = self.limits
        self.settimeout(limits.remaining())
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise limits.late() from None

    def pending(self) -> int:
        """Return how many bytes were taken from the network and given to nobody yet."""
        return 0

    def _receive(self, buffer: Any, nbytes: int, flags: int = 0) -> int:
        limits = self.limits
        limits.check_budget()
        self.settimeout(limits.remaining())
        try:
            received = super().recv_into(buffer, nbytes, flags)
        except TimeoutError:
            raise limits.late() from None
        limits.spend(received)
        return received


class DeadlineTLSSocket(DeadlineSocket):
    """The same over TLS.

    It is no ``ssl.SSLSocket``: OpenSSL alone with a socket reads on in C, past every deadline, for
    as long as records without data come, such as session tickets. Here it reads from memory, and
    whatever gets there has passed the limits.
    """

    _tls: ssl.SSLObject

    def handshake(self, context: ssl.SSLContext, name: str) -> None:
        """Agree on TLS with the receiver of this name."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._perform(self._tls.do_handshake)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive within the limits; a stream that ends without TLS's own end has ended too."""
        try:
            received: int = self._perform(self._tls.read, nbytes or len(buffer), buffer)
        except ssl.SSLEOFError:
            received = 0
        self.limits.count(received)
        return received

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send within the limits."""
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                sent += self._perform(self._tls.write, view[sent : sent + RECORDS])

    def pending(self) -> int:
        """Return how many bytes were taken from the network and given to nobody yet."""
        return self._tls.pending() + self._incoming.pending

    def _perform(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a step of TLS returns, after moving the bytes that it needs and makes."""
        while True:
            try:
                result = step(*arguments)
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert that tells the receiver what is wrong
                raise
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if self._outgoing.pending:
            super().sendall(self._outgoing.read())

    def _fill(self) -> None:
        buffer = bytearray(RECORDS)
        received = self._receive(buffer, RECORDS)
        if received:
            self._incoming.write(memoryview(buffer)[:received])
        else:
            self._incoming.write_eof()


def secure(sock: DeadlineSocket, context: ssl.SSLContext, name: str) -> DeadlineTLSSocket:
    """Return the socket after a TLS handshake for ``name``; when that fails, it is closed.

    Raises:
        DeadlineError: the deadline passed.
        TLSError: the handshake was too long.
        OSError: TLS was not agreed on.
    """
    sock.limits.enter(Phase.TLS)
    tls = DeadlineTLSSocket(sock.family, sock.type, sock.proto, sock.detach())
    tls.limits, tls.address = sock.limits, sock.address
    try:
        tls.handshake(context, name)
    except BaseException:
        tls.close()
        raise
    return tls


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
    limits.address = address
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
    if isinstance(error, ConnectionError):
        return ProtocolError(f"{where} closed the connection before it answered")
    if isinstance(error, ssl.SSLError):
        return TLSError(_tls_trouble(error, where))
    if limits.phase is Phase.REQUEST:
        return ProtocolError(f"the request to {where} could not be sent ({kind})")
    return ProtocolError(f"the answer of {where} cannot be read ({kind})")


def _tls_trouble(error: Exception, where: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATE_TROUBLE.get(error.verify_code)
        return f"the certificate of {where} {known or _untrusted(error)}"
    if isinstance(error, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"{where} closed the connection during the TLS handshake ({type(error).__name__})"
    reason = getattr(error, "reason", None) or type(error).__name__
    if reason in _NOT_TLS:
        return f"{where} does not speak TLS"
    return f"no TLS with {where}: {_TLS_TROUBLE.get(reason, '')}{reason}"


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    """Return OpenSSL's words, and what to write where an authority of one's own is missing."""
    hint = "; name the file of its authority in ca_file_path"
    known = error.verify_code in _UNKNOWN_AUTHORITY
    return f"is not trusted: {error.verify_message}{hint if known else ''}"


_CERTIFICATE_TROUBLE = {  # X509_V_ERR_* of OpenSSL
    9: "is not valid yet",
    10: "has expired",
    62: "is for another name",
    64: "is for another address",
}
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_TLS_TROUBLE = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of the sender, who has none: ",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no version that is safe, 1.2 or later: ",
    "UNSUPPORTED_PROTOCOL": "it speaks no version that is safe, 1.2 or later: ",
}
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
