"""What templates can reach, and how what they insert is escaped."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from security import corpus
from security.jail import limited

from changehook.escaping import RefusedError, Text
from changehook.sandbox import Program
from changehook.templates import BodyTemplate

SITE: dict[str, Any] = {
    "name": "Site 1",
    "tags": [{"name": "b", "slug": "x"}, {"name": "a", "slug": "x"}],
    "items": [1, 2],
    "keys": "K",
    "region": None,
    "size": 3,
    "rate": 0.5,
    "on": True,
}
CONTEXT = {"event": "created", "data": SITE}


@pytest.fixture(autouse=True)
def within_limits() -> Iterator[None]:
    """What is hostile here may not take more than the jail would let it."""
    with limited():
        yield


class Angle(Text):
    """Values stand in angle brackets, so that a test sees what was escaped, and how often."""

    __slots__ = ()

    @classmethod
    def escape(cls, characters: str) -> str:
        return f"<{characters}>"


def render(source: str, text: type[Text] = Text, **context: Any) -> str:
    return Program(source, text).render(context or CONTEXT)


def refusal(source: str, **context: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        render(source, **context)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("{{ event }} {{ data.name }} {{ data['name'] }}", "created Site 1 Site 1"),
        ("{{ data.items }} {{ data.keys }} {{ data['items'][0] }}", "[1, 2] K 1"),
        ("{% for k, v in data['tags'][0].items() %}{{ k }}={{ v }},{% endfor %}", "name=b,slug=x,"),
        ("{% for t in data.tags %}{{ loop.index }}{{ t.name }}{% endfor %}", "1b2a"),
        ("{{ data.tags | map(attribute='name') | sort | join('-') }}", "a-b"),
        ("{{ data.tags | join('-', attribute='name') }}", "b-a"),
        (
            "{% for g in data.tags | groupby('slug') %}{{ g.grouper }}{{ g.list | length }}"
            "{% endfor %}",
            "x2",
        ),
        ("{{ data.tags | groupby('slug') | map(attribute='grouper') | first }}", "x"),
        (
            "{% set n = namespace(a=0) %}{% for i in range(3) %}{% set n.a = n.a + i %}{% endfor %}"
            "{{ n.a }}",
            "3",
        ),
        ("{{ dict(a=1).a }}{{ range(5)[2] }}{{ 'abc'[1:] }}{{ (1, 2)[-1] }}", "12bc2"),
        ("{{ data.name.upper().split(' ') | last }}{{ ', '.join(['a', 'b']) }}", "1a, b"),
        ("{{ data.get('nope', 7) }}{{ data.items.index(2) }}", "71"),
        ("{{ nope | default('d') }}{{ data.nope | d('e') }}{{ nope is defined }}", "deFalse"),
        ("{{ data.region }} {{ data.on }} {{ data.rate }}", "None True 0.5"),
        ("{{ data.tags | tojson }}", '[{"name": "b", "slug": "x"}, {"name": "a", "slug": "x"}]'),
        ("{{ {'ü': '<&>'} | tojson }}", '{"ü": "<&>"}'),
        ("{{ {'b': 1, 'a': 2} | tojson(indent=1) }}", '{\n "b": 1,\n "a": 2\n}'),
        (
            "{{ 'a b/ü' | urlencode }} {{ {'a': 'x y'} | urlencode }} {{ 5 | urlencode }}",
            "a%20b/%C3%BC a=x+y 5",
        ),
        ("{{ '<a href=\"x\">' | e }}{{ '&' | escape }}", "&lt;a href=&#34;x&#34;&gt;&amp;"),
        ("{{ 'a\\r\\n\\u2028ü\\tb' | header_safe }}", "a\tb"),
        ("{{ 'a\\nb' | indent(2) }}|{{ 'a\\nb' | indent('--', first=true) }}", "a\n  b|--a\n--b"),
        ("{{ '%s-%s' | format('a', 1) }}{{ '%s' % 'b' }}{{ 7 % 4 }}", "a-1b3"),
        ("{# nothing #}{% raw %}{{ x }}{% endraw %}\n", "{{ x }}\n"),
        ("no markup at all }} %}\n", "no markup at all }} %}\n"),
        ("{{ 'x' if data.on else 'y' }}{{ 1 ~ none ~ 'z' }}", "x1Nonez"),
        ("{{ 'x' if not data.on }}{{ ('x' if not data.on) ~ 'a' }}", "a"),
        (
            "{% with a = 1 %}{{ a }}{% endwith %}{% filter upper %}a{{ event }}{% endfilter %}",
            "1ACREATED",
        ),
    ],
)
def test_templates_do_what_jinja_does(source: str, output: str) -> None:
    """The language of templates is there, keys win over methods, and plain text is not escaped."""
    assert render(source) == output


RECURSIVE = (
    "{% for n in tree recursive %}({{ n.v }}{% if n.c %}{{ loop(n.c) }}{% endif %}){% endfor %}"
)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("a{{ v }}b", "a<v>b"),
        ("{% set x %}a{{ v }}b{% endset %}{{ x }}{{ x ~ '' }}", "a<v>ba<v>b<>"),
        ("{% set x %}{{ v }}{% endset %}{% set y %}{{ x }}!{% endset %}{{ y }}", "<v>!"),
        ("{% macro m(a) %}m{{ a }}{% endmacro %}{{ m(v) }}", "m<v>"),
        ("{% macro m(a) %}m{{ a }}{% endmacro %}{{ m(m(v)) }}", "mm<v>"),
        (
            "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}c{{ v }}{% endcall %}",
            "[c<v>]",
        ),
        ("{% macro m() %}k{{ kwargs.a }}{{ varargs[0] }}{% endmacro %}{{ m(v, a=v) }}", "k<v><v>"),
        ("{% for x in [v] %}{% set y %}={{ x }}{% endset %}{{ y }}{% endfor %}", "=<v>"),
        (RECURSIVE, "(<1>(<2>)(<3>))"),
        ("{% set x %}" + RECURSIVE + "{% endset %}{{ x }}", "(<1>(<2>)(<3>))"),
        ("{% filter upper %}a{{ v }}{% endfilter %}", "<AV>"),
        ("{% filter trim %} a{{ v }} {% endfilter %}", "a<v>"),
        ("{% set x | upper %}a{{ v }}{% endset %}{{ x }}", "<AV>"),
        ("{% set x %}{% filter trim %} a{{ v }} {% endfilter %}{% endset %}{{ x }}", "a<v>"),
        ("{% set x %}{% if v %}a{{ v }}{% else %}b{% endif %}{% endset %}{{ x }}", "a<v>"),
        ("{{ v ~ v }}{{ 1 ~ v }}", "<vv><1v>"),
        (
            "{% set x %}a{{ v }}{% endset %}{{ x ~ v }}{{ v ~ x }}{{ x + v }}{{ v + x }}",
            "a<v><v><v>a<v>a<v><v><v>a<v>",
        ),
        ("{% set x %}a{{ v }}{% endset %}{{ [x, v, 1] | join(',') }}", "a<v><,><v><,><1>"),
        ("{% set x %}|{% endset %}{{ [v, v] | join(x) }}{{ [v, v] | join('|') }}", "<v>|<v><v|v>"),
        ("{% set x %}a{{ v }}{% endset %}{{ [x, x] | join | upper }}", "<AVAV>"),
        (
            "{% set x %}a{{ v }}{% endset %}{{ x | upper }}{{ x.upper() }}{{ x[0] }}{{ x[:1] }}",
            "<AV><AV><a><a>",
        ),
        (
            "{% set x %}a{{ v }}{% endset %}"
            "{{ x | replace('a', 'b') }}{{ x | truncate(1, true, '', 0) }}",
            "<bv><a>",
        ),
        (
            "{% set x %}a{{ v }}{% endset %}"
            "{{ '%s!' | format(x) }}{{ '%s!' % x }}{{ ','.join([x]) }}",
            "<av!><av!><av>",
        ),
        (
            "{% set x %}a{{ v }}{% endset %}{{ x == 'av' }}{{ x | length }}{{ x in {'av': 1} }}",
            "<True><2><True>",
        ),
        (
            "{% set x %} a{{ v }} {% endset %}{{ x | trim }}{{ x.strip() }}{{ x.strip('v ') }}",
            "a<v>a<v><a>",
        ),
        (
            "{% set x %}a\n{{ v }}{% endset %}{{ x | indent(2) }}{{ x | indent('--') }}",
            "a\n  <v><a\n--v>",
        ),
        (
            "{% set x %}a{{ v }}{% endset %}{{ x | string }}{{ x | safe }}{{ x | default('d') }}",
            "a<v>a<v>a<v>",
        ),
        (
            "{% set x %}{{ v | safe }}{{ v }}{% endset %}{{ x }}{{ v | safe }}{{ 1 | safe }}",
            "v<v>v1",
        ),
        ('{% set x %}"{{ v }}"{% endset %}{{ x | e }}{{ v | e }}', "<&#34;v&#34;><v>"),
        (
            "{% set n = namespace() %}{% set n.x %}a{{ v }}{% endset %}"
            "{{ n.x }}{{ [n.x] | first }}",
            "a<v>a<v>",
        ),
    ],
)
def test_a_value_is_escaped_exactly_once(source: str, output: str) -> None:
    """Whatever way a value takes through a template, it is escaped once, and literal text never."""
    tree = [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": []}]}]
    assert render(source, Angle, v="v", tree=tree) == output


def test_captured_text_joins_text_only() -> None:
    """Text that a template made is not added to what is not text."""
    assert refusal("{% set x %}a{% endset %}{{ x + 1 }}").message.startswith(
        "a value has the wrong"
    )
    assert refusal("{% set x %}a{% endset %}{{ 1 + x }}").message.startswith(
        "a value has the wrong"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ dta }}", '"dta" is not defined; did you mean "data"?'),
        ("{{ data.nmae }}", '"nmae" is not defined; did you mean "name"?'),
        ("{{ data['nmae'] | upper }}", '"nmae" is not defined; did you mean "name"?'),
        ("{{ data.zzzzz }}", '"zzzzz" is not defined'),
        ("{{ data.zzzzz.more }}", '"zzzzz" is not defined'),
        ("{{ data.zzzzz['more'] }}", '"zzzzz" is not defined'),
        ("{{ nope() }}", '"nope" is not defined'),
        ("{{ [data.nope] }}", '"nope" is not defined'),
        ("{{ {'a': data.nope} }}", '"nope" is not defined'),
        ("{{ {'a': data.nope} | tojson }}", '"nope" is not defined'),
        ("{{ nope | urlencode }}", '"nope" is not defined'),
        ("{% if nope == 1 %}{% endif %}", '"nope" is not defined'),
        ("{% for x in nope %}{% endfor %}", '"nope" is not defined'),
        ("{{ nope ~ 'x' }}", '"nope" is not defined'),
        ("{{ data.name.nope }}", '"nope" is not defined'),
        (
            "{{ data.region.name }}",
            '"name" was looked up in null; test the value before it, as in "is not none"',
        ),
        ("{{ data[data.name] }}", "what was looked up by a computed name or a number is not there"),
        ("{{ data.tags[5] }}", "what was looked up by a computed name or a number is not there"),
        ("{{ data[[]] }}", "what was looked up by a computed name or a number is not there"),
        ("{{ [] | first }}", "No first item, sequence was empty."),
        ("{{ 1 // 0 }}", "the template divides by zero"),
        ("{{ range(10 ** 6) }}", "the template makes a number or a range that is too large"),
        ("{{ data.name + 1 }}", "a value has the wrong type for what the template does with it"),
        ("{{ data.name() }}", "only macros, functions and methods can be called"),
        ("{{ 'x' | round }}", "a value has the wrong type for what the template does with it"),
        (
            "{{ ['x'] | batch(0) | list }}{{ 'x'.index('y') }}",
            "a value does not fit what the template does with it",
        ),
        (
            "{{ data.tags | map('nope') | list }}",
            "a filter or test does not exist, or was given wrong arguments",
        ),
        (
            "{{ 1 | round(0, 'up') }}",
            "a filter or test does not exist, or was given wrong arguments",
        ),
        ("{{ '\\ud800' | urlencode }}", "a value holds a lone surrogate, which is not text"),
        (
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "calls itself more than 50 deep",
        ),
        ("{{ (1e308 * 10) | tojson }}", "a value has no JSON form, such as NaN"),
        (
            "{{ data.name.upper }}",
            'a function, macro, loop or range has no text; call it, or write "| list"',
        ),
        (
            "{{ [range] }}",
            'a function, macro, loop or range has no text; call it, or write "| list"',
        ),
        (
            "{{ range | tojson }}",
            'a function, macro, loop or range has no text; call it, or write "| list"',
        ),
    ],
)
def test_what_goes_wrong_is_told(source: str, message: str) -> None:
    """An error says what is wrong and on which line, and shows no value of the data."""
    error = refusal("\n\n" + source)
    assert (error.message, error.line) == (message, 3)
    assert str(error) == f"line 3: {message}"
    assert "Site 1" not in str(error)


def test_a_context_that_cannot_be_used_is_told() -> None:
    """What fails before the first line is an error without a line."""
    wrong: Any = 5
    with pytest.raises(RefusedError) as caught:
        Program("{{ x }}", Text).render(wrong)
    assert str(caught.value) == "a value has the wrong type for what the template does with it"


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        (
            "\n{% include 'x' %}",
            2,
            "include, import, extends, block and autoescape are not available",
        ),
        ("{% import 'x' as x %}", 1, "include, import, extends, block"),
        ("{% from 'x' import y %}", 1, "include, import, extends, block"),
        ("{% extends 'x' %}", 1, "include, import, extends, block"),
        ("{% block a %}{% endblock %}", 1, "include, import, extends, block"),
        ("{% autoescape true %}{% endautoescape %}", 1, "include, import, extends, block"),
        ("{{ 'x' | attr('y') }}", 1, 'there is no filter "attr"; docs/reference/templates.md has'),
        ("\n{{ x | titel }}", 2, 'there is no filter "titel"; did you mean "title"?'),
        ("{{ x is evn }}", 1, 'there is no test "evn"; did you mean "even"?'),
        ("a\n{{ data name }}", 2, "expected token 'end of print statement', got 'name'"),
        ("{% do x %}", 1, "Encountered unknown tag 'do'"),
        ("{{ " + "(" * 5000, 0, "is nested too deeply"),
        (
            "{% macro m(a, a) %}{% endmacro %}",
            0,
            "gives an argument twice, or is nested too deeply",
        ),
        ("{% for x in y %}" * 17 + "{% endfor %}" * 17, 1, "nests loops, macros and blocks"),
        ("{% if x %}" * 120 + "{% endif %}" * 120, 1, "is nested more than 100 deep"),
        ("\n{{ x }}" * 2600, 1, "has more than 5000 expressions"),
        ("{{ 1e999 }}", 1, "holds too large a number"),
        ("{{ " + "9" * 5000 + " }}", 0, "holds a number of too many digits"),
    ],
)
def test_what_does_not_compile_is_told(source: str, line: int, message: str) -> None:
    """A template that cannot be compiled is refused with its line, whatever Python raised."""
    error = refusal(source)
    assert error.message.startswith(message)
    assert error.line == line


@pytest.mark.parametrize(
    "source",
    [
        "{{ data.pop('name') }}",
        "{{ data.update({'a': 1}) }}",
        "{{ data.setdefault('a', 1) }}",
        "{{ data['tags'].append(1) }}",
        "{{ data.tags.sort() }}",
        "{{ data.tags.reverse() }}",
        "{{ data.clear() }}",
        "{% set data.name = 'x' %}",
        "{{ dict.fromkeys('ab') }}",
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ namespace(a=1).__class__ }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ '{a}'.format_map({'a': 1}) }}",
        "{{ 'a'.encode() }}",
        "{{ [1] | select | list | map(attribute='real') | list }}",
        "{{ ([1] | select).gi_frame }}",
        "{% macro m() %}{% endmacro %}{{ m._func }}",
        "{% set x %}a{% endset %}{{ x.output }}",
        "{{ lipsum() }}",
        "{{ cycler('a') }}",
        "{{ self }}",
        "{% for x in [1] %}{{ loop._iterator }}{% endfor %}",
    ],
)
def test_what_is_not_on_the_list_is_out_of_reach(source: str) -> None:
    """Nothing changes the data, and no attribute is there that is not on the list."""
    context = copy.deepcopy(CONTEXT)
    refusal(source, **context)
    assert context == CONTEXT


@pytest.mark.parametrize(
    "source",
    [
        "{{ data.tags | sort(attribute='name') | list | tojson }}{{ data.tags | reverse | list }}",
        "{% set data = 1 %}{% set n = namespace(x=event) %}{% set n.x = 2 %}{{ n.x }}",
        "{% for t in data.tags %}{% set t = 1 %}{{ t }}{% endfor %}{{ data.tags + [1] }}",
    ],
)
def test_a_render_leaves_the_context_as_it_was(source: str) -> None:
    """What one render does with the context is not seen by the next."""
    context = copy.deepcopy(CONTEXT)
    program = Program(source, Text)
    assert program.render(context) == program.render(context)
    assert context == CONTEXT


def test_nothing_is_evaluated_while_compiling() -> None:
    """An expression without variables is evaluated when it is rendered, not when it is compiled."""
    for source in ("{{ 1 // 0 }}", "{{ 'a' ~ (1 // 0) }}", "{% if false %}{{ 1 // 0 }}{% endif %}"):
        Program(source, Text)
    assert render("{% if false %}{{ 1 // 0 }}{% endif %}") == ""


@pytest.mark.parametrize("attack", corpus.rows("templates.json", "templates", kind="escape"))
def test_no_attack_of_the_corpus_escapes(attack: dict[str, Any]) -> None:
    """Even with objects of the host in the context, as no change has them, nothing is reached."""
    context = attack["make_context"]()
    before = repr(context)
    if attack["expect"].startswith("must reveal nothing"):
        with pytest.raises(RefusedError) as caught:
            Program(attack["template"], Text).render(context)
        assert "hunter2" not in str(caught.value)
    else:
        Program(attack["template"], Text).render(context)
    assert repr(context) == before


PIECES = (
    "{{,}},{%,%},{#,#}, data ,.name,|,upper,(,),if ,for ,endif,x in ,set x,macro m(),endmacro,'"
    ',",~,+,[,],:,9,else,-,\n,é,filter ,call m(),raw,**,not ,is '
)
SOURCES = st.lists(st.sampled_from(PIECES.split(",")), max_size=30).map("".join)


@given(source=SOURCES | st.text(max_size=60))
def test_any_source_compiles_or_is_refused(source: str) -> None:
    """No source gives another error than the one that says what is wrong with a template."""
    try:
        program = Program(source, Text)
    except RefusedError:
        return
    with contextlib.suppress(RefusedError):
        program.render({"data": {"name": "n"}, "x": [1]})


WAYS = [
    '{"text": "{{ v }}"}',
    '{% set x %}{{ v }}{% endset %}{"text": "{{ x }}"}',
    '{% set x %}{{ v }}{% endset %}{"text": {{ x | tojson }}}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{"text": "{{ m(v) }}"}',
    '{% macro m() %}{{ caller() }}{% endmacro %}{"text": "{% call m() %}{{ v }}{% endcall %}"}',
    '{"text": "{{ [v] | join(v) }}"}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{"text": "{{ [m(v)] | join(v) }}"}',
    '{"text": "{{ "" ~ v }}"}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{"text": "{{ m("") ~ v }}"}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{"text": "{{ m(v) ~ "" }}"}',
    '{% macro m(a) %}{{ a }}{% endmacro %}{"text": "{{ m("") + v }}"}',
    '{"text": "{% filter string %}{{ v }}{% endfilter %}"}',
    '{"text": "{% filter replace("", "") %}{{ v }}{% endfilter %}"}',
    '{"text": "{% for c in [v] %}{{ c }}{% endfor %}"}',
    '{"text": {{ v | tojson }}}',
    '{{ {"text": v} | tojson }}',
    '{"text": "{{ "%s" | format(v) }}"}',
]


@pytest.mark.parametrize("source", WAYS)
@given(value=st.text())
def test_text_arrives_in_json_as_it_was(source: str, value: str) -> None:
    """Any text, whatever way it takes, is exactly that text in the JSON that comes out."""
    body = BodyTemplate(source, "application/json").render({"v": value})
    assert json.loads(body) == {"text": value}
