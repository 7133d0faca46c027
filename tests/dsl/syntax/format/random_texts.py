"""Random texts of the language, written without any regard for looks.

The strategies make lists of tokens, with every parenthesis that there may be, so that the formatter
decides all of them anew; `dressed` puts them into a text with random blanks, newlines and comments.
"""

from __future__ import annotations

import random

from hypothesis import strategies as st

Tokens = list[str]

NAMES = st.sampled_from(["x", "y", "d'", "heads", "φ", "Mlp", "of", "list", "where", "at"])
NUMBERS = st.sampled_from(["0", "3", "1_000", "0.5", "1e-6", "2.47M", "5%", "20ep", "6GiB"])
TEXTS = st.sampled_from(['"cls"', '"b n (h c) -> b h n c"', '""', '"a # b \\" \\\\ {x}"'])
OPERATORS = [
    *("+", "-", "*", "/", "//", "%", "^", "==", "!=", "<=", ">=", "<", ">", "in", "and", "or"),
]


def commas(items: list[Tokens]) -> Tokens:
    found: Tokens = []
    for item in items:
        found += [",", *item] if found else item
    return found


def wrapped(opening: str, closing: str, items: list[Tokens], *, comma: bool = False) -> Tokens:
    return [opening, *commas(items), *([","] if comma and items else []), closing]


def in_parentheses(tokens: Tokens) -> Tokens:
    return ["(", *tokens, ")"]


def arguments(parts: st.SearchStrategy[Tokens]) -> st.SearchStrategy[list[Tokens]]:
    named = st.builds(lambda name, value: [name, "=", *value], NAMES, parts)
    splat = parts.map(lambda value: ["*", *value])
    return st.lists(st.one_of(parts, named, splat), max_size=3)


def _binder() -> st.SearchStrategy[Tokens]:
    several = st.lists(NAMES, min_size=2, max_size=3)
    return st.one_of(
        NAMES.map(lambda name: [name]),
        several.map(lambda names: wrapped("(", ")", [[name] for name in names])),
    )


def _larger(parts: st.SearchStrategy[Tokens]) -> st.SearchStrategy[Tokens]:
    """Expressions of expressions, each operand in parentheses."""
    operand = parts.map(in_parentheses)
    items = st.lists(parts, max_size=4)
    return st.one_of(
        st.builds(lambda a, o, b: [*a, o, *b], operand, st.sampled_from(OPERATORS), operand),
        st.builds(lambda a, b, c: [*a, "+", *b, "-", *c], operand, operand, operand),
        st.builds(lambda a: ["-", *a], operand),
        st.builds(lambda a: ["not", *a], operand),
        st.builds(lambda a, b: [*a, "..", *b], operand, operand),
        st.builds(lambda a, b: [*a, "|>", *b], operand, operand),
        st.builds(lambda a, b, c: [*a, "|>", *b, "|>", *c], operand, operand, operand),
        st.builds(lambda a, b, c: ["if", *a, "then", *b, "else", *c], parts, parts, operand),
        st.builds(lambda a, k: [*a, *wrapped("[", "]", k)], operand, arguments(parts)),
        st.builds(lambda a, k: [*a, *wrapped("(", ")", k)], operand, arguments(parts)),
        st.builds(lambda a, n: [*a, ".", n], operand, NAMES),
        st.builds(lambda a, n: [*a, "@", n], operand, NAMES),
        st.builds(lambda i, c: wrapped("[", "]", i, comma=c), items, st.booleans()),
        st.builds(lambda a, i: wrapped("(", ")", [a, *i, a]), parts, items),
        st.builds(lambda a, b, c: ["[", *a, "for", *b, "in", *c, "]"], parts, _binder(), parts),
    )


ATOMS = st.one_of(NAMES, NUMBERS, TEXTS, st.sampled_from(["true", "false"])).map(lambda a: [a])
EXPRESSIONS = st.recursive(ATOMS, _larger, max_leaves=8)


@st.composite
def shapes(draw: st.DrawFn) -> Tokens:
    axes = draw(st.lists(EXPRESSIONS, max_size=3))
    if draw(st.booleans()):
        axes = [["*", draw(NAMES)], *axes]
    tensor = wrapped("[", "]", axes)
    if draw(st.integers(0, 4)) == 0:
        return ["list", "[", *draw(EXPRESSIONS), "]", "of", *tensor]
    return tensor


@st.composite
def bodies(draw: st.DrawFn, depth: int = 1) -> Tokens:
    lines = draw(st.lists(statements(depth), max_size=4))
    found = ["{"]
    for line in lines:
        found += [*line, draw(st.sampled_from([";", "\n", "\n\n\n"]))]
    return [*found, "}"]


@st.composite
def statements(draw: st.DrawFn, depth: int) -> Tokens:
    value, name = draw(EXPRESSIONS), draw(NAMES)
    simple: list[Tokens] = [
        ["dim", name, "=", *value],
        ["require", *value],
        ["prefer", *value, ",", draw(TEXTS.filter(lambda text: "{" not in text))],
        ["expect", *value, "within", *draw(EXPRESSIONS), "at", "[", "B", "=", "1", "]"],
        ["param", name, ":", "[", *value, "]", "~", *draw(EXPRESSIONS)],
        ["buffer", name, ":", "[", "]"],
        ["layer", name, "=", *value],
        [name, "=", *value],
        [name, ":", *draw(shapes()), "=", *value],
        ["(", name, ",", "y", ")", "=", *value],
        [name, "+=", *value],
        ["return", *value, ",", *draw(EXPRESSIONS)],
        ["return", *in_parentheses(value)],
        ["defaults", "{", "linear", ".", "init", "=", *value, ";", "a", ".", "b", "=", "1", "}"],
    ]
    choice = draw(st.integers(0, len(simple) + (3 if depth else -1)))
    if choice < len(simple):
        return simple[choice]
    inside = draw(bodies(depth - 1))
    condition = in_parentheses(value)
    return [
        ["repeat", *condition, "as", name, "shared", *inside],
        ["for", *draw(_binder()), "in", *condition, *inside],
        ["if", *condition, *inside],
        ["if", *condition, *inside, "else", *draw(bodies(depth - 1))],
    ][choice - len(simple)]


@st.composite
def items(draw: st.DrawFn) -> Tokens:
    value, name = draw(EXPRESSIONS), draw(NAMES)
    static = [name, ":", "list", "[", "dim", "]", "=", *value]
    mark = draw(st.sampled_from([[], ["intrinsic"], ["float32"]]))
    record = ["{", "a", "=", *value, ";", "b", "{", "c", "=", "1", "\n", "d", "=", "2", "}", "}"]
    head = wrapped("[", "]", [static, ["b", ":", "int"]], comma=draw(st.booleans()))
    takes = wrapped("(", ")", [["x", ":", *draw(shapes())], ["y", ":", *draw(shapes())]])
    gives = wrapped("(", ")", [draw(shapes()), draw(shapes())])
    one = draw(shapes())
    return draw(
        st.sampled_from(
            [
                ["import", "std", ".", "nn", "as", name],
                ["from", "std", ".", "nn", "import", "A", ",", "B", ",", "C"],
                ["const", name, "=", *value],
                [*mark, "block", name, *head, *takes, "->", *gives, *draw(bodies())],
                ["model", name, "(", ")", "->", *one, *draw(bodies())],
                ["model", name, *head, "=", *value],
                ["recipe", name, "=", "base", *record],
                ["train", name, "with", "r", *record],
                ["sweep", name, "of", "M", "{", "a", "in", *value, ";", "where", *value, "\n", "}"],
                ["check", "M", *wrapped("[", "]", [value]), ":", *one, "->", *gives],
                ["claim", "M", "(", ")", ":", *value, ",", '"source"'],
            ]
        )
    )


@st.composite
def files(draw: st.DrawFn) -> list[Tokens]:
    """Declarations, each a list of tokens."""
    return draw(st.lists(items(), min_size=1, max_size=4))


def dressed(declarations: list[Tokens], seed: int, *, comments: bool) -> str:
    """A text of the tokens, with blanks, newlines, and perhaps comments where they may be."""
    chance = random.Random(seed)
    return "".join(_dressed(tokens, chance, comments=comments) for tokens in declarations)


def _dressed(tokens: Tokens, chance: random.Random, *, comments: bool) -> str:
    text = ""
    depth: list[str] = []
    for place, token in enumerate(tokens):
        if token in "([{":
            depth.append(token)
        elif token in ")]}":
            depth.pop()
        text += token
        after = tokens[place + 1] if place + 1 < len(tokens) else "\n"
        free = (bool(depth) and depth[-1] != "{") or _goes_on(token, after)
        if free and chance.random() < 0.1:
            number = chance.randrange(100)
            text += chance.choice(["\n", "\n\n  ", f" # c{number}\n" if comments else "\n"])
            text += f"## d{number}\n" if comments and chance.random() < 0.3 else ""
        elif token.startswith("\n") and comments and chance.random() < 0.3:
            text += f"  # line {chance.randrange(100)}\n"
        else:
            text += " " * chance.choice([1, 1, 1, 3])
    return f"{text} # end\n" if comments and chance.random() < 0.3 else f"{text}\n"


def _goes_on(token: str, after: str) -> bool:
    """Whether a newline between two tokens of a statement means nothing."""
    return token in {",", "=", ":", "~", "+=", "->", "|>", "{", "then", "else"} or after in {
        *("|>", "->", "then", "else", "{", "}"),
    }
