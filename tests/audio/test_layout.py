"""Loudspeakers: each channel stays with its own, whatever the file's format calls it and wherever it puts it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import AudioSpec, Layout, Recording, output_format, read_audio, write_blocks, write_growing
from audiolm_cli.audio.layout import describe_lost

RATE_HZ = 48000
MASKS = {
    "mono": (0x4, 1),
    "left alone": (0x1, 1),
    "stereo": (0x3, 2),
    "2.1": (0xB, 3),
    "3.0": (0x7, 3),
    "4.0": (0x107, 4),
    "quad": (0x33, 4),
    "sides": (0x603, 4),
    "5.0": (0x37, 5),
    "5.1": (0x3F, 6),
    "5.1 side": (0x60F, 6),
    "6.1": (0x70F, 7),
    "6.1 back": (0x13F, 7),
    "7.1": (0x63F, 8),
    "7.1 wide": (0xFF, 8),
    "5.1.2": (0x503F, 8),
    "stems": (0, 6),
    "two of six": (0x3, 6),
    "sixteen": (0, 16),
    "7.1.4": (0x2D63F, 12),
}
HOLDING = [("x.wav", "PCM_24"), ("x.rf64", "PCM_16"), ("x.w64", "PCM_24"), ("x.w64", "PCM_U8"), ("x.caf", "PCM_16")]
HOLDING += [("x.aiff", "PCM_24"), ("x.flac", "PCM_16")]
"""Formats that can say any mask."""
PITCHES = [300, 500, 700, 60, 1100, 1300, 1500, 1700]
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="makes its input with ffmpeg")


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write many files; none must survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def steps(channels: int, num_samples: int = 4001) -> np.ndarray:
    """int32 [N, C] of a low tone whose channels have levels of their own: channel c has a peak of (c + 1) / 32."""
    tone = np.sin(2 * np.pi * 100 * np.arange(num_samples) / RATE_HZ)
    return np.rint(tone[:, None] * (np.arange(channels) + 1) * 2.0**26).astype(np.int32) >> 16 << 16


def levels(samples: np.ndarray) -> list[int]:
    """Which channel of `steps` each channel is."""
    scale = 2**-31 if samples.dtype == np.int32 else 1.0
    at = len(samples) // 4 // 480 * 480
    return [round(float(level) * scale * 32 * 2**0.5) - 1 for level in samples[at : at + 1920].std(axis=0)]


def tones(num_samples: int, channels: int) -> np.ndarray:
    """int32 [N, C] of a tone per channel; the fourth, which is often for what is low, has a low one."""
    time_s = np.arange(num_samples) / RATE_HZ
    waves = [0.2 * np.sin(2 * np.pi * pitch * time_s) for pitch in PITCHES[:channels]]
    return np.rint(np.stack(waves, axis=1) * 2.0**31).astype(np.int32) >> 16 << 16


def heard(samples: np.ndarray) -> list[int]:
    """Which channel of `tones` each channel is."""
    spectra = np.abs(np.fft.rfft(samples * np.hanning(len(samples))[:, None], axis=0))
    return [PITCHES.index(round(at * RATE_HZ / len(samples), -1)) for at in spectra.argmax(axis=0)]


def wav_with_mask(path: Path, samples: np.ndarray, mask: int) -> Path:
    """A 16-bit WAVE_FORMAT_EXTENSIBLE file, made by hand."""
    _, C = samples.shape
    form = struct.pack("<HHIIHHHHI", 0xFFFE, C, RATE_HZ, RATE_HZ * 2 * C, 2 * C, 16, 22, 16, mask)
    form += bytes.fromhex("0100000000001000800000aa00389b71")
    data = (samples >> 16).astype("<i2").tobytes()
    body = b"WAVEfmt " + struct.pack("<I", 40) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def save(path: Path, like: Recording, subtype: str | None = None) -> Path:
    """A recording in the format of a name."""
    kind, own = output_format(path, like)
    spec = AudioSpec(
        shape=like.samples.shape,
        sample_rate_hz=like.sample_rate_hz,
        format=kind,
        subtype=subtype or own,
        tags={"title": "Étude"},
        layout=like.layout,
    )
    write_blocks(path, iter([like.samples]), spec, force=True)
    return path


def mask_of(recording: Recording) -> int:
    assert recording.layout is not None
    return recording.layout.mask


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(("target", "subtype"), HOLDING)
def test_a_mask_is_kept(tmp_path: Path, name: str, target: str, subtype: str) -> None:
    """From a WAV to every format that can say it, and back to a WAV; and every channel keeps its place."""
    mask, channels = MASKS[name]
    if channels > 8 and target == "x.flac":
        pytest.skip("a FLAC has eight channels at most")
    source = read_audio(wav_with_mask(tmp_path / "in.wav", steps(channels), mask))
    assert mask_of(source) == mask

    there = read_audio(save(tmp_path / target, source, subtype))
    assert there.tags.get("title") == (None if target == "x.w64" else "Étude")
    plain = channels <= 2 and mask == {1: 4, 2: 3}[channels]
    assert (plain and there.layout is None) or mask_of(there) == mask
    assert levels(there.samples) == list(range(channels))

    back = read_audio(save(tmp_path / "back.wav", there))
    assert (plain and back.format == "WAV") or mask_of(back) == mask
    assert levels(back.samples) == list(range(channels))


def test_a_plain_wav_stays_plain(tmp_path: Path) -> None:
    """What a file does not say is not made up: neither in a WAV nor in an RF64, where libsndfile would."""
    soundfile.write(tmp_path / "in.wav", steps(6), RATE_HZ, "PCM_16")
    source = read_audio(tmp_path / "in.wav")
    assert (source.layout, source.format) == (None, "WAV")
    assert read_audio(save(tmp_path / "out.wav", source)).format == "WAV"
    assert mask_of(read_audio(save(tmp_path / "out.rf64", source))) == 0


def test_the_mask_is_kept_while_a_wav_grows(tmp_path: Path) -> None:
    source = read_audio(wav_with_mask(tmp_path / "in.wav", steps(6), 0x60F))
    spec = AudioSpec(
        shape=(4001, 6), sample_rate_hz=RATE_HZ, format="WAVEX", subtype="PCM_16", tags={}, layout=source.layout
    )
    write_growing(tmp_path / "out.wav", iter([source.samples[:1000], source.samples[1000:]]), spec, force=False)
    got = read_audio(tmp_path / "out.wav")
    assert (mask_of(got), levels(got.samples)) == (0x60F, list(range(6)))


@pytest.mark.parametrize(("subtype", "dtype"), [("FLOAT", "<f4"), ("DOUBLE", "<f8")])
def test_a_w64_of_floats_with_a_mask_is_read(tmp_path: Path, subtype: str, dtype: str) -> None:
    """As ffmpeg writes it; libsndfile takes its samples for integers. None is written: other programs would as well."""
    width = np.dtype(dtype).itemsize
    wav = read_audio(wav_with_mask(tmp_path / "in.wav", steps(6), 0x60F))
    data = (wav.samples / 2**31).astype(dtype).tobytes()
    form = struct.pack(
        "<HHIIHHHHI", 0xFFFE, 6, RATE_HZ, RATE_HZ * 6 * width, 6 * width, 8 * width, 22, 8 * width, 0x60F
    )
    form += bytes.fromhex("0300000000001000800000aa00389b71")
    guids = {name: name + bytes.fromhex("f3acd3118cd100c04f8edb8a") for name in (b"wave", b"fmt ", b"data")}
    body = guids[b"wave"] + guids[b"fmt "] + struct.pack("<Q", 64) + form
    body += guids[b"data"] + struct.pack("<Q", 24 + len(data)) + data
    head = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
    (tmp_path / "in.w64").write_bytes(head + struct.pack("<Q", 24 + len(body)) + body)

    source = read_audio(tmp_path / "in.w64")
    assert (source.subtype, mask_of(source), levels(source.samples)) == (subtype, 0x60F, list(range(6)))
    there = read_audio(save(tmp_path / "out.w64", source))
    assert (there.subtype, there.layout, levels(there.samples)) == (subtype, None, list(range(6)))
    assert "W64 takes them for none in particular" in describe_lost(source.layout, "W64", subtype, 6)


def test_a_sound_field_stays_one(tmp_path: Path) -> None:
    """A WAV whose channels are W, X, Y and Z says so in its GUID."""
    path = wav_with_mask(tmp_path / "in.wav", steps(4), 0)
    data = bytearray(path.read_bytes())
    data[44:60] = bytes.fromhex("010000002107d3118644c8c1ca000000")
    path.write_bytes(data)
    for name in ("out.wav", "out.w64", "out.rf64"):
        got = read_audio(save(tmp_path / name, read_audio(path)))
        assert got.layout == Layout(mask=0, ambisonic=True)


@pytest.mark.parametrize("channels", range(3, 9))
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_has_an_order_of_its_own(tmp_path: Path, channels: int, subtype: str) -> None:
    """Channels go to Ogg's places and come back; the centre is second there, and what is low comes last."""
    source = read_audio(wav_with_mask(tmp_path / "in.wav", tones(24000, channels), 0))
    there = read_audio(save(tmp_path / "x.ogg", source, subtype))
    assert there.layout is not None
    assert heard(there.samples) == list(there.layout.order or range(channels))
    expected = {6: (0, 2, 1, 4, 5, 3), 8: (0, 2, 1, 6, 7, 4, 5, 3)}.get(channels)
    assert expected is None or there.layout.order == expected

    for name in ("back.wav", "back.flac", "back.caf", "again.ogg"):
        back = read_audio(save(tmp_path / name, there))
        order = there.layout.order if name == "again.ogg" else ()
        assert heard(back.samples) == list(order or range(channels)), name


@pytest.mark.parametrize(
    ("mask", "channels", "expected"),
    [(0x60F, 6, [0, 2, 1, 4, 5, 3]), (0x13F, 7, [0, 2, 1, 4, 5, 6, 3]), (0x107, 4, [0, 1, 2, 3]), (0xB, 3, [0, 2, 1])],
)
def test_ogg_gives_a_loudspeaker_its_own_place_or_its_twins(
    tmp_path: Path, mask: int, channels: int, expected: list[int]
) -> None:
    """Sides go to the rear where Ogg has no sides; what it has no place for takes what is left, and that is said."""
    source = read_audio(wav_with_mask(tmp_path / "in.wav", tones(24000, channels), mask))
    assert heard(read_audio(save(tmp_path / "x.ogg", source)).samples) == expected
    assert "OGG takes them for" in describe_lost(source.layout, "OGG", "VORBIS", channels)


@pytest.mark.parametrize(
    ("tag", "mask", "order"),
    [
        (121 << 16 | 6, 0x60F, ()),
        (124 << 16 | 6, 0x60F, (2, 0, 1, 4, 5, 3)),
        (123 << 16 | 6, 0x60F, (0, 2, 1, 4, 5, 3)),
        (186 << 16 | 6, 0x3F, ()),
        (147 << 16 | 6, 0, ()),
        (0xFFFF0006, 0, ()),
    ],
)
@pytest.mark.parametrize("format", ["CAF", "AIFF"])
def test_core_audio_names_an_order(tmp_path: Path, format: str, tag: int, mask: int, order: tuple[int, ...]) -> None:
    """A CAF or AIFF keeps its own order and its own words; in a WAV the channels come by their loudspeakers."""
    path = tmp_path / f"in.{format.lower()}"
    soundfile.write(path, steps(6), RATE_HZ, "PCM_16", format=format)
    chunk = struct.pack(">III", tag, 0, 0)
    if format == "CAF":
        path.write_bytes(path.read_bytes() + b"chan" + struct.pack(">Q", 12) + chunk)
    else:
        data = path.read_bytes() + b"CHAN" + struct.pack(">I", 12) + chunk
        path.write_bytes(data[:4] + struct.pack(">I", len(data) - 8) + data[8:])

    source = read_audio(path)
    assert source.layout == Layout(mask=mask, order=order, chan=chunk)
    for name in ("same.caf", "same.aiff"):
        same = read_audio(save(tmp_path / name, source))
        assert (same.layout, levels(same.samples)) == (source.layout, list(range(6)))

    wav = read_audio(save(tmp_path / "out.wav", source))
    assert (mask_of(wav), [order[at] if order else at for at in levels(wav.samples)]) == (mask, list(range(6)))


def test_core_audio_labels_each_channel(tmp_path: Path) -> None:
    """Where there are rear surrounds, the plain ones are the sides; a channel without a name leaves all without."""
    for labels, mask, order in (
        ((3, 1, 2, 5, 6, 4), 0x3F, (2, 0, 1, 4, 5, 3)),
        ((1, 2, 33, 34, 5, 6), 0x633, ()),
        ((1, 2, 3, 4, 200, 6), 0, ()),
    ):
        chunk = struct.pack(">III", 0, 0, 6) + b"".join(struct.pack(">II3f", label, 0, 0, 0, 0) for label in labels)
        path = tmp_path / "in.caf"
        soundfile.write(path, steps(6), RATE_HZ, "PCM_16", format="CAF")
        path.write_bytes(path.read_bytes() + b"chan" + struct.pack(">Q", len(chunk)) + chunk)
        assert read_audio(path).layout == Layout(mask=mask, order=order, chan=chunk)


def test_a_flac_without_tags_gets_its_mask(tmp_path: Path) -> None:
    """The block of comments is made where there is none, and the samples are the same."""
    source = read_audio(wav_with_mask(tmp_path / "in.wav", steps(6), 0x60F))
    spec = AudioSpec(
        shape=(4001, 6), sample_rate_hz=RATE_HZ, format="FLAC", subtype="PCM_16", tags={}, layout=source.layout
    )
    write_blocks(tmp_path / "x.flac", iter([source.samples]), spec, force=False)
    got = read_audio(tmp_path / "x.flac")
    assert mask_of(got) == 0x60F
    np.testing.assert_array_equal(got.samples, source.samples)


@needs_ffmpeg
@pytest.mark.parametrize("target", ["x.wav", "x.w64", "x.caf", "x.aiff", "x.flac", "x.ogg"])
def test_another_program_hears_each_channel_where_it_was(tmp_path: Path, target: str) -> None:
    """Six pitches from an AAC file, through each format, as ffmpeg reads it."""
    soundfile.write(tmp_path / "in.wav", tones(RATE_HZ, 6), RATE_HZ, "PCM_16")
    ffmpeg = ["ffmpeg", "-nostdin", "-v", "error", "-y"]
    layout = ["-channel_layout", "5.1"]
    subprocess.run([*ffmpeg, *layout, "-i", tmp_path / "in.wav", "-c:a", "aac", tmp_path / "in.m4a"], check=True)

    source = read_audio(tmp_path / "in.m4a")
    assert mask_of(source) == 0x3F
    save(tmp_path / target, source)
    subprocess.run([*ffmpeg, "-i", tmp_path / target, tmp_path / "heard.wav"], check=True)
    there = read_audio(tmp_path / "heard.wav")
    assert (heard(there.samples[:RATE_HZ]), mask_of(there)) == (list(range(6)), 0x3F)
