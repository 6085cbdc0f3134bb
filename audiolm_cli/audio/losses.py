"""What a file cannot hold of a recording that is put into it: how much of what, and what would hold it.

Knows nothing about how files are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from audiolm_cli.audio.id3 import parse_id3
from audiolm_cli.audio.layout import describe_lost
from audiolm_cli.audio.metadata import list_unheld
from audiolm_cli.audio.recording import BITS, FLOATS, Recording, as_float
from audiolm_cli.audio.writing import AudioSpec, as_stored, find_lost_tags
from audiolm_cli.wording import MOST_NAMES, counted

SUFFIXES = {"RIFF": ".wav", "AU": ".au"} | {
    name: f".{name.lower()}" for name in ("AIFF", "CAF", "FLAC", "OGG", "MP3", "W64")
}
"""Of the family of a recording, how a file is named that holds all that it holds."""
COMPARED_SAMPLES = 1 << 20
"""Samples of all channels that are compared at a time."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One thing of a recording that is not in a file as it was."""

    kind: str
    """"clipped", "rounded", "lossy", "loudspeakers", "tags", "metadata", "markers" or "comment"."""
    count: int
    """How many samples (of all channels), channels, tags, other things, markers or characters."""
    message: str
    """What is lost, and what to do about it."""


def find_losses(path: str, recording: Recording, kept: Iterable[slice], spec: AudioSpec) -> list[Loss]:
    """What is lost of a recording's own samples, loudspeakers and tags when they are written.

    Args:
        path: the output, for messages.
        recording: where they come from.
        kept: the stretches of its samples that are written as they are.
        spec: how they are stored.
    """
    losses = _find_sample_losses(recording, list(kept), spec)
    C = recording.channels

    if moved := describe_lost(recording.layout, spec.format, spec.subtype, C):
        losses.append(Loss(kind="loudspeakers", count=C, message=f"{moved}; name it .wav to keep them"))

    names = find_lost_tags(recording.tags, spec.format)
    if spec.metadata is not None:  # which may have an ID3 tag beside
        names = [name for name in names if name not in parse_id3(spec.metadata.tag)]
    if names:
        what = f"{counted(len(names), 'tag')} of the recording ({', '.join(names)})"
        how = "are too long or have no place" if len(names) > 1 else "is too long or has no place"
        losses.append(Loss(kind="tags", count=len(names), message=f"{what} {how} in {spec.format}; name it .flac"))

    if recording.metadata and (names := list_unheld(recording.metadata, spec.format, recording.markers)):
        suffix = SUFFIXES[recording.metadata.family]
        verb = "have" if len(names) > 1 else "has"
        message = f"{', '.join(names[:MOST_NAMES])} of the recording {verb} no place in {spec.format}; name it {suffix}"
        losses.append(Loss(kind="metadata", count=len(names), message=message))

    if recording.metadata and (names := list(recording.metadata.left_out)):
        what = f"{', '.join(names[:MOST_NAMES])} of the recording"
        message = f"audiolm does not carry over {what}; add it again with the program that wrote it"
        losses.append(Loss(kind="metadata", count=len(names), message=message))

    return [Loss(kind=loss.kind, count=loss.count, message=f"{path}: {loss.message}") for loss in losses]


def _find_sample_losses(recording: Recording, kept: list[slice], spec: AudioSpec) -> list[Loss]:
    """What is lost of the samples themselves."""
    held = spec.subtype in BITS or spec.subtype in FLOATS
    blocks = [recording.samples[part] for part in kept]
    total = sum(block.size for block in blocks)
    if not total or (held and not _may_change(recording, spec.subtype)):
        return []

    clipped = rounded = 0
    for block in blocks:
        step = max(1, COMPARED_SAMPLES // recording.channels)
        for start in range(0, len(block), step):
            over, other = _count_changed(block[start : start + step], spec.subtype if held else "")
            clipped, rounded = clipped + over, rounded + other

    losses = []
    own = f"of {total} samples of the recording"
    is_wav = spec.format in ("WAV", "WAVEX", "RF64")
    if clipped:
        remedy = "; make it a float WAV first, or turn it down" if is_wav else "; name it .wav to keep them"
        if not recording.lossless and not is_wav:
            remedy = "; turn the recording down first"
        how = f"clipped to full scale: {spec.format} holds no more" if held else "over full scale: players clip them"
        losses.append(Loss(kind="clipped", count=clipped, message=f"{clipped} {own} are {how}{remedy}"))

    # What a lossy format decodes to is no more exact than 16 bits, and loses a little whenever it is stored again.
    if not held:
        keep = "; name it .wav or .flac to keep them" if recording.lossless else ""
        message = f"{spec.format} is lossy: none {own} are exactly what they were{keep}"
        losses.append(Loss(kind="lossy", count=total, message=message))
    elif rounded and recording.lossless:
        what = f"rounded to {BITS[spec.subtype]} bits" if spec.subtype in BITS else f"rounded to {spec.subtype}"
        losses.append(
            Loss(kind="rounded", count=rounded, message=f"{rounded} {own} are {what}; name it .wav to keep them")
        )
    return losses


def _may_change(recording: Recording, subtype: str) -> bool:
    """Whether some samples of such a recording are not held by a subtype."""
    if subtype == recording.subtype:
        return False
    if recording.subtype in BITS:
        mantissa = {"FLOAT": 25, "DOUBLE": 53}.get(subtype, BITS.get(subtype, 0))
        return BITS[recording.subtype] > mantissa
    return subtype in BITS or (recording.samples.dtype == np.float64 and subtype == "FLOAT")


def _count_changed(samples: np.ndarray, subtype: str) -> tuple[int, int]:
    """How many native samples are beyond full scale, and how many others a subtype changes; "" is a lossy one."""
    exact = as_float(samples, np.float64)
    over = np.abs(exact) > 1
    if not subtype:
        return int(np.count_nonzero(over)), 0

    changed = as_float(as_stored(samples, subtype), np.float64) != exact
    if subtype in FLOATS:
        return 0, int(np.count_nonzero(changed))
    return int(np.count_nonzero(over)), int(np.count_nonzero(changed & ~over))
