"""The record of a change: what a host says happened. Frozen, checked when built, no I/O."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Mapping
from typing import Any, cast

import attrs

from changehook.checks import moment_problem
from changehook.encoding import has_fields
from changehook.errors import SHOWN_NAME, ConfigurationError, Fault, pointer_to

__all__ = [
    "Change",
    "new_delivery_id",
    "utcnow",
]


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def utcnow() -> datetime.datetime:
    """Return the present moment as an aware UTC datetime: the default clock."""
    return datetime.datetime.now(datetime.UTC)


def new_delivery_id(now: datetime.datetime) -> str:
    """Return a fresh delivery id: ``msg_``, the milliseconds of ``now``, and 80 random bits, in
    hex."""
    if now.tzinfo is not datetime.UTC:
        now = now.astimezone(datetime.UTC)
    since = now - _EPOCH
    milliseconds = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    return f"msg_{milliseconds:012x}{os.urandom(10).hex()}"


def _moment(value: object) -> datetime.datetime | None:
    if value is None or (value.__class__ is datetime.datetime and value.tzinfo is datetime.UTC):
        return value
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise ConfigurationError(
                Fault("/timestamp", "not an ISO 8601 moment such as 2026-01-31T12:00:00+00:00")
            ) from None
    if getattr(value, "tzinfo", None) is not datetime.UTC:
        problem = moment_problem(value)
        if problem:
            raise ConfigurationError(Fault("/timestamp", problem))
    return cast("datetime.datetime", value)


_NUMBERS = uuid.UUID | int


def _text_id(value: object) -> object:
    if value is None or value.__class__ is str:
        return value
    try:
        return str(value) if isinstance(value, _NUMBERS) else value
    except ValueError:  # an integer of too many digits
        return value


def _name_faults(field: str, value: object) -> list[Fault]:
    if not isinstance(value, str):
        return [Fault(f"/{field}", f"expected text, found {type(value).__name__}")]
    if not value:
        return [Fault(f"/{field}", "must not be empty")]
    return []


def _is_object(value: object) -> bool:
    if value.__class__ is dict or isinstance(value, Mapping):
        return True
    if isinstance(value, type):
        return False
    return hasattr(type(value), "__json__") or has_fields(value)


def _object_faults(field: str, value: object) -> list[Fault]:
    if _is_object(value):
        return []
    found = type(value).__name__
    return [
        Fault(f"/{field}", f"expected a mapping, an attrs or dataclass instance, found {found}")
    ]


@attrs.frozen(kw_only=True)
class Change:
    """Something that happened to one object of the host.

    Args:
        event: the name of what happened: ``created``, ``updated``, ``deleted`` or a dotted name.
        model: the type of the object, such as ``site`` or ``dcim.site``.
        data: the object in its present state: a mapping, or an attrs or dataclass instance.
        prechange: the object before the change, in the same forms; None when it did not exist.
        postchange: the object after the change; None when it no longer exists.
        username: who made the change.
        request_id: correlates the changes of one request of the host.
        timestamp: when it happened: an aware datetime, or ISO 8601 text.

    Raises:
        ConfigurationError: some argument has the wrong type; every fault is listed.
    """

    event: str
    model: str
    data: Any
    prechange: Any = None
    postchange: Any = None
    username: str | None = None
    request_id: str | None = attrs.field(default=None, converter=_text_id)
    timestamp: datetime.datetime | None = attrs.field(default=None, converter=_moment)

    def __attrs_post_init__(self) -> None:
        if (
            self.event.__class__ is str
            and self.model.__class__ is str
            and self.data.__class__ is dict
            and (self.username is None or self.username.__class__ is str)
            and (self.request_id is None or self.request_id.__class__ is str)
            and (self.prechange is None or self.prechange.__class__ is dict)
            and (self.postchange is None or self.postchange.__class__ is dict)
            and self.event
            and self.model
        ):
            return
        faults = self._faults()
        if faults:
            raise ConfigurationError(*faults)

    def _faults(self) -> list[Fault]:
        faults = [*_name_faults("event", self.event), *_name_faults("model", self.model)]
        faults += _object_faults("data", self.data)
        for field in ("prechange", "postchange"):
            snapshot = getattr(self, field)
            if snapshot is not None:
                faults += _object_faults(field, snapshot)
        for field in ("username", "request_id"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):
                faults.append(Fault(f"/{field}", f"expected text, found {type(value).__name__}"))
        return faults

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Change:
        """Return the change that a JSON object in the form of the default body describes.

        What context providers added there, under ``context``, is not part of the change.

        Raises:
            ConfigurationError: a key is unknown or missing, or a value is of the wrong type.
        """
        if not isinstance(document, Mapping):
            raise ConfigurationError("a change is a JSON object with event, model and data")
        values = {key: value for key, value in document.items() if key != "context"}
        snapshots = values.pop("snapshots", None) or {}
        faults = _snapshots_faults(snapshots)
        values.update({} if faults else snapshots)
        known = {field.name for field in attrs.fields(cls)}
        faults += [
            Fault(
                pointer_to(str(key)[:SHOWN_NAME]),
                f"unknown; a change has {', '.join(sorted(known))} and snapshots",
            )
            for key in values
            if key not in known
        ]
        faults += [
            Fault(f"/{key}", "required") for key in ("event", "model", "data") if key not in values
        ]
        if faults:
            raise ConfigurationError(*faults)
        return cls(**values)


_SNAPSHOTS = "unknown; write prechange or postchange"


def _snapshots_faults(snapshots: object) -> list[Fault]:
    if not isinstance(snapshots, Mapping):
        return [Fault("/snapshots", "expected an object with prechange and postchange")]
    return [
        Fault("/snapshots" + pointer_to(str(key)[:SHOWN_NAME]), _SNAPSHOTS)
        for key in snapshots
        if key not in ("prechange", "postchange")
    ]
