"""Deliveries as jobs of RQ (python-rq.org), on the Redis that the host runs already."""

from __future__ import annotations

try:
    import rq as _rq  # noqa: F401 - whether it is there
except ImportError as error:
    raise ImportError(
        'RQQueue needs RQ 2.6.1 or later; install it: pip install "changehook[rq]"'
    ) from error

from changehook.queues.rq.queue import RQQueue, perform

__all__ = ["RQQueue", "perform"]
