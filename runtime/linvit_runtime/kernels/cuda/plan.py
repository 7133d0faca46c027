"""How a SIMT kernel is cut into tiles: its sizes, threads and shared memory."""

from dataclasses import dataclass

from linvit_runtime.kernels.support import feature_width

SIMT_FEATURE_MAPS = ("split_relu", "relu", "elu_plus_one")
"""The feature maps that the SIMT kernels have."""

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
        return feature_width(self.feature_map, self.head_dim)

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
    def rows_per_thread(self) -> int:
        """Rows of S per thread."""
        return self.feature_rows // self.thread_rows

    @property
    def columns_per_thread(self) -> int:
        """Columns of S and of the output per thread."""
        return self.block_columns // self.thread_columns

    @property
    def tokens_per_thread(self) -> int:
        """Queries of a tile per thread."""
        return self.tile_tokens // self.thread_rows

    # Shared memory holds z, then a tile of features, then a tile of v that S replaces once it is
    # complete.

    @property
    def tile_start(self) -> int:
        """Where in shared memory the feature tile starts, in floats."""
        return self.feature_rows

    @property
    def matrix_start(self) -> int:
        """Where in shared memory the tile of v, later S, starts, in floats."""
        return self.tile_start + self.tile_tokens * self.tile_stride

    @property
    def shared_floats(self) -> int:
        """Floats of shared memory in all."""
        return self.matrix_start + self.block_columns * max(self.tile_tokens, self.feature_rows)

    @property
    def fits(self) -> bool:
        """Whether shared memory and registers suffice."""
        accumulators = self.rows_per_thread * self.columns_per_thread
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
