"""Which CUDA path a call takes: a table of rules, and what each path has kernels for.

The table, `choices.toml`, is checked in and read once. There is no tuning at run time: it would
break the capture of graphs, and a run could not be repeated. `write_rules` replaces the table by
what was measured on a device.

Needs no GPU: what a device would run can be asked anywhere.
"""

import functools
import json
import tomllib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from linvit_runtime.kernels.cuda.build import Capability, arch_name
from linvit_runtime.kernels.cuda.kernel import OLDEST_CAPABILITY
from linvit_runtime.kernels.cuda.plan import (
    SIMT_FEATURE_MAPS,
    SimtBackwardPlan,
    SimtPlan,
    choose_backward_plan,
    choose_plan,
)
from linvit_runtime.kernels.cuda.tensor_gradient_plan import (
    TensorBackwardPlan,
    choose_tensor_backward_plan,
)
from linvit_runtime.kernels.cuda.tensor_plan import TensorPlan, choose_tensor_plan
from linvit_runtime.kernels.support import REFERENCE

Plan = SimtPlan | SimtBackwardPlan | TensorPlan | TensorBackwardPlan
CudaPath = Literal["tensor", "simt"]
Direction = Literal["forward", "backward"]

TABLE = Path(__file__).with_name("choices.toml")


@dataclass(frozen=True, slots=True)
class Call:
    """What the choice for one pass depends on.

    Attributes:
        direction: Which pass.
        feature_map: The name of the feature map.
        dtype: Of q, k and v: `float32`, `bfloat16`, `float16` or `float64`.
        batch: B.
        queries: N.
        keys: L.
        heads: H.
        head_dim: D.
        value_dim: E.
        save_state: Whether a forward pass writes S and z for the backward pass.
    """

    direction: Direction
    feature_map: str
    dtype: str
    batch: int
    queries: int
    keys: int
    heads: int
    head_dim: int
    value_dim: int
    save_state: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Calls that take one path. What a rule leaves out does not matter to it.

    Attributes:
        path: The path they take.
        split: Into how many parts the tokens of a head are cut; 0 leaves it to the kernels' plan.
        directions: Only these passes.
        dtypes: Only these.
        feature_maps: Only these.
        head_dims: Only these D.
        capability_from: Only devices of this compute capability or newer.
        capability_below: Only devices older than this.
        heads_from: Only from this B H on.
        heads_below: Only below this B H.
        tokens_from: Only from this max(N, L) on.
        tokens_below: Only below this max(N, L).
    """

    path: CudaPath
    split: int = 0
    directions: tuple[Direction, ...] = ()
    dtypes: tuple[str, ...] = ()
    feature_maps: tuple[str, ...] = ()
    head_dims: tuple[int, ...] = ()
    capability_from: Capability | None = None
    capability_below: Capability | None = None
    heads_from: int = 0
    heads_below: int | None = None
    tokens_from: int = 0
    tokens_below: int | None = None

    def fits(self, call: Call, capability: Capability) -> bool:
        """Whether the rule is about this call on such a device."""
        tokens = max(call.queries, call.keys)
        return (
            _among(call.direction, self.directions)
            and _among(call.dtype, self.dtypes)
            and _among(call.feature_map, self.feature_maps)
            and _among(call.head_dim, self.head_dims)
            and _between(capability, self.capability_from, self.capability_below)
            and _between(call.batch * call.heads, self.heads_from, self.heads_below)
            and _between(tokens, self.tokens_from, self.tokens_below)
        )


@dataclass(frozen=True, slots=True)
class Table:
    """The rules, and where they come from.

    Attributes:
        measured: Whether a device measured them.
        note: On what and when, or why not.
        rules: In order of precedence.
    """

    measured: bool
    note: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """How a call runs.

    Attributes:
        path: `torch` where no path has a kernel.
        split: The rule's.
        reason: Why, in words.
        plan: The constants of its kernels; None for torch.
    """

    path: CudaPath | Literal["torch"]
    split: int
    reason: str
    plan: Plan | None


def choose(
    call: Call,
    capability: Capability,
    table: Table | None = None,
    without: Collection[CudaPath] = (),
) -> Choice:
    """How a device of that compute capability runs `call`.

    Args:
        call: The pass and its shapes.
        capability: Of the device.
        table: By default the checked-in one.
        without: Paths that are not to be taken, because their kernels could not be built.
    """
    if call.dtype == "float64":
        return Choice("torch", 0, REFERENCE, None)
    if capability < OLDEST_CAPABILITY:
        reason = f"{arch_name(capability)} is older than {arch_name(OLDEST_CAPABILITY)}"
        return Choice("torch", 0, reason, None)
    table = read_table() if table is None else table
    obstacles: dict[str, None] = {}
    for rule in table.rules:
        if rule.path not in without and rule.fits(call, capability):
            plan = _plan(rule, call, capability)
            if not isinstance(plan, str):
                source = "measured" if table.measured else "not yet measured"
                reason = f"by the table for {arch_name(capability)}, {source}"
                return Choice(rule.path, rule.split, "; ".join((*obstacles, reason)), plan)
            obstacles[plan] = None
    return Choice("torch", 0, "; ".join(obstacles) or "no rule of the table fits", None)


def _plan(rule: Rule, call: Call, capability: Capability) -> Plan | str:
    """The plan of the rule's path for a call, or why it has no kernel for it."""
    planner = _PLANNERS.get((call.direction, rule.path))
    if planner is None:
        return f"there is no {rule.path} kernel of the {call.direction} pass"
    return planner(rule, call, capability)


def _simt_forward(rule: Rule, call: Call, capability: Capability) -> SimtPlan | str:
    if call.feature_map not in SIMT_FEATURE_MAPS:
        return f"there is no kernel for the feature map {call.feature_map}"
    plan = choose_plan(call.feature_map, call.head_dim, call.value_dim, call.save_state)
    return plan or f"a head width of {call.head_dim} does not fit into shared memory"


def _simt_backward(rule: Rule, call: Call, capability: Capability) -> SimtBackwardPlan | str:
    if call.feature_map not in SIMT_FEATURE_MAPS:
        return f"there is no kernel for the feature map {call.feature_map}"
    plan = choose_backward_plan(call.feature_map, call.head_dim, call.value_dim)
    return plan or f"a head width of {call.head_dim} does not fit into shared memory"


def _tensor_forward(rule: Rule, call: Call, capability: Capability) -> TensorPlan | str:
    plan = choose_tensor_plan(
        call.feature_map,
        call.dtype,
        call.head_dim,
        call.value_dim,
        call.batch * call.heads,
        call.queries,
        call.keys,
        call.save_state,
        rule.split,
    )
    return plan if plan and _fits(plan, capability) else _tensor_obstacle(plan, call)


def _tensor_backward(rule: Rule, call: Call, capability: Capability) -> TensorBackwardPlan | str:
    plan = choose_tensor_backward_plan(
        call.feature_map,
        call.dtype,
        call.head_dim,
        call.value_dim,
        call.batch * call.heads,
        call.queries,
        call.keys,
        rule.split,
    )
    return plan if plan and _fits(plan, capability) else _tensor_obstacle(plan, call)


def _fits(plan: TensorPlan | TensorBackwardPlan, capability: Capability) -> bool:
    return plan.constants.shared_bytes <= shared_memory_limit(capability)


def _tensor_obstacle(plan: TensorPlan | TensorBackwardPlan | None, call: Call) -> str:
    if plan is not None:
        return f"{plan.constants.shared_bytes:,} bytes do not fit into shared memory"
    widths = f"heads {call.head_dim} and {call.value_dim} wide"
    return f"tensor cores have no kernel for {call.feature_map} in {call.dtype} with {widths}"


def shared_memory_limit(capability: Capability) -> int:
    """Bytes of shared memory that a CTA may ask for (CUDA C++ Programming Guide, table 30)."""
    if capability < (8, 0):
        return 64 * 1024
    if capability in ((8, 6), (8, 9)) or capability >= (12, 0):
        return 99 * 1024
    return 163 * 1024 if capability < (9, 0) else 227 * 1024


Planner: TypeAlias = Callable[[Rule, Call, Capability], Plan | str]
_PLANNERS: dict[tuple[Direction, CudaPath], Planner] = {
    ("forward", "simt"): _simt_forward,
    ("backward", "simt"): _simt_backward,
    ("forward", "tensor"): _tensor_forward,
    ("backward", "tensor"): _tensor_backward,
}


@functools.cache
def read_table(path: Path = TABLE) -> Table:
    """Read the rules.

    Raises:
        ValueError: A key is unknown.
    """
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    names = {field.name for field in fields(Rule)}
    rules: list[Rule] = []
    for number, entry in enumerate(content["rule"], 1):
        if unknown := sorted(set(entry) - names):
            raise ValueError(f"{path.name}: rule {number} has the unknown key {unknown[0]!r}")
        rules.append(Rule(**{key: _frozen(value) for key, value in entry.items()}))
    return Table(content["source"]["measured"], content["source"]["note"], tuple(rules))


def write_rules(rules: Iterable[Rule], note: str, path: Path = TABLE) -> None:
    """Replace the table by rules that were measured.

    Args:
        rules: In order of precedence; the last should fit every call.
        note: On what, with which versions and when.
        path: The file; by default the checked-in one.
    """
    heading = path.read_text(encoding="utf-8").split("\n\n", 1)[0] if path.exists() else ""
    blocks = [heading, f"[source]\nmeasured = true\nnote = {json.dumps(note)}"]
    for rule in rules:
        given = {
            field.name: getattr(rule, field.name)
            for field in fields(Rule)
            if field.name in ("path", "split") or getattr(rule, field.name) != field.default
        }
        # A string, a number and a list of either are written alike in JSON and TOML.
        lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
        blocks.append("\n".join(["[[rule]]", *lines]))
    path.write_text("\n\n".join(filter(None, blocks)) + "\n", encoding="utf-8")
    read_table.cache_clear()


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _among(value: object, allowed: tuple[object, ...]) -> bool:
    return not allowed or value in allowed


def _between(value: Any, lowest: Any, end: Any) -> bool:
    return (lowest is None or value >= lowest) and (end is None or value < end)
