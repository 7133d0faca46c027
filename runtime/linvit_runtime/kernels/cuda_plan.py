"""How a SIMT kernel is cut into tiles: sizes, threads and shared memory, chosen before compiling."""

from dataclasses import dataclass

from linvit_runtime.kernels.feature_maps import feature_map_named

SHARED_MEMORY_LIMIT = 48 * 1024
"""Bytes of static shared memory per CTA: what every CUDA device has and numba-cuda can use."""

MAX_ACCUMULATORS = 64
"""Elements of S that a thread may hold in registers, of the 255 registers it has."""

_ROWS, _COLUMNS = 16, 16


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


@dataclass(frozen=True, slots=True)
class SimtPlan:
    """The compile-time constants of one kernel; equal plans give the same machine code.

    The threads form a grid of `thread_rows` x `thread_columns`. Feature rows and output columns
    are padded to multiples of it with zeros.

    Attributes:
        feature_map: The name of the feature map.
        head_dim: D.
        value_dim: E.
        block_columns: Columns of v and of the output per CTA, a multiple of `thread_columns`.
        tile_tokens: Tokens in shared memory at a time, a multiple of `thread_rows`.
        save_state: Whether S and z are written out for the backward pass.
    """

    feature_map: str
    head_dim: int
    value_dim: int
    block_columns: int
    tile_tokens: int
    save_state: bool
    thread_rows: int = _ROWS
    thread_columns: int = _COLUMNS

    @property
    def num_features(self) -> int:
        """F."""
        return feature_map_named(self.feature_map).width(self.head_dim)

    @property
    def feature_rows(self) -> int:
        """F, padded to whole rows of threads."""
        return _round_up(self.num_features, self.thread_rows)

    @property
    def tile_stride(self) -> int:
        """Floats from one token's features to the next: 4 more keep the rows in separate banks."""
        return self.feature_rows + 4

    @property
    def num_threads(self) -> int:
        """Threads per CTA."""
        return self.thread_rows * self.thread_columns

    @property
    def num_column_blocks(self) -> int:
        """CTAs per head."""
        return -(-self.value_dim // self.block_columns)

    @property
    def shared_floats(self) -> int:
        """Floats of shared memory: z, a tile of features, and a tile of v that S later replaces."""
        tile = self.tile_tokens * self.tile_stride
        return self.feature_rows + tile + self.block_columns * max(
            self.tile_tokens, self.feature_rows
        )

    @property
    def fits(self) -> bool:
        """Whether shared memory and registers suffice."""
        accumulators = self.feature_rows * self.block_columns // self.num_threads
        return 4 * self.shared_floats <= SHARED_MEMORY_LIMIT and accumulators <= MAX_ACCUMULATORS


def choose_plan(
    feature_map: str, head_dim: int, value_dim: int, save_state: bool
) -> SimtPlan | None:
    """Return the plan with the widest column block, then the longest tile, that fits; or None.

    A wider block reads q and k fewer times; a longer tile gives each thread more tokens per read
    of S. Up to a head width of 64 there is one block, so everything is read once.
    """
    widest = _round_up(value_dim, _COLUMNS)
    for block_columns in range(widest, 0, -_COLUMNS):
        for tile_tokens in (64, 32, 16):
            plan = SimtPlan(
                feature_map, head_dim, value_dim, block_columns, tile_tokens, save_state
            )
            if plan.fits:
                return plan
    return None
