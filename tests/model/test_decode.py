"""Generating codes, in one window and in several: seeds, lengths, ends, and which context each step hears."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.cores import Cores
from audiolm_cli.editing import windows
from audiolm_cli.editing.windows import GapFiller, plan_step
from audiolm_cli.model.decode import Timing, fill_codebooks, generate, plan_passes
from audiolm_cli.model.decoders import Decoders, build, extend_weights, load_weights
from audiolm_cli.model.geometry import ELSEWHERE, LEFT, Geometry
from audiolm_cli.model.scoring import continuation_score, following_score
from audiolm_cli.model.stream import StreamedWindow

V, K, WINDOW = 16, 3, 12


@pytest.fixture(scope="module", params=["full-all-1", "causal-all-1", "causal-own-1", "causal-own-2"])
def model(request: pytest.FixtureRequest) -> Decoders:
    """A small model, once with each attention of the context, once hearing its own codebook alone, and with two."""
    torch.manual_seed(0)
    shape = ModelConfig(d_model=32, nhead=2, num_layers=2, num_quantizers=K, codebook_size=V, max_frames=WINDOW)
    attention, codebooks, N = request.param.split("-")
    hears = {"context_attention": attention, "context_codebooks": codebooks, "ar_holding": codebooks == "own"}
    tiny = build(dataclasses.replace(shape, ar_codebooks=int(N), **hears))
    with torch.no_grad():
        for parameter in tiny.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return tiny.eval()


@pytest.fixture(scope="module")
def knowing(model: Decoders) -> Decoders:
    """The same model, with a segment for prompts from elsewhere."""
    torch.manual_seed(1)
    other = build(dataclasses.replace(model.config, prompt_from="split:0.5,elsewhere:0.5")).eval()
    load_weights(other, extend_weights(other, model.state_dict()))
    with torch.no_grad():
        for segments in (other.ar_segments, other.nar_segments):
            segments.weight[ELSEWHERE].add_(torch.randn(32))
    return other


@pytest.fixture
def ending(model: Decoders) -> Decoders:
    """The same model, which ends a piece every few frames."""
    other = build(model.config).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.ar_decoder.norm.bias.fill_(1.0)
        other.ar_head.weight[other.eos] = 1.2 / 32
        other.ar_head.weight[: other.eos] *= 0.3
    return other


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def codes(frames: int, seed: int = 0, batch: int = 1) -> Tensor:
    return torch.randint(V, (batch, frames, K), generator=torch.Generator().manual_seed(seed))


GEOMETRIES = [Geometry(4, 7), Geometry(0, 7, 4), Geometry(3, 5, 3), Geometry(0, 6), Geometry(5, 1, 5)]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_seed_fixes_the_codes_and_the_gap_their_number(model: Decoders, geometry: Geometry) -> None:
    context = codes(geometry.context)
    runs = [generate(model, context, geometry, SamplingConfig(), seeded(*seeds)) for seeds in ((1, 2), (1, 2), (3, 4))]
    assert runs[0].shape == (2, geometry.gap, K) and runs[0].dtype == torch.int64
    assert runs[0].min() >= 0 and runs[0].max() < V, "the end of the piece is no code"
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert not torch.equal(runs[0][0], runs[0][1]), "takes differ"


def test_a_take_is_the_same_alone_and_among_others(model: Decoders) -> None:
    geometry, sampling = Geometry(4, 8), SamplingConfig(nar_temperature=0.7)
    together = generate(model, codes(4), geometry, sampling, seeded(1, 2, 3))
    for i, seed in enumerate((1, 2, 3)):
        assert torch.equal(generate(model, codes(4), geometry, sampling, seeded(seed))[0], together[i])


def test_takes_may_have_contexts_of_their_own(model: Decoders) -> None:
    geometry, contexts = Geometry(4, 6), codes(4, batch=2)
    together = generate(model, contexts, geometry, SamplingConfig(), seeded(1, 2))
    for i, seed in enumerate((1, 2)):
        alone = generate(model, contexts[i : i + 1], geometry, SamplingConfig(), seeded(seed))
        assert torch.equal(alone[0], together[i])


def test_greedy_codes_are_the_most_likely_ones(model: Decoders) -> None:
    """Checked against the full passes that training uses: every generated code is the argmax given those before it."""
    geometry, context = Geometry(4, 6, 2), codes(6)
    made = generate(model, context, geometry, SamplingConfig(temperature=0, nar_temperature=0), seeded(0))
    with torch.no_grad():
        ar = [own.logits[..., : model.eos] for own in model.ar_predict(context, made, geometry)]
        rest = [model.nar_predict(context, made, geometry, k).logits for k in range(len(ar), K)]
    for k, logits in enumerate([*ar, *rest]):
        assert torch.equal(logits.argmax(-1), made[..., k])


def test_progress_and_timing_count_frames(model: Decoders) -> None:
    seen: list[int] = []
    timing = Timing()
    for _ in range(2):
        generate(model, codes(4), Geometry(4, 5), SamplingConfig(), seeded(1, 2), on_frame=seen.append, timing=timing)
    assert seen == [1, 2, 3, 4, 5] * 2
    assert timing.frames == 2 * 2 * 5 and timing.ar_s > 0 and timing.nar_s > 0


def lengths(made: Tensor) -> list[int]:
    """How long each take is, after checking that -1 fills exactly what follows it."""
    known = made >= 0
    own = known[..., 0].sum(1)
    assert torch.equal(known, (torch.arange(made.shape[1]) < own[:, None])[..., None].expand_as(known))
    assert (made < V).all()
    return own.tolist()


def test_until_end_stops_each_take_at_its_own_end(ending: Decoders) -> None:
    made = generate(ending, codes(4), Geometry(4, 8), SamplingConfig(), seeded(*range(12)), until_end=True)
    own = lengths(made)
    assert len(set(own)) > 2 and max(own) == made.shape[1] <= 8
    exact = generate(ending, codes(4), Geometry(4, 8), SamplingConfig(), seeded(*range(12)))
    assert lengths(exact) == [8] * 12, "without until_end, no take ends"


def test_a_piece_may_end_at_once(ending: Decoders) -> None:
    with torch.no_grad():
        ending.ar_head.weight[ending.eos] = 10.0
    assert generate(ending, codes(4), Geometry(4, 8), SamplingConfig(), seeded(0), until_end=True).shape == (1, 0, K)
    filler = GapFiller(model=ending, sampling=SamplingConfig(), until_end=True)
    assert filler.fill(codes(4), codes(0), 30, seeded(0)).shape == (1, 0, K)


sides = st.integers(0, 30)


@given(left=sides, missing=st.integers(1, 60), right=sides, window=st.integers(2, 24))
@settings(deadline=None)
def test_a_step_fits_the_window_and_moves_on(left: int, missing: int, right: int, window: int) -> None:
    step = plan_step(left, missing, right, window)
    assert step.frames <= window
    assert 1 <= step.gap <= missing
    assert step.left <= left and step.right <= right
    if left > 0 and step.gap < missing:
        assert step.right == 0, "right context is heard only by the step that reaches it"
    if right > 0 and step.gap == missing and window > 3:
        assert step.right > 0, "the step that reaches the right context hears it"
    if left > 0:
        assert step.left > 0 or step.gap == missing
    assert step.context >= min(left + (right if step.right else 0), window // 2) or step.frames == window


@given(left=sides, frames=st.integers(1, 60), right=st.integers(1, 30), window=st.integers(2, 24))
@settings(deadline=None)
def test_the_last_step_hears_the_right_context_from_half_a_window_away(
    left: int, frames: int, right: int, window: int
) -> None:
    """Or from the beginning of the gap, where that is nearer: then it has time to get there."""
    missing = frames
    while left > 0 and (step := plan_step(left, missing, right, window)).gap < missing:
        missing, left = missing - step.gap, left + step.gap
    assert missing >= min(frames, window // 2)


@pytest.mark.parametrize(("left", "right"), [(20, 0), (0, 20), (20, 20), (0, 0), (1, 0), (0, 1), (1, 20), (20, 1)])
@pytest.mark.parametrize("frames", [1, 5, 6, 7, 11, 12, 13, 40])
def test_a_gap_of_any_length_is_filled(
    model: Decoders, monkeypatch: pytest.MonkeyPatch, left: int, right: int, frames: int
) -> None:
    """Every window fits the model, hears the frames around its own gap, and the frames are counted up to the last.

    Once the end of the context that all began with is out of reach, it has four fifths of what is heard.
    """
    before, after = codes(left, 1), codes(right, 2)
    steps: list[tuple[Tensor, Geometry, Tensor]] = []

    def recorded(model: Decoders, context: Tensor, geometry: Geometry, *args: object, **kwargs: object) -> Tensor:
        new = generate(model, context, geometry, *args, **kwargs)  # type: ignore[arg-type]
        steps.append((context, geometry, new))
        return new

    monkeypatch.setattr(windows, "generate", recorded)
    seen: list[tuple[int, int]] = []
    filler = GapFiller(model=model, sampling=SamplingConfig(), on_frame=lambda *count: seen.append(count))
    made = filler.fill(before, after, frames, seeded(1, 2))
    assert made.shape == (2, frames, K)
    assert made.min() >= 0 and made.max() < V
    assert [done for done, _ in seen] == list(range(1, frames + 1))
    ends = list(itertools.accumulate(geometry.gap for _, geometry, _ in steps))
    assert [done for done, stop in seen if done == stop] == ends, "the fine codes follow at the end of each step"
    before, after = before.expand(2, -1, -1), after.expand(2, -1, -1)
    backwards = left == 0 and right > 0
    if backwards:  # the same seen from behind
        before, after, made = after.flip(1), before.flip(1), made.flip(1)

    done = 0
    for context, geometry, new in steps:
        assert geometry.frames <= WINDOW
        heard, beyond = geometry.left, geometry.right
        if backwards:
            heard, beyond, new = geometry.right, geometry.left, new.flip(1)
            context = context.flip(1)
        assert torch.equal(made[:, done : done + geometry.gap], new)

        kept = min(round(0.8 * heard), before.shape[1])
        near = torch.cat([before, made[:, :done]], dim=1)
        if done + kept > heard:
            near = torch.cat([before[:, before.shape[1] - kept :], near[:, near.shape[1] - heard + kept :]], dim=1)
        near = near[:, near.shape[1] - heard :]
        assert torch.equal(context.expand(2, -1, -1), torch.cat([after[:, :beyond], near], dim=1))
        done += geometry.gap


def test_filling_a_gap_repeats_with_its_seed(model: Decoders) -> None:
    filler = GapFiller(model=model, sampling=SamplingConfig())
    runs = [filler.fill(codes(5), codes(5), 30, seeded(*seeds)) for seeds in ((1, 2), (1, 2), (2, 1))]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2].flip(0)), "a take depends on its own seed"
    assert not torch.equal(runs[0][0], runs[0][1])


def test_a_take_that_ends_does_not_end_the_others(ending: Decoders) -> None:
    """Over several windows, each take comes out as long as it does alone."""
    seeds = range(24)
    filler = GapFiller(model=ending, sampling=SamplingConfig(), until_end=True)
    made = filler.fill(codes(5), codes(0), 60, seeded(*seeds))
    own = lengths(made)
    assert min(own) < WINDOW < max(own) == made.shape[1]
    for i, seed in enumerate(seeds):
        alone = filler.fill(codes(5), codes(0), 60, seeded(seed))
        assert torch.equal(alone[0], made[i, : own[i]])


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_several_nar_passes_keep_the_given_codebooks(model: Decoders, geometry: Geometry) -> None:
    context, target = codes(geometry.context), codes(geometry.gap, seed=1)
    noise = torch.rand(1, K, geometry.gap, generator=torch.Generator().manual_seed(2))
    one, many = (
        fill_codebooks(
            model, context, target, geometry, SamplingConfig(nar_passes=n, nar_temperature=0), noise, known_codebooks=2
        )
        for n in (1, 4)
    )
    for filled in (one, many):
        assert torch.equal(filled[..., :2], target[..., :2])
        assert filled.min() >= 0 and filled.max() < V
    assert torch.equal(one[..., 2], model.nar_predict(context, target, geometry, 2).logits.argmax(-1))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@torch.no_grad()
def test_codebooks_after_a_given_one_are_the_likeliest_after_it(model: Decoders, geometry: Geometry) -> None:
    """Whichever decoder makes them; as where a recording is restyled."""
    context, target = codes(geometry.context), codes(geometry.gap, seed=1)
    noise = torch.rand(1, K, geometry.gap, generator=torch.Generator().manual_seed(2))
    greedy = SamplingConfig(temperature=0, nar_temperature=0, nar_passes=1)
    filled = fill_codebooks(model, context, target, geometry, greedy, noise)
    assert torch.equal(filled[..., 0], target[..., 0])

    ar = model.ar_predict(context, filled, geometry)[1:]
    rest = range(model.config.ar_codebooks, K)
    for own in [*ar, *(model.nar_predict(context, filled, geometry, k) for k in rest)]:
        assert torch.equal(filled[..., own.codebook], own.logits.argmax(-1))


def test_later_passes_hear_the_frames_of_earlier_ones(model: Decoders) -> None:
    geometry, sampling = Geometry(4, 8), SamplingConfig(nar_temperature=1.0)
    context, target = codes(4), codes(8, seed=1)
    noise = torch.rand(1, K, 8, generator=torch.Generator().manual_seed(2))
    filled = [
        fill_codebooks(model, context, target, geometry, SamplingConfig(nar_temperature=1.0, nar_passes=n), noise)
        for n in (1, 1, 3, 3)
    ]
    assert torch.equal(filled[0], filled[1]) and torch.equal(filled[2], filled[3])
    assert not torch.equal(filled[0], filled[2])
    assert sampling.nar_passes is None and torch.equal(
        fill_codebooks(model, context, target, geometry, sampling, noise), filled[0]
    ), "the model's own number is 1"


@pytest.mark.parametrize("passes", [1, 3, 8, 20])
def test_every_frame_comes_once_in_the_order_that_is_given(passes: int) -> None:
    order = torch.tensor([[3, 0, 4, 1, 2, 7, 6, 5], [0, 1, 2, 3, 4, 5, 6, 7]])
    known = torch.zeros(2, 8, dtype=torch.bool)
    for before, frames in plan_passes(order, passes):
        now = torch.zeros_like(known).scatter(1, frames, True)
        assert torch.equal(torch.zeros_like(known) if before is None else before, known) and not (known & now).any()
        if known.any(1).all() and now.any(1).all():
            assert (order[known].max() < order[now].min()).all()
        known |= now
    assert known.all()


ASIDE = [Geometry(0, 6, elsewhere=4), Geometry(3, 5, 2, elsewhere=3)]


@pytest.mark.parametrize("geometry", ASIDE, ids=str)
def test_a_prompt_from_elsewhere_is_heard_and_fixed_by_the_seed(knowing: Decoders, geometry: Geometry) -> None:
    """Another one gives other codes, and so does leaving it out."""
    context, sampling = codes(geometry.context), SamplingConfig(nar_temperature=1.0)
    other = torch.cat([codes(geometry.elsewhere, seed=9), context[:, geometry.elsewhere :]], dim=1)
    without = dataclasses.replace(geometry, elsewhere=0)
    made = generate(knowing, context, geometry, sampling, seeded(1))
    assert made.shape == (1, geometry.gap, K)
    assert torch.equal(made, generate(knowing, context, geometry, sampling, seeded(1)))
    assert not torch.equal(made, generate(knowing, other, geometry, sampling, seeded(1)))
    assert not torch.equal(made, generate(knowing, context[:, geometry.elsewhere :], without, sampling, seeded(1)))


def test_a_prompt_from_elsewhere_that_is_not_used_changes_nothing(model: Decoders, knowing: Decoders) -> None:
    """The weights of a model without one are taken over as they are, and give what they gave."""
    for geometry in GEOMETRIES:
        context = codes(geometry.context)
        made = [generate(own, context, geometry, SamplingConfig(), seeded(1)) for own in (model, knowing)]
        assert torch.equal(*made)


def test_a_segment_that_a_model_does_not_have_begins_as_the_left_one(model: Decoders, knowing: Decoders) -> None:
    state = extend_weights(knowing, model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name][: len(tensor)] if tensor.dim() else state[name], tensor), name
    for name in ("ar_segments.weight", "nar_segments.weight"):
        assert torch.equal(state[name][ELSEWHERE], state[name][LEFT]) and len(state[name]) == ELSEWHERE + 1


@pytest.mark.parametrize(("left", "right", "frames"), [(9, 0, 40), (0, 9, 40), (9, 9, 5), (9, 9, 40), (0, 0, 30)])
def test_every_window_begins_with_the_prompt_from_elsewhere(
    knowing: Decoders, monkeypatch: pytest.MonkeyPatch, left: int, right: int, frames: int
) -> None:
    """Of a gap of any length, and all windows fit; several takes are what each is alone."""
    aside, seen = codes(3, seed=5), []

    def note(*args: Any, **settings: Any) -> Tensor:
        seen.append((args[1], args[2]))
        return generate(*args, **settings)

    monkeypatch.setattr(windows, "generate", note)
    filler = GapFiller(model=knowing, sampling=SamplingConfig(), elsewhere=aside)
    made = filler.fill(codes(left), codes(right, seed=1), frames, seeded(1, 2))
    assert made.shape == (2, frames, K)
    assert torch.equal(filler.fill(codes(left), codes(right, seed=1), frames, seeded(2))[0], made[1])

    for context, geometry in seen:
        assert geometry.elsewhere == 3 and geometry.frames <= WINDOW and context.shape[1] == geometry.context
        assert torch.equal(context[:, :3], aside.expand(len(context), -1, -1))
    if left and right:
        assert seen[0][1].left and any(geometry.right for _, geometry in seen)


@pytest.mark.parametrize("guidance", [0.0, 2.0])
def test_guidance_is_against_no_prompt_from_elsewhere(knowing: Decoders, guidance: float) -> None:
    """At 0 all that is left is the model without any context, whatever the prompt."""
    geometry = Geometry(0, 8, elsewhere=4)
    sampling = SamplingConfig(temperature=0, nar_temperature=0, guidance=guidance)
    made = [generate(knowing, codes(4, seed=own), geometry, sampling, seeded(1)) for own in (0, 9)]
    assert torch.equal(*made) == (guidance == 0)
    if guidance == 0:
        plain = SamplingConfig(temperature=0, nar_temperature=0)
        assert torch.equal(made[0], generate(knowing, codes(0), Geometry(0, 8), plain, seeded(1)))


def test_scores_hear_the_prompt_from_elsewhere(knowing: Decoders) -> None:
    """What was drawn with it is likelier with it than with another one, in windows that it is part of."""
    aside, left, right = codes(4, seed=5), codes(5), codes(3, seed=1)
    plain = SamplingConfig(temperature=1)
    made = GapFiller(model=knowing, sampling=plain, elsewhere=aside).fill(left, codes(0), 20, seeded(*range(32)))
    with_it, with_other = (continuation_score(knowing, left, made, own) for own in (aside, codes(4, seed=9)))
    assert with_it.mean() > with_other.mean()
    assert not torch.equal(continuation_score(knowing, left, made), with_it)
    follows = [following_score(knowing, left, made, right, own) for own in (aside, None)]
    assert not torch.equal(*follows)


def test_a_stream_has_the_first_codes_of_one_window(knowing: Decoders) -> None:
    """With a prompt from elsewhere as without, and its fine codes hear it."""
    geometry, fine = Geometry(3, 6, elsewhere=3), []
    for aside in (codes(3, seed=5), codes(3, seed=9)):
        context = geometry.gather(codes(3), elsewhere=aside)
        (generator,) = seeded(1)
        stream = StreamedWindow(knowing, context, geometry, SamplingConfig(), generator, Timing(), Cores())
        stream.advance(4)
        part = stream.fill(context[:, :0], 4)
        stream.advance(6)
        whole = torch.cat([part, stream.fill(part, 6)], dim=1)
        at_once = generate(knowing, context, geometry, SamplingConfig(), seeded(1))
        N = knowing.config.ar_codebooks
        assert torch.equal(whole[..., :N], at_once[..., :N])
        fine.append(whole)
    assert not torch.equal(*fine)
