"""A request for the operator's page: path, query, cookie and form, as a browser or anyone sends."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from fuzz.harness import parts

from changehook import Emitter, InMemoryQueue, Webhook
from changehook.testing import RecordingTransport
from changehook.web import inspection_app
from changehook.web.guard import COOKIE

INPUTS = 8_000
TOKEN = "t" * 43
WORDS = (
    *("GET", "POST", "HEAD", "/deliveries?", "/delivery?id=", "/text?part=", "/webhook?name="),
    *("/bulk?action=", "/try", "/webhooks", "/static/page.css", "/static/../", "//evil/", "/"),
    *("status=failing", "status=with-error", "webhook=w", "model=", "error=timeout", "text="),
    *("since=24h", "until=2026-01-31T12:00+02:00", "after=2026-01-31T12:00:00+00:00/msg_1"),
    *("retry", "rerender", "discard", "send", "enable", "disable", "reason=", "total=9", "seen=1"),
    *("&", "%00", "%ff", "%0d%0a", "%u202e", "+", "=", ";", f"{COOKIE}={TOKEN}", f"csrf={TOKEN}"),
    *('change={"event":"created","model":"m","data":{}}', "delivery=msg_1", "id=msg_1"),
)


def operated() -> Any:
    """Return a page with a delivery of each kind, that demands to be asked as PEP 3333 says."""
    ids = iter(f"msg_{number}" for number in range(1, 100))
    hook = Webhook(name="w", object_types=["m"], events=["*"], url="https://receiver.example/")
    emitter = Emitter(
        webhooks=[hook],
        queue=InMemoryQueue(),
        transport=RecordingTransport(200, 500),
        new_id=lambda _: next(ids, "msg_last"),
    )
    for name in ("a", "b"):
        emitter.emit_change("created", "m", {"name": name})
    emitter.queue.run()
    emitter.emit_change("created", "m", {"name": "c"})
    return validator(inspection_app(emitter, authorize=lambda _: "operate"))


def check(data: bytes) -> None:
    """Every request gets an answer that is not a failure, and whose headers are headers."""
    line, cookie, form = parts(data, 3)
    method, _, target = line.decode("latin-1").partition(" ")
    path, _, query = target.partition("?")
    if method not in ("GET", "HEAD", "POST", "PUT"):
        method = "GET"
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "/hooks",
        "PATH_INFO": "/" + unquote_to_bytes(path.lstrip("/")).decode("latin-1"),
        "QUERY_STRING": query,
        "HTTP_COOKIE": cookie.decode("latin-1"),
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(form)),
        "wsgi.input": io.BytesIO(form),
    }
    setup_testing_defaults(environ)
    seen: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
        seen.extend((status, headers))
        return lambda text: None

    answer = operated()(environ, start_response)
    body = b"".join(answer)
    answer.close()
    status, headers = seen
    assert not status.startswith("5"), status
    for name, value in headers:
        assert value.isprintable(), name
        assert value.isascii(), name
    assert b"Traceback" not in body
