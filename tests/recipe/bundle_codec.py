"""Put a trained codec into the package as the bundled codec `sound`, with a card made of its measurements.

    python tests/recipe/bundle_codec.py CODEC AUDIO "a sentence on the machine" "title=table.md" ...

AUDIO is the folder that `balance.py` laid and the codec was trained on; a table.md is what `compare.py` or `stays.py`
printed. `fetch.py`, `ensemble.py`, `mixes.py` and `balance.py` say how to make AUDIO. Every number of the card is read
from the folders or the tables.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import soundfile

sys.path.insert(0, str(Path(__file__).parent))

from bundle import ASSETS, codec_command, history, spectral_training, trainings_table
from ensemble import LICENCES
from mixes import find_recordings, hours
from sources import SOURCES

from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.checkpoints.folder import CARD, CODEC_TENSORS, FolderFacts, load_tensors, write_folder
from audiolm_cli.config.shapes import SpectralConfig
from audiolm_cli.reports.tables import table

NAME = "sound"
AGAIN = "-again"
"""What `balance.py` puts between the name and the number of a recording that is there several times."""

CARD_TEXT = """# sound

A spectral codec for any sound, bundled with audiolm: {shape}.

## What it is for, and what it is bad at

`sound` is the codec that `audiolm train` and `audiolm tokenize` take where no other is named, and the one to fine-tune
on a sound of your own.

- The codec is small and has few bits. Pitch, harmony, rhythm and level come back; detail does not. Treble is
  smoothed, and that of a bright sound comes back duller. Voices are rougher and attacks softer than the original's.
- Full orchestras and dense bands lose most. Of the notes of a piano, a transcriber hears fewer again than after Opus at
  16 kbit/s. Soft treble above 12 kHz is left out. The tables below have the figures, kind by kind.
- The codec estimates phases from magnitudes. It hears one channel.
- Its codes are made to stay the same under what nobody hears. A model of them does not learn noise 40 dB below the
  music, and does not give it back either.

## Data

Recordings are split by source: an instrument, player, voice, kit or place is wholly for training or wholly held out.
`tests/recipe` fetches, renders, mixes and weighs them (`fetch.py`, `ensemble.py`, `mixes.py`, `balance.py`).

{hours}

The hours are those of the folder. By a hash of their content, a few of its recordings are for validation or left out;
the table under *Training* has the hours that the codec heard. A recording that is there several times counts each time.

Where they are from, each with its licence:

{sources}

## Training

```
{commands}
```

CODEC is what the command before wrote. {machine}
The weights are running averages, stored in float16, except for the codebooks. {gains}

{training}

## Held-out numbers

{evaluation}

The mel distance is a mean absolute difference of log10 mel magnitudes over seven window lengths (32 to 2048); lower is
better. The chroma correlation is that of 12-class chromagrams. The further columns are shares of codes of codebooks 1
and 2 that stay under white and pink noise at an SNR of 40 dB, 3 dB less level, half a frame of delay (10 ms for
`piano`, 20 ms for `sound`), and MP3 at 128 kbit/s. Notes heard again are an F1 of key and onset, within 50 ms, of what
basic-pitch hears in the original and after the codec.

## Licence

The weights are under the MIT licence. The recordings that they were trained on are not in the package; their authors
and licences are named above.
"""


def describe_shape(config: SpectralConfig) -> str:
    """Rates, codes and bits."""
    frames = config.sample_rate_hz / config.hop_samples
    codes = config.num_codebooks + (config.level_s > 0)
    bits = frames * codes * (config.codebook_size - 1).bit_length() / 1000
    level = f", the last of which is the level over {config.level_s:g} s" if config.level_s > 0 else ""
    return (
        f"{config.sample_rate_hz / 1000:g} kHz mono, {frames:g} frames per second, {codes} codes of "
        f"{config.codebook_size} values each ({bits:g} kbit/s){level}"
    )


def describe_gains(config: SpectralConfig) -> str:
    """What decoded magnitudes are raised by."""
    if not config.gains_db:
        return "Decoded magnitudes are taken as they are."
    return (
        f"Decoded magnitudes are raised by {', '.join(f'{gain:g}' for gain in config.gains_db)} dB in bands evenly "
        "spaced on the mel scale: half of the level that clips of the training lose."
    )


def origin(source: str) -> tuple[str, str]:
    """(what it is, its licence) of a source as file names have it."""
    own = {one.name: (f"Debian package {one.package}", one.licence) for one in SOURCES}
    if source in own:
        return own[source]
    if source == "kit":
        return "renders of MIDI with hydrogen-drumkits", LICENCES["kits"]
    return f"renders of MIDI with {source}", LICENCES[source.split("-")[0]]


def hours_by_source(audio: Path) -> str:
    """A table of the training folder's hours, source by source; songs and worn copies are made of the others."""
    found = defaultdict[tuple[str, str, str], float](float)
    for path in find_recordings([audio]):
        kind, source, _ = path.name.split(".", 2)
        if kind == "song":
            key = ("voices over bands", "sums of the others", "as those")
        elif source.endswith("-worn"):
            key = ("worn copies", "of the others", "as those")
        else:
            key = (source, *origin(source))
        found[key] += soundfile.info(path).duration / 3600
    return table(["source", "from", "licence", "hours"], [[*key, hours] for key, hours in sorted(found.items())])


def card(training: dict[str, Any], config: SpectralConfig, audio: Path, tables: dict[str, str], machine: str) -> str:
    """The codec's card; every number in it is read from what is given."""
    trainings = history(training)
    return CARD_TEXT.format(
        shape=describe_shape(config),
        hours=hours([audio]),
        sources=hours_by_source(audio),
        commands="\n".join(map(codec_command, trainings)),
        machine=machine,
        gains=describe_gains(config),
        training=trainings_table([("codec", trainings)]),
        evaluation="\n\n".join(f"### {title}\n\n{text.strip()}" for title, text in tables.items()),
    )


def main(codec_folder: str, audio: str, machine: str, *titled: str) -> None:
    """Write `assets/sound`."""
    codec = resolve(codec_folder)
    config = SpectralConfig.from_dict(codec.codec["config"])
    tables = {title: Path(file).read_text() for title, file in (one.split("=", 1) for one in titled)}
    training = spectral_training(codec, "CODEC")
    folder = write_folder(
        ASSETS / NAME,
        FolderFacts(
            kind="codec",
            name=NAME,
            model=None,
            codec={**codec.codec, "name": NAME},
            training={**training, "licence": "MIT"},
        ),
        tensors={CODEC_TENSORS: load_tensors(codec, CODEC_TENSORS)},
        texts={CARD: card(training, config, Path(audio), tables, machine)},
        force=True,
    )
    print(f"{folder.path}: {sum(entry.bytes for entry in folder.files.values()) / 1e6:.1f} MB, sha256 {folder.sha256}")


if __name__ == "__main__":
    main(*sys.argv[1:])
