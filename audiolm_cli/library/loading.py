"""Models and codecs by name or path, ready to use on a device. Knows nothing about what they are used for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from audiolm_cli.checkpoints.catalogue import (
    KNOWN_CODECS,
    cache_dir,
    codec_by_hash,
    find_checkpoint,
    folder_codes_hash,
    known_hash,
    resolve,
    resolve_model,
)
from audiolm_cli.checkpoints.fields import UNKNOWN
from audiolm_cli.checkpoints.folder import CODEC_TENSORS, MODEL_TENSORS, Folder, load_tensors
from audiolm_cli.checkpoints.header import check_amount, read_shapes
from audiolm_cli.codec import spectral
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.encodec_shape import read_codec_shape
from audiolm_cli.codec.spectral import SpectralCodec, SpectralNetwork
from audiolm_cli.config.shapes import ModelConfig, SpectralConfig
from audiolm_cli.cores import one_thread
from audiolm_cli.data.manifest import CodecFacts
from audiolm_cli.devices import codec_device, pick_device
from audiolm_cli.errors import ModelError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.model import decoders
from audiolm_cli.model.decoders import Decoders, build
from audiolm_cli.model.quantize import check_dtype, multiplies_bf16, multiplies_int8, use_dtype

if TYPE_CHECKING:
    pass

NARROW_FROM_BYTES = 8e6
"""Bytes of one decoder's layers in float32 from which "auto" is int8 on a CPU: smaller models are quick in any form."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model with its codec."""

    model: Decoders
    """In eval mode, on its device."""
    codec: Codec
    """In float32, on the same device, or on the CPU beside a GPU of Apple."""
    folder: Folder
    """Where the model came from."""
    dtype: str
    """"fp32", "bf16" or "int8"; not what was asked for where a kernel for that is missing."""


def load_model(name_or_path: str, device: torch.device, dtype: str = "auto", cache: Path | None = None) -> Loaded:
    """The model and its codec.

    Args:
        name_or_path: a bundled or cached model's name, or a model folder.
        device: where to put them.
        dtype: of weights and products; "int8" has the layers of the AR decoder in int8. "auto" is int8 on a CPU that
            multiplies it, bf16 on a GPU that does, and fp32 elsewhere and for very small models on a CPU.
        cache: the checkpoint cache; None is the user's.

    Raises:
        ModelError: there is no such model, or it is damaged.
        UsageError: the dtype does not work on the device.
    """
    folder = resolve_model(name_or_path, cache)
    assert folder.model is not None, "a model has a shape"

    # The network is built without storage: the weights that are loaded become its own.
    # Several threads make none of it faster, but for what `use_dtype` gives to several.
    shape = ModelConfig.from_dict(folder.model)
    with one_thread():
        _check_amount(folder, MODEL_TENSORS, decoders.least_weights(shape))
        with torch.device("meta"), _WithoutFirstWeights():
            model = build(shape)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        weights = load_tensors(folder, MODEL_TENSORS, expected)
        model.load_state_dict(weights, assign=True)
        codec = codec_of(folder, device, cache)

    chosen = _pick_dtype(dtype, device, shape)
    chosen = use_dtype(model.to(device).eval().requires_grad_(False), chosen)
    return Loaded(model=model, codec=codec, folder=folder, dtype=chosen)


def load_codec(name_or_path: str, device: torch.device | None = None, cache: Path | None = None) -> Codec:
    """A codec by the name or path of its folder, of a model that carries it, or of a known checkpoint.

    It is on `device` (None is the CPU), or on the CPU in place of a GPU of Apple.

    Raises:
        ModelError: there is no such codec, or it is damaged.
    """
    device = codec_device(device or torch.device("cpu"))
    if name_or_path in KNOWN_CODECS:
        return _load_known_codec(name_or_path, device, cache)
    return codec_of(resolve(name_or_path, cache), device, cache)


def pick_codec_device(name: str, on_event: OnEvent = ignore) -> torch.device:
    """The device on which a codec computes where `--device name` was asked for; that it is another one is said.

    Raises:
        UsageError: it is not on this machine.
    """
    asked = pick_device(name)
    if codec_device(asked) != asked:
        on_event(Note(message=f"--device {name} is for models; the codec computes on the CPU"))
    return codec_device(asked)


def codec_of(folder: Folder, device: torch.device, cache: Path | None = None) -> Codec:
    """The codec that a model or codec folder carries or names.

    One that is named and has no published file is found by its codes: it is bundled, or in the cache.

    Raises:
        ModelError: it is not here, or damaged.
    """
    device, folder = codec_device(device), codec_carrier(folder, cache)
    if not folder.carries_codec:
        return _load_known_codec(str(folder.codec["name"]), device, cache)
    if folder.codec["family"] == "spectral":
        return _load_spectral(folder, device)

    from audiolm_cli.codec.encodec import EncodecCodec, EncodecConfig

    config = EncodecConfig.from_dict(folder.codec["config"])
    return EncodecCodec.from_state(load_tensors(folder, CODEC_TENSORS), config).to(device)


def codec_carrier(folder: Folder, cache: Path | None = None) -> Folder:
    """The folder that has the codec of a model or codec folder: itself, or the one that it names.

    One that names a codec of the catalogue is given back as it is.

    Raises:
        ModelError: the codec is not here.
    """
    if folder.carries_codec or folder.codec["family"] not in (UNKNOWN, "spectral"):
        return folder
    known = codec_by_hash(str(folder.codec.get("sha256", "")), cache)
    if known is None:
        raise ModelError(
            f"{folder.path}: was trained on codes of the codec {folder.codec['name']}, which is not here; "
            f"place its folder in the cache ({cache_dir(cache)}), or train again and name it with --codec"
        )
    return known


def _load_spectral(folder: Folder, device: torch.device) -> Codec:
    """The spectral codec that a folder carries."""
    shape = SpectralConfig.from_dict(folder.codec["config"])
    _check_amount(folder, CODEC_TENSORS, spectral.least_weights(shape))
    with torch.device("meta"), _WithoutFirstWeights():
        outline = SpectralNetwork(shape)
    expected = {f"network.{name}": tuple(tensor.shape) for name, tensor in outline.state_dict().items()}
    weights = load_tensors(folder, CODEC_TENSORS, expected)

    codec = SpectralCodec(shape, name=folder.codec["name"])
    codec.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return codec.to(device).eval().requires_grad_(False)


def codec_hash(name_or_path: str, cache: Path | None = None) -> str:
    """SHA-256 of the weights of a codec, or of a model's codec; empty where a model does not know that of its codec."""
    if name_or_path in KNOWN_CODECS:
        return known_hash(name_or_path, cache_dir(cache)) or _hash_known_file(name_or_path, cache)
    folder = resolve(name_or_path, cache)
    return folder.files[CODEC_TENSORS].sha256 if folder.carries_codec else str(folder.codec.get("sha256", ""))


def codes_hash(name_or_path: str, cache: Path | None = None) -> str:
    """The hash that identifies a codec's codes: `codec_hash`, unchanged by decoder-only training.

    Codes with the same hash mean the same sounds. Models and token stores with the same hash go together.
    """
    if name_or_path in KNOWN_CODECS:
        return codec_hash(name_or_path, cache)
    return folder_codes_hash(resolve(name_or_path, cache))


def codec_training(folder: Folder) -> dict[str, Any]:
    """How the codec that a folder carries was trained, as far as it says."""
    return dict(folder.training if folder.kind == "codec" else folder.training.get("codec", {}))


def codec_shape(folder: Folder) -> tuple[int, int]:
    """(sample rate in Hz, samples per frame) of the codec that a folder carries or names."""
    if folder.codec["family"] == UNKNOWN:
        values = folder.codec["config"]
        return int(values["sample_rate_hz"]), int(values["hop_samples"])

    config = read_codec_shape(folder.codec, folder.carries_codec)
    return config.sample_rate_hz, config.hop_samples


def codec_books(folder: Folder) -> tuple[int, int]:
    """(codebooks, codes per codebook) of the codec that a folder carries or names, which must be of a known family."""
    config = read_codec_shape(folder.codec, folder.carries_codec)
    return config.codes_per_frame, config.codebook_size


def known_books(name: str) -> tuple[int, int]:
    """(codebooks, codes per codebook) of a codec of the catalogue.

    Raises:
        ModelError: its codes cannot be used.
    """
    from audiolm_cli.codec.encodec_shape import PUBLISHED

    _check_fit(name)
    return PUBLISHED[name].num_codebooks, PUBLISHED[name].codebook_size


def _check_fit(name: str) -> None:
    """Refuse a codec of the catalogue whose codes cannot be used.

    Raises:
        ModelError: it is one.
    """
    if KNOWN_CODECS[name].unfit:
        raise ModelError(f"codec {name} cannot be used here: {KNOWN_CODECS[name].unfit}")


def codec_facts(name_or_path: str, codec: Codec, cache: Path | None = None) -> CodecFacts:
    """What codes of this codec, loaded by this name, mean; for a token store."""
    is_path = name_or_path not in KNOWN_CODECS and Path(name_or_path).is_dir()
    return CodecFacts(
        name=codec.name,
        source=str(Path(name_or_path).resolve()) if is_path else name_or_path,
        sha256=codes_hash(name_or_path, cache),
        sample_rate_hz=codec.sample_rate_hz,
        hop_samples=codec.hop_samples,
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
    )


def _hash_known_file(name: str, cache: Path | None) -> str:
    """The hash of a known codec of which only a part is published: that of its file, which must be here."""
    find_checkpoint(name, cache_dir(cache))
    return known_hash(name, cache_dir(cache))


def _load_known_codec(name: str, device: torch.device, cache: Path | None) -> Codec:
    """A codec of the catalogue, from its file in the cache."""
    from audiolm_cli.codec.encodec import EncodecCodec
    from audiolm_cli.codec.encodec_shape import PUBLISHED

    if name in KNOWN_CODECS:
        _check_fit(name)
    return EncodecCodec.load(find_checkpoint(name, cache_dir(cache)), PUBLISHED.get(name)).to(device)


class _WithoutFirstWeights(TorchFunctionMode):
    """While it is entered, modules do not draw first weights.

    What takes their place is loaded; and without storage, drawing them would import all of torch.compile, a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _check_amount(folder: Folder, filename: str, least: tuple[int, int]) -> None:
    """Refuse a file that cannot hold the tensors and numbers that its configuration describes.

    Raises:
        ModelError: the folder has no such file, its header is damaged, or it is too small.
    """
    if filename not in folder.files:
        raise ModelError(f"{folder.path} has no {filename}")
    path = folder.path / filename
    check_amount(path, read_shapes(path), tensors=least[0], numbers=least[1])


def _pick_dtype(dtype: str, device: torch.device, shape: ModelConfig) -> str:
    if dtype == "auto" and device.type == "cpu":
        weights = 4 * 12 * shape.num_layers * shape.d_model**2  # bytes of one decoder's layers in float32
        return "int8" if multiplies_int8() and weights >= NARROW_FROM_BYTES else "fp32"
    if dtype == "auto":
        return "bf16" if multiplies_bf16(device) else "fp32"
    check_dtype(dtype, device)
    return dtype
