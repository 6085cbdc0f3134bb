"""`audiolm evaluate`: held-out numbers of a codec and a model. Knows nothing about commands or terminals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.codec.chunked import encode_chunked
from audiolm_cli.config import SamplingConfig
from audiolm_cli.data.files import AudioFile
from audiolm_cli.data.manifest import TokenClip, read_store
from audiolm_cli.errors import AudioInputError, DataError
from audiolm_cli.evaluation.baselines import measure_baselines
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
from audiolm_cli.evaluation.model import context_use, continuation_geometry, score_passes, score_windows
from audiolm_cli.events import Note, OnEvent, Progress, ignore
from audiolm_cli.model.decode import fill_codebooks, generate
from audiolm_cli.model.sampling import uniforms
from audiolm_cli.workflows.curves import read_history
from audiolm_cli.workflows.encoding import read_leveled
from audiolm_cli.workflows.loading import Loaded, load_model, pick_device, prepare_cpu
from audiolm_cli.workflows.recordings import measured, open_recordings
from audiolm_cli.workflows.rendering import render_span
from audiolm_cli.workflows.report_page import HEARD, Excerpt, check_page, write_page
from audiolm_cli.workflows.spans import open_span
from audiolm_cli.workflows.windows import fill_gap

CLIP_S = 10.0
"""Length of the excerpts that audio is compared on."""
SHORTEST_S = 2 * CLIP_S
"""Recordings shorter than this are left out."""
SILENT_SHARE = 0.5
"""Windows and excerpts with more silence than this are left out: silence is easy to predict."""
SILENCE_PEAK = 1e-3
"""A frame that never exceeds this is silent: -60 dB of full scale."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Held-out numbers, JSON-ready."""

    model: dict[str, str]
    """Its "name" and "sha256"."""
    recordings: int
    """Recordings measured on."""
    held_out: bool
    """Whether they are of the split "test", which no training uses."""
    clips: int
    """Excerpts compared as audio."""
    windows: int
    """Windows of codes scored."""
    scores: dict[str, Any]
    """Bits, top-1 and top-10 of the model per codebook, on the targets of continuations."""
    passes: dict[str, Any]
    """The same of the further codebooks in "passes" passes, as generating takes them."""
    baselines: list[dict[str, Any]]
    """The same of predictors without a network, on the same frames."""
    context: dict[str, float]
    """Share of windows that their own prompt makes likelier than another recording's, and the bits it saves."""
    levels: dict[str, dict[str, float]]
    """Distances from the original: codec round trip, true codebook 1 + NAR, all generated."""
    codebook_perplexity: list[float]
    """Exponentiated entropy of each codebook's use in the windows."""
    seams: dict[str, float]
    """Medians at the seam of continuations, placed by the tool and pasted without care, and of the originals there."""
    unpaired: dict[str, float]
    """Frechet distances, repetition and longest match with the training codes."""
    failed: list[str]
    """Recordings that could not be read, with the reason."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return dataclasses.asdict(self)


def evaluate(
    source: Path,
    model: str = "piano",
    *,
    tokens: Path | None = None,
    clips: int = 30,
    windows: int = 60,
    device: str = "auto",
    threads: int | None = None,
    cache: Path | None = None,
    seed: int = 0,
    report: Path | None = None,
    force: bool = False,
    on_event: OnEvent = ignore,
) -> Evaluation:
    """Measure a model and its codec on the "test" recordings under `source`; on all when none has that split.

    Args:
        source: a folder of recordings.
        model: name or path of the model.
        tokens: the token store it was trained on; its training codes fit the baselines, which are left out without it.
        clips: excerpts to compare as audio.
        windows: windows of codes to score.
        report: an HTML page to write, with the first excerpts to listen to.
        force: overwrite an existing page.

    Raises:
        DataError: there is nothing long enough.
        UsageError: the page's name is not one of an HTML file.
        OutputError: the page exists and `force` is false, or it cannot be written.
    """
    if report is not None:
        check_page(report, force)
    prepare_cpu(threads)
    loaded = load_model(model, pick_device(device), "fp32", cache)
    opened, failed = open_recordings(source, measured, on_event)
    files = [file for file in opened if file.duration_s >= SHORTEST_S]
    tests = [file for file in files if file.split == "test"]
    if not tests:
        on_event(Note(message=f"{source}: no recording has the split test, so all are taken", warning=True))
    files = tests or files
    if len(files) < 2:
        raise DataError(f"{source}: {len(files)} recordings of {SHORTEST_S:g} s or more; expected at least 2")
    held_out, excerpts = _read(files, loaded, -(-clips // len(files)), failed, on_event)
    excerpts = excerpts[:clips]
    codes, other = _windows(held_out, windows, loaded)
    scores = score_windows(loaded.model, codes)
    geometry, passes = continuation_geometry(codes.shape[1]), loaded.model.config.nar_passes
    further = score_passes(loaded.model, codes, passes) if passes > 1 else scores.further()
    train = [clip.codes for clip in read_store(tokens, "train")] if tokens is not None else []
    targets = [window[geometry.left - 1 :].numpy() for window in codes]
    baselines = measure_baselines(train, targets, loaded.codec.codebook_size) if train else []
    heard: list[Excerpt] = []
    levels, unpaired = _compare(excerpts, loaded, train, seed, on_event, heard)
    result = Evaluation(
        model={"name": loaded.folder.name, "sha256": loaded.folder.sha256},
        recordings=len(held_out),
        held_out=bool(tests),
        clips=len(excerpts),
        windows=len(codes),
        scores=scores.to_dict(),
        passes={"passes": passes, **further.to_dict()},
        baselines=[baseline.to_dict() for baseline in baselines],
        context=dataclasses.asdict(context_use(loaded.model, codes, other)),
        levels=levels,
        codebook_perplexity=_perplexities(codes, loaded.codec.codebook_size),
        seams=_seams(excerpts, loaded, seed, on_event),
        unpaired=unpaired,
        failed=failed,
    )
    if report is not None:
        history = read_history(loaded.folder.path.parent / "metrics.jsonl")
        write_page(report, result.to_dict(), heard, history, force=force)
    return result


def _read(
    files: list[AudioFile], loaded: Loaded, turns: int, failed: list[str], on_event: OnEvent
) -> tuple[list[TokenClip], list[tuple[str, Tensor]]]:
    """The codes of every recording that is not silent, and `turns` excerpts [1, 1, N] of each, one of each in turn.

    Excerpts come with a name that says where they are from. What cannot be read after all joins `failed`.
    """
    codec, samples = loaded.codec, round(CLIP_S * loaded.codec.sample_rate_hz)
    clips: list[TokenClip] = []
    excerpts: list[list[tuple[str, Tensor]]] = []
    for done, file in enumerate(files, start=1):
        try:
            wav = read_leveled(file.path, codec)
        except AudioInputError as error:
            wav = None
            failed.append(str(error))
            on_event(Note(message=str(error), warning=True))
        if wav is not None:
            audio = torch.from_numpy(wav)[None, None].to(codec.device)
            codes = encode_chunked(codec, audio)[0].cpu().numpy().astype(np.int16)
            clips.append(TokenClip(id=file.path.stem, codes=codes))
            places = range(0, len(wav) - samples + 1, samples)
            audible = [place for place in places if _is_audible(wav[place : place + samples], codec.hop_samples)]
            chosen = [(place, audio[..., place : place + samples]) for place in _spread(audible, turns)]
            excerpts.append([(f"{file.path.name} from {p / codec.sample_rate_hz:.0f} s", cut) for p, cut in chosen])
        on_event(Progress(stage="encode", done=done, total=len(files), unit="files"))
    return clips, [own[turn] for turn in range(turns) for own in excerpts if turn < len(own)]


def _windows(clips: list[TokenClip], count: int, loaded: Loaded) -> tuple[Tensor, Tensor]:
    """Windows [N, T, K] spread over the recordings, silent ones left out, and for each one of another recording.

    Raises:
        DataError: fewer than two recordings have one.
    """
    length, probe = loaded.model.config.max_frames, 64
    silence = loaded.codec.encode(torch.zeros(1, 1, probe * loaded.codec.hop_samples, device=loaded.codec.device))
    silent_code = silence[0, probe // 2, 0].item()
    found: list[list[np.ndarray]] = []
    for clip in clips:
        cut = [clip.codes[start : start + length] for start in range(0, len(clip.codes) - length + 1, length)]
        audible = [window for window in cut if np.mean(window[:, 0] == silent_code) <= SILENT_SHARE]
        if audible:
            found.append(_spread(audible, -(-count // len(clips))))
    if len(found) < 2:
        raise DataError(f"{len(found)} recordings have {length} frames that are not silent; expected at least 2")
    pairs = [
        (window, found[(own + 1) % len(found)][turn % len(found[(own + 1) % len(found)])])
        for own, windows in enumerate(found)
        for turn, window in enumerate(windows)
    ]
    chosen = np.array(_spread(pairs, count)).astype(np.int64)  # [N, 2, T, K]
    return torch.from_numpy(chosen[:, 0]), torch.from_numpy(chosen[:, 1])


def _spread(items: list[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread."""
    if len(items) <= count:
        return items
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def _is_audible(wav: np.ndarray, hop: int) -> bool:
    """Whether at most SILENT_SHARE of the frames of wav [n] are silent."""
    return float(np.mean(np.abs(wav).reshape(-1, hop).max(axis=1) < SILENCE_PEAK)) <= SILENT_SHARE


def _compare(
    excerpts: list[tuple[str, Tensor]],
    loaded: Loaded,
    train: list[np.ndarray],
    seed: int,
    on_event: OnEvent,
    heard: list[Excerpt],
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """The three levels over the second part of every excerpt, and unpaired figures of what was generated.

    The first few excerpts are added to `heard`.
    """
    codec, model = loaded.codec, loaded.model
    measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "mel": mel_distance,
        "spectral": spectral_distance,
        "chroma": chroma_correlation,
    }
    sums: dict[str, dict[str, list[float]]] = {}
    generated_codes: list[np.ndarray] = []
    audio: dict[str, list[Tensor]] = {"original": [], "round_trip": [], "generated": []}
    for index, (place, wav) in enumerate(excerpts):
        codes = codec.encode(wav)
        geometry = continuation_geometry(codes.shape[1])
        context, target = geometry.split(codes)
        generator = torch.Generator().manual_seed(seed + index)
        noise = uniforms([generator], (codes.shape[2] - 1) * geometry.gap).view(1, -1, geometry.gap)
        versions = {
            "round_trip": target,
            "first_codebook": fill_codebooks(model, context, target, geometry, SamplingConfig(), noise),
            "generated": generate(
                model, context, geometry, SamplingConfig(), [torch.Generator().manual_seed(seed + index)]
            ),
        }
        start = geometry.left * codec.hop_samples
        whole_versions, distances = {"original": wav[0, 0].cpu().numpy()}, {}
        for name, version in versions.items():
            decoded = codec.decode(geometry.join(context, version))[..., : wav.shape[-1]]
            if name == "round_trip":
                whole = {key: measure(wav[0, 0], decoded[0, 0]).item() for key, measure in measures.items()}
                _add(sums, "round_trip_whole", whole)
            pair = wav[0, 0, start:].cpu(), decoded[0, 0, start:].cpu()
            whole_versions[name] = decoded[0, 0].cpu().numpy()
            distances[name] = {key: measure(*pair).item() for key, measure in measures.items()}
            _add(sums, name, distances[name])
            if name in audio:
                audio[name].append(pair[1])
        audio["original"].append(wav[0, 0, start:].cpu())
        generated_codes.append(versions["generated"][0].cpu().numpy())
        if len(heard) < HEARD:
            rate = codec.sample_rate_hz
            seam_s = start / rate
            heard.append(
                Excerpt(name=place, versions=whole_versions, distances=distances, sample_rate_hz=rate, seam_s=seam_s)
            )
        on_event(Progress(stage="compare", done=index + 1, total=len(excerpts), unit="clips"))
    features = {name: torch.cat([fixed_features(wav) for wav in wavs]) for name, wavs in audio.items()}
    true_codes = [codec.encode(wav)[0].cpu().numpy() for _, wav in excerpts]
    unpaired = {
        "frechet_round_trip": frechet_distance(features["original"], features["round_trip"]),
        "frechet_generated": frechet_distance(features["original"], features["generated"]),
        "repetition_generated": float(np.mean([repetition_rate(codes) for codes in generated_codes])),
        "repetition_original": float(np.mean([repetition_rate(codes) for codes in true_codes])),
    }
    if train:
        unpaired["longest_match_frames"] = max(longest_match(codes, train).frames for codes in generated_codes)
        unpaired["longest_match_frames_original"] = max(longest_match(codes, train).frames for codes in true_codes)
    means = {name: {key: float(np.mean(values)) for key, values in found.items()} for name, found in sums.items()}
    return means, unpaired


def _seams(excerpts: list[tuple[str, Tensor]], loaded: Loaded, seed: int, on_event: OnEvent) -> dict[str, float]:
    """Jump and flux at the seam after 4 s of each excerpt: continued by the tool, pasted bare, and in the original."""
    codec = loaded.codec
    found: dict[str, list[float]] = {}
    for index, (_, wav) in enumerate(excerpts):
        rate, at = codec.sample_rate_hz, int(0.4 * wav.shape[-1])
        mono = wav[0].cpu().numpy()
        before, new = mono[:, :at], 2 * rate
        span = open_span(before, mono[:, :0], rate, new, 1.0, loaded.model.config.max_frames // 2, codec)
        generator = torch.Generator().manual_seed(seed + index)
        codes = fill_gap(
            loaded.model, span.left.codes, span.right.codes, span.gap_frames, SamplingConfig(), [generator]
        )
        bare = codec.decode(codes)[0].cpu().numpy()[:, :new]
        versions = {"placed": render_span(span, codes, codec), "bare": bare, "original": mono[:, at : at + new]}
        for name, after in versions.items():
            whole = torch.from_numpy(np.concatenate([before, after], axis=1)[0])
            found.setdefault(f"{name}_jump", []).append(seam_jump(whole, at, rate).item())
            found.setdefault(f"{name}_flux_z", []).append(spectral_flux_z(whole, at, rate).item())
        on_event(Progress(stage="seams", done=index + 1, total=len(excerpts), unit="clips"))
    return {name: float(np.median(values)) for name, values in found.items()}


def _add(sums: dict[str, dict[str, list[float]]], name: str, values: dict[str, float]) -> None:
    for key, value in values.items():
        sums.setdefault(name, {}).setdefault(key, []).append(value)


def _perplexities(codes: Tensor, codebook_size: int) -> list[float]:
    """Exponentiated entropy of each codebook's use in windows [N, T, K]."""
    found = []
    for column in codes.flatten(0, 1).numpy().T:
        shares = np.bincount(column, minlength=codebook_size) / len(column)
        shares = shares[shares > 0]
        found.append(float(np.exp(-(shares * np.log(shares)).sum())))
    return found
