"""An attempt that a test holds up."""

from __future__ import annotations

import threading

from changehook import Delivery
from changehook.testing.deliveries import LIMIT, delivered


class Gate:
    """An attempt that waits until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, claimed: Delivery) -> Delivery:
        """Wait at the gate."""
        self.entered.release()
        assert self.open.wait(LIMIT)
        return delivered(claimed)
