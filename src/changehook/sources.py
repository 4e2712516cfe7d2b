"""Where webhooks are looked up: in memory, indexed by event and model, or in a file."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import os
import re
import stat
import threading
import tomllib
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from changehook.encoding import decode_strict, text_of
from changehook.errors import SHOWN_NAME, ConfigurationError, Fault, hides_locals, pointer_to
from changehook.forks import after_fork_in_child
from changehook.webhooks import Webhook

__all__ = ["FileSource", "WebhookRegistry", "load_webhooks"]

logger = logging.getLogger(__name__)

SELECTIONS = 4096
"""How many (event, model) pairs an index remembers the answer for."""

LARGEST_FILE = 4 * 1024 * 1024
LARGEST_TOML = 2 * 1024 * 1024  # which takes Python ten times as long to read

MOST_WEBHOOKS = 10_000
MOST_FAULTS = 100

_GLOB = re.compile(r"[*?\[]")
# The parser of TOML takes a time that grows with the square of the names in a key. One begins a
# line, or stands after what opens or separates.
_LONG_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*+(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){8}""", re.MULTILINE
)


class _Index:
    """The webhooks of one moment. Never changed: a registry replaces it whole."""

    def __init__(self, webhooks: Iterable[Webhook]) -> None:
        self.webhooks = tuple(webhooks)
        _check(self.webhooks)
        self.by_name = {webhook.name: webhook for webhook in self.webhooks}
        self._events, self._models = _Listeners(), _Listeners()
        for position, webhook in enumerate(self.webhooks):
            if webhook.enabled:
                self._events.add(webhook.events, position)
                self._models.add(webhook.object_types, position)
        self.selections: dict[tuple[str, str], tuple[Webhook, ...]] = {}

    def select(self, event: str, model: str) -> tuple[Webhook, ...]:
        """Return the listeners of a pair that is not remembered yet, in the order of definition."""
        _check_pair(event, model)
        positions = self._events.of(event) & self._models.of(model)
        found = tuple(self.webhooks[position] for position in sorted(positions))
        if len(self.selections) >= SELECTIONS:
            self.selections.clear()
        self.selections[event, model] = found
        return found


class _Listeners:
    """Which webhooks, by position, list a name or a glob that matches it."""

    def __init__(self) -> None:
        self._exact: dict[str, set[int]] = {}
        self._globs: dict[str, tuple[Callable[[str], object], set[int]]] = {}

    def add(self, names: Iterable[str], position: int) -> None:
        """Add the names of one webhook."""
        for name in names:
            if _GLOB.search(name) is None:
                self._exact.setdefault(name, set()).add(position)
            elif name in self._globs:
                self._globs[name][1].add(position)
            else:
                self._globs[name] = (re.compile(fnmatch.translate(name)).match, {position})

    def of(self, name: str) -> Set[int]:
        """Return the webhooks of a name."""
        exact: Set[int] = self._exact.get(name, frozenset())
        found = [positions for matches, positions in self._globs.values() if matches(name)]
        return frozenset().union(exact, *found) if found else exact


def _check_pair(event: object, model: object) -> None:
    faults = [
        Fault(f"/{field}", f"expected a name such as {example}")
        for field, value, example in (("event", event, '"updated"'), ("model", model, '"site"'))
        if not isinstance(value, str) or not value
    ]
    if faults:
        raise ConfigurationError(*faults)


def _check(webhooks: Sequence[Webhook]) -> None:
    seen: set[str] = set()
    faults = []
    for position, webhook in enumerate(webhooks):
        if not isinstance(webhook, Webhook):
            found = f"expected a Webhook, found {type(webhook).__name__}"
            raise ConfigurationError(Fault(f"/{position}", f"{found}; Webhook.from_dict makes one"))
        if webhook.name in seen:
            faults.append(Fault(f"/{position}/name", f'there is another webhook "{webhook.name}"'))
        seen.add(webhook.name)
    if faults:
        raise ConfigurationError(*faults)


class WebhookRegistry:
    """Webhooks in memory. May be changed at any time, while changes are emitted from other threads.

    Every emit sees the webhooks of one moment: all of the old or all of the new ones.

    Args:
        webhooks: names must be unique.

    Raises:
        ConfigurationError: two webhooks have one name.
    """

    def __init__(self, webhooks: Iterable[Webhook] = ()) -> None:
        self._lock = threading.Lock()
        self._index = _Index(webhooks)
        after_fork_in_child(self._forked)

    def _forked(self) -> None:
        """A thread of the parent may have held the lock for ever."""
        self._lock = threading.Lock()

    def select(self, event: str, model: str) -> tuple[Webhook, ...]:
        """Return the enabled webhooks that listen, in the order of definition.

        Raises:
            ConfigurationError: event or model is not a name.
        """
        index = self._index
        try:
            found = index.selections.get((event, model))
        except TypeError:
            found = None
        return self._select_anew(event, model) if found is None else found

    def _select_anew(self, event: str, model: str) -> tuple[Webhook, ...]:
        return self._index.select(event, model)

    def get(self, name: str) -> Webhook | None:
        """Return the webhook of that name, enabled or not."""
        return self._index.by_name.get(name)

    def all(self) -> tuple[Webhook, ...]:
        """Return every webhook."""
        return self._index.webhooks

    def replace(self, webhooks: Iterable[Webhook]) -> None:
        """Put these webhooks in the place of all there were.

        Raises:
            ConfigurationError: two webhooks have one name; the old ones then stay.
        """
        index = _Index(webhooks)
        with self._lock:
            self._index = index

    def add(self, webhook: Webhook) -> None:
        """Add a webhook, or replace the one of its name.

        Raises:
            ConfigurationError: it is not a ``Webhook``.
        """
        _check([webhook])
        with self._lock:
            others = {**self._index.by_name, webhook.name: webhook}
            self._index = _Index(others.values())

    def remove(self, name: str) -> None:
        """Remove the webhook of that name, if there is one; its waiting deliveries will be
        skipped."""
        with self._lock:
            self._index = _Index(hook for hook in self._index.webhooks if hook.name != name)


@hides_locals
def load_webhooks(path: str | os.PathLike[str]) -> list[Webhook]:
    """Return the webhooks of a file.

    Args:
        path: ``.toml`` with ``[[webhooks]]`` tables; or ``.json`` with ``{"webhooks": [...]}``, a
            list of webhooks, or one webhook. UTF-8, at most 4 MiB of JSON or 2 MiB of TOML, and
            10,000 webhooks.

    Raises:
        ConfigurationError: the file cannot be read; or every fault of every webhook in it, as
            ``/webhooks/0/url: ...``, up to 100.
    """
    documents = _documents(_path(path))
    webhooks, faults = [], []
    for position, document in enumerate(documents):
        try:
            webhooks.append(Webhook.from_dict(document))
        except ConfigurationError as error:
            faults += [fault.under(f"/webhooks/{position}") for fault in error.faults]
            if len(faults) >= MOST_FAULTS:
                raise ConfigurationError(*faults[:MOST_FAULTS], _MORE_FAULTS) from None
    if not faults:
        try:
            _check(webhooks)
        except ConfigurationError as error:
            faults += [fault.under("/webhooks") for fault in error.faults]
    if faults:
        raise ConfigurationError(*faults)
    return webhooks


_MORE_FAULTS = f"these are the first {MOST_FAULTS} faults; there may be more"


def _path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(f"expected the path of a file, found {type(path).__name__}")
    return Path(path)


def _documents(path: Path) -> Sequence[Any]:
    document = _parsed(path)
    if isinstance(document, Mapping) and document.keys() <= {"webhook"}:
        write = "[[webhooks]]" if _is_toml(path) else '{"webhooks": [...]}'
        raise ConfigurationError(f"{path}: holds no webhooks; write {write}")
    if isinstance(document, Mapping) and "webhooks" in document:
        strange = [key[:SHOWN_NAME] for key in document if key != "webhooks"]
        if strange:
            faults = [Fault(pointer_to(key), _UNKNOWN) for key in strange[:MOST_FAULTS]]
            raise ConfigurationError(*faults)
        document = document["webhooks"]
    elif isinstance(document, Mapping):
        document = [document]
    if not isinstance(document, list):
        raise ConfigurationError(Fault("/webhooks", "expected a list of webhooks"))
    if len(document) > MOST_WEBHOOKS:
        raise ConfigurationError(
            Fault(
                "/webhooks", f"{len(document)} webhooks, and a file holds at most {MOST_WEBHOOKS}"
            )
        )
    return document


_UNKNOWN = "unknown; the file has webhooks"
_KIND = {
    True: "TOML, which a file is whose name ends in .toml",
    False: "JSON, which a file is unless its name ends in .toml",
}


def _parsed(path: Path) -> Any:
    try:
        data = _read(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"{path}: cannot be read ({reason})") from None
    try:
        text = text_of(data)
        return _parsed_toml(text) if _is_toml(path) else decode_strict(text)
    except (ValueError, RecursionError) as error:
        kind = _KIND[_is_toml(path)]
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigurationError(f"{path}: not {kind} ({reason})") from None


def _read(path: Path) -> bytes:
    """Return what a file holds; one that would keep its reader waiting is not read."""
    # Opening a pipe would wait for its writer.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        most = LARGEST_TOML if _is_toml(path) else LARGEST_FILE
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is longer than {most} bytes; write a WebhookSource of your own")
    return data


def _parsed_toml(text: str) -> Any:
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.end()) + 1
        raise ValueError(f"line {line}: a key of more than 8 names")
    return tomllib.loads(text)


def _is_toml(path: Path) -> bool:
    return path.suffix.lower() == ".toml"


class FileSource(WebhookRegistry):
    """Webhooks from a JSON or TOML file, read again when the file changes.

    A thread looks at the file; ``select`` never touches the disk. A file that is broken keeps the
    last good set, is logged once with every fault, and ``error`` says so until it is repaired.

    Args:
        path: the file; see ``load_webhooks``.
        interval: seconds between two looks at the file.

    Raises:
        ConfigurationError: the file is broken now, or ``interval`` is not more than 0.
    """

    _watcher: threading.Thread | None

    def __init__(self, path: str | os.PathLike[str], *, interval: float = 1.0) -> None:
        if not isinstance(interval, int | float) or not interval > 0:
            raise ConfigurationError(f"interval is {interval!r:.40}; write seconds, more than 0")
        self.path = _path(path)
        self.interval = interval
        self.error: ConfigurationError | None = None
        self._stamp = _stamp(self.path)
        super().__init__(load_webhooks(self.path))
        self._reset()

    def get(self, name: str) -> Webhook | None:
        """Return the webhook of that name, enabled or not."""
        self._watch()
        return super().get(name)

    def refresh(self) -> bool:
        """Read the file if it has changed since it was read last; return whether its webhooks now
        hold."""
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.replace(load_webhooks(self.path))
        except Exception as raised:  # whatever it is, a repaired file has to be seen
            error = ConfigurationError(f"cannot be read ({type(raised).__name__})")
            error = raised if isinstance(raised, ConfigurationError) else error
            self.error = error
            logger.error("%s is broken, the last good webhooks stay:\n%s", self.path, error)
            return False
        self.error = None
        logger.info("%s was read again", self.path)
        return True

    def close(self) -> None:
        """Stop looking at the file; the webhooks stay."""
        self._stop.set()

    def _select_anew(self, event: str, model: str) -> tuple[Webhook, ...]:
        self._watch()
        return super()._select_anew(event, model)

    def _watch(self) -> None:
        with self._start_lock:
            if self._watcher is None and not self._stop.is_set():
                arguments = (weakref.ref(self), self._stop, self.interval)
                watcher = threading.Thread(
                    target=_look, args=arguments, name="changehook-file-source", daemon=True
                )
                with contextlib.suppress(RuntimeError):  # no thread starts while Python exits
                    watcher.start()
                    self._watcher = watcher

    def _reset(self) -> None:
        self._stop = threading.Event()
        self._start_lock = threading.Lock()
        self._watcher = None

    def _forked(self) -> None:
        """Forget the parent's thread and remembered selections, so that the next emit starts a
        thread."""
        super()._forked()
        self._reset()
        self._index = _Index(self._index.webhooks)


def _look(source: weakref.ref[FileSource], stop: threading.Event, interval: float) -> None:
    """Refresh a source from time to time, for as long as someone uses it."""
    while not stop.wait(interval):
        present = source()
        if present is None:
            return
        present.refresh()
        del present


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
