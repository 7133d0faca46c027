"""The whole of linvit in one run: a spec becomes a checked graph, code, a picture, a trained model.

Every step is a command that you can type yourself; this script only types them for you. Its output
goes to the folder `demo/` under the current one. It takes about three minutes on two CPU cores.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

MODEL = "ripplevit:RippleViTDigits"
OUTPUT = Path("demo")
CODE = OUTPUT / "ripplevit.py"
PICTURE = OUTPUT / "ripplevit.svg"
RUN = OUTPUT / "run"


def linvit(*arguments: str) -> None:
    """Show a command and run it.

    Raises:
        SystemExit: It failed; its own message has been printed.
    """
    print(f"\n$ linvit {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "linvit_dsl", *arguments]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise SystemExit(code)


def main() -> None:
    """Show, check, cost, compile, draw, train and evaluate the digits RippleViT."""
    start = time.monotonic()
    if OUTPUT.exists():
        shutil.rmtree(OUTPUT)
    OUTPUT.mkdir()
    spec = Path(__file__).resolve().parents[1] / "specs" / "ripplevit.vit"
    print(spec.read_text(encoding="utf-8"))
    linvit("check", MODEL)
    linvit("cost", MODEL)
    linvit("compile", MODEL, "-o", str(CODE))
    linvit("render", MODEL, "-o", str(PICTURE))
    linvit("train", MODEL, "--run", str(RUN))
    linvit("eval", str(RUN))
    print(f"\ngenerated module   {CODE}")
    print(f"picture            {PICTURE}")
    print(f"run                {RUN}")
    print(f"time               {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
