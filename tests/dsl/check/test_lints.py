"""Warnings about sound specs: each is found where it is meant, and nowhere else."""

from pathlib import Path

import pytest

from linvit_dsl.check import check_program, elaborate, find_spec, open_program, shipped_specs
from linvit_dsl.check.files import STANDARD_LIBRARY
from linvit_dsl.check.lints import of_text
from linvit_dsl.errors import Diagnostic
from linvit_dsl.errors.render import concise
from linvit_dsl.graph import limits

STREAM = """\
from std.attention import Attention
from std.nn import Mlp

block Layer(x: [B, n, d]) -> [B, n, d] {{
  {mixing}
  x += x |> layernorm@norm2 |> Mlp@mlp
  return x
}}

model M(x: [B, 16, 64]) -> [B, 16, 64] {{
  repeat 3 {{ x = x |> Layer@layers }}
  return x
}}
"""


def findings(folder: Path, text: str) -> tuple[Diagnostic, ...]:
    path = folder / "a.vit"
    path.write_text(text, encoding="utf-8")
    return check_program(open_program(path))


def codes(folder: Path, text: str) -> list[str]:
    return [diagnostic.code for diagnostic in findings(folder, text)]


@pytest.mark.parametrize("name", shipped_specs())
def test_a_shipped_spec_gives_no_warning(name: str) -> None:
    found = check_program(open_program(find_spec(name)[0]))
    assert [concise(diagnostic) for diagnostic in found] == []


@pytest.mark.parametrize("path", sorted(STANDARD_LIBRARY.glob("*.vit")), ids=lambda path: path.stem)
def test_the_library_is_written_as_it_asks_others_to_write(path: Path) -> None:
    assert [concise(diagnostic) for diagnostic in of_text(open_program(path).root)] == []


@pytest.mark.parametrize(
    "mixing",
    [
        "x += x |> layernorm@norm1 |> Attention[4]@attn",
        "x = (x + Attention[4](x)@attn) |> layernorm@norm1",
        "x += x |> Attention[4]@attn |> layernorm@norm1",
        "param scale: [d] ~ zeros; x += scale * Attention[4](x)@attn",
        "x = concat[-1](x, x |> layernorm@norm1 |> Attention[4]@attn) |> linear[d]@join",
    ],
    ids=["pre-norm", "post-norm", "norm in the branch", "rezero", "joined by concat"],
)
def test_a_guarded_mixer_is_sound(mixing: str, tmp_path: Path) -> None:
    assert codes(tmp_path, STREAM.format(mixing=mixing)) == []


@pytest.mark.parametrize(
    ("mixing", "code"),
    [
        ("x = x |> layernorm@norm1 |> Attention[4]@attn", "W0305"),
        ("x = x |> layernorm@norm1 |> Attention[4]@attn |> dropout[0.1] |> linear[d]@up", "W0305"),
        ("x += x |> Attention[4]@attn", "W0306"),
        ("x += 0.5 * (x |> Attention[4]@attn)", "W0306"),
    ],
    ids=["no residual", "no residual further on", "no norm", "a number is no learned scale"],
)
def test_an_unguarded_mixer_is_found_in_its_layer(mixing: str, code: str, tmp_path: Path) -> None:
    (found,) = findings(tmp_path, STREAM.format(mixing=mixing))
    assert (found.code, found.primary.span.line) == (code, 5)
    assert "`Attention`" in found.message


def test_one_layer_without_a_residual_is_enough(tmp_path: Path) -> None:
    text = STREAM.format(mixing="x += x |> layernorm@norm1 |> Attention[4]@attn")
    text = text.replace("return x\n}\n\nmodel", "return x\n}\nmodel").replace(
        "repeat 3 { x = x |> Layer@layers }",
        "repeat 3 { x = x |> Layer@layers }\n  x = x |> layernorm@n |> Attention[4]@last",
    )
    (found,) = findings(tmp_path, text)
    assert (found.code, found.primary.span.line) == ("W0305", 11)


def test_attention_that_pools_needs_no_residual(tmp_path: Path) -> None:
    """Queries made of parameters do not carry the input, so there is nothing to go around with."""
    text = STREAM.format(mixing="x += x |> layernorm@norm1 |> Attention[4]@attn").replace(
        "  return x\n}\n", "  return x\n}\n", 1
    )
    text = text.replace("-> [B, 16, 64] {", "-> [B, 1, 64] {").replace(
        "layers }\n  return x",
        "layers }\n  param q: [1, 1, 64] ~ trunc_normal[0.02]\n"
        '  q = expand["1 m d -> b m d", b = B](q)\n'
        "  return attend(q, x |> linear[64]@k, x |> linear[64]@v)",
    )
    assert codes(tmp_path, text) == []


BLOCK = """\
block F[width: dim, p: prob = 0](x: {shape}) -> [B, n, width] {{
  {body}
}}
model M(x: [B, 16, 64]) -> [B, 16, 64] {{ return x |> F[64] }}
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return x |> linear[width] |> gelu |> linear[width]", ["W0303"]),
        ("return x |> linear[width]@a |> gelu |> linear[width]", []),
        ("return x |> layernorm |> linear[width] |> dropout[p] |> dropout[p]", []),
        ("h = x |> linear[width]@linear; return h |> linear[width] |> linear[width]", ["W0303"]),
        ("repeat 3 { x += x |> linear[width] }; return x", []),
        ("repeat 3 { x += x |> linear[width] |> gelu |> linear[width] }; return x", ["W0303"]),
    ],
)
def test_weights_that_are_numbered_want_labels(
    body: str, expected: list[str], tmp_path: Path
) -> None:
    assert codes(tmp_path, BLOCK.format(shape="[B, n, d]", body=body)) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("[B, n, widht]", ["W0304"]),
        ("[B, n, Width]", ["W0304"]),
        ("[B, n, channels]", []),
        ("[B, n, d]", []),
        ("[B, n, width']", []),
        ("[B, n, width2]", []),
    ],
)
def test_an_axis_that_is_nearly_another_name(
    shape: str, expected: list[str], tmp_path: Path
) -> None:
    body = "return x |> linear[width]@fc"
    assert codes(tmp_path, BLOCK.format(shape=shape, body=body)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return x * x |> linear[width]", ["W0309"]),
        ("return (x * x) |> linear[width]", []),
        ("x += x - 1 |> relu |> linear[d]; return x |> linear[width]@fc", ["W0309"]),
        ("return x |> dropout[p] |> linear[width]", []),
        ("y = -x |> relu; return y |> linear[width]", []),
        ("return -(x * x) |> linear[width]", []),
    ],
)
def test_a_pipe_behind_an_operation_wants_parentheses(
    body: str, expected: list[str], tmp_path: Path
) -> None:
    assert codes(tmp_path, BLOCK.format(shape="[B, n, d]", body=body)) == expected


FFN = """\
block Ffn[wide: dim, p: prob, q: prob, act: block](x: [B, n, d]) -> [B, n, d] {{
  return x |> linear[wide]@up |> act |> dropout[p] |> linear[d]@down |> dropout[q]
}}
model M[wide: dim = 8, p: prob = 0, q: prob = 0, act: block = gelu](x: [B, 4, 4]) -> [B, 4, 4] {{
  sizes = [8, 0, 0]
  return x |> Ffn[{arguments}]@ffn
}}
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("8, 0, 0, gelu", ["W0310"]),
        ("8, 0, 0, act = gelu", []),
        ("wide, p, q, act", []),
        ("wide, q, p, act", []),
        ("wide * 1, q, p, gelu", ["W0310"]),
        ("*sizes, gelu", []),
    ],
)
def test_four_static_arguments_by_position(
    arguments: str, expected: list[str], tmp_path: Path
) -> None:
    assert codes(tmp_path, FFN.format(arguments=arguments)) == expected


def test_warnings_do_not_push_an_error_off_the_list(tmp_path: Path) -> None:
    lines = "".join("  x = x * x |> relu\n" for _ in range(limits.ERRORS + 5))
    text = f"model M(x: [B, 4, 4]) -> [B, 4, 5] {{\n{lines}  return x\n}}\n"
    found = codes(tmp_path, text)
    assert len(found) == limits.ERRORS
    assert found[-1] == "E0322"


def test_a_compiled_model_carries_its_warnings(tmp_path: Path) -> None:
    path = tmp_path / "a.vit"
    path.write_text(STREAM.format(mixing="x += x |> Attention[4]@attn"), encoding="utf-8")
    assert [warning.code for warning in elaborate(open_program(path)).warnings] == ["W0306"]
