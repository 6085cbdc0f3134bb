"""Generating codes: prefill the context once, step through the first codebook, then go over each further one in passes.

Codes may lie on another device than the model, and what comes back lies where they do: a codec may compute elsewhere.
Knows nothing about audio or files.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from audiolm_cli.config.generation import GUIDANCE, SamplingConfig
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.cores import Cores
from audiolm_cli.devices import float64_device
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.sampling import draw_uniforms, guide_logits, sample_fine, sample_first
from audiolm_cli.model.stepping import AR


def frames_per_end_check(device: torch.device) -> int:
    """After how many frames the device is asked whether every take has ended; each answer keeps a GPU waiting."""
    return 1 if device.type == "cpu" else 16


@dataclass
class Timing:
    """Seconds spent, added up over calls."""

    ar_s: float = 0.0
    """In the AR decoder, prefill included."""
    nar_s: float = 0.0
    """In the NAR decoder."""
    frames: int = 0
    """Frames generated, all takes together."""


def guidance_of(sampling: SamplingConfig, model: ModelConfig) -> float:
    """The guidance that was asked for, or else what is usual for a model of this shape."""
    if sampling.guidance is not None:
        return sampling.guidance
    return 1.0 if model.has_nar else GUIDANCE


class GuidedAR:
    """An AR generation in progress, and beside it, where guidance asks for one, the same without context and style."""

    def __init__(self, model: Decoders, context: Tensor, geometry: Geometry, takes: int, guidance: float) -> None:
        """Read context codes [1 or takes, L, K] (memory order); `guidance` 1 is none."""
        self._guidance = guidance
        self._ar = AR(model, context, geometry, takes)
        self._null = None
        if guidance != 1 and _is_asked(model, geometry):
            self._null = AR(model.unstyled, context[:1, :0], Geometry(0, geometry.gap), takes)

    @property
    def done(self) -> int:
        """Target frames stepped through."""
        return self._ar.done

    def step(self, previous: Tensor | None) -> Tensor:
        """Logits [takes, V + 1] of the next frame's first codebook, after `previous` [takes, N] (None at the first)."""
        logits = self._ar.step(previous)
        if self._null is not None:
            logits = guide_logits(logits, self._null.step(previous), self._guidance)
        return logits

    def deepen(self, made: Tensor) -> Tensor:
        """Logits [takes, V] of the frame's next codebook, after its codes [takes] of the one before."""
        logits = self._ar.deepen(made)
        if self._null is not None:
            logits = guide_logits(logits, self._null.deepen(made), self._guidance)
        return logits

    def rewind(self, done: int) -> None:
        """Forget the target frames from `done` on."""
        self._ar.rewind(done)
        if self._null is not None:
            self._null.rewind(done)


def draw_frame(
    ar: GuidedAR,
    previous: Tensor | None,
    sampling: SamplingConfig,
    noise: Tensor,
    *,
    can_end: bool = False,
    known: Tensor | None = None,
) -> Tensor:
    """Codes int64 [takes, N] of the next frame, in as many codebooks as the AR decoder makes.

    Args:
        ar: the generation in progress.
        previous: codes [takes, N] of the frame before; None at the first.
        sampling: how codes are drawn.
        noise: uniform numbers [takes, N].
        can_end: whether the first code may be end-of-sequence, V.
        known: codes [takes, n] of the leading codebooks that are not drawn; None is none.
    """
    codes = [] if known is None else [*known.unbind(-1)]
    logits = ar.step(previous)
    eos = logits.shape[-1] - 1

    for k, uniform in enumerate(noise.unbind(-1)):
        if k > 0:
            logits = ar.deepen(codes[k - 1].clamp(max=eos - 1))
        if k < len(codes):
            continue
        if k == 0:
            codes.append(sample_first(logits if can_end else logits[:, :eos], sampling, uniform))
        else:  # whichever decoder makes a fine codebook, it is drawn in the same way
            codes.append(sample_fine(logits[:, None], sampling, uniform[:, None])[:, 0])
    return torch.stack(codes, dim=-1)


@torch.inference_mode()
def generate(
    model: Decoders,
    context: Tensor,
    geometry: Geometry,
    sampling: SamplingConfig,
    generators: list[torch.Generator],
    *,
    until_end: bool = False,
    on_frame: Callable[[int], None] | None = None,
    timing: Timing | None = None,
    cores: Cores | None = None,
) -> Tensor:
    """Target codes int64 [takes, M, K] for the gap of `geometry`.

    Args:
        model: the decoders, in eval mode.
        context: codes [1 or takes, L, K] in memory order (`Geometry.split`).
        geometry: context and gap on the timeline; `geometry.gap` frames come out.
        sampling: how codes are drawn.
        generators: one per take; a take depends on its own generator alone (on a GPU, but for rounding).
        until_end: let the model end the piece: the result is then as long as its longest take and shorter takes are
            filled with -1 after their end.
        on_frame: called with the number of AR frames done.
        timing: where the seconds are added.
        cores: what knows which cores are free; None looks from now on.
    """
    timing = timing if timing is not None else Timing()
    cores = cores or Cores()
    home, context = context.device, context.to(model.device)

    # Products of one row and of several round differently, which is heard once a code flips. A take must not depend on
    # how many are made with it, so a CPU makes one after the other. A GPU would be idle most of the time.
    if len(generators) > 1 and model.device.type == "cpu":
        return _generate_apart(model, context, geometry, sampling, generators, until_end, on_frame, timing, cores).to(
            home
        )

    started = time.perf_counter()
    first = _generate_first(
        model, context, geometry, sampling, generators, until_end, on_frame, cores
    )  # [takes, M', N]
    timing.ar_s += time.perf_counter() - started

    started = time.perf_counter()
    codes = _fill_takes(model, context, first, geometry, sampling, generators, cores)  # [takes, M', K]
    timing.nar_s += time.perf_counter() - started
    timing.frames += int((first[..., 0] >= 0).sum())
    return codes.to(home)


def _generate_apart(
    model: Decoders,
    context: Tensor,
    geometry: Geometry,
    sampling: SamplingConfig,
    generators: list[torch.Generator],
    until_end: bool,
    on_frame: Callable[[int], None] | None,
    timing: Timing,
    cores: Cores,
) -> Tensor:
    """What `generate` gives, each take made by itself; frames are counted as if all takes came together."""
    takes, told, made = len(generators), 0, list[Tensor]()

    def report(count: int) -> None:
        nonlocal told
        done = (len(made) * geometry.gap + count) // takes
        if on_frame is not None and done > told:
            told = done
            on_frame(done)

    for i, generator in enumerate(generators):
        own = context if len(context) == 1 else context[i : i + 1]
        made.append(
            generate(
                model,
                own,
                geometry,
                sampling,
                [generator],
                until_end=until_end,
                on_frame=report,
                timing=timing,
                cores=cores,
            )
        )

    longest = max(codes.shape[1] for codes in made)
    return torch.cat([F.pad(codes, (0, 0, 0, longest - codes.shape[1]), value=-1) for codes in made])


@torch.inference_mode()
def fill_codebooks(
    model: Decoders,
    context: Tensor,
    target: Tensor,
    geometry: Geometry,
    sampling: SamplingConfig,
    noise: Tensor,
    known_codebooks: int = 1,
    cores: Cores | None = None,
) -> Tensor:
    """The target with its further codebooks generated, one after the other.

    With several passes, each codebook comes in portions, so that the later portions hear the earlier (Chang et al.,
    "MaskGIT", 2022, section 3.2; per codebook: Borsos et al., "SoundStorm", 2023, section 3.3). Unlike there, the order
    of the frames is random, as in training.

    Args:
        model: the decoders, in eval mode.
        context: codes [1 or B, L, K] in memory order.
        target: codes [B, M, K]; the leading `known_codebooks` are read.
        geometry: where both lie on the timeline.
        sampling: how codes are drawn, and in how many passes.
        noise: uniform numbers [B, K, M], a row for each codebook but the first and one for the order of the frames.
        known_codebooks: how many codebooks are kept, 1..K; where the AR decoder makes more, it makes the further ones
            of its own first.
        cores: what knows which cores are free; None looks from now on.
    """
    home, alone = target.device, Geometry(0, target.shape[1])
    context, target = context.to(model.device), target.to(model.device, copy=True)
    noise = noise.to(float64_device(model.device))
    order = noise[:, -1].argsort(-1).argsort(-1).to(model.device)  # int64 [B, M], when each frame comes
    passes = sampling.nar_passes or model.config.nar_passes
    guidance = guidance_of(sampling, model.config)
    cores = cores or Cores()
    N = model.config.ar_codebooks
    if known_codebooks < N:
        target[..., :N] = _complete_frames(model, context, target, geometry, sampling, noise, known_codebooks, cores)

    with cores.share() as look_again:
        for k in range(max(N, known_codebooks), target.shape[-1]):
            # The context is read once for all passes of a codebook.
            memory = model.nar_memory(context, geometry, k)
            unguided = None
            if guidance != 1 and _is_asked(model, geometry):
                unguided = model.unstyled.nar_memory(context[:1, :0], alone, k)

            for known, now in plan_passes(order, passes):
                look_again()
                logits = model.nar_read(memory, target, geometry, k, known, now)  # [B, n, V]
                if unguided is not None:
                    null = model.unstyled.nar_read(unguided, target, alone, k, known, now)
                    logits = guide_logits(logits, null, guidance)

                drawn = sample_fine(logits, sampling, noise[:, k - 1].gather(1, now.to(noise.device)))
                target[..., k] = target[..., k].scatter(1, now, drawn)
    return target.to(home)


def _complete_frames(
    model: Decoders,
    context: Tensor,
    target: Tensor,
    geometry: Geometry,
    sampling: SamplingConfig,
    noise: Tensor,
    known: int,
    cores: Cores,
) -> Tensor:
    """The AR decoder's codebooks [B, M, N] of the target, of which the leading `known` are kept.

    The noise is that of `fill_codebooks`.
    """
    N = model.config.ar_codebooks
    codes = target[..., :N].clone()
    uniforms = F.pad(noise[:, : N - 1].mT, (1, 0))  # [B, M, N]; the first codebook is always known
    with cores.share():
        ar = GuidedAR(model, context, geometry, len(target), guidance_of(sampling, model.config))

    previous: Tensor | None = None
    with cores.step() as begin_step:
        for t in range(codes.shape[1]):
            begin_step()
            previous = draw_frame(ar, previous, sampling, uniforms[:, t], known=codes[:, t, :known])
            codes[:, t] = previous
    return codes


def _is_asked(model: Decoders, geometry: Geometry) -> bool:
    """Whether anything says what the target should be like: a context or a style."""
    return geometry.context > 0 or model.unstyled is not model


def plan_passes(order: Tensor, passes: int) -> Iterator[tuple[Tensor | None, Tensor]]:
    """For each pass, a mask [B, M] of what is known before it (None for nothing) and the frames int64 [B, n] it brings.

    Args:
        order: int64 [B, M], when each frame comes.
        passes: how many passes a codebook takes; no more than there are frames.
    """
    M, done, frames = order.shape[1], 0, order.argsort(-1)
    passes = min(passes, M)
    for number in range(1, passes + 1):
        after = count_known(number, passes, M)
        yield (order < done if done else None), frames[:, done:after]
        done = after


def count_known(done: int, passes: int, frames: int) -> int:
    """How many of a codebook's frames are known after `done` of its passes; all of them after the last.

    The masked part falls as a cosine (Chang et al., "MaskGIT", 2022, section 3.3): few at first, while little is known.
    """
    return frames if done == passes else max(1, round(frames * (1 - math.cos(math.pi / 2 * done / passes))))


def _fill_takes(
    model: Decoders,
    context: Tensor,
    first: Tensor,
    geometry: Geometry,
    sampling: SamplingConfig,
    generators: list[torch.Generator],
    cores: Cores,
) -> Tensor:
    """Codes int64 [takes, M', K] for the AR decoder's codebooks [takes, M', N], -1 after a take's end.

    Takes of one length are filled together, since each needs a geometry of its own length.
    """
    takes, M, K = len(generators), geometry.gap, model.config.num_quantizers
    codes = torch.full((takes, first.shape[1], K), -1, dtype=torch.long, device=context.device)
    codes[..., : first.shape[-1]] = first
    noise = draw_uniforms(generators, M * K).view(takes, K, M)

    lengths = (first[..., 0] >= 0).sum(1).tolist()
    for length in sorted(set(lengths) - {0}):
        items = [i for i, own in enumerate(lengths) if own == length]
        shape = dataclasses.replace(geometry, gap=length)
        fine = noise[items, :, :length]  # [n, K, length]
        own = context if len(context) == 1 else context[items]
        target = codes[items, :length]
        codes[items, :length] = fill_codebooks(model, own, target, shape, sampling, fine, first.shape[-1], cores)
    return codes


def _generate_first(
    model: Decoders,
    context: Tensor,
    geometry: Geometry,
    sampling: SamplingConfig,
    generators: list[torch.Generator],
    until_end: bool,
    on_frame: Callable[[int], None] | None,
    cores: Cores,
) -> Tensor:
    """The AR decoder's codebooks int64 [takes, M', N] of the gap, -1 after a take's end."""
    takes, M, N = len(generators), geometry.gap, model.config.ar_codebooks
    noise = draw_uniforms(generators, M * N).view(takes, M, N).to(float64_device(context.device))
    with cores.share():
        ar = GuidedAR(model, context, geometry, takes, guidance_of(sampling, model.config))

    codes = torch.full((takes, M, N), -1, dtype=torch.long, device=context.device)
    is_running = torch.ones(takes, dtype=torch.bool, device=context.device)
    check_every = frames_per_end_check(context.device)
    previous: Tensor | None = None

    with cores.step() as begin_step:
        for t in range(M):
            begin_step()
            made = draw_frame(ar, previous, sampling, noise[:, t], can_end=until_end)  # [takes, N]

            if not until_end:
                codes[:, t] = made
            else:
                is_running &= made[:, 0] != model.eos
                made = made.clamp(max=model.eos - 1)  # a take that has ended is stepped on with any code
                codes[:, t] = torch.where(is_running[:, None], made, -1)
                if (t + 1) % check_every == 0 and not is_running.any():
                    break

            previous = made
            if on_frame is not None:
                on_frame(t + 1)

    return codes[:, : int((codes[..., 0] >= 0).sum(1).max())]
