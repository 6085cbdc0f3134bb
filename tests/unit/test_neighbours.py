"""The nearest known codes of a codebook, against a search frame by frame."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from audiolm_cli.model.neighbours import REACH, Neighbours

V, D = 30, 8


@pytest.fixture
def parts() -> tuple[Neighbours, nn.Embedding]:
    torch.manual_seed(0)
    neighbours, embedding = Neighbours(D), nn.Embedding(V, D)
    with torch.no_grad():
        neighbours.before.normal_()
        neighbours.after.normal_()
    return neighbours, embedding


def searched(neighbours: Neighbours, embedding: nn.Embedding, row: dict[int, int], t: int) -> Tensor:
    """What frame t is told where `row` says which codes are known: by place, the edges at -1 and M."""
    told = torch.zeros(D)
    for factors, side in (
        (neighbours.before, range(t - 1, t - 1 - REACH, -1)),
        (neighbours.after, range(t + 1, t + 1 + REACH)),
    ):
        nearest = next((place for place in side if place in row), None)
        if nearest is not None:
            told = told + embedding.weight[row[nearest]] * factors[abs(nearest - t) - 1]
    return told


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("edges", [(-1, -1), (3, -1), (-1, 4), (0, 5)])
@torch.no_grad()
def test_the_nearest_known_codes_are_told(
    parts: tuple[Neighbours, nn.Embedding], share: float, edges: tuple[int, int]
) -> None:
    M = 3 * REACH
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(V, (2, M), generator=generator)
    known = torch.rand(2, M, generator=generator) < share
    told = parts[0](parts[1], codes, known, torch.tensor([edges]))
    for b in range(2):
        row = {t: int(codes[b, t]) for t in range(M) if known[b, t]}
        row |= {place: code for place, code in zip((-1, M), edges, strict=True) if code >= 0}
        for t in range(M):
            torch.testing.assert_close(told[b, t], searched(*parts, row, t))
    if share == 0 and edges == (-1, -1):
        assert not told.any()


@torch.no_grad()
def test_codes_that_are_not_known_are_not_read(parts: tuple[Neighbours, nn.Embedding]) -> None:
    """Not even as indices: there may be anything."""
    codes, known = torch.full((1, 9), -1), torch.zeros(1, 9, dtype=torch.bool)
    known[0, 4], codes[0, 4] = True, 7
    told = parts[0](parts[1], codes, known, torch.tensor([[-1, -1]]))
    assert not told[0, 4].any() and told[0, :4].any(-1).all() and told[0, 5:].any(-1).all()


def test_each_item_has_its_own_edges(parts: tuple[Neighbours, nn.Embedding]) -> None:
    codes, known = torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.bool)
    both = parts[0](parts[1], codes, known, torch.tensor([[1, 2], [3, -1]]))
    for b, edges in enumerate(([1, 2], [3, -1])):
        torch.testing.assert_close(both[b : b + 1], parts[0](parts[1], codes[:1], known[:1], torch.tensor([edges])))
    both.sum().backward()
    assert parts[0].before.grad is not None and parts[0].before.grad[:5].any(-1).all()
    assert not parts[0].before.grad[5:].any(), "no farther than the gap is long"
