"""Mistakes in the CUDA kernels' sources, which the tests in the simulator have to notice."""

import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

NOTICED = 1e-4
"""The error above which a mistake in a kernel counts as noticed."""

Mutants = dict[str, dict[str, tuple[str, str]]]
"""Feature map on which they are tried -> name -> what is right in the source, and what is wrong."""

MUTANTS: Mutants = {
    "split_relu": {
        "no negative half": ("float32(0) if x > 0 else -x", "float32(0)"),
        "z not scaled": ("x = shared[i] * scale", "x = shared[i]"),
        "no eps": ("denominators[j] + scaled_eps", "denominators[j] + float32(0)"),
        "features past the end": ("part * head_dim] = float32(0)", "part * head_dim] = float32(1)"),
        "heads and tokens swapped": (
            "((batch * num_queries + token) * num_heads + head)",
            "((batch * num_heads + head) * num_queries + token)",
        ),
        "last tile dropped": ("while first < num_keys", "while first < num_keys - tile_tokens"),
        "stale sums": ("shared[i] += total", "shared[i] += total + shared[i]"),
        "result not written": ("out[position] = ", "ignored = "),
    },
    "softmax": {
        "tokens past the end": ("and token < tokens_left", ""),
        "channels past the end": ("while channel < head_dim", "while channel < feature_rows"),
        "no maximum": ("shared[row + channel] - largest", "shared[row + channel]"),
        "one thread's maximum": ("largest, shared[partial + i]", "largest, shared[partial + part]"),
        "one thread's sum": ("total += shared[partial + i]", "total += shared[partial + part]"),
        "not divided": ("shared[row + channel] *= inverse", "shared[row + channel] *= float32(1)"),
    },
    "identity": {
        "no negative features": ('"identity": write_itself', '"identity": write_relu'),
    },
}


BACKWARD_MUTANTS: Mutants = {
    "split_relu": {
        "no negative half": ("x -= shared[position + head_dim]", "x -= float32(0)"),
        "derivative forgotten": ("float32(0) if feature <= 0 else gradient", "gradient"),
        "no eps": ("(total + scaled_eps)", "(total + float32(0))"),
        "w with one r": ("product * inverse * inverse", "product * inverse"),
        "z left out of dq": ("(shared[feature] + eps_in_z)", "eps_in_z"),
        "dz left out of dk": ("(sums[j * rows + row] + dz)", "sums[j * rows + row]"),
        "dz with the wrong sign": ("shared[i] -= total", "shared[i] += total"),
        "dout not divided": ("x *= inverses[", "y = inverses["),
        "dv not scaled": ("= outputs[j] * scale", "= outputs[j]"),
        "last tile dropped": (
            "while first < num_queries:",
            "while first < num_queries - tile_tokens:",
        ),
        "last block dropped": (
            "while column < value_dim:",
            "while column < value_dim - block_columns:",
        ),
        "heads reversed": ("+ first) * num_heads + head)", "+ first + 1) * num_heads - 1 - head)"),
        "dk not written": ("grad[grad_start", "shared[0 * grad_start"),
    },
    "softmax": {
        "eps not in z": ("scaled_eps if is_softmax else float32(0)", "float32(0)"),
        "mean not subtracted": ("-= mean", "-= float32(0)"),
        "mean not weighted": ("share += x * sums", "share += sums"),
        "one thread's mean": (
            "thread_columns + i]\n            for",
            "thread_columns + thread_column]\n            for",
        ),
        "derivative forgotten": ("return gradient * feature", "return gradient"),
    },
    "identity": {
        "no negative features": ('"identity": times_one', '"identity": times_relu'),
    },
}


def sources_of(modules: tuple[ModuleType, ...]) -> dict[str, str]:
    """Return the modules' texts by their names."""
    return {module.__name__: Path(str(module.__file__)).read_text() for module in modules}


def with_mistake(sources: dict[str, str], right: str, wrong: str) -> dict[str, str]:
    """Return the texts with one mistake in one of them."""
    assert sum(right in text for text in sources.values()) == 1, f"{right!r} is not in one file"
    return {name: text.replace(right, wrong) for name, text in sources.items()}


def without_barriers(modules: tuple[ModuleType, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the modules' texts without one barrier, once for each, and where it was."""
    sources = sources_of(modules)
    for name, text in sources.items():
        for found in re.finditer(re.escape("cuda.syncthreads()"), text):
            line = text.count("\n", 0, found.start()) + 1
            changed = f"{text[: found.start()]}pass{text[found.end() :]}"
            yield f"{name}:{line}", sources | {name: changed}


def load_mutant(sources: dict[str, str]) -> Any:
    """Load modules that import each other from their texts; return the last."""
    mutant: Any = None
    with mock.patch.dict(sys.modules), tempfile.TemporaryDirectory() as folder:
        for name, text in sources.items():
            path = Path(folder, f"{name}.py")
            path.write_text(text)
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            mutant = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(mutant)
    return mutant
