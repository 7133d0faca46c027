"""What is wrong with a piece that does not follow the grammar: the first explanation that fits.

An explanation that knows a cure also tries it: it speaks only if the piece then fails later or
not at all, and hands out the cured tokens, so that the rest of the piece is read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lark import Token

from linvit_dsl.errors import Diagnostic, Fix, Label, Source, Span, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.syntax import wording
from linvit_dsl.syntax.failure import Failure
from linvit_dsl.syntax.grammar import fixed_texts
from linvit_dsl.syntax.layout import ITEM_WORDS, STATEMENT_WORDS
from linvit_dsl.syntax.other_languages import foreign_word
from linvit_dsl.syntax.tokens import CLOSERS, OPENERS, span_of


@dataclass(frozen=True, slots=True)
class Problem:
    """A diagnostic, and the piece with the mistake repaired where the repair is beyond doubt."""

    diagnostic: Diagnostic
    repaired: Sequence[Token] | None = None


def explain(failure: Failure) -> Problem:
    """The problem behind a failure."""
    for explanation in _EXPLANATIONS:
        problem = explanation(failure)
        if problem is not None:
            return problem
    return _unexpected(failure)


def _unexpected(
    failure: Failure, *helps: str, fix: Fix | None = None, repaired: Sequence[Token] | None = None
) -> Problem:
    """What was expected and what was found: all that can be said where nothing special is known."""
    secondary: list[Label] = []
    before = failure.before
    if before is not None and before.type in _WANTS_MORE:
        secondary.append(Label(failure.span(before), f"`{before}` needs something behind it"))
    if failure.brackets:
        opener = failure.tokens[failure.brackets[-1]]
        if OPENERS[opener.type] in failure.accepts:
            secondary.append(Label(failure.span(opener), "opened here"))
    return Problem(
        diagnose(
            "E0101",
            failure.place,
            expected=wording.expected(failure.accepts),
            found=wording.found(failure.next),
            secondary=tuple(secondary),
            helps=helps,
            fixes=() if fix is None else (fix,),
        ),
        repaired,
    )


_WANTS_MORE = wording.OPERATORS | {"EQUAL", "_ADD_TO", "_PIPE"}


# Words


_BEGINNINGS: dict[str, tuple[str, ...]] = {
    "item": (
        *("import", "from", "const", "block", "model", "intrinsic"),
        *("recipe", "train", "sweep", "check"),
    ),
    "stmt": (
        *("dim", "require", "prefer", "expect", "param", "buffer", "layer"),
        *("repeat", "for", "if", "return"),
    ),
    "vary": ("where",),
}


def _misspelt_keyword(failure: Failure) -> Problem | None:
    """`repaet 3 {`: the word in the way, the one before it or the first is nearly a keyword."""
    accepted = [
        text for text, kind in fixed_texts().items() if kind in failure.accepts and text.isalpha()
    ]
    suspects = (
        (failure.index, accepted),
        (failure.index - 1, ("not", "if")),
        (0, _BEGINNINGS.get(failure.start, ())),
    )
    for at, words in suspects:
        if not 0 <= at < len(failure.tokens) or failure.tokens[at].type != "NAME":
            continue
        word = failure.tokens[at]
        keyword = nearest(word.value, words)
        if keyword is None or keyword == word.value:
            continue
        tokens = failure.with_tokens(at, 1, (fixed_texts()[keyword], keyword))
        if failure.helped_by(tokens):
            span = failure.span(word)
            diagnostic = diagnose(
                "E0107",
                span,
                word=word,
                helps=(f"did you mean `{keyword}`?",),
                fixes=(Fix(span, keyword, f"write `{keyword}`"),),
            )
            return Problem(diagnostic, tokens)
    return None


def _keyword_as_name(failure: Failure) -> Problem | None:
    """`layer = 3`: a keyword stands where a name is meant."""
    for at in (failure.index, failure.index - 1):
        if not 0 <= at < len(failure.tokens):
            continue
        word = failure.tokens[at]
        if not word.isalpha() or word.type in {"NAME", "STRING"} or _begins_line(failure, at):
            continue
        tokens = failure.with_tokens(at, 1, ("NAME", word.value))
        if failure.helped_by(tokens):
            helps = ("choose another name",)
            return Problem(diagnose("E0113", failure.span(word), word=word, helps=helps), tokens)
    return None


def _begins_line(failure: Failure, at: int) -> bool:
    """Whether a token inside the piece is the first of its line."""
    before = failure.source.text[: failure.span(failure.tokens[at]).start]
    return at > 0 and not before.rpartition("\n")[2].strip()


def _word_of_another_language(failure: Failure) -> Problem | None:
    """`def`, `elif`, `while`: known from elsewhere."""
    for at in (failure.index, failure.index - 1):
        if 0 <= at < len(failure.tokens):
            token = failure.tokens[at]
            helps = foreign_word(token.value, failure.start) if token.type == "NAME" else None
            if helps is not None:
                return Problem(diagnose("E0109", failure.span(token), word=token, helps=(helps,)))
    return None


# Brackets


def _wrong_closer(failure: Failure) -> Problem | None:
    """`linear[d)`, or a bracket too many."""
    token = failure.found
    if token is None or token.type not in CLOSERS:
        return None
    if not failure.brackets:
        tokens = failure.with_tokens(failure.index, 1)
        cured = tokens if tokens and failure.helped_by(tokens) else None
        span = failure.span(token)
        fix = (Fix(span, "", "remove it"),)
        diagnostic = diagnose("E0103", span, closer=token, opener="any open bracket", fixes=fix)
        return Problem(diagnostic, cured)
    opener = failure.tokens[failure.brackets[-1]]
    wanted = OPENERS[opener.type]
    if wanted == token.type:
        return None
    text = wording.spelling(wanted).strip("`")
    tokens = failure.with_tokens(failure.index, 1, (wanted, text))
    span = failure.span(token)
    diagnostic = diagnose(
        "E0103",
        span,
        closer=token,
        opener=f"`{opener}`",
        secondary=(Label(failure.span(opener), "opened here"),),
        fixes=(Fix(span, text, f"write `{text}`"),),
    )
    return Problem(diagnostic, tokens if failure.helped_by(tokens) else None)


def _unclosed(failure: Failure) -> Problem | None:
    """The piece ends, or a brace follows, inside a bracket."""
    token = failure.found
    ends = token is None or token.type in {"LBRACE", "RBRACE", "_NL"}
    if not ends or not failure.brackets:
        return None
    opener = failure.tokens[failure.brackets[-1]]
    if opener.type == "LBRACE":
        return None
    label = f"expected {wording.spelling(OPENERS[opener.type])}"
    secondary = (Label(failure.span(opener), "opened here"),)
    return Problem(diagnose("E0102", failure.gap, label, opener=opener, secondary=secondary))


def unclosed_brace(source: Source, tokens: Sequence[Token], opener: Token) -> Diagnostic:
    """A `{` without its `}`; an inner pair with crooked margins is the likely reason."""
    secondary: tuple[Label, ...] = ()
    stack: list[Span] = []
    for token in tokens:
        here = span_of(source, token)
        if token.type == "LBRACE":
            stack.append(here)
        elif token.type == "RBRACE" and stack:
            inner = stack.pop()
            if _margin(here) < _margin(inner):
                text = f"closed by the `}}` of line {here.line}, which stands further left"
                secondary = (Label(inner, text),)
                break
    return diagnose(
        "E0102", span_of(source, opener), "opened here", opener=opener, secondary=secondary
    )


def _margin(span: Span) -> int:
    """Blanks at the beginning of a span's line."""
    line = span.source.line(span.line)
    return len(line) - len(line.lstrip(" \t"))


# Declarations


def _no_declaration(failure: Failure) -> Problem | None:
    """Something else than a declaration at the top level."""
    if failure.start != "item" or failure.index or failure.found is None:
        return None
    secondary: tuple[Label, ...] = ()
    if failure.behind is not None and failure.behind.type == "RBRACE":
        secondary = (Label(failure.span(failure.behind), "the declaration before ends here"),)
    help_ = "statements stand between the braces of a `block` or a `model`"
    found = wording.found(failure.found)
    return Problem(
        diagnose("E0121", failure.place, found=found, secondary=secondary, helps=(help_,))
    )


def _no_kind(failure: Failure) -> Problem | None:
    """`[heads dim]`, `[heads = 6]`, `(x)`: a parameter without its kind or shape."""
    name, token = failure.before, failure.found
    if (
        failure.accepts != frozenset({"COLON"})
        or name is None
        or name.type != "NAME"
        or token is None
    ):
        return None
    if failure.start != "item" or not failure.brackets:
        return None
    is_static = failure.tokens[failure.brackets[-1]].type == "LSQB"
    what, example = ("kind", "dim") if is_static else ("shape", "[B, n, d]")
    helps = f"write `{name}: {example}`"
    if is_static:
        helps += "; kinds are dim, int, real, prob, bool, text, block, init and list[...]"
    tokens = failure.with_tokens(failure.index, 0, ("COLON", ":"))
    if token.type != "EQUAL" and failure.helped_by(tokens):
        fixes = (Fix(failure.gap, ":", "insert `:`"),)
        label = f"the {what} stands behind a `:`"
        diagnostic = diagnose("E0111", failure.place, label, name=name, what=what, fixes=fixes)
        return Problem(diagnostic, tokens)
    return Problem(diagnose("E0111", failure.span(name), name=name, what=what, helps=(helps,)))


def _no_result(failure: Failure) -> Problem | None:
    """`block A(x: [B, n]) {`: no `->`."""
    if failure.start != "item" or failure.accepts != frozenset({"_ARROW"}) or failure.found is None:
        return None
    if failure.tokens[0].type not in {"BLOCK", "MODEL", "INTRINSIC"}:
        return None
    name = failure.tokens[2 if failure.tokens[0].type == "INTRINSIC" else 1]
    width = 1 if failure.found.type == "COLON" else 0
    tokens = failure.with_tokens(failure.index, width, ("_ARROW", "->"))
    if failure.helped_by(tokens):
        fixes = (Fix(failure.gap.to(failure.place) if width else failure.gap, " ->", "write `->`"),)
        label = "the result stands behind `->`"
        diagnostic = diagnose("E0110", failure.place, label, name=name, fixes=fixes)
        return Problem(diagnostic, tokens)
    helps = "write the shape of the result before the `{`: `-> [B, n, d]`"
    return Problem(diagnose("E0110", failure.gap, "expected `->`", name=name, helps=(helps,)))


# Signs


_SIGNS = {
    ("EQUAL", "EQ"): "`=` gives a value its name; `==` compares",
    ("EQ", "EQUAL"): "`==` compares; `=` gives a value its name",
    ("COLON", "EQUAL"): "a value stands behind `=`; a kind or a shape behind `:`",
    ("EQUAL", "COLON"): "a kind or a shape stands behind `:`; a value behind `=`",
}


def _wrong_sign(failure: Failure) -> Problem | None:
    """`if a = b`, `epochs: 10`, `x == 3` as a statement."""
    token = failure.found
    if token is None:
        return None
    for (kind, wanted), meaning in _SIGNS.items():
        if token.type != kind or wanted not in failure.accepts:
            continue
        if wanted == "EQ" and failure.tokens[0].type not in _CONDITIONS:
            continue
        text = wording.spelling(wanted).strip("`")
        tokens = failure.with_tokens(failure.index, 1, (wanted, text))
        if failure.helped_by(tokens):
            fix = Fix(failure.place, text, f"write `{text}`")
            diagnostic = diagnose(
                "E0112", failure.place, expected=text, found=token, helps=(meaning,), fixes=(fix,)
            )
            return Problem(diagnostic, tokens)
    return None


_CONDITIONS = {"IF", "REQUIRE", "PREFER", "EXPECT", "WHERE"}


def _names_without_brackets(failure: Failure) -> Problem | None:
    """`q, k, v = ...`, `dim h, w = grid`, `for a, b in list`."""
    if failure.kind(0) != "COMMA" or failure.kind(-1) != "NAME":
        return None
    end = failure.index
    while end + 1 < len(failure.tokens) and failure.tokens[end].type == "COMMA":
        end += 2
    start = failure.index - 1
    tokens = [
        *failure.with_tokens(end, 0, ("RPAR", ")"))[: end + 1],
        *failure.tokens[end:],
    ]
    tokens = [*failure.with_tokens(start, 0, ("LPAR", "("))[: start + 1], *tokens[start:]]
    if not failure.helped_by(tokens):
        return None
    span = failure.span(failure.tokens[start]).to(failure.span(failure.tokens[end - 1]))
    fix = Fix(span, f"({span.text})", "add parentheses")
    help_ = f"several names stand in parentheses: `({span.text})`"
    return _unexpected(failure, help_, fix=fix, repaired=tokens)


def _brackets_around_import(failure: Failure) -> Problem | None:
    """`from std.nn import (A, B)`."""
    if (
        failure.tokens[0].type != "FROM"
        or failure.kind(0) != "LPAR"
        or failure.kind(-1) != "IMPORT"
    ):
        return None
    tokens = [token for token in failure.tokens if token.type not in {"LPAR", "RPAR"}]
    fix = Fix(failure.place, "", "remove it")
    help_ = "imported names stand without parentheses, on one line"
    return _unexpected(failure, help_, fix=fix, repaired=tokens)


def _record_as_value(failure: Failure) -> Problem | None:
    """`schedule = { ... }`."""
    if failure.kind(0) != "LBRACE" or failure.kind(-1) != "EQUAL" or failure.start != "field":
        return None
    at = failure.index - 1
    tokens = failure.with_tokens(at, 1)
    fix = Fix(failure.span(failure.tokens[at]), "", "remove `=`")
    help_ = "a group of fields follows its name without `=`"
    return _unexpected(failure, help_, fix=fix, repaired=tokens)


def _missing_comma(failure: Failure) -> Problem | None:
    """`f(a b)`."""
    token, before = failure.found, failure.before
    if token is None or before is None or "COMMA" not in failure.accepts:
        return None
    if token.type not in wording.EXPRESSION_STARTS | {"DIM", "BLOCK"}:
        return None
    tokens = failure.with_tokens(failure.index, 0, ("COMMA", ","))
    if not failure.helped_by(tokens):
        return None
    fix = Fix(failure.gap, ",", "insert `,`")
    diagnostic = diagnose("E0115", failure.gap, found=wording.found(token), fixes=(fix,))
    return Problem(diagnostic, tokens)


def _missing_sign(failure: Failure) -> Problem | None:
    """Only one sign or word could stand here, and with it the piece goes on."""
    if len(failure.accepts) != 1 or failure.found is None:
        return None
    (wanted,) = failure.accepts
    text = wording.spelling(wanted).strip("`") if wanted in _MISSED else ""
    if not text:
        return None
    # A word in the place of a word is replaced: `for x of list`.
    for width in (1, 0) if text.isalpha() and failure.kind(0) == "NAME" else (0,):
        tokens = failure.with_tokens(failure.index, width, (wanted, text))
        if failure.helped_by(tokens):
            missing = f" {text}" if text.isalpha() else text
            fix = Fix(failure.gap, missing, f"insert `{text}`")
            if width:
                fix = Fix(failure.place, text, f"write `{text}`")
            return _unexpected(failure, fix=fix, repaired=tokens)
    return None


_MISSED = {"COLON", "EQUAL", "_ARROW", "OF", "IN"}


# Expressions and statements


def _chained_comparison(failure: Failure) -> Problem | None:
    """`a < b < c`."""
    token = failure.found
    if token is None or token.type not in wording.COMPARISONS or "AND" not in failure.accepts:
        return None
    helps = ("write `a < b and b < c`",)
    return Problem(diagnose("E0116", failure.place, operator=token, helps=helps))


def _operator_after_pipe(failure: Failure) -> Problem | None:
    """`x |> f + y`: whose sum?"""
    token = failure.found
    if token is None or token.type not in wording.OPERATORS or "_PIPE" not in failure.accepts:
        return None
    helps = (f"write `(x |> f) {token} y`, or give the result of the pipe a name",)
    return Problem(diagnose("E0119", failure.place, operator=token, helps=helps))


def _no_else(failure: Failure) -> Problem | None:
    """`x = if c then a`."""
    if "ELSE" not in failure.accepts or "_PIPE" not in failure.accepts:
        return None
    opener = next((t for t in reversed(failure.tokens[: failure.index]) if t.type == "IF"), None)
    secondary = () if opener is None else (Label(failure.span(opener), "this `if`"),)
    helps = ("an expression has a value in both cases: `if c then a else b`",)
    found = wording.found(failure.next)
    return Problem(diagnose("E0120", failure.place, found=found, secondary=secondary, helps=helps))


def _conditional_of_another_form(failure: Failure) -> Problem | None:
    """`a if c else b`, and `if c then x = 1` as a statement."""
    token = failure.found
    if token is None or token.type not in {"IF", "THEN"} or "_PIPE" not in failure.accepts:
        return None
    if token.type == "IF":
        return _unexpected(failure, "a choice between values is written `if c then a else b`")
    return _unexpected(failure, "`if` around statements has braces: `if c { ... } else { ... }`")


def _value_without_name(failure: Failure) -> Problem | None:
    """`x |> linear[d]` as a statement."""
    if failure.start != "stmt" or failure.tokens[0].type in STATEMENT_WORDS | {"IF", "FOR"}:
        return None
    first = failure.tokens[0]
    if failure.index > 1 and failure.kind(-1) != "RPAR":
        return None
    if failure.kind(0) in wording.OPERATORS and failure.kind(1) == "EQUAL":
        operator = failure.tokens[failure.index]
        span = failure.span(operator).to(failure.span(failure.tokens[failure.index + 1]))
        helps = (f"write `{first} = {first} {operator} ...`; only `+=` exists, for residuals",)
        return Problem(diagnose("E0108", span, operator=f"{operator}=", helps=helps))
    tokens = failure.with_tokens(0, 0, ("NAME", "_"), ("EQUAL", "="))
    if not failure.helped_by(tokens):
        return None
    whole = failure.span(first).to(failure.span(failure.tokens[-1]))
    helps = ("write `name = ...`, or `return ...`",)
    return Problem(diagnose("E0118", whole, helps=helps))


def _second_statement(failure: Failure) -> Problem | None:
    """`x = 1 y = 2`, and fields of a record between commas."""
    token = failure.found
    if token is None or not failure.accepts & {"$END", "_NL"}:
        return None
    if token.type == "COMMA" and failure.start in {"field", "vary"}:
        helps = "fields stand on lines of their own, or between `;`"
        fix = Fix(failure.place, ";", "write `;`")
    elif token.type in STATEMENT_WORDS | ITEM_WORDS or failure.kind(1) in {"EQUAL", "_ADD_TO"}:
        helps = "a statement or declaration ends with its line, or with `;`"
        fix = Fix(failure.gap, ";", "insert `;`")
    else:
        return None
    found = wording.found(token)
    return Problem(diagnose("E0117", failure.place, found=found, helps=(helps,), fixes=(fix,)))


def _comment_of_another_language(failure: Failure) -> Problem | None:
    """`// note`, `/* note */`."""
    for offset in (0, -1, -2):
        two = (failure.kind(offset), failure.kind(offset + 1))
        if two[0] == "FLOORDIV" or two == ("SLASH", "STAR"):
            return _unexpected(failure, "a comment begins with `#`")
    return None


_EXPLANATIONS: tuple[Callable[[Failure], Problem | None], ...] = (
    _wrong_closer,
    _misspelt_keyword,
    _word_of_another_language,
    _no_kind,
    _no_result,
    _unclosed,
    _no_declaration,
    _wrong_sign,
    _names_without_brackets,
    _brackets_around_import,
    _record_as_value,
    _keyword_as_name,
    _missing_comma,
    _missing_sign,
    _chained_comparison,
    _operator_after_pipe,
    _no_else,
    _conditional_of_another_form,
    _second_statement,
    _comment_of_another_language,
    _value_without_name,
)
