"""Opening a database file: one connection at a time for a thread, none shared with a fork."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from changehook.errors import ConfigurationError, StoreError
from changehook.forks import after_fork_in_child
from changehook.stores.sqlite.schema import migrate, version_of

__all__ = ["Connections", "refuse_network_file_system", "store_error"]

OLDEST_SQLITE = (3, 35, 0)  # the first with RETURNING
PAUSE = 0.01  # seconds
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "smb3", "smbfs", "sshfs", "vboxsf"}
)
MOUNTS = Path("/proc/self/mounts")

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


def store_error(path: Path, error: sqlite3.Error) -> StoreError:
    """Return what happened in words; it names the file and holds nothing of a delivery."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    words = _WORDS.get(code) or f"{type(error).__name__}: {error}"
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
    for folder, kind in (line.split(" ")[1:3] for line in mounts.splitlines() if " " in line):
        kinds[Path(folder.encode().decode("unicode_escape"))] = kind.removeprefix("fuse.")
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
        self._connect = connect or self._open
        self._idle: list[Any] = []
        self._identity: tuple[int, int] | None = None
        after_fork_in_child(self._forked)
        self._finalizer = weakref.finalize(self, _close_all, self._idle)
        self._prepare()

    def _forked(self) -> None:
        _inherited.append(self._idle)
        self._finalizer.detach()
        self._idle = []
        self._finalizer = weakref.finalize(self, _close_all, self._idle)

    @contextlib.contextmanager
    def use(self) -> Iterator[Any]:
        """Give a connection that nobody else uses meanwhile.

        Raises:
            StoreError: SQLite failed, in words; or the file was removed or replaced, and what was
                written to it since is lost.
        """
        self._check_file()
        connection, idle, identity = None, self._idle, self._identity
        try:
            connection = idle.pop() if idle else self._reopened()
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

    def _check_file(self) -> None:
        """Raise unless the file is still the one that was opened."""
        if self._found() == self._identity:
            return
        self.close()
        self._reopened(prepared=True).close()
        raise StoreError(f"{self.path}: the file was removed or replaced while it was in use")

    def _found(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _reopened(self, *, prepared: bool = False) -> Any:
        try:
            if prepared:
                self._prepare()
            return self._fresh()
        except (ConfigurationError, OSError) as error:
            raise StoreError(str(error)) from None

    def close(self) -> None:
        """Close the connections that nobody uses."""
        _close_all(self._idle)

    def _prepare(self) -> None:
        """Create the file or check it, and leave nothing open that a fork could inherit."""
        try:
            if MOUNTS.exists():
                refuse_network_file_system(self.path.resolve(), MOUNTS.read_text(errors="replace"))
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
        connection = self._connect(str(self.path))
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
