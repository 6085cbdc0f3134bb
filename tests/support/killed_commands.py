"""Commands killed with SIGKILL at a random moment, and what they leave: for the slow tests, and by the hundred.

Each command runs in a fork of this process, which has imported what they need: so that it is their work that gets
killed, not the import of torch.
"""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from audiolm_cli.checkpoints.folder import read_folder, verify_folder
from audiolm_cli.data.manifest import is_store, read_store

COMMANDS = ("continue", "infill", "tokenize", "pull", "rm")
MODULES = ("cli.app", "workflows.continue_audio", "workflows.infill", "workflows.tokenize", "workflows.models")
"""What the commands import when they run."""
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Killed:
    """What one kill did."""

    command: str
    after_s: float
    inputs_unchanged: bool
    outputs_whole_or_absent: bool
    next_run_works: bool
    was_running: bool
    """Whether the command had not finished yet."""

    @property
    def clean(self) -> bool:
        """Whether nothing was lost."""
        return self.inputs_unchanged and self.outputs_whole_or_absent and self.next_run_works


class Bench:
    """A folder with inputs, and the commands that work on it."""

    def __init__(self, place: Path, recordings: Path, model: Path, hub: str) -> None:
        """Make the folder and run every command once undisturbed.

        Args:
            place: where everything happens.
            recordings: a folder of audio files.
            model: a model folder.
            hub: address of a server that has a model at `hf:me/tiny`.
        """
        self.place, self.model = place, model
        self.inputs = shutil.copytree(recordings, place / "in")
        self.first = sorted(self.inputs.iterdir())[0]
        self.cache, self.out = place / "cache", place / "out"
        os.environ.update({"AUDIOLM_CACHE_DIR": str(self.cache), "AUDIOLM_OFFLINE": "", "HF_ENDPOINT": hub})
        self.before = self._hashes(self.inputs)
        self.took_s: dict[str, float] = {}
        self.right: dict[str, dict[str, str]] = {}
        for module in MODULES:
            importlib.import_module(f"audiolm_cli.{module}")
        for command in COMMANDS:
            self._prepare(command)
            started = time.perf_counter()
            assert self._run(command).exitcode == 0, command
            self.took_s[command] = time.perf_counter() - started
            self.right[command] = self._result(command) or {}

    def kill(self, command: str, seed: int) -> Killed:
        """Run a command, kill it at a moment drawn from `seed`, look, and run it again."""
        after_s = random.Random(seed).uniform(0, 1.1 * self.took_s[command])
        self._prepare(command)
        child = self._run(command, wait_s=after_s)
        was_running = child.is_alive()
        child.kill()  # SIGKILL, unless it is done
        child.join()
        unchanged = self._hashes(self.inputs) == self.before
        left = self._result(command)
        whole = left is None or left == self.right[command] or (command == "rm" and left == self.right["pull"])
        if command == "rm" and not left:  # it is gone, so there is nothing to remove
            again = True
        else:
            again = self._run(command).exitcode == 0 and (self._result(command) or {}) == self.right[command]
        return Killed(command, after_s, unchanged, whole, again, was_running)

    def _prepare(self, command: str) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.rmtree(self.cache, ignore_errors=True)
        self.out.mkdir()
        if command == "rm":
            shutil.copytree(self.model, self.cache / "tiny")

    def _run(self, command: str, wait_s: float | None = None) -> multiprocessing.process.BaseProcess:
        new = [*("-m", str(self.model), "--seed", "1", "-q", "-f")]
        args = {
            "continue": ["continue", str(self.first), "-d", "2", "-o", str(self.out / "a.wav"), *new],
            "infill": ["infill", str(self.first), "--gap", "0.3:0.8", "-o", str(self.out / "a.wav"), *new],
            "tokenize": ["tokenize", str(self.inputs), "-o", str(self.out), "--codec", str(self.model), "-q", "-f"],
            "pull": ["models", "pull", "hf:me/tiny", "-q"],
            "rm": ["models", "rm", "tiny", "-q"],
        }[command]
        child = _FORK.Process(target=_main, args=(args,))
        child.start()
        child.join(wait_s)
        return child

    def _result(self, command: str) -> dict[str, str] | None:
        """Hashes of what a command made, None when it made nothing; what cannot be read is a result of its own."""
        if command in ("pull", "rm"):
            if not (self.cache / "tiny").exists():
                return None if command == "pull" else {}
            folder = read_folder(self.cache / "tiny")
            verify_folder(folder)
            return {"model": folder.sha256}
        if command == "tokenize":
            if not is_store(self.out):
                return None
            clips = [clip for split in ("train", "dev", "test") for clip in read_store(self.out, split)]
            return {clip.id: hashlib.sha256(clip.codes.tobytes()).hexdigest() for clip in clips}
        return self._hashes(self.out) or None

    @staticmethod
    def _hashes(folder: Path) -> dict[str, str]:
        """Hashes of the files in a folder that a user sees."""
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _main(args: list[str]) -> None:
    from audiolm_cli.cli.app import main

    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    main(args)


def serve_model(model: Path) -> dict[str, bytes]:
    """The files of a hub that has `model` at `hf:me/tiny`."""
    return {f"/me/tiny/resolve/main/{path.name}": path.read_bytes() for path in model.iterdir()}
