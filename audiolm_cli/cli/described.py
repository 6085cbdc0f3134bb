"""What `models info` says of a checkpoint to a person: few lines, in words. Knows nothing about how facts are found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from audiolm_cli.cli.live import duration
from audiolm_cli.config.shapes import ModelConfig, SpectralConfig
from audiolm_cli.wording import counted


def describe_checkpoint(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines about a checkpoint, each with a word for what it is about; what is not known has no line."""
    if "url" in facts:
        return [row for row in _describe_known(facts) if row[1]]

    files = sum(file["bytes"] for file in facts["files"].values())
    rows = [("name", facts["name"]), ("kind", _describe_kind(facts)), ("size", f"{files / 1e6:.1f} MB")]
    if facts["model"] is not None:
        rows += _describe_model(ModelConfig.from_dict(facts["model"]), facts["codec"])
    rows.append(("codec", _describe_codec(facts["codec"])))
    rows += _describe_training(facts["training"])
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


def _describe_model(shape: ModelConfig, codec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    layers = f"two decoders of {counted(shape.num_layers, 'layer')}, {shape.d_model} wide, {shape.nhead} heads"
    yield "network", layers
    rate_hz = _frame_rate_hz(codec)
    window = f"{shape.max_frames} frames" + (f" ({shape.max_frames / rate_hz:.1f} s)" if rate_hz else "")
    yield "window", f"{window} of context and new audio; attention within the context: {shape.context_attention}"
    books = f"{counted(shape.num_quantizers, 'codebook')} of {shape.codebook_size} codes"
    yield "codes", f"{books}, the fine ones made in {shape.nar_passes} pass{'es' * (shape.nar_passes > 1)}"
    if shape.prompt_from != ModelConfig.prompt_from:
        yield "prompts", f"from {shape.prompt_from}"
    yield "styles", ", ".join(shape.styles)


def _describe_codec(codec: dict[str, Any]) -> str:
    """Name, family, rates and the bits of its codes."""
    config, rate_hz, parts = codec["config"], _frame_rate_hz(codec), [f"{codec['name']} ({codec['family']})"]
    if "sample_rate_hz" in config:
        parts.append(f"{config['sample_rate_hz'] / 1000:g} kHz")
    if rate_hz:
        parts.append(f"{rate_hz:g} frames a second")
    books = config.get("num_codebooks")
    if rate_hz and books:
        books += codec["family"] == "spectral" and SpectralConfig.from_dict(config).level_s > 0
        parts.append(f"{rate_hz * books * math.log2(config['codebook_size']) / 1000:.1f} kbit/s")
    return ", ".join(parts)


def _frame_rate_hz(codec: dict[str, Any]) -> float | None:
    """Frames per second, where the codec's shape says it."""
    config = codec["config"]
    hop = config.get("hop_samples") or math.prod(config.get("ratios", [0]))
    return config["sample_rate_hz"] / hop if hop and "sample_rate_hz" in config else None


def _describe_training(training: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a checkpoint was trained on, for how long, from where, and how well it does; anything may be missing."""
    hours, minutes, steps = training.get("hours"), training.get("minutes"), training.get("config", {}).get("steps")
    parts = []
    if hours:
        parts.append(f"on {f'{hours:.1f} h' if hours >= 1 else f'{60 * hours:.0f} min'} of audio")
    if steps:
        parts.append(f"{steps} steps")
    if minutes:
        parts.append(f"{duration(60 * minutes)} of computing")
    yield "trained", ", ".join(parts)
    yield "started from", str(training.get("init") or "")
    held_out = training.get("held_out") or {}
    if "bits" in held_out:
        each = " + ".join(f"{bits:.1f}" for bits in held_out["bits"])
        yield "held out", f"{sum(held_out['bits']):.1f} bits per frame ({each})"
