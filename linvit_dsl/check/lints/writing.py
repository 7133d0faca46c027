"""W0309 and W0310: text that means something else than it seems to, or that hides what is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.check.values import BlockValue, OperatorValue
from linvit_dsl.check.walk import nodes
from linvit_dsl.check.words import builtin
from linvit_dsl.errors import Diagnostic, Fix, Span, diagnose
from linvit_dsl.syntax import ast

if TYPE_CHECKING:
    from linvit_dsl.check.program import Module

POSITIONAL = 3
"""Static arguments that a reader can tell apart by their place."""


def misleading_writing(module: Module) -> Iterator[Diagnostic]:
    """W0309 and W0310 for a whole file."""
    for item in module.file.items:
        for node in nodes(item):
            if isinstance(node, ast.Pipe):
                yield from _pipe(node)
            elif isinstance(node, ast.Statics):
                yield from _statics(node, module)


def _pipe(pipe: ast.Pipe) -> Iterator[Diagnostic]:
    """W0309: `a * b |> f` is f(a * b); parentheses in the text begin before their content."""
    value = pipe.value
    if isinstance(value, ast.Binary) and value.span.start == pipe.span.start:
        text = " ".join(value.span.text.split())
        fix = Fix(value.span, f"({value.span.text})", "add the parentheses that it means")
        yield diagnose(
            "W0309",
            value.span,
            f"all of this goes into `{_target(pipe)}`",
            helps=(f"write `({text}) |> {_target(pipe)}`, or give the last operand a name first",),
            fixes=(fix,),
            operator=value.operator,
        )


def _target(pipe: ast.Pipe) -> str:
    return " ".join(pipe.target.span.text.split())


def _statics(expression: ast.Statics, module: Module) -> Iterator[Diagnostic]:
    """W0310: more static arguments by position than a reader can follow.

    One that is called like the parameter that it is given to explains itself.
    """
    names = _parameters(expression.target, module)
    plain = [a for a in expression.arguments if not isinstance(a, ast.NamedArgument | ast.Splat)]
    unclear = [
        argument
        for place, argument in enumerate(plain)
        if not isinstance(argument, ast.Name) or names[place : place + 1] != [argument.name]
    ]
    if len(unclear) <= POSITIONAL:
        return
    fixes: tuple[Fix, ...] = ()
    if len(plain) <= len(names) and not any(isinstance(a, ast.Splat) for a in expression.arguments):
        rest = zip(names[POSITIONAL:], plain[POSITIONAL:], strict=False)
        fixes = tuple(
            Fix(Span(a.span.source, a.span.start, a.span.start), f"{name} = ", f"name `{name}`")
            for name, a in rest
        )
    helps = (f"name those after the third: `{names[POSITIONAL]} = ...`",) if fixes else ()
    name = expression.target.span.text
    yield diagnose("W0310", expression.span, helps=helps, fixes=fixes, name=name, count=len(plain))


def _parameters(target: ast.Expression, module: Module) -> list[str]:
    """The static parameters that positional arguments of a block or operator go to, in order."""
    if not isinstance(target, ast.Name):
        return []
    value = module.names.get(target.name) or builtin(target.name)
    if isinstance(value, BlockValue):
        return [static.name.name for static in value.declaration.statics]
    if isinstance(value, OperatorValue):
        return [name for name in value.op.Attributes.model_fields if name != "axes"]
    return []
