"""Which newlines mean something, and where a text falls into pieces that stand for themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lark import Token

from linvit_dsl.syntax.tokens import CLOSERS, OPENERS, partner, start_of

# A line that ends with one of these goes on.
UNFINISHED = {
    *("COMMA", "EQUAL", "COLON", "TILDE", "_ADD_TO", "_ARROW", "_PIPE", "_RANGE"),
    *("PLUS", "MINUS", "STAR", "SLASH", "FLOORDIV", "PERCENT", "CARET"),
    *("EQ", "NE", "LE", "GE", "LT", "GT", "IN", "AND", "OR", "NOT", "THEN", "ELSE"),
}
# A line that begins with one of these belongs to the one before.
CONTINUING = {"_PIPE", "_ARROW", "THEN", "ELSE", "LBRACE"}
# Words that begin a statement and nothing else.
STATEMENT_WORDS = {
    *("DIM", "REQUIRE", "PREFER", "EXPECT", "PARAM", "BUFFER", "LAYER", "REPEAT", "RETURN"),
}
# Words that begin a declaration: the hard ones, and the soft ones where a name follows.
ITEM_WORDS = {"IMPORT", "FROM", "CONST", "MODEL"}
_SOFT_ITEM_WORDS = {"intrinsic", "float32", "recipe", "train", "sweep", "check", "claim"}
# What stands behind the model's name in `expect M: ...` and `expect lib.M[d = 192]: ...`.
_NAMED = (["COLON"], ["DOT"], ["LSQB"])


def layout(tokens: Sequence[Token]) -> list[Token]:
    """The tokens without the newlines that mean nothing, as the grammar wants them."""
    kept: list[Token] = []
    brackets: list[Token] = []
    newline: Token | None = None
    for token in tokens:
        if token.type == "_NL":
            newline = newline if newline is not None and ";" in newline else token
            continue
        if newline is not None and not _meaningless(newline, kept, brackets, token):
            kept.append(newline)
        newline = None
        _track(brackets, token)
        kept.append(token)
    return kept


def _track(brackets: list[Token], token: Token) -> None:
    """Keep the list of open brackets."""
    if token.type in OPENERS:
        brackets.append(token)
    elif token.type in CLOSERS:
        place = partner(brackets, token)
        if place is not None:
            del brackets[place:]


def _meaningless(newline: Token, kept: list[Token], brackets: list[Token], after: Token) -> bool:
    """Whether a newline between the kept tokens and the one after it does not end anything."""
    if not kept or kept[-1].type == "LBRACE" or after.type == "RBRACE":
        return True
    if ";" in newline:
        return False
    inside = bool(brackets) and brackets[-1].type != "LBRACE"
    return inside or kept[-1].type in UNFINISHED or after.type in CONTINUING


def declarations(text: str, tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Cut a file where a declaration begins: at the left margin, or behind a complete one.

    A bracket that is never closed so costs no more than its own declaration. What is no declaration
    comes as a piece of its own.
    """
    piece: list[Token] = []
    brackets: list[Token] = []
    complete = False
    for index, token in enumerate(tokens):
        if token.type == "_NL":
            if piece:
                piece.append(token)
            continue
        if piece and piece[-1].type == "_NL":
            at_margin = text[start_of(token) - 1] == "\n"
            begins = declares(tokens, index)
            ends = complete and not brackets and not _belongs(piece, token)
            if ends or (begins and (at_margin or not brackets)):
                yield strip(piece)
                piece, brackets = [], []
        if not piece:
            complete = declares(tokens, index)
        _track(brackets, token)
        piece.append(token)
    if piece:
        yield strip(piece)


def declares(tokens: Sequence[Token], index: int) -> bool:
    """Whether a declaration begins with this token. Soft words are followed by a name."""
    token = tokens[index]
    after = tokens[index + 1].type if index + 1 < len(tokens) else ""
    if token.type in ITEM_WORDS:
        return True
    if token.type == "BLOCK":
        return after == "NAME"
    if token.type == "EXPECT":
        # As a statement it begins with a quantity, which is compared.
        return after == "NAME" and [t.type for t in tokens[index + 2 : index + 3]] in _NAMED
    return token in _SOFT_ITEM_WORDS and after in {"NAME", "BLOCK", "MODEL"}


def _belongs(piece: Sequence[Token], token: Token) -> bool:
    """Whether a line that begins with `token` continues the piece."""
    return token.type in CONTINUING or _last(piece).type in UNFINISHED


def _last(piece: Sequence[Token]) -> Token:
    """The last token of a piece that is no newline."""
    return next(token for token in reversed(piece) if token.type != "_NL")


def strip(tokens: Sequence[Token]) -> list[Token]:
    """The tokens without newlines before and behind."""
    start, end = 0, len(tokens)
    while start < end and tokens[start].type == "_NL":
        start += 1
    while end > start and tokens[end - 1].type == "_NL":
        end -= 1
    return list(tokens[start:end])


def statements(text: str, tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Cut a body into statements, also where an unfinished line is followed by a new statement."""
    lost = unclosed(tokens)
    piece: list[Token] = []
    brackets: list[Token] = []
    for index, token in enumerate(tokens):
        if token.type == "_NL":
            rest = [held for held in tokens[index + 1 : index + 40] if held.type != "_NL"]
            if piece and rest and _ends(text, piece, brackets, token, rest, lost):
                yield strip(piece)
                piece, brackets = [], []
            elif piece:
                piece.append(token)
            continue
        _track(brackets, token)
        piece.append(token)
    if piece:
        yield strip(piece)


def _ends(
    text: str,
    piece: Sequence[Token],
    brackets: Sequence[Token],
    newline: Token,
    rest: Sequence[Token],
    lost: Sequence[Token],
) -> bool:
    """Whether a statement ends at a newline."""
    if any(bracket.type == "LBRACE" for bracket in brackets):
        return False
    if not brackets and (";" in newline or not _belongs(piece, rest[0])):
        return True
    if rest[0].type in STATEMENT_WORDS:
        return True
    goes_on = _last(piece).type in UNFINISHED | {"LPAR", "LSQB"}
    if not brackets:
        return _binds(rest)
    if rest[0].type in CLOSERS:
        return False
    # `name = value` on a line of its own may be an argument; not where the bracket is never closed,
    # and the line stands no further right than the statement.
    outdented = _column(text, rest[0]) <= _column(text, piece[0])
    forgotten = outdented and any(bracket is held for bracket in brackets for held in lost)
    return (not goes_on or forgotten) and (_binds(rest) or (forgotten and not goes_on))


def _binds(tokens: Sequence[Token]) -> bool:
    """Whether tokens begin with `name =`, `name +=`, `name {` or `(a, b) =`."""
    kinds = [token.type for token in tokens]
    if kinds[0] == "LPAR" and "RPAR" in kinds:
        closer = kinds.index("RPAR")
        names = kinds[1:closer]
        return set(names) <= {"NAME", "COMMA"} and kinds[closer + 1 : closer + 2] == ["EQUAL"]
    return kinds[0] == "NAME" and kinds[1:2] in (["EQUAL"], ["_ADD_TO"], ["LBRACE"])


def _column(text: str, token: Token) -> int:
    return start_of(token) - text.rfind("\n", 0, start_of(token))


def unclosed(tokens: Sequence[Token]) -> list[Token]:
    """Opening brackets without a partner, outermost first."""
    stack: list[Token] = []
    lost: list[Token] = []
    for token in tokens:
        if token.type in OPENERS:
            stack.append(token)
        elif token.type in CLOSERS:
            place = partner(stack, token)
            if place is not None:
                lost += stack[place + 1 :]
                del stack[place:]
    return sorted(lost + stack, key=start_of)


def deepest(tokens: Sequence[Token], limit: int) -> Token | None:
    """The first opening bracket that is nested more than `limit` deep."""
    depth = 0
    for token in tokens:
        if token.type in OPENERS:
            depth += 1
            if depth > limit:
                return token
        elif token.type in CLOSERS and depth:
            depth -= 1
    return None
