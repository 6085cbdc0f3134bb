"""What only ffmpeg reads: the samples of its codec, exact where the codec is, and nothing lost without a word."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from mutagen.mp4 import MP4, MP4FreeForm

from audiolm_cli.audio import decoding, output_format, read_audio, scan
from audiolm_cli.audio.layout import DEFAULTS
from audiolm_cli.audio.pyav import has_pyav
from audiolm_cli.errors import AudioInputError

RATE_HZ = 48_000
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="makes its input with ffmpeg"
)
TYPES = {"PCM_U8": "int32", "PCM_16": "int32", "PCM_24": "int32", "PCM_32": "int32", "FLOAT": "f4", "DOUBLE": "f8"}
Piano = Callable[..., np.ndarray]


@pytest.fixture(autouse=True, params=["program", "libraries"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test asks the program, and then its libraries, as where there is no program."""
    if request.param == "libraries":
        if not has_pyav():
            pytest.skip("asks PyAV")
        monkeypatch.setattr(decoding, "has_ffmpeg", lambda: False)
    return str(request.param)


def convert(source: Path, target: Path, *options: str) -> Path:
    """Let ffmpeg make a file."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True, timeout=60)
    return target


def noise(folder: Path, subtype: str, *, seconds: float = 0.5, seed: int = 0, channels: int = 2) -> Path:
    """A WAV of noise that uses all bits of a subtype; float goes beyond full scale."""
    path = folder / f"noise-{subtype}-{seed}.wav"
    loudest = 3 if subtype in ("FLOAT", "DOUBLE") else 0.9
    samples = np.random.default_rng(seed).uniform(-loudest, loudest, (round(seconds * RATE_HZ), channels))
    soundfile.write(path, samples, RATE_HZ, subtype)
    return path


def read(path: Path, dtype: str = "int32") -> np.ndarray:
    """The samples of a WAV, as libsndfile gives them."""
    kinds = {"f4": "float32", "f8": "float64"}
    return soundfile.read(path, dtype=kinds.get(dtype, dtype), always_2d=True)[0]


def as_bw64(path: Path) -> bytes:
    """A 24-bit stereo WAV as a BW64, which is what an RF64 is called where the samples come with their positions."""
    data = path.read_bytes().partition(b"data")[2][4:]
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE_HZ, 6 * RATE_HZ, 6, 24)
    size = struct.pack("<4sIQQQI", b"ds64", 28, len(data) + 80, len(data), len(data) // 6, 0)
    return b"BW64" + b"\xff" * 4 + b"WAVE" + size + form + b"data" + b"\xff" * 4 + data


def checksum(data: bytes, bits: int, polynomial: int) -> bytes:
    """A CRC, as FLAC has them."""
    value = 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> (bits - 1) else 0)) & ((1 << bits) - 1)
    return value.to_bytes(bits // 8, "big")


def as_flac(samples: np.ndarray, bits: int) -> bytes:
    """Integers [N, 2] of any depth as a FLAC in frames of 256 samples that are stored as they are."""
    rows = [samples[start : start + 256] for start in range(0, len(samples), 256)]
    facts = RATE_HZ << 44 | 1 << 41 | (bits - 1) << 36 | len(samples)
    data = b"fLaC\x80\0\0\x22" + struct.pack(">HH6xQ16x", 256, 256, facts)
    for number, row in enumerate(rows):
        head = b"\xff\xf8\x70\x10" + bytes([number]) + struct.pack(">H", len(row) - 1)
        head += checksum(head, 8, 0x07)
        text = "".join(
            "00000010" + "".join(f"{value & ((1 << bits) - 1):0{bits}b}" for value in side) for side in row.T
        )
        text += "0" * (-len(text) % 8)
        frame = head + int(text, 2).to_bytes(len(text) // 8, "big")
        data += frame + checksum(frame, 16, 0x8005)
    return data


EXACT = {
    "alac.m4a": ("PCM_24", "PCM_24", ("-c:a", "alac", "-sample_fmt", "s32p")),
    "alac.mov": ("PCM_16", "PCM_16", ("-c:a", "alac", "-sample_fmt", "s16p")),
    "wavpack.wv": ("PCM_24", "PCM_32", ("-c:a", "wavpack", "-sample_fmt", "s32p")),  # ffmpeg makes it of 32 bits
    "wavpack.mka": ("FLOAT", "FLOAT", ("-c:a", "wavpack", "-sample_fmt", "fltp")),
    "true audio.tta": ("PCM_24", "PCM_24", ("-c:a", "tta")),
    "flac.mkv": ("PCM_24", "PCM_24", ("-c:a", "flac", "-sample_fmt", "s32")),
    "24.mov": ("PCM_24", "PCM_24", ("-c:a", "pcm_s24be")),
    "32.avi": ("PCM_32", "PCM_32", ("-c:a", "pcm_s32le")),
    "8.mkv": ("PCM_U8", "PCM_U8", ("-c:a", "pcm_u8")),
    "float.mov": ("FLOAT", "FLOAT", ("-c:a", "pcm_f32le")),
    "double.mkv": ("DOUBLE", "DOUBLE", ("-c:a", "pcm_f64le")),
}


@needs_ffmpeg
@pytest.mark.parametrize("name", EXACT)
def test_lossless_codecs_keep_every_bit(tmp_path: Path, name: str, decoder: str) -> None:
    """Whatever container they are in: the depth and the number format are those of the codec."""
    subtype, expected, options = EXACT[name]
    if (name, decoder) == ("wavpack.wv", "libraries"):  # which do not say how deep it is: its samples do
        expected = subtype
    source = noise(tmp_path, subtype)
    got = read_audio(convert(source, tmp_path / name, *options))
    assert (got.subtype, got.lossless, got.sample_rate_hz) == (expected, True, RATE_HZ)
    np.testing.assert_array_equal(got.samples, read(source, TYPES[subtype]))
    assert output_format("x.wav", got) == ("WAV", expected)


@needs_ffmpeg
@pytest.mark.parametrize(("bits", "subtype"), [(12, "PCM_16"), (20, "PCM_24")])
def test_a_flac_of_an_odd_depth(tmp_path: Path, bits: int, subtype: str) -> None:
    """libsndfile reads 8, 16 and 24 bits."""
    samples = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (2000, 2))
    (tmp_path / "a.flac").write_bytes(as_flac(samples, bits))
    got = read_audio(tmp_path / "a.flac")
    assert (got.subtype, got.lossless, got.format) == (subtype, True, "FLAC")
    np.testing.assert_array_equal(got.samples, samples << (32 - bits))


@needs_ffmpeg
def test_a_header_that_is_text(tmp_path: Path) -> None:
    """That of a SPHERE file is no playlist."""
    source = noise(tmp_path, "PCM_16")
    facts = {"sample_count": 24_000, "sample_n_bytes": 2, "channel_count": 2, "sample_rate": RATE_HZ}
    text = "".join(f"{name} -i {number}\n" for name, number in facts.items())
    text += "sample_byte_format -s2 01\nsample_coding -s3 pcm\nend_head\n"
    data = source.read_bytes().partition(b"data")[2][4:]
    (tmp_path / "a.sph").write_bytes(b"NIST_1A\n   1024\n" + text.encode().ljust(1008) + data)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.sph").samples, read(source))


@needs_ffmpeg
def test_a_bw64_keeps_every_bit(tmp_path: Path) -> None:
    source = noise(tmp_path, "PCM_24")
    (tmp_path / "a.wav").write_bytes(as_bw64(source))
    got = read_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(got.samples, read(source))
    assert got.subtype == "PCM_24"


@needs_ffmpeg
def test_companded_sound_needs_more_bits_than_it_has(tmp_path: Path) -> None:
    """8 bits of mu-law stand for 14."""
    path = convert(noise(tmp_path, "PCM_16"), tmp_path / "a.mov", "-c:a", "pcm_mulaw")
    got = read_audio(path)
    convert(path, tmp_path / "b.wav", "-c:a", "pcm_s16le")
    assert (got.subtype, got.lossless) == ("PCM_16", True)
    np.testing.assert_array_equal(got.samples, read(tmp_path / "b.wav"))


@pytest.mark.parametrize("subtype", ["DWVW_16", "DWVW_24"])
def test_a_lossless_codec_of_libsndfile(tmp_path: Path, subtype: str) -> None:
    """Its words of varying width hold integers."""
    source = noise(tmp_path, f"PCM_{subtype[-2:]}", channels=1)
    with soundfile.SoundFile(tmp_path / "a.aiff", "w", RATE_HZ, 1, subtype, format="AIFF") as file:
        file.write(read(source))
    got = read_audio(tmp_path / "a.aiff")
    np.testing.assert_array_equal(got.samples, read(source))
    assert output_format("x.wav", got) == ("WAV", f"PCM_{subtype[-2:]}")


REFUSED = {
    "ALAC in a CAF": ("a.caf", ("-c:a", "alac", "-sample_fmt", "s16p")),
    "ADPCM in a CAF": ("a.caf", ("-c:a", "adpcm_ima_qt", "-ar", "44100")),
    "Opus in a CAF": ("a.caf", ("-c:a", "libopus")),
    "G.722 in a WAV": ("a.wav", ("-c:a", "g722", "-ar", "16000", "-ac", "1")),
    "ADPCM in a WAV": ("a.wav", ("-c:a", "adpcm_yamaha")),
    "FLAC in an Ogg": ("a.oga", ("-c:a", "flac", "-sample_fmt", "s32")),
    "64-bit PCM in a WAV": ("a.wav", ("-c:a", "pcm_s64le")),
    "an ID3 tag in front of AAC": ("a.aac", ("-c:a", "aac", "-metadata", "title=x", "-write_id3v2", "1")),
}


@needs_ffmpeg
@pytest.mark.parametrize("kind", REFUSED)
def test_ffmpeg_is_asked_where_libsndfile_refuses(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known first bytes do not mean known content."""
    name, options = REFUSED[kind]
    path = convert(noise(tmp_path, "PCM_24"), tmp_path / name, *options)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(str(path))

    got = read_audio(path)
    assert 0.5 <= got.duration_s < 0.6
    assert scan(path, 1).num_samples == got.num_samples

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(decoding, "has_pyav", lambda: False)
    with pytest.raises(
        AudioInputError, match=r"cannot be decoded.*; convert it to WAV or FLAC, install ffmpeg, or run: .*av"
    ):
        read_audio(path)


@needs_ffmpeg
def test_an_mp3_with_padding_behind_its_tag(tmp_path: Path) -> None:
    path = convert(noise(tmp_path, "PCM_16"), tmp_path / "a.mp3", "-id3v2_version", "0")
    path.write_bytes(b"ID3\x03\0\0\0\0\0\x14" + bytes(20) + bytes(3000) + path.read_bytes())
    assert read_audio(path).duration_s == pytest.approx(0.5, abs=0.06)


@needs_ffmpeg
def test_an_mp3_in_a_wav_states_an_estimate(tmp_path: Path) -> None:
    """Its header counts the delay of the encoder, too; what is cut off is missed all the same."""
    path = convert(noise(tmp_path, "PCM_16", seconds=1), tmp_path / "a.wav", "-c:a", "libmp3lame")
    assert read_audio(path).duration_s == pytest.approx(1, abs=0.06)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(AudioInputError, match="truncated"):
        read_audio(path)


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["flac", "mp2", "ac3"])
def test_an_estimate_of_ffmpeg_is_no_promise(tmp_path: Path, codec: str) -> None:
    """A WAV with FLAC in it states a bit rate that has nothing to do with its length."""
    path = convert(noise(tmp_path, "PCM_24"), tmp_path / "a.wav", "-c:a", codec)
    assert read_audio(path).duration_s == pytest.approx(0.5, abs=0.06)


@needs_ffmpeg
def test_a_wav_with_two_chunks_of_samples(tmp_path: Path) -> None:
    """libsndfile reads one of them and says nothing."""
    source = noise(tmp_path, "PCM_16")
    head, _, data = source.read_bytes().partition(b"data")
    half = len(data[4:]) // 8 * 4
    chunks = [b"data" + struct.pack("<I", len(part)) + part for part in (data[4 : 4 + half], data[4 + half :])]
    body = head[8:] + b"".join(chunks)
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav").samples, read(source))


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mkv", "a.m4a", "a.wv", "a.tta", "a.avi", "a.wma", "a.mov"])
def test_what_is_cut_off_is_missed(tmp_path: Path, name: str) -> None:
    """The container says how much there was."""
    options = {"a.mkv": ["-c:a", "flac"], "a.m4a": ["-c:a", "aac", "-movflags", "faststart"]}.get(name, [])
    path = convert(noise(tmp_path, "PCM_16", seconds=3), tmp_path / name, *options)
    whole = path.read_bytes()
    assert read_audio(path).duration_s == pytest.approx(3, abs=0.1)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioInputError, match=r"truncated|ffmpeg cannot decode it either"):
        read_audio(path)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "a.mkv", "a.wv"])
def test_what_ffmpeg_leaves_out_is_missed(tmp_path: Path, name: str) -> None:
    """Of damage in the middle, it says something, decodes what it can, and ends with 0."""
    options = ("-c:a", "flac") if name == "a.mkv" else ()
    path = convert(noise(tmp_path, "PCM_16", seconds=2), tmp_path / name, *options)
    whole = path.read_bytes()
    assert read_audio(path).duration_s == pytest.approx(2, abs=0.03)

    middle = len(whole) // 2
    for spoilt in (bytes(300), np.random.default_rng(1).bytes(300)):
        path.write_bytes(whole[:middle] + spoilt + whole[middle + 300 :])
        with pytest.raises(AudioInputError, match=r"damaged: holds 1\.\d\d s of the 2\.\d\d s"):
            read_audio(path)


@needs_ffmpeg
@pytest.mark.parametrize("rate_hz", [48_000, 44_100, 22_050])
def test_a_voice_memo_has_the_samples_that_were_recorded(tmp_path: Path, rate_hz: int) -> None:
    """Mono AAC. What the encoder put in front is left out, and so is what it put behind where Apple's tag says so.

    Newer versions of ffmpeg end where the container says, which ffmpeg itself writes in milliseconds.
    """
    count = 2 * rate_hz + 123
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(count) / rate_hz)
    soundfile.write(tmp_path / "a.wav", sound, rate_hz, "PCM_16")
    path = convert(tmp_path / "a.wav", tmp_path / "memo.m4a", "-c:a", "aac", "-b:a", "96k")
    got = read_audio(path)
    assert (got.sample_rate_hz, got.channels, got.lossless) == (rate_hz, 1, False)
    assert count - rate_hz / 1000 <= got.num_samples < count + 1024
    start, stop = rate_hz // 2, rate_hz
    away = {
        shift: float(np.square(got.samples[start + shift : stop + shift, 0] - sound[start:stop]).mean())
        for shift in range(-3, 4)
    }
    assert min(away, key=away.__getitem__) == 0, away

    file = MP4(path)
    for stated, expected in ((count, min(count, got.num_samples)), (100, got.num_samples), (10**9, got.num_samples)):
        file["----:com.apple.iTunes:iTunSMPB"] = MP4FreeForm(f" 00000000 00000400 00000000 {stated:016X}".encode())
        file.save()
        assert read_audio(path).num_samples == scan(path, 1).num_samples == expected


@needs_ffmpeg
def test_both_ways_give_the_same_samples(tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program and the libraries: of lossy codecs up to rounding, with the same rate, channels, layout and tags.

    Of a lossy codec in MPEG-4, the last frame may be cut by one and not by the other, as their versions are.
    """
    if decoder == "program" or not has_pyav():
        pytest.skip("compares both")
    source = noise(tmp_path, "PCM_16", seconds=1)
    six = "pan=5.1|c0=c0|c1=c1|c2=c0|c3=c1|c4=c0|c5=c1"
    for name, options in {
        "a.m4a": ("-metadata", "title=Für Élise", "-metadata", "tmpo=97"),
        "b.mka": ("-c:a", "aac"),
        "c.webm": ("-c:a", "libopus"),
        "d.wma": (),
        "e.ac3": ("-c:a", "ac3"),
        "f.m4a": ("-af", six),
        "g.aac": (),
        "h.mp4": ("-c:a", "libmp3lame"),
        "i.m4a": ("-c:a", "alac", "-af", six),
    }.items():
        path = convert(source, tmp_path / name, *options)
        libraries = read_audio(path)
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "has_ffmpeg", lambda: True)
            program = read_audio(path)
        is_padded = path.suffix in (".m4a", ".mp4") and not program.lossless
        common = min(libraries.num_samples, program.num_samples)
        assert common > 0.97 * RATE_HZ  # WMA loses a frame
        assert max(libraries.num_samples, program.num_samples) - common < (2 * 1152 if is_padded else 1)
        assert (libraries.tags, libraries.tempo) == (program.tags, program.tempo)
        masks = [got.layout.mask if got.layout else DEFAULTS[got.channels] for got in (libraries, program)]
        assert masks[0] == masks[1]
        assert (libraries.subtype, libraries.sample_rate_hz) == (program.subtype, program.sample_rate_hz)
        np.testing.assert_allclose(libraries.wav(0, common), program.wav(0, common), atol=2e-5)


@needs_ffmpeg
def test_a_rate_that_changes_is_named(tmp_path: Path) -> None:
    """ffmpeg would convert the second half, and say nothing."""
    source = noise(tmp_path, "PCM_16")
    parts = [convert(source, tmp_path / f"{rate}.aac", "-c:a", "aac", "-ar", rate) for rate in ("48000", "32000")]
    (tmp_path / "a.aac").write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(AudioInputError, match="changes its sample rate or its channels in the middle; split"):
        read_audio(tmp_path / "a.aac")


@needs_ffmpeg
def test_tags_come_through_ffmpeg(tmp_path: Path) -> None:
    tags = {"title": "Für Élise", "artist": "L. v. B.", "album": "Bagatelles"}
    options = [option for key, text in tags.items() for option in ("-metadata", f"{key}={text}")]
    for name in ("a.m4a", "a.mka", "a.wv", "a.wma"):
        got = read_audio(convert(noise(tmp_path, "PCM_16"), tmp_path / name, *options))
        assert got.tags.items() >= tags.items()


@pytest.mark.skipif(os.name == "nt", reason="the programs are shell scripts")
def test_a_wav_starts_no_other_program(
    audiolm: Any, tiny_model: Path, tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ffmpeg nor ffprobe, which take long to start."""
    soundfile.write(tmp_path / "a.wav", piano(1.0, RATE_HZ), RATE_HZ)
    (tmp_path / "b.m4a").write_bytes(bytes(range(256)))
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("ffmpeg", "ffprobe"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/started\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    done = audiolm("continue", "-m", tiny_model, tmp_path / "a.wav", "-d", "0.1", "-o", tmp_path / "out.wav")
    assert done.exit_code == 0 and not (tmp_path / "started").exists()
    done = audiolm("continue", "-m", tiny_model, tmp_path / "b.m4a", "-d", "0.1", "-o", tmp_path / "c.wav")
    assert done.exit_code == 3 and (tmp_path / "started").read_text() == "ffprobe\n"


@needs_ffmpeg
def test_a_long_comment_is_no_lack_of_sound(tmp_path: Path) -> None:
    """What is longer than a buffer of ffmpeg's stood in front of the samples, in a chunk without a size."""
    source = noise(tmp_path, "PCM_16", seconds=0.1)
    recording = read_audio(convert(source, tmp_path / "x.mka", "-c:a", "flac", "-metadata", f"comment={'x' * 90_000}"))
    assert recording.tags["comment"] == "x" * 90_000
    assert recording.samples.tobytes() == read(source).tobytes()
