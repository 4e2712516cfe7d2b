"""From a host name to addresses, within a deadline and a bounded number of threads."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence

from changehook.errors import DNSError
from changehook.sockets import Limits

__all__ = ["Lookups", "resolve"]

MAX_LOOKUPS = 8
MAX_LOOKUPS_OF_DATA = 4

_Answer = concurrent.futures.Future[Sequence[str]]


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the numeric addresses that the system's resolver has for a name, in its order.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Lookups:
    """Looks names up in a bounded number of daemon threads, since ``getaddrinfo`` has no time-out.

    A look-up that hangs keeps its thread until the system's resolver gives up. When all of them
    hang, others wait for one, each until its own deadline. Names that come from data may use half
    of the threads, so that whoever chooses those names cannot hold up the others.

    Args:
        resolver: returns the addresses of a name.
    """

    def __init__(self, resolver: Callable[[str, int], Sequence[str]]) -> None:
        self._resolver = resolver
        self._free = threading.BoundedSemaphore(MAX_LOOKUPS)
        self._free_to_data = threading.BoundedSemaphore(MAX_LOOKUPS_OF_DATA)

    def addresses(
        self, host: str, port: int, limits: Limits, *, literal_host: bool = True
    ) -> list[str]:
        """Return the numeric addresses of a host; one that is an address already is not looked up.

        Args:
            host: a name or an address.
            port: passed on to the resolver.
            limits: those of the attempt.
            literal_host: whether the host stands literally in the definition; False: it is data.

        Raises:
            DNSError: there are none, or no thread can be started to look them up.
            DeadlineError: the deadline passed; the look-up goes on in its thread, to no effect.
        """
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        slots = (self._free,) if literal_host else (self._free_to_data, self._free)
        try:
            texts = self._look_up(host, port, limits, _taken(slots, limits))
            found = [str(ipaddress.ip_address(text)) for text in texts]
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise DNSError(f"{host} has no address: {reason or type(error).__name__}") from None
        if not found:
            raise DNSError(f"{host} has no address")
        return found

    def _look_up(
        self, host: str, port: int, limits: Limits, slots: contextlib.ExitStack
    ) -> Sequence[str]:
        answer: _Answer = concurrent.futures.Future()
        task = (host, port, answer, slots)
        thread = threading.Thread(
            target=self._run, args=task, name="changehook-lookup", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # Python 3.12 starts no thread while the process exits; the caller still has to deliver.
            # Only the words tell: neither is_finalizing() nor the main thread shows it in time.
            if "interpreter shutdown" not in str(error):
                slots.close()
                raise DNSError(f"{host} was not looked up: no thread can be started") from None
            self._run(*task)
        try:
            failure = answer.exception(limits.remaining())
        except TimeoutError:
            raise limits.late() from None
        if failure is not None:
            raise failure
        return answer.result()

    def _run(self, host: str, port: int, answer: _Answer, slots: contextlib.ExitStack) -> None:
        try:
            answer.set_result(self._resolver(host, port))
        except Exception as error:
            answer.set_exception(error)
        finally:
            slots.close()


def _taken(slots: Sequence[threading.Semaphore], limits: Limits) -> contextlib.ExitStack:
    """Return what gives all of the slots back; when one is not free in time, none is kept."""
    with contextlib.ExitStack() as taken:
        for slot in slots:
            if not slot.acquire(timeout=limits.remaining()):
                raise limits.late()
            taken.callback(slot.release)
        return taken.pop_all()
