"""What a file cannot hold of a recording: each loss is counted and comes with what to do, and nothing else is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import AudioSpec, Layout, Loss, Recording, find_losses, output_format, read_audio, write_blocks

RATE_HZ = 48000
DTYPES = {"FLOAT": np.float32, "DOUBLE": np.float64}


def make(path: Path, subtype: str, gain: float, *, bits: int = 32) -> Recording:
    """Half a second of noise in two channels, with a peak of `gain`, on a grid of as many bits."""
    noise = np.random.default_rng(0).uniform(-1, 1, (RATE_HZ // 2, 2))
    noise[100] = 1, -1
    grid = np.rint(noise * 2.0 ** (bits - 1) * gain) / 2.0 ** (bits - 1)
    if subtype in DTYPES:
        soundfile.write(path, grid.astype(DTYPES[subtype]), RATE_HZ, subtype)
    else:
        integers = np.clip(np.rint(grid * 2.0**31), -(2**31), 2**31 - 1).astype(np.int32)
        soundfile.write(path, integers, RATE_HZ, subtype)
    return read_audio(path)


def put(path: Path, recording: Recording) -> tuple[dict[str, Loss], Recording]:
    """A recording under another name: what was said of it, by kind, and what is in the file."""
    kind, subtype = output_format(path, recording)
    spec = AudioSpec(
        shape=recording.samples.shape,
        sample_rate_hz=RATE_HZ,
        format=kind,
        subtype=subtype,
        tags=recording.tags,
        layout=recording.layout,
    )
    write_blocks(path, iter([recording.samples]), spec, force=True)
    losses = find_losses(path.name, recording, [slice(0, None)], spec)
    assert all(loss.message.startswith(f"{path.name}: ") for loss in losses)
    return {loss.kind: loss for loss in losses}, read_audio(path)


def differing(a: Recording, b: Recording) -> np.ndarray:
    """Where the samples of two recordings differ, as float64."""
    x, y = (r.samples / 2.0**31 if r.samples.dtype == np.int32 else r.samples.astype(np.float64) for r in (a, b))
    return np.asarray(x != y)


@pytest.mark.parametrize("target", ["x.wav", "x.flac", "x.aiff", "x.caf", "x.w64", "x.au", "x.rf64"])
@pytest.mark.parametrize(
    ("subtype", "gain", "bits"),
    [
        ("PCM_U8", 0.9, 8),
        ("PCM_16", 0.9, 16),
        ("PCM_24", 0.9, 24),
        ("PCM_32", 0.9, 24),
        ("PCM_32", 0.9, 32),
        ("FLOAT", 0.9, 20),
        ("FLOAT", 0.9, 32),
        ("FLOAT", 3.0, 32),
        ("DOUBLE", 0.9, 32),
        ("DOUBLE", 3.0, 32),
    ],
)
def test_as_many_samples_are_said_to_change_as_do(
    tmp_path: Path, target: str, subtype: str, gain: float, bits: int
) -> None:
    """Compared with the file itself: the numbers are right, and nothing is said where nothing changes."""
    source = make(tmp_path / "in.wav", subtype, gain, bits=bits)
    said, there = put(tmp_path / target, source)
    changed = differing(source, there)
    over = np.abs(source.samples) > 1 if subtype in DTYPES else np.zeros_like(changed)

    assert set(said) <= {"clipped", "rounded"}
    counts = {kind: loss.count for kind, loss in said.items()}
    integers = there.samples.dtype == np.int32
    assert counts.get("clipped", 0) == (np.count_nonzero(over) if integers else 0)
    assert counts.get("rounded", 0) == np.count_nonzero(changed & ~over)
    assert all("name it .wav" in loss.message for loss in said.values())
    assert bool(said) == changed.any()
    if target == "x.flac" and (bits, subtype) in ((32, "PCM_32"), (32, "FLOAT"), (32, "DOUBLE")):
        assert said


@pytest.mark.parametrize("target", ["x.ogg", "x.mp3"])
def test_lossy_formats_say_so(tmp_path: Path, target: str) -> None:
    """And say how much is over full scale, which players clip."""
    said, _ = put(tmp_path / target, make(tmp_path / "in.wav", "FLOAT", 3.0))
    assert said["lossy"].count == RATE_HZ and "name it .wav or .flac" in said["lossy"].message
    assert 0.6 * RATE_HZ < said["clipped"].count < 0.7 * RATE_HZ


def test_what_a_lossy_file_decodes_to_is_only_clipped(tmp_path: Path) -> None:
    """16 bits hold it as exactly as it is; what is over full scale is counted, and what to do is not what was done."""
    loud = 1.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    soundfile.write(tmp_path / "in.ogg", loud, RATE_HZ)
    source = read_audio(tmp_path / "in.ogg")
    over = np.count_nonzero(np.abs(source.samples) > 1)
    assert over > RATE_HZ // 4
    for target in ("x.wav", "x.flac"):
        said, _ = put(tmp_path / target, source)
        assert (set(said), said["clipped"].count) == ({"clipped"}, over)
        assert "name it" not in said["clipped"].message


@pytest.mark.parametrize(
    ("target", "lost"),
    [
        ("x.wav", ["license"]),
        ("x.flac", []),
        ("x.caf", []),
        ("x.ogg", []),
        ("x.mp3", []),
        ("x.aiff", []),
        ("x.w64", ["title", "album", "comment", "license"]),
        ("x.au", ["title", "album", "comment", "license"]),
    ],
)
def test_tags_without_a_place_are_named(tmp_path: Path, target: str, lost: list[str]) -> None:
    tags = {"title": "T", "album": "A", "comment": "C", "license": "L", "software": "S"}
    source = make(tmp_path / "in.wav", "PCM_16", 0.5, bits=16)
    source = Recording(**{**source.__dict__, "tags": tags})
    said, there = put(tmp_path / target, source)
    assert [key for key in tags if key not in there.tags and key != "software"] == lost
    assert ("tags" in said) == bool(lost)
    assert not lost or (said["tags"].count == len(lost) and f"({', '.join(lost)})" in said["tags"].message)


def test_a_title_that_is_cut_is_named(tmp_path: Path) -> None:
    source = make(tmp_path / "in.wav", "PCM_16", 0.5, bits=16)
    said, there = put(tmp_path / "x.wav", Recording(**{**source.__dict__, "tags": {"title": "ö" * 5000}}))
    assert len(there.tags["title"]) < 5000 and "title) is too long" in said["tags"].message


def test_loudspeakers_without_a_place_are_named(tmp_path: Path) -> None:
    """An Ogg file of two channels is left and right, whatever they were."""
    source = make(tmp_path / "in.wav", "PCM_16", 0.5, bits=16)
    for layout, expected in ((Layout(mask=0x30), 2), (Layout(mask=3), 0), (Layout(mask=0), 0), (None, 0)):
        said, _ = put(tmp_path / "x.ogg", Recording(**{**source.__dict__, "layout": layout}))
        assert ("loudspeakers" in said) == bool(expected)
    assert not find_losses(
        "x.au", source, [], AudioSpec(shape=(0, 2), sample_rate_hz=8000, format="AU", subtype="PCM_16", tags={})
    )
