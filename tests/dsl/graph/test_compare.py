"""What `compare` finds between models whose differences are known."""

from pathlib import Path

import pytest

from linvit_dsl.check import elaborate, open_program, specs_root
from linvit_dsl.graph.compare import Comparison, compare, tensors_of
from linvit_dsl.graph.ir import Graph

SPEC = """\
block Mix[width: dim](x: [B, n, d]) -> [B, n, d] {{
  return x |> linear[width]@up |> {act} |> linear[d]@down
}}

model M[layers: int = {layers}, width: dim = {width}](x: [B, 4, 8]) -> [B, 4, 8] {{
  repeat layers {{ x += x |> Mix[width]@layers }}
  return x |> layernorm{norm}@norm
}}
"""


def graph(folder: Path, **values: object) -> Graph:
    given = {"act": "gelu", "layers": 3, "width": 16, "norm": "", **values}
    path = folder / "m.vit"
    path.write_text(SPEC.format(**given))
    return elaborate(open_program(path)).graph


def compared(folder: Path, **values: object) -> Comparison:
    return compare(graph(folder), graph(folder, **values))


def shipped(name: str) -> Graph:
    return elaborate(open_program(specs_root() / f"{name}.vit")).graph


def test_the_same_model_is_equal(tmp_path: Path) -> None:
    found = compared(tmp_path)
    assert found.equal
    assert found.checkpoint.shared == 3 * 4 + 2
    assert (found.changes, dict(found.statics)) == ((), {})


def test_another_activation_is_a_part_removed_and_one_added(tmp_path: Path) -> None:
    found = compared(tmp_path, act="relu")
    assert not found.equal
    assert [(c.kind, c.path, c.before, c.after) for c in found.changes] == [
        ("removed", "layers.0-2.gelu", "gelu", ""),
        ("added", "layers.0-2.relu", "", "relu"),
    ]
    assert found.checkpoint.loads


def test_a_layer_more_is_added_once_and_not_part_by_part(tmp_path: Path) -> None:
    found = compared(tmp_path, layers=4)
    assert dict(found.statics) == {"layers": ("3", "4")}
    added = [c for c in found.changes if c.kind == "added"]
    params, macs = 8 * 16 + 16 + 16 * 8 + 8, 2 * 4 * 8 * 16
    assert [(c.path, c.after, c.params, c.macs) for c in added if c.params] == [
        ("layers.3", "Mix", params, macs)
    ]
    assert (found.costs[1].params - found.costs[0].params) == params
    assert found.checkpoint.missing == tuple(
        f"layers.3.{part}.{name}" for part in ("up", "down") for name in ("weight", "bias")
    )
    assert found.checkpoint.unexpected == ()
    assert not found.checkpoint.loads


def test_another_width_is_told_once_and_its_consequences_are_sizes(tmp_path: Path) -> None:
    found = compared(tmp_path, width=32)
    assert dict(found.statics) == {"width": ("16", "32")}
    assert all(change.sizes_only for change in found.changes)
    up = next(change for change in found.changes if change.path == "layers.0-2.up")
    assert dict(up.facts) == {"out": ("16", "32")}
    assert up.outputs == (((1, 4, 16),), ((1, 4, 32),))
    assert up.params == 3 * (8 * 16 + 16)
    assert found.checkpoint.reshaped["layers.1.down.weight"] == ((8, 16), (8, 32))
    assert found.checkpoint.shared == 3 + 2  # the biases of `down`, and the norm


def test_a_fact_of_an_operator_is_told_where_sizes_stay(tmp_path: Path) -> None:
    (change,) = compared(tmp_path, norm="[1e-3]").changes
    assert (change.path, change.sizes_only) == ("norm", False)
    assert dict(change.facts) == {"eps": ("1e-06", "0.001")}


def test_linear_attention_takes_the_weights_of_softmax_attention() -> None:
    found = compare(shipped("baseline"), shipped("linear"))
    assert found.checkpoint.loads
    assert dict(found.statics) == {"mixer": ("Attention", "LinearAttention")}
    assert [(c.kind, c.path) for c in found.changes] == [
        ("changed", "layers.0-11.attn"),
        ("removed", "layers.0-11.attn.attend"),
        ("removed", "layers.0-11.attn.MergeHeads"),
        ("added", "layers.0-11.attn.linear_attention"),
    ]
    macs = found.costs[1].macs - found.costs[0].macs
    assert found.changes[0].macs == macs == sum(c.macs for c in found.changes[1:])


@pytest.mark.parametrize("name", ["linear", "qavit", "efficientvit"])
def test_the_keys_are_those_of_the_module(name: str) -> None:
    """Against the state dict that torch makes of the generated code."""
    import linvit_dsl

    model = getattr(linvit_dsl.load(name), shipped(name).name)()
    keys = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    ours = dict(tensors_of(shipped(name)))
    assert ours == {key: shape for key, shape in keys.items() if key in ours}
    assert not [key for key in keys.keys() - ours.keys() if "num_batches_tracked" not in key]
