"""Rotation without a gap over real sockets, and what a stranger may put into signature headers."""

from __future__ import annotations

import ast
import hmac
import inspect
from collections.abc import Callable

import pytest
import standardwebhooks
from misbehaving import Server, answer

from changehook import (
    ConfigurationError,
    Emitter,
    InMemoryQueue,
    NetworkPolicy,
    RetryPolicy,
    VerificationError,
    Webhook,
    WebhookRegistry,
    generate_secret,
    signing,
    verify,
)
from changehook.receiver import Behaviour, Receiver
from changehook.signing import SCHEMES, sign

NOW = 1_700_000_000
BODY = b'{"a": 1}'
OLD, NEW = generate_secret(), generate_secret()
PLAIN_OLD, PLAIN_NEW = "the old phrase", "the new phrase"

Check = Callable[[bytes, dict[str, str]], object]
Steps = list[tuple[list[str], list[str]]]

# What the sender signs with, and what the receiver knows, step by step.
ROTATION: Steps = [
    (["old"], ["old"]),
    (["new", "old"], ["old"]),
    (["new", "old"], ["new"]),
    (["new", "old"], ["new", "old"]),
    (["new"], ["new", "old"]),
    (["new"], ["new"]),
]
# One signature only, so the receiver learns the new secret first.
SINGLE_ROTATION: Steps = [
    (["old"], ["old"]),
    (["old"], ["old", "new"]),
    (["new", "old"], ["old", "new"]),
    (["new"], ["old", "new"]),
    (["new"], ["new"]),
]


def foreign(secrets: list[str]) -> Check:
    """Return the check of a receiver that tries its secrets with the reference library."""

    def check(body: bytes, headers: dict[str, str]) -> None:
        failures = []
        for secret in secrets:
            try:
                standardwebhooks.Webhook(secret).verify(body, headers)
                return
            except standardwebhooks.WebhookVerificationError as error:
                failures.append(error)
        raise failures[0]

    return check


def own(secrets: list[str], schemes: list[str]) -> Check:
    """Return the check of a receiver that uses ours."""
    return lambda body, headers: verify(body, headers, secrets, schemes=schemes)


def delivered(steps: Steps, known: dict[str, str], scheme: str, receiver: str) -> list[int | None]:
    """Return what each attempt was answered, while one emitter's definition is rotated."""
    checks: list[Check] = []

    def behave(peer: object) -> None:
        while request := peer.read_request():  # type: ignore[attr-defined]  # a Peer
            head, _, body = request.partition(b"\r\n\r\n")
            pairs = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
            try:
                checks[-1](body, {name: value for name, _, value in pairs})
                peer.send(answer("204 OK", b""))  # type: ignore[attr-defined]
            except (VerificationError, standardwebhooks.WebhookVerificationError):
                peer.send(answer("401 No", b""))  # type: ignore[attr-defined]

    with Server(behave) as server:
        registry, queue = WebhookRegistry(), InMemoryQueue()
        network = NetworkPolicy(allow=["127.0.0.1"])
        retry = RetryPolicy(schedule=[0])
        with Emitter(webhooks=registry, queue=queue, network=network, retry=retry) as emitter:
            for signs, knows in steps:
                secrets = [known[name] for name in knows]
                checks.append(foreign(secrets) if receiver == "theirs" else own(secrets, [scheme]))
                registry.replace(
                    [
                        Webhook(
                            name="x",
                            object_types=["*"],
                            events=["*"],
                            url=f"http://127.0.0.1:{server.port}/",
                            secret=[known[name] for name in signs],
                            signatures=[scheme],
                        )
                    ]
                )
                emitter.emit_change("created", "site", {"a": 1})
                queue.run()
        return [each.attempts[-1].status for each in queue.deliveries]


@pytest.mark.parametrize("receiver", ["theirs", "ours"])
def test_standard_webhooks_rotates_without_a_gap(receiver: str) -> None:
    """Old and new stand side by side, so sender and receiver change when each likes."""
    known = {"old": OLD, "new": NEW}
    assert delivered(ROTATION, known, "standard-webhooks", receiver) == [204] * 6
    gone = [(["new"], ["old"]), (["old"], ["new"])]
    assert delivered(gone, known, "standard-webhooks", receiver) == [401, 401]


@pytest.mark.parametrize("scheme", ["x-hook-signature", "x-hub-signature-256"])
@pytest.mark.parametrize("known", [{"old": PLAIN_OLD, "new": PLAIN_NEW}, {"old": OLD, "new": NEW}])
def test_single_valued_schemes_rotate_without_a_gap(scheme: str, known: dict[str, str]) -> None:
    """The newest signs, and a receiver that knows both accepts either."""
    assert delivered(SINGLE_ROTATION, known, scheme, "ours") == [204] * 5
    assert delivered([(["new", "old"], ["old"])], known, scheme, "ours") == [401]


def test_from_a_phrase_to_standard_webhooks_without_a_gap() -> None:
    """The two schemes need secrets of different forms, and a request has room for both headers."""
    both = ["standard-webhooks", "x-hook-signature"]
    headers = sign(BODY, delivery_id="m", timestamp=NOW, secrets=[NEW, PLAIN_OLD], schemes=both)
    whole = {"webhook-id": "m", "webhook-timestamp": str(NOW), **headers}
    verify(BODY, whole, [PLAIN_OLD, NEW], now=NOW)
    verify(BODY, whole, [PLAIN_OLD, NEW], now=NOW, schemes=["standard-webhooks"])


def test_the_development_receiver_takes_several() -> None:
    """It says valid for a signature of any of its secrets."""
    with Receiver(port=0, output=len, behaviour=Behaviour(verify=(OLD, NEW))) as receiver:
        queue = InMemoryQueue()
        hooks = [
            Webhook(name=name, object_types=["*"], events=["*"], url=receiver.url, secret=secret)
            for name, secret in (
                ("old", OLD),
                ("new", NEW),
                ("both", [NEW, OLD]),
                ("not", PLAIN_OLD),
            )
        ]
        network = NetworkPolicy(allow=["127.0.0.1"])
        with Emitter(webhooks=hooks, queue=queue, network=network) as emitter:
            emitter.emit_change("created", "site", {})
            queue.run()
        verdicts = [request.verdict for request in receiver.requests]
    assert verdicts[:3] == ["valid"] * 3
    assert str(verdicts[3]).startswith("INVALID")


# Comparison


def headers_for(secret: str, *, timestamp: int = NOW) -> dict[str, str]:
    """Return the headers of a request that is signed in every scheme."""
    signed = sign(BODY, delivery_id="m", timestamp=timestamp, secrets=secret, schemes=SCHEMES)
    return {"webhook-id": "m", "webhook-timestamp": str(timestamp), **signed}


def refusal(headers: dict[str, str], secrets: list[str], **arguments: float) -> str:
    """Return why a request is refused."""
    with pytest.raises(VerificationError) as caught:
        verify(BODY, headers, secrets, **{"now": NOW, **arguments})
    return str(caught.value)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("right", [0, 1, 2, None])
def test_every_comparison_takes_the_same_time(
    monkeypatch: pytest.MonkeyPatch, scheme: str, right: int | None
) -> None:
    """``compare_digest`` of bytes, whichever secret is the right one; no other comparison."""
    secrets = [generate_secret() for _ in range(3)]
    headers = headers_for(generate_secret() if right is None else secrets[right])
    compared: list[tuple[bytes, bytes]] = []
    original = hmac.compare_digest

    def recording(one: bytes, other: bytes) -> bool:
        assert type(one) is type(other) is bytes
        compared.append((one, other))
        return original(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recording)
    if right is None:
        with pytest.raises(VerificationError):
            verify(BODY, headers, secrets, now=NOW, schemes=[scheme])
    else:
        verify(BODY, headers, secrets, now=NOW, schemes=[scheme])
    assert len(compared) == (3 if right is None else right + 1)


def test_signatures_are_compared_in_one_place() -> None:
    """No ``==`` or ``in`` stands where signatures are: ``_same`` alone, which is one call."""
    functions = (signing._made_by, signing._same)
    trees = [ast.parse(inspect.getsource(function)) for function in functions]
    operators = [
        type(operator).__name__
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for operator in node.ops
        if not {"scheme", "STANDARD"} >= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    ]
    assert operators == []
    assert ast.unparse(trees[1]).endswith("return hmac.compare_digest(expected.encode(), value)")


# What a stranger sends


@pytest.mark.parametrize("name", ["X-Hook-Signature", "webhook-signature", "X-Hub-Signature-256"])
@pytest.mark.parametrize(
    "change",
    [
        lambda value: value[:-1],
        lambda value: value + "0",
        lambda value: value.swapcase(),
        lambda value: value + "\n",
        lambda value: "\u212a" + value[1:],
        lambda value: value.replace("1", "\uff11") + "\u0661",
        lambda value: value + "\udcff",
        lambda value: value + ",",
        lambda value: "\t" + value,
        lambda value: "x" * 1_000_000,
        lambda value: "v1," * 1_000,
        lambda value: "sha256=" + value,
        lambda value: value.encode().hex(),
    ],
)
def test_a_signature_that_is_nearly_right_is_refused(
    name: str, change: Callable[[str], str]
) -> None:
    """Wrong length, wrong case, other alphabets: one clean refusal, and no other error."""
    value = headers_for(NEW)[name]
    headers = {"webhook-id": "m", "webhook-timestamp": str(NOW), name: change(value)}
    assert "was made with another secret" in refusal(headers, [OLD, NEW])


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "-1", "+1700000000", "1_700_000_000", " 1700000000", "1700000000 ", "0x1"),
        *("1700000000.0", "1.7e9", "inf", "nan", "None", "\u0661\u0667", "\uff11", "\xb2", "\x00"),
        *("9" * 13, "9" * 100_000, "1700000000\n", "1700000000,1700000000", "--1"),
    ],
)
def test_a_timestamp_is_digits(value: str) -> None:
    """Nothing but 1 to 12 plain digits, so that nothing is converted that could hurt."""
    headers = {**headers_for(NEW), "webhook-timestamp": value}
    assert "webhook-timestamp is" in refusal(headers, [NEW])


@pytest.mark.parametrize("value", ["0", "000000000000", "999999999999", "1", str(NOW + 10**6)])
def test_a_timestamp_of_another_age_is_refused(value: str) -> None:
    """The year 1970 and the year 33658 are neither now, nor an error of another kind."""
    headers = {**headers_for(NEW), "webhook-timestamp": value}
    assert "more than 300 seconds from this clock" in refusal(headers, [NEW])


@pytest.mark.parametrize("off", [-300, -1, 0, 1, 300])
def test_the_tolerance_is_inclusive(off: int) -> None:
    """300 seconds either way are accepted, a second more is not; 0 accepts this second alone."""
    verify(BODY, headers_for(NEW, timestamp=NOW + off), NEW, now=NOW)
    beyond = headers_for(NEW, timestamp=NOW + (301 if off > 0 else -301))
    assert "webhook-timestamp is too" in refusal(beyond, [NEW])
    assert off == 0 or refusal(headers_for(NEW, timestamp=NOW + off), [NEW], tolerance=0)


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("-inf")])
def test_a_tolerance_that_is_none_refuses(tolerance: float) -> None:
    """An error of the host's arithmetic does not open the door."""
    assert refusal(headers_for(NEW), [NEW], tolerance=tolerance)


@pytest.mark.parametrize("name", [*headers_for(NEW)])
def test_a_header_that_stands_twice_is_refused(name: str) -> None:
    """What verifies must be what the application reads: a mapping may hold two spellings."""
    headers = {name.upper(): "other", **headers_for(NEW), name.lower(): headers_for(NEW)[name]}
    assert f"{name.lower()} stands twice" in refusal(headers, [NEW])
    verify(BODY, {**headers_for(NEW), "Accept": "a", "ACCEPT": "b"}, NEW, now=NOW)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_headers_that_a_server_joined_are_refused(scheme: str) -> None:
    """WSGI servers join a repeated header with a comma; neither value is taken out of that."""
    [(name, value)] = sign(
        BODY, delivery_id="m", timestamp=NOW, secrets=NEW, schemes=[scheme]
    ).items()
    headers = {"webhook-id": "m", "webhook-timestamp": str(NOW), name: f"{value}, {value}x"}
    if scheme == "standard-webhooks":
        headers["webhook-id"] = "m, m"
    assert "was made with another secret" in refusal(headers, [NEW])


def test_a_flood_of_signatures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 of them are looked at, which is room for every secret that a sender rotates."""
    compared: list[bytes] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: bool(compared.append(other)))
    headers = headers_for(NEW)
    right = headers["webhook-signature"]
    headers["webhook-signature"] = " ".join(["v1,AAAA"] * 63 + [right] + ["v1,AAAA"] * 100_000)
    with pytest.raises(VerificationError):
        verify(BODY, headers, [OLD, NEW], now=NOW, schemes=["standard-webhooks"])
    assert len(compared) == 2 * 64
    monkeypatch.undo()
    verify(BODY, headers, [OLD, NEW], now=NOW, schemes=["standard-webhooks"])


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_" + "QQ==", "env:", "\ud800"])
def test_a_secret_that_protects_nothing_is_refused(secret: str) -> None:
    """By ``verify`` and by a definition, alone and beside a good one."""
    for secrets in ([secret], [NEW, secret]):
        with pytest.raises(ConfigurationError):
            verify(BODY, headers_for(NEW), secrets, now=NOW)
        with pytest.raises(ConfigurationError):
            Webhook(name="x", object_types=["*"], events=["*"], url="https://h/", secret=secrets)
