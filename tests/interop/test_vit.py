"""The baseline is the Vision Transformer of timm and of transformers: weights copied, logits equal.

transformers names its tensors one way in files, and since version 5 another way in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import linvit_dsl
from tests.interop.weights import Parts, filled, images, scattered, translated

DEPTH = 3
SMALL = {"d": 48, "depth": DEPTH, "heads": 4, "classes": 10, "image": 16, "patch": 4}
Table = list[tuple[str, str | Parts]]


def of_timm(merged: bool) -> Table:
    """Names of timm -> names of ours."""
    table: Table = [
        ("patch_embed.proj", "embed.proj"),
        ("cls_token", "cls_token"),
        ("pos_embed", "pos"),
        ("norm", "norm"),
        ("head", "head"),
    ]
    for i in range(DEPTH):
        qkv = f"layers.{i}.attn.qkv"
        parts: str | Parts = f"{qkv}.qkv" if merged else tuple(f"{qkv}.{x}" for x in "qkv")
        table += [
            (f"blocks.{i}.attn.qkv", parts),
            (f"blocks.{i}.attn.proj", f"layers.{i}.attn.out"),
            (f"blocks.{i}", f"layers.{i}"),
        ]
    return table


def of_transformers(layer: str, q: str, out: str, fc: tuple[str, str]) -> Table:
    """Names of transformers -> names of ours; its two layouts differ inside a layer only.

    Args:
        layer: Prefix of layer `{}`.
        q: Where the queries' projection lies in it, with `{}` for `query` or `q`.
        out: Where the last projection of attention lies.
        fc: Where the two maps of the MLP lie.
    """
    table: Table = [
        ("vit.embeddings.patch_embeddings.projection", "embed.proj"),
        ("vit.embeddings.cls_token", "cls_token"),
        ("vit.embeddings.position_embeddings", "pos"),
        ("vit.layernorm", "norm"),
        ("classifier", "head"),
    ]
    for i in range(DEPTH):
        theirs, ours = layer.format(i), f"layers.{i}"
        words = ("query", "key", "value")
        table += [(f"{theirs}.{q.format(w, w[0])}", f"{ours}.attn.qkv.{w[0]}") for w in words]
        table += [
            (f"{theirs}.{out}", f"{ours}.attn.out"),
            (f"{theirs}.{fc[0]}", f"{ours}.mlp.fc1"),
            (f"{theirs}.{fc[1]}", f"{ours}.mlp.fc2"),
            (f"{theirs}.layernorm_before", f"{ours}.norm1"),
            (f"{theirs}.layernorm_after", f"{ours}.norm2"),
        ]
    return table


MEMORY = of_transformers(
    "vit.layers.{}", "attention.{1}_proj", "attention.o_proj", ("mlp.fc1", "mlp.fc2")
)
FILE = of_transformers(
    "vit.encoder.layer.{}",
    "attention.attention.{0}",
    "attention.output.dense",
    ("intermediate.dense", "output.dense"),
)


def timm_vit() -> nn.Module:
    peer = VisionTransformer(
        img_size=16, patch_size=4, num_classes=10, embed_dim=48, depth=DEPTH, num_heads=4
    )
    return scattered(peer)


def transformers_vit(**changes: Any) -> Any:
    settings: dict[str, Any] = {
        "hidden_size": 48,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 4,
        "intermediate_size": 192,
        "image_size": 16,
        "patch_size": 4,
        "num_labels": 10,
        "layer_norm_eps": 1e-6,
    }
    return scattered(
        transformers.ViTForImageClassification(transformers.ViTConfig(**settings | changes))
    )


def ours(spec: str = "baseline", model: str = "BaselineViT", **statics: Any) -> nn.Module:
    return getattr(linvit_dsl.load(spec), model)(**{**SMALL, **statics})


def difference(module: nn.Module, peer: nn.Module) -> float:
    """The largest difference of two models' logits on four images."""
    x = images(4, 3, 16, 16)
    with torch.no_grad():
        theirs = peer(x)
        logits: Tensor = theirs if isinstance(theirs, Tensor) else theirs.logits
        return (module(x) - logits).abs().max().item()


@pytest.mark.parametrize("merged", [False, True])
def test_timm_gives_the_same_logits(merged: bool) -> None:
    peer = timm_vit()
    model = "TinyViTMerged" if merged else "TinyViT"
    module = filled(ours("vit_tiny_cifar10", model), translated(peer.state_dict(), of_timm(merged)))
    assert difference(module, peer) < 1e-12


def test_transformers_gives_the_same_logits() -> None:
    peer = transformers_vit()
    module = filled(ours(), translated(peer.state_dict(), MEMORY))
    assert difference(module, peer) < 1e-12


def test_files_of_transformers_hold_the_same_weights(tmp_path: Path) -> None:
    peer = transformers_vit()
    peer.save_pretrained(tmp_path)
    module = filled(ours(), translated(load_file(tmp_path / "model.safetensors"), FILE))
    assert difference(module, peer) < 1e-12


def test_the_tiny_model_as_first_published_but_for_its_last_norm() -> None:
    """GELU by tanh and eps 1e-5, which both sides can be told."""
    peer = transformers_vit(hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-5)
    module = filled(
        ours("vit_tiny_cifar10", "TinyViTBare", final_norm=True),
        translated(peer.state_dict(), MEMORY),
    )
    assert difference(module, peer) < 1e-12


@pytest.mark.parametrize("change", ["layer_norm_eps", "hidden_act", "swapped"])
def test_another_setting_is_noticed(change: str) -> None:
    """The control: eps of transformers' default, another GELU, queries taken for keys."""
    changes = {"layer_norm_eps": 1e-2, "hidden_act": "gelu_pytorch_tanh"}
    peer = transformers_vit(**{change: changes[change]} if change in changes else {})
    weights = translated(peer.state_dict(), MEMORY)
    if change == "swapped":
        weights = {
            key.replace(".qkv.q.", ".qkv.v.")
            if ".qkv.q." in key
            else key.replace(".qkv.v.", ".qkv.q.")
            if ".qkv.v." in key
            else key: value
            for key, value in weights.items()
        }
    assert difference(filled(ours(), weights), peer) > 1e-5


def test_a_tensor_that_no_name_fits_is_refused() -> None:
    with pytest.raises(KeyError, match="fc_norm"):
        translated({"fc_norm.weight": torch.ones(2)}, of_timm(merged=False))
    weights = translated(timm_vit().state_dict(), of_timm(merged=False))
    del weights["head.bias"]
    module = ours()
    with pytest.raises(RuntimeError, match=r"Missing key\(s\).*head\.bias"):
        filled(module, weights)
