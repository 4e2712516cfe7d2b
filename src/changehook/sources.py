"""Where webhooks are looked up: in memory, indexed by event and model, or in a file."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import os
import re
import threading
import tomllib
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from changehook.encoding import decode_strict
from changehook.errors import ConfigurationError, Fault
from changehook.forks import after_fork_in_child
from changehook.webhooks import Webhook

__all__ = ["FileSource", "WebhookRegistry", "load_webhooks"]

logger = logging.getLogger(__name__)

SELECTIONS = 4096
"""How many (event, model) pairs an index remembers the answer for."""

_GLOB = re.compile(r"[*?\[]")


class _Index:
    """The webhooks of one moment. Never changed: a registry replaces it whole."""

    def __init__(self, webhooks: Iterable[Webhook]) -> None:
        self.webhooks = tuple(webhooks)
        _check(self.webhooks)
        self.by_name = {webhook.name: webhook for webhook in self.webhooks}
        self._exact: dict[tuple[str, str], list[int]] = {}
        self._globs: list[tuple[Callable[[str], object], Callable[[str], object], int]] = []
        for position, webhook in enumerate(self.webhooks):
            if webhook.enabled:
                self._add(webhook, position)
        self.selections: dict[tuple[str, str], tuple[Webhook, ...]] = {}

    def _add(self, webhook: Webhook, position: int) -> None:
        for event in webhook.events:
            for model in webhook.object_types:
                if _GLOB.search(event) or _GLOB.search(model):
                    self._globs.append((_matcher(event), _matcher(model), position))
                else:
                    self._exact.setdefault((event, model), []).append(position)

    def select(self, event: str, model: str) -> tuple[Webhook, ...]:
        """Return the listeners of a pair that is not remembered yet, in the order of definition."""
        _check_pair(event, model)
        positions = set(self._exact.get((event, model), ()))
        positions.update(
            at for event_of, model_of, at in self._globs if event_of(event) and model_of(model)
        )
        found = tuple(self.webhooks[position] for position in sorted(positions))
        if len(self.selections) >= SELECTIONS:
            self.selections.clear()
        self.selections[event, model] = found
        return found


def _matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(pattern)).match


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


def load_webhooks(path: str | os.PathLike[str]) -> list[Webhook]:
    """Return the webhooks of a file.

    Args:
        path: ``.toml`` with ``[[webhooks]]`` tables; or ``.json`` with ``{"webhooks": [...]}``, a
            list of webhooks, or one webhook.

    Raises:
        ConfigurationError: the file cannot be read; or every fault of every webhook in it, as
            ``/webhooks/0/url: ...``.
    """
    documents = _documents(Path(path))
    webhooks, faults = [], []
    for position, document in enumerate(documents):
        try:
            webhooks.append(Webhook.from_dict(document))
        except ConfigurationError as error:
            faults += [fault.under(f"/webhooks/{position}") for fault in error.faults]
    if not faults:
        try:
            _check(webhooks)
        except ConfigurationError as error:
            faults += [fault.under("/webhooks") for fault in error.faults]
    if faults:
        raise ConfigurationError(*faults)
    return webhooks


def _documents(path: Path) -> Sequence[Any]:
    document = _parsed(path)
    if isinstance(document, Mapping) and document.keys() <= {"webhook"}:
        write = "[[webhooks]]" if _is_toml(path) else '{"webhooks": [...]}'
        raise ConfigurationError(f"{path}: holds no webhooks; write {write}")
    if isinstance(document, Mapping) and "webhooks" in document:
        faults = [
            Fault(f"/{key}", "unknown; the file has webhooks")
            for key in document
            if key != "webhooks"
        ]
        if faults:
            raise ConfigurationError(*faults)
        document = document["webhooks"]
    elif isinstance(document, Mapping):
        document = [document]
    if not isinstance(document, list):
        raise ConfigurationError(Fault("/webhooks", "expected a list of webhooks"))
    return document


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if _is_toml(path) else decode_strict(text)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        kind = "TOML" if _is_toml(path) else "JSON, which a file is unless its name ends in .toml"
        raise ConfigurationError(f"{path}: not {kind} ({error})") from None


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
        if not interval > 0:
            raise ConfigurationError(f"interval is {interval}; write seconds, more than 0")
        self.path = Path(path)
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
        except ConfigurationError as error:
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
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
