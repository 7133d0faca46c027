"""Elaborates a block at sizes that nobody asked for, to learn what holds for all of them.

Takes: a block and a plan. Gives: the sizes in the end and the first error, at each of three points.

Sizes have nothing in common: distinct primes for the names in the shapes of the arguments. Where
the block divides (`dim c = d / heads`), the dividend is made a multiple and the elaboration begins
again, so that c is free and d = c * heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import gcd, prod
from typing import Literal

from linvit_dsl.check.binding import bind_statics
from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.expressions import Expressions
from linvit_dsl.check.program import Module, Program
from linvit_dsl.check.provenance import CausedError, Misfit, named, roots
from linvit_dsl.check.shapes import declared_type
from linvit_dsl.check.values import BlockValue, Number, Poisoned, Result, Static
from linvit_dsl.errors import Span, SpecError
from linvit_dsl.graph import limits
from linvit_dsl.graph.ir import Dim, Initializer, Value
from linvit_dsl.graph.size import Poly
from linvit_dsl.syntax import ast

Plan = Literal["free", "grid", "round"]
"""How sizes are chosen: with nothing in common; with an axis `n` that is a grid of tokens behind a
prefix; or all axes divisible by every static parameter and by 8."""

AXES = ((11, 13, 17, 19, 23, 29, 31), (37, 29, 41, 11, 43, 13, 47), (17, 53, 13, 59, 19, 61, 11))
"""Sizes of the names that shapes bind, at each point; further names go on with larger primes."""
POINTS = range(len(AXES))
STATICS = ((3, 5, 7, 11), (5, 3, 11, 7), (7, 11, 3, 5))
"""Values of `dim` parameters without a default, odd as kernels are."""
GRIDS = ((8, 12), (16, 10), (12, 20))
"""Values of `list[dim]` parameters without a default: two sizes, as of rows and columns."""
COUNTS = (1, 2, 3)
"""Values of `int` and `real` parameters without a default."""
DIVISIONS = 16
"""Divisions that are made to come out even before a block is given up."""


@dataclass(slots=True)
class Run:
    """One elaboration: the sizes that it began with in the end, and its first error."""

    sizes: dict[str, int]
    error: SpecError | None


class _Elaborator(Elaborator):
    """Keeps the first error as it was raised, and nothing else."""

    first: SpecError | None = None

    def reject(self, error: SpecError) -> None:
        self.first = self.first or error
        super().reject(error)


@dataclass(slots=True)
class Probe:
    """Elaborates one block at chosen sizes."""

    program: Program
    module: Module
    declaration: ast.Block
    axes: dict[str, Span] = field(default_factory=dict)
    dims: dict[str, Span] = field(default_factory=dict)
    pairs: tuple[str, ...] = ()
    others: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        statics = {static.name.name: static for static in self.declaration.statics}
        shapes = (parameter.shape for parameter in self.declaration.parameters)
        for name in (name for shape in shapes for name in bare_axes(shape)):
            if name.name not in statics and name.name != "B":
                self.axes.setdefault(name.name, name.span)
        open_ = {name: static for name, static in statics.items() if static.default is None}
        self.dims = {n: s.span for n, s in open_.items() if s.type.name == "dim"}
        self.pairs = tuple(name for name, s in open_.items() if s.type.span.text == "list[dim]")
        self.others = {
            name: static.type.name
            for name, static in open_.items()
            if name not in self.dims and name not in self.pairs
        }

    @property
    def assumed(self) -> str:
        """For which static parameters a verdict holds: `for stages = 3, grid of two`."""
        parts = [f"{name} of two" for name in self.pairs]
        parts += [f"{name} up to {max(COUNTS)}" for name, k in self.others.items() if k == "int"]
        for static in self.declaration.statics:
            if static.default is not None:
                parts.append(f"{static.name.name} = {' '.join(static.default.span.text.split())}")
        return f"for {', '.join(parts)}" if parts else "for all sizes"

    def runs(self, plan: Plan) -> list[Run]:
        """One elaboration per point."""
        return [self.settled(point, {}, plan) for point in POINTS]

    def settled(self, point: int, given: dict[str, Static], plan: Plan = "free") -> Run:
        """Elaborate, making sizes multiples of what they are divided by until all comes out."""
        sizes = dict(zip(self.axes, (*AXES[point], *range(67, 4096, 6)), strict=False))
        dims = dict(zip(self.dims, (*STATICS[point], *range(13, 4096, 6)), strict=False))
        if plan == "round":
            sizes = {name: size * prod(dims.values()) * 8 for name, size in sizes.items()}
        if plan == "grid" and "n" in sizes:
            sizes["n"] = prod(GRIDS[point]) + (COUNTS[point] if "prefix" in self.others else 0)
        run = Run(sizes | dims, None)
        for _ in range(DIVISIONS):
            run.error = self._elaborate(point, run.sizes, given)
            if run.error is None or not self._divides(run.error, run.sizes):
                break
        return run

    def _divides(self, error: SpecError, sizes: dict[str, int]) -> bool:
        """Make the dividend of a failed division a multiple; False if that is out of reach."""
        division = _division(error)
        if division is None:
            return False
        left, right, causes = division
        for name, span in (self.axes | self.dims).items():
            if span in causes:
                sizes[name] *= right // gcd(left, right)
                return sizes[name] <= limits.DIMENSION
        return False

    def _elaborate(
        self, point: int, sizes: dict[str, int], given: dict[str, Static]
    ) -> SpecError | None:
        """The first error with these sizes; an empty one where the names were reported before."""
        elaborator = _Elaborator(self.program)
        place = self.declaration.name.span
        statics: dict[str, Static] = {
            name: chosen(name, size, self.dims[name])
            for name, size in sizes.items()
            if name in self.dims
        }
        statics |= {name: self._pair(name, point) for name in self.pairs}
        statics |= {name: _any_of(kind, point, place) for name, kind in self.others.items()}
        block = BlockValue(self.declaration, self.module, statics | given)
        try:
            arguments = self._arguments(elaborator, block, sizes)
            elaborator.specialise(block, arguments, (place,) * len(arguments), place)
        except SpecError as error:
            return elaborator.first or error
        except (Poisoned, RecursionError):
            return elaborator.first or SpecError()
        # Behind a name that was reported before, a stand-in fits whatever is asked of it.
        return elaborator.first or (SpecError() if elaborator.tainted else None)

    def _pair(self, name: str, point: int) -> Static:
        span = self.declaration.name.span
        return tuple(chosen(name, size, span) for size in GRIDS[point])

    def _arguments(
        self, elaborator: Elaborator, block: BlockValue, sizes: dict[str, int]
    ) -> tuple[Result, ...]:
        """Tensors of the declared shapes at these sizes; `*b` stands for the batch and one more."""
        scope = Expressions(elaborator, self.module)
        batch = Poly.symbol("B")
        origin = named("B", "B", "the batch", self.declaration.head)
        scope.names["B"] = Number(batch, origin)
        for name, span in self.axes.items():
            scope.names[name] = chosen(name, sizes[name], span)
        place = self.declaration.name.span
        bind_statics(scope, self.declaration.statics, dict(block.statics), block, place)
        for rest in _rests(self.declaration):
            scope.rests["*" + rest] = (Dim(batch, origin), Dim(7))
        return tuple(_argument(scope, p.shape, p.name) for p in self.declaration.parameters)


def _division(error: SpecError) -> tuple[int, int, frozenset[Span]] | None:
    """What a failed division divides by what, and where the dividend is written."""
    if isinstance(error, Misfit) and error.diagnostics[0].code == "E0344":
        left, right = error.sizes
        causes = error.causes
    elif isinstance(error, CausedError) and error.division is not None:
        left, right = error.division.left.value, error.division.right.value
        # The dividend may be a constant: what is multiplied by 8/3 has to be a multiple of 3.
        causes = roots(error.division.left.origin) | error.causes
    else:
        return None
    if isinstance(left, int) and isinstance(right, int) and left and right:
        return left, right, causes
    return None


def chosen(name: str, size: int, span: Span) -> Number:
    """A size that the check made up."""
    return Number(size, named(name, size, "chosen to check the definition", span))


def _any_of(kind: str, point: int, span: Span) -> Static:
    """A value of a kind whose parameter has no default."""
    match kind:
        case "bool":
            return point == 1
        case "init":
            return Initializer("zeros")
        case "prob":
            return Number(0, named("", 0, "", span))
        case _:
            return Number(COUNTS[point], named("", COUNTS[point], "", span))


def _argument(
    scope: Expressions, shape: ast.Shape, name: ast.Identifier
) -> Value | tuple[Value, ...]:
    if isinstance(shape, ast.ListShape):
        number = scope.number(shape.count)
        element = shape.element
        if not isinstance(number.value, int) or isinstance(element, ast.ListShape):
            raise Poisoned
        type_ = declared_type(scope, element)
        return tuple(Value(type_, name.span, name.name) for _ in range(number.value))
    return Value(declared_type(scope, shape), name.span, name.name)


def bare_axes(shape: ast.Shape) -> Iterator[ast.Name]:
    """Axes that are a name, and counts of lists, in the shape of an argument."""
    while isinstance(shape, ast.ListShape):
        if isinstance(shape.count, ast.Name):
            yield shape.count
        shape = shape.element
    yield from (axis for axis in shape.axes if isinstance(axis, ast.Name))


def _rests(declaration: ast.Block) -> Iterator[str]:
    for parameter in declaration.parameters:
        shape = parameter.shape
        while isinstance(shape, ast.ListShape):
            shape = shape.element
        yield from (axis.name.name for axis in shape.axes if isinstance(axis, ast.RestAxes))
