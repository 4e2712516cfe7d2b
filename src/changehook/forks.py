"""What an object does after its process was forked."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

__all__ = ["after_fork_in_child"]


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
