"""What objects do in a forked child."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from misbehaving import Server, well

from changehook.forks import after_fork_in_child, around_fork

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def run(program: str, *arguments: str) -> str:
    """Return what a program prints in a process of its own."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


class Counter:
    """Notes its calls."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def add(self) -> None:
        self.calls.append("called")


def test_an_object_is_not_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method is called while its object lives, which it does no longer for that."""
    hooks: list[Callable[[], None]] = []

    def register(*, after_in_child: Callable[[], None]) -> None:
        hooks.append(after_in_child)

    monkeypatch.setattr(os, "register_at_fork", register)
    calls: list[str] = []
    counter = Counter(calls)
    after_fork_in_child(counter.add)
    assert calls == []
    hooks[0]()
    assert calls == ["called"]
    del counter
    gc.collect()
    hooks[0]()
    assert calls == ["called"]


def test_systems_without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes are not forked there is nothing to register."""
    monkeypatch.delattr(os, "register_at_fork")
    after_fork_in_child(Counter([]).add)
    around_fork(Counter([]).add, Counter([]).add)


@needs_fork
def test_the_parent_is_asked_before_and_told_afterwards() -> None:
    """As long as the object lives, and nothing of it runs in the child."""
    program = """
import os
from changehook.forks import around_fork

class Watch:
    def __init__(self, name):
        self.name = name
        around_fork(self.before, self.after)

    def before(self):
        print(self.name, "before", flush=True)

    def after(self):
        print(self.name, "after", flush=True)

kept, gone = Watch("kept"), Watch("gone")
del gone
child = os.fork()
if child:
    os.waitpid(child, 0)
else:
    os._exit(0)
"""
    assert run(program).split() == ["kept", "before", "kept", "after"]


@needs_fork
def test_living_objects_are_called_in_the_child_alone() -> None:
    """The method runs once, in the child alone, and not for an object that is gone."""
    program = """
import os
from changehook.forks import after_fork_in_child
class Counter:
    count = 0
    def add(self): self.count += 1
kept, gone = Counter(), Counter()
after_fork_in_child(kept.add)
after_fork_in_child(gone.add)
del gone
if os.fork() == 0:
    os.write(1, b"child %d " % kept.count)
    os._exit(0)
os.wait()
print("parent", kept.count)
"""
    assert run(program) == "child 1 parent 0\n"


@needs_fork
def test_a_child_opens_its_own_connections() -> None:
    """The child leaves the connection of the parent alone, and the parent goes on using it."""
    program = """
import os, sys
from changehook.exchange import Request
from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport
transport = HTTPTransport(network=NetworkPolicy(allow=["127.0.0.1"]))
request = Request(method="POST", url=sys.argv[1], headers={}, body=sys.argv[1].encode())
transport.send(request)
if os.fork() == 0:
    status = transport.send(request).status
    transport.close()
    os.write(1, b"child %d " % status)
    os._exit(0)
os.wait()
print("parent", transport.send(request).status)
"""
    with Server(well) as server:
        assert run(program, f"http://127.0.0.1:{server.port}/") == "child 200 parent 200\n"
    assert (server.connections, len(server.requests)) == (2, 3)
