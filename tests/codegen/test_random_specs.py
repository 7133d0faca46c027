"""Random specs, from their text on: what is checked, counted, generated and exported agrees.

The seeds are the same in every run; `LINVIT_SEED=7 ./dev test tests/codegen/test_random_specs.py`
tries others. A failure prints the shortest text that still fails, and the seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from linvit_codegen import Generated, Options, generate, loops
from linvit_codegen.passes import LEVELS, common_subexpressions
from linvit_dsl.check import check_program, elaborate, open_program
from linvit_dsl.errors import SpecError
from linvit_dsl.graph import limits
from linvit_dsl.graph.cost import cost
from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Store
from linvit_dsl.graph.size import at_batch
from linvit_dsl.ops import OPS
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.op import Codes, Types
from linvit_runtime.export.program import moving_axes, quiet
from linvit_runtime.generated import build
from tests.codegen.interpreter import interpret, randomize
from tests.codegen.random_specs import random_spec, shrunk
from tests.dsl.graph.test_kept_for_backward import bytes_held_by
from tests.models.test_macs import weighted_sums

FIRST = int(os.environ.get("LINVIT_SEED", "0")) * 1_000_000
# The reference lowering comes last: it is what is exported.
OPTIONS = (
    *(Options(level=level, validated=True) for level in LEVELS),
    Options(level=0, kernels="reference"),
    Options(level=1, kernels="reference"),
)
CHUNKS, MODELS = 10, 32
COPIES = 0.5
"""Of the bytes that backward keeps, the part that copies add or save at most: torch copies what it
multiplies with its axes moved, depending on how it lies. Where no axes move the count is exact."""
EXPORTED = 4
"""Of each chunk; exporting one takes longer than everything else together."""


class Disagreement(Exception):
    """Two results differ; the first word of the message says which."""


def model_of(text: str) -> Graph:
    """The checked model of a text.

    Raises:
        Disagreement: `check` finds an error.
    """
    program = open_program(Path("random.vit"), text)
    errors = [found for found in check_program(program) if found.severity == "error"]
    if errors:
        raise Disagreement(f"{errors[0].code} in a valid text: {SpecError(*errors)}")
    return elaborate(program, "M").graph


def inputs(graph: Graph, batch: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(batch)
    shapes = ([at_batch(size, batch) for size in value.type.sizes] for value in graph.inputs)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def results(
    module: Callable[..., Tensor | tuple[Tensor, ...]], given: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    with torch.no_grad():
        found = module(*given)
    return (found,) if isinstance(found, Tensor) else tuple(found)


def expect_equal(what: str, found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        if not bool(other.isfinite().all()):
            raise Disagreement(f"finite: result {index} is not")
        reach = max(float(other.abs().max()), 1e-3)
        if one.shape != other.shape or not float((one - other).abs().max()) <= 1e-9 * reach:
            raise Disagreement(f"{what}: result {index} differs")


def expect_agreement(text: str, *, export: bool = True) -> None:
    """Do everything with a spec that there is to do, and compare.

    Raises:
        Disagreement: Two results differ.
    """
    graph = model_of(text)
    given = inputs(graph, 2)
    generated = generate(graph, options=OPTIONS[0])
    if all_is_read(graph):
        expect_counts(graph, generated, dropped="drop" in text)
    module = build(generated, "M").double().eval()
    randomize(module)
    weights = dict(module.state_dict())
    expected = interpret(graph, given, weights, generated.map["names"]["slots"])
    for options in OPTIONS:
        generated = generate(graph, options=options)
        module = build(generated, "M").double().eval()
        if shapes(module.state_dict()) != shapes(weights):
            raise Disagreement(f"keys: those of {options} are not those of {OPTIONS[0]}")
        module.load_state_dict(weights)
        expect_equal(f"{options}", results(module, given), expected)
    if export:
        program = exported(module, graph).module()
        for batch in (1, 2):
            some = inputs(graph, batch)
            expect_equal(f"torch.export at {batch}", results(program, some), results(module, some))


def exported(module: nn.Module, graph: Graph) -> torch.export.ExportedProgram:
    moving = moving_axes(graph, torch.export.Dim("batch"))
    with quiet(), torch.no_grad():
        return torch.export.export(module, inputs(graph, 3), dynamic_shapes=moving)


def all_is_read(graph: Graph) -> bool:
    """Whether every node serves a result: others are counted, and not always executed."""
    live = set(graph.outputs)
    for node in reversed([*graph.walk()]):
        results = (node.result,) if isinstance(node, Store) else node.results
        if live.isdisjoint(results):
            return False
        if not isinstance(node, Store):
            live.update(node.arguments)
    return all(all_is_read(node.graph) for node in graph.walk() if isinstance(node, Call))


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in tensors.items()}


def expect_counts(
    graph: Graph, generated: Generated, *, dropped: bool, tolerance: float = COPIES
) -> None:
    """Parameters, multiply-adds and kept bytes, as torch counts them at -O0."""
    module, static = build(generated, "M").eval(), cost(graph, 4)
    counted = sum(parameter.numel() for parameter in module.parameters())
    if counted != static.params:
        raise Disagreement(f"params: {counted:,} are there, {static.params:,} were counted")
    # On a CPU torch keeps masks of dropout as floats, on a GPU as booleans, which we count.
    if not dropped:
        given = tuple(x.float().requires_grad_() for x in inputs(graph, 4))
        held, kept = bytes_held_by(module.train(), given), static.activation_bytes
        if abs(held - kept) > tolerance * kept:
            raise Disagreement(f"bytes: {held:,} are kept, {kept:,} were counted")
    # Of several images: torch does not count the products of one with one row.
    meta = tuple(x.float().to("meta") for x in inputs(graph, 4))
    with FlopCounterMode(display=False) as counter:
        results(module.to("meta").eval().requires_grad_(False), meta)
    products = static.macs + weighted_sums(graph, batch=4)
    if counter.get_total_flops() != 2 * products:
        raise Disagreement(f"macs: {counter.get_total_flops() // 2:,}, not {products:,}")


def failure(text: str, *, export: bool) -> str:
    """How a spec fails, its kind first; empty if it does not."""
    try:
        expect_agreement(text, export=export)
    except Disagreement as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001 - whatever a valid text brings about is a failure
        return f"{type(error).__name__}: {error}"
    return ""


def report(seed: int, reason: str) -> str:
    """The failure with the shortest text that fails alike."""
    text = random_spec(seed)
    kind = reason.partition(":")[0]
    export = kind.startswith("torch.export")
    smallest = shrunk(text, lambda other: failure(other, export=export).startswith(f"{kind}:"))
    found = failure(smallest, export=export)
    return f"seed {seed}: {reason}\n\n{smallest}\n{found}"


def test_what_backward_keeps_is_exact_where_no_axes_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINVIT_CACHE", str(tmp_path))

    def differs(text: str) -> bool:
        try:
            graph = model_of(text)
            generated = generate(graph, options=OPTIONS[0])
            if all_is_read(graph):
                expect_counts(graph, generated, dropped=False, tolerance=0)
                counted.append(text)
        except (Disagreement, SpecError) as reason:
            return str(reason).startswith("bytes:")
        return False

    counted: list[str] = []
    for seed in range(FIRST, FIRST + 60):
        text = random_spec(seed, plain=True)
        assert not differs(text), f"seed {seed}:\n{shrunk(text, differs)}"
    assert len(counted) > 20


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_random_spec_means_the_same_to_all(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINVIT_CACHE", str(tmp_path))
    for index in range(MODELS):
        seed = FIRST + chunk * MODELS + index
        reason = failure(random_spec(seed), export=index % (MODELS // EXPORTED) == 0)
        assert not reason, report(seed, reason)


def break_the_emitter(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(attributes: Any, types: Types, arguments: Codes, module: Code | None) -> Code:
        return original(attributes, types, arguments[::-1], module)

    original = OPS["sub"].call
    monkeypatch.setattr(OPS["sub"], "call", staticmethod(swapped))


def break_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_follows", lambda before, after: True)
    monkeypatch.setattr(loops, "_escapes", lambda *_: False)


def break_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expressions that differ in static arguments only are taken for equal."""

    def coarse(node: Node, *rest: Any) -> Any:
        key: Any = original(node, *rest)
        if key is None or not isinstance(node, Apply):
            return key
        return tuple(part for part in key if part is not node.attributes)

    original = common_subexpressions._key
    monkeypatch.setattr(common_subexpressions, "_key", coarse)


def break_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPS["conv2d"], "macs", staticmethod(lambda *_: 0))


def break_the_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of four iterations are refused."""
    monkeypatch.setattr(limits, "REPEAT", 3)


@pytest.mark.parametrize(
    ("sabotage", "kind"),
    [
        (break_the_emitter, "-O"),
        (break_the_loops, ""),
        (break_a_pass, "-O"),
        (break_the_counts, "macs"),
        (break_the_checker, "E07"),
    ],
)
def test_what_is_broken_is_found(
    sabotage: Callable[[pytest.MonkeyPatch], None],
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The controls, within the models of one run; what is printed is short."""
    monkeypatch.setenv("LINVIT_CACHE", str(tmp_path))
    sabotage(monkeypatch)
    failures = ((s, failure(random_spec(s), export=False)) for s in range(CHUNKS * MODELS))
    seed, reason = next((seed, reason) for seed, reason in failures if reason)
    assert reason.startswith(kind)
    printed = report(seed, reason)
    assert printed.startswith(f"seed {seed}: ")
    assert printed.count("\n") < 25, printed
