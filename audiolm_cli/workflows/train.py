"""`audiolm train`: a model from recordings or from a token store. Knows nothing about commands or terminals."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from audiolm_cli.checkpoints.catalogue import BEST, resolve
from audiolm_cli.checkpoints.folder import CODEC_TENSORS, MODEL_TENSORS, Folder, FolderFacts, load_tensors, write_folder
from audiolm_cli.checkpoints.locks import LOCKS, hold, read_holder
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.data.manifest import is_store
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.distributed import join_processes
from audiolm_cli.errors import DataError, ModelError, OutputError, UsageError
from audiolm_cli.evaluation.model import score_windows
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.files import write_whole
from audiolm_cli.library.loading import codec_training
from audiolm_cli.library.store_codec import StoreCodec
from audiolm_cli.reports.verdict import Verdict
from audiolm_cli.training.loop import Scores, Trainer
from audiolm_cli.training.preflight.checks import Checklist
from audiolm_cli.training.preflight.outlook import announce, go_through
from audiolm_cli.training.preflight.preparing import (
    Given,
    TrainOptions,
    codec_for,
    codec_if_here,
    fill,
    prepare,
    starting_model,
)
from audiolm_cli.training.state import describe_changes
from audiolm_cli.training.watch import Watch
from audiolm_cli.workflows.tokenize import tokenize

STATES = "state"
"""Where the trainer keeps its saved states, inside the run folder."""
SETTINGS = "train.json"
"""What a run folder says about the training in it."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came out."""

    folder: Folder
    """The best model's folder, inside the run folder."""
    run: Path
    """The run folder; `-m` takes it as it is."""
    verdict: Verdict | None
    """How good the model is, in words; None when it was never validated, and in all processes but the first."""
    main: bool = True
    """Whether this process is the first, which speaks for all."""


def train(source: Path, run: Path, **options: Unpack[TrainOptions]) -> Trained:
    """Train a model on recordings or a token store and leave the best one in `run`.

    Killed and called again with the same arguments, it goes on and ends with the same weights.

    Args:
        source: a folder of recordings, or what `audiolm tokenize` wrote.
        run: the run folder: model, states, tokens, metrics.
        options: see `TrainOptions`.

    Raises:
        DataError: there is nothing to train on.
        ModelError: the codec or the initial model is missing or does not fit.
        UsageError: the arguments contradict each other, or what the run folder was started with.
        OutputError: the run folder cannot be written.
    """
    given = Given(source, run, **options)
    prepare_cpu(given.config.threads)
    with join_processes(given.ranks, given.config.device):
        return _train(given if given.ranks.main else dataclasses.replace(given, on_event=ignore))


def _train(given: Given) -> Trained:
    run, ranks, on_event = given.run, given.ranks, given.on_event
    store = given.source if is_store(given.source) else run / "tokens"
    if ranks.main and not is_store(store):
        wanted, made = codec_for(given), not run.exists()
        try:
            with _claim(run):
                tokenize([given.source], store, wanted, device=str(given.device), cache=given.cache, on_event=on_event)
        except DataError:
            if made:  # there was nothing to train on, so nothing is in it but the lock
                shutil.rmtree(run, ignore_errors=True)
            raise
    ranks.wait()
    ready = prepare(given, store)
    config, facts, fine_tuned = ready.config, ready.facts, ready.origin is not None
    with _claim(run) if ranks.main else nullcontext():
        if ranks.main:
            _check_settings(run, given.source, ready.shape, on_event)
        model = starting_model(given, ready)
        hours = announce(model, config, ready.train, facts, fine_tuned, on_event)
        watch: Watch | None = None
        if ranks.main:
            decoder = codec_if_here(ready.owner, given)
            if not any((run / STATES).glob("step-*")):
                parts = (model, config, facts, ready.train, ready.dev, decoder, run, fine_tuned, ranks.size)
                go_through(Checklist(*parts), on_event)
            watch = Watch(run, ready.shape, config, ready.train, ready.dev, decoder, on_event)
        listener = on_event if watch is None else watch.on_event
        trainer = Trainer(
            model, config, ready.train, ready.dev, run, score_windows, listener, ranks, score_start=fine_tuned
        )

        before = _before(ready.origin, ready.owner)

        def keep(weights: dict[str, Tensor], scores: Scores) -> None:
            training = {
                "command": "train",
                "config": config.to_dict(),
                "init": ready.origin.name if ready.origin else None,
                **before,
                "hours": round(hours, 3),
                "frames": ready.frames,
                "minutes": round(trainer.elapsed_s / 60, 1),
                "held_out": scores.to_dict(),
            }
            _write_model(run / BEST, run.name, ready.shape, weights, ready.owner, training)

        try:
            trainer.run(keep, None if watch is None else watch.on_sample)
        finally:
            if watch is not None:
                watch.close()
        ranks.wait()
    folder, verdict = resolve(str((run / BEST).resolve())), None
    if watch is not None:
        fill(model, folder)
        verdict = watch.verdict(model)
    return Trained(folder=folder, run=run, verdict=verdict, main=ranks.main)


@contextmanager
def _claim(run: Path) -> Iterator[None]:
    """The run folder, made where it is missing, for this process alone.

    Raises:
        OutputError: it cannot be made, or another training writes into it.
    """
    _make_folder(run)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(run, "train", wait=False))
        except ModelError as error:
            holder = read_holder(run / LOCKS / "train.lock") or "another process"
            raise OutputError(
                f"{run}: {holder} is training into it; wait for it, or choose another folder with -o"
            ) from error
        yield


def _make_folder(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run}: cannot be created ({error.strerror}); choose another run folder with -o") from error


def _check_settings(run: Path, source: Path, shape: ModelConfig, on_event: OnEvent) -> None:
    """Write down what the run is started with, or compare with what it was started with.

    Raises:
        UsageError: it was another shape, whose saved state does not fit.
    """
    path, place, own = run / SETTINGS, str(source.resolve()), shape.to_dict()
    try:
        if not path.exists():
            write_whole(path, (json.dumps({"source": place, "shape": own}, indent=1) + "\n").encode(), force=True)
            return
        values = json.loads(path.read_text())
        was, started_on = describe_changes(dict(values["shape"]), own), values["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path}: cannot be read or written ({error}); choose another run folder with -o") from error
    if was:
        raise UsageError(
            f"{run}: was started with {was}; give the same --preset, --init and options, or another folder with -o"
        )
    if started_on != place:
        on_event(Note(message=f"{run} was started on {started_on}; going on from there", warning=True))


def _before(origin: Folder | None, owner: StoreCodec) -> dict[str, object]:
    """How the model that a training starts from, and the codec that goes with it, were trained, as far as is known."""
    found: dict[str, object] = {}
    if origin is not None and origin.training:
        found["started_from"] = {name: value for name, value in origin.training.items() if name != "codec"}
    if owner.folder is not None and owner.folder.carries_codec:
        found["codec"] = codec_training(owner.folder)
    return found


def _write_model(
    path: Path,
    name: str,
    shape: ModelConfig,
    weights: dict[str, Tensor],
    owner: StoreCodec,
    training: Mapping[str, object],
) -> None:
    tensors = {MODEL_TENSORS: {n: t.detach().cpu().to(torch.float16) for n, t in weights.items()}}
    if owner.folder is not None and owner.folder.carries_codec:
        tensors[CODEC_TENSORS] = load_tensors(owner.folder, CODEC_TENSORS)
    write_folder(
        path,
        FolderFacts(kind="model", name=name, model=shape.to_dict(), codec=owner.record(), training=training),
        tensors=tensors,
        texts={"MODEL_CARD.md": f"# {name}\n\nTrained with `audiolm train`; its facts are in `config.json`.\n"},
        force=True,
    )
