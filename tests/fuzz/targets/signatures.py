"""Signatures of received requests. Parts: headers as a JSON object, the body."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac

from fuzz.harness import UnfitError, attempt, document, parts

from changehook.errors import VerificationError
from changehook.signing import verify

SECRETS = ("not a very good secret", "whsec_" + base64.b64encode(bytes(range(32))).decode())
NOW = 1_700_000_000
TOLERANCE = 300

INPUTS = 400_000
WORDS = (
    *("X-Hook-Signature", "X-Hub-Signature-256", "webhook-signature", "webhook-id"),
    *("webhook-timestamp", "sha256=", "sha1=", "v1,", "v1a,", "v0,", " ", str(NOW), "msg_1"),
)


def check(data: bytes) -> None:
    """A request is accepted when, and only when, one of its signatures is right."""
    about, body = parts(data, 2)
    headers = document(about)
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise UnfitError
    received = {name.lower(): value for name, value in headers.items()}
    genuine = len(received) == len(headers) and _is_genuine(received, body)
    _, error = attempt(VerificationError, _verify, body, headers)
    if error:
        assert not genuine, f"a genuine request is refused: {error}"
        assert not any(secret in str(error) for secret in SECRETS)
    else:
        assert genuine, "a forged request is accepted"


def _verify(body: bytes, headers: dict[str, str]) -> None:
    verify(body, headers, SECRETS, tolerance=TOLERANCE, now=NOW)


def _is_genuine(headers: dict[str, str], body: bytes) -> bool:
    """Say the same by other means; a request is genuine only if its moment is right as well."""
    keys = [secret.encode() for secret in SECRETS]
    hook = {hmac.new(key, body, hashlib.sha512).hexdigest() for key in keys}
    hub = {"sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest() for key in keys}
    by_others = headers.get("x-hook-signature") in hook or headers.get("x-hub-signature-256") in hub
    if "webhook-signature" not in headers:
        return by_others
    identity, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not identity or "." in identity or not (moment.isascii() and moment.isdigit()):
        return False
    if len(moment) > 12 or abs(NOW - int(moment)) > TOLERANCE:
        return False
    with contextlib.suppress(UnicodeEncodeError):
        content = f"{identity}.{moment}.".encode() + body
        digest = hmac.new(bytes(range(32)), content, hashlib.sha256).digest()
        expected = "v1," + base64.b64encode(digest).decode()
        return by_others or expected in headers["webhook-signature"].split(" ")[:64]
    return by_others
