"""Pictures of recordings: waveform and mel spectrogram, generated stretches shaded. Knows nothing about models."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiolm_cli.audio import Recording, mel_filters, mid, resample
from audiolm_cli.errors import UsageError
from audiolm_cli.files import write_whole
from audiolm_cli.wording import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

PLOT_RATE_HZ = 32000
"""Rate at which spectrograms are taken."""
MEL_BANDS = 128
"""Rows of a spectrogram."""
QUIETEST = 1e-3
"""Waveforms are drawn as high as they are, but for silence: -60 dB of full scale."""
SHADE = "#f28e2b"
"""Colour of what was generated."""


def check_picture(path: str | Path) -> None:
    """Raise now what `plot_recording` to this path would raise after long work.

    Raises:
        UsageError: the name does not end in `.png`.
    """
    if Path(path).suffix.lower() != ".png":
        raise UsageError(f"--plot {path}: pictures are PNG files; give a name that ends in .png")


def plot_recording(
    path: Path,
    recording: Recording,
    generated: list[tuple[float, float]],
    title: str,
    *,
    original: Recording | None = None,
    force: bool,
) -> None:
    """Draw a recording into a PNG file.

    Args:
        path: the picture.
        recording: what was made.
        generated: stretches in seconds, which are shaded.
        title: above it.
        original: what it was made of, where nothing of that is left in it; drawn above it.
        force: overwrite an existing picture.

    Raises:
        OutputError: the file exists and `force` is false, or it cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    drawn = [recording] if original is None else [original, recording]
    figure = Figure(figsize=(12, 6 * len(drawn)), dpi=110, layout="constrained")
    panels = figure.subplots(2 * len(drawn), 1, sharex=True, height_ratios=[1, 2] * len(drawn))
    for number, own in enumerate(drawn):
        above, below = panels[2 * number : 2 * number + 2]
        mono = mid(own.wav())
        _draw_waveform(above, mono, own.sample_rate_hz)
        if own is recording:
            _shade(above, below, generated)
        image = _draw_spectrogram(below, mono, own.sample_rate_hz)
        figure.colorbar(image, ax=below, label="dB", pad=0.01)
        above.set_title("the original" if own is original else printable(title), parse_math=False)

    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in letters that the font lacks
        figure.savefig(picture, format="png", metadata={"Software": None})
    write_whole(path, picture.getvalue(), force=force)


def _shade(above: Axes, below: Axes, generated: list[tuple[float, float]]) -> None:
    """Mark what was generated in both panels, and say once what the mark means."""
    for number, (start, end) in enumerate(generated):
        label = None if number else "generated"
        above.axvspan(start, end, color=SHADE, alpha=0.25, linewidth=0, label=label)
        for edge in (start, end):
            below.axvline(edge, color=SHADE, linewidth=1.2)
    if generated:
        above.legend(loc="upper right", fontsize="small")


def _draw_waveform(axes: Axes, mono: np.ndarray, sample_rate_hz: int) -> None:
    time_s = np.arange(len(mono)) / sample_rate_hz
    step = max(1, len(mono) // 20000)  # more points than pixels only take time
    axes.plot(time_s[::step], mono[::step], linewidth=0.4, color="#4e79a7")
    highest = 1.05 * max(float(np.abs(mono).max(initial=0)), QUIETEST)
    axes.set_ylim(-highest, highest)
    axes.set_ylabel("amplitude")


def _draw_spectrogram(axes: Axes, mono: np.ndarray, sample_rate_hz: int) -> AxesImage:
    """A mel spectrogram over the seconds of audio [n]; returns what a colour bar needs."""
    decibels, frequencies = mel_decibels(resample(mono[None], sample_rate_hz, PLOT_RATE_HZ)[0])
    duration = max(len(mono) / sample_rate_hz, 1 / PLOT_RATE_HZ)  # an axis needs some length
    image = axes.imshow(decibels, origin="lower", aspect="auto", extent=(0, duration, 0, MEL_BANDS), cmap="magma")
    axes.set_yticks(*mel_ticks(frequencies))
    axes.set_ylabel("Hz (mel scale)")
    axes.set_xlabel("seconds")
    axes.set_xlim(0, duration)
    return image


def mel_ticks(frequencies: np.ndarray) -> tuple[list[float], list[str]]:
    """Where to write which frequencies beside bands with these centres in Hz."""
    ticks = [100, 250, 500, 1000, 2000, 4000, 8000, 16000]
    return [float(np.interp(f, frequencies, np.arange(MEL_BANDS))) for f in ticks], [str(f) for f in ticks]


def mel_decibels(mono: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mel spectrogram [bands, frames] in dB of mono audio [n] at 32 kHz, 80 dB deep, and the bands' centres in Hz."""
    import torch

    window = torch.hann_window(2048)
    columns = torch.stft(
        torch.from_numpy(mono).float(), 2048, 640, window=window, return_complex=True, pad_mode="constant"
    )

    bank = torch.from_numpy(mel_filters(2048, MEL_BANDS, PLOT_RATE_HZ, low_hz=30.0, unit_area=True))  # [bins, bands]
    mel = (bank.T @ columns.abs()).clamp(min=1e-8)
    decibels = 20 * mel.log10()

    points = torch.linspace(0, PLOT_RATE_HZ / 2, 1025)
    centres = (bank * points[:, None]).sum(0) / bank.sum(0).clamp(min=1e-12)
    return decibels.clamp(min=decibels.max().item() - 80).numpy(), centres.numpy()
