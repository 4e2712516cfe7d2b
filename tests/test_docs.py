"""What the documentation says is so: every name, table and document, and the tutorial as typed."""

from __future__ import annotations

import inspect
import ipaddress
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs
import pytest
from jinja2.runtime import LoopContext

import changehook
import changehook.testing
import changehook.web
from changehook import (
    Emitter,
    InMemoryQueue,
    SQLiteStore,
    ThreadPoolQueue,
    answers,
    budget,
    cli,
    compiler,
    definitions,
    errors,
    filters,
    grammar,
    idle,
    lookups,
    network,
    payload,
    regexscreen,
    retries,
    sandbox,
    signing,
    sockets,
    sources,
    templates,
    verify,
)
from changehook.conditions import Conditions
from changehook.deliveries import DeliveryStatus
from changehook.encoding import decode_strict
from changehook.errors import AttemptError, BlockedError, ChangehookError
from changehook.evaluation import OPERATORS
from changehook.models import Change
from changehook.network import NetworkPolicy, destination
from changehook.signing import SCHEMES
from changehook.sources import load_webhooks
from changehook.web import wsgi
from changehook.webhooks import Webhook

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^\.\. auto(?:class|exception|function|data):: ([\w.]+)$", re.MULTILINE)
BANNER = re.compile(r"Listening on port http://localhost:([0-9]+)\.")
LIMIT = 60.0

ENTRIES = {
    name for page in REFERENCE.glob("*.md") for name in ENTRY.findall(page.read_text("utf-8"))
}
ERRORS = sorted(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, ChangehookError)
)


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """Return the first table under a heading: the cells of each row, by its first cell."""
    under = rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)"
    section = re.search(under, text, re.MULTILINE | re.DOTALL)
    assert section, f"no heading {heading}"
    lines = [line for line in section[1].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    return {first.strip("`"): rest for first, *rest in cells}


def blocks(language: str) -> list[Any]:
    """Return every fenced block of a language, each as a parameter named after its place."""
    return [
        pytest.param(match[2], id=f"{path.name}:{text.count(chr(10), 0, match.start()) + 1}")
        for path in PAGES
        for text in [path.read_text(encoding="utf-8")]
        for match in FENCE.finditer(text)
        if match[1] == language
    ]


@pytest.mark.parametrize(
    "name",
    [
        *(f"changehook.{name}" for name in changehook.__all__),
        *(f"changehook.testing.{name}" for name in changehook.testing.__all__),
        *(f"changehook.web.{name}" for name in changehook.web.__all__),
    ],
)
def test_every_public_name_has_its_entry_in_the_reference(name: str) -> None:
    """A name that can be imported from the package is documented under that name."""
    assert name in ENTRIES


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_has_its_entry_and_its_row(name: str) -> None:
    """An error is documented, and the table says rightly whether a retry helps."""
    assert ENTRIES & {f"changehook.{name}", f"changehook.errors.{name}"}
    retryable = "yes" if getattr(errors, name).retryable else "no"
    assert rows(page("errors"), "Errors")[name][-1] == retryable


def test_the_table_of_fields_is_that_of_a_webhook() -> None:
    """Every field of a definition has its row, in order, with its default."""
    fields = [field for field in attrs.fields(Webhook) if field.init]
    table = rows(page("webhooks"), "Fields")
    assert list(table) == [field.name for field in fields]
    webhook = Webhook(name="x", object_types=["x"], events=["x"], url="https://receiver.example/")
    document = webhook.to_dict(reveal=True)
    document["additional_headers"] = ""  # a definition makes an object of the text
    for field in fields:
        shown = table[field.name][1].strip("`")
        if field.default is attrs.NOTHING:
            assert shown == "required"
        else:
            assert decode_strict(shown) == document[field.name], field.name


def test_the_table_of_operators_is_complete() -> None:
    """Every operator of the condition language has its row, and no other has one."""
    assert list(rows(page("conditions"), "Operators")) == list(OPERATORS)


def test_the_table_of_limits_is_right() -> None:
    """The limits of the condition language are those that are checked."""
    documented = [cells[0].split()[0] for cells in rows(page("conditions"), "Limits").values()]
    assert list(map(int, documented)) == [
        grammar.DEPTH,
        grammar.CONDITIONS,
        grammar.SEGMENTS,
        grammar.LONGEST_LIST,
        grammar.VALUE_BYTES,
        grammar.INTEGER_BITS,
        regexscreen.LONGEST_SUBJECT,
    ]


def test_the_tables_of_statuses_and_error_classes_are_complete() -> None:
    """Every status and every class of error has its row, and retryable ones say so."""
    assert list(rows(page("deliveries"), "Statuses")) == [str(status) for status in DeliveryStatus]
    table = rows(page("deliveries"), "What an attempt can meet")
    classes = {cls.error_class: cls.retryable for cls in AttemptError.__subclasses__()}
    assert table.keys() == {"none", "status", "lost", *classes}
    for error_class, retryable in classes.items():
        assert table[error_class][-1] == ("yes" if retryable else "no")


def test_the_table_of_the_schedule_is_right() -> None:
    """The documented delays are those of the default policy."""
    table = rows(page("deliveries"), "Schedule")
    assert [int(cells[-1]) for cells in table.values()] == list(retries.DEFAULT_SCHEDULE)


def test_the_table_of_signatures_is_complete() -> None:
    """Every scheme has its row."""
    assert list(rows(page("requests"), "Signatures")) == list(SCHEMES)


@pytest.mark.parametrize(
    ("rule", "address", "opened"),
    [
        (rule, address, opened)
        for rule, (addresses, opened) in rows(page("network"), "Rules").items()
        for address in re.findall(r"`([^`]+)`", addresses)
    ],
)
def test_the_table_of_network_rules_is_right(rule: str, address: str, opened: str) -> None:
    """Every documented range is closed by the rule that it stands beside, and opened as it says."""
    here = destination("https://hooks.internal/")
    every = ipaddress.ip_network(address)
    wide = f"{'::' if every.version == 6 else '0.0.0.0'}/0"
    some = str(every[min(0x08080808, every.num_addresses - 1)])
    with pytest.raises(BlockedError, match=re.escape(f"is {rule}")):
        NetworkPolicy().check(some, here)
    NetworkPolicy(allow=[address]).check(some, here)
    for policy in (NetworkPolicy.internal(), NetworkPolicy(allow=["hooks.internal", wide])):
        by_address = pytest.raises(BlockedError) if "by address" in opened else nullcontext()
        with by_address:
            policy.check(some, here)


def test_the_list_of_filters_is_complete() -> None:
    """Every filter that templates have is named, and no other."""
    section = re.search(r"^## Filters\n(.*?)^## ", page("templates"), re.MULTILINE | re.DOTALL)
    assert section
    assert set(re.findall(r"`([a-z_]+)`", section[1])) == set(templates.FILTERS)


def test_the_reference_lists_every_test_and_method_of_templates() -> None:
    """The allow-lists of the sandbox are those of the reference."""
    text = page("templates")
    tests = text.partition("## Tests")[2].partition("## ")[0]
    assert set(re.findall(r"`([a-z!=<>]+)`", tests)) == set(filters.TESTS)
    methods = text.partition("## Functions and methods")[2].partition("All of Jinja2's")[0]
    listed = [
        set(re.findall(r"`([a-z0]+)`", row.split("|")[2]))
        for row in methods.splitlines()
        if row.startswith("| ") and not row.startswith("| of |")
    ]
    kinds = (str, dict, list, tuple, LoopContext)
    assert listed == [sandbox.open_names(kind) for kind in kinds]


def test_the_security_policy_states_every_limit() -> None:
    """The numbers in the table of SECURITY.md are those of the code, in their order."""
    table = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## Limits")[2]
    cells = re.findall(r"^\|[^|]+\| ([0-9,]+)[^|]*\|", table, re.MULTILINE)
    assert [int(cell.replace(",", "")) for cell in cells] == [
        parameter(Emitter, "timeout"),
        definitions.LONGEST_TIMEOUT,
        sockets.CONNECT_SECONDS,
        sockets.MAX_ADDRESSES,
        lookups.MAX_LOOKUPS,
        0,
        sockets.HEAD_LIMIT,
        sockets.BODY_LIMIT,
        answers.KEPT_BODY,
        answers.KEPT_HEADERS,
        answers.MAX_HEADERS,
        payload.LONGEST_PAYLOAD,
        payload.LONGEST_BODY,
        network.LONGEST_URL,
        templates.MOST_HEADERS,
        templates.LONGEST_HEADER,
        templates.LONGEST_HEADERS,
        templates.LONGEST_SOURCE,
        compiler.MOST_NODES,
        budget.FUEL,
        budget.FUEL // 10,
        budget.FUEL // templates.MOST_HEADERS,
        budget.LONGEST_TEXT,
        budget.MOST_PARTS,
        budget.DEEPEST,
        budget.MOST_BITS,
        budget.LARGEST_ARGUMENT,
        budget.DEEPEST_CALLS,
        grammar.CONDITIONS,
        grammar.DEPTH,
        grammar.LONGEST_LIST,
        grammar.VALUE_BYTES,
        regexscreen.LONGEST_SUBJECT,
        sources.LARGEST_FILE,
        sources.LARGEST_TOML,
        sources.MOST_WEBHOOKS,
        parameter(InMemoryQueue, "capacity"),
        parameter(SQLiteStore, "capacity"),
        parameter(ThreadPoolQueue, "workers"),
        idle.MAX_IDLE_IN_ALL,
        idle.IDLE_SECONDS,
        wsgi.LONGEST_FORM,
        wsgi.MOST_FIELDS,
        signing.MOST_SIGNATURES,
        parameter(verify, "tolerance"),
    ]


def parameter(function: Any, name: str) -> Any:
    """Return the default of a parameter."""
    return inspect.signature(function).parameters[name].default


def test_the_reference_states_every_limit_of_templates() -> None:
    """The table of limits holds what the code holds."""
    table = page("templates").partition("## Budget")[2].partition("A part of")[0]
    stated = [int(each.replace(",", "")) for each in re.findall(r"\| ([0-9,]+) \|", table)]
    assert stated == [
        budget.FUEL,
        budget.FUEL // 10,
        budget.FUEL // templates.MOST_HEADERS,
        budget.LONGEST_TEXT,
        budget.LONGEST_TEXT,
        budget.MOST_PARTS,
        budget.MOST_PARTS,
        budget.DEEPEST,
        budget.MOST_BITS,
        budget.LARGEST_ARGUMENT,
        budget.DEEPEST_CALLS,
        templates.LONGEST_SOURCE,
        compiler.MOST_NODES,
    ]


def test_every_command_and_option_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """The tables of the command line name every command and every option, and no others."""
    commands = commands_of(capsys)
    assert {"demo", "queue list", "worker"} <= set(commands)
    table = rows(page("command-line"), "Command line")
    assert [re.sub(r" [A-Z(].*", "", row) for row in table] == commands
    helps = {name: help_of(capsys, *name.split()) for name in commands}
    options = {name: set(re.findall(r"--[a-z-]+", text)) for name, text in helps.items()}
    documented = rows(page("command-line"), "Options")
    for row, (where, _) in documented.items():
        option = row.split()[0]
        of = [name for name in commands if option in options[name]]
        assert of == (commands if where == "every command" else re.findall(r"`([a-z ]+)`", where))
    assert {row.split()[0] for row in documented} >= {"--help", *set().union(*options.values())}


def commands_of(capsys: pytest.CaptureFixture[str], *above: str) -> list[str]:
    """Return the commands in the order of the help, each with those that it stands under."""
    names = re.findall(r"^    (\w+)  ", help_of(capsys, *above), re.MULTILINE)
    inner = [commands_of(capsys, *above, name) or [" ".join((*above, name))] for name in names]
    return [name for below in inner for name in below]


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("text", blocks("json"))
def test_every_json_document_is_what_it_seems(text: str) -> None:
    """Webhooks, conditions and changes that the documentation shows can be built as they stand."""
    document = decode_strict(text)
    if "webhooks" in document:
        assert [Webhook.from_dict(each) for each in document["webhooks"]]
    elif "url" in document:
        Webhook.from_dict(document)
    elif "event" in document:
        Change.from_dict(document)
    else:
        Conditions(document)


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_toml_document_can_be_loaded(text: str, tmp_path: Path) -> None:
    """Webhooks that the documentation shows as TOML can be loaded as they stand."""
    path = tmp_path / "webhooks.toml"
    path.write_text(text, encoding="utf-8")
    assert load_webhooks(path)


def test_the_readme_is_a_first_page() -> None:
    """The README stays short, and what it links to is there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_test_that_a_promise_names_is_there() -> None:
    """The table of promises leads to tests that exist."""
    text = (DOCS / "explanation" / "delivery-guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 10
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_only_the_tutorial_leaves_examples_to_another_test() -> None:
    """Every Python example runs where it stands, but for the files that the tutorial has saved.

    Another may be skipped where its server is missing, and then says so.
    """
    texts = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
    allowed = re.compile(r"skip: (?:start if\(servers\.program\(\) is None, reason=|end)")
    skipping = [name for name, text in texts.items() if "skip:" in allowed.sub("", text)]
    assert skipping == ["tutorial.md"]


STEP = re.compile(
    r"Save this as\s+`([\w.]+)`:\s+(?:<!---.*?-->\s+)?```\w+\n(.*?)^```$"
    r"|^```(console|text)\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Reader:
    """Types the tutorial in: saves its files, runs its commands, and looks at both terminals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = "9000"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        self.environment = {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.receiver: subprocess.Popen[str] | None = None
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def follow(self, text: str) -> int:
        """Follow every step and return how many there were."""
        steps = list(STEP.finditer(text))
        for name, content, kind, block in (step.groups() for step in steps):
            if name:
                (self.folder / name).write_text(self.here(content), encoding="utf-8")
            elif kind == "console":
                self.type(block)
            else:
                assert sorted(parts(self.received(block.count("\n----")))) == sorted(parts(block))
        return len(steps)

    def here(self, text: str) -> str:
        return text.replace("localhost:9000", f"localhost:{self.port}")

    def type(self, block: str) -> None:
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            words = shlex.split(command)
            if words[0] == "export":
                name, _, value = words[1].partition("=")
                self.environment[name] = value
            elif words[:2] == ["changehook", "receiver"]:
                self.listen(words[1:])
            elif "install" not in words:
                assert stable(self.run(words)).rstrip() == stable(shown).rstrip(), command

    def run(self, words: list[str]) -> str:
        program = ["-m", "changehook"] if words[0] == "changehook" else []
        extra = ["-p", "no:cacheprovider"] if "pytest" in words else []
        done = subprocess.run(
            [sys.executable, *program, *words[1:], *extra],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def listen(self, words: list[str]) -> None:
        """Start the receiver in the first terminal, stopping the one before it."""
        self.stop()
        port = "0" if self.port == "9000" else self.port
        command = [sys.executable, "-m", "changehook", *words, "--port", port]
        self.receiver = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        self.watcher = threading.Thread(target=self.watch, args=(self.receiver.stdout,))
        self.watcher.start()
        banner = BANNER.match(self.lines.get(timeout=LIMIT))
        assert banner
        self.port = banner[1]

    def watch(self, terminal: Iterable[str]) -> None:
        for line in terminal:
            self.lines.put(line)

    def received(self, count: int) -> str:
        """Return the next requests that the receiver printed."""
        text = ""
        while text.count("\n----") < count:
            text += self.lines.get(timeout=LIMIT)
        return text

    def stop(self) -> None:
        if self.receiver is not None:
            self.receiver.terminate()
            self.watcher.join(LIMIT)
            with self.receiver:
                self.receiver.wait(LIMIT)


def parts(text: str) -> list[str]:
    """Return the requests in what the receiver printed, as the same in every run."""
    return stable(text).split("------------\n")


CHANGING = {
    r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT": "DATE",
    r"^\[\d+\]": "[N]",
    r"localhost:\d+": "localhost:PORT",
    r"changehook/[\w.]+": "changehook/RELEASE",
    r"msg_[0-9a-f]{32}": "ID",
    r"webhook-timestamp: \d+": "webhook-timestamp: SECONDS",
    r'"timestamp":"[^"]+"': '"timestamp":"MOMENT"',
    r"Content-Length: \d+": "Content-Length: BYTES",
    r"v1,[\w+/]{43}=": "v1,SIGNATURE",
    r"in \d+\.\d\ds": "in SECONDS",
    r"[ \t]+$": "",
}


def stable(text: str) -> str:
    """Replace what differs from run to run."""
    for pattern, name in CHANGING.items():
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Someone with an empty directory and two terminals."""
    reader = Reader(tmp_path)
    yield reader
    reader.stop()


def test_the_tutorial_can_be_typed_in(reader: Reader) -> None:
    """Every file, command and output of the tutorial is as it says."""
    assert reader.follow((DOCS / "tutorial.md").read_text(encoding="utf-8")) > 15
