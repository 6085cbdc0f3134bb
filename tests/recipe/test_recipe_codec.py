"""The bundled codec's card: what it was trained on, under which licences, and with which commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundle_codec import card, hours_by_source, origin

from audiolm_cli.config.shapes import NEW_SPECTRAL
from audiolm_cli.config.training import CodecTrainConfig


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """A training folder of a minute of each."""
    for name in (
        "drums.kit.ensemble-0001", "piano.salamander.ensemble-0002", "piano.salamander.ensemble-0002-again1",
        "speech.allison.000", "song.allison-zaz-data.mix-0001", "piano.headroom-decca-worn.worn-0003",
    ):  # fmt: skip
        soundfile.write(tmp_path / f"{name}.flac", np.zeros(60 * 8000, np.float32), 8000)
    return tmp_path


def test_every_source_stands_with_its_licence_and_its_hours(audio: Path) -> None:
    """Sums and worn copies have those of what they are made of; what is there twice counts twice."""
    rows = [line.strip("| ").split(" | ") for line in hours_by_source(audio).splitlines()[2:]]
    assert [row[0] for row in rows] == ["allison", "kit", "salamander", "voices over bands", "worn copies"]
    assert rows[0][1:3] == ["Debian package asterisk-core-sounds-en-g722", "CC BY-SA 3.0 (Digium)"]
    assert [row[3] for row in rows] == ["0.017", "0.017", "0.033", "0.017", "0.017"]


def test_a_source_that_no_table_knows_is_refused() -> None:
    """No card is made without a licence."""
    with pytest.raises(KeyError):
        origin("unheard-of")


def test_the_card_tells_every_training_and_every_table(audio: Path) -> None:
    """With the shape that each training asked for, and without the paths of one machine."""
    facts = {"hours": 1.5, "minutes": 2.0, "held_out": {"log": 0.1}}
    first = {**facts, "config": CodecTrainConfig(steps=3, learning_rate=1e-3).to_dict(), "shape": {"steady_frames": 5}}
    training = {
        **facts, "config": CodecTrainConfig(steps=4, learning_rate=5e-4, keep_codes=True).to_dict(), "init": "CODEC",
        "started_from": first,
    }  # fmt: skip
    text = card(training, NEW_SPECTRAL, audio, {"Codes that stay": "| a | b |"}, "One core.")
    assert "32 kHz mono, 25 frames per second, 9 codes of 2048 values each (2.475 kbit/s)" in text
    assert "audiolm codec train AUDIO -o CODEC --steady-frames 5 --steps 3 --clips 12\n" in text
    assert "--init CODEC --base-lr 0.0005 --keep-codes --steps 4" in text
    assert "### Codes that stay\n\n| a | b |" in text and "One core." in text
