"""Our requests, over real sockets, at receivers that nobody here wrote."""

import http.server
import json
import shutil
import socket
import subprocess
import threading

import gidgethub
import gidgethub.sansio
import pytest
import standardwebhooks
import svix

from changehook import Emitter, InMemoryQueue, NetworkPolicy, RetryPolicy, Webhook, generate_secret
from changehook.testing import until

OLD, NEW = generate_secret(), generate_secret()
LIMIT = 20.0


class Served:
    """A receiver that asks somebody else's code whether a request is genuine."""

    def __init__(self, accept):
        receiver = self
        self.refusals = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    accept(body, {name.lower(): value for name, value in self.headers.items()})
                    status = 204
                except Exception as error:
                    receiver.refusals.append(error)
                    status = 401
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join(LIMIT)
        self.server.server_close()


def deliver(url, **changes):
    """Return the delivery of one change after its only attempt."""
    webhook = Webhook(
        name="w",
        object_types=["site"],
        events=["created"],
        url=url,
        retry=RetryPolicy(schedule=[0]),
        **changes,
    )
    queue = InMemoryQueue()
    emitter = Emitter(webhooks=[webhook], queue=queue, network=NetworkPolicy(allow=["127.0.0.1"]))
    emitter.emit_change("created", "site", {"name": 'Zürich "1"'})
    [delivery] = queue.run()
    emitter.close()
    return delivery


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.Webhook])
@pytest.mark.parametrize("known", [OLD, NEW])
def test_standard_webhooks_while_a_secret_is_rotated(library, known):
    """A receiver that knows the old secret, and one that knows the new one, both accept."""
    with Served(lambda body, headers: library(known).verify(body, headers)) as receiver:
        assert deliver(receiver.url, secret=[NEW, OLD]).status == "delivered"
        refused = deliver(receiver.url, secret=generate_secret())
    assert (refused.status, refused.attempts[0].status) == ("failed", 401)
    assert len(receiver.refusals) == 1


def test_gidgethub_accepts_the_hub_signature():
    """GitHub's receivers in Python verify ``X-Hub-Signature-256``."""
    received = []

    def accept(body, headers):
        headers = {**headers, "x-github-event": "push", "x-github-delivery": headers["webhook-id"]}
        received.append(gidgethub.sansio.Event.from_http(headers, body, secret="known").data)

    with Served(accept) as receiver:
        signed = {"signatures": ["x-hub-signature-256"]}
        assert deliver(receiver.url, secret="known", **signed).status == "delivered"
        assert deliver(receiver.url, secret="other", **signed).status == "failed"
    assert received[0]["data"] == {"name": 'Zürich "1"'}
    assert [type(error) for error in receiver.refusals] == [gidgethub.ValidationFailure]


RULE = {
    "id": "site",
    "execute-command": "/bin/true",
    "trigger-rule": {
        "match": {
            "type": "payload-hmac-sha512",
            "secret": "known",
            "parameter": {"source": "header", "name": "X-Hook-Signature"},
        }
    },
}


def test_the_webhook_server_accepts_our_own_signature(tmp_path):
    """The program ``webhook`` checks the HMAC-SHA512 of a body by a rule of its own."""
    program = shutil.which("webhook")
    if program is None:
        pytest.skip("the program webhook is not installed; on Debian: apt install webhook")
    (tmp_path / "hooks.json").write_text(json.dumps([RULE]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "-hooks", "hooks.json", "-ip", "127.0.0.1", "-port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            assert until(lambda: is_open(port))
            url = f"http://127.0.0.1:{port}/hooks/site"
            assert deliver(url, secret="known").status == "delivered"
            assert deliver(url, secret="other").status == "failed"
        finally:
            process.terminate()


def is_open(port):
    """Return whether something listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT).close()
    except ConnectionRefusedError:
        return False
    return True
