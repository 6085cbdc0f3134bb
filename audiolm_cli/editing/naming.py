"""Names of output files. Knows nothing about their contents."""

from __future__ import annotations

import os
from pathlib import Path

from audiolm_cli.errors import OutputError, UsageError

STREAM = "-"


def output_paths(output: str | None, stem: str, verb: str, takes: int, inputs: int) -> list[str]:
    """One path per take of one input.

    Args:
        output: what the user asked for: a file, a folder (existing, or ending in a separator), "-" or nothing.
        stem: the input's name without suffix.
        verb: what was done, for the default name `<stem>.<verb>.wav` in the current folder.
        takes: how many files; more than one are numbered before the suffix.
        inputs: how many inputs the command has; more than one need a folder.

    Raises:
        UsageError: the output cannot hold that many files.
    """
    if output == STREAM:
        if takes > 1 or inputs > 1:
            raise UsageError(
                f"-o -: standard output holds one file, but {takes * inputs} were asked for; give a folder"
            )
        return [STREAM]
    path = Path(f"{stem}.{verb}.wav") if output is None else Path(output)
    if output is not None and (os.path.isdir(path) or output.endswith("/")):
        path = path / f"{stem}.{verb}.wav"
    elif output is not None and inputs > 1:
        raise UsageError(f"-o {output}: {inputs} inputs need a folder; create it, or end its name with /")
    return numbered(path, takes)


def make_folder(output: str | None) -> None:
    """Make the folder that `output` names by ending in a separator, where there is none.

    Raises:
        OutputError: it cannot be made.
    """
    if output is None or not output.endswith("/"):
        return
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: the folder cannot be made ({error.strerror}); choose another with -o") from error


def numbered(path: Path, count: int) -> list[str]:
    """The path itself, or `name.1.suffix`, `name.2.suffix`, ... when there are several."""
    if count == 1:
        return [str(path)]
    return [str(path.with_name(f"{path.stem}.{i + 1}{path.suffix}")) for i in range(count)]
