"""The model's promises: cached decoding, what may see what, padding, gradients, and the two-argument interface."""

from __future__ import annotations

import copy
import io
import itertools
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.errors import ModelError, UsageError
from audiolm_cli.model import frame_bar
from audiolm_cli.model.decode import generate
from audiolm_cli.model.decoders import (
    AR_EMBEDDING_STD,
    IGNORE,
    WEIGHT_STD,
    Predictions,
    build,
    extend_weights,
    load_weights,
)
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.layers import Rotation
from audiolm_cli.model.recipe import AudioLM, get_model
from audiolm_cli.model.stepping import AR

V, K = 16, 3
GEOMETRIES = {
    "left only": Geometry(5, 7),
    "right only": Geometry(0, 7, 5),
    "both": Geometry(4, 6, 3),
    "neither": Geometry(0, 8),
    "one frame between": Geometry(4, 1, 4),
    "one frame alone": Geometry(0, 1),
    "elsewhere": Geometry(0, 7, elsewhere=5),
    "elsewhere and left": Geometry(4, 6, elsewhere=5),
    "elsewhere and both": Geometry(4, 6, 3, elsewhere=5),
}
POSITIONS = ("rotary", "sine")
ATTENTIONS = ("full", "causal")
both_attentions = pytest.mark.parametrize("attention", ATTENTIONS)


def tiny(positions: str = "rotary", attention: str = "full", **fields: Any) -> AudioLM:
    """A small model whose weights are large enough that everything matters to the logits."""
    torch.manual_seed(1)
    shape = {"d_model": 32, "nhead": 2, "num_layers": 2, "num_quantizers": K, "codebook_size": V, "max_frames": 64}
    kinds = {"positions": positions, "context_attention": attention, "prompt_from": "split:0.5,elsewhere:0.5"}
    model = get_model("audiolm", **{**shape, **fields, **kinds})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def window(geometry: Geometry, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return geometry.split(torch.randint(V, (batch, geometry.frames, K), generator=generator))


def changed(codes: Tensor, frame: int, codebook: int = 0) -> Tensor:
    """The codes with another code at one place."""
    other = codes.clone()
    other[:, frame, codebook] = (other[:, frame, codebook] + 1) % V
    return other


@both_attentions
@pytest.mark.parametrize("holding", [False, True])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", GEOMETRIES)
@torch.no_grad()
def test_cached_decoding_equals_the_full_pass(name: str, positions: str, holding: bool, attention: str) -> None:
    geometry, model = GEOMETRIES[name], tiny(positions, attention, ar_holding=holding)
    context, target = window(geometry)
    full = model.ar_predict(context, target, geometry)[0].logits
    ar = AR(model, context, geometry, takes=2)
    steps = [ar.step(None if t == 0 else target[:, t - 1 : t, 0]) for t in range(geometry.gap)]
    assert full.std() > 0.1
    torch.testing.assert_close(torch.stack(steps, dim=1), full, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_code_changes_the_later_codebooks_of_its_frame_and_the_frames_after_it() -> None:
    """Of the AR decoder's codebooks each hears those before it. The end of a piece has only the first."""
    geometry, model = GEOMETRIES["both"], tiny(attention="causal", ar_codebooks=K, ar_holding=True)
    context, target = window(geometry)
    ends = torch.tensor([True, False])
    labels = [own.labels for own in model.ar_predict(context, target, geometry, ends)]
    assert torch.equal(torch.stack(labels, dim=-1)[:, :-1], target)
    assert [own[:, -1].tolist() for own in labels] == [[model.eos, IGNORE], [IGNORE] * 2, [IGNORE] * 2]

    before = torch.stack([own.logits[..., :V] for own in model.ar_predict(context, target, geometry)], dim=2)
    for t, k in itertools.product(range(geometry.gap), range(K)):
        other = changed(target, t, k)
        after = torch.stack([own.logits[..., :V] for own in model.ar_predict(context, other, geometry)], dim=2)
        moved = ((after - before).abs() > 1e-6).any(-1).all(0)  # [M, K]
        assert not moved[:t].any() and moved[t].tolist() == [place > k for place in range(K)] and moved[t + 1 :].all()


@both_attentions
@torch.no_grad()
def test_a_held_code_is_that_of_the_frame_before(attention: str) -> None:
    """Where the step hears one; the end of the piece has none after it. A gate that adds nothing changes nothing."""
    geometry, model = GEOMETRIES["both"], tiny(attention=attention, ar_holding=True)
    context, target = window(geometry)
    ends = torch.tensor([True, False])
    assert model.ar_holding is not None
    model.ar_holding.reset()
    plain = model.ar_predict(context, target, geometry, ends, with_context=True)[0].logits
    torch.nn.init.constant_(model.ar_holding.gate.bias, 50.0)
    held = model.ar_predict(context, target, geometry, ends, with_context=True)[0].logits - plain

    left = context[:, geometry.right :, 0] if attention == "causal" else context[:, :0, 0]
    before = torch.cat([left, target[..., 0]], dim=1)
    assert (held[:, 0] == 0).all()
    wanted = 50.0 * torch.nn.functional.one_hot(before, V + 1)
    torch.testing.assert_close(held[:, 1:], wanted.to(held.dtype), atol=1e-4, rtol=0)


@both_attentions
@torch.no_grad()
def test_one_context_serves_all_takes(attention: str) -> None:
    geometry, model = GEOMETRIES["both"], tiny(attention=attention, ar_holding=True)
    context, _ = window(geometry, batch=1)
    shared = AR(model, context, geometry, takes=3).step(None)
    own = AR(model, context.expand(3, -1, -1), geometry, takes=3).step(None)
    torch.testing.assert_close(shared, own, atol=1e-5, rtol=0)


@both_attentions
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", ["left only", "right only", "both", "neither", "elsewhere and both"])
@torch.no_grad()
def test_a_target_frame_changes_only_what_comes_after_it(name: str, positions: str, attention: str) -> None:
    """So neither the context nor an earlier target frame sees it."""
    geometry, model = GEOMETRIES[name], tiny(positions, attention)
    context, target = window(geometry)
    before = model.ar_predict(context, target, geometry)[0].logits
    for t in range(geometry.gap):
        after = model.ar_predict(context, changed(target, t), geometry)[0].logits
        moved = (after - before).abs().amax(dim=(0, 2)) > 1e-6
        assert moved.tolist() == [step > t for step in range(geometry.gap)]


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", GEOMETRIES)
@torch.no_grad()
def test_a_causal_context_is_predicted_from_its_past_and_from_the_right_context(name: str, positions: str) -> None:
    """A frame of the left context or the target moves the logits of later frames alone, in all codebooks of the left
    context; one of the right context or from elsewhere moves all of them.
    """
    geometry, model = GEOMETRIES[name], tiny(positions, "causal")
    context, target = window(geometry)

    def logits(context: Tensor, target: Tensor) -> Tensor:
        return model.ar_predict(context, target, geometry, with_context=True)[0].logits

    def moved(context: Tensor, target: Tensor) -> list[bool]:
        return ((logits(context, target) - before).abs().amax(dim=(0, 2)) > 1e-6).tolist()

    before = logits(context, target)
    steps = range(geometry.left + geometry.gap)
    assert before.shape[1] == len(steps)
    for codebook in range(K):
        for frame in range(geometry.elsewhere + geometry.right):
            assert all(moved(changed(context, frame, codebook), target))
        for t in range(geometry.left):
            other = changed(context, geometry.elsewhere + geometry.right + t, codebook)
            assert moved(other, target) == [step > t for step in steps]
    for t in range(geometry.gap):
        assert moved(context, changed(target, t)) == [step > geometry.left + t for step in steps]


@both_attentions
@pytest.mark.parametrize("name", GEOMETRIES)
@torch.no_grad()
def test_labels_are_the_codes_of_all_frames_that_see_only_their_past(name: str, attention: str) -> None:
    """Of the target where the context is full, of the left context too where it is causal; of no other context."""
    geometry, model = GEOMETRIES[name], tiny(attention=attention)
    timeline = (torch.arange(geometry.frames) - geometry.elsewhere).view(1, -1, 1).expand(2, -1, K) % V
    context, target = geometry.split(timeline)

    plain, ends = model.ar_predict(context, target, geometry)[0], torch.tensor([True, False])
    labelled = model.ar_predict(context, target, geometry, with_context=True)[0]
    ending = model.ar_predict(context, target, geometry, ends, with_context=True)[0]
    first = 0 if attention == "causal" else geometry.left
    assert labelled.labels.tolist() == [list(range(first, geometry.left + geometry.gap))] * 2
    assert labelled.logits.shape[1] == labelled.labels.shape[1] == geometry.labelled(attention)
    assert ending.labels[:, -1].tolist() == [model.eos, IGNORE] and torch.equal(ending.labels[:, :-1], labelled.labels)

    # Who asks for the target alone gets the same of it.
    assert torch.equal(plain.labels, labelled.labels[:, -geometry.gap :])
    torch.testing.assert_close(plain.logits, labelled.logits[:, -geometry.gap :], atol=1e-5, rtol=0)
    torch.testing.assert_close(ending.logits[:, :-1], labelled.logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_without_a_left_context_both_attentions_are_one() -> None:
    """The right context sees itself in both, and the target sees what came before."""
    for name in ("right only", "neither", "one frame alone", "elsewhere"):
        geometry = GEOMETRIES[name]
        context, target = window(geometry)
        full, causal = (tiny(attention=own).ar_predict(context, target, geometry)[0].logits for own in ATTENTIONS)
        assert torch.equal(full, causal)


@both_attentions
@pytest.mark.parametrize("name", ["left only", "right only", "both", "elsewhere", "elsewhere and both"])
@torch.no_grad()
def test_every_context_frame_and_codebook_reaches_every_prediction(name: str, attention: str) -> None:
    geometry, model = GEOMETRIES[name], tiny(attention=attention)
    context, target = window(geometry)
    before = [
        model.ar_predict(context, target, geometry)[0].logits,
        model.nar_predict(context, target, geometry, 1).logits,
    ]
    for frame in range(geometry.context):
        for codebook in range(K):
            other = changed(context, frame, codebook)
            after = [
                model.ar_predict(other, target, geometry)[0].logits,
                model.nar_predict(other, target, geometry, 1).logits,
            ]
            for a, b in zip(after, before, strict=True):
                assert ((a - b).abs().amax(dim=(0, 2)) > 1e-6).all()


@both_attentions
@pytest.mark.parametrize("name", ["left only", "right only", "both"])
@torch.no_grad()
def test_an_ar_decoder_of_its_own_codebook_hears_no_other(name: str, attention: str) -> None:
    """The first codebook of every context frame reaches all its predictions; the NAR decoder hears all codebooks."""
    geometry, model = GEOMETRIES[name], tiny(attention=attention, context_codebooks="own")
    context, target = window(geometry)
    ar, nar = (
        model.ar_predict(context, target, geometry)[0].logits,
        model.nar_predict(context, target, geometry, 1).logits,
    )
    for frame in range(geometry.context):
        for codebook in range(K):
            other = changed(context, frame, codebook)
            moved = (model.ar_predict(other, target, geometry)[0].logits - ar).abs().amax(dim=(0, 2))
            assert (moved > 1e-6).all() if codebook == 0 else (moved == 0).all()
            assert ((model.nar_predict(other, target, geometry, 1).logits - nar).abs().amax(dim=(0, 2)) > 1e-6).all()


@torch.no_grad()
def test_the_first_codebook_alone_feeds_the_ar_decoder() -> None:
    geometry, model = GEOMETRIES["both"], tiny()
    context, target = window(geometry)
    others = target.clone()
    others[..., 1:] = (others[..., 1:] + 3) % V
    a, b = (model.ar_predict(context, codes, geometry)[0].logits for codes in (target, others))
    assert torch.equal(a, b)


@pytest.mark.parametrize("codebook", range(1, K))
@pytest.mark.parametrize("name", GEOMETRIES)
@torch.no_grad()
def test_nar_logits_read_only_the_codebooks_before(name: str, codebook: int) -> None:
    geometry, model = GEOMETRIES[name], tiny()
    context, target = window(geometry)
    before = model.nar_predict(context, target, geometry, codebook)
    assert torch.equal(before.labels, target[..., codebook])
    hidden = target.clone()
    hidden[..., codebook:] = (hidden[..., codebook:] + 1) % V
    assert torch.equal(model.nar_predict(context, hidden, geometry, codebook).logits, before.logits)
    for known in range(codebook):
        after = model.nar_predict(context, changed(target, geometry.gap - 1, known), geometry, codebook).logits
        assert ((after - before.logits).abs().amax(dim=(0, 2)) > 1e-6).all(), "the NAR target sees itself both ways"


@torch.no_grad()
@pytest.mark.parametrize("codebook", [1, 2])
@torch.no_grad()
def test_nar_logits_read_the_codebook_itself_where_it_is_known(codebook: int) -> None:
    geometry, model = GEOMETRIES["both"], tiny()
    context, target = window(geometry)
    known = torch.zeros(target.shape[:2], dtype=torch.bool)
    nothing = model.nar_predict(context, target, geometry, codebook, known)
    assert torch.equal(nothing.logits, model.nar_predict(context, target, geometry, codebook).logits)
    known[:, 2] = True
    before = model.nar_predict(context, target, geometry, codebook, known)
    assert (before.labels[:, 2] == IGNORE).all() and (before.labels != IGNORE).sum() == known.numel() - len(known)
    unread = changed(target, 3, codebook)
    assert torch.equal(model.nar_predict(context, unread, geometry, codebook, known).logits, before.logits)
    after = model.nar_predict(context, changed(target, 2, codebook), geometry, codebook, known).logits
    assert ((after - before.logits).abs().amax(dim=(0, 2)) > 1e-4).all(), "every frame hears it"


def test_bf16_autocast_stays_near_float32() -> None:
    geometry, model = GEOMETRIES["both"], tiny()
    context, target = window(geometry)
    with torch.no_grad():
        exact = (
            model.ar_predict(context, target, geometry)[0].loss(),
            model.nar_predict(context, target, geometry, 1).loss(),
        )
        with torch.autocast("cpu", torch.bfloat16):
            near = model.ar_predict(context, target, geometry)[0], model.nar_predict(context, target, geometry, 1)
    assert near[0].logits.dtype == torch.bfloat16
    for own, other in zip(exact, near, strict=True):
        assert own.item() == pytest.approx(other.loss().item(), rel=0.02)


def test_rotation_makes_products_depend_on_distance_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64, generator=generator)
    products = []
    for shift in (0, 1, 77, 5000):
        rotate_q, rotate_k = (Rotation(torch.tensor([at + shift]), 16, torch.float64) for at in (9, 4))
        products.append((rotate_q(q) * rotate_k(k)).sum())
    torch.testing.assert_close(torch.stack(products), products[0].expand(4))
    elsewhere = (Rotation(torch.tensor([10]), 16, torch.float64)(q) * Rotation(torch.tensor([4]), 16, q.dtype)(k)).sum()
    assert (elsewhere - products[0]).abs() > 1e-3


@pytest.mark.parametrize(("positions", "invariant"), [("rotary", True), ("sine", False)])
@torch.no_grad()
def test_only_rotary_logits_ignore_where_the_timeline_begins(positions: str, invariant: bool) -> None:
    geometry, model = GEOMETRIES["both"], tiny(positions)
    decoder, runs = model.nar_decoder, []
    embedded = torch.randn(2, 13, 32, generator=torch.Generator().manual_seed(7))  # context, target
    for shift in (0, 40):
        places = torch.cat([geometry.context_positions(), geometry.target_positions()]) + shift
        runs.append(decoder(embedded, places, geometry.context, causal=False, stage=model.nar_stages.weight[0]))
    assert ((runs[0] - runs[1]).abs().max() < 1e-4) == invariant


@both_attentions
@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_the_distance_to_the_right_context_matters(positions: str, attention: str) -> None:
    """The countdown of an infill: the same context codes, one frame further away, give other logits."""
    model = tiny(positions, attention)
    context, _ = window(GEOMETRIES["both"])
    near, far = (AR(model, context, Geometry(4, gap, 3), takes=2).step(None) for gap in (6, 7))
    assert (near - far).abs().max() > 1e-3


def batch(lengths: list[tuple[int, int]], padding: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Items of these prompt and target lengths, filled up with `padding`; an item's codes depend on its lengths."""
    x_lens, y_lens = (torch.tensor(values) for values in zip(*lengths, strict=True))
    x = torch.full((len(lengths), int(x_lens.max()) + 2, K), padding)
    y = torch.full((len(lengths), int(y_lens.max()) + 2, K), padding)
    for i, (own_x, own_y) in enumerate(lengths):
        generator = torch.Generator().manual_seed(100 * own_x + own_y)
        x[i, :own_x] = torch.randint(V, (own_x, K), generator=generator)
        y[i, :own_y] = torch.randint(V, (own_y, K), generator=generator)
    return x, x_lens, y, y_lens


LENGTHS = [(4, 6), (7, 3), (4, 5), (0, 4), (2, 9)]


@both_attentions
@pytest.mark.parametrize("codebook", [None, 1, 2])
@torch.no_grad()
def test_padding_never_enters_a_loss(codebook: int | None, attention: str) -> None:
    model = tiny(attention=attention)
    losses = [model(*batch(LENGTHS, padding), codebook) for padding in (0, 5, 10**6)]  # 10^6 is no code at all
    assert losses[0][0] == losses[1][0] == losses[2][0]
    assert losses[0][1] == losses[1][1] == losses[2][1]


@both_attentions
@torch.no_grad()
def test_order_and_batch_mates_change_no_loss(attention: str) -> None:
    """The loss of a batch is the mean of its items' losses, each weighted by its target frames."""
    model = tiny(attention=attention)
    whole, parts = model(*batch(LENGTHS, 0))
    reversed_, _ = model(*batch(LENGTHS[::-1], 0))
    alone = [model(*batch([lengths], 0)) for lengths in LENGTHS]
    frames = torch.tensor([float(own) for _, own in LENGTHS])
    torch.testing.assert_close(reversed_, whole, atol=1e-6, rtol=0)
    mean = (torch.stack([loss for loss, _ in alone]) * frames).sum() / frames.sum()
    torch.testing.assert_close(mean, whole, atol=1e-6, rtol=0)
    ln2 = torch.tensor(2.0).log().item()
    assert (parts["ar"] + parts["nar"]) / 2 * ln2 == pytest.approx(whole.item(), abs=1e-5)


@torch.no_grad()
def test_the_nar_loss_is_the_mean_over_codebooks() -> None:
    model = tiny()
    each = [model(*batch(LENGTHS, 0), codebook)[1]["nar"] for codebook in range(1, K)]
    assert sum(each) / len(each) == pytest.approx(model(*batch(LENGTHS, 0))[1]["nar"], abs=1e-5)


def test_a_model_of_one_codebook_has_an_ar_loss_alone() -> None:
    model = tiny(num_quantizers=1)
    x, x_lens, y, y_lens = batch(LENGTHS, 0)
    loss, parts = model(x[..., :1], x_lens, y[..., :1], y_lens)
    assert parts["nar"] == 0.0 and loss.item() == pytest.approx(parts["ar"] * torch.tensor(2.0).log().item(), abs=1e-5)
    out = generate(model, x[:1, :4, :1], Geometry(4, 5), SamplingConfig(), [torch.Generator().manual_seed(0)])
    assert out.shape == (1, 5, 1)


@both_attentions
@pytest.mark.parametrize("positions", POSITIONS)
def test_gradients_reach_every_parameter_of_the_decoder_in_training(positions: str, attention: str) -> None:
    """And none of the other decoder."""
    geometry, model = GEOMETRIES["both"], tiny(positions, attention)
    context, target = window(geometry)
    ar = model.ar_predict(context, target, geometry, ends=torch.tensor([True, False]))[0].loss()
    nar = [model.nar_predict(context, target, geometry, k).loss() for k in range(1, K)]
    for prefix, loss in (("ar", ar), ("nar", torch.stack(nar).mean())):
        model.zero_grad(set_to_none=True)
        loss.backward()
        for name, parameter in model.named_parameters():
            if name.startswith("ar_") == (prefix == "ar"):
                assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
            else:
                assert parameter.grad is None, name


def test_the_end_is_labelled_only_where_a_piece_ends() -> None:
    geometry, model = GEOMETRIES["left only"], tiny()
    context, target = window(geometry, batch=3)
    plain = model.ar_predict(context, target, geometry)[0]
    ending = model.ar_predict(context, target, geometry, ends=torch.tensor([True, False, True]))[0]
    assert torch.equal(plain.labels, target[..., 0])
    assert ending.labels[:, -1].tolist() == [model.eos, IGNORE, model.eos]
    assert torch.equal(ending.labels[:, :-1], plain.labels)
    torch.testing.assert_close(ending.logits[:, :-1], plain.logits, atol=1e-5, rtol=0)
    assert ending.losses()[1, -1] == 0 and (ending.losses()[[0, 2], -1] > 0).all()
    labelled = ending.losses().sum() / (ending.labels != IGNORE).sum()
    torch.testing.assert_close(ending.loss(), labelled)


@pytest.mark.parametrize("name", ["audiolm", "audio-lm", "Audio-LM"])
def test_get_model_knows_both_names(name: str) -> None:
    model = get_model(name, d_model=32, nhead=2, num_layers=1, num_quantizers=2, codebook_size=V)
    assert model.config == ModelConfig(d_model=32, nhead=2, num_layers=1, num_quantizers=2, codebook_size=V)


@pytest.mark.parametrize(
    ("name", "fields", "error", "words"),
    [
        ("vall-e", {}, UsageError, "vall-e.*audiolm"),
        ("audiolm", {"decoder_dim": 64}, ModelError, "decoder_dim.*d_model"),
        ("audiolm", {"d_model": 30, "nhead": 4}, ModelError, "d_model .*must be a multiple of twice nhead"),
        ("audiolm", {"positions": "learned"}, ModelError, "rotary.*learned"),
        ("audiolm", {"context_attention": "none"}, ModelError, "full.*causal.*none"),
        ("audiolm", {"context_codebooks": "first"}, ModelError, "all.*own.*first"),
    ],
)
def test_get_model_explains_what_it_cannot_build(
    name: str, fields: dict[str, int | str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        get_model(name, **fields)


@both_attentions
def test_weights_in_and_out_give_the_same_codes(attention: str) -> None:
    model = tiny(attention=attention)
    other = build(model.config).eval()
    load_weights(other, copy.deepcopy(model.state_dict()))
    prompt, geometry = window(Geometry(6, 9), batch=1)[0], Geometry(6, 9)
    codes = [
        generate(m, prompt, geometry, SamplingConfig(), [torch.Generator().manual_seed(5)]) for m in (model, other)
    ]
    assert torch.equal(*codes)


@pytest.mark.parametrize("heard", ["all", "own"])
def test_adopted_codebooks_make_similar_codes_similar(heard: str) -> None:
    """Embeddings and heads get the codebooks' geometry; a codec wider than the model changes nothing."""
    model = tiny(context_codebooks=heard, ar_codebooks=2)
    codebooks = torch.randn(K, V, 8, generator=torch.Generator().manual_seed(0))
    codebooks[:, 1] = codebooks[:, 0] * 1.01
    model.adopt_codebooks(codebooks)

    def similarities(vectors: Tensor) -> Tensor:
        return torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)

    tables = [*model.ar_embeddings, *model.nar_embeddings, model.ar_depth_heads[0][1], *model.nar_heads]  # type: ignore[index]
    for table, k in zip(tables, [*range(len(model.ar_embeddings)), *range(K), *range(1, K)], strict=True):
        weights = table.weight.detach()
        torch.testing.assert_close(similarities(weights), similarities(codebooks[k]), atol=1e-4, rtol=0)
        usual = AR_EMBEDDING_STD if any(table is own for own in model.ar_embeddings) else WEIGHT_STD
        assert 0.5 * usual < weights.std() < 2 * usual
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.adopt_codebooks(torch.randn(K, V, 33))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        load_weights(tiny(), tiny(num_layers=1).state_dict())


@both_attentions
def test_inference_continues_each_prompt_by_its_own_length(attention: str) -> None:
    """Codes of the promised shape, the same for the same seed, and untouched by the padding of the prompts."""
    model = tiny(attention=attention)
    x_lens = torch.tensor([3, 7, 0])
    x = torch.randint(V, (3, 7, K), generator=torch.Generator().manual_seed(0))
    padded = x.clone()
    padded[0, 3:], padded[2] = 1, 2
    runs = [
        model.inference(codes, x_lens, max_new_tokens=6, generator=torch.Generator().manual_seed(seed))
        for codes, seed in ((x, 4), (padded, 4), (x, 5))
    ]
    assert runs[0].shape == (3, 6, K) and runs[0].dtype == torch.int64
    assert runs[0].min() >= 0 and runs[0].max() < V
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    greedy = [model.inference(x, x_lens, max_new_tokens=6, temperature=0) for _ in range(2)]
    assert torch.equal(*greedy)


@pytest.mark.parametrize(("frames", "terminal", "shown"), [(600, True, True), (600, False, False), (6, True, False)])
def test_inference_of_many_frames_shows_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, frames: int, terminal: bool, shown: bool
) -> None:
    """In a terminal alone, and the codes are the same."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    model, x = tiny(), torch.zeros(2, 3, K, dtype=torch.int64)
    codes = model.inference(x, torch.tensor([3, 3]), frames, generator=torch.Generator().manual_seed(1))
    assert ("frames" in stream.getvalue() and "100%" in stream.getvalue()) == shown and bool(stream.getvalue()) == shown

    monkeypatch.setattr(frame_bar, "MANY_FRAMES", 10**9)
    again = model.inference(x, torch.tensor([3, 3]), frames, generator=torch.Generator().manual_seed(1))
    assert torch.equal(codes, again)


def test_places_of_labels() -> None:
    """How many codes are likelier; of equal ones the first comes first, and the end of the sequence is none of them."""
    logits = torch.tensor([[0.0, 2.0, 1.0, 2.0, 9.0], [1.0, 1.0, 1.0, 1.0, 1.0]]).repeat(2, 1)[None]  # [1, 4, 5]
    labels = torch.tensor([[0, 2, 3, 4]])
    assert Predictions(codebook=0, logits=logits, labels=labels).ranks().tolist() == [[3, 2, 1, 4]]
    assert Predictions(codebook=1, logits=logits, labels=labels).ranks().tolist() == [[4, 2, 2, 4]]


@both_attentions
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", GEOMETRIES)
@torch.no_grad()
def test_a_model_of_a_style_is_what_training_with_it_sees(name: str, positions: str, attention: str) -> None:
    """In every pass, cached or whole; without a style, or with -1, the vectors of styles do not count."""
    geometry, model = GEOMETRIES[name], tiny(positions, attention, styles=("harp", "bell"))
    context, target = window(geometry)
    styled, own = model.with_style("bell"), torch.tensor([1, 1])
    logits = model.ar_predict(context, target, geometry, styles=own)[0].logits
    torch.testing.assert_close(styled.ar_predict(context, target, geometry)[0].logits, logits, atol=1e-4, rtol=0)
    ar = AR(styled, context, geometry, takes=2)
    steps = [ar.step(None if t == 0 else target[:, t - 1 : t, 0]) for t in range(geometry.gap)]
    torch.testing.assert_close(torch.stack(steps, dim=1), logits, atol=1e-4, rtol=0)

    fine = model.nar_predict(context, target, geometry, 2, styles=own).logits
    memory = styled.nar_memory(context, geometry, 2)
    torch.testing.assert_close(styled.nar_read(memory, target, geometry, 2), fine, atol=1e-4, rtol=0)

    plain = (
        model.ar_predict(context, target, geometry)[0].logits,
        model.nar_predict(context, target, geometry, 2).logits,
    )
    none = torch.tensor([-1, -1])
    assert torch.equal(model.ar_predict(context, target, geometry, styles=none)[0].logits, plain[0])
    assert torch.equal(model.nar_predict(context, target, geometry, 2, styles=none).logits, plain[1])
    for a, b in zip((logits, fine), plain, strict=True):
        assert ((a - b).abs().amax(dim=2) > 1e-6).all()


@torch.no_grad()
def test_styles_of_a_batch_are_those_of_its_items() -> None:
    geometry, model = GEOMETRIES["both"], tiny(styles=("harp", "bell"))
    context, target = window(geometry)
    mixed = model.ar_predict(context, target, geometry, styles=torch.tensor([1, -1]))[0].logits
    torch.testing.assert_close(mixed[:1], model.with_style("bell").ar_predict(context, target, geometry)[0].logits[:1])
    torch.testing.assert_close(mixed[1:], model.ar_predict(context, target, geometry)[0].logits[1:])


def test_a_model_of_a_style_shares_the_weights_of_its_own() -> None:
    """All but the segments, which stay what they were in the model itself."""
    model = tiny(styles=("harp", "bell"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    styled = model.with_style("harp")
    assert styled.unstyled is model and model.unstyled is model
    own, theirs = model.state_dict(keep_vars=True), styled.state_dict(keep_vars=True)
    assert {name for name in own if theirs[name] is not own[name]} == {"ar_segments.weight", "nar_segments.weight"}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("guidance", [0.0, 2.0])
@pytest.mark.parametrize("name", ["left only", "neither", "elsewhere"])
def test_guidance_is_against_neither_context_nor_style(name: str, guidance: float) -> None:
    """At 0 all that is left is the model that was told nothing."""
    geometry, model = GEOMETRIES[name], tiny(styles=("harp", "bell"))
    sampling = SamplingConfig(temperature=0, nar_temperature=0, guidance=guidance)
    made = []
    for seed, style in ((0, "harp"), (1, "bell")):
        context, _ = window(geometry, batch=1, seed=seed)
        made.append(generate(model.with_style(style), context, geometry, sampling, [torch.Generator()]))
    assert torch.equal(*made) == (guidance == 0)
    if guidance == 0:
        plain, alone = SamplingConfig(temperature=0, nar_temperature=0), Geometry(0, geometry.gap)
        assert torch.equal(made[0], generate(model, context[:, :0], alone, plain, [torch.Generator()]))


def test_a_style_that_a_model_does_not_know_yet_is_nothing() -> None:
    """Its other weights and styles are taken over as they are."""
    old, new = tiny(styles=("harp",)), tiny(styles=("harp", "bell"))
    for start in (tiny(), old):
        state = extend_weights(new, start.state_dict())
        load_weights(new, state)
        for name, tensor in start.state_dict().items():
            assert torch.equal(state[name][: len(tensor)] if tensor.dim() else state[name], tensor), name
        assert not state["ar_styles.weight"][-1].any() and not state["nar_styles.weight"][-1].any()
