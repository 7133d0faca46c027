"""Parameters that a read-out leaves without a gradient: exactly those that autograd leaves so."""

from pathlib import Path

import pytest
import torch

import linvit_dsl
from linvit_dsl.check import elaborate, open_program
from linvit_dsl.check.liveness import dead_parameters

MIXERS = {
    "ripple": ("std.ripple", "RippleAttention", "RippleAttention[2, stages = 2]"),
    "hybrid": ("std.hybrid", "Hybrid", "Hybrid[2, window = 2]"),
    "softmax": ("std.attention", "Attention", "Attention[2]"),
    "linear": ("std.linear_attention", "LinearAttention", "LinearAttention[2]"),
    "hydra": ("std.hydra", "HydraAttention", "HydraAttention[2, branches = 2]"),
}


def spec_of(mixer: str, readout: str, folder: Path) -> Path:
    module, name, text = MIXERS[mixer]
    path = folder / "a.vit"
    path.write_text(
        f"from std.vit import ViT\nfrom {module} import {name}\n"
        f'model M = ViT[mixer = {text}, cls = true, readout = "{readout}", image = 8, patch = 2,\n'
        f"  d = 16, depth = 2, classes = 3]\n",
        encoding="utf-8",
    )
    return path


def without_gradient(path: Path) -> set[str]:
    """Parameters whose gradient is zero or absent, when no initial value happens to be zero."""
    torch.manual_seed(0)
    model = linvit_dsl.load(path).M().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    loss = model(torch.randn(3, 3, 8, 8, dtype=torch.float64)).square().sum()
    loss.backward()
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }


@pytest.mark.parametrize("readout", ["cls", "mean"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_what_is_found_dead_is_what_autograd_leaves(
    mixer: str, readout: str, tmp_path: Path
) -> None:
    path = spec_of(mixer, readout, tmp_path)
    found = dead_parameters(elaborate(open_program(path)).graph).parameters
    assert set(found) == without_gradient(path)
    if readout == "mean" or mixer in ("softmax", "linear", "hydra"):
        assert not found


def test_the_class_token_leaves_eleven_tensors_of_ripple(tmp_path: Path) -> None:
    """`architectures.md` 3.3: the last block's expand, gamma and ring."""
    path = tmp_path / "a.vit"
    path.write_text(
        "from std.vit import ViT\nfrom std.ripple import RippleAttention\n"
        "model M = ViT[mixer = RippleAttention[6, 3]]\n",
        encoding="utf-8",
    )
    model = elaborate(open_program(path))
    dead = dead_parameters(model.graph)
    assert len(dead.parameters) == 11
    assert all(key.startswith("layers.11.attn.") for key in dead.parameters)
    assert {key.split(".")[3] for key in dead.parameters} == {"expand", "ring"}
    (warning,) = model.warnings
    assert warning.code == "W0307"
    assert warning.secondary[0].span.text == "select[1, 0](x)"
    assert warning.notes[0].split() == ["layers.11.attn.expand.0.gamma", "384"]


TOKENS = """\
model M(x: [B, 6, 8]) -> {result} {{
  x = x |> linear[8]@first
  (a, b) = split[1, [2, 4]](x)
  a = a |> linear[8]@left
  b = b |> linear[8]@right
  {end}
}}
"""


@pytest.mark.parametrize(
    ("result", "end", "expected"),
    [
        ("[B, 6, 8]", "return concat[1](a, b)", []),
        ("[B, 8]", "return concat[1](a, b) |> select[1, -1]", ["left"]),
        ("[B, 8]", "return concat[1](a, b) |> select[1, 1]", ["right"]),
        ("[B, 2, 8]", "return concat[1](a, b) |> slice[1, 0, 2]", ["right"]),
        ("[B, 2, 8]", "return concat[1](a, b) |> slice[1, 1, 2]", []),
        ("[B, 2, 8]", "return concat[1](a, b) |> slice[1, 0, 2] |> linear[8]@out", ["right"]),
        ("[B, 2, 8]", "return pad[1, 3, 0](a) |> slice[1, 0, 2]", ["first", "left"]),
        ("[B, 4, 8]", "return stack[0](b, 2 * b) |> select[0, 1]", []),
        (
            "[B, 2, 8]",
            "c = concat[1](a, b) |> transpose[1, 2]; return transpose[1, 2](c) |> slice[1, 4, 2]",
            ["left"],
        ),
        (
            "[B, 2, 8]",
            'c = rearrange["b n (h c) -> b h n c", h = 2](concat[1](a, b)) |> slice[2, 0, 2]\n'
            '  return c |> rearrange["b h n c -> b n (h c)"]',
            ["right"],
        ),
        ("[B, 2, 8]", "return attend(a, b, b)", []),
        ("[B, 2, 8]", "return attend(concat[1](a, b), b, b) |> slice[1, 2, 2]", ["left"]),
        ("[B, 2, 8]", "return a + detach(slice[1, 0, 2](b))", ["right"]),
        ("[B, 6, 8]", "return softmax[1](concat[1](a, b)) |> pad[1, 0, 1] |> slice[1, 0, 6]", []),
        ("[B, 1, 8]", "return softmax[1](concat[1](a, b)) |> slice[1, 0, 1]", []),
    ],
)
def test_regions_go_through_operators(
    result: str, end: str, expected: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.vit"
    path.write_text(TOKENS.format(result=result, end=end), encoding="utf-8")
    graph = elaborate(open_program(path)).graph
    found = {key.split(".")[0] for key in dead_parameters(graph).parameters}
    # A tensor that nothing uses is told where it stands.
    assert sorted(found) == [name for name in expected if name != "unused"]


def test_what_a_block_does_not_use_is_told_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.vit"
    path.write_text(
        "model M(x: [B, 4]) -> [B, 4] {\n  h = x |> linear[4]@h\n  gate = h |> linear[4]@gate\n"
        "  return x |> linear[4]@out\n}\n",
        encoding="utf-8",
    )
    assert [warning.code for warning in elaborate(open_program(path)).warnings] == ["W0301"]
