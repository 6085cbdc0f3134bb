"""The options of `audiolm train` for a model that is trained at once."""

from __future__ import annotations

SMALL_MODEL = ("--num-decoder-layers", 1, "--decoder-dim", 32, "--nhead", 2)
