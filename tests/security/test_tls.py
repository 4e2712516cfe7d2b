"""Receivers that fail at TLS or misuse it, each met in a process with limits."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import ssl
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from misbehaving import (
    CHUNKED,
    LIMIT,
    OK,
    STEPS,
    SURPLUS,
    Behaviour,
    Peer,
    Server,
    answer,
    at_boundary,
    chunked,
    echo,
    hangs_up,
    post,
    steps,
)
from security import attacks_responses
from security.attacks_responses import CUT, GOOD, LATE, LONG, Report, Result, body
from security.jail import MIB, Jail
from security.test_responses import CPU, ERROR, MEMORY, RECORD, SHORT, SLACK, follow

from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport

AUTHORITY, STRANGER = trustme.CA(), trustme.CA()
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
NAME = "receiver.test"
HINT = "; name the file of its authority in ca_file_path"

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(cpu=3, memory=512 * MIB) as jail:
        yield jail


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a file that holds the authority to trust."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return the TLS settings of a receiver."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def good() -> ssl.SSLContext:
    """Return the TLS settings of a receiver that is as it should be."""
    return context_of(AUTHORITY.issue_cert(NAME, "a.receiver.test"))


def self_made(
    *names: x509.GeneralName,
    issuer: trustme.CA | trustme.LeafCert | None = None,
    key: Key | None = None,
    usage: x509.ObjectIdentifier | None = None,
) -> ssl.SSLContext:
    """Return settings with a certificate that no proper authority would make."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    signer: Key = key
    above = b""
    issuer_name = name
    if issuer is not None:
        private = issuer.private_key_pem.bytes()
        signer = serialization.load_pem_private_key(private, None)  # type: ignore[assignment]  # EC
        chain = issuer.cert_chain_pems if isinstance(issuer, trustme.LeafCert) else []
        above = b"".join(one.bytes() for one in chain)
        issuer_pem = chain[0] if chain else issuer.cert_pem  # type: ignore[union-attr]  # a CA
        issuer_name = x509.load_pem_x509_certificate(issuer_pem.bytes()).subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
    )
    # Python 3.13 asks for it: RFC 5280, section 4.2.1.1.
    authority: Any = signer.public_key()
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority)
    builder = builder.add_extension(identifier, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    made = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with trustme.Blob(secret + made + above).tempfile() as path:
        context.load_cert_chain(path)
    return context


def old() -> ssl.SSLContext:
    """Return settings that offer TLS 1.1 at most."""
    context = good()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def weak() -> ssl.SSLContext:
    """Return settings with a cipher that nobody should use any more."""
    context = good()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:AES128-SHA:@SECLEVEL=0")
    return context


def demanding(version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return settings that demand a certificate of the client."""
    context = good()
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def long_chain(copies: int) -> ssl.SSLContext:
    """Return settings with a chain of certificates that is longer than anyone needs."""
    leaf = AUTHORITY.issue_cert(NAME)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain = leaf.cert_chain_pems[0].bytes() + AUTHORITY.cert_pem.bytes() * copies
    with trustme.Blob(leaf.private_key_pem.bytes() + chain).tempfile() as path:
        context.load_cert_chain(path)
    return context


def dns(name: str) -> x509.DNSName:
    """Return a name as certificates hold it."""
    return x509.DNSName(name)


ADDRESS = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
CLIENT_ONLY = x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH

# Settings of a receiver, and what is said of it.
REFUSED: dict[str, tuple[Callable[[], ssl.SSLContext], str]] = {
    "expired": (
        lambda: context_of(
            AUTHORITY.issue_cert(NAME, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
        ),
        "has expired",
    ),
    "not_yet_valid": (
        lambda: context_of(
            AUTHORITY.issue_cert(NAME, not_before=NOW + DAY, not_after=NOW + 9 * DAY)
        ),
        "is not valid yet",
    ),
    "wrong_name": (lambda: context_of(AUTHORITY.issue_cert("other.test")), "is for another name"),
    "name_within_another": (
        lambda: context_of(AUTHORITY.issue_cert(f"{NAME}.evil.test")),
        "is for another name",
    ),
    "wildcard_of_another": (
        lambda: context_of(AUTHORITY.issue_cert("*.receiver.test")),
        "is for another name",
    ),
    "wildcard_of_everything": (lambda: self_made(dns("*"), issuer=AUTHORITY), "for another name"),
    "partial_wildcard": (
        lambda: self_made(dns("*.*"), dns("r*r.t*"), issuer=AUTHORITY),
        "is for another name",
    ),
    "nul_in_name": (
        lambda: self_made(dns(f"{NAME}\0.evil.test"), issuer=AUTHORITY),
        "is for another name",
    ),
    "address_only": (lambda: self_made(ADDRESS, issuer=AUTHORITY), "is for another name"),
    "address_as_name": (lambda: self_made(dns("127.0.0.1"), issuer=AUTHORITY), "another name"),
    "common_name_only": (lambda: self_made(issuer=AUTHORITY), "is for another name"),
    "unknown_authority": (
        lambda: context_of(STRANGER.issue_cert(NAME)),
        "is not trusted: unable to get local issuer certificate" + HINT,
    ),
    "unknown_authority_sent_along": (
        lambda: self_made(dns(NAME), issuer=STRANGER.create_child_ca().issue_cert("x.test")),
        "is not trusted: ",
    ),
    "self_signed": (
        lambda: self_made(dns(NAME)),
        "is not trusted: self-signed certificate" + HINT,
    ),
    "issued_by_no_authority": (
        lambda: self_made(dns(NAME), issuer=AUTHORITY.issue_cert("other.test")),
        "is not trusted: invalid CA certificate",
    ),
    "for_clients_only": (
        lambda: self_made(dns(NAME), issuer=AUTHORITY, usage=CLIENT_ONLY),
        "is not trusted: unsuitable certificate purpose",
    ),
    "weak_key": (
        lambda: self_made(dns(NAME), issuer=AUTHORITY, key=rsa.generate_private_key(65537, 1024)),
        "is not trusted: EE certificate key too weak",
    ),
    "tls_1_1": (old, "it speaks no version that is safe, 1.2 or later: "),
    "weak_cipher": (weak, "HANDSHAKE_FAILURE"),
    "wants_a_certificate": (
        lambda: demanding(ssl.TLSVersion.TLSv1_3),
        "it wants a certificate of the sender, who has none: ",
    ),
    "wants_a_certificate_1_2": (
        lambda: demanding(ssl.TLSVersion.TLSv1_2),
        "HANDSHAKE_FAILURE",
    ),
    "chain_of_90_kb": (lambda: long_chain(200), "more than 64 KiB before TLS was agreed on"),
}


class Records:
    """The receiver's side of TLS in memory: how its bytes travel is up to the behaviour."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        self._peer = peer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.speaker = Peer(peer.server, self, peer.number)  # type: ignore[arg-type]  # no socket

    def begin(self, send: Callable[[bytes], None]) -> Records:
        """Agree on TLS, and read the request."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                send(self._outgoing.read())
                self._receive()
        send(self._outgoing.read())
        self.speaker.read_request()
        return self

    def recv(self, size: int) -> bytes:
        """Return what came; empty at the end of the stream."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._receive()

    def sendall(self, data: bytes) -> None:
        """Send data in records as OpenSSL makes them."""
        self._peer.send(self.sealed(data))

    def sealed(self, *pieces: bytes) -> bytes:
        """Return records that hold one piece each."""
        for piece in pieces:
            self._tls.write(piece)
        return self._outgoing.read()

    def _receive(self) -> None:
        data = self._peer.sock.recv(65536)
        if not data:
            raise ConnectionResetError
        self._incoming.write(data)


def agreed(act: Callable[[Peer, Records], object], tickets: int = 2) -> Behaviour:
    """Return a behaviour that begins well, then acts, and then answers as it should."""

    def behave(peer: Peer) -> None:
        context = good()
        context.num_tickets = tickets
        records = Records(peer, context).begin(peer.send)
        act(peer, records)
        echo(records.speaker)

    return behave


def says(*pieces: bytes) -> Behaviour:
    """Return a behaviour that answers with these pieces, a record for each."""
    return agreed(lambda peer, records: peer.send(records.sealed(*pieces)))


def _drips_handshake(peer: Peer) -> None:
    Records(peer, good()).begin(lambda data: peer.drip(data, 0.01))


def _crumbles_handshake(peer: Peer) -> None:
    records = Records(peer, good()).begin(lambda data: peer.drip(data, 0))
    peer.drip(records.sealed(answer()), 0)
    echo(records.speaker)


def _drips_record(peer: Peer, records: Records) -> None:
    peer.drip(records.sealed(OK + b"X: " + b"x" * 1000))


def _drips_body(peer: Peer, records: Records) -> None:
    peer.send(records.sealed(OK + b"Content-Length: 500\r\n\r\nfirst"))
    peer.drip(records.sealed(b"x" * 495))


def _floods(piece: bytes) -> Callable[[Peer, Records], None]:
    def act(peer: Peer, records: Records) -> None:
        peer.send(records.sealed(OK + b"\r\n"))
        while not peer.server.stop.is_set():
            peer.send(records.sealed(*[piece] * 100))

    return act


def _damages(head: bytes) -> Callable[[Peer, Records], None]:
    def act(peer: Peer, records: Records) -> None:
        if head:
            peer.send(records.sealed(head))
        sealed = bytearray(records.sealed(answer()))
        sealed[-1] ^= 1
        peer.send(bytes(sealed))

    return act


def _cuts(data: bytes, left: int | None) -> Callable[[Peer, Records], None]:
    def act(peer: Peer, records: Records) -> None:
        peer.send(records.sealed(data)[:left])
        raise ConnectionResetError

    return act


def _sends(data: bytes, *, endless: bool = False) -> Behaviour:
    def behave(peer: Peer) -> None:
        peer.sock.recv(65536)
        peer.send(data)
        if endless:
            peer.endless(data)
        while peer.sock.recv(65536):
            pass

    return behave


def _begins_and_hangs_up(peer: Peer) -> None:
    def sends_half(data: bytes) -> None:
        peer.send(data[: len(data) // 2])
        if data:
            raise ConnectionResetError

    Records(peer, good()).begin(sends_half)


MISUSED: dict[str, tuple[Behaviour, Result]] = {
    # Before TLS is agreed on.
    "plain_http": (_sends(answer("400 Bad Request")), "tls"),
    "plain_ssh": (_sends(b"SSH-2.0-OpenSSH_9.6\r\n"), "tls"),
    "plain_zeros": (_sends(bytes(4096)), "tls"),
    "plain_endless": (_sends(b"x" * 4096, endless=True), "tls"),
    "alert_handshake_failure": (_sends(b"\x15\x03\x03\0\2\2\x28"), "tls"),
    "alert_unrecognized_name": (_sends(b"\x15\x03\x03\0\2\2\x70"), "tls"),
    "alert_internal_error": (_sends(b"\x15\x03\x03\0\2\2\x50"), "tls"),
    "alert_close": (_sends(b"\x15\x03\x03\0\2\1\0"), "tls"),
    "warnings_endless": (_sends(b"\x15\x03\x03\0\2\1\x5a", endless=True), "tls"),
    "empty_records_endless": (_sends(b"\x16\x03\x03\0\0", endless=True), "tls"),
    "cipher_changes_endless": (_sends(b"\x14\x03\x03\0\1\1", endless=True), "tls"),
    "message_of_16_mib": (
        _sends(b"\x16\x03\x03\x40\0\2\xff\xff\xff" + bytes(16380), endless=True),
        "tls",
    ),
    "hello_requests_endless": (_sends(b"\x16\x03\x03\0\4\0\0\0\0", endless=True), "tls"),
    "record_too_long": (_sends(b"\x16\x03\x03\xff\xff" + bytes(65535)), "tls"),
    "sslv2": (_sends(b"\x80\x2e\x04\0\1\0\2" + bytes(40)), "tls"),
    "says_nothing": (_sends(b""), "timeout"),
    "hangs_up_at_once": (hangs_up, "tls"),
    "hangs_up_in_the_middle": (_begins_and_hangs_up, "tls"),
    "drips_handshake": (_drips_handshake, "timeout"),
    "crumbles_handshake": (_crumbles_handshake, GOOD),
    # Afterwards.
    "drips_record": (agreed(_drips_record), "timeout"),
    "drips_body": (agreed(_drips_body), body(b"first", LATE)),
    "byte_by_byte": (says(*(bytes([byte]) for byte in answer())), GOOD),
    "empty_pieces": (says(OK, b"", b"", b"Content-Length: 2\r\n\r\nok"), GOOD),
    "bytes_endless": (agreed(_floods(b"x")), (200, None, LONG)),
    "records_endless": (agreed(_floods(b"x" * 16384)), (200, None, LONG)),
    "tickets_2000": (agreed(lambda peer, records: None, tickets=2000), "protocol"),
    "damaged_head": (agreed(_damages(b"")), "tls"),
    "damaged_body": (agreed(_damages(OK + b"Content-Length: 9\r\n\r\nok")), body(b"ok", CUT)),
    "plain_after_handshake": (agreed(lambda peer, records: peer.send(answer())), "tls"),
    "cut_without_end": (agreed(_cuts(OK + b"\r\nall of it", None)), body(b"all of it")),
    "cut_in_record": (agreed(_cuts(answer(), -5)), "protocol"),
    "cut_in_head": (agreed(_cuts(OK, None)), "protocol"),
    "cut_in_body": (agreed(_cuts(OK + b"Content-Length: 9\r\n\r\nok", None)), body(b"ok", CUT)),
    # What comes after the answer, in its record and outside.
    "surplus": (says(answer() + SURPLUS), GOOD),
    "surplus_record": (says(answer(), SURPLUS), GOOD),
    "surplus_records": (says(answer(), *[SURPLUS] * 100), GOOD),
    "surplus_at_boundary": (says(at_boundary(SURPLUS)), GOOD),
    "surplus_at_two_boundaries": (says(at_boundary(at_boundary(SURPLUS)[:8192])), GOOD),
    "surplus_chunked": (says(CHUNKED + chunked(b"ok") + SURPLUS), GOOD),
    "surplus_half_a_record": (
        agreed(lambda peer, records: peer.send(records.sealed(answer(), SURPLUS)[:-9])),
        GOOD,
    ),
}


def once(behaviour: Behaviour) -> Behaviour:
    """Return what behaves so on its first connection, and as it should on all others."""

    def behave(peer: Peer) -> None:
        if peer.number == 1:
            behaviour(peer)
            return
        with good().wrap_socket(peer.sock, server_side=True) as sock:
            echo(Peer(peer.server, sock, peer.number))

    return behave


def _handshake(context: ssl.SSLContext) -> Behaviour:
    """Return a behaviour that agrees on TLS and echoes, and reads to the end where it cannot."""

    def behave(peer: Peer) -> None:
        # A second descriptor keeps the connection open until the sender has read the alert.
        with peer.sock.dup() as line, contextlib.suppress(OSError):
            line.settimeout(LIMIT)
            try:
                with context.wrap_socket(peer.sock, server_side=True) as sock:
                    echo(Peer(peer.server, sock, peer.number))
            finally:
                while line.recv(65536):
                    pass

    return behave


def met(behaviour: Behaviour, jail: Jail, ca_file: str, host: str = NAME) -> Report:
    """Return what a sender makes of a behaviour, after checking what it cost."""
    with Server(once(behaviour)) as server:
        url = f"https://{host}:{server.port}/"
        outcome = jail.run(attacks_responses.attempt, url, SHORT, 2, ca_file)
    assert outcome.error is None, outcome.error
    report: Report = outcome.value
    assert report.later == [True] * 3, report
    assert report.seconds < SHORT + SLACK
    assert report.size < RECORD
    assert len(report.error) < ERROR
    assert outcome.cpu < CPU
    assert outcome.memory < MEMORY
    return report


@pytest.mark.parametrize("name", REFUSED)
def test_a_receiver_that_is_not_trusted(name: str, jail: Jail, ca_file: str) -> None:
    """No request is sent; the class is ``tls``, and the words say what is wrong."""
    settings, words = REFUSED[name]
    report = met(_handshake(settings()), jail, ca_file)
    assert report.result == "tls", report
    assert words in report.error


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        (lambda: context_of(AUTHORITY.issue_cert("*.receiver.test", NAME)), "a.receiver.test"),
        (lambda: self_made(ADDRESS, dns("b.test"), dns(NAME), issuer=AUTHORITY), NAME),
        (lambda: context_of(AUTHORITY.create_child_ca().issue_cert(NAME)), NAME),
        (lambda: long_chain(20), NAME),
    ],
)
def test_a_receiver_that_is_trusted(
    settings: Callable[[], ssl.SSLContext], host: str, jail: Jail, ca_file: str
) -> None:
    """A wildcard, one name of several, an authority in between and a long chain are all right."""
    assert met(_handshake(settings()), jail, ca_file, host).result == body(b"xx")


@pytest.mark.parametrize("name", MISUSED)
def test_misused_tls_ends_in_time_and_poisons_nothing(name: str, jail: Jail, ca_file: str) -> None:
    """Each ends with its class or its note, and the next requests get their own answers."""
    behaviour, expected = MISUSED[name]
    report = met(behaviour, jail, ca_file)
    if isinstance(expected, tuple) and expected[1] is None:
        assert isinstance(report.result, tuple), report
        assert report.result[::2] == expected[::2]
    else:
        assert report.result == expected, report


def test_no_answer_reaches_another_request_over_tls(ca_file: str) -> None:
    """After every kind of bad answer the next request gets its own."""
    network = NetworkPolicy(allow=["127.0.0.1"])
    transport = HTTPTransport(network=network, resolver=lambda host, port: ["127.0.0.1"])
    with Server(steps, context=good()) as server:
        url = f"https://{NAME}:{server.port}/"
        for number, name in enumerate([*STEPS, *reversed(STEPS)]):
            for step in (name, "well"):
                body = f"{step} {number}".encode()
                follow(transport, post(url, body=body, ca_file=ca_file))
        transport.close()
