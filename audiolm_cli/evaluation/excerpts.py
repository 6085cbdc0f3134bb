"""Stretches of what an evaluation measures: codes, windows of them, excerpts. Knows nothing about models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""Length of the excerpts that audio is compared on; of a shorter recording, all of it."""
SHORTEST_S = 5.0
"""Recordings shorter than this are left out."""
LENGTHS = 10
"""Windows of codes have one of so many lengths: that of the model, or of a shorter recording as much as fits."""
SILENT_SHARE = 0.5
"""Windows and excerpts with more silence than this are left out: silence is easy to predict."""
SILENCE_PEAK = 1e-3
"""A frame that never exceeds this is silent: -60 dB of full scale."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A stretch of a recording."""

    name: str
    """Where it is from."""
    recording: str
    """Which recording that is; excerpts of one recording have the same."""
    wav: Tensor
    """float32 [1, 1, N] on the codec's device."""
    codes: Tensor | None = None
    """int64 [1, T, K] where the audio was decoded from them; None of a recording."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Stretches of codes of one length."""

    codes: Tensor
    """int64 [N, T, K]."""
    others: Tensor | None
    """As many of the same shape, each of another recording; None where no other recording has any."""


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
            excerpts.append(_cut_excerpts(file, wav, audio, codec, turns))
        on_event(Progress(stage="encode", done=done, total=len(files), unit="files"))

    in_turn = [own[turn] for turn in range(turns) for own in excerpts if turn < len(own)]
    return clips, in_turn[:count]


def _cut_excerpts(file: AudioFile, wav: np.ndarray, audio: Tensor, codec: Codec, count: int) -> list[Excerpt]:
    """At most `count` excerpts of a file, spread over it, silent ones left out: of wav [N]; `audio` is the same as a
    tensor."""
    rate_hz, hop = codec.sample_rate_hz, codec.hop_samples
    samples = min(round(CLIP_S * rate_hz) // hop, len(wav) // hop) * hop
    starts = range(0, len(wav) - samples + 1, samples)
    audible = [start for start in starts if _is_audible(wav[start : start + samples], hop)]
    return [
        Excerpt(
            name=f"{file.path.name} from {start / rate_hz:.0f} s",
            recording=file.sha256,
            wav=audio[..., start : start + samples],
        )
        for start in _spread(audible, count)
    ]


def decode_excerpts(clips: list[TokenClip], owners: Mapping[str, str], codec: Codec, count: int) -> list[Excerpt]:
    """At most `count` excerpts of clips of codes, one of each clip in turn, as the codec makes them audible.

    `owners` says which recording the clip of a name is of; one that is not there is a recording by itself.
    """
    longest = round(CLIP_S / codec.hop_samples * codec.sample_rate_hz)
    turns = -(-count // len(clips))
    excerpts: list[list[Excerpt]] = []
    for clip in clips:
        frames = min(longest, len(clip.codes))
        own = []
        for start in _spread(range(0, len(clip.codes) - frames + 1, frames), turns):
            part = torch.from_numpy(clip.codes[None, start : start + frames].astype(np.int64)).to(codec.device)
            wav = codec.decode(part)[..., : frames * codec.hop_samples]
            if _is_audible(wav[0, 0].cpu().numpy(), codec.hop_samples):
                second = start * codec.hop_samples / codec.sample_rate_hz
                recording = owners.get(clip.id, clip.id)
                own.append(Excerpt(name=f"{clip.id} from {second:.0f} s", recording=recording, wav=wav, codes=part))
        excerpts.append(own)

    in_turn = [own[turn] for turn in range(turns) for own in excerpts if turn < len(own)]
    return in_turn[:count]


def draw_windows(clips: list[TokenClip], count: int, length: int, codec: Codec) -> list[Windows]:
    """About `count` windows spread over the recordings, silent ones left out: of `length` frames, or shorter ones.

    Raises:
        DataError: every recording is silent.
    """
    # What the codec makes of silence, in the middle of a stretch of it.
    probe = 64
    silence = codec.encode(torch.zeros(1, 1, probe * codec.hop_samples, device=codec.device))
    silent_code = silence[0, probe // 2, 0].item()

    # By their length, and in it by recording, so that each has one of another recording beside it.
    step = max(1, length // LENGTHS)
    by_length: dict[int, list[list[np.ndarray]]] = {}
    for clip in clips:
        frames = min(length, len(clip.codes) // step * step)
        cut = [clip.codes[start : start + frames] for start in range(0, len(clip.codes) - frames + 1, max(1, frames))]
        audible = [window for window in cut if len(window) and np.mean(window[:, 0] == silent_code) <= SILENT_SHARE]
        if audible:
            by_length.setdefault(frames, []).append(_spread(audible, -(-count // len(clips))))
    if not by_length:
        raise DataError(f"{counted(len(clips), 'recording')}, but all of them are silent; give others")

    drawn = []
    total = sum(len(own) for windows_of in by_length.values() for own in windows_of)
    for windows_of in by_length.values():
        pairs = []
        for number, own in enumerate(windows_of):
            next_ones = windows_of[(number + 1) % len(windows_of)]
            pairs += [(window, next_ones[turn % len(next_ones)]) for turn, window in enumerate(own)]
        chosen = _spread(pairs, -(-count * len(pairs) // total))
        others = _stack([other for _, other in chosen]) if len(windows_of) > 1 else None
        drawn.append(Windows(codes=_stack([window for window, _ in chosen]), others=others))
    return drawn


def _stack(windows: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(windows).astype(np.int64))


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
