"""Turns linear attention that is written out in pieces into calls of its kernel.

The pieces are recognised by what they compute, not by the names of blocks. A kernel call never
holds phi(q) or phi(k) in memory, and keeps only q, k, v and the state for backward. A feature map
that the kernel does not know is computed before it, and its features are what the kernel is given:
in blocks written out, and in calls of `linear_attention` with such a map. Several reads of one
state, as in HydraAttention, become one call: the queries stand one after the other along the token
axis, and each is answered by itself. Whatever else reads the state would compute it a second time,
as would every iteration of a loop that it was made before, so then the pieces stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from linvit_codegen.passes.dead_code import live_values
from linvit_codegen.passes.linear_attention import LinearRead, kernel_block, match_read
from linvit_codegen.passes.rewrite import Block, Leaf, edited, everywhere, results_of
from linvit_codegen.passes.terms import Term, Terms
from linvit_dsl.graph.intrinsics import kernel_feature_map
from linvit_dsl.graph.ir import Apply, Call, Graph, Node, Repeat, Store, Value
from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.concat import Concat
from linvit_dsl.ops.op import Op
from linvit_dsl.ops.rearrange import Rearrange
from linvit_dsl.ops.split import Split

TOKENS = 2
"""The axis of tokens in `[b, h, n, c]`."""


def with_fused_attention(top: Graph) -> Graph:
    """The graph with linear attention as kernel calls where a block holds all of its pieces."""
    return everywhere(top, _block)


def _block(graph: Graph) -> Graph:
    is_kernel = kernel_feature_map(graph) is not None  # its body says what the kernel computes
    reads = {} if is_kernel else _reads(graph)
    if not reads:
        return graph
    # What is read once all reads are kernel calls: a state among it has another reader.
    live = live_values(graph, {node: (r.q, r.k, r.v) for node, r in reads.items()})
    readers_of = Counter(read.state for read in reads.values())

    def edit(block: Block, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        by_state: dict[tuple[Term, Term], list[_Reader]] = {}
        for node in nodes:
            if not isinstance(node, Repeat) and node in reads:
                read = reads[node]
                by_state.setdefault(read.state, []).append(_Reader(node, read))
        for state, readers in by_state.items():
            if (
                len(readers) == readers_of[state]
                and live.isdisjoint(readers[0].read.state_values)
                and _may_be_one(nodes, readers)
            ):
                nodes = _fused(nodes, readers)
        return nodes

    return edited(graph, edit)


@dataclass(frozen=True, slots=True)
class _Reader:
    """A node whose result is one read of a state."""

    node: Leaf
    read: LinearRead

    @property
    def answer(self) -> Value:
        return results_of(self.node)[0]


def _reads(graph: Graph) -> dict[Node, LinearRead]:
    """The nodes whose one result is a read of a state, with that read."""
    terms = Terms(graph)
    found: dict[Node, LinearRead] = {}
    for node in graph.walk():
        if not isinstance(node, Store) and node.slot is None and len(node.results) == 1:
            read = match_read(terms, node.results[0])
            if read is not None:
                found[node] = read
    return found


def _may_be_one(nodes: tuple[Node, ...], readers: list[_Reader]) -> bool:
    """Whether all reads have one eps, and no answer is needed before the last query."""
    if len({reader.read.eps for reader in readers}) > 1:
        return False
    first, last = nodes.index(readers[0].node), nodes.index(readers[-1].node)
    answers = {reader.answer for reader in readers}
    return all(
        isinstance(node, Store)
        or (not isinstance(node, Repeat) and answers.isdisjoint(node.arguments))
        for node in nodes[first : last + 1]
    )


def _fused(nodes: tuple[Node, ...], readers: list[_Reader]) -> tuple[Node, ...]:
    """The nodes with one kernel call in the place of the last reader."""
    last = readers[-1].node
    assert not isinstance(last, Store), "a tensor that is declared reads nothing"
    made: list[Node] = []

    def apply(
        op: type[Op], attributes: Attributes, *arguments: Value, results: Sequence[Value] = ()
    ) -> Value:
        types = op.types(attributes, tuple(value.type for value in arguments))
        values = tuple(results) or tuple(Value(type_, last.span) for type_ in types)
        made.append(Apply(op, attributes, arguments, values, None, last.span, last.statement))
        return values[0]

    read = readers[0].read
    queries = [reader.read.q for reader in readers]
    several = len(queries) > 1
    q = apply(Concat, Concat.Attributes(axis=TOKENS), *queries) if several else queries[0]
    graph = kernel_block(read, q, last.span)
    answer = Value(graph.outputs[0].type, last.span)
    made.append(Call(graph, (q, read.k, read.v), (answer,), None, last.span, last.statement))
    heads = read.v.type.sizes[1]
    split_heads = Rearrange.Attributes(pattern="b n (h e) -> b h n e", axes=(("h", heads),))
    answers = [reader.answer for reader in readers]
    if several:
        lengths = tuple(query.type.sizes[TOKENS] for query in queries)
        parts = Split.Attributes.model_validate({"axis": TOKENS, "sizes": lengths})
        apply(Split, parts, apply(Rearrange, split_heads, answer), results=answers)
    else:
        apply(Rearrange, split_heads, answer, results=answers)
    gone = {reader.node for reader in readers}
    place = nodes.index(last)
    return (*(n for n in nodes[:place] if n not in gone), *made, *nodes[place + 1 :])
