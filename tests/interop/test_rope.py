"""Rotary positions are timm's: its tables, and its rotation of pairs."""

from __future__ import annotations

from pathlib import Path

import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat, apply_rot_embed_cat

from tests.interop.weights import images
from tests.models.references.build import built


def test_queries_are_turned_as_timm_turns_them(tmp_path: Path) -> None:
    rows, columns, channels = 3, 5, 16
    module = built(
        tmp_path,
        "std.rope import Turns, Turn",
        "(x: [B, 2, 15, 16]) -> [B, 2, 15, 16]",
        "Turn(x, *Turns[16, 100, [3, 5], 0]())",
    )
    timm_rope = RotaryEmbeddingCat(
        channels, temperature=100, in_pixels=False, feat_shape=[rows, columns]
    ).double()
    x = images(2, 2, rows * columns, channels)
    table = timm_rope.get_embed()
    # timm computes its table in float32.
    torch.testing.assert_close(module(x), apply_rot_embed_cat(x, table), rtol=1e-5, atol=1e-5)
    turned = apply_rot_embed_cat(x.flip(2), table).flip(2)
    assert (module(x) - turned).abs().max() > 0.1
