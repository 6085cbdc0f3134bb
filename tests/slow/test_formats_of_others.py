"""Files of ffmpeg and sox, through audiolm, and back: as these programs hear and read them, nothing has changed.

Each kind of file that there is comes with random channels, depths or titles, from a seed.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import AudioSpec, Loss, Recording, find_losses, output_format, read_audio, write_blocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="asks ffmpeg and ffprobe"
    ),
]
needs_sox = pytest.mark.skipif(shutil.which("sox") is None, reason="makes its input with sox")

RATE_HZ = 48000
PITCHES = [300, 500, 700, 60, 1100, 1300, 1500, 1700]
LAYOUTS = {
    "mono": 1,
    "stereo": 2,
    "2.1": 3,
    "3.0": 3,
    "4.0": 4,
    "quad": 4,
    "quad(side)": 4,
    "5.0": 5,
    "5.0(side)": 5,
    "5.1": 6,
    "5.1(side)": 6,
    "6.1": 7,
    "6.1(back)": 7,
    "7.1": 8,
    "7.1(wide)": 8,
}
CODECS = {
    "s16.wav": "pcm_s16le",
    "f32.wav": "pcm_f32le",
    "s24.w64": "pcm_s24le",
    "f32.w64": "pcm_f32le",
    "s24.caf": "pcm_s24be",
    "alac.caf": "alac",
    "s16.aiff": "pcm_s16be",
    "s16.flac": "flac",
    "s24.mkv": "pcm_s24le",
    "flac.mka": "flac",
    "s32.mov": "pcm_s32le",
    "v.ogg": "libvorbis",
    "o.opus": "libopus",
    "v.mkv": "libvorbis",
    "a.m4a": "aac",
    "l.m4a": "alac",
    "x.wv": "wavpack",
    "x.ac3": "ac3",
    "x.eac3": "eac3",
}
TARGETS = ("out.wav", "out.rf64", "out.w64", "out.flac", "out.caf", "out.aiff", "out.ogg")


def ffmpeg(*args: object) -> bool:
    """Whether ffmpeg does this; what it has no encoder or no layout for is no matter of ours."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, args)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def as_heard(path: Path) -> tuple[str, list[int]]:
    """The layout of a file and the pitch of each channel, as ffmpeg has them."""
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=channel_layout", "-of", "csv=p=0", path]
    layout = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip().strip(",")
    heard = path.with_name(f"{path.name}.heard.wav")
    assert ffmpeg("-i", path, "-c:a", "pcm_f32le", heard)
    samples, rate_hz = soundfile.read(heard, always_2d=True)
    samples = samples[:rate_hz]
    spectra = np.abs(np.fft.rfft(samples * np.hanning(len(samples))[:, None], axis=0))
    return layout, [int(round(at * rate_hz / len(samples), -1)) for at in spectra.argmax(axis=0)]


def save(path: Path, like: Recording) -> list[Loss]:
    """A recording in the format of a name, and what was said of it."""
    kind, subtype = output_format(path, like)
    spec = AudioSpec(
        shape=like.samples.shape,
        sample_rate_hz=like.sample_rate_hz,
        format=kind,
        subtype=subtype,
        tags=like.tags,
        layout=like.layout,
    )
    write_blocks(path, iter([like.samples]), spec, force=True)
    return find_losses(path.name, like, [slice(0, None)], spec)


@pytest.mark.parametrize("codec", CODECS)
def test_channels_stay_with_their_loudspeakers(tmp_path: Path, codec: str) -> None:
    """Every layout in every container that takes it, to a random format."""
    rng, tried = random.Random(codec), 0
    time_s = np.arange(RATE_HZ) / RATE_HZ
    for layout, channels in LAYOUTS.items():
        tones = np.stack([0.2 * np.sin(2 * np.pi * pitch * time_s) for pitch in PITCHES[:channels]], axis=1)
        soundfile.write(tmp_path / "tones.wav", tones, RATE_HZ, "PCM_24")
        source = tmp_path / codec
        options = ["-c:a", CODECS[codec], "-b:a", "320k", "-strict", "-2"]
        if not ffmpeg("-channel_layout", layout, "-i", tmp_path / "tones.wav", *options, source):
            continue

        wanted_layout, wanted = as_heard(source)  # of which an encoder may have left some out
        recording = read_audio(source)
        for target in rng.sample(TARGETS, 3):
            losses = {loss.kind for loss in save(tmp_path / target, recording)}
            got_layout, got = as_heard(tmp_path / target)
            tried += 1
            if "loudspeakers" in losses:  # a twin's place may be another one
                assert target == "out.ogg" or (target == "out.w64" and recording.subtype == "FLOAT")
                assert sorted(got) == sorted(wanted), (layout, target)
                continue

            assert got == wanted, (layout, target)
            if target == "out.flac" and recording.layout is not None and not recording.layout.mask:
                continue  # whose mask of no loudspeakers ffmpeg takes for none
            by_number = {"", "unknown", "mono", "stereo"}
            assert got_layout == wanted_layout or {got_layout, wanted_layout} <= by_number, (layout, target)
    assert tried >= 6, "ffmpeg made hardly any of these files"


@pytest.mark.parametrize("seed", range(10))
def test_stems_stay_without_loudspeakers(tmp_path: Path, seed: int) -> None:
    """Channels for nothing in particular, in a container that says so, come out as they went in."""
    rng = random.Random(seed)
    channels = rng.choice([3, 4, 6, 8, 12, 16, 24])
    tones = np.stack([np.full(4800, (channel + 1) / 64) for channel in range(channels)], axis=1)
    soundfile.write(tmp_path / "tones.wav", tones, RATE_HZ, "PCM_24")
    source = tmp_path / f"in.{rng.choice(['wav', 'mkv', 'w64', 'mov', 'caf', 'aiff', 'au'])}"
    assert ffmpeg(
        "-guess_layout_max",
        0,
        "-i",
        tmp_path / "tones.wav",
        "-c:a",
        {".caf": "pcm_s24be", ".aiff": "pcm_s24be", ".au": "pcm_s24be"}.get(source.suffix, "pcm_s24le"),
        source,
    )

    recording = read_audio(source)
    assert recording.layout is None or recording.layout.mask == 0
    for target in ("out.wav", "out.caf", "out.w64"):
        save(tmp_path / target, recording)
        there = read_audio(tmp_path / target)
        np.testing.assert_array_equal(there.samples, recording.samples)
        assert there.layout is None or there.layout.mask == 0


DEPTHS = {
    "x.wav": ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw"),
    "x.w64": ("pcm_s16le", "pcm_s32le", "pcm_f32le"),
    "x.aiff": ("pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be"),
    "x.caf": ("pcm_s16be", "pcm_s32le", "pcm_f32be", "pcm_f64le", "alac"),
    "x.au": ("pcm_s16be", "pcm_s32be", "pcm_f32be", "pcm_f64be"),
    "x.mkv": ("pcm_s32le", "pcm_f32le", "flac"),
    "x.mov": ("pcm_s32le", "pcm_f32be", "pcm_f64le"),
    "x.wv": ("wavpack",),
}


def decode(path: Path) -> np.ndarray:
    """float64 [N, C] of a file, as ffmpeg decodes it."""
    assert ffmpeg("-i", path, "-c:a", "pcm_f64le", path.with_name(f"{path.name}.f64.wav"))
    return np.asarray(soundfile.read(path.with_name(f"{path.name}.f64.wav"), always_2d=True)[0])


@pytest.mark.parametrize("target", ["out.flac", "out.wav", "out.aiff", "out.caf"])
@pytest.mark.parametrize("name", DEPTHS)
def test_every_sample_that_changes_is_counted(tmp_path: Path, name: str, target: str) -> None:
    """At every depth, with a peak below or above full scale: what ffmpeg finds changed is what was said."""
    rng = np.random.default_rng(0)
    for codec, gain in itertools.product(DEPTHS[name], (0.7, 2.5)):
        soundfile.write(tmp_path / "noise.wav", gain * rng.uniform(-1, 1, (6000, 2)), RATE_HZ, "DOUBLE")
        assert ffmpeg("-i", tmp_path / "noise.wav", "-c:a", codec, tmp_path / name), codec
        recording = read_audio(tmp_path / name)
        assert recording.lossless, codec

        said = {loss.kind: loss.count for loss in save(tmp_path / target, recording)}
        before, after = decode(tmp_path / name), decode(tmp_path / target)
        changed, over = before != after, np.abs(before) > 1
        expected = {"clipped": np.count_nonzero(changed & over), "rounded": np.count_nonzero(changed & ~over)}
        assert said == {kind: count for kind, count in expected.items() if count}, (codec, gain)


@needs_sox
@pytest.mark.parametrize("bits", ["-b8", "-b16", "-b24", "-b32", "-e float -b32", "-e float -b64", "-e u-law -b8"])
@pytest.mark.parametrize("name", ["x.wav", "x.aifc", "x.w64", "x.caf", "x.au"])
def test_every_sample_of_sox_that_changes_is_counted(tmp_path: Path, name: str, bits: str) -> None:
    """The same of what sox writes, which is clipped at full scale by sox itself."""
    command = ["sox", "-D", "-n", "-r48000", "-c2", *bits.split(), tmp_path / name, "synth", "0.1", "noise"]
    done = subprocess.run(command, capture_output=True, check=False)
    if b"no handler for file extension" in done.stderr:
        pytest.skip(f"this sox was built, or installed, without {name[1:]}")
    assert done.returncode == 0, done.stderr
    recording = read_audio(tmp_path / name)
    said = {loss.kind: loss.count for loss in save(tmp_path / "out.flac", recording)}
    changed = np.count_nonzero(decode(tmp_path / name) != decode(tmp_path / "out.flac"))
    assert sum(said.values()) == changed and bool(changed) == (bits in ("-b32", "-e float -b32", "-e float -b64"))


ALPHABETS = ["abc ", "äöüßÉñ", "αβγδ", "жщыэ", "日本語のタイトル", "한국어", "עברית", "🎹🎻", "„“€™…"]
CONTAINERS = {
    "x.mp3": ("-id3v2_version", "3"),
    "y.mp3": ("-id3v2_version", "4"),
    "x.flac": (),
    "x.ogg": ("-c:a", "libvorbis"),
    "x.opus": ("-c:a", "libopus"),
    "x.oga": ("-c:a", "flac"),
    "x.m4a": (),
    "x.mka": ("-c:a", "flac"),
    "x.webm": ("-c:a", "libopus"),
    "x.wma": (),
    "x.wv": (),
    "x.wav": (),
    "i.wav": ("-write_id3v2", "1"),
    "x.caf": (),
    "x.aiff": ("-write_id3v2", "1"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_titles_in_every_alphabet(tmp_path: Path, name: str) -> None:
    """From every container with text to every other one."""
    rng = random.Random(name)
    for target in ("out.wav", "out.flac", "out.mp3", "out.ogg", "out.aiff", "out.caf"):
        words = ["".join(rng.choices(rng.choice(ALPHABETS), k=rng.randint(1, 12))) for _ in range(6)]
        tags = {"title": "T " + " ".join(words[:3]).strip(), "artist": "A " + " ".join(words[3:]).strip()}
        tags |= {"album": "B" + words[0].strip(), "date": "1810", "genre": "G" + words[1].strip()}
        given = [part for key, text in tags.items() for part in ("-metadata", f"{key}={text}")]
        tone = ("-f", "lavfi", "-i", "sine=440:r=48000:d=0.3")
        assert ffmpeg(*tone, *given, *CONTAINERS[name], tmp_path / name)

        recording = read_audio(tmp_path / name)
        assert {key: recording.tags.get(key) for key in tags} == tags, target
        save(tmp_path / target, recording)
        command = ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", "-of", "json"]
        shown = json.loads(subprocess.run([*command, tmp_path / target], capture_output=True, check=True).stdout)
        there = {
            {"author": "artist"}.get(key.lower(), key.lower()): text
            for part in (*shown.get("streams", []), shown.get("format", {}))
            for key, text in part.get("tags", {}).items()
        }
        assert {key: there.get(key) for key in tags} == tags, target
