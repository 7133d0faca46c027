"""Names of the language as names of Python: legalised once, free of collisions, and reversible.

A `.vit` name may hold primes and Greek letters (`d'`, `φ`) and may be a word that Python, torch or
the generated file itself needs (`map`, `train`, `torch`). `Names` gives every name of a module one
Python identifier, and no two names the same.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import count

_ALPHABET = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda",
    "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "sigma", "tau", "upsilon", "phi", "chi",
    "psi", "omega",
)  # fmt: skip
_VARIANTS = {0x3D1: "theta", 0x3D5: "phi", 0x3D6: "pi", 0x3F1: "rho", 0x3F5: "epsilon"}
_GREEK = {0x3B1 + place: name for place, name in enumerate(_ALPHABET)} | _VARIANTS
"""Code point -> name, of the small letters; sigma has two, and some letters a second form."""

# Frozen rather than read from torch and builtins: the compiler does not import torch, and the same
# spec gives the same bytes under every version of Python and torch. A test compares them.
MODULE_ATTRIBUTES = frozenset((
    "T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init",
    "children", "compile", "cpu", "cuda", "double", "dump_patches", "eval", "extra_repr",
    "float", "forward", "get_buffer", "get_extra_state", "get_parameter", "get_submodule",
    "half", "ipu", "load_state_dict", "modules", "mtia", "named_buffers", "named_children",
    "named_modules", "named_parameters", "parameters", "register_backward_hook",
    "register_buffer", "register_forward_hook", "register_forward_pre_hook",
    "register_full_backward_hook", "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook",
    "register_module", "register_parameter", "register_state_dict_post_hook",
    "register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule",
    "share_memory", "state_dict", "to", "to_empty", "train", "training", "type", "xpu",
    "zero_grad",
))  # fmt: skip
"""What `self.` already means something for in a torch module."""

BUILTINS = frozenset((
    "abs", "aiter", "all", "anext", "any", "ascii", "bin", "bool", "breakpoint", "bytearray",
    "bytes", "callable", "chr", "classmethod", "compile", "complex", "copyright", "credits",
    "delattr", "dict", "dir", "divmod", "enumerate", "eval", "exec", "exit", "filter",
    "float", "format", "frozenset", "getattr", "globals", "hasattr", "hash", "help", "hex",
    "id", "input", "int", "isinstance", "issubclass", "iter", "len", "license", "list",
    "locals", "map", "max", "memoryview", "min", "next", "object", "oct", "open", "ord",
    "pow", "print", "property", "quit", "range", "repr", "reversed", "round", "set",
    "setattr", "slice", "sorted", "staticmethod", "str", "sum", "super", "tuple", "type",
    "vars", "zip",
))  # fmt: skip

IMPORTED = frozenset({"F", "Tensor", "init", "kernels", "layers", "nn", "torch", "trace"})
"""What a generated module may import."""

VARIABLE_RESERVED = BUILTINS | IMPORTED | {"self", "l", "O", "I"}
"""What a variable must not be called; the last three are hard to tell from digits."""
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def legalise(name: str, reserved: Collection[str] = VARIABLE_RESERVED) -> str:
    """The Python identifier closest to `name`, whatever else there is in the module.

    `d'` becomes `d_p`, `φ` becomes `phi`, `map` becomes `map_`, and `_x` becomes `v_x`: a leading
    underscore means something in Python.
    """
    letters: list[str] = []
    for letter in name:
        if letter == "'":
            letters.append("_p")
        elif letter.isascii() and (letter.isalnum() or letter == "_"):
            letters.append(letter)
        else:
            letters.append(_greek(letter) or f"u{ord(letter):04x}")
    text = "".join(letters)
    if not text or not text[0].isalpha():
        text = f"v{text}"
    return f"{text}_" if text in reserved or keyword.iskeyword(text) else text


def _greek(letter: str) -> str:
    small = _GREEK.get(ord(letter.lower()), "")
    return small if letter.islower() else small.capitalize()


def numbered(base: str) -> Iterator[str]:
    """`base`, `base_2`, `base_3`, ...; after `map_` comes `map_2`."""
    yield base
    for number in count(2):
        yield f"{base.rstrip('_')}_{number}"


def is_numbered(name: str, base: str) -> bool:
    """Whether `numbered(base)` gives `name`."""
    return name == base or re.fullmatch(rf"{base.rstrip('_')}_\d+", name) is not None


class Names:
    """One Python identifier per name of the language, within one module.

    Args:
        words: The names, in the order of the text.
        reserved: Identifiers that get an underscore.
        taken: Names of the module's own classes and functions.
    """

    def __init__(
        self, words: Iterable[str], reserved: Collection[str], taken: Collection[str] = ()
    ) -> None:
        self._python: dict[str, str] = {}
        used = set(taken)
        ordered = list(dict.fromkeys(words))
        # A name that needs no change keeps itself, whichever comes first in the text.
        for word in sorted(ordered, key=lambda word: legalise(word, reserved) != word):
            base = legalise(word, reserved)
            python = next(name for name in numbered(base) if name not in used)
            self._python[word] = checked(python)
            used.add(python)
        self._used = frozenset(used)

    def __getitem__(self, word: str) -> str:
        return self._python[word]

    def get(self, word: str, default: str) -> str:
        """The identifier of `word` if it has one."""
        return self._python.get(word, default)

    def __contains__(self, word: str) -> bool:
        return word in self._python

    @property
    def used(self) -> frozenset[str]:
        """Every identifier that is given away: what the emitter's own variables must avoid."""
        return self._used

    @property
    def changed(self) -> dict[str, str]:
        """Python identifier -> name of the language, where they differ."""
        return {python: word for word, python in self._python.items() if python != word}


def class_name(block: str, taken: Collection[str]) -> str:
    """A class name for a block: `linear_state` gives `LinearState`, then `LinearState2`."""
    base = "".join(word[:1].upper() + word[1:] for word in legalise(block).split("_"))
    for name in (base, *(f"{base}{number}" for number in range(2, len(taken) + 3))):
        # `None` and `O` lose the underscore that made them legal.
        if name not in taken and legalise(name) == name:
            return checked(name)
    raise AssertionError("more candidates than names taken")


def function_name(block: str, taken: Collection[str]) -> str:
    """A function name for a block: `SplitHeads` gives `split_heads`, then `split_heads_2`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", block)
    base = legalise(words.lower())
    return next(name for name in numbered(base) if name not in taken)


def checked(name: str) -> str:
    """`name`, surely an identifier: the last gate before text becomes code.

    Raises:
        ValueError: It is none.
    """
    if not _IDENTIFIER.fullmatch(name) or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is not a Python identifier of linvit")
    return name
