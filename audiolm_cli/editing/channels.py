"""Takes of recordings with several channels: from their mid signal, or each channel by itself.

Knows nothing about files or commands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from audiolm_cli.audio import Recording
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.result import Stopwatch
from audiolm_cli.editing.splicing import Gap, Piece, Repeated, Take
from audiolm_cli.editing.takes import make_takes, take_seeds
from audiolm_cli.errors import UsageError
from audiolm_cli.events import OnEvent
from audiolm_cli.library.loading import Loaded

MakeTakes = Callable[
    [Loaded, Recording, list[Gap], GenerateConfig, SamplingConfig, OnEvent, Stopwatch],
    list[Take],
]


def generate_takes(
    loaded: Loaded,
    recording: Recording,
    gaps: list[Gap],
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    watch: Stopwatch,
    make: MakeTakes = make_takes,
) -> list[Take]:
    """What `make` returns, or with `channels="each"` that of every channel by itself, from the same seeds.

    Channels that are equal stay equal, and a silent one stays silent. Candidates are ranked by the mean of their
    channels.

    Raises:
        UsageError: the prompt is shorter than one frame, or each channel would end where it likes.
    """
    if config.channels == "mid" or recording.channels == 1:
        return make(loaded, recording, gaps, config, sampling, on_event, watch)
    if config.until_end:
        raise UsageError("with --channels each every channel would end by itself; leave out --until-end")
    (seed,) = take_seeds(config, 1)
    own = dataclasses.replace(config, takes=config.best_of or config.takes, seed=seed)
    found: dict[int, list[Take]] = {}
    for channel in [int(index) for index in np.flatnonzero(recording.samples.any(axis=0))] or [0]:
        alone = dataclasses.replace(recording, samples=recording.samples[:, channel : channel + 1])
        found[channel] = make(loaded, alone, gaps, own, sampling, on_event, watch)
    together = [
        _together([_of_seed(takes, first.seed) for takes in found.values()], list(found), recording.channels)
        for first in next(iter(found.values()))
    ]
    if config.best_of is not None:
        together.sort(key=lambda take: -(take.score or 0.0))
    return together[: config.takes]


def _of_seed(takes: list[Take], seed: int) -> Take:
    return next(take for take in takes if take.seed == seed)


def _together(takes: list[Take], channels: list[int], count: int) -> Take:
    """One take of `count` channels from takes of one channel each; the other channels are silent."""
    scores = [take.score for take in takes if take.score is not None]
    pieces = [_stack(list(own), channels, count) for own in zip(*(take.pieces for take in takes), strict=True)]
    return Take(seed=takes[0].seed, pieces=pieces, score=sum(scores) / len(scores) if scores else None)


def _stack(pieces: list[Piece], channels: list[int], count: int) -> Piece:
    """Pieces of one channel each as one piece; their blocks are equally long, as their lengths are."""

    def blocks() -> Iterator[np.ndarray]:
        for own in zip(*(piece.blocks for piece in pieces), strict=True):
            whole = np.zeros((count, own[0].shape[1]), np.float32)
            for channel, block in zip(channels, own, strict=True):
                whole[channel] = block[0]
            yield whole

    return Piece(num_samples=pieces[0].num_samples, blocks=Repeated(blocks))
