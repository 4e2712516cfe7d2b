"""What the tests of definitions run in the jail: hostile documents, files and Python objects."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from changehook import Change, Conditions, ConfigurationError, FileSource, Webhook, WebhookRegistry
from changehook.cli import main
from changehook.sources import load_webhooks

LEAF = {"attr": "status", "value": "active"}
MINIMAL = {
    "name": "w",
    "object_types": ["site"],
    "events": ["created"],
    "url": "https://receiver.example/hook",
}


def nested(kind: str, depth: int, inside: Any) -> Any:
    """Return a document wrapped many times: in sets, in lists or in objects."""
    for _ in range(depth):
        inside = [inside] if kind == "list" else {kind: [inside]}
    return inside


def _cycle() -> dict[str, Any]:
    document: dict[str, Any] = {"and": []}
    document["and"].append(document)
    return document


def _value_cycle() -> dict[str, Any]:
    value: list[Any] = []
    value.append([value])
    return {"attr": "a", "op": "in", "value": value}


def _shared(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = dict(LEAF)
    for _ in range(depth):
        document = {"or": [document, document]}
    return document


def _shared_value(depth: int) -> dict[str, Any]:
    value: list[Any] = ["x"]
    for _ in range(depth):
        value = [value, value]
    return {"attr": "a", "value": value}


class Liar(dict[str, Any]):
    """An object that shows a harmless document to whoever uses its methods."""

    def __iter__(self) -> Iterator[str]:
        return iter(LEAF)

    def __getitem__(self, key: str) -> Any:
        return LEAF[key]

    def __contains__(self, key: object) -> bool:
        return key in LEAF

    def keys(self) -> Any:
        return LEAF.keys()

    def items(self) -> Any:
        return LEAF.items()

    def get(self, key: str, default: Any = None) -> Any:
        return LEAF.get(key, default)


class Endless(list[Any]):
    """A list that never ends for whoever walks it."""

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(LEAF)

    def __len__(self) -> int:
        return 1


class Raising(list[Any]):
    """A list that raises for whoever walks it."""

    def __iter__(self) -> NoReturn:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # as every list


class Text(str):
    """Text that says it is another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "harmless"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("harmless")

    def lower(self) -> str:
        raise RuntimeError

    def encode(self, *_: Any) -> bytes:
        return b""

    def count(self, *_: Any) -> int:
        return 0


def refused_conditions() -> dict[str, Callable[[], Any]]:
    """Return how to make documents of conditions that are refused."""

    def leaf(**more: Any) -> Callable[[], Any]:
        return lambda: {**LEAF, **more}

    made: dict[str, Callable[[], Any]] = {
        "100,000 sets": lambda: nested("and", 100_000, LEAF),
        "100,000 alternating": lambda: nested("or", 50_000, nested("and", 50_000, LEAF)),
        "100,000 lists": lambda: {"attr": "a", "value": nested("list", 100_000, 1)},
        "100,000 objects": lambda: {"attr": "a", "value": [nested("x", 100_000, 1)]},
        "a set that holds itself": _cycle,
        "a value that holds itself": _value_cycle,
        "2^60 shared sets": lambda: _shared(60),
        "2^60 shared values": lambda: _shared_value(60),
        "a million conditions": lambda: {"and": [LEAF] * 1_000_000},
        "a million faults": lambda: {"and": [{"and": []}] * 1_000_000},
        "a million keys": lambda: {f"k{n}": 1 for n in range(1_000_000)},
        "a million keys beside a set": lambda: {"or": [LEAF], **{str(n): 1 for n in range(10**6)}},
        "a million bad keys each": lambda: {"or": [{f"{n}": 1 for n in range(4_000)}] * 256},
        "a key of ten million": lambda: {"x" * 10**7: 1},
        "an operator of ten million": leaf(op="x" * 10**7),
        "a value of ten million": leaf(value="x" * 10**7),
        "a value of a million": leaf(value=[1] * 10**6),
        "a path of ten million": leaf(attr="a." * 10**7),
        "NaN": leaf(value=math.nan),
        "NaN in a list": leaf(op="in", value=[1, math.nan]),
        "infinity": leaf(op="gt", value=math.inf),
        "minus infinity": leaf(op="lt", value=-math.inf),
        "an integer of 10,000 digits": leaf(op="gt", value=10**10_000),
        "an integer of a million digits": leaf(value=1 << 3_300_000),
        "an integer of 1,025 bits": leaf(value=1 << 1_024),
        "bytes": leaf(value=b"active"),
        "a tuple": leaf(op="in", value=("a", "b")),
        "a set": leaf(op="in", value={"a"}),
        "a generator": leaf(op="in", value=(n for n in range(3))),
        "a function": leaf(value=len),
        "complex": leaf(op="gt", value=1j),
        "a boolean for a number": leaf(op="gte", value=False),
        "text for a number": leaf(op="lte", value="5"),
        "null for contains": leaf(op="contains", value=None),
        "an object": leaf(value={"a": 1}),
        "an object for in": leaf(op="in", value={"a": 1}),
        "keys that are no text": leaf(op="in", value=[{1: 2}]),
        "a number for regex": leaf(op="regex", value=5),
        "a list for regex": leaf(op="regex", value=["a"]),
        "a value for changed": leaf(op="changed"),
        "no value": lambda: {"attr": "a"},
        "no attr": lambda: {"value": 1},
        "nothing": dict,
        "two sets": lambda: {"and": [LEAF], "or": [LEAF]},
        "a set and a condition": lambda: {"and": [LEAF], **LEAF},
        "an upper-case set": lambda: {"OR": [LEAF]},
        "an empty or": lambda: {"or": []},
        "an empty set inside": lambda: {"or": [LEAF, {"and": []}]},
        "null in a set": lambda: {"and": [None]},
        "text in a set": lambda: {"and": ["status"]},
        "an object for a set": lambda: {"or": {"0": LEAF}},
        "a tuple for a set": lambda: {"or": (LEAF,)},
        "a generator for a set": lambda: {"or": iter([LEAF])},
        "bytes for a document": lambda: b"{}",
        "a list for a document": lambda: [LEAF],
        "a number for a document": lambda: 5,
        "a mapping that is no dictionary": lambda: types.MappingProxyType(LEAF),
        "negate 0": leaf(negate=0),
        "negate text": leaf(negate="true"),
        "negate a list": leaf(negate=[]),
        "op null": leaf(op=None),
        "op a list": leaf(op=["eq"]),
        "op a dunder": leaf(op="__class__"),
        "op with a space": leaf(op="eq "),
        "attr null": leaf(attr=None),
        "attr bytes": leaf(attr=b"status"),
        "attr a surrogate": leaf(attr="a\udc80"),
        "value a surrogate": leaf(value=["\ud83d"]),
        "a key that is a number": lambda: {**LEAF, 1: 2},
        "a key that is null": lambda: {**LEAF, None: 2},
        "a key that is a tuple": lambda: {**LEAF, (): 2},
        "a key with a line break": lambda: {**LEAF, "op\n": "eq"},
        "a key with a space": lambda: {**LEAF, "op ": "eq"},
        "an object that lies": lambda: Liar(attr=5, value=object()),
        "a set that lies": lambda: {"and": [Liar(and_=1)]},
        "values that raise": leaf(op="in", value=Raising([object()])),
        "values that never end": leaf(op="in", value=Endless([1])),
        "256 patterns at the limit": lambda: {
            "or": [{"attr": "a", "op": "regex", "value": ".*a.*b.*c"}] * 256
        },
        "256 long patterns": lambda: {
            "or": [{"attr": "a", "op": "regex", "value": "(?:ab|cd)" * 450}] * 256
        },
    }
    return made


def conditions(name: str) -> str:
    """Return what refuses one of those documents."""
    try:
        Conditions(refused_conditions()[name]())
    except ConfigurationError as error:
        return str(error)
    return ""


def conditions_text(prefix: str, repeated: str, times: int, suffix: str = "") -> str:
    """Return what refuses a text of JSON."""
    try:
        Conditions.from_json(prefix + repeated * times + suffix)
    except ConfigurationError as error:
        return str(error)
    return ""


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)


def _full(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write('{"webhooks": [')
        for _ in range(1_000):
            file.write(f"{json.dumps(MINIMAL)}," * 1_000)


def _many(count: int, **changes: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        items = ({**changes, "name": str(n)} for n in range(count))
        path.write_text(json.dumps({"webhooks": list(items)}, separators=(",", ":")))

    return write


def _write(data: bytes | Callable[[], bytes], path: Path) -> None:
    path.write_bytes(data if isinstance(data, bytes) else data())


def _bytes(data: bytes | Callable[[], bytes]) -> Callable[[Path], None]:
    return partial(_write, data)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    other = path.with_name("other")
    path.symlink_to(other)
    other.symlink_to(path)


def _unreadable(path: Path) -> None:
    path.symlink_to("/proc/self/mem")


JSON_TEXT = json.dumps({"webhooks": [MINIMAL]})
DUPLICATES = {
    "at the top": '{"webhooks": [], "webhooks": []}',
    "in a webhook": JSON_TEXT.replace('"name": "w"', '"name": "w", "name": "v"'),
    "in conditions": '[{"conditions": {"or": [{"attr": "a", "op": "eq", "op": "in"}]}}]',
    "in a value": '[{"conditions": {"attr": "a", "value": [{"b": {"c": 1, "c": 2}}]}}]',
    "in headers": '[{"additional_headers": {"X-A": "1", "X-A": "2"}}]',
    "by an escape": '[{"na\\u006de": "a", "name": "b"}]',
}
MEG = 1024 * 1024
Writer = Callable[[Path], None]
FILES: dict[str, tuple[str, Writer, str]] = {
    "100 MB, sparse": ("a.json", _sparse, "longer than 4194304 bytes"),
    "100 MB of webhooks": ("a.json", _full, "longer than 4194304 bytes"),
    "100 MB of TOML": ("a.toml", _sparse, "longer than 2097152 bytes"),
    "2^20 lists": ("a.json", _bytes(b"[" * (MEG)), "nested too deeply"),
    "100,000 objects": ("a.json", _bytes(b'{"a":' * 100_000), "nested too deeply"),
    "closed lists": ("a.json", _bytes(b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
    "a wide list": ("a.json", _bytes(b"[" + b"[]," * 1_390_000 + b"[]]"), "holds at most 10000"),
    "a wide object": (
        "a.json",
        _bytes(lambda: json.dumps({str(n): 1 for n in range(300_000)}).encode()),
        "unknown field",
    ),
    "a wide object, a key twice": (
        "a.json",
        _bytes(lambda: json.dumps({str(n): 1 for n in range(300_000)}).encode()[:-1] + b',"9":1}'),
        'the key "9" stands twice',
    ),
    "a key of a megabyte twice": (
        "a.json",
        _bytes(b'{"' + b"k" * 1_900_000 + b'":1,"' + b"k" * 1_900_000 + b'":2}'),
        "stands twice",
    ),
    "TOML lists": ("a.toml", _bytes(b"a = " + b"[" * 100_000), "nested too deeply"),
    "TOML tables": ("a.toml", _bytes(b"a = " + b"{a=" * 100_000), "nested too deeply"),
    "TOML names": ("a.toml", _bytes(b"a." * 100_000 + b"a = 1"), "more than 8 names"),
    "TOML header": ("a.toml", _bytes(b"[" + b"a." * 100_000 + b"a]"), "more than 8 names"),
    "TOML quoted names": ("a.toml", _bytes(b'"a" . ' * 100_000 + b"a = 1"), "more than 8 names"),
    "TOML of one word": ("a.toml", _bytes(b"a" * (2 * MEG)), "not TOML"),
    "TOML of quotes": ("a.toml", _bytes(b'"' * (2 * MEG)), "not TOML"),
    "TOML of lines": (
        "a.toml",
        _bytes(lambda: b"".join(b"k%d=1\n" % n for n in range(200_000))),
        "unknown field",
    ),
    "TOML of short tables": ("a.toml", _bytes(b"[[webhooks]]\n" * 150_000), "at most 10000"),
    "TOML, a key twice": ("a.toml", _bytes(b"a = 1\na = 2"), "not TOML"),
    "TOML, a table twice": ("a.toml", _bytes(b"[a]\n[a]"), "not TOML"),
    "TOML, an inline key twice": ("a.toml", _bytes(b"a = {b = 1, b = 2}"), "not TOML"),
    "TOML NaN": (
        "a.toml",
        _bytes(b"[[webhooks]]\ntimeout = nan\n[webhooks.conditions]\nattr='a'\nvalue=nan"),
        "/webhooks/0/timeout: expected seconds",
    ),
    "TOML infinity": ("a.toml", _bytes(b"[[webhooks]]\ntimeout = inf"), "/timeout: expected"),
    "TOML digits": ("a.toml", _bytes(b"a = " + b"9" * 100_000), "not TOML"),
    "TOML hexadecimal": (
        "a.toml",
        _bytes(b"[[webhooks]]\ntimeout = 0x" + b"f" * MEG),
        "/timeout: expected seconds",
    ),
    "TOML with a date": ("a.toml", _bytes(b"[[webhooks]]\nname = 1979-05-27"), "/name: expected"),
    "UTF-16": ("a.json", _bytes(JSON_TEXT.encode("utf-16")), "byte order mark"),
    "UTF-16, no mark": ("a.json", _bytes(JSON_TEXT.encode("utf-16-le")), "not JSON"),
    "UTF-32": ("a.json", _bytes(JSON_TEXT.encode("utf-32")), "byte order mark"),
    "a byte order mark": ("a.json", _bytes(JSON_TEXT.encode("utf-8-sig")), "byte order mark"),
    "TOML with a mark": ("a.toml", _bytes("a = 1".encode("utf-8-sig")), "byte order mark"),
    "Latin-1": ("a.json", _bytes('{"name": "Zürich"}'.encode("latin-1")), "byte 11 is not UTF-8"),
    "TOML in Latin-1": ("a.toml", _bytes("a = 'ü'".encode("latin-1")), "byte 5 is not UTF-8"),
    "an encoded surrogate": ("a.json", _bytes(b'"\xed\xa0\x80"'), "byte 1 is not UTF-8"),
    "an escaped surrogate": (
        "a.json",
        _bytes(JSON_TEXT.replace('"w"', '"\\ud800"').encode()),
        "/webhooks/0/name: expected",
    ),
    "an overlong slash": ("a.json", _bytes(b'"\xc0\xaf"'), "byte 1 is not UTF-8"),
    "NUL bytes": ("a.json", _bytes(b"\0" * 1000), "not JSON"),
    "NUL bytes in TOML": ("a.toml", _bytes(b"\0" * 1000), "not TOML"),
    "NaN": ("a.json", _bytes(b'{"timeout": NaN}'), "NaN is not JSON"),
    "infinity": ("a.json", _bytes(b'{"timeout": -Infinity}'), "-Infinity is not JSON"),
    "1e999": ("a.json", _bytes(b'[{"timeout": 1e999}]'), "/timeout: expected seconds"),
    "100,000 digits": ("a.json", _bytes(b'{"timeout": ' + b"9" * 100_000 + b"}"), "1000 digits"),
    "two million digits": ("a.json", _bytes(b"9" * (2 * MEG)), "more than 1000 digits"),
    "a fraction of a megabyte": ("a.json", _bytes(b"0." + b"9" * MEG), "expected a list"),
    "a string of a megabyte": ("a.json", _bytes(b'"' + b"x" * MEG + b'"'), "expected a list"),
    "a name of a megabyte": (
        "a.json",
        _bytes(json.dumps([{**MINIMAL, "name": "x" * MEG}]).encode()),
        "/webhooks/0/name: expected",
    ),
    "empty": ("a.json", _bytes(b""), "not JSON"),
    "empty TOML": ("a.toml", _bytes(b""), "holds no webhooks"),
    "blank": ("a.json", _bytes(b" " * MEG), "not JSON"),
    "null": ("a.json", _bytes(b"null"), "expected a list of webhooks"),
    "cut": ("a.json", _bytes(JSON_TEXT[:-2].encode()), "not JSON"),
    "two documents": ("a.json", _bytes(JSON_TEXT.encode() * 2), "Extra data"),
    "a comment": ("a.json", _bytes(b"// no\n{}"), "not JSON"),
    "a directory": ("a.json", lambda path: path.mkdir(), "Is a directory"),
    "a pipe": ("a.json", _pipe, "not a regular file"),
    "a pipe of TOML": ("a.toml", _pipe, "not a regular file"),
    "/dev/zero": ("a.json", lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "/dev/random": ("a.json", lambda path: path.symlink_to("/dev/random"), "not a regular file"),
    "a terminal": ("a.json", lambda path: path.symlink_to("/dev/tty"), "cannot be read"),
    "a link to itself": ("a.json", _loop, "Too many levels of symbolic links"),
    "a link to nothing": ("a.json", lambda path: path.symlink_to("nothing"), "No such file"),
    "no file": ("a.json", lambda path: None, "No such file"),
    "a file that reads badly": ("a.json", _unreadable, "cannot be read"),
    "10,001 webhooks": ("a.json", _many(10_001), "10001 webhooks, and a file holds at most 10000"),
    "10,000 broken ones": ("a.json", _many(10_000), "these are the first 100 faults"),
    "unknown keys": ("a.json", _bytes(b'{"webhooks": [], "x\\n": 1}'), "unknown"),
    **{
        f"a key twice {where}": ("a.json", _bytes(text.encode()), "stands twice in one object")
        for where, text in DUPLICATES.items()
    },
}


def file(name: str, folder: str) -> str:
    """Write one of those files and return what refuses it, by each way in which it is read."""
    suffix, write, _ = FILES[name]
    path = Path(folder, suffix)
    write(path)
    found = []
    for read in (load_webhooks, FileSource):
        try:
            read(path)
        except ConfigurationError as error:
            found.append(str(error))
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        code = main(["check", str(path)])
    found.append(printed.getvalue() if code == 1 else "")
    return found[0] if len(found) == 3 and all(found) and len(max(found)) < 50_000 else ""


def many_names(path: str) -> str:
    """Load webhooks that each listen to many names, ask for one, and return who listens."""
    names = [f"{n}" for n in range(250)]
    webhook = {**MINIMAL, "events": names, "object_types": names}
    text = json.dumps([{**webhook, "name": f"{n}"} for n in range(500)], separators=(",", ":"))
    Path(path).write_text(text)
    return str(len(WebhookRegistry(load_webhooks(path)).select("249", "7")))


def _labels_cycle() -> dict[str, Any]:
    labels: dict[str, Any] = {}
    labels["a"] = labels
    return labels


class EndlessMapping(Mapping[str, Any]):
    """A mapping whose keys never end."""

    def __getitem__(self, key: str) -> Any:
        return key

    def __iter__(self) -> Iterator[str]:
        return map(str, itertools.count())

    def __len__(self) -> int:
        return sys.maxsize


OBJECTS: dict[str, Callable[[], Any]] = {
    "labels that hold themselves": lambda: {**MINIMAL, "labels": _labels_cycle()},
    "labels of numbers": lambda: {**MINIMAL, "labels": {1: "a"}},
    "labels with a surrogate": lambda: {**MINIMAL, "labels": {"a": "\ud800"}},
    "a description with a surrogate": lambda: {**MINIMAL, "description": "\udfff"},
    "conditions that hold themselves": lambda: {**MINIMAL, "conditions": _cycle()},
    "shared conditions": lambda: {**MINIMAL, "conditions": _shared(60)},
    "deep conditions": lambda: {**MINIMAL, "conditions": nested("and", 100_000, LEAF)},
    "conditions that lie": lambda: {**MINIMAL, "conditions": Liar(attr=1)},
    "names without end": lambda: {**MINIMAL, "events": map(str, itertools.count())},
    "models without end": lambda: {**MINIMAL, "object_types": itertools.repeat("a")},
    "names that raise": lambda: {**MINIMAL, "events": (1 // 0 for _ in "a")},
    "names that are bytes": lambda: {**MINIMAL, "events": [b"created"]},
    "a name with a line break": lambda: {**MINIMAL, "events": ["a\u2028b"]},
    "a name with a surrogate": lambda: {**MINIMAL, "object_types": ["\ud800"]},
    "a long name": lambda: {**MINIMAL, "events": ["*" * 201]},
    "257 names": lambda: {**MINIMAL, "events": [str(n) for n in range(257)]},
    "secrets without end": lambda: {**MINIMAL, "secret": itertools.repeat("s")},
    "secrets that raise": lambda: {**MINIMAL, "secret": (1 // 0 for _ in "a")},
    "17 secrets": lambda: {**MINIMAL, "secret": ["s"] * 17},
    "signatures without end": lambda: {
        **MINIMAL,
        "secret": "s",
        "signatures": itertools.repeat("x-hook-signature"),
    },
    "signatures that raise": lambda: {**MINIMAL, "secret": "s", "signatures": Raising()},
    "a huge timeout": lambda: {**MINIMAL, "timeout": 10**100_000},
    "a timeout that is no number": lambda: {**MINIMAL, "timeout": math.nan},
    "a negative infinity": lambda: {**MINIMAL, "timeout": -math.inf},
    "a complex timeout": lambda: {**MINIMAL, "timeout": 1j},
    "a schedule with NaN": lambda: {**MINIMAL, "retry": {"schedule": [0, math.nan]}},
    "a schedule of a million": lambda: {**MINIMAL, "retry": {"schedule": [0] * 10**6}},
    "a schedule with a huge number": lambda: {**MINIMAL, "retry": {"schedule": [10**5_000]}},
    "a retry that holds itself": lambda: {**MINIMAL, "retry": _labels_cycle()},
    "bytes for a URL": lambda: {**MINIMAL, "url": b"https://receiver.example/"},
    "bytes for a body": lambda: {**MINIMAL, "body_template": b"{}"},
    "bytes for a secret": lambda: {**MINIMAL, "secret": [b"s"]},
    "a list for headers": lambda: {**MINIMAL, "additional_headers": ["X-A: 1"]},
    "100,000 headers": lambda: {
        **MINIMAL,
        "additional_headers": {f"X-{n}": "1" for n in range(100_000)},
    },
    "a million header lines": lambda: {**MINIMAL, "additional_headers": "X: 1\n" * 1_000_000},
    "headers that hold themselves": lambda: {**MINIMAL, "additional_headers": _labels_cycle()},
    "a header name of a megabyte": lambda: {**MINIMAL, "additional_headers": {"é" * 10**6: "1"}},
    "text that lies about its size": lambda: {**MINIMAL, "body_template": Text("x" * 20_000)},
    "text that lies about a URL": lambda: {**MINIMAL, "url": Text("ftp://receiver.example/")},
    "text that lies about a method": lambda: {**MINIMAL, "http_method": Text("BREW")},
    "keys that are no text": lambda: {**MINIMAL, 5: 1, None: 2, (): 3},
    "a key of a megabyte": lambda: {**MINIMAL, "x" * 10**6: 1},
    "a million keys": lambda: {**MINIMAL, **{f"k{n}": 1 for n in range(10**6)}},
    "a mapping without end": EndlessMapping,
    "a class": lambda: dict,
    "a generator": lambda: (n for n in [MINIMAL]),
    "a list that holds itself": lambda: nested("list", 10, {}),
}


def object_(name: str) -> str:
    """Return what refuses a webhook of hostile Python objects."""
    try:
        Webhook.from_dict(OBJECTS[name]())
    except ConfigurationError as error:
        return str(error)
    return ""


def lying() -> tuple[Any, ...]:
    """Return what a webhook made of things that lie about themselves holds, and conditions."""
    webhook = Webhook.from_dict(
        {**MINIMAL, "url": Text("https://other.example/"), "labels": {Text("a"): Text("b")}}
    )
    conditions = Conditions(
        {"or": [{"attr": Text("status"), "op": "in", "value": ["x", Text("y")]}, Liar(LEAF)]}
    )
    change = Change(event="created", model="site", data={"status": "y"})
    return (
        type(webhook.url),
        webhook.url,
        {type(text) for pair in webhook.labels.items() for text in pair},
        conditions.document,
        conditions.matches(change),
    )
