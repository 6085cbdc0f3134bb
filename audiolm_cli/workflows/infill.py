"""`audiolm infill`: stretches of a recording made anew, between what precedes and follows them.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

from audiolm_cli.audio.labels import read_labels
from audiolm_cli.audio.markers import Marker
from audiolm_cli.config.gaps import GapPlace, MarkedGap, TimedGap, format_gap, is_plain
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.config.musical import Time, describe_time, format_time
from audiolm_cli.editing.edit import Edit, run_edit
from audiolm_cli.editing.jobs import check_context, plan_jobs
from audiolm_cli.editing.marks import Stretch, find_markers, find_stretches
from audiolm_cli.editing.result import Generation, Stopwatch
from audiolm_cli.editing.ruler import Ruler, check_length
from audiolm_cli.editing.session import LoadModel, open_session
from audiolm_cli.editing.splicing import LONGEST_S, Gap
from audiolm_cli.errors import UsageError
from audiolm_cli.events import OnEvent, ignore
from audiolm_cli.library.loading import load_model

ROUNDING_S = 0.001
"""An end this little beyond the file is its end: people copy it from displays of milliseconds."""


def infill_files(
    inputs: list[str],
    gaps: list[GapPlace],
    length_s: Time | None = None,
    config: GenerateConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    labels: str | None = None,
    on_event: OnEvent = ignore,
    started: float | None = None,
    load: LoadModel = load_model,
) -> Generation:
    """Write each input with its gaps made anew; of several inputs, those that fail are in `failed`.

    Args:
        inputs: audio files; "-" is a WAV on standard input.
        gaps: (start, end) of each gap in seconds, or in bars and beats, in any order; None is the end of the file. A
            gap at the start or the end of the file has context on one side. With `length_s` an empty gap takes new
            audio in. Or the names of markers.
        length_s: length of what takes the place of each gap; None is the gap's own. What follows moves.
        config: output, model, device, takes, seed, ...; `until_end` does not apply.
        sampling: how codes are drawn.
        labels: a text file whose markers take the place of those that the inputs hold.
        on_event: gets the progress.
        started: when the command began, by `time.perf_counter`.
        load: gives the model; who runs several commands gives one that keeps it.

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
    check_labels(labels, gaps)

    jobs = plan_jobs(inputs, "infilled", config)
    edit = Edit(
        command="infill",
        settings=describe_gaps(gaps)
        | describe_time("length", length_s)
        | ({} if labels is None else {"labels": Path(labels).name}),
        words=[
            *itertools.chain.from_iterable(("--gap", format_gap(gap)) for gap in gaps),
            *([] if length_s is None else ["--length", format_time(length_s)]),
            *([] if labels is None else ["--labels", labels]),
        ],
        find_gaps=lambda ruler: place_gaps(gaps, length_s, ruler, labels),
    )
    return run_edit(open_session(config, sampling, on_event, watch, load), jobs, edit)


def check_gaps(gaps: list[GapPlace], length_s: Time | None) -> list[GapPlace]:
    """The gaps; in order where all are in seconds, of which more is known before there is a recording.

    Raises:
        UsageError: there is none, the length is out of range, one begins before the recording, is empty or reversed,
            or two overlap.
    """
    if not gaps:
        raise UsageError("no gap to fill; say where with --gap START:END")
    if length_s is not None:
        check_length("length", length_s)

    if not all(map(is_plain, gaps)):
        return gaps
    plain: list[TimedGap] = gaps  # type: ignore[assignment]
    stretches = [Stretch(start, end, format_gap((start, end))) for start, end in plain]  # type: ignore[arg-type]
    return [(stretch.start, stretch.end) for stretch in order_stretches(stretches, length_s)]  # type: ignore[misc]


def order_stretches(stretches: list[Stretch], length_s: Time | None) -> list[Stretch]:
    """The stretches in order.

    Raises:
        UsageError: one begins before the recording, is empty or reversed, or two overlap.
    """
    for start, end, words in stretches:
        if not (0 <= start < math.inf and (end is None or math.isfinite(end))):
            raise UsageError(f"gap {words} is not in a recording; expected times of 0 s or more")
        if end is not None and end < start:
            raise UsageError(f"gap {words} ends before it starts; write START:END")
        if end == start and length_s is None:
            raise UsageError(f"gap {words} has no length; write START:END, or put audio in with --length")
        if length_s is None and end is not None and end - start > LONGEST_S:
            raise UsageError(f"gap {words} is longer than {LONGEST_S:.0f} s, the longest allowed")

    # Two empty gaps at one place are an overlap as well: which comes first is not said.
    ordered = sorted(stretches, key=lambda stretch: stretch.start)
    for one, next_one in itertools.pairwise(ordered):
        if one.end is None or next_one.start < one.end or next_one[:2] == one[:2]:
            raise UsageError(f"gaps {one.words} and {next_one.words} overlap; join them into one")
    return ordered


def place_gaps(gaps: list[GapPlace], length_s: Time | None, ruler: Ruler, labels: str | None = None) -> list[Gap]:
    """Gaps, as `check_gaps` returns them, in the samples of a recording.

    Raises:
        AudioInputError: they leave too little of the recording to go by.
        UsageError: one of them does not fit the recording, two overlap, or the tempo or a marker is unknown.
    """
    recording, markers = ruler.recording, find_markers(ruler, labels)
    measured = itertools.chain.from_iterable(measure_gap(gap, ruler, markers) for gap in gaps)
    stretches = order_stretches(list(measured), length_s)
    placed = [place_gap(stretch, length_s, ruler) for stretch in stretches]

    replaced = sum(gap.stop - gap.start for gap in placed)
    check_context((recording.num_samples - replaced) / recording.sample_rate_hz, ruler.source)
    return placed


def measure_gap(gap: GapPlace, ruler: Ruler, markers: tuple[Marker, ...]) -> list[Stretch]:
    """A gap in seconds of a recording; markers may say several.

    Raises:
        UsageError: it is in bars of an unknown tempo, or there is no such marker.
    """
    if isinstance(gap, MarkedGap):
        return find_stretches(gap, ruler, markers)

    start, end = gap
    start_s, end_s = ruler.position_s(start), None if end is None else ruler.position_s(end)
    words = format_gap(gap)
    if not is_plain(gap):
        words += f" ({float(start_s):.3f}:{'' if end_s is None else f'{float(end_s):.3f}'} s)"
    return [Stretch(start_s, end_s, words)]


def place_gap(gap: Stretch, length_s: Time | None, ruler: Ruler) -> Gap:
    """A gap in the samples of a recording.

    Raises:
        UsageError: it reaches beyond the recording, is the whole of it, or has no samples.
    """
    recording, source = ruler.recording, ruler.source
    rate_hz, length = recording.sample_rate_hz, recording.num_samples
    start = round(gap.start * rate_hz)
    stop = length if gap.end is None else round(gap.end * rate_hz)
    if length < stop <= length + ROUNDING_S * rate_hz:
        stop = length

    if stop > length or start >= length:
        reaches = f"{source} ends at {recording.duration_s:.3f} s; gap {gap.words} reaches beyond that"
        hint = f"; {float(gap.start):g}: is a gap up to the end" if start < length else ""
        raise UsageError(f"{reaches}{hint}; `audiolm continue` appends new audio")
    if stop - start >= length:
        raise UsageError(f"gap {gap.words} is the whole of {source}; leave some of the recording on at least one side")
    if stop <= start and length_s is None:
        raise UsageError(f"gap {gap.words} has no sample at {rate_hz} Hz; make it longer")

    new = stop - start if length_s is None else ruler.count_samples("length", length_s, start)
    if new > LONGEST_S * rate_hz:
        raise UsageError(f"gap {gap.words} is longer than {LONGEST_S:.0f} s, the longest allowed")
    return Gap(start=start, stop=stop, new_samples=new)


def check_labels(labels: str | None, gaps: list[GapPlace]) -> None:
    """Refuse a file of labels that no recording can be filled by.

    Raises:
        UsageError: it cannot be read, is not known, or no gap asks for it.
    """
    if labels is None:
        return
    if not any(isinstance(gap, MarkedGap) for gap in gaps):
        raise UsageError("--labels names markers, and no gap asks for one; write --gap markers, or region:NAME")
    read_labels(labels, 1)


def describe_gaps(gaps: list[GapPlace]) -> dict[str, Any]:
    """Gaps under the name that their unit asks for, for JSON."""
    if all(map(is_plain, gaps)):
        return {"gaps_s": gaps}
    return {"gaps": [format_gap(gap) for gap in gaps]}
