"""Mix and wear recordings as life does: voices over bands, rooms, phones, tape, clipping, low bit rates.

    python tests/recipe/mixes.py OUT --voices FOLDER... --bands FOLDER... [--count 60] [--held-out]
    python tests/recipe/mixes.py OUT --worn FOLDER... [--count 120]
    python tests/recipe/mixes.py --hours FOLDER...

FOLDERs hold what `fetch.py` and `ensemble.py` wrote, `KIND.SOURCE.NAME.flac`. The first writes songs: recordings of
the kind "speech", half of them moved onto the steps of a scale, over those of the kinds in BANDS. The second writes
worn copies of any. The last prints the hours of each kind. Everything is drawn from the name of what is written,
"mix-0017". Needs `sox` and `ffmpeg`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))

from fetch import RATE_HZ, decode_otherwise, write
from sources import KINDS

EXCERPT_S = 60.0
BANDS = ("band", "plucked", "piano", "electronic")
WEARS = ("room", "phone", "tape", "clip", "mp3", "aac", "equal", "speed")
"""How a recording may be worn: one or two of these at a time."""


def find_recordings(folders: list[Path], kinds: tuple[str, ...] | None = None) -> list[Path]:
    """The recordings of these kinds, of all where None."""
    found = sorted(path for folder in folders for path in folder.rglob("*.flac"))
    return [path for path in found if kinds is None or path.name.split(".")[0] in kinds]


def excerpt(path: Path, rng: np.random.Generator) -> np.ndarray:
    """float32 [n], at most EXCERPT_S from anywhere, of peak 1."""
    frames = soundfile.info(path).frames
    length = min(frames, round(EXCERPT_S * RATE_HZ))
    start = int(rng.integers(0, frames - length + 1))
    wav, _ = soundfile.read(path, dtype="float32", start=start, frames=length)
    return wav / max(float(np.abs(wav).max()), 1e-4)


def effect(wav: np.ndarray, folder: Path, *effects: object) -> np.ndarray:
    """What sox makes of float32 [n]."""
    before, after = folder / "before.wav", folder / "after.wav"
    soundfile.write(before, 0.3 * wav, RATE_HZ, subtype="FLOAT")
    subprocess.run(
        ["sox", "-D", str(before), str(after), *map(str, effects), "rate", str(RATE_HZ)],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    heard, _ = soundfile.read(after, dtype="float32", always_2d=True)
    return heard.mean(axis=1) / 0.3


def through(wav: np.ndarray, folder: Path, suffix: str, *codec: str) -> np.ndarray:
    """What a codec of ffmpeg makes of float32 [n]; a few milliseconds later, perhaps."""
    before, after = folder / "before.wav", folder / f"after.{suffix}"
    soundfile.write(before, 0.7 * wav, RATE_HZ, subtype="FLOAT")
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", str(before), "-threads", "1", *codec, str(after)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return decode_otherwise(after) / 0.7


def wear(wav: np.ndarray, how: str, rng: np.random.Generator, folder: Path) -> np.ndarray:
    """float32 [n] of peak 1, worn in one of WEARS."""
    if how == "room":
        return effect(wav, folder, "reverb", rng.integers(20, 80), 50, rng.integers(10, 100), "remix", "-")
    if how == "phone":
        low, high = rng.uniform(200, 400), rng.uniform(3000, 4500)
        return effect(wav, folder, "highpass", low, "lowpass", "-2", high, "lowpass", "-2", high)
    if how == "tape":
        hiss = 10 ** (rng.uniform(-50, -38) / 20) * rng.standard_normal(len(wav)).astype(np.float32)
        tremolo = rng.uniform(0.3, 4)
        return effect(wav + hiss, folder, "lowpass", rng.uniform(5000, 11000), "tremolo", tremolo, 4, "overdrive", 3, 5)
    if how == "clip":
        level = float(np.quantile(np.abs(wav[:: max(1, len(wav) // 100_000)]), rng.uniform(0.97, 0.999))) + 1e-3
        return np.clip(wav, -level, level) / level
    if how == "mp3":
        return through(wav, folder, "mp3", "-b:a", str(rng.choice(["24k", "32k", "48k", "64k"])))
    if how == "aac":
        return through(wav, folder, "m4a", "-c:a", "aac", "-b:a", str(rng.choice(["24k", "32k", "48k"])))
    if how == "equal":
        bands = [rng.uniform(*span) for span in ((80, 300), (400, 1500), (2000, 8000))]
        return effect(wav, folder, *(a for hz in bands for a in ("equalizer", hz, "1q", rng.uniform(-9, 9))))
    return effect(wav, folder, "speed", rng.uniform(0.85, 1.18))


def song(voice: np.ndarray, band: np.ndarray, rng: np.random.Generator, folder: Path) -> np.ndarray:
    """A voice over a band, float32 [n]: in a room, on steps of a scale for half of the songs, 0 to 9 dB over it."""
    if rng.random() < 0.5:  # phrases of a second or two on steps of a scale, drawn out as singing is
        pieces = np.array_split(voice, max(1, len(voice) // int(1.6 * RATE_HZ)))
        cents = [100 * int(rng.choice([-5, -3, 0, 2, 4, 5, 7])) for _ in pieces]
        slow = rng.uniform(0.7, 0.95)
        voice = np.concatenate([_bend(p, c, slow, folder) for p, c in zip(pieces[:24], cents, strict=False)])
    voice = effect(voice, folder, "reverb", rng.integers(10, 50), 50, rng.integers(20, 90), "remix", "-")
    length = min(len(voice), len(band))
    voice, band = voice[:length], band[:length]
    over_db = rng.uniform(0, 9)
    ratio = float(np.sqrt(np.mean(band**2)) / max(1e-4, float(np.sqrt(np.mean(voice**2)))))
    return voice * ratio * 10 ** (over_db / 20) + band


def _bend(wav: np.ndarray, cents: int, tempo: float, folder: Path) -> np.ndarray:
    return effect(wav, folder, "pitch", cents, "tempo", "-s", tempo)


def write_mix(path: Path, wav: np.ndarray, rng: np.random.Generator) -> None:
    """At a peak of -12 to -1 dB."""
    write(path, wav * (10 ** (rng.uniform(-12, -1) / 20) / max(float(np.abs(wav).max()), 1e-4)))


def hours(folders: list[Path]) -> str:
    """A Markdown table of hours, recordings and sources by kind."""
    seconds, sources, files = (
        defaultdict[str, float](float),
        defaultdict[str, set[str]](set),
        defaultdict[str, int](int),
    )
    for path in find_recordings(folders):
        kind, source, _ = path.name.split(".", 2)
        seconds[kind] += soundfile.info(path).duration
        sources[kind].add(source)
        files[kind] += 1
    lines = ["| kind | what | hours | recordings | sources |", "|---|---|---|---|---|"]
    for kind in sorted(seconds, key=lambda kind: -seconds[kind]):
        lines.append(f"| {kind} | {KINDS[kind]} | {seconds[kind] / 3600:.2f} | {files[kind]} | {len(sources[kind])} |")
    return "\n".join([*lines, f"| all | | {sum(seconds.values()) / 3600:.2f} | {sum(files.values())} | |"])


def main() -> None:
    """Write what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path, nargs="?")
    for option in ("--voices", "--bands", "--worn", "--hours"):
        parser.add_argument(option, type=Path, nargs="+", default=[])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--held-out", action="store_true")
    given = parser.parse_args()
    if given.hours:
        print(hours(given.hours))
        return

    given.output.mkdir(parents=True, exist_ok=True)
    voices, bands = find_recordings(given.voices, ("speech",)), find_recordings(given.bands, BANDS)
    any_kind = find_recordings(given.worn)
    prefix = ("held-out-" if given.held_out else "") + ("worn" if given.worn else "mix")
    for number in range(given.count):
        name = f"{prefix}-{number:04d}"
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            try:
                if given.worn:
                    path = any_kind[int(rng.integers(len(any_kind)))]
                    kind, source, _ = path.name.split(".", 2)
                    wav, source = excerpt(path, rng), source + "-worn"
                    for how in rng.choice(WEARS, size=rng.integers(1, 3), replace=False):
                        wav = wear(wav / max(float(np.abs(wav).max()), 1e-4), str(how), rng, folder)
                else:
                    voice, band = (chosen[int(rng.integers(len(chosen)))] for chosen in (voices, bands))
                    kind, source = "song", f"{voice.name.split('.')[1]}-{band.name.split('.')[1]}"
                    wav = song(excerpt(voice, rng), excerpt(band, rng), rng, folder)
            except (subprocess.SubprocessError, OSError, ValueError) as error:
                print(f"{name}: left out: {error}", flush=True)
                continue
        write_mix(given.output / f"{kind}.{source}.{name}.flac", wav, rng)
        print(kind, source, name, flush=True)


if __name__ == "__main__":
    main()
