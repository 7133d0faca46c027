"""The checks that every example of every operator passes, each under a name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from linvit_dsl.graph.ir import Initializer, TensorType
from linvit_dsl.graph.size import Poly, at_batch
from linvit_dsl.ops import Example, Op
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.op import BATCH
from linvit_runtime import init, layers

NUM_IMAGES = 3


@dataclass(frozen=True)
class Case:
    """One example of one operator, as the code generator would write it and as it runs."""

    op: type[Op]
    example: Example

    @cached_property
    def types(self) -> tuple[TensorType, ...]:
        return tuple(TensorType.of(*shape) for shape in self.example.shapes)

    @cached_property
    def results(self) -> tuple[TensorType, ...]:
        return self.op.types(self.example.attributes, self.types)

    @cached_property
    def source(self) -> str:
        """A module of one operator. It is written once, for every batch size."""
        attributes = self.example.attributes
        names = tuple(Code(f"x{index}") for index in range(len(self.types)))
        module = self.op.module(attributes, self.types)
        body = "pass" if module is None else f"self.inner = {module}"
        options = {"batch": Code("batch")} if self.op.needs_batch else {}
        inner = None if module is None else Code("self.inner")
        call = self.op.call(attributes, self.types, names, inner, **options)
        return (
            "class Module(nn.Module):\n"
            f"    def __init__(self):\n        super().__init__()\n        {body}\n"
            f"    def forward(self, batch{''.join(f', {name}' for name in names)}):\n"
            f"        return {call}\n"
        )

    def module(self) -> nn.Module:
        """A freshly started module, in evaluation mode."""
        names: dict[str, Any] = {"torch": torch, "nn": nn, "F": F, "init": init, "layers": layers}
        exec(self.source, names)
        return names["Module"]().eval()

    def arguments(self, batch: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """Random arguments, always the same ones."""
        torch.manual_seed(0)
        rest = ("normal",) * (len(self.types) - len(self.example.draws))
        tensors = []
        for type_, draw in zip(self.types, self.example.draws + rest, strict=True):
            shape = [at_batch(size, batch) for size in type_.sizes]
            x = torch.randn(shape, dtype=dtype)
            if draw == "positive":
                x = torch.rand(shape, dtype=dtype) + 0.5
            elif draw == "mask":
                x = (torch.rand(shape) < 0.5).to(dtype)
                x[(0,) * (x.ndim - 1)] = 0  # a row that sees nothing
            tensors.append(x)
        return tuple(tensors)

    def reference(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        weights = {name.removeprefix("inner."): w for name, w in stored(module).items()}
        options = {"batch": NUM_IMAGES} if self.op.needs_batch else {}
        result = self.op.reference(self.example.attributes, arguments, weights, **options)
        return as_tuple(result)


def stored(module: nn.Module) -> dict[str, Tensor]:
    """The state dict, not detached."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: own[name] for name in module.state_dict()}


def randomize(module: nn.Module) -> None:
    """Draw weights anew, and what is only stored so that it may be a variance."""
    for tensor in stored(module).values():
        if isinstance(tensor, nn.Parameter):
            nn.init.normal_(tensor)
        elif tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)


def as_tuple(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def check_shape(case: Case) -> None:
    """The emitted code has the shape that the rule says."""
    results = as_tuple(case.module().double()(NUM_IMAGES, *case.arguments(NUM_IMAGES)))
    ruled = [tuple(at_batch(size, NUM_IMAGES) for size in t.sizes) for t in case.results]
    assert [tuple(result.shape) for result in results] == ruled


def check_weights(case: Case) -> None:
    """The weights have the names and shapes of the state dict."""
    ruled = {w.name: w.shape for w in case.op.weights(case.example.attributes, case.types)}
    state = case.module().state_dict()
    assert {name.removeprefix("inner."): tuple(w.shape) for name, w in state.items()} == ruled
    weights = case.op.weights(case.example.attributes, case.types)
    count = sum(weight.elements for weight in weights if weight.trained)
    assert count == sum(parameter.numel() for parameter in case.module().parameters())


def check_macs(case: Case) -> None:
    """torch counts the multiply-adds of the products; `macs` counts all of them or none."""
    module = case.module().to("meta").requires_grad_(False)
    arguments = [x.to("meta") for x in case.arguments(NUM_IMAGES, torch.float32)]
    with FlopCounterMode(display=False) as counter:
        module(NUM_IMAGES, *arguments)
    products = case.op.products(case.example.attributes, case.types, case.results)
    assert counter.get_total_flops() == 2 * at_batch(products, NUM_IMAGES)
    assert case.op.macs(case.example.attributes, case.types, case.results) in (products, 0)


def check_reference(case: Case) -> None:
    """The emitted code computes what the reference computes, with the same weights in float64."""
    module, arguments = case.module().double(), case.arguments(NUM_IMAGES)
    randomize(module)
    results = as_tuple(module(NUM_IMAGES, *arguments))
    for result, expected in zip(results, case.reference(module, arguments), strict=True):
        torch.testing.assert_close(result, expected.double(), rtol=1e-12, atol=1e-12)


def check_gradient(case: Case) -> None:
    """Autograd agrees with finite differences; what has no gradient has none in the reference."""
    module, arguments = case.module().double(), case.arguments(NUM_IMAGES)
    weights = list(module.parameters())
    randomize(module)
    drawn = case.example.draws + ("normal",) * len(arguments)
    leaves = [x for x, draw in zip(arguments, drawn, strict=False) if draw != "mask"]
    for leaf in leaves:
        leaf.requires_grad_(True)
    results = as_tuple(module(NUM_IMAGES, *arguments))
    expected = case.reference(module, arguments)
    assert [y.requires_grad for y in results] == [y.requires_grad for y in expected]
    if any(y.requires_grad for y in results):
        fixed = arguments[len(leaves) :]
        assert torch.autograd.gradcheck(
            lambda *x: as_tuple(module(NUM_IMAGES, *x[: len(leaves)], *fixed)), (*leaves, *weights)
        )


def check_meta(case: Case) -> None:
    """It runs where there are no numbers, and stays there."""
    module = case.module()
    real = as_tuple(module(NUM_IMAGES, *case.arguments(NUM_IMAGES, torch.float32)))
    arguments = [x.to("meta") for x in case.arguments(NUM_IMAGES, torch.float32)]
    results = as_tuple(module.to("meta")(NUM_IMAGES, *arguments))
    assert [(y.device.type, y.shape) for y in results] == [("meta", y.shape) for y in real]


def check_batch(case: Case) -> None:
    """An image's result does not depend on the others of its batch, nor on how many there are."""
    module, arguments = case.module().double(), case.arguments(NUM_IMAGES)
    together = as_tuple(module(NUM_IMAGES, *arguments))
    for image in range(NUM_IMAGES):
        pairs = zip(arguments, case.types, strict=True)
        alone = as_tuple(module(1, *(of_image(x, type_, image) for x, type_ in pairs)))
        for y, expected, type_ in zip(alone, together, case.results, strict=True):
            expected = of_image(expected, type_, image)
            torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


def of_image(x: Tensor, type_: TensorType, image: int) -> Tensor:
    """The part of one image: of an axis of B, or of 4*B whose slow part is the batch."""
    for axis, size in enumerate(type_.sizes):
        if isinstance(size, Poly):
            times = int((size.exact_div(BATCH) or Poly.of(0)).constant or 0)
            return x.narrow(axis, image * times, times)
    return x


def check_start(case: Case) -> None:
    """Weights start as their initializers say, which is seen on many of them."""
    torch.manual_seed(0)
    weights = case.op.weights(case.example.attributes, case.types)
    drawn: dict[str, list[Tensor]] = {weight.name: [] for weight in weights}
    count = max((4000 // weight.elements for weight in weights), default=0)
    for _ in range(count + 1 if weights else 0):
        for name, tensor in stored(case.module()).items():
            drawn.get(name.removeprefix("inner."), []).append(tensor.detach().double())
    shapes = {weight.name: weight.shape for weight in weights}
    for weight in weights:
        numbers = torch.stack(drawn[weight.name])
        expect_start(numbers, weight.initializer, shapes["weight"])


def expect_start(numbers: Tensor, initializer: Initializer | None, shape: tuple[int, ...]) -> None:
    """Draws `[count, *shape]` look as the initializer says; `shape` is that of the weight."""
    fan_in, fan_out = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
    match initializer:
        case Initializer("zeros"):
            assert not numbers.any()
        case Initializer("constant", (value,)):
            assert (numbers == value).all()
        case Initializer("normal" | "trunc_normal", (std,)):
            expect_spread(numbers, std, kurtosis=3.0)
            assert numbers.abs().max() > 2 * std
        case Initializer("xavier"):
            expect_uniform(numbers, math.sqrt(6 / (fan_in + fan_out)))
        case Initializer("dirac"):
            expect_identity(numbers)
        case None:
            expect_uniform(numbers, 1 / math.sqrt(fan_in))
        case _:
            raise AssertionError(f"no test knows {initializer}")


def expect_uniform(numbers: Tensor, bound: float) -> None:
    assert numbers.abs().max() <= bound
    expect_spread(numbers, bound / math.sqrt(3), kurtosis=1.8)


def expect_spread(numbers: Tensor, std: float, kurtosis: float) -> None:
    """Mean 0 and deviation `std`, each within five of its own deviations."""
    count = numbers.numel()
    assert abs(numbers.mean()) < 5 * std / math.sqrt(count)
    assert abs(numbers.std() / std - 1) < 5 * math.sqrt((kurtosis - 1) / (4 * count))


def expect_identity(numbers: Tensor) -> None:
    """Depth-wise: 1 in the middle of every kernel, 0 elsewhere."""
    rows, columns = numbers.shape[-2:]
    middle = numbers[..., rows // 2, columns // 2]
    assert (middle == 1).all()
    assert numbers.sum() == middle.numel()


def check_identity(case: Case) -> None:
    """What claims to change nothing changes nothing, in evaluation as in training."""
    if case.op.identity(case.example.attributes, case.types):
        arguments = case.arguments(NUM_IMAGES)
        (result,) = as_tuple(case.module().train().double()(NUM_IMAGES, *arguments))
        assert torch.equal(result, arguments[0])


# What torch on a CPU does otherwise than where models are trained: by operator and note.
NOT_SAVED_SO = {
    ("dropout", ""): "keeps its mask as floats",
    ("attend", "other values"): "has no fused kernel for it, and keeps the scores",
    ("attend", "a mask"): "keeps the mask in another form",
    ("attend", "a mask of windows"): "the same",
    ("attend", "a bias"): "keeps the scores when something is added to them",
    ("attend", "a bias of windows"): "the same",
    ("attend", "a mask and a bias"): "the same",
    ("rmsnorm", ""): "has no fused kernel for it, and keeps the steps between",
    ("rmsnorm", "a large eps"): "the same",
}


def check_saved(case: Case) -> None:
    """Autograd keeps the arguments, results and further numbers that the rule says.

    It may keep a copy of an argument in its stead.
    """
    if (case.op.name, case.example.note) in NOT_SAVED_SO:
        return
    module = case.module().train()
    arguments = case.arguments(NUM_IMAGES, torch.float32)
    for x in arguments:
        x.requires_grad_(True)
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with saved_tensors_hooks(note, lambda x: x):
        results = as_tuple(module(NUM_IMAGES, *arguments))
    for parameter in stored(module).values():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    ruled = case.op.saved(case.example.attributes, case.types)
    rest = at_batch(ruled.elements, NUM_IMAGES)
    for tensors, indices in ((arguments, ruled.arguments), (results, ruled.results)):
        found = {i for i, x in enumerate(tensors) if kept.pop(x.untyped_storage().data_ptr(), 0)}
        assert found <= set(indices)
        rest += sum(tensors[index].numel() for index in set(indices) - found)
    assert sum(kept.values()) == 4 * rest


CHECKS = {
    "shape": check_shape,
    "weights": check_weights,
    "macs": check_macs,
    "reference": check_reference,
    "gradient": check_gradient,
    "meta": check_meta,
    "batch": check_batch,
    "start": check_start,
    "identity": check_identity,
    "saved": check_saved,
}
