"""Conditions against an evaluator that is rebuilt for every change, and against hand-written code.

Run it: ``PYTHONPATH=src:tests/benchmarks python tests/benchmarks/bench_conditions.py``.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from measure import ratio, report

from changehook.conditions import Conditions
from changehook.models import Change

DATA = {
    "name": "Site 1",
    "status": {"value": "active", "label": "Active"},
    "asn": 65_010,
    "region": {"slug": "emea"},
    "primary_ip4": {"address": "192.0.2.1/32"},
    "tags": [{"slug": "core"}, {"slug": "edge"}, {"slug": "exempt"}],
}
SNAPSHOTS = {"prechange": {"status": "planned"}, "postchange": {"status": "active"}}
CHANGE = Change(
    event="updated",
    model="site",
    data=DATA,
    prechange=SNAPSHOTS["prechange"],
    postchange=SNAPSHOTS["postchange"],
)

STATUS = {"attr": "status.value", "value": "active"}
TAGS = {"attr": "tags.slug", "value": "exempt", "op": "contains"}
FIVE = {
    "and": [
        STATUS,
        {"attr": "asn", "value": 65_000, "op": "gt"},
        {
            "or": [
                {"attr": "region.slug", "value": ["apac", "amer"], "op": "in"},
                {"attr": "name", "value": "Site", "op": "regex"},
            ]
        },
        {"attr": "status", "op": "changed"},
    ]
}


class InvalidError(Exception):
    """A rule cannot be evaluated."""


class Rule:
    """One condition of the same model, checked when built, as it is for every change."""

    OPERATORS = ("eq", "gt", "gte", "lt", "lte", "in", "contains", "regex", "changed", "unchanged")
    ALLOWED: ClassVar[dict[type, tuple[str, ...]]] = {
        str: ("eq", "contains", "regex"),
        bool: ("eq", "contains"),
        int: ("eq", "gt", "gte", "lt", "lte", "contains"),
        float: ("eq", "gt", "gte", "lt", "lte", "contains"),
        list: ("eq", "in", "contains"),
        type(None): ("eq",),
    }
    ABSENT = object()

    def __init__(self, attr: str, value: Any = ABSENT, op: str = "eq", negate: bool = False):
        if op not in self.OPERATORS:
            raise ValueError(f"{op} is not one of {', '.join(self.OPERATORS)}")
        if op in ("changed", "unchanged"):
            if value is not self.ABSENT or attr.startswith("snapshots."):
                raise ValueError(f"{op} takes an attribute only")
        elif type(value) not in self.ALLOWED or op not in self.ALLOWED[type(value)]:
            raise ValueError(f"{op} does not take this value")
        self.attr, self.value, self.op, self.negate = attr, value, op, negate
        self.test = getattr(self, f"test_{op}")

    def matches(self, data: dict[str, Any]) -> bool:
        if self.op in ("changed", "unchanged"):
            found: Any = [self.find(data["snapshots"][which]) for which in SNAPSHOTS]
            if self.ABSENT in found:
                raise InvalidError(f"{self.attr} is in no snapshot")
        else:
            found = None if self.is_absent_snapshot(data) else self.find(data)
        try:
            result = self.test(found)
        except TypeError as error:
            raise InvalidError(f"{self.attr} is of the wrong type") from error
        return bool(result is not self.negate)

    def is_absent_snapshot(self, data: dict[str, Any]) -> bool:
        if not self.attr.startswith("snapshots."):
            return False
        which = self.attr.split(".")[1]
        return bool(data["snapshots"].get(which, self) is None)

    def find(self, data: dict[str, Any]) -> Any:
        value = self.walk(data)
        if value is self.ABSENT:
            raise InvalidError(f"{self.attr} is not there")
        return value

    def walk(self, value: Any) -> Any:
        for key in self.attr.split("."):
            if isinstance(value, list):
                found = []
                for item in value:
                    if not isinstance(item, dict):
                        raise InvalidError(f"{key} is looked for in {type(item).__name__}")
                    if key not in item:
                        return self.ABSENT
                    found.append(item[key])
                value = found
            elif isinstance(value, dict):
                if key not in value:
                    return self.ABSENT
                value = value[key]
            else:
                raise InvalidError(f"{key} is looked for in {type(value).__name__}")
        return value

    def test_eq(self, found: Any) -> bool:
        return bool(found == self.value)

    def test_gt(self, found: Any) -> bool:
        return bool(found > self.value)

    def test_in(self, found: Any) -> bool:
        return found in self.value

    def test_contains(self, found: Any) -> bool:
        return self.value in found

    def test_regex(self, found: Any) -> bool:
        return re.match(self.value, found) is not None

    def test_changed(self, found: Any) -> bool:
        return bool(found[0] != found[1])


class RuleSet:
    """A set of them; a single condition is a set of one."""

    def __init__(self, document: dict[str, Any]):
        if type(document) is not dict:
            raise ValueError("not an object")
        if len(document) == 1:
            self.logic = next(iter(document)).lower()
            if self.logic not in ("and", "or"):
                raise ValueError("neither and nor or")
            self.rules = [self.member(member) for member in document[self.logic]]
        else:
            self.logic = "and"
            self.rules = [Rule(**document)]

    @staticmethod
    def member(document: dict[str, Any]) -> RuleSet | Rule:
        is_set = (
            type(document) is dict and len(document) == 1 and next(iter(document)) in ("and", "or")
        )
        return RuleSet(document) if is_set else Rule(**document)

    def matches(self, data: dict[str, Any]) -> bool:
        combine = any if self.logic == "or" else all
        return combine(rule.matches(data) for rule in self.rules)


def five_by_hand(change: Change) -> bool:
    data = change.data
    return bool(
        data["status"]["value"] == "active"
        and data["asn"] > 65_000
        and (data["region"]["slug"] in ("apac", "amer") or re.match("Site", data["name"]))
        and change.prechange["status"] != change.postchange["status"]
    )


CASES: dict[str, tuple[dict[str, Any], Callable[[Change], bool]]] = {
    "one condition": (STATUS, lambda change: change.data["status"]["value"] == "active"),
    "five in sets": (FIVE, five_by_hand),
    "list contains": (
        TAGS,
        lambda change: "exempt" in [tag["slug"] for tag in change.data["tags"]],
    ),
}
# Time divided by the peer's, at most. A list must be walked by all, so there is less to gain.
LIMITS = {
    "one condition / rebuilt": 1 / 20,
    "five in sets / rebuilt": 1 / 20,
    "list contains / rebuilt": 1 / 5,
    "one condition / by hand": 2.5,
    "five in sets / by hand": 2.5,
    "list contains / by hand": 2.5,
}


def run(*, rounds: int = 31, number: int = 20) -> dict[str, float]:
    """Return the ratios of ``LIMITS``."""
    found: dict[str, float] = {}
    for name, (document, by_hand) in CASES.items():
        ours = Conditions(document).matches
        rebuilt = _rebuilding(document)
        if not ours(CHANGE) is rebuilt(CHANGE) is by_hand(CHANGE) is True:
            raise RuntimeError(f"{name}: the verdicts differ")
        for peer, how in (("rebuilt", rebuilt), ("by hand", by_hand)):
            times = ratio(_batch(ours), _batch(how), rounds=rounds, number=number)
            found[f"{name} / {peer}"] = times
    return found


def _rebuilding(document: dict[str, Any]) -> Callable[[Change], bool]:
    """Return what happens for every change: build, evaluate, log."""
    data = {**DATA, "snapshots": SNAPSHOTS}

    def rebuilding(_: Change) -> bool:
        logger = logging.getLogger("rules")
        try:
            result = RuleSet(document).matches(data)
            logger.debug(f"rule: evaluated as {result}")
            return result
        except InvalidError as error:
            logger.error(f"rule: {error}")
            return False

    return rebuilding


def _batch(matches: Callable[[Change], bool]) -> Callable[[], None]:
    changes = [CHANGE] * 100

    def batch() -> None:
        for change in changes:
            matches(change)

    return batch


if __name__ == "__main__":
    sys.exit(report(run, LIMITS))
