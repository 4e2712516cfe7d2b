"""The SQLite store: the contract, and what a file and several processes bring with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from changehook.interfaces import Store
from changehook.stores.sqlite import SQLiteStore
from changehook.testing.contracts import StoreContract


class TestSQLiteStore(StoreContract):
    """The contract of stores."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        """Give each test a folder of its own."""
        self.path = tmp_path / "webhooks.db"

    def make_store(self, capacity: int) -> Store:
        """Return a store in a new file."""
        return SQLiteStore(self.path, capacity=capacity)
