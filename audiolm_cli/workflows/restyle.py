"""`audiolm restyle`: a recording with its coarse codes kept and its fine codes made anew in the manner of another.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.edit import Edit, run_edit
from audiolm_cli.editing.jobs import plan_jobs, read_recording
from audiolm_cli.editing.references import style_prompt
from audiolm_cli.editing.restyling import check_settings, restyle_takes, whole_recording
from audiolm_cli.editing.result import Generation, Stopwatch
from audiolm_cli.editing.ruler import Ruler
from audiolm_cli.editing.session import LoadModel, open_session
from audiolm_cli.errors import UsageError
from audiolm_cli.events import OnEvent, ignore
from audiolm_cli.library.loading import load_model


def restyle_files(
    inputs: list[str],
    style: str,
    strength: int = 1,
    config: GenerateConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    on_event: OnEvent = ignore,
    started: float | None = None,
    load: LoadModel = load_model,
) -> Generation:
    """Write each input restyled after a reference; of several inputs, those that fail are in `failed`.

    Args:
        inputs: audio files; "-" is a WAV on standard input.
        style: the reference, an audio file; its loudest stretch is the acoustic prompt.
        strength: how many codebooks of the input are kept, from the coarsest on: 1 to K - 1.
        config: output, model, device, takes, seed, ...; `prompt_s` is how much of the reference is heard.
        sampling: how codes are drawn; only the NAR settings count.
        on_event: gets the progress.
        started: when the command began, by `time.perf_counter`.
        load: gives the model; who runs several commands gives one that keeps it.

    Raises:
        AudioInputError: the reference or the only recording cannot be used.
        UsageError: the strength is out of range, or options contradict each other.
        OutputError: an output exists already or cannot be written.
    """
    config, sampling = config or GenerateConfig(), sampling or SamplingConfig()
    watch = Stopwatch.since(started)
    _check_takes(config, sampling)
    check_settings(config)

    jobs = plan_jobs(inputs, "restyled", config)
    with watch.stage("encode"):
        reference = read_recording(style)
    session = open_session(config, sampling, on_event, watch, load)
    session = session.with_prompt(Ruler(recording=reference, source=style, config=config, on_event=on_event))
    with session.stage("encode"):
        prompt = style_prompt(session, reference, style, strength)

    edit = Edit(
        command="restyle",
        settings={"style": Path(style).name, "strength": strength},
        words=["--style", style, "--strength", str(strength)],
        find_gaps=lambda ruler: whole_recording(ruler.recording),
        make=partial(restyle_takes, prompt, strength),
    )
    result = run_edit(session, jobs, edit)
    return dataclasses.replace(result, settings=result.settings | {"style": style})


def _check_takes(config: GenerateConfig, sampling: SamplingConfig) -> None:
    """Refuse several takes that would be the same.

    Raises:
        UsageError: they would.
    """
    if config.takes > 1 and sampling.nar_temperature == 0:
        raise UsageError("all takes are the same at NAR temperature 0; add --nar-temperature 0.7, or leave out --takes")
