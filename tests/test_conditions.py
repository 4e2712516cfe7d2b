"""Condition documents: what is accepted, what they mean for host values, and why."""

from __future__ import annotations

import collections
import copy
import datetime
import decimal
import enum
import json
import math
import pickle
import random
import sys
import types
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from changehook.conditions import Conditions, Explanation
from changehook.errors import ConfigurationError
from changehook.models import Change

IS_ACTIVE = {"attr": "status.value", "value": "active"}
NAN = math.nan


def change(data: Any = None, **values: Any) -> Change:
    return Change(event="updated", model="site", data={} if data is None else data, **values)


def explained(document: dict[str, Any], data: Any, **values: Any) -> Explanation:
    """Return the explanation, once ``matches`` agrees with it."""
    conditions, subject = Conditions(document), change(data, **values)
    explanation = conditions.explain(subject)
    assert conditions.matches(subject) is explanation.matched
    return explanation


def faults(document: object) -> dict[str, str]:
    """Return the faults of a document by pointer."""
    with pytest.raises(ConfigurationError) as caught:
        Conditions(document)
    return {fault.pointer: fault.message for fault in caught.value.faults}


# What a document may be


def test_every_fault_is_reported_at_once() -> None:
    """Every wrong place of a document is listed with its JSON pointer."""
    found = faults(
        {
            "and": [
                {"attr": "a", "op": "equals", "value": 1},
                {"or": [{"attr": "a", "value": 1, "negate": "no"}, 5]},
                {"attr": 5, "op": "gt", "value": "1"},
            ]
        }
    )
    assert found == {
        "/and/0/op": 'unknown operator "equals"; did you mean "eq"?',
        "/and/1/or/0/negate": "expected a boolean, found text",
        "/and/1/or/1": (
            'expected a condition {"attr": …, "value": …} or a set {"and": […]}, found a number'
        ),
        "/and/2/attr": "expected the path of an attribute, such as status.value, found a number",
        "/and/2/value": "gt takes a number, found text",
    }


@pytest.mark.parametrize(
    ("document", "pointer", "message"),
    [
        ({"AND": [IS_ACTIVE]}, "/AND", 'did you mean "and"?'),
        ({"any": [IS_ACTIVE]}, "/any", 'did you mean "or"?'),
        ({"attribute": "a", "value": 1}, "/attribute", 'did you mean "attr"?'),
        ({"atrr": "a", "value": 1}, "/atrr", 'did you mean "attr"?'),
        ({**IS_ACTIVE, "negated": True}, "/negated", 'did you mean "negate"?'),
        ({**IS_ACTIVE, "zzz/~": 1}, "/zzz~1~0", "the keys are attr, value, op, negate, and, or"),
        ({**IS_ACTIVE, 5: 1}, "/(a number)", "the keys are"),
        ({**IS_ACTIVE, "a\ud800\n": 1}, "/a\\ud800\\n", "unknown key"),
        ({"and": [IS_ACTIVE], "or": [IS_ACTIVE]}, "/or", 'does not go with "and"'),
        ({"and": [IS_ACTIVE], "negate": True}, "/negate", 'does not go with "and"'),
        ({"and": []}, "/and", "empty; write a condition"),
        ({"or": IS_ACTIVE}, "/or", "expected a list of conditions, found an object"),
        ({"or": (IS_ACTIVE,)}, "/or", "found tuple"),
        ({}, "/attr", "required"),
        ({"attr": "a"}, "/value", "required"),
        ({**IS_ACTIVE, "op": "=="}, "/op", 'unknown operator "=="; did you mean "eq"?'),
        ({**IS_ACTIVE, "op": "EQ"}, "/op", 'did you mean "eq"?'),
        ({**IS_ACTIVE, "op": "!="}, "/op", 'write "eq" with "negate": true'),
        ({**IS_ACTIVE, "op": "zzz"}, "/op", "the operators are eq, gt, gte"),
        ({**IS_ACTIVE, "op": ["eq"]}, "/op", "unknown operator (a list)"),
        ({**IS_ACTIVE, "op": None}, "/op", "unknown operator (null)"),
        ({**IS_ACTIVE, "negate": 1}, "/negate", "expected a boolean, found a number"),
        ({"attr": "a", "value": {"b": 1}}, "/value", "name one of its keys in attr"),
        ({"attr": "a", "op": "in", "value": "x"}, "/value", "in takes a list of values, such as"),
        ({"attr": "a", "op": "gt", "value": True}, "/value", "gt takes a number, found a boolean"),
        ({"attr": "a", "op": "contains", "value": None}, "/value", "found null"),
        ({"attr": "a", "op": "regex", "value": "(a+)+$"}, "/value", "could take too long"),
        ({"attr": "a", "op": "regex", "value": "("}, "/value", "not a regular expression"),
        ({"attr": "a", "op": "changed", "value": None}, "/value", "changed takes no value"),
        ({"attr": "@event", "op": "changed"}, "/attr", "write the attribute alone"),
        (
            {"attr": "snapshots.prechange.a", "op": "unchanged"},
            "/attr",
            "write the attribute alone",
        ),
        ({"attr": ".".join("a" * 33), "value": 1}, "/attr", "more than 32 steps"),
        ({"attr": "a" * 5000, "value": 1}, "/attr", "longer than 4096 bytes"),
        ({"attr": "\ud800", "value": 1}, "/attr", "lone surrogate"),
        ({"attr": "a", "value": "\udfff"}, "/value", "lone surrogate"),
        ({"attr": "a", "value": "é" * 2048}, "/value", "longer than 4096 bytes"),
        ({"attr": "a", "value": [0] * 257}, "/value", "more than 256 values"),
        ({"attr": "a", "value": [[[0] * 257]]}, "/value", "more than 256 values"),
        ({"attr": "a", "value": [{"b": 2**1024}]}, "/value", "more than 1024 bits"),
        ({"attr": "a", "value": 10**5000}, "/value", "not JSON"),
        ({"attr": "a", "value": NAN}, "/value", "not JSON"),
        ({"attr": "a", "op": "gt", "value": math.inf}, "/value", "not JSON"),
        ({"attr": "a", "value": object()}, "/value", "not JSON"),
        ({"attr": "a", "value": [("x",)]}, "/value", "not JSON"),
        ({"attr": "a", "value": [{1: "x"}]}, "/value", "not JSON"),
        ("text", "", "found text"),
        (None, "", "found null"),
        (types.MappingProxyType(IS_ACTIVE), "", "found mappingproxy"),
    ],
)
def test_a_fault_says_what_to_write_instead(document: object, pointer: str, message: str) -> None:
    """Each kind of fault is found at its place, with what to write instead."""
    assert message in faults(document)[pointer]


def nested(depth: int, document: dict[str, Any]) -> dict[str, Any]:
    for index in range(depth):
        document = {("and", "or")[index % 2]: [document]}
    return document


def listed(depth: int) -> list[Any]:
    return [] if depth == 1 else [listed(depth - 1)]


@pytest.mark.parametrize(
    "document",
    [
        nested(16, IS_ACTIVE),
        {"or": [IS_ACTIVE] * 256},
        {"and": [{"or": [IS_ACTIVE] * 128}] * 2},
        {"attr": ".".join("a" * 32), "value": 1},
        {"attr": "a", "value": "x" * 4094},
        {"attr": "a", "op": "in", "value": [0] * 256},
        {"attr": "a", "value": 2**1024 - 1},
        {"attr": "a", "value": listed(16)},
        {"attr": "", "value": 1},
        {"attr": "a..b\n", "value": 1},
        {"attr": "@type", "op": "changed"},
    ],
    ids=range(11),
)
def test_a_document_at_its_limits_is_accepted(document: dict[str, Any]) -> None:
    """The limits are inclusive, and an empty segment of a path is a key like any other."""
    assert Conditions(document).document == document


def test_a_document_past_its_limits_is_refused() -> None:
    """One level, condition or bracket more is too many."""
    assert faults(nested(17, IS_ACTIVE)).popitem()[1] == "nested more than 16 deep"
    assert faults({"or": [IS_ACTIVE] * 257})[""].startswith("more than 256 conditions")
    assert faults({"and": [{"or": [IS_ACTIVE] * 129}] * 2})[""].startswith("more than 256")
    assert faults({"attr": "a", "value": listed(17)})["/value"] == "nested more than 16 deep"
    deep: list[Any] = []
    for _ in range(2 * sys.getrecursionlimit()):
        deep = [deep]
    assert "not JSON" in faults({"attr": "a", "value": deep})["/value"]


def test_a_document_that_shares_or_holds_itself_is_refused_at_once() -> None:
    """Shared parts count each time, and a part that holds itself is nested too deeply."""
    shared: dict[str, Any] = IS_ACTIVE
    for _ in range(40):
        shared = {"or": [shared, shared]}
    assert len(faults(shared)) <= 258
    cycle: dict[str, Any] = {"and": []}
    cycle["and"] += [cycle, {"or": []}]
    assert "nested more than 16 deep" in faults(cycle).values()
    value: list[Any] = []
    value.append(value)
    assert "not JSON" in faults({"attr": "a", "value": value})["/value"]
    wide: list[Any] = [0]
    for _ in range(40):
        wide = [wide, wide]
    assert "/value" in faults({"attr": "a", "value": wide})
    assert len(faults({"and": [{"and": []}] * 1000})) <= 258


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"attr":"status","attr":"n","value":5}', 'the key "attr" stands twice'),
        ('{"attr":"n","value":NaN}', "NaN is not JSON"),
        (b'{"attr":"\xff"}', "byte 9 is not UTF-8"),
        ('{"attr":"n","value":1} x', "Extra data"),
        ('{"and":' + "[" * 100_000, "nested too deeply"),
        (f'{{"attr":"n","value":{"9" * 5000}}}', "not a JSON document"),
        ('{"attr":"n","value":1e999}', "/value: not JSON"),
    ],
    ids=range(7),
)
def test_json_text_is_read_strictly(text: str | bytes, why: str) -> None:
    """JSON text is refused where other readers guess."""
    with pytest.raises(ConfigurationError) as caught:
        Conditions.from_json(text)
    assert why in str(caught.value)


def test_json_text_is_read() -> None:
    """JSON text and the parsed document give the same conditions."""
    assert Conditions.from_json(json.dumps(IS_ACTIVE)) == Conditions(IS_ACTIVE)
    assert Conditions.from_json(json.dumps(IS_ACTIVE).encode()).matches(
        change({"status": {"value": "active"}})
    )


# What conditions are as values


def test_conditions_keep_their_own_document() -> None:
    """Later changes to the host's document, or to the copy given out, change nothing."""
    document = {"attr": "a", "op": "in", "value": [1, 2]}
    conditions = Conditions(document)
    document["value"] = []
    conditions.document["value"].append(3)
    assert conditions.document == {"attr": "a", "op": "in", "value": [1, 2]}
    explanation = conditions.explain(change({"a": 3}))
    explanation.value.append(3)
    assert not conditions.matches(change({"a": 3}))
    assert list(conditions.document) == ["attr", "op", "value"]


def test_conditions_compare_by_their_document() -> None:
    """Equal documents make equal conditions, whatever the order of keys; 1 and true differ."""
    swapped = dict(reversed(IS_ACTIVE.items()))
    assert Conditions(IS_ACTIVE) == Conditions(swapped)
    assert hash(Conditions(IS_ACTIVE)) == hash(Conditions(swapped))
    assert Conditions({"attr": "a", "value": 1}) != Conditions({"attr": "a", "value": True})
    assert Conditions(IS_ACTIVE) != IS_ACTIVE


def test_conditions_can_be_copied_and_pickled() -> None:
    """Copies are equal and work."""
    conditions = Conditions({"attr": "a", "op": "regex", "value": "x"})
    for other in (pickle.loads(pickle.dumps(conditions)), copy.deepcopy(conditions)):
        assert other == conditions
        assert other.matches(change({"a": "xyz"}))


def test_the_repr_is_short() -> None:
    """A long document is cut."""
    assert repr(Conditions(IS_ACTIVE)) == f"Conditions({json.dumps(IS_ACTIVE)})"
    assert len(repr(Conditions({"or": [IS_ACTIVE] * 50}))) < 100


# What they mean beyond NetBox's data


class Text(str):
    __slots__ = ()


class Word(enum.StrEnum):
    ACTIVE = "active"


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Rack:
    name: str
    site: Any = None


@dataclass
class Site:
    slug: str


class Hooked:
    def __init__(self, form: Callable[[], Any]) -> None:
        self.form = form

    def __json__(self) -> Any:
        return self.form()


class Pairs(Mapping[str, Any]):
    """A mapping that is no dictionary."""

    def __init__(self, **values: Any) -> None:
        self.values_ = values

    def __getitem__(self, key: str) -> Any:
        return self.values_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def fails() -> Any:
    raise RuntimeError("secret 42")


HOST_VALUES = [
    ({"attr": "a", "value": "2026-01-31"}, datetime.date(2026, 1, 31), "matched"),
    ({"attr": "a", "value": "2026", "op": "regex"}, datetime.date(2026, 1, 31), "matched"),
    ({"attr": "a", "value": "1.10"}, decimal.Decimal("1.10"), "matched"),
    ({"attr": "a", "value": 1}, decimal.Decimal(1), "not matched"),
    ({"attr": "a", "value": str(uuid.UUID(int=1))}, uuid.UUID(int=1), "matched"),
    ({"attr": "a", "value": 90, "op": "gt"}, datetime.timedelta(minutes=2), "matched"),
    ({"attr": "a", "value": "active"}, Word.ACTIVE, "matched"),
    ({"attr": "a", "value": ["active"], "op": "in"}, Word.ACTIVE, "matched"),
    ({"attr": "a", "value": 2, "op": "gt"}, Level.HIGH, "matched"),
    ({"attr": "a", "value": "red"}, Colour.RED, "matched"),
    ({"attr": "a", "value": "x"}, Text("x"), "matched"),
    ({"attr": "a", "value": ["x", "y"]}, ("x", "y"), "matched"),
    ({"attr": "a", "value": ["x", "y"]}, {"y", "x"}, "matched"),
    ({"attr": "a", "value": "x", "op": "contains"}, frozenset("xy"), "matched"),
    (
        {"attr": "a", "value": "2026-01-31", "op": "contains"},
        [datetime.date(2026, 1, 31)],
        "matched",
    ),
    ({"attr": "a", "value": ["2026-01-31"]}, [datetime.date(2026, 1, 31)], "matched"),
    ({"attr": "a", "value": "name", "op": "contains"}, Rack("r1"), "matched"),
    ({"attr": "a.name", "value": "r1"}, Rack("r1"), "matched"),
    ({"attr": "a.site.slug", "value": "s"}, Rack("r1", Site("s")), "matched"),
    ({"attr": "a.site.slug", "value": ["s", "t"]}, Rack("r1", (Site("s"), Site("t"))), "matched"),
    ({"attr": "a.x", "value": 1}, OrderedDict(x=1), "matched"),
    ({"attr": "a.x", "value": 1}, defaultdict(lambda: 1), "unresolvable"),
    ({"attr": "a.x", "value": 1}, Pairs(x=1), "matched"),
    ({"attr": "a.x", "value": 1}, types.MappingProxyType({"x": 1}), "matched"),
    ({"attr": "a.1", "value": "one"}, {1: "one"}, "matched"),
    ({"attr": "a.true", "value": "yes"}, {True: "yes"}, "matched"),
    ({"attr": "a.null", "value": "no"}, {None: "no", "x": 1}, "matched"),
    ({"attr": "a.2", "value": "one"}, {1: "one"}, "unresolvable"),
    ({"attr": "a.x", "value": 1}, {(1, 2): 3}, "unresolvable"),
    ({"attr": "a.x.y", "value": 1}, Hooked(lambda: {"x": Pairs(y=1)}), "matched"),
    ({"attr": "a", "value": 5}, Hooked(lambda: 5), "matched"),
    ({"attr": "a", "value": 5, "negate": True}, Hooked(fails), "unresolvable"),
    ({"attr": "a.x", "value": 5, "negate": True}, Hooked(fails), "unresolvable"),
    ({"attr": "a", "value": 5, "negate": True}, object(), "unresolvable"),
    ({"attr": "a.x", "value": 5, "negate": True}, object(), "unresolvable"),
    (
        {"attr": "a", "value": "x", "negate": True, "op": "contains"},
        ["\ud800", object()],
        "unresolvable",
    ),
    ({"attr": "a", "value": 1, "negate": True}, NAN, "unresolvable"),
    ({"attr": "a", "value": 1, "op": "gt"}, math.inf, "unresolvable"),
    ({"attr": "a", "value": [1], "negate": True}, [NAN], "unresolvable"),
    ({"attr": "a.b", "value": 1.5, "negate": True, "op": "contains"}, [{"b": NAN}], "unresolvable"),
    (
        {"attr": "a.b", "value": [1], "negate": True, "op": "contains"},
        [{"b": [object()]}],
        "unresolvable",
    ),
    ({"attr": "a.b", "value": 1.5, "op": "contains"}, [{"b": 1.5}], "matched"),
    ({"attr": "a", "value": 1.5}, 1.5, "matched"),
    ({"attr": "a", "value": 10**300, "op": "lt"}, 1.5, "matched"),
    ({"attr": "a", "value": 1.5, "op": "lt"}, 10**400, "not matched"),
    ({"attr": "a", "value": "x", "op": "regex"}, "x" * 256, "matched"),
    ({"attr": "a", "value": "x", "op": "regex", "negate": True}, "x" * 257, "unresolvable"),
    ({"attr": "a", "value": "x", "op": "regex"}, ["x"] * 300, "unresolvable"),
    ({"attr": "a.b", "value": "x", "op": "contains"}, {"b": "xyz"}, "matched"),
    ({"attr": "a.b", "value": [["x"], ["y"]]}, [[{"b": "x"}], [{"b": "y"}]], "matched"),
    ({"attr": "a", "value": "x"}, {"y": object()}, "not matched"),
    ({"attr": "a", "value": "\x00", "negate": True}, "\ud800", "matched"),
]


@pytest.mark.parametrize(("document", "value", "expected"), HOST_VALUES)
def test_host_values_are_compared_as_json(
    document: dict[str, Any], value: Any, expected: str
) -> None:
    """A host value stands for what its receivers would see, at the end of a path and on its way."""
    for data in ({"a": value}, Pairs(a=value), Hooked(lambda: {"a": value})):
        assert explained(document, data).verdict.partition(":")[0] == expected


def test_a_host_value_is_not_changed() -> None:
    """Looking for a key in a default dictionary does not make it."""
    data: defaultdict[str, Any] = defaultdict(dict, {"a": defaultdict(list)})
    assert not Conditions({"attr": "a.b", "value": []}).matches(change(data))
    assert not Conditions({"attr": "b", "value": {}.get("b")}).matches(change(data))
    assert data == {"a": {}}


def test_data_that_holds_itself_is_unresolvable() -> None:
    """Recursion without end in data, or in its JSON form, is one more reason not to match."""
    loop: list[Any] = []
    loop.append(loop)
    for document in ({"attr": "a.b", "value": 1}, {"attr": "a", "op": "contains", "value": 1}):
        assert explained(document, {"a": loop}).verdict.startswith("unresolvable")
    hooked = Hooked(lambda: hooked)
    explanation = explained({"attr": "a.b", "value": 1}, {"a": hooked})
    assert explanation.verdict == "unresolvable: something on the way never becomes plain JSON"


@pytest.mark.parametrize("text", ["{v}", '"]', "'", "\n", "x1", "\\", "#", "bail()", "{{0}}", "é"])
def test_no_text_of_a_document_is_code(text: str) -> None:
    """Quotes, braces and names in a document are only ever text to look for."""
    document = {
        "and": [
            {"attr": f"{text}.{text}", "value": text},
            {"attr": f"{text}.list.{text}", "op": "contains", "value": text},
            {"attr": f"{text}.{text}", "op": "in", "value": [text]},
        ]
    }
    data = {text: {text: text, "list": [{text: text}]}}
    assert explained(document, data).verdict == "matched"


def test_other_parts_of_the_context() -> None:
    """The variables of the context are reached with @, the timestamp as its ISO text in UTC."""
    subject = change(
        {"@type": "x", "@event": "hidden", "snapshots": [{"day": 1}]},
        username="ann",
        request_id=7,
        timestamp="2026-01-31T13:00:00+01:00",
    )
    for attr, value in [
        ("@event", "updated"),
        ("@model", "site"),
        ("@username", "ann"),
        ("@request_id", "7"),
        ("@timestamp", "2026-01-31T12:00:00+00:00"),
        ("@type", "x"),
        ("snapshots.day", [1]),
        ("snapshots", [{"day": 1}]),
    ]:
        assert Conditions({"attr": attr, "value": value}).matches(subject), attr


def test_what_the_change_lacks_is_null() -> None:
    """A change without user, request or time has null for each."""
    for attr in ("@username", "@request_id", "@timestamp"):
        assert explained({"attr": attr, "value": None}, {}).verdict == "matched"
        assert explained({"attr": attr, "value": "x", "op": "contains"}, {}).reasons == (
            f"{attr}: contains cannot compare null with text",
        )


def test_snapshots_of_the_host() -> None:
    """Snapshots may be records, and are compared by their JSON."""
    before, after = Rack("r1", datetime.date(2026, 1, 1)), {"name": "r1", "site": "2026-01-01"}
    snapshots = {"prechange": before, "postchange": after}
    for attr in ("name", "site"):
        assert explained({"attr": attr, "op": "unchanged"}, {}, **snapshots).verdict == "matched"
    created = {"postchange": before}
    for attr, verdict in [("name", "matched"), ("nome", 'unresolvable: there is no key "nome"')]:
        document = {"attr": f"snapshots.prechange.{attr}", "value": None}
        assert explained(document, {}, **created).verdict == verdict
    broken = {"prechange": {"x": object()}, "postchange": {"x": 1}}
    explanation = explained({"attr": "x", "op": "changed"}, {}, **broken)
    assert explanation.verdict == "unresolvable: snapshots.prechange.x has no JSON form"


def test_lists_of_lists_in_a_snapshot() -> None:
    """A path through lists is there when it reaches something in one of them."""
    some = {"racks": [{"units": []}, {"units": [{"id": 1}]}]}
    none = {"racks": [{"units": []}]}
    document = {"attr": "racks.units.id", "op": "unchanged"}
    assert explained(document, {}, prechange=some, postchange=some).verdict == "matched"
    assert explained(document, {}, prechange=none, postchange=none).reasons


# Why


def test_an_explanation_is_a_tree_for_operators() -> None:
    """The tree shows the verdict on every condition, and what was found, in any event."""
    document = {
        "or": [
            {"and": [IS_ACTIVE, {"attr": "asn", "op": "gt", "value": 5, "negate": True}]},
            {"attr": "tags.slg", "op": "contains", "value": "x"},
            {"attr": "name", "op": "changed"},
        ]
    }
    explanation = explained(
        document,
        {"status": {"value": "active"}, "asn": 7, "tags": [{"slug": "x"}]},
        prechange={"name": "a"},
        postchange={"name": "b\x9b\u202e"},
    )
    assert str(explanation).splitlines() == [
        "matched: or",
        "  not matched: and",
        '    matched: status.value eq "active" (found "active")',
        "    not matched: asn not gt 5 (found 7)",
        '  unresolvable: there is no key "slg": tags.slg contains "x"',
        '  matched: name changed (found {"prechange": "a", "postchange": "b\\x9b\\u202e"})',
    ]
    assert explanation.reasons == ('tags.slg: there is no key "slg"',)
    assert explanation.members[0].to_dict() == {
        "kind": "and",
        "verdict": "not matched",
        "matched": False,
        "members": [
            {
                "kind": "condition",
                "verdict": "matched",
                "matched": True,
                "attr": "status.value",
                "op": "eq",
                "negate": False,
                "value": "active",
                "resolved": "active",
            },
            {
                "kind": "condition",
                "verdict": "not matched",
                "matched": False,
                "attr": "asn",
                "op": "gt",
                "negate": True,
                "value": 5,
                "resolved": 7,
            },
        ],
    }
    assert "value" not in explanation.members[2].to_dict()
    assert "resolved" not in explanation.members[1].to_dict()
    json.dumps(explanation.to_dict())


REASONS: list[tuple[dict[str, Any], Any, str | None]] = [
    ({"attr": "a.c", "value": 1}, {"b": 1}, 'there is no key "c"'),
    ({"attr": "a.b", "value": 1}, 5, '"b" is looked for in a number, not in an object'),
    ({"op": "gt", "value": 1}, None, "gt cannot compare null with a number"),
    ({"op": "lt", "value": 1}, {}, "lt cannot compare an object with a number"),
    ({"op": "contains", "value": 1}, "x", "contains cannot compare text with a number"),
    ({"value": 1}, {1: object()}, None),
    ({"value": 1}, object(), "a has no JSON form"),
    ({"value": [1]}, [{"b": object()}], "a.0.b has no JSON form"),
    ({"attr": "a.b", "value": 1}, Hooked(fails), "a Hooked on the way has no JSON form"),
    ({"op": "changed"}, 1, "the change has no snapshots"),
    ({"op": "regex", "value": "a"}, "a" * 300, "regex takes up to 256 characters"),
]


@pytest.mark.parametrize(("document", "value", "reason"), REASONS)
def test_reasons_name_kinds_and_places_but_no_values(
    document: dict[str, Any], value: Any, reason: str | None
) -> None:
    """A reason tells what was wrong without showing the data."""
    explanation = explained({"attr": "a", **document}, {"a": value})
    expected = () if reason is None else (f"{explanation.attr}: {reason}",)
    assert explanation.reasons == expected


def test_a_snapshot_with_only_empty_lists_is_a_reason() -> None:
    """Through an empty list nothing is resolved, so an absent snapshot is not null there."""
    document = {"attr": "snapshots.prechange.tags.name", "value": None}
    explanation = explained(document, {}, postchange={"tags": []})
    assert explanation.verdict == "unresolvable: the other snapshot has only empty lists there"


def test_control_characters_are_escaped() -> None:
    """A line break in a document cannot forge a line of the tree or of a log."""
    explanation = explained({"attr": "a\nb", "value": 1}, {})
    assert str(explanation) == 'unresolvable: there is no key "a\\nb": a\\nb eq 1'
    assert explanation.reasons == ('a\\nb: there is no key "a\\nb"',)


def test_long_values_are_cut_in_the_printed_tree() -> None:
    """A page of text in the data does not fill the operator's screen."""
    explanation = explained({"attr": "a", "value": "x" * 1000}, {"a": "y" * 10_000})
    assert len(str(explanation)) < 500
    assert "…" in str(explanation)


# Properties

KEYS = st.sampled_from(["a", "b", "c", "", "snapshots"])
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", "ab", "", 1.5])
)
JSON = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(KEYS, inside, max_size=3),
    max_leaves=12,
)
HOST = st.recursive(
    SCALARS
    | st.floats()
    | st.sampled_from([Word.ACTIVE, Level.HIGH, Text("a"), object(), decimal.Decimal(1), b"a"])
    | st.dates(datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.tuples(inside, inside)
        | st.dictionaries(KEYS | st.integers(0, 1), inside, max_size=3)
        | st.builds(Rack, st.sampled_from("ab"), inside)
        | st.builds(lambda a: Pairs(a=a), inside)
        | st.builds(lambda form: Hooked(lambda: form), inside)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, JSON, min_size=1, max_size=4)
HOST_OBJECTS = st.dictionaries(KEYS, HOST, min_size=1, max_size=4) | st.builds(
    Rack, st.sampled_from("ab"), HOST
)
PATHS = st.lists(KEYS | st.just("name"), min_size=1, max_size=3).map(".".join)
ATTRS = st.one_of(
    PATHS,
    PATHS,
    PATHS.map("snapshots.prechange.{}".format),
    PATHS.map("snapshots.postchange.{}".format),
    st.sampled_from(["@event", "@username", "@timestamp", "snapshots.prechange", "name", "site"]),
)
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 1.0])
VALUES: dict[str, Any] = {
    "eq": SCALARS | st.lists(SCALARS, max_size=2),
    "gt": NUMBERS,
    "gte": NUMBERS,
    "lt": NUMBERS,
    "lte": NUMBERS,
    "in": st.lists(SCALARS | st.lists(SCALARS, max_size=1), max_size=3),
    "contains": SCALARS.filter(lambda value: value is not None) | st.lists(SCALARS, max_size=1),
    "regex": st.sampled_from(["a", "^b", "", "a.*b", "[^a]"]),
}
LEAVES = st.one_of(
    *(
        st.fixed_dictionaries(
            {"attr": ATTRS, "value": values, "op": st.just(op)}, optional={"negate": st.booleans()}
        )
        for op, values in VALUES.items()
    ),
    st.fixed_dictionaries(
        {"attr": PATHS.filter(lambda path: not path.startswith("snapshots."))},
        optional={"negate": st.booleans()},
    ).flatmap(
        lambda leaf: st.sampled_from(["changed", "unchanged"]).map(lambda op: {**leaf, "op": op})
    ),
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inside: st.builds(
        lambda kind, members: {kind: members},
        st.sampled_from(["and", "or"]),
        st.lists(inside, min_size=1, max_size=3),
    ),
    max_leaves=5,
)


def changes(objects: st.SearchStrategy[Any]) -> st.SearchStrategy[Change]:
    return st.builds(
        Change,
        event=st.just("a"),
        model=st.just("b"),
        data=objects,
        prechange=st.none() | objects,
        postchange=st.none() | objects,
        username=st.none() | st.just("a"),
        timestamp=st.none() | st.just("2026-01-01T00:00:00Z"),
    )


WORDS = st.sampled_from(["attr", "value", "op", "negate", "and", "or", "eq", "in", "regex", "a.b"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
        lambda inside: st.lists(inside, max_size=4) | st.dictionaries(WORDS, inside, max_size=4),
        max_leaves=20,
    )
)
def test_any_document_is_built_or_refused(document: Any) -> None:
    """Whatever the document is, there are conditions or faults with pointers, and nothing else."""
    try:
        conditions = Conditions(document)
    except ConfigurationError:
        assert all(faults(document).values())
    else:
        assert conditions.document == document


@given(DOCUMENTS, changes(OBJECTS))
@example({"attr": "a", "value": 1, "op": "contains"}, change({"a": []}))
def test_the_fast_function_agrees_on_json(document: dict[str, Any], subject: Change) -> None:
    """On JSON data the compiled function and the exact evaluator give one boolean."""
    conditions = Conditions(document)
    assert conditions.matches(subject) is conditions.explain(subject).matched


@given(DOCUMENTS, changes(HOST_OBJECTS))
def test_the_fast_function_agrees_on_host_values(document: dict[str, Any], subject: Change) -> None:
    """On any data the compiled function and the exact evaluator give one boolean."""
    conditions = Conditions(document)
    explanation = conditions.explain(subject)
    assert conditions.matches(subject) is explanation.matched
    assert str(explanation)
    json.dumps(explanation.to_dict())


def shuffled(document: dict[str, Any], order: random.Random) -> dict[str, Any]:
    for kind in document.keys() & {"and", "or"}:
        members = [shuffled(member, order) for member in document[kind]]
        return {kind: order.sample(members, len(members))}
    return document


@given(DOCUMENTS, changes(OBJECTS), st.integers(0, 99))
def test_order_does_not_matter(document: dict[str, Any], subject: Change, seed: int) -> None:
    """The verdict is the same in whatever order the members of sets stand."""
    other = shuffled(document, random.Random(seed))
    assert Conditions(other).matches(subject) is Conditions(document).matches(subject)


@pytest.mark.parametrize(
    ("attr", "hint"),
    [
        ("@user", "the variables are @event, @model, @username, @request_id and @timestamp"),
        ("tags[0].slug", "a path has no indices"),
        ("site.0", "a path has no indices"),
        ("data.name", "a path starts inside data"),
        ("snapshots.pre.name", "a path starts inside data"),
        ("nmae", 'there is no key "nmae"'),
    ],
)
def test_a_path_that_leads_nowhere_says_what_was_meant(attr: str, hint: str) -> None:
    """The usual slips are named; they are no faults, because data may have such keys."""
    change = Change(event="created", model="site", data={"site": {}, "name": "x"})
    assert hint in Conditions({"attr": attr, "value": 1}).explain(change).verdict


def test_lists_that_hold_each_other_many_times_end():
    """What is the same list forty times over is not walked two to the power of forty times."""
    value = {"b": 1}
    for _ in range(40):
        value = [value, value]
    conditions = Conditions({"attr": "a.b", "value": 1})
    assert not conditions.matches(Change(event="e", model="m", data={"a": value}))
    explained = conditions.explain(Change(event="e", model="m", data={"a": value}))
    assert explained.verdict == "unresolvable: more than 250000 values on the way"


def test_an_unknown_key_hides_no_other_fault():
    """All that is wrong with a condition is told at once; what the key may have been is not."""
    with pytest.raises(ConfigurationError) as caught:
        Conditions({"attr": 5, "oops": 1, "op": "bogus", "negate": "x"})
    assert [fault.pointer for fault in caught.value.faults] == ["/oops", "/attr", "/op", "/negate"]
    with pytest.raises(ConfigurationError) as caught:
        Conditions({"atr": "status", "value": 1})
    assert [fault.pointer for fault in caught.value.faults] == ["/atr"]


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        ({"x": 1}, True),
        ({"x": 2, "a": 0, "b": 5}, False),
        ({"x": 2, "a": 0, "b": "text"}, False),
        ({"x": 2, "a": 1, "b": "text"}, None),
        ({"a": 1, "b": 0}, None),
        ({"x": 2}, None),
    ],
)
@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_a_verdict_tells_what_could_not_be_decided(data, verdict, kind):
    """Only where that counted: what a set no longer asks does not."""
    both = {"and": [{"attr": "a", "value": 1}, {"attr": "b", "op": "gt", "value": 1}]}
    conditions = Conditions({"or": [{"attr": "x", "value": 1}, both]})
    change = Change(event="created", model="site", data=kind(data))
    assert conditions.verdict(change) is verdict
    assert conditions.matches(change) is bool(verdict)
