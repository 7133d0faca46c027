"""Which implementation runs a call, and the record of what really ran.

Order of preference today: on CUDA devices the Numba-CUDA SIMT forward, where numba-cuda can build
it; everywhere else, and for every backward pass, plain torch. Another implementation is another
module and one more branch here.

No path falls back silently: the first time that CUDA tensors have to take the torch path, a
RuntimeWarning says why, and `backends_used` names what ran, for a run's manifest.
"""

import functools
import warnings
from typing import Literal

from torch import Tensor

from linvit_runtime.kernels import torch_backend
from linvit_runtime.kernels.feature_maps import feature_map_named

Direction = Literal["forward", "backward"]

# A dict serves as an ordered set: backends in the order of their first use.
_used: dict[Direction, dict[str, None]] = {"forward": {}, "backward": {}}


def backends_used() -> dict[Direction, tuple[str, ...]]:
    """Name the implementations that have really run in this process, in order of first use.

    Returns:
        For `"forward"` and `"backward"` the names among `"torch"` and `"numba-cuda-simt"`; an
        empty tuple where linear attention has not run.
    """
    return {direction: tuple(names) for direction, names in _used.items()}


def forward(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the forward pass on any device: output, S and z as `torch_backend.forward`."""
    _used["forward"]["torch"] = None
    return torch_backend.forward(q, k, v, feature_map_named(feature_map), eps)


def forward_without_state(q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float) -> Tensor:
    """Run the forward pass on any device where no gradient will be asked for."""
    return forward(q, k, v, feature_map, eps)[0]


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    S: Tensor,
    z: Tensor,
    feature_map: str,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the backward pass on any device: dq, dk and dv as `torch_backend.backward`."""
    _used["backward"]["torch"] = None
    return torch_backend.backward(grad_out, q, k, v, S, z, feature_map_named(feature_map), eps)
