"""What the tests of regular expressions run in the jail: patterns made by chance, and their worst
subjects."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import time
import warnings
from collections.abc import Iterator

from changehook.regexscreen import LONGEST_SUBJECT, refusal

ATOMS = ["a", "b", "-", ".", "\\.", "[ab]", "[^a]", "[a-z]", "\\w", "\\W", "\\s", "\\d", "[^-]"]
ATOMS += ["ab", "a-", "-a", "(?:a|b)", "(?:a|ab)", "(?:a|)", "(?:-|a-)", "^", "$", "\\b", "é"]
REPEATS = ["*", "+", "?", "{2}", "{0,3}", "{1,9}", "{2,}", "{0,64}", "*?", "+?", "??", "*+", "++"]
PIECES = ["a", "b", "ab", "-", "a-", "-a", "aa-", ".", " ", "1", "é", "!"]


def screened(pattern: str) -> str | None:
    """Return what the screen says, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return refusal(pattern)


def pattern(rng: random.Random, depth: int = 3) -> str:
    """Return a pattern of a few parts, often repeated and grouped."""
    return "".join(_part(rng, depth) for _ in range(rng.randint(1, 4)))


def _part(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.5:
        return rng.choice(ATOMS) + (rng.choice(REPEATS) if rng.random() < 0.6 else "")
    inside = pattern(rng, depth - 1)
    if rng.random() < 0.25:
        inside += "|" + pattern(rng, depth - 1)
    opening = rng.choice(["(", "(?:", "(?:", "(?:", "(?>", "(?i:", "(?s:"])
    repeat = rng.choice(["", "", *REPEATS, *(f"{{{n}}}" for n in (4, 12, 16, 20))])
    return f"{opening}{inside}){repeat}"


def subjects(rng: random.Random, source: str) -> Iterator[str]:
    """Yield texts of the greatest length that nearly match much."""
    letters = [letter for letter in dict.fromkeys(source) if letter.isalnum() or letter in " .,-/"]
    own = [
        *letters[:10],
        "".join(letters),
        *map("".join, itertools.pairwise(letters[:10])),
    ]
    for piece in [*PIECES, *filter(None, own)]:
        yield (piece * LONGEST_SUBJECT)[:LONGEST_SUBJECT]
        yield (piece * LONGEST_SUBJECT)[: LONGEST_SUBJECT - 1] + "!"
    for _ in range(6):
        period = "".join(rng.choices(PIECES, k=rng.randint(2, 5)))
        yield (period * LONGEST_SUBJECT)[: LONGEST_SUBJECT - 1] + "\n"


def worst(source: str, rng: random.Random) -> float:
    """Return the most processor time that one match of a pattern took, in seconds."""
    found = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match = re.compile(source).match
    for subject in subjects(rng, source):
        start = time.process_time()
        match(subject)
        found = max(found, time.process_time() - start)
    return found


def measured(source: str) -> tuple[str | None, float]:
    """Return what the screen says about a pattern, and if it accepts it the time at worst."""
    why = screened(source)
    return why, 0.0 if why else worst(source, random.Random(0))


def search(seed: int, count: int) -> dict[str, object]:
    """Look for an accepted pattern that is slow; return what was found in so many patterns."""
    rng = random.Random(seed)
    accepted = 0
    slowest, where, slowest_screen = 0.0, "", 0.0
    for _ in range(count):
        source = pattern(rng) + rng.choice(["", "$", "!", "x", "\\Z", "[xy]", "(?:x|y)"])
        start = time.process_time()
        why = screened(source)
        slowest_screen = max(slowest_screen, time.process_time() - start)
        with contextlib.suppress(re.error):
            if why is None:
                accepted += 1
                took = worst(source, rng)
                if took > slowest:
                    slowest, where = took, source
    return {
        "accepted": accepted,
        "slowest": slowest,
        "pattern": where,
        "slowest_screen": slowest_screen,
    }
