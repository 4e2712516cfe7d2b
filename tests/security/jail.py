"""Run a function in a process of its own, with limits, and say what it cost.

One helper process imports the library once and forks for each call, so that a call costs a few
milliseconds and its peak of memory is counted on top of a process that has everything loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Self

import attrs

MIB = 1024 * 1024
_SIZE = struct.Struct("!Q")


@attrs.frozen
class Outcome:
    """What a call in the jail came to.

    Args:
        value: what it returned; None if it raised or was killed.
        error: the name of the class of what it raised, and its text; "killed by signal 9".
        cpu: seconds of processor time.
        memory: bytes of the peak on top of the process before the call.
    """

    value: Any
    error: str | None
    cpu: float
    memory: int


@attrs.define
class Jail:
    """A process that runs functions of importable modules under limits; a context manager.

    Args:
        cpu: seconds of processor time after which the kernel kills a call.
        memory: bytes of address space on top of the process.
        wall: seconds after which a call is killed.
    """

    cpu: int = 6
    memory: int = 1024 * MIB
    wall: float = 30.0
    _process: subprocess.Popen[bytes] = attrs.field(init=False)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, function: Callable[..., Any], *arguments: Any) -> Outcome:
        """Return what ``function(*arguments)`` comes to; both must survive pickling.

        Where the function has an attribute ``prepare``, that is called with the arguments first,
        and what it returns is given to the function; what preparing costs is not counted.
        """
        name = (function.__module__, function.__qualname__)
        assert self._process.stdin
        assert self._process.stdout
        _send(self._process.stdin, (name, arguments, self.cpu, self.memory, self.wall))
        return Outcome(*_receive(self._process.stdout))


@contextlib.contextmanager
def limited(cpu: int = 60, memory: int = 1024 * MIB) -> Iterator[None]:
    """Hold this process to limits, for tests of single functions, whose coverage is measured.

    Past the limit of memory an allocation fails; past that of processor time the process ends.
    """
    before = [
        (each, resource.getrlimit(each)) for each in (resource.RLIMIT_AS, resource.RLIMIT_CPU)
    ]
    most = (_address_space() + memory, int(time.process_time()) + cpu)
    for (each, (_, hard)), soft in zip(before, most, strict=True):
        resource.setrlimit(each, (soft, hard))
    try:
        yield
    finally:
        for each, values in before:
            resource.setrlimit(each, values)


def _send(stream: BinaryIO, message: object) -> None:
    data = pickle.dumps(message)
    stream.write(_SIZE.pack(len(data)) + data)
    stream.flush()


def _receive(stream: BinaryIO) -> Any:
    (size,) = _SIZE.unpack(stream.read(_SIZE.size))
    return pickle.loads(stream.read(size))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _address_space() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _limit(cpu: int, memory: int) -> None:
    most = _address_space() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _child(write: int, name: tuple[str, str], arguments: tuple[Any, ...], *limits: int) -> None:
    left: list[str] = importlib.import_module("loopback").left
    function: Any = importlib.import_module(name[0])
    for part in name[1].split("."):
        function = getattr(function, part)
    value, error = None, None
    if hasattr(function, "prepare"):
        arguments = (function.prepare(*arguments),)
    before, start = _peak(), time.process_time()
    _limit(*limits)
    try:
        value = function(*arguments)
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
    cost = time.process_time() - start, _peak() - before
    error = f"left loopback: {left}" if left else error
    with open(write, "wb") as stream:
        stream.write(pickle.dumps((value, error, *cost)))


def _call(name: Any, arguments: Any, cpu: int, memory: int, wall: float) -> tuple[Any, ...]:
    importlib.import_module(name[0])  # once, not in each child
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        with contextlib.suppress(BaseException):
            _child(write, name, arguments, cpu, memory)
        os._exit(0)
    os.close(write)
    until = time.monotonic() + wall
    data = b""
    while select.select([read], [], [], max(0.0, until - time.monotonic()))[0]:
        piece = os.read(read, MIB)
        if not piece:
            break
        data += piece
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status, usage = os.wait4(pid, 0)
    if data and not status:
        outcome: tuple[Any, ...] = pickle.loads(data)
        return outcome
    return None, f"killed by signal {status & 0x7F}", usage.ru_utime + usage.ru_stime, memory


def main() -> None:
    """Serve calls until the standard input ends."""
    sys.path[:] = sys.argv[1:]
    loopback = importlib.import_module("loopback")
    loopback.watch()
    for module in ("changehook", "changehook.testing"):
        importlib.import_module(module)
    with contextlib.suppress(struct.error):
        while True:
            _send(sys.stdout.buffer, _call(*_receive(sys.stdin.buffer)))


if __name__ == "__main__":
    main()
