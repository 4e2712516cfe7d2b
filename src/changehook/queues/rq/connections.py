"""The host's connection to Redis: one like it that does not wait, and where it leads."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

__all__ = ["hasty", "said"]


def hasty(connection: redis.Redis) -> redis.Redis:
    """Return a connection like this one that fails at once when Redis is down: whoever emits does
    not wait, for seconds by default, until it was tried again ten times."""
    pool = connection.connection_pool
    if type(pool) not in (redis.ConnectionPool, redis.BlockingConnectionPool):
        return connection  # such as one of Sentinel, which has ways of its own
    settings = {**pool.connection_kwargs, "retry": Retry(NoBackoff(), 1)}
    own = redis.ConnectionPool(connection_class=pool.connection_class, **settings)
    return redis.Redis(connection_pool=own)


def _place(connection: redis.Redis) -> str:
    """Return where a connection leads, without user and password."""
    if isinstance(connection.connection_pool, SentinelConnectionPool):
        return "Redis"
    settings = connection.connection_pool.connection_kwargs
    place = f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
    return f"Redis at {settings.get('path', place)}"


def said(connection: redis.Redis, error: Exception) -> str:
    """Return an error of Redis in words: where it is, and whether it refuses or is away."""
    refuses = isinstance(error, redis.ResponseError | redis.AuthenticationError)
    verb = "refuses" if refuses else "does not answer"
    return f"{_place(connection)} {verb} ({type(error).__name__})"
