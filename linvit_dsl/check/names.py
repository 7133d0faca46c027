"""Name resolution: every name in a file means something.

Takes: one parsed module whose imports are bound. Gives: diagnostics on the program, and the
places of unknown names, so that elaboration does not report them again.
Non-goals: what a name is (a block, a size), which elaboration knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel

from linvit_dsl.check.declarations import check_item, check_items, not_a_block
from linvit_dsl.check.files import library_module_of
from linvit_dsl.check.recursion import find_recursion
from linvit_dsl.check.walk import children, declared_axes
from linvit_dsl.check.words import BUILTINS, QUANTITIES, written_here
from linvit_dsl.errors import Fix, Label, Span, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.ops import OPS
from linvit_dsl.syntax import ast, holes

if TYPE_CHECKING:
    from linvit_dsl.check.program import Module, Program


def resolve_names(module: Module, program: Program) -> None:
    """Check every name of `module`."""
    outer = set(BUILTINS) | module.declared
    program.diagnostics += check_items(module.file.items)
    for item in module.file.items:
        for found in check_item(item):
            program.diagnostics.append(found)
            program.flagged.add((found.primary.span.source.name, found.primary.span.start))
        resolver = _Resolver(module, program, set(outer))
        match item:
            case ast.Block():
                resolver.block(item)
            case ast.Alias():
                resolver.alias(item)
            case ast.Constant():
                resolver.expression(item.value)
            case ast.Check():
                resolver.check(item)
            case ast.Expectation():
                resolver.expression(item.model)
                resolver.expect(item)
            case _:
                pass
    find_recursion(module, program)


class _Resolver:
    """Walks one declaration in the order of the text; `known` grows as names are bound."""

    def __init__(self, module: Module, program: Program, known: set[str]) -> None:
        self.module = module
        self.program = program
        self.known = known
        self.stored: dict[str, Span] = {}

    def block(self, block: ast.Block) -> None:
        self.known |= block.lost
        for parameter in block.parameters:
            self.known |= set(declared_axes(parameter.shape))
            self.known.add(parameter.name.name)
        self.known |= {static.name.name for static in block.statics if static.default is None}
        self.statics(block.statics)
        self.body(block.body)
        for shape in block.results:
            self.shape(shape)

    def alias(self, alias: ast.Alias) -> None:
        self.statics(alias.statics)
        self.expression(alias.value)
        head = alias.value
        while isinstance(head, ast.Statics | ast.Labelled):
            head = head.target
        hidden = self.module.declared | {static.name.name for static in alias.statics}
        if isinstance(head, ast.Name) and head.name in OPS and head.name not in hidden:
            found = not_a_block(alias, "an operator")
            self.program.diagnostics.append(found)

    def check(self, item: ast.Check) -> None:
        self.expression(item.model)
        self.known.add("B")
        for shape in (*item.takes, *item.gives):
            self.shape(shape)

    def expect(self, said: ast.Expect | ast.Expectation) -> None:
        """Its condition speaks of params and macs, which are words only here."""
        before = set(self.known)
        self.known |= set(QUANTITIES)
        self.expression(said.condition)
        self.known = before
        for condition in said.conditions:
            self.expression(condition.value)
        if said.tolerance is not None:
            self.expression(said.tolerance)

    def statics(self, statics: Iterable[ast.StaticParameter]) -> None:
        for static in statics:
            if static.default is not None:
                self.expression(static.default)
            self.known.add(static.name.name)

    def body(self, statements: Iterable[ast.Statement]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, statement: ast.Statement) -> None:
        match statement:
            case ast.Dim() | ast.Assign():
                if isinstance(statement, ast.Assign) and statement.shape is not None:
                    self.shape(statement.shape)
                self.expression(statement.value)
                self.known |= {name.name for name in statement.names}
            case ast.Defaults():
                for setting in statement.settings:
                    self.expression(setting.value)
            case ast.Layer():
                self.expression(statement.value)
                self.known.add(statement.name.name)
            case ast.Residual():
                self.name(statement.name.name, statement.name.span)
                self.expression(statement.value)
            case ast.Store():
                self.store(statement)
            case ast.Require():
                self.expression(statement.condition)
                self.message(statement.message)
            case ast.Expect():
                self.expect(statement)
            case ast.Repeat() | ast.For():
                self.loop(statement)
            case ast.If():
                self.expression(statement.condition)
                self.body(statement.yes)
                self.body(statement.no)
            case ast.Return():
                for value in statement.values:
                    self.expression(value)

    def store(self, statement: ast.Store) -> None:
        self.shape(statement.shape)
        if statement.initializer is not None:
            self.expression(statement.initializer)
        name = statement.name
        if name.name in self.stored:
            first = Label(self.stored[name.name], "first bound here")
            note = "rebinding with `=` is allowed, storage is not"
            self.program.flagged.add((name.span.source.name, name.span.start))
            self.program.diagnostics.append(
                diagnose("E0202", name.span, secondary=(first,), notes=(note,), name=name.name)
            )
        self.stored.setdefault(name.name, name.span)
        self.known.add(name.name)

    def message(self, text: ast.Text | None) -> None:
        """The names in the braces of a message, which are otherwise met only when it is shown."""
        try:
            parts = holes(text) if text is not None else ()
        except SpecError as error:
            self.program.diagnostics += error.diagnostics
            return
        for part in parts:
            if not isinstance(part, str):
                self.expression(part)

    def loop(self, statement: ast.Repeat | ast.For) -> None:
        before = set(self.known)
        if isinstance(statement, ast.Repeat):
            self.expression(statement.count)
            binder = (statement.index,) if statement.index is not None else ()
        else:
            self.expression(statement.iterable)
            binder = statement.binder
        self.known |= {name.name for name in binder}
        self.body(statement.body)
        self.known = before

    def shape(self, shape: ast.Shape) -> None:
        if isinstance(shape, ast.ListShape):
            self.expression(shape.count)
            self.shape(shape.element)
            return
        for axis in shape.axes:
            if isinstance(axis, ast.RestAxes):
                self.name(axis.name.name, axis.name.span)
            else:
                self.expression(axis)

    def expression(self, expression: BaseModel) -> None:
        """Check the names in an expression; those that a comprehension binds are its own."""
        if isinstance(expression, ast.Name):
            self.name(expression.name, expression.span)
        elif isinstance(expression, ast.Comprehension):
            self.expression(expression.iterable)
            before = set(self.known)
            self.known |= {name.name for name in expression.binder}
            self.expression(expression.body)
            self.known = before
        else:
            for child in children(expression):
                self.expression(child)

    def name(self, name: str, span: Span) -> None:
        if name in self.known:
            return
        self.program.flagged.add((span.source.name, span.start))
        library = library_module_of(name)
        if library is not None and name[:1].isupper():
            help_, fix = _import(self.module, library, name)
            diagnostic = diagnose("E0203", span, name=name, helps=(help_,), fixes=(fix,))
        else:
            # Nobody reads a suggestion beyond the last finding that is shown.
            shown = len(self.program.diagnostics) < limits.ERRORS
            elsewhere = written_here(name)
            near = nearest(name, self.known) if shown and elsewhere is None else None
            diagnostic = diagnose(
                "E0201",
                span,
                name=name,
                helps=(f"did you mean `{near}`?",) if near else (elsewhere,) if elsewhere else (),
                fixes=(Fix(span, near, f"replace by `{near}`"),) if near else (),
            )
        self.program.diagnostics.append(diagnostic)


def _import(module: Module, library: str, name: str) -> tuple[str, Fix]:
    """How to import a name: with others of its module if there are any, else by a line."""
    title = f"import it from `{library}`"
    for item in module.file.items:
        if isinstance(item, ast.Import) and item.names and ".".join(item.module) == library:
            end = item.names[-1].span.end
            help_ = f"add `{name}` to `{' '.join(item.span.text.split())}`"
            return help_, Fix(Span(module.source, end, end), f", {name}", title)
    line = f"from {library} import {name}"
    return f"add `{line}` at the top", Fix(_place_of_imports(module), f"{line}\n", title)


def _place_of_imports(module: Module) -> Span:
    """Where another import goes: before the first one, else below the comment at the top."""
    source, start = module.source, 0
    imports = (item.span.start for item in module.file.items if isinstance(item, ast.Import))
    if (first := next(imports, None)) is not None:
        return Span(source, first, first)
    for line in source.text.splitlines(keepends=True):
        if not line.startswith("#") or line.startswith("##"):
            break
        start += len(line)
    return Span(source, start, start)
