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


# Initializers


@pytest.mark.parametrize(
    ("shape", "initializer", "problem"),
    [
        ("[4]", "normal", "`normal` needs a number: `normal[0.02]`"),
        ("[4]", "constant", "`constant` needs a number: `constant[0.02]`"),
        ("[4]", "trunc_normal", "`trunc_normal` needs a number: `trunc_normal[0.02]`"),
        ("[4]", "normal[-1]", "`normal` needs a standard deviation above 0, not -1"),
        ("[4]", "normal[B]", "`normal` needs a number, not B, the batch in it"),
        ("[4]", 'normal["a"]', "`normal` needs a number, not a text"),
        ("[4]", "xavier", "`xavier` needs a weight of at least 2 axes, not [4]"),
        ("[4]", "dirac", "`dirac` needs a weight of 2 to 5 axes, not [4]"),
        ("[1, 1, 1, 1, 1, 4]", "dirac", "`dirac` needs a weight of 2 to 5 axes, not "),
    ],
)
def test_an_initializer_that_does_not_fit_its_parameter(
    shape: str, initializer: str, problem: str
) -> None:
    found = findings(model(f"  param p: {shape} ~ {initializer}\n  return x"))
    assert [(code, line) for code, _, line in found] == [("E0336", 2)]
    assert found[0][1].startswith(problem)


def test_an_initializer_without_its_number_does_not_fit_an_operator() -> None:
    found = findings(model("  return x |> linear[4, init = normal]"))
    assert found == [("E0336", "`normal` needs a number: `normal[0.02]`", 2)]


def test_the_number_of_an_initializer_has_no_name() -> None:
    text = model("  param p: [4] ~ normal[std = 0.02]\n  return x + p")
    assert findings(text) == [("E0312", "`normal` has no static parameter `std`", 2)]


@pytest.mark.parametrize("initializer", ["zeros", "constant[1]", "normal[0.02]", "trunc_normal[1]"])
def test_an_initializer_that_fits(initializer: str) -> None:
    assert findings(model(f"  param p: [4] ~ {initializer}\n  return x + p")) == []


# Arithmetic


@pytest.mark.parametrize(
    "expression",
    [
        "(10^12)^(127/2)",
        "(10^11 * 0.5^(1/2))^64",
        "0^(-1/2)",
        "0^(-1)",
        "(-2)^(1/2)",
        "((1/3)^64)^64",
    ],
)
def test_powers_out_of_range(expression: str) -> None:
    assert codes(f"const A = {expression}\n{SOUND}") == ["E0309"]


@pytest.mark.parametrize("power", ["(B + 1)^17", "((B + 1)^4)^5", "B^16 * B", "B * 10^12 * 10"])
def test_powers_of_the_batch_out_of_range(power: str) -> None:
    assert codes(model(f"  require {power} != 0\n  return x")) == ["E0309"]


def test_powers_in_range() -> None:
    assert findings(f"const A = 2^10 + 4^(1/2) + 0^2 + 2^(-1) * 2\n{SOUND}") == []
