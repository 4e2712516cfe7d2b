"""One HTTP exchange, and what of it may be shown."""

import pytest

from changehook.exchange import (
    Preview,
    Request,
    Response,
    hidden_values,
    redact_headers,
    redact_url,
    scrub,
)


def test_records_hide_what_may_be_secret():
    """No path, query, unknown header or body in any repr."""
    request = Request(
        method="POST",
        url="https://hooks.example:8443/services/SECRET?token=SECRET",
        headers={"Authorization": "Bearer SECRET", "Content-Type": "text/plain"},
        body=b"SECRET",
    )
    shown = [
        request,
        Preview(request=request),
        Response(status=200, headers={"set-cookie": "SECRET"}, body=b"SECRET"),
        Preview(request=request).to_dict()["url"],
        Preview(request=request).to_dict()["headers"],
    ]
    assert "SECRET" not in repr(shown) + str(shown)
    assert "https://hooks.example:8443/***" in repr(request)
    assert "text/plain" in repr(request)
    revealed = Preview(request=request).to_dict(reveal=True)
    assert revealed["url"] == request.url
    assert revealed["headers"]["Authorization"] == "Bearer SECRET"
    assert revealed["body"] == "SECRET"


def test_a_url_is_redacted_to_its_origin():
    """User information goes too."""
    assert redact_url("https://u:p@h.example/") == "https://h.example/"
    assert redact_url("https://h.example/?q") == "https://h.example/***"
    assert redact_url("https://[hunter2/") == "***"
    assert redact_headers({"X-Token": "s", "webhook-id": "msg_1"}) == {
        "X-Token": "***",
        "webhook-id": "msg_1",
    }


def hidden(**headers):
    """Return what is hidden of a request with these headers, and without a secret in its URL."""
    return hidden_values(Request(method="POST", url="https://h/", headers=headers, body=b""))


def test_what_is_short_or_known_to_be_harmless_is_left():
    """A value of less than 8 characters would blot out words that have nothing to do with it."""
    request = Request(method="GET", url="https://h/a/b?c=d", headers={"X-A": "1234567"}, body=b"")
    assert hidden_values(request, "short") == []
    assert hidden(**{"User-Agent": "harmless-agent"}) == []


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("Bearer abcd1234", "no such token: abcd1234"),
        ("user=ann12345; sid=abcd1234", "[ann12345, abcd1234]"),
        ("Basic YW5uOmh1bnRlcjIh", "Basic YW5uOmh1bnRlcjIh is ann:hunter2!"),
        ('say "friend"', r'{"header": "say \"friend\""}'),
        ('say "friend"', "<p>say &quot;friend&quot;</p>"),
        ("a&b/c+d=e", "?value=a%26b%2Fc%2Bd%3De"),
        ("a&b/c+d=e", "?value=a%26b/c%2Bd%3De"),
        ("a&b/c+d=e", "?value=a%26b%2fc%2bd%3de"),
        ("a/b/c/d/e/f", r"a\/b\/c\/d\/e\/f"),
        ("secret%20word1", "secret word1"),
        ("Shouted-Token", "shouted-token"),
        ("whispered-token", "WHISPERED-TOKEN"),
        ("Token correct horse abcd1 xy", "no token 'correct horse abcd1 xy'"),
        ("Bearer ab/cd=ef+gh/12=34+56/zz==", "bad token ab/cd=ef+gh/12=34+56/zz=="),
        ("sid=abc/def/ghi/jkl; a=b", "no session abc/def/ghi/jkl"),
        ("Basic dXNlcjpwdzp3aXRoOmNvbA==", "user and pw:with:col"),
        ("ab <cd> & 'ef'", "ab+%3Ccd%3E+%26+%27ef%27"),
        ("ab <cd> & 'ef'", "ab%20%3Ccd%3E%20%26%20'ef'"),
        ("ab <cd> & 'ef'", r"ab \u003ccd\u003e \u0026 \u0027ef\u0027"),
        ("ab <cd> & 'ef'", r"ab \u003Ccd\u003E \u0026 'ef'"),
        ("ab <cd> & 'ef'", "ab &lt;cd&gt; &amp; &#39;ef&#39;"),
        ("ab <cd> & 'ef'", "ab &lt;cd&gt; &amp; &#039;ef&#039;"),
        ("ab <cd> & 'ef'", "ab &lt;cd&gt; &amp; &apos;ef&apos;"),
    ],
)
def test_a_quoted_value_is_hidden_in_every_usual_form(value, quoted):
    """Whole and in words, decoded and encoded, escaped as in JSON and HTML."""
    shown = scrub(quoted, hidden(**{"X-Key": value}))
    assert "***" in shown
    for word in (
        "abcd1",
        "ab/cd",
        "/def",
        "with:col",
        "cd",
        "whisp",
        "WHISP",
        "abcd1234",
        "hunter2",
        "friend",
        "c%2B",
        "c%2b",
        "/c",
        "word1",
        "shouted",
    ):
        assert word not in shown


@pytest.mark.parametrize(
    ("url", "quoted"),
    [
        ("https://h/hook?token=my+secret+pass+phrase", "token 'my secret pass phrase' is bad"),
        ("https://h/hook?token=abc/def/ghi/jkl", "token abc/def/ghi/jkl is bad"),
        ("https://h/hook?token=abc:def:ghi:jkl", "token abc:def:ghi:jkl is bad"),
        ("https://h/s/correct%20horse%20battery/x", "no correct horse battery here"),
    ],
)
def test_a_parameter_or_segment_is_hidden_as_a_whole(url, quoted):
    """Every framework hands out these, decoded."""
    values = hidden_values(Request(method="POST", url=url, headers={}, body=b""))
    shown = scrub(quoted, values)
    assert "***" in shown
    assert not any(word in shown for word in ("secret", "def", "horse"))


def test_credentials_that_are_none_are_a_value_like_others():
    """``Basic`` with something that is not base64 hides just that."""
    found = hidden(Authorization="Basic YWJjZ")
    assert set(found) == {"basic%20ywjjz", "basic+ywjjz", "basic ywjjz"}


def test_a_part_at_the_end_is_hidden_where_the_text_was_cut():
    """From 4 characters on, and only where something was cut off."""
    values = hidden(**{"X-Key": "abcdefgh1234"})
    assert scrub("see abcdefgh", values, cut=True) == "see ***"
    assert scrub("see abcd", values, cut=True) == "see ***"
    assert scrub("see abc", values, cut=True) == "see abc"
    assert scrub("abcdefgh123", values, cut=True) == "***"
    assert scrub("see abcdefgh", values) == "see abcdefgh"
