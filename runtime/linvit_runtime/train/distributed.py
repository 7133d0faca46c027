"""One process, or several that `torchrun` started: the same training code."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from linvit_runtime.train.problems import SetupProblem

# Groups that were left. A wrapped model may outlive its group; as the last to hold it, it would end
# the group's threads while it holds Python's lock, for which such a thread may wait: for ever.
_LEFT: list[object] = []


def is_main_process() -> bool:
    """Whether this process is the one that writes and prints; known before it joins the others."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True, slots=True)
class Dist:
    """This process among those of the run. A context manager: leaves the group at the end.

    Attributes:
        rank: number of this process, from 0.
        world: number of processes.
        device: where this process computes.
    """

    rank: int
    world: int
    device: torch.device

    @classmethod
    def from_env(cls, device: str = "auto") -> Dist:
        """Join the processes named by RANK, WORLD_SIZE and LOCAL_RANK, or stand alone.

        Args:
            device: `cpu`, `cuda`, or `auto`: CUDA where there is one.

        Raises:
            SetupProblem: CUDA was asked for and torch sees none.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "0"))
        if device == "cuda" and not torch.cuda.is_available():
            raise SetupProblem("torch sees no CUDA device", "train with --device cpu")
        cuda = device != "cpu" and torch.cuda.is_available()
        local = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else None
        if local:
            torch.cuda.set_device(local)
        if world > 1:
            distributed.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=world)
        return cls(rank, world, local or torch.device("cpu"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.world > 1:
            _LEFT.append(distributed.group.WORLD)
            distributed.destroy_process_group()

    @property
    def main(self) -> bool:
        """Whether this process writes: checkpoints, metrics, progress."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model`, averaging its gradients over the processes if there are several."""
        if self.world == 1:
            return model
        # A filter of a depthwise convolution, [C, 1, k, k], is contiguous whatever the stride of
        # its axis of one element; torch warns that its gradient gives another one, which is true
        # and without effect.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return DistributedDataParallel(model)

    def share(self, batch: Tensor) -> Tensor:
        """This process's equal share of a global batch [B, ...]."""
        size = len(batch) // self.world
        return batch[self.rank * size : (self.rank + 1) * size]

    def sum(self, values: Tensor) -> Tensor:
        """The elementwise sum of `values` over all processes; changed in place."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process has `flag` set: all must agree to stop at the same step."""
        if self.world == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            distributed.barrier()
