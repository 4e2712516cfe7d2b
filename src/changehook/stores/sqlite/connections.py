"""Opening a database file: one connection at a time for a thread, none shared with a fork."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from changehook.errors import ConfigurationError, StoreError
from changehook.forks import after_fork_in_child, around_fork
from changehook.stores.sqlite.schema import migrate, version_of

__all__ = ["Connections", "refuse_network_file_system", "store_error"]

OLDEST_SQLITE = (3, 35, 0)  # the first with RETURNING
PAUSE = 0.01  # seconds
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "smb3", "smbfs", "sshfs", "vboxsf"}
)
MOUNTS = Path("/proc/self/mounts")
FORK_PATIENCE = 10.0  # seconds that a fork waits for statements that run

_OCTAL = re.compile(r"\\([0-7]{3})")

# What a fork handed down is the parent's: closing it here could end the parent's log.
_inherited: list[object] = []

_WORDS = {
    sqlite3.SQLITE_FULL: "the disk is full; make room and it goes on",
    sqlite3.SQLITE_READONLY: "it cannot be written; check the rights of the file and its folder",
    sqlite3.SQLITE_PERM: "it may not be opened; check the rights of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder exists, and the rights",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; keep it, and go on with a backup or a new one",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database",
    sqlite3.SQLITE_BUSY: "another process holds the lock for too long",
    sqlite3.SQLITE_LOCKED: "another process holds the lock for too long",
    sqlite3.SQLITE_IOERR: "the disk fails to read or write, or is full, or the file is damaged",
}
_UNREADABLE = "the file is damaged: it holds text that is none"


def store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """Return what happened in words; it names the file and holds nothing of a delivery."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    words = _WORDS.get(code) or f"{type(error).__name__}: {error}"
    if not code and isinstance(error, sqlite3.OperationalError):
        words = _UNREADABLE  # Python's module found it, and its words quote the value
    return StoreError(f"{path}: {words}")


def refuse_network_file_system(path: Path, mounts: str) -> None:
    """Refuse a file where locks and shared memory do not work among machines.

    Args:
        path: absolute.
        mounts: the text of ``/proc/mounts``; see fstab(5) for its form.

    Raises:
        ConfigurationError: the file lies on a network file system.
    """
    kinds: dict[Path, str] = {}
    for line in mounts.split("\n"):
        parts = line.split(" ")
        if len(parts) > 2:
            folder = _OCTAL.sub(lambda found: chr(int(found[1], 8)), parts[1])
            kinds[Path(folder)] = parts[2].removeprefix("fuse.")
    mounted = next((kinds[folder] for folder in path.parents if folder in kinds), "")
    if mounted in NETWORK_FILE_SYSTEMS:
        raise ConfigurationError(
            f"{path} lies on {mounted}, a network file system, where SQLite loses data; "
            "write a path on a local disk"
        )


class Connections:
    """Connections to one file, each used by one thread at a time; a fork starts with none.

    Args:
        path: of the file, in a folder that exists.
        synchronous: ``FULL`` or ``NORMAL``.
        timeout: seconds to wait for a lock of another process.
        connect: opens a connection, in place of ``sqlite3.connect``.

    Raises:
        ConfigurationError: the file cannot be what is asked for.
        StoreError: it cannot be opened just now.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str,
        timeout: float,
        connect: Callable[[str], Any] | None = None,
    ) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE or not sqlite3.threadsafety:
            raise ConfigurationError(
                f"SQLite {sqlite3.sqlite_version} is too old, or has no threads"
            )
        self.path = path
        self._synchronous = synchronous
        self._timeout = timeout
        self._connect = connect
        self._idle: list[Any] = []
        self._identity: tuple[int, int] | None = None
        self._torn = False
        self._open_gate()
        around_fork(self._before_fork, self._after_fork)
        after_fork_in_child(self._forked)
        self._finalizer = weakref.finalize(self, _close_all, self._idle)
        with self._held():
            self._prepare()

    def _open_gate(self) -> None:
        self._gate = threading.Condition(threading.Lock())
        self._used = 0
        self._forking = 0

    def _before_fork(self) -> None:
        """Close the file: SQLite's knowledge of locks would tell a child that it has those of its
        parent, and then it writes without any."""
        with self._gate:
            self._forking += 1
            self._gate.wait_for(lambda: not self._used, FORK_PATIENCE)
        _close_all(self._idle)

    def _after_fork(self) -> None:
        with self._gate:
            self._forking -= 1
            self._gate.notify_all()

    def _forked(self) -> None:
        self._torn = self._torn or bool(self._used or self._idle)
        self._open_gate()
        _inherited.append(self._idle)
        self._finalizer.detach()
        self._idle = []
        self._finalizer = weakref.finalize(self, _close_all, self._idle)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Keep this process from forking."""
        gate = self._gate
        with gate:
            gate.wait_for(lambda: not self._forking)
            self._used += 1
        try:
            yield
        finally:
            with gate:
                self._used -= 1
                gate.notify_all()

    @contextlib.contextmanager
    def use(self) -> Iterator[Any]:
        """Give a connection that nobody else uses meanwhile.

        Raises:
            StoreError: SQLite failed, in words; or the file was removed or replaced, and what was
                written to it since is lost.
        """
        with self._held():
            self._check_file()
            with self._lent() as connection:
                yield connection

    @contextlib.contextmanager
    def _lent(self) -> Iterator[Any]:
        idle, identity = self._idle, self._identity
        connection = None
        try:
            connection = self._taken(idle)
            yield connection
        except sqlite3.Error as error:
            _roll_back(connection)
            raise store_error(self.path, error) from None
        except BaseException:
            _roll_back(connection)
            raise
        finally:
            if connection is not None:
                # Kept, unless it is to a file that was replaced meanwhile.
                (idle.append if identity == self._identity else _close)(connection)

    def _taken(self, idle: list[Any]) -> Any:
        with contextlib.suppress(IndexError):  # another thread took the last one
            return idle.pop()
        return self._reopened()

    def _check_file(self) -> None:
        """Raise unless the file is still the one that was opened."""
        if self._found() == self._identity:
            return
        _close_all(self._idle)
        self._reopened(prepared=True).close()
        raise StoreError(f"{self.path}: the file was removed or replaced while it was in use")

    def _found(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _reopened(self, *, prepared: bool = False) -> Any:
        if self._torn:
            raise StoreError(
                f"{self.path}: this process was forked while its parent had the file open; "
                "only a program that is started anew can use it"
            )
        try:
            if prepared:
                self._prepare()
            return self._fresh()
        except (ConfigurationError, OSError) as error:
            raise StoreError(str(error)) from None

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._held():
            _close_all(self._idle)

    def _prepare(self) -> None:
        """Create the file or check it, and leave nothing open that a fork could inherit."""
        try:
            if MOUNTS.exists():
                mounts = MOUNTS.read_text("utf-8", errors="surrogateescape")
                refuse_network_file_system(self.path.resolve(), mounts)
            # Payloads are the host's data: for nobody but its user, unless the host widens it.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            connection = self._fresh()
        except sqlite3.Error as error:
            raise store_error(self.path, error) from None
        except OSError as error:
            raise ConfigurationError(f"{self.path}: {error.strerror}") from None
        connection.close()
        self._identity = self._found()

    def _fresh(self) -> Any:
        # Not kept as a method of this object: a cycle would be closed by whichever thread the
        # garbage collector runs in, also while another one forks.
        connection = (self._connect or self._open)(str(self.path))
        try:
            version_of(connection)  # before the next lines change the file of another program
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA fullfsync = ON")
            mode = self._logged(connection)
            if mode != "wal":
                raise ConfigurationError(
                    "cannot use a write-ahead log; write a path on a local disk"
                )
            migrate(connection)
        except ConfigurationError as error:
            connection.close()
            raise ConfigurationError(f"{self.path} {error}") from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _logged(self, connection: Any) -> str:
        """Have the file use a write-ahead log. Where several do so to a new file at once, SQLite
        refuses without waiting."""
        give_up = time.monotonic() + self._timeout
        while True:
            try:
                mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                return mode
            except sqlite3.OperationalError as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
            time.sleep(PAUSE)

    def _open(self, path: str) -> sqlite3.Connection:
        return sqlite3.connect(
            path,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )


def _roll_back(connection: Any) -> None:
    if connection is not None and connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _close(connection: Any) -> None:
    connection.close()


def _close_all(connections: list[Any]) -> None:
    while connections:
        connections.pop().close()
