"""From the arguments of a training to what it needs: clips, codec, and a model at its start.

Knows nothing about terminals, run folders or how training goes on from there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from audiolm_cli.checkpoints.catalogue import (
    resolve,
)
from audiolm_cli.checkpoints.folder import MODEL_TENSORS, Folder, load_tensors
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.files import READABLE_SUFFIXES, find_audio
from audiolm_cli.data.manifest import CodecFacts, is_store, read_store
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.devices import pick_device
from audiolm_cli.distributed import ALONE, Ranks
from audiolm_cli.errors import DataError, ModelError, UsageError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.library.loading import codes_hash, load_codec
from audiolm_cli.library.store_codec import StoreCodec, check_frame_rate, codec_of_store
from audiolm_cli.model.decoders import Decoders, build, load_weights
from audiolm_cli.training.preflight.clips import keep_clips, sized

NAR_PASSES = 4
"""How many passes per codebook a model takes whose NAR decoder is trained for several."""


class TrainOptions(TypedDict, total=False):
    """What `train` and `try_training` take beside the two folders."""

    codec: str | None
    """Name or path of the codec for recordings; with `init`, that model's codec unless given."""
    shape: ModelConfig | None
    """The model's, but for number and size of the codebooks, which are the codec's; with `init`, that model's."""
    num_quantizers: int | None
    """How many codebooks the codes must have; None accepts any."""
    dropout: float | None
    """Of the model while it is trained; None leaves that of `shape` or `init`."""
    config: TrainConfig
    """How to train."""
    init: str | None
    """Name or path of a model to start from."""
    cache: Path | None
    """The checkpoint cache; None is the user's."""
    ranks: Ranks
    """This process among those that train together; `cli/torchrun.py` tells it in a program that torchrun starts."""
    on_event: OnEvent
    """Gets the progress."""


@dataclass(frozen=True)
class Given:
    """The arguments of a training; `TrainOptions` says what they mean."""

    source: Path
    run: Path
    _: KW_ONLY
    codec: str | None = None
    shape: ModelConfig | None = None
    num_quantizers: int | None = None
    dropout: float | None = None
    config: TrainConfig = field(default_factory=TrainConfig)
    init: str | None = None
    cache: Path | None = None
    ranks: Ranks = ALONE
    on_event: OnEvent = ignore

    @cached_property
    def device(self) -> torch.device:
        """Where to train.

        Raises:
            UsageError: there is no such device.
        """
        return pick_device(self.ranks.device(self.config.device))

    @property
    def origin(self) -> Folder | None:
        """The folder of the model to start from.

        Raises:
            ModelError: it is missing or damaged.
            UsageError: it holds a codec alone.
        """
        origin = resolve(self.init, self.cache) if self.init else None
        if origin is not None and origin.model is None:
            raise UsageError(f"--init {self.init}: holds a codec, not a model")
        return origin


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a training is about to begin with."""

    config: TrainConfig
    """How to train, steps and frames per step worked out."""
    shape: ModelConfig
    """The model's."""
    origin: Folder | None
    """The model to start from; None is none."""
    owner: StoreCodec
    """The codec of the codes."""
    train: list[TokenClip]
    """Clips to train on."""
    dev: list[TokenClip]
    """Clips to validate on."""

    @property
    def facts(self) -> CodecFacts:
        """What the codes mean."""
        return self.owner.facts

    @property
    def frames(self) -> int:
        """Frames to train on."""
        return sum(len(clip.codes) for clip in self.train)


def prepare(given: Given, store: Path) -> Prepared:
    """Read a token store, and see that its codes, the model to start from and the options fit each other.

    Raises:
        DataError: the store cannot be read, or holds nothing to train on.
        ModelError: codec or model are missing, damaged or do not fit.
        UsageError: the options do not fit the codes.
    """
    origin, on_event = given.origin, given.on_event
    owner = codec_of_store(store, given.codec, given.cache, on_event)
    facts = owner.facts
    if given.init is not None and origin is not None:
        check_frame_rate(store, facts, f"--init {given.init}", origin)
        if facts.sha256:
            check_init(given, str(store), facts.sha256)
        else:
            unsaid = f"{store} does not say whether its codes are those that {given.init} knows"
            on_event(Note(message=unsaid, warning=True))
    shape = _shape(given, origin, facts)
    train, dev = _read_clips(given, store, facts)
    config = sized(given.config, sum(len(clip.codes) for clip in train), facts.frame_shift_s)
    return Prepared(config=config, shape=shape, origin=origin, owner=owner, train=train, dev=dev)


def codec_for(given: Given) -> str:
    """The name or path of the codec for recordings, which is here and fits the model to start from.

    Raises:
        DataError: there are no recordings.
        ModelError: the codec is missing, or not that of the model.
        UsageError: what to start from is no model.
    """
    find_audio(given.source, READABLE_SUFFIXES)
    wanted = given.codec or given.init or "encodec-32khz"
    if given.origin is not None:
        check_init(given, wanted, codes_hash(wanted, given.cache))
    load_codec(wanted, None, given.cache)  # before there is a folder: this may be missing
    return wanted


def starting_model(given: Given, prepared: Prepared) -> Decoders:
    """The model as training begins with it, on its device: the same for the same seed."""
    torch.manual_seed(prepared.config.seed)
    model = build(prepared.shape).to(given.device)
    if prepared.origin is not None:
        fill(model, prepared.origin)
        return model
    codebooks = _codebooks(prepared.owner, given.cache)
    if codebooks is not None:
        model.adopt_codebooks(codebooks.to(given.device))
    return model


def fill(model: Decoders, folder: Folder) -> None:
    """Put the weights of a model folder into a model of its shape."""
    weights = load_tensors(folder, MODEL_TENSORS)
    load_weights(model, {name: tensor.to(model.device).float() for name, tensor in weights.items()})


def codec_if_here(owner: StoreCodec, given: Given) -> Codec | None:
    """The codec of a store; None where it is not here, which `codec_of_store` has said."""
    try:
        return load_codec(owner.name, given.device, given.cache) if owner.name is not None else None
    except ModelError:
        return None


def check_init(given: Given, name: str, sha256: str) -> None:
    """Refuse to go on from a model that knows the codes of another codec than `sha256`, the one of `name`.

    Raises:
        ModelError: it is another one.
    """
    init = given.init
    if init is not None and codes_hash(init, given.cache) != sha256:
        raise ModelError(
            f"--init {init}: has another codec than {name}, so its codes mean other sounds; "
            f"use that model's codec (--codec {init}) or train without --init"
        )


def _read_clips(given: Given, store: Path, facts: CodecFacts) -> tuple[list[TokenClip], list[TokenClip]]:
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


def _shape(given: Given, origin: Folder | None, facts: CodecFacts) -> ModelConfig:
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
        own, theirs = (wanted.num_quantizers, wanted.codebook_size), (facts.num_codebooks, facts.codebook_size)
        if own != theirs:
            raise UsageError(
                f"--init {given.init}: has {own[0]} codebooks of {own[1]} codes, but the codes of {facts.name} are of "
                f"{theirs[0]} codebooks of {theirs[1]}; tokenize with that model's codec, or leave --init out"
            )
    if given.config.nar_known > 0 and given.config.train_stage != 1:
        wanted = dataclasses.replace(wanted, nar_passes=max(wanted.nar_passes, NAR_PASSES))
    return wanted if given.dropout is None else dataclasses.replace(wanted, dropout=given.dropout)


def _codebooks(owner: StoreCodec, cache: Path | None) -> Tensor | None:
    """Vectors [K, V, D] of a spectral codec; None of any other, and of one that is not here."""
    if owner.name is None or owner.folder is None or owner.folder.codec["family"] != "spectral":
        return None
    codec = load_codec(owner.name, None, cache)
    return codec.network.quantizer.codebooks if isinstance(codec, SpectralCodec) else None


DEFAULT_CODEC = "encodec-32khz"
"""The codec of recordings when no other is named."""


def needed_for_training(source: Path, codec: str | None, init: str | None) -> list[str | None]:
    """What `audiolm train` will look up by name: a store of tokens needs no codec, a folder of recordings does."""
    if not source.exists():
        return []  # which is said before anything is downloaded
    return [codec, init] if codec or init or is_store(source) else [DEFAULT_CODEC]
