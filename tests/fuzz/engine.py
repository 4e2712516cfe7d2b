"""Fuzz one target with atheris: ``python engine.py TARGET [libFuzzer options, folders, files]``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import atheris  # noqa: E402 - it follows the path that the other imports need
import loopback  # noqa: E402

INSTRUMENTED = ["changehook", "email", "http", "jinja2"]

assert "changehook" not in sys.modules, "it would not be instrumented"
with atheris.instrument_imports(include=INSTRUMENTED):
    from fuzz import harness, mutation


def main() -> None:
    """Run until a limit is reached or something is found, which ends the process with status 77."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = harness.load(sys.argv.pop(1))
    loopback.watch()
    logging.disable()

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        return mutation.mutated(data, size, seed, words=target.words, mutate=atheris.Mutate)

    atheris.Setup(sys.argv, target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
