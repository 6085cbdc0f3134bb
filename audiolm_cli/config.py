"""Every setting of the project as frozen dataclasses: one string under each field says meaning, unit and range.

Knows nothing about command lines, files or torch.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

from audiolm_cli.errors import ModelError, UsageError


class _Config:
    """Dictionaries to configurations and back; unknown keys are an error that lists the known ones."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The configuration that `values` describes.

        Raises:
            ModelError: a key is unknown or a value does not fit.
        """
        known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ModelError(
                f"{cls.__name__} has no field {', '.join(unknown):.200}; known fields: {', '.join(known)}. "
                "The file may come from a newer version of audiolm."
            )
        try:
            return cls(**values)
        except (TypeError, UsageError) as error:
            raise ModelError(f"{cls.__name__} does not fit: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise UsageError(message)


def _require_ranges(config: _Config, *ranges: tuple[str, float, float]) -> None:
    """Refuse fields outside their (names, lowest, highest), and what is no number; None says nothing."""
    for names, low, high in ranges:
        told = f"{low:g} or more" if high >= LARGEST else f"{low:g}..{high:g}"
        for name in names.split():
            value = getattr(config, name)
            _require(value is None or low <= value <= high, f"{name} must be {told}, got {value}")


LARGEST = 1 << 62
"""Of numbers without a limit of their own: what arithmetic on integers of 64 bits allows."""
LEAST = 1e-30
"""Of numbers that have to be over 0."""
AR_TEMPERATURE = 1.05
"""Usual temperature of the first codebook: continuations repeat themselves as recordings do, at 1 twice as much."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(_Config):
    """The shape of an AudioLM."""

    d_model: int = 1024
    """Width of both decoders; a multiple of 2 * nhead."""
    nhead: int = 16
    """Attention heads."""
    num_layers: int = 12
    """Layers of each decoder."""
    num_quantizers: int = 4
    """Codebooks per frame, K."""
    codebook_size: int = 2048
    """Codes per codebook, V."""
    max_frames: int = 750
    """Longest window (context + target) the model was trained on, in frames."""
    positions: str = "rotary"
    """"rotary" or "sine" (VALL-E's sinusoids with a learned scale)."""
    dropout: float = 0.0
    """Dropout in attention output, feed-forward and embeddings, 0..1."""
    prompt_share: float = 0.4
    """Share of an item that the two-argument `forward` of the training recipes takes as prompt."""
    nar_passes: int = 1
    """NAR passes per codebook when generating; over 1 for models trained with some of its frames known."""

    def __post_init__(self) -> None:
        _require_ranges(
            self,
            ("d_model", 2, 1 << 20),
            ("nhead", 1, 1 << 20),
            ("num_layers", 1, 10_000),
            ("num_quantizers nar_passes", 1, 1000),
            ("codebook_size", 2, 1 << 24),
            ("max_frames", 2, 1_000_000),
        )
        fits = self.d_model % (2 * self.nhead) == 0
        _require(fits, f"d_model must be a multiple of 2 * nhead, got {self.d_model}, {self.nhead}")
        _require(self.positions in ("rotary", "sine"), f'positions must be "rotary" or "sine", got {self.positions!r}')
        _require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout}")
        _require(0 < self.prompt_share < 1, f"prompt_share must be in (0, 1), got {self.prompt_share}")


@dataclass(frozen=True, kw_only=True)
class SpectralConfig(_Config):
    """The shape of a spectral codec: log magnitudes, ConvNeXt autoencoder, residual quantizer, Griffin-Lim."""

    sample_rate_hz: int = 32000
    """Sample rate in Hz."""
    hop_samples: int = 640
    """Samples per frame; two STFT columns per frame."""
    window_samples: int = 2048
    """STFT window, Hann."""
    width: int = 384
    """Channels of the ConvNeXt blocks."""
    latent: int = 64
    """Channels of the quantized latent."""
    encoder_blocks: int = 3
    """ConvNeXt blocks before the quantizer."""
    decoder_blocks: int = 5
    """ConvNeXt blocks after the quantizer."""
    kernel: int = 7
    """Depthwise kernel of a block, in frames; odd."""
    expansion: int = 3
    """Width of a block's feed-forward, in multiples of `width`."""
    num_codebooks: int = 4
    """Stages of the residual quantizer, K."""
    codebook_size: int = 2048
    """Codes per stage, V."""
    floor: float = 0.1
    """Magnitude added before the logarithm, in units of an un-normalised Hann STFT (full-scale sine: 512)."""
    griffin_lim_iterations: int = 32
    """Iterations of fast Griffin-Lim in `decode`."""

    def __post_init__(self) -> None:
        _require(self.hop_samples % 2 == 0, f"hop_samples must be even, got {self.hop_samples}")
        _require(self.kernel % 2 == 1, f"kernel must be odd, got {self.kernel}")
        _require_ranges(
            self,
            ("sample_rate_hz", 1000, 768_000),
            ("hop_samples", 2, 1 << 16),
            ("window_samples", 4, 1 << 20),
            ("width latent", 1, 1 << 20),
            ("encoder_blocks decoder_blocks", 0, 1000),
            ("kernel expansion", 1, 1 << 16),
            ("num_codebooks", 1, 1000),
            ("codebook_size", 2, 1 << 20),
            ("floor", 1e-9, 1e9),
            ("griffin_lim_iterations", 0, 10_000),
        )


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(_Config):
    """How codes are drawn."""

    temperature: float | None = None
    """AR temperature; 0 is greedy. None is 1.05, and 0.5 for gaps of up to a second between two contexts, where there
    is less to choose: of held-out infills these are nearer to what was there."""
    top_k: int = 0
    """AR: keep the k most likely codes; 0 keeps all."""
    top_p: float = 1.0
    """AR: keep the smallest set of codes with this probability mass, 0 < p <= 1."""
    min_p: float = 0.0
    """AR: drop codes less likely than this share of the most likely one, 0 <= p < 1."""
    nar_temperature: float = 0.95
    """NAR temperature; 0 is greedy, which is duller. At 0.95 fine codes are held about as often as in recordings."""
    guidance: float = 1.0
    """Classifier-free guidance of both decoders against no context, 0 or more; 1 is off."""
    nar_passes: int | None = None
    """NAR passes per codebook; None is the model's own number."""

    def __post_init__(self) -> None:
        _require_ranges(self, ("temperature nar_temperature", 0, LARGEST), ("nar_passes", 1, LARGEST))
        _require(self.guidance >= 0, f"guidance must be 0 or more, 1 being off, got {self.guidance}")
        _require(self.top_k >= 0, f"top-k must be 0 (off) or more, got {self.top_k}")
        _require(0 < self.top_p <= 1, f"top-p must be in (0, 1], got {self.top_p}")
        _require(0 <= self.min_p < 1, f"min-p must be in [0, 1), got {self.min_p}")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(_Config):
    """One generating run: what every generating command shares."""

    model: str = "piano"
    """Name or path of the model."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "cuda:N"."""
    dtype: str = "auto"
    """"auto", "fp32", "bf16" or "int8"."""
    threads: int | None = None
    """CPU threads; None leaves torch's choice."""
    seed: int | None = None
    """Seed of the first take; None draws one, which is reported."""
    takes: int = 1
    """Alternatives to generate from the same context."""
    best_of: int | None = None
    """Candidates to generate, of which the likeliest `takes` are kept; None keeps all takes unranked."""
    prompt_s: float | None = None
    """Context to use, in seconds; None uses as much as the model's window allows."""
    channels: str = "mid"
    """"mid" generates one signal and places it in the balance of the context, "each" every channel by itself."""
    until_end: bool = False
    """Let the model end the piece before the duration is reached."""
    only_new: bool = False
    """Write the generated span alone."""
    force: bool = False
    """Overwrite existing outputs."""
    cache_dir: str | None = None
    """Where checkpoints are cached; None is the user's cache folder."""

    def __post_init__(self) -> None:
        _require(self.takes >= 1, f"takes must be 1 or more, got {self.takes}")
        enough = self.best_of is None or self.best_of >= self.takes
        _require(enough, f"best-of must be at least the number of takes, {self.takes}, got {self.best_of}")
        known = self.dtype in ("auto", "fp32", "bf16", "int8")
        _require(known, f"dtype must be auto, fp32, bf16 or int8, got {self.dtype}")
        _require(self.channels in ("mid", "each"), f'channels must be "mid" or "each", got {self.channels!r}')
        _require(self.prompt_s is None or self.prompt_s > 0, f"prompt must be over 0 seconds, got {self.prompt_s}")
        _require(self.threads is None or self.threads >= 1, f"threads must be 1 or more, got {self.threads}")
        _require(self.seed is None or 0 <= self.seed < 2**63, f"seed must be 0 to 2**63 - 1, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class CodecTrainConfig(_Config):
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
        _require_ranges(
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
class TrainConfig(_Config):
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
        _require(self.optimizer in LEARNING_RATES, f"optimizer must be one of {names}, got {self.optimizer!r}")
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", LEARNING_RATES[self.optimizer])
        if self.schedule is None:
            object.__setattr__(self, "schedule", "eden" if self.optimizer == "scaled-adam" else "wsd")
        _require(self.schedule in SCHEDULES, f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        _require(self.dtype in ("auto", "fp32", "bf16"), f"dtype must be auto, fp32 or bf16, got {self.dtype}")
        _require_ranges(
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
        _require(
            longest is None or longest >= shortest,
            f"filter-max-duration {longest} is below filter-min-duration {shortest}; no clip can pass both",
        )


MOST_BATCH_FRAMES = 1 << 30
"""Frames per step at most: over half a year of audio."""
LEARNING_RATES = {"muon": 0.02, "adamw": 1e-3, "scaled-adam": 0.05}
"""Usual peak learning rates by optimizer."""
SCHEDULES = ("wsd", "cosine", "eden")
"""Learning-rate schedules."""
PRESETS = {
    "tiny": ModelConfig(d_model=256, nhead=4, num_layers=4, max_frames=500),
    "small": ModelConfig(d_model=512, nhead=8, num_layers=8, max_frames=750),
    "base": ModelConfig(),
}
"""Model shapes by name; `base` is the published 1024 x 12 x 16."""
