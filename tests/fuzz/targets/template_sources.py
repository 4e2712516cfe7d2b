"""Templates that someone wrote. Parts: what it is for, its source."""

from __future__ import annotations

import json
import re
from typing import Any

from fuzz.harness import attempt, is_text, texts

from changehook.errors import ConfigurationError, RenderError
from changehook.filters import FILTERS
from changehook.templates import BodyTemplate, HeaderTemplates, URLTemplate

INPUTS = 30_000
WORDS = (
    *("{{ ", " }}", "{% ", " %}", "{# ", " #}", "{{ data.name }}", "{{ data.note | safe }}"),
    *("{% set x %}", "{% endset %}", "{% for i in data.list %}", "{% endfor %}", "{% if x %}"),
    *(
        "{% macro m(a) %}",
        "{% endmacro %}",
        "{{ m(1) }}",
        "{% raw %}",
        "{% endraw %}",
        "loop.index",
    ),
    *("{% filter upper %}", "{% endfilter %}", "{% call m() %}", "{% endcall %}", "{{ caller() }}"),
    *(f"| {name}" for name in FILTERS),
    *(
        " ~ ",
        " % ",
        " is defined",
        "| default('x', true)",
        "range(9)",
        "namespace(a=1)",
        "__class__",
    ),
    *("data.name", "data.list", "data.url", "data.note", "data.number", "snapshots", "https://"),
)
CONTEXT: dict[str, Any] = {
    "event": "updated",
    "timestamp": "2026-01-31T12:00:00+00:00",
    "model": "site",
    "username": None,
    "request_id": "r-1",
    "data": {
        "name": 'A "quoted" \\ name',
        "note": "line one\r\nX-Injected: 1\x00 \u2028 é \U0001f600",
        "url": "https://hooks.example.com/a?b=c#d",
        "list": [1, "two", None, {"slug": "x"}],
        "number": 1.5,
        "nothing": None,
        "nested": {"a": {"b": ["c"]}},
    },
    "snapshots": {"prechange": {"name": "B"}, "postchange": {"name": "A"}},
}
FROZEN = json.dumps(CONTEXT)

_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?:[/?#][\x21-\x7e]*)?", re.IGNORECASE)
_VALUE = re.compile(r"[\t\x20-\x7e]+")


def check(data: bytes) -> None:
    """A template has faults, cannot be rendered, or gives what its place may hold."""
    kind, source = texts(data, 2)
    _, error = attempt((ConfigurationError, RenderError), _KINDS.get(kind, _body), source)
    if error:
        lines = str(error).split("\n")
        assert all(line.isprintable() for line in lines)
        assert len(lines) == 1 or kind == "headers"
    assert json.dumps(CONTEXT) == FROZEN, "the context was changed"


def _body(source: str) -> None:
    first, second = (BodyTemplate(source, "application/json") for _ in range(2))
    body = first.render(CONTEXT)
    json.loads(body, parse_constant=_no_constant)
    assert is_text(body)
    assert second.render(CONTEXT) == body


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _text(source: str) -> None:
    assert isinstance(BodyTemplate(source, "text/plain").render(CONTEXT), str)


def _url(source: str) -> None:
    found = URLTemplate(source).render(CONTEXT)
    assert _URL.fullmatch(found.url)
    assert "@" not in re.split("[/?#]", found.url)[2]


def _headers(source: str) -> None:
    for name, value in HeaderTemplates(source).render(CONTEXT).items():
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
        assert _VALUE.fullmatch(value)
        assert value == value.strip()


_KINDS = {"body": _body, "text": _text, "url": _url, "headers": _headers}
