"""Pages of text in the program that the user reads long ones with. Knows nothing about what is in them."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys

COLOURS = "-RFX"
"""What `less` needs to show colours, and to leave at once, and on the screen, what fits on it."""


def show_in_pager(text: str) -> bool:
    """Show a text in `$PAGER`, or in `less`; False where it fits on the screen, or nothing is there to page with."""
    height = shutil.get_terminal_size().lines
    command = shlex.split(os.environ.get("PAGER", "")) or ["less"]
    program = shutil.which(command[0])
    if text.count("\n") < height or program is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False

    environment = {**os.environ, "LESS": os.environ.get("LESS") or COLOURS}
    sys.stdout.flush()
    with subprocess.Popen([program, *command[1:]], stdin=subprocess.PIPE, env=environment) as pager:
        assert pager.stdin is not None
        with contextlib.suppress(OSError):  # the reader has seen enough
            pager.stdin.write(text.encode("utf-8", "replace"))
        with contextlib.suppress(OSError):
            pager.stdin.close()
        while pager.poll() is None:
            with contextlib.suppress(KeyboardInterrupt):  # which is for the pager
                pager.wait()
    return True
