"""The templates of a webhook: its URL, its headers and its body."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from security.jail import limited

from changehook.errors import ConfigurationError, Fault, RenderError
from changehook.templates import BodyTemplate, HeaderTemplates, RenderedURL, URLTemplate

CONTEXT: dict[str, Any] = {
    "event": "created",
    "model": "ipaddress",
    "username": None,
    "data": {
        "id": 7,
        "name": 'The "old"\n\\ Süd/ost & co\u2028',
        "address": "10.0.0.1/24",
        "tags": ["a", 'b"'],
        "region": None,
        "rate": 0.5,
        "on": True,
        "nan": float("nan"),
        "url": "https://e.example/x%20y?z#f",
        "host": "h.example",
        "dots": "..",
        "surrogate": "\ud800",
        "mark": "\udc03x\udc00",
    },
}


@pytest.fixture(autouse=True)
def within_limits() -> Iterator[None]:
    """What is hostile here may not take more than the jail would let it."""
    with limited():
        yield


def url(source: str) -> RenderedURL:
    return URLTemplate(source).render(CONTEXT)


def body(source: str, content_type: str = "application/json") -> str:
    return BodyTemplate(source, content_type).render(CONTEXT)


def header(source: str, context: Mapping[str, Any] = CONTEXT) -> str | None:
    return HeaderTemplates({"X-Site": source}).render(context).get("X-Site")


@pytest.mark.parametrize(
    ("source", "rendered"),
    [
        ("https://h.example/services/T0", "https://h.example/services/T0"),
        ("HTTP://H.example:8080?a=b", "HTTP://H.example:8080?a=b"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("{% set x = 1 %}\n  https://h.example/{{ x }}\n\n", "https://h.example/1"),
        ("https://h.example/é{x}/%41", "https://h.example/%C3%A9%7Bx%7D/%41"),
        ("https://h.example/a/../b#c", "https://h.example/a/../b#c"),
        ("https://h.example/{{ model }}/{{ data.id }}", "https://h.example/ipaddress/7"),
        (
            "https://h.example/{{ data.address }}?a={{ data.address }}",
            "https://h.example/10.0.0.1%2F24?a=10.0.0.1%2F24",
        ),
        ("https://h.example/{{ data.on }}/{{ data.rate }}", "https://h.example/True/0.5"),
        (
            "https://h.example/?t={{ data.tags | tojson }}",
            "https://h.example/?t=%5B%22a%22%2C%20%22b%5C%22%22%5D",
        ),
        ("https://h.example/?t={{ data.address | urlencode }}", "https://h.example/?t=10.0.0.1/24"),
        ("https://h.example/?{{ {'a': 'b c'} | urlencode }}", "https://h.example/?a=b+c"),
        ("https://h.example/?{{ 'a=b&c=ü' | safe }}", "https://h.example/?a=b&c=%C3%BC"),
        ("https://h.example/?q={{ data.dots }}#{{ data.dots }}", "https://h.example/?q=..#.."),
        ("https://h.example/{{ data.dots }}x/{{ '%2e' }}", "https://h.example/..x/%252e"),
        (
            "{% set p %}/x/{{ data.address }}{% endset %}https://h.example{{ p }}",
            "https://h.example/x/10.0.0.1%2F24",
        ),
        (
            "{% macro m(a) %}{{ a }}/{% endmacro %}https://h.example/{{ m('a/b') }}"
            "{{ m('c') ~ 'd/e' }}",
            "https://h.example/a%2Fb/c/d%2Fe",
        ),
        ("\n{% if data.on %}\nhttps://h.example/\n{% endif %}\n", "https://h.example/"),
    ],
)
def test_a_url_is_encoded_for_each_place(source: str, rendered: str) -> None:
    """What is inserted after the host is percent-encoded, and the host stands in the definition."""
    assert url(source) == RenderedURL(rendered, literal_host=True)


@pytest.mark.parametrize(
    ("source", "rendered"),
    [
        ("{{ data.url | safe }}", "https://e.example/x%20y?z#f"),
        ("{{ data.url | safe }}{{ data.name[:5] }}", "https://e.example/x%20y?z#fThe%20%22"),
        ("https://{{ data.host }}/x", "https://h.example/x"),
        ("https://x.{{ data.host }}:{{ data.id }}", "https://x.h.example:7"),
        ("{{ 'http' }}://x/", "http://x/"),
        ("https://h.example{{ '' }}/x", "https://h.example/x"),
        (
            "https://h.example{{ '/a b' | urlencode | replace('%20', '') | safe }}",
            "https://h.example/ab",
        ),
        ("https://h{{ 'x' | urlencode }}/", "https://hx/"),
        ("{{ 'https://h.example' | safe ~ '' }}", "https://h.example"),
    ],
)
def test_a_host_from_an_expression_is_known_to_be_one(source: str, rendered: str) -> None:
    """Whoever sends the request is told when scheme, host or port came from an expression."""
    assert url(source) == RenderedURL(rendered, literal_host=False)


def test_a_host_in_a_set_block_is_literal() -> None:
    """A host that the definition holds is literal, whatever way it takes through the template."""
    source = (
        "{% set a %}https://{% endset %}{% set b %}h.example{% endset %}{{ a ~ b }}/{{ model }}"
    )
    assert url(source) == RenderedURL("https://h.example/ipaddress", literal_host=True)
    source = "https://{% if data.on %}a{% else %}b{% endif %}.example/"
    assert url(source) == RenderedURL("https://a.example/", literal_host=True)


WRONG_HOST = "url: a value in scheme, host or port may hold letters, digits, dots and hyphens only"
NO_URL = "url: does not begin with http:// or https://"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://{{ data.address }}/", WRONG_HOST),
        ("https://h.example{{ data.address }}", WRONG_HOST),
        ("https://h.example{{ '@169.254.169.254/' }}", WRONG_HOST),
        ("https://h.example{{ '#' }}/", WRONG_HOST),
        ("https://h.example{{ '/a' | urlencode }}", WRONG_HOST),
        ("https://{{ 'h:1' }}/", WRONG_HOST),
        ("{{ data.url }}", WRONG_HOST),
        ("{{ 'https://' }}h.example/", WRONG_HOST),
        ("{{ data.host }}/", NO_URL),
        ("{{ 'ftp' }}://h.example/", NO_URL),
        ("//h.example/{{ model }}", NO_URL),
        ("{{ '' }}", NO_URL),
        ("https://{{ '' }}/", "url: needs a host after the two slashes"),
        ("https://{{ data.host }}:x/", "url: needs a host after the two slashes"),
        ("{{ 'https://u:p@h.example/' | safe }}", "url: holds user information"),
        ("{{ 'https://é.example/' | safe }}", "url: the host is not ASCII"),
        ("{{ 'https://h.example\\\\@x/' | safe }}", "url: holds user information"),
        ("https://h.example/{{ 'a b' | safe }}", "url: holds a space, a control character"),
        ("https://h.example/{{ 'a\\u2028' | safe }}", "url: holds a space, a control character"),
        ("https://h.example/{{ '\\\\' | safe }}", "url: holds a space, a control character"),
        (
            "https://h.example/{% if data.on %}\n{% endif %}x",
            "url: holds a space, a control character",
        ),
        ("https://h.example/{{ '%zz' | safe }}", "url: holds a % without two hexadecimal digits"),
        ("https://h.example/{{ data.dots }}/x", "url: a value makes a segment of the path"),
        ("https://h.example/x/{{ '.' }}", "url: a value makes a segment of the path"),
        ("https://h.example/x/.{{ '.' }}?q", "url: a value makes a segment of the path"),
        ("https://h.example/{{ '%2E%2e' | safe }}/x", "url: a value makes a segment of the path"),
        (
            "https://h.example/{{ 'a/../b' | urlencode }}",
            "url: a value makes a segment of the path",
        ),
        ("https://h.example/{{ username }}", "url, line 1: null has no place in a URL; write"),
        ("https://h.example/{{ username | urlencode }}", "url, line 1: null has no place in a URL"),
        ("https://h.example/{{ data.tags }}", "url, line 1: a list or an object has no place"),
        (
            "\nhttps://h.example/\n{{ data.nmae }}",
            'url, line 3: "nmae" is not defined; did you mean "name"?',
        ),
        ("https://h.example/{{ data.surrogate }}", "url, line 1: a value holds a lone surrogate"),
        ("https://h.example/{{ data.mark }}", "url, line 1: a value holds a lone surrogate"),
        ("https://h.example/{{ data.mark | safe }}", "url, line 1: a value holds a lone surrogate"),
        ("https://h.example/{{ '\\udc00' }}", "url, line 1: a value holds a lone surrogate"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error(source: str, message: str) -> None:
    """The error says what is wrong and what to write instead, and shows no part of the URL."""
    template = URLTemplate(source)
    with pytest.raises(RenderError) as caught:
        template.render(CONTEXT)
    assert str(caught.value).startswith(message)
    assert caught.value.error_class == "render"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ftp://h.example/", "does not begin with http:// or https://"),
        ("ftp://h.example/{{ data.id }}", "does not begin with http:// or https://"),
        ("https:///{{ data.id }}", "needs a host after the two slashes"),
        ("https://user@h.example/{{ data.id }}", "holds user information before the host"),
        ("https://h.example/a b{{ data.id }}", "holds a space, a control character or a backslash"),
        ("https://h.example/%zz{{ data.id }}", "holds a % without two hexadecimal digits"),
        ("https://h.example/%{{ '41' }}", "holds a % without two hexadecimal digits"),
        ("https://h.example/\n", "holds a line break; remove it"),
        ("https://h.example/\r", "holds a line break; remove it"),
        ("https://h.example/{{ data.id }}\r", "holds a line break; remove it"),
        ("h.example", "does not begin with http:// or https://"),
        ("", "does not begin with http:// or https://"),
        ("https:///x", "needs a host after the two slashes"),
        ("https://h example/", "needs a host after the two slashes"),
        ("https://h.example:99x/", "needs a host after the two slashes"),
        ("https://user@h.example/", "holds user information before the host"),
        ("https://bücher.example/", "the host is not ASCII; write its A-label"),
        ("https://h.example/a b", "holds a space, a control character or a backslash"),
        ("https://h.example/\x00", "holds a space, a control character or a backslash"),
        ("https://h.example/\u0085", "holds a space, a control character or a backslash"),
        ("https://h.example/100%", "holds a % without two hexadecimal digits after it; write %25"),
        ("https://h.example/{{ data", "line 1: unexpected end of template"),
        ("https://h.example/\ud800", "holds a lone surrogate, which is not text"),
        ("https://h.example/" + "x" * 16384, "is 16402 bytes long; a template holds at most 16384"),
        (None, "expected text, found NoneType"),
    ],
)
def test_a_wrong_url_template_is_found_when_built(source: Any, message: str) -> None:
    """A constant that is no URL, and a template that is no template, cannot be built."""
    with pytest.raises(ConfigurationError) as caught:
        URLTemplate(source)
    (fault,) = caught.value.faults
    assert fault.pointer == ""
    assert fault.message.startswith(message)


def test_a_rendered_url_hides_itself() -> None:
    """A URL may be a secret, and its repr shows none of it."""
    assert repr(url("https://h.example/secret")) == "RenderedURL(literal_host=True)"


@given(value=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_stays_in_its_segment_and_parameter(value: str) -> None:
    """Any text is one segment and one parameter of the URL, and is what a receiver decodes."""
    template = URLTemplate("https://h.example/a/{{ v }}/b?x={{ v }}&y=1")
    if value in (".", ".."):
        with pytest.raises(RenderError, match="a segment of the path"):
            template.render({"v": value})
        return
    parts = urlsplit(template.render({"v": value}).url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "h.example", "")
    assert [unquote(segment) for segment in parts.path.split("/")] == ["", "a", value, "b"]
    query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    assert query == [("x", value), ("y", "1")]


@given(value=st.text())
def test_no_text_gets_past_the_host(value: str) -> None:
    """Text in a host is a part of that host or an error."""
    try:
        rendered = URLTemplate("https://a{{ v }}.example/x").render({"v": value})
    except RenderError:
        return
    assert rendered == RenderedURL(f"https://a{value}.example/x", literal_host=False)


@pytest.mark.parametrize(
    "headers",
    [
        "X-Site: {{ data.id }}\nX-Event:{{ event }}\n",
        "\r\n  X-Site :  {{ data.id }}  \r\n\r\nX-Event:\t{{ event }}",
        {"X-Site": "{{ data.id }}", "X-Event": " {{ event }}\n"},
    ],
)
def test_headers_are_text_or_a_mapping(headers: str | Mapping[str, str]) -> None:
    """Both forms of the definition give the same headers, in their order."""
    rendered = HeaderTemplates(headers).render(CONTEXT)
    assert list(rendered.items()) == [("X-Site", "7"), ("X-Event", "created")]


def test_the_sources_of_headers_can_be_read() -> None:
    """The definition is there as a mapping of name to template, whichever form it had."""
    assert HeaderTemplates("X-A: {{ a }}\nUser-Agent: b:c").headers == {
        "X-A": "{{ a }}",
        "User-Agent": "b:c",
    }
    assert HeaderTemplates("").headers == {}
    assert HeaderTemplates("").render({}) == {}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (" a\tb ", "a\tb"),
        ("{{ data.tags | join(', ') }}", 'a, b"'),
        ("{{ data.name | header_safe }}", 'The "old"\\ Sd/ost & co'),
        ("{{ data.address | urlencode }}", "10.0.0.1/24"),
        ("{{ username }} {{ data.on }}", "None True"),
        ("{{ username or '' }}", None),
        (" {{ ' ' }}", None),
        ("", None),
    ],
)
def test_a_header_value_is_what_the_template_gives(source: str, value: str | None) -> None:
    """Values are inserted as they are, outer white space goes, and empty drops the header."""
    assert header(source) == value


BREAKS = ["\r", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("character", [*BREAKS, "\0", "\x7f", "\x1b", "é", "\u20ac", "\ud800"])
def test_a_header_value_never_breaks_out(character: str) -> None:
    """No line break, no control character and nothing beyond ASCII gets into a header."""
    message = r"^header X-Site: may hold visible ASCII, spaces and tabs, no line break"
    for value in (f"a{character}X-Evil: 1", f"a{character} X-Evil: 1", f"a{character}"):
        with pytest.raises(RenderError, match=message) as caught:
            header("{{ v }}", {"v": value})
        assert "Evil" not in str(caught.value)
        assert header("{{ v | header_safe }}", {"v": value}) == value.replace(character, "")


@given(value=st.text())
def test_any_text_is_a_legal_header_value_or_an_error(value: str) -> None:
    """A header is legal (RFC 9110, section 5.5), or it is not sent."""
    try:
        rendered = header("{{ v }}", {"v": value})
    except RenderError:
        assert not value.isascii() or not value.isprintable()
        return
    assert (rendered or "") == value.strip(" \t")
    assert all(each == "\t" or " " <= each <= "~" for each in rendered or "")


def test_a_header_error_names_the_header_and_its_line() -> None:
    """Several headers can go wrong, and the error says which did."""
    with pytest.raises(
        RenderError, match=r'^header X-Site, line 2: "nmae" is not defined; did you'
    ):
        header("{# x #}\n{{ data.nmae }}")


def test_headers_have_limits() -> None:
    """One header is at most 8 KiB, all of them 32 KiB, and there are at most 64."""
    assert header("{{ v }}", {"v": "x" * 8186})
    with pytest.raises(RenderError, match=r"^header X-Site: is longer than 8192 characters$"):
        header("{{ v }}", {"v": "x" * 8187})
    many = HeaderTemplates({f"X-{number}": "{{ v }}" for number in range(64)})
    assert len(many.render({"v": "x" * 500})) == 64
    with pytest.raises(RenderError, match=r"^headers: longer than 32768 characters together$"):
        many.render({"v": "x" * 510})
    with pytest.raises(ConfigurationError, match=r"^more than 64 headers$"):
        HeaderTemplates({f"X-{number}": "" for number in range(65)})
    with pytest.raises(ConfigurationError, match=r"^/X-3: all headers are longer than 32768 char"):
        HeaderTemplates({f"X-{number}": "{#" + "x" * 9_000 + "#}" for number in range(4)})


RESERVED = [
    *("Host", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer"),
    *("Proxy-Connection", "proxy-authorization", "Upgrade", "Expect", "HTTP2-Settings"),
    *("Accept-Encoding", "X-Hook-Signature", "X-Hub-Signature-256", "Webhook-Id"),
    *("webhook-timestamp", "webhook-signature", "webhook.id", "Content_Length", "webhook'id"),
]


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_headers_are_refused(name: str) -> None:
    """Framing, hop-by-hop and signature headers are not for a definition to set."""
    with pytest.raises(ConfigurationError) as caught:
        HeaderTemplates({name: "x"})
    message = "is set by this library or belongs to the connection; leave it out"
    assert caught.value.faults == (Fault(f"/{name}", message),)


def test_every_fault_of_headers_is_reported() -> None:
    """A mapping points to each name, with the line of its template."""
    wrong: Any = {
        "X-A": "\n{{ a",
        "X-B": 5,
        "X/~": "x",
        "X C": "x",
        "": "x",
        7: "x",
        "Content-Type": "text/plain",
        "X-D": "é",
        "X-E": "1",
        "x-e": "2",
        "X.E": "3",
        "Y" * 257: "{{ a }}",
        "X-G": "a\n",
        "Authorization: hunter2": "",
        "X-F": "@@@SKIP_HEADER@@@",
    }
    with pytest.raises(ConfigurationError) as caught:
        HeaderTemplates(wrong)
    faults = {fault.pointer: fault.message for fault in caught.value.faults}
    assert list(faults) == [
        "/X-A",
        "/X-B",
        "/X~1~0",
        "/X",
        "/",
        "/7",
        "/Content-Type",
        "/X-D",
        "/x-e",
        "/X.E",
        "/" + "Y" * 60,
        "/X-G",
        "/Authorization",
        "/X-F",
    ]
    assert faults["/X-A"].startswith("line 1: unexpected end of template")
    assert faults["/X-B"] == "expected text, found int"
    assert faults["/X~1~0"] == "the name of a header is literal: letters, digits and hyphens"
    assert faults["/Content-Type"].endswith("write http_content_type")
    assert faults["/X-D"].startswith("may hold visible ASCII")
    assert faults["/x-e"] == "stands there twice, perhaps in different case; remove one"


def test_every_fault_of_header_text_is_reported() -> None:
    """Text points to each line."""
    text = "X-A: 1\n\nHost: x\r\n{% if data %}\nX-\u2028: 1\nX-B: {{ b\nX-A: 2\nX-C: a\rX-Evil: 1"
    with pytest.raises(ConfigurationError) as caught:
        HeaderTemplates(text)
    assert {fault.pointer for fault in caught.value.faults} == {""}
    assert [fault.message[:20] for fault in caught.value.faults] == [
        "line 3: is set by th",
        'line 4: expected "Na',
        "line 5: the name of ",
        "line 6: unexpected e",
        "line 7: stands there",
        "line 8: holds a line",
    ]


def test_headers_of_another_type_are_refused() -> None:
    """Only text and mappings are header templates."""
    wrong: Any = ["X-A: 1"]
    with pytest.raises(ConfigurationError, match=r"^expected text or a mapping .*, found list$"):
        HeaderTemplates(wrong)


SLACK = """{"text": "IP address {{ data['address'] }} was created by {{ username }}!"}"""


@pytest.mark.parametrize("username", ["jstretch", 'a "quoted" \\ näme\n', '", "admin": "'])
def test_the_slack_template_of_the_specification_works(username: str) -> None:
    """The example of the specification is valid JSON whoever created the address."""
    context = {**CONTEXT, "username": username}
    rendered = json.loads(BodyTemplate(SLACK, "application/json").render(context))
    assert rendered == {"text": f"IP address 10.0.0.1/24 was created by {username}!"}


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=utf-8", "application/ld+json", "a/b+JSON ;x=y"],
)
def test_json_bodies_are_known_by_their_content_type(content_type: str) -> None:
    """JSON is told from the media type, whatever its case and parameters."""
    assert body('["{{ "\\"" }}"]', content_type) == '["\\""]'


@pytest.mark.parametrize("content_type", ["text/plain", "application/jsonl", "text/json", "", None])
def test_other_bodies_are_left_as_they_are(content_type: Any) -> None:
    """Any other body holds what the template gives, unescaped."""
    source = "{{ data.name }}|{{ data.region }}|{{ data.on }}|{{ data.tags }}\r\n"
    assert body(source, content_type) == f"{CONTEXT['data']['name']}|None|True|['a', 'b\"']\n"


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('{"a": {{ data.id }}, "b": {{ data.on }}}', {"a": 7, "b": True}),
        ("[{{ data.region }}, {{ data.rate }}, {{ not data.on }}]", [None, 0.5, False]),
        ("{{ data.tags | tojson }}", ["a", 'b"']),
        ("{{ data.tags | tojson(indent=2) | indent }}", ["a", 'b"']),
        ('{% set t %}"{{ data.tags[1] }}"{% endset %}{{ t | tojson }}', '"b""'),
        ('["{{ data.on }}{{ data.tags[1] ~ none }}"]', ['trueb"null']),
        ('["{{ data.tags | join("\\"") }}"]', ['a"b"']),
        ('["{{ data.tags[1] | urlencode }}", "{{ data.tags[1] | e }}"]', ["b%22", "b&#34;"]),
        ('[{{ "1, 2" | safe }}]', [1, 2]),
        (
            '{% macro row(n) %}{"n": "{{ n }}"}{% endmacro %}[{{ row(1) + "," + row("\\"") }}]',
            [{"n": "1"}, {"n": '"'}],
        ),
        ('[{% for t in data.tags %}"{{ t }}"{{ "," if not loop.last }}{% endfor %}]', ["a", 'b"']),
        (' {"a": 1}\n', {"a": 1}),
    ],
)
def test_json_bodies_hold_json_values(source: str, value: object) -> None:
    """Numbers, booleans and none are literals, text is escaped, tojson and safe are left alone."""
    assert json.loads(body(source)) == value


NOT_JSON = "body: the rendered body is not JSON: "


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('{"a": {{ data.tags }}}', 'body, line 1: a list or an object is inserted with "| tojson"'),
        ('\n{"a": {{ data }}}', 'body, line 2: a list or an object is inserted with "| tojson"'),
        (
            '["{{ data.tags ~ "x" }}"]',
            'body, line 1: a list or an object is inserted with "| tojson"',
        ),
        (
            '["{{ [data] | join }}"]',
            'body, line 1: a list or an object is inserted with "| tojson"',
        ),
        ("{{ data.nan }}", "body, line 1: NaN and the infinities are not JSON"),
        ("{{ data | tojson }}", "body, line 1: a value has no JSON form, such as NaN"),
        ('["{{ data.nmae }}"]', 'body, line 1: "nmae" is not defined; did you mean "name"?'),
        ('{"a": {{ event }}}', NOT_JSON + "line 1 column 7: Expecting value; text needs quotes"),
        ("{{ data.id }}\n{{ data.id }}", NOT_JSON + "line 2 column 1: Extra data"),
        ("{{ 'NaN' | safe }}", NOT_JSON + "NaN is not JSON"),
        ("{{ ('[' * 100000) | safe }}", NOT_JSON + "nested too deeply"),
        ("", NOT_JSON + "line 1 column 1: Expecting value"),
    ],
)
def test_a_json_body_that_is_not_json_is_an_error(source: str, message: str) -> None:
    """The error says where, and what to write instead; a constant is found when it is built."""
    with pytest.raises((RenderError, ConfigurationError)) as caught:
        body(source)
    built_wrong = isinstance(caught.value, ConfigurationError)
    assert str(caught.value).startswith(message.removeprefix("body: ") if built_wrong else message)
    assert "10.0.0.1" not in str(caught.value)
    assert built_wrong == (source == "")


def test_what_an_attack_inserts_stays_text() -> None:
    """The attack of the corpus on hand-written JSON gives one name and no administrator."""
    template = BodyTemplate('{"name": "{{ v }}"}', "application/json")
    hostile = 'a", "admin": true, "x": "'
    assert json.loads(template.render({"v": hostile})) == {"name": hostile}


def test_a_line_separator_in_data_breaks_no_line_of_a_template() -> None:
    """Indenting moves the template's own lines, and no part of a JSON string."""
    source = '{"a":{% filter indent(2) %}\n"{{ v }}"\n{% endfilter %}}'
    for value in ("a\u2028b", "a\x85b", "a\rb", "a\nb"):
        text = BodyTemplate(source, "application/json").render({"v": value})
        assert json.loads(text) == {"a": value}


def test_text_that_escaping_makes_too_long_is_an_error() -> None:
    """It is refused with its line, before it is copied."""
    template = BodyTemplate('{"a":\n"{{ v }}"}', "application/json")
    with pytest.raises(RenderError, match=r"^body, line 2: makes a text of more than 1048576 char"):
        template.render({"v": "\x01" * 200_000})


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_a_body_is_text(content_type: str) -> None:
    """A lone surrogate that a template makes is an error on the spot."""
    with pytest.raises(RenderError, match=r"^body: holds a lone surrogate, which is not text$"):
        body("\"{{ '\\ud800' }}\"", content_type)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ x", "line 1: unexpected end of template"),
        ("{% include 'x' %}", "line 1: include, import, extends, block and autoescape are not"),
        (b"{}", "expected text, found bytes"),
    ],
)
def test_a_wrong_body_template_is_found_when_built(source: Any, message: str) -> None:
    """A body that is not a template cannot be built, whatever its content type."""
    for content_type in ("application/json", "text/plain"):
        with pytest.raises(ConfigurationError) as caught:
            BodyTemplate(source, content_type)
        assert str(caught.value).startswith(message)


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_json_value_goes_through_tojson(value: object) -> None:
    """What ``tojson`` writes is the value again, alone, beside other text, and through a macro."""
    for source in (
        "[{{ v | tojson }}]",
        "[{{ v | tojson ~ '' }}]",
        "{% macro m(a) %}{{ a | tojson }}{% endmacro %}[{{ m(v) | trim }}]",
    ):
        rendered = BodyTemplate(source, "application/json").render({"v": value})
        assert json.loads(rendered) == [value]
