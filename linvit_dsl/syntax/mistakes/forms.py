"""Declarations, statements and expressions of a form that the language does not have."""

from __future__ import annotations

from linvit_dsl.errors import Fix, Label, diagnose
from linvit_dsl.syntax.layout import ITEM_WORDS, STATEMENT_WORDS
from linvit_dsl.syntax.mistakes import wording
from linvit_dsl.syntax.mistakes.failure import Failure
from linvit_dsl.syntax.mistakes.problem import Problem, unexpected


def no_declaration(failure: Failure) -> Problem | None:
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


def no_kind(failure: Failure) -> Problem | None:
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


def no_result(failure: Failure) -> Problem | None:
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


def chained_comparison(failure: Failure) -> Problem | None:
    """`a < b < c`."""
    token = failure.found
    if token is None or token.type not in wording.COMPARISONS or "AND" not in failure.accepts:
        return None
    helps = ("write `a < b and b < c`",)
    return Problem(diagnose("E0116", failure.place, operator=token, helps=helps))


def operator_after_pipe(failure: Failure) -> Problem | None:
    """`x |> f + y`: whose sum?"""
    token = failure.found
    if token is None or token.type not in wording.OPERATORS or "_PIPE" not in failure.accepts:
        return None
    helps = (f"write `(x |> f) {token} y`, or give the result of the pipe a name",)
    return Problem(diagnose("E0119", failure.place, operator=token, helps=helps))


def no_else(failure: Failure) -> Problem | None:
    """`x = if c then a`."""
    if "ELSE" not in failure.accepts or "_PIPE" not in failure.accepts:
        return None
    opener = next((t for t in reversed(failure.tokens[: failure.index]) if t.type == "IF"), None)
    secondary = () if opener is None else (Label(failure.span(opener), "this `if`"),)
    helps = ("an expression has a value in both cases: `if c then a else b`",)
    found = wording.found(failure.next)
    return Problem(diagnose("E0120", failure.place, found=found, secondary=secondary, helps=helps))


def conditional_of_another_form(failure: Failure) -> Problem | None:
    """`a if c else b`, and `if c then x = 1` as a statement."""
    token = failure.found
    if token is None or token.type not in {"IF", "THEN"} or "_PIPE" not in failure.accepts:
        return None
    if token.type == "IF":
        return unexpected(failure, "a choice between values is written `if c then a else b`")
    return unexpected(failure, "`if` around statements has braces: `if c { ... } else { ... }`")


def value_without_name(failure: Failure) -> Problem | None:
    """`x |> linear[d]` as a statement."""
    if failure.start != "stmt" or failure.tokens[0].type in STATEMENT_WORDS | {"IF", "FOR"}:
        return None
    first = failure.tokens[0]
    if failure.index > 1 and failure.kind(-1) != "RPAR":
        return None
    if failure.kind(0) in wording.OPERATORS and failure.kind(1) == "EQUAL":
        operator = failure.tokens[failure.index]
        span = failure.span(operator).to(failure.span(failure.tokens[failure.index + 1]))
        if operator == "+":
            tokens = failure.with_tokens(failure.index, 2, ("_ADD_TO", "+="))
            helps = ("`+=` is one sign, without anything between `+` and `=`",)
            fix = Fix(span, "+=", "write `+=`")
            found = diagnose("E0108", span, operator="+ =", helps=helps, fixes=(fix,))
            return Problem(found, tokens)
        helps = (f"write `{first} = {first} {operator} ...`; only `+=` exists, for residuals",)
        return Problem(diagnose("E0108", span, operator=f"{operator}=", helps=helps))
    tokens = failure.with_tokens(0, 0, ("NAME", "_"), ("EQUAL", "="))
    if not failure.helped_by(tokens):
        return None
    whole = failure.span(first).to(failure.span(failure.tokens[-1]))
    helps = ("write `name = ...`, or `return ...`",)
    return Problem(diagnose("E0118", whole, helps=helps))


def second_statement(failure: Failure) -> Problem | None:
    """`x = 1 y = 2`, and fields of a record between commas."""
    token = failure.found
    if token is None or not failure.accepts & {"$END", "_NL"}:
        return None
    if token.type == "COMMA" and failure.start == "vary" and failure.tokens[1].type == "IN":
        helps = "the values of an axis stand in brackets: `heads in [3, 6]`"
        found = diagnose("E0117", failure.place, found=wording.found(token), helps=(helps,))
        return Problem(found)
    if token.type == "COMMA" and failure.start in {"default", "field", "vary"}:
        helps = "fields stand on lines of their own, or between `;`"
        fix = Fix(failure.place, ";", "write `;`")
    elif token.type in STATEMENT_WORDS | ITEM_WORDS or failure.kind(1) in {"EQUAL", "_ADD_TO"}:
        helps = "a statement or declaration ends with its line, or with `;`"
        fix = Fix(failure.gap, ";", "insert `;`")
    else:
        return None
    found = wording.found(token)
    return Problem(diagnose("E0117", failure.place, found=found, helps=(helps,), fixes=(fix,)))


def comment_of_another_language(failure: Failure) -> Problem | None:
    """`// note`, `/* note */`."""
    for offset in (0, -1, -2):
        two = (failure.kind(offset), failure.kind(offset + 1))
        if two[0] == "FLOORDIV" or two == ("SLASH", "STAR"):
            return unexpected(failure, "a comment begins with `#`")
    return None
