"""``changehook worker``: real processes that perform what real files keep, and stop when told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from changehook.cli import main
from changehook.deliveries import Delivery, DeliveryStatus
from changehook.inspection import DeliveryFilter, DisabledWebhook
from changehook.models import utcnow
from changehook.receiver import Behaviour, Receiver
from changehook.stores.sqlite import SQLiteStore
from changehook.testing.deliveries import make_delivery, until

LIMIT = 60.0
LONG = 50.0
APPLICATION = """
import signal
import threading

from changehook import Emitter, InMemoryQueue, NetworkPolicy, Queue, ThreadPoolQueue, Webhook
from changehook.stores.sqlite import SQLiteStore

def make(listeners=()):
    hook = Webhook(name="log", object_types=["*"], events=["*"], url={url!r})
    queue = ThreadPoolQueue(SQLiteStore({path!r}))
    network = NetworkPolicy.internal()
    return Emitter(webhooks=[hook], queue=queue, network=network, listeners=listeners)

def stopping():
    return make([lambda _: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)])

def reloading():
    signal.signal(signal.SIGHUP, lambda *_: None)
    return make()

def fails():
    raise ValueError("a secret")

class Foreign(Queue):
    def put(self, deliveries): pass

class hooks:
    emitter = make()
number = 7
memory = Emitter(queue=InMemoryQueue())
foreign = Emitter(queue=Foreign())
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the store is."""
    return str(tmp_path / "webhooks.db")


@pytest.fixture
def store(path: str) -> Iterator[SQLiteStore]:
    """A store in a new file."""
    with contextlib.closing(SQLiteStore(path)) as store:
        yield store


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers 200."""
    with Receiver(port=0, output=lambda text: None) as receiver:
        yield receiver


@pytest.fixture
def hooks(tmp_path: Path) -> Callable[..., str]:
    """Write a file with one webhook, and return its path."""

    def hooks(url: str, **values: object) -> str:
        document = {"name": "log", "object_types": ["*"], "events": ["*"], "url": url, **values}
        path = tmp_path / "webhooks.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"webhooks": [document]}))
        fresh.replace(path)
        return str(path)

    return hooks


def waiting(**fields: Any) -> Delivery:
    """Return a delivery that is due."""
    return make_delivery(**{"webhook": "log", "created_at": utcnow(), "due_at": utcnow(), **fields})


class Worker:
    """A ``changehook worker`` in a process of its own."""

    def __init__(self, words: tuple[str, ...], folder: Path) -> None:
        command = [sys.executable, "-W", "error", "-m", "changehook", "worker", *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes, cwd=folder)
        self._watchdog = threading.Timer(LIMIT, self.process.kill)
        self._watchdog.start()

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def complaint(self) -> str:
        """Return the next line of its standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def done(self) -> tuple[int, str, str]:
        """Wait for its end; return its code and what else it printed."""
        out, err = self.process.communicate(timeout=LIMIT)
        self._watchdog.cancel()
        return self.process.returncode, out, err


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start workers, none of which outlives the test."""
    workers = []

    def start(*words: str) -> Worker:
        workers.append(Worker(words, tmp_path))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.done()


Start = Callable[..., Worker]
Hooks = Callable[..., str]


def test_it_performs_what_is_kept(
    start: Start, hooks: Hooks, path: str, store: SQLiteStore, receiver: Receiver
) -> None:
    """It sends what waited and what is put while it runs, and SIGTERM ends it with 0."""
    store.add([waiting() for _ in range(20)])
    file = hooks(receiver.url)
    worker = start(path, file, "--allow", "internal", "--workers", "2")
    assert worker.line() == (f"working on {path} with the webhooks of {file}; CONTROL-C stops it\n")
    assert until(lambda: store.counts()[DeliveryStatus.DELIVERED] == 20)
    store.add([waiting()])
    assert until(lambda: store.counts()[DeliveryStatus.DELIVERED] == 21)
    worker.signal(signal.SIGTERM)
    code, out, err = worker.done()
    assert (code, out) == (0, "stopped; deliveries left: 0\n")
    assert "finishing the attempts" in err
    assert len(receiver.requests) == 21


def test_it_starts_before_there_is_a_file(
    start: Start, hooks: Hooks, path: str, receiver: Receiver
) -> None:
    """A worker may be started before its application: it makes the file, and says so."""
    worker = start(path, hooks(receiver.url), "--allow", "127.0.0.1", "--synchronous", "NORMAL")
    assert f"working on {path}, a new file, with" in worker.line()
    with contextlib.closing(SQLiteStore(path)) as store:
        store.add([waiting()])
        assert until(lambda: store.counts()[DeliveryStatus.DELIVERED] == 1)
    worker.signal(signal.SIGINT)
    assert worker.done()[0] == 0


def test_it_finishes_what_it_is_doing(
    start: Start, hooks: Hooks, path: str, store: SQLiteStore
) -> None:
    """At SIGTERM the attempt that runs is finished, and nothing more is begun."""
    store.add([waiting(), waiting()])
    slow = Behaviour(delay=1.0)
    with Receiver(port=0, output=lambda text: None, behaviour=slow) as receiver:
        worker = start(path, hooks(receiver.url), "--allow", "internal", "--workers", "1")
        assert until(lambda: store.counts()[DeliveryStatus.DELIVERING] == 1)
        worker.signal(signal.SIGTERM)
        code, out, _ = worker.done()
    assert code == 0
    assert out.endswith("stopped; deliveries left: 1\n")
    counts = store.counts()
    assert counts[DeliveryStatus.DELIVERED] == counts[DeliveryStatus.PENDING] == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(
    start: Start, hooks: Hooks, path: str, store: SQLiteStore, number: int, code: int
) -> None:
    """Though a receiver hangs; what it was doing stays leased, and is done once more later."""
    store.add([waiting()])
    hanging = Behaviour(delay=LONG)
    with Receiver(port=0, output=lambda text: None, behaviour=hanging) as receiver:
        worker = start(path, hooks(receiver.url, timeout=LONG), "--allow", "internal")
        assert until(lambda: store.counts()[DeliveryStatus.DELIVERING] == 1)
        worker.signal(signal.SIGTERM)
        assert "another signal ends it at once" in worker.complaint()
        worker.signal(number)
        assert worker.done()[0] == code
    assert store.counts()[DeliveryStatus.DELIVERING] == 1


def test_until_empty_waits_for_retries(
    start: Start, hooks: Hooks, path: str, store: SQLiteStore
) -> None:
    """It ends by itself when nothing waits any more, also not for another attempt."""
    store.add([waiting()])
    failing = Behaviour(respond=500)
    with Receiver(port=0, output=lambda text: None, behaviour=failing) as receiver:
        file = hooks(receiver.url, retry={"schedule": [0, 0.2, 0.2]})
        worker = start(path, file, "--allow", "internal", "--until-empty", "--json")
        code, out, err = worker.done()
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert [each["event"] for each in events] == ["started", *["attempted"] * 3, "stopped"]
    assert [each.get("status") for each in events[1:-1]] == ["pending", "pending", "failed"]
    assert events[-1]["left"] == 0
    (found,) = store.find(DeliveryFilter())
    assert events[3] == {
        "event": "attempted",
        "id": found.id,
        "webhook": "log",
        "status": "failed",
        "attempts": 3,
        "reason": "gave up after 3 attempts: status 500",
    }


def test_until_empty_of_an_empty_file(start: Start, hooks: Hooks, path: str) -> None:
    """Nothing to do is done."""
    worker = start(path, hooks("http://127.0.0.1:1/"), "--until-empty")
    code, out, err = worker.done()
    assert (code, out.splitlines()[-1], err) == (0, "stopped; deliveries left: 0", "")


def test_events_are_lines_of_json(start: Start, hooks: Hooks, path: str) -> None:
    """With --json nothing else is printed."""
    file = hooks("http://127.0.0.1:1/")
    worker = start(path, file, "--json")
    on = f"{path}, a new file, with the webhooks of {file}"
    assert json.loads(worker.line()) == {"event": "started", "on": on}
    worker.signal(signal.SIGINT)
    assert json.loads(worker.line()) == {"event": "stopping"}
    assert json.loads(worker.line()) == {"event": "stopped", "left": 0}
    assert worker.done() == (0, "", "")


def test_it_follows_the_file_of_webhooks(
    start: Start, hooks: Hooks, path: str, store: SQLiteStore, receiver: Receiver
) -> None:
    """A webhook that is written while it runs holds from then on, which its log says."""
    worker = start(path, hooks(receiver.url, name="other"), "--allow", "internal")
    store.add([waiting(webhook="other")])
    assert until(lambda: len(receiver.requests) == 1)
    file = hooks(receiver.url)
    assert worker.complaint() == f"changehook: {file} was read again\n"
    store.add([waiting()])
    assert until(lambda: len(receiver.requests) == 2)


def test_only_public_addresses_are_called(
    start: Start, hooks: Hooks, path: str, store: SQLiteStore, receiver: Receiver
) -> None:
    """Without --allow, private and loopback addresses are refused."""
    store.add([waiting()])
    assert start(path, hooks(receiver.url), "--until-empty").done()[0] == 0
    (found,) = store.find(DeliveryFilter())
    assert (found.status, found.attempts[0].error_class) == ("failed", "blocked")
    assert not receiver.requests


def test_a_disabled_webhook_gets_nothing(
    start: Start, hooks: Hooks, path: str, store: SQLiteStore, receiver: Receiver
) -> None:
    """What another process disabled is skipped."""
    store.disable(DisabledWebhook(webhook="log", reason="moves house", at=utcnow()))
    store.add([waiting()])
    words = (path, hooks(receiver.url), "--allow", "internal", "--until-empty")
    assert start(*words).done()[0] == 0
    assert store.counts()[DeliveryStatus.SKIPPED] == 1
    assert not receiver.requests


def test_what_a_killed_worker_had_is_done(
    start: Start, hooks: Hooks, path: str, store: SQLiteStore, receiver: Receiver
) -> None:
    """A delivery whose lease ran out is taken over, with its lost attempt on record."""
    store.add([waiting()])
    store.claim(utcnow(), lease=lambda name: 0.001)
    words = (path, hooks(receiver.url), "--allow", "internal", "--until-empty")
    assert start(*words).done()[0] == 0
    (found,) = store.find(DeliveryFilter())
    assert found.status is DeliveryStatus.DELIVERED
    assert [each.error_class for each in found.attempts] == ["lost", None]


# The emitter of an application


@pytest.fixture
def application(tmp_path: Path, path: str, receiver: Receiver) -> None:
    """An application in the folder where the worker is started."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "hooks.py").write_text(APPLICATION.format(url=receiver.url, path=path))
    (folder / "broken.py").write_text("import not_there_at_all")
    (folder / "raising.py").write_text("raise ValueError('a secret')")


@pytest.mark.usefixtures("application")
@pytest.mark.parametrize("name", ["make", "hooks.emitter"])
def test_it_works_for_an_emitter(
    start: Start, store: SQLiteStore, receiver: Receiver, name: str
) -> None:
    """The emitter, or what a function returns, is started and closed."""
    store.add([waiting()])
    worker = start("--emitter", f"shop.hooks:{name}")
    assert worker.line() == f"working on the queue of shop.hooks:{name}; CONTROL-C stops it\n"
    assert until(lambda: store.counts()[DeliveryStatus.DELIVERED] == 1)
    worker.signal(signal.SIGTERM)
    code, out, _ = worker.done()
    assert (code, out) == (0, "stopped; deliveries left: 0\n")


@pytest.mark.usefixtures("application")
def test_it_works_for_an_emitter_until_empty(
    start: Start, store: SQLiteStore, receiver: Receiver
) -> None:
    """--until-empty looks into the emitter's queue."""
    store.add([waiting()])
    assert start("--emitter", "shop.hooks:make", "--until-empty").done()[0] == 0
    assert len(receiver.requests) == 1


@pytest.mark.usefixtures("application")
def test_no_signal_is_missed(start: Start, store: SQLiteStore) -> None:
    """A signal stops it though it does not interrupt the call that waits.

    As when it comes right before that call: here another thread gets it.
    """
    store.add([waiting()])
    code, out, _ = start("--emitter", "shop.hooks:stopping").done()
    assert code == 0
    assert out.endswith("stopped; deliveries left: 0\n")


@pytest.mark.usefixtures("application")
def test_signals_of_the_application_do_not_stop_it(
    start: Start, store: SQLiteStore, receiver: Receiver
) -> None:
    """It goes on after a signal for which the application has a handler."""
    worker = start("--emitter", "shop.hooks:reloading")
    assert worker.line().startswith("working on")
    for number in range(3):
        worker.signal(signal.SIGHUP)
        store.add([waiting()])
        assert until(lambda number=number: len(receiver.requests) == number + 1)
    worker.signal(signal.SIGTERM)
    assert worker.done()[0] == 0


@pytest.mark.usefixtures("application")
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("shop.hooks", "expected MODULE:NAME, such as myapp.hooks:emitter"),
        ("shop.hooks:", "expected MODULE:NAME"),
        ("shoop.hooks:emitter", "there is no module shoop.hooks"),
        ("shop.hoks:emitter", "there is no module shop.hoks"),
        ("shop.broken:emitter", "shop.broken imports not_there_at_all, which is not there"),
        ("shop.raising:emitter", "ValueError in raising.py, line 1"),
        ("shop.hooks:emiter", "the module shop.hooks has no emiter"),
        ("shop.hooks:number", "shop.hooks:number is no Emitter, and no function that"),
        ("shop.hooks:dict", "the module shop.hooks has no dict"),
        ("shop.hooks:fails", "ValueError in hooks.py"),
        ("shop.hooks:memory", "in the memory of each process"),
        ("shop.hooks:foreign", "--until-empty: the queue of this emitter cannot be looked into"),
    ],
)
def test_an_emitter_that_cannot_be_had(start: Start, place: str, words: str) -> None:
    """What is missing or wrong is said, without what the application's error says."""
    code, out, err = start("--emitter", place, "--until-empty").done()
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert "a secret" not in err


# Wrong usage


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "write STORE and FILE, or --emitter MODULE:NAME"),
        (("x.db",), "write STORE and FILE, or --emitter MODULE:NAME"),
        (("x.db", "--emitter", "a:b"), "--emitter: takes no STORE"),
        (("--emitter", "a:b", "--workers", "2"), "--emitter: takes no STORE"),
        (("--emitter", "a:b", "--allow", "internal"), "--emitter: takes no STORE"),
        (("x.db", "none.json"), "none.json: cannot be read"),
        (("x.db", "FILE", "--allow", "10.0.0.0/99"), "--allow: "),
        (("FOLDER/x.db", "FILE"), "No such file or directory"),
    ],
)
def test_words_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    hooks: Hooks,
    words: tuple[str, ...],
    complaint: str,
) -> None:
    """Each ends with 2, says why, and leaves no file behind."""
    monkeypatch.chdir(tmp_path)
    file = hooks("http://127.0.0.1:1/")
    assert main(["worker", *(word.replace("FILE", file) for word in words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert complaint in captured.err
    assert os.listdir(tmp_path) == ["webhooks.json"]


@pytest.mark.parametrize(
    "words", [("x", "y", "z"), ("x", "y", "--workers", "0"), ("x", "y", "--synchronous", "OFF")]
)
def test_words_that_cannot_be_understood(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Each is wrong usage."""
    with pytest.raises(SystemExit, match="2"):
        main(["worker", *words])
    assert "error:" in capsys.readouterr().err


def test_its_work_shows_in_the_figures(
    start: Start, hooks: Hooks, path: str, store: SQLiteStore
) -> None:
    """A worker reports as soon as it runs: how much it can do at once, and that it is idle."""
    worker = start(path, hooks("http://127.0.0.1:1/"), "--workers", "3")
    assert until(lambda: bool(store.stats(utcnow()).workers))
    (found,) = store.stats(utcnow()).workers
    assert (found.pid, found.threads, found.busy) == (worker.process.pid, 3, 0)
    assert found.is_alive(utcnow())
    worker.signal(signal.SIGTERM)
    assert worker.done()[0] == 0
    (found,) = store.stats(utcnow()).workers
    assert (found.threads, found.busy) == (0, 0)
