"""How the tensor-core kernels of the backward pass are cut: constants, and the launches of a call.

`choose_tensor_backward_plan` says whether there are kernels for a call and how its tokens are
divided among CTAs. `tensor_backward.backward_launches(plan)` gives the launches, in order. The
names of their arguments are those of `tensor_plan.py`, and for all of q, k, v and the gradients:

==================================  ============================================================
name                                what it is
==================================  ============================================================
grad_out                            dL/dout `[B, N, H, E]`, strided, read like q
grad_q, grad_k, grad_v              results, strided like q, k and v
grad_S, grad_z                      float32 workspaces `[B*H, F, E]`, `[B*H, F]`: c dL/dS, c dL/dz
grad_S_parts, grad_z_parts          float32 workspaces `[B*H, query_parts, F, E]`, `[.., F]`
query_parts                         of the plan
==================================  ============================================================

Legend: D head width of q and k, E of v, F features per head; N queries, L keys, H heads, B batch;
CTA a block of threads; tile 64 tokens in shared memory; chunk 16 bytes, 8 channels of a token.
"""

from dataclasses import dataclass

from linvit_runtime.kernels.cuda.tensor_plan import (
    TILE_TOKENS,
    HeadConstants,
    split_tokens,
    tensor_half_type,
)


@dataclass(frozen=True, slots=True)
class GradientConstants(HeadConstants):
    """The compile-time constants of the backward kernels; equal ones give the same machine code."""

    # For the gradients of tokens, a warp owns 16 tokens and a group of their channels.

    @property
    def group_channels(self) -> int:
        """Channels of a group: 32 of a wide head, which leaves registers for more warps."""
        return 32 if self.head_dim % 32 == 0 else self.head_dim

    @property
    def channel_groups(self) -> int:
        """Groups of channels; if there are several, warps exchange their sums over channels."""
        return self.head_dim // self.group_channels

    @property
    def token_groups(self) -> int:
        """Groups of 16 tokens that are worked on at once."""
        return self.num_warps // self.channel_groups

    @property
    def block_tiles(self) -> int:
        """Tiles of 8 channels that are permuted among each other; see `tensor_gradients.py`."""
        return 4 if self.head_dim % 32 == 0 else 2

    @property
    def min_blocks(self) -> int:
        """CTAs per multiprocessor that registers allow: 12 warps with 168 each, or one CTA."""
        return 12 // self.num_warps if self.num_warps <= 4 else 1

    # Shared memory: S, later its gradient, in half precision; two stages of two tiles; z, later its
    # gradient; and what is known of each token of a tile.

    @property
    def tiles_start(self) -> int:
        """Where the tiles start."""
        return self.num_features * self.row_bytes

    @property
    def z_start(self) -> int:
        """Where z starts."""
        return self.tiles_start + 4 * self.tile_bytes

    @property
    def weights_start(self) -> int:
        """Where the weights of phi(q) in the gradient of S start, one per token."""
        return self.z_start + 4 * self.num_features

    @property
    def slopes_start(self) -> int:
        """Where out . dL/dout starts, one per token."""
        return self.weights_start + 4 * TILE_TOKENS

    @property
    def largest_start(self) -> int:
        """Where the largest number that each warp has seen starts."""
        return self.slopes_start + 4 * TILE_TOKENS

    @property
    def dots_start(self) -> int:
        """Where the sums over channels start that groups exchange: two per token and group."""
        return self.largest_start + 4 * self.num_warps

    @property
    def shared_bytes(self) -> int:
        """Bytes of dynamic shared memory."""
        exchanged = 8 * TILE_TOKENS * self.channel_groups if self.channel_groups > 1 else 0
        return self.dots_start + exchanged


@dataclass(frozen=True, slots=True)
class TensorBackwardPlan:
    """How one call runs.

    Attributes:
        constants: What its kernels are compiled for.
        batch_heads: B H.
        query_parts: Parts of the queries of a head; what they add to the gradients of S and z is
            summed by a launch of its own.
        key_parts: Parts of the keys of a head. Both are 1 where one kernel does it all.
        query_part_tokens: Queries of a part, a multiple of a tile.
        key_part_tokens: Keys of a part, a multiple of a tile.
    """

    constants: GradientConstants
    batch_heads: int
    query_parts: int
    key_parts: int
    query_part_tokens: int
    key_part_tokens: int

    @property
    def is_split(self) -> bool:
        """Whether a head is the work of several CTAs."""
        return self.key_parts > 1 or self.query_parts > 1

    def workspaces(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the float32 buffers that the launches need beside the results, by name."""
        if not self.is_split:
            return {}
        heads, features, width = (
            self.batch_heads,
            self.constants.num_features,
            self.constants.head_dim,
        )
        return {
            "grad_S_parts": (heads, self.query_parts, features, width),
            "grad_z_parts": (heads, self.query_parts, features),
            "grad_S": (heads, features, width),
            "grad_z": (heads, features),
        }


def choose_tensor_backward_plan(
    feature_map: str,
    dtype: str,
    head_dim: int,
    value_dim: int,
    batch_heads: int,
    num_queries: int,
    num_keys: int,
    split: int = 0,
) -> TensorBackwardPlan | None:
    """Return how tensor cores run such a backward pass, or None where they cannot.

    Args:
        feature_map: The name of the feature map.
        dtype: Of q, k and v: `bfloat16` or `float16`.
        head_dim: D.
        value_dim: E, which must be D.
        batch_heads: B H.
        num_queries: N.
        num_keys: L.
        split: Parts of a head; 0 lets few heads of many tokens be split.
    """
    half_type = tensor_half_type(feature_map, dtype, head_dim, value_dim)
    if half_type is None:
        return None
    query_tokens, key_tokens = split_tokens(batch_heads, num_queries, num_keys, split)
    return TensorBackwardPlan(
        GradientConstants(feature_map, half_type, head_dim),
        batch_heads,
        query_parts=max(1, -(-num_queries // query_tokens)),
        key_parts=max(1, -(-num_keys // key_tokens)),
        query_part_tokens=query_tokens,
        key_part_tokens=key_tokens,
    )
