"""What one change costs the caller, as ratios to an empty function call and to ``json.dumps``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence

from measure import ratio, report

from changehook import Delivery, Emitter, FileSource, Queue, Webhook
from changehook.testing import RecordingTransport

NOTHING_LISTENS = "emit_change, no listener / empty function call"
FILE_SOURCE = "emit_change, no listener, file source / empty function call"
NO_MATCH = "emit_change, conditions do not match / json.dumps"
ONE_LISTENER = "emit_change, one webhook with conditions / json.dumps"
LIMITS = {NOTHING_LISTENS: 15.0, FILE_SOURCE: 15.0, NO_MATCH: 1.0, ONE_LISTENER: 2.0}

SITE = {
    "id": 19,
    "url": "/api/dcim/sites/19/",
    "name": "Site 1",
    "slug": "site-1",
    "status": {"value": "active", "label": "Active", "id": 1},
    "region": {"id": 3, "name": "North", "slug": "north", "_depth": 1},
    "tags": [{"id": n, "name": f"Tag {n}", "slug": f"tag-{n}"} for n in range(6)],
    "custom_fields": {f"field_{n}": f"value {n}" for n in range(10)},
    "comments": "A comment of some length, as operators write them. " * 4,
    "created": "2021-03-09T17:55:33.968016Z",
    "last_updated": "2021-03-09T17:55:33.968016Z",
    "device_count": 12,
    "rack_count": 3,
}
SNAPSHOT = {
    "name": "Site 1",
    "slug": "site-1",
    "status": "active",
    "region": 3,
    "comments": SITE["comments"],
    "custom_field_data": SITE["custom_fields"],
}
CONDITIONS = {"and": [{"attr": "status.value", "value": "active"}]}


class Accepting(Queue):
    """A queue whose ``put`` costs nothing: what is measured is the emitter."""

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Take them."""


def hook(**changes: object) -> Webhook:
    """Return a webhook for created sites."""
    values = {
        "name": "w",
        "object_types": ["site"],
        "events": ["created"],
        "url": "https://receiver.example/",
        **changes,
    }
    return Webhook.from_dict(values)


def run() -> dict[str, float]:
    """Measure every ratio."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(folder)


def measured(folder: str) -> dict[str, float]:
    """Measure them with a file of webhooks in a folder."""
    emitter = Emitter(
        webhooks=[hook(conditions=CONDITIONS)], queue=Accepting(), transport=RecordingTransport()
    )
    other = Emitter(
        webhooks=[hook(conditions={"attr": "status.value", "value": "planned"})],
        queue=Accepting(),
        transport=RecordingTransport(),
    )
    path = f"{folder}/webhooks.json"
    with open(path, "w") as file:
        json.dump([hook().to_dict(reveal=True)], file)
    source = FileSource(path)
    filed = Emitter(webhooks=source, queue=Accepting(), transport=RecordingTransport())
    [delivery] = emitter.emit_change("created", "site", SITE, postchange=SNAPSHOT)
    payload = json.loads(delivery.payload)

    def empty() -> None:
        pass

    def dumps() -> str:
        return json.dumps(payload)

    found = {
        NOTHING_LISTENS: ratio(
            lambda: emitter.emit_change("deleted", "site", SITE), lambda: empty(), number=20_000
        ),
        FILE_SOURCE: ratio(
            lambda: filed.emit_change("deleted", "site", SITE), lambda: empty(), number=20_000
        ),
        NO_MATCH: ratio(
            lambda: other.emit_change("created", "site", SITE, postchange=SNAPSHOT),
            dumps,
            number=2_000,
        ),
        ONE_LISTENER: ratio(
            lambda: emitter.emit_change("created", "site", SITE, postchange=SNAPSHOT),
            dumps,
            number=2_000,
        ),
    }
    source.close()
    return found


if __name__ == "__main__":
    sys.exit(report(run, LIMITS))
