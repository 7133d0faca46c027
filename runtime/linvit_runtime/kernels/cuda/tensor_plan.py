"""How the tensor-core kernels are cut: constants of a kernel, and the launches that a call needs.

`choose_tensor_plan` says whether there are kernels for a call and how its tokens are divided among
CTAs. `tensor_forward.forward_launches(plan)` gives the launches, in order. Who launches them finds
each argument by its name:

==================================  ============================================================
name                                what it is
==================================  ============================================================
q, k, v                             addresses; multiples of 16 bytes, of the plan's dtype
out                                 `[B, N, H*E]`, contiguous, of that dtype
S, z                                float32 `[B, H, F, E]`, `[B, H, F]`, contiguous: results where
                                    the plan saves them, else workspaces where it needs them
S_parts, z_parts                    float32 workspaces `[B*H, key_parts, F, E]`, `[.., F]`
num_queries, num_keys, num_heads    N, L, H
q_batch, q_token, q_head            strides of q in elements, multiples of 8; likewise of k and v;
                                    channels are adjacent
key_parts, key_part_tokens          of the plan
query_part_tokens                   of the plan
scale, scaled_eps                   c and c eps
==================================  ============================================================

`plan.workspaces()` gives the shapes of all float32 buffers beside the results; none needs clearing.

Legend: D head width of q and k, E of v, F features per head; N queries, L keys, H heads, B batch;
CTA a block of threads; tile 64 tokens in shared memory; chunk 16 bytes, 8 channels of a token.
"""

from dataclasses import dataclass

from linvit_runtime.kernels.cuda.kernel import HalfType
from linvit_runtime.kernels.support import FEATURES_PER_CHANNEL

TENSOR_FEATURE_MAPS = ("split_relu", "relu", "elu_plus_one", "softmax", "identity")
"""The feature maps that the tensor-core kernels have."""

TENSOR_HEAD_DIMS = (16, 32, 48, 64, 96, 128)
"""The head widths, of q, k and v alike."""

ALIGNED_ELEMENTS = 8
"""Addresses and strides of q, k and v are multiples of so many elements: 16 bytes."""

TILE_TOKENS = 64
"""Tokens in shared memory at a time, a multiple of the 16 that one `mma` takes."""

ENOUGH_CTAS = 264
"""CTAs that fill a large device: two on each of 132 multiprocessors."""

SHORT = 512
"""Up to so many tokens a head is not split: further launches would cost more than they save."""

MIN_PART_TOKENS = 256
"""Tokens of a part at least: it has to pay for writing or reading S."""

_MAX_FACTORS, _MAX_FACTORS_ALONE = 72, 128
"""Words of S that a lane may hold as factors: of 168 registers, or of 255 where a CTA of 8 warps
has a multiprocessor to itself."""


@dataclass(frozen=True, slots=True)
class HeadConstants:
    """The compile-time constants that all kernels of a head share.

    Attributes:
        feature_map: The name of the feature map.
        half_type: The dtype of q, k, v and the output.
        head_dim: D, and E.
    """

    feature_map: str
    half_type: HalfType
    head_dim: int

    @property
    def features_per_channel(self) -> int:
        """F / D."""
        return FEATURES_PER_CHANNEL[self.feature_map]

    @property
    def num_features(self) -> int:
        """F."""
        return self.features_per_channel * self.head_dim

    @property
    def zero_has_features(self) -> bool:
        """Whether phi(0) is not 0: then rows that only pad a tile must not count in z."""
        return self.feature_map in ("elu_plus_one", "softmax")

    # For S and its gradient, a warp owns 16 channels of k or q with all their features, and all
    # columns of v or of the output's gradient.

    @property
    def num_warps(self) -> int:
        """Warps per CTA."""
        return self.head_dim // 16

    @property
    def num_threads(self) -> int:
        """Threads per CTA."""
        return 32 * self.num_warps

    @property
    def num_sums(self) -> int:
        """Sums of S or its gradient per lane."""
        return self.features_per_channel * self.head_dim // 2

    @property
    def row_bytes(self) -> int:
        """Bytes of a token in a tile, and of a row of S."""
        return 2 * self.head_dim

    @property
    def tile_bytes(self) -> int:
        """Bytes of a tile."""
        return TILE_TOKENS * self.row_bytes

    # Chunk c of row r lies in place c ^ swizzle(r), so that the same chunk of 8 rows, which is what
    # ldmatrix reads at once, is in 8 different groups of 4 banks.

    @property
    def swizzle_mask(self) -> int:
        """Bits of the chunk that change: those below the largest power of two in D / 8."""
        chunks = self.head_dim // 8
        return min(chunks & -chunks, 8) - 1

    @property
    def swizzle_shift(self) -> int:
        """The row's bits that do it start here: nearer rows are in other banks anyway."""
        return (8 // (self.swizzle_mask + 1)).bit_length() - 1


@dataclass(frozen=True, slots=True)
class TensorConstants(HeadConstants):
    """The compile-time constants of the forward kernels; equal ones give the same machine code.

    Attributes:
        save_state: Whether the kernel for whole heads writes S and z.
    """

    save_state: bool

    # In the read-out, a warp owns a group of output columns, and takes turns with others in 16
    # tokens.

    @property
    def column_groups(self) -> int:
        """Groups of output columns in the read-out: as few as registers allow."""
        words = self.num_features // 8 * (self.head_dim // 8)
        limit = _MAX_FACTORS if self.num_warps < 8 else _MAX_FACTORS_ALONE
        for groups in range(1, self.num_warps + 1):
            fits = words <= groups * limit
            if fits and self.num_warps % groups == 0 and self.head_dim // 8 % (2 * groups) == 0:
                return groups
        raise AssertionError(f"no read-out fits a head width of {self.head_dim}")

    @property
    def block_tiles(self) -> int:
        """Tiles of 8 output columns whose columns are permuted among each other."""
        return 4 if self.head_dim // 8 // self.column_groups % 4 == 0 else 2

    @property
    def min_blocks(self) -> int:
        """CTAs per multiprocessor that registers allow: with 168 each, 12 warps."""
        return max(1, 12 // self.num_warps)

    # Shared memory. Two stages of a tile of k and one of v; then S in half precision at the start
    # and two tiles of q behind it; z at the end.

    @property
    def query_start(self) -> int:
        """Where the tiles of q start."""
        return max(2 * self.tile_bytes, self.num_features * self.row_bytes)

    @property
    def z_start(self) -> int:
        """Where z starts."""
        return self.query_start + 2 * self.tile_bytes

    @property
    def largest_start(self) -> int:
        """Where the largest number that each warp has seen starts."""
        return self.z_start + 4 * self.num_features

    @property
    def shared_bytes(self) -> int:
        """Bytes of dynamic shared memory."""
        return self.largest_start + 4 * self.num_warps


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """How one call runs.

    Attributes:
        constants: What its kernels are compiled for.
        batch_heads: B H.
        num_queries: N.
        num_keys: L.
        key_parts: Parts of the keys of a head; their S and z are summed by a launch of its own.
        query_parts: Parts of the queries of a head. Both are 1 where one kernel does it all.
        key_part_tokens: Keys of a part, a multiple of a tile.
        query_part_tokens: Queries of a part, a multiple of a tile.
    """

    constants: TensorConstants
    batch_heads: int
    num_queries: int
    num_keys: int
    key_parts: int
    query_parts: int
    key_part_tokens: int
    query_part_tokens: int

    @property
    def is_split(self) -> bool:
        """Whether a head is the work of several CTAs."""
        return self.key_parts > 1 or self.query_parts > 1

    def workspaces(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the float32 buffers that the launches need beside the results, by name."""
        if not self.is_split:
            return {}
        features, width = self.constants.num_features, self.constants.head_dim
        state = {"S": (self.batch_heads, features, width), "z": (self.batch_heads, features)}
        parts = {
            f"{name}_parts": (shape[0], self.key_parts, *shape[1:]) for name, shape in state.items()
        }
        return parts if self.constants.save_state else parts | state


def choose_tensor_plan(
    feature_map: str,
    dtype: str,
    head_dim: int,
    value_dim: int,
    batch_heads: int,
    num_queries: int,
    num_keys: int,
    save_state: bool,
    split: int = 0,
) -> TensorPlan | None:
    """Return how tensor cores run such a forward pass, or None where they cannot.

    Args:
        feature_map: The name of the feature map.
        dtype: Of q, k and v: `bfloat16` or `float16`.
        head_dim: D.
        value_dim: E, which must be D.
        batch_heads: B H.
        num_queries: N.
        num_keys: L.
        save_state: Whether S and z are wanted.
        split: Parts of a head; 0 lets few heads of many tokens be split.
    """
    half_type = tensor_half_type(feature_map, dtype, head_dim, value_dim)
    if half_type is None:
        return None
    constants = TensorConstants(feature_map, half_type, head_dim, save_state)
    query_tokens, key_tokens = split_tokens(batch_heads, num_queries, num_keys, split)
    return TensorPlan(
        constants,
        batch_heads,
        num_queries,
        num_keys,
        key_parts=max(1, -(-num_keys // key_tokens)),
        query_parts=max(1, -(-num_queries // query_tokens)),
        key_part_tokens=key_tokens,
        query_part_tokens=query_tokens,
    )


def tensor_half_type(
    feature_map: str, dtype: str, head_dim: int, value_dim: int
) -> HalfType | None:
    """Return the element type of the kernels for tensor cores, None where there are none."""
    if dtype not in ("bfloat16", "float16") or feature_map not in TENSOR_FEATURE_MAPS:
        return None
    return dtype if head_dim == value_dim and head_dim in TENSOR_HEAD_DIMS else None


def split_tokens(
    batch_heads: int, num_queries: int, num_keys: int, split: int = 0
) -> tuple[int, int]:
    """Return how many queries, and how many keys, are the work of one CTA.

    Args:
        batch_heads: B H.
        num_queries: N.
        num_keys: L.
        split: Parts of a head; 0 lets few heads of many tokens be split.
    """
    few = batch_heads < ENOUGH_CTAS and max(num_queries, num_keys) > SHORT
    parts = split or (-(-ENOUGH_CTAS // max(batch_heads, 1)) if few else 1)
    least = TILE_TOKENS if split else MIN_PART_TOKENS
    return _part_tokens(num_queries, parts, least), _part_tokens(num_keys, parts, least)


def _part_tokens(tokens: int, parts: int, least: int) -> int:
    """Tokens of a part where there should be `parts` of them: whole tiles, and not too few."""
    wanted = max(-(-tokens // parts), least)
    return -(-wanted // TILE_TOKENS) * TILE_TOKENS
