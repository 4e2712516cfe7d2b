"""What a document of conditions may hold: checked by the letter, and copied into plain types."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs

from changehook.encoding import own
from changehook.errors import SHOWN_NAME, Fault, pointer_to, printable
from changehook.evaluation import OPERATORS, VARIABLES, kind_of
from changehook.regexscreen import Screen

__all__ = ["Checker"]

DEPTH = 16
CONDITIONS = 256
SEGMENTS = 32
LONGEST_LIST = 256
VALUE_BYTES = 4096
INTEGER_BITS = 1024
STRANGE_KEYS = 8
MOST_FAULTS = 100

_KEYS = ("attr", "value", "op", "negate")
_SETS = ("and", "or")
_VALUELESS = ("changed", "unchanged")

# What people write instead, with what to write.
_KEY_HINTS = {"all": "and", "any": "or", "field": "attr", "key": "attr", "name": "attr"}
_KEY_HINTS |= {"path": "attr", "not": "negate", "operator": "op", "operation": "op"}
_OPERATOR_HINTS = {"=": "eq", "==": "eq", "is": "eq", ">": "gt", ">=": "gte", "ge": "gte"}
_OPERATOR_HINTS |= {"<": "lt", "<=": "lte", "le": "lte", "has": "contains", "match": "regex"}
_OPERATOR_HINTS |= dict.fromkeys(("matches", "re", "like", "startswith", "endswith"), "regex")
_NEGATED_HINTS = {"!=": "eq", "ne": "eq", "neq": "eq", "nin": "in", "not in": "in", "not_in": "in"}


class Checker:
    """Copies a document into plain types and collects its faults, in bounded time.

    The document may share or hold itself, and its types may lie: what is checked is the copy.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.conditions = 0
        self.screen = Screen()

    def copied(self, document: object, pointer: str = "", depth: int = 1) -> dict[str, Any] | None:
        """Return the document in plain types; with a fault, something that is not used."""
        if isinstance(document, dict):
            document = dict(dict.items(document))
            if not document.keys().isdisjoint(_SETS):
                return self._set(document, pointer, depth)
        self._count()
        if isinstance(document, dict):
            return self._condition(document, pointer)
        expected = 'a condition {"attr": …, "value": …} or a set {"and": […]}'
        self._fault(pointer, f"expected {expected}, found {kind_of(document)}")
        return None

    def _set(self, document: dict[Any, Any], pointer: str, depth: int) -> dict[str, Any]:
        kind = "and" if "and" in document else "or"
        self._check_keys(document, (kind,), pointer, _other_key_problem(kind))
        members = document[kind]
        problem = _members_problem(members, depth)
        if problem:
            self._count()
            self._fault(f"{pointer}/{kind}", problem)
            return {}
        copies = []
        for index, member in enumerate(list.copy(members)):
            if self.conditions > CONDITIONS or len(self.faults) >= MOST_FAULTS:
                break
            copies.append(self.copied(member, f"{pointer}/{kind}/{index}", depth + 1))
        return {kind: copies}

    def _condition(self, document: dict[Any, Any], pointer: str) -> dict[str, Any]:
        strange = self._check_keys(document, _KEYS, pointer, _key_problem)
        known = (key for key in document if not strange or key in _KEYS)
        values = {own(key): _plain(document[key]) for key in known}
        for key, problem in _problems(values, self.screen):
            # What a misspelt key leaves missing is no second fault.
            if key in values or not strange:
                self._fault(f"{pointer}/{key}", problem)
        return values

    def _check_keys(
        self,
        document: dict[Any, Any],
        known: tuple[str, ...],
        pointer: str,
        problem: Callable[[object], str],
    ) -> bool:
        """Report the keys that are not known, the first few of them; return whether there are."""
        strange = [key for key in document if not isinstance(key, str) or key not in known]
        for key in strange[:STRANGE_KEYS]:
            self._fault(pointer + pointer_to(_short(key)), problem(key))
        return bool(strange)

    def _count(self) -> None:
        self.conditions += 1
        if self.conditions == CONDITIONS + 1:
            self._fault("", f"more than {CONDITIONS} conditions; write several webhooks")

    def _fault(self, pointer: str, message: str) -> None:
        self.faults.append(Fault(pointer, message))


def _other_key_problem(kind: str) -> Callable[[object], str]:
    return lambda _: f'does not go with "{kind}"; nest one condition in the other'


def _key_problem(key: object) -> str:
    return f"unknown key; {_key_hint(key)}"


def _plain(value: object) -> Any:
    """Return a copy in plain JSON types; what is no JSON within the limits stays as it is."""
    if isinstance(value, str):
        return own(value)
    return value if _json_problem(value) else json.loads(_JSON.encode(value))


def _members_problem(members: object, depth: int) -> str | None:
    if depth > DEPTH:
        return f"nested more than {DEPTH} deep"
    if not isinstance(members, list):
        return f"expected a list of conditions, found {kind_of(members)}"
    if list.__len__(members) == 0:
        return "empty; write a condition, or no conditions at all to match always"
    return None


def _problems(document: dict[str, Any], screen: Screen) -> Iterator[tuple[str, str]]:
    op = document.get("op", "eq")
    problems = {
        "attr": _attr_problem(document.get("attr", attrs.NOTHING), op),
        "op": _op_problem(op),
        "value": _value_problem(document.get("value", attrs.NOTHING), op, screen),
        "negate": _negate_problem(document.get("negate", False)),
    }
    return ((key, problem) for key, problem in problems.items() if problem)


def _negate_problem(negate: object) -> str | None:
    return None if isinstance(negate, bool) else f"expected a boolean, found {kind_of(negate)}"


def _attr_problem(attr: object, op: object) -> str | None:
    if attr is attrs.NOTHING:
        return "required: the path of an attribute, such as status.value"
    if not isinstance(attr, str):
        return f"expected the path of an attribute, such as status.value, found {kind_of(attr)}"
    if attr.count(".") >= SEGMENTS:
        return f"a path of more than {SEGMENTS} steps"
    valueless = isinstance(op, str) and op in _VALUELESS
    if valueless and (attr in VARIABLES or attr.startswith("snapshots.")):
        return f"{op} looks into both snapshots; write the attribute alone, such as status"
    return _json_problem(attr)


def _op_problem(op: object) -> str | None:
    if isinstance(op, str) and op in OPERATORS:
        return None
    text = op.lower() if isinstance(op, str) else ""
    if text in _NEGATED_HINTS:
        return f'unknown operator; write "{_NEGATED_HINTS[text]}" with "negate": true'
    near = _near(text, _OPERATOR_HINTS, [*OPERATORS])
    hint = f'did you mean "{near}"?' if near else f"the operators are {', '.join(OPERATORS)}"
    return f"unknown operator {_quoted(op)}; {hint}"


def _value_problem(value: object, op: object, screen: Screen) -> str | None:
    if not isinstance(op, str) or op not in OPERATORS:
        return None
    if op in _VALUELESS:
        return None if value is attrs.NOTHING else f"{op} takes no value; remove it"
    if value is attrs.NOTHING:
        return "required: what the attribute is compared with"
    is_right, expected = _VALUES[op]
    if not is_right(value):
        return f"{op} takes {expected}, found {kind_of(value)}"
    return _json_problem(value) or (screen.refusal(cast("str", value)) if op == "regex" else None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_ORDERED = (_is_number, "a number")
_VALUES: dict[str, tuple[Callable[[object], bool], str]] = {
    "eq": (lambda value: not isinstance(value, dict), "no object; name one of its keys in attr"),
    "gt": _ORDERED,
    "gte": _ORDERED,
    "lt": _ORDERED,
    "lte": _ORDERED,
    "in": (lambda value: isinstance(value, list), 'a list of values, such as ["active"]'),
    "contains": (lambda value: not isinstance(value, dict | None), "text, a number or a list"),
    "regex": (lambda value: isinstance(value, str), "a pattern as text"),
}


def _json_problem(value: object) -> str | None:
    """Return why a value is no JSON within the limits; one that holds itself ends too."""
    size = 0
    try:
        for part in _JSON.iterencode(value):
            size += len(part.encode())
            if size > VALUE_BYTES:
                return f"longer than {VALUE_BYTES} bytes"
        copy = json.loads(_JSON.encode(value))
        if copy == value:
            return _size_problem(copy, 1)
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is not text"
    except Exception:  # also what the methods of a host's own types raise
        pass
    return (
        "not JSON: write text, finite numbers, true, false, null, lists, and objects with text keys"
    )


def _size_problem(value: Any, depth: int) -> str | None:
    if depth > DEPTH:
        return f"nested more than {DEPTH} deep"
    if isinstance(value, int) and value.bit_length() > INTEGER_BITS:
        return f"an integer of more than {INTEGER_BITS} bits"
    if isinstance(value, list) and len(value) > LONGEST_LIST:
        return f"a list of more than {LONGEST_LIST} values"
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next(filter(None, (_size_problem(item, depth + 1) for item in items)), None)


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _quoted(value: object) -> str:
    return f'"{_short(value)}"' if isinstance(value, str) else f"({kind_of(value)})"


def _short(key: object) -> str:
    """Return a key for an error, short and on one line."""
    text = key[:SHOWN_NAME] if isinstance(key, str) else f"({kind_of(key)})"
    return printable(text)


def _near(text: str, hints: dict[str, str], known: list[str]) -> str | None:
    close = difflib.get_close_matches(text[:20], known, n=1, cutoff=0.5)
    return hints.get(text) or next(iter(close), None)


def _key_hint(key: object) -> str:
    near = _near(key.lower(), _KEY_HINTS, [*_KEYS, *_SETS]) if isinstance(key, str) else None
    return f'did you mean "{near}"?' if near else f"the keys are {', '.join((*_KEYS, *_SETS))}"
