"""Where the samples of a recording are in a file that is made from it, and what becomes of places in it.

Knows nothing about what is at a place, nor about why samples moved.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Moves:
    """Which stretches of a recording a file holds, and where.

    >>> moves = Moves(kept=((0, 100, 0), (150, 200, 300)), begins_at=0, length=350, rate_hz=16000, was_long=200)
    >>> moves.point(100), moves.point(101), moves.point(150), moves.stretch(90, 160), moves.stretch(110, 140)
    (100, None, 300, (90, 310), None)
    """

    kept: tuple[tuple[int, int, int], ...]
    """(start, stop) in samples of the recording, and where the first of them is in the file; in order."""
    begins_at: int
    """Where in the time of the recording the file begins; below 0 where something was put in front."""
    length: int
    """Samples of the file."""
    rate_hz: int
    """Sample rate of both, in Hz."""
    was_long: int
    """Samples of the recording."""

    @property
    def changes_places(self) -> bool:
        """Whether any sample of the recording is at another place, or gone."""
        return self.kept != ((0, self.was_long, 0),)

    def point(self, place: int) -> int | None:
        """Where a place is; None where it lies in what is not kept. The edge of what was replaced is still there."""
        for start, stop, at in self.kept:
            if start <= place < stop:
                return at + place - start
        return self._edge(place)

    def stop(self, place: int) -> int | None:
        """Where a stretch ends, of which `place` is the first sample behind it."""
        for start, stop, at in self.kept:
            if start < place <= stop:
                return at + place - start
        return self._edge(place)

    def stretch(self, start: int, stop: int) -> tuple[int, int] | None:
        """What is left of a stretch, with what was made inside of it; None where nothing is left.

        An end that lies in what was replaced is at its edge.
        """
        if not any(begin < stop and start < end for begin, end, _ in self.kept):
            both = self.point(start), self.stop(stop)
            return None if both[0] is None or both[1] is None or both[0] >= both[1] else (both[0], both[1])

        first, last = self.point(start), self.stop(stop)
        if first is None:
            first = next(at for begin, _, at in self.kept if begin > start)
        if last is None:
            last = next(at + end - begin for begin, end, at in reversed(self.kept) if end < stop)
        return first, last

    def loop(self, start: int, stop: int) -> tuple[int, int] | None:
        """A stretch that makes no sense without one of its ends."""
        first, last = self.point(start), self.stop(stop)
        return None if first is None or last is None or first >= last else (first, last)

    def _edge(self, place: int) -> int | None:
        """Where a place is that lies beside what is kept, or behind all of it."""
        if self.kept and place > self.was_long and self.kept[-1][1] == self.was_long:
            moved = place - self.was_long + self.kept[-1][2] + self.kept[-1][1] - self.kept[-1][0]
            return moved if moved < 2**32 else None  # formats have no number for it
        for start, stop, at in self.kept:
            if place == start:
                return at
            if place == stop:
                return at + stop - start
        return None
