"""Every kind of mistake: its code, the characters it is about, and the help that is given."""

import pytest

from linvit_dsl.errors import Diagnostic
from tests.dsl.syntax.texts import in_block, marked, parsed, places

# Code, text with the place of the message between « », a part of the message or its helps.
# A text that begins with a declaration is a file; others are the body of a block.
MISTAKES = [
    # Characters
    ("E0100", "y = «$»x", "`$` cannot appear here"),
    ("E0100", "y = not a «!» b", "denied with `not`"),
    ("E0100", "y = «`»x", "a backtick"),
    ("E0104", 'require a, «"open»', 'close it with `"`'),
    ("E0105", "const a = «'text'»", "'text' is written in single quotes"),
    ("E0106", 'const a = "x«\\q»"', "a backslash itself"),
    ("E0108", "y = a«**»2", "a power is written `^`"),
    ("E0108", "y = a «&&» b", "`and` is a word"),
    ("E0108", "y = a «||» b", "`or` is a word"),
    ("E0108", "y = a «===» b", "`==`"),
    ("E0108", "y = a «!==» b", "`!=`"),
    ("E0108", "y = a «<>» b", "`!=`"),
    ("E0108", "y «:=» b", "bound with `=`"),
    ("E0108", "x «-=» y", "write `x = x - ...`"),
    ("E0108", "x «*=» 2", "only `+=` exists"),
    ("E0108", "x «+ =» 3", "`+=` is one sign"),
    ("E0108", "x «- =» 3", "write `x = x - ...`"),
    ("E0114", "y = «3abc»", "units are % K M"),
    ("E0114", "y = «6GB»", "did you mean the unit `GiB`"),
    ("E0114", "y = «64k»", "did you mean the unit `K`"),
    ("E0114", "y = «20epochs»", "did you mean the unit `ep`"),
    ("E0114", "y = «0x10»", "`0x10` is not a number"),
    ("E0114", "y = «1e»", "`1e` is not a number"),
    # Words
    ("E0107", "«repaet» 3 { x = x }", "did you mean `repeat`?"),
    ("E0107", "«retrun» x", "did you mean `return`?"),
    ("E0107", "«Return» x", "did you mean `return`?"),
    ("E0107", "y = if a «tehn» b else c", "did you mean `then`?"),
    ("E0107", "y = a «adn» b", "did you mean `and`?"),
    ("E0107", "y = «nto» a", "did you mean `not`?"),
    ("E0107", "«blokc» A(x: [B]) -> [B] { return x }", "did you mean `block`?"),
    ("E0107", "«form» std.nn import A", "did you mean `from`?"),
    ("E0107", "«recpie» r { seed = 1 }", "did you mean `recipe`?"),
    ("E0107", "train M «wiht» r", "did you mean `with`?"),
    ("E0107", "sweep s of M { «wher» d > 3 }", "did you mean `where`?"),
    ("E0109", "«def» f(x):", "a block is declared"),
    ("E0109", "«class» Net { }", "a block is declared"),
    ("E0109", "«while» x { y = x }", "`repeat n as i { ... }`"),
    ("E0109", "if a { y = x } «elif» b { y = z }", "write `else if`"),
    ("E0109", "«let» y = x", "bound by `name = ...`"),
    ("E0117", "recipe r { data { name = digits«,» batch = 64 } }", "or between `;`"),
    ("E0117", "sweep s of M { heads in 3«,» 6 }", "stand in brackets: `heads in [3, 6]`"),
    ("E0113", "«layer» = linear[d]", "choose another name"),
    ("E0113", "y = attend(q, «layer», v)", "`layer` is a keyword"),
    ("E0113", "const «model» = 3", "`model` is a keyword"),
    ("E0113", "y = x |> f@«in»", "`in` is a keyword"),
    # Brackets
    ("E0102", "y = x |> linear[d«»", "`[` is never closed"),
    ("E0102", "y = f(x, g(y)«»", "`(` is never closed"),
    ("E0102", "const a = [1, 2«»", "`[` is never closed"),
    ("E0102", "block A(x: [B]«» -> [B] { return x }", "`(` is never closed"),
    ("E0103", "y = linear[d«)»(x)", "write `]`"),
    ("E0103", "y = f(x«]»", "write `)`"),
    ("E0103", "y = x«)»", "does not match any open bracket"),
    # Declarations
    ("E0110", "block A(x: [B])«» { return x }", "`-> [B, n, d]`"),
    ("E0110", "block A(x: [B])«:» [B] { return x }", "`A` does not say"),
    ("E0110", "block A(x: [B]) «[»B] { return x }", "`A` does not say"),
    ("E0111", "block A[heads «dim»](x: [B]) -> [B] { return x }", "`heads` has no kind"),
    ("E0111", "block A[«heads»](x: [B]) -> [B] { return x }", "write `heads: dim`"),
    ("E0111", "block A[«heads» = 6](x: [B]) -> [B] { return x }", "kinds are dim, int"),
    ("E0111", "block A[a: dim, «k», b: int](x: [B]) -> [B] { return x }", "`k` has no kind"),
    ("E0111", "block A(«x») -> [B] { return x }", "write `x: [B, n, d]`"),
    ("E0111", "block A(x «[»B]) -> [B] { return x }", "`x` has no shape"),
    ("E0121", "«x» = 3", "expected a declaration, found `x`"),
    ("E0101", "block A(x: [B]) -> [B]«»", "expected `{`"),
    ("E0101", "block «(»x: [B]) -> [B] { return x }", "expected a name, found `(`"),
    ("E0101", "from std.nn import «(»A, B)", "without parentheses"),
    ("E0115", "from std.nn import A«» B", "before `B`"),
    # Signs
    ("E0112", "if a «=» b { y = x }", "`==` compares"),
    ("E0112", "require a «=» b", "`==` compares"),
    ("E0112", "y «==» x", "`=` gives a value its name"),
    ("E0112", "recipe r { epochs«:» 10 }", "a value stands behind `=`"),
    ("E0112", "y = linear[d, bias«:» true](x)", "a value stands behind `=`"),
    ("E0112", "param w «=» [d]", "a kind or a shape stands behind `:`"),
    ("E0115", 'y = rearrange["b n"«» h = 3](x)', "a comma is missing before `h`"),
    ("E0115", "y = f(a«» b)", "a comma is missing before `b`"),
    ("E0115", "y = [1«» 2]", "a comma is missing before `2`"),
    ("E0117", "x = 1 «y» = 2", "ends with its line"),
    ("E0117", "x = f(x) «return» x", "ends with its line"),
    ("E0117", "recipe r { a = 1«,» b = 2 }", "between `;`"),
    ("E0117", "const a = 3 «const» b = 4", "found `const`"),
    ("E0101", "dim h«,» w = grid", "several names stand in parentheses: `(h, w)`"),
    ("E0101", "q«,» k, v = f(x)", "several names stand in parentheses: `(q, k, v)`"),
    ("E0101", "for a«,» b in c { x = a }", "several names stand in parentheses: `(a, b)`"),
    ("E0101", "recipe r { data = «{» batch = 2 } }", "without `=`"),
    ("E0101", "param w «[»d] ~ zeros", "expected `:`, found `[`"),
    ("E0101", "for x «of» xs { y = x }", "expected `in`, found `of`"),
    # Expressions and statements
    ("E0101", "y = «@»q", "expected an expression, found `@`"),
    ("E0101", "y = f(«,»)", "expected an expression"),
    ("E0101", "return«»", "expected an expression, found the end of the line"),
    ("E0101", "y = a «if» c else b", "`if c then a else b`"),
    ("E0101", "if c «then» x = 1", "`if c { ... } else { ... }`"),
    ("E0101", "«//» note", "a comment begins with `#`"),
    ("E0101", "x = 3 // a «note»", "a comment begins with `#`"),
    ("E0116", "require 1 < n «<» 4", "write `a < b and b < c`"),
    ("E0118", "«x |> linear[d]»", "write `name = ...`"),
    ("E0118", "«linear[d](x)»", "write `name = ...`"),
    ("E0119", "y = x |> f «+» y", "write `(x |> f) + y`"),
    ("E0120", "y = if a then b«»", "expected `else`"),
    ("E0122", 'require a, "«{»n"', "`{{`"),
    ("E0122", 'require a, "n«}»"', "`}}`"),
    ("E0101", 'require a, "{n +«»}"', "expected an expression"),
]
DECLARATIONS = (
    *(
        "block",
        "const",
        "from",
        "recipe",
        "train",
        "sweep",
        "blokc",
        "form",
        "recpie",
        "def",
        "class",
    ),
    "x = 3",
)


def file_of(text: str) -> str:
    bare = text.replace("«", "").replace("»", "")
    return (
        text + "\n"
        if bare.startswith(DECLARATIONS) and bare != "x = 3 // a note"
        else in_block(text)
    )


def words(found: Diagnostic) -> str:
    return "\n".join([found.message, found.primary.text, *found.helps])


@pytest.mark.parametrize(("code", "text", "said"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_a_mistake_is_explained_where_it_is(code: str, text: str, said: str) -> None:
    clean, spans = marked(file_of(text))
    found = parsed(clean).diagnostics
    assert [diagnostic.code for diagnostic in found] == [code], [words(d) for d in found]
    assert places(found) == spans
    assert said in words(found[0])


@pytest.mark.parametrize(("code", "text", "_"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_a_fix_removes_the_mistake(code: str, text: str, _: str) -> None:
    clean = marked(file_of(text))[0]
    found = parsed(clean).diagnostics
    for fix in found[0].fixes:
        if text.startswith("from std.nn import «("):
            continue  # one of two parentheses: the other asks for its own edit
        fixed = clean[: fix.span.start] + fix.replacement + clean[fix.span.end :]
        left = parsed(fixed).diagnostics
        assert code not in [diagnostic.code for diagnostic in left], fixed


def test_the_opener_of_a_bracket_is_shown() -> None:
    (found,) = parsed(in_block("y = x |> linear[d", "return y")).diagnostics
    (opener,) = found.secondary
    assert (opener.span.text, opener.text, opener.span.line) == ("[", "opened here", 2)


def test_a_crooked_brace_is_pointed_out() -> None:
    (found,) = parsed(
        "block A(x: [B]) -> [B] {\n  repeat 3 {\n    x = x\n  return x\n}\n"
    ).diagnostics
    assert (found.code, found.primary.span.line) == ("E0102", 1)
    (inner,) = found.secondary
    assert inner.span.line == 2
    assert "closed by the `}` of line 5" in inner.text


def test_the_end_of_a_body_that_came_too_early_is_shown() -> None:
    text = "block A(x: [B]) -> [B] {\n  y = x\n}\n  return y\n}\nconst a = 1\n"
    result = parsed(text)
    (found,) = result.diagnostics
    assert (found.code, found.primary.span.text) == ("E0121", "return")
    assert [label.span.line for label in found.secondary] == [3]
    assert len(result.file.items) == 2


def test_an_operator_without_a_right_side_is_shown() -> None:
    (found,) = parsed(in_block("dim c = d /", "return x")).diagnostics
    assert found.message == "expected an expression, found `return`"
    assert [label.span.text for label in found.secondary] == ["/"]


@pytest.mark.parametrize(
    "word",
    ["largest", "matches", "blocks", "classes", "form", "params", "check", "while'", "returns"],
)
def test_a_word_near_a_keyword_may_be_a_name(word: str) -> None:
    assert parsed(in_block(f"{word} = x", f"return {word}")).diagnostics == ()
