"""The shapes of models and codecs."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, Self

from audiolm_cli.config.base import RARE, Settings, require, setting
from audiolm_cli.errors import UsageError

_shape = functools.partial(setting, panel=f"{RARE}: the shape of a spectral codec")


@dataclass(frozen=True, kw_only=True)
class PromptShares:
    """How often training takes the prompt of a window from where; the shares sum to 1.

    `--prompt-from` has them as text: `split:0.7,elsewhere:0.3`, or one name alone.
    """

    split: float = 1.0
    """The context lies beside the target, on its timeline; a tenth of these windows has none."""
    elsewhere: float = 0.0
    """Another stretch of the same recording, not next to the window, beside or in place of such a context."""
    none: float = 0.0
    """There is no context."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shares that a text describes.

        Raises:
            UsageError: it is not such a text.

        >>> PromptShares.parse("elsewhere:0.3, split:0.7")
        PromptShares(split=0.7, elsewhere=0.3, none=0.0)
        """
        shares = dict.fromkeys((field.name for field in dataclasses.fields(cls)), 0.0)
        for part in text.split(","):
            name, colon, share = (word.strip() for word in part.partition(":"))
            try:
                shares[name] += float(share) if colon else 1.0
            except (KeyError, ValueError) as error:
                raise UsageError(
                    f"prompt-from has {part.strip()!r:.80}; expected {', '.join(shares)}, each with its share, "
                    "as in split:0.7,elsewhere:0.3"
                ) from error

        total = sum(shares.values())
        fits = all(share >= 0 for share in shares.values()) and abs(total - 1) < 1e-6
        require(fits, f"prompt-from must have shares of 0 or more that add up to 1, got {text!r:.80}")

        # Thirds have no end as decimals, so their sum is only near 1. A sum that is 1 but for the rounding of floats is
        # left alone, so that a text reads back as itself.
        if abs(total - 1) > 1e-12:
            shares = {name: share / total for name, share in shares.items()}
        return cls(**shares)

    def __str__(self) -> str:
        """The text, the same for the same shares."""
        shares = {name: share for name, share in dataclasses.asdict(self).items() if share}
        return next(iter(shares)) if len(shares) == 1 else ",".join(f"{name}:{share}" for name, share in shares.items())


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """The shape of an AudioLM."""

    d_model: int = setting(1024, "", low=2, high=1 << 20)
    """Width of both decoders; a multiple of 2 * nhead."""
    nhead: int = setting(16, "", low=1, high=1 << 20)
    """Attention heads."""
    num_layers: int = setting(12, "", low=1, high=10_000)
    """Layers of each decoder."""
    num_quantizers: int = setting(4, "", low=1, high=1000)
    """Codebooks per frame, K."""
    codebook_size: int = setting(2048, "", low=2, high=1 << 24)
    """Codes per codebook, V."""
    max_frames: int = setting(750, "", low=2, high=1_000_000)
    """Longest window (context + target) the model was trained on, in frames."""
    positions: str = "rotary"
    """"rotary" or "sine" (VALL-E's sinusoids with a learned scale)."""
    context_attention: str = "full"
    """"full": context frames of the AR decoder see each other. "causal": left ones see what comes before them and the
    right context, so that each of them is learned from, too."""
    context_codebooks: str = "all"
    """"all": the AR decoder hears all codebooks of a context. "own": as of the target, those that it makes."""
    ar_holding: bool = False
    """Whether the AR decoder has a term for holding the code before; the NAR decoder always copies."""
    ar_codebooks: int = setting(1, "", low=1, high=1000)
    """How many codebooks of a frame the AR decoder makes, from the first on; the NAR decoder makes the others."""
    dropout: float = 0.0
    """Dropout in attention output, feed-forward and embeddings, 0..1."""
    prompt_share: float = 0.4
    """Share of an item that the two-argument `forward` of the training recipes takes as prompt."""
    nar_passes: int = setting(1, "", low=1, high=1000)
    """NAR passes per codebook when generating; over 1 for models trained with some of its frames known."""
    prompt_from: str = "split"
    """Where training takes prompts from, as `PromptShares` reads it; the model has a segment for those from elsewhere
    where there are any."""
    styles: tuple[str, ...] = ()
    """Labels of the recordings it was trained on; each has a vector in both decoders."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "styles", tuple(self.styles))
        require(
            all(isinstance(style, str) and style for style in self.styles)
            and len(set(self.styles)) == len(self.styles),
            f"styles must be texts, each another one, got {self.styles!r:.200}",
        )
        require(isinstance(self.prompt_from, str), f"prompt_from must be a text, got {self.prompt_from!r:.80}")
        object.__setattr__(self, "prompt_from", str(self.prompts))
        fits = self.d_model % (2 * self.nhead) == 0
        got = f"got {self.d_model} and {self.nhead}"
        require(fits, f"d_model (--decoder-dim) must be a multiple of twice nhead (--nhead), {got}")
        require(self.positions in ("rotary", "sine"), f'positions must be "rotary" or "sine", got {self.positions!r}')
        known = self.context_attention in ("full", "causal")
        require(known, f'context_attention must be "full" or "causal", got {self.context_attention!r}')
        known = self.context_codebooks in ("all", "own")
        require(known, f'context_codebooks must be "all" or "own", got {self.context_codebooks!r}')
        fits = self.ar_codebooks <= self.num_quantizers
        require(
            fits, f"ar_codebooks must be at most the {self.num_quantizers} codebooks there are, got {self.ar_codebooks}"
        )
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout}")
        require(0 < self.prompt_share < 1, f"prompt_share must be in (0, 1), got {self.prompt_share}")

    @property
    def prompts(self) -> PromptShares:
        """`prompt_from`, read."""
        return PromptShares.parse(self.prompt_from)

    @property
    def has_nar(self) -> bool:
        """Whether there is a NAR decoder: not where the AR decoder makes several codebooks and none is left."""
        return self.ar_codebooks < max(self.num_quantizers, 2)

    @property
    def knows_elsewhere(self) -> bool:
        """Whether the model was trained on prompts from elsewhere."""
        return self.prompts.elsewhere > 0


def complete_shape(saved: dict[str, Any]) -> dict[str, Any]:
    """A model's shape as a file has it, and what earlier versions say nothing of as it is where nobody chooses it."""
    return ModelConfig().to_dict() | saved


MOST_GAIN_DB = 24.0
"""Most that a band of a spectral codec is raised or lowered by; more is no gain but damage."""


@dataclass(frozen=True, kw_only=True)
class SpectralConfig(Settings):
    """The shape of a spectral codec: log magnitudes, ConvNeXt autoencoder, residual quantizer, Griffin-Lim."""

    sample_rate_hz: int = setting(32000, "", low=1000, high=768_000)
    """Sample rate in Hz."""
    hop_samples: int = setting(640, "", low=2, high=1 << 16)
    """Samples per frame; a multiple of `columns`."""
    columns: int = setting(2, "", low=1, high=1000)
    """STFT columns that a frame holds side by side."""
    window_samples: int = setting(2048, "", low=4, high=1 << 20)
    """STFT window, Hann."""
    width: int = setting(384, "", low=1, high=1 << 20)
    """Channels of the ConvNeXt blocks."""
    latent: int = setting(64, "", low=1, high=1 << 20)
    """Channels of the quantized latent."""
    encoder_blocks: int = setting(3, "", low=0, high=1000)
    """ConvNeXt blocks before the quantizer."""
    decoder_blocks: int = setting(5, "", low=0, high=1000)
    """ConvNeXt blocks after the quantizer."""
    kernel: int = setting(7, "", low=1, high=1 << 16)
    """Depthwise kernel of a block, in frames; odd."""
    expansion: int = setting(3, "", low=1, high=1 << 16)
    """Width of a block's feed-forward, in multiples of `width`."""
    num_codebooks: int = setting(4, "", low=1, high=1000)
    """Stages of the residual quantizer, K."""
    codebook_size: int = setting(2048, "", low=2, high=1 << 20)
    """Codes per stage, V."""
    floor: float = setting(0.1, "", low=1e-9, high=1e9)
    """Magnitude added before the logarithm, in units of an un-normalised Hann STFT (full-scale sine: 512)."""
    griffin_lim_iterations: int = setting(32, "", low=0, high=10_000)
    """Iterations of fast Griffin-Lim in `decode`."""
    level_s: float = setting(0.0, "", low=0, high=600)
    """Window in seconds whose loudness is taken out and put into a code of its own; 0 leaves it in."""
    steady_frames: int = setting(1, "", low=1, high=1 << 16)
    """Frames that the first codebook describes together, in a Hann window; each next one half as many. Odd."""
    gains_db: list[float] = dataclasses.field(default_factory=list)
    """What decoded magnitudes are raised by, band by band: bands evenly spaced on the mel scale. Empty raises none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            all(abs(gain) <= MOST_GAIN_DB for gain in self.gains_db) and len(self.gains_db) <= self.window_samples,
            f"gains_db must be numbers of at most {MOST_GAIN_DB:g} dB, got {self.gains_db!s:.100}",
        )
        fits = self.hop_samples % self.columns == 0
        require(fits, f"hop_samples must be a multiple of columns, got {self.hop_samples}, {self.columns}")
        require(self.kernel % 2 == 1, f"kernel must be odd, got {self.kernel}")
        require(self.steady_frames % 2 == 1, f"steady_frames must be odd, got {self.steady_frames}")

    @property
    def codes_per_frame(self) -> int:
        """Codes that a frame has, that of the level among them."""
        return self.num_codebooks + (self.level_s > 0)

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate_hz / self.hop_samples


NEW_SPECTRAL = SpectralConfig(hop_samples=1280, columns=4, num_codebooks=8, floor=1.0, level_s=3.0, steady_frames=9)
"""The shape of a codec from nothing: 25 frames per second of 8 codebooks and a level; its floor lies 37 dB below a tone
of level 1."""


@dataclass(frozen=True, kw_only=True)
class SpectralChanges(Settings):
    """What is asked for of the shape of a spectral codec; None leaves it as it is."""

    frame_rate_hz: float | None = _shape(
        None,
        "Frames per second of a spectral codec from nothing. Default: 25.",
        flag="--frame-rate",
        low=1,
        high=1000,
        metavar="N",
    )
    num_codebooks: int | None = _shape(
        None,
        "Codebooks of a spectral codec from nothing, beside that of the level. Default: 8.",
        flag="--codebooks",
        low=1,
        high=1000,
        metavar="N",
    )
    level_s: float | None = _shape(
        None,
        "Spectral: the loudness over S seconds gets a code of its own; 0: loudness is part of all codes.",
        flag="--level-seconds",
        low=0,
        high=600,
        metavar="S",
    )
    steady_frames: int | None = _shape(
        None, "Spectral: the first codebook describes N frames together; odd.", low=1, high=1 << 16, metavar="N"
    )

    def apply(self, config: SpectralConfig, from_nothing: bool) -> SpectralConfig:
        """The shape with the changes.

        Args:
            config: the shape before.
            from_nothing: whether there are no weights yet; some changes need new ones.

        Raises:
            UsageError: a change does not fit the shape or its weights.
        """
        if not from_nothing:
            require(
                self.frame_rate_hz is None and self.num_codebooks is None,
                "--init with --frame-rate or --codebooks: the codec to start from has its own; leave them out",
            )
        changes: dict[str, Any] = {
            name: value
            for name in ("num_codebooks", "level_s", "steady_frames")
            if (value := getattr(self, name)) is not None
        }
        if self.frame_rate_hz is not None:
            changes |= _frames_of(self.frame_rate_hz, config)
        return dataclasses.replace(config, **changes)


def _frames_of(frame_rate_hz: float, config: SpectralConfig) -> dict[str, int]:
    """Hop and columns for a frame rate, with columns as far apart as `config` has them, or as near to that as fits."""
    rate = config.sample_rate_hz
    hop = round(rate / frame_rate_hz)
    possible = [f"{rate // h}" for h in range(1, rate + 1) if rate % h == 0 and 5 <= rate // h <= 200]
    require(
        abs(hop * frame_rate_hz - rate) < 1e-6 * rate,
        f"--frame-rate {frame_rate_hz:g} does not divide the sample rate of {rate} Hz; "
        f"choose one of {', '.join(possible)}",
    )

    wanted = config.hop_samples // config.columns
    columns = min((c for c in range(1, hop + 1) if hop % c == 0), key=lambda c: abs(hop / c - wanted))
    return {"hop_samples": hop, "columns": columns}


_TINY = ModelConfig(
    d_model=256,
    nhead=4,
    num_layers=4,
    max_frames=500,
    context_attention="causal",
    context_codebooks="own",
    ar_holding=True,
)
PRESETS = {
    "tiny": _TINY,
    "small": dataclasses.replace(_TINY, d_model=512, nhead=8, num_layers=8, max_frames=750),
    "base": ModelConfig(),
}
"""Model shapes by name; `base` is the published 1024 x 12 x 16."""
OF_PRESETS = ("context_attention", "context_codebooks", "ar_holding")
"""What presets decide of a shape beside its size."""
