"""`audiolm guide`: every page shows, and every command and program in it runs, on tiny things in their own folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.cli.app import COMMANDS
from audiolm_cli.cli.guide import OVERVIEW, TOPICS, guide
from audiolm_cli.config.shapes import PRESETS, ModelConfig, SpectralConfig

Piano = Callable[..., np.ndarray]
PAGES = (OVERVIEW, *TOPICS)
WIDEST = 76
"""Columns that a line of code has on an 80-column terminal."""
SMALL = {
    "--ar-codebooks": "4",
    "--steps": "2",
    "--batch-frames": "80",
    "--num-epochs": "1",
    "--max-duration": "2",
    "--filter-min-duration": "1",
    "--decoder-dim": "32",
    "--nhead": "2",
    "--num-decoder-layers": "1",
    "-d": "0.3",
    "--gap": "0.4:0.6",
    "--length": "0.3",
    "--bridge": "0.2",
}
"""What the test says in place of the guide's numbers, so that a command takes a moment."""
ELSE_SMALL = {"DURATION": "0.3", "BRIDGE": "0.2", "CLIPS": "2", "WINDOWS": "2", "WORKERS": "1", "DEVICE": "cpu"}
"""The same for options that the guide leaves out, through the environment."""


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", guide(page), re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """The command lines on a page, as words."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def smaller(words: list[str]) -> list[str]:
    """A command line with numbers that a test can wait for, also where a training says nothing of its length."""
    if "train" in words[:2] and not {"--steps", "--num-epochs"} & set(words):
        words = [*words, "--steps", SMALL["--steps"]]
    return [SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False)]


def make_store(folder: Path) -> None:
    """Codes of no codec that is here."""
    from audiolm_cli.data.manifest import write_store
    from audiolm_cli.data.tokens import CodecFacts, TokenClip

    rng = np.random.default_rng(0)
    facts = CodecFacts(
        name="nowhere", sha256="", sample_rate_hz=32_000, hop_samples=640, num_codebooks=4, codebook_size=16
    )
    codes = rng.integers(16, size=(6, 80, 4)).astype(np.int16)
    clips = [TokenClip(id=f"c{i}", codes=own) for i, own in enumerate(codes)]
    write_store(folder, facts, [("dev" if i == 0 else "train", clip) for i, clip in enumerate(clips)])


@pytest.fixture
def studio(
    tmp_path: Path, piano: Piano, tiny_model: Path, tiny_codec: Path, make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The current folder as the guide assumes it: recordings, a take, a trained model; everything small."""
    from audiolm_cli.checkpoints import catalogue
    from audiolm_cli.evaluation import excerpts
    from audiolm_cli.training import watch
    from audiolm_cli.workflows import codec_train, demo

    (tmp_path / "recordings").mkdir()
    for i in range(6):
        soundfile.write(tmp_path / "recordings" / f"{i}.wav", piano(2.2, 16000, seed=i), 16000)
    for name in ("take.wav", "take.flac", "theme.wav", "other.wav"):
        soundfile.write(tmp_path / name, piano(1.0, 16000, seed=9), 16000)
    make_model(tmp_path / "runs" / "mine")
    make_store(tmp_path / "data" / "tokenized")
    monkeypatch.setattr(watch, "draw_curves", lambda *_, **__: None)  # takes most of the time
    shape = SpectralConfig(
        width=16, latent=8, encoder_blocks=1, decoder_blocks=1, codebook_size=16, griffin_lim_iterations=2
    )
    monkeypatch.setattr(codec_train, "NEW_SPECTRAL", shape)
    monkeypatch.setattr(catalogue, "bundled_folders", lambda: {"piano": tiny_model, "sound": tiny_codec})
    monkeypatch.setattr(demo, "CONTINUED_S", 0.3)
    monkeypatch.setattr(excerpts, "CLIP_S", 1.0)
    monkeypatch.setattr(excerpts, "SHORTEST_S", 2.0)
    for name in PRESETS:
        monkeypatch.setitem(PRESETS, name, ModelConfig(d_model=32, nhead=2, num_layers=1, max_frames=60))
    for name, value in ELSE_SMALL.items():
        monkeypatch.setenv(f"AUDIOLM_{name}", value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs(audiolm: Any, studio: Path, page: str) -> None:
    """In the order of the page, with the files that earlier commands wrote."""
    for words in commands(page):
        assert words[0] == "audiolm", words
        if "runs/mine" in words and words[1] == "train":
            words[words.index("runs/mine")] = "runs/new"  # `runs/mine` is what other pages continue with
        shown = audiolm(*smaller(words[1:]))
        assert shown.exit_code == 0, f"{shlex.join(words)}\n{shown.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_every_program_runs(
    audiolm: Any, studio: Path, page: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python on a page does what it says, beside the commands; what it starts finds the program."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AUDIOLM_MODEL", str(tiny_model))
    assert audiolm("tokenize", "recordings", "-o", "tokens").exit_code == 0
    for block in blocks(page, "python"):
        exec(compile(block, f"guide/{page}.md", "exec"), {})


def test_settings_files_are_read(audiolm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guide writes into a settings file holds."""
    (block,) = blocks("settings", "toml")
    (tmp_path / "audiolm.toml").write_text(block)
    monkeypatch.chdir(tmp_path)
    shown = audiolm("config", "continue", "--preset", "calm")
    assert shown.exit_code == 0, shown.stderr
    held = {line.split()[0]: line.split()[1] for line in shown.stdout.splitlines()}
    assert (held["model"], held["duration"], held["top-k"]) == ("runs/mine", "1:02.5", "200")


def test_the_guide_has_commands() -> None:
    """The tests above have something to run, and there is no other kind of block that hides a command."""
    assert sum(len(commands(page)) for page in PAGES) > 20
    for page in PAGES:
        assert set(re.findall(r"^```(\w*)$", guide(page), re.MULTILINE)) <= {
            "bash",
            "python",
            "text",
            "toml",
            "lua",
            "json",
            "",
        }, page


@pytest.mark.parametrize("page", PAGES)
def test_what_is_mentioned_exists(audiolm: Any, page: str) -> None:
    """Commands and options that stand in the text are the program's, and code fits an 80-column terminal."""
    text = guide(page)
    names = {words for words, _ in COMMANDS} | {words.split()[0] for words, _ in COMMANDS}
    for mentioned in re.findall(r"`audiolm ([a-z]+)", text):
        assert mentioned in names, mentioned
    known = audiolm("--help").stdout
    known += "".join(audiolm(*words.split(), flag).stdout for words, _ in COMMANDS for flag in ("--help", "--help-all"))
    others = r"tensorboard [^`]*|pip install [^`]*|python tests/[^`]*|--\w+_\w+"  # the last one is torchrun's
    own = re.sub(others, "", text)
    for option in re.findall(r"--[a-z][a-z0-9-]+", own):
        assert re.search(rf"{option}\b(?!-)", known), option
    for language in ("bash", "python", "text", "toml", "lua"):
        for line in "".join(blocks(page, language)).splitlines():
            assert len(line) <= WIDEST, line


def test_pages(audiolm: Any) -> None:
    """Elsewhere than in a terminal a page is its own Markdown; without a topic the overview lists them all."""
    for page in TOPICS:
        shown = audiolm("guide", page)
        assert (shown.exit_code, shown.stdout, shown.stderr) == (0, guide(page), "")
    assert audiolm("guide").stdout == guide()
    assert all(f"| `{page}` |" in guide() for page in TOPICS)
    assert audiolm("guide", " Data ").stdout == guide("data")


@pytest.mark.parametrize("words", [words for words, _ in COMMANDS])
def test_the_settings_page_has_every_option(audiolm: Any, words: str) -> None:
    """Each long option that `--help` and `--help-all` list stands in a table, with what it does."""
    page = guide("settings")
    pages = "".join(audiolm(*words.split(), flag).stdout for flag in ("--help", "--help-all"))
    listed = set(re.findall(r"--[a-z][a-z0-9-]*", pages)) - {"--help", "--help-all"}
    rows = {flag: row for row in page.splitlines() for flag in re.findall(r"`(--[a-z0-9-]+)`", row.split(" | ")[0])}
    assert len(listed) > 2 or words in ("guide", "doctor")
    for option in listed:
        assert option in rows, option
        assert rows[option].split(" | ")[-1].strip(" |"), rows[option]


def test_settings_have_defaults_and_ranges() -> None:
    """As they are declared."""
    page = guide("settings")
    assert "| `--top-p` | `1.0` | 0..1 | Keep the likeliest codes whose probabilities add up to P. |" in page
    assert "| `-n`, `--takes` | `1` | 1 or more | How many alternatives to generate. |" in page
    assert "| `--preset` | `train` |  | `tiny`, `small`, `base` | " in page


def test_in_a_terminal(audiolm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Markdown is drawn: no bare fences, headings or table rules are left."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    drawn = re.sub(r"\x1b\[[\d;]*m", "", audiolm("guide", "training").stdout)
    assert "audiolm train recordings/ -o runs/fine --init piano" in drawn
    assert not re.search(r"```|^#|\|---", drawn, re.MULTILINE)
    assert max(len(line) for line in drawn.splitlines()) <= 100


def test_a_long_page_goes_through_a_pager(audiolm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That of the user; none where it fits on the screen, where there is none, or where no one can turn pages."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    read = tmp_path / "read"
    code = f"import sys, pathlib; pathlib.Path({str(read)!r}).write_bytes(sys.stdin.buffer.read())"
    monkeypatch.setenv("PAGER", shlex.join([sys.executable, "-c", code]))
    drawn = audiolm("guide", "data").stdout
    assert "Which recordings" in drawn and not read.exists()

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert audiolm("guide", "data").stdout == "" and read.read_text(encoding="utf-8") == drawn
    read.unlink()
    monkeypatch.setenv("LINES", "1000")
    assert audiolm("guide", "data").stdout == drawn and not read.exists()
    monkeypatch.delenv("LINES")
    monkeypatch.setenv("PAGER", "no-such-pager")
    assert audiolm("guide", "data").stdout == drawn


def test_an_unknown_topic(audiolm: Any) -> None:
    """It is a usage error that says which there are."""
    shown = audiolm("guide", "cooking")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert all(word in shown.stderr for word in ("cooking", *TOPICS))


def test_reading_needs_no_torch() -> None:
    """The manual opens at once."""
    code = (
        "import sys\nfrom audiolm_cli.cli.app import main\n"
        "try:\n    main(['guide', 'data'])\nexcept SystemExit:\n"
        "    print([name for name in ('torch', 'numpy', 'lhotse') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("[]\n")
