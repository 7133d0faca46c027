"""The tile of features of the kernels for ordinary threads: tokens of q or k, loaded and mapped.

A token's features are a row of the tile. Past the last feature, a row has padding that nothing
reads, so that rows start in separate banks of shared memory; softmax leaves its partial results
there.

Legend: D head width of q and k, F features per head; CTA a block of threads.
"""

import math
from collections.abc import Callable
from typing import Any

import numba.cuda

from linvit_runtime.kernels.cuda.plan import ROW_PADDING, SimtPlan

# Imported as Any: numba describes device attributes such as threadIdx.x as Python properties.
cuda: Any = numba.cuda

float32 = cuda.types.float32

Floats = Any
"""An array of float32 in global, shared or local memory."""


def device_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a step that is inlined into the kernels that call it."""
    return cuda.jit(device=True, inline="always")(function)


def build_load_features(plan: SimtPlan) -> Callable[..., None]:
    """Make `load_features(shared, x, ...)`, which fills a tile with phi of tokens of q or k.

    All threads of the CTA have to call it together: for softmax it waits for all of them.
    """
    load_channels = _build_load_channels(plan)
    if plan.feature_map != "softmax":
        return load_channels
    normalise = _build_normalise(plan)

    def load_features(
        shared: Floats, x: Floats, x_start: int, x_token: int, first: int, num_tokens: int
    ) -> None:
        load_channels(shared, x, x_start, x_token, first, num_tokens)
        cuda.syncthreads()
        normalise(shared, num_tokens - first)

    return device_function(load_features)


def _build_load_channels(plan: SimtPlan) -> Callable[..., None]:
    """Make the step that maps each channel for itself."""
    head_dim, tile_start, tile_stride = plan.head_dim, plan.tile_start, plan.tile_stride
    features_per_channel = plan.num_features // plan.head_dim
    num_threads, tile_channels = plan.num_threads, plan.tile_tokens * plan.head_dim
    write_features = _build_write_features(plan)

    def load_channels(
        shared: Floats, x: Floats, x_start: int, x_token: int, first: int, num_tokens: int
    ) -> None:
        """Fill the feature tile; a token past the end has no features, whatever phi(0) is."""
        i = cuda.threadIdx.x
        while i < tile_channels:
            token = i // head_dim
            channel = i - token * head_dim
            position = tile_start + token * tile_stride + channel
            if first + token < num_tokens:
                value = x[x_start + (first + token) * x_token + channel]
                write_features(shared, position, value)
            else:
                for part in range(features_per_channel):
                    shared[position + part * head_dim] = float32(0)
            i += num_threads

    return device_function(load_channels)


def _build_write_features(plan: SimtPlan) -> Callable[..., None]:
    """Make `write(tile, position, x)`: phi(x) of one channel, into its one or two places.

    Comparisons are arranged so that a NaN takes the branch that keeps it.
    """
    head_dim = plan.head_dim

    def write_split_relu(tile: Floats, position: int, x: float) -> None:
        tile[position] = float32(0) if x < 0 else x
        tile[position + head_dim] = float32(0) if x > 0 else -x

    def write_relu(tile: Floats, position: int, x: float) -> None:
        tile[position] = float32(0) if x < 0 else x

    def write_elu_plus_one(tile: Floats, position: int, x: float) -> None:
        tile[position] = x + float32(1) if x > 0 else math.exp(x)

    def write_itself(tile: Floats, position: int, x: float) -> None:
        tile[position] = x

    writers = {
        "split_relu": write_split_relu,
        "relu": write_relu,
        "elu_plus_one": write_elu_plus_one,
        "softmax": write_itself,  # which is normalised afterwards
        "identity": write_itself,
    }
    return device_function(writers[plan.feature_map])


def _build_normalise(plan: SimtPlan) -> Callable[..., None]:
    """Make `normalise(shared, tokens_left)`: a softmax over each row of the tile, in place.

    A row has up to four threads, next to each other, and its padding a place for each of them.
    Their channels alternate, so that the threads of a warp read from separate banks.
    """
    head_dim, tile_tokens = plan.head_dim, plan.tile_tokens
    tile_start, tile_stride, feature_rows = plan.tile_start, plan.tile_stride, plan.feature_rows
    row_threads = min(ROW_PADDING, plan.num_threads // tile_tokens)
    assert row_threads, "softmax needs a thread per token"

    def normalise(shared: Floats, tokens_left: int) -> None:
        """Replace the channels of the tokens that exist by their softmax."""
        token = cuda.threadIdx.x // row_threads
        part = cuda.threadIdx.x - token * row_threads
        row = tile_start + token * tile_stride
        partial = row + feature_rows
        exists = token < tile_tokens and token < tokens_left

        largest = float32(-math.inf)
        if exists:
            channel = part
            while channel < head_dim:
                largest = max(largest, shared[row + channel])
                channel += row_threads
            shared[partial + part] = largest
        cuda.syncthreads()
        if exists:
            for i in range(row_threads):
                largest = max(largest, shared[partial + i])
        cuda.syncthreads()  # the places of the maxima are those of the sums

        total = float32(0)
        if exists:
            channel = part
            while channel < head_dim:
                x = math.exp(shared[row + channel] - largest)
                shared[row + channel] = x
                total += x
                channel += row_threads
            shared[partial + part] = total
        cuda.syncthreads()
        if exists:
            total = float32(0)
            for i in range(row_threads):
                total += shared[partial + i]
            inverse = float32(1) / total
            channel = part
            while channel < head_dim:
                shared[row + channel] *= inverse
                channel += row_threads

    return device_function(normalise)
