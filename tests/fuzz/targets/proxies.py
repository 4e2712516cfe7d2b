"""The URL of a proxy."""

from __future__ import annotations

from fuzz.harness import attempt, text

from changehook.errors import ConfigurationError
from changehook.network import Destination
from changehook.transport import HTTPTransport

INPUTS = 400_000
WORDS = (
    *("http://", "https://", "socks5://", "user:password@", "%40", "%3A", "%00", "%0d%0a", ":3128"),
    *(
        "[::1]",
        "[fe80::1%25eth0]",
        "proxy.example",
        "//",
        "@",
        ":",
        "/",
        "?",
        "#",
        "\r\n",
        "\udc80",
    ),
)

EXPECTED = "http://host:port, or http://user:password@host:port"  # which every error tells


def check(data: bytes) -> None:
    """The URL is refused without being quoted, or gives a host, a port and one header."""
    url = text(data)
    transport, error = attempt(ConfigurationError, lambda: HTTPTransport(proxy=url))
    if error:
        assert len(url) < 20 or url in EXPECTED or url not in str(error)
        return
    proxy = transport._proxy
    assert proxy is not None
    assert Destination(scheme="http", host=proxy.host, port=proxy.port)  # raises for a wrong host
    assert set(proxy.headers) <= {"proxy-authorization"}
    assert all(value.isascii() and value.isprintable() for value in proxy.headers.values())
