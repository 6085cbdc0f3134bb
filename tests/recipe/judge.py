"""Judge a model's continuations and infills by the notes that an independent transcriber, basic-pitch, hears in them.

    python tests/recipe/judge.py RECORDINGS WORK --transcriber PYTHON [--model piano] [--excerpts 100] \
        [--gaps 0.5 1] [--options NAME=VALUE...] [--label TEXT] [--json OUT.json] [--pictures OUT.png]

RECORDINGS is a folder of FLAC files that the model does not know, one of each piece, of 20 s or more; `withheld.py`
makes one. Each excerpt is a prompt of 10 s and what truly follows for 10 s. It is continued for 10 s, and gaps around
its middle are filled, with the seed of its name; --options are those of `audiolm_cli.continue_audio` (temperature=0.9
best_of=4). All is kept in WORK: a run that was stopped goes on, and the same run again only counts. PYTHON is that of
an environment with basic-pitch (`transcribe.py` says how it is made).

The table is Markdown. Intervals are of 95 %, pieces drawn again with replacement.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

sys.path.insert(0, str(Path(__file__).parent))

from judged_takes import (
    LEAD_S,
    NEW_S,
    PROMPT_S,
    Excerpt,
    cut_excerpts,
    gap_of,
    make_continuations,
    make_infills,
    make_round_trips,
)
from note_figures import (
    describe,
    f1,
    histograms,
    in_window,
    match_notes,
    overlap,
    polyphony,
    repeat_notes,
    share_pitch_classes,
    tell_apart,
)
from transcribe import load_notes, transcribe

from audiolm_cli.api import load_model
from audiolm_cli.evaluation.discrepancy import Discrepancy, Kernel, compare_halves, halve
from audiolm_cli.evaluation.intervals import INTERVAL, Figure, Groups
from audiolm_cli.evaluation.metrics import SAMPLE_RATE_HZ, chroma_correlation
from audiolm_cli.reports.tables import table

REPEATED_S = 3.0
"""A continuation without a model: this much before it, over and over."""
STALL, RUNAWAY = 1 / 3, 3.0
"""A take stalls with fewer notes per second than this share of its prompt's, and runs away with more."""
DRAWN = 20
"""Takes in the picture."""
TRUE, TRIP, MADE, REPEATED, OTHER = "true", "through the codec", "generated", "last 3 s repeated", "another piece's"


def make_all(excerpts: list[Excerpt], given: argparse.Namespace, options: dict[str, Any]) -> Path:
    """Make and transcribe what is not there yet; the folder of this model and these options."""
    model = load_model(given.model)
    words = [f"{name}={value}" for name, value in sorted(options.items())]
    label = given.label or "-".join([model.folder.name, model.folder.sha256[:8], *words])
    out = given.work / label

    def tell(line: str) -> None:
        print(f"{label}: {line}", file=sys.stderr, flush=True)

    make_round_trips(excerpts, given.work, model.codec, out / "round-trip", tell)
    make_continuations(excerpts, given.work, model, options, out / "continued", tell)
    for gap_s in given.gaps:
        make_infills(excerpts, given.work, model, options, gap_s, out / f"infilled-{gap_s:g}", tell)

    folders = [given.work / "excerpts", *sorted(path for path in out.iterdir() if path.is_dir())]
    transcribe(given.transcriber, folders)
    return out


def read_notes(folder: Path, excerpt: Excerpt, start_s: float, end_s: float) -> np.ndarray:
    """The notes of a stretch of a file."""
    return in_window(load_notes(folder / f"{excerpt.name}.flac"), start_s, end_s)


def shift_pieces(excerpts: list[Excerpt]) -> list[Excerpt]:
    """Of each excerpt, one of another piece."""
    shift = len(excerpts) // 2
    while any(excerpts[i - shift].piece == own.piece for i, own in enumerate(excerpts)):
        shift += 1
        if shift == len(excerpts):
            raise SystemExit("the excerpts are all of one piece, or nearly: there is no other one to compare with")
    return [excerpts[i - shift] for i in range(len(excerpts))]


def judge_continuations(versions: dict[str, list[np.ndarray]], prompts: list[np.ndarray], pieces: Groups) -> dict:
    """Figures of each version, by name: of `versions`, notes of NEW_S after each of the prompts."""
    features = {
        name: np.stack([describe(own, NEW_S, prompt, PROMPT_S) for own, prompt in zip(takes, prompts, strict=True)])
        for name, takes in versions.items()
    }
    counted = {name: [histograms(own) for own in takes] for name, takes in versions.items()}
    kernel = Kernel(features[TRUE])
    rate_before = np.array([len(prompt) for prompt in prompts]) / PROMPT_S
    many_before = np.array([polyphony(prompt, PROMPT_S) for prompt in prompts])

    found: dict[str, dict[str, Figure]] = {}
    for name, takes in versions.items():
        rate = np.array([len(own) for own in takes]) / NEW_S
        many = np.array([polyphony(own, NEW_S) for own in takes])
        shared = [share_pitch_classes(own, prompt) for own, prompt in zip(takes, prompts, strict=True)]
        lengths = np.array([(own[:, 1] - own[:, 0]).sum() for own in takes])
        change = np.abs(np.log((rate * NEW_S + 1) / (rate_before * PROMPT_S + 1)))
        own: dict[str, Figure] = {
            "pitch classes shared": pieces.mean(np.array(shared)),
            "notes/s": pieces.mean(rate),
            "notes, of the prompt's": pieces.ratio(rate, rate_before),
            "change of notes/s": pieces.mean(change),
            "polyphony": pieces.mean(many),
            "polyphony, of the prompt's": pieces.ratio(many, many_before),
            "note length, s": pieces.ratio(lengths, rate * NEW_S),
            "stalls": pieces.mean((rate < STALL * rate_before).astype(float)),
            "runaways": pieces.mean((rate > RUNAWAY * rate_before).astype(float)),
        }
        if name != TRUE:
            # Another piece's are the true ones of all pieces together: their histograms would be compared with
            # themselves.
            for kind in counted[name][0] if name != OTHER else ():
                mine, true = (np.stack([each[kind] for each in counted[one]]) for one in (name, TRUE))
                own[kind] = pieces.bootstrap(
                    lambda w, a=mine, b=true: overlap(w[pieces.of] @ a, w[pieces.of] @ b)  # type: ignore[misc]
                )
            apart = Discrepancy(kernel, features[TRUE], pieces.of, features[name], pieces.of)
            own["MMD"] = pieces.bootstrap(apart.estimate)
            own["told from true"] = pieces.mean(tell_apart(features[TRUE], features[name], pieces.of).mean(0))
        found[name] = own
    found[TRUE] |= judge_halves(features[TRUE], counted[TRUE], kernel, pieces)
    return found


def judge_halves(features: np.ndarray, counted: list[dict], kernel: Kernel, pieces: Groups) -> dict[str, Figure]:
    """What the measures of likeness say of two halves of the true continuations, over many ways to halve the pieces."""
    found = {"MMD": compare_halves(kernel, features, pieces.of, len(pieces))}
    for kind in counted[0]:
        rows = np.stack([own[kind] for own in counted])
        drawn = [overlap(rows[half[pieces.of]].sum(0), rows[~half[pieces.of]].sum(0)) for half in halve(len(pieces))]
        low, high = np.quantile(drawn, INTERVAL)
        found[kind] = Figure(float(np.mean(drawn)), float(low), float(high))
    return found


def judge_infills(
    versions: dict[str, tuple[list[np.ndarray], list[np.ndarray]]],
    truth: tuple[list[np.ndarray], list[np.ndarray]],
    pieces: Groups,
) -> dict[str, dict[str, Figure]]:
    """F1 of notes and correlation of chromagrams of each version with the truth, by name.

    Args:
        versions: by name, notes of each gap and its audio, float32 [n] at SAMPLE_RATE_HZ.
        truth: the same of what is truly there.
        pieces: whose gaps they are.
    """
    true_notes, true_audio = truth
    found = {}
    for name, (takes, audio) in versions.items():
        pairs = list(zip(true_notes, takes, strict=True))
        hits = np.array([match_notes(true, own) for true, own in pairs], dtype=float)
        true, own = (np.array([len(pair[side]) for pair in pairs], dtype=float) for side in range(2))
        chroma = [
            float(chroma_correlation(torch.from_numpy(a), torch.from_numpy(b)))
            for a, b in zip(true_audio, audio, strict=True)
        ]
        found[name] = {
            "notes F1": pieces.bootstrap(
                lambda w, of=pieces.of, sums=(hits, true, own): f1(*((w[of] * x).sum() for x in sums))  # type: ignore[misc]
            ),
            "notes, of the true": pieces.ratio(own, true),
            "chroma correlation": pieces.mean(np.array(chroma)),
        }
    return found


def read_continuations(
    excerpts: list[Excerpt], given: argparse.Namespace, out: Path
) -> tuple[list[np.ndarray], dict[str, list[np.ndarray]]]:
    """Notes of the prompts, and of each version of what follows."""
    whole, end_s = given.work / "excerpts", PROMPT_S + NEW_S
    prompts = [read_notes(whole, own, 0, PROMPT_S) for own in excerpts]
    last = [read_notes(whole, own, PROMPT_S - REPEATED_S, PROMPT_S) for own in excerpts]
    return prompts, {
        TRUE: [read_notes(whole, own, PROMPT_S, end_s) for own in excerpts],
        TRIP: [read_notes(out / "round-trip", own, PROMPT_S, end_s) for own in excerpts],
        MADE: [read_notes(out / "continued", own, LEAD_S, LEAD_S + NEW_S) for own in excerpts],
        REPEATED: [repeat_notes(own, REPEATED_S, NEW_S) for own in last],
        OTHER: [read_notes(whole, own, PROMPT_S, end_s) for own in shift_pieces(excerpts)],
    }


def read_infills(excerpts: list[Excerpt], given: argparse.Namespace, out: Path, gap_s: float) -> dict:
    """Notes and audio of each version of a gap."""
    whole, trips, filled = given.work / "excerpts", out / "round-trip", out / f"infilled-{gap_s:g}"
    start_s, _ = gap_of(gap_s)
    others = shift_pieces(excerpts)

    def read(folder: Path, chosen: list[Excerpt], at_s: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
        audio = []
        for own in chosen:
            wav, rate = soundfile.read(folder / f"{own.name}.flac", dtype="float32")
            heard = wav[round(at_s * rate) : round((at_s + gap_s) * rate)]
            audio.append(soxr.resample(heard, rate, SAMPLE_RATE_HZ))
        return [read_notes(folder, own, at_s, at_s + gap_s) for own in chosen], audio

    return {
        TRUE: read(whole, excerpts, start_s),
        TRIP: read(trips, excerpts, start_s),
        MADE: read(filled, excerpts, LEAD_S),
        "what was before, again": read(whole, excerpts, start_s - gap_s),
        OTHER: read(whole, others, start_s),
    }


def draw_rolls(excerpts: list[Excerpt], prompts: list, true: list, made: list, target: Path) -> None:
    """Piano rolls of the first takes: prompt and true continuation, and beside them prompt and generated one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = min(DRAWN, len(excerpts))
    rows = (count + 1) // 2
    figure, axes = pyplot.subplots(rows, 4, figsize=(22, 2.1 * rows), sharex=True, squeeze=False, layout="constrained")
    for i in range(count):
        pair = axes[i % rows, 2 * (i // rows) : 2 * (i // rows) + 2]
        for box, new, colour in zip(pair, (true[i], made[i]), ("#2a7f4f", "#1f5fa8"), strict=True):
            for notes, at, shade in ((prompts[i], 0.0, "#9aa3ad"), (new, PROMPT_S, colour)):
                box.hlines(notes[:, 2], at + notes[:, 0], at + notes[:, 1], colors=shade, linewidth=2.2)
            box.axvline(PROMPT_S, color="#c0392b", linewidth=0.8)
            box.set(xlim=(0, PROMPT_S + NEW_S), ylim=(21, 108))
            box.tick_params(labelsize=6)
        pair[0].set_title(f"{excerpts[i].name[:44]}: true", fontsize=7)
        pair[1].set_title("generated", fontsize=7)
    figure.savefig(target, dpi=70)


def as_markdown(result: dict[str, Any]) -> str:
    """The tables."""
    lines = [f"{result['excerpts']} excerpts of {result['pieces']} pieces; {result['model']}."]
    groups = {
        "after the prompt": (
            "pitch classes shared", "notes/s", "notes, of the prompt's", "change of notes/s", "polyphony",
            "polyphony, of the prompt's", "note length, s", "stalls", "runaways",
        ),
        "beside the true ones": ("intervals", "lengths", "onsets", "MMD", "told from true"),
    }  # fmt: skip
    for title, names in groups.items():
        lines.append(_tabulate(title, result["continuations"], names))
    for gap, found in result["infills"].items():
        names = ("notes F1", "notes, of the true", "chroma correlation")
        lines.append(_tabulate(f"gaps of {gap} s", found, names))
    return "\n\n".join(lines)


def _tabulate(title: str, versions: dict[str, dict[str, Figure]], names: tuple[str, ...]) -> str:
    rows = []
    for version, own in versions.items():
        label = f"{version}; two halves of them" if version == TRUE and title == "beside the true ones" else version
        rows.append([label, *("{:.3f} [{:.3f}, {:.3f}]".format(*own[name]) if name in own else "" for name in names)])
    return table([title, *names], rows)


def main() -> None:
    """Make what is missing, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recordings", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--transcriber", required=True, help="Python of an environment with basic-pitch")
    parser.add_argument("--model", default="piano")
    parser.add_argument("--excerpts", type=int, default=100)
    parser.add_argument("--gaps", type=float, nargs="*", default=[0.5, 1.0], help="s")
    parser.add_argument("--options", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--label", help="name of the folder of takes; default: of the model and the options")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    options = {name: ast.literal_eval(value) for name, value in (one.split("=", 1) for one in given.options)}

    excerpts = cut_excerpts(given.recordings, given.work, given.excerpts)
    out = make_all(excerpts, given, options)

    prompts, versions = read_continuations(excerpts, given, out)
    pieces = Groups([excerpt.piece for excerpt in excerpts])
    infills = {f"{gap_s:g}": read_infills(excerpts, given, out, gap_s) for gap_s in given.gaps}
    result = {
        "model": out.name,
        "options": options,
        "excerpts": len(excerpts),
        "pieces": len(pieces),
        "continuations": judge_continuations(versions, prompts, pieces),
        "infills": {
            gap: judge_infills({n: v for n, v in found.items() if n != TRUE}, found[TRUE], pieces)
            for gap, found in infills.items()
        },
    }
    print(as_markdown(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))
    if given.pictures:
        draw_rolls(excerpts, prompts, versions[TRUE], versions[MADE], given.pictures)


if __name__ == "__main__":
    main()
