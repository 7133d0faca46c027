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


# Returns


def test_a_return_in_a_loop_is_the_only_finding() -> None:
    text = model("  repeat 2 {\n    x = x |> relu\n    return x\n  }")
    assert findings(text) == [("E0406", "`return` stands in a loop", 4)]


def test_a_return_in_a_branch_in_a_loop() -> None:
    text = model("  for i in [1, 2] {\n    if i == 1 { return x }\n  }\n  return x")
    assert [(code, line) for code, _, line in findings(text)] == [("E0406", 3)]


@pytest.mark.parametrize("end", ["return x", "if true { return x } else { return x }"])
def test_nothing_stands_behind_a_return(end: str) -> None:
    text = model(f"  {end}\n  y = x |> linear[4]\n  z = y")
    message = "nothing behind a `return` is a part of the block"
    assert findings(text) == [("E0407", message, 3)]


def test_a_return_in_one_branch_ends_nothing() -> None:
    assert findings(model("  if false { return x }\n  return x")) == []


# Statements that were lost


@pytest.mark.parametrize(
    "body",
    [
        "  y = x |> |> linear[4]\n  z = y + 1\n  return z",
        "  param p: [4 ~ zeros\n  return x + p",
        "  (a, b = split[-1](x, [2, 2])\n  return concat[-1](a, b)",
    ],
)
def test_a_syntax_error_is_one_finding(body: str) -> None:
    found = findings(model(body))
    assert [(code[:3], line) for code, _, line in found] == [("E01", 2)]


# Arguments given twice


@pytest.mark.parametrize(
    "arguments", ["4, out = 5", "out = 4, out = 5", "init = zeros, out = 4, init = zeros"]
)
def test_an_operator_argument_given_twice(arguments: str) -> None:
    name = "init" if "init" in arguments else "out"
    found = findings(model(f"  return x |> linear[{arguments}]"))
    assert found == [("E0304", f"`{name}` of `linear` is given twice", 2)]


@pytest.mark.parametrize("arguments", ["2, k = 2", "k = 2, k = 3"])
def test_a_block_argument_given_twice(arguments: str) -> None:
    block = "block F[k: int = 1](x: [*a, d]) -> [*a, d] { return x * k }"
    text = f"{block}\n{model(f'  return x |> F[{arguments}]')}"
    assert findings(text) == [("E0304", "`k` of `F` is given twice", 3)]


def test_a_tensor_given_twice_by_name() -> None:
    body = "  return attend(x, x, x, keep = x, keep = x)"
    found = findings(model(body, head="M(x: [B, 2, 4, 4]) -> [B, 2, 4, 4]"))
    assert found == [("E0304", "`keep` of `attend` is given twice", 2)]


def test_an_alias_may_be_changed() -> None:
    text = "block F[k: int = 1](x: [*a, d]) -> [*a, d] { return x * k }\nblock G = F[k = 2]\n"
    assert findings(text + model("  return x |> G[k = 3] |> F[k = 1][k = 2]")) == []


# Declarations


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model M[d: dim = 8, d: dim = 4](x: [B, 4]) -> [B, 4] { return x }", 1),
        ("model M[x: dim = 8](x: [B, 4]) -> [B, 4] { return x }", 1),
        ("model M(x: [B, 4], x: [B, 4]) -> [B, 4] { return x }", 1),
        ("block F(d: [B, d]) -> [B, 4] { return d }\n" + SOUND, 1),
        (model("  (a, a) = [1, 2]\n  return x"), 2),
        (model("  dim (a, a) = [1, 2]\n  return x"), 2),
        (model("  for (a, a) in [[1, 2]] { x = x |> relu }\n  return x"), 2),
        (model("  c = [a for (a, a) in [[1, 2]]]\n  return x"), 2),
    ],
)
def test_a_name_bound_twice(text: str, line: int) -> None:
    found = findings(text)
    assert [(code, line) for code, _, line in found] == [("E0202", line)]
    assert found[0][1].endswith("is bound twice")


RECIPE = """recipe r {
  data { name = "digits"; batch = 64 }
  optimizer { lr = 1e-3 }
  schedule { epochs = 5ep }
}
"""
DIGITS = """model M(img: [B, 1, 8, 8]) -> [B, 10] {
  return img |> rearrange["b c h w -> b (c h w)"] |> linear[10]
}
"""


def test_a_recipe_declared_twice() -> None:
    found = findings(f"{RECIPE}{RECIPE}train M with r\n{DIGITS}")
    assert found == [("E0210", "`r` is declared twice in this file", 6)]


def test_a_model_trained_twice() -> None:
    found = findings(f"{RECIPE}train M with r\ntrain M with r\n{DIGITS}")
    assert found == [("E0607", "two `train` say how to train `M`", 7)]


def test_a_field_set_twice() -> None:
    twice = RECIPE.replace("lr = 1e-3", "lr = 1e-3; lr = 1e-4")
    assert findings(f"{twice}train M with r\n{DIGITS}") == [("E0202", "`lr` is bound twice", 3)]


def test_a_kind_that_does_not_exist() -> None:
    text = "block F[k: foo, j: list[reel]](x: [B, d]) -> [B, d] { return x }\n"
    expected = [("E0213", "there is no kind `foo`", 1), ("E0213", "there is no kind `reel`", 1)]
    assert findings(text + SOUND) == expected
    assert findings(text + model("  return x |> F[1, [2]]")) == expected


@pytest.mark.parametrize("head", ["x: [*a, d, *b]) -> [*a, d]", "x: [*a, d]) -> [*a, d, *a]"])
def test_two_rests_in_one_shape(head: str) -> None:
    text = f"block F({head} {{ return x }}\n" + model("  return x |> F")
    assert codes(text)[0] == "E0338"


# Rests


def test_a_rest_that_nothing_binds() -> None:
    found = findings(model("  param p: [*s, 4] ~ zeros\n  return x + p"))
    assert [(code, line) for code, _, line in found] == [("E0201", 2)]


def test_a_rest_that_is_a_number() -> None:
    found = findings(model("  dim s = 2\n  param p: [*s, 4] ~ zeros\n  return x + p"))
    assert found == [("E0209", "`*s` has no value here", 3)]
