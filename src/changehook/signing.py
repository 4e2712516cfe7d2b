"""Sign a body and verify a signature: three schemes, and several secrets while they are rotated."""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets as randomness
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn, cast

from changehook.errors import (
    ChangehookError,
    ConfigurationError,
    SetupError,
    VerificationError,
    hides_locals,
)

__all__ = ["SCHEMES", "Secret", "default_scheme", "generate_secret", "sign", "verify"]

HOOK = "x-hook-signature"
STANDARD = "standard-webhooks"
HUB = "x-hub-signature-256"
SCHEMES = (HOOK, STANDARD, HUB)

_HEADERS = {HOOK: "X-Hook-Signature", STANDARD: "webhook-signature", HUB: "X-Hub-Signature-256"}
_RELEVANT = {"webhook-id", "webhook-timestamp", *map(str.lower, _HEADERS.values())}
_PREFIX = "whsec_"
_ENVIRONMENT = "env:"
_HOW_TO_MAKE_ONE = "changehook.generate_secret() makes one"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ID = re.compile(rb"[^.]+")
_SECONDS = re.compile(rb"[0-9]{1,12}")
MOST_SIGNATURES = 64


class Secret:
    """A signing secret that does not show itself: ``repr`` hides it, and it cannot be pickled.

    Args:
        value: the text; ``env:NAME`` to read an environment variable, or a callable to call, each
            time the secret is used; or another ``Secret``.

    Raises:
        ConfigurationError: the value cannot be a secret.
    """

    __slots__ = ("_source",)
    _source: str | Callable[[], str]

    @hides_locals
    def __init__(self, value: str | Callable[[], str] | Secret) -> None:
        source = value._source if isinstance(value, Secret) else value
        fault = _source_fault(source)
        if fault:
            raise ConfigurationError(fault)
        self._source = source

    @property
    def reference(self) -> str | None:
        """``env:NAME`` when the secret is kept in the environment, else None."""
        if isinstance(self._source, str) and self._source.startswith(_ENVIRONMENT):
            return self._source
        return None

    @property
    def is_literal(self) -> bool:
        """True when the secret itself was given, and nothing has to be looked up."""
        return isinstance(self._source, str) and self.reference is None

    @hides_locals
    def reveal(self) -> str:
        """Return the secret itself.

        Raises:
            SetupError: the environment variable is missing, the callable failed, or what they gave
                cannot be a secret.
        """
        if self.reference:
            return _from_environment(self.reference.removeprefix(_ENVIRONMENT))
        if isinstance(self._source, str):
            return self._source
        return _from_callable(self)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return self._source == other._source if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._source)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied; keep env:NAME and pass that on")


Secrets = str | Secret | Sequence[str | Secret]


def default_scheme(secret: str) -> str:
    """Return the scheme that a secret asks for: ``whsec_`` for Standard Webhooks, else ours."""
    return STANDARD if secret.startswith(_PREFIX) else HOOK


def generate_secret() -> str:
    """Return a new secret for Standard Webhooks: ``whsec_`` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(randomness.token_bytes(32)).decode("ascii")


@hides_locals
def sign(
    body: bytes,
    *,
    delivery_id: str,
    timestamp: int,
    secrets: Secrets,
    schemes: Sequence[str] | None = None,
) -> dict[str, str]:
    """Return the signature headers of one request.

    ``X-Hook-Signature`` is the HMAC-SHA512 of the body in hex, ``X-Hub-Signature-256`` is
    ``sha256=`` and the HMAC-SHA256 of the body in hex: both with the newest secret.
    ``webhook-signature`` has one ``v1,…`` for every ``whsec_`` secret (Standard Webhooks 1.0); the
    request must carry the same id and timestamp as ``webhook-id`` and ``webhook-timestamp``.

    Args:
        body: the exact bytes that are sent.
        delivery_id: without a dot, because dots separate the parts of what is signed.
        timestamp: Unix time of this attempt, in whole seconds.
        secrets: each a ``Secret`` or its text, newest first.
        schemes: out of ``SCHEMES``; None for the one that the newest secret asks for.

    Raises:
        SetupError: a secret or a scheme cannot be used.
        TypeError: the body is not bytes, or the timestamp not a whole number.
    """
    _require_bytes(body)
    keys = _keys(secrets, SetupError)
    wanted = _known(schemes, SetupError)
    if wanted is None:
        wanted = (STANDARD if _is_standard(keys[0]) else HOOK,)
    headers = {}
    for scheme in wanted:
        if scheme == STANDARD:
            value = _signatures(_content(delivery_id, timestamp, body), keys)
        else:
            value = _SINGLE[scheme](body, keys[0])
        headers[_HEADERS[scheme]] = value
    return headers


@hides_locals
def verify(
    body: bytes,
    headers: Mapping[str, str],
    secrets: Secrets,
    *,
    tolerance: float = 300.0,
    now: float | None = None,
    schemes: Sequence[str] | None = None,
) -> None:
    """Return when one of the secrets made a signature that the request carries; raise otherwise.

    Only Standard Webhooks protects against a request that is recorded and sent again later. Where
    the sender signs in several schemes, ``schemes=["standard-webhooks"]`` insists on it.

    Args:
        body: the exact bytes that were received.
        headers: names in any case.
        secrets: a ``Secret`` or its text, or several; ``Secret("env:NAME")`` for one that the
            environment keeps.
        tolerance: how many seconds ``webhook-timestamp`` may be off.
        now: Unix time in seconds; None for the system's clock.
        schemes: the ones to accept, out of ``SCHEMES``; None for all.

    Raises:
        VerificationError: a signature, or what belongs to it, is missing or wrong, or stands twice.
        ConfigurationError: a secret or a scheme cannot be used.
        TypeError: the body is not bytes, the headers are no mapping of text, or ``tolerance`` or
            ``now`` is no number.
    """
    _require_bytes(body)
    keys = _keys(secrets, ConfigurationError)
    wanted = _known(schemes, ConfigurationError) or SCHEMES
    moment = time.time() if now is None else now
    if not (isinstance(tolerance, int | float) and isinstance(moment, int | float)):
        raise TypeError("tolerance and now are seconds")
    received = _received(headers)
    found = [scheme for scheme in wanted if _HEADERS[scheme].lower() in received]
    if not found:
        raise VerificationError(f"not signed: there is no header {_names(wanted)}")
    if STANDARD in found:
        _check_moment(received, tolerance, moment)
    if not any(_made_by(scheme, keys, body, received) for scheme in found):
        raise VerificationError(_mismatch(found, keys))


def _source_fault(source: object) -> str | None:
    if callable(source):
        return None
    if isinstance(source, str) and source.startswith(_ENVIRONMENT):
        if _VARIABLE.fullmatch(source, len(_ENVIRONMENT)):
            return None
        return "a secret that starts with env: names an environment variable, as in env:HOOK_SECRET"
    return _secret_fault(source)


def _secret_fault(secret: object) -> str | None:
    if not isinstance(secret, str):
        found = type(secret).__name__
        return f"a secret is text, env:NAME or a callable that returns text, not {found}"
    if not secret:
        return "a secret must not be empty"
    if secret.startswith(_ENVIRONMENT):
        return 'env:NAME refers to a secret and is none itself; write Secret("env:NAME")'
    if not _is_encodable(secret):
        return "a secret must be text, and this one holds a lone surrogate"
    return _key_fault(secret) if secret.startswith(_PREFIX) else None


def _key_fault(secret: str) -> str | None:
    try:
        size = len(_key(secret))
    except ValueError:
        return f"a secret that starts with whsec_ goes on in base64; {_HOW_TO_MAKE_ONE}"
    if not 24 <= size <= 64:
        return f"a secret that starts with whsec_ holds 24 to 64 bytes; {_HOW_TO_MAKE_ONE}"
    return None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _key(secret: str) -> bytes:
    text = secret.removeprefix(_PREFIX)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


# What follows raises in frames that hold no secret: error trackers collect the variables of frames.
def _from_environment(name: str) -> str:
    if name not in os.environ:
        raise SetupError(f"the environment variable {name}, which holds the secret, is not set")
    fault = _secret_fault(os.environ[name])
    if fault:
        raise SetupError(f"the environment variable {name} gave no secret: {fault}")
    return os.environ[name]


def _from_callable(secret: Secret) -> str:
    try:
        value = cast("Callable[[], str]", secret._source)()
    except Exception as error:
        fault = f"raised {type(error).__name__}"
    else:
        reason = _secret_fault(value)
        if reason is None:
            return value
        del value
        fault = f"gave none: {reason}"
    # Outside the handler: else the error, whose text may hold the secret, hangs on as the context.
    raise SetupError(f"the callable that gives the secret {fault}")


def _require_bytes(body: object) -> None:
    if not isinstance(body, bytes):
        raise TypeError(
            f"body must be bytes, exactly as they travel, not {type(body).__name__}; "
            "take the raw body of the request, before anything decodes it"
        )


def _keys(secrets: Secrets, error: type[ChangehookError]) -> list[Secret]:
    if isinstance(secrets, Mapping) or not isinstance(secrets, str | Secret | Iterable):
        found = type(secrets).__name__
        raise error(f"expected a Secret or its text, or a list of these, found {found}")
    given = [secrets] if isinstance(secrets, str | Secret) else list(secrets)
    if not given:
        raise error("there is no secret; give at least one")
    for one in given:
        fault = None if isinstance(one, Secret) else _secret_fault(one)
        if fault:
            raise error(fault)
    return [Secret(one) for one in given]


def _is_standard(key: Secret) -> bool:
    return default_scheme(key.reveal()) == STANDARD


def _known(schemes: Sequence[str] | None, error: type[ChangehookError]) -> Sequence[str] | None:
    if schemes is None:
        return None
    is_list = isinstance(schemes, Iterable) and not isinstance(schemes, str)
    names = tuple(schemes) if is_list else ()
    if not names or any(name not in SCHEMES for name in names):
        raise error(f"schemes must be a list of names out of {', '.join(SCHEMES)}")
    return names


def _content(delivery_id: str, timestamp: int, body: bytes) -> bytes:
    if type(timestamp) is not int:
        raise TypeError(f"timestamp must be whole seconds, not {type(timestamp).__name__}")
    is_ascii = isinstance(delivery_id, str) and delivery_id.isascii()
    if not (is_ascii and _ID.fullmatch(delivery_id.encode())):
        raise SetupError("a delivery id that is signed must be text without a dot")
    return f"{delivery_id}.{timestamp}.".encode() + body


def _signatures(content: bytes, keys: Sequence[Secret]) -> str:
    if not _is_standard(keys[0]):
        raise SetupError(
            f"{STANDARD} needs a newest secret that starts with whsec_; {_HOW_TO_MAKE_ONE}"
        )
    return " ".join(_standard(content, key) for key in keys if _is_standard(key))


def _standard(content: bytes, key: Secret) -> str:
    digest = hmac.digest(_key(key.reveal()), content, "sha256")
    return "v1," + base64.b64encode(digest).decode("ascii")


def _hook(body: bytes, key: Secret) -> str:
    return hmac.digest(key.reveal().encode(), body, "sha512").hex()


def _hub(body: bytes, key: Secret) -> str:
    return "sha256=" + hmac.digest(key.reveal().encode(), body, "sha256").hex()


_SINGLE: Mapping[str, Callable[[bytes, Secret], str]] = {HOOK: _hook, HUB: _hub}


def _received(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Return the headers that matter; one that stands twice could be read in two ways."""
    received: dict[str, bytes] = {}
    if not hasattr(headers, "items"):
        raise TypeError(f"headers are a mapping of name to value, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("headers are text; decode their names and values as latin-1")
        lower = name.lower()
        if lower in received:
            raise VerificationError(f"{lower} stands twice")
        if lower in _RELEVANT:
            received[lower] = value.encode(errors="replace")
    return received


def _check_moment(received: Mapping[str, bytes], tolerance: float, now: float) -> None:
    for name in ("webhook-id", "webhook-timestamp"):
        if not received.get(name):
            raise VerificationError(f"{name} is missing; webhook-signature covers it")
    if not _ID.fullmatch(received["webhook-id"]):
        raise VerificationError("webhook-id must not hold a dot")
    if not _SECONDS.fullmatch(received["webhook-timestamp"]):
        raise VerificationError("webhook-timestamp is not a whole number of seconds")
    age = now - int(received["webhook-timestamp"])
    if not abs(age) <= tolerance:
        when = "old" if age > 0 else "far ahead"
        raise VerificationError(
            f"webhook-timestamp is too {when}: more than {tolerance:g} seconds from this clock"
        )


def _made_by(
    scheme: str, keys: Sequence[Secret], body: bytes, received: Mapping[str, bytes]
) -> bool:
    value = received[_HEADERS[scheme].lower()]
    if scheme != STANDARD:
        return any(_same(_SINGLE[scheme](body, key), value) for key in keys)
    content = b".".join([received["webhook-id"], received["webhook-timestamp"], body])
    expected = [_standard(content, key) for key in keys if _is_standard(key)]
    items = value.split(b" ", MOST_SIGNATURES)[:MOST_SIGNATURES]
    return any(_same(one, item) for one in expected for item in items)


def _same(expected: str, value: bytes) -> bool:
    return hmac.compare_digest(expected.encode(), value)


def _mismatch(found: Sequence[str], keys: Sequence[Secret]) -> str:
    if found == [STANDARD] and not any(map(_is_standard, keys)):
        return "webhook-signature can only be checked with a secret that starts with whsec_"
    return (
        f"{_names(found)} was made with another secret, or over other bytes: "
        "verify the raw body, before anything decodes it"
    )


def _names(schemes: Sequence[str]) -> str:
    return " or ".join(_HEADERS[scheme] for scheme in schemes)
