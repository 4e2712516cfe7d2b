"""One request to an address that the network policy approved, within one deadline.

Strategy: ``urllib3.connection.HTTPConnection`` writes the request and keeps the connection, but its
pools are not used: they write path and query to the host's log, give no deadline to a proxy's
tunnel, and change a shared TLS context at every connection. The socket under each connection
carries the limits (``sockets``); the address is checked where the socket is made, so that the Host
header, SNI and the certificate's name stay those of the URL.
"""

from __future__ import annotations

import contextlib
import functools
import http
import http.client
import logging
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import attrs
from urllib3.connection import HTTPConnection
from urllib3.util import make_headers

from changehook.answers import Answer, kept_headers, read_body
from changehook.errors import (
    BlockedError,
    ConfigurationError,
    ConnectError,
    DeadlineError,
    ProtocolError,
    SetupError,
    hides_locals,
)
from changehook.exchange import Request, Response, forbidden
from changehook.forks import after_fork_in_child
from changehook.idle import IdleConnections
from changehook.interfaces import Resolver
from changehook.lookups import Lookups, resolve
from changehook.network import Destination, NetworkPolicy, destination
from changehook.sockets import (
    DeadlineSocket,
    Limits,
    Phase,
    classified,
    connect,
    secure,
)
from changehook.tls import TLSContexts

__all__ = ["HTTPTransport", "resolve"]

logger = logging.getLogger(__name__)

PUBLIC_ONLY = NetworkPolicy()

Key = tuple[str, str, int, bool, ssl.SSLContext | None]
Dial = Callable[[Limits], DeadlineSocket]


class HTTPTransport:
    """Sends requests over HTTP/1.1 and keeps the connections; shared by any number of threads.

    Delivery is at least once: a request on a kept connection that the receiver closed meanwhile is
    repeated at once on a new one, when not one byte of an answer came. The delivery's id makes a
    duplicate recognisable.

    Args:
        network: which addresses may be called; checked on each address at the moment it is dialled.
        resolver: returns the numeric addresses of a name.
        proxy: ``http://host:port`` of an HTTP proxy, with ``user:password@`` if it wants them.
            Its own address is not checked. Of receivers only numeric hosts are: names are looked up
            by the proxy, which has to hold the network policy then. A warning in the log says so.
        max_pools: for how many destinations idle connections are kept.
        clock: a monotonic clock in seconds, for the deadline.

    Raises:
        ConfigurationError: ``proxy`` is not such a URL.
    """

    _idle: IdleConnections[_Connection]
    _contexts: TLSContexts
    _lookups: Lookups

    @hides_locals
    def __init__(
        self,
        *,
        network: NetworkPolicy = PUBLIC_ONLY,
        resolver: Resolver = resolve,
        proxy: str | None = None,
        max_pools: int = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network = network
        self._resolver = resolver
        self._proxy = None if proxy is None else _Proxy.from_url(proxy)
        if self._proxy is not None:
            logger.warning(_UNCHECKED)
        self._max_pools = max_pools
        self._clock = clock
        self._inherited: list[object] = []
        self._reset()
        after_fork_in_child(self._after_fork)

    @hides_locals
    def send(self, request: Request, /) -> Response:
        """Return the receiver's answer, whatever its status: a complete response head is an answer.

        Trouble in the body after it is told in ``Response.note``.

        Raises:
            AttemptError: there is no complete response head with a status from 200 to 599; the
                class says why.
        """
        try:
            place = destination(request.url)
        except ValueError as error:
            raise SetupError(f"the URL cannot be called: {error}") from None
        if (what := forbidden(request)) is not None:
            raise SetupError(f"the request to {place.origin} cannot be sent: {what}")
        limits = Limits(place.origin.partition("//")[2], request.timeout, self._clock)
        try:
            return self._send(request, place, limits)
        except Exception as error:
            failed = classified(error, limits)
            failed.address = limits.address
            raise failed from None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The proxy's credentials, which it may quote."""
        return () if self._proxy is None else self._proxy.secrets

    def close(self) -> None:
        """Close idle connections. Sending afterwards is allowed and opens new ones."""
        idle, self._idle = self._idle, IdleConnections(self._max_pools, self._clock)
        idle.close()

    def _reset(self) -> None:
        self._idle = IdleConnections(self._max_pools, self._clock)
        self._contexts = TLSContexts()
        self._lookups = Lookups(self._resolver)

    def _after_fork(self) -> None:
        """Start anew, and keep what the parent still uses from being closed here."""
        self._inherited += [self._idle, self._contexts, self._lookups]
        self._reset()

    def _send(self, request: Request, place: Destination, limits: Limits) -> Response:
        secured = place.scheme == "https"
        context = self._contexts.get(request.verify, request.ca_file) if secured else None
        key = (place.scheme, place.host, place.port, request.literal_host, context)
        idle = self._idle
        kept = idle.take(key)
        if kept is not None:
            try:
                return _exchange(kept, request, place, limits, idle)
            except ConnectionError:
                if limits.received:
                    raise
            except DeadlineError:
                if not limits.received:
                    idle.forget(key)
                raise
        return _exchange(self._new_connection(key, place), request, place, limits, idle)

    def _new_connection(self, key: Key, place: Destination) -> _Connection:
        kind = _Connection if key[-1] is None else _TLSConnection
        if self._proxy is None:
            dial = functools.partial(self._dial, place, key[3])
            return kind(place.host, place.port, key=key, dial=dial)
        proxy = self._proxy
        dial = functools.partial(self._dial_proxy, proxy, place, key[3])
        connection = kind(proxy.host, proxy.port, key=key, dial=dial, proxy=proxy)
        if key[-1] is not None:
            connection.set_tunnel(place.host, place.port, headers=proxy.headers)
        return connection

    def _dial(self, place: Destination, literal_host: bool, limits: Limits) -> DeadlineSocket:
        found = self._lookups.addresses(place.host, place.port, limits, literal_host=literal_host)
        check = functools.partial(self._network.check, literal_host=literal_host)
        return connect(_permitted(found, place, check), place.port, limits)

    def _dial_proxy(
        self, proxy: _Proxy, place: Destination, literal_host: bool, limits: Limits
    ) -> DeadlineSocket:
        if place.address is not None:
            self._network.check(place.address, place, literal_host=literal_host)
        found = self._lookups.addresses(proxy.host, proxy.port, limits)
        try:
            return connect(found, proxy.port, limits)
        except ConnectError as error:
            raise ConnectError(f"the proxy cannot be reached: {error}") from None


def _permitted(
    addresses: Sequence[str], place: Destination, check: Callable[[str, Destination], None]
) -> list[str]:
    """Return the addresses that the policy permits; when it permits none, raise for the first."""
    permitted = []
    refusals = []
    for address in addresses:
        try:
            check(address, place)
            permitted.append(address)
        except BlockedError as error:
            refusals.append(error)
    if not permitted:
        raise refusals[0]
    return permitted


@attrs.frozen(kw_only=True)
class _Proxy:
    """An HTTP proxy; ``headers`` hold the credentials, which are the ``secrets``."""

    host: str
    port: int
    headers: dict[str, str] = attrs.field(repr=False)
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)

    @classmethod
    def from_url(cls, url: str) -> _Proxy:
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, 80 if parts.port is None else parts.port
            if parts.scheme != "http" or not host or parts.path.strip("/") or "?" in url:
                raise ValueError
            if "#" in url or not (url.isascii() and url.isprintable()):
                raise ValueError
            place = Destination(scheme="http", host=host, port=port)
            credentials = urllib.parse.unquote(parts.netloc.rpartition("@")[0])
            headers = make_headers(proxy_basic_auth=credentials) if credentials else {}
        except ValueError:
            raise ConfigurationError(
                "proxy: expected http://host:port, or http://user:password@host:port"
            ) from None
        user, _, password = credentials.partition(":")
        secrets = (credentials, user, password, *headers.values())
        return cls(host=place.host, port=place.port, headers=dict(headers), secrets=secrets)


_UNCHECKED = (
    "with a proxy the network policy is applied to numeric hosts only: the proxy looks names up "
    "and has to refuse internal addresses itself"
)


class _Connection(HTTPConnection):
    """A connection that carries one request at a time within the limits of its attempt."""

    debuglevel = 0  # whatever the host sets on HTTPConnection: it would print every header
    response_class = Answer
    limits: Limits
    address: str

    def __init__(
        self, host: str, port: int, *, key: Key, dial: Dial, proxy: _Proxy | None = None
    ) -> None:
        super().__init__(host, port)
        self.key = key
        self._dial = dial
        self._forwarder = proxy if key[-1] is None else None

    def ask(self, request: Request, place: Destination, limits: Limits) -> Answer:
        """Return the answer to a request, its body not read yet."""
        self.limits = limits
        if isinstance(self.sock, DeadlineSocket):
            self.sock.limits = limits
            limits.address = self.address
        else:
            self.connect()
        limits.enter(Phase.REQUEST)
        # A receiver may answer and close before it has read the whole request: look for the answer.
        with contextlib.suppress(ConnectionError):
            self._write(request, place)
        limits.enter(Phase.HEAD)
        # Not urllib3's: that one writes the path to the log when a header is malformed.
        return cast(Answer, http.client.HTTPConnection.getresponse(self))

    def connect(self) -> None:
        super().connect()
        name, context = self.key[1], self.key[-1]
        if context is not None:
            self.sock = secure(cast(DeadlineSocket, self.sock), context, name.rstrip("."))

    def _new_conn(self) -> socket.socket:
        limits = self.limits
        limits.enter(Phase.LOOKUP)
        sock = self._dial(limits)
        self.address = sock.address
        limits.enter(Phase.PROXY)
        return sock

    def check_status(self, status: int) -> None:
        """Raise for a status that is not the receiver's final answer."""
        where = self.limits.where
        if self._forwarder is not None and status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise ConnectError(f"the proxy opened no way to {where}: it answered {status}")
        if not 200 <= status <= 599:
            raise ProtocolError(f"{where} answered {status}; a final status is from 200 to 599")

    def _write(self, request: Request, place: Destination) -> None:
        target, headers = place.target, request.headers
        if self._forwarder is not None:
            target = place.origin.removesuffix(":80") + target
            headers = {**headers, **self._forwarder.headers}
        self.request(request.method, target, body=request.body or None, headers=headers)


class _TLSConnection(_Connection):
    default_port: ClassVar[int] = 443  # type: ignore[misc]  # http.client has it as an instance's


def _exchange(
    connection: _Connection,
    request: Request,
    place: Destination,
    limits: Limits,
    idle: IdleConnections[_Connection],
) -> Response:
    try:
        with contextlib.closing(connection.ask(request, place, limits)) as answer:
            connection.check_status(answer.status)
            body, note = read_body(answer, limits)
            sock = cast(DeadlineSocket | None, connection.sock)
            usable = note is None and sock is not None and answer.is_all(sock)
    except BaseException:
        connection.close()
        raise
    if usable:
        idle.give(connection)
    else:
        connection.close()
    headers, address = kept_headers(answer.fields), connection.address
    return Response(status=answer.status, headers=headers, body=body, note=note, address=address)
