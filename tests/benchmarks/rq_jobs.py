"""The module that the workers of bench_rq.py import: our emitters, and the way NetBox does it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Any

import redis
import requests
from bench_emit import CONDITIONS, hook
from jinja2.sandbox import SandboxedEnvironment

from changehook import Emitter, NetworkPolicy
from changehook.queues.rq import RQQueue

CONNECTION = redis.Redis.from_url(os.environ.get("BENCH_REDIS", "redis://127.0.0.1:1/0"))
URL = os.environ.get("BENCH_URL", "http://127.0.0.1:1/")
SECRET = "s"
BODY = '{"name": {{ data.name | tojson }}, "event": "{{ event }}", "data": {{ data | tojson }}}'


def built(name: str, batch: int) -> Emitter:
    """Return an emitter on the RQ queue of a name."""
    place = f"rq_jobs:{name}"
    return Emitter(
        webhooks=[hook(url=URL, secret=SECRET, body_template=BODY, conditions=CONDITIONS)],
        queue=RQQueue(CONNECTION, name, emitter=place, batch=batch),
        network=NetworkPolicy(allow=["127.0.0.1"]),
    )


singles = built("singles", 1)
bursts = built("bursts", 25)
quiet = built("unheard", 25)


def netbox(url: str, secret: str, body: str, headers: str, context: dict[str, Any]) -> str:
    """Send a webhook as NetBox does: compile, render, sign, and send in a new session."""
    sent = {
        line.partition(":")[0]: line.partition(":")[2].strip()
        for line in SandboxedEnvironment().from_string(headers).render(**context).splitlines()
    }
    address = SandboxedEnvironment().from_string(url).render(**context)
    data = SandboxedEnvironment().from_string(body).render(**context).encode()
    request = requests.Request("POST", address, headers=sent, data=data).prepare()
    request.headers["X-Hook-Signature"] = hmac.new(
        secret.encode(), data, hashlib.sha512
    ).hexdigest()
    with requests.Session() as session:
        response = session.send(request)
    response.raise_for_status()
    return f"Status {response.status_code} returned"


def arguments(payload: str) -> tuple[Any, ...]:
    """Return what the job of NetBox's way is enqueued with."""
    return URL, SECRET, BODY, "Content-Type: application/json", json.loads(payload)
