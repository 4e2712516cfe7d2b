"""``changehook ui``: the operator's page on this machine, for whoever started it."""

from __future__ import annotations

import argparse
import contextlib
import errno
import hmac
import operator
import secrets
import socketserver
import sys
import wsgiref.simple_server
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from changehook.arguments import check_shared, command, emitter_at, located
from changehook.emitter import Emitter
from changehook.errors import ChangehookError, ConfigurationError
from changehook.printing import DONE, answer
from changehook.queues.stored import StoredQueue
from changehook.sources import FileSource
from changehook.stores.sqlite import SQLiteStore
from changehook.web import inspection_app

__all__ = ["add_ui"]

HOST = "127.0.0.1"
PORT = 8020
RIGHT = "changehook.right"
"""Where the environ says what a request may do; those of headers begin with ``HTTP_``."""


def add_ui(commands: Any) -> None:
    """Add ``ui``."""
    add = command(commands, _ui)
    add("store", metavar="STORE", nargs="?", help="the SQLite file")
    add("file", metavar="FILE", nargs="?", help="the webhooks; read again when the file changes")
    place = "the emitter to show, or a function that returns it; in place of STORE and FILE"
    add("--emitter", metavar="MODULE:NAME", help=place)
    add("--port", type=int, default=PORT, help=f"the port; 0 for any free one ({PORT})")


def _ui(options: argparse.Namespace) -> int:
    """Show deliveries and webhooks on a page, on this machine only.

    Those of a SQLite file, with the webhooks of FILE if it is given; or those of an emitter of your
    application, which is imported. The page is for whoever opens the link that is printed, as it
    holds a key that is made anew each time. With a file nothing is sent by this command: whoever
    works on the file sends what was made due. CONTROL-C stops it.

    example: changehook ui webhooks.db webhooks.toml
    example: changehook ui --emitter myapp.hooks:emitter
    """
    emitter = _imported(options) if options.emitter else _built(options)
    key = secrets.token_urlsafe(24)
    with contextlib.closing(emitter), _listening(options.port) as server:
        server.set_app(_Keyed(emitter, key, server.server_port))
        url = f"http://{HOST}:{server.server_port}/{key}/"
        answer(options, {"url": url}, f"Open {url}\nCONTROL-C stops it.")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.1)
    return DONE


def _built(options: argparse.Namespace) -> Emitter:
    if options.store is None:
        raise ConfigurationError("write STORE, or --emitter MODULE:NAME")
    if not Path(options.store).is_file():
        raise ConfigurationError(f"{options.store}: there is no such file")
    try:
        webhooks: Any = [] if options.file is None else FileSource(options.file)
    except ConfigurationError as error:
        raise located(options.file, error) from None
    return Emitter(webhooks=webhooks, queue=StoredQueue(SQLiteStore(options.store)))


def _imported(options: argparse.Namespace) -> Emitter:
    if options.store:
        raise ConfigurationError("--emitter: takes no STORE or FILE; the emitter has its own")
    emitter = emitter_at(options.emitter)
    check_shared(emitter, options.emitter, "this command never")
    return emitter


def _listening(port: int) -> _Server:
    if not 0 <= port <= 65535:
        raise ConfigurationError("--port: expected a port from 0 to 65535")
    try:
        return _Server((HOST, port), _Handler)
    except OSError as error:
        hint = "; choose another with --port" if error.errno == errno.EADDRINUSE else ""
        reason = f"cannot listen on port {port} of {HOST}: {error.strerror}"
        raise ChangehookError(f"{reason}{hint}") from None


class _Keyed:
    """The page for whoever has the key: every user of a machine can reach its loopback addresses,
    and so can a page of any site whose name is made to lead there.

    The key is the path of the mount. A browser sends a cookie to every port of a host (RFC 6265,
    section 8.5), and so to whatever else listens on this machine; an address it sends to no other.
    """

    def __init__(self, emitter: Emitter, key: str, port: int) -> None:
        self._mount = f"/{key}"
        self._hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        self._app = inspection_app(emitter, authorize=operator.itemgetter(RIGHT))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, length = environ["PATH_INFO"], len(self._mount)
        mount, rest = path[:length], path[length:]
        is_keyed = hmac.compare_digest(mount.encode(), self._mount.encode())
        is_let_in = is_keyed and rest[:1] in ("", "/") and environ.get("HTTP_HOST") in self._hosts
        own = {"SCRIPT_NAME": mount, "PATH_INFO": rest, RIGHT: "operate" if is_let_in else None}
        return self._app({**environ, **own}, start_response)


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that hangs up is no error of ours.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    timeout = 30

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a request line holds the key."""
