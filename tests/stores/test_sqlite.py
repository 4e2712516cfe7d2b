"""The SQLite store: the contract, and what a file and several processes bring with them."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from changehook import (
    ConfigurationError,
    DeliveryFilter,
    DeliveryStatus,
    QueueFullError,
    Retention,
    SQLiteStore,
    StoreError,
)
from changehook.interfaces import Store
from changehook.stores.sqlite import connections, queries, schema
from changehook.stores.sqlite.connections import refuse_network_file_system
from changehook.stores.sqlite.writer import _Ticket
from changehook.testing import StoreContract, make_delivery
from changehook.testing.deliveries import LIMIT, NOW, delivered, failed, later, until

BETWEEN = ((later(1), "b"), (NOW, "a"))

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


class TestSQLiteStore(StoreContract):
    """The contract of stores."""

    @pytest.fixture(autouse=True)
    def folder(self, path: Path) -> None:
        """Give each test a file of its own."""
        self.path = path

    def make_store(self, capacity: int) -> Store:
        """Return a store in a new file."""
        return SQLiteStore(self.path, capacity=capacity)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there yet."""
    return tmp_path / "webhooks.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    """Return a store, closed in the end."""
    opened = SQLiteStore(path)
    yield opened
    opened.close()


def asked(path: Path, statement: str) -> object:
    """Return the first value that a statement gives, on a connection of its own."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchone()[0]
    finally:
        connection.close()


# What a caller gives


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": ""}, "path: expected the name of a file; MemoryStore"),
        ({"path": ":memory:"}, "path: expected the name of a file"),
        ({"path": "file:x?mode=ro"}, "path: expected the name of a file"),
        ({"path": 5}, "path: expected the name of a file"),
        ({"path": b"x.db"}, "path: expected the name of a file"),
        ({"synchronous": "OFF"}, 'synchronous: expected "FULL" or "NORMAL", found \'OFF\''),
        ({"capacity": 0}, "capacity is a number of deliveries, at least 1"),
        ({"capacity": True}, "capacity is a number of deliveries, at least 1"),
    ],
)
def test_its_arguments_are_checked(path: Path, arguments: dict[str, object], message: str) -> None:
    """A mistake shows when the store is built."""
    with pytest.raises(ConfigurationError, match=message):
        SQLiteStore(**{"path": path, **arguments})


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    """No folder is made by accident."""
    with pytest.raises(ConfigurationError, match=r"none/x\.db: No such file or directory"):
        SQLiteStore(tmp_path / "none" / "x.db")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """SQLite's own words would not say it."""
    with pytest.raises(StoreError, match="it cannot be opened; check"):
        SQLiteStore(tmp_path)


def test_a_sqlite_that_is_too_old_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version is named."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigurationError, match=r"SQLite 3\..* is too old"):
        SQLiteStore(path)


def test_its_repr_names_the_file(store: SQLiteStore, path: Path) -> None:
    """Whoever logs it sees which one it is."""
    assert repr(store) == f"SQLiteStore({str(path)!r})"


# The file


def test_it_writes_ahead_and_syncs_fully(store: SQLiteStore, path: Path) -> None:
    """The journal mode stands in the file, the rest is set on each connection."""
    assert asked(path, "PRAGMA journal_mode") == "wal"
    with store._connections.use() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == 5000
    normal = SQLiteStore(path, synchronous="NORMAL")
    with normal._connections.use() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 1
    normal.close()


def test_only_its_user_may_read_the_file(store: SQLiteStore, path: Path) -> None:
    """Also the two beside it; payloads are nobody else's."""
    store.add([make_delivery()])
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == dict.fromkeys(("webhooks.db", "webhooks.db-wal", "webhooks.db-shm"), 0o600)


def test_what_is_kept_is_there_after_the_process(path: Path) -> None:
    """Opened again, a delivery is as it was."""
    store = SQLiteStore(path)
    store.add([make_delivery(), make_delivery(payload='{"name": "Zürich \\u0000"}')])
    [claimed] = store.claim(NOW)
    store.save(failed(claimed))
    kept = store.find(DeliveryFilter())
    store.close()
    assert SQLiteStore(path).find(DeliveryFilter()) == kept


def test_a_payload_is_stored_once(store: SQLiteStore, path: Path) -> None:
    """However many webhooks want the change; a default body is the payload and not kept again."""
    payload = '{"data": "' + "x" * 10_000 + '"}'
    store.add([make_delivery(payload=payload, webhook=f"w{number}") for number in range(50)])
    for claimed in store.claim(NOW, limit=50):
        store.save(delivered(claimed))
    assert {each.body for each in store.find(DeliveryFilter())} == {payload}
    assert asked(path, "SELECT count(*) FROM payloads") == 1
    assert asked(path, "SELECT total(length(body)) FROM deliveries") == 0


def test_a_payload_goes_with_its_last_delivery(store: SQLiteStore, path: Path) -> None:
    """And so do the attempts; nothing is left behind."""
    added = [make_delivery(), make_delivery()]
    store.add(added)
    [claimed] = store.claim(NOW)
    store.save(done := delivered(claimed))
    assert store.remove([done]) == 1
    assert asked(path, "SELECT count(*) FROM payloads") == 1
    assert store.remove(added) == 1
    for table in ("payloads", "attempts", "deliveries"):
        assert asked(path, f"SELECT count(*) FROM {table}") == 0
    assert asked(path, "SELECT total(count) FROM counts") == 0


def test_the_file_of_another_program_is_left_alone(path: Path) -> None:
    """Not a byte of it changes."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is a database of another program"):
        SQLiteStore(path)
    assert path.read_bytes() == before


def test_a_file_of_a_newer_release_is_refused(store: SQLiteStore, path: Path) -> None:
    """With both versions, and what to do."""
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(ConfigurationError, match="is of version 7, this release knows 2; install"):
        SQLiteStore(path)


def test_an_older_file_is_brought_forward(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that it keeps; and by one of the processes that open it at the same time."""
    old = SQLiteStore(path)
    old.add([make_delivery()])
    old.close()
    next_step = "ALTER TABLE deliveries ADD COLUMN tenant TEXT NOT NULL DEFAULT 'all'"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, next_step))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: SQLiteStore(path), range(8)))
    assert {len(each.find(DeliveryFilter())) for each in stores} == {1}
    assert asked(path, "PRAGMA user_version") == len(schema.MIGRATIONS)
    assert asked(path, "SELECT tenant FROM deliveries") == "all"


def test_a_migration_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file stays one of the older version, which the older release reads."""
    old = SQLiteStore(path)
    old.add([make_delivery()])
    old.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE n (x); NONSENSE"))
    with pytest.raises(StoreError, match="syntax error"):
        SQLiteStore(path)
    monkeypatch.undo()
    assert SQLiteStore(path).counts()[DeliveryStatus.PENDING] == 1
    assert asked(path, "SELECT count(*) FROM sqlite_master WHERE name = 'n'") == 0


MOUNTS = """
/dev/vda / ext4 rw,relatime 0 0
server:/export /srv/share nfs4 rw,vers=4.2 0 0
server:/home /home/with\\040space fuse.sshfs rw 0 0
//server/x /mnt/win cifs rw 0 0
tmpfs /srv/share/local tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/srv/share/x.db", "nfs4"),
        ("/home/with space/a/x.db", "sshfs"),
        ("/mnt/win/x.db", "cifs"),
        ("/srv/share/local/x.db", None),
        ("/srv/sharex/x.db", None),
        ("/var/lib/x.db", None),
    ],
)
def test_a_network_file_system_is_refused(place: str, kind: str | None) -> None:
    """Where it can be seen; the innermost mount counts."""
    if kind is None:
        refuse_network_file_system(Path(place), MOUNTS)
        return
    with pytest.raises(ConfigurationError, match=f"lies on {kind}, a network file system"):
        refuse_network_file_system(Path(place), MOUNTS)


def test_the_mounts_of_this_machine_are_asked(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the store is built; a system that does not tell is believed."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/x {tmp_path} nfs rw 0 0\n")
    monkeypatch.setattr(connections, "MOUNTS", mounts)
    with pytest.raises(ConfigurationError, match="write a path on a local disk"):
        SQLiteStore(path)
    monkeypatch.setattr(connections, "MOUNTS", tmp_path / "none")
    SQLiteStore(path)


def test_a_file_system_without_shared_memory_is_refused(path: Path) -> None:
    """Where no write-ahead log can be had."""

    class Connection:
        """A connection that stays with its rollback journal."""

        def __init__(self, name: str) -> None:
            self.real = sqlite3.connect(name, isolation_level=None)
            self.close = self.real.close
            self.in_transaction = False

        def execute(self, statement: str) -> sqlite3.Cursor:
            return self.real.execute(statement.replace("= WAL", "= DELETE"))

    with pytest.raises(ConfigurationError, match="cannot use a write-ahead log"):
        SQLiteStore(path, connect=Connection)


# What can happen to a file


def test_a_damaged_file_is_named_as_such(path: Path) -> None:
    """When it is opened."""
    path.write_bytes(b"this is no database " * 100)
    with pytest.raises(StoreError, match="the file is no SQLite database"):
        SQLiteStore(path)


def test_damage_within_a_file_is_an_error_in_words(store: SQLiteStore, path: Path) -> None:
    """The operator reads what saves the rest."""
    store.add([make_delivery(payload="x" * 3000) for _ in range(50)])
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:-4096] = os.urandom(len(content) - 8192 - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="the file is damaged"):
        SQLiteStore(path).find(DeliveryFilter())


def test_a_disk_that_is_full_is_an_error_of_put_and_loses_nothing(path: Path) -> None:
    """What was stored stays readable, and with room it goes on."""

    def small(name: str) -> sqlite3.Connection:
        connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA max_page_count = 60")
        return connection

    store = SQLiteStore(path, connect=small)
    added = []

    def fill() -> None:
        while True:
            delivery = make_delivery(payload="x" * 2000 + str(len(added)))
            store.add([delivery])
            added.append(delivery)

    with pytest.raises(StoreError, match="the disk is full; make room and it goes on"):
        fill()
    assert store.find(DeliveryFilter()) == sorted(
        added, key=lambda each: each.position, reverse=True
    )
    assert store.counts()[DeliveryStatus.PENDING] == len(added) > 5
    store.close()
    roomy = SQLiteStore(path)
    roomy.add([make_delivery()])
    assert len(roomy.claim(NOW, limit=1000)) == len(added) + 1
    roomy.close()


def test_a_write_that_does_not_fit_fails_alone(path: Path) -> None:
    """Those that share its transaction are written."""
    store = SQLiteStore(path, capacity=5)
    gate, done = threading.Event(), []

    def wait(_: object) -> None:
        assert gate.wait(LIMIT)

    def add(count: int) -> None:
        try:
            store.add([make_delivery() for _ in range(count)])
        except QueueFullError:
            done.append("full")
        else:
            done.append("added")

    leader = threading.Thread(target=store._writer.run, args=(wait,))
    others = [threading.Thread(target=add, args=(count,)) for count in (6, 2, 2)]
    leader.start()
    assert until(lambda: store._writer._leader is not None)
    for thread in others:
        thread.start()
    assert until(lambda: len(store._writer._waiting) == 3)
    gate.set()
    for thread in [leader, *others]:
        thread.join(LIMIT)
    assert sorted(done) == ["added", "added", "full"]
    assert store.counts()[DeliveryStatus.PENDING] == 4
    store.close()


def test_a_statement_that_fails_undoes_only_its_operation(store: SQLiteStore) -> None:
    """What it wrote before is gone, and others go on."""

    def faulty(transaction: object) -> None:
        transaction.execute("INSERT INTO disabled VALUES ('a', 'x', 1)")
        transaction.execute("INSERT INTO disabled VALUES ('b', NULL, 1)")

    with pytest.raises(StoreError, match="NOT NULL constraint failed"):
        store._writer.run(faulty)
    assert store.disabled() == {}
    store.add([make_delivery()])


def test_a_lock_that_another_process_holds_is_waited_for(path: Path) -> None:
    """And named when it lasts too long; then the write goes through."""
    store = SQLiteStore(path, timeout=0.05)
    store.add([make_delivery()])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process holds the lock for too long"):
        store.add([make_delivery()])
    assert store.counts()[DeliveryStatus.PENDING] == 1
    other.execute("COMMIT")
    other.close()
    store.add([make_delivery()])
    store.close()


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_file_that_is_gone_is_noticed(store: SQLiteStore, path: Path, what: str) -> None:
    """Writing on to a file that nobody can open again would lose it all; a new one is used next."""
    store.add([make_delivery()])
    for each in list(path.parent.iterdir()):
        each.unlink()
    if what == "replaced":
        SQLiteStore(path).close()
    with pytest.raises(StoreError, match="the file was removed or replaced while it was in use"):
        store.add([make_delivery()])
    store.add([make_delivery()])
    assert SQLiteStore(path).counts()[DeliveryStatus.PENDING] == 1


def test_a_connection_to_a_replaced_file_is_not_used_again(store: SQLiteStore, path: Path) -> None:
    """What a thread had borrowed meanwhile: who wrote through it would write to nowhere."""
    store.add([make_delivery()])
    with store._connections.use():
        for each in list(path.parent.iterdir()):
            each.unlink()
        with pytest.raises(StoreError, match="removed or replaced"):
            store.counts()
    store.add([make_delivery()])
    assert SQLiteStore(path).counts()[DeliveryStatus.PENDING] == 1


def test_a_folder_that_is_gone_is_an_error_of_the_store(store: SQLiteStore, path: Path) -> None:
    """Not of the configuration, and not another one for each way to meet it."""
    for each in list(path.parent.iterdir()):
        each.unlink()
    path.parent.rmdir()
    store.close()
    for call in (lambda: store.add([make_delivery()]), store.counts):
        with pytest.raises(StoreError):
            call()


def test_a_rights_change_is_named(path: Path) -> None:
    """A database that may not be written says so, and what it keeps stays readable."""

    class ReadOnly:
        """A connection to a file that this process may not write."""

        def __init__(self, name: str) -> None:
            self.real = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
            self.close = self.real.close

        @property
        def in_transaction(self) -> bool:
            return self.real.in_transaction

        def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
            cursor = self.real.execute(statement, values)
            if statement.startswith("PRAGMA journal_mode"):
                self.real.execute("PRAGMA query_only = ON")
            return cursor

    SQLiteStore(path).add([make_delivery()])
    store = SQLiteStore(path, connect=ReadOnly)
    with pytest.raises(StoreError, match="it cannot be written; check the rights"):
        store.add([make_delivery()])
    assert store.counts()[DeliveryStatus.PENDING] == 1
    store.close()


# Threads and processes


def test_threads_share_commits(path: Path) -> None:
    """Those that come while one is being written are written together by the next."""
    commits = []

    def connect(name: str) -> sqlite3.Connection:
        connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        connection.set_trace_callback(
            lambda statement: commits.append(1) if statement == "BEGIN IMMEDIATE" else None
        )
        return connection

    store = SQLiteStore(path, connect=connect)
    gate, entered = threading.Event(), threading.Event()

    def lead(_: object) -> None:
        entered.set()
        assert gate.wait(LIMIT)

    leader = threading.Thread(target=store._writer.run, args=(lead,))
    leader.start()
    assert entered.wait(LIMIT)
    commits.clear()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        for _ in range(20):
            pool.submit(store.add, [make_delivery()])
        assert until(lambda: len(store._writer._waiting) == 20)
        gate.set()
    leader.join(LIMIT)
    assert len(commits) == 1
    assert store.counts()[DeliveryStatus.PENDING] == 20
    store.close()


@pytest.mark.parametrize("leads", [True, False])
def test_a_thread_that_is_interrupted_holds_up_nobody(
    store: SQLiteStore, leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONTROL-C while it writes, or while it waits for its turn."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if leads:
        with pytest.raises(KeyboardInterrupt):
            store._writer.run(interrupt)
    else:
        gate = threading.Event()
        leader = threading.Thread(target=store._writer.run, args=(lambda _: gate.wait(LIMIT),))
        leader.start()
        assert until(lambda: store._writer._leader is not None)
        with monkeypatch.context() as patch:
            patch.setattr("changehook.stores.sqlite.writer._Ticket.wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                store.add([make_delivery()])
        gate.set()
        leader.join(LIMIT)
    store.add([make_delivery()])
    assert store.counts()[DeliveryStatus.PENDING] == 1


def test_who_waits_for_a_writer_that_was_interrupted_is_told(store: SQLiteStore) -> None:
    """Its own write did not go through, and it learns so."""
    gate, told = threading.Event(), []

    def wait(_: object) -> None:
        assert gate.wait(LIMIT)

    def interrupt(_: object) -> None:
        raise SystemExit

    def lead() -> None:
        with pytest.raises(SystemExit):
            store._writer.run(interrupt)

    def add() -> None:
        try:
            store.add([make_delivery()])
        except StoreError as error:
            told.append(str(error))

    first = threading.Thread(target=store._writer.run, args=(wait,))
    first.start()
    assert until(lambda: store._writer._leader is not None)
    threads = [threading.Thread(target=lead), threading.Thread(target=add)]
    for count, thread in enumerate(threads, 1):
        thread.start()
        assert until(lambda count=count: len(store._writer._waiting) == count)
    gate.set()
    for thread in [first, *threads]:
        thread.join(LIMIT)
    assert told == ["the write was broken off (SystemExit)"]
    assert store.counts()[DeliveryStatus.PENDING] == 0


def test_a_thread_that_was_promoted_and_interrupted_passes_the_lead_on(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal came just when it was its turn."""
    gate = threading.Event()
    leader = threading.Thread(target=store._writer.run, args=(lambda _: gate.wait(LIMIT),))
    leader.start()
    assert until(lambda: store._writer._leader is not None)

    def wait(ticket: object) -> None:
        gate.set()
        assert until(lambda: store._writer._leader is ticket)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("changehook.stores.sqlite.writer._Ticket.wait", wait)
        with pytest.raises(KeyboardInterrupt):
            store.add([make_delivery()])
    leader.join(LIMIT)
    store.add([make_delivery()])
    assert store.counts()[DeliveryStatus.PENDING] == 2


PROCESS = """
import sys
from changehook import DeliveryStatus, SQLiteStore
from changehook.testing.deliveries import NOW, delivered, make_delivery

store, number = SQLiteStore(sys.argv[1]), sys.argv[2]
store.add([make_delivery(id=f"msg_{number}_{each}") for each in range(50)])
print("added", flush=True)
sys.stdin.readline()
while claimed := store.claim(NOW, limit=3):
    print(*(each.id for each in claimed), flush=True)
    assert all(store.save(delivered(each)) for each in claimed)
"""


def test_processes_share_a_file(path: Path) -> None:
    """Four that create it, add and claim at the same time: each delivery is claimed once."""
    command = [sys.executable, "-c", PROCESS, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, str(number)], **pipes) for number in range(4)]
    for process in processes:
        assert process.stdout.readline() == "added\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    claimed = [name for each in processes for name in each.communicate(timeout=60)[0].split()]
    assert [each.returncode for each in processes] == [0] * 4
    assert len(claimed) == len(set(claimed)) == 200
    assert SQLiteStore(path).counts()[DeliveryStatus.DELIVERED] == 200


def in_child(work: Callable[[], object]) -> int:
    """Return how a forked child ends: 0 for done, 3 for a StoreError that names the fork."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(60)  # one that hangs ends
    try:
        work()
        os._exit(0)
    except StoreError as error:
        os._exit(
            3 if "this process was forked while its parent had the file open" in str(error) else 4
        )
    except BaseException:
        traceback.print_exc()
    os._exit(5)


@needs_fork
def test_a_child_and_its_parent_use_the_file_each_by_itself(store: SQLiteStore, path: Path) -> None:
    """The parent has used it before, as under gunicorn's preload, and leaves before the child."""
    store.add([make_delivery()])
    go, gone = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            store.add([make_delivery(id="msg_child_first")])
            os.read(go, 1)
            store.add([make_delivery(id="msg_child_last")])
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(5)
    store.add([make_delivery()])
    store.close()
    os.write(gone, b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert SQLiteStore(path).counts()[DeliveryStatus.PENDING] == 4
    assert asked(path, "PRAGMA integrity_check") == "ok"


@needs_fork
def test_a_fork_waits_for_what_is_being_written(store: SQLiteStore) -> None:
    """While other threads write without a pause, and every child can write."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.add([make_delivery(id=f"msg_{threading.get_ident()}_{number}")])

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    ends = [
        in_child(lambda number=number: store.add([make_delivery(id=f"msg_child_{number}")]))
        for number in range(5)
    ]
    stop.set()
    for thread in threads:
        thread.join(LIMIT)
    assert ends == [0] * 5
    ids = {delivery.id for delivery in store.find(DeliveryFilter(text="msg_child_"))}
    assert len(ids) == 5


@needs_fork
def test_a_child_that_was_forked_in_the_middle_is_refused(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite in the child would believe that it holds its parent's locks: its writes were lost."""
    monkeypatch.setattr(connections, "FORK_PATIENCE", 0.01)
    gate = threading.Event()
    writer = threading.Thread(target=store._writer.run, args=(lambda _: gate.wait(LIMIT),))
    writer.start()
    assert until(lambda: store._writer._leader is not None)
    assert in_child(store.counts) == 3
    assert in_child(lambda: store.add([make_delivery()])) == 3
    gate.set()
    writer.join(LIMIT)
    assert in_child(lambda: store.add([make_delivery()])) == 0
    store.add([make_delivery(id="msg_parent")])


def test_after_a_fork_nothing_that_was_open_is_used(store: SQLiteStore) -> None:
    """What the child does first; here without a fork, which a debugger or a tool cannot follow."""
    store._connections._forked()
    store.add([make_delivery()])
    store._connections._forked()
    with pytest.raises(StoreError, match="was forked while its parent had the file open"):
        store.counts()
    for inherited in connections._inherited:
        while inherited:
            inherited.pop().close()


def test_text_that_is_none_is_damage_and_stays_secret(path: Path) -> None:
    """Python's module quotes it; an error and a log must not."""
    error = sqlite3.OperationalError("Could not decode to UTF-8 column 'text' with text 'SECRET")
    assert str(connections.store_error(path, error)) == (
        f"{path}: the file is damaged: it holds text that is none"
    )


@pytest.mark.parametrize("times", [2, None])
def test_a_log_that_others_are_just_turning_on_is_waited_for(
    path: Path, times: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite refuses that at once; it is tried again until the time is over."""
    monkeypatch.setattr(connections, "PAUSE", 0)
    left = [times]

    class Busy(sqlite3.Connection):
        """A connection that meets others who create the file."""

        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
            if statement == "PRAGMA journal_mode = WAL" and left[0] != 0:
                left[0] = left[0] and left[0] - 1
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise error
            return super().execute(statement, *values)

    def connect(name: str) -> sqlite3.Connection:
        return sqlite3.connect(name, isolation_level=None, check_same_thread=False, factory=Busy)

    if times is None:
        with pytest.raises(StoreError, match="another process holds the lock"):
            SQLiteStore(path, connect=connect, timeout=0.01)
    else:
        SQLiteStore(path, connect=connect).add([make_delivery()])


def test_a_transaction_that_is_gone_fails_for_all_of_it(store: SQLiteStore) -> None:
    """SQLite rolls everything back when the disk is full: nobody is told that it was written."""

    def end(transaction: object) -> None:
        transaction.execute("ROLLBACK")
        transaction.execute("NONSENSE")

    with pytest.raises(StoreError, match="syntax error"):
        store._writer.run(end)
    store.add([make_delivery()])
    assert store.counts()[DeliveryStatus.PENDING] == 1


def test_a_lead_that_was_handed_over_is_not_handed_over_twice(store: SQLiteStore) -> None:
    """Whoever was interrupted after that has nothing to do any more."""
    store._writer._lead(_Ticket(lambda transaction: None))
    store._writer.run(lambda transaction: transaction.count_outcome(make_delivery()))
    store.add([make_delivery()])
    assert store.stats(NOW).hours == ()


def test_connections_end_with_their_store(path: Path) -> None:
    """At once and in the thread that drops it, not in one that the garbage collector chooses."""
    store = SQLiteStore(path)
    store.add([make_delivery()])
    [idle] = store._connections._idle
    gc.disable()
    try:
        del store
    finally:
        gc.enable()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        idle.execute("SELECT 1")


# Figures, at any size


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.claim(later(1), limit=3, admit=lambda webhook: webhook != "a"),
        lambda store: store.claim(later(-9)),
        lambda store: store.next_due(),
        lambda store: store.next_due(without=["a"]),
        lambda store: store.stats(NOW),
        lambda store: store.counts(),
        lambda store: store.oldest(5),
        lambda store: store.get("msg_1"),
        lambda store: store.add([make_delivery()]),
        lambda store: store.purge(Retention(delivered=1, failed=1, count=1), later(99)),
        *(
            lambda store, where=where: store.find(DeliveryFilter(**where), 50)
            for where in (
                {},
                {"status": "failed"},
                {"webhook": "a"},
                {"model": "m"},
                {"error_class": "dns"},
                {"failing": True},
                {"since": NOW},
                {"until": NOW},
                {"with_error": True},
                {"between": BETWEEN},
            )
        ),
    ],
)
def test_what_is_asked_often_has_its_index(path: Path, call: object) -> None:
    """Nothing that the queue or a page asks walks through the deliveries or sorts them."""
    statements = []

    def connect(name: str) -> sqlite3.Connection:
        connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        connection.set_trace_callback(statements.append)
        return connection

    store = SQLiteStore(path, connect=connect)
    store.add([make_delivery(webhook=name) for name in "abba"])
    statements.clear()
    call(store)
    connection = sqlite3.connect(path)
    for statement in [each for each in statements if each.startswith(("SELECT", "UPD", "DEL"))]:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()]
        scans = [step for step in plan if step in ("SCAN d", "SCAN deliveries", "SCAN p")]
        sorts = [step for step in plan if step == "USE TEMP B-TREE FOR ORDER BY"]
        assert scans + sorts == [], statement
    connection.close()
    store.close()


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ({}, "newest"),
        ({"between": BETWEEN}, "newest"),
        *(({"status": status}, "newest_by_status") for status in DeliveryStatus),
        ({"status": "failed", "since": NOW}, "newest_by_status"),
        ({"status": "failed", "between": BETWEEN}, "newest_by_status"),
        ({"webhook": "a"}, "newest_by_webhook"),
        ({"webhook": "a", "between": BETWEEN}, "newest_by_webhook"),
        *(
            ({"webhook": "a", "status": each}, "newest_by_webhook_status")
            for each in DeliveryStatus
        ),
        ({"webhook": "a", "status": "failed", "since": NOW}, "newest_by_webhook_status"),
        ({"webhook": "a", "status": "failed", "between": BETWEEN}, "newest_by_webhook_status"),
        ({"model": "m"}, "newest_by_model"),
        ({"failing": True}, "failing"),
        ({"error_class": "dns"}, "newest_by_error"),
        ({"error_class": "dns", "with_error": True}, "newest_by_error"),
        ({"error_class": "dns", "status": "failed"}, "newest_by_error"),
        ({"with_error": True}, "newest_with_error"),
        ({"with_error": True, "since": NOW, "until": later(1)}, "newest_with_error"),
        ({"with_error": True, "between": BETWEEN}, "newest_with_error"),
        ({"with_error": True, "webhook": "a"}, "newest_with_error_by_webhook"),
        ({"with_error": True, "webhook": "a", "since": NOW}, "newest_with_error_by_webhook"),
        ({"with_error": True, "status": "pending"}, "newest_by_status"),
        ({"with_error": True, "status": "failed", "webhook": "a"}, "newest_by_webhook_status"),
        ({"error_class": "dns", "webhook": "a"}, "newest_with_error_by_webhook"),
    ],
)
@pytest.mark.parametrize("after", [None, (later(1), "b")])
def test_a_page_is_read_in_the_order_of_an_index(
    store: SQLiteStore, where: dict[str, object], index: str, after: tuple[object, str] | None
) -> None:
    """One that holds next to nothing but what is wanted; not one of a webhook's million others."""
    with store._connections.use() as connection:
        explained = _Explained(connection)
        queries.find(explained, DeliveryFilter(**where), 50, after)
    assert explained.plan[0].split(" (")[0].endswith(f"d USING INDEX {index}")
    assert explained.plan[2:] == ["USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"]


class _Explained:
    """A connection that keeps the plans of statements, and finds nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.plan: list[str] = []

    def execute(self, statement: str, values: object) -> sqlite3.Cursor:
        rows = self.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        self.plan += [row[3] for row in rows.fetchall()]
        return self.connection.execute("SELECT 1 WHERE 0")


def test_figures_of_long_ago_are_forgotten(store: SQLiteStore, path: Path) -> None:
    """Workers after a day, outcomes after two months."""
    from changehook import WorkerHeartbeat

    store.add([make_delivery()])
    store.save(delivered(*store.claim(NOW)))

    def beat(name: str, at: object) -> WorkerHeartbeat:
        return WorkerHeartbeat(
            worker=name, host="h", pid=1, threads=1, busy=0, started_at=at, seen_at=at
        )

    store.report(beat("old", NOW), [])
    store.report(beat("new", later(86401)), [])
    assert [each.worker for each in store.stats(NOW).workers] == ["new"]
    assert asked(path, "SELECT count(*) FROM outcomes") == 1
    store.report(beat("newest", later(61 * 86400)), [])
    assert asked(path, "SELECT count(*) FROM outcomes") == 0


def test_a_purge_is_bounded_and_loses_no_count(store: SQLiteStore) -> None:
    """At most so many in one transaction, over all statuses."""
    store.add([make_delivery() for _ in range(30)])
    for index, claimed in enumerate(store.claim(NOW, limit=30)):
        store.save(delivered(claimed) if index % 2 else failed(claimed))
    kept = Retention(delivered=1, failed=1)
    assert [store.purge(kept, later(60), limit=20) for _ in range(3)] == [20, 10, 0]
    assert sum(store.counts().values()) == 0
