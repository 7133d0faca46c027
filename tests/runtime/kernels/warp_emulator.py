"""Run the bodies of tensor-core kernels without a GPU: one thread per warp, NumPy for its lanes.

The bodies are written against `ptx_ops.Operations`. Here is that record in NumPy: a value that
differs between the lanes of a warp is an array of 32, a fragment is an array [words, 32], and an
operation does to all lanes at once what the PTX instruction does. Half precision is rounded where
PTX rounds it.

What a body leaves undefined is NaN here: registers, shared memory, copies that have not arrived.
And what a GPU would only sometimes do wrong is an error here, always: the warps of a CTA run one
after another from barrier to barrier, and every access to shared memory is compared with those of
the other warps since the last barrier. So a missing barrier, a missing wait for a copy, two writers
of one result, an unaligned or wild address and a branch that depends on the lane are all found.

Not modelled: timing, bank conflicts, caches, races between lanes of one warp, flushed denormals.
"""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from linvit_runtime.kernels.cuda.kernel import HalfType, Kernel
from linvit_runtime.kernels.cuda.ptx_ops import Operations

LANES = np.arange(32)
POISON = np.uint32(0xFFFFFFFF)  # a NaN as a float32, and as two values of either half precision
SHARED_START = 1024  # not 0, so that an offset is not taken for an address

_SEVERAL, _NOBODY, _IN_FLIGHT = -2, -1, np.iinfo(np.int64).max
# The place of each value of a fragment in its matrix; see the table in ptx_ops.py.
_G, _T = LANES >> 2, 2 * (LANES & 3)
_C_PLACES = np.stack([(_G + row) * 8 + _T + i for row in (0, 8) for i in (0, 1)])
_A_ORDER = np.argsort(
    np.stack(
        [(_G + row) * 16 + _T + column + i for column in (0, 8) for row in (0, 8) for i in (0, 1)]
    ).ravel()
)
_B_ORDER = np.argsort(np.stack([(_T + row + i) * 8 + _G for row in (0, 8) for i in (0, 1)]).ravel())


class KernelFault(Exception):
    """The body did something that a GPU would do wrong, or only sometimes right."""


def halves_to_floats(halves: Any, half_type: HalfType) -> Any:
    """The float32 values of uint16 bit patterns."""
    halves = np.ascontiguousarray(halves, np.uint16)
    if half_type == "float16":
        return halves.view(np.float16).astype(np.float32)
    return (halves.astype(np.uint32) << 16).view(np.float32)


def floats_to_halves(floats: Any, half_type: HalfType) -> Any:
    """Bit patterns of floats, rounded to the nearest, ties to even."""
    floats = np.ascontiguousarray(floats, np.float32)
    if half_type == "float16":
        return floats.astype(np.float16).view(np.uint16)
    bits = floats.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(floats), 0x7FFF, rounded).astype(np.uint16)


class _Type:
    """A type as kernels use it: of an array, and as a cast."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def __call__(self, x: Any) -> Any:
        return np.asarray(x).astype(self.dtype)[()]


class LocalArray:
    """Registers `[size, 32]`: reading one gives its value, not a view of it."""

    def __init__(self, size: int, kind: _Type) -> None:
        self.values = np.full((size, 32), POISON).view(kind.dtype)

    def __getitem__(self, i: int) -> Any:
        return self.part(i, 1)[0].copy()

    def __setitem__(self, i: int, value: Any) -> None:
        self.part(i, 1)[0] = value

    def part(self, first: int, count: int) -> Any:
        """Some of them, as a view."""
        if not 0 <= first <= len(self.values) - count:
            raise KernelFault(f"registers {first}..{first + count} of {len(self.values)}")
        return self.values[first : first + count]


class SharedArray:
    """An array of 4-byte values in shared memory."""

    def __init__(self, cta: "_Cta", address: int, kind: _Type) -> None:
        self.cta, self.address, self.kind = cta, address, kind

    def __getitem__(self, i: Any) -> Any:
        return self.cta.load(self.address + 4 * i, 4).view(self.kind.dtype)[:, 0]

    def __setitem__(self, i: Any, value: Any) -> None:
        self.cta.store(self.address + 4 * i, _lanes(value, self.kind.dtype)[:, None])


def _lanes(x: Any, dtype: Any) -> Any:
    return np.ascontiguousarray(np.broadcast_to(np.asarray(x).astype(dtype), (32,)))


class _Cta:
    """Shared memory, who touched it since the last barrier, and copies on their way to it."""

    def __init__(
        self, block: tuple[int, ...], grid: tuple[int, int, int], dynamic_bytes: int
    ) -> None:
        self.block = SimpleNamespace(x=block[0], y=block[1], z=block[2])
        self.grid = SimpleNamespace(x=grid[0], y=grid[1], z=grid[2])
        self.words = np.full(0, POISON)
        self.history = np.zeros((4, 0), np.int64)  # epoch and warp of the last write, of reads
        self.static_arrays: list[int] = []
        self.epoch, self.warp = 1, 0
        self.copies: dict[int, list[list[tuple[Any, Any]]]] = {}
        self.arrays_made: dict[int, int] = {}
        self.grow(dynamic_bytes)

    def grow(self, num_bytes: int) -> int:
        """Add memory, and return its address."""
        address = SHARED_START + 4 * len(self.words)
        count = -(-num_bytes // 16) * 4
        self.words = np.append(self.words, np.full(count, POISON))
        self.history = np.append(self.history, np.zeros((4, count), np.int64), axis=1)
        return address

    def shared_array(self, size: int, kind: _Type, alignment: int | None = None) -> SharedArray:
        """The next array: all warps name the same ones in the same order."""
        if size == 0:
            return SharedArray(self, SHARED_START, kind)
        number = self.arrays_made.get(self.warp, 0)
        self.arrays_made[self.warp] = number + 1
        if number == len(self.static_arrays):
            self.static_arrays.append(self.grow(4 * size))
        return SharedArray(self, self.static_arrays[number], kind)

    def _places(self, addresses: Any, num_bytes: int) -> Any:
        """Numbers of the words `[lanes, num_bytes / 4]` from these addresses on."""
        addresses = np.broadcast_to(np.asarray(addresses), (32,)).astype(np.int64) - SHARED_START
        if (addresses % num_bytes).any():
            raise KernelFault(f"an address is no multiple of {num_bytes}")
        if (addresses < 0).any() or (addresses + num_bytes > 4 * len(self.words)).any():
            raise KernelFault("an address is outside shared memory")
        return addresses[:, None] // 4 + np.arange(num_bytes // 4)

    def load(self, addresses: Any, num_bytes: int) -> Any:
        """Words `[32, num_bytes / 4]`, one row per lane."""
        places = self._places(addresses, num_bytes)
        written, writer, read, reader = self.history
        if (written[places] == _IN_FLIGHT).any():
            raise KernelFault("a copy is read that has not been waited for")
        if ((written[places] == self.epoch) & (writer[places] != self.warp)).any():
            raise KernelFault("another warp wrote this since the last barrier")
        others = (read[places] == self.epoch) & (reader[places] != self.warp)
        reader[places] = np.where(others, _SEVERAL, self.warp)
        read[places] = self.epoch
        return self.words[places]

    def _claim(self, places: Any, rows: Any) -> None:
        written, writer, read, reader = self.history
        values = np.stack([places, rows]).reshape(2, -1)
        if np.unique(places).size < np.unique(values, axis=1).shape[1]:
            raise KernelFault("two lanes write different values to one place")
        if (written[places] == _IN_FLIGHT).any():
            raise KernelFault("a copy is overwritten that has not been waited for")
        for epochs, warps in ((written, writer), (read, reader)):
            if ((epochs[places] == self.epoch) & (warps[places] != self.warp)).any():
                raise KernelFault("another warp used this since the last barrier")
        written[places], writer[places] = self.epoch, self.warp

    def store(self, addresses: Any, rows: Any) -> None:
        """Write `rows` [32, words]."""
        places = self._places(addresses, 4 * rows.shape[1])
        self._claim(places, rows.view(np.uint32))
        self.words[places] = rows.view(np.uint32)

    def start_copy(self, addresses: Any, rows: Any) -> None:
        """Write `rows` once the group that it belongs to has been waited for."""
        places = self._places(addresses, 4 * rows.shape[1])
        self._claim(places, rows)
        self.words[places] = POISON
        self.history[0][places] = _IN_FLIGHT
        self._groups[-1].append((places, rows))

    @property
    def _groups(self) -> list[list[tuple[Any, Any]]]:
        """This warp's groups of copies; the last one is not committed yet."""
        return self.copies.setdefault(self.warp, [[]])

    def commit(self) -> None:
        """Begin the next group."""
        self._groups.append([])

    def wait(self, groups_left: int) -> None:
        """Let all committed groups arrive except the last `groups_left`."""
        while len(self._groups) > groups_left + 1:
            for places, rows in self._groups.pop(0):
                self.words[places] = rows
                self.history[0][places] = self.epoch


class Emulator:
    """Runs kernels that were built with its `operations`.

    Attributes:
        operations: What bodies are written with.
    """

    def __init__(self, half_type: HalfType) -> None:
        self.half_type: HalfType = half_type
        self.cta = _Cta((0, 0, 0), (1, 1, 1), 0)
        self._turn: Callable[[], None] = lambda: None
        self._writers: dict[int, Any] = {}
        self._block_number = 0
        self.operations = self._operations()

    # Running.

    def launch(
        self, kernel: Kernel, grid: tuple[int, int, int], arguments: tuple[Any, ...]
    ) -> None:
        """Run all CTAs, one after another. Pointers are flat arrays of uint16, uint32 or float32.

        Raises:
            KernelFault: The body did something wrong.
        """
        assert len(arguments) == len(kernel.arguments), (len(arguments), kernel.arguments)
        self._writers.clear()
        for self._block_number, block in enumerate(np.ndindex(grid[::-1])):
            self.cta = _Cta(block[::-1], grid, kernel.shared_bytes)
            self._run_cta(kernel, arguments)

    def _run_cta(self, kernel: Kernel, arguments: tuple[Any, ...]) -> None:
        """Let each warp run until it meets a barrier or ends, in turn."""
        warps = [_Warp(kernel.body, arguments) for _ in range(kernel.threads // 32)]
        try:
            while not all(warp.ended for warp in warps):
                for number, warp in enumerate(warps):
                    self.cta.warp, self._turn = number, warp.pause
                    warp.resume()
                    if warp.problem is not None:
                        raise warp.problem
                if len({warp.ended for warp in warps}) > 1:
                    raise KernelFault("a warp ended while another waits for it at a barrier")
                self.cta.epoch += 1
        finally:
            for warp in warps:
                warp.stop()
        if any(any(groups) for groups in self.cta.copies.values()):
            raise KernelFault("the kernel ended before its copies arrived")

    # The operations. Those on global memory first.

    def _global_places(self, pointer: Any, element: Any, count: int, valid: Any) -> tuple[Any, Any]:
        """The lanes that do something, and the elements `[lanes, count]` of the pointer."""
        active = np.flatnonzero(np.broadcast_to(valid, (32,)))
        first = np.broadcast_to(element, (32,))[active]
        if (first % count).any():
            raise KernelFault(f"an element number is no multiple of {count}")
        if (first < 0).any() or (first + count > pointer.size).any():
            raise KernelFault("an element number is outside the array")
        return active, first[:, None] + np.arange(count)

    def _store_global(self, pointer: Any, element: Any, rows: Any, valid: Any) -> None:
        active, places = self._global_places(pointer, element, rows.shape[1], valid)
        key = pointer.__array_interface__["data"][0]
        writers = self._writers.setdefault(key, np.full(pointer.size, _NOBODY))
        me = 64 * self._block_number + self.cta.warp
        unique = np.unique(places).size == places.size
        if not unique or ((writers[places] != _NOBODY) & (writers[places] != me)).any():
            raise KernelFault("a result is written twice")
        writers[places] = me
        pointer[places] = rows[active]

    def _load_global_2(self, floats: LocalArray, i: int, pointer: Any, element: Any) -> None:
        _, places = self._global_places(pointer, element, 2, True)
        floats.part(i, 2)[:] = pointer[places].T

    def _store_global_words(self, count: int) -> Callable[..., None]:
        def store(pointer: Any, element: Any, words: LocalArray, i: int, valid: Any) -> None:
            halves = np.ascontiguousarray(words.part(i, count).T).view(np.uint16)
            self._store_global(pointer, element, halves, valid)

        return store

    def _copy_async_16(self, address: Any, pointer: Any, element: Any, valid: Any) -> None:
        active, places = self._global_places(pointer, element, 8, valid)
        rows = np.zeros((32, 8), np.uint16)
        rows[active] = pointer[places]
        self.cta.start_copy(address, rows.view(np.uint32))

    def _ldmatrix(self, transposed: bool) -> Callable[..., None]:
        def ldmatrix(words: LocalArray, i: int, address: Any) -> None:
            rows = self.cta.load(address, 16).view(np.uint16)  # [4 matrices x 8 rows, 8 columns]
            matrices = rows.reshape(4, 8, 8)
            if transposed:
                matrices = matrices.transpose(0, 2, 1)
            words.part(i, 4)[:] = np.ascontiguousarray(matrices).view(np.uint32).reshape(4, 32)

        return ldmatrix

    def _floats(self, words: Any) -> Any:
        """The two values of each word, `[..., 2]`."""
        words = np.ascontiguousarray(words, np.uint32)
        return halves_to_floats(words.view(np.uint16).reshape(*words.shape, 2), self.half_type)

    def _words(self, floats: Any) -> Any:
        return floats_to_halves(floats, self.half_type).view(np.uint32)[..., 0]

    def _mma(self, C: LocalArray, i: int, A: LocalArray, j: int, B: LocalArray, k: int) -> None:
        # [words, lanes, 2] to [words, 2, lanes], the order in which the places are listed.
        a = self._floats(A.part(j, 4)).transpose(0, 2, 1).ravel()[_A_ORDER].reshape(16, 16)
        b = self._floats(B.part(k, 2)).transpose(0, 2, 1).ravel()[_B_ORDER].reshape(16, 8)
        C.part(i, 4)[:] += (a @ b).ravel()[_C_PLACES]

    def _operations(self) -> Operations:
        def map_pair(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda word: self._words(function(self._floats(_lanes(word, np.uint32))))

        def load(count: int) -> Callable[..., None]:
            def load(registers: LocalArray, i: int, address: Any) -> None:
                loaded = np.ascontiguousarray(self.cta.load(address, 4 * count).T)
                part = registers.part(i, count)
                part[:] = loaded.view(part.dtype)

            return load

        def store_16(address: Any, words: LocalArray, i: int) -> None:
            self.cta.store(address, np.ascontiguousarray(words.part(i, 4).T))

        def store(dtype: Any) -> Callable[..., None]:
            return lambda address, value: self.cta.store(address, _lanes(value, dtype)[:, None])

        def store_global_2(pointer: Any, element: Any, a: Any, b: Any, valid: Any) -> None:
            rows = np.stack([_lanes(a, np.float32), _lanes(b, np.float32)], axis=1)
            self._store_global(pointer, element, rows, valid)

        def pack(a: Any, b: Any) -> Any:
            return self._words(np.stack([_lanes(a, np.float32), _lanes(b, np.float32)], axis=1))

        def unpack(half: int) -> Callable[[Any], Any]:
            return lambda word: self._floats(_lanes(word, np.uint32))[:, half]

        def relu(x: Any) -> Any:
            return np.maximum(x, np.float32(0))

        return Operations(
            cuda=_Cuda(self),
            device=lambda function: function,
            uint32=_Type(np.uint32),
            float32=_Type(np.float32),
            thread_number=lambda: LANES + 32 * self.cta.warp,
            warp_number=lambda: self.cta.warp,
            divide=lambda a, b: a // b,
            select=np.where,
            shared_address=lambda array: array.address,
            load_shared=lambda address: self.cta.load(address, 4).view(np.float32)[:, 0],
            store_shared=store(np.float32),
            store_shared_word=store(np.uint32),
            load_shared_8=load(2),
            load_shared_16=load(4),
            store_shared_16=store_16,
            load_global_2=self._load_global_2,
            store_global_2=store_global_2,
            store_global_8=self._store_global_words(2),
            store_global_16=self._store_global_words(4),
            copy_async_16=self._copy_async_16,
            commit_copies=lambda: self.cta.commit(),
            wait_for_copies=lambda: self.cta.wait(0),
            wait_for_all_but_one=lambda: self.cta.wait(1),
            ldmatrix=self._ldmatrix(transposed=False),
            ldmatrix_trans=self._ldmatrix(transposed=True),
            mma=self._mma,
            ones=lambda: pack(1.0, 1.0),
            pack=pack,
            low=unpack(0),
            high=unpack(1),
            relu=map_pair(relu),
            relu_of_negative=map_pair(lambda x: relu(-x)),
            maximum=np.maximum,
            exp2=lambda x: np.exp2(_lanes(x, np.float32)),
            reciprocal=lambda x: np.float32(1) / _lanes(x, np.float32),
            shuffle_xor=lambda x, mask: _lanes(x, np.float32)[LANES ^ mask],
        )

    def barrier(self) -> None:
        """Wait until all warps of the CTA are here."""
        self._turn()


class _Cuda:
    """What bodies use of `numba.cuda`."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.local = SimpleNamespace(array=LocalArray)
        self.shared = SimpleNamespace(
            array=lambda *arguments, **named: emulator.cta.shared_array(*arguments, **named)
        )
        self.syncthreads = emulator.barrier

    @property
    def threadIdx(self) -> SimpleNamespace:  # noqa: N802
        """Thread numbers of the lanes of the warp that is running."""
        return SimpleNamespace(x=LANES + 32 * self._emulator.cta.warp)

    @property
    def blockIdx(self) -> SimpleNamespace:  # noqa: N802
        """The CTA's place in the grid."""
        return self._emulator.cta.block

    @property
    def gridDim(self) -> SimpleNamespace:  # noqa: N802
        """CTAs of the grid."""
        return self._emulator.cta.grid


class _Stop(BaseException):
    """Ends the thread of a warp that will not be resumed."""


class _Warp:
    """A warp as a coroutine: its own thread, of which one runs at a time."""

    def __init__(self, body: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.ended, self.problem = False, None
        self._stopping = False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(body, arguments), daemon=True)
        self._thread.start()

    def _run(self, body: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._go.acquire()
        try:
            if not self._stopping:
                with np.errstate(all="ignore"):
                    body(*arguments)
        except _Stop:
            pass
        except Exception as problem:  # noqa: BLE001 - raised again by `launch`
            self.problem: Exception | None = problem
        self.ended = True
        self._back.release()

    def pause(self) -> None:
        """Give way, from inside the body, until resumed."""
        self._back.release()
        self._go.acquire()
        if self._stopping:
            raise _Stop

    def resume(self) -> None:
        """Run until the next pause or the end."""
        self._go.release()
        self._back.acquire()

    def stop(self) -> None:
        """Leave no thread behind."""
        if not self.ended:
            self._stopping = True
            self.resume()
        self._thread.join()
