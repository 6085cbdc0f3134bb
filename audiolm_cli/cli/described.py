"""What `models info` says of a checkpoint to a person: few lines, in words. Knows nothing about how facts are found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audiolm_cli.config.shapes import ModelConfig, SpectralConfig
from audiolm_cli.wording import counted, length_of

if TYPE_CHECKING:
    from audiolm_cli.codec.encodec_shape import EncodecConfig


def describe_checkpoint(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines about a checkpoint, each with a word for what it is about; what is not known has no line."""
    if "url" in facts:
        return [row for row in _describe_known(facts) if row[1]]

    files = sum(file["bytes"] for file in facts["files"].values())
    rows = [("name", facts["name"]), ("kind", _describe_kind(facts)), ("size", f"{files / 1e6:.1f} MB")]
    if facts["model"] is not None:
        rows += _describe_model(ModelConfig.from_dict(facts["model"]), _frame_rate_hz(facts))
    rows.append(("codec", _describe_codec(facts)))
    rows += _describe_training(facts["training"], facts["name"])
    rows += [("licence", facts["licence"] or "not stated"), ("folder", str(facts["path"])), ("sha256", facts["sha256"])]
    return [row for row in rows if row[1]]


def _describe_known(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """A codec that others publish."""
    here = facts["path"] is not None
    size = "" if facts["bytes"] is None else f"{facts['bytes'] / 1e6:.1f} MB"
    return [
        ("name", facts["name"]),
        ("kind", f"codec ({facts['family']}), {'here' if here else 'not here'}"),
        ("get it", "" if here or facts["unfit"] else f"audiolm models pull {facts['name']}"),
        ("not usable", facts["unfit"]),
        ("size", size),
        ("licence", facts["licence"]),
        ("file", str(facts["path"] or facts["filename"])),
        ("from", facts["url"]),
        ("sha256", facts["sha256"]),
    ]


def _describe_kind(facts: dict[str, Any]) -> str:
    if facts["model"] is None:
        return "codec"
    return "model, with its codec" if facts["carries_codec"] else f"model, for the codec {facts['codec']['name']}"


def _describe_model(shape: ModelConfig, rate_hz: float | None) -> Iterator[tuple[str, str]]:
    decoders = "two decoders" if shape.has_nar else "an AR decoder"
    layers = f"{decoders} of {counted(shape.num_layers, 'layer')}, {shape.d_model} wide, {shape.nhead} heads"
    yield "network", layers
    window = f"{shape.max_frames} frames" + (f" ({shape.max_frames / rate_hz:.1f} s)" if rate_hz else "")
    yield "window", f"{window} of context and new audio; attention within the context: {shape.context_attention}"
    N = shape.ar_codebooks
    own = "codebook 1" if N == 1 else f"codebooks 1 to {N}"
    hears_all = shape.context_codebooks == "all" or shape.num_quantizers == N
    heard = "all codebooks" if hears_all else f"{own} alone"
    makes = f"makes {own}; " if N > 1 else ""
    holding = ", with a term for holding the code before" if shape.ar_holding else ""
    yield "AR decoder", f"{makes}hears {heard} of the context{holding}"
    books = f"{counted(shape.num_quantizers, 'codebook')} of {shape.codebook_size} codes"
    fine = f", the fine ones made in {shape.nar_passes} pass{'es' * (shape.nar_passes > 1)}" if shape.has_nar else ""
    yield "codes", f"{books}{fine}"
    if shape.prompt_from != ModelConfig.prompt_from:
        yield "prompts", f"from {shape.prompt_from}"
    yield "styles", ", ".join(shape.styles)


def _describe_codec(facts: dict[str, Any]) -> str:
    """Name, family, rates and the bits of its codes."""
    codec, shape, rate_hz = facts["codec"], _read_shape(facts), _frame_rate_hz(facts)
    sample_rate_hz = codec["config"].get("sample_rate_hz") if shape is None else shape.sample_rate_hz
    parts = [f"{codec['name']} ({codec['family']})"]
    if sample_rate_hz:
        parts.append(f"{sample_rate_hz / 1000:g} kHz")
    if rate_hz:
        parts.append(f"{rate_hz:g} frames a second")
    if rate_hz and shape is not None:
        parts.append(f"{rate_hz * shape.codes_per_frame * math.log2(shape.codebook_size) / 1000:.1f} kbit/s")
    return ", ".join(parts)


def _frame_rate_hz(facts: dict[str, Any]) -> float | None:
    """Frames per second of the codec; of one of an unknown family, where the folder says it."""
    shape, config = _read_shape(facts), facts["codec"]["config"]
    if shape is not None:
        return shape.frame_rate_hz
    known = config.get("sample_rate_hz") and config.get("hop_samples")
    return config["sample_rate_hz"] / config["hop_samples"] if known else None


def _read_shape(facts: dict[str, Any]) -> SpectralConfig | EncodecConfig | None:
    """The shape of the codec; None of one of an unknown family."""
    from audiolm_cli.checkpoints.fields import UNKNOWN
    from audiolm_cli.codec.encodec_shape import read_codec_shape

    codec = facts["codec"]
    return None if codec["family"] == UNKNOWN else read_codec_shape(codec, facts["carries_codec"])


def _describe_training(training: dict[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """What a checkpoint was trained on, for how long, from where, and how well it does; anything may be missing.

    Args:
        training: of the checkpoint; those before it are inside, each in the next one.
        name: of the checkpoint.
    """
    hours = training.get("hours")
    audio = [f"on {f'{hours:.1f} h' if hours >= 1 else f'{60 * hours:.0f} min'} of audio"] if hours else []
    earlier = []
    before = training.get("started_from")
    while isinstance(before, dict) and before:
        earlier.append(before)
        before = before.get("started_from")
    yield "last trained" if earlier else "trained", ", ".join([*audio, *_describe_work([training])])
    if earlier:
        yield "before that", ", ".join([counted(len(earlier), "training"), *_describe_work(earlier)])

    # A recipe calls by one word in capitals what the command before wrote; and a name may have passed on.
    init = str(training.get("init") or "")
    yield "started from", "" if init == name or (init.isalpha() and init.isupper()) else init
    held_out = training.get("held_out") or {}
    if "bits" in held_out:
        each = " + ".join(f"{bits:.1f}" for bits in held_out["bits"])
        yield "held out", f"{sum(held_out['bits']):.1f} bits per frame ({each})"


def _describe_work(trainings: list[dict[str, Any]]) -> list[str]:
    """Steps up to the weights and time of computing of all together, as far as they say."""
    from audiolm_cli.reports.card import count_steps

    steps, planned = (sum(each) for each in zip(*map(count_steps, trainings), strict=True))
    done = f"{steps} of {planned} planned steps" if len(trainings) == 1 and steps < planned else f"{steps} steps"
    minutes = sum(training.get("minutes") or 0 for training in trainings)
    return [done] * (planned > 0) + [f"{length_of(60 * minutes)} of computing"] * (minutes > 0)
