"""``Retry-After`` of a response, and the document of a retry policy. Parts: header, policy."""

from __future__ import annotations

import datetime
import json

from fuzz.harness import attempt, check_faults, document, parts, text

from changehook.deliveries import DeliveryStatus
from changehook.errors import ConfigurationError
from changehook.retries import RetryPolicy

INPUTS = 200_000
WORDS = (
    *("schedule", "jitter", "max_retry_after", "max_age", "120", "-1", "1e9"),
    *(
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ),
    *(
        "Fri, 31 Dec 9999 23:59:59",
        "+2400",
        "-0000",
        " EST",
        "Jan",
        "99999999999999999999",
        "\u0661",
        "\u00b2",
        "0x10",
        "1_0",
    ),
)
NOW = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)


def check(data: bytes) -> None:
    """The next attempt comes no earlier than the schedule says, and within the bound."""
    header, source = parts(data, 2)
    policy = RetryPolicy()
    if source:
        found, error = attempt(ConfigurationError, RetryPolicy.from_dict, document(source))
        if error:
            check_faults(error)
        policy = found or policy
    written = json.dumps(policy.to_dict(), allow_nan=False)
    assert RetryPolicy.from_dict(json.loads(written)) == policy
    decision = policy.decide(
        attempt_number=1, now=NOW, random=lambda: 0.5, status=503, retry_after=text(header)
    )
    if decision.due_at is None:
        assert decision.status is DeliveryStatus.FAILED
        assert len(policy.schedule) == 1 or policy.max_age is not None
        return
    least = policy.schedule[1]
    wait = (decision.due_at - NOW).total_seconds()
    assert least - 1e-6 <= wait <= max(least * 2, policy.max_retry_after) + 1e-6
