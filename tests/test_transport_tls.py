"""HTTPTransport over TLS."""

from __future__ import annotations

import contextlib
import datetime
import os
import queue
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from misbehaving import DRIP, LIMIT, Behaviour, Peer, Server, answer, hangs_up, post, says, well

from changehook.errors import AttemptError, DeadlineError, SetupError, TLSError
from changehook.exchange import Request, Response
from changehook.network import NetworkPolicy
from changehook.tls import TLSContexts
from changehook.transport import HTTPTransport

AUTHORITY, STRANGER = trustme.CA(), trustme.CA()
UNKNOWN_AUTHORITY = (
    "is not trusted: unable to get local issuer certificate; "
    "name the file of its authority in ca_file_path"
)
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a file that holds the authority to trust."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(
    name: str = "receiver.test",
    authority: trustme.CA = AUTHORITY,
    not_before: datetime.datetime | None = None,
    not_after: datetime.datetime | None = None,
) -> ssl.SSLContext:
    """Return the TLS settings of a receiver with a certificate for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert(name, not_before=not_before, not_after=not_after)
    certificate.configure_cert(context)
    return context


def to(server: Server, ca_file: str | None, **changes: object) -> Request:
    """Return a small POST to a server by the name ``receiver.test``."""
    url = f"https://receiver.test:{server.port}/hook"
    return post(**{"url": url, "ca_file": ca_file, **changes})


def new_transport() -> HTTPTransport:
    """Return a transport that finds every name on loopback."""
    network = NetworkPolicy(allow=["127.0.0.1"])
    return HTTPTransport(network=network, resolver=lambda host, port: ["127.0.0.1"])


def test_a_receiver_has_no_say_in_how_much_is_computed() -> None:
    """No DHE, whose numbers may be huge, and no second handshake on a connection."""
    for verify in (True, False):
        context = TLSContexts().get(verify, None)
        names = [cipher["name"] for cipher in context.get_ciphers()]
        assert any(name.startswith("ECDHE-") for name in names)
        assert not any(name.startswith("DHE-") for name in names)
        assert context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_renegotiation_ends_the_attempt(tmp_path: Path, ca_file: str) -> None:
    """A receiver that asks for another handshake instead of answering gets none."""
    leaf = tmp_path / "leaf.pem"
    AUTHORITY.issue_cert("receiver.test").private_key_and_cert_chain_pem.write_to_path(str(leaf))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(leaf)]
    command += ["-key", str(leaf), "-tls1_2"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as server:
        try:
            assert server.stdin
            assert server.stdout
            lines = iter(server.stdout.readline, b"")
            assert any(line.startswith(b"ACCEPT") for line in lines)
            with ThreadPoolExecutor(1) as threads:
                url = f"https://receiver.test:{port}/"
                outcome = threads.submit(sent, post(url, ca_file=ca_file, timeout=LIMIT))
                assert any(b"POST / HTTP/1.1" in line for line in lines)
                server.stdin.write(b"R\n")
                server.stdin.flush()
                error = outcome.result(LIMIT)
        finally:
            server.kill()
    assert isinstance(error, TLSError)


def sent(request: Request) -> Response | AttemptError:
    """Return the outcome of one attempt over a transport of its own."""
    transport = new_transport()
    try:
        return transport.send(request)
    except AttemptError as error:
        return error
    finally:
        transport.close()


def test_name_and_certificate_are_the_hosts_while_the_address_is_pinned(ca_file: str) -> None:
    """SNI, certificate check and Host use the name without its trailing dot."""
    names = []
    context = server_context()
    context.sni_callback = lambda sock, name, settings: names.append(name)
    transport = new_transport()
    with Server(well, context=context) as server:
        url = f"https://receiver.test.:{server.port}/"
        responses = [transport.send(to(server, ca_file, url=url)) for _ in range(2)]
        transport.close()
    assert [(one.status, one.note, one.address) for one in responses] == [
        (200, None, "127.0.0.1")
    ] * 2
    assert (server.connections, names) == (1, ["receiver.test"])
    assert f"\r\nHost: receiver.test:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"authority": STRANGER}, UNKNOWN_AUTHORITY),
        ({"name": "other.test"}, "is for another name"),
        ({"not_before": NOW - 2 * DAY, "not_after": NOW - DAY}, "has expired"),
        ({"not_before": NOW + DAY, "not_after": NOW + 2 * DAY}, "is not valid yet"),
    ],
)
def test_a_certificate_that_is_not_to_be_trusted(
    settings: dict[str, object], reason: str, ca_file: str
) -> None:
    """Each fault of a certificate has its own words, and no request is sent."""
    with Server(well, context=server_context(**settings)) as server:
        outcome = sent(to(server, ca_file))
    assert type(outcome) is TLSError
    assert str(outcome) == f"the certificate of receiver.test:{server.port} {reason}"
    assert server.requests == []


def test_a_certificate_for_a_name_does_not_serve_for_an_address(ca_file: str) -> None:
    """A URL with a numeric host needs a certificate for the address."""
    with Server(well, context=server_context()) as server:
        url = f"https://127.0.0.1:{server.port}/"
        outcome = sent(to(server, ca_file, url=url))
    assert type(outcome) is TLSError
    assert str(outcome).endswith("is for another address")


def test_an_address_with_a_certificate(ca_file: str) -> None:
    """A certificate for an address serves for that address."""
    with Server(well, context=server_context("127.0.0.1")) as server:
        url = f"https://127.0.0.1:{server.port}/"
        outcome = sent(to(server, ca_file, url=url))
    assert isinstance(outcome, Response)


def test_the_systems_authorities_are_the_default() -> None:
    """Without a CA file a private authority is not trusted."""
    with Server(well, context=server_context()) as server:
        outcome = sent(to(server, None))
    assert type(outcome) is TLSError


def test_verification_can_be_turned_off() -> None:
    """Without verification any certificate will do, and no warning is shown."""
    context = server_context("other.test", STRANGER)
    with Server(well, context=context) as server:
        outcome = sent(to(server, None, verify=False))
    assert isinstance(outcome, Response)


def test_a_verified_request_never_takes_an_unverified_connection(ca_file: str) -> None:
    """Connections are kept apart by how they were verified."""
    transport = new_transport()
    with Server(well, context=server_context("other.test")) as server:
        assert transport.send(to(server, None, verify=False)).status == 200
        with pytest.raises(TLSError):
            transport.send(to(server, ca_file))
        transport.close()
        assert server.connections == 2


def _handshake_drip(peer: Peer) -> None:
    record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03" + bytes(16_000)
    peer.drip(record, DRIP / 10)


def _plaintext(peer: Peer) -> None:
    peer.send(answer("400 Bad Request"))
    peer.silence()


@pytest.mark.parametrize(
    ("behaviour", "expected", "reason"),
    [
        (_plaintext, TLSError, "does not speak TLS"),
        (_handshake_drip, DeadlineError, "0.5 s passed while agreeing on TLS with receiver.test"),
        (Peer.silence, DeadlineError, "while agreeing on TLS with"),
        (lambda peer: peer.sock.recv(10_000) and hangs_up(peer), TLSError, "(SSLEOFError)"),
        (lambda peer: peer.sock.recv(10_000) and peer.reset(), TLSError, "closed the connection"),
    ],
)
def test_a_receiver_that_agrees_on_no_tls(
    behaviour: Behaviour, expected: type[AttemptError], reason: str, ca_file: str
) -> None:
    """A handshake that fails or never ends is a failed attempt within the deadline."""
    with Server(behaviour) as server:
        outcome = sent(to(server, ca_file, timeout=0.5))
    assert type(outcome) is expected, repr(outcome)
    assert reason in str(outcome)


def test_no_common_cipher(ca_file: str) -> None:
    """What the receiver's alert says is passed on by OpenSSL's name for it."""
    context = server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")
    with Server(well, context=context) as server:
        outcome = sent(to(server, ca_file))
    assert type(outcome) is TLSError
    assert "HANDSHAKE_FAILURE" in str(outcome)


def test_a_receiver_that_wants_a_client_certificate(ca_file: str) -> None:
    """An alert that comes after the handshake is a failure of TLS too."""
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED

    def refuses(peer: Peer) -> None:
        # A second descriptor keeps the connection open until the client has read the alert.
        with peer.sock.dup() as line, contextlib.suppress(ssl.SSLError):
            try:
                context.wrap_socket(peer.sock, server_side=True)
            finally:
                line.settimeout(LIMIT)
                while line.recv(65536):
                    pass

    with Server(refuses) as server:
        outcome = sent(to(server, ca_file))
    assert type(outcome) is TLSError
    assert "CERTIFICATE_REQUIRED" in str(outcome)


@pytest.mark.parametrize(
    ("behaviour", "status", "note"),
    [
        (
            says(
                answer("200 OK", b"", "Transfer-Encoding: chunked", length=False),
                then=lambda peer: peer.drip(b"1\r\nx\r\n" * 100),
            ),
            200,
            "the deadline passed while the body was read",
        ),
        (
            says(answer("200 OK", b"x", length=False), then=lambda peer: peer.endless(b"x" * 9999)),
            200,
            "body longer than 64 KiB; the rest was not read",
        ),
        (says(answer("200 OK", b"all of it", length=False), then=hangs_up), 200, None),
    ],
)
def test_limits_hold_over_tls(
    behaviour: Behaviour, status: int, note: str | None, ca_file: str
) -> None:
    """Deadline and byte budget are those of plain connections."""
    with Server(behaviour, context=server_context()) as server:
        outcome = sent(to(server, ca_file, timeout=0.6))
    assert isinstance(outcome, Response), repr(outcome)
    assert (outcome.status, outcome.note) == (status, note)


def test_a_receiver_that_reads_nothing_is_cut_over_tls(ca_file: str) -> None:
    """Sending ends at the deadline too."""
    with Server(Peer.silence, context=server_context()) as server:
        outcome = sent(to(server, ca_file, body=b"x" * 16 * 1024 * 1024, timeout=0.6))
    assert type(outcome) is DeadlineError
    assert "sending the request to" in str(outcome)


def test_a_tls_connection_closed_while_idle_is_replaced(ca_file: str) -> None:
    """A receiver that ends TLS without a word between two requests is called again."""
    transport = new_transport()
    with Server(says(answer(), then=hangs_up), context=server_context()) as server:
        for _ in range(2):
            assert transport.send(to(server, ca_file)).status == 200
            assert server.closed.acquire(timeout=LIMIT)
        assert server.connections == 2
    transport.close()


def test_a_changed_ca_file_is_read_again(tmp_path: Path) -> None:
    """After the file of authorities was replaced, the next attempt trusts the new ones."""
    path = tmp_path / "ca.pem"
    transport = new_transport()
    with Server(well, context=server_context()) as server:
        for authority, moment in ((STRANGER, 1_000), (AUTHORITY, 2_000)):
            authority.cert_pem.write_to_path(str(path))
            os.utime(path, (moment, moment))
            with contextlib.suppress(TLSError):
                transport.send(to(server, str(path)))
        transport.close()
        assert len(server.requests) == 1


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_a_ca_file_that_cannot_be_used(content: str | None, tmp_path: Path) -> None:
    """A CA file that is missing or holds no certificate is a fault of the setup, named."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with Server(well, context=server_context()) as server:
        outcome = sent(to(server, str(path)))
    assert type(outcome) is SetupError
    assert str(outcome).startswith(f"the CA file {path} cannot be used: ")
    assert server.connections == 0


class Background:
    """A call in a thread of its own, which a test that fails leaves behind."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._outcomes: queue.SimpleQueue[object] = queue.SimpleQueue()
        threading.Thread(target=lambda: self._outcomes.put(call()), daemon=True).start()

    def outcome(self) -> object:
        """Return what the call returned; fail if it does not end."""
        return self._outcomes.get(timeout=LIMIT)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_ca_file_that_is_no_file(make: Callable[[Path], None], tmp_path: Path) -> None:
    """What is not a regular file is not opened: a pipe would block for ever."""
    path = tmp_path / "ca.pem"
    make(path)
    request = post("https://receiver.test:8/", ca_file=str(path))
    outcome = Background(lambda: sent(request)).outcome()
    assert type(outcome) is SetupError
    assert str(outcome) == f"the CA file {path} cannot be used: it is not a regular file"


def test_a_ca_file_that_hangs_holds_up_nobody_else(
    ca_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one file is being read from a mount that hangs, others get their TLS settings."""
    hanging = str(tmp_path / "ca.pem")
    AUTHORITY.cert_pem.write_to_path(hanging)
    begun, go_on = threading.Event(), threading.Event()
    create = ssl.create_default_context

    def reads_slowly(*, cafile: str | None) -> ssl.SSLContext:
        if cafile == hanging:
            begun.set()
            go_on.wait(LIMIT * 2)
        return create(cafile=cafile)

    monkeypatch.setattr(ssl, "create_default_context", reads_slowly)
    contexts = TLSContexts()
    slow = Background(lambda: contexts.get(True, hanging))
    assert begun.wait(LIMIT)
    other = Background(lambda: contexts.get(True, ca_file))
    assert other.outcome() is contexts.get(True, ca_file)
    go_on.set()
    assert slow.outcome() is contexts.get(True, hanging)


def test_threads_that_read_one_ca_file_at_once_share_the_outcome(
    ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same settings for all, because connections are kept by them."""
    together = threading.Barrier(2)
    create = ssl.create_default_context

    def reads_together(*, cafile: str | None) -> ssl.SSLContext:
        together.wait(LIMIT)
        return create(cafile=cafile)

    monkeypatch.setattr(ssl, "create_default_context", reads_together)
    contexts = TLSContexts()
    both = [Background(lambda: contexts.get(True, ca_file)) for _ in range(2)]
    first, second = (one.outcome() for one in both)
    assert first is second is contexts.get(True, ca_file)


def test_the_default_port_of_https_is_left_out_of_host(ca_file: str) -> None:
    """``Host`` has no port when the URL has none, as receivers expect."""
    context = server_context()

    def tunnel(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with context.wrap_socket(peer.sock, server_side=True) as inner:
            well(Peer(peer.server, inner, peer.number))

    with Server(tunnel) as server:
        transport = HTTPTransport(proxy=f"http://127.0.0.1:{server.port}")
        assert transport.send(to(server, ca_file, url="https://receiver.test/")).status == 200
        transport.close()
    assert b"\r\nHost: receiver.test\r\n" in server.requests[1]


def test_a_failed_handshake_closes_its_socket(ca_file: str) -> None:
    """After a handshake that was cut the receiver sees the end of the stream."""
    ended = threading.Event()

    def waits_for_the_end(peer: Peer) -> None:
        while peer.sock.recv(65536):
            pass
        ended.set()

    with Server(waits_for_the_end) as server:
        outcome = sent(to(server, ca_file, timeout=0.3))
        assert ended.wait(LIMIT)
    assert type(outcome) is DeadlineError
