"""A malformed definition is refused with a clear error, in bounded time and memory."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from security import attacks_definitions as attacks
from security.corpus import rows
from security.jail import MIB, Jail, Outcome

from changehook import (
    Change,
    Conditions,
    ConfigurationError,
    Emitter,
    EncodingError,
    FileSource,
    InMemoryQueue,
    Webhook,
)
from changehook.sources import load_webhooks

CPU = 2.0
MEMORY = 192 * MIB
READS = 3


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(cpu=8, memory=1024 * MIB, wall=30.0) as jail:
        yield jail


def check(outcome: Outcome, *, memory: int = MEMORY, times: int = 1) -> str:
    """Return the error of a refusal, once it is seen to be short, and to have cost little."""
    assert outcome.error is None
    assert outcome.cpu < CPU * times
    assert outcome.memory < memory
    assert isinstance(outcome.value, str)
    assert 0 < len(outcome.value) < 100_000
    return outcome.value


# What semantics.md decides otherwise.
EMPTY_SEGMENTS = {"attr_dot", "attr_dots", "attr_leading_dot"}
DEFINED = {*EMPTY_SEGMENTS, "attr_newline", "bool_is_int", "regex_long_subject"}


def made(row: dict[str, Any]) -> Conditions:
    document = row["make"]()
    if isinstance(document, dict) and "$raw_digits" in document:
        return Conditions.from_json(f'{{"attr":"n","value":{"9" * document["$raw_digits"]}}}')
    if isinstance(document, str) and document.startswith("RAWB:"):
        return Conditions.from_json(document[5:].encode("latin-1"))
    if isinstance(document, str) and document.startswith("RAW:"):
        return Conditions.from_json(document[4:])
    return Conditions(document)


@pytest.mark.parametrize("row", rows("conditions.json", "documents"))
def test_conditions_of_the_corpus(row: dict[str, Any]) -> None:
    """A hostile document is refused when written, or never matches by accident or raises."""
    expected = row["expect"]
    if "refuse" in expected and row["name"] not in DEFINED:
        with pytest.raises(ConfigurationError):
            made(row)
        return
    change = Change(event="updated", model="site", data=row["make_data"]())
    conditions = made(row)
    matched = conditions.matches(change)
    assert matched is conditions.explain(change).matched
    assert matched is (row["name"] in {"bool_is_int", "contains_on_dict"})


@pytest.mark.parametrize("name", attacks.refused_conditions())
def test_hostile_conditions_are_refused(jail: Jail, name: str) -> None:
    """Too deep, too large, of the wrong type, or with methods that lie."""
    # The attack itself may be large, and is made in the jail.
    check(jail.run(attacks.conditions, name), memory=512 * MIB)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (('{"and":', "[", 1_000_000), "nested too deeply"),
        (("", '{"or":[', 500_000), "nested too deeply"),
        (('{"attr":"a","value":', "[", 100_000), "nested too deeply"),
        (('{"attr":"a","value":', "9", 100_000, "}"), "more than 1000 digits"),
        (('{"attr":"a","value":-', "9", 10_000_000, "}"), "more than 1000 digits"),
        (('{"attr":"', "a", 10_000_000, '","value":1}'), "longer than 4096 bytes"),
        (('{"attr":"a","value":1', " ", 10_000_000, "}}"), "Extra data"),
        (('{"attr":"a","value":"', "\\u0061", 1_000_000, '"}'), "longer than 4096 bytes"),
        (('{"attr":"a",', '"b":1,', 1_000_000, '"value":1}'), 'the key "b" stands twice'),
        (('{"attr":"a","value":[', "NaN,", 1_000, "1]}"), "NaN is not JSON"),
        (('{"attr":"a","value":1e', "9", 1_000, "}"), "/value: not JSON"),
        (('{"attr":"a","value":0.', "1", 1_000_000, ',"op":1}'), "/op: unknown operator"),
        (("\ufeff", '{"attr":"a","value":1}', 1), "not a JSON document"),
        (("'", "a", 1, "'"), "not a JSON document"),
        (("", "", 0), "not a JSON document"),
    ],
    ids=range(15),
)
def test_hostile_json_text_is_refused(jail: Jail, text: tuple[Any, ...], why: str) -> None:
    """A text of ten megabytes costs what reading it costs, and no more."""
    assert why in check(jail.run(attacks.conditions_text, *text), memory=256 * MIB)


@pytest.mark.parametrize("name", attacks.FILES)
def test_hostile_files_are_refused(jail: Jail, tmp_path: Path, name: str) -> None:
    """By the loader, by a source, and by the command; none of them waits for a pipe."""
    assert attacks.FILES[name][2] in check(jail.run(attacks.file, name, str(tmp_path)), times=READS)


@pytest.mark.parametrize("name", attacks.OBJECTS)
def test_hostile_python_objects_are_refused(jail: Jail, name: str) -> None:
    """Objects that hold themselves, never end, raise or lie are no definition."""
    check(jail.run(attacks.object_, name), memory=512 * MIB)


def test_what_lies_about_itself_is_taken_at_its_contents(jail: Jail) -> None:
    """A definition holds plain copies of what was checked."""
    kind, url, kinds, document, matched = jail.run(attacks.lying).value
    assert (kind, url, kinds) == (str, "https://other.example/", {str})
    assert document == {
        "or": [{"attr": "status", "op": "in", "value": ["x", "y"]}, attacks.LEAF],
    }
    assert matched is True


def test_many_names_do_not_multiply(jail: Jail, tmp_path: Path) -> None:
    """What is kept for a webhook grows with its names, not with the pairs of them."""
    outcome = jail.run(attacks.many_names, str(tmp_path / "a.json"))
    assert outcome.value == "500"
    assert outcome.cpu < CPU
    assert outcome.memory < MEMORY


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A file whose mode forbids reading is refused; its path with a NUL byte too."""
    path = tmp_path / "a.json"
    path.write_text("[]")
    path.chmod(0)
    if os.geteuid() != 0:  # root reads everything
        with pytest.raises(ConfigurationError, match="Permission denied"):
            load_webhooks(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        FileSource(tmp_path / "a\0.json")


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    """Half of a file is a fault that the next look repairs; the last good webhooks stay."""
    path = tmp_path / "a.json"
    whole = json.dumps([attacks.MINIMAL])
    path.write_text(whole)
    source = FileSource(path)
    path.write_text(whole[: len(whole) // 2])
    assert source.refresh() is False
    assert source.error is not None
    assert [webhook.name for webhook in source.all()] == ["w"]
    path.unlink()
    os.mkfifo(path)
    assert source.refresh() is False
    assert "not a regular file" in str(source.error)
    path.unlink()
    path.write_text(whole.replace('"w"', '"new"'))
    assert source.refresh() is True
    assert [webhook.name for webhook in source.all()] == ["new"]


def test_a_redacted_document_is_not_a_definition() -> None:
    """What ``to_dict`` hides is named, part by part."""
    document = Webhook.from_dict(
        {
            **attacks.MINIMAL,
            "additional_headers": {"Authorization": "Bearer x"},
            "body_template": "{}",
            "secret": "s",
        }
    ).to_dict()
    with pytest.raises(ConfigurationError) as caught:
        Webhook.from_dict(document)
    found = {fault.pointer: fault.message for fault in caught.value.faults}
    pointers = {"/url", "/additional_headers/Authorization", "/body_template", "/secret"}
    assert found.keys() == pointers
    assert all("is redacted" in message for message in found.values())


class Liar:
    """An object of a host whose methods raise whatever is asked."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("hunter2")

    __hash__ = __fspath__ = __len__ = __iter__ = __eq__  # type: ignore[assignment]  # on purpose


class LyingList(list[Any]):
    """A list that has no length."""

    def __len__(self) -> int:
        raise RuntimeError("hunter2")


LIES: dict[str, Callable[[], Any]] = {
    "object": Liar,
    "in a list": lambda: [Liar()],
    "list": lambda: LyingList([1]),
    "in an object": lambda: {"a": Liar()},
    "number": lambda: 10**5000,
}
FIELDS = [field.name for field in attrs.fields(Webhook) if field.init]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", LIES)
def test_a_value_that_lies_is_refused(field: str, name: str) -> None:
    """Whatever a host's own types raise, the definition is refused as any other wrong one."""
    for build in (Webhook.from_dict, lambda document: Webhook(**document)):
        with contextlib.suppress(ConfigurationError):
            build({**attacks.MINIMAL, field: LIES[name]()})


def test_conditions_that_lie_are_refused() -> None:
    """Or read as what they hold."""
    for document in (
        {"and": LyingList([{"attr": "a", "value": 1}])},
        {"attr": "a", "op": Liar(), "value": 1},
        {"attr": Liar(), "value": 1},
        {"attr": "a", "value": Liar()},
        {"attr": "a", "value": 1, "negate": Liar()},
    ):
        with contextlib.suppress(ConfigurationError):
            Conditions(document)


def test_a_document_with_a_huge_number_for_text_is_refused(tmp_path: Path) -> None:
    """TOML reads it in hex; telling it in decimals would be an error of its own."""
    path = tmp_path / "a.toml"
    path.write_text(
        '[[webhooks]]\nname="w"\nobject_types=["x"]\nevents=["x"]\nurl="https://h.example/"\n'
    )
    source = FileSource(path)
    broken = path.read_text() + 'body_template="{}"\nhttp_content_type=0x' + "f" * 5000
    whole = path.read_text()
    path.write_text(broken)
    assert source.refresh() is False
    assert "/http_content_type: expected a media type" in str(source.error)
    path.write_text(whole + "enabled = false")
    assert source.refresh() is True


def test_a_source_outlives_whatever_a_file_makes_it_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of this library's own is told in ``error``, and the next look comes."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps([attacks.MINIMAL]))
    source = FileSource(path)
    path.write_text("[]  ")
    with monkeypatch.context() as patched:
        patched.setattr(json.JSONDecoder, "decode", lambda *_: 1 / 0)
        assert source.refresh() is False
    assert str(source.error) == "cannot be read (ZeroDivisionError)"
    path.write_text("[]")
    assert source.refresh() is True


@pytest.mark.parametrize(
    "value",
    [
        "application/json; charset=latin-1",
        'text/plain; charset="utf-16"',
        "application/json \t",
        'text/plain; x="',
        "text/plain;",
        ";;; ,,",
        "text/plain; a=b c",
    ],
)
def test_a_content_type_says_what_is_sent(value: str) -> None:
    """A body is UTF-8, and a parameter has a name and a value."""
    with pytest.raises(ConfigurationError, match="/http_content_type: "):
        Webhook(**{**attacks.MINIMAL, "http_content_type": value})


@pytest.mark.parametrize(
    "value",
    [
        "application/json; charset=utf-8",
        'text/plain;charset="UTF-8"',
        "application/vnd.api+json",
        'multipart/related; boundary="a b"; type=x',
    ],
)
def test_ordinary_content_types(value: str) -> None:
    """Are taken as they are."""
    assert Webhook(**{**attacks.MINIMAL, "http_content_type": value}).http_content_type == value


@pytest.mark.parametrize("path", [5, None, b"x", []])
def test_what_is_no_path_is_refused(path: Any) -> None:
    """By name."""
    for read in (load_webhooks, FileSource):
        with pytest.raises(ConfigurationError, match="expected the path of a file, found"):
            read(path)


def test_unknown_keys_of_a_retry_policy_are_few_and_short() -> None:
    """However many there are, and however long."""
    retry = {str(number) * 300: 1 for number in range(10_000)}
    with pytest.raises(ConfigurationError) as caught:
        Webhook(**{**attacks.MINIMAL, "retry": retry})
    assert len(caught.value.faults) == 8
    assert len(str(caught.value)) < 2_000


class Evil:
    """What raises when it is looked at."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "name"):
            raise RuntimeError("hunter2")
        return object.__getattribute__(self, name)

    def __json__(self) -> Any:
        raise UnspeakableError


class UnspeakableError(Exception):
    """An error without words."""

    def __str__(self) -> str:
        raise RuntimeError("hunter2")


def test_data_that_raises_is_an_encoding_error_or_encoded() -> None:
    """``emit_change`` raises nothing else for the caller's data."""
    emitter = Emitter(webhooks=[Webhook(**attacks.MINIMAL)], queue=InMemoryQueue())
    event, model = attacks.MINIMAL["events"][0], attacks.MINIMAL["object_types"][0]
    for value in (Evil("__class__"), Evil("x"), LyingList([1]), [Evil("__dict__")]):
        with contextlib.suppress(EncodingError):
            emitter.emit_change(event, model, {"a": value})


def test_a_request_id_of_too_many_digits_is_refused() -> None:
    """As text of another type."""
    with pytest.raises(ConfigurationError, match="/request_id: expected text, found int"):
        Change(event="e", model="m", data={}, request_id=10**5000)
