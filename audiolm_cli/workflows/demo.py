"""`audiolm demo`: the tour. A prompt, its continuation, an infill, and their pictures.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

from audiolm_cli.audio import read_audio
from audiolm_cli.config import GenerateConfig, SamplingConfig
from audiolm_cli.errors import OutputError
from audiolm_cli.events import OnEvent, ignore
from audiolm_cli.workflows.generation import (
    Generation,
    Output,
    Stopwatch,
    Take,
    comment,
    make_takes,
    splice,
    used_settings,
)
from audiolm_cli.workflows.jobs import Job, load_for, plan_jobs, run_jobs, write_take

PROMPT = "prelude.flac"
CONTINUED_S = 10.0
GAP_S = (3.0, 4.5)


def demo(
    folder: Path, config: GenerateConfig, *, on_event: OnEvent = ignore, started: float | None = None
) -> Generation:
    """Write `prompt.wav`, `continued.wav` and `infilled.wav` with a PNG each into `folder`.

    Raises:
        OutputError: the folder cannot be made, or a file is there already.
    """
    watch = Stopwatch() if started is None else Stopwatch(started=started)
    sampling = SamplingConfig()
    config = dataclasses.replace(config, takes=1, seed=4 if config.seed is None else config.seed)
    loaded = load_for(config, watch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created ({error.strerror}); name another folder") from error
    jobs = [
        plan_jobs([name], name, str(folder / f"{name}.wav"), folder / f"{name}.png", config)[0]
        for name in ("prompt", "continued", "infilled")
    ]
    recording = read_audio(str(resources.files("audiolm_cli") / "assets" / "demo" / PROMPT))
    rate, end = recording.sample_rate_hz, recording.num_samples
    gap = (round(GAP_S[0] * rate), round(GAP_S[1] * rate))
    spans = {
        "prompt": (end, end, 0),
        "continued": (end, end, round(CONTINUED_S * rate)),
        "infilled": (*gap, gap[1] - gap[0]),
    }

    def run(job: Job) -> list[Output]:
        start, stop, length = spans[job.source]
        if length == 0:
            return [write_take(job, 1, Take(seed=0, audio=recording.wav(0, 0)), recording, [], force=config.force)]
        take = make_takes(loaded, recording, start, stop, length, config, sampling, on_event, watch)[0]
        note = comment(f"demo {job.source}", loaded, config, sampling, take.seed)
        result = dataclasses.replace(splice(recording, start, stop, take, on_event), tags={"comment": note})
        where = [(start / rate, (start + take.audio.shape[1]) / rate)]
        return [write_take(job, 1, take, result, where, force=config.force)]

    return run_jobs(jobs, run, loaded, used_settings(config, sampling), on_event, watch)
