"""Continue, infill, extend and restyle audio files with a codec language model, and train such models.

`continue_audio`, `infill_audio`, `loop_audio`, `restyle_audio` and `load_model` are in `workflows/arrays.py`, which is
imported, and torch with it, when one of them is asked for.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = ("continue_audio", "infill_audio", "loop_audio", "restyle_audio", "load_model")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module("audiolm_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
