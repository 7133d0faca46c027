"""Passes on tensor cores: what is allocated, which kernels run on it. See passes.py.

The launches of a call, but for its tensors, are kept per strides: a model calls with the same ones
every time, and the host's time per call is what few heads of few tokens cost.

Legend: B batch, N queries, L keys, H heads, D head width of q and k, E of v, F features per head.
"""

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from linvit_runtime.kernels.cuda.choose import Call
from linvit_runtime.kernels.cuda.kernel import Kernel
from linvit_runtime.kernels.cuda.launch import Run, prepare
from linvit_runtime.kernels.cuda.tensor_backward import backward_launches
from linvit_runtime.kernels.cuda.tensor_forward import Launch, forward_launches
from linvit_runtime.kernels.cuda.tensor_gradient_plan import TensorBackwardPlan
from linvit_runtime.kernels.cuda.tensor_plan import TensorPlan
from linvit_runtime.kernels.torch_backend import Forward, Gradients, state_scale

Bound = tuple[Run, tuple[int, int, int], Callable[[Any], Any], tuple[int | float, ...]]
"""A launch but for its tensors: how to run it, its grid, what chooses its tensors, its numbers."""

Strides = tuple[int, ...]


class TensorForward:
    """The forward pass by the tensor-core kernels, in half precision with float32 sums.

    q, k or v is copied where its channels are not adjacent or its rows are not aligned. Unless the
    call saves S and z, what stands for them has no meaning.
    """

    backend = "numba-cuda-tensor"

    @staticmethod
    def kernels(plan: TensorPlan) -> tuple[Kernel, ...]:
        """The kernels that a call launches, in order."""
        return tuple(launch.kernel for launch in forward_launches(plan))

    def __init__(self, call: Call, plan: TensorPlan, device: int) -> None:
        heads = (call.batch, call.heads, plan.constants.num_features)
        results = {"S": (*heads, call.value_dim), "z": heads} if call.save_state else {}
        buffers = results | plan.workspaces()
        self._out_shape = call.batch, call.queries, call.heads * call.value_dim
        self._buffer_shapes = tuple(buffers.values())
        self._results = (3, 4, 5) if call.save_state else (3, 3, 3)
        self._scale = state_scale(call.keys)
        numbers = {
            "num_queries": call.queries,
            "num_keys": call.keys,
            "num_heads": call.heads,
            "key_parts": plan.key_parts,
            "key_part_tokens": plan.key_part_tokens,
            "query_part_tokens": plan.query_part_tokens,
            "scale": self._scale,
        }
        # Without queries the state is wanted still, and the gradients of keys are zeros.
        is_empty = not (call.queries or call.save_state) or not call.batch * call.heads
        launches = () if is_empty else forward_launches(plan)
        names = ("q", "k", "v", "out", *buffers)
        binder = _Binder(launches, names, numbers, device)
        self._launches_for = functools.lru_cache(maxsize=64)(binder.bind)
        # To compare with the latest options is faster than to look them up.
        self._latest: tuple[Any, list[Bound] | None] = (None, None)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, eps: float) -> Forward:
        """Allocate results and workspaces, and launch."""
        options = eps, q.stride(), k.stride(), v.stride()
        latest, launches = self._latest
        if options != latest:
            launches = self._launches_for(self._scale * eps, *options[1:])
            self._latest = options, launches
        if launches is None or (q.data_ptr() | k.data_ptr() | v.data_ptr()) & 15:
            return self(_aligned(q), _aligned(k), _aligned(v), eps)
        tensors = [q, k, v, q.new_empty(*self._out_shape)]
        for shape in self._buffer_shapes:
            tensors.append(q.new_empty(*shape, dtype=torch.float32))  # noqa: PERF401 - mostly none
        for run, grid, choose_tensors, numbers in launches:
            run(grid, choose_tensors(tensors), numbers)
        out, S, z = self._results
        return tensors[out], tensors[S], tensors[z]


class TensorBackward:
    """The backward pass by the tensor-core kernels, in half precision with float32 sums.

    An input, or a gradient to be written, is copied where its channels are not adjacent or its rows
    are not aligned.
    """

    backend = "numba-cuda-tensor"

    @staticmethod
    def kernels(plan: TensorBackwardPlan) -> tuple[Kernel, ...]:
        """The kernels that a call launches, in order."""
        return tuple(launch.kernel for launch in backward_launches(plan))

    def __init__(self, call: Call, plan: TensorBackwardPlan, device: int) -> None:
        workspaces = plan.workspaces()
        self._heads = call.heads, call.value_dim
        self._workspace_shapes = tuple(workspaces.values())
        self._scale = state_scale(call.keys)
        numbers = {
            "num_queries": call.queries,
            "num_keys": call.keys,
            "num_heads": call.heads,
            "query_parts": plan.query_parts,
            "query_part_tokens": plan.query_part_tokens,
            "key_part_tokens": plan.key_part_tokens,
            "scale": self._scale,
        }
        launches = backward_launches(plan) if call.batch * call.heads else ()
        names = ("q", "grad_out", "k", "v", "grad_q", "grad_k", "grad_v", "S", "z", *workspaces)
        binder = _Binder(launches, names, numbers, device)
        self._launches_for = functools.lru_cache(maxsize=64)(binder.bind)

    def __call__(
        self,
        grad_out: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        S: Tensor,
        z: Tensor,
        eps: float,
        into: Gradients | None = None,
    ) -> Gradients:
        """Launch, and give dq, dk and dv: those of `into`, views whose channels are adjacent."""
        if into is None:
            into = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
        elif not all(map(_is_aligned, into)):
            for view, gradient in zip(into, self(grad_out, q, k, v, S, z, eps), strict=True):
                view.copy_(gradient)
            return into
        inputs = (q, grad_out.unflatten(2, self._heads), k, v)
        strided = [*map(_aligned, inputs), *into]
        launches = self._launches_for(self._scale * eps, *[x.stride() for x in strided])
        assert launches is not None  # what is not aligned has been copied
        tensors = [*strided, S.contiguous(), z.contiguous()]
        tensors += [q.new_empty(*shape, dtype=torch.float32) for shape in self._workspace_shapes]
        for run, grid, choose_tensors, numbers in launches:
            run(grid, choose_tensors(tensors), numbers)
        return into


class _Binder:
    """The launches of a pass, whose kernels are loaded; they find their arguments by their names.

    Args:
        launches: In order.
        tensors: The names of the tensors that they will be given, in order; strided ones first.
        numbers: What the shapes decide, by name.
        device: Where.
    """

    def __init__(
        self,
        launches: Iterable[Launch],
        tensors: tuple[str, ...],
        numbers: dict[str, int | float],
        device: int,
    ) -> None:
        self._tensors, self._numbers = tensors, numbers
        self._launches = [(launch, prepare(launch.kernel, device)) for launch in launches]

    def bind(self, scaled_eps: float, *strides: Strides) -> list[Bound] | None:
        """Return the launches for those strides; None if a row of a tensor is not aligned."""
        numbers = self._numbers | {"scaled_eps": scaled_eps}
        for name, (batch, token, head, channel) in zip(self._tensors, strides, strict=False):
            if channel != 1 or (batch | token | head) & 7:
                return None
            numbers |= {f"{name}_batch": batch, f"{name}_token": token, f"{name}_head": head}
        return [self._bind_one(launch, run, numbers) for launch, run in self._launches]

    def _bind_one(self, launch: Launch, run: Run, numbers: dict[str, int | float]) -> Bound:
        names = launch.arguments
        count = sum(name not in numbers for name in names)  # tensors come first
        choose_tensors = operator.itemgetter(*map(self._tensors.index, names[:count]))
        return run, launch.grid, choose_tensors, tuple(numbers[name] for name in names[count:])


def _is_aligned(x: Tensor) -> bool:
    batch, token, head, channel = x.stride()
    return channel == 1 and not (x.data_ptr() & 15 or (batch | token | head) & 7)


def _aligned(x: Tensor) -> Tensor:
    """Return x, or a copy where channels are not adjacent or a row does not start at 16 bytes."""
    return x if _is_aligned(x) else x.clone(memory_format=torch.contiguous_format)
