"""The card of a model or a codec that is given away: what it is, what it was trained on, how good it is, its terms.

Every number in it is read from the folder, or from an evaluation of the same weights. Knows nothing about where it
goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from audiolm_cli.checkpoints.catalogue import KNOWN_CODECS
from audiolm_cli.checkpoints.folder import Folder
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.reports.tables import table
from audiolm_cli.wording import counted, length_of

UNKNOWN = "unknown"
"""What Hugging Face calls terms that nobody has stated."""
MADE = "<!-- Made by `audiolm models`, and anew where that runs again. Without this line, the card stays as it is. -->"
"""The last line of a card that no person has written."""
_LICENCE_ID = re.compile(r"[a-z0-9]+(?:[.+-][a-z0-9]+)*")


def plain_card(name: str) -> str:
    """The card of a run, before anybody has written one or gives the model away."""
    return f"# {name}\n\nTrained with `audiolm train`; its facts are in `config.json`.\n"


def write_card(folder: Folder, source: str, licence: str, own: str, evaluation: str = "") -> str:
    """The card of a model or codec as Markdown.

    Args:
        folder: it.
        source: where others get it, as `models pull` takes it.
        licence: its terms; empty where nobody has stated them.
        own: the card that lies in the folder, which stays where a person has written it; empty where there is none.
        evaluation: the tables of an evaluation of the same weights, as Markdown; empty where there is none.
    """
    numbers = ["## Evaluation", evaluation] if evaluation else []
    if own.strip() and own != plain_card(folder.name) and MADE not in own:
        return "\n\n".join([own.rstrip(), *numbers]) + "\n"

    parts = [
        f"# {folder.name}",
        describe_use(folder, source),
        "## Training",
        *describe_training(folder),
        *describe_held_out(folder),
        *numbers,
        "## Licence",
        *describe_licence(folder, licence),
        MADE,
    ]
    return "\n\n".join(parts) + "\n"


def write_front_matter(licence: str) -> str:
    """What Hugging Face reads at the top of a card, as YAML."""
    short = licence.lower()
    if not licence:
        lines = [f"license: {UNKNOWN}"]
    elif _LICENCE_ID.fullmatch(short):
        lines = [f"license: {short}"]
    else:
        lines = ["license: other", f"license_name: {json.dumps(licence, ensure_ascii=False)}"]
    return "\n".join(
        ["---", *lines, "library_name: audiolm", "pipeline_tag: audio-to-audio", "tags:", "- audio", "---"]
    )


def describe_use(folder: Folder, source: str) -> str:
    """What it is, and the commands that bring and use it."""
    name = short_name(folder)
    pull = f"audiolm models pull {source} --name {name}"
    if folder.model is None:
        what = f"A codec for audiolm ({folder.codec['family']}): it turns sound into codes that models learn, and back."
        return f"{what}\n\n```\n{pull}\naudiolm train recordings/ -o runs/mine --codec {name}\n```"

    shape = ModelConfig.from_dict(folder.model)
    codec = "its codec" if folder.carries_codec else f"the codec {folder.codec['name']}, which is not part of it"
    books = f"{counted(shape.num_quantizers, 'codebook')} of {shape.codebook_size} codes"
    what = (
        "A codec language model for audiolm, which continues, fills, loops and restyles recordings: "
        f"{counted(shape.num_layers, 'layer')} of width {shape.d_model}, with {codec} ({books})."
    )
    return f"{what}\n\n```\n{pull}\naudiolm continue take.wav -m {name}\n```"


def short_name(folder: Folder) -> str:
    """The name of a model or codec in a form that every system takes for a file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-.") or folder.kind


def describe_training(folder: Folder) -> Iterator[str]:
    """What it was trained on and for how long, and what it started from; only what is known."""
    training = folder.training
    rows = [_describe_run(f"this {folder.kind}", training)]
    before = training.get("started_from")
    while isinstance(before, Mapping) and before:
        rows.append(_describe_run("before that", before))
        before = before.get("started_from")
    if any(any(row[1:]) for row in rows):
        yield table(["", "hours of audio", "steps", "computing"], rows)
    else:
        yield "Nothing is known of its training."
    if init := training.get("init"):
        yield f"It started from `{init}`."


def describe_held_out(folder: Folder) -> Iterator[str]:
    """How well it did on held-out recordings while it was trained; nothing where that is not known."""
    held_out = folder.training.get("held_out") or {}
    if "bits" not in held_out:
        return
    yield "## Held-out numbers"
    bits = held_out["bits"]
    names = [f"codebook {k + 1}" for k in range(len(bits))]
    rows: list[list[object]] = [["bits per frame", *map(float, bits), float(sum(bits))]]
    for key, label in (("top1", "the likeliest code is right"), ("top10", "it is among the ten likeliest")):
        if key in held_out:
            rows.append([label, *(f"{100 * share:.0f} %" for share in held_out[key]), ""])
    yield table(["", *names, "sum"], rows)
    yield "By the validation of its training, on recordings that it did not learn from. Fewer bits are better."


def describe_licence(folder: Folder, licence: str) -> Iterator[str]:
    """Its terms, and those of what it is made of, as far as they are stated."""
    if licence:
        yield f"{licence}, as whoever gives it away states."
    else:
        yield (
            "Unknown: whoever gives it away has not stated it (`--license`). Before you use what it makes, ask for the "
            "terms of the recordings that it was trained on."
        )

    made_of = []
    before = folder.training.get("started_from")
    if isinstance(before, Mapping) and before:
        made_of.append(("what it started from", before.get("licence")))
    if folder.codec["name"] in KNOWN_CODECS and not folder.carries_codec:
        made_of.append((f"the codec {folder.codec['name']}", KNOWN_CODECS[folder.codec["name"]].licence))
    elif isinstance(codec := folder.training.get("codec"), Mapping):
        made_of.append(("its codec", codec.get("licence")))
    if made_of:
        yield "\n".join(f"- Of {what}: {terms or 'not stated'}." for what, terms in made_of)


def count_steps(training: Mapping[str, Any]) -> tuple[int, int]:
    """After how many steps the weights that a training left were taken, and how many it was to have.

    A training goes on after its best weights. What earlier versions wrote has the latter number alone.
    """
    planned = int((training.get("config") or {}).get("steps") or 0)
    return int(training.get("step", planned)), planned


def _describe_run(what: str, training: Mapping[str, Any]) -> list[object]:
    """A row about one training."""
    hours, minutes = training.get("hours"), training.get("minutes")
    steps, _ = count_steps(training)
    return [what, float(hours) if hours else "", steps or "", length_of(60 * minutes) if minutes else ""]
