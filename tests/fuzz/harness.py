"""What the fuzz targets share: how an input is taken apart, and what a target is.

A target is a module in ``targets``, with

- ``check(data: bytes) -> None``: raises only when the library did what it must not do;
- ``WORDS``: text that is worth inserting into an input;
- ``INPUTS``: how many inputs CI tries, some 15 seconds of work;
- a folder in ``seeds`` of the same name, with inputs to start from.

Nothing here needs atheris: the seeds run as ordinary tests too.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import attrs

from changehook.errors import ConfigurationError

FOLDER = Path(__file__).resolve().parent
_Error = TypeVar("_Error", bound=Exception)

SEPARATOR = b"\n---\n"
"""Between the parts of an input."""

NAMES = sorted(path.stem for path in FOLDER.glob("targets/*.py"))


class UnfitError(Exception):
    """The input has not the form that the target takes; nothing was tested."""


@attrs.frozen
class Target:
    """One parser, or several that read the same text.

    Args:
        name: of the module, and of the folder of seeds.
        words: text that is worth inserting into an input.
        inputs: how many are tried if nothing else is said.
        check: raises for a finding.
    """

    name: str
    words: Sequence[str]
    inputs: int
    check: Callable[[bytes], None]

    def run(self, data: bytes) -> None:
        """Try one input. Whatever this raises is a finding."""
        with contextlib.suppress(UnfitError):
            self.check(data)


def load(name: str) -> Target:
    """Return the target of that name, importing what it tests."""
    module = importlib.import_module(f"fuzz.targets.{name}")
    return Target(name, module.WORDS, module.INPUTS, module.check)


def seeds(name: str) -> list[Path]:
    """Return the files that a target starts from."""
    return sorted((FOLDER / "seeds" / name).iterdir())


def trial(name: str, data: bytes) -> None:
    """Try one input of a target."""
    load(name).run(data)


def entered(names: Sequence[str]) -> set[str]:
    """Return the functions that the seeds of these targets call, each as module and name."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}")

    targets = [load(name) for name in names]
    sys.setprofile(note)
    try:
        for target in targets:
            for seed in seeds(target.name):
                if not seed.name.startswith("hostile"):
                    target.run(seed.read_bytes())
    finally:
        sys.setprofile(None)
    return found


def parts(data: bytes, count: int) -> list[bytes]:
    """Return that many parts of an input; missing ones are empty, the last one takes the rest."""
    pieces = data.split(SEPARATOR, count - 1)
    return pieces + [b""] * (count - len(pieces))


def texts(data: bytes, count: int) -> list[str]:
    """Return that many parts of an input as text, which may hold any lone surrogate."""
    return [text(part) for part in parts(data, count)]


def text(data: bytes) -> str:
    """Return bytes as text, whatever they are."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


def document(source: str | bytes) -> Any:
    """Return the value of JSON text.

    Raises:
        UnfitError: it is none.
    """
    try:
        return json.loads(source)
    except (ValueError, RecursionError):
        raise UnfitError from None


def attempt(
    errors: type[_Error] | tuple[type[_Error], ...], function: Callable[..., Any], *arguments: Any
) -> tuple[Any, _Error | None]:
    """Return what a call gives and None, or None and the documented error that it raises."""
    try:
        return function(*arguments), None
    except errors as error:
        return None, error


def check_faults(error: ConfigurationError) -> None:
    """An error names faults, each in one line that a log or a terminal can show."""
    assert error.faults
    assert all(fault.message for fault in error.faults)
    assert all(line.isprintable() for line in str(error).split("\n"))
    assert all(str(fault).isprintable() for fault in error.faults)


def is_text(value: object) -> bool:
    """True for text without lone surrogates."""
    try:
        return isinstance(value, str) and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False
