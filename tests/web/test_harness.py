"""What the tests in a browser rest on sees what goes wrong, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree

import browsing
import pytest
from a2wsgi import WSGIMiddleware
from browsing import INSTALL
from playwright.sync_api import Page
from starlette.applications import Starlette
from starlette.routing import Mount

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

ROOT = Path(__file__).resolve().parents[2]
PYTEST = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "--tb=short"]
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'"
PAGE = """<!doctype html><html lang="en"><title>Page</title>
<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="style.css"><script defer src="script.js"></script>
<main><h1>Deliveries</h1><noscript>No script.</noscript><p id="moment">No moment.</p>
<label>Name <input autofocus></label></main>"""
STYLE = """body { color: #111; background: #fff; font: 16px sans-serif }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #000 } }"""
SCRIPT = "document.getElementById('moment').textContent = new Date(0).toLocaleString()"
FILES = {"/": ("text/html", PAGE), "/style.css": ("text/css", STYLE)}
FILES["/script.js"] = ("text/javascript", SCRIPT)

LATER = """
import asyncio, gc

def test_asyncio():
    asyncio.run(asyncio.sleep(0))
    gc.collect()
"""

SAID = [
    ("page[console_error]", "console error: said"),
    ("page[console_warning]", "console warning: said"),
    ("page[page_error]", "page error: Error: said"),
    ("page[rejection]", "page error: Error: said"),
    ("page[inline_script]", "violates the following Content Security Policy"),
    ("page[inline_style]", "violates the following Content Security Policy"),
    ("page[inline_handler]", "violates the following Content Security Policy"),
    ("page[only_reported]", "violates the following Content Security Policy"),
    ("page[missing_image]", "status of 404"),
    ("page[cut_image]", "request failed: http://127.0.0.1"),
    ("page[busy]", "answered 503: http://127.0.0.1"),
    ("page[raised]", "LookupError: a bug"),
    ("page[raised_later]", "LookupError: a bug"),
    ("page[outside_by_name]", "left 127.0.0.1: http://receiver.example/x.png"),
    ("page[outside_by_address]", "request failed: http://192.0.2.1/x.png: net::ERR_NAME_NOT"),
    ("page[outside_by_socket]", "left 127.0.0.1: ws://192.0.2.1/"),
    ("policy_without_javascript", "violates the following Content Security Policy"),
    ("link_to_the_outside", "left 127.0.0.1: http://192.0.2.1/"),
    ("second_window", "answered 500: http://127.0.0.1"),
    ("expected_in_vain", "was expected and did not happen: status of 404"),
    ("raised_without_a_browser", "LookupError: a bug"),
    ("raised_in_asgi", "LookupError: a bug"),
    ("label[True]", 'label (critical): Form elements must have labels\n    <input id="lonely">'),
    ("label[False]", 'label (critical): Form elements must have labels\n    <input id="lonely">'),
]


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with a page that is in order, and with its style sheet and script."""
    kind, text = FILES.get(environ["PATH_INFO"], ("text/plain", "nothing here"))
    status = "200 OK" if environ["PATH_INFO"] in FILES else "404 Not Found"
    start_response(
        status,
        [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Security-Policy", POLICY)],
    )
    return [text.encode()]


def run(folder: Path, **environment: str) -> dict[str, str]:
    """Run broken.py in a folder with the fixtures of this one, and what comes after it.

    Returns:
        What was said of each test; nothing of one that passed.
    """
    for name in ("web", "with_asyncio"):
        (folder / name).mkdir()
    shutil.copy(ROOT / "conftest.py", folder)
    shutil.copy(ROOT / "tests" / "web" / "conftest.py", folder / "web")
    shutil.copy(ROOT / "tests" / "web" / "broken.py", folder / "web" / "test_broken.py")
    (folder / "with_asyncio" / "test_later.py").write_text(LATER, encoding="utf-8")
    done = subprocess.run(
        [*PYTEST, "-o", f"pythonpath={ROOT / 'tests'}", "--junit-xml=report.xml"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    cases = ElementTree.parse(folder / "report.xml").iter("testcase")
    return {case.attrib["name"]: said_of(case) for case in cases}


def said_of(case: ElementTree.Element) -> str:
    """Return what a report says of a test, as one text."""
    parts = [each for each in case if each.tag in ("failure", "error", "skipped")]
    return "\n".join(f"{each.attrib['message']}\n{each.text}" for each in parts)


@pytest.fixture(scope="module")
def said(browser: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What was said of each test that must fail; without a browser, this is skipped."""
    return run(tmp_path_factory.mktemp("broken"))


@pytest.mark.parametrize(("name", "expected"), SAID)
def test_what_goes_wrong_is_caught(said: dict[str, str], name: str, expected: str) -> None:
    """A test whose page or application is at fault fails, and its report says why."""
    assert expected in said[f"test_{name}"]


def test_nothing_else_goes_wrong(said: dict[str, str]) -> None:
    """Each test that must fail is looked at, and tests after them can use asyncio."""
    assert {name for name, text in said.items() if text} == {f"test_{name}" for name, _ in SAID}
    assert said["test_asyncio"] == ""


def test_without_a_browser_the_skip_says_what_to_install(tmp_path: Path) -> None:
    """Without a browser, tests are skipped with a reason that a CI can make a failure of."""
    empty = {"PATH": "", "CHANGEHOOK_BROWSER": "", "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}
    reason = run(tmp_path, CHANGEHOOK_REQUIRE="", **empty)["test_label[True]"]
    assert "browser: none starts (" in reason
    assert INSTALL in reason


def test_the_browser_that_is_named_goes_before_those_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CHANGEHOOK_BROWSER wins, then the headless shell, then other names."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHANGEHOOK_BROWSER", raising=False)
    assert browsing.program() is None
    for name in reversed(browsing.NAMES):
        (tmp_path / name).touch(mode=0o755)
        assert browsing.program() == str(tmp_path / name)
    monkeypatch.setenv("CHANGEHOOK_BROWSER", "/opt/mine")
    assert browsing.program() == "/opt/mine"


@pytest.mark.parametrize(
    ("code", "limit", "told"),
    [
        ("pass", 60.0, "browser: the one that Playwright downloaded"),
        (
            "raise SystemExit(1)",
            60.0,
            f"none could be downloaded; its tests are skipped; {INSTALL}",
        ),
        ("import signal; signal.pause()", 0.1, "none could be downloaded"),
    ],
)
def test_a_download_may_fail(
    monkeypatch: pytest.MonkeyPatch, code: str, limit: float, told: str
) -> None:
    """A browser that cannot be downloaded, or not in time, is told of and stops nothing."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHANGEHOOK_BROWSER", raising=False)
    assert told in browsing.download([sys.executable, "-c", code], limit)


def test_nothing_is_downloaded_when_there_is_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that is there is used as it is."""
    monkeypatch.setenv("CHANGEHOOK_BROWSER", "/opt/mine")
    assert browsing.download(["/there/is/no/such/program"]) == "browser: /opt/mine"


def test_a_page_in_order_passes(
    visit: browsing.Visits,
    serve: Callable[[WSGIApplication], str],
    axe: Callable[[Page], None],
    javascript: bool,
) -> None:
    """Nothing is found in a page with nothing wrong; it runs scripts only if they are wanted."""
    page = visit(serve(site), javascript=javascript, scheme="dark", width=360)
    axe(page)
    assert page.locator("noscript").is_visible() is not javascript
    assert page.get_by_text("No moment.").is_visible() is not javascript


def test_a_visitor_has_settings(
    visit: browsing.Visits, serve: Callable[[WSGIApplication], str]
) -> None:
    """Each visit has a place, a language, a window and colours of its own."""
    url = serve(site)
    far = visit(url, timezone="Asia/Tokyo", locale="de-DE", width=360, height=640, scheme="dark")
    near = visit(url)
    assert far.locator("#moment").inner_text() == "1.1.1970, 09:00:00"
    assert near.locator("#moment").inner_text() == "01/01/1970, 00:00:00"
    look = "[innerWidth, innerHeight, getComputedStyle(document.body).backgroundColor]"
    assert far.evaluate(look) == [360, 640, "rgb(0, 0, 0)"]
    assert near.evaluate(look) == [1280, 800, "rgb(255, 255, 255)"]


def test_what_is_expected_fails_no_test(
    visit: browsing.Visits,
    serve: Callable[[WSGIApplication], str],
    expects: Callable[..., None],
) -> None:
    """A test that looks at a page that is not there says so, and passes."""
    expects("status of 404")
    assert visit(serve(site) + "/missing").get_by_text("nothing here").is_visible()


def test_an_application_mounted_in_starlette_is_served(
    visit: browsing.Visits, serve_asgi: Callable[[object], str]
) -> None:
    """An ASGI application is served as a WSGI application is, with one mounted in it."""
    mounted: Any = WSGIMiddleware(cast("Any", site))
    app = Starlette(routes=[Mount("/hooks", mounted)])
    assert visit(serve_asgi(app) + "/hooks/").get_by_role("heading").inner_text() == "Deliveries"


def test_a_screenshot_is_the_same_each_time(
    visit: browsing.Visits,
    serve: Callable[[WSGIApplication], str],
    screenshot: Callable[[Page, str], Path],
    javascript: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two screenshots of one page by two visitors are the same file, also with a caret in it."""
    monkeypatch.delenv("CHANGEHOOK_SCREENSHOTS", raising=False)  # nobody looks at these
    url = serve(site)
    first, second = [
        screenshot(visit(url, javascript=javascript, width=500), f"harness-{name}").read_bytes()
        for name in ("first", "second")
    ]
    assert first.startswith(b"\x89PNG")
    assert first == second
