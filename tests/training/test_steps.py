"""One training step: parts of a batch add up to the whole, memory that runs out, spikes, and what is drawn."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.distributed import Ranks
from audiolm_cli.errors import MemoryLimitError
from audiolm_cli.model.decoders import IGNORE, Decoders, build
from audiolm_cli.model.geometry import APART, ELSEWHERE, SHORTEST_SIDE
from audiolm_cli.training.batches import STYLES_DROPPED, Batches, task_mix
from audiolm_cli.training.spikes import COUNTED_FROM, SpikeGuard
from audiolm_cli.training.steps import FURTHER_WEIGHTS, BatchLoss, Stepper

SHAPE = ModelConfig(d_model=32, nhead=2, num_layers=1, num_quantizers=3, codebook_size=16, max_frames=24)
CONFIG = TrainConfig(
    nar_known=0.6, steps=50, batch_frames=8 * 24, shortest_window=24, seed=3, dtype="fp32", warmup_steps=0
)
"""Eight windows of 24 frames."""


def model(attention: str = "full") -> Decoders:
    """With a full context one codebook by the AR decoder, with a causal one two."""
    torch.manual_seed(0)
    return build(dataclasses.replace(SHAPE, context_attention=attention, ar_codebooks=1 + (attention == "causal")))


def clips() -> list[TokenClip]:
    """Short enough that windows often reach their ends."""
    rng = np.random.default_rng(0)
    return [TokenClip(id=str(i), codes=rng.integers(16, size=(30, 3)).astype(np.int16)) for i in range(5)]


def gradients(config: TrainConfig, step: int, attention: str = "full") -> tuple[float, dict[str, Tensor]]:
    """Loss and unclipped gradients of one step."""
    stepper = Stepper(model(attention), dataclasses.replace(config, clip_norm=math.inf), clips())
    loss = stepper.step(step).loss
    return loss, {n: p.grad for n, p in stepper.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("attention", ["full", "causal"])
@pytest.mark.parametrize("step", range(6))
def test_four_parts_are_one_batch(step: int, attention: str) -> None:
    """Loss and gradients, whatever share of labels is in which part: endings and known frames differ between them."""
    small = dataclasses.replace(CONFIG, micro_frames=2 * 24 + 5)
    whole, parts = gradients(CONFIG, step, attention), gradients(small, step, attention)
    assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    assert parts[1].keys() == whole[1].keys()
    for name, gradient in whole[1].items():
        torch.testing.assert_close(parts[1][name], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("attention", ["full", "causal"])
def test_a_step_tells_what_it_learned_from(attention: str) -> None:
    """Bits and accuracies are means over all labelled frames; a causal left context is among them."""
    stepper = Stepper(model(attention), dataclasses.replace(CONFIG, train_stage=1), clips())
    lefts = 0
    for step in range(8):
        batch = stepper.batches.draw(step)
        context, target = batch.geometry.split(torch.from_numpy(batch.windows.codes))
        ends = torch.from_numpy(batch.windows.ends) if batch.geometry.right == 0 else None
        with torch.no_grad():
            both = stepper.model.ar_predict(context, target, batch.geometry, ends, with_context=True)

        whole = stepper.step(step)
        reports = whole.decoders
        assert [(own.name, own.codebook) for own in reports] == [("ar", k) for k in range(len(both))]
        for own, labelled in zip(reports, both, strict=True):
            assert own.labels == int((labelled.labels != IGNORE).sum())
            assert own.bits == pytest.approx(labelled.loss().item() / math.log(2), rel=1e-5)
        weighed = sum(weight * own.loss().item() for weight, own in zip((1, *FURTHER_WEIGHTS), both, strict=False))
        assert whole.loss == pytest.approx(weighed, rel=1e-5)
        predicted, report = both[0], reports[0]
        assert report.labels == int((predicted.labels != IGNORE).sum())
        assert report.bits == pytest.approx(predicted.loss().item() / math.log(2), rel=1e-5)
        hits = (predicted.ranks() < 10) & (predicted.labels != IGNORE)
        assert report.top10 == pytest.approx(int(hits.sum()) / report.labels)

        own = report.labels - int(batch.windows.ends.sum()) * (ends is not None)
        assert own == len(context) * (batch.geometry.gap + (batch.geometry.left if attention == "causal" else 0))
        lefts += batch.geometry.left
    assert lefts > 0, "else both attentions are one"


def test_accumulation_trains_as_one_batch_does() -> None:
    """Fifty steps of each."""
    ends = []
    for micro_frames in (0, 48):
        stepper = Stepper(model(), dataclasses.replace(CONFIG, micro_frames=micro_frames), clips())
        ends.append([stepper.step(step).loss for step in range(20)])
    assert ends[1] == pytest.approx(ends[0], abs=1e-4)


def test_the_batches_have_endings_and_known_frames() -> None:
    """Else the test above would show little."""
    drawn = [Batches(clips(), SHAPE, CONFIG).draw(step) for step in range(6)]
    assert any(batch.windows.ends.any() and batch.geometry.right == 0 for batch in drawn)
    assert any(batch.known.any() for batch in drawn)


def test_a_step_that_does_not_fit_is_made_in_smaller_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same step, with dropout as well; where not even one window fits, the message says what to do."""
    room = 3
    forward = BatchLoss.forward

    def small(self: BatchLoss, codes: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
        if len(codes) > room:
            raise torch.OutOfMemoryError
        return forward(self, codes, *rest)  # type: ignore[arg-type]

    whole = gradients(CONFIG, 0)
    monkeypatch.setattr(BatchLoss, "forward", small)
    stepper = Stepper(model(), CONFIG, clips())
    assert stepper.step(0).loss == pytest.approx(whole[0], rel=1e-6)
    assert stepper.micro_frames == 2 * 24

    room = 0
    with pytest.raises(MemoryLimitError, match="--micro-frames"):
        stepper.step(1)


def test_the_parts_of_all_processes_are_the_batch() -> None:
    for count in (4, 5, 9):
        parts = [list(range(count))[Ranks(rank=rank, size=4).part(count)] for rank in range(4)]
        assert [i for part in parts for i in part] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert Ranks(rank=3, size=4, local=1).device("cuda") == "cuda:1"
    assert Ranks(rank=3, size=4, local=1).device("cpu") == "cpu" and Ranks().device("cuda:2") == "cuda:2"


def test_a_spike_is_told_from_a_hard_batch() -> None:
    """Losses between 2 and 6 are usual here; 60 is not, nor what is no number, at any time."""
    guard, rng = SpikeGuard(8.0), np.random.default_rng(0)
    assert not guard.accept(math.nan) and not guard.accept(math.inf)
    assert all(guard.accept(float(rng.uniform(2, 6))) for _ in range(COUNTED_FROM))
    assert not guard.accept(60.0) and not guard.accept(60.0) and guard.accept(6.0)

    other = SpikeGuard(8.0)
    other.restore(guard.to_dict())
    assert not other.accept(60.0) and other.accept(5.0)


def test_the_first_losses_are_no_spikes() -> None:
    guard = SpikeGuard(8.0)
    assert all(guard.accept(loss) for loss in (7.6, 7.6, 7.6, 70.0))


def test_the_fixed_split_is_the_published_one() -> None:
    batches = Batches(clips(), SHAPE, dataclasses.replace(CONFIG, fixed_split=True))
    for step in range(20):
        geometry = batches.draw(step).geometry
        assert (geometry.left, geometry.gap, geometry.right) == (10, 14, 0)


@pytest.mark.parametrize("attention", ["full", "causal"])
def test_a_step_learns_from_windows_with_a_prompt_from_elsewhere(attention: str) -> None:
    """No frame of the prompt is labelled; the segments of both decoders learn; batches keep about their frames."""
    shape = dataclasses.replace(SHAPE, max_frames=150, prompt_from="elsewhere", context_attention=attention)
    rng = np.random.default_rng(0)
    long = [TokenClip(id="a", codes=rng.integers(16, size=(400, 3)).astype(np.int16))]
    stepper = Stepper(build(shape), dataclasses.replace(CONFIG, shortest_window=150, batch_frames=600), long)
    before = {name: tensor.clone() for name, tensor in stepper.model.state_dict().items() if "segments" in name}
    for step in range(6):
        batch = stepper.batches.draw(step)
        B, T, _ = batch.windows.codes.shape
        geometry = batch.geometry
        assert geometry.elsewhere >= SHORTEST_SIDE and geometry.frames == T <= 150 - APART and round(600 / T) == B
        own = geometry.gap + (geometry.left if attention == "causal" else 0)
        report = stepper.step(step)
        assert report.used and report.decoders[0].labels - B * own in range(B + 1)
    for name, old in before.items():
        assert not torch.equal(stepper.model.state_dict()[name][ELSEWHERE], old[ELSEWHERE])


def test_windows_are_told_the_styles_of_their_recordings_but_for_some() -> None:
    """Windows of recordings without a label are told none; nothing else of a batch is different."""
    names = ("high", "", "low", "high", "low")
    labelled = [dataclasses.replace(clip, style=name) for clip, name in zip(clips(), names, strict=True)]
    shape = dataclasses.replace(SHAPE, styles=("high", "low"))
    plain, styled = Batches(labelled, SHAPE, CONFIG), Batches(labelled, shape, CONFIG)
    told = []
    for step in range(200):
        batch, without = styled.draw(step), plain.draw(step)
        assert np.array_equal(batch.windows.codes, without.windows.codes) and batch.geometry == without.geometry
        assert np.array_equal(batch.known, without.known) and (without.styles == -1).all()
        for style, at in zip(batch.windows.styles, batch.styles.tolist(), strict=True):
            assert at == -1 or shape.styles[at] == style
            told += [at >= 0] if style else []
    assert 1 - np.mean(told) == pytest.approx(STYLES_DROPPED, abs=0.04)


def test_a_style_learns_from_its_own_windows_alone() -> None:
    shape = dataclasses.replace(SHAPE, styles=("high", "low"))
    one = [dataclasses.replace(clip, style="low") for clip in clips()]
    stepper = Stepper(build(shape), CONFIG, one)
    for step in range(4):
        assert stepper.step(step).used
    for vectors in (stepper.model.ar_styles, stepper.model.nar_styles):
        assert vectors is not None
        assert not vectors.weight[0].any() and vectors.weight[1].all()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.35, 1.0])
def test_shares_of_tasks_sum_to_one_and_keep_their_proportions(share: float) -> None:
    mix = task_mix(share)
    assert mix.continuation + mix.infill + mix.prepend + mix.unconditional == pytest.approx(1.0)
    assert mix.infill == share and mix.continuation == pytest.approx(4.5 * mix.prepend)


def test_a_batch_has_about_its_frames_whatever_the_task() -> None:
    """Infills are cut back to what is near their gap, and more of them make up for it; no rank goes without one."""
    shape = dataclasses.replace(SHAPE, max_frames=150)
    long = [TokenClip(id="a", codes=np.zeros((400, 3), dtype=np.int16))]
    batches = Batches(long, shape, dataclasses.replace(CONFIG, infill_share=0.5, batch_frames=300, shortest_window=150))
    lengths = set()
    for step in range(40):
        batch = batches.draw(step, least=3)
        B, T, _ = batch.windows.codes.shape
        assert batch.geometry.frames == T and max(3, round(300 / T)) == B
        lengths.add(T)
    assert min(lengths) < 100 and max(lengths) == 150


def test_another_attempt_draws_other_batches() -> None:
    batches = Batches(clips(), SHAPE, CONFIG)
    first, again, second = batches.draw(7), batches.draw(7), batches.draw(7, attempt=1)
    assert np.array_equal(first.windows.codes, again.windows.codes) and first.geometry == again.geometry
    assert not np.array_equal(first.windows.codes, second.windows.codes)


def test_seconds_of_a_batch_are_a_maximum() -> None:
    """Frames of a batch are a mean, about which windows of any length come out; seconds are kept to."""
    mixed = dataclasses.replace(CONFIG, shortest_window=10, full_windows=0.0)
    frames, seconds = mixed, dataclasses.replace(mixed, max_duration_s=8 * 24 * 0.02)
    sizes = {}
    for name, config in (("frames", frames), ("seconds", seconds)):
        shapes = [Batches(clips(), SHAPE, config).draw(step).windows.codes.shape for step in range(60)]
        sizes[name] = [B * T for B, T, _ in shapes]
    assert max(sizes["frames"]) > 8 * 24 >= max(sizes["seconds"])
    assert min(sizes["seconds"]) > 7 * 24
