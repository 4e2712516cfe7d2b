"""What the tests of hostile templates run in the jail."""

from __future__ import annotations

from typing import Any

from security import attacks_budget, corpus

from changehook import Change
from changehook.encoding import decode
from changehook.errors import ConfigurationError, EncodingError, RenderError
from changehook.payload import freeze
from changehook.templates import BodyTemplate, HeaderTemplates, URLTemplate

ERRORS = (ConfigurationError, EncodingError, RenderError)
LONGEST_SOURCE = 16 * 1024
DATA: dict[str, Any] = {
    "obj": {"a": 1, "items": [1, 2]},
    "name": "x",
    "n": 10**9,
    "text": "word-a " * 100_000,
    "word": "a" * 300_000,
    "controls": "\x01" * 150_000,
    "euro": "€" * 300_000,
    "many": list(range(100_000)),
    "rows": [{"a": f"v{index}", "b": {"c": index}} for index in range(5_000)],
    "digits": 10**4000,
    "format": "%(a)2000000000d%s%*d",
    "path": ".".join("a" * 100),
}


def filled(unit: str, before: str = "", after: str = "") -> str:
    """Return the longest template of so many units, with ``#`` for the number of each."""
    found, length, number = [before], len(before) + len(after), 0
    while True:
        part = unit.replace("#", str(number))
        length += len(part)
        if length > LONGEST_SOURCE:
            return "".join((*found, after))
        found.append(part)
        number += 1


def looped(body: str, times: str = "range(9000)") -> str:
    """Return a template that keeps what ``body`` gives, again and again."""
    return (
        "{% set ns = namespace(kept=[], x='x') %}"
        f"{{% for i in {times} %}}{{% set ns.kept = [ns.kept, {body}] %}}{{% endfor %}}"
    )


_EXPRESSIONS = (
    "'€' * 1000000",
    "[0] * 200000",
    "text.upper()",
    "text | upper",
    "text.split()",
    "euro | list",
    "many | list",
    "many[:]",
    "many + [1]",
    "many | map('string') | list",
    "rows | map(attribute='a') | list",
    "rows | sort(attribute='b.c')",
    "rows | groupby('a')",
    "rows | selectattr('b.c', 'gt', 3) | list",
    "rows | tojson",
    "rows | string",
    "rows | batch(2, 'x')",
    "[1] | batch(10000, 'x')",
    "[1] | slice(10000)",
    "obj.items() | list",
    "text | title",
    "text | wordwrap(1)",
    "word | wordwrap(10)",
    "text | wordcount",
    "text | truncate(9999, true)",
    "text | indent(1000)",
    "text | replace('w', 'ww')",
    "text.replace('w', 'ww')",
    "text | urlencode",
    "euro | urlencode",
    "controls | tojson",
    "text | e",
    "text | header_safe",
    "text.rfind('word-a' * 1000)",
    "text.find('a ' * 50 ~ 'b')",
    "('b' ~ 'a ' * 50) in text",
    "text in [text, text]",
    "text == text ~ ''",
    "many == many",
    "99999 in many",
    "'x' in many",
    "'x' in range(100000)",
    "many.count('x')",
    "many | sort",
    "many | unique",
    "many | sum",
    "many | join(',')",
    "many | max",
    "rows | map('length') | sum",
    "digits",
    "digits | string",
    "digits // 3",
    "1 - digits",
    "2 ** 8000",
    "9.9 ** 300",
    "'%d' % digits",
    "'%s' % text",
    "'%r' % euro",
    "'%(a)s%(a)s' % {'a': text}",
    "'%9999d' * 100 % (1, 2)",
    "text ~ text",
    "'x'.center(10000)",
    "'x' | center(10000)",
    "'%.9999f' % 1",
    "rows | map('replace', 'v', 'x' * 10000) | list",
    "range(100000) | list",
    "namespace(a=many)",
    "dict(a=many)",
    "text | trim('word-a ')",
    "word.strip('a' * 1000)",
    "text.splitlines()",
    "text.partition('-')",
    "text.title()",
    "text | lower | upper | capitalize",
    "[text] | first",
    "(1, many)",
    "{'a': many}",
    "{text: 1}",
    "{(1, many | list | string): 1}",
    "text is upper",
    "many is eq many",
    "3 is in many",
    "1000000000000 | filesizeformat",
    "word | int",
    "('f' * 2000) | int(0, 16)",
    "'1' * 5000 | int",
    "(1.5 | round(3, 'floor'))",
    "ns.x ~ ns.x",
)
_COMPILED = {
    "concatenations": filled("~x", "{{x", "}}"),
    "insertions": filled("{{x}}"),
    "names": filled("{{a#}}"),
    "assignments": filled("{%set a#=1%}"),
    "assignments in branches": filled("{%if name%}{%set a#=1%}{%else%}{%set b#=1%}{%endif%}"),
    "assignments in a loop": filled("{%set a#=a#%}", "{%for i in many%}", "{%endfor%}"),
    "macros": filled("{%macro m#(a,b,c)%}{{a}}{%endmacro%}"),
    "loops": filled("{%for a in obj%}{{loop}}{%endfor%}"),
    "recursive loops": filled("{%for a in obj recursive%}{%endfor%}"),
    "calls": filled("{%call name()%}{%endcall%}"),
    "set blocks": filled("{%set a%}{%endset%}"),
    "filter blocks": filled("{%filter e%}{%endfilter%}"),
    "scopes": filled("{%with a#=1%}{%endwith%}"),
    "branches": filled("{%elif x%}", "{%if name%}", "{%endif%}"),
    "filters": filled("|e", "{{name", "}}"),
    "filters again and again": filled("{{x" + "|e" * 30 + "}}"),
    "attributes": filled(".a", "{{name", "}}"),
    "calls of calls": filled("()", "{{name", "}}"),
    "comparisons": filled("<x", "{{x", "}}"),
    "sums": filled("{{x" + "+x" * 90 + "}}"),
    "conjunctions": filled(" and x", "{{x", "}}"),
    "choices": filled("x if x else ", "{{", "x}}"),
    "slices": filled("{{name[x:x:x]}}"),
    "a list": filled("x,", "{{[", "]}}"),
    "an object": filled("#:x,", "{{{", "}}}"),
    "arguments": filled("a#=1,", "{{f(", ")}}"),
    "brackets": filled("("),
    "open brackets": filled("(", "{{"),
    "open lists": filled("[", "{{"),
    "negations": filled("not ", "{{", "x}}"),
    "minus signs": filled("-", "{{", "1}}"),
    "digits": filled("9", "{{", "}}"),
    "backslashes": filled("\\\\", "{{'", "'}}"),
    "open comments": filled("{#"),
    "white space": filled(" ", "{{", "x}}"),
    "nested loops": "{%for a in obj%}" * 19 + "{{a}}" * 2_000 + "{%endfor%}" * 19,
    "nested branches": "{%if name%}" * 90 + "{{name}}" * 1_000 + "{%endif%}" * 90,
    "nested scopes": "{%with a=1%}" * 90 + "{{name}}" * 1_000 + "{%endwith%}" * 90,
    "nested macros": "{%macro m()%}" * 60 + "{{name}}" * 900 + "{%endmacro%}" * 60,
    "too long": "{{ x }}" * 300_000,
    "constants": "{% if false %}{{ 9 ** (9 ** 9) }}{{ 'A' * 600000000 }}{% endif %}",
}
_RUN = {
    "loops in loops": "{% for a in many %}{% for b in many %}{{ a }}{% endfor %}{% endfor %}",
    "empty loops": "{% for a in rows %}{% for b in rows if b is none %}{% endfor %}{% endfor %}",
    "much output": "{% for a in many %}{{ text }}{% endfor %}",
    "much literal output": "{% for a in many %}" + "x" * 10_000 + "{% endfor %}",
    "much captured output": "{% set a %}{% for b in many %}{{ euro }}{% endfor %}{% endset %}",
    "much captured text": "{% set a %}{% for b in many %}"
    + "x" * 10_000
    + "{% endfor %}{% endset %}",
    "kept captures": "{% set ns = namespace(k=[]) %}{% for i in range(1000) %}"
    "{% set c %}{{ controls }}{% endset %}{% set ns.k = [ns.k, c] %}{% endfor %}",
    "recursion": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(40) }}",
    "fan-out": "".join(
        f"{{% macro f{n}() %}}{{{{ f{n + 1}() }}}}{{{{ f{n + 1}() }}}}{{% endmacro %}}"
        for n in range(40)
    )
    + "{% macro f40() %}x{% endmacro %}{{ f0() }}",
    "callers": "{% macro f(n) %}{% set c = caller %}{% if n %}{% call f(n - 1) %}{{ c() }}{{ c() }}"
    "{% endcall %}{% else %}{{ caller() }}{% endif %}{% endmacro %}{% call f(30) %}x{% endcall %}",
    "recursive loops": "{% for n in [[1] * 50] * 50 recursive %}{{ loop([[n] * 50] * 50) }}"
    "{% endfor %}",
    "nested arguments": "{% macro f() %}{% set ns.x = varargs %}{% endmacro %}"
    "{% set ns = namespace(x=1) %}{% for i in range(100000) %}{{ f(ns.x) }}{% endfor %}"
    "{{ {}[ns.x] }}",
    "unpacked arguments": "{% macro f() %}{% endmacro %}{% for i in many %}{{ f(*many) }}"
    "{% endfor %}",
    "nested tuples": "{% set ns = namespace(x=1) %}"
    "{% for i in range(100000) %}{% set ns.x = (ns.x,) %}{% endfor %}{{ {}[ns.x] }}",
    "unread nested tuples": "{% set ns = namespace(x=1) %}"
    "{% for i in range(100000) %}{% set ns.x = (ns.x,) %}{% endfor %}",
    "shared lists": "{% set ns = namespace(x='a') %}"
    "{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}",
    "nothing in common": "{% for i in range(1000) %}{{ text in rows }}{% endfor %}",
    "hostile format": "{{ format % 1 }}{{ format | format(1, 2, 3) }}",
    "hostile number": "{{ 'a' * n }}{{ n * 'a' }}",
    "hostile range": "{{ range(n) | list }}",
    "hostile precision": "{{ 1 | round(n, 'floor') }}",
    "hostile attribute": "{{ rows | map(attribute=path) | list }}",
    "hostile name": "{{ rows | map(text) | list }}",
    "changed": "{% for i in many %}{{ loop.changed(many) }}{% endfor %}",
    "cycled": "{% for i in many %}{{ loop.cycle('x' * 2000) }}{% endfor %}",
}
OWN = _COMPILED | _RUN | {f"kept {each}": looped(each) for each in _EXPRESSIONS}

_ATTRIBUTES = (
    "__class__",
    "__init__",
    "__globals__",
    "__dict__",
    "__mro__",
    "__doc__",
    "__func__",
    "__self__",
    "__call__",
    "__getattribute__",
    "_environment",
    "environment",
    "format",
    "format_map",
    "encode",
    "mro",
    "f_globals",
    "gi_frame",
    "cr_frame",
    "func_globals",
    "tb_frame",
    "__builtins__",
    "__subclasses__",
)
_OBJECTS = ("''", "name", "obj", "obj.a", "[]", "()", "range", "dict", "namespace", "self", "1.5")
ESCAPES = [
    *(f"{{{{ {each}.{name}() }}}}" for each in _OBJECTS for name in _ATTRIBUTES[::4]),
    *(f"{{{{ {each}['{name}']['x'] }}}}" for each in _OBJECTS for name in _ATTRIBUTES[1::4]),
    *(f"{{{{ [{each}] | map(attribute='{name}.x') | list }}}}" for each in _OBJECTS
      for name in _ATTRIBUTES[2::5]),
    *(f"{{{{ {each} | attr('{name}') }}}}" for each in _OBJECTS[:2] for name in _ATTRIBUTES),
    "{{ '{0.__class__}'.format(name) }}",
    "{{ '{a.__class__}'.format_map({'a': name}) }}",
    "{{ name | attr('format') }}",
    "{{ ('{0.__class__}' | attr('format'))(name) }}",
    "{% set f = '{0.__class__.__init__.__globals__}'.format %}{{ f(name) }}",
    "{{ ['{0.__class__}'] | map('format', name) | map(attribute='__class__') | first }}",
    "{{ [name] | groupby('__class__') | list }}",
    "{{ [name] | unique(attribute='__doc__') | list }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ self.__init__.__globals__ }}",
    "{{ config }}{{ request }}{{ get_flashed_messages() }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ dict.mro() }}",
    "{{ dict.fromkeys('ab') }}",
    "{{ range.__class__ }}{{ range.__class__.x }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% macro m() %}{{ caller._func }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for i in 'a' %}{{ loop._iterator }}{% endfor %}",
    "{% for i in 'a' %}{{ loop._iterable.__class__ }}{% endfor %}",
    "{% for i in 'a' %}{{ loop._undefined }}{% endfor %}",
    "{% for i in 'a' %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{{ ([1] | map('string')).gi_frame.f_globals }}",
    "{{ nope.__class__.__init__.__globals__ }}",
    "{{ (1).__class__.__bases__[0].__subclasses__() }}",
    "{{ ''.__class__.mro()[1].__subclasses__() }}",
    "{{ name.encode('utf-16') }}",
    "{{ name.encode('idna').decode('punycode') }}",
    "{{ (1).to_bytes(4, 'big') }}{{ (1).from_bytes('a') }}",
    "{{ obj.update({'a': 2}) }}",
    "{{ obj.pop('a') }}{{ obj.clear() }}{{ obj.setdefault('b', 1) }}",
    "{{ many.append(1) }}",
    "{{ many.sort() }}{{ many.clear() }}",
    "{% do many.append(1) %}",
    "{% set obj.a = 2 %}",
    "{% set many[0] = 2 %}",
    "{% include '/etc/passwd' %}",
    "{% include ['/etc/passwd'] ignore missing %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% extends '/etc/passwd' %}",
    "{% block a %}{% endblock %}{{ self.a() }}",
    "{% autoescape true %}{{ name }}{% endautoescape %}",
    "{% trans %}x{% endtrans %}",
    "{% debug %}",
    "{{ name | pprint }}",
    "{{ name | xmlattr }}",
    "{{ name | urlize }}",
    "{{ name | striptags }}",
    "{{ name | forceescape }}",
    "{{ [1, 2] | random }}",
    "{{ name is callable }}",
    "{{ range }}",
    "{{ obj.get }}",
    "{{ obj['__class__'].x }}",
    "{{ obj | items | map(attribute='__class__') | first | string }}",
    "{{ context.environment }}",
    "{{ environment.globals }}",
    "{{ undefined('x') }}{{ missing }}{{ resolve('x') }}",
    "{{ Undefined }}{{ Namespace }}{{ Markup }}{{ TemplateRuntimeError }}",
    "{{ l_0_name }}{{ __jinja_template__ }}",
    "{{ __builtins__ }}{{ __name__ }}",
    "{{ \u2102 }}{{ \uff4f\uff53 }}",
    "{{ name.__class\u200b__ }}",
]  # fmt: skip


def _context(data: Any) -> Any:
    """Return the variables: the change as its payload has it, and its data."""
    try:
        payload = decode(freeze(Change(event="created", model="site", data=data)))
    except EncodingError as error:
        return error
    return payload | payload["data"]


_CONTEXT = _context(DATA)


def own(source: str) -> tuple[str, Any]:
    """Return the template with the variables that all of our own have."""
    return source, _CONTEXT


def rendered(attack: tuple[str, Any], content_type: str = "text/plain") -> tuple[str, str]:
    """Return "rendered" and the body, or the name of the error and its text."""
    source, context = attack
    try:
        if isinstance(context, EncodingError):
            raise context
        return "rendered", BodyTemplate(source, content_type).render(context)
    except ERRORS as error:
        return type(error).__name__, str(error)


def rendered_as_json(attack: tuple[str, Any]) -> tuple[str, str]:
    """Return the same for a template whose text is escaped for JSON."""
    return rendered(attack, "application/json")


def render_row(attack: tuple[str, Any]) -> tuple[str, str]:
    """Return what a row of the shared corpus came to."""
    return rendered(attack)


def rendered_everywhere(count: int) -> tuple[str, str]:
    """Return what a URL and so many headers come to that each just keep within their fuel."""
    source = "{% for i in range(ROUNDS) %}{{ i ~ 'x' if i < 0 }}{% endfor %}"
    headers = {f"X-{number}": source.replace("ROUNDS", "375") for number in range(count)}
    URLTemplate("http://a.example/" + source.replace("ROUNDS", "2600")).render({})
    HeaderTemplates(headers).render({})
    return "rendered", ""


def _past(name: str) -> tuple[str, Any]:
    """Return a template that once got past the budget, with its data, which are made here."""
    source, data = {each: rest for each, *rest in attacks_budget.PAST}[name]
    return source, data


def render_past(attack: tuple[str, Any]) -> tuple[str, str]:
    """Return what a template that once got past the budget came to."""
    return rendered(attack)


def render_past_as_json(attack: tuple[str, Any]) -> tuple[str, str]:
    """Return the same where text is escaped."""
    return rendered_as_json(attack)


def _row(name: str) -> tuple[str, Any]:
    rows = {row["name"]: row for row in corpus.load("templates.json")["templates"]}
    return rows[name]["template"], _context(rows[name]["make_context"]())


rendered.prepare = own  # type: ignore[attr-defined]  # the jail calls it
rendered_as_json.prepare = own  # type: ignore[attr-defined]  # the jail calls it
render_past.prepare = _past  # type: ignore[attr-defined]  # the jail calls it
render_past_as_json.prepare = _past  # type: ignore[attr-defined]  # the jail calls it
render_row.prepare = _row  # type: ignore[attr-defined]  # the jail calls it
