"""Rendering MIDI for the bundled model: renderings drawn from names, notes under the pedal, and sampled keys."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from render import PIANOS, Rendering, draw, notes_of, pink_noise, read_messages, write_midi
from sampler import Note, SampledPiano

PLAIN = Rendering(
    piano="salamander", program=0, transpose=0, tempo=1.0, tuning_cents=0.0, room=None, bass_db=0.0, treble_db=0.0,
    peak_db=-3.0, noise_db=None,
)  # fmt: skip


def test_a_name_has_one_rendering_and_names_differ() -> None:
    drawn = [draw(f"piece {i}") for i in range(400)]
    assert drawn == [draw(f"piece {i}") for i in range(400)]
    pianos = Counter(one.piano for one in drawn)
    for piano, share in PIANOS.items():
        assert abs(pianos[piano] / 400 - share) < 0.1
    assert 150 < sum(one.room is None for one in drawn) < 250
    assert len(set(drawn)) > 380


def message(kind: str, key: int = 60, value: int = 0) -> mido.Message:
    if kind == "pedal":
        return mido.Message("control_change", control=64, value=value)
    return mido.Message(kind, note=key, velocity=value)


def test_the_pedal_holds_notes_and_a_struck_key_ends_its_own() -> None:
    messages = [
        (0.0, message("note_on", 60, 80)),
        (0.5, message("pedal", value=127)),
        (1.0, message("note_off", 60)),
        (1.5, message("note_on", 64, 70)),
        (2.0, message("note_on", 60, 90)),  # again, while it rings under the pedal
        (2.5, message("note_on", 64, 0)),  # an off by another name
        (3.0, message("pedal", value=0)),
        (4.0, message("note_off", 60)),
    ]
    found = {(n.key, n.velocity, n.start_s, n.end_s) for n in notes_of(messages)}
    assert found == {(60, 80, 0.0, 2.0), (64, 70, 1.5, 3.0), (60, 90, 2.0, 4.0)}


def test_transposed_at_another_tempo_and_back_through_a_file(tmp_path: Path) -> None:
    messages = [(0.0, message("note_on", 60, 80)), (1.5, message("note_off", 60)), (2.0, message("note_on", 107, 9))]
    write_midi(messages, 1, tmp_path / "a.mid")
    changed = dataclasses.replace(PLAIN, transpose=2, tempo=2.0)
    found = [(now, m.type, m.note) for now, m in read_messages(tmp_path / "a.mid", changed)]
    assert found == [(0.0, "note_on", 62), (0.75, "note_off", 62), (1.0, "note_on", 107)]  # 109 is beyond the keyboard


@pytest.fixture(scope="module")
def piano(tmp_path_factory: pytest.TempPathFactory) -> SampledPiano:
    """Two layers of one recorded A, 440 Hz after 50 ms of silence, the upper twice as loud."""
    folder, rate = tmp_path_factory.mktemp("piano"), 44_100
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate).astype(np.float32)
    for layer, loudness in ((4, 0.2), (12, 0.4)):
        wav = np.concatenate([np.zeros(rate // 20, np.float32), loudness * tone])
        soundfile.write(folder / f"A4v{layer}.mp3", wav, rate, format="MP3")
    return SampledPiano(folder, 32_000)


def pitch(wav: np.ndarray) -> float:
    """The loudest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(wav * np.hanning(len(wav))))
    return float(spectrum.argmax() * 32_000 / len(wav))


@pytest.mark.parametrize("key", [60, 69, 74])
def test_keys_have_their_pitch_and_start_on_time(piano: SampledPiano, key: int) -> None:
    wav = piano.render([Note(key=key, velocity=100, start_s=0.5, end_s=1.0)])
    assert np.abs(wav[:15_900]).max() == 0 and np.abs(wav[16_000:16_320]).max() > 0.1
    assert pitch(wav[17_000:31_000]) == pytest.approx(440 * 2 ** ((key - 69) / 12), abs=3)
    assert np.abs(wav[42_000:]).max() < 1e-3, "damped after the key is up"


def test_harder_is_louder_and_notes_add_up(piano: SampledPiano) -> None:
    def at(velocity: int) -> np.ndarray:
        return piano.render([Note(key=69, velocity=velocity, start_s=0.0, end_s=1.0)])

    levels = [np.abs(at(velocity)).max() for velocity in (10, 30, 80, 100, 127)]
    assert levels == sorted(levels) and levels[-1] > 2 * levels[0]
    both = piano.render([Note(key=k, velocity=80, start_s=0.0, end_s=1.0) for k in (69, 72)])
    alone = [piano.render([Note(key=k, velocity=80, start_s=0.0, end_s=1.0)]) for k in (69, 72)]
    np.testing.assert_allclose(both, sum(alone), atol=1e-6)


def test_pink_noise_falls_by_three_decibels_per_octave() -> None:
    power = np.abs(np.fft.rfft(pink_noise(320_000, seed=1))) ** 2
    hz = np.fft.rfftfreq(320_000, 1 / 32_000)
    bands = [power[(hz >= low) & (hz < 2 * low)].mean() for low in (100, 200, 400, 800, 1600)]
    falls = 10 * np.log10(np.array(bands[:-1]) / bands[1:])
    np.testing.assert_allclose(falls, 3.0, atol=0.5)
