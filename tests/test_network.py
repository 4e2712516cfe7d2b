"""The network policy: which URLs and addresses may be called, and what opens the others."""

from __future__ import annotations

import ipaddress
import json
import pickle
import re
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from changehook.errors import BlockedError, ConfigurationError
from changehook.network import Destination, NetworkPolicy, destination

PUBLIC = NetworkPolicy()
INTERNAL = NetworkPolicy.internal()
PLACE = destination("https://hooks.test/T000/B000?token=s3cret")
IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)
WRAPPERS = ("::ffff:0:0/96 0", "64:ff9b::/96 0", "2002::/16 80")


def refusal(
    policy: NetworkPolicy, address: str, place: Destination = PLACE, *, literal_host: bool = True
) -> str | None:
    """Return why the policy refuses the address, or None when it does not."""
    try:
        policy.check(address, place, literal_host=literal_host)
    except BlockedError as error:
        return str(error)
    return None


def hint(reason: str) -> list[str]:
    """Return the ``allow`` argument that a refusal recommends."""
    found = re.search(r"allow=(\[.*?\])\) opens it$", reason)
    assert found, reason
    allow: list[str] = json.loads(found[1])
    return allow


def faults(allow: Any) -> dict[str, str]:
    """Return the faults of an ``allow`` argument by pointer."""
    with pytest.raises(ConfigurationError) as caught:
        NetworkPolicy(allow=allow)
    return {fault.pointer: fault.message for fault in caught.value.faults}


# --- URLs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://example.com", "https://example.com:443", "/"),
        ("http://example.com/", "http://example.com:80", "/"),
        ("HTTPS://Example.COM/Path?Q=1#part", "https://example.com:443", "/Path?Q=1"),
        ("https://example.com?q=/?&r", "https://example.com:443", "/?q=/?&r"),
        ("https://example.com#@10.0.0.1/", "https://example.com:443", "/"),
        ("https://example.com/a@b:c//d%20", "https://example.com:443", "/a@b:c//d%20"),
        ("http://my_service:8080/", "http://my_service:8080", "/"),
        ("http://localhost./", "http://localhost.:80", "/"),
        ("http://xn--bcher-kva.example:65535/", "http://xn--bcher-kva.example:65535", "/"),
        ("http://192.0.2.1:1/", "http://192.0.2.1:1", "/"),
        ("http://192.0.2.1./", "http://192.0.2.1:80", "/"),
        ("http://0300.2.1/", "http://192.2.0.1:80", "/"),
        ("http://0XC0000201:81/", "http://192.0.2.1:81", "/"),
        ("http://1.test/", "http://1.test:80", "/"),
        ("http://[2001:DB8::1]/x", "http://[2001:db8::1]:80", "/x"),
        ("https://[::ffff:8.8.8.8]:8443", "https://[::ffff:8.8.8.8]:8443", "/"),
        (f"http://{'a' * 63}.test/", f"http://{'a' * 63}.test:80", "/"),
    ],
)
def test_an_absolute_url_is_taken_apart(url: str, origin: str, target: str) -> None:
    """Scheme, host and port are normalised, path and query kept, the fragment dropped."""
    place = destination(url)
    assert (place.origin, place.target) == (origin, target)
    assert "[" not in place.host


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "absolute URL"),
        ("/s3cret", "absolute URL"),
        ("example.com/s3cret", "absolute URL"),
        ("//example.com/s3cret", "absolute URL"),
        ("https:example.com/s3cret", "absolute URL"),
        ("https:/example.com/s3cret", "absolute URL"),
        ("file:///etc/s3cret", "absolute URL"),
        ("gopher://example.com/s3cret", "absolute URL"),
        ("http+unix://%2Fvar%2Frun%2Fdocker.sock/s3cret", "absolute URL"),
        ("https:///s3cret", "expected a host"),
        ("https://?s3cret", "expected a host"),
        ("https://:80/s3cret", "expected a host"),
        ("https://user:s3cret@example.com/", "user information"),
        ("https://s3cret@example.com/", "user information"),
        ("https://@example.com/", "user information"),
        ("http://example.com:80@169.254.169.254/", "user information"),
        (" https://example.com/s3cret", "holds a space"),
        ("https://example.com/s3cret x", "holds a space"),
        ("https://example.com/s3cret\r\nX: y", "holds a space"),
        ("https://example.com/s3cret\n", "holds a space"),
        ("https://example.com\\@10.0.0.1/s3cret", "a backslash"),
        ("https://example.com/s3cret\x00", "control character"),
        ("https://example.com/s3cr\u00e9t", "beyond ASCII"),
        ("https://b\u00fccher.example/", "A-label"),
        ("https://localho\u017ft/", "A-label"),
        ("https://\uff11\uff12\uff17.0.0.1/", "A-label"),
        ("https://example.com:0/s3cret", "the port is not valid"),
        ("https://example.com:65536/s3cret", "the port is not valid"),
        ("https://example.com:/s3cret", "a port from 1 to 65535"),
        ("https://example.com:123456/s3cret", "a port from 1 to 65535"),
        ("https://example.com:-1/s3cret", "a port from 1 to 65535"),
        ("https://example.com:80:90/s3cret", "a port from 1 to 65535"),
        ("https://example.com:s3cret/", "a port from 1 to 65535"),
        ("https://::1/s3cret", "brackets"),
        ("https://[::1]s3cret/", "brackets"),
        ("https://[::1/s3cret", "brackets"),
        ("https://[example.com]/s3cret", "brackets"),
        ("https://[::1].example.com/s3cret", "brackets"),
        ("https://[1::2::3]/s3cret", "the host is not valid"),
        ("https://[fe80::1%25eth0]/s3cret", "the host is not valid"),
        ("https://[fe80::1%eth0]/s3cret", "the host is not valid"),
        ("https://127.0.0.1%2f.example.com/s3cret", "the host is not valid"),
        ("https://4294967296/s3cret", "ends in a number and is not an IPv4 address"),
        ("https://127.0.0.256/s3cret", "ends in a number and is not an IPv4 address"),
        ("https://09.0.0.1/s3cret", "ends in a number and is not an IPv4 address"),
        ("https://0x/s3cret", "ends in a number and is not an IPv4 address"),
        ("https://example.com.1/s3cret", "ends in a number and is not an IPv4 address"),
        ("https://example.com%00.test/s3cret", "the host is not valid"),
        ("https://.example.com/s3cret", "the host is not valid"),
        ("https://example..com/s3cret", "the host is not valid"),
        ("https://example.com../s3cret", "the host is not valid"),
        ("https://./s3cret", "the host is not valid"),
        ("https://-example.com/s3cret", "the host is not valid"),
        ("https://exa!mple.com/s3cret", "the host is not valid"),
        (f"https://{'a' * 64}.test/s3cret", "the host is not valid"),
        (f"https://{'a.' * 127}test/s3cret", "the host is not valid"),
        (f"https://example.com/{'s3cret' * 2000}", "longer than 8192 characters"),
    ],
)
def test_an_unclear_url_is_refused(url: str, problem: str) -> None:
    """A URL that parsers could read differently is refused, and the message quotes none of it."""
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        destination(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"scheme": "ftp"}, {"host": "a b"}, {"host": "A"}, {"host": "256.1"}, {"port": 0}]
)
def test_a_destination_is_checked_when_built(change: dict[str, Any]) -> None:
    """A destination that no URL could give cannot be built by hand either."""
    with pytest.raises(ValueError, match=r"scheme|host|port"):
        attrs.evolve(PLACE, **change)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.1/", "127.0.0.1"),
        ("http://[::1]/", "::1"),
        ("http://1.test./", None),
        ("http://0xg/", None),
    ],
)
def test_a_destination_knows_an_address_from_a_name(url: str, address: str | None) -> None:
    """A host that is an address in any spelling is that address, and a name is none."""
    assert destination(url).address == address


def test_a_destination_hides_path_and_query() -> None:
    """What may hold a secret is neither in the repr nor in the origin."""
    assert PLACE.target == "/T000/B000?token=s3cret"
    assert "T000" not in f"{PLACE!r} {PLACE} {PLACE.origin}"


URL_TEXT = st.text("htps:/@[]?#.%\\ \n0189afx-_e\u00e9\u017f", max_size=30)


@given(st.one_of(st.text(), URL_TEXT, URL_TEXT.map("http://".__add__)))
@example("http://[:]/")
@example("http://[::%]/")
def test_any_text_is_a_destination_or_a_value_error(text: str) -> None:
    """No text fails otherwise, and what is accepted is plain and reads the same again."""
    try:
        place = destination(text)
    except ValueError:
        return
    assert re.fullmatch(r"[a-z0-9_.:-]+", place.host)
    assert re.fullmatch(r"/[!-~]*|/\?[!-~]*", place.target)
    assert destination(place.origin + place.target) == place


# --- Addresses ----------------------------------------------------------------------------------

CLOSED = {
    "loopback": "127.0.0.0 127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 "
    "2002:7f00:1::1 2606:4700::5efe:7f00:1 2606:4700::200:5efe:7f00:1",
    "private (RFC 1918)": "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 "
    "192.168.255.255 ::ffff:10.0.0.1 2002:a00:1:: 2606:4700::5efe:a00:1",
    "private (unique local, RFC 4193)": "fc00:: fdff:ffff::1 fd12::1",
    "private (carrier-grade NAT, RFC 6598)": "100.64.0.0 100.127.255.255 64:ff9b::6440:7",
    "private (benchmarking, RFC 2544)": "198.18.0.0 198.19.255.255",
    "local NAT64 (RFC 8215)": "64:ff9b:1::808:808 64:ff9b:1:a9fe:a9:fe00:808:808",
    "cloud metadata": "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 "
    "169.254.170.23 fd00:ec2:: fd00:ec2::254 fd20:ce::254 fd00:c1::a9fe:a9fe fd00:100::100:200 "
    "fd00:a9fe:a9fe::1 fd00:42::42 100.96.0.96 100.80.80.80 100.88.222.5 192.80.8.124 "
    "::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1",
    "link-local": "169.254.0.0 169.254.255.255 fe80:: fe80::1%2 fe80::1%eth0 febf:ffff::1",
    "unspecified": "0.0.0.0 0.255.255.255 :: ::ffff:0.0.0.0",
    "broadcast": "255.255.255.255",
    "multicast": "224.0.0.0 224.0.0.251 239.255.255.255 ff00:: ff02::1 ffff::",
    "site-local": "fec0:: feff:ffff::1",
    "for documentation": "192.0.2.0 198.51.100.255 203.0.113.9 2001:db8::1 3fff::1 3fff:fff::1",
    "reserved": "192.0.0.0 192.0.0.255 192.88.99.1 240.0.0.0 255.255.255.254 2001::1 2001:1ff::1 "
    "::2 ::808:808 ::ffff:0:808:808 64:ff9b::1:0:0 64:ff9b:2::1 100::1 200::1 400::1 "
    "800::1 1fff::1 4000::1 5f00::1 8000::1 dfff::1 e000::1 f000::1 f800::1 fbff::1 fe00::1 "
    "fe7f::1 2001:0:808:808::f7f7:f7f7",
}
OPEN = (
    "1.0.0.0 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 "
    "126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 "
    "192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 2000:: 2001:200::1 "
    "2606:4700:4700::1111 2a00::1 3ffe::1 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1 "
    "2606:4700::5efe:808:808"
)


@pytest.mark.parametrize("name", CLOSED)
def test_addresses_that_are_not_public_are_closed(name: str) -> None:
    """Every class of address that is not public is refused by name, also inside another one.

    ``internal()`` opens the loopback and the private classes and no other.
    """
    is_internal = name.startswith(("loopback", "private"))
    for address in CLOSED[name].split():
        assert f" {name}" in (refusal(PUBLIC, address) or ""), address
        assert (refusal(INTERNAL, address) is None) is is_internal, address


def test_public_addresses_are_open() -> None:
    """Public addresses are open, right up to the edges of the closed ranges."""
    assert [each for each in OPEN.split() if refusal(PUBLIC, each)] == []


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("::7f00:1", "127.0.0.1"),
        ("::ffff:0:7f00:1", "127.0.0.1"),
        ("64:ff9b:1::a00:1", "10.0.0.1"),
        ("2001:0:a00:1::f7f7:f7f7", "10.0.0.1"),
        ("2001:0:808:808::80ff:fffe", "127.0.0.1"),
        ("2002:a9fe:a9fe::1", "169.254.169.254"),
        ("fe80::5efe:a00:1", "10.0.0.1"),
    ],
)
def test_what_an_address_holds_stays_closed_when_the_address_is_opened(
    address: str, inside: str
) -> None:
    """Opening an IPv6 address does not open the IPv4 address inside it."""
    assert f"holds {inside}, which is" in (refusal(NetworkPolicy(allow=[address]), address) or "")
    assert refusal(NetworkPolicy(allow=[address, inside]), address) is None


@pytest.mark.parametrize(
    "answer",
    ["", "hooks.test", "127.1", "010.0.0.1", "2130706433", "8.8.8.8%", "8.8.8.8%1", "::1%"],
)
def test_what_is_not_a_plain_numeric_address_is_refused(answer: str) -> None:
    """A resolver's answer that cannot be checked is refused."""
    assert refusal(PUBLIC, answer) == "an address of host hooks.test is not numeric"


def test_a_scope_changes_no_verdict() -> None:
    """What is behind the percent sign is no part of the address, of its rule or of the advice."""
    assert refusal(PUBLIC, "2606:4700::1%2") is None
    assert refusal(PUBLIC, "ff02::1%eth0") == refusal(PUBLIC, "ff02::1")
    assert refusal(NetworkPolicy(allow=["fe80::1"]), "fe80::1%eth0") is None


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:a9fe:a9:fe00:808:808",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1:0:a9:fea9:fe00:0",
        "64:ff9b:1:7f00:0:100:808:808",
    ],
)
def test_a_local_nat64_address_is_read_in_every_layout(address):
    """Which one its network uses cannot be known, so each has to be open."""
    policy = NetworkPolicy(allow=["64:ff9b:1::/48"])
    found = refusal(policy, address)
    assert "holds 169.254.169.254" in found or "holds 127.0.0.1" in found
    assert refusal(policy, "64:ff9b:1::808:808") is None
    assert refusal(policy, "64:ff9b:1:808:8:800::") is None


def test_a_flag_is_true_or_false():
    """Text that says no is not taken for yes."""
    with pytest.raises(ConfigurationError, match="/internal_hosts: expected True or False"):
        NetworkPolicy(internal_hosts="no")


def test_what_an_error_tells_to_write_keeps_what_was_open():
    """The argument that it names opens the address, beside all that was open before."""
    found = refusal(NetworkPolicy(allow=["10.0.0.1"]), "10.0.0.2")
    assert found.endswith('NetworkPolicy(allow=["10.0.0.1", "10.0.0.2"]) opens it')


def test_a_refusal_says_what_opens_it_and_hides_the_rest() -> None:
    """The message has address, host, rule and the argument that opens it, but no path or query."""
    assert refusal(PUBLIC, "10.1.2.3") == (
        "10.1.2.3 (host hooks.test) is private (RFC 1918); "
        'NetworkPolicy(allow=["10.1.2.3"]) opens it'
    )
    assert refusal(PUBLIC, "64:ff9b:1::7f00:1") == (
        "64:ff9b:1::7f00:1 (host hooks.test) is local NAT64 (RFC 8215) and holds "
        "127.0.0.1, which is loopback; "
        'NetworkPolicy(allow=["64:ff9b:1::7f00:1", "127.0.0.1"]) opens it'
    )


@given(st.one_of(IPV4, IPV6), st.booleans(), st.booleans())
def test_every_address_gets_a_verdict_and_the_advice_holds(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, internal: bool, literal_host: bool
) -> None:
    """Any address is open or refused, and the argument that a refusal names opens exactly it."""
    policy = NetworkPolicy(internal_hosts=internal)
    reason = refusal(policy, str(address), literal_host=literal_host)
    if reason is None:
        return
    opened = attrs.evolve(policy, allow=hint(reason))
    assert refusal(opened, str(address), literal_host=literal_host) is None
    assert not literal_host or not internal or refusal(PUBLIC, str(address))


@given(IPV4, st.sampled_from(WRAPPERS))
def test_a_wrapped_address_has_the_verdict_of_what_is_inside(
    address: ipaddress.IPv4Address, wrapper: str
) -> None:
    """An IPv4 address is as open or closed as its IPv4-mapped, NAT64 and 6to4 forms."""
    network, shift = wrapper.split()
    base = int(ipaddress.IPv6Network(network).network_address)
    wrapped = str(ipaddress.IPv6Address(base | int(address) << int(shift)))
    reason = refusal(PUBLIC, str(address))
    found = refusal(PUBLIC, wrapped)
    assert (reason is None) == (found is None)
    assert reason is None or found is None or hint(reason) == hint(found)


@given(IPV4, IPV6)
def test_only_global_unicast_is_open(
    ipv4: ipaddress.IPv4Address, ipv6: ipaddress.IPv6Address
) -> None:
    """What the standard library calls private is closed, and so is IPv6 outside 2000::/3."""
    assert not ipv4.is_private or refusal(PUBLIC, str(ipv4))
    outside = not any(
        ipv6 in ipaddress.IPv6Network(network)
        for network in ("2000::/3", "64:ff9b::/96", "::ffff:0:0/96")
    )
    assert not outside or refusal(PUBLIC, str(ipv6))


# --- What opens the rest ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allow", "opened", "closed"),
    [
        ("10.0.0.0/8", "10.0.0.0 10.255.255.255 ::ffff:10.0.0.1 64:ff9b::a00:1", "192.168.0.1 ::1"),
        ("127.0.0.1", "127.0.0.1 ::ffff:127.0.0.1", "127.0.0.2 ::1"),
        ("::1", "::1", "127.0.0.1 ::"),
        ("fd00::/8", "fd12::1", "fc00::1 fd00:ec2::254"),
        ("FD12::/16", "fd12::1", "fd13::1"),
        ("0.0.0.0/0", "10.0.0.1 127.0.0.1 100.64.0.1", "169.254.169.254 224.0.0.1 0.0.0.0 ::1"),
        ("::/0", "::1 fd12::1", "fd00:ec2::254 fe80::1%2 ff02::1 :: 10.0.0.1 ::ffff:10.0.0.1"),
        ("100.64.0.0/10", "100.64.0.1", "100.100.100.200"),
        ("168.0.0.0/8", "168.1.1.1", "168.63.129.16"),
        ("169.254.169.254", "169.254.169.254 2002:a9fe:a9fe::", "169.254.169.253"),
        ("169.254.0.0/16", "169.254.169.254 169.254.1.1", "224.0.0.1"),
        ("169.0.0.0/8", "169.1.1.1", "169.254.169.254 169.254.1.1"),
        ("fe80::/10", "fe80::1 fe80::1%2", "fec0::1"),
        ("fe80::/9", "", "fe80::1 fec0::1"),
        ("192.0.2.0/24", "192.0.2.1", "198.51.100.1"),
        ("2001::/32", "2001:0:808:808::f7f7:f7f7", "2001:0:808:808::80ff:fffe 2001:1::1"),
    ],
)
def test_a_network_opens_what_lies_in_it(allow: str, opened: str, closed: str) -> None:
    """An entry opens its addresses; metadata and the like only when it names such a range."""
    policy = NetworkPolicy(allow=[allow])
    for literal_host in (True, False):
        wrong = [
            each for each in opened.split() if refusal(policy, each, literal_host=literal_host)
        ]
        assert wrong == []
    assert [each for each in closed.split() if refusal(policy, each) is None] == []


@pytest.mark.parametrize("entry", ["hooks.internal", "HOOKS.internal", "hooks.internal."])
def test_a_name_opens_internal_addresses_for_that_host_alone(entry: str) -> None:
    """A name, in any case and with or without a last dot, opens private and loopback addresses."""
    policy = NetworkPolicy(allow=[entry])
    for url in ("http://hooks.internal/", "http://Hooks.Internal./"):
        for address in ("10.0.0.1", "127.0.0.1", "fd12::1", "::ffff:10.0.0.1"):
            assert refusal(policy, address, destination(url), literal_host=False) is None
    for url in ("http://internal/", "http://a.hooks.internal/", "http://hooks.internal.test/"):
        assert refusal(policy, "10.0.0.1", destination(url))


@pytest.mark.parametrize("policy", [NetworkPolicy(allow=["hooks.test"]), INTERNAL])
@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "::2"])
def test_a_host_never_opens_metadata_and_the_like(policy: NetworkPolicy, address: str) -> None:
    """Neither a name in ``allow`` nor ``internal()`` opens what only an address may open."""
    assert "opens it" in (refusal(policy, address) or "")


def test_internal_opens_internal_addresses_for_literal_hosts() -> None:
    """``internal()`` opens private and loopback addresses for a host in the definition."""
    for address in ("10.0.0.1", "127.0.0.1", "::1", "fd12::1", "100.64.0.1", "8.8.8.8"):
        assert refusal(INTERNAL, address) is None
    assert NetworkPolicy(internal_hosts=True) == INTERNAL


def test_internal_does_not_trust_a_host_that_comes_from_data() -> None:
    """Under ``internal()`` a host from data stays public-only, and the refusal explains it."""
    assert refusal(INTERNAL, "8.8.8.8", literal_host=False) is None
    assert refusal(INTERNAL, "10.1.2.3", literal_host=False) == (
        "10.1.2.3 (host hooks.test) is private (RFC 1918), and internal() opens no host that comes "
        'from data; NetworkPolicy.internal(allow=["10.1.2.3"]) opens it'
    )
    metadata = refusal(INTERNAL, "169.254.169.254", literal_host=False) or ""
    assert "is cloud metadata; NetworkPolicy.internal(allow=" in metadata
    opened = NetworkPolicy.internal(allow=["hooks.test"])
    assert refusal(opened, "10.1.2.3", literal_host=False) is None


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.internal",
        "",
        "a b",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.0/33",
        "2130706433",
        "0x7f.1",
        "host.0x7f",
        "[::1]",
        "fe80::1%eth0",
        "10.0.0.1:80",
        "https://hooks.internal/s3cret",
        "b\u00fccher.example",
        None,
        5,
        b"\x0a\x00\x00\x01",
    ],
)
def test_an_entry_that_is_none_of_the_three_is_a_fault(entry: object) -> None:
    """What is no address, network or host name is refused with examples, and is not quoted."""
    found = faults([entry])
    assert list(found) == ["/allow/0"]
    assert found["/allow/0"].startswith('expected an address such as "10.1.2.3", a network such as')
    assert "s3cret" not in found["/allow/0"]


def test_every_fault_is_reported_with_its_place() -> None:
    """All faulty entries are listed at once, each saying what to write instead."""
    found = faults(["10.0.0.0/8", "10.0.0.1/8", "ok.internal", "fd12::1/16", "::ffff:10.0.0.0/104"])
    assert found == {
        "/allow/1": 'has bits set beyond the prefix; write "10.0.0.0/8" for the whole network or '
        '"10.0.0.1" for the one address',
        "/allow/3": 'has bits set beyond the prefix; write "fd12::/16" for the whole network or '
        '"fd12::1" for the one address',
        "/allow/4": 'stands for IPv4 addresses, which are checked in its place; write "10.0.0.0/8"',
    }


@pytest.mark.parametrize("allow", ["10.0.0.0/8", b"10.0.0.0/8", 5, None])
def test_allow_must_be_a_list(allow: object) -> None:
    """A single entry instead of a list of them is a fault that shows the list."""
    assert faults(allow) == {"/allow": 'expected a list such as ["10.0.0.0/8"]'}


def test_a_policy_is_a_value() -> None:
    """Policies compare by what they allow, can be keys, take any iterable and survive pickling."""
    policy = NetworkPolicy.internal(allow=iter(["10.0.0.0/8", "hooks.internal"]))
    again = pickle.loads(pickle.dumps(policy))
    assert again == policy
    assert hash(again) == hash(policy)
    assert refusal(again, "10.0.0.1", literal_host=False) is None
    assert policy.allow == ("10.0.0.0/8", "hooks.internal")
    assert policy != INTERNAL
