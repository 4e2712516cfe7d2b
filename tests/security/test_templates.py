"""Hostile templates end at their budget: within a second and 64 MiB, and they reveal nothing.

The templates run in the jail, through the same template classes as those of a webhook.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from security import attacks_budget, attacks_templates, corpus
from security.jail import MIB, Jail, Outcome

SECONDS = 1.0
MEMORY = 64 * MIB
REVEALED = re.compile(
    r" at 0x|<(?:bound|built-in|function|class|module|Macro|jinja2)|hunter2|root:"
)


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(cpu=6) as jail:
        yield jail


def check(outcome: Outcome) -> tuple[str, str]:
    """Check what holds for every template, and return what it came to."""
    assert outcome.error is None
    assert outcome.cpu < SECONDS
    assert outcome.memory < MEMORY
    kind, text = outcome.value
    assert not REVEALED.search(text)
    assert len(text) <= MIB
    return kind, text


@pytest.mark.parametrize("row", corpus.rows("templates.json", "templates"))
def test_a_template_of_the_corpus_is_contained(jail: Jail, row: dict[str, Any] | None) -> None:
    """Every template of the shared corpus ends within the limits and reveals nothing."""
    assert row
    kind, _ = check(jail.run(attacks_templates.render_row, row["name"]))
    if row["expect"].startswith("must reveal nothing"):
        assert kind != "rendered"


@pytest.mark.parametrize("name", attacks_templates.OWN)
def test_a_hostile_template_is_contained(jail: Jail, name: str) -> None:
    """Loops, texts, numbers, values, recursion and what is hard to compile are bounded."""
    check(jail.run(attacks_templates.rendered, attacks_templates.OWN[name]))


@pytest.mark.parametrize("name", attacks_templates.OWN)
def test_a_hostile_template_is_contained_as_json(jail: Jail, name: str) -> None:
    """The same where text is escaped, which makes it up to six times as long."""
    check(jail.run(attacks_templates.rendered_as_json, attacks_templates.OWN[name]))


@pytest.mark.parametrize("name", [name for name, *_ in attacks_budget.PAST])
def test_what_got_past_the_budget_once_is_contained(jail: Jail, name: str) -> None:
    """What searching for holes has found stays closed, in text and in JSON."""
    check(jail.run(attacks_templates.render_past, name))
    check(jail.run(attacks_templates.render_past_as_json, name))


@pytest.mark.parametrize("source", attacks_templates.ESCAPES)
def test_an_escape_reaches_nothing(jail: Jail, source: str) -> None:
    """What escaped from some sandbox once, or tries to, ends in an error that shows nothing."""
    kind, _ = check(jail.run(attacks_templates.rendered, source))
    assert kind in ("ConfigurationError", "RenderError")


def test_a_webhook_of_hostile_templates_is_contained(jail: Jail) -> None:
    """A URL and 64 headers that each use most of their fuel cost no more than one body does."""
    check(jail.run(attacks_templates.rendered_everywhere, 64))


def test_the_outcome_is_the_same_each_time(jail: Jail) -> None:
    """No clock and no chance decides where a template ends."""
    for name in list(attacks_templates.OWN)[::7]:
        attack = attacks_templates.OWN[name]
        first = jail.run(attacks_templates.rendered, attack).value
        assert jail.run(attacks_templates.rendered, attack).value == first
