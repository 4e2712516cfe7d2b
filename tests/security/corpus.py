"""The shared attack corpus, where it stands beside the checkout; each kind has own cases too."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "attacks"
MISSING = pytest.param(None, marks=pytest.mark.skip("the shared attack corpus is not here"))


def load(name: str) -> dict[str, Any]:
    """Return one file of the corpus, decoded by the corpus' own loader."""
    spec = importlib.util.spec_from_file_location("attacks_load", FOLDER / "load.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(FOLDER))
    try:
        spec.loader.exec_module(module)
        document: dict[str, Any] = module.load(name)
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("builders", None)
    return document


def rows(name: str, key: str, identity: str = "name", kind: str | None = None) -> list[Any]:
    """Return the rows of one file as parameters of a test, or a single one that skips."""
    if not FOLDER.is_dir():
        return [MISSING]
    found = [row for row in load(name)[key] if kind in (None, row.get("kind"))]
    return [pytest.param(row, id=str(row[identity])) for row in found]
