"""How benchmarks compare: two functions, timed in turns, so that noise harms both alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["ratio", "report"]

TRIES = 3


def ratio(
    subject: Callable[[], object], peer: Callable[[], object], *, rounds: int = 25, number: int = 1
) -> float:
    """Return the time of the subject divided by that of the peer: below 1, the subject is faster.

    Args:
        subject, peer: called without arguments; what they return is dropped.
        rounds: turns for each of the two; the medians over the rounds are compared.
        number: calls in one turn, enough for a turn to take a millisecond or more.
    """
    sides: list[tuple[Callable[[], object], list[float]]] = [(subject, []), (peer, [])]
    for index in range(-1, rounds):
        for function, turns in sides if index % 2 else reversed(sides):
            turns.append(_turn(function, number))
    # The first turn of each fills caches.
    ours, theirs = (statistics.median(turns[1:]) for _, turns in sides)
    return ours / theirs


def _turn(function: Callable[[], object], number: int) -> float:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(number):
            function()
        return time.perf_counter() - start
    finally:
        if was_enabled:
            gc.enable()


def report(run: Callable[[], Mapping[str, float]], limits: Mapping[str, float]) -> int:
    """Measure, and print each ratio with its limit; return 1, the exit status, when one is missed.

    What misses is measured again, because the machine may have been busy: a limit is missed when
    it is missed ``TRIES`` times in a row.
    """
    missed = set(limits)
    for number in range(TRIES):
        if number:
            print(f"measured again, as these missed their limits: {'; '.join(sorted(missed))}")
        found = run()
        for name, value in found.items():
            times = f"{1 / value:5.1f} times as fast" if 0 < value < 1 else ""
            print(f"{value:8.3f}  (limit {limits[name]:g})  {name}  {times}", flush=True)
        missed &= {name for name, value in found.items() if value > limits[name]}
        if not missed:
            return 0
    return 1
