"""Templates of the page: the only user of Jinja2 here. Whatever they insert is escaped."""

from __future__ import annotations

import datetime
import functools
import hashlib
import http
import importlib.resources
import json
from typing import Any

import jinja2

from changehook.encoding import decode, isoformat
from changehook.printing import clean
from changehook.web.searches import link
from changehook.web.wsgi import Answer, RefusedRequestError

__all__ = ["asset", "pretty", "render", "shortened"]

SHOWN_TEXT = 64 * 1024
SHOWN_VALUE = 200
YEAR = 31_536_000
ASSETS = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def _finalized(value: Any) -> Any:
    """Return a value without characters that a browser obeys, such as those that turn the
    direction of writing round."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return clean(value, keep="\n\t")
    return value


def _utc(moment: datetime.datetime) -> str:
    """Return a moment to the second."""
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _exact(moment: datetime.datetime) -> str:
    """Return a moment to the microsecond."""
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S.%f} UTC"


def took(seconds: float) -> str:
    """Return how long something took, in words."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.2f} s" if seconds < 60 else lasting(seconds)


def lasting(seconds: float) -> str:
    """Return a longer time in its two largest units."""
    whole = max(0, int(seconds))
    for index, (size, unit) in enumerate(UNITS):
        if whole >= size:
            rest, (less, name) = whole % size, (*UNITS, (1, "s"))[index + 1]
            return (
                f"{whole // size} {unit} {rest // less} {name}"
                if rest // less
                else (f"{whole // size} {unit}")
            )
    return f"{whole} s"


def pretty(text: str) -> str:
    """Return JSON laid out for reading; what is none as it is."""
    try:
        return json.dumps(decode(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def tojson_text(value: Any) -> str:
    """Return a value as JSON on one line, cut if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_VALUE else f"{text[:SHOWN_VALUE]}…"


def shortened(text: str) -> tuple[str, int]:
    """Return what of a text is shown on a page, and how many characters are left out."""
    return text[:SHOWN_TEXT], max(0, len(text) - SHOWN_TEXT)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("changehook.web", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        iso=isoformat,
        utc=_utc,
        exact=_exact,
        took=took,
        lasting=lasting,
        tojson_text=tojson_text,
    )
    environment.globals.update(link=link, asset_of=_versioned)
    return environment


def render(template: str, values: dict[str, Any], status: http.HTTPStatus) -> Answer:
    """Return a page."""
    text = _environment().get_template(template).render(values)
    return Answer(status=status, body=text.encode("utf-8", "backslashreplace"))


@functools.cache
def _bytes(name: str) -> bytes:
    return importlib.resources.files("changehook.web").joinpath("static", name).read_bytes()


@functools.cache
def _versioned(name: str) -> str:
    """Return the link to an asset, which changes with what is in it."""
    return f"static/{name}?v={hashlib.sha256(_bytes(name)).hexdigest()[:12]}"


def asset(name: str) -> Answer:
    """Return a style sheet, script or picture of the page.

    Raises:
        RefusedRequestError: there is none of that name.
    """
    if name not in ASSETS:
        raise RefusedRequestError(http.HTTPStatus.NOT_FOUND, "There is no such file.")
    kept = ("Cache-Control", f"private, max-age={YEAR}, immutable")
    return Answer(body=_bytes(name), content_type=ASSETS[name], headers=(kept,))
