"""The verdicts of NetBox's condition model, written out: documents, data and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from changehook.conditions import Conditions
from changehook.errors import ConfigurationError
from changehook.models import Change

PLANNED, ACTIVE = {"status": "planned"}, {"status": "active"}
TAGGED = {"tags": [{"slug": "exempt"}, {"slug": "other"}]}
ABC = {"a": {"b": {"c": 123}}}


def leaf(
    attr: str, *value: Any, op: str | None = None, negate: bool | None = None
) -> dict[str, Any]:
    document: dict[str, Any] = {"attr": attr}
    if value:
        document["value"] = value[0]
    if op is not None:
        document["op"] = op
    if negate is not None:
        document["negate"] = negate
    return document


def verdict(
    document: dict[str, Any],
    data: dict[str, Any],
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> str:
    """Return what ``explain`` says in its first word or two, once ``matches`` agrees."""
    conditions = Conditions(document)
    change = Change(event="updated", model="site", data=data, prechange=before, postchange=after)
    explanation = conditions.explain(change)
    assert conditions.matches(change) is explanation.matched
    return explanation.verdict.partition(":")[0]


MATCHED, NOT_MATCHED, UNRESOLVABLE = "matched", "not matched", "unresolvable"

ON_DATA = [
    # The default operator, and nested keys.
    (leaf("x", 1), {"x": 1}, MATCHED),
    (leaf("x", 1), {"x": 2}, NOT_MATCHED),
    (leaf("x", 1), {}, UNRESOLVABLE),
    (leaf("a.b.c", 123), ABC, MATCHED),
    (leaf("a.b.c", 124), ABC, NOT_MATCHED),
    (leaf("a.b.d", 123), ABC, UNRESOLVABLE),
    (leaf("a.b.c.d", 123), ABC, UNRESOLVABLE),
    (leaf("x.y.z", 1), {"x": {"y": None}}, UNRESOLVABLE),
    (leaf("x.y.z", 1), {"x": {"y": ""}}, UNRESOLVABLE),
    (leaf("x.y.z", None), {"x": {"y": {}}}, UNRESOLVABLE),
    (leaf("x.y.z", 1, negate=True), {"x": {"y": {"a": 1}}}, UNRESOLVABLE),
    # eq
    (leaf("x", 1, op="eq"), {"x": 1}, MATCHED),
    (leaf("x", 1, op="eq"), {"x": True}, MATCHED),
    (leaf("x", 1, op="eq"), {"x": 1.0}, MATCHED),
    (leaf("x", 1, op="eq"), {"x": "1"}, NOT_MATCHED),
    (leaf("x", False, op="eq"), {"x": 0}, MATCHED),
    (leaf("x", "", op="eq"), {"x": None}, NOT_MATCHED),
    (leaf("name", "foo"), {"name": "foo"}, MATCHED),
    (leaf("name", "foo", negate=True), {"name": "foo"}, NOT_MATCHED),
    (leaf("name", "foo", negate=True), {"name": "bar"}, MATCHED),
    (leaf("x", None), {"x": None}, MATCHED),
    (leaf("x", None, negate=True), {"x": None}, NOT_MATCHED),
    (leaf("x", None, negate=True), {"x": "string"}, MATCHED),
    (leaf("x", None, negate=True), {"x": {"key": "value"}}, MATCHED),
    (leaf("x", [1, 2]), {"x": [1, 2]}, MATCHED),
    (leaf("x", [1, 2]), {"x": [2, 1]}, NOT_MATCHED),
    (leaf("x", [{"a": 1}]), {"x": [{"a": 1}]}, MATCHED),
    # Numbers
    (leaf("asn", 65000, op="gt"), {"asn": 65001}, MATCHED),
    (leaf("asn", 65000, op="gt"), {"asn": 65000}, NOT_MATCHED),
    (leaf("x", 1, op="gt"), {"x": "foo"}, UNRESOLVABLE),
    (leaf("x", 1, op="gte"), {"x": 1}, MATCHED),
    (leaf("x", 1, op="gte"), {"x": 0}, NOT_MATCHED),
    (leaf("x", 1, op="gte"), {"x": None}, UNRESOLVABLE),
    (leaf("x", 2, op="lt"), {"x": 1}, MATCHED),
    (leaf("x", 2, op="lt"), {"x": 2}, NOT_MATCHED),
    (leaf("x", 2, op="lt"), {"x": [1]}, UNRESOLVABLE),
    (leaf("x", 2, op="lte"), {"x": 2}, MATCHED),
    (leaf("x", 2, op="lte"), {"x": 3}, NOT_MATCHED),
    (leaf("x", 2, op="lte", negate=True), {"x": 3}, MATCHED),
    (leaf("x", 2, op="lte", negate=True), {"x": "3"}, UNRESOLVABLE),
    (leaf("x", 0.5, op="gt"), {"x": True}, MATCHED),
    # in
    (leaf("x", [1, 2, 3], op="in"), {"x": 1}, MATCHED),
    (leaf("x", [1, 2, 3], op="in"), {"x": 9}, NOT_MATCHED),
    (leaf("x", [1, 2, 3], op="in", negate=True), {"x": 1}, NOT_MATCHED),
    (leaf("x", [1, 2, 3], op="in", negate=True), {"x": 9}, MATCHED),
    (leaf("x", [None], op="in"), {"x": None}, MATCHED),
    (leaf("x", [[1], [2]], op="in"), {"x": [2]}, MATCHED),
    (leaf("x", [1, 2], op="in"), {"x": {"a": 1}}, NOT_MATCHED),
    (leaf("x", [], op="in"), {"x": 1}, NOT_MATCHED),
    (
        leaf("status.value", ["planned", "staging"], op="in"),
        {"status": {"value": "active"}},
        NOT_MATCHED,
    ),
    (
        leaf("status.value", ["planned", "staging"], op="in", negate=True),
        {"status": {"value": "active"}},
        MATCHED,
    ),
    # contains
    (leaf("x", 1, op="contains"), {"x": [1, 2, 3]}, MATCHED),
    (leaf("x", 1, op="contains"), {"x": [2, 3, 4]}, NOT_MATCHED),
    (leaf("x", 1, op="contains"), {"x": 123}, UNRESOLVABLE),
    (leaf("x", 1, op="contains", negate=True), {"x": [1, 2, 3]}, NOT_MATCHED),
    (leaf("x", 1, op="contains", negate=True), {"x": [2, 3, 4]}, MATCHED),
    (leaf("x", 1, op="contains", negate=True), {"x": None}, UNRESOLVABLE),
    (leaf("x", "oo", op="contains"), {"x": "foo"}, MATCHED),
    (leaf("x", "ba", op="contains"), {"x": "foo"}, NOT_MATCHED),
    (leaf("x", 1, op="contains"), {"x": "1"}, UNRESOLVABLE),
    (leaf("x", "key", op="contains"), {"x": {"key": "value"}}, MATCHED),
    (leaf("x", "value", op="contains"), {"x": {"key": "value"}}, NOT_MATCHED),
    (leaf("x", [1], op="contains"), {"x": [[1], [2]]}, MATCHED),
    (leaf("x", [1], op="contains"), {"x": {"a": 1}}, UNRESOLVABLE),
    # regex
    (leaf("x", "[a-z]+", op="regex"), {"x": "abc"}, MATCHED),
    (leaf("x", "[a-z]+", op="regex"), {"x": "123"}, NOT_MATCHED),
    (leaf("x", "[a-z]+", op="regex"), {"x": "1abc"}, NOT_MATCHED),
    (leaf("x", "[a-z]+", op="regex"), {"x": "abc1"}, MATCHED),
    (leaf("x", "[a-z]+", op="regex", negate=True), {"x": "abc"}, NOT_MATCHED),
    (leaf("x", "[a-z]+", op="regex", negate=True), {"x": "123"}, MATCHED),
    (leaf("x", "[a-z]+", op="regex", negate=True), {"x": 123}, UNRESOLVABLE),
    # Through lists
    (leaf("tags.slug", "exempt", op="contains"), TAGGED, MATCHED),
    (leaf("tags.slug", "exempt", op="contains"), {"tags": [{"slug": "other"}]}, NOT_MATCHED),
    (leaf("tags.slug", "exempt", op="contains"), {"tags": []}, NOT_MATCHED),
    (leaf("tags.slug", "exempt", op="contains", negate=True), {"tags": []}, MATCHED),
    (leaf("tags.slug", []), {"tags": []}, MATCHED),
    (leaf("tags.parent.slug", "exempt", op="contains"), {"tags": []}, NOT_MATCHED),
    (leaf("tags.parent.slug", ["a"]), {"tags": [{"parent": {"slug": "a"}}]}, MATCHED),
    (leaf("tags.slug", "x", op="contains"), {"tags": [{"slug": "x"}, {}]}, UNRESOLVABLE),
    (leaf("tags.slug", "x", op="contains"), {"tags": [{"slug": "x"}, None]}, UNRESOLVABLE),
    (leaf("tags.slug", "x", op="contains"), {"tags": ["x"]}, UNRESOLVABLE),
    (leaf("tags.0", "x"), {"tags": ["x"]}, UNRESOLVABLE),
    (leaf("tags.slug", "exempt"), TAGGED, NOT_MATCHED),
    (leaf("tags.slug", ["exempt", "other"]), TAGGED, MATCHED),
]


@pytest.mark.parametrize(("document", "data", "expected"), ON_DATA)
def test_one_condition_on_data(
    document: dict[str, Any], data: dict[str, Any], expected: str
) -> None:
    """A condition on the data has NetBox's verdict, and none where NetBox raises."""
    assert verdict(document, data, {}, {}) == expected


A1, B1, B2, C3 = leaf("a", 1), leaf("b", 1), leaf("b", 2), leaf("c", 3)
EXEMPT = leaf("tags.slug", "exempt", op="contains")
LIVE = {"and": [leaf("status.value", "active"), leaf("primary_ip4", None, negate=True)]}
IN_SETS = [
    ({"and": [A1, leaf("b", 1, negate=True)]}, {"a": 1, "b": 2}, True),
    ({"and": [A1, leaf("b", 1, negate=True)]}, {"a": 1, "b": 1}, False),
    ({"or": [A1, B1]}, {"a": 1, "b": 2}, True),
    ({"or": [A1, B1]}, {"a": 2, "b": 1}, True),
    ({"or": [A1, B1]}, {"a": 2, "b": 2}, False),
    ({"and": [A1, {"and": [B2, C3]}]}, {"a": 1, "b": 2, "c": 3}, True),
    ({"and": [A1, {"and": [B2, C3]}]}, {"a": 9, "b": 2, "c": 3}, False),
    ({"and": [A1, {"and": [B2, C3]}]}, {"a": 1, "b": 9, "c": 3}, False),
    ({"or": [A1, {"or": [B2, C3]}]}, {"a": 9, "b": 9, "c": 3}, True),
    ({"or": [A1, {"or": [B2, C3]}]}, {"a": 9, "b": 9, "c": 9}, False),
    ({"and": [A1, {"or": [B2, C3]}]}, {"a": 1, "b": 2, "c": 9}, True),
    ({"and": [A1, {"or": [B2, C3]}]}, {"a": 1, "b": 9, "c": 3}, True),
    ({"and": [A1, {"or": [B2, C3]}]}, {"a": 1, "b": 9, "c": 9}, False),
    ({"and": [A1, {"or": [B2, C3]}]}, {"a": 9, "b": 2, "c": 3}, False),
    ({"or": [A1, {"and": [B2, C3]}]}, {"a": 1, "b": 9, "c": 9}, True),
    ({"or": [A1, {"and": [B2, C3]}]}, {"a": 9, "b": 2, "c": 3}, True),
    ({"or": [A1, {"and": [B2, C3]}]}, {"a": 9, "b": 2, "c": 9}, False),
    # The documented example, and that a set never depends on the order of its members.
    (
        {"or": [LIVE, EXEMPT]},
        {"status": {"value": "active"}, "primary_ip4": {"id": 1}, "tags": []},
        True,
    ),
    (
        {"or": [EXEMPT, LIVE]},
        {"status": {"value": "active"}, "primary_ip4": {"id": 1}, "tags": []},
        True,
    ),
    (
        {"or": [EXEMPT, LIVE]},
        {"status": {"value": "active"}, "primary_ip4": None, "tags": []},
        False,
    ),
    ({"or": [LIVE, EXEMPT]}, {"status": {"value": "offline"}, "primary_ip4": None, **TAGGED}, True),
    ({"or": [A1, B1]}, {"b": 1}, True),
    ({"or": [B1, A1]}, {"b": 1}, True),
    ({"and": [A1, B1]}, {"b": 1}, False),
]


@pytest.mark.parametrize(("document", "data", "expected"), IN_SETS)
def test_sets(document: dict[str, Any], data: dict[str, Any], expected: bool) -> None:
    """Sets combine, nest and tolerate an unresolvable member."""
    assert verdict(document, data) == (MATCHED if expected else NOT_MATCHED)


PRE, POST = "snapshots.prechange", "snapshots.postchange"
BLOB, NESTED_BLOB = {"fields": {"blob": "legacy"}}, {"fields": {"blob": {"key": 1}}}
RICH = {"status": "active", "fields": {"one": "x"}, "tags": [], "description": ""}
ON_SNAPSHOTS = [
    # changed, unchanged
    (leaf("status", op="changed"), PLANNED, ACTIVE, MATCHED),
    (leaf("status", op="changed"), ACTIVE, ACTIVE, NOT_MATCHED),
    (leaf("status", op="changed", negate=True), PLANNED, ACTIVE, NOT_MATCHED),
    (leaf("status", op="changed", negate=True), ACTIVE, ACTIVE, MATCHED),
    (leaf("status", op="unchanged"), ACTIVE, ACTIVE, MATCHED),
    (leaf("status", op="unchanged"), PLANNED, ACTIVE, NOT_MATCHED),
    (leaf("status", op="changed"), {}, ACTIVE, MATCHED),
    (leaf("status", op="changed"), None, ACTIVE, MATCHED),
    (leaf("status", op="changed"), ACTIVE, None, MATCHED),
    (leaf("status", op="unchanged"), ACTIVE, None, NOT_MATCHED),
    (leaf("status", op="unchanged", negate=True), ACTIVE, None, MATCHED),
    (leaf("status", op="changed"), None, {"status": None}, MATCHED),
    (leaf("status", op="changed"), {"status": None}, {"status": None}, NOT_MATCHED),
    (leaf("nonexistent", op="changed"), PLANNED, ACTIVE, UNRESOLVABLE),
    (leaf("nonexistent", op="changed", negate=True), PLANNED, ACTIVE, UNRESOLVABLE),
    (leaf("nonexistent", op="unchanged"), PLANNED, ACTIVE, UNRESOLVABLE),
    (leaf("nonexistent", op="unchanged", negate=True), PLANNED, ACTIVE, UNRESOLVABLE),
    (leaf("status.value", op="changed"), PLANNED, ACTIVE, UNRESOLVABLE),
    (leaf("status.value", op="unchanged"), ACTIVE, ACTIVE, UNRESOLVABLE),
    (leaf("status.value", op="changed"), {}, ACTIVE, UNRESOLVABLE),
    (leaf("status.value", op="changed"), None, ACTIVE, UNRESOLVABLE),
    (
        leaf("description.value", op="changed"),
        {"description": ""},
        {"description": "x"},
        UNRESOLVABLE,
    ),
    (leaf("tags.name", op="changed"), {"tags": ["A"]}, {"tags": ["A", "B"]}, UNRESOLVABLE),
    (leaf("tags.name", op="changed"), {"tags": []}, {"tags": ["A"]}, UNRESOLVABLE),
    (leaf("tags.name", op="changed"), {"tags": []}, {"tags": [{"name": "A"}]}, MATCHED),
    (leaf("tags", op="changed"), {"tags": []}, {"tags": ["A"]}, MATCHED),
    (leaf("tags", op="unchanged"), {"tags": ["A"]}, {"tags": ["A"]}, MATCHED),
    (leaf("fields.blob.key", op="changed"), BLOB, NESTED_BLOB, MATCHED),
    (leaf("fields.blob.key", op="changed"), NESTED_BLOB, BLOB, MATCHED),
    (leaf("fields.blob.key", op="unchanged"), BLOB, NESTED_BLOB, NOT_MATCHED),
    (leaf("status", op="changed"), None, None, UNRESOLVABLE),
    (leaf("status", op="unchanged", negate=True), None, None, UNRESOLVABLE),
    # Paths into the snapshots
    (leaf(f"{PRE}.status", "planned"), PLANNED, ACTIVE, MATCHED),
    (leaf(f"{POST}.status", "active"), PLANNED, ACTIVE, MATCHED),
    (leaf(f"{POST}.status", "planned"), PLANNED, ACTIVE, NOT_MATCHED),
    (leaf(f"{PRE}.status.value", "planned"), PLANNED, ACTIVE, UNRESOLVABLE),
    (leaf(f"{PRE}.stauts", "planned"), PLANNED, ACTIVE, UNRESOLVABLE),
    (leaf("snapshots.bogus.status", None), PLANNED, ACTIVE, UNRESOLVABLE),
    # An absent snapshot is null where the other one has the path
    (leaf(f"{PRE}.status", "planned"), None, ACTIVE, NOT_MATCHED),
    (leaf(f"{PRE}.status", None), None, ACTIVE, MATCHED),
    (leaf(f"{PRE}.status", "planned", negate=True), None, ACTIVE, MATCHED),
    (leaf(f"{POST}.status", None), ACTIVE, None, MATCHED),
    (leaf(PRE, None), None, ACTIVE, MATCHED),
    (leaf(PRE, None), PLANNED, ACTIVE, NOT_MATCHED),
    (leaf(PRE, None, negate=True), PLANNED, ACTIVE, MATCHED),
    (leaf(f"{PRE}.", None), None, ACTIVE, MATCHED),
    (leaf(f"{PRE}.fields.one", None), None, RICH, MATCHED),
    (leaf(f"{PRE}.tags", None), None, RICH, MATCHED),
    (leaf(f"{PRE}.tags.name", None), None, RICH, UNRESOLVABLE),
    (leaf(f"{PRE}.fields.two", None), None, RICH, UNRESOLVABLE),
    (leaf(f"{PRE}.status.value", None), None, RICH, UNRESOLVABLE),
    (leaf(f"{PRE}.description.value", None), None, RICH, UNRESOLVABLE),
    (leaf(f"{POST}.nonexistent", None), ACTIVE, None, UNRESOLVABLE),
    (leaf(f"{PRE}.status.value", None), None, None, MATCHED),
    (leaf(f"{POST}.anything.at.all", None), None, None, MATCHED),
    (leaf(f"{PRE}.status", "foo", op="contains"), None, ACTIVE, NOT_MATCHED),
    (leaf(f"{PRE}.status", "foo", op="contains", negate=True), None, ACTIVE, MATCHED),
    (leaf(f"{PRE}.status", "^foo", op="regex"), None, ACTIVE, NOT_MATCHED),
    (leaf(f"{PRE}.status", "^foo", op="regex", negate=True), None, ACTIVE, MATCHED),
    (leaf(f"{PRE}.status", 1, op="gt"), None, ACTIVE, NOT_MATCHED),
    (leaf(f"{PRE}.status", 1, op="lte", negate=True), None, ACTIVE, MATCHED),
    (leaf(f"{PRE}.status", ["planned", None], op="in"), None, ACTIVE, MATCHED),
    (leaf("snapshots", "prechange", op="contains"), PLANNED, ACTIVE, MATCHED),
]


@pytest.mark.parametrize(("document", "before", "after", "expected"), ON_SNAPSHOTS)
def test_one_condition_on_snapshots(
    document: dict[str, Any],
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    expected: str,
) -> None:
    """A condition on the snapshots has NetBox's verdict, and none where NetBox raises."""
    assert verdict(document, {"name": "Site 1"}, before, after) == expected


@pytest.mark.parametrize(("before", "expected"), [(PLANNED, True), (ACTIVE, False), (None, True)])
def test_the_canonical_example(before: dict[str, Any] | None, expected: bool) -> None:
    """ "Becomes active" is a value and a change."""
    document = {"and": [leaf("status.value", "active"), leaf("status", op="changed")]}
    data = {"status": {"value": "active"}}
    assert (verdict(document, data, before, ACTIVE) == MATCHED) is expected


@pytest.mark.parametrize("document", [
    leaf("x", 1, op="blah"),
    leaf("x", {}),
    leaf("x", "foo", op="gt"),
    leaf("x", True, op="gt"),
    leaf("x", 123, op="in"),
    leaf("x", None, op="contains"),
    leaf("x", 5, op="regex"),
    leaf("x", "active", op="changed"),
    leaf("x", None, op="unchanged"),
    leaf(f"{PRE}.status", op="changed"),
    leaf(f"{POST}.status", op="unchanged"),
    leaf("x"),
    leaf("x", op="eq"),
    {},
    {"foo": []},
    {"foo": "status.value", "value": "active"},
    {"and": {}},
])  # fmt: skip
def test_what_netbox_refuses_is_refused(document: dict[str, Any]) -> None:
    """A document that NetBox does not accept, or stumbles over, is a configuration error."""
    with pytest.raises(ConfigurationError):
        Conditions(document)


@pytest.mark.parametrize("document", [
    {"and": []},
    {"AND": [leaf("x", 1)]},
    leaf("x", "(", op="regex"),
    {**leaf("x", 1), "negate": "no"},
])  # fmt: skip
def test_what_netbox_should_refuse_is_refused(document: dict[str, Any]) -> None:
    """Documents that always fire, or fail when an event comes, are refused when written."""
    with pytest.raises(ConfigurationError):
        Conditions(document)
