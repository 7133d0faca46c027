"""Mistakes in texts: each gives its own message, once, where it stands; none gets past `check`."""

from __future__ import annotations

from pathlib import Path

import pytest

from linvit_dsl.check import (
    SpecNotFound,
    check_program,
    elaborate,
    find_spec,
    open_program,
    recipe_for,
)
from linvit_dsl.check.words import FOREIGN, written_here
from linvit_dsl.cli import main
from linvit_dsl.errors import Source, SpecError
from linvit_dsl.graph import limits
from linvit_dsl.syntax import parse_expression

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
    assert findings(f"{text}\n{SOUND.replace('4', 'c1499')}") == []


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


def test_the_number_of_an_initializer_has_a_name() -> None:
    assert findings(model("  param p: [4] ~ normal[std = 0.02]\n  return x + p")) == []
    text = model("  param p: [4] ~ normal[sd = 0.02]\n  return x + p")
    assert findings(text) == [("E0312", "`normal` has no static parameter `sd`", 2)]
    text = model("  param p: [4] ~ normal[0.02, std = 0.02]\n  return x + p")
    assert [code for code, _, _ in findings(text)] == ["E0304"]


@pytest.mark.parametrize(
    ("initializer", "problem"),
    [
        ("orthogonal_features[redraw = -1]", "is drawn anew after a number of steps, 0 for never"),
        ("orthogonal_features[0.5]", "is drawn anew after a number of steps, 0 for never, not 0.5"),
        ("segment_means", "cannot make 4 segments of 2 tokens"),
    ],
)
def test_a_buffer_that_cannot_be_drawn(initializer: str, problem: str) -> None:
    found = findings(model(f"  buffer p: [4, 2] ~ {initializer}\n  return x + p"))
    assert [code for code, _, _ in found[:1]] == ["E0336"]
    assert problem in found[0][1]


def test_a_trained_tensor_is_never_drawn_anew() -> None:
    for line in (
        "param p: [4, 4] ~ orthogonal_features[redraw = 10]",
        "x = x |> linear[4, init = orthogonal_features[10]]",
    ):
        found = findings(model(f"  {line}\n  return x"))
        assert ("E0336", 2) in {(code, place) for code, _, place in found}
        assert any("make it a `buffer`" in message for _, message, _ in found)


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
    assert findings(f"{twice}train M with r\n{DIGITS}") == [
        ("E0202", "`optimizer.lr` is bound twice", 3)
    ]


def test_a_kind_that_does_not_exist() -> None:
    text = "block F[k: foo, j: list[reel]](x: [B, d]) -> [B, d] { return x }\n"
    expected = [("E0213", "there is no kind `foo`", 1), ("E0213", "there is no kind `reel`", 1)]
    assert findings(text + SOUND) == expected
    assert findings(text + model("  return x |> F[1, [2]]")) == expected


@pytest.mark.parametrize("head", ["x: [*a, d, *b]) -> [*a, d]", "x: [*a, d]) -> [*a, d, *a]"])
def test_two_rests_in_one_shape(head: str) -> None:
    text = f"block F({head} {{ return x }}\n" + model("  return x |> F")
    assert codes(text)[0] == "E0347"


# Rests


def test_a_rest_that_nothing_binds() -> None:
    found = findings(model("  param p: [*s, 4] ~ zeros\n  return x + p"))
    assert [(code, line) for code, _, line in found] == [("E0201", 2)]


def test_a_rest_that_is_a_number() -> None:
    found = findings(model("  dim s = 2\n  param p: [*s, 4] ~ zeros\n  return x + p"))
    assert found == [("E0209", "`*s` has no value here", 3)]


# Limits: by count, so that they are the same on every machine


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("  a = 0\n  repeat 10000 { repeat 10000 { a = a + 1 } }\n  return x", 3),
        ("  xs = [1]\n  repeat 24 { xs += xs }\n  return x", 3),
        ("  xs = [1]\n  repeat 24 { xs = xs + xs }\n  return x", 3),
        ("  xs = [1]\n  repeat 24 { xs = [xs, xs] }\n  return x", 3),
        ("  xs = [1]\n  repeat 24 { xs = zip(xs, xs) }\n  return x", 3),
        ("  xs = [[[1 for a in 1..99] for b in 1..99] for c in 1..99]\n  return x", 2),
        ("  xs = 1..500\n  repeat 99 { for a in xs { } }\n  return x", 3),
    ],
)
def test_a_text_that_would_take_too_long(
    body: str, line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STEPS", 2000)
    found = findings(model(body))
    assert found == [("E0713", "more than 2,000 steps to evaluate the file", line)]


def test_an_error_before_a_long_loop_does_not_keep_it_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "STEPS", 2000)
    body = "  y = nope\n  repeat 10000 { repeat 10000 { y = nope } }\n  return x"
    assert codes(model(body)) == ["E0201", "E0713", "E0201"]


def test_steps_are_counted_over_all_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STEPS", 30)
    body = "  repeat 10 { x = x |> relu }\n  return x"
    two = model(body) + model(body, head="N(x: [B, 5]) -> [B, 5]")
    assert findings(two) == []
    assert codes(two + model(body, head="O(x: [B, 6]) -> [B, 6]")) == ["E0713"]


def test_a_list_longer_than_a_loop() -> None:
    body = "  xs = 1..10000\n  for a in xs + xs { }\n  return x"
    message = "a loop of 20,000 iterations; the limit is 10000"
    assert findings(model(body)) == [("E0707", message, 3)]


def test_lists_in_lists_in_lists() -> None:
    found = findings(model("  xs = [1]\n  repeat 99 { xs = [xs] }\n  return x"))
    assert found == [("E0708", "lists are nested more than 64 deep", 3)]


def test_nobody_looks_for_suggestions_that_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def nearest(word: str, candidates: object) -> None:
        asked.append(word)

    monkeypatch.setattr("linvit_dsl.check.names.nearest", nearest)
    body = "\n".join(f"  a{i} = nothing{i}" for i in range(50))
    assert len(findings(model(f"{body}\n  return x"))) == limits.ERRORS
    assert len(asked) == limits.ERRORS


@pytest.mark.parametrize(
    ("value", "last"),
    [
        ("nothing", "20 of 34 errors shown"),
        ("x x", "20 errors, and there may be more"),  # Nobody reads on after so many.
    ],
)
def test_what_is_not_shown_is_counted(
    value: str, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "\n".join(f"  a{i} = {value}" for i in range(34))
    Path("m.vit").write_text(model(f"{body}\n  return x"), encoding="utf-8")
    assert main(["check", "m.vit"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_the_origin_of_a_sum_made_in_a_loop() -> None:
    body = "  a = 0\n  repeat 9000 { a = a + 1 }\n  require a < 3\n  return x"
    assert [(code, line) for code, _, line in findings(model(body))] == [("E0300", 4)]


# Long chains


def chain(length: int, declaration: str) -> str:
    """`A1` to `A<length>`, each of the one before; `A0` is a block."""
    first = "block A0(x: [B, d]) -> [B, d] { return x |> relu }"
    rest = (declaration.format(name=f"A{i}", inner=f"A{i - 1}") for i in range(1, length + 1))
    return "\n".join((first, *rest, ""))


BLOCK = "block {name}(x: [B, d]) -> [B, d] {{ return x |> {inner} }}"
ALIAS = "block {name} = {inner}"


@pytest.mark.parametrize("declaration", [BLOCK, ALIAS])
def test_long_chains_that_are_not_applied(declaration: str) -> None:
    lines = reversed(chain(1500, declaration).splitlines())
    assert findings("\n".join((*lines, SOUND))) == []


@pytest.mark.parametrize(("declaration", "what"), [(BLOCK, "blocks"), (ALIAS, "aliases")])
def test_chains_too_long_to_apply_are_no_circles(declaration: str, what: str) -> None:
    sound = chain(60, declaration) + model("  return x |> A60")
    assert findings(sound) == []
    found = findings(chain(70, declaration) + model("  return x |> A70"))
    message = f"{what} are nested more than 64 deep"
    assert [(code, text) for code, text, _ in found] == [("E0708", message)]


def test_deep_expressions_in_deep_blocks() -> None:
    deep = "relu(" * 60 + "x |> {inner}" + ")" * 60
    text = chain(60, BLOCK.replace("x |> {inner}", deep)) + model("  return x |> A60")
    assert codes(text) == ["E0708"]


def test_aliases_in_a_circle() -> None:
    text = f"model A = C[d = 1]\nmodel C = A\n{SOUND}"
    assert ("E0205", "a block contains itself: A -> C -> A", 2) in findings(text)


# Files


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_an_import_with_a_name_that_no_file_can_have(name: str) -> None:
    found = findings(f'from "{name}.vit" import A\n{SOUND}')
    message = f"cannot import `{name}.vit`: no file can have this name"
    assert ("E0208", message, 1) in found


def test_a_spec_with_a_name_that_no_file_can_have() -> None:
    with pytest.raises(SpecNotFound, match="no file can be called"):
        find_spec("a" * 300 + ".vit")


# Words


@pytest.mark.parametrize("use", ["x", "x |> G"])
def test_an_alias_of_an_operator(use: str) -> None:
    found = findings(f'block G = gelu["tanh"]\n{model(f"  return {use}")}')
    assert found == [("E0408", "`G` names an operator, and an alias names a block", 1)]


def test_an_alias_of_a_block_called_like_an_operator() -> None:
    text = "block gelu(x: [*s]) -> [*s] { return x |> relu }\nblock G = gelu\n"
    assert findings(text + model("  return x |> G")) == []


def test_a_text_without_quotes_on_the_command_line() -> None:
    text = SOUND.replace("M(", 'M[mode: text = "wide"](')
    assert findings(text) == []
    program = open_program("m.vit")
    with pytest.raises(SpecError, match="E0209") as caught:
        elaborate(program, "M", {"mode": "narrow"})
    (found,) = caught.value.diagnostics
    assert found.helps == ("a text needs quotes: `--set mode='\"narrow\"'`",)
    elaborate(program, "M", {"mode": '"narrow"'})


def test_a_wrong_kind_shows_what_is_expected_and_where_the_value_comes_from() -> None:
    def told(text: str) -> tuple[str, list[tuple[str, str]]]:
        Path("m.vit").write_text(text, encoding="utf-8")
        (found,) = check_program(open_program("m.vit"))
        assert found.code == "E0310"
        return found.message, [(label.span.text, label.text) for label in found.secondary]

    message, labels = told(model("  y = x |> relu\n  repeat y { }\n  return x |> linear[4]@fc"))
    assert message == "`y` must be a number, but is a tensor"
    assert labels == [("x |> relu", "a tensor from here")]
    head = "M[k: int = 3](x: [B, 4]) -> [B, 4]"
    assert told(model("  if k { }\n  return x |> linear[4]@fc", head)) == (
        "`k` must be true or false, but is a number",
        [("k: int = 3", "a number from here")],
    )
    text = "block F[act: block](x: [*s]) -> [*s] { return x |> act }\n"
    assert told(text + model("  return x |> F[3] |> linear[4]@fc")) == (
        "`act` must be a block or an operator, but is a number, 3",
        [("act: block", "declared here")],
    )
    two = model("  return [x, x]")
    assert told(two) == (
        "the result must be a tensor of shape [B, 4], but is a list of 2",
        [("[B, 4]", "declared here")],
    )


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("repeat 0 - 1 { }", "`0 - 1` = -1 is not a number of iterations"),
        ("repeat B { }", "`B` depends on the batch: it is not a fixed number"),
        ("repeat B - 1 { }", "`B - 1` depends on the batch: it is not a fixed number"),
        ("param p: [4] ~ normal[B - 1]", "`normal` needs a number, not B - 1, the batch in it"),
        (
            "a = ceil(B / 2)",
            "what `ceil` takes must be a number that does not depend on the batch, but is 1/2*B",
        ),
    ],
)
def test_counts_that_are_none(statement: str, message: str) -> None:
    found = findings(model(f"  {statement}\n  return x"))
    assert [(text, line) for _, text, line in found] == [(message, 2)]


@pytest.mark.parametrize("name", ["depth", "registers"])
def test_a_vision_transformer_with_less_than_nothing(name: str) -> None:
    head = "from std.vit import ViT\nfrom std.attention import Attention\n"
    found = findings(f"{head}model M = ViT[Attention[6], {name} = -1]\n")
    what = "layers" if name == "depth" else "tokens"
    message = f"requirement failed: {name} is a number of {what}, not -1"
    assert [(code, text) for code, text, _ in found] == [("E0300", message)]


def test_a_block_whose_head_is_broken_is_applied_without_another_finding() -> None:
    text = "block Unit(x: [->s]) -> [*s] { return x }\n"
    assert codes(text + model("y = Unit()\nreturn x")) == ["E0102"]


@pytest.mark.parametrize(
    ("body", "code", "help_"),
    [
        ("return conv2d(x, 4, 3)", "E0310", "brackets: `conv2d[out, ...](...)`"),
        ("return F(x, k = 3)", "E0310", "static arguments stand in brackets: `F[k = ...]`"),
        ("return x.mean(1)", "E0310", 'it is written `reduce["b n d -> b d", mean]` here'),
        ("return x.foo(1)", "E0310", "a tensor has no methods"),
        ("return flatten(x)", "E0201", 'it is written `rearrange["b c h w -> b (c h w)"]` here'),
        ("return x |> self", "E0201", "there is no `self` here"),
    ],
)
def test_what_people_bring_along(body: str, code: str, help_: str) -> None:
    block = "block F[k: int](x: [*s]) -> [*s] { return k * x }\n"
    Path("m.vit").write_text(block + model(f"  {body}"), encoding="utf-8")
    (found,) = check_program(open_program("m.vit"))
    assert found.code == code
    assert help_ in found.helps[0]


def test_what_is_written_here_can_be_parsed() -> None:
    """The control of the table of foreign words: each stands for an expression of the language."""
    known = [text for text in map(written_here, FOREIGN) if text is not None]
    assert len(known) == len(FOREIGN) > 20
    for text in known:
        if text.startswith("it is"):
            parse_expression(Source("a", text.split("`")[1], ""))


@pytest.mark.parametrize(
    ("field", "meant"),
    [("learning_rate = 1", "lr"), ("type = adamw", "name"), ("wd = 0", "weight_decay")],
)
def test_fields_that_have_another_name_elsewhere(field: str, meant: str) -> None:
    text = RECIPE.replace("lr = 1e-3", f"lr = 1e-3; {field}")
    Path("m.vit").write_text(f"{text}train M with r\n{DIGITS}", encoding="utf-8")
    (found,) = check_program(open_program("m.vit"))
    assert (found.code, found.helps) == ("E0600", (f"did you mean `{meant}`?",))
