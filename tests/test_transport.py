"""HTTPTransport against real receivers on loopback."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

import pytest
from misbehaving import (
    BEHAVIOURS,
    CHUNKED,
    LIMIT,
    OK,
    Behaviour,
    Server,
    answer,
    hangs_up,
    post,
    says,
    well,
)

from changehook.errors import (
    AttemptError,
    BlockedError,
    ConfigurationError,
    ConnectError,
    DeadlineError,
    DNSError,
    ProtocolError,
    SetupError,
)
from changehook.exchange import Request, Response
from changehook.lookups import MAX_LOOKUPS
from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport

LOOPBACK = NetworkPolicy(allow=["127.0.0.1", "::1"])
SHORT = 0.6
KEPT = 16 * 1024

LONG_NOTE = "body longer than 64 KiB; the rest was not read"
CUT_NOTE = "body cut short"
MALFORMED_NOTE = "body malformed; the rest was not read"
UNCLEAR_NOTE = "the headers do not say where the body ends; it was not read"
HEADER_NOTE = "a malformed header; the body was not read"


def to(server: Server, path: str = "/hook", **changes: object) -> Request:
    """Return a small POST to a server."""
    return post(**{"url": f"http://127.0.0.1:{server.port}{path}", **changes})


def within_limit(call: Callable[[], Response]) -> Response | AttemptError:
    """Return what a call returned, or the error of an attempt; fail if it does not end."""
    outcome: list[Response | AttemptError] = []

    def run() -> None:
        try:
            outcome.append(call())
        except AttemptError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert outcome, "the attempt did not end"
    return outcome[0]


def sent(request: Request, **settings: object) -> Response | AttemptError:
    """Return the outcome of one attempt over a transport of its own."""
    transport = HTTPTransport(**{"network": LOOPBACK, **settings})
    try:
        return within_limit(lambda: transport.send(request))
    finally:
        transport.close()


class TestAnswers:
    @pytest.mark.parametrize(
        ("behaviour", "body", "note"),
        [
            (says(CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\nX: 1\r\n\r\n"), b"ok", None),
            (says(CHUNKED + b"2\r\nokok\r\n0\r\n\r\n"), b"ok", MALFORMED_NOTE),
            (says(CHUNKED + b"two\r\nok\r\n0\r\n\r\n"), b"", MALFORMED_NOTE),
            (says(CHUNKED + b"2\r\nok\r\n", then=hangs_up), b"ok", CUT_NOTE),
            (says(OK + b"Content-Length: 3\r\n\r\nok", then=hangs_up), b"ok", CUT_NOTE),
            (says(OK + b"\r\nok", then=hangs_up), b"ok", None),
            (says(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"), b"", UNCLEAR_NOTE),
            (says(OK + b"X : 1\r\nContent-Length: 2\r\n\r\nok"), b"", HEADER_NOTE),
        ],
    )
    def test_what_is_kept_of_a_body(
        self, behaviour: Behaviour, body: bytes, note: str | None
    ) -> None:
        """A body is read to the end that the head or the chunks tell; trouble is noted."""
        with Server(behaviour) as server:
            outcome = sent(to(server))
        assert isinstance(outcome, Response), repr(outcome)
        assert (outcome.status, outcome.body, outcome.note) == (200, body, note)
        assert outcome.address == "127.0.0.1"

    def test_no_more_than_100_headers(self) -> None:
        """A head with more headers is no answer, and the error says so."""
        with Server(BEHAVIOURS["too_many_headers"]) as server:
            outcome = sent(to(server))
        assert type(outcome) is ProtocolError
        assert str(outcome) == f"127.0.0.1:{server.port} sent more than 100 headers"

    def test_16_kib_of_headers_are_kept(self) -> None:
        """Headers beyond that are left out of the record, and others after them are kept."""
        large = "X-Large: " + "x" * 20_000
        with Server(says(answer("200 OK", b"ok", "X-One: 1", large, "X-Two: 2"))) as server:
            outcome = sent(to(server))
        assert isinstance(outcome, Response)
        assert outcome.headers == {"x-one": "1", "x-two": "2", "content-length": "2"}

    def test_what_the_library_needs_is_kept_first(self) -> None:
        """Large headers whose values are hidden leave no less room for Retry-After."""
        large = "X-Large: " + "x" * (16 * 1024 - 10)
        busy = answer("503 Busy", b"", large, "Retry-After: 3600")
        with Server(says(busy)) as server:
            outcome = sent(to(server))
        assert isinstance(outcome, Response)
        assert outcome.headers == {"retry-after": "3600", "content-length": "0"}

    def test_a_redirect_is_returned_and_not_followed(self) -> None:
        """A 302 to another address is an answer like any other: nobody else is called."""
        with Server(well) as other:
            target = f"Location: http://127.0.0.1:{other.port}/"
            with Server(says(answer("302 Found", b"", target))) as server:
                outcome = sent(to(server))
            assert isinstance(outcome, Response)
            assert outcome.headers["location"].endswith(f":{other.port}/")
            assert other.connections == 0

    def test_header_names_are_lower_case_and_values_one_line(self) -> None:
        """The response's headers are easy to look up and to show."""
        with Server(BEHAVIOURS["folded_header"]) as server:
            outcome = sent(to(server))
        assert isinstance(outcome, Response)
        assert outcome.headers == {"x-folded": "one two", "content-length": "2"}

    @pytest.mark.parametrize(
        ("size", "note"), [(65536, None), (65537, LONG_NOTE), (200_000, LONG_NOTE)]
    )
    def test_the_body_is_read_to_64_kib_and_16_are_kept(self, size: int, note: str | None) -> None:
        """A body of 64 KiB is read whole, a longer one is not; 16 KiB are kept."""
        with Server(says(answer("200 OK", b"b" * size))) as server:
            outcome = sent(to(server))
        assert isinstance(outcome, Response)
        assert (outcome.body, outcome.note) == (b"b" * KEPT, note)


class TestRequests:
    def test_the_request_on_the_wire(self) -> None:
        """Method, path and query go out as they are, with Host, length and identity encoding."""
        with Server(well) as server:
            sent(to(server, "/a/../%41/100%?q=%2f&x=[1]", body=b'{"a": 1}'))
        assert server.requests == [
            b"POST /a/../%41/100%?q=%2f&x=[1] HTTP/1.1\r\n"
            + f"Host: 127.0.0.1:{server.port}\r\nAccept-Encoding: identity\r\n".encode()
            + b"Content-Length: 8\r\nContent-Type: application/json\r\n"
            b'User-Agent: changehook/test\r\n\r\n{"a": 1}'
        ]

    def test_a_get_without_body_has_no_length(self) -> None:
        """An empty body of a method that has none is not announced."""
        with Server(well) as server:
            sent(to(server, method="GET", body=b"", headers={"Accept-Encoding": "identity"}))
        assert b"Content-Length" not in server.requests[0]
        assert server.requests[0].count(b"Accept-Encoding: identity") == 1

    def test_the_host_stays_the_name_while_the_address_is_pinned(self) -> None:
        """The receiver sees its name in Host, though a numeric address was dialled."""
        asked = []

        def resolver(host: str, port: int) -> Sequence[str]:
            asked.append((host, port))
            return ["127.0.0.1"]

        with Server(well) as server:
            url = f"http://Receiver.Test.:{server.port}/"
            outcome = sent(to(server, url=url), resolver=resolver)
        assert isinstance(outcome, Response)
        assert outcome.address == "127.0.0.1"
        assert asked == [("receiver.test.", server.port)]
        assert b"\r\nHost: receiver.test:%d\r\n" % server.port in server.requests[0]

    @pytest.mark.parametrize("url", ["ftp://h0st.test/p4th", "http://u:s3cret@h0st.test/", "/p4th"])
    def test_a_url_that_cannot_be_called_is_a_fault_of_the_setup(self, url: str) -> None:
        """What is not http or https with a host is refused, and not shown."""
        with pytest.raises(SetupError, match="the URL cannot be called") as caught:
            HTTPTransport().send(Request(method="POST", url=url, headers={}, body=b""))
        assert "s3cret" not in str(caught.value)
        assert "p4th" not in str(caught.value)

    @pytest.mark.parametrize(
        "changes",
        [
            {"headers": {"X-Bad": "s3cret\r\nX-Evil: 1"}},
            {"headers": {"X-Bad": "s3cret\u20ac"}},
            {"headers": {"X-Bad": "s3cret\r\n folded"}},
            {"headers": {"X-Bad": "s3cret\x00"}},
            {"headers": {"X-Bad": b"s3cret"}},
            {"headers": {"X Bad": "s3cret"}},
            {"headers": {"Host": "s3cret"}},
            {"headers": {"Host": "@@@SKIP_HEADER@@@"}},
            {"headers": {"Transfer-Encoding": "chunked"}},
            {"headers": {"X-A": "1", "x-a": "2"}},
            {"method": "PO ST"},
            {"method": ""},
            {"method": "TRACE"},
            {"body": iter([b"s3cret"])},
        ],
    )
    def test_what_http_forbids_is_never_sent(self, changes: dict[str, object]) -> None:
        """A header that would split the request is refused by the last line of defence, unshown."""
        with Server(well) as server:
            outcome = sent(to(server, **changes))
        assert isinstance(outcome, SetupError)
        assert "s3cret" not in str(outcome)
        assert server.connections == 0


class TestAddresses:
    def test_a_name_is_checked_at_every_connection(self) -> None:
        """A name that later answers with another address (rebinding) is judged by that one."""
        answers = iter([["127.0.0.1"], ["10.0.0.1", "169.254.169.254"]])
        transport = HTTPTransport(network=LOOPBACK, resolver=lambda host, port: next(answers))
        with Server(says(answer("200 OK", b"ok", "Connection: close"))) as server:
            request = to(server, url=f"http://receiver.test:{server.port}/")
            assert transport.send(request).status == 200
            with pytest.raises(BlockedError, match=r"10\.0\.0\.1"):
                transport.send(request)
            assert server.connections == 1

    def test_refused_addresses_are_skipped(self) -> None:
        """One permitted address among others is enough, and only that one is dialled."""
        found = ["10.0.0.1", "169.254.169.254", "127.0.0.1"]
        with Server(well) as server:
            request = to(server, url=f"http://receiver.test:{server.port}/")
            outcome = sent(request, resolver=lambda host, port: found)
        assert isinstance(outcome, Response)
        assert outcome.address == "127.0.0.1"

    def test_a_refused_address_is_never_dialled(self) -> None:
        """An independent witness, Python's audit hook, sees connections to permitted ones only."""
        program = """
import sys
dialled = []
sys.addaudithook(lambda name, args: name == "socket.connect" and dialled.append(args[1][0]))
from changehook.errors import AttemptError
from changehook.exchange import Request
from changehook.lookups import MAX_LOOKUPS
from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport
hosts = {
    "public.test": ["127.0.0.1"], "private.test": ["10.0.0.1", "fd00::1"],
    "mixed.test": ["192.168.0.1", "127.0.0.1"], "mapped.test": ["::ffff:127.0.0.1"],
    "metadata.test": ["169.254.169.254", "fe80::1%1"],
}
allowed = HTTPTransport(network=NetworkPolicy(allow=["127.0.0.1/32"]),
                        resolver=lambda host, port: [*hosts[host]])
closed = HTTPTransport(resolver=lambda host, port: [*hosts[host]])
urls = [f"http://{host}:1/" for host in hosts]
urls += ["http://127.0.0.1:1/", "http://[::1]:1/", "http://0.0.0.0:1/", "http://[::]:1/"]
for transport in (closed, allowed):
    for url in urls:
        try:
            transport.send(Request(method="POST", url=url, headers={}, body=b"", timeout=2.0))
        except AttemptError as error:
            print(type(error).__name__)
    print(sorted(set(dialled)))
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
        )
        first, second = done.stdout.split("[]\n")
        assert first.split() == ["BlockedError"] * 9
        *errors, dialled = second.splitlines()
        assert errors.count("ConnectError") == len(errors) - errors.count("BlockedError") >= 3
        assert set(ast.literal_eval(dialled)) <= {"127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1"}

    def test_names_from_data_that_hang_do_not_stop_the_others(self) -> None:
        """While look-ups of data-derived hosts hang, a host of a definition is still called."""
        go_on = threading.Event()

        def resolver(host: str, port: int) -> Sequence[str]:
            if host == "data.test":
                go_on.wait(LIMIT)
            return ["127.0.0.1"]

        transport = HTTPTransport(network=LOOPBACK, resolver=resolver)
        data = post("http://data.test/", literal_host=False, timeout=0.02)
        with Server(well) as server:
            for _ in range(MAX_LOOKUPS + 1):
                with pytest.raises(DeadlineError, match="looking up"):
                    transport.send(data)
            request = to(server, url=f"http://receiver.test:{server.port}/", timeout=2.0)
            assert transport.send(request).status == 200
            transport.close()
        go_on.set()

    def test_an_error_says_which_address_was_dialled(self) -> None:
        """Also where no answer came; None where nothing was dialled."""
        transport = HTTPTransport(network=LOOPBACK)
        with Server(hangs_up) as server:
            for _ in range(2):
                with pytest.raises(ProtocolError) as caught:
                    transport.send(to(server))
                assert caught.value.address == "127.0.0.1"
            port = server.port
        with pytest.raises(ConnectError) as refused:
            transport.send(post(url=f"http://127.0.0.1:{port}/"))
        assert refused.value.address == "127.0.0.1"
        with pytest.raises(BlockedError) as blocked:
            HTTPTransport().send(post(url=f"http://127.0.0.1:{port}/"))
        assert blocked.value.address is None

    def test_no_listener(self) -> None:
        """A port where nobody listens is a failure to connect that names the address."""
        with Server(well) as server:
            request = to(server)
        outcome = sent(request)
        assert type(outcome) is ConnectError
        assert str(outcome).endswith("127.0.0.1 refused")

    def test_no_address(self) -> None:
        """A name without an address has an error class of its own."""
        with Server(well) as server:
            request = to(server, url=f"http://receiver.test:{server.port}/")
        assert type(sent(request, resolver=lambda host, port: [])) is DNSError


REVEALING = (
    "normal",
    "close_mid_headers",
    "closes_without_answer",
    "cut_body",
    "garbage_status",
    "header_no_colon",
    "never_answers",
    "one_103",
    "redirect_self",
    "status_999",
)


class TestSecrecy:
    @pytest.mark.parametrize("name", REVEALING)
    def test_nothing_secret_is_in_an_error_or_a_log(
        self, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Path, query, header values and body are in no message, no cause and no log record."""
        caplog.set_level(logging.DEBUG)
        headers = {"X-Key": "s3cret-key", "User-Agent": "x"}
        with Server(BEHAVIOURS[name]) as server:
            request = to(server, "/s3cret?s3cret=1", headers=headers, body=b"s3cret", timeout=SHORT)
            outcome = sent(request)
        shown = caplog.text + repr(outcome) + str(outcome)
        if isinstance(outcome, AttemptError):
            shown += "".join(traceback.format_exception_only(outcome))
            assert outcome.__cause__ is None
            assert outcome.__suppress_context__
        assert "s3cret" not in shown

    @pytest.mark.parametrize(
        "proxy", ["socks5://h:1", "h:1", "http://", "http://u:s3cret@h:99999", "http://h:1/path"]
    )
    def test_a_proxy_that_is_none_is_refused(self, proxy: str) -> None:
        """A proxy's URL is checked when the transport is built, and not shown."""
        with pytest.raises(ConfigurationError, match="expected http://host:port") as caught:
            HTTPTransport(proxy=proxy)
        assert "s3cret" not in str(caught.value)


class TestExit:
    @pytest.mark.parametrize("who", ["main", "worker"])
    def test_a_delivery_while_the_process_exits(self, who: str) -> None:
        """An exit handler and a worker that it waits for can still call a receiver by its name."""
        program = """
import atexit, sys, threading
from changehook.exchange import Request
from changehook.lookups import MAX_LOOKUPS
from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport
who, url = sys.argv[1:]
network = NetworkPolicy(allow=["127.0.0.1"])
transport = HTTPTransport(network=network, resolver=lambda host, port: ["127.0.0.1"])
exiting, done = threading.Event(), threading.Event()

def deliver():
    request = Request(method="POST", url=url, headers={}, body=b"{}", timeout=20.0)
    print(transport.send(request).status, flush=True)
    transport.close()
    done.set()

def work():
    exiting.wait()
    deliver()

def leave():
    exiting.set()
    done.wait(20.0) if who == "worker" else deliver()

if who == "worker":
    threading.Thread(target=work, daemon=True).start()
atexit.register(leave)
"""
        with Server(well) as server:
            url = f"http://receiver.test:{server.port}/"
            command = [sys.executable, "-W", "error", "-c", program, who, url]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.stderr, done.returncode) == ("200\n", "", 0)
