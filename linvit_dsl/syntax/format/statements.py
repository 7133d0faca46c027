"""How the statements of a body are written: one per line, at most one blank line between two.

What stands in braces stays on one line if it was, and is one statement or a list of settings, and
fits; so `if ring > 0 { u += f(x) }` and `data { name = "digits"; batch = 64 }` may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linvit_dsl.syntax import ast
from linvit_dsl.syntax.format.document import (
    BREAK,
    SPACE,
    Document,
    Group,
    Line,
    Nest,
    Suffix,
    between,
    join,
)
from linvit_dsl.syntax.format.expressions import EXPRESSIONS, ExpressionPrinter
from linvit_dsl.syntax.format.parts import Rule, beginning, names, written_comment

_COMPOUND = (ast.Repeat, ast.For, ast.If, ast.Defaults)


@dataclass(frozen=True, slots=True)
class Entry:
    """One of the lines in braces, or of a file. `blank`: a blank line stands above it.

    `node` is None for a comment on a line of its own.
    """

    document: Document
    blank: bool
    node: ast.Syntax | None = None


class StatementPrinter(ExpressionPrinter):
    """The rules of statements."""

    def entries(self, nodes: Sequence[ast.Syntax]) -> list[Entry]:
        """Nodes and the comments in front of them, each on a line of its own."""
        found: list[Entry] = []
        for node in nodes:
            found += self.comment_entries(beginning(node))
            blank = self.comments.blank_line_before(node.span.start)
            written = self.document(node)
            ends = self.comments.before(node.span.end) + self.comments.behind(node.span.end)
            found += [Entry(written_comment(one), blank=False) for one in ends[:-1]]
            tail = [Suffix(written_comment(one)) for one in ends[-1:]]
            found.append(Entry(join(written, *tail), blank, node))
        return found

    def comment_entries(self, offset: int) -> list[Entry]:
        """The comments in front of `offset`."""
        return [
            Entry(written_comment(one), self.comments.blank_line_before(one.start))
            for one in self.comments.before(offset)
        ]

    def braces(self, start: int, nodes: Sequence[ast.Syntax], *, compact: bool) -> Document:
        """Nodes between the braces that open at or behind `start`.

        `compact` says that the author has them on one line, and that they may stay there.
        """
        opener, closer = self.comments.brackets("LBRACE", start)
        above = self.comments.before(opener)
        behind = self.comments.behind(opener + 1)
        entries = [Entry(written_comment(one), blank=False) for one in above]
        sign: Document = " {"
        if behind and not above:
            sign = join(sign, Suffix(written_comment(behind[0])))
        else:
            entries += [Entry(written_comment(one), blank=False) for one in behind]
        entries += self.entries(nodes)
        entries += self.comment_entries(closer)
        if not entries:
            return join(sign, BREAK, "}") if behind else " { }"
        line, separator = (SPACE, Line("; ")) if compact else (BREAK, BREAK)
        lines: list[Document] = []
        for entry in entries:
            if lines:
                lines += [BREAK, separator] if entry.blank else [separator]
            lines.append(entry.document)
        return join(sign, Nest(join(line, *lines)), line, "}")

    def is_compact(self, start: int, end: int, body: Sequence[ast.Syntax]) -> bool:
        """Whether a body between two offsets may stay on one line."""
        simple = len(body) <= 1 and not any(isinstance(node, _COMPOUND) for node in body)
        return simple and self.may_stay(start, end)

    def may_stay(self, start: int, end: int) -> bool:
        """Whether a piece of the text is on one line, without comments."""
        return self.comments.same_line(start, end) and not self.comments.any_before(end)

    # Statements with a value

    def _dim(self, node: ast.Dim) -> Document:
        return self.value(f"dim {names(node.names)} =", node.value, node.span.end)

    def _layer(self, node: ast.Layer) -> Document:
        return self.value(f"layer {node.name.name} =", node.value, node.span.end)

    def _assign(self, node: ast.Assign) -> Document:
        target: Document = names(node.names)
        if node.shape is not None:
            target = join(target, ": ", self.document(node.shape))
        return self.value(join(target, " ="), node.value, node.span.end)

    def _residual(self, node: ast.Residual) -> Document:
        return self.value(f"{node.name.name} +=", node.value, node.span.end)

    def _store(self, node: ast.Store) -> Document:
        keyword = "param" if node.trained else "buffer"
        declared = join(f"{keyword} {node.name.name}: ", self.document(node.shape))
        if node.initializer is None:
            return declared
        return self.value(join(declared, " ~"), node.initializer, node.span.end)

    def _return(self, node: ast.Return) -> Document:
        if len(node.values) == 1:
            return join("return ", self.document(node.values[0]))
        last = node.values[-1]
        parts = [self.part(value, open_ended=value is last) for value in node.values]
        return Group(join("return ", Nest(between(join(",", SPACE), parts))))

    def _require(self, node: ast.Require) -> Document:
        word = "prefer" if node.warning else "require"
        if node.message is None:
            return join(word, " ", self.operand(node.condition))
        condition = self.part(node.condition)
        message = self.part(node.message, open_ended=True)
        return Group(join(word, " ", condition, ",", Nest(join(SPACE, message))))

    def _expect(self, node: ast.Expect) -> Document:
        return join("expect ", self.expected(node))

    def expected(self, node: ast.Expect | ast.Expectation) -> Document:
        """`condition within tolerance at [conditions], source`."""
        parts: list[Document] = [self.operand(node.condition)]
        end = node.condition.span.end
        if node.tolerance is not None:
            parts += [" within ", self.operand(node.tolerance)]
            end = node.tolerance.span.end
        if node.conditions:
            _, closer = self.comments.brackets("LSQB", end)
            parts += [" at ", self.bracketed("[", node.conditions, "]", closer)]
        if node.source is not None:
            parts += [",", Nest(join(SPACE, self.part(node.source, open_ended=True)))]
        return Group(join(*parts))

    # Statements with a body

    def _defaults(self, node: ast.Defaults) -> Document:
        compact = self.may_stay(node.span.start, node.span.end)
        written = self.braces(node.span.start, node.settings, compact=compact)
        return Group(join("defaults", written))

    def _default(self, node: ast.Default) -> Document:
        name = f"{node.operator.name}.{node.name.name}"
        return self.value(f"{name} =", node.value, node.span.end)

    def _repeat(self, node: ast.Repeat) -> Document:
        compact = self.is_compact(node.span.start, node.span.end, node.body)
        parts: list[Document] = ["repeat ", self.operand(node.count)]
        parts += [f" as {node.index.name}"] if node.index is not None else []
        parts += [" shared"] if node.shared else []
        parts.append(self.braces(node.count.span.end, node.body, compact=compact))
        return Group(join(*parts))

    def _for(self, node: ast.For) -> Document:
        compact = self.is_compact(node.span.start, node.span.end, node.body)
        head = join(f"for {names(node.binder)} in ", self.operand(node.iterable))
        return Group(join(head, self.braces(node.iterable.span.end, node.body, compact=compact)))

    def _if(self, node: ast.If) -> Document:
        branches: list[tuple[ast.If, tuple[ast.Statement, ...]]] = [(node, node.yes)]
        rest = node.no
        while len(rest) == 1 and isinstance(rest[0], ast.If):
            branches.append((rest[0], rest[0].yes))
            rest = rest[0].no
        bodies = (*(body for _, body in branches), rest)
        compact = all(self.is_compact(node.span.start, node.span.end, body) for body in bodies)
        parts: list[Document] = []
        closer = node.span.start
        for branch, body in branches:
            parts += [" else if " if parts else "if ", self.operand(branch.condition)]
            end = branch.condition.span.end
            parts.append(self.braces(end, body, compact=compact))
            _, closer = self.comments.brackets("LBRACE", end)
        if rest:
            parts += [" else", self.braces(closer, rest, compact=compact)]
        return Group(join(*parts))


STATEMENTS: dict[type[ast.Syntax], Rule] = {
    **EXPRESSIONS,
    ast.Dim: StatementPrinter._dim,
    ast.Layer: StatementPrinter._layer,
    ast.Assign: StatementPrinter._assign,
    ast.Residual: StatementPrinter._residual,
    ast.Store: StatementPrinter._store,
    ast.Return: StatementPrinter._return,
    ast.Require: StatementPrinter._require,
    ast.Expect: StatementPrinter._expect,
    ast.Defaults: StatementPrinter._defaults,
    ast.Default: StatementPrinter._default,
    ast.Repeat: StatementPrinter._repeat,
    ast.For: StatementPrinter._for,
    ast.If: StatementPrinter._if,
}
