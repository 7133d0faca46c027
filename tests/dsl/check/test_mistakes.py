"""Mistakes in texts: each gives its own message, once, where it stands; none gets past `check`."""

from __future__ import annotations

from pathlib import Path

import pytest

from linvit_dsl.check import check_program, elaborate, open_program, recipe_for
from linvit_dsl.errors import SpecError

Finding = tuple[str, str, int]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def findings(text: str) -> list[Finding]:
    """Code, message and line of everything that `check` says about a text."""
    Path("m.vit").write_text(text, encoding="utf-8")
    found = check_program(open_program("m.vit"))
    return [(d.code, d.message, d.primary.span.line) for d in found]


def codes(text: str) -> list[str]:
    """The codes alone."""
    return [code for code, _, _ in findings(text)]


def model(body: str, head: str = "M(x: [B, 4]) -> [B, 4]") -> str:
    """A model whose first statement is on line 2."""
    return f"model {head} {{\n{body}\n}}\n"


SOUND = model("  return x |> linear[4]")


# Constants


def test_a_constant_made_of_itself_is_found_though_nothing_uses_it() -> None:
    text = f"const A = C\nconst C = A * 2\n{SOUND}"
    assert findings(text) == [("E0212", "a constant is made of itself: A -> C -> A", 2)]


def test_a_model_with_such_a_constant_is_refused_with_words() -> None:
    Path("m.vit").write_text(f"const A = A\n{SOUND.replace('4', 'A')}")
    with pytest.raises(SpecError, match="E0212"):
        elaborate(open_program("m.vit"))


def test_a_recipe_with_a_constant_without_value_is_refused_with_words() -> None:
    text = f"const A = 1 / 0\nrecipe r {{ seed = A }}\ntrain M with r\n{SOUND}"
    assert [(code, line) for code, _, line in findings(text)] == [("E0309", 1)]
    with pytest.raises(SpecError, match="E0309"):
        recipe_for(open_program("m.vit"))


def test_a_constant_may_use_later_ones() -> None:
    assert findings(f"const A = C * 2\nconst C = 2\n{SOUND.replace('4', 'A')}") == []


@pytest.mark.parametrize("forward", [False, True])
def test_long_chains_of_constants(forward: bool) -> None:
    lines = ["const c0 = 1", *(f"const c{i} = c{i - 1} + 1" for i in range(1, 1500))]
    text = "\n".join(reversed(lines) if forward else lines)
    assert findings(f"{text}\n{SOUND}") == []
