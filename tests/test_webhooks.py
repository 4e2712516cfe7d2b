"""The definition."""

import datetime
import json
import types
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changehook import Conditions, ConfigurationError, RetryPolicy, Secret, Webhook, generate_secret

MINIMAL = {
    "name": "w",
    "object_types": ["site"],
    "events": ["created"],
    "url": "https://receiver.example/hook",
}
FULL = {
    **MINIMAL,
    "http_method": "PUT",
    "http_content_type": "application/json; charset=utf-8",
    "additional_headers": {"X-Site": "{{ data.name }}", "Authorization": "Bearer SECRET"},
    "body_template": '{"text": "{{ data.name }}"}',
    "conditions": {"and": [{"attr": "status.value", "value": "active"}]},
    "secret": ["SECRET-new", "env:OLD_SECRET"],
    "signatures": ["x-hook-signature", "x-hub-signature-256"],
    "ssl_verification": True,
    "ca_file_path": "/etc/ca.pem",
    "timeout": 3.5,
    "retry": {"schedule": [0, 1, 2], "jitter": 0.0, "max_retry_after": 60, "max_age": 9},
    "enabled": False,
    "description": "for the tests",
    "labels": {"team": "net"},
}


def faults(**changes):
    """Return the faults of the minimal definition with these changes."""
    with pytest.raises(ConfigurationError) as caught:
        Webhook.from_dict({**MINIMAL, **changes})
    return [str(fault) for fault in caught.value.faults]


def test_a_definition_round_trips():
    """What ``to_dict`` reveals, ``from_dict`` reads back, also through JSON."""
    for document in (MINIMAL, FULL):
        webhook = Webhook.from_dict(document)
        shown = webhook.to_dict(reveal=True)
        assert {key: shown[key] for key in document} == document
        assert Webhook.from_dict(json.loads(json.dumps(shown))) == webhook
        assert hash(Webhook.from_dict(shown)) == hash(webhook)


def test_a_definition_hides_its_secrets():
    """Neither repr nor the plain document shows a secret, a path or a header value."""
    webhook = Webhook.from_dict({**FULL, "url": "https://hooks.example/services/SECRET"})
    shown = webhook.to_dict()
    assert "SECRET" not in repr(webhook) + json.dumps({**shown, "secret": None})
    assert shown["secret"] == ["***", "env:OLD_SECRET"]
    assert shown["url"] == "https://hooks.example/***"
    assert shown["additional_headers"] == {"X-Site": "***", "Authorization": "***"}
    assert shown["body_template"] == "***"
    for url in (
        "{{ data.url | safe }}",
        "https://{{ 'SECRET' }}.h/",
        "{% set t='S' %}https://h/{{t}}",
    ):
        assert Webhook.from_dict({**MINIMAL, "url": url}).to_dict()["url"] == "***"
    assert "is redacted" in faults(secret="***")[0]


def test_python_types_are_taken():
    """Sets, a timedelta, a path, a policy, compiled conditions, callables."""
    webhook = Webhook(
        name="w",
        object_types={"site"},
        events=("created",),
        url="https://receiver.example/",
        timeout=datetime.timedelta(seconds=2),
        ca_file_path=Path("/etc/ca.pem"),
        retry=RetryPolicy(schedule=[0, 1]),
        conditions=Conditions({"attr": "a", "value": 1}),
        secret=lambda: "from a vault",
    )
    assert (webhook.timeout, webhook.ca_file_path) == (2.0, "/etc/ca.pem")
    assert webhook.conditions == {"attr": "a", "value": 1}
    assert webhook.secret[0].reveal() == "from a vault"
    assert webhook.to_dict(reveal=True)["secret"] == "from a vault"
    assert Webhook(**{**MINIMAL, "secret": Secret("x")}).secret == (Secret("x"),)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "", "/name: expected 1 to 200 characters"),
        ("name", 5, "/name: expected 1 to 200 characters"),
        ("name", "a\nb", "/name: expected 1 to 200 characters"),
        ("object_types", "site", '/object_types: expected a list of names such as ["dcim.site"]'),
        ("object_types", [], "/object_types: name at least one"),
        ("object_types", ["a", 1], "/object_types: expected a list of names"),
        ("object_types", 7, "/object_types: expected a list of names"),
        ("events", [str(n) for n in range(257)], "/events: more than 256 names"),
        ("events", iter(str(n) for n in range(300)), "/events: more than 256 names"),
        ("events", (1 // 0 for _ in "a"), "/events: expected a list of names"),
        ("events", ["a\x85b"], "/events: a name has up to 200 characters"),
        ("secret", ["s"] * 17, "/secret: more than 16 secrets"),
        ("description", "\ud800", "/description: holds a lone surrogate"),
        ("url", "https://receiver.example/***", "/url: is redacted"),
        ("body_template", "***", "/body_template: is redacted"),
        ("additional_headers", "X-A: ***", "/additional_headers/X-A: is redacted"),
        ("events", {"created": 1}, '/events: expected a list of names such as ["created"]'),
        ("events", ["created", ""], "/events: name at least one"),
        ("url", "ftp://x/", "/url: "),
        ("url", "{{ data.x", "/url: "),
        (
            "url",
            "https://receiver.example:99999/",
            "/url: the port is not valid; write a number from 1 to 65535",
        ),
        ("url", 5, "/url: "),
        ("http_method", "post", '/http_method: unknown method; did you mean "POST"?'),
        ("http_method", "BREW", "/http_method: unknown method; one of GET, POST"),
        ("http_method", None, "/http_method: unknown method; one of GET, POST"),
        ("http_content_type", "json", "/http_content_type: expected a media type"),
        ("http_content_type", "text/plain\r\nX: y", "/http_content_type: expected a media type"),
        ("http_content_type", 5, "/http_content_type: expected a media type"),
        ("additional_headers", {"Host": "x"}, "/additional_headers/Host: "),
        ("body_template", "{% include 'x' %}", "/body_template: "),
        ("body_template", 5, "/body_template: "),
        ("conditions", {"and": [{"attr": "a", "op": "equals"}]}, "/conditions/and/0/op: "),
        ("conditions", {}, "/conditions"),
        ("secret", "", "/secret: "),
        ("secret", [], "/secret: is an empty list; leave it out"),
        ("secret", ["good", 5], "/secret/1: expected text, env:NAME or a callable, found int"),
        ("secret", b"x", "/secret: expected text, env:NAME or a callable, found bytes"),
        ("secret", 5, "/secret: expected text, env:NAME or a callable, found int"),
        ("signatures", ["x-hook-signature"], "/signatures: a signature needs a secret"),
        ("ssl_verification", "yes", "/ssl_verification: expected true or false, found str"),
        ("ca_file_path", "", "/ca_file_path: expected the path of a file"),
        ("ca_file_path", 5, "/ca_file_path: expected the path of a file"),
        ("timeout", 0, "/timeout: expected seconds, more than 0 and at most 300"),
        ("timeout", True, "/timeout: expected seconds"),
        ("timeout", "5", "/timeout: expected seconds"),
        ("timeout", float("nan"), "/timeout: expected seconds"),
        ("retry", {"schedule": []}, "/retry/schedule: "),
        ("retry", 5, "/retry: "),
        ("enabled", 1, "/enabled: expected true or false, found int"),
        ("description", None, "/description: expected text, found NoneType"),
        ("labels", {"a": 1}, "/labels: expected an object of text to text"),
        ("labels", [], "/labels: expected an object of text to text"),
        ("objet_types", [], '/objet_types: unknown field; did you mean "object_types"?'),
        ("zzz/~", 1, "/zzz~1~0: unknown field; the fields are name, object_types"),
    ],
)
def test_each_fault_is_named_with_its_place(field, value, expected):
    """A JSON pointer, what was wrong, what to write."""
    assert any(fault.startswith(expected) for fault in faults(**{field: value}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"signatures": "x-hook-signature", "secret": "s"}, "/signatures: expected a list"),
        ({"signatures": ["sha1"], "secret": "s"}, "/signatures/0: unknown scheme; the schemes are"),
        (
            {"signatures": ["standard-webhooks"], "secret": "s"},
            "/signatures: standard-webhooks needs",
        ),
        ({"ca_file_path": "x", "ssl_verification": False}, "/ca_file_path: has no effect with"),
        ({"signatures": [], "secret": "s"}, "/signatures: is empty; leave it out"),
        ({"signatures": 5, "secret": "s"}, "/signatures: expected a list"),
        ({"signatures": ["x-hook-signature"] * 4, "secret": "s"}, "/signatures: names a scheme tw"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, expected):
    """Both are named."""
    assert faults(**changes)[0].startswith(expected)


def test_a_secret_that_is_looked_up_later_is_judged_later():
    """No secret is read when a definition is built."""
    for secret in ("env:NOT_SET_ANYWHERE", generate_secret()):
        webhook = Webhook.from_dict(
            {**MINIMAL, "secret": secret, "signatures": ["standard-webhooks"]}
        )
        assert webhook.signatures == ("standard-webhooks",)


def test_all_faults_are_reported_at_once():
    """Also what is missing, and what is unknown."""
    with pytest.raises(ConfigurationError) as caught:
        Webhook.from_dict({"nmae": "x", "url": "", "events": [], "timeout": -1})
    pointers = {fault.pointer for fault in caught.value.faults}
    assert pointers == {"/nmae", "/name", "/object_types", "/url", "/events", "/timeout"}


def test_other_mappings_are_objects_too():
    """And what they hold is copied."""
    assert Webhook.from_dict(types.MappingProxyType(MINIMAL)) == Webhook.from_dict(MINIMAL)


def test_what_is_no_object_is_refused():
    """A list of webhooks is not a webhook."""
    with pytest.raises(ConfigurationError, match="a webhook is an object"):
        Webhook.from_dict([MINIMAL])


SCHEMA = jsonschema.Draft202012Validator(Webhook.json_schema())
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 400)
    | st.text(max_size=8)
    | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def valid_or_not(good):
    """Return a strategy that is often good."""
    return st.sampled_from(good) | anything


documents = st.fixed_dictionaries(
    {
        "name": valid_or_not(["w"]),
        "object_types": valid_or_not([["a"], ["dcim.*", "b"]]),
        "events": valid_or_not([["created"]]),
        "url": valid_or_not(["https://receiver.example/", "https://receiver.example/{{ data.a }}"]),
    },
    optional={
        "http_method": valid_or_not(["GET"]),
        "http_content_type": valid_or_not(["text/plain"]),
        "additional_headers": valid_or_not(["X-A: b", {"X-A": "b"}]),
        "body_template": valid_or_not(["x"]),
        "conditions": valid_or_not([{"or": [{"attr": "a", "op": "changed"}]}]),
        "secret": valid_or_not(["s", ["s", "env:B"]]),
        "signatures": valid_or_not([["x-hook-signature"]]),
        "ssl_verification": valid_or_not([False]),
        "ca_file_path": valid_or_not(["/x"]),
        "timeout": valid_or_not([1, 2.5]),
        "retry": valid_or_not([{"schedule": [0, 5]}]),
        "enabled": valid_or_not([False]),
        "description": valid_or_not(["d"]),
        "labels": valid_or_not([{"a": "b"}]),
    },
)


@given(documents)
def test_what_the_validator_accepts_the_schema_accepts(document):
    """An editor that knows the schema never marks a definition that works."""
    try:
        Webhook.from_dict(document)
    except ConfigurationError:
        return
    SCHEMA.validate(document)


def test_the_schema_knows_every_field_and_accepts_the_full_definition():
    """No field was forgotten."""
    SCHEMA.validate(FULL)
    SCHEMA.validate(MINIMAL)
    SCHEMA.validate(Webhook.from_dict(FULL).to_dict(reveal=True))
    fields = set(Webhook.from_dict(MINIMAL).to_dict())
    assert set(Webhook.json_schema()["properties"]) == fields
    assert not SCHEMA.is_valid({**MINIMAL, "nmae": "x"})
