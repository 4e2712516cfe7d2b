"""Emitters that the command line is pointed to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from changehook import ConfigurationError, Emitter
from changehook.arguments import check_shared, emitter_at

APPLICATION = """
from changehook import Emitter, InMemoryQueue, SQLiteStore, ThreadPoolQueue

memory = Emitter(queue=InMemoryQueue())

def durable():
    return Emitter(queue=ThreadPoolQueue(SQLiteStore("w.db")))

number = 7
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An application in the folder where the command is started."""
    name = f"application_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def test_an_emitter_is_what_stands_at_a_place_or_what_that_returns(place):
    assert isinstance(emitter_at(f"{place}:memory"), Emitter)
    with emitter_at(f"{place}:durable") as emitter:
        check_shared(emitter, f"{place}:durable", "no worker")
        emitter.queue.store.close()


def test_what_is_no_emitter_is_refused(place):
    with pytest.raises(ConfigurationError, match=r":number is no Emitter, .* found int"):
        emitter_at(f"{place}:number")
    with pytest.raises(ConfigurationError, match="expected MODULE:NAME"):
        emitter_at("application")


def test_deliveries_in_the_memory_of_each_process_are_found_by_nobody(place):
    with pytest.raises(ConfigurationError, match="where no worker finds them; give it Thread"):
        check_shared(emitter_at(f"{place}:memory"), "application:memory", "no worker")
