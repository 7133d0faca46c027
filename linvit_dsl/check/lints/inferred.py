"""W0304: an axis that seems to be a mistyped name, and so is compared with nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from linvit_dsl.check.walk import bound_by, declared_axes, references
from linvit_dsl.errors import Diagnostic, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.syntax import ast


def mistyped_axes(file: ast.File) -> Iterator[Diagnostic]:
    """A finding for every axis of an argument whose name is used nowhere else, and almost another.

    A new name in the shape of an argument is legal: it stands for whatever size is given. Names of
    one letter are left alone, and those that differ in primes or digits: `h'` beside `h` is meant.
    """
    for item in file.items:
        if isinstance(item, ast.Block) and not item.broken:
            yield from _block(item)


def _block(block: ast.Block) -> Iterator[Diagnostic]:
    uses = Counter(name.name for name in references(block))
    statics = {static.name.name for static in block.statics}
    bound = statics | {name for statement in block.body for name in bound_by(statement)}
    inferred = [name for p in block.parameters for name in declared_axes(p.shape)]
    tensors = {parameter.name.name for parameter in block.parameters}
    for name in (n for p in block.parameters for n in references(p.shape)):
        word = name.name
        if uses[word] > 1 or word in bound or len(_stem(word)) < 2:
            continue
        others = [n for n in (*statics, *inferred) if _stem(n) != _stem(word) and n not in tensors]
        near = nearest(word, others)
        if near is not None:
            yield diagnose("W0304", name.span, helps=(f"did you mean `{near}`?",), name=word)


def _stem(word: str) -> str:
    return word.rstrip("'0123456789_")
