"""What the sizes of a model suggest: linear attention over so few tokens that scores are cheaper.

(phi(q) phi(k)^T) v and phi(q) (phi(k)^T v) are one function. With m features, e channels of a
value, n queries and l keys per head, the first takes n l (m + e) multiply-adds, the second
(l + n) m e; a state that several sets of queries read is made once. To have few tokens is no
mistake of a spec, and may be just what its author measures, so this is never a warning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from linvit_dsl.graph.expand import expand
from linvit_dsl.graph.ir import Apply, Graph
from linvit_dsl.graph.size import at_batch


@dataclass(frozen=True, slots=True)
class LinearRead:
    """Queries that read a state: `heads` x [queries, features] times [features, channels].

    Args:
        heads: Products side by side, of one image.
        queries, keys, features, channels: n, l, m and e.
        readers: How many sets of queries read the state.
    """

    heads: int
    queries: int
    keys: int
    features: int
    channels: int
    readers: int = 1

    @property
    def by_state(self) -> int:
        """Multiply-adds of an image when the state is computed first."""
        tokens = self.keys + self.readers * self.queries
        return self.heads * tokens * self.features * self.channels

    @property
    def by_scores(self) -> int:
        """Multiply-adds of an image when the scores are."""
        pairs = self.readers * self.queries * self.keys
        return self.heads * pairs * (self.features + self.channels)

    @property
    def pays_from(self) -> int:
        """From how many tokens on the state is cheaper, where each is query and key."""
        product = (1 + self.readers) * self.features * self.channels
        return product // (self.readers * (self.features + self.channels)) + 1


def linear_reads(graph: Graph) -> Counter[LinearRead]:
    """All states of a model that queries read, each with how often it occurs."""
    expansion = expand(graph)
    sources = {(link.target, link.argument): link.source for link in expansion.links}
    readers: Counter[tuple[str, LinearRead]] = Counter()
    for path, step in expansion.steps.items():
        node, source = step.node, sources.get((path, 1))
        if isinstance(node, Apply) and node.op.name == "matmul" and source is not None:
            state = expansion.steps[source].node
            read = _read(node, state) if isinstance(state, Apply) else None
            if read is not None:
                readers[source, read] += 1
    return Counter(replace(read, readers=count) for (_, read), count in readers.items())


def advice(graph: Graph) -> Iterator[str]:
    """A sentence for every size at which reading a state costs more than scores would."""
    for read, count in linear_reads(graph).items():
        if read.by_scores < read.by_state:
            yield (
                f"linear attention of {read.queries} queries and {read.keys} keys, {count} times: "
                f"{count * read.by_state:,} multiply-adds by a state of {read.features} x "
                f"{read.channels} per head, {count * read.by_scores:,} by scores; "
                f"at these widths the state pays from {read.pays_from} tokens on"
            )


def _read(node: Apply, state: Apply) -> LinearRead | None:
    """The reading that a product is, if its right side is a sum over tokens of k^T v."""
    if state.op.name not in ("matmul", "einsum") or len(state.arguments) != 2:
        return None
    (*lead, queries, features), *_ = (type_.sizes for type_ in node.argument_types)
    keys, values = (type_.sizes for type_ in state.argument_types)
    if state.op.name == "matmul":
        keys = (*keys[:-2], keys[-1], keys[-2])
    channels = state.result_types[0].sizes[-1]
    if keys[-1] != features or values[-1] != channels or keys[-2] != values[-2] or channels == 1:
        return None
    heads = 1
    for size in lead:
        heads *= at_batch(size, 1)
    sizes = (at_batch(size, 1) for size in (queries, keys[-2], features, channels))
    return LinearRead(heads, *sizes)
