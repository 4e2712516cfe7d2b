"""axe-core on a page in a browser: WCAG 2.2 AA, and what axe holds for best practice."""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any

import pytest
from playwright.sync_api import Page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OPTIONS = {
    "runOnly": {"type": "tag", "values": TAGS},
    "resultTypes": ["violations"],
    "preload": False,  # it fetches style sheets again, for no rule of these tags
}
ROUNDS = 100

# A page without JavaScript runs what a test evaluates, but no timer of it. So axe gets timers of
# its own that only note what is to be done; each evaluation does a round of it. Those with a delay
# are limits for frames, of which there are none.
START = """() => {
    const later = [];
    const setTimeout = (work, delay) => { if (!delay) later.push(work); return 0; };
    SOURCE
    let told = null;
    axe.run(document, OPTIONS, (error, results) => {
        told = error ? { error: String(error) } : { results };
    });
    return () => { later.splice(0).forEach((work) => work()); return told; };
}"""


@functools.cache
def source() -> str:
    """Return the source of axe; the package's own way to call it is not used."""
    package = importlib.resources.files("axe_playwright_python")
    return package.joinpath("axe.min.js").read_text(encoding="utf-8")


def run(page: Page) -> dict[str, Any]:
    """Return what axe says of the page as it is now.

    What is evaluated from here is not bound by the page's Content-Security-Policy, which stays in
    force for the page.
    """
    script = START.replace("OPTIONS", json.dumps(OPTIONS)).replace("SOURCE", source())
    work = page.evaluate_handle(script)
    told = None
    for _ in range(ROUNDS):
        told = told or work.evaluate("(round) => round()")
    assert told, "axe does not end"
    assert "results" in told, told
    results: dict[str, Any] = told["results"]
    return results


def check(page: Page) -> None:
    """Fail on each violation, with the elements that it is about."""
    results = run(page)
    assert results["passes"], "axe looked at nothing"
    lines = [
        f"{found['id']} ({found['impact']}): {found['help']}\n    {node['html']}"
        for found in results["violations"]
        for node in found["nodes"]
    ]
    if lines:
        pytest.fail("\n".join([f"axe found in {page.url}:", *lines]), pytrace=False)
