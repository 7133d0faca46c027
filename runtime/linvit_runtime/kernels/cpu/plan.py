"""The sizes of a CPU kernel: what is a constant of the compiled code, chosen for one machine.

Takes: a feature map, head widths, a dtype. Gives: a `CpuPlan`. Non-goals: compiling, which is
`launch.py`, and Numba, which is not imported here.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, cast

import torch

from linvit_runtime.kernels.support import cpu_obstacle, feature_width

CpuFeatureMap = Literal["split_relu", "relu", "elu_plus_one", "softmax", "identity"]
CPU_FEATURE_MAPS: tuple[CpuFeatureMap, ...] = (
    "split_relu",
    "relu",
    "elu_plus_one",
    "softmax",
    "identity",
)
"""The maps that the CPU kernels have, in the order of the numbers that the kernels give them."""

CPU_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""The element types that the CPU kernels read and write; they compute in float32."""

BLOCK = 64
"""Tokens that are staged at a time; as many as an int64 has bits, which stand for them."""

AHEAD = 8
"""How many tokens ahead rows are fetched into the cache."""

TOKEN_ROWS = 4
"""Tokens whose products share one pass over the state; divides `BLOCK`."""


@dataclass(frozen=True, slots=True)
class CpuPlan:
    """The constants of a compiled kernel.

    Widths are those of padded rows: one kernel serves all heads of up to 16 channels, of 17 to 32,
    and so on. As numbers instead of constants they would make narrow heads twice as slow.

    Attributes:
        feature_map: Which phi.
        dtype: Of q, k, v and the output.
        lanes: Float32 numbers per vector register.
        head_width: D, up to whole vectors.
        value_width: E, up to whole vectors.
        whole_heads: Whether D is `head_width`: nothing is padded.
        whole_values: Whether E is `value_width`.
    """

    feature_map: CpuFeatureMap
    dtype: torch.dtype
    lanes: int
    head_width: int
    value_width: int
    whole_heads: bool
    whole_values: bool

    @property
    def feature_width(self) -> int:
        """F, the features per head."""
        return feature_width(self.feature_map, self.head_width)

    @property
    def value_panel(self) -> int:
        """Vectors of a row of S (and of the output) that are worked on at a time."""
        return self._panel(self.value_width)

    @property
    def feature_panel(self) -> int:
        """Vectors of a row of the transposed S that are worked on at a time."""
        return self._panel(self.feature_width)

    @property
    def signed(self) -> bool:
        """Whether x < 0 has features of its own: two for every channel."""
        return self.feature_map == "split_relu"

    @property
    def map_number(self) -> int:
        """The feature map as the kernels know it."""
        return CPU_FEATURE_MAPS.index(self.feature_map)

    @property
    def dtype_number(self) -> int:
        """The element type as the kernels know it."""
        return CPU_DTYPES.index(self.dtype)

    @property
    def feature_rows(self) -> int:
        """Rows of S that one pass over a block of tokens accumulates in registers."""
        return 4 if self.value_panel > 2 or self.lanes < 16 else 8

    @property
    def unroll(self) -> int:
        """Partial sums of the read-out: one multiply-add takes four cycles, two start in each."""
        return 4 if self.lanes < 16 else {1: 8, 2: 4, 3: 4, 4: 2}[self.value_panel]

    @property
    def sign_panel(self) -> int:
        """Vectors of a row of S that are summed over the tokens of one sign at a time, or 0.

        That halves the products of split-relu, but only one row is summed at once: fewer numbers
        than 64 would wait for one another.
        """
        wide = self.signed and self.lanes > 4 and self.value_width % 64 == 0
        return 64 // self.lanes if wide else 0

    @property
    def product_tile(self) -> tuple[int, int]:
        """Tokens and vectors of a tile of S dout.

        Where products choose one of two features by sign, AVX-512 keeps the choices in its mask
        registers, of which seven can choose.
        """
        if not self.signed:
            return TOKEN_ROWS, self.feature_panel
        if self.lanes >= 16:
            return 6, 1
        return 4, 2 if self.head_width // self.lanes % 2 == 0 else 1

    @property
    def product_width(self) -> int:
        """Numbers of a row of S dout: those of split-relu that a token's signs choose, or all."""
        return self.head_width if self.signed else self.feature_width

    @property
    def cache_line(self) -> int:
        """Elements of q in 64 bytes."""
        return 64 // self.dtype.itemsize

    @property
    def state_line(self) -> int:
        """Elements of S in 64 bytes."""
        return 16

    @property
    def forward_scratch(self) -> int:
        """Numbers that one thread of the forward kernel works in."""
        state = self.feature_width * (self.value_width + 1)
        columns = self.head_width if self.sign_panel else 0
        return state + BLOCK * (self.feature_width + self.value_width + columns + 1)

    @property
    def backward_scratch(self) -> int:
        """Numbers that one thread of the backward kernel works in."""
        state = self.feature_width * (self.value_width + 1)
        columns = BLOCK * self.head_width if self.sign_panel else self.head_width
        tokens = self.feature_width + self.value_width + self.product_width + 1
        return 2 * state + BLOCK * tokens + columns

    def _panel(self, width: int) -> int:
        # 32 registers with AVX-512, 16 otherwise: half of them hold sums.
        most = 4 if self.lanes >= 16 else 2
        return max(panel for panel in range(1, most + 1) if width // self.lanes % panel == 0)


@functools.cache
def vector_lanes() -> int:
    """Float32 numbers per vector register of this machine: 16 (AVX-512), 8 (AVX2) or 4."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx2") and features.get("fma") else 4


@functools.cache
def choose_cpu_plan(
    feature_map: str, dtype: torch.dtype, head_dim: int, value_dim: int, lanes: int | None = None
) -> CpuPlan | None:
    """The plan for these inputs, on this machine's vectors or others; None where only torch can."""
    lanes = vector_lanes() if lanes is None else lanes
    widths = _whole(head_dim, lanes), _whole(value_dim, lanes)
    whole = widths[0] == head_dim, widths[1] == value_dim
    if cpu_obstacle(feature_map, str(dtype).removeprefix("torch."), head_dim, value_dim):
        return None
    return CpuPlan(cast("CpuFeatureMap", feature_map), dtype, lanes, *widths, *whole)


def _whole(width: int, lanes: int) -> int:
    return -(-width // lanes) * lanes
