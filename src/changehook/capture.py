"""The request context: who is acting, and in which request of the host."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import attrs

__all__ = ["RequestContext", "current_context", "request_context"]


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
