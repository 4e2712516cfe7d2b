"""From a template to Python: whatever costs more the larger a value is becomes a call that pays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame

from changehook.budget import DEEPEST
from changehook.escaping import RefusedError

__all__ = ["Generator", "sizes"]

MOST_NODES = 5_000
MOST_SCOPES = 16
MOST_SCOPED = 8 * MOST_NODES  # each of those that a part stands in counts: Jinja2 looks at it again
_SCOPES = (
    nodes.For,
    nodes.Macro,
    nodes.CallBlock,
    nodes.FilterBlock,
    nodes.AssignBlock,
    nodes.With,
)
_INFINITE = (math.inf, -math.inf)
_PRICES: Mapping[type[nodes.Node], int] = {
    nodes.Getattr: 2,
    nodes.Getitem: 3,
    nodes.Compare: 3,
    nodes.Concat: 4,
    nodes.Dict: 8,
    nodes.List: 3,
    nodes.Tuple: 3,
    nodes.Macro: 20,
    nodes.CallBlock: 20,
    nodes.Name: 2,
    **dict.fromkeys((nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv), 4),
    **dict.fromkeys((nodes.Mod, nodes.Pow), 4),
}
_IMPORTS = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_CLOSED = (*_IMPORTS, nodes.Block, nodes.ScopedEvalContextModifier)
_NOT_AVAILABLE = "include, import, extends, block and autoescape are not available"


class Generator(CodeGenerator):
    """Compiles what costs more the larger a value is to a call that pays for it first.

    Each insertion becomes ``insert`` or, where text is still being made, ``capture``. Nothing is
    evaluated while compiling, so that building a webhook costs what its length costs.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._loops: list[int] = []

    def _make_finalize(self) -> CodeGenerator._FinalizeInfo:
        return self._FinalizeInfo(None, None)

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self._open(frame)

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write(")")

    def start_write(self, frame: Frame, node: nodes.Node | None = None) -> None:
        """Begin what a call block, a filter block or a recursive loop writes."""
        super().start_write(frame, node)
        self._open(frame)

    def end_write(self, frame: Frame) -> None:
        """End it."""
        self.write(")")
        super().end_write(frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Compile ``~``."""
        self.write("environment.joined((")
        for operand in node.nodes:
            self.visit(operand, frame)
            self.write(", ")
        self.write("))")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        """Compile a loop, which costs as many steps as its body has parts, for each item."""
        iterable, node.iter = node.iter, nodes.MarkSafe(node.iter, lineno=node.lineno)
        environment: Any = self.environment
        self._loops.append(environment.sizes[node])
        super().visit_For(node, frame)
        self._loops.pop()
        node.iter = iterable

    def visit_MarkSafe(self, node: nodes.MarkSafe, frame: Frame) -> None:
        """Compile what a loop goes through; no template can spell this node."""
        self.write("environment.steps(")
        self.visit(node.expr, frame)
        self.write(f", {self._loops[-1]})")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        """Compile brackets; a slice makes a copy."""
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.sliced(")
        self.visit(node.node, frame)
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            self.write(", ")
            self.visit(bound or nodes.Const(None), frame)
        self.write(")")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        """Compile a comparison; one with a constant costs no more than the constant is long."""
        operands = [node.expr, *(each.expr for each in node.ops)]
        signs = [each.op for each in node.ops]
        is_free = any(isinstance(operand, nodes.Const) for operand in operands)
        if is_free and len(signs) == 1 and signs[0] not in ("in", "notin"):
            super().visit_Compare(node, frame)
            return
        # Of a chain each operand is evaluated once, as far as the comparisons before it hold.
        names = [self.temporary_identifier() for _ in operands[1:-1]]
        for index, sign in enumerate(signs):
            self.write(f"{' and ' if index else '('}environment.compared({sign!r}, ")
            if index:
                self.write(names[index - 1])
            else:
                self.visit(node.expr, frame)
            self.write(f", ({names[index]} := " if index < len(names) else ", (")
            self.visit(operands[index + 1], frame)
            self.write("))")
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        """Compile an object; its keys are hashed, which looks at all of each."""
        self.write("{")
        for item in node.items:
            self._paid("key", item.key, frame)
            self.write(": ")
            self.visit(item.value, frame)
            self.write(", ")
        self.write("}")

    def signature(self, node: Any, frame: Frame, extra_kwargs: Any = None) -> None:
        """Compile the arguments of a call; those after a star are as many as their value has."""
        starred = node.dyn_args, node.dyn_kwargs
        node.dyn_args, node.dyn_kwargs = (
            each and nodes.MarkSafeIfAutoescape(each) for each in starred
        )
        super().signature(node, frame, extra_kwargs)
        node.dyn_args, node.dyn_kwargs = starred

    def visit_MarkSafeIfAutoescape(self, node: nodes.MarkSafeIfAutoescape, frame: Frame) -> None:
        """Compile what stands after a star; no template can spell this node."""
        self._paid("starred", node.expr, frame)

    def _paid(self, name: str, node: nodes.Expr, frame: Frame) -> None:
        if isinstance(node, nodes.Const) and not isinstance(node.value, int):
            self.visit(node, frame)
            return
        self.write(f"environment.{name}(")
        self.visit(node, frame)
        self.write(")")

    def _open(self, frame: Frame) -> None:
        self.write("environment.insert(" if frame.buffer is None else "environment.capture(")


def sizes(tree: nodes.Template) -> dict[nodes.Node, int]:
    """Return what each part of a template costs, with all of its parts.

    Raises:
        RefusedError: the template has too many parts, is too deep, or uses what is not available.
    """
    places: dict[nodes.Node, _Place] = {tree: _Place(tree, 1, 0)}
    found: list[nodes.Node] = [tree]
    scopes = 0
    for node in found:
        place = places[node]
        scopes += place.scopes
        if len(found) > MOST_NODES or scopes > MOST_SCOPED:
            raise RefusedError(f"has more than {MOST_NODES} expressions", node.lineno)
        _check(node, place)
        below = list(node.iter_child_nodes())
        inner = _Place(node, place.depth + 1, place.scopes + isinstance(node, _SCOPES))
        places.update(dict.fromkeys(below, inner))
        found += below
    sizes = {node: _PRICES.get(type(node), 1) for node in found}
    for node in reversed(found[1:]):
        sizes[places[node].above] += sizes[node]
    return sizes


class _Place(NamedTuple):
    """Where a part of a template stands: in what, how deep, and in how many scopes."""

    above: nodes.Node
    depth: int
    scopes: int


def _check(node: nodes.Node, place: _Place) -> None:
    if place.depth > DEEPEST:
        raise RefusedError(f"is nested more than {DEEPEST} deep", node.lineno)
    if place.scopes > MOST_SCOPES:
        message = f"nests loops, macros and blocks more than {MOST_SCOPES} deep"
        raise RefusedError(message, node.lineno)
    if isinstance(node, _CLOSED):
        raise RefusedError(_NOT_AVAILABLE, node.lineno)
    if isinstance(node, nodes.Const) and node.value in _INFINITE:
        raise RefusedError("holds too large a number", node.lineno)
