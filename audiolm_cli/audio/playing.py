"""Sound out of the loudspeakers, by whatever on this computer can play a WAV. Knows nothing about where it came from.

The package `sounddevice` plays by itself; all others are programs that are given a file.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from audiolm_cli.audio.recording import as_float
from audiolm_cli.audio.sndfile import HeldFile
from audiolm_cli.errors import InstallationError
from audiolm_cli.files import DeferringFile, as_scratch_error, encode_path, scratch_folder

PROGRAMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ffplay", ("-nodisp", "-autoexit", "-loglevel", "error", "{}")),
    ("afplay", ("{}",)),
    ("paplay", ("{}",)),
    ("aplay", ("-q", "{}")),
    ("powershell", ("-NoProfile", "-Command", "(New-Object Media.SoundPlayer '{}').PlaySync()")),
)
"""Programs that play a WAV and then end, with their arguments, the best first; `{}` is the file."""
PACKAGE = "sounddevice"
"""The package that is asked before them."""
PATIENCE = 2.0
"""A player that takes this many times the length of the sound, and `PATIENCE_S` more, hangs."""
PATIENCE_S = 30.0
NO_DEVICE = "audio open failed"
"""What ffplay says where there is none; its exit code is 0 all the same."""
NO_PLAYER = "nothing that plays sound was found; install ffmpeg (it brings ffplay), or `pip install sounddevice`"
BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Player:
    """One way to play a WAV."""

    name: str
    """Of the package or the program."""
    play: Callable[[Path, float], None]
    """Plays a file of so many seconds, to its end; raises OSError, saying why, where it cannot."""


def play_stretches(source: str | Path, stretches: list[tuple[float, float]]) -> str:
    """Play stretches of an audio file one after the other, and wait for the end.

    Each way to play is tried until one works, so that a program without a sound card is no obstacle to one that has a
    server to send to.

    Args:
        source: the file, which libsndfile reads.
        stretches: start and end of each, in seconds.

    Returns:
        The name of what played it.

    Raises:
        InstallationError: nothing here can play sound, or nothing that was found could play this.
        OutputError: the folder for temporary files is full.
    """
    players = find_players()
    if not players:
        raise InstallationError(NO_PLAYER)

    reasons = []
    with scratch_folder("audiolm-") as folder:
        excerpt = folder / "excerpt.wav"
        with as_scratch_error():
            seconds = copy_stretches(source, stretches, excerpt)
        for player in players:
            try:
                player.play(excerpt, seconds)
            except OSError as error:
                reasons.append(f"{player.name}: {error}")
            else:
                return player.name
    raise InstallationError(f"no sound came out ({'; '.join(reasons)}); is there a loudspeaker or a sound server?")


def find_players() -> list[Player]:
    """What can play sound here, the best first."""
    found = []
    if (package := _import_package()) is not None:
        found.append(Player(name=PACKAGE, play=package))
    for program, arguments in PROGRAMS:
        if (path := shutil.which(program)) is not None:
            found.append(Player(name=program, play=_run_program(path, arguments)))
    return found


def playing_command(path: str) -> list[str] | None:
    """The command line that plays a file here; None where no program does."""
    for program, arguments in PROGRAMS:
        if shutil.which(program) is not None:
            quoted = path.replace("'", "''") if program == "powershell" else path
            return [program, *(argument.replace("{}", quoted) for argument in arguments)]
    return None


def copy_stretches(source: str | Path, stretches: list[tuple[float, float]], target: Path) -> float:
    """Write stretches of an audio file into a 16-bit WAV of one or two channels, which everything plays.

    Returns:
        How long it is, in seconds.

    Raises:
        OSError: the disk is full.
    """
    with soundfile.SoundFile(encode_path(source)) as file:
        rate_hz, channels = file.samplerate, file.channels if file.channels <= 2 else 1
        with (
            DeferringFile(target, "w+") as written,
            HeldFile(written, "w", rate_hz, channels, "PCM_16", format="WAV") as excerpt,
        ):
            for start_s, end_s in stretches:
                start, stop = (min(round(edge_s * rate_hz), file.frames) for edge_s in (start_s, end_s))
                file.seek(start)
                for block in file.blocks(BLOCK_SAMPLES, frames=stop - start, dtype="float32", always_2d=True):
                    excerpt.write(as_heard(block).clip(-1, 1))
                    written.check()
            return excerpt.frames / rate_hz


def read_stretch(source: str | Path, start_s: float, end_s: float) -> tuple[np.ndarray, int]:
    """A stretch of an audio file as a person hears it: float32 [n, 1 or 2], and its sample rate in Hz."""
    with soundfile.SoundFile(encode_path(source)) as file:
        start, stop = (min(round(edge_s * file.samplerate), file.frames) for edge_s in (start_s, end_s))
        file.seek(start)
        return as_heard(file.read(stop - start, dtype="float32", always_2d=True)), file.samplerate


def as_heard(samples: np.ndarray) -> np.ndarray:
    """Samples [n, C] as float32 [n, 1 or 2]: more than two channels become their mean."""
    heard = as_float(samples, np.float32)
    return heard if heard.shape[1] <= 2 else heard.mean(axis=1, keepdims=True)


def _import_package() -> Callable[[Path, float], None] | None:
    """What plays through the package; None where it is not here, or lacks its library."""
    try:
        import sounddevice
    except (ImportError, OSError):  # the second where PortAudio is missing
        return None

    def play(path: Path, seconds: float) -> None:
        try:
            with (
                soundfile.SoundFile(encode_path(path)) as file,
                sounddevice.OutputStream(file.samplerate, channels=file.channels, dtype="float32") as stream,
            ):
                for block in file.blocks(BLOCK_SAMPLES, dtype="float32", always_2d=True):
                    stream.write(block)
        except sounddevice.PortAudioError as error:
            raise OSError(" ".join(str(error).split())) from error

    return play


def _run_program(program: str, arguments: tuple[str, ...]) -> Callable[[Path, float], None]:
    """What plays through a program."""

    def play(path: Path, seconds: float) -> None:
        words = [program, *(argument.replace("{}", str(path)) for argument in arguments)]
        limit_s = PATIENCE * seconds + PATIENCE_S
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise OSError(f"still busy after {limit_s:.0f} s") from error
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if any(NO_DEVICE in line for line in told):
            raise OSError("found no sound device")
        if done.returncode:
            raise OSError(told[-1] if told else f"exit code {done.returncode}")

    return play
