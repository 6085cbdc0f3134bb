"""The model. `AudioLM` and `get_model` are in `recipe.py`, which is imported when one of them is asked for."""

import importlib
from typing import Any

_LAZY = ("AudioLM", "get_model")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module("audiolm_cli.model.recipe"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
