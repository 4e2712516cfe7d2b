"""The jail counts what a call costs, ends it at its limits, and keeps it on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from security import misdeeds
from security.jail import MIB, Jail, limited


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(cpu=1, memory=256 * MIB, wall=5.0) as jail:
        yield jail


def test_a_value_comes_back_with_what_it_cost(jail: Jail) -> None:
    """A harmless call gives its value and next to no memory."""
    outcome = jail.run(misdeeds.add, 2, 3)
    assert (outcome.value, outcome.error) == (5, None)
    assert outcome.memory < MIB


def test_memory_is_counted_from_the_process_before_the_call(jail: Jail) -> None:
    """What a call takes is counted at its peak, and is not counted for the next one."""
    assert 50 * MIB <= jail.run(misdeeds.allocate, 50 * MIB).memory < 60 * MIB
    assert jail.run(misdeeds.add, 2, 3).memory < MIB


def test_an_error_is_told(jail: Jail) -> None:
    """What a call raises is told with its class."""
    assert jail.run(misdeeds.fail).error == "ZeroDivisionError: on purpose"


def test_limits_end_a_call_and_not_the_jail(jail: Jail) -> None:
    """Too much memory, too long a computation and a call that hangs all end; the jail goes on."""
    assert str(jail.run(misdeeds.allocate, 400 * MIB).error).startswith("MemoryError")
    assert str(jail.run(misdeeds.spin).error).startswith("killed by signal")
    assert str(jail.run(misdeeds.hang).error).startswith("killed by signal")
    assert jail.run(misdeeds.add, 1, 1).value == 2


def test_leaving_loopback_is_told_even_if_the_call_hides_it(jail: Jail) -> None:
    """A call that dials outside and swallows the refusal is found out."""
    assert str(jail.run(misdeeds.dial).error).startswith("left loopback")


def test_a_test_can_be_held_to_limits_in_its_own_process() -> None:
    """Past the limit an allocation fails, and afterwards there is none."""
    with limited(memory=64 * MIB), pytest.raises(MemoryError):
        misdeeds.allocate(200 * MIB)
    assert misdeeds.allocate(200 * MIB) == 200 * MIB
