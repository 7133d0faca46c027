"""From an AST to a checked graph: names, kinds, elaboration, constraints, limits."""
