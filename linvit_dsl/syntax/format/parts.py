"""What all rules of the formatter share: parts with their comments, and lists in brackets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from linvit_dsl.errors import InternalError, Source, Span
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.format.comments import Comments
from linvit_dsl.syntax.format.document import (
    BREAK,
    INDENT,
    NOTHING,
    Document,
    Fill,
    Group,
    IfBroken,
    Nest,
    Suffix,
    between,
    flat_text,
    join,
    must_break,
)

WIDTH = 100
"""Columns of a line."""

# A single argument of these kinds is not worth lines of its own.
_ATOMS = (ast.Name, ast.Number, ast.Boolean, ast.Unary)
_SEQUENCES = (ast.ListOf, ast.TupleOf, ast.Comprehension)

Rule = Callable[[Any, Any], Document]


class Where(ast.Syntax):
    """The line `where condition` of a sweep, of which the AST keeps the condition."""

    kind: Literal["where"] = "where"
    condition: ast.Expression


class Printer:
    """Makes documents of the nodes of one text, and puts each comment into one of them."""

    RULES: ClassVar[dict[type[ast.Syntax], Rule]] = {}

    def __init__(self, source: Source) -> None:
        self.comments = Comments(source)

    def document(self, node: ast.Syntax) -> Document:
        """The document of any node.

        Raises:
            InternalError: There is no rule for its class.
        """
        rule = self.RULES.get(type(node))
        if rule is None:
            raise InternalError(f"the formatter has no rule for {type(node).__name__}")
        return rule(self, node)

    # Comments around a part

    def with_comments(
        self,
        node: ast.Syntax,
        document: Callable[[], Document],
        *,
        limit: int | None = None,
        open_ended: bool = False,
    ) -> tuple[tuple[Span, ...], Document]:
        """The comments to stand above a part, and its document with one that ends its line.

        An open-ended part ends where what it belongs to ends, which has the comment behind it. Any
        other has the parentheses that close behind it and before `limit`; if more comments are
        left inside, they go to what comes next.
        """
        above = self.comments.before(beginning(node))
        written = document()
        if open_ended:
            return above, written
        end = self.comments.past_parentheses(node.span.end, limit)
        tail = self.comments.first_before(end) or self.comments.behind(end)
        return above, join(written, *(Suffix(written_comment(one)) for one in tail))

    def value(self, sign: Document, node: ast.Syntax, end: int) -> Document:
        """` = value`, the last part of something that ends at offset `end`."""
        above = self.comments.before(beginning(node))
        written = self.document(node)
        ends = self.comments.before(end) + self.comments.behind(end)
        tail = [Suffix(written_comment(one)) for one in ends[-1:]]
        return under(sign, above + ends[:-1], join(written, *tail))

    # Brackets

    def bracketed(
        self,
        opening: str,
        items: Sequence[ast.Syntax],
        closing: str,
        end: int,
        *,
        firm: bool = False,
    ) -> Document:
        """Items between brackets, of which the closing one stands at offset `end`.

        On one line, or in rows between the lines of the brackets; the latter only where nothing
        else helps if they are `firm`.
        """
        written: list[Document] = []
        rows: list[bool] = []
        for place, item in enumerate(items):
            above, document = self.with_comments(item, partial(self.document, item), limit=end)
            written.append(join(*lines_of(above), document))
            if place:
                start, stop = items[place - 1].span.end, item.span.start
                rows.append(not self.comments.same_line(start, stop))
        last = [join(BREAK, written_comment(one)) for one in self.comments.before(end)]
        if not written:
            inside = Nest(join(*last))
            return join(opening, inside, BREAK, closing) if last else opening + closing
        flat = between(", ", written)
        if not last and not must_break(flat):
            sole = items[0].value if isinstance(items[0], ast.Splat) else items[0]
            short = len(items) == 1 and isinstance(sole, _ATOMS + _SEQUENCES)
            text = f"{opening}{flat_text(flat)}{closing}"
            if firm and len(text) < WIDTH - 2 * INDENT:
                return text
            if short:
                return join(opening, flat, closing)
        fill = Fill(tuple(written), tuple(rows))
        return Group(
            join(opening, Nest(join(NOTHING, fill, IfBroken(","), *last)), NOTHING, closing)
        )


def written_comment(comment: Span) -> str:
    """A comment as it is written: without blanks at the end."""
    return comment.text.rstrip()


def lines_of(comments: Iterable[Span]) -> list[Document]:
    """Comments, each on a line of its own."""
    return [join(written_comment(comment), BREAK) for comment in comments]


def under(sign: Document, above: Sequence[Span], written: Document) -> Document:
    """`sign written`, or with comments between the two, what is written on lines of its own."""
    if not above:
        return join(sign, " ", written)
    return join(sign, Nest(join(BREAK, *lines_of(above), written)))


def beginning(node: ast.Syntax) -> int:
    """Where the first word of a node stands, or of what follows the keyword of a statement.

    It stands behind the parentheses that may be there, which may have comments in them; no line may
    end behind a keyword, so these go above the statement.
    """
    while True:
        match node:
            case ast.Require() | ast.Expect() | ast.If() | Where():
                node = node.condition
            case ast.Return():
                node = node.values[0]
            case ast.Repeat():
                node = node.count
            case ast.Check() | ast.Expectation():
                node = node.model
            case ast.Binary():
                node = node.left
            case ast.Pipe():
                node = node.value
            case ast.Range():
                node = node.first
            case ast.Statics() | ast.Apply() | ast.Member() | ast.Labelled():
                node = node.target
            case _:
                return node.span.start


def names(binder: Sequence[ast.Identifier]) -> str:
    """One name, or several in parentheses."""
    if len(binder) == 1:
        return binder[0].name
    return f"({', '.join(name.name for name in binder)})"
