"""Every command that writes, on a disk that is full after so many bytes, and what it leaves there.

A limit on the size of files stands for the full disk where nothing can be mounted. Each command runs in a fork of this
process.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
from hostile_server import HostileServer
from killed_commands import serve_model

from audiolm_cli.checkpoints.folder import read_folder, verify_folder
from audiolm_cli.config.shapes import SpectralConfig
from audiolm_cli.data.manifest import is_store, read_store
from audiolm_cli.errors import ModelError
from audiolm_cli.files import hash_file
from audiolm_cli.training.state import load_state
from audiolm_cli.workflows.tokenize import tokenize

MODULES = (
    "cli.app",
    "continue_audio",
    "infill",
    "loop",
    "restyle",
    "decode",
    "train",
    "codec_train",
    "demo",
    "evaluate",
)
"""What the commands import when they run."""
_FORK = multiprocessing.get_context("fork")
AUDIO = (".wav", ".flac", ".aiff", ".w64", ".rf64", ".ogg", ".mp3", ".au", ".caf")
COMMANDS = (
    *(f"continue {suffix}" for suffix in AUDIO),
    *("plot", "infill", "loop", "restyle", "tokenize", "decode", "train", "codec train", "pull", "demo"),
    *("evaluate", "evaluate --report"),
)
SHAPE = SpectralConfig(
    width=16, latent=8, encoder_blocks=1, decoder_blocks=1, codebook_size=16, griffin_lim_iterations=2
)
"""A small codec to train."""


@dataclass(frozen=True)
class Inputs:
    """What the commands work on."""

    recordings: Path
    """A folder of short recordings."""
    tokens: Path
    """A store of them."""
    model: Path
    """A model folder."""
    hub: str
    """Address of a server that has a model at `hf:me/tiny`."""
    long: Path
    """A folder of recordings that are long enough to be evaluated."""


@contextlib.contextmanager
def make_inputs(place: Path, model: Path, piano: Callable[..., Any]) -> Iterator[Inputs]:
    """Two short recordings, their codes, and where `model` can be pulled from; imports all that the commands need."""
    for module in MODULES:  # here, and not in every process
        importlib.import_module(f"audiolm_cli.{'' if '.' in module else 'workflows.'}{module}")

    (place / "recordings").mkdir()
    for seed in range(2):
        soundfile.write(place / "recordings" / f"{seed}.wav", piano(1.5, seed=seed), 32000)
    (place / "long").mkdir()
    for seed in range(2):
        soundfile.write(place / "long" / f"{seed}.wav", piano(21.0, 8000, seed=seed), 8000)
    tokenize([place / "recordings"], place / "tokens", str(model))

    with HostileServer(b"", files=serve_model(model), only_files=True) as hub:
        yield Inputs(place / "recordings", place / "tokens", model, hub.address, place / "long")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    exit_code: int
    said: str
    """On stderr."""

    @property
    def clean(self) -> bool:
        """Done, or one line and the exit code of what cannot be written."""
        if self.exit_code == 0:
            return True
        errors = [line for line in self.said.splitlines() if line.startswith("audiolm: error: ")]
        return self.exit_code == 7 and len(errors) == 1 and "Traceback" not in self.said


def run(command: str, inputs: Inputs, out: Path, *, most_bytes: int | None = None, force: bool = False) -> Ended:
    """Run a command that writes into the folder `out`, which is there; no file may be larger than `most_bytes`."""
    receiver, sender = os.pipe()
    child = _FORK.Process(target=_main, args=(command, inputs, out, force, most_bytes, sender))
    child.start()
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    child.join()
    return Ended(-1 if child.exitcode is None else child.exitcode, said)


def arguments(command: str, inputs: Inputs, out: Path, force: bool) -> list[str]:
    """The command line."""
    kind, _, suffix = command.partition(" ")
    first, second = (str(path) for path in sorted(inputs.recordings.iterdir())[:2])
    new = ["-m", str(inputs.model), "--seed", "1", *(["-f"] if force else [])]
    small = ["--decoder-dim", "16", "--nhead", "2", "--num-decoder-layers", "1", "--batch-frames", "80", "--seed", "3"]
    steps = ["--steps", "2", "--validate-every", "1", "--sample-every", "2"]
    over = ["-f"] if force else []
    codec = ["--codec", str(inputs.model)]
    report = ["--report", str(out / "report.html"), *over] if suffix else ["--json"]
    if command == "continue batch":
        return ["continue", *(first, second) * 20, "-d", "0.1", "-o", f"{out}/", *new]
    if command == "codec train":
        return ["codec", "train", str(inputs.long), "-o", str(out / "c"), "--steps", "3", "--clips", "2", *over]
    return {
        "continue": ["continue", first, "-d", "1", "-o", str(out / f"a{suffix}"), *new],
        "plot": ["continue", first, "-d", "1", "-o", str(out / "a.wav"), "--plot", str(out / "a.png"), *new],
        "page": ["continue", first, "-d", "1", "-o", str(out / "a.wav"), "--page", str(out / "a.html"), *new],
        "infill": ["infill", first, "--gap", "0.3:0.5", "-o", str(out / "a.wav"), *new],
        "loop": ["loop", first, "--bridge", "0.5", "-o", str(out / "a.wav"), *new],
        "restyle": ["restyle", first, "--style", second, "-o", str(out / "a.wav"), *new],
        "tokenize": ["tokenize", str(inputs.recordings), "-o", str(out), *codec, *over],
        "decode": ["decode", str(inputs.tokens), "-o", str(out), *codec, *over],
        "train": ["train", str(inputs.tokens), "-o", str(out), *codec, *small, *steps],
        "pull": ["models", "pull", "hf:me/tiny", *over],
        "demo": ["demo", str(out), *new],
        "evaluate": ["evaluate", str(inputs.long), "-m", str(inputs.model), "--clips", "2", "--windows", "2", *report],
    }[kind]


def result(command: str, out: Path) -> dict[str, str]:
    """Hashes of what a command left, by name; what is damaged has the damage in its place.

    Of a training and a page, which hold the time, it is whether they are whole.
    """
    if command == "pull":
        return {"tiny": _folder_hash(out / "tiny")} if (out / "tiny").exists() else {}
    if command == "tokenize":
        if not is_store(out):
            return {}
        clips = [clip for split in ("train", "dev", "test") for clip in read_store(out, split)]
        return {clip.id: hashlib.sha256(clip.codes.tobytes()).hexdigest() for clip in clips}
    if command == "evaluate":
        return {}  # its output is what the shell wrote
    if command not in ("train", "codec train"):
        return {name: _page_state(out / name) or hash_file(out / name) for name in seen(out)}
    left = {}
    for name in seen(out):
        path = out / name
        if name.endswith("config.json"):
            left[name] = "whole" if len(_folder_hash(path.parent)) == 64 else _folder_hash(path.parent)
        elif name.endswith((".json", ".jsonl")) and "manifest" not in name:
            lines = [path.read_text()] if name.endswith(".json") else path.read_text().splitlines()
            left[name] = "whole" if all(_is_json(line) for line in lines) else path.read_text()
        elif name.endswith(".png"):
            left[name] = "whole" if path.read_bytes().endswith(b"IEND\xaeB`\x82") else "cut"
        elif name.endswith(".wav"):
            left[name] = "whole" if soundfile.info(path).frames > 0 else "empty"
        elif name.endswith("state.safetensors"):
            left[name] = "whole" if load_state(path.parent.parent, int(path.parent.name[-7:])) else "damaged"
    return left


def damage(command: str, out: Path, right: dict[str, str], before: dict[str, str]) -> dict[str, str]:
    """What is wrong with what a command left: nothing but whole files may have their final names.

    Args:
        command: the command.
        out: where it wrote.
        right: `result` of what it leaves where there is room.
        before: `result` of what was there before it ran, to be replaced.
    """
    left = result(command, out)
    if command in ("tokenize", "pull"):
        return {} if left in ({}, right, before) else left
    return {name: found for name, found in left.items() if found not in (right.get(name, "whole"), before.get(name))}


def seen(folder: Path) -> list[str]:
    """The files in a folder that a user sees."""
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [str(name) for name in names if not any(part.startswith(".") for part in name.parts)]


def _page_state(path: Path) -> str:
    """Of a page, which has the time in it, whether it is whole."""
    if path.suffix != ".html":
        return ""
    return "whole" if path.read_text().rstrip().endswith("</html>") else "cut"


def _folder_hash(path: Path) -> str:
    try:
        folder = read_folder(path)
        verify_folder(folder)
    except ModelError as error:
        return str(error)
    return folder.sha256


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def prepare_child(command: str, inputs: Inputs, out: Path) -> None:
    """In a fork that will run a command: where its model is pulled from, one thread, and a small codec to train."""
    import torch

    from audiolm_cli.workflows import codec_train

    os.environ.update({"AUDIOLM_OFFLINE": "", "HF_ENDPOINT": inputs.hub})
    if command == "pull":
        os.environ["AUDIOLM_CACHE_DIR"] = str(out)
    torch.set_num_threads(1)
    codec_train.NEW_SPECTRAL = SHAPE


def _main(command: str, inputs: Inputs, out: Path, force: bool, most_bytes: int | None, said: int) -> None:
    """The program in a process of its own; what it says on stderr goes into the pipe."""
    import resource

    from audiolm_cli.cli.app import main
    from audiolm_cli.cli.surroundings import open_streams

    prepare_child(command, inputs, out)
    null = os.open(os.devnull, os.O_RDWR)
    output = os.open(out / "report.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if command == "evaluate" else null
    for stream, target in ((0, null), (1, output), (2, said)):
        os.dup2(target, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    open_streams()
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        main(arguments(command, inputs, out, force))
    finally:
        sys.stderr.flush()
