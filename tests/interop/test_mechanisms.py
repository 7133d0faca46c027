"""Mechanisms of the library against those of timm, with its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm.layers.mlp import Mlp
from timm.models.davit import ChannelAttentionV2
from timm.models.pvt_v2 import MlpWithDepthwiseConv
from timm.models.swin_transformer import WindowAttention, window_partition, window_reverse
from torch import Tensor, nn

from tests.models.conftest import module_of
from tests.models.references.compare import drawn, expect_equal


def take_weights(target: nn.Module, source: nn.Module, names: dict[str, str]) -> None:
    """Copy `source`, whose parts are called otherwise; `qkv` holds rows of q, k and v."""
    state: dict[str, Tensor] = {}
    for key, value in source.state_dict().items():
        part, _, kind = key.rpartition(".")
        if part == "qkv":
            for name, rows in zip("qkv", value.chunk(3), strict=True):
                state[f"mixer.qkv.{name}.{kind}"] = rows
        elif part in names:
            state[f"mixer.{names[part]}.{kind}"] = value
    target.load_state_dict(state)


@pytest.mark.parametrize("groups", [1, 4])
def test_channel_attention_is_that_of_davit(groups: int, tmp_path: Path) -> None:
    theirs = ChannelAttentionV2(24, groups).double().eval()
    ours = module_of(
        f"""from std.channels import ChannelAttention
model M(x: [B, 35, 24]) -> [B, 35, 24] {{ return x |> ChannelAttention[{groups}]@mixer }}
""",
        tmp_path,
    )
    take_weights(ours, theirs, {"proj": "out"})
    expect_equal(ours, theirs, drawn(3, 35, 24))
    theirs.dynamic_scale = False  # The control: the scale of the paper is another one.
    with pytest.raises(AssertionError):
        expect_equal(ours, theirs, drawn(3, 35, 24))


def test_windows_are_those_of_swin_without_positions(tmp_path: Path) -> None:
    theirs = WindowAttention(24, num_heads=4, window_size=3).double().eval()
    nn.init.zeros_(theirs.relative_position_bias_table)
    ours = module_of(
        """from std.windows import WindowAttention
model M(x: [B, 54, 24]) -> [B, 54, 24] { return x |> WindowAttention[4, 3, grid = [6, 9]]@mixer }
""",
        tmp_path,
    )
    take_weights(ours, theirs, {"proj": "out"})

    def reference(x: Tensor) -> Tensor:
        windows = window_partition(x.unflatten(1, (6, 9)), (3, 3)).flatten(1, 2)
        answers = theirs(windows).unflatten(1, (3, 3))
        return window_reverse(answers, (3, 3), 6, 9).flatten(1, 2)

    expect_equal(ours, reference, drawn(2, 54, 24))
    # The control: a bias by position is noticed.
    nn.init.normal_(theirs.relative_position_bias_table)
    with pytest.raises(AssertionError):
        expect_equal(ours, reference, drawn(2, 54, 24))


def test_the_convolutional_mlp_is_that_of_pvt_v2(tmp_path: Path) -> None:
    theirs = MlpWithDepthwiseConv(24, 48).double().eval()
    ours = module_of(
        """from std.nn import ConvMlp
model M(x: [B, 35, 24]) -> [B, 35, 24] { return x |> ConvMlp[2, grid = [5, 7]]@mixer }
""",
        tmp_path,
    )
    take_weights(ours, theirs, {"fc1": "fc1", "dwconv": "filter.dw", "fc2": "fc2"})
    expect_equal(ours, lambda x: theirs(x, [5, 7]), drawn(3, 35, 24))
    # The control: without the filter it is another function.
    plain = Mlp(24, 48).double().eval()
    plain.load_state_dict(theirs.state_dict(), strict=False)
    with torch.no_grad():
        assert (ours(drawn(3, 35, 24)) - plain(drawn(3, 35, 24))).abs().max() > 1e-3
