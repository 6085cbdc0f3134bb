"""`audiolm loop`: a bridge from the end of a recording back to its start. Knows nothing about commands or terminals."""

from __future__ import annotations

import dataclasses

import numpy as np

from audiolm_cli.audio import Recording
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.edit import Edit, run_edit
from audiolm_cli.editing.jobs import LONGEST_INPUT_S, plan_jobs
from audiolm_cli.editing.result import Generation, Stopwatch
from audiolm_cli.editing.session import Session, open_session
from audiolm_cli.editing.splicing import LONGEST_S, Gap, Take
from audiolm_cli.editing.takes import make_takes
from audiolm_cli.errors import UsageError
from audiolm_cli.events import OnEvent, ignore


def loop_files(
    inputs: list[str],
    bridge_s: float = 2.0,
    repeat: int = 1,
    config: GenerateConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    on_event: OnEvent = ignore,
    started: float | None = None,
) -> Generation:
    """Write each input with a bridge back to its start behind it; of several inputs, those that fail are in `failed`.

    Args:
        inputs: audio files; "-" is a WAV on standard input.
        bridge_s: length of the bridge; exactly `round(bridge_s * rate)` samples.
        repeat: how often recording and bridge are written, one after the other.
        config: output, model, device, takes, seed, ...; `until_end` does not apply.
        sampling: how codes are drawn.
        on_event: gets the progress.
        started: when the command began, by `time.perf_counter`.

    Raises:
        AudioInputError: the only recording cannot be used.
        UsageError: a number is out of range, or options contradict each other.
        OutputError: an output exists already or cannot be written.
    """
    config, sampling = config or GenerateConfig(), sampling or SamplingConfig()
    watch = Stopwatch.since(started)
    check_bridge(bridge_s, repeat, config)

    jobs = plan_jobs(inputs, "looped", config)
    edit = Edit(
        command="loop",
        settings={"bridge_s": bridge_s, "repeat": repeat},
        words=["--bridge", f"{bridge_s:.10g}", *(["--repeat", str(repeat)] if repeat > 1 else [])],
        find_gaps=lambda recording, source: [bridge_gap(recording, source, bridge_s, repeat)],
        make=make_bridges,
        repeat=repeat,
    )
    return run_edit(open_session(config, sampling, on_event, watch), jobs, edit)


def check_bridge(bridge_s: float, repeat: int, config: GenerateConfig) -> None:
    """Refuse what no recording can be looped with.

    Raises:
        UsageError: a number is out of range, or options contradict each other.
    """
    if not 0 < bridge_s <= LONGEST_S:
        raise UsageError(f"bridge must be over 0 and at most {LONGEST_S:.0f} seconds, got {bridge_s:g}")
    if repeat < 1:
        raise UsageError(f"repeat must be 1 or more, got {repeat}")

    if config.only_new and repeat > 1:
        raise UsageError("--only-new writes the bridge alone; leave out --repeat")
    if config.until_end:
        raise UsageError("a bridge ends where the recording begins; use until_end for continuations alone")


def bridge_gap(recording: Recording, source: str, bridge_s: float, repeat: int = 1) -> Gap:
    """Where the bridge goes: behind the recording.

    Raises:
        UsageError: the bridge has no sample, or the result would be too long.
    """
    end, bridge = recording.num_samples, round(bridge_s * recording.sample_rate_hz)
    if (recording.duration_s + bridge_s) * repeat > LONGEST_INPUT_S and repeat > 1:
        raise UsageError(
            f"{source}: repeated {repeat} times, the loop is longer than {LONGEST_INPUT_S:.0f} s, "
            "the longest allowed; lower --repeat"
        )
    if bridge < 1:
        raise UsageError(f"bridge must be at least one sample, got {bridge_s:g} s at {recording.sample_rate_hz} Hz")
    return Gap(start=end, stop=end, new_samples=bridge)


def make_bridges(session: Session, recording: Recording, gaps: list[Gap]) -> list[Take]:
    """Takes for the gap at the end of a recording that lead from there to its start: infills between two copies."""
    twice = dataclasses.replace(recording, samples=np.concatenate([recording.samples, recording.samples]))
    return make_takes(session, twice, gaps)
