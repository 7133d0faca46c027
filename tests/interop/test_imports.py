"""The peers that the tests of this folder compare with are here, and are what they say they are."""

from __future__ import annotations

import timm
import transformers


def test_timm_builds_the_model_that_the_counts_are_compared_with() -> None:
    model = timm.create_model("vit_small_patch16_224")
    assert sum(parameter.numel() for parameter in model.parameters()) == 22_050_664


def test_transformers_has_the_vision_transformer() -> None:
    config = transformers.ViTConfig(num_hidden_layers=1, hidden_size=48, num_attention_heads=4)
    assert transformers.ViTForImageClassification(config).config.hidden_size == 48
