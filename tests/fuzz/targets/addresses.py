"""Entries of a network policy, and addresses. Parts: lines of ``allow``, lines of addresses."""

from __future__ import annotations

import ipaddress

from fuzz.harness import attempt, check_faults, texts

from changehook.errors import BlockedError, ConfigurationError
from changehook.network import Destination, NetworkPolicy

INPUTS = 5_000
WORDS = (
    *("10.0.0.0/8", "127.0.0.1", "::1", "fe80::1%1", "0.0.0.0/0", "::/0", "hooks.internal", "/32"),
    *("169.254.169.254", "fd00:ec2::254", "::ffff:", "64:ff9b::", "2002:", "2001:0:", "::5efe:"),
    *(
        "64:ff9b:1::",
        "::ffff:0:",
        "100.64.0.1",
        "198.18.0.1",
        "192.0.0.9",
        "192.88.99.1",
        "224.0.0.1",
    ),
    *("255.255.255.255", "fec0::1", "2001:db8::1", "3fff::1", "8.8.8.8", "2606:4700::1111", "*."),
)
PLACE = Destination(scheme="https", host="receiver.example", port=443)
PUBLIC_ONLY = NetworkPolicy()


def check(data: bytes) -> None:
    """What the policy lets pass is public or opened, in whatever form the address is written."""
    allow, addresses = (part.split("\n") for part in texts(data, 2))
    opened = [line for line in allow if line]
    policy, error = attempt(ConfigurationError, lambda: NetworkPolicy(allow=opened))
    if error:
        check_faults(error)
    for line in addresses:
        _check_address(line, policy or PUBLIC_ONLY)


def _check_address(line: str, policy: NetworkPolicy) -> None:
    passed, is_public = _passes(policy, line), _passes(PUBLIC_ONLY, line)
    try:
        address = ipaddress.ip_address(line)
    except ValueError:
        assert not passed
        return
    assert passed or not is_public, "an entry of allow closed an address"
    if is_public:
        # The standard library's tables have holes, but what is closed there is closed here too.
        seen = _mapped(address) or address
        assert seen.is_global
        assert not seen.is_multicast
    elif address.version == 4:
        for wrapped in _wrapped(int(address)):
            assert not _passes(PUBLIC_ONLY, wrapped), wrapped
    plain = type(address)(int(address)).exploded  # without a scope
    assert _passes(policy, plain) is passed


def _mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return getattr(address, "ipv4_mapped", None)


def _wrapped(value: int) -> list[str]:
    """Return every IPv6 address that leads to an IPv4 one, built from text or by arithmetic."""
    inside = str(ipaddress.IPv4Address(value))
    inverted = value ^ 0xFFFFFFFF
    numbers = (
        0x2002 << 112 | value << 80 | 1,  # 6to4
        0x20010000 << 96 | value << 64,  # Teredo's server
        0x20010000 << 96 | inverted,  # Teredo's client
        0x26064700 << 96 | 0x5EFE << 32 | value,  # ISATAP
        0x26064700 << 96 | 0x2005EFE << 32 | value,
    )
    prefixes = ("::ffff:", "::ffff:0:", "64:ff9b::", "64:ff9b:1::")
    compatible = [f"::{inside}"] if value > 1 else []
    return [
        *(str(ipaddress.IPv6Address(number)) for number in numbers),
        *(f"{prefix}{inside}" for prefix in prefixes),
        *compatible,
    ]


def _passes(policy: NetworkPolicy, address: str) -> bool:
    try:
        policy.check(address, PLACE)
    except BlockedError:
        return False
    return True
