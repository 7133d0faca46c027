"""linvit: a declarative language and compiler for Vision Transformers with cheap attention."""

__version__ = "0.1.0"
