"""The development receiver, with real senders: curl, http.client and bare sockets."""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import attrs
import pytest

from changehook.errors import ChangehookError, ConfigurationError, SetupError
from changehook.receiver import Behaviour, ReceivedRequest, Receiver, printed
from changehook.signing import sign

DATE = r"\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture
def output() -> list[str]:
    """What the receiver printed, one text per call."""
    return []


@pytest.fixture
def serve(output: list[str]) -> Iterator[Callable[..., Receiver]]:
    """Start receivers that are closed after the test."""
    with contextlib.ExitStack() as stack:

        def start(behaviour: Behaviour | None = None, **options: object) -> Receiver:
            receiver = Receiver(port=0, behaviour=behaviour, output=output.append, **options)
            return stack.enter_context(receiver)

        yield start


def address(receiver: Receiver) -> tuple[str, int]:
    """Return host and port of a receiver."""
    host, port = receiver.url.removeprefix("http://").rsplit(":", 1)
    return host.strip("[]"), int(port)


def client(receiver: Receiver) -> http.client.HTTPConnection:
    """Return a client that never waits for ever."""
    return http.client.HTTPConnection(*address(receiver), timeout=10)


def ask(receiver: Receiver, method: str = "POST", **options: object) -> http.client.HTTPResponse:
    """Return the whole response to one request."""
    with contextlib.closing(client(receiver)) as connection:
        connection.request(method, "/", **options)  # type: ignore[arg-type] # options pass through
        response = connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined] # read before the connection closes
        return response


def exchange(receiver: Receiver, *data: bytes, finish: bool = False) -> bytes:
    """Send bytes as they are; return what came back until the receiver closed."""
    with socket.create_connection(address(receiver), timeout=10) as connection:
        for piece in data:
            connection.sendall(piece)
        if finish:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def request(**changes: object) -> ReceivedRequest:
    """Return a request to print."""
    plain = ReceivedRequest(
        number=1,
        date="Tue, 07 Apr 2020 17:44:02 GMT",
        client="127.0.0.1",
        request_line="POST / HTTP/1.1",
        method="POST",
        path="/",
        headers=(("Host", "localhost:9000"), ("User-Agent", "curl/7.58.0")),
        body=b'{"foo": "bar"}',
    )
    return attrs.evolve(plain, **changes)  # type: ignore[arg-type] # changes pass through


class TestPrinting:
    """The form that is printed."""

    @needs_curl
    def test_as_documented(self, serve: Callable[..., Receiver], output: list[str]) -> None:
        """The documented curl command prints what the document shows, date and versions apart."""
        receiver = serve()
        port = address(receiver)[1]
        command = ["curl", "-sS", "--noproxy", "*", "-X", "POST", f"http://localhost:{port}"]
        subprocess.run([*command, "--data", '{"foo": "bar"}'], check=True, timeout=30)
        [block] = output
        block = re.sub(r"curl/[\d.]+", "curl/7.58.0", block.replace(str(port), "9000"))
        block = re.sub(DATE, "Tue, 07 Apr 2020 17:44:02 GMT", block)
        assert block == (
            '[1] Tue, 07 Apr 2020 17:44:02 GMT 127.0.0.1 "POST / HTTP/1.1" 200 -\n'
            "Host: localhost:9000\n"
            "User-Agent: curl/7.58.0\n"
            "Accept: */*\n"
            "Content-Length: 14\n"
            "Content-Type: application/x-www-form-urlencoded\n"
            "\n"
            '{"foo": "bar"}\n'
            "------------"
        )

    def test_banner(self) -> None:
        """The line to print before serving is the documented one."""
        receiver = Receiver(port=0)
        port = address(receiver)[1]
        expected = f"Listening on port http://localhost:{port}. Stop with CONTROL-C."
        assert receiver.banner == expected
        receiver.close()

    def test_headers_stay_in_order(self, serve: Callable[..., Receiver], output: list[str]) -> None:
        """Headers are printed as they came: in order, repeated, in the sender's spelling."""
        receiver = serve()
        exchange(receiver, b"GET /a?b HTTP/1.0\r\nzeta: 1\r\nALPHA: 2\r\nzeta: 3\r\n\r\n")
        lines = output[0].splitlines()
        assert lines[0].endswith('127.0.0.1 "GET /a?b HTTP/1.0" 200 -')
        assert lines[1:] == ["zeta: 1", "ALPHA: 2", "zeta: 3", "", "(No body)", "------------"]
        [received] = receiver.requests
        assert (received.method, received.path) == ("GET", "/a?b")
        assert received.header("Zeta") == "1"
        assert received.header("beta") is None

    def test_nothing_commands_the_terminal(
        self, serve: Callable[..., Receiver], output: list[str]
    ) -> None:
        """Controls and marks that turn text around are shown, not obeyed, wherever they stand."""
        evil = "\x1b]0;owned\x07\x9b2J\r\u202e\u2028\x00\x7f\n\tend".encode()
        head = b"POST /\x1b[2J HTTP/1.1\r\nX: \x1b[31m\x9b\r\n folded\r\nConnection: close\r\n"
        exchange(serve(), head + b"Content-Length: %d\r\n\r\n" % len(evil) + evil)
        assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", output[0]) is None
        lines = output[0].split("\n")
        assert lines[0].endswith('"POST /\\x1b[2J HTTP/1.1" 200 -')
        assert lines[1] == r"X: \x1b[31m\x9b\r\n folded"
        assert lines[5] == r"\x1b]0;owned\x07\x9b2J\r\u202e\u2028\x00\x7f"
        assert lines[6:] == ["\tend", "------------"]

    def test_bodies(self) -> None:
        """Line ends are kept, what is not UTF-8 is replaced, and no body is said to be none."""
        for body, shown in (
            (b"a\r\nb\n", "a\nb\n"),
            (b"caf\xc3\xa9 \xff", "café �"),
            (b"", "(No body)"),
        ):
            assert printed(request(body=body)).endswith(f"\n\n{shown}\n------------")

    def test_long_bodies_are_cut(self) -> None:
        """At most 64 KiB of a body are printed, and the cut is announced."""
        text = printed(request(body=b"x" * 65537))
        assert text.endswith("x\n(the first 65536 of 65537 bytes)\n------------")
        assert text.count("x") == 65536

    def test_standard_output(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without another output the blocks go to standard output, whatever its encoding."""
        buffer = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, "ascii"))
        with Receiver(port=0) as receiver:
            ask(receiver, body="café".encode())
        assert buffer.getvalue().endswith(b"\n\ncaf\\xe9\n------------\n")

    def test_blocks_are_whole(self, serve: Callable[..., Receiver], output: list[str]) -> None:
        """Requests that come at the same time are numbered one by one and printed one by one."""
        receiver = serve()

        def send(sender: int) -> None:
            with contextlib.closing(client(receiver)) as connection:
                for _ in range(10):
                    connection.request("POST", "/", body=f"from {sender}")
                    connection.getresponse().read()

        threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [block.split(" ", 1)[0] for block in output] == [f"[{n}]" for n in range(1, 81)]
        assert all(re.search(r"\n\nfrom \d\n------------$", block) for block in output)
        assert [received.number for received in receiver.requests] == list(range(1, 81))


class TestReceiving:
    """What is understood, and what is refused."""

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
    def test_methods(self, serve: Callable[..., Receiver], method: str) -> None:
        """Every usual method is answered."""
        receiver = serve()
        assert ask(receiver, method).status == 200
        assert receiver.requests[0].method == method

    def test_connections_are_kept(self, serve: Callable[..., Receiver]) -> None:
        """Several requests can come over one connection."""
        receiver = serve()
        with contextlib.closing(client(receiver)) as connection:
            for body in (b"one", b"two"):
                connection.request("POST", "/", body=body)
                connection.getresponse().read()
                used = connection.sock
            assert connection.sock is used
        assert [received.body for received in receiver.requests] == [b"one", b"two"]

    def test_older_senders(self, serve: Callable[..., Receiver]) -> None:
        """A sender that does not keep connections is told that this one is closed."""
        answer = exchange(serve(), b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer

    def test_chunked_bodies(self, serve: Callable[..., Receiver]) -> None:
        """Chunks are put together; extensions and trailers are passed over."""
        receiver = serve()
        ask(receiver, body=iter([b"first ", b"second"]), encode_chunked=True)
        exchange(
            receiver,
            b"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n",
            b"5;name=value\r\nfirst\r\n00A\n12345",
            b"67890\r\n0\r\nTrailer: x\r\n\r\n",
        )
        bodies = [received.body for received in receiver.requests]
        assert bodies == [b"first second", b"first1234567890"]

    @needs_curl
    def test_expect_continue(self, serve: Callable[..., Receiver]) -> None:
        """A sender that asks before it sends a body is told to go on."""
        receiver = serve()
        command = ["curl", "-sS", "--noproxy", "*", "-H", "Expect: 100-continue"]
        command += ["--expect100-timeout", "60", "--data", "hello", receiver.url]
        subprocess.run(command, check=True, timeout=30)
        assert receiver.requests[0].body == b"hello"

    @pytest.mark.parametrize(
        ("head", "body", "status"),
        [
            ("Content-Length: x", b"", 400),
            ("Content-Length: -1", b"", 400),
            ("Content-Length: ٣", b"", 400),
            ("Content-Length: " + "9" * 5000, b"", 400),
            ("Content-Length: 16777217", b"", 413),
            ("Content-Length: 5", b"four", 400),
            ("Transfer-Encoding: chunked", b"x\r\n", 400),
            ("Transfer-Encoding: chunked", b"-1\r\n", 400),
            ("Transfer-Encoding: chunked", b"1;" + b"x" * 2000, 400),
            ("Transfer-Encoding: chunked", b"1\r\nxx\r\n", 400),
            ("Transfer-Encoding: chunked", b"5\r\nfour", 400),
            ("Transfer-Encoding: chunked", b"ffffffff\r\n", 413),
            ("Transfer-Encoding: chunked", b"1\r\nx\r\n1000000\r\n", 413),
            ("Transfer-Encoding: chunked", b"", 400),
        ],
    )
    def test_refused_bodies(
        self,
        serve: Callable[..., Receiver],
        output: list[str],
        head: str,
        body: bytes,
        status: int,
    ) -> None:
        """A body that is too long, cut short or wrongly framed is refused and said to be so."""
        receiver = serve()
        sent = f"POST / HTTP/1.1\r\n{head}\r\n\r\n".encode() + body
        answer = exchange(receiver, sent, finish=True)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert receiver.requests == []
        assert output[0].startswith(f"127.0.0.1 code {status}, message the ")

    def test_the_refusal_arrives(self, serve: Callable[..., Receiver]) -> None:
        """A sender that first sends its whole body still gets the answer to a body too long."""
        size = 16 * 1024 * 1024 + 1
        with contextlib.closing(client(serve())) as connection:
            connection.request("POST", "/", body=b"x" * size)
            assert connection.getresponse().status == 413

    def test_the_largest_body(self, serve: Callable[..., Receiver]) -> None:
        """Sixteen MiB are taken."""
        receiver = serve()
        assert ask(receiver, body=b"x" * 16 * 1024 * 1024).status == 200
        assert len(receiver.requests[0].body) == 16 * 1024 * 1024

    @pytest.mark.parametrize("line", [b"BREW / HTTP/1.1", b"\x1b[2J", b"GET / HTTP/9.9"])
    def test_what_is_not_understood(
        self, serve: Callable[..., Receiver], output: list[str], line: bytes
    ) -> None:
        """What is no request is refused, and one harmless line says why."""
        exchange(serve(), line + b"\r\n\r\n")
        [text] = output
        assert text.startswith("127.0.0.1 code ")
        assert text.isprintable()

    def test_a_sender_that_hangs_up(
        self, serve: Callable[..., Receiver], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A sender that does not wait for the answer leaves no traceback."""
        receiver = serve(Behaviour(big=50_000_000))
        for _ in range(3):
            with socket.create_connection(address(receiver), timeout=10) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                connection.recv(1)
        receiver.close()
        assert capfd.readouterr().err == ""


class TestVerifying:
    """The verdict on a signature."""

    def test_verdicts(
        self,
        serve: Callable[..., Receiver],
        output: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Every block says whether one of the secrets signed it; the answer stays the same."""
        monkeypatch.setenv("CHANGEHOOK_TEST_SECRET", "from the environment")
        receiver = serve(Behaviour(verify=("first", "env:CHANGEHOOK_TEST_SECRET")))
        for secret in ("first", "from the environment", "wrong"):
            headers = sign(b"hello", delivery_id="x", timestamp=0, secrets=secret)
            assert ask(receiver, body=b"hello", headers=headers).status == 200
        ask(receiver, body=b"hello")
        lines = [block.split("\n")[1] for block in output]
        assert lines[:2] == ["Signature: valid"] * 2
        assert lines[2].startswith("Signature: INVALID: X-Hook-Signature was made with another")
        assert lines[3].startswith("Signature: INVALID: not signed: there is no header")
        assert receiver.requests[0].verdict == "valid"

    def test_a_signature_that_is_sent_twice(self, serve: Callable[..., Receiver]) -> None:
        """A right signature beside a wrong one does not count, in whichever order."""
        receiver = serve(Behaviour(verify=("first",)))
        [(name, right)] = sign(b"", delivery_id="x", timestamp=0, secrets="first").items()
        for values in ((right, "00"), ("00", right), (right,)):
            connection = http.client.HTTPConnection(receiver.url.removeprefix("http://"))
            connection.putrequest("POST", "/")
            for value in values:
                connection.putheader(name, value)
            connection.putheader("Content-Length", "0")
            connection.endheaders()
            connection.getresponse().read()
            connection.close()
        verdicts = [str(request.verdict)[:7] for request in receiver.requests]
        assert verdicts == ["INVALID", "INVALID", "valid"]

    def test_its_repr_hides_what_may_be_secret(self) -> None:
        """A failing test, or a crash report, does not show path, query and header values."""
        headers = (("Authorization", "hunter2"), ("Content-Type", "text/plain"))
        shown = repr(request(path="/hunter2", request_line="GET /hunter2", headers=headers))
        assert "hunter2" not in shown
        assert "text/plain" in shown

    def test_without_a_secret(self, serve: Callable[..., Receiver], output: list[str]) -> None:
        """Nothing is said about signatures unless asked for."""
        receiver = serve()
        ask(receiver)
        assert receiver.requests[0].verdict is None
        assert "Signature" not in output[0]

    def test_one_secret(self) -> None:
        """A single secret needs no list, and is not shown."""
        behaviour = Behaviour(verify="hunter2")  # type: ignore[arg-type] # mypy sees the field's type only
        assert len(behaviour.verify) == 1
        assert "hunter2" not in repr(behaviour)

    def test_a_secret_that_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A secret that cannot be had is an error before anything is received."""
        monkeypatch.delenv("CHANGEHOOK_TEST_SECRET", raising=False)
        with pytest.raises(SetupError, match="CHANGEHOOK_TEST_SECRET"):
            Receiver(port=0, behaviour=Behaviour(verify=("env:CHANGEHOOK_TEST_SECRET",)))


class TestMisbehaving:
    """Answers that a sender must live with."""

    @pytest.mark.parametrize("status", [204, 304, 410, 500, 599])
    def test_statuses(self, serve: Callable[..., Receiver], output: list[str], status: int) -> None:
        """Any status can be asked for, and is what is printed."""
        assert ask(serve(Behaviour(respond=status, big=3))).status == status
        assert f'"POST / HTTP/1.1" {status} -\n' in output[0]

    @pytest.mark.parametrize("value", [60, "60", "Tue, 07 Apr 2020 17:44:02 GMT"])
    def test_retry_after(self, serve: Callable[..., Receiver], value: str | int) -> None:
        """Retry-After is sent as it was given."""
        response = ask(serve(Behaviour(respond=503, retry_after=value)))
        assert (response.status, response.getheader("Retry-After")) == (503, str(value))

    @pytest.mark.parametrize(("respond", "status"), [(200, 302), (307, 307)])
    def test_redirects(self, serve: Callable[..., Receiver], respond: int, status: int) -> None:
        """A redirect has its Location, and 302 unless another one is asked for."""
        location = "http://127.0.0.1:1/elsewhere?a=b"
        response = ask(serve(Behaviour(redirect=location, respond=respond)))
        assert (response.status, response.getheader("Location")) == (status, location)

    def test_big(self, serve: Callable[..., Receiver]) -> None:
        """A body of any length can be asked for; HEAD gets its length only."""
        receiver = serve(Behaviour(big=1_000_001))
        assert len(ask(receiver).body) == 1_000_001  # type: ignore[attr-defined] # set by ask()
        response = ask(receiver, "HEAD")
        assert response.getheader("Content-Length") == "1000001"
        assert response.body == b""  # type: ignore[attr-defined] # set by ask()

    def test_drip(self, serve: Callable[..., Receiver]) -> None:
        """A dripped answer is complete in the end."""
        response = ask(serve(Behaviour(drip=True, drip_interval=0, respond=202, big=5)))
        assert (response.status, response.body) == (202, b"xxxxx")  # type: ignore[attr-defined] # set by ask()

    def test_drip_is_slow(self, serve: Callable[..., Receiver]) -> None:
        """One byte comes, and the next one not before its time; closing ends it at once."""
        receiver = serve(Behaviour(drip=True, drip_interval=3600))
        with socket.create_connection(address(receiver), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert connection.recv(100) == b"H"
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(100)
            receiver.close()
            connection.settimeout(10)
            assert connection.recv(100) == b""

    def test_delay(self, serve: Callable[..., Receiver]) -> None:
        """A delayed request is kept at once, and not answered yet; closing ends the delay."""
        receiver = serve(Behaviour(delay=3600))
        with socket.create_connection(address(receiver), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            receiver.wait_for(1)
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(100)
            receiver.close()

    def test_reset(self, serve: Callable[..., Receiver], output: list[str]) -> None:
        """A reset is a real one, and is printed without a status."""
        with pytest.raises(ConnectionResetError):
            exchange(serve(Behaviour(reset=True)), b"GET / HTTP/1.1\r\n\r\n")
        assert '"GET / HTTP/1.1" - -\n' in output[0]

    def test_all_faults_at_once(self) -> None:
        """Everything that is wrong with a behaviour is reported together."""
        with pytest.raises(ConfigurationError) as caught:
            Behaviour(
                respond=600,
                delay=float("nan"),
                drip_interval=-1,
                retry_after="1\r\nSet-Cookie: x",
                redirect="/é",
                big=-1,
            )
        assert [fault.pointer for fault in caught.value.faults] == [
            "/respond",
            "/delay",
            "/drip_interval",
            "/retry_after",
            "/redirect",
            "/big",
        ]


class TestLife:
    """Listening, waiting and closing."""

    def test_waiting(self, serve: Callable[..., Receiver]) -> None:
        """Waiting returns the requests once they have come, and says how many are missing."""
        receiver = serve()
        thread = threading.Thread(target=ask, args=(receiver,))
        thread.start()
        assert [received.number for received in receiver.wait_for(1)] == [1]
        thread.join()
        with pytest.raises(TimeoutError, match=r"1 of 2 requests came within 0\.01 seconds"):
            receiver.wait_for(2, timeout=0.01)

    def test_only_the_newest_are_kept(self, serve: Callable[..., Receiver]) -> None:
        """Old requests make room; they stay counted."""
        receiver = serve(keep=2)
        for _ in range(3):
            ask(receiver)
        assert [received.number for received in receiver.wait_for(3)] == [2, 3]

    def test_telling(self, serve: Callable[..., Receiver]) -> None:
        """Whoever asks is told of each request before it is answered."""
        told: list[ReceivedRequest] = []
        receiver = serve(on_request=told.append)
        ask(receiver, body=b"hello")
        assert told == receiver.requests

    def test_a_listener_that_fails(
        self, serve: Callable[..., Receiver], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An error in the host's own code is shown, and the receiver goes on."""

        def fail(received: ReceivedRequest) -> None:
            if received.number == 1:
                raise LookupError("in the host")

        receiver = serve(on_request=fail)
        with pytest.raises(http.client.RemoteDisconnected):
            ask(receiver)
        assert ask(receiver).status == 200
        receiver.close()
        assert "LookupError: in the host" in capsys.readouterr().err

    def test_closing_ends_everything(self, serve: Callable[..., Receiver]) -> None:
        """After closing no thread is left, idle connections are cut, and nothing listens."""
        before = set(threading.enumerate())
        receiver = serve()
        with contextlib.closing(client(receiver)) as connection:
            connection.request("GET", "/")
            connection.getresponse().read()
            receiver.close()
            left = set(threading.enumerate()) - before
            for thread in left:
                thread.join(timeout=10)
            assert not any(thread.is_alive() for thread in left)
            assert connection.sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address(receiver), timeout=10)

    def test_closing_again_or_unused(self) -> None:
        """Closing twice, and closing what never served, is no mistake."""
        receiver = Receiver(port=0)
        receiver.close()
        receiver.close()
        for _ in range(20):
            Receiver(port=0).start().close()

    def test_in_the_foreground(self, output: list[str]) -> None:
        """A receiver can serve in the caller's thread, and be closed from another one."""
        receiver = Receiver(port=0, output=output.append)
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        ask(receiver)
        receiver.close()
        thread.join(timeout=10)
        assert not thread.is_alive()
        assert len(output) == 1

    def test_port_in_use(self, serve: Callable[..., Receiver]) -> None:
        """A port that is taken is named."""
        port = address(serve())[1]
        with pytest.raises(ChangehookError, match=rf"port {port} of .*in use.*choose another port"):
            Receiver(port=port)

    def test_no_such_port(self) -> None:
        """A number that is no port is refused."""
        with pytest.raises(ConfigurationError, match="from 0 to 65535"):
            Receiver(port=65536)

    def test_foreign_address(self) -> None:
        """An address of another machine cannot be listened on, and the error says so."""
        with pytest.raises(ChangehookError, match=r"cannot listen on port 0 of 192\.0\.2\.1"):
            Receiver(host="192.0.2.1", port=0)

    def test_ipv6(self, output: list[str]) -> None:
        """The receiver listens on IPv6 when its address is one."""
        try:
            receiver = Receiver(host="::1", port=0, output=output.append)
        except ChangehookError as error:
            pytest.skip(f"no IPv6 loopback: {error}")
        with receiver:
            assert receiver.url.startswith("http://[::1]:")
            assert ask(receiver).status == 200
        assert " ::1 " in output[0]
