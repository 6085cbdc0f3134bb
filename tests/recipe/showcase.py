"""Choose the prompt and the seed of `audiolm demo`: continue candidates with several seeds, and hear the notes.

    python tests/recipe/showcase.py PROMPTS WORK --transcriber PYTHON [--model piano] [--seeds 12]

PROMPTS is a folder of FLAC files (`openings.py` makes one). A row of the table is a take of 10 s at the usual settings:
pitch classes shared with the prompt, notes per second and polyphony beside the prompt's, level beside the prompt's, and
how many stretches were made again. The best takes come first: those that share most pitch classes, of all takes of
which nothing was made again and whose notes, polyphony and level are near the prompt's (`NEAR`, `LEVEL_DB`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))

from judged_takes import NEW_S, write_once
from note_figures import in_window, polyphony, share_pitch_classes
from transcribe import load_notes, transcribe

from audiolm_cli import continue_audio
from audiolm_cli.api import load_model
from audiolm_cli.events import Event, Note
from audiolm_cli.reports.tables import table

NEAR = (0.6, 1.5)
"""Between these shares of the prompt's, notes and polyphony are near it."""
LEVEL_DB = 3.0
"""Within this, so is the level."""


def main() -> None:
    """Make the takes, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("prompts", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--transcriber", required=True, help="the Python of an environment with basic-pitch")
    parser.add_argument("--model", default="piano")
    parser.add_argument("--seeds", type=int, default=12)
    given = parser.parse_args()

    model, faults = load_model(given.model), dict[str, int]()
    given.work.mkdir(parents=True, exist_ok=True)
    for prompt in sorted(given.prompts.glob("*.flac")):
        wav, rate = soundfile.read(prompt, dtype="float32", always_2d=True)
        for seed in range(1, given.seeds + 1):
            told: list[Event] = []
            (made,) = continue_audio(wav.T, rate, NEW_S, model=model, seed=seed, on_event=told.append)
            name = f"{prompt.stem}-{seed}"
            faults[name] = sum(isinstance(event, Note) and "made again" in event.message for event in told)
            write_once(given.work / f"{name}.flac", made.audio.mean(0), rate)
    transcribe(given.transcriber, [given.work])

    rows = []
    for name, made_again in faults.items():
        path = given.work / f"{name}.flac"
        wav, rate = soundfile.read(path, dtype="float32")
        before_s = len(wav) / rate - NEW_S
        notes = load_notes(path)
        old, new = in_window(notes, 0, before_s), in_window(notes, before_s, before_s + NEW_S)
        level_db = 10 * np.log10(np.mean(wav[-round(NEW_S * rate) :] ** 2) / np.mean(wav[: -round(NEW_S * rate)] ** 2))
        density = len(new) / NEW_S / (len(old) / before_s)
        thickness = polyphony(new, NEW_S) / polyphony(old, before_s)
        near = all(NEAR[0] < share < NEAR[1] for share in (density, thickness)) and abs(level_db) < LEVEL_DB
        shared = share_pitch_classes(old, new)
        rows.append((near and not made_again, shared, name, density, thickness, level_db, made_again))

    rows.sort(reverse=True)
    heads = ["take", "pitch classes shared", "notes/s, of the prompt's", "polyphony", "level, dB", "made again", "near"]
    print(table(heads, [[name, shared, *more, str(near)] for near, shared, name, *more in rows]))


if __name__ == "__main__":
    main()
