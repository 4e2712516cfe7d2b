"""Deadlines, byte budgets, look-ups and connecting."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest
from misbehaving import LIMIT, Server, well

from changehook.errors import (
    AttemptError,
    ConnectError,
    DeadlineError,
    DNSError,
    ProtocolError,
    TLSError,
)
from changehook.lookups import MAX_LOOKUPS, MAX_LOOKUPS_OF_DATA, Lookups, resolve
from changehook.sockets import (
    Limits,
    Phase,
    classified,
    connect,
)


def limits(seconds: float = LIMIT) -> Limits:
    """Return limits that start now."""
    return Limits("receiver.test:80", seconds, time.monotonic)


def frozen(seconds: float) -> Limits:
    """Return limits whose deadline never comes, because their clock stands still."""
    return Limits("receiver.test:80", seconds, lambda: 0.0)


class Blocking:
    """A resolver that answers when it is told to; for one name at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = threading.Event()

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host != "prompt.test":
            self.go_on.wait(LIMIT)
        return ["127.0.0.1"]

    def finish(self) -> None:
        """Answer, and wait until the threads of the look-ups have ended."""
        self.go_on.set()
        for thread in threading.enumerate():
            if thread.name == "changehook-lookup":
                thread.join(LIMIT)


class TestLimits:
    def test_the_deadline(self) -> None:
        """What remains is counted down by the clock, and none left is an error with its place."""
        moments = iter([100.0, 101.0, 103.0])
        left = Limits("receiver.test:80", 2.5, lambda: next(moments))
        assert left.remaining() == 1.5
        left.enter(Phase.HEAD)
        with pytest.raises(DeadlineError) as caught:
            left.remaining()
        assert str(caught.value) == "2.5 s passed while waiting for the answer of receiver.test:80"

    def test_the_budget_of_a_handshake(self) -> None:
        """More than 64 KiB before TLS is agreed on are a failure of TLS, not of an answer."""
        left = limits()
        left.enter(Phase.TLS)
        left.spend(64 * 1024)
        with pytest.raises(TLSError, match="more than 64 KiB before TLS was agreed on"):
            left.check_budget()

    def test_crumbs_cost_more_than_their_bytes(self) -> None:
        """A receiver that sends byte by byte cannot have 64 Ki calls made."""
        left = limits()
        left.enter(Phase.HEAD)
        for _ in range(8 * 1024):
            left.check_budget()
            left.spend(1)
        with pytest.raises(ProtocolError, match="longer than 64 KiB"):
            left.check_budget()


class TestLookups:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_an_address_is_not_looked_up(self, host: str) -> None:
        """A numeric host is its own address."""
        assert Lookups(Blocking()).addresses(host, 80, limits()) == [host]

    def test_the_systems_resolver(self) -> None:
        """The system's resolver gives numeric addresses, each once, for names and odd spellings."""
        assert set(resolve("localhost", 80)) <= {"127.0.0.1", "::1"}
        assert Lookups(resolve).addresses("0x7f.1", 80, limits()) == ["127.0.0.1"]

    def test_a_name_that_does_not_exist(self) -> None:
        """The resolver's own words say why there is no address."""

        def resolver(host: str, port: int) -> Sequence[str]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        with pytest.raises(DNSError) as caught:
            Lookups(resolver).addresses("nowhere.test", 80, limits())
        assert str(caught.value) == "nowhere.test has no address: Name or service not known"

    @pytest.mark.parametrize("found", [[], ["receiver.test"], ["127.0.0.1", ""]])
    def test_an_answer_without_addresses(self, found: list[str]) -> None:
        """An empty answer, or one that is not numeric and would be resolved again, is refused."""
        with pytest.raises(DNSError, match=r"receiver\.test has no address"):
            Lookups(lambda host, port: found).addresses("receiver.test", 80, limits())

    @pytest.mark.parametrize("error", [TimeoutError(), OSError("no such host"), UnicodeError("x")])
    def test_a_resolver_that_fails(self, error: Exception) -> None:
        """Any failure of a resolver is a failure to find the address, its own time-out too."""

        def resolver(host: str, port: int) -> Sequence[str]:
            raise error

        with pytest.raises(DNSError, match=type(error).__name__):
            Lookups(resolver).addresses("receiver.test", 80, limits())

    def test_a_resolver_that_hangs(self) -> None:
        """The deadline is kept whatever the resolver does, and when all threads hang too."""
        resolver = Blocking()
        lookups = Lookups(resolver)
        for _ in range(MAX_LOOKUPS + 1):
            with pytest.raises(DeadlineError, match="looking up"):
                lookups.addresses("receiver.test", 80, limits(0.02))
        assert resolver.asked == ["receiver.test"] * MAX_LOOKUPS
        resolver.finish()
        assert lookups.addresses("receiver.test", 80, limits()) == ["127.0.0.1"]

    def test_names_from_data_leave_threads_to_others(self) -> None:
        """However many names from data hang, a name of a definition is looked up."""
        resolver = Blocking()
        lookups = Lookups(resolver)
        for _ in range(MAX_LOOKUPS + 1):
            with pytest.raises(DeadlineError, match="looking up"):
                lookups.addresses("data.test", 80, limits(0.02), literal_host=False)
        assert lookups.addresses("prompt.test", 80, limits(1.0)) == ["127.0.0.1"]
        assert resolver.asked == ["data.test"] * MAX_LOOKUPS_OF_DATA + ["prompt.test"]
        resolver.finish()
        assert lookups.addresses("data.test", 80, limits(), literal_host=False) == ["127.0.0.1"]

    def test_waiting_in_vain_uses_nothing_up(self) -> None:
        """Names from data that found all threads busy can be looked up later."""
        resolver = Blocking()
        lookups = Lookups(resolver)
        for _ in range(MAX_LOOKUPS):
            with pytest.raises(DeadlineError):
                lookups.addresses("receiver.test", 80, limits(0.02))
        for _ in range(MAX_LOOKUPS_OF_DATA + 1):
            with pytest.raises(DeadlineError):
                lookups.addresses("data.test", 80, limits(0.02), literal_host=False)
        resolver.finish()
        assert lookups.addresses("data.test", 80, limits(), literal_host=False) == ["127.0.0.1"]

    def test_too_many_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the system has no thread left the look-up fails, and a later one can succeed."""

        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        resolver = Blocking()
        lookups = Lookups(resolver)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            for _ in range(MAX_LOOKUPS + 1):
                with pytest.raises(DNSError) as caught:
                    lookups.addresses("prompt.test", 80, limits(), literal_host=False)
        assert str(caught.value) == "prompt.test was not looked up: no thread can be started"
        assert caught.value.retryable
        assert resolver.asked == []
        assert lookups.addresses("prompt.test", 80, limits()) == ["127.0.0.1"]

    def test_a_process_that_exits(self) -> None:
        """A name is found inside an exit handler, whatever this Python says of threads there."""
        program = """
import atexit, time
from changehook.lookups import Lookups
from changehook.sockets import Limits
limits = Limits("receiver.test:80", 20.0, time.monotonic)
lookups = Lookups(lambda host, port: ["127.0.0.1"])
atexit.register(lambda: print(lookups.addresses("receiver.test", 80, limits)))
"""
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert (done.stdout, done.stderr) == ("['127.0.0.1']\n", "")

    def test_no_thread_can_be_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While Python exits, when it starts no threads, names are still found."""

        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't create new thread at interpreter shutdown")

        monkeypatch.setattr(threading.Thread, "start", start)
        lookups = Lookups(lambda host, port: ["127.0.0.1"])
        for _ in range(MAX_LOOKUPS + 1):
            assert lookups.addresses("receiver.test", 80, limits()) == ["127.0.0.1"]


class TestConnect:
    def test_the_first_that_answers(self) -> None:
        """Addresses are tried in turn until one takes the connection."""
        with Server(well) as server, connect(["::1", "127.0.0.1"], server.port, limits()) as sock:
            assert sock.getpeername() == ("127.0.0.1", server.port)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_every_failure_is_named(self) -> None:
        """The error says of each address why it failed; no more than four are tried."""
        with Server(well) as server:
            port = server.port
        addresses = ["127.0.0.1", "255.255.255.255", "fe80::1", "127.0.0.1", "127.0.0.2"]
        with pytest.raises(ConnectError) as caught:
            connect(addresses, port, limits())
        assert str(caught.value) == (
            "no connection to receiver.test:80: 127.0.0.1 refused, "
            "255.255.255.255 is unreachable, fe80::1 failed (EINVAL), 127.0.0.1 refused"
        )

    def test_an_address_that_does_not_answer(self) -> None:
        """An address that stays silent uses its share of the time and is named."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            port = full.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port), timeout=LIMIT):
                with pytest.raises(ConnectError, match=r"127\.0\.0\.1 did not answer$"):
                    connect(["127.0.0.1"], port, frozen(0.2))
                with pytest.raises(DeadlineError, match="while connecting to"):
                    connect(["127.0.0.1"], port, limits(0.2))


class TestClassified:
    @pytest.mark.parametrize(
        ("phase", "error", "expected"),
        [
            (Phase.HEAD, MemoryError("s3cret"), ProtocolError),
            (Phase.HEAD, ConnectError("mine"), ConnectError),
            (Phase.LOOKUP, OSError(errno.EMFILE, "s3cret"), ConnectError),
            (Phase.CONNECT, RuntimeError("s3cret"), ConnectError),
            (Phase.REQUEST, OSError(errno.ENOBUFS, "s3cret"), ProtocolError),
        ],
    )
    def test_foreign_texts_are_not_passed_on(
        self, phase: Phase, error: Exception, expected: type[AttemptError]
    ) -> None:
        """Whatever is raised becomes an error of this library without the words of the other."""
        left = limits()
        left.enter(phase)
        found = classified(error, left)
        assert type(found) is expected
        assert "s3cret" not in str(found)
