"""`audiolm codec train`: a codec of either family from a folder of recordings, or fine-tuned on it.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiolm_cli.audio import DecoderProcess
from audiolm_cli.checkpoints.catalogue import BUNDLED, KNOWN_CODECS, resolve
from audiolm_cli.checkpoints.folder import (
    CARD,
    CODEC_TENSORS,
    CONFIG,
    MODEL_TENSORS,
    SAMPLES,
    Folder,
    FolderFacts,
    load_tensors,
    verify_folder,
    write_folder,
)
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.encodec import EncodecCodec
from audiolm_cli.codec.encodec_shape import EncodecConfig
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.shapes import NEW_SPECTRAL, SpectralChanges, SpectralConfig
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.data.files import AudioFile, split_files
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.errors import DataError, ModelError, OutputError, UsageError
from audiolm_cli.events import Activity, Note, OnEvent, ignore
from audiolm_cli.library.loading import (
    codec_carrier,
    codec_hash,
    codec_training,
    codes_hash,
    load_codec,
    pick_codec_device,
)
from audiolm_cli.reports.verdict import Verdict, judge_codec_training
from audiolm_cli.tokenizing.recordings import copying_opener, open_recordings
from audiolm_cli.training.codec.consistency import ConsistencyReport
from audiolm_cli.training.codec.encodec import EncodecTrainee
from audiolm_cli.training.codec.levels import return_lost_level
from audiolm_cli.training.codec.likeness import LikenessReport
from audiolm_cli.training.codec.loop import CodecTrainer
from audiolm_cli.training.codec.round_trips import RoundTrips
from audiolm_cli.training.codec.spectral import SpectralTrainee
from audiolm_cli.training.codec.trainee import CodecLosses
from audiolm_cli.wording import counted, length_of

Trainee = SpectralTrainee | EncodecTrainee
COPIES = "recordings"
"""Where copies of recordings lie that only `ffmpeg` reads, inside the folder of the state."""
FROM_NOTHING_H = 1.0
"""Hours of audio below which a codec from nothing brings a warning."""


@dataclass(frozen=True)
class CodecTrainRequest:
    """The arguments of `train_codec`."""

    source: Path
    """A folder of recordings, or one file."""
    output: Path
    """The folder to write."""
    _: KW_ONLY
    name: str | None = None
    """Of the codec; None is that of the folder."""
    config: CodecTrainConfig = field(default_factory=CodecTrainConfig)
    """How to train."""
    shape: SpectralConfig | EncodecConfig | None = None
    """Of a codec from nothing, whose family it decides; None is the usual spectral one."""
    changes: SpectralChanges = field(default_factory=SpectralChanges)
    """Of the shape of a spectral codec, from nothing or of `init`."""
    init: str | None = None
    """A codec, or a model with its codec, to start from: its shape, weights and codebooks."""
    force: bool = False
    """Overwrite a codec folder."""
    cache: Path | None = None
    """The checkpoint cache; None is the user's."""
    on_event: OnEvent = ignore
    """Gets the progress."""

    @property
    def state(self) -> Path:
        """Where the training keeps what it needs to go on, until the codec is written."""
        return self.output.with_name(self.output.name + ".state")


@dataclass(frozen=True, kw_only=True)
class TrainedCodec:
    """What came out."""

    folder: Folder
    """The codec folder; given a model whose codes were kept, a model folder."""
    losses: CodecLosses
    """On held-out clips, or where no recording is held out, on those it was trained on."""
    verdict: Verdict | None
    """How good it is, in words; None where there is nothing to measure on."""
    heard_s: float
    """Seconds of recordings that it was trained on."""
    passes: float
    """How often it heard them."""
    held_out: bool
    """Whether there were recordings to hold out."""
    elapsed_s: float
    """How long it was trained."""
    failed: list[str]
    """Recordings that could not be read, or not everywhere, with the reason."""


def train_codec(request: CodecTrainRequest) -> TrainedCodec:
    """Train a codec on recordings and write it to a folder.

    With `config.keep_codes` the codes of a recording stay what they are: token stores of the codec `init` go with the
    new one. Given a model, a model with the new codec in it is written.

    Interrupted and called again with the same request, the training goes on from its last saved state, which lies
    beside the output as `<output>.state` until the codec is written. Recordings that cannot be read are left out and
    listed. `samples` in the state, and in the end in the output, has round trips of held-out clips.

    Raises:
        DataError: there is too little audio.
        ModelError: there is no codec `init`, or none that can be trained.
        OutputError: the output exists already or cannot be written.
        UsageError: the output is what to start from, or was begun with other settings, or codes are to be kept and
            there is no `init`.
    """
    config, state = request.config, request.state
    _check_request(request)
    prepare_cpu(config.threads)
    torch.manual_seed(config.seed)
    trainee = _make_trainee(request)

    recordings = _open_recordings(request)
    _announce(request, trainee, recordings)
    _make_folder(state)

    origin = None if request.init is None else _find_origin(request.init, request.cache)
    trainer = CodecTrainer(
        trainee,
        config,
        recordings.train,
        recordings.held_out,
        state,
        request.on_event,
        origin.sha256 if origin else None,
    )
    round_trips = RoundTrips(state / SAMPLES, trainee.codec, recordings.held_out, request.on_event)
    consistency = ConsistencyReport(trainee.codec, recordings.held_out, request.on_event)

    likeness = LikenessReport(trainee.codec, recordings.held_out, request.on_event)

    def on_sample(step: int) -> None:
        return_lost_level(trainee.codec, recordings.train, request.on_event)
        round_trips(step)
        consistency(step)
        likeness(step)

    if origin is not None:  # the trainee is still as it was
        likeness(0)
    before = likeness.distances
    losses = trainer.run(on_sample)
    if likeness.step != config.steps:
        return_lost_level(trainee.codec, recordings.train, request.on_event)
        likeness(config.steps)

    request.on_event(Activity(stage="write the codec"))
    facts = _describe_training(request, trainer, origin, recordings, losses)
    if consistency.shares:
        facts["consistency"] = consistency.shares
    folder = _write_codec(request, trainee, origin, facts)
    with contextlib.suppress(OSError):  # there may be none
        (state / SAMPLES).rename(folder.path / SAMPLES)
    shutil.rmtree(state, ignore_errors=True)  # or the next training into this place would go on from it
    found, verdict = likeness.distances, None
    if found is not None:
        verdict = judge_codec_training(found, before, str(request.init))
    return TrainedCodec(
        folder=folder,
        losses=losses,
        verdict=verdict,
        heard_s=3600 * recordings.hours,
        passes=_passes(config, recordings),
        held_out=bool(recordings.dev),
        elapsed_s=trainer.elapsed_s,
        failed=[*recordings.failed, *trainer.damaged.values()],
    )


def _check_request(request: CodecTrainRequest) -> None:
    """Refuse what cannot come to anything, before any work is done.

    Raises:
        OutputError: the output exists already.
        UsageError: codes are to be kept and there is no codec to start from.
    """
    output = request.output
    if request.config.keep_codes and request.init is None:
        raise UsageError("--keep-codes keeps the codes of a codec: name that codec with --init")
    if request.config.keep_codes and request.changes != SpectralChanges():
        raise UsageError("--keep-codes with --level-seconds or --steady-frames, which change the codes: leave one out")
    if output.exists() and not request.force:
        raise OutputError(f"{output}: exists already; choose another folder, or overwrite this one with -f")
    if output.exists() and not (output / CONFIG).is_file():
        raise OutputError(f"{output}: is not the folder of a codec, so -f does not overwrite it; choose another folder")


@dataclass(frozen=True, kw_only=True)
class _Recordings:
    """What a codec is trained on."""

    train: list[AudioFile]
    """To train on."""
    dev: list[AudioFile]
    """Held out; may be empty."""
    failed: list[str]
    """Recordings that could not be read, with the reason."""

    @property
    def held_out(self) -> list[AudioFile]:
        """To measure on: held-out recordings, or where there are none, those to train on."""
        return self.dev or self.train

    @property
    def hours(self) -> float:
        """Hours to train on."""
        return sum(file.duration_s for file in self.train) / 3600


def _open_recordings(request: CodecTrainRequest) -> _Recordings:
    """The recordings, split by a hash of their content.

    Raises:
        DataError: there is too little audio.
    """
    copies, decoder = request.state / COPIES, DecoderProcess()
    files, failed = open_recordings(request.source, copying_opener(copies, decoder), decoder, request.on_event)
    parts = split_files(files)
    found = _Recordings(train=parts["train"], dev=parts["dev"], failed=failed)

    seconds, least_s = found.hours * 3600, request.config.clip_s
    if seconds < least_s:
        shutil.rmtree(copies, ignore_errors=True)
        with contextlib.suppress(OSError):  # there may be a training in it, of other recordings
            request.state.rmdir()
        raise DataError(f"{request.source}: {seconds:.1f} s of audio to train on; expected at least {least_s} s")
    return found


def _announce(request: CodecTrainRequest, trainee: Trainee, recordings: _Recordings) -> None:
    """Say how much there is to train on, and what."""
    parameters = sum(p.numel() for p in trainee.network.parameters())
    amount = length_of(3600 * recordings.hours)
    message = (
        f"{amount} of sound in {counted(len(recordings.train), 'file')} to train on, {len(recordings.dev)} held out; "
        f"{parameters / 1e6:.1f} M parameters, {counted(request.config.steps, 'step')}, which hear it "
        f"{_passes(request.config, recordings):.3g} times"
    )
    request.on_event(Note(message=message))
    if request.init is None and recordings.hours < FROM_NOTHING_H:
        warning = (
            f"{amount} is little for a codec from nothing, which wants hours: --init {BUNDLED} would suit it better"
        )
        request.on_event(Note(message=warning, warning=True))


def _passes(config: CodecTrainConfig, recordings: _Recordings) -> float:
    """How often a training hears what it is trained on."""
    return config.steps * config.clips * config.clip_s / (3600 * recordings.hours)


def _make_folder(state: Path) -> None:
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{state}: cannot be created ({error.strerror}); choose another place with -o") from error


def _describe_training(
    request: CodecTrainRequest,
    trainer: CodecTrainer,
    origin: _Origin | None,
    recordings: _Recordings,
    losses: CodecLosses,
) -> dict[str, Any]:
    """What the codec's folder says about how it was trained."""
    config = dataclasses.replace(request.config, learning_rate=trainer.learning_rate)
    changes = {name: value for name, value in request.changes.to_dict().items() if value is not None}
    started: dict[str, Any] = {}
    if origin is not None:
        started = {"init": request.init, "init_sha256": origin.sha256, "licence": origin.licence}
    return {
        "command": "codec train",
        "config": config.to_dict(),
        **({"shape": changes} if changes else {}),
        **started,
        "hours": round(recordings.hours, 3),
        "minutes": round(trainer.elapsed_s / 60, 1),
        "held_out": losses,
        "codebook_perplexity": [round(p, 1) for p in trainer.trainee.quantizer.perplexities()],
        **({"started_from": origin.training} if origin is not None and origin.training else {}),
    }


def _write_codec(request: CodecTrainRequest, trainee: Trainee, origin: _Origin | None, facts: dict[str, Any]) -> Folder:
    """Write the codec; where codes of a model were kept, that model with the codec in it."""
    codec = trainee.codec
    record = {"family": trainee.family, "name": codec.name, "config": codec.config.to_dict()}
    tensors, texts, model = {CODEC_TENSORS: compact_codec(codec)}, {}, None
    if origin is not None and request.config.keep_codes:
        record["sha256"] = origin.codes_sha256
        tensors[CODEC_TENSORS] |= _as_stored(trainee, origin.carrier)
        model = origin.folder if origin.folder is not None and origin.folder.kind == "model" else None

    if model is not None:
        tensors[MODEL_TENSORS] = load_tensors(model, MODEL_TENSORS)
        texts[CARD] = _card(codec.name, str(request.init), model)
    return write_folder(
        request.output,
        FolderFacts(
            kind="codec" if model is None else "model",
            name=codec.name,
            model=None if model is None else model.model,
            codec=record,
            training=facts if model is None else {**model.training, "codec": facts, "licence": facts["licence"]},
        ),
        tensors=tensors,
        texts=texts,
        force=request.force,
    )


def _make_trainee(request: CodecTrainRequest) -> Trainee:
    """The codec to train, on its device: a copy of `init`, or a new one of the shape that was asked for.

    Raises:
        ModelError: there is no `init`, or none that can be trained.
        UsageError: `init` is what the output would overwrite, or the options do not fit the family.
    """
    codec = _starting_codec(request)
    name = request.name or request.output.name
    if isinstance(codec, SpectralCodec):
        if request.config.adversarial_from is not None:
            raise UsageError(
                "--adversarial-from: a spectral codec has no waveform to judge; it is for --family encodec"
            )
        codec.name = name
        return SpectralTrainee(codec, request.config, trained=request.init is not None)

    if request.changes != SpectralChanges():
        raise UsageError(
            "--frame-rate, --codebooks, --level-seconds and --steady-frames are for spectral codecs; leave them out"
        )
    assert isinstance(codec, EncodecCodec), codec
    if codec.channels != 1:
        raise ModelError(
            f"--init {request.init}: encodes {codec.channels} channels, and training takes one; name another codec"
        )
    own = dataclasses.replace(codec.config, name=name, stored_codebooks=0)
    return EncodecTrainee(EncodecCodec(codec.network, own), request.config)


def _starting_codec(request: CodecTrainRequest) -> Codec:
    """The codec as training begins with it."""
    device = pick_codec_device(request.config.device, request.on_event)
    init, output = request.init, request.output
    if init is not None:
        codec = load_codec(init, device, request.cache)
        if init not in KNOWN_CODECS and output.exists() and output.samefile(resolve(init, request.cache).path):
            raise UsageError(f"-o {output}: is the codec to start from, which is never overwritten; choose another one")
        return _reshape(codec, request.changes) if isinstance(codec, SpectralCodec) else codec
    if isinstance(request.shape, EncodecConfig):
        return EncodecCodec.untrained(request.shape, seed=request.config.seed).to(device)
    return SpectralCodec(request.changes.apply(request.shape or NEW_SPECTRAL, from_nothing=True)).to(device)


def _reshape(codec: SpectralCodec, changes: SpectralChanges) -> SpectralCodec:
    """A codec of the same weights, with what is asked to change of its shape."""
    other = SpectralCodec(changes.apply(codec.config, from_nothing=False)).to(codec.device)
    other.load_state_dict(codec.state_dict())
    return other


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """The codec that a training starts from, as it is found before."""

    sha256: str
    """Of its weights."""
    codes_sha256: str
    """What tells its codes from others."""
    licence: str
    """Goes on to hold for what is made of it."""
    training: dict[str, Any]
    """How it was trained, as far as that is known."""
    folder: Folder | None
    """The codec, or a model of its codes; None for a catalogued codec."""
    carrier: Folder | None
    """The folder that has its weights; None for a catalogued codec."""


def _find_origin(init: str, cache: Path | None) -> _Origin:
    """What is known of a codec, or of a model's.

    Raises:
        ModelError: a file of it is damaged, also one that is not needed before the end.
    """
    sha256, codes = codec_hash(init, cache), codes_hash(init, cache)
    if init in KNOWN_CODECS:
        licence = KNOWN_CODECS[init].licence
        return _Origin(sha256=sha256, codes_sha256=codes, licence=licence, training={}, folder=None, carrier=None)
    folder = resolve(init, cache)
    carrier = codec_carrier(folder, cache)
    for needed in {folder.path: folder, carrier.path: carrier}.values():
        verify_folder(needed)
    named = None if folder.carries_codec else KNOWN_CODECS.get(str(folder.codec["name"]))
    training = codec_training(carrier)
    licence = named.licence if named is not None else str(training.get("licence") or folder.licence)
    return _Origin(
        sha256=sha256, codes_sha256=codes, licence=licence, training=training, folder=folder, carrier=carrier
    )


def _as_stored(trainee: Trainee, folder: Folder | None) -> dict[str, Tensor]:
    """What did not learn of a codec whose codes were kept, as its folder has it: to the bit."""
    if folder is None or isinstance(trainee, EncodecTrainee):  # whose tensors are not rounded for disk
        return {}
    learned = {id(parameter) for parameter in trainee.after_quantizer}
    names = {name for name, own in trainee.codec.named_parameters() if id(own) in learned}
    return {name: own for name, own in load_tensors(folder, CODEC_TENSORS).items() if name not in names}


def _card(name: str, init: str, model: Folder) -> str:
    """The card of a model that has a new codec."""
    before = model.path / CARD
    told = before.read_text(encoding="utf-8") if before.is_file() else ""
    made = f"`audiolm codec train --init {init} --keep-codes`"
    return f"# {name}\n\nMade with {made}, which taught its codec's decoder; what follows is of before.\n\n{told}"


def compact_codec(codec: SpectralCodec | EncodecCodec) -> dict[str, Tensor]:
    """The codec's tensors for disk: of a spectral one float16, but for the codebooks, whose nearest entries decide."""
    if isinstance(codec, EncodecCodec):
        return codec.state()
    state = codec.state_dict()
    return {name: t if "codebooks" in name else t.to(torch.float16) for name, t in state.items()}
