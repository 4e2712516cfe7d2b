"""What the fields of a webhook's definition may hold: conversions, and checks with their faults."""

from __future__ import annotations

import datetime
import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from changehook.errors import Fault
from changehook.exchange import METHODS
from changehook.signing import SCHEMES, Secret

__all__ = [
    "CHECKS",
    "LONGEST_TIMEOUT",
    "MOST_NAMES",
    "SecretLike",
    "to_names",
    "to_path",
    "to_schemes",
    "to_seconds",
    "to_secrets",
]

LONGEST_TIMEOUT = 300.0
LONGEST_CONTENT_TYPE = 200
MOST_NAMES = 256
MOST_SECRETS = 16

SecretLike = str | Secret | Callable[[], str]

_T = TypeVar("_T")
_TOKEN = r"[!#$%&'*+.^_`|~A-Za-z0-9-]+"
_PARAMETER = rf'[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"[\t\x20\x21\x23-\x5b\x5d-\x7e]*")'
_CONTENT_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:{_PARAMETER})*")
_CHARSET = re.compile(r';[ \t]*charset=(?!"?(?:utf-8|us-ascii)(?:[";\s]|$))', re.IGNORECASE)
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def to_names(value: Iterable[str]) -> frozenset[str]:
    """Return a set; what is no collection of text is left for the check to report."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return cast("frozenset[str]", value)
    items = _first(value, MOST_NAMES)
    if (
        isinstance(items, list)
        and len(items) <= MOST_NAMES
        and all(isinstance(item, str) for item in items)
    ):
        return frozenset(map(str.__str__, items))
    return cast("frozenset[str]", items)


def _first(value: Iterable[_T], most: int) -> Iterable[_T]:
    """Return a list with one too many at most; what cannot be read is left for the check."""
    try:
        return list(itertools.islice(value, most + 1))
    except Exception:
        return value


def to_seconds(value: float | datetime.timedelta | None) -> float | None:
    return value.total_seconds() if isinstance(value, datetime.timedelta) else value


def to_secrets(value: SecretLike | Iterable[SecretLike] | None) -> tuple[Secret, ...]:
    """Return a tuple; an empty list, which would sign nothing, is left for the check to report."""
    if value is None:
        return ()
    single = isinstance(value, str | bytes | Secret | Mapping) or callable(value)
    if single or not isinstance(value, Iterable):
        value = (cast("Secret", value),)
    items = _first(value, MOST_SECRETS)
    return cast("tuple[Secret, ...]", tuple(items) if isinstance(items, list) and items else value)


def to_schemes(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        return cast("tuple[str, ...] | None", value)
    items = _first(value, len(SCHEMES))
    return tuple(items) if isinstance(items, list) else cast("tuple[str, ...]", items)


def to_path(value: str | os.PathLike[str] | None) -> str | None:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _kind_check(
    field: str, expected: str, types: type | tuple[type, ...]
) -> Callable[[Any], list[Fault]]:
    def check(webhook: Any) -> list[Fault]:
        value = getattr(webhook, field)
        if isinstance(value, types):
            return []
        return [Fault(f"/{field}", f"expected {expected}, found {type(value).__name__}")]

    return check


def _check_name(webhook: Any) -> list[Fault]:
    if isinstance(webhook.name, str) and _NAME.fullmatch(webhook.name):
        return []
    return [Fault("/name", "expected 1 to 200 characters of text without control characters")]


def _check_names(webhook: Any) -> list[Fault]:
    faults = []
    for field, example in (("object_types", "dcim.site"), ("events", "created")):
        value = getattr(webhook, field)
        if isinstance(value, list) and len(value) > MOST_NAMES:
            faults.append(Fault(f"/{field}", f"more than {MOST_NAMES} names; a glob names many"))
        elif not isinstance(value, frozenset):
            faults.append(Fault(f"/{field}", f'expected a list of names such as ["{example}"]'))
        elif not value or "" in value:
            faults.append(
                Fault(f"/{field}", f'name at least one, such as ["{example}"], none empty')
            )
        elif not all(map(_NAME.fullmatch, value)):
            message = "a name has up to 200 characters and none that is a control character"
            faults.append(Fault(f"/{field}", message))
    return faults


def _check_method(webhook: Any) -> list[Fault]:
    method = webhook.http_method
    if isinstance(method, str) and method in METHODS:
        return []
    near = isinstance(method, str) and method.upper() in METHODS
    hint = f'did you mean "{method.upper()}"?' if near else f"one of {', '.join(METHODS)}"
    return [Fault("/http_method", f"unknown method; {hint}")]


def _check_content_type(webhook: Any) -> list[Fault]:
    value = webhook.http_content_type
    if (
        isinstance(value, str)
        and len(value) <= LONGEST_CONTENT_TYPE
        and _CONTENT_TYPE.fullmatch(value)
    ):
        if _CHARSET.search(value):
            return [Fault("/http_content_type", "a body is UTF-8; leave out charset")]
        return []
    return [Fault("/http_content_type", "expected a media type such as application/json")]


def _check_secret(webhook: Any) -> list[Fault]:
    if isinstance(webhook.secret, tuple):
        many = len(webhook.secret) > MOST_SECRETS
        return [Fault("/secret", f"more than {MOST_SECRETS} secrets")] if many else []
    return [Fault("/secret", "is an empty list; leave it out, or name at least one secret")]


def _check_signatures(webhook: Any) -> list[Fault]:
    schemes = webhook.signatures
    if schemes is None:
        return []
    if not isinstance(schemes, tuple):
        return [Fault("/signatures", f'expected a list such as ["{SCHEMES[0]}"]')]
    if not schemes:
        return [Fault("/signatures", "is empty; leave it out, or name at least one scheme")]
    if len(schemes) > len(SCHEMES):
        return [Fault("/signatures", "names a scheme twice; name each once")]
    if not webhook.secret:
        return [Fault("/signatures", "a signature needs a secret; set secret")]
    return [
        Fault(f"/signatures/{index}", f"unknown scheme; the schemes are {', '.join(SCHEMES)}")
        for index, scheme in enumerate(schemes)
        if scheme not in SCHEMES
    ]


def _check_ca_file(webhook: Any) -> list[Fault]:
    path = webhook.ca_file_path
    if path is None:
        return []
    if not isinstance(path, str) or not path:
        return [Fault("/ca_file_path", "expected the path of a file")]
    if webhook.ssl_verification is False:
        return [
            Fault("/ca_file_path", "has no effect with ssl_verification off; remove one of them")
        ]
    return []


def _check_timeout(webhook: Any) -> list[Fault]:
    value = webhook.timeout
    if value is None:
        return []
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 < value <= LONGEST_TIMEOUT
    ):
        return []
    return [Fault("/timeout", f"expected seconds, more than 0 and at most {LONGEST_TIMEOUT:.0f}")]


def _check_description(webhook: Any) -> list[Fault]:
    text = webhook.description
    if isinstance(text, str) and _SURROGATE.search(text):
        return [Fault("/description", "holds a lone surrogate, which is not text")]
    return []


def _check_labels(webhook: Any) -> list[Fault]:
    labels = webhook.labels
    if isinstance(labels, Mapping):
        items = [*labels.keys(), *labels.values()]
        if all(isinstance(item, str) and not _SURROGATE.search(item) for item in items):
            return []
    return [Fault("/labels", "expected an object of text to text")]


CHECKS: tuple[Callable[[Any], list[Fault]], ...] = (
    _check_name,
    _check_names,
    _check_method,
    _check_content_type,
    _check_secret,
    _check_signatures,
    _kind_check("ssl_verification", "true or false", bool),
    _check_ca_file,
    _check_timeout,
    _kind_check("enabled", "true or false", bool),
    _kind_check("description", "text", str),
    _check_description,
    _check_labels,
)
