"""Host values to JSON."""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import types
import uuid

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changehook.encoding import (
    decode,
    decode_strict,
    encode,
    fields_of,
    isoformat,
    own,
    to_plain,
)
from changehook.errors import EncodingError

UTC = datetime.UTC


class Colour(enum.Enum):
    """An enumeration of the host."""

    RED = "red"


@attrs.define
class Site:
    """An attrs class of the host."""

    name: str
    colour: Colour


@dataclasses.dataclass
class Owner:
    """A dataclass of the host."""

    name: str
    sites: list[Site]


class Hooked:
    """A class of the host with a JSON form of its own."""

    def __json__(self):
        """Give the form."""
        return {"hooked": datetime.date(2026, 1, 2)}


class Image:
    """A class of the host without a JSON form."""


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(minutes=2), 120.0),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (decimal.Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({1, "a"}, [1, "a"]),
        (b"\x00\xff", "AP8="),
        (bytearray(b"a"), "YQ=="),
        (memoryview(b"a"), "YQ=="),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        ((1, None, True), [1, None, True]),
        (Site("x", Colour.RED), {"name": "x", "colour": "red"}),
        (
            Owner("o", [Site("x", Colour.RED)]),
            {"name": "o", "sites": [{"name": "x", "colour": "red"}]},
        ),
        (Hooked(), {"hooked": "2026-01-02"}),
        ({"zürich": "☃"}, {"zürich": "☃"}),
    ],
)
def test_host_values_have_a_json_form(value, plain):
    """Every documented type is encoded as documented."""
    assert to_plain(value) == plain


def test_encoding_is_compact_and_keeps_order_and_characters():
    """No spaces, keys as given, no escapes that are not needed."""
    assert encode({"b": 1, "a": "ü"}) == '{"b":1,"a":"ü"}'


def cyclic():
    """Return a list that contains itself."""
    value = {"list": []}
    value["list"].append(value)
    return value


def deep():
    """Return a list nested deeper than the interpreter's stack."""
    value = []
    for _ in range(100_000):
        value = [value]
    return value


def deep_and_bad():
    """Return nested lists that the encoder can walk, and the search for the fault cannot."""
    value = Image()
    for _ in range(800):
        value = [value]
    return value


def raising():
    """Return an object whose own JSON form fails."""

    class Bad:
        def __json__(self):
            raise RuntimeError

    return Bad()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"owner": {"avatar": Image()}}, f"data.owner.avatar: cannot encode {__name__}.Image"),
        ({"sites": [1, {"x": float("nan")}]}, "data.sites.1.x: has no JSON form"),
        ({"x": float("inf")}, "data.x: has no JSON form"),
        ({"x": "\ud800"}, "data.x: holds a lone surrogate, which is not text"),
        ({"x": {"\ud800": 1}}, "data.x: a key holds a lone surrogate, which is not text"),
        ({"x": {(1, 2): 1}}, "data.x: keys must be text, and one is of type tuple; write str(key)"),
        (cyclic(), "data.list.0: contains itself"),
        (deep(), "data: nested too deeply"),
        (deep_and_bad(), "data: nested too deeply"),
        ({"x": raising()}, "data.x: RuntimeError"),
        ({"x": decimal.Decimal("NaN")}, "data.x: NaN and the infinities have no JSON form"),
        ({"x": [decimal.Decimal("-Infinity")]}, "data.x.0: NaN and the infinities"),
        (Owner("o", [Image()]), f"data.sites.0: cannot encode {__name__}.Image"),
    ],
)
def test_what_has_no_json_form_is_named(value, message):
    """The error says which part, from the root."""
    with pytest.raises(EncodingError) as caught:
        encode(value)
    assert str(caught.value).startswith(message)


def test_a_field_that_was_never_set_is_named():
    """Python says which, and from 3.13 on of which class with its module."""
    with pytest.raises(EncodingError, match=r"^data\.x: '.*Site' object has no attribute 'name'"):
        encode({"x": Site.__new__(Site)})


def test_without_a_root_the_keys_name_themselves():
    """A context's own keys begin the path."""
    with pytest.raises(EncodingError, match=r"^snapshots\.prechange\.x: cannot encode"):
        encode({"snapshots": {"prechange": {"x": Image()}}}, root="")


def test_a_class_is_not_its_instance():
    """The fields of a class itself are not data."""
    with pytest.raises(EncodingError, match="cannot encode"):
        encode({"x": Site})
    assert fields_of(Site) is None


def test_decoding_refuses_what_is_not_json():
    """NaN is refused always, a key that stands twice where a person wrote the text."""
    with pytest.raises(ValueError, match="NaN is not JSON"):
        decode("[NaN]")
    assert decode('{"a":1,"a":2}') == {"a": 2}
    with pytest.raises(ValueError, match='"a" stands twice'):
        decode_strict('{"b":{"a":1,"a":2}}')
    assert decode_strict('{"a":{"b":1}}') == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1}'.encode("utf-16"), "begins with a byte order mark"),
        (b'"\xff"', "byte 1 is not UTF-8; save it as UTF-8"),
        ("9" * 1001, "an integer of more than 1000 digits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a\n":1,"a\n":2}'.replace("\n", "\\n"), r"the key \"a\\n\" stands twice"),
    ],
)
def test_what_a_person_wrote_is_read_strictly(text, message):
    """The error says what to do."""
    with pytest.raises(ValueError, match=message):
        decode_strict(text)
    assert decode_strict(b"[1]") == [1]


def test_a_copy_holds_plain_types_only():
    """Down to a depth; methods of subclasses are not asked."""

    class Text(str):
        def __str__(self):
            return "other"

    value = {Text("a"): [Text("b"), {"c": Text("d")}], "e": 5}
    copy = own(value, 3)
    assert copy == {"a": ["b", {"c": "d"}], "e": 5}
    assert {type(next(iter(copy))), type(copy["a"][0]), type(copy["a"][1]["c"])} == {str}
    assert own(value, 0) is value


def test_a_moment_is_given_in_utc():
    """Whatever the zone, with T and an offset."""
    zone = datetime.timezone(datetime.timedelta(hours=2))
    assert isoformat(datetime.datetime(2026, 1, 2, 3, tzinfo=zone)) == "2026-01-02T01:00:00+00:00"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(JSON)
def test_json_values_come_back_unchanged(value):
    """Encoding and decoding JSON types is the identity."""
    assert decode(encode(value)) == value == json.loads(encode(value))


@given(
    st.recursive(
        JSON | st.builds(Image) | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_any_value_is_encoded_or_refused(value):
    """Nothing but EncodingError comes out, and what comes out can be sent."""
    try:
        text = encode(value)
    except EncodingError:
        return
    decode(text.encode())


@pytest.mark.parametrize("text", ["1e999", "[-1e999]", "NaN", "-Infinity", "[" * 100_000])
def test_what_json_cannot_hold_or_python_cannot_read_is_refused(text: str) -> None:
    """A number too large for a float, those that are none, and too many brackets."""
    with pytest.raises(ValueError, match=r"too large|is not JSON|nested too deeply"):
        decode(text)
