"""Patterns against their definition: every number is looked up by the values of its axes."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.graph.size import Poly, Size, product
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.expand import Expand
from linvit_dsl.ops.op import BATCH
from linvit_dsl.ops.pattern import parse_pattern, solve
from linvit_dsl.ops.rearrange import Rearrange
from linvit_dsl.ops.reduce import Reduce

Side = tuple[tuple[str, ...], ...]
Problem = tuple[Side, Side, dict[str, int], list[str]]


def place(side: Side, sizes: dict[str, int], values: dict[str, int]) -> tuple[int, ...]:
    """Where the entry with these values lies: the last name of an axis runs fastest."""
    index = []
    for group in side:
        position = 0
        for name in group:
            position = position * sizes[name] + values[name]
        index.append(position)
    return tuple(index)


def looked_up(x: Tensor, before: Side, after: Side, sizes: dict[str, int], how: str) -> Tensor:
    """The result of a pattern, number by number."""
    shape = [int(str(product([sizes[name] for name in group]))) for group in after]
    entries: dict[tuple[int, ...], list[float]] = {}
    for values in itertools.product(*(range(size) for size in sizes.values())):
        named = dict(zip(sizes, values, strict=True))
        entry = x[place(before, sizes, named)].item()
        entries.setdefault(place(after, sizes, named), []).append(entry)
    result = torch.empty(shape, dtype=x.dtype)
    for index, numbers in entries.items():
        total = {"sum": sum, "max": max, "one": lambda n: n[0]}[how](numbers)
        result[index] = total
    return result


@st.composite
def grouped(draw: st.DrawFn, names: list[str]) -> Side:
    """The names in this order, cut into axes, with axes of size 1 between them."""
    groups: list[tuple[str, ...]] = []
    rest = list(names)
    while rest:
        if draw(st.integers(0, 5)) == 0:
            groups.append(())
        size = draw(st.integers(1, min(3, len(rest))))
        groups.append(tuple(rest[:size]))
        rest = rest[size:]
    return tuple(groups)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Two sides over the names a, b, c, ... with sizes; the last names stand on one side only."""
    names = list("abcdef"[: draw(st.integers(1, 5))])
    sizes = {name: draw(st.sampled_from((1, 2, 3))) for name in names}
    alone = names[: draw(st.integers(0, len(names) - 1))]
    full = draw(grouped(draw(st.permutations(names))))
    kept = [name for name in names if name not in alone]
    part = draw(grouped(draw(st.permutations(kept))))
    return full, part, sizes, alone


def written(before: Side, after: Side) -> str:
    def axis(group: tuple[str, ...]) -> str:
        return "1" if not group else group[0] if len(group) == 1 else f"({' '.join(group)})"

    return " -> ".join(" ".join(map(axis, side)) for side in (before, after))


def numbered(side: Side, sizes: dict[str, int]) -> Tensor:
    shape = [int(str(product([sizes[name] for name in group]))) for group in side]
    return torch.randperm(torch.Size(shape).numel()).double().reshape(shape)


def run(code: Code, x: Tensor, batch: int = 0) -> Tensor:
    return eval(str(code), {"x": x, "F": F, "batch": batch})


@settings(max_examples=100)
@given(problems())
def test_rearrange_moves_every_number_to_its_place(problem: Problem) -> None:
    before, after, sizes, alone = problem
    after = (*after, *((name,) for name in alone))
    attributes = Rearrange.Attributes(pattern=written(before, after), axes=tuple(sizes.items()))
    x = numbered(before, sizes)
    types = (TensorType.of(*x.shape),)
    result = run(Rearrange.call(attributes, types, (Code("x"),), None), x)
    assert torch.equal(result, looked_up(x, before, after, sizes, "one"))
    assert Rearrange.types(attributes, types)[0].sizes == tuple(result.shape)


@settings(max_examples=100)
@given(problems(), st.sampled_from(("sum", "max")))
def test_reduce_gathers_the_right_numbers(problem: Problem, how: Literal["sum", "max"]) -> None:
    before, after, sizes, _ = problem
    text = written(before, after)
    attributes = Reduce.Attributes(pattern=text, how=how, axes=tuple(sizes.items()))
    x = numbered(before, sizes)
    types = (TensorType.of(*x.shape),)
    result = run(Reduce.call(attributes, types, (Code("x"),), None), x)
    assert torch.equal(result, looked_up(x, before, after, sizes, how))


@settings(max_examples=100)
@given(problems())
def test_expand_repeats_the_right_numbers(problem: Problem) -> None:
    after, before, sizes, _ = problem
    attributes = Expand.Attributes(pattern=written(before, after), axes=tuple(sizes.items()))
    x = numbered(before, sizes)
    types = (TensorType.of(*x.shape),)
    result = run(Expand.call(attributes, types, (Code("x"),), None, batch=Code("batch")), x)
    assert torch.equal(result, looked_up(x, before, after, sizes, "one"))


@settings(max_examples=60)
@given(problems(), st.data())
def test_no_code_knows_the_batch(problem: Problem, data: st.DataObject) -> None:
    before, after, sizes, alone = problem
    after = (*after, *((name,) for name in alone))
    batch = data.draw(st.sampled_from(sorted(sizes)))
    symbolic: dict[str, Size] = {**sizes, batch: BATCH}
    axes = tuple((name, size) for name, size in symbolic.items() if isinstance(size, int))
    attributes = Rearrange.Attributes(pattern=written(before, after), axes=axes)
    type_ = TensorType.of(*(product([symbolic[name] for name in group]) for group in before))
    code = Rearrange.call(attributes, (type_,), (Code("x"),), None)
    for number in (1, 2, 5):
        real = {**sizes, batch: number}
        x = numbered(before, real)
        assert torch.equal(run(code, x), looked_up(x, before, after, real, "one"))


@pytest.mark.parametrize(
    ("op", "pattern", "shape", "axes", "code"),
    [
        (Rearrange, "b n (h c) -> b h n c", (BATCH, 65, 384), {"h": 6},
         "x.unflatten(-1, (6, 64)).transpose(1, 2)"),
        (Rearrange, "b h n c -> b n (h c)", (BATCH, 6, 65, 64), {}, "x.transpose(1, 2).flatten(2)"),
        (Rearrange, "b d h w -> b (h w) d", (BATCH, 384, 8, 8), {}, "x.flatten(2).transpose(1, 2)"),
        (Rearrange, "b (h w) d -> b d h w", (BATCH, 64, 384), {"h": 8},
         "x.transpose(1, 2).unflatten(-1, (8, 8))"),
        (Rearrange, "b d h w -> b h w d", (BATCH, 384, 8, 8), {}, "x.permute(0, 2, 3, 1)"),
        (Rearrange, "b h n e -> b h n e", (BATCH, 6, 65, 64), {}, "x"),
        (Reduce, "b n d -> b d", (BATCH, 64, 384), {}, "x.mean(1)"),
        (Reduce, "... l m -> ... l 1", (BATCH, 6, 8, 8), {}, "x.mean(-1, keepdim=True)"),
        (Expand, "1 1 d -> b 1 d", (1, 1, 384), {"b": BATCH}, "x.expand(img.shape[0], -1, -1)"),
        (Expand, "m d -> b m d", (16, 64), {"b": BATCH}, "x.expand(img.shape[0], -1, -1)"),
        (Expand, "m d -> b m d", (16, 64), {"b": 2 * BATCH}, "x.expand(2 * img.shape[0], -1, -1)"),
        (Expand, "b d h w -> b d (h p) (w q)", (BATCH, 8, 4, 4), {"p": 1, "q": 2},
         'F.interpolate(x, scale_factor=(1, 2), mode="nearest")'),
        (Expand, "b n d -> b (n p) d", (BATCH, 8, 4), {"p": 2}, "x.repeat_interleave(2, dim=1)"),
        (Expand, "b d h w -> b (d p) h w", (BATCH, 8, 4, 4), {"p": 2},
         "x.repeat_interleave(2, dim=1)"),
    ],
)  # fmt: skip
def test_the_code_is_what_a_person_would_write(
    op: Any, pattern: str, shape: tuple[Size, ...], axes: dict[str, Size], code: str
) -> None:
    more = {"how": "mean"} if op.name == "reduce" else {}
    options = {"batch": Code("img.shape[0]")} if op.needs_batch else {}
    attributes = op.Attributes(pattern=pattern, axes=tuple(axes.items()), **more)
    written = op.call(attributes, (TensorType.of(*shape),), (Code("x"),), None, **options)
    assert str(written) == code


@pytest.mark.parametrize("factors", [(1, 2), (2, 3), (7, 3), (1, 40), (41, 1), (47, 2)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_upsampling_repeats_every_pixel(factors: tuple[int, int], channels_last: bool) -> None:
    x = torch.arange(2.0 * 3 * 5 * 4).view(2, 3, 5, 4)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    sizes = dict(zip("pq", factors, strict=True))
    attributes = Expand.Attributes(pattern="b d h w -> b d (h p) (w q)", axes=tuple(sizes.items()))
    code = Expand.call(attributes, (TensorType.of(*x.shape),), (Code("x"),), None, Code("2"))
    expected = x.repeat_interleave(factors[0], 2).repeat_interleave(factors[1], 3)
    assert torch.equal(run(code, x), expected)


def test_interpolate_of_torch_does_not_repeat_41_times() -> None:
    x = torch.arange(5.0).view(1, 1, 5, 1)
    many = F.interpolate(x, scale_factor=(41, 1), mode="nearest")
    assert not torch.equal(many, x.repeat_interleave(41, 2))


def test_the_definition_tells_a_transpose_from_a_reshape() -> None:
    sizes = {"b": 2, "n": 3, "h": 2, "c": 2}
    before, after = (("b",), ("n",), ("h", "c")), (("b",), ("h",), ("n",), ("c",))
    x = numbered(before, sizes)
    expected = looked_up(x, before, after, sizes, "one")
    assert torch.equal(x.unflatten(-1, (2, 2)).transpose(1, 2), expected)
    assert not torch.equal(x.reshape(2, 2, 3, 2), expected)


def test_an_axis_that_stays_keeps_its_origin() -> None:
    x = TensorType.of(BATCH, 65, 384)
    solution = solve("rearrange", "b n (h c) -> b h n c", (("h", 6),), x)
    assert solution.dims[2] is x.dims[1]
    assert solution.sizes == {"b": BATCH, "n": 65, "h": 6, "c": 64}


def test_a_batch_in_an_axis_divides_exactly() -> None:
    solution = solve("rearrange", "(b g) n -> b g n", (("g", 4),), TensorType.of(4 * BATCH, 3))
    assert solution.dims[0].size == Poly.symbol("B")


def test_names_may_be_words_with_primes_and_greek() -> None:
    pattern = parse_pattern("batch (φ h') d_1 -> batch φ h' d_1")
    assert pattern.result == (("batch",), ("φ",), ("h'",), ("d_1",))
