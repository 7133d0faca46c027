"""Steps of the tensor-core kernels that round a state, S or its gradient, to half precision.

float16 has few small numbers and no large ones. So a state is divided by `back`, which makes its
largest number 256, whatever the scale of k, v or the loss; what is computed from it is multiplied.
"""

from linvit_runtime.kernels.cuda.ptx_ops import Operation, Operations
from linvit_runtime.kernels.cuda.tensor_plan import HeadConstants
from linvit_runtime.kernels.cuda.tensor_steps import Pointer

LARGEST = 256.0
"""The largest number of a state in half precision."""

_MAX_LOADS = 32  # pairs of floats of a state that a thread holds at once

SMALLEST = 1e-30
"""A state of zeros has a `back` too."""


def build_larger_size(ops: Operations) -> Operation:
    """Make `larger_size(largest, x)`: the larger of a number and |x|, which may be NaN.

    A NaN is passed over: it stays in its own column of the state.
    """
    select, maximum = ops.select, ops.maximum

    def larger_size(largest: float, x: float) -> float:
        size = maximum(x, -x)
        return select(size > largest, size, largest)

    return ops.device(larger_size)


def build_largest_of_all(
    constants: HeadConstants, ops: Operations, largest_place: int
) -> Operation:
    """Make the step that finds the largest of the numbers of all threads of a CTA."""
    warp_number, maximum = ops.warp_number, ops.maximum
    cuda, shuffle_xor, float32 = ops.cuda, ops.shuffle_xor, ops.float32
    store_shared, load_shared = ops.store_shared, ops.load_shared
    num_warps = constants.num_warps

    def largest_of_all(shared: int, largest: float) -> float:
        """All threads call it, with numbers from 0 on; the result is never 0."""
        for i in range(5):
            largest = maximum(largest, shuffle_xor(largest, 1 << i))
        store_shared(shared + largest_place + 4 * warp_number(), largest)
        cuda.syncthreads()
        for i in range(num_warps):
            largest = maximum(largest, load_shared(shared + largest_place + 4 * i))
        return maximum(largest, float32(SMALLEST))

    return ops.device(largest_of_all)


def build_fetch_state(
    constants: HeadConstants, ops: Operations, place: Operation, z_place: int, largest_place: int
) -> Operation:
    """Make `fetch_state`, which brings S and z, or their gradients, into shared memory.

    Args:
        constants: Of the kernel.
        ops: What it is written with.
        place: `(feature, pair) -> int`: where two adjacent columns of a row go.
        z_place: Where z goes.
        largest_place: Where there is room for a float per warp.
    """
    cuda, float32, larger_size = ops.cuda, ops.float32, build_larger_size(ops)
    thread_number, warp_number, select = ops.thread_number, ops.warp_number, ops.select
    load_global_2, pack, reciprocal = ops.load_global_2, ops.pack, ops.reciprocal
    store_shared, store_shared_word = ops.store_shared, ops.store_shared_word
    largest_of_all = build_largest_of_all(constants, ops, largest_place)
    head_dim, num_features = constants.head_dim, constants.num_features
    rows = constants.num_threads // (head_dim // 2)
    passes, z_passes = num_features // rows, -(-num_features // 64)
    # Wide heads have more than registers hold, and are read twice.
    stays = passes <= _MAX_LOADS
    num_loaded, stride = (2 * passes, 2) if stays else (2, 0)

    def fetch_state(shared: int, S: Pointer, S_start: int, z: Pointer, z_start: int) -> float:
        """Return `back`. A barrier must follow."""
        loaded = cuda.local.array(num_loaded, float32)
        two = cuda.local.array(2, float32)
        row = thread_number() // (head_dim // 2)
        pair = thread_number() - row * (head_dim // 2)
        largest = float32(0)
        for i in range(passes):
            at = S_start + (row + i * rows) * head_dim + 2 * pair
            load_global_2(loaded, i * stride, S, at)
            largest = larger_size(larger_size(largest, loaded[i * stride]), loaded[i * stride + 1])
        largest = largest_of_all(shared, largest)
        factor = float32(LARGEST) * reciprocal(largest)
        for i in range(passes):
            feature = row + i * rows
            if not stays:
                load_global_2(loaded, 0, S, S_start + feature * head_dim + 2 * pair)
            word = pack(loaded[i * stride] * factor, loaded[i * stride + 1] * factor)
            store_shared_word(shared + place(feature, pair), word)
        if warp_number() == 0:
            for i in range(z_passes):
                feature = 64 * i + 2 * thread_number()
                feature = select(feature < num_features, feature, 0)  # again, with equal values
                load_global_2(two, 0, z, z_start + feature)
                store_shared(shared + z_place + 4 * feature, two[0])
                store_shared(shared + z_place + 4 * feature + 4, two[1])
        return largest * float32(1 / LARGEST)

    return ops.device(fetch_state)


def build_sum_z(constants: HeadConstants, ops: Operations, z_place: int) -> Operation:
    """Make `sum_z(shared)`: Z, the sum of |z|, to every thread."""
    thread_number, select, float32 = ops.thread_number, ops.select, ops.float32
    load_shared, shuffle_xor, maximum = ops.load_shared, ops.shuffle_xor, ops.maximum
    num_features = constants.num_features
    passes = -(-num_features // 32)

    def sum_z(shared: int) -> float:
        total = float32(0)
        for i in range(passes):
            feature = 32 * i + (thread_number() & 31)
            valid = feature < num_features
            z = load_shared(shared + z_place + 4 * select(valid, feature, 0))
            total += select(valid, maximum(z, -z), float32(0))
        for i in range(5):
            total += shuffle_xor(total, 1 << i)
        return maximum(total, float32(SMALLEST))

    return ops.device(sum_z)
