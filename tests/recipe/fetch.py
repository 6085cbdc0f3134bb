"""Fetch real recordings from Debian packages and decode them: 32 kHz, mono, FLAC.

    python tests/recipe/fetch.py PACKAGES OUT [--only NAME...]

`sources.py` says which packages and what of each. A package is downloaded into PACKAGES with `apt-get download` unless
it is there, and unpacked into a temporary folder; nothing is installed. OUT gets `train` and `held-out` with
`KIND.SOURCE.NAME.flac`. Files of a few seconds are put one after another, with short rests. Needs `ffmpeg`. Sources
that are there already are left as they are.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).parent))

from sources import SOURCES, Source

RATE_HZ = 32_000
TRACK_S = 180.0
"""Of a long recording at most this much, from its first fifth on: many sources are worth more than long ones."""
JOINED_S = 90.0
"""About how long recordings of short files get."""
LEAST_PEAK = 10 ** (-40 / 20)
"""Files that stay below this are silence."""


def download(package: str, folder: Path) -> Path:
    """The package's file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob(f"{package}_*.deb")):
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
    return next(folder.glob(f"{package}_*.deb"))


def unpack(deb: Path, folder: Path) -> None:
    """Lay the files of a package under `folder`; nothing is installed and no script of it runs."""
    subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], check=True)


def find_files(source: Source, folder: Path) -> list[Path]:
    """The recordings of a source under its unpacked package; those in archives are unpacked beside them."""
    outer, _, inner = source.files.partition("//")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and fnmatch(str(path), outer))
    if not inner:
        return found

    unpacked = []
    for path in found:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if fnmatch(name, inner)]
            place = path.with_name(path.name + ".d")
            unpacked += [Path(archive.extract(name, place)) for name in sorted(names)]
    return unpacked


def decode(path: Path, longest_s: float) -> np.ndarray:
    """float32 [n], at most the middle `longest_s`; empty where nothing finds a sound."""
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        wav = audio.mean(axis=1)
        wav = wav if rate == RATE_HZ else soxr.resample(wav, rate, RATE_HZ).astype(np.float32)
    except (soundfile.SoundFileError, ValueError):
        wav = decode_otherwise(path)
    spare = len(wav) - round(longest_s * RATE_HZ)
    return wav if spare <= 0 else wav[spare // 5 : spare // 5 + round(longest_s * RATE_HZ)]


def decode_otherwise(path: Path) -> np.ndarray:
    """What ffmpeg makes of a file: of G.722, for one."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-ac", "1", "-ar", str(RATE_HZ), "-threads", "1"]
    done = subprocess.run([*command, "-f", "f32le", "-"], capture_output=True, timeout=600, check=False)
    return np.frombuffer(done.stdout[: len(done.stdout) // 4 * 4], dtype=np.float32)


def is_sound(wav: np.ndarray) -> bool:
    """Whether there is something to hear, and no broken sample."""
    return len(wav) > RATE_HZ // 20 and bool(np.isfinite(wav).all()) and bool(np.abs(wav).max() > LEAST_PEAK)


def tracks(source: Source, files: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, float32 [n]) of each file, until the source has given its most."""
    total_s = 0.0
    for path in files:
        wav = decode(path, TRACK_S)
        if total_s < source.most_s and is_sound(wav) and len(wav) > 3 * RATE_HZ:
            total_s += len(wav) / RATE_HZ
            yield path.stem, wav


def joined(source: Source, files: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, float32 [n]) of short files one after another, in an order and with rests drawn from the source's name."""
    rng = np.random.default_rng(zlib.crc32(source.name.encode()))
    parts, total_s, number = list[np.ndarray](), 0.0, 0
    for i in rng.permutation(len(files)):
        if total_s >= source.most_s:
            break
        wav = decode(files[i], 30.0)
        if not is_sound(wav):
            continue
        rest = np.zeros(round(rng.uniform(0.05, 0.5) * RATE_HZ), dtype=np.float32)
        parts += [wav, rest]
        total_s += (len(wav) + len(rest)) / RATE_HZ
        if sum(map(len, parts)) > JOINED_S * RATE_HZ:
            yield f"{number:03d}", np.concatenate(parts)
            parts, number = [], number + 1
    if parts:
        yield f"{number:03d}", np.concatenate(parts)


def write(path: Path, wav: np.ndarray) -> None:
    """16-bit FLAC; louder than full scale is made as loud as that."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wav / max(1.0, float(np.abs(wav).max())), RATE_HZ, subtype="PCM_16", format="FLAC")
    path.write_bytes(buffer.getvalue())


def fetch(package: str, sources: list[Source], packages: Path, output: Path) -> None:
    """Write the recordings of the sources that one package holds, and say how long they last."""
    with tempfile.TemporaryDirectory(dir=output) as place:
        unpack(download(package, packages), Path(place))
        for source in sources:
            folder, total_s = output / ("held-out" if source.held_out else "train"), 0.0
            folder.mkdir(exist_ok=True)
            files = find_files(source, Path(place))
            for name, wav in (joined if source.short else tracks)(source, files):
                write(folder / f"{source.kind}.{source.name}.{name.replace('.', '_')}.flac", wav)
                total_s += len(wav) / RATE_HZ
            (output / "done" / source.name).write_text(str(total_s))
            print(f"{source.name}: {total_s / 60:.1f} min, {source.kind}, {source.licence}", flush=True)


def main() -> None:
    """Fetch what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("packages", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="names of sources")
    given = parser.parse_args()
    (given.output / "done").mkdir(parents=True, exist_ok=True)
    wanted = [source for source in SOURCES if not given.only or source.name in given.only]
    missing = [source for source in wanted if not (given.output / "done" / source.name).exists()]
    for package in dict.fromkeys(source.package for source in missing):
        try:
            fetch(package, [one for one in missing if one.package == package], given.packages, given.output)
        except (subprocess.SubprocessError, OSError, zipfile.BadZipFile) as error:
            print(f"{package}: left out: {error}", flush=True)


if __name__ == "__main__":
    main()
