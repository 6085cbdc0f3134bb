"""Continue, infill, loop and restyle audio files with a codec language model, and train such models.

`continue_audio`, `infill_audio`, `loop_audio`, `restyle_audio` and `load_model` are in `api.py`, `AudioLM` and
`get_model` in `model/recipe.py`. Each file is imported, and torch with it, when one of its names is asked for.
"""

import importlib
from typing import Any

from audiolm_cli.reproducing import compute_alike
from audiolm_cli.version import __version__ as __version__

compute_alike()  # before anything is computed

_LAZY = dict.fromkeys(
    ("continue_audio", "infill_audio", "loop_audio", "restyle_audio", "load_model"), "audiolm_cli.api"
) | dict.fromkeys(("AudioLM", "get_model"), "audiolm_cli.model.recipe")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
