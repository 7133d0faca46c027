"""From an AST to a checked graph: names, kinds, elaboration, constraints, limits."""

from linvit_dsl.check.check import Examined, check_program, examine
from linvit_dsl.check.classifier import classifier
from linvit_dsl.check.expectations import Expectation
from linvit_dsl.check.files import SpecNotFound, find_spec, shipped_specs, specs_root
from linvit_dsl.check.models import Model, elaborate
from linvit_dsl.check.program import (
    Program,
    has_library_of_today,
    open_program,
    open_texts,
    program_texts,
)
from linvit_dsl.check.sweeps import Sweep, SweepPoint
from linvit_dsl.check.training import recipe_for

__all__ = [
    "Examined",
    "Expectation",
    "Model",
    "Program",
    "SpecNotFound",
    "Sweep",
    "SweepPoint",
    "check_program",
    "classifier",
    "elaborate",
    "examine",
    "find_spec",
    "has_library_of_today",
    "open_program",
    "open_texts",
    "program_texts",
    "recipe_for",
    "shipped_specs",
    "specs_root",
]
