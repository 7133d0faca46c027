"""What can be saved of a declaration with mistakes, each of which gets its own message.

lark stops at the first mistake of a piece. So a piece that fails is taken apart: its head is parsed
with empty braces, and every statement between the braces for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lark import Token, UnexpectedToken

from linvit_dsl.errors import Diagnostic, Source, Span, SpecError
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.grammar import Start, parse_tokens
from linvit_dsl.syntax.layout import layout, statements
from linvit_dsl.syntax.lowering import Lowering
from linvit_dsl.syntax.mistakes import Failure, explain, unclosed_brace
from linvit_dsl.syntax.tokens import end_of, new_token, span_of, start_of

# What stands between the braces of a declaration, where it is not statements.
_INSIDE: dict[str, Start] = {"recipe": "field", "train": "field", "sweep": "vary"}
# Where the scanner found one of these, a second message about the same place would only repeat it.
_ALREADY_SAID = {"E0100", "E0104", "E0114", "E0123", "E0124"}
_TAKEN_APART = 20_000
"""Tokens of a declaration that is still taken apart; no real one has a tenth of them."""
_REPAIRS = 8
"""Mistakes that are repaired in one piece; with more of them the first ones say enough."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """A piece with braces: its tokens with nothing between them, and what stands there.

    Each body comes with its closing brace. `unclosed` is an opening one that has none.
    """

    skeleton: list[Token]
    bodies: list[tuple[list[Token], Token | None]]
    unclosed: Token | None


class Recovery:
    """Collects the diagnostics of one text; starts with those of the scanner."""

    def __init__(self, source: Source, diagnostics: Sequence[Diagnostic]) -> None:
        self.source = source
        self.diagnostics = list(diagnostics)
        self._scanned = tuple(diagnostics)
        self._lowering = Lowering(source)
        self._lost: list[frozenset[str]] = []
        self._behind: Token | None = None

    @property
    def is_full(self) -> bool:
        """Whether as many diagnostics are known as will be reported."""
        return len(self.diagnostics) >= limits.ERRORS

    def item(self, tokens: Sequence[Token], doc: str, behind: Token | None) -> ast.Item | None:
        """What is left of a declaration that cannot be parsed as a whole, and why it cannot.

        `behind` is the last token before it.
        """
        self._behind = behind
        lost, found = len(self._lost), len(self.diagnostics)
        saved = self._save(tokens, "item", None) if len(tokens) <= _TAKEN_APART else None
        if len(self.diagnostics) == found and not self.is_full:
            # Too large to take apart, or right in every part: then the whole explains itself.
            self._node(tokens, "item", None)
        if saved is None:
            return self.remains(tokens)
        if isinstance(saved, ast.Block):
            names: frozenset[str] = frozenset().union(*self._lost[lost:])
            broken = len(self._lost) > lost
            return saved.model_copy(update={"broken": broken, "lost": names, "doc": doc})
        return saved.model_copy(update={"doc": doc}) if isinstance(saved, ast.Alias) else saved

    def remains(self, tokens: Sequence[Token]) -> ast.Item | None:
        """The names that a lost declaration would have declared, so that nobody misses them."""
        words = [
            token
            for token in tokens[:64]
            if token.type != "_NL" and token.value not in {"intrinsic", "float32"}
        ]
        span = span_of(self.source, tokens[0], tokens[-1])
        if words and words[0].type == "FROM":
            return self._remains_of_import(words, span)
        if not words or words[0].type not in {"BLOCK", "MODEL", "CONST"}:
            return None
        name = words[1] if len(words) > 1 and words[1].type == "NAME" else None
        if name is None:
            return None
        return ast.Block.model_construct(
            keyword="model" if words[0].type == "MODEL" else "block",
            intrinsic=False,
            float32=False,
            name=self._lowering.identifier(name),
            statics=(),
            parameters=(),
            results=(),
            body=(),
            head=span,
            doc="",
            broken=True,
            span=span,
        )

    def _remains_of_import(self, words: Sequence[Token], span: Span) -> ast.Import | None:
        kinds = [token.type for token in words]
        split = kinds.index("IMPORT") if "IMPORT" in kinds else len(kinds)
        module = tuple(token.value for token in words[1:split] if token.type == "NAME")
        names = [token for token in words[split:] if token.type == "NAME"]
        if not module or not names:
            return None
        return ast.Import.model_construct(
            module=module,
            path=None,
            names=self._lowering.identifiers(names),
            alias=None,
            span=span,
        )

    def _save(self, tokens: Sequence[Token], start: Start, after: Token | None) -> Any:
        """The node of a piece without the parts that cannot be parsed; None if nothing is left."""
        parts = _take_apart(tokens)
        if not parts.bodies:
            return self._node(tokens, start, after)
        if parts.unclosed is not None:
            self._lose(())
            self.diagnostics.append(unclosed_brace(self.source, tokens, parts.unclosed))
        inside = _inside(tokens, start)
        saved = [self._pieces(body, inside, closer) for body, closer in parts.bodies]
        node = self._node(parts.skeleton, start, after)
        if node is None:
            self._lose(tokens)
            return None
        return _fill(node, iter(saved))

    def _pieces(
        self, tokens: Sequence[Token], start: Start, closer: Token | None
    ) -> tuple[Any, ...]:
        """The nodes between two braces."""
        pieces = list(statements(self.source.text, tokens))
        afters = [*(piece[0] for piece in pieces[1:]), closer]
        nodes = [
            self._save(piece, start, after) for piece, after in zip(pieces, afters, strict=False)
        ]
        return tuple(node for node in nodes if node is not None)

    def _node(self, tokens: Sequence[Token], start: Start, after: Token | None) -> Any:
        """The node of a piece without parts, mistakes repaired where possible, and reported."""
        for _ in range(_REPAIRS):
            try:
                return self._lower(tokens, start)
            except SpecError as error:
                self.diagnostics += error.diagnostics
                break
            except UnexpectedToken as error:
                if self.is_full:
                    break
                laid_out = layout(tokens)
                problem = explain(
                    Failure.of(self.source, laid_out, start, error, after, self._behind)
                )
                if not self._already_said(laid_out):
                    self.diagnostics.append(problem.diagnostic)
                if problem.repaired is None:
                    break
                tokens = problem.repaired
        self._lose(tokens)
        return None

    def _lose(self, tokens: Sequence[Token]) -> None:
        self._lost.append(frozenset(token.value for token in tokens if token.type == "NAME"))

    def _already_said(self, tokens: Sequence[Token]) -> bool:
        """Whether the scanner has reported a mistake inside of these tokens."""
        places = [
            found.primary.span.start for found in self._scanned if found.code in _ALREADY_SAID
        ]
        return any(
            start_of(left) <= place < start_of(right)
            for left, right in pairwise(tokens)
            for place in places
            if left.type != "LBRACE" or right.type != "RBRACE"
        ) or any(start_of(tokens[-1]) <= place <= end_of(tokens[-1]) for place in places)

    def _lower(self, tokens: Sequence[Token], start: Start) -> Any:
        tree = parse_tokens(layout(tokens), start)
        match start:
            case "item":
                return self._lowering.item(tree)
            case "default":
                return self._lowering.default(tree)
            case "field":
                return self._lowering.field(tree)
            case "vary":
                return self._lowering.vary(tree)
            case _:
                return self._lowering.statement(tree)


def _inside(tokens: Sequence[Token], start: Start) -> Start:
    """What stands between the braces of a piece."""
    if start == "item":
        return _INSIDE.get(tokens[0].value, "stmt")
    return "default" if start == "stmt" and tokens[0].value == "defaults" else start


def _take_apart(tokens: Sequence[Token]) -> _Parts:
    """Separate what stands between the outer braces of a piece from the rest.

    A closing brace that is missing is supplied at the end.
    """
    skeleton: list[Token] = []
    bodies: list[tuple[list[Token], Token | None]] = []
    body: list[Token] = []
    depth = 0
    for token in tokens:
        if token.type == "RBRACE" and depth:
            depth -= 1
            if depth == 0:
                bodies.append((body, token))
                body = []
        (body if depth else skeleton).append(token)
        depth += token.type == "LBRACE"
    if not depth:
        return _Parts(skeleton, bodies, None)
    end = end_of(tokens[-1])
    closer = new_token("RBRACE", "}", end, end)
    return _Parts([*skeleton, closer], [*bodies, (body, None)], skeleton[-1])


def _fill(node: Any, bodies: Iterator[tuple[Any, ...]]) -> Any:
    """A node of a skeleton, with what could be parsed between its braces."""
    match node:
        case ast.Block() | ast.Repeat() | ast.For():
            return node.model_copy(update={"body": next(bodies)})
        case ast.If():
            yes, no = next(bodies), node.no
            chained = bool(no)
            update = {"yes": yes, "no": (_fill(no[0], bodies),) if chained else next(bodies, ())}
            return node.model_copy(update=update)
        case ast.Defaults():
            return node.model_copy(update={"settings": next(bodies)})
        case ast.Recipe() | ast.Train():
            return node.model_copy(update={"record": _fill(node.record, bodies)})
        case ast.Field():
            return node.model_copy(update={"value": _fill(node.value, bodies)})
        case ast.Record():
            return node.model_copy(update={"fields": next(bodies)})
        case ast.Sweep():
            return node.model_copy(update=_sweep_lines(next(bodies)))
        case _:
            return node


def _sweep_lines(lines: Sequence[Any]) -> dict[str, tuple[Any, ...]]:
    return {
        "axes": tuple(line for line in lines if isinstance(line, ast.Vary)),
        "fields": tuple(line for line in lines if isinstance(line, ast.Field)),
        "conditions": tuple(line for line in lines if not isinstance(line, ast.Vary | ast.Field)),
    }
