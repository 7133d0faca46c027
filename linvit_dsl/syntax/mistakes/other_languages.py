"""Words that people bring along from other languages, and what linvit has instead."""

from __future__ import annotations

_DECLARE = "a block is declared `block Name[statics](x: [B, n, d]) -> [B, n, d] { ... }`"
_BIND = "a value is bound by `name = ...`, a dimension by `dim name = ...`"
_LOOP = "loops are counted: `repeat n as i { ... }`, or `for x in list { ... }`"

_ITEMS = {
    **dict.fromkeys(("def", "fn", "func", "function", "class", "module", "struct"), _DECLARE),
    **dict.fromkeys(("network", "net", "architecture", "arch"), "a network is a `model`"),
    **dict.fromkeys(
        ("let", "var", "val", "static"), "a constant of the file is declared `const name = ...`"
    ),
    **dict.fromkeys(("include", "use", "require", "using"), "write `from std.nn import Name`"),
    **dict.fromkeys(
        ("config", "hparams", "params", "training"), "training is described by a `recipe`"
    ),
}
_STATEMENTS = {
    **dict.fromkeys(("let", "var", "val", "auto"), _BIND),
    **dict.fromkeys(("while", "loop", "until", "foreach", "do"), _LOOP),
    **dict.fromkeys(("elif", "elsif", "elseif"), "write `else if`"),
    **dict.fromkeys(
        ("def", "fn", "func", "function", "class"), f"{_DECLARE}, outside of other blocks"
    ),
    **dict.fromkeys(
        ("switch", "match", "case", "unless"), "write `if c { ... } else if d { ... }`"
    ),
    **dict.fromkeys(
        ("break", "continue", "pass"), "a loop runs as often as it says; leave the line out"
    ),
    **dict.fromkeys(
        ("assert", "ensure", "check"), 'a condition is demanded by `require condition, "text"`'
    ),
    **dict.fromkeys(
        ("print", "del", "global", "try", "yield", "async", "await"), "there is no such statement"
    ),
    "lambda": "a small block is declared like any other, at the top level",
}


def foreign_word(word: str, start: str) -> str | None:
    """What to write instead of a word at the beginning of a declaration or statement."""
    return (_ITEMS if start == "item" else _STATEMENTS).get(word)
