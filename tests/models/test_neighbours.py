"""`std.neighbours` against a loop over queries and offsets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from linvit_dsl.errors import SpecError
from tests.models.conftest import Build
from tests.models.references.attention import masked_attention, neighbour_attention
from tests.models.references.compare import drawn, expect_equal


def neighbour_attend(
    grid: tuple[int, int], rate: int, *, kernel: int = 3, border: str = "zeros", heads: int = 2
) -> str:
    """A model of nothing but `NeighbourAttend`, with 3 channels a head."""
    shape = f"[B, {heads}, {grid[0] * grid[1]}, 3]"
    return f"""from std.neighbours import NeighbourAttend
model M(q: {shape}, k: {shape}, v: {shape}) -> {shape} {{
  return NeighbourAttend[[{grid[0]}, {grid[1]}], {kernel}, {rate}, border = "{border}"](q, k, v)
}}
"""


def tensors(n: int, heads: int = 2) -> list[Tensor]:
    return [drawn(2, heads, n, 3, seed=seed) for seed in range(3)]


@pytest.mark.parametrize("border", ["zeros", "mask"])
@pytest.mark.parametrize("rate", [1, 2, 3])
@pytest.mark.parametrize("grid", [(5, 7), (8, 8), (2, 9)])
def test_neighbours_are_a_loop_over_offsets(
    grid: tuple[int, int], rate: int, border: str, build: Build
) -> None:
    module = build(neighbour_attend(grid, rate, border=border))

    def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return neighbour_attention(q, k, v, grid, rate=rate, border=border)

    expect_equal(module, reference, *tensors(grid[0] * grid[1]))


def test_a_larger_neighbourhood(build: Build) -> None:
    module = build(neighbour_attend((6, 5), 2, kernel=5))
    expect_equal(
        module,
        lambda q, k, v: neighbour_attention(q, k, v, (6, 5), rate=2, kernel=5),
        *tensors(30),
    )


def test_a_masked_border_is_full_attention_to_the_places_near(build: Build) -> None:
    rows, columns, rate = 5, 7, 2
    place = torch.arange(rows * columns)
    down = (place // columns)[:, None] - (place // columns)
    right = (place % columns)[:, None] - (place % columns)
    steps = torch.tensor([-rate, 0, rate])
    pairs = torch.isin(down, steps) & torch.isin(right, steps)
    module = build(neighbour_attend((rows, columns), rate, border="mask"))
    expect_equal(
        module, lambda q, k, v: masked_attention(q, k, v, pairs, 3**-0.5), *tensors(rows * columns)
    )


@pytest.mark.parametrize("wrong", [{"rate": 1}, {"border": "mask"}, {"kernel": 5}])
def test_another_rate_border_or_kernel_is_noticed(wrong: dict[str, Any], build: Build) -> None:
    """The control: the zeros of the border take part in the softmax, and so on."""
    module = build(neighbour_attend((5, 7), 2))

    def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        settings: dict[str, Any] = {"rate": 2, **wrong}
        return neighbour_attention(q, k, v, (5, 7), **settings)

    with pytest.raises(AssertionError):
        expect_equal(module, reference, *tensors(35))


def multi_scale(heads: int) -> str:
    shape = f"[B, {heads}, 20, 3]"
    return f"""from std.neighbours import MultiScaleAttend
model M(q: {shape}, k: {shape}, v: {shape}) -> {shape} {{
  return MultiScaleAttend[[4, 5], [1, 2, 3]](q, k, v)
}}
"""


@pytest.mark.parametrize("heads", [1, 3, 4, 7])
def test_heads_take_the_rates_in_turn(heads: int, build: Build) -> None:
    def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        answers: list[Tensor] = []
        for j, rate in zip(range(heads), [1, 2, 3, 1, 2, 3, 1], strict=False):
            head_q, head_k, head_v = (x[:, j : j + 1] for x in (q, k, v))
            answers.append(neighbour_attention(head_q, head_k, head_v, (4, 5), rate=rate))
        return torch.cat(answers, dim=1)

    expect_equal(build(multi_scale(heads)), reference, *tensors(20, heads))


def test_an_unknown_border_and_prefix_tokens_are_refused(build: Build) -> None:
    with pytest.raises(SpecError, match="border is zeros or mask, not reflect"):
        build(neighbour_attend((5, 7), 1, border="reflect"))
    with pytest.raises(SpecError, match="set cls = false"):
        build("""from std.vit import ViT
from std.neighbours import NeighbourAttention
model M = ViT[mixer = NeighbourAttention[6], depth = 1]
""")
