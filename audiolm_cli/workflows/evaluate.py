"""`audiolm evaluate`: held-out numbers of a codec, or of a model with its codec.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from audiolm_cli.checkpoints.catalogue import KNOWN_CODECS, resolve
from audiolm_cli.codec.base import Codec
from audiolm_cli.data.manifest import read_store
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.devices import pick_device, prepare_cpu
from audiolm_cli.editing.embedding import check_page
from audiolm_cli.editing.familiarity import is_strange, knows_only_pianos
from audiolm_cli.errors import UsageError
from audiolm_cli.evaluation.baselines import measure_baselines
from audiolm_cli.evaluation.choosing import Training
from audiolm_cli.evaluation.compared import Comparison, compare
from audiolm_cli.evaluation.consistency import measure_consistency
from audiolm_cli.evaluation.excerpts import Windows, codebook_perplexities, draw_windows
from audiolm_cli.evaluation.intervals import Figure
from audiolm_cli.evaluation.model import ModelScores, context_use, continuation_geometry, mean_scores, score_windows
from audiolm_cli.evaluation.sample import Sample, holds_codes, read_codes, read_recordings
from audiolm_cli.events import Activity, Note, OnEvent, ignore
from audiolm_cli.library.loading import codec_hash, codes_hash, load_codec, load_model
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.reports.page import write_page
from audiolm_cli.reports.past import PastTraining, find_tokens, read_past_training

CONSISTENCY_CLIPS = 8
"""Excerpts whose codes are compared with those of their disturbed forms: each is encoded eleven times."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Held-out numbers, JSON-ready; of a codec alone, those of a model are None."""

    model: dict[str, str]
    """Its "kind", "model" or "codec", its "name" and the "sha256" of its weights."""
    recordings: int
    """Recordings measured on."""
    measured: str
    """Which recordings these are, and why."""
    held_out: bool
    """Whether the model was trained on none of them, as far as is known."""
    clips: int
    """Excerpts compared as audio."""
    windows: int | None
    """Windows of codes scored."""
    scores: dict[str, Any] | None
    """Bits, top-1 and top-10 of the model per codebook, on the targets of continuations."""
    one_pass: dict[str, Any] | None
    """The same with one NAR pass per codebook; None where the model takes no more."""
    baselines: list[dict[str, Any]]
    """The same of predictors without a network, on the same frames."""
    context: dict[str, float] | None
    """Share of windows that their own prompt makes likelier than another recording's, and the bits it saves; None of
    a single recording."""
    no_piano: int | None
    """Excerpts that do not sound like a piano, where the model is the bundled one and knows only these; else None."""
    levels: dict[str, dict[str, Any]]
    """Mean distances from the original: codec round trip, true codebook 1, all generated. Each has its "value",
    and "low" and "high", the ends of its interval of 95 %, for which recordings are drawn again with replacement; both
    are None where there is only one recording."""
    codebook_size: int
    """Codes of each codebook."""
    codebook_perplexity: list[float]
    """Exponentiated entropy of each codebook's use in the recordings."""
    consistency: dict[str, list[float]]
    """Share of the codes of each codebook that stay when nothing that is heard changes, by the change; empty where
    there were codes to measure on, and no recordings."""
    seams: dict[str, Any] | None
    """Medians at the seam of continuations, placed by the tool and pasted without care, and of the originals there;
    with intervals, as those below."""
    sound: dict[str, Any] | None
    """How far the sound of round trips and continuations is from what truly follows, as distributions: "figures" are
    maximum mean discrepancies, and of "original", that of two halves of the originals. They rest on so many
    "recordings" and "rows" of each version; with too few recordings there are none. None of no excerpts."""
    harmony: dict[str, Any]
    """Correlation of the pitch classes of what follows with those of the prompt: "original", "generated", and, as a
    floor, "another" recording's; empty without a model."""
    repetition: dict[str, Any]
    """Share of the stretches of 8 frames that came before, in true and generated continuations."""
    longest_match_frames: dict[str, int]
    """Frames in a row of true and generated continuations that are also in the training codes; empty without these."""
    failed: list[str]
    """Recordings that could not be read, with the reason."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return dataclasses.asdict(self)


def evaluate(
    source: Path,
    model: str = "piano",
    *,
    split: str | None = None,
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
    """Measure a model and its codec on the recordings under `source` that the model was not trained on.

    Args:
        source: a recording or a folder of them, a token store, or a manifest of one.
        model: name or path of the model, or of a codec.
        split: "all" recordings, or those of "train", "dev" or "test"; None is what the training left out.
        tokens: the token store it was trained on, which says what it knows, and fits the baselines; None is that of
            its run folder, where it lies in one. Baselines are left out without it.
        clips: excerpts to compare as audio.
        windows: windows of codes to score.
        report: an HTML page to write, with the first excerpts to listen to.
        force: overwrite an existing page.

    Raises:
        DataError: there is nothing long enough, or nothing of the split.
        ModelError: the codes under `source` are of another codec.
        UsageError: the page's name is not one of an HTML file, or a codec alone is measured on codes.
        OutputError: the page exists and `force` is false, or it cannot be written.
    """
    if report is not None:
        check_page(report, force, "--report")
    prepare_cpu(threads)
    on_event(Activity(stage="load the model"))
    subject = _load_subject(model, device, cache)
    training = Training(name=subject.name, tokens=tokens or subject.tokens)
    if not holds_codes(source):
        sample = read_recordings(source, subject.codec, training, split, clips, on_event)
    elif subject.model is None:
        raise UsageError(f"{source}: codes say nothing about how a codec sounds; measure it on recordings")
    else:
        sample = read_codes(source, subject.codec, subject.codes_sha256, training, split, clips, on_event)
    on_event(Note(message=f"measuring {sample.choice.reason}", warning=not sample.choice.held_out))
    known = read_store(training.tokens, "train", on_event) if training.tokens is not None else []
    train = [clip.codes for clip in known]

    result, compared = _measure(subject, sample, train, windows, seed, on_event)
    if report is not None:
        write_page(report, result.to_dict(), compared.heard, subject.past, force=force)
    return result


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What is measured."""

    name: str
    sha256: str
    codes_sha256: str
    """Hash that identifies the codec's codes."""
    codec: Codec
    model: Decoders | None
    only_pianos: bool = False
    """Whether the model is the one that knows only pianos."""
    past: PastTraining | None = None
    """How its training went, where its run folder is still there."""
    tokens: Path | None = None
    """The token store it was trained on, where its run folder says it."""


def _load_subject(name_or_path: str, device: str, cache: Path | None) -> _Subject:
    """A model with its codec, or a codec alone."""
    where = pick_device(device)
    if name_or_path in KNOWN_CODECS or resolve(name_or_path, cache).kind == "codec":
        codec = load_codec(name_or_path, where, cache)
        sha256 = codec_hash(name_or_path, cache)
        return _Subject(
            name=codec.name, sha256=sha256, codes_sha256=codes_hash(name_or_path, cache), codec=codec, model=None
        )

    loaded = load_model(name_or_path, where, "fp32", cache)
    run = loaded.folder.path.parent
    return _Subject(
        name=loaded.folder.name,
        sha256=loaded.folder.sha256,
        codes_sha256=codes_hash(name_or_path, cache),
        codec=loaded.codec,
        model=loaded.model,
        only_pianos=knows_only_pianos(loaded),
        past=read_past_training(run),
        tokens=find_tokens(run),
    )


def _count_strange(subject: _Subject, recorded: list[Tensor]) -> int | None:
    """Excerpts [1, N] that do not sound like a piano; None where the model is not said to know only these."""
    if subject.model is None or not subject.only_pianos:
        return None
    return sum(is_strange(subject.model, subject.codec, wav[None]) for wav in recorded)


def _measure(
    subject: _Subject, sample: Sample, train: list[np.ndarray], windows: int, seed: int, on_event: OnEvent
) -> tuple[Evaluation, Comparison]:
    """All numbers, and the excerpts as codec and model make them.

    Args:
        subject: what is measured.
        sample: on what.
        train: codes that the model was trained on, int16 [T, K] each; may be empty.
        windows: how many windows of codes are scored.
        seed: what random numbers come from.
        on_event: gets the progress.
    """
    scored: dict[str, Any] = dict.fromkeys(("windows", "scores", "one_pass", "context")) | {"baselines": []}
    if subject.model is not None:
        on_event(Activity(stage="score codes"))
        scored = _score(subject.model, subject.codec, sample.codes, windows, train)
    compared = compare(sample.excerpts, subject.codec, subject.model, seed, on_event)
    recorded = [excerpt.wav[0] for excerpt in sample.excerpts if excerpt.codes is None]
    consistency = measure_consistency(subject.codec, recorded[:CONSISTENCY_CLIPS], seed, on_event)
    seams, sound = compared.seams(), compared.sound()

    evaluation = Evaluation(
        model={"kind": "codec" if subject.model is None else "model", "name": subject.name, "sha256": subject.sha256},
        recordings=len(sample.codes),
        measured=sample.choice.reason,
        held_out=sample.choice.held_out,
        clips=len(sample.excerpts),
        no_piano=_count_strange(subject, recorded),
        levels={name: _spell_out(own) for name, own in compared.levels().items()},
        codebook_size=subject.codec.codebook_size,
        codebook_perplexity=codebook_perplexities(sample.codes, subject.codec.codebook_size),
        consistency=consistency,
        seams=seams and _spell_out(seams),
        sound=None if sound is None else {**vars(sound), "figures": _spell_out(sound.figures)},
        harmony=_spell_out(compared.harmony()),
        repetition=_spell_out(compared.repetition()),
        longest_match_frames=compared.longest_match_frames(train),
        failed=sample.failed,
        **scored,
    )
    return evaluation, compared


def _spell_out(figures: Mapping[str, Figure]) -> dict[str, dict[str, float | None]]:
    """Figures by name, each as a mapping."""
    return {name: own._asdict() for name, own in figures.items()}


def _score(
    model: Decoders, codec: Codec, held_out: list[TokenClip], count: int, train: list[np.ndarray]
) -> dict[str, Any]:
    """What the model makes of windows of codes, beside predictors without a network."""
    drawn = draw_windows(held_out, count, model.config.max_frames, codec)
    passes = model.config.nar_passes
    scores, one_pass = _score_all(model, drawn, passes), _score_all(model, drawn, 1) if passes > 1 else None

    # The baselines see the frame before the first target, and are scored from there on.
    targets = [
        window[max(0, continuation_geometry(len(window)).left - 1) :].numpy()
        for windows in drawn
        for window in windows.codes
    ]
    baselines = measure_baselines(train, targets, codec.codebook_size) if train else []

    pairs = [(windows.codes, windows.others) for windows in drawn if windows.others is not None]
    return {
        "windows": sum(len(windows.codes) for windows in drawn),
        "scores": {"nar_passes": passes, **scores.to_dict()},
        "one_pass": one_pass and one_pass.to_dict(),
        "baselines": [baseline.to_dict() for baseline in baselines],
        "context": dataclasses.asdict(context_use(model, pairs)) if pairs else None,
    }


def _score_all(model: Decoders, drawn: list[Windows], passes: int) -> ModelScores:
    """Scores over windows of several lengths."""
    return mean_scores(
        [
            (
                score_windows(model, windows.codes, passes=passes),
                len(windows.codes) * continuation_geometry(windows.codes.shape[1]).gap,
            )
            for windows in drawn
        ]
    )
