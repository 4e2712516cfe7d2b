"""Rebinding for real: the system's resolver, a name server and receivers, in a network namespace.

Every name changes its address, or has good ones and bad ones, and nothing of the way is replaced.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from security.attacks_rebinding import (
    METADATA,
    METADATA6,
    PRIVATE,
    PRIVATE6,
    PUBLIC,
    PUBLIC6,
    REFUSING,
    REFUSING6,
    SCENARIOS,
)

UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount")
PROBE = "ip link set lo up && ip address add 2606:2800:220:1::34/128 dev lo && mount --version"
LIMIT = 120.0

Played = dict[str, Any]


def why_not() -> str | None:
    """Return why this machine gives no namespace to work in, None if it does."""
    try:
        probe = subprocess.run(
            [*UNSHARE, "sh", "-c", PROBE], capture_output=True, text=True, timeout=LIMIT
        )
    except OSError as error:
        return f"no network namespace: {error.strerror}: {error.filename}"
    return f"no network namespace: {probe.stderr.strip()}" if probe.returncode else None


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """Return what the scenarios came to, played once in a process with a network of its own."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    child = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "security.attacks_rebinding"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert child.returncode == 0, child.stderr
    result: dict[str, Any] = json.loads(child.stdout)
    return result


def reaches(*addresses: str) -> str:
    return f"200 (?:{'|'.join(map(re.escape, addresses))})"


def blocked(*addresses: str, rule: str) -> str:
    shown = "|".join(map(re.escape, addresses))
    return rf"BlockedError: (?:{shown}) \(host .*{re.escape(rule)}.*; .* opens it"


RFC1918, RFC4193 = "is private (RFC 1918)", "is private (unique local, RFC 4193)"
TO_PRIVATE = (reaches(PUBLIC), blocked(PRIVATE, rule=RFC1918))
TO_PRIVATE6 = (reaches(PUBLIC6), blocked(PRIVATE6, rule=RFC4193))
FROM_DATA = "is private (RFC 1918), and internal() opens no host that comes from data"

EXPECTED = {
    "rebind.test": TO_PRIVATE,
    "rebind6.test": TO_PRIVATE6,
    "both.test": (
        reaches(PUBLIC, PUBLIC6),
        blocked(PRIVATE, PRIVATE6, rule="is private"),
    ),
    "other-family.test": (reaches(PUBLIC), blocked(PRIVATE6, rule=RFC4193)),
    "loopback.test": (reaches(PUBLIC), blocked("127.0.0.1", rule="is loopback")),
    "loopback6.test": (reaches(PUBLIC6), blocked("::1", rule="is loopback")),
    "unspecified.test": (reaches(PUBLIC), blocked("0.0.0.0", rule="is unspecified")),
    "unspecified6.test": (reaches(PUBLIC6), blocked("::", rule="is unspecified")),
    "mapped.test": (
        reaches(PUBLIC6),
        blocked("::ffff:a09:909", f"::ffff:{PRIVATE}", rule=f"holds {PRIVATE}, which {RFC1918}"),
    ),
    "metadata.test": (reaches(PUBLIC), blocked(METADATA, rule="is cloud metadata")),
    "metadata6.test": (reaches(PUBLIC6), blocked(METADATA6, rule="is cloud metadata")),
    "from-data.test": (reaches(PUBLIC), blocked(PRIVATE, rule=FROM_DATA)),
    "final-dot.test": TO_PRIVATE,
    "kept.test": (reaches(PUBLIC), *TO_PRIVATE, TO_PRIVATE[1]),
    "kept6.test": (reaches(PUBLIC6), *TO_PRIVATE6),
    "mixed.test": (reaches(PUBLIC),) * 2,
    "mixed6.test": (reaches(PUBLIC6),) * 2,
    "mixed-refusing.test": (f"ConnectError: .*: {re.escape(REFUSING)} refused",) * 2,
    "mixed-refusing6.test": (f"ConnectError: .*: {re.escape(REFUSING6)} refused",) * 2,
    "alias.test": (blocked(PRIVATE, rule=RFC1918),) * 2,
    "alias6.test": (blocked(PRIVATE6, rule=RFC4193),) * 2,
    "alias-rebind.test": TO_PRIVATE,
    "internal.test": (reaches(PUBLIC), reaches(PRIVATE), reaches(PRIVATE6)),
    "one-open.test": (reaches(PRIVATE),) * 2,
}


def test_the_scenarios_have_a_network_of_their_own(world: dict[str, Any]) -> None:
    """The process that plays them has no interface up but the loopback that it brought up."""
    assert [line.split(": ")[1] for line in world["interfaces"].splitlines()] == ["lo"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_only_an_address_that_the_policy_opens_is_connected_to(
    world: dict[str, Any], name: str
) -> None:
    """Whatever a name answers, and when: closed receivers, which do listen, are never reached."""
    played: Played = world["played"][name]
    outcomes, expected = played["outcomes"], EXPECTED[name]
    assert len(outcomes) == len(expected)
    for outcome, pattern in zip(outcomes, expected, strict=True):
        assert re.fullmatch(pattern, outcome)
    reached = {outcome.split()[1] for outcome in outcomes if outcome.startswith("200 ")}
    assert set(played["connections"]) == reached


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_name_is_looked_up_once_for_each_connection(world: dict[str, Any], name: str) -> None:
    """The address that was checked is the one that is dialled: there is no second look-up."""
    played: Played = world["played"][name]
    reused = 1 if name.startswith("kept") else 0
    assert played["asked"] == [len(played["outcomes"]) - reused] * 2


@pytest.mark.parametrize(("name", "address"), [("kept.test", PUBLIC), ("kept6.test", PUBLIC6)])
def test_a_kept_connection_stays_where_it_was_checked(
    world: dict[str, Any], name: str, address: str
) -> None:
    """While the name moves, the open connection is used; the next one is checked anew."""
    assert world["played"][name]["connections"] == {address: 1}
