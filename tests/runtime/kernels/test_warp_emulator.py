"""The warp emulator: each operation against its plain definition, each fault by a body with it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from linvit_runtime.kernels.cuda.kernel import Kernel

pytest.importorskip("numba_cuda", reason="needs numba-cuda (pip install -e '.[dev]')")
from tests.runtime.kernels.warp_emulator import (
    LANES,
    Emulator,
    KernelFault,
    floats_to_halves,
    halves_to_floats,
)

HALF_TYPES = ("bfloat16", "float16")


def run(emulator: Emulator, body: Callable[..., None], *arguments: Any, warps: int = 1) -> None:
    kinds = ("pointer16",) * len(arguments)
    kernel = Kernel("body", body, kinds, threads=32 * warps, shared_bytes=4096)
    emulator.launch(kernel, (1, 1, 1), arguments)


def half_numbers(count: int, half_type: Any) -> Any:
    numbers = np.random.default_rng(0).standard_normal(count, np.float32)
    return floats_to_halves(numbers, half_type)


@pytest.mark.parametrize("half_type", HALF_TYPES)
def test_rounding_is_that_of_torch(half_type: Any) -> None:
    numbers = np.random.default_rng(0).standard_normal(1000, np.float32) * 100
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 65504.0, 1 + 2**-8, 1 + 2**-11]
    numbers = np.append(numbers, np.array(special, np.float32))
    expected = torch.from_numpy(numbers).to(getattr(torch, half_type)).float().numpy()
    got = halves_to_floats(floats_to_halves(numbers, half_type), half_type)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("half_type", HALF_TYPES)
def test_mma_multiplies_the_matrices_that_the_fragments_hold(half_type: Any) -> None:
    emulator = Emulator(half_type)
    o = emulator.operations
    A = half_numbers(256, half_type).reshape(16, 16)
    B = half_numbers(128, half_type).reshape(16, 8)
    product = np.zeros((16, 8))

    def word(first: int, second: int) -> int:
        return int(first) | int(second) << 16

    def body() -> None:
        a, b = o.cuda.local.array(4, o.uint32), o.cuda.local.array(2, o.uint32)
        c = o.cuda.local.array(6, o.float32)
        for n in range(6):
            c[n] = o.float32(1)
        for lane in range(32):  # the table of the PTX manual, lane by lane
            g, t = lane // 4, lane % 4
            for n, (row, column) in enumerate(((0, 0), (8, 0), (0, 8), (8, 8))):
                column += 2 * t
                a.values[n, lane] = word(A[g + row, column], A[g + row, column + 1])
            for n in range(2):
                row = 2 * t + 8 * n
                b.values[n, lane] = word(B[row, g], B[row + 1, g])
        o.mma(c, 2, a, 0, b, 0)
        assert (c[1] == 1).all()
        for lane in range(32):
            g, t = lane // 4, lane % 4
            for n, (row, column) in enumerate(((0, 0), (0, 1), (8, 0), (8, 1))):
                product[g + row, 2 * t + column] = c[2 + n][lane] - 1

    run(emulator, body)
    expected = halves_to_floats(A, half_type) @ halves_to_floats(B, half_type)
    np.testing.assert_allclose(product, expected, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix_gives_each_lane_its_pair(transposed: bool) -> None:
    emulator = Emulator("float16")
    o = emulator.operations
    numbers = np.arange(256, dtype=np.uint16)
    found: list[Any] = []

    def body(x: Any) -> None:
        base = o.shared_address(o.cuda.shared.array(0, o.uint32))
        words = o.cuda.local.array(4, o.uint32)
        lane = o.cuda.threadIdx.x & 31
        o.copy_async_16(base + 16 * lane, x, 8 * lane, True)
        o.commit_copies()
        o.wait_for_copies()
        load = o.ldmatrix_trans if transposed else o.ldmatrix
        load(words, 0, base + 16 * lane)
        found.append(words.values.copy())

    run(emulator, body, numbers)
    matrices = numbers.reshape(4, 8, 8)
    for m in range(4):
        for lane in range(32):
            g, t = lane // 4, lane % 4
            if transposed:
                pair = matrices[m, 2 * t, g], matrices[m, 2 * t + 1, g]
            else:
                pair = matrices[m, g, 2 * t], matrices[m, g, 2 * t + 1]
            assert found[0][m, lane] == int(pair[0]) | int(pair[1]) << 16


@pytest.mark.parametrize("half_type", HALF_TYPES)
def test_operations_on_numbers(half_type: Any) -> None:
    o = Emulator(half_type).operations
    a, b = (np.full(32, x, np.float32) for x in (1.5, -2.25))
    word = o.pack(a, b)
    assert (o.low(word) == a).all()
    assert (o.high(word) == b).all()
    positive, negative = o.relu(word), o.relu_of_negative(word)
    assert [o.low(positive)[0], o.high(positive)[0]] == [1.5, 0]
    assert [o.low(negative)[0], o.high(negative)[0]] == [0, 2.25]
    assert np.isnan(o.low(o.relu(o.pack(np.nan, 1.0)))).all()
    assert (o.low(o.ones()) == 1).all()
    assert (o.high(o.ones()) == 1).all()
    assert np.isnan(o.maximum(a, np.float32(np.nan))).all()
    assert (o.exp2(np.float32(3)) == 8).all()
    assert (o.reciprocal(np.float32(4)) == 0.25).all()
    assert (o.shuffle_xor(LANES, 5) == LANES ^ 5).all()
    assert (o.select(LANES < 3, a, b)[2:4] == [1.5, -2.25]).all()


def test_memory_round_trips_and_predicates() -> None:
    emulator = Emulator("float16")
    o = emulator.operations
    source, result = np.arange(256, dtype=np.uint16), np.full(512, 9, np.uint16)
    floats, sums = np.arange(64, dtype=np.float32), np.full(64, np.nan, np.float32)

    def body(x: Any, y: Any, f: Any, s: Any) -> None:
        base = o.shared_address(o.cuda.shared.array(0, o.uint32))
        table = o.cuda.shared.array(32, o.float32)
        words, pair = o.cuda.local.array(4, o.uint32), o.cuda.local.array(2, o.float32)
        lane = o.cuda.threadIdx.x
        o.copy_async_16(base + 16 * lane, x, 8 * lane, lane < 20)
        o.commit_copies()
        o.wait_for_copies()
        o.load_shared_16(words, 0, base + 16 * lane)
        o.store_shared_16(base + 16 * lane, words, 0)
        o.store_global_16(y, 8 * lane, words, 0, lane < 30)
        o.store_global_8(y, 256 + 4 * lane, words, 0, True)
        o.load_global_2(pair, 0, f, 2 * lane)
        o.store_shared(base + 1024 + 4 * lane, pair[0])
        o.store_shared_word(base + 2048 + 4 * lane, words[0])
        table[lane] = o.load_shared(base + 1024 + 4 * (lane ^ 1))
        o.store_global_2(s, 2 * lane, pair[1], table[lane], lane < 31)

    run(emulator, body, source, result, floats, sums)
    np.testing.assert_array_equal(result[:160], source[:160])
    assert (result[160:240] == 0).all()  # copied as zeros
    assert (result[240:256] == 9).all()  # not stored
    np.testing.assert_array_equal(result[256:260], source[:4])
    np.testing.assert_array_equal(sums[:62:2], floats[1:62:2])
    np.testing.assert_array_equal(sums[1:62:2], floats.reshape(32, 2)[LANES ^ 1, 0][:31])
    assert np.isnan(sums[62:]).all()


def faults() -> dict[str, tuple[str, Callable[[Any, Any, Any], None]]]:
    """Bodies with one mistake each: part of the message, and the body's steps."""

    def no_wait(o: Any, x: Any, base: Any) -> None:
        o.copy_async_16(base + 16 * LANES, x, 8 * LANES, o.warp_number() == 0)
        o.commit_copies()
        o.ldmatrix(o.cuda.local.array(4, o.uint32), 0, base + 16 * LANES)

    def one_group_too_few(o: Any, x: Any, base: Any) -> None:
        if o.warp_number() == 0:
            o.copy_async_16(base + 16 * LANES, x, 8 * LANES, True)
            o.commit_copies()
            o.wait_for_all_but_one()
            o.load_shared(base)

    def never_waits(o: Any, x: Any, base: Any) -> None:
        if o.warp_number() == 0:
            o.copy_async_16(base + 16 * LANES, x, 8 * LANES, True)

    def no_barrier(o: Any, x: Any, base: Any) -> None:
        o.store_shared(base + 4 * o.cuda.threadIdx.x, LANES)
        o.load_shared(base + 4 * LANES)

    def overwrites(o: Any, x: Any, base: Any) -> None:
        if o.warp_number() == 0:
            o.load_shared(base + 4 * LANES)
        else:
            o.store_shared(base + 4 * LANES, LANES)

    def unequal_barriers(o: Any, x: Any, base: Any) -> None:
        if o.warp_number() == 0:
            o.cuda.syncthreads()

    def branch(o: Any, x: Any, base: Any) -> None:
        if o.cuda.threadIdx.x < 3:
            pass

    def twice(o: Any, x: Any, base: Any) -> None:
        words = o.cuda.local.array(4, o.uint32)
        o.store_global_16(x, 8 * LANES, words, 0, True)

    def collision(o: Any, x: Any, base: Any) -> None:
        o.store_shared(base + 4 * (LANES // 2), LANES)

    return {
        "read too early": ("waited for", no_wait),
        "wait for too few": ("waited for", one_group_too_few),
        "end too early": ("before its copies arrived", never_waits),
        "missing barrier": ("another warp wrote", no_barrier),
        "overwritten in use": ("another warp used", overwrites),
        "unequal barriers": ("at a barrier", unequal_barriers),
        "two writers": ("written twice", twice),
        "two lanes": ("two lanes", collision),
        "branch on lanes": ("ambiguous", branch),
        "unaligned": ("multiple of 16", lambda o, x, base: o.load_shared_16(None, 0, base + 8)),
        "wild": ("outside shared", lambda o, x, base: o.load_shared(base + 4096)),
        "an offset": ("outside shared", lambda o, x, base: o.load_shared(0)),
        "past the array": (
            "outside the array",
            lambda o, x, base: o.copy_async_16(base, x, x.size, True),
        ),
        "past the registers": (
            "registers",
            lambda o, x, base: o.cuda.local.array(4, o.uint32).part(1, 4),
        ),
    }


@pytest.mark.parametrize("name", faults())
def test_a_fault_is_noticed(name: str) -> None:
    message, steps = faults()[name]
    emulator = Emulator("float16")
    o = emulator.operations

    def body(x: Any) -> None:
        steps(o, x, o.shared_address(o.cuda.shared.array(0, o.uint32)))

    with pytest.raises((KernelFault, ValueError), match=message):
        run(emulator, body, np.zeros(512, np.uint16), warps=2)


def test_what_is_undefined_is_nan() -> None:
    emulator = Emulator("bfloat16")
    o = emulator.operations

    def body() -> None:
        base = o.shared_address(o.cuda.shared.array(0, o.uint32))
        assert np.isnan(o.load_shared(base + 4 * LANES)).all()
        assert np.isnan(o.cuda.local.array(1, o.float32)[0]).all()
        assert np.isnan(o.high(o.cuda.local.array(1, o.uint32)[0])).all()

    run(emulator, body)


@pytest.mark.parametrize(("transposed", "right"), [(True, True), (False, False)])
def test_a_wrong_fragment_layout_gives_a_wrong_product(transposed: bool, right: bool) -> None:
    emulator = Emulator("float16")
    o = emulator.operations
    A, B = half_numbers(512, "float16").reshape(2, 16, 16)
    product = np.zeros(256, np.float32)

    def body(x: Any, y: Any, c: Any) -> None:
        base = o.shared_address(o.cuda.shared.array(0, o.uint32))
        a, b = o.cuda.local.array(4, o.uint32), o.cuda.local.array(4, o.uint32)
        sums = o.cuda.local.array(8, o.float32)
        lane = o.cuda.threadIdx.x
        for i in range(8):
            sums[i] = o.float32(0)
        o.copy_async_16(base + 16 * lane, x, 8 * lane, True)
        o.copy_async_16(base + 512 + 16 * lane, y, 8 * lane, True)
        o.commit_copies()
        o.wait_for_copies()
        address = base + 32 * (lane & 15) + 16 * (lane >> 4)
        o.ldmatrix(a, 0, address)
        (o.ldmatrix_trans if transposed else o.ldmatrix)(b, 0, address + 512)
        for tile in range(2):
            o.mma(sums, 4 * tile, a, 0, b, 2 * tile)
            for half in range(2):
                row, column = (lane >> 2) + 8 * half, 8 * tile + 2 * (lane & 3)
                i = 4 * tile + 2 * half
                o.store_global_2(c, 16 * row + column, sums[i], sums[i + 1], True)

    run(emulator, body, A.ravel(), B.ravel(), product)
    expected = halves_to_floats(A, "float16") @ halves_to_floats(B, "float16")
    assert np.allclose(product.reshape(16, 16), expected, atol=1e-5) == right
