"""What a person is told of an error that ended a command, and its exit code. Knows no command."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Any

import typer

from audiolm_cli.cli.render import Renderer
from audiolm_cli.errors import AudioLMError, MemoryLimitError, OutputError, UsageError
from audiolm_cli.packages import explain_import
from audiolm_cli.version import __version__

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
"""What the system says where it cannot write."""


def report_error(error: Exception, settings: dict[str, Any]) -> int:
    """The exit code of an error that ended a command, after telling the user about it."""
    expected, out = as_expected(error), Renderer(progress=settings["progress"])
    verbose = settings["verbose"] > 0
    trace = "".join(traceback.format_exception(error)) if verbose else ""
    if expected is not None:
        out.error(str(expected), exit_code=expected.exit_code, trace=trace)
        return expected.exit_code
    text = " ".join(str(error).split())
    out.error(
        f"{type(error).__name__}: {text}. This is a bug in audiolm {__version__}; please report it on the project's "
        f"issue tracker, with the command line and {'this traceback' if verbose else 'what it prints with -v'}",
        exit_code=1,
        trace=trace,
    )
    return 1


def as_expected(error: Exception) -> AudioLMError | None:
    """`error` as one of ours, where a full disk, memory or a package that does not import surfaced unexpectedly."""
    if isinstance(error, AudioLMError):
        return error
    if isinstance(error, typer.TyperException):
        return UsageError(" ".join(error.format_message().split()))
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return MemoryLimitError("out of memory; try a shorter duration, --dtype bf16, or --device cpu")
    if isinstance(error, RuntimeError) and "MPS backend out of memory" in str(error):
        return MemoryLimitError("out of memory; try a shorter duration, or --device cpu")
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):  # how torch says it on a CPU
        return MemoryLimitError("out of memory; try a shorter duration or fewer takes")
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return OutputError(f"{error.filename or 'the output'} cannot be written: {error.strerror}")
    return explain_import(error)
