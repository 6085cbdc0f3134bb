"""Guards: what is a fault and what is not, how steps are sampled again, and what candidates are ranked by."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from audiolm_cli.audio import Recording
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.loudness import frame_rms
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.channels import generate_takes
from audiolm_cli.editing.guards import Fault, FaultLog, Guard, derive_seed
from audiolm_cli.editing.session import open_session
from audiolm_cli.editing.splicing import Gap
from audiolm_cli.editing.streamed import stream_takes
from audiolm_cli.editing.takes import MakeTakes, make_takes
from audiolm_cli.editing.windows import RETRIES, GapFiller, Retry
from audiolm_cli.events import Event, Note
from audiolm_cli.library.loading import load_model
from audiolm_cli.model.decode import generate
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.sampling import guide_logits
from audiolm_cli.model.scoring import continuation_score, following_score

Piano = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def parts(tiny_model: Path) -> tuple[Decoders, Codec]:
    """The tiny model and its codec."""
    loaded = load_model(str(tiny_model), torch.device("cpu"))
    return loaded.model, loaded.codec


@pytest.fixture(scope="module")
def codec(parts: tuple[Decoders, Codec]) -> Codec:
    """The tiny codec."""
    return parts[1]


@pytest.fixture(scope="module")
def music(codec: Codec, piano: Piano) -> torch.Tensor:
    """Codes [1, 300, K] as loud as 6 s of notes, with as many first codes as a larger codebook gives them."""
    codes = codec.encode(torch.from_numpy(piano(6.0).T)[None])
    codes = codes.clone()
    codes[..., 0] = torch.where(torch.arange(300) % 8 == 0, torch.arange(300) // 8 % 32, codes[..., 0])
    return codes


@pytest.fixture(scope="module")
def silence(codec: Codec) -> torch.Tensor:
    """The codes [1, 150, K] that sound softest: tiny codecs have no true silence."""
    codes = torch.arange(codec.codebook_size)[:, None, None].expand(-1, 150, codec.num_codebooks)
    return codes[frame_rms(codec, codes).mean(1).argmin()][None]


def test_loudness_without_decoding_is_the_decoded_loudness(codec: Codec, piano: Piano) -> None:
    """To 1.5 dB over half seconds."""
    codes = codec.encode(torch.from_numpy(piano(4.0, seed=3).T)[None])
    quick = frame_rms(codec, codes)[0].square().view(-1, 25).mean(1).sqrt()
    true = codec.decode(codes)[0, 0].square().view(-1, 16000).mean(1).sqrt()
    assert (20 * (quick / true).log10()).abs().max() < 1.5


def test_music_has_no_fault(codec: Codec, music: torch.Tensor) -> None:
    """After and before music, and with no context at all."""
    nothing = music[:, :0]
    for left, right in ((music[:, :100], nothing), (nothing, music[:, :100]), (nothing, nothing)):
        assert Guard(codec, left, right).find_fault(music[0, 100:300]) is None
        assert Guard(codec, left, right).find_fault(music[0, :0]) is None


def test_one_code_for_ever(codec: Codec, music: torch.Tensor) -> None:
    """From 1.5 s on, unless the context does it as well."""
    stuck = music[0, 100:250].clone()
    held = stuck.clone()
    held[50:, :2] = held[50:51, :2]
    stuck[50:, :3] = stuck[50:51, :3]
    guard = Guard(codec, music[:, :100], music[:, :0])
    fault = guard.find_fault(stuck)
    assert fault is not None and fault.kind == "repetition" and 0.2 < fault.share < 0.5
    assert guard.find_fault(stuck[:100]) is None  # 1 s of it
    assert Guard(codec, stuck[None], music[:, :0]).find_fault(stuck) is None
    assert guard.find_fault(held) is None, "a note that is held, as of a flute"


def test_silence(codec: Codec, music: torch.Tensor, silence: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sound was, not where silence was."""
    softest = float(frame_rms(codec, silence).max())
    monkeypatch.setattr("audiolm_cli.editing.guards.SILENT_RMS", softest * 1.01)
    varied = silence[0].clone()
    made = torch.cat([music[0, 100:150], varied])
    fault = Guard(codec, music[:, :100], music[:, :0]).find_fault(made)
    assert fault is not None and fault.kind == "silence"
    assert Guard(codec, music[:, :100], silence).find_fault(made[:130]) is None


def test_swelling(codec: Codec, music: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much louder than the context, over half a second, and loud."""
    from audiolm_cli.editing import guards

    quiet = music[:, :100]
    loud = music[0, 100:200].clone()
    monkeypatch.setattr(
        guards, "frame_rms", lambda codec, codes: torch.full(codes.shape[:2], 0.05 if codes.shape[1] == 100 else 0.4)
    )
    guard = Guard(codec, quiet, quiet[:, :0])
    fault = guard.find_fault(loud[:50])
    assert fault == Fault("swelling", 1.0)
    assert guard.find_fault(loud) is None  # as loud as the context
    assert Guard(codec, quiet[:, :0], quiet[:, :0]).find_fault(loud[:50]) is None  # nothing to compare with


def test_a_burst(codec: Codec, music: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second that is far louder than any of the context; it is told where it begins."""
    from audiolm_cli.editing import guards

    monkeypatch.setattr(guards, "frame_rms", lambda codec, codes: codes[..., 0] / 1000)
    left = torch.full((1, 100, 4), 150)
    left[0, 50:55] = 170
    guard = Guard(codec, left, left[:, :0])
    made = left[0].repeat(2, 1)
    made[120:124] = 400
    fault = guard.find_fault(made)
    assert fault is not None and fault.kind == "swelling" and 118 <= fault.start <= 120 and fault.share < 0.1
    made[120:124] = 330
    assert guard.find_fault(made) is None, "not twice as loud"
    quiet = left // 5
    made = quiet[0].clone()
    made[60:64] = 200
    assert Guard(codec, quiet, quiet[:, :0]).find_fault(made) is None, "much louder, but not loud"


def test_a_gap_that_is_too_soft(codec: Codec, music: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Softer than the softest stretch of its length on both sides; an ending or a beginning may be."""
    from audiolm_cli.editing import guards

    monkeypatch.setattr(guards, "frame_rms", lambda codec, codes: codes[..., 0] / 1000)
    rising = 100 + torch.arange(100)[None, :, None].expand(1, 100, 4)  # 0.1 to 0.2
    nothing = rising[:, :0]
    for level, wrong in ((55, True), (70, False)):
        made = level + torch.arange(30)[:, None].expand(30, 4) % 5
        fault = Guard(codec, rising, rising).find_fault(made)
        assert (fault == Fault("sinking", 1.0)) == wrong
        assert Guard(codec, rising, nothing).find_fault(made) is None
        assert Guard(codec, rising, rising[:, :20]).find_fault(made) == fault, "a side that is too short says nothing"
        assert Guard(codec, rising[:, :20], rising[:, :20]).find_fault(made) is None


def test_sinking(codec: Codec, music: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds much softer than the softest three of the context, on either side; not what is shorter."""
    from audiolm_cli.editing import guards

    # A code stands for how loud it is; every fifth frame has another first code, so that nothing repeats.
    def sound(*levels: tuple[int, float]) -> torch.Tensor:
        codes = torch.cat([torch.full((1, frames, 4), round(1000 * rms)) for frames, rms in levels], dim=1)
        return codes + (torch.arange(codes.shape[1]) // 5 % 5)[None, :, None]

    monkeypatch.setattr(guards, "frame_rms", lambda codec, codes: codes[..., 0] / 1000)
    steady, nothing = sound((300, 0.1)), music[:, :0]
    sunk = sound((100, 0.1), (160, 0.04))[0]
    for left, right in ((steady, nothing), (nothing, steady), (steady, steady)):
        fault = Guard(codec, left, right).find_fault(sunk)
        assert fault is not None and fault.kind == "sinking" and 0.05 < fault.share < 0.5
        assert Guard(codec, left, right).find_fault(sunk[:200]) is None  # 2 s of it
        assert Guard(codec, left, right).find_fault(sound((100, 0.1), (160, 0.06))[0]) is None  # 4 dB softer

    wide = sound((150, 0.1), (150, 0.05))
    assert Guard(codec, wide, nothing).find_fault(sunk) is None  # the context is as soft for as long
    assert Guard(codec, sound((149, 0.1)), nothing).find_fault(sunk) is None  # too short to compare with
    assert Guard(codec, nothing, nothing).find_fault(sunk) is None


def test_a_short_gap_louder_than_what_is_near(
    codec: Codec, music: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a decay, what was loud long before is no measure; of longer gaps, it is."""
    from audiolm_cli.editing import guards

    monkeypatch.setattr(guards, "frame_rms", lambda codec, codes: codes[..., 0] / 1000)
    left = torch.cat([torch.full((1, 300, 4), 200), torch.full((1, 100, 4), 50)], dim=1)
    right = torch.full((1, 200, 4), 40)

    def sound(frames: int, level: int) -> torch.Tensor:
        return level + torch.arange(frames)[:, None].expand(frames, 4) % 5

    guard = Guard(codec, left, right)
    for frames in (10, 25, 50):  # 50 frames are a second
        assert guard.find_fault(sound(frames, 75)) == Fault("swelling", 1.0)
        assert guard.find_fault(sound(frames, 55)) is None
    assert guard.find_fault(sound(75, 75)) is None
    assert Guard(codec, left, right[:, :0]).find_fault(sound(25, 75)) is None, "a continuation may rise"
    assert Guard(codec, left[:, :300], right).find_fault(sound(25, 75)) is None


def fill(
    model: Decoders, judge: Callable[[torch.Tensor], Fault | None] | None, seeds: list[int], **more: object
) -> torch.Tensor:
    """A gap of 100 frames (in steps: the window has 60) after 30."""
    left = torch.randint(32, (1, 30, 4), generator=torch.Generator().manual_seed(0))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    filler = GapFiller(model=model, sampling=SamplingConfig(), judge=judge, **more)  # type: ignore[arg-type]
    return filler.fill(left, left[:, :0], 100, generators)


def test_a_step_that_went_wrong_is_sampled_again(parts: tuple[Decoders, Codec]) -> None:
    """The same way each time, and for each take by itself; what was fine stays as it is."""
    model = parts[0]
    plain = fill(model, None, [1, 2])
    bad = plain[0, :30]
    told: list[tuple[int, str, bool]] = []

    def judge(codes: torch.Tensor) -> Fault | None:
        return Fault("repetition", 1.0) if torch.equal(codes, bad) else None

    began: list[tuple[int, Retry]] = []
    mended = fill(
        model,
        judge,
        [1, 2],
        on_fault=lambda take, fault, ok: told.append((take, fault.kind, ok)),
        on_retry=lambda retry: began.append((len(told), retry)),
    )
    fault = Fault("repetition", 1.0)
    again = [Retry(take=0, fault=fault, attempt=1, done=done, frames=30) for done in range(31)]
    assert began == [(0, retry) for retry in again], "said before the step is drawn again, and with each frame"
    assert told == [(0, "repetition", True)]
    assert not torch.equal(mended[0, :30], bad)
    assert torch.equal(mended[1], plain[1])
    assert torch.equal(fill(model, judge, [1]), mended[:1])
    assert torch.equal(fill(model, lambda codes: None, [1, 2]), plain)


def test_what_went_well_before_a_fault_stays_at_first(parts: tuple[Decoders, Codec]) -> None:
    """Up to a fifth of the step before the fault; later attempts draw the whole step again."""
    model = parts[0]
    plain = fill(model, None, [1])[0, :30]
    for attempts, kept in ((1, 14), (2, 0)):
        seen: list[torch.Tensor] = []
        began: list[int] = []

        def judge(codes: torch.Tensor, attempts: int = attempts, seen: list[torch.Tensor] = seen) -> Fault | None:
            seen.append(codes.clone())
            return Fault("swelling", 1.0 / len(seen), start=20) if len(seen) <= attempts else None

        made = fill(model, judge, [1], on_retry=lambda retry, began=began: began.append(retry.done))[0, :30]
        assert torch.equal(seen[0], plain)
        assert torch.equal(made[:kept], plain[:kept]) and not torch.equal(made[kept:], plain[kept:])
        assert began[0] == 14 and began[-1] == 30


def test_the_least_bad_one_stays(parts: tuple[Decoders, Codec]) -> None:
    """When every attempt is faulty."""
    shares: list[float] = []

    def judge(codes: torch.Tensor) -> Fault:
        shares.append(codes[:, 0].float().mean().item() / 32)
        return Fault("silence", shares[-1])

    told: list[bool] = []
    made = fill(parts[0], judge, [5], on_fault=lambda take, fault, ok: told.append(ok))
    first = shares[: RETRIES + 1]
    assert made[0, :30, 0].float().mean().item() / 32 == pytest.approx(min(first))
    assert set(told) == {False}


def test_derived_seeds_differ() -> None:
    """By the take's seed, the place and the attempt; all are valid seeds."""
    seeds = {derive_seed(s, p, a) for s in (0, 1, 2**63 - 1) for p in (0, 1, 250) for a in range(RETRIES)}
    assert len(seeds) == 3 * 3 * RETRIES and all(0 <= seed < 2**63 for seed in seeds)


def test_scores_are_mean_log_likelihoods(parts: tuple[Decoders, Codec]) -> None:
    """Of the first codebook, stepped or not; likelier codes score higher; of what follows, not of what was made."""
    model = parts[0]
    left = torch.randint(32, (1, 20, 4), generator=torch.Generator().manual_seed(0))
    greedy = generate(model, left, Geometry(20, 25), SamplingConfig(temperature=0), [torch.Generator()])
    others = torch.randint(32, (3, 25, 4), generator=torch.Generator().manual_seed(1))
    scores = continuation_score(model, left, torch.cat([greedy, others]))
    expected = -model.ar_predict(left, greedy, Geometry(20, 25))[0].losses().mean() / math.log(2)
    assert scores[0].item() == pytest.approx(expected.item(), abs=1e-4)
    assert scores.argmax() == 0 and (scores < 0).all()
    long = torch.randint(32, (2, 100, 4), generator=torch.Generator().manual_seed(2))
    assert continuation_score(model, left, long).shape == (2,)
    right = greedy
    ranked = following_score(model, left[:, :0], torch.cat([left, others[:1, :20]]), right)
    exact = -model.ar_predict(left, right[:, :15], Geometry(20, 15))[0].losses().mean() / math.log(2)
    assert ranked[0].item() == pytest.approx(exact.item(), abs=1e-4)
    assert ranked[0] != ranked[1]


def test_guidance_moves_away_from_the_null() -> None:
    """1 changes no probability, 0 is the null, 2 squares the ratio."""
    logits, null = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0]])
    assert torch.allclose(guide_logits(logits, null, 1.0).softmax(-1), logits.softmax(-1))
    assert torch.allclose(guide_logits(logits, null, 0.0).softmax(-1), null.softmax(-1))
    assert torch.allclose(guide_logits(logits, null, 2.0).softmax(-1), (2 * logits).softmax(-1))


def test_guidance_in_generation(parts: tuple[Decoders, Codec]) -> None:
    """It changes what is made after a context, and nothing where there is none; resampling is as reproducible."""
    model = parts[0]
    left = torch.randint(32, (1, 20, 4), generator=torch.Generator().manual_seed(0))

    def made(guidance: float, context: torch.Tensor) -> torch.Tensor:
        shape = Geometry(context.shape[1], 30)
        return generate(model, context, shape, SamplingConfig(guidance=guidance), [torch.Generator().manual_seed(1)])

    assert not torch.equal(made(1.0, left), made(3.0, left))
    assert torch.equal(made(3.0, left), made(3.0, left))
    assert torch.equal(made(1.0, left[:, :0]), made(3.0, left[:, :0]))
    alone = generate(model, left[:, :0], Geometry(0, 30), SamplingConfig(), [torch.Generator().manual_seed(1)])
    assert torch.equal(made(0.0, left)[..., 0], alone[..., 0])


def test_the_same_is_told_once_with_its_number() -> None:
    """One line for each kind of fault, and another where stretches stayed as they were."""
    log = FaultLog()
    for seed, kind, mended in ((2, "sinking", True), (2, "silence", True), (3, "sinking", False), (2, "sinking", True)):
        log.add(seed, Fault(kind, 0.5), mended)
    log.add(5, Fault("sinking", 0.5), True)
    assert [(note.message, note.warning) for note in log.notes()] == [
        ("seeds 2, 5: 3 stretches that become far too quiet were made again", False),
        ("seed 2: a stretch that falls silent was made again", False),
        (
            "seed 3: a stretch that becomes far too quiet is no better when made again; try another --seed or "
            "--temperature",
            True,
        ),
    ]


@pytest.mark.parametrize("channels", ["mid", "each"])
@pytest.mark.parametrize("make", [make_takes, stream_takes])
def test_a_command_tells_it_once(
    make: MakeTakes, channels: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After all windows and channels, and likewise where audio is made while it is read, at every reading."""

    def fail_again() -> None:
        faults = itertools.cycle([Fault("silence", 1.0), None, None])
        monkeypatch.setattr(Guard, "find_fault", lambda self, codes: next(faults) if len(codes) else None)

    samples = np.random.default_rng(0).standard_normal((16000, 2)).astype(np.float32) / 10
    recording = Recording(
        samples=samples, sample_rate_hz=16000, format="WAV", subtype="FLOAT", lossless=True, tags={}, name="noise"
    )
    events: list[Event] = []
    config = GenerateConfig(model=str(tiny_model), seed=1, threads=1, channels=channels)
    session = open_session(config, SamplingConfig(), events.append)

    for _ in range(2):  # nothing of one recording is told of the next
        fail_again()
        (take,) = generate_takes(session, recording, [Gap(start=16000, stop=16000, new_samples=40000)], make)
        list(take.pieces[0].blocks)
    if make is stream_takes:
        fail_again()
        list(take.pieces[0].blocks)  # what is read again is made again

    notes = [event.message for event in events if isinstance(event, Note)]
    told = [re.fullmatch(r"seed 1: (\d+) stretches that fall silent were made again", note) for note in notes]
    assert len(told) == 2 + (make is stream_takes)
    assert len({match and match[1] for match in told}) == 1
