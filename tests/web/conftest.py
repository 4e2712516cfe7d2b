"""Fixtures for tests of pages in a real browser.

What goes wrong in the browser or in the application fails the test when it ends, unless the test
said with ``expects`` that it would.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import accessibility
import applications
import browsing
import pytest
from playwright.sync_api import Browser, Page

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


@pytest.fixture(scope="module")  # while one is there, nothing else of this thread can use asyncio
def browser() -> Iterator[Browser]:
    """A browser; tests want ``visit``."""
    with browsing.browser() as started:
        yield started


@pytest.fixture
def troubles() -> Iterator[browsing.Troubles]:
    """What went wrong, looked at when everything else has ended."""
    troubles = browsing.Troubles()
    yield troubles
    troubles.check()


@pytest.fixture
def expects(troubles: browsing.Troubles) -> Callable[..., None]:
    """Say what will go wrong: ``expects(r"status of 404")``."""
    return troubles.expects


@pytest.fixture
def serve(troubles: browsing.Troubles) -> Iterator[Callable[[WSGIApplication], str]]:
    """Serve a WSGI application while the test runs: ``url = serve(app)``."""
    with contextlib.ExitStack() as stack:
        yield lambda app: stack.enter_context(applications.wsgi(app, troubles.add))


@pytest.fixture
def serve_asgi(
    troubles: browsing.Troubles,
) -> Iterator[Callable[[applications.ASGIApplication], str]]:
    """Serve an ASGI application while the test runs: ``url = serve_asgi(app)``."""
    with contextlib.ExitStack() as stack:
        yield lambda app: stack.enter_context(applications.asgi(app, troubles.add))


@pytest.fixture
def visit(
    browser: Browser, troubles: browsing.Troubles, serve: object, serve_asgi: object
) -> Iterator[browsing.Visits]:
    """Open pages: ``page = visit(url, javascript=False, scheme="dark", width=360)``."""
    visits = browsing.Visits(browser, troubles)  # they end before the servers, on which they look
    yield visits
    visits.close()


@pytest.fixture(params=[True, False], ids=["javascript", "no-javascript"])
def javascript(request: pytest.FixtureRequest) -> bool:
    """Run the test with JavaScript and without: ``visit(url, javascript=javascript)``."""
    return bool(request.param)


@pytest.fixture
def axe() -> Callable[[Page], None]:
    """Fail on what axe finds in the page as it is now: ``axe(page)``."""
    return accessibility.check


@pytest.fixture
def screenshot(tmp_path: Path) -> Callable[[Page, str], Path]:
    """Save what the whole page looks like: ``screenshot(page, "list-dark")``."""

    def save(page: Page, name: str) -> Path:
        path = Path(os.environ.get("CHANGEHOOK_SCREENSHOTS") or tmp_path, f"{name}.png")
        page.screenshot(path=path, full_page=True, animations="disabled", caret="hide")
        return path

    return save
