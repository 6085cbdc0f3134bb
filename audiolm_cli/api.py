"""The generating commands as functions of arrays (or paths): audio in, audio out, nothing written.

What `from audiolm_cli import continue_audio, ...` gives. Knows nothing about commands or terminals.
"""

from __future__ import annotations

import dataclasses
import numbers
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from audiolm_cli import devices
from audiolm_cli.audio import Recording, read_audio
from audiolm_cli.config.gaps import GapPlace
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.config.musical import Musical, Time, parse_length, parse_position
from audiolm_cli.editing.channels import generate_takes
from audiolm_cli.editing.jobs import LONGEST_INPUT_S, check_context
from audiolm_cli.editing.references import style_prompt, with_sound
from audiolm_cli.editing.restyling import check_settings, restyle_takes, whole_recording
from audiolm_cli.editing.ruler import Ruler
from audiolm_cli.editing.session import Session, open_session
from audiolm_cli.editing.splicing import Filled, Gap, fill_recording, generated_spans, splice
from audiolm_cli.editing.takes import MakeTakes, make_takes
from audiolm_cli.errors import AudioInputError, UsageError
from audiolm_cli.events import OnEvent, ignore
from audiolm_cli.library import loading
from audiolm_cli.library.loading import Loaded
from audiolm_cli.workflows.continue_audio import continuation_gap
from audiolm_cli.workflows.infill import check_gaps, place_gaps
from audiolm_cli.workflows.loop import bridge_gap, check_bridge, make_bridges

MOST_CHANNELS = 64
"""Arrays with more are taken for [N, C]."""
SUBTYPES = {"int16": ("PCM_16", 16), "int32": ("PCM_32", 0), "float32": ("FLOAT", 0), "float64": ("DOUBLE", 0)}
"""Array types, what they are as files, and how far integers are from the top bit of 32."""
ApiGap = tuple[float | str | Musical, float | str | Musical | None]
"""Start and end of a gap, as they are given."""
NAME = "the audio"
"""What errors call it."""
OF_FILES = ("output", "force", "plot", "page", "watched")
"""Fields of `GenerateConfig` that say nothing here, where no file is written."""


@dataclass(frozen=True, kw_only=True)
class Edited:
    """One take."""

    audio: np.ndarray
    """[N] or [C, N] with the dtype of the array that was given; float32 [C, N] where that was a path."""
    sample_rate_hz: int
    """The input's."""
    seed: int
    """Gives this take again."""
    generated: list[tuple[float, float]]
    """Generated stretches, in seconds."""
    score: float | None
    """With `best_of`, what the take was ranked by: mean log2 likelihood per frame."""


def load_model(name_or_path: str = "piano", device: str = "auto", dtype: str = "auto") -> Loaded:
    """A model for the `model` option of the functions below, so that several calls load it once.

    Raises:
        ModelError: there is no such model, or it is damaged.
    """
    devices.prepare_cpu(None)
    return loading.load_model(name_or_path, devices.pick_device(device), dtype)


def continue_audio(
    audio: np.ndarray | str | Path,
    sample_rate_hz: int | None = None,
    duration_s: float | str | Musical = 10.0,
    *,
    before: bool = False,
    sound_of: np.ndarray | str | Path | None = None,
    sound_rate_hz: int | None = None,
    model: str | Loaded = "piano",
    on_event: OnEvent = ignore,
    **options: Any,
) -> list[Edited]:
    """The audio with `duration_s` more behind it, or in front; one result per take.

    Args:
        audio: [N] or [C, N], float32, float64, int16 or int32; or an audio file.
        sample_rate_hz: of an array; a file has its own.
        duration_s: how much to generate: seconds, or a text such as "4bars" with the tempo as the option `bpm`.
        before: put it in front.
        sound_of: a recording whose sound the new audio takes on, with a model that knows prompts from elsewhere.
        sound_rate_hz: of a `sound_of` that is an array; None is that of the audio.
        model: name or folder, or what `load_model` gave.
        on_event: gets the progress.
        options: fields of `GenerateConfig` and `SamplingConfig`, but those of `OF_FILES`: seed, takes, best_of,
            prompt_s, temperature, ...

    Raises:
        AudioInputError: the audio cannot be used.
        ModelError: the model cannot take on a sound.
        UsageError: an option is unknown or out of range.
    """
    session, recording = _prepare(audio, sample_rate_hz, model, options, on_event)
    check_context(recording.duration_s, NAME)
    if sound_of is not None:
        reference = _open_recording(sound_of, sound_rate_hz or recording.sample_rate_hz)
        session = with_sound(session, reference, "the sound's recording")
    ruler = _measure(recording, session)
    gaps = [continuation_gap(ruler, _read_length(duration_s), before, session.config)]
    return _edit(session, recording, gaps, audio)


def infill_audio(
    audio: np.ndarray | str | Path,
    sample_rate_hz: int | None = None,
    gaps: list[ApiGap] | ApiGap = (),  # type: ignore[assignment]
    *,
    length_s: float | str | Musical | None = None,
    model: str | Loaded = "piano",
    on_event: OnEvent = ignore,
    **options: Any,
) -> list[Edited]:
    """The audio with its gaps, (start, end) in seconds, made anew; as `continue_audio` otherwise.

    Args:
        audio: as for `continue_audio`.
        sample_rate_hz: as for `continue_audio`.
        gaps: one gap or several; an end of None is that of the audio, and a text such as "bar 5" is a bar's beginning.
        length_s: length of what takes the place of each gap; None is the gap's own.
        model: as for `continue_audio`.
        on_event: gets the progress.
        options: as for `continue_audio`.

    Raises:
        AudioInputError: the audio cannot be used.
        UsageError: a gap does not fit, or an option is unknown or out of range.
    """
    session, recording = _prepare(audio, sample_rate_hz, model, options, on_event)
    several: list[Any] = [gaps] if isinstance(gaps, tuple) and gaps and not isinstance(gaps[0], tuple) else list(gaps)
    times: list[GapPlace] = [(_read_place(start), None if end is None else _read_place(end)) for start, end in several]
    length = None if length_s is None else _read_length(length_s)
    placed = place_gaps(check_gaps(times, length), length, _measure(recording, session))
    return _edit(session, recording, placed, audio)


def loop_audio(
    audio: np.ndarray | str | Path,
    sample_rate_hz: int | None = None,
    bridge_s: float | str | Musical | None = None,
    *,
    bars: float | None = None,
    model: str | Loaded = "piano",
    on_event: OnEvent = ignore,
    **options: Any,
) -> list[Edited]:
    """The audio with a bridge back to its start behind it; else as `continue_audio`.

    The bridge is `bridge_s` long, 2 seconds where nothing else is said, or as long as makes the whole so many `bars`.
    """
    session, recording = _prepare(audio, sample_rate_hz, model, options, on_event)
    check_context(recording.duration_s, NAME)
    bridge = None if bridge_s is None else _read_length(bridge_s)
    check_bridge(bridge, 1, session.config, bars)
    gap = bridge_gap(_measure(recording, session), bridge, bars=bars)
    return _edit(session, recording, [gap], audio, make_bridges)


def restyle_audio(
    audio: np.ndarray | str | Path,
    sample_rate_hz: int | None = None,
    *,
    style: np.ndarray | str | Path,
    style_rate_hz: int | None = None,
    strength: int = 1,
    model: str | Loaded = "piano",
    on_event: OnEvent = ignore,
    **options: Any,
) -> list[Edited]:
    """The audio with all but its `strength` coarsest codebooks made anew after `style`; else as `continue_audio`.

    `style_rate_hz` is the rate of a style that is an array; None is that of the audio.
    """
    session, recording = _prepare(audio, sample_rate_hz, model, options, on_event)
    check_context(recording.duration_s, NAME)
    check_settings(session.config)
    reference = _open_recording(style, style_rate_hz or recording.sample_rate_hz)
    session = session.with_prompt(_measure(reference, session))
    prompt = style_prompt(session, reference, "the style", strength)
    return _edit(session, recording, whole_recording(recording), audio, partial(restyle_takes, prompt, strength))


def _measure(recording: Recording, session: Session) -> Ruler:
    """What measures times along a recording."""
    return Ruler(recording=recording, source=NAME, config=session.config, on_event=session.on_event)


def _read_length(given: float | str | Musical) -> Time:
    """A length as it was given.

    Raises:
        UsageError: it is a text, and no length.
    """
    return parse_length(given) if isinstance(given, str) else given


def _read_place(given: float | str | Musical) -> Time:
    """A place as it was given.

    Raises:
        UsageError: it is a text, and no place.
    """
    return parse_position(given) if isinstance(given, str) else given


def _edit(
    session: Session,
    recording: Recording,
    gaps: list[Gap],
    given: np.ndarray | str | Path,
    make: MakeTakes = make_takes,
) -> list[Edited]:
    """Fill the gaps of a recording; every take in the form of what was given."""
    takes = generate_takes(session.with_prompt(_measure(recording, session)), recording, gaps, make)
    return [_to_given_form(filled, given, session.config) for filled in fill_recording(recording, gaps, takes)]


def _prepare(
    audio: np.ndarray | str | Path,
    sample_rate_hz: int | None,
    model: str | Loaded,
    options: dict[str, Any],
    on_event: OnEvent,
) -> tuple[Session, Recording]:
    """Audio, model and options in the form that the editing commands take."""
    own = {field.name for field in dataclasses.fields(GenerateConfig)} - {"model", *OF_FILES}
    drawn = {field.name for field in dataclasses.fields(SamplingConfig)}
    unknown = sorted(set(options) - own - drawn)
    if unknown:
        raise UsageError(f"no option is called {', '.join(unknown)}; known: {', '.join(sorted(own | drawn))}")
    if isinstance(options.get("prompt_s"), str):
        options["prompt_s"] = _read_length(options["prompt_s"])
    config = GenerateConfig(**{name: value for name, value in options.items() if name in own})
    sampling = SamplingConfig(**{name: value for name, value in options.items() if name in drawn})

    recording = _open_recording(audio, sample_rate_hz)
    if isinstance(model, str):
        named = dataclasses.replace(config, model=model)
        return open_session(named, sampling, on_event), recording
    return Session(loaded=model, config=config, sampling=sampling, on_event=on_event), recording


def _open_recording(audio: np.ndarray | str | Path, sample_rate_hz: int | None) -> Recording:
    """What was given, as the editing commands take it.

    Raises:
        AudioInputError: it cannot be used.
        UsageError: an array comes without a rate.
    """
    if not isinstance(audio, np.ndarray):
        return read_audio(audio, max_duration_s=LONGEST_INPUT_S)
    if not isinstance(sample_rate_hz, numbers.Integral) or sample_rate_hz < 1:
        raise UsageError(f"an array needs its sample rate, a whole number in Hz, got {sample_rate_hz}")
    if audio.dtype.name not in SUBTYPES:
        raise AudioInputError(f"audio of type {audio.dtype} is not read; expected {', '.join(SUBTYPES)}")
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and len(audio) > MOST_CHANNELS):
        raise AudioInputError(f"audio must have the shape [N] or [C, N], got {list(audio.shape)}; transpose it?")
    if not np.isfinite(audio).all():
        raise AudioInputError("the audio holds values that are no numbers, or infinite")

    # Integers stand at the top of 32 bits, as those of a file do.
    subtype, shift = SUBTYPES[audio.dtype.name]
    samples = np.atleast_2d(audio).T
    if samples.dtype.kind == "i":
        samples = samples.astype(np.int32) << shift

    return Recording(
        samples=samples,
        sample_rate_hz=int(sample_rate_hz),
        format="WAV",
        subtype=subtype,
        lossless=True,
        tags={},
        name="audio",
    )


def _to_given_form(filled: Filled, given: np.ndarray | str | Path, config: GenerateConfig) -> Edited:
    """A take as an array like the one that was given; as float32 [C, N] where that was a path."""
    recording, only_new = filled.recording, config.only_new
    samples = np.concatenate(list(splice(filled, only_new=only_new).blocks))  # [N, C]
    if not isinstance(given, np.ndarray):
        audio = dataclasses.replace(recording, samples=samples).wav()
    else:
        shift = SUBTYPES[given.dtype.name][1]
        audio = np.ascontiguousarray((samples >> shift if shift else samples).T.astype(given.dtype))
        audio = audio[0] if given.ndim == 1 else audio

    return Edited(
        audio=audio,
        sample_rate_hz=recording.sample_rate_hz,
        seed=filled.take.seed,
        generated=generated_spans(filled, only_new=only_new),
        score=filled.take.score,
    )
