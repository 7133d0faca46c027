"""Codes in the sources: each is listed, its slots are filled, and none is listed in vain."""

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import linvit_dsl
from linvit_dsl.errors.catalogue import catalogue

SOURCES = sorted(Path(linvit_dsl.__file__).parent.rglob("*.py"))
# What `diagnose` and `OpProblem` take beside the slots of the message.
OWN_ARGUMENTS = {"label", "secondary", "notes", "helps", "fixes", "help", "axes"}


def calls(text: str) -> Iterator[tuple[int, str, set[str], bool]]:
    """Line, code and slots of every call whose first argument is a code; False: slots unknown."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        first = node.args[0]
        if isinstance(first, ast.Constant) and is_code(first.value):
            names = {keyword.arg for keyword in node.keywords}
            slots = {name for name in names if name is not None} - OWN_ARGUMENTS
            yield node.lineno, str(first.value), slots, None not in names


def is_code(value: object) -> bool:
    return isinstance(value, str) and len(value) == 5 and value[0] in "EW" and value[1:].isdigit()


def slots_of(code: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(catalogue()[code].message) if name}


def wrong_calls(text: str) -> list[str]:
    """Calls that would fail at run time, by line."""
    found: list[str] = []
    for line, code, slots, complete in calls(text):
        if code not in catalogue():
            found.append(f"{line}: {code} is not in the catalogue")
        elif complete and not slots_of(code) <= slots:
            found.append(f"{line}: {code} needs {sorted(slots_of(code) - slots)}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_code_is_listed_and_every_slot_is_filled(path: Path) -> None:
    assert wrong_calls(path.read_text(encoding="utf-8")) == []


def test_every_listed_code_is_used() -> None:
    used = {
        node.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and is_code(node.value)
    }
    assert set(catalogue()) - used == set()


def test_the_search_finds_what_is_wrong() -> None:
    assert wrong_calls('diagnose("E0999", span)') == ["1: E0999 is not in the catalogue"]
    assert wrong_calls('diagnose("E0302", span, name=1)') == ["1: E0302 needs ['value']"]
    assert wrong_calls('raise OpProblem("E0302", name=1, value=2, axes=3)') == []
    assert wrong_calls('diagnose("E0302", span, **slots)') == []
