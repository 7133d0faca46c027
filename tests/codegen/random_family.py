"""What the parts of one random spec share: its sizes, its blocks, and what it imports."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.codegen.random_sizes import Shape

PLAIN = 9
MIXERS = (
    ("attention", "Attention", "{heads}"),
    ("attention", "Attention", "{heads}, merged = true"),
    ("linear_attention", "LinearAttention", "{heads}"),
    ("linear_attention", "LinearAttention", "{heads}, phi = relu"),
    ("channels", "ChannelAttention", "{heads}"),
    ("nn", "Mlp", "2"),
    ("feature_maps", "EfficientAttention", "{heads}"),
    ("grouped_query", "GroupedQueryAttention", "4, 2"),
    ("performer", "Performer", "{heads}, features = 6"),
    ("ripple", "RippleAttention", "{heads}, stages = 1, {grid}"),
    ("ripple", "RippleAttention", '{heads}, stages = 1, query = "full", {grid}'),
    ("hydra", "HydraAttention", "{heads}, branches = 2, rank = 4"),
    ("windows", "WindowAttention", "{heads}, 3, {grid}"),
    ("neighbours", "NeighbourAttention", "{heads}, [1, 2], {grid}"),
    ("linformer", "Linformer", "{heads}, k = 4"),
    ("nystromformer", "Nystromformer", "{heads}, 3, conv = {odd}, {grid}"),
    ("hybrid", "Hybrid", "{heads}, window = 2, {grid}"),
    ("flatten", "FocusedAttention", "{heads}, {grid}"),
    ("agent", "AgentAttention", "{heads}, agents = [2, 2], {grid}"),
    ("nn", "ConvMlp", "2, {grid}"),
)
"""Mechanisms for tokens `[B, n, d]`; the first `PLAIN` of them fit any n."""


@dataclass(frozen=True, slots=True)
class Made:
    """A block of the file; it fits `[B, n, d]` wherever n and d are multiples of the family's."""

    name: str
    inputs: int
    outputs: tuple[Shape, ...]
    statics: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """What a file shares: the sizes of its tokens, and the blocks written so far."""

    chance: random.Random
    grid: tuple[int, int]
    d: int
    imports: set[tuple[str, str]] = field(default_factory=set)
    blocks: list[Made] = field(default_factory=list)
    randomly: bool = False
    plain: bool = False
    """Without all of which autograd does not keep what the rules say: axes that are moved before a
    product, which torch copies, and factors that are not trained."""

    @property
    def n(self) -> int:
        return self.grid[0] * self.grid[1]

    def holds(self, shape: Shape) -> bool:
        """Whether blocks of the family apply to a tensor of this shape."""
        if len(shape) != 3 or str(shape[0]) != "B" or any(size.is_batch for size in shape[1:]):
            return False
        return shape[1].value % self.n == 0 and shape[2].value % self.d == 0
