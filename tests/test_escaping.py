"""Which values have a text, and what stands for one that is not there."""

from __future__ import annotations

from typing import Any

import pytest

from changehook.escaping import Absent, RefusedError, Text, check_plain


class Nothing(Absent):
    """A value that is not there, and says so."""

    def __str__(self) -> str:
        raise LookupError("not there")


@pytest.mark.parametrize(
    "value",
    ["a", "", 1, 1.5, True, None, Text("a", "b"), [], (), {}, [1, (None, {"a": ["b"]})], {1: {}}],
)
def test_plain_data_is_let_through(value: Any) -> None:
    """JSON data, however nested, has a text."""
    check_plain(value)


@pytest.mark.parametrize(
    "value",
    [print, int, object(), iter([]), range(3), {}.keys(), b"a", {1}, [[print]], {"a": (print,)}],
)
def test_what_is_not_plain_is_refused(value: Any) -> None:
    """What is not JSON data has no text, however deep it stands, as a value or as a key."""
    with pytest.raises(RefusedError, match="has no text; call it"):
        check_plain(value)
    with pytest.raises(RefusedError, match="has no text; call it"):
        check_plain({(print,): value})


def test_what_is_absent_raises_its_own_error() -> None:
    """A value that is not there says so itself, however deep it stands."""
    with pytest.raises(LookupError, match="not there"):
        check_plain([{"a": Nothing()}])


def test_a_refusal_names_its_line() -> None:
    """An error shows its line where it is known."""
    assert str(RefusedError("is wrong", 3)) == "line 3: is wrong"
    assert str(RefusedError("is wrong")) == "is wrong"


def test_text_keeps_both_forms() -> None:
    """Text is its characters to the template, and something else in the output."""
    text = Text("a", "b")
    assert (text, text.output, Text.insert(text)) == ("a", "b", "b")
    assert Text.concat(["x", text]).output == "xb"
    assert Text.joined([text, 1], ",") == "a,1"
    assert type(Text.joined(["a", 1], ",")) is str
