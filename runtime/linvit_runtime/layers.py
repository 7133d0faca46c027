"""What generated code calls and torch does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, TypeVar, cast, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# No part of a generated class has a name that begins so.
_PERIODS = "_redraw_periods"
_HALF = (torch.float16, torch.bfloat16)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., ECCV 2016): leaves out a residual branch of some images.

    In training every image's entries are all 0 with probability `rate`, else divided by
    1 - `rate`, so that their mean stays; otherwise the input is returned as it is.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate is a probability below 1, not {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`[B, ...]` to the same."""
        if not self.training or self.rate == 0:
            return x
        kept = 1 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(kept)
        return x * (mask / kept)

    def extra_repr(self) -> str:
        """What `print(module)` shows in parentheses."""
        return f"rate={self.rate}"


class Constant(nn.Module):
    """A tensor that never changes.

    It follows its module to devices and precisions, and no checkpoint holds it.
    """

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value, persistent=False)

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value


class BufferList(nn.Module):
    """Stored tensors that are not trained, in a list: what `nn.ParameterList` is to parameters."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        for index, tensor in enumerate(tensors):
            self.register_buffer(str(index), tensor)

    def __len__(self) -> int:
        return len(self._buffers)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        return list(self)[index]

    def __iter__(self) -> Iterator[Tensor]:
        return (self.get_buffer(str(index)) for index in range(len(self)))


Function = TypeVar("Function", bound=Callable[..., Any])


def float32(function: Function) -> Function:
    """Make a function of tensors compute in float32 at least, whatever surrounds it.

    Tensors of half precision are widened, and autocast is off inside. Under autocast the results
    stay float32, for its operators narrow what they want narrow; otherwise they become as narrow
    as the first tensor was. Without autocast, float32 and float64 pass as they are.
    """

    @wraps(function)
    def widened(*arguments: Any) -> Any:
        first = next(x for x in arguments if isinstance(x, Tensor))
        kind = first.device.type
        autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        if not autocast and first.dtype not in _HALF:
            return function(*arguments)
        wide = [x.float() if isinstance(x, Tensor) and x.dtype in _HALF else x for x in arguments]
        if autocast:
            with torch.autocast(kind, enabled=False):
                return function(*wide)
        result = function(*wide)
        if isinstance(result, Tensor):
            return result.to(first.dtype)
        return tuple(x.to(first.dtype) for x in result)

    return cast("Function", widened)


def redraw_every(steps: int, module: nn.Module, name: str) -> None:
    """Note that buffer `name` of `module` is drawn anew after every `steps` training steps.

    Nothing draws by itself: `linvit_runtime.train.redraw_features` does, where the training loop
    calls it.
    """
    vars(module).setdefault(_PERIODS, {})[name] = steps


def redraw_periods(module: nn.Module) -> dict[str, int]:
    """The buffers that `module` itself draws anew, and after how many training steps each."""
    return vars(module).get(_PERIODS, {})


def expect_shape(x: Tensor, *sizes: int) -> None:
    """Demand that `x` is `[B, *sizes]`, for any B: what a model is made for.

    Raises:
        ValueError: It is not.
    """
    if tuple(x.shape[1:]) != sizes or x.ndim == 0:
        wanted = ", ".join(["B", *map(str, sizes)])
        raise ValueError(f"expected [{wanted}], got {list(x.shape)}")


def joint_linear(x: Tensor, *modules: nn.Module) -> tuple[Tensor, ...]:
    """Apply several linear maps to one tensor in one product: a large one fills a GPU better.

    The weights stay those of the modules, and are put side by side for each call.

    Args:
        x: `[*s, i]`.
        modules: `nn.Linear` of `i` channels, all with a bias or all without.

    Returns:
        What each of them gives, `[*s, o]`; views of one tensor.
    """
    # An initializer returns what it was given, and its type says no more than `nn.Module`.
    linears = [cast("nn.Linear", module) for module in modules]
    weight = torch.cat(tuple(linear.weight for linear in linears))
    # torch's own type of `bias` forgets that it may be None.
    biases: list[Tensor | None] = [linear.bias for linear in linears]
    known = tuple(bias for bias in biases if bias is not None)
    y = F.linear(x, weight, torch.cat(known) if known else None)
    return y.split([linear.out_features for linear in linears], dim=-1)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keep: Tensor | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Softmax attention, softmax(scale q k^T + bias) v.

    Args:
        q: Queries, `[*b, n, e]`.
        k: Keys, `[*b, l, e]`.
        v: Values, `[*b, l, c]`.
        keep: Zeros and ones, broadcastable to `[*b, n, l]`: which keys each query sees. A query
            that sees none gives 0, not NaN.
        bias: Added to the scores, broadcastable to `[*b, n, l]`.
        scale: Of the scores; e^(-1/2) if not given.

    Returns:
        `[*b, n, c]`.
    """
    leading = q.shape[:-2]
    # torch's fused kernels want [B, heads, n, e].
    if len(leading) != 2:
        q, k, v = (_four_axes(x, x.shape[:-2]) for x in (q, k, v))
    if bias is not None:
        bias = _stretched(bias.to(q.dtype), leading)
    if keep is None:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
        return out.reshape(*leading, *out.shape[-2:])
    mask = _stretched(keep != 0, leading)
    # A row that may see nothing sees everything instead, and is then replaced by 0: its softmax
    # would be 0/0, forward and backward, in some of torch's kernels.
    sees_some = mask.any(-1, keepdim=True)
    mask = mask | ~sees_some
    if bias is not None:
        mask = torch.where(mask, bias, -torch.inf)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    out = torch.where(sees_some, out, torch.zeros_like(out))
    return out.reshape(*leading, *out.shape[-2:])


def _stretched(x: Tensor, leading: torch.Size) -> Tensor:
    """What stretches to `[*leading, n, l]`, with exactly two axes in front of the last two.

    Only axes that are joined are stretched: one bias for all windows stays one.
    """
    x = x[(None,) * (len(leading) + 2 - x.ndim)]
    if len(leading) > 2:
        x = x.expand(*leading[:-1], *x.shape[-3:])
    return _four_axes(x, leading)


def _four_axes(x: Tensor, leading: torch.Size) -> Tensor:
    """`x` with exactly two leading axes: all but the last joined, or ones put in front."""
    if len(leading) > 2:
        return x.flatten(0, len(leading) - 2)
    return x[(None,) * (2 - len(leading))]
