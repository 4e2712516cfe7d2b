"""The request of a delivery as a command for a shell, with variables for what is hidden."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

import attrs

from changehook.errors import printable
from changehook.exchange import HIDDEN
from changehook.printing import clean

__all__ = ["curl_command"]

LONGEST_ARGUMENT = 100_000  # Linux takes 131,072 bytes (MAX_ARG_STRLEN)
SET_BY_CURL = frozenset({"host", "content-length", "accept-encoding"})

_NOT_IN_NAMES = re.compile("[^A-Z0-9]+")


@attrs.define
class _Variables:
    """The names of variables for what is hidden, each of them once."""

    notes: list[str] = attrs.field(factory=list)
    names: set[str] = attrs.field(factory=set)

    def add(self, name: str, meaning: str) -> str:
        """Return a name for something, and note what it means."""
        base = f"HOOK_{_NOT_IN_NAMES.sub('_', name.upper()).strip('_') or 'HEADER'}"
        found = next(
            each
            for each in (base, *(f"{base}_{number}" for number in range(2, 1_000)))
            if each not in self.names
        )
        self.names.add(found)
        self.notes.append(f"# {found} is {printable(meaning)}, hidden here")
        return f'"${{{found}:?}}"'


def curl_command(method: str, url: str, headers: Mapping[str, str], body: str) -> str:
    """Return a command of a POSIX shell that sends a request again.

    Args:
        method: of the request.
        url: as it is shown; when its path is hidden, the command reads ``$HOOK_URL``.
        headers: as they are shown; one that is hidden is read from a variable of its own.
        body: as it is shown. One that no command line can hold, or no page can show as it is, is
            read from ``body.txt``.
    """
    variables = _Variables()
    address = shlex.quote(url)
    if HIDDEN in url:
        address = variables.add("url", f"the whole URL at {url.partition(HIDDEN)[0]}")
    lines = [f"curl --request {shlex.quote(method)} --url {address}"]
    lines += [f"--header {each}" for each in _headers(headers, variables)]
    if _needs_file(body):
        variables.notes.append("# body.txt is the body, which cannot stand here as it is")
        lines.append("--data-binary @body.txt")
    else:
        if HIDDEN in body:
            variables.notes.append("# *** in the body may stand for a secret of the webhook")
        lines.append(f"--data-raw {shlex.quote(body)}")
    return "\n".join([*variables.notes, " \\\n  ".join(lines)])


def _headers(headers: Mapping[str, str], variables: _Variables) -> Iterator[str]:
    lower = {name.lower() for name in headers}
    for name, value in headers.items():
        if name.lower() in SET_BY_CURL:
            continue
        if value == HIDDEN:
            variable = variables.add(name, f"the value of {name}")
            yield shlex.quote(f"{name}: ") + variable
        else:
            yield shlex.quote(f"{name}: {value}" if value else f"{name};")
    # What curl would send of its own is taken out.
    yield from (f"{name}:" for name in ("Accept", "User-Agent") if name.lower() not in lower)


def _needs_file(body: str) -> bool:
    size = len(body.encode("utf-8", "surrogatepass"))
    return size > LONGEST_ARGUMENT or clean(body, keep="\n\t") != body
