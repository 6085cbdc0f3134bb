"""`audiolm continue`: exact lengths, exact samples, seeds, options, and what it says about inputs it cannot use."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audiolm_cli.audio import read_audio
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.guards import Fault, Guard
from audiolm_cli.events import AUDIO_S, Activity, Event, Note, Progress
from audiolm_cli.workflows.continue_audio import continue_files

Piano = Callable[..., np.ndarray]
RATES_HZ = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000, 44101, 31999, 12345)
KINDS = (
    [(".wav", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "PCM_U8", "DOUBLE")]
    + [(".flac", "PCM_16"), (".flac", "PCM_24")]
    + [(".aiff", subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT")]
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in an empty folder, where default outputs go."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def take(here: Path, piano: Piano) -> Path:
    """One second of 16-bit stereo at 22.05 kHz."""
    path = here / "take.wav"
    soundfile.write(path, piano(1.0, 22050, 2), 22050, subtype="PCM_16")
    return path


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """`audiolm continue` with the tiny model."""
    return lambda *args: audiolm("continue", "-m", tiny_model, *args)


def native(path: Path | str) -> np.ndarray:
    """The exact samples of a file."""
    return read_audio(path).samples


def comment(path: Path | str) -> dict[str, Any]:
    """What the file's comment tag says."""
    facts = json.loads(read_audio(path).tags["comment"])
    assert isinstance(facts, dict)
    return facts


# Lengths and samples


@settings(max_examples=40, deadline=None)
@given(
    rate_hz=st.sampled_from(RATES_HZ),
    channels=st.integers(1, 3),
    kind=st.sampled_from(KINDS),
    length_s=st.floats(0.1, 1.5),
    duration_s=st.floats(0.01, 0.7),
    before=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)
@example(
    rate_hz=44101, channels=3, kind=(".wav", "PCM_24"), length_s=0.5, duration_s=0.31, before=False, seed=0
)  # one second passes before this rate and the codec's meet
@example(rate_hz=192000, channels=1, kind=(".flac", "PCM_24"), length_s=0.1, duration_s=0.7, before=True, seed=1)
@example(rate_hz=8000, channels=2, kind=(".aiff", "PCM_16"), length_s=1.5, duration_s=0.01, before=False, seed=2)
def test_exact_length_and_samples(
    tiny_model: Path,
    piano: Piano,
    rate_hz: int,
    channels: int,
    kind: tuple[str, str],
    length_s: float,
    duration_s: float,
    before: bool,
    seed: int,
) -> None:
    """`round(duration * rate)` new samples; rate, channels and subtype kept; the input's samples bit for bit."""
    suffix, subtype = kind
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / f"in{suffix}", Path(folder) / f"out{suffix}"
        count = max(round(length_s * rate_hz), -(-rate_hz // 10))
        soundfile.write(source, piano(2.0, rate_hz, channels, seed % 100)[:count], rate_hz, subtype=subtype)
        config = GenerateConfig(output=str(target), model=str(tiny_model), seed=seed)
        result = continue_files([str(source)], duration_s, before, config)
        info, new = soundfile.info(target), round(duration_s * rate_hz)
        assert (info.samplerate, info.channels, info.subtype) == (rate_hz, channels, subtype)
        old, made = native(source), native(target)
        assert old.dtype == made.dtype
        assert len(made) == len(old) + new
        kept = made[new:] if before else made[: len(old)]
        assert kept.tobytes() == old.tobytes()
        (output,) = result.outputs
        start = 0 if before else len(old)
        assert output.generated == [(start / rate_hz, (start + new) / rate_hz)]
        assert output.duration_s == len(made) / rate_hz
        assert sorted(os.listdir(folder)) == sorted([source.name, target.name])


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate_hz", "channels", "default_subtype"),
    [
        (".flac", "PCM_24", 44100, 2, "PCM_24"),
        (".wav", "FLOAT", 48000, 2, "FLOAT"),
        (".mp3", "MPEG_LAYER_III", 22050, 1, "PCM_16"),
        (".ogg", "VORBIS", 32000, 2, "PCM_16"),
        (".wav", "PCM_16", 8000, 1, "PCM_16"),
        (".wav", "ULAW", 8000, 1, "ULAW"),
        (".aiff", "PCM_24", 44100, 2, "PCM_24"),
    ],
)
def test_inputs_as_people_have_them(
    go: Any, piano: Piano, suffix: str, subtype: str, rate_hz: int, channels: int, default_subtype: str
) -> None:
    """Into the default WAV, and into the input's own format; lossy inputs keep what they decode to."""
    source = Path(f"in{suffix}")
    soundfile.write(source, piano(1.2, rate_hz, channels), rate_hz, subtype=subtype)
    assert go(source, "-d", 0.3, "--seed", 1).exit_code == 0
    assert go(source, "-d", 0.3, "--seed", 1, "-o", f"own{suffix}").exit_code == 0
    old, new = read_audio(source), read_audio("in.continued.wav")
    assert (new.sample_rate_hz, new.channels, new.subtype) == (rate_hz, channels, default_subtype)
    assert new.num_samples == old.num_samples + round(0.3 * rate_hz)
    assert soundfile.info(f"own{suffix}").subtype == subtype
    if old.lossless:
        assert new.samples[: old.num_samples].tobytes() == old.samples.tobytes()
    else:
        near = new.wav(0, old.num_samples)
        assert np.abs(near - np.clip(old.wav(), -1, 1)).max() <= 2**-15


def test_an_m4a_goes_through_ffmpeg(go: Any, piano: Piano) -> None:
    """What libsndfile does not read becomes 16-bit PCM."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    soundfile.write("in.wav", piano(1.0, 44100, 2), 44100)
    subprocess.run(["ffmpeg", "-v", "error", "-i", "in.wav", "in.m4a"], check=True)
    assert go("in.m4a", "-d", 0.3).exit_code == 0
    assert soundfile.info("in.continued.wav").subtype == "PCM_16"


def test_far_beyond_the_window(go: Any, take: Path) -> None:
    """The model's window is 1.2 s; 5 s and a bit, behind and in front, come in steps and to the sample."""
    for flags, name in (((), "a.wav"), (("--before",), "b.wav")):
        assert go(take, "-d", 5.0001, "-o", name, "--seed", 1, *flags).exit_code == 0
        new, old = native(name), native(take)
        assert len(new) == len(old) + round(5.0001 * 22050)
        kept = new[-len(old) :] if flags else new[: len(old)]
        assert kept.tobytes() == old.tobytes()
        made = new[: -len(old)] if flags else new[len(old) :]
        loudness = np.sqrt(np.mean(made[: 5 * 22050].reshape(5, -1).astype(float) ** 2, axis=1))
        assert (loudness > 0).all()  # no second of it is missing


def test_what_is_decoded_while_it_is_written(go: Any, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is what would be decoded at once, picture included; the time it takes counts as decoding."""
    from audiolm_cli.editing import takes

    flags = (take, "-d", 0.5, "--seed", 1, "-n", 2, "-f", "--json")
    assert go(*flags, "-o", "a.wav").exit_code == 0
    monkeypatch.setattr(takes, "LONG_S", 0.1)
    shown = go(*flags, "-o", "b.wav", "--plot", "b.png")
    assert json.loads(shown.stdout)["timing"]["decode_s"] > 0
    assert go(*flags, "-o", "c.wav").exit_code == 0
    for number in (1, 2):
        expected = native(f"a.{number}.wav").tobytes()
        assert native(f"b.{number}.wav").tobytes() == native(f"c.{number}.wav").tobytes() == expected


def test_a_minute_of_stereo_is_heard_from_its_end(go: Any, piano: Piano) -> None:
    """What lies before the window changes nothing."""
    long = piano(6.0, 32000)
    soundfile.write("long.wav", long, 32000, subtype="FLOAT")
    soundfile.write("short.wav", long[2 * 32000 :], 32000, subtype="FLOAT")
    for name in ("long.wav", "short.wav"):
        assert go(name, "-d", 0.5, "--seed", 3).exit_code == 0
    a, b = native("long.continued.wav")[-16000:], native("short.continued.wav")[-16000:]
    assert np.abs(a - b).max() < 1e-4


# Seeds and takes


def test_the_same_seed_gives_the_same_bytes(tiny_model: Path, take: Path) -> None:
    """Twenty times in this process."""
    files = set()
    for _ in range(20):
        config = GenerateConfig(output="a.wav", model=str(tiny_model), seed=11, force=True)
        continue_files([str(take)], 0.1, config=config)
        files.add(Path("a.wav").read_bytes())
    assert len(files) == 1


def test_the_same_seed_gives_the_same_bytes_in_other_processes(tiny_model: Path, take: Path) -> None:
    """As files and through a pipe: a WAV on standard input, a WAV on standard output, all else on stderr."""
    command = [sys.executable, "-m", "audiolm_cli", "continue", "-m", str(tiny_model), "-d", "0.3", "--seed", "5"]
    runs = [
        subprocess.run([*command, "-", "-o", "-"], input=take.read_bytes(), capture_output=True, timeout=120)
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [0, 0]
    assert runs[0].stdout == runs[1].stdout
    assert b"seed 5" in runs[0].stderr
    continue_files([str(take)], 0.3, config=GenerateConfig(output="a.wav", model=str(tiny_model), seed=5))
    piped, _ = soundfile.read(io.BytesIO(runs[0].stdout), dtype="int16")
    filed, _ = soundfile.read("a.wav", dtype="int16")
    assert (filed == piped).all(), "only the comment differs: a pipe has no name"
    assert len(piped) == 22050 + round(0.3 * 22050)


def test_takes_differ_and_each_can_be_had_alone(go: Any, take: Path) -> None:
    """Four takes are four files with the seeds N, N + 1, ...; a take's seed gives it again."""
    shown = go(take, "-d", 0.4, "--takes", 4, "--seed", 7, "--json")
    outputs = json.loads(shown.stdout)["outputs"]
    assert [output["path"] for output in outputs] == [f"take.continued.{i}.wav" for i in (1, 2, 3, 4)]
    assert [(output["take"], output["seed"]) for output in outputs] == [(1, 7), (2, 8), (3, 9), (4, 10)]
    assert len({native(output["path"]).tobytes() for output in outputs}) == 4
    assert go(take, "-d", 0.4, "--seed", 9, "-o", "again.wav").exit_code == 0
    assert Path("again.wav").read_bytes() == Path("take.continued.3.wav").read_bytes()


def test_a_drawn_seed_is_reported_and_reproduces(go: Any, take: Path) -> None:
    """Without --seed: on stdout, in --json, and in the file's comment."""
    shown = go(take, "-d", 0.4)
    seed = comment("take.continued.wav")["seed"]
    assert f"seed {seed})" in shown.stdout
    told = json.loads(go(take, "-d", 0.4, "-o", "b.wav", "--json").stdout)["outputs"][0]["seed"]
    assert told == comment("b.wav")["seed"] != seed
    assert go(take, "-d", 0.4, "-o", "c.wav", "--seed", seed).exit_code == 0
    assert Path("c.wav").read_bytes() == Path("take.continued.wav").read_bytes()


def test_the_comment_holds_the_settings(go: Any, take: Path, tiny_model: Path) -> None:
    """Every setting that shapes the result, the model's hash and the version; the input's other tags stay."""
    samples, rate_hz = soundfile.read(take, dtype="int16")
    with soundfile.SoundFile("tagged.wav", "w", rate_hz, 2, "PCM_16") as file:
        file.title, file.comment = "Prelude", "mine"
        file.write(samples)
    flags = ["--temperature", 0.9, "--top-k", 20, "--top-p", 0.95, "--nar-temperature", 0.5, "--nar-passes", 2]
    flags += ["--prompt", 0.5]
    shown = go("tagged.wav", "-d", 0.3, "--seed", 3, "--dtype", "fp32", *flags, "--json")
    facts = comment("tagged.continued.wav")
    assert facts["model_sha256"] == json.loads(shown.stdout)["model"]["sha256"]
    wanted = {"seed": 3, "temperature": 0.9, "top_k": 20, "top_p": 0.95, "nar_temperature": 0.5}
    wanted |= {"nar_passes": 2, "prompt_s": 0.5}
    assert facts | wanted == facts
    assert (
        facts | {"command": "continue", "duration_s": 0.3, "before": False, "model": "tiny", "dtype": "fp32"} == facts
    )
    assert facts["until_end"] is False and facts["input_comment"] == "mine"
    assert read_audio("tagged.continued.wav").tags["title"] == "Prelude"


# Options


def test_only_new(go: Any, take: Path) -> None:
    """The generated span alone is the end (or the start) of what is written without the flag."""
    new = round(0.3 * 22050)
    for flags in ((), ("--before",)):
        assert go(take, "-d", 0.3, "--seed", 1, "-f", "-o", "whole.wav", *flags).exit_code == 0
        shown = go(take, "-d", 0.3, "--seed", 1, "-f", "-o", "new.wav", "--only-new", "--json", *flags)
        whole = native("whole.wav")
        assert native("new.wav").tobytes() == (whole[:new] if flags else whole[-new:]).tobytes()
        assert json.loads(shown.stdout)["outputs"][0]["generated"] == [[0.0, new / 22050]]


def test_until_end(audiolm: Any, make_model: Any, take: Path, tmp_path: Path) -> None:
    """A model that wants to end may, and then the file is shorter, down to nothing new; without the flag it may not."""
    ends = make_model(tmp_path / "ends", ends=True)
    flags = ("-m", ends, take, "-d", 4, "--takes", 6, "--seed", 1, "--json")
    outputs = json.loads(audiolm("continue", *flags, "--until-end").stdout)["outputs"]
    lengths = [output["duration_s"] for output in outputs]
    assert all(1 <= length < 5 for length in lengths) and len(set(lengths)) > 3
    for output in outputs:
        made = native(output["path"])
        assert len(made) == round(output["duration_s"] * 22050)
        assert made[:22050].tobytes() == native(take).tobytes()
        assert output["generated"] == [[1.0, output["duration_s"]]]
        assert made[-50:].any()  # it ends in sound, not in padding
        assert comment(output["path"])["until_end"] is True
    outputs = json.loads(audiolm("continue", *flags, "-f").stdout)["outputs"]
    assert [output["duration_s"] for output in outputs] == [5.0] * 6


def test_until_end_at_once(tiny_model: Path, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that ends before the first frame leaves the recording as it was, picture included."""
    import torch

    from audiolm_cli.model import decode

    monkeypatch.setattr(decode, "sample_first", lambda logits, *_: torch.full((len(logits),), logits.shape[-1] - 1))
    for only_new, expected in ((False, 22050), (True, 0)):
        config = GenerateConfig(
            output="a.wav", plot="a.png", model=str(tiny_model), until_end=True, force=True, only_new=only_new
        )
        result = continue_files([str(take)], 1.0, config=config)
        assert soundfile.info("a.wav").frames == expected
        assert Path("a.png").read_bytes()[:4] == b"\x89PNG"
        assert result.timing["rtf"] == 0


def test_until_end_does_not_go_in_front(go: Any, take: Path) -> None:
    """What leads into the recording ends where that begins."""
    shown = go(take, "--before", "--until-end")
    assert shown.exit_code == 2
    assert "--before" in shown.stderr


def test_prompt(go: Any, take: Path, piano: Piano) -> None:
    """With --prompt 0.4 only the last 0.4 s matter; --prompt longer than the window is the window."""
    other = native(take).copy()
    other[: 22050 // 2] = other[: 22050 // 2][::-1]  # another first half, of the same peak
    soundfile.write("other.wav", other >> 16 << 16, 22050, subtype="PCM_16")
    tails = {}
    for prompt in ("0.4", "1", "99999", "9" * 400):
        for name in ("take.wav", "other.wav"):
            assert go(name, "-d", 0.4, "--seed", 2, "--prompt", prompt, "-f", "-o", "out.wav").exit_code == 0
            tails[prompt, name] = native("out.wav")[22050:].tobytes()
    assert tails["0.4", "take.wav"] == tails["0.4", "other.wav"]
    assert tails["1", "take.wav"] != tails["1", "other.wav"]
    assert tails["99999", "take.wav"] == tails["9" * 400, "take.wav"]


def made(go: Any, *flags: object) -> bytes:
    """The samples of a continuation."""
    assert go("take.wav", "-d", 0.6, "-f", "-o", "made.wav", *flags).exit_code == 0
    return native("made.wav").tobytes()


def test_temperature_and_filters(go: Any, take: Path) -> None:
    """Greedy does not depend on the seed, the likeliest code alone is greedy, and every filter changes something."""
    likeliest = ("--nar-temperature", 0)
    greedy = made(go, "--temperature", 0, *likeliest, "--seed", 1)
    assert greedy == made(go, "--temperature", 0, *likeliest, "--seed", 2)
    assert greedy == made(go, "--top-k", 1, *likeliest, "--seed", 3)
    assert greedy == made(go, "--top-p", 1e-6, *likeliest, "--seed", 3)
    free = made(go, "--seed", 1)
    others = [
        ("--temperature", 3),
        ("--top-k", 3),
        ("--top-p", 0.5),
        likeliest,
    ]
    results = [made(go, "--seed", 1, *flags) for flags in others]
    assert len({greedy, free, *results}) == 6


def test_plot(go: Any, take: Path, piano: Piano) -> None:
    """One PNG per take; the names of several inputs are in it; odd names are drawn as they are."""
    name = "a$\\frac$_日本.wav"
    soundfile.write(name, piano(0.5, 8000), 8000)
    shown = go(name, "-d", 0.2, "--plot", "one.png", "-q")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert go(take, "-d", 0.2, "-n", 2, "-o", "t.wav", "--plot", "two.png").exit_code == 0
    assert go(take, name, "-d", 0.2, "-f", "--plot", "many.png").exit_code == 0
    pictures = ["one.png", "two.1.png", "two.2.png", "many.take.png", f"many.{Path(name).stem}.png"]
    for picture in pictures:
        assert Path(picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(p.name for p in Path().glob("*.png")) == sorted(pictures)


def test_plot_is_checked_before_the_work(go: Any, take: Path) -> None:
    """An existing picture and a name that is no PNG; nothing is written."""
    Path("there.png").write_text("mine")
    shown = go(take, "-d", 0.2, "--plot", "there.png", "-o", "out.wav")
    assert shown.exit_code == 7 and "there.png: exists already" in shown.stderr
    for name in ("picture.jpg", "picture", "out.wav", "-"):
        shown = go(take, "-d", 0.2, "--plot", name)
        assert shown.exit_code == 2 and ".png" in shown.stderr
    shown = go(take, "-d", 0.2, "--plot", "nope/x.png")
    assert shown.exit_code == 7 and "nope does not exist; make it, or choose another" in shown.stderr
    assert "-o" not in shown.stderr.split(), "which is another file"
    assert Path("there.png").read_text() == "mine"
    assert sorted(os.listdir()) == ["take.wav", "there.png"]
    assert go(take, "-d", 0.2, "--plot", "there.png", "-f").exit_code == 0
    assert Path("there.png").read_bytes()[:4] == b"\x89PNG"


def test_json(go: Any, take: Path, tiny_model: Path) -> None:
    """One object of the promised shape on stdout; times add up."""
    shown = go(take, "-d", 0.5, "--seed", 4, "--dtype", "fp32", "--json")
    result = json.loads(shown.stdout)
    assert set(result) == {"outputs", "model", "device", "dtype", "version", "settings", "timing", "failed", "page"}
    sampling = {
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "nar_temperature": 0.9,
        "guidance": 1.0,
        "nar_passes": 1,
    }
    assert result["outputs"] == [
        {
            "path": "take.continued.wav",
            "seed": 4,
            "take": 1,
            "sample_rate_hz": 22050,
            "channels": 2,
            "duration_s": 1.5,
            "generated": [[1.0, 1.5]],
            "sampling": sampling,
            "score": None,
            "faults": [],
            "losses": [],
            "plot": None,
        }
    ]
    assert result["page"] is None
    assert result["model"]["name"] == "tiny" and len(result["model"]["sha256"]) == 64
    assert (result["device"], result["dtype"], result["failed"]) == ("cpu", "fp32", [])
    assert result["settings"] == {
        "duration_s": 0.5,
        "before": False,
        "stream": False,
        "prompt_s": None,
        "until_end": False,
        "best_of": None,
        "channels": "mid",
        "style_token": None,
        **sampling,
    }
    timing = result["timing"]
    stages = [timing[f"{stage}_s"] for stage in ("load", "encode", "ar", "nar", "decode")]
    assert all(seconds > 0 for seconds in stages)
    assert sum(stages) <= timing["total_s"] + 1e-3
    assert timing["frames"] >= 25
    assert timing["rtf"] == pytest.approx((timing["total_s"] - timing["load_s"]) / 0.5, rel=0.02)


def test_outputs_have_their_names(go: Any, take: Path, piano: Piano) -> None:
    """A file, a folder that exists, a folder by its slash, and the current folder."""
    Path("out").mkdir()
    for target, written in (("b.flac", "b.flac"), ("out", "out/take.continued.wav"), (None, "take.continued.wav")):
        shown = go(take, "-d", 0.1, *([] if target is None else ["-o", target]))
        assert shown.exit_code == 0
        assert shown.stdout.startswith(f"{written}  (new: 1.000-1.100 s of 1.100 s, seed ")
        assert soundfile.info(written).frames == 22050 + 2205
    assert soundfile.info("b.flac").format == "FLAC"
    assert go(take, "-d", 0.1, "-o", "new/er/").exit_code == 0  # the slash makes the folder
    assert os.listdir("new/er") == ["take.continued.wav"]
    shown = go(take, "-d", 0.1, "-o", "take.wav/")
    assert shown.exit_code == 7 and "take.wav/: the folder cannot be made" in shown.stderr


def test_several_inputs(go: Any, take: Path, piano: Piano) -> None:
    """Each has its output; equal stems are told apart, with takes too; one file cannot hold two."""
    for folder in ("a", "b"):
        Path(folder).mkdir()
        soundfile.write(f"{folder}/x.wav", piano(0.5, 16000, seed=ord(folder)), 16000)
    Path("out").mkdir()
    shown = go("a/x.wav", "b/x.wav", take, "-d", 0.1, "-o", "out")
    assert shown.exit_code == 0
    assert sorted(os.listdir("out")) == ["take.continued.wav", "x-2.continued.wav", "x.continued.wav"]
    assert native("out/x-2.continued.wav")[:8000].tobytes() == native("b/x.wav").tobytes()
    shown = go("a/x.wav", "b/x.wav", "-d", 0.1, "-o", "out", "-n", 2, "--plot", "out/p.png")
    assert shown.exit_code == 0
    names = {f"x{mark}.continued.{take}.wav" for mark in ("", "-2") for take in (1, 2)}
    pictures = {f"p.x{mark}.{take}.png" for mark in ("", "-2") for take in (1, 2)}
    assert names | pictures < set(os.listdir("out"))
    for target in ("one.wav", "-"):
        shown = go("a/x.wav", "b/x.wav", "-d", 0.1, "-o", target)
        assert shown.exit_code == 2 and "folder" in shown.stderr


def test_every_option_reads_the_environment(go: Any, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AUDIOLM_<FLAG>, which a flag overrules."""
    for name, value in (
        ("DURATION", "0:00.2"),
        ("SEED", "8"),
        ("TAKES", "2"),
        ("TOP_K", "5"),
        ("OUTPUT", "env.flac"),
        ("ONLY_NEW", "1"),
        ("JSON", "true"),
        ("BEFORE", "1"),
    ):
        monkeypatch.setenv(f"AUDIOLM_{name}", value)
    outputs = json.loads(go(take, "--takes", 1).stdout)["outputs"]
    assert [(output["path"], output["seed"]) for output in outputs] == [("env.flac", 8)]
    assert soundfile.info("env.flac").frames == 4410
    assert comment("env.flac")["top_k"] == 5 and comment("env.flac")["before"] is True


@pytest.mark.parametrize("peak", [1e-44, 1e-6, 4.0, 1e37])
def test_any_level(go: Any, piano: Piano, peak: float) -> None:
    """Float recordings far over or under full scale go on at a level of their own kind, in numbers."""
    soundfile.write("in.wav", (piano(0.7, 44100, 2).astype(np.float64) * peak).astype(np.float32), 44100, "FLOAT")
    assert go("in.wav", "-d", 0.3, "--seed", 1).exit_code == 0
    new = native("in.continued.wav")[-13230:]
    assert np.isfinite(new).all() and np.abs(new).max() < max(peak, 0.1)


@pytest.mark.parametrize("dtype", ["int8", "bf16", "fp32"])
def test_dtypes(go: Any, take: Path, dtype: str) -> None:
    """Each works on the CPU, keeps the recording, and is reported."""
    shown = go(take, "-d", 0.5, "--seed", 1, "--dtype", dtype, "--json")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["dtype"] == comment("take.continued.wav")["dtype"] == dtype
    new, old = native("take.continued.wav"), native(take)
    assert len(new) == 22050 + 11025 and new[:22050].tobytes() == old.tobytes() and new[22050:].any()


def test_threads(go: Any, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch gets as many as were asked for, and is left alone otherwise."""
    import torch

    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert go(take, "-d", 0.1, "--threads", 3).exit_code == 0
    assert go(take, "-d", 0.1, "-f").exit_code == 0
    assert asked == [3]


def test_a_model_in_the_cache(
    audiolm: Any, tiny_model: Path, take: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, in the cache of --cache-dir or of the environment; offline as always."""
    shutil.copytree(tiny_model, tmp_path / "other" / "mine")
    flags = ["-m", "mine", "-d", 0.1, "--offline", "-f"]
    assert audiolm("continue", take, *flags, "--cache-dir", tmp_path / "other").exit_code == 0
    assert audiolm("continue", take, *flags).exit_code == 4
    shutil.copytree(tiny_model, cache / "mine")
    assert audiolm("continue", take, *flags).exit_code == 0


def test_progress(go: Any, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines where there is no terminal, none with --no-progress, each stage's time with -v."""
    monkeypatch.setattr("audiolm_cli.cli.render.LINE_EVERY_S", 0.0)
    assert "generate: 0.1/0.2 s of audio" in go(take, "-d", 0.2).stderr
    assert "generate:" not in go(take, "-d", 0.2, "-f", "--no-progress").stderr
    said = go(take, "-d", 0.2, "-f", "--no-progress", "-v").stderr
    assert "generate: 0." in said and "decode: 0." in said


def test_quiet(go: Any, take: Path) -> None:
    """-q leaves stderr empty; with -v, the stages' times are there, and stdout is the same."""
    quiet = go(take, "-d", 0.1, "--seed", 1, "-q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    loud = go(take, "-d", 0.1, "--seed", 1, "-f", "-v")
    assert loud.stdout == quiet.stdout
    for stage in ("load", "encode", "AR", "NAR", "decode", "total"):
        assert f"{stage} " in loud.stderr


def test_a_name_that_is_not_utf8(go: Any, take: Path, here: Path) -> None:
    """As old disks have them: written, and named on stdout with an escape, as text and as JSON."""
    name = os.fsdecode(os.path.join(os.fsencode(here), b"caf\xe9.wav"))
    shutil.copy(take, name)
    shown = go(name, "-d", 0.1, "--plot", "p.png", "--page", "p.html")
    assert (shown.exit_code, shown.stdout.split()[0]) == (0, "caf\\udce9.continued.wav")
    shown = go(name, "-d", 0.1, "-f", "--json")
    assert "outputs" in json.loads(shown.stdout)
    assert b"caf\xe9.continued.wav" in os.listdir(os.fsencode(here))


def test_an_end_in_silence_is_told(go: Any, piano: Any) -> None:
    """Where new audio goes, and nowhere else: more silence is what follows it."""
    sound = np.concatenate([np.zeros((22050, 2)), piano(1.0, 22050, 2), np.zeros((4 * 22050, 2))])
    soundfile.write("rest.wav", sound, 22050, subtype="PCM_16")
    assert "rest.wav ends in 4." in go("rest.wav", "-d", 0.2, "--seed", 1).stderr
    assert "of silence" not in go("rest.wav", "-d", 0.2, "--seed", 1, "--before").stderr  # a second is a rest
    soundfile.write("turned.wav", sound[::-1], 22050, subtype="FLOAT")
    assert "turned.wav begins with 4." in go("turned.wav", "-d", 0.2, "--seed", 1, "--before").stderr


def test_a_silent_prompt_works(go: Any) -> None:
    """With a warning, also when quiet, and in stereo."""
    soundfile.write("silent.wav", np.zeros((22050, 2), np.int16), 22050)
    shown = go("silent.wav", "-d", 0.5, "--seed", 1, "-q")
    assert shown.exit_code == 0
    assert shown.stderr.startswith("warning: silent.wav is silent")
    new = native("silent.continued.wav")
    assert len(new) == 22050 + 11025 and not new[:22050].any()


# What cannot be used


def broken_inputs(piano: np.ndarray) -> dict[str, Callable[[Path], object]]:
    """Unusable recordings by the word that the error must contain."""

    def truncated(path: Path) -> None:
        soundfile.write(path, piano, 44100, format="FLAC")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def promising(path: Path) -> None:
        head = b"RF64" + b"\xff" * 4 + b"WAVEds64" + struct.pack("<IQQQI", 28, 2**62, 2**62, 2**62, 0)
        head += b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 44100, 88200, 2, 16) + b"data" + b"\xff" * 4
        path.write_bytes(head + bytes(1000))

    def not_numbers(path: Path) -> None:
        samples = piano.copy()
        samples[100] = np.nan
        soundfile.write(path, samples, 44100, format="WAV", subtype="FLOAT")

    return {
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("Dear Sir or Madam,\n"),
        "truncated": truncated,
        "20 ms": lambda path: soundfile.write(path, piano[:882], 44100, format="WAV"),
        "nan": not_numbers,
        "promises": promising,
        "folder": lambda path: path.mkdir(),
        "no such file": lambda path: None,
        "no audio": lambda path: soundfile.write(path, piano[:0], 44100, format="WAV"),
    }


@pytest.mark.parametrize("word", list(broken_inputs(np.zeros(0))))
def test_unusable_inputs(go: Any, piano: Piano, word: str) -> None:
    """Exit code 3, one line that names the file and the reason, and nothing is left behind."""
    path = Path("broken.wav")
    broken_inputs(piano(1.0, 44100))[word](path)
    listing = sorted(os.listdir())
    shown = go(path, "-d", 0.2, "-q")
    assert (shown.exit_code, shown.stdout) == (3, "")
    assert shown.stderr.startswith("audiolm: error: broken.wav: ") and shown.stderr.count("\n") == 1
    assert word in shown.stderr and "Traceback" not in shown.stderr
    assert sorted(os.listdir()) == listing


def test_no_permission_to_read(tiny_model: Path, take: Path, here: Path) -> None:
    """Also where the tests run as root, for whom modes mean nothing: the program then runs as somebody else."""
    take.chmod(0)
    command = [sys.executable, "-m", "audiolm_cli", "continue", "-m", str(tiny_model), "-q", str(take)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("as root every file can be read, and setpriv is not installed")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 3, run.stderr
    assert run.stderr.count("\n") == 1 and "permission" in run.stderr
    assert os.listdir(here) == ["take.wav"]


def test_a_format_that_cannot_hold_it_is_refused_before_the_work(
    go: Any, piano: Piano, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three channels do not go into an MP3."""
    soundfile.write("in.wav", piano(0.5, 44100, 3), 44100)
    monkeypatch.setattr("audiolm_cli.editing.takes.GapFiller", lambda *_, **__: pytest.fail("worked"))
    shown = go("in.wav", "-d", 0.2, "-o", "out.mp3")
    assert shown.exit_code == 2 and "MP3" in shown.stderr
    assert os.listdir() == ["in.wav"]


def test_cuda_without_cuda(go: Any, take: Path) -> None:
    """A machine without such a device says so."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    shown = go(take, "--device", "cuda", "-q")
    assert shown.exit_code == 2
    assert "CUDA" in shown.stderr and shown.stderr.count("\n") == 1
    assert os.listdir() == ["take.wav"]


@pytest.mark.parametrize(
    ("file", "damage"),
    [("model.safetensors", b""), ("codec.safetensors", None), ("config.json", b"{"), ("config.json", None)],
)
def test_a_damaged_model(
    audiolm: Any, tiny_model: Path, take: Path, tmp_path: Path, file: str, damage: bytes | None
) -> None:
    """The file is named."""
    shutil.copytree(tiny_model, tmp_path / "m")
    (tmp_path / "m" / file).unlink() if damage is None else (tmp_path / "m" / file).write_bytes(damage)
    shown = audiolm("continue", "-m", tmp_path / "m", take, "-q")
    assert (shown.exit_code, shown.stdout) == (4, "")
    assert file in shown.stderr and shown.stderr.count("\n") == 1
    assert os.listdir() == ["take.wav"]


def test_a_codec_is_no_model(audiolm: Any, tiny_codec: Path, take: Path) -> None:
    """The error says what to do with it."""
    shown = audiolm("continue", "-m", tiny_codec, take)
    assert shown.exit_code == 4 and "audiolm train" in shown.stderr


def test_a_full_disk(go: Any, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file or its picture meets it: exit code 7, one line, nothing half-written."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        shown = go(take, "-d", 0.2, "-q")
    assert (shown.exit_code, shown.stdout) == (7, "")
    assert "no space left" in shown.stderr and shown.stderr.count("\n") == 1
    assert os.listdir() == ["take.wav"]
    monkeypatch.setattr("audiolm_cli.editing.picture.write_whole", lambda *_, **__: full(0), raising=True)
    shown = go(take, "-d", 0.2, "-q", "--plot", "p.png")
    assert shown.exit_code == 7
    assert sorted(os.listdir()) == ["take.continued.wav", "take.wav"]


def test_a_closed_pipe(tiny_model: Path, take: Path) -> None:
    """Whoever reads our output may stop reading: no traceback."""
    command = [sys.executable, "-m", "audiolm_cli", "continue", "-m", str(tiny_model), str(take), "-d", "1", "-o", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 7
    assert "standard output" in said and "Traceback" not in said and "Exception ignored" not in said


def test_one_of_three_fails(go: Any, take: Path, piano: Piano) -> None:
    """The others are done, the failure is named with its reason, and the exit code is 10; also when all fail."""
    Path("bad.wav").write_bytes(b"")
    soundfile.write("other.flac", piano(0.5, 16000), 16000)
    shown = go(take, "bad.wav", "other.flac", "-d", 0.1, "--json")
    assert shown.exit_code == 10
    result = json.loads(shown.stdout)
    assert [output["path"] for output in result["outputs"]] == ["take.continued.wav", "other.continued.wav"]
    assert [failure["input"] for failure in result["failed"]] == ["bad.wav"]
    assert "warning: bad.wav: is empty" in shown.stderr
    assert "1 input failed and the others are done: bad.wav" in shown.stderr
    assert sorted(os.listdir()) == ["bad.wav", "other.continued.wav", "other.flac", "take.continued.wav", "take.wav"]
    shown = go("bad.wav", "missing.wav", "-d", 0.1)
    assert shown.exit_code == 10 and "none is done" in shown.stderr


def test_one_of_three_crashes_the_decoder(go: Any, take: Path, piano: Piano, crashing_decoder: int) -> None:
    """It fails like one that cannot be read; as the only input, too."""
    soundfile.write("bad.wav", piano(1.0, crashing_decoder), crashing_decoder)
    shutil.copy(take, "third.wav")
    shown = go(take, "bad.wav", "third.wav", "-d", 0.2)
    assert shown.exit_code == 10, shown.stderr
    assert "bad.wav: the process that decoded it crashed (SIGSEGV)" in shown.stderr
    assert Path("third.continued.wav").is_file() and not Path("bad.continued.wav").exists()
    assert go("bad.wav", "-d", 0.2).exit_code == 3


def test_a_pipe_that_has_its_name_in_this_process_alone(go: Any, take: Path) -> None:
    """As `continue <(sox take.wav -t wav -)` names it."""
    if not Path("/dev/fd").is_dir():
        pytest.skip("file descriptors have no names here")
    with subprocess.Popen(["cat", str(take)], stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        shown = go(f"/dev/fd/{source.stdout.fileno()}", "-d", 0.2, "-o", "a.wav")
    assert shown.exit_code == 0, shown.stderr
    assert np.array_equal(native("a.wav")[: len(native(take))], native(take))


def test_an_output_is_no_input(go: Any, take: Path) -> None:
    """A second run over all files of a folder does not overwrite what it is about to read."""
    shutil.copy(take, "take.continued.wav")
    shown = go(take, "take.continued.wav", "-d", 0.1, "-f")
    assert shown.exit_code == 2 and "is an input as well" in shown.stderr
    assert Path("take.continued.wav").read_bytes() == take.read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_in_the_middle(tiny_model: Path, take: Path, number: int, code: int) -> None:
    """While it generates: the exit code of the signal, and no file."""
    command = [sys.executable, "-m", "audiolm_cli", "continue", "-m", str(tiny_model), str(take), "-d", "600"]
    script = (
        "import sys; from audiolm_cli.cli import render; from audiolm_cli.cli.app import main\n"
        "render.LINE_EVERY_S = 0.2\n"
        f"main({command[3:]!r})"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("generate:")
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == code
    assert rest.endswith("audiolm: stopped\n") and "Traceback" not in rest
    assert os.listdir() == ["take.wav"]


def test_stopped_while_writing(tiny_model: Path, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file goes as well."""

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        continue_files([str(take)], 0.2, config=GenerateConfig(model=str(tiny_model)))
    assert os.listdir() == ["take.wav"]


def test_a_stretch_that_is_made_again_is_seen(tiny_model: Path, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was wrong and which try it is, as far as it is; what counts towards the end never goes back."""
    wrong = iter([None, Fault("sinking", 0.5), Fault("repetition", 0.2), None])
    monkeypatch.setattr(Guard, "find_fault", lambda *_: next(wrong))
    events: list[Event] = []
    config = GenerateConfig(model=str(tiny_model), seed=7, takes=2)
    continue_files([str(take)], 0.3, config=config, on_event=events.append)

    again = [event for event in events if isinstance(event, Activity) and event.stage.startswith("again")]
    tries = list(dict.fromkeys((event.stage, event.detail) for event in again))
    assert tries == [("again: take 2 was too quiet", "try 1/6"), ("again: take 2 was stuck", "try 2/6")]
    for stage, _ in tries:
        *shares, last = [event.share for event in again if event.stage == stage]
        assert shares[0] == 0 and shares == sorted(set(shares)) and shares[-1] < 1
        assert last is None, "the fine codes"

    done = [event.done for event in events if isinstance(event, Progress) and event.stage == "generate"]
    assert done == sorted(set(done)) and done[-1] == 0.3


def test_as_a_function(tiny_model: Path, take: Path) -> None:
    """The workflow prints nothing: it reports events and returns what was written."""
    events: list[Event] = []
    started = time.perf_counter()
    result = continue_files(
        [str(take)],
        0.3,
        config=GenerateConfig(model=str(tiny_model), seed=7, takes=2),
        sampling=SamplingConfig(temperature=0.8),
        on_event=events.append,
        started=started,
    )
    assert [output.path for output in result.outputs] == ["take.continued.1.wav", "take.continued.2.wav"]
    stages = [event.stage for event in events if not isinstance(event, Note)]
    assert set(stages) == {"load the model", "read and encode", "generate", "fine codes", "decode"}
    reports = [event for event in events if isinstance(event, Progress)]
    assert {(report.unit, report.total) for report in reports} == {(AUDIO_S, 0.3)}
    assert [report.done for report in reports].count(0.3) == 3  # all takes generated together, then decoded one by one
    decoded = [report.done for report in reports if report.stage == "decode"]
    assert len(decoded) == 2 * (1 + 4) and decoded[0] == 0  # from the start, and after each of the codec's rounds
