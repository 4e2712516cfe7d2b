"""The queues that docs/howto/write-a-queue.md shows, as they stand there, on real engines."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import dramatiq
import dramatiq.worker
import pytest
import redis
from dramatiq.message import Message
from misbehaving import Peer, Server, answer
from redis.backoff import NoBackoff
from redis.retry import Retry
from servers import RedisServer

from changehook import (
    ConfigurationError,
    Delivery,
    Emitter,
    QueueError,
    RetryPolicy,
    Webhook,
)
from changehook.exchange import Request, Response
from changehook.testing import RecordingTransport, make_delivery, until

DOCUMENT = Path(__file__).parents[2] / "docs/howto/write-a-queue.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.M | re.S)
HOST = """
import json

from changehook import Emitter, NetworkPolicy, RetryPolicy, Webhook

emitter = Emitter(
    webhooks=[
        Webhook(name=name, object_types=[model], events=["*"], url=os.environ["RECEIVER"])
        for name, model in dict(one="site", left="rack", middle="rack", right="rack").items()
    ],
    queue={queue}(),
    retry=RetryPolicy(schedule=json.loads(os.environ["SCHEDULE"]), jitter=0),
    network=NetworkPolicy(allow=["127.0.0.1"]),
)
"""
# With this, a worker counts as dead after a second, and every command keeps house.
IMPATIENT = """
dramatiq.get_broker().heartbeat_timeout = 1_000
dramatiq.get_broker().maintenance_chance = 1_000_000
"""
MINE = "webhooks:worker-1"
HOUR = "[0, 3600]"


def documented(line: str) -> str:
    """Return the one example of the document that has this line."""
    [block] = [block for block in BLOCKS if line in block.splitlines()]
    return block


REDIS_LIST = documented("import redis") + HOST.format(queue="RedisListQueue")
DRAMATIQ = documented("import dramatiq") + HOST.format(queue="DramatiqQueue")


class Chat(Server):
    """A receiver that answers with these in turn, and with the last of them for ever.

    Args:
        answers: a status; None for no answer at all; or what is called before a 503.
    """

    def __init__(self, *answers: int | Callable[[], object] | None) -> None:
        self.at: list[float] = []
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        super().__init__(self._answer)

    @property
    def ids(self) -> list[str]:
        """The ids of the deliveries that came, in order."""
        found = [re.search(rb"(?im)^webhook-id: *(\S+)", each) for each in self.requests]
        return [match[1].decode() for match in found if match]

    @property
    def bodies(self) -> list[bytes]:
        """What came, in order."""
        return [request.partition(b"\r\n\r\n")[2] for request in self.requests]

    def _answer(self, peer: Peer) -> None:
        while peer.read_request():
            self.at.append(time.monotonic())
            said = next(self._answers)
            if said is None:
                peer.silence()
                return
            if callable(said):
                said()
            peer.send(answer(f"{503 if callable(said) else said} x"))


class Died(BaseException):
    """Ends a worker of this process as a signal would."""


class Mortal(redis.Connection):
    """A connection whose process dies before or after it sends, when ``life`` has run out."""

    life = sys.maxsize
    made: ClassVar[list[Mortal]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.made.append(self)

    def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        """Send, unless it is time to die."""
        self._age()
        super().send_packed_command(*arguments, **options)
        self._age()

    @classmethod
    def _age(cls) -> None:
        cls.life -= 1
        if cls.life < 0:
            raise Died


def lives(client: redis.Redis, act: Callable[[], object]) -> Iterator[None]:
    """Do something again and again, and die at each moment of it in turn; the last time it lives.

    Each time, what follows is done between the death and the next life.
    """
    pool = client.connection_pool
    pool.connection_class = Mortal
    for life in range(200):
        pool.disconnect()
        pool.reset()
        Mortal.life = life
        try:
            act()
        except Died:
            alive = False
        else:
            alive = True
        Mortal.life = sys.maxsize
        while Mortal.made:
            Mortal.made.pop().disconnect()
        yield
        if alive:
            assert life > 5
            return
    pytest.fail("it never ends")


class Site:
    """A host with the documented module, in this process and in workers of its own.

    Args:
        code: the documented code, and an emitter.
        receiver: the URL of the receiver.
        schedule: that of every webhook, as JSON.
    """

    def __init__(self, folder: Path, client: redis.Redis, code: str, receiver: str, schedule: str):
        os.environ.update(RECEIVER=receiver, SCHEDULE=schedule)
        self.redis = client
        self.is_list = code.startswith(REDIS_LIST)
        self.module: Any = types.ModuleType("hooks")
        exec(compile(code, str(DOCUMENT), "exec"), vars(self.module))
        self.own = self.module.client if self.is_list else dramatiq.get_broker().client
        self._folder = folder
        self._workers: list[subprocess.Popen[bytes]] = []
        self._engine: dramatiq.Worker | None = None
        (folder / "hooks.py").write_text(code, "utf-8")

    def emit(self, number: int = 0, model: str = "site") -> None:
        """Emit a change: that of a site for one webhook, that of a rack for three."""
        self.module.emitter.emit_change("created", model, {"number": number})

    def start(self, name: str = MINE) -> subprocess.Popen[bytes]:
        """Start a process that works: a loop, or Dramatiq's own program."""
        loop = "import sys, hooks\nwhile True: hooks.work(sys.argv[1])"
        program = ["-m", "dramatiq", "hooks", "--processes", "1", "--threads", "2"]
        process = subprocess.Popen(
            [sys.executable, *(["-c", loop, name] if self.is_list else program)],
            cwd=self._folder,
            env={**os.environ, "dramatiq_worker_timeout": "100"},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._workers.append(process)
        return process

    def engine(self) -> None:
        """Start a worker of Dramatiq with one thread in this process."""
        broker = dramatiq.get_broker()
        self._engine = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
        self._engine.start()

    def kept(self) -> list[Delivery]:
        """Return the deliveries that the server keeps, those of dead letters left aside."""
        found = self.redis.lrange("webhooks", 0, -1) + self.redis.lrange(MINE, 0, -1)
        found += self.redis.zrange("webhooks:later", 0, -1)
        for name in ("default", "default.DQ"):
            for message in self.redis.hvals(f"dramatiq:{name}.msgs"):
                argument = Message.decode(message).args[0]
                found += argument if isinstance(argument, list) else [argument]
        return [Delivery.from_json(message) for message in found]

    def dead_letters(self) -> list[str]:
        """Return what Dramatiq keeps as dead letters."""
        found = self.redis.hvals("dramatiq:default.XQ.msgs")
        return [Message.decode(message).args[0] for message in found]

    def close(self) -> None:
        """End what was started."""
        for process in self._workers:
            kill(process)
        if self._engine is not None:
            self._engine.stop(5_000)
        self.module.emitter.close()
        self.own.connection_pool.disconnect()
        dramatiq.set_broker(None)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and its children, where it still lives."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Start one server for all tests."""
    with RedisServer() as running:
        yield running


Build = Callable[..., Site]


@pytest.fixture
def build(server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Build hosts over an empty server, and close them at the end."""
    for name in ("RECEIVER", "SCHEDULE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("REDIS_URL", server.url)
    with contextlib.ExitStack() as opened:
        client = opened.enter_context(redis.Redis.from_url(server.url))
        client.flushall()

        def built(
            code: str, receiver: str = "http://127.0.0.1:9", schedule: str = "[0, 0, 0]"
        ) -> Site:
            site = Site(tmp_path, client, code, receiver, schedule)
            opened.callback(site.close)
            return site

        yield built


@pytest.fixture(params=[REDIS_LIST, DRAMATIQ], ids=["list", "dramatiq"])
def code(request: pytest.FixtureRequest) -> str:
    """Return the module of each queue."""
    return request.param


def url(chat: Chat) -> str:
    return f"http://127.0.0.1:{chat.port}"


def test_a_failed_attempt_is_made_again_when_it_is_due(build: Build, code: str) -> None:
    """After a 503 the same delivery comes once more, not early, and then nothing is left."""
    with Chat(503, 200) as chat:
        site = build(code, url(chat), "[0, 0.5]")
        site.emit()
        site.start()
        assert until(lambda: len(chat.ids) == 2 and not site.kept())
        assert len(set(chat.ids)) == len(set(chat.bodies)) == 1
        assert chat.at[1] - chat.at[0] > 0.49
        assert not site.dead_letters()


def test_each_of_many_deliveries_comes_once(build: Build, code: str) -> None:
    """Two workers share 200 deliveries, and each is made by one of them."""
    with Chat(200) as chat:
        site = build(code, url(chat))
        for number in range(50):
            site.emit(number)
            site.emit(number, "rack")
        for name in (MINE, "webhooks:worker-2"):
            site.start(name)
        assert until(lambda: len(chat.ids) >= 200 and not site.kept())
        assert len(chat.ids) == len(set(chat.ids)) == 200


@pytest.mark.parametrize("code", [REDIS_LIST, DRAMATIQ + IMPATIENT], ids=["list", "dramatiq"])
def test_what_a_killed_worker_was_attempting_is_attempted_again(build: Build, code: str) -> None:
    """A worker is killed while it waits for the answer; the next makes the same delivery."""
    with Chat(None, 200) as chat:
        site = build(code, url(chat))
        site.emit()
        worker = site.start()
        assert until(lambda: len(chat.ids) == 1)
        kill(worker)
        assert len(site.kept()) == 1
        site.start()
        assert until(lambda: len(chat.ids) == 2 and not site.kept())
        assert len(set(chat.ids)) == 1


def test_what_waits_holds_nobody_up(build: Build, code: str) -> None:
    """While one delivery waits for an hour, the one worker there is makes another."""
    with Chat(503, 200) as chat:
        site = build(code, url(chat), HOUR)
        site.emit()
        site.start() if site.is_list else site.engine()
        assert until(lambda: [each.attempt_number for each in site.kept()] == [1])
        site.emit()
        assert until(lambda: len(chat.ids) == 2 and len(site.kept()) == 1)
        [waiting] = site.kept()
        assert [waiting.id, waiting.attempts[0].status] == [chat.ids[0], 503]


def test_a_first_attempt_waits_until_it_is_due(build: Build, code: str) -> None:
    """A schedule that begins with a delay is kept."""
    with Chat(200) as chat:
        site = build(code, url(chat), "[3600]")
        site.emit()
        site.start() if site.is_list else site.engine()
        where = (
            ("zcard", "webhooks:later") if site.is_list else ("hlen", "dramatiq:default.DQ.msgs")
        )
        assert until(lambda: site.redis.execute_command(*where) == 1 == len(site.kept()))
        assert not chat.ids


def test_a_server_that_is_down_takes_nothing(build: Build, code: str, server: RedisServer) -> None:
    """The host hears of it, and nothing is there when the server is back."""
    site = build(code)
    site.own.set_retry(Retry(NoBackoff(), 0))
    server.kill()
    try:
        with pytest.raises(QueueError, match="took no deliveries"):
            site.emit()
        with pytest.raises(QueueError, match="took no deliveries"):
            site.module.emitter.queue.put([make_delivery()])
    finally:
        server.start()
    assert not site.kept()
    site.emit()
    assert len(site.kept()) == 1


def test_a_server_that_refuses_takes_nothing(build: Build, code: str) -> None:
    """A server without memory refuses a batch as a whole."""
    site = build(code)
    site.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueError, match="took no deliveries"):
            site.emit(model="rack")
    finally:
        site.redis.config_set("maxmemory", 0)
    assert not site.kept()


def test_a_batch_is_taken_as_a_whole_or_not_at_all(build: Build, code: str) -> None:
    """At whatever moment the host dies, all deliveries of the batch are there, or none is."""
    site = build(code)
    numbers = []
    for _ in lives(site.own, lambda: site.emit(model="rack")):
        numbers.append(len(site.kept()))
        site.redis.flushdb()
    assert set(numbers) == {0, 3}
    assert numbers == sorted(numbers)


# The Redis list


def send_through(site: Site, transport: RecordingTransport, schedule: list[float]) -> None:
    """Give a host another emitter, which sends nothing."""
    site.module.emitter = Emitter(
        webhooks=[
            Webhook(name="one", object_types=["site"], events=["*"], url="https://a.example/")
        ],
        queue=site.module.RedisListQueue(),
        retry=RetryPolicy(schedule=schedule),
        transport=transport,
    )


def test_whenever_a_worker_of_the_list_dies_nothing_is_lost(build: Build) -> None:
    """It dies before or after each thing that it sends to the server; the next one finishes."""
    site = build(REDIS_LIST)

    def work() -> None:
        for _ in range(6):
            if site.kept():
                site.module.work(MINE)

    def begin() -> RecordingTransport:
        transport = RecordingTransport(503, 200)
        send_through(site, transport, [0] * 9)
        site.emit()
        return transport

    transport = begin()
    for _ in lives(site.own, work):
        assert len(site.kept()) <= 1
        work()
        assert len(transport.requests) in (2, 3)
        assert len({request.headers["webhook-id"] for request in transport.requests}) == 1
        assert site.redis.keys() == []
        transport = begin()


class Deadly(RecordingTransport):
    """Kills whoever sends."""

    def send(self, request: Request, /) -> Response:
        super().send(request)
        raise Died


def test_a_delivery_that_kills_its_workers_runs_out_of_attempts(build: Build) -> None:
    """The attempts that a worker of the list died of are counted, and on record."""
    site = build(REDIS_LIST)
    transport = Deadly()
    send_through(site, transport, [0, 0, 0])
    site.emit()
    for number in (1, 2, 3):
        with pytest.raises(Died):
            site.module.work(MINE)
        site.module.work(MINE)
        [lost] = site.kept()
        assert [each.error_class for each in lost.attempts] == ["lost"] * number
    site.module.work(MINE)
    assert len(transport.requests) == 3
    assert site.redis.keys() == []


def test_the_list_is_first_in_first_out(build: Build) -> None:
    """Deliveries are attempted in the order in which they were put."""
    site = build(REDIS_LIST)
    transport = RecordingTransport(200)
    send_through(site, transport, [0])
    site.module.emitter.queue.put([make_delivery(id=name, webhook="one") for name in "abc"])
    site.module.emitter.queue.put([make_delivery(id="d", webhook="one")])
    for _ in "abcd":
        site.module.work(MINE)
    assert [request.headers["webhook-id"] for request in transport.requests] == [*"abcd"]


def test_the_list_leaves_alone_what_waits(build: Build) -> None:
    """A worker with nothing to do does not take out what is due in an hour and put it back."""
    site = build(REDIS_LIST)
    send_through(site, RecordingTransport(503), [0, 3600])
    site.emit()
    site.module.work(MINE)
    site.redis.config_resetstat()
    site.module.work(MINE)
    assert len(site.kept()) == 1
    assert not {"cmdstat_zadd", "cmdstat_zrem"} & set(site.redis.info("commandstats"))


def test_the_list_keeps_a_message_that_cannot_be_read(build: Build) -> None:
    """Its worker raises, and it stays where it is, for a release that reads it."""
    site = build(REDIS_LIST)
    site.redis.lpush("webhooks", '{"version": 99}')
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="version 99"):
            site.module.work(MINE)
    assert site.redis.lrange(MINE, 0, -1) == [b'{"version": 99}']


# Dramatiq


def test_dramatiq_keeps_what_the_broker_did_not_take_back(
    build: Build,
    server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server dies during an attempt, so the retry cannot be sent: it is a dead letter."""
    monkeypatch.setattr(dramatiq.worker, "CONSUMER_RESTART_DELAY_SECS", 0.05)
    monkeypatch.setattr(dramatiq.worker, "POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.05)
    with Chat(server.kill) as chat:
        site = build(DRAMATIQ, url(chat))
        site.own.set_retry(Retry(NoBackoff(), 0))
        site.emit()
        site.engine()
        try:
            assert until(lambda: "Failed to post_process_message" in caplog.text)
        finally:
            server.start()
        assert until(lambda: len(site.dead_letters()) == 1)
        assert Delivery.from_json(site.dead_letters()[0]).id == chat.ids[0]


def test_dramatiq_keeps_a_message_that_cannot_be_read(build: Build) -> None:
    """It is a dead letter, and the worker goes on."""
    with Chat(200) as chat:
        site = build(DRAMATIQ, url(chat))
        site.engine()
        site.module.attempt.send('{"version": 99}')
        site.emit()
        assert until(lambda: len(site.dead_letters()) == len(chat.ids) == 1)


def test_dramatiq_interrupts_no_attempt_that_may_still_succeed(build: Build) -> None:
    """Its limit lies above the timeout of an attempt."""
    site = build(DRAMATIQ)
    seconds = site.module.attempt.options["time_limit"] / 1000
    assert seconds > 2 * inspect.signature(Emitter).parameters["timeout"].default
