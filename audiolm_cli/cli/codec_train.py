"""`audiolm codec train`: options and display. The work is in `workflows/codec_train.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.render import Renderer
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.errors import UsageError

FILTERS = 16
"""Width of an EnCodec network that a CPU can train."""

Source = Annotated[Path, typer.Argument(metavar="PATH", help="A folder of audio.")]
Folder = Annotated[Path, options.shared("-o", "--output", metavar="DIR", help="The folder to write.")]
Steps = Annotated[int, options.shared("--steps", min=1, metavar="N", panel="Training", help="Optimizer steps.")]
Clips = Annotated[int, options.shared("--clips", min=1, metavar="N", panel="Training", help="2-second clips per step.")]
Init = Annotated[
    str | None,
    options.shared("--init", metavar="NAME|PATH", panel="Training", help="Start from this codec, or a model's."),
]
KeepCodes = Annotated[
    bool,
    options.shared(
        "--keep-codes",
        panel="Training",
        help="With --init: only the decoder learns. Codes stay what they are; of a model, a model comes out.",
    ),
]
Family = Annotated[
    Literal["spectral", "encodec"] | None,
    options.shared("--family", panel="Training", help="Of a codec from nothing; spectral if unset."),
]
Filters = Annotated[
    int | None,
    options.shared(
        "--filters",
        min=1,
        metavar="N",
        panel="Training",
        help=f"Width of an EnCodec network from nothing; {FILTERS} if unset, as published 64.",
    ),
]
AdversarialFrom = Annotated[
    int | None,
    options.shared(
        "--adversarial-from",
        min=0,
        metavar="STEP",
        panel="Training",
        help="EnCodec: a discriminator learns along from this step on. For GPUs.",
    ),
]
SampleEvery = Annotated[
    int,
    options.shared(
        "--sample-every", min=0, metavar="N", panel="Training", help="Steps between round trips to hear; 0: never."
    ),
]
BaseLr = Annotated[
    float | None,
    options.shared(
        "--base-lr",
        parser=options.positive,
        metavar="X",
        panel="Training",
        help="Peak learning rate; 0.001 if unset, with --init 0.0003 (spectral) or 0.0001 (EnCodec).",
    ),
]
StateEvery = Annotated[
    int, options.shared("--state-every", min=1, metavar="N", panel="Training", help="Steps between saved states.")
]


def codec_train_command(
    source: Source,
    output: Folder,
    init: Init = None,
    keep_codes: KeepCodes = CodecTrainConfig.keep_codes,
    family: Family = None,
    filters: Filters = None,
    steps: Steps = CodecTrainConfig.steps,
    clips: Clips = CodecTrainConfig.clips,
    state_every: StateEvery = CodecTrainConfig.state_every,
    sample_every: SampleEvery = CodecTrainConfig.sample_every,
    base_lr: BaseLr = CodecTrainConfig.learning_rate,
    adversarial_from: AdversarialFrom = CodecTrainConfig.adversarial_from,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    force: options.Force = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Train a codec on a folder of recordings; stopped and started again, it goes on."""
    if init is not None and (family is not None or filters is not None):
        raise UsageError("--init with --family or --filters: a codec to start from has its own; leave them out")
    if filters is not None and family != "encodec":
        raise UsageError("--filters is the width of an EnCodec network; add --family encodec")
    config = CodecTrainConfig(
        steps=steps,
        clips=clips,
        learning_rate=base_lr,
        keep_codes=keep_codes,
        adversarial_from=adversarial_from,
        state_every=state_every,
        sample_every=sample_every,
        seed=seed or 0,
        device=device,
        threads=threads,
    )
    with Renderer(quiet=quiet, verbose=verbose, no_progress=no_progress, json=json_output) as out:
        from audiolm_cli.codec.encodec_shape import EncodecConfig
        from audiolm_cli.tokenizing.recordings import check_failures
        from audiolm_cli.workflows.codec_train import train_codec

        fetch_missing(out, cache_dir, offline, init)
        shape = EncodecConfig(num_filters=filters or FILTERS) if family == "encodec" else None
        result = train_codec(
            source, output, config=config, shape=shape, init=init, force=force, cache=cache_dir, on_event=out.on_event
        )
        if out.json:
            facts = {"path": result.folder.path, "sha256": result.folder.sha256}
            out.print_json({**facts, "held_out": result.losses, "failed": result.failed})
        else:
            use = "train PATH --codec" if result.folder.model is None else "continue IN -m"
            out.print(f"{result.folder.path}  (use it: audiolm {use} {result.folder.path})")
        check_failures(result.failed)
