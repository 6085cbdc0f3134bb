"""Continue, infill, loop and restyle audio files with a codec language model, and train such models.

`continue_audio`, `infill_audio`, `loop_audio`, `restyle_audio` and `load_model` are in `api.py`, which is imported, and
torch with it, when one of them is asked for.
"""

import importlib
from typing import Any

from audiolm_cli.version import __version__ as __version__

_LAZY = ("continue_audio", "infill_audio", "loop_audio", "restyle_audio", "load_model")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module("audiolm_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
