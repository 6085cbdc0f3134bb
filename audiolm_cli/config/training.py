"""How models and codecs are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from audiolm_cli.config.base import LARGEST, LEAST, Settings, require, require_ranges


@dataclass(frozen=True, kw_only=True)
class CodecTrainConfig(Settings):
    """Training of a codec, from nothing or from another one."""

    steps: int = 5200
    """Optimizer steps."""
    clips: int = 12
    """Clips per step."""
    clip_s: float = 2.0
    """Length of a clip in seconds."""
    learning_rate: float | None = None
    """Peak rate of AdamW; None is 1e-3, or from another codec's weights 3e-4 (spectral) and 1e-4 (EnCodec)."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""
    quantize_from: float = 0.03
    """Share of the steps before the quantizer comes in, by k-means; from another codec's weights it is in at once."""
    keep_codes: bool = False
    """From another codec: only what follows the quantizer learns, so the codes of a recording stay what they are."""
    commitment: float = 0.25
    """Weight of the commitment loss."""
    linear_weight: float = 0.3
    """Spectral: weight of the loss on square roots of magnitudes, beside that on their logarithms."""
    adversarial_from: int | None = None
    """EnCodec: step from which a discriminator learns along; None is never. For GPUs."""
    gain_db: tuple[float, float] = (-6.0, 2.0)
    """Range of the random gain of each clip in dB."""
    ema_decay: float = 0.998
    """Decay of the averaged weights that are kept."""
    seed: int = 0
    """Seed of every random draw."""
    state_every: int = 500
    """Steps between saved states and measurements on held-out clips."""
    sample_every: int = 500
    """Steps between round trips of held-out clips as audio and pictures; 0 makes none."""
    threads: int | None = None
    """CPU threads; None leaves torch's choice."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "cuda:N"."""

    def __post_init__(self) -> None:
        require_ranges(
            self,
            ("steps state_every", 1, LARGEST),
            ("warmup_steps adversarial_from sample_every", 0, LARGEST),
            ("clips", 1, 1 << 20),
            ("clip_s", 0.1, 600),
            ("learning_rate", LEAST, 1e3),
            ("quantize_from ema_decay", 0, 1),
            ("commitment linear_weight", 0, 1e6),
            ("seed", 0, 2**63 - 1),
            ("threads", 1, 1024),
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """Training of an AudioLM."""

    steps: int = 3000
    """Optimizer steps."""
    num_epochs: float | None = None
    """Passes over the training frames, which then decide `steps`; None leaves `steps` as they are."""
    batch_frames: int = 2500
    """Frames per step, context included; over all processes."""
    max_duration_s: float | None = None
    """Seconds of audio per step, which then decide `batch_frames`; None leaves those as they are."""
    filter_min_duration_s: float | None = None
    """Clips shorter than this are left out; None leaves out none."""
    filter_max_duration_s: float | None = None
    """Clips longer than this are left out; None leaves out none."""
    shortest_window: int = 100
    """Shortest training window in frames; the longest is the model's `max_frames`."""
    full_windows: float = 0.6
    """Share of steps with windows of full length; the others are shorter."""
    optimizer: str = "muon"
    """"muon" (hidden matrices, AdamW for the rest), "adamw" or "scaled-adam"."""
    learning_rate: float | None = None
    """Peak rate: of the hidden matrices under Muon, of everything otherwise; None is the optimizer's usual one."""
    adam_learning_rate: float = 2e-3
    """Peak rate of what Muon does not train; `training/optim.py` has that of the AR decoder's in proportion."""
    schedule: str | None = None
    """"wsd" (warm-up, stable, decay), "cosine" or "eden"; None is eden for ScaledAdam and wsd otherwise."""
    weight_decay: float = 0.01
    """Decoupled weight decay of the hidden matrices."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""
    decay_share: float = 0.3
    """wsd: last share of the steps, over which the rate falls to zero."""
    eden_steps: float = 5000.0
    """eden: steps after which the rate begins to fall with the square root of the steps."""
    eden_epochs: float = 4.0
    """eden: passes over the data after which it begins to fall with their square root."""
    infill_share: float = 0.35
    """Share of steps that fill a gap; the other tasks keep their proportions."""
    fixed_split: bool = False
    """Train continuations after the model's `prompt_share` of each window, 40 %, and no other task."""
    train_stage: int = 0
    """0 trains both decoders, 1 the AR, 2 the NAR."""
    nar_known: float = 0.75
    """Share of items whose NAR target has some frames known, as in later passes; the others have none."""
    dtype: str = "auto"
    """"fp32" or "bf16" (autocast, weights stay fp32); "auto" is bf16 where the device multiplies in it."""
    ema_decay: float = 0.995
    """Decay of the averaged weights that are validated and kept."""
    clip_norm: float = 1.0
    """Largest gradient norm."""
    spike_deviations: float = 8.0
    """A step whose loss lies this many standard deviations over the running mean changes nothing."""
    unusable_steps: int = 5
    """Steps in a row that changed nothing after which training goes back to its last saved state."""
    micro_frames: int = 0
    """Most frames that go through the model at once; a step's other frames are accumulated. 0 is no limit."""
    seed: int = 0
    """Seed of every random draw."""
    validate_every: int = 250
    """Steps between validations and saved states."""
    validation_windows: int = 24
    """Held-out windows of each validation."""
    patience: int = 0
    """Validations in a row without a better one that end the training; 0 goes on to the last step."""
    sample_every: int = 1000
    """Steps between samples of the averaged weights, as audio; 0 makes none."""
    log_every: int = 10
    """Steps between lines of `metrics.jsonl`."""
    threads: int | None = None
    """CPU threads; None leaves torch's choice."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "cuda:N"."""

    def __post_init__(self) -> None:
        names = ", ".join(LEARNING_RATES)
        require(self.optimizer in LEARNING_RATES, f"optimizer must be one of {names}, got {self.optimizer!r}")
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", LEARNING_RATES[self.optimizer])
        if self.schedule is None:
            object.__setattr__(self, "schedule", "eden" if self.optimizer == "scaled-adam" else "wsd")
        require(self.schedule in SCHEDULES, f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        require(self.dtype in ("auto", "fp32", "bf16"), f"dtype must be auto, fp32 or bf16, got {self.dtype}")
        require_ranges(
            self,
            ("steps shortest_window unusable_steps validate_every validation_windows log_every", 1, LARGEST),
            ("micro_frames patience sample_every warmup_steps", 0, LARGEST),
            ("batch_frames", 1, MOST_BATCH_FRAMES),
            ("num_epochs max_duration_s eden_steps eden_epochs", LEAST, 1e9),
            ("filter_min_duration_s filter_max_duration_s", 0, 1e9),
            ("learning_rate adam_learning_rate", LEAST, 1e3),
            ("full_windows decay_share infill_share nar_known ema_decay", 0, 1),
            ("weight_decay", 0, 1e3),
            ("clip_norm spike_deviations", LEAST, math.inf),
            ("train_stage", 0, 2),
            ("seed", 0, 2**63 - 1),
            ("threads", 1, 1024),
        )
        shortest, longest = self.filter_min_duration_s or 0.0, self.filter_max_duration_s
        require(
            longest is None or longest >= shortest,
            f"filter-max-duration {longest} is below filter-min-duration {shortest}; no clip can pass both",
        )


MOST_BATCH_FRAMES = 1 << 30
"""Frames per step at most: over half a year of audio."""


LEARNING_RATES = {"muon": 0.02, "adamw": 1e-3, "scaled-adam": 0.05}
"""Usual peak learning rates by optimizer."""


SCHEDULES = ("wsd", "cosine", "eden")
"""Learning-rate schedules."""
