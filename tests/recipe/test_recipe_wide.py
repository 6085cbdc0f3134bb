"""The recipe for a codec of any sound: its table of sources, recordings drawn from names, sampled keys and drums."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from ensemble import HELD_OUT, HELD_OUT_EVERY, cut, lowest, pattern, plan, read_parts
from instruments import DrumKit, open_notes
from sampler import Note
from sources import KINDS, SOURCES


def test_every_source_has_a_kind_a_licence_and_one_side() -> None:
    """Names are of one source each, so nothing is both trained on and held out."""
    assert len({source.name for source in SOURCES}) == len(SOURCES)
    assert all(source.kind in KINDS and source.licence for source in SOURCES)
    assert all("." not in source.name for source in SOURCES)  # file names are split at points
    held = {source.kind for source in SOURCES if source.held_out} | {kind for kind, _ in HELD_OUT} | {"song"}
    assert held >= set(KINDS) - {"electronic"}


def test_a_name_has_one_recording_and_held_out_pieces_are_left_alone() -> None:
    pieces = [Path(f"{i}.mid") for i in range(60)]
    drawn = [plan(f"ensemble-{i:04d}", pieces, False, 60.0) for i in range(200)]
    again = [plan(f"ensemble-{i:04d}", pieces, False, 60.0) for i in range(200)]
    assert [(p.kind, p.piece, p.instrument, p.program) for p in drawn] == [
        (p.kind, p.piece, p.instrument, p.program) for p in again
    ]
    withheld = {piece for i, piece in enumerate(pieces) if i % HELD_OUT_EVERY == 0}
    assert not withheld & {p.piece for p in drawn}
    held = [plan(f"held-out-{i:04d}", pieces, True, 60.0) for i in range(len(HELD_OUT))]
    assert {p.piece for p in held} <= withheld
    assert not {p.instrument for p in held} - {"kit"} & {p.instrument for p in drawn}


def test_parts_have_the_times_of_their_tempo(tmp_path: Path) -> None:
    """A track's notes at twice the tempo come in half the time."""
    tempo = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=250_000)])
    melody = mido.MidiTrack(
        [mido.Message("note_on", note=60, velocity=80), mido.Message("note_off", note=60, time=480)]
    )
    mido.MidiFile(type=1, ticks_per_beat=480, tracks=[tempo, melody]).save(tmp_path / "a.mid")
    (part,) = read_parts(tmp_path / "a.mid")
    assert [round(now, 3) for now, _ in part] == [0.0, 0.25]


def test_an_excerpt_ends_its_notes() -> None:
    part = [(1.0, mido.Message("note_on", note=60, velocity=80)), (50.0, mido.Message("note_off", note=60))]
    found = cut(part, 0.5, 10.0, 12, 3)
    assert [(now, m.type, getattr(m, "note", 0)) for now, m in found] == [
        (0.5, "note_on", 72),
        (10.0, "note_off", 72),
        (10.0, "control_change", 0),
    ]
    assert all(m.channel == 3 for _, m in found)


def test_a_bass_plays_one_note_at_a_time() -> None:
    part = [(float(i) / 10, mido.Message("note_on", note=50 + i, velocity=80)) for i in range(6)]
    sounding, most = 0, 0
    for _, message in lowest(part):
        sounding += 1 if message.type == "note_on" else -1
        most = max(most, sounding)
    assert most == 1


def test_a_pattern_is_drums_in_time() -> None:
    hits = pattern(np.random.default_rng(0), 20.0)
    assert len(hits) > 40
    assert all(0 <= time_s < 21 and 1 <= velocity <= 127 for time_s, _, _, velocity in hits)
    assert {role for _, role, _, _ in hits} >= {"kick", "snare"}


@pytest.fixture
def kit(tmp_path: Path) -> DrumKit:
    """A kick and a snare, clicks of different height."""
    drums = []
    for name, height in (("Kick", 0.5), ("Snare", 0.25)):
        soundfile.write(tmp_path / f"{name}.wav", np.full((10, 1), height), 32000, subtype="FLOAT")
        drums.append(f"<instrument><name>{name}</name><layer><filename>{name}.wav</filename></layer></instrument>")
    (tmp_path / "drumkit.xml").write_text(f"<drumkit_info>{''.join(drums)}</drumkit_info>")
    return DrumKit(tmp_path, 32000)


def test_a_kit_plays_what_it_has_where_it_is_hit(kit: DrumKit) -> None:
    """Loudest hits are as recorded; a drum that the kit lacks is played by another."""
    wav = kit.render([(0.5, "kick", 0, 127), (1.0, "snare", 3, 127), (1.5, "tom", 0, 127)])
    assert wav[16000] == pytest.approx(0.5) and wav[32000] == pytest.approx(0.25)
    assert np.abs(wav[48000:48010]).max() > 0.2 and not wav[:15999].any()


def test_keys_are_moved_to_their_pitch(tmp_path: Path) -> None:
    """A sine recorded at A4 is heard an octave higher at A5."""
    time_s = np.arange(32000) / 32000
    soundfile.write(tmp_path / "A4.mp3", 0.5 * np.sin(2 * np.pi * 440 * time_s), 32000, format="MP3")
    keys = open_notes(tmp_path, 32000)
    wav = keys.render([Note(key=81, velocity=127, start_s=0.0, end_s=0.4)])
    spectrum = np.abs(np.fft.rfft(wav[: round(0.4 * 32000)]))
    assert spectrum.argmax() / 0.4 == pytest.approx(880, abs=5)
