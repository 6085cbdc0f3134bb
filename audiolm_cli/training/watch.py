"""What a training leaves to see and hear beside its model: curves, TensorBoard events, samples, and a verdict.

Everything here only looks on. A training is the same, bit for bit, with and without it. Where something here fails, the
training goes on. Knows nothing about terminals.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from audiolm_cli.codec.base import Codec
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.data.tokens import Corpus
from audiolm_cli.evaluation.baselines import BaselineResult, bigram, unigram
from audiolm_cli.evaluation.model import continuation_geometry, score_windows
from audiolm_cli.events import Activity, Event, Note, TrainStep, Validation
from audiolm_cli.files import write_whole
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.reports.board import Board
from audiolm_cli.reports.curves import CURVES, History, draw_curves, headline, read_history
from audiolm_cli.reports.past import BASELINES, JOURNAL, find_tokens, read_baselines
from audiolm_cli.reports.verdict import Outcome, Verdict, judge
from audiolm_cli.training.batches import fixed_windows
from audiolm_cli.training.preflight.preparing import Prepared
from audiolm_cli.training.samples import Sample, SampleWriter
from audiolm_cli.wording import join_words

MOST_FRAMES = 3_000_000
"""Training frames that the baselines are fitted on at most: 17 hours."""
DRAW_EVERY_S = 10.0
"""Seconds between two drawings of the curves at least."""


class Watch:
    """Listens to one run: pass it every event, and the model when samples are due."""

    def __init__(self, prepared: Prepared, codec: Codec | None) -> None:
        """`codec` is None when it is not here, and then there are no samples."""
        self.run, self.listener = prepared.request.run, prepared.request.on_event
        self.shape, self.config, self.corpus = prepared.shape, prepared.config, prepared.corpus
        origin = prepared.request.origin
        self.started_from = origin.name if origin is not None else ""
        self.board = Board(self.run, self.config.log_every)
        self.writer: SampleWriter | None = None
        if codec is not None and self.config.sample_every:
            self.writer = SampleWriter(self.run, codec, self.corpus.dev, self.shape.max_frames, self.config.seed)
        self.baselines = self._find_or_measure_baselines()

        self._drawn_s, self._validated = time.monotonic(), False
        """When the curves were drawn, and whether there was a validation since then."""
        self._failed: set[str] = set()
        """What could not be made and has been warned of."""

    def on_event(self, event: Event) -> None:
        """Write down what belongs on the board and the curves, and pass the event on."""
        if isinstance(event, TrainStep):
            with self._warning_of("TensorBoard"):
                self.board.add_step(event)
        elif isinstance(event, Validation):
            with self._warning_of("TensorBoard"):
                self.board.add_validation(event.step, event.scores)
            self._validated = True
            if time.monotonic() - self._drawn_s >= DRAW_EVERY_S:
                self._draw()
        self.listener(event)

    def on_sample(self, step: int, model: Decoders) -> None:
        """Write samples of the model, which is in eval mode."""
        if self.writer is None:
            return
        samples: list[Sample] = []
        with self._warning_of("the samples"):
            samples = self.writer.write(step, model)
        if not samples:
            return

        with self._warning_of("TensorBoard"):
            for sample in samples:
                self.board.add_sound(step, sample.name, sample.wav, sample.sample_rate_hz)
        names = " and ".join(sample.name for sample in samples)
        self.listener(Note(message=f"step {step}: {names} in {samples[0].path.parent}"))

    def close(self) -> None:
        """Draw the last picture and end the event files."""
        if self._validated or not (self.run / CURVES).exists():
            self._draw()
        with self._warning_of("TensorBoard"):
            self.board.close()

    def tell_best(self) -> None:
        """Of a training that was stopped, say which weights there are so far, and how to see what they are worth."""
        history = read_history(self.run / JOURNAL)
        if history.best is None:
            self.listener(Note(message=f"no model yet: the first validation is at step {self.config.validate_every}"))
            return
        for line in describe_best(history, self.run, self.started_from):
            self.listener(Note(message=line))

    def verdict(self, model: Decoders) -> Verdict | None:
        """How good the best weights, which `model` holds, are in words; None when nothing was validated."""
        history = read_history(self.run / JOURNAL)
        if history.best is None:
            return None
        self.listener(Activity(stage="judge the best model"))
        step, scores = history.best

        # On windows that it was trained on: where these are much better, it has learned them by heart.
        windows = fixed_windows(self.corpus.train, self.shape.max_frames, self.config.validation_windows)  # [N, T, K]
        on_train = score_windows(model, torch.from_numpy(windows))
        return judge(
            Outcome(
                best=scores,
                best_step=step,
                held_out=history.held_out,
                started_from=self.started_from,
                train=on_train.to_dict(),
                baselines=self.baselines,
                codebook_size=self.shape.codebook_size,
                stage=self.config.train_stage,
            )
        )

    def _draw(self) -> None:
        with self._warning_of(CURVES):
            history = read_history(self.run / JOURNAL)
            title = headline(self.run.resolve().name, history, self.config.steps)
            draw_curves(self.run / CURVES, history, self.baselines, title, self.config.steps)
        self._drawn_s, self._validated = time.monotonic(), False

    @contextmanager
    def _warning_of(self, what: str) -> Iterator[None]:
        """Turns a failure into a warning, once for each `what`: a training is worth more than its pictures."""
        try:
            yield
        except Exception as error:
            if what not in self._failed:
                reason = str(error) or type(error).__name__
                self.listener(Note(message=f"{what} cannot be made ({reason}); training goes on", warning=True))
            self._failed.add(what)

    def _find_or_measure_baselines(self) -> list[BaselineResult]:
        """Unigram and bigram on the targets of the validation windows; those of an earlier start on the same codes."""
        path, V = self.run / BASELINES, self.shape.codebook_size
        train, targets = baseline_codes(self.corpus, self.shape, self.config.validation_windows)

        # Measuring takes a while, and a run may be started many times.
        digest = _digest(train, targets, V)
        known = read_baselines(self.run)
        if known is not None and known[0] == digest:
            return known[1]

        self.listener(Note(message="measuring what a unigram and a bigram know of these recordings"))
        self.listener(Activity(stage="measure unigram and bigram"))
        found = [baseline(train, targets, V) for baseline in (unigram, bigram)]
        text = json.dumps({"codes_sha256": digest, "baselines": [asdict(baseline) for baseline in found]}, indent=1)
        write_whole(path, text.encode(), force=True)
        return found


def describe_best(history: History, run: Path, started_from: str) -> list[str]:
    """Which weights a run has so far, how to use them, and how to measure them; there was a validation."""
    assert history.best is not None, "there was no validation"
    (step, scores), (first, untouched) = history.best, history.held_out[0]
    use = f"{join_words(['audiolm', 'continue', 'IN', '-m', str(run)])} uses these weights"
    bits = f"{scores['total_bits']:.2f} bits per frame"
    if step == 0:
        lines = [f"no step so far is better than {started_from} as it was ({bits}); {use}"]
    else:
        before = f" (untouched {untouched['total_bits']:.2f})" if first == 0 else ""
        lines = [f"best so far: step {step}, {bits}{before}; {use}"]

    tokens = find_tokens(run)
    if tokens is not None:
        lines.append(f"how good they are: {join_words(['audiolm', 'evaluate', str(tokens), '-m', str(run)])}")
    return lines


def baseline_codes(corpus: Corpus, shape: ModelConfig, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Codes [T, K] of training clips to fit baselines on, and those that validations score, to measure them on."""
    windows = fixed_windows(corpus.dev, shape.max_frames, count)  # [N, T, K]
    left = continuation_geometry(windows.shape[1]).left
    targets = [window[max(0, left - 1) :] for window in windows]  # with the frame that the first target follows

    # Of a large corpus only every second clip, or every third, and so on.
    every = math.ceil(corpus.frames / MOST_FRAMES)
    return [clip.codes for clip in corpus.train[::every]], targets


def _digest(train: Sequence[np.ndarray], targets: Sequence[np.ndarray], codebook_size: int) -> str:
    """A hash of everything that baselines depend on."""
    digest = hashlib.sha256(str(codebook_size).encode())
    for codes in (*train, *targets):
        digest.update(str(codes.shape).encode())
        digest.update(codes.astype("<i4").tobytes())
    return digest.hexdigest()
