"""What a CUDA kernel is to the code that builds and launches it: a body, its arguments, its needs.

The modules that hold kernel bodies make `Kernel`s; `build.py` turns one into machine code and
`launch.py` packs the arguments of a launch. None of them needs to know the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

ArgumentKind = Literal["pointer16", "pointer32", "float_pointer", "int32", "int64", "float32"]
"""How an argument is passed: the address of 16-bit or 32-bit words or of floats, or a number.

Half precision travels as 16-bit words: Numba's own bfloat16 needs a shim that cannot be cached.
"""

OLDEST_CAPABILITY = (7, 5)
"""The oldest compute capability that the toolkit for CUDA 13 compiles for."""

HalfType = Literal["bfloat16", "float16"]
"""The half-precision types that tensor cores multiply."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel with all of its compile-time constants inside its body.

    Attributes:
        name: A readable name that tells all of its variants apart, also the cache file's prefix:
            `tensor_forward_split_relu_bfloat16_64_64`.
        body: The function that numba-cuda compiles, or the simulator or the warp emulator runs.
        arguments: The kinds of its arguments, in order.
        threads: Threads per CTA.
        shared_bytes: Dynamic shared memory per CTA; more than 48 KiB is possible on devices from
            compute capability 8.0 on.
        min_blocks: CTAs per multiprocessor that the register allocation should allow, or 0; where
            registers would spill, it allows fewer.
        min_capability: The lowest compute capability, as (major, minor), that it assembles for.
        fastmath: Whether approximate division and flushed denormals are within its error budget.
    """

    name: str
    body: Callable[..., None]
    arguments: tuple[ArgumentKind, ...]
    threads: int
    shared_bytes: int = 0
    min_blocks: int = 0
    min_capability: tuple[int, int] = OLDEST_CAPABILITY
    fastmath: bool = False
