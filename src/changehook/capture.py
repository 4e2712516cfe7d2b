"""The request context: who is acting, and in which request of the host."""

from __future__ import annotations

import contextlib
import contextvars
import datetime
from collections.abc import Iterator
from typing import Any

import attrs

from changehook.models import Change

__all__ = ["RequestContext", "captured", "current_context", "request_context"]


@attrs.frozen(kw_only=True)
class RequestContext:
    """The username and request id that changes get when ``emit_change`` is not told."""

    username: str | None = None
    request_id: str | None = None


_EMPTY = RequestContext()
_current: contextvars.ContextVar[RequestContext] = contextvars.ContextVar(
    "changehook_request_context", default=_EMPTY
)


def current_context() -> RequestContext:
    """Return the request context of this thread or task."""
    return _current.get()


@contextlib.contextmanager
def request_context(
    *, username: str | None = None, request_id: str | None = None
) -> Iterator[RequestContext]:
    """Give every change that is emitted inside the ``with`` block a username and a request id.

    Args:
        username: who is acting; None keeps that of the context around.
        request_id: identifies the host's request; None keeps that of the context around.
    """
    outer = _current.get()
    inner = RequestContext(
        username=outer.username if username is None else username,
        request_id=outer.request_id if request_id is None else request_id,
    )
    token = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(token)


def captured(
    event: str,
    model: str,
    data: Any,
    prechange: Any,
    postchange: Any,
    username: str | None,
    request_id: str | None,
    timestamp: datetime.datetime,
) -> Change:
    """Return the change that a host tells of; what it leaves out comes from the request context.

    Args:
        event, model, data, prechange, postchange, username, request_id, timestamp: as in
            ``Emitter.emit_change``.

    Raises:
        ConfigurationError: an argument is of the wrong type.
    """
    if data.__class__ is not dict and callable(data):
        data = data()
    if username is None or request_id is None:
        context = current_context()
        username = context.username if username is None else username
        request_id = context.request_id if request_id is None else request_id
    return Change(
        event=event,
        model=model,
        data=data,
        prechange=prechange,
        postchange=postchange,
        username=username,
        request_id=request_id,
        timestamp=timestamp,
    )
