"""What is shipped for other people's tests."""

import pytest

from changehook import Change, Emitter, InMemoryQueue, Webhook
from changehook.errors import ConnectError
from changehook.exchange import Response
from changehook.testing import FakeClock, RecordingTransport, make_delivery
from changehook.testing.deliveries import raises, until


def test_the_helpers_of_the_contracts_can_say_no():
    """A contract that cannot fail would prove nothing."""
    assert raises(ValueError, lambda: int("x"))
    assert not raises(ValueError, lambda: 1)
    assert until(lambda: True)
    assert not until(lambda: False, limit=0.01)


def test_the_transport_gives_its_answers_in_turn():
    """A status, a response, an error; the last again and again."""
    transport = RecordingTransport(500, Response(status=201), ConnectError("refused"))
    emitter = Emitter(
        webhooks=[
            Webhook(name="w", object_types=["s"], events=["e"], url="https://receiver.example/")
        ],
        queue=InMemoryQueue(),
        transport=transport,
    )
    request = emitter.preview("w", Change(event="e", model="s", data={})).request
    assert transport.send(request).status == 500
    assert transport.send(request).status == 201
    for _ in range(2):
        with pytest.raises(ConnectError):
            transport.send(request)
    assert transport.requests == [request] * 4


def test_the_clock_moves_only_when_told():
    """Seconds are added."""
    clock = FakeClock()
    before = clock()
    clock.advance(1.5)
    assert (clock() - before).total_seconds() == 1.5
    assert make_delivery().id != make_delivery().id
