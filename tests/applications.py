"""Servers on loopback for WSGI and ASGI applications, on threads of the process that tests."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LIMIT = 20.0

Tell = Callable[[str], None]
ASGIApplication = Callable[[Any, Any, Any], Awaitable[None]]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """One thread for each request; one that is stuck holds up no test that ends."""

    daemon_threads = True
    request_queue_size = 64


class Handler(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def watched(app: WSGIApplication, tell: Tell) -> WSGIApplication:
    """Return the application; ``tell`` gets the traceback of what it raises."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            body = app(environ, start_response)
            with contextlib.ExitStack() as stack:
                if hasattr(body, "close"):
                    stack.callback(body.close)
                yield from body
        except Exception:
            tell(f"the application raised:\n{traceback.format_exc()}")
            raise

    return answer


@contextlib.contextmanager
def wsgi(app: WSGIApplication, tell: Tell) -> Iterator[str]:
    """Serve a WSGI application, and yield its URL without a path."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.set_app(watched(app, tell))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(LIMIT)


@contextlib.contextmanager
def asgi(app: ASGIApplication, tell: Tell) -> Iterator[str]:
    """Serve an ASGI application, and yield its URL without a path."""
    import uvicorn

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except Exception:
            tell(f"the application raised:\n{traceback.format_exc()}")
            raise

    config = uvicorn.Config(
        answer, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(LIMIT)
