"""Playing: which player is taken, what it is given, and what is said where no sound comes out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from file_limits import full_after

from audiolm_cli.audio import playing
from audiolm_cli.audio.playing import PROGRAMS, find_players, play_stretches, playing_command, read_stretch
from audiolm_cli.errors import InstallationError, OutputError

MakeProgram = Callable[..., Path]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with programs, which is empty; and no package that plays."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    return folder


@pytest.fixture
def make_program(programs: Path) -> MakeProgram:
    """`make_program(name)` puts a player there that keeps what it was given; `then` is what it does afterwards."""

    def make(name: str, then: str = "") -> Path:
        kept = programs / f"{name}.wav"
        # The file is an argument, or stands in one: a word that ends in .wav, between quotes or not
        script = f"""#!/bin/sh
for word in "$@"; do
  case "$word" in *excerpt.wav*) file="/${{word#*/}}"; file="${{file%%.wav*}}.wav"; /bin/cp "$file" '{kept}';; esac
done
echo "$@" > '{programs}/{name}.words'
{then}
"""
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
        return kept

    return make


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """Two seconds of three channels that rise from 0 to 0.5, 0.5 and 0.2."""
    path = tmp_path / "it's a ramp.wav"
    rising = np.linspace(0, 1, 16000, endpoint=False)[:, None] * [[0.5, 0.5, 0.2]]
    soundfile.write(path, rising, 8000, subtype="FLOAT")
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="the fake players are shell scripts")
@pytest.mark.parametrize("name", [name for name, _ in PROGRAMS])
def test_a_player_gets_the_stretches(name: str, make_program: MakeProgram, ramp: Path) -> None:
    """One after the other, in 16 bits, of many channels their mean; the excerpt is gone afterwards."""
    kept = make_program(name)
    assert play_stretches(ramp, [(0.5, 1.0), (1.5, 9.0)]) == name
    heard, rate_hz = soundfile.read(kept)
    assert (rate_hz, len(heard), soundfile.info(kept).subtype) == (8000, 8000, "PCM_16")
    expected = np.concatenate([np.arange(4000, 8000), np.arange(12000, 16000)]) / 16000 * 0.4
    assert np.abs(heard - expected).max() < 2**-15
    words = kept.with_suffix(".words").read_text()
    assert not any(Path(word.strip("'")).exists() for word in words.split() if "excerpt" in word)


@pytest.mark.skipif(sys.platform == "win32", reason="the fake players are shell scripts")
def test_the_first_that_works_is_taken(make_program: MakeProgram, ramp: Path) -> None:
    """ffplay's exit code is 0 where it found no sound device; another's is not."""
    make_program("aplay")
    assert play_stretches(ramp, [(0, 1)]) == "aplay"
    make_program("paplay", then="echo Connection refused >&2; exit 1")
    assert play_stretches(ramp, [(0, 1)]) == "aplay"
    make_program("ffplay", then="echo No more combinations to try, audio open failed >&2")
    assert [player.name for player in find_players()] == ["ffplay", "paplay", "aplay"]
    assert play_stretches(ramp, [(0, 1)]) == "aplay"

    make_program("aplay", then="exit 2")
    with pytest.raises(InstallationError) as raised:
        play_stretches(ramp, [(0, 1)])
    told = str(raised.value)
    assert "ffplay: found no sound device; paplay: Connection refused; aplay: exit code 2" in told
    assert len(told.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="the fake players are shell scripts")
def test_a_player_that_hangs(make_program: MakeProgram, ramp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, and the next one gets its turn."""
    monkeypatch.setattr(playing, "PATIENCE_S", -1.5)  # half a second is left for one of sound
    make_program("ffplay", then="exec /bin/sleep 60")
    with pytest.raises(InstallationError, match="ffplay: still busy"):
        play_stretches(ramp, [(0, 1)])


def test_nothing_plays(programs: Path, ramp: Path) -> None:
    """It is said in one line, with what to do."""
    with pytest.raises(InstallationError, match="install ffmpeg") as raised:
        play_stretches(ramp, [(0, 1)])
    assert len(str(raised.value).splitlines()) == 1
    assert playing_command("a.wav") is None


def test_the_package_comes_first(make_program: MakeProgram, ramp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the samples; where it finds no device, a program does."""
    heard: list[np.ndarray] = []
    package = ModuleType("sounddevice")

    class PortAudioError(Exception):
        pass

    class OutputStream:
        def __init__(self, samplerate: int, channels: int, dtype: str) -> None:
            if working is False:
                raise PortAudioError("Error querying device -1")
            assert (samplerate, channels, dtype) == (8000, 1, "float32")

        def __enter__(self) -> OutputStream:
            return self

        def __exit__(self, *_: object) -> None:
            heard.append(np.zeros((0, 1)))

        def write(self, block: np.ndarray) -> None:
            heard.append(block)

    package.PortAudioError, package.OutputStream = PortAudioError, OutputStream  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", package)
    working = True
    assert play_stretches(ramp, [(1, 2)]) == "sounddevice"
    assert np.concatenate(heard).shape == (8000, 1)
    working = False
    with pytest.raises(InstallationError, match="sounddevice: Error querying device -1"):
        play_stretches(ramp, [(1, 2)])


def test_the_command_to_type(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the first program; a quote in a name does not end the text that PowerShell is given."""
    found = ["afplay", "aplay"]
    monkeypatch.setattr("shutil.which", lambda name: name if name in found else None)
    assert playing_command("a b.wav") == ["afplay", "a b.wav"]
    found[:] = ["powershell"]
    command = playing_command("it's.wav")
    assert command is not None and command[-1] == "(New-Object Media.SoundPlayer 'it''s.wav').PlaySync()"


def test_a_stretch_is_read_as_it_is_heard(ramp: Path) -> None:
    """To the end of the file at most."""
    heard, rate_hz = read_stretch(ramp, 1.5, 5.0)
    assert (heard.shape, heard.dtype, rate_hz) == ((4000, 1), np.float32, 8000)
    assert heard[0, 0] == pytest.approx(0.75 * 0.4)


def test_a_full_folder_for_temporary_files_is_named(ramp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resource")
    monkeypatch.setattr(playing, "find_players", lambda: [playing.Player(name="none", play=lambda *_: None)])
    with full_after(100), pytest.raises(OutputError, match="folder for temporary files is full"):
        play_stretches(ramp, [(0.0, 1.0)])
