"""The request of a delivery as a command for a shell, with variables for what is hidden."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from changehook.exchange import HIDDEN

__all__ = ["curl_command"]

LONGEST_ARGUMENT = 100_000  # Linux takes 131,072 bytes (MAX_ARG_STRLEN)
SET_BY_CURL = frozenset({"host", "content-length", "accept-encoding"})

_NOT_IN_NAMES = re.compile("[^A-Z0-9]+")


def curl_command(method: str, url: str, headers: Mapping[str, str], body: str) -> str:
    """Return a command of a POSIX shell that sends a request again.

    Args:
        method: of the request.
        url: as it is shown; when its path is hidden, the command reads ``$HOOK_URL``.
        headers: as they are shown; one that is hidden is read from a variable of its own.
        body: as it is shown. One that no command line can hold is read from ``body.txt``.
    """
    lines = [f"curl --request {shlex.quote(method)} {_url(url)}"]
    lines += [f"--header {_header(*each)}" for each in headers.items() if _is_sent(each[0])]
    lines.append(f"--data-binary {_body(body)}" if _is_long(body) else f"--data-raw {_body(body)}")
    notes = [f"# {note}" for note in _notes(url, headers, body)]
    return "\n".join([*notes, " \\\n  ".join(lines)])


def _is_sent(name: str) -> bool:
    return name.lower() not in SET_BY_CURL


def _is_long(body: str) -> bool:
    return len(body.encode()) > LONGEST_ARGUMENT or "\0" in body


def _url(url: str) -> str:
    return '"$HOOK_URL"' if HIDDEN in url else shlex.quote(url)


def _header(name: str, value: str) -> str:
    if value != HIDDEN:
        return shlex.quote(f"{name}: {value}")
    return f'{shlex.quote(f"{name}: ")}"${_variable(name)}"'


def _variable(name: str) -> str:
    return f"HOOK_{_NOT_IN_NAMES.sub('_', name.upper()).strip('_')}"


def _body(body: str) -> str:
    return "@body.txt" if _is_long(body) else shlex.quote(body)


def _notes(url: str, headers: Mapping[str, str], body: str) -> Iterator[str]:
    if HIDDEN in url:
        yield f"HOOK_URL is the whole URL at {url.partition(HIDDEN)[0]}, hidden here"
    for name, value in headers.items():
        if value == HIDDEN and _is_sent(name):
            yield f"{_variable(name)} is the value of {name}, hidden here"
    if _is_long(body):
        yield "body.txt is the body, which is too long for a command"
    elif HIDDEN in body:
        yield "the body holds ***, which stands for a secret of the webhook"
