"""How receivers share the workers."""

from __future__ import annotations

import pytest

from changehook.deliveries import Attempt
from changehook.shares import Admission, Shares
from changehook.testing.deliveries import NOW


class Timer:
    """A monotonic clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the seconds that it shows."""
        return self.now


@pytest.fixture
def timer() -> Timer:
    """A clock of the test."""
    return Timer()


def attempt(error_class: str | None = None, status: int | None = None, **headers: str) -> Attempt:
    """Return an attempt that met an error, a status, or success."""
    kind = "status" if status else error_class
    return Attempt(
        number=1,
        started_at=NOW,
        duration=0.1,
        status=status,
        error_class=kind,
        response_headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def taken(shares: Shares, name: str, **options: bool) -> int:
    """Return how many workers a receiver gets until it gets no more."""
    count = 0
    while shares.admit(name, **options):
        count += 1
    return count


def after(shares: Shares, name: str, *attempts: Attempt) -> None:
    """Have a receiver meet attempts, one after the other, whether it may or not."""
    for each in attempts:
        shares._receiver(name).running += 1
        shares.finish(name, each, NOW)


@pytest.mark.parametrize(("workers", "share"), [(1, 1), (2, 1), (3, 1), (8, 3), (16, 7)])
def test_a_stranger_gets_less_than_half(workers: int, share: int) -> None:
    """So that the others together always have at least half; one worker is the least."""
    assert taken(Shares(workers), "a") == share


def test_a_receiver_that_succeeded_gets_what_nobody_else_waits_for(timer: Timer) -> None:
    """All alone; beside others just under half, unless the worker is spare."""
    shares = Shares(16, timer)
    after(shares, "a", attempt())
    assert taken(shares, "a") == 16
    shares = Shares(16, timer)
    after(shares, "a", attempt())
    assert taken(shares, "b") == 7
    assert taken(shares, "a") == 7
    assert taken(shares, "a", spare=True) == 9
    assert taken(shares, "b", spare=True) == 0


def test_a_timeout_leaves_one_worker_until_it_succeeds(timer: Timer) -> None:
    """What hangs may hang in one place."""
    shares = Shares(8, timer)
    after(shares, "a", attempt("timeout"))
    assert taken(shares, "a") == 1
    shares.finish("a", attempt(), NOW)
    assert taken(shares, "a") == 8


def test_a_receiver_that_only_fails_rests_and_is_probed(timer: Timer) -> None:
    """Five failures in a row; each rest is twice as long, and one attempt is made after each."""
    shares = Shares(8, timer)
    after(shares, "a", *[attempt("connect")] * 4, attempt(), *[attempt("dns")] * 4)
    assert taken(shares, "a") == 8
    for _ in range(8):
        shares.give_back("a")
    for seconds in (5, 10, 20, 40, 80, 160, 300, 300):
        after(shares, "a", attempt(status=500))
        assert taken(shares, "a") == 0
        assert shares.resting() == ["a"]
        assert shares.wait() == pytest.approx(seconds)
        timer.now += seconds
        assert shares.wait() is None
        assert taken(shares, "a") == 1
        shares.give_back("a")
    after(shares, "a", attempt())
    assert (taken(shares, "a"), shares.resting()) == (8, [])


def test_what_ends_during_a_rest_does_not_prolong_it(timer: Timer) -> None:
    """The attempts that were running when the rest began."""
    shares = Shares(8, timer)
    after(shares, "a", *[attempt("tls")] * 9)
    assert shares.wait() == 5


@pytest.mark.parametrize(
    ("status", "asked", "seconds"),
    [(429, "60", 60), (502, None, 1), (504, "0", 1), (429, "86400", 300)],
)
def test_an_overloaded_receiver_is_left_alone(
    timer: Timer, status: int, asked: str | None, seconds: float
) -> None:
    """For as long as it asks, and after that one attempt at a time."""
    shares = Shares(8, timer)
    headers = {} if asked is None else {"Retry_After": asked}
    after(shares, "a", attempt(), attempt(status=status, **headers))
    assert taken(shares, "a") == 0
    assert shares.wait() == seconds
    timer.now += seconds
    assert taken(shares, "a") == 1


@pytest.mark.parametrize("met", [attempt(status=404), attempt("render"), attempt("blocked")])
def test_what_is_not_the_receivers_state_does_not_count(timer: Timer, met: Attempt) -> None:
    """A webhook that is wrong does not slow the others of its receiver."""
    shares = Shares(8, timer)
    after(shares, "a", *[met] * 20)
    assert taken(shares, "a") == 3


def test_a_claim_gives_back_what_it_did_not_get(timer: Timer) -> None:
    """Places taken for deliveries that another process claimed meanwhile are free again."""
    shares = Shares(16, timer)
    admission = Admission(shares, {"w1": "a", "w2": "b"}.__getitem__)
    assert [admission("w1") for _ in range(8)] == [True] * 7 + [False]
    assert admission("w2")
    assert admission.refused == {"w1"}
    admission.settle(["a", "b"])
    assert taken(shares, "a") == 6


def test_a_claim_says_when_spare_workers_would_help(timer: Timer) -> None:
    """Only for a receiver that could have more; not for one that rests."""
    shares = Shares(4, timer)
    after(shares, "a", attempt())
    after(shares, "b", *[attempt("connect")] * 5)
    admission = Admission(shares, str)
    assert [admission("b"), admission("a"), admission.may_spare] == [False, True, False]
    assert [admission("a"), admission.may_spare] == [False, True]
    admission.spare()
    assert [admission("a"), admission.refused, admission.may_spare] == [True, set(), False]
