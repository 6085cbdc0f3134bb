"""`audiolm evaluate`: held-out numbers of a codec, or of a model with its codec.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiolm_cli.audio import DecoderProcess
from audiolm_cli.checkpoints.catalogue import KNOWN_CODECS, resolve
from audiolm_cli.codec.base import Codec
from audiolm_cli.data.manifest import TokenClip, read_store
from audiolm_cli.devices import pick_device, prepare_cpu
from audiolm_cli.editing.embedding import check_page
from audiolm_cli.errors import DataError
from audiolm_cli.evaluation import excerpts
from audiolm_cli.evaluation.baselines import measure_baselines
from audiolm_cli.evaluation.compared import Comparison, compare, measure_seams
from audiolm_cli.evaluation.excerpts import Excerpt, codebook_perplexities, draw_windows, read_held_out
from audiolm_cli.evaluation.model import context_use, continuation_geometry, score_windows
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.library.loading import codec_hash, load_codec, load_model
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.reports.curves import read_history
from audiolm_cli.reports.page import write_page
from audiolm_cli.tokenizing.recordings import open_recordings, scanning_opener
from audiolm_cli.wording import counted, listed


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Held-out numbers, JSON-ready; of a codec alone, those of a model are None."""

    model: dict[str, str]
    """Its "kind", "model" or "codec", its "name" and the "sha256" of its weights."""
    recordings: int
    """Recordings measured on."""
    held_out: bool
    """Whether they are of the split "test", which no training uses."""
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
    """Share of windows that their own prompt makes likelier than another recording's, and the bits it saves."""
    levels: dict[str, dict[str, float]]
    """Distances from the original: codec round trip, true codebook 1 + NAR, all generated."""
    codebook_perplexity: list[float]
    """Exponentiated entropy of each codebook's use in the recordings."""
    seams: dict[str, float] | None
    """Medians at the seam of continuations, placed by the tool and pasted without care, and of the originals there."""
    unpaired: dict[str, float]
    """Frechet distances to what truly follows, repetition, share of excerpts that go on in the prompt's key, and
    longest match with the training codes."""
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
        model: name or path of the model, or of a codec.
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
        check_page(report, force, "--report")
    prepare_cpu(threads)
    subject = _load_subject(model, device, cache)
    sample = _read_sample(source, subject.codec, clips, on_event)
    train = [clip.codes for clip in read_store(tokens, "train", on_event)] if tokens is not None else []

    result, compared = _measure(subject, sample, train, windows, seed, on_event)
    if report is not None:
        write_page(report, result.to_dict(), compared.heard, read_history(subject.history), force=force)
    return result


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """What is measured on."""

    codes: list[TokenClip]
    """Codes of the recordings."""
    excerpts: list[Excerpt]
    """Stretches that are compared as audio."""
    held_out: bool
    """Whether the recordings are of the split "test"."""
    failed: list[str]
    """Recordings that could not be read, with the reason."""


def _read_sample(source: Path, codec: Codec, clips: int, on_event: OnEvent) -> _Sample:
    """The "test" recordings under `source`, all where none has that split.

    Raises:
        DataError: there are less than two that are long enough.
    """
    with DecoderProcess() as decoder:
        opened, failed = open_recordings(source, scanning_opener(decoder), decoder, on_event)
        files = [file for file in opened if file.duration_s >= excerpts.SHORTEST_S]
        if short := [str(file.path) for file in opened if file.duration_s < excerpts.SHORTEST_S]:
            on_event(Note(message=f"left out, shorter than {excerpts.SHORTEST_S:g} s: {listed(short)}"))

        tests = [file for file in files if file.split == "test"]
        if not tests:
            on_event(
                Note(
                    message=f"{source}: no recording belongs to the test split, so all recordings are measured",
                    warning=True,
                )
            )
        files = tests or files
        if len(files) < 2:
            raise DataError(
                f"{source}: {counted(len(files), 'recording')} of {excerpts.SHORTEST_S:g} s or more; "
                "expected at least 2"
            )

        codes, chosen = read_held_out(files, codec, decoder, clips, failed, on_event)
    return _Sample(codes=codes, excerpts=chosen, held_out=bool(tests), failed=failed)


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What is measured."""

    name: str
    sha256: str
    codec: Codec
    model: Decoders | None
    history: Path
    """The metrics of its training, if they are still there."""


def _load_subject(name_or_path: str, device: str, cache: Path | None) -> _Subject:
    """A model with its codec, or a codec alone."""
    where = pick_device(device)
    if name_or_path in KNOWN_CODECS or resolve(name_or_path, cache).kind == "codec":
        codec = load_codec(name_or_path, where, cache)
        sha256 = codec_hash(name_or_path, cache)
        return _Subject(name=codec.name, sha256=sha256, codec=codec, model=None, history=Path(name_or_path, "none"))

    loaded = load_model(name_or_path, where, "fp32", cache)
    return _Subject(
        name=loaded.folder.name,
        sha256=loaded.folder.sha256,
        codec=loaded.codec,
        model=loaded.model,
        history=loaded.folder.path.parent / "metrics.jsonl",
    )


def _measure(
    subject: _Subject, sample: _Sample, train: list[np.ndarray], windows: int, seed: int, on_event: OnEvent
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
    scored: dict[str, Any] = dict.fromkeys(("windows", "scores", "one_pass", "context", "seams")) | {"baselines": []}
    if subject.model is not None:
        scored = _score(subject.model, subject.codec, sample.codes, windows, train)
        scored["seams"] = measure_seams(sample.excerpts, subject.codec, subject.model, seed, on_event)
    compared = compare(sample.excerpts, subject.codec, subject.model, seed, on_event)

    evaluation = Evaluation(
        model={"kind": "codec" if subject.model is None else "model", "name": subject.name, "sha256": subject.sha256},
        recordings=len(sample.codes),
        held_out=sample.held_out,
        clips=len(sample.excerpts),
        levels=compared.levels(),
        codebook_perplexity=codebook_perplexities(sample.codes, subject.codec.codebook_size),
        unpaired=compared.unpaired(train, seed),
        failed=sample.failed,
        **scored,
    )
    return evaluation, compared


def _score(
    model: Decoders, codec: Codec, held_out: list[TokenClip], count: int, train: list[np.ndarray]
) -> dict[str, Any]:
    """What the model makes of windows of codes, beside predictors without a network."""
    codes, other = draw_windows(held_out, count, model.config.max_frames, codec)  # [N, T, K] each
    passes = model.config.nar_passes
    scores, one_pass = score_windows(model, codes), score_windows(model, codes, passes=1) if passes > 1 else None

    # The baselines see the frame before the first target, and are scored from there on.
    first = continuation_geometry(codes.shape[1]).left - 1
    targets = [window[first:].numpy() for window in codes]
    baselines = measure_baselines(train, targets, codec.codebook_size) if train else []

    return {
        "windows": len(codes),
        "scores": {"nar_passes": passes, **scores.to_dict()},
        "one_pass": one_pass and one_pass.to_dict(),
        "baselines": [baseline.to_dict() for baseline in baselines],
        "context": dataclasses.asdict(context_use(model, codes, other)),
    }
