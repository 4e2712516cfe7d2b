"""For every property test: the same examples in every run, and no clock.

More and other examples: ``pytest --hypothesis-profile=thorough``.
"""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A shell that starts the tests in its background has them, and all they start, ignore CONTROL-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "repeatable",
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough", settings.get_profile("repeatable"), derandomize=False, max_examples=5_000
)
settings.load_profile("repeatable")
