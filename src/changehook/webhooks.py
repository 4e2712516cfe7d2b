"""Webhook: the definition, checked and compiled when built."""

from __future__ import annotations

import difflib
import importlib.resources
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import attrs

from changehook.conditions import Conditions
from changehook.definitions import (
    CHECKS,
    MOST_NAMES,
    to_names,
    to_path,
    to_schemes,
    to_seconds,
    to_secrets,
)
from changehook.encoding import own
from changehook.errors import (
    SHOWN_NAME,
    ConfigurationError,
    Fault,
    hides_locals,
    pointer_to,
    refuses_liars,
)
from changehook.exchange import HIDDEN, redact_headers, redact_template
from changehook.network import destination
from changehook.retries import RetryPolicy
from changehook.signing import Secret, default_scheme
from changehook.templates import BodyTemplate, HeaderTemplates, URLTemplate

__all__ = ["Webhook"]

STRANGE_KEYS = 8

_READING_ONLY = "such a document is for reading only; write what it hides"

_T = TypeVar("_T")


def _copied(document: Mapping[str, Any]) -> dict[str, Any]:
    return dict(itertools.islice(document.items(), MOST_NAMES))


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
    object_types: frozenset[str] = attrs.field(converter=to_names)
    events: frozenset[str] = attrs.field(converter=to_names)
    url: str = attrs.field(repr=False)
    http_method: str = "POST"
    http_content_type: str = "application/json"
    additional_headers: str | Mapping[str, str] = attrs.field(default="", repr=False, hash=False)
    body_template: str = attrs.field(default="", repr=False)
    conditions: Any = attrs.field(default=None, repr=False, hash=False)
    secret: tuple[Secret, ...] = attrs.field(default=None, repr=False, converter=to_secrets)
    signatures: tuple[str, ...] | None = attrs.field(default=None, converter=to_schemes)
    ssl_verification: bool = True
    ca_file_path: str | None = attrs.field(default=None, converter=to_path)
    timeout: float | None = attrs.field(default=None, converter=to_seconds)
    retry: RetryPolicy | None = attrs.field(default=None, converter=_policy)
    enabled: bool = True
    description: str = attrs.field(default="", repr=False)
    labels: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)

    url_template: URLTemplate = _compiled()
    header_templates: HeaderTemplates = _compiled()
    compiled_body: BodyTemplate | None = _compiled(None)
    compiled_conditions: Conditions | None = _compiled(None)

    def __attrs_post_init__(self) -> None:
        faults = [fault for check in CHECKS for fault in check(self)]
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


Webhook.__init__ = hides_locals(refuses_liars(Webhook.__init__))  # type: ignore[method-assign]  # attrs wrote it


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
    """Compile a URL, and check it as far as it stands there literally."""
    if isinstance(source, str) and (source == HIDDEN or source.endswith(f"/{HIDDEN}")):
        raise ConfigurationError(f"is redacted; {_READING_ONLY}")
    template = URLTemplate(source)
    try:
        if template.literal is not None:
            destination(template.literal.url)
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
    text = key[:SHOWN_NAME] if isinstance(key, str) else f"({type(key).__name__})"
    near = difflib.get_close_matches(text.lower(), known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"the fields are {', '.join(known)}"
    return Fault(pointer_to(text), f"unknown field; {hint}")
