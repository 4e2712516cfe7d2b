"""The power is cut at any moment: what the store acknowledged is there when it is back.

The figures are shown by ``pytest -s``. Longer, and with other moments::

    CHANGEHOOK_CUTS=5000 CHANGEHOOK_SEED=2 pytest -s tests/acceptance/test_power_cuts.py
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import sqlite3

import attrs
from powercuts import Disk

from changehook.stores.sqlite import SQLiteStore
from changehook.testing.deliveries import NOW, delayed, delivered, failed, make_delivery

CUTS = int(os.environ.get("CHANGEHOOK_CUTS", "500"))
SEED = int(os.environ.get("CHANGEHOOK_SEED", "1"))
FILE = "webhooks.db"
LIFE = 60  # operations between two cuts after which the machine goes on with what was left
OUTCOMES = [delivered, failed, lambda claimed: delayed(claimed, 60)]


@attrs.frozen
class Cut:
    """What the files hold after a cut.

    Args:
        files: the content of each.
        acknowledged: the revision of each delivery that the store had confirmed by then.
        added: the ids that were just being added, together.
    """

    files: dict[str, bytes]
    acknowledged: dict[str, int]
    added: set[str]


class Machine:
    """A machine that works on deliveries, and whose power may be cut at each write and sync."""

    def __init__(self, folder, synchronous):
        self.folder = folder
        self.synchronous = synchronous
        self.chance = random.Random(SEED)
        self.disk = None
        self.cuts = []
        self.acknowledged = {}
        self.added = set()

    def live(self, files, acknowledged):
        """Work for a while, from what the disk holds, and return the cuts that there might be."""
        self.cuts, self.acknowledged = [], dict(acknowledged)
        self.disk = Disk(self._before)
        place = self.folder / self.disk.name
        self.disk.put(files, place)
        store = SQLiteStore(place / FILE, synchronous=self.synchronous, connect=self.disk.connect)
        for _ in range(LIFE):
            self.chance.choice([self._add, self._add, self._deliver])(store)
            if self.chance.random() < 0.05:
                store.close()  # as when a process ends: the log is removed
        store.close()
        self.disk.unregister()
        return self.cuts

    def _before(self):
        if self.chance.random() < 0.01:
            files = self.disk.after_cut(self.chance, kept=self.chance.choice([0, 0.5]))
            self.cuts.append(Cut(files, dict(self.acknowledged), self.added))

    def _add(self, store):
        payload = f'"{"x" * self.chance.randrange(3000)}"'
        deliveries = [make_delivery(payload=payload) for _ in range(self.chance.randint(1, 3))]
        self.added = {each.id for each in deliveries}
        store.add(deliveries)
        self._acknowledge(*deliveries)

    def _deliver(self, store):
        claimed = store.claim(NOW, limit=3)
        self._acknowledge(*claimed)
        for each in claimed:
            after = self.chance.choice(OUTCOMES)(each)
            assert store.save(after)
            self._acknowledge(after)

    def _acknowledge(self, *deliveries):
        self.acknowledged.update((each.id, each.revision) for each in deliveries)
        self.added = set()


def reopened(cut, folder):
    """Return the revision of each delivery after a cut, with the file found to be in order."""
    folder.mkdir()
    for name, content in cut.files.items():
        (folder / name).write_bytes(content)
    store = SQLiteStore(folder / FILE)
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = connection.execute("SELECT id, revision, status FROM deliveries").fetchall()
    counted = collections.Counter(status for *_, status in rows)
    assert {status: count for status, count in store.counts().items() if count} == counted
    store.close()
    return {delivery_id: revision for delivery_id, revision, _ in rows}


def lost_after_cuts(folder, synchronous):
    """Cut the power many times; return how many acknowledged deliveries were lost or set back."""
    machine = Machine(folder, synchronous)
    cuts = acknowledged = lost = 0
    files, kept = {}, {}
    while cuts < CUTS:
        for cut in machine.live(files, kept):
            cuts += 1
            files, kept = cut.files, reopened(cut, folder / f"cut-{cuts}")
            acknowledged += len(cut.acknowledged)
            lost += sum(kept.get(each, -1) < number for each, number in cut.acknowledged.items())
            assert len(cut.added & kept.keys()) in (0, len(cut.added))
            assert kept.keys() <= cut.acknowledged.keys() | cut.added
            assert all(kept[each] <= cut.acknowledged.get(each, -1) + 1 for each in kept)
    print(f" {synchronous}: seed: {SEED}, cuts: {cuts}, acknowledged: {acknowledged}, lost: {lost}")
    return lost


def test_with_full_nothing_is_lost(tmp_path):
    """Whatever was on its way to the disk: what was acknowledged is there, and all in order."""
    assert lost_after_cuts(tmp_path, "FULL") == 0


def test_with_normal_the_last_may_be_lost(tmp_path):
    """As its documentation says, and nothing is damaged; so these cuts do find what is lost."""
    assert lost_after_cuts(tmp_path, "NORMAL") > 0
