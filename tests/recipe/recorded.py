"""Copies of clean renders that sound recorded: rooms, microphones, levels that change, noise, worn media.

    python tests/recipe/recorded.py FOLDER OUT [--copies 2] [--part 0/2]

A stage between `render.py` and `audiolm tokenize`, for models that are to go on from people's recordings: renders are
clean, of one level, and of the full bandwidth, and recordings are not. Every copy is drawn from its own name, as
renders are, so any part can be made anywhere and again. Needs `sox`. Files there already are left as they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import re
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))

from mixes import effect
from render import RATE_HZ

from audiolm_cli.audio.wear import MP3_LEVELS, add_noise, pass_through_mp3

RECORDED = "_recorded"
"""What the name of a copy ends in; behind it, further copies have a number from 2 on."""


def render_of(name: str) -> str:
    """The name of the render that a recording of this name is a copy of; its own where it is none."""
    return re.sub(rf"{RECORDED}\d*$", "", name)


@dataclass(frozen=True, kw_only=True)
class Making:
    """How one copy was recorded; each property is None or empty where it does nothing."""

    cents: float | None
    """Played faster or slower by this, pitch and tempo."""
    room: tuple[float, float] | None
    """Reverberance and size, both 0 to 100, of sox."""
    echo: tuple[float, float] | None
    """Delay in milliseconds and gain of a second path to the microphone: a comb."""
    bands: list[tuple[float, float]]
    """Frequency and dB of peaks of an octave."""
    lowest_hz: float | None
    highest_hz: float | None
    swells: tuple[float, float] | None
    """Seconds between the knots of a curve of the level, and the deviation of the knots in dB."""
    ratio: float | None
    """Of a compressor: how many dB of the level become one."""
    noise: tuple[float, float] | None
    """Signal-to-noise ratio in dB, and slope of its spectrum as `add_noise` has it."""
    hum: tuple[float, float] | None
    """Mains frequency in Hz, and level below the signal in dB."""
    clicks: tuple[float, float] | None
    """Clicks per second, and their peak below that of the signal in dB."""
    mp3_kbps: int | None


def draw_making(name: str) -> Making:
    """The making of the copy with this name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))

    def sometimes(share: float) -> bool:
        return bool(rng.random() < share)

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    bands = [(between(*span), between(-8, 8)) for span in ((80, 350), (400, 1500), (2000, 8000))]
    return Making(
        cents=between(-250, 250) if sometimes(0.5) else None,
        room=(between(10, 70), between(20, 100)) if sometimes(0.4) else None,
        echo=(between(1, 15), between(0.15, 0.6)) if sometimes(0.3) else None,
        bands=bands if sometimes(0.7) else [],
        lowest_hz=between(30, 180) if sometimes(0.3) else None,
        highest_hz=between(4500, 14_000) if sometimes(0.4) else None,
        swells=(between(2, 10), between(1, 5)) if sometimes(0.4) else None,
        ratio=between(1.3, 3) if sometimes(0.4) else None,
        noise=(between(28, 65), between(0, 1.5)) if sometimes(0.7) else None,
        hum=(float(rng.choice([50, 60])), between(35, 60)) if sometimes(0.1) else None,
        clicks=(between(1, 15), between(5, 25)) if sometimes(0.1) else None,
        mp3_kbps=int(rng.choice(list(MP3_LEVELS))) if sometimes(0.2) else None,
    )


def record(wav: np.ndarray, making: Making, rng: np.random.Generator, folder: Path) -> np.ndarray:
    """float32 [n] as it was recorded, of peak 0.7; the instrument first, then the room, the microphone, the medium."""
    effects: list[object] = [] if making.cents is None else ["speed", f"{making.cents:.1f}c"]
    if making.room is not None:
        effects += ["reverb", f"{making.room[0]:.0f}", "50", f"{making.room[1]:.0f}", "remix", "-"]
    for hz, decibels in making.bands:
        effects += ["equalizer", f"{hz:.0f}", "1o", f"{decibels:.1f}"]
    if making.lowest_hz is not None:
        effects += ["highpass", f"{making.lowest_hz:.0f}"]
    if making.highest_hz is not None:
        effects += ["lowpass", f"{making.highest_hz:.0f}", "lowpass", f"{making.highest_hz:.0f}"]
    wav = effect(wav, folder, *effects).astype(np.float32)

    if making.echo is not None:
        delay = round(making.echo[0] * RATE_HZ / 1000)
        wav[delay:] += making.echo[1] * wav[:-delay].copy()
    if making.swells is not None:
        wav *= draw_swells(len(wav), *making.swells, rng)
    if making.ratio is not None:
        wav = compress(wav, making.ratio)

    wav /= max(float(np.abs(wav).max()), 1e-4)
    if making.noise is not None:
        wav = add_noise(wav, RATE_HZ, rng, *making.noise)
    if making.hum is not None:
        wav += draw_hum(len(wav), making.hum[0], rng) * (wav.std() * 10 ** (-making.hum[1] / 20))
    if making.clicks is not None:
        wav += draw_clicks(len(wav), making.clicks[0], rng) * 10 ** (-making.clicks[1] / 20)
    if making.mp3_kbps is not None:
        wav = pass_through_mp3(0.7 * wav, RATE_HZ, making.mp3_kbps)
    return (0.7 * wav / np.abs(wav).max()).astype(np.float32)


def draw_swells(length: int, every_s: float, deviation_db: float, rng: np.random.Generator) -> np.ndarray:
    """Gains float32 [length] of a level that moves smoothly from knot to knot."""
    knots = np.arange(int(length / RATE_HZ / every_s) + 3) * every_s * RATE_HZ
    decibels = rng.normal(0, deviation_db, len(knots))
    steps = np.arange(0, length + 640, 640)  # a smooth curve needs no finer grid
    at = np.searchsorted(knots, steps, side="right") - 1
    share = 0.5 - 0.5 * np.cos(np.pi * (steps - knots[at]) / (knots[1] - knots[0]))
    curve = decibels[at] * (1 - share) + decibels[at + 1] * share
    gains: np.ndarray = 10 ** (np.interp(np.arange(length), steps, curve) / 20)
    return gains.astype(np.float32)


def compress(wav: np.ndarray, ratio: float) -> np.ndarray:
    """wav float32 [n] whose level over a fifth of a second moves by 1 dB where it moved by `ratio`; no quiet below
    -40 dB is raised further."""
    window = RATE_HZ // 5
    sums = np.cumsum(np.concatenate([np.zeros(1), np.pad(wav.astype(np.float64) ** 2, window // 2)]))
    levels = np.sqrt((sums[window:] - sums[:-window])[: len(wav)].clip(0) / window)
    levels = np.maximum(levels / levels.max(), 0.01)
    return (wav * levels ** (1 / ratio - 1)).astype(np.float32)


def draw_hum(length: int, mains_hz: float, rng: np.random.Generator) -> np.ndarray:
    """float32 [length] of RMS 1: the mains and its harmonics, of falling level."""
    seconds = np.arange(length) / RATE_HZ
    tones = [rng.uniform(0.3, 1) / n * np.sin(2 * np.pi * (n * mains_hz * seconds + rng.random())) for n in range(1, 8)]
    hum = np.sum(tones, axis=0)
    return (hum / hum.std()).astype(np.float32)


def draw_clicks(length: int, per_second: float, rng: np.random.Generator) -> np.ndarray:
    """float32 [length] of peak 1: clicks of a fraction of a millisecond, most of them soft."""
    clicks = np.zeros(length, np.float32)
    count = int(rng.poisson(per_second * length / RATE_HZ))
    clicks[rng.integers(0, length, count)] = rng.choice([-1, 1], count) * rng.random(count) ** 3
    heard = np.convolve(clicks, np.exp(-np.arange(16) / 4), mode="full")[:length]
    return (heard / max(float(np.abs(heard).max()), 1e-4)).astype(np.float32)


def main() -> None:
    """Write what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("renders", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--copies", type=int, default=1, help="of each render")
    parser.add_argument("--part", default="0/1", help="I/N: every N-th file from the I-th")
    given = parser.parse_args()
    index, parts = map(int, given.part.split("/"))
    given.output.mkdir(parents=True, exist_ok=True)

    endings = [RECORDED, *(f"{RECORDED}{number}" for number in range(2, given.copies + 1))]
    renders = sorted(given.renders.glob("*.wav"))[index::parts]
    for path, ending in itertools.product(renders, endings):
        target = given.output / f"{path.stem}{ending}.wav"
        if target.exists():
            continue
        making = draw_making(target.stem)
        wav, rate_hz = soundfile.read(path, dtype="float32")
        assert rate_hz == RATE_HZ and wav.ndim == 1, f"{path}: expected a render, {RATE_HZ} Hz mono"
        with tempfile.TemporaryDirectory() as folder:
            try:
                heard = record(wav, making, np.random.default_rng(zlib.crc32(target.stem.encode())), Path(folder))
            except (subprocess.SubprocessError, OSError) as error:
                print(f"{path.name}: left out: {error}", flush=True)
                continue
        part = target.with_suffix(".part")
        soundfile.write(part, heard, RATE_HZ, subtype="PCM_16", format="WAV")
        part.replace(target)
        print(target.name, *dataclasses.astuple(making), flush=True)


if __name__ == "__main__":
    main()
