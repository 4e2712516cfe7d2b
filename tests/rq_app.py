"""An application whose deliveries RQ carries, for worker processes; its settings are variables of
the environment, read when it is imported.

``HOOKS_REDIS`` and ``HOOKS_URL`` are needed; ``HOOKS_STORE`` is a path, ``HOOKS_OPTIONS`` and
``HOOKS_RETRY`` hold JSON for ``RQQueue`` and for the schedule.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from typing import Any

import redis
import rq.serializers

from changehook import Emitter, NetworkPolicy, RetryPolicy, SQLiteStore, Webhook
from changehook.exchange import Request, Response
from changehook.queues.rq import RQQueue
from changehook.transport import HTTPTransport

SECRET = "whsec_bWFya2Vyc2VjcmV0bWFya2Vyc2VjcmV0"
PATH_SECRET, HEADER_SECRET = "marker-in-the-path", "marker-in-a-header"
POISON = "poison"


class Deadly:
    """A transport that kills its process instead of sending poison."""

    def __init__(self, transport: HTTPTransport) -> None:
        self.transport = transport

    def send(self, request: Request, /) -> Response:
        """Send what is harmless."""
        if json.loads(request.body)["data"].get("kind") == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.transport.send(request)

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()


def build(environment: Any) -> Emitter:
    """Return the emitter of these settings."""
    options = json.loads(environment.get("HOOKS_OPTIONS", "{}"))
    if options.pop("json", False):
        options["serializer"] = rq.serializers.JSONSerializer
    if path := environment.get("HOOKS_STORE"):
        options["store"] = SQLiteStore(path, synchronous="NORMAL")
    url = environment["HOOKS_URL"]
    schedule = json.loads(environment.get("HOOKS_RETRY", "[0, 1, 1, 1, 1, 1]"))
    common: dict[str, Any] = {"events": ["*"], "secret": SECRET}
    headers = {"X-Token": HEADER_SECRET}
    hooks = [
        Webhook(
            name="log",
            object_types=["site"],
            url=f"{url}/log",
            additional_headers={"X-Build": uuid.uuid4().hex},  # shows whether it was built anew
            **common,
        ),
        Webhook(
            name="gone",
            object_types=["gone"],
            url=f"{url}/{PATH_SECRET}",
            additional_headers=headers,
            **common,
        ),
        Webhook(name="slow", object_types=["slow"], url=f"{url}/slow", timeout=30, **common),
        Webhook(
            name="hangs",
            object_types=["hangs"],
            url=environment.get("HOOKS_SLOW", url),
            timeout=1,
            **common,
        ),
    ]
    return Emitter(
        webhooks=hooks,
        queue=RQQueue(
            redis.Redis.from_url(environment["HOOKS_REDIS"]),
            environment.get("HOOKS_QUEUE", "hooks"),
            emitter="rq_app:emitter",
            **options,
        ),
        transport=Deadly(HTTPTransport(network=NetworkPolicy.internal())),
        retry=RetryPolicy(schedule=schedule, jitter=0),
        fallback=SQLiteStore(environment["HOOKS_FALLBACK"])
        if "HOOKS_FALLBACK" in environment
        else None,
    )


if "HOOKS_REDIS" in os.environ:
    emitter = build(os.environ)
