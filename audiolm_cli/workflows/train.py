"""`audiolm train`: a model from recordings or from a token store. Knows nothing about commands or terminals."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from audiolm_cli.checkpoints.catalogue import BEST, resolve
from audiolm_cli.checkpoints.folder import CODEC_TENSORS, MODEL_TENSORS, Folder, load_tensors, write_folder
from audiolm_cli.checkpoints.locks import LOCKS, hold, read_holder
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config import ModelConfig, TrainConfig
from audiolm_cli.data.files import READABLE_SUFFIXES, find_audio
from audiolm_cli.data.manifest import CodecFacts, TokenClip, is_store, read_store
from audiolm_cli.errors import DataError, ModelError, OutputError, UsageError
from audiolm_cli.evaluation.model import score_windows
from audiolm_cli.evaluation.verdict import Verdict
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.model.audiolm import build, load_weights
from audiolm_cli.training.distributed import Ranks, join
from audiolm_cli.training.loop import Scores, Trainer
from audiolm_cli.workflows.checks import Checklist
from audiolm_cli.workflows.loading import codec_hash, load_codec, pick_device, prepare_cpu
from audiolm_cli.workflows.outlook import announce, go_through
from audiolm_cli.workflows.store_codec import StoreCodec, check_frame_rate, codec_of_store
from audiolm_cli.workflows.tokenize import tokenize
from audiolm_cli.workflows.training_data import keep_clips, sized
from audiolm_cli.workflows.watch import Watch

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


def train(
    source: Path,
    run: Path,
    *,
    codec: str | None = None,
    shape: ModelConfig | None = None,
    num_quantizers: int | None = None,
    dropout: float | None = None,
    config: TrainConfig | None = None,
    init: str | None = None,
    cache: Path | None = None,
    on_event: OnEvent = ignore,
) -> Trained:
    """Train a model on recordings or a token store and leave the best one in `run`.

    Killed and called again with the same arguments, it goes on and ends with the same weights.

    Args:
        source: a folder of recordings, or what `audiolm tokenize` wrote.
        run: the run folder: model, states, tokens, metrics.
        codec: name or path of the codec for recordings; with `init`, that model's codec unless given.
        shape: the model's shape, but for number and size of the codebooks, which are the codec's; with `init`, that
            model's.
        num_quantizers: how many codebooks the codes must have; None accepts any.
        dropout: of the model while it is trained; None leaves that of `shape` or `init`.
        config: how to train.
        init: name or path of a model to start from.
        cache: the checkpoint cache; None is the user's.
        on_event: gets the progress.

    Raises:
        DataError: there is nothing to train on.
        ModelError: the codec or the initial model is missing or does not fit.
        UsageError: the arguments contradict each other, or what the run folder was started with.
        OutputError: the run folder cannot be written.
    """
    config = config or TrainConfig()
    prepare_cpu(config.threads)
    with join(config.device) as ranks:
        given = _Given(
            source=source,
            run=run,
            codec=codec,
            shape=shape,
            num_quantizers=num_quantizers,
            dropout=dropout,
            config=config,
            init=init,
            cache=cache,
            device=pick_device(ranks.device(config.device)),
            on_event=on_event if ranks.main else ignore,
        )
        return _train(given, ranks)


@dataclass(frozen=True, kw_only=True)
class _Given:
    """The arguments of `train`, for its parts."""

    source: Path
    run: Path
    codec: str | None
    shape: ModelConfig | None
    num_quantizers: int | None
    dropout: float | None
    config: TrainConfig
    init: str | None
    cache: Path | None
    device: torch.device
    on_event: OnEvent


def _train(given: _Given, ranks: Ranks) -> Trained:
    run, init, cache, config, on_event = given.run, given.init, given.cache, given.config, given.on_event
    origin = resolve(init, cache) if init else None
    if origin is not None and origin.model is None:
        raise UsageError(f"--init {init}: holds a codec, not a model")
    store = given.source if is_store(given.source) else run / "tokens"
    if ranks.main and not is_store(store):
        _tokenize(given, store)
    ranks.wait()
    owner = codec_of_store(store, given.codec, cache, on_event)
    facts = owner.facts
    if init is not None and origin is not None:
        check_frame_rate(store, facts, f"--init {init}", origin)
        if facts.sha256:
            _check_init(init, str(store), facts.sha256, cache)
        else:
            on_event(Note(message=f"{store} does not say whether its codes are those that {init} knows", warning=True))
    shape = _shape(given, origin, facts)
    train_clips, dev_clips = _read_clips(given, store, facts)
    frames = sum(len(clip.codes) for clip in train_clips)
    config = sized(config, frames, facts.frame_shift_s)
    with _claim(run) if ranks.main else nullcontext():
        if ranks.main:
            _check_settings(run, given.source, shape, on_event)
        torch.manual_seed(config.seed)
        model = build(shape).to(given.device)
        if origin is None:
            codebooks = _codebooks(owner, cache)
            if codebooks is not None:
                model.adopt_codebooks(codebooks.to(given.device))
        else:
            weights = load_tensors(origin, MODEL_TENSORS)
            load_weights(model, {name: tensor.to(given.device).float() for name, tensor in weights.items()})
        hours = announce(model, config, train_clips, facts, origin is not None, on_event)
        watch: Watch | None = None
        if ranks.main:
            decoder = _codec_if_here(owner, given)
            if not any((run / STATES).glob("step-*")):
                checklist = Checklist(
                    model, config, facts, train_clips, dev_clips, decoder, run, origin is not None, ranks.size
                )
                go_through(checklist, on_event)
            watch = Watch(run, shape, config, train_clips, dev_clips, decoder, on_event)
        best = run / BEST
        start, listener = origin is not None, on_event if watch is None else watch.on_event
        trainer = Trainer(model, config, train_clips, dev_clips, run, score_windows, listener, ranks, score_start=start)

        def keep(weights: dict[str, Tensor], scores: Scores) -> None:
            training = {
                "command": "train",
                "config": config.to_dict(),
                "init": origin.name if origin else None,
                "hours": round(hours, 3),
                "frames": frames,
                "minutes": round(trainer.elapsed_s / 60, 1),
                "held_out": scores.to_dict(),
            }
            _write_model(best, run.name, shape, weights, owner, training)

        try:
            trainer.run(keep, None if watch is None else watch.on_sample)
        finally:
            if watch is not None:
                watch.close()
        ranks.wait()
    folder, verdict = resolve(str(best.resolve())), None
    if watch is not None:
        weights = load_tensors(folder, MODEL_TENSORS)
        load_weights(model, {name: tensor.to(given.device).float() for name, tensor in weights.items()})
        verdict = watch.verdict(model)
    return Trained(folder=folder, run=run, verdict=verdict)


def _codec_if_here(owner: StoreCodec, given: _Given) -> Codec | None:
    """The codec of a store; None where it is not here, which `codec_of_store` has said."""
    try:
        return load_codec(owner.name, given.device, given.cache) if owner.name is not None else None
    except ModelError:
        return None


def _tokenize(given: _Given, store: Path) -> None:
    """Make the store from recordings."""
    find_audio(given.source, READABLE_SUFFIXES)
    wanted = given.codec or given.init or "encodec-32khz"
    _check_init(given.init, wanted, codec_hash(wanted, given.cache), given.cache)
    load_codec(wanted, None, given.cache)  # before there is a folder: this may be missing
    with _claim(given.run):
        tokenize([given.source], store, wanted, device=str(given.device), cache=given.cache, on_event=given.on_event)


def _read_clips(given: _Given, store: Path, facts: CodecFacts) -> tuple[list[TokenClip], list[TokenClip]]:
    """Training clips, and those to validate on.

    Raises:
        DataError: there are none to train on.
    """
    train_clips, dev_clips = read_store(store, "train"), read_store(store, "dev")
    if not train_clips:
        raise DataError(f"{store}: no training clips in it")
    train_clips = keep_clips(train_clips, "train", given.config, facts.frame_shift_s, given.on_event)
    dev_clips = keep_clips(dev_clips, "dev", given.config, facts.frame_shift_s, given.on_event)
    if not dev_clips:
        given.on_event(Note(message="no held-out clips: validating on the first training clip", warning=True))
    return train_clips, dev_clips or train_clips[:1]


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


def _check_init(init: str | None, name: str, sha256: str, cache: Path | None) -> None:
    """Refuse to go on from a model that knows the codes of another codec than `sha256`, the one of `name`.

    Raises:
        ModelError: it is another one.
    """
    if init is not None and codec_hash(init, cache) != sha256:
        raise ModelError(
            f"--init {init}: has another codec than {name}, so its codes mean other sounds; "
            f"use that model's codec (--codec {init}) or train without --init"
        )


def _check_settings(run: Path, source: Path, shape: ModelConfig, on_event: OnEvent) -> None:
    """Write down what the run is started with, or compare with what it was started with.

    Raises:
        UsageError: it was another shape, whose saved state does not fit.
    """
    path, place, own = run / SETTINGS, str(source.resolve()), shape.to_dict()
    try:
        if not path.exists():
            path.write_text(json.dumps({"source": place, "shape": own}, indent=1) + "\n")
            return
        values = json.loads(path.read_text())
        started, started_on = values["shape"], values["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path}: cannot be read or written ({error}); choose another run folder with -o") from error
    changed = [name for name, value in own.items() if started.get(name) != value]
    if changed:
        was = ", ".join(f"{name} {started.get(name)}" for name in changed)
        raise UsageError(f"{run}: was started with {was}; give the same --preset or --init, or another folder with -o")
    if started_on != place:
        on_event(Note(message=f"{run} was started on {started_on}; going on from there", warning=True))


def _shape(given: _Given, origin: Folder | None, facts: CodecFacts) -> ModelConfig:
    """The model's shape: that of `origin`, checked against the codes, or the given one with the codebooks of the codes.

    Raises:
        UsageError: codebooks or codes do not fit.
    """
    if given.num_quantizers not in (None, facts.num_codebooks):
        raise UsageError(
            f"--num-quantizers {given.num_quantizers}: the codes of {facts.name} have {facts.num_codebooks} codebooks; "
            f"leave the option out, or tokenize with a codec of {given.num_quantizers}"
        )
    if origin is None or origin.model is None:
        wanted = dataclasses.replace(
            given.shape or ModelConfig(), num_quantizers=facts.num_codebooks, codebook_size=facts.codebook_size
        )
    else:
        wanted = ModelConfig.from_dict(origin.model)
        for field, own, theirs in (
            ("num_quantizers", wanted.num_quantizers, facts.num_codebooks),
            ("codebook_size", wanted.codebook_size, facts.codebook_size),
        ):
            if own != theirs:
                raise UsageError(f"{field} is {own} in the model, but the codes of {facts.name} have {theirs}")
    return wanted if given.dropout is None else dataclasses.replace(wanted, dropout=given.dropout)


def _codebooks(owner: StoreCodec, cache: Path | None) -> Tensor | None:
    """Vectors [K, V, D] of a spectral codec; None of any other, and of one that is not here."""
    if owner.name is None or owner.folder is None or owner.folder.codec["family"] != "spectral":
        return None
    codec = load_codec(owner.name, None, cache)
    return codec.network.quantizer.codebooks if isinstance(codec, SpectralCodec) else None


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
        kind="model",
        name=name,
        model=shape.to_dict(),
        codec=owner.record(),
        training=training,
        tensors=tensors,
        texts={"MODEL_CARD.md": f"# {name}\n\nTrained with `audiolm train`; its facts are in `config.json`.\n"},
        force=True,
    )
