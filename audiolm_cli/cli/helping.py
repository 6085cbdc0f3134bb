"""How help pages look: common options first, rare ones with `--help-all`, two examples at the end.

Knows nothing about what a command does.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from audiolm_cli.cli.chosen import name_places, take_settings
from audiolm_cli.cli.options import RARE
from audiolm_cli.cli.refusing import explain_refusal, find_missing_dashes
from audiolm_cli.errors import UsageError

EXAMPLES: dict[str, tuple[str, str]] = {
    "continue": ("audiolm continue take.wav", "audiolm continue take.wav -d 20 --takes 4 --page takes.html"),
    "infill": ("audiolm infill take.wav --gap 12.4:14", "audiolm infill take.wav --gap 1:02:1:03.25 --takes 4"),
    "loop": ("audiolm loop take.wav --bridge 2", "audiolm loop take.wav --repeat 3 --play"),
    "restyle": (
        "audiolm restyle take.wav --style other.wav",
        "audiolm restyle take.wav --style other.wav --strength 2 -o new.wav",
    ),
    "watch": (
        "audiolm watch bounces -- continue -d 4bars --bpm 96",
        "audiolm watch bounces -- infill --gap markers -o filled/ --seed 1",
    ),
    "again": ("audiolm again take.continued.wav", "audiolm again new.wav --input take.wav -o same.wav"),
    "info": ("audiolm info take.wav", "audiolm info take.continued.wav --json"),
    "demo": ("audiolm demo", "audiolm demo tour --page tour.html --play"),
    "tokenize": ("audiolm tokenize recordings/ -o tokens", "audiolm tokenize recordings/ -o tokens --workers 2"),
    "decode": ("audiolm decode tokens -o audio/", "audiolm decode tokens --id take-3 -o clip.wav"),
    "train": (
        "audiolm train recordings/ -o runs/mine --init piano",
        "audiolm train recordings/ -o runs/mine --init piano --dry-run",
    ),
    "codec train": (
        "audiolm codec train recordings/ -o codecs/mine",
        "audiolm codec train recordings/ -o models/mine --init piano --keep-codes",
    ),
    "evaluate": ("audiolm evaluate recordings/", "audiolm evaluate recordings/ -m runs/mine --report report.html"),
    "models list": ("audiolm models list", "audiolm models list --json"),
    "models info": ("audiolm models info piano", "audiolm models info runs/mine --json"),
    "models path": ("audiolm models path piano", "audiolm models path encodec-32khz"),
    "models pull": ("audiolm models pull encodec-32khz", "audiolm models pull hf:owner/repo --name theirs"),
    "models verify": ("audiolm models verify piano", "audiolm models verify runs/mine"),
    "models rm": ("audiolm models rm encodec-32khz", "audiolm models rm theirs"),
    "models export": (
        "audiolm models export runs/mine mine.zip",
        "audiolm models export piano piano.zip --license mit",
    ),
    "models push": (
        "audiolm models push runs/mine hf:owner/mine --license cc-by-4.0",
        "audiolm models push runs/mine hf:owner/mine -f --evaluation numbers.json",
    ),
    "config": ("audiolm config", "audiolm config continue"),
    "guide": ("audiolm guide", "audiolm guide training"),
    "doctor": ("audiolm doctor", "audiolm doctor --json"),
}
"""Two command lines for each command."""
PANELS = {
    "Make": ("demo", "continue", "infill", "loop", "restyle", "watch", "again"),
    "Train": ("train", "codec", "tokenize", "decode", "evaluate"),
    "Manage": ("info", "models", "config", "guide", "doctor"),
}
"""Groups of the program's own help page, in order."""
OTHER_NAMES = {
    "outpaint": ("continue", "infill"),
    "extend": ("continue",),
    "generate": ("continue",),
    "inpaint": ("infill",),
    "fill": ("infill",),
    "style": ("restyle",),
    "finetune": ("train",),
    "fine-tune": ("train",),
    "encode": ("tokenize",),
    "eval": ("evaluate",),
    "help": ("guide",),
    "settings": ("config",),
}
"""What other programs call these commands."""
FEW = 16
"""A command with no more options than this shows all of them."""
SHOW_ALL = "audiolm.show_all"


class Command(TyperCommand):
    """A command that settings files have a say in.

    Its rare options are shown by `--help-all` alone, and what it does not take is refused in one line.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the options out of a command line.

        Raises:
            UsageError: an option does not take the value that it was given, or belongs behind `--`; or a settings file
                does not fit.
        """
        if not any(option.name == "help_all" for option in self.params):  # there, --help shows all
            own = args.index("--") if "--" in args else len(args)
            args = [*("--help" if word == "--help-all" else word for word in args[:own]), *args[own:]]
        words = list(args)  # which Typer takes away one by one
        try:
            take_settings(ctx, args)
            rest = super().parse_args(ctx, args)
            program = ctx.find_root().obj
            if "progress" in ctx.params and isinstance(program, dict):  # a settings file may say it as well
                program["progress"] = ctx.params["progress"]
            return rest
        except typer.BadParameter as error:
            if type(error) is not typer.BadParameter:  # something is missing, of which Typer tells more
                raise
            raise UsageError(explain_refusal(ctx, error)) from error
        except typer.TyperException as error:
            mended = find_missing_dashes(ctx, words, error)
            if not mended:
                raise
            raise UsageError(f"-- is missing in front of the command: {mended}") from error

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            UsageError: options do not go together; where they are from a file, it says so.
        """
        try:
            return super().invoke(ctx)
        except UsageError as error:
            name_places(ctx, error)
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help page."""
        rare = [] if ctx.meta.get(SHOW_ALL) or len(self.params) <= FEW else self._rare()
        for option in rare:
            option.hidden = True
        try:
            super().format_help(ctx, formatter)
        finally:
            for option in rare:
                option.hidden = False

    def _rare(self) -> list[Any]:
        return [option for option in self.params if str(getattr(option, "rich_help_panel", "")).startswith(RARE)]


class Program(TyperGroup):
    """The program itself, which knows what others call its commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands, in the order of `PANELS`."""
        return [name for names in PANELS.values() for name in names]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is meant.

        Raises:
            UsageError: another program has such a command, and this one has it under another name.
        """
        if args and args[0] not in self.commands and args[0].lower() in OTHER_NAMES:
            names = " or ".join(f"`audiolm {name}`" for name in OTHER_NAMES[args[0].lower()])
            raise UsageError(f"there is no command {args[0]!r}; {names} does that")
        return super().resolve_command(ctx, args)


def epilog_of(words: str) -> str:
    """The end of a command's help page."""
    return "\n".join(["[bold]Examples[/bold]", *EXAMPLES[words]])


def panel_of(name: str) -> str:
    """The group of a command on the program's help page."""
    return next(panel for panel, names in PANELS.items() if name in names)


def show_all(context: typer.Context, wanted: bool) -> None:
    """Print the help page with every option, and end."""
    if wanted:
        context.meta[SHOW_ALL] = True
        typer.echo(context.get_help())
        raise typer.Exit
