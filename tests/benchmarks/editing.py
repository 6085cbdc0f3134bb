"""What editing is worth, on held-out recordings: seams, infills against baselines, the use of the right context.

python tests/benchmarks/editing.py AUDIO [MODEL] [CLIPS] prints one Markdown table per question. AUDIO is a folder of
recordings; the clips come from those that a hash of their content holds out. Intervals are 95 % bootstrap intervals
over clips.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import Recording
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.data.files import open_audio, read_mono_clip
from audiolm_cli.data.folders import find_audio
from audiolm_cli.devices import pick_device
from audiolm_cli.editing.rendering import render_span
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.spans import Surroundings, open_span
from audiolm_cli.editing.splicing import Filled, Gap, Take, splice
from audiolm_cli.editing.streamed import stream_takes
from audiolm_cli.editing.takes import make_takes
from audiolm_cli.editing.windows import GapFiller
from audiolm_cli.evaluation.intervals import Groups
from audiolm_cli.evaluation.metrics import (
    chroma_correlation,
    mel_distance,
    seam_jump,
    spectral_flux_z,
)
from audiolm_cli.library.loading import Loaded, load_model
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.scoring import following_score
from audiolm_cli.reports.tables import table

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))


RATE_HZ = 32000
CLIP_S, GAP_AT_S = 8.0, 4.0
GAPS_S = (0.25, 0.5, 1.0, 2.0)
LAST_S = 0.5
"""The end of a gap whose likelihood shows whether the right context is heard."""
STREAMED_S = 6.0
LONG_GAP_S = 12.0
BEST_OF = 8
BEST_OF_GAP_S = 1.0


def held_out(folder: Path, count: int, clip_s: float = CLIP_S) -> list[np.ndarray]:
    """`count` clips float32 [n] from the test split, spread over its recordings, no half second of them silent."""
    files = [
        file for file in map(open_audio, find_audio([folder]).files) if file.split == "test" and file.duration_s > 60
    ]
    rng = np.random.default_rng(0)
    clips: list[np.ndarray] = []
    while len(clips) < count:
        file = files[len(clips) % len(files)]
        clip = read_mono_clip(file, rng.uniform(5, file.duration_s - clip_s - 7), round(clip_s * RATE_HZ), RATE_HZ)
        loudness = np.sqrt(np.square(clip).reshape(-1, RATE_HZ // 2).mean(1))
        if loudness.min() > 0.005:
            clips.append(clip)
    return clips


def recording(clip: np.ndarray) -> Recording:
    """A clip as a mono float recording."""
    facts = {"sample_rate_hz": RATE_HZ, "format": "WAV", "subtype": "FLOAT", "lossless": True}
    return Recording(samples=clip[:, None], tags={}, name="clip", **facts)  # type: ignore[arg-type]


def takes_of(
    loaded: Loaded, clip: np.ndarray, gap: Gap, seed: int, takes: int = 1, best_of: int | None = None
) -> list[Take]:
    """Takes for one gap of a clip."""
    config = GenerateConfig(seed=seed, takes=takes, best_of=best_of)
    return make_takes(Session(loaded=loaded, config=config), recording(clip), [gap])


def mean_and_interval(values: list[float]) -> str:
    """The mean of one figure per clip with its interval."""
    value, low, high = Groups([str(clip) for clip in range(len(values))]).mean(values)
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def seams(loaded: Loaded, clips: list[np.ndarray]) -> str:
    """Jump and flux at the seams of continuations, infills and loops, pasted bare, and where nothing was cut."""
    found: dict[str, tuple[list[float], list[float]]] = {}

    def add(name: str, wav: np.ndarray, position: int) -> None:
        jumps, fluxes = found.setdefault(name, ([], []))
        whole = torch.from_numpy(wav)
        jumps.append(seam_jump(whole, position, RATE_HZ).item())
        fluxes.append(spectral_flux_z(whole, position, RATE_HZ).item())

    at, length = round(GAP_AT_S * RATE_HZ), RATE_HZ
    for seed, clip in enumerate(clips):
        end = len(clip)
        for name, gap in (
            ("continuation", Gap(start=at, stop=end, new_samples=2 * length)),
            ("infill", Gap(start=at, stop=at + length, new_samples=length)),
        ):
            take = takes_of(loaded, clip, gap, seed)[0]
            made = np.concatenate(list(splice(Filled(recording=recording(clip), gaps=[gap], take=take)).blocks))[:, 0]
            add(f"{name}, left seam", made, at)
            if name == "infill":
                add("infill, right seam", made, at + length)
        codes = loaded.codec.encode(torch.from_numpy(take.pieces[0].wav)[None].to(loaded.codec.device))
        bare = loaded.codec.decode(codes)[0, 0].cpu().numpy()[:length]
        pasted = np.concatenate([clip[:at], bare, clip[at + length :]])
        add("pasted bare, left seam", pasted, at)
        add("pasted bare, right seam", pasted, at + length)
        gap = Gap(start=at, stop=end, new_samples=round(STREAMED_S * RATE_HZ))
        (take,) = stream_takes(Session(loaded=loaded, config=GenerateConfig(seed=seed)), recording(clip), [gap])
        blocks = list(take.pieces[0].blocks)
        made = np.concatenate([clip[None, :at], *blocks], axis=1)[0]
        add("streamed continuation, left seam", made, at)
        borders = at + np.cumsum([block.shape[1] for block in blocks])[1:-1]
        rng = np.random.default_rng(seed)
        for border in borders:
            add("streamed, where chunks meet", made, int(border))
            add("streamed, random points", made, int(rng.integers(at + RATE_HZ // 4, len(made) - RATE_HZ // 4)))
        twice = np.concatenate([clip, clip])
        bridge = takes_of(loaded, twice, Gap(start=end, stop=end, new_samples=length), seed)[0].pieces[0].wav[0]
        looped = np.concatenate([clip, bridge, clip])
        add("loop, where the bridge begins", looped, end)
        add("loop, where it starts over", looped, end + length)
        add("no seam: the recording at the left one", clip, at)
        add("no seam: a random point of it", clip, int(np.random.default_rng(seed).integers(RATE_HZ, end - RATE_HZ)))
    rows = [[name, f"{np.median(j):.3f}", f"{np.median(z):.2f}"] for name, (j, z) in found.items()]
    return table(["median at the seam", "jump over local RMS", "spectral flux z-score"], rows)


def cross_faded(clip: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The sound before the gap faded out over the sound after it faded in, of the gap's length."""
    ramp = np.linspace(0, 1, stop - start, dtype=np.float32)
    left, right = clip[start - (stop - start) : start], clip[stop : stop + (stop - start)]
    return left * np.cos(ramp * np.pi / 2) + right * np.sin(ramp * np.pi / 2)


def round_trip(loaded: Loaded, clip: np.ndarray, start: int, stop: int) -> np.ndarray:
    """What the codec makes of the true sound in the gap, placed as an infill is."""
    surroundings = Surroundings(before=clip[None, :start], after=clip[None, stop:], rate_hz=RATE_HZ)
    span = open_span(surroundings, stop - start, loaded.model.config.max_frames, loaded.codec)
    hop = loaded.codec.hop_samples
    first = start - span.left.hidden * hop
    codes = loaded.codec.encode(torch.from_numpy(clip[None, None, start % hop :]).to(loaded.codec.device))
    own = codes[:, (first - start % hop) // hop :][:, : span.gap_frames]
    return render_span(span, own)[0]


def infills(loaded: Loaded, clips: list[np.ndarray]) -> str:
    """Distance of infills and baselines from what was there."""
    rows = []
    for gap_s in GAPS_S:
        start, length = round(GAP_AT_S * RATE_HZ), round(gap_s * RATE_HZ)
        stop = start + length
        scores: dict[str, tuple[list[float], list[float]]] = {}
        for seed, clip in enumerate(clips):
            gap = Gap(start=start, stop=stop, new_samples=length)
            versions = {
                "infill": takes_of(loaded, clip, gap, seed)[0].pieces[0].wav[0],
                "silence": np.zeros(length, np.float32),
                "left side repeated": clip[start - length : start],
                "sides cross-faded": cross_faded(clip, start, stop),
                "codec round trip (ceiling)": round_trip(loaded, clip, start, stop),
            }
            truth = torch.from_numpy(clip[start:stop])
            for name, version in versions.items():
                mels, chromas = scores.setdefault(name, ([], []))
                made = torch.from_numpy(np.ascontiguousarray(version))
                mels.append(mel_distance(truth, made).item())
                chromas.append(chroma_correlation(truth, made).item())
        rows += [
            [f"{gap_s:g} s", name, mean_and_interval(mels), mean_and_interval(chromas)]
            for name, (mels, chromas) in scores.items()
        ]
    return table(["gap", "what is in it", "mel distance", "chroma correlation"], rows)


@torch.inference_mode()
def right_context(loaded: Loaded, clips: list[np.ndarray]) -> str:
    """Bits per frame of the first codebook over the last half second of a gap, with the right context and without."""
    rows = []
    for gap_s in GAPS_S[1:]:
        start, gap = round(GAP_AT_S * loaded.codec.frame_rate_hz), round(gap_s * loaded.codec.frame_rate_hz)
        last = round(LAST_S * loaded.codec.frame_rate_hz)
        both, left = [], []
        for clip in clips:
            codes = loaded.codec.encode(torch.from_numpy(clip)[None, None].to(loaded.codec.device))
            for found, right in ((both, codes.shape[1] - start - gap), (left, 0)):
                geometry = Geometry(start, gap, right)
                context, target = geometry.split(codes[:, : geometry.frames])
                losses = loaded.model.ar_predict(context, target, geometry)[0].losses()[0, -last:]
                found.append(losses.mean().item() / np.log(2))
        saved = [a - b for a, b in zip(left, both, strict=True)]
        rows.append([f"{gap_s:g} s", f"{np.mean(both):.3f}", f"{np.mean(left):.3f}", mean_and_interval(saved)])
    return table(["gap", "bits per frame, both sides", "left side alone", "saved"], rows)


def best_of(loaded: Loaded, clips: list[np.ndarray]) -> str:
    """Mel distance of the best-ranked of several candidates against that of the first."""
    start, length = round(GAP_AT_S * RATE_HZ), round(BEST_OF_GAP_S * RATE_HZ)
    gap = Gap(start=start, stop=start + length, new_samples=length)
    one, best, mean, costs = [], [], [], []
    for seed, clip in enumerate(clips):
        truth = torch.from_numpy(clip[start : start + length])
        began = time.process_time()
        takes_of(loaded, clip, gap, 1000 * seed)
        single_s = time.process_time() - began
        began = time.process_time()
        ranked = takes_of(loaded, clip, gap, 1000 * seed, takes=BEST_OF, best_of=BEST_OF)
        costs.append((time.process_time() - began) / single_s)
        distances = {take.seed: mel_distance(truth, torch.from_numpy(take.pieces[0].wav[0])).item() for take in ranked}
        one.append(distances[1000 * seed])
        best.append(distances[ranked[0].seed])
        mean.append(float(np.mean(list(distances.values()))))
    gained = [a - b for a, b in zip(mean, best, strict=True)]
    rows = [
        ["first take", mean_and_interval(one)],
        [f"mean of {BEST_OF} takes", mean_and_interval(mean)],
        [f"best of {BEST_OF}", mean_and_interval(best)],
        ["gained over the mean, paired", mean_and_interval(gained)],
        [f"time of {BEST_OF} takes over one, median", f"{np.median(costs):.2f}"],
    ]
    return table([f"gap of {BEST_OF_GAP_S:g} s", "mel distance"], rows)


@torch.inference_mode()
def long_gaps(loaded: Loaded, clips: list[np.ndarray]) -> str:
    """Gaps longer than the window: in steps from the left, as the program fills them, or from both sides inwards."""
    model, codec = loaded.model, loaded.codec
    rate_hz, half = codec.frame_rate_hz, model.config.max_frames // 2
    start, gap = round(GAP_AT_S * RATE_HZ), round(LONG_GAP_S * RATE_HZ)
    sampling = SamplingConfig()
    found: dict[str, dict[str, list[float]]] = {}
    for seed, clip in enumerate(clips):
        stop = start + gap
        surroundings = Surroundings(before=clip[None, :start], after=clip[None, stop:], rate_hz=RATE_HZ)
        span = open_span(surroundings, gap, model.config.max_frames, codec)
        left, right, frames = span.left.codes, span.right.codes, span.gap_frames
        side = (frames - half) // 2

        def fill(left: Tensor, right: Tensor, frames: int, seed: int = seed) -> Tensor:
            filler = GapFiller(model=model, sampling=sampling)
            return filler.fill(left, right, frames, [torch.Generator().manual_seed(seed)])

        first, last = fill(left, right[:, :0], side), fill(left[:, :0], right, side)
        near, far = torch.cat([left, first], dim=1), torch.cat([last, right], dim=1)
        inwards = torch.cat([first, fill(near, far, frames - 2 * side), last], dim=1)
        for name, codes in (("from the left", fill(left, right, frames)), ("from both sides", inwards)):
            made, truth = torch.from_numpy(render_span(span, codes)[0]), torch.from_numpy(clip[start:stop])
            end = round(2 * RATE_HZ)
            for measure, value in (
                ("mel distance", mel_distance(truth, made).item()),
                ("mel distance, last 2 s", mel_distance(truth[-end:], made[-end:]).item()),
                ("chroma correlation", chroma_correlation(truth, made).item()),
                ("chroma correlation, last 2 s", chroma_correlation(truth[-end:], made[-end:]).item()),
                ("bits per frame of what follows", -following_score(model, left, codes[:, -half:], right).item()),
                ("seam, flux z-score", right_seam(clip, made.numpy(), start, stop)),
                ("middle, flux z-score", spectral_flux_z(made, round(side / rate_hz * RATE_HZ), RATE_HZ).item()),
            ):
                found.setdefault(measure, {}).setdefault(name, []).append(value)
    rows = []
    for measure, both in found.items():
        one, other = both["from the left"], both["from both sides"]
        saved = mean_and_interval([b - a for a, b in zip(one, other, strict=True)])
        rows.append([measure, f"{np.mean(one):.3f}", f"{np.mean(other):.3f}", saved])
    return table([f"gap of {LONG_GAP_S:g} s", "from the left", "from both sides", "difference"], rows)


def right_seam(clip: np.ndarray, made: np.ndarray, start: int, stop: int) -> float:
    """Spectral change where the recording goes on."""
    whole = torch.from_numpy(np.concatenate([clip[:start], made, clip[stop:]]))
    return spectral_flux_z(whole, stop, RATE_HZ).item()


def main(folder: str, model: str = "piano", count: str = "30", *only: str) -> None:
    """Print every table, or only those named."""
    torch.set_num_threads(1)
    loaded = load_model(model, pick_device("auto"))
    clips = held_out(Path(folder), int(count))
    print(f"{loaded.folder.name} {loaded.folder.sha256[:12]}, {len(clips)} held-out clips\n")
    for question in (seams, infills, right_context, best_of):
        if not only or question.__name__ in only:
            print(question(loaded, clips), end="\n\n", flush=True)
    if not only or "long_gaps" in only:
        longer = held_out(Path(folder), int(count), 2 * GAP_AT_S + LONG_GAP_S)
        print(long_gaps(loaded, longer), end="\n\n", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
