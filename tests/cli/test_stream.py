"""`audiolm continue --stream`: audio while it is made, valid however it ends, and what does not go with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiolm_cli.audio import read_audio
from audiolm_cli.config.generation import AR_TEMPERATURE, GenerateConfig, SamplingConfig
from audiolm_cli.editing import rendering, streamed
from audiolm_cli.editing.guards import Fault, Guard
from audiolm_cli.editing.rendering import Portion
from audiolm_cli.editing.streamed import CodeStream
from audiolm_cli.editing.windows import RETRIES, GapFiller
from audiolm_cli.events import Note, ignore
from audiolm_cli.library.loading import load_model
from audiolm_cli.model.decode import Timing
from audiolm_cli.workflows.continue_audio import continue_files

Piano = Callable[..., np.ndarray]
RATE_HZ = 22050


@pytest.fixture(autouse=True)
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piano: Piano) -> Path:
    """One second of 16-bit stereo, alone in the current folder."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("take.wav", piano(1.0, RATE_HZ, 2), RATE_HZ, subtype="PCM_16")
    return Path("take.wav")


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """`audiolm continue --stream` with the tiny model."""
    return lambda *args: audiolm("continue", "--stream", "-m", tiny_model, *args)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions of 8 frames, so that the tiny model's window of 60 holds several."""
    monkeypatch.setattr(streamed, "FIRST_S", 0.08)
    monkeypatch.setattr(streamed, "PORTION_S", 0.16)
    for module in (streamed, rendering):
        monkeypatch.setattr(module, "AHEAD_FRAMES", 4)


def portions(
    model: Path, left: torch.Tensor, frames: int, sampling: SamplingConfig | None = None, **more: Any
) -> list[Portion]:
    """What `CodeStream` draws with seed 5."""
    loaded = load_model(str(model), torch.device("cpu"))
    generator = torch.Generator().manual_seed(5)
    heard: dict[str, Any] = {f"on_{what}": lambda *_: None for what in ("fault", "retry", "frame")} | more
    sampling = sampling or SamplingConfig()
    stream = CodeStream(model=loaded.model, codec=loaded.codec, sampling=sampling, timing=Timing(), **heard)
    return list(stream.draw(left, frames, generator))


def joined(parts: list[Portion]) -> torch.Tensor:
    """The codes that stay, [1, T, K]."""
    codes = parts[0].codes[:, :0]
    for part in parts:
        assert codes.shape[1] - part.start in (0, streamed.AHEAD_FRAMES)
        codes = torch.cat([codes[:, : part.start], part.codes], dim=1)
    return codes


# Codes


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.usefixtures("small")
def test_the_first_codebook_is_that_of_whole_continuations(
    tiny_model: Path, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one window, frame for frame, with the same seed; the fine ones know less of what follows."""
    monkeypatch.setattr(Guard, "find_fault", lambda self, codes: None)
    model = load_model(str(tiny_model), torch.device("cpu")).model
    left = torch.randint(32, (1, 8, 4), generator=torch.Generator().manual_seed(4))
    sampling = SamplingConfig(guidance=guidance)
    filler = GapFiller(model=model, sampling=sampling)
    whole = filler.fill(left, left[:, :0], 52, [torch.Generator().manual_seed(5)])
    made = joined(portions(tiny_model, left, 52, sampling))
    assert torch.equal(made[..., 0], whole[..., 0])
    assert not torch.equal(made, whole)


@pytest.mark.usefixtures("small")
def test_many_windows(tiny_model: Path) -> None:
    """Every frame comes, in about equal portions."""
    parts = portions(tiny_model, torch.zeros(1, 40, 4, dtype=torch.long), 333)
    made = joined(parts)
    assert made.shape == (1, 333, 4) and made.min() >= 0 and made.max() < 32
    assert max(part.codes.shape[1] for part in parts) <= 16 and len(parts) > 30
    ends = [part.start + part.codes.shape[1] for part in parts]
    assert ends == sorted(set(ends)) and max(np.diff([0, *ends])) <= 12


@pytest.mark.usefixtures("small")
def test_a_portion_that_goes_wrong_is_made_again(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is heard; what comes before it stays, and what stays wrong is told."""
    left = torch.zeros(1, 8, 4, dtype=torch.long)
    plain = joined(portions(tiny_model, left, 52))
    for faults, mended in ((1, True), (1 + RETRIES, False)):
        told: list[bool] = []
        counts = iter([None, *[Fault("silence", 1.0)] * faults])  # the first call is about what was heard: nothing
        monkeypatch.setattr(
            Guard, "find_fault", lambda self, codes, counts=counts: next(counts, None) if len(codes) else None
        )
        next(counts)
        again = joined(portions(tiny_model, left, 52, on_fault=lambda fault, mended, told=told: told.append(mended)))
        assert told == [mended]
        assert not torch.equal(again[..., 0], plain[..., 0])


# Files


@pytest.mark.parametrize("flags", [(), ("--channels", "each"), ("--only-new",), ("--prompt", "0.3")])
def test_lengths_samples_and_seeds(go: Any, take: Path, flags: tuple[str, ...]) -> None:
    """The input's samples, then exactly as much as was asked for; the same seed, the same bytes."""
    for name in ("a.wav", "b.wav"):
        shown = go(take, "-d", "2.3456", "--seed", 4, "-o", name, "--json", *flags)
        assert shown.exit_code == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()
    made, original = read_audio("a.wav"), read_audio(take)
    new = round(2.3456 * RATE_HZ)
    kept = 0 if "--only-new" in flags else original.num_samples
    assert made.samples.shape == (kept + new, 2) and made.subtype == "PCM_16"
    assert np.array_equal(made.samples[:kept], original.samples[:kept])
    facts = json.loads(made.tags["comment"])
    assert facts["seed"] == 4 and facts["stream"] is True
    result = json.loads(shown.stdout)
    assert result["settings"]["stream"] is True
    assert 0 < result["timing"]["first_sound_s"] < result["timing"]["total_s"]


@pytest.mark.parametrize("rate_hz", [8000, 44100, 44101])
def test_other_rates(go: Any, piano: Piano, rate_hz: int) -> None:
    """Exact at any rate, and near the unstreamed continuation in loudness."""
    soundfile.write("in.flac", piano(0.7, rate_hz), rate_hz)
    assert go("in.flac", "-d", "1.7", "--seed", 1, "-o", "x.wav", "--only-new").exit_code == 0
    made = read_audio("x.wav").wav()[0]
    assert len(made) == round(1.7 * rate_hz)
    halves = np.sqrt(np.square(made[: len(made) // 5 * 5].reshape(5, -1)).mean(1))
    assert halves.min() > 0.003  # sound everywhere


def test_chunks_are_decoded_as_the_whole_is(go: Any, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block for each portion, and no step where they meet."""
    steps: list[float] = []
    blocks: list[np.ndarray] = []
    grown = streamed.render_stream

    def watched(*args: Any) -> Any:
        for block in grown(*args):
            blocks.append(block)
            yield block

    monkeypatch.setattr(streamed, "render_stream", watched)
    assert go(take, "-d", 6, "--seed", 2, "-o", "x.wav").exit_code == 0
    assert len(blocks) >= 6 and sum(block.shape[1] for block in blocks) == 6 * RATE_HZ
    wav = np.concatenate(blocks, axis=1)[0]
    usual = np.quantile(np.abs(np.diff(wav)), 0.98)
    for border in np.cumsum([block.shape[1] for block in blocks])[:-1]:
        steps.append(abs(float(wav[border] - wav[border - 1])))
    assert max(steps) < 3 * usual


def test_plot(go: Any, take: Path) -> None:
    """Drawn when the whole is there."""
    assert go(take, "-d", 0.5, "--plot", "x.png").exit_code == 0
    assert Path("x.png").read_bytes().startswith(b"\x89PNG")


def test_to_standard_output(tiny_model: Path, take: Path) -> None:
    """Nothing but the WAV, which comes in pieces; the same bytes that a file gets, into a redirected file as well.

    Nothing of torch.compile is imported: that takes a second.
    """
    command = ["continue", "--stream", "-m", str(tiny_model), str(take), "-d", "2", "--seed", "6", "-o"]
    script = (
        "import sys; from audiolm_cli.cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('torch._dynamo' in sys.modules, file=sys.stderr)"
    )
    piped = subprocess.run([sys.executable, "-c", script, *command, "-"], capture_output=True, check=True)
    assert piped.stderr.decode().splitlines()[-1] == "False"
    config = GenerateConfig(output="x.wav", model=str(tiny_model), seed=6)
    sampling = SamplingConfig(temperature=AR_TEMPERATURE)
    continue_files([str(take)], 2.0, config=config, sampling=sampling, stream=True)
    assert Path("x.wav").read_bytes() == piped.stdout


# However it ends


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_stopped_in_the_middle(tiny_model: Path, take: Path, number: int, code: int) -> None:
    """What was made so far is there and plays, and is the beginning of what would have been made."""
    command = [sys.executable, "-m", "audiolm_cli", "continue", "--stream", "-m", str(tiny_model), str(take)]
    with subprocess.Popen([*command, "-d", "600", "-o", "x.wav"], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (Path("x.wav").exists() and Path("x.wav").stat().st_size > 3 * 4 * RATE_HZ):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == code and "Traceback" not in said
    made, original = read_audio("x.wav"), read_audio(take)
    assert 1.2 < made.duration_s < 600 and np.array_equal(made.samples[: original.num_samples], original.samples)
    assert sorted(os.listdir()) == ["take.wav", "x.wav"]
    if number != signal.SIGKILL:
        seconds = next(line for line in said.splitlines() if line.startswith("x.wav holds the "))
        assert abs(float(seconds.split()[3]) - made.duration_s) < 0.06
        assert said.endswith("audiolm: stopped\n")


def test_a_player_that_is_closed(tiny_model: Path, take: Path) -> None:
    """One line, no traceback."""
    command = [sys.executable, "-m", "audiolm_cli", "continue", "--stream", "-m", str(tiny_model), str(take)]
    with subprocess.Popen(
        [*command, "-d", "600", "-o", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(4) == b"RIFF"
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 7
    assert "standard output" in said and "Traceback" not in said and "Exception ignored" not in said


@pytest.mark.usefixtures("small")
def test_a_failure_on_the_way(tiny_model: Path, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory, for instance: what was made stays, and it is said."""
    notes: list[str] = []
    fill = streamed.StreamedWindow.fill

    def fail(self: Any, made: torch.Tensor, stop: int) -> torch.Tensor:
        if made.shape[1] > 15:
            raise MemoryError
        return fill(self, made, stop)

    monkeypatch.setattr(streamed.StreamedWindow, "fill", fail)
    with pytest.raises(MemoryError):
        continue_files(
            [str(take)],
            5.0,
            config=GenerateConfig(output="x.wav", model=str(tiny_model), seed=1),
            stream=True,
            on_event=lambda event: notes.append(event.message) if isinstance(event, Note) else ignore(event),
        )
    assert notes == [f"x.wav holds the {read_audio('x.wav').duration_s:.1f} s made so far"]
    assert read_audio("x.wav").duration_s > 1.0


# What does not go with it


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--before"], "--before: what is put in front"),
        (["--takes", "2"], "--takes: only one take"),
        (["--best-of", "2"], "--best-of: takes are ranked"),
        (["--until-end"], "--until-end: the file states its length"),
        (["-o", "x.flac"], "only a WAV can be written while it is made"),
        (["-o", "x.ogg"], "only a WAV"),
    ],
)
def test_what_is_refused(go: Any, take: Path, flags: list[str], word: str) -> None:
    """By name, in one line, before anything is loaded or written."""
    shown = go(take, "-d", 1, *flags)
    assert shown.exit_code == 2 and word in shown.stderr and shown.stderr.count("\n") == 1
    assert os.listdir() == ["take.wav"]


def test_an_existing_file_stays_unless_forced(go: Any, take: Path) -> None:
    """As without --stream: a name that was given is refused, and another one is found for the usual name."""
    Path("take.continued.wav").write_bytes(b"mine")
    assert go(take, "-d", 0.2, "-o", "take.continued.wav").exit_code == 7
    assert go(take, "-d", 0.2).exit_code == 0
    assert Path("take.continued.wav").read_bytes() == b"mine"
    assert read_audio("take.continued-2.wav").num_samples == RATE_HZ + round(0.2 * RATE_HZ)
    assert go(take, "-d", 0.2, "-f").exit_code == 0
    assert read_audio("take.continued.wav").num_samples == RATE_HZ + round(0.2 * RATE_HZ)
