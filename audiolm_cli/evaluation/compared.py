"""Excerpts as codec and model make them, beside the originals: distances, seams, distributions, harmony.

Knows nothing about files or reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.editing.dynamics import keep_dynamics
from audiolm_cli.editing.guards import Guard
from audiolm_cli.editing.rendering import render_span
from audiolm_cli.editing.spans import Surroundings, open_span
from audiolm_cli.editing.windows import GapFiller
from audiolm_cli.evaluation.excerpts import Excerpt
from audiolm_cli.evaluation.intervals import Figure, Groups
from audiolm_cli.evaluation.metrics import (
    chroma_correlation,
    longest_match,
    mel_distance,
    repetition_rate,
    seam_jump,
    spectral_distance,
    spectral_flux_z,
)
from audiolm_cli.evaluation.model import continuation_geometry
from audiolm_cli.evaluation.unpaired import SoundDistance, compare_harmony, compare_sound
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
"""Continuations of each excerpt, for the figures that need no pair."""
SEAM_SHARE, SEAM_NEW_S = 0.4, 2.0
"""Where in an excerpt the seam of `seams` lies, and how much follows it."""


@dataclass(frozen=True, kw_only=True)
class Versions:
    """One excerpt as it was, and as codec and model make it."""

    name: str
    """Where it is from."""
    recording: str
    """Which recording that is; clips of one recording have the same."""
    audio: dict[str, np.ndarray]
    """"original", of recordings "round_trip", of a model also "first_codebook" and "generated"; float32 [n]."""
    distances: dict[str, dict[str, float]]
    """"mel", "spectral" and "chroma" of each version but the original, after the seam."""
    sample_rate_hz: int
    seam_s: float | None
    """Where the prompt ends; None without a model."""

    @property
    def seam(self) -> int:
        """The first sample after the prompt; 0 without a model."""
        return round((self.seam_s or 0.0) * self.sample_rate_hz)


@dataclass(kw_only=True)
class Comparison:
    """Figures of all excerpts so far."""

    whole: list[dict[str, float]] = field(default_factory=list)
    """Distances of the round trips of whole excerpts, where these are recordings."""
    at_seams: list[dict[str, float]] = field(default_factory=list)
    """Of each excerpt "jump" and "flux_z" at the seam of continuations of a model, by version: "placed_jump", ..."""
    heard: list[Versions] = field(default_factory=list)
    codes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Codes [T, K] after the seam: "original" and "generated", of which there are TAKES per excerpt."""
    takes: list[Tensor] = field(default_factory=list)
    """Of each excerpt what all takes have after the seam, float32 [TAKES, n]."""

    @cached_property
    def groups(self) -> Groups:
        """The excerpts by recording."""
        return Groups([versions.recording for versions in self.heard])

    def levels(self) -> dict[str, dict[str, Figure]]:
        """Mean distances from the original at each level."""
        distances = {"round_trip_whole": self.whole}
        for versions in self.heard if self.codes else []:
            for name, own in versions.distances.items():
                distances.setdefault(name, []).append(own)

        return {
            name: {measure: self.groups.mean([own[measure] for own in each]) for measure in MEASURES}
            for name, each in distances.items()
            if each
        }

    def seams(self) -> dict[str, Figure] | None:
        """Medians of jump and flux at the seam: continued by the tool, pasted without care, and in the original there;
        None without a model."""
        names = self.at_seams[0] if self.at_seams else ()
        return {name: self.groups.median([own[name] for own in self.at_seams]) for name in names} or None

    def sound(self) -> SoundDistance | None:
        """How the sound of every version after the seam is distributed, beside the originals there; None of nothing."""
        if not self.heard:
            return None
        after = {"original": [_cut(own, "original") for own in self.heard]}
        if self.whole:
            after["round_trip"] = [_cut(own, "round_trip") for own in self.heard]
        if self.takes:
            after["generated"] = self.takes
        return compare_sound(after, self.groups, self.heard[0].sample_rate_hz)

    def harmony(self) -> dict[str, Figure]:
        """How well true and generated continuations keep the pitch classes of their prompts; empty without a model."""
        if not self.takes:
            return {}
        prompts = [torch.from_numpy(own.audio["original"][: own.seam]) for own in self.heard]
        after = {"original": [_cut(own, "original") for own in self.heard], "generated": self.takes}
        return compare_harmony(prompts, after, self.groups, self.heard[0].sample_rate_hz)

    def repetition(self) -> dict[str, Figure]:
        """Share of the stretches of codes that came before, in true and generated continuations."""
        rates = {name: np.array([repetition_rate(own) for own in codes]) for name, codes in self.codes.items()}
        return {name: self.groups.mean(own.reshape(len(self.heard), -1).mean(1)) for name, own in rates.items()}

    def longest_match_frames(self, train: list[np.ndarray]) -> dict[str, int]:
        """The longest run of codes that true and generated continuations share with training codes, int16 [T, K]."""
        return {
            name: max(longest_match(own, train).frames for own in codes)
            for name, codes in (self.codes.items() if train else ())
        }


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
            comparison.at_seams.append(_measure_seam(excerpt, codec, model, seed + index))

        comparison.heard.append(
            Versions(
                name=excerpt.name,
                recording=excerpt.recording,
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


def _measure_seam(excerpt: Excerpt, codec: Codec, model: Decoders, seed: int) -> dict[str, float]:
    """Jump and flux at the seam after 4 s of an excerpt: continued by the tool, pasted bare, and in the original."""
    rate_hz, new_samples = codec.sample_rate_hz, round(SEAM_NEW_S * codec.sample_rate_hz)
    mono, seam = excerpt.wav[0].cpu().numpy(), int(SEAM_SHARE * excerpt.wav.shape[-1])
    before = mono[:, :seam]
    surroundings = Surroundings(before=before, after=mono[:, :0], rate_hz=rate_hz)
    span = open_span(surroundings, new_samples, model.config.max_frames // 2, codec)

    left, right = span.left.codes, span.right.codes
    filler = _filler(model, codec, left, right)
    codes = filler.fill(left, right, span.gap_frames, [torch.Generator().manual_seed(seed)])  # [1, M, K]

    figures: dict[str, float] = {}
    versions = {
        "placed": render_span(span, codes),
        "bare": codec.decode(codes)[0].cpu().numpy()[:, :new_samples],
        "original": mono[:, seam : seam + new_samples],
    }
    for name, after in versions.items():
        whole = torch.from_numpy(np.concatenate([before, after], axis=1)[0])
        figures[f"{name}_jump"] = seam_jump(whole, seam, rate_hz).item()
        figures[f"{name}_flux_z"] = spectral_flux_z(whole, seam, rate_hz).item()
    return figures


def _filler(model: Decoders, codec: Codec, left: Tensor, right: Tensor) -> GapFiller:
    """What fills a gap between codes [1, L, K] and [1, R, K] as `audiolm continue` does by default."""
    return GapFiller(
        model=keep_dynamics(model, codec, left, right),
        sampling=SamplingConfig(),
        judge=Guard(codec, left, right).find_fault,
    )


def _generate_levels(model: Decoders, codec: Codec, codes: Tensor, geometry: Geometry, seed: int) -> dict[str, Tensor]:
    """What follows the prompt: with its true first codebook, codes [1, M, K], and all as by `audiolm continue`, codes
    [TAKES, M, K]."""
    context, target = geometry.split(codes)
    noise = draw_uniforms([torch.Generator().manual_seed(seed)], codes.shape[2] * geometry.gap)
    noise = noise.view(1, -1, geometry.gap)  # [1, K, M]
    first_codebook = fill_codebooks(model, context, target, geometry, SamplingConfig(), noise)

    nothing = context[:, :0]
    generators = [torch.Generator().manual_seed(seed + 1000 * take) for take in range(TAKES)]
    filler = _filler(model, codec, context, nothing)
    generated = filler.fill(context, nothing, geometry.gap, generators)
    return {"first_codebook": first_codebook, "generated": generated}


def _add_continuations(
    comparison: Comparison, wav: Tensor, codec: Codec, geometry: Geometry, codes: Tensor, levels: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Take note of what was generated after the prompt of an excerpt, and return it as audio, in the prompt's colour.

    Args:
        comparison: where codes and takes are added.
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
    codec = codec.matched([(context, wav[..., :seam])])
    takes = [codec.decode(geometry.join(context, new))[..., :length] for new in levels["generated"].split(1)]
    first_codebook = codec.decode(geometry.join(context, levels["first_codebook"]))[..., :length]

    comparison.takes.append(torch.cat([own[0, :, seam:].cpu() for own in takes]))  # [TAKES, n]
    for name, new in (("original", target), ("generated", levels["generated"])):
        comparison.codes.setdefault(name, []).extend(new.cpu().numpy())
    return {"first_codebook": first_codebook, "generated": takes[0]}


def _cut(versions: Versions, name: str) -> Tensor:
    """What a version has after the seam, float32 [n]."""
    return torch.from_numpy(versions.audio[name][versions.seam :])


def _measure_distances(original: Tensor, made: Tensor) -> dict[str, float]:
    return {name: measure(original, made).item() for name, measure in MEASURES.items()}
