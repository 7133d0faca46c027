"""Linear attention as a pattern of operators: recognised in a graph, and built as a kernel's block.

::

    S = phi(k)^T v      z = sum of phi(k)      read(q) = phi(q) S / (phi(q) z + eps)
"""

from __future__ import annotations

from dataclasses import dataclass

from linvit_codegen.passes.terms import Term, Terms
from linvit_dsl.errors import Span
from linvit_dsl.graph.intrinsics import FEATURE_MAPS, LINEAR_ATTENTION
from linvit_dsl.graph.ir import Apply, BlockName, Graph, Node, Value
from linvit_dsl.ops.add import Add
from linvit_dsl.ops.arithmetic import ArithmeticAttributes
from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.concat import Concat
from linvit_dsl.ops.div import Div
from linvit_dsl.ops.einsum import Einsum
from linvit_dsl.ops.elu import Elu
from linvit_dsl.ops.matmul import Matmul
from linvit_dsl.ops.neg import Neg
from linvit_dsl.ops.op import Op
from linvit_dsl.ops.pattern import Pattern, parse_pattern, solve, spell_out
from linvit_dsl.ops.rearrange import Rearrange
from linvit_dsl.ops.reduce import Reduce
from linvit_dsl.ops.relu import Relu
from linvit_dsl.ops.softmax import Softmax

STATE = "b h l m, b h l e -> b h m e"
SUM = "b h l m -> b h m 1"
MERGE = "b h n e -> b n (h e)"


@dataclass(frozen=True, slots=True)
class LinearRead:
    """One read of a state.

    Args:
        q, k, v: Values of the graph, `[b, h, n, c]`, `[b, h, l, c]` and `[b, h, l, e]`. With a
            feature map that the kernel does not know, q and k are its features.
        feature_map: As the kernel calls it; `identity` for one that it does not know.
        eps: Added to the denominator.
        state: S and z. Reads with equal states read the same one.
        state_values: Those of S and z that are values of the graph, not of a block below.
    """

    q: Value
    k: Value
    v: Value
    feature_map: str
    eps: float
    state: tuple[Term, Term]
    state_values: tuple[Value, ...]


def match_read(terms: Terms, value: Value) -> LinearRead | None:
    """The read of a state that a value is, None if it is none that the kernel can do."""
    quotient = _applied(terms, Term(value), Div)
    if quotient is None or len(quotient) != 2:
        return None
    above = _applied(terms, quotient[0], Matmul)
    eps, product = _sum_with_number(terms, quotient[1])
    below = _applied(terms, product, Matmul)
    if above is None or below is None or above[0] != below[0]:
        return None
    fq, s, z = above[0], above[1], below[1]
    state, total = terms.head(s), terms.head(z)
    if state is None or total is None or not (_is_state(state[0]) and _is_sum(total[0])):
        return None
    (fk, v), (summed,) = state[1], total[1]
    queries, keys = _feature_map(terms, fq), _feature_map(terms, fk)
    if summed != fk:
        return None
    if queries is None or keys is None or queries[0] != keys[0]:
        queries, keys = ("identity", fq), ("identity", fk)
    q, k, v = (terms.outermost(term) for term in (queries[1], keys[1], v))
    if q is None or k is None or v is None or not all(_fits(tensor, q) for tensor in (q, k, v)):
        return None
    state_values = tuple(filter(None, map(terms.outermost, (s, z))))
    return LinearRead(q, k, v, queries[0], eps, (s, z), state_values)


def _fits(tensor: Value, q: Value) -> bool:
    """Whether it has batch, heads, tokens and channels, the first two as the queries have them."""
    sizes = tensor.type.sizes
    return (
        sizes[:2] == q.type.sizes[:2]
        and len(sizes) == 4
        and all(isinstance(size, int) for size in sizes[1:])
    )


def _applied(terms: Terms, term: Term, op: type[Op]) -> tuple[Term, ...] | None:
    """The arguments if `op` makes the term."""
    head = terms.head(term)
    return head[1] if head is not None and head[0].op is op else None


def _sum_with_number(terms: Terms, term: Term) -> tuple[float, Term]:
    """A term as a number plus another term."""
    head = terms.head(term)
    if head is None or head[0].op is not Add or len(head[1]) != 1:
        return 0.0, term
    attributes = head[0].attributes
    assert isinstance(attributes, ArithmeticAttributes), "of its own operator"
    number = attributes.left if attributes.left is not None else attributes.right
    assert number is not None, "one operand is a number where one is a tensor"
    return (number, head[1][0]) if number >= 0 else (0.0, term)


def _is_state(node: Apply) -> bool:
    if not isinstance(node.attributes, Einsum.Attributes) or len(node.arguments) != 2:
        return False
    pattern = parse_pattern(node.attributes.pattern)
    if any(len(group) != 1 for side in (*pattern.operands, pattern.result) for group in side):
        return False
    return _numbered(pattern, node) == _numbered(parse_pattern(STATE), node)


def _numbered(pattern: Pattern, node: Apply) -> list[list[int]]:
    """The sides of a pattern with numbers for names, in the order of their first use."""
    sides = [
        spell_out(pattern, side, type_)
        for side, type_ in zip(pattern.operands, node.argument_types, strict=True)
    ]
    sides.append(spell_out(pattern, pattern.result, node.result_types[0]))
    numbers: dict[object, int] = {}
    return [[numbers.setdefault(group, len(numbers)) for group in side] for side in sides]


def _is_sum(node: Apply) -> bool:
    attributes = node.attributes
    if not isinstance(attributes, Reduce.Attributes) or attributes.how != "sum":
        return False
    (x,) = node.argument_types
    solution = solve("reduce", attributes.pattern, attributes.axes, x, only_left=True)
    *batch, _, width = solution.before
    return solution.after == (*batch, width, ())


def _feature_map(terms: Terms, term: Term) -> tuple[str, Term] | None:
    """The feature map that makes a term, as the kernel calls it, and what it is applied to."""
    if x := _applied(terms, term, Relu):
        return "relu", x[0]
    if (x := _applied(terms, term, Softmax)) and _axis_of(terms, term) == -1:
        return "softmax", x[0]
    if halves := _applied(terms, term, Concat):
        positive = [_applied(terms, half, Relu) for half in halves]
        if len(halves) == 2 and positive[0] and positive[1] and _axis_of(terms, term) == -1:
            negated = _applied(terms, positive[1][0], Neg)
            return ("split_relu", positive[0][0]) if negated == positive[0] else None
        return None
    number, rest = _sum_with_number(terms, term)
    x = _applied(terms, rest, Elu)
    return ("elu_plus_one", x[0]) if x and number == 1 else None


def _axis_of(terms: Terms, term: Term) -> int:
    """Along which axis, counted from the last, the operator acts that makes a term."""
    head = terms.head(term)
    assert head is not None, "an operator makes it"
    attributes, rank = head[0].attributes, len(head[0].result_types[0].dims)
    assert isinstance(attributes, Concat.Attributes | Softmax.Attributes), "it has an axis"
    return attributes.axis % rank - rank


class _Body:
    """Builds the body of a block."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.nodes: list[Node] = []

    def apply(self, op: type[Op], attributes: Attributes, *arguments: Value) -> Value:
        (type_,) = op.types(attributes, tuple(value.type for value in arguments))
        result = Value(type_, self.span)
        node = Apply(op, attributes, arguments, (result,), None, self.span, self.span)
        self.nodes.append(node)
        return result

    def features(self, feature_map: str, x: Value) -> Value:
        if feature_map == "identity":
            return x
        if feature_map == "softmax":
            return self.apply(Softmax, Softmax.Attributes(axis=-1), x)
        if feature_map == "relu":
            return self.apply(Relu, Relu.Attributes(), x)
        if feature_map == "elu_plus_one":
            return self.apply(
                Add, ArithmeticAttributes(right=1), self.apply(Elu, Elu.Attributes(), x)
            )
        minus = self.apply(Neg, Neg.Attributes(), x)
        halves = [self.apply(Relu, Relu.Attributes(), half) for half in (x, minus)]
        return self.apply(Concat, Concat.Attributes(axis=-1), *halves)


def kernel_block(read: LinearRead, q: Value, span: Span) -> Graph:
    """The intrinsic block that answers queries `q` as `read` does: `[b, n, h * e]`."""
    inputs = tuple(
        Value(value.type, span, name)
        for name, value in zip("qkv", (q, read.k, read.v), strict=True)
    )
    body = _Body(span)
    fq, fk = (body.features(read.feature_map, x) for x in inputs[:2])
    s = body.apply(Einsum, Einsum.Attributes(pattern=STATE), fk, inputs[2])
    z = body.apply(Reduce, Reduce.Attributes(pattern=SUM, how="sum"), fk)
    above, below = (body.apply(Matmul, Matmul.Attributes(), fq, x) for x in (s, z))
    below = body.apply(Add, ArithmeticAttributes(right=read.eps), below)
    answer = body.apply(Div, ArithmeticAttributes(), above, below)
    answer = body.apply(Rearrange, Rearrange.Attributes(pattern=MERGE), answer)
    phi = next(phi for phi, name in FEATURE_MAPS.items() if name == read.feature_map)
    module, _, name = LINEAR_ATTENTION.rpartition(".")
    statics = {"phi": BlockName(phi), "eps": read.eps}
    return Graph(name, module, "block", True, statics, inputs, (answer,), tuple(body.nodes), span)
