"""What filters, operators, methods and functions print: plain data, never what Python shows."""

from __future__ import annotations

import copy
import functools
import html
import itertools
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from jinja2.runtime import LoopContext
from jinja2.utils import Namespace
from security.jail import limited

from changehook.escaping import RefusedError, Text
from changehook.filters import FILTERS
from changehook.sandbox import Program

NO_TEXT = 'a function, macro, loop or range has no text; call it, or write "| list"'
CONTEXT: dict[str, Any] = {"data": {"name": "n", "tags": ["a", "b"], "region": None, "size": 3}}

# Each is a value of its own; "stream", below, is a sequence of it that has not been read yet.
VALUES = (
    "data.get",
    "data.tags.index",
    "'x'.upper",
    "range",
    "dict",
    "namespace",
    "m",
    "caller",
    "loop",
    "loop.cycle",
    "namespace(a=range)",
    "range(3)",
    "data.values()",
    "[data.get]",
    "(range, 1)",
    "{'a': range}",
    "{'a': [range]}",
    "[[data.get, m]]",
)
KEEP = (
    "{% macro m() %}{% endmacro %}{% macro n() %}{% for each in [1] %}"
    "{% set kept.values = [VALUES] %}{% endfor %}{% endmacro %}{% call n() %}{% endcall %}"
).replace("VALUES", ", ".join(VALUES))

# In these, F is the name of a filter, E an expression, S a subject and O an operator.
PRINTED = ("{{ E }}", "{{ [E] | string }}", "{{ E | list | string }}")
FILTERED = (
    "(v | F)",
    "(stream | F)",
    "([v] | F)",
    "([[v]] | F)",
    "({'a': v} | F)",
    "('%s a' | F(v))",
    "('a' | F('a', v))",
    "('a' | F(v, 'a'))",
    "('a b' | F(1, true, v))",
    "(nope | F(v))",
    "([1] | F(2, v))",
    "([1] | F(start=v))",
    "([1] | F(attribute='a', default=v))",
    "('%(a)s' | F(a=v))",
    "([v] | map('F'))",
    "([1] | map('F', v))",
)
BLOCKS = (
    "{% filter F %}{{ v }}{% endfilter %}",
    "{% filter F(v) %}a{% endfilter %}",
    "{% filter F('a', v) %}a{% endfilter %}",
    "{% set x | F %}{{ v }}{% endset %}{{ x }}",
)
OPERATIONS = ("(S O v)", "(v O S)", "(S O [v])", "(S O (v, v))", "(S O {'a': v})")
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and", "or")
SUBJECTS = ("'%s'", "'%(a)s'", "'a'", "3", "['a']", "('a',)", "[v]", "{'a': v}", "loop", "v")
ARGUMENTS = ("", "()", "(v)", "([v])", "('a', v)", "(3, v)", "(a=v)", "([['a', v]])")
METHODS = sorted(
    name
    for name in {*dir(str), *dir(list), *dir(tuple), *dir(dict), *dir(LoopContext)}
    if not name.startswith("_")
)
FUNCTIONS = ("range", "dict", "namespace", "m", "n", "loop", "loop.cycle", "loop.changed")


@pytest.fixture(autouse=True)
def within_limits() -> Iterator[None]:
    """What is hostile here may not take more than the jail would let it."""
    with limited():
        yield


@functools.cache
def objects() -> dict[str, Any]:
    """Return each of the values, as a template has it."""
    kept: Any = Namespace()
    Program(KEEP, Text).render({**CONTEXT, "kept": kept})
    return dict(zip(VALUES, kept.values, strict=True))


def shown(program: Program, value: Any) -> str:
    """Return what a template prints of a value, or what its error says."""
    found = objects()
    context = {**CONTEXT, "v": value, "stream": (each for each in (value,))}
    context |= {"loop": found["loop"], "m": found["m"], "n": found["caller"]}
    try:
        return program.render(context)
    except RefusedError as error:
        return str(error)


def check(source: str) -> None:
    """Check that nothing that Python shows of an object is in what a template prints."""
    program = Program(source, Text)
    for name, value in objects().items():
        plain = html.unescape(unquote(shown(program, value)))
        assert not re.search("[<>]| at 0x", plain, re.IGNORECASE), f"{source} of {name}: {plain}"


def is_there(subject: str, method: str) -> bool:
    program = Program(f"{{{{ ({subject}).{method} is defined }}}}", Text)
    return any(shown(program, value) == "True" for value in objects().values())


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_no_filter_shows_an_object(name: str) -> None:
    """Whatever a filter is given, as value or as argument, it shows no object of Python."""
    for expression, printed in itertools.product(FILTERED, PRINTED):
        check(printed.replace("E", expression.replace("F", name)))
    for block in BLOCKS:
        check(block.replace("F", name))


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_operator_shows_an_object(operator: str) -> None:
    """Whatever stands beside an operator, what it gives shows no object of Python."""
    for subject, operation, printed in itertools.product(SUBJECTS, OPERATIONS, PRINTED):
        check(printed.replace("E", operation.replace("S", subject).replace("O", operator)))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_method_shows_an_object(subject: str) -> None:
    """Whatever a method is given, and the method itself, shows no object of Python."""
    methods = [name for name in METHODS if is_there(subject, name)]
    assert bool(methods) == (subject != "3")
    for method, arguments, printed in itertools.product(methods, ARGUMENTS, PRINTED):
        check(printed.replace("E", f"({subject}).{method}{arguments}"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_shows_an_object(name: str) -> None:
    """Whatever a function of templates is given, and what it gives, shows no object of Python."""
    for arguments, printed in itertools.product(ARGUMENTS, PRINTED):
        check(printed.replace("E", name + arguments))


def test_self_shows_nothing() -> None:
    """The reference of a template to itself has no text."""
    for source in ("{{ self | string }}", "{{ '%s' % self }}", "{{ [self] | join }}"):
        with pytest.raises(RefusedError):
            Program(source, Text).render({})


@pytest.mark.parametrize(
    "source",
    [
        "{{ data.get | upper }}",
        "{{ data.get | string }}",
        "{{ [data.get] | string }}",
        "{{ '%s' | format(data.get) }}",
        "{{ '%(a)s' | format(a=data.get) }}",
        "{{ [range] | format }}",
        "{{ '%s' % range }}",
        "{{ '%(a)s' % {'a': range} }}",
        "{{ '%s' % (1, range) }}",
        "{{ 'x' | replace('x', range) }}",
        "{{ 'x' | replace(range, 'x') }}",
        "{{ range | replace('x', 'y') }}",
        "{{ {'a': range} | urlencode }}",
        "{{ {'a': range}.items() | urlencode }}",
        "{{ [('a', range)] | urlencode }}",
        "{{ range | urlencode }}",
        "{{ range(3) | trim }}",
        "{{ range | wordcount }}",
        "{{ [range] | indent }}",
    ],
)
def test_what_has_no_text_is_refused(source: str) -> None:
    """An object whose text would show an address is refused, and the error says what to write."""
    with pytest.raises(RefusedError) as caught:
        Program(source, Text).render(CONTEXT)
    assert caught.value.message == NO_TEXT


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("{{ 3 | string | upper }}{{ none | upper }}{{ true | lower }}", "3NONEtrue"),
        ("{{ [1, 'a'] | string }}{{ {'a': 1} | upper }}", "[1, 'a']{'A': 1}"),
        ("{{ 123 | replace(2, 'x') }}{{ 'aaa' | replace('a', 'b', 2) }}", "1x3bba"),
        ("{{ 'aaa' | replace('a', 'b', none) }}{{ 'a' | replace(old='a', new=1) }}", "bbb1"),
        ("{{ '%s %r' % (1, 'a') }}{{ '%(a)s' % {'a': [1]} }}", "1 'a'[1]"),
        ("{{ '%(a)s' | format(a=1) }}{{ '%s' | format(none) }}", "1None"),
        ("{{ 7 % 4 }}{{ 7.5 % 2 }}{{ '%d%%' % 5 }}", "31.55%"),
        ("{{ ('x' if false) | upper }}{{ '%s' % ('x' if false) }}", ""),
        ("{{ {'a': 'b c'} | urlencode }}{{ [('a', 1)] | urlencode }}", "a=b+ca=1"),
        ("{{ {'a': 1}.items() | urlencode }}{{ {'a': 1} | items | urlencode }}", "a=1a=1"),
        ("{{ none | urlencode }}{{ 'ä' | urlencode }}", "None%C3%A4"),
        ("{{ 5 | indent }}{{ data.tags | indent }}{{ data.tags }}", "5['a', 'b']['a', 'b']"),
        ("{{ 'a b' | title | center(5) }}{{ 'a b' | wordcount }}", " A B 2"),
    ],
)
def test_plain_data_has_text(source: str, output: str) -> None:
    """What is plain data is printed as Jinja2 prints it, and is left as it was."""
    context = copy.deepcopy(CONTEXT)
    assert Program(source, Text).render(context) == output
    assert context == CONTEXT


@pytest.mark.parametrize(
    "name", ["attr", "pprint", "random", "urlize", "xmlattr", "forceescape", "striptags"]
)
def test_filters_that_do_harm_are_not_there(name: str) -> None:
    """Filters that reach attributes, guess, or make HTML are left out."""
    assert name not in FILTERS
