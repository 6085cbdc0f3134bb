"""The frame of every generating command: its model is fetched, its events are drawn, its result is shown and played.

Knows nothing about how anything is made.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.options import Display
from audiolm_cli.cli.render import Renderer
from audiolm_cli.config.generation import GenerateConfig
from audiolm_cli.errors import InstallationError, OutputError, SomeInputsFailedError
from audiolm_cli.wording import counted, join_words

if TYPE_CHECKING:
    from audiolm_cli.editing.result import Generation, Output
    from audiolm_cli.editing.session import LoadModel

HEARD_S = 3.0
"""Seconds on each side of new audio that are played with it."""
WATCH = "watch"
"""Where the program keeps a `Watched`, beside its settings."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What goes from one run of a command to the next, where it runs for each file of a watched folder."""

    load: LoadModel
    """Gives the model, loaded once."""
    made: list[str] = field(default_factory=list)
    """Every file that was written."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a generating command."""

    out: Renderer
    """What draws."""
    config: GenerateConfig
    """Its settings."""
    play: bool
    """Whether to play what is made."""
    watched: Watched | None
    """What there is from earlier runs; None of a command that runs once."""
    shared: dict[str, Any]
    """What every workflow takes beside its settings."""

    def show(self, result: Generation, *, wraps: bool = False) -> None:
        """Show a result as `show_generation` does."""
        if self.watched is not None:
            self.watched.made.extend(output.path for output in result.outputs)
            if not result.outputs:  # there was no input: the settings were checked, and the model loaded
                return
        show_generation(self.out, result, self.play, wraps=wraps, in_one_line=self.watched is not None)


@contextmanager
def generating(context: Any, config: GenerateConfig, display: Display, play: bool, offline: bool) -> Iterator[Run]:
    """A run of a generating command, whose model is here.

    Args:
        context: of the command; its program may hold a `Watched`.
        config: the settings of the command.
        display: how it shows what it does.
        play: whether to play what is made.
        offline: never open a connection.

    Raises:
        UsageError: the result and the audio would both be written to standard output, or what is in no file be played.
    """
    started = time.perf_counter()
    display.check_stdout(config.output, play)
    watched: Watched | None = context.find_root().obj.get(WATCH)
    with Renderer(**display.to_dict()) as out:
        fetch_missing(out, config.cache_dir, offline, model=config.model)
        out.load_torch()
        shared: dict[str, Any] = {"on_event": out.on_event, "started": started}
        if watched is not None:
            config = dataclasses.replace(config, watched=True)
            shared["load"] = watched.load
        yield Run(out=out, config=config, play=play, watched=watched, shared=shared)


def show_generation(
    out: Renderer, result: Generation, play: bool = False, *, wraps: bool = False, in_one_line: bool = False
) -> None:
    """Print what was written: one JSON object, or a line per file and the time each stage took; then play it.

    Args:
        out: where to print.
        result: what a command returned.
        play: whether to play what was made.
        wraps: whether the end of a file leads to its start, which is then played behind it.
        in_one_line: of an object, as there are several.

    Raises:
        SomeInputsFailedError: some of several inputs failed.
    """
    to_stdout = any(output.path == "-" for output in result.outputs)
    if out.json:
        out.print_json(result, in_one_line=in_one_line)
    else:
        show = out.note if to_stdout else out.print
        for output in result.outputs:
            spans = ", ".join(f"{start:.3f}-{end:.3f} s" for start, end in output.generated)
            how = f"new: {spans} of {output.duration_s:.3f} s, seed {output.seed}" if spans else "as it was"
            score = "" if output.score is None else f", {output.score:.2f} bits/frame"
            show(f"{output.path}  ({how}{score})")
            if output.plot is not None:
                show(f"{output.plot}  (picture)")
        if result.page is not None:
            show(f"{result.page}  (page: open it in a browser)")
    t = result.timing
    out.detail(
        f"{result.model['name']} on {result.device} ({result.dtype}): load {t['load_s']:.1f} s, "
        f"encode {t['encode_s']:.1f} s, AR {t['ar_s']:.1f} s, NAR {t['nar_s']:.1f} s, decode {t['decode_s']:.1f} s, "
        f"total {t['total_s']:.1f} s"
    )
    made = [output for output in result.outputs if output.generated]
    if play:
        play_outputs(out, made, wraps)
    elif made and not to_stdout:
        out.hint(tell_how_to_hear([output.path for output in made]))
    if result.failed:
        names = ", ".join(failure.input for failure in result.failed)
        others = "and the others are done" if result.outputs else "and none is done"
        raise SomeInputsFailedError(f"{counted(len(result.failed), 'input')} failed {others}: {names}")


def play_outputs(out: Renderer, outputs: list[Output], wraps: bool) -> None:
    """Play what is new in each file, with what is near it; where that does not work, say why, and that files stay."""
    from audiolm_cli.audio.playing import play_stretches

    for output in outputs:
        stretches = output.near_generated(HEARD_S)
        if wraps:
            stretches.append((0.0, min(HEARD_S, output.duration_s)))
        out.note(f"playing {output.path} (Ctrl-C stops)")
        try:
            play_stretches(output.path, stretches)
        except (InstallationError, OutputError) as error:
            kept = "is kept" if len(outputs) == 1 else "and the others are kept"
            out.note(f"{error} {outputs[0].path} {kept}", warning=True)
            return


def tell_how_to_hear(paths: list[str]) -> str:
    """One line that says how to listen to files."""
    from audiolm_cli.audio.playing import playing_command

    what, words = "it" if len(paths) == 1 else "the first", playing_command(paths[0])
    if words is None:
        return f"hear {what}: open {paths[0]} in a player"
    return f"hear {what}: {join_words(words)}  (or add --play)"
