"""The forward pass as a Numba-CUDA kernel of ordinary threads (SIMT), in float32.

One CTA computes a block of output columns for one batch element and head, in two phases: it streams
tiles of keys and values and sums S and z, S in registers; then it puts S into shared memory,
streams tiles of queries and divides. Nothing but q, k, v and the results touches global memory,
and no two CTAs ever add into one place: the result is deterministic and independent of the batch.

This is the kernel for float32 and for any architecture, and the reference for faster ones. The
body is written once: numba-cuda compiles it for a device, and its simulator runs it in the tests.
The steps are inlined device functions, because compiling a call would need a driver.

Numba freezes what a function closes over into constants, but folds neither `plan.x` nor `2 * D`:
every builder below therefore takes the plan apart before it defines its function.

Legend: D head width of q and k, E of v, F features per head; CTA a block of threads.
"""

import functools
from collections.abc import Callable
from typing import Any

import numba.cuda

from linvit_runtime.kernels.cuda.kernel import ArgumentKind, Kernel
from linvit_runtime.kernels.cuda.plan import SimtPlan
from linvit_runtime.kernels.cuda.simt_features import Floats, build_load_features, device_function

# Imported as Any: numba describes device attributes such as threadIdx.x as Python properties.
cuda: Any = numba.cuda
types: Any = cuda.types

float32 = types.float32

_POINTERS: tuple[ArgumentKind, ...] = ("float_pointer",) * 6
_INTEGERS: tuple[ArgumentKind, ...] = ("int64",) * 12  # B N 3 H D can pass 2^31
_FLOATS: tuple[ArgumentKind, ...] = ("float32",) * 2


@functools.cache
def forward_kernel(plan: SimtPlan) -> Kernel:
    """The forward kernel for `plan`; its tiles are static shared memory."""
    state = "_with_state" if plan.save_state else ""
    sizes = f"{plan.head_dim}_{plan.value_dim}_tile_{plan.tile_tokens}x{plan.block_columns}"
    return Kernel(
        name=f"simt_forward_{plan.feature_map}_float32_{sizes}{state}",
        body=build_forward_kernel(plan),
        arguments=(*_POINTERS, *_INTEGERS, *_FLOATS),
        threads=plan.num_threads,
        min_blocks=2,
    )


def build_forward_kernel(plan: SimtPlan) -> Callable[..., None]:
    """Make the body of the forward kernel for `plan`.

    Launch it with `plan.num_threads` threads on a grid of (B*H, `plan.num_column_blocks`). Strides
    and addresses count floats; channels are adjacent, results contiguous. S and z are written only
    where `plan.save_state` asks for them.
    """
    value_dim, num_features = plan.value_dim, plan.num_features
    block_columns, tile_tokens = plan.block_columns, plan.tile_tokens
    thread_columns = plan.thread_columns
    rows, columns, tokens = plan.rows_per_thread, plan.columns_per_thread, plan.tokens_per_thread
    num_sums, num_outputs, shared_floats = rows * columns, tokens * columns, plan.shared_floats
    clear, load_features = build_clear(plan, num_sums), build_load_features(plan)
    load_values, add_tile = build_load_values(plan), _build_add_tile(plan)
    finish_state, read_out = _build_finish_state(plan), _build_read_out(plan)

    def linear_attention_forward(
        q: Floats, k: Floats, v: Floats, out: Floats, S: Floats, z: Floats,
        num_queries: int, num_keys: int, num_heads: int,
        q_batch: int, q_token: int, q_head: int,
        k_batch: int, k_token: int, k_head: int,
        v_batch: int, v_token: int, v_head: int,
        scale: float, scaled_eps: float,
    ) -> None:  # fmt: skip
        shared = cuda.shared.array(shared_floats, float32)
        sums = cuda.local.array(num_sums, float32)
        outputs = cuda.local.array(num_outputs, float32)
        denominators = cuda.local.array(tokens, float32)
        thread_row = cuda.threadIdx.x // thread_columns
        first_column = (cuda.threadIdx.x - thread_row * thread_columns) * columns
        head_index = cuda.blockIdx.x
        batch = head_index // num_heads
        head = head_index - batch * num_heads
        block_start = cuda.blockIdx.y * block_columns
        columns_left = value_dim - block_start

        clear(shared, sums)
        first = 0
        while first < num_keys:
            cuda.syncthreads()
            load_features(shared, k, batch * k_batch + head * k_head, k_token, first, num_keys)
            v_start = batch * v_batch + head * v_head + block_start
            load_values(shared, v, v_start, v_token, first, num_keys, columns_left)
            cuda.syncthreads()
            add_tile(shared, sums, thread_row * rows, first_column)
            first += tile_tokens
        cuda.syncthreads()
        S_start = head_index * num_features * value_dim + block_start
        finish_state(
            shared, sums, scale, thread_row * rows, first_column, columns_left,
            S, S_start, z, head_index * num_features,
        )  # fmt: skip

        first = 0
        while first < num_queries:
            cuda.syncthreads()
            load_features(shared, q, batch * q_batch + head * q_head, q_token, first, num_queries)
            cuda.syncthreads()
            read_out(shared, outputs, denominators, thread_row * tokens, first_column)
            for j in range(tokens):
                token = first + thread_row * tokens + j
                inverse = float32(1) / (denominators[j] + scaled_eps)
                row_start = ((batch * num_queries + token) * num_heads + head) * value_dim
                for column in range(columns):
                    if token < num_queries and first_column + column < columns_left:
                        position = row_start + block_start + first_column + column
                        out[position] = outputs[j * columns + column] * inverse
            first += tile_tokens

    return linear_attention_forward


def build_clear(plan: SimtPlan, num_sums: int) -> Callable[..., None]:
    """Make `clear(shared, sums)`, which zeroes everything before the matrix and a thread's sums."""
    num_threads, num_cleared = plan.num_threads, plan.matrix_start

    def clear(shared: Floats, sums: Floats) -> None:
        """Zero the sums, z, and with the feature tile its padding, which nothing writes later."""
        i = cuda.threadIdx.x
        while i < num_cleared:
            shared[i] = float32(0)
            i += num_threads
        for j in range(num_sums):
            sums[j] = float32(0)

    return device_function(clear)


def build_load_values(plan: SimtPlan) -> Callable[..., None]:
    """Make `load_values(shared, v, ...)`, which fills a tile with columns of tokens of v."""
    block_columns, matrix_start = plan.block_columns, plan.matrix_start
    num_threads, tile_values = plan.num_threads, plan.tile_tokens * plan.block_columns

    def load_values(
        shared: Floats, v: Floats, v_start: int, v_token: int, first: int, num_keys: int,
        columns_left: int,
    ) -> None:  # fmt: skip
        """Fill the tile of v, with zeros past the last token and the last column."""
        i = cuda.threadIdx.x
        while i < tile_values:
            token = i // block_columns
            column = i - token * block_columns
            value = float32(0)
            if first + token < num_keys and column < columns_left:
                value = v[v_start + (first + token) * v_token + column]
            shared[matrix_start + i] = value
            i += num_threads

    return device_function(load_values)


def _build_add_tile(plan: SimtPlan) -> Callable[..., None]:
    num_features, block_columns = plan.num_features, plan.block_columns
    tile_tokens, num_threads = plan.tile_tokens, plan.num_threads
    tile_start, tile_stride, matrix_start = plan.tile_start, plan.tile_stride, plan.matrix_start
    rows, columns = plan.rows_per_thread, plan.columns_per_thread

    def add_tile(shared: Floats, sums: Floats, first_row: int, first_column: int) -> None:
        """Add the tile's tokens to z, in shared memory, and to this thread's part of S."""
        i = cuda.threadIdx.x
        while i < num_features:
            total = float32(0)
            for token in range(tile_tokens):
                total += shared[tile_start + token * tile_stride + i]
            shared[i] += total
            i += num_threads
        for token in range(tile_tokens):
            for row in range(rows):
                x = shared[tile_start + token * tile_stride + first_row + row]
                for column in range(columns):
                    y = shared[matrix_start + token * block_columns + first_column + column]
                    sums[row * columns + column] += x * y

    return device_function(add_tile)


def _build_finish_state(plan: SimtPlan) -> Callable[..., None]:
    num_features, value_dim, save_state = plan.num_features, plan.value_dim, plan.save_state
    block_columns, matrix_start = plan.block_columns, plan.matrix_start
    rows, columns, num_threads = plan.rows_per_thread, plan.columns_per_thread, plan.num_threads

    def finish_state(
        shared: Floats, sums: Floats, scale: float, first_row: int, first_column: int,
        columns_left: int, S: Floats, S_start: int, z: Floats, z_start: int,
    ) -> None:  # fmt: skip
        """Scale S and z by c, put S where v was, and hand both over for the backward pass."""
        i = cuda.threadIdx.x
        while i < num_features:
            x = shared[i] * scale
            shared[i] = x
            if save_state and columns_left == value_dim:  # only the first block of columns
                z[z_start + i] = x
            i += num_threads
        for row in range(rows):
            feature = first_row + row
            for column in range(columns):
                x = sums[row * columns + column] * scale
                shared[matrix_start + feature * block_columns + first_column + column] = x
                if save_state and feature < num_features and first_column + column < columns_left:
                    S[S_start + feature * value_dim + first_column + column] = x

    return device_function(finish_state)


def _build_read_out(plan: SimtPlan) -> Callable[..., None]:
    num_features, block_columns = plan.num_features, plan.block_columns
    tile_start, tile_stride, matrix_start = plan.tile_start, plan.tile_stride, plan.matrix_start
    tokens, columns = plan.tokens_per_thread, plan.columns_per_thread

    def read_out(
        shared: Floats, outputs: Floats, denominators: Floats, first_token: int, first_column: int
    ) -> None:
        """Compute S^T phi(q) and phi(q).z for this thread's tokens and columns."""
        for j in range(tokens):
            denominators[j] = float32(0)
            for column in range(columns):
                outputs[j * columns + column] = float32(0)
        for feature in range(num_features):
            weight = shared[feature]
            for j in range(tokens):
                x = shared[tile_start + (first_token + j) * tile_stride + feature]
                denominators[j] += x * weight
                for column in range(columns):
                    y = shared[matrix_start + feature * block_columns + first_column + column]
                    outputs[j * columns + column] += x * y

    return device_function(read_out)
