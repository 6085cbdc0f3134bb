"""Compare codecs on held-out recordings, kind by kind, beside Opus at 8 kbit/s: one Markdown table, and pictures.

    python tests/recipe/compare.py FOLDER... --codecs piano OTHER [--seconds 10] [--most 5] [--pictures OUT]

FOLDERs hold `KIND.SOURCE.NAME.flac`, as `fetch.py`, `ensemble.py` and `mixes.py` write them. Of each recording, the
SECONDS from its first third on are encoded and decoded. For each kind: mel distance (lower is better), chroma
correlation (higher), and the share of codes of codebooks 1 and 2 that stay under noise (white, pink; SNR 40 dB), 3 dB
less level, half a frame of delay, and MP3 at 128 kbit/s. A codec is a folder, or a bundled name. Needs `opusenc` and
`ffmpeg`.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parent))

from fetch import RATE_HZ, decode_otherwise

from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import encode_chunked
from audiolm_cli.editing.picture import mel_decibels
from audiolm_cli.evaluation.consistency import measure_consistency
from audiolm_cli.evaluation.metrics import chroma_correlation, mel_distance
from audiolm_cli.library.loading import load_codec

STAYS = {
    "white noise, SNR 40 dB": "white",
    "pink noise, SNR 40 dB": "pink",
    "3 dB quieter": "-3 dB",
    "half a frame later": "half",
    "MP3, 128 kbit/s": "MP3",
}
"""Which of the changes are shown, and how they are called in the table."""
OPUS = "Opus 8k"


def choose(folders: list[Path], most: int) -> list[Path]:
    """At most so many recordings of each kind, from as many sources as there are; always the same ones."""
    kinds = defaultdict[str, dict[str, list[Path]]](lambda: defaultdict(list))
    for path in sorted(path for folder in folders for path in folder.rglob("*.flac")):
        kind, source, _ = path.name.split(".", 2)
        kinds[kind][source].append(path)
    chosen = []
    for kind in sorted(kinds):
        turns = itertools.zip_longest(*kinds[kind].values())  # one of each source, and another one, and so on
        chosen += [path for path in itertools.chain(*turns) if path is not None][:most]
    return chosen


def read_excerpts(paths: list[Path], seconds: float) -> dict[str, np.ndarray]:
    """float32 [n] by the recording's name; shorter recordings are taken whole, and silent ones left out."""
    excerpts = {}
    for path in paths:
        frames = soundfile.info(path).frames
        length = min(frames, round(seconds * RATE_HZ))
        wav, _ = soundfile.read(path, dtype="float32", start=(frames - length) // 3, frames=length)
        if length >= RATE_HZ and np.abs(wav).max() > 1e-3:
            excerpts[path.name.removesuffix(".flac")] = wav
    return excerpts


def round_trip(codec: Codec, wav: np.ndarray) -> np.ndarray:
    """float32 [n] through the codec."""
    codes = encode_chunked(codec, torch.from_numpy(wav)[None, None])
    return codec.decode(codes)[0, 0, : len(wav)].numpy()


def through_opus(wav: np.ndarray, kbit_s: int = 8) -> np.ndarray:
    """float32 [n] through `opusenc`, in place."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.wav", Path(folder) / "after.opus"
        soundfile.write(before, wav, RATE_HZ, subtype="PCM_16")
        encode = ["opusenc", "--quiet", "--bitrate", str(kbit_s), str(before), str(after)]
        subprocess.run(encode, check=True, capture_output=True)
        heard = decode_otherwise(after)
    out = np.zeros_like(wav)
    out[: len(heard)] = heard[: len(wav)]
    return out


def distances(true: np.ndarray, heard: np.ndarray) -> tuple[float, float]:
    """(mel distance, chroma correlation) of float32 [n]."""
    a, b = torch.from_numpy(true), torch.from_numpy(heard)
    return float(mel_distance(a, b, RATE_HZ)), float(chroma_correlation(a, b, RATE_HZ))


def draw(pairs: dict[str, list[tuple[str, np.ndarray]]], path: Path) -> None:
    """Spectrograms, a row for each recording and a column for each version of it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = max(map(len, pairs.values()))
    figure, axes = pyplot.subplots(len(pairs), columns, figsize=(5 * columns, 2.2 * len(pairs)), squeeze=False)
    for row, (name, versions) in zip(axes, pairs.items(), strict=True):
        for axis, (title, wav) in zip(row, versions, strict=True):
            decibels, _ = mel_decibels(wav[: 5 * RATE_HZ])
            top = decibels.max()
            axis.imshow(decibels, origin="lower", aspect="auto", vmin=top - 80, vmax=top, cmap="magma")
            axis.set_title(f"{name[:40]}: {title}", fontsize=7)
            axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def main() -> None:
    """Print the table; write the pictures where they are asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--codecs", nargs="+", default=["piano"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--most", type=int, default=5, help="recordings of a kind")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--no-consistency", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)

    excerpts = read_excerpts(choose(given.folders, given.most), given.seconds)
    codecs = {Path(name).name: load_codec(name) for name in given.codecs}
    by_kind, better = defaultdict[str, list[str]](list), dict.fromkeys(codecs, 0)
    found: dict[tuple[str, str], tuple[float, float]] = {}
    drawn: dict[str, list[tuple[str, np.ndarray]]] = {}
    for name, wav in excerpts.items():
        kind = name.split(".")[0]
        heard = {OPUS: through_opus(wav), **{title: round_trip(codec, wav) for title, codec in codecs.items()}}
        for title, version in heard.items():
            found[name, title] = distances(wav, version)
        for title in codecs:
            better[title] += found[name, title][0] < found[name, OPUS][0]
        if kind not in by_kind:
            drawn[name] = [("original", wav), *((title, version) for title, version in heard.items())]
        by_kind[kind].append(name)
        told = ", ".join(
            f"{title} {mel:.3f} / {chroma:.2f}" for (of, title), (mel, chroma) in found.items() if of == name
        )
        print(f"{name}: {told}", file=sys.stderr, flush=True)

    titles = [OPUS, *codecs]
    stays = [f"{title}: {short}" for title in codecs for short in STAYS.values()] if not given.no_consistency else []
    print(
        "| kind | clips |"
        + "".join(f" {title}, mel / chroma |" for title in titles)
        + "".join(f" {s} |" for s in stays)
    )
    print("|---" * (2 + len(titles) + len(stays)) + "|")
    for kind, names in [*sorted(by_kind.items()), ("all", list(excerpts))]:
        row = [kind, str(len(names))]
        for title in titles:
            mel, chroma = np.mean([found[name, title] for name in names], axis=0)
            row.append(f"{mel:.3f} / {chroma:.2f}")
        for codec in codecs.values() if stays else ():
            kept = measure_consistency(codec, [torch.from_numpy(excerpts[name]) for name in names])
            row += [f"{kept[change][0]:.2f} {kept[change][1]:.2f}" for change in STAYS]
        print("| " + " | ".join(row) + " |", flush=True)
    for title, count in better.items():
        least = min(found[name, title][1] for name in excerpts)
        print(f"\n{title}: mel below Opus on {count} of {len(excerpts)}; least chroma correlation {least:.2f}")
    if given.pictures:
        draw(drawn, given.pictures)


if __name__ == "__main__":
    main()
