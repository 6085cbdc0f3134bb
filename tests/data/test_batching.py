"""Training windows: where they come from, which ones end a recording, and that (seed, step) fixes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiolm_cli.data.batching import LENGTH_RATIO, WindowBuckets, WindowSampler, full_window
from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.errors import DataError


def clip(number: int, frames: int, ends: bool = True) -> TokenClip:
    """A clip whose frame t holds (number, t), so that a window tells where it was cut."""
    codes = np.stack([np.full(frames, number), np.arange(frames)], axis=1).astype(np.int16)
    return TokenClip(id=str(number), codes=codes, ends=ends)


CLIPS = [clip(0, 30), clip(1, 100), clip(2, 19), clip(3, 50, ends=False), clip(4, 20)]


def test_windows_are_stretches_of_clips_and_say_where_they_end() -> None:
    windows = WindowSampler(CLIPS, 20, end_share=0.3).draw(500, np.random.default_rng(0))
    assert windows.codes.shape == (500, 20, 2) and windows.codes.dtype == np.int64
    numbers, times = windows.codes[..., 0], windows.codes[..., 1]
    assert (numbers == numbers[:, :1]).all() and (np.diff(times, axis=1) == 1).all()
    assert set(numbers[:, 0]) == {0, 1, 3, 4}, "clips shorter than the window are left out"
    lengths = np.array([len(own.codes) for own in CLIPS])[numbers[:, 0]]
    last = times[:, -1] == lengths - 1
    np.testing.assert_array_equal(windows.ends, last & (numbers[:, 0] != 3))
    assert last.mean() > 0.3


@pytest.mark.parametrize("end_share", [0.0, 0.5, 1.0])
def test_ends_come_in_their_share(end_share: float) -> None:
    sampler = WindowSampler([clip(0, 5000)], 10, end_share)
    assert sampler.draw(1000, np.random.default_rng(0)).ends.mean() == pytest.approx(end_share, abs=0.05)


def test_every_frame_is_as_likely_as_every_other() -> None:
    """Long clips are drawn more often, by their length; within a clip, windows begin anywhere."""
    windows = WindowSampler([clip(0, 1000), clip(1, 3000)], 10, end_share=0.0).draw(4000, np.random.default_rng(0))
    first = windows.codes[:, 0]
    assert (first[:, 0] == 1).mean() == pytest.approx(0.75, abs=0.03)
    starts = first[first[:, 0] == 1, 1]
    assert starts.min() < 20 and starts.max() > 2970
    shares = np.histogram(starts, bins=10, range=(0, 2991))[0] / len(starts)
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.03)


@pytest.mark.parametrize("frames", [30, 100, 1000])
def test_a_prompt_from_elsewhere_is_apart_from_its_window(frames: int) -> None:
    """It comes first in the window, from the same clip, before or after the other frames, and never near them."""
    others = [clip(7, frames), clip(8, 3 * frames, ends=False)]
    windows = WindowSampler(others, 30, end_share=0.2).draw(2000, np.random.default_rng(0), 25, elsewhere=8, apart=5)
    assert windows.codes.shape == (2000, 25, 2)
    numbers, times = windows.codes[..., 0], windows.codes[..., 1]
    assert (numbers == numbers[:, :1]).all() and set(numbers[:, 0]) == {7, 8}
    aside, own = times[:, :8], times[:, 8:]
    assert (np.diff(aside, axis=1) == 1).all() and (np.diff(own, axis=1) == 1).all()

    before = own[:, 0] - aside[:, -1] > 5
    after = aside[:, 0] - own[:, -1] > 5
    assert (before | after).all() and before.mean() > 0.2 and after.mean() > 0.2
    lengths = np.array([frames, 3 * frames])[numbers[:, 0] - 7]
    last = own[:, -1] == lengths - 1
    np.testing.assert_array_equal(windows.ends, last & (numbers[:, 0] == 7))
    assert last.mean() > 0.18 and own.min() < 20 and aside.min() < 20 and (aside[:, -1] > lengths - 20).any()


def test_windows_are_a_function_of_the_generator() -> None:
    draws = [WindowSampler(CLIPS, 20).draw(20, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(draws[0].codes, draws[1].codes) and np.array_equal(draws[0].ends, draws[1].ends)
    assert not np.array_equal(draws[0].codes, draws[2].codes)


@pytest.mark.parametrize(("clips", "longest"), [([], 0), (CLIPS[:1], 30), (CLIPS, 100)])
def test_windows_longer_than_every_clip_are_an_error(clips: list[TokenClip], longest: int) -> None:
    with pytest.raises(DataError, match=f"no clip, of {len(clips)} given, has 101 frames.*longest has {longest}"):
        WindowSampler(clips, 101)


@pytest.mark.parametrize("count", [1, 4, 5, 11])
def test_fixed_windows_are_always_the_same_and_visit_every_clip(count: int) -> None:
    sampler = WindowSampler(CLIPS, 20)
    windows, again = sampler.fixed(count), sampler.fixed(count)
    assert windows.codes.shape == (count, 20, 2) and windows.codes.dtype == np.int64
    assert np.array_equal(windows.codes, again.codes) and not windows.ends.any()
    assert len(set(windows.codes[:, 0, 0])) == min(count, 4)
    of_the_longest = windows.codes[windows.codes[:, 0, 0] == 1, 0, 1]
    assert len(set(of_the_longest)) == len(of_the_longest), "several windows of a clip differ"


@given(st.lists(st.integers(1, 900), min_size=1, max_size=30), st.integers(2, 750))
@settings(deadline=None)
def test_full_windows_fit_clips_with_half_of_all_frames(lengths: list[int], most: int) -> None:
    frames = full_window([clip(0, length) for length in lengths], most)
    assert frames <= most
    assert 2 * sum(length for length in lengths if length >= frames) >= sum(lengths)
    if frames < most:
        assert 2 * sum(length for length in lengths if length > frames) < sum(lengths), "and none longer does"


def test_one_long_recording_does_not_claim_the_full_windows() -> None:
    assert full_window([clip(0, 750)] + [clip(i, 500) for i in range(1, 40)], 750) == 500


def test_without_clips_there_is_no_window() -> None:
    with pytest.raises(DataError, match="no clips"):
        full_window([], 10)


def lengths_of_songs() -> list[int]:
    """Five to fifteen seconds, evenly."""
    return [int(x) for x in np.random.default_rng(3).integers(250, 751, size=60)]


@pytest.mark.parametrize(
    ("lengths", "longest"),
    [(lengths_of_songs(), 750), (lengths_of_songs(), 500), ([9000, 30_000, 4000], 500), ([120, 90, 2000, 700, 7], 500)],
)
def test_frames_of_short_and_long_clips_are_about_as_likely(lengths: list[int], longest: int) -> None:
    """Each clip gets its share of the frames trained on, and no stretch of a clip goes without."""
    clips = [clip(i, length) for i, length in enumerate(lengths)]
    buckets = WindowBuckets(clips, longest, shortest=100, full_share=0.6)
    rng, seen = np.random.default_rng(0), [np.zeros(length) for length in lengths]
    for _ in range(4000):
        bucket, frames = buckets.choose(rng)
        windows = bucket.draw(round(2500 / frames), rng, frames)
        for window in windows.codes:
            seen[window[0, 0]][window[0, 1] : window[-1, 1] + 1] += 1
    total = sum(own.sum() for own in seen)
    for own in seen:
        assert own.sum() / total == pytest.approx(len(own) / sum(lengths), rel=0.25, abs=1e-3)
        thirds = [part.mean() for part in np.array_split(own, 3)]
        assert min(thirds) > 0.4 * max(thirds), "fewer windows reach the edges than the middle"


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=30), st.integers(1, 750), st.integers(1, 300))
@settings(deadline=None)
def test_buckets_hold_every_clip_once_and_their_windows_fit(lengths: list[int], longest: int, shortest: int) -> None:
    clips = [clip(i, length) for i, length in enumerate(lengths)]
    buckets = WindowBuckets(clips, longest, shortest, full_share=0.5)
    held = [int(own.codes[0, 0]) for bucket in buckets.buckets for own in bucket.clips]
    assert sorted(held) == list(range(len(clips)))
    for bucket in buckets.buckets:
        capped = [min(longest, len(own.codes)) for own in bucket.clips]
        assert bucket.frames == min(capped) and max(capped) <= LENGTH_RATIO * min(capped)
    bucket, frames = buckets.choose(np.random.default_rng(0))
    assert bucket in buckets.buckets and min(shortest, min(lengths), longest) <= frames <= bucket.frames <= longest
    assert bucket.draw(3, np.random.default_rng(0), frames).codes.shape[:2] == (3, frames)


def test_without_clips_there_are_no_buckets() -> None:
    with pytest.raises(DataError, match="no clips"):
        WindowBuckets([], 10, 5, 0.5)
