"""What a model in training makes of held-out music: a continuation and an infill, as audio with its picture.

The same prompts and the same random numbers at every step, so that two steps compare; the global random state and the
model are left as they were. Knows nothing about how the model is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import Recording, write_audio
from audiolm_cli.audio.recording import quantize
from audiolm_cli.codec.base import Codec
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.data.batching import WindowSampler, full_window
from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.editing.picture import plot_recording
from audiolm_cli.errors import OutputError
from audiolm_cli.files import replacing_folder
from audiolm_cli.model.decode import generate
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry

SAMPLES = "samples"
"""Folder of the samples in a run folder."""
ORIGINAL = "original"
"""Folder, beside those of the steps, of what the recordings really do there, through the codec."""
PROMPT_SHARE = 0.4
"""Share of a window that a continuation has as prompt, and that an infill has on each side."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One written sample."""

    name: str
    """"continuation" or "infill"."""
    path: Path
    """The WAV file; the picture lies beside it."""
    wav: np.ndarray
    """float32 [n]."""
    sample_rate_hz: int
    """Its rate."""


class Sampler:
    """Writes samples of a model into `RUN/samples/step-N/`."""

    def __init__(self, run: Path, codec: Codec, clips: Sequence[TokenClip], max_frames: int, seed: int) -> None:
        """Choose the prompts: two windows of held-out clips, always the same ones."""
        self.folder, self.codec, self.seed = run / SAMPLES, codec, seed
        frames = full_window(list(clips), max_frames)
        windows = torch.from_numpy(WindowSampler(list(clips), frames).fixed(2).codes)  # [2, T, K]
        left = max(1, round(PROMPT_SHARE * frames))
        geometries = {"continuation": Geometry(left, max(1, frames - left))}
        if frames > 2 * left:
            geometries["infill"] = Geometry(left, frames - 2 * left, left)
        self.prompts = {
            name: (geometry, windows[i : i + 1, : geometry.frames].to(codec.device))
            for i, (name, geometry) in enumerate(geometries.items())
        }

    @torch.no_grad()
    def __call__(self, step: int, model: Decoders) -> list[Sample]:
        """Write the samples of a model, in eval mode, that was trained for `step` steps.

        Raises:
            OutputError: the disk is full or refuses.
        """
        if not (self.folder / ORIGINAL).is_dir():
            self._write(ORIGINAL, {name: codes for name, (_, codes) in self.prompts.items()}, "the recording itself")
        made = {}
        with torch.random.fork_rng(devices=[]):
            for name, (geometry, codes) in self.prompts.items():
                context, _ = geometry.split(codes.to(model.device))
                generator = torch.Generator().manual_seed(self.seed)
                target = generate(model, context, geometry, SamplingConfig(), [generator])
                made[name] = geometry.join(context, target).to(self.codec.device)
        return self._write(f"step-{step:07d}", made, f"step {step}")

    def _write(self, place: str, windows: dict[str, Tensor], said: str) -> list[Sample]:
        """Decode windows [1, T, K] and write them into a folder that appears when it is whole."""
        final = self.folder / place
        rate, samples = self.codec.sample_rate_hz, []
        try:
            with replacing_folder(final) as folder:
                for name, codes in windows.items():
                    wav = self.codec.decode(codes)[0, 0].cpu().numpy()
                    pcm, _ = quantize(wav[:, None], 16)
                    path = folder / f"{name}.wav"
                    write_audio(path, pcm, sample_rate_hz=rate, format="WAV", subtype="PCM_16", tags={}, force=True)
                    recording = Recording(
                        samples=pcm,
                        sample_rate_hz=rate,
                        format="WAV",
                        subtype="PCM_16",
                        lossless=True,
                        tags={},
                        name=name,
                    )
                    geometry = self.prompts[name][0]
                    edges = (geometry.left, geometry.left + geometry.gap)
                    spans = [] if place == ORIGINAL else [(edges[0] / self._rate_hz, edges[1] / self._rate_hz)]
                    plot_recording(folder / f"{name}.png", recording, spans, f"{name}, {said}", force=True)
                    samples.append(Sample(name=name, path=final / path.name, wav=wav, sample_rate_hz=rate))
        except OSError as error:
            raise OutputError(f"{final}: the samples cannot be written ({error.strerror or error})") from error
        return samples

    @property
    def _rate_hz(self) -> float:
        """Frames per second of the codec."""
        return self.codec.frame_rate_hz
