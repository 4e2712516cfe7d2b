"""Group commit: what many threads write at the same time shares one transaction and one sync."""

from __future__ import annotations

import collections
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import StoreError
from changehook.forks import after_fork_in_child
from changehook.inspection import figures_of
from changehook.stores.sqlite.connections import Connections, store_error
from changehook.stores.sqlite.rows import number_of

__all__ = ["Transaction", "Writer"]

_T = TypeVar("_T")


class Transaction:
    """What is written: its statements, and what it changes in the figures kept.

    Args:
        connection: where.
        before: what the same transaction changed in the counts before this.
    """

    def __init__(self, connection: Any, before: Mapping[str, int] = MappingProxyType({})) -> None:
        self.execute: Callable[..., Any] = connection.execute
        self.counts: collections.Counter[str] = collections.Counter()
        self._before = before
        self.outcomes: dict[tuple[int, str, str], tuple[int, float, float]] = {}

    def one(self, statement: str, values: Any = ()) -> Any:
        """Return the first row, None when there is none."""
        return next(iter(self.execute(statement, values).fetchall()), None)

    def count_outcome(self, delivery: Delivery) -> None:
        """Count what came of the last attempt in the hour in which it was made."""
        figures = figures_of(delivery)
        if figures is not None:
            hour, outcome, seconds = figures
            key = (number_of(hour), delivery.webhook, outcome)
            self._add_outcome(key, (1, seconds, seconds))

    def _add_outcome(self, key: tuple[int, str, str], figures: tuple[int, float, float]) -> None:
        count, seconds, slowest = self.outcomes.get(key, (0, 0.0, 0.0))
        more, longer, longest = figures
        self.outcomes[key] = (count + more, seconds + longer, max(slowest, longest))

    def waiting(self) -> int:
        """Return how many deliveries are not finished."""
        unfinished = (DeliveryStatus.PENDING, DeliveryStatus.DELIVERING)
        kept = self.one("SELECT sum(count) FROM counts WHERE status IN (?, ?)", unfinished)[0] or 0
        changes = (self.counts[status] + self._before.get(status, 0) for status in unfinished)
        return int(kept) + sum(changes)

    def absorb(self, other: Transaction) -> None:
        """Take over the figures of an operation that went through."""
        self.counts.update(other.counts)
        for key, figures in other.outcomes.items():
            self._add_outcome(key, figures)

    def write_figures(self) -> None:
        """Write what changed in the figures: a few rows, however many deliveries there were."""
        for status, change in self.counts.items():
            self.execute(
                "INSERT INTO counts VALUES (?, ?) ON CONFLICT (status)"
                " DO UPDATE SET count = count + excluded.count",
                (status, change),
            )
        for key, figures in self.outcomes.items():
            self.execute(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " count = count + excluded.count, seconds = seconds + excluded.seconds,"
                " slowest = max(slowest, excluded.slowest)",
                (*key, *figures),
            )


class _Ticket(Generic[_T]):
    """An operation that waits for its transaction, and what came of it."""

    def __init__(self, operation: Callable[[Transaction], _T]) -> None:
        self.operation = operation
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._turn = threading.Lock()
        self._turn.acquire()

    def wait(self) -> None:
        """Wait until this is done, or is to lead."""
        self._turn.acquire()

    def wake(self) -> None:
        """Let its thread go on; a second time does nothing."""
        with contextlib.suppress(RuntimeError):
            self._turn.release()

    def settle(self, error: BaseException | None = None) -> None:
        self.error = self.error or error
        self.done = True


class Writer:
    """Runs operations of many threads in as few transactions as possible.

    Whoever comes while a transaction is being written waits; the first of those then leads: it
    writes for all of them. An operation that raises undoes only what it did itself.

    Args:
        connections: to the file.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._forked()
        after_fork_in_child(self._forked)

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._leader: _Ticket[Any] | None = None
        self._waiting: list[_Ticket[Any]] = []
        self._writing: list[_Ticket[Any]] = []  # taken by the leader, and not woken yet

    def run(self, operation: Callable[[Transaction], _T]) -> _T:
        """Return the result of an operation once it is on disk.

        Args:
            operation: reads and writes; it may run on another thread that waits too.

        Raises:
            StoreError: it could not be written.
            Exception: what the operation raised.
        """
        ticket = _Ticket(operation)
        try:
            with self._lock:
                self._leader = self._leader or ticket
                self._waiting.append(ticket)
            if self._leader is not ticket:
                ticket.wait()
            if not ticket.done:
                self._lead(ticket)
        except BaseException:
            self._abandon(ticket)
            raise
        if ticket.error is not None:
            raise ticket.error
        result: _T = ticket.result
        return result

    def _lead(self, leader: _Ticket[Any]) -> None:
        """Write for all that wait, then let the first of those lead that came meanwhile."""
        try:
            with self._lock:
                self._writing, self._waiting = self._writing + self._waiting, []
            self._write([each for each in self._writing if not each.done])
        finally:
            # CONTROL-C may break this off anywhere before its last line; then it is done again.
            with self._lock:
                if self._leader is leader:
                    following = next(iter(self._waiting), None)
                    for ticket in (*self._writing, *self._waiting[:1]):
                        ticket.wake()
                    self._leader, self._writing = following, []

    def _abandon(self, ticket: _Ticket[Any]) -> None:
        """Leave nobody waiting for a thread that was interrupted, as by CONTROL-C."""
        with self._lock:
            leads = self._leader is ticket
            if not leads and ticket in self._waiting:
                self._waiting.remove(ticket)
        if leads:
            self._lead(ticket)

    def _write(self, tickets: list[_Ticket[Any]]) -> None:
        """Carry out operations in one transaction; each is settled, whatever happens."""
        problem: BaseException | None = None
        try:
            with self._connections.use() as connection:
                self._commit(connection, tickets)
        except StoreError as error:
            problem = error
        except BaseException as error:
            problem = StoreError(f"the write was broken off ({type(error).__name__})")
            raise
        finally:
            for ticket in tickets:
                ticket.settle(problem)

    def _commit(self, connection: Any, tickets: list[_Ticket[Any]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        whole = Transaction(connection)
        for ticket in tickets:
            self._carry_out(connection, whole, ticket)
        whole.write_figures()
        connection.execute("COMMIT")

    def _carry_out(self, connection: Any, whole: Transaction, ticket: _Ticket[Any]) -> None:
        part = Transaction(connection, whole.counts)
        connection.execute("SAVEPOINT operation")
        try:
            ticket.result = ticket.operation(part)
        except sqlite3.Error as error:
            if not connection.in_transaction:
                raise
            ticket.error = store_error(self._connections.path, error)
        except Exception as error:
            ticket.error = error
        if ticket.error is not None:
            connection.execute("ROLLBACK TO operation")
        connection.execute("RELEASE operation")
        if ticket.error is None:
            whole.absorb(part)
