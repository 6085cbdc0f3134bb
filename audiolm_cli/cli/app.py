"""The program `audiolm`: its commands, and what becomes of errors and signals.

Knows no command from inside. A command's module is imported when the program starts, and imports its workflow, and
with it torch, when it runs.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from audiolm_cli.cli import json_lines
from audiolm_cli.cli.failures import report_error
from audiolm_cli.cli.helping import Command, Program, epilog_of, panel_of
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.surroundings import ENDED, STOPPED, flush_stdout, leave, stop_signals
from audiolm_cli.errors import OutputError, SomeInputsFailedError
from audiolm_cli.version import __version__

COMMANDS = (
    ("continue", "audiolm_cli.cli.continue_audio:continue_command"),
    ("infill", "audiolm_cli.cli.infill:infill_command"),
    ("loop", "audiolm_cli.cli.loop:loop_command"),
    ("restyle", "audiolm_cli.cli.restyle:restyle_command"),
    ("watch", "audiolm_cli.cli.watch:watch_command"),
    ("again", "audiolm_cli.cli.again:again_command"),
    ("info", "audiolm_cli.cli.info:info_command"),
    ("tokenize", "audiolm_cli.cli.tokenize:tokenize_command"),
    ("decode", "audiolm_cli.cli.decode:decode_command"),
    ("train", "audiolm_cli.cli.train:train_command"),
    ("codec train", "audiolm_cli.cli.codec_train:codec_train_command"),
    ("models list", "audiolm_cli.cli.models:list_command"),
    ("models info", "audiolm_cli.cli.models:info_command"),
    ("models path", "audiolm_cli.cli.models:path_command"),
    ("models pull", "audiolm_cli.cli.models:pull_command"),
    ("models verify", "audiolm_cli.cli.models:verify_command"),
    ("models rm", "audiolm_cli.cli.models:rm_command"),
    ("models export", "audiolm_cli.cli.models:export_command"),
    ("models push", "audiolm_cli.cli.models:push_command"),
    ("evaluate", "audiolm_cli.cli.evaluate:evaluate_command"),
    ("demo", "audiolm_cli.cli.demo:demo_command"),
    ("config", "audiolm_cli.cli.config:config_command"),
    ("guide", "audiolm_cli.cli.guide:guide_command"),
    ("doctor", "audiolm_cli.cli.doctor:doctor_command"),
)
"""Every command in the order of the help page, with the function that runs it. A new one is one line."""

START = "Start with [bold]audiolm demo[/bold]; [bold]audiolm COMMAND -h[/bold] explains a command."
"""The end of the program's help page."""
GROUPS = {
    "models": "The bundled models and the checkpoint cache.",
    "codec": "Train codecs.",
}
"""Help of the command groups."""

OPENMP = {"GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "1"}
"""How long torch's threads stay awake between computations, for the OpenMP of GNU (rounds; under a millisecond) and of
LLVM and Intel (milliseconds). Their own defaults keep cores busy for longer than any computation here makes them wait.
"""
UNHEARD = (errno.EBADF, errno.EPIPE)
"""What the system says where standard output is closed, or whoever read it has read enough: nothing was lost."""
_HELP = {"help_option_names": ["-h", "--help"]}


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code.

    Args:
        args: the command line without the program's name; None is that of the process.

    Raises:
        SystemExit: always.
    """
    for_programs = json_lines.is_wanted(sys.argv[1:] if args is None else args, os.environ)
    settings: dict[str, Any] = {"verbose": 0, "progress": json_lines.JSON if for_programs else "text"}
    if "OMP_WAIT_POLICY" not in os.environ:  # torch reads it when a command imports it
        for name, value in OPENMP.items():
            os.environ.setdefault(name, value)
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # what a GPU of Apple cannot do yet, the CPU does
    with stop_signals() as signals:
        try:
            # Typer draws its own errors in a box, unless they are left to `report_error`.
            ended = app(args=args, prog_name="audiolm", obj=settings, standalone_mode=not for_programs)
            code = ended if isinstance(ended, int) else 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        except Exception as error:
            # After a signal whose exception was lost, an error is what came of that.
            code = report_error(error, settings) if signals.came is None else 1

        # Nothing is left to be cleaned up, and whoever is to take the output may never do it.
        if signals.came is not None:
            code = STOPPED + signals.came
        signals.act = leave
        code = _flushed(code, settings)
        if signals.came is not None and not settings.get(ENDED):
            Renderer(progress=settings["progress"]).note("audiolm: stopped")
    sys.exit(code)


def build() -> typer.Typer:
    """The Typer application with everything in `COMMANDS`."""
    program = typer.Typer(
        name="audiolm",
        cls=Program,
        epilog=START,
        help="Continue, infill, loop and restyle audio files with a codec language model.",
        no_args_is_help=True,
        context_settings=_HELP,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        rich_markup_mode="rich",
    )
    program.callback()(_program_options)
    groups: dict[str, typer.Typer] = {}
    for words, target in COMMANDS:
        group, _, name = words.rpartition(" ")
        if group and group not in groups:
            groups[group] = typer.Typer(help=GROUPS[group], no_args_is_help=True, context_settings=_HELP)
            program.add_typer(groups[group], name=group, rich_help_panel=panel_of(group))
        module, _, function = target.partition(":")
        add = (groups[group] if group else program).command(
            name, cls=Command, epilog=epilog_of(words), rich_help_panel=None if group else panel_of(name)
        )
        add(getattr(importlib.import_module(module), function))
    return program


def _program_options(
    version: Annotated[
        bool, typer.Option("-V", "--version", is_eager=True, callback=lambda on: _version(on), help="Show the version.")
    ] = False,
    no_config: Annotated[
        bool, typer.Option("--no-config", envvar="AUDIOLM_NO_CONFIG", show_envvar=False, help="Read no settings files.")
    ] = False,
) -> None:
    """Continue, infill, loop and restyle audio files with a codec language model."""


def _version(wanted: bool) -> None:
    if wanted:
        Renderer().print(f"audiolm {__version__}")
        raise typer.Exit


def _flushed(code: int, settings: dict[str, Any]) -> int:
    """The exit code once what was printed has been taken, or that of not being able to write it."""
    error = flush_stdout()
    if error is None or error.errno in UNHEARD or code not in (0, SomeInputsFailedError.exit_code):
        return code
    return report_error(OutputError(f"the output cannot be written: {error.strerror}"), settings | {"verbose": 0})


app = build()
