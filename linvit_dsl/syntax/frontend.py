"""The way from the text of a file to its AST."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from lark import Token, UnexpectedToken

from linvit_dsl.errors import Diagnostic, Source, Span, SpecError, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.fragments import holes
from linvit_dsl.syntax.grammar import parse_tokens
from linvit_dsl.syntax.layout import declarations, declares, deepest, layout
from linvit_dsl.syntax.lowering import Lowering
from linvit_dsl.syntax.reading import too_large
from linvit_dsl.syntax.recovery import Recovery
from linvit_dsl.syntax.scanner import scan
from linvit_dsl.syntax.tokens import end_of, span_of, start_of


@dataclass(frozen=True, slots=True)
class ParseResult:
    """What a text says, as far as it could be read, and what is wrong with it.

    `file` lacks the parts that `diagnostics` are about; a block with such a part is `broken`.
    Diagnostics are sorted by position, and not more than `limits.ERRORS`.
    """

    file: ast.File
    diagnostics: tuple[Diagnostic, ...]


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
    docs = scanned.docs
    behind: Token | None = None
    failed = False
    for tokens in declarations(source.text, scanned.tokens):
        if failed and _is_leftover(source.text, tokens):
            continue
        found = len(recovery.diagnostics)
        item = _item(tokens, _doc(docs, behind, tokens[0]), lowering, recovery, behind)
        if item is not None:
            items.append(item)
            recovery.diagnostics += _messages(item)
        behind, failed = tokens[-1], len(recovery.diagnostics) > found
    file = ast.File.model_construct(items=tuple(items), span=whole)
    found = sorted(recovery.diagnostics, key=lambda problem: problem.primary.span.start)
    return ParseResult(file, tuple(found[: limits.ERRORS]))


def _is_leftover(text: str, tokens: Sequence[Token]) -> bool:
    """Whether a piece is the rest of a broken declaration before it, and not worth a message."""
    at_margin = text[start_of(tokens[0]) - 1] == "\n"
    return not declares(tokens, 0) and (not at_margin or tokens[0].type == "RBRACE")


def _item(
    tokens: Sequence[Token],
    doc: str,
    lowering: Lowering,
    recovery: Recovery,
    behind: Token | None,
) -> ast.Item | None:
    deep = deepest(tokens, limits.NESTING)
    if deep is not None:
        span = span_of(lowering.source, deep)
        recovery.diagnostics.append(diagnose("E0709", span, limit=limits.NESTING))
        return recovery.remains(tokens)
    try:
        return lowering.item(parse_tokens(layout(tokens), "item"), doc)
    except (UnexpectedToken, SpecError):
        return recovery.item(tokens, doc, behind)


def _doc(comments: Sequence[Span], behind: Token | None, first: Token) -> str:
    """The `##` comments before a declaration, without their signs.

    A comment on the last line of the declaration before is not about this one.
    """
    start = 0
    if behind is not None and comments:
        text = comments[0].source.text
        start = text.find("\n", end_of(behind), start_of(first)) % (len(text) + 1)
    index = bisect_left(comments, start, key=lambda comment: comment.start)
    inside = takewhile(
        lambda comment: comment.start < start_of(first), islice(comments, index, None)
    )
    return "\n".join(comment.text.removeprefix("##").strip() for comment in inside)


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
