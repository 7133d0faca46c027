"""Characters that begin no token: what they probably mean, and the token that stands for them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from linvit_dsl.errors import Diagnostic, Fix, Source, Span, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.syntax.grammar import fixed_texts
from linvit_dsl.syntax.quantities import UNITS

FOREIGN_OPERATOR = r"\*\*|&&|\|\||===|!==|<>|:=|=>"
"""Operators of other languages. No text of this one holds these signs side by side."""
_OWN_OPERATORS = {
    "**": ("^", "a power is written `^`"),
    "&&": ("and", "`and` is a word"),
    "||": ("or", "`or` is a word"),
    "===": ("==", "equality is written `==`"),
    "!==": ("!=", "inequality is written `!=`"),
    "<>": ("!=", "inequality is written `!=`"),
    ":=": ("=", "a value is bound with `=`"),
    "=>": ("->", "an arrow is written `->`"),
}
_HINTS = {
    "'": 'texts are written in double quotes: "..."',
    "!": "a condition is denied with `not`",
    "|": "a pipe is written `|>`, and `or` is a word",
    "&": "`and` is a word",
    "?": "a choice is written `if c then a else b`",
    "$": "a value is put into a text with braces: `{n}`",
    "\\": "a line goes on behind an operator, behind a comma and in brackets, without a sign",
}

# Cyrillic and Greek letters drawn like Latin ones, and signs that papers and word processors put in
# the place of ASCII ones. Variants of a letter (full-width, ligatures) are known to Unicode itself.
_LOOKALIKES = {
    **dict(zip("\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420", "ABEKMHOP", strict=True)),
    **dict(zip("\u0421\u0422\u0425\u0430\u0435\u043e\u0440\u0441", "CTXaeopc", strict=True)),
    **dict(zip("\u0443\u0445\u0456\u0455\u0458\u03bf\u03a5\u03a7", "yxisjoYX", strict=True)),
    **dict(zip("\u0391\u0392\u0395\u0396\u0397\u0399\u039a", "ABEZHIK", strict=True)),
    **dict(zip("\u039c\u039d\u039f\u03a1\u03a4", "MNOPT", strict=True)),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
    **dict.fromkeys("\u2212\u2013\u2014", "-"),
    **dict.fromkeys("\u00d7\u00b7", "*"),
    **dict.fromkeys("\u2192\u21d2", "->"),
    "\u00f7": "/",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2260": "!=",
    "\u00b2": "^2",
    "\u00b3": "^3",
    "\u03c2": "\u03c3",
}
_INVISIBLE = {"Cf", "Cc", "Cs", "Zl", "Zp"}
_UNITS_ELSEWHERE = {
    "k": "K",
    "m": "M",
    "b": "G",
    "kb": "KiB",
    "mb": "MiB",
    "gb": "GiB",
    **dict.fromkeys(("epoch", "epochs"), "ep"),
    **dict.fromkeys(("iter", "iters", "step", "steps"), "it"),
    **dict.fromkeys(("pixel", "pixels"), "px"),
}
# Unicode leaves the control characters without names.
_CONTROL_NAMES = {
    "\0": "NULL",
    "\b": "BACKSPACE",
    "\v": "LINE TABULATION",
    "\f": "FORM FEED",
    "\r": "CARRIAGE RETURN",
}

_WORD = re.compile(r"\w+'*")
_SINGLE_QUOTED = re.compile(r"'([^'\"\n\\]*)'")
_CURLY_QUOTED = re.compile(
    r"[\u201c-\u201e\u00ab\u00bb]([^\u201c-\u201e\u00ab\u00bb\"\n\\]*)[\u201c-\u201e\u00ab\u00bb]"
)
_LOOSE_TEXT = re.compile(r'"(?:[^"\\\n\r]|\\[^\n\r])*"')
_REST_OF_LINE = re.compile(r"[^\n\r]*")
_LOOSE_NUMBER = re.compile(r"[0-9][0-9_.]*([A-Za-z_][A-Za-z0-9_]*)?")


@dataclass(frozen=True, slots=True)
class Stray:
    """What stands at `[start, end)`. `kind` and `text` are the token to go on with, if any."""

    diagnostics: tuple[Diagnostic, ...]
    start: int
    end: int
    kind: str = ""
    text: str = ""


def invisible_characters(source: Source, start: int, end: int) -> list[Diagnostic]:
    """Characters that are refused even in texts and comments.

    They make a file read otherwise than it is. Each is reported once, where it stands first.
    """
    text = source.text
    found: list[Diagnostic] = []
    for char in sorted(set(text[start:end]) - {"\n", "\t"}):
        if unicodedata.category(char) not in _INVISIBLE:
            continue
        at = re.compile(r"\r(?!\n)" if char == "\r" else re.escape(char)).search(
            text, 1 if char == "\ufeff" and start == 0 else start, end
        )
        if at is not None:
            span = Span(source, at.start(), at.end())
            fix = Fix(span, "\n" if char == "\r" else "", "replace it")
            found.append(diagnose("E0124", span, character=character_name(char), fixes=(fix,)))
    return found


def character_name(char: str) -> str:
    """`U+202E RIGHT-TO-LEFT OVERRIDE`."""
    name = unicodedata.name(char, _CONTROL_NAMES.get(char, "a control character"))
    return f"U+{ord(char):04X} {name}"


def foreign_operator(source: Source, start: int, end: int) -> Stray:
    """An operator of another language."""
    operator = source.text[start:end]
    text, meaning = _OWN_OPERATORS[operator]
    span = Span(source, start, end)
    fix = Fix(span, text, f"write `{text}`")
    diagnostic = diagnose("E0108", span, operator=operator, helps=(meaning,), fixes=(fix,))
    return Stray((diagnostic,), start, end, fixed_texts()[text], text)


def stray(source: Source, position: int, end: int) -> Stray:
    """What stands at `position`, where no token begins."""
    char = source.text[position]
    if char == '"':
        return _broken_text(source, position, end)
    if char.isascii() and char.isdigit():
        return _broken_number(source, position, end)
    if not char.isprintable() and unicodedata.category(char) in _INVISIBLE:
        return Stray((), position, position + 1)  # reported by invisible_characters
    quoted = _SINGLE_QUOTED.match(source.text, position, end)
    if quoted is not None:
        span = Span(source, position, quoted.end())
        meant = f'"{quoted[1]}"'
        fix = Fix(span, meant, "write double quotes")
        helps = (f"write `{meant}`",)
        diagnostic = diagnose("E0105", span, text=quoted.group(), helps=helps, fixes=(fix,))
        return Stray((diagnostic,), position, quoted.end(), "STRING", meant)
    if not char.isascii():
        return _outside_of_ascii(source, position, end)
    span = Span(source, position, position + 1)
    helps = (_HINTS[char],) if char in _HINTS else ()
    shown = "a backtick" if char == "`" else f"`{char}`"
    diagnostic = diagnose("E0100", span, character=shown, helps=helps)
    return Stray((diagnostic,), position, position + 1)


def _broken_text(source: Source, position: int, end: int) -> Stray:
    """A text with an unknown escape, or that does not end on its line."""
    text = source.text
    whole = _LOOSE_TEXT.match(text, position, end)
    if whole is None:
        line = _REST_OF_LINE.match(text, position, end)
        stop = end if line is None else line.end()
        helps = ('close it with `"`; a line break in a text is written `\\n`',)
        diagnostic = diagnose("E0104", Span(source, position, stop), helps=helps)
        return Stray((diagnostic,), position, stop, "STRING", '""')
    found: list[Diagnostic] = []
    for escape in re.compile(r"\\(.)").finditer(text, position + 1, whole.end() - 1):
        if escape[1] not in '"\\nt':
            span = Span(source, escape.start(), escape.end())
            fix = Fix(span, f"\\{escape.group()}", "write a backslash")
            helps = ("a backslash itself is written `\\\\`",)
            found.append(diagnose("E0106", span, escape=escape.group(), helps=helps, fixes=(fix,)))
    kept = re.sub(r'\\([^"\\nt])', r"\\\\\1", whole.group())
    return Stray(tuple(found), position, whole.end(), "STRING", kept)


def _broken_number(source: Source, position: int, end: int) -> Stray:
    """Digits and letters run together: an unknown unit, or another language's notation."""
    found = _LOOSE_NUMBER.match(source.text, position, end)
    stop = position + 1 if found is None else found.end()
    suffix = "" if found is None else found[1] or ""
    span = Span(source, position, stop)
    unit = _UNITS_ELSEWHERE.get(suffix.lower()) or (nearest(suffix, UNITS) if suffix else None)
    fixes: tuple[Fix, ...] = ()
    helps: tuple[str, ...] = (f"units are {' '.join(UNITS)}",)
    if unit is not None and unit != suffix:
        place, known = Span(source, stop - len(suffix), stop), suffix.lower() in _UNITS_ELSEWHERE
        fixes = (Fix(place, unit, f"write `{unit}`", certain=known),)
        helps = (f"did you mean the unit `{unit}`?",)
    diagnostic = diagnose("E0114", span, text=span.text, helps=helps, fixes=fixes)
    return Stray((diagnostic,), position, stop, "NUMBER", "1")


def long_number(span: Span) -> Diagnostic:
    """A number with more digits than the language reads."""
    limit = f"{limits.INTEGER_DIGITS} digits, {limits.FRACTION_DIGITS} behind the point"
    shown = span.text if len(span.text) <= 24 else f"{span.text[:20]}..."
    return diagnose("E0711", span, text=shown, limit=f"{limit}, exponents up to {limits.EXPONENT}")


def _outside_of_ascii(source: Source, position: int, end: int) -> Stray:
    """A character that is neither ASCII nor a Greek letter of its own shape."""
    text = source.text
    char = text[position]
    meant = _lookalike(char)
    span = Span(source, position, position + 1)
    fixes: tuple[Fix, ...] = ()
    helps: tuple[str, ...] = ("names consist of ASCII letters, digits, `_` and Greek letters",)
    if meant is not None:
        fixes = (Fix(span, meant, f"write `{meant}`"),)
        helps = (f"it looks like `{meant}`",)
    found = (diagnose("E0123", span, character=character_name(char), helps=helps, fixes=fixes),)
    quoted = _CURLY_QUOTED.match(text, position, end)
    if quoted is not None:
        return Stray(found, position, quoted.end(), "STRING", f'"{quoted[1]}"')
    if char.isalnum() and meant not in {"^2", "^3"}:
        # The whole word, also what was taken for a token before the character.
        start = position
        while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
            start -= 1
        word = _WORD.match(text, start, end)
        stop = position + 1 if word is None else word.end()
        spelt = "".join(_lookalike(letter) or letter for letter in text[start:stop])
        kind = "NUMBER" if spelt.isdecimal() else fixed_texts().get(spelt, "NAME")
        return Stray(found, start, stop, kind, spelt)
    kind = fixed_texts().get(meant or "", "")
    return Stray(found, position, position + 1, kind, meant or "")


def _lookalike(char: str) -> str | None:
    """The character, or few, of the alphabet that one outside of it looks like."""
    if char.isascii():
        return None
    digit = unicodedata.digit(char, None)
    folded = unicodedata.normalize("NFKC", char) if digit is None else str(digit)
    return _LOOKALIKES.get(char) or (folded if folded != char else None)
