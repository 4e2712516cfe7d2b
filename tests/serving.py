"""A server on loopback with one thread: what its kinds have in common."""

from __future__ import annotations

import selectors
import socket
import threading


class OneThread:
    """Listens, and runs ``_serve`` on a thread until it is closed; ``url`` has no path."""

    def __init__(self, backlog: int | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._stopped, self._stop = socket.socketpair()
        self._selector.register(self._stopped, selectors.EVENT_READ, None)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Answer until ``_stopped`` can be read."""
        raise NotImplementedError

    def close(self) -> None:
        """End the thread and close every socket."""
        self._stop.send(b"x")
        self._thread.join(20)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()
        self._stop.close()
