"""No block contains itself, and no constant is made of itself.

The stack of the search is a list: a file may chain more declarations than Python nests calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linvit_dsl.check.values import BlockValue
from linvit_dsl.check.walk import references
from linvit_dsl.errors import diagnose
from linvit_dsl.syntax import ast

if TYPE_CHECKING:
    from linvit_dsl.check.program import Module, Program

Declarations = Mapping[str, ast.Block | ast.Alias] | Mapping[str, ast.Constant]


@dataclass(slots=True)
class Search:
    """What following all references found.

    Attributes:
        order: The declarations, each behind all that it refers to.
        closing: The references that close a circle, each with the circle's names.
    """

    order: list[str] = field(default_factory=list)
    closing: list[tuple[ast.Name, tuple[str, ...]]] = field(default_factory=list)


def find_recursion(module: Module, program: Program) -> None:
    """E0205 and E0212 at every reference that closes a circle; the constants get into an order.

    Afterwards each of `module.constants` stands behind those that it is made of.
    """
    blocks: dict[str, ast.Block | ast.Alias] = {
        name: value.declaration
        for name, value in module.names.items()
        if isinstance(value, BlockValue) and value.module is module
    }
    for name, cycle in _search(blocks).closing:
        note = "linvit has no recursion; use `repeat` for a fixed number of layers"
        program.flagged.add((name.span.source.name, name.span.start))
        told = " -> ".join(cycle)
        program.diagnostics.append(diagnose("E0205", name.span, notes=(note,), cycle=told))
    found = _search(module.constants)
    for name, cycle in found.closing:
        told = " -> ".join(cycle)
        program.diagnostics.append(diagnose("E0212", name.span, cycle=told))
    module.constants = {name: module.constants[name] for name in found.order}


def _search(declared: Declarations) -> Search:
    """Depth first over the declarations in their order."""
    search = Search()
    finished: set[str] = set()
    for first in declared:
        # What is open on the way, in order, with the references of each that are still to follow.
        trail: dict[str, Iterator[ast.Name]] = {}
        if first not in finished:
            trail[first] = _uses(declared[first])
        while trail:
            name = next(reversed(trail))
            reference = next(trail[name], None)
            if reference is None:
                del trail[name]
                finished.add(name)
                search.order.append(name)
            elif reference.name in trail:
                names = tuple(trail)
                cycle = (*names[names.index(reference.name) :], reference.name)
                search.closing.append((reference, cycle))
            elif reference.name in declared and reference.name not in finished:
                trail[reference.name] = _uses(declared[reference.name])
    return search


def _uses(declaration: ast.Block | ast.Alias | ast.Constant) -> Iterator[ast.Name]:
    """Names in a declaration's body that are not its own static parameters."""
    if isinstance(declaration, ast.Constant):
        return references(declaration.value)
    own = {static.name.name for static in declaration.statics}
    bodies = (declaration.value,) if isinstance(declaration, ast.Alias) else declaration.body
    return (name for body in bodies for name in references(body) if name.name not in own)
