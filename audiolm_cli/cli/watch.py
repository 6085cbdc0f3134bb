"""`audiolm watch`: another command for each new file of a folder. What is new is found in `workflows/watch.py`."""

from __future__ import annotations

import contextlib
import functools
from typing import Annotated, Any

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.failures import report_error
from audiolm_cli.cli.generated import WATCH, Watched
from audiolm_cli.cli.options import Display
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.cli.surroundings import ENDED, flush_stdout
from audiolm_cli.errors import OwnOutputError, UsageError
from audiolm_cli.wording import counted, listed

COMMANDS = ("continue", "infill", "loop", "restyle")
"""What can be done with each file."""
EXAMPLE = "audiolm watch bounces -- continue -d 4bars"

Folder = Annotated[str, typer.Argument(metavar="DIR", help="The folder that your program bounces to.")]
Words = Annotated[
    list[str],
    typer.Argument(
        metavar="-- COMMAND...",
        help="continue, infill, loop or restyle with its options, without its input.",
        show_default=False,
    ),
]
Settle = Annotated[
    float,
    options.shared(
        "--settle",
        metavar="S",
        parser=options.positive,
        help="A file is finished when it has not changed for so long.",
    ),
]


@spread
def watch_command(context: typer.Context, folder: Folder, words: Words = [], *, settle: Settle = 1.0) -> None:  # noqa: B006
    """Run a command for each new file of a folder, until Ctrl-C.

    The model is loaded once. Results go beside their recordings, or into the folder of -o.

    What is there already is left alone until it changes.
    """
    command = read_command(context, folder, words)
    shown = Display(**{name: command.params[name] for name in Display().to_dict()})
    with contextlib.closing(Renderer(**shown.to_dict())) as out:
        from audiolm_cli.library.loading import load_model
        from audiolm_cli.workflows.watch import FolderWatch

        watch = FolderWatch(folder, settle, out.on_event)
        kept = Watched(load=functools.cache(load_model))
        context.find_root().obj[WATCH] = kept
        run_with(command, [])  # refuses what no file can be made with, and loads the model
        out.note(f"watching {folder}; Ctrl-C ends it")

        failed: list[str] = []
        made = 0
        try:
            for path in watch.files():
                out.close()
                made += treat(command, str(path), out, failed)
                watch.skip(kept.made)
                kept.made.clear()
                flush_stdout()
        finally:
            context.find_root().obj[ENDED] = True
            out.note(summarise(made, failed, [str(path) for path in watch.unfinished]))


def read_command(context: Any, folder: str, words: list[str]) -> Any:
    """The context of the command that a command line names, which is read once; `folder` stands for its input.

    Raises:
        UsageError: it is none of `COMMANDS`, or has an input of its own.
    """
    if not words:
        raise UsageError(f"say behind -- what to do with each file: {EXAMPLE}")
    name, *rest = words
    if name not in COMMANDS:
        raise UsageError(f"watch runs {', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}, not {name!r}: {EXAMPLE}")

    root = context.find_root()
    command = root.command.commands[name].make_context(name, [folder, *rest], parent=root)
    extra = command.params["inputs"][1:]
    if extra:
        raise UsageError(f"{name} gets its files from {folder}; leave out {' '.join(extra)}")
    return command


def run_with(command: Any, inputs: list[str]) -> None:
    """Run a command whose command line has been read, with these inputs."""
    command.params["inputs"] = inputs
    command.command.invoke(command)


def treat(command: Any, path: str, out: Renderer, failed: list[str]) -> bool:
    """Run a command for a file; whether it was done. A failure is told as the command tells it, and noted."""
    try:
        run_with(command, [path])
    except OwnOutputError as error:
        out.note(str(error))
        return False
    except typer.Exit:
        raise
    except Exception as error:  # whatever it is, the next file may be a better one
        report_error(error, command.find_root().obj)
        failed.append(path)
        return False
    return True


def summarise(made: int, failed: list[str], unfinished: list[str]) -> str:
    """What came of a watch, in a line."""
    parts = [f"the watch has ended: {counted(made, 'file')} done"]
    if failed:
        parts.append(f"failed: {listed(failed)}")
    if unfinished:
        parts.append(f"not finished: {listed(unfinished)}")
    return ", ".join(parts)
