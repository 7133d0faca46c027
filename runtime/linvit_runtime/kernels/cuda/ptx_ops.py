"""Every PTX operation that the tensor-core kernels use, as functions that their bodies call.

Why this module exists. Tensor cores, asynchronous copies and packed half-precision arithmetic have
no names in Numba's Python, and numba-cuda offers no inline PTX. What it has is `@intrinsic`: a
function that writes the LLVM code of its own call, and LLVM has inline assembly. So an operation is
one PTX template with typed operands. The alternative, a CUDA C++ file that numba-cuda links, needs
NVRTC at run time and makes kernels that cannot be cached. All of them are in this one file, so that
moving to another compiler with its own inline PTX is a port of one file.

How a body gets at them. It is not written against this module but against `Operations`, a record
of functions: `operations("bfloat16")` fills it for numba-cuda, and the tests fill it with NumPy
functions that do the same to all 32 lanes of a warp at once. One text is thus both the kernel and
its own check. Numba freezes the functions that a body closes over, but not attributes, so a builder
takes the record apart before it defines its body.

What a body may do follows from both readings:

* Control flow is the same for all lanes of a warp. What differs between lanes is data: an offset,
  or a condition given to `select` or to the `valid` of a copy. The emulator raises where a
  condition that depends on the lane is branched on.
* Numbers are plain integers, which Numba makes 64 bits wide and LLVM narrows again; the bits of
  packed values are uint32 and touched by these operations only.
* Shared memory is addressed in bytes from `shared_address(...)`, global memory by a pointer and an
  element number, which may need 64 bits.
* A fragment is a `cuda.local.array` and the number of its first word in it. Where every such number
  is known once loops are unrolled, the array is in registers; the compile gate checks that it is.

Half precision travels as uint32 words of two values, the earlier one in the low half. There are
operations on them for both types; all sums are float32. All keep a NaN: `max` is `max.NaN`.

Fragments of `mma`, which multiplies A [16, 16] by B [16, 8] and adds to C [16, 8]; lane = 4 g + t::

    A  words 0..3:  (row g,   columns 2t, 2t+1)     (row g+8, columns 2t, 2t+1)
                    (row g,   columns 2t+8, 2t+9)   (row g+8, columns 2t+8, 2t+9)
    B  words 0..1:  (rows 2t, 2t+1, column g)       (rows 2t+8, 2t+9, column g)
    C  floats 0..3: (row g, columns 2t, 2t+1)       (row g+8, columns 2t, 2t+1)

`ldmatrix` loads four 8x8 matrices of half-precision values. Lane l gives the address of row l % 8
of matrix l // 8, which is 16 bytes; afterwards word m of a lane holds (row g, columns 2t, 2t+1) of
matrix m, or (rows 2t, 2t+1, column g) by `ldmatrix_trans`.

Source of all of it: NVIDIA, Parallel Thread Execution ISA, the chapters on asynchronous copies and
on warp-level matrix instructions. They need sm_80 or newer.

Legend: CTA a block of threads, warp its 32 lanes, lane a thread's number in its warp.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba.cuda
from llvmlite import ir
from numba.cuda.extending import intrinsic

from linvit_runtime.kernels.cuda.kernel import HalfType

cuda: Any = numba.cuda
types: Any = cuda.types

MIN_CAPABILITY = (8, 0)
"""The oldest devices that have these operations."""

Operation = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Operations:
    """What the body of a tensor-core kernel is written with.

    Words are uint32 holding two values of half precision; `i` is the first element used.

    Attributes:
        cuda: Threads, barriers, shared and local arrays: numba.cuda, or what stands for it.
        device: Decorator of the functions that a body calls; they are inlined.
        uint32: A type for arrays, and a cast.
        float32: The same for floats.
        thread_number: `() -> int`: the thread's number in its CTA.
        warp_number: `() -> int`: the warp's number in its CTA, the same for its lanes.
        divide: `(a, b) -> int`: a // b of numbers from 0 to 2^31 - 1, in 32 bits.
        select: `(condition, a, b)`: a or b per lane, of one type.
        shared_address: `(array) -> int`: where an array of shared memory starts, in bytes.
        load_shared: `(address) -> float`: 4 bytes.
        store_shared: `(address, float)`.
        store_shared_word: `(address, word)`: 4 bytes.
        load_shared_8: `(registers, i, address)`: 8 bytes into two words or floats.
        load_shared_16: `(registers, i, address)`: 16 bytes into four.
        store_shared_16: `(address, words, i)`: four words.
        load_global_2: `(floats, i, pointer, element)`: two floats, the element number even.
        store_global_2: `(pointer, element, a, b, valid)`: two floats, if valid.
        store_global_8: `(pointer, element, words, i, valid)`: 8 bytes in half precision, if valid.
        store_global_16: `(pointer, element, words, i, valid)`: 16 bytes, if valid.
        copy_async_16: `(address, pointer, element, valid)`: start copying 16 bytes to shared
            memory; zeros if not valid, and then nothing is read.
        commit_copies: `()`: the copies started since the last commit are one group.
        wait_for_copies: `()`: until all of this thread's groups have arrived.
        wait_for_all_but_one: `()`: the same for all groups except the latest one.
        ldmatrix: `(words, i, address)`: four 8x8 matrices, see above.
        ldmatrix_trans: The same, each transposed.
        mma: `(C, i, A, j, B, k)`: C += A B, see above.
        ones: `() -> word`: two ones.
        pack: `(a, b) -> word`: round two floats to half precision, a into the low half.
        low: `(word) -> float`: its earlier value.
        high: `(word) -> float`: its later value.
        relu: `(word) -> word`: max(x, 0) of both values.
        relu_of_negative: `(word) -> word`: max(-x, 0) of both values.
        maximum: `(a, b) -> float`: NaN if either is.
        exp2: `(x) -> float`: 2^x, to 2 units in the last place.
        reciprocal: `(x) -> float`: 1/x, to one unit in the last place.
        shuffle_xor: `(x, mask) -> float`: the value of the lane whose number differs in those bits.
    """

    cuda: Any
    device: Operation
    uint32: Any
    float32: Any
    thread_number: Operation
    warp_number: Operation
    divide: Operation
    select: Operation
    shared_address: Operation
    load_shared: Operation
    store_shared: Operation
    store_shared_word: Operation
    load_shared_8: Operation
    load_shared_16: Operation
    store_shared_16: Operation
    load_global_2: Operation
    store_global_2: Operation
    store_global_8: Operation
    store_global_16: Operation
    copy_async_16: Operation
    commit_copies: Operation
    wait_for_copies: Operation
    wait_for_all_but_one: Operation
    ldmatrix: Operation
    ldmatrix_trans: Operation
    mma: Operation
    ones: Operation
    pack: Operation
    low: Operation
    high: Operation
    relu: Operation
    relu_of_negative: Operation
    maximum: Operation
    exp2: Operation
    reciprocal: Operation
    shuffle_xor: Operation


# How Numba's types are written in LLVM and as constraints of inline assembly.
_I32, _I64, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
_LETTERS = {_I32: "r", _I64: "l", _FLOAT: "f"}
_LLVM_TYPES = {types.int32: _I32, types.uint32: _I32, types.int64: _I64, types.float32: _FLOAT}

_uint32, _int32, _int64, _float32 = types.uint32, types.int32, types.int64, types.float32


def _assembly(
    builder: Any, template: str, results: tuple[Any, ...], operands: list[Any], pure: bool
) -> Any:
    """Emit inline assembly; what is not pure stays in order with all accesses to memory."""
    letters = [f"={_LETTERS[result]}" for result in results]
    letters += [_LETTERS[operand.type] for operand in operands]
    if not pure:
        letters.append("~{memory}")
    if len(results) == 1:
        returned = results[0]
    else:
        returned = ir.LiteralStructType(results) if results else ir.VoidType()
    function = ir.FunctionType(returned, [operand.type for operand in operands])
    code = ir.InlineAsm(function, template, ",".join(letters), side_effect=not pure)
    return builder.call(code, operands)


def _scalar_operation(
    template: str, result: Any, arguments: tuple[Any, ...], pure: bool = True
) -> Operation:
    """An operation on numbers: `$0` is the result, if there is one, then come the arguments."""
    signature = (types.void if result is None else result)(*arguments)
    results = () if result is None else (_LLVM_TYPES[result],)

    def lower(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        value = _assembly(builder, template, results, list(values), pure)
        return context.get_dummy_value() if result is None else value

    # Numba asks for as many names as there are arguments.
    def no_argument(typingctx: Any) -> Any:
        return signature, lower

    def one_argument(typingctx: Any, a: Any) -> Any:
        return signature, lower

    def two_arguments(typingctx: Any, a: Any, b: Any) -> Any:
        return signature, lower

    by_count: tuple[Operation, ...] = (no_argument, one_argument, two_arguments)
    operation: Any = intrinsic(by_count[len(arguments)])
    return operation


def _array_start(context: Any, builder: Any, array_type: Any, value: Any) -> Any:
    return context.make_array(array_type)(context, builder, value=value).data


def _elements(
    context: Any, builder: Any, array_type: Any, value: Any, first: Any, count: int
) -> list[Any]:
    """Pointers to `count` elements of a local array."""
    start = _array_start(context, builder, array_type, value)
    numbers = [builder.add(first, ir.Constant(_I64, i)) for i in range(count)]
    return [builder.gep(start, [number]) for number in numbers]


def _global_address(builder: Any, pointer_type: Any, pointer: Any, element: Any) -> Any:
    size = ir.Constant(_I64, pointer_type.dtype.bitwidth // 8)
    return builder.add(builder.ptrtoint(pointer, _I64), builder.mul(element, size))


def _as_flag(builder: Any, condition: Any) -> Any:
    return builder.zext(condition, _I32)


@intrinsic
def _select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    """Numba makes a branch of `a if condition else b`; this is one instruction."""

    def lower(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.select(*values)

    return a(types.boolean, a, a), lower


@intrinsic
def _shared_address(typingctx: Any, array: Any) -> Any:
    template = "{ .reg .u64 t; cvta.to.shared.u64 t, $1; cvt.u32.u64 $0, t; }"

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        start = _array_start(context, builder, signature.args[0], values[0])
        return _assembly(builder, template, (_I32,), [builder.ptrtoint(start, _I64)], True)

    return types.int32(array), lower


@intrinsic
def _copy_async_16(typingctx: Any, address: Any, pointer: Any, element: Any, valid: Any) -> Any:
    template = "cp.async.cg.shared.global [$0], [$1], 16, $2;"

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source = _global_address(builder, signature.args[1], values[1], values[2])
        sizes = ir.Constant(_I32, 16), ir.Constant(_I32, 0)
        operands = [values[0], source, builder.select(values[3], *sizes)]
        _assembly(builder, template, (), operands, False)
        return context.get_dummy_value()

    return types.void(_int32, pointer, _int64, types.boolean), lower


@intrinsic
def _load_global_2(typingctx: Any, floats: Any, i: Any, pointer: Any, element: Any) -> Any:
    template = "ld.global.v2.f32 {$0, $1}, [$2];"

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source = _global_address(builder, signature.args[2], values[2], values[3])
        loaded = _assembly(builder, template, (_FLOAT, _FLOAT), [source], False)
        places = _elements(context, builder, signature.args[0], values[0], values[1], 2)
        for number, place in enumerate(places):
            builder.store(builder.extract_value(loaded, number), place)
        return context.get_dummy_value()

    return types.void(floats, _int64, pointer, _int64), lower


@intrinsic
def _store_global_2(typingctx: Any, pointer: Any, element: Any, a: Any, b: Any, valid: Any) -> Any:
    template = "{ .reg .pred p; setp.ne.u32 p, $3, 0; @p st.global.v2.f32 [$0], {$1, $2}; }"

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target = _global_address(builder, signature.args[0], values[0], values[1])
        operands = [target, values[2], values[3], _as_flag(builder, values[4])]
        _assembly(builder, template, (), operands, False)
        return context.get_dummy_value()

    return types.void(pointer, _int64, _float32, _float32, types.boolean), lower


def _store_global_words(count: int) -> Operation:
    words = ", ".join(f"${1 + number}" for number in range(count))
    template = (
        f"{{ .reg .pred p; setp.ne.u32 p, ${1 + count}, 0; "
        f"@p st.global.v{count}.b32 [$0], {{{words}}}; }}"
    )

    @intrinsic
    def store(typingctx: Any, pointer: Any, element: Any, words: Any, i: Any, valid: Any) -> Any:
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            target = _global_address(builder, signature.args[0], values[0], values[1])
            places = _elements(context, builder, signature.args[2], values[2], values[3], count)
            loaded = [builder.load(place) for place in places]
            _assembly(builder, template, (), [target, *loaded, _as_flag(builder, values[4])], False)
            return context.get_dummy_value()

        return types.void(pointer, _int64, words, _int64, types.boolean), lower

    return store


def _load_words(instruction: str, count: int) -> Operation:
    """Something that fills registers, words or floats, from an address in shared memory."""
    names = ", ".join(f"${number}" for number in range(count))
    template = f"{instruction} {{{names}}}, [${count}];"

    @intrinsic
    def load(typingctx: Any, registers: Any, i: Any, address: Any) -> Any:
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            results = (_LLVM_TYPES[signature.args[0].dtype],) * count
            loaded = _assembly(builder, template, results, [values[2]], False)
            places = _elements(context, builder, signature.args[0], values[0], values[1], count)
            for number, place in enumerate(places):
                builder.store(builder.extract_value(loaded, number), place)
            return context.get_dummy_value()

        return types.void(registers, _int64, _int32), lower

    return load


@intrinsic
def _store_shared_16(typingctx: Any, address: Any, words: Any, i: Any) -> Any:
    template = "st.shared.v4.b32 [$0], {$1, $2, $3, $4};"

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        places = _elements(context, builder, signature.args[1], values[1], values[2], 4)
        loaded = [builder.load(place) for place in places]
        _assembly(builder, template, (), [values[0], *loaded], False)
        return context.get_dummy_value()

    return types.void(_int32, words, _int64), lower


def _mma(short_name: str) -> Operation:
    template = (
        f"mma.sync.aligned.m16n8k16.row.col.f32.{short_name}.{short_name}.f32 "
        "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
    )

    @intrinsic
    def mma(typingctx: Any, C: Any, i: Any, A: Any, j: Any, B: Any, k: Any) -> Any:
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            places = [
                _elements(context, builder, signature.args[n], values[n], values[n + 1], count)
                for n, count in ((0, 4), (2, 4), (4, 2))
            ]
            sums = places[0]
            operands = [builder.load(p) for p in (*places[1], *places[2], *sums)]
            # Pure: the lanes of a warp are converged wherever bodies may call this.
            result = _assembly(builder, template, (_FLOAT,) * 4, operands, True)
            for number, place in enumerate(sums):
                builder.store(builder.extract_value(result, number), place)
            return context.get_dummy_value()

        return types.void(C, _int64, A, _int64, B, _int64), lower

    return mma


def _read_half(short_name: str, half: int) -> Operation:
    if short_name == "bf16":  # a bfloat16 is the upper half of a float32
        template = ("shl.b32 $0, $1, 16;", "and.b32 $0, $1, 0xffff0000;")[half]
    else:
        name = ("l", "h")[half]
        template = f"{{ .reg .b16 l, h; mov.b32 {{l, h}}, $1; cvt.f32.f16 $0, {name}; }}"
    return _scalar_operation(template, _float32, (_uint32,))


def _number_of_this_thread() -> int:
    return cuda.threadIdx.x & 1023  # or else LLVM provides for negative numbers


def _number_of_this_warp() -> int:
    return (cuda.threadIdx.x & 1023) >> 5


_inlined: Operation = cuda.jit(device=True, inline="always")
_thread_number = _inlined(_number_of_this_thread)
_warp_number = _inlined(_number_of_this_warp)


@functools.cache
def operations(half_type: HalfType) -> Operations:
    """The operations as PTX, for numba-cuda to compile."""
    name = {"bfloat16": "bf16", "float16": "f16"}[half_type]
    relu = f"{{ .reg .b32 zero; mov.b32 zero, 0; max.NaN.{name}x2 $0, $1, zero; }}"
    relu_of_negative = (
        f"{{ .reg .b32 zero, t; mov.b32 zero, 0; neg.{name}x2 t, $1; "
        f"max.NaN.{name}x2 $0, t, zero; }}"
    )
    ones = {"bfloat16": 0x3F803F80, "float16": 0x3C003C00}[half_type]
    return Operations(
        cuda=cuda,
        device=_inlined,
        uint32=_uint32,
        float32=_float32,
        thread_number=_thread_number,
        warp_number=_warp_number,
        divide=_scalar_operation("div.u32 $0, $1, $2;", _int32, (_int32, _int32)),
        select=_select,
        shared_address=_shared_address,
        load_shared=_scalar_operation("ld.shared.f32 $0, [$1];", _float32, (_int32,), pure=False),
        store_shared=_scalar_operation(
            "st.shared.f32 [$0], $1;", None, (_int32, _float32), pure=False
        ),
        store_shared_word=_scalar_operation(
            "st.shared.b32 [$0], $1;", None, (_int32, _uint32), pure=False
        ),
        load_shared_8=_load_words("ld.shared.v2.b32", 2),
        load_shared_16=_load_words("ld.shared.v4.b32", 4),
        store_shared_16=_store_shared_16,
        load_global_2=_load_global_2,
        store_global_2=_store_global_2,
        store_global_8=_store_global_words(2),
        store_global_16=_store_global_words(4),
        copy_async_16=_copy_async_16,
        commit_copies=_scalar_operation("cp.async.commit_group;", None, (), pure=False),
        wait_for_copies=_scalar_operation("cp.async.wait_group 0;", None, (), pure=False),
        wait_for_all_but_one=_scalar_operation("cp.async.wait_group 1;", None, (), pure=False),
        ldmatrix=_load_words("ldmatrix.sync.aligned.m8n8.x4.shared.b16", 4),
        ldmatrix_trans=_load_words("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", 4),
        mma=_mma(name),
        ones=_scalar_operation(f"mov.b32 $0, {ones};", _uint32, ()),
        # The first source of cvt goes into the upper half.
        pack=_scalar_operation(f"cvt.rn.{name}x2.f32 $0, $2, $1;", _uint32, (_float32, _float32)),
        low=_read_half(name, 0),
        high=_read_half(name, 1),
        relu=_scalar_operation(relu, _uint32, (_uint32,)),
        relu_of_negative=_scalar_operation(relu_of_negative, _uint32, (_uint32,)),
        maximum=_scalar_operation("max.NaN.f32 $0, $1, $2;", _float32, (_float32, _float32)),
        exp2=_scalar_operation("ex2.approx.ftz.f32 $0, $1;", _float32, (_float32,)),
        reciprocal=_scalar_operation("rcp.approx.ftz.f32 $0, $1;", _float32, (_float32,)),
        # Not pure: a shuffle must not move into a branch, where some lanes would miss it.
        shuffle_xor=_scalar_operation(
            "shfl.sync.bfly.b32 $0, $1, $2, 31, -1;", _float32, (_float32, _int32), pure=False
        ),
    )
