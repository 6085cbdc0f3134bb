"""How many codes of held-out clips stay when nothing that is heard changes, told while a codec trains.

The same clips at every step, so that two steps compare. Knows nothing about how the codec is trained.
"""

from __future__ import annotations

import torch

from audiolm_cli.codec.base import Codec
from audiolm_cli.data.files import AudioFile
from audiolm_cli.evaluation.consistency import measure_consistency
from audiolm_cli.events import Activity, Note, OnEvent
from audiolm_cli.training.codec.round_trips import read_middles

CLIPS, CLIP_S = 8, 6.0
SHOWN = {"white noise, SNR 40 dB": "noise", "3 dB quieter": "level", "half a frame later": "delay"}
"""The changes whose shares are told at every step, and their short names."""


class ConsistencyReport:
    """Tells the share of codes that stay, by codebook."""

    def __init__(self, codec: Codec, dev: list[AudioFile], on_event: OnEvent) -> None:
        """Clips from the middle of the first recordings of `dev`."""
        self.codec, self.files, self.on_event = codec, dev[:CLIPS], on_event
        self.shares: dict[str, list[float]] = {}
        """What was measured last, by change."""

    def __call__(self, step: int) -> None:
        """Measure the codec as it now is, after `step` steps."""
        self.on_event(Activity(stage="see which codes stay"))
        clips = read_middles(self.files, CLIP_S, self.codec.sample_rate_hz)
        with torch.no_grad():
            found = measure_consistency(self.codec, [torch.from_numpy(wav) for wav in clips])
        if not found:
            return

        self.shares = {change: [round(share, 3) for share in shares] for change, shares in found.items()}
        told = ", ".join(
            f"{name} {'/'.join(f'{share:.2f}' for share in found[change])}" for change, name in SHOWN.items()
        )
        self.on_event(Note(message=f"step {step}: codes that stay: {told}"))
