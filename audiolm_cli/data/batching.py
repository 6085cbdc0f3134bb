"""Training windows of codes as a function of (seed, step). Knows nothing about models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Windows:
    """A batch of windows of one length."""

    codes: np.ndarray
    """int64 [B, T, K]."""
    ends: np.ndarray
    """bool [B]: the window's last frame is the end of its recording."""


def full_window(clips: list[TokenClip], most: int) -> int:
    """The longest window, at most `most` frames, that can be cut from clips with at least half of all frames.

    A single long recording among short ones thus does not become the only one that long windows are cut from.

    Raises:
        DataError: there are no clips.
    """
    lengths = sorted((len(clip.codes) for clip in clips), reverse=True)
    if not lengths:
        raise DataError("no clips to cut windows from; expected at least one recording")
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
                f"none of {len(clips)} clips has {frames} frames (the longest has {longest}); "
                "train on longer recordings or on a shorter window"
            )
        self._weights = np.array([len(clip.codes) for clip in self.clips], dtype=np.float64)
        self._weights /= self._weights.sum()

    def draw(self, count: int, rng: np.random.Generator) -> Windows:
        """`count` windows."""
        chosen = rng.choice(len(self.clips), size=count, p=self._weights)
        at_end = rng.random(count) < self.end_share
        places = rng.random(count)
        codes, ends = [], []
        for index, end, place in zip(chosen, at_end, places, strict=True):
            clip = self.clips[index]
            last = len(clip.codes) - self.frames
            start = last if end else int(place * (last + 1))
            codes.append(clip.codes[start : start + self.frames])
            ends.append(clip.ends and start == last)
        return Windows(codes=np.stack(codes).astype(np.int64), ends=np.array(ends))

    def fixed(self, count: int) -> Windows:
        """`count` windows spread evenly over the clips; always the same ones."""
        starts = []
        for i in range(count):
            clip = self.clips[i % len(self.clips)]
            turn = i // len(self.clips)
            turns = -(-count // len(self.clips))
            starts.append((clip, round((len(clip.codes) - self.frames) * (turn + 0.5) / turns)))
        codes = np.stack([clip.codes[s : s + self.frames] for clip, s in starts]).astype(np.int64)
        return Windows(codes=codes, ends=np.zeros(count, dtype=bool))
