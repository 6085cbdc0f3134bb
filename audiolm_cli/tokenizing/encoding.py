"""One recording to codes, in constant memory and always to the same ones. Knows nothing about stores.

Two passes: the first finds the level and the silences, the second encodes what lies between them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from audiolm_cli.audio import DecoderProcess, Scan, find_sounding, resample_blocks
from audiolm_cli.audio.level import TRAINING_PEAK, training_gain
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import iter_encode
from audiolm_cli.data.parts import Part
from audiolm_cli.errors import DataError

SILENCE_PEAK = 1e-4
"""Recordings that never exceed this are silent: -80 dB of full scale."""
SILENT_DB = -60.0
"""What stays this far below a recording's peak is silent, too."""
SHORTEST_SILENCE_S = 3.0
"""Shorter silences are part of the music."""
MARGIN_S = 0.5
"""So much of a silence remains on each side of it: sounds begin and end in it."""
SCAN_SHARE = 0.15
"""Of the work, for the progress."""

OnShare = Callable[[float], None]


def encode_recording(
    path: Path, codec: Codec, decoder: DecoderProcess, on_share: OnShare = lambda share: None, semitones: int = 0
) -> Part:
    """The codes of the whole frames of a recording, without its silences.

    Args:
        path: the file.
        codec: what encodes.
        decoder: what decodes.
        on_share: gets the share that is done, 0..1, now and then.
        semitones: how much higher it is heard than it was made, played as much faster, as a tape is.

    Raises:
        AudioInputError: it is damaged, or not what its header says, or the decoder crashes over it.
    """
    if codec.codebook_size > np.iinfo(np.int16).max + 1:
        raise DataError(f"{codec.name}: {codec.codebook_size} codes per codebook; stores hold at most 32768")

    scan = decoder.scan(path, codec.channels)
    on_share(SCAN_SHARE)
    frames, spans = frame_spans(scan, codec)  # of the recording as it is, so that copies have the same ones
    speed = 2.0 ** (semitones / 12)
    if semitones:
        spans = [scale_span(span, speed) for span in spans]
        frames = max(1, int(frames / speed), *(stop for _, stop in spans))

    done, total = 0, max(1, sum(stop - start for start, stop in spans))
    pieces = [np.zeros((0, codec.num_codebooks), np.int16)]
    with leveled_spans(path, scan, codec, spans, decoder, speed) as stretches, torch.inference_mode():
        for blocks in stretches:
            tensors = (torch.from_numpy(block).to(codec.device) for block in blocks)
            for codes in iter_encode(codec, tensors):  # [n, K]
                pieces.append(codes.cpu().numpy().astype(np.int16))
                done += len(codes)
                on_share(SCAN_SHARE + (1 - SCAN_SHARE) * done / total)
    return Part(codes=np.concatenate(pieces), spans=np.array(spans, np.int64).reshape(-1, 2), frames=frames)


def read_leveled(path: Path, codec: Codec, decoder: DecoderProcess) -> np.ndarray | None:
    """A recording as codes are made of it, silences included: mono float32 [n] at the codec's rate, whole frames.

    Returns:
        None for silence.

    Raises:
        AudioInputError: it is damaged, or not what its header says.
    """
    scan = decoder.scan(path, codec.channels)
    if scan.peak < SILENCE_PEAK:
        return None

    with leveled_spans(path, scan, codec, [(0, _whole_frames(scan, codec))], decoder) as stretches:
        return np.concatenate([block for blocks in stretches for block in blocks], axis=1)[0]


def frame_spans(scan: Scan, codec: Codec) -> tuple[int, list[tuple[int, int]]]:
    """How many whole frames a recording has, and which (start, stop) of them are not silent."""
    frames = _whole_frames(scan, codec)
    if scan.peak < SILENCE_PEAK:
        return frames, []

    threshold = TRAINING_PEAK * 10 ** (SILENT_DB / 20) / training_gain(np.array([scan.peak]))
    spans = []
    for start, stop in find_sounding(scan, threshold, SHORTEST_SILENCE_S, MARGIN_S):
        # Frames that are at least partly in the stretch.
        first = start * codec.sample_rate_hz // (scan.sample_rate_hz * codec.hop_samples)
        last = -(-stop * codec.sample_rate_hz // (scan.sample_rate_hz * codec.hop_samples))
        if first < min(last, frames):
            spans.append((first, min(last, frames)))
    return frames, spans


def scale_span(span: tuple[int, int], speed: float) -> tuple[int, int]:
    """The whole frames of a recording played at another speed that lie in a span of its frames; at least one."""
    start = math.ceil(span[0] / speed)
    return start, max(start + 1, math.floor(span[1] / speed))


@contextlib.contextmanager
def leveled_spans(
    path: Path,
    scan: Scan,
    codec: Codec,
    spans: list[tuple[int, int]],
    decoder: DecoderProcess,
    speed: float = 1.0,
) -> Iterator[Iterator[Iterator[np.ndarray]]]:
    """Spans of frames of a recording, each as blocks float32 [C, n] at the codec's rate and the training level.

    Each has to be read to its end before the next one. At another speed than 1, they are spans of the recording so
    played.
    """
    gain, hop = np.float32(training_gain(np.array([scan.peak]))), codec.hop_samples

    with decoder.open_stream(path, through_ffmpeg=scan.through_ffmpeg) as stream:
        mixed = (scan.mix(block) for block in stream.blocks)
        played_hz = stream.sample_rate_hz * speed
        blocks = (block * gain for block in resample_blocks(mixed, played_hz, codec.sample_rate_hz))
        yield _cut_spans(blocks, [(start * hop, stop * hop) for start, stop in spans], codec.channels)


def _whole_frames(scan: Scan, codec: Codec) -> int:
    """At least one, which is filled up with zeros."""
    return max(1, scan.num_samples * codec.sample_rate_hz // (scan.sample_rate_hz * codec.hop_samples))


def _cut_spans(
    blocks: Iterator[np.ndarray], spans: list[tuple[int, int]], channels: int
) -> Iterator[Iterator[np.ndarray]]:
    """The blocks of each span (start, stop) of samples, in order; zeros where the stream ends before."""
    held, at = np.zeros((channels, 0), np.float32), 0

    def take(stop: int) -> Iterator[np.ndarray]:
        nonlocal held, at
        while at < stop:
            if not held.shape[1]:
                following = next(blocks, None)
                held = np.zeros((channels, stop - at), np.float32) if following is None else following
            count = min(stop - at, held.shape[1])
            piece, held = held[:, :count], held[:, count:]
            at += count
            yield piece

    for start, stop in spans:
        for _ in take(start):  # what lies between two spans
            pass
        yield take(stop)
