"""Stored data of any kind gives a page: an operator needs it most when something is odd."""

from __future__ import annotations

import datetime
import html
import json
import re
import shlex
import shutil
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from web.asking import Answered, emitter, hook, kept, look, page_of, payload, send

from changehook import Webhook
from changehook.deliveries import Attempt, Delivery, DeliveryStatus
from changehook.errors import StoreError
from changehook.inspection import HourlyOutcome
from changehook.models import utcnow
from changehook.stores.memory import MemoryStore
from changehook.web.curl import curl_command

MARKUP = "'\"><img src=x onerror=alert(1)></script><script>alert(2)</script>{{ 7 * 7 }}"
CONTROL = "\x00\x07\x1b[31m\r\u0085\u2028\u202e\u2066\ufeff\U000e0041"
SURROGATE = "\ud800"


def pages_of(sender: Any, delivery: Delivery) -> dict[str, Answered]:
    """Return every page that shows a delivery or its webhook."""
    app, name = page_of(sender), delivery.webhook
    found = {path: look(app, path) for path in ("/", "/deliveries", "/webhooks")}
    found["/delivery"] = look(app, "/delivery", id=delivery.id)
    found["/text"] = look(app, "/text", id=delivery.id, part="payload")
    if sender.webhooks.get(name):
        found["/webhook"] = look(app, "/webhook", name=name, delivery=delivery.id)
        trial = {"name": name, "delivery": delivery.id, "action": "try"}
        found["/try"] = send(app, "/try", trial)
    return found


def failed(sender: Any, **fields: Any) -> list[str]:
    """Return the pages that a delivery makes fail."""
    pages = pages_of(sender, kept(sender, **fields))
    return [path for path, answer in pages.items() if answer.status >= 500]


def attempt(**fields: Any) -> Attempt:
    """Return an attempt that failed."""
    filler = {"number": 1, "started_at": utcnow(), "duration": 0.1, "error_class": "status"}
    return Attempt(**{**filler, "error": "no", "status": 500, **fields})


def everywhere(text: str) -> dict[str, Any]:
    """Return a delivery with a text wherever one may stand."""
    one = attempt(
        method=text,
        url=text,
        headers={text: text, "webhook-signature": text},
        response_headers={text: text},
        response_body=text,
        error_class=text,
        error=text,
        note=text,
        address=text,
    )
    snapshots = {"prechange": {text: text, "v": 1}, "postchange": {text: text + "2", "v": text}}
    document = payload(username=text, request_id=text, data={text: text}, snapshots=snapshots)
    status = DeliveryStatus.FAILED
    record = {"event": text, "model": text, "reason": text, "body": text, "payload": document}
    return {**record, "status": status, "attempts": (one,)}


@pytest.mark.parametrize("text", [MARKUP, CONTROL, MARKUP + CONTROL])
def test_hostile_text_is_shown_and_not_obeyed(text: str) -> None:
    name = MARKUP
    sender = emitter(hook(name, description=text, labels={text: text}, object_types=[name]))
    sender.disable(name, text)
    pages = pages_of(sender, kept(sender, webhook=name, **everywhere(text)))
    for path, answer in pages.items():
        assert answer.status == 200, path
        if path == "/text":
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            continue
        assert not re.search(r"<(img|script)(?! src=\"static/)", answer.text), path
        assert all(c.isprintable() or c in "\n\t" for c in answer.text), path


@pytest.mark.parametrize("field", ["event", "model", "reason", "body", "payload", "attempts"])
def test_a_lone_surrogate_in_a_delivery_gives_a_page(field: str) -> None:
    assert not failed(emitter(hook()), **{field: everywhere(SURROGATE)[field]})


def test_a_lone_surrogate_in_the_name_of_a_webhook_gives_a_page() -> None:
    sender = emitter(hook())
    assert not failed(sender, webhook=f"w{SURROGATE}")
    sender.queue.run()
    assert look(page_of(sender), "/").status == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "1",
        '"x"',
        "[]",
        "[[[[",
        "{",
        "NaN",
        "\0",
        '{"snapshots": 1}',
        '{"snapshots": {"prechange": 1, "postchange": [1]}}',
        '{"username": {"a": [1]}, "request_id": ["x"]}',
        '{"event": 1, "model": null, "data": 2, "timestamp": 3}',
        '{"data": ' + "9" * 4_000 + "}",
        '{"data": ' + "9" * 5_000 + "}",
        '{"data": 1e999}',
        '{"data": ' + "[" * 900 + "]" * 900 + "}",
        '{"data": ' + "[" * 90_000 + "]" * 90_000 + "}",
    ],
    ids=lambda text: text[:30],
)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "url": "https://receiver.example/{{ data.id }}",
            "body_template": "{{ data.name | tojson }}",
            "conditions": {"attr": "name", "op": "contains", "value": "x"},
        },
    ],
    ids=["plain", "templates"],
)
def test_a_payload_that_is_no_change_gives_a_page(text: str, fields: dict[str, Any]) -> None:
    assert not failed(emitter(hook(**fields)), payload=text)


def nested(depth: int, leaf: str) -> dict[str, Any]:
    """Return a snapshot with lists in each other."""
    document: dict[str, Any] = json.loads('{"v": ' + "[" * depth + leaf + "]" * depth + "}")
    return document


@pytest.mark.parametrize("depth", [50, 300, 600, 900])
def test_snapshots_that_differ_far_down_give_a_page(depth: int) -> None:
    snapshots = {"prechange": nested(depth, "1"), "postchange": nested(depth, "2")}
    assert not failed(emitter(hook()), payload=payload(snapshots=snapshots))


def test_a_payload_of_many_parts_far_down_takes_memory_in_proportion() -> None:
    text = payload(data=nested(300, ",".join("1" * 50_000)))
    sender = emitter(hook())
    delivery = kept(sender, payload=text)
    app = page_of(sender)
    tracemalloc.start()
    try:
        look(app, "/delivery", id=delivery.id)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(text)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("fields", [{"duration": 10**400}, {"status": 10**4_000}, {"number": 0}])
@pytest.mark.parametrize("year", [1, 9999])
def test_odd_figures_of_an_attempt_give_a_page(fields: dict[str, Any], year: int) -> None:
    moment = datetime.datetime(year, 1, 2, tzinfo=datetime.UTC)
    one = attempt(started_at=moment, **fields)
    record = {"status": DeliveryStatus.FAILED, "attempts": (one,), "created_at": moment}
    assert not failed(emitter(hook()), due_at=moment, **record)


def test_a_long_life_gives_a_page() -> None:
    attempts = tuple(attempt(number=number, response_body="<" * 100) for number in range(1, 1_000))
    assert not failed(emitter(hook()), status=DeliveryStatus.FAILED, attempts=attempts)


def test_a_username_of_megabytes_is_cut() -> None:
    sender = emitter(hook())
    delivery = kept(sender, payload=payload(username="u" * 2_000_000))
    assert len(look(page_of(sender), "/delivery", id=delivery.id).text) < 500_000


@pytest.mark.parametrize(
    "figures",
    [
        {"count": 0},
        {"count": 10**30},
        {"outcome": "odd"},
        {"seconds": 0.0, "slowest": 0.0},
        {"seconds": 1e308, "slowest": 1e308},
        {"seconds": float("inf"), "slowest": float("inf")},
        {"seconds": float("nan")},
    ],
    ids=str,
)
def test_odd_figures_of_an_hour_give_a_page(figures: dict[str, Any]) -> None:
    sender = emitter(hook())
    hour = utcnow().replace(minute=0, second=0, microsecond=0)
    filler = {"hour": hour, "webhook": "h", "outcome": "delivered", "count": 1}
    one = HourlyOutcome(**{**filler, "seconds": 1.0, "slowest": 1.0, **figures})
    stats = mock.Mock(wraps=sender.queue.stats())
    real = sender.queue.stats()
    stats.configure_mock(counts=real.counts, age_of_oldest_due=None, hours=(one,))
    stats.configure_mock(workers=(), webhooks=(), disabled=())
    with mock.patch.object(sender.queue, "stats", return_value=stats):
        assert look(page_of(sender), "/").status == 200


# What the host's own parts do


class FailingSource:
    """A source of webhooks whose database is gone."""

    def select(self, event: str, model: str) -> list[Webhook]:
        """Fail."""
        raise OSError("s3cr3t-place-x9")

    def get(self, name: str) -> Webhook | None:
        """Fail."""
        raise OSError("s3cr3t-place-x9")

    def all(self) -> list[Webhook]:
        """Fail."""
        raise OSError("s3cr3t-place-x9")


@pytest.mark.parametrize("path", ["/", "/deliveries", "/delivery"])
def test_a_source_that_fails_leaves_the_deliveries_to_be_seen(path: str) -> None:
    sender = emitter()
    sender.webhooks = FailingSource()
    delivery = kept(sender)
    answer = look(page_of(sender), path, id=delivery.id)
    assert answer.status == 200
    assert "s3cr3t" not in answer.text


@pytest.mark.parametrize("method", ["stats", "counts", "find", "get", "disabled"])
def test_a_store_that_fails_is_said_to_on_a_page(method: str) -> None:
    sender = emitter(hook())
    delivery = kept(sender)
    app, store = page_of(sender), sender.queue.store
    with mock.patch.object(store, method, side_effect=StoreError("the disk is full")):
        answers = [look(app, path, id=delivery.id) for path in ("/", "/deliveries", "/delivery")]
    assert {answer.status for answer in answers} <= {200, 503}
    assert any("the disk is full." in answer.text for answer in answers)


def test_a_fallback_that_fails_leaves_the_overview_to_be_seen() -> None:
    fallback = MemoryStore()
    sender = emitter(hook(), fallback=fallback)
    with mock.patch.object(fallback, "counts", side_effect=StoreError("the disk is full")):
        assert look(page_of(sender), "/").status == 200


# Names and texts that come back from a form


def fields_of(answer: Answered) -> dict[str, str]:
    """Return the hidden fields of a page."""
    pairs = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', answer.text)
    return {html.unescape(name): html.unescape(value) for name, value in pairs}


@pytest.mark.parametrize("name", ["plain", "tr\u00a0im", "a\u200db", "a\u200cb", "a\u00adb"])
def test_the_webhook_that_is_shown_is_the_one_that_is_disabled(name: str) -> None:
    sender = emitter(hook(name))
    app = page_of(sender)
    form = {**fields_of(look(app, "/webhook", name=name)), "action": "disable"}
    form.pop("csrf")
    send(app, "/webhook", form)
    assert list(sender.disabled()) == [name]


@pytest.mark.parametrize("text", ["plain", "10\u00a0m", "👩\u200d💻"])
def test_what_is_acted_on_is_what_was_counted(text: str) -> None:
    sender = emitter(hook())
    app = page_of(sender)
    kept(sender, payload=json.dumps({"a": text}, ensure_ascii=False), status=DeliveryStatus.FAILED)
    asked = look(app, "/bulk", action="discard", text=text)
    assert "Discard 1 delivery?" in asked.text
    form = fields_of(asked)
    form.pop("csrf")
    send(app, "/bulk", form)
    assert sender.queue.deliveries == []


@pytest.mark.parametrize("name", [" x", "x ", " ", "\u00a0"])
def test_all_of_one_webhook_are_those_of_no_other(name: str) -> None:
    sender = emitter(hook(name), hook("x"))
    app = page_of(sender)
    other = kept(sender, webhook="x", status=DeliveryStatus.FAILED)
    kept(sender, webhook=name, status=DeliveryStatus.FAILED)
    form = fields_of(look(app, "/bulk", action="discard", webhook=name))
    form.pop("csrf")
    send(app, "/bulk", form)
    assert sender.queue.deliveries == [other]


@pytest.mark.parametrize(
    "change", ['{\r\n"event": "e"', '{"a": "10\u00a0m"}', '{"a": "👩\u200d💻"}']
)
def test_what_was_pasted_is_still_there_after_a_dry_run(change: str) -> None:
    form = {"name": "h", "delivery": "", "change": change, "action": "try"}
    answer = send(page_of(emitter(hook())), "/try", form)
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", answer.text, re.DOTALL)
    assert found
    pasted = html.unescape(found[1]).replace("\r\n", "\n")
    assert pasted == change.replace("\r\n", "\n")


# The command for a shell


def command_of(body: str, headers: dict[str, str] | None = None, url: str = "http://h/") -> str:
    """Return a curl command as it stands on the page."""
    at = attempt(method="POST", url=url, headers=headers or {})
    sender = emitter(hook())
    delivery = kept(sender, body=body, attempts=(at,), status=DeliveryStatus.FAILED)
    text = look(page_of(sender), "/delivery", id=delivery.id).text
    found = re.search(r'aria-label="curl command">(.*?)</pre>', text, re.DOTALL)
    assert found
    return html.unescape(found[1])


def ran(command: str, folder: Path) -> list[str]:
    """Return the arguments that a shell gives to curl."""
    fake = folder / "curl"
    fake.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n', encoding="utf-8")
    fake.chmod(0o700)
    shell = shutil.which("sh")
    assert shell
    path = f"{folder}:/bin:/usr/bin"
    done = subprocess.run(
        [shell, "-c", command], cwd=folder, env={"PATH": path}, capture_output=True, check=False
    )
    return done.stdout.decode().split("\0")


@pytest.mark.parametrize(
    "body",
    [
        'it\'s "quoted"',
        "a\nb\n",
        "\\n\\\\",
        "!! !x",
        "$(touch evil) `touch evil` ${HOME}",
        "; touch evil #",
        "@/etc/passwd",
        "--output evil",
        "",
        "Zürich 😀",
    ],
)
def test_the_command_sends_the_body_and_does_nothing_else(body: str, tmp_path: Path) -> None:
    assert body in ran(command_of(body, {"X-A'$(touch evil)": "it's `touch evil`"}), tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["curl"]


@pytest.mark.parametrize("body", ["a\r\nb", '{"a": "10\u00a0m"}', "\x7f", '{"a": "\U000e0041"}'])
def test_the_command_never_sends_another_body(body: str, tmp_path: Path) -> None:
    arguments = ran(command_of(body), tmp_path)
    assert body in arguments or "@body.txt" in arguments


@pytest.mark.parametrize("text", ["x\ntouch evil\n#", "x\rtouch evil"])
def test_a_comment_of_the_command_stays_one(text: str, tmp_path: Path) -> None:
    ran(curl_command("POST", "http://h/", {text: "***"}, "b"), tmp_path)
    ran(curl_command("POST", f"http://{text}/***", {}, "b"), tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["curl"]


def test_a_url_of_the_command_is_no_option() -> None:
    words = shlex.split(curl_command("POST", "-oevil", {}, "b"))
    assert words[words.index("-oevil") - 1] == "--url"


def test_each_value_that_is_hidden_has_a_variable_of_its_own() -> None:
    headers = {"X-Key": "***", "X_Key": "***", "URL": "***"}
    command = curl_command("POST", "http://h/***", headers, "b")
    assert len(set(re.findall(r"\$\{(HOOK_\w*)", command))) == 4
