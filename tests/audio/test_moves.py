"""Places in a recording, after stretches of it were replaced by others of any lengths."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audiolm_cli.audio.recording import Recording
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.editing.splicing import Filled, Gap, Piece, Take, find_moves, splice

LENGTH = 60


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Gaps (start, stop, new samples) in order, none of them touching another one, and not all of the recording."""
    edges = sorted(draw(st.lists(st.integers(0, LENGTH), min_size=2, max_size=6, unique=True)))
    pairs = [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=False) if stop - start < LENGTH]
    if draw(st.booleans()):  # one that replaces nothing
        at = draw(st.sampled_from([0, LENGTH]))
        pairs = [pair for pair in pairs if at not in pair] + [(at, at)]
    gaps = [(start, stop, draw(st.integers(1, 30))) for start, stop in sorted(pairs)]
    return gaps or [(LENGTH, LENGTH, 5)]


def fill(gaps: list[tuple[int, int, int]]) -> Filled:
    """A recording whose samples are all different, with other ones in its gaps."""
    samples = (np.arange(1, LENGTH + 1, dtype=np.int32) << 20)[:, None]
    recording = Recording(
        samples=samples, sample_rate_hz=1000, format="WAV", subtype="PCM_24", lossless=True, tags={}, name="x"
    )
    pieces = [Piece(num_samples=new, blocks=[np.full((1, new), -1.0, np.float32)]) for _, _, new in gaps]
    take = Take(seed=0, pieces=pieces, drawn=[SamplingConfig()] * len(gaps))
    return Filled(recording=recording, gaps=[Gap(start=a, stop=b, new_samples=n) for a, b, n in gaps], take=take)


@settings(max_examples=300, deadline=None)
@given(gaps=edits())
def test_every_place_is_where_its_sample_is(gaps: list[tuple[int, int, int]]) -> None:
    """Before a gap it stays, inside it is gone, behind it moves as far as its sample; the edges of a gap stay, too."""
    filled = fill(gaps)
    moves = find_moves(filled)
    written = np.concatenate(list(splice(filled).blocks))[:, 0]
    assert moves.length == len(written)

    for place in range(LENGTH):
        sample = filled.recording.samples[place, 0]
        found = np.flatnonzero(written == sample)
        inside = any(start < place < stop for start, stop, _ in gaps)
        moved, edge = moves.point(place), moves.stop(place + 1)
        if len(found):
            assert (moved, edge) == (found[0], found[0] + 1)
        elif inside:
            assert moved is None
        else:  # the first sample that is replaced: what precedes it is where it was
            assert moved is not None and (place == 0 or moved == (moves.stop(place) or 0))

    # A first sample that was kept, and a file that begins so much earlier or later, are at the same moment.
    first = next((place for place in range(LENGTH) if filled.recording.samples[place, 0] in written), None)
    if first is not None:
        at = int(np.flatnonzero(written == filled.recording.samples[first, 0])[0])
        assert moves.begins_at + at == first


@settings(max_examples=300, deadline=None)
@given(gaps=edits(), start=st.integers(0, LENGTH - 1), size=st.integers(1, LENGTH))
def test_stretches_and_loops(gaps: list[tuple[int, int, int]], start: int, size: int) -> None:
    """A stretch is what is left of it; a loop whose end is gone is no loop."""
    filled, stop = fill(gaps), min(LENGTH, start + size)
    moves = find_moves(filled)
    written = np.concatenate(list(splice(filled).blocks))[:, 0]
    own = filled.recording.samples[start:stop, 0]
    left = np.flatnonzero(np.isin(written, own))

    stretch, loop = moves.stretch(start, stop), moves.loop(start, stop)
    if len(left):
        assert stretch is not None and stretch[0] <= left[0] and stretch[1] > left[-1]
        assert not np.isin(written[stretch[0] : stretch[1]], np.setdiff1d(filled.recording.samples, own)).any()
    elif stretch is not None:  # exactly what was replaced, or no more than its edges
        assert any(a <= start and stop <= b for a, b, _ in gaps) and start in {a for a, _, _ in gaps}
    if loop is not None:
        assert loop == (moves.point(start), moves.stop(stop)) == stretch
    ends_inside = any(a < start < b or a < stop < b for a, b, _ in gaps)
    assert (loop is None) == (ends_inside or stretch is None)


def test_what_is_made_anew_throughout_keeps_its_places() -> None:
    """As a restyled recording, whose every moment is still there."""
    moves = find_moves(fill([(0, LENGTH, LENGTH)]))
    assert [moves.point(place) for place in range(LENGTH + 1)] == list(range(LENGTH + 1))
    assert not moves.changes_places


def test_new_audio_alone_has_no_places_of_the_recording() -> None:
    """But it has one in time."""
    for gap, begins_at in (((LENGTH, LENGTH, 9), LENGTH), ((0, 0, 9), -9), ((20, 30, 10), 20)):
        moves = find_moves(fill([gap]), only_new=True)
        assert moves.begins_at == begins_at and moves.length == gap[2]
        assert {moves.point(place) for place in range(LENGTH)} == {None} and moves.stretch(0, LENGTH) is None
