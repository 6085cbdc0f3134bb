"""Geometries: splitting a window and joining it again, positions, and what training draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiolm_cli.model.geometry import LEFT, LONGEST_INFILL, RIGHT, SHORTEST_SIDE, Geometry, TaskMix, draw_geometry

geometries = st.builds(Geometry, st.integers(0, 12), st.integers(1, 12), st.integers(0, 12))


@given(geometries)
@settings(deadline=None)
def test_join_is_the_inverse_of_split(geometry: Geometry) -> None:
    codes = torch.arange(2 * geometry.frames * 3).view(2, geometry.frames, 3)
    context, target = geometry.split(codes)
    assert context.shape[1] == geometry.context and target.shape[1] == geometry.gap
    assert torch.equal(geometry.join(context, target), codes)


@given(geometries)
@settings(deadline=None)
def test_positions_say_where_the_split_frames_came_from(geometry: Geometry) -> None:
    """Memory order is right, left, target, and together the positions are every frame of the timeline once."""
    timeline = torch.arange(geometry.frames).view(1, -1, 1)
    context, target = geometry.split(timeline)
    assert context.flatten().tolist() == geometry.context_positions().tolist()
    assert target.flatten().tolist() == geometry.target_positions().tolist()
    both = torch.cat([geometry.context_positions(), geometry.target_positions()])
    assert sorted(both.tolist()) == list(range(geometry.frames))


@given(geometries)
@settings(deadline=None)
def test_segments_tell_right_from_left(geometry: Geometry) -> None:
    after_gap = geometry.context_positions() >= geometry.left + geometry.gap
    assert geometry.segments().tolist() == torch.where(after_gap, RIGHT, LEFT).tolist()
    assert geometry.segments().dtype == torch.long


@pytest.mark.parametrize("sizes", [(-1, 1, 0), (0, 0, 0), (0, 1, -1)])
def test_a_geometry_has_a_gap_and_no_negative_side(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(AssertionError):
        Geometry(*sizes)


def kind(geometry: Geometry) -> str:
    return {
        (True, False): "continuation",
        (True, True): "infill",
        (False, True): "prepend",
        (False, False): "unconditional",
    }[geometry.left > 0, geometry.right > 0]


def test_every_window_length_gets_a_geometry_that_fits() -> None:
    """An infill keeps half a second on each side and a gap of at most ten; the others leave something to predict."""
    rng = np.random.default_rng(0)
    for frames in range(2, 601):
        for _ in range(5):
            geometry = draw_geometry(frames, TaskMix(), rng)
            assert geometry.frames == frames or (kind(geometry) == "infill" and geometry.frames < frames)
            if kind(geometry) == "infill":
                assert min(geometry.left, geometry.right) >= SHORTEST_SIDE
                assert geometry.gap <= LONGEST_INFILL


@pytest.mark.parametrize("task", ["continuation", "infill", "prepend", "unconditional"])
@pytest.mark.parametrize("frames", [2, 3, 59, 60, 61, 551, 600])
def test_a_mix_of_one_task_draws_that_task(task: str, frames: int) -> None:
    """Windows too short for an infill become continuations."""
    shares = dict.fromkeys(("continuation", "infill", "prepend", "unconditional"), 0.0)
    mix, rng = TaskMix(**(shares | {task: 1.0})), np.random.default_rng(1)
    expected = "continuation" if task == "infill" and frames < 60 else task
    assert {kind(draw_geometry(frames, mix, rng)) for _ in range(50)} == {expected}


def test_tasks_come_in_their_shares() -> None:
    rng, mix, draws = np.random.default_rng(2), TaskMix(), 4000
    counts = Counter(kind(draw_geometry(500, mix, rng)) for _ in range(draws))
    for task, share in vars(mix).items():
        spread = (share * (1 - share) / draws) ** 0.5
        assert abs(counts[task] / draws - share) < 4 * spread, (task, counts)


def test_prompts_take_between_a_twentieth_and_four_fifths() -> None:
    rng, mix = np.random.default_rng(3), TaskMix(continuation=1.0, infill=0.0, prepend=0.0, unconditional=0.0)
    prompts = [draw_geometry(1000, mix, rng).left for _ in range(500)]
    assert 50 <= min(prompts) < 80 and 770 < max(prompts) <= 800


def test_infills_hear_little_and_much_on_each_side() -> None:
    """A third of the frames at least are to be filled, where all of a full window's context would leave a sixth."""
    rng, mix = np.random.default_rng(4), TaskMix(continuation=0.0, infill=1.0, prepend=0.0, unconditional=0.0)
    drawn = [draw_geometry(500, mix, rng) for _ in range(2000)]
    assert sum(g.gap for g in drawn) > sum(g.frames for g in drawn) / 3
    for side in ([g.left for g in drawn], [g.right for g in drawn]):
        assert min(side) == SHORTEST_SIDE and max(side) > 350
    assert any(min(g.left, g.right) > 150 for g in drawn)


def test_the_same_generator_draws_the_same_geometry() -> None:
    draws = [[draw_geometry(300, TaskMix(), rng) for _ in range(20)] for rng in map(np.random.default_rng, (4, 4, 5))]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("geometry", [Geometry(3, 4), Geometry(3, 4, 2), Geometry(0, 4, 2), Geometry(0, 4)], ids=str)
def test_edges_are_the_frames_beside_the_gap(geometry: Geometry) -> None:
    window = torch.arange(4 * geometry.frames).view(2, geometry.frames, 2)
    context, _ = geometry.split(window)
    end = geometry.left + geometry.gap
    for edges, rows in zip(geometry.edges(context).tolist(), window.tolist(), strict=True):
        assert edges == [
            rows[geometry.left - 1] if geometry.left else [-1, -1],
            rows[end] if geometry.right else [-1, -1],
        ]
