"""Keywords that are misspelt, used as names, or known from other languages."""

from __future__ import annotations

from linvit_dsl.errors import Fix, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.syntax.grammar import fixed_texts
from linvit_dsl.syntax.mistakes.failure import Failure
from linvit_dsl.syntax.mistakes.other_languages import foreign_word
from linvit_dsl.syntax.mistakes.problem import Problem

_BEGINNINGS: dict[str, tuple[str, ...]] = {
    "item": (
        *("import", "from", "const", "block", "model", "intrinsic", "float32"),
        *("recipe", "train", "sweep", "check", "expect", "claim"),
    ),
    "stmt": (
        *("dim", "require", "prefer", "expect", "param", "buffer", "layer", "defaults"),
        *("repeat", "for", "if", "return"),
    ),
    "vary": ("where",),
}


def misspelt_keyword(failure: Failure) -> Problem | None:
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


def keyword_as_name(failure: Failure) -> Problem | None:
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


def word_of_another_language(failure: Failure) -> Problem | None:
    """`def`, `elif`, `while`: known from elsewhere."""
    for at in (failure.index, failure.index - 1):
        # What declares something in another language stands first.
        if 0 <= at < (len(failure.tokens) if failure.start != "item" else 1):
            token = failure.tokens[at]
            helps = foreign_word(token.value, failure.start) if token.type == "NAME" else None
            if helps is not None:
                return Problem(diagnose("E0109", failure.span(token), word=token, helps=(helps,)))
    return None
