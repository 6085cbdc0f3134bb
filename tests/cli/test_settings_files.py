"""Settings from files: which one wins, what is refused, and that a file changes no more than it says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
import soundfile
import typer

from audiolm_cli.cli.app import app
from audiolm_cli.cli.settings_files import LARGEST_BYTES, SettingsFile

WriteSettings = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteSettings:
    """`write(text)` makes `audiolm.toml` of the current folder, `write(text, user=True)` the user's `config.toml`."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def write(text: str, *, user: bool = False) -> Path:
        folder = platformdirs.user_config_path("audiolm", appauthor=False) if user else Path()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / ("config.toml" if user else "audiolm.toml")
        path.write_bytes(text.encode())
        return path

    return write


@pytest.fixture
def value(audiolm: Any) -> Callable[..., tuple[Any, str]]:
    """`value("top-k", "continue")`: what a setting of a command is, and where that comes from."""

    def find(name: str, *words: str) -> tuple[Any, str]:
        shown = audiolm("config", *words, "--json")
        assert shown.exit_code == 0, shown.stderr
        (found,) = (one for one in json.loads(shown.stdout)["settings"] if one["name"] == name)
        return found["value"], found["place"]

    return find


def test_the_nearest_source_wins(write: WriteSettings, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default, the user's file, the working folder's, its section of the command, a preset, a variable."""
    assert value("top-k", "continue") == ("0", "default")
    user = write("top-k = 10\n[preset.calm]\ntop-k = 50\n[continue]\ntop-k = 20\n", user=True)
    assert value("top-k", "infill") == ("10", f"{user}, line 1")
    assert value("top-k", "continue") == ("20", f"{user}, line 5")
    write("# a remark\n\ntop-k = 30\n")
    assert value("top-k", "continue") == ("30", "audiolm.toml, line 3")
    write("top-k = 30\n[continue]\ntop-k = 40\n")
    assert value("top-k", "continue") == ("40", "audiolm.toml, line 3")
    assert value("top-k", "infill") == ("30", "audiolm.toml, line 1")
    assert value("top-k", "continue", "--preset", "calm") == ("50", f"{user}, line 3")
    monkeypatch.setenv("AUDIOLM_TOP_K", "60")
    assert value("top-k", "continue", "--preset", "calm") == ("60", "AUDIOLM_TOP_K")


def generate(audiolm: Any, *args: object) -> dict[str, Any]:
    """The settings that a run in the current folder was made with."""
    shown = audiolm("continue", "take.wav", "--json", "-f", *args)
    assert shown.exit_code == 0, shown.stderr
    result = json.loads(shown.stdout)
    return result["settings"] | result["outputs"][0]["sampling"] | {"seed": result["outputs"][0]["seed"]}


@pytest.fixture
def take(write: WriteSettings, tiny_model: Path, piano: Callable[..., np.ndarray]) -> Path:
    """A recording in the current folder, and a user's file that makes continuing it a matter of a moment."""
    soundfile.write("take.wav", piano(1.0, 16000), 16000)
    write(f'model = "{tiny_model}"\nduration = 0.2\nseed = 3\ndevice = "cpu"\n', user=True)
    return Path("take.wav")


def test_a_command_runs_with_them(audiolm: Any, write: WriteSettings, take: Path) -> None:
    """Files and presets decide what a flag does not; the flag wins without a word."""
    write('top-k = 7\n[continue]\npreset = "usual"\n[preset.usual]\ntop-p = 0.5\n[preset.calm]\ntemperature = 0.25\n')
    usual = generate(audiolm)
    assert (usual["seed"], usual["top_k"], usual["top_p"]) == (3, 7, 0.5)
    calm = generate(audiolm, "--preset", "calm")
    assert (calm["temperature"], calm["top_p"]) == (0.25, 1.0)
    assert generate(audiolm, "--preset", "calm", "--temperature", 2)["temperature"] == 2
    shown = audiolm("continue", "take.wav", "-f", "--preset", "calm", "--temperature", 2)
    assert shown.exit_code == 0 and "preset" not in shown.stderr


def test_a_file_that_says_nothing_changes_no_byte(
    audiolm: Any, write: WriteSettings, tiny_model: Path, piano: Callable[..., np.ndarray]
) -> None:
    """The same command with no file, with empty ones, with one that says the same, and with one that is not read."""
    soundfile.write("take.wav", piano(1.0, 16000), 16000)
    args = ["take.wav", "-d", 0.2, "-m", tiny_model, "--seed", 3, "--device", "cpu", "-o"]
    assert audiolm("continue", *args, "a.wav").exit_code == 0
    for user in (True, False):
        write("", user=user)
    assert audiolm("continue", *args, "b.wav").exit_code == 0
    write("top-k = 0\n[loop]\nseed = 4\n[preset.calm]\ntop-k = 3\n")
    assert audiolm("continue", *args, "c.wav").exit_code == 0
    write("top-k = 1\ntemperature = 0\n")
    assert audiolm("--no-config", "continue", *args, "d.wav").exit_code == 0
    assert audiolm("continue", *args, "e.wav").exit_code == 0
    first, *others, last = (Path(f"{name}.wav").read_bytes() for name in "abcde")
    assert all(other == first for other in others) and last != first


def test_a_variable_leaves_them_unread(
    audiolm: Any, write: WriteSettings, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AUDIOLM_NO_CONFIG, and even files that are none do no harm."""
    write("not toml")
    assert audiolm("config").exit_code == 2
    monkeypatch.setenv("AUDIOLM_NO_CONFIG", "1")
    assert value("takes", "continue") == ("1", "default")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("takes = 0", "audiolm.toml, line 1: takes must be a whole number, 1 or more, got '0'"),
        ("\n\ntakes = 1.5", "audiolm.toml, line 3: takes must be a whole number, 1 or more, got '1.5'"),
        ("takes = true", "audiolm.toml, line 1: takes must be a whole number, 1 or more, got 'true'"),
        ('channels = "both"', "audiolm.toml, line 1: channels must be one of mid, each, got 'both'"),
        ('before = "maybe"', "audiolm.toml, line 1: before must be true or false, got 'maybe'"),
        ('[continue]\nduration = "soon"', "audiolm.toml, line 2: duration: 'soon' is not a time; write seconds"),
        ("takes = [1, 2]", "audiolm.toml, line 1: takes takes one value, got a list"),
        ("takes = {a = 1}", "audiolm.toml, line 1: there is no section [takes]"),
        ("takes = 2024-01-01", "audiolm.toml, line 1: takes must be a text in quotes, a number, or true or false"),
        ("top-p = 0", "top-p must be over 0 and at most 1, got 0.0 (top-p is from audiolm.toml, line 1)"),
        ("top_k = 3", "audiolm.toml, line 1: no command has setting 'top_k'. Did you mean top-k?"),
        ("x = 1\ntakes = 2", "audiolm.toml, line 1: no command has setting 'x'"),
        ("[continue]\nbridge = 2", "audiolm.toml, line 2: `audiolm continue` has no setting 'bridge'"),
        ("[contnue]\ntakes = 2", "audiolm.toml, line 1: there is no section [contnue]. Did you mean continue?"),
        (
            "[codec.train]\nsteps = 2",
            'audiolm.toml, line 1: there is no section [codec]. Sections of its commands are ["',
        ),
        ('preset = "calm"', "audiolm.toml, line 1: presets are sections such as [preset.calm]"),
        ("[preset.a]\nsteps = 3", "audiolm.toml, line 2: generating commands have no setting 'steps'"),
        ("[preset.a]\nmodle = 3", "audiolm.toml, line 2: generating commands have no setting 'modle'. Did you mean m"),
        ('[preset.a]\npreset = "b"', "audiolm.toml, line 2: generating commands have no setting 'preset'"),
        ("[[preset]]\ntakes = 3", "audiolm.toml, line 1: presets are sections"),
        ("takes = ", "audiolm.toml is not TOML: Invalid value (at end of document)"),
        ("takes = 1\ntakes = 2\n#", "audiolm.toml is not TOML: Cannot overwrite a value (at line 2"),
        ("a = " + "[" * 5000, "audiolm.toml is not TOML: "),
        ("#" * (LARGEST_BYTES + 1), "audiolm.toml is over 64 kB, which no settings are"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, line: str, audiolm: Any, write: WriteSettings) -> None:
    """In one line with the file, the line and the setting, before anything is done."""
    write(text)
    shown = audiolm("continue", "none.wav")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr.startswith(f"audiolm: error: {line}") and shown.stderr.count("\n") == 1


def test_what_contradicts_a_flag_is_named(audiolm: Any, write: WriteSettings) -> None:
    """The error is about an option that was given; it says where the other one stands."""
    write("[preset.four]\ntakes = 4\n")
    shown = audiolm("continue", "none.wav", "--preset", "four", "--best-of", 2)
    told = "best-of must be at least the number of takes, 4, got 2 (takes is from audiolm.toml, line 2)"
    assert (shown.exit_code, shown.stderr) == (2, f"audiolm: error: {told}\n")
    assert audiolm("continue", "none.wav", "--preset", "four", "--best-of", 2, "--takes", 2).exit_code == 3


def test_a_file_that_cannot_be_read(audiolm: Any, write: WriteSettings) -> None:
    """A folder of its name, a pipe that nobody writes to, and one that is no text."""
    path = write("")
    path.write_bytes(b'model = "caf\xe9"')
    assert audiolm("continue", "none.wav").stderr == "audiolm: error: audiolm.toml is not UTF-8, as TOML has to be\n"
    path.unlink()
    os.mkfifo(path)
    assert audiolm("continue", "none.wav").stderr == "audiolm: error: audiolm.toml is no file, as settings have to be\n"
    path.unlink()
    path.mkdir()
    shown = audiolm("continue", "none.wav")
    assert shown.exit_code == 2 and shown.stderr.startswith("audiolm: error: audiolm.toml is no file")


def test_an_unknown_preset_is_refused(audiolm: Any, write: WriteSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where it was named, which there are, and which was meant."""
    shown = audiolm("loop", "none.wav", "--preset", "calm")
    told = "--preset: there is no preset 'calm'; write a section [preset.calm] into audiolm.toml"
    assert (shown.exit_code, shown.stderr) == (2, f"audiolm: error: {told}\n")
    write('[preset.calm]\n[preset.wild]\n[infill]\npreset = "clam"\n')
    told = "there is no preset 'clam'; presets: calm, wild. Did you mean calm?"
    assert audiolm("loop", "none.wav", "--preset", "clam").stderr == f"audiolm: error: --preset: {told}\n"
    shown = audiolm("infill", "none.wav", "--gap", "1:2")
    assert shown.stderr == f"audiolm: error: audiolm.toml, line 4: {told}\n"
    monkeypatch.setenv("AUDIOLM_PRESET", "clam")
    assert audiolm("loop", "none.wav").stderr == f"audiolm: error: AUDIOLM_PRESET: {told}\n"


def test_what_one_command_has_no_option_for_is_left_out(audiolm: Any, write: WriteSettings, take: Path) -> None:
    """One preset for several commands; what none of them has is a mistake, as above."""
    write("[preset.long]\nduration = 0.1\nbridge = 0.3\ntemperature = 0.5\n")
    assert generate(audiolm, "--preset", "long")["duration_s"] == 0.1
    shown = audiolm("loop", "take.wav", "--preset", "long", "--json")
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout)["settings"]["bridge_s"] == 0.3


def test_help_needs_no_good_file(audiolm: Any, write: WriteSettings) -> None:
    """Nor does the guide; and the pages show the program's defaults, not those of a file."""
    before = audiolm("continue", "--help-all").stdout
    for text in ("takes = 5", "nonsense"):
        write(text)
        assert audiolm("continue", "--help-all").stdout == before
        assert audiolm("continue", "-h").exit_code == audiolm("guide").exit_code == audiolm("-V").exit_code == 0


def test_lists_switches_and_counts(audiolm: Any, write: WriteSettings, take: Path, tmp_path: Path) -> None:
    """Each kind of option takes its value from a file; `~` is the home folder."""
    write(
        'gap = ["0.2:0.3", "0.5:0.6"]\nonly-new = false\nforce = true\nverbose = 1\n'
        'output = "~/none/"\n[infill]\noutput = "out/"\n'
    )
    shown = audiolm("infill", "take.wav", "--json")
    assert shown.exit_code == 0, shown.stderr
    result = json.loads(shown.stdout)
    assert len(result["outputs"][0]["generated"]) == 2 and result["outputs"][0]["path"].startswith("out")
    assert "total" in shown.stderr  # what -v shows
    write('gap = "0.2:0.3"\n')
    assert audiolm("infill", "take.wav", "-o", "one.wav").exit_code == 0


def test_training_counts_a_file_as_a_choice(
    audiolm: Any, write: WriteSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a file says is not left open, and contradicts a flag as another flag would."""
    from audiolm_cli.workflows import train

    Path("recordings").mkdir()
    seen: list[Any] = []

    def remember(request: Any) -> None:
        seen.append(request)
        raise typer.Exit(0)

    monkeypatch.setattr(train, "train", remember)
    args = ["train", "recordings", "-o", "run", "--codec", "sound"]
    write("")
    assert audiolm(*args).exit_code == 0
    write("steps = 50\n[train]\nwarmup-steps = 5\n[continue]\nthreads = 2\n")
    assert audiolm(*args).exit_code == 0
    free, held = (request.free for request in seen)
    assert free - held == {"steps", "warmup_steps"} and held < free
    assert (seen[1].config.steps, seen[1].config.warmup_steps) == (50, 5)
    shown = audiolm(*args, "--num-epochs", 2)
    assert shown.exit_code == 2 and len(seen) == 2
    assert shown.stderr.endswith("leave one of them out (steps is from audiolm.toml, line 1)\n")


def test_a_preset_is_no_size_of_a_model(audiolm: Any, write: WriteSettings, value: Any) -> None:
    """`train --preset` takes a size, also from its own section, and none of a user's presets."""
    write('[train]\npreset = "small"\n[preset.calm]\nseed = 3\n')
    assert value("preset", "train") == ("small", "audiolm.toml, line 2")
    shown = audiolm("train", "none", "-o", "run", "--preset", "calm")
    assert shown.stderr == "audiolm: error: --preset must be one of tiny, small, base, got 'calm'\n"
    assert "your own" not in audiolm("train", "--help-all").stdout.lower()
    for name in ("continue", "infill", "loop", "restyle"):
        assert "your own settings of this name" in " ".join(audiolm(name, "-h").stdout.lower().split())


def test_lines_are_found() -> None:
    """Of keys, sections, values of several lines, inline tables and dotted keys."""
    text = (
        'a = """\n[b]\n"""\n\n# c = 1\n[x.y]  # z\nlist = [\n  1,\n  2,\n]\n"quoted key" = 1\n'
        '[preset]\ncalm = {takes = 2}\nwild.takes = 3\r\n["codec train"]\nsteps = 3'
    )
    file = SettingsFile(path=Path("f.toml"), text=text.replace("\r\n", "\n"), values={})
    places = {
        ("a",): 1,
        ("x", "y"): 6,
        ("x", "y", "list"): 7,
        ("x", "y", "quoted key"): 11,
        ("preset",): 12,
        ("preset", "calm", "takes"): 13,
        ("preset", "wild", "takes"): 14,
        ("codec train", "steps"): 16,
    }
    assert {keys: file.line_of(*keys) for keys in places} == places
    assert file.line_of("codec train", "none") == 15 and file.line_of("none") == 1


def test_every_option_can_stand_in_a_file(write: WriteSettings, audiolm: Any) -> None:
    """A file with every setting of every command, each in its own section, with a value that it takes."""
    from audiolm_cli.cli.chosen import is_setting, names_of, walk_commands

    lines = []
    for words, command in walk_commands(typer.main.get_command(app)):
        own = [option for option in command.params if is_setting(option)]
        lines += [f'["{words}"]'] * bool(own)
        for option in own:
            default = option.default if option.default not in (None, []) else None
            if isinstance(default, (bool, int, float, str)):
                lines.append(f"{names_of(option)[0]} = {json.dumps(default)}")
    write("\n".join(lines))
    assert len(lines) > 150
    shown = audiolm("config", "--json")
    assert shown.exit_code == 0, shown.stderr
    held = [one for one in json.loads(shown.stdout)["settings"] if one["origin"] == "file"]
    assert {words for one in held for words in one["commands"]} > {"continue", "codec train", "models pull", "config"}
