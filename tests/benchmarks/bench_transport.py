"""What one request costs, as a ratio to bare ``HTTPConnectionPool.urlopen`` to the same receiver.

Run it: ``PYTHONPATH=src:tests/benchmarks python tests/benchmarks/bench_transport.py``.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import urllib3
from measure import ratio, report

from changehook.exchange import Request
from changehook.network import NetworkPolicy
from changehook.transport import HTTPTransport

LIMITS = {"transport.send / urlopen": 1.15}
TARGET = "/hooks/T0/B0?x=1"
BODY = b'{"data": "' + b"x" * 1500 + b'"}'
HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "changehook/bench",
    "Accept-Encoding": "identity",
    "webhook-id": "msg_0123456789abcdef",
    "webhook-timestamp": "1700000000",
    "X-Hook-Signature": "0" * 128,
}
SINK = """
import socket, threading
ANSWER = (b"HTTP/1.1 200 OK\\r\\nServer: sink\\r\\nDate: Mon, 01 Jan 2024 00:00:00 GMT\\r\\n"
          b"Content-Type: text/plain\\r\\nContent-Length: 2\\r\\n\\r\\nok")
def serve(sock):
    data = b""
    while True:
        head, blank, rest = data.partition(b"\\r\\n\\r\\n")
        if blank:
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\\r\\n")[0])
            if len(rest) >= length:
                data = rest[length:]
                sock.sendall(ANSWER)
                continue
        more = sock.recv(65536)
        if not more:
            return
        data += more
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(sock,), daemon=True).start()
"""


@contextlib.contextmanager
def sink() -> Iterator[int]:
    """Run a receiver in another process that answers 200 to everything; give its port."""
    with subprocess.Popen(
        [sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def run() -> dict[str, float]:
    """Return the ratio of each measurement."""
    with sink() as port, urllib3.HTTPConnectionPool("127.0.0.1", port) as pool:
        transport = HTTPTransport(network=NetworkPolicy(allow=["127.0.0.1"]))
        url = f"http://127.0.0.1:{port}{TARGET}"
        request = Request(method="POST", url=url, headers=HEADERS, body=BODY, timeout=15.0)
        result = ratio(
            lambda: transport.send(request),
            lambda: pool.urlopen("POST", TARGET, BODY, HEADERS, retries=False),
            number=200,
        )
        transport.close()
    return {"transport.send / urlopen": result}


if __name__ == "__main__":
    sys.exit(report(run, LIMITS))
