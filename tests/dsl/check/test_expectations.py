"""`expect` and `claim`: what is counted, when it holds, and what the error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from linvit_dsl import api
from linvit_dsl.check import (
    Expectation,
    check_program,
    elaborate,
    examine,
    find_spec,
    open_program,
    shipped_specs,
)
from linvit_dsl.check.parameters import count_macs
from linvit_dsl.errors import Diagnostic, SpecError
from linvit_dsl.graph.cost import cost

MODEL = (
    "model M[k: dim = 2](x: [B, 4]) -> [B, 4] { return x |> linear[4 * k]@up |> linear[4]@down }\n"
)
# up: 4 * 8 + 8, down: 8 * 4 + 4; and with k = 3: 4 * 12 + 12, 12 * 4 + 4
PARAMS, PARAMS_3 = 76, 112


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def examined(text: str) -> tuple[tuple[Diagnostic, ...], tuple[Expectation, ...]]:
    Path("m.vit").write_text(text, encoding="utf-8")
    result = examine(open_program("m.vit"))
    return result.diagnostics, result.expectations


def stated(statement: str) -> Expectation:
    """The comparison of one statement behind `MODEL`, whose diagnostics agree with it."""
    found, (expectation,) = examined(MODEL + statement)
    codes = [] if expectation.holds or not expectation.binding else ["E0501"]
    assert [d.code for d in found] == codes
    return expectation


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("params == 76", True),
        ("params == 75", False),
        ("params == 75 within 1", True),
        ("params == 78 within 1", False),
        ("params == 80 within 5%", True),
        ("params == 80 within 4.9%", False),
        ("params <= 76", True),
        ("params <= 75", False),
        ("params <= 75 within 2%", True),
        ("params >= 76", True),
        ("params >= 77", False),
        ("params < 77", True),
        ("params < 76", False),
        ("params > 75", True),
        ("params > 76", False),
        ("macs == 64", True),
        ("flops == 128", True),
        ("flops / macs == 2", True),
        ("2 * macs == flops_of_it", None),
        ("macs == 128 at [B = 2]", True),
        ("macs == 2 * 64 at [B = 1 + 1]", True),
        ("params == 76 at [B = 128]", True),
        # x and the 8 hidden numbers are kept for backward, 4 bytes each.
        ("activation_bytes == 4 * (4 + 8)", True),
        ("activation_bytes == 3 * 4 * (4 + 8) at [B = 3]", True),
        # Weights, gradients and two moments.
        ("training_bytes == 4 * (4 + 8) + 4 * 4 * 76", True),
    ],
)
def test_conditions(condition: str, holds: bool | None) -> None:
    if holds is None:
        found, expectations = examined(f"{MODEL}expect M: {condition}")
        assert [d.code for d in found] == ["E0201"]
        assert expectations == ()
        return
    assert stated(f"expect M: {condition}").holds is holds
    assert stated(f"claim M: {condition}").holds is holds


def test_what_a_comparison_tells() -> None:
    expectation = stated('claim M[k = 3]: params == 0.1K within 5%, "somewhere"')
    assert (expectation.model, expectation.quantity) == ("M[k = 3]", "params")
    assert (expectation.claimed, expectation.actual) == (100, PARAMS_3)
    assert (expectation.difference, expectation.relative) == (12, 0.12)
    assert (expectation.tolerance, expectation.batch, expectation.source) == (5, 1, "somewhere")
    assert not expectation.binding
    assert not expectation.holds
    assert isinstance(expectation.actual, int)


def test_a_false_claim_is_no_finding() -> None:
    found, (claim,) = examined(f"{MODEL}claim M: params == 1M")
    assert (found, claim.holds) == ((), False)


def test_a_body_speaks_of_its_own_sizes() -> None:
    block = (
        "block Fc[o: dim](x: [B, n, d]) -> [B, n, o] {\n"
        '  expect params == d * o + o, "by formula"\n'
        "  y = x |> linear[o]@fc\n"
        "  expect macs == B * n * d * o\n"
        "  return y\n}\n"
    )
    model = "model N(x: [B, 3, 4]) -> [B, 3, 6] { return x |> Fc[5]@a |> Fc[6]@b }\n"
    found, expectations = examined(block + model)
    assert found == ()
    assert [(e.model, e.quantity, e.actual) for e in expectations] == [
        ("Fc", "params", 25),
        ("Fc", "macs", 60),
        ("Fc", "params", 36),
        ("Fc", "macs", 90),
    ]


def test_a_model_that_does_not_hold_to_its_body_is_refused() -> None:
    body = "{ expect params <= 70\nreturn x |> linear[4 * k]@up |> linear[4]@down }"
    text = f"model Base[k: dim = 2](x: [B, 4]) -> [B, 4] {body}\nmodel Wide = Base[k = 3]\n"
    Path("m.vit").write_text(f"{text}model Small = Base[k = 1]\n")
    program = open_program("m.vit")
    for name, params in (("Base", PARAMS), ("Wide", PARAMS_3)):
        with pytest.raises(SpecError, match="E0501") as raised:
            elaborate(program, name)
        (found,) = raised.value.diagnostics
        # The body is the model's own, so it goes by the name of the alias.
        assert found.message.startswith(f"`params` of `{name}` is {params}, not <= 70: ")
    assert elaborate(program, "Small").graph.name == "Small"
    assert elaborate(program, "Wide", {"k": "1"}).graph.name == "Wide"
    with pytest.raises(SpecError, match="E0501"):
        elaborate(program, "Small", {"k": "3"})


def test_nothing_is_said_of_a_model_with_errors() -> None:
    broken = MODEL.replace("linear[4]@down", "linear[5]@down")
    found, expectations = examined(f"{broken}expect M: params == 1\nclaim M: params == 1\n")
    assert [d.code for d in found] == ["E0322"]
    assert expectations == ()


def test_the_error_tells_where_the_cost_lies() -> None:
    Path("m.vit").write_text(
        "from std.vit import ViT\nfrom std.attention import Attention\n"
        "model M = ViT[mixer = Attention[4], d = 64, depth = 3]\n"
        'expect M: macs <= 1M within 1%, "a wish"\n'
    )
    (found,) = check_program(open_program("m.vit"))
    whole = cost(elaborate(open_program("m.vit")).graph)
    rows = {row.path: row.macs for row in whole.walk()}
    stated_by, *parts = found.notes
    assert stated_by == "stated by a wish"
    for note, path in zip(parts, ("layers.0-2.mlp", "layers.0-2.attn", "embed"), strict=True):
        assert f"`{path}`" in note
        assert f"{rows[path]:,}" in note
        assert f"{rows[path] / whole.macs:.1%}" in note


def test_warnings_about_a_model_that_only_a_statement_names_are_kept_back() -> None:
    warned = MODEL.replace("{ return", '{ prefer k < 3, "large"\nreturn')
    assert examined(f"{warned}expect M[k = 3]: params == {PARAMS_3}\n")[0] == ()
    assert [d.code for d in examined(f"{warned}model L = M[k = 3]\n")[0]] == ["W0300"]
    checked = f"{warned}expect M[k = 3]: params == {PARAMS_3}\nmodel L = M[k = 3]\n"
    assert [d.code for d in examined(checked)[0]] == ["W0300"]


@pytest.mark.parametrize("spec", shipped_specs())
def test_multiply_adds_are_those_of_the_cost_tree(spec: str) -> None:
    program = open_program(find_spec(spec)[0])
    graph = elaborate(program).graph
    for batch in (1, 3):
        assert count_macs(graph, batch) == cost(graph, batch).macs


def test_the_shipped_specs_hold_to_what_they_state() -> None:
    stated_by = {e.model for spec in shipped_specs() for e in api.expectations(spec) if e.binding}
    assert {"RippleViT", "HydraViT[branches = 8]", "QAViT_Small_D12", "TinyViT"} <= stated_by
    for spec in shipped_specs():
        assert [e for e in api.expectations(spec) if e.binding and not e.holds] == []


def test_the_claims_of_the_sources_that_are_true() -> None:
    """Every figure that a source gives and that can be counted; all others are not met."""
    claims = [e for spec in shipped_specs() for e in api.expectations(spec) if not e.binding]
    assert all(claim.source for claim in claims)
    assert [(c.model, c.quantity) for c in claims if c.holds] == [("BaselineViT64", "flops")]
    assert len(claims) > 25


def test_one_batch_is_stated() -> None:
    (found,), expectations = examined(f"{MODEL}expect M: macs == 64 at [B = 2, B = 1]")
    assert (found.code, expectations) == ("E0503", ())


@pytest.mark.parametrize("tolerance", ["2%", "3"])
def test_a_negative_tolerance_is_told_as_it_is_written(tolerance: str) -> None:
    (found,), _ = examined(f"{MODEL}expect M: params == 76 within -{tolerance}")
    assert found.message == f"a cost cannot differ by `-{tolerance}`"
    assert found.helps == (f"`within {tolerance}` allows it in both directions",)


@pytest.mark.parametrize(
    ("condition", "help_"),
    [
        ("80 >= params", "the cost stands on the left: `params <= 80`"),
        ("params", "`params <= 10M`"),
        ("params == 76 and macs == 64", "an expectation is one comparison: write a line for each"),
        ("1 == 1", "on the left stands a cost (params, macs, "),
    ],
)
def test_what_compares_no_cost_is_told_how_to(condition: str, help_: str) -> None:
    ((found,), _) = examined(f"{MODEL}expect M: {condition}\n")
    assert found.code == "E0502"
    assert help_ in found.helps[0]


def test_a_cost_at_open_sizes_shows_who_asks() -> None:
    block = "block F(x: [B, n, d]) -> [B, n, d] { return x |> linear[d]@fc }\n"
    ((found,), _) = examined(f"{MODEL}{block}expect F: params == 72\n")
    assert (found.code, found.primary.span.text) == ("E0319", "n")
    (label,) = found.secondary
    assert (label.span.text, label.span.line) == ("F", 3)
    assert "`expect params == 72`" in found.helps[0]


def test_the_batch_is_not_explained_by_itself() -> None:
    ((found,), _) = examined(f"{MODEL}check M: [2, 4] -> [3, 4]\n")
    assert (found.code, found.notes) == ("E0512", ())
