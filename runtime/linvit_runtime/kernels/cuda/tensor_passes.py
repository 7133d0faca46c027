"""Passes on tensor cores: what is allocated, which kernels run on it. See passes.py.

Legend: B batch, N queries, L keys, H heads, D head width of q and k, E of v, F features per head.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from linvit_runtime.kernels.cuda.choose import Call
from linvit_runtime.kernels.cuda.kernel import Kernel
from linvit_runtime.kernels.cuda.launch import prepare
from linvit_runtime.kernels.cuda.tensor_backward import backward_launches
from linvit_runtime.kernels.cuda.tensor_forward import Launch
from linvit_runtime.kernels.cuda.tensor_gradient_plan import TensorBackwardPlan
from linvit_runtime.kernels.torch_backend import state_scale

Gradients = tuple[Tensor, Tensor, Tensor]
"""dq `[B, N, H, D]`, dk `[B, L, H, D]` and dv `[B, L, H, E]`."""


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
        self._heads = call.heads, call.value_dim
        self._workspaces = tuple(plan.workspaces().items())
        self._is_empty = not call.batch * call.heads
        self._scale = state_scale(call.keys)
        self._numbers: dict[str, int | float] = {
            "num_queries": call.queries,
            "num_keys": call.keys,
            "num_heads": call.heads,
            "query_parts": plan.query_parts,
            "query_part_tokens": plan.query_part_tokens,
            "key_part_tokens": plan.key_part_tokens,
            "scale": self._scale,
        }
        self._launches = [Prepared(launch, device) for launch in backward_launches(plan)]

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
        elif not all(map(is_aligned, into)):
            for view, gradient in zip(into, self(grad_out, q, k, v, S, z, eps), strict=True):
                view.copy_(gradient)
            return into
        if self._is_empty:
            return into
        grad_out = grad_out.unflatten(2, self._heads)
        strided = {
            "q": aligned(q),
            "grad_out": aligned(grad_out),
            "k": aligned(k),
            "v": aligned(v),
            **dict(zip(("grad_q", "grad_k", "grad_v"), into, strict=True)),
        }
        numbers = self._numbers | {"scaled_eps": self._scale * eps}
        for name, x in strided.items():
            numbers[f"{name}_batch"], numbers[f"{name}_token"], numbers[f"{name}_head"], _ = (
                x.stride()
            )
        tensors = strided | {"S": S.contiguous(), "z": z.contiguous()}
        for name, shape in self._workspaces:
            tensors[name] = q.new_empty(shape, dtype=torch.float32)
        for launch in self._launches:
            launch(tensors, numbers)
        return into


class Prepared:
    """A launch whose kernel is loaded; it finds its arguments by their names."""

    def __init__(self, launch: Launch, device: int) -> None:
        kinds = launch.kernel.arguments
        count = sum(kind.endswith(("pointer", "pointer16", "pointer32")) for kind in kinds)
        self._run = prepare(launch.kernel, device)
        self._grid = launch.grid
        self._tensors = _picking(launch.arguments[:count])
        self._numbers = _picking(launch.arguments[count:])

    def __call__(self, tensors: dict[str, Tensor], numbers: dict[str, int | float]) -> None:
        """Enqueue it."""
        self._run(self._grid, self._tensors(tensors), self._numbers(numbers))


def _picking(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what takes the values of these names from a dict: a tuple, of one value too."""
    pick: Any = operator.itemgetter(*names)
    return pick if len(names) > 1 else lambda values: (pick(values),)


def is_aligned(x: Tensor) -> bool:
    """Whether channels are adjacent and every row starts at a multiple of 16 bytes."""
    batch, token, head, channel = x.stride()
    return channel == 1 and not (x.data_ptr() & 15 or (batch | token | head) & 7)


def aligned(x: Tensor) -> Tensor:
    """Return x, or an aligned copy."""
    return x if is_aligned(x) else x.clone(memory_format=torch.contiguous_format)
