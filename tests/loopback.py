"""The witness that nothing is dialled or looked up outside this machine: an audit hook.

A name given straight to ``socket.connect`` is the one thing that is resolved unseen.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Callable
from typing import Any

# TCP to these fails in the kernel, and nothing is sent: a broadcast, and a link without its name.
UNSENDABLE = ("255.255.255.255", "fe80::1")

left: list[str] = []


def is_address(host: str) -> bool:
    """True for every text that the resolver reads as a number, such as 127.1 or fe80::1%2."""
    with contextlib.suppress(OSError):
        return bool(socket.inet_aton(host))
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


def is_local(host: str) -> bool:
    """True when packets to this host stay on this machine."""
    if host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def watch_connect(sock: socket.socket, address: Any) -> str | None:
    """Return the host when a socket is about to reach outside."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or address is None:
        return None
    harmless = is_local(address[0]) or address[0] in UNSENDABLE
    return None if harmless else str(address[0])


def watch_lookup(host: Any, *_: object) -> str | None:
    """Return the name when a resolver is about to be asked for it."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name is None or is_local(name) or is_address(name):
        return None
    # The event does not carry the flags; with this one the resolver only parses.
    flags = sys._getframe(2).f_locals.get("flags", 0)
    return None if flags & socket.AI_NUMERICHOST else str(name)


def watch_reverse_lookup(host: Any) -> str | None:
    """Return the address when a resolver is about to be asked for its name."""
    name = host[0] if isinstance(host, tuple) else host
    return None if is_local(name) else str(name)


WATCHED: dict[str, Callable[..., str | None]] = {
    "socket.connect": watch_connect,
    "socket.sendto": watch_connect,
    "socket.sendmsg": watch_connect,
    "socket.getaddrinfo": watch_lookup,
    "socket.gethostbyname": watch_lookup,
    "socket.gethostbyaddr": watch_reverse_lookup,
    "socket.getnameinfo": watch_reverse_lookup,
}


def guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what would leave this machine, and remember it: a test may catch the refusal."""
    watch = WATCHED.get(event)
    host = watch and watch(*arguments)
    if host:
        left.append(f"{event} {host}")
        raise RuntimeError(f"tests stay on loopback, and this is {event} of {host}")


def watch() -> None:
    """Refuse from now on, in this process and in what it forks, whatever leaves this machine."""
    sys.addaudithook(guard)
