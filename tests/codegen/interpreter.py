"""Executes a graph from the operators' references: what generated code must compute.

It knows nothing of the code generator but where weights lie: at the slot paths of the state dict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Repeat, Store, Value


def interpret(
    graph: Graph,
    arguments: Sequence[Tensor],
    weights: Mapping[str, Tensor],
    slots: Mapping[str, str] | None = None,
) -> tuple[Tensor, ...]:
    """The results of a graph.

    Args:
        graph: What to execute.
        arguments: One tensor per input.
        weights: By slot path (`layers.0.attn.qkv.q.weight`), as in the state dict.
        slots: Python name -> slot, for slots that had to be renamed.
    """
    batch = arguments[0].shape[0]
    renamed = {slot: python for python, slot in (slots or {}).items()}
    return _Interpreter(batch, weights, renamed).run(graph, arguments, "")


class _Interpreter:
    def __init__(
        self, batch: int, weights: Mapping[str, Tensor], renamed: Mapping[str, str]
    ) -> None:
        self.batch = batch
        self.weights = weights
        self.renamed = renamed

    def run(self, graph: Graph, arguments: Sequence[Tensor], path: str) -> tuple[Tensor, ...]:
        values = dict(zip(graph.inputs, arguments, strict=True))
        self.nodes(graph.nodes, values, path)
        return tuple(values[value] for value in graph.outputs)

    def nodes(self, nodes: Sequence[Node], values: dict[Value, Tensor], path: str) -> None:
        for node in nodes:
            if isinstance(node, Repeat):
                for iteration in node.iterations:
                    self.nodes(iteration, values, path)
            elif isinstance(node, Store):
                values[node.result] = self.weights[self.at(path, node)]
            else:
                arguments = [values[value] for value in node.arguments]
                if isinstance(node, Call):
                    inner = f"{self.at(path, node)}." if node.slot is not None else path
                    results = self.run(node.graph, arguments, inner)
                else:
                    results = self.apply(node, tuple(arguments), path)
                values.update(zip(node.results, results, strict=True))

    def apply(self, node: Apply, arguments: tuple[Tensor, ...], path: str) -> tuple[Tensor, ...]:
        prefix = f"{self.at(path, node)}." if node.slot is not None else path
        weights = {weight.name: self.weights[prefix + weight.name] for weight in node.weights}
        options = {"batch": self.batch} if node.op.needs_batch else {}
        result = node.op.reference(node.attributes, arguments, weights, **options)
        return result if isinstance(result, tuple) else (result,)

    def at(self, path: str, node: Apply | Call | Store) -> str:
        assert node.slot is not None
        name = self.renamed.get(node.slot.name, node.slot.name)
        return path + name if node.slot.index is None else f"{path}{name}.{node.slot.index}"


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Replace every stored tensor: fresh models have zeros in places, which hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            drawn = torch.randn(tensor.shape, generator=generator) * 0.3
            if tensor.is_floating_point():
                tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
