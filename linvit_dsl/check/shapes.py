"""Matches declared shapes with real ones: binds the names that are new, compares the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linvit_dsl.check.provenance import Misfit, chain, named, roots
from linvit_dsl.check.values import UNKNOWN, Number, Poisoned, Result, literal, wrong_kind
from linvit_dsl.errors import Diagnostic, Label, Span, SpecError, diagnose
from linvit_dsl.graph.ir import Dim, Origin, TensorType, Value
from linvit_dsl.graph.size import Poly
from linvit_dsl.syntax import ast

if TYPE_CHECKING:
    from linvit_dsl.check.expressions import Expressions


class ShapeMatch:
    """Matches arguments or results of one block.

    Args:
        scope: The block's names, where new ones are bound, and its evaluator.
        final: Whether every axis must be known; before static arguments are bound, axes that need
            them are passed over.
    """

    def __init__(self, scope: Expressions, *, final: bool) -> None:
        self.scope = scope
        self.final = final

    def match(self, shape: ast.Shape, value: Result, what: str, place: Span) -> None:
        """Match `value`, called `what` in messages and written at `place`.

        Raises:
            SpecError: E0320 rank, E0321 leading axes, E0322 an axis, E0310 not a tensor or list.
        """
        if isinstance(shape, ast.ListShape):
            self._match_list(shape, value, what, place)
            return
        if not isinstance(value, Value):
            kind = "a tensor of shape " + " ".join(shape.span.text.split())
            raise _mismatch(place, what, kind, shape, value)
        self._match_tensor(shape, value.type, what, place)

    def _match_list(self, shape: ast.ListShape, value: Result, what: str, place: Span) -> None:
        if not isinstance(value, tuple):
            raise _mismatch(place, what, "a list", shape, value)
        count = literal(len(value), place)
        self._axis(shape.count, Dim(len(value), count.origin), 0, what, place)
        for item in value:
            self.match(shape.element, item, what, place)

    def _match_tensor(
        self, shape: ast.TensorShape, type_: TensorType, what: str, place: Span
    ) -> None:
        axes, dims = list(shape.axes), list(type_.dims)
        rest = [index for index, axis in enumerate(axes) if isinstance(axis, ast.RestAxes)]
        if len(rest) > 1:
            raise Poisoned  # Reported where it is declared.
        missing = len(dims) - len(axes)
        if (missing != 0 and not rest) or missing < -len(rest):
            declared = Label(shape.span, f"declared with {len(axes) - len(rest)} axes")
            raise SpecError(
                diagnose(
                    "E0320",
                    place,
                    f"is {type_}",
                    secondary=(declared,),
                    name=what,
                    expected=len(axes) - len(rest),
                    given=len(dims),
                )
            )
        position = 0
        for axis in axes:
            if isinstance(axis, ast.RestAxes):
                taken = tuple(dims[position : position + missing + 1])
                self._rest(axis, taken, what, place)
                position += missing + 1
            else:
                self._axis(axis, dims[position], position, what, place)
                position += 1

    def _rest(self, axis: ast.RestAxes, dims: tuple[Dim, ...], what: str, place: Span) -> None:
        key = "*" + axis.name.name
        known = self.scope.rests.setdefault(key, dims)
        if known != dims:
            declared = Label(axis.span, str(TensorType(known)))
            raise SpecError(
                diagnose(
                    "E0321",
                    place,
                    secondary=(declared,),
                    name=what,
                    given=TensorType(dims),
                    declared=TensorType(known),
                )
            )

    def _axis(self, axis: ast.Expression, dim: Dim, index: int, what: str, place: Span) -> None:
        if isinstance(axis, ast.Name) and not self.scope.binds(axis.name):
            sources = (dim.origin,) if dim.origin is not None else ()
            origin = named(axis.name, dim.size, f"axis {index} of `{what}`", axis.span, *sources)
            self.scope.names[axis.name] = Number(dim.size, origin)
            return
        if isinstance(axis, ast.Name) and self.scope.names.get(axis.name) is UNKNOWN:
            return
        if not self.final:
            return
        expected = self.scope.number(axis)
        if dim.size != expected.value:
            size = expected.value if isinstance(expected.value, int | Poly) else 0
            found = self._differs(axis, expected, dim, index, what, place)
            raise Misfit(found, (dim.size, size), roots(dim.origin, expected.origin))

    def _differs(
        self, axis: ast.Expression, expected: Number, dim: Dim, index: int, what: str, place: Span
    ) -> Diagnostic:
        declared = Label(axis.span, f"{expected}")
        return diagnose(
            "E0322",
            place,
            secondary=(declared,),
            notes=chain((expected.origin, dim.origin)),
            axis=index,
            name=what,
            given=dim,
            declared=f"`{axis.span.text}` = {expected}"
            if axis.span.text != str(expected)
            else expected,
        )


def declared_type(scope: Expressions, shape: ast.TensorShape) -> TensorType:
    """A shape all of whose axes are known, as a type.

    Raises:
        SpecError: An axis has no value, or is no size.
    """
    dims: list[Dim] = []
    for axis in shape.axes:
        if isinstance(axis, ast.RestAxes):
            dims += _rest(scope, axis)
            continue
        number = scope.dimension(axis)
        size = number.value if isinstance(number.value, Poly) else int(number.value)
        dims.append(Dim(size, number.origin))
    return TensorType(tuple(dims))


def _rest(scope: Expressions, axis: ast.RestAxes) -> tuple[Dim, ...]:
    name = axis.name
    if (known := scope.rests.get("*" + name.name)) is not None:
        return known
    if (name.span.source.name, name.span.start) in scope.elaborator.flagged:
        raise Poisoned
    raise SpecError(diagnose("E0209", axis.span, name=f"*{name.name}"))


def with_origins(
    types: tuple[TensorType, ...],
    arguments: tuple[Value, ...],
    statics: tuple[Number, ...],
    text: str,
    span: Span,
) -> tuple[TensorType, ...]:
    """Give every size that an operator made an origin.

    It is the static argument that the size equals, else the operator, with the sizes of its
    arguments on that axis.
    """
    kept = {id(dim) for type_ in types for dim in type_.dims}
    return tuple(
        TensorType(
            tuple(
                dim
                if dim.origin is not None
                else Dim(dim.size, _made(dim, axis, arguments, statics, kept, text, span))
                for axis, dim in enumerate(type_.dims)
            ),
            type_.dtype,
        )
        for type_ in types
    )


def _made(
    dim: Dim,
    axis: int,
    arguments: tuple[Value, ...],
    statics: tuple[Number, ...],
    kept: set[int],
    text: str,
    span: Span,
) -> Origin:
    for number in statics:
        if number.value == dim.size and number.origin.name:
            return number.origin
    how = f"result of {text}"
    if len(arguments) == 1:
        # What became of the axes that the operator took apart or put together.
        parts = [d for d in arguments[0].type.dims if id(d) not in kept]
    else:
        parts = [value.type.dims[axis] for value in arguments if axis < len(value.type.dims)]
        if _sums(dim, parts):
            how += f": {' + '.join(str(d.size) for d in parts)}"
    sources = tuple(d.origin for d in parts if d.origin is not None)
    return named(f"axis {axis}", dim.size, how, span, *sources)


def _sums(dim: Dim, parts: list[Dim]) -> bool:
    total: Poly = Poly.of(0)
    for part in parts:
        total = total + part.size
    return total == Poly.of(dim.size)


def _mismatch(place: Span, what: str, kind: str, shape: ast.Shape, value: Result) -> SpecError:
    """E0310 for a tensor or list: `what` is a name, or words such as `the result`."""
    told = f"a list of {len(value)}" if isinstance(value, tuple) else ""
    name = what if " " in what else f"`{what}`"
    return wrong_kind(place, name, kind, value, Label(shape.span, "declared here"), told=told)
