"""Shipped specs and library files with a mistake in them: rejected with a place, or compiled.

`LINVIT_SEED=7 ./dev test tests/dsl/check/test_mutants.py` makes other mistakes.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import FrameType

import pytest

from linvit_codegen import generate
from linvit_dsl.check import (
    Program,
    check_program,
    dimensions,
    elaborate,
    find_spec,
    open_program,
    open_texts,
    program_texts,
    shipped_specs,
)
from linvit_dsl.errors import Diagnostic, Label, Source, Span, SpecError
from linvit_dsl.errors.render import render_all
from linvit_dsl.graph import limits
from linvit_dsl.syntax.scanner import scan

FIRST = int(os.environ.get("LINVIT_SEED", "0")) * 1_000_000
CHUNKS, MUTANTS = 8, 70
STEPS = 20_000
"""Statements that the checker may execute for one mutant; no shipped spec needs as many."""
HANG = 120
"""Seconds after which a mutant counts as endless: a thousand times what one takes."""
PIECES = {
    "number": ["0", "1", "2", "3", "7", "64", "0.5", "1e9", "99999999999", "10%", "3ep"],
    "name": ["x", "n", "d", "B", "h", "grid", "linear", "gelu", "Attention", "attend", "zeros"],
    "text": ['"cls"', '"{n}"', '"b n d -> b d n"', '""'],
    "sign": [*"+-*/^=,@()[]{}", "//", "==", "->", "|>", "+="],
    "word": ["repeat", "if", "for", "return", "dim", "block", "model", "layer", "list", "in"],
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A program as texts by name, one of them with a mistake."""

    texts: Mapping[str, str]
    changed: str

    def __str__(self) -> str:
        return f"{self.changed}:\n{self.texts[self.changed]}"


@cache
def programs() -> tuple[dict[str, str], ...]:
    """Every shipped spec with all that it imports."""
    return tuple(program_texts(open_program(find_spec(name)[0])) for name in shipped_specs())


@cache
def places() -> tuple[tuple[str, int], ...]:
    """Every text by name, with a program that it is part of: the spec, or one that imports it."""
    found: dict[str, int] = {}
    for number, texts in enumerate(programs()):
        for name in texts:
            # The program with the fewest texts: the others are checked along each time.
            if name not in found or len(texts) < len(programs()[found[name]]):
                found[name] = number
    return tuple(found.items())


def mutant(seed: int) -> Mutant:
    """Tokens deleted, doubled, swapped, or replaced by others of their own kind or another."""
    chance = random.Random(seed)
    name, number = places()[seed % len(places())]
    texts = dict(programs()[number])
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        text = texts[name]
        tokens = [token for token in scan(Source("a", text)).tokens if token.value.strip()]
        at = chance.randrange(len(tokens) - 1)
        (a, b), (c, d) = ((t.start_pos or 0, t.end_pos or 0) for t in tokens[at : at + 2])
        match chance.randrange(6):
            case 0:
                new = text[:a] + text[b:]
            case 1:
                new = f"{text[:b]} {text[a:b]}{text[b:]}"
            case 2:
                new = text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]
            case 3:
                new = text[:a] + chance.choice(tokens).value + text[b:]
            case 4:
                new = text[:a] + chance.choice(PIECES[kind(text[a:b])]) + text[b:]
            case _:
                new = text[:a] + chance.choice(PIECES[chance.choice([*PIECES])]) + text[b:]
        texts[name] = new
    return Mutant(texts, name)


def kind(token: str) -> str:
    for name, pattern in (("number", r"\d"), ("text", '"'), ("name", r"[^\W\d]")):
        if re.match(pattern, token):
            return name
    return "sign"


def compiled(one: Mutant) -> str:
    """Check, elaborate and generate; how far it came.

    Raises:
        AssertionError: It is rejected without a place in one of its texts.
    """
    program = open_texts(one.texts)
    found = check_program(program)
    expect_places(program, found)
    if any(diagnostic.severity == "error" for diagnostic in found):
        return "rejected"
    if not program.models:
        return "without a model"
    try:
        model = elaborate(program)
    except SpecError as error:
        raise AssertionError(f"`check` has no objection, and then: {error}") from error
    generate(model.graph, sources=program.sources)
    return "compiled"


def expect_places(program: Program, found: tuple[Diagnostic, ...]) -> None:
    """Every finding lies within a text of the program."""
    lengths = {source.name: len(source.text) for source in program.sources}
    for diagnostic in found:
        labels = [diagnostic.primary, *diagnostic.secondary]
        spans = [label.span for label in labels] + [fix.span for fix in diagnostic.fixes]
        for span in spans:
            assert 0 <= span.start <= span.end <= lengths[span.source.name], diagnostic
        assert diagnostic.message
    render_all(found)


@contextmanager
def no_hang() -> Generator[None, None, None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"endless after {HANG} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def compile_all(seeds: range) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        one = mutant(seed)
        try:
            with no_hang():
                outcomes[compiled(one)] += 1
        except Exception as error:
            error.add_note(f"seed {seed}, {one}")
            raise
    return outcomes


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_mistake_is_rejected_with_a_place_or_compiles(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STEPS", STEPS)
    first = FIRST + chunk * MUTANTS
    assert compile_all(range(first, first + MUTANTS))["rejected"] > MUTANTS // 2


def test_the_specs_themselves_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mistake nothing is found, within the same budget."""
    monkeypatch.setattr(limits, "STEPS", STEPS)
    assert {compiled(Mutant(texts, next(iter(texts)))) for texts in programs()} == {"compiled"}


def test_every_file_gets_its_share() -> None:
    files = {name for name, _ in places()}
    seeds = range(CHUNKS * MUTANTS)
    assert {mutant(seed).changed for seed in seeds} == files
    assert len(seeds) >= 500
    assert len(files) > 40


def test_a_checker_that_trips_over_one_mistake_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a division that is not whole is an exception."""

    def trip(*arguments: object) -> Diagnostic:
        raise KeyError("a mistake of the checker")

    monkeypatch.setattr(dimensions, "not_whole", trip)
    with pytest.raises(KeyError, match="a mistake of the checker"):
        compile_all(range(CHUNKS * MUTANTS))


def test_a_place_outside_of_the_text_is_found() -> None:
    """The control: the place of a finding is one character too far."""
    program = open_texts({"a.vit": "model M(x: [B]) -> [B] {\n  return y\n}\n"})
    (found,) = check_program(program)
    source = found.primary.span.source
    late = replace(found, primary=Label(Span(source, 0, len(source.text) + 1), ""))
    expect_places(program, (found,))
    with pytest.raises(AssertionError):
        expect_places(program, (late,))
