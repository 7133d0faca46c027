"""Linear attention as a torch operator, on the fastest implementation that a call's device has.

`linear_attention(q, k, v, feature_map="split_relu")` takes `[B, N, H, D]` to `[B, N, H*D]`;
`linear_attention_qkvpacked` takes the three in one tensor, `[B, N, 3, H, D]`. The
README beside this file says which module does what.

torch loads with the first use of a name, not with the package: the compiler asks modules of it,
such as `support` and `cuda.choose`, what a device would run. Where torch is loaded already, as in
generated modules, the operators are registered at once: `FlopCounterMode` does not count what is
registered after it was made.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linvit_runtime.kernels.attention import linear_attention
    from linvit_runtime.kernels.dispatch import backends_used, torch_reasons
    from linvit_runtime.kernels.explanation import Explanation, explain
    from linvit_runtime.kernels.feature_maps import FEATURE_MAPS
    from linvit_runtime.kernels.packed import linear_attention_qkvpacked
    from linvit_runtime.kernels.random_features import favor_features

__all__ = [
    "FEATURE_MAPS",
    "Explanation",
    "backends_used",
    "explain",
    "favor_features",
    "linear_attention",
    "linear_attention_qkvpacked",
    "torch_reasons",
]

_MODULES = {
    "FEATURE_MAPS": "feature_maps",
    "Explanation": "explanation",
    "backends_used": "dispatch",
    "explain": "explanation",
    "favor_features": "random_features",
    "linear_attention": "attention",
    "linear_attention_qkvpacked": "packed",
    "torch_reasons": "dispatch",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # found at once from now on
    return value


if "torch" in sys.modules:
    import_module(f"{__name__}.library")
