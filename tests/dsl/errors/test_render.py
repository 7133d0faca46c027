"""The layout of diagnostics, compared character by character with what a reader should see."""

import re
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linvit_dsl.errors import Diagnostic, Label, Source, Span
from linvit_dsl.errors.render import Omitted, concise, render, render_all, summary, to_json

TEXT = """\
block Attention[heads: dim](x: [B, n, d]) -> [B, n, d] {
  dim c = d / heads
  y = concat[1](
    x,
    x,
  )
  return concat[-1](a, b)
}
"""
SOURCE = Source("std/attention.vit", TEXT)


def at(text: str, source: Source = SOURCE) -> Span:
    start = source.text.index(text)
    return Span(source, start, start + len(text))


def error(
    primary: Label,
    secondary: tuple[Label, ...] = (),
    notes: tuple[str, ...] = (),
    helps: tuple[str, ...] = (),
) -> Diagnostic:
    return Diagnostic("E0301", "a message", primary, secondary, notes, helps)


def shown(diagnostic: Diagnostic) -> str:
    return "\n" + render(diagnostic) + "\n"


def expected(text: str) -> str:
    return dedent(text)


def test_message_place_excerpt_notes_and_helps() -> None:
    diagnostic = Diagnostic(
        "E0301",
        "`d` = 384 cannot be split into 7 heads",
        Label(at("d / heads"), "384/7 = 54 + 6/7"),
        notes=(
            "d = 384      from `d = 384`      specs/my.vit:3:49",
            "heads = 7    from `heads = 7`    specs/my.vit:3:33",
        ),
        helps=("heads dividing 384 near 7: 6, 8",),
    )
    assert shown(diagnostic) == expected("""
        error[E0301]: `d` = 384 cannot be split into 7 heads
         --> std/attention.vit:2:11
          |
        2 |   dim c = d / heads
          |           ^^^^^^^^^ 384/7 = 54 + 6/7
          |
          = d = 384      from `d = 384`      specs/my.vit:3:49
          = heads = 7    from `heads = 7`    specs/my.vit:3:33
          = help: heads dividing 384 near 7: 6, 8
        """)


def test_several_labels_share_a_line() -> None:
    a, b = at("a, b"), at("b)")
    diagnostic = error(
        Label(at("concat[-1](a, b)"), ""),
        secondary=(
            Label(Span(SOURCE, a.start, a.start + 1), "64 tokens"),
            Label(Span(SOURCE, b.start, b.start + 1), "32 tokens"),
        ),
    )
    assert shown(diagnostic) == expected("""
        error[E0301]: a message
         --> std/attention.vit:7:10
          |
        7 |   return concat[-1](a, b)
          |          ^^^^^^^^^^^-^^-^
          |                     |  |
          |                     |  32 tokens
          |                     64 tokens
        """)
    diagnostic = error(
        Label(at("concat[-1]"), "the last axis"),
        secondary=diagnostic.secondary,
    )
    assert shown(diagnostic) == expected("""
        error[E0301]: a message
         --> std/attention.vit:7:10
          |
        7 |   return concat[-1](a, b)
          |          ^^^^^^^^^^ -  - 32 tokens
          |          |          |
          |          |          64 tokens
          |          the last axis
        """)


def test_short_marks_lie_over_long_ones_but_never_hide_the_primary_one() -> None:
    whole, part = at("concat[-1](a, b)"), at("[-1]")
    outer = error(Label(part), secondary=(Label(whole, "here"),))
    assert " ------^^^^------ here" in render(outer)
    inner = error(Label(whole), secondary=(Label(part, "here"),))
    assert " ^^^^^^----^^^^^^" in render(inner)
    left, right = at("concat[-1]"), at("(a, b)")
    covered = error(Label(whole), secondary=(Label(left, "left"), Label(right, "right")))
    assert " ^^^^^^^^^^^^^^^^ right" in render(covered)
    same = error(Label(part, "one"), secondary=(Label(part, "two"),))
    assert " ^^^^ " in render(same)
    assert "two" in render(same)


def test_lines_far_apart_are_separated_and_a_single_line_between_is_shown() -> None:
    far = error(Label(at("a, b")), secondary=(Label(at("heads"), "first"),))
    assert shown(far) == expected("""
        error[E0301]: a message
         --> std/attention.vit:7:21
          |
        1 | block Attention[heads: dim](x: [B, n, d]) -> [B, n, d] {
          |                 ----- first
        ...
        7 |   return concat[-1](a, b)
          |                     ^^^^
        """)
    near = render(error(Label(at("dim c")), secondary=(Label(at("    x,")),)))
    assert "3 |   y = concat[1](" in near
    assert "..." not in near


def test_a_label_over_several_lines_has_a_rail() -> None:
    diagnostic = error(Label(at("concat[1](\n    x,\n    x,\n  )"), "two tensors"))
    assert shown(diagnostic) == expected("""
        error[E0301]: a message
         --> std/attention.vit:3:7
          |
        3 |     y = concat[1](
          |  _______^
        4 | |     x,
        5 | |     x,
        6 | |   )
          | |___^ two tensors
        """)


def test_a_long_label_shows_its_ends() -> None:
    diagnostic = error(
        Label(Span(SOURCE, 0, len(TEXT)), "the block"), secondary=(Label(at("d /")),)
    )
    assert shown(diagnostic) == expected("""
        error[E0301]: a message
         --> std/attention.vit:1:1
          |
        1 |   block Attention[heads: dim](x: [B, n, d]) -> [B, n, d] {
          |  _^
        2 | |   dim c = d / heads
          | |           ---
        ... |
        8 | | }
          | |_^ the block
        """)


def test_other_files_follow() -> None:
    other = Source("specs/my.vit", "\n" * 9 + "model M = ViT[heads = 7]\n")
    diagnostic = error(
        Label(at("d / heads")), secondary=(Label(at("heads = 7", other), "set here"),)
    )
    assert shown(diagnostic) == expected("""
        error[E0301]: a message
          --> std/attention.vit:2:11
           |
         2 |   dim c = d / heads
           |           ^^^^^^^^^
          ::: specs/my.vit:10:15
           |
        10 | model M = ViT[heads = 7]
           |               --------- set here
        """)


@pytest.mark.parametrize(
    ("line", "word", "mark"),
    [
        ("\tx = y", "y", "        ^"),
        ("a\tx", "x", "    ^"),
        ("漢字 x", "x", "     ^"),
        ("漢字 x", "字", "  ^^"),
        ("e\u0301 x", "x", "  ^"),
        ("φ = x", "x", "    ^"),
    ],
)
def test_marks_stand_under_tabs_and_wide_characters(line: str, word: str, mark: str) -> None:
    source = Source("a.vit", line)
    below = render(error(Label(at(word, source)))).splitlines()[-1]
    assert below == f"  | {mark}"


def test_an_empty_span_and_the_end_of_the_file_get_one_mark() -> None:
    source = Source("a.vit", "x = 1")
    assert render(error(Label(Span(source, 5, 5), "here"))).endswith("|      ^ here")
    assert render(error(Label(Span(Source("a.vit", "\n"), 0, 0)))).endswith("1 |\n  | ^")


def test_a_file_without_text_has_no_excerpt() -> None:
    text = render(error(Label(Span(Source("a.vit", ""), 0, 0)), helps=("h",)))
    assert text == "error[E0301]: a message\n --> a.vit:1:1\n  |\n  = help: h"


def test_windows_line_ends_do_not_show() -> None:
    source = Source("a.vit", "x = 1\r\ny = 2\r\n")
    text = render(error(Label(Span(source, 0, 7), "line")))
    assert text.endswith("1 | x = 1\n  | ^^^^^ line")


def test_a_long_line_is_cut_around_the_label() -> None:
    source = Source("a.vit", "word " * 500 + "HERE" + " word" * 500)
    rows = render(error(Label(at("HERE", source), "this"))).splitlines()
    assert max(map(len, rows)) < 180
    shown_at = rows[-2].index("HERE")
    assert rows[-1].index("^^^^") == shown_at
    whole = render(error(Label(Span(source, 0, len(source.text)), "all")))
    assert max(map(len, whole.splitlines())) < 180


def test_nothing_that_moves_the_cursor_reaches_the_terminal() -> None:
    hostile = "a\x1b[2Jb\u202ec\x07"
    source = Source("a.vit", hostile)
    label = Label(Span(source, 0, 2), hostile)
    diagnostic = Diagnostic("E0201", hostile, label, (label,), (hostile,), (hostile,))
    text = render(diagnostic) + concise(diagnostic)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", text)


def test_colour_changes_nothing_but_colour() -> None:
    diagnostic = error(
        Label(at("d / heads"), "here"),
        secondary=(Label(at("heads"), "there"),),
        notes=("n",),
        helps=("h",),
    )
    coloured = render(diagnostic, colour=True)
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(diagnostic)


def test_one_line() -> None:
    assert (
        concise(error(Label(at("d / heads")))) == "std/attention.vit:2:11: error[E0301]: a message"
    )


def test_json_has_the_documented_fields() -> None:
    diagnostic = error(Label(at("d / heads"), "x"), notes=("n",), helps=("h",))
    assert to_json(diagnostic) == {
        "code": "E0301",
        "severity": "error",
        "message": "a message",
        "file": "std/attention.vit",
        "line": 2,
        "column": 11,
        "end_line": 2,
        "end_column": 20,
        "notes": ["n"],
        "helps": ["h"],
    }


def test_the_summary_counts_by_severity() -> None:
    one = error(Label(at("d / heads")))
    warning = Diagnostic("W0300", "a message", one.primary)
    assert summary([one, warning, one]) == "2 errors, 1 warning"
    assert summary([warning]) == "1 warning"
    assert summary([]) == "no problems"
    assert summary([one, one], Omitted(errors=3)) == "2 of 5 errors shown"
    both = Omitted(errors=1) + Omitted(warnings=2)
    assert summary([one, warning], both) == "1 of 2 errors shown, 1 of 3 warnings shown"
    assert summary([one], Omitted(warnings=1)) == "1 error, 0 of 1 warning shown"
    assert summary([one, one], Omitted(uncounted=True)) == "2 errors, and there may be more"
    assert render_all([]) == ""
    assert render_all([one, warning]).endswith("\n\n1 error, 1 warning")


@given(st.data())
def test_no_label_anywhere_breaks_the_layout(data: st.DataObject) -> None:
    text = data.draw(st.text("ab \t\n\r漢", max_size=60))
    source = Source("a.vit", text)

    def label() -> Label:
        start = data.draw(st.integers(0, len(text)))
        return Label(Span(source, start, data.draw(st.integers(start, len(text)))), "word")

    rows = render(error(label(), secondary=(label(), label()))).splitlines()
    assert any("^" in row for row in rows) == bool(text)
    assert any("word" in row for row in rows) == bool(text)
    assert all(re.match(r"error|( *-->)|( *\d* \|)|\.\.\.", row) for row in rows)
