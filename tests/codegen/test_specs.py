"""The shipped specs: reviewed as goldens, and executed against the references at small sizes."""

import re
from collections.abc import Mapping, Sequence

import pytest
import torch

from linvit_codegen import Options, generate
from linvit_codegen.passes import LEVELS
from linvit_dsl.check import elaborate, find_spec, open_program, shipped_specs
from linvit_dsl.check.models import Model
from linvit_dsl.graph.cost import cost
from tests.codegen.conftest import Load
from tests.codegen.interpreter import interpret, randomize
from tests.conftest import Golden

SMALL = {"d": 24, "depth": 2, "image": 16, "classes": 5, "heads": 2}
STAGES = {"depths": [2, 1, 2, 1], "heads": [1, 2, 2, 4], "window": 3, "d": 8}
CASES = [
    ("baseline", "BaselineViT", {}),
    ("baseline", "BaselineViT", {"registers": 2, "drop_path": 0.1}),
    ("baseline", "BaselineViTDigits", {"heads": 4, "d": 16, "image": 8}),
    ("linear", "LinearViT", {"readout": '"mean"'}),
    ("hydravit", "HydraViT", {"branches": 1}),
    ("hydravit", "HydraViT", {"branches": 3, "drop": 0.1}),
    ("ripplevit", "RippleViT", {"stages": 2, "drop_path": 0.2}),
    ("ripplevit", "RippleViT", {"stages": 0}),
    ("ripplevit", "RippleViT", {"stages": 1, "cls": "false"}),
    ("ripplevit", "RippleViT", {"image": 28, "width": 20, "stages": 2, "schedule": '"isotropic"'}),
    ("qavit", "QAViT", {"d": 32, "patch": 2, "width": 12, "window": 3, "k": 20, "groups": 4}),
    ("qavit", "QAViT", {"d": 32, "patch": 4, "window": 2, "drop_path": 0.2, "depth": 3}),
    ("linformer", "LinformerViT", {"k": 5, "share": '"kv"'}),
    ("performer", "PerformerViT", {"features": 20, "registers": 2}),
    ("nystromformer", "NystromformerViT", {"landmarks": 5, "image": 20}),
    ("nystromformer", "NystromformerViT", {"landmarks": 9, "landmark": '"grid"', "cls": "false"}),
    ("hybrid", "HybridViT", {"window": 3, "image": 28, "width": 20}),
    ("swin", "SwinTiny", {"depth": None, "image": 10, "patch": 1, **STAGES}),
    ("deit3", "DeiT3Digits", {"heads": None, "registers": 1}),
    ("rope", "RopeViT", {"width": 20, "registers": 1}),
    ("rope", "RopeLinearViT", {"readout": '"mean"'}),
    ("dense", "DenseViT", {"width": 24}),
    ("dense", "SwinFpn", {"depth": None, "width": 12, "patch": 1, "c": 8, **STAGES}),
    ("video", "VideoViT", {"frames": 4, "patch": 8}),
    ("video", "JointVideoViT", {"frames": 4, "patch": 8}),
    ("xcit", "XCiT", {"width": 12}),
    ("agent", "AgentViT", {"agents": [3, 2], "width": 12}),
    ("flatten", "FlattenViT", {"power": 2}),
    ("feature_maps", "EfficientAttentionViT", {}),
    ("feature_maps", "SoftmaxFeatureViT", {}),
    ("feature_maps", "ExpViT", {"width": 12}),
    ("grouped_query", "GroupedQueryLinearViT", {}),
    ("hydravit", "HydraViT", {"branches": 3, "fusion": '"concat"'}),
    ("ripplevit", "RippleViTFullQuery", {"stages": 2}),
]
OPTIONS = [
    Options(level=0),
    Options(level=0, kernels="reference"),
    Options(level=1, validated=True),
    Options(level=2, validated=True),
    Options(level=2, kernels="reference", validated=True),
]


Statics = Mapping[str, object]


def model(spec: str, name: str | None = None, statics: Statics | None = None) -> Model:
    path, _ = find_spec(spec)
    given = {word: value for word, value in (statics or {}).items() if value is not None}
    overrides = {word: str(value) for word, value in given.items()}
    return elaborate(open_program(path), name, overrides)


@pytest.mark.parametrize("spec", shipped_specs())
def test_the_code_of_a_shipped_spec_is_as_reviewed(spec: str, golden: Golden) -> None:
    found = model(spec)
    generated = generate(found.graph, sources=found.program.sources)
    # A comment in the standard library changes the hash of the sources, not the code.
    text = re.sub(r"sources sha256:\w+", "sources sha256:...", generated.text)
    golden.check(f"codegen/specs/{spec}.py", text)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("spec", "name", "statics"), CASES)
def test_a_small_variant_computes_what_the_references_do(
    spec: str, name: str, statics: Statics, options: Options, load: Load
) -> None:
    graph = model(spec, name, {**SMALL, **statics}).graph
    generated = generate(graph, options=options)
    ours = getattr(load(generated), name)().double().eval()
    randomize(ours)
    images = draw(graph.inputs[0].type.sizes)
    weights = {k: t.detach().clone() for k, t in ours.state_dict().items()}
    for tensor in weights.values():
        tensor.requires_grad_(tensor.is_floating_point())
    (expected,) = interpret(graph, [images], weights, generated.map["names"]["slots"])
    result = ours(images)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)
    result.square().sum().backward()
    expected.square().sum().backward()
    for key, parameter in ours.named_parameters():
        theirs = weights[key].grad
        mine = parameter.grad
        assert (mine is None or not mine.any()) == (theirs is None or not theirs.any()), key
        if mine is not None and theirs is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


def draw(sizes: Sequence[object]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = [size if isinstance(size, int) else 3 for size in sizes]
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("spec", "statics", "parameters"),
    [
        ("baseline", {}, 21_376_996),
        ("baseline", {"image": 64, "classes": 200}, 21_489_224),
        *(("ripplevit", {"stages": s}, 21_496_804 + 175_104 * s) for s in (1, 2, 3)),
        *(
            ("hydravit", {"branches": b}, count)
            for b, count in ((1, 21_376_996), (4, 22_704_388), (8, 24_474_148))
        ),
        ("vit_tiny_cifar10", {}, 119_194),
    ],
)
def test_the_module_has_the_parameters_of_the_design(
    spec: str, statics: Statics, parameters: int, load: Load
) -> None:
    generated = generate(model(spec, statics=statics).graph)
    with torch.device("meta"):
        module = getattr(load(generated), generated.name)()
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert f": {parameters:,} parameters, " in generated.text


@pytest.mark.parametrize("spec", shipped_specs())
def test_the_header_states_what_the_model_costs(spec: str) -> None:
    graph = model(spec).graph
    total = cost(graph)
    stated = f": {total.params:,} parameters, {total.macs:,} multiply-adds at batch 1\n"
    for level in LEVELS:
        assert stated in generate(graph, options=Options(level=level)).text


def test_linear_attention_is_a_kernel_unless_asked_otherwise() -> None:
    graph = model("linear", statics=SMALL).graph
    assert "kernels.linear_attention(" in generate(graph).text
    reference = generate(graph, options=Options(kernels="reference")).text
    assert "kernels" not in reference.split("\n", 5)[5]
    assert "linear_state(split_relu(k), v)" in reference


def test_rates_that_rise_evenly_are_written_as_one_writes_them(load: Load) -> None:
    generated = generate(model("ripplevit", statics=SMALL | {"depth": 4, "drop_path": 0.3}).graph)
    assert "EncoderLayer(drop_path=0.3 * i / 3) for i in range(4)" in generated.text
    layers = load(generated).RippleViT().layers
    rates = [layer.droppath.rate for layer in layers]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
