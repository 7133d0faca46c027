"""Every limit of the language, in one place.

They keep a slip, or a file from a stranger, from occupying the machine; each is far above anything
that a real architecture needs. A `.vit` text cannot change them.
"""

from __future__ import annotations

# Texts
FILE_BYTES = 256 * 1024
"""Size of one file in UTF-8."""
TOTAL_BYTES = 2 * 1024 * 1024
"""Size of a file and all that it imports."""
FILES = 64
"""Files that one spec imports, directly or through others."""
IMPORT_DEPTH = 16
"""Length of a chain of imports."""
NESTING = 64
"""Brackets and braces that are open at one place."""
EXPRESSION_DEPTH = 128
"""Operations on the way from an expression to its innermost operand: `a + b + c` has 2."""
IDENTIFIER = 64
"""Characters of a name, primes included."""
INTEGER_DIGITS = 10
"""Digits before the point of a number."""
FRACTION_DIGITS = 20
"""Digits behind it."""
EXPONENT = 64
"""Largest absolute value of the exponent in `1e-6`."""

# Models
REPEAT = 10_000
"""Iterations of one loop."""
STEPS = 200_000
"""Statements that are executed and items of lists that are made, in all models of a file together.
A block that is applied again to the same sizes is not executed again."""
NODES = 100_000
"""Operators of a model, each counted once per iteration of the loops around it."""
DIMENSION = 2**20
"""Size of one axis."""
ELEMENTS = 2**31
"""Elements of one tensor, without the batch."""
PARAMETERS = 2 * 10**10
"""Trained numbers of a model."""
SWEEP_POINTS = 1_000
"""Combinations of the axes of a sweep, before `where` drops some."""

# Messages
ERRORS = 20
"""Diagnostics that are reported for one file."""
