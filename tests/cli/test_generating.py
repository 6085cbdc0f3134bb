"""What all generating commands have in common: takes with their names, seeds and pictures, and what they refuse."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from generating import COMMANDS
from html_page import Page
from matplotlib.image import imread

from audiolm_cli.audio import read_audio
from audiolm_cli.editing import edit
from audiolm_cli.editing.jobs import read_input

Piano = Callable[..., np.ndarray]
VERBS = {"continue": "continued", "infill": "infilled", "loop": "looped", "restyle": "restyled"}
REFUSED_BY_ALL = [
    (["-o", "there.wav"], 7, "exists already"),
    (["-o", "take.wav"], 7, "is the recording itself; choose another name"),
    (["--json", "-o", "-"], 2, "standard output"),
    (["--takes", "0"], 2, "takes"),
    (["--seed", "-1"], 2, "seed"),
    (["-m", "pianissimo-xyz"], 4, "pianissimo-xyz"),
]
"""Options, the exit code, and a word of the error."""
REFUSED: dict[str, list[tuple[list[str], int, str]]] = {
    "continue": [
        (["-o", "missing/out.wav"], 7, "does not exist"),
        (["-o", "/dev/full"], 7, "device"),
        (["-o", "out.xyz"], 2, "unknown audio extension"),
        (["-o", "out"], 2, "out: has no extension; write out.wav"),
        (["-o", "out.mp3", "--takes", "0"], 2, "takes"),
        (["-d", "0"], 2, "duration"),
        (["-d", "0.000001"], 2, "one sample"),
        (["-d", "-1"], 2, "--duration"),
        (["-d", "nan"], 2, "--duration"),
        (["-d", "ten"], 2, "--duration"),
        (["-d", "36001"], 2, "duration"),
        (["-d", "9" * 400], 2, "duration"),
        (["-d", "1:99"], 2, "--duration"),
        (["--prompt", "0"], 2, "prompt"),
        (["--temperature", "-1"], 2, "temperature"),
        (["--temperature", "nan"], 2, "temperature"),
        (["--top-p", "0"], 2, "top-p"),
        (["--threads", "0"], 2, "threads"),
        (["--threads", "9" * 12], 2, "threads"),
        (["-o", "a" * 300 + ".wav"], 7, "name too long"),
        (["--dtype", "fp8"], 2, "dtype"),
        (["--device", "tpu"], 2, "device"),
        (["-m", "./nowhere"], 4, "nowhere"),
    ],
    "infill": [
        ([], 2, "--gap"),
        (["--gap", "1"], 2, "START:END"),
        (["--gap", "one:two"], 2, "not a time"),
        (["--gap", "1:2:3"], 2, "START:END"),
        (["--gap", "1.5:1"], 2, "ends before it starts"),
        (["--gap", "1:1"], 2, "no length"),
        (["--gap", "1:1.00000001"], 2, "no sample"),
        (["--gap", "1:2.1"], 2, "1: is a gap up to the end"),
        (["--gap", "2:"], 2, "ends at 2.000 s"),
        (["--gap", "9:10"], 2, "ends at 2.000 s"),
        (["--gap", "0:2"], 2, "the whole of"),
        (["--gap", "0.01:"], 3, "10 ms"),
        (["--gap", "0.5:1", "--gap", "0.9:1.2"], 2, "overlap"),
        (["--gap", "0.5:", "--gap", "0.9:1.2"], 2, "overlap"),
        (["--gap", "0.5:1", "--gap", "0.5:1"], 2, "overlap"),
        (["--gap", "0:99999"], 2, "longest allowed"),
        (["--gap", "0.5:1", "--length", "0"], 2, "length"),
        (["--gap", "0.5:1", "--length", "-1"], 2, "--length"),
        (["--gap", "0.5:1", "--length", "0.00001"], 2, "one sample"),
        (["--gap", "0.5:1", "--prompt", "0.01"], 2, "20 ms"),
        (["--gap", "0.5:1", "--until-end"], 2, "--until-end"),
    ],
    "loop": [
        (["--bridge", "0"], 2, "bridge"),
        (["--bridge", "-1"], 2, "--bridge"),
        (["--bridge", "0.00001"], 2, "one sample"),
        (["--bridge", "99999"], 2, "bridge"),
        (["--repeat", "0"], 2, "repeat"),
        (["--repeat", "99999"], 2, "lower --repeat"),
        (["--repeat", "2", "--only-new"], 2, "--repeat"),
    ],
    "restyle": [
        ([], 2, "--style"),
        (["--style", "none.wav"], 3, "no such file"),
        (["--style", "silent.wav"], 3, "silent.wav is silent"),
        (["--style", "short.wav"], 3, "10 ms"),
        (["--style", "a.wav", "--strength", "0"], 2, "strength"),
        (["--style", "a.wav", "--strength", "4"], 2, "1 to 3"),
        (["--style", "a.wav", "--prompt", "0.001"], 2, "20 ms"),
    ],
}


@pytest.fixture(autouse=True)
def take(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder with two seconds of 16-bit stereo at 16 kHz, a file that is there, and references."""
    monkeypatch.chdir(tmp_path)
    for name in ("take.wav", "there.wav"):
        soundfile.write(name, piano(2.0, 16000, 2), 16000, subtype="PCM_16")
    soundfile.write("a.wav", piano(1.0, 16000, seed=5), 16000)
    soundfile.write("silent.wav", np.zeros(16000), 16000)
    soundfile.write("short.wav", np.full(160, 0.1), 16000)
    return Path("take.wav")


@pytest.mark.parametrize("command", COMMANDS)
def test_takes_and_pictures(audiolm: Any, tiny_model: Path, take: Path, command: str) -> None:
    """Numbered files and pictures, each take from its own seed, which its comment tells."""
    flags = ("-m", tiny_model, take, *COMMANDS[command], "-n", 2, "--seed", 3, "--plot", "p.png", "--json")
    outputs = json.loads(audiolm(command, *flags).stdout)["outputs"]
    paths = [f"take.{VERBS[command]}.{number}.wav" for number in (1, 2)]
    assert [(output["path"], output["seed"]) for output in outputs] == list(zip(paths, (3, 4), strict=True))
    assert {"p.1.png", "p.2.png"} < set(os.listdir())

    shown = imread("p.1.png").shape[0]
    assert shown == (2 if command == "restyle" else 1) * 660, "with the original, of which nothing is left"

    recordings = [read_audio(path) for path in paths]
    assert recordings[0].samples.tobytes() != recordings[1].samples.tobytes()
    comments = [json.loads(recording.tags["comment"]) for recording in recordings]
    assert [(comment["command"], comment["seed"]) for comment in comments] == [(command, 3), (command, 4)]


@pytest.mark.parametrize("stream", [False, True])
def test_two_commands_at_once(
    audiolm: Any, tiny_model: Path, take: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """The second takes the next free names when it writes; what the first made is untouched."""
    takes = 1 if stream else 2
    stems = ["take.continued", "p"] if stream else [f"{n}.{i}" for n in ("take.continued", "p") for i in (1, 2)]
    theirs = [f"{stem}.{'wav' if stem.startswith('take') else 'png'}" for stem in stems] + ["takes.html"]

    def read_slowly(*arguments: Any) -> Any:
        for name in theirs:
            Path(name).write_text("theirs")
        return read_input(*arguments)

    monkeypatch.setattr(edit, "read_input", read_slowly)
    flags = ["-m", tiny_model, take, "-d", 1, "-n", takes, "--plot", "p.png", "--page", "takes.html", "--seed", 1]
    shown = audiolm("continue", *flags, *["--stream"] * stream, "--json")
    assert shown.exit_code == 0, shown.stderr
    result = json.loads(shown.stdout)
    made = [output[kind] for kind in ("path", "plot") for output in result["outputs"]] + [result["page"]]
    numbers = [""] if stream else [".1", ".2"]
    assert made == [
        f"{name}-2{n}.{end}" for name, end in (("take.continued", "wav"), ("p", "png")) for n in numbers
    ] + ["takes-2.html"]
    assert all(Path(name).read_text() == "theirs" for name in theirs)
    assert all(soundfile.info(output["path"]).duration == pytest.approx(3.0) for output in result["outputs"])
    assert all(output["path"] in Path(result["page"]).read_text() for output in result["outputs"])

    # What was named is not chosen anew.
    theirs.append("mine.wav")
    shown = audiolm("continue", "-m", tiny_model, take, "-d", 1, "-o", "mine.wav")
    assert shown.exit_code == 7 and "mine.wav: exists already" in " ".join(shown.stderr.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_command_again(audiolm: Any, tiny_model: Path, take: Path, command: str) -> None:
    """It makes another take beside the one that is there; with -f, it replaces that."""
    flags = ("-m", tiny_model, take, *COMMANDS[command], "-q")
    verb = VERBS[command]

    def names(*more: object) -> list[str]:
        shown = audiolm(command, *flags, *more)
        assert shown.exit_code == 0, shown.stderr
        return [line.split("  ")[0] for line in shown.stdout.splitlines() if ".wav" in line]

    assert names("--seed", 1) == [f"take.{verb}.wav"]
    first = Path(f"take.{verb}.wav").read_bytes()
    assert names("--seed", 2) == [f"take.{verb}-2.wav"]
    assert names("--seed", 3, "--plot", "p.png") == [f"take.{verb}-3.wav"]
    assert names("--seed", 3, "--plot", "p.png") == [f"take.{verb}-4.wav"]
    assert Path("p.png").exists() and Path("p-2.png").exists()
    assert names("-n", 2) == [f"take.{verb}.1.wav", f"take.{verb}.2.wav"]
    assert names("-n", 2) == [f"take.{verb}-2.1.wav", f"take.{verb}-2.2.wav"]

    assert Path(f"take.{verb}.wav").read_bytes() == first
    assert len({path.read_bytes() for path in Path().glob(f"take.{verb}*.wav")}) == 7  # seed 3 twice
    assert names("--seed", 2, "-f") == [f"take.{verb}.wav"]
    assert Path(f"take.{verb}.wav").read_bytes() == Path(f"take.{verb}-2.wav").read_bytes() != first


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only player on PATH, an `aplay` that keeps what it is given in numbered files beside itself."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = 'n=$(($(/bin/ls "$0".*.wav 2>/dev/null | /usr/bin/wc -l) + 1)); /bin/cp "$2" "$0.$n.wav"'
    (folder / "aplay").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "aplay").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    return folder / "aplay"


@pytest.mark.skipif(sys.platform == "win32", reason="the fake player is a shell script")
@pytest.mark.parametrize(
    ("command", "flags", "stretches"),
    [
        ("continue", ("-d", "0.5"), [(1.8, 2.5)]),
        ("continue", ("-d", "0.5", "--before"), [(0, 0.7)]),
        ("continue", ("-d", "0.5", "--only-new"), [(0, 0.5)]),
        ("infill", ("--gap", "0.5:0.7", "--gap", "1:1.1", "--gap", "1.6:1.7"), [(0.3, 1.3), (1.4, 1.9)]),
        ("loop", ("--bridge", "0.3"), [(1.8, 2.3), (0, 0.2)]),
        ("restyle", COMMANDS["restyle"], [(0, 2)]),
    ],
)
def test_play(
    audiolm: Any,
    tiny_model: Path,
    take: Path,
    player: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    flags: tuple[str, ...],
    stretches: list[tuple[float, float]],
) -> None:
    """What is new and what is near it, of every take, from the file that was written."""
    monkeypatch.setattr("audiolm_cli.cli.generated.HEARD_S", 0.2)
    shown = audiolm(command, "-m", tiny_model, take, *flags, "-n", 2, "--play")
    assert shown.exit_code == 0 and len(shown.stdout.splitlines()) == 2
    for number in (1, 2):
        assert f"playing take.{VERBS[command]}.{number}.wav" in shown.stderr
        heard, rate_hz = soundfile.read(f"{player}.{number}.wav", dtype="int16")
        written, _ = soundfile.read(f"take.{VERBS[command]}.{number}.wav", dtype="int16")
        expected = [written[round(start * rate_hz) : round(end * rate_hz)] for start, end in stretches]
        assert (rate_hz, heard.tolist()) == (16000, np.concatenate(expected).tolist())


def test_how_to_hear_it(
    audiolm: Any, tiny_model: Path, take: Path, player: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal gets one line that does play the file when it is typed; a log gets none, nor does a pipe."""
    again = ("continue", "-m", tiny_model, take, "-d", 0.2)
    assert "hear" not in audiolm(*again).stderr
    monkeypatch.setattr("audiolm_cli.cli.render._is_terminal", lambda: True)
    assert "hear" not in audiolm(*again, "-q").stderr + audiolm(*again, "--json").stderr
    Path("it's").mkdir()
    (line,) = [line for line in audiolm(*again, "-o", "it's/").stderr.splitlines() if line.startswith("hear it: ")]
    assert len(line) < 100 + len("it's/")
    command = line.removeprefix("hear it: ").split("  (")[0]
    assert subprocess.run(command, shell=True, check=False).returncode == 0
    assert Path(f"{player}.1.wav").read_bytes() == Path("it's/take.continued.wav").read_bytes()
    monkeypatch.setenv("PATH", "")
    assert "hear the first: open take.continued.1.wav in a player" in audiolm(*again, "-n", 2).stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_play_where_nothing_plays(
    audiolm: Any, tiny_model: Path, take: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """One line says so, and what was made is kept; standard output holds no file to play."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    shown = audiolm(command, "-m", tiny_model, take, *COMMANDS[command], "--play", "-q")
    assert shown.exit_code == 0 and Path(f"take.{VERBS[command]}.wav").exists()
    (told,) = [line for line in shown.stderr.splitlines() if "nothing that plays sound" in line]
    assert told.startswith("warning: ") and told.endswith(f"take.{VERBS[command]}.wav is kept")
    shown = audiolm(command, "-m", tiny_model, take, *COMMANDS[command], "--play", "-o", "-")
    assert shown.exit_code == 2 and "--play" in shown.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_page(audiolm: Any, tiny_model: Path, piano: Piano, command: str) -> None:
    """The original and every take to hear and see, what is new marked, and commands that make each again."""
    name = "a <b> & c.wav"
    soundfile.write(name, piano(2.0, 16000, 2), 16000)
    flags = ("-m", tiny_model, name, *COMMANDS[command], "--temperature", 1.1)
    flags = flags[:-2] if command == "restyle" else flags
    shown = audiolm(command, *flags, "-n", 2, "--seed", 7, "--page", "takes.html", "--json")
    result = json.loads(shown.stdout)
    assert result["page"] == "takes.html"

    page = Page(Path("takes.html").read_text(encoding="utf-8"))
    assert name in page.text and all(source.startswith("data:") for source in page.sources)
    assert "http" not in Path("takes.html").read_text(encoding="utf-8").split("<script>")[0]
    sounds = [soundfile.read(io.BytesIO(file), dtype="int16")[0] for file in page.decode("audio/flac")]
    files = [name, *(output["path"] for output in result["outputs"])]
    assert len(files) == len(sounds) == len(page.decode("image/png")) == page.text.count("Take") + 1 == 3
    for file, sound in zip(files, sounds, strict=True):
        assert sound.tolist() == soundfile.read(file, dtype="int16")[0].tolist()

    marked = [style for kind, style in page.styles if kind == "span"]
    for style, output in zip(marked, result["outputs"], strict=True):
        ((start, end),), whole = output["generated"], output["duration_s"]
        assert style == f"left:{100 * start / whole:.3f}%;width:{100 * (end - start) / whole:.3f}%"

    for output in result["outputs"]:
        (line,) = [line for line in page.lines if line.startswith("audiolm ") and f"--seed {output['seed']}" in line]
        assert audiolm(*shlex.split(line)[1:], "-o", "again.wav", "-f").exit_code == 0
        assert read_audio("again.wav").samples.tobytes() == read_audio(output["path"]).samples.tobytes()


def test_page_names(audiolm: Any, tiny_model: Path, take: Path) -> None:
    """An HTML file, of files; one that is there is never replaced, and nothing is made in vain."""
    go = ("continue", "-m", tiny_model, take, "-d", 0.2)
    for flags, code, word in (
        (("--page", "takes.txt"), 2, "ends in .html"),
        (("--page", "p.html", "-o", "-"), 2, "--page"),
        (("--page", "none/p.html"), 7, "does not exist"),
        (("--page", "there.html", "-o", "out.wav"), 7, "there.html: exists already"),
    ):
        Path("there.html").write_text("mine")
        shown = audiolm(*go, *flags)
        assert (shown.exit_code, shown.stdout) == (code, "") and word in shown.stderr
    assert not list(Path().glob("*continued*")) and Path("there.html").read_text() == "mine"
    shown = audiolm(*go, "--page", "there.html", "-q")
    assert shown.stdout.splitlines()[1] == "there-2.html  (page: open it in a browser)"
    assert Path("there.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "flags", "code", "word"),
    [
        *((command, [*COMMANDS[command], *flags], *rest) for command in COMMANDS for flags, *rest in REFUSED_BY_ALL),
        *((command, flags, *rest) for command, refused in REFUSED.items() for flags, *rest in refused),
    ],
)
def test_unusable_options(
    audiolm: Any, tiny_model: Path, take: Path, command: str, flags: list[str], code: int, word: str
) -> None:
    """The right exit code, what was wrong with which value, nothing written."""
    before = {path: path.read_bytes() for path in Path().iterdir()}
    shown = audiolm(command, "-m", tiny_model, take, *flags)
    assert (shown.exit_code, shown.stdout) == (code, "")
    assert word in shown.stderr and "Traceback" not in shown.stderr
    assert {path: path.read_bytes() for path in Path().iterdir()} == before
