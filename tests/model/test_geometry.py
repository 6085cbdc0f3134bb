"""Geometries: splitting a window and joining it again, positions, and what training draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiolm_cli.config.shapes import PRESETS, PromptShares
from audiolm_cli.model.geometry import (
    APART,
    AWAY,
    ELSEWHERE,
    LEFT,
    LONGEST_INFILL,
    RIGHT,
    SHORTEST_SIDE,
    Geometry,
    TaskMix,
    draw_geometry,
)

geometries = st.builds(Geometry, st.integers(0, 12), st.integers(1, 12), st.integers(0, 12), st.integers(0, 12))


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
    """Memory order is elsewhere, right, left, target. Together, the positions are every frame of the timeline once, and
    those from elsewhere lie before it, farther than any window is long.
    """
    elsewhere = torch.arange(-AWAY - geometry.elsewhere, -AWAY)
    timeline = torch.cat([elsewhere, torch.arange(geometry.frames - geometry.elsewhere)]).view(1, -1, 1)
    context, target = geometry.split(timeline)
    assert context.flatten().tolist() == geometry.context_positions().tolist()
    assert target.flatten().tolist() == geometry.target_positions().tolist()
    both = torch.cat([geometry.context_positions(), geometry.target_positions()])
    assert sorted(both.tolist()) == timeline.flatten().tolist()
    assert max(shape.max_frames for shape in PRESETS.values()) < AWAY


@given(geometries)
@settings(deadline=None)
def test_segments_tell_where_frames_lie(geometry: Geometry) -> None:
    places = geometry.context_positions()
    sides = torch.where(places >= geometry.left + geometry.gap, RIGHT, LEFT)
    assert geometry.segments().tolist() == torch.where(places < 0, ELSEWHERE, sides).tolist()
    assert geometry.segments().dtype == torch.long


@given(geometries, st.integers(0, 5), st.integers(0, 5))
@settings(deadline=None)
def test_what_is_gathered_is_what_lies_next_to_the_gap(geometry: Geometry, before: int, after: int) -> None:
    """Of more codes than are needed; a prompt from elsewhere serves all items."""
    codes = torch.arange(2 * (before + geometry.frames + after) * 3).view(2, -1, 3)
    codes[:, : geometry.elsewhere] = codes[:1, : geometry.elsewhere]
    elsewhere, timeline = codes[:, : geometry.elsewhere], codes[:, geometry.elsewhere :]
    start = before + geometry.left
    left, right = timeline[:, :start], timeline[:, start + geometry.gap :]
    expected, _ = geometry.split(torch.cat([elsewhere, timeline[:, before : timeline.shape[1] - after]], dim=1))
    assert torch.equal(geometry.gather(left, right, elsewhere[:1]), expected)
    if geometry.right == geometry.elsewhere == 0:
        assert torch.equal(geometry.gather(left), expected)


@pytest.mark.parametrize("sizes", [(-1, 1, 0), (0, 0, 0), (0, 1, -1), (0, 1, 0, -1)])
def test_a_geometry_has_a_gap_and_no_negative_side(sizes: tuple[int, ...]) -> None:
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


def drawn(prompts: str, frames: int = 500, count: int = 2000, seed: int = 5) -> list[Geometry]:
    rng, shares = np.random.default_rng(seed), PromptShares.parse(prompts)
    return [draw_geometry(frames, TaskMix(), rng, shares) for _ in range(count)]


def test_prompts_come_from_where_they_are_asked_for() -> None:
    """Half of those from elsewhere are all the context there is, the others lie beside every task's."""
    mixed = drawn("split:0.5,elsewhere:0.3,none:0.2")
    aside = [geometry for geometry in mixed if geometry.elsewhere]
    assert len(aside) / len(mixed) == pytest.approx(0.3, abs=0.04)
    alone = Counter(kind(geometry) for geometry in aside)
    assert set(alone) == {"continuation", "infill", "prepend", "unconditional"}
    assert alone["unconditional"] / len(aside) == pytest.approx(0.5 + 0.5 * TaskMix().unconditional, abs=0.07)
    without = sum(geometry.context == 0 for geometry in mixed) / len(mixed)
    assert without == pytest.approx(0.2 + 0.5 * TaskMix().unconditional, abs=0.04)
    assert {kind(geometry) for geometry in drawn("none", count=50)} == {"unconditional"}
    assert all(geometry.elsewhere for geometry in drawn("elsewhere", count=50))


def test_a_prompt_from_elsewhere_shares_the_window() -> None:
    """With what it is apart from the rest, all fits; too short windows have none."""
    for frames in (75, 100, 500):
        for geometry in drawn("elsewhere", frames, 200):
            assert SHORTEST_SIDE <= geometry.elsewhere <= frames / 2 and geometry.frames + APART <= frames
    shares = [geometry.elsewhere / 500 for geometry in drawn("elsewhere")]
    assert min(shares) < 0.12 and max(shares) > 0.48
    assert {kind(geometry) for geometry in drawn("elsewhere", 74, 50)} == {"continuation"}
    assert not any(geometry.elsewhere for geometry in drawn("elsewhere", 74, 50))


def test_split_draws_what_was_drawn_before_there_were_other_prompts() -> None:
    rng = np.random.default_rng(5)
    assert [draw_geometry(500, TaskMix(), rng) for _ in range(100)] == drawn("split", count=100)


@pytest.mark.parametrize(
    "geometry",
    [Geometry(3, 4), Geometry(3, 4, 2), Geometry(0, 4, 2), Geometry(0, 4), Geometry(3, 4, 2, 5), Geometry(0, 4, 0, 5)],
    ids=str,
)
def test_edges_are_the_frames_beside_the_gap(geometry: Geometry) -> None:
    window = torch.arange(4 * geometry.frames).view(2, geometry.frames, 2)
    context, _ = geometry.split(window)
    end = geometry.left + geometry.gap
    for edges, rows in zip(geometry.edges(context).tolist(), window[:, geometry.elsewhere :].tolist(), strict=True):
        assert edges == [
            rows[geometry.left - 1] if geometry.left else [-1, -1],
            rows[end] if geometry.right else [-1, -1],
        ]
