"""The long form of a catalogue entry: for `linvit explain CODE`, and for the page of all codes."""

from __future__ import annotations

from linvit_dsl.errors.catalogue import Entry, catalogue

_SECTIONS = {
    "E01": "Syntax",
    "E02": "Names and imports",
    "E03": "Sizes and shapes",
    "E04": "Blocks",
    "E05": "Expectations",
    "E06": "Recipes",
    "E07": "Files and limits",
    "W": "Warnings",
}


def explain(entry: Entry) -> str:
    """The entry as plain text of at most 100 columns, without a final newline."""
    parts = [f"{entry.code}: {entry.title}", entry.explanation.strip()]
    if entry.wrong:
        parts += ["This is rejected:" if entry.code[0] == "E" else "This is warned about:"]
        parts += [_indented(entry.wrong), "This is fine:", _indented(entry.right)]
    return "\n\n".join(parts)


def index() -> str:
    """All entries as one page of Markdown (`docs/errors/index.md`)."""
    parts = [
        "# Errors and warnings",
        "Every message that linvit prints about a `.vit` file has a code; `linvit explain E0301`"
        " shows the same text in a terminal.",
    ]
    section = ""
    for entry in sorted(catalogue().values(), key=lambda entry: entry.code):
        title = next(title for prefix, title in _SECTIONS.items() if entry.code.startswith(prefix))
        if title != section:
            parts.append(f"## {title}")
            section = title
        parts += [f"### {entry.code}: {entry.title}", entry.explanation.strip()]
        if entry.wrong:
            verdict = "Rejected" if entry.code[0] == "E" else "Warned about"
            parts += [f"{verdict}:", _fenced(entry.wrong), "Fine:", _fenced(entry.right)]
    return "\n\n".join(parts) + "\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())


def _fenced(text: str) -> str:
    return f"```\n{text.strip()}\n```"
