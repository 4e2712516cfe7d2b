"""Signatures: known vectors, foreign implementations in both directions, and what is refused."""

from __future__ import annotations

import base64
import copy
import datetime
import hmac
import pickle
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import standardwebhooks
import svix
from hypothesis import given
from hypothesis import strategies as st

from changehook.errors import ConfigurationError, SetupError, VerificationError
from changehook.signing import SCHEMES, Secret, default_scheme, generate_secret, sign, verify

BODY = b'{"text": "caf\xc3\xa9"}'
NOW = 1_700_000_000
PLAIN = "correct horse battery staple"
OTHER = "some other phrase"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLDER = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def signed(
    secrets: str | list[str] = WHSEC,
    *,
    body: bytes = BODY,
    timestamp: int = NOW,
    schemes: tuple[str, ...] | None = None,
) -> dict[str, str]:
    """Return the headers that a request with this body has."""
    headers = sign(body, delivery_id="msg_1", timestamp=timestamp, secrets=secrets, schemes=schemes)
    return {"webhook-id": "msg_1", "webhook-timestamp": str(timestamp), **headers}


def refusal(
    headers: dict[str, str], secrets: str | list[str] = WHSEC, *, body: bytes = BODY
) -> str:
    """Return why these headers are refused."""
    with pytest.raises(VerificationError) as caught:
        verify(body, headers, secrets, now=NOW)
    return str(caught.value)


class TestVectors:
    """What others published."""

    def test_standard_webhooks(self) -> None:
        """The example that the Standard Webhooks libraries test against."""
        headers = sign(
            b'{"test": 2432232314}',
            delivery_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp=1614265330,
            secrets=[WHSEC],
        )
        assert headers == {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}

    def test_hook_signature(self) -> None:
        """RFC 4231, test case 2, for HMAC-SHA512."""
        headers = sign(
            b"what do ya want for nothing?", delivery_id="x", timestamp=NOW, secrets=["Jefe"]
        )
        assert headers == {
            "X-Hook-Signature": "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
            "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        }

    def test_hub_signature(self) -> None:
        """The example in GitHub's documentation of X-Hub-Signature-256."""
        headers = sign(
            b"Hello, World!",
            delivery_id="x",
            timestamp=NOW,
            secrets="It's a Secret to Everybody",
            schemes=["x-hub-signature-256"],
        )
        assert headers == {
            "X-Hub-Signature-256": "sha256="
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        }


class TestForeignImplementations:
    """What nobody here wrote agrees."""

    @pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.Webhook])
    @pytest.mark.parametrize("secret", [WHSEC, generate_secret()], ids=["known", "generated"])
    def test_they_accept_ours(
        self, library: Callable[[str], standardwebhooks.Webhook | svix.Webhook], secret: str
    ) -> None:
        """Both packages verify what we sign, with the newest secret and while it is rotated."""
        headers = signed([OLDER, secret], timestamp=int(time.time()))
        library(secret).verify(BODY, headers)
        library(OLDER).verify(BODY, headers)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            library(generate_secret()).verify(BODY, headers)

    @pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.Webhook])
    def test_we_accept_theirs(
        self, library: Callable[[str], standardwebhooks.Webhook | svix.Webhook]
    ) -> None:
        """We verify what both packages sign."""
        moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
        headers = {
            "Webhook-Id": "msg_theirs",
            "Webhook-Timestamp": str(NOW),
            "Webhook-Signature": library(WHSEC).sign("msg_theirs", moment, BODY.decode()),
        }
        verify(BODY, headers, [OLDER, WHSEC], now=NOW)
        with pytest.raises(VerificationError):
            verify(BODY, headers, OLDER, now=NOW)

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
    def test_openssl_agrees(self) -> None:
        """The ``openssl`` command makes the same X-Hook-Signature."""
        command = ["openssl", "dgst", "-sha512", "-hmac", PLAIN]
        done = subprocess.run(command, input=BODY, capture_output=True, check=True)
        assert done.stdout.decode().split()[-1] == signed(PLAIN)["X-Hook-Signature"]


class TestSchemes:
    """Which headers a request gets."""

    def test_the_secret_chooses(self) -> None:
        """A whsec_ secret asks for Standard Webhooks, any other for X-Hook-Signature."""
        assert default_scheme(WHSEC) == "standard-webhooks"
        assert default_scheme(PLAIN) == "x-hook-signature"
        assert set(signed(WHSEC)) == {"webhook-id", "webhook-timestamp", "webhook-signature"}

    def test_several_at_once(self) -> None:
        """Every scheme asked for gives its header."""
        headers = signed(WHSEC, schemes=SCHEMES)
        assert list(headers)[2:] == ["X-Hook-Signature", "webhook-signature", "X-Hub-Signature-256"]
        for scheme in SCHEMES:
            verify(BODY, headers, WHSEC, now=NOW, schemes=[scheme])

    def test_none_asked_for(self) -> None:
        """An empty list of schemes would sign nothing, and nobody would know."""
        with pytest.raises(SetupError, match="schemes must be a list of names"):
            sign(BODY, delivery_id="x", timestamp=NOW, secrets=WHSEC, schemes=[])
        with pytest.raises(ConfigurationError, match="schemes must be a list of names"):
            verify(BODY, signed(), WHSEC, now=NOW, schemes=[])

    def test_a_reference_is_no_key(self) -> None:
        """The text ``env:NAME`` is no secret: anyone could sign with it."""
        forged = {"X-Hook-Signature": hmac.new(b"env:HOOK", BODY, "sha512").hexdigest()}
        with pytest.raises(ConfigurationError, match=r'write Secret\("env:NAME"\)'):
            verify(BODY, forged, "env:HOOK")
        with pytest.raises(SetupError, match=r'write Secret\("env:NAME"\)'):
            sign(BODY, delivery_id="x", timestamp=NOW, secrets=["env:HOOK"])

    def test_secrets_stay_wrapped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A ``Secret`` is taken as it is, and no variable of a frame that raises holds its text."""
        monkeypatch.setenv("HOOK", PLAIN)
        wrapped = Secret("env:HOOK")
        headers = sign(BODY, delivery_id="x", timestamp=NOW, secrets=wrapped)
        verify(BODY, headers, [wrapped, Secret(OTHER)])
        with pytest.raises(VerificationError) as caught:
            verify(BODY + b" ", headers, [wrapped])
        trace = caught.value.__traceback__
        while trace is not None:
            assert (
                PLAIN not in repr(trace.tb_frame.f_locals.values())
                or "self" in trace.tb_frame.f_locals
            )
            trace = trace.tb_next

    def test_rotation(self) -> None:
        """Standard Webhooks signs with every secret, newest first; the others with the newest."""
        headers = signed([WHSEC, OLDER], schemes=SCHEMES)
        alone = [signed(secret)["webhook-signature"] for secret in (WHSEC, OLDER)]
        assert headers["webhook-signature"] == " ".join(alone)
        assert headers["X-Hook-Signature"] == signed(WHSEC, schemes=SCHEMES)["X-Hook-Signature"]

    def test_rotation_from_a_plain_secret(self) -> None:
        """An older secret of another form never signed Standard Webhooks, and is left out."""
        assert signed([WHSEC, PLAIN]) == signed([WHSEC])

    @pytest.mark.parametrize("secrets", [[PLAIN], [PLAIN, WHSEC]])
    def test_standard_webhooks_needs_its_own_secret(self, secrets: list[str]) -> None:
        """The error says how to make a secret that will do."""
        with pytest.raises(SetupError, match=r"starts with whsec_; .*generate_secret\(\)"):
            signed(secrets, schemes=("standard-webhooks",))

    @pytest.mark.parametrize("schemes", [["sha1"], "x-hook-signature", 5, []])
    def test_unknown_scheme(self, schemes: list[str] | str) -> None:
        """A scheme that does not exist is refused with the list of those that do."""
        with pytest.raises(SetupError, match="standard-webhooks"):
            sign(BODY, delivery_id="x", timestamp=NOW, secrets=WHSEC, schemes=schemes)
        with pytest.raises(ConfigurationError, match="standard-webhooks"):
            verify(BODY, {}, WHSEC, schemes=schemes)

    def test_generated_secrets_differ(self) -> None:
        """A generated secret holds 32 bytes, fresh each time."""
        first, second = generate_secret(), generate_secret()
        assert first != second
        assert len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) == 32


class TestArguments:
    """What cannot be signed."""

    def test_text_is_not_a_body(self) -> None:
        """A body that was decoded is refused with advice."""
        for call in (lambda: signed(body="text"), lambda: verify("text", {}, PLAIN)):  # type: ignore[arg-type] # the mistake under test
            with pytest.raises(TypeError, match="raw body of the request"):
                call()

    @pytest.mark.parametrize(
        "wrong", [{"tolerance": "300"}, {"now": "x"}, {"headers": [("a", "b")]}, {"headers": None}]
    )
    def test_wrong_arguments_of_verify(self, wrong: dict[str, Any]) -> None:
        """They are the caller's mistake, and named."""
        arguments = {"headers": {}, **wrong}
        with pytest.raises(TypeError, match=r"tolerance and now are|headers are a map"):
            verify(BODY, secrets=PLAIN, **arguments)

    @pytest.mark.parametrize("secrets", [None, 5, {"a": 1}])
    def test_what_is_no_list_of_secrets(self, secrets: Any) -> None:
        """Such as an environment variable that is not set."""
        with pytest.raises(ConfigurationError, match="or a list of these, found"):
            verify(BODY, {}, secrets)
        with pytest.raises(SetupError, match="or a list of these, found"):
            signed(secrets)

    @pytest.mark.parametrize("timestamp", [1.5, "1", True])
    def test_whole_seconds(self, timestamp: int) -> None:
        """A timestamp that would not be written as an integer is refused."""
        with pytest.raises(TypeError, match="whole seconds"):
            signed(timestamp=timestamp)

    @pytest.mark.parametrize("delivery_id", ["", "a.b", None, "\ud800"])
    def test_ids(self, delivery_id: str) -> None:
        """An id with a dot could be read in two ways, so it is refused."""
        with pytest.raises(SetupError, match="without a dot"):
            sign(BODY, delivery_id=delivery_id, timestamp=NOW, secrets=WHSEC)

    @pytest.mark.parametrize(
        ("secrets", "message"),
        [
            ([], "there is no secret"),
            ([""], "must not be empty"),
            ([b"bytes"], "not bytes"),
            (["lone \ud800"], "surrogate"),
            (["whsec_!"], "base64"),
            (["whsec_" + base64.b64encode(b"x" * 23).decode()], "24 to 64 bytes"),
            (["whsec_" + base64.b64encode(b"x" * 65).decode()], "24 to 64 bytes"),
        ],
    )
    def test_secrets(self, secrets: list[str], message: str) -> None:
        """A text that cannot be a secret is refused on both sides, and not shown."""
        for error, call in (
            (SetupError, lambda: signed(secrets)),
            (ConfigurationError, lambda: verify(BODY, signed(), secrets)),
        ):
            with pytest.raises(error, match=message) as caught:
                call()
            assert not any(str(secret) in str(caught.value) for secret in secrets if secret)


class TestVerify:
    """What a receiver accepts and refuses."""

    @pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
    @pytest.mark.parametrize("secret", [PLAIN, WHSEC])
    def test_header_names_in_any_case(self, secret: str, case: Callable[[str], str]) -> None:
        """Header names are compared without case."""
        headers = {case(name): value for name, value in signed(secret).items()}
        verify(BODY, headers, [OTHER, secret], now=NOW)

    def test_any_scheme_will_do(self) -> None:
        """One good signature is enough, whatever else the request carries."""
        headers = signed(WHSEC, schemes=SCHEMES)
        verify(BODY, {**headers, "webhook-signature": "v1,AAAA v2,x"}, WHSEC, now=NOW)
        verify(BODY, {**headers, "X-Hook-Signature": "00"}, WHSEC, now=NOW)

    def test_insisting_on_a_scheme(self) -> None:
        """A receiver that names its schemes ignores the others."""
        headers = signed(WHSEC, schemes=("x-hook-signature",))
        with pytest.raises(VerificationError, match="there is no header webhook-signature"):
            verify(BODY, headers, WHSEC, now=NOW, schemes=["standard-webhooks"])

    def test_foreign_versions_are_passed_over(self) -> None:
        """Signatures of other versions and other keys in the list do no harm."""
        headers = signed(WHSEC)
        headers["webhook-signature"] = "v1a,abc v1, ,, " + headers["webhook-signature"]
        verify(BODY, headers, WHSEC, now=NOW)

    def test_the_system_clock(self) -> None:
        """Without ``now`` the time is the system's."""
        verify(BODY, signed(timestamp=int(time.time())), WHSEC)
        with pytest.raises(VerificationError, match="too old"):
            verify(BODY, signed(timestamp=NOW), WHSEC)

    def test_not_signed(self) -> None:
        """A request without any signature is told which headers were looked for."""
        why = refusal({"Host": "x"})
        assert why == (
            "not signed: there is no header "
            "X-Hook-Signature or webhook-signature or X-Hub-Signature-256"
        )

    @pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
    def test_what_belongs_to_the_signature(self, name: str) -> None:
        """Standard Webhooks needs its id and its timestamp."""
        headers = signed()
        del headers[name]
        assert f"{name} is missing" in refusal(headers)
        assert f"{name} is missing" in refusal({**headers, name: ""})

    @pytest.mark.parametrize("value", ["soon", "1.7e9", "-1", "٣", "nan", "9" * 13])
    def test_timestamps_are_digits(self, value: str) -> None:
        """Only plain digits are a timestamp."""
        assert "whole number" in refusal({**signed(), "webhook-timestamp": value})

    def test_ids_without_dots(self) -> None:
        """The parts of what is signed cannot be moved over the dots between them."""
        headers = signed(body=b"2.body", timestamp=NOW)
        moved = {**headers, "webhook-id": f"msg_1.{NOW}", "webhook-timestamp": "2"}
        assert "must not hold a dot" in refusal(moved, body=b"body")

    @pytest.mark.parametrize(("off", "word"), [(301, "too far ahead"), (-301, "too old")])
    def test_tolerance(self, off: int, word: str) -> None:
        """A request from another time is refused, also when another signature holds."""
        headers = signed(timestamp=NOW + off, schemes=SCHEMES)
        assert word in refusal(headers)
        verify(BODY, headers, WHSEC, now=NOW, tolerance=301)
        with pytest.raises(VerificationError):
            verify(BODY, headers, WHSEC, now=NOW, tolerance=float("nan"))

    def test_another_secret(self) -> None:
        """A signature that another secret made is refused."""
        assert "X-Hook-Signature was made with another secret" in refusal(signed(PLAIN), OTHER)
        assert "webhook-signature was made" in refusal(signed(WHSEC), OLDER)

    def test_a_secret_that_cannot_check(self) -> None:
        """Someone who holds only a plain secret learns why Standard Webhooks cannot be checked."""
        assert "only be checked with a secret that starts with whsec_" in refusal(signed(), PLAIN)

    @pytest.mark.parametrize("value", ["café", "\ud800", "\x00", "", " ", "v1,é", "sha256=é"])
    @pytest.mark.parametrize(
        "name", ["X-Hook-Signature", "webhook-signature", "X-Hub-Signature-256"]
    )
    def test_odd_values_are_refused(self, name: str, value: str) -> None:
        """Values that are not ASCII are refused like any other wrong value."""
        headers = {"webhook-id": "x", "webhook-timestamp": str(NOW), name: value}
        assert "was made with another secret" in refusal(headers)

    def test_messages_show_no_values(self) -> None:
        """No message repeats a secret, a header's value or the body."""
        for headers in (
            signed(PLAIN),
            {**signed(), "webhook-timestamp": "hidden"},
            {**signed(), "webhook-id": "hid.den"},
        ):
            why = refusal(headers, [OTHER, OLDER])
            for value in (*headers.values(), OTHER, OLDER, BODY.decode()):
                assert value not in why

    @given(
        body=st.binary(max_size=200),
        secret=st.text(min_size=1, max_size=40),
        key=st.binary(min_size=24, max_size=64),
    )
    def test_round_trip(self, body: bytes, secret: str, key: bytes) -> None:
        """Whatever is signed is verified, in every scheme."""
        standard = "whsec_" + base64.b64encode(key).decode()
        verify(body, signed(standard, body=body), standard, now=NOW)
        for scheme in ("x-hook-signature", "x-hub-signature-256"):
            verify(body, signed(secret, body=body, schemes=(scheme,)), secret, now=NOW)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_any_flipped_bit_is_refused(self, scheme: str) -> None:
        """One bit changed in the body, the signature or what it covers is one too many."""
        headers = signed(schemes=(scheme,))
        covered = [name for name in headers if scheme == "standard-webhooks" or "ignature" in name]
        for position in range(len(BODY) * 8):
            assert refusal(headers, body=flipped(BODY, position))
        for name in covered:
            value = headers[name].encode()
            for position in range(len(value) * 8):
                assert refusal({**headers, name: flipped(value, position).decode("latin-1")})


def flipped(data: bytes, position: int) -> bytes:
    """Return the bytes with one bit changed."""
    changed = bytearray(data)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


class TestSecret:
    """A secret does not show itself."""

    def test_text(self) -> None:
        """A text is revealed as it was given, and has no reference."""
        secret = Secret(PLAIN)
        assert secret.reveal() == PLAIN
        assert secret.reference is None
        assert Secret(secret) == secret

    def test_it_hides(self) -> None:
        """No ordinary way of printing, listing or copying shows the text."""
        secret = Secret(PLAIN)
        for shown in (repr(secret), str(secret), f"{secret}", "%s" % [secret]):
            assert shown.strip("[]") == "Secret(***)"
        assert not hasattr(secret, "__dict__")
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(secret, protocol)
        with pytest.raises(TypeError):
            copy.deepcopy(secret)

    def test_equality(self) -> None:
        """Secrets are equal when their values are, and can be members of sets."""
        assert {Secret("a"), Secret("a"), Secret("env:A")} == {Secret("env:A"), Secret("a")}
        assert Secret("a") != "a"
        assert Secret("a") != Secret("b")

    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``env:NAME`` is read each time, so that a new value needs no new definition."""
        secret = Secret("env:CHANGEHOOK_TEST_SECRET")
        assert secret.reference == "env:CHANGEHOOK_TEST_SECRET"
        for value in ("one", "two"):
            monkeypatch.setenv("CHANGEHOOK_TEST_SECRET", value)
            assert secret.reveal() == value

    @pytest.mark.parametrize(
        ("value", "message"),
        [(None, "is not set"), ("", "must not be empty"), ("whsec_hunter2", "24 to 64 bytes")],
    )
    def test_environment_without_a_secret(
        self, monkeypatch: pytest.MonkeyPatch, value: str | None, message: str
    ) -> None:
        """What is wrong names the variable, not its value."""
        monkeypatch.delenv("CHANGEHOOK_TEST_SECRET", raising=False)
        if value is not None:
            monkeypatch.setenv("CHANGEHOOK_TEST_SECRET", value)
        with pytest.raises(SetupError, match=f"CHANGEHOOK_TEST_SECRET.*{message}") as caught:
            Secret("env:CHANGEHOOK_TEST_SECRET").reveal()
        assert "hunter2" not in str(caught.value)

    def test_callable(self) -> None:
        """A callable is called each time."""
        values = iter(["one", "two"])
        secret = Secret(lambda: next(values))
        assert [secret.reveal(), secret.reveal()] == ["one", "two"]
        assert secret.reference is None
        assert hash(secret) == hash(Secret(secret))

    def test_callable_that_fails(self) -> None:
        """Neither the message nor the chain of errors holds what the callable said."""

        def fail() -> str:
            raise LookupError("hunter2")

        with pytest.raises(SetupError, match="raised LookupError") as caught:
            Secret(fail).reveal()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__context__ is None

    @pytest.mark.parametrize("value", [None, b"hunter2", "", "whsec_hunter2", "\ud800"])
    def test_callable_without_a_secret(self, value: object) -> None:
        """What is not a secret's text is refused without being shown."""
        with pytest.raises(
            SetupError, match="the callable that gives the secret gave none"
        ) as caught:
            Secret(lambda: value).reveal()  # type: ignore[arg-type, return-value] # the mistake under test
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("", "must not be empty"),
            (None, "not NoneType"),
            (b"hunter2", "not bytes"),
            ("hunter2\udc80", "surrogate"),
            ("whsec_hunter2", "24 to 64 bytes"),
            ("whsec_hunter2!", "base64"),
            ("whsec_hünter2", "base64"),
            ("env:", "names an environment variable"),
            ("env:hunter2/pass", "names an environment variable"),
            ("env:HUNTER\n", "names an environment variable"),
        ],
    )
    def test_what_cannot_be_a_secret(self, value: str, message: str) -> None:
        """A wrong value is refused when the definition is built, without being shown."""
        with pytest.raises(ConfigurationError, match=message) as caught:
            Secret(value)
        assert "hunter2" not in str(caught.value)

    def test_unpadded_base64(self) -> None:
        """The padding of a whsec_ secret may be left out."""
        bare = Secret(OLDER.rstrip("=")).reveal()
        verify(BODY, signed(bare), OLDER, now=NOW)


def test_comparison_takes_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every comparison goes through ``hmac.compare_digest``."""
    compared = []

    def recording(one: bytes, other: bytes) -> bool:
        compared.append((type(one), type(other)))
        return False

    monkeypatch.setattr(hmac, "compare_digest", recording)
    assert refusal(signed(schemes=SCHEMES))
    assert compared == [(bytes, bytes)] * 3


@pytest.mark.parametrize("headers", [{b"x-hook-signature": b"0"}, {"x-hook-signature": b"0"}])
def test_headers_in_bytes_are_the_callers_mistake(headers):
    """As ASGI gives them; taken for absent, a request would seem to be unsigned."""
    with pytest.raises(TypeError, match="headers are text"):
        verify(b"", headers, "0123456789abcdef")
