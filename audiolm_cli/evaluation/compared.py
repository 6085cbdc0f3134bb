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
from audiolm_cli.editing.spans import Surroundings, open_span
from audiolm_cli.editing.windows import GapFiller
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
"""Continuations of each excerpt. Each makes one set over all excerpts; the distance of their distribution is the mean
over the sets, because a single set of few excerpts says little."""
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
    """"original", of recordings "round_trip", of a model also "first_codebook" and "generated"; float32 [n]."""
    distances: dict[str, dict[str, float]]
    """"mel", "spectral" and "chroma" of each version but the original, after the seam."""
    sample_rate_hz: int
    seam_s: float | None
    """Where the prompt ends; None without a model."""


@dataclass(kw_only=True)
class Comparison:
    """Figures of all excerpts so far."""

    whole: list[dict[str, float]] = field(default_factory=list)
    """Distances of the round trips of whole excerpts, where these are recordings."""
    heard: list[Versions] = field(default_factory=list)
    codes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Codes [T, K] after the seam: "original" and "generated", of which there are TAKES per excerpt."""
    others: list[list[Tensor]] = field(default_factory=list)
    """Of each excerpt what the takes but the first made, float32 [n] each."""
    keys: list[tuple[int, int, int]] = field(default_factory=list)
    """Keys of prompt, true continuation and generated one."""

    def levels(self) -> dict[str, dict[str, float]]:
        """Mean distances from the original at each level."""
        distances = {"round_trip_whole": self.whole}
        for versions in self.heard if self.codes else []:
            for name, own in versions.distances.items():
                distances.setdefault(name, []).append(own)

        return {
            name: {measure: float(np.mean([own[measure] for own in each])) for measure in MEASURES}
            for name, each in distances.items()
            if each
        }

    def unpaired(self, train: list[np.ndarray], seed: int) -> dict[str, float]:
        """Frechet distances to what truly follows, repetition, keys, and the longest match with training codes."""
        figures = self._frechet_distances(seed)
        for name, codes in self.codes.items():
            figures[f"repetition_{name}"] = float(np.mean([repetition_rate(own) for own in codes]))

        if self.keys:
            prompts, truly, generated = np.array(self.keys).T  # [excerpts] each
            figures["key_agreement_original"] = float(np.mean(prompts == truly))
            figures["key_agreement_generated"] = float(np.mean(prompts == generated))

        for name, codes in self.codes.items() if train else ():
            figures[f"longest_match_frames_{name}"] = max(longest_match(own, train).frames for own in codes)
        return figures

    def _frechet_distances(self, seed: int) -> dict[str, float]:
        """Frechet distance of every version after the seam to the originals there."""
        after: dict[str, list[Tensor]] = {}
        for versions in self.heard:
            start = round((versions.seam_s or 0.0) * versions.sample_rate_hz)
            for name, wav in versions.audio.items():
                after.setdefault(name, []).append(torch.from_numpy(wav[start:]))
            if versions.seam_s is not None:
                original = versions.audio["original"]
                for name, wav in _continue_without_model(original, start, versions.sample_rate_hz, seed).items():
                    after.setdefault(name, []).append(torch.from_numpy(wav))

        features = {name: torch.cat([fixed_features(wav) for wav in wavs]) for name, wavs in after.items()}
        compared = [name for name in features if name not in ("original", "first_codebook")]
        figures = {f"frechet_{name}": frechet_distance(features["original"], features[name]) for name in compared}
        if self.others:  # a set holds one take of every excerpt; the figure is the mean over the sets
            sets = [torch.cat([fixed_features(wav) for wav in take]) for take in zip(*self.others, strict=True)]
            each = [figures["frechet_generated"], *(frechet_distance(features["original"], made) for made in sets)]
            figures |= {"frechet_generated": float(np.mean(each)), "frechet_generated_deviation": float(np.std(each))}
        return figures


def compare(excerpts: list[Excerpt], codec: Codec, model: Decoders | None, seed: int, on_event: OnEvent) -> Comparison:
    """Every excerpt through the codec, and with a model its second part made anew at three levels."""
    comparison = Comparison()
    for index, excerpt in enumerate(excerpts):
        wav = excerpt.wav
        codes = codec.encode(wav) if excerpt.codes is None else excerpt.codes  # [1, T, K]
        decoded: dict[str, Tensor] = {}
        if excerpt.codes is None:  # audio that was decoded from codes has no round trip
            decoded["round_trip"] = codec.decode(codes)[..., : wav.shape[-1]]
            comparison.whole.append(_measure_distances(wav[0, 0], decoded["round_trip"][0, 0]))

        seam = 0
        if model is not None:
            geometry = continuation_geometry(codes.shape[1])
            seam = geometry.left * codec.hop_samples
            levels = _generate_levels(model, codec, codes, geometry, seed + index)
            decoded |= _add_continuations(comparison, wav, codec, geometry, codes, levels)

        comparison.heard.append(
            Versions(
                name=excerpt.name,
                audio={name: own[0, 0].cpu().numpy() for name, own in {"original": wav, **decoded}.items()},
                distances={
                    name: _measure_distances(wav[0, 0, seam:], own[0, 0, seam:]) for name, own in decoded.items()
                },
                sample_rate_hz=codec.sample_rate_hz,
                seam_s=None if model is None else seam / codec.sample_rate_hz,
            )
        )
        on_event(Progress(stage="compare", done=index + 1, total=len(excerpts), unit="clips"))
    return comparison


def measure_seams(
    excerpts: list[Excerpt], codec: Codec, model: Decoders, seed: int, on_event: OnEvent
) -> dict[str, float]:
    """Jump and flux at the seam after 4 s of each excerpt: continued by the tool, pasted bare, and in the original."""
    figures: dict[str, list[float]] = {}
    rate_hz, new_samples = codec.sample_rate_hz, round(SEAM_NEW_S * codec.sample_rate_hz)
    for index, excerpt in enumerate(excerpts):
        mono, seam = excerpt.wav[0].cpu().numpy(), int(SEAM_SHARE * excerpt.wav.shape[-1])
        before = mono[:, :seam]
        surroundings = Surroundings(before=before, after=mono[:, :0], rate_hz=rate_hz)
        span = open_span(surroundings, new_samples, model.config.max_frames // 2, codec)

        left, right = span.left.codes, span.right.codes
        filler = GapFiller(model=model, sampling=SamplingConfig(), judge=Guard(codec, left, right).find_fault)
        codes = filler.fill(left, right, span.gap_frames, [torch.Generator().manual_seed(seed + index)])  # [1, M, K]

        versions = {
            "placed": render_span(span, codes, codec),
            "bare": codec.decode(codes)[0].cpu().numpy()[:, :new_samples],
            "original": mono[:, seam : seam + new_samples],
        }
        for name, after in versions.items():
            whole = torch.from_numpy(np.concatenate([before, after], axis=1)[0])
            figures.setdefault(f"{name}_jump", []).append(seam_jump(whole, seam, rate_hz).item())
            figures.setdefault(f"{name}_flux_z", []).append(spectral_flux_z(whole, seam, rate_hz).item())
        on_event(Progress(stage="seams", done=index + 1, total=len(excerpts), unit="clips"))
    return {name: float(np.median(values)) for name, values in figures.items()}


def _generate_levels(model: Decoders, codec: Codec, codes: Tensor, geometry: Geometry, seed: int) -> dict[str, Tensor]:
    """What follows the prompt: with its true first codebook, codes [1, M, K], and all as by `audiolm continue`, codes
    [TAKES, M, K]."""
    context, target = geometry.split(codes)
    noise = draw_uniforms([torch.Generator().manual_seed(seed)], codes.shape[2] * geometry.gap)
    noise = noise.view(1, -1, geometry.gap)  # [1, K, M]
    first_codebook = fill_codebooks(model, context, target, geometry, SamplingConfig(), noise)

    nothing = context[:, :0]
    generators = [torch.Generator().manual_seed(seed + 1000 * take) for take in range(TAKES)]
    filler = GapFiller(model=model, sampling=SamplingConfig(), judge=Guard(codec, context, nothing).find_fault)
    generated = filler.fill(context, nothing, geometry.gap, generators)
    return {"first_codebook": first_codebook, "generated": generated}


def _add_continuations(
    comparison: Comparison, wav: Tensor, codec: Codec, geometry: Geometry, codes: Tensor, levels: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Take note of what was generated after the prompt of an excerpt, and return it as audio.

    Args:
        comparison: where codes, keys and the takes but the first are added.
        wav: the excerpt, float32 [1, 1, N].
        codec: what decodes.
        geometry: prompt and target of the excerpt.
        codes: those of the excerpt, [1, T, K].
        levels: what `_generate_levels` made of them.

    Returns:
        The excerpt with each level after its prompt, float32 [1, 1, N]; of the takes, the first.
    """
    context, target = geometry.split(codes)
    seam, length = geometry.left * codec.hop_samples, wav.shape[-1]
    first, *others = levels["generated"].split(1)
    decoded = {
        name: codec.decode(geometry.join(context, new))[..., :length]
        for name, new in (("first_codebook", levels["first_codebook"]), ("generated", first))
    }
    comparison.others.append([codec.decode(geometry.join(context, new))[0, 0, seam:length].cpu() for new in others])
    for name, new in (("original", target), ("generated", levels["generated"])):
        comparison.codes.setdefault(name, []).extend(new.cpu().numpy())

    parts = wav[0, 0, :seam], wav[0, 0, seam:], decoded["generated"][0, 0, seam:]
    prompt, truly, generated = (int(key_of(part, codec.sample_rate_hz)) for part in parts)
    comparison.keys.append((prompt, truly, generated))
    return decoded


def _continue_without_model(wav: np.ndarray, seam: int, sample_rate_hz: int, seed: int) -> dict[str, np.ndarray]:
    """What a computer can put after the seam of wav [n] without a model: the last seconds again, or a shuffle."""
    last, new = wav[max(0, seam - round(REPEATED_S * sample_rate_hz)) : seam], len(wav) - seam
    piece = min(new, round(SHUFFLED_S * sample_rate_hz))
    pieces = wav[seam : seam + new // piece * piece].reshape(-1, piece)
    shuffled = np.random.default_rng(seed).permutation(pieces).reshape(-1)
    return {"repeated": np.resize(last, new), "shuffled": shuffled}


def _measure_distances(original: Tensor, made: Tensor) -> dict[str, float]:
    return {name: measure(original, made).item() for name, measure in MEASURES.items()}
