"""`audiolm train`: options and display. The work is in `workflows/train.py`.

The flags of VALL-E's training recipes mean here what they mean there: `--manifest-dir` and `--exp-dir` are PATH and
RUN. With `--model-name`, `--base-lr` is the rate of ScaledAdam with Eden unless another optimizer is named.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.helping import EXAMPLES
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.cli.torchrun import torchrun_ranks
from audiolm_cli.cli.trained import show_training, show_trial
from audiolm_cli.config.base import RARE
from audiolm_cli.config.shapes import OF_PRESETS, PRESETS, ModelConfig
from audiolm_cli.config.training import LEARNING_RATES, TrainConfig
from audiolm_cli.errors import UsageError

_MODEL, _LENGTH = "The model", "How long, on what"
_RARE_MODEL, _RARE_LENGTH, _UPDATE = (f"{RARE}: {part}" for part in ("the model", "how long, on what", "how it learns"))


def _of_preset(name: str) -> str:
    """What a help text says of a default that differs between the presets."""
    small, base = (getattr(PRESETS[preset], name) for preset in ("tiny", "base"))
    return f"Default: {small} with --preset tiny and small, {base} with base."


Source = Annotated[Path | None, typer.Argument(metavar="PATH", help="A folder of audio, or a token store.")]
Run = Annotated[Path | None, options.shared("-o", "--output", metavar="RUN", help="The run folder; `-m RUN` reads it.")]
ManifestDir = Annotated[
    Path | None, options.shared("--manifest-dir", panel=RARE, metavar="PATH", help="The same as PATH.")
]
ExpDir = Annotated[Path | None, options.shared("--exp-dir", panel=RARE, metavar="RUN", help="The same as -o.")]

ModelName = Annotated[
    Literal["audiolm", "audio-lm"] | None,
    options.shared(
        "--model-name",
        panel=_RARE_MODEL,
        help="The only kind there is. Where it is given, --base-lr is the rate of scaled-adam, as in the recipes.",
    ),
]
Codec = Annotated[
    str | None,
    options.shared(
        "--codec",
        metavar="NAME|PATH",
        panel=_MODEL,
        help="The codec of recordings: its name, or the path of its folder or model. Default: sound, which is "
        "bundled; with --init, that model's.",
    ),
]
Preset = Annotated[
    Literal["tiny", "small", "base"] | None,
    options.shared(
        "--preset",
        panel=_MODEL,
        help="Size of a model from nothing. Default: tiny; base where one is given of --decoder-dim, --nhead and "
        "--num-decoder-layers.",
    ),
]
Width = Annotated[
    int | None,
    options.shared("--decoder-dim", min=2, metavar="N", panel=_RARE_MODEL, help="Width, in place of the preset's."),
]
Heads = Annotated[
    int | None,
    options.shared("--nhead", min=1, metavar="N", panel=_RARE_MODEL, help="Attention heads, in place of the preset's."),
]
Layers = Annotated[
    int | None,
    options.shared(
        "--num-decoder-layers",
        min=1,
        metavar="N",
        panel=_RARE_MODEL,
        help="Layers of each decoder, in place of the preset's.",
    ),
]
Codebooks = Annotated[
    int | None,
    options.shared(
        "--num-quantizers",
        min=1,
        metavar="N",
        panel=_RARE_MODEL,
        help="Codebooks to expect; codes with another number are refused.",
    ),
]
Dropout = Annotated[
    float | None,
    options.shared("--dropout", min=0.0, max=0.99, metavar="P", panel=_RARE_MODEL, help="Dropout while training."),
]
Attention = Annotated[
    Literal["full", "causal"] | None,
    options.shared(
        "--context-attention",
        panel=_RARE_MODEL,
        help="What frames of a prompt see in the AR decoder: each other (full), or the frames before them (causal), "
        f"and then they are learned from, too. {_of_preset('context_attention')}",
    ),
]
ContextCodebooks = Annotated[
    Literal["all", "own"] | None,
    options.shared(
        "--context-codebooks",
        panel=_RARE_MODEL,
        help="What the AR decoder hears of a prompt: all codebooks, or only those that it makes, its own. "
        f"{_of_preset('context_codebooks')}",
    ),
]
ArCodebooks = Annotated[
    int | None,
    options.shared(
        "--ar-codebooks",
        min=1,
        metavar="N",
        panel=_RARE_MODEL,
        help="Codebooks of each frame that the AR decoder makes, one after the other; the NAR decoder makes the "
        "others. Default: 1.",
    ),
]
PromptFrom = Annotated[
    str | None,
    options.shared(
        "--prompt-from",
        metavar="SHARES",
        panel=_RARE_MODEL,
        help="Where prompts come from: split (beside the target), elsewhere (another stretch of the recording: its "
        "sound, for restyle and --sound-of), none. Default: split; with --init, that model's. As in "
        "split:0.7,elsewhere:0.3.",
    ),
]
Styles = Annotated[
    str | None,
    options.shared(
        "--styles",
        metavar="LABELS",
        panel=_RARE_MODEL,
        help="Labels of recordings, to be asked for with --style: folders (their own), NAME.csv (a table with the "
        "columns file and label), or a field of lhotse's supervisions, as in speaker.",
    ),
]
Init = Annotated[
    str | None,
    options.shared(
        "--init", metavar="NAME|PATH", panel=_MODEL, help="Start from this model: little audio then goes far."
    ),
]

Steps = Annotated[
    int | None,
    options.shared(
        "--steps",
        min=1,
        metavar="N",
        panel=_LENGTH,
        help=f"Optimizer steps. Default: {TrainConfig.steps}; with --init as many as the amount of audio can use.",
    ),
]
Epochs = Annotated[
    float | None,
    options.shared(
        "--num-epochs",
        parser=options.positive,
        metavar="N",
        panel=_RARE_LENGTH,
        help="Passes over the data, in place of --steps.",
    ),
]
BatchFrames = Annotated[
    int | None,
    options.shared(
        "--batch-frames",
        min=1,
        metavar="N",
        panel=_RARE_LENGTH,
        help=f"Frames per step, over all processes. Default: {TrainConfig.batch_frames}.",
    ),
]
MaxDuration = Annotated[
    float | None,
    options.shared(
        "--max-duration",
        parser=options.positive,
        metavar="S",
        panel=_RARE_LENGTH,
        help="Seconds of audio per step, in place of --batch-frames.",
    ),
]
Transpose = Annotated[
    int | None,
    options.shared(
        "--transpose",
        min=0,
        max=12,
        metavar="N",
        panel=_RARE_LENGTH,
        help="Learn from recordings transposed by up to N semitones up and down, too. Default: 0; with --init 4, and "
        "less where there is over an hour of audio.",
    ),
]
DryRun = Annotated[
    bool,
    options.shared("--dry-run", panel=_LENGTH, help="Only try everything, and say how long the training would take."),
]

Optimizer = Annotated[
    Literal["muon", "adamw", "scaled-adam"] | None,
    options.shared(
        "--optimizer", panel=_UPDATE, help="Default: muon, or scaled-adam where --model-name and --base-lr are given."
    ),
]
Schedule = Annotated[
    Literal["wsd", "cosine", "eden"] | None,
    options.shared(
        "--schedule",
        panel=_UPDATE,
        help="How the learning rate changes. Default: eden with scaled-adam, otherwise wsd.",
    ),
]
BaseLr = Annotated[
    float | None,
    options.shared(
        "--base-lr",
        parser=options.positive,
        metavar="X",
        panel=_UPDATE,
        help="Peak learning rate. Default: "
        f"{', '.join(f'{rate:g} ({name})' for name, rate in LEARNING_RATES.items())}; with --init 0.3 of it, "
        "and less below 20 minutes of audio.",
    ),
]


SPREAD = options.Only(
    (
        "micro_frames",
        "filter_min_duration_s",
        "filter_max_duration_s",
        "validate_every",
        "sample_every",
        "patience",
        "train_stage",
        "fixed_split",
        "warmup_steps",
        "dtype",
        "seed",
        "device",
        "threads",
    )
)
"""The other options say one thing in two ways, of which one may be given; see `_exclude`."""


@spread
def train_command(
    context: typer.Context,
    source: Source = None,
    run: Run = None,
    manifest_dir: ManifestDir = None,
    exp_dir: ExpDir = None,
    *,
    init: Init = None,
    codec: Codec = None,
    model_name: ModelName = None,
    preset: Preset = None,
    decoder_dim: Width = None,
    nhead: Heads = None,
    num_decoder_layers: Layers = None,
    num_quantizers: Codebooks = None,
    dropout: Dropout = None,
    context_attention: Attention = None,
    context_codebooks: ContextCodebooks = None,
    ar_codebooks: ArCodebooks = None,
    prompt_from: PromptFrom = None,
    styles: Styles = None,
    steps: Steps = None,
    num_epochs: Epochs = None,
    batch_frames: BatchFrames = None,
    max_duration: MaxDuration = None,
    transpose: Transpose = None,
    dry_run: DryRun = False,
    optimizer: Optimizer = None,
    schedule: Schedule = None,
    base_lr: BaseLr = None,
    config: Annotated[TrainConfig, SPREAD],
    display: options.Display,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Train a model on a folder of recordings; run again after a stop, the training goes on."""
    sizes = _given(d_model=decoder_dim, nhead=nhead, num_layers=num_decoder_layers)
    own_shape = {"--preset": preset, "--decoder-dim, --nhead and --num-decoder-layers": sizes or None}
    listening = {
        "--context-attention": context_attention,
        "--context-codebooks": context_codebooks,
        "--ar-codebooks": ar_codebooks,
    }
    _exclude({"--init": init}, {**own_shape, **listening})
    _exclude({"--steps": steps}, {"--num-epochs": num_epochs})
    _exclude({"--batch-frames": batch_frames}, {"--max-duration": max_duration})
    given = _given(
        steps=steps,
        num_epochs=num_epochs,
        batch_frames=batch_frames,
        max_duration_s=max_duration,
        optimizer=optimizer or ("scaled-adam" if model_name and base_lr is not None else None),
        learning_rate=base_lr,
        schedule=schedule,
    )
    config = TrainConfig(**{name: getattr(config, name) for name in SPREAD.names}, **given)
    paths = _one("PATH", source, "--manifest-dir", manifest_dir), _one("-o", run, "--exp-dir", exp_dir)
    heard = _given(context_attention=context_attention, context_codebooks=context_codebooks)
    shape = dataclasses.replace(_shape(preset, sizes), **heard)
    ranks = torchrun_ranks()
    with Renderer(**display.to_dict() | {"quiet": display.quiet or not ranks.main}) as out:
        out.load_torch()
        from audiolm_cli.training.preflight.preparing import needed_for_training
        from audiolm_cli.training.preflight.request import TrainRequest
        from audiolm_cli.workflows.train import train, try_training

        wanted, start = needed_for_training(paths[0], codec, init)
        fetch_missing(out, cache_dir, offline, wanted, model=start, ranks=ranks)
        request = TrainRequest(
            *paths,
            codec=codec,
            shape=shape,
            num_quantizers=num_quantizers,
            ar_codebooks=ar_codebooks,
            dropout=dropout,
            prompt_from=prompt_from,
            styles=styles,
            config=config,
            init=init,
            transpose=transpose,
            free=_free(context, given | heard),
            cache=cache_dir,
            ranks=ranks,
            on_event=out.on_event,
        )
        if dry_run and not ranks.main:
            return
        if dry_run:
            show_trial(out, try_training(request))
        else:
            show_training(out, train(request))


def _free(context: typer.Context, given: dict[str, Any]) -> frozenset[str]:
    """Names of the settings that the command line leaves open."""
    sources = {name: context.get_parameter_source(name) for name in SPREAD.names}
    spread_free = {name for name, source in sources.items() if source is not None and source.name == "DEFAULT"}
    return frozenset(spread_free | {name for name in ("steps", "learning_rate", *OF_PRESETS) if name not in given})


def _given(**values: Any) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _exclude(one: dict[str, object], others: dict[str, object]) -> None:
    """Refuse an option together with any of the others.

    Raises:
        UsageError: both were given.
    """
    for name, value in one.items():
        for other, theirs in others.items():
            if value is not None and theirs is not None:
                reason = "a model to start from has its own shape" if name == "--init" else "they set the same thing"
                raise UsageError(f"{other} and {name}: {reason}; leave one of them out")


def _one(name: str, value: Path | None, other: str, theirs: Path | None) -> Path:
    """The path that was given under one of two names.

    Raises:
        UsageError: neither was, or two that differ.
    """
    if value is not None and theirs is not None and value.resolve() != theirs.resolve():
        raise UsageError(f"{name} {value} and {other} {theirs}: two names for the same thing; leave one of them out")
    path = value or theirs
    if path is None:
        raise UsageError(f"{name} is missing, as in `{EXAMPLES['train'][0]}`; {other} means the same")
    return path


def _shape(preset: str | None, sizes: dict[str, int]) -> ModelConfig:
    """The preset with the sizes that were given; without a preset those of `base`, and tiny where there are none."""
    return dataclasses.replace(PRESETS[preset or ("base" if sizes else "tiny")], **sizes)  # type: ignore[arg-type]
