"""Characters that begin no token: what they probably mean, and the token that stands in for them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from linvit_dsl.errors import Diagnostic, Fix, Source, Span, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.syntax.quantities import UNITS

# Pairs of symbols that no text of the language holds side by side.
_FOREIGN = {
    "**": ("CARET", "^", "a power is written `^`"),
    "&&": ("AND", "and", "write `and`"),
    "||": ("OR", "or", "write `or`"),
    "===": ("EQ", "==", "write `==`"),
    "!==": ("NE", "!=", "write `!=`"),
    "<>": ("NE", "!=", "write `!=`"),
    ":=": ("EQUAL", "=", "a value is bound with `=`"),
    "=>": ("_ARROW", "->", "an arrow is written `->`"),
}
FOREIGN_OPERATOR = r"\*\*|&&|\|\||===|!==|<>|:=|=>"
"""Operators of other languages, as a regular expression."""

# Characters that are drawn like ASCII ones (Cyrillic, Greek, letter variants), or that word processors
# and papers put in their place.
_LOOKALIKES = {
    **dict(zip("\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425", "ABEKMHOPCTX")),
    **dict(zip("\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458", "aeopcyxisj")),
    **dict(zip("\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f", "ABEZHIKMNO")),
    **dict(zip("\u03a1\u03a4\u03a5\u03a7\u03bf\u03c2", "PTYXo\u03c3")),
    **dict(zip("\u00b5\u03d5\u03f5\u03d1\u03f1", "\u03bc\u03c6\u03b5\u03b8\u03c1")),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
    **dict.fromkeys("\u2212\u2013\u2014", "-"),
    **dict.fromkeys("\u00d7\u00b7", "*"),
    **dict.fromkeys("\u2192\u21d2", "->"),
    "\u00f7": "/",
    "\u00a0": " ",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2260": "!=",
    "\u00b2": "^2",
    "\u00b3": "^3",
}
_INVISIBLE = {"Cf", "Cc", "Cs", "Zl", "Zp"}


@dataclass(frozen=True, slots=True)
class Stray:
    """What stands at `[start, end)`; `kind` and `text` are the token to go on with, if any."""

    diagnostics: tuple[Diagnostic, ...]
    start: int
    end: int
    kind: str = ""
    text: str = ""


def invisible_characters(source: Source, start: int, end: int) -> list[Diagnostic]:
    """Characters that are refused even in texts and comments: they make a file read otherwise than
    it is. Each kind is reported once, where it stands first."""
    text = source.text
    found: list[Diagnostic] = []
    for char in sorted(set(text[start:end])):
        if char in "\t\n" or unicodedata.category(char) not in _INVISIBLE:
            continue
        at = re.compile(r"\r(?!\n)" if char == "\r" else re.escape(char)).search(text, start, end)
        if at is not None and not (char == "\ufeff" and at.start() == 0):
            span = Span(source, at.start(), at.end())
            fix = Fix(span, "", "remove it")
            found.append(diagnose("E0124", span, character=character_name(char), fixes=(fix,)))
    return found


def character_name(char: str) -> str:
    """`U+202E RIGHT-TO-LEFT OVERRIDE`."""
    controls = {"\0": "NULL", "\r": "CARRIAGE RETURN", "\x0b": "LINE TABULATION", "\x0c": "FORM FEED"}
    name = unicodedata.name(char, controls.get(char, "control character"))
    return f"U+{ord(char):04X} {name}"


def foreign_operator(source: Source, start: int, end: int) -> Stray:
    """An operator of another language."""
    operator = source.text[start:end]
    kind, text, meaning = _FOREIGN[operator]
    span = Span(source, start, end)
    fix = Fix(span, text, f"write `{text}`")
    diagnostic = diagnose("E0108", span, operator=operator, helps=(meaning,), fixes=(fix,))
    return Stray((diagnostic,), start, end, kind, text)


def stray(source: Source, position: int, end: int) -> Stray:
    """What stands at `position`, where no token begins."""
    text = source.text
    char = text[position]
    if char == '"':
        return _broken_text(source, position, end)
    if char == "'":
        quoted = re.compile(r"'([^'\"\n\\]*)'").match(text, position, end)
        if quoted is not None:
            span = Span(source, position, quoted.end())
            meant = f'"{quoted[1]}"'
            fix = Fix(span, meant, "write double quotes")
            diagnostic = diagnose("E0105", span, text=quoted.group(), fixes=(fix,))
            return Stray((diagnostic,), position, quoted.end(), "STRING", meant)
    if char.isascii() and char.isdigit():
        return _broken_number(source, position, end)
    if char == "\r" or (char != "\n" and unicodedata.category(char) in _INVISIBLE):
        return Stray((), position, position + 1)  # reported by invisible_characters
    if not char.isascii():
        return _foreign_word(source, position, end)
    span = Span(source, position, position + 1)
    return Stray((diagnose("E0100", span, character=char, helps=_hint(char)),), position, position + 1)


def _hint(char: str) -> tuple[str, ...]:
    hints = {
        "'": 'texts are written in double quotes: "..."',
        "!": "a condition is denied with `not`",
        "|": "a pipe is written `|>`, `or` is a word",
        "&": "`and` is a word",
        "?": "a choice is written `if c then a else b`",
        "$": "a value is put into a text with braces: `{n}`",
        "\\": "a line goes on after an operator, a comma or inside brackets, without a sign",
    }
    return (hints[char],) if char in hints else ()


def _broken_text(source: Source, position: int, end: int) -> Stray:
    """A text with an unknown escape, or that does not end on its line."""
    text = source.text
    whole = re.compile(r'"(?:[^"\\\n\r]|\\[^\n\r])*"').match(text, position, end)
    if whole is None:
        line_end = re.compile(r"[^\n\r]*").match(text, position, end)
        stop = line_end.end() if line_end is not None else end
        diagnostic = diagnose(
            "E0104",
            Span(source, position, stop),
            helps=("close it with `\"`; a text cannot span lines, `\\n` in it makes a line break",),
        )
        return Stray((diagnostic,), position, stop, "STRING", '""')
    found: list[Diagnostic] = []
    for escape in re.compile(r"\\(.)").finditer(text, position + 1, whole.end() - 1):
        if escape[1] not in '"\\nt':
            span = Span(source, escape.start(), escape.end())
            helps = ('escapes are \\" \\\\ \\n \\t; a backslash itself is written `\\\\`',)
            found.append(diagnose("E0106", span, escape=escape.group(), helps=helps))
    kept = re.sub(r"\\(?![\"\\nt])", r"\\\\", whole.group())
    return Stray(tuple(found), position, whole.end(), "STRING", kept)


def _broken_number(source: Source, position: int, end: int) -> Stray:
    """Digits and letters run together: an unknown unit, or another language's notation."""
    found = re.compile(r"[0-9][0-9_.]*([A-Za-z_][A-Za-z0-9_]*)?").match(source.text, position, end)
    stop = found.end() if found is not None else position + 1
    suffix = found[1] or "" if found is not None else ""
    span = Span(source, position, stop)
    near = nearest(suffix, UNITS)
    if near:
        start = stop - len(suffix)
        fix = (Fix(Span(source, start, stop), near, f"write `{near}`"),)
        helps: tuple[str, ...] = (f"did you mean the unit `{near}`?",)
    else:
        fix, helps = (), (f"units are {' '.join(UNITS)}",)
    diagnostic = diagnose("E0114", span, text=span.text, helps=helps, fixes=fix)
    return Stray((diagnostic,), position, stop, "NUMBER", "1")


def _foreign_word(source: Source, position: int, end: int) -> Stray:
    """A character that is neither ASCII nor a Greek letter of its own shape, with its word."""
    text = source.text
    char = text[position]
    span = Span(source, position, position + 1)
    meant = _LOOKALIKES.get(char)
    if meant is None:
        helps = ("outside of texts and comments there are ASCII characters, and Greek letters in names",)
        found = diagnose("E0123", span, character=character_name(char), helps=helps)
        stop = _word_end(text, position, end)
        return Stray((found,), position, stop, "NAME" if char.isalpha() else "", "_")
    fix = Fix(span, meant, f"write `{meant}`")
    helps = (f"it looks like `{meant}`",)
    found = diagnose("E0123", span, character=character_name(char), helps=helps, fixes=(fix,))
    if char.isalpha():
        stop = _word_end(text, position, end)
        word = "".join(_LOOKALIKES.get(letter, letter) for letter in text[position:stop])
        return Stray((found,), position, stop, "NAME", word)
    return Stray((found,), position, position + 1)


def _word_end(text: str, position: int, end: int) -> int:
    found = re.compile(r"\w+'*").match(text, position, end)
    return found.end() if found is not None else position + 1


def long_number(span: Span) -> Diagnostic:
    """What to say about it."""
    limit = f"{limits.INTEGER_DIGITS} digits, {limits.FRACTION_DIGITS} behind the point"
    shown = span.text if len(span.text) <= 24 else f"{span.text[:20]}..."
    return diagnose("E0711", span, text=shown, limit=f"{limit}, exponents up to {limits.EXPONENT}")
