"""How models and codecs are trained. Each field declares a setting once: `cli/spread.py` makes options from them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from audiolm_cli.config.base import LEAST, RARE, Settings, require, setting

MOST_BATCH_FRAMES = 1 << 30
"""Frames per step at most: over half a year of audio."""
LEARNING_RATES = {"muon": 0.02, "adamw": 1e-3, "scaled-adam": 0.05}
"""Usual peak learning rates by optimizer."""
MUON_OVER_ADAM = 10
"""Peak rate of Muon over that of what it leaves to Adam."""

_codec = functools.partial(setting, panel="Training")
_rare_codec = functools.partial(setting, panel=RARE)
_length = functools.partial(setting, panel="How long, on what")
_rare_length = functools.partial(setting, panel=f"{RARE}: how long, on what")
_update = functools.partial(setting, panel=f"{RARE}: how it learns")


@dataclass(frozen=True, kw_only=True)
class CodecTrainConfig(Settings):
    """Training of a codec, from nothing or from another one."""

    steps: int = _codec(5200, "Optimizer steps.", low=1, metavar="N")
    clips: int = _rare_codec(12, "2-second clips per step.", low=1, high=1 << 20, metavar="N")
    """Clips per step."""
    clip_s: float = setting(2.0, "", low=0.1, high=600)
    """Length of a clip in seconds."""
    learning_rate: float | None = _rare_codec(
        None,
        "Peak learning rate. Default: 0.001; with --init 0.0003 (spectral) or 0.0001 (EnCodec).",
        low=LEAST,
        high=1e3,
        flag="--base-lr",
        kind="positive",
        metavar="X",
    )
    """Peak rate of AdamW; None is 1e-3, or from another codec's weights 3e-4 (spectral) and 1e-4 (EnCodec)."""
    warmup_steps: int = setting(50, "", low=0)
    quantize_from: float = setting(0.03, "", low=0, high=1)
    """Share of the steps before the quantizer comes in, by k-means; from another codec's weights it is in at once."""
    keep_codes: bool = _codec(
        False, "With --init: only the decoder learns, so codes stay what they are. Given a model, writes a model."
    )
    """From another codec: only what follows the quantizer learns, so the codes of a recording stay what they are."""
    commitment: float = setting(0.25, "", low=0, high=1e6)
    """Weight of the commitment loss."""
    linear_weight: float = setting(0.3, "", low=0, high=1e6)
    """Spectral: weight of the loss on square roots of magnitudes, beside that on their logarithms."""
    adversarial_from: int | None = _rare_codec(
        None, "EnCodec: from this step on, a discriminator learns too. For GPUs.", low=0, metavar="STEP"
    )
    """EnCodec: step from which a discriminator learns along; None is never. For GPUs."""
    consistency: float = _rare_codec(
        1.0,
        "Weight of keeping the codes when a clip is heard with noise, delayed or through MP3; 0: clips are heard as "
        "they are.",
        low=0,
        high=1e6,
        metavar="X",
    )
    """Over 0: the codec hears disturbed clips and gives clean ones back; weight of the displacement of latents."""
    gain_db: tuple[float, float] = (-6.0, 2.0)
    """Range of the random gain of each clip in dB."""
    ema_decay: float = setting(0.998, "", low=0, high=1)
    """Decay of the averaged weights that are kept."""
    seed: int = setting(0, "Same seed, same result.", low=0, high=2**63 - 1, metavar="N")
    """Seed of every random draw."""
    state_every: int = _rare_codec(500, "Steps between saved states.", low=1, metavar="N")
    """Steps between saved states and measurements on held-out clips."""
    sample_every: int = _rare_codec(
        500, "Steps between round trips of held-out clips as audio; 0: never.", low=0, metavar="N"
    )
    """Steps between round trips of held-out clips as audio and pictures; 0 makes none."""
    threads: int | None = setting(None, "CPU threads.", panel=RARE, low=1, high=1024, metavar="N")
    """CPU threads; None leaves torch's choice."""
    device: str = setting("auto", "Where to compute.", panel=RARE, kind="device", metavar="auto|cpu|cuda[:N]|mps")
    """"auto", "cpu", "cuda", "cuda:N" or "mps"."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """Training of an AudioLM."""

    steps: int = setting(3000, "", low=1)
    """Optimizer steps."""
    num_epochs: float | None = setting(None, "", low=LEAST, high=1e9)
    """Passes over the training frames, which then decide `steps`; None leaves `steps` as they are."""
    batch_frames: int = setting(2500, "", low=1, high=MOST_BATCH_FRAMES)
    """Frames per step, context included; over all processes."""
    max_duration_s: float | None = setting(None, "", low=LEAST, high=1e9)
    """Seconds of audio per step, which then decide `batch_frames`; None leaves those as they are."""
    filter_min_duration_s: float | None = _rare_length(
        None,
        "Leave out shorter clips.",
        low=0,
        high=1e9,
        flag="--filter-min-duration",
        kind="zero_or_more",
        metavar="S",
    )
    """Clips shorter than this are left out; None leaves out none."""
    filter_max_duration_s: float | None = _rare_length(
        None,
        "Leave out longer clips.",
        low=0,
        high=1e9,
        flag="--filter-max-duration",
        kind="zero_or_more",
        metavar="S",
    )
    """Clips longer than this are left out; None leaves out none."""
    shortest_window: int = setting(100, "", low=1)
    """Shortest training window in frames; the longest is the model's `max_frames`."""
    full_windows: float = setting(0.6, "", low=0, high=1)
    """Share of steps with windows of full length; the others are shorter."""
    optimizer: Literal["muon", "adamw", "scaled-adam"] = setting("muon", "")
    """"muon" (hidden matrices, AdamW for the rest), "adamw" or "scaled-adam"."""
    learning_rate: float | None = setting(None, "", low=LEAST, high=1e3)
    """Peak rate: of the hidden matrices under Muon, of everything otherwise; None is the optimizer's usual one."""
    adam_learning_rate: float | None = setting(None, "", low=LEAST, high=1e3)
    """Peak rate of what Muon does not train; None is a tenth of Muon's. `training/optim.py` has that of the AR
    decoder's in proportion."""
    schedule: Literal["wsd", "cosine", "eden"] | None = setting(None, "")
    """"wsd" (warm-up, stable, decay), "cosine" or "eden"; None is eden for ScaledAdam and wsd otherwise."""
    weight_decay: float = setting(0.01, "", low=0, high=1e3)
    """Decoupled weight decay of the hidden matrices."""
    warmup_steps: int = _update(50, "Steps of linear warm-up; with --init 10.", low=0, metavar="N")
    decay_share: float = setting(0.3, "", low=0, high=1)
    """wsd: last share of the steps, over which the rate falls to zero."""
    eden_steps: float = setting(5000.0, "", low=LEAST, high=1e9)
    """eden: steps after which the rate begins to fall with the square root of the steps."""
    eden_epochs: float = setting(4.0, "", low=LEAST, high=1e9)
    """eden: passes over the data after which it begins to fall with their square root."""
    infill_share: float = setting(0.35, "", low=0, high=1)
    """Share of steps that fill a gap; the other tasks keep their proportions."""
    fixed_split: bool = _update(False, "Train only continuations, after 40 % of each window.")
    """Train continuations after the model's `prompt_share` of each window, 40 %, and no other task."""
    train_stage: int = _update(0, "0 trains both decoders, 1 the AR, 2 the NAR.", low=0, high=2)
    """0 trains both decoders, 1 the AR, 2 the NAR."""
    nar_known: float = setting(0.75, "", low=0, high=1)
    """Share of items whose NAR target has some frames known, as in later passes; the others have none."""
    dtype: Literal["auto", "fp32", "bf16"] = _update(
        "auto", "Number format of matrix products; auto takes bf16 where the device has it."
    )
    """"fp32" or "bf16" (autocast, weights stay fp32); "auto" is bf16 where the device multiplies in it."""
    ema_decay: float = setting(0.995, "", low=0, high=1)
    """Decay of the averaged weights that are validated and kept."""
    clip_norm: float = setting(1.0, "", low=LEAST)
    """Largest gradient norm."""
    spike_deviations: float = setting(8.0, "", low=LEAST)
    """A step whose loss lies this many standard deviations over the running mean changes nothing."""
    unusable_steps: int = setting(5, "", low=1)
    """Steps in a row that changed nothing after which training goes back to its last saved state."""
    micro_frames: int = _rare_length(
        0, "Most frames at once; a step adds up several such parts. 0: no limit.", low=0, metavar="N"
    )
    """Most frames that go through the model at once; a step's other frames are accumulated. 0 is no limit."""
    seed: int = setting(0, "Same seed, same result.", low=0, high=2**63 - 1, metavar="N")
    """Seed of every random draw."""
    validate_every: int = _rare_length(
        250, "Steps between validations; with --init a tenth of the steps, at least 5.", low=1, metavar="N"
    )
    """Steps between validations and saved states."""
    validation_windows: int = setting(24, "", low=1)
    """Held-out windows of each validation."""
    patience: int = _rare_length(
        0, "Stop after N validations without a better one; 0: never. With --init 3.", low=0, metavar="N"
    )
    """Validations in a row without a better one that end the training; 0 goes on to the last step."""
    sample_every: int = _rare_length(
        1000, "Steps between samples as audio; 0: never. With --init every third validation.", low=0, metavar="N"
    )
    """Steps between samples of the averaged weights, as audio; 0 makes none."""
    log_every: int = setting(10, "", low=1)
    """Steps between lines of `metrics.jsonl`."""
    threads: int | None = setting(None, "CPU threads.", panel=RARE, low=1, high=1024, metavar="N")
    """CPU threads; None leaves torch's choice."""
    device: str = setting("auto", "Where to compute.", panel=RARE, kind="device", metavar="auto|cpu|cuda[:N]|mps")
    """"auto", "cpu", "cuda", "cuda:N" or "mps"."""

    def __post_init__(self) -> None:
        require(
            self.optimizer in LEARNING_RATES,
            f"optimizer must be one of {', '.join(LEARNING_RATES)}, got {self.optimizer!r}",
        )
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", LEARNING_RATES[self.optimizer])
        if self.adam_learning_rate is None:
            muon = self.learning_rate if self.optimizer == "muon" else LEARNING_RATES["muon"]
            object.__setattr__(self, "adam_learning_rate", muon / MUON_OVER_ADAM)  # type: ignore[operator]
        if self.schedule is None:
            object.__setattr__(self, "schedule", "eden" if self.optimizer == "scaled-adam" else "wsd")
        super().__post_init__()
        shortest, longest = self.filter_min_duration_s or 0.0, self.filter_max_duration_s
        require(
            longest is None or longest >= shortest,
            f"filter-max-duration {longest} is below filter-min-duration {shortest}; no clip can pass both",
        )
