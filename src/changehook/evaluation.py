"""What conditions mean: a tree, its exact evaluator, and the fast function made from it.

The function is optimistic: whatever it does not expect (a host object, a missing key, a null where
a number should be) it leaves to the exact evaluator, which alone knows what is unresolvable. Its
source is fixed text with counted names: nothing of a document is ever source text.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn

import attrs

from changehook.encoding import isoformat, simplify, to_plain
from changehook.errors import EncodingError
from changehook.models import Change
from changehook.regexscreen import LONGEST_SUBJECT

__all__ = [
    "OPERATORS",
    "VARIABLES",
    "Group",
    "Leaf",
    "compiled",
    "evaluate",
    "judge",
    "kind_of",
    "parsed",
]

VARIABLES = ("@event", "@model", "@username", "@request_id", "@timestamp")
SCALARS = frozenset({str, int, bool, type(None)})
SNAPSHOTS = ("prechange", "postchange")
OTHER = {"prechange": "postchange", "postchange": "prechange"}
MOST_SIMPLIFIED = 16
MOST_ITEMS = 250_000


class _UnresolvableError(Exception):
    """Why a condition has no verdict; holds no value of the data."""


def _match(found: Any, match: Callable[[str], object]) -> bool:
    if found.__class__ is str and len(found) > LONGEST_SUBJECT:
        raise _UnresolvableError(f"regex takes up to {LONGEST_SUBJECT} characters")
    return match(found) is not None


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "in": lambda found, value: found in value,
    "contains": operator.contains,
    "regex": _match,
    "changed": lambda found, _: _sides(found)[0] != _sides(found)[1],
    "unchanged": lambda found, _: _sides(found)[0] == _sides(found)[1],
}


def _sides(found: dict[str, Any]) -> list[Any]:
    return [found.get(which, attrs.NOTHING) for which in SNAPSHOTS]


@attrs.frozen(kw_only=True)
class Leaf:
    """One condition, checked.

    Args:
        attr, op, negate: as in the document.
        value: as in the document; ``attrs.NOTHING`` for ``changed`` and ``unchanged``.
        source: the attribute of the change where the path starts.
        path: the keys from there.
        operand: what the operator compares with: the value, or the ``match`` of a compiled pattern.
    """

    attr: str
    op: str
    negate: bool
    value: Any
    source: str
    path: tuple[str, ...]
    operand: Any

    @property
    def of_both_sides(self) -> bool:
        """True when the two snapshots are compared with each other."""
        return self.op in ("changed", "unchanged")

    @property
    def against_scalar(self) -> bool:
        """True when an object or a list is unequal whatever it holds, and need not be encoded."""
        return self.op == "eq" and not isinstance(self.operand, list)


@attrs.frozen(kw_only=True)
class Group:
    """A set of conditions: ``kind`` is ``and`` or ``or``."""

    kind: Literal["and", "or"]
    members: tuple[Group | Leaf, ...]


def parsed(document: Mapping[str, Any]) -> Group | Leaf:
    """Return the tree of a plain document that has no faults."""
    if "attr" not in document:
        kind: Literal["and", "or"] = "and" if "and" in document else "or"
        return Group(kind=kind, members=tuple(map(parsed, document[kind])))
    attr, op = document["attr"], document.get("op", "eq")
    value = document.get("value", attrs.NOTHING)
    source, path = _origin(attr)
    return Leaf(
        attr=attr,
        op=op,
        negate=document.get("negate", False),
        value=value,
        source=source,
        path=path,
        operand=re.compile(value).match if op == "regex" else value,
    )


def _origin(attr: str) -> tuple[str, tuple[str, ...]]:
    """Return the attribute of a change where a path starts, and the keys that follow."""
    segments = tuple(attr.split("."))
    if attr in VARIABLES:
        return attr[1:], ()
    if segments[0] == "snapshots" and len(segments) > 1 and segments[1] in SNAPSHOTS:
        return segments[1], segments[2:]
    return "data", segments


def evaluate(node: Group | Leaf, change: Change) -> bool:
    """Return whether the conditions match; never raises, whatever the data does."""
    if isinstance(node, Leaf):
        return judge(node, change)[0] == "matched"
    verdicts = (evaluate(member, change) for member in node.members)
    return all(verdicts) if node.kind == "and" else any(verdicts)


def judge(leaf: Leaf, change: Change) -> tuple[str, Any]:
    """Return the verdict on one condition, and what was found."""
    found: Any = attrs.NOTHING
    try:
        found, absent = _find(leaf, change)
        matched = _compare(leaf, found, absent) is not leaf.negate
    except _UnresolvableError as error:
        return f"unresolvable: {error}", found
    except EncodingError as error:
        return f"unresolvable: {error.path} has no JSON form", found
    except Exception as error:
        return f"unresolvable: reading it raised {type(error).__name__}", found
    return "matched" if matched else "not matched", found


def _compare(leaf: Leaf, found: Any, absent: bool) -> bool:
    try:
        return OPERATORS[leaf.op](found, leaf.operand)
    except TypeError:
        if absent:
            return False
        kinds = f"{kind_of(found)} with {kind_of(leaf.value)}"
        raise _UnresolvableError(f"{leaf.op} cannot compare {kinds}") from None


def _find(leaf: Leaf, change: Change) -> tuple[Any, bool]:
    """Return what the path leads to, and whether it is the null of an absent snapshot."""
    if leaf.of_both_sides:
        return _both_sides(leaf, change), False
    start = getattr(change, leaf.source)
    if leaf.source == "timestamp":
        return start and isoformat(start), False
    if start is None and leaf.source in OTHER:
        _check_absence(leaf, getattr(change, OTHER[leaf.source]))
        return None, True
    value = _follow(start, leaf.path, change)
    if leaf.against_scalar and value.__class__ in (dict, list):
        return value, False
    return _plain(value, leaf.attr), False


def _follow(start: Any, path: Sequence[str], change: Change) -> Any:
    try:
        return _walk(start, path)[0]
    except _UnresolvableError:
        if path == ("snapshots",):
            return {which: getattr(change, which) for which in SNAPSHOTS}
        raise


def _both_sides(leaf: Leaf, change: Change) -> dict[str, Any]:
    if change.prechange is None and change.postchange is None:
        raise _UnresolvableError("the change has no snapshots")
    found = {}
    for which in SNAPSHOTS:
        try:
            value, reached = _walk(getattr(change, which), leaf.path)
        except _UnresolvableError:
            continue
        if reached:
            found[which] = _plain(value, f"snapshots.{which}.{leaf.attr}")
    if not found:
        raise _UnresolvableError("neither snapshot has it")
    return found


def _check_absence(leaf: Leaf, other: Any) -> None:
    """Check that an absent snapshot would have had the path: the other snapshot has it."""
    if other is None or leaf.path in ((), ("",)):
        return
    _, reached = _walk(other, leaf.path)
    if not reached:
        raise _UnresolvableError("the other snapshot has only empty lists there")


def _walk(value: Any, path: Sequence[str], left: list[int] | None = None) -> tuple[Any, bool]:
    """Follow the keys, mapping over lists; return the value, and whether anything was reached.

    Lists may hold each other many times, so what is ``left`` of the items is counted.
    """
    left = [MOST_ITEMS] if left is None else left
    for done, key in enumerate(path):
        value = _opened(value)
        if isinstance(value, list | tuple):
            left[0] -= len(value)
            if left[0] < 0:
                raise _UnresolvableError(f"more than {MOST_ITEMS} values on the way")
            found = [_walk(item, path[done:], left) for item in value]
            return [item for item, _ in found], any(reached for _, reached in found)
        value = _member(value, key)
    return value, True


def _opened(value: Any) -> Any:
    """Return the object, list or scalar that the encoder would make of a host value."""
    for _ in range(MOST_SIMPLIFIED):
        if isinstance(value, dict | list | tuple | str | int | float | None):
            return value
        try:
            value = simplify(value)
        except Exception as error:
            name = type(value).__name__
            raise _UnresolvableError(f"a {name} on the way has no JSON form") from error
    raise _UnresolvableError("something on the way never becomes plain JSON")


def _member(value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise _UnresolvableError(f'"{key}" is looked for in {kind_of(value)}, not in an object')
    if key in value:
        return value[key]
    for other in value:
        if not isinstance(other, str) and key in to_plain({other: None}):
            return value[other]
    raise _UnresolvableError(f'there is no key "{key}"{_hint(key)}')


def _hint(key: str) -> str:
    """Return what was probably meant by a key that is not there."""
    if key.startswith("@"):
        return "; the variables are @event, @model, @username, @request_id and @timestamp"
    if "[" in key or key.isdecimal():
        return "; a path has no indices, it goes into every member of a list"
    if key in ("data", "snapshots"):
        return "; a path starts inside data, or with snapshots.prechange or snapshots.postchange"
    return ""


def _plain(value: Any, attr: str) -> Any:
    cls = value.__class__
    if cls in SCALARS or (cls is float and value - value == 0):
        return value
    if cls is list and SCALARS.issuperset(map(type, value)):
        return value
    return to_plain(value, root=attr)


def kind_of(value: object) -> str:
    """Return what a value is called in a message; never the value."""
    return next((name for types, name in _KINDS if isinstance(value, types)), type(value).__name__)


_KINDS: tuple[tuple[Any, str], ...] = (
    (dict, "an object"),
    (list, "a list"),
    (str, "text"),
    (bool, "a boolean"),
    (int | float, "a number"),
    (type(None), "null"),
)


def compiled(
    tree: Group | Leaf, *exact: Callable[[Group | Leaf, Change], Any]
) -> list[Callable[[Change], Any]]:
    """Return an optimistic function for each exact one, which decides what it does not expect."""
    names = dict(_NAMES)
    code = compile(_FUNCTION.format(_source(tree, names)), "<conditions>", "exec")
    spaces = [{**names, "exact": functools.partial(each, tree)} for each in exact]
    for space in spaces:
        exec(code, space)
    return [space["matches"] for space in spaces]


def _bail() -> NoReturn:
    raise LookupError


_NAMES: dict[str, Any] = {"SCALARS": SCALARS, "LONGEST": LONGEST_SUBJECT, "bail": _bail}
_NAMES["SIMPLE"] = SCALARS | {dict, list}  # an object or a list never equals a scalar
_FUNCTION = """
def matches(change):
    try:
        if (d := change.data).__class__ is dict:
            return {}
    except Exception:
        pass
    return exact(change)
"""
# Guards: true once the variable v holds the item and that is as expected, else they bail out.
_IS_DICT = "(({v} := {item}).__class__ is dict or bail())"
_IS_DICT_OR_LIST = "(({v} := {item}).__class__ is dict or {v}.__class__ is list or bail())"
_IS_TEXT = "(({v} := {item}).__class__ is str and len({v}) <= LONGEST or bail())"
_FINITE = "{v}.__class__ is float and {v} - {v} == 0"
_IS_SCALAR = f"(({{v}} := {{item}}).__class__ in SCALARS or {_FINITE} or bail())"
_IS_SIMPLE = f"(({{v}} := {{item}}).__class__ in SIMPLE or {_FINITE} or bail())"
_IS_FLAT = (
    "(({v} := {item}).__class__ is str"
    " or {v}.__class__ is list and SCALARS.issuperset(map(type, {v})) or bail())"
)
_IS_MAPPED = (
    "(({v} := [i[{key}] if i.__class__ is dict and i[{key}].__class__ is {kind} else bail()"
    " for i in {v}]) is not None if {v}.__class__ is list else {otherwise})"
)
_FORMS = {
    "eq": (_IS_SIMPLE, "v == {}"),
    "eq list": (_IS_FLAT, "v == {}"),
    "gt": (_IS_SCALAR, "v > {}"),
    "gte": (_IS_SCALAR, "v >= {}"),
    "lt": (_IS_SCALAR, "v < {}"),
    "lte": (_IS_SCALAR, "v <= {}"),
    "in": (_IS_SCALAR, "v in {}"),
    "contains": (_IS_FLAT, "{} in v"),
    "regex": (_IS_TEXT, "{}(v) is not None"),
    "changed": (_IS_SCALAR, "v != w"),
    "unchanged": (_IS_SCALAR, "v == w"),
}


def _source(node: Group | Leaf, names: dict[str, Any]) -> str:
    """Return the expression for a node; the values it compares with go into ``names``."""
    if isinstance(node, Group):
        members = [_source(member, names) for member in node.members]
        return f"({f' {node.kind} '.join(members)})"
    guard, test = _FORMS["eq list" if node.op == "eq" and not node.against_scalar else node.op]
    if node.of_both_sides:
        guards = _walked(node, "prechange", guard, "v", names)
        guards += _walked(node, "postchange", guard, "w", names)
    else:
        guards = _walked(node, node.source, guard, "v", names)
    matched = test.format(_named(_searchable(node), names))
    return f"({' and '.join(guards)} and {'not ' if node.negate else ''}{matched})"


def _walked(leaf: Leaf, source: str, guard: str, variable: str, names: dict[str, Any]) -> list[str]:
    """Return guards that assign to the variable, step by step, what the path leads to."""
    keys = [_named(key, names) for key in leaf.path]
    start = f"d[{keys.pop(0)}]" if source == "data" else f"change.{source}"
    items = [start, *(f"{variable}[{key}]" for key in keys)]
    guards = [_IS_DICT.format(v=variable, item=item) for item in items]
    guards[-1] = guard.format(v=variable, item=items[-1])
    if leaf.op == "contains" and keys:
        cls = type(leaf.operand)
        kind = _named(cls if cls in SCALARS else str, names)
        either = {"v": variable, "key": keys[-1], "kind": kind, "otherwise": guards[-1]}
        guards[-2] = _IS_DICT_OR_LIST.format(v=variable, item=items[-2])
        guards[-1] = _IS_MAPPED.format(**either)
    return guards


def _named(value: Any, names: dict[str, Any]) -> str:
    name = f"x{len(names)}"
    names[name] = value
    return name


def _searchable(leaf: Leaf) -> Any:
    """Return the operand of a condition, for ``in`` as a set when its values allow that."""
    if leaf.op == "in" and (SCALARS | {float}).issuperset(map(type, leaf.operand)):
        return frozenset(leaf.operand)
    return leaf.operand
