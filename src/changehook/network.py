"""NetworkPolicy: which schemes, hosts, ports and addresses may be called. Nothing is resolved."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Iterable
from typing import Any

import attrs

from changehook.errors import BlockedError, ConfigurationError, Fault

__all__ = ["Destination", "NetworkPolicy", "destination"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL = 8192
_PORTS = {"http": 80, "https": 443}
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]|\\")
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[([^\]]*:[^\]]*)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\.?\Z){_LABEL}(?:\.{_LABEL})*\.?")
_NUMBER = re.compile(r"(?:[^:]*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")


def _plain(host: str) -> str:
    """Return the address that a host is a number for, as ``inet_aton`` reads it; a name as it is.

    Parsers disagree on ``0300.1`` and ``127.0.0.1.``; nobody is handed such a spelling.
    """
    if not _NUMBER.fullmatch(host):
        return host
    try:
        return socket.inet_ntoa(socket.inet_aton(host.removesuffix(".")))
    except OSError:
        raise ValueError(
            "the host ends in a number and is not an IPv4 address; write four numbers from 0 to "
            "255, with dots between them"
        ) from None


def _check_host(_: object, __: object, host: str) -> None:
    if not (_is_ipv6(host) if ":" in host else _NAME.fullmatch(host)):
        raise ValueError(
            'the host is not valid; write a name of letters, digits, "-", "_" and ".", an IPv4 '
            "address, or an IPv6 address in brackets and without a zone"
        )


def _check_port(_: object, __: object, port: int) -> None:
    if not 1 <= port <= 65535:
        raise ValueError("the port is not valid; write a number from 1 to 65535")


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


@attrs.frozen(kw_only=True)
class Destination:
    """Where a URL leads. The repr hides path and query, which may hold a secret.

    Args:
        scheme: ``http`` or ``https``.
        host: lower case, ASCII, an IPv6 address without brackets; the last dot of a name is kept.
            A number in another spelling, such as ``127.1``, becomes the address.
        port: 1 to 65535.
        target: path and query as sent, at least ``/``.

    Raises:
        ValueError: scheme, host or port is not valid.
    """

    scheme: str = attrs.field(validator=attrs.validators.in_(tuple(_PORTS)))
    host: str = attrs.field(converter=_plain, validator=_check_host)
    port: int = attrs.field(validator=_check_port)
    target: str = attrs.field(default="/", repr=False)

    @property
    def address(self) -> str | None:
        """The host when it is an address, None when it is a name."""
        return self.host if ":" in self.host or _NUMBER.fullmatch(self.host) else None

    @property
    def origin(self) -> str:
        """Scheme, host and port as a URL: what an error may show."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def destination(url: str) -> Destination:
    """Return where an absolute URL leads; a fragment is dropped.

    The grammar is narrower than RFC 3986, so that no two parsers can read a URL differently.

    Args:
        url: percent-encoded ASCII, at most 8,192 characters.

    Raises:
        ValueError: the URL is refused; the message quotes no part of it.
    """
    if len(url) > LONGEST_URL:
        raise ValueError(f"longer than {LONGEST_URL} characters; send data in the body instead")
    if _UNPRINTABLE.search(url):
        raise ValueError(
            "holds a space, a control character, a backslash or a character beyond ASCII; "
            "percent-encode it (or, in a host, write the A-label, xn--...)"
        )
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ValueError("expected an absolute URL such as https://example.com/hook")
    scheme, authority, path, query = parts.groups(default="")
    scheme = scheme.lower()
    host, port = _host_and_port(authority)
    return Destination(
        scheme=scheme, host=host, port=int(port or _PORTS[scheme]), target=(path or "/") + query
    )


def _host_and_port(authority: str) -> tuple[str, str]:
    if "@" in authority:
        raise ValueError("holds user information; send credentials in a header instead")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ValueError(
            "expected a host after the two slashes, an IPv6 address in brackets, then at most a "
            "colon and a port from 1 to 65535"
        )
    ipv6, name, port = parts.groups(default="")
    return (ipv6 or name).lower(), port


@attrs.frozen
class _Rule:
    name: str
    network: _Network
    never: bool


# Own tables, because the standard library's flags are wrong for ten classes of addresses and differ
# between releases. From IANA's registries of special-purpose addresses (RFC 6890) and of the IPv6
# address space (RFC 4291), and the cloud providers' documentation. The first match counts.
_NEVER, _INTERNAL = True, False
_TABLE = (
    (_NEVER, "cloud metadata", "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200"),
    (_NEVER, "cloud metadata", "168.63.129.16 192.0.0.192 fd00:ec2::/32 fd20:ce::254"),
    (_NEVER, "cloud metadata", "fd00:c1::a9fe:a9fe fd00:100::100:200 fd00:a9fe:a9fe::1"),
    (_NEVER, "cloud metadata", "fd00:42::42 100.96.0.96 100.80.80.80 100.88.222.5 192.80.8.124"),
    (_NEVER, "link-local", "169.254.0.0/16 fe80::/10"),
    (_NEVER, "unspecified", "0.0.0.0/8 ::"),
    (_NEVER, "broadcast", "255.255.255.255"),
    (_NEVER, "multicast", "224.0.0.0/4 ff00::/8"),
    (_NEVER, "site-local", "fec0::/10"),
    (_NEVER, "for documentation", "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24"),
    (_NEVER, "for documentation", "2001:db8::/32 3fff::/20"),
    (_INTERNAL, "loopback", "127.0.0.0/8 ::1"),
    (_INTERNAL, "private (RFC 1918)", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"),
    (_INTERNAL, "private (unique local, RFC 4193)", "fc00::/7"),
    (_INTERNAL, "private (carrier-grade NAT, RFC 6598)", "100.64.0.0/10"),
    (_INTERNAL, "private (benchmarking, RFC 2544)", "198.18.0.0/15"),
    (_NEVER, "local NAT64 (RFC 8215)", "64:ff9b:1::/48"),
    (_NEVER, "reserved", "192.0.0.0/24 192.88.99.0/24 240.0.0.0/4 2001::/23 ::/8 100::/8 200::/7"),
    (_NEVER, "reserved", "400::/6 800::/5 1000::/4 4000::/2 8000::/2 c000::/3 e000::/4 f000::/5"),
    (_NEVER, "reserved", "f800::/6 fe00::/9"),
)
_RULES = {
    version: tuple(
        _Rule(name, network, never)
        for never, name, networks in _TABLE
        for network in map(ipaddress.ip_network, networks.split())
        if network.version == version
    )
    for version in (4, 6)
}

_TRANSPARENT = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
# Where an IPv6 address carries an IPv4 one: the network, the bits to its right, a mask to invert.
_EMBEDDINGS = tuple(
    (ipaddress.IPv6Network(network), shift, mask)
    for network, shift, mask in (
        ("::ffff:0:0/96", 0, 0),  # IPv4-mapped, RFC 4291
        ("::/96", 0, 0),  # IPv4-compatible, RFC 4291
        ("::ffff:0:0:0/96", 0, 0),  # SIIT, RFC 2765
        ("64:ff9b::/96", 0, 0),  # NAT64, RFC 6052
        ("2002::/16", 80, 0),  # 6to4, RFC 3056
        ("2001::/32", 64, 0),  # Teredo's server, RFC 4380
        ("2001::/32", 0, 0xFFFFFFFF),  # Teredo's client
    )
)


_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


def _nat64_views(value: int) -> list[_Address]:
    """Return the IPv4 addresses that may stand behind a local NAT64 prefix (RFC 6052, 8215).

    Its network decides how long the prefix is: 48, 56, 64 or 96 bits. With the first three, bits 64
    to 71 are 0 and skipped; what then begins with 0 is no address that anything is sent to.
    """
    places = {value & 0xFFFFFFFF}
    if value >> 56 & 0xFF == 0:
        without = value >> 64 << 56 | value & (1 << 56) - 1
        places |= {without >> 120 - length - 32 & 0xFFFFFFFF for length in (48, 56, 64)}
        places = {place for place in places if place >> 24} or {0}
    return [ipaddress.IPv4Address(place) for place in sorted(places)]


def _views(address: _Address) -> list[_Address]:
    """Return every address that may be reached by dialling this one."""
    value = int(address)
    if address.version == 4 or value <= 1:  # :: and ::1 look IPv4-compatible and are not
        return [address]
    views: list[_Address] = [
        ipaddress.IPv4Address((value >> shift & 0xFFFFFFFF) ^ mask)
        for network, shift, mask in _EMBEDDINGS
        if address in network
    ]
    if address in _LOCAL_NAT64:
        views += _nat64_views(value)
    if value >> 32 & 0xFCFFFFFF == 0x00005EFE:  # ISATAP, RFC 5214
        views.append(ipaddress.IPv4Address(value & 0xFFFFFFFF))
    is_transparent = any(address in network for network in _TRANSPARENT)
    return views if is_transparent else [address, *views]


def _rule_for(address: _Address) -> _Rule | None:
    return next((rule for rule in _RULES[address.version] if address in rule.network), None)


def _opens(entry: _Network, address: _Address, rule: _Rule) -> bool:
    return address in entry and (
        not rule.never
        or any(
            _is_within(entry, other.network)
            for other in _RULES[address.version]
            if other.never and address in other.network
        )
    )


def _is_within(inner: _Network, outer: _Network) -> bool:
    return inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _as_tuple(allow: object) -> tuple[Any, ...]:
    if isinstance(allow, str | bytes) or not isinstance(allow, Iterable):
        raise ConfigurationError(Fault("/allow", 'expected a list such as ["10.0.0.0/8"]'))
    return tuple(allow)


def _check_flag(_: object, __: object, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(Fault("/internal_hosts", "expected True or False"))


def _entries(allow: tuple[object, ...]) -> frozenset[_Network | str]:
    entries = [_entry(value, f"/allow/{index}") for index, value in enumerate(allow)]
    faults = [entry for entry in entries if isinstance(entry, Fault)]
    if faults:
        raise ConfigurationError(*faults)
    return frozenset(entry for entry in entries if not isinstance(entry, Fault))


def _entry(value: object, pointer: str) -> _Network | str | Fault:
    text = value.lower() if isinstance(value, str) and value.isascii() else ""
    if _NAME.fullmatch(text) and not _NUMBER.fullmatch(text):
        return text.removesuffix(".")
    try:
        network = ipaddress.ip_network("" if "%" in text else text, strict=False)
    except ValueError:
        return Fault(
            pointer,
            'expected an address such as "10.1.2.3", a network such as "10.0.0.0/8" or a host name '
            'such as "hooks.internal", without scheme, port, path, brackets, zone or wildcard',
        )
    message = _network_fault(network, ipaddress.ip_address(text.partition("/")[0]))
    return Fault(pointer, message) if message else network


def _network_fault(network: _Network, address: _Address) -> str | None:
    if address != network.network_address:
        return (
            f'has bits set beyond the prefix; write "{network}" for the whole network or '
            f'"{address}" for the one address'
        )
    if any(_is_within(network, outer) for outer in _TRANSPARENT):
        inside = ipaddress.IPv4Network((int(address) & 0xFFFFFFFF, network.prefixlen - 96))
        return f'stands for IPv4 addresses, which are checked in its place; write "{inside}"'
    return None


@attrs.frozen(kw_only=True)
class NetworkPolicy:
    """Which addresses may be called: only public ones, unless ``allow`` opens others.

    Every address that a host resolves to is checked, and so is an IPv4 address inside an IPv6 one
    (IPv4-mapped, IPv4-compatible, SIIT, NAT64, 6to4, Teredo, ISATAP), except behind a NAT64 prefix
    of the network's own, which cannot be recognised.

    An address or network in ``allow`` opens the private and loopback addresses within it. Cloud
    metadata, link-local, multicast and reserved addresses it opens only when all of it lies in such
    a range: ``169.254.169.254`` and ``169.254.0.0/16`` do, ``0.0.0.0/0`` does not. A name opens the
    private and loopback addresses of exactly that host.

    Args:
        allow: addresses, networks in CIDR notation, and host names.
        internal_hosts: whether private and loopback addresses are open for hosts that stand
            literally in a definition; ``NetworkPolicy.internal()`` sets it.

    Raises:
        ConfigurationError: some entry of ``allow`` is none of these; every fault is listed.
    """

    allow: tuple[str, ...] = attrs.field(default=(), converter=_as_tuple)
    internal_hosts: bool = attrs.field(default=False, validator=_check_flag)
    _opened: frozenset[_Network | str] = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda self: _entries(self.allow), takes_self=True),
    )

    @classmethod
    def internal(cls, allow: Iterable[str] = ()) -> NetworkPolicy:
        """Return a policy that also opens private and loopback addresses for literal hosts.

        A host that comes from data stays public-only unless ``allow`` opens it.
        ``allow`` and the errors are those of the class.
        """
        return cls(allow=allow, internal_hosts=True)

    def check(self, address: str, destination: Destination, *, literal_host: bool = True) -> None:
        """Return when the address may be dialled for the destination.

        Args:
            address: numeric, as it will be dialled.
            destination: where the URL leads.
            literal_host: whether the host stands literally in the definition; False: it is data.

        Raises:
            BlockedError: it may not; the message says which rule, and the argument that opens it.
        """
        host = destination.host
        try:
            scoped = ipaddress.ip_address(address)
        except ValueError:
            raise BlockedError(f"an address of host {host} is not numeric") from None
        parsed = type(scoped)(int(scoped))  # without its scope, which no rule asks for
        by_host = host.removesuffix(".") in self._opened or (self.internal_hosts and literal_host)
        closed = {
            view: rule
            for view in _views(parsed)
            if (rule := _rule_for(view)) and not self._is_open(view, rule, by_host)
        }
        if closed:
            reason = self._reason(parsed, closed, literal_host)
            raise BlockedError(f"{parsed} (host {host}) {reason}")

    def _is_open(self, address: _Address, rule: _Rule, by_host: bool) -> bool:
        if by_host and not rule.never:
            return True
        return any(
            _opens(entry, address, rule) for entry in self._opened if not isinstance(entry, str)
        )

    def _reason(self, dialled: _Address, closed: dict[_Address, _Rule], literal_host: bool) -> str:
        what = " and ".join(
            f"is {rule.name}" if address == dialled else f"holds {address}, which is {rule.name}"
            for address, rule in closed.items()
        )
        policy = "NetworkPolicy.internal" if self.internal_hosts else "NetworkPolicy"
        allow = [*self.allow, *map(str, closed)]
        hint = f"{policy}(allow={json.dumps(allow)}) opens it"
        if literal_host or not self.internal_hosts or any(rule.never for rule in closed.values()):
            return f"{what}; {hint}"
        return f"{what}, and internal() opens no host that comes from data; {hint}"
