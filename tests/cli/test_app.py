"""The program as a whole: help, exit codes, signals, and what the shared options and the renderer do."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer
from terminal import Terminal

from audiolm_cli.cli import options, render
from audiolm_cli.cli.app import COMMANDS, OPENMP, app
from audiolm_cli.cli.options import parse_time
from audiolm_cli.cli.render import LINE_EVERY_S, Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.errors import AudioInputError, AudioLMError, ModelError, NetworkError, OutputError, UsageError
from audiolm_cli.events import AUDIO_S, Activity, Note, Progress
from audiolm_cli.version import __version__


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Add a command `probe` to the program for one test."""
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    return app.command("probe")


def test_help_lists_every_command(audiolm: Any) -> None:
    """Each command is on the page of its group."""
    for words, _ in COMMANDS:
        group, _, name = words.rpartition(" ")
        shown = audiolm(*group.split(), "-h")
        assert shown.exit_code == 0
        assert f"│ {name} " in shown.stdout
        assert audiolm(*words.split(), "--help").exit_code == 0


def test_version(audiolm: Any) -> None:
    """Name and version on stdout, nothing else."""
    for flag in ("-V", "--version"):
        shown = audiolm(flag)
        assert (shown.exit_code, shown.stdout, shown.stderr) == (0, f"audiolm {__version__}\n", "")


def test_usage_errors_exit_2_and_suggest(audiolm: Any) -> None:
    """A mistyped command or option names the nearest one, on stderr."""
    shown = audiolm("docter")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "Did you mean 'doctor'?" in shown.stderr
    shown = audiolm("models", "list", "--jsn")
    assert shown.exit_code == 2
    assert "--json" in shown.stderr
    assert audiolm("models").exit_code == 2


@pytest.mark.parametrize("error", [UsageError, AudioInputError, ModelError, NetworkError, OutputError])
def test_expected_errors_are_one_line_and_an_exit_code(audiolm: Any, command: Any, error: type[AudioLMError]) -> None:
    """What the error says, unwrapped and uncut, on stderr."""
    message = "file [bold]x[/bold].wav " + "is long " * 30 + "indeed"

    @command
    def probe() -> None:
        raise error(message)

    shown = audiolm("probe")
    assert (shown.exit_code, shown.stdout) == (error.exit_code, "")
    assert shown.stderr == f"audiolm: error: {message}\n"


def test_a_bug_is_called_one(audiolm: Any, command: Any) -> None:
    """Exit code 1 and one line; the traceback comes with -v, without the values of variables."""

    @command
    @spread
    def probe(display: options.Display) -> None:
        secret = "swordfish"
        raise KeyError(len(secret))

    shown = audiolm("probe")
    assert shown.exit_code == 1
    assert shown.stderr.startswith("audiolm: error: KeyError: 9. This is a bug in audiolm")
    assert shown.stderr.count("\n") == 1
    shown = audiolm("probe", "-v")
    assert "Traceback" in shown.stderr and "in probe" in shown.stderr
    assert "swordfish" not in shown.stderr.replace('secret = "swordfish"', "")


@pytest.mark.parametrize(
    ("error", "code"),
    [(MemoryError(), 6), (OSError(28, "No space left on device", "a.wav"), 7), (OSError(5, "I/O error"), 1)],
)
def test_full_memory_and_disk_are_not_bugs(audiolm: Any, command: Any, error: Exception, code: int) -> None:
    """They may surface anywhere, and have exit codes of their own."""

    @command
    def probe() -> None:
        raise error

    assert audiolm("probe").exit_code == code


def test_exit_of_a_command_is_kept(audiolm: Any, command: Any) -> None:
    """`typer.Exit` passes through."""

    @command
    def probe() -> None:
        raise typer.Exit(10)

    assert audiolm("probe").exit_code == 10


HEARING = """
import signal
from audiolm_cli.stopping import SIGNALS
for number in SIGNALS:  # which a program in the background, or under nohup, may ignore
    signal.signal(number, signal.SIG_DFL)
"""
WAITING = """
import sys, time
from audiolm_cli.cli.app import app, main

@app.command("wait")
def wait() -> None:
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        time.sleep(0.3)
        print("cleaned up", flush=True)

main(["wait"])
"""


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGTERM, signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGQUIT], 131),
        ([signal.SIGTERM, signal.SIGHUP], 143),
    ],
)
def test_signals_clean_up_and_have_their_exit_code(signals: list[signal.Signals], code: int) -> None:
    """The command's `finally` runs, also when SIGTERM comes twice, as from `timeout`."""
    with subprocess.Popen(
        [sys.executable, "-c", HEARING + WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in signals:
            process.send_signal(number)
            time.sleep(0.1)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (code, "cleaned up\n", "audiolm: stopped\n")


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_under_nohup_a_closing_terminal_ends_nothing() -> None:
    """What was ignored when the program started stays ignored."""
    with subprocess.Popen(
        [sys.executable, "-c", f"{HEARING}signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{WAITING}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 143


def test_help_is_quick() -> None:
    """`audiolm --help` as a process, in processor time, which a busy machine leaves as it is; the goal is 0.3 s."""
    best = float("inf")
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "audiolm_cli", "--help"], capture_output=True, check=True, timeout=60)
        after = os.times()
        used_s = after.children_user + after.children_system - before.children_user - before.children_system
        best = min(best, used_s)
    assert best < 1.5


def test_completion_is_offered() -> None:
    """The shell's question about `audiolm models <TAB>` is answered."""
    asked = {"_AUDIOLM_COMPLETE": "complete_bash", "COMP_WORDS": "audiolm models ", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "audiolm_cli"], capture_output=True, text=True, timeout=60, env={**os.environ, **asked}
    )
    assert set(done.stdout.split()) == {"list", "info", "path", "pull", "verify", "rm", "export", "push"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("12.4", 12.4),
        (".5", 0.5),
        ("90", 90.0),
        ("1:02.5", 62.5),
        ("90:00", 5400.0),
        ("1:00:00.25", 3600.25),
        (" 7 ", 7.0),
    ],
)
def test_times_are_read(text: str, seconds: float) -> None:
    """Seconds, minutes and hours."""
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "-1", "nan", "inf", "1e3", "1:60", "1:60:00", "1::2", ":5", "1:2:3:4", "abc", "٣"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """The message quotes it."""
    with pytest.raises(UsageError, match=re.escape(repr(text))):
        parse_time(text)


def test_every_shared_option_reads_its_variable(
    audiolm: Any, command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AUDIOLM_<FLAG> sets each option, the command line wins, and defaults are those of the command."""
    seen: dict[str, object] = {}

    @command
    @spread
    def probe(
        *,
        config: GenerateConfig,
        sampling: SamplingConfig,
        display: options.Display,
        offline: options.Offline = False,
        duration: options.Duration = 10.0,
    ) -> None:
        seen.update({"offline": offline, "duration": duration})
        seen.update({**config.to_dict(), **sampling.to_dict(), **display.to_dict()})
        for name in ("min_p", "best_of", "channels", "guidance", "watched"):
            del seen[name]

    given: dict[str, tuple[str, object]] = {
        "output": ("o.wav", "o.wav"),
        "model": ("runs/x", "runs/x"),
        "device": ("cuda:1", "cuda:1"),
        "dtype": ("bf16", "bf16"),
        "threads": ("2", 2),
        "seed": ("7", 7),
        "force": ("1", True),
        "json": ("1", True),
        "quiet": ("true", True),
        "verbose": ("2", 2),
        "no_progress": ("1", True),
        "progress": ("json", "json"),
        "offline": ("1", True),
        "cache_dir": (str(tmp_path), str(tmp_path)),
        "takes": ("3", 3),
        "prompt": ("1:05", 65.0),
        "bpm": ("97.3", 97.3),
        "meter": ("3/4", "3/4"),
        "offset": ("0:01.5", 1.5),
        "duration": ("2.5", 2.5),
        "temperature": ("0.9", 0.9),
        "top_k": ("50", 50),
        "top_p": ("0.95", 0.95),
        "nar_temperature": ("0.1", 0.1),
        "nar_passes": ("2", 2),
        "only_new": ("1", True),
        "until_end": ("1", True),
        "style_token": ("guitar", "guitar"),
        "plot": ("p.png", "p.png"),
        "page": ("p.html", "p.html"),
    }
    assert audiolm("probe").exit_code == 0
    assert (seen["duration"], seen["prompt_s"], seen["device"], seen["verbose"]) == (10.0, None, "auto", 0)
    for name, (text, _) in given.items():
        monkeypatch.setenv(f"AUDIOLM_{name.upper()}", text)
    assert audiolm("probe").exit_code == 0
    assert {name.removesuffix("_s"): value for name, value in seen.items()} == {
        name: value for name, (_, value) in given.items()
    }
    assert audiolm("probe", "--seed", 8, "-d", "0:01").exit_code == 0
    assert (seen["seed"], seen["duration"]) == (8, 1.0)
    for wrong in (["-d", "1:99"], ["--device", "gpu"], ["--dtype", "fp16"], ["--top-p", "1.5"], ["--takes", "0"]):
        shown = audiolm("probe", *wrong)
        assert shown.exit_code == 2
        assert wrong[0] in shown.stderr


def test_no_terminal_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """One plain line per `LINE_EVERY_S`, then the last; nothing at all for short work."""
    now = 0.0
    out = Renderer(clock=lambda: now)
    for done in range(101):
        now = done * LINE_EVERY_S / 40
        out.on_event(Progress(stage="train", done=done, total=100, unit="steps", detail="loss 2.1"))
    assert capsys.readouterr().err.splitlines() == [f"train: {done}/100 steps loss 2.1" for done in (40, 80, 100)]
    out.on_event(Progress(stage="encode", done=1, total=1))
    assert capsys.readouterr() == ("", "")


def open_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    """A terminal of so many columns in the place of stderr."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    return stream


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is on stderr, shows stage and amount, and the cursor is back when an error ends the command."""
    stream = open_terminal(monkeypatch, 120)
    with pytest.raises(ModelError), Renderer() as out:
        out.on_event(Progress(stage="AR decoding", done=3.1416, total=10, unit=AUDIO_S))
        raise ModelError("x")
    shown = stream.getvalue()
    assert "AR decoding" in shown
    assert "3.1/10.0 s of audio" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    out = Renderer()
    out.on_event(Progress(stage="encode", done=0, total=1))
    out.on_event(Progress(stage="encode", done=1, total=1))
    assert stream.getvalue().count("\x1b[?25h") == 2  # a finished stage gives the cursor back by itself


def test_what_a_start_waits_for_is_said(
    audiolm: Any, tiny_model: Path, piano: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch, and then the model, before the recording is read."""
    soundfile.write(tmp_path / "take.wav", piano(1.0, 16000), 16000)
    stages: list[str] = []
    draw = Renderer._draw_activity

    def note(out: Renderer, event: Activity) -> None:
        stages.append(event.stage)
        draw(out, event)

    monkeypatch.setattr(render, "_is_terminal", lambda: True)
    monkeypatch.setattr(Renderer, "_draw_activity", note)
    made = audiolm("continue", tmp_path / "take.wav", "-d", 0.2, "-m", tiny_model, "-o", tmp_path / "new.wav")
    assert made.exit_code == 0 and stages[:4] == ["starting", "load torch", "load the model", "read and encode"]


def test_something_moves_from_start_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first report, between stages, and where a stage has no end that could be counted towards."""
    stream = open_terminal(monkeypatch, 120)

    def moved() -> str:
        """What was drawn within half a second in which nothing is reported."""
        stream.seek(0)
        stream.truncate()
        time.sleep(0.5)
        return stream.getvalue()

    with Renderer() as out:
        assert "starting" in moved()
        out.on_event(Activity(stage="fine codes"))
        shown = moved()
        assert "fine codes" in shown and "starting" not in shown
        out.on_event(Progress(stage="decode", done=1, total=2, unit="takes"))
        out.on_event(Progress(stage="decode", done=2, total=2, unit="takes"))
        shown = moved()
        assert "working" in shown and "fine codes" not in shown
    assert moved() == ""


@pytest.mark.parametrize("columns", [80, 100])
def test_a_bar_gets_shorter_before_a_word_is_cut(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """What is said beside it is read whole, times too, in an ordinary terminal."""
    stream = open_terminal(monkeypatch, columns)
    with Renderer() as out:
        out.on_event(Progress(stage="generate", done=10, total=20, unit=AUDIO_S))
        out.on_event(Activity(stage="again: take 2 was too quiet", detail="try 1/3", share=0.4))
        time.sleep(0.3)
    shown = stream.getvalue()
    assert "10.0/20.0 s of audio" in shown and "again: take 2 was too quiet" in shown and "try 1/3" in shown
    assert "0:00:00 -:--:--" in shown and "…" not in shown


@pytest.mark.parametrize("columns", [80, 100])
def test_what_is_too_long_to_stand_beside_a_bar_stands_below(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """As the losses of a codec in training, of which each is read whole, as are the bar's own words."""
    stream = open_terminal(monkeypatch, columns)
    losses = [f"{name} 0.0965" for name in ("log", "linear", "mel", "commitment", "displacement", "adversary")]
    with Renderer() as out:
        detail = " ".join([*losses, "0.49 steps/s"])
        out.on_event(Progress(stage="train", done=1, total=40, unit="steps", detail=detail))
        time.sleep(0.3)
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).strip() for line in stream.getvalue().splitlines()]
    bars = {line for line in lines if "1/40 steps" in line}
    assert bars and all(re.fullmatch(r"train [━ ]+ 1/40 steps 0:00:00 -:--:--", bar) for bar in bars), bars
    assert max(map(len, lines)) <= columns
    assert all(any(loss in line for line in lines) for loss in losses) and not any("…" in line for line in lines)


def test_what_is_done_again_is_said_where_no_bar_can_be_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    """In the line that comes every ten seconds; what cannot be counted is not said there."""
    now = 0.0
    out = Renderer(clock=lambda: now)
    for tenth in range(10):
        now += LINE_EVERY_S / 4
        out.on_event(Activity(stage="again: it was stuck", detail="try 1/3", share=tenth / 10))
        out.on_event(Activity(stage="fine codes"))
    assert capsys.readouterr().err.splitlines() == ["again: it was stuck try 1/3"] * 2


def test_the_number_of_this_process_is_known_before_torch() -> None:
    """A command asks for it before it shows anything; torch takes a second or more to import."""
    code = (
        "import sys; from audiolm_cli.cli.torchrun import torchrun_ranks as r; r().main; print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.mark.parametrize("settings", [{"quiet": True}, {"no_progress": True}])
def test_no_bar_when_not_wanted(monkeypatch: pytest.MonkeyPatch, settings: dict[str, bool]) -> None:
    """Neither quiet nor no-progress draws; a dumb terminal gets no bar either."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with Renderer(**settings, clock=iter(range(0, 1000, 20)).__next__) as out:
        out.on_event(Progress(stage="encode", done=3, total=10))
    monkeypatch.setenv("TERM", "dumb")
    with Renderer() as out:
        out.on_event(Progress(stage="encode", done=3, total=10))
    assert stream.getvalue() == ""


def test_notes_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    """Quiet hides notes, not warnings; -v says how long a stage took."""
    for quiet in (False, True):
        with Renderer(quiet=quiet) as out:
            out.on_event(Note(message="seed [7]"))
            out.on_event(Note(message="clipped", warning=True))
        assert capsys.readouterr().err == ("" if quiet else "seed [7]\n") + "warning: clipped\n"
    with Renderer(verbose=1, clock=iter([0.0, 1.0, 1.0, 3.5]).__next__) as out:
        out.on_event(Progress(stage="encode", done=1, total=1))
    assert capsys.readouterr().err == "encode: 2.50 s\n"


def test_json_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    """Paths, tuples, dataclasses and numbers without a JSON form."""
    Renderer().print_json({"a": Path("x"), "b": (1, float("nan")), "c": Note(message="ä")})
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"a": "x", "b": [1, None], "c": {"message": "ä", "warning": False}}
    assert shown.err == ""


def test_tables_in_a_pipe_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are aligned and long cells stay whole."""
    Renderer().table(("name", "path"), [("a", "/" + "x" * 300), ("bcdef", "[red]")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["NAME   PATH", "a      /" + "x" * 300, "bcdef  [red]"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@pytest.mark.parametrize("args", [["--version"], ["guide", "usage"]])
def test_what_is_printed_to_a_full_disk(args: list[str]) -> None:
    """One line and exit code 7, be it less than a buffer holds or more. A reader that goes has read enough."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "audiolm_cli", *args]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (
        7,
        "audiolm: error: the output cannot be written: No space left on device\n",
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize(("first", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_ctrl_c_does_not_wait_for_the_cleaning_up(first: int, code: int) -> None:
    """Whatever the command is still putting away after the first signal, it ends at once, with one line."""
    script = HEARING + (
        "import sys, time; from audiolm_cli.cli.app import main\n"
        "def slow(*_, **__):\n"
        "    try:\n"
        "        print('works', file=sys.stderr, flush=True); time.sleep(60)\n"
        "    finally:\n"
        "        print('cleans up', file=sys.stderr, flush=True); time.sleep(60)\n"
        "from audiolm_cli.cli import models as command\n"
        "command.Renderer.table = slow\n"
        "main(['models', 'list'])"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "works\n"
        process.send_signal(first)
        assert process.stderr.readline() == "cleans up\n"
        since = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == code and time.monotonic() - since < 30
    assert rest == "audiolm: stopped\n"


def test_threads_soon_sleep(audiolm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long torch's threads wait awake is set before torch is imported; a user's own settings stay."""
    for name in ("OMP_WAIT_POLICY", *OPENMP):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KMP_BLOCKTIME", "7")
    assert audiolm("--version").exit_code == 0
    assert (os.environ["GOMP_SPINCOUNT"], os.environ["KMP_BLOCKTIME"]) == ("30000", "7")

    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert audiolm("--version").exit_code == 0
    assert "GOMP_SPINCOUNT" not in os.environ
