"""Write down the notes that basic-pitch hears in audio files, those of `take.flac` in `take.notes.json`.

    python tests/recipe/transcribe.py FOLDER...

A note is [start in s, end in s, MIDI key, amplitude from 0 to 1]; notes are in order of start. Files that have their
notes are left as they are. `judge.py` runs this with the Python of its --transcriber: an environment with basic-pitch,
whose wheel holds its network. `pip install --no-deps basic-pitch`, then `pip install onnxruntime librosa resampy
mir_eval pretty_midi "setuptools<80"`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

SUFFIX = ".notes.json"


def notes_file(audio: Path) -> Path:
    """Where the notes of an audio file are."""
    return audio.with_suffix(SUFFIX)


def load_notes(audio: Path) -> np.ndarray:
    """The notes [n, 4] of a transcribed file."""
    return np.array(json.loads(notes_file(audio).read_text()), dtype=float).reshape(-1, 4)


def transcribe(python: str, folders: Iterable[Path]) -> None:
    """Run this program on folders with another Python."""
    subprocess.run([python, __file__, *map(str, folders)], check=True)


def main() -> None:
    """Transcribe what has not been."""
    missing = [path for folder in sys.argv[1:] for path in sorted(Path(folder).glob("*.flac"))]
    missing = [path for path in missing if not notes_file(path).exists()]
    if not missing:
        return

    # Imported here: it takes seconds, and the judge's own environment need not have it.
    from basic_pitch import FilenameSuffix, build_icassp_2022_model_path
    from basic_pitch.constants import AUDIO_SAMPLE_RATE, FFT_HOP
    from basic_pitch.inference import Model, run_inference
    from basic_pitch.note_creation import model_output_to_notes

    model = Model(build_icassp_2022_model_path(FilenameSuffix.onnx))
    for number, path in enumerate(missing, start=1):
        _, events = model_output_to_notes(
            run_inference(path, model),
            onset_thresh=0.5,
            frame_thresh=0.3,
            min_note_len=round(0.1277 * AUDIO_SAMPLE_RATE / FFT_HOP),  # all as `basic_pitch.inference.predict` has it
        )
        notes = sorted([float(start), float(end), int(key), float(loud)] for start, end, key, loud, _ in events)
        part = path.with_suffix(".part")
        part.write_text(json.dumps([[round(value, 4) for value in note] for note in notes]))
        part.replace(notes_file(path))
        if number % 20 == 0 or number == len(missing):
            print(f"{number} of {len(missing)} transcribed", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
