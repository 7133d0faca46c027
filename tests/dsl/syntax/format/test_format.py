"""What formatted texts look like, and that the formatter refuses its own mistakes."""

import re
from itertools import chain
from pathlib import Path

import pytest

from linvit_dsl.errors import InternalError, Source, SpecError
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.format import WIDTH, format_source
from linvit_dsl.syntax.format.comments import Comments
from linvit_dsl.syntax.format.document import BREAK, Document, join
from linvit_dsl.syntax.format.items import FilePrinter
from linvit_dsl.syntax.format.parts import Printer
from linvit_dsl.syntax.format.safety import assert_same_text, same
from linvit_dsl.syntax.frontend import parse
from tests.conftest import Golden
from tests.dsl.syntax.texts import CORPUS, SHIPPED, parsed, plain

CASES = sorted((Path(__file__).parent / "cases").glob("*.vit"))


def formatted(text: str) -> str:
    return format_source(Source("a.vit", text))


@pytest.mark.parametrize("path", [*CORPUS, *CASES], ids=lambda path: path.stem)
def test_a_formatted_text_is_the_reviewed_one(path: Path, golden: Golden) -> None:
    golden.check(f"format/{path.name}", formatted(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", [*SHIPPED, *CORPUS, *CASES], ids=lambda path: path.stem)
def test_formatting_keeps_the_meaning_and_is_done_once(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    once = formatted(text)
    assert plain(parsed(once).file) == plain(parsed(text).file)
    assert formatted(once) == once


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_formatted_and_fit_the_width(path: Path) -> None:
    """But for texts and comments, which the formatter leaves as they are."""
    text = path.read_text(encoding="utf-8")
    assert formatted(text) == text, f"run `linvit fmt {path}`"
    for line in text.splitlines():
        code = re.sub(r'"[^"]*"', "", line.partition("#")[0])
        assert len(code) <= WIDTH


def test_every_class_of_node_has_a_rule() -> None:
    def below(node: type[ast.Syntax]) -> set[type[ast.Syntax]]:
        own = node.__subclasses__()
        return set(chain(own, *map(below, own)))

    assert set(FilePrinter.RULES) == below(ast.Syntax)


def test_a_class_of_node_without_a_rule_is_an_internal_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(FilePrinter.RULES, ast.Constant)
    with pytest.raises(InternalError, match="no rule for Constant"):
        formatted("const a = 1\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("\n\n", ""),
        ("# only a comment", "# only a comment\n"),
        ("\n\n# a\n\n\n\n# b\n\n", "# a\n\n# b\n"),
        ("const\ta\t=\t1", "const a = 1\n"),
        ("\ufeffconst a = 1", "const a = 1\n"),
        ('const t = "\t  # kept"', 'const t = "\t  # kept"\n'),
        ("const a=1;const b=2 # c", "const a = 1\nconst b = 2  # c\n"),
        ("const a = 1\n\n\n\nconst b = 2", "const a = 1\n\nconst b = 2\n"),
        ("import std.nn\nconst a = 1", "import std.nn\n\nconst a = 1\n"),
        ("block A() -> [1] {\n\n}\nconst a = 1", "block A() -> [1] { }\n\nconst a = 1\n"),
        ("recipe r {}\ntrain M with r", "recipe r { }\ntrain M with r\n"),
    ],
)  # fmt: skip
def test_small_texts(text: str, expected: str) -> None:
    assert formatted(text) == expected


def test_a_text_with_mistakes_is_refused_with_all_of_them() -> None:
    with pytest.raises(SpecError) as refused:
        formatted("const = 1\nconst b = 2\nblock C(\n")
    assert len(refused.value.diagnostics) > 1


# The formatter checks itself: each of these mistakes of a rule must be found.


def broken(monkeypatch: pytest.MonkeyPatch, node: type[ast.Syntax], rule: object) -> None:
    monkeypatch.setitem(FilePrinter.RULES, node, rule)


def test_a_changed_meaning_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, ast.Number, lambda *_: "2")
    with pytest.raises(InternalError, match="changed what it means"):
        formatted("const a = 1\n")


def test_a_broken_text_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, ast.Number, lambda *_: ")")
    with pytest.raises(InternalError, match="broke it"):
        formatted("const a = 1\n")


def test_a_lost_comment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Comments, "behind", lambda *_: ())
    monkeypatch.setattr(FilePrinter, "comment_entries", lambda *_: [])
    with pytest.raises(InternalError, match="changed a comment: # lost"):
        formatted("const a = 1  # lost\n")


def test_a_second_change_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def longer(printer: Printer, node: ast.Constant) -> Document:
        extra = [BREAK] * (node.span.text.count("\n") + 1)
        return join("const a =", *extra, "1")

    broken(monkeypatch, ast.Constant, longer)
    with pytest.raises(InternalError, match="twice"):
        formatted("const a = 1\n")


def test_the_documentation_of_a_block_belongs_to_its_meaning() -> None:
    with pytest.raises(InternalError, match="changed what it means"):
        assert_same_text(Source("a", "## a\nmodel A = B\n"), Source("a", "model A = B  ## a\n"))


@pytest.mark.parametrize("other", ["const a = 2", "const b = 1", "model a = b", "const a = [1]"])
def test_different_trees_are_not_the_same(other: str) -> None:
    one = parse(Source("a", "const a = 1")).file
    assert same(one, parse(Source("b", "\n\nconst  a =  1 ")).file)
    assert not same(one, parse(Source("a", other)).file)
