"""Marker secrets, and detectors that find them in whatever a program shows of itself."""

from __future__ import annotations

import base64
import collections
import contextlib
import functools
import logging
import sys
import threading
import traceback
import types
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

import changehook

TESTS = str(Path(__file__).resolve().parents[1])
OURS = str(Path(changehook.__file__).parent)
Place = tuple[str, str]


def mark(kind: str) -> str:
    """Return the marker of one kind."""
    return f"s3cr3t-{kind}-x9"


KINDS = (
    *("plain", "environment", "callable", "whsec-new-key-of-32-bytes", "whsec-old-key-of-32-bytes"),
    *("older", "path", "query", "bearer", "api-key", "cookie", "basic", "agent", "body", "data"),
    *("proxy", "literal"),
)


def whsec(kind: str) -> str:
    """Return a secret for Standard Webhooks whose key is a marker."""
    return "whsec_" + base64.b64encode(mark(kind).encode()).decode()


def forms(kind: str) -> list[str]:
    """Return what shows a marker: its text, and base64 of it at each of the three alignments."""
    data = mark(kind).encode()
    shifted = [base64.b64encode(b"\0" * skip + data) for skip in range(3)]
    return [mark(kind), *(text[4:-4].decode() for text in shifted)]


FORMS = {kind: forms(kind) for kind in KINDS}


def shown(text: str) -> list[str]:
    """Return the kinds of the markers that a text shows."""
    lower = text.lower()
    return [
        kind
        for kind, (plain, *encoded) in FORMS.items()
        if plain in lower or any(form in text for form in encoded)
    ]


def fields(value: object) -> dict[str, object]:
    """Return the attributes of an instance, slots included."""
    names = [name for cls in type(value).__mro__ for name in vars(cls).get("__slots__", ())]
    missing = object()
    found = {name: getattr(value, name, missing) for name in names}
    found = {name: item for name, item in found.items() if item is not missing}
    return found | dict(getattr(value, "__dict__", {}))


def parts(value: object) -> Iterator[object]:
    """Yield what an object refers to, without classes, modules and globals."""
    if isinstance(value, type | types.ModuleType | types.CodeType | str | bytes):
        return
    if isinstance(value, Mapping):
        yield from [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset | collections.deque):
        yield from list(value)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            with contextlib.suppress(ValueError):
                yield cell.cell_contents
        yield value.__defaults__
    elif isinstance(value, weakref.ref):
        yield value()
    elif isinstance(value, BaseException):
        yield from (value.args, value.__cause__, value.__context__)
        yield from (dict(frame.f_locals) for frame, _ in traceback.walk_tb(value.__traceback__))
    yield from fields(value).values()


def reachable(*roots: object) -> list[object]:
    """Return every object that can be reached, roots included."""
    seen: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        value = waiting.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            waiting += parts(value)
    return list(seen.values())


def is_ours(value: object) -> bool:
    """Return whether an object is an instance of one of our classes."""
    return type(value).__module__.partition(".")[0] == "changehook"


def spelled(value: object) -> str:
    """Return every text that Python makes of an object by itself."""
    return " ".join([repr(value), str(value), f"{value}", "%s %r" % (value, value)])  # noqa: UP031 - one of the ways


def objects(*roots: object) -> Iterator[Place]:
    """Yield the texts of each of our objects that can be reached."""
    for value in reachable(*roots):
        if is_ours(value):
            yield f"text of {type(value).__name__}", spelled(value)


def holders(*roots: object) -> set[str]:
    """Return which attributes of our objects hold a marker in the open."""
    return {
        f"{type(value).__name__}.{name}"
        for value in reachable(*roots)
        if is_ours(value)
        for name, item in fields(value).items()
        if shown(repr(item))
    }


def in_tests(frame: types.FrameType) -> bool:
    """Return whether a frame is the host's: here, the tests'."""
    return frame.f_code.co_filename.startswith(TESTS)


def locals_of(frame: types.FrameType) -> Iterator[Place]:
    """Yield the variables of one frame, as crash reports collect them."""
    for name, value in frame.f_locals.items():
        with contextlib.suppress(Exception):
            yield f"variable {name} of {frame.f_code.co_qualname}", repr(value)


def crash_report(error: BaseException) -> Iterator[Place]:
    """Yield what a crash report may collect of an error: texts, attributes, frames, the chain."""
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or each in chain:
            continue
        chain.append(each)
        waiting += [each.__cause__, each.__context__]
        name = type(each).__name__
        yield f"text of {name}", spelled(each)
        for attribute in {*fields(each), *dir(each)} - {"__traceback__"}:
            value = getattr(each, attribute, None)
            if not callable(value):
                yield f"{name}.{attribute}", repr(value)
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if not in_tests(frame):
                yield from locals_of(frame)
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    for summary in whole.stack:
        if summary.filename.startswith(TESTS):
            summary.locals = None
    yield "traceback with variables", "".join(whole.format())


def crash(call: Callable[[], object]) -> list[Place]:
    """Return the crash report of what a call of the host raises."""
    try:
        call()
    except BaseException as error:
        return list(crash_report(error))
    raise AssertionError("nothing was raised")


class Witness(logging.Handler):
    """Collects what is logged, warned of, and raised in threads, with the frames of that moment."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.places: list[Place] = []
        self._stack = contextlib.ExitStack()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record with all that it carries, and the frames that logged it."""
        where = f"log of {record.name}"
        self.places.append((where, f"{record.getMessage()} {vars(record)!r}"))
        if record.exc_info and record.exc_info[1]:
            self.places += crash_report(record.exc_info[1])
        if isinstance(record.args, tuple):
            for item in record.args:
                if isinstance(item, BaseException):
                    self.places += crash_report(item)
        frame: types.FrameType | None = sys._getframe()
        while frame:
            if not in_tests(frame) and frame.f_code.co_filename.startswith(OURS):
                self.places += [(f"{where}: {name}", text) for name, text in locals_of(frame)]
            frame = frame.f_back

    def __enter__(self) -> Self:
        loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
        for logger in loggers:
            self._stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.DEBUG)
        logging.root.addHandler(self)
        self._stack.callback(logging.root.removeHandler, self)
        self._stack.callback(setattr, threading, "excepthook", threading.excepthook)
        threading.excepthook = lambda args: self.places.extend(crash_report(args.exc_value))
        caught = self._stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        self._stack.callback(
            lambda: self.places.extend(("warning", str(each.message)) for each in caught)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
