"""How many notes can be read from the first codebook of a codec alone: F1 of a linear probe, frame by frame.

    python tests/recipe/heard_notes.py MIDI --font FONT.sf2 --codecs piano OTHER [--pieces 24] [--seconds 45]

Pieces are played by a soundfont's piano, which says when each note sounds. A logistic regression from the vector of
codebook 1 to 88 keys learns on two thirds of the pieces, and is measured on the others; so is one from the sum of all
codebooks' vectors, as the most that can be read. Needs `fluidsynth`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import mido
import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))

from ensemble import HELD_OUT_EVERY, play_font
from render import RATE_HZ, draw, notes_of, read_messages

from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.library.loading import load_codec

LOWEST_KEY, KEYS = 21, 88
STEPS, THRESHOLDS = 400, torch.linspace(0.1, 0.9, 17)


def read_excerpt(piece: Path, seconds: float) -> list[tuple[float, mido.Message]]:
    """The notes and pedals of a piece as it is written, from its first note on, for some seconds."""
    plain = dataclasses.replace(draw(piece.stem), transpose=0, tempo=1.0)
    messages = read_messages(piece, plain)
    first = next(now for now, message in messages if message.type == "note_on")
    return [(now - first, message) for now, message in messages if 0 <= now - first < seconds]


def label_frames(messages: list[tuple[float, mido.Message]], frames: int, frame_rate_hz: float) -> Tensor:
    """Which keys sound in the middle of each frame, [T, 88] of 0 and 1."""
    labels = torch.zeros(frames, KEYS)
    for note in notes_of(messages):
        start, end = (round(moment * frame_rate_hz) for moment in (note.start_s, note.end_s))
        labels[start : max(start + 1, end), note.key - LOWEST_KEY] = 1
    return labels


def embed(codec: SpectralCodec, wav: np.ndarray) -> tuple[Tensor, Tensor]:
    """Vectors of the first codebook and of all of them, [T, D] each."""
    codes = codec.encode(torch.from_numpy(wav)[None, None])[0, :, : codec.config.num_codebooks]
    return codec.network.quantizer.decode(codes[:, :1]), codec.network.quantizer.decode(codes)


def measure_f1(vectors: list[Tensor], labels: list[Tensor]) -> float:
    """F1 of keys and frames together, on the last third of the pieces, of a probe that learned on the others."""
    train = len(vectors) * 2 // 3
    x, y = torch.cat(vectors[:train]), torch.cat(labels[:train])
    mean, deviation = x.mean(0), x.std(0).clamp(min=1e-4)
    torch.manual_seed(0)
    probe = nn.Linear(x.shape[1], KEYS)
    optimizer = torch.optim.Adam(probe.parameters(), lr=0.03)
    for step in range(STEPS):
        chosen = torch.randint(len(x), (2048,))
        loss = F.binary_cross_entropy_with_logits(probe((x[chosen] - mean) / deviation), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / STEPS)

    with torch.no_grad():
        threshold = max(THRESHOLDS, key=lambda t: _f1(probe((x - mean) / deviation).sigmoid() > t, y))
        unseen = (torch.cat(vectors[train:]) - mean) / deviation
        return _f1(probe(unseen).sigmoid() > threshold, torch.cat(labels[train:]))


def _f1(found: Tensor, true: Tensor) -> float:
    hits = float((found * true).sum())
    return 2 * hits / max(1.0, float(found.sum() + true.sum()))


def main() -> None:
    """Print one line for each codec."""
    parser = argparse.ArgumentParser()
    parser.add_argument("midi", type=Path)
    parser.add_argument("--font", type=Path, required=True)
    parser.add_argument("--codecs", nargs="+", default=["piano"])
    parser.add_argument("--pieces", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=45.0)
    given = parser.parse_args()
    torch.set_num_threads(1)

    played: list[tuple[np.ndarray, list[tuple[float, mido.Message]]]] = []
    for piece in sorted(given.midi.rglob("*.mid"))[::HELD_OUT_EVERY][: given.pieces]:
        messages = read_excerpt(piece, given.seconds)
        with tempfile.TemporaryDirectory() as folder:
            play_font(messages, given.font, Path(folder) / "raw.wav", Path(folder))
            wav, _ = soundfile.read(Path(folder) / "raw.wav", dtype="float32")
        mono = (wav if wav.ndim == 1 else wav.mean(1))[: round(given.seconds * RATE_HZ)]
        played.append((mono * (0.5 / max(float(np.abs(mono).max()), 1e-6)), messages))

    print("| codec | codebook 1 alone | all codebooks |\n|---|---|---|")
    for name in given.codecs:
        codec = load_codec(name)
        assert isinstance(codec, SpectralCodec), name
        embedded = [embed(codec, wav) for wav, _ in played]
        labels = [
            label_frames(messages, len(first), codec.frame_rate_hz)
            for (first, _), (_, messages) in zip(embedded, played, strict=True)
        ]
        scores = (measure_f1([pair[i] for pair in embedded], labels) for i in range(2))
        print(f"| {Path(name).name} | " + " | ".join(f"{score:.3f}" for score in scores) + " |", flush=True)


if __name__ == "__main__":
    main()
