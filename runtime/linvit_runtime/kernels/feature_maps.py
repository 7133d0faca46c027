"""The feature maps of linear attention, as torch computes them.

A feature map takes a head's query or key of width D to F non-negative features:

==============  ==================================  ====  =================================
name            phi(x)                              F     source
==============  ==================================  ====  =================================
split_relu      [relu(x), relu(-x)]                 2 D   keeps the sign that relu discards
relu            relu(x)                             D     Cai et al., EfficientViT, 2023
elu_plus_one    x + 1 where x > 0, else exp(x)      D     Katharopoulos et al., 2020
softmax         exp(x) / sum of exp(x)              D     Shen et al., WACV 2021
identity        x                                   D     features that the caller made
==============  ==================================  ====  =================================

softmax is over the channels of a head. All others are elementwise. The derivative of every map is a
function of phi(x) alone: the backward pass recomputes the features and needs nothing else.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """One feature map.

    Attributes:
        name: What `feature_map=` is called with.
        features_per_channel: F / D, the number of features made from one channel.
        write_features: `(x, out)` writes phi(x) `[..., D]` into `out` `[..., F]`, of any strides;
            None where phi(x) is x itself, which need not be written anywhere.
        multiply_by_derivative: `(grad, features)` multiplies dL/dphi(x) by the derivative of phi,
            given phi(x), still per feature `[..., F]`, in place.
        write_input_gradient: `(grad, out)` folds that product `[..., F]` into dL/dx `[..., D]`.
    """

    name: str
    features_per_channel: int
    write_features: Callable[[Tensor, Tensor], object] | None
    multiply_by_derivative: Callable[[Tensor, Tensor], object]
    write_input_gradient: Callable[[Tensor, Tensor], object]

    def width(self, head_dim: int) -> int:
        """Return F, the number of features of a head of `head_dim` channels."""
        return self.features_per_channel * head_dim


def _write_split_relu(x: Tensor, out: Tensor) -> None:
    positive, negative = out.chunk(2, dim=-1)
    torch.clamp(x, min=0, out=positive)
    torch.sub(positive, x, out=negative)  # relu(x) - x = relu(-x), exactly


def _write_relu(x: Tensor, out: Tensor) -> None:
    torch.clamp(x, min=0, out=out)


def _write_elu_plus_one(x: Tensor, out: Tensor) -> None:
    # Both branches at once: relu(x) + exp(min(x, 0)), where exp(0) is the one of x + 1. It keeps
    # the digits that elu(x) + 1 loses for very negative x.
    torch.clamp(x, max=0, out=out)
    out.exp_().add_(x.clamp(min=0))


def _write_softmax(x: Tensor, out: Tensor) -> None:
    torch.softmax(x, dim=-1, out=out)


def _zero_where_inactive(grad: Tensor, features: Tensor) -> None:
    # phi > 0 exactly where the half is active; at x = 0 the subgradient is 0, as in torch.relu.
    torch.ops.aten.threshold_backward.grad_input(grad, features, 0, grad_input=grad)


def _times_elu_derivative(grad: Tensor, features: Tensor) -> None:
    grad.mul_(features.clamp(max=1))  # phi' is 1 where phi >= 1 and exp(x) = phi below


def _times_softmax_jacobian(grad: Tensor, features: Tensor) -> None:
    # The sum of a softmax is always 1: what would change all features alike goes nowhere.
    grad.sub_((grad * features).sum(dim=-1, keepdim=True)).mul_(features)


def _leave(_grad: Tensor, _features: Tensor) -> None:
    """Multiply by the derivative of the identity."""


def _fold_halves(grad: Tensor, out: Tensor) -> None:
    positive, negative = grad.chunk(2, dim=-1)
    torch.sub(positive, negative, out=out)


def _copy(grad: Tensor, out: Tensor) -> None:
    out.copy_(grad)


_ALL = (
    FeatureMap("split_relu", 2, _write_split_relu, _zero_where_inactive, _fold_halves),
    FeatureMap("relu", 1, _write_relu, _zero_where_inactive, _copy),
    FeatureMap("elu_plus_one", 1, _write_elu_plus_one, _times_elu_derivative, _copy),
    FeatureMap("softmax", 1, _write_softmax, _times_softmax_jacobian, _copy),
    FeatureMap("identity", 1, None, _leave, _copy),
)
_BY_NAME = {feature_map.name: feature_map for feature_map in _ALL}

FEATURE_MAPS: tuple[str, ...] = tuple(_BY_NAME)
"""The names that `feature_map=` accepts."""


def feature_map_named(name: str) -> FeatureMap:
    """Return the feature map called `name`.

    Raises:
        ValueError: There is no such map; the message proposes the nearest name.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    nearest = difflib.get_close_matches(str(name), FEATURE_MAPS, n=1)
    proposal = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(
        f"linear_attention: unknown feature map {name!r}{proposal} "
        f"(there are {', '.join(FEATURE_MAPS)} and, with a projection, favor)"
    )
