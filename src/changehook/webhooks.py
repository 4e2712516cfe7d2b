"""Webhook: the definition, checked and compiled when built."""

from __future__ import annotations

import datetime
import difflib
import importlib.resources
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import attrs

from changehook.conditions import Conditions
from changehook.encoding import own
from changehook.errors import ConfigurationError, Fault, hides_locals, pointer_to
from changehook.exchange import HIDDEN, redact_headers, redact_template
from changehook.network import destination
from changehook.retries import RetryPolicy
from changehook.signing import SCHEMES, Secret, default_scheme
from changehook.templates import BodyTemplate, HeaderTemplates, URLTemplate

__all__ = ["Webhook"]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LONGEST_TIMEOUT = 300.0
LONGEST_CONTENT_TYPE = 200
MOST_NAMES = 256
MOST_SECRETS = 16
STRANGE_KEYS = 8

_READING_ONLY = "such a document is for reading only; write what it hides"

SecretLike = str | Secret | Callable[[], str]

_T = TypeVar("_T")
_TOKEN = r"[!#$%&'*+.^_`|~A-Za-z0-9-]+"
_CONTENT_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}[ \t]*(?:;[\t\x20-\x7e]*)?")
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def _names(value: Iterable[str]) -> frozenset[str]:
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


def _copied(document: Mapping[str, Any]) -> dict[str, Any]:
    return dict(itertools.islice(document.items(), MOST_NAMES))


def _seconds(value: float | datetime.timedelta | None) -> float | None:
    return value.total_seconds() if isinstance(value, datetime.timedelta) else value


def _several(value: SecretLike | Iterable[SecretLike] | None) -> tuple[Secret, ...]:
    """Return a tuple; an empty list, which would sign nothing, is left for the check to report."""
    if value is None:
        return ()
    single = isinstance(value, str | bytes | Secret | Mapping) or callable(value)
    if single or not isinstance(value, Iterable):
        value = (cast("Secret", value),)
    items = _first(value, MOST_SECRETS)
    return cast("tuple[Secret, ...]", tuple(items) if isinstance(items, list) and items else value)


def _schemes(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        return cast("tuple[str, ...] | None", value)
    items = _first(value, len(SCHEMES))
    return tuple(items) if isinstance(items, list) else cast("tuple[str, ...]", items)


def _path(value: str | os.PathLike[str] | None) -> str | None:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _policy(value: RetryPolicy | Mapping[str, Any] | None) -> RetryPolicy | None:
    return cast("RetryPolicy | None", value)


def _compiled(default: Any = attrs.NOTHING) -> Any:
    return attrs.field(init=False, repr=False, eq=False, default=default)


@attrs.frozen(kw_only=True)
class Webhook:
    """A definition: which changes, which conditions, which request.

    Args:
        name: how deliveries refer to it; unique within a source.
        object_types: model names; shell-style globs such as ``dcim.*`` are allowed.
        events: event names; globs are allowed.
        url: a template; the result is an ``http`` or ``https`` URL.
        http_method: ``GET``, ``POST``, ``PUT``, ``PATCH`` or ``DELETE``.
        http_content_type: sent as ``Content-Type``; a JSON type makes the body template JSON-aware.
        additional_headers: text with one ``Name: value template`` on each line, or a mapping.
        body_template: a template; empty for the payload as JSON.
        conditions: a condition document; None for always.
        secret: text, ``env:NAME``, a callable, or several of these, newest first, while rotating.
        signatures: schemes out of ``x-hook-signature``, ``standard-webhooks`` and
            ``x-hub-signature-256``; None to tell from the secret.
        ssl_verification: whether the receiver's certificate is checked.
        ca_file_path: a file of certificate authorities to trust instead of the system's.
        timeout: seconds for one attempt, or a ``timedelta``; None for the emitter's.
        retry: a ``RetryPolicy`` or its document; None for the emitter's.
        enabled: False to stop it; its waiting deliveries are then skipped.
        description, labels: shown, never interpreted.

    Raises:
        ConfigurationError: every fault of the definition, each with its JSON pointer.
    """

    name: str
    object_types: frozenset[str] = attrs.field(converter=_names)
    events: frozenset[str] = attrs.field(converter=_names)
    url: str = attrs.field(repr=False)
    http_method: str = "POST"
    http_content_type: str = "application/json"
    additional_headers: str | Mapping[str, str] = attrs.field(default="", repr=False, hash=False)
    body_template: str = attrs.field(default="", repr=False)
    conditions: Any = attrs.field(default=None, repr=False, hash=False)
    secret: tuple[Secret, ...] = attrs.field(default=None, repr=False, converter=_several)
    signatures: tuple[str, ...] | None = attrs.field(default=None, converter=_schemes)
    ssl_verification: bool = True
    ca_file_path: str | None = attrs.field(default=None, converter=_path)
    timeout: float | None = attrs.field(default=None, converter=_seconds)
    retry: RetryPolicy | None = attrs.field(default=None, converter=_policy)
    enabled: bool = True
    description: str = attrs.field(default="", repr=False)
    labels: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)

    url_template: URLTemplate = _compiled()
    header_templates: HeaderTemplates = _compiled()
    compiled_body: BodyTemplate | None = _compiled(None)
    compiled_conditions: Conditions | None = _compiled(None)

    def __attrs_post_init__(self) -> None:
        faults = [fault for check in _CHECKS for fault in check(self)]
        parts = _parts(self, faults)
        if faults:
            raise ConfigurationError(*faults)
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    @classmethod
    @hides_locals
    def from_dict(cls, document: Mapping[str, Any]) -> Webhook:
        """Return the webhook that a document (JSON or TOML types) describes.

        Raises:
            ConfigurationError: every fault of the document, each with its JSON pointer.
        """
        if not isinstance(document, Mapping):
            found = type(document).__name__
            raise ConfigurationError(f"a webhook is an object with name, url …, found {found}")
        document = own(document) if isinstance(document, dict) else _copied(document)
        known = [field.name for field in attrs.fields(cls) if field.init]
        strange = (key for key in document if not isinstance(key, str) or key not in known)
        faults = [_unknown(key, known) for key in itertools.islice(strange, STRANGE_KEYS)]
        faults += [
            Fault(f"/{field.name}", "required")
            for field in attrs.fields(cls)
            if field.init and field.default is attrs.NOTHING and field.name not in document
        ]
        filler = {"name": "x", "object_types": ["x"], "events": ["x"], "url": "http://localhost/"}
        values = {name: document[name] for name in known if name in document}
        try:
            webhook = cls(**{**filler, **values})
        except ConfigurationError as error:
            faults += error.faults
        if faults:
            raise ConfigurationError(*faults)
        return webhook

    @hides_locals
    def to_dict(self, *, reveal: bool = False) -> dict[str, Any]:
        """Return the document of this webhook, in plain JSON types; ``from_dict`` reads it back.

        Args:
            reveal: show what may be secret too: secrets, the URL's path, header values, the body
                template. Without it these are ``***`` and the document is for reading only.

        Raises:
            SetupError: a secret that is a callable cannot be had just now.
        """
        plain = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(type(self))
            if field.init
        }
        return {
            **plain,
            "object_types": sorted(self.object_types),
            "events": sorted(self.events),
            "url": self.url if reveal else redact_template(self.url),
            "additional_headers": self._headers_document(reveal),
            "body_template": self.body_template if reveal or not self.body_template else HIDDEN,
            "secret": _secret_document(self.secret, reveal),
            "signatures": None if self.signatures is None else list(self.signatures),
            "retry": None if self.retry is None else self.retry.to_dict(),
            "labels": dict(self.labels),
        }

    def _headers_document(self, reveal: bool) -> dict[str, str]:
        headers = self.header_templates.headers
        return dict(headers) if reveal else redact_headers(headers)

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of the document that ``from_dict`` reads."""
        file = importlib.resources.files("changehook").joinpath("webhook.schema.json")
        return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))


Webhook.__init__ = hides_locals(Webhook.__init__)  # type: ignore[method-assign]  # attrs wrote it


def _parts(webhook: Webhook, faults: list[Fault]) -> dict[str, Any]:
    """Compile every part, adding what is wrong to ``faults``."""
    headers = _part(faults, "/additional_headers", HeaderTemplates, webhook.additional_headers)
    faults += _redacted_headers(headers)
    secrets = tuple(_secrets(webhook, faults))
    faults += _scheme_faults(webhook.signatures, secrets)
    parts: dict[str, Any] = {
        "url_template": _part(faults, "/url", _url, webhook.url),
        "header_templates": headers,
        "additional_headers": headers and headers.headers,
        "secret": secrets,
        "retry": _retry(webhook.retry, faults),
    }
    if webhook.body_template == HIDDEN:
        faults.append(Fault("/body_template", f"is redacted; {_READING_ONLY}"))
    elif webhook.body_template != "":
        parts["compiled_body"] = _part(
            faults, "/body_template", BodyTemplate, webhook.body_template, webhook.http_content_type
        )
    if webhook.conditions is not None:
        conditions = _part(faults, "/conditions", _conditions, webhook.conditions)
        parts["compiled_conditions"] = conditions
        parts["conditions"] = conditions and conditions.document
    return parts


def _url(source: str) -> URLTemplate:
    """Compile a URL; one without expressions is checked as a whole."""
    if isinstance(source, str) and (source == HIDDEN or source.endswith(f"/{HIDDEN}")):
        raise ConfigurationError(f"is redacted; {_READING_ONLY}")
    template = URLTemplate(source)
    if "{" not in source:
        try:
            destination(template.render({}).url)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
    return template


def _redacted_headers(headers: HeaderTemplates | None) -> Iterable[Fault]:
    for name, source in headers.headers.items() if headers else ():
        if source == HIDDEN:
            yield Fault(f"/additional_headers/{name}", f"is redacted; {_READING_ONLY}")


def _part(faults: list[Fault], pointer: str, build: Callable[..., _T], *values: Any) -> _T | None:
    try:
        return build(*values)
    except ConfigurationError as error:
        faults += [fault.under(pointer) for fault in error.faults]
        return None


def _conditions(document: object) -> Conditions:
    return document if isinstance(document, Conditions) else Conditions(document)


def _retry(value: object, faults: list[Fault]) -> RetryPolicy | None:
    if value is None or isinstance(value, RetryPolicy):
        return value
    return _part(faults, "/retry", RetryPolicy.from_dict, value)


def _secrets(webhook: Webhook, faults: list[Fault]) -> Iterable[Secret | None]:
    for index, value in enumerate(webhook.secret):
        pointer = "/secret" if len(webhook.secret) == 1 else f"/secret/{index}"
        if value == HIDDEN:
            faults.append(Fault(pointer, "is redacted; write the secret itself, or env:NAME"))
        elif not (isinstance(value, str | Secret) or callable(value)):
            found = type(value).__name__
            faults.append(Fault(pointer, f"expected text, env:NAME or a callable, found {found}"))
        else:
            yield _part(faults, pointer, Secret, value)


def _scheme_faults(
    schemes: tuple[str, ...] | None, secrets: tuple[Secret | None, ...]
) -> list[Fault]:
    newest = next(iter(secrets), None)
    asked = isinstance(schemes, tuple) and "standard-webhooks" in schemes
    if newest is None or not newest.is_literal or not asked:
        return []
    if default_scheme(newest.reveal()) == "standard-webhooks":
        return []
    text = "standard-webhooks needs a secret that starts with whsec_; generate_secret() makes one"
    return [Fault("/signatures", text)]


def _secret_document(secrets: tuple[Secret, ...], reveal: bool) -> list[str] | str | None:
    texts = [secret.reference or (secret.reveal() if reveal else HIDDEN) for secret in secrets]
    return texts if len(texts) > 1 else next(iter(texts), None)


def _unknown(key: object, known: list[str]) -> Fault:
    text = key[:60] if isinstance(key, str) else f"({type(key).__name__})"
    near = difflib.get_close_matches(text.lower(), known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"the fields are {', '.join(known)}"
    return Fault(pointer_to(text), f"unknown field; {hint}")


def _kind_check(
    field: str, expected: str, types: type | tuple[type, ...]
) -> Callable[[Webhook], list[Fault]]:
    def check(webhook: Webhook) -> list[Fault]:
        value = getattr(webhook, field)
        if isinstance(value, types):
            return []
        return [Fault(f"/{field}", f"expected {expected}, found {type(value).__name__}")]

    return check


def _check_name(webhook: Webhook) -> list[Fault]:
    if isinstance(webhook.name, str) and _NAME.fullmatch(webhook.name):
        return []
    return [Fault("/name", "expected 1 to 200 characters of text without control characters")]


def _check_names(webhook: Webhook) -> list[Fault]:
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


def _check_method(webhook: Webhook) -> list[Fault]:
    method = webhook.http_method
    if method in METHODS:
        return []
    near = isinstance(method, str) and method.upper() in METHODS
    hint = f'did you mean "{method.upper()}"?' if near else f"one of {', '.join(METHODS)}"
    return [Fault("/http_method", f"unknown method; {hint}")]


def _check_content_type(webhook: Webhook) -> list[Fault]:
    value = webhook.http_content_type
    if (
        isinstance(value, str)
        and len(value) <= LONGEST_CONTENT_TYPE
        and _CONTENT_TYPE.fullmatch(value)
    ):
        return []
    return [Fault("/http_content_type", "expected a media type such as application/json")]


def _check_secret(webhook: Webhook) -> list[Fault]:
    if isinstance(webhook.secret, tuple):
        many = len(webhook.secret) > MOST_SECRETS
        return [Fault("/secret", f"more than {MOST_SECRETS} secrets")] if many else []
    return [Fault("/secret", "is an empty list; leave it out, or name at least one secret")]


def _check_signatures(webhook: Webhook) -> list[Fault]:
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


def _check_ca_file(webhook: Webhook) -> list[Fault]:
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


def _check_timeout(webhook: Webhook) -> list[Fault]:
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


def _check_description(webhook: Webhook) -> list[Fault]:
    text = webhook.description
    if isinstance(text, str) and _SURROGATE.search(text):
        return [Fault("/description", "holds a lone surrogate, which is not text")]
    return []


def _check_labels(webhook: Webhook) -> list[Fault]:
    labels = webhook.labels
    if isinstance(labels, Mapping):
        items = [*labels.keys(), *labels.values()]
        if all(isinstance(item, str) and not _SURROGATE.search(item) for item in items):
            return []
    return [Fault("/labels", "expected an object of text to text")]


_CHECKS: tuple[Callable[[Webhook], list[Fault]], ...] = (
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
