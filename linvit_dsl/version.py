"""The version of linvit, written once."""

__version__ = "0.1.0"
