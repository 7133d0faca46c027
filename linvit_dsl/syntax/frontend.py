"""The way from the text of a file to its AST."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lark import Token, UnexpectedToken

from linvit_dsl.errors import Diagnostic, Source, Span, SpecError, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.fragments import holes
from linvit_dsl.syntax.grammar import parse_tokens
from linvit_dsl.syntax.layout import declarations, deepest, layout
from linvit_dsl.syntax.lowering import Lowering
from linvit_dsl.syntax.reading import too_large
from linvit_dsl.syntax.recovery import Recovery
from linvit_dsl.syntax.scanner import scan


@dataclass(frozen=True, slots=True)
class ParseResult:
    """What a text says, as far as it could be read, and what is wrong with it.

    `file` lacks the parts that `diagnostics` are about; a block with such a part is `broken`.
    Diagnostics are sorted by position; `omitted` more were found than are reported.
    """

    file: ast.File
    diagnostics: tuple[Diagnostic, ...]
    omitted: int = 0


def parse(source: Source) -> ParseResult:
    """Parse a whole `.vit` text. Never raises for what the text says."""
    whole = Span(source, 0, len(source.text))
    size = len(source.text.encode("utf-8", errors="surrogatepass"))
    if size > limits.FILE_BYTES:
        problem = too_large(source, size)
        return ParseResult(ast.File.model_construct(items=(), span=whole), (problem,))
    scanned = scan(source)
    recovery = Recovery(source, scanned.diagnostics)
    lowering = Lowering(source)
    items: list[ast.Item] = []
    behind = 0
    for tokens in declarations(source.text, scanned.tokens):
        doc = _doc(scanned.docs, behind, tokens[0].start_pos)
        behind = tokens[-1].end_pos
        item = _item(tokens, doc, lowering, recovery)
        if item is not None:
            items.append(item)
            recovery.diagnostics += _messages(item)
    file = ast.File.model_construct(items=tuple(items), span=whole)
    found = sorted(recovery.diagnostics, key=lambda problem: problem.primary.span.start)
    omitted = max(0, len(found) - limits.ERRORS)
    return ParseResult(file, tuple(found[: limits.ERRORS]), omitted)


def _item(
    tokens: Sequence[Token], doc: str, lowering: Lowering, recovery: Recovery
) -> ast.Item | None:
    deep = deepest(tokens, limits.NESTING)
    if deep is not None:
        span = Span(lowering.source, deep.start_pos, deep.end_pos)
        recovery.diagnostics.append(diagnose("E0709", span, limit=limits.NESTING))
        return recovery.remains(tokens)
    try:
        return lowering.item(parse_tokens(layout(tokens), "item"), doc)
    except (UnexpectedToken, SpecError):
        return recovery.item(tokens, doc)


def _doc(comments: Sequence[Span], start: int, end: int) -> str:
    """The `##` comments between two offsets, without their signs."""
    inside = [comment.text for comment in comments if start <= comment.start < end]
    return "\n".join(text.rstrip("\r").removeprefix("##").strip() for text in inside)


def _messages(item: ast.Item) -> Iterator[Diagnostic]:
    """What is wrong with the expressions in the messages of `require` and `prefer`."""
    waiting = list(item.body) if isinstance(item, ast.Block) else []
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.Repeat | ast.For):
            waiting += statement.body
        elif isinstance(statement, ast.If):
            waiting += statement.yes + statement.no
        elif isinstance(statement, ast.Require) and statement.message is not None:
            try:
                holes(statement.message)
            except SpecError as error:
                yield from error.diagnostics
