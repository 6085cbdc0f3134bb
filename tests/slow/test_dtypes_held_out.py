"""Narrow number formats of the bundled model on held-out codes: the test split of the store that PIANO_TOKENS names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from audiolm_cli.data.manifest import iter_store
from audiolm_cli.library.loading import load_model
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry

TOKENS = os.environ.get("PIANO_TOKENS")
CLIPS, LEFT, GAP = 10, 150, 250

pytestmark = [pytest.mark.slow, pytest.mark.skipif(TOKENS is None, reason="needs PIANO_TOKENS, a token store")]


@torch.inference_mode()
def predicted(model: Decoders) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest codes [clips, K, M] of held-out clips, and their mean cross-entropies [K]."""
    likely, losses = [], []
    long = (clip for clip in iter_store(Path(TOKENS or ""), "test") if len(clip.codes) >= LEFT + GAP)
    for clip, _ in zip(long, range(CLIPS), strict=False):
        geometry = Geometry(LEFT, GAP)
        context, target = geometry.split(torch.from_numpy(clip.codes[: LEFT + GAP]).long()[None])
        parts = model.ar_predict(context, target, geometry)
        parts += [model.nar_predict(context, target, geometry, k) for k in range(len(parts), target.shape[-1])]
        likely.append(torch.cat([part.logits[..., : model.eos].argmax(-1) for part in parts]))
        losses.append(torch.stack([part.loss() for part in parts]))
    return torch.stack(likely), torch.stack(losses).mean(0)


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_the_likeliest_codes_stay(dtype: str) -> None:
    """97 % in codebook 1, 93 % in every other, where many codes are about as likely; cross-entropies within 1 %."""
    (exact, exact_loss), (narrow, loss) = (
        predicted(load_model("piano", torch.device("cpu"), kind).model) for kind in ("fp32", dtype)
    )
    same = (narrow == exact).float().mean((0, 2))
    print(f"{dtype}: {[round(100 * share, 2) for share in same.tolist()]} % of the likeliest codes")
    print(f"{dtype}: cross-entropy times {[round(ratio, 4) for ratio in (loss / exact_loss).tolist()]}")
    assert same[0] >= 0.97 and (same >= 0.93).all()
    assert ((loss / exact_loss - 1).abs() < 0.01).all()
