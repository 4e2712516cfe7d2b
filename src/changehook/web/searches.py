"""Filters of deliveries as fields of a form and of a link, and the places between pages."""

from __future__ import annotations

import argparse
import datetime
import http
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import attrs

from changehook.arguments import duration
from changehook.deliveries import DeliveryStatus
from changehook.encoding import isoformat
from changehook.errors import ConfigurationError
from changehook.inspection import DeliveryFilter, Position, position_of
from changehook.web.wsgi import RefusedRequestError

__all__ = ["FAILING", "WITH_ERROR", "Search", "after_of", "link"]

FAILING, WITH_ERROR = "failing", "with-error"
_HOW = "write how long ago, such as 24h, or ISO 8601, such as 2026-01-31T12:00"


_AGO = re.compile("[0-9]+[smhdw]")


def link(page: str, **fields: str | None) -> str:
    """Return a relative link to a page of the mount, without fields that are empty."""
    there = {key: value for key, value in fields.items() if value}
    query = urllib.parse.urlencode(there, errors="replace")
    return f"{page}?{query}" if query else page


def _refused(text: str) -> RefusedRequestError:
    return RefusedRequestError(http.HTTPStatus.BAD_REQUEST, text)


def _moment(name: str, text: str, now: datetime.datetime) -> datetime.datetime | None:
    """Return the moment of a field; what names no zone is UTC."""
    if not text:
        return None
    try:
        if _AGO.fullmatch(text):
            return now - datetime.timedelta(seconds=duration(text))
        found = datetime.datetime.fromisoformat(text)
        zoned = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
        return zoned.astimezone(datetime.UTC)
    except (ValueError, OverflowError, argparse.ArgumentTypeError):
        raise _refused(f"{name}: {_HOW}.") from None


@attrs.frozen(kw_only=True)
class Search:
    """What somebody looks for, as it was written; empty fields do not count.

    Args:
        status: the name of a status, ``failing``, or ``with-error``.
        webhook, model, error: exact names; the error is a class such as ``timeout``.
        since, until: how long ago, such as ``24h``, or ISO 8601.
        text: occurs in the id, the event, the reason or the payload.
    """

    status: str = ""
    webhook: str = ""
    model: str = ""
    error: str = ""
    since: str = ""
    until: str = ""
    text: str = ""

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Search:
        """Return the search of a query or a form."""
        found = {name: fields.get(name, "") for name in attrs.fields_dict(cls)}
        times = {name: found[name].strip() for name in ("since", "until")}
        return cls(**{**found, **times})

    def where(self, now: datetime.datetime) -> DeliveryFilter:
        """Return the filter.

        Raises:
            RefusedRequestError: a status or a time is none.
        """
        values: dict[str, Any] = {
            "webhook": self.webhook or None,
            "model": self.model or None,
            "error_class": self.error or None,
            "since": _moment("since", self.since, now),
            "until": _moment("until", self.until, now),
            "text": self.text or None,
        }
        if self.status == FAILING:
            values["failing"] = True
        elif self.status == WITH_ERROR:
            values["with_error"] = True
        else:
            values["status"] = self.status or None
        try:
            return DeliveryFilter(**values)
        except ConfigurationError:
            known = ", ".join([*DeliveryStatus, FAILING, WITH_ERROR])
            raise _refused(f"status: unknown; one of {known}.") from None

    def fixed(self, now: datetime.datetime) -> Search:
        """Return the search for what agrees at this moment: times that do not move, and an end, so
        that what is acted on is what was counted."""
        since, until = _moment("since", self.since, now), _moment("until", self.until, now)
        return attrs.evolve(
            self, since=isoformat(since) if since else "", until=isoformat(until or now)
        )

    def fields(self, **changes: str) -> dict[str, str]:
        """Return the fields that are not empty, with changes."""
        values = {**attrs.asdict(self), **changes}
        return {name: value for name, value in values.items() if value}

    def link(self, page: str = "deliveries", **changes: str) -> str:
        """Return a link that keeps this search, with changes; an empty one leaves a field out."""
        return link(page, **self.fields(**changes))

    @property
    def words(self) -> str:
        """The search in words but for its end, for whoever is asked to confirm something."""
        status = {FAILING: "failing", WITH_ERROR: "with an error"}.get(self.status, self.status)
        named = {
            "of webhook": self.webhook,
            "of model": self.model,
            "with error": self.error,
            "since": self.since,
            "with text": self.text,
        }
        parts = [f"{name} {value}" for name, value in named.items() if value]
        return ", ".join([status or "all deliveries", *parts])


def after_of(fields: Mapping[str, str]) -> Position | None:
    """Return where the page before ended, as the field ``after`` says; None for the beginning.

    Raises:
        RefusedRequestError: it does not say that.
    """
    cursor = fields.get("after", "")
    try:
        return position_of(cursor) if cursor else None
    except ConfigurationError as error:
        raise _refused(f"after: {error}.") from None
