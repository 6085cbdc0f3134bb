"""Spans, names and jobs: lengths and shapes, seams, channel balance, and which file goes where."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audiolm_cli.audio import mid, resample
from audiolm_cli.audio.level import LARGEST_GAIN, TRAINING_PEAK, training_gain
from audiolm_cli.audio.prediction import extrapolate
from audiolm_cli.codec.base import Codec, ignore_share
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.generation import GenerateConfig
from audiolm_cli.editing.jobs import name_takes, output_path, plan_jobs
from audiolm_cli.editing.rendering import FADE_S, LEAST_FADE_S, LEVEL_RANGE, _level_ratio, limit, render_span
from audiolm_cli.editing.rendering import _fit_span as fit_blocks
from audiolm_cli.editing.spans import SEAM_FRAMES, Span, Surroundings, open_span
from audiolm_cli.errors import MemoryLimitError, OutputError, UsageError
from audiolm_cli.library.loading import load_codec

Piano = Callable[..., np.ndarray]
EMPTY = np.zeros((1, 0), np.float32)


@pytest.fixture(scope="module")
def codec(tiny_codec: Path) -> Codec:
    """The tiny codec."""
    return load_codec(str(tiny_codec))


def span_of(codec: Codec, before: np.ndarray, after: np.ndarray, rate_hz: int, new: int, frames: int = 60) -> Span:
    """A span between two pieces of one recording, float32 [C, n] each."""
    gain = training_gain(mid(np.concatenate([before, after], axis=1)))
    return open_span(Surroundings(before=before, after=after, rate_hz=rate_hz, gain=gain), new, frames, codec)


def _place(mono: np.ndarray, lead: int, span: Span) -> np.ndarray:
    """The span [C, n] from decoded mono [n] in one piece."""
    return np.concatenate(list(fit_blocks([mono], lead, span)), axis=1)


def random_codes(span: Span, codec: Codec, seed: int = 0) -> torch.Tensor:
    """Codes [1, gap_frames, K] for a span."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(codec.codebook_size, (1, span.gap_frames, codec.num_codebooks), generator=generator)


@settings(max_examples=60, deadline=None)
@given(
    rate_hz=st.one_of(st.sampled_from([8000, 22050, 32000, 44100, 48000, 96000]), st.integers(4000, 60_000)),
    channels=st.integers(1, 3),
    left_s=st.one_of(st.just(0.0), st.floats(0.001, 2)),
    right_s=st.one_of(st.just(0.0), st.floats(0.001, 2)),
    new_s=st.floats(0.0001, 0.8),
    frames=st.integers(1, 80),
)
@example(rate_hz=44101, channels=2, left_s=0.9, right_s=0.9, new_s=0.5, frames=1)
@example(rate_hz=32000, channels=1, left_s=0.0, right_s=0.0, new_s=0.02, frames=60)
@example(rate_hz=32000, channels=1, left_s=0.02, right_s=0.02, new_s=0.02, frames=1)
def test_length_and_shape(
    codec: Codec,
    piano: Piano,
    rate_hz: int,
    channels: int,
    left_s: float,
    right_s: float,
    new_s: float,
    frames: int,
) -> None:
    """Exact for any rate, any gap and any contexts, one frame and none included."""
    audio = piano(4.0, rate_hz, channels).T
    new = max(1, round(new_s * rate_hz))
    before, after = audio[:, : round(left_s * rate_hz)], audio[:, audio.shape[1] - round(right_s * rate_hz) :]
    span = span_of(codec, before, after, rate_hz, new, frames)
    hop_s = codec.hop_samples / codec.sample_rate_hz
    for side, own in ((span.left, before), (span.right, after)):
        T = side.codes.shape[1]
        assert side.codes.shape == (1, T, codec.num_codebooks)
        assert T + side.hidden <= frames
        assert (T + side.hidden) * hop_s <= own.shape[1] / rate_hz + 1e-9  # no more codes than there is audio
    assert span.left.codes.shape[1] + span.left.hidden == min(frames, int(before.shape[1] / rate_hz / hop_s + 1e-9))
    made = span.gap_frames - span.left.hidden - span.right.hidden
    assert (made - 1) * hop_s < new / rate_hz <= made * hop_s + 1e-9
    out = render_span(span, random_codes(span, codec))
    assert (out.shape, out.dtype) == ((channels, new), np.float32)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("rate_hz", [32000, 44100, 44101, 8000])
def test_context_codes_are_on_the_spans_grid(codec: Codec, piano: Piano, rate_hz: int) -> None:
    """Both contexts have the codes of the whole recording cut at multiples of a frame from the span."""
    hop = codec.hop_samples
    audio = piano(4.0, rate_hz).T
    start, new = 2 * rate_hz, rate_hz // 2
    span = span_of(codec, audio[:, :start], audio[:, start + new :], rate_hz, new)
    at_codec_rate = resample(audio, rate_hz, codec.sample_rate_hz) * span.gain
    whole = codec.encode(torch.from_numpy(at_codec_rate)[None])[0]  # the span starts at frame 100 of it
    first = 2 * codec.sample_rate_hz // hop
    L, R = span.left.codes.shape[1], span.right.codes.shape[1]
    left = whole[first - L - span.left.hidden : first - span.left.hidden]
    right = whole[first + 25 + span.right.hidden :][:R]
    assert 60 - span.left.hidden == L and R > 20
    assert (span.left.codes[0] == left).float().mean() > 0.9
    assert (span.right.codes[0] == right).float().mean() > 0.9


def test_the_gain_brings_recordings_to_the_training_level(codec: Codec, piano: Piano) -> None:
    """Quiet and loud ones have the same codes; silence is not blown up."""
    audio = piano(1.0).T
    codes = [span_of(codec, audio * level, EMPTY, 32000, 3200).left.codes for level in (1.0, 0.1)]
    assert (codes[0] == codes[1]).float().mean() > 0.98
    assert span_of(codec, audio * 0.1, EMPTY, 32000, 3200).gain == pytest.approx(
        TRAINING_PEAK / 0.1 / np.abs(audio).max()
    )
    assert span_of(codec, audio * 1e-6, EMPTY, 32000, 3200).gain == LARGEST_GAIN
    assert span_of(codec, audio * 0, EMPTY, 32000, 3200).gain == 1.0


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [8000, 44100, 44101])
def test_no_sample_jumps_at_the_seams(codec: Codec, rate_hz: int, channels: int) -> None:
    """However far from its context the decoded sound is, its steps at the seams are no larger than elsewhere."""
    time_s = np.arange(2 * rate_hz) / rate_hz
    audio = np.stack([0.3 + 0.1 * np.sin(2 * np.pi * (110 + 5 * c) * time_s) for c in range(channels)])
    audio = audio.astype(np.float32)
    start, new = rate_hz, rate_hz // 3
    before, after = audio[:, :start], audio[:, start + new :]
    span = span_of(codec, before, after, rate_hz, new)
    decoded = (-0.4 + 0.1 * np.sin(2 * np.pi * 100 * time_s + 1)).astype(np.float32)
    out = _place(decoded, start, span)
    joined = np.concatenate([before, out, after], axis=1)
    steps = np.abs(np.diff(joined, axis=1))
    seams = steps[:, [start - 1, start + new - 1]]
    assert np.abs(joined[:, start + new // 2] - joined[:, 0]).min() > 0.2
    assert seams.max() < 2 * np.abs(np.diff(audio, axis=1)).max()
    rendered = render_span(span, random_codes(span, codec))
    steps = np.abs(np.diff(rendered, axis=1)).max()
    assert np.abs(rendered[:, 0] - before[:, -1]).max() < 2 * steps
    assert np.abs(rendered[:, -1] - after[:, 0]).max() < 2 * steps


def test_the_context_fades_out_inside_the_span(codec: Codec, piano: Piano) -> None:
    """`_place` changes `FADE_S` at either end of what was decoded, and nothing between: from one to the other."""
    rate_hz, new, lead = 16000, 8000, 4000
    audio = piano(1.0, rate_hz).T
    span = span_of(codec, audio[:, :8000], audio[:, 8000:], rate_hz, new)
    rng, n = np.random.default_rng(0), lead + new + lead
    decoded = (rng.choice([-1, 1], n) * rng.uniform(0.01, 0.03, n)).astype(np.float32)  # no attack
    out = _place(decoded, lead, span)[0]
    fade = round(FADE_S * rate_hz)
    assert np.array_equal(out[fade:-fade], decoded[lead + fade : lead + new - fade])
    silent = _place(0 * decoded, lead, span)[0]
    weight = (out - silent)[:fade] / decoded[lead : lead + fade]  # of what was decoded
    assert weight[0] < 1e-3 and weight[-1] > 0.99 and (np.diff(weight) > -1e-3).all()
    assert np.allclose((out - silent)[-fade:] / decoded[lead + new - fade : lead + new], weight[::-1], atol=1e-3)
    expected = extrapolate(span.before, fade, rate_hz)[0]
    assert np.allclose(silent[:fade], expected * (1 - weight), atol=1e-3)


@pytest.mark.parametrize("attack_s", [0.0, 0.02, 0.05])
def test_an_attack_ends_the_fade(codec: Codec, piano: Piano, attack_s: float) -> None:
    """What is generated is itself from its attack on, at both ends; the shortest fade is kept."""
    rate_hz, new, lead = 16000, 8000, 4000
    audio = piano(1.0, rate_hz).T
    span = span_of(codec, audio[:, :8000], audio[:, 8000:], rate_hz, new)
    peak = 1.9 * np.abs(audio).max()  # as loud as a span may be
    decoded = np.random.default_rng(0).uniform(-peak, peak, lead + new + lead).astype(np.float32)
    attack = round(attack_s * rate_hz)
    decoded[lead : lead + attack] *= 0.01
    decoded[lead + new - attack : lead + new] *= 0.01
    out = _place(decoded, lead, span)[0]
    fade = round(max(attack_s, LEAST_FADE_S) * rate_hz)
    inside = decoded[lead : lead + new]
    assert np.array_equal(out[fade:-fade], inside[fade:-fade])
    late = slice(fade // 2, fade - fade // 6)  # the context is heard up to shortly before the attack
    for made, decoded_there in ((out, inside), (out[::-1], inside[::-1])):
        assert (np.abs(made - decoded_there)[late] > 1e-6).mean() > 0.9


def test_no_step_where_the_other_side_has_another_offset(codec: Codec) -> None:
    """The ceiling is lower for it, but not for the context as it runs on."""
    rate_hz = 16000
    tone = np.sin(2 * np.pi * 220 * np.arange(rate_hz) / rate_hz, dtype=np.float32)[None]
    before, after = 0.95 * tone[:, :15946], 0.3 * tone + np.float32(0.3)  # the first one ends at a peak
    surroundings = Surroundings(before=before, after=after, rate_hz=rate_hz, ceiling=1.0)
    span = open_span(surroundings, 8000, 60, codec)
    out = render_span(span, random_codes(span, codec))
    assert np.abs(out[:, 0] - before[:, -1]) < np.abs(np.diff(before)).max()


@pytest.mark.parametrize("new", [1, 2, 40])
def test_a_span_shorter_than_its_fades(codec: Codec, piano: Piano, new: int) -> None:
    """Both sides fade in what there is."""
    audio = piano(1.0, 16000).T
    span = span_of(codec, audio[:, :8000], audio[:, 8000:], 16000, new)
    out = render_span(span, random_codes(span, codec))
    assert out.shape == (1, new) and np.abs(out).max() < 1


def test_peaks_that_would_clip_are_lowered(codec: Codec, piano: Piano) -> None:
    """To the ceiling and smoothly; what is far from them stays; without a ceiling nothing changes."""
    rng = np.random.default_rng(0)
    mono = rng.uniform(-0.5, 0.5, 4000).astype(np.float32)
    mono[2000], mono[2050] = 1.7, -1.3
    wide = np.stack([mono, 0.3 * mono])
    lowered = limit(wide, 0.999, 100)
    assert np.abs(lowered).max() <= 0.999 and np.abs(lowered).max() > 0.9
    assert np.array_equal(lowered[:, :1790], wide[:, :1790]) and np.array_equal(lowered[:, 2260:], wide[:, 2260:])
    assert np.abs(np.diff(lowered[0] / mono)).max() < 0.01
    np.testing.assert_allclose(lowered[1], 0.3 * lowered[0], rtol=1e-6)  # the balance stays
    assert limit(wide, np.inf, 100) is wide
    audio = piano(2.0, 16000).T
    sides = Surroundings(before=audio[:, :16000], after=audio[:, 20000:], rate_hz=16000, ceiling=0.05)
    span = open_span(sides, 4000, 60, codec)
    peak = np.abs(render_span(span, random_codes(span, codec)))[:, 1300:-1300].max()  # between the fades
    assert 0.04 < peak <= 0.05 * (1 + 1e-6)  # to the rounding of float32


def test_without_context_nothing_is_faded(codec: Codec) -> None:
    """One channel of what the codes say, from its first sample on, at no other level."""
    span = span_of(codec, EMPTY, EMPTY, 32000, 6400)
    assert (span.left.codes.shape[1], span.right.codes.shape[1], span.gain) == (0, 0, 1.0)
    codes = random_codes(span, codec)
    out = render_span(span, codes)
    assert np.allclose(out[0], codec.decode(codes)[0, 0].numpy(), atol=1e-6)


def test_no_new_frames(codec: Codec, piano: Piano) -> None:
    """A take that ended at once has no samples, and is no error."""
    import dataclasses

    span = span_of(codec, piano(1.0).T, EMPTY, 32000, 6400)
    none = dataclasses.replace(span, gap_frames=0, new_samples=0)
    assert render_span(none, random_codes(none, codec)).shape == (1, 0)


def test_the_balance_is_the_contexts(codec: Codec, piano: Piano) -> None:
    """Left alone stays left alone; half as loud on the right stays so; a centred recording stays centred."""
    mono = piano(1.5)[:, 0]
    for right in (0.0, 0.5, 1.0):
        audio = np.stack([mono, right * mono])
        span = span_of(codec, audio[:, :32000], EMPTY.repeat(2, 0), 32000, 16000)
        out = render_span(span, random_codes(span, codec))
        assert np.abs(out[0]).max() > 0
        assert np.allclose(out[1], right * out[0], atol=1e-5)


def test_antiphase_is_placed_as_it_was(codec: Codec, piano: Piano) -> None:
    """Channels that cancel out in their mean are heard, and what is new is in antiphase as well."""
    mono = piano(1.5)[:, 0]
    for scale in (1.0, 0.5):
        audio = np.stack([mono, -scale * mono])
        span = span_of(codec, audio[:, :32000], audio[:, 40000:], 32000, 8000)
        out = render_span(span, random_codes(span, codec))
        assert np.isfinite(out).all() and np.abs(out[0]).max() > 0.01
        assert np.allclose(out[1], -scale * out[0], atol=1e-4)


def test_the_level_factor_has_bounds(codec: Codec, piano: Piano) -> None:
    """Within its range even when the codes of the context have nothing to do with its audio; 1 without context."""
    import dataclasses

    audio = piano(2.0).T
    for level in (1.0, 1e-3, 0.0):
        span = span_of(codec, audio * level, EMPTY, 32000, 3200)
        for seed in range(3):
            other = random_codes(dataclasses.replace(span, gap_frames=SEAM_FRAMES), codec, seed)
            assert LEVEL_RANGE[0] <= _level_ratio(span, other, span.right.codes) <= LEVEL_RANGE[1]
    nothing = span_of(codec, EMPTY, EMPTY, 32000, 3200)
    assert _level_ratio(nothing, nothing.left.codes, nothing.right.codes) == 1.0


@pytest.mark.parametrize("new", [16000, 16001, 17279])
@pytest.mark.parametrize("rate_hz", [32000, 44101])
def test_the_codec_is_matched_to_the_contexts(
    codec: Codec, piano: Piano, rate_hz: int, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hears their codes beside the samples that these stand for, on both sides, and decodes the span differently."""
    audio = piano(6.0, rate_hz).T
    start = 2 * rate_hz + 7
    before, after = audio[:, :start], audio[:, start + new :]
    matched = span_of(codec, before, after, rate_hz, new, frames=80)
    codes = random_codes(matched, codec)
    heard: list[tuple[torch.Tensor, torch.Tensor]] = []
    monkeypatch.setattr(SpectralCodec, "matched", lambda self, pairs: heard.extend(pairs) or self)
    plain = span_of(codec, before, after, rate_hz, new, frames=80)

    assert [own.shape[1] for own, _ in heard] == [plain.left.codes.shape[1], plain.right.codes.shape[1]]
    reach = codec.receptive_field_frames
    assert reach is not None
    for own, wav in heard:
        assert wav.shape[-1] == own.shape[1] * codec.hop_samples
        assert torch.equal(codec.encode(wav)[:, reach:-reach], own[:, reach:-reach])
        assert own.shape[1] > 2 * reach

    assert not np.array_equal(render_span(matched, codes), render_span(plain, codes))


@pytest.mark.parametrize("rate_hz", [32000, 44101])
def test_a_long_span_is_rendered_in_chunks(
    codec: Codec, piano: Piano, rate_hz: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of exact length, with the sound of one piece, no jumps where chunks meet, and the contexts faded in."""
    from audiolm_cli.editing import rendering

    audio = piano(6.0, rate_hz).T
    start, new = rate_hz, round(3.2 * rate_hz)
    span = span_of(codec, audio[:, :start], audio[:, start + new :], rate_hz, new)
    whole = codec.encode(torch.from_numpy(resample(piano(6.0).T, 32000, 32000))[None] * span.gain)
    first = 50 - span.left.hidden
    codes = whole[:, first : first + span.gap_frames]
    one = render_span(span, codes)
    monkeypatch.setattr(rendering, "CHUNK_FRAMES", 40)
    monkeypatch.setattr(rendering, "IMAGE_S", 0.6)
    blocks = list(rendering.render_blocks(span, codes))
    chunked = np.concatenate(blocks, axis=1)
    assert len(blocks) > 3 and chunked.shape == one.shape == (1, new)
    fade = round(0.02 * rate_hz)
    assert np.abs(chunked[:, :fade] - one[:, :fade]).max() < 0.1  # both begin as the context runs on
    steps = np.abs(np.diff(chunked))
    assert steps.max() < 1.5 * np.abs(np.diff(one)).max()
    level = [np.sqrt(np.square(wav[0, : new // 8 * 8].reshape(8, -1)).mean(1)) for wav in (chunked, one)]
    assert np.abs(20 * np.log10(level[0] / level[1])).max() < 2


def test_a_chunk_that_does_not_fit_into_memory_is_rendered_in_parts(
    codec: Codec, piano: Piano, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of exact length, near what one piece sounds like; and where nothing fits, this is said."""
    audio = piano(6.0, 32000).T
    span = span_of(codec, audio[:, :32000], audio[:, 134400:], 32000, 102400)
    codes = codec.encode(torch.from_numpy(audio[None, :, 32000:134400]) * span.gain)[:, : span.gap_frames]
    one, decode, longest = render_span(span, codes), SpectralCodec.decode, [0]

    def scarce(room: int) -> Callable[..., torch.Tensor]:
        def limited(self: SpectralCodec, codes: torch.Tensor, known: Any = None, on_share: Any = None) -> torch.Tensor:
            if codes.shape[1] > room:
                raise torch.OutOfMemoryError("out of memory")
            longest[0] = max(longest[0], codes.shape[1])
            return decode(self, codes, known, on_share or ignore_share)

        return limited

    monkeypatch.setattr(SpectralCodec, "decode", scarce(130))
    parts = render_span(span, codes)
    assert 0 < longest[0] <= 130 < codes.shape[1] and parts.shape == one.shape
    assert np.abs(np.diff(parts)).max() < 1.5 * np.abs(np.diff(one)).max()
    level = [np.sqrt(np.square(wav[0].reshape(8, -1)).mean(1)) for wav in (parts, one)]
    assert np.abs(20 * np.log10(level[0] / level[1])).max() < 2
    monkeypatch.setattr(SpectralCodec, "decode", scarce(10))
    with pytest.raises(MemoryLimitError, match="frames at once fit into the memory of"):
        render_span(span, codes)


# Names and jobs


def test_default_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder, the verb, a WAV; takes are numbered before the suffix."""
    monkeypatch.chdir(tmp_path)
    assert output_path(None, "a.b", "continued") == "a.b.continued.wav"
    assert output_path("out/", "a", "continued") == "out/a.continued.wav"
    assert output_path(str(tmp_path), "a", "continued") == str(tmp_path / "a.continued.wav")
    assert output_path("-", "a", "continued") == "-"
    assert output_path("x.flac", "a", "continued") == "x.flac"
    assert name_takes("x.flac", GenerateConfig(output="x.flac", takes=2)) == ["x.1.flac", "x.2.flac"]
    assert name_takes("a.looped.wav", GenerateConfig(takes=2)) == ["a.looped.1.wav", "a.looped.2.wav"]
    assert name_takes("p.png", GenerateConfig()) == ["p.png"]
    assert name_takes("-", GenerateConfig(output="-")) == ["-"]


def test_older_results_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name of the user's, the next number that all takes of a result can have; a dangling link is a file."""
    monkeypatch.chdir(tmp_path)
    Path("a.continued.wav").touch()
    Path("a.continued-2.wav").symlink_to("nowhere.wav")
    Path("a.continued.2.wav").touch()
    Path("a.continued-2.1.wav").touch()
    Path("p.png").touch()

    (job,) = plan_jobs(["a.wav"], "continued", GenerateConfig(plot="p.png"))
    assert (job.paths, job.plots) == (["a.continued-3.wav"], ["p-2.png"])
    (job,) = plan_jobs(["a.wav"], "continued", GenerateConfig(takes=2, plot="p.png"))
    assert job.paths == ["a.continued-3.1.wav", "a.continued-3.2.wav"]
    assert job.plots == ["p.1.png", "p.2.png"]  # none of them is there

    (job,) = plan_jobs(["a.wav"], "continued", GenerateConfig(force=True, plot="p.png"))
    assert (job.paths, job.plots) == (["a.continued.wav"], ["p.png"])
    with pytest.raises(OutputError, match=r"a\.continued\.wav: exists already"):
        plan_jobs(["a.wav"], "continued", GenerateConfig(output="a.continued.wav"))
    with pytest.raises(OutputError, match=r"p\.png: exists already"):
        plan_jobs(["a.wav"], "continued", GenerateConfig(output="new.wav", plot="p.png"))

    first, second = plan_jobs(["a.wav", "b/a.flac"], "continued", GenerateConfig())
    assert (first.paths, second.paths) == (["a.continued-3.wav"], ["a-2.continued.wav"])


@pytest.mark.parametrize(("output", "takes", "inputs"), [("-", 2, 1), ("-", 1, 2), ("x.wav", 1, 2)])
def test_one_file_does_not_hold_several(output: str, takes: int, inputs: int) -> None:
    """The error says what does."""
    with pytest.raises(UsageError, match="folder"):
        plan_jobs(["a.wav"] * inputs, "continued", GenerateConfig(output=output, takes=takes))


def test_jobs_never_share_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal stems, stems like the names made to tell those apart, takes and pictures: all names differ."""
    monkeypatch.chdir(tmp_path)
    sources = ["a/x.wav", "x-2.wav", "b/x.flac", "x-3.wav", "c/x.wav", "-"]
    jobs = plan_jobs(sources, "continued", GenerateConfig(takes=2, plot="p.png"))
    paths = [path for job in jobs for path in [*job.paths, *job.plots]]
    assert len(set(paths)) == len(paths) == 6 * 4
    assert [job.source for job in jobs] == sources
    assert jobs[0].paths == ["x.continued.1.wav", "x.continued.2.wav"]
    assert jobs[2].paths[0] == "x-3.continued.1.wav"
    assert jobs[2].plots[1] == "p.x-3.2.png"
    assert jobs[-1].paths[0] == "stdin.continued.1.wav"
    assert os.listdir() == []


def test_jobs_are_checked_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any output that is in the way, of any input and take, unless it may be overwritten."""
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("out/b.continued.2.wav").touch()
    config = GenerateConfig(takes=2, output="out/")
    with pytest.raises(OutputError, match=r"b\.continued\.2\.wav: exists already"):
        plan_jobs(["a.wav", "b.wav"], "continued", config)
    assert len(plan_jobs(["a.wav", "b.wav"], "continued", dataclasses.replace(config, force=True))) == 2
    with pytest.raises(UsageError, match="extension"):
        plan_jobs(["a.wav"], "continued", dataclasses.replace(config, output="a.mp4"))
    with pytest.raises(UsageError, match="PNG"):
        plan_jobs(["a.wav"], "continued", dataclasses.replace(config, plot="a.jpg"))


def test_new_sound_in_stereo_is_as_wide_and_as_loud_as_what_is_around_it(codec: Codec, piano: Piano) -> None:
    """Where both channels differ as much as two recordings of one room; the mid signal alone is 3 dB softer."""
    left, right = piano(6.0, 32000, seed=1)[:, 0], piano(6.0, 32000, seed=2)[:, 0]
    wide = np.stack([left, right])
    before, after = wide[:, : 3 * 32000], wide[:, 4 * 32000 :]
    span = span_of(codec, before, after, 32000, 32000)
    codes = codec.encode(torch.from_numpy(mid(wide[:, 3 * 32000 - 1280 : 4 * 32000 + 1280]))[None, None] * span.gain)
    out = render_span(span, codes[:, : span.gap_frames])
    flat = mid(out)
    inner = slice(2000, 30000)
    apart = np.square(out[:, inner] - flat[inner]).sum() / np.square(out[:, inner]).sum()
    around = np.concatenate([before, after], axis=1)
    true = np.square(around - mid(around)).sum() / np.square(around).sum()
    assert true > 0.2
    assert apart == pytest.approx(true, rel=0.25)


def test_bursts_are_held_down_to_twice_the_peak(codec: Codec, piano: Piano) -> None:
    """In a format that does not clip as well, whatever the codes sound like."""
    audio = 0.1 * piano(2.0, 32000).T
    span = span_of(codec, audio[:, :32000], EMPTY, 32000, 16000)
    codes = random_codes(span, codec)
    decode = span.codec.decode
    span.codec.decode = lambda *args: 20 * decode(*args)  # type: ignore[method-assign]
    out = render_span(span, codes)
    assert 1.5 < np.abs(out[:, 1000:]).max() / np.abs(audio[:, :32000]).max() <= 2.0001
