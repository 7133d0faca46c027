"""From text to an AST."""
