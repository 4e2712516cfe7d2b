"""The one global: the default emitter."""

import pytest

import changehook
from changehook import InMemoryQueue, NotConfiguredError, ThreadPoolQueue, Webhook, defaults
from changehook.testing import RecordingTransport


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch):
    """Leave no emitter behind."""
    monkeypatch.setattr(defaults, "_emitter", None)


WEBHOOK = Webhook(
    name="w", object_types=["site"], events=["created"], url="https://receiver.example/"
)


def test_unconfigured_is_a_clear_error():
    """It says what to call."""
    with pytest.raises(NotConfiguredError, match=r"call changehook\.configure"):
        changehook.emit_change("created", "site", {})


def test_configured_it_emits():
    """With every argument of the emitter's own method."""
    transport = RecordingTransport()
    emitter = changehook.configure(webhooks=[WEBHOOK], transport=transport)
    assert isinstance(emitter.queue, ThreadPoolQueue)
    assert changehook.default_emitter() is emitter
    [delivery] = changehook.emit_change(
        "created", "site", {}, postchange={"a": 1}, username="ann", request_id="r"
    )
    assert delivery.webhook == "w"
    assert emitter.close() == 0
    assert len(transport.requests) == 1


def test_configuring_again_closes_the_former():
    """What was due is done first; a failing call leaves the former in its place."""
    queue, transport = ThreadPoolQueue(), RecordingTransport()
    first = changehook.configure(webhooks=[WEBHOOK], queue=queue, transport=transport)
    changehook.emit_change("created", "site", {})
    with pytest.raises(changehook.ConfigurationError):
        changehook.configure(timeout=-1)
    assert changehook.default_emitter() is first
    second = changehook.configure(webhooks=[WEBHOOK], queue=InMemoryQueue())
    assert changehook.default_emitter() is second
    assert len(transport.requests) == 1
    with pytest.raises(changehook.QueueError):
        first.emit_change("created", "site", {})
