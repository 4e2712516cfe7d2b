"""Nothing that is written or that comes from data breaks out of its place in a request."""

from __future__ import annotations

import datetime
import json
import socket
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from security.corpus import rows

from changehook import (
    Change,
    ConfigurationError,
    Delivery,
    Emitter,
    EncodingError,
    InMemoryQueue,
    NetworkPolicy,
    Webhook,
)
from changehook.errors import RenderError
from changehook.payload import LONGEST_BODY, LONGEST_PAYLOAD, build_request, freeze
from changehook.testing import RecordingTransport

NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
MINIMAL: dict[str, Any] = {
    "name": "w",
    "object_types": ["site"],
    "events": ["created"],
    "url": "https://receiver.example/hook",
}
# Every control character and every line break that Unicode knows, with a lone surrogate.
BREAKS = [
    chr(code)
    for code in range(sys.maxunicode + 1)
    if unicodedata.category(chr(code)) in ("Cc", "Zl", "Zp")
]
SEQUENCES = ["\r\n", "\n\r", "\r\n ", "\r\n\t", "\r\n\r\n", "\x00\r\n", "\u2028\u2029", "\ud83d"]


def webhook(**changes: Any) -> Webhook:
    return Webhook.from_dict({**MINIMAL, **changes})


def payload(**data: Any) -> str:
    change = Change(event="created", model="site", data=data, timestamp=NOW)
    return freeze(change)


def rendered(hook: Webhook, text: str) -> Any:
    """Return the request for a payload."""
    return build_request(hook, text, body=None, timeout=1.0, owned={})


def faults(**changes: Any) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        webhook(**changes)
    return {fault.pointer: fault.message for fault in caught.value.faults}


def test_unicode_has_its_breaks() -> None:
    """The tests below try them all, the three that NetBox's filter missed included."""
    assert len(BREAKS) == 67
    assert {"\x85", "\u2028", "\u2029"} <= set(BREAKS)


# Breaks, in every part, literal and from data

INSIDE = ["a{}b", "a{} b", "a{}X-Evil: 1", "a{}{}Evil", "{}a{}b"]
PARTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "a header value": lambda text: {"additional_headers": {"X-A": f"a{text}b"}},
    "a header name": lambda text: {"additional_headers": {f"X{text}A": "1"}},
    "the begin of a header name": lambda text: {"additional_headers": {f"{text}X-A": "1"}},
    "the end of a header name": lambda text: {"additional_headers": {f"X-A{text}": "1"}},
    "the path": lambda text: {"url": f"https://receiver.example/a{text}b"},
    "the query": lambda text: {"url": f"https://receiver.example/?a={text}b"},
    "the host": lambda text: {"url": f"https://receiver{text}.example/"},
    "the port": lambda text: {"url": f"https://receiver.example:4{text}43/"},
    "the scheme": lambda text: {"url": f"https{text}://receiver.example/"},
    "the method": lambda text: {"http_method": f"POST{text}"},
    "the middle of the method": lambda text: {"http_method": f"PO{text}ST"},
    "the content type": lambda text: {"http_content_type": f"text/plain{text}"},
    "a parameter of the type": lambda text: {"http_content_type": f"text/plain; a={text}b"},
    "the name": lambda text: {"name": f"a{text}b"},
    "an event": lambda text: {"events": [f"a{text}b"]},
    "a model": lambda text: {"object_types": [f"a{text}b"]},
}
ALLOWED = {"\t": {"a header value", "the content type", "a parameter of the type"}}


@pytest.mark.parametrize("part", PARTS)
def test_no_break_is_defined(part: str) -> None:
    """No control character and no line break stands literally in any part of a request."""
    accepted = []
    for text in [*BREAKS, *SEQUENCES]:
        if part in ALLOWED.get(text, ()):
            continue
        try:
            webhook(**PARTS[part](text))
        except ConfigurationError:
            continue
        accepted.append(text)
    assert accepted == []


def test_no_break_ends_a_line_of_header_text() -> None:
    """In a text of headers a line ends with LF or CRLF, and with nothing else."""
    for text in BREAKS:
        if text in "\t\n":
            continue
        with pytest.raises(ConfigurationError):
            webhook(additional_headers=f"X-A: a{text}X-Evil: 1")
    made = webhook(additional_headers="X-A: a\r\nX-B: b\nX-C: c")
    assert list(made.header_templates.headers) == ["X-A", "X-B", "X-C"]


@pytest.mark.parametrize("form", INSIDE)
@pytest.mark.parametrize(
    "template", ["{{ data.v }}", "x {{ data.v | upper }}", "{{ data.v | safe }}"]
)
def test_no_break_comes_from_data_into_a_header(form: str, template: str) -> None:
    """A delivery whose header would hold one fails, whatever the filter."""
    hook = webhook(additional_headers={"X-A": template})
    for text in BREAKS:
        if text != "\t":
            with pytest.raises(RenderError, match=r"^header X-A: may hold visible ASCII"):
                rendered(hook, payload(v=form.format(text, text)))


@pytest.mark.parametrize("place", ["/{}", "/?q={}", "/a/{}/b", "/?{}=1", "/#{}"])
def test_a_break_from_data_is_encoded_in_a_url(place: str) -> None:
    """What a template inserts is percent-encoded, and what is marked safe is refused."""
    url = "https://receiver.example" + place
    encoded = webhook(url=url.format("{{ data.v }}"))
    trusted = webhook(url=url.format("{{ data.v | safe }}"))
    for text in BREAKS:
        found = rendered(encoded, payload(v=f"a{text}b")).url
        assert found.isascii()
        assert found.isprintable()
        with pytest.raises(RenderError, match=r"^url: "):
            rendered(trusted, payload(v=f"a{text}b"))


def test_a_break_from_data_never_enters_the_authority() -> None:
    """Nor does anything else but letters, digits, dots and hyphens."""
    hook = webhook(url="https://{{ data.v }}.example/")
    others = [chr(code) for code in range(128) if not chr(code).isalnum() and chr(code) not in ".-"]
    for text in [*BREAKS, *others, "é", "\uff0e", "。"]:
        with pytest.raises(RenderError, match=r"^url: "):
            rendered(hook, payload(v=f"a{text}b"))


# Names

RESERVED = [
    *("Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer"),
    *("Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "Upgrade", "Expect"),
    *("HTTP2-Settings", "Accept-Encoding", "X-Hook-Signature", "X-Hub-Signature-256"),
    *("webhook-id", "webhook-timestamp", "webhook-signature", "Content-Type"),
]
NOT_TOKENS = [
    *("", " ", "X A", " X-A", "X-A ", "X-A:", ":X-A", "X-A :", "X:A", "X-A\u00a0", "X-é", "X-€"),
    *("X(A)", "X,A", "X/A", "X;A", "X=A", "X?A", "X@A", "X[A]", "X\\A", "X{A}", 'X"A"', "X<A>"),
    *("\u212aost", "X-\u017f", "X-A\u200b", "\ufeffX-A", "X-\ud800", "X-\U0001f600", "X\u3000A"),
    *("Content-Length ", " Host", "Host:", "\uff28ost", "H\u043est", "{{ data.v }}", "{% raw %}X"),
]


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_headers_cannot_be_set(name: str) -> None:
    """In no case of letters, and not with underscores, which some receivers read as hyphens."""
    forms = {name, name.lower(), name.upper(), name.swapcase(), name.replace("-", "_")}
    for form in forms:
        assert list(faults(additional_headers={form: "1"})) == [f"/additional_headers/{form}"]
        with pytest.raises(ConfigurationError):
            webhook(additional_headers=f"{form}: {{{{ data.v }}}}")


@pytest.mark.parametrize("name", NOT_TOKENS, ids=ascii)
def test_a_header_name_is_a_token(name: str) -> None:
    """Anything else is no name (RFC 9110, section 5.6.2), and never a template."""
    assert faults(additional_headers={name: "1"})


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": 5},
        {"X-A": None},
        {"X-A": b"a\r\nX-Evil: 1"},
        {"X-A": ["1", "2"]},
        {"X-A": {"a": "b"}},
        {"X-A": True},
        {b"X-A": "1"},
        {5: "1"},
        {None: "1"},
        {("X", "A"): "1"},
        {"X-A": "1", "x-a": "2"},
        {"X-A": "@@@SKIP_HEADER@@@"},
        {"User-Agent": "@@@SKIP_HEADER@@@"},
        {f"X-{n}": "1" for n in range(65)},
        {"X-A": "x" * 8_200},
        {"X" * 8_200: "1"},
        {"X-A": "x" * 20_000},
        {"X-A": "é"},
        {"X-A": "\ud800"},
        {"X-A": "{{ data.v"},
        {"X-A": "{% include 'x' %}"},
        "X-A",
        "X-A 1",
        ": 1",
        "X-A: 1\nX-A: 2",
        "X-A: 1\n X-B: 2\nHost: x",
        "X-A: a\n continued",
        "X-A: 1\n" * 70,
        "Host : x",
        "\ud800: 1",
        b"X-A: 1",
        [["X-A", "1"]],
        7,
    ],
    ids=range(33),
)
def test_hostile_headers_are_refused_when_defined(headers: Any) -> None:
    """Names, values and their number are judged before anything is sent."""
    assert faults(additional_headers=headers)


@pytest.mark.parametrize(
    "value",
    ["é", "\u00a0", "€", "\u200b", "\ufeff", "😀", "@@@SKIP_HEADER@@@", "x" * 8_190, "a\x7fb"],
    ids=ascii,
)
def test_a_value_from_data_is_visible_ascii_of_a_bounded_length(value: str) -> None:
    """Anything else fails the delivery, and the error does not quote it."""
    with pytest.raises(RenderError) as caught:
        rendered(webhook(additional_headers={"X-A": "{{ data.v }}"}), payload(v=value))
    assert value not in str(caught.value)


def test_headers_are_bounded_together() -> None:
    """Many values that are each allowed can be too long together."""
    names = {f"X-{n}": "{{ data.v }}" for n in range(5)}
    with pytest.raises(RenderError, match="longer than 32768 characters together"):
        rendered(webhook(additional_headers=names), payload(v="x" * 8_000))


# Method, URL, content type


@pytest.mark.parametrize(
    "method",
    [
        *(
            "",
            " ",
            "post",
            "Post",
            "POST ",
            " POST",
            "CONNECT",
            "TRACE",
            "HEAD",
            "OPTIONS",
            "PO ST",
        ),
        *(
            "POST /x HTTP/1.1",
            "PO\u017fT",
            "\uff30OST",
            "G\u0415T",
            "POST\ud800",
            "PRI",
            "*",
            "GETPOST",
        ),
        *(None, 5, b"POST", ["POST"], {"POST": 1}, True),
    ],
    ids=ascii,
)
def test_a_method_is_from_the_list(method: Any) -> None:
    """Exactly, in upper case."""
    assert "unknown method" in faults(http_method=method)["/http_method"]


URLS = [
    *("", " ", "receiver.example", "//receiver.example/", "/hook", "ftp://receiver.example/"),
    *(
        "file:///etc/passwd",
        "javascript:alert(1)",
        "gopher://receiver.example/",
        "http:/x",
        "http:x",
    ),
    *("https://", "https:///hook", "https://?x", "https://#x", "https://:443/", "https://[::1/"),
    *("https://user@receiver.example/", "https://user:pw@receiver.example/", "https://@h.example/"),
    *("https://receiver.example:0/", "https://receiver.example:65536/", "https://h.example:x/"),
    *("https://h.example:/x\\y", "https://h.example\\@evil.example/", "https://h example/"),
    *(
        "https://h.example/a b",
        "https://h.example/%zz",
        "https://h.example/100%",
        "https://é.example/",
    ),
    *(
        "https://h.example/" + "x" * 9_000,
        "https://[fe80::1%25eth0]/",
        "https://a.example,b.example/",
    ),
    *(
        "https://h.example/\ud800",
        "http+unix://x/",
        "https://https://h.example/",
        "https://h_.exa mple/",
    ),
]


@pytest.mark.parametrize("url", URLS, ids=lambda url: ascii(url)[:40])
def test_a_url_is_checked_when_defined_and_again_when_rendered(url: str) -> None:
    """What a definition may not say, data may not say either."""
    assert faults(url=url)
    try:
        text = payload(v=url)
    except EncodingError:
        return
    with pytest.raises(RenderError, match=r"^url: "):
        rendered(webhook(url="{{ data.v | safe }}"), text)


@pytest.mark.parametrize(
    "content_type",
    [
        *("", "json", "/", "text/", "/plain", "text plain", "text/plain, text/html", "te xt/plain"),
        *("text/plain; a=é", "text/pl\u0130in", "a/b\u2028", " text/plain", "text//plain", "a/b/c"),
        *("text/" + "x" * 200, "a/b;" + "x" * 200, None, 5, b"text/plain", ["text/plain"]),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_content_type_is_a_media_type(content_type: Any) -> None:
    """Of visible ASCII and a bounded length."""
    assert "/http_content_type" in faults(http_content_type=content_type)


# Text that cannot be encoded


@pytest.mark.parametrize(
    "values",
    [
        {"data": {"v": "\ud800"}},
        {"data": {"\udc00": 1}},
        {"data": {"v": ["a", {"b": "\udbff\ud800"}]}},
        {"data": {}, "prechange": {"v": "\ud800"}},
        {"data": {}, "postchange": {"v": "\ud800"}},
        {"data": {}, "username": "\ud800"},
        {"data": {}, "request_id": "\ud800"},
        {"data": {}, "model": "\ud800"},
    ],
    ids=range(8),
)
def test_a_lone_surrogate_is_the_callers_error(values: dict[str, Any]) -> None:
    """It is told where the change is emitted, before anything is queued."""
    queue = InMemoryQueue()
    emitter = Emitter(
        webhooks=[webhook(object_types=["*"])], queue=queue, transport=RecordingTransport()
    )
    model, data = values.pop("model", "site"), values.pop("data")
    with pytest.raises(EncodingError, match="lone surrogate"):
        emitter.emit_change("created", model, data, **values)
    assert queue.find() == []


@pytest.mark.parametrize("field", ["url", "body_template", "description", "name"])
def test_a_lone_surrogate_is_no_definition(field: str) -> None:
    """Nor in what is only shown: a definition can be written to a file."""
    assert faults(**{field: "https://h.example/\ud800"})


@pytest.mark.parametrize(
    "hook",
    [
        {"additional_headers": {"X-A": "{{ data.v }}"}},
        {"url": "https://h.example/{{ data.v }}"},
        {"url": "https://h.example/?{{ data.v | safe }}"},
        {"body_template": "{{ data.v | tojson }}"},
        {"body_template": "{{ data.v }}", "http_content_type": "text/plain"},
        {},
    ],
    ids=range(6),
)
def test_a_surrogate_in_a_payload_of_another_maker_fails_the_delivery(hook: dict[str, Any]) -> None:
    """A message of a queue can hold what this library would not have put there."""
    with pytest.raises(RenderError):
        rendered(webhook(**hook), payload(v="@").replace('"@"', '"\ud800"'))


# Sizes


def test_a_body_is_at_most_a_mebibyte() -> None:
    """The payload as body, a rendered body, and one that was kept; counted in bytes of UTF-8."""
    frame = len(payload(v="").encode())
    at_limit = payload(v="x" * (LONGEST_BODY - frame))
    assert len(rendered(webhook(), at_limit).body) == LONGEST_BODY
    for text in ("x" * (LONGEST_BODY - frame + 1), "é" * (LONGEST_BODY // 2)):
        too_long = payload(v=text)
        size = len(too_long.encode())
        with pytest.raises(RenderError, match=f"^body: {size} bytes, and 1048576 is the limit"):
            rendered(webhook(), too_long)
    with pytest.raises(RenderError, match=r"^body: 1048577 bytes"):
        build_request(webhook(), "{}", body="x" * (LONGEST_BODY + 1), timeout=1.0, owned={})
    reduced = webhook(body_template='{"n": {{ data.v | length }}}')
    assert rendered(reduced, payload(v="x" * 900_000)).body == b'{"n": 900000}'


def test_a_body_over_the_limit_fails_that_delivery_only() -> None:
    """And fails it for good: the same bytes would be as long at the next attempt."""
    queue, transport = InMemoryQueue(), RecordingTransport()
    hooks = [webhook(name="whole"), webhook(name="part", body_template='{"id": {{ data.id }}}')]
    emitter = Emitter(webhooks=hooks, queue=queue, transport=transport)
    emitter.emit_change("created", "site", {"id": 7, "v": "x" * LONGEST_BODY})
    found = {delivery.webhook: delivery for delivery in queue.run()}
    assert found["whole"].status == "failed"
    assert found["whole"].attempts[0].error_class == "render"
    assert found["part"].status == "delivered"


def test_a_payload_is_bounded_too() -> None:
    """A change that would fill the queue's memory is the caller's error, in bytes of UTF-8."""
    frame = len(payload(v="").encode())
    assert len(payload(v="x" * (LONGEST_PAYLOAD - frame))) == LONGEST_PAYLOAD
    for text in ("x" * (LONGEST_PAYLOAD - frame + 1), "é" * (LONGEST_PAYLOAD // 2)):
        with pytest.raises(EncodingError, match=r"^the change: \d+ bytes of JSON, and 16777216 is"):
            payload(v=text)


def test_a_deep_payload_ends_in_an_error() -> None:
    """At the caller when it cannot be written; at the delivery when it cannot be read."""
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(EncodingError, match="nested too deeply"):
        payload(v=deep)
    for text, why in (("[" * 100_000, "nested too deeply"), ("{", "Expecting"), ("NaN", "NaN")):
        with pytest.raises(RenderError, match=rf"^payload: not JSON \({why}"):
            rendered(webhook(), text)


# What a host's own functions give


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "", " ", "a ", "é", "a\x85", "\ud800", 5, None])
def test_a_delivery_id_of_the_host_is_visible_ascii(text: Any) -> None:
    """``new_id`` gives a header's value, so what breaks a line is the host's error."""
    emitter = Emitter(
        webhooks=[webhook()],
        queue=InMemoryQueue(),
        transport=RecordingTransport(),
        new_id=lambda now: text,
    )
    with pytest.raises(ConfigurationError, match="/id: expected 1 to 200 visible ASCII"):
        emitter.emit_change("created", "site", {})


@pytest.mark.parametrize("character", [text for text in BREAKS if text != "\t"], ids=ascii)
def test_owned_headers_are_checked_as_well(character: str) -> None:
    """What this library and its host add is held to the grammar of the others."""
    for owned in ({"User-Agent": f"a{character}b"}, {"webhook-id": f"a{character}"}):
        with pytest.raises(RenderError, match="may hold visible ASCII and spaces, no line break"):
            build_request(webhook(), "{}", body=None, timeout=1.0, owned=owned)


# Messages of a queue

DELIVERY = Delivery(
    id="msg_1",
    webhook="w",
    event="created",
    model="site",
    payload="{}",
    created_at=NOW,
    due_at=NOW,
)
ATTEMPT = {"number": 1, "started_at": NOW.isoformat(), "duration": 0.5}
MESSAGES: list[tuple[str, Any, str]] = [
    ("id", "a\r\nX-Evil: 1", "/id"),
    ("id", "", "/id"),
    ("id", "x" * 201, "/id"),
    ("id", 5, "/id"),
    ("webhook", "", "/webhook"),
    ("webhook", None, "/webhook"),
    ("event", ["created"], "/event"),
    ("model", 5, "/model"),
    ("payload", {"a": 1}, "/payload"),
    ("payload", None, "/payload"),
    ("created_at", "2026-01-01T12:00:00", "/created_at"),
    ("due_at", "2026-01-01T12:00:00", "/due_at"),
    ("due_at", "0001-01-01T00:00:00+14:00", "/due_at"),
    ("due_at", "soon", "/due_at"),
    ("due_at", 5, "/due_at"),
    ("due_at", None, "/due_at"),
    ("status", "lost", "/status"),
    ("status", [], "/status"),
    ("attempt_number", -1, "/attempt_number"),
    ("attempt_number", True, "/attempt_number"),
    ("attempt_number", 1.5, "/attempt_number"),
    ("attempt_number", "1", "/attempt_number"),
    ("revision", None, "/revision"),
    ("reason", 5, "/reason"),
    ("body", 5, "/body"),
    ("body", {}, "/body"),
    ("attempts", {}, "/attempts"),
    ("attempts", "a", "/attempts"),
    ("attempts", [5], "/attempts/0"),
    ("attempts", [{"started_at": NOW.isoformat(), "number": 1}], "/attempts/0/duration"),
    ("attempts", [{**ATTEMPT, "x": 1}], "/attempts/0/x"),
    ("attempts", [{**ATTEMPT, "number": "1"}], "/attempts/0/number"),
    ("attempts", [{**ATTEMPT, "started_at": "now"}], "/attempts/0/started_at"),
    ("attempts", [{**ATTEMPT, "duration": "1"}], "/attempts/0/duration"),
    ("attempts", [{**ATTEMPT, "duration": True}], "/attempts/0/duration"),
    ("attempts", [{**ATTEMPT, "headers": []}], "/attempts/0/headers"),
    ("attempts", [{**ATTEMPT, "headers": {"a": 1}}], "/attempts/0/headers"),
    ("attempts", [{**ATTEMPT, "status": "200"}], "/attempts/0/status"),
    ("attempts", [ATTEMPT, {**ATTEMPT, "note": 5}], "/attempts/1/note"),
    ("x\r\n", 1, "/x\r\n"),
]


@pytest.mark.parametrize(("field", "value", "pointer"), MESSAGES, ids=range(len(MESSAGES)))
def test_a_hostile_message_is_named_by_field(field: str, value: Any, pointer: str) -> None:
    """A worker learns which field of a message of its broker is wrong."""
    message = json.dumps({**json.loads(DELIVERY.to_json()), field: value})
    with pytest.raises(ConfigurationError, match=r"^not a delivery message") as caught:
        Delivery.from_json(message)
    assert [fault.pointer for fault in caught.value.faults] == ["", pointer]


@pytest.mark.parametrize(
    "message",
    [
        b"\xff",
        b"",
        "[" * 100_000,
        '{"version": ' + "9" * 100_000 + "}",
        '{"version": NaN}',
        '{"version": "1"}',
        '{"version": null}',
        '{"version": true, "id": 1}',
        "null",
        "5",
        '"x"',
        "[1]",
        "\ud800",
        None,
        5,
    ],
    ids=range(15),
)
def test_what_is_no_message_at_all_is_refused(message: Any) -> None:
    """Whatever a broker hands over, a worker gets one kind of error."""
    with pytest.raises(ConfigurationError, match="delivery message"):
        Delivery.from_json(message)


def test_a_delivery_is_checked_when_it_is_built() -> None:
    """By whoever builds it, and by its transitions."""
    with pytest.raises(ConfigurationError, match="/due_at: expected a moment with a time zone"):
        DELIVERY.retried(datetime.datetime(2026, 1, 1))
    with pytest.raises(ConfigurationError, match="/payload: expected text"):
        attrs.evolve(DELIVERY, payload=b"{}")


# What reaches a receiver


class Listener:
    """Keeps every byte of one connection, answers once, and waits for its end."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.received = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        sock, _ = self._server.accept()
        with sock:
            sock.settimeout(10.0)
            while not self._is_complete():
                self.received += sock.recv(65_536)
            sock.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            while more := sock.recv(65_536):
                self.received += more

    def _is_complete(self) -> bool:
        head, blank, body = self.received.partition(b"\r\n\r\n")
        lengths = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        return bool(blank) and len(body) >= int(lengths[0].split()[1] if lengths else 0)

    def close(self) -> None:
        """Wait for the end of the connection."""
        self._thread.join(10.0)
        self._server.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def sent(listener: Listener, data: dict[str, Any], **changes: Any) -> tuple[str, list[str], bytes]:
    """Return request line, header lines and body of the one request that a receiver got."""
    changes = {"url": "/hook", **changes}
    changes["url"] = f"http://127.0.0.1:{listener.port}{changes['url']}"
    queue = InMemoryQueue()
    network = NetworkPolicy(allow=["127.0.0.1"])
    with Emitter(webhooks=[webhook(**changes)], queue=queue, network=network) as emitter:
        emitter.emit_change("created", "site", data)
        (delivery,) = queue.run()
        assert delivery.status == "delivered", delivery.reason
    listener.close()
    head, _, body = listener.received.partition(b"\r\n\r\n")
    line, *headers = head.decode("ascii").split("\r\n")
    assert all("\r" not in text and "\n" not in text for text in (line, *headers))
    names = [text.partition(":")[0].lower() for text in headers]
    assert len(names) == len(set(names))
    assert f"Host: 127.0.0.1:{listener.port}" in headers
    lengths = [text for text in headers if text.lower().startswith("content-length")]
    assert lengths == ([f"Content-Length: {len(body)}"] if body else lengths)
    return line, headers, body


PLAIN = 'A "b" \\ c, d; e=f: {}|~'
TEXTS = [
    PLAIN,
    "  padded\t",
    "a\tb",
    "X-Evil: 1",
    "0\\r\\nX-Evil: 1",
    "%0d%0aX-Evil: 1",
    "a" * 8_000,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_an_allowed_value_arrives_as_one_header(listener: Listener, text: str) -> None:
    """Exactly one request, and in it exactly the headers that were meant."""
    template = {"X-A": "{{ data.v }}", "X-Empty": "{{ data.none }}"}
    line, headers, body = sent(listener, {"v": text, "none": ""}, additional_headers=template)
    assert line == "POST /hook HTTP/1.1"
    assert f"X-A: {text.strip()}" in headers
    names = {header.partition(":")[0] for header in headers}
    library = {"Host", "Content-Length", "User-Agent", "Accept-Encoding", "Content-Type"}
    assert names == {*library, "X-A", "webhook-id", "webhook-timestamp"}
    assert json.loads(body)["data"]["v"] == text


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_each_method_frames_its_body(listener: Listener, method: str) -> None:
    """The body is all of what follows the head, also where a method needs none."""
    line, _, body = sent(listener, {"a": 1}, http_method=method, body_template='{"é": "ü"}')
    assert line == f"{method} /hook HTTP/1.1"
    assert body == '{"é": "ü"}'.encode()


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("/{{ data.v }}", "/a%20b%2F..%2F%C3%BC%0D%0A%3F%23%26"),
        ("/?q={{ data.v }}&r=1", "/?q=a%20b%2F..%2F%C3%BC%0D%0A%3F%23%26&r=1"),
        ("?q=1", "/?q=1"),
        ("/a/../b", "/a/../b"),
        ("/a#{{ data.v }}", "/a"),
        ("/%41%2f", "/%41%2f"),
    ],
    ids=range(6),
)
def test_a_target_arrives_as_it_was_encoded(listener: Listener, url: str, target: str) -> None:
    """One request line, with what data gave inside its segment or parameter."""
    line, _, _ = sent(listener, {"v": "a b/../ü\r\n?#&"}, url=url)
    assert line == f"POST {target} HTTP/1.1"


@pytest.mark.parametrize(
    "body", ["", "x", "\r\n\r\nPOST /evil HTTP/1.1\r\nHost: x\r\n\r\n", "0\r\n\r\n"]
)
def test_a_body_is_never_a_second_request(listener: Listener, body: str) -> None:
    """Its length is counted, never written by a template."""
    template = {"body_template": "{{ data.v }}", "http_content_type": "text/plain"}
    _, headers, received = sent(listener, {"v": body}, **template)
    assert received == body.encode()
    assert "Content-Type: text/plain" in headers


@given(
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.text(st.characters(codec="utf-8"), max_size=40),
)
def test_whatever_is_inserted_a_request_stays_one(value: str, other: str) -> None:
    """The parts of a rendered request hold nothing that could end them."""
    hook = webhook(
        url="https://h.example/{{ data.v }}?{{ data.w }}",
        additional_headers={"X-A": "{{ data.v | header_safe }}", "X-B": "{{ data.w | urlencode }}"},
        body_template='{"v": "{{ data.v }}", "w": {{ data.w | tojson }}}',
    )
    if value in (".", ".."):  # a segment of the path that clients resolve
        value = "x"
    request = rendered(hook, payload(v=value, w=other))
    for text in (request.url, *request.headers.values()):
        assert text.isascii()
        assert text.replace("\t", " ").isprintable()
    assert json.loads(request.body) == {"v": value, "w": other}


# The corpus


@pytest.mark.parametrize("case", rows("headers.json", "cases"))
def test_hostile_requests_of_the_corpus(case: dict[str, Any]) -> None:
    """Refused when defined, and when it comes from data; what is allowed is harmless."""
    request, must = case["request"], case["must"]
    if "headers" in request:
        headers = {
            name: value["$bytes"].encode("latin-1") if isinstance(value, dict) else value
            for name, value in request["headers"].items()
        }
        if must == "allow" or must == "strip":
            made = rendered(webhook(additional_headers=headers), payload())
            assert made.headers.get("X-A", "") == headers["X-A"].strip()
            return
        assert faults(additional_headers=headers)
        value = next(iter(headers.values()))
        if list(headers) == ["X-A"] and isinstance(value, str) and "\ud800" not in value:
            with pytest.raises(RenderError):
                rendered(webhook(additional_headers={"X-A": "{{ data.v }}"}), payload(v=value))
    if "method" in request:
        assert faults(http_method=request["method"])
    if "path" in request and must == "refuse" and "#" not in request["path"]:
        assert faults(url=f"https://h.example{request['path']}")
    if "path" in request and "dot segments" in must:
        hook = webhook(url="https://h.example/a/{{ data.v }}/b")
        with pytest.raises(RenderError, match=r"segment of the path that is \. or \.\."):
            rendered(hook, payload(v=".."))
    if "body" in request and "surrogate" in case["name"]:
        with pytest.raises(EncodingError):
            payload(v=request["body"])
