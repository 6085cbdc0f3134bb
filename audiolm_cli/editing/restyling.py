"""Recordings with their coarse codes kept and their fine ones made anew. Knows nothing about files or commands."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from audiolm_cli.audio import Recording, StereoImage, measure_image, resample
from audiolm_cli.audio.level import recording_gain
from audiolm_cli.codec.base import Codec, OnShare
from audiolm_cli.codec.chunked import decode_chunked
from audiolm_cli.codec.level import average_around
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.cores import Cores
from audiolm_cli.editing.references import encode_recording
from audiolm_cli.editing.rendering import LEVEL_RANGE, LIMIT_S, limit
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.splicing import Gap, Piece, Take
from audiolm_cli.editing.takes import peak_ceiling
from audiolm_cli.errors import UsageError
from audiolm_cli.model.decode import fill_codebooks
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry, count_frames
from audiolm_cli.model.sampling import draw_uniforms

LOUDER = 2**0.5
"""A restyled recording is nowhere louder than this many times the original: 3 dB."""
STEP_S, REACH_STEPS = 0.01, 10
"""Loudness is measured in steps of this length, over so many to each side."""
CARRIED_SHARE = 0.1
"""Share of the window that repeats what was made last, so that one step runs on from the other."""


def restyle_takes(prompt: Tensor, strength: int, session: Session, recording: Recording, gaps: list[Gap]) -> list[Take]:
    """Takes of a recording after prompt codes [1, P, K], in its stereo image; the one gap is all of it."""
    with session.stage("encode"):
        codes, wav = encode_recording(recording, session.codec)  # [1, T, K], [1, 1, n]
        image = measure_image(recording.wav(), recording.sample_rate_hz)
    # The first codebook is the recording's own, so no AR temperature was drawn with.
    sampling = dataclasses.replace(session.sampling_for(recording.duration_s, between=False), temperature=None)

    def report_frames(done: int) -> None:
        session.report_audio("restyle", done / codes.shape[1], recording.duration_s)

    def report_decoded(share: float) -> None:
        session.report_audio("decode", share, recording.duration_s)

    takes = []
    for seed in session.draw_seeds(session.config.takes):
        generator = torch.Generator().manual_seed(seed)
        began = time.perf_counter()
        made = restyle_codes(session.model, prompt, codes, strength, sampling, generator, report_frames, session.cores)
        session.watch.model.nar_s += time.perf_counter() - began
        session.watch.model.frames += made.shape[1]

        with session.stage("decode"):
            audio = _render(made, wav, image, recording, session.codec, report_decoded)
        piece = Piece(num_samples=audio.shape[1], blocks=[audio])
        takes.append(Take(seed=seed, pieces=[piece], drawn=[sampling]))
    return takes


def whole_recording(recording: Recording) -> list[Gap]:
    """The gap that is all of a recording."""
    return [Gap(start=0, stop=recording.num_samples, new_samples=recording.num_samples)]


def check_settings(config: GenerateConfig) -> None:
    """Refuse what says nothing about a recording that keeps its length and its first codes.

    Raises:
        UsageError: there is such a setting.
    """
    if config.until_end or config.only_new:
        raise UsageError("a restyled recording is new throughout; only_new and until_end do not apply")
    if config.best_of is not None:
        raise UsageError("restyled recordings are not ranked, since their first codes are the same; leave out best_of")


def restyle_codes(
    model: Decoders,
    prompt: Tensor,
    codes: Tensor,
    strength: int,
    sampling: SamplingConfig,
    generator: torch.Generator,
    on_frame: Callable[[int], None],
    cores: Cores | None = None,
) -> Tensor:
    """Codes [1, T, K] with the codebooks of `codes` from `strength` on made anew, with the sound of `prompt`.

    To a model that knows prompts from elsewhere the prompt is one; to others it is what came before. A recording longer
    than the window is made in steps; each hears the prompt and the end of the step before.
    """
    window, T, K = model.config.max_frames, codes.shape[1], codes.shape[2]
    carried = math.ceil(CARRIED_SHARE * window)
    elsewhere, before = (prompt, prompt[:, :0]) if model.config.knows_elsewhere else (None, prompt)
    made = codes[:, :0]

    while made.shape[1] < T:
        left = torch.cat([before, made[:, max(0, made.shape[1] - carried) :]], dim=1)
        target = codes[:, made.shape[1] : made.shape[1] + window - left.shape[1] - count_frames(elsewhere)]
        noise = draw_uniforms([generator], target.shape[1] * K).view(1, K, -1)

        shape = Geometry(left.shape[1], target.shape[1], elsewhere=count_frames(elsewhere))
        context = shape.gather(left, elsewhere=elsewhere)
        new = fill_codebooks(model, context, target, shape, sampling, noise, strength, cores)
        made = torch.cat([made, new], dim=1)
        on_frame(made.shape[1])
    return made


def _render(
    codes: Tensor, original: Tensor, image: StereoImage, recording: Recording, codec: Codec, on_share: OnShare
) -> np.ndarray:
    """Audio float32 [C, N] of codes [1, T, K], as loud as the original and in its stereo image."""
    wav = decode_chunked(codec, codes, on_share=on_share)[0]  # [1, n]
    power = original.square().mean().item()
    for _ in range(2):  # once with what is held down, once without
        made_power = wav.square().mean().item()
        level = float(np.clip(math.sqrt(power / made_power), *LEVEL_RANGE)) if power and made_power else 1.0
        wav = hold_down(wav * level, original[0], codec.sample_rate_hz)

    mono = resample(wav.cpu().numpy(), codec.sample_rate_hz, recording.sample_rate_hz)[0]
    mono = np.pad(mono, (0, max(0, recording.num_samples - len(mono))))[: recording.num_samples]
    mono = mono / recording_gain(recording, [])

    wide = image.place(np.pad(mono, (image.behind, image.ahead)))
    return limit(wide, peak_ceiling(recording), round(LIMIT_S * recording.sample_rate_hz)).astype(np.float32)


def hold_down(made: Tensor, original: Tensor, sample_rate_hz: int) -> Tensor:
    """made [1, n] with its level lowered where it is over LOUDER times that of original [1, m] around the same place.

    Fine codes that do not go with the coarse ones of a sound that the model does not know can be loud together.
    """
    step = max(1, round(STEP_S * sample_rate_hz))
    length = made.shape[1] + -made.shape[1] % step

    def loudness(wav: Tensor) -> Tensor:
        steps = F.pad(wav, (0, length - wav.shape[1])).unflatten(1, (-1, step))  # [1, T, step]
        return average_around(steps.square().mean(-1, keepdim=True), REACH_STEPS).clamp(min=0)[..., 0].sqrt()

    gains = (LOUDER * loudness(original) / loudness(made).clamp(min=1e-9)).clamp(max=1)  # [1, T]
    return made * F.interpolate(gains[None], size=made.shape[1], mode="linear")[0]
