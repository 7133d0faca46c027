"""`linvit diff`: what two models have in common, and what not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from linvit_dsl.cli.arguments import add_format, add_overrides, load_model, settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from linvit_dsl.graph.compare import Change, Checkpoint, Comparison
    from linvit_dsl.graph.ledger import Shape

DIFFERENT = 1
LISTED = 5
"""How many keys of a checkpoint are named."""

EXAMPLES = """\
examples:
  linvit diff baseline linear                       the first model of each
  linvit diff my.vit:Small my.vit:Large --format json
  linvit diff ripplevit ripplevit --set stages=2    a model and a variant of it

Parts are compared by their place in the checkpoint (layers.3.attn.qkv). The last
line says whether weights that were trained for A load into B as they are.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name in ("a", "b"):
        parser.add_argument(
            name, metavar=f"{name.upper()}[:MODEL]", help="a .vit file, or a shipped spec"
        )
    add_overrides(parser, "static parameter of B")
    parser.add_argument(
        "--all", action="store_true", help="also list the parts that differ in sizes only"
    )
    parser.add_argument(
        "--exit-code", action="store_true", help="exit with 1 if there is a difference (else 0)"
    )
    add_format(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Print the differences."""
    from linvit_dsl.cli.output import show_json
    from linvit_dsl.graph.compare import compare

    overrides = settings(options.set)
    before, after = load_model(options.a, {}), load_model(options.b, overrides)
    found = compare(before.graph, after.graph)
    if options.format == "json":
        show_json(_json(found))
    else:
        given = ", ".join(f"{name} = {value}" for name, value in overrides.items())
        second = _named(options.b, after.name) + (f"[{given}]" if given else "")
        print(f"{_named(options.a, before.name)} -> {second}")
        print("\n".join(_lines(found, everything=options.all)))
    return DIFFERENT if options.exit_code and not found.equal else 0


def _named(spec: str, model: str) -> str:
    """SPEC:MODEL, whether or not the command line names the model."""
    return spec if spec.endswith(f":{model}") else f"{spec}:{model}"


def _lines(found: Comparison, *, everything: bool) -> list[str]:
    if found.equal:
        cost = found.costs[0]
        return [f"the same architecture: {cost.params:,} params, {cost.macs:,} MACs"]
    lines = ["", *_costs(found)]
    if found.statics:
        lines += ["", "static parameters", *_facts(found.statics)]
    shown = [change for change in found.changes if everything or not change.sizes_only]
    hidden = len(found.changes) - len(shown)
    if shown:
        lines += ["", *_table(shown)]
    if hidden:
        parts = "1 part differs" if hidden == 1 else f"{hidden} parts differ"
        lines += ["", f"{parts} in sizes only; --all lists them"]
    return [*lines, "", *_verdict(found.checkpoint)]


def _costs(found: Comparison) -> list[str]:
    from linvit_dsl.cli.table import table

    one, other = found.costs
    rows = [
        (name, f"{before:,}", f"{after:,}", _difference(before, after))
        for name, before, after in (
            ("params", one.params, other.params),
            ("MACs", one.macs, other.macs),
            ("kept, bytes", one.activation_bytes, other.activation_bytes),
        )
    ]
    headings = ("1 image", "before", "after", "difference")
    return table(headings, rows, (True, False, False, False)).splitlines()


def _difference(before: int, after: int) -> str:
    if before == after:
        return "0"
    share = f"{100 * (after - before) / before:+.1f}" if before else "0.0"
    tiny = share.strip("+-") == "0.0"
    return f"{after - before:+,}" if tiny else f"{after - before:+,} ({share} %)"


def _facts(facts: Mapping[str, tuple[str, str]]) -> list[str]:
    return [f"  {name}: {before} -> {after}" for name, (before, after) in facts.items()]


def _table(changes: Sequence[Change]) -> list[str]:
    from linvit_dsl.cli.table import table

    rows = [
        (
            change.kind,
            change.path,
            _what(change),
            f"{change.params:+,}" if change.params else "",
            f"{change.macs:+,}" if change.macs else "",
        )
        for change in changes
    ]
    headings = ("change", "part", "what", "params", "MACs")
    return table(headings, rows, (True, True, True, False, False)).splitlines()


def _what(change: Change) -> str:
    if change.before != change.after:
        return " -> ".join(filter(None, (change.before, change.after)))
    facts = [f"{name}: {before} -> {after}" for name, (before, after) in change.facts.items()]
    if change.outputs is not None:
        facts.append(" -> ".join(map(_shapes, change.outputs)))
    return f"{change.before}  {', '.join(facts)}"


def _shapes(shapes: Sequence[Shape]) -> str:
    from linvit_dsl.graph.cost_table import shape_text

    return ", ".join(dict.fromkeys(map(shape_text, shapes)))


def _verdict(checkpoint: Checkpoint) -> list[str]:
    if checkpoint.loads:
        count = f"all {checkpoint.shared} tensors have" if checkpoint.shared else "both have no"
        return [
            f"The checkpoint of the first loads into the second: {count} the same key and shape."
        ]
    lines = ["The checkpoint of the first does not load into the second:"]
    lines.append(f"  {checkpoint.shared} tensors fit")
    reshaped = [
        f"{key} {list(before)} -> {list(after)}"
        for key, (before, after) in checkpoint.reshaped.items()
    ]
    lines += _listed(reshaped, "have another shape")
    lines += _listed(checkpoint.missing, "would be missing")
    return lines + _listed(checkpoint.unexpected, "would be left over")


def _listed(keys: Sequence[str], what: str) -> list[str]:
    if not keys:
        return []
    more = f", and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return [f"  {len(keys)} {what}: {', '.join(keys[:LISTED])}{more}"]


def _json(found: Comparison) -> dict[str, Any]:
    one, other = found.costs
    checkpoint = found.checkpoint
    sizes = ("params", "macs", "flops", "activation_bytes")
    return {
        "equal": found.equal,
        "before": {"model": one.model, **{name: getattr(one, name) for name in sizes}},
        "after": {"model": other.model, **{name: getattr(other, name) for name in sizes}},
        "statics": found.statics,
        "changes": [
            {
                "kind": change.kind,
                "path": change.path,
                "before": change.before,
                "after": change.after,
                "facts": change.facts,
                "outputs": change.outputs,
                "params": change.params,
                "macs": change.macs,
                "sizes_only": change.sizes_only,
            }
            for change in found.changes
        ],
        "checkpoint": {
            "loads": checkpoint.loads,
            "shared": checkpoint.shared,
            "missing": checkpoint.missing,
            "unexpected": checkpoint.unexpected,
            "reshaped": checkpoint.reshaped,
        },
    }
