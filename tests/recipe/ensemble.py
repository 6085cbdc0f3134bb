"""Render MIDI as what it is not: any melodic instrument, small bands, drum patterns, several pianos.

    python tests/recipe/ensemble.py MIDI OUT --fonts FOLDER --salamander FOLDER --pianos FOLDER --kits FOLDER \
        --trumpet FOLDER [--count 240] [--seconds 150] [--part 0/2] [--held-out]

A recording is an excerpt of --seconds, drawn from its name, "ensemble-0017": the piece, what plays it, its room,
tuning, tone and level. --held-out renders, of pieces that the others leave out, instruments that no other recording
has: other soundfonts, one of the pianos, some kits and a trumpet. Needs `fluidsynth` and `sox`; FOLDER of --fonts holds
the unpacked Debian packages `fluid-soundfont-gm`, `musescore-general-soundfont`, `avldrums.lv2-soundfont`,
`timgm6mb-soundfont` and `csound-soundfont`; that of --kits `hydrogen-drumkits`; that of --salamander some npm packages
`@audio-samples/piano-mp3-velocity1` to `16`; that of --trumpet `tonejs-instrument-trumpet-mp3`.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))

from instruments import DrumKit, SampledKeys, open_notes, open_table
from render import DRUMS, RATE_HZ, Rendering, draw, notes_of, pink_noise, run, sox_effects
from sampler import SampledPiano

HELD_OUT_EVERY = 12
"""Every twelfth piece is played by held-out instruments only."""
FONTS = {
    "fluidr3": "FluidR3_GM.sf2",
    "musescore": "MuseScore_General_Full.sf3",
    "zeppelin": "Red_Zeppelin_4_LV2.sf2",
    "timgm": "TimGM6mb.sf2",
    "csound": "sf_GMbank.sf2",
}
"""Soundfonts by name; the last two are held out."""
LICENCES = {
    "fluidr3": "MIT (Frank Wen)",
    "musescore": "MIT (S. Christian Collins)",
    "zeppelin": "GPL-2+ (Glen MacArthur, Robin Gareus)",
    "timgm": "GPL-2 (Tim Brechbill)",
    "csound": "LGPL-2.1+",
    "salamander": "CC BY 3.0 (Alexander Holm)",
    "splendid": "public domain",
    "headroom": "CC BY 4.0 (Bengt Nilsson)",
    "trumpet": "CC BY 3.0 (tonejs-instruments)",
    "kits": "GPL-2+, CC BY 3.0, CC BY-SA 3.0, CC0 (hydrogen-drumkits)",
}
"""Of the instruments."""
HELD_OUT_KITS = ("The Black Pearl 1.0", "ColomboAcousticDrumkit", "circAfrique v4")
PROGRAMS = {
    "plucked": (*range(24, 32), 45, 46, 104, 105, 106, 107, 108),
    "strings": (40, 41, 42, 43, 44, 48, 49, 50, 110),
    "wind": (*range(16, 24), *range(56, 80), 109, 111),
    "mallet": (4, 5, 6, 7, *range(8, 16), 47, 112, 114),
    "orchestra": (48, 49, 52, 53, 54, 60, 61, 68, 71, 73, 8, 46),
    "electronic": (38, 39, 50, 51, 62, 63, *range(80, 104)),
}
"""General MIDI programs by kind."""
BASSES = (32, 33, 34, 35, 36, 37, 43)
FONT_KITS = (0, 8, 16, 24, 25, 32, 40, 48)
"""General MIDI drum kits."""
SHARES = {
    "piano": 0.40, "upright": 0.03, "plucked": 0.11, "strings": 0.08, "wind": 0.10, "mallet": 0.07, "orchestra": 0.05,
    "electronic": 0.02, "drums": 0.14,
}  # fmt: skip
"""Of the recordings, by kind; a third of the melodic ones are bands, with drums."""
HELD_OUT = (
    *(("piano", "splendid"),) * 4,
    *(("upright", "timgm"),) * 2,
    *(("upright", "csound"),) * 1,
    *(("strings", "timgm"),) * 2,
    *(("orchestra", "timgm"),) * 2,
    *(("wind", "trumpet"),) * 3,
    *(("mallet", "timgm"),) * 3,
    *(("plucked", "timgm"),) * 2,
    *(("drums", "kit"),) * 4,
)
"""Kinds and instruments of the held-out recordings; see PROGRAM_HELD_OUT."""
PROGRAM_HELD_OUT = {"upright": 3, "strings": 48, "orchestra": 8, "mallet": 11, "plucked": 24}
ROCK, SWING, LATIN = "rock", "swing", "latin"
GM_KEYS = {
    "kick": (36, 35), "snare": (38, 40, 37, 39), "closed": (42, 44, 54, 70), "open": (46,), "crash": (49, 57, 55),
    "ride": (51, 59, 53, 56), "tom": (41, 43, 45, 47, 48, 50, 60, 61, 62, 63),
}  # fmt: skip
"""General MIDI keys of each role of a drum."""

Hit = tuple[float, str, int, int]
"""Time in s, role, which drum of that role, velocity."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one recording is, beside its `Rendering`."""

    name: str
    kind: str
    seconds: float
    piece: Path
    start_s: float
    instrument: str
    """A soundfont's name, a sampled instrument's, or `kit`."""
    program: int
    band: bool
    """Melody, chords, bass and drums by different instruments, not one for all."""
    rng: np.random.Generator


def plan(name: str, pieces: list[Path], held_out: bool, seconds: float) -> Plan:
    """The recording of this name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    withheld = [piece for i, piece in enumerate(pieces) if i % HELD_OUT_EVERY == 0]
    if held_out:
        kind, instrument = HELD_OUT[int(name.rsplit("-", 1)[1]) % len(HELD_OUT)]
        program, pieces = PROGRAM_HELD_OUT.get(kind, 0), withheld
        band = kind in ("mallet", "orchestra")
    else:
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        pieces = [piece for piece in pieces if piece not in withheld]
        program = int(rng.choice(PROGRAMS.get(kind, (0, 1) if kind == "piano" else (3,))))
        instrument = str(rng.choice(["fluidr3", "musescore"]))
        if kind == "piano":
            grands = ["salamander", "headroom-close", "headroom-decca", "fluidr3", "musescore"]
            instrument = str(rng.choice(grands, p=[0.35, 0.15, 0.15, 0.2, 0.15]))
        if kind == "drums":
            instrument = str(rng.choice(["kit", "fluidr3", "musescore", "zeppelin"], p=[0.6, 0.15, 0.15, 0.1]))
        band = kind not in ("piano", "drums") and rng.random() < 0.33
    return Plan(
        name=name,
        kind=kind,
        seconds=seconds,
        piece=pieces[int(rng.integers(len(pieces)))],
        start_s=float(rng.uniform(0, 60)),
        instrument=instrument,
        program=program,
        band=band,
        rng=rng,
    )


def read_parts(path: Path) -> list[list[tuple[float, mido.Message]]]:
    """The tracks that have notes, with times in s, in their order: melody, second voice, chords in POP909."""
    file = mido.MidiFile(path, clip=True)
    tempos = mido.MidiTrack(message for message in mido.merge_tracks(file.tracks) if message.type == "set_tempo")
    if len(file.tracks) > 1:  # times are counted from one message to the next, so those of a filtered track are wrong
        tempos = file.tracks[0]
    parts = []
    for track in file.tracks:
        tracks = [track] if track is tempos or len(file.tracks) == 1 else [tempos, track]
        now, found = 0.0, []
        for message in mido.MidiFile(ticks_per_beat=file.ticks_per_beat, tracks=tracks):
            now += message.time
            if message.type in ("note_on", "note_off") or (message.type == "control_change" and message.control == 64):
                found.append((now, message))
        if any(message.type == "note_on" for _, message in found):
            parts.append(found)
    return parts


def cut(part: list[tuple[float, mido.Message]], start_s: float, seconds: float, semitones: int, channel: int) -> list:
    """An excerpt of a part from its own start on, transposed, on one channel; what sounds at its end is ended."""
    found, sounding = [], set[int]()
    for now, message in part:
        if not start_s <= now < start_s + seconds:
            continue
        changes: dict[str, int] = {"channel": channel}
        if message.type != "control_change":
            changes["note"] = min(108, max(21, message.note + semitones))
            begins = message.type == "note_on" and message.velocity
            (sounding.add if begins else sounding.discard)(changes["note"])
        found.append((now - start_s, message.copy(**changes)))
    found += [(seconds, mido.Message("note_off", note=note, channel=channel)) for note in sorted(sounding)]
    return [*found, (seconds, mido.Message("control_change", control=64, value=0, channel=channel))]


def lowest(part: list[tuple[float, mido.Message]]) -> list[tuple[float, mido.Message]]:
    """A bass: the notes of a part below middle C, one at a time, an octave down where that is a bass's range."""
    found, last = [], None
    for now, message in part:
        if message.type == "note_on" and message.velocity and message.note < 60 and (last is None or now > last[0]):
            if last is not None:
                found.append((now, mido.Message("note_off", note=last[1])))
            note = message.note - 12 if message.note >= 48 else message.note
            found.append((now, message.copy(note=note)))
            last = now + 0.12, note
    return found


def pattern(rng: np.random.Generator, seconds: float) -> list[Hit]:
    """A drum part: bars of one style that repeat with small changes and end in fills."""
    style = str(rng.choice([ROCK, SWING, LATIN]))
    step_s = 60 / rng.uniform(70, 170) / 4
    swing = rng.uniform(0.1, 0.33) if style == SWING else rng.uniform(0, 0.06)
    loud, which = rng.uniform(70, 115), {role: int(rng.integers(8)) for role in GM_KEYS}
    chances = {
        "kick": np.where(np.arange(16) % 8 == 0, 0.95, rng.random(16) * 0.5),
        "snare": np.where(np.arange(16) % 8 == 4, 0.95, rng.random(16) * 0.2),
        str(rng.choice(["closed", "ride"])): np.where(np.arange(16) % 2 == 0, 0.95, rng.random(16) * 0.7),
        "open": np.where(np.arange(16) == 14, 0.4, 0.0),
        "tom": rng.random(16) * (0.5 if style == LATIN else 0.08),
    }
    bar = {role: rng.random(16) < chance for role, chance in chances.items()}
    hits: list[Hit] = []
    for b in range(int(seconds / (16 * step_s))):
        fill_from = int(rng.integers(8, 14)) if b % 4 == 3 else 16
        for s in range(16):
            time_s = (16 * b + s + (swing * 2 if s % 2 else 0)) * step_s + abs(rng.normal(0, 0.004))
            for role, played in bar.items():
                if played[s] and s < fill_from and rng.random() < 0.95:
                    accent = 10 if s % 4 == 0 else -10
                    hits.append((time_s, role, which[role], int(np.clip(loud + accent + rng.normal(0, 8), 15, 127))))
            if s >= fill_from:
                fill = str(rng.choice(["tom", "snare"]))
                hits.append((time_s, fill, int(rng.integers(8)), int(rng.uniform(60, 120))))
            if s == 0 and b % 4 == 0:
                hits.append((time_s, "crash", which["crash"], int(np.clip(loud, 15, 127))))
    return hits


def drum_messages(hits: list[Hit]) -> list[tuple[float, mido.Message]]:
    """Hits as General MIDI."""
    found = []
    for time_s, role, which, velocity in hits:
        key = GM_KEYS[role][which % len(GM_KEYS[role])]
        found.append((time_s, mido.Message("note_on", note=key, velocity=velocity, channel=DRUMS)))
        found.append((time_s + 0.1, mido.Message("note_off", note=key, channel=DRUMS)))
    return found


def messages_of(planned: Plan) -> list[tuple[float, mido.Message]]:
    """All that a soundfont plays, programs included, by time."""
    rng = planned.rng
    if planned.kind == "drums":
        start = [(0.0, mido.Message("program_change", program=int(rng.choice(FONT_KITS)), channel=DRUMS))]
        return [*start, *sorted(drum_messages(pattern(rng, planned.seconds)), key=lambda pair: pair[0])]

    parts, semitones = read_parts(planned.piece), int(rng.integers(-4, 5))
    start_s = min(planned.start_s, max(0.0, parts[-1][-1][0] - planned.seconds))
    others = sorted({program for programs in PROGRAMS.values() for program in programs})
    if not planned.band:
        alone = parts[:1] if len(parts) > 1 and rng.random() < 0.3 else parts  # the melody alone, or all of it
        played = [(part, planned.program) for part in alone]
    else:
        chords = (0, 4, 24, 25, 48) if rng.random() < 0.7 else others
        played = [(part, planned.program if i == 0 else int(rng.choice(chords))) for i, part in enumerate(parts)]
        played.append((lowest(parts[-1]), int(rng.choice(BASSES))))

    found = []
    for channel, (part, program) in enumerate(played[:9]):
        found.append((0.0, mido.Message("program_change", program=program, channel=channel)))
        found += cut(part, start_s, planned.seconds, semitones, channel)
    if planned.band and rng.random() < 0.7:
        found.append((0.0, mido.Message("program_change", program=int(rng.choice(FONT_KITS)), channel=DRUMS)))
        found += drum_messages(pattern(rng, planned.seconds))
    return sorted(found, key=lambda pair: pair[0])


def play_font(messages: list[tuple[float, mido.Message]], font: Path, target: Path, folder: Path) -> None:
    """Write what a soundfont makes of the messages."""
    track, last = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)]), 0
    for now, message in messages:
        track.append(message.copy(time=round(1000 * now) - last))
        last = round(1000 * now)
    mido.MidiFile(ticks_per_beat=500, tracks=[track]).save(folder / "notes.mid")
    command = ["fluidsynth", "-ni", "-r", str(RATE_HZ), "-g", "0.4", "-o", "synth.dynamic-sample-loading=1"]
    command += ["-R", "0", "-C", "0", "-F", str(target), "-T", "wav", "-O", "float", str(font)]
    run([*command, str(folder / "notes.mid")])


def render(
    planned: Plan, fonts: dict[str, Path], sampled: dict[str, SampledKeys | SampledPiano], kits: list[DrumKit],
    target: Path, folder: Path,
) -> None:  # fmt: skip
    """Write one recording, 16-bit FLAC."""
    raw, mono = folder / "raw.wav", folder / "mono.wav"
    if planned.instrument in fonts:
        play_font(messages_of(planned), fonts[planned.instrument], raw, folder)
    else:
        if planned.instrument == "kit":
            wav = kits[int(planned.rng.integers(len(kits)))].render(pattern(planned.rng, planned.seconds))
        else:
            parts = read_parts(planned.piece)
            wind = planned.kind == "wind"  # plays one note at a time: the melody
            part = parts[0] if wind else sorted(itertools.chain(*parts), key=lambda pair: pair[0])
            start_s = min(planned.start_s, max(0.0, part[-1][0] - planned.seconds))
            semitones = int(planned.rng.integers(-4, 5))
            wav = sampled[planned.instrument].render(notes_of(cut(part, start_s, planned.seconds, semitones, 0)))
        soundfile.write(raw, 0.5 * wav / np.abs(wav).max(), RATE_HZ, subtype="FLOAT")

    rendering: Rendering = draw(planned.name)
    run(["sox", "-D", str(raw), "-e", "floating-point", str(mono), *sox_effects(rendering)])
    audio, _ = soundfile.read(mono, dtype="float32")
    audio = audio[: round((planned.seconds + 1.0) * RATE_HZ)]
    if np.abs(audio).max() < 1e-4:
        raise ValueError("silent: what plays rests throughout")
    audio *= 10 ** (rendering.peak_db / 20) / np.abs(audio).max()
    if rendering.noise_db is not None:
        audio += 10 ** (rendering.noise_db / 20) * pink_noise(len(audio), zlib.crc32(planned.name.encode()))
    part_file = target.with_suffix(".part")
    soundfile.write(part_file, audio.clip(-1, 1), RATE_HZ, subtype="PCM_16", format="FLAC")
    part_file.replace(target)


def main() -> None:
    """Render what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("midi", type=Path)
    parser.add_argument("output", type=Path)
    for option in ("--fonts", "--salamander", "--pianos", "--kits", "--trumpet"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--part", default="0/1", help="I/N: every N-th recording from the I-th")
    parser.add_argument("--held-out", action="store_true")
    given = parser.parse_args()
    index, parts = map(int, given.part.split("/"))

    fonts = {name: next(given.fonts.rglob(file)) for name, file in FONTS.items()}
    pianos = ("splendid",) if given.held_out else ("headroom-close", "headroom-decca")
    sampled: dict[str, SampledKeys | SampledPiano] = {
        "salamander": SampledPiano(given.salamander, RATE_HZ),
        "trumpet": open_notes(given.trumpet, RATE_HZ),
        **{piano: open_table(given.pianos, piano, RATE_HZ) for piano in pianos},
    }
    folders = sorted(path.parent for path in given.kits.rglob("drumkit.xml"))
    kits = [DrumKit(folder, RATE_HZ) for folder in folders if (folder.name in HELD_OUT_KITS) == given.held_out]
    pieces = sorted(given.midi.rglob("*.mid"))
    given.output.mkdir(parents=True, exist_ok=True)

    prefix, count = ("held-out", len(HELD_OUT)) if given.held_out else ("ensemble", given.count)
    for number in range(index, count, parts):
        planned = plan(f"{prefix}-{number:04d}", pieces, given.held_out, given.seconds)
        target = given.output / f"{planned.kind}.{planned.instrument}.{planned.name}.flac"
        if target.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                render(planned, fonts, sampled, kits, target, Path(folder))
            except (subprocess.SubprocessError, OSError, ValueError, IndexError, EOFError) as error:
                print(f"{target.name}: left out: {error}", flush=True)
                continue
        print(target.name, planned.piece.name, planned.program, "band" if planned.band else "", flush=True)


if __name__ == "__main__":
    main()
