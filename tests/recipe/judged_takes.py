"""The excerpts that `judge.py` judges on, and what a model makes of them: audio files, each made once.

A folder WORK has `excerpts/NAME.flac`, and of each model and options a folder with `round-trip`, `continued`,
`infilled-0.5`, ... of files of the same names. Knows nothing about notes.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

from audiolm_cli.api import continue_audio, infill_audio
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import decode_chunked, encode_chunked
from audiolm_cli.library.loading import Loaded

PROMPT_S = NEW_S = 10.0
LEAD_S = 2.0
"""So much of the recording is before and after what is new in a take's file: the transcriber hears it in its place."""
SILENT = 1e-3
"""An excerpt has samples over this before and after the end of its prompt."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A prompt, and what truly follows."""

    name: str
    """Of its files."""
    piece: str
    """Excerpts of one piece are alike."""
    start_s: float


def cut_excerpts(recordings: Path, work: Path, most: int) -> list[Excerpt]:
    """Write excerpts of the recordings, mono, one of each and then another one of each; the same ones again."""
    index = work / f"excerpts-{most}.json"
    if index.exists():
        return [Excerpt(**own) for own in json.loads(index.read_text())]

    (work / "excerpts").mkdir(parents=True, exist_ok=True)
    found: list[Excerpt] = []
    files = sorted(recordings.rglob("*.flac"), key=lambda path: zlib.crc32(path.name.encode()))  # in no order
    for number in itertools.count():
        places = [(path, number * (PROMPT_S + NEW_S)) for path in files]
        places = [(path, at) for path, at in places if soundfile.info(path).duration >= at + PROMPT_S + NEW_S]
        for path, at in places:
            rate = soundfile.info(path).samplerate
            start, length = round(at * rate), round((PROMPT_S + NEW_S) * rate)
            audio, _ = soundfile.read(path, dtype="float32", always_2d=True, start=start, frames=length)
            wav = audio.mean(1)
            if len(found) < most and min(np.abs(half).max() for half in np.array_split(wav, 2)) > SILENT:
                excerpt = Excerpt(name=f"{path.stem}@{at:g}", piece=path.stem, start_s=at)
                write_once(work / "excerpts" / f"{excerpt.name}.flac", wav, rate)
                found.append(excerpt)
        if not places or len(found) == most:
            break
    if len(found) < 2:
        raise SystemExit(f"{recordings}: fewer than two excerpts of {PROMPT_S + NEW_S:g} s that sound")
    index.write_text(json.dumps([asdict(own) for own in found], indent=1))
    return found


def make_round_trips(excerpts: list[Excerpt], work: Path, codec: Codec, out: Path, tell: Callable[[str], None]) -> None:
    """What the codec makes of the excerpts, matched to the prompt as it is when it decodes a continuation."""
    for excerpt in _missing(excerpts, out, tell):
        wav, rate = read_excerpt(work, excerpt)
        own = soxr.resample(wav, rate, codec.sample_rate_hz) if rate != codec.sample_rate_hz else wav
        given = torch.from_numpy(own)[None, None].expand(1, codec.channels, -1)  # [1, C, N]
        codes = encode_chunked(codec, given)
        prompt = round(PROMPT_S * codec.frame_rate_hz)
        matched = codec.matched([(codes[:, :prompt], given[..., : prompt * codec.hop_samples])])
        decoded = decode_chunked(matched, codes)[0].mean(0)[: len(own)].numpy()
        write_once(out / f"{excerpt.name}.flac", decoded, codec.sample_rate_hz)


def make_continuations(
    excerpts: list[Excerpt], work: Path, model: Loaded, options: dict[str, Any], out: Path, tell: Callable[[str], None]
) -> None:
    """Each prompt's last seconds, and what the model continues it with."""
    for excerpt in _missing(excerpts, out, tell):
        wav, rate = read_excerpt(work, excerpt)
        prompt = wav[: round(PROMPT_S * rate)]
        seed = zlib.crc32(excerpt.name.encode())
        (made,) = continue_audio(prompt, rate, NEW_S, model=model, seed=seed, only_new=True, **options)
        write_once(out / f"{excerpt.name}.flac", np.concatenate([prompt[-round(LEAD_S * rate) :], made.audio]), rate)


def make_infills(
    excerpts: list[Excerpt],
    work: Path,
    model: Loaded,
    options: dict[str, Any],
    gap_s: float,
    out: Path,
    tell: Callable[[str], None],
) -> None:
    """A gap around the end of the prompt, filled, with some seconds on each side."""
    for excerpt in _missing(excerpts, out, tell):
        wav, rate = read_excerpt(work, excerpt)
        start_s, end_s = gap_of(gap_s)
        seed = zlib.crc32(excerpt.name.encode())
        (made,) = infill_audio(wav, rate, (start_s, end_s), model=model, seed=seed, **options)
        heard = made.audio[round((start_s - LEAD_S) * rate) : round((end_s + LEAD_S) * rate)]
        write_once(out / f"{excerpt.name}.flac", heard, rate)


def gap_of(gap_s: float) -> tuple[float, float]:
    """Where in an excerpt a gap of this length is, in s."""
    return PROMPT_S - gap_s / 2, PROMPT_S + gap_s / 2


def read_excerpt(work: Path, excerpt: Excerpt) -> tuple[np.ndarray, int]:
    """float32 [n], and its rate."""
    return soundfile.read(work / "excerpts" / f"{excerpt.name}.flac", dtype="float32")


def write_once(path: Path, wav: np.ndarray, sample_rate_hz: int) -> None:
    """A file that is whole where it is there; 16 bits."""
    part = path.with_suffix(".part")
    soundfile.write(part, wav.clip(-1, 1), sample_rate_hz, subtype="PCM_16", format="FLAC")
    part.replace(path)


def _missing(excerpts: list[Excerpt], out: Path, tell: Callable[[str], None]) -> list[Excerpt]:
    """The excerpts of which there is no file yet."""
    out.mkdir(parents=True, exist_ok=True)
    missing = [excerpt for excerpt in excerpts if not (out / f"{excerpt.name}.flac").exists()]
    if missing:
        tell(f"{out.name}: {len(missing)} to make")
    return missing
