"""The syntax of Graphviz files: quoting, attributes, and how wide a text will be.

Names in a spec are data: whatever they contain, they stay inside their quotes or their cell.
"""

from __future__ import annotations

from html import escape


class Html(str):
    """A label in Graphviz's HTML-like language; the texts in it went through `html`."""

    __slots__ = ()


def attributes_text(attributes: dict[str, object]) -> str:
    """`[label="a", width="1"]`."""
    pairs = (
        f"{name}=<{value}>" if isinstance(value, Html) else f"{name}={quoted(str(value))}"
        for name, value in attributes.items()
    )
    return f"[{', '.join(pairs)}]"


def quoted(text: str) -> str:
    """A name or a text in quotes."""
    # Graphviz reads entities (`&lt;`) and escapes (`\\N`, the name of the node) in quoted labels.
    text = printable(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def html(text: str) -> str:
    """A text inside an HTML-like label."""
    return escape(printable(text))


def printable(text: str) -> str:
    """The text without control characters, which XML forbids."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def text_width(text: str, size: float) -> float:
    """About how wide a text in Arial is, in points."""
    narrow = sum(character in "il.,:;'|!()[]fjrt " for character in text)
    wide = sum(character in "mwMW×→·" or character.isupper() for character in text)
    return size * (0.54 * len(text) - 0.25 * narrow + 0.12 * wide)
