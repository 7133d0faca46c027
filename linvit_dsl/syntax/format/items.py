"""How the declarations of a file are written, and the blank lines between them."""

from __future__ import annotations

from collections.abc import Sequence

from linvit_dsl.errors import Span
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.format.document import (
    BREAK,
    Document,
    Fill,
    Group,
    Nest,
    join,
)
from linvit_dsl.syntax.format.expressions import POSTFIX
from linvit_dsl.syntax.format.parts import Where, lines_of, names
from linvit_dsl.syntax.format.statements import STATEMENTS, Entry, StatementPrinter

# Declarations that are always set off by blank lines, and those about the one before.
_TALL = (ast.Block, ast.Recipe)
_APPENDED = (ast.Train, ast.Sweep, ast.Check, ast.Expectation)


class FilePrinter(StatementPrinter):
    """The rules of declarations, and of a file."""

    def file(self, file: ast.File) -> Document:
        """All declarations, and the comments between and behind them."""
        parts: list[Document] = []
        previous: ast.Syntax | None = None
        for item in file.items:
            entries = self.entries([item])
            commented = len(entries) > 1
            first, *others = entries
            if parts:
                blank = self._blank_between(previous, item, first.blank, commented=commented)
                parts += [BREAK, BREAK] if blank else [BREAK]
            parts += [first.document, *_separate(others)]
            previous = item
        last = self.comment_entries(len(self.comments.text) + 1)
        if last and not parts:
            parts.append(last.pop(0).document)
        return join(*parts, *_separate(last))

    def _blank_between(
        self, previous: ast.Syntax | None, item: ast.Syntax, kept: bool, *, commented: bool
    ) -> bool:
        """Whether a blank line stands between two declarations; `kept`: the author has one."""
        if isinstance(previous, ast.Import) and isinstance(item, ast.Import):
            return kept
        if isinstance(item, _APPENDED) and not commented:
            return kept
        return kept or isinstance(previous, (*_TALL, ast.Import)) or isinstance(item, _TALL)

    # Modules

    def _import(self, node: ast.Import) -> Document:
        if not node.names:
            alias = f" as {node.alias.name}" if node.alias is not None else ""
            return f"import {'.'.join(node.module)}{alias}"
        origin = node.path.span.text if node.path is not None else ".".join(node.module)
        written: list[Document] = []
        rows: list[bool] = []
        for place, name in enumerate(node.names):
            above, document = self.with_comments(
                name, lambda name=name: name.name, open_ended=place == len(node.names) - 1
            )
            written.append(join(*lines_of(above), document))
            if place:
                gap = (node.names[place - 1].span.end, name.span.start)
                rows.append(not self.comments.same_line(*gap))
        return Group(join(f"from {origin} import ", Nest(Fill(tuple(written), tuple(rows)))))

    def _constant(self, node: ast.Constant) -> Document:
        return self.value(f"const {node.name.name} =", node.value, node.span.end)

    # Blocks and models

    def _block(self, node: ast.Block) -> Document:
        mark = "intrinsic " if node.intrinsic else "float32 " if node.float32 else ""
        head = f"{mark}{node.keyword} {node.name.name}"
        end = node.name.span.end
        statics = self._statics_of(node.statics, end)
        end = node.statics[-1].span.end if node.statics else end
        _, closer = self.comments.brackets("LPAR", end)
        parameters = self.bracketed("(", node.parameters, ")", closer)
        results = self._shapes(node.results, closer)
        body = self.braces(node.head.end, node.body, compact=False)
        return join(head, statics, parameters, " -> ", results, body)

    def _alias(self, node: ast.Alias) -> Document:
        statics = self._statics_of(node.statics, node.name.span.end)
        head = join(f"{node.keyword} {node.name.name}", statics, " =")
        return self.value(head, node.value, node.span.end)

    def _statics_of(self, statics: Sequence[ast.StaticParameter], start: int) -> Document:
        if not statics:
            return ""
        _, closer = self.comments.brackets("LSQB", start)
        return self.bracketed("[", statics, "]", closer)

    def _static(self, node: ast.StaticParameter) -> Document:
        declared = join(node.name.name, ": ", self.document(node.type))
        return declared if node.default is None else join(declared, self.default(node.default))

    def _kind(self, node: ast.StaticKind) -> Document:
        if node.element is None:
            return node.name
        return join(node.name, "[", self.document(node.element), "]")

    def _parameter(self, node: ast.TensorParameter) -> Document:
        return join(node.name.name, ": ", self.document(node.shape))

    # Recipes, sweeps, checks

    def _field(self, node: ast.Field) -> Document:
        if isinstance(node.value, ast.Record):
            return join(node.name.name, self.document(node.value))
        return self.value(f"{node.name.name} =", node.value, node.span.end)

    def _record(self, node: ast.Record) -> Document:
        compact = self.may_stay(node.span.start, node.span.end)
        return Group(self.braces(node.span.start, node.fields, compact=compact))

    def _recipe(self, node: ast.Recipe) -> Document:
        base = f" = {node.base.name}" if node.base is not None else ""
        fields = self.braces(node.record.span.start, node.record.fields, compact=False)
        return join(f"recipe {node.name.name}{base}", fields)

    def _train(self, node: ast.Train) -> Document:
        recipe = f" with {node.recipe.name}" if node.recipe is not None else ""
        record = self.document(node.record) if node.record is not None else ""
        return join(f"train {node.model.name}{recipe}", record)

    def _sweep(self, node: ast.Sweep) -> Document:
        lines: list[ast.Syntax] = [*node.axes, *node.fields, *map(self._where_of, node.conditions)]
        lines.sort(key=lambda line: line.span.start)
        compact = self.may_stay(node.span.start, node.span.end)
        written = self.braces(node.model.span.end, lines, compact=compact)
        return Group(join(f"sweep {node.name.name} of {node.model.name}", written))

    def _vary(self, node: ast.Vary) -> Document:
        return self.value(f"{names(node.names)} in", node.values, node.span.end)

    def _where_of(self, condition: ast.Expression) -> Where:
        start = self.comments.text.rfind("where", 0, condition.span.start)
        end = self.comments.past_parentheses(condition.span.end)
        span = Span(condition.span.source, start, end)
        return Where.model_construct(condition=condition, span=span)

    def _where(self, node: Where) -> Document:
        return join("where ", self.document(node.condition))

    def _check(self, node: ast.Check) -> Document:
        model = self.operand(node.model, POSTFIX)
        takes = self._shapes(node.takes, node.model.span.end)
        gives = self._shapes(node.gives, node.takes[-1].span.end)
        return join("check ", model, ": ", takes, " -> ", gives)

    def _shapes(self, shapes: Sequence[ast.Shape], start: int) -> Document:
        """One shape, or several in the first parentheses at or behind `start`."""
        if len(shapes) == 1:
            return self.document(shapes[0])
        _, closer = self.comments.brackets("LPAR", start)
        return self.bracketed("(", shapes, ")", closer, firm=True)

    def _expectation(self, node: ast.Expectation) -> Document:
        model = self.operand(node.model, POSTFIX)
        return join(f"{node.keyword} ", model, ": ", self.expected(node))


FilePrinter.RULES = {
    **STATEMENTS,
    ast.StaticKind: FilePrinter._kind,
    ast.StaticParameter: FilePrinter._static,
    ast.TensorParameter: FilePrinter._parameter,
    ast.Import: FilePrinter._import,
    ast.Constant: FilePrinter._constant,
    ast.Block: FilePrinter._block,
    ast.Alias: FilePrinter._alias,
    ast.Field: FilePrinter._field,
    ast.Record: FilePrinter._record,
    ast.Recipe: FilePrinter._recipe,
    ast.Train: FilePrinter._train,
    ast.Vary: FilePrinter._vary,
    Where: FilePrinter._where,
    ast.Sweep: FilePrinter._sweep,
    ast.Check: FilePrinter._check,
    ast.Expectation: FilePrinter._expectation,
    ast.File: FilePrinter.file,
}


def _separate(entries: Sequence[Entry]) -> list[Document]:
    """The lines of entries, each behind the end of the line before it."""
    lines: list[Document] = []
    for entry in entries:
        lines += [BREAK, BREAK, entry.document] if entry.blank else [BREAK, entry.document]
    return lines
