"""`audiolm watch`: what is taken for finished, what is left alone, and that each file gets what the command gives."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.data.folders import FoundAudio
from audiolm_cli.editing.guards import Guard
from audiolm_cli.errors import DataError
from audiolm_cli.events import Activity, Event
from audiolm_cli.library import loading
from audiolm_cli.workflows import watch
from audiolm_cli.workflows.watch import FolderWatch

Piano = Callable[..., np.ndarray]
SETTLE_S = 0.3
LONGEST_S = 30.0
"""Longer than any of these waits takes, on a machine that does other things as well."""


@pytest.fixture
def bounces(tmp_path: Path) -> Path:
    """The folder that is watched."""
    folder = tmp_path / "bounces"
    folder.mkdir()
    return folder


def open_watch(folder: Path) -> FolderWatch:
    """A watch that fails where a test would wait forever."""
    ends_s = time.monotonic() + LONGEST_S

    def clock() -> float:
        assert time.monotonic() < ends_s, "waited too long"
        return time.monotonic()

    return FolderWatch(folder, SETTLE_S, clock=clock)


def gather(watched: FolderWatch, count: int, also_s: float = 3 * SETTLE_S) -> list[str]:
    """The names of the next files, and of all others that come within the time after them."""
    found: list[str] = []
    last_s, changes = time.monotonic(), watched._changes

    def until_nothing_comes() -> Iterator[bool]:
        for number, changed in enumerate(changes):
            yield changed
            if number >= 3 and len(found) >= count and time.monotonic() - last_s > also_s:
                return

    watched._changes = until_nothing_comes()
    for path in watched.files():
        found.append(path.relative_to(watched.folder).as_posix())
        last_s = time.monotonic()
    watched._changes = changes
    return found


# What is new, and when it is finished


def test_a_bounce_that_grows_is_given_out_once_and_whole(bounces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is still for less than the time that makes it finished, again and again."""
    take, now_s = bounces / "take.wav", 0.0

    def write_a_part() -> Iterator[bool]:
        nonlocal now_s
        yield False
        yield False
        for _ in range(8):
            with take.open("ab") as file:
                file.write(bytes(1000))
            yield True
            now_s += 0.9 * watch.SETTLE_S
        yield False
        now_s += 0.2 * watch.SETTLE_S
        yield False
        now_s += 10 * watch.SETTLE_S
        yield False

    monkeypatch.setattr(watch, "listen", lambda _: write_a_part())
    events: list[Event] = []
    watched = FolderWatch(bounces, on_event=events.append, clock=lambda: now_s)
    given = [(path, path.stat().st_size, now_s) for path in watched.files()]
    assert given == [(take, 8000, pytest.approx(7.4 * watch.SETTLE_S))]
    words = [event.stage for event in events if isinstance(event, Activity)]
    assert words == [f"watching {bounces}", "waiting until take.wav is finished", f"watching {bounces}"]


def test_a_pause_makes_two_of_a_bounce_and_loses_none(bounces: Path) -> None:
    """Whatever comes later is new."""
    (bounces / "old.wav").write_bytes(b"1")
    watched = open_watch(bounces)
    (bounces / "take.wav").write_bytes(b"1")
    assert gather(watched, 1) == ["take.wav"]
    (bounces / "take.wav").write_bytes(b"12")
    assert gather(watched, 1) == ["take.wav"]
    os.utime(bounces / "old.wav")
    assert gather(watched, 1) == ["old.wav"]


def test_what_is_there_already_is_left_alone(bounces: Path) -> None:
    """And so is what is skipped, what is hidden, and what is no audio by name."""
    for name in ("old.wav", "own.wav"):
        (bounces / name).write_bytes(b"1")
    watched = open_watch(bounces)
    (bounces / "own.wav").write_bytes(b"12")
    watched.skip([bounces / "own.wav", str(bounces / "never.wav")])
    for name in (".hidden.wav", "._take.wav", "notes.txt", ".audiolm-0123456789ab.part", "take.wav.part"):
        (bounces / name).write_bytes(b"1")
    assert gather(watched, 0) == []


def test_files_that_vanish_are_forgotten(bounces: Path) -> None:
    """Before they are finished, before their turn, and with their folder."""
    watched = open_watch(bounces)
    (bounces / "gone.wav").write_bytes(b"1")
    (bounces / "below").mkdir()
    (bounces / "below" / "gone.wav").write_bytes(b"1")
    watched.look()
    assert len(watched.unfinished) == 2
    (bounces / "gone.wav").unlink()
    shutil.rmtree(bounces / "below")
    (bounces / "stays.wav").write_bytes(b"1")
    assert gather(watched, 1) == ["stays.wav"] and watched.unfinished == []


def test_a_rename_into_place_and_folders(bounces: Path, tmp_path: Path) -> None:
    """As programs save that write under another name first; a folder that is moved in; one that is made just now."""
    watched = open_watch(bounces)
    (bounces / "take.wav.tmp").write_bytes(b"1")
    (bounces / "take.wav.tmp").rename(bounces / "take.wav")
    (tmp_path / "session" / "deep").mkdir(parents=True)
    (tmp_path / "session" / "deep" / "a.flac").write_bytes(b"1")
    (tmp_path / "session").rename(bounces / "session")
    (bounces / "made").mkdir()
    (bounces / "made" / "b.WAV").write_bytes(b"1")
    assert sorted(gather(watched, 3)) == ["made/b.WAV", "session/deep/a.flac", "take.wav"]


def test_two_hundred_at_once_come_in_the_order_of_writing(bounces: Path) -> None:
    """Each once; also those that come while others are being made. What is made of them takes no time here."""
    watched = open_watch(bounces)
    names = [f"{number:03d}.wav" for number in np.random.default_rng(0).permutation(200)]
    for number, name in enumerate(names[:150]):
        (bounces / name).write_bytes(b"1")
        os.utime(bounces / name, ns=(number * 10**9, number * 10**9))
    found = []
    for path in watched.files():
        found.append(path.name)
        if len(found) <= 50:
            (bounces / names[149 + len(found)]).write_bytes(b"1")
        if len(found) == 200:
            break
    assert found[:150] == names[:150] and sorted(found) == sorted(names)
    assert gather(watched, 0) == []


def test_a_drive_that_reports_nothing(bounces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is looked at every few seconds."""

    def silent(_: Path) -> Iterator[bool]:
        while True:
            time.sleep(0.02)
            yield False

    monkeypatch.setattr(watch, "listen", silent)
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.2)
    watched = open_watch(bounces)
    (bounces / "take.wav").write_bytes(b"1")
    assert gather(watched, 1) == ["take.wav"]


def test_a_large_folder_is_looked_at_less_often(bounces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking takes a small share of the time, however long it takes."""
    now_s = 0.0
    find = watch.find_audio

    def find_slowly(*args: Any, **options: Any) -> FoundAudio:
        nonlocal now_s
        now_s += 3.0
        return find(*args, **options)

    monkeypatch.setattr(watch, "find_audio", find_slowly)
    watched = FolderWatch(bounces, clock=lambda: now_s)
    now_s += 59.0
    assert not watched._is_look_due()
    now_s += 2.0
    assert watched._is_look_due()


def test_what_another_program_holds_is_not_finished(bounces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a program may keep a file to itself while it writes; other refusals are the command's to explain."""
    (bounces / "take.wav").write_bytes(b"1")
    held = PermissionError(13, "The process cannot access the file")
    held.winerror = 32  # type: ignore[attr-defined]
    for error, expected in ((held, True), (PermissionError(13, "denied"), False), (FileNotFoundError(), False)):

        def refuse(*_: Any, error: OSError = error) -> None:
            raise error

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "open", refuse)
            assert watch.is_held(bounces / "take.wav") == expected
    assert not watch.is_held(bounces / "take.wav")

    waits = itertools.chain([True] * 3, itertools.repeat(False))
    asked: list[Path] = []
    monkeypatch.setattr(watch, "is_held", lambda path: (asked.append(path), next(waits))[1])
    watched = open_watch(bounces)
    (bounces / "take.wav").write_bytes(b"12")
    assert gather(watched, 1) == ["take.wav"] and len(asked) == 4


def test_an_empty_file_has_not_begun(bounces: Path) -> None:
    """Programs make one and render into memory."""
    watched = open_watch(bounces)
    (bounces / "take.wav").touch()
    assert gather(watched, 0) == [] and watched.unfinished == [bounces / "take.wav"]
    (bounces / "take.wav").write_bytes(b"1")
    assert gather(watched, 1) == ["take.wav"]


def test_a_folder_that_goes_away_ends_it(bounces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive that is unplugged, for example."""
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.2)
    watched = open_watch(bounces)
    bounces.rmdir()
    with pytest.raises(DataError, match="bounces: no such file or folder"):
        gather(watched, 1)


# What becomes of each file


@pytest.fixture
def studio(bounces: Path, tiny_model: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with bounces in one below it, and settings with which generating takes a moment."""
    for name, seed in {"a.wav": 1, "b.wav": 2}.items():
        soundfile.write(bounces / name, piano(1.0, 16000, channels=2, seed=seed), 16000)
    soundfile.write(bounces.parent / "ref.wav", piano(1.0, 16000, seed=9), 16000)
    for name, value in {"MODEL": tiny_model, "DEVICE": "cpu", "SEED": "3", "DURATION": "0.3", "BRIDGE": "0.2"}.items():
        monkeypatch.setenv(f"AUDIOLM_{name}", str(value))
    monkeypatch.setattr(Guard, "find_fault", lambda self, codes: None)  # all that an untrained model makes is wrong
    monkeypatch.chdir(bounces.parent)
    return bounces.parent


@pytest.fixture
def come(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which files a watch gives out before it ends: the watching itself is left out, all that follows is real."""

    def give(*names: str) -> None:
        monkeypatch.setattr(FolderWatch, "files", lambda self: iter([self.folder / name for name in names]))

    return give


@pytest.mark.parametrize(
    "words",
    [
        ["continue", "--before"],
        ["continue", "--stream"],
        ["continue", "--takes", "2"],
        ["infill", "--gap", "0.4:0.5"],
        ["loop", "--repeat", "2"],
        ["restyle", "--style", "ref.wav"],
    ],
    ids=" ".join,
)
def test_each_file_gets_what_the_command_gives(
    audiolm: Any, studio: Path, come: Callable[..., None], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes under the same names, beside the recordings, in the order of coming; the model is loaded once."""
    loads: list[str] = []
    load = loading.load_model
    monkeypatch.setattr(loading, "load_model", lambda *args: (loads.append(args[0]), load(*args))[1])
    come("b.wav", "a.wav")
    shown = audiolm("watch", "bounces", "--", *words)
    assert shown.exit_code == 0, shown.stderr
    assert len(loads) == 1

    made = {path.name: path.read_bytes() for path in (studio / "bounces").iterdir() if path.name.count(".") > 1}
    lines, told = "", ["watching bounces; Ctrl-C ends it"]
    for name in ("bounces/b.wav", "bounces/a.wav"):
        alone = audiolm(words[0], name, *words[1:], "-o", "alone/")
        lines += alone.stdout.replace("alone/", "bounces/")
        told += alone.stderr.splitlines()
    assert shown.stdout == lines
    assert shown.stderr.splitlines() == [*told, "the watch has ended: 2 files done"]
    assert made == {path.name: path.read_bytes() for path in (studio / "alone").iterdir()} and made


def test_what_fails_is_told_as_the_command_tells_it(audiolm: Any, studio: Path, come: Callable[..., None]) -> None:
    """Text in a WAV, a file that is gone by its turn, one that is too short; the others are made, and a sum ends it."""
    (studio / "bounces" / "broken.wav").write_text("hello")
    soundfile.write(studio / "bounces" / "short.wav", np.zeros(10), 16000)
    come("a.wav", "broken.wav", "gone.wav", "short.wav", "b.wav")
    shown = audiolm("watch", "bounces", "--", "continue")
    told = [audiolm("continue", f"bounces/{name}").stderr for name in ("broken.wav", "gone.wav", "short.wav")]
    assert shown.stderr == "".join(
        [
            "watching bounces; Ctrl-C ends it\n",
            *told,
            "the watch has ended: 2 files done, failed: 3 (bounces/broken.wav, bounces/gone.wav, bounces/short.wav)\n",
        ]
    )
    assert [line.split()[0] for line in shown.stdout.splitlines()] == [
        "bounces/a.continued.wav",
        "bounces/b.continued.wav",
    ]


def test_a_bug_over_one_file_does_not_end_it(
    audiolm: Any, studio: Path, come: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as one, memory that is too small likewise."""
    from audiolm_cli.editing import edit

    def fail(session: Any, job: Any, *_: Any) -> Any:
        raise ZeroDivisionError("x") if job.source.endswith("a.wav") else MemoryError

    monkeypatch.setattr(edit, "edit_recording", fail)
    come("a.wav", "b.wav")
    shown = audiolm("watch", "bounces", "--", "continue")
    assert "ZeroDivisionError: x. This is a bug in audiolm" in shown.stderr and "out of memory" in shown.stderr
    assert shown.stderr.endswith("0 files done, failed: 2 (bounces/a.wav, bounces/b.wav)\n")


def test_what_audiolm_made_is_left_alone(audiolm: Any, studio: Path, come: Callable[..., None]) -> None:
    """By another watch or in another session, and under whatever name; it is told, and it is no failure."""
    audiolm("continue", "bounces/a.wav", "-o", "bounces/renamed.flac")
    audiolm("continue", "bounces/a.wav", "-o", "bounces/grown.wav", "--stream")
    come("renamed.flac", "grown.wav", "b.wav")
    shown = audiolm("watch", "bounces", "--", "continue")
    assert shown.stderr.splitlines()[1:] == [
        "bounces/renamed.flac was made by audiolm, and is left alone",
        "bounces/grown.wav was made by audiolm, and is left alone",
        "the watch has ended: 1 file done",
    ]
    assert audiolm("continue", "bounces/renamed.flac").exit_code == 0  # a person may ask for that


def test_the_same_name_again_is_numbered_and_with_f_replaced(
    audiolm: Any, studio: Path, come: Callable[..., None]
) -> None:
    """As the command does where it is run twice; into a folder of -o, that is refused."""
    come("a.wav", "a.wav")
    names = [line.split()[0] for line in audiolm("watch", "bounces", "--", "continue").stdout.splitlines()]
    assert names == ["bounces/a.continued.wav", "bounces/a.continued-2.wav"]
    names = [line.split()[0] for line in audiolm("watch", "bounces", "--", "continue", "-f").stdout.splitlines()]
    assert names == ["bounces/a.continued.wav"] * 2
    shown = audiolm("watch", "bounces", "--", "continue", "-o", "new/", "--plot", "p.png")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["new/a.continued.wav", "p.a.png"]
    assert "new/a.continued.wav: exists already" in shown.stderr


def test_each_file_has_a_page_of_its_own(audiolm: Any, studio: Path, come: Callable[..., None]) -> None:
    """Named after it, as its picture is; a page from before is in nobody's way, and none is written over."""
    (studio / "takes.html").write_text("older")
    come("a.wav", "b.wav", "a.wav")
    shown = audiolm("watch", "bounces", "--", "continue", "--page", "takes.html")
    pages = [line.split()[0] for line in shown.stdout.splitlines() if "(page" in line]
    assert pages == ["takes.a.html", "takes.b.html", "takes.a-2.html"], shown.stderr
    for page, name, other in (("takes.a.html", "a", "b"), ("takes.b.html", "b", "a")):
        text = (studio / page).read_text()
        assert f"bounces/{name}.wav" in text and f"bounces/{other}.wav" not in text
    assert (studio / "takes.html").read_text() == "older"

    come("b.wav")
    words = ("watch", "bounces", "--", "continue", "-o", "new/", "--page", "takes.html")
    shown = audiolm(*words)
    assert "takes.b.html: exists already" in shown.stderr and not list((studio / "new").iterdir())
    assert "takes.b.html  (page" in audiolm(*words, "-f").stdout


def test_tempo_and_markers_are_those_of_each_file(
    audiolm: Any, studio: Path, come: Callable[..., None], piano: Piano
) -> None:
    """Two beats at 120 and at 240 quarter notes per minute; what states no tempo fails alone."""
    for name, bpm in {"slow.wav": 120.0, "fast.wav": 240.0}.items():
        path = studio / "bounces" / name
        soundfile.write(path, piano(1.0, 16000), 16000)
        acid = struct.pack("<4sIIHHfIHHf", b"acid", 24, 0, 60, 0x8000, 0.0, 16, 4, 4, bpm)
        content = path.read_bytes()[8:] + acid
        path.write_bytes(struct.pack("<4sI", b"RIFF", len(content)) + content)
    come("slow.wav", "fast.wav", "a.wav")
    shown = audiolm("watch", "bounces", "--", "continue", "-d", "2beats")
    lengths = [soundfile.info(line.split()[0]).duration for line in shown.stdout.splitlines()]
    assert lengths == [2.0, 1.5]
    assert "failed: 1 (bounces/a.wav)" in shown.stderr

    come("a.wav")
    shown = audiolm("watch", "bounces", "--", "infill", "--gap", "markers")
    assert shown.stderr.splitlines()[1] == audiolm("infill", "bounces/a.wav", "--gap", "markers").stderr.strip()


def test_settings_and_presets_count_as_for_the_command(
    audiolm: Any, studio: Path, come: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A section of the command, a preset, and the time of watch itself."""
    monkeypatch.delenv("AUDIOLM_DURATION")
    (studio / "audiolm.toml").write_text(
        "[continue]\nduration = 0.2\n[watch]\nsettle = 7.5\n[preset.long]\nduration = 0.4\n"
    )
    settles: list[float] = []
    begin = FolderWatch.__init__

    def note_time(self: FolderWatch, folder: str, settle_s: float, *rest: Any) -> None:
        settles.append(settle_s)
        begin(self, folder, settle_s, *rest)

    monkeypatch.setattr(FolderWatch, "__init__", note_time)
    come("a.wav")
    for words, seconds in (([], 1.2), (["--preset", "long"], 1.4), (["-d", "0.1"], 1.1)):
        shown = audiolm("watch", "bounces", "--", "continue", "-f", *words)
        assert soundfile.info(shown.stdout.split()[0]).duration == pytest.approx(seconds)
    assert settles == [7.5] * 3


def test_for_programs(audiolm: Any, studio: Path, come: Callable[..., None]) -> None:
    """Each result is one line; errors, notes and the end are objects on standard error."""
    (studio / "bounces" / "broken.wav").write_text("hello")
    come("a.wav", "broken.wav", "b.wav")
    shown = audiolm("watch", "bounces", "--", "continue", "--json", "--progress", "json")
    results = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [result["outputs"][0]["path"] for result in results] == [
        "bounces/a.continued.wav",
        "bounces/b.continued.wav",
    ]
    events = [json.loads(line) for line in shown.stderr.splitlines()]
    said = [(one["event"], one["message"]) for one in events if "message" in one]
    assert said[0] == ("message", "watching bounces; Ctrl-C ends it")
    assert said[1][0] == "error" and said[1][1].startswith("bounces/broken.wav: holds text")
    assert said[2] == ("message", "the watch has ended: 2 files done, failed: 1 (bounces/broken.wav)")
    assert audiolm("watch", "bounces", "--", "continue", "-q").stderr.count("\n") == 1  # the error alone


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "say behind -- what to do with each file"),
        (["continue", "-d", "4"], 2, "-- is missing in front of the command: audiolm watch bounces -- continue -d 4"),
        (["--settle", "2", "infill", "--gap=1:2"], 2, "audiolm watch bounces --settle 2 -- infill --gap=1:2"),
        (["--", "continue", "--page", "x.png"], 2, "give a name that ends in .html"),
        (["--", "train"], 2, "watch runs continue, infill, loop or restyle, not 'train'"),
        (["--", "continue", "a.wav"], 2, "continue gets its files from bounces; leave out a.wav"),
        (["--", "continue", "-"], 2, "leave out -"),
        (["--", "continue", "-d", "x"], 2, "'x' is not a time"),
        (["--", "continue", "--stream", "--before"], 2, "--stream does not go with --before"),
        (["--", "infill", "--gap", "2:1"], 2, "ends before it starts"),
        (["--", "continue", "-o", "x.wav"], 2, "a watched folder need a folder; create it, or end its name with /"),
        (["--", "continue", "-o", "-"], 2, "a watched folder need a folder"),
        (["--", "continue", "-m", "none"], 4, "none"),
        (["--", "restyle", "--style", "none.wav"], 3, "none.wav"),
        (["--settle", "0", "--", "continue"], 2, "'0' is not a number over 0"),
        (["--", "continue", "--preset", "none"], 2, "there is no preset 'none'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_watched(
    audiolm: Any, studio: Path, come: Callable[..., None], words: list[str], code: int, told: str
) -> None:
    """One line, and nothing is made of any file."""
    come("a.wav")
    shown = audiolm("watch", "bounces", *words)
    assert shown.exit_code == code and told in shown.stderr, shown.stderr
    assert shown.stderr.count("\n") == 1 and shown.stderr.startswith("audiolm: error: ")
    assert sorted(path.name for path in (studio / "bounces").iterdir()) == ["a.wav", "b.wav"]


@pytest.mark.parametrize(("folder", "told"), [("none", "no such folder"), ("ref.wav", "is no folder")])
def test_a_folder_that_is_none(audiolm: Any, studio: Path, folder: str, told: str) -> None:
    """Said at once."""
    shown = audiolm("watch", folder, "--", "continue")
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1) and told in shown.stderr


def test_without_watchfiles(audiolm: Any, studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that installs it."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    shown = audiolm("watch", "bounces", "--", "continue")
    assert shown.exit_code == 4 and "watchfiles" in shown.stderr and "install" in shown.stderr


# In a process


def start(studio: Path, *words: str) -> subprocess.Popen[str]:
    """A watch of bounces, in a process of its own."""
    command = [sys.executable, "-m", "audiolm_cli", "watch", "bounces", "--settle", "0.3", "--", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=studio, stdout=pipe, stderr=pipe, text=True)


def read_until(stream: Any, text: str) -> str:
    """The line with this in it."""
    line = next(line for line in stream if text in line)
    return str(line)


def test_ctrl_c_ends_it_well(studio: Path, piano: Piano) -> None:
    """Bounces that come one after the other, a broken one among them; the results are not taken for bounces."""
    process = start(studio, "continue")
    assert process.stdout is not None and process.stderr is not None
    try:
        read_until(process.stderr, "watching bounces")
        soundfile.write(studio / "new.tmp", piano(1.0, 16000), 16000, format="WAV")
        shutil.copy(studio / "new.tmp", studio / "bounces" / "one.wav")
        assert process.stdout.readline().startswith("bounces/one.continued.wav")  # as soon as it is there
        (studio / "bounces" / "broken.wav").write_text("hello")
        assert read_until(process.stderr, "broken.wav").startswith("audiolm: error: bounces/broken.wav: holds text")
        (studio / "new.tmp").rename(studio / "bounces" / "two.wav")
        assert process.stdout.readline().startswith("bounces/two.continued.wav")
        (studio / "bounces" / "begun.wav").touch()
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and out == ""
    assert told.splitlines() == [
        "the watch has ended: 2 files done, failed: 1 (bounces/broken.wav), not finished: 1 (bounces/begun.wav)",
    ]
    assert sorted(path.name for path in (studio / "bounces").iterdir()) == sorted(
        ["a.wav", "b.wav", "one.wav", "broken.wav", "two.wav", "begun.wav", "one.continued.wav", "two.continued.wav"]
    )


def test_ctrl_c_while_a_file_is_made(studio: Path) -> None:
    """Nothing half-made is left; started again, neither what was there nor what was made is taken for new."""
    process = start(studio, "continue", "-d", "600", "--progress", "json")
    assert process.stderr is not None
    try:
        read_until(process.stderr, "watching bounces")
        os.utime(studio / "bounces" / "a.wav")
        read_until(process.stderr, '"stage": "generate"')
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert json.loads(told.splitlines()[-1])["message"] == "the watch has ended: 0 files done"
    assert sorted(path.name for path in (studio / "bounces").iterdir()) == ["a.wav", "b.wav"]

    again = start(studio, "continue")
    assert again.stderr is not None
    try:
        read_until(again.stderr, "watching bounces")
        time.sleep(1.5)
        again.send_signal(signal.SIGTERM)
        out, told = again.communicate(timeout=30)
    finally:
        again.kill()
    assert (again.returncode, out) == (143, "") and told == "the watch has ended: 0 files done\n"
