"""Put a trained run into the package as the bundled `piano` model, with a model card made of its measurements.

    python tests/recipe/render.py MIDI AUDIO ...                             and again, with --again _second
    python tests/recipe/recorded.py AUDIO RECORDED
    audiolm tokenize AUDIO -o STORE --codec sound                            and so RECORDED
    python tests/recipe/join_stores.py TOKENS STORE... --again _second
    audiolm train CLEAN -o FIRST --preset tiny --num-decoder-layers 6 --ar-codebooks 9
    audiolm train TOKENS -o RUN --init FIRST
    audiolm evaluate RECORDINGS -m RUN --tokens TOKENS --json > evaluation.json
    python tests/recipe/bundle.py RUN TOKENS "a sentence on the machine" "title=evaluation.json" ... --again _second

The codec is the bundled `sound`, which the model names and does not carry. Every number of the card is read from the
folders, the token store, the evaluations, and tables in Markdown (`title=table.md`), as `judge.py` prints them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from join_stores import piece_of
from recorded import render_of
from render import draw

from audiolm_cli.checkpoints.catalogue import bundled_folders, resolve
from audiolm_cli.checkpoints.folder import (
    CARD,
    MODEL_TENSORS,
    Folder,
    FolderFacts,
    load_tensors,
    write_folder,
)
from audiolm_cli.config.base import declared, flag_of
from audiolm_cli.config.shapes import ModelConfig, SpectralChanges
from audiolm_cli.data.files import SPLITS
from audiolm_cli.data.manifest import read_facts, read_store
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.library.loading import codec_training
from audiolm_cli.reports.tables import markdown, table

ASSETS = Path(__file__).resolve().parents[2] / "audiolm_cli" / "assets"

CARD_TEXT = """# piano

A small AudioLM for solo piano, bundled with audiolm, on the codes of the bundled codec `sound`: {shape}.

## What it is for, and what it is bad at

`piano` is for trying audiolm at once. It is also a starting point for fine-tuning on a small set of piano recordings.

- The model knows sampled pianos, dry and in rooms, clean and as if recorded, at many levels and tunings. Other pianos
  come out less faithfully: how much so is measured below. Other instruments come out as something like a piano.
- The model hears {window_s:g} s. It keeps texture, register and harmony for a while. It does not know form.
- The model was trained on performed pop arrangements and classical pieces, and continues in those manners.
- What `sound` does not carry, the model cannot make: `audiolm models info sound --json` has that codec's own card.

## Data

Solo piano rendered from MIDI, 32 kHz mono: POP909 (Music X Lab, MIT licence) and GiantMIDI-Piano (ByteDance, CC BY
4.0). `tests/recipe/render.py` renders it. The piano, room, transposition, tempo, tuning, tone, level and noise are
drawn from the recording's name. `tests/recipe/recorded.py` makes copies that sound recorded: with microphones, rooms,
levels that change, noise, and the bandwidth of worn media.
The last training had {recordings} recordings of {pieces} pieces, with those held out. The pianos are samples of the
Salamander Grand Piano V3 (Alexander Holm, CC BY 3.0), of Headroom Piano at two microphones (Bengt Nilsson, CC BY 4.0),
and fluidsynth with FluidR3 GM (Frank Wen, MIT licence) and MuseScore General (S. Christian Collins, MIT licence).
Recordings are split by a hash of their piece: 2.5 % for validation, 4 % held out.

{data}

## Training

```
{commands}
```

{machine}
The weights are those of the best validation, stored in float16. Each training was validated on its own recordings, so
its bits do not compare with those of the others.

{training}

## Held-out numbers

{evaluation}

## Licence

The weights are under the MIT licence; GiantMIDI-Piano (CC BY 4.0), the Salamander Grand Piano (CC BY 3.0, Alexander
Holm) and Headroom Piano (CC BY 4.0, Bengt Nilsson) ask for credit.
"""


def spectral_training(codec: Folder, start: str = "RUN") -> dict[str, Any]:
    """How a codec was trained; what it started from is called `start` where that is not bundled, wherever it lay."""
    return _without_paths(codec_training(codec), start, list(bundled_folders()))


def _without_paths(training: Mapping[str, Any], start: str, kept: list[str]) -> dict[str, Any]:
    """A training, and those before it, without the paths of what they started from; names in `kept` stay."""
    own = dict(training)
    if "started_from" in own:
        own["started_from"] = _without_paths(own["started_from"], start, kept)
    return own if own.get("init") in (None, *kept) else {**own, "init": start}


def lm_training(model: Folder) -> dict[str, Any]:
    """How an AudioLM was trained; what it started from is called RUN, also where it was the `piano` of its time."""
    own = {name: value for name, value in model.training.items() if name != "codec"}
    return _without_paths(own, "RUN", [])


def history(training: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A training and those that it went on from, the first one first."""
    before = training.get("started_from")
    return [*(history(before) if before else []), training]


def codec_command(training: Mapping[str, Any]) -> str:
    """The command that trained a codec."""
    config = training["config"]
    words = ["audiolm codec train AUDIO -o CODEC"]
    if "init" in training:
        words += [f"--init {training['init']}", f"--base-lr {config['learning_rate']:g}"]
    if config.get("keep_codes"):
        words.append("--keep-codes")
    flags = {field.name: flag_of(field, about) for field, about, _ in declared(SpectralChanges)}
    words += [f"{flags[name]} {value:g}" for name, value in training.get("shape", {}).items()]
    return " ".join([*words, f"--steps {config['steps']} --clips {config['clips']}"])


def lm_command(training: Mapping[str, Any], shape: ModelConfig, number: int) -> str:
    """The command that trained an AudioLM; training `number`, from 1, went on from the one before."""
    config = training["config"]
    start = f"--preset tiny --num-decoder-layers {shape.num_layers} --ar-codebooks {shape.ar_codebooks}"
    if training["init"]:
        start = f"--init RUN{number - 1}"
    stage = f" --train-stage {config['train_stage']}" if config["train_stage"] else ""
    size = f"--steps {config['steps']} --batch-frames {config['batch_frames']}"
    return f"audiolm train TOKENS{number} -o RUN{number} {start}{stage} {size}"


def hours_by_piano(clips: dict[str, list[TokenClip]], frames_per_s: float) -> str:
    """A table of the hours of a token store's clips, by split."""
    hours: dict[str, dict[str, float]] = {}
    for split, own in clips.items():
        for clip in own:
            name = clip.id.split("@")[0]  # clips between silences are named by where they begin
            render = render_of(name)
            piano = draw(render).piano + (", recorded" if render != name else "")
            by_split = hours.setdefault(piano, dict.fromkeys(clips, 0.0))
            by_split[split] += len(clip.codes) / frames_per_s / 3600
    rows = [[piano, *found.values()] for piano, found in sorted(hours.items())]
    return table(["hours", "train", "validation", "held out"], rows)


def card(model: Folder, tokens: Path, evaluations: dict[str, str], machine: str, endings: list[str]) -> str:
    """The model card; every number in it is read from the folder, the token store or the evaluations."""
    shape, trainings, facts = ModelConfig.from_dict(model.model), history(lm_training(model)), read_facts(tokens)
    clips = {split: read_store(tokens, split) for split in SPLITS}
    recordings = {clip.id.split("@")[0] for own in clips.values() for clip in own}
    frames_per_s = facts.sample_rate_hz / facts.hop_samples
    return CARD_TEXT.format(
        shape=f"{frames_per_s:g} frames per second of {facts.num_codebooks} codes",
        window_s=shape.max_frames / frames_per_s,
        recordings=len(recordings),
        pieces=len({piece_of(name, endings) for name in recordings}),
        data=hours_by_piano(clips, frames_per_s),
        commands="\n".join(lm_command(own, shape, number) for number, own in enumerate(trainings, start=1)),
        machine=machine,
        training=trainings_table([("AudioLM", trainings)]),
        evaluation="\n\n".join(f"### {title}\n\n{found}" for title, found in evaluations.items()),
    )


def trainings_table(named: list[tuple[str, list[Mapping[str, Any]]]]) -> str:
    """A row for each training, under the name of what was trained."""
    rows = [
        [name + _part(own["config"]), own["hours"], _steps(own), own["minutes"], _reached(own)]
        for name, trainings in named
        for own in trainings
    ]
    return table(["", "hours of audio", "steps", "minutes", "validation"], rows)


def _part(config: Mapping[str, Any]) -> str:
    """What of a codec or an AudioLM was trained, where that was not all of it."""
    if config.get("keep_codes"):
        return ", its decoder alone"
    return ("", ", its AR decoder alone", ", its NAR decoder alone")[config.get("train_stage", 0)]


def _steps(training: Mapping[str, Any]) -> str:
    """After how many steps the weights were the best, and of how many, where those are others."""
    planned = training["config"]["steps"]
    step = training.get("step", planned)
    return f"{step}" if step == planned else f"{step} of {planned}"


def _reached(training: Mapping[str, Any]) -> str:
    held_out = training["held_out"]
    if "log" in held_out:
        return f"log {held_out['log']:.4f}"
    return f"{held_out['total_bits']:.2f} bits per frame"


def read_evaluation(file: Path, model: Folder) -> str:
    """An evaluation as Markdown: a table as it is, or what `audiolm evaluate --json` said of this very model."""
    if file.suffix == ".md":
        return file.read_text().strip()

    found = json.loads(file.read_text())
    if found["model"]["sha256"] != model.sha256:
        raise SystemExit(f"{file}: that is of another model")
    return markdown(found)


def main() -> None:
    """Write `assets/piano`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("tokens", type=Path)
    parser.add_argument("machine")
    parser.add_argument("evaluations", nargs="*", metavar="TITLE=FILE")
    parser.add_argument("--again", nargs="*", default=[], metavar="ENDING", help="as render.py had them")
    given = parser.parse_args()

    model, sound = resolve(given.run), resolve("sound")
    if model.codec["sha256"] != sound.codec["sha256"]:
        raise SystemExit(f"{given.run} has other codes than the bundled codec sound")
    titled = (one.split("=", 1) for one in given.evaluations)
    evaluations = {title: read_evaluation(Path(file), model) for title, file in titled}

    folder = write_folder(
        ASSETS / "piano",
        FolderFacts(
            kind="model",
            name="piano",
            model=model.model,
            codec=model.codec,
            training={**lm_training(model), "licence": "MIT"},
        ),
        tensors={MODEL_TENSORS: load_tensors(model, MODEL_TENSORS)},
        texts={CARD: card(model, given.tokens, evaluations, given.machine, given.again)},
        force=True,
    )
    megabytes = sum(entry.bytes for entry in folder.files.values()) / 1e6
    print(f"{folder.path}: {megabytes:.1f} MB, sha256 {folder.sha256}")


if __name__ == "__main__":
    main()
