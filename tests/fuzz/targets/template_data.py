"""Data in the templates that operators write: it never leaves the place it was put in."""

from __future__ import annotations

import json
import re
import urllib.parse
from typing import Any

from fuzz.harness import UnfitError, attempt, document, is_text

from changehook.errors import RenderError
from changehook.templates import BodyTemplate, HeaderTemplates, URLTemplate

INPUTS = 60_000
WORDS = (
    *(
        "name",
        "note",
        "host",
        "tags",
        "slug",
        "url",
        '"',
        "\\",
        "\\u0022",
        "{{ 7 * 7 }}",
        "{% raw %}",
    ),
    *("\r\nX-Injected: 1", "/../", "..", "%2e%2e", "?a=b", "#", "&", "@", "//", "%0d%0a", "%", "+"),
    *("evil.example", "https://evil.example/", "a.example@evil.example", "[::1]", "e" * 90),
)

BODY = BodyTemplate(
    """{% macro tag(t) %}<{{ t.slug }}>{% endmacro %}
    {% set greeting %}Hi {{ data.name }}{% endset %}
    {"text": "{{ data.name }}", "note": {{ data.note | tojson }}, "greeting": "{{ greeting }}",
     "shout": "{{ data.name | upper }}", "joined": "{{ [data.name, data.name] | join(', ') }}",
     "glued": "{{ 'a ' ~ data.name ~ greeting }}", "short": "{{ data.name | truncate(9) }}",
     "tags": [{% for t in data.tags %}"{{ tag(t) }}"{{ "," if not loop.last }}{% endfor %}],
     "when": "{{ data.when | default('never', true) }}"}""",
    "application/json",
)
KEYS = {"text", "note", "greeting", "shout", "joined", "glued", "short", "tags", "when"}
URL = URLTemplate(
    "https://{{ data.host }}.hooks.example.com/a/{{ data.name }}/b?q={{ data.note }}&r=1"
)
LITERAL = URLTemplate("https://hooks.example.com/{{ data.name }}/x?n={{ data.note | urlencode }}")
WHOLE = URLTemplate("{{ data.url | safe }}")
HEADERS = HeaderTemplates(
    {
        "X-Name": "{{ data.name }}",
        "X-Safe": "{{ data.name | header_safe }}",
        "X-Encoded": "a={{ data.note | urlencode }}; b",
        "Authorization": "Bearer {{ data.note | default('none', true) }}",
    }
)


def check(data: bytes) -> None:
    """Body, URL and headers keep the structure of their templates, whatever the data is."""
    values = document(data)
    if not isinstance(values, dict):
        raise UnfitError
    context = {"data": values}
    for render in (_body, _url, _literal, _whole, _headers):
        _, error = attempt(RenderError, render, context, values)
        assert error is None or str(error).isprintable()
        assert error is None or render not in (_body, _literal) or not _is_usual(values), error


def _is_usual(values: dict[str, Any]) -> bool:
    """True for data that has to be rendered: whatever text, where the templates expect text."""
    tags = values.get("tags")
    if not isinstance(tags, list) or not all(isinstance(tag, dict) for tag in tags):
        return False
    found = [values.get("name"), values.get("note"), *(tag.get("slug") for tag in tags)]
    if not all(is_text(value) and len(value) < 500 and value not in (".", "..") for value in found):
        return False
    return isinstance(values.get("when", ""), str) and is_text(values.get("when", ""))


def _body(context: dict[str, Any], values: dict[str, Any]) -> None:
    name = values.get("name")
    body = json.loads(BODY.render(context))
    assert set(body) == KEYS
    assert body["note"] == values["note"]
    assert len(body["tags"]) == len(values["tags"])
    assert all(isinstance(tag, str) for tag in body["tags"])
    if isinstance(name, str):
        assert body["text"] == name
        assert body["greeting"] == f"Hi {name}"
        assert body["shout"] == name.upper()
        assert body["joined"] == f"{name}, {name}"
        assert body["glued"] == f"a {name}Hi {name}"


def _url(context: dict[str, Any], values: dict[str, Any]) -> None:
    found = URL.render(context)
    parts = urllib.parse.urlsplit(found.url)
    assert not found.literal_host
    assert parts.netloc.endswith(".hooks.example.com")
    assert re.fullmatch(r"[A-Za-z0-9.-]+", parts.netloc)
    assert parts.path.count("/") == 3
    assert parts.fragment == ""
    query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
    assert set(query) == {"q", "r"}
    assert query["r"] == ["1"]
    if isinstance(values["note"], str):
        assert query["q"] == [values["note"]]


def _literal(context: dict[str, Any], values: dict[str, Any]) -> None:
    found = LITERAL.render(context)
    parts = urllib.parse.urlsplit(found.url)
    assert found.literal_host
    assert (parts.scheme, parts.netloc) == ("https", "hooks.example.com")
    assert parts.path.count("/") == 2
    assert parts.fragment == ""
    if isinstance(values["name"], str):
        assert urllib.parse.unquote(parts.path.split("/")[1]) == values["name"]
    if isinstance(values["note"], str):
        query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
        assert query == {"n": [values["note"]]}


def _whole(context: dict[str, Any], values: dict[str, Any]) -> None:
    found = WHOLE.render(context)
    assert not found.literal_host
    assert re.fullmatch(r"https?://[A-Za-z0-9._:\[\]-]+(?:[/?#][\x21-\x7e]*)?", found.url, re.I)


def _headers(context: dict[str, Any], values: dict[str, Any]) -> None:
    headers = HEADERS.render(context)
    assert set(headers) <= {"X-Name", "X-Safe", "X-Encoded", "Authorization"}
    assert all(re.fullmatch(r"[\t\x20-\x7e]+", value) for value in headers.values())
    assert headers["Authorization"].startswith("Bearer")
    if isinstance(values["name"], str):
        assert headers.get("X-Name", "") == values["name"].strip(" \t")
