"""Compiles the fake CUDA driver, for tests and for measuring what a launch costs the host."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
COMPILERS = ("cc", "gcc", "clang")


def compiler() -> str | None:
    """The C compiler of this machine."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def environment(folder: Path) -> dict[str, str]:
    """Compile the driver into `folder`; the environment in which a program finds it.

    Raises:
        CalledProcessError: The compiler fails.
    """
    cc = compiler()
    assert cc is not None, f"needs one of {', '.join(COMPILERS)}"
    source = Path(__file__).with_name("fake_driver.c")
    library = folder / "libcuda.so.1"
    command = [cc, "-shared", "-fPIC", "-Wall", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True)
    return os.environ | {
        "LD_LIBRARY_PATH": str(folder),
        "FAKE_CUDA_LOG": str(folder / "calls.jsonl"),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "runtime"))),
    }
