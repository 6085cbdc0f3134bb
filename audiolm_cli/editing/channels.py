"""Takes of recordings with several channels: from their mid signal, or each channel by itself.

Knows nothing about files or commands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from audiolm_cli.audio import Recording
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.splicing import Gap, Piece, Repeated, Take
from audiolm_cli.editing.takes import MakeTakes, make_takes
from audiolm_cli.errors import UsageError


def generate_takes(session: Session, recording: Recording, gaps: list[Gap], make: MakeTakes = make_takes) -> list[Take]:
    """What `make` returns, or with `channels="each"` that of every channel by itself, from the same seeds.

    Channels that are equal stay equal, and a silent one stays silent. Candidates are ranked by the mean of their
    channels.

    Raises:
        UsageError: the prompt is shorter than one frame, or each channel would end where it likes.
    """
    config = session.config
    if config.channels == "mid" or recording.channels == 1:
        return make(session, recording, gaps)
    if config.until_end:
        raise UsageError("with --channels each every channel would end by itself; leave out --until-end")

    # Every channel makes all candidates, from the same seeds: they are ranked when they are together.
    (seed,) = session.draw_seeds(1)
    alone = dataclasses.replace(
        session, config=dataclasses.replace(config, takes=config.best_of or config.takes, seed=seed)
    )
    sounding = [int(channel) for channel in np.flatnonzero(recording.samples.any(axis=0))] or [0]
    takes_by_channel = {}
    with session.faults.telling(session.on_event):
        for channel in sounding:
            samples = recording.samples[:, channel : channel + 1]
            takes_by_channel[channel] = make(alone, dataclasses.replace(recording, samples=samples), gaps)

    together = [
        _join_channels([_of_seed(takes, first.seed) for takes in takes_by_channel.values()], sounding, recording)
        for first in takes_by_channel[sounding[0]]
    ]
    if config.best_of is not None:
        together.sort(key=lambda take: (len(take.faults), -(take.score or 0.0)))
    return together[: config.takes]


def _of_seed(takes: list[Take], seed: int) -> Take:
    return next(take for take in takes if take.seed == seed)


def _join_channels(takes: list[Take], channels: list[int], like: Recording) -> Take:
    """One take with the channels of a recording from takes of one channel each; the other channels are silent."""
    scores = [take.score for take in takes if take.score is not None]
    pieces = [_stack(list(own), channels, like.channels) for own in zip(*(take.pieces for take in takes), strict=True)]
    return dataclasses.replace(
        takes[0],
        pieces=pieces,
        score=sum(scores) / len(scores) if scores else None,
        faults=[fault for take in takes for fault in take.faults],
    )


def _stack(pieces: list[Piece], channels: list[int], count: int) -> Piece:
    """Pieces of one channel each as one piece; their blocks are equally long, as their lengths are."""

    def blocks() -> Iterator[np.ndarray]:
        for own in zip(*(piece.blocks for piece in pieces), strict=True):
            whole = np.zeros((count, own[0].shape[1]), np.float32)
            for channel, block in zip(channels, own, strict=True):
                whole[channel] = block[0]
            yield whole

    return Piece(num_samples=pieces[0].num_samples, blocks=Repeated(blocks))
