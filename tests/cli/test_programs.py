"""What other programs read and start: lines of JSON and results against their schemas, and the guide's scripts."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from jsonschema import Draft202012Validator
from luaparser import ast as lua

from audiolm_cli.cli.guide import SCHEMAS, guide
from audiolm_cli.cli.json_lines import is_wanted
from audiolm_cli.cli.render import Renderer
from audiolm_cli.editing.result import Generation, Output
from audiolm_cli.events import AUDIO_S, Activity, Note, Progress, TrainStep, Validation

PAGE = guide("programs")
SMALL = {"-d": "0.2"}
"""What a test says in place of the page's numbers."""


def schema(name: str) -> dict[str, Any]:
    """One of the schemas that end the page."""
    (text,) = re.findall(rf"^## {SCHEMAS_BY_FILE[name]}\n\n```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    loaded: dict[str, Any] = json.loads(text)
    return loaded


SCHEMAS_BY_FILE = {file: heading for heading, file in SCHEMAS.items()}
LINES, RESULT = (Draft202012Validator(schema(name)) for name in ("progress.json", "result.json"))


def events(stderr: str) -> list[dict[str, Any]]:
    """The objects on standard error, which holds nothing else, each as its schema says and with no other key."""
    found = [json.loads(line) for line in stderr.splitlines()]
    for one in found:
        LINES.validate(one)
        (form,) = (form for form in LINES.schema["oneOf"] if form["properties"]["event"]["const"] == one["event"])
        assert set(one) == set(form["properties"])
    return found


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, piano: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two recordings; generating there takes a moment."""
    for name in ("take.wav", "other.wav"):
        soundfile.write(tmp_path / name, piano(1.0, 16000, channels=2), 16000)
    for name, value in {"MODEL": tiny_model, "DEVICE": "cpu", "SEED": "3", "DURATION": "0.3", "BRIDGE": "0.2"}.items():
        monkeypatch.setenv(f"AUDIOLM_{name}", str(value))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_schemas_are_schemas() -> None:
    """And they refuse what is not as they say."""
    for validator in (LINES, RESULT):
        Draft202012Validator.check_schema(validator.schema)
    good = {"event": "progress", "stage": "x", "done": 1, "total": None, "unit": "", "detail": "", "eta_s": None}
    assert LINES.is_valid(good) and LINES.is_valid({**good, "later": 1})
    assert not LINES.is_valid({**good, "event": "none"}) and not LINES.is_valid({**good, "done": "1"})
    assert not LINES.is_valid({name: value for name, value in good.items() if name != "eta_s"})
    assert not RESULT.is_valid({}) and not RESULT.is_valid({"outputs": [{}]})


def test_the_schema_of_results_has_every_field() -> None:
    """A field that is added to a result is added to its schema."""
    assert set(RESULT.schema["properties"]) == set(Generation.__dataclass_fields__)
    assert set(RESULT.schema["properties"]["outputs"]["items"]["properties"]) == set(Output.__dataclass_fields__)


@pytest.mark.parametrize(
    "words",
    [
        ["continue", "take.wav", "--takes", "2", "--best-of", "3", "--page", "p.html", "--plot", "p.png"],
        ["continue", "take.wav", "none.wav", "-o", "new.flac/"],
        ["infill", "take.wav", "--gap", "0.2:0.3", "--gap", "0.5:0.6"],
        ["loop", "take.wav"],
        ["restyle", "take.wav", "--style", "other.wav"],
        ["demo", "tour"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_results_and_progress_are_as_their_schemas_say(audiolm: Any, folder: Path, words: list[str]) -> None:
    """Of every generating command; a failed input is an error in both."""
    shown = audiolm(*words, "--json", "--progress", "json")
    result = json.loads(shown.stdout)
    RESULT.validate(result)
    told = events(shown.stderr)
    assert {"activity", "progress"} <= {one["event"] for one in told}
    assert shown.exit_code == (10 if "none.wav" in words else 0), shown.stderr
    assert len(result["failed"]) == words.count("none.wav") == sum(one["event"] == "error" for one in told)


def test_the_audio_is_the_same(audiolm: Any, folder: Path) -> None:
    """However it is told."""
    for name, options in {"a": [], "b": ["--progress", "json"], "c": ["--progress", "text"]}.items():
        assert audiolm("continue", "take.wav", "-o", f"{name}.wav", *options).exit_code == 0
    assert (folder / "a.wav").read_bytes() == (folder / "b.wav").read_bytes() == (folder / "c.wav").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["contniue"], 2, "No such command 'contniue'"),
        (["continue"], 2, "Missing argument 'IN...'"),
        (["continue", "a.wav", "--tempo", "3"], 2, "No such option: --tempo"),
        (["continue", "a.wav", "--takes", "0"], 2, "--takes must be a whole number, 1 or more, got '0'"),
        (["continue", "a.wav", "--preset", "x"], 2, "--preset: there is no preset 'x'"),
        (["continue", "a.wav"], 3, "a.wav: no such file"),
        (["models", "path", "pino"], 4, "pino"),
        (["restyle", "take.wav", "--style", "other.wav", "-o", "none/x/"], 7, "none"),
    ],
)
def test_every_error_is_one_object(
    audiolm: Any, folder: Path, words: list[str], code: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one, whoever finds it, with the exit code; asked for by an option or a variable."""
    (folder / "none").write_text("no folder")
    monkeypatch.setenv("AUDIOLM_PROGRESS", "json")
    last = events(audiolm(*words).stderr)[-1]
    assert (last["event"], last["exit_code"], last["traceback"]) == ("error", code, None) and told in last["message"]
    monkeypatch.delenv("AUDIOLM_PROGRESS")
    shown = audiolm(*words, "--progress=json")
    assert shown.exit_code == code and events(shown.stderr)[-1] == last


def test_a_settings_file_may_ask_for_it(audiolm: Any, folder: Path) -> None:
    """Once a command is known to be one, its errors are objects, too."""
    (folder / "audiolm.toml").write_text('progress = "json"\n')
    (last,) = (one for one in events(audiolm("continue", "none.wav").stderr) if one["event"] == "error")
    assert last["exit_code"] == 3
    assert audiolm("continue", "none.wav", "--progress", "text").stderr.startswith("audiolm: error: none.wav")


def test_a_bug_has_its_traceback_in_the_object(audiolm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With -v; nothing else is on standard error."""
    monkeypatch.setattr("audiolm_cli.workflows.models.locate", lambda *_: {}["none"])
    (error,) = events(audiolm("models", "path", "piano", "-v", "--progress", "json").stderr)
    assert error["exit_code"] == 1 and "This is a bug" in error["message"]
    assert error["traceback"].startswith("Traceback") and "KeyError: 'none'" in error["traceback"]


def test_quiet_and_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """They leave out what they leave out for a person."""
    shown = {}
    for name in ("all", "quiet", "no"):
        out = Renderer(progress="json", quiet=name == "quiet", no_progress=name == "no")
        out.on_event(Activity(stage="read"))
        out.on_event(Note(message="good to know"))
        out.on_event(Note(message="take care", warning=True))
        out.detail("only with -v")
        out.hint("for a person alone")
        shown[name] = [one["event"] for one in events(capsys.readouterr().err)]
    assert shown == {
        "all": ["activity", "message", "warning"],
        "quiet": ["warning"],
        "no": ["message", "warning"],
    }


def test_progress_is_told_now_and_then_with_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten times a second at most, the first and the last of a stage in any case; text is plain ASCII."""
    now = 0.0
    out = Renderer(progress="json", clock=lambda: now)
    for done in range(101):
        now = done / 32
        out.on_event(Progress(stage="dééper", done=done, total=100, unit=AUDIO_S, detail="x"))
    err = capsys.readouterr().err
    told = events(err)
    assert err.isascii() and told[0]["stage"] == "dééper"
    assert [one["done"] for one in told] == [*range(0, 100, 4), 100]
    assert told[0]["eta_s"] is None and told[-1]["eta_s"] == 0
    assert all(one["eta_s"] == pytest.approx((100 - one["done"]) / 32, abs=1e-3) for one in told[1:])

    out.on_event(Progress(stage="dééper", done=40, total=200))  # begun once more, in the middle
    now += 2
    out.on_event(Progress(stage="dééper", done=80, total=200))
    out.on_event(Progress(stage="files", done=3, total=None))
    assert [one["eta_s"] for one in events(capsys.readouterr().err)] == [None, 6.0, None]


def test_a_training_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers that JSON cannot hold are null."""
    out = Renderer(progress="json")
    step = TrainStep(
        step=2,
        steps=2,
        loss=1.5,
        learning_rate=0.1,
        gradient_norm=float("inf"),
        skipped=0,
        bits=[1.0, float("nan")],
        top1=[0.5],
        top10=[0.5],
        frames_per_s=3.0,
        eta_s=float("nan"),
        memory_bytes=0,
    )
    out.on_event(step)
    out.on_event(Validation(step=2, scores={"bits": [float("nan")]}, summary="well", best=True))
    told = events(capsys.readouterr().err)
    assert told[0]["gradient_norm"] is told[0]["eta_s"] is None and told[0]["bits"] == [1.0, None]
    assert told[1] == {"event": "validation", "step": 2, "scores": {"bits": [None]}, "summary": "well", "best": True}


@pytest.mark.parametrize(
    ("words", "variable", "wanted"),
    [
        (["--progress", "json"], None, True),
        (["--progress=json"], "text", True),
        (["--progress", "json", "--progress", "text"], None, False),
        (["--progress", "text"], "json", False),
        ([], "json", True),
        (["--progress"], None, False),
        (["json", "--progres", "json"], None, False),
    ],
)
def test_who_asks_for_it(words: list[str], variable: str | None, wanted: bool) -> None:
    """The last option on the command line, otherwise the variable."""
    assert is_wanted(words, {} if variable is None else {"AUDIOLM_PROGRESS": variable}) is wanted


def test_a_stop_is_told(folder: Path) -> None:
    """A program that ends the command reads objects to the last line."""
    command = [sys.executable, "-m", "audiolm_cli", "continue", "take.wav", "-d", "600", "--progress", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    told = events(first + rest)
    assert process.returncode == 143 and told[-1] == {"event": "message", "message": "audiolm: stopped"}


def test_no_question_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program has no answer, also where it runs in a terminal."""
    from audiolm_cli.cli import fetching

    asked: list[str] = []

    def refuse() -> str:
        asked.append("?")
        return "n"

    monkeypatch.setattr("builtins.input", refuse)
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    offer: Any = type("Offer", (), {"name": "x"})
    assert fetching._confirm(Renderer(progress="json"), offer) and not asked
    assert not fetching._confirm(Renderer(), offer) and asked


def blocks(language: str, part: str) -> list[str]:
    """The code blocks of one language in a part of the page."""
    (text,) = re.findall(rf"^## {part}\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@contextlib.contextmanager
def standard_input(path: Path) -> Iterator[None]:
    """Standard input from a file."""
    before = os.dup(0)
    with path.open("rb") as file:
        os.dup2(file.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(before, 0)
            os.close(before)


def run_line(audiolm: Any, line: str) -> Path:
    """Run a command line of the page, made small; returns what it wrote."""
    words = shlex.split(line)
    assert words[0] == "audiolm"
    words = [SMALL.get(before, word) for before, word in itertools.pairwise(words)]
    shown = audiolm(*words)
    assert shown.exit_code == 0, shown.stderr
    return Path(words[words.index("-o") + 1])


def test_the_reascript_is_lua_and_its_command_runs(audiolm: Any, folder: Path) -> None:
    """It parses; its command line, with the names that it puts in, writes the file that it then inserts."""
    (script,) = blocks("lua", "REAPER")
    tree = lua.parse(script)
    called = {node.func.value.id + "." + node.func.idx.id for node in lua.walk(tree) if _calls_reaper(node)}
    assert called > {"reaper.ExecProcess", "reaper.InsertMedia", "reaper.GetSelectedMediaItem"}
    with pytest.raises(Exception, match="yntax"):
        lua.parse(script.replace("then", "", 1))

    (command,) = re.findall("""^local COMMAND = '(.*)'$""", script, re.MULTILINE)
    assert command.count("%s") == 3
    made = run_line(audiolm, command % ("audiolm", "take.wav", "my take.123.wav"))
    assert soundfile.info(made).duration == pytest.approx(1.2)


def _calls_reaper(node: Any) -> bool:
    return isinstance(node, lua.Call) and isinstance(node.func, lua.Index) and node.func.value.id == "reaper"


def test_audacity_gets_what_it_can_read(audiolm: Any, folder: Path) -> None:
    """Macros have Audacity's form; the command lines run, one of them on what arrives at standard input."""
    commands = []
    for block in blocks("text", "Audacity"):
        for line in block.splitlines():
            if line.startswith("audiolm "):
                commands.append(line)
            else:
                assert re.fullmatch(r'[A-Z]\w+:(\w+="[^"]*"( (?=\w))?)*', line), line
    piped, named = commands
    with standard_input(folder / "take.wav"):
        assert run_line(audiolm, piped.replace("%f", "piped.wav")) == Path("piped.wav")
    assert soundfile.info("piped.wav").duration == pytest.approx(1.2)
    run_line(audiolm, named.replace("/home/me/", ""))
    assert soundfile.info("longer.wav").duration == pytest.approx(1.3)
    macros = "".join(blocks("text", "Audacity"))
    assert 'Import2:Filename="/home/me/longer.wav"' in macros and 'Export2:Filename="/home/me/take.wav"' in macros
