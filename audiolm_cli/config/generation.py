"""How audio is generated."""

from __future__ import annotations

from dataclasses import dataclass

from audiolm_cli.config.base import (
    LARGEST,
    Settings,
    require,
    require_ranges,
)

AR_TEMPERATURE = 1.05
"""Usual temperature of the first codebook: continuations repeat themselves as recordings do, at 1 twice as much."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Settings):
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
        require_ranges(self, ("temperature nar_temperature", 0, LARGEST), ("nar_passes", 1, LARGEST))
        require(self.guidance >= 0, f"guidance must be 0 or more, 1 being off, got {self.guidance}")
        require(self.top_k >= 0, f"top-k must be 0 (off) or more, got {self.top_k}")
        require(0 < self.top_p <= 1, f"top-p must be in (0, 1], got {self.top_p}")
        require(0 <= self.min_p < 1, f"min-p must be in [0, 1), got {self.min_p}")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(Settings):
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
        require(self.takes >= 1, f"takes must be 1 or more, got {self.takes}")
        enough = self.best_of is None or self.best_of >= self.takes
        require(enough, f"best-of must be at least the number of takes, {self.takes}, got {self.best_of}")
        known = self.dtype in ("auto", "fp32", "bf16", "int8")
        require(known, f"dtype must be auto, fp32, bf16 or int8, got {self.dtype}")
        require(self.channels in ("mid", "each"), f'channels must be "mid" or "each", got {self.channels!r}')
        require(self.prompt_s is None or self.prompt_s > 0, f"prompt must be over 0 seconds, got {self.prompt_s}")
        require(self.threads is None or self.threads >= 1, f"threads must be 1 or more, got {self.threads}")
        require(self.seed is None or 0 <= self.seed < 2**63, f"seed must be 0 to 2**63 - 1, got {self.seed}")
