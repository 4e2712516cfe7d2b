"""Where a URL leads: our reading of it, urllib3's and the standard library's are one."""

from __future__ import annotations

import contextlib
import socket
import urllib.parse

from fuzz.harness import attempt, text
from urllib3.util import parse_url

from changehook.exchange import Request, redact_url
from changehook.network import destination

INPUTS = 800_000
WORDS = (
    *(
        "http://",
        "https://",
        "HTTP://",
        "//",
        "\\",
        "@",
        "#",
        "?",
        "%00",
        "%2e",
        "%40",
        "xn--",
        ":80",
    ),
    *("[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[v1.a]", "127.1"),
    *("0x7f.1", "0177.0.0.1", "2130706433", "127.0.0.1.", "a.example", "hooks.example.com:8443/in"),
    *(":0", ":65536", ":080", "\t", "\n", "\u3002", "\uff0f", "\u2100", "localhost", "_sip._tcp"),
)


def check(data: bytes) -> None:
    """A URL is refused with a reason that quotes none of it, or has one reading."""
    url = text(data)
    place, error = attempt(ValueError, destination, url)
    if error:
        assert type(error) is ValueError
        assert len(url) < 12 or url not in str(error)
        return
    theirs = parse_url(url)
    standard = urllib.parse.urlsplit(url)
    assert place.scheme == theirs.scheme == standard.scheme
    assert place.host == _dialled((theirs.host or "").strip("[]"))
    assert place.host == _dialled(standard.hostname or "")
    default = {"http": 80, "https": 443}[place.scheme]
    assert place.port == (theirs.port or default) == (standard.port or default)
    assert theirs.auth is None
    assert standard.username is None
    assert destination(place.origin + place.target) == place
    assert place.target.startswith("/")
    _check_shown(url, standard)


def _dialled(host: str) -> str:
    """Return the host as the resolver reads it: a number is an address in any spelling."""
    with contextlib.suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host.removesuffix(".")))
    return host


def _check_shown(url: str, parts: urllib.parse.SplitResult) -> None:
    shown = redact_url(url) + repr(Request(method="POST", url=url, headers={}, body=b""))
    if len(parts.query) > 12:
        assert parts.query not in shown or parts.query in parts.netloc
