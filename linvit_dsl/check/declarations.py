"""What is wrong with a declaration by itself, before anything is applied.

Takes: one item of a file. Gives: its diagnostics. Non-goals: what names mean, and sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from linvit_dsl.check.defaults import check_settings
from linvit_dsl.check.walk import declared_axes, leaves, nodes
from linvit_dsl.errors import Diagnostic, Label, Span, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.syntax import ast

KINDS = ("dim", "int", "real", "prob", "bool", "text", "block", "init", "list")
"""Kinds of static parameters; `list` alone has an element."""


def check_items(items: Iterable[ast.Item]) -> Iterator[Diagnostic]:
    """Recipes and trainings that a file declares twice; `Module` minds all other names."""
    recipes: dict[str, Span] = {}
    trained: dict[str, Span] = {}
    for item in items:
        if isinstance(item, ast.Recipe):
            first = recipes.setdefault(item.name.name, item.name.span)
            if first != item.name.span:
                label = Label(first, "first declared here")
                name = item.name.name
                yield diagnose("E0210", item.name.span, secondary=(label,), name=name)
        elif isinstance(item, ast.Train):
            first = trained.setdefault(item.model.name, item.model.span)
            if first != item.model.span:
                label = Label(first, "first trained here")
                name = item.model.name
                yield diagnose("E0607", item.model.span, secondary=(label,), name=name)


def check_item(item: ast.Item) -> Iterator[Diagnostic]:
    """E0202, E0213, E0347, E0350 to E0354, E0406 and E0407 of one item."""
    if isinstance(item, ast.Block):
        axes = {name for p in item.parameters for name in declared_axes(p.shape)}
        tensors = [parameter.name for parameter in item.parameters]
        yield from _repeated([*(static.name for static in item.statics), *tensors])
        for name in tensors:
            if name.name in axes:
                yield diagnose("E0202", name.span, name=name.name)
        for shape in item.results:
            yield from _shape(shape)
        yield from _returns(item.body, loop=None)
    elif isinstance(item, ast.Alias):
        yield from _repeated(static.name for static in item.statics)
    elif isinstance(item, ast.Recipe | ast.Train) and item.record is not None:
        yield from _repeated(name for name, _ in leaves(item.record.fields))
    for node in nodes(item):
        match node:
            case ast.StaticKind():
                yield from _kind(node)
            case ast.TensorParameter():
                yield from _shape(node.shape)
            case ast.Assign() | ast.Dim():
                yield from _repeated(node.names)
                if isinstance(node, ast.Assign) and node.shape is not None:
                    yield from _shape(node.shape)
            case ast.For() | ast.Comprehension():
                yield from _repeated(node.binder)
            case ast.Defaults():
                yield from check_settings(node)
            case ast.Record():
                sections = (f.name for f in node.fields if isinstance(f.value, ast.Record))
                yield from _repeated(sections)
            case _:
                pass


def not_a_block(alias: ast.Alias, what: str) -> Diagnostic:
    """E0408: what an alias names has no graph that could be given another name."""
    name, text = alias.name.name, " ".join(alias.value.span.text.split())
    helps = (f"put it into a block: `block {name}(x: [*s]) -> [*s] {{ return x |> {text} }}`",)
    return diagnose("E0408", alias.value.span, helps=helps, name=name, what=what)


def _repeated(names: Iterable[ast.Identifier]) -> Iterator[Diagnostic]:
    """E0202 for names of one list that occur in it before."""
    seen: dict[str, Span] = {}
    for name in names:
        first = seen.setdefault(name.name, name.span)
        if first != name.span:
            label = Label(first, "first bound here")
            yield diagnose("E0202", name.span, secondary=(label,), name=name.name)


def _kind(kind: ast.StaticKind) -> Iterator[Diagnostic]:
    if kind.name in KINDS and (kind.element is None or kind.name == "list"):
        return
    near = nearest(kind.name, KINDS)
    helps = (f"did you mean `{near}`?" if near else f"there are {', '.join(KINDS)}",)
    yield diagnose("E0213", kind.span, helps=helps, name=" ".join(kind.span.text.split()))


def _shape(shape: ast.Shape) -> Iterator[Diagnostic]:
    """E0347: where one rest ends and the next begins could not be told."""
    while isinstance(shape, ast.ListShape):
        shape = shape.element
    rests = [axis for axis in shape.axes if isinstance(axis, ast.RestAxes)]
    if len(rests) > 1:
        label = Label(rests[0].span, "the first")
        text = " ".join(shape.span.text.split())
        yield diagnose("E0347", rests[1].span, secondary=(label,), shape=text)


def _returns(statements: Iterable[ast.Statement], loop: Span | None) -> Iterator[Diagnostic]:
    """E0406 for every `return` in a loop, E0407 for what stands behind one."""
    ended: ast.Statement | None = None
    for statement in statements:
        if ended is not None:
            label = Label(ended.span, "the block ends here")
            yield diagnose("E0407", statement.span, secondary=(label,))
            return
        match statement:
            case ast.Return() if loop is not None:
                yield diagnose("E0406", statement.span)
            case ast.Repeat() | ast.For():
                yield from _returns(statement.body, statement.span)
            case ast.If():
                yield from _returns(statement.yes, loop)
                yield from _returns(statement.no, loop)
            case _:
                pass
        ended = statement if _ends(statement) else None


def _ends(statement: ast.Statement) -> bool:
    """Whether nothing behind a statement can be reached: it returns, in every branch."""
    if isinstance(statement, ast.If):
        branches = (statement.yes, statement.no)
        return all(any(_ends(inner) for inner in branch) for branch in branches)
    return isinstance(statement, ast.Return)
