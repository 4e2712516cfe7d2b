"""Condition documents, and what they say of a change. Parts: the document, a change."""

from __future__ import annotations

import contextlib
import json

from fuzz.harness import UnfitError, attempt, check_faults, document, is_text, parts

from changehook.conditions import Conditions
from changehook.errors import ConfigurationError
from changehook.evaluation import OPERATORS, VARIABLES, evaluate, parsed
from changehook.models import Change

INPUTS = 50_000
WORDS = (
    *("and", "or", "attr", "value", "op", "negate"),
    *OPERATORS,
    *VARIABLES,
    *("snapshots", "snapshots.prechange.", "snapshots.postchange.", "prechange", "postchange"),
    *("data", "event", "model", "timestamp", "tags.slug", "a.b.c", "(a|b)+", "[a-z]{1,20}"),
)


def check(data: bytes) -> None:
    """A document has faults, or it has one meaning for every change, and is what was written."""
    source, about = parts(data, 2)
    conditions, error = attempt(ConfigurationError, Conditions.from_json, source)
    if error:
        check_faults(error)
        return
    again = Conditions(conditions.document)
    assert again == conditions
    assert again.document == conditions.document == document(source)
    assert is_text(repr(conditions))
    _compare(conditions, _change(about))


def _change(source: bytes) -> Change:
    with contextlib.suppress(ConfigurationError):
        return Change.from_dict(document(source))
    raise UnfitError


def _compare(conditions: Conditions, change: Change) -> None:
    """The fast function, the exact one and the explanation agree."""
    matched = conditions.matches(change)
    explanation = conditions.explain(change)
    assert matched is evaluate(parsed(conditions.document), change)
    assert matched is explanation.matched
    assert all(line.isprintable() for line in str(explanation).split("\n"))
    assert all(reason.isprintable() for reason in explanation.reasons)
    json.dumps(explanation.to_dict(), allow_nan=False)
