"""The sound of a reference recording as a prompt. Knows nothing about files or commands."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import Recording, mid, resample
from audiolm_cli.audio.level import recording_gain
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import encode_chunked
from audiolm_cli.editing.jobs import check_context
from audiolm_cli.editing.session import Session
from audiolm_cli.errors import AudioInputError, ModelError, UsageError
from audiolm_cli.model.decoders import Decoders

STYLE_SHARE, SOUND_SHARE = 0.5, 0.25
"""Largest share of the window that a reference takes: where it is all the context, and beside that of a recording."""


def style_prompt(session: Session, reference: Recording, name: str, strength: int) -> Tensor:
    """Codes [1, P, K] of the loudest stretch of a reference: at most half a window, or the prompt asked for.

    Raises:
        AudioInputError: the reference is silent or too short.
        UsageError: the strength is not 1 to K - 1.
    """
    K = session.codec.num_codebooks
    if not 1 <= strength < K:
        raise UsageError(f"strength must be 1 to {K - 1}, the codebooks kept of the codec's {K}; got {strength}")
    return _prompt(session, reference, name, min(session.prompt_frames, _share(session.model, STYLE_SHARE)))


def with_sound(session: Session, reference: Recording, name: str) -> Session:
    """The session with the loudest stretch of a reference, at most a quarter of a window, as a prompt from elsewhere.

    Raises:
        AudioInputError: the reference is silent or too short.
        ModelError: the model does not know such prompts.
    """
    if not session.model.config.knows_elsewhere:
        raise ModelError(
            f"--sound-of: the model {session.loaded.folder.name} was not trained on prompts from elsewhere; "
            "take one that was, or train one with --prompt-from split:0.7,elsewhere:0.3"
        )
    with session.stage("encode"):
        prompt = _prompt(session, reference, name, _share(session.model, SOUND_SHARE))
    return dataclasses.replace(session, elsewhere=prompt)


def encode_recording(recording: Recording, codec: Codec) -> tuple[Tensor, Tensor]:
    """Codes [1, T, K] of a whole recording, and the mono audio [1, 1, n] at training level they stand for."""
    mono = resample(mid(recording.wav())[None], recording.sample_rate_hz, codec.sample_rate_hz)
    wav = torch.from_numpy(mono * np.float32(recording_gain(recording, [])))[None].to(codec.device)
    return encode_chunked(codec, wav), wav


def loudest_codes(codes: Tensor, wav: Tensor, frames: int, codec: Codec) -> Tensor:
    """The `frames` consecutive codes [1, P, K] with the most energy of audio [1, 1, n]; all where there are fewer."""
    frames = min(frames, codes.shape[1])
    energy = torch.nn.functional.pad(wav[0, 0].square(), (0, -wav.shape[-1] % codec.hop_samples))
    sums = energy.view(-1, codec.hop_samples).sum(1).double().cumsum(0)  # [T]
    sums = torch.cat([sums.new_zeros(1), sums])  # [1 + T], energy of all frames before each
    first = int((sums[frames:] - sums[:-frames]).argmax())
    return codes[:, first : first + frames]


def _share(model: Decoders, share: float) -> int:
    """That share of the model's window in frames, at least one."""
    return max(1, int(model.config.max_frames * share))


def _prompt(session: Session, reference: Recording, name: str, frames: int) -> Tensor:
    """Codes [1, P, K] of the loudest stretch of a reference, at most so many frames.

    Raises:
        AudioInputError: the reference is silent or too short.
    """
    check_context(reference.duration_s, name)
    if not reference.samples.any():
        raise AudioInputError(f"{name} is silent, which is no style; give a recording with sound in it")
    return loudest_codes(*encode_recording(reference, session.codec), frames, session.codec)
