"""From a change to deliveries, and to their attempts."""

import asyncio
import datetime
import importlib.metadata
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changehook import (
    Change,
    ConfigurationError,
    Delivery,
    DeliveryStateError,
    Emitter,
    EncodingError,
    FileSource,
    InMemoryQueue,
    Queue,
    QueueError,
    QueueFullError,
    RetryPolicy,
    ThreadPoolQueue,
    Webhook,
    WebhookRegistry,
    request_context,
)
from changehook.errors import ConnectError, RenderError, SetupError
from changehook.exchange import KEPT_BODY, Response
from changehook.interfaces import Terms
from changehook.network import NetworkPolicy
from changehook.testing import FakeClock, RecordingTransport

SEVEN = ["event", "timestamp", "model", "username", "request_id", "data", "snapshots"]


def hook(name="w", **changes):
    """Return a webhook."""
    values = {
        "name": name,
        "object_types": ["site"],
        "events": ["created"],
        "url": "https://receiver.example/",
    }
    return Webhook(**{**values, **changes})


def build(*webhooks, answers=(), **arguments):
    """Return an emitter over a queue in memory, with a clock and a transport of the test."""
    clock = FakeClock()
    values = {
        "webhooks": webhooks,
        "queue": InMemoryQueue(clock=clock),
        "transport": RecordingTransport(*answers),
        "clock": clock,
        "random": lambda: 0.0,
    }
    return Emitter(**{**values, **arguments})


def test_every_webhook_that_wants_the_change_gets_a_delivery():
    """Selected, asked, frozen, queued, returned."""
    active = {"attr": "status", "value": "active"}
    emitter = build(
        hook("all"),
        hook("active", conditions=active),
        hook("planned", conditions={**active, "value": "planned"}),
        hook("devices", object_types=["device"]),
        hook("off", enabled=False),
    )
    deliveries = emitter.emit_change("created", "site", {"status": "active"})
    assert [delivery.webhook for delivery in deliveries] == ["all", "active"]
    assert emitter.queue.deliveries == deliveries
    assert deliveries[0].payload is deliveries[1].payload
    assert deliveries[0].id != deliveries[1].id
    assert emitter.emit_change("deleted", "site", {}) == []
    assert emitter.emit_change("created", "site", {"status": "x"})[0].webhook == "all"


def test_the_payload_has_the_documented_keys_in_order():
    """Seven keys, the snapshots with two."""
    emitter = build(hook())
    [delivery] = emitter.emit_change(
        "created", "site", {"b": 1, "a": 2}, postchange={"x": 1}, username="ann", request_id="r"
    )
    payload = json.loads(delivery.payload)
    assert list(payload) == SEVEN
    assert payload == {
        "event": "created",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "model": "site",
        "username": "ann",
        "request_id": "r",
        "data": {"b": 1, "a": 2},
        "snapshots": {"prechange": None, "postchange": {"x": 1}},
    }
    assert list(payload["data"]) == ["b", "a"]


def test_the_host_may_change_its_data_afterwards():
    """A delivery holds the data of the moment."""
    emitter, data = build(hook()), {"tags": ["a"]}
    [delivery] = emitter.emit_change("created", "site", data)
    data["tags"].append("b")
    assert json.loads(delivery.payload)["data"] == {"tags": ["a"]}


def test_callable_data_is_called_only_for_a_listener():
    """Serialising an object that nobody wants costs nothing."""
    calls = []

    def data():
        calls.append(1)
        return {"a": 1}

    emitter = build(hook())
    assert emitter.emit_change("deleted", "site", data) == []
    assert calls == []
    [delivery] = emitter.emit_change("created", "site", data)
    assert json.loads(delivery.payload)["data"] == {"a": 1}
    assert calls == [1]


def test_username_and_request_id_come_from_the_request_context():
    """Given ones win; contexts nest."""
    emitter = build(hook())

    def emitted(**arguments):
        [delivery] = emitter.emit_change("created", "site", {}, **arguments)
        payload = json.loads(delivery.payload)
        return payload["username"], payload["request_id"]

    with request_context(username="ann", request_id="r1"):
        assert emitted() == ("ann", "r1")
        assert emitted(username="bob") == ("bob", "r1")
        with request_context(request_id="r2"):
            assert emitted() == ("ann", "r2")
        assert emitted(request_id="r3", username="bob") == ("bob", "r3")
    assert emitted() == (None, None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("created", "site", [1]), ConfigurationError, "/data: expected a mapping"),
        (("created", "site", {"a": {"b": object()}}), EncodingError, r"data\.a\.b: cannot encode"),
        ((5, "site", {}), ConfigurationError, "/event: expected a name"),
        (("created", ["site"], {}), ConfigurationError, "/model: expected a name"),
    ],
)
def test_the_callers_mistakes_are_raised(arguments, error, message):
    """And nothing is queued."""
    emitter = build(hook())
    with pytest.raises(error, match=message):
        emitter.emit_change(*arguments)
    assert emitter.queue.deliveries == []


def test_snapshots_that_cannot_be_encoded_are_named():
    """From the root of the context."""
    with pytest.raises(EncodingError, match=r"snapshots\.prechange\.x: cannot encode"):
        build(hook()).emit_change("created", "site", {}, prechange={"x": object()})


def test_a_moment_of_the_hosts_own_is_kept():
    """In UTC; a naive one is refused."""
    emitter = build(hook())
    zone = datetime.timezone(datetime.timedelta(hours=2))
    moment = datetime.datetime(2020, 1, 1, 2, tzinfo=zone)
    [delivery] = emitter.emit_change("created", "site", {}, timestamp=moment)
    assert json.loads(delivery.payload)["timestamp"] == "2020-01-01T00:00:00+00:00"
    with pytest.raises(ConfigurationError, match="no time zone"):
        emitter.emit_change("created", "site", {}, timestamp=datetime.datetime(2020, 1, 1))


def test_a_clock_without_a_time_zone_is_refused():
    """In words, also when the host gives the moment of the change itself."""
    emitter = build(hook(), clock=datetime.datetime.now)
    for timestamp in (None, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)):
        with pytest.raises(ConfigurationError, match="time zone"):
            emitter.emit_change("created", "site", {}, timestamp=timestamp)


def test_context_providers_add_an_eighth_key(caplog):
    """One that fails, or gives what cannot be encoded, is logged and left out."""

    def region(change):
        return {"region": change.data["region"]}

    def failing(change):
        raise RuntimeError("SECRET")

    emitter = build(
        hook(body_template="{{ context.region }}", http_content_type="text/plain"),
        context_providers=[region, failing, lambda change: {"x": object()}],
    )
    [delivery] = emitter.emit_change("created", "site", {"region": "north"})
    payload = json.loads(delivery.payload)
    assert list(payload) == [*SEVEN, "context"]
    assert payload["context"] == {"region": "north"}
    assert "failing failed (RuntimeError in test_emitter.py, line" in caplog.text
    assert "EncodingError" in caplog.text
    assert "SECRET" not in caplog.text
    assert emitter.queue.run()[0].body == "north"


def test_the_fallback_takes_what_the_queue_does_not(caplog):
    """Without one the caller learns of it."""
    second = InMemoryQueue()
    emitter = build(hook("a"), hook("b"), queue=BrokenQueue(), fallback=second)
    emitter.emit_change("created", "site", {})
    assert len(second.deliveries) == 2
    assert "the fallback does" in caplog.text
    assert emitter.close() == 2
    with pytest.raises(QueueFullError):
        build(hook("a"), hook("b"), queue=InMemoryQueue(capacity=1)).emit_change(
            "created", "site", {}
        )


class BrokenQueue(Queue):
    """A queue over a broker that is down."""

    def put(self, deliveries):
        """Fail as a broker's client does."""
        raise ConnectionError("SECRET")


def test_a_queue_that_fails_is_a_queue_that_does_not_take():
    """Whatever a broker's client raises, the fallback takes over; without one an error."""
    second = InMemoryQueue()
    build(hook(), queue=BrokenQueue(), fallback=second).emit_change("created", "site", {})
    assert len(second.deliveries) == 1
    with pytest.raises(QueueError, match=r"the queue failed \(ConnectionError\)$"):
        build(hook(), queue=BrokenQueue()).emit_change("created", "site", {})


def test_a_queue_is_not_its_own_fallback():
    """And a refused emitter does not keep the queue."""
    queue = InMemoryQueue()
    with pytest.raises(ConfigurationError, match="fallback: expected another Queue"):
        build(queue=queue, fallback=queue)
    build(queue=queue)


def test_a_source_that_fails_is_asked_again(caplog):
    """The host's database is down for a moment: the attempt fails and is made again."""

    class Flaky(WebhookRegistry):
        fails = 1

        def get(self, name):
            self.fails -= 1
            if self.fails >= 0:
                raise ConnectionError("SECRET")
            return super().get(name)

    emitter = build(webhooks=Flaky([hook()]))
    emitter.emit_change("created", "site", {})
    [first] = emitter.queue.run()
    assert (first.status, first.attempts[0].error_class) == ("pending", "protocol")
    emitter.queue.clock.advance(5)
    assert emitter.queue.run()[0].status == "delivered"
    assert "the source of webhooks fails (ConnectionError)" in caplog.text
    assert "SECRET" not in caplog.text + first.to_json()


def test_a_cancelled_listener_stops_nothing():
    """Cancellation is no ``Exception``, and must not end a worker."""

    def cancelled(delivery):
        raise asyncio.CancelledError

    emitter = build(hook(), listeners=[cancelled])
    emitter.emit_change("created", "site", {})
    assert emitter.queue.run()[0].status == "delivered"


def test_explaining_tells_of_every_webhook():
    """Fires, or the first thing that decides, with the tree of the conditions."""
    conditions = {"and": [{"attr": "status", "value": "active"}]}
    emitter = build(
        hook("off", enabled=False),
        hook("devices", object_types=["device", "dcim.*"], events=["deleted"]),
        hook("all"),
        hook("yes", conditions=conditions),
        hook("no", conditions={"attr": "nmae", "value": "x"}),
    )
    explained = emitter.explain("created", "site", {"status": "active"})
    assert [(each.webhook, each.fires, each.reason) for each in explained] == [
        ("off", False, "it is disabled"),
        ("devices", False, 'it listens to deleted of dcim.*, device, not to "created" of "site"'),
        ("all", True, "it has no conditions"),
        ("yes", True, "its conditions match"),
        ("no", False, "its conditions do not match"),
    ]
    assert "unresolvable" in str(explained[4])
    assert str(explained[2]) == "all: fires, it has no conditions"
    assert explained[0].to_dict() == {
        "webhook": "off",
        "fires": False,
        "reason": "it is disabled",
        "conditions": None,
    }
    assert explained[3].to_dict()["conditions"] is not None
    assert emitter.queue.deliveries == []


def test_a_preview_shows_the_whole_request():
    """Signed, for a webhook or its name, whatever the conditions say; nothing is sent."""
    signed = hook("signed", secret="s", conditions={"attr": "a", "value": 1})
    emitter = build(signed)
    change = Change(event="created", model="site", data={"name": "x"})
    for webhook in (signed, "signed"):
        request = emitter.preview(webhook, change).request
        assert json.loads(request.body)["timestamp"] == "2026-01-01T00:00:00+00:00"
        assert set(request.headers) == {
            "User-Agent",
            "Accept-Encoding",
            "webhook-id",
            "webhook-timestamp",
            "Content-Type",
            "X-Hook-Signature",
        }
    assert emitter._transport.requests == []
    with pytest.raises(ConfigurationError, match='no webhook has the name "none"'):
        emitter.preview("none", change)
    with pytest.raises(RenderError):
        emitter.preview(hook(body_template="{{ data.nmae }}"), change)


def test_a_preview_of_a_delivery_is_its_next_request():
    """Under its id, with the body that was kept, and made anew once that is dropped."""
    emitter = build(hook(body_template="{{ data.name | tojson }}"))
    (delivery,) = emitter.emit_change("created", "site", {"name": "x"})
    request = emitter.preview("w", delivery).request
    assert (request.body, request.headers["webhook-id"]) == (b'"x"', delivery.id)
    assert emitter.preview("w", attrs.evolve(delivery, body="kept")).request.body == b"kept"


def test_a_change_is_sent_to_one_webhook_whatever_its_conditions_say():
    emitter = build(hook("other"), hook(conditions={"attr": "a", "value": 1}))
    change = Change(event="tested", model="site", data={"name": "x"})
    delivery = emitter.send("w", change)
    assert emitter.queue.deliveries == [delivery]
    assert (delivery.webhook, delivery.event) == ("w", "tested")
    assert [each.status for each in emitter.queue.run()] == ["delivered"]
    with pytest.raises(ConfigurationError, match='no webhook has the name "none"'):
        emitter.send("none", change)
    with pytest.raises(ConfigurationError, match="change: expected a Change"):
        emitter.send("w", {"event": "created"})


def test_a_delivered_delivery():
    """One attempt, with what was sent and what came back, redacted."""
    emitter = build(hook(secret="s", additional_headers="X-Token: SECRET"))
    emitter.emit_change("created", "site", {"a": 1})
    [after] = emitter.queue.run()
    [attempt] = after.attempts
    assert (after.status, after.attempt_number, after.body) == ("delivered", 1, after.payload)
    assert after.body is after.payload
    assert (attempt.status, attempt.error_class, attempt.error) == (200, None, None)
    assert (attempt.method, attempt.url) == ("POST", "https://receiver.example/")
    assert attempt.headers["X-Token"] == "***"
    [request] = emitter._transport.requests
    assert request.headers["X-Token"] == "SECRET"
    assert request.body.decode() == after.payload
    assert "SECRET" not in after.to_json()


def test_a_failed_attempt_is_made_again_by_the_schedule():
    """Same body, same id; fresh timestamp and signature."""
    emitter = build(
        hook(secret="s", signatures=["x-hook-signature"]),
        answers=[500, ConnectError("refused"), 200],
    )
    emitter.emit_change("created", "site", {"a": 1})
    [first] = emitter.queue.run()
    assert (first.status, first.reason) == ("pending", "status 500")
    assert first.attempts[0].error == "the receiver answered 500"
    assert emitter.queue.run() == []
    emitter.queue.clock.advance(5)
    [second] = emitter.queue.run()
    assert (second.status, second.attempts[1].error_class) == ("pending", "connect")
    emitter.queue.clock.advance(300)
    [third] = emitter.queue.run()
    assert (third.status, len(third.attempts)) == ("delivered", 3)
    sent = emitter._transport.requests
    assert len({request.body for request in sent}) == 1
    assert len({request.headers["webhook-id"] for request in sent}) == 1
    assert len({request.headers["webhook-timestamp"] for request in sent}) == 3


def test_what_is_given_up_is_kept_and_retried_by_hand():
    """Failed, with its reason; then due at once with the schedule starting again."""
    emitter = build(hook(retry=RetryPolicy(schedule=[0, 1])), answers=[500, 500, 200])
    [delivery] = emitter.emit_change("created", "site", {})
    emitter.queue.run()
    emitter.queue.clock.advance(1)
    [failed] = emitter.queue.run()
    assert (failed.status, failed.reason) == ("failed", "gave up after 2 attempts: status 500")
    emitter.queue.retry(delivery.id)
    [done] = emitter.queue.run()
    assert (done.status, len(done.attempts), done.attempt_number) == ("delivered", 3, 1)


def test_a_definition_that_is_gone_or_disabled_skips():
    """The delivery says so, and can be retried when the definition is back."""
    registry = WebhookRegistry([hook("gone"), hook("off")])
    emitter = build(webhooks=registry)
    emitter.emit_change("created", "site", {})
    registry.replace([hook("off", enabled=False)])
    assert [(each.status, each.reason) for each in emitter.queue.run()] == [
        ("skipped", "the webhook is gone"),
        ("skipped", "the webhook is disabled"),
    ]
    registry.replace([hook("gone"), hook("off")])
    for delivery in emitter.queue.deliveries:
        emitter.queue.retry(delivery.id)
    assert [each.status for each in emitter.queue.run()] == ["delivered", "delivered"]


@pytest.mark.parametrize(
    ("changes", "error_class"),
    [
        ({"body_template": "{{ data.nmae }}"}, "render"),
        ({"url": "https://{{ data.host }}/"}, "render"),
        ({"url": "https://receiver.example:{{ data.port }}/"}, "render"),
        ({"additional_headers": "X-A: {{ data.host }}"}, "render"),
        ({"secret": "env:CHANGEHOOK_NOT_SET"}, "config"),
    ],
)
def test_a_bad_definition_fails_alone(changes, error_class):
    """Recorded, not retried, and the other webhook's delivery is made."""
    emitter = build(hook("bad", **changes), hook("good"))
    emitter.emit_change("created", "site", {"host": "a b\n", "port": "99999"})
    bad, good = emitter.queue.run()
    assert (bad.status, bad.attempts[0].error_class) == ("failed", error_class)
    assert good.status == "delivered"


@pytest.mark.parametrize("name", ["network", "proxy", "resolver"])
def test_settings_of_another_transport_are_refused(name):
    """A policy that the host's own transport would never ask is not accepted in silence."""
    values = {"network": NetworkPolicy(), "proxy": "http://127.0.0.1:1", "resolver": print}
    with pytest.raises(ConfigurationError, match=f"give it {name} itself"):
        build(hook(), **{name: values[name]})


def test_an_unexpected_error_is_recorded_and_retried(caplog):
    """A transport of the host's own with a bug: its text, which may hold a secret, is not shown."""

    class Broken(RecordingTransport):
        def send(self, request):
            raise KeyError("SECRET")

    emitter = build(hook(), transport=Broken())
    emitter.emit_change("created", "site", {})
    [after] = emitter.queue.run()
    assert (after.status, after.attempts[0].error) == ("pending", "unexpected KeyError")
    assert "unexpected KeyError" in caplog.text
    assert "SECRET" not in caplog.text + after.to_json()


def test_what_a_receiver_quotes_of_the_request_is_hidden():
    """An error page that shows the request does not put its secrets into the record."""
    page = b"403: Bearer SECRET-TOKEN at /services/SECRET-PATH?key=SECRET-QUERY, SECRET-TOKEN"
    answer = Response(status=403, headers={"server": "SECRET-TOKEN/1"}, body=page)
    emitter = build(
        hook(
            url="https://receiver.example/services/SECRET-PATH?key=SECRET-QUERY",
            additional_headers="Authorization: Bearer SECRET-TOKEN",
        ),
        answers=[answer],
    )
    emitter.emit_change("created", "site", {})
    [after] = emitter.queue.run()
    assert "SECRET" not in after.to_json()
    assert after.attempts[0].response_body == "403: *** at ***?***, ***"


@pytest.mark.parametrize("kept", range(5, 12))
def test_a_secret_that_is_cut_off_is_hidden(kept):
    """By the end of what is kept, also inside a character."""
    secret = "pässwörtgeheimüberalles"
    page = (b"x" * (KEPT_BODY - kept) + secret.encode())[:KEPT_BODY]
    answer = Response(status=403, headers={}, body=page)
    emitter = build(hook(secret=secret), answers=[answer])
    emitter.emit_change("created", "site", {})
    [after] = emitter.queue.run()
    shown = after.attempts[0].response_body.lstrip("x")
    assert shown in ("***", "päs"[: len(shown)])


def test_listeners_hear_of_every_attempt(caplog):
    """One that fails is logged, and the others still hear."""
    heard = []

    def failing(delivery):
        raise RuntimeError("SECRET")

    emitter = build(hook(), listeners=[failing, heard.append])
    emitter.emit_change("created", "site", {})
    assert heard == emitter.queue.run()
    assert "failing failed (RuntimeError in test_emitter.py, line" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_queue_of_the_hosts_own_overrides_put_alone():
    """The broker carries JSON; the worker calls ``emitter.deliver``."""

    class Broker(Queue):
        def __init__(self):
            self.messages = []

        def put(self, deliveries):
            self.messages += [delivery.to_json() for delivery in deliveries]

    emitter = build(hook(), queue=Broker())
    emitter.emit_change("created", "site", {})
    [message] = emitter.queue.messages
    done = emitter.deliver(Delivery.from_json(message))
    assert (done.status, done.attempt_number) == ("delivered", 1)
    with pytest.raises(DeliveryStateError, match="only a pending one"):
        emitter.deliver(done)
    assert emitter.close() == 0


def test_arguments_are_checked():
    """A queue serves one emitter; a timeout is positive."""
    queue = InMemoryQueue()
    build(queue=queue)
    with pytest.raises(ConfigurationError, match="another emitter"):
        build(queue=queue)
    for timeout in (0, -1, float("inf"), float("nan"), 301):
        with pytest.raises(ConfigurationError, match=r"timeout is .*; write seconds"):
            build(timeout=timeout)
    build(hook(), timeout=datetime.timedelta(seconds=2))
    for timeout in (True, "5", None):
        with pytest.raises(ConfigurationError, match="timeout: expected seconds or a timedelta"):
            build(timeout=timeout)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("queue", InMemoryQueue, "a Queue such as ThreadPoolQueue(), found InMemoryQueue"),
        ("fallback", "x", "a Store such as SQLiteStore(...), or a queue over one, found str"),
        ("network", "internal", "a NetworkPolicy, found str"),
        ("retry", 3, "a RetryPolicy, found int"),
        ("transport", "x", "an object with send and close, found str"),
        ("clock", 5, "a function, found int"),
        ("listeners", print, "a list of functions, found builtin_function_or_method"),
        ("context_providers", [5], "functions, found int"),
        (
            "webhooks",
            "hooks.toml",
            'a list of Webhook, or a source such as FileSource("…"), found str',
        ),
        ("webhooks", hook(), "a list of Webhook"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(name, value, expected):
    """When the emitter is built, not when the host's first change comes."""
    with pytest.raises(ConfigurationError) as caught:
        build(**{name: value})
    assert str(caught.value).startswith(f"{name}: expected {expected}")


def test_what_is_no_webhook_or_change_is_named():
    """A document is not a webhook yet."""
    with pytest.raises(
        ConfigurationError, match=r"/0: expected a Webhook, found dict; Webhook\.from"
    ):
        build({"name": "w"})
    with pytest.raises(ConfigurationError, match="change: expected a Change, found dict"):
        build(hook()).preview("w", {})


def test_it_closes_as_a_context_manager():
    """The queue first, then the connections."""
    with build(hook()) as emitter:
        emitter.emit_change("created", "site", {})
    assert emitter._transport.closed
    with pytest.raises(QueueError):
        emitter.emit_change("created", "site", {})


def test_its_connections_are_closed_whatever_its_queue_does():
    """The queue's error is told."""

    class Gone(BrokenQueue):
        def close(self, timeout=10.0):
            raise ConnectionError("gone")

    emitter = build(queue=Gone())
    with pytest.raises(ConnectionError):
        emitter.close()
    assert emitter._transport.closed


def test_a_webhook_replaces_the_user_agent_only():
    """In whatever case it writes it."""
    emitter = build(hook(additional_headers="user-agent: mine/1"))
    emitter.emit_change("created", "site", {})
    emitter.queue.run()
    [request] = emitter._transport.requests
    assert {
        name: value for name, value in request.headers.items() if name.lower() == "user-agent"
    } == {"user-agent": "mine/1"}


def test_the_webhooks_own_settings_win():
    """Timeout, method, content type, verification."""
    emitter = build(
        hook(timeout=2, http_method="DELETE", http_content_type="text/x", ssl_verification=False),
        hook("other"),
        timeout=7,
    )
    emitter.emit_change("created", "site", {})
    emitter.queue.run()
    first, second = emitter._transport.requests
    assert (first.timeout, first.method, first.verify, second.timeout) == (2, "DELETE", False, 7)
    assert first.headers["Content-Type"] == "text/x"


def test_emitters_take_every_kind_of_source(tmp_path):
    """A list, a registry, a file."""
    path = tmp_path / "webhooks.json"
    path.write_text(json.dumps([hook("file").to_dict(reveal=True)]))
    source = FileSource(path)
    emitter = build(webhooks=source)
    assert emitter.emit_change("created", "site", {})[0].webhook == "file"
    source.close()


def test_it_builds_its_own_transport():
    """Public addresses only by default: loopback is refused and not retried."""
    emitter = Emitter(webhooks=[hook(url="http://127.0.0.1:9/")], queue=InMemoryQueue())
    emitter.emit_change("created", "site", {})
    [after] = emitter.queue.run()
    assert (after.status, after.attempts[0].error_class) == ("failed", "blocked")
    assert "NetworkPolicy(allow=" in after.reason
    emitter.close()


def test_a_secret_that_goes_missing_is_named(monkeypatch):
    """The variable, not its value."""
    monkeypatch.setenv("CHANGEHOOK_TEST_SECRET", "s")
    emitter = build(hook(secret="env:CHANGEHOOK_TEST_SECRET"))
    change = Change(event="created", model="site", data={})
    assert emitter.preview("w", change).request.headers["X-Hook-Signature"]
    monkeypatch.delenv("CHANGEHOOK_TEST_SECRET")
    with pytest.raises(SetupError, match="CHANGEHOOK_TEST_SECRET"):
        emitter.preview("w", change)


@attrs.define
class Site:
    """A class of the host."""

    name: str


def test_attrs_instances_are_data():
    """Conditions and payload see their fields."""
    emitter = build(hook(conditions={"attr": "name", "value": "x"}))
    [delivery] = emitter.emit_change("created", "site", Site("x"), postchange=Site("x"))
    assert json.loads(delivery.payload)["snapshots"]["postchange"] == {"name": "x"}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)
OBJECT = st.dictionaries(st.text(st.characters(codec="utf-8")), JSON)


@given(OBJECT, st.none() | OBJECT, st.none() | OBJECT)
def test_any_change_gives_a_delivery_that_round_trips(data, prechange, postchange):
    """Whatever JSON the host emits."""
    [delivery] = build(hook()).emit_change(
        "created", "site", data, prechange=prechange, postchange=postchange
    )
    assert Delivery.from_json(delivery.to_json()) == delivery
    assert json.loads(delivery.payload)["data"] == data


def test_a_body_that_is_not_text_is_refused():
    """A template can write a lone surrogate, which no receiver can read."""
    emitter = build(hook(body_template="{{ '\\ud800' }}", http_content_type="text/plain"))
    emitter.emit_change("created", "site", {})
    [after] = emitter.queue.run()
    assert (after.status, after.attempts[0].error_class) == ("failed", "render")
    assert "lone surrogate" in after.reason


def test_without_metadata_there_is_no_version(monkeypatch):
    """A host that is packed into one file may carry none."""

    def none(name):
        raise importlib.metadata.PackageNotFoundError(name)

    emitter = build(hook())
    change = Change(event="created", model="site", data={})
    version = importlib.metadata.version("changehook")
    agent = emitter.preview("w", change).request.headers["User-Agent"]
    assert agent == f"changehook/{version}"
    monkeypatch.setattr(importlib.metadata, "version", none)
    bare = build(hook()).preview("w", change).request.headers["User-Agent"]
    assert bare == "changehook"


def test_threads_are_the_default_of_configure_only():
    """An emitter is told its queue."""
    with pytest.raises(TypeError):
        Emitter(webhooks=[])
    emitter = build(queue=ThreadPoolQueue())
    assert emitter.close() == 0


def test_a_source_that_fails_does_not_stop_the_sharing_of_workers():
    """A webhook that cannot be looked up just now counts as a receiver of its own."""

    class Down(WebhookRegistry):
        def get(self, name):
            raise ConnectionError("SECRET")

    emitter = build(webhooks=Down([hook()]), timeout=7)
    assert emitter._terms("w") == Terms(receiver="w", timeout=7)
    template = hook("data", url="https://{{ data.host }}/", timeout=3)
    other = hook("v", url="https://receiver.example/hook?a={{ data.a }}")
    registry = build(hook(), other, template)
    same = Terms(receiver="https://receiver.example", timeout=15)
    assert registry._terms("w") == registry._terms("v") == same
    assert registry._terms("data") == Terms(receiver="data", timeout=3)
