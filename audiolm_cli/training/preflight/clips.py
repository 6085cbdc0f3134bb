"""Which clips a training uses, and how long it is on them. Knows nothing about models or where clips come from."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.errors import DataError
from audiolm_cli.events import Note, OnEvent
from audiolm_cli.wording import counted

EDGES_S = (0, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, math.inf)
"""Edges of the duration histogram."""
END_SHARE, LEAST_LEFT = 10, 3
"""Where nothing is held out, a tenth of the longest clip is, and never more than a third of it."""
BAR = 30
"""Characters of its longest bar."""


def keep_clips(
    clips: list[TokenClip], split: str, config: TrainConfig, frame_shift_s: float, on_event: OnEvent
) -> list[TokenClip]:
    """The clips whose durations pass the filter; reports how many were kept, and why the others were not.

    Raises:
        DataError: training clips there are, but none passes; the message shows their durations.
    """
    shortest, longest = config.filter_min_duration_s or 0.0, config.filter_max_duration_s or math.inf
    durations_s = [len(clip.codes) * frame_shift_s for clip in clips]
    slack_s = frame_shift_s / 2  # a duration that was rounded to frames
    short = sum(s < shortest - slack_s for s in durations_s)
    long = sum(s > longest + slack_s for s in durations_s)
    kept = [c for c, s in zip(clips, durations_s, strict=True) if shortest - slack_s <= s <= longest + slack_s]
    reasons = [f"{short} shorter than {shortest:g} s"] * (short > 0) + [f"{long} longer than {longest:g} s"] * (
        long > 0
    )
    if clips and not kept and split == "train":
        wider = [f"--filter-min-duration {math.floor(min(durations_s)):g}"] * (short > 0)
        wider += [f"--filter-max-duration {math.ceil(max(durations_s)):g}"] * (long > 0)
        raise DataError(
            f"none of the {len(clips)} training clips passes the duration filter: {', '.join(reasons)}; "
            f"this would keep all of them: {' '.join(wider)}\n{histogram(durations_s)}"
        )
    all_hours = sum(durations_s) / 3600
    hours = sum(len(clip.codes) for clip in kept) * frame_shift_s / 3600
    dropped = f"; dropped {', '.join(reasons)}" if reasons else "; dropped none"
    on_event(Note(message=f"{split}: kept {len(kept)} of {counted(len(clips), 'clip')}, {hours:.2f} h{dropped}"))
    if split == "train" and hours < all_hours / 2:
        text = f"the duration filter leaves {hours:.2f} of {all_hours:.2f} h; the training clips' durations:"
        on_event(Note(message=f"{text}\n{histogram(durations_s)}", warning=True))
    return kept


def label_clips(clips: list[TokenClip], labels: dict[str, str]) -> list[TokenClip]:
    """The clips with their labels, by name; empty where they have none. A copy has that of its original."""
    return [dataclasses.replace(clip, style=labels.get(clip.copy_of or clip.id, "")) for clip in clips]


def hold_out_end(clips: list[TokenClip], window: int) -> tuple[list[TokenClip], TokenClip] | None:
    """The clips without the end of the longest one, and that end; None where all are too short to spare one.

    Args:
        clips: those to train on.
        window: frames of a validation window. The end has a tenth of the clip, and at least as many as this.
    """
    longest = max(range(len(clips)), key=lambda index: len(clips[index].codes))
    clip = clips[longest]
    frames = max(window, len(clip.codes) // END_SHARE)
    if frames > len(clip.codes) // LEAST_LEFT:
        return None

    kept = [*clips]
    kept[longest] = dataclasses.replace(clip, codes=clip.codes[:-frames], ends=False)
    return kept, dataclasses.replace(clip, codes=clip.codes[-frames:])


def cut_copies(copies: list[TokenClip], whole: list[TokenClip], kept: list[TokenClip]) -> list[TokenClip]:
    """Transposed copies of clips that were kept, without what corresponds to the ends that were not.

    Args:
        copies: of any of `whole`.
        whole: clips as they were.
        kept: those of them that are trained on, some without their end.
    """
    lengths = {clip.id: len(clip.codes) for clip in whole}
    left = {clip.id: len(clip.codes) for clip in kept}

    found = []
    for copy in copies:
        own = copy.copy_of
        if own in left:
            frames = len(copy.codes) * left[own] // lengths[own]
            ends = copy.ends and left[own] == lengths[own]
            found.append(dataclasses.replace(copy, codes=copy.codes[:frames], ends=ends))
    return found


def histogram(durations_s: list[float]) -> str:
    """Lines with the number of durations between round edges, from the first that has some to the last.

    >>> print(histogram([3.0, 16.0, 17.0]))
        2-5 s       ###############                1
        5-10 s                                     0
       10-15 s                                     0
       15-20 s      ############################## 2
    """
    counts = [sum(low <= s < high for s in durations_s) for low, high in pairwise(EDGES_S)]
    used = [i for i, count in enumerate(counts) if count]
    lines = []
    for i in range(used[0], used[-1] + 1):
        low, high = EDGES_S[i], EDGES_S[i + 1]
        name = f"{low:>5}-{high} s" if math.isfinite(high) else f"{low:>5} s and more"
        bar = "#" * math.ceil(BAR * counts[i] / max(counts))
        lines.append(f"{name:<15} {bar:<{BAR}} {counts[i]}")
    return "\n".join(lines)


def sized(config: TrainConfig, frames: int, frame_shift_s: float) -> TrainConfig:
    """The configuration with its number of steps and frames per step worked out for this many training frames."""
    batch_frames, steps = config.batch_frames, config.steps
    if config.max_duration_s is not None:
        batch_frames = max(1, round(config.max_duration_s / frame_shift_s))
    if config.num_epochs is not None:
        steps = max(1, math.ceil(config.num_epochs * frames / batch_frames))
    return dataclasses.replace(config, batch_frames=batch_frames, steps=steps)
