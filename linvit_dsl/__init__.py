"""linvit: a declarative language and compiler for Vision Transformers with cheap attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linvit_dsl.version import __version__

if TYPE_CHECKING:
    from linvit_dsl.api import (
        Spec,
        SpecNotFound,
        check_spec,
        expectations,
        load,
        load_model,
        sweeps,
    )
    from linvit_dsl.errors import LinvitError, SpecError

__all__ = [
    "LinvitError",
    "Spec",
    "SpecError",
    "SpecNotFound",
    "__version__",
    "check_spec",
    "expectations",
    "load",
    "load_model",
    "sweeps",
]


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: `import linvit_dsl` alone costs nothing."""
    if name in __all__:
        from linvit_dsl import api, errors

        return getattr(api, name) if hasattr(api, name) else getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
