"""From the arguments of a training to what it needs: clips, codec, and a model at its start.

Knows nothing about terminals, run folders or how training goes on from there.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiolm_cli.checkpoints.catalogue import BUNDLED_CODEC
from audiolm_cli.checkpoints.folder import MODEL_TENSORS, Folder, load_tensors
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.shapes import OF_PRESETS, ModelConfig, complete_shape
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.folders import find_audio
from audiolm_cli.data.manifest import COPIES, CodecFacts, read_store
from audiolm_cli.data.styles import check_source, read_styles
from audiolm_cli.data.tokens import Corpus
from audiolm_cli.errors import DataError, ModelError, UsageError
from audiolm_cli.events import Activity, Note
from audiolm_cli.library.loading import codes_hash, load_codec
from audiolm_cli.library.store_codec import StoreCodec, check_frame_rate, codec_of_store
from audiolm_cli.model.decoders import Decoders, build, extend_weights, load_weights
from audiolm_cli.reports.past import read_settings
from audiolm_cli.tokenizing.assembly import semitones_of
from audiolm_cli.training.preflight.clips import cut_copies, hold_out_end, keep_clips, label_clips, sized
from audiolm_cli.training.preflight.fine_tuning import suit, suited_semitones
from audiolm_cli.training.preflight.request import TrainRequest
from audiolm_cli.wording import counted

NAR_PASSES = 4
"""How many passes per codebook a model takes whose NAR decoder is trained for several."""


def needed_for_training(source: Path, codec: str | None, init: str | None) -> tuple[str | None, str | None]:
    """The codec and the model that `audiolm train` will look up by name; without either, what is bundled serves."""
    return (codec, init) if source.exists() else (None, None)  # a missing source is said before anything is downloaded


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a training is about to begin with."""

    request: TrainRequest
    """What was asked for."""
    config: TrainConfig
    """How to train, steps and frames per step worked out."""
    shape: ModelConfig
    """The model's."""
    owner: StoreCodec
    """The codec of the codes."""
    corpus: Corpus
    """The clips to train on and to validate on."""

    @property
    def facts(self) -> CodecFacts:
        """What the codes mean."""
        return self.owner.facts

    @property
    def fine_tunes(self) -> bool:
        """Whether the model starts from trained weights."""
        return self.request.origin is not None

    @property
    def hours(self) -> float:
        """Hours of audio to train on."""
        return self.corpus.frames * self.facts.frame_shift_s / 3600


def prepare(request: TrainRequest, store: Path) -> Prepared:
    """Read a token store, and see that its codes, the model to start from and the options fit each other.

    Raises:
        DataError: the store cannot be read, or holds nothing to train on.
        ModelError: codec or model are missing, damaged or do not fit.
        UsageError: the options do not fit the codes.
    """
    owner = codec_of_store(store, request.codec, request.cache, request.on_event)
    facts = owner.facts

    if request.init is not None and request.origin is not None:
        check_frame_rate(store, facts, f"--init {request.init}", request.origin)
        if facts.sha256:
            check_init(request, str(store), facts.sha256)
        else:
            unsaid = f"{store} does not say whether its codes are those that {request.init} knows"
            request.on_event(Note(message=unsaid, warning=True))

    shape = _choose_shape(request, facts)
    request.on_event(Activity(stage="read the codes"))
    corpus = _read_corpus(request, store, facts, shape)
    shape = _with_styles(request, shape, corpus)
    config = sized(request.config, corpus.frames, facts.frame_shift_s)
    if request.origin is not None:
        config = suit(config, request.free, corpus.frames, facts.frame_shift_s)
    return Prepared(request=request, config=config, shape=shape, owner=owner, corpus=corpus)


def codec_for(request: TrainRequest) -> str:
    """The name or path of the codec for recordings, which is here and fits the model to start from.

    Raises:
        DataError: there are no recordings, or nothing that labels them.
        ModelError: the codec is missing, or not that of the model.
        UsageError: what to start from is no model, or the options contradict it or each other.
    """
    find_audio([request.source])
    _asked_shape(request)  # to encode takes long: what does not depend on the codes is refused before
    if request.styles is not None:
        check_source(request.styles)

    wanted = request.codec or request.init or BUNDLED_CODEC
    if request.origin is not None:
        check_init(request, wanted, codes_hash(wanted, request.cache))
    request.load_codec(wanted)  # before there is a folder: this may be missing
    return wanted


def transposing(request: TrainRequest) -> Callable[[float], int]:
    """From minutes of recordings to how many semitones up and down they are transposed, for copies to train on."""
    chosen = request.transpose
    if chosen is None and request.origin is not None:
        return suited_semitones
    return lambda minutes: chosen or 0


def check_transpose(request: TrainRequest, store: Path) -> None:
    """Refuse to transpose what has codes already by another amount than its copies have; 0 leaves a store's out.

    Raises:
        UsageError: it is another one.
    """
    wanted, is_given = request.transpose, store == request.source
    if wanted is None or (wanted == 0 and is_given):
        return
    there = semitones_of(store)
    if wanted != there:
        has = f"copies transposed by up to {there}" if there else "no transposed copies"
        raise UsageError(
            f"--transpose {wanted}: {store} has its codes already, with {has}; leave the option out, or "
            + ("make the codes anew with audiolm tokenize" if is_given else "choose another folder with -o")
        )


def starting_model(prepared: Prepared) -> Decoders:
    """The model as training begins with it, on its device: the same for the same seed."""
    request = prepared.request
    torch.manual_seed(prepared.config.seed)
    model = build(prepared.shape).to(request.device)
    if request.origin is not None:
        load_weights(model, extend_weights(model, _read_weights(request.origin)))
        return model

    codebooks = _spectral_codebooks(prepared)
    if codebooks is not None:
        model.adopt_codebooks(codebooks.to(request.device))
    return model


def load_folder_weights(model: Decoders, folder: Folder) -> None:
    """Put the weights of a model folder into a model of its shape."""
    load_weights(model, _read_weights(folder))


def _read_weights(folder: Folder) -> dict[str, Tensor]:
    """The weights of a model folder by name, in float32."""
    return {name: tensor.float() for name, tensor in load_tensors(folder, MODEL_TENSORS).items()}


def codec_if_here(prepared: Prepared) -> Codec | None:
    """The codec of a store; None where it is not here, which `codec_of_store` has said."""
    name = prepared.owner.name
    try:
        return prepared.request.load_codec(name) if name is not None else None
    except ModelError:
        return None


def check_init(request: TrainRequest, name: str, sha256: str) -> None:
    """Refuse to go on from a model that knows the codes of another codec than `sha256`, the one of `name`.

    Raises:
        ModelError: it is another one.
    """
    init = request.init
    if init is not None and codes_hash(init, request.cache) != sha256:
        raise ModelError(
            f"--init {init}: has another codec than {name}, so its codes mean other sounds; "
            f"use that model's codec (--codec {init}) or train without --init"
        )


def _read_corpus(request: TrainRequest, store: Path, facts: CodecFacts, shape: ModelConfig) -> Corpus:
    """The clips of a store that the request keeps; where none are held out, the end of the longest one is.

    Raises:
        DataError: there are none to train on.
    """
    train_clips = read_store(store, "train", request.on_event)
    dev_clips = read_store(store, "dev", request.on_event)
    copies = [] if request.transpose == 0 else read_store(store, COPIES, request.on_event)
    if not train_clips:
        raise DataError(f"{store}: no training clips in it")
    if request.styles is not None:
        labels = read_styles(store, request.styles, facts)
        train_clips, dev_clips, copies = (label_clips(clips, labels) for clips in (train_clips, dev_clips, copies))
    whole = train_clips
    train_clips = keep_clips(train_clips, "train", request.config, facts.frame_shift_s, request.on_event)
    dev_clips = keep_clips(dev_clips, "dev", request.config, facts.frame_shift_s, request.on_event)
    if dev_clips:
        return Corpus(train=train_clips, dev=dev_clips, copies=cut_copies(copies, whole, train_clips))

    parts = hold_out_end(train_clips, shape.max_frames)
    if parts is None:
        request.on_event(Note(message="no held-out clips: validating on the first training clip", warning=True))
        return Corpus(train=train_clips, dev=train_clips[:1], copies=cut_copies(copies, whole, train_clips))
    seconds = len(parts[1].codes) * facts.frame_shift_s
    request.on_event(Note(message=f"no held-out clips: validating on the last {seconds:.0f} s of {parts[1].id}"))
    return Corpus(train=parts[0], dev=[parts[1]], copies=cut_copies(copies, whole, parts[0]))


def _with_styles(request: TrainRequest, shape: ModelConfig, corpus: Corpus) -> ModelConfig:
    """The shape with the styles of the training clips behind those that the model knows already.

    Raises:
        DataError: labels were asked for, and no clip has one.
    """
    if request.styles is None:
        return shape
    counts = Counter(clip.style for clip in corpus.train)
    without = counts.pop("", 0)
    if not counts:
        raise DataError(f"--styles {request.styles}: no training clip has a label; all of them are of held-out clips")

    said = ", ".join(f"{style} ({count})" for style, count in sorted(counts.items()))
    left = f"; {counted(without, 'clip')} without" if without else ""
    request.on_event(Note(message=f"styles, with their training clips: {said}{left}"))
    return dataclasses.replace(shape, styles=(*shape.styles, *sorted(set(counts) - set(shape.styles))))


def _choose_shape(request: TrainRequest, facts: CodecFacts) -> ModelConfig:
    """The model's shape: that of `origin`, checked against the codes, or the given one with the codebooks of the codes.

    Raises:
        UsageError: codebooks or codes do not fit.
    """
    if request.num_quantizers not in (None, facts.num_codebooks):
        raise UsageError(
            f"--num-quantizers {request.num_quantizers}: the codes of {facts.name} have {facts.num_codebooks} "
            f"codebooks; leave the option out, or tokenize with a codec of {request.num_quantizers}"
        )
    wanted = _asked_shape(request)
    if request.origin is None:
        made = request.ar_codebooks or wanted.ar_codebooks
        if made > facts.num_codebooks:
            raise UsageError(
                f"--ar-codebooks {made}: the codes of {facts.name} have {facts.num_codebooks} codebooks; "
                "give at most that"
            )
        wanted = dataclasses.replace(
            wanted, ar_codebooks=made, num_quantizers=facts.num_codebooks, codebook_size=facts.codebook_size
        )
    else:
        own, theirs = (wanted.num_quantizers, wanted.codebook_size), (facts.num_codebooks, facts.codebook_size)
        same_size = own[1] == theirs[1] or (own[1] > theirs[1] and not facts.sha256)  # a store may not say it
        if own[0] != theirs[0] or not same_size:
            raise UsageError(
                f"--init {request.init}: has {own[0]} codebooks of {own[1]} codes, but the codes of {facts.name} are "
                f"of {theirs[0]} codebooks of {theirs[1]}; tokenize with that model's codec, or leave --init out"
            )
    if wanted.has_nar and request.config.nar_known > 0 and request.config.train_stage != 1:
        wanted = dataclasses.replace(wanted, nar_passes=max(wanted.nar_passes, NAR_PASSES))
    return wanted


def _asked_shape(request: TrainRequest) -> ModelConfig:
    """The shape of `origin`, or the given one, with what is asked to be different; its codebooks are not yet chosen.

    Raises:
        UsageError: what is asked for contradicts the model to start from, or itself.
    """
    known = request.origin.model if request.origin is not None else None
    start = _keep_started(request) if known is None else ModelConfig.from_dict(known)
    changes: dict[str, Any] = {"dropout": request.dropout, "prompt_from": request.prompt_from}
    wanted = dataclasses.replace(start, **{name: value for name, value in changes.items() if value is not None})

    if request.config.fixed_split and wanted.prompts.split < 1:
        raise UsageError(f"--fixed-split and prompts from {wanted.prompt_from}: they set the same thing; leave one out")
    if known is not None and start.knows_elsewhere and not wanted.knows_elsewhere:
        raise UsageError(
            f"--prompt-from {wanted.prompt_from}: {request.init} knows prompts from elsewhere, and would forget them; "
            "leave the option out, or give elsewhere a share, as in split:0.9,elsewhere:0.1"
        )
    return wanted


def _keep_started(request: TrainRequest) -> ModelConfig:
    """The requested shape. Where a preset decides, a run goes on as it began, since presets get better with time."""
    shape = request.shape or ModelConfig()
    started = read_settings(request.run).get("shape")
    if not isinstance(started, dict):
        return shape

    before = complete_shape(started)
    return dataclasses.replace(shape, **{name: before[name] for name in OF_PRESETS if name in request.free})


def _spectral_codebooks(prepared: Prepared) -> Tensor | None:
    """Vectors [K, V, D] of a spectral codec; None of any other, and of one that is not here."""
    owner = prepared.owner
    if owner.name is None or owner.folder is None or owner.folder.codec["family"] != "spectral":
        return None

    # Loaded anew: its network draws first weights, after which the model's embeddings are drawn. A codec that is in
    # memory already would not, and the same seed would begin with other weights.
    codec = load_codec(owner.name, None, prepared.request.cache)
    return codec.network.quantizer.codebooks if isinstance(codec, SpectralCodec) else None
