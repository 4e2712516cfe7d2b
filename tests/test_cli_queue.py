"""``changehook queue``: every command over real SQLite files, in this process and as started."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pty
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from changehook import printing
from changehook.arguments import duration, moment
from changehook.cli import main
from changehook.deliveries import Attempt, Decision, Delivery, DeliveryStatus
from changehook.inspection import DisabledWebhook, WebhookTally, WorkerHeartbeat
from changehook.models import utcnow
from changehook.printing import table
from changehook.reports import report
from changehook.stores.sqlite import SQLiteStore
from changehook.testing.deliveries import make_delivery

LIMIT = 60.0
HOSTILE = "\x1b[2J\u009b31m\u202e\r\nstatus    delivered"
INNER = ("list", "show", "retry", "discard", "stats", "purge", "enable", "disable")


class Done(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command of ``queue`` in this process, where nobody can be asked."""
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115 - closed with the test

    def run(*words: str) -> Done:
        try:
            code = main(["queue", *words])
        except SystemExit as left:
            code = left.code
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    yield run
    sys.stdin.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the store is."""
    return str(tmp_path / "webhooks.db")


@pytest.fixture
def store(path: str) -> Iterator[SQLiteStore]:
    """A store in a new file."""
    store = SQLiteStore(path)
    yield store
    store.close()


def ago(**time: float) -> datetime.datetime:
    return utcnow() - datetime.timedelta(**time)


def keep(
    store: SQLiteStore, status: str = "pending", attempt: Attempt | None = None, **fields: Any
) -> Delivery:
    """Keep a delivery in that state, with one attempt unless it is pending or skipped."""
    moments = {"created_at": ago(minutes=5), "due_at": ago(minutes=5)}
    delivery = make_delivery(**{**moments, **fields})
    store.add([delivery])
    if status == "pending" and attempt is None:
        return delivery
    (claimed,) = store.claim(utcnow(), admit=lambda name: name == delivery.webhook)
    assert claimed.id == delivery.id
    if status == "delivering":
        return claimed
    if status == "skipped":
        after = claimed.skipped("the webhook is disabled")
    else:
        found = attempt or Attempt(
            number=1, started_at=utcnow(), duration=0.25, status=200, error_class=None
        )
        due = utcnow() + datetime.timedelta(hours=1)
        decision = Decision(status=DeliveryStatus(status), due_at=due, reason=f"so: {status}")
        after = claimed.after(found, decision, body='{"rendered": true}')
    assert store.save(after)
    return after


def timeout(number: int = 1) -> Attempt:
    return Attempt(
        number=number,
        started_at=utcnow(),
        duration=15.0,
        error_class="timeout",
        error="the deadline passed",
    )


@pytest.fixture
def kept(store: SQLiteStore) -> dict[str, Delivery]:
    """One delivery of each kind, by webhook."""
    return {
        "fresh": keep(store, webhook="fresh", created_at=ago(days=3)),
        "good": keep(store, "delivered", webhook="good", created_at=ago(days=2)),
        "bad": keep(store, "failed", timeout(), webhook="bad", created_at=ago(hours=3)),
        "late": keep(store, "pending", timeout(), webhook="late", model="dcim.device"),
        "off": keep(store, "skipped", webhook="off", created_at=ago(minutes=1)),
    }


def listed(run: Run, path: str, *words: str) -> list[str]:
    """Return the webhooks of the deliveries that agree."""
    done = run("list", path, "--json", *words)
    document = json.loads(done.out)
    assert done.code == (0 if document["deliveries"] else 1)
    return [each["webhook"] for each in document["deliveries"]]


# What all have in common


@pytest.mark.parametrize("command", INNER)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    """The help of each command says what it does and gives an example."""
    done = run(command, "--help")
    assert done.code == 0
    assert f"example: changehook queue {command}" in done.out
    assert "--json" in done.out
    assert re.search(rf"^    {command} +\w", run("--help").out, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("list", ()),
        ("show", ("msg_1",)),
        ("retry", ("--all", "--yes")),
        ("discard", ("msg_1",)),
        ("stats", ()),
        ("purge", ()),
        ("enable", ("slack",)),
        ("disable", ("slack",)),
    ],
)
def test_a_file_that_is_not_there_is_not_made(
    run: Run, path: str, command: str, more: tuple[str, ...]
) -> None:
    """A misspelt path ends with 2 and leaves nothing behind."""
    assert run(command, path, *more) == (2, "", f"changehook: {path}: there is no such file\n")
    assert not Path(path).exists()


def test_another_file_is_told_apart(run: Run, path: str) -> None:
    """A file that no store wrote ends with 2, and a folder as well."""
    Path(path).write_text("no database at all, but long enough to have a header" * 9)
    done = run("list", path)
    assert done.code == 2
    assert "no SQLite database" in done.err
    assert run("stats", str(Path(path).parent)).code == 2


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("unknown",),
        ("list",),
        ("list", "x", "y"),
        ("show", "x"),
        ("list", "x", "--limit", "0"),
        ("list", "x", "--limit", "9" * 30),
        ("list", "x", "--since", "soon"),
        ("list", "x", "--since", "999999999w"),
        ("list", "x", "--until", "0001-01-01T00:00+14:00"),
        ("list", "x", "--after", "msg_1"),
        ("list", "x", "--after", "2026-01-01T00:00:00/msg_1"),
        ("list", "x", "--after", "2026-01-01T00:00:00+00:00/"),
        ("list", "x", "--after", "2026-01-01 00:00:00+00:00/msg_1"),
        ("list", "x", "--after", "0001-01-01T00:00:00+14:00/msg_1"),
        ("purge", "x", "--delivered", "0d"),
        ("purge", "x", "--failed", "never"),
        ("retry", "x", "--webhok", "slack", "msg_1"),
    ],
)
def test_wrong_words_are_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    """Words that cannot be understood end with 2 and say so on stderr only."""
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert "error:" in done.err


def test_moments_are_absolute_or_relative() -> None:
    """ISO 8601 is UTC unless it names a zone; a number with a unit is so long ago."""
    noon = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
    assert moment("2026-01-31T12:00") == moment("2026-01-31T13:00+01:00") == noon
    assert moment("2026-01-31") == noon.replace(hour=0)
    for text, seconds in (("0s", 0), ("90m", 5400), ("24h", 86400), ("7d", 604800)):
        assert abs((utcnow() - moment(text)).total_seconds() - seconds) < LIMIT
    assert [duration(text) for text in ("5s", "2w")] == [5.0, 1209600.0]


# list


def test_list_shows_a_line_each(run: Run, path: str, kept: dict[str, Delivery]) -> None:
    """The newest come first, aligned, each with what an operator looks for."""
    done = run("list", path)
    assert (done.code, done.err) == (0, "")
    head, *lines = done.out.splitlines()
    assert head.split() == ["ID", "AGE", "STATUS", "WEBHOOK", "CHANGE", "ATTEMPTS", "REASON"]
    assert [line.split()[3] for line in lines] == ["off", "late", "bad", "good", "fresh"]
    place = head.index("REASON")
    assert [line[place:] for line in lines[:3]] == [
        "the webhook is disabled",
        "so: pending",
        "so: failed",
    ]
    shown = ["late", "created", "dcim.device", "1", "so:", "pending"]
    assert lines[1].split() == [kept["late"].id, "5m", "pending", *shown]
    assert [line.split()[1] for line in lines] == ["60s", "5m", "3h", "2d", "3d"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--status", "failed"), ["bad"]),
        (("--webhook", "good"), ["good"]),
        (("--model", "dcim.device"), ["late"]),
        (("--error", "timeout"), ["late", "bad"]),
        (("--error", "timeout", "--status", "failed"), ["bad"]),
        (("--since", "24h"), ["off", "late", "bad"]),
        (("--since", "4h", "--until", "2h"), ["bad"]),
        (("--until", "25h"), ["good", "fresh"]),
        (("--text", "so: failed"), ["bad"]),
        (("--text", "Zürich"), ["off", "late", "bad", "good", "fresh"]),
        (("--failing",), ["late"]),
        (("--with-error",), ["late", "bad"]),
        (("--webhook", ""), []),
        (("--limit", "2"), ["off", "late"]),
    ],
)
def test_list_filters(
    run: Run, path: str, kept: dict[str, Delivery], words: tuple[str, ...], found: list[str]
) -> None:
    """Every option narrows what is listed, and all together do."""
    assert listed(run, path, *words) == found


def test_list_pages(run: Run, path: str, kept: dict[str, Delivery]) -> None:
    """The end of each page says how to go on, until there is no more."""
    seen: list[str] = []
    words: list[str] = []
    while True:
        document = json.loads(run("list", path, "--json", "--limit", "2", *words).out)
        seen += [each["webhook"] for each in document["deliveries"]]
        if document["next"] is None:
            break
        text = run("list", path, "--limit", "2", *words).out
        words = ["--after", document["next"]]
        hint = f"There is more. The next page: the same words and {shlex.join(words)}\n"
        assert text.endswith(hint)
    assert seen == ["off", "late", "bad", "good", "fresh"]
    assert "There is more" not in run("list", path, "--limit", "5").out


def test_list_of_nothing(run: Run, path: str, store: SQLiteStore) -> None:
    """When nothing agrees, it ends with 1 and says what there is."""
    none = "no deliveries agree with this filter; the file keeps: "
    assert run("list", path) == (1, f"{none}none\n", "")
    keep(store)
    assert run("list", path, "--status", "failed") == (1, f"{none}1 pending\n", "")
    done = run("list", path, "--status", "failed", "--json")
    assert (done.code, json.loads(done.out)) == (1, {"deliveries": [], "next": None})


def test_list_of_an_unknown_status(run: Run, path: str, store: SQLiteStore) -> None:
    """A status that does not exist is named with those that do."""
    known = "pending, delivering, delivered, failed, skipped"
    done = run("list", path, "--status", "broken")
    assert done == (2, "", f"changehook: --status: unknown; one of {known}\n")


def test_list_for_programs_has_no_payload(run: Run, path: str, kept: dict[str, Delivery]) -> None:
    """With --json each delivery has the fields of an operator, and nothing of the host's data."""
    (found,) = json.loads(run("list", path, "--json", "--status", "failed").out)["deliveries"]
    assert found.pop("created_at") < found.pop("due_at")
    assert found == {
        "id": kept["bad"].id,
        "status": "failed",
        "webhook": "bad",
        "event": "created",
        "model": "site",
        "lease_until": None,
        "attempts": 1,
        "attempt_number": 1,
        "error_class": "timeout",
        "response_status": None,
        "reason": "so: failed",
    }


def test_list_is_cut_to_the_terminal(
    run: Run, path: str, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the reason and long names are cut; an id never is, nor anything without a terminal."""
    delivery = keep(store, webhook="w" * 100, id="i" * 60)
    store.claim(utcnow())
    store.save(delivery.claimed().given_up("for a long reason " * 20))
    monkeypatch.setenv("COLUMNS", "170")
    row = run("list", path).out.splitlines()[1]
    assert len(row) == 170
    assert row.startswith("i" * 60 + "  ")
    assert "w" * 37 + "...  " in row
    assert row.endswith("...")
    monkeypatch.delenv("COLUMNS")
    assert ("for a long reason " * 20).rstrip() in run("list", path).out


def test_wide_characters_keep_columns_aligned() -> None:
    """A character that takes two columns counts as two, a combining one as none."""
    assert table([("東京", "a"), ("e\u0301x", "b"), ("abcd", "c")]) == [
        "東京  a",
        "e\u0301x    b",
        "abcd  c",
    ]
    assert table([("", "東京" * 20)], 20) == ["  東京東京東京東..."]


def test_nothing_that_a_terminal_obeys_is_printed(run: Run, path: str, store: SQLiteStore) -> None:
    """Neither names nor reasons nor what a receiver sent reach the terminal raw."""
    attempt = Attempt(
        number=1,
        started_at=utcnow(),
        duration=0.1,
        method="POST",
        url="https://h/***",
        status=500,
        headers={"X-Note": HOSTILE},
        response_headers={"Server": HOSTILE},
        response_body=f"{HOSTILE}\n\x00end",
        error_class="status",
        error=HOSTILE,
        note=HOSTILE,
        address="127.0.0.1",
    )
    payload = json.dumps({"data": HOSTILE}, ensure_ascii=False)
    names = {"webhook": HOSTILE, "event": HOSTILE, "model": HOSTILE, "payload": payload}
    delivery = keep(store, "failed", attempt, **names)
    store.save(delivery.retried(utcnow()).claimed().given_up(HOSTILE))
    heartbeat = WorkerHeartbeat(
        worker="w", host=HOSTILE, pid=1, threads=1, busy=0, started_at=utcnow(), seen_at=utcnow()
    )
    store.report(heartbeat, [WebhookTally(webhook="a", reason=HOSTILE, reason_at=utcnow())])
    store.disable(DisabledWebhook(webhook=HOSTILE, reason=HOSTILE, at=utcnow()))
    shown = run("show", path, delivery.id).out
    for out in (shown, run("list", path).out, run("stats", path).out):
        assert not {"\x1b", "\u009b", "\u202e", "\r", "\x00"} & set(out)
        assert "\\x1b[2J\\x9b31m\\u202e" in out
        assert not re.search(r"^ *status    delivered", out, re.MULTILINE)
    assert "    | status    delivered\n    | \\x00end" in shown
    for command in ("enable", "disable"):
        assert "\x1b" not in run(command, path, HOSTILE).out


# show


def test_show_tells_everything(run: Run, path: str, store: SQLiteStore) -> None:
    """State, payload, body and each attempt with its request and response are shown."""
    at = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
    attempt = Attempt(
        number=1,
        started_at=at,
        duration=0.25,
        method="POST",
        url="https://h.example/***",
        headers={"Content-Type": "application/json"},
        status=503,
        response_headers={"retry-after": "60"},
        response_body="over\nloaded",
        error_class="status",
        error="the receiver answered 503",
        address="192.0.2.1",
    )
    delivery = keep(store, "failed", attempt, id="msg_x", created_at=at, due_at=at)
    done = run("show", path, delivery.id)
    assert done == (
        0,
        "msg_x\n"
        "  status    failed\n"
        "  reason    so: failed\n"
        "  created   2026-01-01T12:00:00+00:00\n"
        "  webhook   contract\n"
        "  event     created\n"
        "  model     site\n"
        "  attempts  1\n"
        "  body      see below\n"
        "\n"
        "payload\n"
        "  {\n"
        '    "event": "created",\n'
        '    "data": {\n'
        '      "name": "Zürich"\n'
        "    }\n"
        "  }\n"
        "\n"
        "body\n"
        '  | {"rendered": true}\n'
        "\n"
        "attempt 1\n"
        "  time      2026-01-01T12:00:00+00:00\n"
        "  took      0.250 s\n"
        "  error     status: the receiver answered 503\n"
        "  address   192.0.2.1\n"
        "  request   POST https://h.example/***\n"
        "    Content-Type: application/json\n"
        "  response  503\n"
        "    retry-after: 60\n"
        "    | over\n"
        "    | loaded\n",
        "",
    )
    document = json.loads(run("show", path, "msg_x", "--json").out)["delivery"]
    assert document["payload"]["data"] == {"name": "Zürich"}
    assert document["attempts"][0]["response_body"] == "over\nloaded"


def test_show_of_other_states(run: Run, path: str, store: SQLiteStore) -> None:
    """What is still to come is shown as well: when it is due, or until when it is leased."""
    waiting = run("show", path, keep(store, due_at=utcnow()).id).out
    assert re.search(r"^  due       \d{4}-", waiting, re.MULTILINE)
    assert "made at the next attempt" in waiting
    leased = run("show", path, keep(store, "delivering", webhook="b").id).out
    assert re.search(r"^  leased    until \d{4}-", leased, re.MULTILINE)


def test_show_of_a_body_that_is_the_payload() -> None:
    """The body is not repeated, and a payload that is no JSON is shown as it is."""
    delivery = make_delivery(payload="no JSON", body="no JSON")
    text = report(delivery)
    assert "  body      the payload\n" in text
    assert text.count("no JSON") == 1


def test_show_of_what_is_not_there(run: Run, path: str, store: SQLiteStore) -> None:
    """An id that is not kept ends with 1."""
    assert run("show", path, "msg_0") == (1, "", "changehook: no delivery 'msg_0' is kept\n")
    done = run("show", path, "msg_0", "--json")
    assert (done.code, json.loads(done.out)) == (1, {"delivery": None})


# retry and discard


@pytest.mark.parametrize("command", ["retry", "discard"])
@pytest.mark.parametrize(
    "words",
    [(), ("--yes",), ("msg_1", "--all"), ("msg_1", "--failing"), ("--all", "--webhook", "a")],
)
def test_which_deliveries_has_to_be_said_once(
    run: Run, path: str, store: SQLiteStore, command: str, words: tuple[str, ...]
) -> None:
    """Neither ids nor options, or both, ends with 2 and says what to write."""
    done = run(command, path, *words)
    assert (done.code, done.out) == (2, "")
    assert "their ids; or options such as --status failed; or --all" in done.err


def test_retry_by_id(run: Run, path: str, store: SQLiteStore, kept: dict[str, Delivery]) -> None:
    """Ids may stand before and behind options, and are made due without a question."""
    ids = [kept[name].id for name in ("bad", "late")]
    assert run("retry", path, ids[0], "--rerender", ids[1]) == (0, "retried: 2\n", "")
    for delivery_id in ids:
        found = store.get(delivery_id)
        assert found
        assert (found.status, found.attempt_number, found.body) == ("pending", 0, None)
        assert found.due_at <= utcnow()


def test_retry_keeps_the_body(
    run: Run, path: str, store: SQLiteStore, kept: dict[str, Delivery]
) -> None:
    """Without --rerender the same bytes are sent again."""
    assert run("retry", path, "--status", "failed", "--yes").code == 0
    found = store.get(kept["bad"].id)
    assert found
    assert (found.status, found.body) == ("pending", '{"rendered": true}')


def test_retry_by_ids_that_cannot_be_done(
    run: Run, path: str, store: SQLiteStore, kept: dict[str, Delivery]
) -> None:
    """What cannot be done is said, the rest is done, and it ends with 1."""
    busy = keep(store, "delivering", webhook="busy")
    done = run("retry", path, "msg_0", kept["bad"].id, busy.id, "--json")
    document = json.loads(done.out)
    assert (done.code, document["agree"], document["retried"]) == (1, 1, 1)
    assert document["failures"].keys() == {"msg_0", busy.id}
    assert "no delivery 'msg_0' is kept" in done.err
    assert "is being attempted just now" in done.err


def test_retry_by_filter_counts_first(
    run: Run, path: str, store: SQLiteStore, kept: dict[str, Delivery]
) -> None:
    """How many agree is said by status, and that what was delivered is sent again."""
    done = run("retry", path, "--all", "--yes")
    counted = "agree: 5 (2 pending, 1 delivered, 1 failed, 1 skipped)"
    assert (done.code, done.out) == (0, f"{counted}\nretried: 5\n")
    assert "what was delivered is sent once more" in done.err
    assert store.counts()[DeliveryStatus.PENDING] == 5


def test_what_is_being_attempted_is_passed_over(run: Run, path: str, store: SQLiteStore) -> None:
    """When nothing but that agrees, nothing was done, which ends with 1."""
    keep(store, "delivering")
    done = run("retry", path, "--all", "--yes")
    assert done == (1, "agree: 1 (1 delivering)\nretried: 0\n", "")


def test_discard_by_filter(
    run: Run, path: str, store: SQLiteStore, kept: dict[str, Delivery]
) -> None:
    """Exactly what agrees is gone, and the answer for programs is one document."""
    done = run("discard", path, "--error", "timeout", "--yes", "--json")
    assert (done.code, done.err) == (0, "agree: 2 (1 pending, 1 failed)\n")
    by_status = {str(each): 0 for each in DeliveryStatus} | {"pending": 1, "failed": 1}
    assert json.loads(done.out) == {"agree": 2, "by_status": by_status, "discarded": 2}
    assert listed(run, path) == ["off", "good", "fresh"]
    assert run("discard", path, kept["off"].id) == (0, "discarded: 1\n", "")


@pytest.mark.parametrize("command", ["retry", "discard"])
def test_a_dry_run_changes_nothing(
    run: Run, path: str, store: SQLiteStore, kept: dict[str, Delivery], command: str
) -> None:
    """--dry-run only counts, by filter and by id."""
    bad = kept["bad"]
    done = run(command, path, "--status", "failed", "--dry-run")
    assert done == (0, "agree: 1 (1 failed)\n", "")
    assert run(command, path, "--dry-run", bad.id) == (0, "agree: 1\n", "")
    assert run(command, path, "--dry-run", bad.id, "msg_0").code == 1
    document = json.loads(run(command, path, "--failing", "--dry-run", "--json").out)
    assert document["agree"] == 1
    assert store.get(bad.id) == bad
    assert sum(store.counts().values()) == 5


@pytest.mark.parametrize("command", ["retry", "discard"])
def test_nothing_agrees(run: Run, path: str, store: SQLiteStore, command: str) -> None:
    """A filter that nothing agrees with ends with 1, without a question."""
    done = run(command, path, "--status", "failed")
    assert done == (1, "no deliveries agree with this filter; the file keeps: none\n", "")


@pytest.mark.parametrize("command", ["retry", "discard"])
def test_nobody_can_be_asked(
    run: Run, path: str, store: SQLiteStore, kept: dict[str, Delivery], command: str
) -> None:
    """Without a terminal, bulk work needs --yes."""
    done = run(command, path, "--status", "failed")
    assert done.code == 2
    assert "add --yes" in done.err
    assert store.get(kept["bad"].id) == kept["bad"]


def at_terminal(words: list[str], typed: str) -> tuple[int, str]:
    """Run a command at a terminal; return its code and what the terminal got."""
    parent, child = pty.openpty()
    command = [sys.executable, "-W", "error", "-m", "changehook", "queue", *words]
    os.write(parent, typed.encode())
    with subprocess.Popen(command, stdin=child, stdout=child, stderr=child) as process:
        os.close(child)
        shown = b""
        while piece := _read(parent):
            shown += piece
        code = process.wait(LIMIT)
    os.close(parent)
    return code, shown.decode()


def _read(parent: int) -> bytes:
    try:
        return os.read(parent, 65536)
    except OSError:  # the other end was closed
        return b""


@pytest.mark.parametrize(("typed", "code", "left"), [("y\n", 0, 0), ("\n", 1, 1), ("no\n", 1, 1)])
def test_at_a_terminal_it_asks(
    path: str, store: SQLiteStore, typed: str, code: int, left: int
) -> None:
    """Only a yes goes on; anything else changes nothing and ends with 1."""
    keep(store, "failed", timeout())
    done, shown = at_terminal(["discard", path, "--status", "failed"], typed)
    assert done == code
    assert "agree: 1 (1 failed)" in shown
    assert "1 deliveries will be discarded. Go on? [y/N] " in shown
    assert ("nothing was changed" in shown) == bool(left)
    assert store.counts()[DeliveryStatus.FAILED] == left


def test_long_work_shows_how_far_it_is(path: str, store: SQLiteStore) -> None:
    """At a terminal a bar grows with each page, and stays when all is done."""
    store.add([make_delivery() for _ in range(1200)])
    code, shown = at_terminal(["retry", path, "--all", "--yes"], "")
    assert code == 0
    bars = re.findall(r"\r\[(#* *)\] (\d+)/1200", shown)
    assert bars == [
        ("#" * 8 + " " * 12, "500"),
        ("#" * 16 + " " * 4, "1000"),
        ("#" * 20, "1200"),
    ]
    assert shown.endswith("1200/1200\r\nretried: 1200\r\n")


def test_without_a_terminal_there_is_no_bar(run: Run, path: str, store: SQLiteStore) -> None:
    """A log file gets no bar."""
    store.add([make_delivery() for _ in range(printing.LONG_WORK + 1)])
    done = run("discard", path, "--all", "--yes")
    assert done == (0, "agree: 501 (501 pending)\ndiscarded: 501\n", "")


# stats


def test_stats_of_nothing(run: Run, path: str, store: SQLiteStore) -> None:
    """An empty file has its figures too."""
    assert run("stats", path) == (
        0,
        "deliveries      pending 0   delivering 0   delivered 0   failed 0   skipped 0\n"
        "oldest due      nothing is due\n"
        "\n"
        "the last 24 hours: none\n"
        "\n"
        "workers: none\n"
        "\n"
        "changes that webhooks were asked about: none\n",
        "",
    )


def test_stats_tell_how_it_fares(
    run: Run, path: str, store: SQLiteStore, kept: dict[str, Delivery]
) -> None:
    """Counts, lateness, outcomes, workers, webhooks, and which of them are disabled."""
    for pid, threads, seen in ((1, 8, ago(seconds=5)), (2, 8, ago(hours=5)), (3, 0, utcnow())):
        heartbeat = WorkerHeartbeat(
            worker=f"w{pid}",
            host="web-1",
            pid=pid,
            threads=threads,
            busy=0,
            started_at=ago(days=1),
            seen_at=seen,
        )
        store.report(heartbeat, [])
    tally = WebhookTally(
        webhook="good", matched=3, not_matched=2, unresolvable=1, reason="so", reason_at=utcnow()
    )
    store.report(None, [tally])
    store.disable(DisabledWebhook(webhook="off", reason="moves house", at=kept["off"].created_at))
    out = run("stats", path).out
    assert "pending 2   delivering 0   delivered 1   failed 1   skipped 1\n" in out
    assert "oldest due      for 5m\n" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["delivered", "1", "0.250", "s", "0.250", "s"] in rows
    assert ["failed", "1", "15.000", "s", "15.000", "s"] in rows
    assert [row[:5] for row in rows if "web-1" in row] == [
        ["alive", "web-1", "1", "8", "0"],
        ["dead", "web-1", "2", "8", "0"],
        ["stopped", "web-1", "3", "0", "0"],
    ]
    assert ["good", "3", "2", "1", "so"] in rows
    assert ["off", kept["off"].created_at.isoformat(), "moves", "house"] in rows
    document = json.loads(run("stats", path, "--json").out)
    assert document["counts"]["pending"] == 2
    assert [each["webhook"] for each in document["disabled"]] == ["off"]


# purge, enable, disable


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ((), ["off", "late", "bad", "good", "fresh"]),
        (("--delivered", "24h"), ["off", "late", "bad", "fresh"]),
        (("--failed", "2h", "--delivered", "forever"), ["off", "late", "good", "fresh"]),
        (("--delivered", "1s", "--failed", "1s"), ["late", "fresh"]),
    ],
)
def test_purge_removes_what_is_finished_and_old(
    run: Run, path: str, kept: dict[str, Delivery], words: tuple[str, ...], left: list[str]
) -> None:
    """Nothing that is pending goes, and a dry run says beforehand how many will."""
    gone = 5 - len(left)
    assert run("purge", path, *words, "--dry-run") == (0, f"agree: {gone}\n", "")
    done = run("purge", path, *words, "--json")
    assert (done.code, json.loads(done.out)) == (0, {"agree": gone, "removed": gone})
    assert listed(run, path) == left


def test_purge_keeps_a_number(run: Run, path: str, store: SQLiteStore) -> None:
    """--count keeps the newest of each status."""
    for hour in range(3):
        keep(store, "failed", timeout(), webhook=f"w{hour}", created_at=ago(hours=hour))
    assert run("purge", path, "--count", "1", "--dry-run").out == "agree: 2\n"
    assert run("purge", path, "--count", "1") == (0, "removed: 2\n", "")
    assert listed(run, path) == ["w0"]


def test_a_webhook_is_disabled_and_enabled(run: Run, path: str, store: SQLiteStore) -> None:
    """Both say what becomes of what is skipped, and end with 1 when nothing changes."""
    retry = f"changehook queue retry {shlex.quote(path)} --status skipped --webhook 'a b'"
    done = run("disable", path, "a b", "--reason", "moves house")
    assert (done.code, store.disabled()["a b"].reason) == (0, "moves house")
    assert done.out.endswith(f"can be retried: {retry}\n")
    again = run("disable", path, "a b")
    assert again.code == 1
    assert again.out.endswith(": moves house\n")
    done = run("enable", path, "other")
    assert done == (1, "other was not disabled; disabled are: a b\n", "")
    done = run("enable", path, "a b")
    assert (done.code, store.disabled()) == (0, {})
    assert done.out.endswith(f"can be retried: {retry}\n")
    document = json.loads(run("disable", path, "slack", "--json").out)
    assert document == {"webhook": "slack", "changed": True}
    assert store.disabled()["slack"].reason == "by hand"


def test_as_a_user_starts_it(path: str, store: SQLiteStore) -> None:
    """``python -m changehook queue list`` works, also with an output that holds ASCII only."""
    keep(store, webhook="café")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "changehook", "queue", "list", path],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "caf\\xe9" in done.stdout


def test_the_file_of_another_program_is_left_alone(run: Run, path: str) -> None:
    """Looking at a database that is none of ours changes no byte of it, nor how it is written."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = Path(path).read_bytes()
    done = run("list", path)
    assert done.code == 2
    assert "is a database of another program" in done.err
    assert Path(path).read_bytes() == before


def test_an_attempt_without_an_answer_has_no_response() -> None:
    """Nor one whose answer had no body a line for it."""
    lost = make_delivery().claimed().lease_expired(utcnow())
    assert "response" not in report(lost)
    silent = Attempt(number=1, started_at=utcnow(), duration=0.1, status=204)
    decision = Decision(status=DeliveryStatus.DELIVERED)
    assert "response  204" in report(make_delivery().claimed().after(silent, decision))
