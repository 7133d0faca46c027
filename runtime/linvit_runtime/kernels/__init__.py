"""Linear attention as a torch operator, on the fastest implementation that a call's device has.

    from linvit_runtime.kernels import linear_attention
    out = linear_attention(q, k, v, feature_map="split_relu")  # [B, N, H, D] to [B, N, H*D]
"""

from linvit_runtime.kernels.attention import linear_attention
from linvit_runtime.kernels.dispatch import backends_used
from linvit_runtime.kernels.feature_maps import FEATURE_MAPS

__all__ = ["FEATURE_MAPS", "backends_used", "linear_attention"]
