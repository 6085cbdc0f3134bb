"""The commands that `benchmarks/same_bytes.py` runs in two versions, and the recordings that they get.

A new command, option or format of the program gets a line here. Durations are short and trainings tiny: what is
compared are bytes, not sounds. Knows nothing about how commands are run or compared.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

SMALL_MODEL = "--decoder-dim 32 --nhead 2 --num-decoder-layers 2 --warmup-steps 2 --dtype fp32"
TRAINING = f"--steps 20 --batch-frames 200 --validate-every 10 --sample-every 10 {SMALL_MODEL} --seed 5"
CODEC_TRAINING = "--steps 20 --clips 2 --state-every 5 --sample-every 10 --seed 6"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One command, as both versions run it."""

    name: str
    words: tuple[str, ...] = ()
    """The command line without the program; `{inputs}` is the folder of the recordings."""
    python: str = ""
    """Python to run in place of the program."""
    stdin: str = ""
    """What is read as standard input; nothing without it."""
    needs: tuple[tuple[str, str], ...] = ()
    """(case, file or folder): what the old version wrote in an earlier case, put into the working folder."""
    stop_at: str = ""
    """Kill the old version when this folder appears, and run only that one: what it leaves is for other cases."""
    exit_code: int = 0
    """What the command ends with."""


def case(
    name: str,
    line: str,
    *,
    stdin: str = "",
    needs: tuple[tuple[str, str], ...] = (),
    stop_at: str = "",
    exit_code: int = 0,
) -> Case:
    """A case of the program, which computes on one thread of the CPU where it computes."""
    computes = line.split()[0] != "models"
    words = (*shlex.split(line), *(("--threads", "1", "--device", "cpu") if computes else ()))
    return Case(name=name, words=words, stdin=stdin, needs=needs, stop_at=stop_at, exit_code=exit_code)


CONTINUE, INFILL = "continue {inputs}/take.wav --json", "infill {inputs}/take.wav --json"
FORMATS = " ".join(
    f"{{inputs}}/{name}" for name in ("deep.wav", "float.wav", "narrow.wav", "a.flac", "b.ogg", "c.aiff")
)

GENERATING = (
    case("continue", f"{CONTINUE} -d 1 --seed 1 -o out.wav"),
    case("continue, default name", f"{CONTINUE} -d 0.5 --seed 1"),
    case("continue, six formats", f"continue {FORMATS} -d 0.5 --seed 2 -o out/ --json"),
    case("continue, to FLAC", "continue {inputs}/float.wav -d 0.5 --seed 2 -o out.flac --json"),
    case("continue, to Ogg", f"{CONTINUE} -d 0.5 --seed 2 -o out.ogg"),
    case("continue, to AIFF", "continue {inputs}/deep.wav -d 0.5 --seed 2 -o out.aiff --json"),
    case("continue --before", f"{CONTINUE} -d 1 --before --seed 3 -o out.wav"),
    case("continue --takes", f"{CONTINUE} -d 0.5 --takes 3 --seed 4 -o out.wav"),
    case("continue --best-of", f"{CONTINUE} -d 0.5 --best-of 3 --takes 2 --seed 5 -o out.wav"),
    case("continue --guidance", f"{CONTINUE} -d 0.5 --guidance 1.5 --seed 6 -o out.wav"),
    case("continue --channels each", "continue {inputs}/deep.wav -d 0.5 --channels each --seed 7 -o out.wav --json"),
    case("continue --only-new --plot", f"{CONTINUE} -d 1 --only-new --plot new.png --seed 8 -o out.wav"),
    case("continue --until-end", f"{CONTINUE} -d 2 --until-end --seed 9 -o out.wav"),
    case("continue --stream", f"{CONTINUE} -d 1.5 --stream --seed 10 -o out.wav"),
    case(
        "continue --stream, standard input to output",
        "continue - -d 1 --stream --seed 11 -o -",
        stdin="{inputs}/take.wav",
    ),
    case("continue --nar-passes", f"{CONTINUE} -d 0.5 --nar-passes 2 --nar-temperature 0.8 --seed 12 -o out.wav"),
    case("continue --top-k --top-p", f"{CONTINUE} -d 1 --top-k 20 --top-p 0.9 --temperature 0.8 --seed 13 -o out.wav"),
    case("continue, greedy", f"{CONTINUE} -d 0.5 --temperature 0 --nar-temperature 0 --seed 14 -o out.wav"),
    case("continue --prompt", f"{CONTINUE} -d 0.5 --prompt 1 --seed 15 -o out.wav"),
    case("continue --dtype fp32", f"{CONTINUE} -d 0.5 --dtype fp32 --seed 16 -o out.wav"),
    case("continue --dtype int8", f"{CONTINUE} -d 0.5 --dtype int8 --seed 16 -o out.wav"),
    case("continue, beyond the window", f"{CONTINUE} -d 11 --nar-passes 1 --seed 17 -o out.wav"),
    case("infill", f"{INFILL} --gap 1:1.5 --seed 20 -o out.wav --plot out.png"),
    case("infill, several gaps", f"{INFILL} --gap 0.4:0.7 --gap 1.2:2.4 --seed 21 -o out.wav"),
    case("infill, gaps at the ends", f"{INFILL} --gap :0.5 --gap 2.5: --seed 22 -o out.wav"),
    case("infill --length", f"{INFILL} --gap 1:1.2 --gap 2:2.5 --length 0.8 --seed 23 -o out.wav"),
    case("infill, nothing to something", f"{INFILL} --gap 1.5:1.5 --length 0.5 --seed 24 -o out.wav"),
    case(
        "infill --takes --channels each",
        "infill {inputs}/deep.wav --gap 1:1.4 --takes 2 --channels each --seed 25 --json",
    ),
    case("infill --best-of --only-new", f"{INFILL} --gap 1:1.5 --best-of 2 --only-new --seed 26 -o out.wav"),
    case(
        "infill, all of sampling",
        f"{INFILL} --gap 0.5:2 --temperature 0.7 --top-k 50 --top-p 0.95 --guidance 1.2 --nar-passes 2 --prompt 0.4 "
        "--seed 27 -o out.flac",
    ),
    case("infill, standard input to output", "infill - --gap 1:1.3 --seed 28 -o -", stdin="{inputs}/take.wav"),
    case("infill, several files", "infill {inputs}/a.flac {inputs}/narrow.wav --gap 0.5:1 --seed 29 -o out/ --json"),
    case("loop", "loop {inputs}/take.wav --bridge 0.5 --seed 30 -o out.wav --json"),
    case("loop --repeat --takes", "loop {inputs}/a.flac --bridge 0.4 --repeat 2 --takes 2 --seed 31 -o out.wav --json"),
    case(
        "loop --channels each --only-new",
        "loop {inputs}/deep.wav --bridge 1.5 --channels each --only-new --top-k 30 --seed 32 -o out.wav --json",
    ),
    case("restyle", "restyle {inputs}/take.wav --style {inputs}/style.wav --seed 40 -o out.wav --json"),
    case(
        "restyle --strength --guidance",
        "restyle {inputs}/b.ogg --style {inputs}/style.wav --strength 2 --guidance 1.5 --prompt 1 --seed 41 -o out.wav "
        "--json",
    ),
    case(
        "restyle --channels each --takes",
        "restyle {inputs}/deep.wav --style {inputs}/style.wav --channels each --takes 2 --nar-passes 1 --seed 42",
    ),
    case("demo", "demo out --seed 4 --json"),
    case(
        "refused: one input of two is no audio", f"{CONTINUE} {{inputs}}/no.wav -d 0.5 --seed 1 -o out/", exit_code=10
    ),
    case("refused: a gap after the end", f"{INFILL} --gap 7:8 --seed 1 -o out.wav", exit_code=2),
)

SMALL_CODEC = '''
"""Train a small codec from nothing, which no option of the command makes small enough."""
import sys
from pathlib import Path

try:  # where settings were before they moved
    from audiolm_cli.config import CodecTrainConfig, SpectralConfig
except ImportError:
    from audiolm_cli.config.shapes import SpectralConfig
    from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.codec.encodec_shape import EncodecConfig
from audiolm_cli.workflows import codec_train

recordings, family = Path(sys.argv[1]), sys.argv[2]
blocks = dict(encoder_blocks=1, decoder_blocks=1, griffin_lim_iterations=4)
shape = SpectralConfig(width=16, latent=8, codebook_size=32, **blocks)
if family == "encodec":
    shape = EncodecConfig(num_filters=2, codebook_size=16)
length = dict(steps=20, clips=2, clip_s=0.5, state_every=10, sample_every=10)
config = CodecTrainConfig(**length, seed=3, threads=1, device="cpu")
arguments = {"config": config, "shape": shape}
if hasattr(codec_train, "CodecTrainRequest"):
    trained = codec_train.train_codec(codec_train.CodecTrainRequest(recordings, Path("codec"), **arguments))
else:  # before the arguments were one thing
    trained = codec_train.train_codec(recordings, Path("codec"), **arguments)
print(trained.folder.sha256, trained.losses, trained.failed)
'''
RECORDINGS = "{inputs}/recordings"
CODEC, STORE = (("codec: spectral, from nothing", "codec"),), (("tokenize", "tokens"),)

TRAINING_CASES = (
    Case(name="codec: spectral, from nothing", python=SMALL_CODEC, words=(RECORDINGS, "spectral")),
    Case(name="codec: EnCodec, from nothing", python=SMALL_CODEC, words=(RECORDINGS, "encodec")),
    case("codec train --init", f"codec train {RECORDINGS} --init codec -o own {CODEC_TRAINING} --json", needs=CODEC),
    case(
        "codec train, stopped",
        f"codec train {RECORDINGS} --init codec -o own {CODEC_TRAINING} --json",
        needs=CODEC,
        stop_at="own.state/step-0000005",
    ),
    case(
        "codec train, resumed",
        f"codec train {RECORDINGS} --init codec -o own {CODEC_TRAINING} --json",
        needs=(*CODEC, ("codec train, stopped", "own.state")),
    ),
    case(
        "codec train --keep-codes",
        f"codec train {RECORDINGS} --init codec --keep-codes -o own {CODEC_TRAINING} --json",
        needs=CODEC,
    ),
    case("tokenize", f"tokenize {RECORDINGS} -o tokens --codec codec --json", needs=CODEC),
    case("tokenize, the model's codec, six formats", f"tokenize {FORMATS} -o tokens --codec piano --json"),
    case("tokenize, bundled codec, six formats", f"tokenize {FORMATS} -o tokens --codec sound --json"),
    case(
        "tokenize, two workers, one file is no audio",
        f"tokenize {RECORDINGS} {{inputs}}/no.wav -o tokens --codec codec --workers 2 --json",
        needs=CODEC,
        exit_code=10,
    ),
    case("decode", "decode tokens -o out --codec codec --json", needs=(*STORE, *CODEC)),
    case(
        "decode, bundled codec",
        "decode tokens -o out --json",
        needs=(("tokenize, bundled codec, six formats", "tokens"),),
    ),
    case("decode --id, to standard output", "decode tokens --id 1 -o - --codec codec", needs=(*STORE, *CODEC)),
    case("train, from recordings", f"train {RECORDINGS} -o run --codec codec {TRAINING} --json", needs=CODEC),
    case(
        "train, from a store of before", f"train tokens -o run --codec codec {TRAINING} --json", needs=(*STORE, *CODEC)
    ),
    case(
        "train, stopped",
        f"train {RECORDINGS} -o run --codec codec {TRAINING} --json",
        needs=CODEC,
        stop_at="run/state/step-0000010",
    ),
    case(
        "train, resumed",
        f"train {RECORDINGS} -o run --codec codec {TRAINING} --json",
        needs=(*CODEC, ("train, stopped", "run")),
    ),
    case(
        "train --base-lr --num-epochs --max-duration --fixed-split",
        f"train tokens -o run --codec codec --num-epochs 2 --max-duration 4 --base-lr 0.03 --fixed-split {SMALL_MODEL} "
        "--validate-every 5 --patience 2 --json",
        needs=(*STORE, *CODEC),
    ),
    case(
        "train --init, AR alone",
        "train tokens -o tuned --init run --codec codec --steps 6 --validate-every 3 --batch-frames 200 "
        "--train-stage 1 --optimizer adamw --schedule cosine --dropout 0.1 --micro-frames 80 --dtype fp32 --json",
        needs=(*STORE, *CODEC, ("train, from recordings", "run")),
    ),
    case(
        "continue, model of before",
        f"{CONTINUE} -m run -d 1 --seed 50 -o out.wav",
        needs=(("train, from recordings", "run"),),
    ),
    case(
        "evaluate",
        "evaluate {inputs}/held-out -m run --tokens tokens --clips 2 --windows 4 --report page.html --json",
        needs=(*STORE, ("train, from recordings", "run")),
    ),
)

PYTHON_API = '''
"""Every function of the package on arrays of several types; prints what comes with the audio."""
import sys

import numpy as np
import soundfile
import audiolm_cli

model = audiolm_cli.load_model("piano", device="cpu")
inputs = sys.argv[1]
mono, rate = soundfile.read(inputs + "/take.wav", dtype="int16")
stereo, wide = soundfile.read(inputs + "/deep.wav", dtype="float32")
style, style_rate = soundfile.read(inputs + "/style.wav", dtype="float64")


def keep(name, results):
    for number, result in enumerate(results):
        np.save(f"{name}-{number}.npy", result.audio)
        print(name, result.audio.dtype, result.audio.shape, result.sample_rate_hz)
        print(result.seed, result.generated, result.score)


keep("continued", audiolm_cli.continue_audio(mono, rate, 0.5, model=model, seed=1, takes=2, best_of=3))
keep("before", audiolm_cli.continue_audio(stereo.T, wide, 0.5, before=True, model=model, seed=2, channels="each"))
keep("path", audiolm_cli.continue_audio(inputs + "/a.flac", duration_s=0.5, seed=3, only_new=True, temperature=0.9))
keep("infilled", audiolm_cli.infill_audio(stereo.T, wide, [(0.5, 0.8), (2.5, None)], model=model, seed=4))
keep("longer", audiolm_cli.infill_audio(mono, rate, (1.0, 1.2), length_s=0.5, model=model, seed=5, top_k=30))
keep("looped", audiolm_cli.loop_audio(mono, rate, 0.5, model=model, seed=6, prompt_s=1.0))
keep("restyled", audiolm_cli.restyle_audio(mono, rate, style=style, style_rate_hz=style_rate, model=model, seed=7))
'''

OTHERS = (
    Case(name="Python functions", python=PYTHON_API, words=("{inputs}",)),
    case("models list", "models list --json"),
    case("models info", "models info piano --json"),
    case("models verify", "models verify piano --json"),
    case("models info, model of before", "models info run --json", needs=(("train, from recordings", "run"),)),
)

CASES = (*GENERATING, *TRAINING_CASES, *OTHERS)


def write_inputs(folder: Path) -> None:
    """Write every recording that the cases read: short pieces of decaying notes, the same ones each time."""
    (folder / "recordings").mkdir(parents=True)
    (folder / "held-out").mkdir()

    # One recording per kind of file that editing has to keep as it is
    soundfile.write(folder / "take.wav", notes(3, 32000), 32000, subtype="PCM_16")
    soundfile.write(folder / "deep.wav", notes(3, 44100, channels=2), 44100, subtype="PCM_24")
    soundfile.write(folder / "float.wav", notes(2, 48000, channels=2), 48000, subtype="FLOAT")
    soundfile.write(folder / "narrow.wav", notes(2, 8000), 8000, subtype="PCM_U8")
    soundfile.write(folder / "b.ogg", notes(2, 44100, channels=2), 44100)
    soundfile.write(folder / "c.aiff", notes(2, 22050), 22050, subtype="PCM_16")
    soundfile.write(folder / "style.wav", notes(3, 32000, seed=1, brightness=6), 32000, subtype="PCM_16")
    with soundfile.SoundFile(folder / "a.flac", "w", 44100, 2, "PCM_16") as tagged:
        tagged.title, tagged.artist, tagged.comment = "A piece", "Nobody", "of two hands"
        tagged.write(notes(3, 44100, channels=2))
    (folder / "no.wav").write_bytes(b"this is no audio")

    for number in range(6):  # to train on
        soundfile.write(folder / "recordings" / f"{number}.wav", notes(4, 16000, seed=number), 16000)
    for number in range(2):  # evaluate takes no recording below 20 s
        soundfile.write(folder / "held-out" / f"{number}.wav", notes(21, 16000, seed=10 + number), 16000)


def notes(seconds: float, rate_hz: int, channels: int = 1, seed: int = 0, brightness: int = 3) -> np.ndarray:
    """float64 [N, C] of decaying notes with `brightness` partials, one every 0.4 s, at -6 dB; channels differ."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    mono = np.zeros(len(time_s))
    for onset_s in np.arange(0, seconds, 0.4):
        pitch_hz = 220 * 2 ** (int(rng.integers(0, 25)) / 12)
        since_s = time_s[time_s >= onset_s] - onset_s
        partials = (
            np.exp(-(3 + k) * since_s) * np.sin(2 * np.pi * k * pitch_hz * since_s) / k
            for k in range(1, brightness + 1)
        )
        mono[len(mono) - len(since_s) :] += sum(partials)
    gains = 0.5 / np.abs(mono).max() * np.linspace(1, 0.7, channels)
    return mono[:, None] * gains + 1e-3 * rng.standard_normal((len(mono), channels))
