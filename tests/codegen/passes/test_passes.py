"""Each pass: what it does to a small model (a golden), that the model stays the same, controls."""

from collections.abc import Callable
from dataclasses import replace
from difflib import unified_diff
from functools import partial
from pathlib import Path

import pytest

from linvit_codegen import Options, generate
from linvit_codegen.passes import LEVELS, PASSES, Level, Pass, optimise
from linvit_codegen.passes.evaluation_order import Table, with_evaluation_order
from linvit_codegen.passes.validate import validate
from linvit_dsl.check import elaborate, open_program
from linvit_dsl.errors import InternalError
from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Repeat, Slot
from linvit_dsl.ops.arithmetic import ArithmeticAttributes
from linvit_dsl.ops.transpose import Transpose
from tests.codegen.passes.equality import expect_equal
from tests.codegen.passes.samples import SAMPLES
from tests.conftest import Golden

FromText = Callable[[str], Graph]
# What is measured changes from machine to machine; what is done with it does not.
TABLE = {("split_relu", 4): 12}
RUN = PASSES | {"evaluation_order": partial(with_evaluation_order, table=TABLE)}


@pytest.fixture
def from_text(tmp_path: Path) -> FromText:
    """Give a function that elaborates the one model of a text."""

    def build(text: str) -> Graph:
        path = tmp_path / "sample.vit"
        path.write_text(text, encoding="utf-8")
        return elaborate(open_program(path), None, {}).graph

    return build


def code(graph: Graph) -> list[str]:
    """The generated module without its header."""
    return generate(graph, options=Options(level=0)).text.splitlines(keepends=True)[6:]


@pytest.mark.parametrize(
    ("sample", "name"),
    [*((name, name) for name in PASSES), ("fused_attention_other_maps", "fused_attention")],
)
def test_what_a_pass_does_is_as_reviewed(
    sample: str, name: str, from_text: FromText, golden: Golden
) -> None:
    before = from_text(SAMPLES[sample])
    after = RUN[name](before)
    if name == "fused_attention":  # it leaves the pieces behind
        after = PASSES["dead_code"](after)
    diff = unified_diff(code(before), code(after), "before", "after", n=1000)
    golden.check(f"codegen/passes/{sample}.diff", "".join(diff))


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("name", PASSES)
def test_a_pass_changes_no_result(name: str, sample: str, from_text: FromText) -> None:
    before = from_text(SAMPLES[sample])
    after = RUN[name](before)
    validate(after, before, name)
    expect_equal(after, before)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_all_passes_together_change_no_result(
    sample: str, level: Level, from_text: FromText
) -> None:
    before = from_text(SAMPLES[sample])
    after = optimise(before, LEVELS[level], validated=True)
    expect_equal(after, before)


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_with_nothing_to_do_returns_what_it_was_given(
    name: str, from_text: FromText
) -> None:
    text = """
from std.nn import Mlp
model Plain(x: [B, 6, 8]) -> [B, 6, 8] {
  repeat 3 { x = x + Mlp[2](layernorm(x)) }
  return x |> linear[8]@head
}
"""
    graph = from_text(text)
    assert PASSES[name](graph) is graph


@pytest.mark.parametrize(
    ("read", "kernels"),
    [
        ("y = ask(ask(q, s, z), s, z)", 0),  # the second needs the first one's answer
        ("y = q\n  repeat 2 { y = y + ask(y, s, z) }", 0),  # the state is made once, read twice
        ("y = ask(q, s, z) + ask(k, s, z)", 1),
    ],
)
def test_a_state_is_computed_once_and_before_its_readers(
    read: str, kernels: int, from_text: FromText
) -> None:
    before = from_text(f"""
from std.linear_attention import LinearState, LinearRead

block Ask(q: [B, h, n, e], s: [B, h, e, e], z: [B, h, e, 1]) -> [B, h, n, e] {{
  return LinearRead(relu(q), s, z)
}}

model Readers(q: [B, 2, 6, 4], k: [B, 2, 6, 4]) -> [B, 2, 6, 4] {{
  layer ask = Ask
  (s, z) = LinearState(relu(k), k)
  {read}
  return y
}}
""")
    after = PASSES["fused_attention"](before)
    validate(after, before, "fused_attention")
    expect_equal(after, before)
    assert "".join(code(after)).count("kernels.linear_attention(") == kernels


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_is_done_after_once(name: str, from_text: FromText) -> None:
    once = RUN[name](from_text(SAMPLES[name]))
    assert code(RUN[name](once)) == code(once)


@pytest.mark.parametrize(
    ("queries", "keys", "width", "table", "quadratic"),
    [
        (12, 12, 4, {("split_relu", 4): 12}, True),
        (13, 13, 4, {("split_relu", 4): 12}, False),
        (12, 12, 4, {}, False),
        (12, 12, 4, {("relu", 4): 100}, False),
        (24, 24, 8, {("split_relu", 4): 12}, True),  # twice the width, twice the tokens
        (25, 25, 8, {("split_relu", 4): 12}, False),
        (8, 24, 4, {("split_relu", 4): 12}, True),  # 2 * 8 * 24 / (8 + 24) = 12
        (8, 25, 4, {("split_relu", 4): 12}, False),
        (1, 1, 4, {("split_relu", 4): 0}, False),
    ],
)
def test_the_order_follows_the_table(
    queries: int, keys: int, width: int, table: Table, quadratic: bool, from_text: FromText
) -> None:
    graph = from_text(f"""
from std.linear_attention import linear_attention
model One(
  q: [B, 2, {queries}, {width}], k: [B, 2, {keys}, {width}],
) -> [B, {queries}, {2 * width}] {{
  return linear_attention(q, k, k)
}}
""")
    after = with_evaluation_order(graph, table)
    assert ('order="quadratic"' in "".join(code(after))) is quadratic
    assert (after is graph) is not quadratic


def test_what_is_random_or_owns_weights_is_never_merged(from_text: FromText) -> None:
    graph = PASSES["common_subexpressions"](from_text(SAMPLES["common_subexpressions"]))
    slots = [str(node.slot) for node in graph.walk() if node.slot is not None]
    assert slots == ["shared", "dropout", "dropout2", "linear"]


def test_loops_stay_loops(from_text: FromText) -> None:
    text = """
model Loop(x: [B, 4]) -> [B, 4] {
  first = relu(x)
  a = x
  b = x
  repeat 3 {
    c = exp(a) + exp(b)
    a = b |> linear[4]@f
    b = c * relu(x)
  }
  return a + b + first
}
"""
    before = from_text(text)
    after = optimise(before, LEVELS[2], validated=True)
    expect_equal(after, before)
    assert "for " in "".join(code(after))


# Controls: each of these mistakes must be found, by the check of graphs or by the comparison.


def every_node(change: Callable[[Node], Node]) -> Pass:
    """A pass that changes nodes one by one, in called blocks too."""

    def node_of(node: Node) -> Node:
        if isinstance(node, Repeat):
            return replace(node, iterations=tuple(tuple(map(node_of, i)) for i in node.iterations))
        return change(node)

    def run(graph: Graph) -> Graph:
        return replace(graph, nodes=tuple(map(node_of, graph.nodes)))

    return run


def _drop_eps(node: Node) -> Node:
    if isinstance(node, Call):
        return replace(node, graph=every_node(_drop_eps)(node.graph))
    if isinstance(node, Apply) and node.op.name == "add" and len(node.arguments) == 1:
        return replace(node, attributes=ArithmeticAttributes(right=0.5))
    return node


def _swap(node: Node) -> Node:
    if isinstance(node, Apply) and node.op.name == "sub":
        return replace(node, arguments=node.arguments[::-1])
    return node


def _other_weights(node: Node) -> Node:
    if isinstance(node, Apply) and node.slot == Slot("linear"):
        return replace(node, slot=Slot("shared"))
    return node


def _wrong_shape(node: Node) -> Node:
    if isinstance(node, Apply) and node.op.name == "transpose":
        return replace(node, attributes=Transpose.Attributes(a=0, b=1))
    return node


def _without_live(graph: Graph) -> Graph:
    kept = (n for n in graph.nodes if not isinstance(n, Apply) or n.op.name != "relu")
    return replace(graph, nodes=tuple(kept))


@pytest.mark.parametrize(
    ("sample", "broken"),
    [
        ("fused_attention", every_node(_drop_eps)),
        ("common_subexpressions", every_node(_swap)),
    ],
)
def test_the_comparison_finds_a_broken_pass(sample: str, broken: Pass, from_text: FromText) -> None:
    before = from_text(SAMPLES[sample])
    after = broken(before)
    validate(after, before, "broken")
    with pytest.raises(AssertionError, match="not close"):
        expect_equal(after, before)


@pytest.mark.parametrize(
    ("sample", "broken", "message"),
    [
        ("common_subexpressions", every_node(_other_weights), "changed the weights"),
        ("rearrangements", every_node(_wrong_shape), "where its rule says"),
        ("dead_code", _without_live, "before it is made"),
    ],
)
def test_the_check_of_graphs_finds_a_broken_pass(
    sample: str,
    broken: Pass,
    message: str,
    from_text: FromText,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = from_text(SAMPLES[sample])
    monkeypatch.setitem(PASSES, "dead_code", broken)
    with pytest.raises(InternalError, match=message):
        optimise(before, ("dead_code",), validated=True)
    optimise(before, ("dead_code",))  # it is the check that finds it
