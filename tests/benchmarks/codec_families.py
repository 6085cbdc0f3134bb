"""The spectral codec and an EnCodec network, both from nothing, after equal processor time on one thread; one table.

    python tests/benchmarks/codec_families.py TRAIN HELD_OUT --minutes 12 --work FOLDER [--slice 200]

TRAIN and HELD_OUT are folders of recordings. With `--slice` it stops after so many seconds, at a saved state; the same
command goes on, until the table comes. How many steps fit into the time is estimated before, and what they took is in
the table. Measured on one excerpt of ten seconds from the middle of each held-out recording; perplexities are of the
last steps of the training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from audiolm_cli.checkpoints.folder import CONFIG, read_folder
from audiolm_cli.codec.encodec import EncodecCodec
from audiolm_cli.codec.encodec_shape import EncodecConfig
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.shapes import SpectralConfig
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.data.files import open_audio, read_mono_clip
from audiolm_cli.data.folders import find_audio
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.evaluation.metrics import chroma_correlation, mel_distance, spectral_distance
from audiolm_cli.events import Event, Note, Progress
from audiolm_cli.library.loading import load_codec
from audiolm_cli.reports.tables import table
from audiolm_cli.training.codec.encodec import EncodecTrainee
from audiolm_cli.training.codec.loop import CodecTrainer
from audiolm_cli.training.codec.spectral import SpectralTrainee
from audiolm_cli.workflows.codec_train import CodecTrainRequest, train_codec

EXCERPT_S = 10.0
STATE_EVERY = 25
SHAPES: dict[str, SpectralConfig | EncodecConfig] = {
    "spectral": SpectralConfig(),
    "EnCodec, 16 filters": EncodecConfig(num_filters=16),
}
CLIPS: dict[str, dict[str, Any]] = {
    "spectral": {"clips": 12, "clip_s": 2.0},
    "EnCodec, 16 filters": {"clips": 6, "clip_s": 1.0},
}
"""More steps on less audio suit a network that is slow to start."""


class SliceEnds(BaseException):
    """The time of this process is up."""


def settings(family: str, steps: int) -> CodecTrainConfig:
    """How a family is trained."""
    return CodecTrainConfig(
        **CLIPS[family], steps=steps, quantize_from=0.1, state_every=STATE_EVERY, sample_every=200, threads=1
    )


def plan(family: str, source: Path, seconds: float) -> int:
    """Steps that fit into so much processor time, with the principal components and k-means."""
    shape, config = SHAPES[family], settings(family, 4)
    files = [open_audio(path) for path in find_audio([source]).files[:20]]
    trainee: SpectralTrainee | EncodecTrainee
    if isinstance(shape, SpectralConfig):
        trainee = SpectralTrainee(SpectralCodec(shape), config)
    else:
        trainee = EncodecTrainee(EncodecCodec.untrained(shape), config)
    trainer = CodecTrainer(trainee, config, files, files, Path("nowhere"), lambda event: None)
    trainee.quantizer.counts.fill_(1.0)
    taken = []
    for _ in range(5):
        began = time.process_time()
        trainer._train_step()
        taken.append(time.process_time() - began)
    began = time.process_time()
    with torch.no_grad():
        frames = trainee.latents(trainee.inputs(next(trainer._endless_clips("pilot"))))
    once = (time.process_time() - began) * trainee.start_frames / frames.shape[:2].numel()
    began = time.process_time()
    trainer.evaluate()
    measured = (time.process_time() - began) / STATE_EVERY
    k_means = frames.reshape(-1, frames.shape[-1])[:100].repeat(20, 1)
    began = time.process_time()
    trainee.quantizer.encode(k_means)
    starting = once + 13 * (time.process_time() - began) * trainee.start_frames / len(k_means)
    return int((seconds - starting) / (statistics.median(taken[1:]) + measured))


def train(family: str, source: Path, work: Path, minutes: float, ends_s: float) -> None:
    """Train to the end, or until the slice ends; the processor time is added up in `plan.json`."""
    folder = work / family.split(",")[0].lower()
    notes = work / f"{folder.name}.json"
    known = json.loads(notes.read_text()) if notes.exists() else {"processor_s": 0.0}
    if "steps" not in known:
        known["steps"] = plan(family, source, 60 * minutes)
        print(f"{family}: {known['steps']} steps", file=sys.stderr)
        notes.write_text(json.dumps(known))
    if (folder / CONFIG).is_file():
        return
    last = began = time.process_time()

    def listen(event: Event) -> None:
        nonlocal last
        if isinstance(event, Note):
            print(f"{family}: {event.message}", file=sys.stderr)
        elif isinstance(event, Progress) and event.stage == "train" and int(event.done) % STATE_EVERY == 1:
            last = time.process_time()  # a state has just been saved
            if time.monotonic() > ends_s:
                raise SliceEnds

    try:
        train_codec(
            CodecTrainRequest(
                source, folder, config=settings(family, known["steps"]), shape=SHAPES[family], on_event=listen
            )
        )
        last = time.process_time()
    finally:
        known["processor_s"] += last - began
        notes.write_text(json.dumps(known))


def measure(family: str, held_out: Path, work: Path) -> list[object]:
    """A row of the table."""
    folder = work / family.split(",")[0].lower()
    known, codec = json.loads((work / f"{folder.name}.json").read_text()), load_codec(str(folder))
    rows, began = [], time.process_time()
    files = [open_audio(path) for path in find_audio([held_out]).files]
    excerpts = []
    for file in files:
        start_s = max(0.0, (file.duration_s - EXCERPT_S) / 2)
        samples = round(EXCERPT_S * codec.sample_rate_hz)
        excerpts.append(torch.from_numpy(read_mono_clip(file, start_s, samples, codec.sample_rate_hz)))
    began = time.process_time()
    decoded = [codec.decode(codec.encode(wav[None, None]))[0, 0] for wav in excerpts]
    speed = EXCERPT_S * len(files) / (time.process_time() - began)
    for wav, made in zip(excerpts, decoded, strict=True):
        made = made[: len(wav)]
        rows.append([float(f(wav, made)) for f in (mel_distance, spectral_distance, chroma_correlation)])
    facts = read_folder(folder).training
    cells = []
    for column in zip(*rows, strict=True):
        error = statistics.stdev(column) / len(column) ** 0.5
        cells.append(f"{statistics.mean(column):.3f} ± {error:.3f}")
    usage = "/".join(f"{p:.0f}" for p in facts["codebook_perplexity"])
    return [family, f"{known['processor_s'] / 60:.1f}", known["steps"], *cells, usage, f"{speed:.0f} x"]


def main() -> None:
    """Train what is not trained, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--slice", type=float, default=float("inf"), metavar="S")
    given = parser.parse_args()
    prepare_cpu(1)
    given.work.mkdir(parents=True, exist_ok=True)
    ends_s = time.monotonic() + given.slice
    try:
        for family in SHAPES:
            train(family, given.train, given.work, given.minutes, ends_s)
    except SliceEnds:
        print("the slice ends; the same command goes on", file=sys.stderr)
        sys.exit(3)
    heads = ["codec", "processor minutes", "steps", "mel distance", "spectral distance", "chroma correlation"]
    heads += ["codebook perplexity of 2048", "times real time, round trip"]
    print(table(heads, [measure(family, given.held_out, given.work) for family in SHAPES]))


if __name__ == "__main__":
    main()
