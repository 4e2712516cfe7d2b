"""Objects of the host's code that are named by text, such as ``myapp.hooks:emitter``."""

from __future__ import annotations

import contextlib
import importlib
import operator
import re
from collections.abc import Iterator
from typing import Any

from changehook.errors import ConfigurationError, kind_and_place

__all__ = ["HostCodeError", "check_place", "found_at", "reported"]


class HostCodeError(ConfigurationError):
    """The host's own code raised something, which may pass."""


_PLACE = re.compile(r"([\w.]+):([\w.]+)")


def check_place(name: str, place: object) -> tuple[str, str]:
    """Return the module and the name that a place consists of; nothing is imported.

    Raises:
        ConfigurationError: it is none; the error calls it ``name``.
    """
    match = _PLACE.fullmatch(place) if isinstance(place, str) else None
    if match is None:
        raise ConfigurationError(f"{name}: expected MODULE:NAME, such as myapp.hooks:emitter")
    module, attribute = match.groups()
    return module, attribute


def found_at(name: str, place: str) -> Any:
    """Return what stands at a place, importing its module.

    Raises:
        ConfigurationError: nothing does, or the module cannot be imported; the error calls it
            ``name``, and shows nothing of what the module's own error says.
    """
    module, attribute = check_place(name, place)
    try:
        with reported(name, f"{module} was imported"):
            imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        known = error.name or ""
        if module != known and not module.startswith(f"{known}."):
            reason = f"{module} imports {known}, which is not there"
        else:
            reason = f"there is no module {module}; start this where Python finds it"
        raise ConfigurationError(f"{name}: {reason}") from None
    try:
        return operator.attrgetter(attribute)(imported)
    except AttributeError:
        raise ConfigurationError(f"{name}: the module {module} has no {attribute}") from None


@contextlib.contextmanager
def reported(name: str, what: str) -> Iterator[None]:
    """Have what an application raises become a complaint; its text may hold a secret."""
    try:
        yield
    except (ModuleNotFoundError, ConfigurationError):
        raise
    except (ImportError, SyntaxError) as error:
        missing = f" ({error})" if "changehook[" in str(error) else ""  # a text of our own
        raise ConfigurationError(f"{name}: {kind_and_place(error)}, when {what}{missing}") from None
    except Exception as error:
        raise HostCodeError(f"{name}: {kind_and_place(error)}, when {what}") from None
