"""`audiolm train`: a model from recordings or from a token store. Knows nothing about commands or terminals."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from audiolm_cli.checkpoints.catalogue import BEST, resolve
from audiolm_cli.checkpoints.folder import (
    CARD,
    CODEC_TENSORS,
    MODEL_TENSORS,
    Folder,
    FolderFacts,
    load_tensors,
    write_folder,
)
from audiolm_cli.checkpoints.locks import LOCKS, hold, read_holder
from audiolm_cli.config.shapes import complete_shape
from audiolm_cli.data.folders import find_audio
from audiolm_cli.data.manifest import is_store
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.distributed import join_processes
from audiolm_cli.errors import DataError, ModelError, OutputError, UsageError
from audiolm_cli.evaluation.model import score_windows
from audiolm_cli.events import Note, ignore
from audiolm_cli.files import count_bytes, scratch_folder, write_whole
from audiolm_cli.library.loading import codec_training
from audiolm_cli.library.store_codec import StoreCodec
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.reports.card import plain_card
from audiolm_cli.reports.past import SETTINGS, TOKENS
from audiolm_cli.reports.verdict import Verdict
from audiolm_cli.tokenizing.assembly import list_failures
from audiolm_cli.training.journal import Journal
from audiolm_cli.training.loop import JOURNAL, Scores, Trainer
from audiolm_cli.training.preflight.checks import Finding, run_checks
from audiolm_cli.training.preflight.outlook import Outlook, announce, go_through, look_ahead, raise_failure
from audiolm_cli.training.preflight.preparing import (
    Prepared,
    check_transpose,
    codec_for,
    codec_if_here,
    load_folder_weights,
    prepare,
    starting_model,
    transposing,
)
from audiolm_cli.training.preflight.request import TrainRequest
from audiolm_cli.training.state import STATE_FOLDER, describe_changes, has_state
from audiolm_cli.training.watch import Watch
from audiolm_cli.version import __version__
from audiolm_cli.wording import counted
from audiolm_cli.workflows.tokenize import tokenize

TRIED_FILES = 6
"""Recordings, the smallest ones, that are encoded to try a folder of audio."""


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
    run_bytes: int = 0
    """What the run folder takes of the disk; 0 in all processes but the first."""
    state_bytes: int = 0
    """What the state in it takes, which only a training that goes on needs."""
    failed: list[str] = field(default_factory=list)
    """Recordings, folders and links that could not be read, with the reason."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came out of `try_training`."""

    findings: list[Finding]
    """What the checks found; the last one may be a failure."""
    outlook: Outlook | None
    """How long the training would take; None when a check failed."""
    memory_bytes: int | None
    """Most memory it would use; None when a check failed, 0 where unknown."""
    failed: list[str] = field(default_factory=list)
    """Recordings, folders and links that could not be read, with the reason."""

    def check(self) -> None:
        """Raise what a training would end with.

        Raises:
            AudioLMError: a check failed; the error is of the kind that fits.
        """
        raise_failure(self.findings)


def train(request: TrainRequest) -> Trained:
    """Train a model on recordings or a token store and leave the best one in the run folder.

    Killed and called again with the same request, it goes on and ends with the same weights.

    Raises:
        DataError: there is nothing to train on.
        ModelError: the codec or the initial model is missing or does not fit.
        UsageError: the arguments contradict each other, or what the run folder was started with.
        OutputError: the run folder cannot be written.
    """
    prepare_cpu(request.config.threads)
    with join_processes(request.ranks, request.config.device):
        return _train(request if request.ranks.main else dataclasses.replace(request, on_event=ignore))


def try_training(request: TrainRequest) -> Trial:
    """Everything that a training does before its first step, and nothing that stays.

    Of a folder of audio, its smallest recordings are encoded into a folder that is removed again.

    Raises:
        AudioLMError: as `train`, before its checks.
    """
    prepare_cpu(request.config.threads)
    tried = request
    if request.styles is not None and not is_store(request.source):
        request.on_event(Note(message="styles are left out of the trial: a few recordings do not show all of them"))
        tried = dataclasses.replace(request, styles=None)
    place = request.source if is_store(request.source) else request.run / TOKENS
    if is_store(place):
        check_transpose(request, place)
    elif (semitones := transposing(request)(0)) > 0:
        far = f"up to {counted(semitones, 'semitone')} up and down"
        request.on_event(
            Note(message=f"the training will also learn the recordings transposed, {far}; the trial does not")
        )
    with _trial_store(request) as (store, failed):
        prepared = prepare(tried, store)
    model = starting_model(prepared)
    announce(prepared, model)

    checked = run_checks(prepared, model, lambda finding: None)
    expected = checked.expected
    if expected is None or checked.findings[-1].status == "failed":
        return Trial(findings=checked.findings, outlook=None, memory_bytes=None, failed=failed)
    outlook = look_ahead(prepared, expected)
    return Trial(findings=checked.findings, outlook=outlook, memory_bytes=expected.memory_bytes, failed=failed)


def _train(request: TrainRequest) -> Trained:
    """Tokenize where that is missing, prepare, train, and judge the best model."""
    run, ranks = request.run, request.ranks
    store = _find_or_make_store(request)
    prepared = prepare(request, store)

    watch: Watch | None = None
    with _claim(run) if ranks.main else nullcontext():
        if ranks.main:
            _check_settings(prepared)
        model = starting_model(prepared)
        announce(prepared, model)
        if ranks.main:
            best = _read_best(run)  # before anything is trained: a damaged one would not be replaced in the end
            if not has_state(run / STATE_FOLDER):
                if best is not None:
                    _check_unfinished(run, best)
                go_through(prepared, model)
            watch = Watch(prepared, codec_if_here(prepared))
        _run_trainer(prepared, model, watch)
        ranks.wait()

    folder, failed = resolve(str((run / BEST).resolve())), [] if store == request.source else list_failures(store)
    if watch is None:
        return Trained(folder=folder, run=run, verdict=None, main=False, failed=failed)
    load_folder_weights(model, folder)
    return Trained(
        folder=folder,
        run=run,
        verdict=watch.verdict(model),
        run_bytes=count_bytes(run),
        state_bytes=count_bytes(run / STATE_FOLDER),
        failed=failed,
    )


def _find_or_make_store(request: TrainRequest) -> Path:
    """The token store to train on; the first process makes one of recordings, inside the run folder."""
    run, ranks = request.run, request.ranks
    store = request.source if is_store(request.source) else run / TOKENS
    if is_store(store):
        check_transpose(request, store)
    if ranks.main and not is_store(store):
        codec, is_new = codec_for(request), not run.exists()
        try:
            with _claim(run):
                tokenize(
                    [request.source],
                    store,
                    codec,
                    device=str(request.device),
                    cache=request.cache,
                    transpose=transposing(request),
                    on_event=request.on_event,
                )
        except DataError:
            if is_new:  # there was nothing to train on, so nothing is in it but the lock
                shutil.rmtree(run, ignore_errors=True)
            raise
    ranks.wait()
    return store


def _run_trainer(prepared: Prepared, model: Decoders, watch: Watch | None) -> None:
    """Train, keeping the best model so far in the run folder; `watch` follows in the first process."""
    request = prepared.request
    listener = request.on_event if watch is None else watch.on_event
    trainer = Trainer(
        model,
        prepared.config,
        prepared.corpus,
        request.run,
        score_windows,
        listener,
        request.ranks,
    )
    before = _describe_past(request.origin, prepared.owner)

    def keep(weights: dict[str, Tensor], scores: Scores) -> None:
        training = {
            "command": "train",
            "config": prepared.config.to_dict(),
            "init": request.origin.name if request.origin else None,
            **before,
            "hours": round(prepared.hours, 3),
            "frames": prepared.corpus.frames,
            "transposed_clips": len(prepared.corpus.copies),
            "step": trainer.step,
            "minutes": round(trainer.elapsed_s / 60, 1),
            "held_out": scores.to_dict(),
        }
        _write_model(prepared, weights, training)

    try:
        trainer.run(keep, None if watch is None else watch.on_sample, score_start=prepared.fine_tunes)
    except (SystemExit, KeyboardInterrupt):  # what a signal led to
        if watch is not None:
            watch.tell_best()
        raise
    finally:
        if watch is not None:
            watch.close()


@contextmanager
def _trial_store(request: TrainRequest) -> Iterator[tuple[Path, list[str]]]:
    """The token store to try, or one of a few recordings that is gone afterwards; and what could not be read."""
    for place in (request.source, request.run / TOKENS):
        if is_store(place):
            yield place, []
            return

    codec, found = codec_for(request), find_audio([request.source])
    found.announce(request.on_event, problems=True)
    tried = sorted(found.files, key=lambda path: (path.stat().st_size, path))[:TRIED_FILES]
    if len(tried) < len(found.files):
        request.on_event(Note(message=f"trying the {len(tried)} smallest of {len(found.files)} recordings"))
    with scratch_folder("audiolm-trial-") as folder:
        store = folder / "tokens"
        device = str(request.device)
        made = tokenize(tried, store, codec, device=device, workers=1, cache=request.cache, on_event=request.on_event)
        yield store, [*found.problems, *made.failed]


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


def _read_best(run: Path) -> Folder | None:
    """The best model that trainings into this folder have made; None where there is none yet.

    Raises:
        OutputError: it cannot be read.
    """
    if not (run / BEST).exists():
        return None
    try:
        return resolve(str((run / BEST).resolve()))
    except ModelError as error:
        raise OutputError(
            f"{error}. That was the best model of this run; move {run} away to begin anew, or choose another folder "
            "with -o"
        ) from error


def _check_unfinished(run: Path, best: Folder) -> None:
    """Keep a model from being replaced by the first steps of a training that begins anew, for want of a state.

    Raises:
        OutputError: the model is a trained one.
    """
    trained, planned = best.training.get("step", 0), best.training.get("config", {}).get("steps", 0)
    if not trained:
        return

    # Killed between its first validation and its first state, perhaps more than once, it has nothing to lose.
    journal = Journal(run / JOURNAL)
    if trained < planned and journal.last_step() <= trained and set(journal.validations()) <= {trained}:
        return

    raise OutputError(
        f"{run}: holds a model of {trained} steps, but no whole state in {STATE_FOLDER}/ to go on from; use the model "
        f"as it is (-m {run}), or train on from it into another folder (--init {run} -o OTHER)"
    )


def _check_settings(prepared: Prepared) -> None:
    """Write down what the run is started with, or compare with what it was started with.

    Raises:
        UsageError: it was another shape, whose saved state does not fit.
    """
    request = prepared.request
    run, place, own = request.run, str(request.source.resolve()), prepared.shape.to_dict()
    path = run / SETTINGS
    started_with = {
        "audiolm_version": __version__,
        "source": place,
        "codec": request.codec,
        "init": request.init,
        "num_quantizers": request.num_quantizers,
        "ar_codebooks": request.ar_codebooks,
        "dropout": request.dropout,
        "prompt_from": request.prompt_from,
        "styles": request.styles,
        "transpose": request.transpose,
        "shape": own,
        "config": prepared.config.to_dict(),
    }
    try:
        if not path.exists():
            write_whole(path, (json.dumps(started_with, indent=1) + "\n").encode(), force=True)
            return
        values = json.loads(path.read_text())
        was, started_on = describe_changes(complete_shape(values["shape"]), own), values["source"]
        if was and values["init"] != request.init:  # which brings its own shape
            was = describe_changes({"init": values["init"]}, {"init": request.init})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path}: cannot be read or written ({error}); choose another run folder with -o") from error
    if was:
        raise UsageError(
            f"{run}: was started with {was}; give the same --preset, --init and options, or another folder with -o"
        )
    if started_on != place:
        request.on_event(Note(message=f"{run} was started on {started_on}; going on from there", warning=True))


def _describe_past(origin: Folder | None, owner: StoreCodec) -> dict[str, object]:
    """How the model that a training starts from, and the codec that goes with it, were trained, as far as is known."""
    found: dict[str, object] = {}
    if origin is not None and origin.training:
        found["started_from"] = {name: value for name, value in origin.training.items() if name != "codec"}
    if owner.folder is not None and owner.folder.carries_codec:
        found["codec"] = codec_training(owner.folder)
    return found


def _write_model(prepared: Prepared, weights: dict[str, Tensor], training: Mapping[str, object]) -> None:
    """Write the best model so far, with its codec where the codec's weights are here, into the run folder."""
    owner, run = prepared.owner, prepared.request.run
    tensors = {MODEL_TENSORS: {name: own.detach().cpu().to(torch.float16) for name, own in weights.items()}}
    if owner.folder is not None and owner.folder.carries_codec:
        tensors[CODEC_TENSORS] = load_tensors(owner.folder, CODEC_TENSORS)
    write_folder(
        run / BEST,
        FolderFacts(
            kind="model",
            name=run.name,
            model=prepared.shape.to_dict(),
            codec=owner.record(),
            training=training,
        ),
        tensors=tensors,
        texts={CARD: plain_card(run.name)},
        force=True,
    )
