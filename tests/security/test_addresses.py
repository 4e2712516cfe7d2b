"""Every way to write a URL or an address gets its verdict where a connection would be made.

Nothing is sent: a socket that is told to connect only notes where to. What is looked up comes from
a table.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
import urllib3
from hypothesis import assume, example, given
from hypothesis import strategies as st
from misbehaving import Server, answer, post, says
from security import corpus
from security.attacks_addresses import (
    BLOCKED_URLS,
    CLOSED_ADDRESSES,
    INSIDE,
    NAMES,
    NOT_REACHABLE,
    NOT_URLS,
    OPEN_ADDRESSES,
    OPEN_URLS,
    OTHER_NOT_URLS,
    PUBLIC,
    PUBLIC6,
    STRICTER,
)

from changehook import Emitter, InMemoryQueue, NetworkPolicy, Webhook
from changehook.errors import (
    AttemptError,
    BlockedError,
    ConfigurationError,
    ConnectError,
    SetupError,
)
from changehook.interfaces import Resolver
from changehook.network import destination
from changehook.transport import HTTPTransport

POLICY = NetworkPolicy()
INTERNAL = NetworkPolicy.internal()

Dialled = list[tuple[str, int]]
Answers = dict[str, Any]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> Dialled:
    """Return the list of what sockets are told to connect to; each refuses, and sends nothing."""
    found: Dialled = []

    def connect(sock: socket.socket, address: tuple[str, int]) -> None:
        assert sock.family == (socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        found.append((address[0], address[1]))
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    return found


def resolver(answers: Answers) -> Resolver:
    """Return a resolver that answers by a table, where REBIND is public once and loopback after."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        name = host.removesuffix(".")
        if name not in answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        asked.append(name)
        if answers[name] == "REBIND":
            return ["127.0.0.1"] if asked.count(name) > 1 else [PUBLIC]
        found: list[str] = answers[name]
        return found

    return resolve


def by_transport(url: str, resolve: Resolver) -> str:
    """Return the class of error with which a transport ends that is asked for a URL."""
    transport = HTTPTransport(resolver=resolve)
    try:
        transport.send(post(url))
    except AttemptError as error:
        return error.error_class
    raise AssertionError("nothing answers here")


def by_webhook(template: str, resolve: Resolver, **data: object) -> str:
    """Return the class of error with which a delivery ends whose webhook is defined with a URL."""
    try:
        webhook = Webhook(name="one", object_types=["site"], events=["updated"], url=template)
    except ConfigurationError:
        return "config"
    queue = InMemoryQueue()
    emitter = Emitter(webhooks=[webhook], queue=queue, resolver=resolve)
    emitter.emit_change("updated", "site", data)
    (delivery,) = queue.run()
    return str(delivery.attempts[-1].error_class)


def by_data(url: str, resolve: Resolver) -> str:
    """Return the class of error with which a delivery ends whose URL comes out of the data."""
    return by_webhook("{{ data.url | safe }}", resolve, url=url)


WAYS = pytest.mark.parametrize("way", [by_transport, by_webhook, by_data])
Way = Callable[[str, Resolver], str]


# --- The corpus ---------------------------------------------------------------------------------


def answers_of_the_corpus() -> Answers:
    found: Answers = corpus.load("urls.json")["dns"]
    return found


@WAYS
@pytest.mark.parametrize("row", corpus.rows("urls.json", "urls", "why"))
def test_every_url_of_the_corpus_gets_its_verdict(
    row: dict[str, Any], way: Way, dialled: Dialled
) -> None:
    """What is allowed is dialled at the address that the corpus names, all else nowhere."""
    url, resolve = row["url"], resolver(answers_of_the_corpus())
    outcome = way(url, resolve)
    address = row["urllib3_with_connect_guard"].removeprefix("dial ")
    if row["verdict"] == "block":
        assert dialled == []
        assert outcome in ("blocked", "config", "render", "dns")
        return
    assert outcome == "connect"
    assert [ipaddress.ip_address(host) for host, _ in dialled] == [ipaddress.ip_address(address)]
    if row["verdict"] == "block-at-connect":
        assert way(url, resolve) == "blocked"
        assert len(dialled) == 1


# --- URLs ---------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("url", OPEN_URLS)
def test_a_public_host_is_dialled_however_it_is_written(
    url: str, way: Way, dialled: Dialled
) -> None:
    """The one address that the URL stands for is dialled, at its port."""
    assert way(url, resolver(NAMES)) == "connect"
    (found,) = dialled
    address, port = OPEN_URLS[url]
    assert (ipaddress.ip_address(found[0]), found[1]) == (ipaddress.ip_address(address), port)


@WAYS
@pytest.mark.parametrize("url", [url for urls in BLOCKED_URLS.values() for url in urls.split()])
def test_an_internal_host_is_not_dialled_however_it_is_written(
    url: str, way: Way, dialled: Dialled
) -> None:
    """The attempt is refused for what the address is, and no socket is told to connect."""
    assert way(url, resolver(NAMES)) == "blocked"
    assert dialled == []


@pytest.mark.parametrize("rule", BLOCKED_URLS)
def test_a_refused_host_is_told_with_its_rule(rule: str, dialled: Dialled) -> None:
    """The refusal names the rule for the address that the spelling stands for."""
    for url in BLOCKED_URLS[rule].split():
        with pytest.raises(BlockedError, match=rf"\bis {re.escape(rule)}(; |\b.*; )"):
            HTTPTransport(resolver=resolver(NAMES)).send(post(url))


@WAYS
@pytest.mark.parametrize(
    "url", [*(url for urls in NOT_URLS.values() for url in urls.split(" ")), *OTHER_NOT_URLS]
)
def test_what_two_parsers_could_read_differently_is_refused(
    url: str, way: Way, dialled: Dialled
) -> None:
    """Such a URL is refused as a URL: it is neither looked up nor dialled."""

    def resolve(host: str, port: int) -> Sequence[str]:
        raise AssertionError(f"looked up {host}")

    assert way(url, resolve) in ("config", "render")
    assert dialled == []


def spellings(address: ipaddress.IPv4Address) -> st.SearchStrategy[str]:
    """Return ways to write an address that ``inet_aton`` reads: one to four numbers, any base."""
    value = int(address)
    parts = [
        [value],
        [value >> 24, value & 0xFFFFFF],
        [value >> 24, value >> 16 & 255, value & 0xFFFF],
        list(address.packed),
    ]
    number = st.sampled_from(["{}", "{:#x}", "{:#X}", "0{:o}", "0x0{:x}", "000{:o}"])
    return st.sampled_from(parts).flatmap(
        lambda some: st.tuples(*[number] * len(some), st.sampled_from(["", "."])).map(
            lambda forms: (
                ".".join(form.format(part) for form, part in zip(forms, some, strict=False))
                + forms[-1]
            )
        )
    )


@given(st.ip_addresses(v=4), st.data())
def test_every_spelling_of_a_number_is_its_address(
    address: ipaddress.IPv4Address, data: st.DataObject
) -> None:
    """Decimal, octal, hexadecimal, short and mixed: the host is the plain address."""
    place = destination(f"http://{data.draw(spellings(address))}/")
    assert (place.host, place.address) == (str(address), str(address))


@given(st.text("htps:/@[]?#.%0189afx-_\\\t ", max_size=24), st.sampled_from(["", "//", "http://"]))
@example("[::1]:80/a@b?c#d", "http://")
@example("public.test#@127.0.0.1", "http://")
def test_other_parsers_read_the_same_host(text: str, start: str) -> None:
    """Whatever is accepted leads to the same host and port for the parsers that others use."""
    url = start + text
    try:
        place = destination(url)
    except ValueError:
        return
    ours = urllib.parse.urlsplit(url)
    other = urllib3.util.parse_url(url)
    for host, port in ((ours.hostname, ours.port), (str(other.host).strip("[]"), other.port)):
        again = f"[{host}]" if ":" in str(host) else host
        assert destination(f"http://{again}:{port or place.port}/").host == place.host
        assert (port or place.port) == place.port


# --- Addresses ----------------------------------------------------------------------------------

CLOSED = [(rule, each) for rule, some in CLOSED_ADDRESSES.items() for each in some.split()]


def sent(
    address: str | list[str], network: NetworkPolicy = POLICY, *, literal_host: bool = True
) -> AttemptError:
    """Return the error of an attempt to a name that has these addresses."""
    answers = [address] if isinstance(address, str) else address
    transport = HTTPTransport(network=network, resolver=resolver({"hooks.test": answers}))
    with pytest.raises(AttemptError) as caught:
        transport.send(post("http://hooks.test/s3cret?s3cret", literal_host=literal_host))
    return caught.value


def plain(address: str) -> str:
    """Return an address as messages show it: in its usual form, without a scope."""
    return str(ipaddress.ip_address(address.partition("%")[0]))


@pytest.mark.parametrize(("rule", "address"), CLOSED)
def test_the_message_names_address_rule_and_argument(
    rule: str, address: str, dialled: Dialled
) -> None:
    """The error of every rule says what was refused, why, and exactly what opens it; which it does.

    It holds neither path nor query.
    """
    error = sent(address)
    assert type(error) is BlockedError
    shown = plain(address)
    assert str(error).startswith(f"{shown} (host hooks.test) is {rule}")
    found = re.search(r"; NetworkPolicy\(allow=(\[.*\])\) opens it$", str(error))
    assert found
    allow = json.loads(found[1])
    assert shown in allow
    assert "s3cret" not in str(error)
    assert dialled == []
    assert type(sent(address, NetworkPolicy(allow=allow))) is not BlockedError
    assert [plain(host) for host, _ in dialled] == [shown]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_another_one_is_found(address: str, dialled: Dialled) -> None:
    """An IPv4 address is refused in every form of IPv6 that leads to it, and named."""
    inside, _, rule = INSIDE[address].partition(" ")
    error = sent(address)
    assert type(error) is BlockedError
    assert f"holds {inside}, which is {rule}" in str(error)
    assert json.dumps(inside) in str(error)
    assert dialled == []


@pytest.mark.parametrize("address", OPEN_ADDRESSES.split())
def test_a_public_address_is_dialled(address: str, dialled: Dialled) -> None:
    """Every address that all of the Internet can reach is dialled, also next to closed ranges."""
    assert "refused" in str(sent(address))
    assert [plain(host) for host, _ in dialled] == [plain(address)]


@pytest.mark.parametrize("address", [each for _, each in CLOSED] + list(INSIDE))
def test_of_several_answers_a_closed_one_is_never_tried(address: str, dialled: Dialled) -> None:
    """It is passed over, first or last, though each of the public ones refuses the connection."""
    sent([address, PUBLIC, address, PUBLIC6, address])
    assert dialled == [(PUBLIC, 80), (PUBLIC6, 80)]


@pytest.mark.parametrize(
    "found",
    ["", "hooks.test", "127.1", "2130706433", "0x7f000001", "010.0.0.1", "[::1]", "1.1.1.1%1"],
)
def test_an_answer_that_would_be_looked_up_again_is_not_dialled(
    found: str, dialled: Dialled
) -> None:
    """A resolver that answers with anything but plain addresses fails the attempt."""
    assert sent([PUBLIC, found]).error_class == "dns"
    assert dialled == []


# --- What opens the rest ------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "address"), CLOSED)
def test_internal_opens_private_and_loopback_addresses_alone(
    rule: str, address: str, dialled: Dialled
) -> None:
    """``internal()`` leaves metadata and the like closed, and to a host of data everything."""
    assert type(sent(address, INTERNAL, literal_host=False)) is BlockedError
    assert dialled == []
    error = sent(address, INTERNAL)
    assert (type(error) is not BlockedError) == rule.startswith(("loopback", "private"))
    assert len(dialled) == (type(error) is not BlockedError)


@pytest.mark.parametrize(("rule", "address"), CLOSED)
def test_a_name_never_opens_metadata_and_the_like(
    rule: str, address: str, dialled: Dialled
) -> None:
    """A name in ``allow`` opens private and loopback addresses, to a host of data too."""
    error = sent(address, NetworkPolicy(allow=["hooks.test"]), literal_host=False)
    assert (type(error) is not BlockedError) == rule.startswith(("loopback", "private"))
    assert len(dialled) == (type(error) is not BlockedError)


def test_a_host_from_data_is_public_only_under_internal(dialled: Dialled) -> None:
    """A delivery goes where a literal host leads, and not there when the data names the host."""
    for url in (
        "http://hooks.test/",
        "http://{{ data.host }}/",
        "http://hooks.test:{{ data.port }}/",
    ):
        webhook = Webhook(name="one", object_types=["site"], events=["updated"], url=url)
        queue = InMemoryQueue()
        emitter = Emitter(
            webhooks=[webhook],
            queue=queue,
            network=INTERNAL,
            resolver=resolver({"hooks.test": ["10.1.2.3"]}),
        )
        emitter.emit_change("updated", "site", {"host": "hooks.test", "port": 80})
        (delivery,) = queue.run()
        assert delivery.attempts[-1].error_class == ("blocked" if "{" in url else "connect")
    assert dialled == [("10.1.2.3", 80)]


RANGES = {  # each opens as a whole, but for the addresses of metadata services in private ones
    "127.0.0.0/8": "",
    "10.0.0.0/8": "",
    "172.16.0.0/12": "",
    "192.168.0.0/16": "",
    "100.64.0.0/10": "100.100.100.200",
    "198.18.0.0/15": "",
    "169.254.0.0/16": "",
    "224.0.0.0/4": "",
    "240.0.0.0/4": "",
    "192.0.2.0/24": "",
    "fc00::/7": "fd20:ce::254 fd00:c1::a9fe:a9fe fd00:100::100:200 fd00:a9fe:a9fe::1 fd00:42::42 "
    "fd00:ec2::254 fd00:ec2::23",
    "fe80::/10": "",
    "fec0::/10": "",
    "ff00::/8": "",
    "2001:db8::/32": "",
}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def subnets(text: str) -> st.SearchStrategy[Network]:
    """Return networks within a network."""
    outer = ipaddress.ip_network(text)
    return st.tuples(
        st.ip_addresses(network=text), st.integers(outer.prefixlen, outer.max_prefixlen)
    ).map(lambda pair: ipaddress.ip_network(pair, strict=False))


def near(network: Network) -> st.SearchStrategy[str]:
    """Return addresses within a network, right beside it, and anywhere."""
    first, last, kind = int(network[0]), int(network[-1]), type(network[0])
    beside = [
        kind(each) for each in (first - 1, last + 1) if 0 <= each < 1 << network.max_prefixlen
    ]
    return st.one_of(
        st.ip_addresses(network=str(network)),
        st.sampled_from([network[0], network[-1], *beside]),
        st.ip_addresses(v=network.version),
    ).map(str)


def is_open(policy: NetworkPolicy, address: str) -> bool:
    try:
        policy.check(address, destination("https://hooks.test/"))
    except BlockedError:
        return False
    return True


@given(st.sampled_from(list(RANGES)), st.data())
def test_a_network_opens_exactly_what_lies_in_it(outer: str, data: st.DataObject) -> None:
    """A closed address is open if it lies inside the one network of ``allow``, and only then."""
    network = data.draw(subnets(outer))
    address = ipaddress.ip_address(data.draw(near(network)))
    assume(not is_open(POLICY, str(address)))
    assume(str(address) not in RANGES[outer].split())
    assume(network.version == 4 or int(address) >> 32 & 0xFCFFFFFF != 0x5EFE)  # holds another one
    policy = NetworkPolicy(allow=[str(network)])
    assert is_open(policy, str(address)) == (address in network)


@pytest.mark.parametrize(
    ("outer", "address"),
    [(outer, address) for outer, some in RANGES.items() for address in some.split()],
)
def test_a_private_network_opens_no_metadata_service_in_it(outer: str, address: str) -> None:
    """The service has to be named, by its address or as part of a range that is only such."""
    for length in (8, 9, 12, 16, 24):
        network = ipaddress.ip_network((address, length), strict=False)
        assert not is_open(NetworkPolicy(allow=[outer, str(network)]), address), network
    assert is_open(NetworkPolicy(allow=[address]), address)


# --- Compared with IANA's registries ------------------------------------------------------------


def at_the_edges(networks: str) -> list[str]:
    """Return the first, a middle and the last address of each network."""
    return [
        str(network[index])
        for network in map(ipaddress.ip_network, networks.split())
        for index in (0, network.num_addresses // 2, -1)
    ]


def test_every_network_that_the_registries_call_not_reachable_is_closed() -> None:
    """So are the few on the list of what differs, and the list is right."""
    networks = " ".join([NOT_REACHABLE, *STRICTER])
    assert [each for each in at_the_edges(networks) if is_open(POLICY, each)] == []


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
@example(ipaddress.ip_address("192.88.99.1"))
@example(ipaddress.ip_address("64:ff9b:1::1"))
@example(ipaddress.ip_address("5f00::1"))
def test_whatever_the_standard_library_does_not_call_global_is_closed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Every release of it, but for the forms of IPv6 that stand for the IPv4 address inside."""
    forms = map(ipaddress.ip_network, ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16"))
    embeds = any(address in network for network in forms)
    assert address.is_global or embeds or not is_open(POLICY, str(address))


# --- Proxies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["1572395042", "0x5db8d822", "0135.0270.216.042", "93.184.216.34."]
)
def test_a_proxy_is_asked_for_the_address_that_was_checked(host: str) -> None:
    """No proxy reads a number its own way: ``010.0.0.1`` is 8.0.0.1 to some, 10.0.0.1 to others."""
    with Server(says(answer("502 Bad Gateway"))) as between:
        proxy = f"http://127.0.0.1:{between.port}"
        with contextlib.closing(HTTPTransport(proxy=proxy)) as transport:
            transport.send(post(f"http://{host}:8/a"))
            with pytest.raises(ConnectError):
                transport.send(post(f"https://{host}:8/a"))
    first, second = between.requests
    assert first.startswith(f"POST http://{PUBLIC}:8/a HTTP/1.1\r\nHost: {PUBLIC}:8\r\n".encode())
    assert second.startswith(f"CONNECT {PUBLIC}:8 ".encode())


@pytest.mark.parametrize(
    "host", ["4294967297", "0x", "256.256.256.256", "127.0.0.1.1", "08.1", "0x7f.0x"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_not_asked_for_a_number_that_it_may_wrap_around(scheme: str, host: str) -> None:
    """What ends in a number and is no address is not a name that a proxy could look up either."""
    with Server(says(answer())) as between:
        transport = HTTPTransport(proxy=f"http://127.0.0.1:{between.port}")
        with pytest.raises(SetupError, match="ends in a number and is not an IPv4 address"):
            transport.send(post(f"{scheme}://{host}:8/"))
    assert between.connections == 0


@pytest.mark.parametrize(
    "build", [HTTPTransport, lambda **more: Emitter(queue=InMemoryQueue(), **more)]
)
def test_with_a_proxy_the_log_says_what_is_no_longer_checked(
    build: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    """One warning tells that the proxy has to hold the policy for names, and no credentials."""
    build()
    assert caplog.messages == []
    build(proxy="http://ann:s3cret@proxy.test:3128")
    (message,) = caplog.messages
    assert caplog.records[0].levelname == "WARNING"
    assert "applied to numeric hosts only" in message
    assert "refuse internal addresses itself" in message
    assert "s3cret" not in message


def test_with_a_proxy_a_name_is_the_proxys_to_judge(dialled: Dialled) -> None:
    """The limit of the guard: a name is not looked up here, and only the proxy is dialled."""
    transport = HTTPTransport(proxy="http://10.0.0.7:3128", resolver=resolver({}))
    with pytest.raises(AttemptError):
        transport.send(post("http://metadata.google.internal/"))
    assert dialled == [("10.0.0.7", 3128)]


def test_a_policy_can_be_changed_and_checks_again(dialled: Dialled) -> None:
    """A policy with one entry less opens one network less."""
    wide = NetworkPolicy(allow=["10.0.0.0/8", "fd12::/16"])
    narrow = attrs.evolve(wide, allow=["fd12::/16"])
    for policy in (wide, narrow):
        sent(["10.1.2.3", "fd12::1"], policy)
    assert dialled == [("10.1.2.3", 80), ("fd12::1", 80), ("fd12::1", 80)]
