"""What a rendering may use: each limit, what is charged, and how far below templates stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from security.jail import limited

from changehook.budget import (
    DEEPEST,
    DEEPEST_CALLS,
    FUEL,
    LARGEST_ARGUMENT,
    LONGEST_TEXT,
    MOST_BITS,
    MOST_PARTS,
    Budget,
)
from changehook.escaping import RefusedError, Text
from changehook.sandbox import Program

STEPS = f"needs more than {FUEL} steps; loop over less, or insert shorter values"
LONG = f"makes a text of more than {LONGEST_TEXT} characters"
ITEMS = f"makes a list of more than {MOST_PARTS} items"
BITS = f"may make an integer of more than {MOST_BITS} bits"
ARGUMENT = f"a width, count or precision is more than {LARGEST_ARGUMENT}"
DEEP = f"uses a value that is nested more than {DEEPEST} deep"
LARGE = f"uses a whole value of more than {MOST_PARTS} parts or {LONGEST_TEXT} characters"
FORMAT = 'a format holds "*", or brackets in a name; write a number'
KEY = "a key is text or a small number"
STARRED = "* and ** take a list or an object of up to 256 values"
NO_TEXT = "a function, macro, loop or range has no text"
WRONG = "a value has the wrong type for what the template does with it"
SHARED = (
    "{% set ns = namespace(x='a') %}"
    "{% for i in range(28) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
)
NESTED = "{% set ns = namespace(x=1) %}{% for i in range(200) %}{% set ns.x = [ns.x] %}{% endfor %}"
RECURSION = f"calls itself more than {DEEPEST_CALLS} deep"
OUTPUT = f"gives more than {LONGEST_TEXT} characters"
CONTEXT: dict[str, Any] = {
    "long": "a" * 3_000_000,
    "text": "word " * 50_000,
    "many": list(range(100_000)),
    "digits": 10**4000,
    "name": "edge-1",
    "big": 10**9,
    "half": "a" * 600_000,
    "huge": ["a"] * 300_000,
    "data": {f"k{index}": index for index in range(300)},
    "colliding": [index * (2**61 - 1) for index in range(1, 5000)],
}


@pytest.fixture(autouse=True)
def within_limits() -> Iterator[None]:
    """What is hostile here may not take more than the jail would let it."""
    with limited():
        yield


def budget(fuel: int = FUEL) -> Budget:
    found = Budget()
    found.most_fuel = found.fuel = fuel
    found.depth = 0
    return found


def refusal(source: str, **context: Any) -> tuple[str, int]:
    with pytest.raises(RefusedError) as caught:
        Program("\n" + source, Text).render(CONTEXT | context)
    return caught.value.message, caught.value.line


def spent(source: str, **context: Any) -> int:
    """Return the least fuel that a template needs."""
    low, high = 0, FUEL
    while low < high:
        middle = (low + high) // 2
        try:
            Program(source, Text, fuel=middle).render(CONTEXT | context)
            high = middle
        except RefusedError:
            low = middle + 1
    return low


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}", STEPS),
        (
            "{% for a in range(2000) %}{% for b in range(2000) if b < 0 %}{% endfor %}{% endfor %}",
            STEPS,
        ),
        ("{{ 'a' * 10**8 }}", LONG),
        ("{{ big * 'a' }}", LONG),
        ("{{ name * big }}", LONG),
        ("{{ [0] * big }}", ITEMS),
        ("{{ (1, 2) * 10**6 }}", ITEMS),
        ("{{ text + text + text + text + text }}", LONG),
        ("{% set a = text ~ text ~ text ~ text ~ text %}", LONG),
        ("{{ [text, text, text, text, text] | join }}", LONG),
        ("{{ range(1000) | join('x' * 10000) }}", LONG),
        ("{{ ('x' * 20000).join('a' * 1000) }}", LONG),
        ("{% set a %}{{ text }}{{ text }}{{ text }}{{ text }}{{ text }}{% endset %}", LONG),
        ("{{ text.replace('w', 'x' * 100) }}", LONG),
        ("{{ text | replace('w', 'x' * 100) }}", LONG),
        ("{{ text | replace('', 'x' * 100) }}", LONG),
        ("{{ ('\\n' * 1000) | indent(10000) }}", LONG),
        ("{{ text | wordwrap(1, wrapstring='xxxxx') }}", STEPS),
        ("{{ 'a b' | wordwrap(1, wrapstring='x' * 600000) }}", LONG),
        ("{{ [[[[[1]]]]] | tojson(indent=10000) }}{{ many | tojson(indent=100) }}", LONG),
        ("{{ long | upper }}", LARGE),
        ("{{ long.upper() }}", LARGE),
        ("{{ long[1:] }}", LONG),
        ("{% set a = long ~ 'a' %}", LONG),
        ("{{ long }}", LONG),
        ("{{ many[:] * 3 }}", ITEMS),
        ("{{ many + many + many }}", ITEMS),
        ("{{ [many, many, many] | tojson }}", LARGE),
        ("{{ 10 ** (10 ** 9) }}", BITS),
        ("{{ big ** big }}", BITS),
        ("{{ digits * digits }}", BITS),
        ("{{ digits + digits }}", BITS),
        ("{{ digits - 1 }}", BITS),
        ("{{ ('f' * 3000) | int(0, 16) }}", BITS),
        ("{{ 'x' | center(10**9) }}", ARGUMENT),
        ("{{ 'x'.center(10**9) }}", ARGUMENT),
        ("{{ 'x'.ljust(10**9) }}", ARGUMENT),
        ("{{ 'x'.zfill(10**9) }}", ARGUMENT),
        ("{{ 'x' | indent(10**9) }}", ARGUMENT),
        ("{{ [1] | tojson(indent=10**9) }}", ARGUMENT),
        ("{{ [1] | batch(10**9, 'x') }}", ARGUMENT),
        ("{{ [1] | slice(10**9) }}", ARGUMENT),
        ("{{ 2 | round(400000000, 'floor') }}", ARGUMENT),
        ("{{ '%1000000000d' % 1 }}", ARGUMENT),
        ("{{ '%.1000000000f' % 1 }}", ARGUMENT),
        ("{{ '%1000000000d' | format(1) }}", ARGUMENT),
        ("{{ ('%' ~ '9' * 5000 ~ 'd') | format(1) }}", ARGUMENT),
        ("{{ '%*d' % (1, 1) }}", FORMAT),
        ("{{ '%.*f' % (1, 1) }}", FORMAT),
        ("{{ '%(a(b))1000000000d' % {'a(b)': 1} }}", FORMAT),
        ("{{ ('%(a)s' * 1000) % {'a': 'x' * 10000} }}", LONG),
        ("{{ '%1000000000d' is odd }}", WRONG),
        ("{{ '%1000000000d' is divisibleby 7 }}", WRONG),
        ("{{ 'a' | round(3) }}", WRONG),
        ("{{ 'a' | abs }}", WRONG),
        ("{{ ([[1] * 1000] * 1000) | sum(start=[]) }}", STEPS),
        ("{{ [1, nope] | sum }}", '"nope" is not defined'),
        ("{{ 'x'.append(1) }}", '"append" is not defined'),
        ("{{ ['x'].append(1) }}", "append would change a list; write found + [value]"),
        ("{{ data.update(a=1) }}", "update would change an object; write dict(found, key=value)"),
        ("{{ '{}'.format(1) }}", 'format is not open to templates; write "%s" % value'),
        ("{{ [1] | tojson(indent='x') }}", WRONG),
        ("{{ 5[1:] }}", "what was looked up by a computed name or a number is not there"),
        ("{% for i in 'ab' %}{% for j in loop %}{{ j }}{% endfor %}{% endfor %}", NO_TEXT),
        (SHARED + "{{ ns.x }}", LARGE),
        (SHARED + "{{ ns.x | string }}", LARGE),
        (SHARED + "{{ ns.x | tojson }}", LARGE),
        (SHARED + "{{ '%s' % (ns.x,) }}", LARGE),
        (SHARED + "{{ ns.x == ns.x }}", LARGE),
        (SHARED + "{{ ns.x in [ns.x] }}", LARGE),
        (SHARED + "{{ [ns.x] | sort }}", LARGE),
        (SHARED + "{{ [ns.x] | unique }}", LARGE),
        (SHARED + "{{ [ns.x] | sum }}", WRONG),
        (SHARED + "{{ ns.x | abs }}", LARGE),
        (SHARED + "{{ ns.x() }}", "only macros, functions and methods can be called"),
        (SHARED + "{{ 'a'.join(ns.x) }}", LARGE),
        (SHARED + "{% for i in [1, 2] %}{{ loop.changed(ns.x) }}{% endfor %}", LARGE),
        (SHARED + "{{ [1].count(ns.x) }}", LARGE),
        (SHARED + "{{ ns.x is eq ns.x }}", LARGE),
        (SHARED + "{{ [ns.x] | select('in', ns.x) | list }}", LARGE),
        (NESTED + "{{ {}[(ns.x,)] }}", DEEP),
        (NESTED + "{{ {(ns.x,): 1} }}", KEY),
        (
            NESTED + "{% for i in [1, ns.x] %}{{ dict(loop) }}{% endfor %}",
            "a function or macro is not a list",
        ),
        (NESTED + "{% for i in [1, ns.x] %}{{ ns.x in loop }}{% endfor %}", DEEP),
        ("{% for i in [1] %}{{ i in loop }}{% endfor %}", NO_TEXT),
        (
            "{% for i in [1] %}{{ namespace(*loop) }}{% endfor %}",
            "a function or macro is not a list",
        ),
        ("{{ {} | batch(-10001) }}", ARGUMENT),
        ("{% set d = {2 ** 70: 1} %}", KEY),
        ("{{ dict([[2 ** 70, 1]]) }}", KEY),
        ("{{ dict(namespace(keys=1)) }}", "a function or macro is not a list"),
        ("{{ dict(nope) }}", '"nope" is not defined'),
        ("{{ {nope: 1} }}", '"nope" is not defined'),
        ("{{ range(*many) }}", STARRED),
        ("{{ range(*text) }}", STARRED),
        ("{{ 'x' | default(*many) }}", STARRED),
        ("{{ dict(**data) }}", STARRED),
        ("{{ (-8) ** 0.5 }}", "makes a complex number"),
        ("{{ 0 ** digits }}", BITS),
        ("{{ -digits }}", BITS),
        ("{{ -'a' }}", WRONG),
        ("{{ many | max(none, many) }}", WRONG),
        ("{{ [1 if false] }}", NO_TEXT),
        ("{{ {'a': (1 if false)} | string }}", NO_TEXT),
        ("{{ 1 | round(-10000) }}", STEPS),
        ("{{ 1 | round(9999, 'ceil') }}", STEPS),
        ("{{ ('%' * 100000) % 1 }}", LONG),
        ("{{ [{}] * 1000 | groupby('x', default=text) }}", WRONG),
        ("{{ ([{}] * 1000) | groupby('x', default=text) }}", STEPS),
        ("{{ colliding | unique }}", STEPS),
        ("{{ ('x\\n' * 100000) | indent(1000) }}", LONG),
        ("{% set a %}{{ 'x\\n' * 100000 }}{% endset %}{{ a | indent(1000) }}", LONG),
        (NESTED + "{{ ns.x | string }}", DEEP),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", RECURSION),
        (
            "{% for n in [1] recursive %}{{ loop([1]) }}{% endfor %}",
            RECURSION,
        ),
        ("{% for each in range(30) %}{{ text }}{% endfor %}", OUTPUT),
        ("{{ many | map(attribute='a.' * 200) }}", "the name that is looked up is longer than 256"),
        ("{{ (text * 4).rfind('word ' * 1000 ~ 'x') }}", STEPS),
        ("{{ text.strip('word ' * 10000) }}", STEPS),
        ("{{ range(2 ** 61) }}", "a number given to range is too large"),
        ("{{ text | trim('word ' * 10000) }}", STEPS),
        ("{{ (text * 4).split() }}", STEPS),
        ("{{ (text * 4) | urlencode }}", STEPS),
        ("{{ many | sort }}", STEPS),
        ("{{ many | map('string') }}{{ many | map('string') }}", STEPS),
        (
            "{% for a, b in range(90000) | batch(1) | map('first') | select | list %}{% endfor %}",
            STEPS,
        ),
    ],
)
def test_what_is_too_much_is_refused_with_its_limit_and_its_line(source: str, message: str) -> None:
    """Each limit ends the rendering, by name, on the line that passed it."""
    found, line = refusal(source)
    assert found.startswith(message)
    assert line == 2


@pytest.mark.parametrize(
    ("source", "output"),
    [
        (
            "{% macro m(call, parts) %}{{ call }}{{ parts }}{% endmacro %}{{ m(call=1, parts=2) }}",
            "12",
        ),
        ("{{ '%(context)s' | format(context='x') }}", "x"),
        ("{{ 'a' * 3 }}{{ 2 * 'b' }}{{ [1] * 2 }}{{ -1 * 'c' }}", "aaabb[1, 1]"),
        ("{{ -3 }} {{ -0.0 }}", "-3 -0.0"),
        ("{{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2.0 ** 3 }} {{ 7 % 4 }} {{ 7 - 9 }}", "1024 0.5 8.0 3 -2"),
        ("{{ '%5.1f|%-4s|%s' % (1.25, 'a', [1]) }}", "  1.2|a   |[1]"),
        ("{{ '%(a)s %%' % {'a': 1} }}", "1 %"),
        ("{{ (1, 2) + (3,) }} {{ [1] + [2] }} {{ 'a' + 'b' }}", "(1, 2, 3) [1, 2] ab"),
        ("{{ [1, 2, 3][1:] }} {{ 'abc'[::-1] }} {{ (1, 2)[:1] }}", "[2, 3] cba (1,)"),
        ("{{ range(9)[2:4] | list }}", "[2, 3]"),
        (
            "{{ [3, 2 ** 70, 2 ** 70] | unique | length }} {{ dict(a=1, **{'b': 2}) }}",
            "2 {'a': 1, 'b': 2}",
        ),
        (
            "{{ range(*[1, 3]) | list }} {{ dict([['a', 1]]) }} {{ 7 / 2 }} {{ 7 // 2 }}",
            "[1, 2] {'a': 1} 3.5 3",
        ),
        (
            "{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(*[1, 2]) }}"
            "{{ dict(class=1, **{'a': 2}) }}",
            "1(2,){'class': 1, 'a': 2}",
        ),
        ("{{ 'edge' in name }} {{ name in 'edge-1x' }} {{ 'x' is in('xy') }}", "True True True"),
        ("{{ 1 < 2 < 3 }} {{ name in ['edge-1'] }} {{ 'e' not in name }}", "True True False"),
        ("{{ {name: 1} }} {{ {1: 2, 'a': name} }}", "{'edge-1': 1} {1: 2, 'a': 'edge-1'}"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b', 2) }}", "1 2"),
        ("{{ {'a': 1}.keys() }} {{ {'a': 1}.values() }}", "['a'] [1]"),
        ("{{ [1, 1].count(1) }} {{ [1, 2].index(2) }} {{ (1,).index(1) }}", "2 1 0"),
        ("{{ 'a-b'.split('-') }} {{ ' a '.strip() }} {{ 'a' .center(3) }}|", "['a', 'b'] a  a |"),
        ("{{ 'a-b'.split(sep='-') }} {{ '-'.join(['a', 'b']) }}", "['a', 'b'] a-b"),
        ("{{ ('a' * 100).replace('a', 'b', 1)[:2] }}{{ 'b' * 2 }}", "ba" + "b" * 2),
        ("{{ [3, 1] | sort | join(',') }} {{ [1, 2] | sum }} {{ [1, none] | first }}", "1,3 3 1"),
        ("{{ [{'a': 2}, {'a': 1}] | sort(attribute='a') | map(attribute='a') | list }}", "[1, 2]"),
        ("{{ [[1], [2]] | sum(start=[]) }} {{ [] | sum }} {{ [1, 2.5] | sum }}", "[1, 2] 0 3.5"),
        ("{{ many | length if 'x' not in many }} {{ 99 in many }}", "100000 True"),
        (
            "{{ 1 in (1, 2) in [(1, 2)] }} {{ 3 > 2 >= 2 != 1 }} {{ name == name < 'f' }}",
            "True True True",
        ),
        (
            "{{ '1' in data }} {{ 'k1' in data }} {{ data == {} }} {{ data == none }}",
            "False True False False",
        ),
        (
            "{% set ns = namespace(d=huge) %}{{ ns.d | length }} {{ huge | first | length }}",
            "300000 1",
        ),
        (
            "{{ ('%s, %s' % (half, 1)) | length }} {{ half | tojson | safe | length }}",
            "600003 600002",
        ),
        (
            "{% set x %}{{ half }}{% endset %}{{ x | length }} {{ half | trim | length }}",
            "600000 600000",
        ),
        ("{{ [{'a': 2}, {'a': 1}] | sum('a') }} {{ [{'a': 2}] | join('', 'a') }}", "3 2"),
        ("{% for k, g in [{'a': 1}] | groupby('a') %}{{ k }}{{ g | length }}{% endfor %}", "11"),
        (
            "{{ {'b': 1, 'a': 2} | dictsort }} {{ {'a': 1} | items }}",
            "[('a', 2), ('b', 1)] [('a', 1)]",
        ),
        ("{{ [2, 1] | max }} {{ [2, 1] | min }} {{ [1, 1] | unique }}", "2 1 [1]"),
        (
            "{{ 5 | round(1) }} {{ -1 | abs }} {{ 3 is odd }} {{ 9 is divisibleby 3 }}",
            "5 1 True True",
        ),
        ("{{ 'ab' | center(4) }}|{{ 'a b' | title }}|{{ 'a' | format }}", " ab |A B|a"),
        ("{{ 'aaa bbb' | wordwrap(3) }}", "aaa\nbbb"),
        ("{{ 'aaa bbb' | wordwrap(width=3, wrapstring='|') }}", "aaa|bbb"),
        ("{{ {'a': [1]} | tojson(indent=1) }}", '{\n "a": [\n  1\n ]\n}'),
        ("{{ 'a\nb' | indent }} {{ 'a\nb' | indent('>') }}", "a\n    b a\n>b"),
        ("{{ [1, 2] | select('in', [2]) }} {{ 2 is in [2] }} {{ 'A' is upper }}", "[2] True True"),
        ("{% for i in [1, 2] if i > 1 %}{{ i }}{% else %}no{% endfor %}", "2"),
        (
            "{% for i in [[1, [2]]] recursive %}{{ i if i is number else loop(i) }}{% endfor %}",
            "12",
        ),
        ("{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, a=2) }}", "(1,){'a': 2}"),
        ("{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}", "x"),
        ("{% for i in 'ab' %}{{ loop.cycle('x', 'y') }}{{ loop.length }}{% endfor %}", "x2y2"),
        ("{{ (nope if false) | list }}{{ (1 if false) | length }}", "[]0"),
        ("{% for i in (1 if false) %}{% endfor %}{{ digits is number }}", "True"),
    ],
)
def test_what_is_not_too_much_works_as_in_jinja2(source: str, output: str) -> None:
    """Operators, filters, methods and loops of ordinary size give what they always gave."""
    assert Program(source, Text).render(CONTEXT) == output


def test_the_outcome_depends_on_the_template_and_the_data_alone() -> None:
    """The fuel that a template needs is the same each time, and one step less is too little."""
    source = "{% for each in range(50) %}{{ each * 2 }}{{ name | upper }}{% endfor %}"
    needed = spent(source)
    assert spent(source) == needed
    for _ in range(3):
        Program(source, Text, fuel=needed).render(CONTEXT)
        with pytest.raises(RefusedError):
            Program(source, Text, fuel=needed - 1).render(CONTEXT)


def test_a_rendering_leaves_the_next_one_all_of_its_fuel() -> None:
    """Fuel is not shared between renderings of one template."""
    program = Program("{% for each in range(45000) %}{{ each }}{% endfor %}", Text)
    assert len({program.render({}) for _ in range(4)}) == 1


def test_an_ordinary_template_needs_a_small_part_of_the_fuel() -> None:
    """A thousand interfaces with a line of five values need about what the reference says."""
    interfaces = [{"name": f"ge-{n}", "mtu": 9000, "on": True, "tags": ["a"]} for n in range(1000)]
    line = "{% for each in interfaces if each.on %}LINE\n{% endfor %}"
    plain = "{{ loop.index }}: {{ each.name }} {{ each.mtu }} {{ each.on }} {{ each.tags[0] }}"
    changed = (
        "{{ loop.index }}: {{ each.name | upper }} {{ each.mtu }} {{ each.tags | join(', ') }} "
        "{{ each.name.split('-')[0] }}"
    )
    assert 35_000 < spent(line.replace("LINE", plain), interfaces=interfaces) < 55_000
    assert 90_000 < spent(line.replace("LINE", changed), interfaces=interfaces) < 125_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inside: (
        st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside, max_size=4)
    ),
    max_leaves=20,
)


@given(value=JSON)
def test_reading_costs_no_less_than_the_size_of_a_value(value: Any) -> None:
    """A value that stands in a list twice costs twice, however often it is shared."""
    once, twice = budget(), budget()
    size = once.read([value])
    assert twice.read([value, value]) == 2 * size
    assert FUEL - twice.fuel >= 2 * (FUEL - once.fuel) - 2


def test_a_subject_that_is_no_sequence_has_no_items() -> None:
    """What cannot be gone through costs nothing here; the operation itself says what is wrong."""
    message, _ = refusal("{{ 5 | list }}")
    assert message == WRONG
    message, _ = refusal("{{ range | list }}")
    assert message == "a function or macro is not a list; call it"
