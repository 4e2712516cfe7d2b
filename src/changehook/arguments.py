"""Words of the command line: what they may be, and complaints that repeat no secret."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

__all__ = ["Parser", "count", "size"]

_OPTION = re.compile(r"--[a-z-]{1,20}")
_CHOICE = re.compile(r"invalid choice: .*(?= \(choose from)", re.DOTALL)
_SIZE = re.compile(r"([0-9]{1,12})(B|kB|MB|GB|KiB|MiB|GiB)?", re.IGNORECASE)
_UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


class Parser(argparse.ArgumentParser):
    """Complains without repeating words that it cannot place: one may be a secret."""

    def error(self, message: str) -> NoReturn:
        head, unknown, words = message.partition("unrecognized arguments: ")
        names = [word if _OPTION.fullmatch(word) else "***" for word in words.split()]
        super().error(_CHOICE.sub("unknown", head) + unknown + " ".join(names))


def size(text: str) -> int:
    if not (match := _SIZE.fullmatch(text)):
        raise argparse.ArgumentTypeError("expected a size such as 500, 64kB, 10MB or 1GiB")
    return int(match[1]) * _UNITS.get((match[2] or "").lower().removesuffix("b"), 1)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("expected a number of requests, 1 or more")
    return int(text)
