"""Templates of the page: the only user of Jinja2 here. Whatever they insert is escaped."""

from __future__ import annotations

import datetime
import functools
import hashlib
import http
import importlib.resources
import json
import math
from typing import Any

import jinja2
from markupsafe import Markup, escape

from changehook.encoding import decode, isoformat
from changehook.printing import clean
from changehook.web.redaction import without
from changehook.web.searches import link
from changehook.web.wsgi import Answer, RefusedRequestError

__all__ = ["asset", "pretty", "render", "shortened"]

SHOWN_TEXT = 64 * 1024
SHOWN_VALUE = 300
YEAR = 31_536_000
ASSETS = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


@jinja2.pass_context
def _finalized(context: jinja2.runtime.Context, value: Any) -> Any:
    """Return what is inserted without the secrets that this page hides, and without characters
    that a browser obeys, such as those that turn the direction of writing round."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return clean(without(value, context.get("hidden", ())), keep="\n\t")
    return value


def _field(value: object) -> Markup:
    """Return a value for an attribute that comes back: to the letter."""
    return escape(value)


def _link(page: str, **fields: str | None) -> Markup:
    return escape(link(page, **fields))


@jinja2.pass_context
def _as_json(context: jinja2.runtime.Context, value: Any) -> str:
    """Return a value as JSON on one line, cut if it is long."""
    text = without(json.dumps(value, ensure_ascii=False), context.get("hidden", ()))
    return shortened(text, SHOWN_VALUE)[0]


@jinja2.pass_context
def _brief(context: jinja2.runtime.Context, value: object) -> str:
    """Return a text that is shown in one line, cut if it is long."""
    text = without(str(value), context.get("hidden", ()))  # a cut could leave a part of a secret
    return shortened(text, SHOWN_VALUE)[0]


def _utc(moment: datetime.datetime) -> str:
    """Return a moment to the second."""
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _exact(moment: datetime.datetime) -> str:
    """Return a moment to the microsecond."""
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S.%f} UTC"


def _finite(seconds: float) -> float:
    try:
        return float(seconds)  # a record may hold an integer of any length
    except OverflowError:
        return math.inf


def took(seconds: float) -> str:
    """Return how long something took, in words."""
    seconds = _finite(seconds)
    if seconds < 0.0995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.2f} s" if seconds < 59.995 else lasting(seconds)


def lasting(seconds: float) -> str:
    """Return a longer time in its two largest units."""
    seconds = _finite(seconds)
    if not math.isfinite(seconds):
        return "an unknown time"
    whole = max(0, int(seconds))
    for index, (size, unit) in enumerate(UNITS):
        if whole >= size:
            less, name = (*UNITS, (1, "s"))[index + 1]
            rest = whole % size // less
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def pretty(text: str) -> str:
    """Return JSON laid out for reading, as far as it is shown; what is none as it is."""
    laid_out, size = [], 0
    try:
        # The deeper a part stands, the longer is its line: whole, it could take all memory.
        for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(decode(text)):
            laid_out.append(piece)
            size += len(piece)
            if size > 2 * SHOWN_TEXT:
                break
    except (ValueError, RecursionError):
        return text
    return "".join(laid_out)


def shortened(text: str, most: int = SHOWN_TEXT) -> tuple[str, bool]:
    """Return what of a text is shown, and whether that is not all."""
    return (text, False) if len(text) <= most else (f"{text[:most]}…", True)


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
        as_json=_as_json,
        brief=_brief,
        field=_field,
    )
    environment.globals.update(link=_link, asset_of=_versioned)
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
