"""Processes that are killed, what they do, and the receiver that remembers what it got.

Run as a program, this is a prepared process that forks a child for each order that it reads: a
child is there at once, while a fresh interpreter would need longer than it lives.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from changehook import Emitter, NetworkPolicy, RetryPolicy, ThreadPoolQueue, Webhook
from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import EncodingError, QueueError, QueueFullError
from changehook.exchange import Request, Response
from changehook.models import new_delivery_id, utcnow
from changehook.stores.sqlite import SQLiteStore
from changehook.testing.deliveries import until
from changehook.transport import HTTPTransport

WEBHOOKS = {"one": "site", "left": "rack", "right": "rack"}
LOOPBACK = NetworkPolicy(allow=["127.0.0.1"])
TIMEOUT = 1.0  # seconds for an attempt; a lease is 30 seconds longer
LONGEST_LIFE = 120  # seconds after which a child that nobody killed ends
JUMPS = [datetime.timedelta(hours=hours) for hours in (0, 1, -1, 24, -24)]
JUMP_EVERY = 0.1  # seconds at most between two jumps of a clock
POISON = 13  # the number of the change whose attempt kills its worker
STOP = (DeliveryStatus.PENDING, DeliveryStatus.DELIVERING)

Job = dict[str, Any]


def webhooks(url: str, schedule: list[float]) -> list[Webhook]:
    """Return the webhooks of each process: one for a model, and two for another."""
    return [
        Webhook(
            name=name,
            object_types=[model],
            events=["created"],
            url=f"{url}/{name}",
            retry=RetryPolicy(schedule=schedule),
            timeout=TIMEOUT,
        )
        for name, model in WEBHOOKS.items()
    ]


class RunningClock:
    """A clock that all processes share, and that runs faster than time: leases end soon.

    Args:
        origin: the seconds since 1970 at which it agrees with time.
        speed: how many seconds pass in one.
        ahead: by how many seconds it is wrong.
    """

    def __init__(self, origin: float, speed: float = 1.0, ahead: float = 0.0) -> None:
        self.origin = origin
        self.speed = speed
        self.ahead = ahead

    def __call__(self) -> datetime.datetime:
        """Return the moment it shows."""
        seconds = self.origin + (time.time() - self.origin) * self.speed + self.ahead
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


class JumpingClock:
    """A clock that jumps by hours and days, at moments that chance gives."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.jump_at = 0.0
        self.offset = JUMPS[0]

    def __call__(self) -> datetime.datetime:
        """Return the moment it shows."""
        if time.monotonic() >= self.jump_at:
            self.offset = self.chance.choice(JUMPS)
            self.jump_at = time.monotonic() + self.chance.uniform(0, JUMP_EVERY)
        return utcnow() + self.offset


class Ids(threading.local):
    """Makes delivery ids; ``fixed``, where it is set, is the id of each."""

    fixed: str | None = None

    def __call__(self, now: datetime.datetime) -> str:
        """Return an id."""
        return self.fixed or new_delivery_id(now)


class Deadly:
    """A transport that kills its process when it shall send the poison."""

    def __init__(self) -> None:
        self.transport = HTTPTransport(network=LOOPBACK)

    def send(self, request: Request, /) -> Response:
        """Send what is harmless."""
        if json.loads(request.body)["data"]["number"] == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.transport.send(request)

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()


class Diary(logging.Handler):
    """A file in which each line is written at once, so that it outlives the process.

    The errors that the library logs are written into it as well.
    """

    def __init__(self, path: str) -> None:
        super().__init__(logging.ERROR)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *words: object) -> None:
        """Write a line."""
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def emit(self, record: logging.LogRecord) -> None:
        """Write what was logged."""
        self.write("error", record.getMessage().encode())


class Worker:
    """One process of the application: an emitter over the file that all share."""

    def __init__(self, job: Job, diary: Diary) -> None:
        self.job = job
        self.write = diary.write
        self.chance = random.Random(job["seed"])
        clock = job.get("clock")
        now: Callable[[], datetime.datetime] = (
            JumpingClock(self.chance) if clock is None else RunningClock(**clock)
        )
        self.ids = Ids()
        self.queue = ThreadPoolQueue(
            SQLiteStore(job["path"], capacity=job.get("capacity", 1_000_000)),
            workers=job.get("workers", 8),
            put_timeout=0,
            retention=None,
            clock=now,
        )
        self.emitter = Emitter(
            webhooks=webhooks(job["url"], job.get("schedule", [0] + [0.1] * 99)),
            queue=self.queue,
            transport=Deadly() if job.get("deadly") else HTTPTransport(network=LOOPBACK),
            clock=now,
            new_id=self.ids,
        )

    def left(self) -> int:
        """Return how many deliveries are not finished."""
        counts = self.queue.counts()
        return sum(counts[status] for status in STOP)

    def emit(self) -> None:
        """Emit numbered changes on two threads, then deliver until the end comes."""
        count = self.job["count"]
        threads = [
            threading.Thread(target=self._emit_all, args=(range(first, first + count),))
            for first in (self.job["first"], self.job["first"] + count)
        ]
        for thread in threads:
            thread.start()
        signal.pause()

    def _emit_all(self, numbers: range) -> None:
        try:
            for number in numbers:
                self._emit_one(number)
        except BaseException:
            self.write("error", traceback.format_exc().encode())
            raise

    def _emit_one(self, number: int) -> None:
        model = self.chance.choice(list(WEBHOOKS.values()))
        data: dict[str, Any] = {"number": number}
        way = self.chance.random()
        refused: type[Exception] = QueueFullError
        if way < 0.05:  # it has no JSON form
            data["strange"] = object()
            refused = EncodingError
        elif way < 0.15:  # the second insert fails, and takes back the first
            model, self.ids.fixed = "rack", new_delivery_id(utcnow())
            refused = QueueError
        self.write("begun", number, model)
        try:
            self.emitter.emit_change("created", model, data)
        except refused:
            self.write("refused", number, model)
        else:
            self.write("acknowledged", number, model)
        finally:
            self.ids.fixed = None

    def deliver(self) -> None:
        """Deliver what others emit, until the end comes."""
        self.emitter.start()
        signal.pause()

    def drain(self) -> None:
        """Deliver all that is left, and close."""
        self.emitter.start()
        done = until(lambda: self.left() == 0, self.job.get("patience", 60.0))
        self.write("drained" if done else "left", self.left())
        self.emitter.close()

    def race(self) -> None:
        """Wait for the start with the others, then deliver all, and tell what was claimed."""
        perform = self.queue.perform

        def performed(claimed: Delivery) -> Delivery:
            self.write("claimed", claimed.id, claimed.attempt_number, os.getpid())
            return perform(claimed)

        self.queue.perform = performed
        self.write("ready")
        with open(self.job["start"]) as start:
            fcntl.flock(start, fcntl.LOCK_SH)
        self.drain()


def live(job: Job) -> NoReturn:
    """Be a child: do a job, and end without a trace of the parent."""
    signal.alarm(LONGEST_LIFE)
    diary = Diary(job["diary"])
    logging.basicConfig(level=logging.ERROR, handlers=[diary])
    code = 1
    try:
        getattr(Worker(job, diary), job["does"])()
        code = 0
    except BaseException:
        diary.write("error", traceback.format_exc().encode())
    finally:
        os._exit(code)


def serve() -> None:
    """Fork, kill and wait for children as the lines of the standard input say; end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent has it, and then closes the input
    children: set[int] = set()
    for line in sys.stdin:
        order, value = json.loads(line)
        if order == "fork":
            answer = os.fork()
            if not answer:
                live(value)
            children.add(answer)
        else:
            if order == "kill":
                os.kill(value, signal.SIGKILL)
            answer = os.waitstatus_to_exitcode(os.waitpid(value, 0)[1])
            children.discard(value)
        os.write(1, f"{answer}\n".encode())
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class Nursery:
    """The prepared process, seen from outside."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def fork(self, job: Job) -> int:
        """Start a child with a job; return its process id."""
        return self._ask("fork", job)

    def kill(self, child: int) -> int:
        """Kill a child; return its exit code, -9 if it was alive."""
        return self._ask("kill", child)

    def wait(self, child: int) -> int:
        """Return the exit code of a child that ends by itself."""
        return self._ask("wait", child)

    def close(self) -> None:
        """Kill all that live, and end."""
        with self._process as process:
            process.stdin.close()
            process.wait(LONGEST_LIFE)

    def _ask(self, order: str, value: Any) -> int:
        self._process.stdin.write(json.dumps([order, value]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def read_diary(path: Path, first: str) -> list[list[str]]:
    """Return the lines that the children began with that word, each as the words that follow."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [words for word, *words in lines if word == first]


if __name__ == "__main__":
    serve()
