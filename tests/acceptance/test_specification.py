"""Every sentence of the specification on behaviour, through public API and real sockets.

The sentence stands in the docstring of its test. NetBox's page for queue inspection, and Redis, are
other tests' matter.
"""

import datetime
import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse

import pytest

from changehook import (
    ConfigurationError,
    DeliveryFilter,
    Emitter,
    InMemoryQueue,
    NetworkPolicy,
    RetryPolicy,
    ThreadPoolQueue,
    Webhook,
)
from changehook.receiver import Behaviour, Receiver

LIMIT = 20.0
LOOPBACK = NetworkPolicy(allow=["127.0.0.1"])


@pytest.fixture
def receiver():
    """Give a receiver on a free port of this machine."""
    with Receiver(port=0, output=lambda text: None).start() as receiver:
        yield receiver


@pytest.fixture
def start():
    """Build emitters with a real thread pool, and close them at the end."""
    emitters = []

    def build(*webhooks, **arguments):
        values = {"queue": ThreadPoolQueue(), "network": LOOPBACK, **arguments}
        emitters.append(Emitter(webhooks=webhooks, **values))
        return emitters[-1]

    yield build
    for emitter in emitters:
        emitter.close()


def hook(url, **changes):
    """Return a webhook for sites, and for every event."""
    values = {
        "name": "w",
        "object_types": ["site"],
        "events": ["created", "updated", "deleted"],
        "url": url,
    }
    return Webhook(**{**values, **changes})


def base(receiver):
    """Return the receiver's URL with a numeric host and a final slash."""
    return f"http://127.0.0.1:{urllib.parse.urlsplit(receiver.url).port}/"


def test_changes_are_transmitted_to_remote_systems(receiver, start):
    """NetBox can be configured to transmit outgoing webhooks to remote systems in response to
    internal object changes."""
    emitter = start(hook(base(receiver)))
    for event in ("created", "updated", "deleted"):
        emitter.emit_change(event, "site", {"id": 19})
    requests = receiver.wait_for(3, LIMIT)
    assert sorted(json.loads(request.body)["event"] for request in requests) == [
        "created",
        "deleted",
        "updated",
    ]


def test_the_receiver_can_act_on_the_data(receiver, start):
    """The receiver can act on the data in these webhook messages to perform related tasks."""
    start(hook(base(receiver))).emit_change("updated", "site", {"name": "Zürich"})
    [request] = receiver.wait_for(1, LIMIT)
    assert json.loads(request.body)["data"]["name"] == "Zürich"
    assert request.header("Content-Type") == "application/json"


def test_the_device_status_example(receiver, start):
    """Suppose you want to automatically configure a monitoring system to start monitoring a device
    when its operational status is changed to active, and remove it from monitoring for any
    other status. You can create a webhook for the device model and craft its content and
    destination URL to effect the desired change on the receiving system. Webhooks are sent
    automatically whenever the constraints are met."""
    became_active = {"attr": "status.value", "value": "active"}
    changed = {"attr": "status", "op": "changed"}
    url = base(receiver) + "monitor/{{ data.name }}"
    devices = {"object_types": ["device"], "events": ["updated"]}
    body = {"body_template": '{"host": "{{ data.name }}"}'}
    emitter = start(
        hook(url, name="start", conditions={"and": [changed, became_active]}, **devices, **body),
        hook(
            url,
            name="stop",
            http_method="DELETE",
            conditions={"and": [changed, {**became_active, "negate": True}]},
            **devices,
            **body,
        ),
    )

    def change(before, after, name):
        data = {"name": name, "status": {"value": after, "label": after.title()}}
        return emitter.emit_change(
            "updated", "device", data, prechange={"status": before}, postchange={"status": after}
        )

    assert [d.webhook for d in change("planned", "active", "edge 1")] == ["start"]
    assert [d.webhook for d in change("active", "offline", "edge/2")] == ["stop"]
    assert change("active", "active", "edge3") == []
    requests = {r.method: (r.path, json.loads(r.body)) for r in receiver.wait_for(2, LIMIT)}
    assert requests == {
        "POST": ("/monitor/edge%201", {"host": "edge 1"}),
        "DELETE": ("/monitor/edge%2F2", {"host": "edge/2"}),
    }


@pytest.mark.parametrize("missing", ["object_types", "events"])
def test_a_webhook_has_an_object_type_and_an_event(missing):
    """Each webhook must be associated with at least one object type and at least one event
    (create, update, or delete)."""
    with pytest.raises(ConfigurationError, match=f"/{missing}: name at least one"):
        hook("http://127.0.0.1/", **{missing: []})


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_users_specify_the_request(receiver, start, method):
    """Users can specify the receiver's URL, the HTTP request type, the content type and headers."""
    webhook = hook(
        base(receiver) + "a/b?c=d",
        http_method=method,
        http_content_type="text/plain; charset=utf-8",
        additional_headers="X-One: 1\nX-Two: zwei",
        body_template="hello {{ data.name }}",
    )
    start(webhook).emit_change("created", "site", {"name": 'a "b"'})
    [request] = receiver.wait_for(1, LIMIT)
    assert (request.method, request.path) == (method, "/a/b?c=d")
    assert request.header("Content-Type") == "text/plain; charset=utf-8"
    assert (request.header("X-One"), request.header("X-Two")) == ("1", "zwei")
    assert request.body == b'hello a "b"'


def test_without_a_body_template_the_object_is_serialised(receiver, start):
    """If left blank, a serialized representation of the affected object is sent by default."""
    start(hook(base(receiver), body_template="")).emit_change(
        "created", "site", {"id": 19, "x": None}
    )
    [request] = receiver.wait_for(1, LIMIT)
    assert json.loads(request.body)["data"] == {"id": 19, "x": None}


def test_templates_in_url_headers_and_body(receiver, start):
    """Jinja2 templating is supported for the URL, additional_headers and body_template fields.
    This enables the user to convey object data in the request headers as well as to craft a
    customized body."""
    webhook = hook(
        base(receiver) + "{{ model }}/{{ data.id }}?by={{ username }}",
        additional_headers="X-Slug: {{ data.slug }}\nX-Event: {{ event | upper }}",
        body_template='{"tags": {{ data.tags | tojson }}, "first": "{{ data.tags[0] }}"}',
    )
    data = {"id": 7, "slug": "site-1", "tags": ["a", 'b"']}
    start(webhook).emit_change("created", "site", data, username="ann & bob")
    [request] = receiver.wait_for(1, LIMIT)
    assert request.path == "/site/7?by=ann%20%26%20bob"
    assert (request.header("X-Slug"), request.header("X-Event")) == ("site-1", "CREATED")
    assert json.loads(request.body) == {"tags": ["a", 'b"'], "first": "a"}


SLACK = """{"text": "IP address {{ data['address'] }} was created by {{ username }}!"}"""


@pytest.mark.parametrize("username", ["jstretch", 'a "quoted" \\ näme\n'])
def test_the_slack_example(receiver, start, username):
    """You might create a webhook to trigger a Slack message any time an IP address is created:
    object type, POST, URL, application/json, and the body template of the document."""
    webhook = hook(
        base(receiver) + "services/T0/B0/x",
        object_types=["ipaddress"],
        events=["created"],
        http_method="POST",
        http_content_type="application/json",
        body_template=SLACK,
    )
    start(webhook).emit_change(
        "created", "ipaddress", {"address": "10.0.0.1/24"}, username=username
    )
    [request] = receiver.wait_for(1, LIMIT)
    assert json.loads(request.body) == {
        "text": f"IP address 10.0.0.1/24 was created by {username}!"
    }


CONTEXT = """{"event": "{{ event }}", "model": "{{ model }}", "timestamp": "{{ timestamp }}",
"username": "{{ username }}", "request_id": "{{ request_id }}", "data": {{ data | tojson }},
"prechange": {{ snapshots.prechange | tojson }},
"postchange": {{ snapshots['postchange'] | tojson }}}"""


def test_the_available_context(receiver, start):
    """The following data is available as context for Jinja2 templates: event, model, timestamp
    (ISO 8601), username, request_id, data, and snapshots with keys named prechange and
    postchange."""
    started = datetime.datetime.now(datetime.UTC)
    start(hook(base(receiver), body_template=CONTEXT)).emit_change(
        "updated",
        "site",
        {"name": "new"},
        prechange={"name": "old"},
        postchange={"name": "new"},
        username="jstretch",
        request_id="fdbca812-3142-4783-b364-2e2bd5c16c6a",
    )
    [request] = receiver.wait_for(1, LIMIT)
    sent = json.loads(request.body)
    timestamp = datetime.datetime.fromisoformat(sent.pop("timestamp"))
    assert started <= timestamp <= datetime.datetime.now(datetime.UTC)
    assert sent == {
        "event": "updated",
        "model": "site",
        "username": "jstretch",
        "request_id": "fdbca812-3142-4783-b364-2e2bd5c16c6a",
        "data": {"name": "new"},
        "prechange": {"name": "old"},
        "postchange": {"name": "new"},
    }


def test_the_request_id_correlates_changes(receiver, start):
    """This may be used to correlate multiple changes associated with a single request."""
    emitter = start(hook(base(receiver)))
    emitter.emit_change("created", "site", {"id": 1}, request_id="r1")
    emitter.emit_change("updated", "site", {"id": 1}, request_id="r1")
    emitter.emit_change("created", "site", {"id": 2}, request_id="r2")
    ids = [json.loads(request.body)["request_id"] for request in receiver.wait_for(3, LIMIT)]
    assert sorted(ids) == ["r1", "r1", "r2"]


def test_the_default_request_body(receiver, start):
    """If no body template is specified, the request body will be populated with a JSON object
    containing the context data; a newly created site appears as in the document, keys in that
    order."""
    data = {
        "id": 19,
        "name": "Site 1",
        "slug": "site-1",
        "status": {"value": "active", "label": "Active", "id": 1},
        "region": None,
    }
    snapshot = {
        "created": datetime.date(2021, 3, 9),
        "last_updated": "2021-03-09T17:55:33.851Z",
        "name": "Site 1",
        "slug": "site-1",
        "status": "active",
    }
    start(hook(base(receiver))).emit_change(
        "created",
        "site",
        data,
        postchange=snapshot,
        username="jstretch",
        request_id="fdbca812-3142-4783-b364-2e2bd5c16c6a",
        timestamp=datetime.datetime(2021, 3, 9, 17, 55, 33, 968016, datetime.UTC),
    )
    [request] = receiver.wait_for(1, LIMIT)
    body = json.loads(request.body)
    assert list(body) == [
        "event",
        "timestamp",
        "model",
        "username",
        "request_id",
        "data",
        "snapshots",
    ]
    assert list(body["snapshots"]) == ["prechange", "postchange"]
    assert body == {
        "event": "created",
        "timestamp": "2021-03-09T17:55:33.968016+00:00",
        "model": "site",
        "username": "jstretch",
        "request_id": "fdbca812-3142-4783-b364-2e2bd5c16c6a",
        "data": data,
        "snapshots": {"prechange": None, "postchange": {**snapshot, "created": "2021-03-09"}},
    }


def test_conditional_webhooks(receiver, start):
    """A webhook may include a set of conditional logic expressed in JSON used to control whether a
    webhook triggers for a specific object: only when the status field is "active"."""
    conditions = json.loads('{"and": [{"attr": "status.value", "value": "active"}]}')
    emitter = start(hook(base(receiver), conditions=conditions))
    assert emitter.emit_change("created", "site", {"status": {"value": "planned"}}) == []
    assert len(emitter.emit_change("created", "site", {"status": {"value": "active"}})) == 1
    [request] = receiver.wait_for(1, LIMIT)
    assert json.loads(request.body)["data"]["status"]["value"] == "active"


def test_a_change_places_webhooks_into_a_queue(receiver):
    """When a change is detected, any resulting webhooks are placed into a queue for processing.
    The webhooks are then extracted from the queue by the worker process and HTTP requests are
    sent."""
    queue = InMemoryQueue()
    emitter = Emitter(webhooks=[hook(base(receiver))], queue=queue, network=LOOPBACK)
    emitter.emit_change("created", "site", {})
    assert [delivery.status for delivery in queue.deliveries] == ["pending"]
    assert receiver.requests == []
    queue.run()
    assert [delivery.status for delivery in queue.deliveries] == ["delivered"]
    assert len(receiver.wait_for(1, LIMIT)) == 1
    emitter.close()


def test_the_users_request_does_not_wait(start):
    """This allows the user's request to complete without needing to wait for the outgoing webhooks
    to be processed."""
    arrived, answer = threading.Event(), threading.Event()

    def hold(request):
        arrived.set()
        assert answer.wait(LIMIT)

    with Receiver(port=0, output=lambda text: None, on_request=hold).start() as receiver:
        emitter = start(hook(base(receiver)))
        [delivery] = emitter.emit_change("created", "site", {})
        assert arrived.wait(LIMIT)
        assert emitter.queue.get(delivery.id).status == "delivering"
        answer.set()
        assert emitter.close() == 0
        assert emitter.queue.get(delivery.id).status == "delivered"


def test_the_queue_and_failed_webhooks_can_be_inspected(receiver):
    """The current webhook queue and any failed webhooks can be inspected."""
    queue = InMemoryQueue()
    refused = hook("http://127.0.0.1:1/", name="refused", retry=RetryPolicy(schedule=[0]))
    emitter = Emitter(webhooks=[refused], queue=queue, network=LOOPBACK)
    emitter.emit_change("created", "site", {})
    assert [d.webhook for d in queue.find(DeliveryFilter(status="pending"))] == ["refused"]
    queue.run()
    [failed] = queue.find(DeliveryFilter(status="failed"))
    assert failed.attempts[0].error_class == "connect"
    assert failed.reason.startswith("gave up after 1 attempt: connect:")
    emitter.close()


@pytest.mark.parametrize("status", [200, 201, 204, 226, 299])
def test_a_2xx_response_is_success(status):
    """A request is considered successful if the response has a 2XX status code."""
    assert outcome(Behaviour(respond=status)).status == "delivered"


@pytest.mark.parametrize("status", [300, 301, 302, 304, 400, 401, 404, 410, 429, 500, 503, 599])
def test_any_other_response_is_failure(status):
    """Otherwise, the request is marked as having failed; a redirect is not followed."""
    delivery = outcome(
        Behaviour(respond=status, redirect="http://127.0.0.1:1/" if status < 400 else None)
    )
    assert delivery.status == "failed"
    assert delivery.attempts[0].status == status


def outcome(behaviour):
    """Return a delivery after its only attempt at a receiver that behaves so."""
    with Receiver(port=0, output=lambda text: None, behaviour=behaviour).start() as receiver:
        queue = InMemoryQueue()
        webhook = hook(base(receiver), retry=RetryPolicy(schedule=[0]))
        emitter = Emitter(webhooks=[webhook], queue=queue, network=LOOPBACK)
        emitter.emit_change("created", "site", {})
        [delivery] = queue.run()
        emitter.close()
        return delivery


def test_failed_requests_are_retried_by_hand(start):
    """Failed requests may be retried manually."""
    behaviours = [500, 200]
    with Receiver(
        port=0, output=lambda text: None, behaviour=Behaviour(respond=500)
    ).start() as bad:
        port = urllib.parse.urlsplit(bad.url).port
        webhook = hook(f"http://127.0.0.1:{port}/", retry=RetryPolicy(schedule=[0]))
        queue = InMemoryQueue()
        emitter = Emitter(webhooks=[webhook], queue=queue, network=LOOPBACK)
        [delivery] = emitter.emit_change("created", "site", {"n": 1})
        queue.run()
        assert queue.get(delivery.id).status == "failed"
    with Receiver(port=port, output=lambda text: None).start() as good:
        queue.retry(delivery.id)
        [done] = queue.run()
        [second] = good.wait_for(1, LIMIT)
    [first] = bad.requests
    assert done.status == "delivered"
    assert [attempt.status for attempt in done.attempts] == behaviours
    assert first.body == second.body
    assert first.header("webhook-id") == second.header("webhook-id") == delivery.id
    emitter.close()


SHOWN = r"""\[1\] \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT 127\.0\.0\.1 "POST / HTTP/1\.1" 200 -
Host: localhost:PORT
User-Agent: curl/[^\n]+
Accept: \*/\*
Content-Length: 14
Content-Type: application/x-www-form-urlencoded

\{"foo": "bar"\}
------------
"""


@pytest.fixture
def listener():
    """Give the command ``changehook receiver``, running, and its port."""
    command = [sys.executable, "-m", "changehook", "receiver", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    yield process, first, int(re.search(r":(\d+)\.", first)[1])
    process.terminate()
    process.communicate(timeout=LIMIT)


def read(process):
    """Return what the command prints for one request."""
    lines = [process.stdout.readline()]
    while lines[-1] not in ("------------\n", ""):
        lines.append(process.stdout.readline())
    return "".join(lines)


def test_the_receiver_prints_requests(listener):
    """A simple HTTP listener can be run locally to receive and display webhook requests. You can
    test the receiver itself by sending any HTTP request to it; the server will print output as
    shown."""
    process, first, port = listener
    assert first == f"Listening on port http://localhost:{port}. Stop with CONTROL-C.\n"
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-s", "-X", "POST", f"http://localhost:{port}", "--data", '{"foo": "bar"}']
    subprocess.run(command, check=True, timeout=LIMIT)
    assert re.fullmatch(SHOWN.replace("PORT", str(port)), read(process))


def test_the_receiver_does_nothing_with_what_it_receives(listener):
    """It does not actually do anything with the information received: it merely prints the request
    headers and body for inspection."""
    process, _, port = listener
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    for method in ("GET", "PUT"):
        connection.request(method, "/x", body=b"body")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
    connection.close()
    assert '"GET /x HTTP/1.1" 200 -' in read(process)


def test_webhooks_appear_in_the_terminal(listener, start):
    """Now, when the webhook is triggered and processed, you should see its headers and content
    appear in the terminal where the webhook receiver is listening."""
    process, _, port = listener
    emitter = start(
        hook(f"http://localhost:{port}/", body_template='{"seen": true}'),
        network=NetworkPolicy.internal(),
    )
    emitter.emit_change("created", "site", {})
    shown = read(process)
    assert shown.startswith("[1] ")
    assert "Content-Type: application/json\n" in shown
    assert shown.endswith('\n\n{"seen": true}\n------------\n')
