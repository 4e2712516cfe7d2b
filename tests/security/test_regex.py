"""A regular expression that would backtrack for long is refused, or is seen to end soon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from security import attacks_regex as attacks
from security.corpus import FOLDER, load
from security.jail import MIB, Jail

from changehook.regexscreen import refusal

# The worst match of an accepted pattern was measured at 0.05 s; other machines are slower.
MATCH = 0.25
SCREEN = 1.0


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(cpu=20, memory=256 * MIB, wall=60.0) as jail:
        yield jail


def check(jail: Jail, pattern: str) -> str | None:
    """Return why a pattern is refused; one that is accepted is seen to end soon."""
    outcome = jail.run(attacks.measured, pattern)
    assert outcome.error is None
    why, worst = outcome.value
    assert worst < MATCH
    if why:
        assert outcome.cpu < SCREEN
    assert outcome.memory < 64 * MIB
    return None if why is None else str(why)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the shared attack corpus is not here")
def test_patterns_of_the_corpus(jail: Jail) -> None:
    """Each is refused or ends soon."""
    documents = [row["make"]() for row in load("conditions.json")["documents"]]
    objects = [document for document in documents if isinstance(document, dict)]
    patterns = [document["value"] for document in objects if document.get("op") == "regex"]
    assert len(patterns) > 5
    for pattern in patterns:
        check(jail, pattern)


# Those of published advisories stand with the number they are known by.
EXPONENTIAL = {
    "nested plus": "(a+)+$",
    "nested star": "(a*)*b",
    "nested lazy": "(a+?)*?b",
    "nested with words": r"^(\w+\s?)*$",
    "three deep": "((a+)+)+b",
    "bounded outside": "(a+){20}b",
    "bounded inside": "(a{1,20})*b",
    "bounded both": "(a{1,9}){1,30}b",
    "the same twice": "(a|a)*b",
    "overlapping": "(a|ab|b)*c",
    "overlapping classes": r"(\w|\d)+-",
    "overlapping dot": r"(.|\n)*x.*y.*z.*!",
    "an empty alternative": "(a|)+b",
    "empty inside": "(a?)*b",
    "optional 40 times": "(?:a?){40}" + "a" * 40,
    "optionals": "a?" * 30 + "a" * 30,
    "ranges": "a{0,9}" * 28 + "b",
    "pairs": "(aa|aaa)*b",
    "without case": "(?i)(k|\u212a)*x",
    "without case, in a group": "(?i:(s|\u017f)+)+x",
    "verbose": "(?x) ( a + ) + $",
    "named": "(?P<n>(?P<m>a+)+)$",
    "email": r"^([a-zA-Z0-9_.-])+@(([a-zA-Z0-9-])+.)+([a-zA-Z0-9]{2,4})+$",
    "email of OWASP": r"^[a-zA-Z]+(([\'\,\.\-][a-zA-Z ])?[a-zA-Z]*)*$",
    "class name of OWASP": r"^(([a-z])+.)+[A-Z]([a-z])+$",
    "a list": r"^(([^,]+),?)*$",
    "trim on both sides": r"^(\s|\u200b)*(\s|\u200b)*(\s|\u200b)*(\s|\u200b)*$",
    "CVE-2017-16021 uri-js": r"^(?:(?:[a-z0-9]|%[0-9a-f]{2}|[!$&'()*+,;=])+)*@",
    "CVE-2020-5243 uap-core": r"(iPhone|iPad|iPod);.*?(([\w-]+)\s*)+;",
    "CVE-2021-27290 ssri": r"^\s*((?:[^-]+-[^?]+)\s*)+$",
    "CVE-2021-3749 axios": r"^(?:\s*(?:\s+|\S+)*)*$",
    "CVE-2018-1109 braces": r"^\{(,+(?:(\{,+\})*),*|,*(?:(\{,+\})*),+)\}",
    "CVE-2015-8315 ms": r"^((?:\d+)?\.?\d+)+ *(ms|s|m|h|d|y)?$",
    "CVE-2019-16769 forwarded": r"^(?:\s*,?\s*(?:\w+=\w*)?)*$",
    "CVE-2020-8492 urllib": r"(?:.*,)*[ \t]*([^ \t]+)[ \t]+realm=([\"\']?)([^\"\']*)\2",
    "CVE-2022-25883 semver": r"^\s*([<>]?=?\s*)*\s*$",
    "CVE-2024-21538 cross-spawn": r"(?:\\*)*$x*x*x*x*",
    "CVE-2016-2515 hawk": r"^(?:[^/?#]*)*//([^/?#]*)*x",
}
POLYNOMIAL = {
    "five stars": "a*a*a*a*a*b",
    "four dots": ".*.*.*.*x",
    "four spaces": r"\s*\s*\s*\s*$",
    "four words": r"\w+\w+\w+\w+-",
    "lazy dots": ".*?.*?.*?.*?x",
    "captured dots": "(.*)(.*)(.*)(.*)x",
    "overlapping classes": r"[a-f]*[c-z]*[e-g]*[a-z]*-",
    "between marks": ".*,.*,.*,.*,.*!",
    "not quite apart": "a*[^b]*a*[^c]*a*x",
    "apart but for case": "(?i)a*A*a*A*x",
    "apart but for accents": r"\w*[^a-z]*\w*[^a-z]*\w*!",
    "in a repeat": "(?:a*b?a*){4}c",
    "through an optional mark": r"(?:\w{2,}\s??b){4}\.",
    "in alternatives": "(?:a*a*|b*b*)(?:a*a*|b*)x",
    "before a boundary": r"[a-z]+\b(?:-x)?[a-z]*[a-z]*[a-z]*[a-z]*!",
    "after a possessive": "x*+a*a*a*a*b",
    "in an atomic group": "(?>a*a*a*a*b)",
    "in a possessive repeat": "(?:a*a*a*b?)*+c",
}
UNDERCHARGED = {  # once accepted, for what each of their parts costs
    "empty groups": ".*.*.*" + "()" * 100 + "[xy]",
    "empty groups in a group": "(?:.*.*.*" + "()" * 30 + ")[xy]",
    "thousands of empty groups": ".*.*.*" + "()" * 2000 + "[xy]",
    "groups in a repeat": "(?:a" + "()" * 50 + "b?)*(?:a" + "()" * 50 + "c?)*x",
    "groups before a repeat": "()" * 500 + "(?:a|b)*.*[xy]",
    "groups before three repeats": "()" * 90 + ".*.*.*[xy]",
    "characters beyond U+FFFF": ".*.*[^" + "".join(map(chr, range(0x10000, 0x10190, 2))) + "]*[xy]",
    "one of them": ".*.*.*[^" + "".join(map(chr, range(0x10000, 0x107D0, 2))) + "][xy]",
    "boundaries": ".*.*" + r"\b" * 800 + "x",
    "no boundaries": ".*.*" + r"\B" * 300 + "x",
    "fixed counts of kinds": ".*.*(?:"
    + "|".join(rf"[^\w\d\s]{{100}}{each}" for each in "abcdefghijklmnopq")
    + ")",
}
UNBOUNDED = {
    "a back-reference": r"(a*)\1*\1*b",
    "a named back-reference": "(?P<a>a+)(?P=a)*b",
    "look-ahead": "(?=(a+)+$)a",
    "negative look-ahead": "(?!(a+)+b)a",
    "look-behind": "(?<=a)b",
    "negative look-behind": "(?<!a)b",
    "a condition": "(a)?(?(1)a*|b*)c",
    "look-ahead in a repeat": "(?:(?=a)a)*b",
}
BOMBS = {
    "groups": "(" * 1_000 + ")" * 1_000,
    "groups at the limit of the parser": "(" * 90 + "a" + ")" * 90 + "{256}" * 2,
    "repeats of repeats": "(?:(?:(?:a{256}){256}){256}){256}",
    "empty repeats of repeats": "(?:(?:(?:){256}){256}){256}",
    "boundaries": r"(?:(?:\b{256}){256}){256}",
    "a huge count": "a{4294967295}",
    "a count beyond": "a{99999999999999999999}",
    "a thousand": "a{1000}",
    "a huge class": "(?i)[" + "".join(map(chr, range(0x400, 0x1300))) + "]",
    "huge ranges": "(?i)" + "[\x00-\U0010ffff]" * 250,
    "alternatives": "|".join(f"(?:a{n}|b)*" for n in range(300)),
    "alternatives in a repeat": "(?:" + "|".join("ab" for _ in range(1_000)) + ")*x",
    "a broken class": "[z-a]",
    "a broken escape": "\\",
    "an unknown flag": "(?Z)a",
    "a late flag": "a(?i)b",
    "nothing to repeat": "*a",
    "repeats in a row": "a{1000}{1000}",
    "an unknown group": "(?P=x)",
    "a redefined group": "(?P<a>a)(?P<a>b)",
}


@pytest.mark.parametrize("name", EXPONENTIAL)
def test_exponential_patterns_are_refused(jail: Jail, name: str) -> None:
    """What can be matched in exponentially many ways is refused, or bounded by its subject."""
    why = check(jail, EXPONENTIAL[name])
    assert why is None or "too long" in why or "not a regular" in why


@pytest.mark.parametrize("name", POLYNOMIAL)
def test_polynomial_patterns_are_refused(jail: Jail, name: str) -> None:
    """Also what takes the third power of 256, unless it is seen to end soon."""
    why = check(jail, POLYNOMIAL[name])
    assert why is None or "too long" in why


@pytest.mark.parametrize("name", UNDERCHARGED)
def test_each_part_of_a_pattern_has_its_price(jail: Jail, name: str) -> None:
    """Groups, boundaries and long classes are not free."""
    check(jail, UNDERCHARGED[name])


@pytest.mark.parametrize("name", UNBOUNDED)
def test_what_cannot_be_bounded_is_refused(jail: Jail, name: str) -> None:
    """And named."""
    assert check(jail, UNBOUNDED[name])


@pytest.mark.parametrize("name", BOMBS)
def test_patterns_that_are_slow_to_read_are_refused(jail: Jail, name: str) -> None:
    """Judging a pattern is bounded too, and so is compiling one that is accepted."""
    check(jail, BOMBS[name])


WORST = {
    "(a+)+$",
    "(a|a)*b",
    r"(\s+\w*)+x",
    r"(?:\w*\s+)+x",
    r"(?i)(?:s+\u017f+)+x",
    "(a?)*b",
    "a*a*a*a*a*b",
    r"(a*)\1*\1*b",
    r"^(([^,]+),?)*$",
    "[z-a]",
}


@pytest.mark.parametrize("pattern", WORST)
def test_the_best_known_ones_are_refused(pattern: str) -> None:
    """None of them is let through for what its subject happens to be."""
    assert refusal(pattern)


ORDINARY = [
    ".*[Uu]plink.*core.*",
    ".*(error|fail|down).*(interface|port|link).*",
    "^.*(?:core|edge).*(?:sw|rtr).*",
    *("active", "^active$", "^(active|planned|staged)$", "(?i)^core", "^dc[0-9]+-", "^(?:ams|fra)"),
    *(r"^10\.", r"^10\.20\.\d{1,3}\.\d{1,3}$", r"^192\.168\.(1|2)\d\.", r"^2001:db8:"),
    r"^\d{1,3}(\.\d{1,3}){3}(/\d{1,2})?$",
    r"^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)$",
    r"^([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}$",
    r"^([0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(/\d{1,3})?$",
    r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$",
    r"^[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}$",
    r"^[a-z0-9-]+\.example\.com$",
    r"^([a-z0-9-]+\.)+example\.com$",
    r"^[a-z0-9-]+(\.[a-z0-9-]+)*$",
    r"^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$",
    r"^(sw|rtr|fw)-[a-z]{3}\d{2}-r\d+u\d+$",
    r"^(ge|xe|et)-\d+/\d+/\d+(\.\d+)?$",
    r"^(GigabitEthernet|TenGigE)\d+(/\d+){1,3}$",
    r"^Vlan\d{1,4}$",
    r"^(Po|port-channel)\s*\d+$",
    r"^[A-Z]{3}\d{4}[A-Z0-9]{4}$",
    r"^SN[: ]?[A-Z0-9-]{6,20}$",
    r"^AS\d{1,10}$",
    r"^\d+:\d+$",
    r"^https?://[\w.-]+(:\d+)?(/\S*)?$",
    r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$",
    r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}",
    r".*\b(core|spine)\b",
    r".*-(core|edge)-.*\.example\.(com|net)$",
    r"^(\w+ )*\w+$",
    r"^\w+(\s+\w+)*$",
    r"^[a-z0-9]+(?:[-_][a-z0-9]+)*$",
    r"^(\d+:\d+)(\s+\d+:\d+)*$",
    r"^([A-Z]{3}\d+)+$",
    r"^\s*(\S+)\s+(\S+)\s+(\S+)\s*$",
    r"^[^/]+/[^/]+/[^/]+$",
    r"^(/[\w.-]+)+/?$",
    r"^v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?$",
    r"^\d+(,\d+)*$",
    r"(?P<site>[a-z]{3})(?P<rack>\d{2})",
    r"^[\w .-]{1,64}$",
    r"^.{1,200}$",
    r"^$",
    "^Zürich|Genève",
]


@pytest.mark.parametrize("pattern", ORDINARY)
def test_what_network_engineers_write_is_accepted(jail: Jail, pattern: str) -> None:
    """Prefixes, addresses, host names, interfaces, serial numbers."""
    assert check(jail, pattern) is None


def test_no_slow_pattern_is_found_by_chance(jail: Jail) -> None:
    """Thousands of patterns made by chance: none that is accepted is slow, nor is judging any."""
    outcome = jail.run(attacks.search, 1, 12_000)
    assert outcome.error is None
    found = outcome.value
    assert found["accepted"] > 100
    assert found["slowest"] < MATCH, found["pattern"]
    assert found["slowest_screen"] < SCREEN
