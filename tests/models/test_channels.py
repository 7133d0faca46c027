"""`std.channels` against its formula."""

from __future__ import annotations

import pytest
from torch import Tensor

from tests.models.conftest import Build
from tests.models.references.attention import channel_attention, heads_apart, heads_together
from tests.models.references.compare import drawn, expect_equal, scattered


def channel_attend(statics: str = "") -> str:
    """A model of nothing but `ChannelAttend`: 15 tokens, 2 groups of 4 channels."""
    return f"""from std.channels import ChannelAttend
model M(q: [B, 2, 15, 4], k: [B, 2, 15, 4], v: [B, 2, 15, 4]) -> [B, 2, 15, 4] {{
  return ChannelAttend{statics}(q, k, v)
}}
"""


@pytest.mark.parametrize(("statics", "scale"), [("", 15**-0.5), ("[0.5]", 0.5)])
def test_channels_attend_to_channels(statics: str, scale: float, build: Build) -> None:
    tensors = [drawn(3, 2, 15, 4, seed=seed) for seed in range(3)]
    expect_equal(
        build(channel_attend(statics)),
        lambda q, k, v: channel_attention(q, k, v, scale),
        *tensors,
    )


@pytest.mark.parametrize("wrong", ["scale", "sides"])
def test_another_scale_or_the_other_side_is_noticed(wrong: str, build: Build) -> None:
    """The control: the scale of the paper, and softmax over queries instead of keys."""

    def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if wrong == "sides":
            q, k = k, q
        return channel_attention(q, k, v, 4**-0.5 if wrong == "scale" else 15**-0.5)

    tensors = [drawn(3, 2, 15, 4, seed=seed) for seed in range(3)]
    with pytest.raises(AssertionError):
        expect_equal(build(channel_attend()), reference, *tensors)


def test_the_mixer_is_the_formula_between_projections(build: Build) -> None:
    module = build("""from std.channels import ChannelAttention
model M(x: [B, 15, 12]) -> [B, 15, 12] { return x |> ChannelAttention[groups = 3]@mixer }
""")
    weights = scattered(module)

    def reference(x: Tensor) -> Tensor:
        def linear(x: Tensor, name: str) -> Tensor:
            return x @ weights[f"mixer.{name}.weight"].T + weights[f"mixer.{name}.bias"]

        q, k, v = (heads_apart(linear(x, f"qkv.{name}"), 3) for name in "qkv")
        return linear(heads_together(channel_attention(q, k, v, 15**-0.5)), "out")

    expect_equal(module, reference, drawn(2, 15, 12))
