"""The decoding engine against the parent's algorithm, its caches against full passes, and its number formats."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from parent_algorithm import greedy_codes
from torch import Tensor

from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.config.shapes import PRESETS, ModelConfig
from audiolm_cli.editing.session import open_session
from audiolm_cli.events import Event, Note
from audiolm_cli.library import loading
from audiolm_cli.model import quantize, stepping
from audiolm_cli.model.decode import generate
from audiolm_cli.model.decoders import Decoders, build
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.layers import attend
from audiolm_cli.model.quantize import (
    Bf16Linear,
    HalfLinear,
    Int8Linear,
    StepLinear,
    multiplies_int8,
    quantize_rows,
    use_dtype,
)
from audiolm_cli.model.stepping import AR

V, K = 40, 3
GEOMETRIES = [
    Geometry(6, 9),
    Geometry(0, 9, 6),
    Geometry(4, 9, 5),
    Geometry(0, 8),
    Geometry(0, 9, elsewhere=6),
    Geometry(4, 9, 5, elsewhere=6),
]
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.05}
"""Of the logits' deviation."""


SEEDS = {"": 4, "own codebooks": 8, "own, two AR": 1}
"""Of models that say several things."""
both_attentions = pytest.mark.parametrize(
    "attention", ["full", "causal", "causal, own codebooks", "causal, own, two AR"]
)


def tiny(positions: str = "rotary", attention: str = "full") -> Decoders:
    attention, _, own = attention.partition(", ")
    ar_codebooks = 2 if own.endswith("two AR") else 1
    torch.manual_seed(SEEDS[own])
    shape = ModelConfig(d_model=64, nhead=2, num_layers=2, num_quantizers=K, codebook_size=V, max_frames=64)
    hears = {"context_attention": attention, "context_codebooks": "own" if own else "all", "ar_holding": bool(own)}
    prompts = "split:0.5,elsewhere:0.5"
    model = build(
        dataclasses.replace(shape, positions=positions, prompt_from=prompts, ar_codebooks=ar_codebooks, **hears)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval().requires_grad_(False)


def codes(frames: int, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(V, (batch, frames, K), generator=torch.Generator().manual_seed(seed))


def missing(*_: object) -> NoReturn:
    raise RuntimeError("no kernel")


def gone(*_: object, **__: object) -> NoReturn:
    raise AttributeError("no such operation")


def distance(a: Tensor, b: Tensor) -> float:
    """Root mean square difference over the deviation of b."""
    return float((a.float() - b.float()).square().mean().sqrt() / b.float().std())


@both_attentions
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_greedy_codes_are_those_of_the_parents_algorithm(geometry: Geometry, attention: str) -> None:
    model, context = tiny(attention=attention), codes(geometry.context)
    greedy = SamplingConfig(temperature=0, nar_temperature=0)
    made = generate(model, context, geometry, greedy, [torch.Generator()])
    assert len(made[0, :, 0].unique()) > 2, "a model that says one thing would prove nothing"
    assert torch.equal(made, greedy_codes(model, context, geometry))


@both_attentions
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("positions", ["rotary", "sine"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@torch.inference_mode()
def test_a_step_gives_what_the_full_pass_gives(geometry: Geometry, positions: str, dtype: str, attention: str) -> None:
    """For one take, for takes that share a context, and for takes with their own."""
    model = tiny(positions, attention)
    use_dtype(model, dtype)
    target = codes(geometry.gap, batch=3, seed=1)
    for context in (codes(geometry.context), codes(geometry.context, batch=3)):
        full = [own.logits for own in model.ar_predict(context.expand(3, -1, -1), target, geometry)]
        ar, N = AR(model, context, geometry, takes=3), len(full)
        steps: list[list[Tensor]] = [[] for _ in full]
        for t in range(geometry.gap):
            steps[0].append(ar.step(target[:, t - 1, :N] if t else None))
            for k in range(1, N):
                steps[k].append(ar.deepen(target[:, t, k - 1]))
        for stepped, whole in zip(steps, full, strict=True):
            assert distance(torch.stack(stepped, dim=1), whole) < TOLERANCE[dtype]
    alone = AR(model, context[:1], geometry, takes=1).step(None)
    assert distance(alone, full[0][:1, 0]) < TOLERANCE[dtype]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@torch.inference_mode()
def test_nar_passes_over_a_context_read_before_are_whole_passes(geometry: Geometry) -> None:
    model, target = tiny(), codes(geometry.gap, batch=3, seed=1)
    known = torch.rand(3, geometry.gap, generator=torch.Generator().manual_seed(2)) < 0.5
    for context in (codes(geometry.context), codes(geometry.context, batch=3)):
        memory = model.nar_memory(context, geometry, 2)
        for given in (None, known):
            whole = model.nar_predict(context.expand(3, -1, -1), target, geometry, 2, given).logits
            torch.testing.assert_close(model.nar_read(memory, target, geometry, 2, given), whole, rtol=1e-4, atol=1e-5)
            frames = torch.rand(3, geometry.gap, generator=torch.Generator().manual_seed(3)).argsort(1)[
                :, : -(-geometry.gap // 3)
            ]
            some = whole.gather(1, frames[..., None].expand(-1, -1, whole.shape[-1]))
            found = model.nar_read(memory, target, geometry, 2, given, frames)
            torch.testing.assert_close(found, some, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_seed_gives_the_same_codes_again_in_every_dtype(dtype: str) -> None:
    model, geometry = tiny(), Geometry(6, 20)
    use_dtype(model, dtype)
    runs = [
        generate(model, codes(6), geometry, SamplingConfig(), [torch.Generator().manual_seed(s) for s in seeds])
        for seeds in ((1, 2), (1, 2), (3, 4))
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
@torch.inference_mode()
def test_narrow_weights_stay_close_to_float32(dtype: str) -> None:
    model, geometry = tiny(), Geometry(6, 9, 5)
    narrow = copy.deepcopy(model)
    use_dtype(narrow, dtype)
    context, target = codes(11), codes(9, seed=1)
    error = distance(
        narrow.ar_predict(context, target, geometry)[0].logits, model.ar_predict(context, target, geometry)[0].logits
    )
    assert 0 < error < 0.05
    layers = [part for one in narrow.ar_decoder.layers for part in (*one.attention.children(), one.up, one.down)]
    assert len(layers) == 2 * 4 and {isinstance(m, Int8Linear) for m in layers} == {dtype == "int8"}
    assert not any(isinstance(m, torch.nn.Linear) for m in [*narrow.ar_decoder.modules(), narrow.ar_head])


@pytest.mark.parametrize("rows", [1, 3, 17])
@torch.inference_mode()
def test_an_int8_layer_multiplies_by_its_rounded_weight(rows: int) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48)
    layer, x = Int8Linear(linear), torch.randn(2, rows, 64)
    weight, scale = quantize_rows(linear.weight)
    exact = x @ (weight * scale[:, None]).T + linear.bias
    assert layer(x).shape == exact.shape
    assert 0 < distance(layer(x), exact) < (0.01 if multiplies_int8() else 0.02)  # half as many levels of inputs
    assert (weight * scale[:, None] - linear.weight).abs().max() <= 0.501 * scale.max()


@torch.inference_mode()
def test_a_half_precision_layer_rounds_its_weight_alone() -> None:
    """However many rows; a step's layer gives the same for few rows, and nearly so for as many as a context has."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48)
    exact, x = HalfLinear(linear), torch.randn(3, 20, 64)
    whole = x @ linear.weight.half().float().T + linear.bias
    assert distance(exact(x), whole) < 1e-6
    step = StepLinear(linear)
    assert torch.equal(step(x[:, :5]), exact(x[:, :5]))
    assert 0 < distance(step(x), whole) < 0.01


@torch.inference_mode()
def test_a_row_gives_the_same_whatever_stands_beside_it() -> None:
    """In int8, where the kernel would take one range for all: beside louder rows, rows of one sign, and zeros."""
    torch.manual_seed(0)
    layer = Int8Linear(torch.nn.Linear(64, 48))
    rows = torch.randn(5, 64) * torch.tensor([1, 100, 0.01, 0, 1])[:, None]
    rows[4].abs_()
    alone = torch.cat([layer(row[None]) for row in rows])
    assert ((layer(rows) - alone).norm(dim=1) <= 1e-5 * alone.norm(dim=1)).all()
    assert torch.equal(layer(rows)[:2], layer(rows[:2]))


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_int8_where_it_pays(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU with its instructions, but for the smallest models; bf16 on a GPU."""
    monkeypatch.setattr(loading, "multiplies_int8", lambda: fast)
    monkeypatch.setattr(loading, "multiplies_bf16", lambda device: fast)
    smallest, tiny = ModelConfig(d_model=64, nhead=2, num_layers=2), PRESETS["tiny"]
    picked = [loading._pick_dtype("auto", torch.device("cpu"), shape) for shape in (smallest, tiny)]
    assert picked == ["fp32", "int8" if fast else "fp32"]
    assert loading._pick_dtype("auto", torch.device("cuda"), smallest) == ("bf16" if fast else "fp32")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(7, 7), (4, 9), (1, 5)])
def test_attention_and_its_gradients_are_the_definition(
    shape: tuple[int, int], causal: bool, dtype: torch.dtype
) -> None:
    """The plain products of bf16 and the fused call of float32, against softmax under a mask in float64."""
    M, S = shape
    draw = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 3, n, 8, generator=draw).to(dtype).requires_grad_() for n in (M, S, S))
    grad = torch.randn(2, 3, M, 8, generator=draw).to(dtype)
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    hidden = torch.arange(S) > torch.arange(M)[:, None] + S - M
    scores = (wide[0] @ wide[1].mT / 8**0.5).masked_fill(hidden & causal, float("-inf"))
    exact = scores.softmax(-1) @ wide[2]
    got = attend(q, k, v, causal)
    got.backward(grad)
    exact.backward(grad.double())
    tolerance = 1e-6 if dtype == torch.float32 else 0.01
    assert got.dtype == dtype and distance(got.detach(), exact.detach()) < tolerance
    for one, other in zip((q, k, v), wide, strict=True):
        assert one.grad is not None and other.grad is not None
        assert (one.grad - other.grad).norm() <= tolerance * grad.norm()


@pytest.mark.parametrize("fast", [True, False])
def test_without_kernels_of_its_own_torch_still_generates(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a torch that has others: int8 is bf16 or float32 then, and bf16 is plain; it is said in one line."""
    monkeypatch.setattr(quantize, "multiplies_bf16", lambda device: fast)
    monkeypatch.setattr(torch.ops.quantized, "linear_prepack", missing)
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", missing)
    monkeypatch.setattr(torch.ops.quantized, "linear_prepack_fp16", missing)
    for asked in ("int8", "bf16"):
        model = tiny()
        used = "bf16" if fast or asked == "bf16" else "fp32"
        assert use_dtype(model, asked) == used
        kinds = {type(layer.up) for layer in model.ar_decoder.layers}
        assert kinds == {Bf16Linear if used == "bf16" else torch.nn.Linear}
        made = generate(model, codes(6), Geometry(6, 9), SamplingConfig(), [torch.Generator().manual_seed(1)])
        assert made.shape == (1, 9, K)


PRIVATE = (
    (torch, "_make_per_channel_quantized_tensor"),
    (torch.ops.quantized, "linear_prepack"),
    (torch.ops.quantized, "linear_dynamic"),
    (torch.ops.quantized, "linear_prepack_fp16"),
    (torch.ops.quantized, "linear_dynamic_fp16"),
    (torch.ops.mkldnn, "_reorder_linear_weight"),
    (torch.ops.mkldnn, "_linear_pointwise"),
    (torch.cpu, "_is_vnni_supported"),
    (torch.cpu, "_is_avx512_bf16_supported"),
)
"""Every private operation of torch that narrow weights are made or multiplied with."""


@pytest.mark.parametrize(("place", "name"), PRIVATE, ids=[name for _, name in PRIVATE])
@pytest.mark.parametrize("asked", ["int8", "bf16"])
def test_each_private_operation_of_torch_can_go(
    asked: str, place: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torch that took it away generates all the same, in a form that it has."""
    if name.startswith("_is_"):
        monkeypatch.delattr(place, name)
    else:
        monkeypatch.setattr(place, name, gone)
    model = tiny()
    assert use_dtype(model, asked) in ("int8", "bf16", "fp32")
    made = generate(model, codes(6), Geometry(6, 9), SamplingConfig(), [torch.Generator().manual_seed(1)])
    assert made.shape == (1, 9, K)


def test_the_private_operations_are_all_that_are_used() -> None:
    """The list above is complete: no other private name of torch is in the file that makes narrow weights."""
    source = Path(quantize.__file__).read_text()
    used = set(re.findall(r"torch\.ops\.\w+\.(\w+)|torch\.(_\w+)|torch\.cpu\.(_\w+)|\"(_is_\w+)\"", source))
    assert {name for names in used for name in names if name} == {name for _, name in PRIVATE}


def test_another_dtype_than_the_one_asked_for_is_said(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "is_supported", lambda form: False)
    monkeypatch.setattr(quantize, "multiplies_bf16", lambda device: False)
    said: list[Event] = []
    session = open_session(GenerateConfig(model=str(tiny_model), dtype="int8"), SamplingConfig(), said.append)
    notes = [event for event in said if isinstance(event, Note)]
    assert session.loaded.dtype == "fp32" and len(notes) == 1 and notes[0].warning
    assert "no int8 products for this processor; fp32 is used" in notes[0].message


class Replayed(stepping.Graph):
    """What a CUDA graph does, on a CPU: the same function of the same tensors again, into the same result."""

    def __init__(self, function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], *given: Tensor) -> None:
        self._given, self._function = given, function
        self._made = [function(*given) for _ in range(3)][-1]
        self._graph = self  # type: ignore[assignment]

    def replay(self) -> None:
        for own, new in zip(self._made, self._function(*self._given), strict=True):
            own.copy_(new)


@both_attentions
@torch.inference_mode()
def test_a_step_depends_on_its_tensors_alone(attention: str) -> None:
    """As a graph must: only the code and the frame's number change between the calls of one and the same function."""
    model, target = tiny(attention=attention), codes(40, batch=3, seed=1)
    for geometry, context in ((Geometry(6, 40, 5), codes(11)), (Geometry(6, 40), codes(6, batch=3))):
        plain, graphed = (AR(model, context, geometry, 3) for _ in range(2))
        N = model.config.ar_codebooks
        begin = (V + torch.arange(3) % len(context))[:, None].expand(-1, N)  # entries of its own behind the codes
        graph = Replayed(graphed.predict_frame, begin.clone(), torch.zeros(1, dtype=torch.long))
        for t in range(geometry.gap):
            before = target[:, t - 1, :N] if t else begin
            expected = plain.step(before if t else None)
            torch.testing.assert_close(graph(before, torch.tensor([t]))[0], expected, rtol=1e-4, atol=1e-5)


@both_attentions
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@torch.inference_mode()
def test_a_graph_on_a_gpu_gives_the_codes_of_single_operations(
    dtype: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, geometry = tiny(attention=attention).cuda(), Geometry(6, 60)
    use_dtype(model, dtype)
    made = []
    for short in (1, 1000):
        monkeypatch.setattr(stepping, "FEWEST_CAPTURED", short)
        seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        made.append(generate(model, codes(6).cuda(), geometry, SamplingConfig(), seeds))
    assert torch.equal(made[0], made[1])


@pytest.mark.parametrize("wait", [3, 16])
def test_ends_that_are_seen_late_change_nothing(wait: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is asked every few frames whether all takes have ended; the result is as long as the longest take."""
    model = tiny()
    with torch.no_grad():
        model.ar_decoder.norm.weight.mul_(0.1)
        model.ar_decoder.norm.bias.fill_(1.0)
        model.ar_head.weight[: model.eos] *= 0.1
        model.ar_head.weight[model.eos] = 2 / 64
    context, geometry, found = codes(6), Geometry(6, 60), []
    for every in (1, wait):
        monkeypatch.setattr("audiolm_cli.model.decode.frames_per_end_check", lambda device, n=every: n)
        seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        found.append(generate(model, context, geometry, SamplingConfig(), seeds, until_end=True))
    assert 0 < found[0].shape[1] < 60, "takes that do not end would prove nothing"
    assert torch.equal(found[0], found[1])
