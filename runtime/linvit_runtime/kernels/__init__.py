"""Linear attention as a torch operator, on the fastest implementation that a call's device has.

`linear_attention(q, k, v, feature_map="split_relu")` takes `[B, N, H, D]` to `[B, N, H*D]`. The
README beside this file says which module does what.
"""

from linvit_runtime.kernels.attention import linear_attention
from linvit_runtime.kernels.dispatch import backends_used
from linvit_runtime.kernels.feature_maps import FEATURE_MAPS
from linvit_runtime.kernels.random_features import favor_features

__all__ = ["FEATURE_MAPS", "backends_used", "favor_features", "linear_attention"]
