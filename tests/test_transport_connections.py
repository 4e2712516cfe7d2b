"""How HTTPTransport keeps, lends and closes its connections."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest
from misbehaving import (
    BEHAVIOURS,
    LIMIT,
    Behaviour,
    Peer,
    Server,
    answer,
    hangs_up,
    post,
    says,
    well,
)

from changehook.errors import AttemptError, BlockedError, DeadlineError, ProtocolError
from changehook.exchange import Request
from changehook.idle import IDLE_SECONDS, MAX_IDLE, MAX_IDLE_IN_ALL, IdleConnections
from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport

LOOPBACK = NetworkPolicy(allow=["127.0.0.1"])


def to(server: Server, **changes: object) -> Request:
    """Return a small POST to a server."""
    return post(f"http://127.0.0.1:{server.port}/hook", **changes)


def test_a_connection_is_used_again() -> None:
    """Requests to one receiver follow each other on one connection."""
    transport = HTTPTransport(network=LOOPBACK)
    with Server(well) as server:
        for _ in range(3):
            assert transport.send(to(server)).status == 200
        assert (server.connections, len(server.requests)) == (1, 3)
        transport.close()
        assert server.hangups.acquire(timeout=LIMIT)
        assert transport.send(to(server)).status == 200
        transport.close()
        assert server.connections == 2


@pytest.mark.parametrize("name", ["one_103", "cut_body", "drip_body", "header_no_colon"])
def test_a_connection_out_of_step_is_closed(name: str) -> None:
    """After anything but a whole answer the connection is closed, not kept."""
    transport = HTTPTransport(network=LOOPBACK)
    with Server(BEHAVIOURS[name]) as server:
        for _ in range(2):
            with contextlib.suppress(AttemptError):
                transport.send(to(server, timeout=0.6))
        assert server.connections == 2


def test_a_data_derived_host_has_its_own_connections() -> None:
    """A connection that was opened to a literal host is not lent to one that came from data."""
    transport = HTTPTransport(network=NetworkPolicy.internal())
    with Server(well) as server:
        assert transport.send(to(server)).status == 200
        with pytest.raises(BlockedError):
            transport.send(to(server, literal_host=False))
        assert len(server.requests) == 1
    transport.close()


def test_a_connection_closed_while_idle_is_replaced() -> None:
    """A receiver that closes idle connections is called on a new one, unnoticed."""
    transport = HTTPTransport(network=LOOPBACK)
    with Server(says(answer(), then=hangs_up)) as server:
        for _ in range(2):
            assert transport.send(to(server)).status == 200
            assert server.closed.acquire(timeout=LIMIT)
        assert server.connections == len(server.requests) == 2
    transport.close()


@pytest.mark.parametrize("ending", [hangs_up, Peer.reset])
def test_a_request_that_met_a_closing_connection_is_repeated_once(ending: Behaviour) -> None:
    """Without one byte of an answer on a kept connection, the request goes out on a new one."""

    def answers_once(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        peer.read_request()
        ending(peer)

    transport = HTTPTransport(network=LOOPBACK)
    with Server(answers_once) as server:
        for _ in range(2):
            assert transport.send(to(server)).status == 200
        assert (server.connections, len(server.requests)) == (2, 3)
        transport.close()


def test_a_request_whose_answer_had_begun_is_not_repeated() -> None:
    """One byte of an answer means that the receiver has the request."""

    def answers_then_stutters(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        peer.read_request()
        peer.send(b"H")

    transport = HTTPTransport(network=LOOPBACK)
    with Server(answers_then_stutters) as server:
        assert transport.send(to(server)).status == 200
        with pytest.raises(ProtocolError, match="inside the response head"):
            transport.send(to(server))
        assert (server.connections, len(server.requests)) == (1, 2)


def test_a_reset_after_the_answer_began_is_not_repeated() -> None:
    """A reset inside the response head is a failure of that attempt."""
    begun = threading.Event()

    def answers_then_resets(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        begun.wait(LIMIT)
        peer.reset()

    def clock() -> float:
        if server.sent > len(answer()):
            begun.set()
        return 0.0

    transport = HTTPTransport(network=LOOPBACK, clock=clock)
    with Server(answers_then_resets) as server:
        assert transport.send(to(server)).status == 200
        with pytest.raises(ProtocolError):
            transport.send(to(server))
    assert len(server.requests) == 2


def test_idle_connections_are_kept_for_few_destinations() -> None:
    """The destination that was used longest ago loses its idle connections first."""
    transport = HTTPTransport(network=LOOPBACK, max_pools=1)
    with Server(well) as first, Server(well) as second:
        transport.send(to(first))
        transport.send(to(second))
        assert first.hangups.acquire(timeout=LIMIT)
        transport.send(to(second))
        transport.send(to(first))
        assert (first.connections, second.connections) == (2, 1)
        transport.close()


def test_many_threads_share_a_transport() -> None:
    """Eight threads each get their own answers over at most eight connections."""

    def echo(peer: Peer) -> None:
        while request := peer.read_request():
            peer.send(answer("200 OK", request.rpartition(b"\r\n")[2]))

    transport = HTTPTransport(network=LOOPBACK)
    bodies = [b"%d" % number for number in range(400)]
    with Server(echo) as server, ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda body: transport.send(to(server, body=body)).body, bodies)
        assert list(answers) == bodies
        assert server.connections <= 8
        transport.close()


def test_idle_connections_of_one_destination_are_bounded() -> None:
    """What is more than the bound is closed when it comes back."""
    together = threading.Barrier(MAX_IDLE + 1)

    def answers_together(peer: Peer) -> None:
        peer.read_request()
        together.wait(LIMIT)
        peer.send(answer())
        peer.read_request()

    transport = HTTPTransport(network=LOOPBACK)
    with Server(answers_together) as server, ThreadPoolExecutor(MAX_IDLE + 1) as threads:
        requests = [to(server)] * (MAX_IDLE + 1)
        assert all(answer.status == 200 for answer in threads.map(transport.send, requests))
        assert server.hangups.acquire(timeout=LIMIT)
        transport.close()


def test_a_dead_connection_discredits_the_others_to_its_receiver() -> None:
    """When a kept connection gives no byte in time, the next attempt opens a new one."""
    together = threading.Barrier(3)

    def dies(peer: Peer) -> None:
        if peer.number > 3:
            well(peer)
            return
        peer.read_request()
        together.wait(LIMIT)
        peer.send(answer())
        peer.read_request()  # and stays open without a word, as behind a router that forgot it
        peer.read_request()

    transport = HTTPTransport(network=LOOPBACK)
    with Server(dies) as server, ThreadPoolExecutor(3) as threads:
        assert [each.status for each in threads.map(transport.send, [to(server)] * 3)] == [200] * 3
        with pytest.raises(DeadlineError):
            transport.send(to(server, timeout=0.5))
        assert transport.send(to(server)).status == 200
        assert server.connections == 4
        transport.close()


def test_a_slow_connection_discredits_no_other() -> None:
    """One that gives its answer too late is alive, and so may be the others."""
    together = threading.Barrier(2)

    def stutters(peer: Peer) -> None:
        peer.read_request()
        together.wait(LIMIT)
        peer.send(answer())
        if peer.read_request().endswith(b"slow"):
            peer.send(b"HTTP/1.1")
        else:
            peer.send(answer())
        peer.read_request()

    transport = HTTPTransport(network=LOOPBACK)
    with Server(stutters) as server, ThreadPoolExecutor(2) as threads:
        assert [each.status for each in threads.map(transport.send, [to(server)] * 2)] == [200] * 2
        with pytest.raises(DeadlineError):
            transport.send(to(server, timeout=0.5, body=b"slow"))
        assert transport.send(to(server)).status == 200
        assert server.connections == 2
        transport.close()


@attrs.define(eq=False)
class Kept:
    """A connection as far as keeping it goes."""

    key: str
    is_connected: bool = True
    closed: bool = False

    def close(self) -> None:
        self.closed = True


def test_a_connection_is_kept_for_a_minute() -> None:
    """What was idle for longer is closed: when it would be used, and when another one is kept."""
    now = 0.0
    idle: IdleConnections[Kept] = IdleConnections(10, lambda: now)
    old, older, other = Kept("a"), Kept("a"), Kept("b")
    idle.give(older)
    idle.give(old)
    idle.give(other)
    now = IDLE_SECONDS
    assert idle.take("a") is old
    idle.give(old)
    now += 1
    idle.give(Kept("a"))
    assert (older.closed, old.closed, other.closed) == (True, False, True)
    now += IDLE_SECONDS + 1
    assert idle.take("a") is None
    assert old.closed
    assert idle.take("b") is None


def test_idle_connections_are_bounded_in_all() -> None:
    """A process has a limited number of open files; the receiver used longest ago goes first."""
    idle: IdleConnections[Kept] = IdleConnections(1000, lambda: 0.0)
    kept = [Kept(str(number // 2)) for number in range(2 * MAX_IDLE_IN_ALL)]
    for each in kept:
        idle.give(each)
        assert sum(not one.closed for one in kept[: kept.index(each) + 1]) <= MAX_IDLE_IN_ALL
    assert [each.closed for each in kept[-10:]] == [False] * 10
    idle.forget(kept[-1].key)
    assert (kept[-1].closed, kept[-2].closed, kept[-3].closed) == (True, True, False)
    idle.close()
    late = Kept("late")
    idle.give(late)
    assert all(each.closed for each in [*kept, late])


def test_nothing_is_kept_for_no_destination() -> None:
    """A transport may be told to keep no connection."""
    idle: IdleConnections[Kept] = IdleConnections(0, lambda: 0.0)
    idle.give(only := Kept("a"))
    assert only.closed


def test_a_request_under_way_outlives_close() -> None:
    """Closing closes what is idle; a connection in use is closed when its request is done."""
    asked, go_on = threading.Event(), threading.Event()

    def waits(peer: Peer) -> None:
        peer.read_request()
        asked.set()
        go_on.wait(LIMIT)
        peer.send(answer())
        peer.read_request()

    transport = HTTPTransport(network=LOOPBACK)
    with Server(waits) as server, ThreadPoolExecutor(1) as threads:
        response = threads.submit(transport.send, to(server))
        assert asked.wait(LIMIT)
        transport.close()
        go_on.set()
        assert response.result(LIMIT).status == 200
        assert server.hangups.acquire(timeout=LIMIT)


def test_after_a_fork_connections_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked child opens its own connections and closes none of its parent's."""
    hooks: list[Callable[[], None]] = []

    def register(*, after_in_child: Callable[[], None]) -> None:
        hooks.append(after_in_child)

    monkeypatch.setattr(os, "register_at_fork", register)
    transport = HTTPTransport(network=LOOPBACK)
    with Server(well) as server:
        assert transport.send(to(server)).status == 200
        hooks[0]()
        assert transport.send(to(server)).status == 200
        transport.close()
        assert server.hangups.acquire(timeout=LIMIT)
        assert not server.hangups.acquire(blocking=False)
        for inherited in transport._inherited[:1]:
            inherited.close()  # there is no parent here that would close it
        assert server.connections == 2
