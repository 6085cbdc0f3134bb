"""`audiolm demo`: the tour. A prompt, its continuation, an infill, and their pictures.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

from audiolm_cli.audio import read_audio
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.jobs import Job, load_for, plan_jobs, run_jobs
from audiolm_cli.editing.result import Generation, Output, Stopwatch, used_settings
from audiolm_cli.editing.splicing import Gap, Take, splice
from audiolm_cli.editing.takes import make_takes
from audiolm_cli.editing.writing import write_take, write_takes
from audiolm_cli.errors import OutputError
from audiolm_cli.events import OnEvent, ignore

PROMPT = "prelude.flac"
CONTINUED_S = 10.0
GAP_S = (3.0, 4.5)


def demo(
    folder: Path, config: GenerateConfig, *, on_event: OnEvent = ignore, started: float | None = None
) -> Generation:
    """Write `prompt.wav`, `continued.wav` and `infilled.wav` with a PNG each into `folder`.

    Raises:
        OutputError: the folder cannot be made, a file is there already, or the disk is full.
    """
    watch = Stopwatch() if started is None else Stopwatch(started=started)
    sampling = SamplingConfig()
    config = dataclasses.replace(config, takes=1, seed=4 if config.seed is None else config.seed)
    loaded = load_for(config, watch, on_event)
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
    start, stop = (round(edge_s * rate) for edge_s in GAP_S)
    gaps = {
        "continued": Gap(start=end, stop=end, new_samples=round(CONTINUED_S * rate)),
        "infilled": Gap(start=start, stop=stop, new_samples=stop - start),
    }

    def run(job: Job) -> list[Output]:
        if job.source not in gaps:
            nothing = Take(seed=0, pieces=[])
            samples = splice(recording, [], nothing)
            return [write_take(job, 1, nothing, recording, samples, [], force=config.force)]
        gap = [gaps[job.source]]
        takes = make_takes(loaded, recording, gap, config, sampling, on_event, watch)
        command = f"demo {job.source}"
        return write_takes(job, recording, gap, takes, command, {}, loaded, config, sampling, on_event)

    return run_jobs(jobs, run, loaded, used_settings(config, sampling, loaded), on_event, watch, together=True)
