"""What an object does after its process was forked."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

__all__ = ["after_fork_in_child", "around_fork"]


def after_fork_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in every child that this process forks, for as long as its object lives.

    The object is not kept alive by this. Where processes are not forked, nothing happens.

    Args:
        method: a bound method without arguments. It runs before anything else in the child, where
            no other thread lives and a lock may be held for ever: it gives its object new locks.
    """
    reference = weakref.WeakMethod(method)

    def call() -> None:
        bound = reference()
        if bound is not None:
            bound()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def around_fork(before: Callable[[], None], after_in_parent: Callable[[], None]) -> None:
    """Call bound methods before this process forks and afterwards, for as long as their object
    lives. Where processes are not forked, nothing happens.

    Args:
        before: runs in the thread that forks; it may wait, for a bounded time.
        after_in_parent: undoes in this process what ``before`` did.
    """
    references = weakref.WeakMethod(before), weakref.WeakMethod(after_in_parent)

    def call(reference: weakref.WeakMethod[Callable[[], None]]) -> None:
        bound = reference()
        if bound is not None:
            bound()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lambda: call(references[0]), after_in_parent=lambda: call(references[1])
        )
