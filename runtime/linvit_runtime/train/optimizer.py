"""The optimizer of a recipe, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW

from linvit_dsl.check import recipe as schema
from linvit_runtime.train.problems import CheckpointProblem

# Learned tables that are no matrices, by their names in linvit's blocks (the first lines) and in
# papers and checkpoints (the last). Pulling them towards zero has no meaning; timm, DeiT and Swin
# exempt them.
UNDECAYED = frozenset(
    {"pos", "cls_token", "register_tokens", "mix", "gamma", "times", "places", "relative_bias"}
    | {"gather_bias", "spread_bias", "global_tokens", "temperature"}
    | {"pos_embed", "position", "cls", "reg", "reg_token", "registers", "bank"}
    | {"relative_position_bias_table"}
)


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices and filters, not to vectors and learned tables.

    Vectors are biases, the scales of norms, and gates. A trailing number is no part of the name:
    it counts the parameters of that name (`bank0`, or `gamma.0` in a `nn.ParameterList`).
    """
    leaf = name.rstrip(".0123456789").rpartition(".")[2]
    return parameter.ndim > 1 and leaf not in UNDECAYED


def build_optimizer(model: nn.Module, settings: schema.AdamW) -> AdamW:
    """AdamW over the trainable parameters of `model`, in two groups: decayed, and not."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in named if decays(n, p)], "weight_decay": settings.weight_decay},
        {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
    ]
    beta1, beta2 = settings.betas
    # fused: one pass over each tensor instead of a dozen, on the CPU as on CUDA.
    return AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=(beta1, beta2),
        fused=True,
    )


def set_learning_rate(optimizer: AdamW, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: AdamW, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state, named `<parameter>.<field>`: `head.weight.exp_avg`."""
    return {
        f"{name}.{field}": tensor
        for name, parameter in model.named_parameters()
        for field, tensor in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: AdamW, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        CheckpointProblem: A tensor belongs to no parameter of `model`, or has another shape.
    """
    parameters = dict(model.named_parameters())
    places = {id(p): i for i, p in enumerate(_in_order(optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, field = key.rpartition(".")
        parameter = parameters.get(name)
        if parameter is None or tensor.shape not in (parameter.shape, ()):
            raise CheckpointProblem(
                f"the optimizer's tensor {key}, shape {list(tensor.shape)}, fits no parameter of "
                "this model",
                "the checkpoint was saved by another architecture",
            )
        state.setdefault(places[id(parameter)], {})[field] = tensor
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _in_order(optimizer: AdamW) -> list[Tensor]:
    """Parameters in the order in which `state_dict` numbers them."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
