"""Names whose addresses change, looked up and called for real, in a network namespace of its own.

``python -m security.attacks_rebinding``, started by ``test_rebinding`` under ``unshare``, plays
each scenario with the system's resolver and a real transport, and prints what came of it as JSON.
"""

from __future__ import annotations

import collections
import contextlib
import http.server
import ipaddress
import json
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
from misbehaving import post

from changehook.errors import AttemptError
from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport

PORT = 8080
PUBLIC, REFUSING, PRIVATE, OTHER = "93.184.216.34", "93.184.216.99", "10.9.9.9", "10.9.9.8"
PUBLIC6, REFUSING6, PRIVATE6 = "2606:2800:220:1::34", "2606:2800:220:1::99", "fd12:9::9"
METADATA, METADATA6 = "169.254.169.254", "fd00:ec2::254"
LISTENERS = (PUBLIC, PRIVATE, OTHER, METADATA, PUBLIC6, PRIVATE6, METADATA6, "127.0.0.1", "::1")

Answer = list[str]
HANG_UP = "hang up"
CLOSING, STAYING = "/closing", "/staying"


@attrs.frozen(kw_only=True)
class Scenario:
    """What a name answers, one answer after the other, the last one for ever; and who calls it.

    Args:
        answers: addresses; ``>name`` is a CNAME, which what follows belongs to.
        steps: paths to post to, or ``HANG_UP``: the receivers close what is open.
        policy: of the transport.
        literal_host: as in a request.
        host: another host than the scenario's name.
    """

    answers: list[Answer]
    steps: tuple[str, ...] = (CLOSING, CLOSING)
    policy: NetworkPolicy = NetworkPolicy()
    literal_host: bool = True
    host: str = ""


INTERNAL = NetworkPolicy.internal()
ONE_OPEN = NetworkPolicy(allow=[PRIVATE])

SCENARIOS = {
    "rebind.test": Scenario(answers=[[PUBLIC], [PRIVATE]]),
    "rebind6.test": Scenario(answers=[[PUBLIC6], [PRIVATE6]]),
    "both.test": Scenario(answers=[[PUBLIC, PUBLIC6], [PRIVATE, PRIVATE6]]),
    "other-family.test": Scenario(answers=[[PUBLIC], [PRIVATE6]]),
    "loopback.test": Scenario(answers=[[PUBLIC], ["127.0.0.1"]]),
    "loopback6.test": Scenario(answers=[[PUBLIC6], ["::1"]]),
    "unspecified.test": Scenario(answers=[[PUBLIC], ["0.0.0.0"]]),
    "unspecified6.test": Scenario(answers=[[PUBLIC6], ["::"]]),
    "mapped.test": Scenario(answers=[[PUBLIC6], [f"::ffff:{PRIVATE}"]]),
    "metadata.test": Scenario(answers=[[PUBLIC], [METADATA]], policy=INTERNAL),
    "metadata6.test": Scenario(answers=[[PUBLIC6], [METADATA6]], policy=INTERNAL),
    "from-data.test": Scenario(answers=[[PUBLIC], [PRIVATE]], policy=INTERNAL, literal_host=False),
    "final-dot.test": Scenario(answers=[[PUBLIC], [PRIVATE]], host="Final-Dot.test."),
    "kept.test": Scenario(
        answers=[[PUBLIC], [PRIVATE]], steps=(STAYING, STAYING, HANG_UP, STAYING, STAYING)
    ),
    "kept6.test": Scenario(
        answers=[[PUBLIC6], [PRIVATE6]], steps=(STAYING, STAYING, HANG_UP, STAYING)
    ),
    "mixed.test": Scenario(answers=[[PRIVATE, PUBLIC, METADATA, PRIVATE6]]),
    "mixed6.test": Scenario(answers=[[PRIVATE6, PUBLIC6, PRIVATE, METADATA6]]),
    "mixed-refusing.test": Scenario(answers=[[PRIVATE, REFUSING, "127.0.0.1", PRIVATE6]]),
    "mixed-refusing6.test": Scenario(answers=[[PRIVATE6, REFUSING6, "::1", PRIVATE]]),
    "alias.test": Scenario(answers=[[">inside.test", PRIVATE]]),
    "alias6.test": Scenario(answers=[[">inside.test", PRIVATE6]]),
    "alias-rebind.test": Scenario(answers=[[">out.test", PUBLIC], [">inside.test", PRIVATE]]),
    # What the policy does open is reached: the receivers that the others must not reach do listen.
    "internal.test": Scenario(
        answers=[[PUBLIC], [PRIVATE], [PRIVATE6]], policy=INTERNAL, steps=(CLOSING,) * 3
    ),
    "one-open.test": Scenario(answers=[[OTHER, PRIVATE]], policy=ONE_OPEN),
}


class Names(socketserver.BaseRequestHandler):
    """A DNS server (RFC 1035) that answers by the scenarios, with a time to live of 0."""

    asked: ClassVar[collections.Counter[tuple[str, int]]] = collections.Counter()

    def handle(self) -> None:
        query, sock = self.request
        end = query.index(b"\0", 12) + 1
        name = ".".join(_labels(query[12:end])).lower()
        (kind,) = struct.unpack("!H", query[end : end + 2])
        number = self.asked[name, kind]
        self.asked[name, kind] += 1
        scenario = SCENARIOS.get(name)
        records = []
        if scenario is not None:
            answer = scenario.answers[min(number, len(scenario.answers) - 1)]
            records = list(_records(query[12:end], kind, answer))
        counts = struct.pack("!4H", 1, len(records), 0, 0)
        head = query[:2] + (b"\x85\x80" if scenario else b"\x85\x83") + counts
        sock.sendto(head + query[12 : end + 4] + b"".join(records), self.client_address)


def _labels(encoded: bytes) -> Iterator[str]:
    while encoded[0]:
        yield encoded[1 : encoded[0] + 1].decode()
        encoded = encoded[encoded[0] + 1 :]


def _records(owner: bytes, kind: int, answer: Answer) -> Iterator[bytes]:
    for each in answer:
        if each.startswith(">"):
            target = b"".join(bytes([len(label)]) + label.encode() for label in each[1:].split("."))
            yield _record(owner, 5, target + b"\0")
            owner = target + b"\0"
        else:
            address = ipaddress.ip_address(each)
            if kind == {4: 1, 6: 28}[address.version]:
                yield _record(owner, kind, address.packed)


def _record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


class Receiver(http.server.ThreadingHTTPServer):
    """Counts its connections, and can close those that are open."""

    daemon_threads = True
    open: list[socket.socket]

    def __init__(self, address: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.open = []
        super().__init__((address, PORT), Answering)

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, peer = super().get_request()
        self.open.append(sock)
        return sock, peer

    def server_bind(self) -> None:  # without the look-up of its own name
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that was closed on purpose."""

    def hang_up(self) -> None:
        for sock in self.open:
            with contextlib.suppress(OSError):  # closed already
                sock.shutdown(socket.SHUT_RDWR)


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers 200, and closes the connection if the path asks for it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        if self.path == CLOSING:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def own_network(folder: Path) -> str:
    """Bring up loopback with the addresses, and a resolver there; return the interfaces."""
    _run("ip", "link", "set", "lo", "up")
    for address in {*LISTENERS, REFUSING, REFUSING6} - {"127.0.0.1", "::1"}:
        _run("ip", "address", "add", f"{address}/{128 if ':' in address else 32}", "dev", "lo")
    for name, text in (
        ("resolv.conf", "nameserver 127.0.0.1\n"),
        ("nsswitch.conf", "hosts: dns\n"),
    ):
        (folder / name).write_text(text, encoding="ascii")
        if Path("/etc", name).exists():  # the C library's default is the same server
            _run("mount", "--bind", str(folder / name), f"/etc/{name}")
    return _run("ip", "-oneline", "link", "show", "up")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def play(name: str, scenario: Scenario, receivers: dict[str, Receiver]) -> dict[str, Any]:
    """Return what came of each step, who was connected to, and how often the name was asked for."""
    outcomes = []
    for receiver in receivers.values():
        receiver.open.clear()
    transport = HTTPTransport(network=scenario.policy)
    for step in scenario.steps:
        if step == HANG_UP:
            for receiver in receivers.values():
                receiver.hang_up()
            continue
        url = f"http://{scenario.host or name}:{PORT}{step}"
        try:
            response = transport.send(post(url, literal_host=scenario.literal_host))
            outcomes.append(f"{response.status} {response.address}")
        except AttemptError as error:
            outcomes.append(f"{type(error).__name__}: {error}")
    transport.close()
    connections = {
        address: len(receiver.open) for address, receiver in receivers.items() if receiver.open
    }
    asked = {kind: Names.asked[name, kind] for kind in (1, 28)}
    return {"outcomes": outcomes, "connections": connections, "asked": sorted(asked.values())}


def main() -> None:
    """Play every scenario."""
    with tempfile.TemporaryDirectory() as folder:
        interfaces = own_network(Path(folder))
        receivers = {address: Receiver(address) for address in LISTENERS}
        names = socketserver.UDPServer(("127.0.0.1", 53), Names)
        for server in (names, *receivers.values()):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        played = {name: play(name, each, receivers) for name, each in SCENARIOS.items()}
    print(json.dumps({"interfaces": interfaces, "played": played}))


if __name__ == "__main__":
    main()
