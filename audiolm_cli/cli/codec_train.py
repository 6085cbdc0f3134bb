"""`audiolm codec train`: options and display. The work is in `workflows/codec_train.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.live import duration
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.config.base import RARE
from audiolm_cli.config.shapes import SpectralChanges
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.errors import UsageError

if TYPE_CHECKING:
    from audiolm_cli.workflows.codec_train import TrainedCodec

FILTERS = 16
"""Width of an EnCodec network that a CPU can train."""

Source = Annotated[Path, typer.Argument(metavar="PATH", help="A folder of audio.")]
Folder = Annotated[Path, options.shared("-o", "--output", metavar="DIR", help="The folder to write.")]
Init = Annotated[
    str | None,
    options.shared(
        "--init", metavar="NAME|PATH", panel="Training", help="Start from this codec, or from the codec of this model."
    ),
]
Family = Annotated[
    Literal["spectral", "encodec"] | None,
    options.shared("--family", panel=RARE, help="Family of a codec from nothing. Default: spectral."),
]
Filters = Annotated[
    int | None,
    options.shared(
        "--filters",
        min=1,
        metavar="N",
        panel=RARE,
        help=f"Width of an EnCodec network from nothing. Default: {FILTERS}; the published one has 64.",
    ),
]


def show_codec(out: Renderer, result: TrainedCodec) -> None:
    """How much sound a codec learned from, how long that took, how good it is in words, and where it is."""
    where = "on held-out clips" if result.held_out else "on clips it was trained on, as none was held out"
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in result.losses.items())
    path, use = result.folder.path, "train PATH --codec" if result.folder.model is None else "continue IN -m"
    out.paragraph(
        f"trained for {duration(result.elapsed_s)} on {duration(result.heard_s)} of sound, heard "
        f"{result.passes:.3g} times; measured {where}"
    )
    for line in result.verdict.lines() if result.verdict is not None else []:
        out.paragraph(line)
    out.detail(f"losses, less is better: {losses}")
    out.paragraph(f"to hear how good it is: audiolm evaluate PATH -m {path} --report report.html")
    out.print(f"{path}  (use it: audiolm {use} {path})")


@spread
def codec_train_command(
    source: Source,
    *,
    output: Folder,
    init: Init = None,
    family: Family = None,
    filters: Filters = None,
    config: CodecTrainConfig,
    changes: SpectralChanges,
    force: options.Force = False,
    display: options.Display,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Train a codec on a folder of recordings; run again after a stop, the training goes on."""
    if init is not None and (family is not None or filters is not None):
        raise UsageError(
            "--init with --family or --filters: the codec to start from has its own family and width; leave them out"
        )
    if filters is not None and family != "encodec":
        raise UsageError("--filters is the width of an EnCodec network; add --family encodec")
    with Renderer(**display.to_dict()) as out:
        out.load_torch()
        from audiolm_cli.codec.encodec_shape import EncodecConfig
        from audiolm_cli.tokenizing.recordings import check_failures
        from audiolm_cli.workflows.codec_train import CodecTrainRequest, train_codec

        fetch_missing(out, cache_dir, offline, init)
        shape = EncodecConfig(num_filters=filters or FILTERS) if family == "encodec" else None
        request = CodecTrainRequest(
            source,
            output,
            config=config,
            shape=shape,
            changes=changes,
            init=init,
            force=force,
            cache=cache_dir,
            on_event=out.on_event,
        )
        result = train_codec(request)
        if out.json:
            facts = {"path": result.folder.path, "sha256": result.folder.sha256}
            own = {"held_out": result.losses, "verdict": result.verdict, "failed": result.failed}
            out.print_json({**facts, **own})
        else:
            show_codec(out, result)
        check_failures(result.failed)
