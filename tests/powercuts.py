"""A disk of which one can tell what it would hold after a power cut, at any moment.

What was written and not yet synced may be on the disk or not, sector by sector; a file that was
created or removed may be there or not until its folder is synced.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
_names = itertools.count(1)


class _Content:
    """What one file holds for certain, and what is still on its way; None means a truncation.

    Args:
        safe: what it holds for certain.
        instead: what stands in its place while it is not known whether it was created.
        new: whether its folder was not synced since it was created.
    """

    def __init__(
        self, safe: bytes = b"", instead: _Content | None = None, *, new: bool = False
    ) -> None:
        self.safe = bytearray(safe)
        self.pending: list[tuple[int, bytes | None]] = []
        self.instead = instead
        self.new = new
        self.removed = False

    def write(self, data: bytes, offset: int) -> None:
        """Have something on its way, in pieces that are written as a whole."""
        begin = 0
        while begin < len(data):
            end = min(len(data), begin + SECTOR - (offset + begin) % SECTOR)
            self.pending.append((offset + begin, data[begin:end]))
            begin = end

    def sync(self) -> None:
        """Have all that was on its way arrive."""
        self.safe = self._with(self.pending)
        self.pending = []

    def after_cut(self, happens: Callable[[], bool]) -> bytes | None:
        """Return what is there when the power is back; None for no file."""
        if self.new and not happens():
            return None if self.instead is None else self.instead.after_cut(happens)
        if self.removed and happens():
            return None
        return bytes(self._with([each for each in self.pending if happens()]))

    def _with(self, changes: list[tuple[int, bytes | None]]) -> bytearray:
        result = bytearray(self.safe)
        for offset, data in changes:
            if data is None:
                del result[offset:]
                continue
            result.extend(bytes(max(0, offset - len(result))))
            result[offset : offset + len(data)] = data
        return result


class Disk(apsw.VFS):
    """A file system under SQLite that knows which writes have reached the disk.

    Args:
        before: called before each write, truncation, removal and sync.
    """

    def __init__(self, before: Callable[[], object]) -> None:
        self.name = f"powercuts-{next(_names)}"
        self.before = before
        self._contents: dict[str, _Content] = {}
        super().__init__(self.name, "unix")

    def put(self, files: dict[str, bytes], folder: Path) -> None:
        """Have these files on the disk, all of them safe."""
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
            self._contents[str(folder / name)] = _Content(content)

    def after_cut(self, chance: random.Random, kept: float) -> dict[str, bytes]:
        """Return what each file would hold if the power were cut now.

        Args:
            chance: decides what has arrived.
            kept: the share of what was not synced that has arrived nevertheless.
        """
        files = {
            Path(path).name: content.after_cut(lambda: chance.random() < kept)
            for path, content in self._contents.items()
        }
        return {name: content for name, content in files.items() if content is not None}

    def connect(self, path: str) -> Connection:
        """Open a database on this disk, as ``SQLiteStore(connect=...)`` wants it."""
        return Connection(path, self.name)

    def content(self, path: str) -> _Content:
        """Return what is known of a file that is opened."""
        known = self._contents.get(path)
        if known is None or known.removed:
            known = self._contents[path] = _Content(instead=known, new=True)
        return known

    def sync_folder(self) -> None:
        """Have all that was created or removed be so for certain."""
        for path, content in list(self._contents.items()):
            content.new, content.instead = False, None
            if content.removed:
                del self._contents[path]

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        """Open a file."""
        return _File(self, name, flags)

    def xDelete(self, path: str, sync_folder: bool) -> None:
        """Remove a file."""
        self.before()
        super().xDelete(path, sync_folder)
        self.content(path).removed = True
        if sync_folder:
            self.sync_folder()


class _File(apsw.VFSFile):
    """An open file: what is read is what was written last, as when the power stays."""

    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._content = disk.content(path) if path else _Content()  # one without a name is scratch

    def xWrite(self, data: Any, offset: int) -> None:
        """Write."""
        self._disk.before()
        super().xWrite(data, offset)
        self._content.write(bytes(data), offset)

    def xTruncate(self, size: int) -> None:
        """Cut off what lies beyond."""
        self._disk.before()
        super().xTruncate(size)
        self._content.pending.append((size, None))

    def xSync(self, flags: int) -> None:
        """Have all arrive on the disk; SQLite syncs the folder of a new journal with it."""
        self._disk.before()
        self._content.sync()
        if self._content.new:
            self._disk.sync_folder()


class Connection:
    """A connection of apsw that behaves as one of ``sqlite3`` where the store needs it to.

    A file system in Python has no shared memory, so one connection has the file for itself.
    """

    def __init__(self, path: str, disk: str) -> None:
        self._connection = apsw.Connection(path, vfs=disk)
        self.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.execute("PRAGMA wal_autocheckpoint = 40")  # pages: the log comes round often

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    def execute(self, statement: str, values: Any = ()) -> Rows:
        """Run a statement to its end.

        Raises:
            sqlite3.Error: it failed.
        """
        try:
            return Rows(self._connection.execute(statement, values).fetchall())
        except apsw.Error as error:
            kind = sqlite3.OperationalError
            if isinstance(error, apsw.ConstraintError):
                kind = sqlite3.IntegrityError
            translated = kind(str(error))
            translated.sqlite_errorcode = getattr(error, "extendedresult", 0)
            raise translated from None

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class Rows:
    """The rows that a statement returned."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row."""
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        rows, self._rows = self._rows, []
        return rows
