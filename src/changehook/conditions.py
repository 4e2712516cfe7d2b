"""Does a webhook want a change, and why: the condition documents of NetBox's model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs

from changehook.encoding import decode_strict, to_plain
from changehook.errors import ConfigurationError, Fault, printable, refuses_liars
from changehook.evaluation import (
    Group,
    Leaf,
    compiled,
    evaluate,
    judge,
    parsed,
)
from changehook.grammar import MOST_FAULTS, Checker
from changehook.models import Change

__all__ = ["Conditions", "Explanation"]

SHOWN = 160


class Conditions:
    """A condition document, checked and compiled.

    ``matches`` is the compiled function itself: ``matches(change)`` returns whether the change
    meets the conditions, and never raises. ``verdict(change)`` returns the same, but None when the
    change does not meet them and some condition could not be decided.

    Args:
        document: a condition ``{"attr", "value", "op", "negate"}`` or a set ``{"and": […]}`` or
            ``{"or": […]}``, as parsed from JSON.

    Raises:
        ConfigurationError: every fault of the document, each with its JSON pointer.
    """

    __slots__ = ("_sorted", "_text", "_tree", "matches", "verdict")

    matches: Callable[[Change], bool]
    verdict: Callable[[Change], bool | None]

    @refuses_liars
    def __init__(self, document: object) -> None:
        checker = Checker()
        copy = checker.copied(document)
        if len(checker.faults) >= MOST_FAULTS:
            checker.faults.append(Fault("", "these are the first faults; there may be more"))
        if checker.faults:
            raise ConfigurationError(*checker.faults)
        self._text = json.dumps(copy, ensure_ascii=False)
        self._sorted = json.dumps(copy, sort_keys=True)
        self._tree = parsed(self.document)
        self.matches, self.verdict = compiled(self._tree, evaluate, _verdict)

    @classmethod
    def from_json(cls, text: str | bytes) -> Conditions:
        """Return the conditions that JSON text describes.

        Raises:
            ConfigurationError: the text is not JSON, a key stands twice in one object, or the
                document has faults.
        """
        try:
            document = decode_strict(text)
        except ValueError as error:
            raise ConfigurationError(f"not a JSON document: {error}") from None
        return cls(document)

    @property
    def document(self) -> dict[str, Any]:
        """The document in plain JSON types, a new copy at each access."""
        return cast("dict[str, Any]", json.loads(self._text))

    def explain(self, change: Change) -> Explanation:
        """Return the document as a tree, with what each condition found and its verdict."""
        return _explained(self._tree, change)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conditions) and self._sorted == other._sorted

    def __hash__(self) -> int:
        return hash(self._sorted)

    def __repr__(self) -> str:
        return f"Conditions({self._text if len(self._text) <= 80 else self._text[:79] + '…'})"

    def __reduce__(self) -> tuple[type[Conditions], tuple[dict[str, Any]]]:
        return type(self), (self.document,)


@attrs.frozen(kw_only=True)
class Explanation:
    """Why conditions match a change, or do not: the tree of the document with verdicts.

    Args:
        kind: ``and`` or ``or`` for a set, ``condition`` for one condition.
        verdict: ``matched``, ``not matched``, or ``unresolvable: `` and why.
        members: of a set.
        attr, op, negate, value: of a condition, as in the document.
        resolved: of a condition, the JSON value found; for ``changed`` and ``unchanged`` an object
            with what was found in ``prechange`` and ``postchange``.

    ``value`` and ``resolved`` are ``attrs.NOTHING`` where there is none.
    """

    kind: str
    verdict: str
    members: tuple[Explanation, ...] = ()
    attr: str = ""
    op: str = ""
    negate: bool = False
    value: Any = attrs.field(factory=lambda: attrs.NOTHING)
    resolved: Any = attrs.field(factory=lambda: attrs.NOTHING)

    @property
    def matched(self) -> bool:
        """The verdict as a boolean; what is unresolvable does not match."""
        return self.verdict == "matched"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why conditions were unresolvable, each with its path; these hold no values."""
        inside = tuple(reason for member in self.members for reason in member.reasons)
        _, separator, reason = self.verdict.partition(": ")
        return (printable(f"{self.attr}: {reason}"), *inside) if separator else inside

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as plain JSON types; a key with nothing to hold is left out."""
        head = {"kind": self.kind, "verdict": self.verdict, "matched": self.matched}
        if self.members:
            return {**head, "members": [member.to_dict() for member in self.members]}
        condition = {"attr": self.attr, "op": self.op, "negate": self.negate}
        values = {"value": self.value, "resolved": self.resolved}
        there = {key: value for key, value in values.items() if value is not attrs.NOTHING}
        return {**head, **condition, **there}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{printable(self.verdict)}: {self.kind if self.members else self._condition()}"
        for member in self.members:
            yield from (f"  {line}" for line in member._lines())

    def _condition(self) -> str:
        words = [printable(self.attr), "not" if self.negate else "", self.op, _shown(self.value)]
        found = _shown(self.resolved)
        return " ".join(filter(None, words)) + (found and f" (found {found})")


def _shown(value: Any) -> str:
    if value is attrs.NOTHING:
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return printable(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def _verdict(node: Group | Leaf, change: Change) -> bool | None:
    """Return what ``evaluate`` does; None when there is no match and some condition that counted
    could not be decided."""
    if evaluate(node, change):
        return True
    return None if any(_unresolvable(node, change)) else False


def _unresolvable(node: Group | Leaf, change: Change) -> Iterator[bool]:
    """Yield for each condition whether it cannot be decided, as far as they are evaluated."""
    if isinstance(node, Leaf):
        yield judge(node, change)[0].startswith("unresolvable")
        return
    for member in node.members:
        yield from _unresolvable(member, change)
        if evaluate(member, change) is (node.kind == "or"):
            return


def _explained(node: Group | Leaf, change: Change) -> Explanation:
    """Return the verdict of ``evaluate`` with that of every condition below it."""
    if isinstance(node, Leaf):
        verdict, found = judge(node, change)
        return Explanation(
            kind="condition",
            verdict=verdict,
            attr=node.attr,
            op=node.op,
            negate=node.negate,
            value=_presentable(node.value),
            resolved=_presentable(found),
        )
    members = tuple(_explained(member, change) for member in node.members)
    verdicts = (member.matched for member in members)
    matched = all(verdicts) if node.kind == "and" else any(verdicts)
    verdict = "matched" if matched else "not matched"
    return Explanation(kind=node.kind, verdict=verdict, members=members)


def _presentable(value: Any) -> Any:
    """Return a plain copy; nothing for what has no JSON form."""
    try:
        return value if value is attrs.NOTHING else to_plain(value)
    except Exception:
        return attrs.NOTHING
