"""Sounds, spectrograms and colours of HTML pages, each of which is one file that needs no other.

Knows nothing about what a page is for.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import soundfile

from audiolm_cli.audio import resample
from audiolm_cli.editing.picture import PLOT_RATE_HZ, mel_decibels
from audiolm_cli.errors import UsageError
from audiolm_cli.files import check_target
from audiolm_cli.stopping import uninterrupted

SHOWN_DB = 80
"""Depth of the spectrograms under the loudest point that they are drawn for."""

PALETTE = """
:root { color-scheme: light dark; --ink: #1c2733; --back: #fff; --muted: #5f6670; --line: #e4e7eb; --wave: #4e79a7;
  --new: #f28e2b; --code: #f4f5f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e7ec; --back: #14181d; --muted: #98a1ad; --line: #2c333c;
  --wave: #8db4dd; --new: #ffb066; --code: #20262e; } }
"""
"""The colours of every page, in the light and in the dark."""


def check_page(path: Path, force: bool, flag: str) -> None:
    """Raise now what writing a page would raise after long work.

    Args:
        path: the page.
        force: replace an existing file.
        flag: the option that asked for it.

    Raises:
        UsageError: the name does not end in `.html`.
        OutputError: it exists and `force` is false, or its folder is missing or unwritable.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{flag} {path}: the page is an HTML file; give a name that ends in .html")
    check_target(path, force)


def data_url(kind: str, content: bytes) -> str:
    """A URL that holds the content, of MIME type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def encode_flac(wav: np.ndarray, sample_rate_hz: int) -> bytes:
    """Audio [n] or [n, C] as a 16-bit FLAC file."""
    file = io.BytesIO()
    with uninterrupted():  # libsndfile calls the file back
        soundfile.write(file, wav, sample_rate_hz, "PCM_16", format="FLAC")
    return file.getvalue()


def take_spectrogram(wav: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Mel spectrogram [bands, frames] in dB of audio [n]."""
    return mel_decibels(resample(wav[None], sample_rate_hz, PLOT_RATE_HZ)[0])[0]


def encode_spectrogram(decibels: np.ndarray, loudest_db: float) -> bytes:
    """A spectrogram as a PNG, one pixel per band and frame, `loudest_db` the brightest."""
    from matplotlib.image import imsave

    picture = io.BytesIO()
    imsave(picture, decibels, vmin=loudest_db - SHOWN_DB, vmax=loudest_db, cmap="magma", origin="lower", format="png")
    return picture.getvalue()
