"""Words of the command line: what they may be, and complaints that name them."""

from __future__ import annotations

import argparse
import datetime
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from changehook.emitter import Emitter
from changehook.errors import ConfigurationError
from changehook.models import utcnow
from changehook.network import NetworkPolicy
from changehook.places import check_place, found_at, reported

__all__ = [
    "ALLOW",
    "FILE",
    "Add",
    "Parser",
    "check_shared",
    "command",
    "count",
    "duration",
    "emitter_at",
    "located",
    "moment",
    "network_of",
    "of_options",
    "size",
]

FILE = "the webhooks: a .toml or .json file"
ALLOW = "an address, network or host name to open; or internal: private and loopback addresses"
ALLOW += " of hosts that stand in FILE; may be repeated"

_OPTION = re.compile(r"--[a-z-]{1,20}")
_CHOICE = re.compile(r"invalid choice: .*(?= \(choose from)", re.DOTALL)
_VALUE = re.compile(r"ignored explicit argument .*", re.DOTALL)
_SIZE = re.compile(r"([0-9]{1,12})(B|kB|MB|GB|KiB|MiB|GiB)?", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_COUNT = re.compile(r"[0-9]{1,9}")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}

Add = Callable[..., object]


class Parser(argparse.ArgumentParser):
    """Complains without repeating words that it cannot place: one may be a secret."""

    def error(self, message: str) -> NoReturn:
        head, unknown, words = message.partition("unrecognized arguments: ")
        names = [_shown(word) for word in words.split()]
        hint = "; see changehook COMMAND --help" if names else ""
        head = _VALUE.sub("takes no value", _CHOICE.sub("unknown", head))
        super().error(head + unknown + " ".join(names) + hint)


def _shown(word: str) -> str:
    name, equals, _ = word.partition("=")
    return name + equals.replace("=", "=***") if _OPTION.fullmatch(name) else "***"


def command(commands: Any, run: Callable[[argparse.Namespace], int]) -> Add:
    """Add the command that a function performs: its name, and its docstring as help."""
    text = inspect.getdoc(run) or ""
    parser = commands.add_parser(
        run.__name__.removeprefix("_"),
        help=text.partition(".")[0].lower(),
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add: Add = parser.add_argument
    add("--json", action="store_true", help="print JSON, for programs")
    return add


def size(text: str) -> int:
    if not (match := _SIZE.fullmatch(text)):
        raise argparse.ArgumentTypeError("expected a size such as 500, 64kB, 10MB or 1GiB")
    return int(match[1]) * _UNITS.get((match[2] or "").lower().removesuffix("b"), 1)


def count(text: str) -> int:
    if not _COUNT.fullmatch(text) or int(text) == 0:
        raise argparse.ArgumentTypeError("expected a number, 1 or more")
    return int(text)


def duration(text: str) -> float:
    """Return seconds."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError("expected a time such as 90m, 24h or 7d")
    return int(match[1]) * _SECONDS[match[2]]


def moment(text: str) -> datetime.datetime:
    """Return a moment in UTC: of ISO 8601, in UTC unless it names a zone; or so long ago."""
    try:
        if match := _DURATION.fullmatch(text):
            ago = datetime.timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
            return utcnow() - ago
        found = datetime.datetime.fromisoformat(text)
        zoned = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
        return zoned.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        expected = "expected how long ago, such as 24h, or ISO 8601, such as 2026-01-31T12:00"
        raise argparse.ArgumentTypeError(expected) from None


def network_of(allow: list[str]) -> NetworkPolicy:
    """Return the policy that the words after ``--allow`` describe.

    Raises:
        ConfigurationError: one is no address, network or host name.
    """
    opened = [each for each in allow if each != "internal"]
    try:
        return NetworkPolicy(allow=opened, internal_hosts="internal" in allow)
    except ConfigurationError as error:
        raise of_options(error) from None


def located(path: str, error: ConfigurationError) -> ConfigurationError:
    """Return the error with every fault saying which file it is in."""
    where = f"{Path(path)}: "
    texts = [str(fault) if fault.pointer else fault.message for fault in error.faults]
    return ConfigurationError(*(where + text.removeprefix(where) for text in texts))


def of_options(error: ConfigurationError) -> ConfigurationError:
    """Return the error with options in the place of the pointers to arguments."""
    names = [fault.pointer.partition("/")[2].partition("/")[0] for fault in error.faults]
    heads = [f"--{name.replace('_', '-')}: " if name else "" for name in names]
    pairs = zip(heads, error.faults, strict=True)
    return ConfigurationError(*(head + fault.message for head, fault in pairs))


def emitter_at(place: str) -> Emitter:
    """Return the emitter of an application: what stands at a place, or what that returns.

    Raises:
        ConfigurationError: there is none, or its module cannot be imported.
    """
    check_place("--emitter", place)
    sys.path.insert(0, os.getcwd())
    value = found_at("--emitter", place)
    if not isinstance(value, Emitter) and callable(value):
        with reported("--emitter", f"{place} was called"):
            value = value()
    if not isinstance(value, Emitter):
        found = type(value).__name__
        raise ConfigurationError(
            f"--emitter: {place} is no Emitter, and no function that returns one; found {found}"
        )
    return value


def check_shared(emitter: Emitter, place: str, nobody: str) -> None:
    """Raise ConfigurationError if an emitter's deliveries are in the memory of each process."""
    store = emitter.queue.store
    if store is not None and not store.durable:
        raise ConfigurationError(
            f"--emitter: {place} keeps its deliveries in the memory of each process, "
            f"where {nobody} finds them; give it ThreadPoolQueue(SQLiteStore(...))"
        )
