"""Write `tables.py` from `grammar.lark`: `python -m linvit_dsl.syntax.build_tables`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

HEADER = '''\
"""Parser tables of `grammar.lark`, generated: run `python -m linvit_dsl.syntax.build_tables`."""
# ruff: noqa: E501

LARK = "{version}"
TABLES = r"""{tables}"""
'''


def pack(parser: lark.Lark) -> str:
    """Serialise a parser the way lark does, as JSON, with its tables as rows of numbers.

    A row alternates between tokens and targets; `grammar.unpack` says what they mean.
    """
    data: dict[str, Any]
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    # Lexers are classes, named again on loading; where the grammar came from is nobody's business.
    data["options"] |= {"lexer": None, "source_path": None}
    data["parser"]["lexer_conf"]["lexer_type"] = None
    data["parser"]["parser"] = _ordered(data["parser"]["parser"])
    lines = json.dumps({"data": data, "memo": list(memo.values())}, separators=(",", ":"))
    return lines.replace('},{"name"', '},\n{"name"').replace("],[", "],\n[")


def _ordered(table: dict[str, Any]) -> dict[str, Any]:
    """The LALR table with tokens by name and states as a walk meets them.

    lark numbers both as its sets iterate, differently in every process.
    """
    names = sorted(table["tokens"].values())
    token_number = {name: number for number, name in enumerate(names)}
    rows = {
        state: sorted(
            (token_number[table["tokens"][token]], *action) for token, action in row.items()
        )
        for state, row in table["states"].items()
    }
    state_number: dict[int, int] = {}
    waiting = [
        table["start_states"][start] for start in sorted(table["start_states"], reverse=True)
    ]
    while waiting:
        state = waiting.pop()
        if state not in state_number:
            state_number[state] = len(state_number)
            waiting += [target for _, reduces, target in reversed(rows[state]) if not reduces]

    def flat(row: list[tuple[int, int, Any]]) -> list[int]:
        return [
            number
            for token, reduces, target in row
            for number in (token, ~target["@"] if reduces else state_number[target])
        ]

    return {
        "tokens": names,
        "states": [flat(rows[state]) for state in state_number],
        "start_states": {k: state_number[v] for k, v in sorted(table["start_states"].items())},
        "end_states": {k: state_number[v] for k, v in sorted(table["end_states"].items())},
    }


def module_text(parser: lark.Lark) -> str:
    """The text of `tables.py` for a parser."""
    return HEADER.format(version=lark.__version__, tables=pack(parser))


if __name__ == "__main__":
    target = Path(__file__).with_name("tables.py")
    if not target.exists():
        # `grammar` imports the tables; they fit no version of lark, so the grammar is used.
        target.write_text(HEADER.format(version="", tables=""), encoding="utf-8")
    from linvit_dsl.syntax.grammar import build

    target.write_text(module_text(build()), encoding="utf-8")
