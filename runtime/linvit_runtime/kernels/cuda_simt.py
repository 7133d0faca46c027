"""The forward pass as a Numba-CUDA kernel of ordinary threads (SIMT), in float32.

One CTA computes a block of output columns for one batch element and head, in two phases: it streams
tiles of keys and values and sums S and z, S in registers; then it puts S into shared memory,
streams tiles of queries and divides. Nothing but q, k, v and the results touches global memory,
and no two CTAs ever add into one place: the result is deterministic and independent of the batch.

This is the kernel for float32 and for any architecture, and the reference for faster ones. The
body is written once: numba-cuda compiles it for a device, and its simulator runs it in the tests.

Legend: D head width of q and k, E of v, F features per head; CTA a block of threads.
"""

import math
from collections.abc import Callable
from typing import Any

from numba import cuda
from numba.cuda import types

from linvit_runtime.kernels.cuda_plan import SimtPlan

float32 = types.float32

_ARRAY = types.Array(float32, 1, "C")
_NUM_ARRAYS, _NUM_INTEGERS = 6, 12
SIGNATURE = types.void(
    *[_ARRAY] * _NUM_ARRAYS, *[types.int64] * _NUM_INTEGERS, *[float32] * 2
)
"""The types of the body's parameters. Offsets are 64 bits wide: B N 3 H D can pass 2^31."""


def _build_feature_writer(feature_map: str, head_dim: int) -> Callable[..., None]:
    """Make the device function that writes phi(x) of one channel x to `tile[position]`.

    Comparisons are arranged so that a NaN takes the branch that keeps it.
    """

    def write_split_relu(tile: Any, position: int, x: float) -> None:
        tile[position] = float32(0) if x < 0 else x
        tile[position + head_dim] = float32(0) if x > 0 else -x

    def write_relu(tile: Any, position: int, x: float) -> None:
        tile[position] = float32(0) if x < 0 else x

    def write_elu_plus_one(tile: Any, position: int, x: float) -> None:
        tile[position] = x + float32(1) if x > 0 else math.exp(x)

    writers = {
        "split_relu": write_split_relu,
        "relu": write_relu,
        "elu_plus_one": write_elu_plus_one,
    }
    # Inlined, because compiling a call would need a driver, and the compile gate has none.
    return cuda.jit(device=True, inline="always")(writers[feature_map])


def build_forward_body(plan: SimtPlan) -> Callable[..., None]:
    """Make the body of the forward kernel for `plan`.

    Launch it with `plan.num_threads` threads on a grid of (B*H, `plan.num_column_blocks`).
    """
    # Numba freezes what a body closes over into constants; it cannot fold `plan.x` or `2 * D`.
    head_dim, value_dim = plan.head_dim, plan.value_dim
    num_features, feature_rows = plan.num_features, plan.feature_rows
    features_per_channel = num_features // head_dim
    block_columns, tile_tokens = plan.block_columns, plan.tile_tokens
    tile_stride, tile_floats = plan.tile_stride, plan.tile_tokens * plan.tile_stride
    num_threads, thread_columns = plan.num_threads, plan.thread_columns
    rows = plan.feature_rows // plan.thread_rows  # of S, per thread
    tokens = plan.tile_tokens // plan.thread_rows  # of the output, per thread
    columns = plan.block_columns // plan.thread_columns  # of S and of the output, per thread
    num_sums, num_outputs = rows * columns, tokens * columns
    tile_channels, tile_values = plan.tile_tokens * plan.head_dim, tile_tokens * block_columns
    save_state, shared_floats = plan.save_state, plan.shared_floats
    # Shared memory: z, then a tile of features, then a tile of v, which S replaces in phase 2.
    tile_start = feature_rows
    matrix_start = tile_start + tile_floats
    write_features = _build_feature_writer(plan.feature_map, head_dim)

    def linear_attention_forward(
        q, k, v, out, S, z,
        num_queries, num_keys, num_heads,
        q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
        scale, scaled_eps,
    ):  # fmt: skip
        shared = cuda.shared.array(shared_floats, float32)
        sums = cuda.local.array(num_sums, float32)
        outputs = cuda.local.array(num_outputs, float32)
        denominators = cuda.local.array(tokens, float32)
        thread = cuda.threadIdx.x
        thread_row = thread // thread_columns
        thread_column = thread - thread_row * thread_columns
        first_row, first_column = thread_row * rows, thread_column * columns
        head_index = cuda.blockIdx.x
        batch = head_index // num_heads
        head = head_index - batch * num_heads
        block_start = cuda.blockIdx.y * block_columns
        q_start = batch * q_batch + head * q_head
        k_start = batch * k_batch + head * k_head
        v_start = batch * v_batch + head * v_head + block_start

        # Zero z, and with the tile its padding, which nobody writes again.
        i = thread
        while i < matrix_start:
            shared[i] = float32(0)
            i += num_threads
        for j in range(num_sums):
            sums[j] = float32(0)

        # Phase 1: S and z. A token past the end contributes nothing, whatever phi(0) is.
        start = 0
        while start < num_keys:
            cuda.syncthreads()
            i = thread
            while i < tile_channels:
                token = i // head_dim
                channel = i - token * head_dim
                position = tile_start + token * tile_stride + channel
                if start + token < num_keys:
                    write_features(shared, position, k[k_start + (start + token) * k_token + channel])
                else:
                    for part in range(features_per_channel):
                        shared[position + part * head_dim] = float32(0)
                i += num_threads
            i = thread
            while i < tile_values:
                token = i // block_columns
                column = i - token * block_columns
                x = float32(0)
                if start + token < num_keys and block_start + column < value_dim:
                    x = v[v_start + (start + token) * v_token + column]
                shared[matrix_start + i] = x
                i += num_threads
            cuda.syncthreads()
            i = thread
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
            start += tile_tokens

        # Phase 2: scale by c, hand the state over, and read out.
        cuda.syncthreads()
        i = thread
        while i < num_features:
            x = shared[i] * scale
            shared[i] = x
            if save_state and block_start == 0:
                z[head_index * num_features + i] = x
            i += num_threads
        for row in range(rows):
            for column in range(columns):
                feature = first_row + row
                x = sums[row * columns + column] * scale
                shared[matrix_start + feature * block_columns + first_column + column] = x
                output_column = block_start + first_column + column
                if save_state and feature < num_features and output_column < value_dim:
                    S[(head_index * num_features + feature) * value_dim + output_column] = x
        start = 0
        while start < num_queries:
            cuda.syncthreads()
            i = thread
            while i < tile_channels:
                token = i // head_dim
                channel = i - token * head_dim
                position = tile_start + token * tile_stride + channel
                if start + token < num_queries:
                    write_features(shared, position, q[q_start + (start + token) * q_token + channel])
                i += num_threads
            cuda.syncthreads()
            for j in range(num_outputs):
                outputs[j] = float32(0)
            for j in range(tokens):
                denominators[j] = float32(0)
            for feature in range(num_features):
                weight = shared[feature]
                for j in range(tokens):
                    x = shared[tile_start + (thread_row * tokens + j) * tile_stride + feature]
                    denominators[j] += x * weight
                    for column in range(columns):
                        y = shared[matrix_start + feature * block_columns + first_column + column]
                        outputs[j * columns + column] += x * y
            for j in range(tokens):
                token = start + thread_row * tokens + j
                if token < num_queries:
                    inverse = float32(1) / (denominators[j] + scaled_eps)
                    row_start = ((batch * num_queries + token) * num_heads + head) * value_dim
                    for column in range(columns):
                        output_column = block_start + first_column + column
                        if output_column < value_dim:
                            out[row_start + output_column] = outputs[j * columns + column] * inverse
            start += tile_tokens

    return linear_attention_forward
