"""Training windows of codes as a function of (seed, step). Knows nothing about models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.errors import DataError

LENGTH_RATIO = 1.25
"""Longest over shortest clip of a bucket, both cut to the longest window."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """A batch of windows of one length."""

    codes: np.ndarray
    """int64 [B, T, K]; where a prompt from elsewhere was asked for, its frames come first."""
    ends: np.ndarray
    """bool [B]: the window's last frame is the end of its recording."""
    styles: list[str]
    """The label of each window's recording; empty where it has none."""


def full_window(clips: list[TokenClip], most: int) -> int:
    """The longest window, at most `most` frames, that can be cut from clips with at least half of all frames.

    A single long recording among short ones thus does not become the only one that long windows are cut from.

    Raises:
        DataError: there are no clips.
    """
    lengths = sorted((len(clip.codes) for clip in clips), reverse=True)
    if not lengths:
        raise DataError("no clips to cut windows from; expected at least one recording")

    # The first length, from the longest down, at which half of all frames are reached.
    reached = np.cumsum(lengths)
    return min(most, lengths[int(np.argmax(2 * reached >= reached[-1]))])


class WindowSampler:
    """Random windows of clips, every frame as likely as every other, and the end of a clip now and then."""

    def __init__(self, clips: list[TokenClip], frames: int, end_share: float = 0.02) -> None:
        """Keep the clips that are at least `frames` long.

        Raises:
            DataError: none is.
        """
        self.clips = [clip for clip in clips if len(clip.codes) >= frames]
        self.frames, self.end_share = frames, end_share
        if not self.clips:
            longest = max((len(clip.codes) for clip in clips), default=0)
            raise DataError(
                f"no clip, of {len(clips)} given, has {frames} frames (the longest has {longest}); "
                "train on longer recordings or on a shorter window"
            )

        self.total_frames = sum(len(clip.codes) for clip in self.clips)
        self._weights = np.array([len(clip.codes) for clip in self.clips], dtype=np.float64) / self.total_frames

    def draw(
        self,
        count: int,
        rng: np.random.Generator,
        frames: int | None = None,
        elsewhere: int = 0,
        apart: int = 0,
    ) -> Windows:
        """Random windows.

        Args:
            count: how many.
            rng: what decides.
            frames: length of a window, at most that of the sampler, which None means.
            elsewhere: how many of these frames, the first ones, are another stretch of the same clip.
            apart: frames of the clip between the two stretches at least; with them, both fit into the sampler's frames.
        """
        frames = frames or self.frames
        window = frames - elsewhere
        shift = elsewhere + apart if elsewhere else 0  # by how much a window lies later behind the other stretch

        # All that is random is drawn here, in an order that a seed fixes.
        chosen = rng.choice(len(self.clips), size=count, p=self._weights)
        at_end = rng.random(count) < self.end_share
        positions = rng.random(count)
        others = rng.random(count) if elsewhere else np.ones(count)

        codes, ends = [], []
        for index, end, position, other in zip(chosen, at_end, positions, others, strict=True):
            # Both stretches lie anywhere in what they leave of the clip, and the second one moves on behind the first.
            clip = self.clips[index]
            last = len(clip.codes) - window - shift
            start = last if end else int(position * (last + 1))
            first = int(other * (last + 1))
            if end or other < position:
                start += shift
            else:
                first += window + apart

            codes.append(np.concatenate([clip.codes[first : first + elsewhere], clip.codes[start : start + window]]))
            ends.append(clip.ends and start + window == len(clip.codes))

        styles = [self.clips[index].style for index in chosen]
        return Windows(codes=np.stack(codes).astype(np.int64), ends=np.array(ends), styles=styles)

    def fixed(self, count: int) -> Windows:
        """`count` windows spread evenly over the clips; always the same ones."""
        turns = -(-count // len(self.clips))  # windows of each clip, rounded up

        windows = []
        for i in range(count):
            turn, index = divmod(i, len(self.clips))
            clip = self.clips[index]
            start = round((len(clip.codes) - self.frames) * (turn + 0.5) / turns)
            windows.append(clip.codes[start : start + self.frames])

        codes = np.stack(windows).astype(np.int64)
        styles = [self.clips[i % len(self.clips)].style for i in range(count)]
        return Windows(codes=codes, ends=np.zeros(count, dtype=bool), styles=styles)


class WindowBuckets:
    """Windows of clips of any length: nothing is padded and every frame is about as likely as every other.

    Clips of similar length share a bucket, and its full windows are as long as its shortest clip. All clips that are as
    long as the longest window share one bucket. A batch comes from one bucket, drawn by its share of all frames.
    """

    def __init__(self, clips: list[TokenClip], longest: int, shortest: int, full_share: float) -> None:
        """Sort the clips into buckets.

        Args:
            longest: frames of the longest window.
            shortest: frames of the shortest window; of a bucket of shorter clips, its own longest.
            full_share: share of batches whose windows are as long as their bucket allows.

        Raises:
            DataError: there are no clips.
        """
        if not clips:
            raise DataError("no clips to cut windows from; expected at least one recording")
        self.shortest, self.full_share = shortest, full_share

        # The longest clip of each bucket, by falling length.
        lengths = sorted({min(len(clip.codes), longest) for clip in clips}, reverse=True)
        tops = [lengths[0]]
        for length in lengths[1:]:
            if tops[-1] == longest or length * LENGTH_RATIO < tops[-1]:
                tops.append(length)

        members: dict[int, list[TokenClip]] = {top: [] for top in tops}
        for clip in clips:
            members[min(top for top in tops if top >= min(len(clip.codes), longest))].append(clip)
        self.buckets = [
            WindowSampler(own, min(longest, min(len(clip.codes) for clip in own))) for own in members.values()
        ]
        """By falling length."""

        weights = np.array([sampler.total_frames for sampler in self.buckets], dtype=np.float64)
        self._weights = weights / weights.sum()

    def choose(self, rng: np.random.Generator) -> tuple[WindowSampler, int]:
        """A bucket, and how many frames its next windows may have."""
        bucket = self.buckets[int(rng.choice(len(self.buckets), p=self._weights)) if len(self.buckets) > 1 else 0]

        frames = bucket.frames
        if rng.random() >= self.full_share:
            frames = int(rng.integers(min(self.shortest, frames), frames + 1))

        return bucket, frames
