"""What the NAR decoder may copy, against a search frame by frame."""

from __future__ import annotations

import pytest
import torch
from parent_algorithm import Known, copied
from torch import Tensor

from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.model.copying import REACH
from audiolm_cli.model.decoders import Decoders, build

V, K, D, M = 5, 3, 16, 3 * REACH
"""Few codes, so that the codebooks before often agree and both sides are often the same."""
EVERY = torch.arange(M)[None]
"""All frames."""


@pytest.fixture
def model() -> Decoders:
    torch.manual_seed(0)
    shape = ModelConfig(d_model=D, nhead=2, num_layers=1, num_quantizers=K, codebook_size=V, max_frames=M)
    model = build(shape)
    with torch.no_grad():
        for parameter in model.nar_copying.parameters():
            parameter.normal_()
    return model


def nearest(row: dict[int, Tensor], t: int) -> tuple[Known, Known]:
    """The nearest of the known frames `row` on each side of t, the edges being at -1 and M."""
    sides = [range(t - 1, t - 1 - REACH, -1), range(t + 1, t + 1 + REACH)]
    places = [next((place for place in side if place in row), None) for side in sides]
    before, after = (None if place is None else (abs(place - t), row[place]) for place in places)
    return before, after


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("edges", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("k", range(1, K))
@torch.no_grad()
def test_the_nearest_known_codes_are_added(model: Decoders, share: float, edges: tuple[bool, bool], k: int) -> None:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(V, (2, M, K), generator=generator)
    beside = torch.where(torch.tensor(edges)[:, None], torch.randint(V, (2, K), generator=generator), -1)
    known = torch.rand(2, M, generator=generator) < share
    states, logits = torch.randn(2, M, D, generator=generator), torch.randn(2, M, V, generator=generator)
    own = codes.clone()
    own[..., k][~known] = -1  # what is not known is not read, not even as an index
    found = model.nar_copying(logits, states, own[..., : k + 1], known, beside[None, :, : k + 1], EVERY.expand(2, -1))
    for b in range(2):
        row = {t: codes[b, t] for t in range(M) if known[b, t]}
        row |= {place: beside[i] for i, place in enumerate((-1, M)) if edges[i]}
        for t in range(M):
            added = copied(model, k, states[b, t], codes[b, t, :k], nearest(row, t))
            torch.testing.assert_close(found[b, t], logits[b, t] + added, rtol=1e-4, atol=1e-4)
    if share == 0 and not any(edges):
        assert torch.equal(found, logits)


def test_each_item_has_its_own_edges(model: Decoders) -> None:
    codes, known = torch.zeros(2, 5, 2, dtype=torch.long), torch.zeros(2, 5, dtype=torch.bool)
    states, logits = torch.randn(2, 5, D), torch.zeros(2, 5, V)
    edges = torch.tensor([[[1, 2], [-1, -1]], [[0, 3], [0, 4]]])
    found = model.nar_copying(logits, states, codes, known, edges, EVERY[:, :5].expand(2, -1))
    assert [row.nonzero().flatten().tolist() for row in found[:, 0].detach()] == [[2], [3, 4]]
    for b in range(2):
        alone = model.nar_copying(logits[:1], states[b : b + 1], codes[:1], known[:1], edges[b : b + 1], EVERY[:, :5])
        torch.testing.assert_close(found[b : b + 1], alone)


def test_what_is_copied_is_learned(model: Decoders) -> None:
    """Gradients reach the scores of the distances there are, and the gates."""
    codes, known = torch.zeros(1, 4, 2, dtype=torch.long), torch.zeros(1, 4, dtype=torch.bool)
    found = model.nar_copying(
        torch.zeros(1, 4, V), torch.randn(1, 4, D), codes, known, torch.tensor([[[0, 1], [-1, -1]]]), EVERY[:, :4]
    )
    found.log_softmax(-1)[..., 1].sum().backward()
    gradient = model.nar_copying.scores.grad
    assert gradient is not None and gradient[0, 0, :4].abs().sum((1, 2)).all() and not gradient[0, :, 4:].any()
    assert model.nar_copying.gates.weight.grad is not None and model.nar_copying.gates.weight.grad[0].any()


def test_untrained_scores_hold_what_is_near_and_agrees() -> None:
    scores = build(ModelConfig(d_model=D, nhead=2, num_layers=1)).nar_copying.scores
    near, agree, same = scores[:, :, 0], scores[..., 1, :], scores[..., 1]
    assert (near >= scores.amax(2)).all() and (agree > scores[..., 0, :]).all() and (2 * same >= scores[..., 0]).all()
