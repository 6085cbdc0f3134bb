"""What a model in training makes of held-out music: a continuation and an infill, as audio with its picture.

Every step gets the same prompts and the same random numbers, so that two steps compare. The global random state and the
model are left as they were. Knows nothing about how the model is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import Recording, write_audio
from audiolm_cli.audio.recording import quantize
from audiolm_cli.codec.base import Codec
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.editing.picture import plot_recording
from audiolm_cli.errors import OutputError
from audiolm_cli.files import replacing_folder
from audiolm_cli.model.decode import generate
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.training.batches import fixed_windows

SAMPLES = "samples"
"""Folder of the samples in a run folder."""
ORIGINAL = "original"
"""Folder, beside those of the steps, of the same windows as they were recorded, through the codec."""
PROMPT_SHARE = 0.4
"""A continuation's prompt, and each side of an infill, as a share of the window."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One written sample."""

    name: str
    """"continuation" or "infill"."""
    path: Path
    """The WAV file; the picture lies beside it."""
    wav: np.ndarray
    """float32 [N]."""
    sample_rate_hz: int
    """Samples per second."""


class SampleWriter:
    """Writes samples of a model into `RUN/samples/step-N/`."""

    def __init__(self, run: Path, codec: Codec, clips: list[TokenClip], max_frames: int, seed: int) -> None:
        """Choose the prompts: two windows of held-out clips, always the same ones."""
        self.folder, self.codec, self.seed = run / SAMPLES, codec, seed
        windows = torch.from_numpy(fixed_windows(clips, max_frames, 2)).to(codec.device)  # [2, T, K]

        T = windows.shape[1]
        left = max(1, round(PROMPT_SHARE * T))
        geometries = {"continuation": Geometry(left, max(1, T - left))}

        # Windows of a few frames have no room for an infill.
        if 2 * left < T:
            geometries["infill"] = Geometry(left, T - 2 * left, left)

        self.prompts = {
            name: (geometry, windows[i : i + 1, : geometry.frames])
            for i, (name, geometry) in enumerate(geometries.items())
        }
        """By name: where the gap is, and the codes [1, T, K] of the recording, in the gap too."""

    @torch.no_grad()
    def write(self, step: int, model: Decoders) -> list[Sample]:
        """Write the samples of a model, in eval mode, that was trained for `step` steps.

        Raises:
            OutputError: the disk is full or refuses.
        """
        if not (self.folder / ORIGINAL).is_dir():
            self._write_folder(ORIGINAL, {name: codes for name, (_, codes) in self.prompts.items()})

        # The same random numbers at every step, whatever training has drawn.
        made = {}
        with torch.random.fork_rng(devices=[]):
            for name, (geometry, codes) in self.prompts.items():
                context, _ = geometry.split(codes.to(model.device))
                generator = torch.Generator().manual_seed(self.seed)
                target = generate(model, context, geometry, SamplingConfig(), [generator])
                made[name] = geometry.join(context, target).to(self.codec.device)
        return self._write_folder(f"step-{step:07d}", made, step)

    def _write_folder(self, folder: str, windows: dict[str, Tensor], step: int | None = None) -> list[Sample]:
        """Decode windows [1, T, K] and write them into a folder that appears when it is whole.

        `step` is None where the windows are the recordings themselves.
        """
        final = self.folder / folder
        samples = []
        try:
            with replacing_folder(final) as partial:
                for name, codes in windows.items():
                    wav = self.codec.decode(codes)[0, 0].cpu().numpy()  # [N]
                    path = partial / f"{name}.wav"
                    self._write_sound(path, wav, step)
                    rate_hz = self.codec.sample_rate_hz
                    samples.append(Sample(name=name, path=final / path.name, wav=wav, sample_rate_hz=rate_hz))
        except OSError as error:
            raise OutputError(f"{final}: the samples cannot be written ({error.strerror or error})") from error
        return samples

    def _write_sound(self, path: Path, wav: np.ndarray, step: int | None) -> None:
        """Write audio float32 [N] as a WAV file, and its picture with what a model made of it shaded."""
        name, rate_hz = path.stem, self.codec.sample_rate_hz
        pcm, _ = quantize(wav[:, None], 16)
        write_audio(path, pcm, sample_rate_hz=rate_hz, format="WAV", subtype="PCM_16", tags={}, force=True)

        recording = Recording(
            samples=pcm, sample_rate_hz=rate_hz, format="WAV", subtype="PCM_16", lossless=True, tags={}, name=name
        )
        geometry, _ = self.prompts[name]
        frame_rate_hz = self.codec.frame_rate_hz
        gap = (geometry.left / frame_rate_hz, (geometry.left + geometry.gap) / frame_rate_hz)
        spans, origin = ([], "the recording itself") if step is None else ([gap], f"step {step}")
        plot_recording(path.with_suffix(".png"), recording, spans, f"{name}, {origin}", force=True)
