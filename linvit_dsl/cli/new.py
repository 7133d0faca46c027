"""`linvit new`: a spec to start from."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from linvit_dsl.cli.failures import UsageProblem, writing
from linvit_dsl.graph import limits

TEMPLATES = Path(__file__).parent / "templates"

MIXERS = {
    "vit": ("attention", "Attention[heads]", "softmax attention"),
    "linear": ("linear_attention", "LinearAttention[heads]", "linear attention"),
    "ripple": ("ripple", "RippleAttention[heads, stages = 2]", "linear attention on a pooled map"),
    "hydra": ("hydra", "HydraAttention[heads, branches = 4]", "four query branches on one state"),
    "performer": ("performer", "Performer[heads]", "random features in place of the softmax"),
    "nystrom": ("nystromformer", "Nystromformer[heads, 8]", "attention through 8 landmarks"),
}
"""Templates that differ in the mixer: its module of the library, how it is used, what it is."""
NAMES = (*MIXERS, "mixer")

EXAMPLES = """\
examples:
  linvit new my_vit                      my_vit.vit with softmax attention
  linvit new my_vit --template ripple    with another mixer of the library
  linvit new my_idea --template mixer    with a mixer written out, to be changed

The file is complete: it passes `linvit check`, and its second model trains on
the digits that come with linvit. A file that exists is never overwritten.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "name", metavar="NAME", help="of the file, perhaps in a folder, which is made if need be"
    )
    parser.add_argument(
        "--template",
        metavar="NAME",
        choices=NAMES,
        default="vit",
        help=f"{', '.join(NAMES[:-1])}, or mixer for a mechanism of your own (default: vit)",
    )
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Write the file, and say how to go on."""
    path = Path(options.name)
    if not path.name:
        raise UsageProblem("NAME is empty")
    if path.suffix != ".vit":
        path = path.parent / f"{path.name}.vit"
    model = model_name(path.stem)
    text = spec_text(options.template, model, path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except FileExistsError:
            raise UsageProblem(
                f"{path} exists, and is left as it is: choose another name"
            ) from None
    print(f"wrote {path}\n")
    print(f"  linvit check {path}")
    print(f"  linvit cost {path}")
    print(f"  linvit train {path}:{model}Digits")
    return 0


def spec_text(template: str, model: str, path: Path) -> str:
    """The text of a new spec, formatted."""
    from linvit_dsl.errors import Source
    from linvit_dsl.syntax.format import format_source

    file = "mixer" if template == "mixer" else "skeleton"
    text = (TEMPLATES / f"{file}.vit").read_text(encoding="utf-8")
    if template != "mixer":
        module, mixer, what = MIXERS[template]
        block = mixer.partition("[")[0]
        text = text.replace("softmax attention", what)
        text = text.replace(
            "from std.attention import Attention", f"from std.{module} import {block}"
        )
        # What attends on a pooled map gives its last layer no way to reach a class token.
        readout = ', readout = "mean"' if template == "ripple" else ""
        text = text.replace("mixer = Attention[heads]", f"mixer = {mixer}{readout}")
    if re.search(rf"^from .*\b{model}\b", text, re.MULTILINE):
        raise UsageProblem(f"`{model}` is a block that the spec imports: choose another name")
    text = text.replace("Template", model)
    return format_source(Source(str(path), text))


def model_name(stem: str) -> str:
    """The name of the model in a file: `my_vit-2` -> `MyVit2`.

    Raises:
        UsageProblem: It would be none of the language.
    """
    words = re.split(r"[_\-. ]+", stem)
    name = "".join(word[:1].upper() + word[1:] for word in words)
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name):
        raise UsageProblem(
            f"`{stem}` makes no name of a model: use ASCII letters, digits and _, a letter first"
        )
    # The longest name in a template is that of the model with `Digits` behind it.
    if len(name) + len("Digits") > limits.IDENTIFIER:
        raise UsageProblem(
            f"`{stem}` is too long: a name has at most {limits.IDENTIFIER} characters"
        )
    return name
