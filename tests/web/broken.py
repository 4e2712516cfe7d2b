"""Tests that must fail; test_harness.py runs a copy, and looks at what was said of each."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

POLICY = ("Content-Security-Policy", "default-src 'none'; script-src 'self'")
REPORTED = ("Content-Security-Policy-Report-Only", "default-src 'none'; script-src 'self'")
HTML = ("Content-Type", "text/html; charset=utf-8")
TEXT = ("Content-Type", "text/plain; charset=utf-8")

# name of the test → what is in its page, and the headers of the page
PAGES = {
    "console_error": ("<script>console.error('said')</script>", []),
    "console_warning": ("<script>console.warn('said')</script>", []),
    "page_error": ("<script>throw Error('said')</script>", []),
    "rejection": ("<script>Promise.reject(Error('said'))</script>", []),
    "inline_script": ("<script>document.title = 'x'</script>", [POLICY]),
    "inline_style": ("<p style='color: red'>", [POLICY]),
    "inline_handler": ("<p onclick='f()'>", [POLICY]),
    "only_reported": ("<p style='color: red'>", [REPORTED]),
    "missing_image": ("<img src='/missing.png'>", []),
    "cut_image": ("<img src='/cut'>", []),
    "busy": ("<img src='/busy'>", []),
    "raised": ("<img src='/raises'>", []),
    "raised_later": ("<img src='/raises-later'>", []),
    "outside_by_name": ("<img src='http://receiver.example/x.png'>", []),
    "outside_by_address": ("<img src='http://192.0.2.1/x.png'>", []),
    "outside_by_socket": ("<script>new WebSocket('ws://192.0.2.1/')</script>", []),
}


def raise_later() -> Iterator[bytes]:
    yield b"x"
    raise LookupError("a bug")


def site(text: str, *headers: tuple[str, str]) -> Callable[..., Iterable[bytes]]:
    """Return an application with a page, and with places that fail."""

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/raises":
            raise LookupError("a bug")
        if path == "/":
            start_response("200 OK", [HTML, *headers])
            return [f"<!doctype html><html lang=en><title>t</title>{text}".encode()]
        if path == "/cut":
            start_response("200 OK", [("Content-Type", "image/png"), ("Content-Length", "1000")])
            return [b"x"]
        start_response("503 Unavailable" if path == "/busy" else "404 Not Found", [TEXT])
        return raise_later() if path == "/raises-later" else [b"nothing here"]

    return app


@pytest.mark.parametrize("name", PAGES)
def test_page(visit: Any, serve: Any, name: str) -> None:
    text, headers = PAGES[name]
    visit(serve(site(text, *headers)))


def test_policy_without_javascript(visit: Any, serve: Any) -> None:
    visit(serve(site("<p style='color: red'>", POLICY)), javascript=False)


def test_link_to_the_outside(visit: Any, serve: Any) -> None:
    page = visit(serve(site("<a href='http://192.0.2.1/'>out</a>")))
    page.get_by_role("link").click()


def test_second_window(visit: Any, serve: Any) -> None:
    page = visit(serve(site("<a target=_blank href='/raises'>more</a>")))
    with page.expect_popup():
        page.get_by_role("link").click()


def test_expected_in_vain(visit: Any, serve: Any, expects: Any) -> None:
    expects("status of 404")
    visit(serve(site("<p>fine")))


def test_raised_without_a_browser(serve: Any) -> None:
    with pytest.raises(OSError, match="500"):
        urllib.request.urlopen(serve(site("")) + "/raises")


def test_raised_in_asgi(serve_asgi: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raise LookupError("a bug")

    with pytest.raises(OSError, match="500"):
        urllib.request.urlopen(serve_asgi(app))


@pytest.mark.parametrize("javascript", [True, False])
def test_label(visit: Any, serve: Any, axe: Any, javascript: bool) -> None:
    text = "<main><h1>t</h1><input id=lonely></main>"
    axe(visit(serve(site(text, POLICY)), javascript=javascript))
