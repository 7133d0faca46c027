"""What the kernels are made for, in plain numbers and names: without torch and without Numba.

The compiler asks here what a layer of a model will run on, and must not load either to say so. The
plans of the kernels are held to the same facts.
"""

FEATURES_PER_CHANNEL = {
    "split_relu": 2,
    "relu": 1,
    "elu_plus_one": 1,
    "softmax": 1,
    "identity": 1,
}
"""Feature map -> F / D, the number of features that it makes from one channel."""

KERNEL_DTYPES = ("float32", "bfloat16", "float16")
"""The element types that the kernels read and write. They add in float32."""

REFERENCE = "float64 asks for the reference"
"""Why float64 runs in torch: nothing is to be gained on it, and it is what kernels are held to."""

WIDEST_VALUE, MOST_FEATURES = 256, 512
"""The largest E and F of a CPU kernel. Above them the state of a head is too large for the caches.

Both are whole vectors of any machine.
"""


def feature_width(feature_map: str, head_dim: int) -> int:
    """Return F, the number of features of a head of `head_dim` channels."""
    return FEATURES_PER_CHANNEL[feature_map] * head_dim


def cpu_obstacle(feature_map: str, dtype: str, head_dim: int, value_dim: int) -> str | None:
    """Say why there is no CPU kernel for such heads, so that torch runs them; None if there is.

    Args:
        feature_map: A name of `FEATURES_PER_CHANNEL`.
        dtype: Of q, k and v, as torch calls it: `float32`.
        head_dim: D, the width of q and k.
        value_dim: E, the width of v.
    """
    if dtype == "float64":
        return REFERENCE
    if dtype not in KERNEL_DTYPES:
        return f"there is no kernel for {dtype}"
    features = feature_width(feature_map, head_dim)
    if features > MOST_FEATURES:
        return f"heads {head_dim} wide have {features} features, more than {MOST_FEATURES}"
    if value_dim > WIDEST_VALUE:
        return f"values {value_dim} wide are wider than {WIDEST_VALUE}"
    return None
