"""What a text means: the tree of every construct, and how operators bind."""

from fractions import Fraction
from typing import Any

import pytest

from linvit_dsl.errors import Source, SpecError
from linvit_dsl.syntax import ast, holes, parse_expression
from tests.dsl.syntax.texts import in_block, parsed, sketch


def expression(text: str) -> ast.Expression:
    return parse_expression(Source("a.vit", text))


def item(text: str) -> Any:
    result = parsed(text)
    assert result.diagnostics == ()
    (only,) = result.file.items
    return only


def statement(text: str) -> Any:
    (only,) = item(in_block(text)).body
    return only


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", "(+ 1 (* 2 3))"),
        ("(1 + 2) * 3", "(* (+ 1 2) 3)"),
        ("a - b - c", "(- (- a b) c)"),
        ("a / b // c % d", "(% (// (/ a b) c) d)"),
        ("-a^2", "(- (^ a 2))"),
        ("a^-b^c", "(^ a (- (^ b c)))"),
        ("not a == b and c or d", "(or (and (not (== a b)) c) d)"),
        ("a and b and c", "(and (and a b) c)"),
        ("1..k + 1", "(.. 1 (+ k 1))"),
        ("a in 1..3", "(in a (.. 1 3))"),
        ("a * b |> f", "(|> (* a b) f)"),
        ("x |> f[1]@a |> g(y)", "(|> (|> x f[1]@a) g(y))"),
        ("not x |> f", "(|> (not x) f)"),
        ("(x |> f) + y", "(+ (|> x f) y)"),
        ("if a then b else c |> f", "(if a b (|> c f))"),
        ("if a then b else if c then d else e", "(if a b (if c d e))"),
        ("f[a, *b](c, d = e)", "f[a, *b](c, d = e)"),
        ("att.ViT[1][0]", "att.ViT[1][0]"),
        ("ones[[1, n]]()", "ones[[1, n]]()"),
        ("(a, b)", "(a, b,)"),
        ("[]", "[]"),
        ("[a, (b, c),]", "[a, (b, c,)]"),
        ("[i * 2 for i in 1..k]", "[(* i 2) for i in (.. 1 k)]"),
        ("[a for (a, b) in zip(x, y)]", "[a for a, b in zip(x, y)]"),
        ("true", "true"),
        ('"a\\n\\"b\\" \\\\"', '"a\n"b" \\"'),
    ],
)
def test_operators_bind(text: str, expected: str) -> None:
    assert sketch(expression(text)) == expected


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("3", Fraction(3), ""),
        ("20_000", Fraction(20_000), ""),
        ("0.1", Fraction(1, 10), ""),
        ("1e-6", Fraction(1, 10**6), ""),
        ("1.5E3", Fraction(1500), ""),
        ("5%", Fraction(1, 20), "%"),
        ("64K", Fraction(64_000), "K"),
        ("2.47M", Fraction(2_470_000), "M"),
        ("5G", Fraction(5 * 10**9), "G"),
        ("1T", Fraction(10**12), "T"),
        ("3Ki", Fraction(3 * 2**10), "Ki"),
        ("3Mi", Fraction(3 * 2**20), "Mi"),
        ("0.5Gi", Fraction(2**29), "Gi"),
        ("1KiB", Fraction(2**10), "KiB"),
        ("1MiB", Fraction(2**20), "MiB"),
        ("6GiB", Fraction(6 * 2**30), "GiB"),
        ("20ep", Fraction(20), "ep"),
        ("500it", Fraction(500), "it"),
        ("224px", Fraction(224), "px"),
    ],
)
def test_numbers_are_exact(text: str, value: Fraction, unit: str) -> None:
    number = expression(text)
    assert isinstance(number, ast.Number)
    assert (number.value, number.unit) == (value, unit)


def test_percent_before_an_operand_is_a_remainder() -> None:
    assert sketch(expression("7%2")) == sketch(expression("7 % 2")) == "(% 7 2)"
    assert sketch(expression("5% + 1")) == "(+ 1/20% 1)"


@pytest.mark.parametrize("mark", ["", "intrinsic ", "float32 "])
def test_the_mark_of_a_block(mark: str) -> None:
    block = item(f"{mark}block A(x: [n]) -> [n] {{ return x }}")
    assert (block.intrinsic, block.float32) == (mark == "intrinsic ", mark == "float32 ")
    assert block.head.text.startswith(mark)


def test_a_mark_is_an_ordinary_name_elsewhere() -> None:
    assert item("const float32 = 1").name.name == "float32"


def test_a_block() -> None:
    block = item(
        "intrinsic block A[k: list[dim] = [1], f: block](x: [*b, n], y: list[k] of [n])"
        " -> ([n], [1]) { return x, y }"
    )
    assert (block.keyword, block.intrinsic, block.name.name) == ("block", True, "A")
    kinds = [(s.name.name, s.type.name, s.type.element) for s in block.statics]
    assert kinds[1] == ("f", "block", None)
    assert kinds[0][:2] == ("k", "list")
    assert block.statics[0].type.element.name == "dim"
    assert sketch(block.statics[0].default) == "[1]"
    assert block.statics[1].default is None
    first, second = block.parameters
    assert first.shape.axes[0].kind == "rest"
    assert first.shape.axes[0].name.name == "b"
    assert second.shape.kind == "list_shape"
    assert len(block.results) == 2
    assert block.head.text == block.span.text.partition(" {")[0]
    assert (block.broken, block.lost) == (False, frozenset())


def test_a_model_and_an_alias() -> None:
    assert item("model M(x: [1]) -> [1] { return x }").keyword == "model"
    alias = item("model S[h: dim = 3] = M[d = 2 * h]")
    assert alias.kind == "alias"
    assert alias.statics[0].name.name == "h"
    assert sketch(alias.value) == "M[d = (* 2 h)]"


def test_imports() -> None:
    assert item("import std.attention").module == ("std", "attention")
    assert item("import std.attention as att").alias.name == "att"
    names = item("from std.nn import A, B")
    assert (names.module, names.path) == (("std", "nn"), None)
    assert [name.name for name in names.names] == ["A", "B"]
    file = item('from "./a.vit" import A')
    assert (file.module, file.path.value) == ((), "./a.vit")


def test_bindings() -> None:
    assert [n.name for n in statement("dim (h, w) = grid").names] == ["h", "w"]
    assert statement("dim h = 3").kind == "dim"
    assert [n.name for n in statement("(a, b) = f(x)").names] == ["a", "b"]
    assert statement("y = x").shape is None
    assert len(statement("y: [B, n] = x").shape.axes) == 2
    assert statement("y: list[2] of [B] = x").shape.kind == "list_shape"
    residual = statement("x += x |> f")
    assert (residual.kind, residual.name.name, sketch(residual.value)) == (
        "residual",
        "x",
        "(|> x f)",
    )
    assert statement("layer f = linear[d]").kind == "layer"


def test_stores() -> None:
    param, buffer = statement("param w: [1, d] ~ normal[0.02]"), statement("buffer m: [d]")
    assert (param.trained, sketch(param.initializer)) == (True, "normal[1/50]")
    assert (buffer.trained, buffer.initializer) == (False, None)


def test_requirements() -> None:
    demand = statement('require a == 1, "a is {a}"')
    assert (demand.warning, demand.message.value) == (False, "a is {a}")
    assert statement("require a").message is None
    assert statement('prefer a, "b"').warning is True
    expect = statement('expect params == 2.47M within 2% at [B = 1, train = true], "paper"')
    assert sketch(expect.condition) == "(== params 2470000M)"
    assert sketch(expect.tolerance) == "1/50%"
    assert [sketch(c) for c in expect.conditions] == ["B = 1", "train = true"]
    assert expect.source.value == "paper"
    bare = statement("expect flops <= 5G")
    assert (bare.tolerance, bare.conditions, bare.source) == (None, (), None)


def test_control() -> None:
    loop = statement("repeat n as i shared { x = x; y = x }")
    assert (sketch(loop.count), loop.index.name, loop.shared, len(loop.body)) == ("n", "i", True, 2)
    plain_loop = statement("repeat n { }")
    assert (plain_loop.index, plain_loop.shared, plain_loop.body) == (None, False, ())
    walk = statement("for (a, b) in zip(x, y) { x = a }")
    assert [name.name for name in walk.binder] == ["a", "b"]
    choice = statement("if a { x = y } else if b { x = z } else { }")
    assert len(choice.yes) == 1
    (chained,) = choice.no
    assert (chained.kind, chained.no) == ("if", ())
    assert len(statement("return a, b").values) == 2


def test_recipes() -> None:
    recipe = item("recipe r = base { seed = 1\n data { batch = 2; } }")
    assert (recipe.name.name, recipe.base.name) == ("r", "base")
    seed, data = recipe.record.fields
    assert (seed.name.name, sketch(seed.value)) == ("seed", "1")
    assert (data.value.kind, len(data.value.fields)) == ("record", 1)
    assert item("recipe r { }").base is None
    train = item("train M with r { seed = 1 }")
    assert (train.model.name, train.recipe.name, len(train.record.fields)) == ("M", "r", 1)
    bare = item("train M")
    assert (bare.recipe, bare.record) == (None, None)


def test_sweeps_and_checks() -> None:
    sweep = item("sweep s of M { (d, h) in [(1, 2)]; k in 1..5; where d > h; seeds = 3 }")
    assert [[n.name for n in axis.names] for axis in sweep.axes] == [["d", "h"], ["k"]]
    assert [sketch(c) for c in sweep.conditions] == ["(> d h)"]
    assert [f.name.name for f in sweep.fields] == ["seeds"]
    check = item("check M[k = 2]: [2, 3] -> [2]")
    assert sketch(check.model) == "M[k = 2]"
    assert [[len(s.axes) for s in shapes] for shapes in (check.takes, check.gives)] == [[2], [1]]
    several = item("check M: ([2], [2, 3]) -> ([2, 3, 4], [2])")
    assert [len(s.axes) for s in (*several.takes, *several.gives)] == [1, 2, 3, 1]
    dotted = item("sweep s of M { optimizer.lr in [1e-4]; (d, data.batch) in [(1, 2)] }")
    names = [[n.name for n in axis.names] for axis in dotted.axes]
    assert names == [["optimizer.lr"], ["d", "data.batch"]]


def test_expectations_and_claims_about_a_model() -> None:
    expect = item('expect lib.M[k = 2]: params <= 6M within 2% at [B = 4], "counted"')
    assert (expect.keyword, sketch(expect.model)) == ("expect", "lib.M[k = 2]")
    assert expect.condition.span.text == "params <= 6M"
    assert expect.tolerance.value == Fraction(2, 100)
    assert (expect.conditions[0].name.name, expect.source.value) == ("B", "counted")
    claim = item("claim M: params == 24.1M")
    assert (claim.keyword, claim.source) == ("claim", None)


def test_comments_become_the_doc_of_what_follows() -> None:
    result = parsed(
        "## of nothing\nconst a = 1  ## behind\n"
        "# plain\n## One\n##   two  \n\n"
        "block A(x: [1]) -> [1] { ## inside\n return x }  ## behind\n"
        "model B = A\n## of B\nmodel C = A\n"
    )
    docs = [entry.doc for entry in result.file.items if isinstance(entry, ast.Block | ast.Alias)]
    assert docs == ["One\ntwo", "", "of B"]


def test_holes_of_a_message() -> None:
    text = expression('"{a + 1} of {{b}} \\"{f(c)}\\""')
    assert isinstance(text, ast.Text)
    parts = holes(text)
    shown = [part if isinstance(part, str) else sketch(part) for part in parts]
    assert "".join(shown) == '(+ a 1) of {b} "f(c)"'
    spans = [part.span.text for part in parts if not isinstance(part, str)]
    assert spans == ["a + 1", "f(c)"]


@pytest.mark.parametrize(
    ("text", "code"), [('"{a"', "E0122"), ('"a}"', "E0122"), ('"{}"', "E0101")]
)
def test_broken_holes_are_refused(text: str, code: str) -> None:
    whole = expression(text)
    assert isinstance(whole, ast.Text)
    with pytest.raises(SpecError) as error:
        holes(whole)
    assert [found.code for found in error.value.diagnostics] == [code]


def test_a_value_of_the_command_line() -> None:
    source = Source("--set", "heads = 2 * 3")
    value = parse_expression(source, 8)
    assert sketch(value) == "(* 2 3)"
    assert value.span.text == "2 * 3"


@pytest.mark.parametrize(
    "text", ["", "1 +", "1 2", "a = 1", "(1", "'a'", "$", "(" * 65 + "1" + ")" * 65]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_expression(Source("--set", text))
    assert error.value.diagnostics
    for found in error.value.diagnostics:
        assert 0 <= found.primary.span.start <= found.primary.span.end <= len(text)
