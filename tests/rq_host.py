"""Stands for a host's module: where the workers of RQ find the queue of a test."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator
from typing import Any

queue: Any = None
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
LOGGERS = ("rq.worker", "rq.job", "rq.scheduler")


def unrelated() -> int:
    """Do the job of somebody else."""
    return 7


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """Undo what a worker of RQ leaves behind in the process in which it ran."""
    signals = {each: signal.getsignal(each) for each in SIGNALS}
    loggers = [logging.getLogger(each) for each in LOGGERS]
    before = [(each, list(each.handlers), each.level, each.propagate) for each in loggers]
    try:
        yield
    finally:
        for number, handler in signals.items():
            signal.signal(number, handler)
        for logger, handlers, level, propagate in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagate
