"""Mutations that know the form of the inputs: parts, and JSON in them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fuzz.harness import SEPARATOR

SCALARS: tuple[Any, ...] = (None, True, False, 0, 1, -1, 255, 2**53, 2**64, 10**320, 0.5, 1e308, "")
HOSTILE = (
    "\x00",
    "\r\n",
    "\u2028",
    "\x85",
    "\u202e",
    "é",
    "\ud800",
    "\udc01",
    '"',
    "\\",
    "a" * 300,
)

Mutate = Callable[[bytes, int], bytes]
Path = tuple[Any, ...]


def mutated(data: bytes, size: int, seed: int, *, words: Sequence[str], mutate: Mutate) -> bytes:
    """Return a variant of an input: of its bytes, or of one node of JSON in it.

    Args:
        size: the most bytes that it may have.
        seed: of every choice made here.
        words: text to insert.
        mutate: changes bytes, to at most so many.
    """
    choices = random.Random(seed)
    pieces = data.split(SEPARATOR)
    index = choices.randrange(len(pieces))
    document = _parsed(pieces[index])
    if not isinstance(document, dict | list) or choices.random() < 0.25:
        return mutate(data, size)
    for _ in range(choices.choice((1, 1, 2, 4))):
        document = _changed(document, choices, words, mutate)
    pieces[index] = json.dumps(document, ensure_ascii=choices.random() < 0.8).encode(
        "utf-8", "surrogatepass"
    )
    result = SEPARATOR.join(pieces)
    return result if len(result) <= size else mutate(data, size)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _changed(document: Any, choices: random.Random, words: Sequence[str], mutate: Mutate) -> Any:
    paths = list(_paths(document, ()))
    path = choices.choice(paths)
    value = _replacement(document, path, choices, words, mutate, paths)
    return _replaced(document, path, value, choices, words)


def _replacement(
    document: Any,
    path: Path,
    choices: random.Random,
    words: Sequence[str],
    mutate: Mutate,
    paths: list[Path],
) -> Any:
    old = _at(document, path)
    kind = choices.randrange(6)
    if kind == 0:
        return choices.choice(SCALARS)
    if kind == 1:
        return choices.choice([*words, *HOSTILE])
    if kind == 2:
        return _at(document, choices.choice(paths))
    if kind == 3:
        return choices.choice(([], {}, [old], {choices.choice(words or ["x"]): old}, [old, old]))
    if isinstance(old, str):
        if kind == 4:
            at = choices.randint(0, len(old))
            return old[:at] + choices.choice([*words, *HOSTILE]) + old[at:]
        changed = mutate(old.encode("utf-8", "surrogatepass"), len(old) + 32)
        return changed.decode("utf-8", "replace")
    if isinstance(old, int | float):
        return choices.choice((-old, old + 1, old * 2, str(old)))
    return old


def _replaced(
    node: Any, path: Path, value: Any, choices: random.Random, words: Sequence[str]
) -> Any:
    if not path:
        return value
    key, *rest = path
    if isinstance(node, list):
        inner = _replaced(node[key], tuple(rest), value, choices, words)
        return [*node[:key], inner, *node[key + 1 :]]
    copy = dict(node)
    if rest or choices.random() < 0.7:
        copy[key] = _replaced(node[key], tuple(rest), value, choices, words)
    elif choices.random() < 0.5:
        del copy[key]
    else:
        copy[choices.choice([*words, *HOSTILE, *map(str, copy)])] = value
    return copy


def _paths(node: Any, path: Path) -> Iterator[Path]:
    yield path
    items: Any = ()
    if isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, item in items:
        yield from _paths(item, (*path, key))


def _at(node: Any, path: Path) -> Any:
    for key in path:
        node = node[key]
    return node
