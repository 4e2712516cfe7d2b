"""HTTPTransport by way of an HTTP proxy."""

from __future__ import annotations

import base64
import ssl

import pytest
import trustme
from misbehaving import DRIP, Behaviour, Peer, Server, answer, hangs_up, post, proxy, says, well

from changehook import Emitter, InMemoryQueue, Webhook
from changehook.errors import (
    AttemptError,
    BlockedError,
    ConfigurationError,
    ConnectError,
    DeadlineError,
    DNSError,
)
from changehook.exchange import Request, Response
from changehook.network import NetworkPolicy
from changehook.transport import PUBLIC_ONLY, HTTPTransport


def sent(
    request: Request, by: str, network: NetworkPolicy = PUBLIC_ONLY
) -> Response | AttemptError:
    """Return the outcome of one attempt by way of a proxy."""
    transport = HTTPTransport(proxy=by, network=network)
    try:
        return transport.send(request)
    except AttemptError as error:
        return error
    finally:
        transport.close()


def test_http_goes_to_the_proxy_in_absolute_form() -> None:
    """The proxy gets the whole URL, the Host of the receiver and the credentials."""
    with Server(well) as receiver, Server(proxy) as between:
        url = f"http://receiver.test:{receiver.port}/hook?a=1"
        outcome = sent(post(url), f"http://ann:p%40ss@127.0.0.1:{between.port}")
    assert isinstance(outcome, Response)
    assert outcome.status == 200
    head = between.requests[0]
    assert head.startswith(f"POST {url} HTTP/1.1\r\nHost: receiver.test:".encode())
    assert b"\r\nproxy-authorization: Basic " + base64.b64encode(b"ann:p@ss") in head


def test_the_default_port_is_left_out() -> None:
    """A URL without a port is passed on without one."""
    with Server(says(answer())) as between:
        sent(post("http://receiver.test/"), f"http://127.0.0.1:{between.port}")
    assert between.requests[0].startswith(
        b"POST http://receiver.test/ HTTP/1.1\r\nHost: receiver.test\r\n"
    )


def test_https_goes_through_a_tunnel(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The receiver's certificate is checked through the tunnel; the proxy sees no request."""
    authority = trustme.CA()
    ca_file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("receiver.test").configure_cert(context)
    with Server(well, context=context) as receiver, Server(proxy) as between:
        transport = HTTPTransport(proxy=f"http://ann:secret@127.0.0.1:{between.port}")
        request = post(f"https://receiver.test:{receiver.port}/hook", ca_file=str(ca_file))
        for _ in range(2):
            assert transport.send(request).status == 200
        transport.close()
        assert (between.connections, receiver.connections) == (1, 1)
    assert len(between.requests) == 1
    assert between.requests[0].startswith(f"CONNECT receiver.test:{receiver.port} ".encode())
    assert b"Basic " + base64.b64encode(b"ann:secret") in between.requests[0]
    assert f"\r\nHost: receiver.test:{receiver.port}\r\n".encode() in receiver.requests[0]
    assert b"roxy" not in receiver.requests[0]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (says(answer("407 Proxy Authentication Required", b"")), "it answered 407"),
        (says(answer("502 Bad Gateway", b"")), "it answered 502"),
        (says(b"", then=hangs_up), "RemoteDisconnected"),
        (says(b"nonsense\r\n"), "BadStatusLine"),
    ],
)
def test_a_proxy_that_opens_no_way(scheme: str, behaviour: Behaviour, why: str) -> None:
    """A proxy that refuses a tunnel, or asks for other credentials, is a failure to connect."""
    with Server(behaviour) as between:
        request = post(f"{scheme}://receiver.test:8/p4th")
        outcome = sent(request, f"http://ann:s3cret@127.0.0.1:{between.port}")
    if scheme == "http" and why != "it answered 407":
        assert not isinstance(outcome, ConnectError)
        return
    assert type(outcome) is ConnectError
    assert str(outcome) == f"the proxy opened no way to receiver.test:8: {why}"


def test_a_proxy_that_drips_is_cut() -> None:
    """The deadline covers the tunnel."""

    def drips(peer: Peer) -> None:
        peer.read_request()
        peer.drip(b"HTTP/1.1 200 OK\r\n" * 100, DRIP)

    with Server(drips) as between:
        request = post("https://receiver.test:8/", timeout=0.5)
        outcome = sent(request, f"http://127.0.0.1:{between.port}")
    assert type(outcome) is DeadlineError
    assert "asking the proxy for receiver.test:8" in str(outcome)


def test_a_proxy_that_is_not_there() -> None:
    """A proxy that cannot be reached is named as the culprit, without its credentials."""
    with Server(well) as between:
        port = between.port
    outcome = sent(post("http://receiver.test:8/"), f"http://ann:s3cret@127.0.0.1:{port}")
    assert type(outcome) is ConnectError
    assert str(outcome).startswith("the proxy cannot be reached: ")
    assert "s3cret" not in repr(outcome)


def test_a_proxy_without_an_address() -> None:
    """A proxy whose name cannot be resolved fails the attempt with its name."""
    transport = HTTPTransport(proxy="http://proxy.test:8", resolver=lambda host, port: [])
    with pytest.raises(DNSError, match=r"proxy\.test has no address"):
        transport.send(post("http://receiver.test:8/"))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("169.254.169.254", "169.254.169.254"),
        ("169.254.169.254.", "169.254.169.254"),
        ("2852039166", "169.254.169.254"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("[::ffff:169.254.169.254]", "169.254.169.254"),
        ("[fd00::1]", "fd00::1"),
    ],
)
def test_a_numeric_host_is_checked_before_the_proxy_is_asked(
    scheme: str, host: str, address: str
) -> None:
    """The proxy never hears of an address that the policy refuses, however it is spelled."""
    with Server(proxy) as between:
        outcome = sent(post(f"{scheme}://{host}:8/"), f"http://127.0.0.1:{between.port}")
    assert type(outcome) is BlockedError
    assert address in str(outcome)
    assert between.connections == 0


@pytest.mark.parametrize(("literal_host", "reached"), [(True, True), (False, False)])
def test_a_numeric_host_that_is_open_goes_to_the_proxy(literal_host: bool, reached: bool) -> None:
    """What ``internal()`` opens is asked for by way of the proxy, and only for literal hosts."""
    with Server(well) as receiver, Server(proxy) as between:
        request = post(f"http://127.1:{receiver.port}/", literal_host=literal_host)
        by = f"http://127.0.0.1:{between.port}"
        outcome = sent(request, by, NetworkPolicy.internal())
    assert isinstance(outcome, Response if reached else BlockedError), repr(outcome)
    assert (between.connections, receiver.connections) == (reached, reached)


def test_a_proxy_that_quotes_its_credentials_has_them_hidden() -> None:
    """Neither the header nor what it holds is in the record of the attempt."""

    def quotes(peer: Peer) -> None:
        head = peer.read_request()
        peer.send(
            answer("502 Bad Gateway", head + b" of ann:hunter22:hunter22, or HUNTER22:HUNTER22")
        )

    with Server(quotes) as between:
        webhook = Webhook(
            name="w", object_types=["*"], events=["*"], url="http://receiver.test/hook"
        )
        queue = InMemoryQueue()
        by = f"http://ann:hunter22%3Ahunter22@127.0.0.1:{between.port}"
        with Emitter(webhooks=[webhook], queue=queue, proxy=by) as emitter:
            emitter.emit_change("created", "site", {"name": "x"})
            (delivery,) = queue.run()
    assert b"proxy-authorization: Basic" in between.requests[0]
    (attempt,) = delivery.attempts
    assert attempt.response_body.count("***") >= 3
    told = base64.b64encode(b"ann:hunter22:hunter22").decode()
    for secret in (told, "hunter22", "HUNTER22"):
        assert secret not in delivery.to_json()


@pytest.mark.parametrize(
    "proxy", ["http://h.test:0", "http://u#x@h.test:1", "http://h\n.test:1", "http://\u212a.test:1"]
)
def test_a_proxy_that_could_be_read_otherwise_is_refused(proxy: str) -> None:
    """No part of the text is dropped in silence."""
    with pytest.raises(ConfigurationError, match="proxy: expected http://host:port"):
        HTTPTransport(proxy=proxy)
