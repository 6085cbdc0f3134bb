"""`audiolm info` shows what a file holds, and `audiolm again` makes what audiolm made again, sample for sample."""

from __future__ import annotations

import json
import shlex
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import read_audio
from audiolm_cli.audio.peaks import measure_loudness
from audiolm_cli.cli import render
from audiolm_cli.cli.render import Renderer

Piano = Callable[..., np.ndarray]
RATE_HZ = 22050


@pytest.fixture(autouse=True)
def take(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder with one second of 16-bit stereo."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("take.wav", piano(1.0, RATE_HZ, 2), RATE_HZ, subtype="PCM_16")
    return Path("take.wav")


def add_chunks(path: str, *chunks: tuple[bytes, bytes]) -> None:
    """Put chunks behind the samples of a WAV."""
    data = Path(path).read_bytes()
    for name, content in chunks:
        data += name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    Path(path).write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


def test_what_a_file_holds(audiolm: Any) -> None:
    """Format, length, level, tempo, markers and tags, for a person and as JSON."""
    label = b"labl" + struct.pack("<II", 10, 3) + b"Verse\0"
    add_chunks(
        "take.wav",
        (b"acid", struct.pack("<IHHfIHHf", 0, 60, 0, 0.0, 2, 4, 4, 120.0)),
        (b"cue ", struct.pack("<III4sIII", 1, 3, 5512, b"data", 0, 0, 5512)),
        (b"LIST", b"adtl" + label),
        (b"smpl", struct.pack("<9I6I", 0, 0, 0, 60, 0, 0, 0, 1, 0, 8, 0, 0, 22049, 0, 0)),
        (b"LIST", b"INFOINAM\x06\0\0\0Title\0"),
    )
    shown = audiolm("info", "take.wav")
    assert shown.exit_code == 0 and shown.stderr == ""
    told = " ".join(shown.stdout.split())
    for words in (
        "WAV PCM_16, 2 channels at 22050 Hz",
        "1.000 s, 22050 samples",
        "120 BPM in 4/4, from its acid chunk: 0.500 bars",
        "marker Verse (0.250 s)",
        "loop loop 1 (0.000:1.000 s)",
        "title Title",
    ):
        assert words in told, told

    soundfile.write("mono.wav", soundfile.read("take.wav")[0][:, 0], 22050)
    assert "WAV PCM_16, 1 channel at 22050 Hz" in audiolm("info", "mono.wav").stdout

    facts = json.loads(audiolm("info", "take.wav", "--json").stdout)
    assert facts["tempo"] == {"bpm": 120.0, "meter": "4/4", "where": "its acid chunk"} and facts["bars"] == 0.5
    assert facts["markers"][1] == {"name": "Verse", "start": 5512, "stop": None, "loops": False}
    assert facts["made"] is None and facts["command"] is None and facts["tags"] == {"title": "Title"}
    samples = soundfile.read("take.wav")[0]
    assert facts["level"]["peak_db"] == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=0.01)
    assert facts["level"]["rms_db"] == pytest.approx(10 * np.log10(np.square(samples).mean()), abs=0.01)


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000, 96000, 192000])
def test_the_true_peak_lies_between_samples(rate_hz: int) -> None:
    """Of a tone of a quarter of the rate whose samples all lie beside its crests, and so are 3 dB below them."""
    count = 40_000
    tone = np.sin(np.pi / 2 * np.arange(count) + np.pi / 4) * np.hanning(count) * 0.5
    soundfile.write("tone.wav", tone, rate_hz, subtype="FLOAT")
    level = measure_loudness(read_audio("tone.wav"))
    assert level.peak_db == pytest.approx(-9.03, abs=0.02)
    expected = -6.02 if rate_hz < 176_400 else -9.03  # at so high a rate the samples are close enough
    assert level.true_peak_db == pytest.approx(expected, abs=0.05)


def test_silence_has_no_level(audiolm: Any) -> None:
    """Minus infinity for a person, null in JSON."""
    soundfile.write("silence.wav", np.zeros(100), RATE_HZ)
    assert "peak -inf dBFS" in audiolm("info", "silence.wav").stdout
    level = json.loads(audiolm("info", "silence.wav", "--json").stdout)["level"]
    assert level == {"peak_db": None, "true_peak_db": None, "rms_db": None}


@pytest.mark.parametrize(
    "words",
    [
        ["continue", "-d", "0.3"],
        ["continue", "-d", "2beats", "--bpm", "290.3", "--prompt", "1beat", "--before", "--top-k", "20"],
        ["continue", "-d", "0.3", "--takes", "2", "--best-of", "3", "--only-new", "--temperature", "0.7"],
        ["continue", "-d", "0.3", "--stream"],
        ["infill", "--gap", "0.2:0.3", "--gap", "bar2:", "--bpm", "300", "--length", "0.25"],
        ["infill", "--gap", "markers", "--labels", "my labels.txt", "--channels", "each"],
        ["loop", "--bars", "2", "--bpm", "290", "--meter", "3/4", "--repeat", "2"],
        ["restyle", "--style", "other.wav", "--nar-temperature", "0.5", "--guidance", "1.5"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_the_same_again(
    audiolm: Any, tiny_model: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """The command that is shown makes the same samples, and `again` runs it.

    What settings files and the environment choose does not count.
    """
    soundfile.write("other.wav", piano(1.0, RATE_HZ, seed=3), RATE_HZ)
    Path("my labels.txt").write_text("0.25\t0.5\tone\n")
    made = audiolm(words[0], "take.wav", *words[1:], "-m", tiny_model, "--seed", 7, "-o", "new.wav")
    assert made.exit_code == 0, made.stderr
    path = "new.2.wav" if "--takes" in words else "new.wav"

    Path("audiolm.toml").write_text("temperature = 0.1\nprompt = 0.2\nnar-temperature = 0\n")
    for name, value in {"TOP_K": "3", "TEMPERATURE": "0.1", "BEFORE": "1", "TAKES": "2", "ONLY_NEW": "1"}.items():
        monkeypatch.setenv(f"AUDIOLM_{name}", value)
    shown = audiolm("again", path, "--with-model", tiny_model)
    assert shown.exit_code == 0, shown.stderr
    remade = f"{Path(path).stem}.again.wav"
    assert f"{remade} has the samples of {path}" in shown.stderr
    assert read_audio(path).samples.tobytes() == read_audio(remade).samples.tobytes()

    command = json.loads(audiolm("info", path, "--json").stdout)["command"]
    command[command.index("--model") + 1] = str(tiny_model)  # a file has the name alone
    assert shlex.join([*command, "-o", remade]) in shown.stderr and command[:2] == ["audiolm", "--no-config"]


def test_a_name_that_begins_with_a_dash(audiolm: Any, tiny_model: Path) -> None:
    """It is no option in the line that is shown, nor in the one that `again` runs, nor on the page."""
    Path("take.wav").rename("-take.wav")
    options = ["-d", 0.2, "-m", tiny_model, "--seed", 7, "-o", "new.wav", "--page", "new.html"]
    assert audiolm("continue", *options, "--", "-take.wav").exit_code == 0
    assert "audiolm continue ./-take.wav" in Path("new.html").read_text()
    assert "audiolm --no-config continue ./-take.wav" in audiolm("info", "new.wav").stdout
    shown = audiolm("again", "new.wav", "--with-model", tiny_model)
    assert shown.exit_code == 0 and "new.again.wav has the samples of new.wav" in shown.stderr, shown.stderr


def test_what_made_it_another(audiolm: Any, tiny_model: Path) -> None:
    """Another recording of that name: it is made all the same, and said to differ; the input may be named."""
    assert audiolm("continue", "take.wav", "-d", 0.2, "-m", tiny_model, "--seed", 7, "-o", "new.wav").exit_code == 0
    shown = audiolm("again", "new.wav")
    assert shown.exit_code == 4 and "new.wav has no more than a model's name: --with-model names" in shown.stderr
    audiolm("models", "pull", tiny_model, "--name", tiny_model.name)
    Path("other").mkdir()
    Path("take.wav").rename("other/first.wav")
    shown = audiolm("again", "new.wav")
    assert shown.exit_code == 2 and "was made from take.wav, which is neither beside it nor here" in shown.stderr
    assert audiolm("again", "new.wav", "--input", "other/first.wav", "-o", "same.wav").exit_code == 0
    samples = read_audio("other/first.wav").samples >> 16
    soundfile.write("take.wav", samples[::-1].astype(np.int16), RATE_HZ)
    shown = audiolm("again", "new.wav")
    assert shown.exit_code == 0 and "new.again.wav differs from new.wav" in shown.stderr
    assert audiolm("again", "new.wav").exit_code == 7  # it is there already
    assert audiolm("again", "new.wav", "-f").exit_code == 0


def test_one_bar_at_a_time(audiolm: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal, that of `again` is off the screen before the command draws its own."""
    assert audiolm("continue", "take.wav", "-d", 0.2, "-m", tiny_model, "--seed", 7, "-o", "new.wav").exit_code == 0
    open_bars: list[int] = []
    monkeypatch.setattr(render, "_is_terminal", lambda: True)
    enter = Renderer.__enter__

    def count(self: Renderer) -> Renderer:
        open_bars.append(sum(own._bar is not None for own in seen))
        seen.append(self)
        return enter(self)

    seen: list[Renderer] = []
    monkeypatch.setattr(Renderer, "__enter__", count)
    assert audiolm("again", "new.wav", "--with-model", tiny_model).exit_code == 0
    assert open_bars == [0, 0]


def test_the_line_that_makes_it_again(audiolm: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal, with --input where the recording is not found from here."""
    monkeypatch.setattr(render, "_is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "300")
    made = audiolm("continue", "take.wav", "-d", 0.2, "-m", tiny_model, "--seed", 7, "-o", "new.wav", "--no-progress")
    assert made.exit_code == 0

    def suggested() -> list[str]:
        (line,) = [line for line in audiolm("info", "new.wav").stderr.splitlines() if "make it again: " in line]
        return shlex.split(line.split("make it again: ")[1])

    assert suggested() == ["audiolm", "again", "new.wav"]
    Path("other").mkdir()
    Path("take.wav").rename("other/take.wav")
    assert suggested() == ["audiolm", "again", "new.wav", "--input", "PATH/TO/take.wav"]

    _, *words = (word.replace("PATH/TO", "other") for word in suggested())
    shown = audiolm(*words, "--with-model", tiny_model)
    assert shown.exit_code == 0 and "new.again.wav has the samples of new.wav" in shown.stderr


@pytest.mark.parametrize(
    ("comment", "told"),
    [
        ("", "does not say that audiolm made it"),
        ("{not json", "does not say that audiolm made it"),
        ('{"seed": 1}', "does not say that audiolm made it"),
        ('{"audiolm": "0.1.0", "command": "continue", "seed": 1}', "name it with --input"),
        (
            '{"audiolm": "0.1.0", "command": "demo continued", "seed": 1, "input": "take.wav"}',
            "by `audiolm demo continued`",
        ),
    ],
)
def test_what_cannot_be_made_again(audiolm: Any, comment: str, told: str) -> None:
    """One line and exit code 2; `info` shows the file all the same."""
    with soundfile.SoundFile("old.wav", "w", RATE_HZ, 1) as file:
        if comment:
            file.comment = comment
        file.write(np.zeros(100))
    shown = audiolm("again", "old.wav")
    assert shown.exit_code == 2 and told in shown.stderr and len(shown.stderr.strip().splitlines()) == 1
    assert audiolm("info", "old.wav").exit_code == 0


def test_files_that_are_none(audiolm: Any) -> None:
    """As for every command."""
    Path("text.wav").write_text("not a recording")
    for command in ("info", "again"):
        assert audiolm(command, "text.wav").exit_code == 3
        assert audiolm(command, "none.wav").exit_code == 3


@pytest.mark.parametrize("wrong", [True, False])
def test_what_stayed_wrong_is_shown(
    audiolm: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    """A file says of itself what a person should listen for."""
    from audiolm_cli.editing.guards import Fault, Guard

    fault = Fault("silence", 1.0) if wrong else None
    monkeypatch.setattr(Guard, "find_fault", lambda self, codes: fault if len(codes) else None)
    assert audiolm("continue", "take.wav", "-m", tiny_model, "-d", 0.4, "-o", "out.wav").exit_code == 0
    shown = audiolm("info", "out.wav")
    assert shown.exit_code == 0 and ("when made again" in shown.stdout) == wrong
    made = json.loads(audiolm("info", "out.wav", "--json").stdout)["made"]
    assert made.get("faults") == (["silent"] if wrong else None)
