"""Which implementation a call of linear attention takes, asked without making it.

Needs neither torch nor a device: what another machine would run can be asked anywhere.
"""

import re
from dataclasses import dataclass
from typing import Literal

from linvit_runtime.kernels.cuda.build import Capability
from linvit_runtime.kernels.cuda.choose import Call, Direction, choose
from linvit_runtime.kernels.support import cpu_obstacle

Backend = Literal["numba-cpu", "numba-cuda-tensor", "numba-cuda-simt", "torch"]

CUDA_BACKENDS: dict[str, Backend] = {
    "tensor": "numba-cuda-tensor",
    "simt": "numba-cuda-simt",
    "torch": "torch",
}
"""What `backends_used` calls the paths of the table."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one pass would run.

    Attributes:
        direction: `forward` or `backward`.
        backend: What `backends_used` would name.
        split: Into how many parts CUDA kernels cut the tokens; 0 where their plan says.
        reason: Why, in words; also why a faster backend was passed over.
    """

    direction: Direction
    backend: Backend
    split: int
    reason: str


def explain(
    feature_map: str,
    dtype: str,
    device: str,
    *,
    batch: int,
    queries: int,
    keys: int,
    heads: int,
    head_dim: int,
    value_dim: int,
) -> tuple[Explanation, Explanation]:
    """Say how the forward and the backward pass of a training step would run.

    That the compilers are installed is taken for granted: without them everything is `torch`.

    Args:
        feature_map: One of `FEATURE_MAPS`.
        dtype: Of q, k and v: `float32`, `bfloat16`, `float16` or `float64`.
        device: `cpu`, or the architecture of a CUDA device: `sm_90`.
        batch: B.
        queries: N.
        keys: L.
        heads: H.
        head_dim: D.
        value_dim: E.

    Raises:
        ValueError: The device is neither.
    """
    sizes = (batch, queries, keys, heads, head_dim, value_dim)
    if device == "cpu":
        obstacle = cpu_obstacle(feature_map, dtype, head_dim, value_dim)
        backend: Backend = "torch" if obstacle else "numba-cpu"
        reason = obstacle or "the CPU kernels have this feature map, dtype and width"
        return (
            Explanation("forward", backend, 0, reason),
            Explanation("backward", backend, 0, reason),
        )
    capability = parse_arch(device)
    forward = Call("forward", feature_map, dtype, *sizes, save_state=True)
    backward = Call("backward", feature_map, dtype, *sizes)
    return _on_cuda(forward, capability), _on_cuda(backward, capability)


def parse_arch(text: str) -> Capability:
    """(9, 0) of `sm_90`, (12, 0) of `sm_120`.

    Raises:
        ValueError: It is not written like that.
    """
    match = re.fullmatch(r"sm_(\d+)(\d)", text)
    if match is None:
        raise ValueError(f"{text!r} is no architecture; they are written like sm_80, sm_90, sm_120")
    return int(match[1]), int(match[2])


def _on_cuda(call: Call, capability: Capability) -> Explanation:
    choice = choose(call, capability)
    return Explanation(call.direction, CUDA_BACKENDS[choice.path], choice.split, choice.reason)
