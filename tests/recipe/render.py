"""Render MIDI to varied recordings of solo piano: several pianos, rooms, tunings, tempos, levels and noise.

    python tests/recipe/render.py MIDI OUT --fluidr3 FluidR3_GM.sf2 --musescore MuseScore_General_Full.sf3 \
        --salamander FOLDER --pianos FOLDER [--part 0/2] [--without NAME...] [--again _second]

The first stage from MIDI to the bundled model; `bundle.py`, the last, names those between. Every file's rendering is
drawn from the name of its recording, so any part can be rendered anywhere and again, and with --again otherwise. Needs
`fluidsynth` and `sox` (Debian packages of these names; the soundfonts are in `fluid-soundfont-gm` and
`musescore-general-soundfont`), `mido`, for the Salamander grand a few layers of the npm packages that `sampler.py`
names, and for the Headroom grands a folder with the table that `instruments.open_table` reads. Files there already are
left as they are.
"""

from __future__ import annotations

import argparse
import dataclasses
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

from instruments import SampledKeys, open_table
from sampler import Note, SampledPiano

RATE_HZ = 32_000
HEADROOM = ("headroom-close", "headroom-decca")
"""One grand, heard by two pairs of microphones."""
PIANOS = {"salamander": 0.3, "fluidr3": 0.25, "musescore": 0.2, **dict.fromkeys(HEADROOM, 0.125)}
"""Share of the files by piano."""
SUSTAIN, DRUMS = 64, 9
"""MIDI controller and channel."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How one file sounds."""

    piano: str
    program: int
    """General MIDI program, 0 the grand piano and 1 the bright one; of soundfonts only."""
    transpose: int
    """Semitones."""
    tempo: float
    """Factor."""
    tuning_cents: float
    room: tuple[float, float] | None
    """Reverberance and size, both 0 to 100, of sox; None is dry."""
    bass_db: float
    treble_db: float
    peak_db: float
    noise_db: float | None
    """RMS of pink noise below full scale; None is none."""


def draw(name: str) -> Rendering:
    """The rendering of the recording with this name: half of each property stays as written."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))

    def sometimes(share: float) -> bool:
        return bool(rng.random() < share)

    piano = str(rng.choice(list(PIANOS), p=list(PIANOS.values())))
    return Rendering(
        piano=piano,
        program=int(sometimes(0.2)),
        transpose=int(rng.integers(-4, 5)) if sometimes(0.5) else 0,
        tempo=float(rng.uniform(0.85, 1.15)) if sometimes(0.5) else 1.0,
        tuning_cents=float(rng.normal(0, 8)) if sometimes(0.5) else 0.0,
        room=(float(rng.uniform(10, 60)), float(rng.uniform(20, 100))) if sometimes(0.5) else None,
        bass_db=float(rng.uniform(-4, 4)) if sometimes(0.5) else 0.0,
        treble_db=float(rng.uniform(-6, 3)) if sometimes(0.5) else 0.0,
        peak_db=float(rng.uniform(-9, -1)) if sometimes(0.5) else -3.0,
        noise_db=float(rng.uniform(-75, -58)) if sometimes(0.25) else None,
    )


def read_messages(path: Path, rendering: Rendering) -> list[tuple[float, mido.Message]]:
    """Notes and pedals with their times in seconds, on one channel, transposed and at their tempo."""
    found, now = [], 0.0
    for message in mido.MidiFile(path, clip=True):
        now += message.time
        if message.type not in ("note_on", "note_off", "control_change") or message.channel == DRUMS:
            continue
        if message.type == "control_change" and message.control != SUSTAIN:
            continue
        changes = {"channel": 0}
        if message.type != "control_change":
            key = message.note + rendering.transpose
            changes["note"] = key if 21 <= key <= 108 else message.note
        found.append((now / rendering.tempo, message.copy(**changes)))
    return found


def notes_of(messages: list[tuple[float, mido.Message]]) -> list[Note]:
    """Notes that sound until both their key and the sustain pedal are up."""
    down: dict[int, tuple[float, int]] = {}
    held: dict[int, tuple[float, int]] = {}
    notes: list[Note] = []
    pedal = False

    def end(key: int, struck: tuple[float, int], now: float) -> None:
        notes.append(Note(key=key, velocity=struck[1], start_s=struck[0], end_s=max(now, struck[0] + 0.03)))

    for now, message in messages:
        if message.type == "control_change":
            pedal = message.value >= 64
            if not pedal:
                for key, struck in held.items():
                    end(key, struck, now)
                held.clear()
            continue
        key = message.note
        for ringing in (held, down):
            struck = ringing.pop(key, None)
            if struck is not None and ((message.type == "note_on" and message.velocity) or not pedal):
                end(key, struck, now)
            elif struck is not None:
                held[key] = struck
        if message.type == "note_on" and message.velocity:
            down[key] = (now, message.velocity)
    last = messages[-1][0] if messages else 0.0
    for ringing in (held, down):
        for key, struck in ringing.items():
            end(key, struck, last + 1.0)
    return notes


def write_midi(messages: list[tuple[float, mido.Message]], program: int, path: Path) -> None:
    """A MIDI file of the messages at 1000 ticks per second."""
    track = mido.MidiTrack(
        [mido.MetaMessage("set_tempo", tempo=500_000), mido.Message("program_change", program=program)]
    )
    last = 0
    for now, message in messages:
        track.append(message.copy(time=round(1000 * now) - last))
        last = round(1000 * now)
    mido.MidiFile(ticks_per_beat=500, tracks=[track]).save(path)


def sox_effects(rendering: Rendering) -> list[str]:
    """Everything but noise and level, as arguments of sox."""
    effects = ["gain", "-12"]  # headroom, which sox would take from the peaks otherwise
    if rendering.tuning_cents:
        effects += ["speed", f"{rendering.tuning_cents:.2f}c"]
    if rendering.room is not None:
        effects += ["reverb", f"{rendering.room[0]:.0f}", "50", f"{rendering.room[1]:.0f}"]
    if rendering.bass_db:
        effects += ["bass", f"{rendering.bass_db:.1f}"]
    if rendering.treble_db:
        effects += ["treble", f"{rendering.treble_db:.1f}"]
    return [*effects, "remix", "-", "rate", str(RATE_HZ)]


def render(
    midi: Path, target: Path, fonts: dict[str, Path], grands: dict[str, SampledPiano | SampledKeys], folder: Path
) -> Rendering:
    """Write one recording, 16-bit mono."""
    rendering = draw(target.stem)
    messages = read_messages(midi, rendering)
    raw, mono = folder / "raw.wav", folder / "mono.wav"
    if rendering.piano in grands:
        wav = grands[rendering.piano].render(notes_of(messages))
        soundfile.write(raw, 0.5 * wav / np.abs(wav).max(), RATE_HZ, subtype="FLOAT")
    else:
        write_midi(messages, rendering.program, folder / "notes.mid")
        command = ["fluidsynth", "-ni", "-r", str(RATE_HZ), "-g", "0.5", "-o", "synth.dynamic-sample-loading=1"]
        command += ["-R", "0", "-C", "0", "-F", str(raw), "-T", "wav", "-O", "float", str(fonts[rendering.piano])]
        run([*command, str(folder / "notes.mid")])
    run(["sox", "-D", str(raw), "-e", "floating-point", str(mono), *sox_effects(rendering)])
    audio, _ = soundfile.read(mono, dtype="float32")
    audio *= 10 ** (rendering.peak_db / 20) / np.abs(audio).max()
    if rendering.noise_db is not None:
        audio += 10 ** (rendering.noise_db / 20) * pink_noise(len(audio), zlib.crc32(target.stem.encode()))
    part = target.with_suffix(".part")
    soundfile.write(part, audio.clip(-1, 1), RATE_HZ, subtype="PCM_16", format="WAV")
    part.replace(target)
    return rendering


def pink_noise(length: int, seed: int) -> np.ndarray:
    """float32 [length] of RMS 1 whose power falls by 3 dB per octave from 20 Hz."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(length).astype(np.float32))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(length, 1 / RATE_HZ), 20.0))
    noise = np.fft.irfft(spectrum, length).astype(np.float32)
    return noise / noise.std()


def run(command: list[str]) -> None:
    """Run a program, silent unless it fails."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=600)


def main() -> None:
    """Render what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("midi", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fluidr3", type=Path, required=True)
    parser.add_argument("--musescore", type=Path, required=True)
    parser.add_argument("--salamander", type=Path, required=True)
    parser.add_argument("--pianos", type=Path, required=True, help="the Headroom grands and their samples.csv")
    parser.add_argument("--part", default="0/1", help="I/N: every N-th file from the I-th")
    parser.add_argument("--without", nargs="*", default=[], help="names of pieces to leave out")
    parser.add_argument("--again", default="", metavar="SUFFIX", help="render each otherwise, under another name")
    given = parser.parse_args()
    index, parts = map(int, given.part.split("/"))
    given.output.mkdir(parents=True, exist_ok=True)
    fonts = {"fluidr3": given.fluidr3, "musescore": given.musescore}
    grands: dict[str, SampledPiano | SampledKeys] = {name: open_table(given.pianos, name, RATE_HZ) for name in HEADROOM}
    grands["salamander"] = SampledPiano(given.salamander, RATE_HZ)
    files = [path for path in sorted(given.midi.rglob("*.mid")) if path.stem not in given.without]
    for midi in files[index::parts]:
        target = given.output / f"{midi.stem}{given.again}.wav"
        if target.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                rendering = render(midi, target, fonts, grands, Path(folder))
            except (subprocess.SubprocessError, OSError, ValueError, EOFError) as error:
                print(f"{midi.name}: left out: {error}", flush=True)
                continue
        print(midi.name, *dataclasses.astuple(rendering), flush=True)


if __name__ == "__main__":
    main()
