"""The figures of the last hours, as what a template draws: no markup, only sizes and words."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence

import attrs

from changehook.inspection import HourlyOutcome

__all__ = ["DECADES", "HOURS", "OUTCOMES", "Bar", "Column", "Span", "columns", "spans", "top_of"]

HOURS = 24
OUTCOMES = ("delivered", "retried", "lost", "failed", "skipped")
WIDTH, GAP = 10.0, 1.5
HEIGHT = 100.0
LEAST = 2.0
"""So high is the smallest bar, or one failure among thousands would not be seen."""

DECADES = ("100 s", "10 s", "1 s", "100 ms", "10 ms", "1 ms")
_LOWEST = -3  # the exponent of the last of the decades

HOUR = datetime.timedelta(hours=1)


@attrs.frozen(kw_only=True)
class Bar:
    """One part of a column, in units of a box of ``HEIGHT``."""

    outcome: str
    y: float
    height: float


@attrs.frozen(kw_only=True)
class Column:
    """What came of the attempts of one hour.

    Args:
        hour: its beginning.
        x, width: where it stands.
        counts: by outcome, those that there are.
        bars: from the bottom up.
    """

    hour: datetime.datetime
    x: float
    width: float
    counts: dict[str, int]
    bars: tuple[Bar, ...]

    @property
    def words(self) -> str:
        """The figures in words."""
        return ", ".join(f"{count:,} {name}" for name, count in self.counts.items()) or "nothing"

    @property
    def total(self) -> int:
        """How many there were."""
        return sum(self.counts.values())


@attrs.frozen(kw_only=True)
class Span:
    """How long the attempts of one hour took, on a logarithmic scale.

    Args:
        hour, x, width: as of a column.
        mean, slowest: seconds.
        y, height: from the slowest down to the mean.
    """

    hour: datetime.datetime
    x: float
    width: float
    mean: float
    slowest: float
    y: float
    height: float


def _hours(now: datetime.datetime) -> list[datetime.datetime]:
    last = now.replace(minute=0, second=0, microsecond=0)
    return [last - HOUR * (HOURS - 1 - index) for index in range(HOURS)]


def top_of(hours: Iterable[HourlyOutcome], now: datetime.datetime) -> int:
    """Return a round number that no hour exceeds."""
    totals = dict.fromkeys(_hours(now), 0)
    for each in hours:
        if each.hour in totals:
            totals[each.hour] += each.count
    most = max(totals.values())
    if most <= 4:
        return 4
    power = 10 ** math.floor(math.log10(most))
    return int(next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= most))


def columns(hours: Iterable[HourlyOutcome], now: datetime.datetime, top: int) -> list[Column]:
    """Return the columns of the last hours, oldest first.

    Args:
        hours: the figures; those of one hour are added up.
        now: aware.
        top: how many deliveries are as high as the box.
    """
    counts: dict[datetime.datetime, dict[str, int]] = {hour: {} for hour in _hours(now)}
    for each in hours:
        if each.hour in counts:
            there = counts[each.hour]
            there[each.outcome] = there.get(each.outcome, 0) + each.count
    return [_column(index, hour, counts[hour], top) for index, hour in enumerate(counts)]


def _column(index: int, hour: datetime.datetime, counts: dict[str, int], top: int) -> Column:
    ordered = {name: counts[name] for name in OUTCOMES if counts.get(name)}
    bars, y = [], HEIGHT
    for name, count in ordered.items():
        height = min(max(HEIGHT * count / top, LEAST), y)
        y -= height
        bars.append(Bar(outcome=name, y=round(y, 2), height=round(height, 2)))
    return Column(hour=hour, x=_x(index), width=WIDTH - GAP, counts=ordered, bars=tuple(bars))


def spans(hours: Sequence[HourlyOutcome], now: datetime.datetime) -> list[Span]:
    """Return how long attempts took in each of the last hours in which there were any."""
    made = [each for each in hours if each.outcome not in ("skipped", "lost") and each.count]
    found = []
    for index, hour in enumerate(_hours(now)):
        there = [each for each in made if each.hour == hour]
        if there:
            mean = sum(each.seconds for each in there) / sum(each.count for each in there)
            found.append(_span(index, hour, mean, max(each.slowest for each in there)))
    return found


def _span(index: int, hour: datetime.datetime, mean: float, slowest: float) -> Span:
    y, bottom = _level(slowest), _level(mean)
    return Span(
        hour=hour,
        x=_x(index),
        width=WIDTH - GAP,
        mean=mean,
        slowest=slowest,
        y=round(y, 2),
        height=round(max(bottom - y, 1.0), 2),
    )


def _level(seconds: float) -> float:
    """Return how far below the top a time stands."""
    exponent = math.log10(max(seconds, 10.0**_LOWEST))
    share = (exponent - _LOWEST) / (len(DECADES) - 1)
    return HEIGHT * (1 - min(max(share, 0.0), 1.0))


def _x(index: int) -> float:
    return round(index * WIDTH + GAP / 2, 2)
