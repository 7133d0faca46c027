"""Long statements break where `ruff format` breaks them."""

import ast
import subprocess
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linvit_codegen.layout import WIDTH, flat, statement
from linvit_dsl.errors import InternalError

RUFF = Path(sysconfig.get_path("scripts")) / "ruff"

LONG = [
    "self.out(merge_heads(linear_read(split_relu(self.queries(x)), state, normaliser, 1e-06)))",
    "x + self.drop_path(self.attention_of_the_layer(self.norm_before_attention(tokens_of_a_map)))",
    "hidden_states_before + another_long_name_of_hidden_states + a_third_long_name_of_hid",
    "x.reshape(x.shape[0], 384, 8, 2, 8, 2).permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(1)",
    "torch.cat((F.relu(a_rather_long_variable_name), F.relu(-a_rather_long_variable_nam)), dim=-1)",
    "nn.ModuleList(EncoderLayer(drop_path) for drop_path in (0.0, 0.00909, 0.01818, 0.02727))",
    "nn.ModuleList([RipplePool(), RipplePool2(), RipplePool(), RipplePool2(), Last(), End()])",
    "torch.matmul(queries_of_every_head, state) / (torch.matmul(queries_of_every_head, z) + 1e-06)",
    "init.constant(nn.Conv2d(384, 384, 5, stride=(1, 2), padding=2, groups=384, bias=False), 0.4)",
    "split_heads(self.queries(x)), split_heads(self.keys(x)), split_heads(self.values_of_heads(x))",
    "self.head(self.norm_of_the_tokens(x.narrow(1, 1, 64)) * self.gain_of_a_head + self.bias / 2)",
    "kernels.linear_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), eps=1e-05)",
]


@pytest.mark.parametrize("prefix", ["x = ", "return ", "state, normaliser = "])
def test_the_formatter_would_break_alike(prefix: str) -> None:
    bodies = ["\n".join(statement(prefix, text, 4)) for text in LONG]
    assert sum("\n" in body for body in bodies) > len(LONG) // 2
    source = "\n\n\n".join(f"def f{k}():\n{body}" for k, body in enumerate(bodies)) + "\n"
    command = [RUFF, "format", "--isolated", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    assert done.stdout == source


names = st.sampled_from(["x", "q", "self.pos", "tokens_of_the_map", "hidden_states"])
expressions = st.recursive(
    names,
    lambda inner: st.one_of(
        st.builds("self.attention({})".format, inner),
        st.builds("torch.matmul({}, {})".format, inner, inner),
        st.builds("({} + {})".format, inner, inner),
        st.builds("({} * {} - 1)".format, inner, inner),
        st.builds("-({})".format, inner),
        st.builds("({}).transpose(1, 2)".format, inner),
        st.builds("torch.cat(({}, {}), dim=1)".format, inner, inner),
    ),
    max_leaves=12,
)


@given(expressions)
def test_no_layout_changes_the_meaning(text: str) -> None:
    lines = statement("x = ", text, 8)
    meant = ast.dump(ast.parse(f"x = {text}"))
    printed = ast.dump(ast.parse("\n".join(line.removeprefix(" " * 8) for line in lines)))
    assert printed == meant
    assert ast.dump(ast.parse(f"x = {flat(text)}")) == meant


def test_short_statements_stay_on_one_line() -> None:
    assert statement("x = ", "f( a,b )", 4) == ["    x = f(a, b)"]
    assert len(statement("x = ", f"f({'a' * (WIDTH - 11)})", 4)) == 1
    assert len(statement("x = ", f"f({'a' * (WIDTH - 10)})", 4)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "lambda: x",
        "[y for y in x]",
        "f(**x)",
        "x if y else z",
        "x and y",
        "f'{x}'",
        "x := 1",
        "a; b",
    ],
)
def test_other_kinds_of_expression_are_refused(text: str) -> None:
    with pytest.raises(InternalError):
        flat(text)
