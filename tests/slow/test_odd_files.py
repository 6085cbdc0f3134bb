"""Many more of the files that were once read wrong: codecs x depths x containers, joined files, tags, what is cut off.

What is not installed here (ffmpeg, sox, one of their encoders) makes fewer of them.
"""

from __future__ import annotations

import itertools
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import read_audio, scan
from audiolm_cli.errors import AudioInputError

pytestmark = pytest.mark.slow

RATE_HZ = 48_000
FEWEST = 10
"""So many inputs of each kind, or the test shows too little."""
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="ffmpeg is not installed"
)
needs_sox = pytest.mark.skipif(
    shutil.which("sox") is None or shutil.which("ffmpeg") is None, reason="sox is not installed"
)

CODECS = {
    "pcm_u8": ("PCM_U8", ("mkv", "avi", "nut")),
    "pcm_s16le": ("PCM_16", ("mkv", "mov", "avi", "nut")),
    "pcm_s24le": ("PCM_24", ("mka", "mov", "avi", "nut")),
    "pcm_s24be": ("PCM_24", ("mkv", "mov", "nut")),
    "pcm_s32le": ("PCM_32", ("mkv", "mov", "avi", "nut")),
    "pcm_f32le": ("FLOAT", ("mkv", "mov", "avi", "nut")),
    "pcm_f64le": ("DOUBLE", ("mkv", "mov", "avi", "nut")),
    "alac -sample_fmt s16p": ("PCM_16", ("m4a", "mov", "mkv", "caf")),
    "alac -sample_fmt s32p": ("PCM_24", ("m4a", "mov", "mkv", "caf")),
    "flac -sample_fmt s16": ("PCM_16", ("mkv", "mp4", "oga", "nut")),
    "flac -sample_fmt s32": ("PCM_24", ("mkv", "mp4", "oga", "nut")),
    "wavpack -sample_fmt u8p": ("PCM_U8", ("wv",)),
    "wavpack -sample_fmt s16p": ("PCM_16", ("wv", "mkv")),
    "wavpack -sample_fmt s32p": ("PCM_32", ("wv", "mkv")),
    "wavpack -sample_fmt fltp": ("FLOAT", ("wv", "mkv")),
    "tta -sample_fmt s16": ("PCM_16", ("tta", "mkv")),
    "tta -sample_fmt s32": ("PCM_24", ("tta", "mkv")),
    "truehd -strict -2": ("PCM_24", ("thd",)),
}
"""Lossless codecs of ffmpeg, with the subtype that they hold, and containers for them."""
SOX = {
    **{f"{kind} -b 16": "PCM_16" for kind in ("sph", "ircam", "wv", "aifc", "avr", "sox", "maud")},
    **{f"{kind} -b 24": "PCM_24" for kind in ("sph", "wv", "caf", "aiff", "au", "paf", "w64")},
    **{f"{kind} -b 32": "PCM_32" for kind in ("w64", "sph", "caf", "sox")},
}
"""Formats of sox, with the subtype that they hold."""
ODD = {
    "wav": (
        *("g722", "g726 -b:a 32k -ar 8000 -ac 1", "adpcm_yamaha", "adpcm_ima_wav", "adpcm_ms", "aac", "ac3", "eac3"),
        *("mp2", "libmp3lame", "wmav1", "wmav2", "flac", "pcm_s64le", "pcm_alaw", "dca -strict -2"),
    ),
    "caf": ("alac", "libopus", "adpcm_ima_qt", "aac", "ac3", "pcm_s8", "pcm_mulaw", "libmp3lame", "g722"),
    "oga": ("flac", "libspeex -ar 16000", "libvorbis", "libopus"),
    "w64": ("g722", "ac3", "aac", "libmp3lame", "adpcm_ms"),
    "aiff": ("adpcm_ima_qt", "pcm_alaw", "pcm_f32be", "pcm_s32be", "libgsm -ar 8000 -ac 1"),
    "au": ("adpcm_g726le -ar 8000 -ac 1 -b:a 32k", "pcm_mulaw", "pcm_f64be", "pcm_s24be"),
    "aac": ("aac -write_id3v2 1 -metadata title=x",),
    "mp3": ("libmp3lame -write_xing 0", "libmp3lame -q:a 9", "libmp3lame -id3v2_version 4 -metadata title=x"),
}
"""Codecs that ffmpeg may put into containers that libsndfile knows."""


def make(folder: Path, subtype: str, seed: int, seconds: float = 0.4) -> Path:
    """A WAV of noise that uses every bit, in stereo."""
    loudest = 2 if subtype in ("FLOAT", "DOUBLE") else 0.9
    samples = np.random.default_rng(seed).uniform(-loudest, loudest, (round(seconds * RATE_HZ), 2))
    soundfile.write(folder / f"{subtype}-{seed}.wav", samples, RATE_HZ, subtype)
    return folder / f"{subtype}-{seed}.wav"


def convert(source: Path, target: Path, options: str) -> bool:
    """Let ffmpeg make a file; whether it could, and reads it itself."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source), "-c:a", *options.split(), str(target)]
    if subprocess.run(command, check=False, capture_output=True, timeout=60).returncode or not target.stat().st_size:
        return False
    return bool(count_samples(target))


def count_samples(path: Path) -> int:
    """Samples per channel that ffmpeg reads; 0 where it fails."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-map", "0:a:0", "-ac", "1", "-f", "u8", "-"]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    return 0 if done.returncode else len(done.stdout)


def samples_of(path: Path) -> np.ndarray:
    """The samples of a WAV, in the type that a recording has them in."""
    kinds = {"FLOAT": "float32", "DOUBLE": "float64"}
    return soundfile.read(path, dtype=kinds.get(soundfile.info(path).subtype, "int32"), always_2d=True)[0]


@needs_ffmpeg
def test_every_bit_through_ffmpeg(tmp_path: Path) -> None:
    """Each lossless codec in each container."""
    wrong, made = [], 0
    for seed, (codec, (subtype, suffixes)) in enumerate(CODECS.items()):
        source = make(tmp_path, subtype, seed)
        for suffix in suffixes:
            target = tmp_path / f"x.{suffix}"
            if not convert(source, target, codec):
                continue
            made += 1
            got, wanted = read_audio(target), samples_of(source)
            same = len(wanted) <= len(got.samples) < len(wanted) + 4096  # blocks of ALAC in a CAF are filled up
            if not same or got.subtype != subtype or (got.samples[: len(wanted)] != wanted).any():
                wrong.append((codec, suffix, got.subtype, got.samples.shape))
    assert not wrong
    assert made >= 4 * FEWEST


@needs_sox
def test_every_bit_from_sox(tmp_path: Path) -> None:
    wrong, made = [], 0
    for seed, (kind, subtype) in enumerate(SOX.items()):
        source, (suffix, *options) = make(tmp_path, subtype, seed), kind.split()
        target = tmp_path / f"x.{suffix}"
        command = ["sox", "-D", "-R", str(source), *options, str(target)]
        if subprocess.run(command, check=False, capture_output=True, timeout=60).returncode:
            continue
        if not sniffed_by_libsndfile(target) and not count_samples(target):
            continue
        made += 1
        got, wanted = read_audio(target), samples_of(source)
        if got.samples.dtype != wanted.dtype or len(got.samples) < len(wanted):
            wrong.append((kind, got.subtype, got.samples.shape))
        elif (got.samples[: len(wanted)] != wanted).any():
            wrong.append((kind, got.subtype, "samples"))
    assert not wrong
    assert made >= FEWEST


def sniffed_by_libsndfile(path: Path) -> bool:
    """Whether libsndfile reads a file."""
    try:
        soundfile.info(str(path))
    except soundfile.LibsndfileError:
        return False
    return True


@needs_ffmpeg
def test_what_ffmpeg_reads_is_read(tmp_path: Path) -> None:
    """Odd codecs in known containers, at the length that ffmpeg finds."""
    source, wrong, made = make(tmp_path, "PCM_16", 0, seconds=1), [], 0
    for suffix, codecs in ODD.items():
        for codec in codecs:
            target = tmp_path / f"x.{suffix}"
            target.unlink(missing_ok=True)
            if not convert(source, target, codec):
                continue
            made += 1
            try:
                got = read_audio(target)
            except AudioInputError as error:
                wrong.append((suffix, codec, str(error)))
                continue
            if abs(got.num_samples - count_samples(target)) > 3000 or got.num_samples != scan(target, 1).num_samples:
                wrong.append((suffix, codec, f"{got.num_samples} samples"))
    assert not wrong
    assert made >= 2 * FEWEST


JOINED = [*itertools.product(("OGG",), ("VORBIS", "OPUS")), *itertools.product(("FLAC",), ("PCM_16", "PCM_24"))]
JOINED += list(itertools.product(("WAV", "RF64", "W64", "AIFF", "CAF", "AU"), ("PCM_16", "PCM_24", "FLOAT")))


@pytest.mark.parametrize("seed", range(3))
def test_joined_files_are_read_to_their_end(tmp_path: Path, seed: int) -> None:
    """Two to five recordings of any lengths, with a tag behind some; and with another rate, none."""
    rng, wrong = random.Random(seed), []
    for format, subtype in JOINED:
        parts = []
        for number in range(rng.randint(2, 5)):
            path = tmp_path / f"{number}"
            noise = np.random.default_rng(rng.randrange(2**32)).uniform(-0.5, 0.5, (rng.randint(3000, 30_000), 2))
            soundfile.write(path, noise, RATE_HZ, subtype, format=format)
            parts.append((path.read_bytes(), read_audio(path).samples))

        # Behind the last, and for pages of Ogg, which are found again, behind any.
        tags = [rng.choice((b"", b"TAG" + bytes(125))) if format == "OGG" else b"" for _ in parts]
        (tmp_path / "all").write_bytes(b"".join(data + tag for (data, _), tag in zip(parts, tags, strict=True)))
        got = read_audio(tmp_path / "all").samples
        wanted = np.concatenate([samples for _, samples in parts])
        if got.shape != wanted.shape or (got != wanted).any():
            wrong.append((format, subtype, got.shape, wanted.shape))

        soundfile.write(tmp_path / "other", noise, 24_000, subtype, format=format)
        (tmp_path / "all").write_bytes(parts[0][0] + (tmp_path / "other").read_bytes())
        with pytest.raises(AudioInputError, match=r"at 24000 Hz where the first has .* at 48000 Hz"):
            read_audio(tmp_path / "all")
    assert not wrong


def tails(rng: random.Random) -> Iterator[bytes]:
    """Tags, zeros and lyrics, one to three behind one another."""
    for _ in range(6):
        size = rng.choice((10, 700, 5000, 90_000))
        ape = struct.pack("<8s4I8x", b"APETAGEX", 2000, size + 32, 1, 1 << 31) + rng.randbytes(size)
        ape += struct.pack("<8s4I8x", b"APETAGEX", 2000, size + 32, 1, 1 << 31)
        lyrics = b"LYRICSBEGIN" + b"LYR%05d" % size + b"a" * size
        lyrics += b"%06dLYRICS200" % len(lyrics)
        choices = [ape, lyrics, bytes(size), b"TAG" + rng.randbytes(125)]
        yield b"".join(rng.sample(choices, rng.randint(1, 3)))


TAILED = [*itertools.product(("FLAC",), ("PCM_16", "PCM_24")), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")]
TAILED += list(itertools.product(("WAV", "W64", "AIFF", "CAF", "AU", "RF64"), ("PCM_16", "FLOAT")))


@pytest.mark.parametrize("seed", range(3))
def test_foreign_bytes_change_nothing(tmp_path: Path, seed: int) -> None:
    """And a file that is cut off in front of them is found out, where it says how long it is."""
    rng, wrong, path = random.Random(seed), [], tmp_path / "a"
    for format, subtype in TAILED:
        soundfile.write(
            path, 0.3 * np.sin(np.arange(rng.randint(50_000, 90_000)) / 30), RATE_HZ, subtype, format=format
        )
        data, wanted = path.read_bytes(), read_audio(path).samples
        for tail in tails(rng):
            path.write_bytes(data + tail)
            got = read_audio(path).samples
            if got.shape != wanted.shape or (got != wanted).any():
                wrong.append((format, subtype, tail[:12], got.shape, wanted.shape))

            if format not in ("OGG", "MP3") and len(tail) < len(data) // 3:
                path.write_bytes(data[: rng.randint(len(data) // 3, len(data) // 2)] + tail)
                with pytest.raises(AudioInputError, match=r"truncated|damaged|expected numbers"):  # tags read as floats
                    read_audio(path)
    assert not wrong
