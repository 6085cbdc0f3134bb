"""`audiolm demo`: the tour. A prompt, its continuation, an infill, and their pictures.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

from audiolm_cli.audio import Recording, read_audio
from audiolm_cli.config.generation import DEMO_SEED, GenerateConfig, SamplingConfig
from audiolm_cli.editing.edit import repeat_command, summarise, write_page
from audiolm_cli.editing.jobs import Job, plan_jobs, plan_page
from audiolm_cli.editing.result import Generation, Output, Stopwatch
from audiolm_cli.editing.session import Session, open_session
from audiolm_cli.editing.splicing import Filled, Gap, Take, splice
from audiolm_cli.editing.takes import make_takes
from audiolm_cli.editing.takes_page import TakesPage
from audiolm_cli.editing.writing import write_samples, write_take
from audiolm_cli.errors import OutputError
from audiolm_cli.events import OnEvent, ignore

PROMPT = "prelude.flac"
"""The recording of the tour, among the assets."""
CONTINUED_S = 10.0
"""Length of its continuation."""
GAP_S = (3.0, 4.5)
"""Start and end of what is made anew."""
COMMANDS = (("continue", "-d", f"{CONTINUED_S:g}"), ("infill", "--gap", f"{GAP_S[0]:g}:{GAP_S[1]:g}"))
"""What makes the same of the prompt."""


def demo(
    folder: Path, config: GenerateConfig, *, on_event: OnEvent = ignore, started: float | None = None
) -> Generation:
    """Write `prompt.wav`, `continued.wav` and `infilled.wav` with a PNG each into `folder`.

    Raises:
        OutputError: the folder cannot be made, a file is there already, or the disk is full.
    """
    config = dataclasses.replace(config, takes=1, seed=DEMO_SEED if config.seed is None else config.seed)
    page_path = plan_page(config, config.page)
    session = open_session(config, SamplingConfig(), on_event, Stopwatch.since(started))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created ({error.strerror}); name another folder") from error

    prompt, *edited = [_plan_job(folder, name, config) for name in ("prompt", "continued", "infilled")]

    recording = read_audio(str(resources.files("audiolm_cli") / "assets" / "demo" / PROMPT))
    rate_hz, end = recording.sample_rate_hz, recording.num_samples
    start, stop = (round(edge_s * rate_hz) for edge_s in GAP_S)
    gaps = (
        Gap(start=end, stop=end, new_samples=round(CONTINUED_S * rate_hz)),
        Gap(start=start, stop=stop, new_samples=stop - start),
    )

    outputs = [_write_prompt(session, prompt, recording)]
    page = TakesPage("audiolm demo", f"Made by the model {session.loaded.folder.name}.")
    for job, gap, words in zip(edited, gaps, COMMANDS, strict=True):
        (take,) = make_takes(session, recording, [gap])
        filled = Filled(recording=recording, gaps=[gap], take=take)
        outputs.append(write_take(session, job, 1, filled, command=f"demo {job.source}", settings={}))
        if page_path is not None:
            command = repeat_command(session, prompt.paths[0], words, outputs[-1].seed)
            page.add_recording(job.source, recording, [gap], [(outputs[-1], command)])

    result = summarise(session, outputs, settings={})
    if page_path is None:
        return result
    return dataclasses.replace(result, page=write_page(page, page_path, str(config.page), config))


def _plan_job(folder: Path, name: str, config: GenerateConfig) -> Job:
    """A job that writes `name.wav` and `name.png` into the folder."""
    target = dataclasses.replace(
        config, output=str(folder / f"{name}.wav"), page=None, plot=str(folder / f"{name}.png")
    )
    return plan_jobs([name], name, target)[0]


def _write_prompt(session: Session, job: Job, recording: Recording) -> Output:
    """The prompt as it is, with its picture."""
    nothing = Take(seed=0, pieces=[], drawn=[])
    samples = splice(Filled(recording=recording, gaps=[], take=nothing))
    write_samples(session, job, 1, recording, samples, [])
    return Output(
        path=job.paths[0],
        seed=nothing.seed,
        take=1,
        sample_rate_hz=recording.sample_rate_hz,
        channels=recording.channels,
        duration_s=recording.duration_s,
        generated=[],
        sampling={},
    )
