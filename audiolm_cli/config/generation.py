"""How audio is generated. Each field declares a setting once: `cli/spread.py` makes its option from it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

from audiolm_cli.config.base import RARE, Settings, require, setting
from audiolm_cli.config.musical import FASTEST_BPM, SLOWEST_BPM, Musical, Time, read_meter

AR_TEMPERATURE = 1.0
"""Usual temperature of the first codebook: codes come as often as the model believes."""

NAR_TEMPERATURE = 0.9
"""Usual temperature of all other codebooks. At 1 what is drawn turns to noise now and then."""

GUIDANCE = 3.0
"""Usual guidance of a model without a NAR decoder: continuations share as many pitch classes with their prompt as true
ones do, without it a fifth fewer."""

_generation = functools.partial(setting, panel="Generation")
_rare = functools.partial(setting, panel=RARE)

DEMO_SEED = 5
"""The take of the demo, of twelve of its prompt (`tests/recipe/showcase.py`). In eleven of them nothing was made
again, and notes, polyphony and level are near the prompt's, as a transcriber hears them; this one shares most pitch
classes with the prompt."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Settings):
    """How codes are drawn. Every field goes into the comment tag and into `--json`, as it was used.

    `temperature`, `top_k`, `top_p` and `min_p` are for the first codebook alone, `nar_temperature` for all others,
    whichever decoder makes them.
    """

    temperature: float | None = _generation(
        None, "Lower is safer. Default: 1 (gaps up to 1 s: 0.5).", low=0, metavar="X"
    )
    """0 is greedy. None is decided when the gap is known (`editing/session.py`)."""
    top_k: int = _rare(0, "Keep the N likeliest codes; 0 keeps all.", low=0, metavar="N")
    top_p: float = _rare(1.0, "Keep the likeliest codes whose probabilities add up to P.", low=0, high=1, metavar="P")
    min_p: float = setting(0.0, "", low=0, high=1)
    """Drop codes less likely than this share of the most likely one; under 1."""
    nar_temperature: float | None = _rare(
        None,
        "Temperature of the fine codebooks; 0 is greedy. Default: 0.9 (gaps up to 1 s: 0.6, without a NAR decoder).",
        low=0,
        metavar="X",
    )
    """0 is greedy, which is duller. None is decided when the gap is known, too."""
    guidance: float | None = _rare(
        None,
        "Above 1, the model follows context and style more; 1 is off. Default: 3; with a NAR decoder 1.",
        low=0,
        metavar="X",
    )
    """Classifier-free guidance of both decoders against neither context nor style; None is usual for the model."""
    nar_passes: int | None = _rare(
        None,
        "Passes over each fine codebook; more are slower and keep sounds steadier. Default: the model's own number.",
        low=1,
        metavar="N",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.top_p > 0, f"top-p must be over 0 and at most 1, got {self.top_p}")
        require(self.min_p < 1, f"min-p must be under 1, got {self.min_p}")
        for name in ("temperature", "nar_temperature", "guidance"):
            value = getattr(self, name)
            require(value != math.inf, f"{name.replace('_', '-')} must be finite, got {value}")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(Settings):
    """One generating run: what every generating command shares.

    Of these fields, those that decide the codes go into the comment tag and into `--json` (`editing/writing.py`).
    """

    output: str | None = setting(None, "File or folder/ to write; '-' is standard output.", short="-o", metavar="PATH")
    """None is `<stem>.<what was done>.wav` in the current folder. A text: a path would lose the slash of a folder."""
    model: str = setting("piano", "Name or folder; 'piano' is for piano sound only.", short="-m", metavar="NAME|PATH")
    takes: int = _generation(1, "How many alternatives to generate.", short="-n", low=1, metavar="N")
    best_of: int | None = _rare(None, "Generate M and keep the likeliest takes.", low=1, metavar="M")
    prompt_s: Time | None = _generation(  # noqa: RUF009
        None, "How much context to use.", flag="--prompt", kind="time", metavar="TIME"
    )
    """In seconds, or in bars and beats; None uses as much as the model's window allows."""
    bpm: float | None = _generation(
        None,
        "Tempo of bars and beats. Default: the file's own.",
        kind="bpm",
        low=SLOWEST_BPM,
        high=FASTEST_BPM,
        metavar="BPM",
    )
    """Quarter notes per minute. None is what each recording says."""
    meter: str | None = _rare(
        None, "Beats of a bar, and their note. Default: the file's, or 4/4.", kind="meter", metavar="N/N"
    )
    offset_s: float = _rare(0.0, "Where bar 1 begins.", flag="--offset", kind="seconds", low=0, metavar="TIME")
    """In seconds."""
    style_token: str | None = _rare(
        None, "One of the model's styles: a label of its recordings.", also="--style", metavar="NAME"
    )
    """`models info` lists them; None is none of them."""
    channels: Literal["mid", "each"] = _rare("mid", "Generate one signal for all channels, or each by itself.")
    """"mid" generates one signal and places it in the balance of the context."""
    only_new: bool = _generation(False, "Write the generated span alone.")
    until_end: bool = _rare(False, "Let the model end the piece.")
    plot: str | None = _generation(None, "Draw the result with its seams.", metavar="PNG")
    page: str | None = _generation(None, "Write a page to hear and compare the takes.", metavar="HTML")
    seed: int | None = setting(
        None, "Same seed, same result. Default: drawn at random.", low=0, high=2**63 - 1, metavar="N"
    )
    """Of the first take; each further one has the next seed."""
    device: str = _rare("auto", "Where to compute.", kind="device", metavar="auto|cpu|cuda[:N]|mps")
    dtype: Literal["auto", "fp32", "bf16", "int8"] = _rare("auto", "Number format of the model.")
    threads: int | None = _rare(None, "CPU threads.", low=1, high=1024, metavar="N")
    """None leaves torch's choice."""
    force: bool = setting(False, "Overwrite what exists.", short="-f")
    cache_dir: str | None = _rare(None, "Checkpoint cache, instead of the user's cache folder.", metavar="DIR")
    watched: bool = setting(False, "")
    """The recordings come one after the other, from a watched folder: an output must be a folder, and without one,
    results go beside their recordings. What audiolm has made is refused."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.output != "", "output must be the name of a file or folder, got an empty one; leave it out")
        enough = self.best_of is None or self.best_of >= self.takes
        require(enough, f"best-of must be at least the number of takes, {self.takes}, got {self.best_of}")
        prompt = self.prompt_s
        is_some = prompt is None or (prompt.bars + prompt.beats if isinstance(prompt, Musical) else prompt) > 0
        require(is_some, f"prompt must be over 0 seconds, got {prompt}")
        if self.meter is not None:
            read_meter(self.meter)
