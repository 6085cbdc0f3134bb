"""What an evaluation measures on: recordings as codes, windows of those, and excerpts. Knows nothing about models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import DecoderProcess
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import encode_chunked
from audiolm_cli.data.files import AudioFile
from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.errors import AudioInputError, DataError
from audiolm_cli.events import Note, OnEvent, Progress
from audiolm_cli.tokenizing.encoding import read_leveled
from audiolm_cli.wording import counted

CLIP_S = 10.0
"""Length of the excerpts that audio is compared on."""
SHORTEST_S = 2 * CLIP_S
"""Recordings shorter than this are left out."""
SILENT_SHARE = 0.5
"""Windows and excerpts with more silence than this are left out: silence is easy to predict."""
SILENCE_PEAK = 1e-3
"""A frame that never exceeds this is silent: -60 dB of full scale."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A stretch of a recording."""

    name: str
    """Where it is from."""
    wav: Tensor
    """float32 [1, 1, N] on the codec's device."""


def read_held_out(
    files: list[AudioFile], codec: Codec, decoder: DecoderProcess, count: int, failed: list[str], on_event: OnEvent
) -> tuple[list[TokenClip], list[Excerpt]]:
    """The codes of every recording that is not silent, and at most `count` excerpts, one of each recording in turn.

    What cannot be read after all joins `failed`.
    """
    turns = -(-count // len(files))
    clips: list[TokenClip] = []
    excerpts: list[list[Excerpt]] = []
    for done, file in enumerate(files, start=1):
        try:
            wav = read_leveled(file.path, codec, decoder)
        except AudioInputError as error:
            wav = None
            failed.append(str(error))
            on_event(Note(message=str(error), warning=True))

        if wav is not None:
            audio = torch.from_numpy(wav)[None, None].to(codec.device)  # [1, 1, N]
            codes = encode_chunked(codec, audio)[0].cpu().numpy().astype(np.int16)  # [T, K]
            clips.append(TokenClip(id=file.path.stem, codes=codes))
            excerpts.append(_cut_excerpts(file.path.name, wav, audio, codec, turns))
        on_event(Progress(stage="encode", done=done, total=len(files), unit="files"))

    in_turn = [own[turn] for turn in range(turns) for own in excerpts if turn < len(own)]
    return clips, in_turn[:count]


def _cut_excerpts(name: str, wav: np.ndarray, audio: Tensor, codec: Codec, count: int) -> list[Excerpt]:
    """At most `count` excerpts of wav [N], spread over it, silent ones left out; `audio` is the same as a tensor."""
    rate_hz, samples = codec.sample_rate_hz, round(CLIP_S * codec.sample_rate_hz)
    starts = range(0, len(wav) - samples + 1, samples)
    audible = [start for start in starts if _is_audible(wav[start : start + samples], codec.hop_samples)]
    return [
        Excerpt(name=f"{name} from {start / rate_hz:.0f} s", wav=audio[..., start : start + samples])
        for start in _spread(audible, count)
    ]


def draw_windows(clips: list[TokenClip], count: int, length: int, codec: Codec) -> tuple[Tensor, Tensor]:
    """Windows [N, length, K] spread over the recordings, silent ones left out, and for each one of another recording.

    Raises:
        DataError: fewer than two recordings have one.
    """
    # What the codec makes of silence, in the middle of a stretch of it.
    probe = 64
    silence = codec.encode(torch.zeros(1, 1, probe * codec.hop_samples, device=codec.device))
    silent_code = silence[0, probe // 2, 0].item()

    windows_of: list[list[np.ndarray]] = []
    for clip in clips:
        cut = [clip.codes[start : start + length] for start in range(0, len(clip.codes) - length + 1, length)]
        audible = [window for window in cut if np.mean(window[:, 0] == silent_code) <= SILENT_SHARE]
        if audible:
            windows_of.append(_spread(audible, -(-count // len(clips))))
    if len(windows_of) < 2:
        raise DataError(
            f"{counted(len(windows_of), 'recording')} with {length} frames that are not silent; expected at least 2"
        )

    pairs = []
    for number, windows in enumerate(windows_of):
        others = windows_of[(number + 1) % len(windows_of)]
        pairs += [(window, others[turn % len(others)]) for turn, window in enumerate(windows)]
    chosen = np.array(_spread(pairs, count)).astype(np.int64)  # [N, 2, T, K]
    return torch.from_numpy(chosen[:, 0]), torch.from_numpy(chosen[:, 1])


def codebook_perplexities(clips: list[TokenClip], codebook_size: int) -> list[float]:
    """Exponentiated entropy of each codebook's use in the clips."""
    figures = []
    for column in np.concatenate([clip.codes for clip in clips]).T:
        shares = np.bincount(column, minlength=codebook_size) / len(column)
        shares = shares[shares > 0]
        figures.append(float(np.exp(-(shares * np.log(shares)).sum())))
    return figures


def _spread(items: Any, count: int) -> list[Any]:
    """At most `count` of the items, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def _is_audible(wav: np.ndarray, hop: int) -> bool:
    """Whether at most SILENT_SHARE of the frames of wav [n] are silent."""
    return float(np.mean(np.abs(wav).reshape(-1, hop).max(axis=1) < SILENCE_PEAK)) <= SILENT_SHARE
