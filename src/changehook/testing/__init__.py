"""For the host's tests, and for those who write a queue or a store of their own."""

from changehook.testing.contracts import (
    InspectableQueueContract,
    QueueContract,
    StoreContract,
)
from changehook.testing.deliveries import make_delivery, until
from changehook.testing.doubles import FakeClock, RecordingTransport

__all__ = [
    "FakeClock",
    "InspectableQueueContract",
    "QueueContract",
    "RecordingTransport",
    "StoreContract",
    "make_delivery",
    "until",
]
