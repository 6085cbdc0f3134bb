"""Excerpts as codec and model make them, beside the originals: distances, seams, keys, distributions.

Knows nothing about files or reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.editing.guards import Guard
from audiolm_cli.editing.rendering import render_span
from audiolm_cli.editing.spans import open_span
from audiolm_cli.editing.windows import fill_gap
from audiolm_cli.evaluation.excerpts import Excerpt
from audiolm_cli.evaluation.key import key_of
from audiolm_cli.evaluation.metrics import (
    chroma_correlation,
    fixed_features,
    frechet_distance,
    longest_match,
    mel_distance,
    repetition_rate,
    seam_jump,
    spectral_distance,
    spectral_flux_z,
)
from audiolm_cli.evaluation.model import continuation_geometry
from audiolm_cli.events import OnEvent, Progress
from audiolm_cli.model.decode import fill_codebooks
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.sampling import draw_uniforms

MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mel": mel_distance,
    "spectral": spectral_distance,
    "chroma": chroma_correlation,
}
TAKES = 4
"""Continuations of each excerpt. The distance of their distribution is that of one set of takes, averaged over these:
with 20 excerpts one set has half the distance of another."""
REPEATED_S = 3.0
"""A continuation without a model: this much before the seam, over and over."""
SHUFFLED_S = 0.5
"""Another: what truly follows, in pieces of this length out of order."""
SEAM_SHARE, SEAM_NEW_S = 0.4, 2.0
"""Where in an excerpt the seam of `seams` lies, and how much follows it."""


@dataclass(frozen=True, kw_only=True)
class Versions:
    """One excerpt as it was, and as codec and model make it."""

    name: str
    """Where it is from."""
    audio: dict[str, np.ndarray]
    """"original" and "round_trip", of a model also "first_codebook" and "generated"; float32 [n]."""
    distances: dict[str, dict[str, float]]
    """"mel", "spectral" and "chroma" of each version but the original, after the seam."""
    sample_rate_hz: int
    seam_s: float | None
    """Where the prompt ends; None without a model."""


@dataclass(kw_only=True)
class Comparison:
    """Figures of all excerpts so far."""

    whole: list[dict[str, float]] = field(default_factory=list)
    """Distances of the round trips of whole excerpts."""
    heard: list[Versions] = field(default_factory=list)
    codes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Codes [T, K] after the seam: "original" and "generated", of which there are TAKES per excerpt."""
    others: list[list[Tensor]] = field(default_factory=list)
    """Of each excerpt what the takes but the first made, float32 [n] each."""
    keys: list[tuple[int, int, int]] = field(default_factory=list)
    """Keys of prompt, true continuation and generated one."""

    def levels(self) -> dict[str, dict[str, float]]:
        """Mean distances from the original at each level."""
        found = {"round_trip_whole": self.whole}
        for one in self.heard if self.codes else []:
            for name, distances in one.distances.items():
                found.setdefault(name, []).append(distances)
        return {
            name: {key: float(np.mean([row[key] for row in rows])) for key in MEASURES} for name, rows in found.items()
        }

    def unpaired(self, train: list[np.ndarray], seed: int) -> dict[str, float]:
        """Frechet distances to what truly follows, repetition, keys, and the longest match with training codes."""
        after: dict[str, list[Tensor]] = {}
        for one in self.heard:
            start = round((one.seam_s or 0.0) * one.sample_rate_hz)
            for name, wav in one.audio.items():
                after.setdefault(name, []).append(torch.from_numpy(wav[start:]))
            if one.seam_s is not None:
                for name, wav in _without_a_model(one.audio["original"], start, one.sample_rate_hz, seed).items():
                    after.setdefault(name, []).append(torch.from_numpy(wav))
        features = {name: torch.cat([fixed_features(wav) for wav in wavs]) for name, wavs in after.items()}
        compared = [name for name in features if name not in ("original", "first_codebook")]
        found = {f"frechet_{name}": frechet_distance(features["original"], features[name]) for name in compared}
        if self.others:
            sets = [torch.cat([fixed_features(wav) for wav in take]) for take in zip(*self.others, strict=True)]
            each = [found["frechet_generated"], *(frechet_distance(features["original"], made) for made in sets)]
            found |= {"frechet_generated": float(np.mean(each)), "frechet_generated_deviation": float(np.std(each))}
        for name, codes in self.codes.items():
            found[f"repetition_{name}"] = float(np.mean([repetition_rate(own) for own in codes]))
        if self.keys:
            prompts, truly, generated = np.array(self.keys).T
            found["key_agreement_original"] = float(np.mean(prompts == truly))
            found["key_agreement_generated"] = float(np.mean(prompts == generated))
        for name, codes in self.codes.items() if train else ():
            found[f"longest_match_frames_{name}"] = max(longest_match(own, train).frames for own in codes)
        return found


def compare(excerpts: list[Excerpt], codec: Codec, model: Decoders | None, seed: int, on_event: OnEvent) -> Comparison:
    """Every excerpt through the codec, and with a model its second part made anew at three levels."""
    found = Comparison()
    for index, excerpt in enumerate(excerpts):
        wav = excerpt.wav
        codes = codec.encode(wav)
        decoded = {"round_trip": codec.decode(codes)[..., : wav.shape[-1]]}
        found.whole.append(_distances(wav[0, 0], decoded["round_trip"][0, 0]))
        seam = 0
        if model is not None:
            geometry = continuation_geometry(codes.shape[1])
            seam = geometry.left * codec.hop_samples
            made = _made(model, codec, codes, geometry, seed + index)
            context, target = geometry.split(codes)
            first, *others = made["generated"].split(1)
            decoded |= {
                name: codec.decode(geometry.join(context, new))[..., : wav.shape[-1]]
                for name, new in (("first_codebook", made["first_codebook"]), ("generated", first))
            }
            found.others.append(
                [codec.decode(geometry.join(context, new))[0, 0, seam : wav.shape[-1]].cpu() for new in others]
            )
            for name, new in (("original", target), ("generated", made["generated"])):
                found.codes.setdefault(name, []).extend(new.cpu().numpy())
            parts = wav[0, 0, :seam], wav[0, 0, seam:], decoded["generated"][0, 0, seam:]
            prompt, truly, generated = (int(key_of(part, codec.sample_rate_hz)) for part in parts)
            found.keys.append((prompt, truly, generated))
        found.heard.append(
            Versions(
                name=excerpt.name,
                audio={name: w[0, 0].cpu().numpy() for name, w in {"original": wav, **decoded}.items()},
                distances={name: _distances(wav[0, 0, seam:], w[0, 0, seam:]) for name, w in decoded.items()},
                sample_rate_hz=codec.sample_rate_hz,
                seam_s=None if model is None else seam / codec.sample_rate_hz,
            )
        )
        on_event(Progress(stage="compare", done=index + 1, total=len(excerpts), unit="clips"))
    return found


def seams(excerpts: list[Excerpt], codec: Codec, model: Decoders, seed: int, on_event: OnEvent) -> dict[str, float]:
    """Jump and flux at the seam after 4 s of each excerpt: continued by the tool, pasted bare, and in the original."""
    found: dict[str, list[float]] = {}
    for index, excerpt in enumerate(excerpts):
        rate, at = codec.sample_rate_hz, int(SEAM_SHARE * excerpt.wav.shape[-1])
        mono, new = excerpt.wav[0].cpu().numpy(), round(SEAM_NEW_S * codec.sample_rate_hz)
        before = mono[:, :at]
        span = open_span(before, mono[:, :0], rate, new, 1.0, model.config.max_frames // 2, codec)
        generator = torch.Generator().manual_seed(seed + index)
        left, right = span.left.codes, span.right.codes
        judge = Guard(codec, left, right).fault
        codes = fill_gap(model, left, right, span.gap_frames, SamplingConfig(), [generator], judge=judge)
        bare = codec.decode(codes)[0].cpu().numpy()[:, :new]
        versions = {"placed": render_span(span, codes, codec), "bare": bare, "original": mono[:, at : at + new]}
        for name, after in versions.items():
            whole = torch.from_numpy(np.concatenate([before, after], axis=1)[0])
            found.setdefault(f"{name}_jump", []).append(seam_jump(whole, at, rate).item())
            found.setdefault(f"{name}_flux_z", []).append(spectral_flux_z(whole, at, rate).item())
        on_event(Progress(stage="seams", done=index + 1, total=len(excerpts), unit="clips"))
    return {name: float(np.median(values)) for name, values in found.items()}


def _made(model: Decoders, codec: Codec, codes: Tensor, geometry: Geometry, seed: int) -> dict[str, Tensor]:
    """What follows the prompt: with its true first codebook, codes [1, M, K], and all as by `audiolm continue`, codes
    [TAKES, M, K]."""
    context, target = geometry.split(codes)
    noise = draw_uniforms([torch.Generator().manual_seed(seed)], codes.shape[2] * geometry.gap)
    noise = noise.view(1, -1, geometry.gap)
    generators, nothing = [torch.Generator().manual_seed(seed + 1000 * i) for i in range(TAKES)], context[:, :0]
    judge = Guard(codec, context, nothing).fault
    return {
        "first_codebook": fill_codebooks(model, context, target, geometry, SamplingConfig(), noise),
        "generated": fill_gap(model, context, nothing, geometry.gap, SamplingConfig(), generators, judge=judge),
    }


def _without_a_model(wav: np.ndarray, seam: int, sample_rate_hz: int, seed: int) -> dict[str, np.ndarray]:
    """What a computer can put after the seam of wav [n] without a model: the last seconds again, or a shuffle."""
    last, new = wav[max(0, seam - round(REPEATED_S * sample_rate_hz)) : seam], len(wav) - seam
    piece = min(new, round(SHUFFLED_S * sample_rate_hz))
    pieces = wav[seam : seam + new // piece * piece].reshape(-1, piece)
    shuffled = np.random.default_rng(seed).permutation(pieces).reshape(-1)
    return {"repeated": np.resize(last, new), "shuffled": shuffled}


def _distances(original: Tensor, made: Tensor) -> dict[str, float]:
    return {name: measure(original, made).item() for name, measure in MEASURES.items()}
