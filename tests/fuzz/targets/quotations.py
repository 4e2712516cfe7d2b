"""What a receiver quotes of a request. Parts: the URL's end, a header as JSON, the quotation."""

from __future__ import annotations

from fuzz.harness import UnfitError, document, text, texts

from changehook.exchange import Request, hidden_values, redact_headers, redact_url, scrub
from changehook.network import destination

INPUTS = 250_000
WORDS = (
    *("/services/T000/B000/s3cretS3CRET", "?token=s3cret-0123456789", "&key=", "%2F", "%20", "+"),
    *("Authorization", "X-Api-Key", "Bearer t0ken-0123456789", "Basic dXNlcjpwYXNzd29yZC0wMTIz"),
    *("***", "\\/", "&amp;", "&#x27;", "user:password-0123", "s3cret", "=", '"', "\\u003c"),
)


def check(data: bytes) -> None:
    """No part of the request that is hidden is left in the words of its receiver."""
    tail, header, words = texts(data, 3)
    headers = document(header)
    if not isinstance(headers, dict) or not all(map(_is_ascii, headers.values())):
        raise UnfitError
    url = f"https://hooks.example.com/{tail}"
    try:
        destination(url)
    except ValueError:
        raise UnfitError from None
    request = Request(method="POST", url=url, headers=headers, body=b"")
    values = hidden_values(request)
    shown = scrub(text(words.encode("utf-8", "replace")), values)
    starred = any("*" in value for value in values)  # what is inserted may look like such a value
    assert starred or not any(value in _lower(shown) for value in values)
    hidden = [headers[name] for name, value in redact_headers(headers).items() if value == "***"]
    assert starred or not any(value in shown for value in hidden if len(value) >= 8)
    cut = scrub(words, values, cut=True)
    assert starred or not any(value in _lower(cut) for value in values)
    assert redact_url(url) in ("https://hooks.example.com/", "https://hooks.example.com/***")
    assert repr(request)


def _lower(text: str) -> str:
    return "".join(each.lower() if each.isascii() else each for each in text)


def _is_ascii(value: object) -> bool:
    """True for what a header may hold: nothing else is rendered."""
    return isinstance(value, str) and value.isascii() and value.isprintable()
