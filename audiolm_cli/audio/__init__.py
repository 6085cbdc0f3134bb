"""Recordings in and out: files, their exact samples, their rates and their channels.

Knows nothing about codecs, models or torch.
"""

from audiolm_cli.audio.decoding import holds_several
from audiolm_cli.audio.growing import check_growing, grown_seconds, write_growing
from audiolm_cli.audio.layout import Layout
from audiolm_cli.audio.losses import Loss, find_losses
from audiolm_cli.audio.mel import mel_filters
from audiolm_cli.audio.process import DecoderProcess
from audiolm_cli.audio.reading import read_audio
from audiolm_cli.audio.recording import Recording, to_native
from audiolm_cli.audio.scanning import Downmix, Scan, find_sounding, scan
from audiolm_cli.audio.signals import balance, mid, resample
from audiolm_cli.audio.stereo_image import StereoImage, measure_image
from audiolm_cli.audio.streaming import AudioStream, open_stream, resample_blocks
from audiolm_cli.audio.writing import (
    AudioSpec,
    named_format,
    output_format,
    write_audio,
    write_blocks,
)

__all__ = [
    "AudioSpec",
    "AudioStream",
    "DecoderProcess",
    "Downmix",
    "Layout",
    "Loss",
    "Recording",
    "Scan",
    "StereoImage",
    "balance",
    "check_growing",
    "find_losses",
    "find_sounding",
    "grown_seconds",
    "holds_several",
    "measure_image",
    "mel_filters",
    "mid",
    "named_format",
    "open_stream",
    "output_format",
    "read_audio",
    "resample",
    "resample_blocks",
    "scan",
    "to_native",
    "write_audio",
    "write_blocks",
    "write_growing",
]
