"""Telling listeners what happened: what they raise is logged and goes no further."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from changehook.errors import kind_and_place

__all__ = ["tell"]

logger = logging.getLogger(__name__)


def tell(listeners: Iterable[Callable[[Any], object]], news: object) -> None:
    """Call each listener with what happened; never raises for what a listener does."""
    for listener in listeners:
        kind = _called(listener, news)
        if kind is not None:
            # Outside the handler: a crash report on what is logged shows its frame's variables.
            name = getattr(listener, "__qualname__", type(listener).__name__)
            logger.error("listener %s failed (%s)", name, kind)


def _called(listener: Callable[[Any], object], news: object) -> str | None:
    try:
        listener(news)
    except (Exception, asyncio.CancelledError, SystemExit) as error:
        return kind_and_place(error)
    return None
