"""Put a trained run into the package as the bundled `piano` model, with a model card made of its measurements.

    python tests/recipe/render.py ...                                        MIDI to AUDIO (see there)
    audiolm codec train AUDIO -o CODEC
    audiolm tokenize AUDIO -o TOKENS --codec CODEC
    audiolm train TOKENS -o RUN --preset tiny --num-decoder-layers 6
    audiolm evaluate AUDIO -m RUN --tokens TOKENS --json > evaluation.json   and of other recordings
    python tests/recipe/bundle.py RUN CODEC TOKENS "a sentence on the machine" "title=evaluation.json" ...

After `train`, `audiolm codec train AUDIO -o TUNED --init RUN --keep-codes` makes a model with a better decoder of its
codec, which is then both RUN and CODEC. CODEC may also be a bundled model, whose codec then stays as it is. Every
number of the card is read from the folders, the token store and the evaluations, of which the first is that of
recordings held out of AUDIO.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from render import draw

from audiolm_cli.checkpoints.catalogue import bundled_folders, resolve
from audiolm_cli.checkpoints.folder import (
    CARD,
    CODEC_TENSORS,
    MODEL_TENSORS,
    Folder,
    FolderFacts,
    load_tensors,
    write_folder,
)
from audiolm_cli.config.base import declared, flag_of
from audiolm_cli.config.shapes import SpectralChanges
from audiolm_cli.data.manifest import read_facts, read_store
from audiolm_cli.library.loading import codec_training
from audiolm_cli.reports.tables import markdown, table

AGAIN = "_second"
"""What `render.py --again` was given."""
ASSETS = Path(__file__).resolve().parents[2] / "audiolm_cli" / "assets"

CARD_TEXT = """# piano

A small AudioLM and its spectral codec for solo piano, bundled with audiolm: 32 kHz mono, 50 frames per second, 4
codebooks of 2048 codes (2.2 kbit/s).

## What it is for, and what it is bad at

`piano` is for trying audiolm at once. It is also a starting point for fine-tuning on a small set of piano recordings.

- The model knows three sampled pianos, dry and in rooms, at many levels and tunings. Other pianos come out less
  faithfully: how much so is measured below. Other instruments come out as something like a piano.
- The model hears 10 s. It keeps texture, register and tempo for a few seconds. It does not know form, and it wanders in
  key.
- The model was trained on performed pop arrangements and some classical pieces, and continues in those manners.
- The codec estimates phases from magnitudes. Attacks are softer than the original's.

## Data

Solo piano rendered from MIDI, 32 kHz mono: POP909 (Music X Lab, MIT licence) and GiantMIDI-Piano (ByteDance, CC BY
4.0). `tests/recipe/render.py` renders it. The piano, room, transposition, tempo, tuning, tone, level and noise are
drawn from the recording's name; {again} of the recordings are of a piece that is there already. The pianos are samples
of the Salamander Grand Piano V3 (Alexander Holm, CC BY 3.0), and fluidsynth with FluidR3 GM (Frank Wen, MIT licence)
and MuseScore General (S. Christian Collins, MIT licence). Recordings are split by a hash of their content: 2.5 % for
validation, 4 % held out for the numbers below.

{data}

## Training

```
{commands}
```

`piano` in a command is the model that was bundled when the command ran.

{machine} The weights are those of the best validation. They are stored in float16, except for the codebooks.

{training}

## Held-out numbers

`audiolm evaluate RECORDINGS -m RUN --tokens TOKENS --json`, on the same machine.

{evaluation}

The mel distance is a mean absolute difference of log10 mel magnitudes over seven window lengths (32 to 2048). The
spectral distance is one of log10 STFT magnitudes at window 2048. The chroma correlation is that of 12-class
chromagrams. The level *all generated* compares with what the recording really does next, which a continuation need not
do. MMD is the maximum mean discrepancy, without bias, of the log-mel statistics of each second; 0 is no difference. In
brackets: where 95 % of the values lie when the recordings are drawn again.

## Licence

The weights are under the MIT licence; GiantMIDI-Piano (CC BY 4.0) and the Salamander Grand Piano (CC BY 3.0, Alexander
Holm) ask for credit.
"""


def spectral_training(codec: Folder, start: str = "RUN") -> dict[str, Any]:
    """How a codec was trained; what it started from is called `start` where that is not bundled, wherever it lay."""
    return _without_paths(codec_training(codec), start)


def _without_paths(training: Mapping[str, Any], start: str) -> dict[str, Any]:
    """A training, and those before it, without the paths of what they started from."""
    own = dict(training)
    if "started_from" in own:
        own["started_from"] = _without_paths(own["started_from"], start)
    return own if own.get("init", "piano") in bundled_folders() else {**own, "init": start}


def lm_training(model: Folder) -> dict[str, Any]:
    """How an AudioLM was trained."""
    return {name: value for name, value in model.training.items() if name != "codec"}


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


def lm_command(training: Mapping[str, Any], layers: int) -> str:
    """The command that trained an AudioLM."""
    config = training["config"]
    start = f"--init {training['init']}" if training["init"] else f"--preset tiny --num-decoder-layers {layers}"
    stage = f" --train-stage {config['train_stage']}" if config["train_stage"] else ""
    size = f"--steps {config['steps']} --batch-frames {config['batch_frames']}"
    return f"audiolm train TOKENS -o RUN {start}{stage} {size}"


def commands(codecs: list[Mapping[str, Any]], models: list[Mapping[str, Any]], layers: int) -> str:
    """All of them in order, a line each; a codec that kept its codes may be trained when the AudioLM is."""
    made = max(i for i, own in enumerate(codecs, start=1) if not own["config"].get("keep_codes"))  # the codes
    before, after = codecs[:made], codecs[made:]
    return "\n".join(
        [
            *map(codec_command, before),
            "audiolm tokenize AUDIO -o TOKENS --codec CODEC",
            *(lm_command(own, layers) for own in models),
            *map(codec_command, after),
        ]
    )


def rendered_again(tokens: Path) -> int:
    """How many recordings of a store are other renderings of a piece that is there as well (`render.py --again`)."""
    names = {clip.id.split("@")[0] for split in ("train", "dev", "test") for clip in read_store(tokens, split)}
    return sum(name.endswith(AGAIN) and name.removesuffix(AGAIN) in names for name in names)


def hours_by_piano(tokens: Path) -> str:
    """A table of the token store's hours."""
    facts, hours = read_facts(tokens), dict[str, dict[str, float]]()
    for split in ("train", "dev", "test"):
        for clip in read_store(tokens, split):
            piano = draw(clip.id.split("@")[0]).piano  # clips between silences are named by where they begin
            by_split = hours.setdefault(piano, dict.fromkeys(("train", "dev", "test"), 0.0))
            by_split[split] += len(clip.codes) * facts.hop_samples / facts.sample_rate_hz / 3600
    rows = [[piano, *found.values()] for piano, found in sorted(hours.items())]
    return table(["hours", "train", "validation", "held out"], rows)


def card(model: Folder, codec: Folder, tokens: Path, evaluations: dict[str, dict[str, Any]], machine: str) -> str:
    """The model card; every number in it is read from the folders or the evaluations."""
    codecs, models = history(spectral_training(codec)), history(lm_training(model))
    return CARD_TEXT.format(
        data=hours_by_piano(tokens),
        commands=commands(codecs, models, model.model["num_layers"]),
        again=rendered_again(tokens),
        machine=machine,
        training=trainings_table([("codec", codecs), ("AudioLM", models)]),
        evaluation="\n\n".join(f"### {title}\n\n{markdown(found)}" for title, found in evaluations.items()),
    )


def trainings_table(named: list[tuple[str, list[Mapping[str, Any]]]]) -> str:
    """A row for each training, under the name of what was trained."""
    rows = [
        [name + _part(own["config"]), own["hours"], own["config"]["steps"], own["minutes"], _reached(own)]
        for name, trainings in named
        for own in trainings
    ]
    return table(["", "hours of audio", "steps", "minutes", "validation"], rows)


def _part(config: Mapping[str, Any]) -> str:
    """What of a codec or an AudioLM was trained, where that was not all of it."""
    if config.get("keep_codes"):
        return ", its decoder alone"
    return ("", ", its AR decoder alone", ", its NAR decoder alone")[config.get("train_stage", 0)]


def _reached(training: Mapping[str, Any]) -> str:
    held_out = training["held_out"]
    if "log" in held_out:
        return f"log {held_out['log']:.4f}"
    passes = "several NAR passes" if training["config"]["nar_known"] else "one NAR pass"
    return f"{held_out['total_bits']:.2f} bits, {passes}"


def main(run: str, codec_folder: str, tokens: str, machine: str, *titled: str) -> None:
    """Write `assets/piano`."""
    model, codec = resolve(run), resolve(codec_folder)
    if model.files[CODEC_TENSORS].sha256 != codec.files[CODEC_TENSORS].sha256:
        sys.exit(f"{run} has another codec than {codec_folder}")
    evaluations = {title: json.loads(Path(file).read_text()) for title, file in (one.split("=", 1) for one in titled)}
    for title, evaluation in evaluations.items():
        if evaluation["model"]["sha256"] != model.sha256:
            sys.exit(f"{title}: that is of another model than {run}")
    training = {**lm_training(model), "codec": spectral_training(codec), "licence": "MIT"}
    folder = write_folder(
        ASSETS / "piano",
        FolderFacts(
            kind="model",
            name="piano",
            model=model.model,
            codec={**model.codec, "name": "piano-codec"},
            training=training,
        ),
        tensors={name: load_tensors(model, name) for name in (MODEL_TENSORS, CODEC_TENSORS)},
        texts={CARD: card(model, codec, Path(tokens), evaluations, machine)},
        force=True,
    )
    megabytes = sum(entry.bytes for entry in folder.files.values()) / 1e6
    print(f"{folder.path}: {megabytes:.1f} MB, sha256 {folder.sha256}")


if __name__ == "__main__":
    main(*sys.argv[1:])
