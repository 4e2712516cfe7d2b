"""Words of the command line: what they may be, and complaints that name them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NoReturn

from changehook.errors import ConfigurationError

__all__ = ["Parser", "count", "located", "of_options", "size"]

_OPTION = re.compile(r"--[a-z-]{1,20}")
_CHOICE = re.compile(r"invalid choice: .*(?= \(choose from)", re.DOTALL)
_VALUE = re.compile(r"ignored explicit argument .*", re.DOTALL)
_SIZE = re.compile(r"([0-9]{1,12})(B|kB|MB|GB|KiB|MiB|GiB)?", re.IGNORECASE)
_UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


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


def size(text: str) -> int:
    if not (match := _SIZE.fullmatch(text)):
        raise argparse.ArgumentTypeError("expected a size such as 500, 64kB, 10MB or 1GiB")
    return int(match[1]) * _UNITS.get((match[2] or "").lower().removesuffix("b"), 1)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("expected a number of requests, 1 or more")
    return int(text)


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
