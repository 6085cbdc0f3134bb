"""Notes: small JSON files beside larger ones, which may be missing or damaged at any time.

Knows nothing about what they say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_note(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):  # nested deeper than Python can follow
        return {}
    return values if isinstance(values, dict) else {}
