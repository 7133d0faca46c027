"""Ways through a syntax tree that several checks share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from pydantic import BaseModel

from linvit_dsl.syntax import ast


def children(expression: BaseModel) -> Iterator[BaseModel]:
    """The expressions directly inside another; names of arguments and labels are not among them."""
    match expression:
        case ast.TupleOf() | ast.ListOf():
            yield from expression.items
        case ast.Range():
            yield from (expression.first, expression.last)
        case ast.Conditional():
            yield from (expression.condition, expression.yes, expression.no)
        case ast.Unary():
            yield expression.operand
        case ast.Binary():
            yield from (expression.left, expression.right)
        case ast.Pipe():
            yield from (expression.value, expression.target)
        case ast.Statics() | ast.Apply():
            yield expression.target
            yield from expression.arguments
        case ast.NamedArgument() | ast.Splat():
            yield expression.value
        case ast.Member() | ast.Labelled():
            yield expression.target
        case ast.Comprehension():
            yield from (expression.iterable, expression.body)
        case _:
            return


def bound_by(statement: ast.Statement) -> tuple[str, ...]:
    """Names that a statement gives a value, loops and branches opened."""
    match statement:
        case ast.Dim() | ast.Assign():
            return tuple(name.name for name in statement.names)
        case ast.Store() | ast.Layer() | ast.Residual():
            return (statement.name.name,)
        case ast.Repeat() | ast.For():
            return tuple(name for inner in statement.body for name in bound_by(inner))
        case ast.If():
            return tuple(
                name for inner in (*statement.yes, *statement.no) for name in bound_by(inner)
            )
        case _:
            return ()


def declared_axes(shape: ast.Shape) -> Iterator[str]:
    """Names that an argument's shape binds: bare names, and `*b`."""
    if isinstance(shape, ast.ListShape):
        if isinstance(shape.count, ast.Name):
            yield shape.count.name
        yield from declared_axes(shape.element)
        return
    for axis in shape.axes:
        if isinstance(axis, ast.Name):
            yield axis.name
        elif isinstance(axis, ast.RestAxes):
            yield axis.name.name


def nodes(root: BaseModel) -> Iterator[BaseModel]:
    """Every node of a piece of syntax, in the order of the text."""
    pending: list[object] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, tuple):
            pending += reversed(node)
        elif isinstance(node, BaseModel):
            yield node
            pending += [getattr(node, field) for field in _fields(type(node))]


@cache
def _fields(kind: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a node that may hold nodes, the last first."""
    return tuple(field for field in reversed(kind.model_fields) if field not in ("kind", "span"))


def leaves(
    fields: tuple[ast.Field, ...], prefix: str = ""
) -> Iterator[tuple[ast.Identifier, ast.Expression]]:
    """The fields of a record, and those of records in it under dotted names."""
    for field in fields:
        name = field.name.model_copy(update={"name": prefix + field.name.name})
        if isinstance(field.value, ast.Record):
            yield from leaves(field.value.fields, f"{name.name}.")
        else:
            yield name, field.value


def references(root: BaseModel) -> Iterator[ast.Name]:
    """Every name that is used in a piece of syntax, in the order of the text."""
    return (node for node in nodes(root) if isinstance(node, ast.Name))
