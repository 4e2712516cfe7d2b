"""Files of webhooks. Parts: ``toml`` or ``json``, the bytes of the file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fuzz.harness import attempt, check_faults, parts
from fuzz.targets import webhooks

from changehook.errors import ConfigurationError
from changehook.sources import load_webhooks

INPUTS = 40_000
WORDS = (
    *webhooks.WORDS,
    *(
        "[[webhooks]]\n",
        "[webhooks.labels]\n",
        '"""\n',
        "'''",
        " = ",
        '"webhooks"',
        "\ufeff",
        "= {",
    ),
    *(
        "1979-05-27T07:32:00Z",
        "07:32:00",
        "inf",
        "nan",
        "0x1F",
        "1_000",
        "true",
        "[",
        "]",
        "\\u0000",
    ),
)
_FOLDER = tempfile.TemporaryDirectory(prefix="changehook-fuzz-files-")


def check(data: bytes) -> None:
    """A file has faults, each of which says where, or it holds webhooks with different names."""
    kind, content = parts(data, 2)
    path = Path(_FOLDER.name, "webhooks.toml" if kind == b"toml" else "webhooks.json")
    path.write_bytes(content)
    found, error = attempt(ConfigurationError, load_webhooks, path)
    if error:
        check_faults(error)
        return
    assert len({webhook.name for webhook in found}) == len(found)
