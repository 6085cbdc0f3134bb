"""Reading, writing and measuring audio, on files made here: what comes back, and what each unusable input is told."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from file_limits import full_after
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from audiolm_cli.audio import (
    AudioSpec,
    Recording,
    balance,
    decoding,
    mid,
    output_format,
    read_audio,
    resample,
    to_native,
    write_audio,
    write_blocks,
)
from audiolm_cli.audio import writing as writing_module
from audiolm_cli.audio.pyav import has_pyav
from audiolm_cli.errors import AudioInputError, OutputError, UsageError
from audiolm_cli.files import check_target, write_whole

RATE_HZ = 8000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="makes its input with ffmpeg")


def noise(num_samples: int, channels: int, seed: int = 0) -> np.ndarray:
    """float64 [N, C] within -0.9..0.9."""
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (num_samples, channels))


def sine(num_samples: int, rate_hz: int, frequency_hz: float) -> np.ndarray:
    """float64 [N] of amplitude 0.5."""
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(num_samples) / rate_hz + 0.3)


def recording(subtype: str, *, format: str = "WAV", channels: int = 1, rate_hz: int = RATE_HZ) -> Recording:
    """An empty recording of the given kind."""
    lossy = subtype in ("VORBIS", "OPUS", "MPEG_LAYER_III", "IMA_ADPCM", "UNKNOWN")
    dtype = {"FLOAT": np.float32, "DOUBLE": np.float64}.get(subtype, np.float32 if lossy else np.int32)
    return Recording(
        samples=np.zeros((0, channels), dtype),
        sample_rate_hz=rate_hz,
        format=format,
        subtype=subtype,
        lossless=not lossy,
        tags={},
        name="x",
    )


def save(path: Path, samples: np.ndarray, *, format: str = "WAV", subtype: str = "PCM_16", **more: object) -> Path:
    """`write_audio` with defaults."""
    options: dict = {"sample_rate_hz": RATE_HZ, "tags": {}, "force": True} | more
    write_audio(path, samples, format=format, subtype=subtype, **options)
    return path


@contextlib.contextmanager
def as_descriptor(number: int, target: int) -> Iterator[None]:
    """Let file descriptor `number` be `target` for a while."""
    saved = os.dup(number)
    os.dup2(target, number)
    try:
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


@contextlib.contextmanager
def piped_in(data: bytes) -> Iterator[None]:
    """Standard input is a pipe with these bytes."""
    out, into = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), open(into, "wb") as stream:
            stream.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with as_descriptor(0, out):
            yield
    finally:
        os.close(out)
        feeder.join()


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read and write everything; be somebody else for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write many files; none must survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# ---- bit-exactness


EXACT = [
    (format, subtype)
    for format in ("WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "AU", "CAF")
    for subtype in ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
    if soundfile.check_format(format, subtype)
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(EXACT),
    channels=st.integers(1, 6),
    num_samples=st.one_of(st.integers(1, 9), st.integers(4094, 4098), st.integers(1, 9000)),
    rate_hz=st.sampled_from([8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_lossless_files_come_back_bit_for_bit(
    tmp_path: Path, kind: tuple[str, str], channels: int, num_samples: int, rate_hz: int, seed: int
) -> None:
    """What is written is what is read, and writing what was read gives the same samples, in the same bytes."""
    format, subtype = kind
    native, clipped = to_native(noise(num_samples, channels, seed).T, recording(subtype))
    assert clipped == 0
    first = save(tmp_path / "a", native, format=format, subtype=subtype, sample_rate_hz=rate_hz)
    got = read_audio(first)
    assert (got.samples.shape, got.samples.dtype) == (native.shape, native.dtype)
    assert (got.sample_rate_hz, got.format, got.subtype, got.lossless) == (rate_hz, format, subtype, True)
    if subtype not in ("ULAW", "ALAW"):  # which round what was not read from such a file
        np.testing.assert_array_equal(got.samples, native)
    second = save(tmp_path / "b", got.samples, format=format, subtype=subtype, sample_rate_hz=rate_hz)
    np.testing.assert_array_equal(read_audio(second).samples, got.samples)
    if subtype != "ULAW":  # which has two zeros
        assert second.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_U8", "PCM_S8"])
def test_all_codes_of_8_bits_survive(tmp_path: Path, subtype: str) -> None:
    """Every one of the 256 bytes is read and written unchanged."""
    codes = bytes(range(256))
    format = "AU" if subtype != "PCM_U8" else "WAV"
    with soundfile.SoundFile(tmp_path / "a", "w", RATE_HZ, 1, subtype, format=format) as file:
        file.write(np.zeros(256))
    raw = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(raw[:-256] + codes)
    save(tmp_path / "b", read_audio(tmp_path / "a").samples, format=format, subtype=subtype)
    written = (tmp_path / "b").read_bytes()[-256:]
    assert sum(a != b for a, b in zip(written, codes, strict=True)) <= (subtype == "ULAW")  # mu-law has two zeros


def test_wav_is_the_samples_over_full_scale(tmp_path: Path) -> None:
    """`Recording.wav` gives [C, N] float32 and honours its range."""
    got = read_audio(save(tmp_path / "a.wav", noise(100, 3), subtype="PCM_24"))
    assert (got.channels, got.num_samples, got.duration_s, got.name) == (3, 100, 100 / RATE_HZ, "a")
    assert (got.wav().dtype, got.wav(10, 20).shape) == (np.float32, (3, 10))
    np.testing.assert_array_equal(got.wav(10, 20), (got.samples[10:20] / 2**31).T.astype(np.float32))


# ---- formats that come in


@pytest.mark.parametrize(
    ("format", "subtype", "rate_hz"),
    [
        ("WAV", "FLOAT", 48000),
        ("FLAC", "PCM_24", 48000),
        ("WAV", "PCM_U8", 8000),
        ("AIFF", "PCM_16", 44100),
        ("CAF", "ALAC_16", 44100),
        ("MP3", "MPEG_LAYER_III", 44100),
        ("OGG", "VORBIS", 44100),
        ("OGG", "OPUS", 48000),
        ("WAV", "IMA_ADPCM", 22050),
    ],
)
def test_formats_are_read_at_their_rate_and_length(tmp_path: Path, format: str, subtype: str, rate_hz: int) -> None:
    """A second of a sine is a second of a sine, whatever it is stored in, and whatever the file is called."""
    wanted = np.stack([sine(rate_hz, rate_hz, 440), -sine(rate_hz, rate_hz, 440)], axis=1)
    path = tmp_path / "take.raw"
    soundfile.write(path, wanted, rate_hz, subtype, format=format)
    got = read_audio(path)
    lossless = not subtype.startswith(("MPEG", "VORBIS", "OPUS", "IMA"))
    assert (got.sample_rate_hz, got.format, got.subtype, got.lossless) == (rate_hz, format, subtype, lossless)
    assert rate_hz <= got.num_samples <= rate_hz + 1100  # blocks of ADPCM are filled up
    error = got.wav()[:, 2000 : rate_hz - 2000].T - wanted[2000:-2000]
    assert np.sqrt(np.mean(error**2)) < 0.02 * 0.35  # 2 % of the sine's level


def test_a_name_that_is_not_utf8_is_read_and_written(tmp_path: Path) -> None:
    """File names are bytes to the system."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.wav"))
    assert read_audio(save(path, noise(10, 1))).num_samples == 10


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_has_no_size_in_its_header(tmp_path: Path, size: int) -> None:
    """Programs that write to a pipe leave 0 or the largest number where the size would be."""
    wanted = read_audio(save(tmp_path / "a.wav", noise(100_000, 2)))
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", size)
    with piped_in(bytes(data)):
        got = read_audio("-")
    assert got.name == "stdin"
    np.testing.assert_array_equal(got.samples, wanted.samples)


def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    """A total of 0 samples in a FLAC header means that it was not known."""
    wanted = read_audio(save(tmp_path / "a.flac", noise(9000, 2), format="FLAC"))
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac").samples, wanted.samples)


def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    """What a shell makes of <(command)."""
    wanted = save(tmp_path / "a.wav", noise(50_000, 1))
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(wanted.read_bytes()))
    feeder.start()
    got = read_audio(tmp_path / "pipe")
    feeder.join()
    np.testing.assert_array_equal(got.samples, read_audio(wanted).samples)


@needs_ffmpeg
def test_other_formats_go_through_ffmpeg(tmp_path: Path) -> None:
    """An M4A is read when ffmpeg is there."""
    source = save(tmp_path / "a.wav", np.tile(sine(RATE_HZ, RATE_HZ, 440)[:, None], 2))
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", source, "-c:a", "aac", tmp_path / "-b.m4a"], check=True)
    got = read_audio(tmp_path / "-b.m4a", max_duration_s=2)
    assert (got.format, got.sample_rate_hz, got.channels, got.lossless) == ("M4A", RATE_HZ, 2, False)
    assert got.samples.dtype == np.float32
    assert RATE_HZ <= got.num_samples < RATE_HZ + 2048
    assert output_format("x.wav", got) == ("WAV", "PCM_16")
    with pytest.raises(AudioInputError, match=r"longer than 0\.5 s"):
        read_audio(tmp_path / "-b.m4a", max_duration_s=0.5)


@needs_ffmpeg
def test_an_mp3_without_a_length_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile trusts its estimate of the length, which is far too short here."""
    quiet_at_last = noise(44100, 1) * np.linspace(1, 0, 44100)[:, None] ** 8
    source = save(tmp_path / "a.wav", np.tile(quiet_at_last, (3, 1)), sample_rate_hz=44100)
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", source, "-write_xing", "0", "-q:a", "0", tmp_path / "b.mp3"]
    subprocess.run(command, check=True)
    estimate = soundfile.info(str(tmp_path / "b.mp3")).frames
    assert estimate < 3 * 44100 * 0.9
    assert read_audio(tmp_path / "b.mp3").num_samples >= 3 * 44100
    monkeypatch.setattr(shutil, "which", lambda name: None)
    if has_pyav():
        assert read_audio(tmp_path / "b.mp3").num_samples >= 3 * 44100
    monkeypatch.setattr(decoding, "has_pyav", lambda: False)
    with pytest.raises(AudioInputError, match="install ffmpeg, or run"):
        read_audio(tmp_path / "b.mp3")


# ---- what cannot be used


def no_sound(path: Path) -> None:
    """A WAV with an empty data chunk and a chunk after it."""
    save(path, np.zeros((0, 1)))
    path.write_bytes(path.read_bytes() + b"LIST\x04\0\0\0INFO")


def huge_flac(path: Path) -> None:
    """A header that promises 2**36 - 1 samples."""
    save(path, noise(5000, 1), format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)


def huge(format: str, where: bytes, kind: str, skip: int = 0) -> Callable[[Path], None]:
    """A file whose 64-bit size field `skip` bytes after `where` says 2**62."""

    def make(path: Path) -> None:
        save(path, noise(5000, 1), format=format)
        data = bytearray(path.read_bytes())
        struct.pack_into(kind, data, data.index(where) + len(where) + skip, 2**62)
        path.write_bytes(data)

    return make


def cut(format: str, subtype: str = "PCM_16") -> Callable[[Path], None]:
    """The first half of a file of 16000 samples."""

    def make(path: Path) -> None:
        save(path, noise(16000, 1), format=format, subtype=subtype)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return make


def holding(value: float, subtype: str) -> Callable[[Path], None]:
    """A stereo file with one such sample at 0.5 s in its second channel."""

    def make(path: Path) -> None:
        samples = noise(RATE_HZ, 2).astype(np.float32 if subtype == "FLOAT" else np.float64)
        samples[RATE_HZ // 2, 1] = value
        soundfile.write(path, samples, RATE_HZ, subtype, format="WAV")

    return make


def with_rate(rate_hz: int) -> Callable[[Path], None]:
    """A file with any rate."""
    return lambda path: soundfile.write(path, noise(10, 1), rate_hz, format="WAV")


W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
UNUSABLE = {
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "empty": (lambda path: path.touch(), r"is empty \(0 bytes\)"),
    "text": (lambda path: path.write_text("Grüße, this is no sound.\n" * 9), "holds text, not audio"),
    "only a header": (lambda path: save(path, np.zeros((0, 1))), "holds no audio"),
    "cut WAV": (cut("WAV"), r"truncated.* holds 1\.00 s of the 2\.00 s"),
    "cut float WAV": (cut("WAV", "DOUBLE"), r"truncated.* holds 1\.00 s of the 2\.00 s"),
    "cut RF64": (cut("RF64"), r"truncated.* holds 1\.\d\d s of the [12]\.\d\d s"),
    "cut W64": (cut("W64"), r"truncated.* holds (0\.99|1\.00) s of the (1\.99|2\.00) s"),
    "cut AIFF": (cut("AIFF"), r"truncated.* holds 1\.00 s of the 2\.00 s"),
    "cut CAF": (cut("CAF"), "truncated"),
    "cut AU": (cut("AU"), r"truncated.* holds 1\.00 s of the 2\.00 s"),
    "cut MP3": (cut("MP3", "MPEG_LAYER_III"), r"truncated.* holds 0\.\d\d s of the 2\.00 s"),
    "cut FLAC": (cut("FLAC"), r"truncated.* holds 0\.\d\d s of the 2\.00 s"),
    "cut header": (lambda path: path.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt "), "cannot be decoded"),
    "huge FLAC": (huge_flac, r"truncated.* holds 0\.6\d s of the 8589934"),
    "no sound before a tag": (no_sound, "holds no audio"),
    "huge W64": (huge("W64", W64_DATA, "<Q"), "truncated"),
    "huge CAF": (huge("CAF", b"data", ">Q"), "truncated|cannot be decoded"),
    "huge RF64": (huge("RF64", b"ds64", "<Q", 12), "truncated"),
    "NaN": (holding(np.nan, "FLOAT"), r"sample at 0\.500 s in channel 2 is nan"),
    "infinity": (holding(-np.inf, "DOUBLE"), r"sample at 0\.500 s in channel 2 is -inf"),
    "beyond float32": (holding(1e300, "DOUBLE"), r"sample at 0\.500 s in channel 2 is 1e\+300"),
    "65 channels": (lambda path: soundfile.write(path, noise(10, 65), RATE_HZ, format="WAV"), "has 65 channels"),
    "999 Hz": (with_rate(999), "999 Hz; expected 1000 to 768000 Hz"),
    "800 kHz": (with_rate(800_000), "800000 Hz; expected 1000 to 768000 Hz"),
    "unknown bytes": (lambda path: path.write_bytes(bytes(range(128, 256)) * 9), "is not WAV.*ffmpeg"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_file_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    """Each says which file, what is wrong with it, and what to do; and none takes memory for what is not there."""
    make, told = UNUSABLE[kind]
    path = tmp_path / "input.wav"
    make(path)
    tracemalloc.start()
    try:
        with pytest.raises(AudioInputError, match=told) as caught:
            read_audio(path)
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert any(hint in message for hint in ("; get", "; check", "; expected", "; convert", "no audio", "ffmpeg"))


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    """Permission is what the message is about."""
    path = save(tmp_path / "a.wav", noise(10, 1))
    path.chmod(0)
    with without_privileges(), pytest.raises(AudioInputError, match="no permission"):
        read_audio(path)


def test_a_device_and_an_empty_standard_input_are_refused() -> None:
    """Neither waits for ever."""
    with pytest.raises(AudioInputError, match="is a device"):
        read_audio("/dev/zero")
    with piped_in(b""), pytest.raises(AudioInputError, match="standard input: is empty"):
        read_audio("-")
    with piped_in(bytes(range(128, 256))), pytest.raises(AudioInputError, match="pipe a WAV"):
        read_audio("-")


def test_the_longest_duration_is_a_limit(tmp_path: Path) -> None:
    """Exactly as long is allowed, one sample more is not."""
    path = save(tmp_path / "a.wav", noise(RATE_HZ, 1))
    assert read_audio(path, max_duration_s=1).num_samples == RATE_HZ
    with pytest.raises(AudioInputError, match=r"longer than 0\.999 s"):
        read_audio(path, max_duration_s=0.999)


@pytest.mark.parametrize(
    ("format", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "FLOAT")]
)
def test_damaged_files_fail_cleanly_or_are_read(tmp_path: Path, format: str, subtype: str) -> None:
    """Random bytes anywhere: a recording or an AudioInputError, nothing else."""
    good = save(tmp_path / "good", noise(3000, 2), format=format, subtype=subtype).read_bytes()
    draw = np.random.default_rng(1)
    for _ in range(30):
        data = bytearray(good[: draw.integers(1, len(good) + 1)])
        for position in draw.integers(0, min(len(data), draw.choice([64, len(good)])), 4):
            data[position] = draw.integers(256)
        (tmp_path / "bad").write_bytes(data)
        with contextlib.suppress(AudioInputError):
            assert read_audio(tmp_path / "bad").num_samples > 0


# ---- which format goes out


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("x.wav", ("WAV", "PCM_24"), ("WAV", "PCM_24")),
        ("-", ("FLAC", "PCM_16"), ("WAV", "PCM_16")),
        ("x.wav", ("WAVEX", "PCM_24"), ("WAVEX", "PCM_24")),
        ("x.WAV", ("FLAC", "PCM_S8"), ("WAV", "PCM_U8")),
        ("x.flac", ("WAV", "PCM_U8"), ("FLAC", "PCM_S8")),
        ("x.flac", ("WAV", "FLOAT"), ("FLAC", "PCM_24")),
        ("x.flac", ("WAV", "PCM_32"), ("FLAC", "PCM_24")),
        ("x.flac", ("WAV", "ULAW"), ("FLAC", "PCM_16")),
        ("x.aif", ("WAV", "DOUBLE"), ("AIFF", "DOUBLE")),
        ("x.wav", ("CAF", "ALAC_20"), ("WAV", "PCM_24")),
        ("x.caf", ("CAF", "ALAC_16"), ("CAF", "PCM_16")),
        ("x.wav", ("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_16")),
        ("x.wav", ("WAV", "IMA_ADPCM"), ("WAV", "PCM_16")),
        ("x.flac", ("M4A", "UNKNOWN"), ("FLAC", "PCM_16")),
        ("x.mp3", ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")),
        ("x.ogg", ("OGG", "OPUS"), ("OGG", "OPUS")),
        ("x.ogg", ("WAV", "PCM_16"), ("OGG", "VORBIS")),
    ],
)
def test_the_output_keeps_what_its_format_can_hold(
    path: str, source: tuple[str, str], expected: tuple[str, str]
) -> None:
    """The same encoding where there is one, else the nearest that loses least."""
    assert output_format(path, recording(source[1], format=source[0])) == expected


def test_an_output_format_that_cannot_be_is_a_usage_error() -> None:
    """An unknown extension lists the known ones; too many channels name the formats that hold them."""
    with pytest.raises(UsageError, match=r"'\.xyz'.*\.wav \.flac .*\.caf"):
        output_format("x.xyz", recording("PCM_16"))
    with pytest.raises(UsageError, match=r"MP3 cannot hold 6 channels at 96000 Hz; choose \.wav"):
        output_format("x.mp3", recording("PCM_16", channels=6, rate_hz=96000))


def test_what_no_wav_can_hold_becomes_an_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 4 GB (here: 100 bytes) a WAV is an RF64, and an AIFF is refused."""
    monkeypatch.setattr(writing_module, "RIFF_BYTES", 100)
    assert read_audio(save(tmp_path / "a.wav", noise(50, 1))).format == "WAV"
    assert read_audio(save(tmp_path / "a.wav", noise(51, 1))).format == "RF64"
    with pytest.raises(OutputError, match=r"do not fit into AIFF; choose \.wav"):
        save(tmp_path / "a.aiff", noise(51, 1), format="AIFF")


# ---- floating point to native samples


@pytest.mark.parametrize(
    ("subtype", "bits"), [("PCM_U8", 8), ("PCM_16", 16), ("ALAC_20", 20), ("PCM_24", 24), ("PCM_32", 32)]
)
def test_integers_are_rounded_to_their_depth_and_clipped(subtype: str, bits: int) -> None:
    """Half a step of error at most, nothing below the last bit, and full scale where the input is beyond it."""
    wav = np.array([[0.1, -0.7, 1.0, -1.0, 1.5, -9.0], [0.0, 1e-9, 0.5, -0.5, 0.25, 0.9]])
    native, clipped = to_native(wav, recording(subtype))
    step = 2 ** (32 - bits)
    assert (native.shape, native.dtype, clipped) == ((6, 2), np.int32, 2)
    assert not (native.astype(np.int64) % step).any()
    assert list(native[2:6, 0]) == [2**31 - step, -(2**31), 2**31 - step, -(2**31)]
    inside = np.abs(wav.T) < 1
    assert np.all(np.abs(native / 2**31 - wav.T)[inside] <= step / 2 / 2**31)


def test_floats_stay_floats() -> None:
    """FLOAT and DOUBLE hold what is beyond full scale; what came from a lossy format is clipped to it."""
    wav = np.array([[0.1, -1.5]])
    for subtype, dtype in (("FLOAT", np.float32), ("DOUBLE", np.float64)):
        native, clipped = to_native(wav, recording(subtype))
        assert (native.dtype, clipped) == (dtype, 0)
        np.testing.assert_array_equal(native, wav.T.astype(dtype))
    native, clipped = to_native(wav, recording("VORBIS"))
    assert (list(native[:, 0]), clipped) == ([np.float32(0.1), -1.0], 1)


@settings(max_examples=50, deadline=None)
@given(bits=st.sampled_from([("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24)]), seed=st.integers(0, 1000))
def test_native_to_float_and_back_is_the_identity(bits: tuple[str, int], seed: int) -> None:
    """Up to 24 bits, float32 holds every sample exactly."""
    samples = np.random.default_rng(seed).integers(-(2**31), 2**31, (50, 2)) >> (32 - bits[1]) << (32 - bits[1])
    source = recording(bits[0])
    source = Recording(**{**source.__dict__, "samples": samples.astype(np.int32)})
    native, clipped = to_native(source.wav(), source)
    np.testing.assert_array_equal(native, source.samples)
    assert clipped == 0


# ---- writing


def test_tags_are_kept_and_files_do_not_depend_on_the_clock(tmp_path: Path) -> None:
    """The same samples and tags give the same bytes a second later, and the tags come back."""
    tags = {"title": "Étude", "artist": "A. N. Other", "comment": '{"seed": 7}'}
    samples = noise(20_000, 2)
    kinds = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "DOUBLE"), ("RF64", "FLOAT"), ("AIFF", "FLOAT")]
    kinds += [("CAF", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]

    def write(format: str, subtype: str) -> bytes:
        path = tmp_path / f"{format}-{subtype}"
        return save(path, samples, format=format, subtype=subtype, sample_rate_hz=48000, tags=tags).read_bytes()

    first = {kind: write(*kind) for kind in kinds}
    time.sleep(1.05)  # the clocks of headers count seconds
    for kind in kinds:
        assert write(*kind) == first[kind], kind
        got = read_audio(tmp_path / "-".join(kind))
        assert got.num_samples == 20_000, kind
        assert {key: got.tags.get(key) for key in tags} == tags, kind


def test_ogg_files_of_different_content_have_different_serials(tmp_path: Path) -> None:
    """As a chain of Ogg streams needs; and other programs accept the checksums."""
    for name, seed in (("a", 0), ("b", 1)):
        save(tmp_path / name, noise(20_000, 1, seed), format="OGG", subtype="VORBIS")
    assert (tmp_path / "a").read_bytes()[14:18] != (tmp_path / "b").read_bytes()[14:18]
    if shutil.which("ffmpeg"):
        command = ["ffmpeg", "-nostdin", "-v", "warning", "-i", tmp_path / "a", "-f", "null", "-"]
        assert subprocess.run(command, check=True, capture_output=True).stderr == b""


@pytest.mark.parametrize("format", ["WAV", "RF64", "AIFF", "CAF", "FLAC"])
def test_long_and_odd_tags_do_no_harm(tmp_path: Path, format: str) -> None:
    """Long tags are cut at a character, empty and unknown ones left out; the file stays readable."""
    tags = {
        "title": "ö" * 5000,
        "artist": "",
        "comment": "b\0c\udcff",
        "genre": "x" * 9000,
        "mood": "y",
        "album": "z" * 5000,
    }
    got = read_audio(save(tmp_path / "a", noise(10, 1), format=format, tags=tags))
    assert set(got.tags["title"]) == {"ö"}
    assert got.tags["comment"] == "b c?"
    assert "artist" not in got.tags


def test_integers_become_scaled_floats_where_the_format_needs_it(tmp_path: Path) -> None:
    """A 16-bit recording written as FLOAT, VORBIS or with fewer bits keeps its level."""
    native, _ = to_native(sine(8000, RATE_HZ, 440)[None], recording("PCM_16"))
    for format, subtype, tolerance in (("WAV", "FLOAT", 1e-7), ("WAV", "PCM_U8", 0.004), ("OGG", "VORBIS", 0.05)):
        got = read_audio(save(tmp_path / "a", native, format=format, subtype=subtype))
        assert np.abs(got.wav().T - native / 2**31).max() <= tolerance


def test_an_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    """And replaced with it: its permissions stay, and a link still points to it."""
    path = save(tmp_path / "a.wav", noise(10, 1))
    before = path.read_bytes()
    for act in (lambda: check_target(path, False), lambda: save(path, noise(20, 1), force=False)):
        with pytest.raises(OutputError, match=r"exists already.*-f/--force"):
            act()
    assert path.read_bytes() == before
    path.chmod(0o640)
    (tmp_path / "link.wav").symlink_to(path)
    check_target(tmp_path / "link.wav", True)
    save(tmp_path / "link.wav", noise(20, 1))
    assert read_audio(path).num_samples == 20
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "link.wav"]


def test_places_that_take_no_file_are_named(tmp_path: Path) -> None:
    """A missing folder, a folder, a device, a file for a folder: refused before and after the work."""
    save(tmp_path / "a.wav", noise(10, 1))
    places = {
        tmp_path / "no" / "a.wav": f"folder {tmp_path}/no does not exist",
        tmp_path: "is a folder",
        Path("/dev/null"): "is a device",
        tmp_path / "a.wav" / "b.wav": "does not exist",
    }
    for path, told in places.items():
        for act in (lambda path=path: check_target(path, True), lambda path=path: save(path, noise(10, 1))):
            with pytest.raises(OutputError, match=told):
                act()
    check_target("-", False)


def test_a_folder_without_permission_is_refused() -> None:
    """Before the work and after it, and the message names the folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        with without_privileges():
            with pytest.raises(OutputError, match=f"no permission to write in the folder {folder}"):
                check_target(f"{folder}/a.wav", False)
            with pytest.raises(OutputError, match=f"no permission to write in the folder {folder}"):
                save(Path(folder) / "a.wav", noise(10, 1))
        assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("CAF", "FLOAT")],
)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, format: str, subtype: str) -> None:
    """Files may not grow past a limit: an OutputError at every point, the old file stays and nothing else."""
    samples = noise(40_000, 1)
    full = save(tmp_path / "full", samples, format=format, subtype=subtype).stat().st_size
    (tmp_path / "full").unlink()
    old = save(tmp_path / "a", noise(10, 1)).read_bytes()
    refused = f"cannot be written to the folder {tmp_path}|no space left in"
    for limit in (10, full // 2, full - 1):
        with full_after(limit), pytest.raises(OutputError, match=refused):
            save(tmp_path / "a", samples, format=format, subtype=subtype)
        assert os.listdir(tmp_path) == ["a"]
        assert (tmp_path / "a").read_bytes() == old


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(OSError(errno.ENOSPC, "No space left on device"), OutputError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_nothing_is_left_of_an_interrupted_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, raised: type[BaseException]
) -> None:
    """Neither a temporary file nor a target, whatever stops it."""

    def fail(descriptor: int) -> None:
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(raised, match="no space left" if raised is OutputError else None):
        save(tmp_path / "a.wav", noise(10, 1))
    assert os.listdir(tmp_path) == []


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then there is nothing, or the old file, whatever would stop the writing and whether or not it is heard."""
    found: list[dict[str, bytes]] = []

    def look(descriptor: int = 0) -> None:
        found.append({path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.startswith(".")})

    def blocks() -> Iterator[np.ndarray]:
        for _ in range(3):
            look()
            yield noise(50_000, 1)
        look()

    monkeypatch.setattr(os, "fsync", look)
    spec = AudioSpec(shape=(150_000, 1), sample_rate_hz=RATE_HZ, format="WAV", subtype="PCM_16", tags={})
    write_blocks(tmp_path / "a.wav", blocks(), spec, force=False)
    assert found == [{}] * 5
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_blocks(tmp_path / "a.wav", blocks(), dataclasses.replace(spec, subtype="PCM_24"), force=True)
    write_whole(tmp_path / "a.png", b"picture", force=False)
    assert found[5:] == [old] * 5 + [{"a.wav": (tmp_path / "a.wav").read_bytes()}]
    assert sorted(os.listdir(tmp_path)) == ["a.png", "a.wav"] and old != found[-1]


def test_standard_output_gets_a_whole_wav(tmp_path: Path) -> None:
    """The same bytes as a file; a full one is an OutputError."""
    expected = save(tmp_path / "a.wav", noise(100_000, 2), subtype="FLOAT").read_bytes()
    with open(tmp_path / "out", "wb") as out, as_descriptor(1, out.fileno()):
        save(Path("-"), noise(100_000, 2), subtype="FLOAT")
    assert (tmp_path / "out").read_bytes() == expected
    told = "no space left in standard output"
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full, as_descriptor(1, full.fileno()), pytest.raises(OutputError, match=told):
            save(Path("-"), noise(10, 1))


# ---- arithmetic


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(44100, 32000), (32000, 44100), (8000, 32000), (96000, 32000), (32000, 11025)]
)
def test_a_resampled_sine_is_the_sine_at_the_new_rate(from_hz: int, to_hz: int) -> None:
    """Same frequency, phase and level: the error is below -110 dB of it, in float32, away from the ends."""
    wav = sine(from_hz, from_hz, 1000).astype(np.float32)[None]
    got = resample(wav, from_hz, to_hz)
    assert (got.shape, got.dtype) == ((1, to_hz), np.float32)
    edge = to_hz // 20
    error = (got[0] - sine(to_hz, to_hz, 1000))[edge:-edge]
    assert 20 * np.log10(np.sqrt(np.mean(error**2)) / (0.5 / np.sqrt(2))) < -110


def test_resampling_has_no_delay() -> None:
    """An impulse at sample 441 of 44.1 kHz is one at sample 320 of 32 kHz, for every channel."""
    wav = np.zeros((2, 882))
    wav[:, 441] = 1
    got = resample(wav, 44100, 32000)
    assert list(np.argmax(got, axis=1)) == [320, 320]
    np.testing.assert_allclose(got[0, 320 - 100 : 320], got[0, 320 + 100 : 320 : -1], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(from_hz=st.integers(1000, 96_000), to_hz=st.integers(1000, 96_000), N=st.integers(0, 3000), C=st.integers(1, 3))
@example(from_hz=1000, to_hz=1001, N=1, C=2)  # whose strides numpy 2.0 keeps
def test_any_two_rates_give_the_rounded_length(from_hz: int, to_hz: int, N: int, C: int) -> None:
    """M = round(N * to / from), equal rates change nothing, and sound stays bounded."""
    wav = noise(N, C).T.astype(np.float32)
    got = resample(wav, from_hz, to_hz)
    assert got.shape == (C, round(N * to_hz / from_hz))
    assert np.isfinite(got).all()
    assert resample(wav, from_hz, from_hz) is wav


def test_mid_is_the_mean_unless_it_cancels() -> None:
    """Then the loudest channel stands for all."""
    tone = sine(1000, RATE_HZ, 300).astype(np.float32)
    np.testing.assert_array_equal(mid(tone[None]), tone)
    np.testing.assert_allclose(mid(np.stack([tone, 0 * tone])), tone / 2, atol=1e-7)
    np.testing.assert_array_equal(mid(np.stack([0.995 * tone, -tone])), -tone)
    assert mid(np.stack([0.9 * tone, -tone])).std() == pytest.approx(0.05 * tone.std(), rel=1e-4)
    assert not mid(np.zeros((2, 10), np.float32)).any()
    assert mid(np.zeros((2, 0), np.float32)).shape == (0,)


def test_balance_places_mono_where_the_context_was() -> None:
    """Known gains are found again; one channel and silence get 1; what is orthogonal to the mid does not count."""
    tone = sine(8000, RATE_HZ, 300)
    wav = np.outer([1.0, 0.25, -0.5], tone)
    gains = balance(wav, mid(wav))
    np.testing.assert_allclose(gains[:, None] * mid(wav), wav, atol=1e-6)
    other = sine(8000, RATE_HZ, 1700)
    np.testing.assert_allclose(balance(np.stack([tone + other, tone - other]), tone), [1, 1], atol=1e-3)
    assert list(balance(3 * tone[None], tone)) == [1]
    assert list(balance(np.zeros((2, 9)), np.zeros(9))) == [1, 1]
    assert list(balance(np.zeros((2, 0)), np.zeros(0))) == [1, 1]


def test_an_mp3_that_does_not_state_its_length_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """As radio dumps are: of a constant bit rate, without the frame that states the length."""
    path = tmp_path / "dump.mp3"
    soundfile.write(path, noise(5 * RATE_HZ, 1), RATE_HZ, format="MP3", bitrate_mode="CONSTANT")
    data = path.read_bytes()
    path.write_bytes(data[data.index(data[:2], 4) : len(data) // 2])
    assert 1 < read_audio(path).wav().shape[1] / RATE_HZ < 3
