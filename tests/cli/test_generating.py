"""What all generating commands have in common: takes with their names, seeds and pictures, and what they refuse."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import read_audio

Piano = Callable[..., np.ndarray]
COMMANDS = {
    "continue": ("-d", "0.2"),
    "infill": ("--gap", "0.5:0.75"),
    "loop": ("--bridge", "0.2"),
    "restyle": ("--style", "a.wav", "--nar-temperature", "1"),
}
"""Each with what it cannot do without, or is quick with."""
VERBS = {"continue": "continued", "infill": "infilled", "loop": "looped", "restyle": "restyled"}
REFUSED_BY_ALL = [
    (["-o", "there.wav"], 7, "exists already"),
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
        (["-o", "out"], 2, "unknown audio extension"),
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
        (["--gap", "1:2.1"], 2, "ends at 2.000 s"),
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

    recordings = [read_audio(path) for path in paths]
    assert recordings[0].samples.tobytes() != recordings[1].samples.tobytes()
    comments = [json.loads(recording.tags["comment"]) for recording in recordings]
    assert [(comment["command"], comment["seed"]) for comment in comments] == [(command, 3), (command, 4)]


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
