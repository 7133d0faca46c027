"""Static costs against what torch counts while it runs, on the meta device.

Costs are those of a model as it is written: it is compiled at level 0.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import linvit_dsl
from linvit_codegen import Options, generate
from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.intrinsics import kernel_feature_map
from linvit_dsl.graph.ir import Apply, Call, Graph
from linvit_dsl.graph.size import at_batch
from linvit_runtime.generated import build

MODELS = [
    ("baseline", "BaselineViT", {}),
    ("baseline", "BaselineViT64", {}),
    ("linear", "LinearViT", {}),
    ("ripplevit", "RippleViT", {}),
    ("ripplevit", "RippleViT", {"stages": 5}),
    ("hydravit", "HydraViT", {}),
    ("hydravit", "HydraViT", {"branches": 2}),
    ("vit_tiny_cifar10", "TinyViT", {}),
    ("vit_tiny_cifar10", "TinyViTMerged", {}),
    ("ripplevit", "RippleViTDigits", {}),
    ("qavit", "QAViT_Tiny", {}),
    ("qavit", "QAViT_Small", {"compress": "linear"}),
    ("qavit", "QAViT_Tiny", {"image": 240, "width": 208}),
    ("ripplevit", "RippleViTFullQuery", {}),
    ("hydravit", "HydraViT", {"fusion": "concat"}),
    ("feature_maps", "FocusedViT", {}),
    ("feature_maps", "EfficientAttentionViT", {}),
    ("flatten", "FlattenViT", {}),
    ("hydra_cos", "HydraCosineViT", {}),
    ("grouped_query", "GroupedQueryViT", {}),
    ("grouped_query", "GroupedQueryLinearViT", {"kv_heads": 2}),
    ("agent", "AgentViT", {"image": 28, "width": 20}),
    ("xcit", "XCiT", {}),
    ("pvt", "PVT", {}),
    ("efficientvit", "EfficientViT", {}),
    ("efficientvit", "EfficientViTDigits", {"image": 10, "width": 14}),
    ("swin", "SwinTiny", {}),
    ("swin", "SwinCifar", {}),
    ("deit3", "DeiT3Small", {}),
    ("deit3", "DeiT3SmallModern", {}),
    ("rope", "RopeViT", {}),
    ("rope", "RopeLinearViT", {}),
    ("dense", "DenseViT", {}),
    ("dense", "SwinFpn", {}),
    ("video", "VideoViT", {}),
    ("video", "JointVideoViT", {}),
]


def weighted_sums(graph: Graph, *, kernel: bool = False, batch: int = 1) -> int:
    """Multiply-adds of products that are only sums (one output column), which torch counts too.

    Where a kernel replaces a body torch counts by the kernel's own formula, so they are left out.
    """
    total = 0
    for node in graph.walk():
        if isinstance(node, Call):
            replaced = kernel_feature_map(node.graph) is not None
            total += weighted_sums(node.graph, kernel=kernel or replaced, batch=batch)
        elif isinstance(node, Apply) and not kernel:
            arguments = (node.attributes, node.argument_types, node.result_types)
            total += at_batch(node.op.products(*arguments), batch)
            total -= at_batch(node.op.macs(*arguments), batch)
    return total


@pytest.mark.parametrize(("spec", "model", "statics"), MODELS)
def test_macs_and_parameters_are_those_of_torch(
    spec: str, model: str, statics: dict[str, int]
) -> None:
    builder = getattr(linvit_dsl.load(spec), model)
    graph = builder.graph(**statics)
    static = cost(graph)
    module = build(generate(graph, options=Options(level=0)), model)
    assert static.params == sum(parameter.numel() for parameter in module.parameters())
    module = module.to("meta").eval().requires_grad_(False)
    image = torch.empty([at_batch(size, 1) for size in graph.inputs[0].type.sizes], device="meta")
    with FlopCounterMode(display=False) as counter:
        module(image)
    assert 2 * (static.macs + weighted_sums(graph)) == counter.get_total_flops()
    assert static.flops == 2 * static.macs


def test_a_wrong_count_is_noticed() -> None:
    """The control: one layer fewer is another number."""
    builder = linvit_dsl.load("vit_tiny_cifar10").TinyViT
    module = builder(depth=3).to("meta").eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        module(torch.empty(1, 3, 32, 32, device="meta"))
    assert 2 * builder.cost().macs != counter.get_total_flops()
    assert math.isfinite(counter.get_total_flops())
