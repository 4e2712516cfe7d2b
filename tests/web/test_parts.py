"""The parts of the page that need neither a request nor a browser."""

from __future__ import annotations

import datetime
import json
import shlex

import operated
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changehook.inspection import DeliveryFilter, HourlyOutcome
from changehook.web.charts import HEIGHT, HOURS, columns, spans, top_of
from changehook.web.curl import LONGEST_ARGUMENT, curl_command
from changehook.web.differences import MOST_LINES, differences
from changehook.web.rendering import lasting, pretty, took
from changehook.web.searches import Search, after_of
from changehook.web.wsgi import RefusedRequestError

NOW, HOUR = operated.NOW, operated.HOUR
LAST = NOW.replace(minute=0, second=0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def outcome(hours_ago, name="delivered", count=1, seconds=0.5, slowest=0.5):
    """Return the figures of one webhook in one hour."""
    return HourlyOutcome(
        hour=LAST - hours_ago * HOUR,
        webhook="w",
        outcome=name,
        count=count,
        seconds=seconds,
        slowest=slowest,
    )


# Charts


def test_columns_are_hours_and_stand_on_the_ground():
    """The newest last; what is older than a day is left out; parts are stacked in one order."""
    hours = [outcome(30), outcome(2, "failed", 10), outcome(2, count=30), outcome(0, count=40)]
    top = top_of(hours, NOW)
    found = columns(hours, NOW, top)
    assert (len(found), top) == (HOURS, 40)
    assert found[-1].hour == LAST
    assert [column.total for column in found if column.total] == [40, 40]
    delivered, failed = found[-3].bars
    assert (delivered.outcome, delivered.y + delivered.height) == ("delivered", HEIGHT)
    assert (failed.outcome, failed.y + failed.height) == ("failed", delivered.y)
    assert found[-3].words == "30 delivered, 10 failed"
    assert found[0].words == "nothing"


def test_one_failure_among_thousands_is_seen():
    hours = [outcome(0, count=100_000), outcome(0, "failed", 1)]
    bars = columns(hours, NOW, top_of(hours, NOW))[-1].bars
    assert bars[-1].outcome == "failed"
    assert bars[-1].height >= 2 or bars[-1].y == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.sampled_from(["delivered", "lost", "skipped"]),
            st.integers(0, 10**9),
        ),
        max_size=20,
    )
)
def test_no_column_is_higher_than_the_box(figures):
    hours = [outcome(*each) for each in figures]
    top = top_of(hours, NOW)
    for column in columns(hours, NOW, top):
        assert all(bar.y >= 0 and bar.height >= 0 for bar in column.bars)
        assert sum(bar.height for bar in column.bars) <= HEIGHT + 0.1
        assert column.total <= top


def test_times_stand_on_a_logarithmic_scale():
    """A hundred seconds at the top, a millisecond at the bottom, and nothing beyond."""
    hours = [
        outcome(0, seconds=0.001, slowest=100.0),
        outcome(1, seconds=5_000.0, slowest=5_000.0),
        outcome(2, seconds=0.0, slowest=0.0),
        outcome(3, "skipped"),
        outcome(4, count=0),
    ]
    fast, none, huge = spans(hours, NOW)[::-1][0], spans(hours, NOW)[0], spans(hours, NOW)[1]
    assert (fast.y, fast.height) == (0.0, HEIGHT)
    assert huge.y == 0.0
    assert none.y <= HEIGHT
    assert len(spans(hours, NOW)) == 3


# Differences


def test_only_what_differs_has_a_sign():
    """What is the same inside stands on one line."""
    before = {"a": 1, "b": {"c": [1, 2]}, "d": {"e": 1, "f": 2}, "g": 0}
    after = {"a": 1, "b": {"c": [1, 2]}, "d": {"e": 2, "f": 2}, "h": None}
    lines = [f"{line.sign}{'  ' * line.depth}{line.text}" for line in differences(before, after)]
    assert lines == [
        " {",
        '   "a": 1',
        '   "b": {"c": [1, 2]}',
        '   "d": {',
        '-    "e": 1',
        '+    "e": 2',
        '     "f": 2',
        "   }",
        '-  "g": 0',
        '+  "h": null',
        " }",
    ]


def test_true_is_not_one_and_a_kind_that_changes_is_both():
    texts = [
        (line.sign, line.text) for line in differences({"a": 1, "b": []}, {"a": True, "b": {}})
    ]
    assert ("-", '"a": 1') in texts
    assert ("+", '"a": true') in texts
    assert ("-", '"b": []') in texts
    assert [line.sign for line in differences(None, {"a": 1})] == ["-", "+"]


@given(JSON, JSON)
def test_what_is_the_same_has_no_sign_and_what_differs_has_one(before, after):
    same = all(line.sign == " " for line in differences(before, after))
    assert same == (json.dumps(before) == json.dumps(after) or _reordered(before, after))
    assert all(line.sign == " " for line in differences(before, before))


def _reordered(before, after):
    return type(before) is type(after) and json.dumps(before, sort_keys=True) == json.dumps(
        after, sort_keys=True
    )


def test_what_is_put_into_a_list_moves_no_other():
    lines = differences({"tags": ["a", "b", "c"]}, {"tags": ["b", "c", "d"]})
    assert [(line.sign, line.text) for line in lines if line.sign != " "] == [
        ("-", '"a"'),
        ("+", '"d"'),
    ]
    long = list(range(300))
    signs = [line.sign for line in differences(long, [*long, 300])]
    assert signs.count("+") == 1
    assert "-" not in signs


def test_long_values_are_cut_around_what_differs():
    before, after = ("x" * 1_000 + middle + "y" * 1_000 for middle in ("old", "new"))
    texts = [line.text for line in differences({"a": before}, {"a": after}) if line.sign != " "]
    assert ["old" in text for text in texts] == [True, False]
    assert ["new" in text for text in texts] == [False, True]
    assert all(len(text) < 500 for text in texts)


def test_a_long_comparison_is_cut():
    lines = differences(dict.fromkeys(map(str, range(5_000)), 1), {})
    assert len(lines) == MOST_LINES + 1
    assert "too long" in lines[-1].text


# curl


@given(st.text(max_size=40))
def test_a_shell_reads_the_body_as_it_is(body):
    """Or it is told to read a file, where a page cannot show it as it is."""
    command = curl_command("POST", "https://x.example/", {"X-$A'": "`b`"}, body)
    if "@body.txt" in command:
        assert not body.replace("\n", "").replace("\t", "").isprintable()
        return
    words = shlex.split(command, comments=True)
    assert words[words.index("--data-raw") + 1] == body
    assert words[words.index("--header") + 1] == "X-$A': `b`"


def test_what_no_command_can_hold_comes_from_a_file():
    for body in ("a\0b", "x" * (LONGEST_ARGUMENT + 1)):
        command = curl_command("POST", "https://x.example/***", {"Authorization": "***"}, body)
        assert "--data-binary @body.txt" in command
        assert '"${HOOK_URL:?}"' in command
        assert "'Authorization: '\"${HOOK_AUTHORIZATION:?}\"" in command


# Searches


def test_a_search_is_its_link():
    search = Search.of(
        {"status": "failing", "webhook": "a&b", "text": "x y", "since": " 24h ", "other": "1"}
    )
    assert search.link() == "deliveries?status=failing&webhook=a%26b&since=24h&text=x+y"
    assert search.link(status="", since="") == "deliveries?webhook=a%26b&text=x+y"
    where = DeliveryFilter(failing=True, webhook="a&b", text="x y", since=NOW - 24 * HOUR)
    assert search.where(NOW) == where
    assert search.words == "failing, of webhook a&b, since 24h, with text x y"


def test_times_are_how_long_ago_or_moments():
    """What names no zone is UTC; for a bulk action they stand still."""
    search = Search(since="24h", until="2026-03-10T12:00+02:00")
    where = search.where(NOW)
    assert where.since == NOW - 24 * HOUR
    assert where.until == datetime.datetime(2026, 3, 10, 10, tzinfo=datetime.UTC)
    assert Search(since="2026-03-01").where(NOW).since == datetime.datetime(
        2026, 3, 1, tzinfo=datetime.UTC
    )
    fixed = Search(since="24h").fixed(NOW)
    assert fixed.where(NOW + HOUR) == DeliveryFilter(since=NOW - 24 * HOUR, until=NOW)


@pytest.mark.parametrize(
    "text", ["soon", "24", "9999999999w", "0h", "2026-13-01", "1h1", "0001-01-01T00:00+10:00"]
)
def test_a_time_that_is_none_says_what_to_write(text):
    with pytest.raises(RefusedRequestError, match="such as 24h, or ISO 8601"):
        Search(since=text).where(NOW)


@pytest.mark.parametrize(
    "text", ["x", "2026-01-01/", "2026-01-01T00:00/id", "2026-01-01T00:00+00:00"]
)
def test_a_cursor_that_is_none_is_refused(text):
    with pytest.raises(RefusedRequestError, match="after: expected"):
        after_of({"after": text})


# Words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 ms"),
        (0.0123, "12.3 ms"),
        (0.5, "0.50 s"),
        (59.99, "59.99 s"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
    ],
)
def test_how_long_something_took(seconds, words):
    assert took(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (7_199, "1 h 59 min"),
        (90_000, "1 d 1 h"),
        (86_400, "1 d"),
    ],
)
def test_how_long_something_lasts(seconds, words):
    assert lasting(seconds) == words


def test_what_is_no_json_is_shown_as_it_is():
    assert pretty("{") == "{"
    assert pretty('{"a":"é"}') == '{\n  "a": "é"\n}'
