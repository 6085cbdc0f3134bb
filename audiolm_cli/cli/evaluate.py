"""`audiolm evaluate`: options and display. The work is in `workflows/evaluate.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.evaluated import show_evaluation
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.cli.surroundings import check_heard

Source = Annotated[
    Path, typer.Argument(metavar="PATH", help="A recording or a folder of them, a token store, or a manifest of one.")
]
Split = Annotated[
    Literal["all", "train", "dev", "test"] | None,
    options.shared("--split", help="Which recordings. Default: all that the model was not trained on."),
]
Tokens = Annotated[
    Path | None,
    options.shared(
        "--tokens",
        metavar="DIR",
        help="The token store of the training, which says what the model knows and fits the baselines. Default: that "
        "of the model's run folder.",
    ),
]
Clips = Annotated[int, options.shared("--clips", min=2, metavar="N", help="Excerpts to compare as audio.")]
Windows = Annotated[int, options.shared("--windows", min=2, metavar="N", help="Windows of codes to score.")]
Report = Annotated[
    Path | None, options.shared("--report", metavar="HTML", help="Write a page with tables, pictures and audio.")
]


@spread
def evaluate_command(
    *,
    source: Source,
    model: options.Model = "piano",
    split: Split = None,
    tokens: Tokens = None,
    clips: Clips = 30,
    windows: Windows = 60,
    report: Report = None,
    force: options.Force = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    display: options.Display,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Measure a codec, or a model with its codec, on held-out recordings."""
    if report is None:
        check_heard()
    with Renderer(**display.to_dict()) as out:
        out.load_torch()
        from audiolm_cli.tokenizing.recordings import check_failures
        from audiolm_cli.workflows.evaluate import evaluate

        fetch_missing(out, cache_dir, offline, model)
        result = evaluate(
            source,
            model,
            split=split,
            tokens=tokens,
            clips=clips,
            windows=windows,
            device=device,
            threads=threads,
            cache=cache_dir,
            seed=seed or 0,
            report=report,
            force=force,
            on_event=out.on_event,
        )
        if out.json:
            out.print_json(result)
        else:
            show_evaluation(out, result)
        if report is not None:
            out.note(f"{report}  (report: open it in a browser)")
        check_failures(result.failed)
