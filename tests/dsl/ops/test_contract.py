"""The contract of an operator, and that all of them are listed."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import linvit_dsl.ops
from linvit_dsl.graph.ir import TensorType
from linvit_dsl.graph.size import Poly, Size
from linvit_dsl.ops import ALL_OPS, OPS, Op
from linvit_dsl.ops.linear import Linear
from linvit_dsl.ops.op import BATCH


def all_subclasses(base: type) -> set[type]:
    return {cls for sub in base.__subclasses__() for cls in {sub, *all_subclasses(sub)}}


def test_every_operator_of_the_folder_is_listed_once() -> None:
    for module in pkgutil.iter_modules(linvit_dsl.ops.__path__):
        importlib.import_module(f"linvit_dsl.ops.{module.name}")
    found = {
        cls
        for cls in all_subclasses(Op)
        if cls.__module__.startswith("linvit_dsl.ops.") and "name" in vars(cls)
    }
    assert found == set(ALL_OPS)
    assert len(OPS) == len(ALL_OPS)


@pytest.mark.parametrize("op", ALL_OPS, ids=lambda op: op.name)
def test_an_operator_is_the_only_one_of_the_file_of_its_name(op: type[Op]) -> None:
    assert op.__module__ == f"linvit_dsl.ops.{op.name}"
    assert len(list(op.examples())) >= 1
    assert set(op.hyper) <= set(op.Attributes.model_fields)


@pytest.mark.parametrize("op", ALL_OPS, ids=lambda op: op.name)
def test_attributes_can_be_keys_and_cannot_change(op: type[Op]) -> None:
    for example in op.examples():
        assert example.attributes == example.attributes.model_copy(deep=True)
        assert hash(example.attributes) == hash(example.attributes.model_copy(deep=True))
        for field in op.Attributes.model_fields:
            with pytest.raises(ValueError, match="frozen"):
                setattr(example.attributes, field, None)


@pytest.mark.parametrize("op", ALL_OPS, ids=lambda op: op.name)
def test_an_identity_gives_its_argument_back(op: type[Op]) -> None:
    for example in op.examples():
        types = tuple(TensorType.of(*shape) for shape in example.shapes)
        if op.identity(example.attributes, types):
            assert op.types(example.attributes, types) == (types[0],)


def test_an_incomplete_operator_cannot_be_defined() -> None:
    body = {"__doc__": "Only says what it is called.", "name": "half", "family": "glue"}
    with pytest.raises(TypeError, match=r"Half is incomplete: missing Attributes, rule, macs, sav"):
        type("Half", (Op,), body)
    with pytest.raises(TypeError, match=r"missing a docstring"):
        type("Silent", (Linear,), {"name": "silent"})


@pytest.mark.parametrize(
    ("name", "statics", "shapes", "macs", "products"),
    [
        ("linear", {"out": 384}, [(BATCH, 65, 384)], 65 * 384 * 384, None),
        ("conv2d", {"out": 384, "kernel": 4, "stride": 4}, [(BATCH, 3, 32, 32)],
         64 * 48 * 384, None),
        ("conv2d", {"out": 8, "kernel": 5, "pad": 2, "groups": 8}, [(BATCH, 8, 4, 4)],
         16 * 25 * 8, None),
        ("matmul", {}, [(BATCH, 6, 65, 128), (BATCH, 6, 128, 64)], 6 * 65 * 128 * 64, None),
        ("matmul", {}, [(BATCH, 6, 65, 128), (BATCH, 6, 128, 1)], 0, 6 * 65 * 128),
        ("matmul", {}, [(BATCH, 1, 8), (BATCH, 8, 5)], 0, 40),
        ("einsum", {"pattern": "... l m, ... l e -> ... m e"},
         [(BATCH, 6, 65, 128), (BATCH, 6, 65, 64)], 6 * 65 * 128 * 64, None),
        ("einsum", {"pattern": "k h, k b h n e -> b h n e"},
         [(4, 6), (4, BATCH, 6, 65, 64)], 0, 4 * 6 * 65 * 64),
        ("einsum", {"pattern": "b i, b j -> b i j"}, [(BATCH, 3), (BATCH, 4)], 0, 0),
        ("attend", {}, [(BATCH, 6, 65, 64), (BATCH, 6, 9, 64), (BATCH, 6, 9, 32)],
         6 * 65 * 9 * (64 + 32), None),
        ("gelu", {}, [(BATCH, 65, 384)], 0, None),
    ],
)  # fmt: skip
def test_multiply_adds_follow_their_formulas(
    name: str,
    statics: dict[str, object],
    shapes: list[tuple[Size, ...]],
    macs: int,
    products: int | None,
) -> None:
    op = OPS[name]
    attributes, types = op.Attributes(**statics), tuple(TensorType.of(*s) for s in shapes)
    results = op.types(attributes, types)
    expected = macs if products is None else products
    assert Poly.of(op.macs(attributes, types, results)) == BATCH * macs
    assert Poly.of(op.products(attributes, types, results)) == BATCH * expected


def test_operators_are_known_without_torch() -> None:
    code = "import sys, linvit_dsl.ops; print([m for m in sys.modules if m in ('torch', 'numpy')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
