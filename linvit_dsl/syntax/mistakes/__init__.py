"""What is wrong with a piece that does not follow the grammar: the first explanation that fits.

An explanation that knows a cure also tries it: it speaks only if the piece then fails clearly
later, or not at all, and hands out the cured tokens, so that the rest of the piece is read as well.
"""

from __future__ import annotations

from collections.abc import Callable

from linvit_dsl.syntax.mistakes import brackets, forms, signs, words
from linvit_dsl.syntax.mistakes.brackets import unclosed_brace
from linvit_dsl.syntax.mistakes.failure import Failure
from linvit_dsl.syntax.mistakes.problem import Problem, unexpected

__all__ = ["Failure", "Problem", "explain", "unclosed_brace"]


def explain(failure: Failure) -> Problem:
    """The problem behind a failure."""
    for explanation in _EXPLANATIONS:
        problem = explanation(failure)
        if problem is not None:
            return problem
    return unexpected(failure)


_EXPLANATIONS: tuple[Callable[[Failure], Problem | None], ...] = (
    brackets.wrong_closer,
    words.misspelt_keyword,
    words.word_of_another_language,
    forms.no_kind,
    forms.no_result,
    brackets.unclosed,
    forms.no_declaration,
    signs.wrong_sign,
    signs.names_without_brackets,
    signs.brackets_around_import,
    signs.record_as_value,
    words.keyword_as_name,
    signs.missing_comma,
    signs.missing_sign,
    forms.chained_comparison,
    forms.operator_after_pipe,
    forms.no_else,
    forms.conditional_of_another_form,
    forms.second_statement,
    forms.comment_of_another_language,
    forms.value_without_name,
)
