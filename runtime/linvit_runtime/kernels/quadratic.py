"""Linear attention in the order that costs O(N L): the weights of all pairs first, then their sums.

For every query and key the weight phi(q_i).phi(k_j) is formed, as softmax attention forms its
scores, and no state. That is the same function, and for short sequences it is less work: forward it
takes B H N L (F + E) multiply-accumulates against B H (L + N) F E. Legend: see `attention.py`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from linvit_runtime.kernels.torch_backend import accumulation_dtype

# As in feature_maps.py, but of operators that autograd differentiates.
_FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "split_relu": lambda x: torch.cat((torch.relu(x), torch.relu(-x)), dim=-1),
    "relu": torch.relu,
    "elu_plus_one": lambda x: torch.relu(x) + x.clamp(max=0).exp(),
    "softmax": lambda x: torch.softmax(x, dim=-1),
    "identity": lambda x: x,
}


def attention_by_weights(q: Tensor, k: Tensor, v: Tensor, feature_map: str, eps: float) -> Tensor:
    """Compute linear attention in quadratic time; autograd keeps the weights, `[B, H, N, L]`.

    Args:
        q: Queries `[B, N, H, D]`.
        k: Keys `[B, L, H, D]`.
        v: Values `[B, L, H, E]`.
        feature_map: A name of `FEATURE_MAPS`.
        eps: Added to the denominator.

    Returns:
        `[B, N, H*E]`, in the dtype of q; computed in float32 at least, under autocast too.
    """
    phi = _FEATURES[feature_map]
    with torch.autocast(q.device.type, enabled=False):
        fq, fk, wide_v = (x.to(accumulation_dtype(x.dtype)).transpose(1, 2) for x in (q, k, v))
        weights = phi(fq) @ phi(fk).transpose(2, 3)
        out = weights @ wide_v / (weights.sum(dim=3, keepdim=True) + eps)
        return out.transpose(1, 2).flatten(2).to(q.dtype)
