"""FAVOR+: random features whose products estimate the softmax (Choromanski et al., ICLR 2021).

The features are made in torch, whose autograd differentiates them; what remains, the sums over
tokens, is linear attention with the feature map `identity`. Legend: see `attention.py`; M features.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from linvit_runtime.kernels.torch_backend import accumulation_dtype

FLOOR = 1e-4
"""Added to every exponential, so that no token is without features."""


def favor_features(
    x: Tensor, projection: Tensor, peak: Literal["token", "head"], floor: float = FLOOR
) -> Tensor:
    """Return phi(x) = (exp(w y - |y|^2 / 2 - c) + floor) / sqrt(M) for y = x / D^(1/4).

    The product of the features of a query and of a key estimates exp(q k / sqrt(D)), times what the
    two constants c make of it. c keeps exp in range: it is the largest w y of a token, or of all
    tokens of a head, never of other images. As a factor common to all features of a query, or to
    all keys, it cancels in attention but for `floor`, and gets no gradient.

    Args:
        x: Queries or keys `[B, T, H, D]`.
        projection: The directions w, one per row: `[M, D]`.
        peak: What c is the largest of. Queries take `token`; keys need one for all, `head`.
        floor: What is added to every exponential.

    Returns:
        `[B, T, H, M]`, a view of a tensor with the heads first, which is the faster product. Above
        0, float32 (float64 for float64), under autocast too.
    """
    dtype = accumulation_dtype(x.dtype)
    num_features, width = projection.shape
    scale = width**-0.25
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(dtype).transpose(1, 2)
        y = x @ (projection.to(dtype) * scale).T
        size = x.square().sum(dim=-1, keepdim=True) * (scale**2 / 2)
        c = y.detach().amax(dim=-1 if peak == "token" else (2, 3), keepdim=True)
        # 1 / sqrt(M) within the exponent: one pass over the features less.
        shift = size + (c + math.log(num_features) / 2)
        features = torch.exp(y - shift) + floor / math.sqrt(num_features)
        return features.transpose(1, 2)
