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


_FACE = chr(0x1F600)
_UNPRINTABLE = chr(0xE0001)
_SHARED = _NS + "{% for i in range(60) %}{% set ns.x=(ns.x,ns.x) %}{% endfor %}"
_NESTED_TUPLES = _NS + "{% for i in range(3500) %}{% set ns.x=" + _DEEP + " %}{% endfor %}"
_HASHED = (
    "{{ [1]|map(ns.x)|list }}",
    "{{ [1]|select(ns.x)|list }}",
    "{{ [{}]|selectattr('a',ns.x)|list }}",
    "{{ [{}]|rejectattr('a',ns.x)|list }}",
    "{{ 1|round(method=ns.x) }}",
    "{% set n2=namespace() %}{% set n2.__self__='a' %}{% set n2.__name__=ns.x %}{{ n2() }}",
)


def _times(count: int, expression: str) -> str:
    """Return a template that works an expression out so many times."""
    return f"{{% for i in range({count}) %}}{{% set a={expression} %}}{{% endfor %}}"


def _captured(repeated: str, count: int) -> str:
    """Return a template that inserts again and again into text that is still being made."""
    return f"{{% set a %}}{{% for i in range({count}) %}}{repeated}{{% endfor %}}{{% endset %}}1"


PAST += [
    *((f"tuple that is hashed, deep: {use}", _NESTED_TUPLES + use, {}) for use in _HASHED),
    *((f"tuple that is hashed, shared: {use}", _SHARED + use, {}) for use in _HASHED),
    ("brackets in a format", "{{ ('%(' * 100000) % 1 }}", {}),
    ("brackets in the filter format", "{{ s|format(1) }}", {"s": "%(" * 30_000}),
    ("brackets in a format from data", "{{ s % 1 }}", {"s": "%(" * 400_000}),
    ("short captured controls", _captured("{{s}}" * 450, 900), {"s": "\x01" * 63 + _FACE}),
    (
        "short captured faces",
        "{% set s='" + _FACE * 63 + "' %}" + _captured("{{s}}" * 450, 900),
        {},
    ),
    (
        "captured lists",
        "{% set a %}{% for x in l %}{{ x }}{% endfor %}{% endset %}",
        {"l": [[_UNPRINTABLE * 10_000 + _FACE]] * 600},
    ),
    ("joined lists", "{{ l|join|length }}", {"l": [[_UNPRINTABLE * 10_000 + _FACE]] * 600}),
    ("printed list", "{{ [s] }}", {"s": _UNPRINTABLE * 1_000_000 + _FACE}),
    ("list as text", "{{ [s]|string }}", {"s": _UNPRINTABLE * 1_000_000 + _FACE}),
    (
        "long captured controls",
        "{% set a %}{{s}}{{s}}{{s}}{{s}}{{s}}{% endset %}1",
        {"s": "\x01" * 1_048_000 + _FACE},
    ),
    (
        "long captured controls, stripped",
        "{% set a %}{{ x.rstrip() }}{{ x.rstrip() }}{% endset %}",
        {"x": "\x01" * 1_040_000 + _FACE},
    ),
    ("kept objects", _kept("{1:1}", 400, 300) + "{{ s }}", {"s": "\x01" * 1_048_000 + _FACE}),
    ("short texts that are split", _kept("s.split()", 2000, 22), {"s": (_FACE + " ") * 32}),
    (
        "range of large numbers",
        "{% set n=2**4000 %}{% set n=n*n %}{% set l=range(n,n+100000)|list %}",
        {},
    ),
    ("range of large numbers, encoded", "{{ range(n,n+100000)|urlencode }}", {"n": 2**8190}),
    ("range of large numbers, joined", "{{ range(n,n+100000)|join }}", {"n": 2**8190}),
    ("text as JSON", "{{ [s]|tojson|length }}", {"s": "\x01" * 1_990_000 + _FACE}),
    ("text as HTML", "{{ s|e|length }}", {"s": '"' * 1_990_000 + _FACE}),
    (
        "letters that grow",
        _kept("{1:1}", 500, 300) + "{{ s|upper|length }}",
        {"s": chr(0x390) * 1_990_000 + _FACE},
    ),
    (
        "deep JSON for people",
        "{% set ns=namespace(x=[[0]]*95000) %}{% for i in range(96) %}{% set ns.x=[ns.x] %}{% endfor %}"
        + "{{ ns.x|tojson(indent=0)|length }}" * 2,
        {},
    ),
    (
        "text in a range of large numbers",
        "{% set n=2**4000 %}{% set n=n*n %}{% set q=n//2**20 %}{% set r=range(0,q*100000,q) %}"
        + _times(60, "'x' in r"),
        {},
    ),
    (
        "long needle at the end",
        "{% set h='a'*30000 %}{% set p='a'*28100~'baa' %}" + _times(83, "p in h"),
        {},
    ),
    (
        "long needle that is replaced",
        "{% set h='a'*30000 %}{% set p='a'*28100~'baa' %}" + _times(83, "h|replace(p,'')"),
        {},
    ),
    (
        "longest needle that is replaced",
        "{{ s|replace(p,'')|length }}",
        {"s": "a" * 1_000_000, "p": "a" * 998_096 + "baa"},
    ),
    ("longest needle", "{{ p in s }}", {"s": "a" * 1_990_000, "p": "a" * 1_988_096 + "baa"}),
    (
        "fraction among large numbers",
        _times(60, "f in l"),
        {"l": [2**1000 + each for each in range(100_000)], "f": 2.0**1000 * 1.5},
    ),
    ("spaces that are wrapped", "{{ s|wordwrap(1)|length }}", {"s": chr(0x1680) * 30_000}),
    (
        "order of nested lists",
        "{% set ns=namespace(a=p,b=q) %}{% for i in range(98) %}{% set ns.a=[ns.a] %}"
        "{% set ns.b=[ns.b] %}{% endfor %}{% set a=ns.a %}{% set b=ns.b %}" + _times(230, "a<b"),
        {"p": [2**59] * 1000 + [1], "q": [2.0**59] * 1000 + [2]},
    ),
    (
        "tuples of one hash",
        "{{ l|unique|list|length }}",
        {"l": [(*[(1,)] * 80, _P * each) for each in range(2_000)]},
    ),
    (
        "fraction as a whole number",
        _times(400, "f % ((v,)*100)"),
        {"f": "%d" * 100, "v": 1.797e308},
    ),
    ("fraction by its name", _times(400, "f % {'a':v}"), {"f": "%(a)d" * 100, "v": 1.797e308}),
]
