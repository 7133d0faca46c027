"""How a SIMT kernel is cut into tiles: its sizes, threads and shared memory."""

from dataclasses import dataclass

from linvit_runtime.kernels.support import feature_width

SIMT_FEATURE_MAPS = ("split_relu", "relu", "elu_plus_one", "softmax", "identity")
"""The feature maps that the SIMT kernels have."""

SHARED_MEMORY_LIMIT = 48 * 1024
"""Bytes of static shared memory per CTA: what every CUDA device has and numba-cuda can use."""

MAX_ACCUMULATORS = 64
"""Elements of S that a thread may hold in registers, of the 255 registers it has."""

ROW_PADDING = 4
"""Floats after a token's features: they make rows start in separate banks of shared memory."""

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
        """Floats from one token's features to the next."""
        return self.feature_rows + ROW_PADDING

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
    for block_columns in _block_widths(value_dim):
        for tile_tokens in (64, 32, 16):
            plan = SimtPlan(
                feature_map, head_dim, value_dim, block_columns, tile_tokens, save_state
            )
            if plan.fits:
                return plan
    return None


def _block_widths(value_dim: int) -> list[int]:
    """Columns of a block where there is one, where there are two, and so on; all about equal."""
    most = -(-value_dim // _COLUMNS)
    return [_round_up(-(-value_dim // blocks), _COLUMNS) for blocks in range(1, most + 1)]


@dataclass(frozen=True, slots=True)
class SimtBackwardPlan:
    """The constants of the three kernels of a backward pass, as tiles of two shapes.

    Attributes:
        gradients: Of the kernels of dq, and of dk and dv. A CTA has one tile of tokens and goes
            through S or dS in blocks of columns, so any E fits. Its grid of threads is square.
        sums: Of the kernel of dS and dz. A CTA has one block of columns and goes through the
            tokens in tiles.
    """

    gradients: SimtPlan
    sums: SimtPlan

    @property
    def matrix_stride(self) -> int:
        """Floats from one row of a block of S to the next: 1 more keeps rows in separate banks."""
        return self.gradients.block_columns + 1

    @property
    def matrix_start(self) -> int:
        """Where in shared memory the block of S or dS starts, after that of dout or v."""
        tile = self.gradients
        return tile.matrix_start + tile.tile_tokens * tile.block_columns

    @property
    def gradients_shared_floats(self) -> int:
        """Floats of shared memory of a CTA of the kernels of dq, and of dk and dv."""
        tile = self.gradients
        blocks = self.matrix_start + tile.feature_rows * self.matrix_stride
        # Afterwards the place of both blocks holds each thread's share of two dot products.
        return max(blocks, tile.matrix_start + 2 * tile.tile_tokens * tile.thread_columns)

    @property
    def weights_start(self) -> int:
        """Where in shared memory of the kernel of dS the weights w of a tile's tokens start."""
        return self.sums.matrix_start + self.sums.tile_tokens * self.sums.block_columns

    @property
    def sums_shared_floats(self) -> int:
        """Floats of shared memory of a CTA of the kernel of dS and dz."""
        return self.weights_start + self.sums.tile_tokens

    @property
    def gradients_fit(self) -> bool:
        """Whether shared memory and registers suffice for the kernels of dq, and of dk and dv."""
        accumulators = self.gradients.tokens_per_thread * self.gradients.rows_per_thread
        return (
            4 * self.gradients_shared_floats <= SHARED_MEMORY_LIMIT
            and accumulators <= MAX_ACCUMULATORS // 2  # two CTAs are to share a multiprocessor
        )

    @property
    def sums_fit(self) -> bool:
        """Whether shared memory and registers suffice for the kernel of dS and dz."""
        accumulators = self.sums.rows_per_thread * self.sums.columns_per_thread
        return (
            4 * self.sums_shared_floats <= SHARED_MEMORY_LIMIT and accumulators <= MAX_ACCUMULATORS
        )


def choose_backward_plan(
    feature_map: str, head_dim: int, value_dim: int
) -> SimtBackwardPlan | None:
    """Return the plan with the widest block of sums, then the longest tiles, that fits; or None.

    A longer tile of tokens reads S and dS fewer times, a wider block of sums q.
    """

    def tiles(block_columns: int, tile_tokens: int) -> SimtPlan:
        return SimtPlan(feature_map, head_dim, value_dim, block_columns, tile_tokens, False)

    lengths = (64, 32, 16)
    shortest = tiles(_COLUMNS, min(lengths))
    with_sums = (
        SimtBackwardPlan(shortest, tiles(width, length))
        for width in _block_widths(value_dim)
        for length in lengths
    )
    sums = next((plan.sums for plan in with_sums if plan.sums_fit), shortest)
    plans = (SimtBackwardPlan(tiles(_COLUMNS, length), sums) for length in lengths)
    return next((plan for plan in plans if plan.gradients_fit and plan.sums_fit), None)
