"""A real browser, and everything that goes wrong in it.

Its program is the one that ``CHANGEHOOK_BROWSER`` names, else a Chromium on PATH, else the one that
Playwright downloaded. Run as a script, this file has Playwright download one if there is none.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Playwright,
    Request,
    Response,
    expect,
    sync_playwright,
)

LIMIT = 20.0
NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")
INSTALL = "apt-get install chromium-headless-shell, or playwright install chromium-headless-shell"
DOWNLOAD = [sys.executable, "-m", "playwright", "install", "chromium-headless-shell"]
DOWNLOAD_LIMIT = 300.0
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing leaves this machine: no name and no other address is found, and no proxy is asked.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    # The same pixels in each run, whatever the screen and the settings of who runs it.
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
]


def program() -> str | None:
    """Return the path of a browser, None when only Playwright may have one."""
    named = os.environ.get("CHANGEHOOK_BROWSER")
    found = (path for name in NAMES if (path := shutil.which(name)))
    return named or next(found, None)


def launch(playwright: Playwright) -> Browser:
    """Start a browser, or skip the test that asks for one when there is none."""
    found = program()
    try:
        return playwright.chromium.launch(executable_path=found, args=FLAGS)
    except Error as error:
        if found:  # it is there and does not start, which is nothing to be silent about
            raise
        reason = error.message.splitlines()[0]
    pytest.skip(f"browser: none starts ({reason}); {INSTALL}, or name one in CHANGEHOOK_BROWSER")


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser; meanwhile, this thread cannot run a loop of asyncio of its own."""
    with sync_playwright() as playwright:
        expect.set_options(timeout=LIMIT * 1000)
        started = launch(playwright)
        yield started
        started.close()


class Troubles:
    """What went wrong while a test ran, and what of it the test said would."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._expected: list[str] = []

    def add(self, text: str) -> None:
        """Note something that fails the test unless it is expected."""
        self._seen.append(text)

    def expects(self, *patterns: str) -> None:
        """Say what will go wrong, at least once, as regular expressions for parts of its text."""
        self._expected += patterns

    def check(self) -> None:
        """Fail on what went wrong and was not expected, and on what was expected in vain."""
        wrong = [text for text in self._seen if not self._is_expected(text)]
        wrong += [
            f"was expected and did not happen: {pattern}"
            for pattern in self._expected
            if not any(re.search(pattern, text) for text in self._seen)
        ]
        if wrong:
            pytest.fail("\n".join(["trouble in the browser:", *wrong]), pytrace=False)

    def _is_expected(self, text: str) -> bool:
        return any(re.search(pattern, text) for pattern in self._expected)


class Visits:
    """Opens pages, each as a visitor of its own with its settings, and watches them."""

    def __init__(self, started: Browser, troubles: Troubles) -> None:
        self._browser = started
        self._troubles = troubles
        self._contexts: list[BrowserContext] = []
        self._ending = False

    def __call__(
        self,
        url: str,
        *,
        javascript: bool = True,
        scheme: str = "light",
        width: int = 1280,
        height: int = 800,
        timezone: str = "UTC",
        locale: str = "en-GB",
        **options: Any,
    ) -> Page:
        """Open a page and return it when it is loaded.

        Args:
            url: where it is.
            javascript: whether its scripts run.
            scheme: the colours that its visitor prefers, ``light`` or ``dark``.
            width: of the window, in pixels.
            height: of the window, in pixels.
            timezone: of the visitor, such as ``Asia/Tokyo``.
            locale: of the visitor, such as ``ja-JP``.
            options: any others of Playwright's ``new_context``.
        """
        context = self._browser.new_context(
            java_script_enabled=javascript,
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": height},
            timezone_id=timezone,
            locale=locale,
            service_workers="block",  # what they fetch is not seen
            **options,
        )
        context.set_default_timeout(LIMIT * 1000)
        self._contexts.append(context)
        self._watch(context)
        page = context.new_page()
        page.goto(url)
        return page

    def close(self) -> None:
        """Wait for what is still told about each page, and close them."""
        for context in self._contexts:
            for page in context.pages:
                page.wait_for_load_state()
                page.evaluate("0")  # what the page told before its answer is known then
        self._ending = True
        for context in self._contexts:
            context.close()

    def _watch(self, context: BrowserContext) -> None:
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self._add(f"page error: {error.error.stack}"))
        context.on("request", lambda request: self._on_address(request.url))
        context.on("requestfailed", self._on_failure)
        context.on("response", self._on_response)
        context.on("page", self._on_page)

    def _add(self, text: str) -> None:
        if not self._ending:
            self._troubles.add(text)

    def _on_page(self, page: Page) -> None:
        page.on("websocket", lambda socket: self._on_address(socket.url))

    def _on_console(self, message: ConsoleMessage) -> None:
        reported = "Content Security Policy" in message.text  # also what is not enforced
        if reported or message.type in ("error", "warning"):
            self._add(f"console {message.type}: {message.text} ({message.location['url']})")

    def _on_address(self, url: str) -> None:
        address = urlsplit(url)
        if address.scheme not in ("about", "blob", "data") and address.hostname != "127.0.0.1":
            self._add(f"left 127.0.0.1: {url}")

    def _on_failure(self, request: Request) -> None:
        # A visitor who moves on ends what the page still fetches; that is no fault of the page.
        if request.failure != "net::ERR_ABORTED":
            self._add(f"request failed: {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 500:
            self._add(f"answered {response.status}: {response.url}")


def download(command: Sequence[str] = DOWNLOAD, limit: float = DOWNLOAD_LIMIT) -> str:
    """Have Playwright download a browser if there is none, which may fail; say what there is now.

    Args:
        command: what downloads it.
        limit: how long that may take, in seconds.
    """
    found = program()
    if found:
        return f"browser: {found}"
    # In a session of its own, so that what it starts ends with it.
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode == 0:
        return "browser: the one that Playwright downloaded"
    return f"browser: none, and none could be downloaded; its tests are skipped; {INSTALL}"


if __name__ == "__main__":
    print(download(), flush=True)
