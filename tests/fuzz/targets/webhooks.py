"""The document of a webhook, as a host or a file gives it."""

from __future__ import annotations

import json
from typing import Any

import attrs
import jsonschema
from fuzz.harness import attempt, check_faults, is_text

from changehook.encoding import decode_strict
from changehook.errors import ConfigurationError
from changehook.exchange import METHODS
from changehook.signing import SCHEMES
from changehook.webhooks import Webhook

CANARY = "c4n4ry-0123456789"
"""A secret of the seeds."""

INPUTS = 40_000
WORDS = (
    *(field.name for field in attrs.fields(Webhook) if field.init),
    *METHODS,
    *SCHEMES,
    *("schedule", "jitter", "max_retry_after", "and", "or", "attr", "value", "op", "negate"),
    *("application/json", "text/plain; charset=utf-8", "env:HOOK_SECRET", "env:", "***", "*", "[a"),
    *(
        f"whsec_{CANARY}",
        CANARY,
        "{{ data.name }}",
        "{{ data.url | safe }}",
        "X-Name: {{ data.x }}",
    ),
    *("https://hooks.example.com/in", "http://[::1]:8080/", "http://user:pw@a.example/"),
)
SCHEMA = jsonschema.Draft202012Validator(Webhook.json_schema())


def check(data: bytes) -> None:
    """A document has faults, or it makes a webhook that writes the same document."""
    document, refusal = attempt(ValueError, decode_strict, data)
    if refusal:
        return
    hides = _is_only_secret(document)
    webhook, error = attempt(ConfigurationError, Webhook.from_dict, document)
    if error:
        check_faults(error)
        assert not (hides and CANARY in str(error)), "the error shows the secret"
        return
    assert SCHEMA.is_valid(document), "the schema is narrower than the validator"
    shown = json.dumps(webhook.to_dict(), allow_nan=False) + repr(webhook)
    assert not (hides and CANARY in shown), "the secret is shown"
    revealed = webhook.to_dict(reveal=True)
    assert Webhook.from_dict(json.loads(json.dumps(revealed, allow_nan=False))) == webhook
    assert is_text(json.dumps(revealed, ensure_ascii=False)), "a lone surrogate was let in"


def _is_only_secret(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    rest = {key: value for key, value in document.items() if key != "secret"}
    return CANARY not in json.dumps(rest)
