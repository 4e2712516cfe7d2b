"""Which patterns are refused, and how long the accepted ones may take."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from security.jail import limited

from changehook.regexscreen import CHARACTERS, LONGEST_SUBJECT, Screen, refusal

ORDINARY = [
    "",
    "active",
    "^dc\\d+-[a-z]+$",
    "^(prod|stage)-",
    "[^@]+@[^@]+\\.com$",
    "^\\d{1,3}(\\.\\d{1,3}){3}$",
    "https?://[\\w.-]+(:\\d+)?/",
    ".*foo.*bar.*baz",
    "(?i)core|edge",
    "(?P<site>[a-z]{2,5})-\\d{4}",
    "(ab?c?)?d",
    "\\s+$",
    "a*?b",
    "(?>a+)b++",
    "[一-鿿]+\\b",
    "x(?#a comment)",
    "(?s:.)[^a-z]{2,}",
    "^[a-z0-9-]+(\\.[a-z0-9-]+)+$",
    "^([a-z0-9-]+\\.)*example\\.com$",
    "(?i)^(\\w+ )+$",
    "^(?:/[^/]+)+$",
    "^(?:-\\b\\d{2})+$",
    "^(\\S+)\\s+(\\S+)\\s+(\\S+)$",
    "^\\d+(/\\d+)?(/\\d+)?-?[^0-9]$",
    "^[^é]+é[é-ü]+",
    "(?:a(?:b|c)?){3}",
]
TOO_MANY_WAYS = [
    "(a+)+$",
    "(a|a)*$",
    "(a+?)+?$",
    "a*a*a*a*a*b",
    "a?" * 60 + "a" * 60,
    "a{0,9}" * 28 + "b",
    "(?i)(İ+)+$",
    "(?:a?){24}" + "a" * 100 + "b",
    "(?:a?){23}[^b]{200}b",
    "(?:(?:(?:^){256}){256}){256}",
    "(?i)" + "[\x00-\uffff]" * 500,
    "(\\.a*\\.*)+x",
    "(\\.a*a*)+x",
    "(\\.\\w+)*(\\.\\w+)*(\\.\\w+)*(\\.\\w+)*x",
    "(-(?:a|-b)+)+x",
    "(-(?i:a)*(?i:a)*)+x",
    "(?i)(k+K)+(s+S)+x",
    "[a-z]+\\b(?:-x)?[a-z]+[a-z]+[a-z]+x",
    "a+(?:-?a)+a+a+x",
    "(?:\\w{2,}\\s??b){4}\\.",
    "(?:\\w+-?\\w+-?){2}x",
    "(?:\\w*+\\W*){64}x",
    "(?>a*a*a*a*b)",
    "(?:a*a*)*+b",
]


@pytest.fixture(autouse=True)
def within_limits() -> Iterator[None]:
    """What is hostile here may not take more than the jail would let it."""
    with limited():
        yield


@pytest.mark.parametrize("pattern", ORDINARY)
def test_ordinary_patterns_are_accepted(pattern: str) -> None:
    """What people write to tell names apart is accepted."""
    assert refusal(pattern) is None


@pytest.mark.parametrize("pattern", TOO_MANY_WAYS, ids=lambda pattern: pattern[:20])
def test_patterns_with_too_many_ways_are_refused(pattern: str) -> None:
    """A pattern whose parts can match in millions of ways is refused, with what to do."""
    assert "could take too long" in (refusal(pattern) or "")
    assert "bound its repeats" in (refusal(pattern) or "")


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("(?=a)b", "look-around"),
        ("(?<!a)b", "look-around"),
        ("(?!)", "look-around"),
        ("(a*)\\1", "back-reference"),
        ("(a)(?(1)b|c)", "condition"),
        ("(?:(a)|b)*+c", "which keep nothing"),
        ("(?>(a)|b)c", "which keep nothing"),
        ("(a{300})", "repeats more often than 256 times"),
        ("(?:^){100000}", "repeats more often than 256 times"),
    ],
)
def test_parts_that_cannot_be_counted_are_named(pattern: str, part: str) -> None:
    """What cannot be bounded is refused by name."""
    assert part in (refusal(pattern) or "")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "missing )"),
        ("(?Z)a", "unknown extension"),
        ("a{4294967296}", "too large"),
        ("(" * 2000 + ")" * 2000, "nested too deeply"),
    ],
)
def test_what_does_not_compile_is_refused(pattern: str, why: str) -> None:
    """Every way in which ``re`` refuses a pattern becomes a reason."""
    assert (refusal(pattern) or "").startswith("not a regular expression (")
    assert why in (refusal(pattern) or "")


def test_without_a_parser_no_pattern_is_accepted() -> None:
    """A Python whose ``re`` hides its parser gets no unchecked pattern."""
    assert "no parser" in (Screen(parser=None).refusal("a") or "")


def test_patterns_of_one_document_are_judged_together() -> None:
    """What each may cost is not multiplied by how many there are."""
    screen = Screen()
    assert screen.refusal(".*a.*b.*c") is None
    assert "with the patterns before it" in (screen.refusal(".*a.*b.*c") or "")
    screen = Screen()
    slow = [screen.refusal("(?:(?:){88}){88}") for _ in range(10)]
    assert slow[0] is None
    assert "too complicated together" in (slow[-1] or "")
    screen = Screen()
    found = [screen.refusal("x" * 2048) for _ in range(CHARACTERS // 2048 + 1)]
    assert found[:-1] == [None] * (len(found) - 1)
    assert "characters together" in (found[-1] or "")


SMALL = st.text(alphabet="ab|()?*+{}[]^$\\.012,-:=!<", max_size=12)


@given(SMALL)
def test_every_text_is_a_pattern_or_refused(pattern: str) -> None:
    """No text makes the screen raise, and what it accepts compiles."""
    why = refusal(pattern)
    if why is None:
        re.compile(pattern)
        re.match(pattern, "ab" * (LONGEST_SUBJECT // 2))
    else:
        assert why
