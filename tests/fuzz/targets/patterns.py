"""Regular expressions that the screen lets pass. Parts: the pattern, a subject."""

from __future__ import annotations

import re

from fuzz.harness import texts

from changehook.regexscreen import LONGEST_SUBJECT, refusal

INPUTS = 6_000
WORDS = (
    *(
        "(a+)+",
        "(a|a)*",
        "a{1,20}",
        "a{,255}",
        ".*",
        ".*?",
        "[a-z]+",
        "\\w",
        "\\d",
        "^",
        "$",
        "\\b",
    ),
    *("(?i)", "(?s)", "(?x)", "(?:", "(?>", "(?=", "(?!", "(?P<n>", "(?P=n)", "\\1", "|", "a?" * 9),
    *("++", "*+", "{2}", "{256}", "[^a]", "\\Z", "[\\s\\S]", "(?#c)", "(?i:a)", "[\x00-\uffff]"),
)


def check(data: bytes) -> None:
    """A pattern is refused, or every subject is matched in time: the engine's limit says so."""
    pattern, subject = texts(data, 2)
    if refusal(pattern) is not None:
        return
    match = re.compile(pattern).match
    for adverse in (subject[:LONGEST_SUBJECT], *_adverse(pattern)):
        match(adverse)


def _adverse(pattern: str) -> list[str]:
    """Return subjects that nearly match: repeats of what stands in the pattern, and a bad end."""
    letters = dict.fromkeys(each for each in pattern if each.isalnum())
    runs = [*list(letters)[:6], "".join(letters), pattern, "a", "aA", " "]
    most = LONGEST_SUBJECT - 1
    return [(run * most)[:most] + "\x00" for run in runs if run]
