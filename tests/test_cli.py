"""The command line: every command in this process, and each once as a user starts it."""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from misbehaving import Server, answer, hangs_up, says

from changehook import cli
from changehook.cli import main
from changehook.receiver import Behaviour, Receiver
from changehook.signing import sign

LIMIT = 60.0
SECRET = "a secret of the tests"
BODY = """{"text": "IP address {{ data['address'] }} was created by {{ username }}!"}"""
SLACK = {
    "name": "slack",
    "object_types": ["ipaddress"],
    "events": ["created"],
    "url": "https://hooks.slack.example/services/T0/B0/hidden-path",
    "additional_headers": {"X-Token": "hidden-token"},
    "body_template": BODY,
    "conditions": {"and": [{"attr": "status.value", "value": "active"}]},
    "secret": SECRET,
}
CHANGE = {
    "event": "created",
    "timestamp": "2026-01-31T12:00:00+00:00",
    "model": "ipaddress",
    "username": "ann",
    "request_id": "r-1",
    "data": {"address": "192.0.2.10/24", "status": {"value": "active"}},
    "snapshots": {"prechange": None, "postchange": {"address": "192.0.2.10/24"}},
}
PLANNED = {**CHANGE, "data": {"address": "192.0.2.10/24", "status": {"value": "planned"}}}
COMMANDS = ("receiver", "demo", "check", "explain", "render", "emit", "queue", "worker")

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Done(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]
Write = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command in this process."""

    def run(*words: str) -> Done:
        try:
            code = main(list(words))
        except SystemExit as left:
            code = left.code
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a document to a file, and return its path."""

    def write(document: object, name: str = "webhooks.json") -> str:
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    return write


@pytest.fixture
def change(write: Write) -> str:
    """A file with a change that fires the Slack webhook."""
    return write(CHANGE, "change.json")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers 200."""
    with Receiver(port=0, output=lambda text: None) as receiver:
        yield receiver


def log(url: str, **values: object) -> dict[str, object]:
    """Return a webhook that wants every change."""
    return {"name": "log", "object_types": ["*"], "events": ["*"], "url": url, **values}


def entry(
    *words: str, text: str = "", flags: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does."""
    return subprocess.run(
        [sys.executable, "-W", "error", *flags, "-m", "changehook", *words],
        env={**os.environ, **environment},
        input=text,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


# The whole


def test_the_version_is_that_of_the_distribution(run: Run) -> None:
    """``--version`` prints name and version."""
    done = run("--version")
    assert done.code == 0
    assert re.fullmatch(r"changehook \d+\.\d+\S*\n", done.out)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    """The help of each command says what it does and gives an example."""
    done = run(command, "--help")
    assert done.code == 0
    assert f"example: changehook {command}" in done.out
    assert "--json" in done.out
    assert re.search(rf"^    {command} +\w", run("--help").out, re.MULTILINE)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("unknown",),
        ("check",),
        ("explain", "webhooks.json"),
        ("demo", "now"),
        ("check", "webhooks.json", "--js"),
        ("receiver", "--port", "many"),
        ("receiver", "--big", "10 elephants"),
        ("receiver", "--count", "0"),
        ("receiver", "--count", "-1"),
        ("emit", "a", "b", "--timeout", "soon"),
    ],
)
def test_wrong_words_are_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    """Words that cannot be understood end with 2 and say so on stderr only."""
    done = run(*words)
    assert done.code == 2
    assert done.out == ""
    assert "error:" in done.err


def test_it_starts_without_docstrings() -> None:
    """Python's -OO, which drops the help texts, drops no command."""
    done = entry("--help", flags=("-OO",))
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


def test_an_interrupt_ends_quietly(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONTROL-C while a command waits ends it with 130 and without a traceback."""

    class Waiting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            signal.raise_signal(signal.SIGINT)
            return b""

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Waiting()))
    assert run("explain", write(SLACK), "-") == (130, "", "")


def test_a_reader_that_left_is_no_error(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """When whoever reads the output is gone, the command ends with 1 and no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["check", write(SLACK)]) == 1
        monkeypatch.undo()


def test_an_output_that_cannot_hold_a_character_gets_its_escape(write: Write) -> None:
    """Names beyond the output's encoding are escaped instead of raising."""
    done = entry("check", write({**SLACK, "name": "café"}), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "caf\\xe9" in done.stdout


def test_nothing_that_a_terminal_obeys_is_printed(run: Run, write: Write) -> None:
    """Control characters and marks of direction from files reach no terminal."""
    path = write({**SLACK, "name": "a\u202eb"})
    shown = run("check", path).out
    assert "a\\u202eb" in shown
    asked = run("explain", path, write({**PLANNED, "event": "\x1b[2J\u009b31m"}, "change.json"))
    assert not {"\x1b", "\u009b"} & set(asked.out)
    assert "\\x1b[2J\\x9b31m" in asked.out


def test_words_that_cannot_be_placed_are_not_repeated(run: Run) -> None:
    """A secret behind a misspelt option, or before the command, is not printed; options are."""
    done = run("receiver", "--verfy", SECRET, "--verfy=hunter2", "-xunter2")
    assert (done.code, SECRET in done.err, "unter2" in done.err) == (2, False, False)
    assert "unrecognized arguments: --verfy *** " in done.err
    assert " --verfy=*** ***; see changehook COMMAND --help" in done.err
    done = run("receiver", "--json=hunter2")
    assert (done.code, "unter2" in done.err) == (2, False)
    assert "argument --json: takes no value" in done.err
    done = run("--verify", SECRET, "receiver")
    assert (done.code, SECRET in done.err) == (2, False)
    assert "argument COMMAND: unknown (choose from" in done.err


# check


def test_check_lists_valid_webhooks(run: Run, write: Write) -> None:
    """A valid file is listed, with what is disabled, and without what may be secret."""
    path = write([SLACK, log("http://127.0.0.1/x", enabled=False)])
    done = run("check", path)
    assert done.code == 0
    assert done.err == ""
    assert done.out == (
        f"{path}: valid, webhooks: 2\n"
        "  slack: created of ipaddress, POST https://hooks.slack.example/***\n"
        "  log (disabled): * of *, POST http://127.0.0.1/***\n"
    )


def test_check_reads_toml(run: Run, write: Write) -> None:
    """A TOML file is checked like a JSON file."""
    text = '[[webhooks]]\nname = "a"\nobject_types = ["x"]\nevents = ["y"]\nurl = "http://h/"\n'
    assert run("check", write(text, "webhooks.toml")).code == 0


def test_check_reports_every_fault_on_its_line(run: Run, write: Write) -> None:
    """An invalid file ends with 1, each fault on a line of its own with its pointer."""
    broken = {**SLACK, "http_method": "post", "conditions": {"attr": "x", "op": "equals"}}
    path = write([broken, {**SLACK, "timeout": -1}])
    done = run("check", path)
    assert done.code == 1
    assert done.out == ""
    lines = done.err.splitlines()
    assert all(line.startswith(f"changehook: {path}: /webhooks/") for line in lines)
    assert f'changehook: {path}: /webhooks/0/http_method: unknown method; did you mean "POST"?' in (
        lines
    )
    pointers = [line.split(": ")[2] for line in lines]
    assert "/webhooks/0/conditions/op" in pointers
    assert "/webhooks/1/timeout" in pointers
    assert SECRET not in done.err


def test_check_of_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    """A file that cannot be read is named once."""
    path = tmp_path / "none.json"
    done = run("check", str(path))
    reason = os.strerror(errno.ENOENT)
    assert done == (1, "", f"changehook: {path}: cannot be read ({reason})\n")


def test_check_answers_in_json(run: Run, write: Write) -> None:
    """With --json both answers are one document on stdout."""
    good = run("check", write(SLACK), "--json")
    assert good.code == 0
    document = json.loads(good.out)
    assert document["valid"] is True
    assert document["faults"] == []
    assert document["webhooks"][0]["secret"] == "***"
    bad = run("check", write({**SLACK, "evnts": []}), "--json")
    assert bad.code == 1
    document = json.loads(bad.out)
    assert document["valid"] is False
    assert document["faults"] == [
        {"pointer": "/webhooks/0/evnts", "message": 'unknown field; did you mean "events"?'}
    ]
    assert "evnts" in bad.err


def test_check_as_a_user_starts_it(write: Write) -> None:
    """``python -m changehook check`` works, with its exit codes."""
    assert entry("check", write(SLACK)).returncode == 0
    broken = entry("check", write("{"))
    assert broken.returncode == 1
    assert "Traceback" not in broken.stderr


# explain


def test_explain_says_what_fires(run: Run, write: Write, change: str) -> None:
    """A change that fires some webhook ends with 0, and each webhook has its reason."""
    done = run("explain", write([SLACK, log("http://h/", enabled=False)]), change)
    assert done == (
        0,
        "slack: fires, its conditions match\n"
        "  matched: and\n"
        '    matched: status.value eq "active" (found "active")\n'
        "log: does not fire, it is disabled\n",
        "",
    )


def test_explain_says_why_nothing_fires(run: Run, write: Write) -> None:
    """A change that fires nothing ends with 1 and shows the conditions with their verdicts."""
    done = run("explain", write(SLACK), write(PLANNED, "change.json"))
    assert done.code == 1
    assert 'not matched: status.value eq "active" (found "planned")' in done.out


def test_explain_answers_in_json(run: Run, write: Write, change: str) -> None:
    """With --json the explanation is one document with the tree."""
    done = run("explain", write(SLACK), change, "--json")
    document = json.loads(done.out)
    assert done.code == 0
    assert document["fires"] is True
    assert document["webhooks"][0]["conditions"]["members"][0]["resolved"] == "active"


def test_explain_one_webhook(run: Run, write: Write, change: str) -> None:
    """``--webhook`` leaves the others out, also for the exit code."""
    path = write([SLACK, log("http://h/", enabled=False)])
    done = run("explain", path, change, "--webhook", "log")
    assert done == (1, "log: does not fire, it is disabled\n", "")


@pytest.mark.parametrize("command", ["explain", "render", "emit"])
def test_a_name_that_no_webhook_has_is_nothing_found(
    run: Run, write: Write, change: str, command: str
) -> None:
    """An unknown name ends with 1 and says which names there are."""
    path = write([SLACK, log("http://h/")])
    done = run(command, path, change, "--webhook", "salck")
    assert done.code == 1
    expected = f'changehook: no webhook is named "salck"; the webhooks of {path} are: slack, log\n'
    assert done.err == expected
    as_json = run(command, path, change, "--webhook", "salck", "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out)["webhooks"] == []


def test_a_file_without_webhooks_is_nothing_found(run: Run, write: Write, change: str) -> None:
    """A file with no webhooks is valid, and explains nothing."""
    path = write([])
    assert run("check", path).code == 0
    done = run("explain", path, change)
    assert done == (1, "", f"changehook: nothing found; the webhooks of {path} are: none\n")


def test_explain_as_a_user_starts_it(write: Write) -> None:
    """``-`` reads the change from standard input."""
    done = entry("explain", write(SLACK), "-", text=json.dumps(CHANGE))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("slack: fires")
    broken = entry("explain", write(SLACK), "-", text="{")
    assert broken.returncode == 2
    assert broken.stderr.startswith("changehook: stdin: not JSON (")
    assert len(broken.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["explain", "render", "emit"])
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "not JSON"),
        ('{"event": "a", "event": "b"}', 'the key "event" stands twice'),
        ("[" * 100_000, "not JSON"),
        ('{"event": NaN}', "NaN is not JSON"),
        ("\udcff", "not JSON"),
        ("[]", "a change is a JSON object"),
        ('{"event": "created", "model": "x"}', "/data: required"),
        ('{"event": "created", "model": "x", "data": {}, "extra": 1}', "/extra: unknown"),
        ('{"event": "created", "model": "x", "data": 1}', "/data: expected a mapping"),
        ('{"event": "created", "model": "x", "data": {}, "timestamp": "now"}', "/timestamp: "),
    ],
    ids=range(10),
)
def test_a_change_that_cannot_be_read_is_wrong_usage(
    run: Run, write: Write, tmp_path: Path, command: str, text: str, fault: str
) -> None:
    """What is wrong with the change is said with the name of its file, and ends with 2."""
    path = tmp_path / "change.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    done = run(command, write(SLACK), str(path))
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith(f"changehook: {path}: ")
    assert fault in done.err


@pytest.mark.parametrize("command", ["explain", "render", "emit"])
def test_files_that_cannot_be_used_are_wrong_usage(
    run: Run, write: Write, change: str, tmp_path: Path, command: str
) -> None:
    """A broken file of webhooks, or a change that is not there, ends with 2."""
    broken = write({**SLACK, "events": []}, "broken.json")
    done = run(command, broken, change)
    assert done.code == 2
    assert done.err.startswith(f"changehook: {broken}: /webhooks/0/events: ")
    done = run(command, write(SLACK), str(tmp_path))
    assert done == (
        2,
        "",
        f"changehook: {tmp_path}: cannot be read ({os.strerror(errno.EISDIR)})\n",
    )


# render


def test_render_shows_the_request_and_hides_what_may_be_secret(
    run: Run, write: Write, change: str
) -> None:
    """The request is shown with redacted URL and headers."""
    done = run("render", write(SLACK), change)
    assert done.code == 0
    head, _, rest = done.out.partition("\n\n")
    lines = head.splitlines()
    assert lines[0] == "slack: POST https://hooks.slack.example/***"
    assert "X-Token: ***" in lines
    assert any(re.fullmatch(r"X-Hook-Signature: [0-9a-f]{128}", line) for line in lines)
    body, rule, _ = rest.partition("\n------------\n")
    assert json.loads(body) == {"text": "IP address 192.0.2.10/24 was created by ann!"}
    assert rule
    assert "hidden" not in done.out
    assert SECRET not in done.out


def test_render_reveals_when_asked(run: Run, write: Write, change: str) -> None:
    """``--reveal`` shows path and headers; the secret itself is never part of a request."""
    done = run("render", write(SLACK), change, "--reveal")
    assert "https://hooks.slack.example/services/T0/B0/hidden-path" in done.out
    assert "X-Token: hidden-token" in done.out
    assert SECRET not in done.out


def test_the_change_of_a_file_has_its_context(run: Run, write: Write) -> None:
    """What context providers added to a payload is there again when the payload is put in."""
    path = write({**SLACK, "conditions": None, "body_template": "[{{ context.rack }}]"})
    change = write({**CHANGE, "context": {"rack": 7}}, "change.json")
    done = run("render", path, change)
    assert (done.code, "\n[7]\n" in done.out) == (0, True)
    plain = write({**SLACK, "body_template": ""}, "plain.json")
    assert '"context"' not in run("render", plain, write(CHANGE, "change.json")).out
    done = run("render", path, write({**CHANGE, "context": [7]}, "change.json"))
    assert (done.code, done.err) == (2, f"changehook: {change}: /context: expected an object\n")


def test_render_names_what_cannot_be_rendered(run: Run, write: Write, change: str) -> None:
    """A template that fails is said for its webhook, the others are shown, and the code is 1."""
    path = write([log("http://h/", body_template="{{ data.nope }}"), SLACK])
    done = run("render", path, change)
    assert done.code == 1
    assert done.out.startswith("log: render: body")
    assert "slack: POST" in done.out
    assert run("render", path, change, "--webhook", "slack").code == 0


def test_render_says_that_a_secret_is_missing(
    run: Run, write: Write, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is not in the environment is an error of that webhook."""
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    done = run("render", write({**SLACK, "secret": "env:HOOK_SECRET"}), change)
    assert done.code == 1
    assert "slack: config: the environment variable HOOK_SECRET" in done.out


def test_render_answers_in_json(run: Run, write: Write, change: str) -> None:
    """With --json each webhook has its request or its error."""
    path = write([log("http://h/", body_template="{{ data.nope }}"), SLACK])
    done = run("render", path, change, "--json")
    failed, slack = json.loads(done.out)["webhooks"]
    assert failed["request"] is None
    assert failed["error"].startswith("render: ")
    assert slack["error"] is None
    assert slack["request"]["method"] == "POST"


def test_render_refuses_a_change_without_a_json_form(run: Run, write: Write) -> None:
    """A lone surrogate in the change ends with 2 and names the part."""
    path = write({**CHANGE, "data": {"name": "\ud800"}}, "change.json")
    done = run("render", write(log("http://h/")), path)
    assert done.code == 2
    assert "data.name" in done.err


def test_render_as_a_user_starts_it(write: Write, change: str) -> None:
    """The default body holds the seven documented keys in order."""
    done = entry("render", write(log("http://h/")), change, "--json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)["webhooks"][0]["request"]["body"]
    assert list(json.loads(body)) == list(CHANGE)


# emit


def test_emit_delivers(run: Run, write: Write, change: str, receiver: Receiver) -> None:
    """A change reaches the receiver, and the outcome is printed without path or body."""
    path = write([log(f"{receiver.url}/hidden-path"), SLACK])
    done = run("emit", path, change, "--allow", "127.0.0.1", "--webhook", "log")
    assert done == (
        0,
        "log: fires, it has no conditions\n\n"
        "One attempt each, nothing is retried:\n"
        f"log: delivered, POST {receiver.url}/*** answered with 200\n",
        "",
    )
    assert [request.path for request in receiver.requests] == ["/hidden-path"]
    assert json.loads(receiver.requests[0].body) == CHANGE


def test_emit_makes_one_attempt_at_once(run: Run, write: Write, change: str) -> None:
    """A failure ends with 1 and is not retried, whatever the webhook's own schedule."""
    behaviour = Behaviour(respond=500, big=1000)
    with Receiver(port=0, behaviour=behaviour, output=lambda text: None) as receiver:
        path = write(log(receiver.url, retry={"schedule": [3600, 0, 0]}))
        done = run("emit", path, change, "--allow", "127.0.0.1")
    assert done.code == 1
    assert "log: failed, status: the receiver answered 500\n" in done.out
    assert f"  response: {'x' * 200}\n" in done.out
    assert len(receiver.requests) == 1


def test_emit_sends_nothing_when_nothing_fires(run: Run, write: Write) -> None:
    """A change that no webhook wants ends with 1 and says why."""
    done = run("emit", write(SLACK), write(PLANNED, "change.json"))
    assert done.code == 1
    assert "slack: does not fire" in done.out
    assert done.out.endswith("\nNothing is sent.\n")


def test_emit_says_how_to_open_an_address(
    run: Run, write: Write, change: str, receiver: Receiver
) -> None:
    """A blocked address comes with the option that opens it, and that option does."""
    path = write(log(receiver.url))
    blocked = run("emit", path, change)
    assert blocked.code == 1
    assert "log: failed, blocked: 127.0.0.1" in blocked.out
    assert "--allow" in blocked.out
    assert receiver.requests == []
    assert run("emit", path, change, "--allow", "internal").code == 0


def test_emit_answers_in_json(run: Run, write: Write, change: str, receiver: Receiver) -> None:
    """With --json explanations and outcomes are one document, without URL path or payload."""
    path = write([log(f"{receiver.url}/hidden-path"), log("http://[::1]:9/", name="other")])
    done = run("emit", path, change, "--allow", "127.0.0.1", "--json")
    document = json.loads(done.out)
    assert done.code == 1
    assert [each["fires"] for each in document["webhooks"]] == [True, True]
    assert [each["status"] for each in document["deliveries"]] == ["delivered", "failed"]
    first, second = (each["attempt"] for each in document["deliveries"])
    assert first["status"] == 200
    assert first["url"] == f"{receiver.url}/***"
    assert second["error_class"] == "blocked"
    assert "192.0.2.10" not in done.out


def test_emit_neutralises_what_the_receiver_answers(run: Run, write: Write, change: str) -> None:
    """A response cannot drive the terminal, and is shown on one line."""
    hostile = answer(body=b"\x1b]0;owned\x07\r\nnext \xc2\x9b")
    with Server(says(hostile)) as server:
        path = write(log(f"http://127.0.0.1:{server.port}/"))
        done = run("emit", path, change, "--allow", "127.0.0.1")
    assert done.code == 0
    assert done.out.endswith("\n  response: \\x1b]0;owned\\x07\\r\\nnext \\x9b\n")


def test_emit_notes_trouble_in_the_body(run: Run, write: Write, change: str) -> None:
    """A response that is cut after its head is delivered, with a note."""
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"
    with Server(says(cut, then=hangs_up)) as server:
        path = write(log(f"http://127.0.0.1:{server.port}/"))
        done = run("emit", path, change, "--allow", "127.0.0.1")
    assert done.code == 0
    assert "\n  note: " in done.out


def test_emit_ends_at_the_timeout(run: Run, write: Write, change: str) -> None:
    """``--timeout`` takes the place of the webhook's own."""
    behaviour = Behaviour(delay=600)
    with Receiver(port=0, behaviour=behaviour, output=lambda text: None) as receiver:
        path = write(log(receiver.url, timeout=300))
        done = run("emit", path, change, "--allow", "127.0.0.1", "--timeout", "0.2")
    assert done.code == 1
    assert "log: failed, timeout: " in done.out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--timeout", "0"), "--timeout: expected seconds"),
        (("--timeout", "nan"), "--timeout: expected seconds"),
        (("--allow", "10.0.0.1/8"), "--allow: has bits set"),
        (("--allow", "internal", "--allow", "http://h/"), "--allow: expected an address"),
    ],
)
def test_emit_refuses_options_that_cannot_be_used(
    run: Run, write: Write, change: str, words: tuple[str, ...], fault: str
) -> None:
    """A wrong value ends with 2, naming the option."""
    done = run("emit", write(log("http://h/")), change, *words)
    assert done.code == 2
    assert done.err.startswith(f"changehook: {fault}")


def test_emit_as_a_user_starts_it(write: Write, change: str, receiver: Receiver) -> None:
    """``python -m changehook emit`` sends a signed request that verifies."""
    words = (write({**log(receiver.url), "secret": SECRET}), change, "--allow", "internal")
    done = entry("emit", *words)
    assert done.returncode == 0, done.stderr
    request = receiver.requests[0]
    expected = sign(request.body, delivery_id="x", timestamp=0, secrets=SECRET)
    assert request.header("X-Hook-Signature") == expected["X-Hook-Signature"]


# demo


def test_demo_shows_what_arrived(run: Run) -> None:
    """The demonstration ends with 0 and received requests on the screen."""
    done = run("demo")
    assert done.code == 0
    assert done.err == ""
    assert done.out.count("\n------------\n") == 3
    assert "Requests received:  3" in done.out


def test_demo_answers_in_json(run: Run) -> None:
    """With --json the demonstration is one document."""
    document = json.loads(run("demo", "--json").out)
    assert document["ok"] is True
    assert len(document["requests"]) == 3


def test_demo_as_a_user_starts_it() -> None:
    """It needs no network, no terminal, no time zone and no UTF-8."""
    done = entry("demo", TZ="Pacific/Kiritimati", LC_ALL="C", PYTHONIOENCODING="ascii", TERM="dumb")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "All arrived as expected" in done.stdout
    assert "\x1b" not in done.stdout


# receiver


class Printed(io.TextIOBase):
    """A standard output whose text can be waited for."""

    def __init__(self) -> None:
        self.text = ""
        self._pieces: queue.SimpleQueue[str] = queue.SimpleQueue()

    def write(self, text: str) -> int:
        self._pieces.put(text)
        return len(text)

    def until(self, pattern: str) -> re.Match[str]:
        """Return the first match in what has been printed, as soon as there is one."""
        while not (match := re.search(pattern, self.text)):
            self.text += self._pieces.get(timeout=LIMIT)
        return match


class Serving:
    """A ``changehook receiver`` in a thread of this process."""

    def __init__(self, out: Printed, err: Printed, words: tuple[str, ...]) -> None:
        self.out = out
        self._codes: queue.SimpleQueue[int] = queue.SimpleQueue()
        command = ["receiver", "--port", "0", *words]
        threading.Thread(target=lambda: self._codes.put(main(command)), daemon=True).start()
        banner = err if "--json" in words else out
        self.port = int(banner.until(r"http://localhost:(\d+)\. Stop with CONTROL-C\.\n")[1])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)

    def ask(self, body: bytes = b"{}", **headers: str) -> http.client.HTTPResponse:
        """Return the answer to one request, read to its end."""
        with contextlib.closing(self.connect()) as connection:
            connection.request("POST", "/x", body, headers)
            response = connection.getresponse()
            response.body = response.read()  # type: ignore[attr-defined] # kept for the test
            return response

    def code(self) -> int:
        return self._codes.get(timeout=LIMIT)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Serving]:
    """Start a receiver on a free port."""

    def serve(*words: str) -> Serving:
        out, err = Printed(), Printed()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return Serving(out, err, words)

    return serve


def test_receiver_stops_after_a_count(serve: Callable[..., Serving]) -> None:
    """``--count`` ends it with 0, after the last request was answered."""
    serving = serve("--count", "2")
    assert [serving.ask().status, serving.ask().status] == [200, 200]
    assert serving.code() == 0
    assert serving.out.until(r"\[2\] .*\"POST /x HTTP/1\.1\" 200 -\n")


def test_receiver_answers_late_requests_before_it_stops(serve: Callable[..., Serving]) -> None:
    """The counted request is answered also when the answer is delayed."""
    serving = serve("--count", "1", "--delay", "0.3")
    assert serving.ask().status == 200
    assert serving.code() == 0


def test_receiver_stops_though_a_connection_is_kept_alive(
    serve: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that keeps its connection cannot hold the receiver up for long."""
    monkeypatch.setattr(cli, "ANSWER_TIME", 0.1)
    serving = serve("--count", "1")
    with contextlib.closing(serving.connect()) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()
        assert serving.code() == 0


def test_receiver_prints_json_lines(serve: Callable[..., Serving]) -> None:
    """With --json stdout has exactly one line of JSON for each request."""
    serving = serve("--json", "--count", "2")
    serving.ask(b'{"a": 1}')
    serving.ask("é\n".encode(), **{"X-Note": "n"})
    assert serving.code() == 0
    serving.out.until(r"\n.*\n")
    first, second = map(json.loads, serving.out.text.splitlines())
    assert first["number"] == 1
    assert first["body"] == '{"a": 1}'
    assert second["body"] == "é\n"
    assert ["X-Note", "n"] in second["headers"]


def test_receiver_says_whether_a_request_is_signed(serve: Callable[..., Serving]) -> None:
    """``--verify`` adds the verdict, for any of several secrets."""
    serving = serve("--verify", "another", "--verify", SECRET, "--count", "2")
    signed = sign(b"{}", delivery_id="m", timestamp=0, secrets=SECRET)
    serving.ask(b"{}", **signed)
    serving.ask(b"{}")
    assert serving.code() == 0
    assert serving.out.until(r"Signature: valid\n[^$]*Signature: INVALID: not signed")


@pytest.mark.parametrize(
    ("words", "status", "header", "size"),
    [
        (("--respond", "503", "--retry-after", "60"), 503, ("Retry-After", "60"), 0),
        (("--redirect", "http://10.0.0.1/"), 302, ("Location", "http://10.0.0.1/"), 0),
        (("--big", "2kB"), 200, ("Content-Length", "2000"), 2000),
        (("--big", "1KiB"), 200, ("Content-Length", "1024"), 1024),
        (("--big", "7"), 200, ("Content-Length", "7"), 7),
    ],
)
def test_receiver_misbehaves_as_told(
    serve: Callable[..., Serving],
    words: tuple[str, ...],
    status: int,
    header: tuple[str, str],
    size: int,
) -> None:
    """Each option shows in the answer."""
    serving = serve(*words, "--count", "1")
    response: Any = serving.ask()
    assert response.status == status
    assert response.getheader(header[0]) == header[1]
    assert len(response.body) == size
    assert serving.code() == 0


def test_receiver_breaks_off(serve: Callable[..., Serving]) -> None:
    """``--reset`` ends the connection without an answer."""
    serving = serve("--reset", "--count", "1")
    with pytest.raises(ConnectionError):
        serving.ask()
    assert serving.code() == 0


def test_receiver_drips(serve: Callable[..., Serving]) -> None:
    """``--drip`` sends a byte at a time, and a sender that leaves ends it."""
    serving = serve("--drip", "--count", "1")
    with socket.create_connection(("127.0.0.1", serving.port), timeout=LIMIT) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(100) == b"H"
    assert serving.code() == 0


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        (("--respond", "99", "--delay", "nan"), ["--respond: expected", "--delay: expected"]),
        (("--retry-after", ""), ["--retry-after: expected seconds or a date"]),
        (("--redirect", "a\nb"), ["--redirect: expected a URL"]),
        (("--port", "65536"), ["--port: expected a port"]),
        (("--host", "é" * 70), ["--host: expected an address"]),
        (("--verify", ""), ["a secret must not be empty"]),
        (("--verify", "env:CHANGEHOOK_NOT_SET"), ["the environment variable CHANGEHOOK_NOT_SET"]),
    ],
)
def test_receiver_refuses_options_that_cannot_be_used(
    run: Run, words: tuple[str, ...], faults: list[str]
) -> None:
    """Every wrong value is named with its option, and ends with 2."""
    done = run("receiver", *words)
    assert done.code == 2
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert line.startswith(f"changehook: {fault}")


def test_receiver_says_that_a_port_is_taken(run: Run) -> None:
    """A port in use ends with 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("receiver", "--port", str(port))
    assert done.code == 2
    assert f"cannot listen on port {port} of 127.0.0.1" in done.err
    assert "choose another port" in done.err


@needs_curl
def test_receiver_as_a_user_starts_it() -> None:
    """It prints the exact form of the specification for curl, and CONTROL-C ends it with 0."""
    command = [sys.executable, "-W", "error", "-m", "changehook", "receiver", "--port", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(LIMIT, process.kill)
        watchdog.start()
        banner = re.fullmatch(
            r"Listening on port http://localhost:(\d+)\. Stop with CONTROL-C\.\n",
            process.stdout.readline(),
        )
        assert banner
        url = f"http://localhost:{banner[1]}"
        curl = ["curl", "-sS", "-X", "POST", url, "--data", '{"foo": "bar"}']
        subprocess.run([*curl, "--noproxy", "*"], check=True, timeout=LIMIT)
        lines = []
        while not lines or lines[-1] != "------------\n":
            lines.append(process.stdout.readline())
            assert lines[-1], "the receiver ended early"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
        watchdog.cancel()
    assert re.fullmatch(
        r'\[1\] \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT 127\.0\.0\.1 "POST / HTTP/1\.1" 200 -\n'
        rf"Host: localhost:{banner[1]}\n"
        r"User-Agent: curl/\S+\n"
        r"Accept: \*/\*\n"
        r"Content-Length: 14\n"
        r"Content-Type: application/x-www-form-urlencoded\n"
        r"\n"
        r'\{"foo": "bar"\}\n'
        r"------------\n",
        "".join(lines),
    )
    assert (process.returncode, out, err) == (0, "", "")
