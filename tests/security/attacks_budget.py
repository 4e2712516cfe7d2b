"""Templates with data that once got past the budget: each was slow, large, or ended the process."""

from __future__ import annotations

from typing import Any

_P = 2**61 - 1
_DEEP = "(" * 60 + "ns.x" + ",)" * 60
_NS = "{% set ns=namespace(x=1) %}"
_BIG, _HALF, _ROOT = 10**4299 + 7, 10**2150 + 1, 2**4000 + 12345678901234567890
_HAY, _NEEDLE = "a" * 2499, "a" * 1248 + "ba"
_FLOAT = 1.2345678901234567e-300


def _often(expression: str, times: int = 3, outer: int = 400, inner: int = 15) -> str:
    """Return a template that works an expression out again and again."""
    sets = ("{% set a = " + expression + " %}") * times
    return f"{{% for i in range({outer}) %}}{{% for j in range({inner}) %}}{sets}{{% endfor %}}{{% endfor %}}"


def _nested(depth: int) -> list[Any]:
    """Return lists in each other."""
    found: list[Any] = []
    for _ in range(depth - 1):
        found = [found]
    return found


def _kept(expression: str, count: int, times: int = 60) -> str:
    """Return a template that keeps all that an expression gives."""
    return (
        _NS
        + f"{{% for i in range({count}) %}}{{% set ns.x=[ns.x,{(expression + ',') * times}] %}}{{% endfor %}}"
    )


PAST: list[tuple[str, str, Any]] = [
    (
        "fuel given back by a negative batch",
        "{% for i in range(2000) %}{% set a=[]|batch(-10000) %}{% for j in range(2000) %}{% set b=[] %}{% endfor %}{% endfor %}",
        {},
    ),
    (
        "fuel given back by a negative slice",
        "{% for i in range(2000) %}{% set a=[]|slice(-10000) %}{% for j in range(2000) %}{% set b=[] %}{% endfor %}{% endfor %}",
        {},
    ),
    ("negative number that cancels a positive one", _often("[]|slice(10000,-10000)"), {}),
    (
        "default of groupby",
        "{{ l|groupby('x',default=s)|length }}",
        {"l": [{}] * 1000, "s": "A" * 1000000},
    ),
    (
        "deep key through a loop",
        _NS
        + "{% for i in range(3500) %}{% set ns.x="
        + _DEEP
        + " %}{% endfor %}{% for i in [1,ns.x] %}{% set d=dict(loop) %}{% endfor %}",
        {},
    ),
    (
        "deep name of a namespace through a loop",
        _NS
        + "{% for i in range(3500) %}{% set ns.x="
        + _DEEP
        + " %}{% endfor %}{% for i in [1,ns.x] %}{% set d=namespace(loop) %}{% endfor %}",
        {},
    ),
    (
        "shared key through a loop",
        _NS
        + "{% for i in range(60) %}{% set ns.x=(ns.x,ns.x) %}{% endfor %}{% for i in [1,ns.x] %}{% set d=dict(loop) %}{% endfor %}",
        {},
    ),
    (
        "in a loop variable",
        "{% for k in range(100) %}{% for i in l %}{% if loop.first %}{% set a=(q,1) in loop %}{% endif %}{% endfor %}{% endfor %}",
        {"l": [[0] * 2000] * 1000, "q": [0] * 1999 + [1]},
    ),
    (
        "keys of a namespace are a macro",
        "{% macro m() %}"
        + "{% set a=[] %}" * 900
        + "{% endmacro %}{% set ns=namespace(keys=m) %}{% for i in range(9999) %}{% set x=dict(ns) %}{% endfor %}",
        {},
    ),
    (
        "near misses, many",
        "{{ data." + "ab" * 99 + "c }}",
        {"data": {"ba" * 90 + str(i) + "ab" * 5: 1 for i in range(40000)}},
    ),
    ("power of zero", _often("0**n", 10), {"n": _BIG}),
    ("remainder of large integers", _often("n%m", 10), {"n": _BIG, "m": _HALF}),
    ("quotient of large integers", _often("n//m", 10), {"n": _BIG, "m": _HALF}),
    ("product of large integers", _often("n*n", 10), {"n": _ROOT}),
    ("divisibility of large integers", _often("n is divisibleby(m)"), {"n": _BIG, "m": _HALF}),
    ("large integers kept by a minus", _kept("-n", 4500), {"n": _BIG}),
    ("large integers kept by a plus", _kept("b+1", 2000), {"b": 2**8190}),
    ("round up at 10000 digits", _often("1|round(10000,'ceil')"), {}),
    ("round at minus 10000 digits", _often("1|round(-10000)"), {}),
    ("large integer spelt for a test", _often("n is lower", 1), {"n": _BIG}),
    (
        "large integers spelt for a test",
        "{% for i in range(30) %}{{ l is lower }}{% endfor %}",
        {"l": [10**4299] * 300},
    ),
    (
        "large integers spelt for a replacement",
        "{% for i in range(30) %}{{ 'a'|replace(l,'') }}{% endfor %}",
        {"l": [10**4299] * 300},
    ),
    (
        "floats spelt for a replacement",
        "{% for i in range(30) %}{{ s|replace({'a':l},false) }}{% endfor %}",
        {"s": "a" * 64, "l": [_FLOAT] * 20000},
    ),
    ("floats joined", _often("f~f~f~f~f~f~f~f", 10), {"f": _FLOAT}),
    (
        "numbers captured",
        "{% for i in range(10) %}{% for j in range(99) %}{% set a %}"
        + "{{ f }}" * 500
        + "{% endset %}{% endfor %}{% endfor %}1",
        {"f": 7},
    ),
    (
        "integers of one hash, unique",
        "{{ l|unique|list|length }}",
        {"l": [i * _P for i in range(15000)]},
    ),
    (
        "integers of one hash, object",
        "{{ dict(l)|length }}",
        {"l": [[i * _P, 1] for i in range(9000)]},
    ),
    (
        "integers of one hash, looked up",
        "{% set d=dict(l) %}" + _often("d[k] is defined", 10),
        {"l": [[i * _P, 1] for i in range(2, 2000)], "k": 5000 * _P},
    ),
    (
        "integers of one hash, compared",
        "{% set d=dict(l) %}{% set e=dict(m) %}" + _often("d==e"),
        {
            "l": [[i * _P, 1] for i in range(2, 2000)],
            "m": [[i * _P, 1] for i in range(2000, 1, -1)],
        },
    ),
    (
        "integers of one hash, spelt out",
        "{% for i in range(500) %}{% set d={"
        + ",".join(f"{i * _P}:0" for i in range(600))
        + "} %}{% endfor %}",
        {},
    ),
    (
        "tuples of one hash",
        "{% set ns=namespace(t=[]) %}{% for x in l %}{% set ns.t=ns.t+["
        + ",".join(f"(x+p*{i},)" for i in range(100))
        + "] %}{% endfor %}{{ ns.t|unique|list|length }}",
        {"l": [i * 100 * _P for i in range(100)], "p": _P},
    ),
    (
        "complex numbers of one hash",
        "{% set i=(-1.0)**0.5 %}{% set ns=namespace(t=[]) %}{% for x in range(100) %}{% set ns.t=ns.t+["
        + ",".join(f"(i*(x*100+{k})-1000003.0*(x*100+{k}))" for k in range(100))
        + "] %}{% endfor %}{{ ns.t|unique|list|length }}",
        {},
    ),
    ("slow search, operator", _often("p in s"), {"s": _HAY, "p": _NEEDLE}),
    ("slow search, test", _often("p is in s"), {"s": _HAY, "p": _NEEDLE}),
    ("slow search, test by name", _often("p is in(seq=s)"), {"s": _HAY, "p": _NEEDLE}),
    (
        "slow search, select",
        "{% for i in range(99) %}{{ l|select('in',s)|list|length }}{% endfor %}",
        {"s": _HAY, "l": [_NEEDLE] * 100},
    ),
    ("slow search, method", _often("s.find(p)"), {"s": _HAY, "p": _NEEDLE}),
    ("slow search, replacement", _often("s.replace(p,'')"), {"s": _HAY, "p": _NEEDLE}),
    (
        "slow search, longer",
        _often("p is in s"),
        {"s": "a" * 29999, "p": "a" * 50 + "b" + "a" * 48},
    ),
    (
        "indent of lines that end in a form feed",
        "{{ s|indent(1000)|length }}",
        {"s": "a\x0c" * 100000},
    ),
    ("indent of many lines", "{{ s|indent|length }}", {"s": "\u0436\n" * 1000000}),
    (
        "indent of captured lines",
        "{% set a %}{{ s }}{% endset %}{{ a|indent(1000)|length }}",
        {"s": "a\n" * 100000},
    ),
    ("characters after a star", "{{ range(*s) }}", {"s": "\u0436" * 5000000}),
    ("characters after a star of a filter", "{{ 1|default(*s) }}", {"s": "\u0436" * 5000000}),
    ("names after two stars", "{{ dict(**d)|length }}", {"d": {str(i): 1 for i in range(800000)}}),
    (
        "one long name after two stars",
        "{% macro m() %}{% endmacro %}{{ m(**d) }}",
        {"d": {"\x00" * 9900000: 1}},
    ),
    ("characters joined by a method", "{{ ''.join(s)|length }}", {"s": "\u0436" * 1000000}),
    ("words of a title", "{{ s|title|length }}", {"s": "\u0436 " * 450000}),
    (
        "parts kept",
        "{% set ns=namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l=[ns.l,s.partition('x')] %}{% endfor %}",
        {"s": "x" + "\U0001f600" * 1999990},
    ),
    ("percent signs", "{{ s % 1 }}", {"s": "%" * 3900000}),
    ("percent signs in a filter", "{{ s|format(1) }}", {"s": "%" * 1999000}),
    (
        "long path with a default",
        "{{ l|map(attribute='a" + ".a" * 127 + "',default=0)|list|length }}",
        {"l": [0] * 7000},
    ),
    (
        "long path with a default, grouped",
        "{{ l|groupby(attribute='a" + ".a" * 127 + "',default=0)|list|length }}",
        {"l": [0] * 7000},
    ),
    ("attribute that no character has", "{{ s|max(attribute=self) }}", {"s": "a\u2028" * 100000}),
    (
        "attribute that is a sequence",
        "{{ s|unique(range(1000),'tojson')|list }}",
        {"s": "a-" * 100000},
    ),
    ("undefined values kept", _kept("i.a", 2300, 100), {}),
    ("empty lists kept", _kept("[]", 480, 500), {}),
    (
        "macros kept",
        _NS
        + "{% for i in range(300) %}"
        + "".join(f"{{%macro m{k}()%}}{{%endmacro%}}" for k in range(100))
        + "{% set ns.x=[ns.x,"
        + ",".join(f"m{k}" for k in range(100))
        + "] %}{% endfor %}",
        {},
    ),
    ("text that is no integer", _often("s|int", 1), {"s": "\U000e0001" * 1999000}),
    ("text that is no number", _often("s|float", 1), {"s": "\U000e0001" * 1999000}),
    ("long key that is not there", "{{ d[s] }}", {"s": "\x00" * 9900000, "d": {}}),
    ("long name of a filter", "{{ [1]|map(s)|list }}", {"s": "\U000e0001" * 9900000}),
    ("long name of a test", "{{ [{}]|selectattr('a',s)|list }}", {"s": "\U000e0001" * 9900000}),
    (
        "loops inside loops, compiled",
        "{%for a in x%}" * 90 + "{{x|e}}" * 1600 + "{%endfor%}" * 90,
        {"x": []},
    ),
    (
        "calls inside calls, compiled",
        "{%call x()%}" * 90 + "{{x|e}}" * 1600 + "{%endcall%}" * 90,
        {"x": []},
    ),
    (
        "loops inside loops, 19",
        "{%for a in x%}" * 19 + "{{x}}" * 2450 + "{%endfor%}" * 19,
        {"x": []},
    ),
    ("nested lists escaped", _often("d|escape"), {"d": _nested(90)}),
    ("class of an undefined in a list", "{{ [1 if false]|string }}", {}),
    ("infinite literal", "{{ 1e999 }}", {}),
]
