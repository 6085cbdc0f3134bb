"""`audiolm again`: options and display. What to run is found in `workflows/info.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.options import PREFIX
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.errors import ModelError
from audiolm_cli.wording import join_words

File = Annotated[str, typer.Argument(metavar="PATH", help="An audio file that audiolm has made.")]
Source = Annotated[
    str | None,
    options.shared("--input", metavar="PATH", help="What it was made from. Default: by its name, beside it or here."),
]
WithModel = Annotated[
    str | None,
    options.shared("--with-model", metavar="NAME|PATH", help="The model, where the file's name of it is not enough."),
]
Output = Annotated[str | None, options.shared("-o", "--output", metavar="PATH", help="Default: FILE.again.wav, here.")]

OF_MACHINE = ("CACHE_DIR", "DEVICE", "ENDPOINT", "OFFLINE", "THREADS")
"""Those that say how this machine computes and where it finds models, and not what is made."""


@spread
def again_command(
    context: typer.Context,
    file: File,
    *,
    source: Source = None,
    output: Output = None,
    with_model: WithModel = None,
    force: options.Force = False,
    display: options.Display,
    offline: options.Offline = False,
) -> None:
    """Make a file again, by the settings that it holds, and compare the two."""
    with Renderer(**display.to_dict()) as out:
        from audiolm_cli.workflows.info import compare_with, plan_again

        words = plan_again(file, source, output, with_model)
        out.note(join_words(["audiolm", *words]))
        out.close()  # the command has a display of its own

        try:
            with _without_choices():
                run_words(context, [*words, *flags_of(display, force=force, offline=offline)])
        except ModelError as error:
            if with_model is not None:
                raise
            raise ModelError(
                f"{error}; {file} has no more than a model's name: --with-model names its folder"
            ) from error
        out.note(compare_with(file, words[words.index("-o") + 1]))


@contextmanager
def _without_choices() -> Iterator[None]:
    """The environment without what it chooses for options: a file is made again by what it says of itself."""
    chosen = [name for name in os.environ if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in OF_MACHINE]
    left_out = {name: os.environ.pop(name) for name in chosen}
    try:
        yield
    finally:
        os.environ.update(left_out)


def flags_of(display: options.Display, *, force: bool, offline: bool) -> list[str]:
    """What a command line says of how it is to be shown, and of files and connections."""
    flags = {
        "--force": force,
        "--offline": offline,
        "--json": display.json,
        "--quiet": display.quiet,
        "--no-progress": display.no_progress,
    }
    said = [flag for flag, is_on in flags.items() if is_on]
    return [*said, *["--verbose"] * display.verbose, "--progress", display.progress]


def run_words(context: Any, words: list[str]) -> None:
    """Run another command of the program, whose errors are raised."""
    root = context.find_root()
    root.command.main(words, prog_name=root.info_name, standalone_mode=False, obj=root.obj)
