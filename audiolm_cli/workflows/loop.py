"""`audiolm loop`: a bridge from the end of a recording back to its start. Knows nothing about commands or terminals."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np

from audiolm_cli.audio import Recording
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.config.musical import LONGEST_BARS, Musical, Time, as_written, describe_time, format_time
from audiolm_cli.editing.edit import Edit, run_edit
from audiolm_cli.editing.jobs import LONGEST_INPUT_S, plan_jobs
from audiolm_cli.editing.result import Generation, Stopwatch
from audiolm_cli.editing.ruler import Ruler, check_length
from audiolm_cli.editing.session import LoadModel, Session, open_session
from audiolm_cli.editing.splicing import Gap, Take
from audiolm_cli.editing.takes import make_takes
from audiolm_cli.errors import UsageError
from audiolm_cli.events import OnEvent, ignore
from audiolm_cli.library.loading import load_model

BRIDGE_S = 2.0
"""Length of a bridge, where nothing says how long it, or the loop, is to be."""
ONE_BAR = Musical(Fraction(1), Fraction(0), "1bar")


def loop_files(
    inputs: list[str],
    bridge_s: Time | None = None,
    repeat: int = 1,
    config: GenerateConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    bars: float | None = None,
    on_event: OnEvent = ignore,
    started: float | None = None,
    load: LoadModel = load_model,
) -> Generation:
    """Write each input with a bridge back to its start behind it; of several inputs, those that fail are in `failed`.

    Args:
        inputs: audio files; "-" is a WAV on standard input.
        bridge_s: length of the bridge, in seconds or in bars and beats, to the sample; None is `BRIDGE_S`, or what
            `bars` asks for.
        repeat: how often recording and bridge are written, one after the other.
        config: output, model, device, takes, seed, ...; `until_end` does not apply.
        sampling: how codes are drawn.
        bars: length of recording and bridge together.
        on_event: gets the progress.
        started: when the command began, by `time.perf_counter`.
        load: gives the model; who runs several commands gives one that keeps it.

    Raises:
        AudioInputError: the only recording cannot be used.
        UsageError: a number is out of range, or options contradict each other.
        OutputError: an output exists already or cannot be written.
    """
    config, sampling = config or GenerateConfig(), sampling or SamplingConfig()
    watch = Stopwatch.since(started)
    check_bridge(bridge_s, repeat, config, bars)

    jobs = plan_jobs(inputs, "looped", config)
    bridge = BRIDGE_S if bridge_s is None else bridge_s
    edit = Edit(
        command="loop",
        settings=({"bars": bars} if bars else describe_time("bridge", bridge)) | {"repeat": repeat},
        words=[
            *(["--bars", f"{bars:.10g}"] if bars else ["--bridge", format_time(bridge)]),
            *(["--repeat", str(repeat)] if repeat > 1 else []),
        ],
        find_gaps=lambda ruler: [bridge_gap(ruler, bridge_s, repeat, bars)],
        make=make_bridges,
        repeat=repeat,
    )
    return run_edit(open_session(config, sampling, on_event, watch, load), jobs, edit)


def check_bridge(bridge_s: Time | None, repeat: int, config: GenerateConfig, bars: float | None = None) -> None:
    """Refuse what no recording can be looped with.

    Raises:
        UsageError: a number is out of range, or options contradict each other.
    """
    if bars is not None and bridge_s is not None:
        raise UsageError("--bars says how long the loop is, and with it the bridge; leave out --bridge or --bars")
    if bars is not None and not 0 < bars <= LONGEST_BARS:
        raise UsageError(f"bars must be over 0 and at most {LONGEST_BARS}, got {bars:g}")
    if bridge_s is not None:
        check_length("bridge", bridge_s)
    if repeat < 1:
        raise UsageError(f"repeat must be 1 or more, got {repeat}")

    if config.only_new and repeat > 1:
        raise UsageError("--only-new writes the bridge alone; leave out --repeat")
    if config.until_end:
        raise UsageError("a bridge ends where the recording begins; use until_end for continuations alone")


def bridge_gap(ruler: Ruler, bridge_s: Time | None, repeat: int = 1, bars: float | None = None) -> Gap:
    """Where the bridge goes: behind the recording.

    Raises:
        UsageError: the bridge has no sample, or the result would be too long, or the tempo is unknown.
    """
    recording = ruler.recording
    end, rate_hz = recording.num_samples, recording.sample_rate_hz
    if bars is None:
        bridge = ruler.count_samples("bridge", BRIDGE_S if bridge_s is None else bridge_s, end)
    else:
        bridge = _fill_up(ruler, bars)

    if (end + bridge) * repeat > LONGEST_INPUT_S * rate_hz and repeat > 1:
        raise UsageError(
            f"{ruler.source}: repeated {repeat} times, the loop is longer than {LONGEST_INPUT_S:.0f} s, "
            "the longest allowed; lower --repeat"
        )
    return Gap(start=end, stop=end, new_samples=bridge)


def _fill_up(ruler: Ruler, bars: float) -> int:
    """How many samples a recording lacks to be so many bars long.

    Raises:
        UsageError: it lacks none.
    """
    recording, grid = ruler.recording, ruler.grid
    whole = Musical(as_written(bars), Fraction(0), f"{bars:.10g}bars")
    missing = ruler.count_samples("loop", whole) - recording.num_samples
    if missing < 1:
        have = Fraction(recording.num_samples, recording.sample_rate_hz) / grid.seconds(ONE_BAR)
        raise UsageError(
            f"{ruler.source} has {float(have):.2f} bars of {grid.bpm:.10g} BPM in {grid.meter}, which leaves no room "
            f"in a loop of {bars:.10g}; write --bars {math.floor(have) + 1}, or cut the recording"
        )
    return missing


def make_bridges(session: Session, recording: Recording, gaps: list[Gap]) -> list[Take]:
    """Takes for the gap at the end of a recording that lead from there to its start: infills between two copies."""
    twice = dataclasses.replace(recording, samples=np.concatenate([recording.samples, recording.samples]))
    return make_takes(session, twice, gaps)
