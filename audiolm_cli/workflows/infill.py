"""`audiolm infill`: stretches of a recording made anew, between what precedes and follows them.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import itertools

from audiolm_cli.audio import Recording
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.edit import Edit, run_edit
from audiolm_cli.editing.jobs import check_context, plan_jobs
from audiolm_cli.editing.result import Generation, Stopwatch
from audiolm_cli.editing.session import open_session
from audiolm_cli.editing.splicing import LONGEST_S, Gap
from audiolm_cli.errors import UsageError
from audiolm_cli.events import OnEvent, ignore

ROUNDING_S = 0.001
"""An end this little beyond the file is its end: people copy it from displays of milliseconds."""


def infill_files(
    inputs: list[str],
    gaps: list[tuple[float, float | None]],
    length_s: float | None = None,
    config: GenerateConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    on_event: OnEvent = ignore,
    started: float | None = None,
) -> Generation:
    """Write each input with its gaps made anew; of several inputs, those that fail are in `failed`.

    Args:
        inputs: audio files; "-" is a WAV on standard input.
        gaps: (start, end) of each gap in seconds, in any order; None is the end of the file. A gap at the start or the
            end of the file has context on one side. With `length_s` an empty gap takes new audio in.
        length_s: length of what takes the place of each gap; None is the gap's own. What follows moves.
        config: output, model, device, takes, seed, ...; `until_end` does not apply.
        sampling: how codes are drawn.
        on_event: gets the progress.
        started: when the command began, by `time.perf_counter`.

    Raises:
        AudioInputError: the only recording cannot be used.
        UsageError: a gap is empty, reversed, overlaps another or lies outside the only file, or options contradict
            each other.
        OutputError: an output exists already or cannot be written.
    """
    config, sampling = config or GenerateConfig(), sampling or SamplingConfig()
    watch = Stopwatch.since(started)
    if config.until_end:
        raise UsageError("an infill ends where the recording goes on; use until_end for continuations alone")
    gaps = check_gaps(gaps, length_s)

    jobs = plan_jobs(inputs, "infilled", config)
    edit = Edit(
        command="infill",
        settings={"gaps_s": gaps, "length_s": length_s},
        words=[
            *itertools.chain.from_iterable(("--gap", _format_gap(*gap)) for gap in gaps),
            *([] if length_s is None else ["--length", f"{length_s:.10g}"]),
        ],
        find_gaps=lambda recording, source: place_gaps(gaps, length_s, recording, source),
    )
    return run_edit(open_session(config, sampling, on_event, watch), jobs, edit)


def check_gaps(gaps: list[tuple[float, float | None]], length_s: float | None) -> list[tuple[float, float | None]]:
    """The gaps in order.

    Raises:
        UsageError: there is none, one is empty or reversed, or two overlap.
    """
    if not gaps:
        raise UsageError("no gap to fill; say where with --gap START:END")
    if length_s is not None and not 0 < length_s <= LONGEST_S:
        raise UsageError(f"length must be over 0 and at most {LONGEST_S:.0f} seconds, got {length_s:g}")

    for start, end in gaps:
        if end is not None and end < start:
            raise UsageError(f"gap {_format_gap(start, end)} ends before it starts; write START:END")
        if end == start and length_s is None:
            raise UsageError(
                f"gap {_format_gap(start, end)} has no length; write START:END, or put audio in with --length"
            )
        if length_s is None and end is not None and end - start > LONGEST_S:
            raise UsageError(f"gap {_format_gap(start, end)} is longer than {LONGEST_S:.0f} s, the longest allowed")

    # Two empty gaps at one place are an overlap as well: which comes first is not said.
    ordered = sorted(gaps, key=lambda gap: gap[0])
    for (start, end), (next_start, next_end) in itertools.pairwise(ordered):
        if end is None or next_start < end or (next_start, next_end) == (start, end):
            raise UsageError(
                f"gaps {_format_gap(start, end)} and {_format_gap(next_start, next_end)} overlap; join them into one"
            )
    return ordered


def place_gaps(
    gaps: list[tuple[float, float | None]], length_s: float | None, recording: Recording, source: str
) -> list[Gap]:
    """Gaps, as `check_gaps` returns them, in the samples of a recording.

    Raises:
        AudioInputError: they leave too little of the recording to go by.
        UsageError: one of them does not fit the recording.
    """
    placed = [place_gap(gap, length_s, recording, source) for gap in gaps]
    replaced = sum(gap.stop - gap.start for gap in placed)
    check_context((recording.num_samples - replaced) / recording.sample_rate_hz, source)
    return placed


def place_gap(gap: tuple[float, float | None], length_s: float | None, recording: Recording, source: str) -> Gap:
    """A gap in the samples of a recording.

    Raises:
        UsageError: it reaches beyond the recording, is the whole of it, or has no samples.
    """
    rate_hz, length = recording.sample_rate_hz, recording.num_samples
    start, end_s = round(gap[0] * rate_hz), gap[1]
    stop = length if end_s is None else round(end_s * rate_hz)
    if length < stop <= length + ROUNDING_S * rate_hz:
        stop = length

    if stop > length or start >= length:
        reaches = f"{source} ends at {recording.duration_s:.3f} s; gap {_format_gap(*gap)} reaches beyond that"
        hint = f"; {gap[0]:g}: is a gap up to the end" if start < length else ""
        raise UsageError(f"{reaches}{hint}; `audiolm continue` appends new audio")
    if stop - start >= length:
        raise UsageError(
            f"gap {_format_gap(*gap)} is the whole of {source}; leave some of the recording on at least one side"
        )
    if stop <= start and length_s is None:
        raise UsageError(f"gap {_format_gap(*gap)} has no sample at {rate_hz} Hz; make it longer")

    new = stop - start if length_s is None else round(length_s * rate_hz)
    if new < 1:
        raise UsageError(f"length must be at least one sample, got {length_s:g} s at {rate_hz} Hz")
    if new > LONGEST_S * rate_hz:
        raise UsageError(f"gap {_format_gap(*gap)} is longer than {LONGEST_S:.0f} s, the longest allowed")
    return Gap(start=start, stop=stop, new_samples=new)


def _format_gap(start: float, end: float | None) -> str:
    """A gap as it stands on the command line."""
    return f"{start:.10g}:{'' if end is None else f'{end:.10g}'}"
