"""The queue on RQ with real workers, each a process with a working directory of its own."""

import contextlib
import datetime
import json
import os
import pickletools
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
import rq_app
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from servers import RedisServer

from changehook import DeliveryFilter, DeliveryStatus, QueueError
from changehook.queues.rq.jobs import job_id_of
from changehook.receiver import Behaviour, Receiver
from changehook.testing.deliveries import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork, and its signals")

PENDING, DELIVERING, DELIVERED, FAILED, SKIPPED = DeliveryStatus
TESTS = Path(rq_app.__file__).parent
OURS = (sys.executable, "-m", "changehook", "worker", "--rq", "--emitter", "rq_app:emitter")
RQS = (sys.executable, "-m", "rq.cli")
MODES = ("jobs", "store")
HANGS = 50.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def receiver():
    """A receiver that answers 200."""
    with Receiver(port=0, output=lambda text: None, keep=20_000) as receiver:
        yield receiver


class Fleet:
    """The workers of one test, and the application that they work for.

    Args:
        server: of Redis.
        folder: where each worker gets a working directory.
        settings: of ``rq_app``.
    """

    def __init__(self, server, folder, **settings):
        self.folder = folder
        self.settings = {"HOOKS_REDIS": server.url, **settings}
        self.emitter = rq_app.build(self.settings)
        self.queue = self.emitter.queue
        self.processes = []

    def run(self, *words):
        """Start a process in a directory of its own, with its output in a file there."""
        place = self.folder / f"machine{len(self.processes)}"
        place.mkdir()
        environment = {**os.environ, **self.settings, "PYTHONPATH": str(TESTS), "NO_COLOR": "1"}
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                words, cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        process.log = place / "log"
        self.processes.append(process)
        return process

    def worker(self, kind="changehook", *more):
        """Start a worker, and wait until it listens."""
        before = len(self.queue.stats().workers)
        url = self.settings["HOOKS_REDIS"]
        words = OURS if kind != "rq" else (*RQS, "worker", "--with-scheduler", "-u", url, "hooks")
        process = self.run(*words, *more)
        assert until(lambda: len(self.queue.stats().workers) > before), process.log.read_text()
        return process

    def waiting(self):
        """Return how many workers wait for a job."""
        return [each["cmd"] for each in self.queue.connection.client_list()].count("blmove")

    def tool(self, *words):
        """Run a command of RQ to its end."""
        done = subprocess.run(
            [*RQS, *words[:1], "-u", self.settings["HOOKS_REDIS"], *words[1:]],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def emit(self, model="site", **data):
        """Emit a change; return the id of its delivery."""
        (delivery,) = self.emitter.emit_change("created", model, {"number": 1, **data})
        return delivery.id

    def is_(self, delivery_id, status):
        """Return a condition for ``until``."""
        return lambda: self.queue.get(delivery_id).status is status

    def has_failed(self, delivery_id):
        """Return a condition: that RQ itself says so."""

        def condition():
            job = Job.fetch(job_id_of(delivery_id), connection=self.queue.connection)
            return job.get_status() is JobStatus.FAILED and job in self.queue.rq.failed_job_registry

        return condition

    def recover(self):
        """Have RQ's registry find the jobs of dead workers now, and not when their time is over."""
        StartedJobRegistry(queue=self.queue.rq).cleanup(timestamp=2**40)

    def end(self):
        """Kill what is left, with its scheduler."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with contextlib.suppress(QueueError):
            self.emitter.close(0)


@pytest.fixture
def start(server, receiver, tmp_path):
    """Build fleets, none of which outlives the test."""
    fleets = []

    def start(mode="jobs", *, server=server, **settings):
        if mode == "store":
            settings["HOOKS_STORE"] = str(tmp_path / "hooks.db")
        folder = tmp_path / f"fleet{len(fleets)}"
        folder.mkdir()
        fleets.append(Fleet(server, folder, **{"HOOKS_URL": receiver.url, **settings}))
        return fleets[-1]

    yield start
    for fleet in fleets:
        fleet.end()


def ids(receiver):
    """Return the ids that came, in order."""
    return [dict(each.headers)["webhook-id"] for each in receiver.requests]


@pytest.mark.parametrize(("mode", "kind"), [("jobs", "rq"), ("store", "changehook")])
def test_deliveries_and_their_retries(start, receiver, mode, kind):
    """A worker sends; its scheduler brings the retries; RQ's and our tools see the outcome."""
    fleet = start(mode, HOOKS_RETRY="[0, 1]")
    worker = fleet.worker(kind)
    assert until(lambda: fleet.queue.health() == [])
    good = fleet.emit()
    assert until(fleet.is_(good, DELIVERED)), worker.log.read_text()
    receiver.behaviour = Behaviour(respond=500)
    bad = fleet.emit()
    assert until(lambda: len(fleet.queue.get(bad).attempts) == 1)
    due_at = fleet.queue.get(bad).due_at
    assert until(fleet.is_(bad, FAILED))
    assert fleet.queue.get(bad).attempts[1].started_at >= due_at
    assert ids(receiver) == [good, bad, bad]
    assert until(fleet.has_failed(bad))
    receiver.behaviour = Behaviour()
    fleet.tool("requeue", "--queue", "hooks", job_id_of(bad))
    assert until(fleet.is_(bad, DELIVERED))
    assert len(fleet.queue.get(bad).attempts) == 3
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert until(lambda: len(fleet.queue.health()) == 2)


def test_a_skipped_delivery_is_requeued(start, receiver):
    """By the command line of RQ, when its webhook is enabled again."""
    fleet = start("store", HOOKS_RETRY="[0]")
    fleet.emitter.disable("log", "moves house")
    skipped = fleet.emit()
    fleet.worker()
    assert until(fleet.is_(skipped, SKIPPED))
    assert until(fleet.has_failed(skipped))
    fleet.emitter.enable("log")
    fleet.tool("requeue", "--queue", "hooks", "--all")
    assert until(fleet.is_(skipped, DELIVERED))
    assert ids(receiver) == [skipped]


def test_rq_info_shows_what_was_given_up(start, receiver):
    """With the figures of its registries."""
    receiver.behaviour = Behaviour(respond=400)
    fleet = start(HOOKS_RETRY="[0]")
    worker = fleet.worker("rq")
    bad = fleet.emit()
    assert until(fleet.is_(bad, FAILED))
    assert until(fleet.has_failed(bad))
    assert "1 failed" in fleet.tool("info", "hooks")
    assert worker.poll() is None


@pytest.mark.parametrize(("mode", "kind"), [("jobs", "changehook"), ("store", "rq")])
def test_a_worker_killed_in_the_middle_of_a_job(start, receiver, mode, kind):
    """Its job runs again, under the same id, with the lost attempt on record."""
    receiver.behaviour = Behaviour(delay=HANGS)
    fleet = start(mode)
    worker = fleet.worker(kind)
    one = fleet.emit("slow")
    assert until(lambda: len(receiver.requests) == 1)
    os.killpg(worker.pid, signal.SIGKILL)
    if kind == "rq":  # the horse that makes the attempt leads a group of its own
        for each in children(worker.pid):
            os.kill(each, signal.SIGKILL)
    worker.wait()
    assert fleet.queue.get(one).status is DELIVERING
    receiver.behaviour = Behaviour()
    fleet.recover()
    fleet.worker(kind)
    assert until(fleet.is_(one, DELIVERED))
    assert set(ids(receiver)) == {one}
    assert [each.error_class for each in fleet.queue.get(one).attempts] == ["lost", None]


def children(pid):
    """Return the processes in the session of a worker that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def test_a_killed_horse(start, receiver):
    """RQ's worker sees at once that what it forked is dead, and runs the job again."""
    receiver.behaviour = Behaviour(delay=HANGS)
    fleet = start()
    worker = fleet.worker("rq")
    one = fleet.emit("slow")
    assert until(lambda: len(receiver.requests) == 1)
    receiver.behaviour = Behaviour()
    for each in children(worker.pid):
        if os.getpgid(each) == each != worker.pid:
            os.kill(each, signal.SIGKILL)
    assert until(fleet.is_(one, DELIVERED)), worker.log.read_text()
    assert ids(receiver) == [one, one]
    assert [each.error_class for each in fleet.queue.get(one).attempts] == ["lost", None]


def test_poison(start, receiver):
    """It kills each worker that attempts it, and ends as failed; the three others arrive."""
    fleet = start()
    fleet.worker("rq")
    changes = [{"number": n, "kind": "poison" if n == 1 else "good"} for n in range(4)]
    put = emit_together(fleet, changes)
    assert len(fleet.queue.rq.finished_job_registry) + len(fleet.queue.rq) <= 2
    assert until(lambda: fleet.queue.counts()[FAILED] == 1)
    assert fleet.queue.counts()[DELIVERED] == 3
    assert "workers died" in fleet.queue.get(put[1]).reason
    assert set(ids(receiver)) == set(put) - {put[1]}
    alone = fleet.emit(kind="poison")
    assert until(fleet.is_(alone, FAILED))


def emit_together(fleet, changes):
    """Put the deliveries of many changes at once; return their ids."""
    together, put = [], fleet.queue.put
    fleet.queue.put = together.extend
    try:
        for each in changes:
            fleet.emitter.emit_change("created", each.get("model", "site"), each)
    finally:
        fleet.queue.put = put
    put(together)
    return [each.id for each in together]


def test_a_receiver_that_hangs_repeats_no_other(start, receiver):
    """Nine of a job go to one that answers, one to a receiver that does not before its deadline."""
    fleet = start(HOOKS_RETRY="[0, 600]")
    with Receiver(port=0, output=lambda text: None, behaviour=Behaviour(delay=HANGS)) as slow:
        fleet.settings["HOOKS_SLOW"] = slow.url
        fleet.worker("rq")
        changes = [{"number": number} for number in range(9)]
        put = emit_together(fleet, [*changes, {"number": 9, "model": "hangs"}])
        assert until(lambda: fleet.queue.counts()[DELIVERED] == 9)
        assert until(lambda: bool(fleet.queue.get(put[9]).attempts))
    last = fleet.queue.get(put[9])
    assert (last.status, last.attempts[0].error_class) == (PENDING, "timeout")
    assert sorted(ids(receiver)) == sorted(put[:9])


def test_a_retry_over_a_restart_of_the_worker(start, receiver):
    """It waits in Redis, and the next worker brings it."""
    receiver.behaviour = Behaviour(respond=503)
    fleet = start(HOOKS_RETRY="[0, 1]")
    worker = fleet.worker()
    one = fleet.emit()
    assert until(lambda: len(fleet.queue.get(one).attempts) == 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    receiver.behaviour = Behaviour()
    due_at = fleet.queue.get(one).due_at
    fleet.worker("rq")
    assert until(fleet.is_(one, DELIVERED))
    assert fleet.queue.get(one).attempts[1].started_at >= due_at


def test_a_server_that_is_killed_keeps_what_it_took(start, receiver):
    """And the worker goes on when it is back."""
    with RedisServer() as own:
        fleet = start(server=own)
        put = [fleet.emit() for _ in range(20)]
        own.kill()
        with pytest.raises(QueueError, match="does not answer"):
            fleet.emit()
        own.start()
        fleet.worker()
        assert until(lambda: fleet.queue.counts()[DELIVERED] == 20)
        assert until(lambda: fleet.waiting() == 1)
        own.kill()
        own.start()
        last = fleet.emit()
        assert until(fleet.is_(last, DELIVERED))
        assert set(ids(receiver)) == {*put, last}


def test_the_fallback_takes_over(start, receiver, tmp_path):
    """While the server is down, and hands over when it is back."""
    with RedisServer() as own:
        fleet = start(server=own, HOOKS_FALLBACK=str(tmp_path / "fallback.db"))
        own.kill()
        put = [fleet.emit() for _ in range(3)]
        assert fleet.emitter.fallback.counts()[PENDING] == 3
        own.start()
        assert until(lambda: fleet.emitter.fallback.counts()[PENDING] == 0)
        fleet.settings.pop("HOOKS_FALLBACK")
        fleet.worker()
        assert until(lambda: fleet.queue.counts()[DELIVERED] == 3)
        assert sorted(ids(receiver)) == sorted(put)


def test_a_disabled_webhook_is_so_for_every_process(start, receiver):
    """With a store: 410 seen by a worker is known where changes are emitted."""
    fleet = start("store")
    fleet.worker("rq")
    receiver.behaviour = Behaviour(respond=410)
    one = fleet.emit()
    assert until(fleet.is_(one, FAILED))
    assert "log" in fleet.queue.store.disabled()


def test_without_a_scheduler(start, receiver):
    """What waits for ever is said."""
    receiver.behaviour = Behaviour(respond=503)
    fleet = start(HOOKS_RETRY="[0, 1]")
    fleet.run(*RQS, "worker", "-u", fleet.settings["HOOKS_REDIS"], "hooks")
    one = fleet.emit()
    assert until(lambda: len(fleet.queue.get(one).attempts) == 1)
    (problem,) = fleet.queue.health()
    assert "no RQ scheduler is alive" in problem


def test_json_end_to_end(start, receiver):
    """Nothing at all is pickled."""
    fleet = start(HOOKS_OPTIONS='{"json": true}', HOOKS_RETRY="[0, 1]")
    receiver.behaviour = Behaviour(respond=503)
    fleet.worker()
    one = fleet.emit()
    assert until(lambda: len(fleet.queue.get(one).attempts) == 1)
    receiver.behaviour = Behaviour()
    assert until(fleet.is_(one, DELIVERED))


@pytest.mark.parametrize("kind", ["rq", "changehook"])
def test_no_secret_is_in_redis_or_a_log(start, receiver, kind):
    """Nor is a class of ours pickled; RQ's log at INFO shows no payload either."""
    fleet = start(HOOKS_RETRY="[0, 0, 60]")
    receiver.behaviour = Behaviour(respond=503)
    worker = fleet.worker(kind)
    failing = fleet.emit("gone", word="in-the-payload")
    assert until(lambda: len(fleet.queue.get(failing).attempts) == 2)
    receiver.behaviour = Behaviour(respond=410)
    bad = fleet.emit("gone", word="in-the-payload")
    assert until(fleet.is_(bad, FAILED))
    receiver.behaviour = Behaviour()
    fleet.emit("site", word="in-the-payload")
    assert until(lambda: fleet.queue.counts()[DELIVERED] == 1)
    dump = everything(fleet.queue.connection)
    log = worker.log.read_bytes()
    assert b"in-the-payload" in dump
    secrets = [rq_app.SECRET, rq_app.PATH_SECRET, rq_app.HEADER_SECRET, "markersecret"]
    for secret in map(str.encode, secrets):
        assert secret not in dump
        assert secret not in log
    assert b"in-the-payload" not in log
    if kind == "rq":
        assert failing.encode() in log
    else:
        (line,) = [each for each in log.splitlines() if bad.encode() in each]
        assert b"to webhook gone is failed: status 410" in line
        assert b"Traceback" not in log


def everything(connection):
    """Return all that a server holds, decompressed; no pickle in it may name a class of ours."""
    pieces = []
    for key in connection.scan_iter():
        kind = connection.type(key)
        pieces.append(key)
        if kind == b"hash":
            for name, value in connection.hgetall(key).items():
                plain = value
                with contextlib.suppress(zlib.error):
                    plain = zlib.decompress(value)
                if name in (b"data", b"meta"):
                    check_pickle(plain)
                pieces.append(plain)
        elif kind == b"stream":
            pieces += [v for _, fields in connection.xrange(key) for v in fields.values()]
        elif kind == b"string":
            pieces.append(connection.get(key))
        elif kind == b"zset":
            pieces += connection.zrange(key, 0, -1)
        elif kind == b"set":
            pieces += connection.smembers(key)
        else:
            pieces += connection.lrange(key, 0, -1)
    return b"\n".join(pieces)


def check_pickle(data):
    """Fail when a pickle names a class."""
    operations = {operation.name for operation, _, _ in pickletools.genops(data)}
    assert not operations & {"GLOBAL", "STACK_GLOBAL", "INST", "REDUCE"}


def test_five_thousand_over_four_workers(start, receiver):
    """Each arrives; with nobody killed, none twice."""
    fleet = start()
    changes = [{"number": number} for number in range(5000)]
    for _ in range(4):
        fleet.worker()
    put = emit_together(fleet, changes)
    assert until(lambda: fleet.queue.counts()[DELIVERED] == 5000, 60)
    assert sorted(ids(receiver)) == sorted(put)
    workers = {
        job.worker_name
        for job in Job.fetch_many(
            fleet.queue.rq.finished_job_registry.get_job_ids(), connection=fleet.queue.connection
        )
    }
    assert len(workers) > 1


@pytest.mark.parametrize("mode", MODES)
def test_kills_among_many(start, receiver, mode):
    """Workers that are killed repeat only under the same ids, and lose nothing."""
    fleet = start(mode)
    put = emit_together(fleet, [{"number": number} for number in range(600)])
    workers = [fleet.worker() for _ in range(2)]
    assert until(lambda: len(receiver.requests) > 50)
    for each in workers:
        os.killpg(each.pid, signal.SIGKILL)
        each.wait()
    fleet.recover()
    for each in fleet.queue.rq.intermediate_queue.get_job_ids():  # RQ itself waits two minutes
        fleet.queue.rq.intermediate_queue.remove(each)
        fleet.queue.rq.push_job_id(each)
    fleet.worker()
    assert until(lambda: fleet.queue.counts()[DELIVERED] == 600), fleet.queue.counts()
    assert set(ids(receiver)) == set(put)
    bodies = {}
    for each in receiver.requests:
        bodies.setdefault(dict(each.headers)["webhook-id"], set()).add(each.body)
    assert {len(each) for each in bodies.values()} == {1}


# The command line


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_finishes_what_runs(start, receiver, number):
    """And says what is left."""
    fleet = start(HOOKS_OPTIONS='{"batch": 1}')
    receiver.behaviour = Behaviour(delay=1.0)
    worker = fleet.worker()
    put = [fleet.emit("slow"), fleet.emit("slow")]
    assert until(lambda: len(receiver.requests) == 1)
    worker.send_signal(number)
    assert worker.wait(20) == 0
    assert worker.log.read_text().splitlines() == [
        "working on the queue of rq_app:emitter; CONTROL-C stops it",
        "changehook: finishing the attempts that are being made; another signal ends it at once",
        "stopped; deliveries left: 1",
    ]
    assert ids(receiver) == put[:1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(start, receiver, number, code):
    """Its scheduler ends too; its job runs again, as one of a worker that died."""
    receiver.behaviour = Behaviour(delay=HANGS)
    fleet = start()
    worker = fleet.worker()
    one = fleet.emit("slow")
    assert until(lambda: len(receiver.requests) == 1)
    worker.send_signal(signal.SIGTERM)
    assert until(lambda: "another signal ends it at once" in worker.log.read_text())
    worker.send_signal(number)
    assert worker.wait(20) == code
    assert until(lambda: not children(worker.pid))
    assert "Traceback" not in worker.log.read_text()
    receiver.behaviour = Behaviour()
    fleet.recover()
    fleet.worker()
    assert until(fleet.is_(one, DELIVERED))


def test_a_worker_that_waits_stops_at_once(start):
    """With an event for each step."""
    fleet = start()
    worker = fleet.worker("changehook", "--json")
    assert until(lambda: fleet.waiting() == 1)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(20) == 0
    assert events(worker) == [
        {"event": "started", "on": "the queue of rq_app:emitter"},
        {"event": "stopping"},
        {"event": "stopped", "left": 0},
    ]


def test_a_signal_while_it_starts(start):
    """Holds as soon as it is ready."""
    fleet = start()
    worker = fleet.run(*OURS)
    assert until(lambda: "working on" in worker.log.read_text())
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0, worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()
    assert not children(worker.pid)


def events(worker):
    """Return what a worker with --json said."""
    return [json.loads(line) for line in worker.log.read_text().splitlines() if line[:1] == "{"]


def test_a_killed_worker_takes_its_scheduler_with_it(start):
    """Which lets the next worker have one at once."""
    fleet = start()
    worker = fleet.worker()
    assert until(lambda: fleet.waiting() == 1 and fleet.queue.health() == [])
    worker.kill()
    worker.wait()
    assert until(lambda: not children(worker.pid))
    assert fleet.queue.rq.scheduler_pid is None
    assert "Traceback" not in worker.log.read_text()


def test_no_job_goes_to_a_worker_that_is_dead(start):
    """Though its scheduler lives: Redis would take the socket that it inherited for the worker."""
    fleet = start()
    worker = fleet.worker()
    job = fleet.queue.rq.enqueue_at(datetime.datetime.now(datetime.UTC), "os.getpid")
    assert until(lambda: job.get_status() is JobStatus.FINISHED)  # so the scheduler is at work
    assert until(lambda: fleet.waiting() == 1)
    (scheduler,) = [each for each in children(worker.pid) if each != worker.pid]
    os.kill(scheduler, signal.SIGSTOP)
    worker.kill()
    worker.wait()
    one = fleet.emit()
    fleet.worker()
    assert until(fleet.is_(one, DELIVERED))


def test_what_lasts_from_job_to_job(start):
    """The connection to the receiver, and the compiled templates."""
    threads, came = set(), []  # the receiver has a thread for each connection

    def on_request(request):
        threads.add(threading.current_thread())
        came.append(request.header("X-Build"))

    with Receiver(port=0, output=lambda text: None, on_request=on_request) as receiver:
        fleet = start(HOOKS_URL=receiver.url)
        fleet.worker()
        for _ in range(3):
            assert until(fleet.is_(fleet.emit(), DELIVERED))
    assert len(came) == 3
    assert len(threads) == len(set(came)) == 1


def test_sigterm_takes_no_time_from_an_attempt(start, receiver):
    """Which would end at its timeout otherwise, while the worker waits for its scheduler."""
    fleet = start()
    receiver.behaviour = Behaviour(delay=0.6)
    worker = fleet.worker()
    assert until(lambda: fleet.queue.health() == [])
    one = fleet.emit("hangs")
    assert until(lambda: len(receiver.requests) == 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert fleet.queue.get(one).status is DELIVERED


def test_until_empty_waits_for_retries(start, receiver):
    """As without RQ."""
    fleet = start(HOOKS_RETRY="[0, 1]")
    receiver.behaviour = Behaviour(respond=503)
    one = fleet.emit()
    worker = fleet.run(*OURS, "--until-empty", "--json")
    assert worker.wait(30) == 0
    assert fleet.queue.get(one).status is FAILED
    assert len(receiver.requests) == 2
    assert [each["event"] for each in events(worker)] == ["started", "stopped"]


def test_it_gives_jobs_to_what_redis_lost(start, receiver):
    """When it starts, with a store."""
    fleet = start("store")
    fleet.emit()
    fleet.queue.connection.flushall()
    assert fleet.run(*OURS, "--until-empty").wait(30) == 0
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--rq", "--emitter", "app:threads"), "no RQQueue, but ThreadPoolQueue"),
        (("--emitter", "rq_app:emitter"), "has an RQQueue, on which the workers of RQ work; add"),
        (("--rq",), "--rq: needs --emitter MODULE:NAME"),
        (("--rq", "--emitter", "rq_app:nothing"), "rq_app has no nothing"),
        (("--rq", "--emitter", "app:made"), "app:made is a function, which a worker would call"),
        (("--emitter", "jobs:emitter"), "has a CeleryQueue, on which the workers of Celery work"),
        (("--emitter", "unset:emitter"), "--emitter: KeyError in unset.py, line 2, in <module>"),
        (("--emitter", "wrong:emitter"), "--emitter: SyntaxError in wrong.py, line 1, when wrong"),
        (
            ("--emitter", "extra:emitter"),
            'RQ 2.6.1 or later; install it: pip install "changehook[rq]',
        ),
        (
            ("--rq", "--emitter", "rq_app:emitter", "--workers", "3"),
            "--workers: a worker of RQ makes one job at a time, so start several of them",
        ),
    ],
)
def test_a_wrong_emitter(start, tmp_path, words, complaint):
    """It is said which, and what to write."""
    fleet = start()
    (fleet.folder / "app.py").write_text(
        "from changehook import Emitter, ThreadPoolQueue, SQLiteStore\n"
        f"threads = Emitter(queue=ThreadPoolQueue(SQLiteStore({str(tmp_path / 'x.db')!r})))\n"
        "import redis\n"
        "from changehook.queues.rq import RQQueue\n"
        "def made():\n"
        "    return Emitter(queue=RQQueue(redis.Redis(port=1), emitter='app:made'))\n"
    )
    (fleet.folder / "jobs.py").write_text(
        "import celery\n"
        "from changehook import Emitter, SQLiteStore\n"
        "from changehook.queues.celery import CeleryQueue\n"
        f"store = SQLiteStore({str(tmp_path / 'y.db')!r})\n"
        "emitter = Emitter(queue=CeleryQueue(celery.Celery(broker='memory://'), store=store))\n"
    )
    (fleet.folder / "unset.py").write_text("import os\nos.environ['NOWHERE_TO_BE_FOUND']\n")
    (fleet.folder / "wrong.py").write_text("emitter = = 1\n")
    (fleet.folder / "extra.py").write_text(
        "import sys\nsys.modules['rq'] = None\nfrom changehook.queues.rq import RQQueue\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "changehook", "worker", *words],
        env={**os.environ, **fleet.settings, "PYTHONPATH": f"{TESTS}:{fleet.folder}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_two_machines_share_nothing_but_redis(start, receiver):
    """Two workers, each in its own directory with its own memory, do what a third process puts."""
    fleet = start(HOOKS_OPTIONS='{"batch": 1}')
    receiver.behaviour = Behaviour(delay=0.2)
    fleet.worker("rq")
    fleet.worker()
    put = [fleet.emit() for _ in range(8)]
    assert until(lambda: fleet.queue.counts()[DELIVERED] == 8)
    assert sorted(ids(receiver)) == sorted(put)
    workers = {
        Job.fetch(each, connection=fleet.queue.connection).worker_name
        for each in fleet.queue.rq.finished_job_registry.get_job_ids()
    }
    assert len(workers) == 2
    assert fleet.queue.find(DeliveryFilter(status=FAILED)) == []


@pytest.mark.parametrize("words", [(), ("--until-empty",)])
def test_the_server_is_killed_during_an_attempt(start, receiver, words):
    """The worker ends, and says so; its delivery is not lost."""
    receiver.behaviour = Behaviour(delay=1.0)
    with RedisServer() as own:
        fleet = start(server=own)
        worker = fleet.worker("changehook", *words)
        one = fleet.emit("slow")
        assert until(lambda: len(receiver.requests) == 1)
        own.kill()
        assert until(lambda: worker.poll() is not None), worker.log.read_text()
        said = worker.log.read_text()
        assert worker.returncode == 2, said
        assert "stopped; deliveries left: unknown\n" in said, said
        assert "the worker of RQ ended by itself" in said, said
        own.start()
        receiver.behaviour = Behaviour()
        fleet.recover()
        fleet.worker()
        assert until(fleet.is_(one, DELIVERED))
        assert set(ids(receiver)) == {one}


def test_the_server_is_away_when_a_worker_stops(start):
    """What is left is not known then, which is said."""
    with RedisServer() as own:
        fleet = start(server=own)
        plain, as_json = fleet.worker(), fleet.worker("changehook", "--json")
        assert until(lambda: fleet.waiting() == 2)
        own.kill()
        for worker in (plain, as_json):
            assert until(lambda: "could not connect" in worker.log.read_text())  # noqa: B023
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0, worker.log.read_text()
    assert plain.log.read_text().splitlines()[-1] == "stopped; deliveries left: unknown"
    assert events(as_json)[-1] == {"event": "stopped", "left": None}


def test_the_server_is_away_when_a_worker_starts(start):
    """That is an error, and no accident."""
    with RedisServer() as own:
        fleet = start(server=own)
    worker = fleet.run(*OURS)
    assert worker.wait(30) == 2
    said = worker.log.read_text()
    assert said.splitlines()[-1].endswith("does not answer (ConnectionError)")
    assert "Traceback" not in said
