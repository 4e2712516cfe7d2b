"""What an emitter is given: checked, with errors that say what was expected."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from changehook.definitions import LONGEST_TIMEOUT
from changehook.errors import ConfigurationError
from changehook.interfaces import Queue, Store, WebhookSource
from changehook.sources import WebhookRegistry
from changehook.webhooks import Webhook

__all__ = ["as_source", "functions", "given", "require", "seconds", "sends", "store_of"]

_F = TypeVar("_F", bound=Callable[..., object])


def require(name: str, value: object, good: bool, expected: str) -> None:
    """Raise unless an argument is good.

    Raises:
        ConfigurationError: it is not; the error names it, and what was expected and found.
    """
    if not good:
        found = value.__name__ if isinstance(value, type) else type(value).__name__
        raise ConfigurationError(f"{name}: expected {expected}, found {found}")


def sends(transport: object) -> bool:
    """Return whether this is a transport, or None."""
    return transport is None or all(hasattr(transport, name) for name in ("send", "close"))


def functions(name: str, values: Iterable[_F]) -> tuple[_F, ...]:
    """Return functions as a tuple.

    Raises:
        ConfigurationError: something is none.
    """
    require(name, values, isinstance(values, Iterable), "a list of functions")
    functions = tuple(values)
    for function in functions:
        require(name, function, callable(function), "functions")
    return functions


def as_source(webhooks: Iterable[Webhook] | WebhookSource) -> WebhookSource:
    """Return a source of webhooks; a list of them becomes one.

    Raises:
        ConfigurationError: it is neither, or a name stands twice.
    """
    if hasattr(webhooks, "select"):
        return cast("WebhookSource", webhooks)
    listed = isinstance(webhooks, Iterable) and not isinstance(webhooks, str | bytes)
    require("webhooks", webhooks, listed, 'a list of Webhook, or a source such as FileSource("…")')
    return WebhookRegistry(webhooks)


def given(**values: Any) -> dict[str, Any]:
    """Return the arguments that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def seconds(timeout: float | datetime.timedelta) -> float:
    """Return a timeout as seconds.

    Raises:
        ConfigurationError: it is no time, or too long.
    """
    value = timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else timeout
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = type(value).__name__
        raise ConfigurationError(f"timeout: expected seconds or a timedelta, found {found}")
    if not 0 < value <= LONGEST_TIMEOUT:
        limit = f"more than 0 and at most {LONGEST_TIMEOUT:.0f}"
        raise ConfigurationError(f"timeout is {value:g}; write seconds, {limit}")
    return value


def store_of(fallback: Store | Queue | None) -> Store | None:
    """Return what keeps deliveries when the queue takes none.

    Raises:
        ConfigurationError: it keeps nothing.
    """
    store = fallback.store if isinstance(fallback, Queue) else fallback
    good = fallback is None or isinstance(store, Store)
    require("fallback", fallback, good, "a Store such as SQLiteStore(...), or a queue over one")
    return store
