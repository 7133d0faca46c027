"""What a failure comes down to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lark import Token

from linvit_dsl.errors import Diagnostic, Fix, Label, diagnose
from linvit_dsl.syntax.mistakes import wording
from linvit_dsl.syntax.mistakes.failure import Failure
from linvit_dsl.syntax.tokens import OPENERS


@dataclass(frozen=True, slots=True)
class Problem:
    """A diagnostic, and the piece with the mistake repaired where the repair is beyond doubt."""

    diagnostic: Diagnostic
    repaired: Sequence[Token] | None = None


def unexpected(
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
