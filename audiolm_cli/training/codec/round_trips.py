"""What a codec in training makes of held-out clips: audio, and spectrograms beside those of the originals.

The same clips at every step, so that two steps compare. Knows nothing about how the codec is trained.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import torch

from audiolm_cli.audio import resample, write_audio
from audiolm_cli.audio.recording import quantize
from audiolm_cli.codec.base import Codec
from audiolm_cli.data.files import AudioFile, read_mono_clip
from audiolm_cli.editing.picture import MEL_BANDS, PLOT_RATE_HZ, mel_decibels, mel_ticks
from audiolm_cli.errors import DataError
from audiolm_cli.events import Activity, Note, OnEvent
from audiolm_cli.files import replacing_folder, write_whole
from audiolm_cli.wording import printable

CLIPS, CLIP_S = 2, 5.0
ORIGINAL = "original"
"""Folder of the clips themselves, beside those of the steps."""


class RoundTrips:
    """Writes `FOLDER/step-N/clip-I.wav` and `.png`; where that fails, the training goes on, and is told once."""

    def __init__(self, folder: Path, codec: Codec, dev: list[AudioFile], on_event: OnEvent) -> None:
        """Clips from the middle of the first recordings of `dev`."""
        self.folder, self.codec, self.files, self.on_event = folder, codec, dev[:CLIPS], on_event
        self._failed = False

    def __call__(self, step: int) -> None:
        """Write the round trips of the codec as it now is, after `step` steps."""
        self.on_event(Activity(stage="make round trips to hear"))
        try:
            wavs = read_middles(self.files, CLIP_S, self.codec.sample_rate_hz)
            clips = {f"clip-{i}": wav for i, wav in enumerate(wavs, start=1)}
            if not (self.folder / ORIGINAL).is_dir():
                self._write(ORIGINAL, clips, clips, "the recording itself")

            with torch.no_grad():
                made = {name: self._round_trip(wav) for name, wav in clips.items()}
            self._write(f"step-{step:07d}", made, clips, f"step {step}")
        except Exception as error:  # whatever fails here, a training is worth more than its pictures
            if not self._failed:
                reason = str(error) or type(error).__name__
                self.on_event(Note(message=f"round trips cannot be made ({reason}); training goes on", warning=True))
            self._failed = True
            return

        self.on_event(Note(message=f"step {step}: round trips in {self.folder / f'step-{step:07d}'}"))

    def _round_trip(self, wav: np.ndarray) -> np.ndarray:
        """What the codec makes of a clip [N]."""
        decoded = self.codec.decode(self.codec.encode(torch.from_numpy(wav)[None, None].to(self.codec.device)))
        return decoded[0, 0, : len(wav)].cpu().numpy()

    def _write(self, folder: str, made: dict[str, np.ndarray], originals: dict[str, np.ndarray], caption: str) -> None:
        """Write clips into a folder that appears when it is whole."""
        rate = self.codec.sample_rate_hz
        with replacing_folder(self.folder / folder) as partial:
            for name, wav in made.items():
                pcm, _ = quantize(wav[:, None], 16)
                path = partial / f"{name}.wav"
                write_audio(path, pcm, sample_rate_hz=rate, format="WAV", subtype="PCM_16", tags={}, force=True)
                if folder != ORIGINAL:
                    draw_pair(partial / f"{name}.png", originals[name], wav, rate, f"{name}: {caption}")


def read_middles(files: list[AudioFile], clip_s: float, sample_rate_hz: int) -> list[np.ndarray]:
    """A clip float32 [N] from the middle of each recording; a shorter recording is taken whole.

    Recordings that are damaged there are left out.
    """
    clips = []
    for file in files:
        seconds = min(clip_s, file.duration_s)
        samples = max(1, round(seconds * sample_rate_hz))
        with contextlib.suppress(DataError):
            clips.append(read_mono_clip(file, (file.duration_s - seconds) / 2, samples, sample_rate_hz))
    return clips


def draw_pair(path: Path, original: np.ndarray, made: np.ndarray, sample_rate_hz: int, title: str) -> None:
    """Draw mel spectrograms of two clips [N] beside each other, in one scale of colours, into a PNG file.

    Raises:
        OutputError: it cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), dpi=100, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    pairs = [mel_decibels(resample(wav[None], sample_rate_hz, PLOT_RATE_HZ)[0]) for wav in (original, made)]
    top = max(decibels.max() for decibels, _ in pairs)

    for axes, (decibels, frequencies), name in zip(panels, pairs, ("original", "round trip"), strict=True):
        extent = (0, len(original) / sample_rate_hz, 0, MEL_BANDS)
        image = axes.imshow(
            decibels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - 80, vmax=top
        )
        axes.set_yticks(*mel_ticks(frequencies))
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("seconds")

    panels[0].set_ylabel("Hz (mel scale)")
    figure.colorbar(image, ax=panels, label="dB", pad=0.01)
    figure.suptitle(printable(title), fontsize=11, parse_math=False)

    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    write_whole(path, picture.getvalue(), force=True)
